/*-------------------------------------------------------------------------
 *
 * store.c
 *		Tasks and timers in their tables.
 *
 * Locks: row exclusive on the one leaf a task is in, never anything on the
 * parent, behind which everybody would queue.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/heapam.h"
#include "access/skey.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "base/compat.h"
#include "base/shmem.h"
#include "catalog/index.h"
#include "catalog/indexing.h"
#include "catalog/namespace.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "commands/dbcommands.h"
#include "executor/executor.h"
#include "executor/tuptable.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "storage/lmgr.h"
#include "store/defs.h"
#include "store/rows.h"
#include "store/store.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

static const char *const names[] = {
	"timer", "timer_pkey",
	"role", "role_pkey", "role_oid_idx", "role_id_seq",
	"lane", "lane_pkey", "lane_kind_idx", "lane_id_seq",
	"kind", "kind_pkey",
	"kind_grant", "kind_grant_pkey",
	"queue", "queue_pkey",
	"attempt", "attempt_pkey",
	"lease", "lease_pkey",
	"ready", "ready_pkey",
	"watermark", "watermark_pkey"
};

StaticAssertDecl(lengthof(names) == TASKQ_NRELS - TASKQ_REL_TIMER,
				 "a name for every table that is not a leaf");

/*
 * Types of the columns that are used, by their numbers; further ones are
 * somebody else's.
 */
static const Oid task_types[] =
{UUIDOID, INT4OID, INT2OID, INT2OID, CHAROID,
	INT2OID, INT4OID, INT8OID, TIMESTAMPTZOID, TIMESTAMPTZOID,
	TIMESTAMPTZOID, JSONBOID, JSONBOID, TEXTOID, JSONBOID,
	TEXTOID, INT2OID, INT2OID, TEXTARRAYOID, JSONBOID,
	UUIDOID, UUIDOID, UUIDOID, JSONBOID, TEXTOID,
JSONBOID};
static const Oid timer_types[] = {TIMESTAMPTZOID, UUIDOID, INT4OID};
static const Oid role_types[] = {INT4OID, NAMEOID, OIDOID, INT8OID};
static const Oid lane_types[] = {INT4OID, INT4OID, INT2OID, TEXTOID, TEXTOID,
INT4OID, INT8OID, OIDOID, INT8OID};
static const Oid kind_types[] = {TEXTOID, TEXTOID, TEXTOID,
	INT2OID, INT2OID, INTERVALOID,
	INTERVALOID, INTERVALOID, TEXTARRAYOID,
	INT4OID, INT4OID, INTERVALOID,
	INT4OID, INTERVALOID, BOOLOID,
	TEXTOID, INT4OID, TIMESTAMPTZOID,
INT8OID, INT4OID};
static const Oid kind_grant_types[] = {TEXTOID, CHAROID, INT4OID};
static const Oid queue_types[] = {TEXTOID, BOOLOID, INT4OID,
INTERVALOID, TEXTOID, TIMESTAMPTZOID};
static const Oid attempt_types[] = {UUIDOID, INT2OID, CHAROID,
	TEXTOID, TIMESTAMPTZOID, TIMESTAMPTZOID,
JSONBOID};
static const Oid lease_types[] = {UUIDOID, UUIDOID,
	TIMESTAMPTZOID, TIMESTAMPTZOID,
	TIMESTAMPTZOID, INT8OID,
	BOOLOID, BOOLOID,
TIMESTAMPTZOID, JSONBOID};

static const Oid ready_types[] = {INT4OID, TIMESTAMPTZOID, UUIDOID};
static const Oid watermark_types[] = {INT4OID, UUIDOID};

static const struct
{
	TaskqRelation table;
	const Oid  *types;
	int			n;
}			shapes[] = {
	{TASKQ_REL_TIMER, timer_types, lengthof(timer_types)},
	{TASKQ_REL_ROLE, role_types, lengthof(role_types)},
	{TASKQ_REL_LANE, lane_types, lengthof(lane_types)},
	{TASKQ_REL_KIND, kind_types, lengthof(kind_types)},
	{TASKQ_REL_KIND_GRANT, kind_grant_types, lengthof(kind_grant_types)},
	{TASKQ_REL_QUEUE, queue_types, lengthof(queue_types)},
	{TASKQ_REL_ATTEMPT, attempt_types, lengthof(attempt_types)},
	{TASKQ_REL_LEASE, lease_types, lengthof(lease_types)},
	{TASKQ_REL_READY, ready_types, lengthof(ready_types)},
	{TASKQ_REL_WATERMARK, watermark_types, lengthof(watermark_types)}
};

StaticAssertDecl(lengthof(task_types) == Natts_task &&
				 lengthof(kind_types) == Natts_kind &&
				 lengthof(queue_types) == Natts_queue,
				 "a type for every column");

/*
 * What is known of each relation.  An oid that is not valid any more is kept,
 * for those who are told of a change and can't look anything up then.
 */
static struct
{
	Oid			oid;
	bool		valid;			/* the oid is looked up */
	bool		checked;		/* its columns are as they shall be */
}			relations[TASKQ_NRELS];

static bool ready = false;		/* all tables are there, and of our version */
static uint64 changes = 0;		/* times that it was found to be out of date */
static int32 script_version = -1;	/* of the script that made the tables; -1:
									 * not known, 0: it has none */
static uint32 version_hash = 0; /* of the function that tells it */

static void
forget_relation(int i)
{
	relations[i].valid = relations[i].checked = false;
	ready = false;
	changes++;
}

static void
on_relcache_change(Datum arg, Oid relid)
{
	for (int i = 0; i < TASKQ_NRELS; i++)
	{
		if (!OidIsValid(relid) || relations[i].oid == relid)
			forget_relation(i);
	}
}

static void
on_namespace_change(Datum arg, int cacheid, uint32 hashvalue)
{
	for (int i = 0; i < TASKQ_NRELS; i++)
		forget_relation(i);
	script_version = -1;
}

static void
on_function_change(Datum arg, int cacheid, uint32 hashvalue)
{
	if (hashvalue != 0 && hashvalue != version_hash)
		return;
	script_version = -1;
	ready = false;
	changes++;
}

/* taskq_store_init - once per process */
void
taskq_store_init(void)
{
	CacheRegisterRelcacheCallback(on_relcache_change, (Datum) 0);
	CacheRegisterSyscacheCallback(NAMESPACEOID, on_namespace_change,
								  (Datum) 0);
	CacheRegisterSyscacheCallback(PROCOID, on_function_change, (Datum) 0);
}

static void
relation_name(int which, char *name)
{
	static const char *const suffix[] = {"", "_pkey", "_lane_idx"};

	if (which >= TASKQ_REL_TIMER)
		strlcpy(name, names[which - TASKQ_REL_TIMER], NAMEDATALEN);
	else if (which % TASKQ_LEAVES == TASKQ_KEEP)
		snprintf(name, NAMEDATALEN, "task_keep%s",
				 suffix[which / TASKQ_LEAVES]);
	else
		snprintf(name, NAMEDATALEN, "task_%02d%s", which % TASKQ_LEAVES,
				 suffix[which / TASKQ_LEAVES]);
}

/* Its oid by its name; false if there is no such relation. */
static bool
look_up(int which)
{
	char		name[NAMEDATALEN];
	Oid			namespace;
	Oid			oid;

	if (relations[which].valid)
		return true;
	namespace = get_namespace_oid("taskq_internal", true);
	if (!OidIsValid(namespace))
		return false;
	relation_name(which, name);
	oid = get_relname_relid(name, namespace);
	if (!OidIsValid(oid))
		return false;
	relations[which].oid = oid;
	relations[which].valid = true;
	relations[which].checked = false;
	return true;
}

static bool
is_index(int which)
{
	char		name[NAMEDATALEN];

	relation_name(which, name);
	return strstr(name, "_pkey") != NULL || strstr(name, "_idx") != NULL;
}

/* The number that the script has left. */
static int32
read_script_version(void)
{
	oidvector  *no_args = buildoidvector(NULL, 0);
	Oid			function =
	GetSysCacheOid3(PROCNAMEARGSNSP, Anum_pg_proc_oid,
					CStringGetDatum("script_version"),
					PointerGetDatum(no_args),
					ObjectIdGetDatum(get_namespace_oid("taskq_internal", true)));
	bool		snapshot_missing = !ActiveSnapshotSet();
	int32		version;

	if (!OidIsValid(function))
		return 0;
	version_hash = GetSysCacheHashValue1(PROCOID, ObjectIdGetDatum(function));
	if (snapshot_missing)
		PushActiveSnapshot(GetTransactionSnapshot());
	version = DatumGetInt32(OidFunctionCall0(function));
	if (snapshot_missing)
		PopActiveSnapshot();
	return version;
}

/*
 * taskq_store_ready - does the extension exist in this database, and is it
 * made for this library?
 *
 * Needs a transaction.
 */
bool
taskq_store_ready(void)
{
	uint64		before;

	AcceptInvalidationMessages();
	if (ready)
		return true;

	/* until nothing has changed meanwhile */
	do
	{
		before = changes;
		for (int i = 0; i < TASKQ_NRELS; i++)
		{
			if (!is_index(i) && !look_up(i))
			{
				script_version = -1;
				return false;
			}
		}
		if (script_version < 0)
			script_version = read_script_version();
		CHECK_FOR_INTERRUPTS();
	} while (changes != before);
	ready = script_version == TASKQ_SCRIPT_VERSION;
	return ready;
}

/* taskq_store_mismatched - is that why taskq_store_ready said no? */
bool
taskq_store_mismatched(void)
{
	return script_version >= 0 && script_version != TASKQ_SCRIPT_VERSION;
}

/*
 * taskq_store_report_version - say that library and database do not fit
 * together, if that is so
 *
 * At LOG or ERROR (55000), after taskq_store_ready said no.
 */
void
taskq_store_report_version(int elevel)
{
	if (!taskq_store_mismatched())
		return;
	ereport(elevel,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("extension \"taskq\" in database \"%s\" and its library are of different versions",
					get_database_name(MyDatabaseId)),
			 errdetail("The database has number %d, and the library that is loaded needs %d.",
					   script_version, TASKQ_SCRIPT_VERSION),
			 script_version < TASKQ_SCRIPT_VERSION ?
			 errhint("Use ALTER EXTENSION taskq UPDATE.") :
			 errhint("Install the library that belongs to the extension, and restart the server.")));
}

/* taskq_store_require - the same, or an error */
void
taskq_store_require(void)
{
	if (taskq_store_ready())
		return;
	taskq_store_report_version(ERROR);
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_OBJECT),
			 errmsg("extension \"taskq\" does not exist in this database"),
			 errhint("Use CREATE EXTENSION taskq.")));
}

/*
 * taskq_store_oid - oid of a table, a sequence or an index
 *
 * That of an index changes by REINDEX CONCURRENTLY: ask for it with the table
 * locked, then it can be used as long as that is.  Key columns of our indexes
 * do not change in place, so one that was built over broken HOT chains is as
 * good as any.
 */
Oid
taskq_store_oid(TaskqRelation which)
{
	char		name[NAMEDATALEN];

	if (relations[which].valid)
		return relations[which].oid;
	relation_name(which, name);
	if (!look_up(which))
	{
		/* either the extension is gone, or just this one */
		taskq_store_require();
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("relation \"taskq_internal.%s\" does not exist", name),
				 errhint("taskq needs it: make it again as the extension's script does.")));
	}
	if (is_index(which) && !get_index_isvalid(relations[which].oid))
	{
		relations[which].valid = false;
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("index \"taskq_internal.%s\" is not valid", name),
				 errhint("Use REINDEX INDEX taskq_internal.%s.", name)));
	}
	return relations[which].oid;
}

/*
 * taskq_store_is - is it this relation that an invalidation message is about?
 * Looks nothing up
 */
bool
taskq_store_is(TaskqRelation which, Oid oid)
{
	return !OidIsValid(oid) || relations[which].oid == oid;
}

/* Is every column that is used there, and of its type? */
static void
check_columns(TaskqRelation which, Relation rel)
{
	TupleDesc	desc = RelationGetDescr(rel);
	const Oid  *types = which < TASKQ_REL_LEAF_PKEY ? task_types : NULL;
	int			n = types ? lengthof(task_types) : 0;

	if (rel->rd_rel->relkind != RELKIND_RELATION ||
		rel->rd_tableam != GetHeapamTableAmRoutine())
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("\"taskq_internal.%s\" is not a table of access method heap any more", RelationGetRelationName(rel)),
				 errhint("Use ALTER TABLE ... SET ACCESS METHOD heap.")));
	for (int i = 0; i < lengthof(shapes) && types == NULL; i++)
	{
		if (shapes[i].table != which)
			continue;
		types = shapes[i].types;
		n = shapes[i].n;
	}
	for (int i = 0; i < n; i++)
	{
		if (i >= desc->natts || TupleDescAttr(desc, i)->attisdropped ||
			TupleDescAttr(desc, i)->atttypid != types[i])
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("column %d of table \"taskq_internal.%s\" is not of type %s any more",
							i + 1, RelationGetRelationName(rel),
							format_type_be(types[i])),
					 errhint("Columns may be added to the tables of taskq, but its own must stay as they are.")));
	}
	relations[which].checked = true;
}

/*
 * taskq_store_open - open and lock a table
 *
 * One that was dropped and made again since it was last used is found anew.
 * Raises 55000 if a column was dropped or changed.
 */
Relation
taskq_store_open(TaskqRelation which, int lockmode)
{
	Relation	rel;

	for (;;)
	{
		Oid			oid = taskq_store_oid(which);

		if (lockmode == NoLock)
			break;
		LockRelationOid(oid, lockmode);
		if (taskq_store_oid(which) == oid)
			break;
		UnlockRelationOid(oid, lockmode);
	}
	rel = table_open(relations[which].oid, NoLock);
	if (!relations[which].checked)
		check_columns(which, rel);
	return rel;
}

/*
 * taskq_store_snapshot - a snapshot of this moment, registered
 *
 * Also under REPEATABLE READ: bookkeeping looks at what is, not at what was.
 * Release it with UnregisterSnapshot.
 */
Snapshot
taskq_store_snapshot(void)
{
	return RegisterSnapshot(GetLatestSnapshot());
}

/*
 * taskq_store_begin - begin a transaction of taskq's own, with an active
 * snapshot
 *
 * Whatever the role or the database has for a default: a serializable one
 * would fail because of what others do.
 */
void
taskq_store_begin(void)
{
	StartTransactionCommand();
	XactIsoLevel = XACT_READ_COMMITTED;
	XactReadOnly = false;
	PushActiveSnapshot(GetTransactionSnapshot());
}

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
		heap_freetuple(tuples[i]);
	pfree(tuples);
	table_close(rel, NoLock);
}

/*
 * taskq_store_insert - insert tasks
 *
 * The leaf of each is the one its id names; runs of rows for the same leaf go
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

	ScanKeyInit(&key, Anum_task_id, BTEqualStrategyNumber, F_UUID_EQ,
				UUIDPGetDatum(id));
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
		switch (result)
		{
			case TM_Ok:
				return TASKQ_LOCKED;
			case TM_WouldBlock:
			case TM_BeingModified:
				return TASKQ_BUSY;
			case TM_Updated:
			case TM_Deleted:
				break;			/* look again: changed, moved or gone */
			default:
				elog(ERROR, "unexpected result %d of locking a task",
					 (int) result);
		}
		CHECK_FOR_INTERRUPTS();
	}
}

/*
 * taskq_store_leaves_free - may this transaction look for a task without
 * waiting for a leaf?
 *
 * If so both leaves that the task may be in are locked as a change of it
 * needs.  False while somebody has one of them for himself (VACUUM FULL, LOCK
 * TABLE).
 */
bool
taskq_store_leaves_free(const pg_uuid_t *id)
{
	const int	leaves[] = {taskq_id_slot(id), TASKQ_KEEP};

	for (int i = 0; i < lengthof(leaves); i++)
	{
		Oid			oid = taskq_store_oid(TASKQ_REL_LEAF + leaves[i]);

		if (!ConditionalLockRelationOid(oid, RowExclusiveLock))
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

/* taskq_store_delete - delete a task that this transaction has locked */
void
taskq_store_delete(TaskqRow *row)
{
	Relation	rel = taskq_store_open(TASKQ_REL_LEAF + row->leaf,
									   RowExclusiveLock);

	CatalogTupleDelete(rel, &row->tid);
	table_close(rel, NoLock);
	CommandCounterIncrement();
}

/*
 * taskq_store_scan - claimable tasks of a lane in one leaf, in order of id
 *
 * Finds up to max ids from *from on.  *seen is set to the last id looked at,
 * and stays as it is if there was none; *exhausted tells whether the scan
 * came to the end of the lane.  Those that the filter (or NULL) refuses are
 * passed over. A task that is 'r' here lost its worker: the caller leaves out
 * those that live workers hold.  Those that became pending after their submit
 * are not found here but by taskq_ready_scan.
 */
int
taskq_store_scan(int leaf, int32 lane, const pg_uuid_t *from,
				 Snapshot snapshot, TaskqStoreFilter filter, int max,
				 TaskqRef *found, pg_uuid_t *seen, bool *exhausted)
{
	Relation	rel = taskq_store_open(TASKQ_REL_LEAF + leaf, AccessShareLock);
	Relation	index = index_open(taskq_store_oid(TASKQ_REL_LEAF_LANE + leaf),
								   AccessShareLock);
	ScanKeyData keys[2];
	SysScanDesc scan;
	HeapTuple	tuple;
	int			n = 0;

	ScanKeyInit(&keys[0], Anum_task_lane, BTEqualStrategyNumber, F_INT4EQ,
				Int32GetDatum(lane));
	ScanKeyInit(&keys[1], Anum_task_id, BTGreaterEqualStrategyNumber,
				F_UUID_GE, UUIDPGetDatum(from));
	scan = systable_beginscan_ordered(rel, index, snapshot, 2, keys);
	*exhausted = true;
	while ((tuple = systable_getnext_ordered(scan, ForwardScanDirection)) !=
		   NULL)
	{
		bool		isnull;
		char		state = DatumGetChar(heap_getattr(tuple, Anum_task_state,
													  RelationGetDescr(rel),
													  &isnull));

		CHECK_FOR_INTERRUPTS();
		*seen = *DatumGetUUIDP(heap_getattr(tuple, Anum_task_id,
											RelationGetDescr(rel), &isnull));
		if (state != TASKQ_PENDING && state != TASKQ_RUNNING)
			continue;
		/* found by its row in table ready, in order of its due time */
		if (state == TASKQ_PENDING &&
			!heap_attisnull(tuple, Anum_task_run_at, RelationGetDescr(rel)))
			continue;
		if (filter != NULL && !filter(tuple, RelationGetDescr(rel)))
			continue;
		found[n].id = *seen;
		found[n].tid = tuple->t_self;
		found[n++].leaf = leaf;
		if (n == max)
		{
			*exhausted = false;
			break;
		}
	}
	systable_endscan_ordered(scan);
	index_close(index, AccessShareLock);
	table_close(rel, AccessShareLock);
	return n;
}

/* ---- leaves as a whole ---- */

/* Is a task finished, and was so before cutoff? */
static bool
is_over(char state, bool unknown, TimestampTz finished_at, TimestampTz cutoff)
{
	return (state == TASKQ_COMPLETED || state == TASKQ_FAILED ||
			state == TASKQ_CANCELLED) &&
		(unknown || finished_at <= cutoff);
}

/* taskq_row_over - the same of a row that was read */
bool
taskq_row_over(const TaskqRow *row, TimestampTz cutoff)
{
	bool		unknown = taskq_row_isnull(row, finished_at);

	return is_over(DatumGetChar(taskq_row_value(row, state)), unknown,
				   unknown ? 0
				   : DatumGetTimestampTz(taskq_row_value(row, finished_at)),
				   cutoff);
}

/* ... and of one that is still in its page. */
static bool
tuple_over(HeapTuple tuple, TupleDesc desc, TimestampTz cutoff)
{
	bool		unknown;
	char		state =
	DatumGetChar(heap_getattr(tuple, Anum_task_state, desc, &unknown));
	Datum		finished_at = heap_getattr(tuple, Anum_task_finished_at, desc,
										   &unknown);

	return is_over(state, unknown,
				   unknown ? 0 : DatumGetTimestampTz(finished_at), cutoff);
}

/* The rows of one page that are over, or those that are not. */
static int
pick_in_page(Relation rel, int leaf, BlockNumber block,
			 BufferAccessStrategy strategy, Snapshot snapshot, bool over,
			 TimestampTz cutoff, TaskqRef *found)
{
	Buffer		buffer = ReadBufferExtended(rel, MAIN_FORKNUM, block, RBM_NORMAL,
											strategy);
	Page		page;
	int			n = 0;

	LockBuffer(buffer, BUFFER_LOCK_SHARE);
	page = BufferGetPage(buffer);
	for (OffsetNumber offset = FirstOffsetNumber;
		 offset <= PageGetMaxOffsetNumber(page); offset++)
	{
		ItemId		item = PageGetItemId(page, offset);
		HeapTupleData tuple;
		bool		isnull;

		if (!ItemIdIsNormal(item))
			continue;
		tuple.t_tableOid = RelationGetRelid(rel);
		tuple.t_data = (HeapTupleHeader) PageGetItem(page, item);
		tuple.t_len = ItemIdGetLength(item);
		ItemPointerSet(&tuple.t_self, block, offset);
		if (!HeapTupleSatisfiesVisibility(&tuple, snapshot, buffer) ||
			tuple_over(&tuple, RelationGetDescr(rel), cutoff) != over)
			continue;
		found[n].id = *DatumGetUUIDP(heap_getattr(&tuple, Anum_task_id,
												  RelationGetDescr(rel),
												  &isnull));
		found[n].tid = tuple.t_self;
		found[n++].leaf = leaf;
	}
	UnlockReleaseBuffer(buffer);
	return n;
}

/*
 * taskq_store_pick - tasks of a leaf that are over, or (over = false) those
 * that are not
 *
 * Reads nblocks pages from block on, fewer if max tasks are found before;
 * found has room for max and one page's more.  Copies nothing but where they
 * are, and leaves the server's cache to others.  Returns the block to go on
 * with, InvalidBlockNumber after the last.
 */
BlockNumber
taskq_store_pick(int leaf, BlockNumber block, int nblocks, bool over,
				 TimestampTz cutoff, int max, TaskqRef *found, int *n)
{
	Relation	rel = taskq_store_open(TASKQ_REL_LEAF + leaf, AccessShareLock);
	BufferAccessStrategy strategy = GetAccessStrategy(BAS_BULKREAD);
	Snapshot	snapshot = taskq_store_snapshot();
	BlockNumber end = RelationGetNumberOfBlocks(rel);

	*n = 0;
	while (block < end && nblocks-- > 0 && *n < max)
	{
		CHECK_FOR_INTERRUPTS();
		*n += pick_in_page(rel, leaf, block++, strategy, snapshot, over,
						   cutoff, found + *n);
	}
	UnregisterSnapshot(snapshot);
	FreeAccessStrategy(strategy);
	table_close(rel, AccessShareLock);
	return block < end ? block : InvalidBlockNumber;
}

/* The first id of a leaf in a direction, of those not greater than last. */
static bool
first_id(Relation rel, Relation index, Snapshot snapshot,
		 const pg_uuid_t *last, ScanDirection direction, pg_uuid_t *id)
{
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;
	bool		isnull;

	ScanKeyInit(&key, Anum_task_id, BTLessEqualStrategyNumber, F_UUID_LE,
				UUIDPGetDatum(last));
	scan = systable_beginscan_ordered(rel, index, snapshot, 1, &key);
	tuple = systable_getnext_ordered(scan, direction);
	if (tuple != NULL)
		*id = *DatumGetUUIDP(heap_getattr(tuple, Anum_task_id,
										  RelationGetDescr(rel), &isnull));
	systable_endscan_ordered(scan);
	return tuple != NULL;
}

/*
 * taskq_store_ends - the lowest and the highest id in a leaf; false if there
 * is none
 *
 * Of those up to now: a clock that was set ahead for a moment shall not
 * count.
 */
bool
taskq_store_ends(int leaf, TimestampTz now, pg_uuid_t *oldest,
				 pg_uuid_t *newest)
{
	Relation	rel = taskq_store_open(TASKQ_REL_LEAF + leaf, AccessShareLock);
	Relation	index = index_open(taskq_store_oid(TASKQ_REL_LEAF_PKEY + leaf),
								   AccessShareLock);
	Snapshot	snapshot = taskq_store_snapshot();
	pg_uuid_t	last;
	bool		found;

	taskq_id_last(now, &last);
	found =
		first_id(rel, index, snapshot, &last, ForwardScanDirection, oldest) &&
		first_id(rel, index, snapshot, &last, BackwardScanDirection, newest);
	UnregisterSnapshot(snapshot);
	index_close(index, AccessShareLock);
	table_close(rel, AccessShareLock);
	return found;
}

/*
 * taskq_store_truncate - empty a leaf, on which the transaction has an access
 * exclusive lock
 */
void
taskq_store_truncate(int leaf)
{
	Relation	rel = taskq_store_open(TASKQ_REL_LEAF + leaf, NoLock);

	taskq_truncate(rel);
	table_close(rel, NoLock);
}

/* ---- timers ---- */

/* taskq_timer_insert - remember that a task is due at some time */
void
taskq_timer_insert(TimestampTz due, const pg_uuid_t *id, int32 lane)
{
	Relation	rel = taskq_store_open(TASKQ_REL_TIMER, RowExclusiveLock);
	Datum		values[3] = {TimestampTzGetDatum(due), UUIDPGetDatum(id),
	Int32GetDatum(lane)};
	bool		nulls[3] = {false, false, false};

	taskq_rows_insert_one(rel, values, nulls, lengthof(values));
	table_close(rel, NoLock);
}

/* taskq_timer_delete - forget it, if it is there */
void
taskq_timer_delete(TimestampTz due, const pg_uuid_t *id)
{
	Relation	rel = taskq_store_open(TASKQ_REL_TIMER, RowExclusiveLock);
	Snapshot	snapshot = taskq_store_snapshot();
	ScanKeyData keys[2];
	SysScanDesc scan;
	HeapTuple	tuple;

	ScanKeyInit(&keys[0], 1, BTEqualStrategyNumber, F_TIMESTAMPTZ_EQ,
				TimestampTzGetDatum(due));
	ScanKeyInit(&keys[1], 2, BTEqualStrategyNumber, F_UUID_EQ,
				UUIDPGetDatum(id));
	scan = systable_beginscan(rel, taskq_store_oid(TASKQ_REL_TIMER_PKEY),
							  true, snapshot, 2, keys);
	while ((tuple = systable_getnext(scan)) != NULL)
		CatalogTupleDelete(rel, &tuple->t_self);
	systable_endscan(scan);
	UnregisterSnapshot(snapshot);
	table_close(rel, NoLock);
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
	Relation	rel = taskq_store_open(TASKQ_REL_TIMER, AccessShareLock);
	Relation	index = index_open(taskq_store_oid(TASKQ_REL_TIMER_PKEY),
								   AccessShareLock);
	Snapshot	snapshot = taskq_store_snapshot();
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;
	int			n = 0;

	ScanKeyInit(&key, 1, BTGreaterEqualStrategyNumber, F_TIMESTAMPTZ_GE,
				TimestampTzGetDatum(*due));
	scan = systable_beginscan_ordered(rel, index, snapshot, 1, &key);
	while (n < max &&
		   (tuple = systable_getnext_ordered(scan, ForwardScanDirection)) !=
		   NULL)
	{
		bool		isnull;
		TimestampTz this_due = DatumGetTimestampTz(heap_getattr(tuple, 1, RelationGetDescr(rel), &isnull));
		pg_uuid_t	this_id = *DatumGetUUIDP(heap_getattr(tuple, 2, RelationGetDescr(rel), &isnull));

		if (this_due == *due && taskq_id_cmp(&this_id, id) < 0)
			continue;
		dues[n] = this_due;
		ids[n++] = this_id;
	}
	if (n > 0)
	{
		*due = dues[n - 1];
		*id = ids[n - 1];
		taskq_id_next(id);
	}
	systable_endscan_ordered(scan);
	UnregisterSnapshot(snapshot);
	index_close(index, AccessShareLock);
	table_close(rel, AccessShareLock);
	return n;
}

/*
 * taskq_attempt_insert - keep an attempt that is not the task's last
 *
 * Worker and times are taken from the row, which still has them from that
 * attempt.
 */
void
taskq_attempt_insert(const TaskqRow *row, int attempt, char outcome,
					 Datum error)
{
	Relation	rel = taskq_store_open(TASKQ_REL_ATTEMPT, RowExclusiveLock);
	Datum		values[7] = {taskq_row_value(row, id),
		Int16GetDatum(attempt),
		CharGetDatum(outcome),
		taskq_row_value(row, worker),
		taskq_row_value(row, started_at),
		taskq_row_value(row, finished_at),
	error};
	bool		nulls[7] = {false,
		false,
		false,
		taskq_row_isnull(row, worker),
		taskq_row_isnull(row, started_at),
		taskq_row_isnull(row, finished_at),
	error == 0};

	taskq_rows_insert_one(rel, values, nulls, lengthof(values));
	table_close(rel, NoLock);
}

static void
delete_by_task(TaskqRelation table, TaskqRelation index, const pg_uuid_t *id)
{
	Relation	rel = taskq_store_open(table, RowExclusiveLock);
	Snapshot	snapshot = taskq_store_snapshot();
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;

	ScanKeyInit(&key, 1, BTEqualStrategyNumber, F_UUID_EQ, UUIDPGetDatum(id));
	scan = systable_beginscan(rel, taskq_store_oid(index), true, snapshot, 1,
							  &key);
	while ((tuple = systable_getnext(scan)) != NULL)
		CatalogTupleDelete(rel, &tuple->t_self);
	systable_endscan(scan);
	UnregisterSnapshot(snapshot);
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
	Relation	rel = taskq_store_open(TASKQ_REL_ATTEMPT, AccessShareLock);
	Relation	index = index_open(taskq_store_oid(TASKQ_REL_ATTEMPT_PKEY),
								   AccessShareLock);
	Snapshot	snapshot = taskq_store_snapshot();
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;
	int			n = 0;

	ScanKeyInit(&key, 1, BTGreaterEqualStrategyNumber, F_UUID_GE,
				UUIDPGetDatum(from));
	scan = systable_beginscan_ordered(rel, index, snapshot, 1, &key);
	while (n < max &&
		   (tuple = systable_getnext_ordered(scan, ForwardScanDirection)) !=
		   NULL)
	{
		bool		isnull;
		pg_uuid_t	id = *DatumGetUUIDP(heap_getattr(tuple, 1, RelationGetDescr(rel), &isnull));

		if (n == 0 || !taskq_id_eq(&ids[n - 1], &id))
			ids[n++] = id;
	}
	systable_endscan_ordered(scan);
	if (n > 0)
	{
		*from = ids[n - 1];
		taskq_id_next(from);
	}
	UnregisterSnapshot(snapshot);
	index_close(index, AccessShareLock);
	table_close(rel, AccessShareLock);
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
	Relation	rel = taskq_store_open(TASKQ_REL_ATTEMPT, RowExclusiveLock);
	Snapshot	snapshot = taskq_store_snapshot();
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;

	ScanKeyInit(&key, 1, BTEqualStrategyNumber, F_UUID_EQ, UUIDPGetDatum(id));
	scan = systable_beginscan(rel, taskq_store_oid(TASKQ_REL_ATTEMPT_PKEY),
							  true, snapshot, 1, &key);
	while ((tuple = systable_getnext(scan)) != NULL)
	{
		ItemPointerData tid = tuple->t_self;

		delete_if_free(rel, &tid, snapshot);
	}
	systable_endscan(scan);
	UnregisterSnapshot(snapshot);
	table_close(rel, NoLock);
}

/* taskq_attempts_delete - forget the attempts at a task that is deleted */
void
taskq_attempts_delete(const pg_uuid_t *id)
{
	delete_by_task(TASKQ_REL_ATTEMPT, TASKQ_REL_ATTEMPT_PKEY, id);
}

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

/*
 * taskq_lease_find - the lease of a task; progress is a copy in the current
 * context.  False if it has none
 */
bool
taskq_lease_find(const pg_uuid_t *id, TaskqLease *lease)
{
	Relation	rel = taskq_store_open(TASKQ_REL_LEASE, AccessShareLock);
	Snapshot	snapshot = taskq_store_snapshot();
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;

	ScanKeyInit(&key, 1, BTEqualStrategyNumber, F_UUID_EQ, UUIDPGetDatum(id));
	scan = systable_beginscan(rel, taskq_store_oid(TASKQ_REL_LEASE_PKEY),
							  true, snapshot, 1, &key);
	tuple = systable_getnext(scan);
	if (tuple != NULL)
	{
		Datum		values[Natts_lease];
		bool		nulls[Natts_lease];

		taskq_rows_deform(tuple, RelationGetDescr(rel), values, nulls,
						  Natts_lease);
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
		lease->progress =
			nulls[9] ? (Datum) 0
			: PointerGetDatum(PG_DETOAST_DATUM_COPY(values[9]));
	}
	systable_endscan(scan);
	UnregisterSnapshot(snapshot);
	table_close(rel, AccessShareLock);
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
	delete_by_task(TASKQ_REL_LEASE, TASKQ_REL_LEASE_PKEY, id);
}

/*
 * taskq_lease_ids - all tasks that have one, as a list of palloc'd pg_uuid_t
 */
List *
taskq_lease_ids(void)
{
	Relation	rel = taskq_store_open(TASKQ_REL_LEASE, AccessShareLock);
	Snapshot	snapshot = taskq_store_snapshot();
	SysScanDesc scan = systable_beginscan(rel, InvalidOid, false, snapshot, 0,
										  NULL);
	HeapTuple	tuple;
	List	   *ids = NIL;

	while ((tuple = systable_getnext(scan)) != NULL)
	{
		bool		isnull;
		pg_uuid_t  *id = palloc(sizeof(pg_uuid_t));

		*id = *DatumGetUUIDP(
							 heap_getattr(tuple, 1, RelationGetDescr(rel), &isnull));
		ids = lappend(ids, id);
	}
	systable_endscan(scan);
	UnregisterSnapshot(snapshot);
	table_close(rel, AccessShareLock);
	return ids;
}

PG_FUNCTION_INFO_V1(taskq_leaf_written_sql);

/*
 * taskq_leaf_written_sql - leaf_written(slot), a constraint of the table that
 * is always kept
 *
 * So the sweeper learns of rows that come by other ways than ours: COPY, a
 * restore, replication, an administrator.
 */
Datum
taskq_leaf_written_sql(PG_FUNCTION_ARGS)
{
	taskq_leaf_written(PG_GETARG_INT16(0));
	PG_RETURN_BOOL(true);
}
