/*-------------------------------------------------------------------------
 *
 * first.c
 *		The first task of a lane, for those who only look.
 *
 * Where claimable tasks begin is known of lanes that are claimed from: scans
 * raise their bounds (lane.c).  Of one that nobody has claimed from, because
 * its queue is paused or no worker asks for it, nothing is known but the
 * beginning of all leaves.  So what a look at its first tasks has found is
 * kept in shared memory.  It is beside the bounds of the scans, not one of
 * them: nothing is run by it, and nothing saved.
 *
 * It is forgotten (taskq_lane_changed) when something is noted that is not
 * after it, and when a task of the lane that waited is claimed, over, or
 * changed.  What is noted between a look's snapshot and its end is told by
 * the count of changes: then nothing is kept.  After some minutes it is
 * looked for again all the same; there are ways to change a table by hand
 * that nothing tells of.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "base/clock.h"
#include "lanes/first.h"
#include "lanes/lane.h"
#include "miscadmin.h"
#include "store/defs.h"
#include "store/leaves.h"
#include "store/ready.h"
#include "utils/timestamp.h"

#define KEEP_MS 300000

/* What a look begins with. */
typedef struct Look
{
	pg_uuid_t	from;
	uint32		leaves;
	uint32		generation;		/* of the lane's entry */
	uint32		changes;
	bool		lasting;		/* nothing of it is with a worker, or locked */
	TaskqFirst	found;
}			Look;

/* Is what a transaction sees what is committed? */
static bool
sees_committed(void)
{
	return !TransactionIdIsValid(GetTopTransactionIdIfAny());
}

/*
 * False: it has no entry.  What is still known, but not good any more, is
 * forgotten now: else what is noted during the look and comes after that would
 * not count as a change.
 */
static bool
begin_look(int32 id, Look * look)
{
	TaskqLane  *lane;

	LWLockAcquire(taskq_main_lock, LW_EXCLUSIVE);
	lane = taskq_lane_find(MyDatabaseId, id);
	if (lane != NULL && lane->first.known && sees_committed())
		taskq_lane_changed(lane);
	if (lane != NULL)
	{
		look->generation = lane->generation;
		look->from = lane->watermark;
		look->leaves = lane->leaves;
		look->found.ready = lane->ready;
		look->changes = lane->first.changes;
		look->lasting = lane->running <= 0 && lane->retry_at == DT_NOEND;
	}
	LWLockRelease(taskq_main_lock);
	return lane != NULL;
}

/* The first plain one; whether it can be claimed. */
static bool
look_at_leaves(int32 lane, Look * look)
{
	bool		claimable = false;

	memset(&look->found.plain, 0xff, UUID_LEN);
	for (int leaf = 0; leaf < TASKQ_LEAVES; leaf++)
	{
		pg_uuid_t	id;
		bool		may;

		if ((look->leaves & (1u << leaf)) == 0 ||
			!taskq_store_first(leaf, lane, &look->from, &id, &may) ||
			taskq_id_cmp(&id, &look->found.plain) >= 0)
			continue;
		look->found.plain = id;
		claimable = may;
	}
	return claimable;
}

/* Since when the first one of table "ready" waits. */
static TimestampTz
look_at_ready(int32 lane, Look * look)
{
	TaskqDue	due;

	if (look->found.ready.due == DT_NOEND ||
		taskq_ready_next(lane, &look->found.ready, 1, &due) == 0)
	{
		taskq_due_none(&look->found.ready);
		return DT_NOEND;
	}
	look->found.ready = due;
	return Max(due.due, taskq_id_time(&due.id));
}

static void
keep(int32 id, const Look * look)
{
	TaskqLane  *lane;

	LWLockAcquire(taskq_main_lock, LW_EXCLUSIVE);
	lane = taskq_lane_find(MyDatabaseId, id);
	/* an entry that was made anew counts anew */
	if (lane != NULL && lane->generation == look->generation &&
		lane->first.changes == look->changes && !lane->first.known)
	{
		lane->first = look->found;
		lane->first.known = true;
		lane->first.changes = look->changes;
		lane->first.until = TimestampTzPlusMilliseconds(taskq_steady_now(),
														KEEP_MS);
	}
	LWLockRelease(taskq_main_lock);
}

/*
 * taskq_first_since - since when the first task of a lane waits; DT_NOEND if
 * that is not known
 *
 * Only looks, and only at the first task of each leaf from where the lane is
 * known to begin: where that is over the first that is not would have to be
 * searched for.  Keeps what it finds.  Needs a transaction; takes the main
 * lock.
 */
TimestampTz
taskq_first_since(int32 lane)
{
	Look		look;
	bool		plain;

	if (taskq_lane_keyed(lane) || !begin_look(lane, &look))
		return DT_NOEND;
	plain = look_at_leaves(lane, &look);
	look.found.since = look_at_ready(lane, &look);
	if (plain)
		look.found.since = Min(look.found.since,
							   taskq_id_time(&look.found.plain));
	if (look.lasting && sees_committed())
		keep(lane, &look);
	return look.found.since;
}

/*
 * taskq_first_kept - is that still known?  Then it is lane->first.since
 */
bool
taskq_first_kept(const TaskqLane *lane)
{
	return lane->first.known && taskq_steady_now() < lane->first.until &&
		sees_committed();
}

/*
 * taskq_first_bounds - where the pending tasks of a lane begin, if that is
 * known
 *
 * *plain: none of those that are pending since their submit has a lower id;
 * *ready: there may be some that have a row in table "ready".  Takes the main
 * lock; nothing is known where the library is not preloaded.
 */
bool
taskq_first_bounds(int32 id, pg_uuid_t *plain, bool *ready)
{
	TaskqLane  *lane;
	bool		known;

	if (taskq_shared == NULL)
		return false;
	LWLockAcquire(taskq_main_lock, LW_SHARED);
	lane = taskq_lane_find(MyDatabaseId, id);
	known = lane != NULL && taskq_first_kept(lane);
	if (known)
	{
		*plain = lane->first.plain;
		*ready = lane->first.ready.due != DT_NOEND;
	}
	LWLockRelease(taskq_main_lock);
	return known;
}
