/*-------------------------------------------------------------------------
 *
 * crew.c
 *		How many workers a role has, and may it have one more.
 *
 * The dispatcher asks before it starts a worker, and whoever explains why a
 * task waits.  Nothing here changes anything.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <limits.h>

#include "access/htup_details.h"
#include "access/xlog.h"
#include "base/guc.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_database.h"
#include "commands/dbcommands.h"
#include "lanes/crew.h"
#include "lanes/turn.h"
#include "miscadmin.h"
#include "storage/procarray.h"
#include "utils/syscache.h"

/*
 * taskq_demand_add - there is something in this lane, and so many may run: what is limited needs
 * no more workers than that, however much waits.
 */
void
taskq_demand_add(TaskqDemand *demand, const TaskqLane *lane, int room)
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

static void
count_of_role(TaskqCrew *supply, int slotno, TimestampTz now)
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
		(at_it_us >= 0 && at_it_us < 2 * TASKQ_WORTH_US);
	if (slot->in_task)
		supply->longest_us = Max(supply->longest_us, at_it_us);
}

/*
 * taskq_crew_count - who is there for a role; caller holds the main lock at
 * least shared
 */
TaskqCrew
taskq_crew_count(Oid role, TimestampTz now)
{
	TaskqCrew	supply = {.idle = -1,
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
soon_done(const TaskqDemand *demand, const TaskqCrew *supply)
{
	if (supply->fresh == 0)
		return false;
	return demand->work_us >= 0
		? demand->work_us < (int64) TASKQ_WORTH_US * supply->fresh
		: supply->longest_us < TASKQ_WORTH_US;
}

/*
 * How many of the tasks that waited when the demand was found have been taken
 * since, by those who have just come?
 */
static int64
taken_meanwhile(const TaskqDemand *demand)
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
 * taskq_crew_need - is a worker to be started for a role?
 *
 * As many are started at once as are at work already.  Caller holds the main
 * lock at least shared.
 */
TaskqCrewNeed
taskq_crew_need(const TaskqDemand *demand, const TaskqCrew *crew)
{
	Oid			role = demand->role;

	if (crew->idle >= 0)
		return TASKQ_CREW_IDLE;
	if (crew->starting >= Max(crew->busy, 1) ||
		(demand->waiting > 0 && crew->starting >= demand->waiting))
		return TASKQ_CREW_STARTING;
	if (soon_done(demand, crew) ||
		(demand->waiting > 0 &&
		 crew->starting >= demand->waiting - taken_meanwhile(demand)))
		return TASKQ_CREW_SOON;
	if (taskq_max_workers_per_role > 0 &&
		crew->of_role >= taskq_max_workers_per_role)
		return TASKQ_CREW_ROLE_LIMIT;
	if (taskq_place_kept(role))
		return TASKQ_CREW_KEPT;
	if (crew->in_all >= taskq_max_workers || crew->free < 0)
		return TASKQ_CREW_FULL;
	return taskq_turn_of_other(MyDatabaseId, role)
		? TASKQ_CREW_NOT_ITS_TURN
		: TASKQ_CREW_START;
}

/*
 * taskq_crew_sessions - workers of a role, or (InvalidOid) of this database,
 * which PostgreSQL does not count among the sessions
 */
int
taskq_crew_sessions(Oid role)
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
 * taskq_crew_connection - what has no CONNECTION LIMIT left for one more
 * session of a role: "role" or "database"; NULL: nothing
 *
 * PostgreSQL does not ask that of background workers.  Needs a transaction.
 */
const char *
taskq_crew_connection(Oid role)
{
	HeapTuple	tuple;
	int			of_role = -1;
	int			of_database = -1;

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
	if (of_role >= 0 &&
		CountUserBackends(role) + taskq_crew_sessions(role) >= of_role)
		return "role";
	if (of_database >= 0 &&
		CountDBConnections(MyDatabaseId) +
		taskq_crew_sessions(InvalidOid) >= of_database)
		return "database";
	return NULL;
}

/*
 * taskq_server_problem - why no task runs in this server, or in this
 * database; NULL: some may
 *
 * Needs a transaction; takes the main lock.
 */
const TaskqProblem *
taskq_server_problem(void)
{
	static const TaskqProblem standby = {
		"standby",
		"The server is a standby: nothing runs here.",
	"Look at the primary, or promote this server."};
	static const TaskqProblem no_launcher = {
		"no_launcher",
		"taskq's launcher is not there: the server has just started or is being stopped.",
	NULL};
	static const TaskqProblem not_served = {
		"database_not_served",
		"taskq.databases does not name this database: nothing runs here.",
	"Name it in taskq.databases and reload the configuration."};
	static const TaskqProblem in_use = {
		"database_in_use",
		"Another session keeps taskq out of this database: a command as DROP or ALTER DATABASE, CREATE DATABASE ... TEMPLATE, or ALTER EXTENSION.",
	"Tasks start when that transaction ends."};
	const TaskqDb *db;
	bool		launcher;
	bool		out;

	if (RecoveryInProgress())
		return &standby;
	if (!taskq_database_enabled(get_database_name(MyDatabaseId)))
		return &not_served;
	LWLockAcquire(taskq_main_lock, LW_SHARED);
	launcher = taskq_shared->launcher != 0;
	db = taskq_db_find(MyDatabaseId);
	out = db != NULL && db->blocked > 0;
	LWLockRelease(taskq_main_lock);
	if (!launcher)
		return &no_launcher;
	return out ? &in_use : NULL;
}
