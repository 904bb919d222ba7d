/*-------------------------------------------------------------------------
 *
 * filter.c
 *		Which of many tasks: a filter as jsonb, and asking it of a row.
 *
 * A filter only finds tasks that the caller may see, and, where it is not only
 * to look at them, steer: of the others it says nothing.  It goes by what view
 * task shows.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "api/filter.h"
#include "api/task.h"
#include "base/args.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "lanes/live.h"
#include "store/rights.h"
#include "store/secrets.h"
#include "store/state.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/formatting.h"
#include "utils/memutils.h"
#include "utils/uuid.h"

/* What is known of a lane. */
typedef struct SeenLane
{
	int32		id;
	bool		suits;
}			SeenLane;

/* A task that a worker holds. */
typedef struct Held
{
	pg_uuid_t	id;
	bool		running;
	int			slot;
	TimestampTz started_at;
	char	   *message;		/* or NULL */
} Held;

static const char *const state_words[] = {
	"pending", "reserved", "scheduled", "retrying", "blocked", "running",
	"completed", "failed", "cancelled"
};

/* Words for several of them, from one to another. */
static const struct
{
	const char *word;
	int			first;
	int			last;
}			state_groups[] = {

	{"waiting", 0, 4},
	{"unfinished", 0, 5},
	{"finished", 6, 8},
	{"ready", 6, 8},
};

/* ---- what workers hold ---- */

static void
remember_held(void *to, const TaskqLive *live)
{
	TaskqFilter *filter = to;
	bool		found;
	Held	   *held = hash_search(filter->held, &live->id, HASH_ENTER, &found);

	held->running = live->running;
	held->slot = live->slot;
	held->started_at = live->started_at;
	held->message = live->has_message ? pstrdup(live->message) : NULL;
}

/* taskq_filter_held - each of the tasks that workers hold */
void
taskq_filter_held(const TaskqFilter *filter,
				  void (*take) (void *to, const pg_uuid_t *id), void *to)
{
	HASH_SEQ_STATUS scan;
	Held	   *held;

	hash_seq_init(&scan, filter->held);
	while ((held = hash_seq_search(&scan)) != NULL)
		take(to, &held->id);
}

/* What holds a task that was read, if anybody does; scratch has room for it. */
static Held *
holder(const TaskqFilter *filter, TaskqRow *row, Held *scratch)
{
	static TaskqLive live;
	Held	   *held;

	if (filter->look)
	{
		held = hash_search(filter->held,
						   DatumGetUUIDP(taskq_row_value(row, id)), HASH_FIND,
						   NULL);
		return held && (held->running ||
						!taskq_state_final(taskq_row_state(row))) ? held
			: NULL;
	}
	if (!taskq_task_held(row, &live))
		return NULL;
	/* put off meanwhile: the worker that has set it aside leaves it alone */
	if (!live.running && taskq_row_state(row) != TASKQ_PENDING &&
		taskq_row_state(row) != TASKQ_RUNNING)
		return NULL;
	scratch->running = live.running;
	scratch->slot = live.slot;
	scratch->started_at = live.started_at;
	scratch->message = live.has_message ? live.message : NULL;
	return scratch;
}

static const char *
state_of(TaskqRow *row, const Held *held)
{
	if (held != NULL)
		return held->running ? "running" : "reserved";
	return taskq_task_state(row, NULL);
}

/*
 * taskq_filter_init - one that asks nothing
 *
 * What workers hold is read now.  look: it is for looking, not for steering,
 * and a task is asked by that; else by what holds it when it is asked.
 */
void
taskq_filter_init(TaskqFilter *filter, bool look)
{
	HASHCTL		lanes = {.keysize = sizeof(int32),
		.entrysize = sizeof(SeenLane),
	.hcxt = CurrentMemoryContext};
	HASHCTL		held = {.keysize = UUID_LEN,.entrysize = sizeof(Held),
	.hcxt = CurrentMemoryContext};

	memset(filter, 0, sizeof(*filter));
	filter->min_priority = PG_INT16_MIN;
	filter->max_priority = PG_INT16_MAX;
	filter->created.from = filter->started.from = filter->finished.from =
		DT_NOBEGIN;
	filter->created.before = filter->started.before =
		filter->finished.before = DT_NOEND;
	filter->look = look;
	filter->lanes = hash_create("taskq filter", 64, &lanes,
								HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	filter->scratch = AllocSetContextCreate(CurrentMemoryContext,
											"taskq filter",
											ALLOCSET_DEFAULT_SIZES);
	filter->held = hash_create("taskq tasks held", 64, &held,
							   HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	taskq_live_each(remember_held, filter);
}

/* ---- from SQL ---- */

pg_noreturn static void
bad_member(const char *member, const char *what)
{
	taskq_invalid(psprintf("%s of filter %s", member, what),
				  "Members of argument \"filter\" are state, kind, category, queue, tags, tenant, submitted_by, run_as, worker, id, parent, workflow, retry_of, created_after, created_before, older_than, started_after, started_before, finished_after, finished_before, min_priority, max_priority, metadata, payload and text.");
}

static char *
string_of(const JsonbValue *value, const char *member)
{
	if (value->type != jbvString)
		bad_member(member, "must be a string");
	return pnstrdup(value->val.string.val, value->val.string.len);
}

/* A string, or a list of them. */
static List *
strings_of(const JsonbValue *value, const char *member)
{
	JsonbIterator *iterator;
	JsonbIteratorToken token;
	JsonbValue	item;
	List	   *list = NIL;

	if (value->type == jbvString)
		return list_make1(string_of(value, member));
	if (value->type != jbvBinary)
		bad_member(member, "must be a string or a list of strings");
	iterator = JsonbIteratorInit(value->val.binary.data);
	if (JsonbIteratorNext(&iterator, &item, true) != WJB_BEGIN_ARRAY)
		bad_member(member, "must be a string or a list of strings");
	while ((token = JsonbIteratorNext(&iterator, &item, true)) == WJB_ELEM)
		list = lappend(list, string_of(&item, member));
	/* a list of none finds nothing */
	return list ? list : list_make1("");
}

static void
set_names(void *to, const JsonbValue *value, const char *member)
{
	*(List **) to = strings_of(value, member);
}

/* The states that a word stands for; NIL: none. */
static List *
states_of(const char *word)
{
	List	   *list = NIL;

	for (int i = 0; i < lengthof(state_words); i++)
	{
		if (strcmp(state_words[i], word) == 0)
			list = lappend(list, unconstify(char *, state_words[i]));
	}
	for (int i = 0; i < lengthof(state_groups); i++)
	{
		if (strcmp(state_groups[i].word, word) != 0)
			continue;
		for (int j = state_groups[i].first; j <= state_groups[i].last; j++)
			list = lappend(list, unconstify(char *, state_words[j]));
	}
	return list;
}

static void
set_states(void *to, const JsonbValue *value, const char *member)
{
	List	   *words = strings_of(value, member);
	List	  **states = to;
	ListCell   *lc;

	*states = NIL;
	foreach(lc, words)
	{
		List	   *more = states_of(lfirst(lc));

		if (more == NIL && strcmp(lfirst(lc), "") != 0)
			bad_member(member, "must be pending, reserved, scheduled, retrying, blocked, running, completed, failed, cancelled, or waiting, unfinished, finished");
		*states = list_concat(*states, more);
	}
	if (*states == NIL)
		*states = list_make1("");
}

static void
set_ids(void *to, const JsonbValue *value, const char *member)
{
	List	   *words = strings_of(value, member);
	List	  **ids = to;
	ListCell   *lc;

	*ids = NIL;
	foreach(lc, words)
	{
		pg_uuid_t  *id = palloc0(sizeof(pg_uuid_t));

		if (strcmp(lfirst(lc), "") != 0)
			id = DatumGetUUIDP(DirectFunctionCall1(uuid_in,
												   CStringGetDatum(lfirst(lc))));
		*ids = lappend(*ids, id);
	}
}

static TimestampTz
time_of(const JsonbValue *value, const char *member)
{
	return DatumGetTimestampTz(DirectFunctionCall3(timestamptz_in,
												   CStringGetDatum(string_of(value, member)),
												   ObjectIdGetDatum(InvalidOid),
												   Int32GetDatum(-1)));
}

static void
set_from(void *to, const JsonbValue *value, const char *member)
{
	((TaskqWhen *) to)->from = Max(((TaskqWhen *) to)->from,
								   time_of(value, member));
}

static void
set_before(void *to, const JsonbValue *value, const char *member)
{
	((TaskqWhen *) to)->before = Min(((TaskqWhen *) to)->before,
									 time_of(value, member));
}

static void
set_number(void *to, const JsonbValue *value, const char *member)
{
	if (value->type != jbvNumeric)
		bad_member(member, "must be a number");
	*(int *) to =
		DatumGetInt32(DirectFunctionCall1(numeric_int4,
										  NumericGetDatum(value->val.numeric)));
}

static void
set_object(void *to, const JsonbValue *value, const char *member)
{
	Jsonb	   *json = JsonbValueToJsonb(unconstify(JsonbValue *, value));

	if (!JB_ROOT_IS_OBJECT(json))
		bad_member(member, "must be an object");
	*(Jsonb **) to = json;
}

static char *
lowered(const char *text)
{
	return str_tolower(text, strlen(text), DEFAULT_COLLATION_OID);
}

static void
set_text(void *to, const JsonbValue *value, const char *member)
{
	*(char **) to = lowered(string_of(value, member));
}

#define MEMBER(name, set, field) {name, set, offsetof(TaskqFilter, field)}

static const struct
{
	const char *name;
	void		(*set) (void *to, const JsonbValue *value, const char *member);
	size_t		offset;
}			members[] = {

	MEMBER("state", set_states, states),
	MEMBER("kind", set_names, kinds),
	MEMBER("category", set_names, categories),
	MEMBER("queue", set_names, queues),
	MEMBER("tags", set_names, tags),
	MEMBER("tag", set_names, tags),
	MEMBER("tenant", set_names, tenants),
	MEMBER("submitted_by", set_names, submitters),
	MEMBER("run_as", set_names, run_as),
	MEMBER("worker", set_names, workers),
	MEMBER("id", set_ids, ids),
	MEMBER("parent", set_ids, parents),
	MEMBER("workflow", set_ids, workflows),
	MEMBER("retry_of", set_ids, retries_of),
	MEMBER("created_after", set_from, created),
	MEMBER("created_before", set_before, created),
	MEMBER("older_than", set_before, created),
	MEMBER("started_after", set_from, started),
	MEMBER("started_before", set_before, started),
	MEMBER("finished_after", set_from, finished),
	MEMBER("finished_before", set_before, finished),
	MEMBER("min_priority", set_number, min_priority),
	MEMBER("max_priority", set_number, max_priority),
	MEMBER("metadata", set_object, metadata),
	MEMBER("payload", set_object, payload),
	MEMBER("text", set_text, text),
};

/* taskq_filter_tenants - ask for the tasks of these */
void
taskq_filter_tenants(TaskqFilter *filter, List *tenants)
{
	int			n = list_length(tenants);

	filter->tenants = tenants;
	filter->tenant_numbers = palloc(sizeof(int64) * Max(n, 1));
	for (int i = 0; i < n; i++)
		filter->tenant_numbers[i] = taskq_tenant_number(list_nth(tenants, i));
}

/*
 * taskq_filter_parse - what the json object asks; 22023 for members that
 * there are not, or of the wrong type
 */
void
taskq_filter_parse(TaskqFilter *filter, Jsonb *json)
{
	JsonbIterator *iterator;
	JsonbIteratorToken token;
	JsonbValue	key;
	JsonbValue	value;

	if (!JB_ROOT_IS_OBJECT(json))
		taskq_invalid("filter must be an object",
					  "Pass a JSON object as argument \"filter\"; {} means all tasks that the action is for.");
	iterator = JsonbIteratorInit(&json->root);
	while ((token = JsonbIteratorNext(&iterator, &key, true)) != WJB_DONE)
	{
		int			i = 0;
		char	   *name;

		if (token != WJB_KEY)
			continue;
		(void) JsonbIteratorNext(&iterator, &value, true);
		name = pnstrdup(key.val.string.val, key.val.string.len);
		while (i < lengthof(members) && strcmp(members[i].name, name) != 0)
			i++;
		if (i == lengthof(members))
			bad_member(taskq_clip_name(name), "is unknown");
		members[i].set((char *) filter + members[i].offset, &value, name);
	}
	taskq_filter_tenants(filter, filter->tenants);
}

/* taskq_filter_names - a list of names that an SQL function was given */
List *
taskq_filter_names(ArrayType *array, const char *argument)
{
	Datum	   *items;
	bool	   *nulls;
	int			n;
	List	   *list = NIL;

	deconstruct_array(array, TEXTOID, -1, false, TYPALIGN_INT, &items, &nulls,
					  &n);
	for (int i = 0; i < n; i++)
	{
		if (nulls[i])
			taskq_invalid_argument(argument, "must not contain nulls");
		list = lappend(list, TextDatumGetCString(items[i]));
	}
	return list ? list : list_make1("");
}

/* ---- asking ---- */

static bool
listed(const List *list, const char *word)
{
	ListCell   *lc;

	if (list == NIL)
		return true;
	foreach(lc, list)
	{
		if (strcmp(lfirst(lc), word) == 0)
			return true;
	}
	return false;
}

static bool
category_suits(const TaskqFilter *filter, const TaskqLaneDef *lane)
{
	const TaskqKind *kind;

	if (filter->categories == NIL)
		return true;
	kind = taskq_kind_get(NameStr(lane->kind));
	return kind != NULL && kind->category != NULL &&
		listed(filter->categories, kind->category);
}

/* Tenants have lanes of their own, or share some. */
static bool
tenant_suits(const TaskqFilter *filter, const TaskqLaneDef *lane)
{
	int			n = list_length(filter->tenants);

	if (filter->tenants == NIL)
		return true;
	for (int i = 0; i < n; i++)
	{
		if (taskq_lane_has_tenant(lane, filter->tenant_numbers[i]))
			return true;
	}
	return false;
}

static bool
lane_suits(const TaskqFilter *filter, const TaskqLaneDef *lane)
{
	return lane != NULL && lane->priority <= filter->max_priority &&
		lane->priority >= filter->min_priority &&
		listed(filter->kinds, NameStr(lane->kind)) &&
		listed(filter->queues, NameStr(lane->queue)) &&
		listed(filter->run_as, NameStr(lane->role_name)) &&
		category_suits(filter, lane) && tenant_suits(filter, lane);
}

/* taskq_filter_by_lane - does it ask for what is the same in a whole lane? */
bool
taskq_filter_by_lane(const TaskqFilter *filter)
{
	return filter->kinds != NIL || filter->queues != NIL ||
		filter->tenants != NIL || filter->run_as != NIL || filter->categories != NIL ||
		filter->max_priority < PG_INT16_MAX ||
		filter->min_priority > PG_INT16_MIN;
}

/*
 * taskq_filter_lane - may tasks of this lane be asked for?
 *
 * Caches of definitions may be dropped meanwhile; what was found stays.
 */
bool
taskq_filter_lane(TaskqFilter *filter, int32 lane)
{
	bool		found;
	SeenLane   *seen = hash_search(filter->lanes, &lane, HASH_FIND, NULL);

	if (seen != NULL)
		return seen->suits;
	found = lane_suits(filter, taskq_lane_get(lane));
	seen = hash_search(filter->lanes, &lane, HASH_ENTER, NULL);
	seen->suits = found;
	return found;
}

/*
 * taskq_filter_stored - could a task that is stored so have one of the states
 * asked for?
 *
 * Whose end is not announced yet runs, for all that others can tell; but it is
 * nothing to be steered any more.
 */
bool
taskq_filter_stored(const TaskqFilter *filter, char state)
{
	if (state != TASKQ_PENDING && state != TASKQ_RUNNING)
		return listed(filter->states, taskq_state_name(state)) ||
			(filter->look && listed(filter->states, "running"));
	return listed(filter->states, "pending") ||
		listed(filter->states, "reserved") ||
		listed(filter->states, "running");
}

/* taskq_filter_state - is it one of the states asked for? */
bool
taskq_filter_state(const TaskqFilter *filter, const char *state)
{
	return listed(filter->states, state);
}

static bool
tags_suit(const TaskqFilter *filter, TaskqRow *row)
{
	Datum	   *items;
	bool	   *nulls;
	int			n;

	if (filter->tags == NIL)
		return true;
	if (taskq_row_isnull(row, tags))
		return false;
	deconstruct_array(DatumGetArrayTypeP(taskq_row_value(row, tags)), TEXTOID,
					  -1, false, TYPALIGN_INT, &items, &nulls, &n);
	for (int i = 0; i < n; i++)
	{
		if (!nulls[i] && listed(filter->tags, TextDatumGetCString(items[i])))
			return true;
	}
	return false;
}

static bool
submitter_suits(const TaskqFilter *filter, const TaskqLaneDef *lane,
				TaskqRow *row)
{
	NameData	name = lane->role_name;
	Oid			oid;

	if (filter->submitters == NIL)
		return true;
	if (!taskq_row_isnull(row, submitted_by) &&
		!taskq_role_read(DatumGetInt32(taskq_row_value(row, submitted_by)),
						 &name, &oid))
		return false;
	return listed(filter->submitters, NameStr(name));
}

static bool
contains(Jsonb *wanted, const TaskqLaneDef *lane, TaskqRow *row, int column)
{
	Datum		shown;

	if (wanted == NULL)
		return true;
	if (row->nulls[column - 1])
		return false;
	/* not what is hidden: who asks would find it out by trying */
	shown = taskq_secrets_shown(row, lane, column);
	return DatumGetBool(DirectFunctionCall2(jsonb_contains, shown,
											JsonbPGetDatum(wanted)));
}

static bool
name_suits(const List *names, TaskqRow *row, int column)
{
	return names == NIL ||
		(!row->nulls[column - 1] &&
		 listed(names, TextDatumGetCString(row->values[column - 1])));
}

static bool
id_suits(const List *ids, TaskqRow *row, int column)
{
	ListCell   *lc;

	if (ids == NIL)
		return true;
	if (row->nulls[column - 1])
		return false;
	foreach(lc, ids)
	{
		if (taskq_id_eq(lfirst(lc), DatumGetUUIDP(row->values[column - 1])))
			return true;
	}
	return false;
}

static bool
when_suits(const TaskqWhen *when, bool known, TimestampTz at)
{
	return (when->from == DT_NOBEGIN && when->before == DT_NOEND) ||
		(known && at >= when->from && at < when->before);
}

/* Has it begun, as view task shows it, and when? */
static bool
started_at(TaskqRow *row, const Held *held, TimestampTz *at)
{
	char		state = taskq_row_state(row);

	*at = 0;
	if (held != NULL)
	{
		*at = held->started_at;
		return held->running && *at != 0;
	}
	if (taskq_row_isnull(row, started_at) ||
		!(taskq_state_final(state) || state == TASKQ_RETRYING ||
		  state == TASKQ_LEASED))
		return false;
	*at = DatumGetTimestampTz(taskq_row_value(row, started_at));
	return true;
}

static bool
finished_at(TaskqRow *row, const Held *held, TimestampTz *at)
{
	*at = 0;
	if (held != NULL || taskq_row_isnull(row, finished_at) ||
		!taskq_state_final(taskq_row_state(row)))
		return false;
	*at = DatumGetTimestampTz(taskq_row_value(row, finished_at));
	return true;
}

static bool
times_suit(const TaskqFilter *filter, TaskqRow *row, const Held *held)
{
	TimestampTz started;
	TimestampTz finished;
	bool		has_started = started_at(row, held, &started);
	bool		has_finished = finished_at(row, held, &finished);

	return when_suits(&filter->started, has_started, started) &&
		when_suits(&filter->finished, has_finished, finished);
}

static bool
worker_suits(const TaskqFilter *filter, TaskqRow *row, const Held *held)
{
	if (filter->workers == NIL)
		return true;
	if (held != NULL)
		return listed(filter->workers, taskq_worker_name(held->slot));
	return name_suits(filter->workers, row, Anum_task_worker);
}

static bool
has_text(const TaskqFilter *filter, const char *text)
{
	return text !=NULL && strstr(lowered(text), filter->text) != NULL;
}

/* A member of jsonb that is a string, or NULL. */
static char *
member_of(TaskqRow *row, int column, const char *name)
{
	JsonbValue	key = {.type = jbvString};
	JsonbValue *value;

	if (row->nulls[column - 1])
		return NULL;
	key.val.string.val = unconstify(char *, name);
	key.val.string.len = strlen(name);
	value = findJsonbValueFromContainer(&DatumGetJsonbP(row->values[column - 1])->root,
										JB_FOBJECT, &key);
	return value && value->type == jbvString
		? pnstrdup(value->val.string.val, value->val.string.len)
		: NULL;
}

static bool
text_suits(const TaskqFilter *filter, TaskqRow *row, const Held *held)
{
	if (filter->text == NULL)
		return true;
	return has_text(filter,
					taskq_id_text(DatumGetUUIDP(taskq_row_value(row, id)))) ||
		(held != NULL && has_text(filter, held->message)) ||
		has_text(filter, member_of(row, Anum_task_progress, "message")) ||
		has_text(filter, member_of(row, Anum_task_error, "message"));
}

static bool
visible(const TaskqFilter *filter, const TaskqLaneDef *lane, TaskqRow *row)
{
	return taskq_row_may_see(lane, row) &&
		(filter->look || taskq_row_may_steer(lane, row));
}

static bool
row_suits(const TaskqFilter *filter, TaskqRow *row)
{
	const TaskqLaneDef *lane =
	taskq_lane_get(DatumGetInt32(taskq_row_value(row, lane)));
	Held		scratch;
	Held	   *held = holder(filter, row, &scratch);

	return listed(filter->states, state_of(row, held)) &&
		when_suits(&filter->created, true,
				   taskq_id_time(DatumGetUUIDP(taskq_row_value(row, id)))) &&
		id_suits(filter->ids, row, Anum_task_id) &&
		id_suits(filter->parents, row, Anum_task_parent) &&
		id_suits(filter->workflows, row, Anum_task_workflow) &&
		id_suits(filter->retries_of, row, Anum_task_retry_of) &&
		name_suits(filter->tenants, row, Anum_task_tenant) &&
		times_suit(filter, row, held) && tags_suit(filter, row) &&
		worker_suits(filter, row, held) && text_suits(filter, row, held) &&
		visible(filter, lane, row) && submitter_suits(filter, lane, row) &&
		contains(filter->metadata, lane, row, Anum_task_metadata) &&
		contains(filter->payload, lane, row, Anum_task_payload);
}

/*
 * taskq_filter_row - is the task asked for, and the caller's to see (and
 * steer)?
 *
 * First what costs nothing.
 */
bool
taskq_filter_row(TaskqFilter *filter, TaskqRow *row)
{
	MemoryContext old;
	bool		suits;

	if (!taskq_filter_stored(filter, taskq_row_state(row)) ||
		!taskq_filter_lane(filter, DatumGetInt32(taskq_row_value(row, lane))))
		return false;
	old = MemoryContextSwitchTo(filter->scratch);
	suits = row_suits(filter, row);
	MemoryContextSwitchTo(old);
	MemoryContextReset(filter->scratch);
	return suits;
}

/*
 * taskq_filter_ran_us - how long a task took, or has taken so far; 0: it has
 * not begun, or that is not known
 */
int64
taskq_filter_ran_us(TaskqFilter *filter, TaskqRow *row)
{
	Held		scratch;
	Held	   *held = holder(filter, row, &scratch);
	TimestampTz started;
	TimestampTz finished;

	if (!started_at(row, held, &started) ||
		taskq_row_state(row) == TASKQ_RETRYING)
		return 0;
	if (!finished_at(row, held, &finished))
		finished = GetCurrentStatementStartTimestamp();
	return Max(finished - started, 0);
}
