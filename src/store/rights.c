/*-------------------------------------------------------------------------
 *
 * rights.c
 *		Who may see, steer, submit and run what.
 *
 * A task belongs to two roles: who submitted it and who it runs as.  Members
 * of either see and steer it; so do the members of taskq_operator, and those
 * of taskq_monitor see it.
 *
 * Claims (the setting request.jwt.claims) are for everybody to set.  In the
 * sessions of a trusted gateway they are believed: who the session acts for,
 * its tenant, is in them, its tasks are that tenant's, and it has to do with
 * no others.  Elsewhere they are not believed and only take away: other
 * tenants' tasks are not seen.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xlog.h"
#include "base/args.h"
#include "base/compat.h"
#include "base/current.h"
#include "base/guc.h"
#include "base/shmem.h"
#include "catalog/namespace.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "store/rights.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#define CLAIMS_SETTING "request.jwt.claims"

static bool
member_of(const char *role)
{
	Oid			oid = get_role_oid(role, true);

	return OidIsValid(oid) && has_privs_of_role(GetUserId(), oid);
}

static bool
has_role(Oid role)
{
	return OidIsValid(role) && has_privs_of_role(GetUserId(), role);
}

/* ---- tenants ---- */

/* Is the session that of a role which states truly for whom it acts? */
static bool
through_gateway(void)
{
	if (taskq_trusted_gateways[0] == '\0')
		return false;
	return taskq_gateway_trusted(GetUserNameFromId(GetSessionUserId(), false));
}

/* For whom the session says that it acts, or NULL; for anybody to set. */
static const char *
claims_setting(void)
{
	const char *claims = GetConfigOption(CLAIMS_SETTING, true, false);

	return claims != NULL && claims[0] != '\0' ? claims : NULL;
}

static void
claims_error_context(void *arg)
{
	errcontext("setting " CLAIMS_SETTING);
}

static Jsonb *
parse_claims(const char *claims)
{
	ErrorContextCallback context = {.previous = error_context_stack,
	.callback = claims_error_context};
	Jsonb	   *parsed;

	error_context_stack = &context;
	parsed = DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(claims)));
	error_context_stack = context.previous;
	return parsed;
}

/*
 * taskq_caller_claims - what is known of whom the session acts for, or NULL
 *
 * Inside of a task it is what the task was submitted with.  A gateway that
 * says nothing acts for nobody, which is not the same as no gateway.  A copy
 * in the current context; raises what jsonb's input raises.
 */
Jsonb *
taskq_caller_claims(void)
{
	const char *claims;

	if (taskq_in_task())
	{
		TaskqRow   *row = taskq_current->row;

		return taskq_row_isnull(row, claims) ? NULL :
			(Jsonb *) PG_DETOAST_DATUM_COPY(taskq_row_value(row, claims));
	}
	if (!through_gateway())
		return NULL;
	claims = claims_setting();
	return parse_claims(claims ? claims : "{}");
}

/* taskq_claims_tenant - whom claims are of, palloc'd, or NULL */
const char *
taskq_claims_tenant(Jsonb *claims)
{
	JsonbValue	key = {.type = jbvString};
	JsonbValue *value;

	if (claims == NULL || !JB_ROOT_IS_OBJECT(claims) ||
		taskq_tenant_claim[0] == '\0')
		return NULL;
	key.val.string.val = taskq_tenant_claim;
	key.val.string.len = strlen(taskq_tenant_claim);
	value = findJsonbValueFromContainer(&claims->root, JB_FOBJECT, &key);
	if (value == NULL || value->type == jbvNull)
		return NULL;
	if (value->type == jbvString)
		return value->val.string.len == 0
			? NULL
			: pnstrdup(value->val.string.val, value->val.string.len);
	if (value->type == jbvNumeric)
		return DatumGetCString(DirectFunctionCall1(numeric_out,
												   NumericGetDatum(value->val.numeric)));
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("claim \"%s\" is neither a string nor a number", taskq_tenant_claim),
			 errhint("taskq.tenant_claim names the claim that tells a tenant.")));
	return NULL;
}

/*
 * What a row of a view is compared with; kept as long as the setting is the
 * same.
 */
typedef struct SeenClaims
{
	char	   *claims;
	char	   *claim_name;
	char	   *tenant;			/* or NULL */
} SeenClaims;

static void
set_string(char **where, const char *value)
{
	char	   *copy = value ? MemoryContextStrdup(TopMemoryContext, value) : NULL;

	if (*where != NULL)
		pfree(*where);
	*where = copy;
}

/* The tenant that the session states, or NULL. */
static const char *
stated_tenant(const char *claims)
{
	static SeenClaims seen = {NULL, NULL, NULL};

	if (claims == NULL)
		return NULL;
	if (seen.claims == NULL || strcmp(seen.claims, claims) != 0 ||
		strcmp(seen.claim_name, taskq_tenant_claim) != 0)
	{
		const char *tenant = taskq_claims_tenant(parse_claims(claims));

		set_string(&seen.tenant, tenant);
		set_string(&seen.claim_name, taskq_tenant_claim);
		set_string(&seen.claims, claims);
	}
	return seen.tenant;
}

/* taskq.require_tenant: who acts for others does so for somebody. */
static void
check_tenant(bool believed, const char *tenant)
{
	if (!taskq_require_tenant || (believed && tenant != NULL))
		return;
	if (!believed)
		ereport(ERROR,
				(errcode(ERRCODE_TASK_FORBIDDEN),
				 errmsg("claims are not believed in this session"),
				 errdetail("Role \"%s\" is not in taskq.trusted_gateways, and taskq.require_tenant is on.",
						   GetUserNameFromId(GetSessionUserId(), false)),
				 errhint("Let a superuser add the gateway's role to taskq.trusted_gateways.")));
	ereport(ERROR,
			(errcode(ERRCODE_TASK_FORBIDDEN),
			 errmsg("a tenant is required"),
			 errdetail("Claim \"%s\" is missing or empty, and taskq.require_tenant is on.", taskq_tenant_claim),
			 errhint("Use a token that has the claim.")));
}

/* Whose tasks the caller may have to do with. */
typedef enum TenantLimit
{
	LIMIT_NONE,					/* all */
	LIMIT_STATED,				/* its tenant's and nobody's: claims that are
								 * not believed only take away */
	LIMIT_TENANT				/* its tenant's, or if it has none, nobody's */
} TenantLimit;

/*
 * The caller's limit, and its tenant or NULL.  Raises PT403 where it must
 * have one.
 *
 * Inside of a task that was submitted through a gateway the task's own tenant
 * counts, whatever the handler sets, and whichever role it has.
 */
static TenantLimit
tenant_limit(const char **tenant)
{
	bool		in_task = taskq_in_task();
	const char *claims;
	bool		believed;

	if (in_task && !taskq_row_isnull(taskq_current->row, claims))
	{
		TaskqRow   *row = taskq_current->row;

		*tenant = taskq_row_isnull(row, tenant)
			? NULL
			: TextDatumGetCString(taskq_row_value(row, tenant));
		return LIMIT_TENANT;
	}
	*tenant = NULL;
	claims = claims_setting();
	believed = !in_task && through_gateway();
	if ((claims == NULL && !believed) || superuser() ||
		member_of("taskq_monitor") || member_of("taskq_operator"))
		return LIMIT_NONE;
	*tenant = stated_tenant(claims);
	check_tenant(believed, *tenant);
	return believed ? LIMIT_TENANT : LIMIT_STATED;
}

/*
 * taskq_tenant_check - raise PT403 if the caller must act for a tenant and
 * does not
 */
void
taskq_tenant_check(void)
{
	const char *tenant;

	if (taskq_require_tenant)
		(void) tenant_limit(&tenant);
}

/*
 * taskq_tenant_may_name - may the caller say of a task whose it is?
 *
 * Not where claims tell it: in a gateway's session, whichever role it has,
 * nor inside of a task that came through one; nor who acts for one tenant.
 */
bool
taskq_tenant_may_name(void)
{
	const char *tenant;

	return (taskq_in_task() || !through_gateway()) &&
		tenant_limit(&tenant) == LIMIT_NONE;
}

/* May the caller have to do with tasks of this tenant (or NULL)? */
static bool
tenant_visible(const char *tenant)
{
	const char *mine;

	switch (tenant_limit(&mine))
	{
		case LIMIT_NONE:
			return true;
		case LIMIT_STATED:
			return tenant == NULL ||
				(mine != NULL && strcmp(mine, tenant) == 0);
		case LIMIT_TENANT:
			break;
	}
	if (mine == NULL || tenant == NULL)
		return mine == tenant;
	return strcmp(mine, tenant) == 0;
}

/*
 * taskq_tenant_may_see - may the caller, whatever its role, have to do with
 * what is this tenant's (or, NULL, nobody's)?
 */
bool
taskq_tenant_may_see(const char *tenant)
{
	return tenant_visible(tenant);
}

/*
 * taskq_tenant_is_limited - are there tenants whose tasks the caller may not
 * see?
 */
bool
taskq_tenant_is_limited(void)
{
	const char *tenant;

	return tenant_limit(&tenant) != LIMIT_NONE;
}

/*
 * taskq_tenant_only - the tenant whose tasks alone the caller may see, or NULL
 * if it may see others', or nobody's
 */
const char *
taskq_tenant_only(void)
{
	const char *tenant;

	return tenant_limit(&tenant) == LIMIT_TENANT ? tenant : NULL;
}

PG_FUNCTION_INFO_V1(taskq_tenant_limited);

/* taskq_tenant_limited - tenant_limited() returns bool, for the views */
Datum
taskq_tenant_limited(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(taskq_tenant_is_limited());
}

PG_FUNCTION_INFO_V1(taskq_tenant_visible);

/* taskq_tenant_visible - tenant_visible(text), for the views */
Datum
taskq_tenant_visible(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(tenant_visible(PG_ARGISNULL(0) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(0))));
}

/* ---- seeing and steering ---- */

/*
 * taskq_role_may_see - may the caller see the tasks of this role?
 * InvalidOid: one that is gone
 */
bool
taskq_role_may_see(Oid role)
{
	return superuser() || has_role(role) || member_of("taskq_monitor") ||
		member_of("taskq_operator");
}

PG_FUNCTION_INFO_V1(taskq_role_visible);

/* taskq_role_visible - role_visible(name, oid, system), for the views */
Datum
taskq_role_visible(PG_FUNCTION_ARGS)
{
	int64		system = PG_GETARG_INT64(2);

	if (system == 0)
		system = (int64) GetSystemIdentifier();
	PG_RETURN_BOOL(taskq_role_may_see(taskq_role_resolve(NameStr(*PG_GETARG_NAME(0)),
														 PG_GETARG_OID(1), system)));
}

/*
 * The role that submitted a task, if it is not the one it runs as; else
 * InvalidOid.
 */
static Oid
other_submitter(TaskqRow *row)
{
	NameData	name;
	Oid			oid;

	if (taskq_row_isnull(row, submitted_by) ||
		!taskq_role_read(DatumGetInt32(taskq_row_value(row, submitted_by)),
						 &name, &oid))
		return InvalidOid;
	return oid;
}

/*
 * taskq_row_tenant_visible - may the caller, whatever its role, have to do
 * with tasks of this one's tenant?
 */
bool
taskq_row_tenant_visible(TaskqRow *row)
{
	return tenant_visible(taskq_row_isnull(row, tenant)
						  ? NULL
						  : TextDatumGetCString(taskq_row_value(row, tenant)));
}

/* taskq_tuple_tenant_visible - the same of a tuple of a leaf */
bool
taskq_tuple_tenant_visible(HeapTuple tuple, TupleDesc desc)
{
	bool		isnull;
	Datum		value = heap_getattr(tuple, Anum_task_tenant, desc, &isnull);
	char	   *tenant = isnull ? NULL : TextDatumGetCString(value);
	bool		visible = tenant_visible(tenant);

	if (tenant != NULL)
		pfree(tenant);
	return visible;
}

/* taskq_row_may_see - may the caller see this task? */
bool
taskq_row_may_see(const TaskqLaneDef *lane, TaskqRow *row)
{
	return (taskq_role_may_see(lane->role_oid) ||
			taskq_role_may_see(other_submitter(row))) &&
		taskq_row_tenant_visible(row);
}

/* taskq_steers_all - may the caller steer the tasks of all roles? */
bool
taskq_steers_all(void)
{
	return superuser() || member_of("taskq_operator");
}

/*
 * taskq_row_may_steer - may the caller cancel, retry and change this task, of
 * which it is known that it may see it?
 */
bool
taskq_row_may_steer(const TaskqLaneDef *lane, TaskqRow *row)
{
	return taskq_steers_all() || has_role(lane->role_oid) ||
		has_role(other_submitter(row));
}

/*
 * taskq_require_steer - the same, or an error 42501 that says what (verb) was
 * tried
 */
void
taskq_require_steer(const TaskqLaneDef *lane, TaskqRow *row, const char *verb)
{
	if (lane == NULL || !taskq_row_may_steer(lane, row))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied to %s task %s", verb, taskq_id_text(DatumGetUUIDP(taskq_row_value(row, id)))),
				 errhint("That is for the role that submitted the task, the role it runs as, and members of taskq_operator.")));
}

/* ---- views ---- */

PG_FUNCTION_INFO_V1(taskq_view_readonly);

/*
 * taskq_view_readonly - trigger of the views, which are there to look
 *
 * Raises PT405 with a hint from the trigger's argument.  Without it the error
 * would be one of how views are made.
 */
Datum
taskq_view_readonly(PG_FUNCTION_ARGS)
{
	TriggerData *data = (TriggerData *) fcinfo->context;

	if (!CALLED_AS_TRIGGER(fcinfo) || data->tg_trigger->tgnargs != 1)
		elog(ERROR, "not called as a trigger of a view");
	ereport(ERROR,
			(errcode(ERRCODE_TASK_NO_METHOD),
			 errmsg("view taskq.%s cannot be changed", RelationGetRelationName(data->tg_relation)),
			 errhint("Use %s.", data->tg_trigger->tgargs[0])));
	return (Datum) 0;
}

/* ---- schedules ---- */

/*
 * taskq_role_may_schedule - may this role still have schedules?
 *
 * It may as long as it may run one by hand.
 */
bool
taskq_role_may_schedule(Oid role)
{
	Oid text = TEXTOID;
	Oid			namespace = get_namespace_oid("taskq", true);
	Oid			function =
	GetSysCacheOid3(PROCNAMEARGSNSP, Anum_pg_proc_oid,
					CStringGetDatum("schedule_run"),
					PointerGetDatum(buildoidvector(&text, 1)),
					ObjectIdGetDatum(namespace));

	return OidIsValid(function) &&
		taskq_function_aclcheck(function, role) == ACLCHECK_OK;
}

/* ---- kinds ---- */

static bool
granted(const TaskqKind *kind, char privilege, Oid user)
{
	ListCell   *lc;

	foreach(lc, kind->grants)
	{
		const TaskqKindGrant *grant = lfirst(lc);

		if (grant->privilege == privilege && OidIsValid(grant->role) &&
			has_privs_of_role(user, grant->role))
			return true;
	}
	return false;
}

static bool
role_may_submit(const TaskqKind *kind, Oid user)
{
	if (kind->run_as_id == 0)
		return true;			/* it gets the submitter nothing that it could
								 * not do itself */
	return superuser_arg(user) ||
		(OidIsValid(kind->owner_oid) &&
		 has_privs_of_role(user, kind->owner_oid)) ||
		(OidIsValid(kind->run_as_oid) &&
		 has_privs_of_role(user, kind->run_as_oid)) ||
		granted(kind, TASKQ_GRANT_SUBMIT, user);
}

/* taskq_kind_owned - is the kind the caller's, to change and to drop? */
bool
taskq_kind_owned(const TaskqKind *kind)
{
	return superuser() || has_role(kind->owner_oid);
}

/* taskq_kind_role_may_submit - may this role submit tasks of this kind? */
bool
taskq_kind_role_may_submit(const TaskqKind *kind, Oid role)
{
	return OidIsValid(role) && role_may_submit(kind, role);
}

/* taskq_kind_may_submit - may the caller submit tasks of this kind? */
bool
taskq_kind_may_submit(const TaskqKind *kind)
{
	return role_may_submit(kind, GetUserId());
}

/*
 * taskq_kind_role_may_work - may this role claim tasks of this kind, which
 * has no handler?
 */
bool
taskq_kind_role_may_work(const TaskqKind *kind, Oid role)
{
	return superuser_arg(role) ||
		(OidIsValid(kind->owner_oid) &&
		 has_privs_of_role(role, kind->owner_oid)) ||
		(OidIsValid(kind->run_as_oid) &&
		 has_privs_of_role(role, kind->run_as_oid)) ||
		granted(kind, TASKQ_GRANT_WORK, role) ||
		granted(kind, TASKQ_GRANT_WORK_ALL, role);
}

/* taskq_kind_may_work - may the caller? */
bool
taskq_kind_may_work(const TaskqKind *kind)
{
	return taskq_kind_role_may_work(kind, GetUserId());
}

/*
 * taskq_kind_works_for_all - may the caller, who may work on this kind, do so
 * for all tenants?
 */
bool
taskq_kind_works_for_all(const TaskqKind *kind)
{
	return granted(kind, TASKQ_GRANT_WORK_ALL, GetUserId());
}

/*
 * taskq_row_may_work - is the task, of a kind that the caller may work on, of
 * a tenant that it works for?
 */
bool
taskq_row_may_work(const TaskqKind *kind, TaskqRow *row)
{
	return taskq_kind_works_for_all(kind) || taskq_row_tenant_visible(row);
}

/* May the one role become the other?  superuser: of any */
static bool
can_act_as(Oid who, Oid role)
{
	return OidIsValid(who) && OidIsValid(role) &&
		taskq_can_set_role(who, role);
}

/*
 * taskq_kind_check_superuser - may tasks of this kind run as this role, if
 * that is a superuser?
 *
 * Who owns a kind chooses what it runs, so that must be somebody who can do
 * all that the role can.  Raises 42501.
 */
void
taskq_kind_check_superuser(const TaskqKind *kind, Oid role)
{
	if (kind->handler == NULL || !superuser_arg(role) ||
		kind->owner_oid == role || can_act_as(kind->owner_oid, role))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("superusers run no tasks of kind \"%s\"", NameStr(kind->name)),
			 errdetail("Its owner, role \"%s\", is not a superuser and chooses what its tasks do.", NameStr(kind->owner)),
			 errhint("Use SET ROLE and submit the task as a role that it shall run as, or let a superuser own the kind.")));
}

/* Has this version of the kind the handler and settings that it has now? */
static bool
same_handler(const TaskqKind *kind, int64 version)
{
	if (version == kind->version)
		return true;
	for (int i = 0; i < kind->nsame_handler; i++)
	{
		if (version == kind->same_handler[i])
			return true;
	}
	return false;
}

/*
 * taskq_kind_check_handler - is the kind's handler one that the tasks of this
 * lane may run?
 *
 * It is when it is what it was when they were submitted (what was changed
 * since may be the hooks), or when who chose it could do the same as the
 * lane's role without that.  A superuser's change
 * keeps the version, so what counts after several changes is who made the
 * last one.  Raises 42501.
 */
void
taskq_kind_check_handler(const TaskqKind *kind, const TaskqLaneDef *lane)
{
	if (kind->handler == NULL || same_handler(kind, lane->kind_version) ||
		can_act_as(kind->handler_by, lane->role_oid))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("the handler of kind \"%s\" was changed after the task was submitted",
					NameStr(kind->name)),
			 errdetail("Role \"%s\", who changed it or its settings, is not a member of role \"%s\", which the task runs as.",
					   NameStr(kind->handler_by_name), NameStr(lane->role_name)),
			 errhint("Look at the handler; then submit or retry the task as the role that it runs as.")));
}

/* Are the kind's hooks those that a task of this lane was submitted with? */
static bool
hooks_known(const TaskqKind *kind, const TaskqLaneDef *lane)
{
	return lane->kind_version == kind->version ||
		can_act_as(kind->hooks_by, lane->role_oid);
}

/*
 * taskq_kind_check_hooks - may a task of this lane be submitted anew, with
 * the hooks that the kind has now, by who could not act as the lane's role?
 *
 * Raises 42501.
 */
void
taskq_kind_check_hooks(const TaskqKind *kind, const TaskqLaneDef *lane)
{
	if (!kind->hooked || hooks_known(kind, lane))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("the hooks of kind \"%s\" were changed after the task was submitted",
					NameStr(kind->name)),
			 errhint("Look at the hooks; then retry the task as the role that it runs as.")));
}

/*
 * taskq_kind_check_hook - may a hook of a kind be submitted for a task of this
 * lane that has ended?  hook_kind is what it names now, role whom it will run
 * as
 *
 * Who owns a kind chooses its hooks, and who owns a hook's kind what that
 * does.  So what a hook does in the name of others must be what it was when
 * the task was submitted and the hook chosen, or the choice of somebody who
 * could do the same without that.  Raises 42501.
 */
void
taskq_kind_check_hook(const TaskqKind *kind, const TaskqHook * hook,
					  const TaskqKind *hook_kind, const TaskqLaneDef *lane,
					  TaskqRow *row, Oid role)
{
	const char *why = NULL;

	if (!hooks_known(kind, lane))
		why = "The hook was chosen after the task was submitted, by a role that is not a member of the one that the task ran as.";
	else if (hook_kind->owner_id != hook->owner_id)
		why = "It belongs to another role than when the hook was chosen.";
	else if (!taskq_kind_role_may_submit(hook_kind, kind->owner_oid))
		why = "The owner of the kind that has the hook may not submit it.";
	else if (hook_kind->version != hook->version &&
			 !(can_act_as(hook_kind->handler_by, role) &&
			   (!hook_kind->hooked || can_act_as(hook_kind->hooks_by, role))))
		why = "It was changed after the hook was chosen, by a role that is not a member of the one that it runs as.";

	/*
	 * A hook that runs as its task did is the choice of who submitted the
	 * task only if what has run is: the handler.
	 */
	else if (hook_kind->run_as_id == 0 &&
			 (kind->handler == NULL || !taskq_row_isnull(row, submitted_by)) &&
			 !can_act_as(kind->owner_oid, role) &&
			 !can_act_as(kind->hooks_by, role))
		why = "The owner of the kind that has the hook is not a member of the role that it would run as.";
	if (why != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied to submit a task of kind \"%s\"", NameStr(hook->kind)),
				 errdetail("%s", why)));
}

/* A number that is a member of an object, or 0. */
static int32
number_of(JsonbContainer * object, const char *name)
{
	JsonbValue	key = {.type = jbvString};
	JsonbValue *value;

	key.val.string.val = unconstify(char *, name);
	key.val.string.len = strlen(name);
	value = findJsonbValueFromContainer(object, JB_FOBJECT, &key);
	if (value == NULL || value->type != jbvNumeric)
		return 0;
	return DatumGetInt32(DirectFunctionCall1(numeric_int4,
											 NumericGetDatum(value->val.numeric)));
}

/*
 * taskq_row_hook - taskq's number of the role in whose name a task was
 * submitted that is a hook, and how many hooks it is the last of; 0: it is
 * none
 */
int32
taskq_row_hook(TaskqRow *row, int *level)
{
	JsonbValue	key = {.type = jbvString,
	.val.string = {.len = 4,.val = "hook"}};
	JsonbValue *value = NULL;
	Jsonb	   *options;

	*level = 0;
	if (taskq_row_isnull(row, options))
		return 0;
	options = DatumGetJsonbP(taskq_row_value(row, options));
	if (JB_ROOT_IS_OBJECT(options))
		value = findJsonbValueFromContainer(&options->root, JB_FOBJECT, &key);
	if (value == NULL || value->type != jbvBinary ||
		!JsonContainerIsObject(value->val.binary.data))
		return 0;
	*level = number_of(value->val.binary.data, "level");
	return number_of(value->val.binary.data, "by");
}

/*
 * In whose name a task was submitted that is a hook: the owner of the kind
 * that has it.  False if it is none.
 *
 * A task's options are checked when it is submitted, so nobody can say so of
 * another.
 */
static bool
hook_authority(TaskqRow *row, Oid *authority)
{
	NameData	name;
	int			level;
	int32		by = taskq_row_hook(row, &level);

	if (by == 0)
		return false;
	*authority = InvalidOid;
	(void) taskq_role_read(by, &name, authority);
	return true;
}

/*
 * taskq_kind_check_scheduled - is the kind the one that a schedule was defined
 * for, when that kind had this owner and version?
 *
 * Who defines a schedule has chosen what runs as its role, as who submits a
 * task has: another one's handler is not run for it.  Raises 42501.
 */
void
taskq_kind_check_scheduled(const TaskqKind *kind, const char *schedule,
						   int32 owner, int64 version, Oid role)
{
	if (kind->owner_id == owner &&
		(kind->handler == NULL || kind->version == version ||
		 (can_act_as(kind->handler_by, role) &&
		  (!kind->hooked || can_act_as(kind->hooks_by, role)))))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("the handler of kind \"%s\" was changed after schedule \"%s\" was defined",
					NameStr(kind->name), schedule),
			 errdetail("Role \"%s\", who changed it, is not a member of role \"%s\", which the tasks run as.",
					   NameStr(kind->handler_by_name),
					   GetUserNameFromId(role, true)),
			 errhint("Look at the handler; then define the schedule again.")));
}

/*
 * taskq_lane_role_problem - why no session of this lane's role can be had
 * here, or NULL
 *
 * Its tasks would wait for ever, so they fail with that.  External workers
 * need no session.
 */
const TaskqProblem *
taskq_lane_role_problem(const TaskqLaneDef *lane)
{
	static const TaskqProblem gone = {
		"role_gone",
		"the role the task runs as does not exist any more",
	"Submit the task again as a role that is there."};
	static const TaskqProblem no_login = {
		"role_login",
		"the role the task runs as may not log in any more",
	"Give the role LOGIN, and use taskq.task_retry()."};
	static const TaskqProblem no_connect = {
		"role_connect",
		"the role the task runs as may not connect to the database",
	"Grant CONNECT on the database to the role, and use taskq.task_retry()."};
	Oid			role = lane->role_oid;
	HeapTuple	tuple = SearchSysCache1(AUTHOID, ObjectIdGetDatum(role));
	const TaskqKind *kind = taskq_kind_get(NameStr(lane->kind));
	bool		login;

	if (!HeapTupleIsValid(tuple))
		return &gone;
	login = ((Form_pg_authid) GETSTRUCT(tuple))->rolcanlogin;
	ReleaseSysCache(tuple);
	if (kind != NULL && kind->handler == NULL)
		return NULL;
	if (!login)
		return &no_login;
	if (taskq_database_aclcheck(MyDatabaseId, role) != ACLCHECK_OK)
		return &no_connect;
	return NULL;
}

/*
 * taskq_kind_check_run - may this task still be run, as things are by now?
 *
 * Raises 42501.  That the role may log in, connect and execute the handler is
 * seen to elsewhere; that it is still the handler it was, by
 * taskq_kind_check_handler.
 */
void
taskq_kind_check_run(const TaskqKind *kind, const TaskqLaneDef *lane,
					 TaskqRow *row)
{
	Oid			submitter;
	bool		is_hook;

	if (lane->kind_owner != kind->owner_id)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("kind of task \"%s\" belongs to another role than when the task was submitted", NameStr(kind->name)),
				 errhint("Submit the task again if it shall be run by the new owner's handler.")));
	taskq_kind_check_superuser(kind, lane->role_oid);
	if (taskq_row_isnull(row, submitted_by))
		return;
	is_hook = hook_authority(row, &submitter);
	if (!is_hook)
		submitter = other_submitter(row);
	if (!OidIsValid(submitter) || !role_may_submit(kind, submitter))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("the role that submitted the task may not submit tasks of kind \"%s\" any more", NameStr(kind->name)),
				 errhint("Use taskq.kind_grant() and submit the task again.")));
	/* one that runs as the task of which it is a hook did */
	if (is_hook && kind->run_as_id == 0)
		return;
	if (!can_act_as(kind->owner_oid, lane->role_oid))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("the owner of kind of task \"%s\" is not a member any more of the role its tasks run as", NameStr(kind->name)),
				 errhint("Grant the role to the owner, or define the kind with another run_as.")));
}

/*
 * taskq_handler_require - the function that a handler is now
 *
 * Raises 42883.
 */
Oid
taskq_handler_require(const char *signature)
{
	Oid			function = taskq_handler_oid(signature);

	if (!OidIsValid(function))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_FUNCTION),
				 errmsg("handler %s does not exist any more", signature),
				 errhint("Create the function, or define the kind again with taskq.kind_define().")));
	return function;
}

/*
 * taskq_handler_check_execute - may this role execute the function that a
 * handler is?
 *
 * Raises 42501.
 */
void
taskq_handler_check_execute(const char *signature, Oid function, Oid role)
{
	if (taskq_function_aclcheck(function, role) != ACLCHECK_OK)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied for function %s", get_func_name(function)),
				 errhint("Grant EXECUTE on handler %s to role \"%s\", which the task runs as.",
						 signature, GetUserNameFromId(role, false))));
}

/*
 * taskq_task_check_run - has a task a handler that it may run, as things are
 * by now?
 *
 * kind may be NULL.  Raises 42704, 42883, 42501.
 */
void
taskq_task_check_run(const TaskqKind *kind, const TaskqLaneDef *lane,
					 TaskqRow *row)
{
	if (kind == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("kind of task \"%s\" does not exist any more", NameStr(lane->kind)),
				 errhint("Define it again with taskq.kind_define() and submit the task again.")));
	taskq_kind_check_run(kind, lane, row);
	if (kind->handler == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_FUNCTION),
				 errmsg("kind of task \"%s\" has no handler any more", NameStr(lane->kind))));
	taskq_kind_check_handler(kind, lane);
}

/* ---- the tables ---- */

void		(*taskq_on_dml) (void) = NULL;

PG_FUNCTION_INFO_V1(taskq_refuse_write);

/*
 * taskq_refuse_write - trigger of all tables: raises 42501 for everybody but
 * superusers
 */
Datum
taskq_refuse_write(PG_FUNCTION_ARGS)
{
	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("function \"refuse_write\" was not called by trigger manager")));
	if (!superuser())
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("table \"%s\" is for taskq alone",
						RelationGetRelationName(((TriggerData *) fcinfo->context)->tg_relation)),
				 errhint("Use the functions of schema taskq.")));
	if (taskq_on_dml != NULL)
		taskq_on_dml();
	return PointerGetDatum(NULL);
}
