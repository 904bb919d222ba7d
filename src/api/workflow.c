/*-------------------------------------------------------------------------
 *
 * workflow.c
 *		Workflows: several tasks that wait for one another, under one id.
 *
 * A workflow is its tasks, nothing else runs it.  Here is how they are looked
 * at and cancelled; workflow_submit.c makes them, workflow_retry.c does them
 * again.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "api/action.h"
#include "api/patience.h"
#include "api/steer.h"
#include "api/task.h"
#include "api/workflow.h"
#include "base/args.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "store/rights.h"
#include "store/secrets.h"
#include "store/state.h"
#include "store/steps.h"
#include "utils/builtins.h"
#include "utils/tuplestore.h"

/* taskq_workflow_tell - a line in the audit: who did what with a workflow */
void
taskq_workflow_tell(const char *verb, const pg_uuid_t *id, int n,
					const char *reason, bool force)
{
	TaskqAction action = {.verb = verb,.object = "workflow",
		.name = taskq_id_text(id),.count = n,.reason = reason,
	.force = force};

	taskq_action(&action);
}

/*
 * taskq_workflow_begin - every function that changes workflows begins with
 * this
 *
 * Raises PT503 where the library is not preloaded, 25006 where nothing may be
 * written, and what taskq_tenant_check raises.
 */
void
taskq_workflow_begin(const char *function)
{
	taskq_require_preload();
	PreventCommandIfReadOnly(function);
	PreventCommandDuringRecovery(function);
	taskq_tenant_check();
	taskq_defs_begin();
}

/*
 * taskq_step_may_see - is the step's task there, and may the caller see it?
 * If so it is in row.
 */
bool
taskq_step_may_see(const TaskqStep *step, TaskqRow *row)
{
	return step->has_task && taskq_store_find(&step->task, row) &&
		taskq_row_may_see(taskq_lane_get(DatumGetInt32(taskq_row_value(row, lane))),
						  row);
}

/* taskq_workflow_not_found - raise PT404 */
void
taskq_workflow_not_found(const pg_uuid_t *id)
{
	ereport(ERROR,
			(errcode(ERRCODE_TASK_NOT_FOUND),
			 errmsg("workflow %s does not exist", taskq_id_text(id)),
			 errhint("Column workflow of view taskq.task has the ids of workflows.")));
}

/*
 * The rows of view task of these steps; 0 where the caller sees none.
 *
 * Each is read as it is at that moment.  Steps come after those that they
 * wait for: read from the end, none is found done that waited for one that is
 * not.
 */
static Datum *
step_rows(List *steps)
{
	Datum	   *rows = palloc0(list_length(steps) * sizeof(Datum));

	for (int i = list_length(steps) - 1; i >= 0; i--)
	{
		TaskqStep  *step = list_nth(steps, i);
		TaskqRow	row;

		CHECK_FOR_INTERRUPTS();
		if (step->name[0] != '\0' && taskq_step_may_see(step, &row))
			rows[i] = taskq_task_row(&step->task);
	}
	return rows;
}

PG_FUNCTION_INFO_V1(taskq_workflow_tasks);

/*
 * taskq_workflow_tasks - workflow_tasks(id) returns rows of (no, name,
 * parent, definition, task); PT404 if the caller can see none of its tasks
 *
 * The first row is the workflow itself.
 */
Datum
taskq_workflow_tasks(PG_FUNCTION_ARGS)
{
	pg_uuid_t	id = taskq_arg_id(fcinfo, 0);
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	List	   *steps;
	ListCell   *lc;
	Datum	   *rows;
	int			seen = 0;

	taskq_defs_begin();
	steps = taskq_steps_of(&id);
	rows = step_rows(steps);
	InitMaterializedSRF(fcinfo, 0);
	foreach(lc, steps)
	{
		TaskqStep  *step = lfirst(lc);
		Datum		values[5];
		bool		nulls[5] = {false};

		if (step->name[0] != '\0' && rows[foreach_current_index(lc)] == 0)
			continue;
		seen += step->name[0] != '\0';
		values[0] = Int32GetDatum(step->no);
		values[1] = CStringGetTextDatum(step->name);
		values[2] = UUIDPGetDatum(&step->parent);
		nulls[2] = !step->has_parent;
		nulls[3] = step->definition == NULL;
		if (step->definition != NULL)
			values[3] = taskq_secrets_mask_step(PointerGetDatum(step->definition));
		nulls[4] = step->name[0] == '\0';
		values[4] = rows[foreach_current_index(lc)];
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values,
							 nulls);
	}
	if (seen == 0)
		taskq_workflow_not_found(&id);
	return (Datum) 0;
}

/*
 * taskq_workflow_require_steer - may the caller steer a task of the workflow?
 *
 * Who locks it must: others are not to be kept waiting by who may only look.
 * Raises PT404, 42501.
 */
void
taskq_workflow_require_steer(const pg_uuid_t *id, const char *verb)
{
	List	   *steps = taskq_steps_of(id);
	ListCell   *lc;
	bool		seen = false;

	foreach(lc, steps)
	{
		TaskqRow	row;

		CHECK_FOR_INTERRUPTS();
		if (!taskq_step_may_see(lfirst(lc), &row))
			continue;
		seen = true;
		if (taskq_row_may_steer(taskq_lane_get(DatumGetInt32(taskq_row_value(&row, lane))),
								&row))
			return;
	}
	if (!seen)
		taskq_workflow_not_found(id);
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("permission denied to %s workflow %s", verb, taskq_id_text(id)),
			 errhint("That is for the role that submitted it, the roles its tasks run as, and members of taskq_operator or, for their tenant, taskq_tenant_operator.")));
}

/* Cancel its tasks from the last one on; how many of those seen. */
static int
cancel_steps(const pg_uuid_t *id, const char *reason, bool force, int *seen)
{
	TimestampTz until = taskq_busy_until();
	List	   *steps = taskq_steps_of(id);
	int			n = 0;

	for (int i = list_length(steps) - 1; i >= 0; i--)
	{
		TaskqStep  *step = list_nth(steps, i);
		TaskqCancelled cancelled;
		TaskqRow	row;

		CHECK_FOR_INTERRUPTS();
		if (!taskq_step_may_see(step, &row))
			continue;
		(*seen)++;
		if (taskq_state_final(taskq_row_state(&row)) ||
			(!force && !taskq_lane_cancellable(taskq_lane_get(DatumGetInt32(taskq_row_value(&row, lane))))))
			continue;
		taskq_cancel_task(&step->task, pstrdup(reason), force, until,
						  &cancelled);
		n += cancelled.cancelled;
	}
	return n;
}

PG_FUNCTION_INFO_V1(taskq_workflow_cancel);

/*
 * taskq_workflow_cancel - workflow_cancel(id, reason, force) returns how many
 * tasks were cancelled or told to stop
 *
 * From the last step to the first, so that what waits does not begin.  What
 * refuses a cancel is left alone unless forced.  Locks the workflow.  Raises
 * PT404, 42501, PT503.
 */
Datum
taskq_workflow_cancel(PG_FUNCTION_ARGS)
{
	pg_uuid_t	id = taskq_arg_id(fcinfo, 0);
	char	   *reason = taskq_arg_text(fcinfo, 1, "its workflow was cancelled");
	bool		force = !PG_ARGISNULL(2) && PG_GETARG_BOOL(2);
	int			seen = 0;
	int			n = 0;

	taskq_workflow_begin("taskq.workflow_cancel()");
	taskq_workflow_require_steer(&id, "cancel");
	/* who retries at this moment makes tasks that are to be cancelled, too */
	taskq_workflow_lock_briefly(&id);
	taskq_actions_begin(reason);
	PG_TRY();
	{
		n = cancel_steps(&id, reason, force, &seen);
		taskq_actions_write();
	}
	PG_FINALLY();
	{
		taskq_actions_end();
	}
	PG_END_TRY();
	if (seen == 0)
		taskq_workflow_not_found(&id);
	taskq_workflow_tell("cancel", &id, n, reason, force);
	PG_RETURN_INT32(n);
}
