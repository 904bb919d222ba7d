/*-------------------------------------------------------------------------
 *
 * cancel.c
 *		Cancelling tasks.
 *
 * A waiting task is cancelled like any other change: its row is locked and
 * changed in the caller's transaction.  A running one has its row locked by
 * its worker, so shared memory is asked first; when the caller commits, the
 * worker is signalled with the number of the task it is meant for, which it
 * compares inside the signal handler.  So a cancel never hits the next task.
 * What was cancelled is kept in a list until the task has come to its end,
 * since its worker may be between two attempts, or undo it with others.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "api/action.h"
#include "api/patience.h"
#include "api/steer.h"
#include "api/task.h"
#include "base/compat.h"
#include "fmgr.h"
#include "funcapi.h"
#include "lanes/cancels.h"
#include "lanes/live.h"
#include "lanes/note.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "run/complete.h"
#include "store/defs.h"
#include "store/rights.h"
#include "store/state.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

/* ---- cancelling ---- */

/* Some kinds let their tasks be cancelled only by force. */
static void
check_cancellable(const TaskqLaneDef *lane, const pg_uuid_t *id, bool force)
{
	if (!force && !taskq_lane_cancellable(lane))
		ereport(ERROR,
				(errcode(ERRCODE_TASK_WRONG_STATE),
				 errmsg("task %s is not to be cancelled", taskq_id_text(id)),
				 errdetail("Kind \"%s\" was defined with cancellable => false.", NameStr(lane->kind)),
				 errhint("Pass force => true to cancel it all the same.")));
}

/*
 * One try; false if somebody else has the row and it is not a worker that we
 * know of.
 */
static bool
try_cancel(const pg_uuid_t *id, const char *reason, bool force,
		   TaskqCancelled *answer)
{
	TaskqLive	live;
	TaskqRow	row;
	const TaskqLaneDef *lane;
	TaskqLockResult result;

	taskq_task_require(id, &row);
	lane = taskq_lane_get(DatumGetInt32(taskq_row_value(&row, lane)));
	taskq_require_steer(lane, &row, "cancel");

	if (taskq_live_find(id, &live) && live.running)
	{
		/* by this very transaction, of which a later task cancels it */
		if (taskq_state_final(taskq_row_state(&row)) &&
			TransactionIdIsCurrentTransactionId(row.xmin))
		{
			answer->message =
				psprintf("the task is already %s",
						 taskq_state_name(taskq_row_state(&row)));
			return true;
		}

		/*
		 * it has just ended, which will be announced soon; or too many are
		 * cancelled at once
		 */
		if (!live.unfinished || taskq_cancels_full(lane->role_oid))
			return false;
		check_cancellable(lane, id, force);
		taskq_note_cancel(lane, live.slot, id, force, reason);
		answer->cancelled = true;
		answer->terminated = force && live.in_midst;
		if (!live.in_midst)
			answer->message =
				"the worker that has the task is told not to commit it";
		else
			answer->message =
				force ? "the worker that runs the task is told to end"
				: "the running task is told to stop";
		return true;
	}
	if (taskq_state_final(taskq_row_state(&row)))
	{
		answer->message = psprintf("the task is already %s",
								   taskq_state_name(taskq_row_state(&row)));
		return true;
	}
	check_cancellable(lane, id, force);
	result = taskq_store_lock(id, false, &row);
	if (result != TASKQ_LOCKED)
		return false;
	if (taskq_state_final(taskq_row_state(&row)))
		return false;			/* look again: it was finished meanwhile */
	answer->cancelled = true;
	if (taskq_row_state(&row) == TASKQ_LEASED && !force)
	{
		taskq_cancel_leased(&row, id, reason);
		answer->message =
			"the external worker that runs the task is told with its next heartbeat";
		return true;
	}
	answer->terminated = taskq_row_state(&row) == TASKQ_LEASED;
	answer->message =
		answer->terminated
		? "the task is cancelled and its external worker's claim is void"
		: "the task is cancelled";
	taskq_cancel_waiting(&row, lane, id, reason);
	return true;
}

/*
 * taskq_cancel_task - cancel a task, and say what came of it; as
 * taskq_task_cancel
 *
 * The reason may be cut.
 */
void
taskq_cancel_task(const pg_uuid_t *id, char *reason, bool force,
				  TimestampTz until, TaskqCancelled *cancelled)
{
	TaskqAction action = {.verb = "cancel",.object = "task",.task = id,
	.reason = reason,.force = force};

	if (reason != NULL && strlen(reason) >= TASKQ_MESSAGE_SIZE)
		reason[pg_mbcliplen(reason, strlen(reason), TASKQ_MESSAGE_SIZE - 1)] =
			'\0';
	memset(cancelled, 0, sizeof(*cancelled));
	while (!try_cancel(id, reason, force, cancelled))
		taskq_busy_wait(id, until);
	if (!cancelled->cancelled)
		return;
	action.outcome = cancelled->message;
	taskq_action(&action);
}

PG_FUNCTION_INFO_V1(taskq_task_cancel);

/*
 * taskq_task_cancel - cancel a task
 *
 * Takes (id uuid, reason text, force bool), returns (task_id, cancelled,
 * terminated, message).  Locks the row of a waiting task.  Raises PT404 for a
 * task that is unknown or not the caller's to see, 42501 for one it may see
 * but not steer, PT409 for one of a kind that refuses it, PT503 if another
 * session holds the row for too long.
 */
Datum
taskq_task_cancel(PG_FUNCTION_ARGS)
{
	pg_uuid_t	id = taskq_arg_id(fcinfo, 0);
	char	   *reason = taskq_arg_text(fcinfo, 1, NULL);
	bool		force = !PG_ARGISNULL(2) && PG_GETARG_BOOL(2);
	TaskqCancelled answer;
	TupleDesc	desc;
	Datum		values[4];
	bool		nulls[4] = {false, false, false, false};

	taskq_require_preload();
	PreventCommandIfReadOnly("taskq.task_cancel()");
	PreventCommandDuringRecovery("taskq.task_cancel()");
	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	taskq_defs_begin();
	taskq_cancel_task(&id, reason, force, taskq_busy_until(), &answer);

	values[0] = UUIDPGetDatum(&id);
	values[1] = BoolGetDatum(answer.cancelled);
	values[2] = BoolGetDatum(answer.terminated);
	values[3] = CStringGetTextDatum(answer.message);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}
