/*-------------------------------------------------------------------------
 *
 * dependencies.c
 *		Looking at what a task waits for, or has waited for.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "api/dependencies.h"
#include "api/task.h"
#include "base/compat.h"
#include "base/current.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "store/dependencies.h"
#include "store/rights.h"
#include "store/state.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"

#define MAX_LISTED 10000		/* that current_task() lists */

/* taskq_dependency_ids - what a task waits for, or has waited for; how many */
int
taskq_dependency_ids(TaskqRow *row, Datum **ids)
{
	int			n = 0;

	if (!taskq_row_isnull(row, depends_on))
		deconstruct_array(DatumGetArrayTypeP(taskq_row_value(row, depends_on)),
						  UUIDOID, UUID_LEN, false, TYPALIGN_CHAR, ids, NULL,
						  &n);
	return n;
}

/*
 * taskq_dependency_read - what became of a task that another one waits for,
 * whoever may see it
 */
void
taskq_dependency_read(const pg_uuid_t *id, TaskqDependency *dependency)
{
	TaskqLive  *live = palloc(sizeof(TaskqLive));
	bool		found = taskq_store_find(id, &dependency->row);

	dependency->id = *id;
	dependency->lane = NULL;
	dependency->state = NULL;
	if ((!found || taskq_row_state(&dependency->row) == TASKQ_FAILED ||
		 taskq_row_state(&dependency->row) == TASKQ_CANCELLED) &&
		taskq_retry_completed(id, &dependency->id, NULL))
		found = taskq_store_find(&dependency->id, &dependency->row);
	if (!found)
		return;
	dependency->lane =
		taskq_lane_get(DatumGetInt32(taskq_row_value(&dependency->row, lane)));
	dependency->state =
		taskq_task_state(&dependency->row,
						 taskq_task_held(&dependency->row, live) ? live
						 : NULL);
}

static void
push(JsonbParseState **state, const char *name, JsonbValue *value)
{
	JsonbValue	key = {.type = jbvString};

	key.val.string.val = unconstify(char *, name);
	key.val.string.len = strlen(name);
	pushJsonbValue(state, WJB_KEY, &key);
	pushJsonbValue(state, WJB_VALUE, value);
}

static void
push_text(JsonbParseState **state, const char *name, const char *text)
{
	JsonbValue	value = {.type = jbvNull};

	if (text !=NULL)
	{
		value.type = jbvString;
		value.val.string.val = unconstify(char *, text);
		value.val.string.len = strlen(text);
	}
	push(state, name, &value);
}

static void
push_jsonb(JsonbParseState **state, const char *name, bool isnull,
		   Datum datum)
{
	JsonbValue	value = {.type = jbvNull};

	if (!isnull)
		JsonbToJsonbValue(DatumGetJsonbP(datum), &value);
	push(state, name, &value);
}

static void
push_dependency(JsonbParseState **state, TaskqDependency *dependency)
{
	TaskqRow   *row = &dependency->row;
	bool		gone = dependency->lane == NULL;

	pushJsonbValue(state, WJB_BEGIN_OBJECT, NULL);
	push_text(state, "id", taskq_id_text(&dependency->id));
	push_text(state, "kind",
			  gone ? NULL : pstrdup(NameStr(dependency->lane->kind)));
	push_text(state, "state", dependency->state);
	push_jsonb(state, "result", gone || taskq_row_isnull(row, result),
			   taskq_row_value(row, result));
	push_jsonb(state, "error", gone || taskq_row_isnull(row, error),
			   taskq_row_value(row, error));
	pushJsonbValue(state, WJB_END_OBJECT, NULL);
}

/*
 * taskq_dependencies_jsonb - how those ended that a task has waited for, as a
 * JSON array; null if there are none, or more than can be listed
 *
 * For the task itself: who submitted it could see them.
 */
Datum
taskq_dependencies_jsonb(TaskqRow *row, bool *isnull)
{
	JsonbParseState *state = NULL;
	Datum	   *ids;
	int			n = taskq_dependency_ids(row, &ids);

	*isnull = n == 0 || n > MAX_LISTED;
	if (*isnull)
		return (Datum) 0;
	pushJsonbValue(&state, WJB_BEGIN_ARRAY, NULL);
	for (int i = 0; i < n; i++)
	{
		TaskqDependency dependency;

		CHECK_FOR_INTERRUPTS();
		taskq_dependency_read(DatumGetUUIDP(ids[i]), &dependency);
		push_dependency(&state, &dependency);
	}
	return JsonbPGetDatum(JsonbValueToJsonb(pushJsonbValue(&state,
														   WJB_END_ARRAY,
														   NULL)));
}

/* A row of task_dependencies(). */
static void
put_dependency(ReturnSetInfo *rsinfo, const pg_uuid_t *id, bool own)
{
	TaskqDependency dependency;
	TaskqRow   *row = &dependency.row;
	Datum		values[5] = {0};
	bool		nulls[5];
	bool		shown;

	taskq_dependency_read(id, &dependency);
	memset(nulls, true, sizeof(nulls));
	shown = dependency.lane != NULL &&
		(own || taskq_row_may_see(dependency.lane, row));
	values[0] = UUIDPGetDatum(&dependency.id);
	nulls[0] = false;
	if (dependency.state != NULL)
		values[2] = CStringGetTextDatum(dependency.state);
	nulls[2] = dependency.state == NULL;
	if (shown)
	{
		values[1] = CStringGetTextDatum(NameStr(dependency.lane->kind));
		nulls[1] = false;
		values[3] = taskq_row_value(row, result);
		nulls[3] = taskq_row_isnull(row, result);
		values[4] = taskq_row_value(row, error);
		nulls[4] = taskq_row_isnull(row, error);
	}
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
}

/*
 * Does the caller act for the task itself: is it the one that runs here, or
 * one that an external worker of its kind has?
 */
static bool
acts_for(const pg_uuid_t *id)
{
	const TaskqLaneDef *lane;
	const TaskqKind *kind;
	TaskqRow	row;

	if (taskq_in_task() && taskq_id_eq(&taskq_current->id, id))
		return true;
	if (!taskq_store_find(id, &row) ||
		taskq_row_state(&row) != TASKQ_LEASED)
		return false;
	lane = taskq_lane_get(DatumGetInt32(taskq_row_value(&row, lane)));
	kind = lane ? taskq_kind_get(NameStr(lane->kind)) : NULL;
	/* somebody else's kind of the same name is another kind */
	return kind != NULL && kind->owner_id == lane->kind_owner &&
		taskq_kind_may_work(kind) && taskq_row_may_work(kind, &row);
}

PG_FUNCTION_INFO_V1(taskq_task_dependencies);

/*
 * taskq_task_dependencies - task_dependencies(id) returns (task_id, kind,
 * state, result, error) of each task that it waits for, or has waited for
 *
 * What the caller may not see of these is null, but for the task itself and
 * the external worker that has it.  Raises PT404.
 */
Datum
taskq_task_dependencies(PG_FUNCTION_ARGS)
{
	pg_uuid_t	id = taskq_arg_id(fcinfo, 0);
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	bool		own;
	MemoryContext context;
	TaskqRow	row;
	Datum	   *ids;
	int			n;

	taskq_defs_begin();
	InitMaterializedSRF(fcinfo, 0);
	own = acts_for(&id);
	if (!own)
		taskq_task_require(&id, &row);
	else if (!taskq_store_find(&id, &row))
		elog(ERROR, "task %s not found", taskq_id_text(&id));
	n = taskq_dependency_ids(&row, &ids);
	context = AllocSetContextCreate(CurrentMemoryContext, "taskq dependency",
									ALLOCSET_DEFAULT_SIZES);
	for (int i = 0; i < n; i++)
	{
		MemoryContext old = MemoryContextSwitchTo(context);

		CHECK_FOR_INTERRUPTS();
		put_dependency(rsinfo, DatumGetUUIDP(ids[i]), own);
		MemoryContextSwitchTo(old);
		MemoryContextReset(context);
	}
	return (Datum) 0;
}
