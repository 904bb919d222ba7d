/*-------------------------------------------------------------------------
 *
 * rights.c
 *		Who may see and steer what; of kinds: kind_rights.c.
 *
 * A task belongs to two roles: who submitted it and who it runs as.  Members
 * of either see and steer it; so do the members of taskq_operator, and those
 * of taskq_monitor see it.  Members of taskq_tenant_operator see and steer
 * those of the tenant that they act for, whatever role submitted them, and are
 * refused where they act for none.
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
#include "catalog/namespace.h"
#include "commands/trigger.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "store/claims.h"
#include "store/rights.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/syscache.h"

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

/*
 * taskq_caller_claims - what is known, and to be kept, of whom the session
 * acts for, or NULL
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
	claims = taskq_claims_setting();
	return taskq_claims_kept(taskq_claims_parse(claims ? claims : "{}"));
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
	char	   *copy = value ? MemoryContextStrdup(TopMemoryContext,
												   value) : NULL;

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
		const char *tenant = taskq_claims_tenant(taskq_claims_parse(claims));

		set_string(&seen.tenant, tenant);
		set_string(&seen.claim_name, taskq_tenant_claim);
		set_string(&seen.claims, claims);
	}
	return seen.tenant;
}

/*
 * Who acts for others does so for somebody: where taskq.require_tenant says
 * so, and who operates a tenant.
 */
static void
check_tenant(bool believed, const char *tenant, bool operates)
{
	const char *why = operates ? "members of taskq_tenant_operator act for one tenant"
	: "taskq.require_tenant is on";

	if (!(taskq_require_tenant || operates) || (believed && tenant != NULL))
		return;
	if (!believed)
		ereport(ERROR,
				(errcode(ERRCODE_TASK_FORBIDDEN),
				 errmsg("claims are not believed in this session"),
				 errdetail("Role \"%s\" is not in taskq.trusted_gateways, and %s.",
						   GetUserNameFromId(GetSessionUserId(), false), why),
				 errhint("Let a superuser add the gateway's role to taskq.trusted_gateways.")));
	ereport(ERROR,
			(errcode(ERRCODE_TASK_FORBIDDEN),
			 errmsg("a tenant is required"),
			 errdetail("Claim \"%s\" is missing or empty, and %s.", taskq_tenant_claim, why),
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
	bool		operates;

	if (in_task && !taskq_row_isnull(taskq_current->row, claims))
	{
		TaskqRow   *row = taskq_current->row;

		*tenant = taskq_row_isnull(row, tenant)
			? NULL
			: TextDatumGetCString(taskq_row_value(row, tenant));
		return LIMIT_TENANT;
	}
	*tenant = NULL;
	claims = taskq_claims_setting();
	believed = !in_task && through_gateway();
	operates = !in_task && member_of("taskq_tenant_operator");
	if ((claims == NULL && !believed && !operates) || superuser() ||
		member_of("taskq_monitor") || member_of("taskq_operator"))
		return LIMIT_NONE;
	*tenant = stated_tenant(claims);
	check_tenant(believed, *tenant, operates);
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

	if (taskq_require_tenant || member_of("taskq_tenant_operator"))
		(void) tenant_limit(&tenant);
}

/*
 * Does the caller operate the tenant that it acts for?  It still has to be
 * looked whose the task is.
 */
static bool
operates_tenant(void)
{
	const char *tenant;

	return member_of("taskq_tenant_operator") &&
		tenant_limit(&tenant) == LIMIT_TENANT && tenant != NULL;
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

PG_FUNCTION_INFO_V1(taskq_tenant_only_sql);

/* taskq_tenant_only_sql - tenant_only() returns text, for the views */
Datum
taskq_tenant_only_sql(PG_FUNCTION_ARGS)
{
	const char *tenant = taskq_tenant_only();

	if (tenant == NULL)
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(cstring_to_text(tenant));
}

PG_FUNCTION_INFO_V1(taskq_tenant_visible);

/* taskq_tenant_visible - tenant_visible(text), for the views */
Datum
taskq_tenant_visible(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(tenant_visible(PG_ARGISNULL(0) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(0))));
}

/* ---- seeing and steering ---- */

/* May the caller see what this role owns? */
static bool
owner_visible(Oid role)
{
	return superuser() || has_role(role) || member_of("taskq_monitor") ||
		member_of("taskq_operator");
}

/*
 * taskq_role_may_see - may the caller see the tasks of this role, those of
 * its tenant if it acts for one?  InvalidOid: one that is gone
 */
bool
taskq_role_may_see(Oid role)
{
	return owner_visible(role) || operates_tenant();
}

static Oid
role_argument(FunctionCallInfo fcinfo)
{
	int64		system = PG_GETARG_INT64(2);

	if (system == 0)
		system = (int64) GetSystemIdentifier();
	return taskq_role_resolve(NameStr(*PG_GETARG_NAME(0)), PG_GETARG_OID(1),
							  system);
}

PG_FUNCTION_INFO_V1(taskq_role_visible);

/* taskq_role_visible - role_visible(name, oid, system), for the views */
Datum
taskq_role_visible(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(taskq_role_may_see(role_argument(fcinfo)));
}

PG_FUNCTION_INFO_V1(taskq_owner_visible);

/*
 * taskq_owner_visible - owner_visible(name, oid, system), for views of what
 * is no tenant's
 */
Datum
taskq_owner_visible(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(owner_visible(role_argument(fcinfo)));
}

PG_FUNCTION_INFO_V1(taskq_actor_visible);

/*
 * taskq_actor_visible - actor_visible(claims): may the caller, who may see
 * what was done to its tenant's tasks, see who did it?
 *
 * Who operates a tenant sees who acted for that, not who acts for all.
 */
Datum
taskq_actor_visible(PG_FUNCTION_ARGS)
{
	const char *tenant;

	if (!operates_tenant())
		PG_RETURN_BOOL(true);
	if (PG_ARGISNULL(0))
		PG_RETURN_BOOL(false);
	tenant = taskq_claims_tenant(PG_GETARG_JSONB_P(0));
	PG_RETURN_BOOL(tenant != NULL && tenant_visible(tenant));
}

/*
 * taskq_row_other_submitter - the role that submitted a task, if it is not
 * the one it runs as; else InvalidOid
 */
Oid
taskq_row_other_submitter(TaskqRow *row)
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
			taskq_role_may_see(taskq_row_other_submitter(row))) &&
		taskq_row_tenant_visible(row);
}

/* taskq_steers_all - may the caller steer the tasks of all roles? */
bool
taskq_steers_all(void)
{
	return superuser() || member_of("taskq_operator");
}

/*
 * taskq_steers_tenant - may it steer what is all roles' and this tenant's
 * (NULL: nobody's)?
 */
bool
taskq_steers_tenant(const char *tenant)
{
	return taskq_steers_all() ||
		(tenant != NULL && operates_tenant() && tenant_visible(tenant));
}

/*
 * taskq_row_may_steer - may the caller cancel, retry and change this task, of
 * which it is known that it may see it?
 */
bool
taskq_row_may_steer(const TaskqLaneDef *lane, TaskqRow *row)
{
	return taskq_steers_all() || has_role(lane->role_oid) ||
		has_role(taskq_row_other_submitter(row)) ||
		(operates_tenant() && !taskq_row_isnull(row, tenant) &&
		 taskq_row_tenant_visible(row));
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
				 errhint("That is for the role that submitted the task, the role it runs as, and members of taskq_operator or, for their tenant, taskq_tenant_operator.")));
}

PG_FUNCTION_INFO_V1(taskq_session_rights);

/*
 * taskq_session_rights - session_rights(): whether the caller steers all, and
 * its tenant's, sees all, and whose tasks alone it has to do with
 */
Datum
taskq_session_rights(PG_FUNCTION_ARGS)
{
	const char *tenant = taskq_tenant_only();
	Datum		values[4];
	bool		nulls[4] = {false};
	TupleDesc	desc;

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	values[0] = BoolGetDatum(taskq_steers_all());
	values[1] = BoolGetDatum(operates_tenant());
	values[2] = BoolGetDatum(taskq_steers_all() || member_of("taskq_monitor"));
	nulls[3] = tenant == NULL;
	values[3] = nulls[3] ? (Datum) 0 : CStringGetTextDatum(tenant);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(desc, values, nulls)));
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
