/*-------------------------------------------------------------------------
 *
 * schedule.c
 *		Due times of schedules become tasks.
 *
 * A run is one transaction that submits the task and moves the schedule on to
 * its next due time, with the schedule's state locked: so there is one task
 * for each due time, whoever looks, and whatever ends in the middle.  A run
 * that fails leaves the due time as it is.
 *
 * A due time is missed when the run could not be made: the server was down,
 * the last task was not finished, or the submit was refused.  What becomes of
 * those the schedule says.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "base/cron.h"
#include "base/pgcron.h"
#include "lanes/schedule.h"
#include "store/state.h"
#include "utils/jsonb.h"
#include "utils/timestamp.h"

#define SKIP_AFTER_US (60 * USECS_PER_SEC)	/* a run that is later is missed */
#define BUSY_MIN_US (10 * INT64CONST(1000)) /* how soon it is looked again
											 * whether a task is finished */
#define BUSY_MAX_US USECS_PER_SEC
#define CRON_GRACE_US (90 * USECS_PER_SEC)	/* for pg_cron to call */
#define MAX_COUNTED 100			/* of missed due times of cron */
#define MAX_PUT_OFF_US (60 * USECS_PER_SEC)

/* ---- due times ---- */

static bool
last_unfinished(const TaskqScheduleState *state)
{
	TaskqRow	row;

	return state->has_task && taskq_store_find(&state->last_task, &row) &&
		!taskq_state_final(taskq_row_state(&row));
}

/* What the schedule's expression says, and in which zone. */
static void
read_cron(const TaskqSchedule *schedule, TaskqCron *cron, pg_tz * *zone)
{
	const char *name = schedule->timezone ? schedule->timezone
	: taskq_pgcron_timezone();

	*zone = pg_tzset(name);
	if (*zone == NULL || !pg_tz_acceptable(*zone))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("time zone \"%s\" is not known", name),
				 errhint("View pg_timezone_names lists what argument \"timezone\" may be.")));
	if (!taskq_cron_parse(schedule->cron, cron))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"%s\" is not an expression of cron", schedule->cron),
				 errhint("Argument \"cron\" has five fields: minute, hour, day, month, weekday. For seconds use argument \"every\".")));
}

/*
 * Of many missed ones only so many are gone through, from the first one on;
 * then the last one is looked for from now on backwards.
 */
static TimestampTz
last_by_cron(const TaskqSchedule *schedule, TimestampTz due, TimestampTz now,
			 int64 *n)
{
	TaskqCron	cron;
	pg_tz	   *zone;
	TimestampTz next;

	read_cron(schedule, &cron, &zone);
	for (*n = 1; *n < MAX_COUNTED; (*n)++)
	{
		next = taskq_cron_next(&cron, zone, due);
		if (next > now)
			return due;
		due = next;
	}
	for (int64 back = USECS_PER_MINUTE; now - back > due; back *= 4)
	{
		next = taskq_cron_next(&cron, zone, now - back);
		if (next <= now)
			due = next;
	}
	while ((next = taskq_cron_next(&cron, zone, due)) <= now)
		due = next;
	return due;
}

/*
 * The last due time up to now, of a schedule that is due, and how many there
 * are.
 */
static TimestampTz
last_due(const TaskqSchedule *schedule, const TaskqScheduleState *state,
		 TimestampTz now, int64 *n)
{
	if (schedule->cron != NULL)
		return last_by_cron(schedule, state->next_run, now, n);
	*n = (now - state->next_run) / schedule->every_us + 1;
	return state->next_run + (*n - 1) * schedule->every_us;
}

/* The due time after this one. */
static TimestampTz
due_after(const TaskqSchedule *schedule, TimestampTz due)
{
	TaskqCron	cron;
	pg_tz	   *zone;

	if (schedule->cron == NULL)
		return due + schedule->every_us;
	read_cron(schedule, &cron, &zone);
	return taskq_cron_next(&cron, zone, due);
}

/*
 * When the dispatcher has to look: for what pg_cron calls, only if it does
 * not.
 */
static void
set_look_at(const TaskqSchedule *schedule, TaskqScheduleState *state)
{
	state->look_at = state->next_run;
	if (schedule->cron != NULL && state->next_run != DT_NOEND)
		state->look_at += CRON_GRACE_US;
}

/*
 * taskq_schedule_next - a schedule that is enabled: its next due time is the
 * first one after now
 *
 * An interval is counted on from the due times that it had.
 */
void
taskq_schedule_next(const TaskqSchedule *schedule, TaskqScheduleState *state,
					TimestampTz now)
{
	int64		n;

	if (schedule->cron != NULL)
		state->next_run = due_after(schedule, now);
	else if (state->next_run == DT_NOEND)
		state->next_run = now + schedule->every_us;
	else if (state->next_run <= now)
		state->next_run = due_after(schedule,
									last_due(schedule, state, now, &n));
	set_look_at(schedule, state);
}

/* Do two zones show the same time, now and ever? */
static bool
same_zone(pg_tz * one, pg_tz * other)
{
	long		offset;
	long		other_offset;

	if (pg_get_timezone_offset(one, &offset) &&
		pg_get_timezone_offset(other, &other_offset))
		return offset == other_offset;
	return strcmp(pg_get_timezone_name(one), pg_get_timezone_name(other)) == 0;
}

/*
 * taskq_schedule_job - the expression, palloc'd, by which pg_cron has to call
 * a schedule
 *
 * pg_cron has one time zone for all.  In another one it calls more often, and
 * the schedule's own expression tells when it is due.  Raises 22023 if that
 * or the zone is none.
 */
char *
taskq_schedule_job(const TaskqSchedule *schedule)
{
	TaskqCron	cron;
	pg_tz	   *zone;
	pg_tz	   *theirs = pg_tzset(taskq_pgcron_timezone());

	read_cron(schedule, &cron, &zone);
	if (theirs != NULL && same_zone(zone, theirs))
		return pstrdup(schedule->cron);
	return taskq_cron_anywhere(&cron);
}

/* All missed runs are made, in portions; without overlap one by one. */
static void
run_all(const TaskqSchedule *schedule, TaskqScheduleState *state,
		TimestampTz now)
{
	int			max = schedule->overlap ? TASKQ_MISSED_PORTION : 1;

	for (int i = 0; i < max && state->next_run <= now; i++)
	{
		taskq_schedule_submit(schedule, state, state->next_run);
		state->next_run = due_after(schedule, state->next_run);
	}
}

/* Of several missed runs the last one is made, or none. */
static void
run_last(const TaskqSchedule *schedule, TaskqScheduleState *state,
		 TimestampTz now, bool blocked)
{
	int64		n;
	TimestampTz due = last_due(schedule, state, now, &n);

	state->missed += n;
	if (!blocked && (schedule->missed != TASKQ_MISSED_SKIP ||
					 now - due <= SKIP_AFTER_US))
	{
		taskq_schedule_submit(schedule, state, due);
		state->missed--;
	}
	state->next_run = due_after(schedule, due);
}

static void
run_due(const TaskqSchedule *schedule, TaskqScheduleState *state,
		TimestampTz now)
{
	bool		blocked = !schedule->overlap && last_unfinished(state);

	if (blocked && schedule->missed != TASKQ_MISSED_SKIP)
	{
		state->look_at = now + (schedule->cron ? BUSY_MAX_US
								: Min(Max(schedule->every_us, BUSY_MIN_US),
									  BUSY_MAX_US));
		return;
	}
	if (schedule->missed == TASKQ_MISSED_ALL)
		run_all(schedule, state, now);
	else
		run_last(schedule, state, now, blocked);
	set_look_at(schedule, state);
}

/*
 * taskq_schedule_fire - make the runs of a schedule that are due, in this
 * transaction
 *
 * called: by pg_cron, and not by the dispatcher, which waits for nobody, and
 * has an error for runs for which pg_cron should have called.  Locks the schedule's state; false if another transaction has that.
 * *look_at is when the dispatcher has to look at it again, DT_NOEND if it has
 * not; *runs how many were made.  Raises what keeps one from being made.
 */
bool
taskq_schedule_fire(const char *name, bool called, Datum not_called,
					TimestampTz now, TimestampTz *look_at, int64 *runs)
{
	TaskqScheduleState state;
	TaskqSchedule schedule;
	bool		late;

	*look_at = DT_NOEND;
	*runs = 0;
	switch (taskq_schedule_state_lock(name, called, &state))
	{
		case TASKQ_BUSY:
			return false;
		case TASKQ_MISSING:
			return true;
		case TASKQ_LOCKED:
			break;
	}
	*look_at = state.look_at;
	*runs = state.runs;
	if ((called ? state.next_run : state.look_at) > now)
	{
		*runs = 0;
		return true;
	}
	if (!taskq_schedule_find(name, &schedule) || !schedule.enabled ||
		schedule.foreign)
		state.look_at = DT_NOEND;
	else if (state.next_run > now)
		set_look_at(&schedule, &state);
	else
	{
		late = !called && schedule.cron != NULL && state.failures == 0 &&
			state.look_at == state.next_run + CRON_GRACE_US;
		state.failures = 0;
		state.error = 0;
		state.error_at = DT_NOEND;
		run_due(&schedule, &state, now);
		if (late)
		{
			state.error = not_called;
			state.error_at = GetCurrentTimestamp();
		}
	}
	taskq_schedule_state_update(&state);
	*look_at = state.look_at;
	*runs = state.runs - *runs;
	return true;
}

/*
 * taskq_schedule_failed - note why a schedule could not run, in another
 * transaction than that was
 *
 * Its due time stays; it is tried again later and later.  False if another
 * transaction has it locked (without wait).  *is_new: it was not known before.
 */
bool
taskq_schedule_failed(const char *name, bool wait, TimestampTz now,
					  Datum error, TimestampTz *look_at, bool *is_new)
{
	TaskqScheduleState state;

	*look_at = DT_NOEND;
	*is_new = false;
	switch (taskq_schedule_state_lock(name, wait, &state))
	{
		case TASKQ_BUSY:
			return false;
		case TASKQ_MISSING:
			return true;
		case TASKQ_LOCKED:
			break;
	}
	*is_new = state.error == 0 ||
		compareJsonbContainers(&DatumGetJsonbP(state.error)->root,
							   &DatumGetJsonbP(error)->root) != 0;
	state.error = error;
	state.error_at = GetCurrentTimestamp();
	state.look_at = now + Min(USECS_PER_SEC << Min(state.failures, 6),
							  MAX_PUT_OFF_US);
	state.failures++;
	taskq_schedule_state_update(&state);
	*look_at = state.look_at;
	return true;
}

/*
 * taskq_schedule_move - the system's clock was set by so much: an interval
 * keeps its length
 */
void
taskq_schedule_move(const char *name, int64 by)
{
	TaskqScheduleState state;
	TaskqSchedule schedule;

	if (taskq_schedule_state_lock(name, false, &state) != TASKQ_LOCKED ||
		!taskq_schedule_find(name, &schedule) || schedule.every_us == 0 ||
		!IS_VALID_TIMESTAMP(state.next_run + by) ||
		!IS_VALID_TIMESTAMP(state.look_at + by))
		return;
	state.next_run += by;
	state.look_at += by;
	taskq_schedule_state_update(&state);
}
