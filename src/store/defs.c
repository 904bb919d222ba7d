/*-------------------------------------------------------------------------
 *
 * defs.c
 *		Kinds, queues, roles and lanes.
 *
 * Every backend caches what it has read.  Whoever changes a kind, a queue or
 * the lanes' home counts up a number in shared memory when it commits, and
 * caches of an older number are dropped.  A relcache invalidation alone would
 * not do: it is sent after the commit's callbacks have woken who looks.  It
 * is sent too, for the session's own changes and where taskq is not
 * preloaded. Lanes and roles are only ever added, and a backend that misses
 * one reads the table.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/skey.h"
#include "access/table.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "base/args.h"
#include "base/compat.h"
#include "base/shmem.h"
#include "catalog/indexing.h"
#include "catalog/namespace.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "commands/sequence.h"
#include "miscadmin.h"
#include "nodes/value.h"
#include "store/defs.h"
#include "store/rows.h"
#include "store/store.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

typedef struct LaneKey
{
	Oid			role;
	int16		priority;
	NameData	queue;
	NameData	kind;
	int32		kind_owner;
	int64		kind_version;
} LaneKey;

typedef struct LaneByKey
{
	LaneKey		key;
	int32		id;
} LaneByKey;

typedef struct RoleEntry
{
	Oid			oid;
	int32		id;
} RoleEntry;

static MemoryContext defs_context = NULL;
static HTAB *kinds = NULL;
static HTAB *queues = NULL;
static HTAB *lanes = NULL;
static HTAB *lanes_by_key = NULL;
static HTAB *roles = NULL;
static bool stale = true;
static uint64 seen_definitions = 0;
static bool made_here = false;	/* this transaction has made lanes or roles,
								 * which the cache may have */

static void
on_relcache_change(Datum arg, Oid relid)
{
	if (taskq_store_is(TASKQ_REL_KIND, relid) ||
		taskq_store_is(TASKQ_REL_KIND_GRANT, relid) ||
		taskq_store_is(TASKQ_REL_QUEUE, relid) ||
		taskq_store_is(TASKQ_REL_LANE, relid) ||
		taskq_store_is(TASKQ_REL_ROLE, relid))
		stale = true;
}

static void
on_catalog_change(Datum arg, int cacheid, uint32 hashvalue)
{
	stale = true;
}

/*
 * Rows that this transaction made may be undone, or, when it is prepared,
 * belong to nobody yet.  What the cache has of them can't be told from the
 * rest, also when it was filled anew since they were made.
 */
static void
on_xact_end(XactEvent event, void *arg)
{
	if (event != XACT_EVENT_COMMIT && event != XACT_EVENT_ABORT &&
		event != XACT_EVENT_PREPARE)
		return;
	if (made_here && event != XACT_EVENT_COMMIT)
		stale = true;
	made_here = false;
}

static void
on_subxact_end(SubXactEvent event, SubTransactionId mySubid,
			   SubTransactionId parentSubid, void *arg)
{
	if (made_here && event == SUBXACT_EVENT_ABORT_SUB)
		stale = true;
}

/* taskq_defs_init - once per process */
void
taskq_defs_init(void)
{
	RegisterXactCallback(on_xact_end, NULL);
	RegisterSubXactCallback(on_subxact_end, NULL);
	CacheRegisterRelcacheCallback(on_relcache_change, (Datum) 0);
	CacheRegisterSyscacheCallback(AUTHOID, on_catalog_change, (Datum) 0);
	CacheRegisterSyscacheCallback(PROCOID, on_catalog_change, (Datum) 0);
	CacheRegisterSyscacheCallback(NAMESPACEOID, on_catalog_change, (Datum) 0);
}

static HTAB *
make_cache(const char *name, Size keysize, Size entrysize, int flags)
{
	HASHCTL		ctl;

	ctl.keysize = keysize;
	ctl.entrysize = entrysize;
	ctl.hcxt = defs_context;
	return hash_create(name, 64, &ctl, HASH_ELEM | HASH_CONTEXT | flags);
}

/*
 * taskq_defs_begin - make sure of the extension and drop caches that are
 * stale
 *
 * Called at the start of whatever uses definitions; what the functions below
 * return stays valid until the next call.
 */
void
taskq_defs_begin(void)
{
	uint64		definitions = 0;

	taskq_store_require();
	if (taskq_shared != NULL)
		definitions = pg_atomic_read_u64(&taskq_shared->definitions);
	if (!stale && defs_context != NULL && definitions == seen_definitions)
		return;
	seen_definitions = definitions;
	if (defs_context == NULL)
		defs_context = AllocSetContextCreate(TopMemoryContext,
											 "taskq definitions",
											 ALLOCSET_DEFAULT_SIZES);
	else
		MemoryContextReset(defs_context);
	kinds = make_cache("taskq kinds", NAMEDATALEN, sizeof(TaskqKind),
					   HASH_STRINGS);
	queues = make_cache("taskq queues", NAMEDATALEN, sizeof(TaskqQueue),
						HASH_STRINGS);
	lanes = make_cache("taskq lanes", sizeof(int32), sizeof(TaskqLaneDef),
					   HASH_BLOBS);
	lanes_by_key = make_cache("taskq lanes by key", sizeof(LaneKey),
							  sizeof(LaneByKey), HASH_BLOBS);
	roles = make_cache("taskq roles", sizeof(Oid), sizeof(RoleEntry),
					   HASH_BLOBS);
	stale = false;
}


static Relation
open_scan(TaskqRelation table, TaskqRelation index, int nkeys, ScanKey keys,
		  Snapshot *snapshot, SysScanDesc *scan)
{
	Relation	rel = taskq_store_open(table, AccessShareLock);

	*snapshot = taskq_store_snapshot();
	*scan = systable_beginscan(rel, taskq_store_oid(index), nkeys > 0,
							   *snapshot, nkeys, keys);
	return rel;
}

static void
close_scan(Relation rel, Snapshot snapshot, SysScanDesc scan)
{
	systable_endscan(scan);
	UnregisterSnapshot(snapshot);
	table_close(rel, AccessShareLock);
}

/* Copy of the row whose first column is the text name, or NULL. */
static HeapTuple
read_by_name(TaskqRelation table, TaskqRelation index, const char *name,
			 TupleDesc *desc)
{
	ScanKeyData key;
	Snapshot	snapshot;
	SysScanDesc scan;
	Relation	rel;
	HeapTuple	tuple;

	ScanKeyInit(&key, 1, BTEqualStrategyNumber, F_TEXTEQ,
				CStringGetTextDatum(name));
	rel = open_scan(table, index, 1, &key, &snapshot, &scan);
	tuple = systable_getnext(scan);
	if (tuple != NULL)
	{
		tuple = heap_copytuple(tuple);
		*desc = CreateTupleDescCopy(RelationGetDescr(rel));
	}
	close_scan(rel, snapshot, scan);
	return tuple;
}

static int64
interval_ms(Datum value)
{
	return taskq_interval_us(DatumGetIntervalP(value)) / 1000;
}

static List *
text_array_list(Datum array)
{
	Datum	   *items;
	bool	   *nulls;
	int			n;
	List	   *list = NIL;

	deconstruct_array(DatumGetArrayTypeP(array), TEXTOID, -1, false,
					  TYPALIGN_INT, &items, &nulls, &n);
	for (int i = 0; i < n; i++)
		list = lappend(list, TextDatumGetCString(items[i]));
	return list;
}

static void
kind_from_row(TaskqKind *kind, Datum *values, bool *nulls)
{
	MemoryContext old = MemoryContextSwitchTo(defs_context);

	kind->handler = nulls[Anum_kind_handler - 1]
		? NULL
		: TextDatumGetCString(values[Anum_kind_handler - 1]);
	namestrcpy(&kind->queue, TextDatumGetCString(values[Anum_kind_queue - 1]));
	kind->priority = DatumGetInt16(values[Anum_kind_priority - 1]);
	kind->max_attempts = DatumGetInt16(values[Anum_kind_max_attempts - 1]);
	kind->batch = DatumGetBool(values[Anum_kind_batch - 1]);
	kind->timeout_ms = nulls[Anum_kind_timeout - 1]
		? 0
		: interval_ms(values[Anum_kind_timeout - 1]);
	kind->backoff_ms = interval_ms(values[Anum_kind_backoff - 1]);
	kind->backoff_max_ms = interval_ms(values[Anum_kind_backoff_max - 1]);
	kind->retry_on = nulls[Anum_kind_retry_on - 1]
		? NIL
		: text_array_list(values[Anum_kind_retry_on - 1]);
	kind->run_as_id = nulls[Anum_kind_run_as - 1]
		? 0
		: DatumGetInt32(values[Anum_kind_run_as - 1]);
	kind->owner_id = DatumGetInt32(values[Anum_kind_owner - 1]);
	kind->version = DatumGetInt64(values[Anum_kind_version - 1]);
	MemoryContextSwitchTo(old);
}

/*
 * taskq_handler_oid - the function that a handler's text names now, or
 * InvalidOid
 *
 * As kind_define wrote it, schema and types spelled out.  Nobody's privileges
 * count: who may execute it is asked where it matters.
 */
Oid
taskq_handler_oid(const char *handler)
{
	Oid			jsonb = JSONBOID;
	const char *args = strrchr(handler, '(');	/* a quoted name may have
												 * others before */
	List	   *names;
	Oid			namespace;

	if (args == NULL)
		return InvalidOid;
	names = taskq_qualified_name(pnstrdup(handler, args - handler));
	if (list_length(names) != 2)
		return InvalidOid;
	namespace = get_namespace_oid(strVal(linitial(names)), true);
	if (!OidIsValid(namespace))
		return InvalidOid;
	return GetSysCacheOid3(PROCNAMEARGSNSP, Anum_pg_proc_oid,
						   CStringGetDatum(strVal(lsecond(names))),
						   PointerGetDatum(buildoidvector(&jsonb, args[1] == ')' ? 0 : 1)),
						   ObjectIdGetDatum(namespace));
}

/* Grants of a kind, in the caches' memory. */
static List *
read_grants(const char *kind)
{
	ScanKeyData key;
	Snapshot	snapshot;
	SysScanDesc scan;
	Relation	rel;
	HeapTuple	tuple;
	List	   *grants = NIL;
	bool		isnull;

	ScanKeyInit(&key, 1, BTEqualStrategyNumber, F_TEXTEQ,
				CStringGetTextDatum(kind));
	rel = open_scan(TASKQ_REL_KIND_GRANT, TASKQ_REL_KIND_GRANT_PKEY, 1, &key,
					&snapshot, &scan);
	while ((tuple = systable_getnext(scan)) != NULL)
	{
		TaskqKindGrant *grant = MemoryContextAlloc(defs_context,
												   sizeof(TaskqKindGrant));
		NameData	name;
		MemoryContext old;

		grant->privilege = DatumGetChar(heap_getattr(tuple, 2, RelationGetDescr(rel), &isnull));
		grant->role = InvalidOid;
		(void) taskq_role_read(DatumGetInt32(heap_getattr(tuple, 3,
														  RelationGetDescr(rel),
														  &isnull)),
							   &name, &grant->role);
		old = MemoryContextSwitchTo(defs_context);
		grants = lappend(grants, grant);
		MemoryContextSwitchTo(old);
	}
	close_scan(rel, snapshot, scan);
	return grants;
}

/* What is not in the kind's own row. */
static void
kind_resolve(TaskqKind *kind)
{
	memset(&kind->run_as, 0, sizeof(NameData));
	memset(&kind->owner, 0, sizeof(NameData));
	kind->run_as_oid = kind->owner_oid = InvalidOid;
	if (kind->run_as_id != 0)
		(void) taskq_role_read(kind->run_as_id, &kind->run_as,
							   &kind->run_as_oid);
	(void) taskq_role_read(kind->owner_id, &kind->owner, &kind->owner_oid);
	kind->handler_oid = kind->handler ? taskq_handler_oid(kind->handler)
		: InvalidOid;
	kind->grants = read_grants(NameStr(kind->name));
}

/* taskq_kind_get - a kind, or NULL; the name may be of any length */
const TaskqKind *
taskq_kind_get(const char *name)
{
	TaskqKind  *kind;
	TaskqKind	read;
	Datum		values[Natts_kind];
	bool		nulls[Natts_kind];
	HeapTuple	tuple;
	TupleDesc	desc;

	if (strlen(name) >= NAMEDATALEN)
		return NULL;
	kind = hash_search(kinds, name, HASH_FIND, NULL);
	if (kind != NULL)
		return kind;
	tuple = read_by_name(TASKQ_REL_KIND, TASKQ_REL_KIND_PKEY, name, &desc);
	if (tuple == NULL)
		return NULL;
	taskq_rows_deform(tuple, desc, values, nulls, Natts_kind);
	memset(&read, 0, sizeof(read));
	namestrcpy(&read.name, name);
	kind_from_row(&read, values, nulls);
	(void) taskq_role_read(DatumGetInt32(values[Anum_kind_handler_by - 1]),
						   &read.handler_by_name, &read.handler_by);
	kind_resolve(&read);
	kind = hash_search(kinds, name, HASH_ENTER, NULL);
	*kind = read;
	return kind;
}

/* taskq_queue_get - a queue that somebody defined or paused, or NULL */
const TaskqQueue *
taskq_queue_get(const char *name)
{
	bool		found;
	bool		isnull;
	TaskqQueue *queue = hash_search(queues, name, HASH_FIND, NULL);
	HeapTuple	tuple;
	TupleDesc	desc;

	if (queue != NULL)
		return queue;
	tuple = read_by_name(TASKQ_REL_QUEUE, TASKQ_REL_QUEUE_PKEY, name, &desc);
	if (tuple == NULL)
		return NULL;
	queue = hash_search(queues, name, HASH_ENTER, &found);
	queue->paused =
		DatumGetBool(heap_getattr(tuple, Anum_queue_paused, desc, &isnull));
	return queue;
}

/*
 * Insert the row, or replace the one of that name.  replace tells which
 * columns; NULL means all.
 */
static void
write_by_name(TaskqRelation table, TaskqRelation index, const char *name,
			  Datum *values, bool *nulls, const bool *replace, int natts)
{
	Relation	rel = taskq_store_open(table, ShareRowExclusiveLock);
	Snapshot	snapshot = taskq_store_snapshot();
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;

	/* one writer at a time: definitions are rare, and none is lost to a race */
	ScanKeyInit(&key, 1, BTEqualStrategyNumber, F_TEXTEQ,
				CStringGetTextDatum(name));
	scan = systable_beginscan(rel, taskq_store_oid(index), true, snapshot, 1,
							  &key);
	tuple = systable_getnext(scan);
	if (tuple != NULL)
	{
		tuple = taskq_rows_modify(rel, tuple, values, nulls, replace, natts);
		taskq_rows_update(rel, &tuple->t_self, tuple, natts);
	}
	else
		taskq_rows_insert_one(rel, values, nulls, natts);
	systable_endscan(scan);
	UnregisterSnapshot(snapshot);
	CacheInvalidateRelcache(rel);
	table_close(rel, NoLock);
	CommandCounterIncrement();
}

/*
 * taskq_kind_write - create or replace a kind; values as the table's columns
 */
void
taskq_kind_write(const char *name, Datum *values, bool *nulls)
{
	write_by_name(TASKQ_REL_KIND, TASKQ_REL_KIND_PKEY, name, values, nulls,
				  NULL, Natts_kind);
}

/*
 * taskq_queue_write - create a queue, or replace the columns told of the one
 * that is there
 */
void
taskq_queue_write(const char *name, Datum *values, bool *nulls,
				  const bool *replace)
{
	write_by_name(TASKQ_REL_QUEUE, TASKQ_REL_QUEUE_PKEY, name, values, nulls,
				  replace, Natts_queue);
}

static void
delete_grants(const char *kind)
{
	Relation	rel = taskq_store_open(TASKQ_REL_KIND_GRANT,
									   ShareRowExclusiveLock);
	Snapshot	snapshot = taskq_store_snapshot();
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;

	ScanKeyInit(&key, 1, BTEqualStrategyNumber, F_TEXTEQ,
				CStringGetTextDatum(kind));
	scan = systable_beginscan(rel, taskq_store_oid(TASKQ_REL_KIND_GRANT_PKEY),
							  true, snapshot, 1, &key);
	while ((tuple = systable_getnext(scan)) != NULL)
		CatalogTupleDelete(rel, &tuple->t_self);
	systable_endscan(scan);
	UnregisterSnapshot(snapshot);
	table_close(rel, NoLock);
}

/* taskq_kind_delete - false if there was none */
bool
taskq_kind_delete(const char *name)
{
	Relation	rel = taskq_store_open(TASKQ_REL_KIND, ShareRowExclusiveLock);
	Snapshot	snapshot = taskq_store_snapshot();
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;

	delete_grants(name);
	ScanKeyInit(&key, 1, BTEqualStrategyNumber, F_TEXTEQ,
				CStringGetTextDatum(name));
	scan = systable_beginscan(rel, taskq_store_oid(TASKQ_REL_KIND_PKEY), true,
							  snapshot, 1, &key);
	tuple = systable_getnext(scan);
	if (tuple != NULL)
		CatalogTupleDelete(rel, &tuple->t_self);
	systable_endscan(scan);
	UnregisterSnapshot(snapshot);
	CacheInvalidateRelcache(rel);
	table_close(rel, NoLock);
	CommandCounterIncrement();
	return tuple != NULL;
}

/*
 * taskq_kind_grant_write - give a privilege, or take it away
 *
 * False if there was nothing to do.
 */
bool
taskq_kind_grant_write(const char *kind, char privilege, int32 role,
					   bool grant)
{
	Relation	rel = taskq_store_open(TASKQ_REL_KIND_GRANT,
									   ShareRowExclusiveLock);
	Snapshot	snapshot = taskq_store_snapshot();
	ScanKeyData keys[3];
	SysScanDesc scan;
	HeapTuple	tuple;
	bool		found;

	ScanKeyInit(&keys[0], 1, BTEqualStrategyNumber, F_TEXTEQ,
				CStringGetTextDatum(kind));
	ScanKeyInit(&keys[1], 2, BTEqualStrategyNumber, F_CHAREQ,
				CharGetDatum(privilege));
	ScanKeyInit(&keys[2], 3, BTEqualStrategyNumber, F_INT4EQ,
				Int32GetDatum(role));
	scan = systable_beginscan(rel, taskq_store_oid(TASKQ_REL_KIND_GRANT_PKEY),
							  true, snapshot, 3, keys);
	tuple = systable_getnext(scan);
	found = tuple != NULL;
	if (found && !grant)
		CatalogTupleDelete(rel, &tuple->t_self);
	else if (!found && grant)
	{
		Datum		values[3] = {CStringGetTextDatum(kind), CharGetDatum(privilege),
		Int32GetDatum(role)};
		bool		nulls[3] = {false, false, false};

		taskq_rows_insert_one(rel, values, nulls, lengthof(values));
	}
	systable_endscan(scan);
	UnregisterSnapshot(snapshot);
	CacheInvalidateRelcache(rel);
	table_close(rel, NoLock);
	CommandCounterIncrement();
	return found != grant;
}

/* Is there a row of this number, also one that is not committed yet? */
static bool
number_used(Relation rel, TaskqRelation pkey, int32 number)
{
	SnapshotData dirty;
	ScanKeyData key;
	SysScanDesc scan;
	bool		used;

	InitDirtySnapshot(dirty);
	ScanKeyInit(&key, 1, BTEqualStrategyNumber, F_INT4EQ,
				Int32GetDatum(number));
	scan = systable_beginscan(rel, taskq_store_oid(pkey), true, &dirty, 1,
							  &key);
	used = systable_getnext(scan) != NULL;
	systable_endscan(scan);
	return used;
}

/*
 * A number for a new row.  The sequence begins again after its end, so
 * whoever makes rows and rolls back, again and again, takes none away from
 * others for good.
 */
static int32
new_number(Relation rel, TaskqRelation pkey, TaskqRelation sequence)
{
	int32		number;

	do
	{
		CHECK_FOR_INTERRUPTS();
		number = nextval_internal(taskq_store_oid(sequence), false);
	} while (number_used(rel, pkey, number));
	return number;
}

static int32
role_insert(Oid role)
{
	Relation	rel = taskq_store_open(TASKQ_REL_ROLE, RowExclusiveLock);
	int32		id = new_number(rel, TASKQ_REL_ROLE_PKEY, TASKQ_REL_ROLE_SEQ);
	NameData	name;
	Datum		values[4];
	bool		nulls[4] = {false, false, false, false};

	namestrcpy(&name, GetUserNameFromId(role, false));
	values[0] = Int32GetDatum(id);
	values[1] = NameGetDatum(&name);
	values[2] = ObjectIdGetDatum(role);
	values[3] = Int64GetDatum((int64) GetSystemIdentifier());
	taskq_rows_insert_one(rel, values, nulls, lengthof(values));
	table_close(rel, NoLock);
	CommandCounterIncrement();
	return id;
}

/*
 * taskq_role_id - taskq's number of a role, made if needed
 *
 * Two sessions may make one each at the same time; both are good.  A row that
 * came from elsewhere may have this oid under another name: it is not this
 * role.
 */
int32
taskq_role_id(Oid role)
{
	RoleEntry  *entry = hash_search(roles, &role, HASH_FIND, NULL);
	ScanKeyData key;
	Snapshot	snapshot;
	SysScanDesc scan;
	Relation	rel;
	HeapTuple	tuple;
	char	   *name;
	int32		id = 0;

	if (entry != NULL)
		return entry->id;

	name = GetUserNameFromId(role, false);
	ScanKeyInit(&key, 3, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(role));
	rel = open_scan(TASKQ_REL_ROLE, TASKQ_REL_ROLE_OID, 1, &key, &snapshot,
					&scan);
	while ((tuple = systable_getnext(scan)) != NULL)
	{
		bool		isnull;
		int32		found = DatumGetInt32(heap_getattr(tuple, 1, RelationGetDescr(rel), &isnull));
		Name		found_name = DatumGetName(heap_getattr(tuple, 2, RelationGetDescr(rel), &isnull));

		int64		system = DatumGetInt64(heap_getattr(tuple, 4, RelationGetDescr(rel), &isnull));

		if (strcmp(NameStr(*found_name), name) == 0 &&
			system == (int64) GetSystemIdentifier() && (id == 0 || found < id))
			id = found;
	}
	close_scan(rel, snapshot, scan);
	if (id == 0)
	{
		id = role_insert(role);
		made_here = true;
	}
	entry = hash_search(roles, &role, HASH_ENTER, NULL);
	entry->id = id;
	return id;
}

/*
 * taskq_role_resolve - the role here that was noted by name and oid, or
 * InvalidOid
 *
 * In the server where it was noted the oid tells a role from one that was
 * created later under its name, and stays when a role is renamed.  In another
 * server there is only the name.
 */
Oid
taskq_role_resolve(const char *name, Oid oid, int64 system)
{
	if (system != (int64) GetSystemIdentifier())
		return get_role_oid(name, true);
	return SearchSysCacheExists1(AUTHOID, ObjectIdGetDatum(oid)) ? oid
		: InvalidOid;
}

/*
 * taskq_role_read - name of a role by taskq's number, and its oid here; false
 * if there is none
 */
bool
taskq_role_read(int32 id, Name name, Oid *oid)
{
	ScanKeyData key;
	Snapshot	snapshot;
	SysScanDesc scan;
	Relation	rel;
	HeapTuple	tuple;
	bool		isnull;

	ScanKeyInit(&key, 1, BTEqualStrategyNumber, F_INT4EQ, Int32GetDatum(id));
	rel = open_scan(TASKQ_REL_ROLE, TASKQ_REL_ROLE_PKEY, 1, &key, &snapshot,
					&scan);
	tuple = systable_getnext(scan);
	if (tuple != NULL)
	{
		*name = *DatumGetName(
							  heap_getattr(tuple, 2, RelationGetDescr(rel), &isnull));
		*oid = taskq_role_resolve(NameStr(*name),
								  DatumGetObjectId(heap_getattr(tuple, 3,
																RelationGetDescr(rel),
																&isnull)),
								  DatumGetInt64(heap_getattr(tuple, 4,
															 RelationGetDescr(rel),
															 &isnull)));
	}
	close_scan(rel, snapshot, scan);
	return tuple != NULL;
}

/*
 * columns of taskq_internal.lane: id, role, priority, queue, kind,
 * kind_owner, system, database, kind_version
 */
#define Natts_lane 9

static void
lane_from_tuple(TaskqLaneDef *lane, HeapTuple tuple, TupleDesc desc)
{
	Datum		values[Natts_lane];
	bool		nulls[Natts_lane];

	taskq_rows_deform(tuple, desc, values, nulls, Natts_lane);
	lane->id = DatumGetInt32(values[0]);
	lane->role = DatumGetInt32(values[1]);
	lane->priority = DatumGetInt16(values[2]);
	namestrcpy(&lane->queue, TextDatumGetCString(values[3]));
	namestrcpy(&lane->kind, TextDatumGetCString(values[4]));
	lane->kind_owner = DatumGetInt32(values[5]);
	lane->foreign = DatumGetInt64(values[6]) !=
		(int64) GetSystemIdentifier() ||
		DatumGetObjectId(values[7]) != MyDatabaseId;
	lane->kind_version = DatumGetInt64(values[8]);
}

/* taskq_lane_get - a lane by its number, or NULL */
const TaskqLaneDef *
taskq_lane_get(int32 id)
{
	TaskqLaneDef *lane = hash_search(lanes, &id, HASH_FIND, NULL);
	TaskqLaneDef read;
	ScanKeyData key;
	Snapshot	snapshot;
	SysScanDesc scan;
	Relation	rel;
	HeapTuple	tuple;

	if (lane != NULL)
		return lane;
	ScanKeyInit(&key, 1, BTEqualStrategyNumber, F_INT4EQ, Int32GetDatum(id));
	rel = open_scan(TASKQ_REL_LANE, TASKQ_REL_LANE_PKEY, 1, &key, &snapshot,
					&scan);
	tuple = systable_getnext(scan);
	if (tuple != NULL)
		lane_from_tuple(&read, tuple, RelationGetDescr(rel));
	close_scan(rel, snapshot, scan);
	if (tuple == NULL ||
		!taskq_role_read(read.role, &read.role_name, &read.role_oid))
		return NULL;
	lane = hash_search(lanes, &id, HASH_ENTER, NULL);
	*lane = read;
	return lane;
}

static int32
lane_insert(int32 role, const LaneKey *key)
{
	Relation	rel = taskq_store_open(TASKQ_REL_LANE, RowExclusiveLock);
	int32		id = new_number(rel, TASKQ_REL_LANE_PKEY, TASKQ_REL_LANE_SEQ);
	Datum		values[Natts_lane];
	bool		nulls[Natts_lane] = {false};

	values[0] = Int32GetDatum(id);
	values[1] = Int32GetDatum(role);
	values[2] = Int16GetDatum(key->priority);
	values[3] = CStringGetTextDatum(NameStr(key->queue));
	values[4] = CStringGetTextDatum(NameStr(key->kind));
	values[5] = Int32GetDatum(key->kind_owner);
	values[6] = Int64GetDatum((int64) GetSystemIdentifier());
	values[7] = ObjectIdGetDatum(MyDatabaseId);
	values[8] = Int64GetDatum(key->kind_version);
	taskq_rows_insert_one(rel, values, nulls, lengthof(values));
	table_close(rel, NoLock);
	CommandCounterIncrement();
	return id;
}

static int32
lane_search(int32 role, const LaneKey *key)
{
	ScanKeyData keys[6];
	Snapshot	snapshot;
	SysScanDesc scan;
	Relation	rel;
	HeapTuple	tuple;
	int32		id = 0;

	ScanKeyInit(&keys[0], 5, BTEqualStrategyNumber, F_TEXTEQ,
				CStringGetTextDatum(NameStr(key->kind)));
	ScanKeyInit(&keys[1], 2, BTEqualStrategyNumber, F_INT4EQ,
				Int32GetDatum(role));
	ScanKeyInit(&keys[2], 4, BTEqualStrategyNumber, F_TEXTEQ,
				CStringGetTextDatum(NameStr(key->queue)));
	ScanKeyInit(&keys[3], 3, BTEqualStrategyNumber, F_INT2EQ,
				Int16GetDatum(key->priority));
	ScanKeyInit(&keys[4], 6, BTEqualStrategyNumber, F_INT4EQ,
				Int32GetDatum(key->kind_owner));
	ScanKeyInit(&keys[5], 9, BTEqualStrategyNumber, F_INT8EQ,
				Int64GetDatum(key->kind_version));
	rel = open_scan(TASKQ_REL_LANE, TASKQ_REL_LANE_KIND, lengthof(keys), keys,
					&snapshot, &scan);
	while ((tuple = systable_getnext(scan)) != NULL)
	{
		TaskqLaneDef lane;

		lane_from_tuple(&lane, tuple, RelationGetDescr(rel));
		if (!lane.foreign && (id == 0 || lane.id < id))
			id = lane.id;
	}
	close_scan(rel, snapshot, scan);
	return id;
}

/*
 * taskq_lane_for - the lane of these properties, made if there is none; kind
 * NULL: SQL commands
 *
 * Its row is part of the calling transaction.  Two sessions may make one each
 * at the same time: both serve, and no submitter waits for another.
 */
const TaskqLaneDef *
taskq_lane_for(Oid role, const char *queue, const char *kind_name,
			   const TaskqKind *kind, int16 priority)
{
	LaneKey		key;
	LaneByKey  *entry;

	memset(&key, 0, sizeof(key));
	key.role = role;
	key.priority = priority;
	key.kind_owner = kind ? kind->owner_id : 0;
	key.kind_version = kind ? kind->version : 0;
	namestrcpy(&key.queue, queue);
	namestrcpy(&key.kind, kind_name);

	entry = hash_search(lanes_by_key, &key, HASH_FIND, NULL);
	if (entry == NULL)
	{
		int32		role_id = taskq_role_id(role);
		int32		id = lane_search(role_id, &key);

		if (id == 0)
		{
			id = lane_insert(role_id, &key);
			made_here = true;
		}
		entry = hash_search(lanes_by_key, &key, HASH_ENTER, NULL);
		entry->id = id;
	}
	return taskq_lane_get(entry->id);
}

/* taskq_lane_ids - numbers of all lanes, as a list of int */
List *
taskq_lane_ids(void)
{
	Snapshot	snapshot;
	SysScanDesc scan;
	Relation	rel = open_scan(TASKQ_REL_LANE, TASKQ_REL_LANE_PKEY, 0, NULL,
								&snapshot, &scan);
	HeapTuple	tuple;
	bool		isnull;
	List	   *ids = NIL;

	while ((tuple = systable_getnext(scan)) != NULL)
		ids = lappend_int(ids,
						  DatumGetInt32(heap_getattr(tuple, 1,
													 RelationGetDescr(rel),
													 &isnull)));
	close_scan(rel, snapshot, scan);
	return ids;
}

/*
 * Give every role that still exists by name its oid here; the others get
 * none.
 *
 * Also where no lane came from elsewhere: kinds have owners and grants, and a
 * name may be another role's tomorrow.
 */
static void
roles_take_over(void)
{
	Relation	rel = taskq_store_open(TASKQ_REL_ROLE, ShareUpdateExclusiveLock);
	Snapshot	snapshot = taskq_store_snapshot();
	SysScanDesc scan = systable_beginscan(rel, InvalidOid, false, snapshot, 0,
										  NULL);
	HeapTuple	tuple;

	while ((tuple = systable_getnext(scan)) != NULL)
	{
		bool		isnull;
		bool		replace[4] = {false, false, true, true};
		bool		nulls[4] = {false, false, false, false};
		Datum		values[4] = {0, 0, 0, 0};
		Name		name = DatumGetName(heap_getattr(tuple, 2, RelationGetDescr(rel), &isnull));

		if (DatumGetInt64(heap_getattr(tuple, 4, RelationGetDescr(rel), &isnull)) ==
			(int64) GetSystemIdentifier())
			continue;
		values[2] = ObjectIdGetDatum(get_role_oid(NameStr(*name), true));
		values[3] = Int64GetDatum((int64) GetSystemIdentifier());
		tuple = taskq_rows_modify(rel, tuple, values, nulls, replace,
								  lengthof(values));
		taskq_rows_update(rel, &tuple->t_self, tuple, lengthof(values));
		CacheInvalidateRelcache(rel);
	}
	systable_endscan(scan);
	UnregisterSnapshot(snapshot);
	table_close(rel, NoLock);
}

/*
 * taskq_lanes_take_over - make this database the home of all lanes
 *
 * Returns how many came from elsewhere.  Roles are taken by name, because a
 * copy in another server has other oids.
 */
int
taskq_lanes_take_over(void)
{
	Relation	rel = taskq_store_open(TASKQ_REL_LANE, ShareUpdateExclusiveLock);
	Snapshot	snapshot = taskq_store_snapshot();
	SysScanDesc scan = systable_beginscan(rel, InvalidOid, false, snapshot, 0,
										  NULL);
	HeapTuple	tuple;
	int			n = 0;

	while ((tuple = systable_getnext(scan)) != NULL)
	{
		TaskqLaneDef lane;
		bool		replace[Natts_lane] = {false, false, false, false, false,
		false, true, true, false};
		bool		nulls[Natts_lane] = {false};
		Datum		values[Natts_lane] = {0};

		lane_from_tuple(&lane, tuple, RelationGetDescr(rel));
		if (!lane.foreign)
			continue;
		values[6] = Int64GetDatum((int64) GetSystemIdentifier());
		values[7] = ObjectIdGetDatum(MyDatabaseId);
		tuple = taskq_rows_modify(rel, tuple, values, nulls, replace,
								  lengthof(values));
		taskq_rows_update(rel, &tuple->t_self, tuple, lengthof(values));
		n++;
	}
	systable_endscan(scan);
	UnregisterSnapshot(snapshot);
	roles_take_over();
	if (n > 0)
		CacheInvalidateRelcache(rel);
	table_close(rel, NoLock);
	CommandCounterIncrement();
	return n;
}

/*
 * taskq_arg_queue - the name of a queue that exists; taskq_defs_begin was
 * called
 */
char *
taskq_arg_queue(FunctionCallInfo fcinfo, int n)
{
	char	   *queue = taskq_arg_name(fcinfo, n, "queue");

	if (strcmp(queue, "default") != 0 && taskq_queue_get(queue) == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("queue \"%s\" does not exist", queue),
				 errhint("Argument \"queue\" names a queue that taskq.queue_define() made; view taskq.queue lists them.")));
	return queue;
}
