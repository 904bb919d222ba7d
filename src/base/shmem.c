/*-------------------------------------------------------------------------
 *
 * shmem.c
 *		Shared memory: allocation, databases, wake-ups.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/twophase.h"
#include "base/args.h"
#include "base/clock.h"
#include "base/compat.h"
#include "base/guard.h"
#include "base/guc.h"
#include "base/shmem.h"
#include "miscadmin.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/proc.h"
#include "storage/shmem.h"
#include "utils/timestamp.h"

TaskqShared *taskq_shared = NULL;
LWLock	   *taskq_main_lock = NULL;

static LWLockPadded *locks = NULL;

#define MAX_PARTS 16

/* What others have there. */
static struct
{
	Size		(*size) (void);
	void		(*init) (void);
}			parts[MAX_PARTS];
static int	nparts = 0;

static shmem_startup_hook_type prev_shmem_startup_hook = NULL;
static shmem_request_hook_type prev_shmem_request_hook = NULL;

static Size
shmem_size(void)
{
	Size		size = MAXALIGN(sizeof(TaskqShared));

	size = add_size(size,
					MAXALIGN(mul_size(taskq_max_databases, sizeof(TaskqDb))));
	size = add_size(size,
					MAXALIGN(mul_size(taskq_max_lanes, sizeof(TaskqLane))));
	size = add_size(size, MAXALIGN(mul_size(max_prepared_xacts,
											sizeof(TaskqPrepared))));
	size = add_size(size, MAXALIGN(mul_size(MaxBackends, sizeof(pg_uuid_t))));
	size = add_size(size, MAXALIGN(mul_size(MaxBackends,
											sizeof(pg_atomic_uint32))));
	return add_size(size, mul_size(MaxBackends, sizeof(pg_atomic_uint64)));
}

static void
shmem_request(void)
{
	if (prev_shmem_request_hook)
		prev_shmem_request_hook();
	RequestAddinShmemSpace(shmem_size());
	for (int i = 0; i < nparts; i++)
		RequestAddinShmemSpace(parts[i].size());
	RequestNamedLWLockTranche("taskq", 1 + TASKQ_MAX_WORKERS);
}

static void
shmem_reset(void)
{
	memset(taskq_shared, 0, shmem_size());
	taskq_shared->dbs =
		(TaskqDb *) ((char *) taskq_shared + MAXALIGN(sizeof(TaskqShared)));
	taskq_shared->lanes =
		(TaskqLane *) ((char *) taskq_shared->dbs +
					   MAXALIGN(taskq_max_databases * sizeof(TaskqDb)));
	taskq_shared->prepared =
		(TaskqPrepared *) ((char *) taskq_shared->lanes +
						   MAXALIGN(taskq_max_lanes * sizeof(TaskqLane)));
	taskq_shared->bounds =
		(pg_uuid_t *) ((char *) taskq_shared->prepared +
					   MAXALIGN(max_prepared_xacts * sizeof(TaskqPrepared)));
	taskq_shared->calls =
		(pg_atomic_uint32 *) ((char *) taskq_shared->bounds +
							  MAXALIGN(MaxBackends * sizeof(pg_uuid_t)));
	taskq_shared->settings_read =
		(pg_atomic_uint64 *) ((char *) taskq_shared->calls +
							  MAXALIGN(MaxBackends * sizeof(pg_atomic_uint32)));
	for (int i = 0; i < MaxBackends; i++)
	{
		pg_atomic_init_u32(&taskq_shared->calls[i], 0);
		pg_atomic_init_u64(&taskq_shared->settings_read[i], 0);
	}
	ConditionVariableInit(&taskq_shared->event_room);
	pg_atomic_init_u32(&taskq_shared->feed_readers, 0);
	ConditionVariableInit(&taskq_shared->fed);
	ConditionVariableInit(&taskq_shared->finished_any);
	ConditionVariableInit(&taskq_shared->slots_changed);
	ConditionVariableInit(&taskq_shared->claimable);
	pg_atomic_init_u32(&taskq_shared->claimers, 0);
	pg_atomic_init_u32(&taskq_shared->ncancels, 0);
	taskq_shared->clock_base = GetCurrentTimestamp() - taskq_monotonic_us();
	taskq_shared->start_paused = taskq_start_paused;
	taskq_shared->max_running = taskq_max_running;
	taskq_shared->quarantine = -1;
	taskq_shared->free_lane = -1;
	taskq_shared->generation = 1;
	for (int i = 0; i < TASKQ_WAIT_BUCKETS; i++)
	{
		ConditionVariableInit(&taskq_shared->finished[i]);
		ConditionVariableInit(&taskq_shared->watched[i]);
	}
	pg_atomic_init_u32(&taskq_shared->databases_gone, 0);
	pg_atomic_init_u64(&taskq_shared->definitions, 0);
	pg_atomic_init_u32(&taskq_shared->waiters, 0);
	pg_atomic_init_u32(&taskq_shared->watchers, 0);
	for (int i = 0; i < TASKQ_MAX_WORKERS; i++)
	{
		pg_atomic_init_u32(&taskq_shared->slots[i].task_generation, 0);
		pg_atomic_init_u32(&taskq_shared->slots[i].cancel_generation, 0);
	}
}

static void
shmem_startup(void)
{
	bool		found;

	if (prev_shmem_startup_hook)
		prev_shmem_startup_hook();

	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	taskq_shared = ShmemInitStruct("taskq", shmem_size(), &found);
	if (!found)
		shmem_reset();
	for (int i = 0; i < nparts; i++)
		parts[i].init();
	taskq_guard_startup(!found);
	LWLockRelease(AddinShmemInitLock);

	locks = GetNamedLWLockTranche("taskq");
	taskq_main_lock = &locks[0].lock;
}

/*
 * taskq_shmem_part - somebody above has something of its own there; before
 * taskq_shmem_init
 */
void
taskq_shmem_part(Size (*size) (void), void (*init) (void))
{
	Assert(nparts < MAX_PARTS);
	parts[nparts].size = size;
	parts[nparts].init = init;
	nparts++;
}

/* taskq_shmem_init - ask for shared memory; called while the server starts */
void
taskq_shmem_init(void)
{
	prev_shmem_request_hook = shmem_request_hook;
	shmem_request_hook = shmem_request;
	prev_shmem_startup_hook = shmem_startup_hook;
	shmem_startup_hook = shmem_startup;
}

/* taskq_require_preload - raise an error if the library was not preloaded */
void
taskq_require_preload(void)
{
	if (taskq_shared == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_TASK_UNAVAILABLE),
				 errmsg("taskq is not loaded by the server"),
				 errhint("Add taskq to shared_preload_libraries and restart the server.")));
}

/* taskq_slot_lock - the lock of a worker's slot */
LWLock *
taskq_slot_lock(int slot)
{
	Assert(slot >= 0 && slot < TASKQ_MAX_WORKERS);
	return &locks[1 + slot].lock;
}

/*
 * taskq_wake_proc - call the process with this number
 *
 * Its latch alone would not do: whatever waits inside of PostgreSQL (for a
 * lock, for a page that another process reads) resets it, and so swallows a
 * call that came meanwhile.  The process may have ended and the number be
 * another's by now: a call for nothing does no harm.
 */
void
taskq_wake_proc(int procno)
{
	pg_atomic_fetch_add_u32(&taskq_shared->calls[procno], 1);
	SetLatch(&ProcGlobal->allProcs[procno].procLatch);
}

/* taskq_calls - how often this process has been called */
uint32
taskq_calls(void)
{
	return pg_atomic_read_u32(&taskq_shared->calls[taskq_my_procno()]);
}

/*
 * taskq_sleep - wait until this process is called, or something is asked of
 * it by signal; at most so long, in milliseconds (-1: however long)
 *
 * calls is what taskq_calls said before the caller began to look for
 * something to do: if it is more by now there is no wait.  False if the time
 * is over.
 */
bool
taskq_sleep(uint32 calls, long ms, uint32 wait_event)
{
	int			events = WL_LATCH_SET | WL_EXIT_ON_PM_DEATH;

	if (taskq_calls() != calls || ConfigReloadPending ||
		ShutdownRequestPending || InterruptPending)
		return true;
	if (ms >= 0)
		events |= WL_TIMEOUT;
	return (WaitLatch(MyLatch, events, ms, wait_event) & WL_TIMEOUT) == 0;
}

/*
 * taskq_settings_read - when the settings were read that the launcher and the
 * processes of a database (NULL: it has none) go by, the oldest of these
 * times; 0 if none is known
 *
 * Not of a worker that is in its tasks, nor of one that starts: these read
 * them before they take the next one.  Caller holds the main lock.
 */
TimestampTz
taskq_settings_read(const TaskqDb *db)
{
	int			procs[3 + TASKQ_MAX_WORKERS];
	int			n = 0;
	TimestampTz oldest = 0;

	if (taskq_shared->launcher != 0)
		procs[n++] = taskq_shared->launcher_procno;
	if (db != NULL && db->dispatcher > 0)
		procs[n++] = db->procno;
	if (db != NULL && db->sweeper > 0)
		procs[n++] = db->sweeper_procno;
	for (int i = 0; i < taskq_shared->nslots && db != NULL; i++)
	{
		TaskqSlot  *slot = &taskq_shared->slots[i];

		if (slot->dbid == db->dbid && slot->state == TASKQ_SLOT_IDLE)
			procs[n++] = slot->procno;
	}
	for (int i = 0; i < n; i++)
	{
		TimestampTz read = (TimestampTz)
		pg_atomic_read_u64(&taskq_shared->settings_read[procs[i]]);

		if (i == 0 || read < oldest)
			oldest = read;
	}
	return oldest;
}

/* taskq_wake_launcher - caller holds the main lock */
void
taskq_wake_launcher(void)
{
	if (taskq_shared->launcher != 0)
		taskq_wake_proc(taskq_shared->launcher_procno);
}

/*
 * taskq_wake_dispatcher - wake a database's dispatcher, or have one started
 *
 * Caller holds the main lock exclusively.
 */
void
taskq_wake_dispatcher(TaskqDb *db)
{
	if (db->blocked > 0)
		return;
	if (db->dispatcher > 0)
		taskq_wake_proc(db->procno);
	else
	{
		db->wanted = true;
		taskq_wake_launcher();
	}
}

/*
 * taskq_call_dispatcher - the same for this database's, by who does not hold
 * the main lock
 *
 * The database may have been forgotten meanwhile.
 */
void
taskq_call_dispatcher(void)
{
	TaskqDb    *db;

	LWLockAcquire(taskq_main_lock, LW_EXCLUSIVE);
	db = taskq_db_enter(MyDatabaseId);
	if (db != NULL)
		taskq_wake_dispatcher(db);
	LWLockRelease(taskq_main_lock);
}

/*
 * taskq_wake_other_dispatchers - somebody needs a place that they may have;
 * caller holds the main lock
 */
void
taskq_wake_other_dispatchers(void)
{
	for (int i = 0; i < taskq_max_databases; i++)
	{
		TaskqDb    *db = &taskq_shared->dbs[i];

		if (OidIsValid(db->dbid) && db->dispatcher > 0 &&
			db->dispatcher != MyProcPid)
			taskq_wake_proc(db->procno);
	}
}

/* taskq_wake_dispatchers - a slot became free; caller holds the main lock */
void
taskq_wake_dispatchers(void)
{
	taskq_wake_other_dispatchers();
	for (int i = 0; i < taskq_max_databases; i++)
	{
		if (taskq_shared->dbs[i].dispatcher == MyProcPid)
			taskq_wake_proc(taskq_my_procno());
	}
	ConditionVariableBroadcast(&taskq_shared->slots_changed);
}

/*
 * taskq_db_paused - does a database wait for taskq.resume() since the server
 * started?
 */
bool
taskq_db_paused(Oid dbid)
{
	TaskqDb    *db;

	if (!taskq_shared->start_paused)
		return false;
	db = taskq_db_find(dbid);
	return (db == NULL || !db->resumed) && !taskq_guard_resumed(dbid);
}

/* taskq_db_find - entry of a database, or NULL; caller holds the main lock */
TaskqDb *
taskq_db_find(Oid dbid)
{
	for (int i = 0; i < taskq_max_databases; i++)
	{
		if (taskq_shared->dbs[i].dbid == dbid)
			return &taskq_shared->dbs[i];
	}
	return NULL;
}

/*
 * taskq_db_mine - entry of this process's database, or NULL; without the main
 * lock
 *
 * An entry that is made at this moment may be missed, so this is for what may
 * be known a moment too late, or what a lock on a table keeps in order.
 */
TaskqDb *
taskq_db_mine(void)
{
	static int	last = 0;

	if (taskq_shared == NULL || !OidIsValid(MyDatabaseId))
		return NULL;
	if (taskq_shared->dbs[last].dbid == MyDatabaseId)
		return &taskq_shared->dbs[last];
	for (int i = 0; i < taskq_max_databases; i++)
	{
		if (taskq_shared->dbs[i].dbid == MyDatabaseId)
		{
			last = i;
			return &taskq_shared->dbs[i];
		}
	}
	return NULL;
}

/*
 * taskq_leaf_written - a row, or a new version of one, comes to another place
 * of a leaf
 *
 * The caller has a lock on the leaf that keeps the sweeper from beginning to
 * read it, and from emptying it, till the transaction ends.
 */
void
taskq_leaf_written(int leaf)
{
	TaskqDb    *db = taskq_db_mine();

	if (db != NULL && leaf >= 0 && leaf < TASKQ_LEAVES)
		pg_atomic_fetch_add_u64(&db->leaves[leaf].written, 1);
}

/*
 * taskq_db_enter - find or make the entry of a database
 *
 * Caller holds the main lock exclusively.  NULL if there is no room.
 */
TaskqDb *
taskq_db_enter(Oid dbid)
{
	TaskqDb    *db = taskq_db_find(dbid);

	if (db != NULL)
		return db;
	db = taskq_db_find(InvalidOid);
	if (db == NULL)
		return NULL;
	memset(db, 0, sizeof(*db));
	pg_atomic_init_u32(&db->closed, 0);
	pg_atomic_init_u32(&db->counts_told, 0);
	for (int i = 0; i < TASKQ_LEAVES; i++)
		pg_atomic_init_u64(&db->leaves[i].written, 0);
	db->dbid = dbid;
	db->next_due = DT_NOBEGIN;	/* not known */
	db->next_schedule = DT_NOBEGIN;
	db->clock_offset = taskq_clock_offset();
	db->next_sweep = DT_NOBEGIN;
	db->next_check = DT_NOEND;
	db->held_until = DT_NOEND;
	db->not_before = DT_NOBEGIN;
	db->no_worker_before = DT_NOBEGIN;
	db->look = true;
	db->feed_doubts = 1;		/* what was there before the server started */
	return db;
}
