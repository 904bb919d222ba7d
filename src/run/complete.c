/*-------------------------------------------------------------------------
 *
 * complete.c
 *		Recording how an attempt ended.
 *
 * Success is recorded in the task's own transaction, so that effect and state
 * commit together.  Everything else is recorded in a new one, after the
 * task's was rolled back.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "access/xact.h"
#include "base/guc.h"
#include "lanes/announce.h"
#include "lanes/note.h"
#include "miscadmin.h"
#include "run/complete.h"
#include "store/defs.h"
#include "store/leases.h"
#include "store/state.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

/*
 * taskq_row_attempt - the number of the attempt that runs or would run next
 *
 * A task stored as running has its attempt counted already.
 */
int
taskq_row_attempt(TaskqRow *row)
{
	char		state = taskq_row_state(row);

	return DatumGetInt16(taskq_row_value(row, attempt)) +
		(state == TASKQ_RUNNING || state == TASKQ_LEASED ? 0 : 1);
}

/*
 * taskq_complete - record success, in the task's transaction
 *
 * cancelled: the handler ended in an orderly way because it was asked to;
 * what it returned is its partial result.  Returns the new state.
 */
char
taskq_complete(TaskqRow *row, TimestampTz started_at, TimestampTz finished_at,
			   const char *worker, Datum result, bool isnull, Datum progress,
			   Datum resources, bool cancelled, const char *reason)
{
	TaskqChange change = {
		.to = cancelled ? TASKQ_CANCELLED : TASKQ_COMPLETED,
		.attempt = taskq_row_attempt(row),
		.worker = worker,
		.started_at = started_at,
		.finished_at = finished_at,
		.has_result = true,
		.result_isnull = isnull,
		.result = result,
		.progress = progress,
		.resources = resources,
		.cancel_reason = cancelled ? reason : NULL
	};

	if (!isnull &&
		VARSIZE_ANY(DatumGetPointer(result)) > (Size) taskq_max_result * 1024)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("result of %zu bytes is too large", (Size) VARSIZE_ANY(DatumGetPointer(result))),
				 errdetail("The limit is taskq.max_result, %d kB.", taskq_max_result),
				 errhint("Put large results into a table and return their key.")));
	taskq_state_change(row, &change);
	return change.to;
}

#define MAX_CRASHES 2			/* that a task may cause before it fails */

static bool
sqlstate_listed(List *list, int sqlerrcode)
{
	const char *sqlstate = unpack_sql_state(sqlerrcode);
	ListCell   *lc;

	foreach(lc, list)
	{
		const char *item = lfirst(lc);

		if (strncmp(sqlstate, item, strlen(item)) == 0)
			return true;
	}
	return false;
}

/*
 * Would another attempt make sense?  Whoever ran it may say so; an attempt
 * that was lost tells nothing about the task.  Without a list of the kind's
 * own: not when the program is at fault (class 42: syntax, names, rights; 0A:
 * not supported).
 */
static bool
is_retryable(const TaskqKind *kind, const TaskqFailure *failure)
{
	int			sqlerrcode = failure->sqlerrcode;
	int			class = ERRCODE_TO_CATEGORY(sqlerrcode);

	if (failure->no_retry || sqlerrcode == ERRCODE_TASK_NO_RETRY)
		return false;
	if (failure->retry || failure->lost || kind == NULL)
		return true;
	if (kind->retry_on != NIL)
		return sqlstate_listed(kind->retry_on, sqlerrcode);
	return class != ERRCODE_TO_CATEGORY(ERRCODE_SYNTAX_ERROR_OR_ACCESS_RULE_VIOLATION) &&
		class != ERRCODE_FEATURE_NOT_SUPPORTED;
}

/*
 * When to try again: backoff doubles with every attempt, and half of it is
 * drawn by lot, so that tasks that failed together don't come back together
 * ("equal jitter", M. Brooker, Exponential Backoff And Jitter, 2015).
 */
static TimestampTz
retry_time(const TaskqKind *kind, int attempt)
{
	double		ms = Min(ldexp((double) kind->backoff_ms, Min(attempt - 1, 60)),
						 (double) kind->backoff_max_ms);
	uint32		lot;

	if (!pg_strong_random(&lot, sizeof(lot)))
		lot = 0;
	ms = ms / 2 + ms / 2 * lot / PG_UINT32_MAX;
	return GetCurrentTimestamp() + (int64) (ms * 1000);
}

static void
change_after_failure(TaskqRow *row, const TaskqFailure *failure,
					 const TaskqLaneDef *lane, TaskqChange *change)
{
	const TaskqKind *kind = lane ? taskq_kind_get(NameStr(lane->kind)) : NULL;
	int			attempt = taskq_row_attempt(row);
	int			max_attempts = 1;
	bool		retryable;

	if (!taskq_row_isnull(row, max_attempts))
		max_attempts = DatumGetInt16(taskq_row_value(row, max_attempts));
	else if (kind != NULL)
		max_attempts = kind->max_attempts;

	change->attempt = attempt;
	change->worker = failure->worker;
	change->started_at = failure->started_at;
	change->finished_at = GetCurrentTimestamp();
	change->progress = failure->progress;
	change->resources = failure->resources;
	change->error = failure->error;
	change->to = TASKQ_FAILED;
	change->lost = failure->lost;
	if (failure->crashed)
		change->crashes = (taskq_row_isnull(row, crashes)
						   ? 0
						   : DatumGetInt16(taskq_row_value(row, crashes))) +
			1;
	retryable = change->crashes < MAX_CRASHES && is_retryable(kind, failure);
	if (change->error != 0 && !failure->cancelled)
		change->error = taskq_error_retryable(change->error, retryable);
	if (failure->cancelled)
	{
		change->to = TASKQ_CANCELLED;
		change->cancel_reason = failure->reason;
	}
	else if (attempt < max_attempts && retryable)
	{
		static const TaskqKind sql_commands = {.backoff_ms = 1000,
		.backoff_max_ms = 3600000};

		change->to = TASKQ_RETRYING;
		change->run_at = failure->retry && failure->retry_us >= 0
			? GetCurrentTimestamp() + failure->retry_us
			: retry_time(kind ? kind : &sql_commands,
						 attempt);
	}
}

/*
 * taskq_fail_row - record the failure of an attempt at a task that this
 * transaction has locked
 *
 * Returns the new state.
 */
char
taskq_fail_row(TaskqRow *row, const TaskqFailure *failure)
{
	TaskqChange change = {0};
	const TaskqLaneDef *lane;

	change_after_failure(row, failure,
						 taskq_lane_get(DatumGetInt32(taskq_row_value(row, lane))),
						 &change);
	taskq_state_change(row, &change);
	lane = taskq_lane_get(DatumGetInt32(taskq_row_value(row, lane)));
	taskq_tell_failure(row, lane, failure, change.to, change.attempt);
	if (change.to == TASKQ_RETRYING)
	{
		if (lane != NULL)
			taskq_note_later(lane, 1);
		taskq_note_due(change.run_at);
	}
	return change.to;
}

/*
 * taskq_record_failure - record an attempt that failed or was cancelled
 *
 * In a transaction of its own; returns the new state, 0 if the task was
 * brought to its end by somebody else meanwhile, or (unless it is to wait)
 * TASKQ_ROW_BUSY if another transaction has it locked.  The commit is durable
 * when the session's synchronous_commit says so: see taskq_flush.
 */
char
taskq_record_failure(const TaskqFailure *failure, bool wait)
{
	TaskqLockResult locked;
	char		state = 0;
	TaskqRow	row;

	taskq_store_begin();
	taskq_defs_begin();
	locked = taskq_store_lock(&failure->id, wait, &row);
	if (locked == TASKQ_BUSY)
		state = TASKQ_ROW_BUSY;
	if (locked == TASKQ_LOCKED &&
		(taskq_row_state(&row) == TASKQ_PENDING ||
		 taskq_row_state(&row) == TASKQ_RUNNING) &&
		(failure->attempt == 0 || failure->attempt == taskq_row_attempt(&row)))
		state = taskq_fail_row(&row, failure);
	PopActiveSnapshot();
	CommitTransactionCommand();
	return state;
}

/*
 * taskq_share_no_more - a task shall run by itself from here on, whatever its
 * kind
 *
 * Its count of crashes, none so far, is what says so.  In the caller's
 * transaction; false if another one has the row locked.
 */
bool
taskq_share_no_more(const pg_uuid_t *id)
{
	TaskqRow	row;
	TaskqLockResult locked = taskq_store_lock(id, false, &row);

	if (locked == TASKQ_LOCKED && !taskq_state_final(taskq_row_state(&row)) &&
		taskq_row_isnull(&row, crashes))
	{
		taskq_row_set(&row, crashes, Int16GetDatum(0));
		taskq_store_update(&row);
	}
	return locked != TASKQ_BUSY;
}

/*
 * taskq_cancel_waiting - bring a task that waits to its end as cancelled
 *
 * The caller's transaction has locked the row.
 */
void
taskq_cancel_waiting(TaskqRow *row, const TaskqLaneDef *lane,
					 const pg_uuid_t *id, const char *reason)
{
	TaskqChange change = {.to = TASKQ_CANCELLED,
		.finished_at = GetCurrentTimestamp(),
	.cancel_reason = reason};

	char		from = taskq_row_state(row);

	taskq_note_touched(lane, id);
	taskq_state_change(row, &change);
	taskq_note_final(lane, id, from, TASKQ_CANCELLED);

	/*
	 * its end is announced right after the commit, and what was announced
	 * survives a crash
	 */
	ForceSyncCommit();
}

/*
 * taskq_cancel_leased - an external worker asks for itself; what it has not
 * been told when its lease ends is done then.
 */
void
taskq_cancel_leased(TaskqRow *row, const pg_uuid_t *id, const char *reason)
{
	TaskqLease	lease;

	if (!taskq_lease_find(id, &lease))
		elog(ERROR, "lease of task %s not found", taskq_id_text(id));
	lease.cancel = true;
	taskq_lease_update(&lease);
	if (reason != NULL)
	{
		taskq_row_set(row, cancel_reason, CStringGetTextDatum(reason));
		taskq_store_update(row);
	}
}
