/*-------------------------------------------------------------------------
 *
 * dispatcher.c
 *		The dispatcher: one per database with something to do.
 *
 * Looks through the database once after the server has started, starts workers,
 * makes due tasks pending, records what workers left behind when they ended
 * inside a task, takes over what a worker in a long task can't see to, and
 * sends notifications.  Never runs code of a user.  Sleeps until something
 * happens or is due, and leaves when nothing is.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/table.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/indexing.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_shdepend.h"
#include "claim.h"
#include "commands/dbcommands.h"
#include "compat.h"
#include "complete.h"
#include "defs.h"
#include "event.h"
#include "execute.h"
#include "guc.h"
#include "lane.h"
#include "miscadmin.h"
#include "note.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "process.h"
#include "shmem.h"
#include "state.h"
#include "storage/fd.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/procarray.h"
#include "tcop/tcopprot.h"
#include "utils/acl.h"
#include "utils/fmgroids.h"
#include "utils/memutils.h"
#include "utils/pidfile.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

#define DIRECTORY_LOCK_FILE "postmaster.pid"	/* relative to the data directory */
#define STUCK_MS 100			/* in one task for so long, a worker gives the others back */
#define RETRY_MS 1000			/* after something that could not be done now */
#define TICKET_MS 5000			/* how long a slot is kept for the role that waits for one */
#define PORTION 500				/* rows a transaction, events a transaction */

static TaskqDb *my_db = NULL;
static int	my_scanner;			/* our name as scanner of a lane */
static bool clean_exit = false;
static BackgroundWorkerHandle *handles[TASKQ_MAX_WORKERS];	/* of workers being started */
static MemoryContext pass_context;
static TimestampTz wake_at;		/* when the next pass is due at the latest */

static void
look_again_at(TimestampTz when)
{
	wake_at = Min(wake_at, when);
}

static void
dispatcher_detach(int code, Datum arg)
{
	LWLockAcquire(taskq_main_lock, LW_EXCLUSIVE);
	taskq_claim_stop_scan(my_scanner);
	if (my_db->dispatcher == MyProcPid)
	{
		my_db->dispatcher = 0;
		if (!clean_exit)
		{
			my_db->wanted = true;
			my_db->not_before = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), RETRY_MS);
		}
		taskq_wake_launcher();
	}
	ConditionVariableBroadcast(&taskq_shared->slots_changed);
	LWLockRelease(taskq_main_lock);
}

static bool
dispatcher_attach(Oid dbid)
{
	bool		ours;

	LWLockAcquire(taskq_main_lock, LW_EXCLUSIVE);
	my_db = taskq_db_find(dbid);
	ours = my_db != NULL && my_db->dispatcher == -1 && my_db->blocked == 0;
	if (ours)
	{
		my_db->dispatcher = MyProcPid;
		my_db->procno = taskq_my_procno();
		my_db->since = GetCurrentTimestamp();
		my_db->wanted = false;
		taskq_wake_launcher();	/* it need not watch over our start any longer */
		my_scanner = TASKQ_MAX_WORKERS + (my_db - taskq_shared->dbs);
	}
	else if (my_db != NULL && my_db->dispatcher == -1)
		my_db->dispatcher = 0;
	LWLockRelease(taskq_main_lock);
	if (ours)
		before_shmem_exit(dispatcher_detach, (Datum) 0);
	return ours;
}

static void
begin(void)
{
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
}

static void
commit(void)
{
	PopActiveSnapshot();
	CommitTransactionCommand();
	MemoryContextSwitchTo(pass_context);
}

/* ---- databases ---- */

static void
add_database(Oid dbid)
{
	TaskqDb    *db;

	LWLockAcquire(taskq_main_lock, LW_EXCLUSIVE);
	db = taskq_db_enter(dbid);
	if (db != NULL && !db->loaded && db->dispatcher == 0)
	{
		db->wanted = true;
		taskq_wake_launcher();
	}
	LWLockRelease(taskq_main_lock);
	if (db == NULL)
		ereport(LOG,
				(errmsg("taskq does not run tasks in database with OID %u: too many databases use taskq", dbid),
				 errhint("Increase taskq.max_databases and restart the server.")));
}

/*
 * Find the databases with taskq: each has privileges granted to taskq_user, and
 * each such grant is a shared dependency.
 */
static void
find_databases(void)
{
	Relation	rel;
	SysScanDesc scan;
	ScanKeyData keys[2];
	HeapTuple	tuple;
	Oid			role;
	Oid			last = InvalidOid;

	begin();
	role = get_role_oid("taskq_user", true);
	if (OidIsValid(role))
	{
		rel = table_open(SharedDependRelationId, AccessShareLock);
		ScanKeyInit(&keys[0], Anum_pg_shdepend_refclassid, BTEqualStrategyNumber, F_OIDEQ,
					ObjectIdGetDatum(AuthIdRelationId));
		ScanKeyInit(&keys[1], Anum_pg_shdepend_refobjid, BTEqualStrategyNumber, F_OIDEQ,
					ObjectIdGetDatum(role));
		scan = systable_beginscan(rel, SharedDependReferenceIndexId, true, NULL, 2, keys);
		while ((tuple = systable_getnext(scan)) != NULL)
		{
			Oid			dbid = ((Form_pg_shdepend) GETSTRUCT(tuple))->dbid;

			if (OidIsValid(dbid) && dbid != last)
				add_database(dbid);
			last = dbid;
		}
		systable_endscan(scan);
		table_close(rel, AccessShareLock);
	}
	commit();
	LWLockAcquire(taskq_main_lock, LW_EXCLUSIVE);
	taskq_shared->find = false;
	LWLockRelease(taskq_main_lock);
}

/* ---- lanes ---- */

/*
 * Look through all lanes: after the server's start, and when one found no room
 * in shared memory.
 */
static void
load_lanes(void)
{
	List	   *ids;
	ListCell   *lc;
	int			foreign = 0;

	LWLockAcquire(taskq_main_lock, LW_EXCLUSIVE);
	my_db->rescan = false;
	LWLockRelease(taskq_main_lock);

	begin();
	taskq_defs_begin();
	ids = taskq_lane_ids();
	foreach(lc, ids)
	{
		const TaskqLaneDef *lane = taskq_lane_get(lfirst_int(lc));
		bool		entered;

		CHECK_FOR_INTERRUPTS();
		if (lane == NULL)
			continue;
		foreign += lane->foreign;
		if (lane->foreign)
			continue;
		LWLockAcquire(taskq_main_lock, LW_EXCLUSIVE);
		entered = taskq_lane_enter(my_db, lane->id, lane->role_oid, lane->priority) != NULL;
		LWLockRelease(taskq_main_lock);
		if (!entered)
			look_again_at(TimestampTzPlusMilliseconds(GetCurrentTimestamp(), RETRY_MS));
		else
			(void) taskq_claim_probe(MyDatabaseId, lane->id, my_scanner);
	}
	if (foreign > 0 && !my_db->loaded)
		ereport(LOG,
				(errmsg("taskq leaves tasks alone that were submitted in another database or server"),
				 errdetail_plural("They are in %d lane.", "They are in %d lanes.", foreign, foreign),
				 errhint("To run them here, call taskq.resume() in database \"%s\".", get_database_name(MyDatabaseId))));
	commit();
	my_db->loaded = true;
}

/* ---- what workers left behind ---- */

/* Why a task's worker ended, as an error. */
static Datum
orphan_error(TaskqSlot *slot, int *sqlerrcode)
{
	ErrorData	error = {0};

	error.sqlerrcode = slot->timed_out ? ERRCODE_QUERY_CANCELED : ERRCODE_ADMIN_SHUTDOWN;
	error.message = slot->timed_out ? "task ran longer than its timeout and did not stop when told to" :
		"the worker process ended before the task did";
	*sqlerrcode = error.sqlerrcode;
	return taskq_error_jsonb(&error);
}

/* The stored state of a task, or 0. */
static char
stored_state(const pg_uuid_t *id)
{
	Snapshot	snapshot;
	TaskqRow	row;
	char		state = 0;

	begin();
	taskq_defs_begin();
	snapshot = taskq_store_snapshot();
	if (taskq_store_find(id, snapshot, &row))
		state = taskq_row_state(&row);
	UnregisterSnapshot(snapshot);
	commit();
	return state;
}

/*
 * Is the server being shut down?  The postmaster notes that in its pid file
 * before it ends anybody, so what ended a worker can be told.
 */
static bool
server_is_stopping(void)
{
	FILE	   *file = AllocateFile(DIRECTORY_LOCK_FILE, "r");
	char		line[MAXPGPATH];
	bool		stopping = false;

	if (file == NULL)
		return false;
	for (int i = 1; i <= LOCK_FILE_LINE_PM_STATUS && fgets(line, sizeof(line), file) != NULL; i++)
	{
		if (i == LOCK_FILE_LINE_PM_STATUS)
			stopping = strncmp(line, PM_STATUS_STOPPING, strlen(PM_STATUS_STOPPING)) == 0;
	}
	FreeFile(file);
	return stopping;
}

/* The worker was sent away: its task is as if it had never begun. */
static void
requeue_orphan(int slotno)
{
	TaskqSlot  *slot = &taskq_shared->slots[slotno];

	LWLockAcquire(taskq_main_lock, LW_EXCLUSIVE);
	LWLockAcquire(taskq_slot_lock(slotno), LW_EXCLUSIVE);
	slot->in_task = false;
	slot->outcome[slot->next - 1] = TASKQ_DROPPED;
	if (taskq_shared->lanes[slot->lane].generation == slot->lane_generation)
		taskq_lane_rewind(&taskq_shared->lanes[slot->lane], &slot->task, taskq_leaf_bit(&slot->task));
	LWLockRelease(taskq_slot_lock(slotno));
	LWLockRelease(taskq_main_lock);
}

/* Record the task in which a worker ended, and free the slot. */
static void
settle_orphan(int slotno)
{
	TaskqSlot  *slot = &taskq_shared->slots[slotno];
	TaskqFailure failure = {0};
	char		state;

	if (slot->in_task && (slot->requeue || server_is_stopping()))
		requeue_orphan(slotno);
	else if (slot->in_task)
	{
		failure.id = slot->task;
		failure.started_at = slot->task_started_at;
		failure.worker = taskq_worker_name(slotno);
		failure.error = orphan_error(slot, &failure.sqlerrcode);
		failure.progress = taskq_slot_progress(slotno);
		failure.cancelled = slot->cancel;
		failure.reason = slot->reason[0] ? slot->reason : NULL;
		if (failure.cancelled)
			failure.error = (Datum) 0;
		CHECK_FOR_INTERRUPTS();
		state = taskq_record_failure(&failure);
		MemoryContextSwitchTo(pass_context);
		if (state == 0)
		{
			/* it had come to its end just before */
			state = stored_state(&failure.id);
			if (!taskq_state_final(state))
				state = TASKQ_DROPPED;
		}
		LWLockAcquire(taskq_slot_lock(slotno), LW_EXCLUSIVE);
		slot->in_task = false;
		slot->outcome[slot->next - 1] = state;
		slot->flush_to = Max(slot->flush_to, XactLastCommitEnd);
		LWLockRelease(taskq_slot_lock(slotno));
	}
	taskq_announce(slotno);
	LWLockAcquire(taskq_main_lock, LW_EXCLUSIVE);
	taskq_claim_release(slotno);
	slot->state = TASKQ_SLOT_FREE;
	taskq_wake_dispatchers();
	LWLockRelease(taskq_main_lock);
}

/*
 * A worker that is long in one task: announce what it finished before, and let
 * others have what it has not begun.
 */
static void
relieve(int slotno, TimestampTz now)
{
	TaskqSlot  *slot = &taskq_shared->slots[slotno];
	TimestampTz stuck_at;
	bool		unannounced;
	bool		waiting;

	LWLockAcquire(taskq_slot_lock(slotno), LW_SHARED);
	stuck_at = TimestampTzPlusMilliseconds(slot->task_started_at, STUCK_MS);
	unannounced = slot->in_task && slot->announced < slot->next - 1;
	waiting = slot->in_task && slot->next < slot->nitems;
	LWLockRelease(taskq_slot_lock(slotno));
	if (!unannounced && !waiting)
		return;
	if (now < stuck_at)
	{
		look_again_at(stuck_at);
		return;
	}
	if (waiting)
	{
		LWLockAcquire(taskq_main_lock, LW_EXCLUSIVE);
		if (slot->state == TASKQ_SLOT_BUSY)
			taskq_claim_give_back(slotno);
		LWLockRelease(taskq_main_lock);
	}
	if (unannounced)
		taskq_announce(slotno);
}

static void
reap_failed_start(int slotno)
{
	TaskqSlot  *slot = &taskq_shared->slots[slotno];
	TimestampTz now = GetCurrentTimestamp();
	pid_t		pid;
	bool		failed;

	if (slot->pid != 0)
		return;
	failed = handles[slotno] != NULL ? GetBackgroundWorkerPid(handles[slotno], &pid) == BGWH_STOPPED :
		TimestampDifferenceExceeds(slot->started_at, now, 10 * RETRY_MS);
	if (!failed)
	{
		look_again_at(TimestampTzPlusMilliseconds(now, RETRY_MS));
		return;
	}
	LWLockAcquire(taskq_main_lock, LW_EXCLUSIVE);
	if (slot->state == TASKQ_SLOT_STARTING && slot->pid == 0)
	{
		slot->state = TASKQ_SLOT_FREE;
		my_db->no_worker_before = TimestampTzPlusMilliseconds(now, RETRY_MS);
		taskq_wake_dispatchers();
	}
	LWLockRelease(taskq_main_lock);
}

static void
look_after_slots(void)
{
	TimestampTz now = GetCurrentTimestamp();

	for (int i = 0; i < taskq_shared->nslots; i++)
	{
		TaskqSlot  *slot = &taskq_shared->slots[i];
		TaskqSlotState state = slot->dbid == MyDatabaseId ? slot->state : TASKQ_SLOT_FREE;

		if (state == TASKQ_SLOT_ORPHAN)
			settle_orphan(i);
		else if (state == TASKQ_SLOT_STARTING)
			reap_failed_start(i);
		else if (state == TASKQ_SLOT_BUSY)
			relieve(i, now);
	}
}

/* ---- time ---- */

/* Make one task pending whose time has come; false if its row is locked now. */
static bool
fire_timer(const pg_uuid_t *id, TimestampTz due)
{
	TaskqRow	row;
	TaskqChange change = {.to = TASKQ_PENDING};
	const TaskqLaneDef *lane;

	switch (taskq_store_lock(id, false, &row))
	{
		case TASKQ_BUSY:
			return false;
		case TASKQ_MISSING:
			taskq_timer_delete(due, id);
			return true;
		case TASKQ_LOCKED:
			break;
	}
	if (taskq_row_state(&row) != TASKQ_SCHEDULED && taskq_row_state(&row) != TASKQ_RETRYING)
	{
		taskq_timer_delete(due, id);
		return true;
	}
	taskq_state_change(&row, &change);
	lane = taskq_lane_get(DatumGetInt32(taskq_row_value(&row, lane)));
	if (lane != NULL && !lane->foreign)
		taskq_note_ready(lane, id);
	return true;
}

static void
fire_timers(void)
{
	TimestampTz now = GetCurrentTimestamp();
	TimestampTz next;
	pg_uuid_t  *ids = palloc(sizeof(pg_uuid_t) * PORTION);
	TimestampTz *dues = palloc(sizeof(TimestampTz) * PORTION);
	int			n;

	if (my_db->next_due > now)
	{
		look_again_at(my_db->next_due);
		return;
	}

	/* what is submitted from here on lowers next_due again */
	LWLockAcquire(taskq_main_lock, LW_EXCLUSIVE);
	my_db->next_due = DT_NOEND;
	LWLockRelease(taskq_main_lock);
	begin();
	taskq_defs_begin();
	n = taskq_timer_due(now, PORTION, ids, dues, &next);
	for (int i = 0; i < n; i++)
	{
		if (!fire_timer(&ids[i], dues[i]))
			next = Min(next, TimestampTzPlusMilliseconds(now, RETRY_MS));
	}
	commit();
	LWLockAcquire(taskq_main_lock, LW_EXCLUSIVE);
	my_db->next_due = Min(my_db->next_due, next);
	LWLockRelease(taskq_main_lock);
	look_again_at(my_db->next_due);
}

/* Rows that were locked when a worker came to them. */
static void
retry_skipped(void)
{
	TimestampTz now = GetCurrentTimestamp();

	LWLockAcquire(taskq_main_lock, LW_EXCLUSIVE);
	for (int i = 0; i < taskq_shared->nlanes; i++)
	{
		TaskqLane  *lane = &taskq_shared->lanes[i];

		if (lane->dbid != MyDatabaseId || lane->retry_at == DT_NOEND)
			continue;
		if (lane->retry_at <= now)
			taskq_lane_retry_skipped(lane);
		else
			look_again_at(lane->retry_at);
	}
	LWLockRelease(taskq_main_lock);
}

/* ---- events ---- */

static void
send_events(void)
{
	TaskqEvent *events = palloc(sizeof(TaskqEvent) * PORTION);
	int			n;

	do
	{
		LWLockAcquire(taskq_main_lock, LW_EXCLUSIVE);
		n = taskq_event_take(MyDatabaseId, events, PORTION);
		LWLockRelease(taskq_main_lock);
		if (n > 0)
			taskq_event_send(events, n);
		CHECK_FOR_INTERRUPTS();
	} while (n == PORTION);
}

/* ---- workers ---- */

/* A role with something to do. */
typedef struct Demand
{
	Oid			role;
	int			workers;
} Demand;

/*
 * Why no session of this role can be had here, or NULL.  Its tasks would wait
 * for ever, so they fail with that.
 */
static const char *
role_problem(Oid role)
{
	HeapTuple	tuple = SearchSysCache1(AUTHOID, ObjectIdGetDatum(role));
	bool		login;

	if (!HeapTupleIsValid(tuple))
		return "the role the task runs as does not exist any more";
	login = ((Form_pg_authid) GETSTRUCT(tuple))->rolcanlogin;
	ReleaseSysCache(tuple);
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
	pg_uuid_t  *ids = palloc(sizeof(pg_uuid_t) * PORTION * TASKQ_LEAVES);
	pg_uuid_t	from;
	Snapshot	snapshot;
	int			n = 0;

	memset(&from, 0, sizeof(from));
	begin();
	snapshot = taskq_store_snapshot();
	for (int leaf = 0; leaf < TASKQ_LEAVES; leaf++)
	{
		pg_uuid_t	seen;
		bool		exhausted;

		n += taskq_store_scan(leaf, lane, &from, snapshot, PORTION, ids + n, &seen, &exhausted);
	}
	UnregisterSnapshot(snapshot);
	commit();

	failure.error = taskq_error_jsonb(&error);
	failure.started_at = GetCurrentTimestamp();
	for (int i = 0; i < n; i++)
	{
		TaskqLive  *live = palloc(sizeof(TaskqLive));
		char		state;

		if (taskq_live_find(&ids[i], live))
			continue;			/* a session from before still runs it */
		failure.id = ids[i];
		state = taskq_record_failure(&failure);
		MemoryContextSwitchTo(pass_context);
		if (state != 0)
		{
			LWLockAcquire(taskq_main_lock, LW_EXCLUSIVE);
			taskq_event_push(my_db, &ids[i], state);
			LWLockRelease(taskq_main_lock);
		}
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
has_idle_worker(Oid role)
{
	bool		found = false;

	LWLockAcquire(taskq_main_lock, LW_SHARED);
	for (int i = 0; i < taskq_shared->nslots && !found; i++)
	{
		TaskqSlot  *slot = &taskq_shared->slots[i];

		found = (slot->state == TASKQ_SLOT_IDLE || slot->state == TASKQ_SLOT_STARTING) && slot->dbid == MyDatabaseId && slot->role == role;
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
		begin();
		taskq_defs_begin();
		def = taskq_lane_get(lanes[i].id);
		if (def != NULL && !def->foreign)
			problem = role_problem(def->role_oid);
		runnable = problem == NULL && taskq_lane_runnable(lanes[i].id, lanes[i].role);
		/*
		 * What was noted may be gone: no worker is started for nothing.  One that
		 * idles looks itself; a probe would keep the lane from it, and it might
		 * take one of lower priority.
		 */
		if (runnable && lanes[i].scanner < 0 && !has_idle_worker(lanes[i].role))
			runnable = taskq_claim_probe(MyDatabaseId, lanes[i].id, my_scanner);
		commit();
		if (problem != NULL)
		{
			fail_lane(lanes[i].id, problem);
			begin();
			(void) taskq_claim_probe(MyDatabaseId, lanes[i].id, my_scanner);
			commit();
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
		look_again_at(TimestampTzPlusMilliseconds(now, RETRY_MS));
	}
	LWLockRelease(taskq_main_lock);
	return slotno;
}

static void
start_worker(Oid role)
{
	TaskqProcessArgs args = {.dbid = MyDatabaseId, .role = role};

	args.slot = allocate_slot(role, &args.generation);
	if (args.slot < 0)
		return;
	if (handles[args.slot] != NULL)
		pfree(handles[args.slot]);
	handles[args.slot] = NULL;
	if (taskq_process_start("taskq worker", "taskq_worker_main", &args, &handles[args.slot]))
		return;
	LWLockAcquire(taskq_main_lock, LW_EXCLUSIVE);
	taskq_shared->slots[args.slot].state = TASKQ_SLOT_FREE;
	my_db->no_worker_before = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), RETRY_MS);
	LWLockRelease(taskq_main_lock);
}

static int
demand_cmp(const void *a, const void *b)
{
	return ((const Demand *) a)->workers - ((const Demand *) b)->workers;
}

/* Start workers where there is work; true if there is any. */
static bool
start_workers(void)
{
	Demand		demands[TASKQ_MAX_WORKERS];
	int			n = find_demand(demands, lengthof(demands));

	if (n > 0 && my_db->no_worker_before > GetCurrentTimestamp())
	{
		look_again_at(my_db->no_worker_before);
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

/* ---- coming and going ---- */

static bool
slots_in_use(void)
{
	for (int i = 0; i < taskq_shared->nslots; i++)
	{
		if (taskq_shared->slots[i].dbid == MyDatabaseId && taskq_shared->slots[i].state != TASKQ_SLOT_FREE)
			return true;
	}
	return false;
}

static bool
orphans_left(void)
{
	for (int i = 0; i < taskq_shared->nslots; i++)
	{
		if (taskq_shared->slots[i].dbid == MyDatabaseId && taskq_shared->slots[i].state == TASKQ_SLOT_ORPHAN)
			return true;
	}
	return false;
}

static bool
events_left(void)
{
	for (int i = 0; i < taskq_shared->nevents; i++)
	{
		if (taskq_shared->events[i].dbid == MyDatabaseId)
			return true;
	}
	return false;
}

/*
 * Leave if there is nothing to do, or others want a turn.  Whatever comes up
 * later finds no dispatcher and asks the launcher for one.
 */
static bool
may_leave(bool has_work)
{
	TimestampTz now = GetCurrentTimestamp();
	bool		leave;

	LWLockAcquire(taskq_main_lock, LW_EXCLUSIVE);
	leave = my_db->blocked > 0 || my_db->leave;
	if (leave)
		my_db->wanted = my_db->blocked == 0 &&
			(has_work || my_db->rescan || MyLatch->is_set || orphans_left() || events_left());
	else
		leave = !has_work && !my_db->rescan && !MyLatch->is_set && !slots_in_use() && !events_left() &&
			(wake_at == my_db->next_due || wake_at == DT_NOEND) &&
			TimestampDifferenceMilliseconds(now, my_db->next_due) > RETRY_MS;
	if (leave)
	{
		my_db->dispatcher = 0;
		clean_exit = true;
		taskq_wake_launcher();
	}
	LWLockRelease(taskq_main_lock);
	return leave;
}

/* Is the extension here, and are we wanted? */
static bool
serves_here(void)
{
	bool		ready;

	begin();
	ready = taskq_store_ready() && taskq_database_enabled(get_database_name(MyDatabaseId));
	commit();
	return ready;
}

/* Leave a database that is not ours to serve; false if something came up just now. */
static bool
forget_database(void)
{
	bool		forget;

	LWLockAcquire(taskq_main_lock, LW_EXCLUSIVE);
	forget = !MyLatch->is_set;
	if (forget)
	{
		my_db->dispatcher = 0;
		my_db->next_due = DT_NOEND;
		if (!slots_in_use() && my_db->blocked == 0)
			taskq_db_forget(MyDatabaseId);
		clean_exit = true;
	}
	LWLockRelease(taskq_main_lock);
	return forget;
}

/* taskq_dispatcher_main - entry point of a dispatcher */
void
taskq_dispatcher_main(Datum arg)
{
	TaskqProcessArgs args;

	taskq_process_begin(&args);
	if (!dispatcher_attach(args.dbid))
		proc_exit(0);
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnectionByOid(args.dbid, InvalidOid, 0);
	pass_context = AllocSetContextCreate(TopMemoryContext, "taskq dispatcher", ALLOCSET_DEFAULT_SIZES);
	if (args.find)
		find_databases();

	for (;;)
	{
		bool		has_work;
		long		ms;

		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
		if (ConfigReloadPending)
		{
			ConfigReloadPending = false;
			ProcessConfigFile(PGC_SIGHUP);
		}
		MemoryContextReset(pass_context);
		MemoryContextSwitchTo(pass_context);
		wake_at = DT_NOEND;

		if (!serves_here())
		{
			if (forget_database())
				break;
			continue;
		}
		if (!my_db->loaded || my_db->rescan)
			load_lanes();
		look_after_slots();
		fire_timers();
		retry_skipped();
		send_events();
		has_work = start_workers();
		send_events();
		if (may_leave(has_work))
			break;

		pgstat_report_stat(true);
		pgstat_report_activity(STATE_IDLE, NULL);
		ms = wake_at == DT_NOEND ? -1 :
			Min(TimestampDifferenceMilliseconds(GetCurrentTimestamp(), wake_at), 3600 * 1000L);
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_EXIT_ON_PM_DEATH | (ms >= 0 ? WL_TIMEOUT : 0), ms,
						 taskq_wait_event("TaskqDispatcher"));
	}
	proc_exit(0);
}
