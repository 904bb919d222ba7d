/*-------------------------------------------------------------------------
 *
 * lanedefs.c
 *		Table "lane": what a lane is of; what is in it, lane.c.
 *
 * Tasks of tenants are in lanes of their own, so that tenants take turns.  A
 * lane has the tenant's number, a hash with which nobody can meet another
 * one on purpose.  Rows of this table stay, so there are not as many as there
 * may be tenants: when many have a lane with the same other properties, the
 * tenants that come after them share some lanes, by their numbers.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "common/cryptohash.h"
#include "common/sha2.h"
#include "miscadmin.h"
#include "store/cache.h"
#include "store/read.h"
#include "store/rows.h"
#include "utils/builtins.h"
#include "utils/inval.h"

#define TENANTS_APART 500		/* so many have lanes of their own */
#define TENANTS_SHARED 250		/* and the others so many together, numbered
								 * from 1 */

typedef struct LaneKey
{
	Oid			role;
	int16		priority;
	NameData	queue;
	NameData	kind;
	int32		kind_owner;
	int64		kind_version;
	bool		keyed;
	int64		tenant;
} LaneKey;

typedef struct LaneByKey
{
	LaneKey		key;
	int32		id;
} LaneByKey;

static HTAB *lanes = NULL;
static HTAB *lanes_by_key = NULL;

/* taskq_lanedefs_forget - an empty cache */
void
taskq_lanedefs_forget(void)
{
	lanes = taskq_defs_cache("taskq lanes", sizeof(int32),
							 sizeof(TaskqLaneDef), HASH_BLOBS);
	taskq_lanedefs_doubt();
}

/* taskq_lanedefs_doubt - which lane is that of a key is looked up anew */
void
taskq_lanedefs_doubt(void)
{
	lanes_by_key = taskq_defs_cache("taskq lanes by key", sizeof(LaneKey),
									sizeof(LaneByKey), HASH_BLOBS);
}

/*
 * columns of taskq_internal.lane: id, role, priority, queue, kind,
 * kind_owner, system, database, kind_version, tenant
 */
#define Natts_lane 10

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
	lane->tenant = DatumGetInt64(values[9]);
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

/*
 * taskq_lane_of_one_tenant - are all tasks of this lane, now and ever, those
 * of one tenant?
 */
bool
taskq_lane_of_one_tenant(const TaskqLaneDef *lane)
{
	return lane->tenant != 0 &&
		(lane->tenant < 0 || lane->tenant > TENANTS_SHARED);
}

static int32
lane_insert(int32 role, const LaneKey *key)
{
	Relation	rel = taskq_store_open(TASKQ_REL_LANE, RowExclusiveLock);
	int32		id = taskq_defs_number(rel, TASKQ_REL_LANE_PKEY,
									   TASKQ_REL_LANE_SEQ);
	Datum		values[Natts_lane];
	bool		nulls[Natts_lane] = {false};

	if (key->keyed)
		id = -id;
	values[0] = Int32GetDatum(id);
	values[1] = Int32GetDatum(role);
	values[2] = Int16GetDatum(key->priority);
	values[3] = CStringGetTextDatum(NameStr(key->queue));
	values[4] = CStringGetTextDatum(NameStr(key->kind));
	values[5] = Int32GetDatum(key->kind_owner);
	values[6] = Int64GetDatum((int64) GetSystemIdentifier());
	values[7] = ObjectIdGetDatum(MyDatabaseId);
	values[8] = Int64GetDatum(key->kind_version);
	values[9] = Int64GetDatum(key->tenant);
	taskq_rows_insert_one(rel, values, nulls, lengthof(values));
	table_close(rel, NoLock);
	CommandCounterIncrement();
	return id;
}

/*
 * The lane of these properties with the lowest number, or 0; *n: how many
 * there are of all tenants, or, with nkeys, of this one.
 */
static int32
lane_search(int32 role, const LaneKey *key, int nkeys, int *n)
{
	TaskqRead	read;
	ScanKeyData keys[7];
	HeapTuple	tuple;
	int32		id = 0;

	taskq_key(&keys[0], 5, F_TEXTEQ, CStringGetTextDatum(NameStr(key->kind)));
	taskq_key(&keys[1], 2, F_INT4EQ, Int32GetDatum(role));
	taskq_key(&keys[2], 4, F_TEXTEQ, CStringGetTextDatum(NameStr(key->queue)));
	taskq_key(&keys[3], 3, F_INT2EQ, Int16GetDatum(key->priority));
	taskq_key(&keys[4], 6, F_INT4EQ, Int32GetDatum(key->kind_owner));
	taskq_key(&keys[5], 9, F_INT8EQ, Int64GetDatum(key->kind_version));
	taskq_key(&keys[6], 10, F_INT8EQ, Int64GetDatum(key->tenant));
	*n = 0;
	taskq_read_begin(&read, TASKQ_REL_LANE, TASKQ_REL_LANE_KIND,
					 AccessShareLock, nkeys, keys);
	while ((tuple = taskq_read_next(&read)) != NULL)
	{
		TaskqLaneDef lane;

		(*n)++;
		lane_from_tuple(&lane, tuple, RelationGetDescr(read.rel));
		if (!lane.foreign && lane.tenant == key->tenant &&
			taskq_lane_keyed(lane.id) == key->keyed &&
			(id == 0 || lane.id < id))
			id = lane.id;
	}
	taskq_read_end(&read);
	return id;
}

/*
 * The lane of these properties, made if there is none; of those of tenants,
 * only while there are not too many.
 */
static int32
lane_find(const LaneKey *key)
{
	int32		role = taskq_role_id(key->role);
	int			n;
	int32		id = lane_search(role, key, 7, &n);
	LaneKey		shared = *key;

	if (id != 0)
		return id;
	if (key->tenant != 0)
	{
		(void) lane_search(role, key, 6, &n);
		if (n > TENANTS_APART)
		{
			shared.tenant = 1 + (uint64) key->tenant % TENANTS_SHARED;
			id = lane_search(role, &shared, 7, &n);
		}
	}
	if (id != 0)
		return id;
	taskq_defs_made_here();
	return lane_insert(role, &shared);
}

static const TaskqLaneDef *
lane_of_key(const LaneKey *key)
{
	LaneByKey  *entry = hash_search(lanes_by_key, key, HASH_FIND, NULL);

	if (entry == NULL)
	{
		int32		id = lane_find(key);

		entry = hash_search(lanes_by_key, key, HASH_ENTER, NULL);
		entry->id = id;
	}
	return taskq_lane_get(entry->id);
}

/*
 * taskq_lane_for - the lane of these properties, made if there is none; kind
 * NULL: SQL commands; keyed: for tasks with a concurrency key
 *
 * Its row is part of the calling transaction.  Two sessions may make one each
 * at the same time: both serve, and no submitter waits for another.
 */
const TaskqLaneDef *
taskq_lane_for(Oid role, const char *queue, const char *kind_name,
			   const TaskqKind *kind, int16 priority, bool keyed)
{
	LaneKey		key;

	memset(&key, 0, sizeof(key));
	key.role = role;
	key.priority = priority;
	key.keyed = keyed;
	key.kind_owner = kind ? kind->owner_id : 0;
	key.kind_version = kind ? kind->version : 0;
	namestrcpy(&key.queue, queue);
	namestrcpy(&key.kind, kind_name);
	return lane_of_key(&key);
}

/* taskq_tenant_number - what lanes have for a tenant; less than 0 */
int64
taskq_tenant_number(const char *tenant)
{
	pg_cryptohash_ctx *context = pg_cryptohash_create(PG_SHA256);
	uint8		digest[PG_SHA256_DIGEST_LENGTH];
	uint64		number = 0;

	if (context == NULL || pg_cryptohash_init(context) < 0 ||
		pg_cryptohash_update(context, (const uint8 *) tenant,
							 strlen(tenant)) < 0 ||
		pg_cryptohash_final(context, digest, sizeof(digest)) < 0)
		elog(ERROR, "could not hash a tenant");
	pg_cryptohash_free(context);
	for (int i = 0; i < sizeof(number); i++)
		number = number << 8 | digest[i];
	return (int64) (number | UINT64CONST(1) << 63);
}

/*
 * taskq_lane_like - the lane that is as another one, but of this priority and
 * this tenant's tasks (or NULL: those without); made if there is none
 *
 * The other lane is of this database, and its role exists.
 */
const TaskqLaneDef *
taskq_lane_like(const TaskqLaneDef *lane, int16 priority, const char *tenant)
{
	LaneKey		key;

	memset(&key, 0, sizeof(key));
	key.role = lane->role_oid;
	key.priority = priority;
	key.keyed = taskq_lane_keyed(lane->id);
	key.kind_owner = lane->kind_owner;
	key.kind_version = lane->kind_version;
	key.queue = lane->queue;
	key.kind = lane->kind;
	key.tenant = tenant ? taskq_tenant_number(tenant) : 0;
	return lane_of_key(&key);
}

/*
 * taskq_lane_of_tenant - the lane that is as another one, but of a tenant's
 * tasks; made if there is none
 */
const TaskqLaneDef *
taskq_lane_of_tenant(const TaskqLaneDef *lane, const char *tenant)
{
	return taskq_lane_like(lane, lane->priority, tenant);
}

/*
 * taskq_lane_has_tenant - may a lane have tasks of the tenant of this number?
 */
bool
taskq_lane_has_tenant(const TaskqLaneDef *lane, int64 number)
{
	return lane->tenant == number ||
		lane->tenant == 1 + (uint64) number % TENANTS_SHARED;
}

/*
 * taskq_lanes_of_tenant - numbers of all lanes that may have tasks of a
 * tenant, as a list of int
 */
List *
taskq_lanes_of_tenant(const char *tenant)
{
	int64		number = taskq_tenant_number(tenant);
	int64		shared = 1 + (uint64) number % TENANTS_SHARED;
	TaskqRead	read;
	HeapTuple	tuple;
	List	   *ids = NIL;

	taskq_read_begin_all(&read, TASKQ_REL_LANE, AccessShareLock);
	while ((tuple = taskq_read_next(&read)) != NULL)
	{
		int64		of = DatumGetInt64(taskq_read_column(&read, tuple, 10));

		if (of == number || of == shared)
			ids = lappend_int(ids,
							  DatumGetInt32(taskq_read_column(&read, tuple, 1)));
	}
	taskq_read_end(&read);
	return ids;
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

/* taskq_lanes_have_queue - has a task been submitted to this queue? */
bool
taskq_lanes_have_queue(const char *queue)
{
	return taskq_defs_have_text(TASKQ_REL_LANE, 4, queue);
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
	false, true, true, false, false};
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
	taskq_roles_take_over();
	if (n > 0)
		CacheInvalidateRelcache(read.rel);
	taskq_read_end(&read);
	CommandCounterIncrement();
	return n;
}
