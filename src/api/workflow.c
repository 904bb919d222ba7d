/*-------------------------------------------------------------------------
 *
 * workflow.c
 *		Workflows: several tasks that wait for one another, under one id.
 *
 * A workflow is its tasks, nothing else runs it.  Each step is submitted as
 * task_submit would do it, with the same checks, by who submits the workflow.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "api/action.h"
#include "api/patience.h"
#include "api/steer.h"
#include "api/submit.h"
#include "api/task.h"
#include "api/workflow.h"
#include "base/args.h"
#include "base/compat.h"
#include "base/guc.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "store/dependencies.h"
#include "store/rights.h"
#include "store/secrets.h"
#include "store/state.h"
#include "store/steps.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

/* ---- submit ---- */

/* What all steps of a workflow have from its submit. */
typedef struct Workflow
{
	pg_uuid_t	id;
	Jsonb	   *input;
	int			priority;		/* where the step has none */
	bool		has_priority;
	Datum		tags;
	bool		has_tags;
	Datum		metadata;
	bool		has_metadata;
} Workflow;

/* Options of one submit, as task_submit has them. */
typedef struct Options
{
	FunctionCallInfo fcinfo;
	Jsonb	   *definition;
} Options;

static void
set_option(Options *options, int n, Datum value)
{
	options->fcinfo->args[n].value = value;
	options->fcinfo->args[n].isnull = false;
}

static void
set_text(Options *options, int n, const char *member)
{
	char	   *text = taskq_step_text(options->definition, member);

	if (text !=NULL)
		set_option(options, n, CStringGetTextDatum(text));
}

static void
set_interval(Options *options, int n, const char *member)
{
	char	   *text = taskq_step_text(options->definition, member);

	if (text !=NULL)
		set_option(options, n,
				   DirectFunctionCall3(interval_in, CStringGetDatum(text),
									   ObjectIdGetDatum(InvalidOid),
									   Int32GetDatum(-1)));
}

static void
set_integer(Options *options, int n, const char *member)
{
	JsonbValue	value;

	if (taskq_step_member(options->definition, member, &value))
		set_option(options, n,
				   DirectFunctionCall1(numeric_int4,
									   NumericGetDatum(value.val.numeric)));
}

static void
set_tags(Options *options)
{
	JsonbValue	value;
	Datum	   *tags;
	int			n = 0;

	if (!taskq_step_member(options->definition, "tags", &value))
		return;
	if (value.type == jbvString)
	{
		tags = palloc(sizeof(Datum));
		tags[n++] = CStringGetTextDatum(taskq_step_text(options->definition, "tags"));
	}
	else
	{
		tags = palloc(sizeof(Datum) *
					  Max(JsonContainerSize(value.val.binary.data), 1));
		for (uint32 i = 0; i < JsonContainerSize(value.val.binary.data); i++)
		{
			JsonbValue *tag =
			getIthJsonbValueFromContainer(value.val.binary.data, i);

			tags[n++] = PointerGetDatum(cstring_to_text_with_len(tag->val.string.val,
																 tag->val.string.len));
		}
	}
	set_option(options, OPT_TAGS,
			   PointerGetDatum(construct_array(tags, n, TEXTOID, -1, false,
											   TYPALIGN_INT)));
}

/* Member "options", and "run_when", which is one of them. */
static void
set_more_options(Options *options)
{
	JsonbValue	value;
	Datum		more = 0;

	if (taskq_step_member(options->definition, "options", &value))
		more = JsonbPGetDatum(JsonbValueToJsonb(&value));
	if (taskq_step_member(options->definition, "run_when", &value))
	{
		Datum		run_when = DirectFunctionCall1(jsonb_in,
												   CStringGetDatum("{\"run_when\": \"failed\"}"));

		more = more == 0 ? run_when
			: DirectFunctionCall2(jsonb_concat, more, run_when);
	}
	if (more != 0)
		set_option(options, OPT_OPTIONS, more);
}

static void
set_depends(Options *options, const TaskqSteps *steps,
			const TaskqStepDef *step)
{
	Datum	   *ids = palloc(sizeof(Datum) * Max(step->ndepends, 1));

	for (int i = 0; i < step->ndepends; i++)
		ids[i] = UUIDPGetDatum(&steps->steps[step->depends[i]].task);
	if (step->ndepends > 0)
		set_option(options, OPT_DEPENDS_ON,
				   PointerGetDatum(construct_array(ids, step->ndepends,
												   UUIDOID, UUID_LEN, false,
												   TYPALIGN_CHAR)));
}

/* What the step says, and where it does not, what the workflow's submit says. */
static void
set_options(Options *options, const Workflow *workflow,
			const TaskqSteps *steps, const TaskqStepDef *step)
{
	JsonbValue	value;

	set_text(options, OPT_QUEUE, "queue");
	if (workflow->has_priority)
		set_option(options, OPT_PRIORITY, Int32GetDatum(workflow->priority));
	set_integer(options, OPT_PRIORITY, "priority");
	set_interval(options, OPT_DELAY, "delay");
	set_interval(options, OPT_TIMEOUT, "timeout");
	set_integer(options, OPT_MAX_ATTEMPTS, "max_attempts");
	set_text(options, OPT_CONCURRENCY_KEY, "concurrency_key");
	set_depends(options, steps, step);
	set_text(options, OPT_ON_DEPENDENCY_FAILURE, "on_dependency_failure");
	if (workflow->has_tags)
		set_option(options, OPT_TAGS, workflow->tags);
	set_tags(options);
	if (workflow->has_metadata)
		set_option(options, OPT_METADATA, workflow->metadata);
	if (taskq_step_member(step->definition, "metadata", &value))
		set_option(options, OPT_METADATA,
				   JsonbPGetDatum(JsonbValueToJsonb(&value)));
	set_more_options(options);
}

/* What a payload takes from the input. */
typedef struct Input
{
	Jsonb	   *input;
	Size		size;			/* of what was put in */
}			Input;

static bool
resolve_input(const char *path, JsonbValue *value, void *arg)
{
	Input	   *input = arg;

	if (!taskq_reference_value(input->input, path, value))
		value->type = jbvNull;
	if (value->type == jbvBinary)
		input->size += value->val.binary.len;
	/* not only when all of it is there: it may be taken many times */
	if (input->size > (Size) taskq_max_payload * 1024)
		ereport(ERROR,
				(errcode(ERRCODE_TASK_TOO_LARGE),
				 errmsg("payload would be larger than taskq.max_payload with what it takes from the input"),
				 errhint("Take parts of the input, or pass a reference to the data instead.")));
	return true;
}

/* The step's payload, with what it takes from the input. */
static Jsonb *
payload_of(const TaskqStepDef *step, Jsonb *input)
{
	Input		taken = {.input = input};
	JsonbValue	value;
	Jsonb	   *payload;

	if (!taskq_step_member(step->definition, "payload", &value))
		return DatumGetJsonbP(DirectFunctionCall1(jsonb_in,
												  CStringGetDatum("{}")));
	payload = taskq_references_replace(JsonbValueToJsonb(&value),
									   TASKQ_REF_INPUT, resolve_input,
									   &taken);
	taskq_check_size(payload, "payload");
	return payload;
}

/* What is kept of a step: how it was defined, with this payload. */
static Jsonb *
definition_with(Jsonb *definition, Jsonb *payload)
{
	JsonbParseState *state = NULL;
	JsonbValue	key = {.type = jbvString,
	.val.string = {.val = "payload",.len = 7}};
	JsonbValue	value = {.type = jbvBinary,
		.val.binary = {.data = &payload->root,
	.len = VARSIZE(payload) - VARHDRSZ}};
	Jsonb	   *with;

	if (JB_ROOT_IS_SCALAR(payload))
		(void) JsonbExtractScalar(&payload->root, &value);
	(void) pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	(void) pushJsonbValue(&state, WJB_KEY, &key);
	(void) pushJsonbValue(&state, WJB_VALUE, &value);
	with = JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
	return DatumGetJsonbP(DirectFunctionCall2(jsonb_concat,
											  JsonbPGetDatum(definition),
											  JsonbPGetDatum(with)));
}

static void
submit_step(const Workflow *workflow, TaskqSteps *steps, int i, int no)
{
	TaskqStepDef *def = &steps->steps[i];
	TaskqStep	step = {.workflow = workflow->id,.name = def->name,.no = no,
	.has_task = true};
	char	   *kind = taskq_step_text(def->definition, "kind");
	TaskqSubmit submit;
	Jsonb	   *payload = payload_of(def, workflow->input);
	Datum		datum = JsonbPGetDatum(payload);
	Options		options = {.definition = def->definition};

	LOCAL_FCINFO(fcinfo, OPT_COUNT);

	InitFunctionCallInfoData(*fcinfo, NULL, OPT_COUNT, InvalidOid, NULL, NULL);
	for (int arg = 0; arg < OPT_COUNT; arg++)
		fcinfo->args[arg].isnull = true;
	options.fcinfo = fcinfo;
	set_options(&options, workflow, steps, def);
	if (strcmp(kind, TASKQ_SQL_KIND) == 0)
		taskq_invalid("kind \"sql\" is that of SQL commands",
					  "Define a kind whose handler does what the command does.");
	taskq_submit_prepare(&submit, kind, fcinfo, 0);
	taskq_row_set(&submit.row, workflow, UUIDPGetDatum(&workflow->id));
	taskq_row_set(&submit.row, step, CStringGetTextDatum(def->name));
	taskq_submit_rows(&submit, &datum, 1, &def->task);
	step.task = def->task;
	step.definition = definition_with(def->definition, payload);
	taskq_step_insert(&step);
}

/* The same; a payload in memory is enough, there may be 10,000. */
static void
submit_in(MemoryContext context, const Workflow *workflow, TaskqSteps *steps,
		  int i, int no)
{
	MemoryContext old = MemoryContextSwitchTo(context);

	submit_step(workflow, steps, i, no);
	MemoryContextSwitchTo(old);
	MemoryContextReset(context);
}

static void
add_step_context(void *arg)
{
	errcontext("step \"%s\" of a workflow", *(char **) arg);
}

/* "$result" in what a caller gave would be taken for the template's. */
static bool
refuse_reference(const char *path, JsonbValue *value, void *arg)
{
	taskq_invalid("input must not have an object {\"$result\": ...} in it",
				  "Steps of the template take results of others; give that member of argument \"payload\" another name.");
	return false;
}

/* The row that stands for the workflow itself. */
static void
insert_workflow(const Workflow *workflow, const char *name,
				const char *template)
{
	TaskqStep	self = {.workflow = workflow->id,.name = ""};
	JsonbParseState *state = NULL;
	JsonbValue	key = {.type = jbvString};
	const char *const keys[] = {"name", "template"};
	const char *const texts[] = {name, template};

	(void) pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	for (int i = 0; i < lengthof(keys); i++)
	{
		JsonbValue	value = {.type = jbvNull};

		key.val.string.val = unconstify(char *, keys[i]);
		key.val.string.len = strlen(keys[i]);
		if (texts[i] != NULL)
		{
			value.type = jbvString;
			value.val.string.val = unconstify(char *, texts[i]);
			value.val.string.len = strlen(texts[i]);
		}
		(void) pushJsonbValue(&state, WJB_KEY, &key);
		(void) pushJsonbValue(&state, WJB_VALUE, &value);
	}
	self.definition =
		JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
	taskq_step_insert(&self);
}

static void
tell(const char *verb, const pg_uuid_t *id, int n, const char *reason,
	 bool force)
{
	TaskqAction action = {.verb = verb,.object = "workflow",
		.name = taskq_id_text(id),.count = n,.reason = reason,
	.force = force};

	taskq_action(&action);
}

/*
 * Submit the steps.  The arguments of both functions are alike: 1 payload, 3
 * priority, 4 tags, 5 metadata.
 */
static void
submit_workflow(FunctionCallInfo fcinfo, Jsonb *array, const char *name,
				const char *template, Workflow *workflow)
{
	MemoryContext one = AllocSetContextCreate(CurrentMemoryContext,
											  "taskq step",
											  ALLOCSET_DEFAULT_SIZES);
	TaskqSteps	steps;
	char	   *at = NULL;
	ErrorContextCallback context = {.callback = add_step_context,.arg = &at,
	.previous = error_context_stack};

	taskq_steps_parse(array, &steps);
	workflow->input = PG_ARGISNULL(1)
		? DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum("{}")))
		: PG_GETARG_JSONB_P(1);
	taskq_check_size(workflow->input, "payload");
	(void) taskq_references_replace(workflow->input, TASKQ_REF_RESULT,
									refuse_reference, NULL);
	workflow->has_priority = !PG_ARGISNULL(3);
	workflow->priority = PG_ARGISNULL(3) ? 0 : PG_GETARG_INT32(3);
	workflow->has_tags = !PG_ARGISNULL(4);
	workflow->tags = PG_GETARG_DATUM(4);
	workflow->has_metadata = !PG_ARGISNULL(5);
	workflow->metadata = PG_GETARG_DATUM(5);
	taskq_id_make(&workflow->id);
	insert_workflow(workflow, name, template);
	for (int i = 0; i < steps.n; i++)
	{
		CHECK_FOR_INTERRUPTS();
		at = steps.steps[steps.order[i]].name;
		error_context_stack = &context;
		submit_in(one, workflow, &steps, steps.order[i], i + 1);
		error_context_stack = context.previous;
	}
	MemoryContextDelete(one);
	CommandCounterIncrement();
	if (taskq_audit == TASKQ_AUDIT_ALL)
		tell("submit", &workflow->id, steps.n, NULL, false);
}

static void
begin_submit(const char *function)
{
	taskq_require_preload();
	PreventCommandIfReadOnly(function);
	PreventCommandDuringRecovery(function);
	taskq_tenant_check();
	taskq_defs_begin();
}

PG_FUNCTION_INFO_V1(taskq_workflow_submit);

/*
 * taskq_workflow_submit - workflow_submit(steps, payload, name, priority,
 * tags, metadata) returns uuid; raises what task_submit raises, for a step
 */
Datum
taskq_workflow_submit(PG_FUNCTION_ARGS)
{
	Workflow   *workflow = palloc0(sizeof(Workflow));
	char	   *name = taskq_arg_text(fcinfo, 2, NULL);

	begin_submit("taskq.workflow_submit()");
	if (PG_ARGISNULL(0))
		taskq_invalid_argument("steps", "must not be null");
	if (name != NULL)
		taskq_check_name(name, "name");
	taskq_check_size(PG_GETARG_JSONB_P(0), "steps");
	submit_workflow(fcinfo, PG_GETARG_JSONB_P(0), name, NULL, workflow);
	PG_RETURN_UUID_P(&workflow->id);
}

PG_FUNCTION_INFO_V1(taskq_template_submit);

/*
 * taskq_template_submit - template_submit(name, payload, title, priority,
 * tags, metadata) returns uuid; PT404 if there is no such template
 */
Datum
taskq_template_submit(PG_FUNCTION_ARGS)
{
	Workflow   *workflow = palloc0(sizeof(Workflow));
	char	   *name = taskq_arg_name(fcinfo, 0, "name");
	char	   *title = taskq_arg_text(fcinfo, 2, name);
	TaskqTemplate template;

	begin_submit("taskq.template_submit()");
	if (!taskq_template_find(name, &template) ||
		!taskq_tenant_may_see(template.tenant))
		ereport(ERROR,
				(errcode(ERRCODE_TASK_NOT_FOUND),
				 errmsg("template \"%s\" does not exist", name),
				 errhint("View taskq.template lists them.")));
	if (superuser() && !(OidIsValid(template.owner) &&
						 has_privs_of_role(template.owner, GetUserId())))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("superusers submit no workflows of template \"%s\"", name),
				 errdetail("Its owner, role \"%s\", is not a superuser and chooses what its tasks do.",
						   template.owner_name),
				 errhint("Use SET ROLE and submit it as a role that its tasks shall run as, or let a superuser own the template.")));
	taskq_check_name(title, "title");
	submit_workflow(fcinfo, template.steps, title, name, workflow);
	PG_RETURN_UUID_P(&workflow->id);
}

/* ---- those there are ---- */

/* Is it there, and may the caller see it? */
static bool
may_see(const TaskqStep *step, TaskqRow *row)
{
	return step->has_task && taskq_store_find(&step->task, row) &&
		taskq_row_may_see(taskq_lane_get(DatumGetInt32(taskq_row_value(row, lane))),
						  row);
}

static void
not_found(const pg_uuid_t *id)
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
		if (step->name[0] != '\0' && may_see(step, &row))
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
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	if (seen == 0)
		not_found(&id);
	return (Datum) 0;
}

/*
 * Who locks a workflow may steer a task of it: others are not to be kept
 * waiting by who may only look.  Raises PT404, 42501.
 */
static void
require_steer(const pg_uuid_t *id, const char *verb)
{
	List	   *steps = taskq_steps_of(id);
	ListCell   *lc;
	bool		seen = false;

	foreach(lc, steps)
	{
		TaskqRow	row;

		CHECK_FOR_INTERRUPTS();
		if (!may_see(lfirst(lc), &row))
			continue;
		seen = true;
		if (taskq_row_may_steer(taskq_lane_get(DatumGetInt32(taskq_row_value(&row, lane))),
								&row))
			return;
	}
	if (!seen)
		not_found(id);
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("permission denied to %s workflow %s", verb, taskq_id_text(id)),
			 errhint("That is for the role that submitted it, the roles its tasks run as, and members of taskq_operator.")));
}

static bool
is_final(TaskqRow *row)
{
	return taskq_state_final(taskq_row_state(row));
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
		if (!may_see(step, &row))
			continue;
		(*seen)++;
		if (is_final(&row) ||
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

	begin_submit("taskq.workflow_cancel()");
	require_steer(&id, "cancel");
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
		not_found(&id);
	tell("cancel", &id, n, reason, force);
	PG_RETURN_INT32(n);
}

/* ---- retry ---- */

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

	if (taskq_store_find(&retried->task, &row) && !is_final(&row))
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
			!is_final(&row))
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
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	List	   *list;
	ListCell   *lc;
	Retried    *steps;
	int			n = 0;
	int			seen = 0;
	int			renewed = 0;

	begin_submit("taskq.workflow_retry()");
	require_steer(&id, "retry");
	taskq_workflow_lock_briefly(&id);
	list = taskq_steps_of(&id);
	steps = palloc0(sizeof(Retried) * Max(list_length(list), 1));
	foreach(lc, list)
	{
		TaskqRow	row;

		steps[n].step = lfirst(lc);
		steps[n].task = steps[n].step->task;
		steps[n].there = may_see(steps[n].step, &row);
		seen += steps[n].there;
		n += steps[n].step->no > 0;
	}
	if (seen == 0)
		not_found(&id);
	if (all)
		check_finished(&id, list);
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
	if (renewed == 0)
		ereport(ERROR,
				(errcode(ERRCODE_TASK_WRONG_STATE),
				 errmsg("no step of workflow %s has failed or was cancelled", taskq_id_text(&id)),
				 errhint("With failed_only => false it is done anew as a whole.")));
	tell("retry", &id, renewed, NULL, false);
	return (Datum) 0;
}
