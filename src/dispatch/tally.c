/*-------------------------------------------------------------------------
 *
 * tally.c
 *		Writing what was counted: once a minute, and before the dispatcher leaves.
 *
 * Part of the dispatcher's pass.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "base/clock.h"
#include "base/guc.h"
#include "base/shmem.h"
#include "dispatch/dispatcher.h"
#include "dispatch/pass.h"
#include "lanes/counts.h"
#include "lanes/stock.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/lmgr.h"
#include "storage/procarray.h"
#include "store/defs.h"
#include "store/store.h"
#include "utils/timestamp.h"

#define IDLE_MS 1000			/* between two of them when nothing runs */
#define KEEP_MINUTES (3 * USECS_PER_HOUR)
#define KEEP_HOURS (15 * USECS_PER_DAY)
#define DAY_GROUPS 5000			/* of which there is a row a day */
#define MAX_QUEUES 256
#define FORGET 500				/* rows deleted in a transaction */
#define LAST_US (20 * USECS_PER_SEC)	/* for who is in the way at the end */
#define LAST_PAUSE_US 10000

static TimestampTz minute_ends = 0; /* steady time; 0: not known */
static TimestampTz wrote_at = 0;	/* steady time */

/* What nobody asks for any more. */
static void
forget_old(TimestampTz now)
{
	(void) taskq_rollup_forget(TASKQ_SPAN_MINUTE, now - KEEP_MINUTES, FORGET);
	(void) taskq_rollup_forget(TASKQ_SPAN_HOUR, now - KEEP_HOURS, FORGET);
	(void) taskq_rollup_forget(TASKQ_SPAN_DAY, now -
							   taskq_statistics_retention * USECS_PER_DAY,
							   FORGET);
}

/*
 * Add to the row of its day.  There are only so many groups in a day, and of
 * a role; what comes after them is one of the others.
 */
static void
add_to_day(TimestampTz day, TaskqCounted *counted, TaskqShares *shares)
{
	int32		role = taskq_group_role(&counted->group);

	if (taskq_rollup_add(TASKQ_SPAN_DAY, day, false, counted))
		return;
	if (taskq_shares_room(shares, &counted->group, role, DAY_GROUPS))
		taskq_shares_add(shares, &counted->group, role, 1);
	else
		taskq_group_other(&counted->group);
	(void) taskq_rollup_add(TASKQ_SPAN_DAY, day, true, counted);
}

/* Of all time only what is of kinds and queues. */
static void
add_to_all(TaskqCounted *counted)
{
	if (counted->group.type != TASKQ_GROUP_LANE)
		return;
	memset(counted->group.tenant, 0, TASKQ_GROUP_NAME);
	memset(counted->group.name, 0, TASKQ_GROUP_NAME);
	(void) taskq_rollup_add(TASKQ_SPAN_ALL, DT_NOBEGIN, true, counted);
}

/* The group of a role's queue among those found so far. */
static TaskqCounted *
find_queue(TaskqCounted *found, int *n, const TaskqLaneDef *lane)
{
	for (int i = 0; i < *n; i++)
	{
		if (found[i].group.of == lane->role &&
			strcmp(found[i].group.name, NameStr(lane->queue)) == 0)
			return &found[i];
	}
	memset(&found[*n], 0, sizeof(TaskqCounted));
	found[*n].group.type = TASKQ_GROUP_QUEUE;
	found[*n].group.outcome = '-';
	found[*n].group.of = lane->role;
	strlcpy(found[*n].group.name, NameStr(lane->queue), TASKQ_GROUP_NAME);
	found[*n].counts.n = 1;
	return &found[(*n)++];
}

/* How many tasks wait and run in each queue just now. */
static void
sample_queues(void)
{
	int			max = taskq_shared->nlanes;
	TaskqLane  *lanes = palloc(sizeof(TaskqLane) * Max(max, 1));
	TaskqCounted *found = palloc(sizeof(TaskqCounted) * MAX_QUEUES);
	int			nlanes = 0;
	int			n = 0;

	LWLockAcquire(taskq_main_lock, LW_SHARED);
	for (int i = 0; i < max; i++)
	{
		if (taskq_shared->lanes[i].dbid == MyDatabaseId)
			lanes[nlanes++] = taskq_shared->lanes[i];
	}
	LWLockRelease(taskq_main_lock);
	taskq_defs_begin();
	for (int i = 0; i < nlanes && n < MAX_QUEUES; i++)
	{
		const TaskqLaneDef *lane = taskq_lane_get(lanes[i].id);
		TaskqCounts *counts;

		if (lane == NULL || (lanes[i].waiting <= 0 && lanes[i].running <= 0))
			continue;
		counts = &find_queue(found, &n, lane)->counts;
		counts->wait_us += Max(lanes[i].waiting, 0);
		counts->run_us += Max(lanes[i].running, 0);
		counts->max_us = counts->wait_us;
	}
	taskq_counts_sample(found, n);
	pfree(lanes);
	pfree(found);
}

/*
 * Write what was counted in the minute of this moment; false if there is
 * nothing
 */
static bool
write_counts(TimestampTz at, bool sample)
{
	TimestampTz minute = taskq_counts_floor(at, TASKQ_SPAN_MINUTE);
	TimestampTz hour = taskq_counts_floor(at, TASKQ_SPAN_HOUR);
	TimestampTz day = taskq_counts_floor(at, TASKQ_SPAN_DAY);
	TaskqCounted *counted;
	TaskqShares shares;
	int			n;

	if (!sample && !taskq_counts_any() && !taskq_stock_any())
		return false;
	taskq_pass_begin();
	if (sample)
		sample_queues();
	n = taskq_counts_copy(&counted);
	taskq_defs_begin();
	taskq_rollup_shares(TASKQ_SPAN_DAY, day, &shares);
	for (int i = 0; i < n; i++)
	{
		TaskqCounted this = counted[i];

		add_to_day(day, &this, &shares);
		(void) taskq_rollup_add(TASKQ_SPAN_HOUR, hour, true, &this);
		(void) taskq_rollup_add(TASKQ_SPAN_MINUTE, minute, true, &this);
		add_to_all(&this);
		CHECK_FOR_INTERRUPTS();
	}
	forget_old(at);
	taskq_stock_write();
	taskq_counts_written(counted, n);
	taskq_pass_commit_async();
	return true;
}

/* Is one of them in the middle of its work? */
static bool
workers_busy(void)
{
	for (int i = 0; i < taskq_shared->nslots; i++)
	{
		if (taskq_shared->slots[i].dbid == MyDatabaseId &&
			taskq_shared->slots[i].state == TASKQ_SLOT_BUSY)
			return true;
	}
	return false;
}

static bool
lock_free(TaskqRelation which, LOCKMODE lockmode)
{
	Oid			oid = taskq_store_oid(which);
	bool		is_free = ConditionalLockRelationOid(oid, lockmode);

	if (is_free)
		UnlockRelationOid(oid, lockmode);
	return is_free;
}

/* Has nobody locked what is needed to write? */
static bool
tables_free(void)
{
	static const TaskqRelation read[] = {TASKQ_REL_LANE, TASKQ_REL_LANE_PKEY,
		TASKQ_REL_ROLE, TASKQ_REL_ROLE_PKEY, TASKQ_REL_KIND,
	TASKQ_REL_KIND_PKEY};
	bool		is_free;

	taskq_pass_begin();
	is_free = lock_free(TASKQ_REL_ROLLUP, RowExclusiveLock) &&
		lock_free(TASKQ_REL_ROLLUP_PKEY, RowExclusiveLock);
	for (int i = 0; i < lengthof(read); i++)
		is_free = is_free && lock_free(read[i], AccessShareLock);
	taskq_pass_commit();
	return is_free;
}

/*
 * A process that ends heeds no timeout, so it must not wait for a lock: but
 * whoever else is there ends, too, and gives it back.  False if somebody does
 * not, as a prepared transaction.
 */
static bool
wait_till_free(void)
{
	TimestampTz until = taskq_steady_now() + LAST_US;
	bool		alone;

	do
	{
		alone = CountDBBackends(MyDatabaseId) <= 1;
		if (tables_free())
			return true;
		pg_usleep(LAST_PAUSE_US);
	} while (!alone && taskq_steady_now() < until);
	return false;
}

/*
 * The server is stopped: shared memory is going to be gone.  Workers have
 * handed over by now (wait_for_workers in dispatcher.c).
 */
static void
write_at_exit(int code, Datum arg)
{
	if (code > 1 || taskq_dispatcher.db->dispatcher != MyProcPid ||
		!taskq_server_is_stopping())
		return;
	AbortOutOfAnyTransaction();
	LWLockReleaseAll();
	MemoryContextSwitchTo(taskq_dispatcher.context);
	if (taskq_pass_fits() && wait_till_free())
		(void) write_counts(GetCurrentTimestamp(), false);
}

/*
 * taskq_tally_init - once per dispatcher, after it has connected: what is
 * counted is also written when the server is stopped
 */
void
taskq_tally_init(void)
{
	before_shmem_exit(write_at_exit, (Datum) 0);
}

/* When the minute that is under way is over, in steady time. */
static TimestampTz
end_of_minute(TimestampTz now)
{
	TimestampTz clock = GetCurrentTimestamp();

	return now + USECS_PER_MINUTE -
		(clock - taskq_counts_floor(clock, TASKQ_SPAN_MINUTE));
}

/*
 * taskq_tally - write what was counted, if it is time
 *
 * While workers are busy, when a minute is over in which tasks ended: what was
 * counted up to now was so in that minute.  Else as soon as there is
 * something, but not each time, so that nothing is left when the dispatcher
 * leaves; nobody wakes up while nothing happens.
 */
void
taskq_tally(void)
{
	TimestampTz now = taskq_steady_now();
	bool		over = minute_ends != 0 && now >= minute_ends;
	bool		busy = workers_busy();
	bool		rested = now - wrote_at >= IDLE_MS * INT64CONST(1000);

	if (minute_ends == 0 || over)
		minute_ends = end_of_minute(now);
	if (over && busy)
	{
		(void) write_counts(GetCurrentTimestamp() - USECS_PER_SEC, true);
		wrote_at = now;
	}
	else if (rested && (!busy || taskq_counts_many()))
	{
		if (write_counts(GetCurrentTimestamp(), false))
			wrote_at = now;
	}
	if (taskq_counts_quiet(taskq_dispatcher.db))
		return;
	if (busy)
		taskq_look_again_steady(minute_ends);
	else
		taskq_look_again_in(IDLE_MS);
}

/*
 * taskq_tally_all - write what was counted, for the database is not served
 * any more
 */
void
taskq_tally_all(void)
{
	(void) write_counts(GetCurrentTimestamp(), false);
}
