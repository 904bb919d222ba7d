/*-------------------------------------------------------------------------
 *
 * timer.c
 *		Tasks that are due, leases that are over.
 *
 * Part of the dispatcher's pass.  Scheduled tasks are due by the system's
 * clock. Waits that were counted from some moment on (of retries and leases)
 * keep their length when the clock is set: their timers are moved by as much.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "base/clock.h"
#include "dispatch/dispatcher.h"
#include "dispatch/pass.h"
#include "lanes/note.h"
#include "miscadmin.h"
#include "run/complete.h"
#include "store/defs.h"
#include "store/leases.h"
#include "store/state.h"
#include "store/timers.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#define MAX_FIRED (10 * TASKQ_PORTION)	/* in one pass */
#define BAD_TIMER_MS 60000		/* till the next try */
#define MAX_TOLD 10				/* of which the log tells, in one pass: a full
								 * disk is not each one's fault */

/* A lease's timer at its end, or now if that is past. */
static void
set_lease_timer(TaskqLease *lease, int32 lane)
{
	TimestampTz now = GetCurrentTimestamp();

	taskq_timer_delete(lease->timer, &lease->task);
	lease->timer =
		now + Max(Min(lease->until, lease->deadline) - taskq_steady_now(), 0);
	taskq_timer_insert(lease->timer, &lease->task, lane);
	taskq_lease_update(lease);
	taskq_note_due(lease->timer);
}

/* ---- leases ---- */

static Datum
expired_error(bool timed_out, int *sqlerrcode)
{
	ErrorData	error = {0};

	if (timed_out)
	{
		error.sqlerrcode = ERRCODE_QUERY_CANCELED;
		error.message = "task ran longer than its timeout";
	}
	else
	{
		error.sqlerrcode = ERRCODE_TASK_LEASE_EXPIRED;
		error.message = "the external worker let its lease expire";
		error.hint =
			"It ended, lost its connection, or needs a longer lease or more heartbeats.";
	}
	*sqlerrcode = error.sqlerrcode;
	return taskq_error_jsonb(&error);
}

static void
expire(TaskqRow *row, TaskqLease *lease)
{
	bool		timed_out = lease->deadline <= lease->until;
	TaskqFailure failure = {
		.id = lease->task,
		.started_at = DatumGetTimestampTz(taskq_row_value(row, started_at)),
		.progress = lease->progress,
		.cancelled = lease->cancel,
		.retry_us = -1,
		.lost = !timed_out
	};
	const TaskqLaneDef *lane =
	taskq_lane_get(DatumGetInt32(taskq_row_value(row, lane)));
	char		state;

	failure.error = expired_error(timed_out, &failure.sqlerrcode);
	if (failure.cancelled)
		failure.error = (Datum) 0;
	if (!taskq_row_isnull(row, worker))
		taskq_note_outside(InvalidOid,
						   TextDatumGetCString(taskq_row_value(row, worker)),
						   false,
						   GetCurrentTimestamp() - failure.started_at);
	state = taskq_fail_row(row, &failure);
	if (lane != NULL && taskq_state_final(state))
		taskq_note_final(lane, &lease->task, TASKQ_LEASED, state);
	ForceSyncCommit();
}

/* The timer of a leased task has fired. */
static void
lease_timer(TaskqRow *row, const pg_uuid_t *id, TimestampTz due)
{
	TaskqLease	lease;

	if (!taskq_lease_find(id, &lease) || lease.timer != due)
		taskq_timer_delete(due, id);	/* of an earlier lease */
	else if (Min(lease.until, lease.deadline) > taskq_steady_now())
		set_lease_timer(&lease, DatumGetInt32(taskq_row_value(row, lane))); /* there were heartbeats */
	else
		expire(row, &lease);
}

static void
renew_lease(const pg_uuid_t *id)
{
	TaskqLease	lease;
	TaskqRow	row;

	if (taskq_store_lock(id, false, &row) != TASKQ_LOCKED ||
		!taskq_lease_find(id, &lease))
		return;
	if (lease.deadline != DT_NOEND)
		lease.deadline = lease.deadline - lease.until + taskq_steady_now() +
			lease.lease_ms * 1000;
	lease.until = taskq_steady_now() + lease.lease_ms * 1000;
	set_lease_timer(&lease, DatumGetInt32(taskq_row_value(&row, lane)));
}

/*
 * taskq_renew_leases - after the server was down every lease begins anew
 *
 * Its holder could not send heartbeats meanwhile, and steady time starts
 * again with the system's clock.  A lease whose row another session has is
 * left as it is: that session is its holder, or cancels it.
 */
void
taskq_renew_leases(void)
{
	List	   *ids;
	ListCell   *lc;

	taskq_pass_begin();
	taskq_defs_begin();
	ids = taskq_lease_ids();
	foreach(lc, ids)
	{
		CHECK_FOR_INTERRUPTS();
		renew_lease(lfirst(lc));
	}
	taskq_pass_commit();
}

/* ---- timers ---- */

/*
 * One task whose timer is due; false if its row, or its whole leaf, is locked
 * now.
 */
static bool
fire_timer(const pg_uuid_t *id, TimestampTz due)
{
	TaskqRow	row;
	TaskqChange change = {.to = TASKQ_PENDING};
	const TaskqLaneDef *lane;
	char		state;

	/* a wait for a leaf would be one for each of its timers */
	if (!taskq_store_leaves_free(id))
		return false;
	switch (taskq_store_lock(id, false, &row))
	{
		case TASKQ_BUSY:
			return false;
		case TASKQ_MISSING:
			taskq_timer_delete(due, id);
			return true;
		case TASKQ_LOCKED:
			break;
	}
	state = taskq_row_state(&row);
	if (state == TASKQ_LEASED)
	{
		lease_timer(&row, id, due);
		return true;
	}
	if ((state != TASKQ_SCHEDULED && state != TASKQ_RETRYING) ||
		DatumGetTimestampTz(taskq_row_value(&row, run_at)) != due)
	{
		taskq_timer_delete(due, id);
		return true;
	}
	taskq_state_change(&row, &change);
	lane = taskq_lane_get(DatumGetInt32(taskq_row_value(&row, lane)));
	if (lane != NULL && !lane->foreign)
		taskq_note_ready(lane, due, id, 1, true);
	return true;
}

/* What a pass over the timers knows. */
typedef struct Firing
{
	TimestampTz now;
	TaskqDue	at;				/* timers before it have been looked at */
	TaskqDue	left;			/* the first one that was due and could not be
								 * fired */
	TimestampTz next;			/* when to look again */
	int			fired;
	int			failed;
} Firing;

/* A timer that cannot be fired now: look again in so many milliseconds. */
static void
leave_timer(Firing *firing, TimestampTz due, const pg_uuid_t *id, int ms)
{
	TaskqDue	this = {.due = due,.id = *id};

	if (taskq_due_cmp(&this, &firing->left) < 0)
		firing->left = this;
	firing->next = Min(firing->next,
					   TimestampTzPlusMilliseconds(firing->now, ms));
}

/*
 * One transaction's share of what is due, at most max timers.  False if
 * nothing due is left.
 */
static bool
fire_portion(Firing *firing, int max)
{
	pg_uuid_t	ids[TASKQ_PORTION];
	TimestampTz dues[TASKQ_PORTION];
	int			n;
	bool		more;

	taskq_pass_begin();
	taskq_defs_begin();
	n = taskq_timer_next(&firing->at.due, &firing->at.id, max, ids, dues);
	more = n == max;
	for (int i = 0; i < n; i++)
	{
		if (dues[i] > firing->now)
		{
			firing->next = Min(firing->next, dues[i]);
			firing->at.due = dues[i];
			firing->at.id = ids[i];
			more = false;
			break;
		}
		if (fire_timer(&ids[i], dues[i]))
			firing->fired++;
		else
			leave_timer(firing, dues[i], &ids[i], TASKQ_RETRY_MS);
	}

	/*
	 * a timer that a crash brings back is fired again; leases that expire are
	 * flushed
	 */
	taskq_pass_commit_async();
	return more;
}

/*
 * A timer that raises an error is left alone for a while: the server log has
 * why.
 */
static void
pass_over(Firing *firing, const TaskqDue *from)
{
	TaskqDue	at = *from;
	pg_uuid_t	id;
	TimestampTz due;

	taskq_pass_begin();
	if (taskq_timer_next(&at.due, &at.id, 1, &id, &due) == 1)
	{
		if (firing->failed <= MAX_TOLD)
			ereport(LOG,
					(errmsg("taskq leaves the timer of task %s alone for a minute", taskq_id_text(&id))));
		leave_timer(firing, due, &id, BAD_TIMER_MS);
	}
	taskq_pass_commit();
	firing->at = at;
}

/*
 * The same, whatever is wrong with a row: then none of this portion has been
 * fired, and they are tried one by one, which *careful counts.
 */
static bool
try_portion(Firing *firing, int *careful)
{
	Firing		before = *firing;
	volatile bool more = true;
	int			max = *careful > 0 ? 1 : TASKQ_PORTION;

	PG_TRY();
	{
		more = fire_portion(firing, max);
		*careful = Max(*careful - 1, 0);
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(taskq_dispatcher.context);
		if (++before.failed <= MAX_TOLD)
			EmitErrorReport();
		FlushErrorState();
		AbortCurrentTransaction();
		MemoryContextSwitchTo(taskq_dispatcher.context);
		*firing = before;
		if (max == 1)
			pass_over(firing, &before.at);
		*careful = max == 1 ? *careful - 1 : TASKQ_PORTION;
	}
	PG_END_TRY();
	return more;
}

/*
 * taskq_fire_timers - make pending what is due
 *
 * A large number of them in several passes, so that other things are seen to
 * meanwhile; those whose rows are locked hold up none of the others.  A pass
 * begins where the last one ended, or at an earlier timer that was left or
 * noted since: so timers that were fired are not met again, though an old
 * snapshot keeps them.
 */
void
taskq_fire_timers(void)
{
	static TaskqDue from;
	Firing		firing = {.now = GetCurrentTimestamp(),.next = DT_NOEND};
	TimestampTz noted = taskq_dispatcher.db->next_due;
	int			careful = 0;
	bool		more = true;

	if (noted > firing.now)
	{
		taskq_look_again_at(noted);
		return;
	}

	/* what is submitted from here on lowers next_due again */
	LWLockAcquire(taskq_main_lock, LW_EXCLUSIVE);
	noted = taskq_dispatcher.db->next_due;
	taskq_dispatcher.db->next_due = DT_NOEND;
	LWLockRelease(taskq_main_lock);

	/*
	 * not known at all, or a timer that was not there when the last pass read
	 * the table
	 */
	if (noted <= from.due)
	{
		from.due = noted;
		memset(&from.id, 0, UUID_LEN);
	}
	firing.at = from;
	taskq_due_none(&firing.left);
	while (more && firing.fired < MAX_FIRED)
	{
		more = try_portion(&firing, &careful);
		CHECK_FOR_INTERRUPTS();
	}
	if (firing.failed > MAX_TOLD)
		ereport(LOG,
				(errmsg("taskq could not see to what is due in %d tries; the log tells of the first ones only",
						firing.failed)));
	from = taskq_due_cmp(&firing.left, &firing.at) < 0 ? firing.left
		: firing.at;
	if (more)
		firing.next = firing.now;
	LWLockAcquire(taskq_main_lock, LW_EXCLUSIVE);
	taskq_dispatcher.db->next_due = Min(taskq_dispatcher.db->next_due,
										firing.next);
	LWLockRelease(taskq_main_lock);
	taskq_look_again_at(taskq_dispatcher.db->next_due);
}

/* ---- the system's clock is set ---- */

/* Move the timer of one task, if it counts from when it was made. */
static void
move_timer(const pg_uuid_t *id, TimestampTz due, int64 by)
{
	TaskqRow	row;
	TaskqLease	lease;

	if (!taskq_store_leaves_free(id) ||
		taskq_store_lock(id, false, &row) != TASKQ_LOCKED)
		return;
	if (taskq_row_state(&row) == TASKQ_LEASED &&
		taskq_lease_find(id, &lease) && lease.timer == due)
		set_lease_timer(&lease, DatumGetInt32(taskq_row_value(&row, lane)));
	else if (taskq_row_state(&row) == TASKQ_RETRYING &&
			 DatumGetTimestampTz(taskq_row_value(&row, run_at)) == due &&
			 IS_VALID_TIMESTAMP(due + by))
		taskq_state_reschedule(&row, due + by);
}

static void
move_timers(int64 by)
{
	TimestampTz due = DT_NOBEGIN;
	pg_uuid_t	id = {{0}};
	int			n = 0;
	int			size = TASKQ_PORTION;
	int			got;
	pg_uuid_t  *ids = palloc(sizeof(pg_uuid_t) * size);
	TimestampTz *dues = palloc(sizeof(TimestampTz) * size);

	/* first see which, then move: what was moved on would be met again */
	taskq_pass_begin();
	taskq_defs_begin();
	while ((got = taskq_timer_next(&due, &id, TASKQ_PORTION, ids + n,
								   dues + n)) > 0)
	{
		n += got;
		if (n + TASKQ_PORTION > size)
		{
			size *= 2;
			ids = repalloc_huge(ids, sizeof(pg_uuid_t) * size);
			dues = repalloc_huge(dues, sizeof(TimestampTz) * size);
		}
	}
	for (int i = 0; i < n; i++)
	{
		CHECK_FOR_INTERRUPTS();
		move_timer(&ids[i], dues[i], by);
	}
	taskq_move_schedules(by);
	taskq_pass_commit();
}

/*
 * taskq_follow_clock - has the system's clock been set since we looked last?
 */
void
taskq_follow_clock(void)
{
	int64		offset = taskq_clock_offset();
	int64		by = offset - taskq_dispatcher.db->clock_offset;

	if (by < TASKQ_CLOCK_JUMP_US && by > -TASKQ_CLOCK_JUMP_US)
		return;
	move_timers(by);
	LWLockAcquire(taskq_main_lock, LW_EXCLUSIVE);
	taskq_dispatcher.db->clock_offset = offset;
	taskq_dispatcher.db->next_due = DT_NOBEGIN;
	taskq_dispatcher.db->next_schedule = DT_NOBEGIN;
	LWLockRelease(taskq_main_lock);
}
