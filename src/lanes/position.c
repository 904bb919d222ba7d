/*-------------------------------------------------------------------------
 *
 * position.c
 *		How many tasks of a queue are before one.
 *
 * What is more urgent is counted by the estimates of its lanes; what is as
 * urgent is looked at, from where each lane's claimable tasks begin, and not
 * without end: a position far behind is an estimate too.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "lanes/lane.h"
#include "lanes/position.h"
#include "lanes/scan.h"
#include "miscadmin.h"
#include "store/keyed.h"
#include "store/read.h"
#include "store/ready.h"
#include "store/rights.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#define MAX_COUNTED 10000		/* of one lane */

typedef struct SeenLane
{
	int32		id;
	int16		priority;
	int64		waiting;
}			SeenLane;

/* Lanes of this database that have something; how many. */
static int
waiting_lanes(int16 priority, SeenLane * *found)
{
	int			max = taskq_shared->nlanes;
	int			n = 0;

	*found = palloc(sizeof(SeenLane) * Max(max, 1));
	LWLockAcquire(taskq_main_lock, LW_SHARED);
	for (int i = 0; i < max; i++)
	{
		const TaskqLane *lane = &taskq_shared->lanes[i];

		if (lane->dbid != MyDatabaseId || lane->priority < priority ||
			(!lane->dirty && lane->waiting <= 0))
			continue;
		(*found)[n].id = lane->id;
		(*found)[n].priority = lane->priority;
		(*found)[n++].waiting = lane->waiting;
	}
	LWLockRelease(taskq_main_lock);
	return n;
}

/* When a task that a scan has found became claimable. */
static bool
claimable_since(const TaskqRef *ref, bool ready, TaskqDue *at)
{
	TaskqRow	row;

	at->id = ref->id;
	at->due = taskq_id_time(&ref->id);
	if (!ready)
		return true;
	if (!taskq_store_find(&ref->id, &row) || taskq_row_isnull(&row, run_at))
		return false;
	at->due = DatumGetTimestampTz(taskq_row_value(&row, run_at));
	return true;
}

/* Those with concurrency keys are in the order of their keys. */
static int64
count_keyed(const SeenLane * seen, const TaskqDue *place)
{
	Snapshot	snapshot = taskq_store_snapshot();
	TaskqRead	read;
	TaskqKeyed	keyed;
	int64		looked = 0;
	int64		n = 0;

	taskq_keyed_begin(&read, seen->id, PG_INT64_MIN, snapshot);
	while (looked++ < MAX_COUNTED && taskq_keyed_next(&read, &keyed))
		n += taskq_due_cmp(&keyed.at, place) < 0;
	taskq_read_end(&read);
	UnregisterSnapshot(snapshot);
	return looked <= MAX_COUNTED ? n : Max(n, seen->waiting);
}

/* Claimable tasks of a lane before this place. */
static int64
count_before(const SeenLane * seen, const TaskqDue *place)
{
	TaskqScan  *scan = palloc(sizeof(TaskqScan));
	TaskqLane  *lane;
	int64		n = 0;
	bool		past = false;

	LWLockAcquire(taskq_main_lock, LW_SHARED);
	lane = taskq_lane_find(MyDatabaseId, seen->id);
	if (lane != NULL)
		taskq_scan_from(lane, scan);
	LWLockRelease(taskq_main_lock);
	scan->max = TASKQ_BATCH_MAX;
	while (lane != NULL && !past && n < MAX_COUNTED &&
		   (scan->leaves != 0 || scan->ready.due != DT_NOEND))
	{
		taskq_scan_lane(scan);
		for (int i = 0; i < scan->nfound && !past; i++)
		{
			TaskqDue	at;

			if (!claimable_since(&scan->found[i], scan->was_ready[i], &at))
				continue;
			past = taskq_due_cmp(&at, place) >= 0;
			n += !past;
		}
		scan->start = scan->next;
		scan->leaves = scan->remaining;
		scan->ready = scan->next_ready;
	}
	pfree(scan);
	return n < MAX_COUNTED ? n : Max(n, seen->waiting);
}

/*
 * taskq_queue_position - the position of a pending task among those of its
 * queue that the caller may see, from 1; or as if it was in this lane
 *
 * Needs a transaction; takes the main lock.
 */
int64
taskq_queue_position(const TaskqLaneDef *lane, TaskqRow *row)
{
	TaskqDue	place;
	SeenLane   *seen;
	int			nseen = waiting_lanes(lane->priority, &seen);
	int64		n = 1;

	place.id = *DatumGetUUIDP(taskq_row_value(row, id));
	place.due = taskq_row_isnull(row, run_at) ? taskq_id_time(&place.id)
		: DatumGetTimestampTz(taskq_row_value(row, run_at));
	for (int i = 0; i < nseen; i++)
	{
		const TaskqLaneDef *other = taskq_lane_get(seen[i].id);

		CHECK_FOR_INTERRUPTS();
		if (other == NULL ||
			strcmp(NameStr(other->queue), NameStr(lane->queue)) != 0 ||
			!taskq_role_may_see(other->role_oid))
			continue;
		if (seen[i].priority > lane->priority)
			n += seen[i].waiting;
		else if (taskq_lane_keyed(seen[i].id))
			n += count_keyed(&seen[i], &place);
		else
			n += count_before(&seen[i], &place);
	}
	pfree(seen);
	return n;
}
