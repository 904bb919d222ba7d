/*-------------------------------------------------------------------------
 *
 * timers.c
 *		Table "timer": what is due when.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "store/read.h"
#include "store/rows.h"
#include "store/timers.h"
#include "utils/timestamp.h"

/*
 * taskq_timer_insert - remember that a task is due at some time
 *
 * Not that of a held one, which has none: its time never comes.
 */
void
taskq_timer_insert(TimestampTz due, const pg_uuid_t *id, int32 lane)
{
	Relation	rel;
	Datum		values[3] = {TimestampTzGetDatum(due), UUIDPGetDatum(id),
	Int32GetDatum(lane)};
	bool		nulls[3] = {false, false, false};

	if (due == DT_NOEND)
		return;
	rel = taskq_store_open(TASKQ_REL_TIMER, RowExclusiveLock);
	taskq_rows_insert_one(rel, values, nulls, lengthof(values));
	table_close(rel, NoLock);
}

/* taskq_timer_delete - forget it, if it is there */
void
taskq_timer_delete(TimestampTz due, const pg_uuid_t *id)
{
	ScanKeyData keys[2];

	taskq_key(&keys[0], 1, F_TIMESTAMPTZ_EQ, TimestampTzGetDatum(due));
	taskq_key(&keys[1], 2, F_UUID_EQ, UUIDPGetDatum(id));
	taskq_read_delete(TASKQ_REL_TIMER, TASKQ_REL_TIMER_PKEY, RowExclusiveLock,
					  2, keys);
}

/*
 * taskq_timer_next - timers from *due and *id on, in order, for going through
 * all of them
 *
 * Returns how many, at most max, and moves *due and *id past the last.
 */
int
taskq_timer_next(TimestampTz *due, pg_uuid_t *id, int max, pg_uuid_t *ids,
				 TimestampTz *dues)
{
	TaskqRead	read;
	ScanKeyData key;
	HeapTuple	tuple;
	int			n = 0;

	taskq_key_from(&key, 1, F_TIMESTAMPTZ_GE, TimestampTzGetDatum(*due));
	taskq_read_begin_ordered(&read, TASKQ_REL_TIMER, TASKQ_REL_TIMER_PKEY,
							 NULL, 1, &key);
	while (n < max && (tuple = taskq_read_next(&read)) != NULL)
	{
		dues[n] = DatumGetTimestampTz(taskq_read_column(&read, tuple, 1));
		ids[n] = *DatumGetUUIDP(taskq_read_column(&read, tuple, 2));
		n += dues[n] > *due || taskq_id_cmp(&ids[n], id) >= 0;
	}
	taskq_read_end(&read);
	if (n > 0)
	{
		*due = dues[n - 1];
		*id = ids[n - 1];
		taskq_id_next(id);
	}
	return n;
}
