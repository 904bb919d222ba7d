/*-------------------------------------------------------------------------
 *
 * supply.c
 *		Workers where there is work.
 *
 * Part of the dispatcher's pass: which roles have something to do, is there a
 * slot for a worker of theirs, and who has to make room.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <limits.h>

#include "access/xlog.h"
#include "base/clock.h"
#include "base/compat.h"
#include "base/guc.h"
#include "base/process.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_database.h"
#include "commands/dbcommands.h"
#include "dispatch/dispatcher.h"
#include "dispatch/launcher.h"
#include "dispatch/pass.h"
#include "dispatch/rescue.h"
#include "lanes/announce.h"
#include "lanes/claim.h"
#include "lanes/crew.h"
#include "lanes/event.h"
#include "lanes/lane.h"
#include "lanes/live.h"
#include "lanes/place.h"
#include "lanes/round.h"
#include "lanes/scan.h"
#include "lanes/turn.h"
#include "miscadmin.h"
#include "run/complete.h"
#include "storage/procarray.h"
#include "store/defs.h"
#include "store/rights.h"
#include "store/state.h"
#include "utils/acl.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

#define FIRST_RETRY_MS 10		/* after a process could not be started; twice
								 * as long with each time */
#define MORE_KEYS 16			/* keys that are looked at in a lane */
#define MORE_LANES 16			/* so many lanes of a role are looked at to
								 * see how much waits */

/* between passes */
static int	retry_ms = FIRST_RETRY_MS;

/*
 * Where to begin to read a lane of which no worker takes anything; false if
 * somebody else reads it just now.
 */
static bool
lane_start(int32 id, TaskqScan *scan)
{
	TaskqLane  *lane;
	bool		mine;

	LWLockAcquire(taskq_main_lock, LW_SHARED);
	lane = taskq_lane_find(MyDatabaseId, id);
	mine = lane != NULL && lane->scanner < 0;
	if (mine)
		taskq_scan_from(lane, scan);
	LWLockRelease(taskq_main_lock);
	scan->max = TASKQ_BATCH_MAX;
	return mine;
}

/* Record one failure in the transaction that is open; the new state, or 0. */
static char
fail_task(const TaskqFailure *failure)
{
	TaskqRow	row;
	TaskqLive  *live = palloc(sizeof(TaskqLive));

	if (taskq_live_find(&failure->id, live))
		return 0;				/* a session from before still runs it */
	switch (taskq_store_lock(&failure->id, false, &row))
	{
		case TASKQ_BUSY:
			taskq_look_again_in(TASKQ_RETRY_MS);
			return 0;
		case TASKQ_MISSING:
			return 0;
		case TASKQ_LOCKED:
			break;
	}
	if (taskq_row_state(&row) != TASKQ_PENDING &&
		taskq_row_state(&row) != TASKQ_RUNNING)
		return 0;
	return taskq_fail_row(&row, failure);
}

/*
 * Fail what waits in a lane whose role can't run it: a portion in one
 * transaction.
 */
static void
fail_lane(int32 lane, const TaskqProblem *problem)
{
	ErrorData	error = {.sqlerrcode = ERRCODE_INSUFFICIENT_PRIVILEGE,
		.message = unconstify(char *, problem->message),
	.hint = unconstify(char *, problem->hint)};
	TaskqFailure failure = {.sqlerrcode = ERRCODE_INSUFFICIENT_PRIVILEGE};
	TaskqScan  *scan = palloc(sizeof(TaskqScan));
	char		states[TASKQ_BATCH_MAX];

	if (!lane_start(lane, scan))
	{
		taskq_look_again_in(TASKQ_RETRY_MS);
		return;
	}
	taskq_pass_begin();
	taskq_defs_begin();
	taskq_scan_lane(scan);
	failure.error = taskq_error_jsonb(&error);
	failure.started_at = GetCurrentTimestamp();
	for (int i = 0; i < scan->nfound; i++)
	{
		CHECK_FOR_INTERRUPTS();
		failure.id = scan->found[i].id;
		states[i] = fail_task(&failure);
	}
	taskq_pass_commit();
	for (int i = 0; i < scan->nfound; i++)
	{
		if (states[i] != 0)
			taskq_announce_task(&scan->found[i].id, states[i]);
	}
	taskq_pass_begin();
	taskq_defs_begin();
	(void) taskq_claim_probe(MyDatabaseId, lane, taskq_dispatcher.scanner);
	taskq_pass_commit();
	if (scan->remaining != 0 || scan->next_ready.due != DT_NOEND)
		taskq_look_again_in(0);
}

/*
 * Lanes that may have something, as (id, role), copied out of shared memory.
 */
static int
dirty_lanes(TaskqLane **copy)
{
	int			max = taskq_shared->nlanes;
	int			n = 0;

	*copy = palloc_extended(sizeof(TaskqLane) * Max(max, 1), MCXT_ALLOC_HUGE);
	LWLockAcquire(taskq_main_lock, LW_SHARED);
	for (int i = 0; i < max; i++)
	{
		TaskqLane  *lane = &taskq_shared->lanes[i];

		if (lane->dbid == MyDatabaseId && lane->dirty && lane->held == 0)
			(*copy)[n++] = *lane;
	}
	LWLockRelease(taskq_main_lock);
	return n;
}

static bool
has_worker(Oid role)
{
	bool		found = false;

	LWLockAcquire(taskq_main_lock, LW_SHARED);
	for (int i = 0; i < taskq_shared->nslots && !found; i++)
	{
		TaskqSlot  *slot = &taskq_shared->slots[i];

		found = slot->state != TASKQ_SLOT_FREE &&
			slot->dbid == MyDatabaseId && slot->role == role;
	}
	LWLockRelease(taskq_main_lock);
	return found;
}

static TaskqDemand *
demand_of(TaskqDemand *demands, int n, Oid role)
{
	for (int i = 0; i < n; i++)
	{
		if (demands[i].role == role)
			return &demands[i];
	}
	return NULL;
}

/* Is that enough to go by? */
static bool
demand_is_clear(const TaskqDemand *demand)
{
	return demand->lanes >= MORE_LANES || demand->waiting >= TASKQ_MAX_WORKERS;
}

/*
 * How many tasks of a lane may run beside those that do; if none may, it is
 * held.
 */
static int
room_for(int32 id, const TaskqLimits *limits)
{
	TaskqLane  *lane;
	int			room = 0;

	if (!limits->limited)
		return INT_MAX;
	LWLockAcquire(taskq_main_lock, LW_EXCLUSIVE);
	lane = taskq_lane_find(MyDatabaseId, id);
	if (lane != NULL)
		room = taskq_place_room(lane, limits);
	LWLockRelease(taskq_main_lock);
	return room;
}

/* The roles that have something to do, each once. */
static int
find_demand(TaskqDemand **found)
{
	TaskqLane  *lanes;
	int			nlanes = dirty_lanes(&lanes);
	TaskqDemand *demands = palloc_extended(sizeof(TaskqDemand) * Max(nlanes, 1),
										   MCXT_ALLOC_HUGE);
	int			n = 0;

	for (int i = 0; i < nlanes; i++)
	{
		TaskqDemand *demand = demand_of(demands, n, lanes[i].role);
		const TaskqLaneDef *def;
		const TaskqProblem *problem = NULL;
		TaskqLimits limits;
		bool		runnable;
		int			keys = INT_MAX;
		int			room = 0;

		if (demand != NULL && demand_is_clear(demand))
			continue;
		taskq_pass_begin();
		taskq_defs_begin();
		def = taskq_lane_get(lanes[i].id);
		if (def != NULL && !def->foreign)
			problem = taskq_lane_role_problem(def);
		runnable = problem == NULL &&
			taskq_lane_runnable(lanes[i].id, lanes[i].role);
		if (runnable)
			taskq_limits_of(def, &limits);

		/*
		 * What was noted may be gone: no worker is started for nothing. Where
		 * there is one already we only look: it shall not find the lane
		 * taken, and turn to one of lower priority.
		 */
		if (runnable && demand == NULL && lanes[i].scanner < 0)
			runnable = taskq_claim_probe(MyDatabaseId, lanes[i].id,
										 has_worker(lanes[i].role)
										 ? -1
										 : taskq_dispatcher.scanner);
		/* no more workers than there are keys that are free */
		if (runnable && taskq_lane_keyed(lanes[i].id))
			keys = taskq_round_room(MyDatabaseId, lanes[i].id, MORE_KEYS);
		taskq_pass_commit();
		if (problem != NULL)
			fail_lane(lanes[i].id, problem);
		if (runnable)
			room = Min(keys, room_for(lanes[i].id, &limits));
		if (room == 0)
			continue;
		if (demand == NULL)
		{
			demand = &demands[n++];
			*demand = (TaskqDemand)
			{
				.role = lanes[i].role
			};
		}
		taskq_demand_add(demand, &lanes[i], room);
	}
	*found = demands;
	return n;
}

/*
 * The dispatcher need not be told that the role has work: it looks again, or
 * nothing can be done for it now.
 */
static void
set_enough(Oid role)
{
	for (int i = 0; i < taskq_shared->nslots; i++)
	{
		if (taskq_shared->slots[i].dbid == MyDatabaseId &&
			taskq_shared->slots[i].role == role)
			taskq_shared->slots[i].enough = true;
	}
}

/* ... from here on it is to be told. */
static void
clear_enough(void)
{
	LWLockAcquire(taskq_main_lock, LW_EXCLUSIVE);
	for (int i = 0; i < taskq_shared->nslots; i++)
	{
		if (taskq_shared->slots[i].dbid == MyDatabaseId)
			taskq_shared->slots[i].enough = false;
	}
	LWLockRelease(taskq_main_lock);
}

/* Have an idle worker leave for one that is needed. */
static void
send_away(int slotno)
{
	TaskqSlot  *slot = &taskq_shared->slots[slotno];

	if (!taskq_turn_room_due())
		return;
	slot->leave = true;
	taskq_wake_proc(slot->procno);
}

/*
 * There is no place for a worker of this role now.  A role without any waits
 * for its turn; where nobody does, a role with work gets the place of one
 * that has none.
 */
static void
wait_for_place(Oid role, const TaskqCrew *supply)
{
	bool		starved = supply->of_role == 0 && taskq_max_workers > 0;

	if (starved)
		taskq_turn_ask(MyDatabaseId, role);
	if (supply->idle_other >= 0 && !taskq_turn_of_other(MyDatabaseId, role))
		send_away(supply->idle_other);
	if (starved || supply->idle_other >= 0)
		taskq_look_again_in(supply->idle_other >= 0 ? TASKQ_ROOM_MS
							: TASKQ_RETRY_MS);
}

static void
fill_slot(int slotno, Oid role, TimestampTz now)
{
	TaskqSlot  *slot = &taskq_shared->slots[slotno];

	slot->state = TASKQ_SLOT_STARTING;
	slot->generation = ++taskq_shared->generations;
	slot->dbid = MyDatabaseId;
	slot->role = role;
	slot->pid = 0;
	slot->started_at = GetCurrentTimestamp();
	slot->since = now;
	slot->leave = slot->woken = slot->in_task = slot->connected =
		slot->enough = slot->placed = false;
	taskq_shared->nslots = Max(taskq_shared->nslots, slotno + 1);
}

/*
 * The role has had its turn: when there are few places, those served longer
 * ago come first.
 */
static void
note_served(Oid role)
{
	uint64		number = ++taskq_shared->starts;

	for (int i = 0; i < taskq_shared->nlanes; i++)
	{
		if (taskq_shared->lanes[i].dbid == MyDatabaseId &&
			taskq_shared->lanes[i].role == role)
			taskq_shared->lanes[i].served = number;
	}
}

/*
 * Reserve a slot for a new worker of this role; -1 if there is none, or no
 * need.
 */
static int
allocate_slot(const TaskqDemand *demand, uint32 *generation, bool *kept)
{
	TimestampTz now = taskq_steady_now();
	Oid			role = demand->role;
	TaskqCrew	crew;
	int			slotno = -1;

	LWLockAcquire(taskq_main_lock, LW_EXCLUSIVE);
	crew = taskq_crew_count(role, now);
	*kept = false;
	switch (taskq_crew_need(demand, &crew))
	{
		case TASKQ_CREW_IDLE:
			/* it calls the next one if there is more */
			taskq_wake_proc(taskq_shared->slots[crew.idle].procno);
			break;
		case TASKQ_CREW_STARTING:
			set_enough(role);	/* they say when they are there */
			break;
		case TASKQ_CREW_SOON:
			set_enough(role);
			taskq_look_again_in(TASKQ_WORTH_US / 1000);
			break;
		case TASKQ_CREW_ROLE_LIMIT:
			set_enough(role);	/* they look when they are through */
			break;
		case TASKQ_CREW_KEPT:
			/* it may have one of its own places */
			if (crew.idle_elsewhere >= 0)
			{
				send_away(crew.idle_elsewhere);
				taskq_look_again_in(TASKQ_ROOM_MS);
			}
			*kept = true;
			set_enough(role);
			break;
		case TASKQ_CREW_START:
			slotno = crew.free;
			fill_slot(slotno, role, now);
			*generation = taskq_shared->slots[slotno].generation;
			break;
		case TASKQ_CREW_FULL:
		case TASKQ_CREW_NOT_ITS_TURN:
			wait_for_place(role, &crew);
			set_enough(role);
			break;
	}
	LWLockRelease(taskq_main_lock);
	return slotno;
}

/* Would one more session of the role keep to the limits of connections? */
static bool
connection_free(Oid role)
{
	bool		is_free;

	taskq_pass_begin();
	is_free = taskq_crew_connection(role) == NULL;
	taskq_pass_commit();
	return is_free;
}

/* Once a minute say why tasks wait. */
static void
warn_connections(Oid role)
{
	static TimestampTz last = 0;
	TimestampTz now = taskq_steady_now();

	if (last != 0 && !TimestampDifferenceExceeds(last, now, 60000))
		return;
	last = now;
	taskq_pass_begin();
	ereport(WARNING,
			(errcode(ERRCODE_TOO_MANY_CONNECTIONS),
			 errmsg("taskq could not start a worker: too many connections of role \"%s\" or to the database",
					GetUserNameFromId(role, true)),
			 errhint("CONNECTION LIMIT of the role or of the database holds for workers too.")));
	taskq_pass_commit();
}

/*
 * Forget roles that were dropped: no place is kept for them.  True if there
 * were any.
 */
static bool
forget_dropped_roles(void)
{
	bool		forgot = false;

	taskq_pass_begin();
	for (int i = 0; i < taskq_max_databases; i++)
	{
		TaskqDb    *db = &taskq_shared->dbs[i];

		for (int j = 0; j < lengthof(db->known); j++)
		{
			Oid			role = db->known[j];

			if (!OidIsValid(role) ||
				SearchSysCacheExists1(AUTHOID, ObjectIdGetDatum(role)))
				continue;
			LWLockAcquire(taskq_main_lock, LW_EXCLUSIVE);
			if (db->known[j] == role)
				db->known[j] = InvalidOid;
			LWLockRelease(taskq_main_lock);
			forgot = true;
		}
	}
	taskq_pass_commit();
	return forgot;
}

/* A process was started, or there was no room for one. */
static void
note_start(Oid role, int slotno, bool started)
{
	TaskqCrew	supply;

	LWLockAcquire(taskq_main_lock, LW_EXCLUSIVE);
	if (started)
	{
		taskq_turn_over(MyDatabaseId, role);
		note_served(role);
		retry_ms = FIRST_RETRY_MS;
		/* the launcher has held back for it */
		if (taskq_shared->no_process)
			taskq_wake_launcher();
	}
	else
	{
		taskq_shared->slots[slotno].state = TASKQ_SLOT_FREE;
		supply = taskq_crew_count(role, taskq_steady_now());
		wait_for_place(role, &supply);
		set_enough(role);

		/*
		 * whoever has just left is still there for the postmaster: it takes
		 * it some moments to notice
		 */
		taskq_look_again_in(retry_ms);
		retry_ms = Min(retry_ms * 2, TASKQ_RETRY_MS);
		/* nobody idles: dispatchers hold places too */
		if (supply.idle_other < 0)
			taskq_wake_other_dispatchers();
	}
	taskq_shared->no_process = !started;
	LWLockRelease(taskq_main_lock);
}

/*
 * Start one; false if no more are to be started now, and *full if the server
 * has no room for a process.
 */
static bool
start_worker(const TaskqDemand *demand, bool *full)
{
	TaskqProcessArgs args = {.dbid = MyDatabaseId,.role = demand->role};
	bool		kept;
	bool		started;

	if (!connection_free(demand->role))
	{
		if (taskq_crew_sessions(demand->role) == 0)
			warn_connections(demand->role);
		taskq_look_again_in(TASKQ_RETRY_MS);
		return false;
	}
	args.slot = allocate_slot(demand, &args.generation, &kept);
	if (kept && forget_dropped_roles())
		args.slot = allocate_slot(demand, &args.generation, &kept);
	if (args.slot < 0)
		return false;
	if (taskq_worker_handles[args.slot] != NULL)
		pfree(taskq_worker_handles[args.slot]);
	taskq_worker_handles[args.slot] = NULL;
	started = taskq_process_start("taskq worker", "taskq_worker_main", &args,
								  &taskq_worker_handles[args.slot]);
	note_start(demand->role, args.slot, started);
	*full = !started;
	return started;
}

/* There is no room for another process: who has none waits for its turn. */
static void
queue_up(Oid role)
{
	TaskqCrew	supply;

	LWLockAcquire(taskq_main_lock, LW_EXCLUSIVE);
	supply = taskq_crew_count(role, taskq_steady_now());
	if (supply.of_role == 0 && taskq_max_workers > 0)
		taskq_turn_ask(MyDatabaseId, role);
	set_enough(role);
	LWLockRelease(taskq_main_lock);
}

/*
 * Who has fewest workers comes first; among these who was served longest ago.
 */
static int
demand_cmp(const void *a, const void *b)
{
	const TaskqDemand *x = a;
	const TaskqDemand *y = b;

	if (x->workers != y->workers)
		return x->workers - y->workers;
	return x->served < y->served ? -1 : x->served > y->served;
}

/*
 * taskq_start_workers - start workers where there is work; true if there is
 * any
 */
bool
taskq_start_workers(void)
{
	TimestampTz begin = taskq_steady_now();
	TaskqDemand *demands;
	int			n;
	bool		full = false;

	clear_enough();
	n = find_demand(&demands);
	if (n > 0 && taskq_dispatcher.db->no_worker_before > taskq_steady_now())
	{
		taskq_look_again_steady(taskq_dispatcher.db->no_worker_before);
		return true;
	}
	LWLockAcquire(taskq_main_lock, LW_EXCLUSIVE);
	for (int i = 0; i < n; i++)
	{
		demands[i].workers = taskq_crew_count(demands[i].role, 0).of_role;
		taskq_place_known(taskq_dispatcher.db, demands[i].role);
	}
	LWLockRelease(taskq_main_lock);
	qsort(demands, n, sizeof(TaskqDemand), demand_cmp);
	for (int i = 0; i < n; i++)
	{
		if (full)
			queue_up(demands[i].role);
		else
			while (start_worker(&demands[i], &full))
				CHECK_FOR_INTERRUPTS();
	}
	LWLockAcquire(taskq_main_lock, LW_EXCLUSIVE);
	taskq_turn_forget(MyDatabaseId, begin);
	if (taskq_shared->nturns == 0)
		taskq_shared->no_process = false;
	LWLockRelease(taskq_main_lock);
	return n > 0;
}
