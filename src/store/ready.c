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

#include "access/genam.h"
#include "access/skey.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/indexing.h"
#include "miscadmin.h"
#include "store/rows.h"
#include "store/state.h"
#include "store/store.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"
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

/* taskq_ready_delete - it is not any more */
void
taskq_ready_delete(int32 lane, TimestampTz due, const pg_uuid_t *id)
{
	Relation	rel = taskq_store_open(TASKQ_REL_READY, RowExclusiveLock);
	Snapshot	snapshot = taskq_store_snapshot();
	ScanKeyData keys[3];
	SysScanDesc scan;
	HeapTuple	tuple;

	ScanKeyInit(&keys[0], 1, BTEqualStrategyNumber, F_INT4EQ,
				Int32GetDatum(lane));
	ScanKeyInit(&keys[1], 2, BTEqualStrategyNumber, F_TIMESTAMPTZ_EQ,
				TimestampTzGetDatum(due));
	ScanKeyInit(&keys[2], 3, BTEqualStrategyNumber, F_UUID_EQ,
				UUIDPGetDatum(id));
	scan = systable_beginscan(rel, taskq_store_oid(TASKQ_REL_READY_PKEY),
							  true, snapshot, 3, keys);
	while ((tuple = systable_getnext(scan)) != NULL)
		CatalogTupleDelete(rel, &tuple->t_self);
	systable_endscan(scan);
	UnregisterSnapshot(snapshot);
	table_close(rel, NoLock);
}

/*
 * Rows of a lane from a place on, in order, as (due, id); how many of at most
 * max.
 */
static int
read_rows(int32 lane, const TaskqDue *from, Snapshot snapshot, int max,
		  TaskqDue *rows)
{
	Relation	rel = taskq_store_open(TASKQ_REL_READY, AccessShareLock);
	Relation	index = index_open(taskq_store_oid(TASKQ_REL_READY_PKEY),
								   AccessShareLock);
	ScanKeyData keys[2];
	SysScanDesc scan;
	HeapTuple	tuple;
	int			n = 0;

	ScanKeyInit(&keys[0], 1, BTEqualStrategyNumber, F_INT4EQ,
				Int32GetDatum(lane));
	ScanKeyInit(&keys[1], 2, BTGreaterEqualStrategyNumber, F_TIMESTAMPTZ_GE,
				TimestampTzGetDatum(from->due));
	scan = systable_beginscan_ordered(rel, index, snapshot, 2, keys);
	while (n < max &&
		   (tuple = systable_getnext_ordered(scan, ForwardScanDirection)) !=
		   NULL)
	{
		bool		isnull;

		CHECK_FOR_INTERRUPTS();
		rows[n].due = DatumGetTimestampTz(heap_getattr(tuple, 2, RelationGetDescr(rel), &isnull));
		rows[n].id = *DatumGetUUIDP(heap_getattr(tuple, 3, RelationGetDescr(rel), &isnull));
		n += taskq_due_cmp(&rows[n], from) >= 0;
	}
	systable_endscan_ordered(scan);
	index_close(index, AccessShareLock);
	table_close(rel, AccessShareLock);
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

static bool
is_claimable(const pg_uuid_t *id, TaskqStoreFilter filter, TaskqRef *ref)
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
			if (is_claimable(&rows[i].id, filter, &found[n]))
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

		if (!is_claimable(&row.id, NULL, &ref))
			taskq_ready_delete(lane, row.due, &row.id);
		at = row;
		taskq_id_next(&at.id);
	}
	UnregisterSnapshot(snapshot);
}

/* ---- watermarks ---- */

/* Find a lane's row; the tuple is a copy. */
static HeapTuple
find_watermark(Relation rel, int32 lane)
{
	Snapshot	snapshot = taskq_store_snapshot();
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;

	ScanKeyInit(&key, 1, BTEqualStrategyNumber, F_INT4EQ, Int32GetDatum(lane));
	scan = systable_beginscan(rel, taskq_store_oid(TASKQ_REL_WATERMARK_PKEY),
							  true, snapshot, 1, &key);
	tuple = systable_getnext(scan);
	if (tuple != NULL)
		tuple = heap_copytuple(tuple);
	systable_endscan(scan);
	UnregisterSnapshot(snapshot);
	return tuple;
}

static pg_uuid_t
watermark_of(Relation rel, HeapTuple tuple)
{
	bool		isnull;

	return *DatumGetUUIDP(heap_getattr(tuple, 2, RelationGetDescr(rel), &isnull));
}

/*
 * taskq_watermark_read - where a lane was saved last; the beginning, and
 * false, if it never was
 */
bool
taskq_watermark_read(int32 lane, pg_uuid_t *id)
{
	Relation	rel = taskq_store_open(TASKQ_REL_WATERMARK, AccessShareLock);
	HeapTuple	tuple = find_watermark(rel, lane);

	memset(id, 0, sizeof(*id));
	if (tuple != NULL)
		*id = watermark_of(rel, tuple);
	table_close(rel, AccessShareLock);
	return tuple != NULL;
}

/* taskq_watermark_highest - of all lanes; false if none was saved */
bool
taskq_watermark_highest(pg_uuid_t *id)
{
	Relation	rel = taskq_store_open(TASKQ_REL_WATERMARK, AccessShareLock);
	Snapshot	snapshot = taskq_store_snapshot();
	SysScanDesc scan = systable_beginscan(rel, InvalidOid, false, snapshot, 0,
										  NULL);
	HeapTuple	tuple;
	bool		found = false;

	memset(id, 0, sizeof(*id));
	while ((tuple = systable_getnext(scan)) != NULL)
	{
		pg_uuid_t	this = watermark_of(rel, tuple);

		CHECK_FOR_INTERRUPTS();
		if (taskq_id_cmp(&this, id) > 0)
			*id = this;
		found = true;
	}
	systable_endscan(scan);
	UnregisterSnapshot(snapshot);
	table_close(rel, AccessShareLock);
	return found;
}

/*
 * taskq_watermark_write - save a lane's; only its database's dispatcher does
 */
void
taskq_watermark_write(int32 lane, const pg_uuid_t *id)
{
	Relation	rel = taskq_store_open(TASKQ_REL_WATERMARK, RowExclusiveLock);
	Datum		values[2] = {Int32GetDatum(lane), UUIDPGetDatum(id)};
	bool		nulls[2] = {false, false};
	HeapTuple	old = find_watermark(rel, lane);

	if (old != NULL)
		taskq_rows_update_one(rel, &old->t_self, values, nulls,
							  lengthof(values));
	else
		taskq_rows_insert_one(rel, values, nulls, lengthof(values));
	table_close(rel, NoLock);
}
