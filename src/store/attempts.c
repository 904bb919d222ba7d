/*-------------------------------------------------------------------------
 *
 * attempts.c
 *		Table "attempt": attempts that were not the last.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/indexing.h"
#include "executor/tuptable.h"
#include "store/attempts.h"
#include "store/read.h"
#include "store/rows.h"

/*
 * taskq_attempt_insert - keep an attempt that is not the task's last
 *
 * Worker, times and resources are taken from the row, which still has them from that
 * attempt.
 */
void
taskq_attempt_insert(const TaskqRow *row, int attempt, char outcome,
					 Datum error)
{
	Relation	rel = taskq_store_open(TASKQ_REL_ATTEMPT, RowExclusiveLock);
	Datum		values[8] = {taskq_row_value(row, id),
		Int16GetDatum(attempt),
		CharGetDatum(outcome),
		taskq_row_value(row, worker),
		taskq_row_value(row, started_at),
		taskq_row_value(row, finished_at),
		error,
	taskq_row_value(row, resources)};
	bool		nulls[8] = {false,
		false,
		false,
		taskq_row_isnull(row, worker),
		taskq_row_isnull(row, started_at),
		taskq_row_isnull(row, finished_at),
		error == 0,
	taskq_row_isnull(row, resources)};

	taskq_rows_insert_one(rel, values, nulls, lengthof(values));
	table_close(rel, NoLock);
}

/*
 * taskq_attempts_next - tasks that have attempts on record, from *from on, in
 * order of id
 *
 * Each once.  Returns how many, at most max, and moves *from past the last.
 */
int
taskq_attempts_next(pg_uuid_t *from, int max, pg_uuid_t *ids)
{
	TaskqRead	read;
	ScanKeyData key;
	HeapTuple	tuple;
	int			n = 0;

	taskq_key_from(&key, 1, F_UUID_GE, UUIDPGetDatum(from));
	taskq_read_begin_ordered(&read, TASKQ_REL_ATTEMPT, TASKQ_REL_ATTEMPT_PKEY,
							 NULL, 1, &key);
	while (n < max && (tuple = taskq_read_next(&read)) != NULL)
	{
		ids[n] = *DatumGetUUIDP(taskq_read_column(&read, tuple, 1));
		n += n == 0 || !taskq_id_eq(&ids[n - 1], &ids[n]);
	}
	taskq_read_end(&read);
	if (n > 0)
	{
		*from = ids[n - 1];
		taskq_id_next(from);
	}
	return n;
}

/* Delete a row, unless somebody else has it locked, or did so. */
static void
delete_if_free(Relation rel, ItemPointer tid, Snapshot snapshot)
{
	TupleTableSlot *slot = table_slot_create(rel, NULL);
	TM_FailureData failure;

	if (table_tuple_lock(rel, tid, snapshot, slot, GetCurrentCommandId(false),
						 LockTupleExclusive, LockWaitSkip, 0,
						 &failure) == TM_Ok)
		CatalogTupleDelete(rel, tid);
	ExecDropSingleTupleTableSlot(slot);
}

/*
 * taskq_attempts_forget - forget the attempts at a task that is gone; never
 * waits
 */
void
taskq_attempts_forget(const pg_uuid_t *id)
{
	TaskqRead	read;
	ScanKeyData key;
	HeapTuple	tuple;

	taskq_key(&key, 1, F_UUID_EQ, UUIDPGetDatum(id));
	taskq_read_begin(&read, TASKQ_REL_ATTEMPT, TASKQ_REL_ATTEMPT_PKEY,
					 RowExclusiveLock, 1, &key);
	while ((tuple = taskq_read_next(&read)) != NULL)
	{
		ItemPointerData tid = tuple->t_self;

		delete_if_free(read.rel, &tid, read.snapshot);
	}
	taskq_read_end(&read);
}

/* taskq_attempts_delete - forget the attempts at a task that is deleted */
void
taskq_attempts_delete(const pg_uuid_t *id)
{
	ScanKeyData key;

	taskq_key(&key, 1, F_UUID_EQ, UUIDPGetDatum(id));
	taskq_read_delete(TASKQ_REL_ATTEMPT, TASKQ_REL_ATTEMPT_PKEY,
					  RowExclusiveLock, 1, &key);
}
