/*-------------------------------------------------------------------------
 *
 * attempt.c
 *		One attempt at a task, in a worker.
 *
 * What running a task by itself (execute.c) and with others in one
 * transaction (together.c) have in common: taking it from the worker's batch,
 * reading it, calling its handler with all that belongs to it, and recording
 * a failure.
 *
 * Whatever of a task's a commit would run, its deferred triggers and the
 * queries of the cursors that it leaves, is run at the end of the call:
 * inside of the task, with its claims, limits, timeout and cancel.  So a
 * commit runs nothing.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/transam.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "base/clock.h"
#include "base/current.h"
#include "base/guc.h"
#include "base/usage.h"
#include "base/watched.h"
#include "commands/trigger.h"
#include "lanes/cancels.h"
#include "lanes/live.h"
#include "miscadmin.h"
#include "run/attempt.h"
#include "run/command.h"
#include "run/complete.h"
#include "run/handler.h"
#include "run/interrupt.h"
#include "run/session.h"
#include "run/tasklog.h"
#include "store/rights.h"
#include "store/state.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/guc.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"
#include "utils/portal.h"
#include "utils/timestamp.h"


/* of the worker, as long as it lives */
static MemoryContext task_context = NULL;
static char *worker_name = NULL;
static bool used = false;		/* it has made an attempt */

/*
 * of the transaction that is open, when it began: SET LOCAL may change it
 * meanwhile
 */
static int	session_synchronous_commit;

/* taskq_attempt_init - once per worker */
void
taskq_attempt_init(int slotno)
{
	task_context = AllocSetContextCreate(TopMemoryContext, "taskq task",
										 ALLOCSET_DEFAULT_SIZES);
	worker_name = MemoryContextStrdup(TopMemoryContext,
									  taskq_worker_name(slotno));
}

/* taskq_attempt_worker - this worker's name, as rows have it */
const char *
taskq_attempt_worker(void)
{
	return worker_name;
}

/* ---- transactions ---- */

/*
 * taskq_attempt_begin - begin a transaction; what is allocated lives until
 * the next task
 */
void
taskq_attempt_begin(void)
{
	session_synchronous_commit = synchronous_commit;
	StartTransactionCommand();
	MemoryContextSwitchTo(task_context);
}

/* What this session has committed is to be flushed before it is announced. */
static void
note_commit(TaskqSlot *slot)
{
	LWLockAcquire(taskq_slot_lock(slot - taskq_shared->slots), LW_EXCLUSIVE);
	if (XactLastCommitEnd > slot->flush_to)
		slot->flush_to = XactLastCommitEnd;
	LWLockRelease(taskq_slot_lock(slot - taskq_shared->slots));
}

/* taskq_attempt_commit - commit without waiting for the disk */
void
taskq_attempt_commit(TaskqSlot *slot)
{
	synchronous_commit = SYNCHRONOUS_COMMIT_OFF;
	CommitTransactionCommand();
	synchronous_commit = session_synchronous_commit;
	note_commit(slot);
	MemoryContextSwitchTo(task_context);
}

/*
 * taskq_attempt_abort - in PG_CATCH: undo the transaction, take the error out
 * of its way
 *
 * Returns the error, which lives until the next task.
 */
ErrorData *
taskq_attempt_abort(void)
{
	ErrorData  *error;

	HOLD_INTERRUPTS();
	synchronous_commit = session_synchronous_commit;
	(void) taskq_interrupts_end();
	taskq_interrupts_over();
	MemoryContextSwitchTo(task_context);
	error = CopyErrorData();
	FlushErrorState();
	AbortOutOfAnyTransaction();
	taskq_tasklog_end();
	MemoryContextSwitchTo(task_context);
	RESUME_INTERRUPTS();
	taskq_current = NULL;
	return error;
}

/* ---- the task ---- */

/*
 * taskq_attempt_next - take the next task of this worker's batch
 *
 * Fills in the attempt, and makes the task the slot's.  False if there is
 * none: the dispatcher has just given the rest of the batch to others.
 */
bool
taskq_attempt_next(int slotno, TaskqAttempt *attempt)
{
	TaskqSlot  *slot = &taskq_shared->slots[slotno];

	memset(attempt, 0, sizeof(*attempt));
	MemoryContextReset(task_context);
	MemoryContextSwitchTo(task_context);
	taskq_retry_us = -1;
	taskq_error_forget();
	attempt->slot = slot;
	attempt->current.slotno = slotno;

	LWLockAcquire(taskq_slot_lock(slotno), LW_EXCLUSIVE);
	/* some may be through already, of several that were tried together */
	while (slot->next < slot->nitems &&
		   slot->outcome[slot->next] != TASKQ_UNDONE)
		slot->next++;
	if (slot->next >= slot->nitems)
	{
		LWLockRelease(taskq_slot_lock(slotno));
		return false;
	}
	attempt->item = slot->next++;
	attempt->ref = slot->items[attempt->item];
	SetCurrentStatementStartTimestamp();
	attempt->started_at = GetCurrentStatementStartTimestamp();
	pg_atomic_fetch_add_u32(&slot->task_generation, 1);
	slot->in_task = true;
	slot->task = attempt->ref.id;
	slot->attempt = 0;
	slot->task_started_at = slot->updated_at = attempt->started_at;
	slot->task_since = taskq_steady_now();
	slot->has_progress = false;
	slot->message[0] = '\0';
	slot->info_len = 0;
	slot->phase[0] = '\0';
	slot->failures.len = 0;
	slot->cancel = false;
	slot->force = false;
	slot->reason[0] = '\0';
	LWLockRelease(taskq_slot_lock(slotno));
	taskq_usage_begin(slot->task_since);
	taskq_watched_wake(&attempt->ref.id);
	taskq_cancel_take(slotno, &attempt->ref.id);
	return true;
}

/* taskq_attempt_tell - the number of the attempt, for others to see */
void
taskq_attempt_tell(TaskqAttempt *attempt)
{
	LWLockAcquire(taskq_slot_lock(attempt->current.slotno), LW_EXCLUSIVE);
	attempt->slot->attempt = attempt->current.attempt;
	LWLockRelease(taskq_slot_lock(attempt->current.slotno));
}

static char *
sql_of_payload(Datum payload)
{
	text	   *command =
	DatumGetTextPP(DirectFunctionCall2(jsonb_object_field_text, payload,
									   CStringGetTextDatum("command")));

	return text_to_cstring(command);
}

/* The next one of a kind's settings; false after the last. */
static bool
next_setting(JsonbIterator **iterator, char **name, char **value)
{
	JsonbIteratorToken token;
	JsonbValue	item;

	while ((token = JsonbIteratorNext(iterator, &item, true)) != WJB_DONE)
	{
		if (token != WJB_KEY)
			continue;
		*name = pnstrdup(item.val.string.val, item.val.string.len);
		(void) JsonbIteratorNext(iterator, &item, true);
		*value = taskq_setting_text(&item);
		return true;
	}
	return false;
}

/*
 * The settings of the task's kind.  No statement of a handler's is one of a
 * client, whose time statement_timeout limits: here it is the attempt's.
 */
static void
load_settings(TaskqAttempt *attempt, const TaskqKind *kind)
{
	JsonbIterator *iterator;
	char	   *name;
	char	   *value;
	int			ms;

	if (kind->settings == NULL)
		return;
	attempt->settings =
		(Jsonb *) PG_DETOAST_DATUM_COPY(JsonbPGetDatum(kind->settings));
	iterator = JsonbIteratorInit(&attempt->settings->root);
	while (next_setting(&iterator, &name, &value))
	{
		if (pg_strcasecmp(name, "statement_timeout") == 0 &&
			parse_int(value, &ms, GUC_UNIT_MS, NULL) && ms > 0 &&
			(attempt->timeout_ms == 0 || ms < attempt->timeout_ms))
			attempt->timeout_ms = ms;
	}
}

/* The handler of the task's kind, which is one that may be run. */
static void
load_handler(TaskqAttempt *attempt, const TaskqLaneDef *lane,
			 const TaskqKind *kind)
{
	taskq_task_check_run(kind, lane, &attempt->row);
	attempt->handler = pstrdup(kind->handler);
	load_settings(attempt, kind);
}

/*
 * A task that became due did so without waiting for the disk.  Before it runs
 * that is made durable: if it brings the server down, it shall still be found
 * pending, which is what tells after the crash that this attempt was made.
 * So is the end of the task that a hook tells the world of.  One flush does
 * for all that were fired, or have ended, together.
 */
static void
flush_before(TaskqRow *row)
{
	int			level;

	if (!taskq_row_isnull(row, run_at) || taskq_row_hook(row, &level) != 0)
		XLogFlush(TransactionIdGetCommitLSN(row->xmin));
}

/*
 * taskq_attempt_load - read whose task it is, and what is to be done, into
 * the attempt
 *
 * Its row is locked.  Raises an error if it can't be run (any more).
 */
void
taskq_attempt_load(TaskqAttempt *attempt)
{
	TaskqRow   *row = &attempt->row;
	const TaskqLaneDef *lane =
	taskq_lane_get(DatumGetInt32(taskq_row_value(row, lane)));
	const TaskqKind *kind = NULL;
	TaskqCurrent *current = &attempt->current;
	Oid			oid;

	if (lane == NULL)
		elog(ERROR, "lane of task %s not found",
			 taskq_id_text(&attempt->ref.id));
	flush_before(row);
	used = true;
	current->id = attempt->ref.id;
	current->kind = lane->kind;
	current->queue = lane->queue;
	current->attempt = taskq_row_attempt(row);
	current->row = row;
	current->submitted_by = lane->role_name;
	if (!taskq_row_isnull(row, submitted_by))
		(void) taskq_role_read(DatumGetInt32(taskq_row_value(row, submitted_by)),
							   &current->submitted_by, &oid);

	/*
	 * beside the row: what is written back with it shall stay where it is,
	 * compressed or out of line
	 */
	if (!taskq_row_isnull(row, payload))
		current->payload =
			PointerGetDatum(PG_DETOAST_DATUM(taskq_row_value(row, payload)));

	if (strcmp(NameStr(lane->kind), TASKQ_SQL_KIND) == 0)
		attempt->sql = sql_of_payload(current->payload);
	else
		kind = taskq_kind_get(NameStr(lane->kind));
	current->max_attempts = kind ? kind->max_attempts : 1;
	if (!taskq_row_isnull(row, max_attempts))
		current->max_attempts =
			DatumGetInt16(taskq_row_value(row, max_attempts));
	attempt->timeout_ms = kind && kind->timeout_ms > 0
		? kind->timeout_ms
		: taskq_default_timeout;
	if (!taskq_row_isnull(row, timeout_ms))
		attempt->timeout_ms = DatumGetInt64(taskq_row_value(row, timeout_ms));
	if (attempt->sql == NULL)
		load_handler(attempt, lane, kind);
	taskq_attempt_tell(attempt);
}

/*
 * taskq_attempt_not_here - shall another process make this attempt than the
 * one that made the last?
 *
 * Then this one, which did, makes room for another.  The row is locked.
 */
bool
taskq_attempt_not_here(TaskqAttempt *attempt)
{
	if (taskq_row_isnull(&attempt->row, options) || !used ||
		!taskq_row_not_for(&attempt->row, worker_name,
						   attempt->slot->started_at))
		return false;
	attempt->slot->leave = true;
	return true;
}

/*
 * taskq_attempt_claims - the handler finds the claims of whoever the task is
 * for where a gateway would put them
 */
void
taskq_attempt_claims(TaskqAttempt *attempt)
{
	Jsonb	   *claims;

	if (taskq_row_isnull(&attempt->row, claims))
		return;
	claims = DatumGetJsonbP(taskq_row_value(&attempt->row, claims));
	SetConfigOption("request.jwt.claims",
					JsonbToCString(NULL, &claims->root, VARSIZE(claims)),
					PGC_USERSET, PGC_S_SESSION);
}

/*
 * The kind's settings, each as the role could SET it: what it may not raises
 * an error.
 */
static void
apply_settings(TaskqAttempt *attempt)
{
	JsonbIterator *iterator;
	char	   *name;
	char	   *value;

	if (attempt->settings == NULL)
		return;
	iterator = JsonbIteratorInit(&attempt->settings->root);
	while (next_setting(&iterator, &name, &value))
		SetConfigOption(name, value, superuser() ? PGC_SUSET : PGC_USERSET,
						PGC_S_SESSION);
}

/*
 * Run what a commit would run: deferred triggers, and the queries of the
 * cursors WITH HOLD.  Other cursors are closed.  A trigger may open a cursor,
 * and a query may fire a trigger, so until there is nothing left, as
 * CommitTransaction does it.
 */
static void
run_deferred(void)
{
	for (;;)
	{
		AfterTriggerFireDeferred();
		if (!PreCommit_Portals(false))
			return;
		taskq_session_leaves_cursors();
	}
}

/*
 * taskq_attempt_call - run the task in the transaction that is open, and mark
 * its row
 *
 * Calls its handler, or runs its commands.  What it SETs is undone at the
 * end. Returns the new state.  Raises whatever the handler raises.
 */
char
taskq_attempt_call(TaskqAttempt *attempt, List *commands)
{
	Datum		result;
	bool		isnull = false;
	bool		stopped;
	int			settings;

	taskq_tasklog_prepare();
	settings = NewGUCNestLevel();
	apply_settings(attempt);
	taskq_attempt_claims(attempt);
	taskq_tasklog_begin();
	taskq_interrupts_begin(attempt->timeout_ms);
	if (attempt->sql != NULL)
		result = taskq_command_run(attempt->sql, commands, false);
	else
		result = taskq_handler_call(attempt->handler,
									attempt->current.payload, &isnull);
	run_deferred();
	stopped = taskq_interrupts_end();
	AtEOXact_GUC(false, settings);
	taskq_tasklog_end();
	MemoryContextSwitchTo(task_context);
	return taskq_attempt_finish(attempt, result, isnull, stopped);
}

/*
 * taskq_attempt_finish - mark the task's row: it came to its end; returns the
 * new state
 */
char
taskq_attempt_finish(TaskqAttempt *attempt, Datum result, bool isnull,
					 bool stopped)
{
	char	   *reason = pstrdup(attempt->slot->reason);
	TimestampTz now = GetCurrentTimestamp();

	return taskq_complete(&attempt->row, attempt->started_at, now, worker_name,
						  result, isnull,
						  taskq_slot_progress(attempt->current.slotno),
						  taskq_usage_end(attempt->slot->task_since,
										  now - attempt->started_at),
						  stopped, reason[0] ? reason : NULL);
}

/*
 * taskq_attempt_cancelled - was the task asked to stop?  The reason goes to a
 * buffer of TASKQ_MESSAGE_SIZE
 */
bool
taskq_attempt_cancelled(TaskqAttempt *attempt, char *reason)
{
	bool		cancelled;

	LWLockAcquire(taskq_slot_lock(attempt->current.slotno), LW_SHARED);
	cancelled = attempt->slot->cancel;
	strlcpy(reason, attempt->slot->reason, TASKQ_MESSAGE_SIZE);
	LWLockRelease(taskq_slot_lock(attempt->current.slotno));
	return cancelled;
}

/*
 * Handlers that COMMIT, or run what cannot be in a transaction: what
 * PostgreSQL says of it does not tell what to do here.
 */
static void
hint_at_transactions(const TaskqAttempt *attempt, ErrorData *error)
{
	if (error->hint != NULL || attempt->managed ||
		(error->sqlerrcode != ERRCODE_INVALID_TRANSACTION_TERMINATION &&
		 error->sqlerrcode != ERRCODE_ACTIVE_SQL_TRANSACTION))
		return;
	error->hint =
		"A handler runs inside of its task's transaction, which ends when it returns: leave COMMIT and ROLLBACK out. What needs transactions of its own runs by taskq.task_submit_sql(), a procedure by 'CALL ...'.";
}

/*
 * taskq_attempt_fail - record what was thrown; the transaction has been
 * undone
 *
 * Returns the new state, or 0 if somebody else has brought the task to its
 * end.
 */
char
taskq_attempt_fail(TaskqAttempt *attempt, ErrorData *error, bool was_timeout)
{
	TaskqFailure failure = {.id = attempt->ref.id,
		.attempt = attempt->managed
		? attempt->current.attempt
		: 0,
		.started_at = attempt->started_at,
	.worker = worker_name};
	char		reason[TASKQ_MESSAGE_SIZE];
	char		state;

	if (was_timeout && error->sqlerrcode == ERRCODE_QUERY_CANCELED)
	{
		error->message = psprintf("task ran longer than its timeout of %ld ms",
								  (long) attempt->timeout_ms);
		error->hint =
			"Argument \"timeout\" of taskq.kind_define() and taskq.task_submit() sets it.";
	}
	hint_at_transactions(attempt, error);
	failure.sqlerrcode = error->sqlerrcode;
	failure.retry = error->sqlerrcode == ERRCODE_TASK_RETRY;
	failure.retry_us = failure.retry ? taskq_retry_us : -1;
	failure.error = taskq_error_jsonb(error);
	failure.progress = taskq_slot_progress(attempt->current.slotno);
	failure.resources = taskq_usage_end(attempt->slot->task_since,
										GetCurrentTimestamp() - attempt->started_at);
	/* also when it failed before it noticed */
	failure.cancelled = taskq_attempt_cancelled(attempt, reason);
	failure.reason = reason[0] ? reason : NULL;
	if (failure.cancelled && error->sqlerrcode == ERRCODE_QUERY_CANCELED)
		failure.error = (Datum) 0;

	/*
	 * nobody is told before the batch is flushed; if a crash undoes it the
	 * attempt is made again
	 */
	session_synchronous_commit = synchronous_commit;
	synchronous_commit = SYNCHRONOUS_COMMIT_OFF;
	state = taskq_record_failure(&failure, true);
	synchronous_commit = session_synchronous_commit;
	note_commit(attempt->slot);
	return state;
}

/* ---- the slot's view of it ---- */

/*
 * taskq_attempt_count - a task of the batch is through; caller holds the
 * slot's lock
 */
void
taskq_attempt_count(TaskqSlot *slot, int item, char outcome)
{
	slot->outcome[item] = outcome;
	if (outcome != TASKQ_DROPPED)
		taskq_live_ended(slot, &slot->items[item].id);
	if (!taskq_state_final(outcome))
		taskq_watched_wake(&slot->items[item].id);
	if (outcome == TASKQ_COMPLETED)
		slot->completed++;
	else if (outcome == TASKQ_FAILED)
		slot->failed++;
}

/*
 * taskq_attempt_through - the worker is in no task any more, since just now;
 * caller holds the slot's lock
 *
 * since: steady time.  Returns how long that is ago, in microseconds.
 */
int64
taskq_attempt_through(TaskqSlot *slot, TimestampTz since)
{
	TimestampTz now = taskq_steady_now();

	slot->in_task = false;
	if (slot->finished_at == 0)
		slot->finished_at = now;
	slot->busy_us += now - since;
	slot->last_active = GetCurrentTimestamp();
	return now - since;
}
