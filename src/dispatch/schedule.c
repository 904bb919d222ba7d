/*-------------------------------------------------------------------------
 *
 * schedule.c
 *		Schedules that are due.
 *
 * Part of the dispatcher's pass.  Each one is a transaction of its own, so
 * that one that fails holds up none of the others.  What it does is
 * lanes/schedule.c.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "base/clock.h"
#include "dispatch/dispatcher.h"
#include "dispatch/pass.h"
#include "lanes/lane.h"
#include "lanes/schedule.h"
#include "miscadmin.h"
#include "run/complete.h"
#include "store/defs.h"
#include "utils/timestamp.h"

/* What a pass over the schedules knows. */
typedef struct Firing
{
	TimestampTz now;
	TimestampTz from;			/* all before it have been seen to */
	TimestampTz next;			/* when to look again */
	bool		left;			/* one could not be seen to */
} Firing;

static void
look_again(Firing *firing, TimestampTz look_at)
{
	firing->next = Min(firing->next, look_at);
}

/* Another session has it locked. */
static void
leave(Firing *firing)
{
	firing->left = true;
	look_again(firing,
			   TimestampTzPlusMilliseconds(firing->now, TASKQ_RETRY_MS));
}

/* Note why it could not run; the log has it once. */
static void
put_off(Firing *firing, const char *name, ErrorData *error)
{
	TimestampTz look_at;
	bool		is_new;

	taskq_pass_begin();
	taskq_defs_begin();
	if (!taskq_schedule_failed(name, false, firing->now,
							   taskq_error_jsonb(error), &look_at, &is_new))
		leave(firing);
	else
		look_again(firing, look_at);
	taskq_pass_commit();
	if (is_new)
		ereport(LOG,
				(errcode(error->sqlerrcode),
				 errmsg("schedule \"%s\" could not run: %s", name, error->message),
				 error->detail ? errdetail("%s", error->detail) : 0,
				 errhint("It is tried again; view taskq.schedule has the error as long as it is there.")));
}

/* For a run that the dispatcher makes, though it is for pg_cron to call. */
static Datum
not_called(void)
{
	ErrorData	error = {0};

	error.sqlerrcode = ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE;
	error.message = "pg_cron did not call the schedule at its due time";
	error.hint = "The server was down then, or table cron.job_run_details has the reason.";
	return taskq_error_jsonb(&error);
}

/* One schedule. */
static void
fire(Firing *firing, const char *name)
{
	PG_TRY();
	{
		TimestampTz look_at;
		int64		runs;

		taskq_pass_begin();
		taskq_defs_begin();
		if (taskq_schedule_fire(name, false, not_called(), firing->now,
								&look_at, &runs))
			look_again(firing, look_at);
		else
			leave(firing);

		/* what a crash undoes is due again, and its task never was */
		taskq_pass_commit_async();
	}
	PG_CATCH();
	{
		ErrorData  *error = taskq_pass_failed(taskq_dispatcher.context);

		put_off(firing, name, error);
	}
	PG_END_TRY();
	MemoryContextSwitchTo(taskq_dispatcher.context);
}

/* Those to be looked at by now. */
static List *
due_schedules(Firing *firing)
{
	List	   *names;
	List	   *copies = NIL;
	ListCell   *lc;

	taskq_pass_begin();
	taskq_defs_begin();
	names = taskq_schedules_to_look_at(firing->from, firing->now,
									   TASKQ_PORTION, &firing->next);
	MemoryContextSwitchTo(taskq_dispatcher.context);
	foreach(lc, names)
		copies = lappend(copies, pstrdup(lfirst(lc)));
	taskq_pass_commit();
	return copies;
}

/*
 * taskq_fire_schedules - make the runs that are due
 *
 * A large number of them in several passes.  All before db->next_schedule has
 * been seen to, but for what another session had locked.
 */
void
taskq_fire_schedules(void)
{
	static TimestampTz left = DT_NOEND; /* from where on one was left */
	TaskqDb    *db = taskq_dispatcher.db;
	TimestampTz noted = db->next_schedule;
	Firing		firing = {.now = GetCurrentTimestamp(),.next = DT_NOEND};
	ListCell   *lc;

	if (noted > firing.now)
	{
		taskq_look_again_at(noted);
		return;
	}

	/* the clock was set just now: first they have to follow it */
	if (taskq_clock_was_set(db->clock_offset))
	{
		taskq_look_again_in(TASKQ_RETRY_MS);
		return;
	}

	/* what is defined from here on lowers it again */
	LWLockAcquire(taskq_main_lock, LW_EXCLUSIVE);
	db->next_schedule = DT_NOEND;
	LWLockRelease(taskq_main_lock);
	if (taskq_db_paused(MyDatabaseId))
		return;					/* taskq.resume() makes it known again */

	firing.from = Min(noted, left);
	foreach(lc, due_schedules(&firing))
	{
		CHECK_FOR_INTERRUPTS();
		fire(&firing, lfirst(lc));
	}
	left = firing.left ? firing.from : DT_NOEND;
	LWLockAcquire(taskq_main_lock, LW_EXCLUSIVE);
	db->next_schedule = Min(db->next_schedule, firing.next);
	LWLockRelease(taskq_main_lock);
	taskq_look_again_at(db->next_schedule);
}

/*
 * taskq_move_schedules - the system's clock was set by so much, and intervals
 * keep their length
 *
 * In the caller's transaction.  One that another session has locked, to
 * change or run it, stays as it is.
 */
void
taskq_move_schedules(int64 by)
{
	TimestampTz next = DT_NOEND;
	List	   *names = taskq_schedules_to_look_at(DT_NOBEGIN, DT_NOEND,
												   INT_MAX, &next);
	ListCell   *lc;

	foreach(lc, names)
	{
		CHECK_FOR_INTERRUPTS();
		taskq_schedule_move(lfirst(lc), by);
	}
}
