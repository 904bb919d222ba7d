/*-------------------------------------------------------------------------
 *
 * external.c
 *		Tasks run by programs outside of the server: what is done with a claim.
 *
 * Such a program has no session of its own here: it claims (external_claim.c),
 * works, and comes back over whatever connection.  So its claim is a lease: a
 * row with a random token, committed together with the task's state.  Whoever
 * has the token may extend the lease and end the attempt; when the lease is
 * over the dispatcher takes the task back (timer.c), and the token is worth
 * nothing.
 *
 * Locks: always the task's row first, then its lease.
 *
 * A worker whose connection breaks before the answer is there asks again.  So
 * it is kept how a token ended its attempt, in a label of the task: the same
 * call with the same token gets the same answer.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "api/external.h"
#include "api/patience.h"
#include "api/task.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/shmem.h"
#include "base/watched.h"
#include "fmgr.h"
#include "funcapi.h"
#include "lanes/failures.h"
#include "lanes/lane.h"
#include "lanes/live.h"
#include "lanes/note.h"
#include "lanes/outside.h"
#include "miscadmin.h"
#include "run/complete.h"
#include "store/defs.h"
#include "store/labels.h"
#include "store/leases.h"
#include "store/rights.h"
#include "store/state.h"
#include "store/timers.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/timestamp.h"

#define MIN_LEASE_US USECS_PER_SEC
#define MAX_LEASE_US (30 * USECS_PER_DAY)

/*
 * taskq_lease_arg - argument n, the length of a lease, in microseconds
 *
 * Raises 22023 if it is not between a second and 30 days.
 */
int64
taskq_lease_arg(FunctionCallInfo fcinfo, int n)
{
	int64		us = taskq_arg_interval_us(fcinfo, n, "lease", 0);

	if (us < MIN_LEASE_US || us > MAX_LEASE_US)
		taskq_invalid_argument("lease",
							   "must be between a second and 30 days");
	return us;
}

/*
 * taskq_external_begin - every function for external workers begins with this
 *
 * Raises PT503 where the library is not preloaded, and 25006 where nothing may be
 * written.
 */
void
taskq_external_begin(const char *function)
{
	taskq_require_preload();
	PreventCommandIfReadOnly(function);
	PreventCommandDuringRecovery(function);
	taskq_defs_begin();
}

static bool
has_lease(const pg_uuid_t *id, const pg_uuid_t *token, TaskqLease *lease)
{
	return taskq_lease_find(id, lease) && taskq_id_eq(&lease->token, token);
}

/*
 * Lock a row that somebody may hold who is in no hurry; false if it is gone.
 */
static bool
lock_patiently(const pg_uuid_t *id, TaskqRow *row)
{
	TimestampTz until = taskq_busy_until();
	TaskqLockResult result;

	while ((result = taskq_store_lock(id, false, row)) == TASKQ_BUSY)
		taskq_busy_wait(id, until);
	return result == TASKQ_LOCKED;
}

/* Who works on tasks of this kind may know that there is one. */
static bool
may_know(TaskqRow *row)
{
	const TaskqLaneDef *lane =
	taskq_lane_get(DatumGetInt32(taskq_row_value(row, lane)));
	const TaskqKind *kind = lane ? taskq_kind_get(NameStr(lane->kind)) : NULL;

	/* somebody else's kind of the same name is another kind */
	return kind != NULL && kind->owner_id == lane->kind_owner &&
		taskq_kind_may_work(kind) && taskq_row_may_work(kind, row);
}

/*
 * The token proves the claim, but another tenant's task is none of the
 * caller's business.
 */
static void
require_tenant(TaskqRow *row)
{
	const TaskqLaneDef *lane =
	taskq_lane_get(DatumGetInt32(taskq_row_value(row, lane)));
	const TaskqKind *kind = lane ? taskq_kind_get(NameStr(lane->kind)) : NULL;

	if (kind != NULL ? taskq_row_may_work(kind, row)
		: taskq_row_tenant_visible(row))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_TASK_NOT_FOUND),
			 errmsg("task %s does not exist", taskq_id_text(DatumGetUUIDP(taskq_row_value(row, id)))),
			 errdetail("Or it is not yours to work on.")));
}

/* How an attempt ends, by which call; 0: it goes on. */
typedef enum Ending
{
	GOES_ON = 0,
	BY_COMPLETE = 'c',
	BY_FAIL = 'f',
	BY_RELEASE = 'r'
} Ending;

/* The attempt of a token, whose task's row is locked, ended like this. */
static void
remember_end(TaskqRow *row, const TaskqLease *lease, Ending by, char state)
{
	taskq_labels_add(row, taskq_label_token(&lease->token),
					 (int64) by << 8 | (unsigned char) state);
}

/*
 * The state that a token's attempt was ended with by such a call; 0 if it was
 * not.
 */
static char
ended_before(const pg_uuid_t *id, const pg_uuid_t *token, Ending by)
{
	TaskqLabelled found;
	int			slot = taskq_id_slot(id);

	if (by == GOES_ON || slot < 0 ||
		taskq_labels_scan(slot, taskq_label_token(token), NULL, false, 1,
						  &found) == 0 ||
		!taskq_id_eq(&found.id, id) || found.rank >> 8 != by)
		return 0;
	return found.rank & 0xff;
}

/*
 * Lock the task of this lease; 0, or the state in which the same call, with
 * the same token, has left it before.  Raises PT409 when the token is not, or
 * not any more, that of its lease, PT404 to those who may not know that there
 * is such a task, and PT503 when another session keeps the row for too long.
 */
static char
lock_claimed(FunctionCallInfo fcinfo, Ending by, TaskqRow *row,
			 TaskqLease *lease)
{
	char		ended;
	pg_uuid_t	id = taskq_arg_id(fcinfo, 0);
	bool		valid;

	if (PG_ARGISNULL(1))
		taskq_invalid_argument("token", "must not be null");
	/* first without the lock: who guesses shall not keep others from the row */
	valid = has_lease(&id, PG_GETARG_UUID_P(1), lease) &&
		lock_patiently(&id, row) && taskq_row_state(row) == TASKQ_LEASED &&
		has_lease(&id, PG_GETARG_UUID_P(1), lease) &&
		Min(lease->until, lease->deadline) > taskq_steady_now();
	if (valid)
	{
		require_tenant(row);
		return 0;
	}
	ended = ended_before(&id, PG_GETARG_UUID_P(1), by);
	if (ended != 0 && taskq_store_find(&id, row))
	{
		require_tenant(row);
		return ended;
	}
	if (!taskq_store_find(&id, row) || !may_know(row))
		taskq_task_require(&id, row);
	ereport(ERROR,
			(errcode(ERRCODE_TASK_WRONG_STATE),
			 errmsg("task %s is not claimed with this token", taskq_id_text(&id)),
			 errdetail("The lease has expired, the task was cancelled, or the attempt has been ended already."),
			 errhint("Drop the work. Shorter intervals between heartbeats, or a longer lease, keep a claim.")));
}

/*
 * taskq_claimed_lock - the same for another function, whose arguments begin
 * with id and token
 */
void
taskq_claimed_lock(FunctionCallInfo fcinfo, const char *function,
				   TaskqRow *row, TaskqLease *lease)
{
	taskq_external_begin(function);
	(void) lock_claimed(fcinfo, GOES_ON, row, lease);
}

static bool
tells_progress(FunctionCallInfo fcinfo)
{
	for (int i = 3; i < PG_NARGS(); i++)
	{
		if (!PG_ARGISNULL(i))
			return true;
	}
	return false;
}

/* A step that failed, as the worker tells of it. */
static void
update_failure(TaskqLive *live, Jsonb *told)
{
	char	   *step = NULL;
	char	   *error = NULL;

	if (JB_ROOT_IS_OBJECT(told))
	{
		step = taskq_json_get_text(told, "step");
		error = taskq_json_get_text(told, "error");
	}
	if (step == NULL)
		taskq_invalid_argument("failure_details",
							   "must be objects with a member \"step\"");
	taskq_failures_add(&live->failures,
					   taskq_failure_text(step, error,
										  JsonbPGetDatum(told),
										  "failure_details"));
}

/* Steps that failed since the last heartbeat: one, or an array of them. */
static void
update_failures(TaskqLive *live, Jsonb *told)
{
	bool		many = JB_ROOT_IS_ARRAY(told) && !JB_ROOT_IS_SCALAR(told);
	int			n = many ? JB_ROOT_COUNT(told) : 1;

	taskq_check_size(told, "failure_details");
	for (int i = 0; i < n; i++)
	{
		CHECK_FOR_INTERRUPTS();
		update_failure(live, many
					   ? JsonbValueToJsonb(getIthJsonbValueFromContainer(&told->root, i))
					   : told);
	}
	live->failed_steps =
		Min((int64) Max(live->failed_steps, 0) + n, PG_INT32_MAX);
}

/* Whoever has this lease is heard of; its name. */
static const char *
tell_lease(TaskqRow *row, const TaskqLease *lease)
{
	const char *worker = TextDatumGetCString(taskq_row_value(row, worker));

	taskq_outside_heard(worker, lease->lease_ms * 1000);
	return worker;
}

/* ... and its attempt is over, if this transaction commits. */
static void
tell_end(TaskqRow *row, const TaskqLease *lease, bool completed)
{
	TimestampTz since = DatumGetTimestampTz(taskq_row_value(row, started_at));

	taskq_note_outside(GetUserId(), tell_lease(row, lease), completed,
					   GetCurrentTimestamp() - since);
}

/* What the worker says of its progress, over what it said before. */
static void
update_progress(FunctionCallInfo fcinfo, TaskqLease *lease)
{
	TaskqLive  *live;

	if (!tells_progress(fcinfo))
		return;
	live = palloc0(sizeof(TaskqLive));
	live->failed_steps = -1;
	if (lease->progress != 0)
		taskq_progress_read(lease->progress, live);
	live->has_progress = true;
	if (!PG_ARGISNULL(3))
		live->current = taskq_arg_number(fcinfo, 3, "current");
	if (!PG_ARGISNULL(4))
	{
		live->has_total = true;
		live->total = taskq_arg_number(fcinfo, 4, "total");
	}
	if (!PG_ARGISNULL(5))
	{
		live->has_message = true;
		taskq_clip(live->message, text_to_cstring(PG_GETARG_TEXT_PP(5)));
	}
	if (!PG_ARGISNULL(6))
	{
		char	   *info = JsonbToCString(NULL, &PG_GETARG_JSONB_P(6)->root,
										  0);

		live->info_len = strlen(info);
		if (live->info_len > TASKQ_INFO_SIZE)
			taskq_invalid_argument("info",
								   psprintf("must not be larger than %d bytes",
											TASKQ_INFO_SIZE));
		memcpy(live->info, info, live->info_len);
	}
	if (!PG_ARGISNULL(8))
	{
		live->has_phase = true;
		taskq_clip_phase(live->phase,
						 text_to_cstring(PG_GETARG_TEXT_PP(8)));
	}
	if (!PG_ARGISNULL(9))
		update_failures(live, PG_GETARG_JSONB_P(9));
	if (!PG_ARGISNULL(7))
		live->failed_steps = PG_GETARG_INT32(7);
	lease->progress = taskq_progress_jsonb(live, NULL);
}

PG_FUNCTION_INFO_V1(taskq_task_heartbeat);

/*
 * taskq_task_heartbeat - (id, token, lease, current, total, message, info,
 * failed, phase, failure_details) returns (cancel_requested, lease_until)
 */
Datum
taskq_task_heartbeat(PG_FUNCTION_ARGS)
{
	TaskqRow	row;
	TaskqLease	lease;
	TupleDesc	desc;
	TimestampTz now = GetCurrentTimestamp();
	TimestampTz end;
	Datum		values[2];
	bool		nulls[2] = {false, false};

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	taskq_external_begin("taskq.task_heartbeat()");
	(void) lock_claimed(fcinfo, GOES_ON, &row, &lease);
	if (!PG_ARGISNULL(2))
		lease.lease_ms = taskq_lease_arg(fcinfo, 2) / 1000;
	(void) tell_lease(&row, &lease);
	lease.until = taskq_steady_now() + lease.lease_ms * 1000;
	lease.updated_at = now;
	lease.told |= lease.cancel;
	update_progress(fcinfo, &lease);
	end = now + Min(lease.until, lease.deadline) - taskq_steady_now();
	if (end < lease.timer)
	{
		/*
		 * shorter than before: the timer would come too late; one that comes
		 * early is set anew then
		 */
		taskq_timer_delete(lease.timer, &lease.task);
		lease.timer = end;
		taskq_timer_insert(lease.timer, &lease.task,
						   DatumGetInt32(taskq_row_value(&row, lane)));
		taskq_note_due(lease.timer);
	}
	taskq_lease_update(&lease);
	taskq_watched_note(&lease.task);
	values[0] = BoolGetDatum(lease.cancel);
	values[1] = TimestampTzGetDatum(end);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}

/*
 * The attempt is over, and this transaction says so to others when it
 * commits.
 */
static void
note_ended(TaskqRow *row, char state)
{
	const TaskqLaneDef *lane =
	taskq_lane_get(DatumGetInt32(taskq_row_value(row, lane)));

	if (lane != NULL && taskq_state_final(state))
		taskq_note_final(lane, DatumGetUUIDP(taskq_row_value(row, id)),
						 TASKQ_LEASED, state);
	/* what is announced survives a crash */
	ForceSyncCommit();
}

PG_FUNCTION_INFO_V1(taskq_task_complete);

/*
 * taskq_task_complete - (id, token, result); PT409 when the claim is lost
 *
 * Again with the same token it does nothing.
 */
Datum
taskq_task_complete(PG_FUNCTION_ARGS)
{
	TaskqRow	row;
	TaskqLease	lease;
	char		state;

	taskq_external_begin("taskq.task_complete()");
	if (!PG_ARGISNULL(2))
		taskq_check_result(PG_GETARG_JSONB_P(2));
	if (lock_claimed(fcinfo, BY_COMPLETE, &row, &lease) != 0)
		PG_RETURN_VOID();
	tell_end(&row, &lease, true);
	state =
		taskq_complete(&row,
					   DatumGetTimestampTz(taskq_row_value(&row, started_at)),
					   GetCurrentTimestamp(), NULL,
					   PG_ARGISNULL(2) ? (Datum) 0
					   : JsonbPGetDatum(PG_GETARG_JSONB_P(2)),
					   PG_ARGISNULL(2), lease.progress, (Datum) 0,
					   lease.cancel && lease.told, NULL);
	remember_end(&row, &lease, BY_COMPLETE, state);
	note_ended(&row, state);
	PG_RETURN_VOID();
}

PG_FUNCTION_INFO_V1(taskq_task_fail);

/*
 * taskq_task_fail - (id, token, error, details, retry, type, traceback)
 * returns the new state; PT409 when the claim is lost
 *
 * Again with the same token it does nothing, and returns the same.
 */
Datum
taskq_task_fail(PG_FUNCTION_ARGS)
{
	TaskqFailure failure = {.retry_us = -1,
	.sqlerrcode = ERRCODE_TASK_EXTERNAL};
	ErrorData	error = {.sqlerrcode = ERRCODE_TASK_EXTERNAL};
	TaskqRow	row;
	TaskqLease	lease;
	Jsonb	   *details = PG_ARGISNULL(3) ? NULL : PG_GETARG_JSONB_P(3);
	char		state;

	taskq_external_begin("taskq.task_fail()");
	state = lock_claimed(fcinfo, BY_FAIL, &row, &lease);
	if (state != 0)
		PG_RETURN_TEXT_P(cstring_to_text(taskq_state_name(state)));
	error.message = taskq_arg_text(fcinfo, 2,
								   "the external worker gave no reason");
	if (details != NULL)
	{
		taskq_check_size(details, "details");
		error.detail = JsonbToCString(NULL, &details->root, 0);
	}
	error.datatype_name = taskq_arg_text(fcinfo, 5, NULL);
	failure.id = lease.task;
	failure.started_at =
		DatumGetTimestampTz(taskq_row_value(&row, started_at));
	failure.error = taskq_error_jsonb_with(&error, details,
										   taskq_arg_text(fcinfo, 6, NULL));
	failure.progress = lease.progress;
	failure.no_retry = !PG_ARGISNULL(4) && !PG_GETARG_BOOL(4);
	failure.retry = !failure.no_retry;
	failure.cancelled = lease.cancel;
	tell_end(&row, &lease, false);
	state = taskq_fail_row(&row, &failure);
	remember_end(&row, &lease, BY_FAIL, state);
	note_ended(&row, state);
	PG_RETURN_TEXT_P(cstring_to_text(taskq_state_name(state)));
}

PG_FUNCTION_INFO_V1(taskq_task_release);

/* taskq_task_release - (id, token, delay); PT409 when the claim is lost */
Datum
taskq_task_release(PG_FUNCTION_ARGS)
{
	TaskqChange change = {.to = TASKQ_PENDING};
	const TaskqLaneDef *lane;
	TaskqRow	row;
	TaskqLease	lease;

	taskq_external_begin("taskq.task_release()");
	if (lock_claimed(fcinfo, BY_RELEASE, &row, &lease) != 0)
		PG_RETURN_VOID();
	(void) tell_lease(&row, &lease);
	lane = taskq_lane_get(DatumGetInt32(taskq_row_value(&row, lane)));
	if (lease.cancel)
		change.to = TASKQ_CANCELLED;	/* somebody waits for that */
	else if (!PG_ARGISNULL(2))
	{
		change.to = TASKQ_SCHEDULED;
		change.run_at = taskq_arg_delay(fcinfo, 2);
	}
	if (change.to == TASKQ_CANCELLED)
		change.finished_at = GetCurrentTimestamp();
	else
		/* the attempt did not take place */
		taskq_row_set(&row, attempt,
					  Int16GetDatum(DatumGetInt16(taskq_row_value(&row, attempt)) - 1));
	taskq_state_change(&row, &change);
	remember_end(&row, &lease, BY_RELEASE, change.to);
	if (change.to == TASKQ_SCHEDULED)
	{
		taskq_note_later(lane, 1);
		taskq_note_due(change.run_at);
	}
	else if (change.to == TASKQ_PENDING)
		taskq_note_ready(lane,
						 DatumGetTimestampTz(taskq_row_value(&row, run_at)),
						 &lease.task, 1, false);
	else
		note_ended(&row, change.to);
	PG_RETURN_VOID();
}
