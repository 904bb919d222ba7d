/*-------------------------------------------------------------------------
 *
 * timer.c
 *		Tasks that are due, leases that are over.
 *
 * Part of the dispatcher's pass.  Scheduled tasks are due by the system's clock.
 * Waits that were counted from some moment on (of retries and leases) keep their
 * length when the clock is set: their timers are moved by as much.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "clock.h"
#include "complete.h"
#include "defs.h"
#include "dispatcher.h"
#include "miscadmin.h"
#include "note.h"
#include "state.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#define MAX_FIRED (10 * TASKQ_PORTION)	/* in one pass */

/* A lease's timer at its end, or now if that is past. */
static void
set_lease_timer(TaskqLease *lease, int32 lane)
{
	TimestampTz now = GetCurrentTimestamp();

	taskq_timer_delete(lease->timer, &lease->task);
	lease->timer = now + Max(Min(lease->until, lease->deadline) - taskq_steady_now(), 0);
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
		error.hint = "It ended, lost its connection, or needs a longer lease or more heartbeats.";
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
	const TaskqLaneDef *lane = taskq_lane_get(DatumGetInt32(taskq_row_value(row, lane)));
	char		state;

	failure.error = expired_error(timed_out, &failure.sqlerrcode);
	if (failure.cancelled)
		failure.error = (Datum) 0;
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
		set_lease_timer(&lease, DatumGetInt32(taskq_row_value(row, lane)));	/* there were heartbeats */
	else
		expire(row, &lease);
}

static void
renew_lease(const pg_uuid_t *id)
{
	TaskqLease	lease;
	TaskqRow	row;

	if (taskq_store_lock(id, false, &row) != TASKQ_LOCKED || !taskq_lease_find(id, &lease))
		return;
	if (lease.deadline != DT_NOEND)
		lease.deadline = lease.deadline - lease.until + taskq_steady_now() + lease.lease_ms * 1000;
	lease.until = taskq_steady_now() + lease.lease_ms * 1000;
	set_lease_timer(&lease, DatumGetInt32(taskq_row_value(&row, lane)));
}

/*
 * taskq_renew_leases - after the server was down every lease begins anew
 *
 * Its holder could not send heartbeats meanwhile, and steady time starts again
 * with the system's clock.  A lease whose row another session has is left as it
 * is: that session is its holder, or cancels it.
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

/* One task whose timer is due; false if its row is locked now. */
static bool
fire_timer(const pg_uuid_t *id, TimestampTz due)
{
	TaskqRow	row;
	TaskqChange change = {.to = TASKQ_PENDING};
	const TaskqLaneDef *lane;
	char		state;

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
		taskq_note_ready(lane, id);
	return true;
}

/*
 * One transaction's share of what is due, from (*due, *id) on, which are moved past
 * it.  False if nothing due is left; *next is when the first of the others is.
 * Counts in *fired, and lowers *next for rows that are locked now.
 */
static bool
fire_portion(TimestampTz now, TimestampTz *due, pg_uuid_t *id, int *fired, TimestampTz *next)
{
	pg_uuid_t	ids[TASKQ_PORTION];
	TimestampTz dues[TASKQ_PORTION];
	int			n;
	bool		more;

	taskq_pass_begin();
	taskq_defs_begin();
	n = taskq_timer_next(due, id, TASKQ_PORTION, ids, dues);
	more = n == TASKQ_PORTION;
	for (int i = 0; i < n; i++)
	{
		if (dues[i] > now)
		{
			*next = Min(*next, dues[i]);
			more = false;
			break;
		}
		if (fire_timer(&ids[i], dues[i]))
			(*fired)++;
		else
			*next = Min(*next, TimestampTzPlusMilliseconds(now, TASKQ_RETRY_MS));
	}
	taskq_pass_commit();
	return more;
}

/*
 * taskq_fire_timers - make pending what is due
 *
 * A large number of them in several passes, so that other things are seen to
 * meanwhile; those whose rows are locked hold up none of the others.
 */
void
taskq_fire_timers(void)
{
	TimestampTz now = GetCurrentTimestamp();
	TimestampTz next = DT_NOEND;
	TimestampTz due = DT_NOBEGIN;
	pg_uuid_t	id = {{0}};
	int			fired = 0;
	bool		more = true;

	if (taskq_dispatcher.db->next_due > now)
	{
		taskq_look_again_at(taskq_dispatcher.db->next_due);
		return;
	}

	/* what is submitted from here on lowers next_due again */
	LWLockAcquire(taskq_main_lock, LW_EXCLUSIVE);
	taskq_dispatcher.db->next_due = DT_NOEND;
	LWLockRelease(taskq_main_lock);
	while (more && fired < MAX_FIRED)
	{
		more = fire_portion(now, &due, &id, &fired, &next);
		CHECK_FOR_INTERRUPTS();
	}
	if (more)
		next = now;
	LWLockAcquire(taskq_main_lock, LW_EXCLUSIVE);
	taskq_dispatcher.db->next_due = Min(taskq_dispatcher.db->next_due, next);
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

	if (taskq_store_lock(id, false, &row) != TASKQ_LOCKED)
		return;
	if (taskq_row_state(&row) == TASKQ_LEASED && taskq_lease_find(id, &lease) && lease.timer == due)
		set_lease_timer(&lease, DatumGetInt32(taskq_row_value(&row, lane)));
	else if (taskq_row_state(&row) == TASKQ_RETRYING && DatumGetTimestampTz(taskq_row_value(&row, run_at)) == due &&
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
	while ((got = taskq_timer_next(&due, &id, TASKQ_PORTION, ids + n, dues + n)) > 0)
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
	taskq_pass_commit();
}

/* taskq_follow_clock - has the system's clock been set since we looked last? */
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
	LWLockRelease(taskq_main_lock);
}
