/*-------------------------------------------------------------------------
 *
 * keyed.c
 *		Table "keyed": claimable tasks that have a concurrency key.
 *
 * Such a task has a row here as long as it is pending, or stored as running:
 * the submit writes it, and state.c with the state, under the task's row
 * lock.  So a lane of such tasks needs no watermark, and no scan of the
 * leaves.
 *
 * A task that comes to its end leaves its row to its worker, which deletes
 * those of its whole batch at once before it gives their keys back.  What is
 * left when the worker does not get there is found by the next look, which
 * finds the task as it is by now, and so deletes the row.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "common/cryptohash.h"
#include "common/sha2.h"
#include "executor/tuptable.h"
#include "port/pg_bswap.h"
#include "storage/bufmgr.h"
#include "store/keyed.h"
#include "store/rows.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#define Natts_keyed 5

static void
hash_text(pg_cryptohash_ctx * hash, Datum text)
{
	struct varlena *value = PG_DETOAST_DATUM_PACKED(text);

	if (pg_cryptohash_update(hash, (uint8 *) VARDATA_ANY(value),
							 VARSIZE_ANY_EXHDR(value)) < 0)
		elog(ERROR, "could not hash a concurrency key");
}

/*
 * taskq_key_hash - what stands for a task's concurrency key and tenant
 *
 * Two keys with the same number exclude each other.  Nobody can find a key
 * that has the number of another tenant's.
 */
int64
taskq_key_hash(TaskqRow *row)
{
	pg_cryptohash_ctx *hash = pg_cryptohash_create(PG_SHA256);
	uint8		digest[PG_SHA256_DIGEST_LENGTH];
	uint8		begin = taskq_row_isnull(row, tenant) ? 0 : 1;
	uint8		end = 0;		/* no text has a zero inside */
	uint64		number;

	if (hash == NULL || pg_cryptohash_init(hash) < 0 ||
		pg_cryptohash_update(hash, &begin, 1) < 0)
		elog(ERROR, "could not hash a concurrency key");
	if (begin)
		hash_text(hash, taskq_row_value(row, tenant));
	if (pg_cryptohash_update(hash, &end, 1) < 0)
		elog(ERROR, "could not hash a concurrency key");
	hash_text(hash, taskq_row_value(row, concurrency_key));
	if (pg_cryptohash_final(hash, digest, sizeof(digest)) < 0)
		elog(ERROR, "could not hash a concurrency key");
	pg_cryptohash_free(hash);
	memcpy(&number, digest, sizeof(number));
	return (int64) pg_ntoh64(number);
}

/* Its place in the order of its key. */
static TimestampTz
due_of(TaskqRow *row)
{
	return taskq_row_isnull(row, run_at)
		? taskq_id_time(DatumGetUUIDP(taskq_row_value(row, id)))
		: DatumGetTimestampTz(taskq_row_value(row, run_at));
}

/*
 * taskq_keyed_insert - tasks of one lane and one key are claimable
 */
void
taskq_keyed_insert(TaskqRow *rows, int n)
{
	Relation	rel = taskq_store_open(TASKQ_REL_KEYED, RowExclusiveLock);
	HeapTuple  *tuples = palloc_extended(Max(n, 1) * sizeof(HeapTuple),
										 MCXT_ALLOC_HUGE);
	Datum		values[Natts_keyed];
	bool		nulls[Natts_keyed] = {false};

	values[0] = taskq_row_value(&rows[0], lane);
	values[1] = Int64GetDatum(taskq_key_hash(&rows[0]));
	for (int i = 0; i < n; i++)
	{
		values[2] = TimestampTzGetDatum(due_of(&rows[i]));
		values[3] = taskq_row_value(&rows[i], id);
		values[4] = PointerGetDatum(&rows[i].tid);
		tuples[i] = taskq_rows_form(rel, values, nulls, Natts_keyed);
	}
	for (int i = 0; i < n; i += 1000)
		taskq_rows_insert(rel, tuples + i, Min(n - i, 1000), Natts_keyed);
	for (int i = 0; i < n; i++)
		heap_freetuple(tuples[i]);
	pfree(tuples);
	table_close(rel, NoLock);
}

/* taskq_keyed_delete - a task is not claimable any more */
void
taskq_keyed_delete(TaskqRow *row)
{
	ScanKeyData keys[4];

	taskq_key(&keys[0], 1, F_INT4EQ, taskq_row_value(row, lane));
	taskq_key(&keys[1], 2, F_INT8EQ, Int64GetDatum(taskq_key_hash(row)));
	taskq_key(&keys[2], 3, F_TIMESTAMPTZ_EQ, TimestampTzGetDatum(due_of(row)));
	taskq_key(&keys[3], 4, F_UUID_EQ, taskq_row_value(row, id));
	taskq_read_delete(TASKQ_REL_KEYED, TASKQ_REL_KEYED_PKEY, RowExclusiveLock,
					  lengthof(keys), keys);
}

/* Is a row where it was read?  The place may be another's by now. */
static bool
still_there(Relation rel, BlockNumber nblocks, const TaskqKeyed *row,
			Snapshot snapshot, TupleTableSlot *slot)
{
	ItemPointerData tid = row->tid;
	bool		isnull;

	return ItemPointerGetBlockNumber(&tid) < nblocks &&
		table_tuple_fetch_row_version(rel, &tid, snapshot, slot) &&
		taskq_id_eq(DatumGetUUIDP(slot_getattr(slot, 4, &isnull)),
					&row->at.id) &&
		DatumGetTimestampTz(slot_getattr(slot, 3, &isnull)) == row->at.due;
}

/*
 * taskq_keyed_tidy - delete rows of tasks that are not claimable any more
 *
 * Those that somebody else has deleted, or is about to, are passed over.
 */
void
taskq_keyed_tidy(const TaskqKeyed *rows, int n)
{
	Relation	rel = taskq_store_open(TASKQ_REL_KEYED, RowExclusiveLock);
	Snapshot	snapshot = taskq_store_snapshot();
	TupleTableSlot *slot = table_slot_create(rel, NULL);
	BlockNumber nblocks = RelationGetNumberOfBlocks(rel);

	for (int i = 0; i < n; i++)
	{
		TM_FailureData failure;
		ItemPointerData tid = rows[i].tid;

		if (still_there(rel, nblocks, &rows[i], snapshot, slot))
			(void) table_tuple_delete(rel, &tid, GetCurrentCommandId(true),
									  snapshot, InvalidSnapshot, false,
									  &failure, false);
		ExecClearTuple(slot);
	}
	ExecDropSingleTupleTableSlot(slot);
	UnregisterSnapshot(snapshot);
	table_close(rel, NoLock);
}

/*
 * taskq_keyed_begin - begin to read a lane's tasks from a key on, key by key,
 * those of each in their order; end it with taskq_read_end
 */
void
taskq_keyed_begin(TaskqRead *read, int32 lane, int64 from, Snapshot snapshot)
{
	ScanKeyData keys[2];

	taskq_key(&keys[0], 1, F_INT4EQ, Int32GetDatum(lane));
	taskq_key_from(&keys[1], 2, F_INT8GE, Int64GetDatum(from));
	taskq_read_begin_ordered(read, TASKQ_REL_KEYED, TASKQ_REL_KEYED_PKEY,
							 snapshot, 2, keys);
}

/* taskq_keyed_next - the next one; false if there is none */
bool
taskq_keyed_next(TaskqRead *read, TaskqKeyed *keyed)
{
	HeapTuple	tuple = taskq_read_next(read);

	if (tuple == NULL)
		return false;
	keyed->key = DatumGetInt64(taskq_read_column(read, tuple, 2));
	keyed->at.due = DatumGetTimestampTz(taskq_read_column(read, tuple, 3));
	keyed->at.id = *DatumGetUUIDP(taskq_read_column(read, tuple, 4));
	keyed->place = *(ItemPointer) DatumGetPointer(taskq_read_column(read, tuple, 5));
	keyed->tid = tuple->t_self;
	return true;
}
