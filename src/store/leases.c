/*-------------------------------------------------------------------------
 *
 * leases.c
 *		Table "lease": what external workers hold.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "access/xact.h"
#include "store/leases.h"
#include "store/read.h"
#include "store/rows.h"
#include "utils/timestamp.h"

void		(*taskq_lease_ended) (struct TaskqRow *row) = NULL;

/* columns of taskq_internal.lease, in the order of TaskqLease but tid */
#define Natts_lease 10

static void
lease_values(const TaskqLease *lease, Datum *values, bool *nulls)
{
	Datum		all[Natts_lease] = {UUIDPGetDatum(&lease->task),
		UUIDPGetDatum(&lease->token),
		TimestampTzGetDatum(lease->until),
		TimestampTzGetDatum(lease->deadline),
		TimestampTzGetDatum(lease->timer),
		Int64GetDatum(lease->lease_ms),
		BoolGetDatum(lease->cancel),
		BoolGetDatum(lease->told),
		TimestampTzGetDatum(lease->updated_at),
	lease->progress};

	memcpy(values, all, sizeof(all));
	memset(nulls, false, Natts_lease * sizeof(bool));
	nulls[3] = lease->deadline == DT_NOEND;
	nulls[9] = lease->progress == 0;
}

/*
 * taskq_lease_insert - the task of a lease, whose row this transaction has
 * locked, gets it
 */
void
taskq_lease_insert(TaskqLease *lease)
{
	Relation	rel = taskq_store_open(TASKQ_REL_LEASE, RowExclusiveLock);
	Datum		values[Natts_lease];
	bool		nulls[Natts_lease];

	lease_values(lease, values, nulls);
	taskq_rows_insert_one(rel, values, nulls, Natts_lease);
	table_close(rel, NoLock);
	CommandCounterIncrement();
}

static void
lease_from_tuple(TaskqLease *lease, HeapTuple tuple, TupleDesc desc)
{
	Datum		values[Natts_lease];
	bool		nulls[Natts_lease];

	taskq_rows_deform(tuple, desc, values, nulls, Natts_lease);
	lease->tid = tuple->t_self;
	lease->task = *DatumGetUUIDP(values[0]);
	lease->token = *DatumGetUUIDP(values[1]);
	lease->until = DatumGetTimestampTz(values[2]);
	lease->deadline = nulls[3] ? DT_NOEND : DatumGetTimestampTz(values[3]);
	lease->timer = DatumGetTimestampTz(values[4]);
	lease->lease_ms = DatumGetInt64(values[5]);
	lease->cancel = DatumGetBool(values[6]);
	lease->told = DatumGetBool(values[7]);
	lease->updated_at = DatumGetTimestampTz(values[8]);
	lease->progress = nulls[9] ? (Datum) 0
		: PointerGetDatum(PG_DETOAST_DATUM_COPY(values[9]));
}

/*
 * taskq_lease_find - the lease of a task; progress is a copy in the current
 * context.  False if it has none
 */
bool
taskq_lease_find(const pg_uuid_t *id, TaskqLease *lease)
{
	TaskqRead	read;
	ScanKeyData key;
	HeapTuple	tuple;

	taskq_key(&key, 1, F_UUID_EQ, UUIDPGetDatum(id));
	taskq_read_begin(&read, TASKQ_REL_LEASE, TASKQ_REL_LEASE_PKEY,
					 AccessShareLock, 1, &key);
	tuple = taskq_read_next(&read);
	if (tuple != NULL)
		lease_from_tuple(lease, tuple, RelationGetDescr(read.rel));
	taskq_read_end(&read);
	return tuple != NULL;
}

/*
 * taskq_lease_update - write back a lease whose task this transaction has
 * locked
 */
void
taskq_lease_update(TaskqLease *lease)
{
	Relation	rel = taskq_store_open(TASKQ_REL_LEASE, RowExclusiveLock);
	Datum		values[Natts_lease];
	bool		nulls[Natts_lease];

	lease_values(lease, values, nulls);
	taskq_rows_update_one(rel, &lease->tid, values, nulls, Natts_lease);
	table_close(rel, NoLock);
	CommandCounterIncrement();
}

/*
 * taskq_lease_delete - the task, whose row this transaction has locked, is
 * nobody's any more
 */
void
taskq_lease_delete(const pg_uuid_t *id)
{
	ScanKeyData key;

	taskq_key(&key, 1, F_UUID_EQ, UUIDPGetDatum(id));
	taskq_read_delete(TASKQ_REL_LEASE, TASKQ_REL_LEASE_PKEY, RowExclusiveLock,
					  1, &key);
}

/*
 * taskq_lease_ids - all tasks that have one, as a list of palloc'd pg_uuid_t
 */
List *
taskq_lease_ids(void)
{
	TaskqRead	read;
	HeapTuple	tuple;
	List	   *ids = NIL;

	taskq_read_begin_all(&read, TASKQ_REL_LEASE, AccessShareLock);
	while ((tuple = taskq_read_next(&read)) != NULL)
	{
		pg_uuid_t  *id = palloc(sizeof(pg_uuid_t));

		*id = *DatumGetUUIDP(taskq_read_column(&read, tuple, 1));
		ids = lappend(ids, id);
	}
	taskq_read_end(&read);
	return ids;
}
