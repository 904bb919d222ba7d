/*-------------------------------------------------------------------------
 *
 * tasks.c
 *		Table "task", row by row.
 *
 * Locks: row exclusive on the one leaf a task is in, never anything on the
 * parent, behind which everybody would queue.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/heapam.h"
#include "access/multixact.h"
#include "access/subtrans.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "base/shmem.h"
#include "catalog/indexing.h"
#include "catalog/pg_collation.h"
#include "executor/tuptable.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "storage/lmgr.h"
#include "storage/procarray.h"
#include "store/read.h"
#include "store/rows.h"
#include "store/sides.h"
#include "store/tasks.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/jsonb.h"
#include "utils/snapmgr.h"

static void
row_from_tuple(TaskqRow *row, int leaf, HeapTuple tuple, TupleDesc desc)
{
	/* a copy: the values must outlive the buffer */
	tuple = heap_copytuple(tuple);
	row->leaf = leaf;
	row->tid = tuple->t_self;
	row->xmin = HeapTupleHeaderGetXmin(tuple->t_data);
	row->whole = desc->natts == Natts_task ? NULL : tuple;
	taskq_rows_deform(tuple, desc, row->values, row->nulls, Natts_task);
}

/*
 * taskq_row_option - is a member of argument options of the submit true?
 */
bool
taskq_row_option(const TaskqRow *row, const char *name)
{
	JsonbValue	key = {.type = jbvString};
	JsonbValue *value = NULL;
	Jsonb	   *options;

	if (taskq_row_isnull(row, options))
		return false;
	options = DatumGetJsonbP(taskq_row_value(row, options));
	key.val.string.val = unconstify(char *, name);
	key.val.string.len = strlen(name);
	if (JB_ROOT_IS_OBJECT(options))
		value = findJsonbValueFromContainer(&options->root, JB_FOBJECT, &key);
	return value != NULL && value->type == jbvBool && value->val.boolean;
}

/*
 * taskq_row_previous - what is known of the attempt before this one
 *
 * That is in the task's own row, or for the first attempt at a task that
 * task_retry made in that of the task of which it is a retry.  False if there
 * was none, or it is forgotten, or another tenant's.
 */
bool
taskq_row_previous(TaskqRow *row, int attempt, TaskqRow *previous)
{
	if (attempt > 1)
	{
		*previous = *row;
		return true;
	}
	return !taskq_row_isnull(row, retry_of) &&
		taskq_store_find(DatumGetUUIDP(taskq_row_value(row, retry_of)),
						 previous) &&
		taskq_row_isnull(row, tenant) == taskq_row_isnull(previous, tenant) &&
		(taskq_row_isnull(row, tenant) ||
		 DatumGetBool(DirectFunctionCall2Coll(texteq, C_COLLATION_OID,
											  taskq_row_value(row, tenant),
											  taskq_row_value(previous, tenant))));
}

/*
 * taskq_row_not_for - shall another worker than this one make the next
 * attempt at a task that waits?
 *
 * That is so if its options ask for it, and the worker of that name, which
 * has been there since then (or 0), made the one before.
 */
bool
taskq_row_not_for(TaskqRow *row, const char *worker, TimestampTz since)
{
	int			next = DatumGetInt16(taskq_row_value(row, attempt)) + 1;
	TaskqRow	previous;

	if (!taskq_row_option(row, "different_worker") ||
		!taskq_row_previous(row, next, &previous) ||
		taskq_row_isnull(&previous, worker) ||
		taskq_row_isnull(&previous, started_at))
		return false;
	return strcmp(TextDatumGetCString(taskq_row_value(&previous, worker)),
				  worker) == 0 &&
		DatumGetTimestampTz(taskq_row_value(&previous, started_at)) >= since;
}

/* taskq_tuple_not_for - the same of a tuple of a leaf, and a name alone */
bool
taskq_tuple_not_for(HeapTuple tuple, TupleDesc desc, const char *worker)
{
	TaskqRow	row;

	memset(&row, 0, sizeof(row));
	taskq_rows_deform(tuple, desc, row.values, row.nulls, Natts_task);
	return taskq_row_not_for(&row, worker, 0);
}

void		(*taskq_row_stocked) (const TaskqRow *row, int by) = NULL;

/* taskq_store_new_row - a row with every column null */
void
taskq_store_new_row(TaskqRow *row)
{
	memset(row, 0, sizeof(*row));
	memset(row->nulls, true, sizeof(row->nulls));
}

/* Insert n tasks of one leaf. */
static void
insert_into_leaf(int leaf, TaskqRow *rows, int n)
{
	Relation	rel = taskq_store_open(TASKQ_REL_LEAF + leaf, RowExclusiveLock);
	HeapTuple  *tuples = palloc(n * sizeof(HeapTuple));

	taskq_leaf_written(leaf);
	for (int i = 0; i < n; i++)
		tuples[i] = rows[i].whole
			? taskq_rows_modify(rel, rows[i].whole, rows[i].values,
								rows[i].nulls, NULL, Natts_task)
			: taskq_rows_form(rel, rows[i].values, rows[i].nulls,
							  Natts_task);
	taskq_rows_insert(rel, tuples, n, Natts_task);
	for (int i = 0; i < n; i++)
	{
		rows[i].tid = tuples[i]->t_self;
		heap_freetuple(tuples[i]);
	}
	pfree(tuples);
	table_close(rel, NoLock);
}

/*
 * taskq_store_insert - insert tasks
 *
 * Their places are in tid then.  The leaf of each is the one its id names; runs of rows for the same leaf go
 * in together.
 */
void
taskq_store_insert(TaskqRow *rows, int nrows)
{
	int			start = 0;

	while (start < nrows)
	{
		int			n = 1;

		while (start + n < nrows &&
			   rows[start + n].leaf == rows[start].leaf && n < 1000)
			n++;
		insert_into_leaf(rows[start].leaf, rows + start, n);
		for (int i = start; i < start + n; i++)
			taskq_row_stock(&rows[i], 1);
		start += n;
	}
}

/* Look a task up in a leaf that is open. */
static bool
find_in_leaf(Relation rel, int leaf, const pg_uuid_t *id, Snapshot snapshot,
			 TaskqRow *row)
{
	SysScanDesc scan;
	ScanKeyData key;
	HeapTuple	tuple;
	bool		found;

	taskq_key(&key, Anum_task_id, F_UUID_EQ, UUIDPGetDatum(id));
	scan = systable_beginscan(rel, taskq_store_oid(TASKQ_REL_LEAF_PKEY + leaf),
							  true, snapshot, 1, &key);
	tuple = systable_getnext(scan);
	found = HeapTupleIsValid(tuple);
	if (found)
		row_from_tuple(row, leaf, tuple, RelationGetDescr(rel));
	systable_endscan(scan);
	return found;
}

/*
 * A task where its id says, or among the kept ones.  Gives the leaf, which is
 * open and locked in this mode, and the snapshot it was found with; NULL if
 * there is no such task.
 *
 * The sweeper may move the task, and empty the leaf, at any moment before the
 * leaf is locked: what a snapshot of before cannot find is looked for once
 * more, with one that was taken when both leaves could not be emptied any
 * more.
 */
static Relation
find_and_open(const pg_uuid_t *id, int lockmode, Snapshot *snapshot,
			  TaskqRow *row)
{
	int			leaf = taskq_id_slot(id);
	Relation	rel = taskq_store_open(TASKQ_REL_LEAF + leaf, lockmode);
	Relation	keep;

	*snapshot = taskq_store_snapshot();
	if (find_in_leaf(rel, leaf, id, *snapshot, row))
		return rel;
	UnregisterSnapshot(*snapshot);

	keep = taskq_store_open(TASKQ_REL_LEAF + TASKQ_KEEP, lockmode);
	*snapshot = taskq_store_snapshot();
	if (find_in_leaf(keep, TASKQ_KEEP, id, *snapshot, row))
	{
		table_close(rel, lockmode);
		return keep;
	}
	if (find_in_leaf(rel, leaf, id, *snapshot, row))
	{
		table_close(keep, lockmode);
		return rel;
	}
	UnregisterSnapshot(*snapshot);
	table_close(keep, lockmode);
	table_close(rel, lockmode);
	return NULL;
}

/*
 * taskq_store_find - look a task up, as it is at this moment
 *
 * First in the leaf that its id names, then among the kept ones.
 */
bool
taskq_store_find(const pg_uuid_t *id, TaskqRow *row)
{
	Snapshot	snapshot;
	Relation	rel = find_and_open(id, AccessShareLock, &snapshot, row);

	if (rel == NULL)
		return false;
	UnregisterSnapshot(snapshot);
	table_close(rel, AccessShareLock);
	return true;
}

/*
 * taskq_store_keep - look a task up, whose leaf is not emptied before this
 * transaction has ended, and not without another look at what is needed
 */
bool
taskq_store_keep(const pg_uuid_t *id, TaskqRow *row)
{
	Snapshot	snapshot;
	Relation	rel = find_and_open(id, RowExclusiveLock, &snapshot, row);

	if (rel == NULL)
		return false;
	taskq_leaf_written(row->leaf);
	UnregisterSnapshot(snapshot);
	table_close(rel, NoLock);
	return true;
}

/* Lock the row at a place, and read it; the slot keeps its page in memory. */
static TM_Result
lock_tuple(Relation rel, int leaf, ItemPointer tid, Snapshot snapshot,
		   TupleTableSlot *slot, bool wait, TaskqRow *row)
{
	TM_FailureData failure;
	TM_Result	result;
	bool		should_free;

	result =
		table_tuple_lock(rel, tid, snapshot, slot, GetCurrentCommandId(false),
						 LockTupleNoKeyExclusive,
						 wait ? LockWaitBlock : LockWaitSkip, 0, &failure);
	if (result == TM_Ok)
		row_from_tuple(row, leaf,
					   ExecFetchSlotHeapTuple(slot, false, &should_free),
					   RelationGetDescr(rel));
	return result;
}

/*
 * taskq_store_lock - look a task up and lock its row till the transaction
 * ends
 *
 * Without wait a row that another transaction has locked is TASKQ_BUSY.  From
 * the look-up on the leaf is locked, so that it is not emptied before the row
 * is.
 */
TaskqLockResult
taskq_store_lock(const pg_uuid_t *id, bool wait, TaskqRow *row)
{
	for (;;)
	{
		Snapshot	snapshot;
		Relation	rel = find_and_open(id, RowExclusiveLock, &snapshot, row);
		TupleTableSlot *slot;
		ItemPointerData tid;
		TM_Result	result;

		if (rel == NULL)
			return TASKQ_MISSING;
		tid = row->tid;
		slot = MakeSingleTupleTableSlot(RelationGetDescr(rel),
										&TTSOpsBufferHeapTuple);
		result = lock_tuple(rel, row->leaf, &tid, snapshot, slot, wait, row);
		ExecDropSingleTupleTableSlot(slot);
		UnregisterSnapshot(snapshot);
		/* of a row that is not ours the leaf need not stay */
		table_close(rel, result == TM_Ok ? NoLock : RowExclusiveLock);
		if (result == TM_Ok)
			return TASKQ_LOCKED;
		/* else look again: it was changed, moved, or is gone */
		if (taskq_lock_busy(result))
			return TASKQ_BUSY;
		CHECK_FOR_INTERRUPTS();
	}
}

/*
 * taskq_store_leaves_free - may this transaction look for a task without
 * waiting for a leaf?
 *
 * If so both leaves that the task may be in, and the tables beside them, are
 * locked as a change of it needs.  False while somebody has one of them for
 * himself (VACUUM FULL, LOCK TABLE).
 */
bool
taskq_store_leaves_free(const pg_uuid_t *id)
{
	const int	leaves[] = {taskq_id_slot(id), TASKQ_KEEP};

	for (int i = 0; i < lengthof(leaves); i++)
	{
		Oid			oid = taskq_store_oid(TASKQ_REL_LEAF + leaves[i]);

		if (!ConditionalLockRelationOid(oid, RowExclusiveLock) ||
			!taskq_sides_free(leaves[i]))
			return false;
	}
	return true;
}

/*
 * Is the task where it was seen?  Its page may have gone, or the place be
 * another row's, by now.
 */
static bool
still_there(Relation rel, const TaskqRef *ref, Snapshot snapshot,
			TupleTableSlot *slot)
{
	ItemPointerData tid = ref->tid;
	bool		isnull;

	return ItemPointerGetBlockNumber(&tid) < RelationGetNumberOfBlocks(rel) &&
		table_tuple_fetch_row_version(rel, &tid, snapshot, slot) &&
		taskq_id_eq(DatumGetUUIDP(slot_getattr(slot, Anum_task_id, &isnull)),
					&ref->id);
}

/*
 * taskq_store_lock_seen - as taskq_store_lock without wait, first where the
 * task was seen
 *
 * Spares the look into an index.  Uses the active snapshot, which shall be
 * new.
 */
TaskqLockResult
taskq_store_lock_seen(const TaskqRef *ref, TaskqRow *row)
{
	Relation	rel;
	TupleTableSlot *slot;
	TM_Result	result = TM_Deleted;

	if (!ItemPointerIsValid(&ref->tid))
		return taskq_store_lock(&ref->id, false, row);
	rel = taskq_store_open(TASKQ_REL_LEAF + ref->leaf, RowExclusiveLock);
	slot = MakeSingleTupleTableSlot(RelationGetDescr(rel),
									&TTSOpsBufferHeapTuple);
	if (still_there(rel, ref, GetActiveSnapshot(), slot))
	{
		ItemPointerData tid = ref->tid;

		result = lock_tuple(rel, ref->leaf, &tid, GetActiveSnapshot(), slot,
							false, row);
	}
	ExecDropSingleTupleTableSlot(slot);
	table_close(rel, result == TM_Ok ? NoLock : RowExclusiveLock);
	if (result == TM_Ok)
		return TASKQ_LOCKED;
	if (result == TM_WouldBlock || result == TM_BeingModified)
		return TASKQ_BUSY;
	return taskq_store_lock(&ref->id, false, row);
}

/* One transaction that is under way, of those that a row's xmax stands for. */
static TransactionId
row_locker(HeapTupleHeader header)
{
	TransactionId xmax = HeapTupleHeaderGetRawXmax(header);
	MultiXactMember *members;
	int			n;

	/* a key share lock is in nobody's way */
	if ((header->t_infomask & HEAP_XMAX_INVALID) ||
		(HEAP_XMAX_IS_LOCKED_ONLY(header->t_infomask) &&
		 HEAP_XMAX_IS_KEYSHR_LOCKED(header->t_infomask)))
		return InvalidTransactionId;
	if (!(header->t_infomask & HEAP_XMAX_IS_MULTI))
		return TransactionIdIsInProgress(xmax) ? xmax : InvalidTransactionId;
	n = GetMultiXactIdMembers(xmax, &members,
							  HEAP_LOCKED_UPGRADED(header->t_infomask),
							  HEAP_XMAX_IS_LOCKED_ONLY(header->t_infomask));
	for (int i = 0; i < n; i++)
	{
		if (members[i].status != MultiXactStatusForKeyShare &&
			TransactionIdIsInProgress(members[i].xid))
			return members[i].xid;
	}
	return InvalidTransactionId;
}

/*
 * taskq_store_locker - which other transaction has a task's row locked now?
 *
 * False if none has, or there is no such task.  Locks nothing itself, so by
 * the time it returns that may be over.
 */
bool
taskq_store_locker(const pg_uuid_t *id, TaskqLocker *locker)
{
	TaskqRow	row;
	HeapTupleData tuple;
	Buffer		buffer;
	Snapshot	snapshot;
	TransactionId xid = InvalidTransactionId;
	Relation	rel = find_and_open(id, AccessShareLock, &snapshot, &row);

	if (rel == NULL)
		return false;
	tuple.t_self = row.tid;
	if (heap_fetch(rel, snapshot, &tuple, &buffer, false))
	{
		LockBuffer(buffer, BUFFER_LOCK_SHARE);
		xid = row_locker(tuple.t_data);
		LockBuffer(buffer, BUFFER_LOCK_UNLOCK);
		ReleaseBuffer(buffer);
	}
	UnregisterSnapshot(snapshot);
	table_close(rel, AccessShareLock);
	if (!TransactionIdIsValid(xid) ||
		TransactionIdIsCurrentTransactionId(xid))
		return false;
	locker->xid = SubTransGetTopmostTransaction(xid);
	locker->pid = BackendXidGetPid(locker->xid);
	return true;
}

/*
 * taskq_store_update - write back a row that this transaction has locked
 *
 * In place (HOT) unless the page is full or the lane changed.
 */
void
taskq_store_update(TaskqRow *row)
{
	Relation	rel = taskq_store_open(TASKQ_REL_LEAF + row->leaf,
									   RowExclusiveLock);
	BlockNumber block = ItemPointerGetBlockNumber(&row->tid);

	taskq_rows_update_one(rel, &row->tid, row->values, row->nulls, Natts_task);
	if (ItemPointerGetBlockNumber(&row->tid) != block)
		taskq_leaf_written(row->leaf);
	table_close(rel, NoLock);
	CommandCounterIncrement();
}

static void
delete_row(TaskqRow *row)
{
	Relation	rel = taskq_store_open(TASKQ_REL_LEAF + row->leaf,
									   RowExclusiveLock);

	CatalogTupleDelete(rel, &row->tid);
	table_close(rel, NoLock);
}

/*
 * taskq_store_delete - delete a task that this transaction has locked, with
 * what tables beside its leaf have of it
 */
void
taskq_store_delete(TaskqRow *row)
{
	delete_row(row);
	taskq_row_stock(row, -1);
	taskq_sides_delete(row);
	CommandCounterIncrement();
}

/*
 * taskq_store_move - move tasks that this transaction has locked from a leaf
 * of the ring to the kept ones
 *
 * What tables beside the leaf have of them goes along.
 */
void
taskq_store_move(TaskqRow *rows, int n)
{
	TaskqRow   *kept = palloc(sizeof(TaskqRow) * n);

	for (int i = 0; i < n; i++)
	{
		kept[i] = rows[i];
		kept[i].leaf = TASKQ_KEEP;
		taskq_row_set(&kept[i], slot, Int16GetDatum(TASKQ_KEEP));
	}
	taskq_store_insert(kept, n);
	taskq_sides_move(rows, kept, n);
	for (int i = 0; i < n; i++)
	{
		delete_row(&rows[i]);
		taskq_row_stock(&rows[i], -1);
	}
	CommandCounterIncrement();
	pfree(kept);
}
