/*-------------------------------------------------------------------------
 *
 * ready.c
 *		Tables "ready" and "watermark": what is claimable, as far as it is on disk.
 *
 * A task has a row in "ready" while it is pending, or stored as running, and
 * has a run_at: state.c writes and deletes that with the state, under the
 * task's row lock. A row with due -infinity belongs to a task that ran for
 * long when its lane's watermark was saved past it (save.c); only the
 * dispatcher makes and deletes these. What this is good for is said in
 * lane.c.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "miscadmin.h"
#include "store/rows.h"
#include "store/state.h"
#include "store/read.h"
#include "store/ready.h"
#include "store/tasks.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

/* ---- ready ---- */

/* taskq_ready_insert - a task is claimable, in the place of this due time */
void
taskq_ready_insert(int32 lane, TimestampTz due, const pg_uuid_t *id)
{
	Relation	rel = taskq_store_open(TASKQ_REL_READY, RowExclusiveLock);
	Datum		values[3] = {Int32GetDatum(lane), TimestampTzGetDatum(due),
	UUIDPGetDatum(id)};
	bool		nulls[3] = {false, false, false};

	taskq_rows_insert_one(rel, values, nulls, lengthof(values));
	table_close(rel, NoLock);
}

/* taskq_ready_insert_many - the same of n tasks */
void
taskq_ready_insert_many(const TaskqReady *ready, int n)
{
	Relation	rel;
	HeapTuple  *tuples;

	if (n == 0)
		return;
	rel = taskq_store_open(TASKQ_REL_READY, RowExclusiveLock);
	tuples = palloc(sizeof(HeapTuple) * n);
	for (int i = 0; i < n; i++)
	{
		Datum		values[3] = {Int32GetDatum(ready[i].lane),
			TimestampTzGetDatum(ready[i].due),
		UUIDPGetDatum(&ready[i].id)};
		bool		nulls[3] = {false, false, false};

		tuples[i] = taskq_rows_form(rel, values, nulls, lengthof(values));
	}
	taskq_rows_insert(rel, tuples, n, 3);
	for (int i = 0; i < n; i++)
		heap_freetuple(tuples[i]);
	pfree(tuples);
	table_close(rel, NoLock);
}

/* taskq_ready_delete - it is not any more */
void
taskq_ready_delete(int32 lane, TimestampTz due, const pg_uuid_t *id)
{
	ScanKeyData keys[3];

	taskq_key(&keys[0], 1, F_INT4EQ, Int32GetDatum(lane));
	taskq_key(&keys[1], 2, F_TIMESTAMPTZ_EQ, TimestampTzGetDatum(due));
	taskq_key(&keys[2], 3, F_UUID_EQ, UUIDPGetDatum(id));
	taskq_read_delete(TASKQ_REL_READY, TASKQ_REL_READY_PKEY, RowExclusiveLock,
					  3, keys);
}

/*
 * Rows of a lane from a place on, in order, as (due, id); how many of at most
 * max.
 */
static int
read_rows(int32 lane, const TaskqDue *from, Snapshot snapshot, int max,
		  TaskqDue *rows)
{
	TaskqRead	read;
	ScanKeyData keys[2];
	HeapTuple	tuple;
	int			n = 0;

	taskq_key(&keys[0], 1, F_INT4EQ, Int32GetDatum(lane));
	taskq_key_from(&keys[1], 2, F_TIMESTAMPTZ_GE,
				   TimestampTzGetDatum(from->due));
	taskq_read_begin_ordered(&read, TASKQ_REL_READY, TASKQ_REL_READY_PKEY,
							 snapshot, 2, keys);
	while (n < max && (tuple = taskq_read_next(&read)) != NULL)
	{
		CHECK_FOR_INTERRUPTS();
		rows[n].due = DatumGetTimestampTz(taskq_read_column(&read, tuple, 2));
		rows[n].id = *DatumGetUUIDP(taskq_read_column(&read, tuple, 3));
		n += taskq_due_cmp(&rows[n], from) >= 0;
	}
	taskq_read_end(&read);
	return n;
}

/*
 * taskq_ready_next - rows of a lane from *from on, in order; how many of at
 * most max
 *
 * *from is moved past the last.  Whether they are claimable is the caller's to
 * ask.
 */
int
taskq_ready_next(int32 lane, TaskqDue *from, int max, TaskqDue *rows)
{
	int			n = read_rows(lane, from, NULL, max, rows);

	if (n > 0)
	{
		*from = rows[n - 1];
		taskq_id_next(&from->id);
	}
	return n;
}

/* What a scan of the leaves would say of it. */
static bool
passes(TaskqRow *row, TaskqStoreFilter filter)
{
	Relation	rel;
	bool		passed;

	if (filter == NULL)
		return true;
	rel = taskq_store_open(TASKQ_REL_LEAF + row->leaf, AccessShareLock);
	passed = filter(row->whole ? row->whole
					: taskq_rows_form(rel, row->values, row->nulls,
									  Natts_task),
					RelationGetDescr(rel));
	table_close(rel, AccessShareLock);
	return passed;
}

/*
 * taskq_ready_claimable - is a task claimable, and does the filter (or NULL)
 * let it pass?  Then *ref tells where it is
 */
bool
taskq_ready_claimable(const pg_uuid_t *id, TaskqStoreFilter filter,
					  TaskqRef *ref)
{
	TaskqRow	row;
	char		state;

	if (!taskq_store_find(id, &row))
		return false;
	state = taskq_row_state(&row);
	ref->id = *id;
	ref->tid = row.tid;
	ref->leaf = row.leaf;
	return (state == TASKQ_PENDING || state == TASKQ_RUNNING) &&
		passes(&row, filter);
}

/*
 * taskq_ready_scan - claimable tasks of a lane that have a row here, in order
 * of their due times
 *
 * Up to max of them from a place on, with their places in dues; those that
 * the filter (or NULL) refuses are passed over.  What is not claimable by now
 * either waits for its time and comes back with a row of its own, or is over.
 */
int
taskq_ready_scan(int32 lane, const TaskqDue *from, Snapshot snapshot,
				 TaskqStoreFilter filter, int max, TaskqRef *found,
				 TaskqDue *dues, bool *exhausted)
{
	TaskqDue	at = *from;
	TaskqDue   *rows = palloc(sizeof(TaskqDue) * max);
	int			n = 0;
	int			got;

	do
	{
		int			wanted = max - n;

		got = read_rows(lane, &at, snapshot, wanted, rows);
		*exhausted = got < wanted;
		for (int i = 0; i < got; i++)
		{
			if (taskq_ready_claimable(&rows[i].id, filter, &found[n]))
				dues[n++] = rows[i];
		}
		if (got > 0)
		{
			at = rows[got - 1];
			taskq_id_next(&at.id);
		}
	} while (!*exhausted && n < max);
	pfree(rows);
	return n;
}

/*
 * taskq_ready_tidy - delete rows of long tasks that are over
 *
 * For the dispatcher, which alone makes such rows: nobody else deletes them
 * either.
 */
void
taskq_ready_tidy(int32 lane)
{
	Snapshot	snapshot = taskq_store_snapshot();
	TaskqDue	at;
	TaskqDue	row;

	taskq_due_first(&at);
	while (read_rows(lane, &at, snapshot, 1, &row) == 1 &&
		   row.due == DT_NOBEGIN)
	{
		TaskqRef	ref;

		if (!taskq_ready_claimable(&row.id, NULL, &ref))
			taskq_ready_delete(lane, row.due, &row.id);
		at = row;
		taskq_id_next(&at.id);
	}
	UnregisterSnapshot(snapshot);
}

/* ---- watermarks ---- */

/* Find a lane's row, with the table locked in this mode from then on. */
static HeapTuple
find_watermark(TaskqRead *read, int32 lane, LOCKMODE lockmode)
{
	ScanKeyData key;

	taskq_key(&key, 1, F_INT4EQ, Int32GetDatum(lane));
	taskq_read_begin(read, TASKQ_REL_WATERMARK, TASKQ_REL_WATERMARK_PKEY,
					 lockmode, 1, &key);
	return taskq_read_next(read);
}

/*
 * taskq_watermark_read - where a lane was saved last; the beginning, and
 * false, if it never was
 */
bool
taskq_watermark_read(int32 lane, pg_uuid_t *id)
{
	TaskqRead	read;
	HeapTuple	tuple = find_watermark(&read, lane, AccessShareLock);

	memset(id, 0, sizeof(*id));
	if (tuple != NULL)
		*id = *DatumGetUUIDP(taskq_read_column(&read, tuple, 2));
	taskq_read_end(&read);
	return tuple != NULL;
}

/* taskq_watermark_highest - of all lanes; false if none was saved */
bool
taskq_watermark_highest(pg_uuid_t *id)
{
	TaskqRead	read;
	HeapTuple	tuple;
	bool		found = false;

	memset(id, 0, sizeof(*id));
	taskq_read_begin_all(&read, TASKQ_REL_WATERMARK, AccessShareLock);
	while ((tuple = taskq_read_next(&read)) != NULL)
	{
		pg_uuid_t  *this = DatumGetUUIDP(taskq_read_column(&read, tuple, 2));

		CHECK_FOR_INTERRUPTS();
		if (taskq_id_cmp(this, id) > 0)
			*id = *this;
		found = true;
	}
	taskq_read_end(&read);
	return found;
}

/*
 * taskq_watermark_write - save a lane's; only its database's dispatcher does
 */
void
taskq_watermark_write(int32 lane, const pg_uuid_t *id)
{
	TaskqRead	read;
	HeapTuple	old = find_watermark(&read, lane, RowExclusiveLock);
	Datum		values[2] = {Int32GetDatum(lane), UUIDPGetDatum(id)};
	bool		nulls[2] = {false, false};

	if (old != NULL)
	{
		ItemPointerData tid = old->t_self;

		taskq_rows_update_one(read.rel, &tid, values, nulls,
							  lengthof(values));
	}
	else
		taskq_rows_insert_one(read.rel, values, nulls, lengthof(values));
	taskq_read_end(&read);
}
