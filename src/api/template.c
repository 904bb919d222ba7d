/*-------------------------------------------------------------------------
 *
 * template.c
 *		Steps of workflows, as SQL gives them: checked, put in order, kept as
 *		templates.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "api/action.h"
#include "api/workflow.h"
#include "base/args.h"
#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "fmgr.h"
#include "lanes/enqueue.h"
#include "api/submit.h"
#include "miscadmin.h"
#include "store/rights.h"
#include "store/steps.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/timestamp.h"

#define MAX_STEPS 10000

/* ---- members of a step ---- */

/* taskq_step_member - a member that is there, and not null */
bool
taskq_step_member(Jsonb *definition, const char *member, JsonbValue *value)
{
	return getKeyJsonValueFromContainer(&definition->root, member,
										strlen(member), value) != NULL &&
		value->type != jbvNull;
}

/* taskq_step_text - a member that is a text, or NULL */
char *
taskq_step_text(Jsonb *definition, const char *member)
{
	JsonbValue	value;

	return taskq_step_member(definition, member, &value) &&
		value.type == jbvString
		? pnstrdup(value.val.string.val, value.val.string.len) : NULL;
}

static void
invalid_step(const char *name, const char *message)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("step \"%s\": %s", taskq_clip_name(name), message),
			 errhint("Members of a step are name, kind, payload, depends_on, run_when, on_dependency_failure, queue, priority, delay, timeout, max_attempts, concurrency_key, tags, metadata, options, title and expected_duration; docs/orchestration.md says what they mean.")));
}

static bool
is_text(const JsonbValue *value)
{
	return value->type == jbvString;
}

/* An interval, or NULL if the text is none. */
static Interval *
read_interval(const JsonbValue *value)
{
	MemoryContext context = CurrentMemoryContext;
	Interval   *volatile read = NULL;

	if (value->type != jbvString)
		return NULL;
	PG_TRY();
	{
		read = DatumGetIntervalP(DirectFunctionCall3(interval_in,
													 CStringGetDatum(pnstrdup(value->val.string.val, value->val.string.len)),
													 ObjectIdGetDatum(InvalidOid),
													 Int32GetDatum(-1)));
	}
	PG_CATCH();
	{
		if (ERRCODE_TO_CATEGORY(geterrcode()) != ERRCODE_DATA_EXCEPTION)
			PG_RE_THROW();
		/* it has only read a text: nothing is to be undone */
		MemoryContextSwitchTo(context);
		FlushErrorState();
	}
	PG_END_TRY();
	return read;
}

static bool
is_interval(const JsonbValue *value)
{
	return read_interval(value) != NULL;
}

/* The sum of any number of them can be told, to whoever looks at the view. */
static bool
is_duration(const JsonbValue *value)
{
	Interval   *read = read_interval(value);
	Interval	none = {0};
	Interval	most = {.month = 120};

	/* its parts may be large, with other signs */
	return read != NULL &&
		read->month >= -120 && read->month <= 120 &&
		read->day >= -3660 && read->day <= 3660 &&
		DatumGetBool(DirectFunctionCall2(interval_ge, IntervalPGetDatum(read),
										 IntervalPGetDatum(&none))) &&
		DatumGetBool(DirectFunctionCall2(interval_le, IntervalPGetDatum(read),
										 IntervalPGetDatum(&most)));
}

static bool
is_integer(const JsonbValue *value)
{
	char	   *digits;
	char	   *end;
	long		number;

	if (value->type != jbvNumeric)
		return false;
	digits = DatumGetCString(DirectFunctionCall1(numeric_out,
												 NumericGetDatum(value->val.numeric)));
	errno = 0;
	number = strtol(digits, &end, 10);
	return errno == 0 && *end == '\0' && number >= PG_INT32_MIN &&
		number <= PG_INT32_MAX;
}

static bool
is_texts(const JsonbValue *value)
{
	if (value->type == jbvString)
		return true;
	if (value->type != jbvBinary ||
		!JsonContainerIsArray(value->val.binary.data))
		return false;
	for (uint32 i = 0; i < JsonContainerSize(value->val.binary.data); i++)
	{
		if (getIthJsonbValueFromContainer(value->val.binary.data, i)->type !=
			jbvString)
			return false;
	}
	return true;
}

static bool
is_object(const JsonbValue *value)
{
	return value->type == jbvBinary &&
		JsonContainerIsObject(value->val.binary.data);
}

static bool
is_anything(const JsonbValue *value)
{
	return true;
}

static bool
is_run_when(const JsonbValue *value)
{
	return value->type == jbvString && value->val.string.len == 6 &&
		memcmp(value->val.string.val, "failed", 6) == 0;
}

static bool
is_policy(const JsonbValue *value)
{
	char	   *word;

	if (value->type != jbvString)
		return false;
	word = pnstrdup(value->val.string.val, value->val.string.len);
	return strcmp(word, "cancel") == 0 || strcmp(word, "run") == 0 ||
		strcmp(word, "block") == 0;
}

static const struct
{
	const char *name;
	bool		(*check) (const JsonbValue *value);
	const char *what;
}			members[] = {
	{"name", is_text, "a text"},
	{"kind", is_text, "a text"},
	{"payload", is_anything, ""},
	{"queue", is_text, "a text"},
	{"priority", is_integer, "an integer"},
	{"delay", is_interval, "an interval"},
	{"timeout", is_interval, "an interval"},
	{"max_attempts", is_integer, "an integer"},
	{"concurrency_key", is_text, "a text"},
	{"depends_on", is_texts, "the name of a step, or an array of them"},
	{"on_dependency_failure", is_policy, "\"cancel\", \"run\" or \"block\""},
	{"run_when", is_run_when, "\"failed\""},
	{"tags", is_texts, "an array of texts"},
	{"metadata", is_anything, ""},
	{"options", is_object, "an object"},
	{"title", is_text, "a text"},
	{"expected_duration", is_duration, "an interval of up to ten years"}
};

static void
check_member(const char *step, const JsonbValue *member,
			 const JsonbValue *value)
{
	char	   *name = pnstrdup(member->val.string.val,
								member->val.string.len);

	for (int i = 0; i < lengthof(members); i++)
	{
		if (strcmp(name, members[i].name) != 0)
			continue;
		if (value->type != jbvNull && !members[i].check(value))
			invalid_step(step, psprintf("member \"%s\" must be %s", name,
										members[i].what));
		return;
	}
	invalid_step(step, psprintf("unknown member \"%s\"",
								taskq_clip_name(name)));
}

static void
add_step_context(void *arg)
{
	errcontext("step \"%s\" of a workflow", (char *) arg);
}

static void
check_members(TaskqStepDef *step)
{
	ErrorContextCallback context = {.callback = add_step_context,
	.arg = step->name,.previous = error_context_stack};
	JsonbIterator *iterator = JsonbIteratorInit(&step->definition->root);
	JsonbIteratorToken token;
	JsonbValue	name;
	JsonbValue	value;

	error_context_stack = &context;
	while ((token = JsonbIteratorNext(&iterator, &name, true)) != WJB_DONE)
	{
		if (token != WJB_KEY)
			continue;
		(void) JsonbIteratorNext(&iterator, &value, true);
		check_member(step->name, &name, &value);
	}
	if (taskq_step_text(step->definition, "kind") == NULL)
		invalid_step(step->name, "a step needs member \"kind\"");
	if (taskq_step_member(step->definition, "run_when", &value) &&
		taskq_step_member(step->definition, "on_dependency_failure", &value))
		invalid_step(step->name, "\"run_when\" and \"on_dependency_failure\" exclude each other");
	error_context_stack = context.previous;
}

/* ---- steps and their order ---- */

/* A step's place, by its name. */
typedef struct Place
{
	char		name[NAMEDATALEN];
	int			i;
} Place;

typedef struct Parsing
{
	TaskqSteps *all;
	TaskqStepDef *step;
	HTAB	   *places;
} Parsing;

static void
parse_name(Parsing *parsing, int i, const JsonbValue *element)
{
	TaskqStepDef *step = parsing->step;
	Place	   *place;
	bool		found;

	if (!is_object(element))
		taskq_invalid(psprintf("step %d is not an object", i + 1),
					  "Pass an array of objects, each with a kind, as argument \"steps\".");
	step->definition = JsonbValueToJsonb(unconstify(JsonbValue *, element));
	step->name = taskq_step_text(step->definition, "name");
	if (step->name == NULL)
		step->name = psprintf("%d", i + 1);
	taskq_check_name(step->name, "steps: name");
	if (strchr(step->name, '.') != NULL)
		invalid_step(step->name, "names of steps have no dots in them");
	place = hash_search(parsing->places, step->name, HASH_ENTER, &found);
	if (found)
		invalid_step(step->name, "there are two of this name");
	place->i = i;
}

/* The step depends on the one of this name; what says why. */
static void
add_dependency(Parsing *parsing, const char *name, const char *what)
{
	TaskqStepDef *step = parsing->step;
	Place	   *place = strlen(name) < NAMEDATALEN
	? hash_search(parsing->places, name, HASH_FIND, NULL) : NULL;

	if (place == NULL)
		invalid_step(step->name,
					 psprintf("%s \"%s\" is no step", what,
							  taskq_clip_name(name)));
	if (&parsing->all->steps[place->i] == step)
		invalid_step(step->name, psprintf("%s is the step itself", what));
	for (int i = 0; i < step->ndepends; i++)
	{
		if (step->depends[i] == place->i)
			return;
	}
	step->depends = step->depends == NULL ? palloc(sizeof(int) * 8)
		: (step->ndepends & (step->ndepends - 1)) == 0 && step->ndepends >= 8
		? repalloc(step->depends, sizeof(int) * 2 * step->ndepends)
		: step->depends;
	step->depends[step->ndepends++] = place->i;
}

/* Who takes a step's result waits for it. */
static bool
note_reference(const char *path, JsonbValue *value, void *arg)
{
	add_dependency(arg, pnstrdup(path, strcspn(path, ".")),
				   "the step that \"$result\" names,");
	return false;
}

static void
parse_depends(Parsing *parsing)
{
	Jsonb	   *definition = parsing->step->definition;
	JsonbValue	value;

	if (taskq_step_member(definition, "depends_on", &value) &&
		value.type == jbvString)
		add_dependency(parsing, pnstrdup(value.val.string.val, value.val.string.len),
					   "depends_on:");
	else if (taskq_step_member(definition, "depends_on", &value))
	{
		for (uint32 i = 0; i < JsonContainerSize(value.val.binary.data); i++)
		{
			JsonbValue *name =
			getIthJsonbValueFromContainer(value.val.binary.data, i);

			CHECK_FOR_INTERRUPTS();
			add_dependency(parsing, pnstrdup(name->val.string.val, name->val.string.len),
						   "depends_on:");
		}
	}
	if (taskq_step_member(definition, "payload", &value))
		(void) taskq_references_replace(JsonbValueToJsonb(&value),
										TASKQ_REF_RESULT, note_reference,
										parsing);
	if (parsing->step->ndepends == 0 &&
		taskq_step_member(definition, "run_when", &value))
		invalid_step(parsing->step->name, "what runs only when a dependency failed needs \"depends_on\"");
}

/*
 * Each after those it depends on, otherwise as they were given.  Depth first,
 * with a stack of its own: a chain may be long.
 */
static void
put_in_order(TaskqSteps *steps)
{
	int		   *stack = palloc(sizeof(int) * (steps->n + 1));
	int		   *next = palloc0(sizeof(int) * (steps->n + 1));
	bool	   *open = palloc0(steps->n + 1);
	int			placed = 0;

	steps->order = palloc(sizeof(int) * (steps->n + 1));
	for (int i = 0; i < steps->n; i++)
	{
		int			depth = 0;

		if (steps->steps[i].placed)
			continue;
		stack[depth++] = i;
		open[i] = true;
		while (depth > 0)
		{
			int			at = stack[depth - 1];
			TaskqStepDef *step = &steps->steps[at];

			CHECK_FOR_INTERRUPTS();
			if (next[at] == step->ndepends)
			{
				step->placed = true;
				open[at] = false;
				steps->order[placed++] = at;
				depth--;
				continue;
			}
			at = step->depends[next[at]++];
			if (open[at])
				invalid_step(steps->steps[at].name, "it waits for itself, by way of others");
			if (steps->steps[at].placed)
				continue;
			stack[depth++] = at;
			open[at] = true;
		}
	}
}

/*
 * taskq_steps_parse - check steps, an array of objects, and put them in order
 *
 * Raises 22023, naming the step.
 */
void
taskq_steps_parse(Jsonb *array, TaskqSteps *steps)
{
	HASHCTL		control = {.keysize = NAMEDATALEN,.entrysize = sizeof(Place),
	.hcxt = CurrentMemoryContext};
	Parsing		parsing = {.all = steps};

	if (!JB_ROOT_IS_ARRAY(array) || JB_ROOT_IS_SCALAR(array))
		taskq_invalid("steps is not an array",
					  "Pass a JSON array of objects, each with a kind, as argument \"steps\".");
	steps->n = JB_ROOT_COUNT(array);
	if (steps->n == 0 || steps->n > MAX_STEPS)
		taskq_invalid(psprintf("a workflow has 1 to %d steps", MAX_STEPS),
					  "Pass a JSON array of objects, each with a kind, as argument \"steps\".");
	steps->steps = palloc0(sizeof(TaskqStepDef) * steps->n);
	parsing.places = hash_create("taskq steps", steps->n, &control,
								 HASH_ELEM | HASH_STRINGS | HASH_CONTEXT);
	for (int i = 0; i < steps->n; i++)
	{
		parsing.step = &steps->steps[i];
		parse_name(&parsing, i, getIthJsonbValueFromContainer(&array->root, i));
		check_members(parsing.step);
	}
	for (int i = 0; i < steps->n; i++)
	{
		parsing.step = &steps->steps[i];
		parse_depends(&parsing);
	}
	hash_destroy(parsing.places);
	put_in_order(steps);
}

/* ---- templates ---- */

static void
begin_change(const char *function)
{
	PreventCommandIfReadOnly(function);
	PreventCommandDuringRecovery(function);
	taskq_tenant_check();
	taskq_defs_begin();
}

static bool
has_owner(const TaskqTemplate *template)
{
	return OidIsValid(template->owner) &&
		has_privs_of_role(GetUserId(), template->owner);
}

/* Its owner changes it, and who operates its tenant. */
static void
require_owner(const char *name, const TaskqTemplate *template)
{
	if (superuser() ||
		(has_owner(template) && taskq_tenant_may_see(template->tenant)) ||
		(template->tenant != NULL && !taskq_steers_all() &&
		 taskq_steers_tenant(template->tenant)))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("must be owner of template \"%s\"", name),
			 errhint("Choose another name, or let its owner drop it.")));
}

static void
tell(const char *verb, const char *name, const char *tenant, int32 owner,
	 Datum details)
{
	TaskqAction action = {.verb = verb,.object = "template",.name = name,
	.tenant = tenant,.owner = owner,.details = details};

	taskq_action(&action);
}

PG_FUNCTION_INFO_V1(taskq_template_define);

/*
 * taskq_template_define - template_define(name, steps, description)
 *
 * Locks the table of templates until the transaction ends.  Raises 22023 for
 * steps that are none, 42501 for a template of somebody else.
 */
Datum
taskq_template_define(PG_FUNCTION_ARGS)
{
	char	   *name = taskq_arg_name(fcinfo, 0, "name");
	Datum		values[Natts_template];
	bool		nulls[Natts_template] = {false};
	TaskqTemplate old;
	TaskqSubmit submit;
	TaskqSteps	steps;
	int32		owner;

	begin_change("taskq.template_define()");
	if (PG_ARGISNULL(1))
		taskq_invalid_argument("steps", "must not be null");
	taskq_check_size(PG_GETARG_JSONB_P(1), "steps");
	taskq_steps_parse(PG_GETARG_JSONB_P(1), &steps);
	taskq_submit_new(&submit);
	taskq_submit_claims(&submit);
	owner = taskq_role_id(GetUserId());
	if (taskq_template_find(name, &old))
	{
		require_owner(name, &old);

		/*
		 * Replacing does not make it somebody else's, but of who could not
		 * act as its owner: the owner is trusted.
		 */
		if (has_owner(&old))
			owner = old.owner_id;
		taskq_row_set_null(&submit.row, tenant);
		if (old.tenant != NULL)
			taskq_row_set(&submit.row, tenant,
						  CStringGetTextDatum(old.tenant));
	}
	values[Anum_template_name - 1] = CStringGetTextDatum(name);
	values[Anum_template_steps - 1] = PG_GETARG_DATUM(1);
	values[Anum_template_description - 1] = PG_GETARG_DATUM(2);
	nulls[Anum_template_description - 1] = PG_ARGISNULL(2);
	values[Anum_template_owner - 1] = Int32GetDatum(owner);
	values[Anum_template_tenant - 1] = taskq_row_value(&submit.row, tenant);
	nulls[Anum_template_tenant - 1] = taskq_row_isnull(&submit.row, tenant);
	values[Anum_template_updated_at - 1] =
		TimestampTzGetDatum(GetCurrentTimestamp());
	tell("define", name,
		 taskq_row_isnull(&submit.row, tenant) ? NULL
		 : TextDatumGetCString(taskq_row_value(&submit.row, tenant)),
		 owner, taskq_template_write(name, values, nulls));
	PG_RETURN_VOID();
}

PG_FUNCTION_INFO_V1(taskq_template_drop);

/* taskq_template_drop - template_drop(name); PT404 if there is none */
Datum
taskq_template_drop(PG_FUNCTION_ARGS)
{
	char	   *name = taskq_arg_name(fcinfo, 0, "name");
	TaskqTemplate template;

	begin_change("taskq.template_drop()");
	if (taskq_template_find(name, &template) &&
		taskq_tenant_may_see(template.tenant))
	{
		require_owner(name, &template);
		if (taskq_template_delete(name))
		{
			tell("drop", name, template.tenant, template.owner_id, 0);
			PG_RETURN_VOID();
		}
	}
	ereport(ERROR,
			(errcode(ERRCODE_TASK_NOT_FOUND),
			 errmsg("template \"%s\" does not exist", name),
			 errhint("View taskq.template lists them.")));
	PG_RETURN_VOID();
}
