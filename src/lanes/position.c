/*-------------------------------------------------------------------------
 *
 * position.c
 *		How many tasks are before one, and how long they will take.
 *
 * They are looked at, lane by lane, from where each lane's claimable tasks
 * begin: the task's own lane, what is as urgent, what is more urgent; but only
 * so many in all, so it costs the same however much waits.  What was not
 * looked at of more urgent lanes is counted by their estimates.
 * Where that is not enough, the number is an estimate: the others of a lane,
 * as many as its own estimate says, are taken to have come evenly between the
 * last one that was looked at and the newest of the lane.
 *
 * What was looked at is kept (a "front"), so that many tasks of a list are
 * found their places in it by bisection.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "lanes/claim.h"
#include "lanes/lane.h"
#include "lanes/position.h"
#include "lanes/scan.h"
#include "miscadmin.h"
#include "store/keyed.h"
#include "store/merge.h"
#include "store/read.h"
#include "store/ready.h"
#include "store/rights.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#define LANE_COST 20			/* a lane that has nothing costs as much as so
								 * many tasks */

typedef struct FrontLane
{
	int32		id;
	int16		priority;
	int64		tenant;
	int64		waiting;		/* by estimate */
	int64		average_us;		/* run time of a task; 0: not known */
	bool		same_queue;
	bool		same_kind;
	bool		held;			/* a limit is reached */
	bool		urgent;			/* all of it comes before */
	bool		looked;
	bool		complete;		/* all that it has was looked at */
	int			n;
	TaskqDue   *places;			/* in order */
	TimestampTz newest;			/* if it is not complete: its last one's */
} FrontLane;

struct TaskqFront
{
	int			nlanes;
	FrontLane  *lanes;
	bool		turns;			/* other tenants' lanes of the same priority */
};

/* Lanes of this database that have something; how many. */
static int
waiting_lanes(int16 priority, Oid role, FrontLane **found)
{
	int			max = taskq_shared->nlanes;
	int			n = 0;

	*found = palloc_extended(sizeof(FrontLane) * Max(max, 1),
							 MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	LWLockAcquire(taskq_main_lock, LW_SHARED);
	for (int i = 0; i < max; i++)
	{
		const TaskqLane *lane = &taskq_shared->lanes[i];

		if (lane->dbid != MyDatabaseId || lane->priority < priority ||
			(OidIsValid(role) && lane->role != role) ||
			(!lane->dirty && !lane->waits))
			continue;
		(*found)[n].id = lane->id;
		(*found)[n].priority = lane->priority;
		(*found)[n].tenant = lane->tenant;
		(*found)[n].average_us = lane->average_us;
		(*found)[n].held = lane->held != 0;
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

static int
due_cmp(const void *a, const void *b)
{
	return taskq_due_cmp(a, b);
}

/* Those with concurrency keys are in the order of their keys. */
static void
look_at_keyed(FrontLane *lane, int max)
{
	Snapshot	snapshot = taskq_store_snapshot();
	TaskqRead	read;
	TaskqKeyed	keyed;

	lane->complete = true;
	taskq_keyed_begin(&read, lane->id, PG_INT64_MIN, snapshot);
	while (taskq_keyed_next(&read, &keyed))
	{
		if (lane->n == max)
		{
			lane->complete = false;
			break;
		}
		lane->places[lane->n++] = keyed.at;
	}
	taskq_read_end(&read);
	UnregisterSnapshot(snapshot);
	qsort(lane->places, lane->n, sizeof(TaskqDue), due_cmp);
}

/* When the newest task of a lane was submitted. */
static TimestampTz
newest_of(int32 lane)
{
	TaskqMerge *merge = taskq_merge_begin(true, NULL, NULL, NULL);
	TaskqIdRange all;
	int64		budget = 100;
	TimestampTz newest = 0;
	TaskqRow	row;
	TaskqRank	place;

	memset(&all.low, 0, UUID_LEN);
	memset(&all.high, 0xff, UUID_LEN);
	taskq_merge_add_lane(merge, lane, &all, 0);
	if (taskq_merge_next(merge, &budget, &row, &place) == TASKQ_MERGE_ROW)
		newest = taskq_id_time(DatumGetUUIDP(taskq_row_value(&row, id)));
	taskq_merge_end(merge);
	return newest;
}

static void
look_at_plain(FrontLane *lane, int max)
{
	TaskqScan  *scan = palloc(sizeof(TaskqScan));
	TaskqLane  *entry;

	LWLockAcquire(taskq_main_lock, LW_SHARED);
	entry = taskq_lane_find(MyDatabaseId, lane->id);
	if (entry != NULL)
		taskq_scan_from(entry, scan);
	LWLockRelease(taskq_main_lock);
	while (entry != NULL && lane->n < max &&
		   (scan->leaves != 0 || scan->ready.due != DT_NOEND))
	{
		scan->max = Min(max - lane->n, TASKQ_BATCH_MAX);
		taskq_scan_lane(scan);
		for (int i = 0; i < scan->nfound; i++)
			lane->n += claimable_since(&scan->found[i], scan->was_ready[i],
									   &lane->places[lane->n]);
		scan->start = scan->next;
		scan->leaves = scan->remaining;
		scan->ready = scan->next_ready;
	}
	lane->complete = entry == NULL ||
		(scan->leaves == 0 && scan->ready.due == DT_NOEND);
	if (!lane->complete)
		lane->newest = newest_of(lane->id);
	pfree(scan);
}

/* Look at up to so many tasks of a lane; what that has cost. */
static int
look_at_lane(FrontLane *lane, int max)
{
	lane->looked = true;
	lane->places = palloc_extended(sizeof(TaskqDue) * (max + 1),
								   MCXT_ALLOC_HUGE);
	if (taskq_lane_keyed(lane->id))
		look_at_keyed(lane, max);
	else
		look_at_plain(lane, max);
	if (lane->n < max)
		lane->places = repalloc(lane->places,
								sizeof(TaskqDue) * Max(lane->n, 1));
	return lane->n + LANE_COST;
}

/* Is it one that counts: of the queue, or of the role's workers? */
static bool
counts(const TaskqLaneDef *other, const TaskqLaneDef *lane, bool of_role)
{
	if (other == NULL || !taskq_role_may_see(other->role_oid))
		return false;
	if (!of_role)
		return strcmp(NameStr(other->queue), NameStr(lane->queue)) == 0;
	return taskq_lane_runnable(other->id, lane->role_oid);
}

/*
 * Is it this one's turn to be looked at: urgent ones, where they are few, for
 * each of them counts; then the lane itself; then the others?
 */
static bool
looks_now(const FrontLane *each, int32 own, int pass, int budget)
{
	if (each->urgent)
		return pass == 0 && each->waiting < budget / 2;
	return pass == (each->id == own ? 1 : 2);
}

static void
look(TaskqFront *front, const TaskqLaneDef *lane, int budget)
{
	for (int pass = 0; pass < 3; pass++)
	{
		for (int i = 0; i < front->nlanes && budget > LANE_COST; i++)
		{
			FrontLane  *each = &front->lanes[i];

			if (!looks_now(each, lane->id, pass, budget))
				continue;
			CHECK_FOR_INTERRUPTS();
			budget -= look_at_lane(each, budget);
		}
	}
}

static TaskqFront *
make_front(const TaskqLaneDef *lane, bool of_role, int budget)
{
	TaskqFront *front = palloc0(sizeof(TaskqFront));
	FrontLane  *found;
	int			n = waiting_lanes(lane->priority,
								  of_role ? lane->role_oid : InvalidOid,
								  &found);

	front->lanes = found;
	for (int i = 0; i < n; i++)
	{
		const TaskqLaneDef *other = taskq_lane_get(found[i].id);
		FrontLane	each = found[i];

		if (!counts(other, lane, of_role))
			continue;
		each.urgent = each.priority > lane->priority;
		each.same_queue = strcmp(NameStr(other->queue),
								 NameStr(lane->queue)) == 0;
		each.same_kind = other->kind_owner == lane->kind_owner &&
			strcmp(NameStr(other->kind), NameStr(lane->kind)) == 0;
		/* those of another limit that is reached are in nobody's way */
		if (of_role && each.held && !each.same_queue && !each.same_kind)
			continue;
		if (of_role && each.average_us == 0)
			each.average_us = taskq_lane_average_us(other, true);
		front->turns |= !each.urgent && each.tenant != lane->tenant;
		front->lanes[front->nlanes++] = each;
	}
	look(front, lane, budget);
	return front;
}

/*
 * taskq_front_of_queue - what waits in a lane's queue before it and beside
 * it, as far as the caller may see it
 *
 * Looks at so many tasks (budget).  Palloc'd.  Needs a transaction, and
 * taskq_defs_begin; takes the main lock.
 */
TaskqFront *
taskq_front_of_queue(const TaskqLaneDef *lane, int budget)
{
	return make_front(lane, false, budget);
}

/*
 * taskq_front_of_role - the same of what the workers of a lane's role will
 * run before it and beside it, in whatever queue
 */
TaskqFront *
taskq_front_of_role(const TaskqLaneDef *lane, int budget)
{
	return make_front(lane, true, budget);
}

/* How many of those that were looked at are before a place. */
static int
places_before(const FrontLane *lane, const TaskqDue *place)
{
	int			low = 0;
	int			high = lane->n;

	while (low < high)
	{
		int			middle = (low + high) / 2;

		if (taskq_due_cmp(&lane->places[middle], place) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/*
 * How many tasks of a lane are before a place that is behind all that was
 * looked at.
 */
static int64
estimate_before(const FrontLane *lane, const TaskqDue *place)
{
	double		last;
	double		share;
	double		n;

	if (lane->n < 2)
		return Max(lane->waiting, lane->n);
	/* of a keyed lane any were looked at */
	if (taskq_lane_keyed(lane->id))
		n = (double) lane->waiting * places_before(lane, place) / lane->n;
	else
	{
		last = lane->places[lane->n - 1].due;
		share = lane->newest > last ? (place->due - last) / (lane->newest - last)
			: 1;
		/* itself is one of them */
		n = lane->n + (lane->waiting - 1 - lane->n) * Min(share, 1);
	}
	n = Min(n, (double) lane->waiting);
	return Max((int64) n, places_before(lane, place));
}

static int64
lane_before(const FrontLane *lane, const TaskqDue *place, bool *exact)
{
	int			n;

	*exact = lane->urgent && lane->looked && lane->complete;
	if (*exact)
		return lane->n;
	if (lane->urgent || !lane->looked)
		return lane->waiting;
	n = places_before(lane, place);
	*exact = lane->complete || (n < lane->n && !taskq_lane_keyed(lane->id));
	return *exact ? n : estimate_before(lane, place);
}

/*
 * taskq_front_ahead - how many tasks are before this place, and how long they
 * will take
 */
void
taskq_front_ahead(const TaskqFront *front, const TaskqDue *place,
				  TaskqAhead *ahead)
{
	memset(ahead, 0, sizeof(*ahead));
	ahead->exact = true;
	ahead->turns = front->turns;
	for (int i = 0; i < front->nlanes; i++)
	{
		const FrontLane *lane = &front->lanes[i];
		bool		exact;
		int64		n = lane_before(lane, place, &exact);
		double		us = (double) n * lane->average_us;

		ahead->exact &= exact || n == 0;
		ahead->n += n;
		ahead->work_us += us;
		ahead->unknown += lane->average_us > 0 ? 0 : n;
		if (lane->same_queue)
		{
			ahead->of_queue += n;
			ahead->queue_us += us;
		}
		if (lane->same_kind)
		{
			ahead->of_kind += n;
			ahead->kind_us += us;
		}
	}
}

/*
 * taskq_front_place - the place of a task: since when it is claimable; run_at
 * 0: since its submit
 */
void
taskq_front_place(const pg_uuid_t *id, TimestampTz run_at, TaskqDue *place)
{
	place->id = *id;
	place->due = run_at == 0 ? taskq_id_time(id) : run_at;
}

/* taskq_front_place_of - the same of a task that was read */
void
taskq_front_place_of(TaskqRow *row, TaskqDue *place)
{
	taskq_front_place(DatumGetUUIDP(taskq_row_value(row, id)),
					  taskq_row_isnull(row, run_at) ? 0
					  : DatumGetTimestampTz(taskq_row_value(row, run_at)),
					  place);
}

/*
 * taskq_queue_position - the position of a pending task among those of its
 * queue that the caller may see, from 1; or as if it was in this lane
 *
 * *exact: or it is an estimate; exact may be NULL.  Needs a transaction, and
 * taskq_defs_begin; takes the main lock.
 */
int64
taskq_queue_position(const TaskqLaneDef *lane, TaskqRow *row, bool *exact)
{
	TaskqDue	place;
	TaskqAhead	ahead;

	taskq_front_place_of(row, &place);
	taskq_front_ahead(taskq_front_of_queue(lane, TASKQ_FRONT_DEEP), &place,
					  &ahead);
	if (exact != NULL)
		*exact = ahead.exact;
	return ahead.n + 1;
}

/*
 * taskq_lane_average_us - how long a task of this lane takes: by those of the
 * lane, or (others) of the role's other lanes of the kind; 0: not known
 */
int64
taskq_lane_average_us(const TaskqLaneDef *lane, bool others)
{
	int			max = taskq_shared->nlanes;
	int32	   *ids = palloc(sizeof(int32) * Max(max, 1));
	int		   *averages = palloc(sizeof(int) * Max(max, 1));
	int			n = 0;
	int64		average = 0;

	LWLockAcquire(taskq_main_lock, LW_SHARED);
	for (int i = 0; i < max; i++)
	{
		const TaskqLane *each = &taskq_shared->lanes[i];

		if (each->dbid != MyDatabaseId || each->role != lane->role_oid ||
			each->average_us <= 0)
			continue;
		if (each->id == lane->id)
			average = each->average_us;
		ids[n] = each->id;
		averages[n++] = each->average_us;
	}
	LWLockRelease(taskq_main_lock);
	for (int i = 0; i < n && average == 0 && others; i++)
	{
		const TaskqLaneDef *other = taskq_lane_get(ids[i]);

		if (other != NULL && other->kind_owner == lane->kind_owner &&
			strcmp(NameStr(other->kind), NameStr(lane->kind)) == 0)
			average = averages[i];
	}
	pfree(ids);
	pfree(averages);
	return average;
}
