/*-------------------------------------------------------------------------
 *
 * rescue.c
 *		Tasks whose worker, or whole server, ended in the middle of them.
 *
 * Part of the dispatcher's pass.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/transam.h"
#include "access/xlog.h"
#include "base/clock.h"
#include "base/watched.h"
#include "dispatch/dispatcher.h"
#include "dispatch/pass.h"
#include "dispatch/rescue.h"
#include "lanes/announce.h"
#include "lanes/cancels.h"
#include "lanes/claim.h"
#include "lanes/event.h"
#include "lanes/lane.h"
#include "lanes/live.h"
#include "lanes/note.h"
#include "lanes/outbox.h"
#include "miscadmin.h"
#include "postmaster/bgworker.h"
#include "run/complete.h"
#include "run/execute.h"
#include "storage/fd.h"
#include "store/defs.h"
#include "store/rights.h"
#include "store/state.h"
#include "utils/pidfile.h"
#include "utils/timestamp.h"

#define DIRECTORY_LOCK_FILE "postmaster.pid"	/* relative to the data
												 * directory */

BackgroundWorkerHandle *taskq_worker_handles[TASKQ_MAX_WORKERS];

/* ---- the server crashed ---- */

static Datum
crash_error(void)
{
	ErrorData	error =
	{.sqlerrcode = ERRCODE_CRASH_SHUTDOWN,
		.message =
		"the process that ran the task crashed, and the server with it",
		.detail = "The process ended by a signal, or without saying goodbye.",
		.hint =
	"The server log names the signal. A task that crashes the server twice is not tried again."};

	return taskq_error_jsonb(&error);
}

/*
 * Record that a task took the server down; durable before anybody may run it
 * again. False if its row is locked: so nobody runs it.
 */
static bool
settle_suspect(const TaskqSuspect *suspect)
{
	TaskqFailure failure = {
		.id = suspect->id,
		.started_at = suspect->started_at,
		.worker = taskq_worker_name(suspect->slot),
		.sqlerrcode = ERRCODE_CRASH_SHUTDOWN,
		.error = crash_error(),
		.retry_us = -1,
		.lost = true,
		.crashed = true
	};
	char		state;

	state = taskq_record_failure(&failure, false);
	taskq_flush(XactLastCommitEnd);
	MemoryContextSwitchTo(taskq_dispatcher.context);
	if (state == TASKQ_ROW_BUSY)
		return false;
	if (state == 0)
		return true;			/* cancelled, or finished just before */
	ereport(LOG,
			(errmsg("task %s was running in the process that crashed; it %s",
					taskq_id_text(&suspect->id),
					state == TASKQ_FAILED ? "is not tried again"
					: "will be tried again, alone")));
	taskq_announce_task(&suspect->id, state);
	return true;
}

/*
 * Others may have settled theirs meanwhile: the last one takes its place,
 * wherever that is now.
 */
static void
forget_suspect(const TaskqSuspect *suspect)
{
	LWLockAcquire(taskq_main_lock, LW_EXCLUSIVE);
	for (int i = 0; i < taskq_shared->nsuspects; i++)
	{
		if (taskq_shared->suspects[i].dbid == MyDatabaseId &&
			taskq_id_eq(&taskq_shared->suspects[i].id, &suspect->id))
		{
			taskq_shared->suspects[i] =
				taskq_shared->suspects[--taskq_shared->nsuspects];
			break;
		}
	}
	LWLockRelease(taskq_main_lock);
}

/*
 * The suspects of this database, those in a commit that several shared or the
 * others.
 */
static int
copy_suspects(bool shared, TaskqSuspect **suspects)
{
	int			n = 0;

	*suspects = palloc(sizeof(TaskqSuspect) * TASKQ_SUSPECTS);
	LWLockAcquire(taskq_main_lock, LW_SHARED);
	for (int i = 0; i < taskq_shared->nsuspects; i++)
	{
		if (taskq_shared->suspects[i].dbid == MyDatabaseId &&
			taskq_shared->suspects[i].shared == shared)
			(*suspects)[n++] = taskq_shared->suspects[i];
	}
	LWLockRelease(taskq_main_lock);
	return n;
}

/*
 * The server crashed in a commit that several tasks shared.  None is blamed
 * and no attempt is counted; each runs by itself now, and so the next crash
 * tells whose it is.
 */
static void
settle_shared_suspects(void)
{
	TaskqSuspect *suspects;
	int			n = copy_suspects(true, &suspects);
	bool	   *settled = palloc0(sizeof(bool) * Max(n, 1));
	int			nsettled = 0;

	if (n == 0)
		return;
	taskq_pass_begin();
	taskq_defs_begin();
	for (int i = 0; i < n; i++)
		nsettled += settled[i] = taskq_share_no_more(&suspects[i].id);
	taskq_pass_commit();
	taskq_flush(XactLastCommitEnd);
	for (int i = 0; i < n; i++)
	{
		if (settled[i])
			forget_suspect(&suspects[i]);
	}
	if (nsettled > 0)
		ereport(LOG,
				(errmsg("the server crashed in the commit of a transaction that %d tasks shared; they will be run one by one", nsettled)));
	if (nsettled < n)
		taskq_look_again_in(TASKQ_RETRY_MS);
}

/*
 * taskq_settle_suspects - record which tasks the server crashed in
 *
 * Before any worker is started here.
 */
void
taskq_settle_suspects(void)
{
	TaskqSuspect *suspects;
	int			n;

	if (taskq_shared->nsuspects == 0)
		return;
	settle_shared_suspects();
	n = copy_suspects(false, &suspects);
	for (int i = 0; i < n; i++)
	{
		if (settle_suspect(&suspects[i]))
			forget_suspect(&suspects[i]);
		else
			taskq_look_again_in(TASKQ_RETRY_MS);
	}
}

/* ---- a worker ended ---- */

/* Why a task's worker ended, as an error. */
static Datum
orphan_error(TaskqSlot *slot, int *sqlerrcode)
{
	ErrorData	error = {0};

	error.sqlerrcode = slot->timed_out ? ERRCODE_QUERY_CANCELED
		: ERRCODE_ADMIN_SHUTDOWN;
	error.message =
		slot->timed_out
		? "task ran longer than its timeout and did not stop when told to"
		: "the worker process ended before the task did";
	*sqlerrcode = error.sqlerrcode;
	return taskq_error_jsonb(&error);
}

/*
 * The stored state of a task, or 0.  What its worker has committed need not
 * be durable yet: the slot is told how far to flush before that is announced.
 */
static char
stored_state(TaskqSlot *slot, const pg_uuid_t *id)
{
	TaskqRow	row;
	char		state = 0;

	taskq_pass_begin();
	taskq_defs_begin();
	if (taskq_store_find(id, &row))
		state = taskq_row_state(&row);
	if (taskq_state_final(state))
	{
		LWLockAcquire(taskq_slot_lock(slot - taskq_shared->slots),
					  LW_EXCLUSIVE);
		slot->flush_to = Max(slot->flush_to,
							 TransactionIdGetCommitLSN(row.xmin));
		LWLockRelease(taskq_slot_lock(slot - taskq_shared->slots));
	}
	taskq_pass_commit();
	return state;
}

/*
 * taskq_server_is_stopping - is the server being shut down?
 *
 * The postmaster notes that in its pid file
 * before it ends anybody, so what ended a worker can be told.
 */
bool
taskq_server_is_stopping(void)
{
	FILE	   *file = AllocateFile(DIRECTORY_LOCK_FILE, "r");
	char		line[MAXPGPATH];
	bool		stopping = false;

	if (file == NULL)
		return false;
	for (int i = 1; i <= LOCK_FILE_LINE_PM_STATUS &&
		 fgets(line, sizeof(line), file) != NULL;
		 i++)
	{
		if (i == LOCK_FILE_LINE_PM_STATUS)
			stopping = strncmp(line, PM_STATUS_STOPPING,
							   strlen(PM_STATUS_STOPPING)) == 0;
	}
	FreeFile(file);
	return stopping;
}

/*
 * How a task of the slot ended; one that did not end may be claimable, and is
 * to be looked for again.
 */
static void
outcome_is(int slotno, int item, char outcome)
{
	TaskqSlot  *slot = &taskq_shared->slots[slotno];
	TaskqLane  *lane;

	LWLockAcquire(taskq_main_lock, LW_EXCLUSIVE);
	lane = taskq_lane_find(slot->dbid, slot->lane_id);
	LWLockAcquire(taskq_slot_lock(slotno), LW_EXCLUSIVE);
	slot->outcome[item] = outcome;
	if (outcome != TASKQ_DROPPED)
		taskq_live_ended(slot, &slot->items[item].id);
	if (!taskq_state_final(outcome))
		taskq_watched_wake(&slot->items[item].id);
	if (outcome == TASKQ_DROPPED && lane != NULL)
		taskq_lane_rewind(lane, &slot->items[item].id,
						  taskq_leaf_bit(&slot->items[item].id));
	LWLockRelease(taskq_slot_lock(slotno));
	LWLockRelease(taskq_main_lock);
	taskq_claim_ended(slotno);
}

/*
 * The worker ended in a transaction of several tasks: those before the last
 * one, or in the commit all of them, are done or as if they had never begun.
 */
static void
settle_shared(int slotno)
{
	TaskqSlot  *slot = &taskq_shared->slots[slotno];

	for (int i = slot->announced; i < slot->next - slot->in_task; i++)
	{
		char		state;

		if (slot->outcome[i] != TASKQ_UNDONE)
			continue;
		state = stored_state(slot, &slot->items[i].id);
		outcome_is(slotno, i,
				   taskq_state_final(state) ? state : TASKQ_DROPPED);
	}
}

/* The worker was sent away: its task is as if it had never begun. */
static void
requeue_orphan(int slotno)
{
	TaskqSlot  *slot = &taskq_shared->slots[slotno];

	LWLockAcquire(taskq_slot_lock(slotno), LW_EXCLUSIVE);
	slot->in_task = false;
	LWLockRelease(taskq_slot_lock(slotno));
	outcome_is(slotno, slot->next - 1, TASKQ_DROPPED);
}

/* Record the task in which a worker ended, and free the slot. */
static void
settle_orphan(int slotno)
{
	TaskqSlot  *slot = &taskq_shared->slots[slotno];
	TaskqFailure failure = {0};
	char		state;

	settle_shared(slotno);
	if (slot->in_task && (slot->requeue || taskq_server_is_stopping()))
		requeue_orphan(slotno);
	else if (slot->in_task)
	{
		failure.id = slot->task;
		failure.attempt = slot->attempt;
		failure.started_at = slot->task_started_at;
		failure.worker = taskq_worker_name(slotno);
		failure.error = orphan_error(slot, &failure.sqlerrcode);
		failure.progress = taskq_slot_progress(slotno);
		failure.cancelled = slot->cancel;
		failure.reason = slot->reason[0] ? slot->reason : NULL;
		if (failure.cancelled)
			failure.error = (Datum) 0;
		CHECK_FOR_INTERRUPTS();
		state = taskq_record_failure(&failure, false);
		MemoryContextSwitchTo(taskq_dispatcher.context);
		if (state == TASKQ_ROW_BUSY)
		{
			taskq_look_again_in(TASKQ_RETRY_MS);
			return;
		}
		if (state == 0)
		{
			/* it had come to its end just before */
			state = stored_state(slot, &failure.id);
			if (!taskq_state_final(state))
				state = TASKQ_DROPPED;
		}
		LWLockAcquire(taskq_slot_lock(slotno), LW_EXCLUSIVE);
		slot->in_task = false;
		slot->flush_to = Max(slot->flush_to, XactLastCommitEnd);
		LWLockRelease(taskq_slot_lock(slotno));
		outcome_is(slotno, slot->next - 1, state);
	}
	taskq_announce(slotno);
	LWLockAcquire(taskq_main_lock, LW_EXCLUSIVE);
	/* it may have ended before it told of one that it had undone */
	taskq_feed_doubt(taskq_dispatcher.db);
	taskq_claim_release(slotno);
	slot->state = TASKQ_SLOT_FREE;
	slot->committing = false;
	taskq_wake_dispatchers();
	LWLockRelease(taskq_main_lock);
}

/*
 * A worker that is long in one task: announce what it finished before, and
 * let others have what it has not begun.
 */
static void
relieve(int slotno, TimestampTz now)
{
	TaskqSlot  *slot = &taskq_shared->slots[slotno];
	TimestampTz stuck_at;
	bool		unannounced;
	bool		waiting;

	LWLockAcquire(taskq_slot_lock(slotno), LW_SHARED);
	stuck_at = TimestampTzPlusMilliseconds(slot->task_since, TASKQ_STUCK_MS);
	unannounced = (slot->in_task || slot->committing) &&
		slot->announced < slot->next - slot->in_task;
	/* also concurrency keys with which it is through */
	waiting = (slot->in_task || slot->committing) &&
		(slot->next < slot->nitems || slot->nkeys > 1);
	LWLockRelease(taskq_slot_lock(slotno));
	if (!unannounced && !waiting)
		return;
	if (now < stuck_at)
	{
		taskq_look_again_steady(stuck_at);
		return;
	}
	if (waiting)
	{
		LWLockAcquire(taskq_main_lock, LW_EXCLUSIVE);
		if (slot->state == TASKQ_SLOT_BUSY)
			taskq_claim_give_back(slotno);
		LWLockRelease(taskq_main_lock);
	}
	if (unannounced)
		taskq_announce(slotno);
}

static void
reap_failed_start(int slotno)
{
	TaskqSlot  *slot = &taskq_shared->slots[slotno];
	TimestampTz now = taskq_steady_now();
	pid_t		pid;
	bool		failed;

	if (slot->pid != 0)
		return;
	failed = taskq_worker_handles[slotno] != NULL
		? GetBackgroundWorkerPid(taskq_worker_handles[slotno],
								 &pid) == BGWH_STOPPED
		: TimestampDifferenceExceeds(slot->since, now,
									 10 * TASKQ_RETRY_MS);
	if (!failed)
	{
		taskq_look_again_in(TASKQ_RETRY_MS);
		return;
	}
	LWLockAcquire(taskq_main_lock, LW_EXCLUSIVE);
	if (slot->state == TASKQ_SLOT_STARTING && slot->pid == 0)
	{
		slot->state = TASKQ_SLOT_FREE;
		taskq_dispatcher.db->no_worker_before =
			TimestampTzPlusMilliseconds(now, TASKQ_RETRY_MS);
		taskq_wake_dispatchers();
	}
	LWLockRelease(taskq_main_lock);
}

/*
 * taskq_look_after_slots - see to workers that ended, never came, or are long
 * in one task
 */
void
taskq_look_after_slots(void)
{
	TimestampTz now = taskq_steady_now();

	for (int i = 0; i < taskq_shared->nslots; i++)
	{
		TaskqSlot  *slot = &taskq_shared->slots[i];
		TaskqSlotState state = slot->dbid == MyDatabaseId ? slot->state
		: TASKQ_SLOT_FREE;

		if (state == TASKQ_SLOT_ORPHAN)
			settle_orphan(i);
		else if (state == TASKQ_SLOT_STARTING)
			reap_failed_start(i);
		else if (state == TASKQ_SLOT_BUSY)
			relieve(i, now);
	}
}

/* ---- cancels that no worker sees to ---- */

/*
 * Cancel a task on the list that no worker runs now; caller is in a
 * transaction. False if it is to be looked at again.
 */
static bool
cancel_listed(const TaskqCancel *cancel)
{
	const char *reason = cancel->reason[0] ? cancel->reason : NULL;
	TaskqRow	row;
	const TaskqLaneDef *lane;
	TaskqLockResult result = taskq_store_lock(&cancel->id, false, &row);

	if (result == TASKQ_MISSING)
		return true;
	if (result == TASKQ_BUSY)
	{
		taskq_look_again_in(TASKQ_RETRY_MS);
		return false;
	}
	if (taskq_state_final(taskq_row_state(&row)))
		return true;
	if (taskq_row_state(&row) == TASKQ_LEASED && !cancel->force)
	{
		taskq_cancel_leased(&row, &cancel->id, reason);
		return true;
	}
	lane = taskq_lane_get(DatumGetInt32(taskq_row_value(&row, lane)));
	taskq_cancel_waiting(&row, lane, &cancel->id, reason);
	return true;
}

/*
 * taskq_settle_cancels - see to tasks that were cancelled while they ran and
 * run no more
 *
 * Those that still run are the workers' business: they wake us when they are
 * through.
 */
void
taskq_settle_cancels(void)
{
	for (int i = pg_atomic_read_u32(&taskq_shared->ncancels) - 1; i >= 0; i--)
	{
		TaskqCancel cancel;
		TaskqLive	live;
		bool		settled;

		LWLockAcquire(taskq_main_lock, LW_SHARED);
		cancel = taskq_shared->cancels[i];
		if (i >= pg_atomic_read_u32(&taskq_shared->ncancels))
			cancel.dbid = InvalidOid;
		LWLockRelease(taskq_main_lock);
		if (cancel.dbid != MyDatabaseId ||
			(taskq_live_find(&cancel.id, &live) && live.running &&
			 live.unfinished))
			continue;

		taskq_pass_begin();
		taskq_defs_begin();
		settled = cancel_listed(&cancel);
		taskq_pass_commit();
		if (settled)
			taskq_cancel_attempt_ended(&cancel.id, true);
	}
}
