/*-------------------------------------------------------------------------
 *
 * retention.c
 *		Forgetting what has been finished for long.
 *
 * Part of the dispatcher's pass.  The ring's leaves hold tasks by the time of their
 * submit, a twelfth of taskq.retention each.  When everything in one was submitted
 * longer ago than that, the few that shall be kept (unfinished, or finished lately)
 * move to the leaf of the kept ones, and the leaf is truncated: however many tasks
 * it had, that costs nothing, and leaves no dead rows.  From the kept ones those
 * whose time is over are deleted.
 *
 * Truncating needs the leaf for itself.  It is done only if that can be had at once,
 * so that nobody queues up behind it; else a little later.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "defs.h"
#include "dispatcher.h"
#include "guc.h"
#include "lane.h"
#include "miscadmin.h"
#include "state.h"
#include "storage/lmgr.h"
#include "store.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#define AGAIN_MS 10000			/* till the next try, when somebody was in the way */
#define ROWS 500				/* in one transaction */

/* Is it finished, and was so before cutoff? */
static bool
is_over(const TaskqRow *row, TimestampTz cutoff)
{
	return taskq_state_final(taskq_row_state(row)) &&
		(taskq_row_isnull(row, finished_at) || DatumGetTimestampTz(taskq_row_value(row, finished_at)) <= cutoff);
}

/* Move a task to the kept ones; false if somebody has its row locked. */
static bool
keep(const pg_uuid_t *id)
{
	TaskqRow	row;
	TaskqRow	kept;
	TaskqLockResult locked = taskq_store_lock(id, false, &row);

	if (locked != TASKQ_LOCKED || row.leaf == TASKQ_KEEP)
		return locked != TASKQ_BUSY;
	kept = row;
	kept.leaf = TASKQ_KEEP;
	taskq_row_set(&kept, slot, Int16GetDatum(TASKQ_KEEP));
	taskq_store_insert(&kept, 1);
	taskq_store_delete(&row);
	return true;
}

/* The lanes of tasks that wait and have been moved are to be looked through in the other leaf. */
static void
rewind_lanes(const int32 *lanes, const pg_uuid_t *ids, int n)
{
	LWLockAcquire(taskq_main_lock, LW_EXCLUSIVE);
	for (int i = 0; i < n; i++)
	{
		TaskqLane  *lane = taskq_lane_find(MyDatabaseId, lanes[i]);

		if (lane != NULL)
			taskq_lane_rewind(lane, &ids[i], 1u << TASKQ_KEEP);
	}
	LWLockRelease(taskq_main_lock);
}

/*
 * One transaction's share of a leaf, from *from on: what is over is deleted from
 * the kept ones, what is not is moved to them.  Returns how many rows it looked at,
 * and tells whether one was locked.
 */
static int
sweep_portion(int leaf, TimestampTz cutoff, pg_uuid_t *from, bool *busy)
{
	TaskqRow   *rows = palloc(sizeof(TaskqRow) * ROWS);
	int32		lanes[ROWS];
	pg_uuid_t	ids[ROWS];
	int			nmoved = 0;
	int			n;

	taskq_pass_begin();
	taskq_defs_begin();
	n = taskq_store_read(leaf, from, ROWS, rows);
	for (int i = 0; i < n; i++)
	{
		pg_uuid_t	id = *DatumGetUUIDP(taskq_row_value(&rows[i], id));
		bool		over = is_over(&rows[i], cutoff);

		CHECK_FOR_INTERRUPTS();
		if (over && DatumGetInt16(taskq_row_value(&rows[i], attempt)) > 1)
			taskq_attempts_delete(&id);
		if (over && leaf == TASKQ_KEEP && taskq_store_lock(&id, false, &rows[i]) == TASKQ_LOCKED)
			taskq_store_delete(&rows[i]);
		if (over || leaf == TASKQ_KEEP)
			continue;
		*busy |= !keep(&id);
		lanes[nmoved] = DatumGetInt32(taskq_row_value(&rows[i], lane));
		ids[nmoved++] = id;
	}
	taskq_pass_commit();
	rewind_lanes(lanes, ids, nmoved);
	return n;
}

/* Look at all of a leaf; false if somebody was in the way. */
static bool
sweep_rows(int leaf, TimestampTz cutoff)
{
	pg_uuid_t	from;
	bool		busy = false;
	MemoryContext context = AllocSetContextCreate(taskq_dispatcher.context, "taskq retention", ALLOCSET_DEFAULT_SIZES);

	memset(&from, 0, sizeof(from));
	for (;;)
	{
		MemoryContextReset(context);
		MemoryContextSwitchTo(context);
		if (sweep_portion(leaf, cutoff, &from, &busy) < ROWS)
			break;
		CHECK_FOR_INTERRUPTS();
	}
	MemoryContextSwitchTo(taskq_dispatcher.context);
	MemoryContextDelete(context);
	return !busy;
}

/* Truncate a leaf that has nothing any more that shall be kept; false if that can't be now. */
static bool
truncate_leaf(int leaf, TimestampTz cutoff)
{
	Oid			oid = taskq_store_oid(TASKQ_REL_LEAF + leaf);
	bool		done = false;

	taskq_pass_begin();
	if (ConditionalLockRelationOid(oid, AccessExclusiveLock))
	{
		/* a submit that took hours may have come while we looked */
		done = taskq_store_all_over(leaf, cutoff);
		if (done)
			taskq_store_truncate(leaf);
	}
	taskq_pass_commit();
	return done;
}

/* Is there anything, and all of it from before cutoff? */
static bool
is_due(int leaf, TimestampTz cutoff)
{
	pg_uuid_t	newest;
	bool		due;

	taskq_pass_begin();
	due = taskq_store_newest(leaf, &newest) && taskq_id_time(&newest) <= cutoff;
	taskq_pass_commit();
	return due;
}

/* Empty the leaves that are due; returns when to look again. */
static TimestampTz
sweep_leaves(TimestampTz now, TimestampTz cutoff)
{
	TimestampTz next = TimestampTzPlusMilliseconds(now, taskq_ring_period_ms());
	int			current = taskq_ring_leaf(now);

	(void) sweep_rows(TASKQ_KEEP, cutoff);
	for (int leaf = 0; leaf < TASKQ_RING; leaf++)
	{
		if (leaf == current || !is_due(leaf, cutoff))
			continue;
		if (sweep_rows(leaf, cutoff) && truncate_leaf(leaf, cutoff))
			ereport(DEBUG1,
					(errmsg_internal("taskq emptied leaf %d", leaf)));
		else
			next = Min(next, TimestampTzPlusMilliseconds(now, AGAIN_MS));
	}
	return next;
}

/*
 * taskq_sweep - forget what is old, whenever the ring has turned on
 *
 * A copy of a database stays as it is until somebody takes it over.
 */
void
taskq_sweep(void)
{
	TimestampTz now = GetCurrentTimestamp();
	TimestampTz cutoff = now - (int64) taskq_retention * SECS_PER_MINUTE * USECS_PER_SEC;
	TimestampTz next;

	if (taskq_dispatcher.db->foreign || taskq_db_paused(MyDatabaseId))
		return;
	if (taskq_dispatcher.db->next_sweep > now)
	{
		taskq_look_again_at(taskq_dispatcher.db->next_sweep);
		return;
	}
	next = sweep_leaves(now, cutoff);
	LWLockAcquire(taskq_main_lock, LW_EXCLUSIVE);
	taskq_dispatcher.db->next_sweep = next;
	LWLockRelease(taskq_main_lock);
	taskq_look_again_at(next);
}
