/*-------------------------------------------------------------------------
 *
 * logs.c
 *		Tables "log": what tasks have logged, beside the leaves.
 *
 * The dispatcher writes the lines of tasks that run, and so of tasks whose
 * rows others have locked; an external worker's session writes its own, with
 * the task's row locked.  So for the dispatcher there is a gate, a lock that
 * it has while it writes:
 *
 *	- Who moves a task to the kept ones has it until his transaction ends.  So
 *	  either the dispatcher's lines are there to be moved, or it finds the
 *	  task where it was moved to.
 *	- Who deletes a task marks the row as deleted, and then waits for the
 *	  dispatcher to be through the gate, before he deletes the lines.  From the
 *	  mark on the dispatcher leaves the task's lines alone until it knows how
 *	  that ends.
 *
 * The dispatcher waits for nobody: what it can't lock at once it comes back
 * to.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/heapam.h"
#include "access/multixact.h"
#include "access/table.h"
#include "access/transam.h"
#include "access/xact.h"
#include "base/compat.h"
#include "catalog/indexing.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "storage/lmgr.h"
#include "storage/lock.h"
#include "storage/procarray.h"
#include "store/logs.h"
#include "store/read.h"
#include "store/rows.h"
#include "store/sides.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"

/* columns of taskq_internal.log_NN; there are TASKQ_LOG_COLUMNS */
enum
{
	Anum_log_id = 1,
	Anum_log_seq,
	Anum_log_at,
	Anum_log_line,
	Anum_log_attempt,
	Anum_log_level,
	Anum_log_message,
	Anum_log_details,
	Natts_log = Anum_log_details
};

/* ---- the gate ---- */

static void
gate_tag(LOCKTAG * tag)
{
	/* the number is none of a row's or a column's lock */
	SET_LOCKTAG_OBJECT(*tag, MyDatabaseId,
					   taskq_store_oid(TASKQ_REL_LOG + TASKQ_KEEP), 1, 0);
}

/* Nobody else is in the gate until this transaction ends. */
static void
close_gate(void)
{
	LOCKTAG		tag;

	gate_tag(&tag);
	(void) LockAcquire(&tag, ExclusiveLock, false, false);
}

/* Wait until the dispatcher is through the gate, if it is in there. */
static void
wait_at_gate(void)
{
	LOCKTAG		tag;

	gate_tag(&tag);
	if (LockAcquire(&tag, ShareLock, false, false) != LOCKACQUIRE_NOT_AVAIL)
		(void) LockRelease(&tag, ShareLock, false);
}

/*
 * taskq_logs_begin - the dispatcher is about to write, until its transaction
 * ends; false if that can't be now
 */
bool
taskq_logs_begin(void)
{
	LOCKTAG		tag;

	gate_tag(&tag);
	return LockAcquire(&tag, ExclusiveLock, false, true) !=
		LOCKACQUIRE_NOT_AVAIL;
}

/* Is a row that was visible a moment ago about to be deleted? */
static bool
being_deleted(HeapTuple tuple)
{
	HeapTupleHeader header = tuple->t_data;
	TransactionId xmax;

	if ((header->t_infomask & HEAP_XMAX_INVALID) ||
		HEAP_XMAX_IS_LOCKED_ONLY(header->t_infomask) ||
		!ItemPointerEquals(&header->t_ctid, &tuple->t_self))
		return false;			/* an update leads to another version */
	xmax = HeapTupleHeaderGetUpdateXid(header);
	return TransactionIdIsInProgress(xmax) || TransactionIdDidCommit(xmax);
}

/* Lock a table in this mode until the transaction ends, if that can be now. */
static bool
lock_at_once(TaskqRelation table, LOCKMODE lockmode)
{
	Oid			oid = taskq_store_oid(table);

	return ConditionalLockRelationOid(oid, lockmode) &&
		taskq_store_oid(table) == oid;
}

typedef enum Found
{
	FOUND_NOT,
	FOUND_THERE,
	FOUND_BUSY
} Found;

static Found
find_in(int leaf, const pg_uuid_t *id)
{
	TaskqRead	read;
	ScanKeyData key;
	HeapTuple	tuple;
	Found		found = FOUND_NOT;

	taskq_key(&key, Anum_task_id, F_UUID_EQ, UUIDPGetDatum(id));
	taskq_read_begin(&read, TASKQ_REL_LEAF + leaf,
					 TASKQ_REL_LEAF_PKEY + leaf, AccessShareLock, 1, &key);
	tuple = taskq_read_next(&read);
	if (tuple != NULL)
		found = being_deleted(tuple) ? FOUND_BUSY : FOUND_THERE;
	taskq_read_end(&read);
	return found;
}

/*
 * taskq_logs_leaf - the leaf that has a task, for this snapshot; -1 if there
 * is none
 */
int
taskq_logs_leaf(const pg_uuid_t *id, Snapshot snapshot)
{
	const int	leaves[] = {taskq_id_slot(id), TASKQ_KEEP};
	int			found = -1;

	for (int i = 0; i < lengthof(leaves) && found < 0; i++)
	{
		TaskqRead	read;
		ScanKeyData key;

		taskq_key(&key, Anum_task_id, F_UUID_EQ, UUIDPGetDatum(id));
		taskq_read_begin_ordered(&read, TASKQ_REL_LEAF + leaves[i],
								 TASKQ_REL_LEAF_PKEY + leaves[i], snapshot, 1,
								 &key);
		if (taskq_read_next(&read) != NULL)
			found = leaves[i];
		taskq_read_end(&read);
	}
	return found;
}

/*
 * taskq_logs_home - the leaf whose table the lines of a task are to be
 * written to, in this transaction; TASKQ_LOGS_GONE or TASKQ_LOGS_BUSY
 *
 * After taskq_logs_begin.  The leaf is not emptied, and the task not moved,
 * before the transaction ends.
 */
int
taskq_logs_home(const pg_uuid_t *id)
{
	const int	leaves[] = {taskq_id_slot(id), TASKQ_KEEP};

	for (int i = 0; i < lengthof(leaves); i++)
	{
		Found		found;

		if (!lock_at_once(TASKQ_REL_LEAF + leaves[i], AccessShareLock) ||
			!lock_at_once(TASKQ_REL_LOG + leaves[i], RowExclusiveLock))
			return TASKQ_LOGS_BUSY;
		found = find_in(leaves[i], id);
		if (found == FOUND_BUSY)
			return TASKQ_LOGS_BUSY;
		if (found == FOUND_THERE)
			return leaves[i];
	}
	return TASKQ_LOGS_GONE;
}

/*
 * taskq_logs_locked_here - does this very transaction keep the dispatcher
 * from writing lines of this task?
 */
bool
taskq_logs_locked_here(const pg_uuid_t *id)
{
	const int	leaves[] = {taskq_id_slot(id), TASKQ_KEEP};

	for (int i = 0; i < lengthof(leaves); i++)
	{
		for (int mode = ShareLock; mode <= AccessExclusiveLock; mode++)
		{
			Oid			leaf = taskq_store_oid(TASKQ_REL_LEAF + leaves[i]);
			Oid			table = taskq_store_oid(TASKQ_REL_LOG + leaves[i]);

			if (taskq_lock_held(table, mode) ||
				(mode == AccessExclusiveLock && taskq_lock_held(leaf, mode)))
				return true;
		}
	}
	return false;
}

/* ---- rows ---- */

StaticAssertDecl(Natts_log == TASKQ_LOG_COLUMNS,
				 "a line has as many columns as its table");

/* taskq_logs_values - the columns of a line's row, TASKQ_LOG_COLUMNS of them */
void
taskq_logs_values(const TaskqLogLine *line, Datum *values, bool *nulls)
{
	memset(nulls, 0, Natts_log * sizeof(bool));
	values[Anum_log_id - 1] = UUIDPGetDatum(&line->id);
	values[Anum_log_seq - 1] = Int64GetDatum(line->seq);
	values[Anum_log_at - 1] = TimestampTzGetDatum(line->at);
	values[Anum_log_line - 1] = Int32GetDatum(line->line);
	values[Anum_log_attempt - 1] = Int16GetDatum(line->attempt);
	values[Anum_log_level - 1] = Int16GetDatum(line->level);
	values[Anum_log_message - 1] =
		PointerGetDatum(cstring_to_text_with_len(line->message,
												 line->message_len));
	nulls[Anum_log_details - 1] = line->details == NULL;
	values[Anum_log_details - 1] = line->details ? JsonbPGetDatum(line->details)
		: (Datum) 0;
}

static HeapTuple
form(Relation rel, const TaskqLogLine *line)
{
	Datum		values[Natts_log];
	bool		nulls[Natts_log];

	taskq_logs_values(line, values, nulls);
	return taskq_rows_form(rel, values, nulls, Natts_log);
}

/*
 * taskq_logs_insert - write lines of tasks that are in this leaf
 *
 * The caller keeps the tasks there until its transaction ends.
 */
void
taskq_logs_insert(int leaf, TaskqLogLine **lines, int n)
{
	Relation	rel = taskq_store_open(TASKQ_REL_LOG + leaf, RowExclusiveLock);
	HeapTuple  *tuples = palloc(Max(n, 1) * sizeof(HeapTuple));

	for (int i = 0; i < n; i++)
		tuples[i] = form(rel, lines[i]);
	taskq_rows_insert(rel, tuples, n, Natts_log);
	for (int i = 0; i < n; i++)
		heap_freetuple(tuples[i]);
	pfree(tuples);
	table_close(rel, NoLock);
}

static void
read_row(HeapTuple tuple, TupleDesc desc, TaskqLogLine *line)
{
	Datum		values[Natts_log];
	bool		nulls[Natts_log];

	taskq_rows_deform(tuple, desc, values, nulls, Natts_log);
	memset(line, 0, sizeof(*line));
	line->id = *DatumGetUUIDP(values[Anum_log_id - 1]);
	line->seq = DatumGetInt64(values[Anum_log_seq - 1]);
	line->at = DatumGetTimestampTz(values[Anum_log_at - 1]);
	line->line = DatumGetInt32(values[Anum_log_line - 1]);
	line->attempt = DatumGetInt16(values[Anum_log_attempt - 1]);
	line->level = DatumGetInt16(values[Anum_log_level - 1]);
	line->message = TextDatumGetCString(values[Anum_log_message - 1]);
	line->message_len = strlen(line->message);
	if (!nulls[Anum_log_details - 1])
		line->details =
			(Jsonb *) PG_DETOAST_DATUM_COPY(values[Anum_log_details - 1]);
}

/*
 * taskq_logs_has - is a line in the table of this leaf, for this snapshot, or
 * now (NULL)?
 */
bool
taskq_logs_has(int leaf, const TaskqLogLine *line, Snapshot snapshot)
{
	TaskqRead	read;
	ScanKeyData keys[2];
	bool		found;

	taskq_key(&keys[0], Anum_log_id, F_UUID_EQ, UUIDPGetDatum(&line->id));
	taskq_key(&keys[1], Anum_log_seq, F_INT8EQ, Int64GetDatum(line->seq));
	taskq_read_begin_ordered(&read, TASKQ_REL_LOG + leaf,
							 TASKQ_REL_LOG_IDX + leaf, snapshot, 2, keys);
	found = taskq_read_next(&read) != NULL;
	taskq_read_end(&read);
	return found;
}

static HeapTuple
next_in(TaskqRead *read, bool backwards)
{
	return systable_getnext_ordered(read->scan, backwards
									? BackwardScanDirection
									: ForwardScanDirection);
}

/*
 * taskq_logs_read - lines of a task in this leaf's table, of this level or
 * above, after this number, in order, or backwards from the last one
 *
 * At most max; how many.
 */
int
taskq_logs_read(int leaf, const pg_uuid_t *id, int level, int64 after,
				bool backwards, int max, TaskqLogLine *lines)
{
	TaskqRead	read;
	ScanKeyData keys[2];
	HeapTuple	tuple;
	int			n = 0;

	taskq_key(&keys[0], Anum_log_id, F_UUID_EQ, UUIDPGetDatum(id));
	ScanKeyInit(&keys[1], Anum_log_seq, BTGreaterStrategyNumber, F_INT8GT,
				Int64GetDatum(after));
	taskq_read_begin_ordered(&read, TASKQ_REL_LOG + leaf,
							 TASKQ_REL_LOG_IDX + leaf, NULL, 2, keys);
	while (n < max && (tuple = next_in(&read, backwards)) != NULL)
	{
		CHECK_FOR_INTERRUPTS();
		if (DatumGetInt16(taskq_read_column(&read, tuple, Anum_log_level)) >=
			level)
			read_row(tuple, RelationGetDescr(read.rel), &lines[n++]);
	}
	taskq_read_end(&read);
	return n;
}

/* ---- beside the leaves ---- */

/* A task has moved from one leaf to another. */
static void
move_lines(int from, int to, const pg_uuid_t *id)
{
	TaskqRead	read;
	ScanKeyData key;
	HeapTuple	tuple;
	Relation	rel = taskq_store_open(TASKQ_REL_LOG + to, RowExclusiveLock);
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext,
												  "taskq moved lines",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext old;

	taskq_key(&key, Anum_log_id, F_UUID_EQ, UUIDPGetDatum(id));
	taskq_read_begin(&read, TASKQ_REL_LOG + from, TASKQ_REL_LOG_IDX + from,
					 RowExclusiveLock, 1, &key);
	while ((tuple = taskq_read_next(&read)) != NULL)
	{
		TaskqLogLine line;
		HeapTuple	copy;

		CHECK_FOR_INTERRUPTS();
		old = MemoryContextSwitchTo(context);
		read_row(tuple, RelationGetDescr(read.rel), &line);
		copy = form(rel, &line);
		taskq_rows_insert(rel, &copy, 1, Natts_log);
		CatalogTupleDelete(read.rel, &tuple->t_self);
		MemoryContextSwitchTo(old);
		MemoryContextReset(context);
	}
	taskq_read_end(&read);
	MemoryContextDelete(context);
	table_close(rel, NoLock);
}

/*
 * taskq_logs_move - n tasks of one leaf, from, were inserted among the kept
 * ones as to
 *
 * Waits for the dispatcher, if it is just about to write some lines.
 */
void
taskq_logs_move(TaskqRow *from, TaskqRow *to, int n)
{
	if (n == 0)
		return;
	close_gate();
	if (taskq_side_empty(TASKQ_REL_LOG + from[0].leaf))
		return;
	for (int i = 0; i < n; i++)
		move_lines(from[i].leaf, to[i].leaf,
				   DatumGetUUIDP(taskq_row_value(&from[i], id)));
}

/*
 * taskq_logs_delete - a task was just deleted by this transaction: so are its
 * lines
 */
void
taskq_logs_delete(TaskqRow *row)
{
	ScanKeyData key;

	wait_at_gate();
	if (taskq_side_empty(TASKQ_REL_LOG + row->leaf))
		return;
	taskq_key(&key, Anum_log_id, F_UUID_EQ, taskq_row_value(row, id));
	taskq_read_delete(TASKQ_REL_LOG + row->leaf, TASKQ_REL_LOG_IDX + row->leaf,
					  RowExclusiveLock, 1, &key);
}
