/*-------------------------------------------------------------------------
 *
 * link.c
 *		Links of tasks and the application's objects.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <ctype.h>

#include "access/xact.h"
#include "api/task.h"
#include "base/current.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "store/leases.h"
#include "store/links.h"
#include "store/rights.h"
#include "utils/acl.h"
#include "utils/builtins.h"

#define MAX_NAME 1024

/* Arguments of both functions. */
enum
{
	ARG_OBJECT,
	ARG_ID,
	ARG_TASK,
	ARG_TOKEN
};

static char *
name_arg(FunctionCallInfo fcinfo, int n, const char *argument)
{
	char	   *name = taskq_arg_text(fcinfo, n, "");

	if (strlen(name) > MAX_NAME)
		taskq_invalid_argument(argument,
							   psprintf("must have at most %d bytes", MAX_NAME));
	return name;
}

static char *
object_arg(FunctionCallInfo fcinfo)
{
	char	   *object = name_arg(fcinfo, ARG_OBJECT, "object");

	if (object[0] == '\0')
		taskq_invalid_argument("object", "must be a text that is not empty");
	return object;
}

/* Is it a task's id? */
static bool
is_uuid(const char *text, pg_uuid_t *id)
{
	int			digits = 0;

	for (int i = 0; text[i] != '\0'; i++)
	{
		bool		dash = i == 8 || i == 13 || i == 18 || i == 23;

		if (i > 35 || (dash ? text[i] != '-'
					   : !isxdigit((unsigned char) text[i])))
			return false;
		digits++;
	}
	if (digits != 36)
		return false;
	*id = *DatumGetUUIDP(DirectFunctionCall1(uuid_in, CStringGetDatum(text)));
	return true;
}

/* The claim of an external worker is proved by its token. */
static void
require_claimed(const pg_uuid_t *id, const pg_uuid_t *token, TaskqRow *row)
{
	const TaskqLaneDef *lane = NULL;
	const TaskqKind *kind = NULL;
	TaskqLease	lease;

	if (taskq_store_find(id, row))
		lane = taskq_lane_get(DatumGetInt32(taskq_row_value(row, lane)));
	if (lane != NULL)
		kind = taskq_kind_get(NameStr(lane->kind));
	if (kind != NULL && taskq_kind_may_work(kind) &&
		taskq_row_may_work(kind, row) && taskq_lease_find(id, &lease) &&
		taskq_id_eq(&lease.token, token))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_TASK_WRONG_STATE),
			 errmsg("task %s is not claimed with this token", taskq_id_text(id)),
			 errhint("Drop the work: the task may be another worker's by now.")));
}

/*
 * The task that an object is to be linked to.
 *
 * That which runs in this session, or the one named; outside of a task it may
 * be named in the place of the object's id, which is empty then.
 */
static TaskqRow *
task_to_link(FunctionCallInfo fcinfo, char **id)
{
	TaskqRow   *row = palloc0(sizeof(TaskqRow));
	pg_uuid_t	task;

	if (!PG_ARGISNULL(ARG_TASK))
		task = *PG_GETARG_UUID_P(ARG_TASK);
	else if (taskq_in_task())
	{
		if (is_uuid(*id, &task) && taskq_id_eq(&task, &taskq_current->id))
			*id = "";
		return taskq_current->row;
	}
	else if (is_uuid(*id, &task))
		*id = "";
	else
		taskq_invalid("outside of a task it must be said which one the object belongs to",
					  "Pass the task's id as argument \"task\".");
	if (!PG_ARGISNULL(ARG_TOKEN))
		require_claimed(&task, PG_GETARG_UUID_P(ARG_TOKEN), row);
	else
	{
		taskq_task_require(&task, row);
		taskq_require_steer(taskq_lane_get(DatumGetInt32(taskq_row_value(row, lane))),
							row, "link an object to");
	}
	return row;
}

static void
begin(const char *function)
{
	taskq_require_preload();
	PreventCommandIfReadOnly(function);
	PreventCommandDuringRecovery(function);
	taskq_defs_begin();
}

PG_FUNCTION_INFO_V1(taskq_link);

/*
 * taskq_link - link(object, id, task, token)
 *
 * Once is enough.  Raises PT404 and 42501 for a task that is not the caller's
 * to see or steer, PT409 for a token that is not, or not any more, its
 * claim's.
 */
Datum
taskq_link(PG_FUNCTION_ARGS)
{
	char	   *object = object_arg(fcinfo);
	char	   *id = name_arg(fcinfo, ARG_ID, "id");
	const TaskqLaneDef *lane;
	TaskqRow   *row;

	begin("taskq.link()");
	row = task_to_link(fcinfo, &id);
	lane = taskq_lane_get(DatumGetInt32(taskq_row_value(row, lane)));
	if (lane == NULL)
		elog(ERROR, "lane not found");
	taskq_link_lock(DatumGetUUIDP(taskq_row_value(row, id)));
	taskq_link_insert(row, lane, object, id);
	PG_RETURN_VOID();
}

static bool
may_act_as(int32 role_id)
{
	NameData	name;
	Oid			role;

	return taskq_role_read(role_id, &name, &role) && OidIsValid(role) &&
		has_privs_of_role(GetUserId(), role);
}

/*
 * Are links of this task, which may be forgotten, the caller's to take away?
 */
static bool
may_unlink(const pg_uuid_t *task)
{
	TaskqLinkTask found;

	if (!taskq_link_task_find(task, &found) ||
		!taskq_tenant_may_see(found.tenant))
		return false;
	return taskq_steers_tenant(found.tenant) || may_act_as(found.role) ||
		may_act_as(found.submitted_by);
}

/* Of one task; how many. */
static int
unlink_from(const pg_uuid_t *task, const char *object, const char *id)
{
	if (!(taskq_in_task() && taskq_id_eq(task, &taskq_current->id)) &&
		!may_unlink(task))
		return 0;
	taskq_link_lock(task);
	return taskq_link_delete(task, object, id) ? 1 : 0;
}

PG_FUNCTION_INFO_V1(taskq_unlink);

/*
 * taskq_unlink - unlink(object, id, task) returns how many links are gone
 *
 * Of the task named, or that runs in this session; else of all tasks.  Those
 * that are not the caller's stay.
 */
Datum
taskq_unlink(PG_FUNCTION_ARGS)
{
	char	   *object = object_arg(fcinfo);
	char	   *id = name_arg(fcinfo, ARG_ID, "id");
	pg_uuid_t	task;
	ListCell   *lc;
	int			n = 0;

	begin("taskq.unlink()");
	taskq_tenant_check();
	if (!PG_ARGISNULL(ARG_TASK))
		PG_RETURN_INT32(unlink_from(PG_GETARG_UUID_P(ARG_TASK), object, id));
	if (taskq_in_task())
		PG_RETURN_INT32(unlink_from(&taskq_current->id, object, id));
	foreach(lc, taskq_links_of(object, id))
		n += unlink_from(lfirst(lc), object, id);
	/* as it was linked */
	if (is_uuid(id, &task))
		n += unlink_from(&task, object, "");
	PG_RETURN_INT32(n);
}
