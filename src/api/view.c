/*-------------------------------------------------------------------------
 *
 * view.c
 *		What INSERT, UPDATE and DELETE of view task mean: over HTTP these are
 *		POST, PATCH and DELETE.
 *
 * A row inserted is a task submitted, a priority updated is a new priority, a
 * row deleted is a task cancelled; with the rights, the errors and the audit
 * of the functions that do so.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "api/action.h"
#include "api/patience.h"
#include "api/steer.h"
#include "api/submit.h"
#include "api/task.h"
#include "base/compat.h"
#include "base/http.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "store/defs.h"
#include "store/rights.h"
#include "store/state.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/rel.h"
#include "utils/typcache.h"

#define VIEW "task"

/* Columns that a new row may have, and which argument of a submit each is. */
static const struct
{
	const char *column;
	int			argument;
}			given[] = {
	{"kind", 0},
	{"payload", 1},
	{"queue", 2 + OPT_QUEUE},
	{"priority", 2 + OPT_PRIORITY},
	{"run_at", 2 + OPT_RUN_AT},
	{"timeout", 2 + OPT_TIMEOUT},
	{"max_attempts", 2 + OPT_MAX_ATTEMPTS},
	{"unique_key", 2 + OPT_UNIQUE_KEY},
	{"concurrency_key", 2 + OPT_CONCURRENCY_KEY},
	{"depends_on", 2 + OPT_DEPENDS_ON},
	{"parent", 2 + OPT_PARENT},
	{"tags", 2 + OPT_TAGS},
	{"metadata", 2 + OPT_METADATA},
	{"options", 2 + OPT_OPTIONS}
};

/* How many rows the statement that a trigger fires for has had, this one too. */
static int
count_row(FunctionCallInfo fcinfo)
{
	int		   *n = fcinfo->flinfo->fn_extra;

	if (n == NULL)
		n = fcinfo->flinfo->fn_extra =
			MemoryContextAllocZero(fcinfo->flinfo->fn_mcxt, sizeof(int));
	return ++* n;
}

static TriggerData *
trigger_data(FunctionCallInfo fcinfo)
{
	if (!CALLED_AS_TRIGGER(fcinfo))
		elog(ERROR, "not called as a trigger of a view");
	return (TriggerData *) fcinfo->context;
}

static pg_uuid_t
row_id(TriggerData *data)
{
	TupleDesc	desc = RelationGetDescr(data->tg_relation);
	bool		isnull;
	Datum		id = SPI_getbinval(data->tg_trigtuple, desc,
								   SPI_fnumber(desc, "id"), &isnull);

	return *DatumGetUUIDP(id);
}

/* ---- submit ---- */

static int
argument_of(const char *column)
{
	for (int i = 0; i < lengthof(given); i++)
	{
		if (strcmp(given[i].column, column) == 0)
			return given[i].argument;
	}
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("column \"%s\" of a new task cannot be given", column),
			 errhint("Columns for that are kind, payload, queue, priority, run_at, timeout, max_attempts, unique_key, concurrency_key, depends_on, parent, tags, metadata and options; taskq.task_submit() has more.")));
	return 0;
}

static pg_uuid_t *
submit_row(HeapTuple tuple, TupleDesc desc)
{
	LOCAL_FCINFO(call, 2 + OPT_COUNT);
	Datum		id;

	InitFunctionCallInfoData(*call, NULL, 2 + OPT_COUNT, InvalidOid, NULL,
							 NULL);
	for (int i = 0; i < 2 + OPT_COUNT; i++)
		call->args[i].isnull = true;
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute column = TupleDescAttr(desc, i);
		NullableDatum *argument;
		bool		isnull;
		Datum		value = heap_getattr(tuple, i + 1, desc, &isnull);

		if (isnull)
			continue;
		argument = &call->args[argument_of(NameStr(column->attname))];
		argument->isnull = false;
		argument->value = column->atttypid == INT2OID
			? Int32GetDatum(DatumGetInt16(value)) : value;
	}
	id = taskq_submit(call);
	return DatumGetUUIDP(id);
}

/* Does the client, or who reads RETURNING, look at the row? */
static bool
row_wanted(void)
{
	char	   *prefer;

	if (!taskq_http_is("POST", VIEW))
		return true;
	prefer = taskq_http_header("prefer");
	return prefer != NULL &&
		strstr(prefer, "return=representation") != NULL;
}

static void
put_row(void *to, HeapTupleHeader row)
{
	HeapTuple	tuple = palloc0(sizeof(HeapTupleData));

	tuple->t_len = HeapTupleHeaderGetDatumLength(row);
	tuple->t_data = row;
	*(HeapTuple *) to = heap_copytuple(tuple);
}

/*
 * What there is instead of the row that was inserted: the task.  One that
 * has the key already may be another's, of which the id alone is told.
 */
static HeapTuple
submitted_row(HeapTuple tuple, TupleDesc desc, const pg_uuid_t *id)
{
	int			column = SPI_fnumber(desc, "id");
	Datum		value = UUIDPGetDatum(id);
	bool		isnull = false;
	HeapTuple	row = NULL;

	if (row_wanted())
		taskq_task_rows(id, 1, put_row, &row);
	return row != NULL ? row
		: heap_modify_tuple_by_cols(tuple, desc, 1, &column, &value, &isnull);
}

/* 202: it is to be done; where to ask for it, if it is one. */
static void
answer_submitted(const pg_uuid_t *id, int n)
{
	if (!taskq_http_is("POST", VIEW))
		return;
	if (n == 1)
		taskq_http_respond("202",
						   psprintf("[{\"Location\": \"/%s?id=eq.%s\"}]",
									VIEW, taskq_id_text(id)));
	else if (n == 2)
		taskq_http_respond(NULL, "[]");
}

PG_FUNCTION_INFO_V1(taskq_view_submit);

/*
 * taskq_view_submit - trigger: INSERT INTO taskq.task submits
 *
 * The row that it returns is the task's; over HTTP only if it was asked for.
 * Raises 22023 for a column that says what only taskq knows, and what
 * task_submit raises.
 */
Datum
taskq_view_submit(PG_FUNCTION_ARGS)
{
	TriggerData *data = trigger_data(fcinfo);
	TupleDesc	desc = RelationGetDescr(data->tg_relation);
	pg_uuid_t  *id = submit_row(data->tg_trigtuple, desc);

	answer_submitted(id, count_row(fcinfo));
	return PointerGetDatum(submitted_row(data->tg_trigtuple, desc, id));
}

/* ---- steer ---- */

/*
 * Rows that the statement steers which was begun last.  What is counted for
 * an error is each trigger's own, see count_row.
 */
static int	steered = 0;

/* A filter that was forgotten must not cancel what there is. */
static void
steer_one(FunctionCallInfo fcinfo)
{
	steered++;
	if (count_row(fcinfo) == 1)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_TASK_BAD_REQUEST),
			 errmsg("more than one task is changed at once"),
			 errdetail("Nothing was changed."),
			 errhint("Name one task (id=eq.<its id>), or use taskq.task_bulk() for many.")));
}

static bool
column_changed(TriggerData *data, int i)
{
	TupleDesc	desc = RelationGetDescr(data->tg_relation);
	Form_pg_attribute column = TupleDescAttr(desc, i);
	bool		was_null;
	bool		is_null;
	Datum		was = heap_getattr(data->tg_trigtuple, i + 1, desc, &was_null);
	Datum		is = heap_getattr(data->tg_newtuple, i + 1, desc, &is_null);

	if (was_null || is_null)
		return was_null != is_null;
	return !datum_image_eq(was, is, column->attbyval, column->attlen);
}

/* Is it the priority alone that is changed, if anything? */
static bool
priority_changed(TriggerData *data)
{
	TupleDesc	desc = RelationGetDescr(data->tg_relation);
	bool		priority = false;

	for (int i = 0; i < desc->natts; i++)
	{
		const char *column = NameStr(TupleDescAttr(desc, i)->attname);

		if (!column_changed(data, i))
			continue;
		if (strcmp(column, "priority") == 0)
			priority = true;
		else
			ereport(ERROR,
					(errcode(ERRCODE_TASK_NO_METHOD),
					 errmsg("view taskq.task cannot be changed in column \"%s\"", column),
					 errhint("Use taskq.task_cancel(), task_retry(), task_reschedule() or task_run_now(); only the priority can be changed here.")));
	}
	return priority;
}

PG_FUNCTION_INFO_V1(taskq_view_prioritize);

/*
 * taskq_view_prioritize - trigger: UPDATE taskq.task SET priority = … is
 * task_set_priority
 *
 * Raises PT405 for any other column, PT400 for the second row of a statement,
 * and what task_set_priority raises.
 */
Datum
taskq_view_prioritize(PG_FUNCTION_ARGS)
{
	TriggerData *data = trigger_data(fcinfo);
	TupleDesc	desc = RelationGetDescr(data->tg_relation);
	pg_uuid_t	id = row_id(data);
	bool		isnull;
	TaskqReordered reordered;
	int			priority;

	steer_one(fcinfo);
	if (!priority_changed(data))
		return PointerGetDatum(data->tg_newtuple);
	priority = DatumGetInt16(SPI_getbinval(data->tg_newtuple, desc,
										   SPI_fnumber(desc, "priority"),
										   &isnull));
	if (isnull)
		taskq_invalid_argument("priority", "must not be null");
	taskq_check_priority(priority);
	taskq_steering_begin("UPDATE of taskq.task");
	taskq_reorder_task(&id, priority, NULL, taskq_busy_until(), false,
					   &reordered);
	return PointerGetDatum(data->tg_newtuple);
}

/* 202 where it is not cancelled yet; PT409 where it will not be. */
static void
answer_cancelled(const pg_uuid_t *id, const TaskqCancelled *cancelled)
{
	TaskqRow	row;

	taskq_task_require(id, &row);
	if (!cancelled->cancelled && taskq_row_state(&row) != TASKQ_CANCELLED)
		ereport(ERROR,
				(errcode(ERRCODE_TASK_WRONG_STATE),
				 errmsg("%s", cancelled->message),
				 errhint("Use taskq.task_delete() to forget it.")));
	if (!taskq_state_final(taskq_row_state(&row)) &&
		taskq_http_is("DELETE", VIEW))
		taskq_http_respond("202", NULL);
}

PG_FUNCTION_INFO_V1(taskq_view_cancel);

/*
 * taskq_view_cancel - trigger: DELETE FROM taskq.task cancels
 *
 * The task stays until its retention is over.  Raises PT400 for the second
 * row of a statement, PT409 for a task that has completed or failed, and what
 * task_cancel raises.
 */
Datum
taskq_view_cancel(PG_FUNCTION_ARGS)
{
	TriggerData *data = trigger_data(fcinfo);
	pg_uuid_t	id = row_id(data);
	TaskqCancelled cancelled;

	steer_one(fcinfo);
	taskq_steering_begin("DELETE of taskq.task");
	taskq_cancel_task(&id, NULL, false, taskq_busy_until(), &cancelled);
	answer_cancelled(&id, &cancelled);
	return PointerGetDatum(data->tg_trigtuple);
}

PG_FUNCTION_INFO_V1(taskq_view_steered);

/*
 * taskq_view_steered - trigger before and after an UPDATE or DELETE of
 * taskq.task
 *
 * Raises PT404 for a request over HTTP that names no task: its answer would
 * be that of one that has changed it.
 */
Datum
taskq_view_steered(PG_FUNCTION_ARGS)
{
	TriggerData *data = trigger_data(fcinfo);

	if (TRIGGER_FIRED_BEFORE(data->tg_event))
		steered = 0;
	else if (steered == 0 && (taskq_http_is("PATCH", VIEW) ||
							  taskq_http_is("DELETE", VIEW)))
		ereport(ERROR,
				(errcode(ERRCODE_TASK_NOT_FOUND),
				 errmsg("no task is found by this filter")));
	return PointerGetDatum(NULL);
}
