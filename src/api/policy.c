/*-------------------------------------------------------------------------
 *
 * policy.c
 *		Arguments of kind_define for what a kind does around its tasks: the
 *		kinds that are submitted when one of them has ended, and the settings
 *		that its handler is called with.
 *
 * Both decide what runs as whoever a task runs as, so they are guarded as the
 * handler is: see set_version in define.c, and store/kind_rights.c.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "api/policy.h"
#include "base/args.h"
#include "base/compat.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "store/rights.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/guc.h"

/* ---- hooks ---- */

static const char *const hook_arguments[TASKQ_HOOKS] =
{"on_success", "on_failure", "on_cancel"};

/*
 * The kind that a hook names.  Tasks of it will be submitted in the name of
 * the hooked kind's owner, whoever's task it was that ended, so both the owner
 * and the caller must be such that may.
 */
static const TaskqKind *
check_hook(const char *argument, const char *name, const char *hook,
		   Oid owner)
{
	const TaskqKind *kind = taskq_kind_get(hook);

	if (kind == NULL)
		taskq_invalid_argument(argument,
							   psprintf("must name a kind of task; \"%s\" does not exist",
										taskq_clip_name(hook)));
	if (strcmp(hook, name) == 0)
		taskq_invalid_argument(argument, "must name another kind");
	if (!taskq_kind_may_submit(kind) ||
		!taskq_kind_role_may_submit(kind, owner))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied to submit tasks of kind \"%s\"", hook),
				 errdetail("Argument \"%s\" is for kinds that both the caller and the owner, role \"%s\", may submit.",
						   argument, GetUserNameFromId(owner, false)),
				 errhint("The owner of kind \"%s\" can use taskq.kind_grant().", hook)));
	return kind;
}

static bool
same_hook(const TaskqHook * one, const TaskqHook * other)
{
	return strcmp(NameStr(one->kind), NameStr(other->kind)) == 0 &&
		one->owner_id == other->owner_id && one->version == other->version;
}

/* Hooks as columns of the table. */
static void
write_hooks(const TaskqHook * hooks, Datum *values)
{
	Datum		names[TASKQ_HOOKS] = {0};
	bool		none[TASKQ_HOOKS];
	Datum		owners[TASKQ_HOOKS];
	Datum		versions[TASKQ_HOOKS];
	int			n = TASKQ_HOOKS;
	int			from = 1;

	for (int i = 0; i < n; i++)
	{
		none[i] = NameStr(hooks[i].kind)[0] == '\0';
		if (!none[i])
			names[i] = CStringGetTextDatum(NameStr(hooks[i].kind));
		owners[i] = Int32GetDatum(hooks[i].owner_id);
		versions[i] = Int64GetDatum(hooks[i].version);
	}
	values[Anum_kind_hooks - 1] =
		PointerGetDatum(construct_md_array(names, none, 1, &n, &from, TEXTOID,
										   -1, false, TYPALIGN_INT));
	values[Anum_kind_hook_owners - 1] =
		PointerGetDatum(construct_array(owners, n, INT4OID, sizeof(int32),
										true, TYPALIGN_INT));
	values[Anum_kind_hook_versions - 1] =
		PointerGetDatum(construct_array(versions, n, INT8OID, sizeof(int64),
										FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
}

/*
 * taskq_policy_hooks - arguments on_success, on_failure, on_cancel, of which
 * the first is given, into the row of a kind
 *
 * True if they are others than the kind had, if there was one.  Raises 22023
 * for what is no kind, 42501 for one that caller or owner may not submit.
 */
bool
taskq_policy_hooks(FunctionCallInfo fcinfo, int first, const char *name,
				   const TaskqKind *old, Oid owner, Datum *values,
				   bool *nulls)
{
	TaskqHook	hooks[TASKQ_HOOKS] = {0};
	bool		hooked = false;
	bool		changed = false;
	Oid			by = GetUserId();

	for (int i = 0; i < TASKQ_HOOKS; i++)
	{
		if (!PG_ARGISNULL(first + i))
		{
			char	   *hook = taskq_arg_name(fcinfo, first + i,
											  hook_arguments[i]);
			const TaskqKind *kind = check_hook(hook_arguments[i], name, hook,
											   owner);

			hooked = true;
			hooks[i].kind = kind->name;
			hooks[i].owner_id = kind->owner_id;
			hooks[i].version = kind->version;
		}
		changed |= old == NULL || !same_hook(&hooks[i], &old->hooks[i]);
	}
	if (old != NULL && !changed && OidIsValid(old->hooks_by))
		by = old->hooks_by;
	nulls[Anum_kind_hooks - 1] = nulls[Anum_kind_hook_owners - 1] =
		nulls[Anum_kind_hook_versions - 1] = nulls[Anum_kind_hooks_by - 1] =
		!hooked;
	if (hooked)
	{
		write_hooks(hooks, values);
		values[Anum_kind_hooks_by - 1] = Int32GetDatum(taskq_role_id(by));
	}
	return changed || (hooked && by != old->hooks_by);
}

/* ---- settings ---- */

/* taskq's own but one, and those that end a session or belong to a transaction. */
static bool
is_refused(const char *name)
{
	static const char *const refused[] = {
		"session_authorization", "role", "is_superuser", "request.jwt.claims",
		"transaction_isolation", "transaction_read_only",
		"transaction_deferrable", "transaction_timeout", "exit_on_error",
		"idle_in_transaction_session_timeout", "idle_session_timeout"
	};

	for (int i = 0; i < lengthof(refused); i++)
	{
		if (pg_strcasecmp(name, refused[i]) == 0)
			return true;
	}
	return pg_strncasecmp(name, "taskq.", 6) == 0 &&
		pg_strcasecmp(name, "taskq.capture_notices") != 0;
}

static void
check_setting(const char *name, const JsonbValue *value)
{
	char	   *text = taskq_setting_text(value);

	if (text == NULL)
		taskq_invalid_argument("settings",
							   psprintf("must be an object of strings, numbers and booleans; that of \"%s\" is none",
										taskq_clip_name(name)));
	if (is_refused(name))
		taskq_invalid_argument("settings",
							   psprintf("must not have \"%s\"",
										taskq_clip_name(name)));
	/* is there such a setting, and may it have this value? */
	(void) set_config_option(name, text, PGC_SUSET, PGC_S_TEST,
							 GUC_ACTION_SET, false, 0, false);
}

static void
check_settings(Jsonb *settings)
{
	JsonbIterator *iterator;
	JsonbIteratorToken token;
	JsonbValue	name;
	JsonbValue	value;

	if (!JB_ROOT_IS_OBJECT(settings))
		taskq_invalid_argument("settings", "must be a JSON object");
	taskq_check_size(settings, "settings");
	iterator = JsonbIteratorInit(&settings->root);
	while ((token = JsonbIteratorNext(&iterator, &name, true)) != WJB_DONE)
	{
		if (token != WJB_KEY)
			continue;
		(void) JsonbIteratorNext(&iterator, &value, true);
		check_setting(pnstrdup(name.val.string.val, name.val.string.len),
					  &value);
	}
}

/*
 * taskq_policy_settings - argument settings into the row of a kind
 *
 * True if they are others than the kind had, if there was one.  Whether the
 * role that a task runs as may set them is asked when it runs.  Raises 22023,
 * 42704 for an unknown setting, 55P02 for one that only the server's start or
 * its files set.
 */
bool
taskq_policy_settings(FunctionCallInfo fcinfo, int n, const TaskqKind *old,
					  Datum *values, bool *nulls)
{
	Jsonb	   *settings = PG_ARGISNULL(n) ? NULL : PG_GETARG_JSONB_P(n);
	Jsonb	   *had = old ? old->settings : NULL;

	if (settings != NULL)
		check_settings(settings);
	if (settings != NULL && JB_ROOT_COUNT(settings) == 0)
		settings = NULL;
	if (settings != NULL && nulls[Anum_kind_handler - 1])
		taskq_invalid_argument("settings",
							   "must be left out where there is no handler");
	nulls[Anum_kind_settings - 1] = settings == NULL;
	values[Anum_kind_settings - 1] = PointerGetDatum(settings);
	if (settings == NULL || had == NULL)
		return settings != had;
	return compareJsonbContainers(&settings->root, &had->root) != 0;
}
