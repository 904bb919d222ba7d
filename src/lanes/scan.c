/*-------------------------------------------------------------------------
 *
 * scan.c
 *		Finding what may be claimed, for workers and for external ones.
 *
 * First the lanes that may have something, the most urgent first; then the
 * tasks of one lane, in order of when they became claimable: by their submit,
 * whichever leaves they are in, or by their due time, from table "ready".
 * Nothing here changes anything: what is found is claimed by others.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "lanes/fair.h"
#include "lanes/lane.h"
#include "lanes/round.h"
#include "lanes/scan.h"
#include "store/defs.h"
#include "store/ready.h"
#include "utils/snapmgr.h"

static int
lane_cmp(const void *a, const void *b)
{
	const TaskqScanLane *x = a;
	const TaskqScanLane *y = b;

	if (x->priority != y->priority)
		return x->priority > y->priority ? -1 : 1;
	if (x->tenant_turn != y->tenant_turn)
		return x->tenant_turn < y->tenant_turn ? -1 : 1;
	if (x->turn != y->turn)
		return x->turn < y->turn ? -1 : 1;
	return taskq_id_cmp(&x->head, &y->head);
}

/*
 * taskq_scan_lanes - lanes of a database that may have something, the most
 * urgent first
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

		if (lane->dbid != dbid || !lane->dirty || lane->held != 0 ||
			(OidIsValid(role) && (lane->role != role || lane->scanner >= 0)))
			continue;
		candidate = &(*found)[n++];
		candidate->index = i;
		candidate->generation = lane->generation;
		candidate->id = lane->id;
		candidate->priority = lane->priority;
		candidate->tenant = lane->tenant;
		candidate->tenant_turn = taskq_fair_turn(lane, role);
		candidate->turn = lane->turn;
		taskq_lane_head(lane, &candidate->head);
	}
	LWLockRelease(taskq_main_lock);
	qsort(*found, n, sizeof(TaskqScanLane), lane_cmp);
	return n;
}

/*
 * taskq_scan_from - a scan of this lane starts where the lane's bounds are;
 * caller holds the main lock
 */
void
taskq_scan_from(const TaskqLane *lane, TaskqScan *scan)
{
	scan->lane = lane->id;
	scan->start = lane->watermark;
	scan->ready = lane->ready;
	scan->known = lane->known;
	scan->saved = lane->saved;
	scan->high = lane->high;
	scan->leaves = lane->leaves;
	scan->filter = NULL;
}

/* A task that a scan has found, and when it became claimable. */
typedef struct Found
{
	TaskqRef	ref;
	TaskqDue	at;
	bool		ready;			/* by its row in table "ready" */
} Found;

static int
found_cmp(const void *a, const void *b)
{
	return taskq_due_cmp(&((const Found *) a)->at, &((const Found *) b)->at);
}

/* Read table "ready"; how many were found. */
static int
scan_ready(TaskqScan *scan, Snapshot snapshot, Found *found)
{
	TaskqRef   *refs;
	TaskqDue   *dues;
	bool		exhausted;
	int			n;

	taskq_due_none(&scan->next_ready);
	if (scan->ready.due == DT_NOEND)
		return 0;
	refs = palloc(sizeof(TaskqRef) * scan->max);
	dues = palloc(sizeof(TaskqDue) * scan->max);
	n = taskq_ready_scan(scan->lane, &scan->ready, snapshot, scan->filter,
						 scan->max, refs, dues, &exhausted);
	for (int i = 0; i < n; i++)
		found[i] = (Found)
	{
		.ref = refs[i],.at = dues[i],.ready = true
	};
	if (!exhausted)
	{
		scan->next_ready = dues[n - 1];
		taskq_id_next(&scan->next_ready.id);
	}
	pfree(refs);
	pfree(dues);
	return n;
}

/*
 * Read the leaves; how many were found.  *last_seen: the last id looked at.
 */
static int
scan_leaves(TaskqScan *scan, Snapshot snapshot, Found *found,
			pg_uuid_t *last_seen)
{
	TaskqRef   *refs = palloc(sizeof(TaskqRef) * scan->max);
	int			n = 0;

	*last_seen = scan->start;
	scan->remaining = 0;
	for (int leaf = 0; leaf < TASKQ_LEAVES; leaf++)
	{
		pg_uuid_t	seen = scan->start;
		bool		exhausted;
		int			got;

		if ((scan->leaves & (1u << leaf)) == 0)
			continue;
		got = taskq_store_scan(leaf, scan->lane, &scan->start, snapshot,
							   scan->filter, scan->max, refs, &seen,
							   &exhausted);
		for (int i = 0; i < got; i++)
		{
			Found	   *item = &found[n++];

			item->ref = refs[i];
			item->at.due = taskq_id_time(&refs[i].id);
			item->at.id = refs[i].id;
			item->ready = false;
		}
		if (!exhausted)
			scan->remaining |= 1u << leaf;
		if (taskq_id_cmp(&seen, last_seen) > 0)
			*last_seen = seen;
	}
	pfree(refs);
	return n;
}

/*
 * A task that ran for long may be found both ways; then its row in "ready"
 * comes first.
 */
static bool
taken_already(const TaskqScan *scan, const Found *item)
{
	for (int i = 0; i < scan->nfound && scan->was_ready[i] && !item->ready;
		 i++)
	{
		if (taskq_id_eq(&scan->found[i].id, &item->ref.id))
			return true;
	}
	return false;
}

/*
 * Take the first of what was found, and set where to go on: what is left over
 * will be found again, wherever it is.
 */
static void
take(TaskqScan *scan, const Found *all, int nall, const pg_uuid_t *last_seen)
{
	const pg_uuid_t *last_taken = NULL;
	int			i;

	scan->nfound = 0;
	for (i = 0; i < nall && scan->nfound < scan->max; i++)
	{
		if (!all[i].ready)
			last_taken = &all[i].ref.id;
		if (taken_already(scan, &all[i]))
			continue;
		scan->was_ready[scan->nfound] = all[i].ready;
		scan->found[scan->nfound++] = all[i].ref;
	}
	if (nall > 0)
		scan->first = all[0].at;
	for (; i < nall; i++)
	{
		if (!all[i].ready)
			scan->remaining |= 1u << taskq_id_slot(&all[i].ref.id) |
				1u << TASKQ_KEEP;
		else if (taskq_due_cmp(&all[i].at, &scan->next_ready) < 0)
			scan->next_ready = all[i].at;
	}
	scan->next = scan->start;
	if (scan->remaining != 0 && last_taken == NULL)
		return;
	scan->next = scan->remaining != 0 ? *last_taken : *last_seen;
	taskq_id_next(&scan->next);
}

/*
 * Tasks with concurrency keys are claimed by round.c; who is to do something
 * to all that wait in a lane has them in any order.
 */
static void
list_keyed(TaskqScan *scan)
{
	scan->nfound = taskq_round_list(scan->lane, scan->max, scan->found);
	memset(scan->was_ready, true, sizeof(scan->was_ready));
	taskq_due_first(&scan->next_ready);
	if (scan->nfound < scan->max)
		taskq_due_none(&scan->next_ready);
	scan->remaining = 0;
}

/*
 * taskq_scan_lane - the claimable tasks of a lane that became so first
 *
 * From scan->start on, in the leaves told, and from scan->ready on; fills the
 * rest of scan.  To go on: start at scan->next, in the leaves that are
 * remaining, and at scan->next_ready.  Needs a transaction, and is called
 * outside of any lock of ours.
 */
void
taskq_scan_lane(TaskqScan *scan)
{
	Found	   *all = palloc(sizeof(Found) * scan->max * (TASKQ_LEAVES + 1));
	Snapshot	snapshot;
	pg_uuid_t	last_seen;
	int			nall;

	if (taskq_lane_keyed(scan->lane))
	{
		list_keyed(scan);
		pfree(all);
		return;
	}
	/* see lane.c: nothing plain is claimable before it */
	if (!scan->known)
		(void) taskq_watermark_read(scan->lane, &scan->saved);
	scan->known = true;
	if (taskq_id_cmp(&scan->start, &scan->saved) < 0)
		scan->start = scan->saved;

	snapshot = taskq_store_snapshot();
	nall = scan_ready(scan, snapshot, all);
	nall += scan_leaves(scan, snapshot, all + nall, &last_seen);
	UnregisterSnapshot(snapshot);
	qsort(all, nall, sizeof(Found), found_cmp);
	take(scan, all, nall, &last_seen);
	pfree(all);
}
