/*-------------------------------------------------------------------------
 *
 * sweeper.c
 *		Forgetting what has been finished for long.
 *
 * The ring's leaves hold tasks by the time of their submit, a twelfth of
 * taskq.retention each.  When everything in one was submitted longer ago than
 * that, what shall be kept (unfinished, or finished lately) moves to the leaf
 * of the kept ones, and the leaf is truncated: no dead rows, no vacuum.  From
 * the kept ones those whose time is over are deleted.
 *
 * That is the work of a process of its own, of which there is one in a
 * database while it has something to do.  It may be slow, find rows locked,
 * or fail: the leaf is put off, longer and longer, and the next one is tried.
 * Nobody waits for it.
 *
 * A leaf is emptied in empty.c; in forget.c is what deletes task by task, in
 * remains.c what is beside the leaves.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "base/clock.h"
#include "base/compat.h"
#include "base/guc.h"
#include "base/process.h"
#include "dispatch/pass.h"
#include "dispatch/remains.h"
#include "dispatch/sweep.h"
#include "dispatch/sweeper.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/lmgr.h"
#include "store/defs.h"
#include "store/leaves.h"
#include "store/store.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#define FIRST_MS 10000			/* till the next try, when somebody or
								 * something was in the way; doubled ... */
#define LAST_MS 600000			/* ... up to this */
#define ROOM_MS 1000			/* till the next try, when there was no room
								 * for a process; doubled, as above */
#define NO_ROOM 14				/* such tries in the better part of an hour;
								 * then the log says so */
#define START_MS 10000			/* for a sweeper to come */
#define OLD_TURN 14				/* periods after which a leaf has been left
								 * over from another turn */

TaskqSweeper taskq_sweeper;

/* ---- coming and going ---- */

static int
backoff_ms(int tries)
{
	return tries >= 6 ? LAST_MS : FIRST_MS << tries;
}

/* For a process; they come and go. */
static int
room_backoff_ms(int tries)
{
	return Min(ROOM_MS << Min(tries, 10), LAST_MS);
}

/* When it is to be looked again has changed; caller holds the main lock. */
static void
tell_change(TaskqDb *of)
{
	if (of->dispatcher > 0)
		taskq_wake_proc(of->procno);
	else
		taskq_wake_launcher();
	ConditionVariableBroadcast(&taskq_shared->slots_changed);
}

static void
sweeper_detach(int code, Datum arg)
{
	TaskqDb    *db = taskq_sweeper.db;

	LWLockAcquire(taskq_main_lock, LW_EXCLUSIVE);
	if (db->sweeper == MyProcPid)
	{
		db->sweeper = 0;
		if (db->blocked > 0)
			db->next_sweep = DT_NOBEGIN;
		else if (!taskq_sweeper.finished)
			db->next_sweep =
				TimestampTzPlusMilliseconds(GetCurrentTimestamp(),
											backoff_ms(db->sweeper_tries++));
		tell_change(db);
	}
	LWLockRelease(taskq_main_lock);
}

static bool
sweeper_attach(Oid dbid)
{
	TaskqDb    *db;
	bool		ours;

	LWLockAcquire(taskq_main_lock, LW_EXCLUSIVE);
	db = taskq_sweeper.db = taskq_db_find(dbid);
	ours = db != NULL && db->sweeper == -1 && db->blocked == 0;
	if (ours)
	{
		db->sweeper = MyProcPid;
		db->sweeper_procno = taskq_my_procno();
		db->next_sweep = DT_NOEND;	/* we say when we leave */
	}
	else if (db != NULL && db->sweeper == -1)
	{
		db->sweeper = 0;
		db->next_sweep = DT_NOBEGIN;
		ConditionVariableBroadcast(&taskq_shared->slots_changed);
	}
	LWLockRelease(taskq_main_lock);
	if (ours)
		before_shmem_exit(sweeper_detach, (Datum) 0);
	return ours;
}

/* taskq_sweep_shall_leave - is there a reason to leave before the end? */
bool
taskq_sweep_shall_leave(void)
{
	TaskqDb    *db = taskq_sweeper.db;

	(void) taskq_process_settings();
	return db->blocked > 0 || db->foreign || db->sweeper_leave ||
		taskq_sweeper.retention != taskq_retention;
}

/* taskq_sweep_pause - wait for so many ms; can be interrupted */
void
taskq_sweep_pause(long ms)
{
	(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
					 ms, taskq_wait_event("TaskqSweeper"));
	ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
}

/*
 * taskq_sweep_nap - leave the machine to others for twice as long as we had
 * it
 */
void
taskq_sweep_nap(TimestampTz since)
{
	long		ms = TimestampDifferenceMilliseconds(since,
													 GetCurrentTimestamp()) *
	2;

	taskq_sweep_pause(Max(Min(ms, 200), 1));
}

/*
 * Somebody said how long what is kept: that may be over now.  Only the
 * dispatcher writes what it has seen.
 */
static void
watch_rules(TaskqDb *here)
{
	uint64		definitions = pg_atomic_read_u64(&taskq_shared->definitions);
	uint64		now;

	if (here->rules_of == definitions + 1)
		return;
	taskq_pass_begin();
	now = taskq_retention_signature();
	taskq_pass_commit();
	here->rules_of = definitions + 1;
	if (now == here->rules)
		return;
	LWLockAcquire(taskq_main_lock, LW_EXCLUSIVE);
	here->rules = now;
	here->sweep_now |= here->sweeper > 0;
	here->next_sweep = DT_NOBEGIN;
	LWLockRelease(taskq_main_lock);
}

/*
 * taskq_start_sweeper - start one if it is time; a part of the dispatcher's
 * pass
 *
 * A copy of a database stays as it is until somebody takes it over.  When
 * there is no room for a process it is tried again later: workers come first.
 */
void
taskq_start_sweeper(void)
{
	TaskqDb    *here = taskq_dispatcher.db;
	TaskqProcessArgs args = {.dbid = MyDatabaseId};
	BackgroundWorkerHandle *handle;
	TimestampTz now = GetCurrentTimestamp();
	bool		start = false;

	watch_rules(here);
	LWLockAcquire(taskq_main_lock, LW_EXCLUSIVE);
	if (here->foreign || taskq_db_paused(MyDatabaseId))
		here->next_sweep = DT_NOEND;	/* taskq.resume() makes it known again */
	else if (here->next_sweep <= now && here->sweeper > 0)
	{
		/* it looks once more before it leaves */
		here->sweep_now = true;
		here->next_sweep = DT_NOEND;
	}
	else if (here->next_sweep <= now && here->blocked == 0)
	{
		/* one that was asked for and did not come is asked for again */
		start = here->sweeper == 0 ||
			taskq_steady_now() - here->sweeper_since >=
			START_MS * INT64CONST(1000);
		here->next_sweep = TimestampTzPlusMilliseconds(now, START_MS);
		if (start)
		{
			here->sweeper = -1;
			here->sweeper_since = taskq_steady_now();
			here->sweeper_leave = false;
		}
	}
	LWLockRelease(taskq_main_lock);
	if (start && taskq_process_try_start("taskq sweeper",
										 "taskq_sweeper_main", &args, &handle))
		pfree(handle);
	else if (start)
	{
		LWLockAcquire(taskq_main_lock, LW_EXCLUSIVE);
		here->sweeper = 0;
		here->next_sweep =
			TimestampTzPlusMilliseconds(now,
										room_backoff_ms(here->sweeper_tries++));
		LWLockRelease(taskq_main_lock);
		if (here->sweeper_tries == NO_ROOM)
			ereport(WARNING,
					(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
					 errmsg("taskq found no room for a process that empties old leaves"),
					 errhint("Increase max_worker_processes, or decrease taskq.max_workers.")));
	}
	taskq_look_again_at(here->next_sweep);
}

/*
 * taskq_sweepers_leave - another process finds no room: sweepers come back
 * later
 */
void
taskq_sweepers_leave(void)
{
	LWLockAcquire(taskq_main_lock, LW_EXCLUSIVE);
	for (int i = 0; i < taskq_max_databases; i++)
	{
		TaskqDb    *each = &taskq_shared->dbs[i];

		if (!OidIsValid(each->dbid) || each->sweeper <= 0)
			continue;
		each->sweeper_leave = true;
		taskq_wake_proc(each->sweeper_procno);
	}
	LWLockRelease(taskq_main_lock);
}

/*
 * taskq_sweep_soon - look at every leaf of a database, also at those that
 * were put off
 *
 * Caller holds the main lock exclusively.  The dispatcher or launcher has to
 * be woken.
 */
void
taskq_sweep_soon(TaskqDb *of)
{
	of->sweep_now = true;
	of->sweeper_tries = 0;
	of->next_sweep = DT_NOBEGIN;
}

/* ---- transactions ---- */

/*
 * taskq_sweep_begin - a transaction of the sweeper's, in its context, with
 * definitions read
 */
void
taskq_sweep_begin(void)
{
	SetCurrentStatementStartTimestamp();
	MemoryContextReset(taskq_sweeper.context);
	taskq_store_begin();
	taskq_defs_begin();
	MemoryContextSwitchTo(taskq_sweeper.context);
}

/*
 * taskq_sweep_commit - ... is at its end; what was allocated stays till the
 * next one
 */
void
taskq_sweep_commit(void)
{
	PopActiveSnapshot();
	CommitTransactionCommand();
	MemoryContextSwitchTo(taskq_sweeper.context);
}

/*
 * taskq_sweep_at_home - were all lanes made here?
 *
 * What is restored may have come since the dispatcher looked; it is left alone
 * until taskq.resume(), and so is what has come before its lanes.  To be asked
 * after the lock that keeps rows out, in a transaction.  Takes the main lock.
 */
bool
taskq_sweep_at_home(void)
{
	TaskqDb    *db = taskq_sweeper.db;
	List	   *ids;
	ListCell   *lc;
	bool		foreign = false;
	bool		unknown = false;

	taskq_defs_begin();
	ids = taskq_lane_ids();
	foreach(lc, ids)
	{
		const TaskqLaneDef *lane = taskq_lane_get(lfirst_int(lc));

		unknown |= lane == NULL;
		foreign |= lane != NULL && lane->foreign;
	}
	if (foreign)
	{
		LWLockAcquire(taskq_main_lock, LW_EXCLUSIVE);
		db->foreign = true;
		db->rescan = true;
		db->loaded = false;		/* the log says so */
		taskq_wake_dispatcher(db);
		LWLockRelease(taskq_main_lock);
	}
	return !foreign && !unknown && ids != NIL;
}

/* ---- how long what is kept ---- */

/* taskq_sweep_cutoff - what was submitted before may go */
TimestampTz
taskq_sweep_cutoff(void)
{
	return GetCurrentTimestamp() - taskq_retention_us(taskq_sweeper.retention);
}

/*
 * What is of a task that was submitted before, and is gone, may go too.  Where
 * tasks are kept for ever that is so of those that are not.
 */
static TimestampTz
gone_cutoff(void)
{
	return taskq_sweeper.retention < 0
		? GetCurrentTimestamp() - taskq_sweeper.rules.shortest
		: taskq_sweep_cutoff();
}

/* When to look again for what is kept for less than usual. */
static TimestampTz
early_again_at(TimestampTz now)
{
	if (taskq_sweeper.rules.shortest >= taskq_sweeper.rules.us)
		return DT_NOEND;
	return now + Max(taskq_sweeper.rules.shortest / 12, USECS_PER_MINUTE);
}

static void
read_rules(void)
{
	MemoryContext old;

	taskq_sweep_begin();
	old = MemoryContextSwitchTo(TopMemoryContext);
	taskq_retention_read(taskq_retention_us(taskq_sweeper.retention),
						 &taskq_sweeper.rules);
	MemoryContextSwitchTo(old);
	taskq_sweep_commit();
}

/* ---- what is left beside the leaves ---- */

static void
forget_in_portions(TaskqRemainsForget forget)
{
	TaskqRemainsAt at = {0};
	bool		more = true;

	while (more && !taskq_sweep_shall_leave())
	{
		TimestampTz start = GetCurrentTimestamp();

		taskq_sweep_begin();
		more = forget(&at, gone_cutoff());
		taskq_sweep_commit();
		taskq_sweep_nap(start);
	}
}

static void
sweep_attempts(int leafno)
{
	forget_in_portions(taskq_remains_attempts);
	if (!taskq_sweep_shall_leave())
		taskq_sweeper.db->attempts_swept = true;
}

static void
sweep_uniques(int leafno)
{
	forget_in_portions(taskq_remains_uniques);
}

static void
sweep_edges(int leafno)
{
	forget_in_portions(taskq_remains_edges);
	forget_in_portions(taskq_remains_blocked);
}

static void
sweep_workflows(int leafno)
{
	forget_in_portions(taskq_remains_workflows);
}

static void
sweep_audit(int leafno)
{
	if (taskq_audit_retention >= 0)
		forget_in_portions(taskq_remains_audit);
}

/* When to look again; leaves may be looked at seldom. */
static TimestampTz
audit_again_at(TimestampTz now)
{
	if (taskq_audit_retention < 0)
		return DT_NOEND;
	return now + Max((int64) taskq_audit_retention * USECS_PER_MINUTE / 12,
					 USECS_PER_MINUTE);
}

/* ---- all leaves ---- */

/*
 * taskq_sweep_put_off - a leaf is not to be looked at for a while, longer
 * each time
 */
void
taskq_sweep_put_off(TaskqLeaf *leaf)
{
	leaf->again_at = taskq_steady_now() +
		(int64) backoff_ms(leaf->tries++) * 1000;
}

/*
 * Do something with a leaf.  When it fails the leaf is put off, and the log
 * says so; nothing else is.
 */
static void
try_leaf(void (*what) (int), int leafno)
{
	TaskqDb    *db = taskq_sweeper.db;

	PG_TRY();
	{
		what(leafno);
	}
	PG_CATCH();
	{
		ErrorData  *error = taskq_pass_failed(TopMemoryContext);

		MemoryContextSwitchTo(taskq_sweeper.context);
		taskq_sweep_put_off(&db->leaves[leafno]);
		ereport(WARNING,
				(errcode(error->sqlerrcode),
				 errmsg("taskq could not empty leaf %d: %s", leafno, error->message),
				 errhint("It is tried again in %d seconds; tasks are run meanwhile.", backoff_ms(db->leaves[leafno].tries - 1) / 1000)));
		FreeErrorData(error);
	}
	PG_END_TRY();
}

/*
 * Which leaves have only what was submitted before cutoff, as bits.  Those
 * that still have what is old get no new tasks: an id names another leaf then
 * (see id.c).
 */
static uint32
find_due(TimestampTz now, TimestampTz cutoff)
{
	TaskqDb    *db = taskq_sweeper.db;
	uint32		due = 0;
	uint32		closed = 0;

	taskq_sweep_begin();
	for (int leafno = 0; leafno < TASKQ_RING; leafno++)
	{
		pg_uuid_t	oldest;
		pg_uuid_t	newest;

		/*
		 * one that an administrator has for himself does not hold up the
		 * others
		 */
		if (!ConditionalLockRelationOid(taskq_store_oid(TASKQ_REL_LEAF +
														leafno),
										AccessShareLock))
		{
			taskq_sweep_put_off(&db->leaves[leafno]);
			continue;
		}
		if (!taskq_store_ends(leafno, now, &oldest, &newest))
			continue;
		if (taskq_id_time(&newest) <= cutoff)
			due |= 1u << leafno;
		if (taskq_id_time(&oldest) <
			now - OLD_TURN * taskq_ring_period_ms() * 1000)
			closed |= 1u << leafno;
	}
	taskq_sweep_commit();
	pg_atomic_write_u32(&db->closed, due | closed);
	return due & ~(1u << taskq_ring_leaf(now));
}

/* Is it known of all that is in the tables where it was made? */
static bool
all_at_home(void)
{
	bool		home;

	taskq_sweep_begin();
	home = taskq_sweep_at_home();
	taskq_sweep_commit();
	return home;
}

static bool
is_time(int leafno)
{
	return taskq_sweeper.db->leaves[leafno].again_at <= taskq_steady_now();
}

/* Forget what is old; returns when to look again. */
static TimestampTz
sweep(void)
{
	TaskqDb    *db = taskq_sweeper.db;
	TimestampTz now = GetCurrentTimestamp();
	TimestampTz steady = taskq_steady_now();
	TimestampTz next = TimestampTzPlusMilliseconds(now,
												   taskq_ring_period_ms());
	uint32		due;

	read_rules();
	due = find_due(now, taskq_sweep_cutoff());
	for (int leafno = 0; leafno < TASKQ_RING && !taskq_sweep_shall_leave();
		 leafno++)
	{
		if ((due & 1u << leafno) && is_time(leafno))
			try_leaf(taskq_sweep_ring_leaf, leafno);
	}
	if (!taskq_sweep_shall_leave() && is_time(TASKQ_KEEP))
		try_leaf(taskq_sweep_kept, TASKQ_KEEP);
	for (int leafno = 0; leafno < TASKQ_LEAVES && taskq_sweeper.rules.n > 0;
		 leafno++)
	{
		if (!taskq_sweep_shall_leave())
			try_leaf(taskq_sweep_early, leafno);
	}
	next = Min(next, early_again_at(now));
	next = Min(next, audit_again_at(now));
	if (!taskq_sweep_shall_leave() && !db->attempts_swept && all_at_home())
	{
		try_leaf(sweep_edges, TASKQ_KEEP);
		try_leaf(sweep_attempts, TASKQ_KEEP);
		try_leaf(sweep_workflows, TASKQ_KEEP);
	}
	if (!taskq_sweep_shall_leave() && all_at_home())
		try_leaf(sweep_uniques, TASKQ_KEEP);
	if (!taskq_sweep_shall_leave())
		try_leaf(sweep_audit, TASKQ_KEEP);

	for (int leafno = 0; leafno < TASKQ_LEAVES; leafno++)
	{
		if (db->leaves[leafno].again_at > steady)
			next = Min(next,
					   now + db->leaves[leafno].again_at - steady);
	}
	return next;
}

/* Say when to look again, and be done. */
static void
finish(TimestampTz next)
{
	TaskqDb    *db = taskq_sweeper.db;

	LWLockAcquire(taskq_main_lock, LW_EXCLUSIVE);
	if (db->foreign)
		next = DT_NOEND;
	else if (db->sweep_now || db->blocked > 0 ||
			 taskq_sweeper.retention != taskq_retention)
		next = DT_NOBEGIN;
	else if (db->sweeper_leave)
		next =
			TimestampTzPlusMilliseconds(GetCurrentTimestamp(),
										room_backoff_ms(db->sweeper_tries++));
	else
		db->sweeper_tries = 0;
	db->next_sweep = Min(db->next_sweep, next);
	taskq_sweeper.finished = true;
	LWLockRelease(taskq_main_lock);
}

/* Did library and extension part since the dispatcher looked? */
static bool
mismatched(void)
{
	bool		ready;

	taskq_store_begin();
	ready = taskq_store_ready();
	taskq_sweep_commit();
	return !ready;
}

/* taskq_sweeper_main - entry point of a sweeper */
void
taskq_sweeper_main(Datum arg)
{
	TaskqProcessArgs args;
	TaskqDb    *db;
	bool		all;

	taskq_process_begin(&args);
	if (!sweeper_attach(args.dbid))
		proc_exit(0);
	db = taskq_sweeper.db;
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnectionByOid(args.dbid, InvalidOid, 0);
	taskq_pin_settings();

	/*
	 * what is moved is moved for good before its leaf goes: that commit comes
	 * later in the WAL
	 */
	SetConfigOption("synchronous_commit", "off", PGC_SUSET, PGC_S_OVERRIDE);
	taskq_sweeper.context = AllocSetContextCreate(TopMemoryContext, "taskq sweeper",
												  ALLOCSET_DEFAULT_SIZES);
	if (mismatched())
		proc_exit(0);
	pgstat_report_activity(STATE_RUNNING, "taskq: looking for old tasks");
	taskq_sweeper.retention = taskq_retention;

	LWLockAcquire(taskq_main_lock, LW_EXCLUSIVE);
	all = db->sweep_now;
	db->sweep_now = false;
	LWLockRelease(taskq_main_lock);
	for (int leafno = 0; all && leafno < TASKQ_LEAVES; leafno++)
	{
		db->leaves[leafno].again_at = DT_NOBEGIN;
		db->leaves[leafno].tries = 0;
	}
	finish(sweep());
	pgstat_report_stat(true);
	proc_exit(0);
}
