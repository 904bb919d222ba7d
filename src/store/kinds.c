/*-------------------------------------------------------------------------
 *
 * kinds.c
 *		Tables "kind" and "kind_grant".
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "base/args.h"
#include "base/compat.h"
#include "catalog/indexing.h"
#include "catalog/namespace.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "nodes/value.h"
#include "store/cache.h"
#include "store/pauses.h"
#include "store/read.h"
#include "store/retention.h"
#include "store/rows.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/memutils.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

static HTAB *kinds = NULL;

/* taskq_kinds_forget - an empty cache */
void
taskq_kinds_forget(void)
{
	kinds = taskq_defs_cache("taskq kinds", NAMEDATALEN, sizeof(TaskqKind),
							 HASH_STRINGS);
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
same_handler_from_row(TaskqKind *kind, Datum *values, bool *nulls)
{
	Datum	   *versions;

	if (nulls[Anum_kind_same_handler - 1])
		return;
	deconstruct_array(DatumGetArrayTypeP(values[Anum_kind_same_handler - 1]),
					  INT8OID, sizeof(int64), FLOAT8PASSBYVAL,
					  TYPALIGN_DOUBLE, &versions, NULL, &kind->nsame_handler);
	kind->same_handler = palloc(sizeof(int64) * Max(kind->nsame_handler, 1));
	for (int i = 0; i < kind->nsame_handler; i++)
		kind->same_handler[i] = DatumGetInt64(versions[i]);
}

static void
hooks_from_row(TaskqKind *kind, Datum *values, bool *nulls)
{
	Datum	   *names;
	bool	   *none;
	Datum	   *owners;
	Datum	   *versions;
	int			n;

	if (nulls[Anum_kind_hooks - 1])
		return;
	deconstruct_array(DatumGetArrayTypeP(values[Anum_kind_hooks - 1]), TEXTOID,
					  -1, false, TYPALIGN_INT, &names, &none, &n);
	if (n == TASKQ_HOOKS)
		deconstruct_array(DatumGetArrayTypeP(values[Anum_kind_hook_owners - 1]),
						  INT4OID, sizeof(int32), true, TYPALIGN_INT,
						  &owners, NULL, &n);
	if (n == TASKQ_HOOKS)
		deconstruct_array(DatumGetArrayTypeP(values[Anum_kind_hook_versions - 1]),
						  INT8OID, sizeof(int64), FLOAT8PASSBYVAL,
						  TYPALIGN_DOUBLE, &versions, NULL, &n);
	if (n != TASKQ_HOOKS)
		elog(ERROR, "hooks of kind \"%s\" are not %d",
			 NameStr(kind->name), TASKQ_HOOKS);
	for (int i = 0; i < n; i++)
	{
		if (none[i])
			continue;
		kind->hooked = true;
		namestrcpy(&kind->hooks[i].kind, TextDatumGetCString(names[i]));
		kind->hooks[i].owner_id = DatumGetInt32(owners[i]);
		kind->hooks[i].version = DatumGetInt64(versions[i]);
	}
}

static void
kind_from_row(TaskqKind *kind, Datum *values, bool *nulls)
{
	MemoryContext old = MemoryContextSwitchTo(taskq_defs_context);

	kind->handler = nulls[Anum_kind_handler - 1]
		? NULL
		: TextDatumGetCString(values[Anum_kind_handler - 1]);
	kind->category = nulls[Anum_kind_category - 1]
		? NULL
		: TextDatumGetCString(values[Anum_kind_category - 1]);
	namestrcpy(&kind->queue, TextDatumGetCString(values[Anum_kind_queue - 1]));
	kind->priority = DatumGetInt16(values[Anum_kind_priority - 1]);
	kind->max_attempts = DatumGetInt16(values[Anum_kind_max_attempts - 1]);
	kind->batch = DatumGetBool(values[Anum_kind_batch - 1]);
	kind->max_running_per_key =
		nulls[Anum_kind_max_running_per_key - 1]
		? 1
		: DatumGetInt32(values[Anum_kind_max_running_per_key - 1]);
	kind->timeout_ms = nulls[Anum_kind_timeout - 1]
		? 0
		: interval_ms(values[Anum_kind_timeout - 1]);
	kind->limit = taskq_limit_read(values, nulls, Anum_kind_max_running,
								   Anum_kind_rate, Anum_kind_rate_period);
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
	kind->cancellable = DatumGetBool(values[Anum_kind_cancellable - 1]);
	kind->retention_us = nulls[Anum_kind_retention - 1]
		? 0
		: taskq_retention_said(DatumGetIntervalP(values[Anum_kind_retention - 1]));
	same_handler_from_row(kind, values, nulls);
	hooks_from_row(kind, values, nulls);
	kind->settings = nulls[Anum_kind_settings - 1]
		? NULL
		: DatumGetJsonbPCopy(values[Anum_kind_settings - 1]);
	kind->indexed = nulls[Anum_kind_indexed - 1]
		? NIL
		: text_array_list(values[Anum_kind_indexed - 1]);
	kind->indexed_since = nulls[Anum_kind_indexed_since - 1]
		? DT_NOEND
		: DatumGetTimestampTz(values[Anum_kind_indexed_since - 1]);
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
		TaskqKindGrant *grant = MemoryContextAlloc(taskq_defs_context,
												   sizeof(TaskqKindGrant));
		int32		role = DatumGetInt32(taskq_read_column(&read, tuple, 3));
		NameData	name;
		MemoryContext old;

		grant->privilege = DatumGetChar(taskq_read_column(&read, tuple, 2));
		grant->role = InvalidOid;
		(void) taskq_role_read(role, &name, &grant->role);
		old = MemoryContextSwitchTo(taskq_defs_context);
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

/* taskq_kinds_retained - which ones have a retention of their own? 0: none */
uint64
taskq_kinds_retained(void)
{
	return taskq_defs_sign(TASKQ_REL_KIND, Anum_kind_retention);
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
	NameData	hooks_by;

	if (strlen(name) >= NAMEDATALEN)
		return NULL;
	kind = hash_search(kinds, name, HASH_FIND, NULL);
	if (kind != NULL)
		return kind;
	tuple = taskq_defs_read(TASKQ_REL_KIND, TASKQ_REL_KIND_PKEY, name,
							&desc);
	if (tuple == NULL)
		return NULL;
	taskq_rows_deform(tuple, desc, values, nulls, Natts_kind);
	memset(&read, 0, sizeof(read));
	namestrcpy(&read.name, name);
	kind_from_row(&read, values, nulls);
	(void) taskq_role_read(DatumGetInt32(values[Anum_kind_handler_by - 1]),
						   &read.handler_by_name, &read.handler_by);
	if (!nulls[Anum_kind_hooks_by - 1])
		(void) taskq_role_read(DatumGetInt32(values[Anum_kind_hooks_by - 1]),
							   &hooks_by, &read.hooks_by);
	kind_resolve(&read);
	kind = hash_search(kinds, name, HASH_ENTER, NULL);
	*kind = read;
	return kind;
}

/*
 * taskq_lane_kind - the kind of a lane's tasks; NULL if there is none of that
 * name and owner (any more)
 */
const TaskqKind *
taskq_lane_kind(const TaskqLaneDef *lane)
{
	const TaskqKind *kind = taskq_kind_get(NameStr(lane->kind));

	return kind != NULL && kind->owner_id == lane->kind_owner ? kind : NULL;
}

/*
 * taskq_lane_cancellable - may tasks of this lane be cancelled by who does not
 * force it?
 */
bool
taskq_lane_cancellable(const TaskqLaneDef *lane)
{
	const TaskqKind *kind = taskq_lane_kind(lane);

	return kind == NULL || kind->cancellable;
}

/* taskq_kinds_have_queue - is it the queue of a kind? */
bool
taskq_kinds_have_queue(const char *queue)
{
	return taskq_defs_have_text(TASKQ_REL_KIND, Anum_kind_queue, queue);
}

/*
 * taskq_setting_text - the value of a setting of a kind as SET would have it,
 * palloc'd; NULL: it can't be one
 */
char *
taskq_setting_text(const JsonbValue *value)
{
	switch (value->type)
	{
		case jbvString:
			return pnstrdup(value->val.string.val, value->val.string.len);
		case jbvNumeric:
			return DatumGetCString(DirectFunctionCall1(numeric_out,
													   NumericGetDatum(value->val.numeric)));
		case jbvBool:
			return pstrdup(value->val.boolean ? "on" : "off");
		default:
			return NULL;
	}
}

/*
 * taskq_kind_write - create or replace a kind; values as the table's columns
 *
 * Returns what has changed: see taskq_defs_write.
 */
Datum
taskq_kind_write(const char *name, Datum *values, bool *nulls)
{
	return taskq_defs_write(TASKQ_REL_KIND, TASKQ_REL_KIND_PKEY, name, values,
							nulls, NULL, Natts_kind);
}

/*
 * taskq_kind_change - replace these columns of a kind that is there; returns
 * what has changed
 */
Datum
taskq_kind_change(const char *name, Datum *values, bool *nulls,
				  const bool *replace)
{
	return taskq_defs_write(TASKQ_REL_KIND, TASKQ_REL_KIND_PKEY, name, values,
							nulls, replace, Natts_kind);
}

static void
delete_grants(const char *kind)
{
	ScanKeyData key;

	taskq_key(&key, 1, F_TEXTEQ, CStringGetTextDatum(kind));
	taskq_read_delete(TASKQ_REL_KIND_GRANT, TASKQ_REL_KIND_GRANT_PKEY,
					  ShareRowExclusiveLock, 1, &key);
}

/*
 * taskq_kind_delete - with its grants, and its pause: another kind may get the
 * name.  False if there was none.
 */
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
	(void) taskq_pause_delete(TASKQ_PAUSE_KIND, name);
	tuple = taskq_read_next(&read);
	if (tuple != NULL)
		CatalogTupleDelete(read.rel, &tuple->t_self);
	taskq_defs_changed(&read);
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
	taskq_defs_changed(&read);
	return found != grant;
}
