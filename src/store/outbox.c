/*-------------------------------------------------------------------------
 *
 * outbox.c
 *		Tables "outbox_0" ...: tasks whose end the feed may not have yet.
 *
 * A row has ids.  It is written by the transaction that ends them, or, for a
 * worker's batch, by the first that does; so whatever survives a crash, the
 * id of a task that ended is here until the feed has it.  What is here and
 * has not ended does no harm.  Rows are never deleted: one table is written
 * for a while, then another one, and when all that is in the first has been
 * told it is truncated (dispatch/outbox.c).
 *
 * Nobody waits: who finds a table locked takes another one, and if there is
 * none, or it is full, nothing is written.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "access/xact.h"
#include "base/compat.h"
#include "base/shmem.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "storage/lmgr.h"
#include "store/outbox.h"
#include "store/read.h"
#include "store/rows.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

/* columns of taskq_internal.outbox_0 ... */
enum
{
	Anum_outbox_at = 1,
	Anum_outbox_ids,			/* UUID_LEN bytes each */
	Natts_outbox = Anum_outbox_ids
};

StaticAssertDecl(TASKQ_REL_OUTBOX_LAST - TASKQ_REL_OUTBOX + 1 == TASKQ_OUTBOXES,
				 "a table for every outbox");

static bool
lock_at_once(int outbox, LOCKMODE lockmode)
{
	Oid			oid = taskq_store_oid(TASKQ_REL_OUTBOX + outbox);

	return ConditionalLockRelationOid(oid, lockmode) &&
		taskq_store_oid(TASKQ_REL_OUTBOX + outbox) == oid;
}

static void
insert_row(Relation rel, const pg_uuid_t *ids, int n)
{
	bytea	   *packed = palloc(VARHDRSZ + n * UUID_LEN);
	Datum		values[Natts_outbox];
	bool		nulls[Natts_outbox] = {false};

	SET_VARSIZE(packed, VARHDRSZ + n * UUID_LEN);
	memcpy(VARDATA(packed), ids, n * UUID_LEN);
	values[Anum_outbox_at - 1] = TimestampTzGetDatum(GetCurrentTimestamp());
	values[Anum_outbox_ids - 1] = PointerGetDatum(packed);
	taskq_rows_insert_one(rel, values, nulls, Natts_outbox);
	pfree(packed);
}

/*
 * taskq_outbox_insert - write n ids to this outbox, or to another one
 *
 * Returns to which, -1: to none.  It is locked row exclusive until the
 * transaction ends.
 */
int
taskq_outbox_insert(int first, const pg_uuid_t *ids, int n)
{
	for (int i = 0; i < TASKQ_OUTBOXES; i++)
	{
		int			outbox = (first + i) % TASKQ_OUTBOXES;
		Relation	rel;
		bool		full;

		if (!lock_at_once(outbox, RowExclusiveLock))
			continue;
		rel = taskq_store_open(TASKQ_REL_OUTBOX + outbox, NoLock);
		full = RelationGetNumberOfBlocks(rel) >= TASKQ_OUTBOX_FULL;
		for (int j = 0; j < n && !full; j += TASKQ_OUTBOX_IDS)
			insert_row(rel, ids + j, Min(n - j, TASKQ_OUTBOX_IDS));
		table_close(rel, NoLock);
		if (!full)
			return outbox;
	}
	return -1;
}

/* taskq_outbox_blocks - its size; not known now: InvalidBlockNumber */
BlockNumber
taskq_outbox_blocks(int outbox)
{
	Relation	rel;
	BlockNumber blocks;

	if (!lock_at_once(outbox, AccessShareLock))
		return InvalidBlockNumber;
	rel = taskq_store_open(TASKQ_REL_OUTBOX + outbox, NoLock);
	blocks = RelationGetNumberOfBlocks(rel);
	table_close(rel, NoLock);
	return blocks;
}

/*
 * taskq_outbox_lock - lock it against everybody, if that can be had at once
 *
 * Then all transactions that wrote to it are over, and have told.
 */
bool
taskq_outbox_lock(int outbox)
{
	return lock_at_once(outbox, AccessExclusiveLock);
}

/* taskq_outbox_truncate - empty it; after taskq_outbox_lock */
void
taskq_outbox_truncate(int outbox)
{
	Relation	rel = taskq_store_open(TASKQ_REL_OUTBOX + outbox, NoLock);

	taskq_truncate(rel);
	table_close(rel, NoLock);
}

/*
 * taskq_outbox_read - all ids in it, palloc'd, and when the first one was
 * written
 *
 * False if somebody has locked it.
 */
bool
taskq_outbox_read(int outbox, pg_uuid_t **ids, int *n, TimestampTz *since)
{
	TaskqRead	read;
	HeapTuple	tuple;
	int			room = 1024;

	*n = 0;
	*since = DT_NOEND;
	if (!lock_at_once(outbox, AccessShareLock))
		return false;
	*ids = palloc(sizeof(pg_uuid_t) * room);
	taskq_read_begin_all(&read, TASKQ_REL_OUTBOX + outbox, AccessShareLock);
	while ((tuple = taskq_read_next(&read)) != NULL)
	{
		bytea	   *packed =
		DatumGetByteaPP(taskq_read_column(&read, tuple, Anum_outbox_ids));
		TimestampTz at =
		DatumGetTimestampTz(taskq_read_column(&read, tuple, Anum_outbox_at));
		int			some = VARSIZE_ANY_EXHDR(packed) / UUID_LEN;

		CHECK_FOR_INTERRUPTS();
		while (*n + some > room)
		{
			room *= 2;
			*ids = repalloc_huge(*ids, sizeof(pg_uuid_t) * room);
		}
		memcpy(*ids + *n, VARDATA_ANY(packed), some * UUID_LEN);
		*n += some;
		*since = Min(*since, at);
	}
	taskq_read_end(&read);
	return true;
}
