/*-------------------------------------------------------------------------
 *
 * reorder.c
 *		When a task that waits gets its turn: its priority, its time.
 *
 * Another priority is another lane: the task keeps its id, and in the new
 * lane has a row in table "ready" (state.c), since that may have been saved
 * past the id.  A worker that has it reserved in its old lane may still run
 * it: the row's lock decides.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "api/action.h"
#include "api/estimate.h"
#include "api/patience.h"
#include "api/steer.h"
#include "api/task.h"
#include "base/args.h"
#include "base/json.h"
#include "fmgr.h"
#include "funcapi.h"
#include "lanes/note.h"
#include "lanes/position.h"
#include "miscadmin.h"
#include "store/rights.h"
#include "store/state.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

/* Raises PT409: the task does not wait, or not for its time. */
static void
wrong_state(const pg_uuid_t *id, const char *state, const char *what,
			const char *hint)
{
	ereport(ERROR,
			(errcode(ERRCODE_TASK_WRONG_STATE),
			 errmsg("task %s %s", taskq_id_text(id), what),
			 errdetail("It is %s.", state),
			 errhint("%s", hint)));
}

/* One try to lock it; false if somebody else has the row. */
static bool
try_lock(const pg_uuid_t *id, const char *verb, TaskqRow *row,
		 const TaskqLaneDef **lane)
{
	static TaskqLive live;
	bool		held;

	taskq_task_require(id, row);
	*lane = taskq_lane_get(DatumGetInt32(taskq_row_value(row, lane)));
	taskq_require_steer(*lane, row, verb);
	held = taskq_task_held(row, &live);
	if (held && live.running && !live.unfinished)
		return false;			/* has just ended; soon everybody knows */
	if ((held && live.running) || taskq_row_state(row) == TASKQ_LEASED ||
		taskq_row_state(row) == TASKQ_RUNNING ||
		taskq_state_final(taskq_row_state(row)))
		wrong_state(id, taskq_task_state(row, held ? &live : NULL),
					"does not wait",
					"A task that runs is cancelled with taskq.task_cancel(), one that is over run again with taskq.task_retry().");
	return taskq_store_lock(id, false, row) == TASKQ_LOCKED &&
		!taskq_state_final(taskq_row_state(row)) &&
		taskq_row_state(row) != TASKQ_LEASED &&
		taskq_row_state(row) != TASKQ_RUNNING;
}

/*
 * Lock a task that waits and that the caller may steer; verb says for what.
 * Raises PT404, 42501, PT409 if it does not wait, PT503 when another session
 * has it for too long.
 */
static const TaskqLaneDef *
lock_waiting(const pg_uuid_t *id, const char *verb, TimestampTz until,
			 TaskqRow *row)
{
	const TaskqLaneDef *lane;

	while (!try_lock(id, verb, row, &lane))
		taskq_busy_wait(id, until);
	/* another one by now, if it was moved before we had the lock */
	return taskq_lane_get(DatumGetInt32(taskq_row_value(row, lane)));
}

/*
 * taskq_steering_begin - what each function that changes a task begins with
 *
 * Raises what says that nothing can be changed here.
 */
void
taskq_steering_begin(const char *function)
{
	taskq_require_preload();
	PreventCommandIfReadOnly(function);
	PreventCommandDuringRecovery(function);
	taskq_defs_begin();
}

/* ---- priority ---- */

static void
tell_priority(const pg_uuid_t *id, int from, int to, const char *reason)
{
	TaskqAction action = {.verb = "priority",.object = "task",.task = id,
	.reason = reason};
	JsonbParseState *state = NULL;

	taskq_json_begin(&state);
	taskq_json_number(&state, "old", from);
	taskq_json_number(&state, "new", to);
	action.details = taskq_json_end(&state);
	taskq_action(&action);
}

/* It can be moved only where it can be run. */
static void
check_lane(const TaskqLaneDef *lane, const pg_uuid_t *id)
{
	if (!OidIsValid(lane->role_oid))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("role \"%s\", which the task runs as, does not exist any more", NameStr(lane->role_name))));
	if (lane->foreign)
		wrong_state(id, "not run here",
					"was submitted in another database or server",
					"Call taskq.resume() to let tasks of a copy run here.");
}

/* What shared memory is to know of it. */
static void
note_moved(TaskqRow *row, const pg_uuid_t *id, const TaskqLaneDef *from,
		   const TaskqLaneDef *to)
{
	switch (taskq_row_state(row))
	{
		case TASKQ_PENDING:
			taskq_note_claimed(from);
			taskq_note_ready(to,
							 DatumGetTimestampTz(taskq_row_value(row, run_at)),
							 id, 1, false);
			break;
		default:
			taskq_note_later(from, -1);
			taskq_note_later(to, 1);
	}
}

static int64
position_of(const TaskqLaneDef *lane, TaskqRow *row, bool *exact)
{
	if (taskq_row_state(row) != TASKQ_PENDING || taskq_tenant_is_limited() ||
		!taskq_role_may_see(lane->role_oid))
		return 0;
	return taskq_queue_position(lane, row, exact);
}

/*
 * taskq_reorder_task - give a task that waits another priority
 *
 * positions: tell its place in the queue, before and after.
 */
void
taskq_reorder_task(const pg_uuid_t *id, int priority, const char *reason,
				   TimestampTz until, bool positions,
				   TaskqReordered *reordered)
{
	TaskqRow	row;
	const TaskqLaneDef *from = lock_waiting(id, "change", until, &row);
	const TaskqLaneDef *to;
	bool		exact = true;

	check_lane(from, id);
	reordered->old_priority = from->priority;
	reordered->old_position = positions ? position_of(from, &row, &exact) : 0;
	reordered->new_position = reordered->old_position;
	reordered->gain_known = reordered->old_position > 0;
	reordered->gain_us = 0;
	if (from->priority == priority)
		return;
	to = taskq_lane_like(from, priority,
						 taskq_row_isnull(&row, tenant) ? NULL
						 : TextDatumGetCString(taskq_row_value(&row, tenant)));
	if (reordered->gain_known)
		reordered->gain_known = taskq_estimate_gain(from, to, &row,
													&reordered->gain_us);
	if (taskq_row_state(&row) == TASKQ_PENDING)
		taskq_note_touched(from, id);
	taskq_state_move(&row, to->id);
	note_moved(&row, id, from, to);
	if (positions)
		reordered->new_position = position_of(to, &row, &exact);
	/* to the estimates it is still where it was */
	if (!exact && reordered->new_position > 1 && priority < from->priority)
		reordered->new_position--;
	tell_priority(id, reordered->old_priority, priority, reason);
}

PG_FUNCTION_INFO_V1(taskq_task_set_priority);

/*
 * taskq_task_set_priority - task_set_priority(id, priority, reason) returns
 * (task_id, old_priority, new_priority, old_queue_position,
 * new_queue_position, estimated_time_gained)
 *
 * Locks the task's row.  Raises PT404, 42501, PT409 for a task that does not
 * wait, PT503 if another session has the row for too long.
 */
Datum
taskq_task_set_priority(PG_FUNCTION_ARGS)
{
	pg_uuid_t	id = taskq_arg_id(fcinfo, 0);
	char	   *reason = taskq_arg_text(fcinfo, 2, NULL);
	TaskqReordered reordered;
	TupleDesc	desc;
	Datum		values[6];
	bool		nulls[6] = {false};
	Interval	gained = {0};

	if (PG_ARGISNULL(1))
		taskq_invalid_argument("priority", "must not be null");
	taskq_check_priority(PG_GETARG_INT32(1));
	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	taskq_steering_begin("taskq.task_set_priority()");
	taskq_reorder_task(&id, PG_GETARG_INT32(1), reason, taskq_busy_until(),
					   true, &reordered);
	values[0] = UUIDPGetDatum(&id);
	values[1] = Int32GetDatum(reordered.old_priority);
	values[2] = PG_GETARG_DATUM(1);
	values[3] = Int64GetDatum(reordered.old_position);
	nulls[3] = reordered.old_position == 0;
	values[4] = Int64GetDatum(reordered.new_position);
	nulls[4] = reordered.new_position == 0;
	gained.time = reordered.gain_us;
	values[5] = IntervalPGetDatum(&gained);
	nulls[5] = !reordered.gain_known;
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}

/* ---- time ---- */

static void
tell_time(const char *verb, const pg_uuid_t *id, TimestampTz run_at)
{
	TaskqAction action = {.verb = verb,.object = "task",.task = id};
	JsonbParseState *state = NULL;

	taskq_json_begin(&state);
	taskq_json_text(&state, "run_at", timestamptz_to_str(run_at));
	action.details = taskq_json_end(&state);
	taskq_action(&action);
}

/* Pending from now on, though it was to wait for its time. */
static void
make_pending(TaskqRow *row, const pg_uuid_t *id, TimestampTz run_at)
{
	TaskqChange change = {.to = TASKQ_PENDING,.run_at = run_at};
	const TaskqLaneDef *lane =
	taskq_lane_get(DatumGetInt32(taskq_row_value(row, lane)));

	taskq_state_change(row, &change);
	if (!lane->foreign)
		taskq_note_ready(lane, run_at, id, 1, true);
}

/* It is to wait, though it was pending. */
static void
make_scheduled(TaskqRow *row, const pg_uuid_t *id, TimestampTz run_at)
{
	TaskqChange change = {.to = TASKQ_SCHEDULED,.run_at = run_at};
	const TaskqLaneDef *lane =
	taskq_lane_get(DatumGetInt32(taskq_row_value(row, lane)));

	taskq_note_touched(lane, id);
	taskq_state_change(row, &change);
	taskq_note_claimed(lane);
	taskq_note_later(lane, 1);
	taskq_note_due(run_at);
}

static void
refuse_blocked(TaskqRow *row, const pg_uuid_t *id)
{
	if (taskq_row_state(row) == TASKQ_BLOCKED)
		wrong_state(id, "blocked", "waits for other tasks",
					"taskq.task_cancel() cancels it.");
}

/*
 * taskq_reschedule_task - another time for a task that waits; infinity holds
 * it
 */
void
taskq_reschedule_task(const pg_uuid_t *id, TimestampTz run_at,
					  TimestampTz until)
{
	TaskqRow	row;
	bool		now = run_at <= GetCurrentTimestamp();
	bool		pending;

	(void) lock_waiting(id, "change", until, &row);
	refuse_blocked(&row, id);
	pending = taskq_row_state(&row) == TASKQ_PENDING;
	if (pending && !now)
		make_scheduled(&row, id, run_at);
	else if (!pending && now)
		make_pending(&row, id, run_at);
	else if (!pending)
	{
		taskq_state_reschedule(&row, run_at);
		taskq_note_due(run_at);
	}
	tell_time("reschedule", id, run_at);
}

/*
 * taskq_run_task_now - a task that waits for its time, or is held, does not
 * any more
 */
void
taskq_run_task_now(const pg_uuid_t *id, TimestampTz until)
{
	TaskqAction action = {.verb = "run",.object = "task",.task = id};
	TaskqRow	row;

	(void) lock_waiting(id, "run", until, &row);
	refuse_blocked(&row, id);
	if (taskq_row_state(&row) == TASKQ_PENDING)
		wrong_state(id, "pending", "does not wait for its time",
					"It runs when its turn comes; taskq.task_set_priority() lets it pass others.");
	make_pending(&row, id, GetCurrentTimestamp());
	taskq_action(&action);
}

PG_FUNCTION_INFO_V1(taskq_task_run_now);

/*
 * taskq_task_run_now - task_run_now(id); the errors of task_set_priority, and
 * PT409 for a task that is pending or blocked
 */
Datum
taskq_task_run_now(PG_FUNCTION_ARGS)
{
	pg_uuid_t	id = taskq_arg_id(fcinfo, 0);

	taskq_steering_begin("taskq.task_run_now()");
	taskq_run_task_now(&id, taskq_busy_until());
	PG_RETURN_VOID();
}

PG_FUNCTION_INFO_V1(taskq_task_reschedule);

/*
 * taskq_task_reschedule - task_reschedule(id, run_at); the errors of
 * task_set_priority, and PT409 for a task that is blocked
 */
Datum
taskq_task_reschedule(PG_FUNCTION_ARGS)
{
	pg_uuid_t	id = taskq_arg_id(fcinfo, 0);

	if (PG_ARGISNULL(1))
		taskq_invalid_argument("run_at", "must not be null");
	if (PG_GETARG_TIMESTAMPTZ(1) == DT_NOBEGIN)
		taskq_invalid_argument("run_at", "must not be -infinity");
	taskq_steering_begin("taskq.task_reschedule()");
	taskq_reschedule_task(&id, PG_GETARG_TIMESTAMPTZ(1), taskq_busy_until());
	PG_RETURN_VOID();
}
