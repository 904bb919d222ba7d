/*-------------------------------------------------------------------------
 *
 * filter.c
 *		Which of many tasks: a filter as jsonb, and asking it of a row.
 *
 * A filter only finds tasks that the caller may see and steer: of the others
 * it says nothing.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "api/filter.h"
#include "base/args.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "lanes/live.h"
#include "api/task.h"
#include "store/rights.h"
#include "store/state.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/memutils.h"

/* What is known of a lane. */
typedef struct SeenLane
{
	int32		id;
	bool		suits;
}			SeenLane;

static const char *const state_words[] = {
	"pending", "reserved", "scheduled", "retrying", "blocked", "running",
	"completed", "failed", "cancelled"
};

/* taskq_filter_init - one that asks nothing */
void
taskq_filter_init(TaskqFilter *filter)
{
	HASHCTL		ctl = {.keysize = sizeof(int32),
		.entrysize = sizeof(SeenLane),
	.hcxt = CurrentMemoryContext};

	memset(filter, 0, sizeof(*filter));
	filter->max_priority = PG_INT16_MAX;
	filter->older_than = DT_NOEND;
	filter->lanes = hash_create("taskq filter", 64, &ctl,
								HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	filter->scratch = AllocSetContextCreate(CurrentMemoryContext,
											"taskq filter",
											ALLOCSET_DEFAULT_SIZES);
}

/* ---- from SQL ---- */

pg_noreturn static void
bad_member(const char *member, const char *what)
{
	taskq_invalid(psprintf("%s of filter %s", member, what),
				  "Members of argument \"filter\" are state, kind, queue, tags, tenant, submitted_by, older_than, max_priority, metadata and payload.");
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
set_states(TaskqFilter *filter, const JsonbValue *value)
{
	ListCell   *lc;

	filter->states = strings_of(value, "state");
	foreach(lc, filter->states)
	{
		bool		known = strcmp(lfirst(lc), "") == 0;

		for (int i = 0; i < lengthof(state_words); i++)
			known |= strcmp(state_words[i], lfirst(lc)) == 0;
		if (!known)
			bad_member("state", "must be pending, reserved, scheduled, retrying, blocked, running, completed, failed or cancelled");
	}
}

static void
set_kinds(TaskqFilter *filter, const JsonbValue *value)
{
	filter->kinds = strings_of(value, "kind");
}

static void
set_queues(TaskqFilter *filter, const JsonbValue *value)
{
	filter->queues = strings_of(value, "queue");
}

static void
set_tags(TaskqFilter *filter, const JsonbValue *value)
{
	filter->tags = strings_of(value, "tags");
}

static void
set_tenants(TaskqFilter *filter, const JsonbValue *value)
{
	filter->tenants = strings_of(value, "tenant");
}

static void
set_submitters(TaskqFilter *filter, const JsonbValue *value)
{
	filter->submitters = strings_of(value, "submitted_by");
}

static void
set_older_than(TaskqFilter *filter, const JsonbValue *value)
{
	filter->older_than =
		DatumGetTimestampTz(DirectFunctionCall3(timestamptz_in,
												CStringGetDatum(string_of(value, "older_than")),
												ObjectIdGetDatum(InvalidOid),
												Int32GetDatum(-1)));
}

static void
set_max_priority(TaskqFilter *filter, const JsonbValue *value)
{
	if (value->type != jbvNumeric)
		bad_member("max_priority", "must be a number");
	filter->max_priority =
		DatumGetInt32(DirectFunctionCall1(numeric_int4,
										  NumericGetDatum(value->val.numeric)));
}

static Jsonb *
object_of(const JsonbValue *value, const char *member)
{
	Jsonb	   *json = JsonbValueToJsonb(unconstify(JsonbValue *, value));

	if (!JB_ROOT_IS_OBJECT(json))
		bad_member(member, "must be an object");
	return json;
}

static void
set_metadata(TaskqFilter *filter, const JsonbValue *value)
{
	filter->metadata = object_of(value, "metadata");
}

static void
set_payload(TaskqFilter *filter, const JsonbValue *value)
{
	filter->payload = object_of(value, "payload");
}

static const struct
{
	const char *name;
	void		(*set) (TaskqFilter *filter, const JsonbValue *value);
}			members[] = {
	{"state", set_states},
	{"kind", set_kinds},
	{"queue", set_queues},
	{"tags", set_tags},
	{"tenant", set_tenants},
	{"submitted_by", set_submitters},
	{"older_than", set_older_than},
	{"max_priority", set_max_priority},
	{"metadata", set_metadata},
	{"payload", set_payload},
};

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
		members[i].set(filter, &value);
	}
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
lane_suits(const TaskqFilter *filter, const TaskqLaneDef *lane)
{
	return lane != NULL && lane->priority <= filter->max_priority &&
		listed(filter->kinds, NameStr(lane->kind)) &&
		listed(filter->queues, NameStr(lane->queue));
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

/* Could a task that is stored so have one of the states asked for? */
static bool
stored_state_suits(const TaskqFilter *filter, char state)
{
	if (state != TASKQ_PENDING && state != TASKQ_RUNNING)
		return listed(filter->states, taskq_state_name(state));
	return listed(filter->states, "pending") ||
		listed(filter->states, "reserved") ||
		listed(filter->states, "running");
}

/* ... and has it?  Workers may hold it. */
static bool
state_suits(const TaskqFilter *filter, TaskqRow *row)
{
	static TaskqLive live;
	bool		held;

	if (filter->states == NIL)
		return true;
	held = taskq_task_held(row, &live);
	return listed(filter->states, taskq_task_state(row, held ? &live : NULL));
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
contains(Jsonb *wanted, Datum value, bool isnull)
{
	return wanted == NULL ||
		(!isnull &&
		 DatumGetBool(DirectFunctionCall2(jsonb_contains, value,
										  JsonbPGetDatum(wanted))));
}

static bool
row_suits(const TaskqFilter *filter, TaskqRow *row)
{
	const TaskqLaneDef *lane =
	taskq_lane_get(DatumGetInt32(taskq_row_value(row, lane)));

	return (filter->older_than == DT_NOEND ||
			taskq_id_time(DatumGetUUIDP(taskq_row_value(row, id))) <
			filter->older_than) &&
		(filter->tenants == NIL ||
		 (!taskq_row_isnull(row, tenant) &&
		  listed(filter->tenants,
				 TextDatumGetCString(taskq_row_value(row, tenant))))) &&
		taskq_row_may_see(lane, row) && taskq_row_may_steer(lane, row) &&
		submitter_suits(filter, lane, row) && tags_suit(filter, row) &&
		contains(filter->metadata, taskq_row_value(row, metadata),
				 taskq_row_isnull(row, metadata)) &&
		contains(filter->payload, taskq_row_value(row, payload),
				 taskq_row_isnull(row, payload)) &&
		state_suits(filter, row);
}

/*
 * taskq_filter_row - is the task asked for, and the caller's to steer?
 *
 * First what costs nothing.
 */
bool
taskq_filter_row(TaskqFilter *filter, TaskqRow *row)
{
	MemoryContext old;
	bool		suits;

	if (!stored_state_suits(filter, taskq_row_state(row)) ||
		!taskq_filter_lane(filter, DatumGetInt32(taskq_row_value(row, lane))))
		return false;
	old = MemoryContextSwitchTo(filter->scratch);
	suits = row_suits(filter, row);
	MemoryContextSwitchTo(old);
	MemoryContextReset(filter->scratch);
	return suits;
}
