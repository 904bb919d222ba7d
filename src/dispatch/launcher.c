/*-------------------------------------------------------------------------
 *
 * launcher.c
 *		The launcher: one per server; starts a dispatcher where there is work.
 *
 * It is connected to no database, and so can't read more than the list of
 * them. When the server starts, the first dispatcher, in any database, finds
 * those that have taskq, and each is looked through once; from then on every
 * database with something to do makes itself known in shared memory.  The
 * launcher sleeps until the earliest timer. Crash-only: any error ends it,
 * and the postmaster starts it again.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/heapam.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "base/clock.h"
#include "base/compat.h"
#include "base/guc.h"
#include "base/process.h"
#include "base/shmem.h"
#include "commands/dbcommands.h"
#include "dispatch/launcher.h"
#include "dispatch/sweeper.h"
#include "lanes/lane.h"
#include "lanes/place.h"
#include "lanes/turn.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "tcop/tcopprot.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

#define RETRY_MS 1000			/* after something that could not be done now */
#define CLOSED_MS 5000			/* between looks at a database that is closed
								 * to connections */
#define MIN_TURN_MS 1000		/* a dispatcher's time before others get a
								 * turn */
#define IDLE_TURN_MS 200		/* of one that has nothing to do */
#define START_LIMIT_MS 10000
#define FIRST_RETRY_MS 10		/* after no process could be started: at
								 * first, then twice as long each time */

static BackgroundWorkerHandle **handles;	/* of the dispatchers being
											 * started */

/*
 * taskq_process_start - start a dispatcher or worker; false if there is no
 * room
 *
 * Then the log says so, and a sweeper makes room for the next try.
 */
bool
taskq_process_start(const char *type, const char *function,
					const TaskqProcessArgs *args,
					BackgroundWorkerHandle **handle)
{
	bool		started = taskq_process_try_start(type, function, args, handle);

	if (!started)
		taskq_sweepers_leave();
	taskq_process_warn(started);
	return started;
}

/* taskq_launcher_register - while the server starts */
void
taskq_launcher_register(void)
{
	BackgroundWorker worker;

	taskq_process_fill(&worker, "taskq launcher", "taskq_launcher_main");
	worker.bgw_restart_time = 1;
	RegisterBackgroundWorker(&worker);
}

/* ---- the launcher ---- */

static void
launcher_detach(int code, Datum arg)
{
	LWLockAcquire(taskq_main_lock, LW_EXCLUSIVE);
	if (taskq_shared->launcher == MyProcPid)
		taskq_shared->launcher = 0;
	LWLockRelease(taskq_main_lock);
}

/*
 * Some database that can be connected to: that of the administrators if it is
 * there, else the first one.
 */
static Oid
any_database(void)
{
	Relation	rel = table_open(DatabaseRelationId, AccessShareLock);
	TableScanDesc scan = table_beginscan_catalog(rel, 0, NULL);
	HeapTuple	tuple;
	Oid			found = InvalidOid;

	while ((tuple = heap_getnext(scan, ForwardScanDirection)) != NULL)
	{
		Form_pg_database form = (Form_pg_database) GETSTRUCT(tuple);

		if (!form->datallowconn)
			continue;
		if (strcmp(NameStr(form->datname), "postgres") == 0)
			found = form->oid;
		else if (!OidIsValid(found) && !form->datistemplate)
			found = form->oid;
	}
	table_endscan(scan);
	table_close(rel, AccessShareLock);
	return found;
}

/* Have the databases with taskq found, by a dispatcher anywhere. */
static void
find_databases(void)
{
	Oid			dbid;
	TaskqDb    *db = NULL;

	StartTransactionCommand();
	(void) GetTransactionSnapshot();
	dbid = any_database();
	CommitTransactionCommand();
	LWLockAcquire(taskq_main_lock, LW_EXCLUSIVE);
	if (OidIsValid(dbid))
		db = taskq_db_enter(dbid);
	if (db != NULL)
	{
		/*
		 * a dispatcher that is there does it with its next pass, wherever it
		 * is
		 */
		taskq_shared->find = true;
		taskq_wake_dispatcher(db);
	}
	LWLockRelease(taskq_main_lock);
}

/*
 * May a dispatcher be started there?  Of a database that is gone nothing more
 * is to be known; one that is closed to connections is looked at again now
 * and then.
 */
static bool
check_database(TaskqDb *db)
{
	HeapTuple	tuple;
	bool		exists;
	bool		open = false;

	StartTransactionCommand();
	(void) GetTransactionSnapshot();
	tuple = SearchSysCache1(DATABASEOID, ObjectIdGetDatum(db->dbid));
	exists = HeapTupleIsValid(tuple);
	if (exists)
	{
		open = ((Form_pg_database) GETSTRUCT(tuple))->datallowconn;
		ReleaseSysCache(tuple);
	}
	CommitTransactionCommand();
	if (!open)
	{
		LWLockAcquire(taskq_main_lock, LW_EXCLUSIVE);
		if (exists)
			db->not_before = TimestampTzPlusMilliseconds(taskq_steady_now(),
														 CLOSED_MS);
		else
			taskq_db_forget(db->dbid);
		LWLockRelease(taskq_main_lock);
	}
	return open;
}

/* Dispatchers that were asked for and never came. */
static void
reap_failed_starts(TimestampTz now)
{
	for (int i = 0; i < taskq_max_databases; i++)
	{
		TaskqDb    *db = &taskq_shared->dbs[i];
		pid_t		pid;
		bool		failed;

		if (db->dispatcher != -1)
			continue;
		failed =
			handles[i] != NULL
			? GetBackgroundWorkerPid(handles[i], &pid) == BGWH_STOPPED
			: TimestampDifferenceExceeds(db->since, now, START_LIMIT_MS);
		LWLockAcquire(taskq_main_lock, LW_EXCLUSIVE);
		if (failed && db->dispatcher == -1)
		{
			db->dispatcher = 0;
			db->wanted = true;
			db->not_before = TimestampTzPlusMilliseconds(now, RETRY_MS);
		}
		LWLockRelease(taskq_main_lock);
	}
}

/* False if the server has no room for a process. */
static bool
start_dispatcher(int i, TimestampTz now)
{
	TaskqDb    *db = &taskq_shared->dbs[i];
	TaskqProcessArgs args = {.dbid = db->dbid};
	bool		started;

	if (!check_database(db))
		return true;
	if (handles[i] != NULL)
		pfree(handles[i]);
	handles[i] = NULL;
	LWLockAcquire(taskq_main_lock, LW_EXCLUSIVE);
	db->dispatcher = -1;
	db->since = now;
	db->leave = false;
	LWLockRelease(taskq_main_lock);
	started = taskq_process_start("taskq dispatcher", "taskq_dispatcher_main",
								  &args, &handles[i]);
	LWLockAcquire(taskq_main_lock, LW_EXCLUSIVE);
	if (started)
		taskq_turn_over(db->dbid, InvalidOid);
	else if (db->dispatcher == -1)
		db->dispatcher = 0;
	LWLockRelease(taskq_main_lock);
	return started;
}

/*
 * A dispatcher makes room for another database's: one that has nothing to do,
 * else the one that has been there longest, when it has had its turn.  Caller
 * holds the main lock.
 */
static void
ask_one_to_leave(TimestampTz now)
{
	TaskqDb    *longest = NULL;

	for (int i = 0; i < taskq_max_databases; i++)
	{
		TaskqDb    *db = &taskq_shared->dbs[i];

		if (!OidIsValid(db->dbid) || db->dispatcher <= 0)
			continue;
		if (longest == NULL || (longest->busy && !db->busy) ||
			(longest->busy == db->busy && db->since < longest->since))
			longest = db;
	}
	if (longest != NULL &&
		TimestampDifferenceExceeds(longest->since, now,
								   longest->busy ? MIN_TURN_MS : IDLE_TURN_MS))
	{
		longest->leave = true;
		taskq_wake_proc(longest->procno);
	}
}

/*
 * There is no room for a dispatcher's process: somebody makes some.  An idle
 * worker, unless it would be the only one (the dispatcher shall be able to
 * start one of its own); else another dispatcher; where there is none, the
 * workers take turns with it.
 */
static void
make_room(TaskqDb *db, int running, TimestampTz now)
{
	TaskqSlot  *idle = NULL;
	int			workers = 0;

	LWLockAcquire(taskq_main_lock, LW_EXCLUSIVE);
	for (int i = 0; i < taskq_shared->nslots; i++)
	{
		TaskqSlot  *slot = &taskq_shared->slots[i];

		if (slot->state == TASKQ_SLOT_FREE || slot->leave)
			continue;
		workers++;
		if (slot->state == TASKQ_SLOT_IDLE &&
			(idle == NULL || slot->last_active < idle->last_active))
			idle = slot;
	}
	if (running == 0)
		taskq_turn_ask(db->dbid, InvalidOid);
	if (idle != NULL && (workers > 1 || running == 0))
	{
		if (taskq_turn_room_due())
		{
			idle->leave = true;
			taskq_wake_proc(idle->procno);
		}
	}
	else if (running > 0)
		ask_one_to_leave(now);
	LWLockRelease(taskq_main_lock);
}

/*
 * When a dispatcher is to be started there, in steady time; DT_NOEND if none
 * is.
 */
static TimestampTz
when_wanted(TaskqDb *db)
{
	TimestampTz when = DT_NOEND;

	LWLockAcquire(taskq_main_lock, LW_SHARED);
	if (OidIsValid(db->dbid) && db->blocked == 0 && db->dispatcher == 0)
		when = Max(db->wanted
				   ? DT_NOBEGIN
				   : taskq_steady_at(Min(Min(db->next_due, db->next_schedule),
										 Min(db->next_sweep, db->next_check))),
				   db->not_before);
	LWLockRelease(taskq_main_lock);
	return when;
}

/*
 * The database that shall be next: of those whose time has come, the one
 * served longest ago.
 */
static int
next_database(TimestampTz now, TimestampTz *next)
{
	int			best = -1;

	for (int i = 0; i < taskq_max_databases; i++)
	{
		TimestampTz when = when_wanted(&taskq_shared->dbs[i]);

		if (when > now)
			*next = Min(*next, when);
		else if (best < 0 ||
				 taskq_shared->dbs[i].since < taskq_shared->dbs[best].since)
			best = i;
	}
	return best;
}

static int
dispatchers_running(void)
{
	int			n = 0;

	for (int i = 0; i < taskq_max_databases; i++)
		n += OidIsValid(taskq_shared->dbs[i].dbid) &&
			taskq_shared->dbs[i].dispatcher != 0;
	return n;
}

/*
 * May one more dispatcher be started?  Where the server has no room for more
 * processes, not while a role waits for the process of a worker: dispatchers
 * alone run nothing.
 */
static bool
dispatcher_allowed(int running, TimestampTz now)
{
	bool		allowed;

	LWLockAcquire(taskq_main_lock, LW_EXCLUSIVE);
	allowed = running < taskq_max_dispatchers &&
		(running == 0 || !taskq_turn_needs_process());
	if (!allowed)
		ask_one_to_leave(now);
	LWLockRelease(taskq_main_lock);
	return allowed;
}

/* Start what is to be started; returns when to look again, in steady time. */
static TimestampTz
serve_databases(void)
{
	static int	retry_ms = FIRST_RETRY_MS;
	TimestampTz now = taskq_steady_now();
	TimestampTz soon = TimestampTzPlusMilliseconds(now, RETRY_MS);
	TimestampTz next = DT_NOEND;
	int			i;

	reap_failed_starts(now);
	while ((i = next_database(now, &next)) >= 0)
	{
		int			running = dispatchers_running();

		if (!dispatcher_allowed(running, now))
			return Min(next, TimestampTzPlusMilliseconds(now, IDLE_TURN_MS));
		if (!start_dispatcher(i, now))
		{
			make_room(&taskq_shared->dbs[i], running, now);
			next = Min(next, TimestampTzPlusMilliseconds(now, retry_ms));
			retry_ms = Min(retry_ms * 2, RETRY_MS);
			return next;
		}
		retry_ms = FIRST_RETRY_MS;
	}
	for (i = 0; i < taskq_max_databases; i++)
	{
		if (taskq_shared->dbs[i].dispatcher == -1)
			next = Min(next, soon);
	}
	return next;
}

/* When the system's clock was set, every database looks at its timers. */
static void
watch_clock(void)
{
	int64		offset = taskq_clock_offset();
	int64		by = offset - taskq_shared->clock_offset;

	if (by < TASKQ_CLOCK_JUMP_US && by > -TASKQ_CLOCK_JUMP_US)
		return;
	ereport(LOG,
			(errmsg("taskq noticed that the system clock was set by %.3f s", by / 1000000.0)));
	LWLockAcquire(taskq_main_lock, LW_EXCLUSIVE);
	taskq_shared->clock_offset = offset;
	for (int i = 0; i < taskq_max_databases; i++)
	{
		TaskqDb    *db = &taskq_shared->dbs[i];

		if (!OidIsValid(db->dbid))
			continue;
		db->next_due = DT_NOBEGIN;
		db->next_schedule = DT_NOBEGIN;
		db->next_sweep = DT_NOBEGIN;
		taskq_wake_dispatcher(db);
	}
	LWLockRelease(taskq_main_lock);
}

/* When the retention was changed, every database looks what is old by now. */
static void
watch_retention(void)
{
	static int	last = 0;

	if (last != 0 && last != taskq_retention)
	{
		LWLockAcquire(taskq_main_lock, LW_EXCLUSIVE);
		for (int i = 0; i < taskq_max_databases; i++)
		{
			TaskqDb    *db = &taskq_shared->dbs[i];

			if (!OidIsValid(db->dbid) || db->foreign)
				continue;
			taskq_sweep_soon(db);
			if (db->dispatcher > 0)
				taskq_wake_proc(db->procno);
		}
		LWLockRelease(taskq_main_lock);
	}
	last = taskq_retention;
}

/*
 * The limit of what runs at a time changes for all processes at the same
 * moment: this one.
 */
static void
watch_max_running(void)
{
	static int	last_workers = 0;

	if (taskq_shared->max_running == taskq_max_running &&
		last_workers == taskq_max_workers)
		return;
	last_workers = taskq_max_workers;
	LWLockAcquire(taskq_main_lock, LW_EXCLUSIVE);
	taskq_shared->max_running = taskq_max_running;
	for (int i = 0; i < taskq_max_databases; i++)
	{
		if (OidIsValid(taskq_shared->dbs[i].dbid))
			taskq_places_open(&taskq_shared->dbs[i]);
	}
	LWLockRelease(taskq_main_lock);
}

/* taskq_launcher_main - entry point of the launcher */
void
taskq_launcher_main(Datum arg)
{
	taskq_process_begin(NULL);
	BackgroundWorkerUnblockSignals();
	before_shmem_exit(launcher_detach, (Datum) 0);
	BackgroundWorkerInitializeConnection(NULL, NULL, 0);

	LWLockAcquire(taskq_main_lock, LW_EXCLUSIVE);
	taskq_shared->launcher = MyProcPid;
	taskq_shared->launcher_procno = taskq_my_procno();
	LWLockRelease(taskq_main_lock);
	handles = MemoryContextAllocZero(TopMemoryContext,
									 taskq_max_databases *
									 sizeof(BackgroundWorkerHandle *));
	(void) taskq_process_settings();
	find_databases();
	pgstat_report_activity(STATE_IDLE, NULL);

	for (;;)
	{
		uint32		calls = taskq_calls();
		TimestampTz next;
		long		ms;

		watch_clock();
		watch_retention();
		watch_max_running();
		next = serve_databases();
		ms = next == DT_NOEND
			? -1
			: Min(TimestampDifferenceMilliseconds(taskq_steady_now(),
												  next),
				  TASKQ_CLOCK_CHECK_MS);
		(void) taskq_sleep(calls, ms, taskq_wait_event("TaskqLauncher"));
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
		if (taskq_process_settings())
			find_databases();
	}
}
