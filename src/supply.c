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

#include "access/xlog.h"
#include "announce.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_database.h"
#include "claim.h"
#include "commands/dbcommands.h"
#include "compat.h"
#include "complete.h"
#include "defs.h"
#include "dispatcher.h"
#include "event.h"
#include "execute.h"
#include "guc.h"
#include "lane.h"
#include "miscadmin.h"
#include "process.h"
#include "rescue.h"
#include "storage/procarray.h"
#include "task.h"
#include "utils/acl.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

#define TICKET_MS 5000			/* how long a slot is kept for the role that waits for one */

/* A role with something to do. */
typedef struct Demand
{
	Oid			role;
	int			workers;
} Demand;

/*
 * Why no session of this lane's role can be had here, or NULL.  Its tasks would wait
 * for ever, so they fail with that.  External workers need none.
 */
static const char *
role_problem(const TaskqLaneDef *lane)
{
	Oid			role = lane->role_oid;
	HeapTuple	tuple = SearchSysCache1(AUTHOID, ObjectIdGetDatum(role));
	const TaskqKind *kind = taskq_kind_get(NameStr(lane->kind));
	bool		login;

	if (!HeapTupleIsValid(tuple))
		return "the role the task runs as does not exist any more";
	login = ((Form_pg_authid) GETSTRUCT(tuple))->rolcanlogin;
	ReleaseSysCache(tuple);
	if (kind != NULL && kind->handler == NULL)
		return NULL;
	if (!login && !TASKQ_NOLOGIN_SESSIONS)
		return "the role the task runs as may not log in any more";
	if (taskq_database_aclcheck(MyDatabaseId, role) != ACLCHECK_OK)
		return "the role the task runs as may not connect to the database";
	return NULL;
}

/* Fail what waits in a lane whose role can't run it. */
static void
fail_lane(int32 lane, const char *why)
{
	ErrorData	error = {.sqlerrcode = ERRCODE_INSUFFICIENT_PRIVILEGE, .message = unconstify(char *, why)};
	TaskqFailure failure = {.sqlerrcode = ERRCODE_INSUFFICIENT_PRIVILEGE};
	TaskqRef   *refs = palloc(sizeof(TaskqRef) * TASKQ_PORTION * TASKQ_LEAVES);
	pg_uuid_t	from;
	Snapshot	snapshot;
	int			n = 0;

	memset(&from, 0, sizeof(from));
	taskq_pass_begin();
	snapshot = taskq_store_snapshot();
	for (int leaf = 0; leaf < TASKQ_LEAVES; leaf++)
	{
		pg_uuid_t	seen;
		bool		exhausted;

		n += taskq_store_scan(leaf, lane, &from, snapshot, NULL, TASKQ_PORTION, refs + n, &seen, &exhausted);
	}
	UnregisterSnapshot(snapshot);
	taskq_pass_commit();

	failure.error = taskq_error_jsonb(&error);
	failure.started_at = GetCurrentTimestamp();
	for (int i = 0; i < n; i++)
	{
		TaskqLive  *live = palloc(sizeof(TaskqLive));
		char		state;

		if (taskq_live_find(&refs[i].id, live))
			continue;			/* a session from before still runs it */
		failure.id = refs[i].id;
		state = taskq_record_failure(&failure, false);
		MemoryContextSwitchTo(taskq_dispatcher.context);
		if (state == TASKQ_ROW_BUSY)
			taskq_look_again_in(TASKQ_RETRY_MS);
		else if (state != 0)
			taskq_announce_task(&refs[i].id, state);
	}
}

/* Lanes that may have something, as (id, role), copied out of shared memory. */
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

		if (lane->dbid == MyDatabaseId && lane->dirty)
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

		found = slot->state != TASKQ_SLOT_FREE && slot->dbid == MyDatabaseId && slot->role == role;
	}
	LWLockRelease(taskq_main_lock);
	return found;
}

/* The roles that have something to do, each once. */
static int
find_demand(Demand *demands, int max)
{
	TaskqLane  *lanes;
	int			nlanes = dirty_lanes(&lanes);
	int			n = 0;

	for (int i = 0; i < nlanes; i++)
	{
		const TaskqLaneDef *def;
		const char *problem = NULL;
		bool		runnable;
		bool		known = false;

		for (int j = 0; j < n && !known; j++)
			known = demands[j].role == lanes[i].role;
		if (known || n == max)
			continue;
		taskq_pass_begin();
		taskq_defs_begin();
		def = taskq_lane_get(lanes[i].id);
		if (def != NULL && !def->foreign)
			problem = role_problem(def);
		runnable = problem == NULL && taskq_lane_runnable(lanes[i].id, lanes[i].role);
		/*
		 * What was noted may be gone: no worker is started for nothing.  Where there
		 * is one already we only look: it shall not find the lane taken, and turn to
		 * one of lower priority.
		 */
		if (runnable && lanes[i].scanner < 0)
			runnable = taskq_claim_probe(MyDatabaseId, lanes[i].id,
										 has_worker(lanes[i].role) ? -1 : taskq_dispatcher.scanner);
		taskq_pass_commit();
		if (problem != NULL)
		{
			fail_lane(lanes[i].id, problem);
			taskq_pass_begin();
			(void) taskq_claim_probe(MyDatabaseId, lanes[i].id, taskq_dispatcher.scanner);
			taskq_pass_commit();
		}
		else if (runnable)
			demands[n++] = (Demand) {.role = lanes[i].role};
	}
	return n;
}

typedef struct Supply
{
	int			in_all;
	int			of_role;
	bool		starting;
	bool		idle;			/* one of the role was idle and has been woken */
	int			idle_other;		/* slot of an idle worker of another role, or -1 */
	int			free;			/* a free slot, or -1 */
} Supply;

/* Caller holds the main lock. */
static Supply
count_supply(Oid role)
{
	Supply		supply = {.idle_other = -1, .free = -1};

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
		if (slot->dbid != MyDatabaseId || slot->role != role)
		{
			if (slot->state == TASKQ_SLOT_IDLE && !slot->leave)
				supply.idle_other = i;
			continue;
		}
		if (slot->leave)
			continue;
		supply.of_role++;
		supply.starting |= slot->state == TASKQ_SLOT_STARTING;
		if (slot->state == TASKQ_SLOT_IDLE)
		{
			supply.idle = true;
			taskq_wake_proc(slot->procno);
		}
	}
	return supply;
}

/* Is the next slot kept for somebody else? */
static bool
ticket_of_other(Oid role, TimestampTz now)
{
	if (!OidIsValid(taskq_shared->starved_db))
		return false;
	if (TimestampDifferenceExceeds(taskq_shared->starved_since, now, TICKET_MS))
	{
		taskq_shared->starved_db = InvalidOid;
		return false;
	}
	return taskq_shared->starved_db != MyDatabaseId || taskq_shared->starved_role != role;
}

static void
take_ticket(Oid role, Supply *supply, TimestampTz now)
{
	if (!OidIsValid(taskq_shared->starved_db))
	{
		taskq_shared->starved_db = MyDatabaseId;
		taskq_shared->starved_role = role;
		taskq_shared->starved_since = now;
	}
	if (supply->idle_other >= 0)
	{
		TaskqSlot  *slot = &taskq_shared->slots[supply->idle_other];

		slot->leave = true;
		taskq_wake_proc(slot->procno);
	}
}

/* Reserve a slot for a new worker of this role; -1 if there is none, or no need. */
static int
allocate_slot(Oid role, uint32 *generation)
{
	TimestampTz now = GetCurrentTimestamp();
	Supply		supply;
	TaskqSlot  *slot;
	int			slotno = -1;

	LWLockAcquire(taskq_main_lock, LW_EXCLUSIVE);
	supply = count_supply(role);
	if (supply.idle || supply.starting)
		;						/* when it is busy or there, we are told */
	else if (taskq_max_workers_per_role > 0 && supply.of_role >= taskq_max_workers_per_role)
		;						/* they look when they are through */
	else if (supply.in_all < taskq_max_workers && supply.free >= 0 && !ticket_of_other(role, now))
	{
		slotno = supply.free;
		slot = &taskq_shared->slots[slotno];
		slot->state = TASKQ_SLOT_STARTING;
		slot->generation = *generation = ++taskq_shared->generations;
		slot->dbid = MyDatabaseId;
		slot->role = role;
		slot->pid = 0;
		slot->started_at = now;
		slot->leave = slot->woken = slot->in_task = slot->connected = false;
		taskq_shared->nslots = Max(taskq_shared->nslots, slotno + 1);
		if (taskq_shared->starved_db == MyDatabaseId && taskq_shared->starved_role == role)
			taskq_shared->starved_db = InvalidOid;
	}
	else if ((supply.of_role == 0 || supply.idle_other >= 0) && taskq_max_workers > 0)
	{
		take_ticket(role, &supply, now);
		taskq_look_again_in(TASKQ_RETRY_MS);
	}
	LWLockRelease(taskq_main_lock);
	return slotno;
}

/* Sessions of a role (or InvalidOid), or of this database, that background workers don't count among. */
static int
count_workers(Oid role)
{
	int			n = 0;

	LWLockAcquire(taskq_main_lock, LW_SHARED);
	for (int i = 0; i < taskq_shared->nslots; i++)
	{
		TaskqSlot  *slot = &taskq_shared->slots[i];

		if (slot->state != TASKQ_SLOT_FREE && (OidIsValid(role) ? slot->role == role : slot->dbid == MyDatabaseId))
			n++;
	}
	LWLockRelease(taskq_main_lock);
	return n;
}

/*
 * Would one more session keep to CONNECTION LIMIT of the role and the database?
 * PostgreSQL does not ask that of background workers.
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
	return (of_role < 0 || CountUserBackends(role) + count_workers(role) < of_role) &&
		(of_database < 0 || CountDBConnections(MyDatabaseId) + count_workers(InvalidOid) < of_database);
}

/* Once a minute say why tasks wait. */
static void
warn_connections(Oid role)
{
	static TimestampTz last = 0;
	TimestampTz now = GetCurrentTimestamp();

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

static void
start_worker(Oid role)
{
	TaskqProcessArgs args = {.dbid = MyDatabaseId, .role = role};

	if (!connection_free(role))
	{
		if (count_workers(role) == 0)
			warn_connections(role);
		taskq_look_again_in(TASKQ_RETRY_MS);
		return;
	}
	args.slot = allocate_slot(role, &args.generation);
	if (args.slot < 0)
		return;
	if (taskq_worker_handles[args.slot] != NULL)
		pfree(taskq_worker_handles[args.slot]);
	taskq_worker_handles[args.slot] = NULL;
	if (taskq_process_start("taskq worker", "taskq_worker_main", &args, &taskq_worker_handles[args.slot]))
		return;
	LWLockAcquire(taskq_main_lock, LW_EXCLUSIVE);
	taskq_shared->slots[args.slot].state = TASKQ_SLOT_FREE;
	taskq_dispatcher.db->no_worker_before = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), TASKQ_RETRY_MS);
	LWLockRelease(taskq_main_lock);
}

static int
demand_cmp(const void *a, const void *b)
{
	return ((const Demand *) a)->workers - ((const Demand *) b)->workers;
}

/* taskq_start_workers - start workers where there is work; true if there is any */
bool
taskq_start_workers(void)
{
	Demand		demands[TASKQ_MAX_WORKERS];
	int			n = find_demand(demands, lengthof(demands));

	if (n > 0 && taskq_dispatcher.db->no_worker_before > GetCurrentTimestamp())
	{
		taskq_look_again_at(taskq_dispatcher.db->no_worker_before);
		return true;
	}
	LWLockAcquire(taskq_main_lock, LW_SHARED);
	for (int i = 0; i < n; i++)
		demands[i].workers = count_supply(demands[i].role).of_role;
	LWLockRelease(taskq_main_lock);
	qsort(demands, n, sizeof(Demand), demand_cmp);
	for (int i = 0; i < n; i++)
		start_worker(demands[i].role);
	return n > 0;
}
