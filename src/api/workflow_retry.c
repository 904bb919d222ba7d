/*-------------------------------------------------------------------------
 *
 * workflow_retry.c
 *		Retries a workflow: what has failed in it, or all.
 *
 * A step that is done again waits for the newest tasks of those it depends
 * on.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "api/action.h"
#include "api/patience.h"
#include "api/steer.h"
#include "api/workflow.h"
#include "base/args.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "store/dependencies.h"
#include "store/state.h"
#include "store/steps.h"
#include "utils/fmgrprotos.h"
#include "utils/tuplestore.h"

/* A step that may be retried. */
typedef struct Retried
{
	TaskqStep  *step;
	bool		there;
	bool		renewed;
	pg_uuid_t	task;			/* the newest */
} Retried;

static char
policy_of(Jsonb *definition)
{
	char	   *word = taskq_step_text(definition, "on_dependency_failure");

	if (taskq_step_text(definition, "run_when") != NULL)
		return TASKQ_ON_FAILURE_ONLY;
	if (word != NULL && strcmp(word, "run") == 0)
		return TASKQ_ON_FAILURE_RUN;
	if (word != NULL && strcmp(word, "block") == 0)
		return TASKQ_ON_FAILURE_BLOCK;
	return TASKQ_ON_FAILURE_CANCEL;
}

/*
 * Is there reason to do a step again?  That it was not needed is none, unless
 * what it is there for is done again.
 */
static bool
to_renew(TaskqRow *row, char policy, bool after_renewed)
{
	switch (taskq_row_state(row))
	{
		case TASKQ_FAILED:
			return true;
		case TASKQ_CANCELLED:
		case TASKQ_COMPLETED:
			return policy == TASKQ_ON_FAILURE_ONLY ? after_renewed
				: taskq_row_state(row) == TASKQ_CANCELLED;
		case TASKQ_BLOCKED:
			/* the dispatcher is about to cancel it */
			return after_renewed && policy == TASKQ_ON_FAILURE_CANCEL;
		default:
			return false;
	}
}

/* Retry one step, after the newest tasks of those it depends on. */
static void
renew(Retried *retried, pg_uuid_t *depends, int n, char policy)
{
	JsonbValue	payload;
	Jsonb	   *definition = retried->step->definition;
	TaskqRow	row;

	if (taskq_store_find(&retried->task, &row) &&
		!taskq_state_final(taskq_row_state(&row)))
	{
		TaskqCancelled cancelled;

		taskq_cancel_task(&retried->task, pstrdup("retried with its workflow"),
						  true, taskq_busy_until(), &cancelled);
	}
	taskq_retry_step(&retried->task,
					 taskq_step_member(definition, "payload", &payload)
					 ? JsonbValueToJsonb(&payload) : NULL,
					 depends, n, policy, &retried->task);
	retried->renewed = true;
}

/* The steps, as they would be submitted, in the order of their numbers. */
static Jsonb *
definitions_of(List *steps)
{
	JsonbParseState *state = NULL;
	ListCell   *lc;

	(void) pushJsonbValue(&state, WJB_BEGIN_ARRAY, NULL);
	foreach(lc, steps)
	{
		TaskqStep  *step = lfirst(lc);
		JsonbValue	key = {.type = jbvString};
		JsonbValue	value = {.type = jbvBinary};
		JsonbParseState *named = NULL;
		Jsonb	   *with;

		if (step->no == 0)
			continue;
		(void) pushJsonbValue(&named, WJB_BEGIN_OBJECT, NULL);
		key.val.string.val = "name";
		key.val.string.len = 4;
		(void) pushJsonbValue(&named, WJB_KEY, &key);
		key.val.string.val = unconstify(char *, step->name);
		key.val.string.len = strlen(step->name);
		(void) pushJsonbValue(&named, WJB_VALUE, &key);
		with = JsonbValueToJsonb(pushJsonbValue(&named, WJB_END_OBJECT, NULL));
		with = DatumGetJsonbP(DirectFunctionCall2(jsonb_concat,
												  JsonbPGetDatum(step->definition),
												  JsonbPGetDatum(with)));
		value.val.binary.data = &with->root;
		value.val.binary.len = VARSIZE(with) - VARHDRSZ;
		(void) pushJsonbValue(&state, WJB_ELEM, &value);
	}
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_ARRAY, NULL));
}

/* All tasks must be over before all are done anew. */
static void
check_finished(const pg_uuid_t *id, List *steps)
{
	ListCell   *lc;

	foreach(lc, steps)
	{
		TaskqStep  *step = lfirst(lc);
		TaskqRow	row;

		if (step->has_task && taskq_store_find(&step->task, &row) &&
			!taskq_state_final(taskq_row_state(&row)))
			ereport(ERROR,
					(errcode(ERRCODE_TASK_WRONG_STATE),
					 errmsg("workflow %s is not finished", taskq_id_text(id)),
					 errdetail("Task %s is not.", taskq_id_text(&step->task)),
					 errhint("Wait for it, or cancel it with taskq.workflow_cancel(); or retry what has failed only.")));
	}
}

/* Retry those of n steps, in order, that are to be; so they are parsed, too. */
static void
retry_steps(Retried *steps, int n, bool all)
{
	TaskqSteps	defs;
	List	   *list = NIL;

	for (int i = 0; i < n; i++)
		list = lappend(list, steps[i].step);
	taskq_steps_parse(definitions_of(list), &defs);
	for (int i = 0; i < n; i++)
	{
		char		policy = policy_of(steps[i].step->definition);
		pg_uuid_t  *depends = palloc(sizeof(pg_uuid_t) *
									 Max(defs.steps[i].ndepends, 1));
		int			ndepends = 0;
		bool		after_renewed = false;
		TaskqRow	row;

		CHECK_FOR_INTERRUPTS();
		for (int j = 0; j < defs.steps[i].ndepends; j++)
		{
			Retried    *other = &steps[defs.steps[i].depends[j]];

			if (!other->there)
				continue;
			after_renewed |= other->renewed;
			depends[ndepends++] = other->task;
		}
		if (steps[i].there && taskq_store_find(&steps[i].task, &row) &&
			(all || to_renew(&row, policy, after_renewed)))
			renew(&steps[i], depends, ndepends, policy);
	}
}

/* The same; what is cancelled and retried by it is told once. */
static void
retry_told(Retried *steps, int n, bool all)
{
	taskq_actions_begin(NULL);
	PG_TRY();
	{
		retry_steps(steps, n, all);
		taskq_actions_write();
	}
	PG_FINALLY();
	{
		taskq_actions_end();
	}
	PG_END_TRY();
}

/* Those of its steps that have a number, in order; how many. */
static int
read_steps(const pg_uuid_t *id, List *list, Retried *steps)
{
	ListCell   *lc;
	int			n = 0;
	int			seen = 0;

	foreach(lc, list)
	{
		TaskqRow	row;

		steps[n].step = lfirst(lc);
		steps[n].task = steps[n].step->task;
		steps[n].there = taskq_step_may_see(steps[n].step, &row);
		seen += steps[n].there;
		n += steps[n].step->no > 0;
	}
	if (seen == 0)
		taskq_workflow_not_found(id);
	return n;
}

/* Return the ids of the new tasks; how many. */
static int
return_renewed(FunctionCallInfo fcinfo, const Retried *steps, int n)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	int			renewed = 0;

	InitMaterializedSRF(fcinfo, MAT_SRF_USE_EXPECTED_DESC);
	for (int i = 0; i < n; i++)
	{
		Datum		value = UUIDPGetDatum(&steps[i].task);
		bool		isnull = false;

		if (steps[i].renewed)
			tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, &value,
								 &isnull);
		renewed += steps[i].renewed;
	}
	return renewed;
}

PG_FUNCTION_INFO_V1(taskq_workflow_retry);

/*
 * taskq_workflow_retry - workflow_retry(id, failed_only) returns the ids of
 * the new tasks
 *
 * Locks the workflow against others who retry in it, and the old tasks.
 * Raises PT404; PT409 when there is nothing to retry.
 */
Datum
taskq_workflow_retry(PG_FUNCTION_ARGS)
{
	pg_uuid_t	id = taskq_arg_id(fcinfo, 0);
	bool		all = !PG_ARGISNULL(1) && !PG_GETARG_BOOL(1);
	List	   *list;
	Retried    *steps;
	int			n;
	int			renewed;

	taskq_workflow_begin("taskq.workflow_retry()");
	taskq_workflow_require_steer(&id, "retry");
	taskq_workflow_lock_briefly(&id);
	list = taskq_steps_of(&id);
	steps = palloc0(sizeof(Retried) * Max(list_length(list), 1));
	n = read_steps(&id, list, steps);
	if (all)
		check_finished(&id, list);
	retry_told(steps, n, all);
	renewed = return_renewed(fcinfo, steps, n);
	if (renewed == 0)
		ereport(ERROR,
				(errcode(ERRCODE_TASK_WRONG_STATE),
				 errmsg("no step of workflow %s has failed or was cancelled", taskq_id_text(&id)),
				 errhint("With failed_only => false it is done anew as a whole.")));
	taskq_workflow_tell("retry", &id, renewed, NULL, false);
	return (Datum) 0;
}
