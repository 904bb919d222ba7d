/*-------------------------------------------------------------------------
 *
 * forget.c
 *		Deletes tasks whose time is over one by one.
 *
 * From the leaf of the kept ones; and, from all leaves, those that are kept
 * for less than usual.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "base/clock.h"
#include "dispatch/sweep.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "store/attempts.h"
#include "store/dependencies.h"
#include "store/leaves.h"
#include "store/state.h"
#include "store/store.h"
#include "utils/timestamp.h"

/* Was it submitted here? */
static bool
is_home(const TaskqRow *row)
{
	const TaskqLaneDef *lane =
	taskq_lane_get(DatumGetInt32(taskq_row_value(row, lane)));

	return lane != NULL && !lane->foreign;
}

/* Delete from the kept ones what is over. */
static TaskqPortion
delete_portion(void)
{
	TaskqDb    *db = taskq_sweeper.db;
	TaskqLeaf  *leaf = &db->leaves[TASKQ_KEEP];
	TaskqRef   *refs;
	BlockNumber next;
	int			n;

	taskq_sweep_begin();
	refs = palloc(sizeof(TaskqRef) *
				  (TASKQ_SWEEP_ROWS + MaxHeapTuplesPerPage));
	next = taskq_store_pick(TASKQ_KEEP, leaf->block, TASKQ_SWEEP_BLOCKS, true,
							&taskq_sweeper.rules,
							leaf->cutoff, TASKQ_SWEEP_ROWS, refs, &n);
	for (int i = 0; i < n; i++)
	{
		TaskqRow	row;

		CHECK_FOR_INTERRUPTS();
		if (taskq_store_lock_seen(&refs[i], &row) != TASKQ_LOCKED ||
			row.leaf != TASKQ_KEEP || !is_home(&row) ||
			!taskq_row_over(&row, &taskq_sweeper.rules, leaf->cutoff) ||
			taskq_task_needed(&refs[i].id))
			continue;
		taskq_store_delete(&row);
		db->attempts_swept = false;
	}
	taskq_sweep_commit();
	leaf->block = next == InvalidBlockNumber ? 0 : next;
	return next == InvalidBlockNumber ? TASKQ_PORTION_LAST
		: TASKQ_PORTION_MORE;
}

/*
 * taskq_sweep_kept - forget what is over of the kept ones
 *
 * Once in a period: who looks at more than what is new.  In transactions of
 * its own; may raise.
 */
void
taskq_sweep_kept(int leafno)
{
	TaskqDb    *db = taskq_sweeper.db;
	TaskqLeaf  *leaf = &db->leaves[leafno];
	TaskqPortion portion = TASKQ_PORTION_MORE;

	if (leaf->block == 0)
		leaf->cutoff = taskq_sweep_cutoff();
	leaf->cutoff = Min(leaf->cutoff, taskq_sweep_cutoff());
	while (portion == TASKQ_PORTION_MORE && !taskq_sweep_shall_leave())
	{
		TimestampTz start = GetCurrentTimestamp();

		portion = delete_portion();
		taskq_sweep_nap(start);
	}
	if (portion != TASKQ_PORTION_LAST)
		return;
	leaf->tries = 0;
	leaf->again_at = taskq_steady_now() + taskq_ring_period_ms() * 1000;
	if (taskq_sweeper.retention > 0)
		return;

	/* no leaf is emptied that would give occasion for it */
	leaf->again_at = taskq_steady_now() + USECS_PER_DAY;
	if (taskq_sweeper.rules.n > 0)
		db->attempts_swept = false;
}

/* ---- what is kept for less than usual ---- */

/* Delete those of these tasks of a leaf that are over. */
static void
delete_early(int leafno, const TaskqRef *refs, int n, TimestampTz cutoff)
{
	static const TaskqRetention as_told = {0};

	for (int i = 0; i < n; i++)
	{
		TaskqRow	row;

		CHECK_FOR_INTERRUPTS();
		if (taskq_store_lock_seen(&refs[i], &row) != TASKQ_LOCKED ||
			row.leaf != leafno || !is_home(&row) ||
			!taskq_row_over(&row, &as_told, cutoff) ||
			taskq_task_needed(&refs[i].id))
			continue;
		taskq_store_delete(&row);
		taskq_attempts_forget(&refs[i].id);
	}
}

/*
 * Forget what is over of a lane that is kept for less than usual: it has its
 * index, so nothing else is read.  The room comes back with the leaf.
 */
static void
sweep_lane(int leafno, const TaskqKeep * lane)
{
	TimestampTz cutoff = GetCurrentTimestamp() - lane->us;
	bool		more = true;
	pg_uuid_t	from;

	memset(&from, 0, sizeof(from));
	while (more && !taskq_sweep_shall_leave())
	{
		TimestampTz start = GetCurrentTimestamp();
		TaskqRef   *refs;
		int			n;

		taskq_sweep_begin();
		/* an administrator may have the leaf for himself */
		if (!ConditionalLockRelationOid(taskq_store_oid(TASKQ_REL_LEAF +
														leafno),
										RowExclusiveLock))
		{
			taskq_sweep_commit();
			return;
		}
		refs = palloc(sizeof(TaskqRef) * TASKQ_SWEEP_ROWS);
		more = taskq_store_pick_lane(leafno, lane->lane, &from, cutoff,
									 TASKQ_SWEEP_ROWS,
									 refs, &n);
		delete_early(leafno, refs, n, cutoff);
		taskq_sweep_commit();
		if (n > 0)
			taskq_sweep_nap(start);
	}
}

/*
 * taskq_sweep_early - forget what is over of a leaf's lanes that are kept for
 * less than usual
 *
 * In transactions of its own; may raise.
 */
void
taskq_sweep_early(int leafno)
{
	for (int i = 0; i < taskq_sweeper.rules.n && !taskq_sweep_shall_leave();
		 i++)
	{
		if (taskq_sweeper.rules.lanes[i].us < taskq_sweeper.rules.us)
			sweep_lane(leafno, &taskq_sweeper.rules.lanes[i]);
	}
}
