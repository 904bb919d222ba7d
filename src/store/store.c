/*-------------------------------------------------------------------------
 *
 * store.c
 *		The tables: are they there, of our version, and as they shall be?
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/heapam.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "base/compat.h"
#include "catalog/index.h"
#include "catalog/namespace.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "commands/dbcommands.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "store/defs.h"
#include "store/store.h"
#include "store/tasks.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

/* Names of what each leaf has, with the leaf's number or "keep" inside. */
static const struct
{
	const char *before;
	const char *after;
}			families[] = {
	{"task_", ""}, {"task_", "_pkey"}, {"task_", "_lane_idx"},
	{"label_", ""}, {"label_", "_idx"}, {"log_", ""}, {"log_", "_idx"}
};

StaticAssertDecl(TASKQ_REL_LEAF == 0 &&
				 lengthof(families) * TASKQ_LEAVES == TASKQ_REL_TIMER,
				 "a name for every family");

static const char *const names[] = {
	"timer", "timer_pkey",
	"role", "role_pkey", "role_oid_idx", "role_id_seq",
	"lane", "lane_pkey", "lane_kind_idx", "lane_id_seq",
	"kind", "kind_pkey",
	"kind_grant", "kind_grant_pkey",
	"queue", "queue_pkey",
	"pause", "pause_pkey",
	"attempt", "attempt_pkey",
	"lease", "lease_pkey",
	"ready", "ready_pkey",
	"watermark", "watermark_pkey",
	"schedule", "schedule_pkey",
	"schedule_state", "schedule_state_pkey", "schedule_state_look_at_idx",
	"schedule_object", "schedule_object_pkey",
	"dependency", "dependency_pkey",
	"blocked", "blocked_pkey",
	"keyed", "keyed_pkey",
	"unique_key", "unique_key_pkey", "unique_key_key_idx",
	"link_task", "link_task_pkey", "link", "link_pkey", "link_object_idx",
	"template", "template_pkey",
	"step", "step_pkey",
	"label_keep_id_idx",
	"secret", "secret_pkey",
	"audit", "audit_pkey", "audit_task_idx",
	"rollup", "rollup_pkey",
	"stock", "stock_pkey",
	"alert", "alert_pkey", "alert_state", "alert_state_pkey",
	"feed", "feed_pkey", "outbox_0", "outbox_1", "outbox_2", "outbox_3"
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
	TIMESTAMPTZOID, JSONBOID, JSONBOID, TEXTOID, JSONBOID, JSONBOID,
	TEXTOID, INT2OID, INT2OID, TEXTARRAYOID, JSONBOID,
	UUIDOID, UUIDOID, UUIDOID, TEXTOID, JSONBOID, TEXTOID,
JSONBOID, TEXTOID, TEXTOID, UUIDARRAYOID, JSONBOID};
static const Oid timer_types[] = {TIMESTAMPTZOID, UUIDOID, INT4OID};
static const Oid role_types[] = {INT4OID, NAMEOID, OIDOID, INT8OID};
static const Oid lane_types[] = {INT4OID, INT4OID, INT2OID, TEXTOID, TEXTOID,
INT4OID, INT8OID, OIDOID, INT8OID, INT8OID};
static const Oid kind_types[] = {TEXTOID, TEXTOID, TEXTOID,
	INT2OID, INT2OID, INTERVALOID,
	INTERVALOID, INTERVALOID, TEXTARRAYOID,
	INT4OID, INT4OID, INTERVALOID,
	INT4OID, INTERVALOID, BOOLOID,
	TEXTOID, INT4OID, TIMESTAMPTZOID,
	INT8OID, INT4OID, INT8ARRAYOID,
	TEXTARRAYOID, INT4ARRAYOID, INT8ARRAYOID,
	INT4OID, JSONBOID, TEXTOID,
INT4OID, BOOLOID, TEXTARRAYOID, TIMESTAMPTZOID};
static const Oid kind_grant_types[] = {TEXTOID, CHAROID, INT4OID};
static const Oid queue_types[] = {TEXTOID, INT4OID, INTERVALOID, TEXTOID,
TIMESTAMPTZOID, INT4OID, INTERVALOID, INT4OID};
static const Oid pause_types[] = {CHAROID, TEXTOID, TIMESTAMPTZOID, INT4OID,
TEXTOID};
static const Oid attempt_types[] = {UUIDOID, INT2OID, CHAROID,
	TEXTOID, TIMESTAMPTZOID, TIMESTAMPTZOID,
JSONBOID, JSONBOID};
static const Oid lease_types[] = {UUIDOID, UUIDOID,
	TIMESTAMPTZOID, TIMESTAMPTZOID,
	TIMESTAMPTZOID, INT8OID,
	BOOLOID, BOOLOID,
TIMESTAMPTZOID, JSONBOID};

static const Oid ready_types[] = {INT4OID, TIMESTAMPTZOID, UUIDOID};
static const Oid watermark_types[] = {INT4OID, UUIDOID};
static const Oid schedule_types[] = {TEXTOID, TEXTOID, TEXTOID,
	INTERVALOID, JSONBOID, TEXTOID,
	TEXTOID, BOOLOID, CHAROID,
	INTERVALOID, CHAROID, BOOLOID,
	JSONBOID, TEXTOID, INT4OID,
	JSONBOID, TEXTOID, TIMESTAMPTZOID,
INT8OID, OIDOID, INT4OID, INT8OID};
static const Oid schedule_state_types[] = {TEXTOID, TIMESTAMPTZOID,
	TIMESTAMPTZOID, TIMESTAMPTZOID,
	UUIDOID, TIMESTAMPTZOID,
	INT8OID, INT8OID, INT4OID,
JSONBOID, TIMESTAMPTZOID};
static const Oid schedule_object_types[] = {TEXTOID, TEXTOID, UUIDOID,
TIMESTAMPTZOID, TIMESTAMPTZOID};
static const Oid dependency_types[] = {UUIDOID, CHAROID, UUIDOID, CHAROID};
static const Oid blocked_types[] = {UUIDOID, BOOLOID, CHAROID, INT4OID, BOOLOID};
static const Oid keyed_types[] = {INT4OID, INT8OID, TIMESTAMPTZOID, UUIDOID, TIDOID};
static const Oid unique_types[] = {UUIDOID, BYTEAOID, INT4OID, INT8OID,
TIMESTAMPTZOID};
static const Oid link_task_types[] = {UUIDOID, INT4OID, INT4OID, TEXTOID, TEXTOID, JSONBOID};
static const Oid link_types[] = {UUIDOID, TEXTOID, TEXTOID, TIMESTAMPTZOID};
static const Oid template_types[] = {TEXTOID, JSONBOID, TEXTOID, INT4OID,
TEXTOID, TIMESTAMPTZOID};
static const Oid step_types[] = {UUIDOID, TEXTOID, INT4OID, UUIDOID, UUIDOID,
JSONBOID};
static const Oid label_types[] = {TEXTOID, INT8OID, UUIDOID};
static const Oid secret_types[] = {TEXTOID, INT4OID, TEXTARRAYOID};
static const Oid alert_types[] = {TEXTOID, TEXTOID, FLOAT8OID, FLOAT8OID,
INTERVALOID, TEXTOID, TEXTOID, BOOLOID, TEXTOID, INT4OID, TIMESTAMPTZOID};
static const Oid alert_state_types[] = {TEXTOID, TIMESTAMPTZOID,
TIMESTAMPTZOID, FLOAT8OID, TIMESTAMPTZOID, INT8OID};
static const Oid audit_types[] = {UUIDOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID,
	UUIDOID, UUIDARRAYOID, INT8OID, INT4OID, INT4OID, TEXTOID, INT4OID,
	TEXTOID, UUIDOID, JSONBOID, INETOID, TEXTOID, INT4OID, BOOLOID, TEXTOID,
TEXTOID, JSONBOID};
static const Oid rollup_types[] = {CHAROID, TIMESTAMPTZOID, INT8OID,
	CHAROID, CHAROID, INT4OID, TEXTOID, TEXTOID,
	INT8OID, INT8OID, INT8OID, INT8OID, INT8OID,
INT8ARRAYOID, INT8ARRAYOID, INT8ARRAYOID};
static const Oid stock_types[] = {INT2OID, INT4OID, CHAROID, INT8OID};
static const Oid feed_types[] = {INT8OID, INT8OID, TIMESTAMPTZOID, BYTEAOID};
static const Oid outbox_types[] = {TIMESTAMPTZOID, BYTEAOID};
static const Oid log_types[] = {UUIDOID, INT8OID, TIMESTAMPTZOID, INT4OID,
INT2OID, INT2OID, TEXTOID, JSONBOID};

static const struct
{
	TaskqRelation table;		/* of a family its first */
	const Oid  *types;
	int			n;
}			shapes[] = {
	{TASKQ_REL_LEAF, task_types, lengthof(task_types)},
	{TASKQ_REL_LABEL, label_types, lengthof(label_types)},
	{TASKQ_REL_LOG, log_types, lengthof(log_types)},
	{TASKQ_REL_TIMER, timer_types, lengthof(timer_types)},
	{TASKQ_REL_ROLE, role_types, lengthof(role_types)},
	{TASKQ_REL_LANE, lane_types, lengthof(lane_types)},
	{TASKQ_REL_KIND, kind_types, lengthof(kind_types)},
	{TASKQ_REL_KIND_GRANT, kind_grant_types, lengthof(kind_grant_types)},
	{TASKQ_REL_QUEUE, queue_types, lengthof(queue_types)},
	{TASKQ_REL_PAUSE, pause_types, lengthof(pause_types)},
	{TASKQ_REL_ATTEMPT, attempt_types, lengthof(attempt_types)},
	{TASKQ_REL_LEASE, lease_types, lengthof(lease_types)},
	{TASKQ_REL_READY, ready_types, lengthof(ready_types)},
	{TASKQ_REL_WATERMARK, watermark_types, lengthof(watermark_types)},
	{TASKQ_REL_SCHEDULE, schedule_types, lengthof(schedule_types)},
	{TASKQ_REL_SCHEDULE_STATE, schedule_state_types,
	lengthof(schedule_state_types)},
	{TASKQ_REL_SCHEDULE_OBJECT, schedule_object_types,
	lengthof(schedule_object_types)},
	{TASKQ_REL_DEPENDENCY, dependency_types, lengthof(dependency_types)},
	{TASKQ_REL_BLOCKED, blocked_types, lengthof(blocked_types)},
	{TASKQ_REL_KEYED, keyed_types, lengthof(keyed_types)},
	{TASKQ_REL_UNIQUE, unique_types, lengthof(unique_types)},
	{TASKQ_REL_LINK_TASK, link_task_types, lengthof(link_task_types)},
	{TASKQ_REL_LINK, link_types, lengthof(link_types)},
	{TASKQ_REL_TEMPLATE, template_types, lengthof(template_types)},
	{TASKQ_REL_STEP, step_types, lengthof(step_types)},
	{TASKQ_REL_SECRET, secret_types, lengthof(secret_types)},
	{TASKQ_REL_AUDIT, audit_types, lengthof(audit_types)},
	{TASKQ_REL_ROLLUP, rollup_types, lengthof(rollup_types)},
	{TASKQ_REL_STOCK, stock_types, lengthof(stock_types)},
	{TASKQ_REL_ALERT, alert_types, lengthof(alert_types)},
	{TASKQ_REL_ALERT_STATE, alert_state_types, lengthof(alert_state_types)},
	{TASKQ_REL_FEED, feed_types, lengthof(feed_types)},
	{TASKQ_REL_OUTBOX, outbox_types, lengthof(outbox_types)},
	{TASKQ_REL_OUTBOX + 1, outbox_types, lengthof(outbox_types)},
	{TASKQ_REL_OUTBOX + 2, outbox_types, lengthof(outbox_types)},
	{TASKQ_REL_OUTBOX_LAST, outbox_types, lengthof(outbox_types)}
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
	int			family = which / TASKQ_LEAVES;

	if (which >= TASKQ_REL_TIMER)
		strlcpy(name, names[which - TASKQ_REL_TIMER], NAMEDATALEN);
	else if (which % TASKQ_LEAVES == TASKQ_KEEP)
		snprintf(name, NAMEDATALEN, "%skeep%s", families[family].before,
				 families[family].after);
	else
		snprintf(name, NAMEDATALEN, "%s%02d%s", families[family].before,
				 which % TASKQ_LEAVES, families[family].after);
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

static bool
tables_exist(void)
{
	for (int i = 0; i < TASKQ_NRELS; i++)
	{
		if (!is_index(i) && !look_up(i))
			return false;
	}
	return true;
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
		if (script_version < 0)
			script_version = read_script_version();
		/* another version may have other tables; a missing one is no proof */
		if ((script_version == 0 || script_version == TASKQ_SCRIPT_VERSION) &&
			!tables_exist())
		{
			script_version = -1;
			return false;
		}
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

/* taskq_store_script - number of the extension's script; -1: it is not here */
int32
taskq_store_script(void)
{
	(void) taskq_store_ready();
	return script_version;
}

/*
 * taskq_store_changed - after a command that may have made or updated the
 * extension, whose number was before: an error (55000) if it is one now that
 * does not fit the library
 *
 * What worked until now would not any more: then it is better undone.
 */
void
taskq_store_changed(int32 before)
{
	CommandCounterIncrement();
	if (taskq_store_script() == before || !taskq_store_mismatched())
		return;
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("this version of extension \"taskq\" does not fit the library that is loaded"),
			 errdetail("The extension would have number %d, and the library needs %d.",
					   script_version, TASKQ_SCRIPT_VERSION),
			 errhint(TASKQ_LIBRARY_FIRST)));
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
	TaskqRelation first = which < TASKQ_REL_TIMER
	? which - which % TASKQ_LEAVES : which;
	const Oid  *types = NULL;
	int			n = 0;

	if (rel->rd_rel->relkind != RELKIND_RELATION ||
		rel->rd_tableam != GetHeapamTableAmRoutine())
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("\"taskq_internal.%s\" is not a table of access method heap any more", RelationGetRelationName(rel)),
				 errhint("Use ALTER TABLE ... SET ACCESS METHOD heap.")));
	for (int i = 0; i < lengthof(shapes) && types == NULL; i++)
	{
		if (shapes[i].table != first)
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
