/*-------------------------------------------------------------------------
 *
 * workflow_submit.c
 *		Submits workflows: of steps, or of a template.
 *
 * Each step is submitted as task_submit would do it, with the same checks, by
 * who submits the workflow.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "api/submit.h"
#include "api/workflow.h"
#include "base/args.h"
#include "base/current.h"
#include "base/guc.h"
#include "base/http.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "store/rights.h"
#include "store/state.h"
#include "store/steps.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/resowner.h"

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

/* The workflow whose first step has the request's key. */
static void
request_workflow(const pg_uuid_t *task, pg_uuid_t *id)
{
	TaskqRow	row;

	if (!taskq_store_find(task, &row) || taskq_row_isnull(&row, workflow))
		ereport(ERROR,
				(errcode(ERRCODE_TASK_KEY_REUSED),
				 errmsg("something else was submitted with this Idempotency-Key"),
				 errhint("Send a new key with each new request, and the same one only with the same request again.")));
	*id = *DatumGetUUIDP(taskq_row_value(&row, workflow));
}

/*
 * False if the first step was submitted by the same request before; the
 * workflow is that one's then.
 */
static bool
submit_step(Workflow *workflow, TaskqSteps *steps, int i, int no)
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

	InitFunctionCallInfoData(*fcinfo, NULL, OPT_COUNT, InvalidOid, NULL,
							 NULL);
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
	if (!taskq_submit_once(&submit, datum, &def->task))
	{
		request_workflow(&def->task, &workflow->id);
		return false;
	}
	step.task = def->task;
	step.definition = definition_with(def->definition, payload);
	taskq_step_insert(&step);
	return true;
}

/* The same; a payload in memory is enough, there may be 10,000. */
static bool
submit_in(MemoryContext context, Workflow *workflow, TaskqSteps *steps,
		  int i, int no)
{
	MemoryContext old = MemoryContextSwitchTo(context);
	bool		submitted = submit_step(workflow, steps, i, no);

	MemoryContextSwitchTo(old);
	MemoryContextReset(context);
	return submitted;
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

/*
 * Submit the steps.  The arguments of both functions are alike: 1 payload, 3
 * priority, 4 tags, 5 metadata.  False as submit_step.
 */
static bool
submit_steps(FunctionCallInfo fcinfo, Jsonb *array, const char *name,
			 const char *template, Workflow *workflow)
{
	MemoryContext one = AllocSetContextCreate(CurrentMemoryContext,
											  "taskq step",
											  ALLOCSET_DEFAULT_SIZES);
	TaskqSteps	steps;
	bool		submitted = true;
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
	for (int i = 0; i < steps.n && submitted; i++)
	{
		CHECK_FOR_INTERRUPTS();
		at = steps.steps[steps.order[i]].name;
		error_context_stack = &context;
		submitted = submit_in(one, workflow, &steps, steps.order[i], i + 1);
		error_context_stack = context.previous;
	}
	MemoryContextDelete(one);
	CommandCounterIncrement();
	if (submitted && taskq_audit == TASKQ_AUDIT_ALL)
		taskq_workflow_tell("submit", &workflow->id, steps.n, NULL, false);
	return submitted;
}

/*
 * The same; a request that is repeated (Idempotency-Key) leaves nothing, and
 * has the workflow that the first one submitted.
 */
static void
submit_workflow(FunctionCallInfo fcinfo, Jsonb *array, const char *name,
				const char *template, Workflow *workflow)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;

	if (taskq_in_task() || taskq_http_header("idempotency-key") == NULL)
	{
		(void) submit_steps(fcinfo, array, name, template, workflow);
		return;
	}
	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	if (submit_steps(fcinfo, array, name, template, workflow))
		ReleaseCurrentSubTransaction();
	else
	{
		RollbackAndReleaseCurrentSubTransaction();
		/* what it had made may be in the caches */
		taskq_defs_begin();
	}
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;
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

	taskq_workflow_begin("taskq.workflow_submit()");
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

	taskq_workflow_begin("taskq.template_submit()");
	/* one without tenant is for all, as kinds are */
	if (!taskq_template_find(name, &template) ||
		(template.tenant != NULL && !taskq_tenant_may_see(template.tenant)))
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
