/*-------------------------------------------------------------------------
 *
 * schedule_task.c
 *		The task of a schedule's run.
 *
 * As its owner would submit it, with the options that the schedule has.  With
 * "foreach" it is a task of SQL commands, of the owner's, that submits those
 * of the objects (api/foreach.c).
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "base/args.h"
#include "base/current.h"
#include "catalog/pg_type.h"
#include "lanes/schedule.h"
#include "miscadmin.h"
#include "store/rights.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/fmgrprotos.h"
#include "utils/json.h"
#include "utils/numeric.h"
#include "utils/timestamp.h"

#define FOREACH_ATTEMPTS 3
#define MAX_TEXT 1024			/* of a key, a tenant */

/* ---- options ---- */

/* What the options of a schedule come to. */
typedef struct TaskOptions
{
	char	   *queue;			/* NULL: the kind's */
	bool		has_priority;
	int			priority;
	TaskqRow   *row;			/* where all the others go */
} TaskOptions;

static void
bad_option(const char *name, const char *shall)
{
	taskq_invalid(psprintf("option \"%s\" of a schedule is not %s", name, shall),
				  "See argument \"options\".");
}

static char *
string_option(const char *name, const JsonbValue *value)
{
	if (value->type != jbvString)
		bad_option(name, "a string");
	return pnstrdup(value->val.string.val, value->val.string.len);
}

static int
number_option(const char *name, const JsonbValue *value)
{
	bool		error = value->type != jbvNumeric;
	int			number = 0;

	if (!error)
		number = numeric_int4_opt_error(value->val.numeric, &error);
	if (error)
		bad_option(name, "a whole number");
	return number;
}

static void
queue_option(TaskOptions *options, const char *name, const JsonbValue *value)
{
	options->queue = string_option(name, value);
	taskq_check_name(options->queue, name);
	if (strcmp(options->queue, "default") != 0 &&
		taskq_queue_get(options->queue) == NULL)
		taskq_invalid(psprintf("queue \"%s\" does not exist", options->queue),
					  "Option \"queue\" names a queue that taskq.queue_define() made; view taskq.queue lists them.");
}

static void
priority_option(TaskOptions *options, const char *name,
				const JsonbValue *value)
{
	options->has_priority = true;
	options->priority = number_option(name, value);
	taskq_check_priority(options->priority);
}

static void
timeout_option(TaskOptions *options, const char *name,
			   const JsonbValue *value)
{
	char	   *text = string_option(name, value);
	Interval   *interval =
	DatumGetIntervalP(DirectFunctionCall3(interval_in, CStringGetDatum(text),
										  ObjectIdGetDatum(InvalidOid),
										  Int32GetDatum(-1)));
	int64		us = taskq_interval_us(interval);

	if (us < 1000)
		bad_option(name, "at least a millisecond");
	taskq_row_set(options->row, timeout_ms, Int64GetDatum(us / 1000));
}

static void
max_attempts_option(TaskOptions *options, const char *name,
					const JsonbValue *value)
{
	int			n = number_option(name, value);

	taskq_check_max_attempts(n);
	taskq_row_set(options->row, max_attempts, Int16GetDatum(n));
}

static void
tags_option(TaskOptions *options, const char *name, const JsonbValue *value)
{
	JsonbContainer *container = value->val.binary.data;
	int			n = value->type == jbvBinary &&
	JsonContainerIsArray(container) ? JsonContainerSize(container) : -1;
	Datum	   *tags = palloc(Max(n, 1) * sizeof(Datum));

	if (n < 0)
		bad_option(name, "an array of strings");
	for (int i = 0; i < n; i++)
		tags[i] = CStringGetTextDatum(string_option(name,
													getIthJsonbValueFromContainer(container, i)));
	taskq_row_set(options->row, tags,
				  PointerGetDatum(construct_array(tags, n, TEXTOID, -1, false,
												  TYPALIGN_INT)));
}

static void
metadata_option(TaskOptions *options, const char *name,
				const JsonbValue *value)
{
	taskq_row_set(options->row, metadata,
				  JsonbPGetDatum(JsonbValueToJsonb(unconstify(JsonbValue *, value))));
}

/* A text of so many bytes at most, for those who have columns for it. */
static Datum
short_text_option(const char *name, const JsonbValue *value)
{
	if (value->type != jbvString || value->val.string.len == 0 ||
		value->val.string.len > MAX_TEXT)
		bad_option(name, psprintf("a string of 1 to %d bytes", MAX_TEXT));
	return PointerGetDatum(cstring_to_text_with_len(value->val.string.val,
													value->val.string.len));
}

static void
concurrency_key_option(TaskOptions *options, const char *name,
					   const JsonbValue *value)
{
	taskq_row_set(options->row, concurrency_key,
				  short_text_option(name, value));
}

/* Who may say that is asked when the schedule is defined. */
static void
tenant_option(TaskOptions *options, const char *name, const JsonbValue *value)
{
	taskq_row_set(options->row, tenant, short_text_option(name, value));
}

static const struct
{
	const char *name;
	void		(*set) (TaskOptions *options, const char *name,
						const JsonbValue *value);
}			known_options[] = {
	{"queue", queue_option},
	{"priority", priority_option},
	{"timeout", timeout_option},
	{"max_attempts", max_attempts_option},
	{"tags", tags_option},
	{"metadata", metadata_option},
	{"concurrency_key", concurrency_key_option},
	{"tenant", tenant_option},
};

static void
set_option(TaskOptions *options, const JsonbValue *name,
		   const JsonbValue *value)
{
	for (int i = 0; i < lengthof(known_options); i++)
	{
		const char *known = known_options[i].name;

		if (name->val.string.len != strlen(known) ||
			memcmp(name->val.string.val, known, strlen(known)) != 0)
			continue;
		known_options[i].set(options, known, value);
		return;
	}
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("options has an unknown member \"%s\"",
					taskq_clip_name(pnstrdup(name->val.string.val,
											 name->val.string.len))),
			 errhint("Members of argument \"options\" are queue, priority, timeout, max_attempts, tags, metadata, concurrency_key and tenant.")));
}

static void
set_options(TaskOptions *options, Jsonb *object)
{
	JsonbIterator *iterator = JsonbIteratorInit(&object->root);
	JsonbIteratorToken token;
	JsonbValue	name;
	JsonbValue	value;

	while ((token = JsonbIteratorNext(&iterator, &name, true)) != WJB_DONE)
	{
		if (token != WJB_KEY)
			continue;
		(void) JsonbIteratorNext(&iterator, &value, true);
		set_option(options, &name, &value);
	}
}

/*
 * taskq_schedule_check_options - raise 22023 unless they can be had
 *
 * Returns the tenant that they name, or 0.
 */
Datum
taskq_schedule_check_options(Jsonb *options)
{
	TaskqRow	row;
	TaskOptions checked = {.row = &row};

	if (!JB_ROOT_IS_OBJECT(options))
		taskq_invalid("options is not an object",
					  "Pass a JSON object as argument \"options\".");
	taskq_check_size(options, "options");
	taskq_store_new_row(&row);
	set_options(&checked, options);
	return taskq_row_isnull(&row, tenant) ? (Datum) 0
		: taskq_row_value(&row, tenant);
}

/* ---- the task ---- */

static void
push_member(JsonbParseState **state, const char *name, const char *value)
{
	JsonbValue	key = {.type = jbvString};
	JsonbValue text = {.type = jbvString};

	key.val.string.val = unconstify(char *, name);
	key.val.string.len = strlen(name);
	text.		val.string.val = unconstify(char *, value);
	text.		val.string.len = strlen(value);

	pushJsonbValue(state, WJB_KEY, &key);
	pushJsonbValue(state, WJB_VALUE, &text);
}

/* A moment as text, palloc'd, in UTC whatever the session's settings. */
static char *
due_text(TimestampTz due)
{
	char	   *text = palloc(MAXDATELEN + 1);
	int			utc = 0;

	JsonEncodeDateTime(text, TimestampTzGetDatum(due), TIMESTAMPTZOID, &utc);
	return text;
}

/* What a task has for options: its schedule, and when it was due. */
static Datum
task_options(const TaskqSchedule *schedule, TimestampTz due)
{
	JsonbParseState *state = NULL;

	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	push_member(&state, "schedule", NameStr(schedule->name));
	push_member(&state, "due", due_text(due));
	return JsonbPGetDatum(JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL)));
}

/* Whose it is, and of which run. */
static void
mark_task(TaskqSubmit *submit, const TaskqSchedule *schedule, TimestampTz due)
{
	taskq_row_set(&submit->row, options, task_options(schedule, due));
	if (schedule->claims != 0)
		taskq_row_set(&submit->row, claims, schedule->claims);
	if (schedule->tenant != 0)
		taskq_row_set(&submit->row, tenant, schedule->tenant);
	if (taskq_in_task())
		taskq_row_set(&submit->row, parent,
					  UUIDPGetDatum(&taskq_current->id));
	taskq_submit_depth(submit);
}

/*
 * taskq_schedule_task - everything about the tasks of a run but their
 * payloads; the user is the owner
 *
 * Raises what a submit raises.
 */
void
taskq_schedule_task(TaskqSubmit *submit, const TaskqSchedule *schedule,
					TimestampTz due)
{
	const TaskqKind *kind = taskq_submit_kind(schedule->kind);
	TaskOptions options = {.row = &submit->row};

	Oid			role = kind->run_as_id != 0 ? kind->run_as_oid : GetUserId();

	taskq_kind_check_scheduled(kind, NameStr(schedule->name),
							   schedule->kind_owner, schedule->kind_version,
							   role);
	taskq_submit_new(submit);
	if (schedule->options != 0)
		set_options(&options, DatumGetJsonbP(schedule->options));
	taskq_submit_place(submit, schedule->kind, kind, role,
					   options.queue ? options.queue
					   : pstrdup(NameStr(kind->queue)),
					   options.has_priority ? options.priority
					   : kind->priority);
	mark_task(submit, schedule, due);
}

/* The task that submits those of the objects; its payload. */
static Datum
foreach_task(TaskqSubmit *submit, const TaskqSchedule *schedule,
			 TimestampTz due)
{
	JsonbParseState *state = NULL;
	TaskOptions options = {.row = &submit->row};

	/* neither kind nor options may be in the way of its tasks */
	taskq_schedule_task(submit, schedule, due);
	taskq_submit_new(submit);
	if (schedule->options != 0)
		set_options(&options, DatumGetJsonbP(schedule->options));
	taskq_row_set(&submit->row, max_attempts, Int16GetDatum(FOREACH_ATTEMPTS));
	taskq_row_set_null(&submit->row, timeout_ms);
	taskq_row_set_null(&submit->row, concurrency_key);
	taskq_submit_place(submit, TASKQ_SQL_KIND, NULL, GetUserId(),
					   options.queue ? options.queue : "default",
					   options.priority);
	mark_task(submit, schedule, due);
	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	push_member(&state, "command",
				psprintf("SELECT taskq.schedule_foreach(%s, %s)",
						 quote_literal_cstr(NameStr(schedule->name)),
						 quote_literal_cstr(due_text(due))));
	return JsonbPGetDatum(JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL)));
}

/* The owner is who it was, and may still have schedules. */
static void
check_owner(const TaskqSchedule *schedule)
{
	if (!OidIsValid(schedule->owner_oid))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("role \"%s\", which owns schedule \"%s\", does not exist any more",
						NameStr(schedule->owner), NameStr(schedule->name)),
				 errhint("Drop the schedule, and define it again as another role.")));
	if (!taskq_role_may_schedule(schedule->owner_oid))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("role \"%s\", which owns schedule \"%s\", may not have schedules any more",
						NameStr(schedule->owner), NameStr(schedule->name)),
				 errhint("Grant taskq_developer to the role, or drop the schedule.")));
}

/*
 * taskq_schedule_submit - make the run of this due time; the state is locked,
 * and not written yet
 *
 * As the owner, whoever calls: it is the owner who may submit the task or
 * not.  Nobody's code runs here.  Raises what the submit raises.
 */
void
taskq_schedule_submit(const TaskqSchedule *schedule,
					  TaskqScheduleState *state, TimestampTz due)
{
	Oid			user;
	int			context;
	TaskqSubmit submit;
	Datum		payload = schedule->payload;

	check_owner(schedule);
	GetUserIdAndSecContext(&user, &context);
	SetUserIdAndSecContext(schedule->owner_oid,
						   context | SECURITY_LOCAL_USERID_CHANGE);
	if (schedule->foreach != NULL)
		payload = foreach_task(&submit, schedule, due);
	else
		taskq_schedule_task(&submit, schedule, due);
	taskq_submit_rows(&submit, &payload, 1, &state->last_task);
	SetUserIdAndSecContext(user, context);
	state->has_task = true;
	state->last_submit = GetCurrentTimestamp();
	state->last_run = due;
	state->runs++;
}
