/*-------------------------------------------------------------------------
 *
 * defs.c
 *		What the tables of kinds, queues, roles and lanes have in common.
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

#include "access/xact.h"
#include "base/args.h"
#include "base/json.h"
#include "base/shmem.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "commands/sequence.h"
#include "common/hashfn.h"
#include "miscadmin.h"
#include "store/cache.h"
#include "store/read.h"
#include "store/rows.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

MemoryContext taskq_defs_context = NULL;
uint64		taskq_defs_generation = 0;
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
		taskq_store_is(TASKQ_REL_PAUSE, relid) ||
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

/*
 * taskq_defs_made_here - this transaction has made a lane or a role, and put
 * it into the cache
 */
void
taskq_defs_made_here(void)
{
	made_here = true;
}

/* taskq_defs_cache - an empty cache, until the next taskq_defs_begin */
HTAB *
taskq_defs_cache(const char *name, Size keysize, Size entrysize, int flags)
{
	HASHCTL		ctl;

	ctl.keysize = keysize;
	ctl.entrysize = entrysize;
	ctl.hcxt = taskq_defs_context;
	return hash_create(name, 64, &ctl, HASH_ELEM | HASH_CONTEXT | flags);
}

/*
 * taskq_defs_begin - make sure of the extension and drop caches that are
 * stale
 *
 * Called at the start of whatever uses definitions; what the functions of
 * defs.h return stays valid until the next call.
 */
void
taskq_defs_begin(void)
{
	uint64		definitions = 0;

	taskq_store_require();
	if (taskq_shared != NULL)
		definitions = pg_atomic_read_u64(&taskq_shared->definitions);
	if (!stale && definitions == seen_definitions)
		return;
	seen_definitions = definitions;
	stale = true;				/* until they are made anew */
	if (taskq_defs_context == NULL)
		taskq_defs_context = AllocSetContextCreate(TopMemoryContext,
												   "taskq definitions",
												   ALLOCSET_DEFAULT_SIZES);
	else
		MemoryContextReset(taskq_defs_context);
	taskq_kinds_forget();
	taskq_queues_forget();
	taskq_pauses_forget();
	taskq_roles_forget();
	taskq_lanedefs_forget();
	taskq_defs_generation++;
	stale = false;
}

/*
 * taskq_defs_doubt - a subtransaction that may have made lanes or roles was
 * undone, and the caller has no occasion for taskq_defs_begin
 *
 * They are looked up anew; what was returned of kinds and lanes stays valid.
 */
void
taskq_defs_doubt(void)
{
	taskq_roles_forget();
	taskq_lanedefs_doubt();
}

/*
 * taskq_defs_current - has nobody committed a change of definitions since
 * taskq_defs_begin?
 *
 * Asked under the main lock, which who commits one takes: then what was read
 * still holds.
 */
bool
taskq_defs_current(void)
{
	return pg_atomic_read_u64(&taskq_shared->definitions) == seen_definitions;
}

/*
 * taskq_defs_read - a copy of the row whose first column is the text name, or
 * NULL
 */
HeapTuple
taskq_defs_read(TaskqRelation table, TaskqRelation index, const char *name,
				TupleDesc *desc)
{
	ScanKeyData key;

	taskq_key(&key, 1, F_TEXTEQ, CStringGetTextDatum(name));
	return taskq_read_one(table, index, 1, &key, desc);
}

/*
 * taskq_defs_have_text - has a row of the table this text in a column that is
 * never null?  Reads all of it
 */
bool
taskq_defs_have_text(TaskqRelation table, int column, const char *value)
{
	TaskqRead	read;
	HeapTuple	tuple;
	bool		found = false;

	taskq_read_begin_all(&read, table, AccessShareLock);
	while (!found && (tuple = taskq_read_next(&read)) != NULL)
		found = strcmp(TextDatumGetCString(taskq_read_column(&read, tuple, column)),
					   value) == 0;
	taskq_read_end(&read);
	return found;
}

/*
 * taskq_defs_sign - a number that tells what rows of this small table, whose
 * first column is a name, have in a column of intervals; 0: nothing
 */
uint64
taskq_defs_sign(TaskqRelation table, int column)
{
	TaskqRead	read;
	HeapTuple	tuple;
	uint64		signature = 0;

	taskq_read_begin_all(&read, table, AccessShareLock);
	while ((tuple = taskq_read_next(&read)) != NULL)
	{
		text	   *name;
		int64		us;

		if (heap_attisnull(tuple, column, RelationGetDescr(read.rel)))
			continue;
		name = DatumGetTextPP(taskq_read_column(&read, tuple, 1));
		us = taskq_interval_us(DatumGetIntervalP(taskq_read_column(&read, tuple,
																   column)));
		/* in whatever order they are */
		signature += hash_combine64(hash_bytes_extended((unsigned char *) VARDATA_ANY(name),
														VARSIZE_ANY_EXHDR(name),
														table),
									us) | 1;
	}
	taskq_read_end(&read);
	return signature;
}

/*
 * taskq_defs_changed - end what has changed a table that caches are made of
 */
void
taskq_defs_changed(TaskqRead *read)
{
	CacheInvalidateRelcache(read->rel);
	taskq_read_end(read);
	CommandCounterIncrement();
}

/*
 * A column's value as text; NULL where it is null, or nobody's business: roles
 * and versions are numbers of ours, and JSON may have payloads in it.
 */
static char *
value_text(Form_pg_attribute column, Datum value, bool isnull)
{
	Oid			output;
	bool		varlena;

	if (isnull)
		return NULL;
	getTypeOutputInfo(column->atttypid, &output, &varlena);
	return OidOutputFunctionCall(output, value);
}

/* Is it told how a column has changed, or only that it has? */
static bool
is_told(Form_pg_attribute column)
{
	static const char *const numbers[] = {"run_as", "owner", "hooks_by",
	"handler_by", "tenant"};

	for (int i = 0; i < lengthof(numbers); i++)
	{
		if (strcmp(numbers[i], NameStr(column->attname)) == 0)
			return false;
	}
	return column->atttypid != JSONBOID;
}

/* Columns that change with others. */
static bool
is_own_business(Form_pg_attribute column)
{
	static const char *const names[] = {"updated_at", "version",
		"same_handler", "hook_owners", "hook_versions", "kind_version",
	"kind_owner", "claims"};

	for (int i = 0; i < lengthof(names); i++)
	{
		if (strcmp(names[i], NameStr(column->attname)) == 0)
			return true;
	}
	return column->attisdropped;
}

static void
add_change(JsonbParseState **state, Form_pg_attribute column, const char *old,
		   const char *new)
{
	if (!is_told(column))
	{
		taskq_json_text(state, NameStr(column->attname), "changed");
		return;
	}
	taskq_json_key(state, NameStr(column->attname));
	taskq_json_begin(state);
	taskq_json_text(state, "old", old);
	taskq_json_text(state, "new", new);
	(void) taskq_json_end(state);
}

/* Which columns have other values than before, as jsonb. */
static Datum
changes_of(Relation rel, HeapTuple tuple, Datum *values, bool *nulls,
		   const bool *replace, int natts)
{
	JsonbParseState *state = NULL;
	Datum	   *old = palloc0(sizeof(Datum) * natts);
	bool	   *old_nulls = palloc0(sizeof(bool) * natts);

	taskq_rows_deform(tuple, RelationGetDescr(rel), old, old_nulls, natts);
	taskq_json_begin(&state);
	for (int i = 0; i < natts; i++)
	{
		Form_pg_attribute column = TupleDescAttr(RelationGetDescr(rel), i);
		char	   *before;
		char	   *after;

		if ((replace != NULL && !replace[i]) || is_own_business(column))
			continue;
		before = value_text(column, old[i], old_nulls[i]);
		after = value_text(column, values[i], nulls[i]);
		if (before == after || (before && after && strcmp(before, after) == 0))
			continue;
		add_change(&state, column, before, after);
	}
	return taskq_json_end(&state);
}

/*
 * taskq_defs_write - insert the row, or replace the one of that name
 *
 * replace tells which columns; NULL means all.  Returns a jsonb object that
 * tells, for who audits it, which have changed and how, or 0 where the row is
 * new.
 */
Datum
taskq_defs_write(TaskqRelation table, TaskqRelation index, const char *name,
				 Datum *values, bool *nulls, const bool *replace, int natts)
{
	TaskqRead	read;
	ScanKeyData key;
	HeapTuple	tuple;
	Datum		changes = 0;

	/* one writer at a time: definitions are rare, and none is lost to a race */
	taskq_key(&key, 1, F_TEXTEQ, CStringGetTextDatum(name));
	taskq_read_begin(&read, table, index, ShareRowExclusiveLock, 1, &key);
	tuple = taskq_read_next(&read);
	if (tuple != NULL)
	{
		changes = changes_of(read.rel, tuple, values, nulls, replace, natts);
		tuple = taskq_rows_modify(read.rel, tuple, values, nulls, replace,
								  natts);
		taskq_rows_update(read.rel, &tuple->t_self, tuple, natts);
	}
	else
		taskq_rows_insert_one(read.rel, values, nulls, natts);
	taskq_defs_changed(&read);
	return changes;
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
 * taskq_defs_number - a number for a new row, good with either sign
 *
 * The sequence begins again after its end, so whoever makes rows and rolls
 * back, again and again, takes none away from others for good.
 */
int32
taskq_defs_number(Relation rel, TaskqRelation pkey, TaskqRelation sequence)
{
	int32		number;

	do
	{
		CHECK_FOR_INTERRUPTS();
		number = nextval_internal(taskq_store_oid(sequence), false);
	} while (number_used(rel, pkey, number) || number_used(rel, pkey, -number));
	return number;
}
