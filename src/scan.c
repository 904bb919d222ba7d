/*-------------------------------------------------------------------------
 *
 * scan.c
 *		Finding what may be claimed, for workers and for external ones.
 *
 * First the lanes that may have something, the most urgent first; then the
 * tasks of one lane, the oldest first, whichever leaves they are in.  Nothing
 * here changes anything: what is found is claimed by others.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "scan.h"
#include "utils/snapmgr.h"

static int
lane_cmp(const void *a, const void *b)
{
	const TaskqScanLane *x = a;
	const TaskqScanLane *y = b;

	if (x->priority != y->priority)
		return x->priority > y->priority ? -1 : 1;
	return taskq_id_cmp(&x->head, &y->head);
}

/*
 * taskq_scan_lanes - lanes of a database that may have something, the most urgent first
 *
 * role: only its own that nobody else scans now; InvalidOid: all.  *found is
 * palloc'd; returns how many.  Takes the main lock.
 */
int
taskq_scan_lanes(Oid dbid, Oid role, TaskqScanLane **found)
{
	int			max = taskq_shared->nlanes;
	int			n = 0;

	/* lanes that are added just now are looked at the next time */
	*found = palloc(sizeof(TaskqScanLane) * Max(max, 1));
	LWLockAcquire(taskq_main_lock, LW_SHARED);
	for (int i = 0; i < max; i++)
	{
		TaskqLane  *lane = &taskq_shared->lanes[i];
		TaskqScanLane *candidate;

		if (lane->dbid != dbid || !lane->dirty ||
			(OidIsValid(role) && (lane->role != role || lane->scanner >= 0)))
			continue;
		candidate = &(*found)[n++];
		candidate->index = i;
		candidate->generation = lane->generation;
		candidate->id = lane->id;
		candidate->priority = lane->priority;
		candidate->head = lane->nagain > 0 ? lane->again[0] : lane->head;
	}
	LWLockRelease(taskq_main_lock);
	qsort(*found, n, sizeof(TaskqScanLane), lane_cmp);
	return n;
}

static int
ref_cmp(const void *a, const void *b)
{
	return taskq_id_cmp(&((const TaskqRef *) a)->id, &((const TaskqRef *) b)->id);
}

/*
 * taskq_scan_leaves - the oldest claimable tasks of a lane
 *
 * From scan->start on, in the leaves told; fills the rest of scan.  To go on: start
 * at scan->next, in the leaves that are remaining.  Needs a transaction, and is
 * called outside of any lock of ours.
 */
void
taskq_scan_leaves(int32 lane, TaskqScan *scan)
{
	TaskqRef   *all = palloc(sizeof(TaskqRef) * scan->max * TASKQ_LEAVES);
	pg_uuid_t	last_seen = scan->start;
	Snapshot	snapshot = taskq_store_snapshot();
	int			nall = 0;

	scan->remaining = 0;
	for (int leaf = 0; leaf < TASKQ_LEAVES; leaf++)
	{
		pg_uuid_t	seen = scan->start;
		bool		exhausted;

		if ((scan->leaves & (1u << leaf)) == 0)
			continue;
		nall += taskq_store_scan(leaf, lane, &scan->start, snapshot, scan->filter, scan->max, all + nall, &seen, &exhausted);
		if (!exhausted)
			scan->remaining |= 1u << leaf;
		if (taskq_id_cmp(&seen, &last_seen) > 0)
			last_seen = seen;
	}
	UnregisterSnapshot(snapshot);

	qsort(all, nall, sizeof(TaskqRef), ref_cmp);
	scan->nfound = Min(nall, scan->max);
	memcpy(scan->found, all, scan->nfound * sizeof(TaskqRef));
	if (nall > scan->max)
	{
		/* what is left over will be found again, wherever it is */
		for (int i = scan->max; i < nall; i++)
			scan->remaining |= 1u << taskq_id_slot(&all[i].id) | 1u << TASKQ_KEEP;
	}
	if (scan->remaining != 0)
		last_seen = scan->nfound > 0 ? scan->found[scan->nfound - 1].id : scan->start;
	scan->next = last_seen;
	taskq_id_next(&scan->next);
	pfree(all);
}
