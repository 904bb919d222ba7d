/*-------------------------------------------------------------------------
 *
 * cancel.c
 *		Cancelling tasks.
 *
 * A waiting task is cancelled like any other change: its row is locked and
 * changed in the caller's transaction.  A running one has its row locked by its
 * worker, so shared memory is asked first; when the caller commits, the worker
 * is signalled with the number of the task it is meant for, which it compares
 * inside the signal handler.  So a cancel never hits the next task.  What was
 * cancelled is kept in a list until the task has come to its end, since its
 * worker may be between two attempts, or undo it with others.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <signal.h>

#include "access/xact.h"
#include "cancel.h"
#include "compat.h"
#include "defs.h"
#include "dispatcher.h"
#include "fmgr.h"
#include "funcapi.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "note.h"
#include "patience.h"
#include "rights.h"
#include "state.h"
#include "task.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

/* ---- the list of cancels ---- */

/* Its index in the list, or -1.  Caller holds the main lock. */
static int
listed_at(Oid dbid, const pg_uuid_t *id)
{
	int			n = pg_atomic_read_u32(&taskq_shared->ncancels);

	for (int i = 0; i < n; i++)
	{
		if (taskq_shared->cancels[i].dbid == dbid && taskq_id_eq(&taskq_shared->cancels[i].id, id))
			return i;
	}
	return -1;
}

static bool
list_is_empty(void)
{
	return pg_atomic_read_u32(&taskq_shared->ncancels) == 0;
}

/* How many are of tasks of this role, whatever their database.  Caller holds the main lock. */
static int
listed_of(Oid role)
{
	int			n = pg_atomic_read_u32(&taskq_shared->ncancels);
	int			of_role = 0;

	for (int i = 0; i < n; i++)
		of_role += taskq_shared->cancels[i].role == role;
	return of_role;
}

/*
 * Is there no room for another one?  A role gets half of what its tasks may take, since
 * several of its sessions may look at the same moment; who steers all, what is there.
 */
static bool
list_is_full(Oid role)
{
	bool		full;

	if (list_is_empty())
		return false;
	LWLockAcquire(taskq_main_lock, LW_SHARED);
	full = pg_atomic_read_u32(&taskq_shared->ncancels) >= TASKQ_CANCELS - TASKQ_ROLE_CANCELS ||
		listed_of(role) >= TASKQ_ROLE_CANCELS / 2;
	LWLockRelease(taskq_main_lock);
	return full && !taskq_steers_all();
}

/* Caller holds the main lock exclusively. */
static void
list_add(Oid dbid, const pg_uuid_t *id, Oid role, bool force, const char *reason)
{
	int			index = listed_at(dbid, id);
	TaskqCancel *cancel;

	if (index < 0)
	{
		index = pg_atomic_read_u32(&taskq_shared->ncancels);
		if (index == TASKQ_CANCELS || listed_of(role) >= TASKQ_ROLE_CANCELS)
			return;				/* whoever runs it is told all the same */
		memset(&taskq_shared->cancels[index], 0, sizeof(TaskqCancel));
	}
	cancel = &taskq_shared->cancels[index];
	cancel->dbid = dbid;
	cancel->id = *id;
	cancel->role = role;
	cancel->force |= force;
	if (reason != NULL)
		strlcpy(cancel->reason, reason, sizeof(cancel->reason));
	if (index == pg_atomic_read_u32(&taskq_shared->ncancels))
		pg_atomic_write_u32(&taskq_shared->ncancels, index + 1);
}

/* Caller holds the main lock exclusively. */
static void
list_remove(int index)
{
	int			last = pg_atomic_read_u32(&taskq_shared->ncancels) - 1;

	taskq_shared->cancels[index] = taskq_shared->cancels[last];
	pg_atomic_write_u32(&taskq_shared->ncancels, last);
}

/* taskq_cancel_listed - was this task of this database cancelled, though it was running? */
bool
taskq_cancel_listed(const pg_uuid_t *id)
{
	bool		listed;

	if (list_is_empty())
		return false;
	LWLockAcquire(taskq_main_lock, LW_SHARED);
	listed = listed_at(MyDatabaseId, id) >= 0;
	LWLockRelease(taskq_main_lock);
	return listed;
}

/*
 * taskq_cancel_take - the worker in this slot begins a task: was it cancelled before?
 *
 * Then it is told as if the cancel had come just now.  Called after the slot has the
 * task: a cancel is listed first and then looks at the slots, so one of both sees
 * the other.
 */
void
taskq_cancel_take(int slotno, const pg_uuid_t *id)
{
	TaskqSlot  *slot = &taskq_shared->slots[slotno];
	int			index;

	if (list_is_empty())
		return;
	LWLockAcquire(taskq_main_lock, LW_SHARED);
	index = listed_at(MyDatabaseId, id);
	if (index >= 0)
	{
		LWLockAcquire(taskq_slot_lock(slotno), LW_EXCLUSIVE);
		slot->cancel = true;
		strlcpy(slot->reason, taskq_shared->cancels[index].reason, sizeof(slot->reason));
		pg_atomic_write_u32(&slot->cancel_generation, pg_atomic_read_u32(&slot->task_generation));
		LWLockRelease(taskq_slot_lock(slotno));
	}
	LWLockRelease(taskq_main_lock);
}

/*
 * taskq_cancel_attempt_ended - a worker is through with a task that may be on the list
 *
 * If that was not the task's end, the dispatcher sees to it.
 */
void
taskq_cancel_attempt_ended(const pg_uuid_t *id, bool final)
{
	TaskqDb    *db;
	int			index;

	if (list_is_empty())
		return;
	LWLockAcquire(taskq_main_lock, LW_EXCLUSIVE);
	index = listed_at(MyDatabaseId, id);
	db = taskq_db_find(MyDatabaseId);
	if (index >= 0 && final)
		list_remove(index);
	else if (index >= 0 && db != NULL)
		taskq_wake_dispatcher(db);
	LWLockRelease(taskq_main_lock);
}

/* taskq_cancels_left - is there one of this database?  Caller holds the main lock */
bool
taskq_cancels_left(Oid dbid)
{
	int			n = pg_atomic_read_u32(&taskq_shared->ncancels);

	for (int i = 0; i < n; i++)
	{
		if (taskq_shared->cancels[i].dbid == dbid)
			return true;
	}
	return false;
}

/* taskq_cancels_drop - forget those of a database that is gone; caller holds the main lock exclusively */
void
taskq_cancels_drop(Oid dbid)
{
	for (int i = pg_atomic_read_u32(&taskq_shared->ncancels) - 1; i >= 0; i--)
	{
		if (taskq_shared->cancels[i].dbid == dbid)
			list_remove(i);
	}
}

/* ---- telling the worker ---- */

/* Tell the worker in this slot, if it is at this task. */
static bool
tell_worker(int slotno, const pg_uuid_t *id, bool force, const char *reason)
{
	TaskqSlot  *slot = &taskq_shared->slots[slotno];
	bool		found = false;

	LWLockAcquire(taskq_slot_lock(slotno), LW_EXCLUSIVE);
	if (slot->state == TASKQ_SLOT_BUSY && slot->in_task && taskq_id_eq(&slot->task, id))
	{
		slot->cancel = true;
		slot->force |= force;
		if (reason != NULL)
			strlcpy(slot->reason, reason, sizeof(slot->reason));
		pg_atomic_write_u32(&slot->cancel_generation, pg_atomic_read_u32(&slot->task_generation));
		kill(slot->pid, force ? SIGTERM : SIGUSR2);
		found = true;
	}
	LWLockRelease(taskq_slot_lock(slotno));
	return found;
}

/*
 * taskq_cancel_deliver - a running task was cancelled, and that is committed
 *
 * The worker that is at it is told.  It may be through with it, and still fail to
 * commit it with others; it may be between two attempts: so the cancel is listed too.
 * Caller holds the main lock exclusively, under which a slot's process can't leave.
 */
void
taskq_cancel_deliver(TaskqDb *db, int slotno, const pg_uuid_t *id, Oid role, bool force, const char *reason)
{
	bool		told;

	list_add(db->dbid, id, role, force, reason);
	told = tell_worker(slotno, id, force, reason);
	/* by now another worker may be at its next attempt */
	for (int i = 0; i < taskq_shared->nslots && !told; i++)
		told = taskq_shared->slots[i].dbid == db->dbid && tell_worker(i, id, force, reason);
	if (!told)
		taskq_wake_dispatcher(db);
}

/* ---- cancelling ---- */

typedef struct CancelAnswer
{
	bool		cancelled;
	bool		terminated;
	const char *message;
} CancelAnswer;

static void
cancel_waiting(TaskqRow *row, const TaskqLaneDef *lane, const pg_uuid_t *id, const char *reason)
{
	TaskqChange change = {.to = TASKQ_CANCELLED, .finished_at = GetCurrentTimestamp(), .cancel_reason = reason};

	char		from = taskq_row_state(row);

	taskq_note_touched(lane, id);
	taskq_state_change(row, &change);
	taskq_note_final(lane, id, from, TASKQ_CANCELLED);
	/* its end is announced right after the commit, and what was announced survives a crash */
	ForceSyncCommit();
}

/* An external worker asks for itself; what it has not been told when its lease ends is done then. */
static void
cancel_leased(TaskqRow *row, const pg_uuid_t *id, const char *reason)
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

/*
 * Cancel a task on the list that no worker runs now; caller is in a transaction.
 * False if it is to be looked at again.
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
		cancel_leased(&row, &cancel->id, reason);
		return true;
	}
	lane = taskq_lane_get(DatumGetInt32(taskq_row_value(&row, lane)));
	cancel_waiting(&row, lane, &cancel->id, reason);
	return true;
}

/*
 * taskq_settle_cancels - see to tasks that were cancelled while they ran and run no more
 *
 * Those that still run are the workers' business: they wake us when they are through.
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
		if (cancel.dbid != MyDatabaseId || (taskq_live_find(&cancel.id, &live) && live.running && live.unfinished))
			continue;

		taskq_pass_begin();
		taskq_defs_begin();
		settled = cancel_listed(&cancel);
		taskq_pass_commit();
		if (settled)
			taskq_cancel_attempt_ended(&cancel.id, true);
	}
}

/* One try; false if somebody else has the row and it is not a worker that we know of. */
static bool
try_cancel(const pg_uuid_t *id, const char *reason, bool force, CancelAnswer *answer)
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
		if (taskq_state_final(taskq_row_state(&row)) && TransactionIdIsCurrentTransactionId(row.xmin))
		{
			answer->message = psprintf("the task is already %s", taskq_state_name(taskq_row_state(&row)));
			return true;
		}
		/* it has just ended, which will be announced soon; or too many are cancelled at once */
		if (!live.unfinished || list_is_full(lane->role_oid))
			return false;
		taskq_note_cancel(lane, live.slot, id, force, reason);
		answer->cancelled = true;
		answer->terminated = force && live.in_midst;
		if (!live.in_midst)
			answer->message = "the worker that has the task is told not to commit it";
		else
			answer->message = force ? "the worker that runs the task is told to end" : "the running task is told to stop";
		return true;
	}
	if (taskq_state_final(taskq_row_state(&row)))
	{
		answer->message = psprintf("the task is already %s", taskq_state_name(taskq_row_state(&row)));
		return true;
	}
	result = taskq_store_lock(id, false, &row);
	if (result != TASKQ_LOCKED)
		return false;
	if (taskq_state_final(taskq_row_state(&row)))
		return false;			/* look again: it was finished meanwhile */
	answer->cancelled = true;
	if (taskq_row_state(&row) == TASKQ_LEASED && !force)
	{
		cancel_leased(&row, id, reason);
		answer->message = "the external worker that runs the task is told with its next heartbeat";
		return true;
	}
	answer->terminated = taskq_row_state(&row) == TASKQ_LEASED;
	answer->message = answer->terminated ? "the task is cancelled and its external worker's claim is void" : "the task is cancelled";
	cancel_waiting(&row, lane, id, reason);
	return true;
}

PG_FUNCTION_INFO_V1(taskq_task_cancel);

/*
 * taskq_task_cancel - cancel a task
 *
 * Takes (id uuid, reason text, force bool), returns (task_id, cancelled,
 * terminated, message).  Locks the row of a waiting task.  Raises PT404 for a
 * task that is unknown or not the caller's to see, 42501 for one it may see but
 * not steer, PT503 if another session holds the row for too long.
 */
Datum
taskq_task_cancel(PG_FUNCTION_ARGS)
{
	pg_uuid_t	id = taskq_arg_id(fcinfo, 0);
	char	   *reason = PG_ARGISNULL(1) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(1));
	bool		force = !PG_ARGISNULL(2) && PG_GETARG_BOOL(2);
	CancelAnswer answer = {0};
	TimestampTz until;
	TupleDesc	desc;
	Datum		values[4];
	bool		nulls[4] = {false, false, false, false};

	taskq_require_preload();
	PreventCommandIfReadOnly("taskq.task_cancel()");
	PreventCommandDuringRecovery("taskq.task_cancel()");
	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	if (reason != NULL && strlen(reason) >= TASKQ_MESSAGE_SIZE)
		reason[pg_mbcliplen(reason, strlen(reason), TASKQ_MESSAGE_SIZE - 1)] = '\0';

	taskq_defs_begin();
	until = taskq_busy_until();
	while (!try_cancel(&id, reason, force, &answer))
		taskq_busy_wait(&id, until);

	values[0] = UUIDPGetDatum(&id);
	values[1] = BoolGetDatum(answer.cancelled);
	values[2] = BoolGetDatum(answer.terminated);
	values[3] = CStringGetTextDatum(answer.message);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}
