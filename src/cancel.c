/*-------------------------------------------------------------------------
 *
 * cancel.c
 *		Cancelling tasks.
 *
 * A waiting task is cancelled like any other change: its row is locked and
 * changed in the caller's transaction.  A running one has its row locked by its
 * worker, so shared memory is asked first; when the caller commits, the worker
 * is signalled with the number of the task it is meant for, which it compares
 * inside the signal handler.  So a cancel never hits the next task.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <signal.h>

#include "access/xact.h"
#include "cancel.h"
#include "compat.h"
#include "defs.h"
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

/* Tell the worker in this slot, if it is at this task. */
static bool
deliver(int slotno, const pg_uuid_t *id, bool force, const char *reason)
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
 * taskq_cancel_deliver - tell the worker in this slot to end this task
 *
 * Nothing happens if it has moved on.  Caller holds the main lock, under which
 * a slot's process can't leave.
 */
void
taskq_cancel_deliver(int slotno, const pg_uuid_t *id, bool force, const char *reason)
{
	/* by now another worker may be at its next attempt */
	if (deliver(slotno, id, force, reason))
		return;
	for (int i = 0; i < taskq_shared->nslots; i++)
	{
		if (taskq_shared->slots[i].dbid == MyDatabaseId && deliver(i, id, force, reason))
			return;
	}
}

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
		taskq_note_cancel(live.slot, id, force, reason);
		answer->cancelled = true;
		answer->terminated = force;
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
