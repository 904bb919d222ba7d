/*-------------------------------------------------------------------------
 *
 * execute.c
 *		Running one task, in a worker.
 *
 * One transaction a task: lock the row (whoever has the lock has the claim),
 * run the handler, mark the row completed, commit.  That commit does not wait
 * for the disk: effect and state are lost together or not at all.  What was
 * done is made durable for the whole batch, and only then announced.
 *
 * A command that manages its own transactions can't hold the lock: its row is
 * committed as running first, and as finished in another transaction.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "announce.h"
#include "claim.h"
#include "command.h"
#include "commands/trigger.h"
#include "compat.h"
#include "complete.h"
#include "execute.h"
#include "guard.h"
#include "handler.h"
#include "interrupt.h"
#include "lane.h"
#include "miscadmin.h"
#include "note.h"
#include "pgstat.h"
#include "rights.h"
#include "session.h"
#include "state.h"
#include "task.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/guc.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

TaskqCurrent *taskq_current = NULL;
int64		taskq_retry_us = -1;

static MemoryContext task_context = NULL;
static TaskqSlot *my_slot = NULL;
static char *worker_name;

/* ---- one attempt ---- */

/* What an attempt needs to know of itself; survives an error. */
typedef struct Attempt
{
	TaskqRef	ref;
	TimestampTz started_at;
	bool		managed;		/* its row is committed as running */
	TaskqRow	row;
	TaskqCurrent current;
	char	   *handler;		/* or NULL */
	char	   *sql;			/* or NULL */
	int64		timeout_ms;
} Attempt;

static char *
sql_of_payload(Datum payload)
{
	text	   *command = DatumGetTextPP(DirectFunctionCall2(jsonb_object_field_text, payload,
															 CStringGetTextDatum("command")));

	return text_to_cstring(command);
}

static void
tell_attempt(Attempt *attempt)
{
	LWLockAcquire(taskq_slot_lock(attempt->current.slotno), LW_EXCLUSIVE);
	my_slot->attempt = attempt->current.attempt;
	LWLockRelease(taskq_slot_lock(attempt->current.slotno));
}

/* Read the task, its kind and whose it is into the attempt. */
static void
load_attempt(Attempt *attempt)
{
	TaskqRow   *row = &attempt->row;
	const TaskqLaneDef *lane = taskq_lane_get(DatumGetInt32(taskq_row_value(row, lane)));
	const TaskqKind *kind = NULL;
	TaskqCurrent *current = &attempt->current;
	Oid			oid;

	if (lane == NULL)
		elog(ERROR, "lane of task %s not found", taskq_id_text(&attempt->ref.id));
	current->id = attempt->ref.id;
	current->kind = lane->kind;
	current->queue = lane->queue;
	current->attempt = taskq_row_attempt(row);
	current->row = row;
	current->submitted_by = lane->role_name;
	if (!taskq_row_isnull(row, submitted_by))
		(void) taskq_role_read(DatumGetInt32(taskq_row_value(row, submitted_by)), &current->submitted_by, &oid);
	if (!taskq_row_isnull(row, payload))
		taskq_row_set(row, payload, PointerGetDatum(PG_DETOAST_DATUM(taskq_row_value(row, payload))));

	if (strcmp(NameStr(lane->kind), TASKQ_SQL_KIND) == 0)
		attempt->sql = sql_of_payload(taskq_row_value(row, payload));
	else
		kind = taskq_kind_get(NameStr(lane->kind));
	current->max_attempts = kind ? kind->max_attempts : 1;
	if (!taskq_row_isnull(row, max_attempts))
		current->max_attempts = DatumGetInt16(taskq_row_value(row, max_attempts));
	attempt->timeout_ms = kind ? kind->timeout_ms : 0;
	if (!taskq_row_isnull(row, timeout_ms))
		attempt->timeout_ms = DatumGetInt64(taskq_row_value(row, timeout_ms));
	if (attempt->sql == NULL && kind == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("kind of task \"%s\" does not exist any more", NameStr(lane->kind)),
				 errhint("Define it again with taskq.kind_define() and submit the task again.")));
	if (kind != NULL)
	{
		taskq_kind_check_run(kind, lane, row);
		if (kind->handler == NULL)
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_FUNCTION),
					 errmsg("kind of task \"%s\" has no handler any more", NameStr(lane->kind))));
		taskq_kind_check_handler(kind, lane);
		attempt->handler = pstrdup(kind->handler);
	}

	tell_attempt(attempt);
}

/* What this session has committed is to be flushed before it is announced. */
static void
note_commit(void)
{
	LWLockAcquire(taskq_slot_lock(my_slot - taskq_shared->slots), LW_EXCLUSIVE);
	if (XactLastCommitEnd > my_slot->flush_to)
		my_slot->flush_to = XactLastCommitEnd;
	LWLockRelease(taskq_slot_lock(my_slot - taskq_shared->slots));
}

/* of the transaction that is open, when it began: SET LOCAL may change it meanwhile */
static int	session_synchronous_commit;

/* Commit without waiting for the disk. */
static void
commit_attempt(void)
{
	synchronous_commit = SYNCHRONOUS_COMMIT_OFF;
	CommitTransactionCommand();
	synchronous_commit = session_synchronous_commit;
	note_commit();
}

static void
begin_transaction(void)
{
	session_synchronous_commit = synchronous_commit;
	StartTransactionCommand();
	MemoryContextSwitchTo(task_context);
}

static char
finish_row(Attempt *attempt, Datum result, bool isnull, bool stopped)
{
	char	   *reason = pstrdup(my_slot->reason);

	return taskq_complete(&attempt->row, attempt->started_at, worker_name, result, isnull,
						  taskq_slot_progress(my_slot - taskq_shared->slots), stopped, reason[0] ? reason : NULL);
}

/*
 * A task stored as running was lost with its worker: too often?  The commands of
 * task_submit_sql may run three times, others as often as they may fail.
 */
static void
check_lost(Attempt *attempt)
{
	int			max = attempt->sql ? Max(attempt->current.max_attempts, 3) : attempt->current.max_attempts;

	if (taskq_row_state(&attempt->row) != TASKQ_RUNNING)
		return;
	if (attempt->current.attempt >= max)
		ereport(ERROR,
				(errcode(ERRCODE_ADMIN_SHUTDOWN),
				 errmsg("the worker or the server ended in each of %d attempts", attempt->current.attempt)));
	attempt->current.attempt++;
	tell_attempt(attempt);
}

/* The handler finds the claims of whoever the task is for where a gateway would put them. */
static void
set_claims(TaskqRow *row)
{
	Jsonb	   *claims;

	if (taskq_row_isnull(row, claims))
		return;
	claims = DatumGetJsonbP(taskq_row_value(row, claims));
	SetConfigOption("request.jwt.claims", JsonbToCString(NULL, &claims->root, VARSIZE(claims)), PGC_USERSET, PGC_S_SESSION);
}

/* Commands with transactions of their own. */
static char
run_managed(Attempt *attempt, List *commands)
{
	TaskqChange started = {.to = TASKQ_RUNNING};
	Datum		result;
	bool		stopped;
	char		state;

	check_lost(attempt);
	started.attempt = attempt->current.attempt;
	started.worker = worker_name;
	started.started_at = attempt->started_at;
	set_claims(&attempt->row);
	taskq_state_change(&attempt->row, &started);
	PopActiveSnapshot();
	commit_attempt();
	attempt->managed = true;
	MemoryContextSwitchTo(task_context);

	taskq_interrupts_begin(attempt->timeout_ms);
	result = taskq_command_run(attempt->sql, commands, true);
	stopped = taskq_interrupts_end();

	SetCurrentStatementStartTimestamp();
	begin_transaction();
	PushActiveSnapshot(GetTransactionSnapshot());
	taskq_defs_begin();
	if (taskq_store_lock(&attempt->ref.id, true, &attempt->row) != TASKQ_LOCKED ||
		taskq_row_state(&attempt->row) != TASKQ_RUNNING ||
		DatumGetInt16(taskq_row_value(&attempt->row, attempt)) != attempt->current.attempt)
		state = TASKQ_DROPPED;	/* somebody else's by now */
	else
		state = finish_row(attempt, result, false, stopped);
	PopActiveSnapshot();
	commit_attempt();
	return state;
}

static char
run_in_one_transaction(Attempt *attempt, List *commands)
{
	Datum		result;
	bool		isnull = false;
	bool		stopped;
	char		state;
	int			settings;

	check_lost(attempt);
	settings = NewGUCNestLevel();
	set_claims(&attempt->row);
	taskq_interrupts_begin(attempt->timeout_ms);
	if (attempt->sql != NULL)
		result = taskq_command_run(attempt->sql, commands, false);
	else
		result = taskq_handler_call(attempt->handler, taskq_row_value(&attempt->row, payload), &isnull);
	/* deferred triggers are the handler's too: they can be cancelled, and run out of time */
	AfterTriggerFireDeferred();
	stopped = taskq_interrupts_end();
	AtEOXact_GUC(false, settings);
	MemoryContextSwitchTo(task_context);
	state = finish_row(attempt, result, isnull, stopped);
	PopActiveSnapshot();
	commit_attempt();
	return state;
}

/*
 * A task that brought the server down before runs alone: with nothing else in its
 * worker's batch, and no other such task in the server.  False: not now.
 */
static bool
enter_quarantine(void)
{
	int			slotno = my_slot - taskq_shared->slots;
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
 * taskq_leave_quarantine - the worker in this slot is through with a task that runs alone, if it was in one
 */
void
taskq_leave_quarantine(int slotno)
{
	/* only this worker sets it to its own number, so a look without the lock will do */
	if (taskq_shared->quarantine != slotno)
		return;
	LWLockAcquire(taskq_main_lock, LW_EXCLUSIVE);
	taskq_shared->quarantine = -1;
	LWLockRelease(taskq_main_lock);
}

/* Lock the task and run it; returns its new state, or TASKQ_DROPPED. */
static char
run_attempt(Attempt *attempt)
{
	TaskqLockResult locked;
	List	   *commands = NIL;

	begin_transaction();
	PushActiveSnapshot(GetTransactionSnapshot());
	taskq_defs_begin();
	locked = taskq_store_lock_seen(&attempt->ref, &attempt->row);
	if (locked == TASKQ_LOCKED && !taskq_row_isnull(&attempt->row, crashes) && !enter_quarantine())
		locked = TASKQ_BUSY;
	if (locked == TASKQ_BUSY)
		taskq_claim_skipped(attempt->current.slotno, &attempt->ref.id);
	if (locked != TASKQ_LOCKED ||
		(taskq_row_state(&attempt->row) != TASKQ_PENDING && taskq_row_state(&attempt->row) != TASKQ_RUNNING))
	{
		PopActiveSnapshot();
		CommitTransactionCommand();
		return TASKQ_DROPPED;
	}
	/* stored as running without a lock: it may be so */
	if (taskq_row_state(&attempt->row) == TASKQ_RUNNING &&
		taskq_claim_runs_elsewhere(attempt->current.slotno, &attempt->ref.id))
	{
		PopActiveSnapshot();
		CommitTransactionCommand();
		return TASKQ_DROPPED;
	}
	load_attempt(attempt);
	taskq_current = &attempt->current;
	pgstat_report_activity(STATE_RUNNING, psprintf("taskq: %s %s", NameStr(attempt->current.kind), taskq_id_text(&attempt->ref.id)));

	if (attempt->sql != NULL)
	{
		commands = taskq_command_parse(attempt->sql);
		if (!taskq_command_is_plain(commands))
			return run_managed(attempt, commands);
	}
	return run_in_one_transaction(attempt, commands);
}

static void
slot_cancel(bool *cancelled, char *reason)
{
	int			slotno = my_slot - taskq_shared->slots;

	LWLockAcquire(taskq_slot_lock(slotno), LW_SHARED);
	*cancelled = my_slot->cancel;
	strlcpy(reason, my_slot->reason, TASKQ_MESSAGE_SIZE);
	LWLockRelease(taskq_slot_lock(slotno));
}

/* Record what was thrown; the failed transaction has been aborted. */
static char
record_error(Attempt *attempt, ErrorData *error, bool was_timeout)
{
	TaskqFailure failure = {.id = attempt->ref.id, .attempt = attempt->managed ? attempt->current.attempt : 0, .started_at = attempt->started_at, .worker = worker_name};
	char		reason[TASKQ_MESSAGE_SIZE];
	bool		asked;
	char		state;

	slot_cancel(&asked, reason);
	if (was_timeout)
	{
		error->message = psprintf("task ran longer than its timeout of %ld ms", (long) attempt->timeout_ms);
		error->hint = "Argument \"timeout\" of taskq.kind_define() and taskq.task_submit() sets it.";
	}
	failure.sqlerrcode = error->sqlerrcode;
	failure.retry = error->sqlerrcode == ERRCODE_TASK_RETRY;
	failure.retry_us = failure.retry ? taskq_retry_us : -1;
	failure.error = taskq_error_jsonb(error);
	failure.progress = taskq_slot_progress(my_slot - taskq_shared->slots);
	/* also when it failed before it noticed */
	failure.cancelled = asked;
	failure.reason = reason[0] ? reason : NULL;
	if (failure.cancelled && error->sqlerrcode == ERRCODE_QUERY_CANCELED)
		failure.error = (Datum) 0;
	state = taskq_record_failure(&failure, true);
	note_commit();
	return state;
}

/* In PG_CATCH: undo the transaction, and take the error out of its way. */
static ErrorData *
abort_attempt(void)
{
	ErrorData  *error;

	HOLD_INTERRUPTS();
	(void) taskq_interrupts_end();
	taskq_interrupts_over();
	MemoryContextSwitchTo(task_context);
	error = CopyErrorData();
	FlushErrorState();
	AbortOutOfAnyTransaction();
	MemoryContextSwitchTo(task_context);
	RESUME_INTERRUPTS();
	taskq_current = NULL;
	return error;
}

static char
attempt_task(Attempt *attempt)
{
	volatile char state = TASKQ_DROPPED;
	int			session_setting = synchronous_commit;

	PG_TRY();
	{
		state = run_attempt(attempt);
	}
	PG_CATCH();
	{
		bool		was_timeout = taskq_interrupts_timed_out();
		ErrorData  *error;

		synchronous_commit = session_setting;
		error = abort_attempt();
		pgstat_report_activity(STATE_RUNNING, NULL);
		state = record_error(attempt, error, was_timeout && error->sqlerrcode == ERRCODE_QUERY_CANCELED);
		if (state == 0)
			state = TASKQ_DROPPED;
	}
	PG_END_TRY();
	taskq_current = NULL;
	return state;
}

/* ---- the slot's view of it ---- */

/* A task is through; caller holds the slot's lock. */
static void
count_outcome(int item, char outcome)
{
	my_slot->outcome[item] = outcome;
	if (outcome == TASKQ_COMPLETED)
		my_slot->completed++;
	else if (outcome == TASKQ_FAILED)
		my_slot->failed++;
}

static bool
task_begin(int slotno, Attempt *attempt)
{
	LWLockAcquire(taskq_slot_lock(slotno), LW_EXCLUSIVE);
	/* some may be through already, of several that were tried together */
	while (my_slot->next < my_slot->nitems && my_slot->outcome[my_slot->next] != TASKQ_UNDONE)
		my_slot->next++;
	if (my_slot->next >= my_slot->nitems)
	{
		/* the dispatcher has just given the rest of the batch to others */
		LWLockRelease(taskq_slot_lock(slotno));
		return false;
	}
	attempt->ref = my_slot->items[my_slot->next++];
	SetCurrentStatementStartTimestamp();
	attempt->started_at = GetCurrentStatementStartTimestamp();
	attempt->current.slotno = slotno;
	pg_atomic_fetch_add_u64(&my_slot->task_generation, 1);
	my_slot->in_task = true;
	my_slot->task = attempt->ref.id;
	my_slot->attempt = 0;
	my_slot->task_started_at = my_slot->updated_at = attempt->started_at;
	my_slot->has_progress = false;
	my_slot->message[0] = '\0';
	my_slot->info_len = 0;
	my_slot->cancel = false;
	my_slot->force = false;
	my_slot->reason[0] = '\0';
	LWLockRelease(taskq_slot_lock(slotno));
	return true;
}

static void
task_end(int slotno, Attempt *attempt, char outcome)
{
	TimestampTz now = GetCurrentTimestamp();
	int64		us = now - attempt->started_at;

	LWLockAcquire(taskq_slot_lock(slotno), LW_EXCLUSIVE);
	my_slot->in_task = false;
	/* others may have announced the earlier ones and taken away the later ones */
	count_outcome(my_slot->next - 1, outcome);
	if (my_slot->finished_at == 0)
		my_slot->finished_at = now;
	my_slot->busy_us += us;
	my_slot->last_active = now;
	LWLockRelease(taskq_slot_lock(slotno));
	taskq_claim_ended(slotno);
	if (outcome != TASKQ_DROPPED)
		taskq_claim_finished(slotno, us);
}

/*
 * taskq_execute_next - run the next task of this worker's batch
 *
 * Raises an error only if the outcome could not be recorded or the session not
 * be cleaned; the process shall end then, and the dispatcher sees to the task.
 */
void
taskq_execute_next(int slotno)
{
	static Attempt attempt;
	char		outcome;

	memset(&attempt, 0, sizeof(attempt));
	MemoryContextReset(task_context);
	MemoryContextSwitchTo(task_context);
	taskq_retry_us = -1;
	if (!task_begin(slotno, &attempt))
		return;
	taskq_guard_enter(&attempt.ref.id, attempt.started_at);
	outcome = attempt_task(&attempt);
	taskq_session_reset(attempt.managed);
	taskq_interrupts_over();
	task_end(slotno, &attempt, outcome);
	taskq_guard_leave();
	taskq_leave_quarantine(slotno);
}

/* ---- several tasks in one transaction ---- */

#define TOGETHER_US 5000		/* others wait for what such a transaction has locked, and for its results */

static struct
{
	int			size;			/* how many are tried together: doubled when it works, halved when not */
	int			alone;			/* so many are to be run one by one first */
	int			first;			/* index of the first */
	int			done;
	int64		timeout_ms;		/* of the last one, for what comes after it */
	TimestampTz started_at;
	char		outcomes[TASKQ_BATCH_MAX];	/* by their indexes in the slot */
}			together = {.size = 1};

/* The task just begun is to be run by itself after all. */
static void
together_put_back(int slotno)
{
	LWLockAcquire(taskq_slot_lock(slotno), LW_EXCLUSIVE);
	my_slot->next--;
	my_slot->in_task = false;
	LWLockRelease(taskq_slot_lock(slotno));
	together.alone = 1;
}

/* Run one of them; false if it has to be run by itself. */
static bool
together_run_one(Attempt *attempt)
{
	TaskqLockResult locked;
	Datum		result;
	bool		isnull = false;
	bool		stopped;
	int			settings;

	PushActiveSnapshot(GetTransactionSnapshot());
	taskq_defs_begin();
	locked = taskq_store_lock_seen(&attempt->ref, &attempt->row);
	if (locked == TASKQ_LOCKED && (taskq_row_state(&attempt->row) == TASKQ_RUNNING || !taskq_row_isnull(&attempt->row, crashes)))
		return false;
	if (locked == TASKQ_BUSY)
		taskq_claim_skipped(attempt->current.slotno, &attempt->ref.id);
	together.outcomes[my_slot->next - 1] = TASKQ_DROPPED;
	if (locked == TASKQ_LOCKED && taskq_row_state(&attempt->row) == TASKQ_PENDING)
	{
		load_attempt(attempt);
		together.timeout_ms = attempt->timeout_ms;
		taskq_current = &attempt->current;
		if (together.done == 0)
			pgstat_report_activity(STATE_RUNNING, psprintf("taskq: %s (batch)", NameStr(attempt->current.kind)));
		settings = NewGUCNestLevel();
		set_claims(&attempt->row);
		taskq_interrupts_begin(attempt->timeout_ms);
		result = taskq_handler_call(attempt->handler, taskq_row_value(&attempt->row, payload), &isnull);
		stopped = taskq_interrupts_end();
		AtEOXact_GUC(false, settings);
		MemoryContextSwitchTo(task_context);
		together.outcomes[my_slot->next - 1] = finish_row(attempt, result, isnull, stopped);
		taskq_current = NULL;
		taskq_session_clean();
		taskq_interrupts_over();
	}
	PopActiveSnapshot();
	together.done++;
	return true;
}

static bool
together_begin_one(int slotno, Attempt *attempt)
{
	memset(attempt, 0, sizeof(*attempt));
	MemoryContextReset(task_context);
	MemoryContextSwitchTo(task_context);
	if (together.done == together.size ||
		(together.done > 0 && GetCurrentTimestamp() - together.started_at > TOGETHER_US) ||
		!task_begin(slotno, attempt))
		return false;
	taskq_guard_enter(&attempt->ref.id, attempt->started_at);
	return true;
}

/* One transaction. */
static void
together_run(int slotno, Attempt *attempt)
{
	together.started_at = GetCurrentTimestamp();
	SetCurrentStatementStartTimestamp();
	begin_transaction();
	while (together_begin_one(slotno, attempt))
	{
		if (!together_run_one(attempt))
		{
			PopActiveSnapshot();
			together_put_back(slotno);
			break;
		}
	}
	PushActiveSnapshot(GetTransactionSnapshot());
	taskq_interrupts_begin(together.timeout_ms);
	AfterTriggerFireDeferred();
	(void) taskq_interrupts_end();
	PopActiveSnapshot();
	commit_attempt();
	taskq_interrupts_over();
}

/* All of it came to nothing: they are run again, one by one. */
static void
together_failed(int slotno, Attempt *attempt)
{
	bool		was_timeout = taskq_interrupts_timed_out();
	ErrorData  *error = abort_attempt();
	bool		asked;
	char		reason[TASKQ_MESSAGE_SIZE];
	int			current = my_slot->next - 1;

	/*
	 * Who was asked to stop is not run again for that.  It is announced now: the
	 * slot's turn comes after those that are run again, or, if they take long, never.
	 */
	slot_cancel(&asked, reason);
	if (asked)
	{
		char		state = record_error(attempt, error, was_timeout && error->sqlerrcode == ERRCODE_QUERY_CANCELED);

		if (state != 0)
			taskq_announce_task(&attempt->ref.id, state);
	}
	together.alone = Max(1, current - together.first + 1);
	together.size = Max(1, together.size / 2);
	LWLockAcquire(taskq_slot_lock(slotno), LW_EXCLUSIVE);
	if (asked)
		my_slot->outcome[current] = TASKQ_DROPPED;
	my_slot->next = together.first;
	my_slot->in_task = false;
	LWLockRelease(taskq_slot_lock(slotno));
	taskq_claim_ended(slotno);
}

static void
together_end(int slotno)
{
	TimestampTz now = GetCurrentTimestamp();
	int64		us = now - together.started_at;
	bool		full = together.done == together.size;

	LWLockAcquire(taskq_slot_lock(slotno), LW_EXCLUSIVE);
	my_slot->in_task = false;
	for (int i = together.first; i < my_slot->next && together.done > 0; i++)
	{
		if (together.outcomes[i] != TASKQ_UNDONE)
			count_outcome(i, together.outcomes[i]);
	}
	if (my_slot->finished_at == 0)
		my_slot->finished_at = now;
	my_slot->busy_us += us;
	my_slot->last_active = now;
	LWLockRelease(taskq_slot_lock(slotno));
	taskq_claim_ended(slotno);
	if (together.done > 0)
		taskq_claim_finished(slotno, us / together.done);
	if (full)
		together.size = Min(together.size * 2, TASKQ_BATCH_MAX);
}

/*
 * taskq_execute_together - run the next tasks of this worker's batch in one transaction
 *
 * For kinds that allow it.  No subtransactions: if one of them fails, all of them are
 * undone and run one by one, as if nothing had been.  That is much cheaper while
 * failures are rare, and where they are not, few are tried together.  A new worker
 * begins with one at a time: after a crash the task that caused it is by itself.
 */
void
taskq_execute_together(int slotno)
{
	static Attempt attempt;
	int			session_setting = synchronous_commit;

	/* each of them shall see what those before it did */
	if (together.alone > 0 || together.size == 1 || DefaultXactIsoLevel != XACT_READ_COMMITTED)
	{
		if (together.alone > 0)
			together.alone--;
		else
			together.size = 2;
		taskq_execute_next(slotno);
		return;
	}
	together.first = my_slot->next;
	together.done = 0;
	memset(together.outcomes, TASKQ_UNDONE, sizeof(together.outcomes));
	PG_TRY();
	{
		together_run(slotno, &attempt);
	}
	PG_CATCH();
	{
		synchronous_commit = session_setting;
		together_failed(slotno, &attempt);
		together.done = 0;
	}
	PG_END_TRY();
	taskq_current = NULL;
	together_end(slotno);
	taskq_session_reset(false);
	taskq_interrupts_over();
	taskq_guard_leave();
}

/* taskq_execute_init - once per worker, after it has connected */
void
taskq_execute_init(int slotno)
{
	my_slot = &taskq_shared->slots[slotno];
	task_context = AllocSetContextCreate(TopMemoryContext, "taskq task", ALLOCSET_DEFAULT_SIZES);
	worker_name = MemoryContextStrdup(TopMemoryContext, taskq_worker_name(slotno));
	taskq_handler_init();
	taskq_interrupts_init(slotno);
	taskq_guard_init(slotno);
}
