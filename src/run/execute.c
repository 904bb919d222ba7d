/*-------------------------------------------------------------------------
 *
 * execute.c
 *		Running one task by itself, in a worker.
 *
 * One transaction a task: lock the row (whoever has the lock has the claim),
 * run the handler, mark the row completed, commit.  That commit does not wait
 * for the disk: effect and state are lost together or not at all.  What was
 * done is made durable for the whole batch, and only then announced.
 *
 * A command that manages its own transactions can't hold the lock: its row is
 * committed as running first, and as finished in another transaction.
 *
 * Kinds whose tasks share transactions: together.c, which leaves to this file
 * what has to run by itself after all.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "base/current.h"
#include "base/guard.h"
#include "lanes/announce.h"
#include "lanes/cancels.h"
#include "lanes/claim.h"
#include "lanes/outbox.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "run/attempt.h"
#include "run/command.h"
#include "run/complete.h"
#include "run/execute.h"
#include "run/handler.h"
#include "run/interrupt.h"
#include "run/session.h"
#include "run/tasklog.h"
#include "store/state.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

/*
 * A task stored as running was lost with its worker: too often?  The commands
 * of task_submit_sql may run three times, others as often as they may fail.
 */
static void
check_lost(TaskqAttempt *attempt)
{
	int			max = attempt->sql ? Max(attempt->current.max_attempts, 3)
	: attempt->current.max_attempts;

	if (taskq_row_state(&attempt->row) != TASKQ_RUNNING)
		return;
	if (attempt->current.attempt >= max)
		ereport(ERROR,
				(errcode(ERRCODE_ADMIN_SHUTDOWN),
				 errmsg("the worker or the server ended in each of %d attempts", attempt->current.attempt)));
	attempt->current.attempt++;
	taskq_attempt_tell(attempt);
}

/* Commands with transactions of their own. */
static char
run_managed(TaskqAttempt *attempt, List *commands)
{
	TaskqChange started = {.to = TASKQ_RUNNING};
	Datum		result;
	bool		stopped;
	char		state;

	check_lost(attempt);
	started.attempt = attempt->current.attempt;
	started.worker = taskq_attempt_worker();
	started.started_at = attempt->started_at;
	taskq_attempt_claims(attempt);
	taskq_state_change(&attempt->row, &started);
	PopActiveSnapshot();
	taskq_attempt_commit(attempt->slot);
	attempt->managed = true;

	taskq_tasklog_prepare();
	taskq_tasklog_begin();
	taskq_interrupts_begin(attempt->timeout_ms);
	result = taskq_command_run(attempt->sql, commands, true);
	stopped = taskq_interrupts_end();
	taskq_tasklog_end();

	SetCurrentStatementStartTimestamp();
	taskq_attempt_begin();
	PushActiveSnapshot(GetTransactionSnapshot());
	taskq_defs_begin();
	if (taskq_store_lock(&attempt->ref.id, true, &attempt->row) !=
		TASKQ_LOCKED ||
		taskq_row_state(&attempt->row) != TASKQ_RUNNING ||
		DatumGetInt16(taskq_row_value(&attempt->row, attempt)) !=
		attempt->current.attempt)
		state = TASKQ_DROPPED;	/* somebody else's by now */
	else
		state = taskq_attempt_finish(attempt, result, false, stopped);
	PopActiveSnapshot();
	taskq_attempt_commit(attempt->slot);
	return state;
}

static char
run_in_one_transaction(TaskqAttempt *attempt, List *commands)
{
	char		state;

	check_lost(attempt);
	state = taskq_attempt_call(attempt, commands);
	PopActiveSnapshot();
	taskq_attempt_commit(attempt->slot);
	return state;
}

/*
 * A task that brought the server down before runs alone: with nothing else in
 * its worker's batch, and no other such task in the server.  False: not now.
 */
static bool
enter_quarantine(int slotno)
{
	bool		entered;

	taskq_announce(slotno);
	LWLockAcquire(taskq_main_lock, LW_EXCLUSIVE);
	entered = taskq_shared->quarantine < 0;
	if (entered)
	{
		taskq_shared->quarantine = slotno;
		taskq_claim_give_back(slotno);
	}
	LWLockRelease(taskq_main_lock);
	return entered;
}

/*
 * taskq_leave_quarantine - the worker in this slot is through with a task
 * that runs alone, if it was in one
 */
void
taskq_leave_quarantine(int slotno)
{
	/*
	 * only this worker sets it to its own number, so a look without the lock
	 * will do
	 */
	if (taskq_shared->quarantine != slotno)
		return;
	LWLockAcquire(taskq_main_lock, LW_EXCLUSIVE);
	taskq_shared->quarantine = -1;
	LWLockRelease(taskq_main_lock);
}

/* Lock the task's row; false if it is not to be run here and now. */
static bool
lock_task(TaskqAttempt *attempt)
{
	int			slotno = attempt->current.slotno;
	TaskqRow   *row = &attempt->row;
	TaskqLockResult locked = taskq_store_lock_seen(&attempt->ref, row);

	if (locked == TASKQ_LOCKED && !taskq_claim_covers(slotno, row))
		return false;
	if (locked == TASKQ_LOCKED && !taskq_row_isnull(row, crashes) &&
		DatumGetInt16(taskq_row_value(row, crashes)) > 0 &&
		!enter_quarantine(slotno))
		locked = TASKQ_BUSY;
	if (locked == TASKQ_LOCKED && taskq_attempt_not_here(attempt))
		locked = TASKQ_BUSY;
	if (locked == TASKQ_BUSY)
		taskq_claim_skipped(slotno, &attempt->ref.id);
	if (locked != TASKQ_LOCKED)
		return false;
	/* stored as running without a lock: it may be so */
	if (taskq_row_state(row) == TASKQ_RUNNING)
		return !taskq_claim_runs_elsewhere(slotno, &attempt->ref.id);
	return taskq_row_state(row) == TASKQ_PENDING;
}

/* What the session is at, for all to see; printf would take longer. */
static void
report_task(const TaskqAttempt *attempt)
{
	static const char before[] = "taskq: ";
	char		activity[lengthof(before) + NAMEDATALEN + 2 * UUID_LEN + 8];
	const char *kind = NameStr(attempt->current.kind);
	size_t		length = strlen(kind);
	char	   *end = activity + lengthof(before) - 1;

	memcpy(activity, before, lengthof(before));
	memcpy(end, kind, length);
	end[length] = ' ';
	strcpy(end + length + 1, taskq_id_text(&attempt->ref.id));
	pgstat_report_activity(STATE_RUNNING, activity);
}

/* Lock the task and run it; returns its new state, or TASKQ_DROPPED. */
static char
run_attempt(TaskqAttempt *attempt)
{
	List	   *commands = NIL;

	taskq_attempt_begin();
	PushActiveSnapshot(GetTransactionSnapshot());
	taskq_defs_begin();
	if (!lock_task(attempt))
	{
		PopActiveSnapshot();
		CommitTransactionCommand();
		taskq_claim_unstarted(attempt->current.slotno, 1);
		return TASKQ_DROPPED;
	}
	taskq_attempt_load(attempt);
	taskq_current = &attempt->current;
	report_task(attempt);
	if (attempt->sql != NULL)
	{
		commands = taskq_command_parse(attempt->sql);
		if (!taskq_command_is_plain(commands))
			return run_managed(attempt, commands);
	}
	return run_in_one_transaction(attempt, commands);
}

static char
attempt_task(TaskqAttempt *attempt)
{
	volatile char state = TASKQ_DROPPED;

	PG_TRY();
	{
		state = run_attempt(attempt);
	}
	PG_CATCH();
	{
		bool		was_timeout = taskq_interrupts_timed_out();
		ErrorData  *error = taskq_attempt_abort();

		pgstat_report_activity(STATE_RUNNING, NULL);
		state = taskq_attempt_fail(attempt, error, was_timeout);
		if (state == 0)
			state = TASKQ_DROPPED;
	}
	PG_END_TRY();
	taskq_current = NULL;
	return state;
}

static void
task_end(TaskqAttempt *attempt, char outcome)
{
	int			slotno = attempt->current.slotno;
	int64		us;

	LWLockAcquire(taskq_slot_lock(slotno), LW_EXCLUSIVE);

	/*
	 * others may have announced the earlier ones and taken away the later
	 * ones
	 */
	taskq_attempt_count(attempt->slot, attempt->item, outcome);
	us = taskq_attempt_through(attempt->slot, attempt->slot->task_since);
	LWLockRelease(taskq_slot_lock(slotno));
	taskq_claim_ended(slotno);
	taskq_cancel_attempt_ended(&attempt->ref.id, taskq_state_final(outcome));
	if (outcome != TASKQ_DROPPED)
		taskq_claim_finished(slotno, us);
}

/*
 * taskq_execute_next - run the next task of this worker's batch
 *
 * Raises an error only if the outcome could not be recorded or the session
 * not be cleaned; the process shall end then, and the dispatcher sees to the
 * task.
 */
void
taskq_execute_next(int slotno)
{
	static TaskqAttempt attempt;
	char		outcome;

	if (!taskq_attempt_next(slotno, &attempt))
		return;
	taskq_guard_enter(&attempt.ref.id, attempt.started_at);
	outcome = attempt_task(&attempt);
	taskq_session_reset(attempt.managed);
	taskq_interrupts_over();
	taskq_tasklog_flush();
	task_end(&attempt, outcome);
	taskq_guard_leave();
	taskq_leave_quarantine(slotno);
}

/* taskq_execute_init - once per worker, after it has connected */
void
taskq_execute_init(int slotno)
{
	taskq_attempt_init(slotno);
	taskq_outbox_worker(slotno);
	taskq_handler_init();
	taskq_tasklog_init();
	taskq_interrupts_init(slotno);
	taskq_guard_init(slotno);
}
