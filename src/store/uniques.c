/*-------------------------------------------------------------------------
 *
 * uniques.c
 *		Table "unique_key": which keys are taken, and by which tasks.
 *
 * A task submitted with a unique key has a row from its submit to its end, or
 * for a while longer.  Several may have the same key: those that run, and one
 * that follows.  So no index keeps keys apart; who looks for a key and writes
 * to it does so under a lock of that key, which is held for these two steps
 * only, not until the transaction ends: a transaction may submit any number
 * of keys.  What other transactions have not committed yet is seen there by a
 * dirty snapshot, and waited for without that lock, as a unique index would
 * do it: by transaction number, so that deadlocks are found.
 *
 * Who writes a row that is there:
 *	- the transaction that ends or deletes the task, whose row it has locked;
 *	- whoever finds, under the key's lock, that its time is over, or that the
 *	  task is gone.
 * Only deleted rows can be missed by a look under the lock: a row is inserted,
 * or changed, under it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/indexing.h"
#include "common/cryptohash.h"
#include "common/sha2.h"
#include "executor/tuptable.h"
#include "miscadmin.h"
#include "storage/lock.h"
#include "store/defs.h"
#include "store/read.h"
#include "store/rows.h"
#include "store/uniques.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

/* columns of taskq_internal.unique_key */
enum
{
	Anum_unique_task = 1,
	Anum_unique_key,
	Anum_unique_role,
	Anum_unique_keep_ms,
	Anum_unique_until,
	Natts_unique = Anum_unique_until
};

StaticAssertDecl(TASKQ_UNIQUE_HASH == PG_SHA256_DIGEST_LENGTH,
				 "room for a hash");

/* ---- keys ---- */

/*
 * taskq_unique_hash - the hash of a key; tenant may be NULL
 *
 * One that nobody can find another key for: it would be somebody else's.
 * Does not set the role.
 */
void
taskq_unique_hash(const char *kind, const char *tenant, const char *key,
				  TaskqUniqueKey *unique)
{
	pg_cryptohash_ctx *context = pg_cryptohash_create(PG_SHA256);
	uint8		has_tenant = tenant != NULL;

	tenant = tenant ? tenant : "";
	/* each with its end: none can be taken for the beginning of the next */
	if (pg_cryptohash_init(context) < 0 ||
		pg_cryptohash_update(context, (const uint8 *) kind,
							 strlen(kind) + 1) < 0 ||
		pg_cryptohash_update(context, &has_tenant, 1) < 0 ||
		pg_cryptohash_update(context, (const uint8 *) tenant,
							 strlen(tenant) + 1) < 0 ||
		pg_cryptohash_update(context, (const uint8 *) key,
							 strlen(key)) < 0 ||
		pg_cryptohash_final(context, unique->hash, TASKQ_UNIQUE_HASH) < 0)
		elog(ERROR, "could not hash a key: %s", pg_cryptohash_error(context));
	pg_cryptohash_free(context);
}

/* The lock of a key: by the beginning of its hash, in the table's name. */
static void
key_lock_tag(const uint8 *hash, LOCKTAG * tag)
{
	uint32		words[2];

	memcpy(words, hash, sizeof(words));
	SET_LOCKTAG_OBJECT(*tag, MyDatabaseId,
					   taskq_store_oid(TASKQ_REL_UNIQUE), words[0],
					   (uint16) words[1]);
}

static void
lock_hash(const uint8 *hash)
{
	LOCKTAG		tag;

	key_lock_tag(hash, &tag);
	(void) LockAcquire(&tag, ExclusiveLock, false, false);
}

static void
unlock_hash(const uint8 *hash)
{
	LOCKTAG		tag;

	key_lock_tag(hash, &tag);
	(void) LockRelease(&tag, ExclusiveLock, false);
}

/*
 * taskq_unique_lock - nobody else looks for this key, or takes it, until
 * taskq_unique_unlock, or an error
 *
 * Not to be held while waiting for a transaction.
 */
void
taskq_unique_lock(const TaskqUniqueKey *key)
{
	lock_hash(key->hash);
}

/* taskq_unique_unlock - ... and now they may */
void
taskq_unique_unlock(const TaskqUniqueKey *key)
{
	unlock_hash(key->hash);
}

static Datum
hash_datum(const uint8 *hash)
{
	bytea	   *value = palloc(VARHDRSZ + TASKQ_UNIQUE_HASH);

	SET_VARSIZE(value, VARHDRSZ + TASKQ_UNIQUE_HASH);
	memcpy(VARDATA(value), hash, TASKQ_UNIQUE_HASH);
	return PointerGetDatum(value);
}

static void
unique_from_tuple(TaskqUnique *unique, HeapTuple tuple, TupleDesc desc,
				  int32 *role_id, uint8 *hash)
{
	Datum		values[Natts_unique];
	bool		nulls[Natts_unique];
	bytea	   *key;

	taskq_rows_deform(tuple, desc, values, nulls, Natts_unique);
	unique->tid = tuple->t_self;
	unique->task = *DatumGetUUIDP(values[Anum_unique_task - 1]);
	unique->keep_ms = DatumGetInt64(values[Anum_unique_keep_ms - 1]);
	unique->until = DatumGetTimestampTz(values[Anum_unique_until - 1]);
	*role_id = DatumGetInt32(values[Anum_unique_role - 1]);
	key = DatumGetByteaPP(values[Anum_unique_key - 1]);
	if (VARSIZE_ANY_EXHDR(key) != TASKQ_UNIQUE_HASH)
		elog(ERROR, "key of task %s is not a hash",
			 taskq_id_text(&unique->task));
	memcpy(hash, VARDATA_ANY(key), TASKQ_UNIQUE_HASH);
}

/* Is it the role of this number?  A role may have several. */
static bool
is_role(int32 role_id, const TaskqUniqueKey *key)
{
	NameData	name;
	Oid			oid;

	return role_id == key->role_id ||
		(taskq_role_read(role_id, &name, &oid) && oid == key->role);
}

/*
 * taskq_unique_find - the rows of a key, as a list of palloc'd TaskqUnique,
 * the oldest task first
 *
 * Caller has locked the key.  *in_doubt: a transaction under way that has
 * inserted or deleted one, InvalidTransactionId if there is none: wait for
 * its end, without the lock, and look again.
 */
List *
taskq_unique_find(const TaskqUniqueKey *key, TransactionId *in_doubt)
{
	Relation	rel = taskq_store_open(TASKQ_REL_UNIQUE, AccessShareLock);
	SnapshotData dirty;
	ScanKeyData scankey;
	SysScanDesc scan;
	HeapTuple	tuple;
	List	   *found = NIL;

	*in_doubt = InvalidTransactionId;
	InitDirtySnapshot(dirty);
	taskq_key(&scankey, Anum_unique_key, F_BYTEAEQ, hash_datum(key->hash));
	scan = systable_beginscan(rel, taskq_store_oid(TASKQ_REL_UNIQUE_KEY), true,
							  &dirty, 1, &scankey);
	while ((tuple = systable_getnext(scan)) != NULL)
	{
		TaskqUnique *unique = palloc(sizeof(TaskqUnique));
		TransactionId xmin = dirty.xmin;
		TransactionId xmax = dirty.xmax;
		uint8		hash[TASKQ_UNIQUE_HASH];
		int32		role_id;

		unique_from_tuple(unique, tuple, RelationGetDescr(rel), &role_id,
						  hash);
		if (!is_role(role_id, key))
			continue;
		if (TransactionIdIsValid(xmin) || TransactionIdIsValid(xmax))
			*in_doubt = TransactionIdIsValid(xmin) ? xmin : xmax;
		found = lappend(found, unique);
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return found;
}

/* ---- writing ---- */

static void
insert_row(Relation rel, const pg_uuid_t *task, const uint8 *hash, int32 role,
		   int64 keep_ms, TimestampTz until)
{
	Datum		values[Natts_unique] = {UUIDPGetDatum(task), hash_datum(hash),
		Int32GetDatum(role), Int64GetDatum(keep_ms),
	TimestampTzGetDatum(until)};
	bool		nulls[Natts_unique] = {false};

	taskq_rows_insert_one(rel, values, nulls, Natts_unique);
}

/*
 * taskq_unique_insert - a task that is about to be inserted has this key,
 * which the caller has locked
 */
void
taskq_unique_insert(const TaskqUniqueKey *key, const pg_uuid_t *task,
					int64 keep_ms)
{
	Relation	rel = taskq_store_open(TASKQ_REL_UNIQUE, RowExclusiveLock);

	insert_row(rel, task, key->hash, key->role_id, keep_ms, DT_NOEND);
	table_close(rel, NoLock);
	CommandCounterIncrement();
}

/*
 * Delete a row that was seen at a place; false if somebody else has deleted
 * it or (without wait) has it locked.
 */
static bool
delete_row(Relation rel, const TaskqUnique *unique, bool wait)
{
	ItemPointerData tid = unique->tid;
	TupleTableSlot *slot = table_slot_create(rel, NULL);
	Snapshot	snapshot = taskq_store_snapshot();
	TM_FailureData failure;
	TM_Result	result;

	result = table_tuple_lock(rel, &tid, snapshot, slot,
							  GetCurrentCommandId(false), LockTupleExclusive,
							  wait ? LockWaitBlock : LockWaitSkip, 0,
							  &failure);
	if (result == TM_Ok)
	{
		tid = slot->tts_tid;
		CatalogTupleDelete(rel, &tid);
	}
	UnregisterSnapshot(snapshot);
	ExecDropSingleTupleTableSlot(slot);
	CommandCounterIncrement();
	return result == TM_Ok;
}

/*
 * taskq_unique_delete - delete a row that is not needed any more, whose key
 * the caller has locked
 *
 * False if another transaction is about it: look again.
 */
bool
taskq_unique_delete(const TaskqUnique *unique)
{
	Relation	rel = taskq_store_open(TASKQ_REL_UNIQUE, RowExclusiveLock);
	bool		deleted = delete_row(rel, unique, false);

	table_close(rel, NoLock);
	return deleted;
}

/* The row of a task; false if it has none. */
static bool
find_task(const pg_uuid_t *task, LOCKMODE lockmode, TaskqUnique *unique,
		  int32 *role_id, uint8 *hash)
{
	TaskqRead	read;
	ScanKeyData key;
	HeapTuple	tuple;

	taskq_key(&key, Anum_unique_task, F_UUID_EQ, UUIDPGetDatum(task));
	taskq_read_begin(&read, TASKQ_REL_UNIQUE, TASKQ_REL_UNIQUE_PKEY, lockmode,
					 1, &key);
	tuple = taskq_read_next(&read);
	if (tuple != NULL)
		unique_from_tuple(unique, tuple, RelationGetDescr(read.rel), role_id,
						  hash);
	taskq_read_end(&read);
	return tuple != NULL;
}

/*
 * taskq_unique_keep - for how many milliseconds the task keeps its key after
 * its end, as far as is still known
 */
int64
taskq_unique_keep(const pg_uuid_t *task)
{
	TaskqUnique unique;
	uint8		hash[TASKQ_UNIQUE_HASH];
	int32		role_id;

	return find_task(task, AccessShareLock, &unique, &role_id, hash)
		? unique.keep_ms
		: 0;
}

/*
 * taskq_unique_ended - a task with a key, whose row this transaction has
 * locked, has come to its end
 *
 * It gives the key up, or keeps it for as long as its submit said.
 */
void
taskq_unique_ended(const pg_uuid_t *task, TimestampTz now)
{
	TaskqUnique unique;
	uint8		hash[TASKQ_UNIQUE_HASH];
	int32		role_id;
	Relation	rel;

	if (!find_task(task, RowExclusiveLock, &unique, &role_id, hash))
		return;
	rel = taskq_store_open(TASKQ_REL_UNIQUE, RowExclusiveLock);
	if (unique.keep_ms <= 0)
		(void) delete_row(rel, &unique, true);
	else
	{
		/* a look under the lock finds either row, or both */
		lock_hash(hash);
		if (delete_row(rel, &unique, true))
			insert_row(rel, task, hash, role_id, unique.keep_ms,
					   TimestampTzPlusMilliseconds(now, unique.keep_ms));
		unlock_hash(hash);
	}
	table_close(rel, NoLock);
	CommandCounterIncrement();
}

/*
 * taskq_unique_forget - a task, whose row this transaction has locked, is
 * deleted: its key is free
 */
void
taskq_unique_forget(const pg_uuid_t *task)
{
	TaskqUnique unique;
	uint8		hash[TASKQ_UNIQUE_HASH];
	int32		role_id;
	Relation	rel;

	if (!find_task(task, RowExclusiveLock, &unique, &role_id, hash))
		return;
	rel = taskq_store_open(TASKQ_REL_UNIQUE, RowExclusiveLock);
	(void) delete_row(rel, &unique, true);
	table_close(rel, NoLock);
}

/* Is the row of no use: its time is over, or its task is gone? */
static bool
is_over(const TaskqUnique *unique, TimestampTz now)
{
	TaskqRow	row;

	return unique->until == DT_NOEND
		? !taskq_store_find(&unique->task, &row)
		: unique->until <= now;
}

/*
 * taskq_unique_sweep - delete rows that are of no use, in order of their
 * tasks' ids
 *
 * Looks at up to max rows from *from on, and moves it past the last; returns
 * how many.  Never waits: what others are about to write is passed over.
 */
int
taskq_unique_sweep(pg_uuid_t *from, int max, TimestampTz now)
{
	TaskqRead	read;
	ScanKeyData key;
	HeapTuple	tuple;
	Relation	rel = taskq_store_open(TASKQ_REL_UNIQUE, RowExclusiveLock);
	int			n = 0;

	taskq_key_from(&key, Anum_unique_task, F_UUID_GE, UUIDPGetDatum(from));
	taskq_read_begin_ordered(&read, TASKQ_REL_UNIQUE, TASKQ_REL_UNIQUE_PKEY,
							 NULL, 1, &key);
	while (n < max && (tuple = taskq_read_next(&read)) != NULL)
	{
		TaskqUnique unique;
		uint8		hash[TASKQ_UNIQUE_HASH];
		int32		role_id;

		CHECK_FOR_INTERRUPTS();
		unique_from_tuple(&unique, tuple, RelationGetDescr(read.rel),
						  &role_id, hash);
		n++;
		*from = unique.task;
		if (is_over(&unique, now))
			(void) delete_row(rel, &unique, false);
	}
	taskq_read_end(&read);
	table_close(rel, NoLock);
	if (n > 0)
		taskq_id_next(from);
	return n;
}
