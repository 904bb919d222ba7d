/*-------------------------------------------------------------------------
 *
 * define.c
 *		Defining kinds and queues.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "api/action.h"
#include "api/policy.h"
#include "api/signature.h"
#include "api/submit.h"
#include "base/args.h"
#include "base/compat.h"
#include "base/json.h"
#include "base/shmem.h"
#include "catalog/namespace.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "lanes/keys.h"
#include "lanes/note.h"
#include "lanes/place.h"
#include "miscadmin.h"
#include "store/defs.h"
#include "store/rights.h"
#include "store/secrets.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/regproc.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

static void
set_interval(FunctionCallInfo fcinfo, int n, const char *argument,
			 bool zero_allowed, Datum *value, bool *isnull)
{
	*isnull = PG_ARGISNULL(n);
	if (*isnull)
		return;
	(void) taskq_arg_interval_us(fcinfo, n, argument, zero_allowed ? 0 : 1000);
	*value = PG_GETARG_DATUM(n);
}

static void
set_count(FunctionCallInfo fcinfo, int n, const char *argument, Datum *value,
		  bool *isnull)
{
	*isnull = PG_ARGISNULL(n);
	if (!*isnull && PG_GETARG_INT32(n) < 1)
		taskq_invalid_argument(argument, "must be at least 1");
	*value = *isnull ? (Datum) 0 : Int32GetDatum(PG_GETARG_INT32(n));
}

/*
 * Is it a function of (jsonb) or (), and may the caller execute it?  Returns
 * it as text, schema and types spelled out.
 *
 * It may have come by its number, past its schema; and whoever runs its tasks
 * is not asked for USAGE of that.
 */
static char *
handler_text(Oid handler)
{
	HeapTuple	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(handler));
	Form_pg_proc form;
	char	   *schema;

	if (!HeapTupleIsValid(tuple))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_FUNCTION),
				 errmsg("function with OID %u does not exist", handler)));
	form = (Form_pg_proc) GETSTRUCT(tuple);
	schema = get_namespace_name(form->pronamespace);
	if (schema != NULL)
		(void) LookupExplicitNamespace(schema, false);
	if (form->prokind != PROKIND_FUNCTION)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("handler %s is not a plain function", format_procedure(handler)),
				 errhint("Procedures and whatever controls its own transactions run by taskq.task_submit_sql('CALL ...').")));
	if (!taskq_is_handler(form))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("handler %s is not a function of (jsonb) or of no argument", format_procedure(handler)),
				 errhint("Argument \"handler\" is a function that takes the task's payload.")));
	ReleaseSysCache(tuple);
	if (taskq_function_aclcheck(handler, GetUserId()) != ACLCHECK_OK)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied for function %s", format_procedure(handler)),
				 errhint("Who defines a kind must be allowed to execute its handler: grant EXECUTE on it to role \"%s\".",
						 GetUserNameFromId(GetUserId(), false))));
	return format_procedure_qualified(handler);
}

/* SQLSTATEs of five characters or classes of two */
static Datum
check_retry_on(ArrayType *array)
{
	Datum	   *items;
	bool	   *nulls;
	int			n;

	deconstruct_array(array, TEXTOID, -1, false, TYPALIGN_INT, &items, &nulls,
					  &n);
	for (int i = 0; i < n; i++)
	{
		const char *item = nulls[i] ? "" : TextDatumGetCString(items[i]);
		size_t		len = strlen(item);

		if ((len != 2 && len != 5) ||
			strspn(item, "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ") != len)
			taskq_invalid_argument("retry_on",
								   "must list SQLSTATEs (five characters) or classes of them (two)");
	}
	return PointerGetDatum(array);
}

/*
 * Only its owner, or a member of the owner's role, replaces or drops a kind.
 */
static void
require_owner(const char *name)
{
	const TaskqKind *kind = taskq_kind_get(name);

	if (kind != NULL && !taskq_kind_owned(kind))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("must be owner of kind \"%s\"", name),
				 errhint("It belongs to role \"%s\"; members of that role and superusers may change it.", NameStr(kind->owner))));
}

/*
 * A number that no kind has or had; a sequence could be set back by
 * pg_write_all_data.
 */
static int64
new_version(void)
{
	int64		version;

	if (!pg_strong_random(&version, sizeof(version)))
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("could not generate random values")));
	return version | 1;			/* never a superuser's, 0 */
}

/* Have they another handler, or is who chose it gone? */
static bool
another_handler(const TaskqKind *old, const Datum *values, const bool *nulls)
{
	const char *handler = "";

	if (!nulls[Anum_kind_handler - 1])
		handler = TextDatumGetCString(values[Anum_kind_handler - 1]);
	return old == NULL || !OidIsValid(old->handler_by) ||
		strcmp(handler, old->handler ? old->handler : "") != 0;
}

#define MAX_SAME_HANDLER 64

/*
 * The versions whose tasks may run the kind's handler as if nothing had been
 * changed: what was changed since are the hooks.
 */
static void
set_same_handler(const TaskqKind *old, bool with_last, Datum *values,
				 bool *nulls)
{
	Datum		versions[MAX_SAME_HANDLER];
	int			n = 0;

	if (with_last)
		versions[n++] = Int64GetDatum(old->version);
	for (int i = 0; i < old->nsame_handler && n < MAX_SAME_HANDLER; i++)
		versions[n++] = Int64GetDatum(old->same_handler[i]);
	nulls[Anum_kind_same_handler - 1] = n == 0;
	if (n > 0)
		values[Anum_kind_same_handler - 1] =
			PointerGetDatum(construct_array(versions, n, INT8OID,
											sizeof(int64), FLOAT8PASSBYVAL,
											TYPALIGN_DOUBLE));
}

/*
 * The kind's version, which tasks that wait are compared by, and who chose
 * its handler and settings.  The same again changes neither; a superuser's
 * choice is good for the tasks of everybody and needs no new version.
 */
static void
set_version(const TaskqKind *old, bool new_handler, bool new_hooks,
			Datum *values, bool *nulls)
{
	int64		version = old ? old->version : 0;
	bool		distrusted = (new_handler || new_hooks) && !superuser();

	nulls[Anum_kind_same_handler - 1] = true;
	if (old != NULL && !(new_handler && distrusted))
		set_same_handler(old, distrusted, values, nulls);
	if (distrusted)
		version = new_version();
	values[Anum_kind_version - 1] = Int64GetDatum(version);
	values[Anum_kind_handler_by - 1] =
		Int32GetDatum(taskq_role_id(new_handler ? GetUserId()
									: old->handler_by));
}

static void
begin_change(const char *function)
{
	PreventCommandIfReadOnly(function);
	PreventCommandDuringRecovery(function);
	taskq_defs_begin();
}

/* An interval of kind_define, or what it is if it is left out. */
static void
set_interval_or(FunctionCallInfo fcinfo, int n, const char *name, bool zero,
				const char *otherwise, Datum *value)
{
	bool		isnull;

	set_interval(fcinfo, n, name, zero, value, &isnull);
	if (isnull)
		*value = DirectFunctionCall3(interval_in, CStringGetDatum(otherwise),
									 InvalidOid, Int32GetDatum(-1));
}

/* kind_define: how tasks of the kind are tried. */
static void
set_attempts(FunctionCallInfo fcinfo, Datum *values, bool *nulls)
{
	int32		priority = PG_ARGISNULL(3) ? 0 : PG_GETARG_INT32(3);
	int32		max_attempts = PG_ARGISNULL(4) ? 3 : PG_GETARG_INT32(4);

	taskq_check_priority(priority);
	values[Anum_kind_priority - 1] = Int16GetDatum(priority);
	taskq_check_max_attempts(max_attempts);
	values[Anum_kind_max_attempts - 1] = Int16GetDatum(max_attempts);
	set_interval(fcinfo, 5, "timeout", false, &values[Anum_kind_timeout - 1],
				 &nulls[Anum_kind_timeout - 1]);
	set_interval_or(fcinfo, 6, "backoff", true, "1 s",
					&values[Anum_kind_backoff - 1]);
	set_interval_or(fcinfo, 7, "backoff_max", true, "1 h",
					&values[Anum_kind_backoff_max - 1]);
	nulls[Anum_kind_retry_on - 1] = PG_ARGISNULL(8);
	if (!PG_ARGISNULL(8))
		values[Anum_kind_retry_on - 1] =
			check_retry_on(PG_GETARG_ARRAYTYPE_P(8));
}

/* How long finished tasks are kept; the sweeper does not look all the time. */
static void
set_retention(FunctionCallInfo fcinfo, int n, Datum *value, bool *isnull)
{
	*isnull = PG_ARGISNULL(n);
	if (*isnull)
		return;
	if (taskq_interval_us(PG_GETARG_INTERVAL_P(n)) < USECS_PER_MINUTE)
		taskq_invalid_argument("retention", "must be at least a minute");
	*value = PG_GETARG_DATUM(n);
}

/* kind_define: what holds tasks of the kind back, and how long it is kept. */
static void
set_limits(FunctionCallInfo fcinfo, Datum *values, bool *nulls)
{
	set_count(fcinfo, 9, "max_running", &values[Anum_kind_max_running - 1],
			  &nulls[Anum_kind_max_running - 1]);
	set_count(fcinfo, 10, "rate", &values[Anum_kind_rate - 1],
			  &nulls[Anum_kind_rate - 1]);
	set_interval_or(fcinfo, 11, "rate_period", false, "1 s",
					&values[Anum_kind_rate_period - 1]);
	set_retention(fcinfo, 13, &values[Anum_kind_retention - 1],
				  &nulls[Anum_kind_retention - 1]);
	set_count(fcinfo, 16, "max_running_per_key",
			  &values[Anum_kind_max_running_per_key - 1],
			  &nulls[Anum_kind_max_running_per_key - 1]);
}

/* kind_define: whose the kind is, and whom its tasks run as. */
static void
set_roles(FunctionCallInfo fcinfo, Oid owner, Datum *values, bool *nulls)
{
	Oid			role;

	values[Anum_kind_owner - 1] = Int32GetDatum(taskq_role_id(owner));
	nulls[Anum_kind_run_as - 1] = PG_ARGISNULL(12);
	if (PG_ARGISNULL(12))
		return;
	role = PG_GETARG_OID(12);
	check_can_set_role(GetUserId(), role);
	check_can_set_role(owner, role);
	if (!PG_ARGISNULL(1))
		taskq_check_role(role);
	values[Anum_kind_run_as - 1] = Int32GetDatum(taskq_role_id(role));
}

/* kind_define: a word that several kinds have in common. */
static void
set_category(FunctionCallInfo fcinfo, int n, Datum *values, bool *nulls)
{
	nulls[Anum_kind_category - 1] = PG_ARGISNULL(n);
	if (!PG_ARGISNULL(n))
		values[Anum_kind_category - 1] =
			CStringGetTextDatum(taskq_arg_name(fcinfo, n, "category"));
}

#define MAX_INDEXED 8

/* Was each of these members named before, too? */
static bool
all_indexed(const TaskqKind *old, Datum *names, int n)
{
	for (int i = 0; i < n; i++)
	{
		ListCell   *lc;
		bool		found = false;

		foreach(lc, old->indexed)
			found |= strcmp(lfirst(lc), TextDatumGetCString(names[i])) == 0;
		if (!found)
			return false;
	}
	return true;
}

/*
 * kind_define: members by whose values its tasks are found, of those that are
 * submitted from now on, or from when all of them were named.
 */
static void
set_indexed(FunctionCallInfo fcinfo, int n, const TaskqKind *old,
			Datum *values, bool *nulls)
{
	Datum	   *names;
	bool	   *none;
	int			nnames = 0;
	TimestampTz since = GetCurrentTimestamp();

	if (!PG_ARGISNULL(n))
		deconstruct_array(PG_GETARG_ARRAYTYPE_P(n), TEXTOID, -1, false,
						  TYPALIGN_INT, &names, &none, &nnames);
	nulls[Anum_kind_indexed - 1] = nnames == 0;
	nulls[Anum_kind_indexed_since - 1] = nnames == 0;
	if (nnames == 0)
		return;
	if (nnames > MAX_INDEXED)
		taskq_invalid_argument("indexed",
							   psprintf("must not name more than %d members",
										MAX_INDEXED));
	for (int i = 0; i < nnames; i++)
	{
		int			len = none[i] ? 0
		: VARSIZE_ANY_EXHDR(DatumGetPointer(names[i]));

		if (len < 1 || len >= NAMEDATALEN)
			taskq_invalid_argument("indexed",
								   psprintf("must list names of 1 to %d bytes",
											NAMEDATALEN - 1));
	}
	if (old != NULL && all_indexed(old, names, nnames))
		since = old->indexed_since;
	values[Anum_kind_indexed - 1] = PointerGetDatum(PG_GETARG_ARRAYTYPE_P(n));
	values[Anum_kind_indexed_since - 1] = TimestampTzGetDatum(since);
}

static bool
same_lists(ArrayType *a, ArrayType *b)
{
	if (a == NULL || b == NULL)
		return a == b;
	return VARSIZE(a) == VARSIZE(b) && memcmp(a, b, VARSIZE(a)) == 0;
}

/* What is secret may not be found by its value. */
static void
check_indexed(ArrayType *secret, const Datum *values, const bool *nulls)
{
	Datum	   *names;
	int			n;

	if (nulls[Anum_kind_indexed - 1])
		return;
	deconstruct_array(DatumGetArrayTypeP(values[Anum_kind_indexed - 1]),
					  TEXTOID, -1, false, TYPALIGN_INT, &names, NULL, &n);
	for (int i = 0; i < n; i++)
	{
		char	   *member = TextDatumGetCString(names[i]);

		if (taskq_secrets_name(secret, member))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("member \"%s\" cannot be both indexed and secret", member),
					 errhint("Leave it out of argument \"indexed\" or \"secret\".")));
	}
}

/* What was indexed has been counted by its values. */
static void
note_counted(ArrayType *secret, const List *indexed)
{
	const ListCell *lc;

	foreach(lc, indexed)
	{
		if (taskq_secrets_name(secret, lfirst(lc)))
			ereport(NOTICE,
					(errmsg("member \"%s\" was indexed: its values stay in the statistics until taskq.statistics_retention is over",
							(char *) lfirst(lc))));
	}
}

/*
 * kind_define: members that are shown to nobody but the handler; left out they
 * are what they were, also of a kind of this owner that was dropped.  Adds to
 * the changes that are audited.
 */
static Datum
set_secret(FunctionCallInfo fcinfo, int n, const TaskqKind *old,
		   const Datum *values, const bool *nulls, Datum changes)
{
	char	   *name = TextDatumGetCString(values[Anum_kind_name - 1]);
	int32		owner = DatumGetInt32(values[Anum_kind_owner - 1]);
	ArrayType  *before = taskq_secrets_of(name, owner);
	ArrayType  *after = before;
	JsonbParseState *state = NULL;

	/* its owner may be gone, and another one in his place */
	if (after == NULL && old != NULL)
		after = taskq_secrets_of(name, old->owner_id);
	if (!PG_ARGISNULL(n))
	{
		after = PG_GETARG_ARRAYTYPE_P_COPY(n);
		taskq_secrets_check(after);
	}
	if (after == NULL)
		return changes;
	check_indexed(after, values, nulls);
	if (old != NULL)
		note_counted(after, old->indexed);
	if (same_lists(before, after))
		return changes;
	taskq_secrets_write(name, owner, after);
	taskq_json_begin(&state);
	taskq_json_texts(&state, "secret", PointerGetDatum(after));
	if (changes == 0)
		return taskq_json_end(&state);
	return DirectFunctionCall2(jsonb_concat, changes, taskq_json_end(&state));
}

PG_FUNCTION_INFO_V1(taskq_kind_define);

/*
 * taskq_kind_define - kind_define(name, handler, …), see its COMMENT
 *
 * Locks the table of kinds against other definers until the transaction ends.
 * Raises 22023 for bad arguments, 42501 for what the caller may not.
 */
Datum
taskq_kind_define(PG_FUNCTION_ARGS)
{
	char	   *name = taskq_arg_name(fcinfo, 0, "name");
	Datum		values[Natts_kind] = {0};
	bool		nulls[Natts_kind] = {false};
	const TaskqKind *old;
	Oid			owner = GetUserId();
	bool		new_handler;
	bool		new_hooks;
	char	   *queue;
	Datum		changes;

	begin_change("taskq.kind_define()");
	if (strcmp(name, TASKQ_SQL_KIND) == 0)
		taskq_invalid_argument("name",
							   "\"sql\" is reserved for taskq.task_submit_sql()");
	require_owner(name);
	queue = taskq_arg_text(fcinfo, 2, "default");
	taskq_check_name(queue, "queue");

	values[Anum_kind_name - 1] = CStringGetTextDatum(name);
	nulls[Anum_kind_handler - 1] = PG_ARGISNULL(1);
	if (!PG_ARGISNULL(1))
		values[Anum_kind_handler - 1] =
			CStringGetTextDatum(handler_text(PG_GETARG_OID(1)));
	values[Anum_kind_queue - 1] = CStringGetTextDatum(queue);
	set_attempts(fcinfo, values, nulls);
	set_limits(fcinfo, values, nulls);
	old = taskq_kind_get(name);
	/* replacing does not make it somebody else's */
	if (old != NULL && OidIsValid(old->owner_oid))
		owner = old->owner_oid;
	set_roles(fcinfo, owner, values, nulls);
	values[Anum_kind_batch - 1] = BoolGetDatum(!PG_ARGISNULL(14) &&
											   PG_GETARG_BOOL(14));
	values[Anum_kind_cancellable - 1] = BoolGetDatum(PG_ARGISNULL(17) ||
													 PG_GETARG_BOOL(17));
	nulls[Anum_kind_description - 1] = PG_ARGISNULL(15);
	if (!PG_ARGISNULL(15))
		values[Anum_kind_description - 1] = PG_GETARG_DATUM(15);
	set_category(fcinfo, 22, values, nulls);
	set_indexed(fcinfo, 23, old, values, nulls);

	new_hooks = taskq_policy_hooks(fcinfo, 18, name, old, owner, values,
								   nulls);
	new_handler = taskq_policy_settings(fcinfo, 21, old, values, nulls);
	new_handler |= another_handler(old, values, nulls);
	set_version(old, new_handler, new_hooks, values, nulls);
	values[Anum_kind_updated_at - 1] =
		TimestampTzGetDatum(GetCurrentTimestamp());
	changes = set_secret(fcinfo, 24, old, values, nulls,
						 taskq_kind_write(name, values, nulls));
	taskq_action_named("define", "kind", name,
					   DatumGetInt32(values[Anum_kind_owner - 1]), changes);
	if (taskq_shared != NULL)
	{
		const Datum *n = &values[Anum_kind_max_running_per_key - 1];

		taskq_note_key_limit(taskq_key_limit(name, nulls[Anum_kind_max_running_per_key - 1]
											 ? 1 : DatumGetInt32(*n)));
		taskq_note_wake();
	}
	PG_RETURN_VOID();
}

PG_FUNCTION_INFO_V1(taskq_kind_drop);

/* taskq_kind_drop - kind_drop(name); PT404 if there is none */
Datum
taskq_kind_drop(PG_FUNCTION_ARGS)
{
	char	   *name = taskq_arg_name(fcinfo, 0, "name");
	const TaskqKind *kind;
	int32		owner;

	begin_change("taskq.kind_drop()");
	require_owner(name);
	kind = taskq_kind_get(name);
	owner = kind ? kind->owner_id : 0;
	if (!taskq_kind_delete(name))
		ereport(ERROR,
				(errcode(ERRCODE_TASK_NOT_FOUND),
				 errmsg("kind of task \"%s\" does not exist", name),
				 errhint("View taskq.kind lists them.")));
	taskq_action_named("drop", "kind", name, owner, 0);
	if (taskq_shared != NULL)
		taskq_note_wake();
	PG_RETURN_VOID();
}

/* Who was given a privilege, or lost it. */
static void
tell_grant(FunctionCallInfo fcinfo, const char *verb, const char *name)
{
	const TaskqKind *kind = taskq_kind_get(name);
	JsonbParseState *state = NULL;

	taskq_json_begin(&state);
	taskq_json_text(&state, "role",
					GetUserNameFromId(PG_GETARG_OID(1), true));
	taskq_json_text(&state, "privilege", taskq_arg_text(fcinfo, 2, "submit"));
	taskq_action_named(verb, "kind", name, kind ? kind->owner_id : 0,
					   taskq_json_end(&state));
}

/*
 * The kind of a grant, which the caller must own, and the privilege's letter.
 */
static char
grant_args(FunctionCallInfo fcinfo, const char *function, char **name)
{
	char	   *privilege = taskq_arg_text(fcinfo, 2, "submit");

	*name = taskq_arg_name(fcinfo, 0, "name");
	if (PG_ARGISNULL(1))
		taskq_invalid_argument("role", "must not be null");
	if (strcmp(privilege, "submit") != 0 && strcmp(privilege, "work") != 0 &&
		strcmp(privilege, "work all") != 0)
		taskq_invalid_argument("privilege",
							   "must be \"submit\", \"work\" or \"work all\"");
	begin_change(function);
	if (taskq_kind_get(*name) == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_TASK_NOT_FOUND),
				 errmsg("kind of task \"%s\" does not exist", *name),
				 errhint("View taskq.kind lists them.")));
	require_owner(*name);
	if (strcmp(privilege, "submit") == 0)
		return TASKQ_GRANT_SUBMIT;
	return strcmp(privilege, "work") == 0 ? TASKQ_GRANT_WORK
		: TASKQ_GRANT_WORK_ALL;
}

/*
 * What was given may be meant for another kind, or for how this one will be
 * defined.
 */
static void
note_useless_grant(const TaskqKind *kind, const char *name, char privilege)
{
	if (kind == NULL)
		return;
	if (privilege != TASKQ_GRANT_SUBMIT && kind->handler != NULL)
		ereport(NOTICE,
				(errmsg("kind \"%s\" has a handler: workers of the server run its tasks, nobody can claim them", name)));
	if (privilege == TASKQ_GRANT_SUBMIT && kind->run_as_id == 0)
		ereport(NOTICE,
				(errmsg("kind \"%s\" runs as whoever submits it: everybody may, without a grant", name)));
}

PG_FUNCTION_INFO_V1(taskq_kind_grant);

/*
 * taskq_kind_grant - kind_grant(name, role, privilege); PT404 if there is no
 * such kind, 42501 if it is another's
 */
Datum
taskq_kind_grant(PG_FUNCTION_ARGS)
{
	char	   *name;
	char		privilege = grant_args(fcinfo, "taskq.kind_grant()", &name);
	Oid			role = PG_GETARG_OID(1);

	if (!SearchSysCacheExists1(AUTHOID, ObjectIdGetDatum(role)))
		taskq_invalid_argument("role", "does not exist");
	if (taskq_kind_grant_write(name, privilege, taskq_role_id(role), true))
		tell_grant(fcinfo, "grant", name);
	note_useless_grant(taskq_kind_get(name), name, privilege);
	if (taskq_shared != NULL)
		taskq_note_wake();
	PG_RETURN_VOID();
}

PG_FUNCTION_INFO_V1(taskq_kind_revoke);

/*
 * taskq_kind_revoke - kind_revoke(name, role, privilege); the same errors,
 * and a notice if it had not been given
 */
Datum
taskq_kind_revoke(PG_FUNCTION_ARGS)
{
	char	   *name;
	char		privilege = grant_args(fcinfo, "taskq.kind_revoke()", &name);
	Oid			role = PG_GETARG_OID(1);

	if (!SearchSysCacheExists1(AUTHOID, ObjectIdGetDatum(role)))
		taskq_invalid_argument("role", "does not exist");
	if (taskq_kind_grant_write(name, privilege, taskq_role_id(role), false))
		tell_grant(fcinfo, "revoke", name);
	else
		ereport(NOTICE,
				(errmsg("role \"%s\" had no such privilege on kind \"%s\"", GetUserNameFromId(role, false), name)));
	if (taskq_shared != NULL)
		taskq_note_wake();
	PG_RETURN_VOID();
}

PG_FUNCTION_INFO_V1(taskq_queue_define);

/*
 * taskq_queue_define - queue_define(name, max_running, retention,
 * description, rate, rate_period, reserved)
 */
Datum
taskq_queue_define(PG_FUNCTION_ARGS)
{
	char	   *name = taskq_arg_name(fcinfo, 0, "name");
	Datum		values[Natts_queue] = {0};
	bool		nulls[Natts_queue] = {false};

	set_retention(fcinfo, 2, &values[Anum_queue_retention - 1],
				  &nulls[Anum_queue_retention - 1]);
	begin_change("taskq.queue_define()");
	values[Anum_queue_name - 1] = CStringGetTextDatum(name);
	set_count(fcinfo, 1, "max_running", &values[Anum_queue_max_running - 1],
			  &nulls[Anum_queue_max_running - 1]);
	nulls[Anum_queue_description - 1] = PG_ARGISNULL(3);
	values[Anum_queue_description - 1] = PG_GETARG_DATUM(3);
	values[Anum_queue_updated_at - 1] =
		TimestampTzGetDatum(GetCurrentTimestamp());
	set_count(fcinfo, 4, "rate", &values[Anum_queue_rate - 1],
			  &nulls[Anum_queue_rate - 1]);
	set_interval_or(fcinfo, 5, "rate_period", false, "1 s",
					&values[Anum_queue_rate_period - 1]);
	set_count(fcinfo, 6, "reserved", &values[Anum_queue_reserved - 1],
			  &nulls[Anum_queue_reserved - 1]);
	taskq_action_named("define", "queue", name, 0,
					   taskq_queue_write(name, values, nulls, NULL));
	if (taskq_shared == NULL)
		PG_RETURN_VOID();
	if (!PG_ARGISNULL(6))
		taskq_place_check_reserved(name);
	taskq_note_reserved(name, PG_ARGISNULL(6) ? 0 : PG_GETARG_INT32(6));
	taskq_note_wake();
	PG_RETURN_VOID();
}

PG_FUNCTION_INFO_V1(taskq_queue_drop);

/*
 * taskq_queue_drop - queue_drop(name); PT404 if nobody defined it
 *
 * Locks the table of queues against other definers until the transaction
 * ends.  A pause stays: what waits in the queue must not start by that.
 */
Datum
taskq_queue_drop(PG_FUNCTION_ARGS)
{
	char	   *name = taskq_arg_name(fcinfo, 0, "name");

	begin_change("taskq.queue_drop()");
	if (!taskq_queue_delete(name))
		ereport(ERROR,
				(errcode(ERRCODE_TASK_NOT_FOUND),
				 errmsg("queue \"%s\" is not defined", name),
				 errhint("View taskq.queue lists all queues, also those that are there because kinds name them.")));
	taskq_action_named("drop", "queue", name, 0, 0);
	if (taskq_shared != NULL)
	{
		taskq_note_reserved(name, 0);
		taskq_note_wake();
	}
	PG_RETURN_VOID();
}
