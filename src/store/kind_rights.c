/*-------------------------------------------------------------------------
 *
 * kind_rights.c
 *		Who may submit, work on and run the tasks of a kind.
 *
 * A grant is needed where identity changes (run_as), or payloads are handed
 * out (no handler).  What runs as a role must be what it was when the task was
 * submitted, or the choice of somebody who could act as that role anyhow.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "base/compat.h"
#include "catalog/pg_authid.h"
#include "miscadmin.h"
#include "store/rights.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

/* ---- submitting, and working on them ---- */

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
	return superuser() ||
		(OidIsValid(kind->owner_oid) &&
		 has_privs_of_role(GetUserId(), kind->owner_oid));
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

/* ---- what may run as whom ---- */

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
					   NameStr(kind->handler_by_name),
					   NameStr(lane->role_name)),
			 errhint("Look at the handler; then submit or retry the task as the role that it runs as.")));
}

/* ---- hooks and schedules ---- */

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

/* ---- may it still be run? ---- */

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
		submitter = taskq_row_other_submitter(row);
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
