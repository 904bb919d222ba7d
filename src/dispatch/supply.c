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
#include "store/state.h"
#include "utils/acl.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

#define FIRST_RETRY_MS 10		/* after a process could not be started; twice
								 * as long with each time */
#define WORTH_US 10000			/* what takes no longer than this is left to
								 * the workers that are there */
#define MORE_KEYS 16			/* keys that are looked at in a lane */
#define MORE_LANES 16			/* so many lanes of a role are looked at to
								 * see how much waits */

/* A role with something to do. */
typedef struct Demand
{
	Oid			role;
	int			workers;
	int64		waiting;		/* tasks, by estimate; 0: not known */
	int64		in_lanes;		/* ... that its lanes tell of, may they run or
								 * not */
	int64		work_us;		/* time that they take; -1: not known */
	uint64		served;			/* number of the last worker that was started
								 * for it */
	int			lanes;
} Demand;

/* between passes */
static int	retry_ms = FIRST_RETRY_MS;

/*
 * Why no session of this lane's role can be had here, or NULL.  Its tasks
 * would wait for ever, so they fail with that.  External workers need none.
 */
static const char *
role_problem(const TaskqLaneDef *lane, const char **hint)
{
	Oid			role = lane->role_oid;
	HeapTuple	tuple = SearchSysCache1(AUTHOID, ObjectIdGetDatum(role));
	const TaskqKind *kind = taskq_kind_get(NameStr(lane->kind));
	bool		login;

	*hint = NULL;
	if (!HeapTupleIsValid(tuple))
	{
		*hint = "Submit the task again as a role that is there.";
		return "the role the task runs as does not exist any more";
	}
	login = ((Form_pg_authid) GETSTRUCT(tuple))->rolcanlogin;
	ReleaseSysCache(tuple);
	if (kind != NULL && kind->handler == NULL)
		return NULL;
	if (!login)
	{
		*hint = "Give the role LOGIN, and use taskq.task_retry().";
		return "the role the task runs as may not log in any more";
	}
	if (taskq_database_aclcheck(MyDatabaseId, role) != ACLCHECK_OK)
	{
		*hint = "Grant CONNECT on the database to the role, and use taskq.task_retry().";
		return "the role the task runs as may not connect to the database";
	}
	return NULL;
}

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
fail_lane(int32 lane, const char *why, const char *hint)
{
	ErrorData	error = {.sqlerrcode = ERRCODE_INSUFFICIENT_PRIVILEGE,
		.message = unconstify(char *, why),
	.hint = unconstify(char *, hint)};
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

static Demand *
demand_of(Demand *demands, int n, Oid role)
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
demand_is_clear(const Demand *demand)
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

/*
 * There is something in this lane, and so many may run: what is limited needs
 * no more workers than that, however much waits.
 */
static void
demand_add(Demand *demand, const TaskqLane *lane, int room)
{
	demand->lanes++;
	demand->served = Max(demand->served, lane->served);
	demand->in_lanes += Max(lane->waiting, 0);
	demand->waiting += room == INT_MAX
		? Max(lane->waiting, 0)
		: Min(Max(lane->waiting, 1), room);
	if (lane->average_us <= 0)
		demand->work_us = -1;
	else if (demand->work_us >= 0)
		demand->work_us += Max(lane->waiting, 1) * lane->average_us;
}

/* The roles that have something to do, each once. */
static int
find_demand(Demand **found)
{
	TaskqLane  *lanes;
	int			nlanes = dirty_lanes(&lanes);
	Demand	   *demands = palloc_extended(sizeof(Demand) * Max(nlanes, 1),
										  MCXT_ALLOC_HUGE);
	int			n = 0;

	for (int i = 0; i < nlanes; i++)
	{
		Demand	   *demand = demand_of(demands, n, lanes[i].role);
		const TaskqLaneDef *def;
		const char *problem = NULL;
		const char *hint = NULL;
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
			problem = role_problem(def, &hint);
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
			fail_lane(lanes[i].id, problem, hint);
		if (runnable)
			room = Min(keys, room_for(lanes[i].id, &limits));
		if (room == 0)
			continue;
		if (demand == NULL)
		{
			demand = &demands[n++];
			*demand = (Demand)
			{
				.role = lanes[i].role
			};
		}
		demand_add(demand, &lanes[i], room);
	}
	*found = demands;
	return n;
}

typedef struct Supply
{
	int			in_all;
	int			of_role;
	int			starting;
	int			busy;
	int			fresh;			/* of these: not long in their task */
	int64		longest_us;		/* so long the one that is longest in its task
								 * is at it */
	int			idle;			/* one of the role that is, or -1 */
	int			idle_other;		/* slot of a worker of another role or
								 * database that is longest idle, or -1 */
	int			idle_elsewhere; /* of the role, but in another database, that
								 * is idle, or -1 */
	int			free;			/* a free slot, or -1 */
} Supply;

static void
count_of_role(Supply *supply, int slotno, TimestampTz now)
{
	TaskqSlot  *slot = &taskq_shared->slots[slotno];
	int64		at_it_us = now - slot->task_since;	/* an estimate, so without
													 * the slot's lock */

	if (slot->leave)
		return;
	supply->of_role++;
	if (slot->state == TASKQ_SLOT_STARTING)
		supply->starting++;
	if (slot->state == TASKQ_SLOT_IDLE)
		supply->idle = slotno;
	if (slot->state != TASKQ_SLOT_BUSY)
		return;
	supply->busy++;
	supply->fresh += !slot->in_task ||
		(at_it_us >= 0 && at_it_us < 2 * WORTH_US);
	if (slot->in_task)
		supply->longest_us = Max(supply->longest_us, at_it_us);
}

/* Caller holds the main lock. */
static Supply
count_supply(Oid role, TimestampTz now)
{
	Supply		supply = {.idle = -1,
		.idle_other = -1,
		.idle_elsewhere = -1,
	.free = -1};

	for (int i = 0; i < TASKQ_MAX_WORKERS; i++)
	{
		TaskqSlot  *slot = &taskq_shared->slots[i];

		if (i >= taskq_shared->nslots || slot->state == TASKQ_SLOT_FREE)
		{
			if (supply.free < 0)
				supply.free = i;
			if (i >= taskq_shared->nslots)
				break;
			continue;
		}
		supply.in_all++;
		if (slot->dbid == MyDatabaseId && slot->role == role)
		{
			count_of_role(&supply, i, now);
			continue;
		}
		if (slot->state != TASKQ_SLOT_IDLE || slot->leave)
			continue;
		if (slot->role == role)
			supply.idle_elsewhere = i;
		if (supply.idle_other < 0 ||
			slot->last_active <
			taskq_shared->slots[supply.idle_other].last_active)
			supply.idle_other = i;
	}
	return supply;
}

/*
 * Is what waits soon done by those who are there?  A kind never seen: when
 * its first tasks show that they last.
 */
static bool
soon_done(const Demand *demand, const Supply *supply)
{
	if (supply->fresh == 0)
		return false;
	return demand->work_us >= 0
		? demand->work_us < (int64) WORTH_US * supply->fresh
		: supply->longest_us < WORTH_US;
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
wait_for_place(Oid role, const Supply *supply)
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
 * How many of the tasks that waited when the demand was found have been taken
 * since, by those who have just come?
 */
static int64
taken_meanwhile(const Demand *demand)
{
	int64		waiting = 0;

	if (demand->in_lanes <= 0)
		return 0;
	for (int i = 0; i < taskq_shared->nlanes; i++)
	{
		TaskqLane  *lane = &taskq_shared->lanes[i];

		if (lane->dbid == MyDatabaseId && lane->role == demand->role)
			waiting += Max(lane->waiting, 0);
	}
	return Max(demand->in_lanes - waiting, 0);
}

/*
 * Reserve a slot for a new worker of this role; -1 if there is none, or no
 * need. As many are started at once as are at work already.
 */
static int
allocate_slot(const Demand *demand, uint32 *generation, bool *kept)
{
	TimestampTz now = taskq_steady_now();
	Oid			role = demand->role;
	Supply		supply;
	int			slotno = -1;

	LWLockAcquire(taskq_main_lock, LW_EXCLUSIVE);
	supply = count_supply(role, now);
	*kept = false;
	if (supply.idle >= 0)
		/* it calls the next one if there is more */
		taskq_wake_proc(taskq_shared->slots[supply.idle].procno);
	else if (supply.starting >= Max(supply.busy, 1) ||
			 (demand->waiting > 0 && supply.starting >= demand->waiting))
		set_enough(role);		/* they say when they are there */
	else if (soon_done(demand, &supply) ||
			 (demand->waiting > 0 &&
			  supply.starting >= demand->waiting - taken_meanwhile(demand)))
	{
		set_enough(role);
		taskq_look_again_in(WORTH_US / 1000);
	}
	else if (taskq_max_workers_per_role > 0 &&
			 supply.of_role >= taskq_max_workers_per_role)
		set_enough(role);		/* they look when they are through */
	else if (taskq_place_kept(role))
	{
		/* it may have one of its own places */
		if (supply.idle_elsewhere >= 0)
		{
			send_away(supply.idle_elsewhere);
			taskq_look_again_in(TASKQ_ROOM_MS);
		}
		*kept = true;
		set_enough(role);
	}
	else if (supply.in_all < taskq_max_workers && supply.free >= 0 &&
			 !taskq_turn_of_other(MyDatabaseId, role))
	{
		slotno = supply.free;
		fill_slot(slotno, role, now);
		*generation = taskq_shared->slots[slotno].generation;
	}
	else
	{
		wait_for_place(role, &supply);
		set_enough(role);
	}
	LWLockRelease(taskq_main_lock);
	return slotno;
}

/*
 * Sessions of a role (or InvalidOid), or of this database, that background
 * workers don't count among.
 */
static int
count_workers(Oid role)
{
	int			n = 0;

	LWLockAcquire(taskq_main_lock, LW_SHARED);
	for (int i = 0; i < taskq_shared->nslots; i++)
	{
		TaskqSlot  *slot = &taskq_shared->slots[i];

		if (slot->state != TASKQ_SLOT_FREE &&
			(OidIsValid(role) ? slot->role == role
			 : slot->dbid == MyDatabaseId))
			n++;
	}
	LWLockRelease(taskq_main_lock);
	return n;
}

/*
 * Would one more session keep to CONNECTION LIMIT of the role and the
 * database? PostgreSQL does not ask that of background workers.
 */
static bool
connection_free(Oid role)
{
	HeapTuple	tuple;
	int			of_role = -1;
	int			of_database = -1;

	taskq_pass_begin();
	if (!superuser_arg(role))
	{
		tuple = SearchSysCache1(AUTHOID, ObjectIdGetDatum(role));
		if (HeapTupleIsValid(tuple))
		{
			of_role = ((Form_pg_authid) GETSTRUCT(tuple))->rolconnlimit;
			ReleaseSysCache(tuple);
		}
		tuple = SearchSysCache1(DATABASEOID, ObjectIdGetDatum(MyDatabaseId));
		if (HeapTupleIsValid(tuple))
		{
			of_database = ((Form_pg_database) GETSTRUCT(tuple))->datconnlimit;
			ReleaseSysCache(tuple);
		}
	}
	taskq_pass_commit();
	return (of_role < 0 ||
			CountUserBackends(role) + count_workers(role) < of_role) &&
		(of_database < 0 ||
		 CountDBConnections(MyDatabaseId) + count_workers(InvalidOid) <
		 of_database);
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
	Supply		supply;

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
		supply = count_supply(role, taskq_steady_now());
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
start_worker(const Demand *demand, bool *full)
{
	TaskqProcessArgs args = {.dbid = MyDatabaseId,.role = demand->role};
	bool		kept;
	bool		started;

	if (!connection_free(demand->role))
	{
		if (count_workers(demand->role) == 0)
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
	Supply		supply;

	LWLockAcquire(taskq_main_lock, LW_EXCLUSIVE);
	supply = count_supply(role, taskq_steady_now());
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
	const Demand *x = a;
	const Demand *y = b;

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
	Demand	   *demands;
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
		demands[i].workers = count_supply(demands[i].role, 0).of_role;
		taskq_place_known(taskq_dispatcher.db, demands[i].role);
	}
	LWLockRelease(taskq_main_lock);
	qsort(demands, n, sizeof(Demand), demand_cmp);
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
