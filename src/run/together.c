/*-------------------------------------------------------------------------
 *
 * together.c
 *		Running several tasks of a worker's batch in one transaction.
 *
 * For kinds that allow it.  No subtransactions: if one of the tasks fails,
 * all of them are undone and run one by one, as if nothing had been.  That is
 * much cheaper while failures are rare, and where they are not, few are tried
 * together.
 *
 * Each task runs as it would by itself (attempt.c), deferred triggers
 * included, and leaves nothing in the session.  All of them are for the same
 * one: where the claims, the tenant or the submitter change, the transaction
 * ends.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "base/clock.h"
#include "base/current.h"
#include "base/guard.h"
#include "base/watched.h"
#include "lanes/announce.h"
#include "lanes/cancels.h"
#include "lanes/claim.h"
#include "lanes/live.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "run/attempt.h"
#include "run/execute.h"
#include "run/interrupt.h"
#include "run/session.h"
#include "run/tasklog.h"
#include "run/together.h"
#include "store/defs.h"
#include "store/state.h"
#include "utils/datum.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#define TOGETHER_US 5000		/* others wait for what such a transaction has
								 * locked, and for its results */

/* For whom a task is run. */
typedef struct Behalf
{
	int32		submitted_by;	/* or 0 */
	Datum		claims;			/* or 0 */
	Datum		tenant;			/* or 0 */
} Behalf;

/* Several tasks, and what was learned from those before. */
typedef struct Together
{
	int			size;			/* how many are tried together: doubled when
								 * it works, halved when not */
	int			alone;			/* so many are to be run one by one first */

	/* of one transaction */
	TaskqSlot  *slot;
	int			slotno;
	int			first;			/* index of the first in the slot's batch */
	int			done;
	bool		ended;			/* the next one needs another transaction */
	bool		limited;		/* one of them has a timeout */
	TimestampTz since;			/* steady time */
	MemoryContext context;
	bool		has_behalf;
	Behalf		behalf;
	char		outcomes[TASKQ_BATCH_MAX];	/* by their indexes in the slot */
	pg_uuid_t	ids[TASKQ_BATCH_MAX];	/* of those whose end the transaction
										 * will commit */
	int			nids;
	TaskqSaid	said[TASKQ_BATCH_MAX];	/* by those that have logged something */
	int			nsaid;
} Together;

typedef enum Fate
{
	TOGETHER_DONE,
	TOGETHER_ALONE,				/* it has to be run by itself */
	TOGETHER_APART				/* it has to be run in another transaction */
} Fate;

/* ---- on whose behalf ---- */

static bool
same_value(Datum mine, Datum its, bool isnull)
{
	if (isnull || mine == 0)
		return isnull && mine == 0;
	return datum_image_eq(mine, its, false, -1);
}

/*
 * Is this task for the same one as those before it?  The first one says who
 * that is.
 */
static bool
same_behalf(Together *together, TaskqRow *row)
{
	Behalf	   *behalf = &together->behalf;
	int32		submitted_by =
	taskq_row_isnull(row, submitted_by)
	? 0
	: DatumGetInt32(taskq_row_value(row, submitted_by));
	MemoryContext old;

	if (together->has_behalf)
		return behalf->submitted_by == submitted_by &&
			same_value(behalf->claims, taskq_row_value(row, claims),
					   taskq_row_isnull(row, claims)) &&
			same_value(behalf->tenant, taskq_row_value(row, tenant),
					   taskq_row_isnull(row, tenant));
	old = MemoryContextSwitchTo(together->context);
	behalf->submitted_by = submitted_by;
	behalf->claims = taskq_row_isnull(row, claims) ? (Datum) 0 :
		PointerGetDatum(PG_DETOAST_DATUM_COPY(taskq_row_value(row, claims)));
	behalf->tenant = taskq_row_isnull(row, tenant) ? (Datum) 0 :
		PointerGetDatum(PG_DETOAST_DATUM_COPY(taskq_row_value(row, tenant)));
	together->has_behalf = true;
	MemoryContextSwitchTo(old);
	return true;
}

/* ---- one of them ---- */

/* May this task, whose row is locked, be run in this transaction? */
static Fate
may_share(Together *together, TaskqRow *row)
{
	/* lost with a worker, or with the server; or for another process */
	if (taskq_row_state(row) == TASKQ_RUNNING ||
		!taskq_row_isnull(row, crashes) ||
		taskq_row_option(row, "different_worker"))
		return TOGETHER_ALONE;
	if (taskq_row_state(row) == TASKQ_PENDING && !same_behalf(together, row))
		return TOGETHER_APART;
	return TOGETHER_DONE;
}

/* It has logged something: that stays, also if it is undone with others. */
static void
note_said(Together *together, const TaskqAttempt *attempt)
{
	if (attempt->current.log_lines == 0)
		return;
	together->said[together->nsaid].id = attempt->ref.id;
	together->said[together->nsaid].attempt = attempt->current.attempt;
	together->said[together->nsaid++].lines = attempt->current.log_lines;
}

static char
run_task(Together *together, TaskqAttempt *attempt)
{
	char		state;

	taskq_attempt_load(attempt);
	together->limited |= attempt->timeout_ms > 0;
	taskq_current = &attempt->current;
	if (together->done == 0)
		pgstat_report_activity(STATE_RUNNING,
							   psprintf("taskq: %s (batch)",
										NameStr(attempt->current.kind)));
	state = taskq_attempt_call(attempt, NIL);
	note_said(together, attempt);
	taskq_current = NULL;
	taskq_session_clean();
	taskq_interrupts_over();
	return state;
}

/* Lock the task begun just now, and run it if it may be run here. */
static Fate
run_one(Together *together, TaskqAttempt *attempt)
{
	TaskqLockResult locked;
	Fate		fate = TOGETHER_DONE;

	if (taskq_cancel_listed(&attempt->ref.id))
		return TOGETHER_ALONE;
	PushActiveSnapshot(GetTransactionSnapshot());
	taskq_defs_begin();
	locked = taskq_store_lock_seen(&attempt->ref, &attempt->row);
	if (locked == TASKQ_BUSY)
		taskq_claim_skipped(together->slotno, &attempt->ref.id);
	if (locked == TASKQ_LOCKED)
		fate = may_share(together, &attempt->row);
	if (fate == TOGETHER_DONE)
	{
		together->outcomes[attempt->item] = TASKQ_DROPPED;
		if (locked == TASKQ_LOCKED &&
			taskq_row_state(&attempt->row) == TASKQ_PENDING &&
			taskq_claim_covers(together->slotno, &attempt->row))
		{
			together->outcomes[attempt->item] = run_task(together, attempt);
			together->ids[together->nids++] = attempt->ref.id;
		}
		together->done++;
	}
	PopActiveSnapshot();
	return fate;
}

/*
 * The task begun just now is not to be run in this transaction, which ends
 * with those before it.
 */
static void
put_back(Together *together, TaskqAttempt *attempt, Fate fate)
{
	LWLockAcquire(taskq_slot_lock(together->slotno), LW_EXCLUSIVE);
	together->slot->next = attempt->item;
	together->slot->in_task = false;
	LWLockRelease(taskq_slot_lock(together->slotno));
	together->ended = true;
	if (fate == TOGETHER_ALONE)
		together->alone = 1;
}

/* ---- all of them ---- */

static bool
begin_one(Together *together, TaskqAttempt *attempt)
{
	if (together->ended || together->done == together->size ||
		(together->done > 0 &&
		 taskq_steady_now() - together->since > TOGETHER_US) ||
		!taskq_attempt_next(together->slotno, attempt))
		return false;
	taskq_guard_enter(&attempt->ref.id, attempt->started_at);
	return true;
}

/*
 * One of them may have been cancelled when it was through and another one
 * ran: then none is committed.  One that took notice of its cancel has ended
 * for that.
 */
static void
check_cancels(Together *together)
{
	for (int i = together->first; i < together->slot->next; i++)
	{
		char		outcome = together->outcomes[i];

		if (taskq_state_final(outcome) && outcome != TASKQ_CANCELLED &&
			taskq_cancel_listed(&together->slot->items[i].id))
			ereport(ERROR,
					(errcode(ERRCODE_QUERY_CANCELED),
					 errmsg("one of several tasks in a transaction was cancelled")));
	}
}

/*
 * Commit all of them.  They have run all that was to be run, so whatever
 * fails here, or brings the server down, is the doing of none in particular.
 */
static void
commit_all(Together *together)
{
	LWLockAcquire(taskq_slot_lock(together->slotno), LW_EXCLUSIVE);
	together->slot->in_task = false;
	together->slot->committing = true;
	LWLockRelease(taskq_slot_lock(together->slotno));
	check_cancels(together);
	if (together->limited)
		taskq_interrupts_limit();
	taskq_guard_commit(together->ids, together->nids);
	taskq_attempt_commit(together->slot);
	taskq_guard_leave();
	taskq_interrupts_over();
}

/* One transaction. */
static void
run_all(Together *together, TaskqAttempt *attempt)
{
	SetCurrentStatementStartTimestamp();
	taskq_attempt_begin();
	while (begin_one(together, attempt))
	{
		Fate		fate = run_one(together, attempt);

		if (fate != TOGETHER_DONE)
			put_back(together, attempt, fate);
	}
	commit_all(together);
}

/* All of it came to nothing: they are run again, one by one. */
static void
undo_all(Together *together, TaskqAttempt *attempt)
{
	bool		was_timeout = taskq_interrupts_timed_out();
	ErrorData  *error = taskq_attempt_abort();
	TaskqSlot  *slot = together->slot;
	char		reason[TASKQ_MESSAGE_SIZE];
	bool		asked = slot->in_task && taskq_attempt_cancelled(attempt, reason);
	char		state = 0;

	/* who was asked to stop is not run again for that */
	if (slot->in_task && !asked)
		note_said(together, attempt);
	taskq_tasklog_undone(together->said, together->nsaid);
	if (asked)
	{
		state = taskq_attempt_fail(attempt, error, was_timeout);
		taskq_cancel_attempt_ended(&attempt->ref.id, taskq_state_final(state));
	}
	together->done = 0;
	together->alone = Max(1, slot->next - together->first);
	together->size = Max(1, together->size / 2);
	LWLockAcquire(taskq_slot_lock(together->slotno), LW_EXCLUSIVE);
	if (asked)
		slot->outcome[attempt->item] = TASKQ_DROPPED;
	if (state != 0)
		taskq_live_ended(slot, &attempt->ref.id);
	taskq_watched_wake_refs(slot->items + together->first,
							slot->next - together->first);
	slot->next = together->first;
	slot->in_task = false;
	slot->committing = false;
	LWLockRelease(taskq_slot_lock(together->slotno));

	/*
	 * It is announced now: the slot's turn comes after those that are run
	 * again, or, if they take long, never.  Not before the slot has let it
	 * go: to who waits for it a task that a slot holds is not finished, and
	 * nobody would wake them a second time.
	 */
	if (state != 0)
		taskq_announce_task(&attempt->ref.id, state);
	taskq_claim_ended(together->slotno);
}

static void
end_all(Together *together)
{
	TaskqSlot  *slot = together->slot;
	bool		full = together->done == together->size;
	int64		us;
	int			dropped = 0;

	LWLockAcquire(taskq_slot_lock(together->slotno), LW_EXCLUSIVE);
	for (int i = together->first; i < slot->next && together->done > 0; i++)
	{
		if (together->outcomes[i] != TASKQ_UNDONE)
			taskq_attempt_count(slot, i, together->outcomes[i]);
		dropped += together->outcomes[i] == TASKQ_DROPPED;
	}
	us = taskq_attempt_through(slot, together->since);
	slot->committing = false;
	LWLockRelease(taskq_slot_lock(together->slotno));
	taskq_claim_ended(together->slotno);
	taskq_claim_unstarted(together->slotno, dropped);
	for (int i = 0; i < together->nids && together->done > 0; i++)
		taskq_cancel_attempt_ended(&together->ids[i], true);
	if (together->done > 0)
		taskq_claim_finished(together->slotno, us / together->done);
	if (full)
		together->size = Min(together->size * 2, TASKQ_BATCH_MAX);
}

/* Should the next task run by itself? */
static bool
runs_alone(Together *together)
{
	if (together->alone > 0)
		together->alone--;
	else if (together->size == 1)
		together->size = 2;
	else
		/* each of them shall see what those before it did */
		return DefaultXactIsoLevel != XACT_READ_COMMITTED;
	return true;
}

static void
begin_all(Together *together, int slotno)
{
	together->slotno = slotno;
	together->slot = &taskq_shared->slots[slotno];
	together->first = together->slot->next;
	together->done = 0;
	together->ended = false;
	together->limited = false;
	together->since = taskq_steady_now();
	together->nids = 0;
	together->nsaid = 0;
	together->has_behalf = false;
	if (together->context == NULL)
		together->context = AllocSetContextCreate(TopMemoryContext,
												  "taskq together",
												  ALLOCSET_SMALL_SIZES);
	MemoryContextReset(together->context);
	memset(together->outcomes, TASKQ_UNDONE, sizeof(together->outcomes));
}

/*
 * taskq_together_next - run the next tasks of this worker's batch in one
 * transaction
 *
 * A new worker begins with one at a time: after a crash the task that caused
 * it is by itself.  Raises errors as taskq_execute_next does.
 */
void
taskq_together_next(int slotno)
{
	static Together together = {.size = 1};
	static TaskqAttempt attempt;

	if (runs_alone(&together))
	{
		taskq_execute_next(slotno);
		return;
	}
	begin_all(&together, slotno);
	PG_TRY();
	{
		run_all(&together, &attempt);
	}
	PG_CATCH();
	{
		undo_all(&together, &attempt);
	}
	PG_END_TRY();
	taskq_current = NULL;
	end_all(&together);
	taskq_session_reset(false);
	taskq_interrupts_over();
	taskq_tasklog_flush();
	taskq_guard_leave();
}
