/*-------------------------------------------------------------------------
 *
 * forecast.c
 *		When a task's turn comes.
 *
 * What is before it, at the pace of late, by as many workers as its role may
 * have; if it is limited, by as many as its queue or kind may have.  Nobody
 * knows what will be submitted meanwhile, how long a task will take that is
 * not like those before it, or which tenant comes when: so it is said how
 * sure an estimate is, and where nothing is known there is none.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "base/clock.h"
#include "base/guc.h"
#include "lanes/crew.h"
#include "lanes/forecast.h"
#include "lanes/live.h"
#include "lanes/place.h"
#include "lanes/turn.h"
#include "miscadmin.h"
#include "store/rights.h"

/* taskq_sure_name - the word for it */
const char *
taskq_sure_name(TaskqSure sure)
{
	switch (sure)
	{
		case TASKQ_SURE_HIGH:
			return "high";
		case TASKQ_SURE_MEDIUM:
			return "medium";
		case TASKQ_SURE_LOW:
			return "low";
		case TASKQ_SURE_NONE:
			break;
	}
	return "none";
}

/* What a worker is at. */
typedef struct AtWork
{
	Oid			role;
	int			average_us;		/* of those like it; 0: not known */
	bool		known;			/* is the next one? */
	double		rest_us;		/* of its task */
	int			more;			/* tasks that it has set aside */
} AtWork;

/* Is it one of those that are asked for?  Caller holds the main lock. */
static bool
is_asked_for(const TaskqSlot *slot, const TaskqLaneDef *lane, bool of_role,
			 bool of_queue, bool of_kind)
{
	const TaskqPlace *place = &slot->place;

	if (slot->dbid != MyDatabaseId || slot->state != TASKQ_SLOT_BUSY ||
		(of_role && slot->role != lane->role_oid))
		return false;
	if (of_queue && !(slot->placed && strcmp(NameStr(place->queue),
											 NameStr(lane->queue)) == 0))
		return false;
	return !of_kind ||
		(slot->placed && place->kind_owner == lane->kind_owner &&
		 strcmp(NameStr(place->kind), NameStr(lane->kind)) == 0);
}

/* Of its task, by the progress that it tells; less than nothing: not known. */
static double
rest_by_progress(const TaskqSlot *slot)
{
	double		whole;

	if (!slot->in_task || !slot->has_progress || !slot->has_total)
		return -1;
	whole = taskq_whole_us(slot->updated_at - slot->task_started_at,
						   slot->current, slot->total);
	if (whole <= 0)
		return -1;
	return Max(whole - (taskq_steady_now() - slot->task_since), 0);
}

/* Caller holds the main lock; an estimate, so not the slot's. */
static AtWork
at_work(const TaskqSlot *slot)
{
	const TaskqLane *lane = &taskq_shared->lanes[slot->lane];
	AtWork		work = {.role = slot->role,
	.more = Max(slot->nitems - slot->next, 0)};

	work.rest_us = rest_by_progress(slot);
	work.known = work.rest_us >= 0;
	if (lane->generation != slot->lane_generation || lane->average_us <= 0)
		return work;
	work.average_us = lane->average_us;
	if (work.known)
		return work;
	work.known = true;
	work.rest_us = work.average_us;
	if (slot->in_task)
		work.rest_us = Max(work.rest_us - (taskq_steady_now() - slot->task_since),
						   0);
	return work;
}

static void
add_busy(const AtWork *work, TaskqBusy *busy)
{
	busy->n++;
	if (!work->known)
	{
		busy->unknown++;
		return;
	}
	if (busy->first_us < 0 || work->rest_us < busy->first_us)
		busy->first_us = work->rest_us;
	busy->more += work->more;
	busy->rest_us += work->rest_us + (double) work->average_us * work->more;
}

/*
 * taskq_busy_workers - what workers are at of a lane's role, queue or kind
 * (each: or of all), of those whose tasks the caller may see
 *
 * Takes the main lock.
 */
void
taskq_busy_workers(const TaskqLaneDef *lane, bool of_role, bool of_queue,
				   bool of_kind, TaskqBusy *busy)
{
	AtWork	   *found = palloc(sizeof(AtWork) * TASKQ_MAX_WORKERS);
	int			n = 0;

	memset(busy, 0, sizeof(*busy));
	busy->first_us = -1;
	LWLockAcquire(taskq_main_lock, LW_SHARED);
	for (int i = 0; i < taskq_shared->nslots; i++)
	{
		if (is_asked_for(&taskq_shared->slots[i], lane, of_role, of_queue,
						 of_kind))
			found[n++] = at_work(&taskq_shared->slots[i]);
	}
	LWLockRelease(taskq_main_lock);
	for (int i = 0; i < n; i++)
	{
		if (taskq_role_may_see(found[i].role))
			add_busy(&found[i], busy);
	}
	pfree(found);
}

/*
 * taskq_role_places - how many workers a role may have as things are; at
 * least one, for roles take turns
 */
int
taskq_role_places(Oid role)
{
	TaskqCrew	crew;
	int			places;

	LWLockAcquire(taskq_main_lock, LW_SHARED);
	crew = taskq_crew_count(role, taskq_steady_now());
	places = taskq_max_workers - (crew.in_all - crew.of_role);
	if (taskq_place_kept(role))
		places = crew.of_role;
	LWLockRelease(taskq_main_lock);
	if (taskq_max_workers_per_role > 0)
		places = Min(places, taskq_max_workers_per_role);
	return Max(Max(places, crew.of_role), 1);
}

/*
 * taskq_wait_us - so long it takes until the next one starts, behind n tasks
 * that take so long and what runs, in so many places
 */
double
taskq_wait_us(double n, double work_us, const TaskqBusy *busy, int places)
{
	double		all = n + busy->n;
	double		us;

	if (all < places)
		return 0;
	/* what runs last needs not to be waited for */
	us = (work_us + busy->rest_us) / places * (all - places + 1) / all;
	if (busy->n < places || busy->unknown > 0)
		return us;
	return n + busy->more == 0 ? busy->first_us : Max(us, busy->first_us);
}

/* Behind those of one limit. */
static double
wait_for_limit(const TaskqGate *gate, double n, double work_us)
{
	double		wait = 0;

	if (gate->limit.max_running > 0)
		wait = taskq_wait_us(n, work_us, &gate->busy,
							 gate->limit.max_running);
	if (gate->limit.rate > 0)
		wait = Max(wait, n * gate->limit.rate_us / gate->limit.rate);
	return wait;
}

/* Does the next one wait for what for the most part nobody knows? */
static bool
unforeseeable(double n, double unknown, const TaskqBusy *busy, int places)
{
	return n + busy->n >= places &&
		2 * (unknown + busy->unknown) > n + busy->n;
}

static bool
gate_unforeseeable(const TaskqGate *gate, double n)
{
	return gate->limit.max_running > 0 &&
		unforeseeable(n, 0, &gate->busy, gate->limit.max_running);
}

/*
 * taskq_pace_of - how fast tasks of a lane come to their turn, as things are
 *
 * Needs a transaction, and taskq_defs_begin; takes the main lock.
 */
void
taskq_pace_of(const TaskqLaneDef *lane, TaskqPace *pace)
{
	TaskqLimits limits;

	memset(pace, 0, sizeof(*pace));
	pace->places = taskq_role_places(lane->role_oid);
	taskq_busy_workers(lane, true, false, false, &pace->busy);
	taskq_limits_of(lane, &limits);
	pace->queue.limit = limits.queue;
	pace->kind.limit = limits.kind;
	if (limits.queue.max_running > 0)
		taskq_busy_workers(lane, false, true, false, &pace->queue.busy);
	if (limits.kind.max_running > 0)
		taskq_busy_workers(lane, false, false, true, &pace->kind.busy);
}

/* Take those whose time is not known to be like the others. */
static double
fill_up(double work_us, double n, double unknown)
{
	return n > unknown ? work_us * n / (n - unknown) : work_us;
}

/*
 * taskq_forecast_wait - how long it takes until a task at this place, of a
 * lane with this pace, is started; how sure that is
 *
 * front: what is before and beside it for its role.  itself: it is counted
 * among those.  What keeps the lane from running is not asked for.
 */
TaskqSure
taskq_forecast_wait(const TaskqPace *pace, const TaskqFront *front,
					const TaskqDue *place, bool itself, double *wait_us)
{
	TaskqAhead	ahead;
	int64		unknown;

	taskq_front_ahead(front, place, &ahead);
	if (itself && ahead.n > 0)
	{
		ahead.work_us -= ahead.work_us / ahead.n;
		ahead.n--;
		ahead.of_queue = Max(ahead.of_queue - 1, 0);
		ahead.of_kind = Max(ahead.of_kind - 1, 0);
	}
	unknown = ahead.unknown + pace->busy.unknown;
	*wait_us = taskq_wait_us(ahead.n,
							 fill_up(ahead.work_us, ahead.n, ahead.unknown),
							 &pace->busy, pace->places);
	if (unforeseeable(ahead.n, ahead.unknown, &pace->busy, pace->places) ||
		gate_unforeseeable(&pace->queue, ahead.of_queue) ||
		gate_unforeseeable(&pace->kind, ahead.of_kind))
		return TASKQ_SURE_NONE;
	*wait_us = Max(*wait_us, wait_for_limit(&pace->queue, ahead.of_queue,
											ahead.queue_us));
	*wait_us = Max(*wait_us, wait_for_limit(&pace->kind, ahead.of_kind,
											ahead.kind_us));
	if (ahead.n == 0 && *wait_us == 0)
		return pace->busy.n == 0 ? TASKQ_SURE_HIGH : TASKQ_SURE_MEDIUM;
	return ahead.exact && !ahead.turns && unknown == 0
		? TASKQ_SURE_MEDIUM
		: TASKQ_SURE_LOW;
}
