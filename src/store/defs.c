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
#include "store/read.h"
#include "store/rows.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
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

/* Copy of the row whose first column is the text name, or NULL. */
static HeapTuple
read_by_name(TaskqRelation table, TaskqRelation index, const char *name,
			 TupleDesc *desc)
{
	ScanKeyData key;

	taskq_key(&key, 1, F_TEXTEQ, CStringGetTextDatum(name));
	return taskq_read_one(table, index, 1, &key, desc);
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
	TaskqRead	read;
	ScanKeyData key;
	HeapTuple	tuple;
	List	   *grants = NIL;

	taskq_key(&key, 1, F_TEXTEQ, CStringGetTextDatum(kind));
	taskq_read_begin(&read, TASKQ_REL_KIND_GRANT, TASKQ_REL_KIND_GRANT_PKEY,
					 AccessShareLock, 1, &key);
	while ((tuple = taskq_read_next(&read)) != NULL)
	{
		TaskqKindGrant *grant = MemoryContextAlloc(defs_context,
												   sizeof(TaskqKindGrant));
		int32		role = DatumGetInt32(taskq_read_column(&read, tuple, 3));
		NameData	name;
		MemoryContext old;

		grant->privilege = DatumGetChar(taskq_read_column(&read, tuple, 2));
		grant->role = InvalidOid;
		(void) taskq_role_read(role, &name, &grant->role);
		old = MemoryContextSwitchTo(defs_context);
		grants = lappend(grants, grant);
		MemoryContextSwitchTo(old);
	}
	taskq_read_end(&read);
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

/* End what has changed a table that caches are made of. */
static void
changed(TaskqRead *read)
{
	CacheInvalidateRelcache(read->rel);
	taskq_read_end(read);
	CommandCounterIncrement();
}

/*
 * Insert the row, or replace the one of that name.  replace tells which
 * columns; NULL means all.
 */
static void
write_by_name(TaskqRelation table, TaskqRelation index, const char *name,
			  Datum *values, bool *nulls, const bool *replace, int natts)
{
	TaskqRead	read;
	ScanKeyData key;
	HeapTuple	tuple;

	/* one writer at a time: definitions are rare, and none is lost to a race */
	taskq_key(&key, 1, F_TEXTEQ, CStringGetTextDatum(name));
	taskq_read_begin(&read, table, index, ShareRowExclusiveLock, 1, &key);
	tuple = taskq_read_next(&read);
	if (tuple != NULL)
	{
		tuple = taskq_rows_modify(read.rel, tuple, values, nulls, replace,
								  natts);
		taskq_rows_update(read.rel, &tuple->t_self, tuple, natts);
	}
	else
		taskq_rows_insert_one(read.rel, values, nulls, natts);
	changed(&read);
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
	ScanKeyData key;

	taskq_key(&key, 1, F_TEXTEQ, CStringGetTextDatum(kind));
	taskq_read_delete(TASKQ_REL_KIND_GRANT, TASKQ_REL_KIND_GRANT_PKEY,
					  ShareRowExclusiveLock, 1, &key);
}

/* taskq_kind_delete - with its grants; false if there was none */
bool
taskq_kind_delete(const char *name)
{
	TaskqRead	read;
	ScanKeyData key;
	HeapTuple	tuple;

	taskq_key(&key, 1, F_TEXTEQ, CStringGetTextDatum(name));
	taskq_read_begin(&read, TASKQ_REL_KIND, TASKQ_REL_KIND_PKEY,
					 ShareRowExclusiveLock, 1, &key);
	delete_grants(name);
	tuple = taskq_read_next(&read);
	if (tuple != NULL)
		CatalogTupleDelete(read.rel, &tuple->t_self);
	changed(&read);
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
	Datum		values[3] = {CStringGetTextDatum(kind), CharGetDatum(privilege),
	Int32GetDatum(role)};
	bool		nulls[3] = {false, false, false};
	TaskqRead	read;
	ScanKeyData keys[3];
	HeapTuple	tuple;
	bool		found;

	taskq_key(&keys[0], 1, F_TEXTEQ, values[0]);
	taskq_key(&keys[1], 2, F_CHAREQ, values[1]);
	taskq_key(&keys[2], 3, F_INT4EQ, values[2]);
	taskq_read_begin(&read, TASKQ_REL_KIND_GRANT, TASKQ_REL_KIND_GRANT_PKEY,
					 ShareRowExclusiveLock, 3, keys);
	tuple = taskq_read_next(&read);
	found = tuple != NULL;
	if (found && !grant)
		CatalogTupleDelete(read.rel, &tuple->t_self);
	else if (!found && grant)
		taskq_rows_insert_one(read.rel, values, nulls, lengthof(values));
	changed(&read);
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
	taskq_key(&key, 1, F_INT4EQ, Int32GetDatum(number));
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

/* The lowest number of a role that is in the table, or 0. */
static int32
role_search(Oid role)
{
	char	   *name = GetUserNameFromId(role, false);
	TaskqRead	read;
	ScanKeyData key;
	HeapTuple	tuple;
	int32		id = 0;

	taskq_key(&key, 3, F_OIDEQ, ObjectIdGetDatum(role));
	taskq_read_begin(&read, TASKQ_REL_ROLE, TASKQ_REL_ROLE_OID,
					 AccessShareLock, 1, &key);
	while ((tuple = taskq_read_next(&read)) != NULL)
	{
		int32		found = DatumGetInt32(taskq_read_column(&read, tuple, 1));
		Name		found_name = DatumGetName(taskq_read_column(&read, tuple, 2));
		int64		system = DatumGetInt64(taskq_read_column(&read, tuple, 4));

		if (strcmp(NameStr(*found_name), name) == 0 &&
			system == (int64) GetSystemIdentifier() && (id == 0 || found < id))
			id = found;
	}
	taskq_read_end(&read);
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
	int32		id;

	if (entry != NULL)
		return entry->id;
	id = role_search(role);
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
	TaskqRead	read;
	ScanKeyData key;
	HeapTuple	tuple;

	taskq_key(&key, 1, F_INT4EQ, Int32GetDatum(id));
	taskq_read_begin(&read, TASKQ_REL_ROLE, TASKQ_REL_ROLE_PKEY,
					 AccessShareLock, 1, &key);
	tuple = taskq_read_next(&read);
	if (tuple != NULL)
	{
		*name = *DatumGetName(taskq_read_column(&read, tuple, 2));
		*oid = taskq_role_resolve(NameStr(*name),
								  DatumGetObjectId(taskq_read_column(&read, tuple, 3)),
								  DatumGetInt64(taskq_read_column(&read, tuple, 4)));
	}
	taskq_read_end(&read);
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
	TaskqLaneDef def;
	TaskqRead	read;
	ScanKeyData key;
	HeapTuple	tuple;

	if (lane != NULL)
		return lane;
	taskq_key(&key, 1, F_INT4EQ, Int32GetDatum(id));
	taskq_read_begin(&read, TASKQ_REL_LANE, TASKQ_REL_LANE_PKEY,
					 AccessShareLock, 1, &key);
	tuple = taskq_read_next(&read);
	if (tuple != NULL)
		lane_from_tuple(&def, tuple, RelationGetDescr(read.rel));
	taskq_read_end(&read);
	if (tuple == NULL ||
		!taskq_role_read(def.role, &def.role_name, &def.role_oid))
		return NULL;
	lane = hash_search(lanes, &id, HASH_ENTER, NULL);
	*lane = def;
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
	TaskqRead	read;
	ScanKeyData keys[6];
	HeapTuple	tuple;
	int32		id = 0;

	taskq_key(&keys[0], 5, F_TEXTEQ, CStringGetTextDatum(NameStr(key->kind)));
	taskq_key(&keys[1], 2, F_INT4EQ, Int32GetDatum(role));
	taskq_key(&keys[2], 4, F_TEXTEQ, CStringGetTextDatum(NameStr(key->queue)));
	taskq_key(&keys[3], 3, F_INT2EQ, Int16GetDatum(key->priority));
	taskq_key(&keys[4], 6, F_INT4EQ, Int32GetDatum(key->kind_owner));
	taskq_key(&keys[5], 9, F_INT8EQ, Int64GetDatum(key->kind_version));
	taskq_read_begin(&read, TASKQ_REL_LANE, TASKQ_REL_LANE_KIND,
					 AccessShareLock, lengthof(keys), keys);
	while ((tuple = taskq_read_next(&read)) != NULL)
	{
		TaskqLaneDef lane;

		lane_from_tuple(&lane, tuple, RelationGetDescr(read.rel));
		if (!lane.foreign && (id == 0 || lane.id < id))
			id = lane.id;
	}
	taskq_read_end(&read);
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
	TaskqRead	read;
	HeapTuple	tuple;
	List	   *ids = NIL;

	taskq_read_begin_all(&read, TASKQ_REL_LANE, AccessShareLock);
	while ((tuple = taskq_read_next(&read)) != NULL)
		ids = lappend_int(ids,
						  DatumGetInt32(taskq_read_column(&read, tuple, 1)));
	taskq_read_end(&read);
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
	const bool	replace[4] = {false, false, true, true};
	bool		nulls[4] = {false, false, false, false};
	TaskqRead	read;
	HeapTuple	tuple;

	taskq_read_begin_all(&read, TASKQ_REL_ROLE, ShareUpdateExclusiveLock);
	while ((tuple = taskq_read_next(&read)) != NULL)
	{
		Datum		values[4] = {0, 0, 0, 0};
		Name		name = DatumGetName(taskq_read_column(&read, tuple, 2));

		if (DatumGetInt64(taskq_read_column(&read, tuple, 4)) ==
			(int64) GetSystemIdentifier())
			continue;
		values[2] = ObjectIdGetDatum(get_role_oid(NameStr(*name), true));
		values[3] = Int64GetDatum((int64) GetSystemIdentifier());
		tuple = taskq_rows_modify(read.rel, tuple, values, nulls, replace,
								  lengthof(values));
		taskq_rows_update(read.rel, &tuple->t_self, tuple, lengthof(values));
		CacheInvalidateRelcache(read.rel);
	}
	taskq_read_end(&read);
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
	const bool	replace[Natts_lane] = {false, false, false, false, false,
	false, true, true, false};
	bool		nulls[Natts_lane] = {false};
	Datum		values[Natts_lane] = {0};
	TaskqRead	read;
	HeapTuple	tuple;
	int			n = 0;

	values[6] = Int64GetDatum((int64) GetSystemIdentifier());
	values[7] = ObjectIdGetDatum(MyDatabaseId);
	taskq_read_begin_all(&read, TASKQ_REL_LANE, ShareUpdateExclusiveLock);
	while ((tuple = taskq_read_next(&read)) != NULL)
	{
		TaskqLaneDef lane;

		lane_from_tuple(&lane, tuple, RelationGetDescr(read.rel));
		if (!lane.foreign)
			continue;
		tuple = taskq_rows_modify(read.rel, tuple, values, nulls, replace,
								  lengthof(values));
		taskq_rows_update(read.rel, &tuple->t_self, tuple, lengthof(values));
		n++;
	}
	roles_take_over();
	if (n > 0)
		CacheInvalidateRelcache(read.rel);
	taskq_read_end(&read);
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
