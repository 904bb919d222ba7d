/*-------------------------------------------------------------------------
 *
 * dispatcher.c
 *		The dispatcher: one per database with something to do.
 *
 * Looks through the database once after the server has started, sees to what
 * workers left behind (rescue.c), to what is due (timer.c), starts workers
 * (supply.c), and sends notifications.  Never runs code of a user.  Sleeps
 * until something happens or is due, and leaves when nothing is.
 *
 * A pass is bounded, and never waits for anybody else's transaction: rows
 * that are locked are come back to.  What may be slow is not done here
 * (sweeper.c), and an error ends the part in which it is raised, not the
 * pass.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/table.h"
#include "access/xact.h"
#include "base/clock.h"
#include "base/compat.h"
#include "base/guc.h"
#include "base/process.h"
#include "base/shmem.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_shdepend.h"
#include "commands/dbcommands.h"
#include "dispatch/dispatcher.h"
#include "dispatch/outbox.h"
#include "dispatch/pass.h"
#include "dispatch/sweeper.h"
#include "lanes/cancels.h"
#include "lanes/claim.h"
#include "lanes/counts.h"
#include "lanes/event.h"
#include "lanes/lane.h"
#include "lanes/logring.h"
#include "lanes/outbox.h"
#include "lanes/place.h"
#include "lanes/turn.h"
#include "lanes/waiting.h"
#include "miscadmin.h"
#include "nodes/value.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/pmsignal.h"
#include "store/defs.h"
#include "store/store.h"
#include "utils/acl.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#define LAST_US (60 * USECS_PER_SEC)	/* for workers to end with the server */
#define LAST_PAUSE_US 10000
#define MAX_PUT_OFF_MS 60000	/* of a chore that fails again and again */

static bool clean_exit = false;

static void all_fresh(void);

static void
dispatcher_detach(int code, Datum arg)
{
	LWLockAcquire(taskq_main_lock, LW_EXCLUSIVE);
	taskq_claim_stop_scan(taskq_dispatcher.scanner);
	taskq_turn_forget(MyDatabaseId, DT_NOEND);
	if (taskq_dispatcher.db->dispatcher == MyProcPid)
	{
		taskq_dispatcher.db->hushed = false;
		taskq_dispatcher.db->dispatcher = 0;
		if (!clean_exit)
		{
			taskq_dispatcher.db->wanted = true;
			taskq_dispatcher.db->rescan = true;
			taskq_dispatcher.db->look = true;
			taskq_feed_doubt(taskq_dispatcher.db);
			all_fresh();
			taskq_counts_untold(taskq_dispatcher.db);
			taskq_dispatcher.db->not_before =
				TimestampTzPlusMilliseconds(taskq_steady_now(),
											TASKQ_RETRY_MS);
		}
		taskq_wake_launcher();
	}
	ConditionVariableBroadcast(&taskq_shared->slots_changed);
	LWLockRelease(taskq_main_lock);
}

/* ---- at the end, still connected, from the last one to the first ---- */

/*
 * Something is to be seen to when the process ends, maybe in the middle of
 * something; false if it has left already.  What raises an error from here on
 * only ends the process.
 */
static bool
begin_last(void)
{
	if (taskq_dispatcher.db->dispatcher != MyProcPid)
		return false;
	LWLockReleaseAll();
	ConditionVariableCancelSleep();
	AbortOutOfAnyTransaction();
	MemoryContextSwitchTo(taskq_dispatcher.context);
	return true;
}

/* Only this process knows of it.  With the server listeners go, too. */
static void
send_last_events(int code, Datum arg)
{
	if (taskq_events_untold() && begin_last() &&
		!taskq_server_is_stopping())
		(void) taskq_send_untold();
}

static void
write_last_logs(int code, Datum arg)
{
	if (taskq_ring_left(MyDatabaseId) && begin_last() && taskq_pass_fits())
		taskq_write_last_logs(taskq_server_is_stopping());
}

static bool
workers_left(void)
{
	bool		left = false;

	LWLockAcquire(taskq_main_lock, LW_SHARED);
	for (int i = 0; i < taskq_shared->nslots; i++)
		left |= taskq_shared->slots[i].dbid == MyDatabaseId &&
			taskq_shared->slots[i].pid != 0;
	LWLockRelease(taskq_main_lock);
	return left;
}

/*
 * The server is stopped, and workers end at this moment: what they say and
 * hand over until then is written, too.  They wait for nobody; but if only
 * this process was to end, they do not end with it.
 */
static void
wait_for_workers(int code, Datum arg)
{
	TimestampTz until = taskq_steady_now() + LAST_US;

	if (!begin_last() || !taskq_server_is_stopping())
		return;
	while (workers_left() && taskq_steady_now() < until &&
		   PostmasterIsAlive())
		pg_usleep(LAST_PAUSE_US);
}

static bool
dispatcher_attach(Oid dbid)
{
	bool		ours;

	LWLockAcquire(taskq_main_lock, LW_EXCLUSIVE);
	taskq_dispatcher.db = taskq_db_find(dbid);
	ours = taskq_dispatcher.db != NULL &&
		taskq_dispatcher.db->dispatcher == -1 &&
		taskq_dispatcher.db->blocked == 0;
	if (ours)
	{
		taskq_dispatcher.db->dispatcher = MyProcPid;
		taskq_dispatcher.db->procno = taskq_my_procno();
		taskq_dispatcher.db->since = taskq_steady_now();
		taskq_dispatcher.db->wanted = false;
		taskq_dispatcher.db->busy = true;
		taskq_dispatcher.db->hushed = false;
		/* whoever was here before may have ended in the middle of its timers */
		taskq_dispatcher.db->next_due = DT_NOBEGIN;
		taskq_dispatcher.db->next_schedule = DT_NOBEGIN;
		taskq_wake_launcher();	/* it need not watch over our start any longer */
		taskq_dispatcher.scanner = taskq_claim_scanner();
	}
	else if (taskq_dispatcher.db != NULL &&
			 taskq_dispatcher.db->dispatcher == -1)
		taskq_dispatcher.db->dispatcher = 0;
	LWLockRelease(taskq_main_lock);
	if (ours)
		before_shmem_exit(dispatcher_detach, (Datum) 0);
	return ours;
}

/*
 * taskq_pass_commit_async - the same without waiting for the disk
 *
 * For what is done again if a crash undoes it, before anybody was told of
 * more.
 */
void
taskq_pass_commit_async(void)
{
	(void) set_config_option("synchronous_commit", "off", PGC_USERSET,
							 PGC_S_SESSION, GUC_ACTION_LOCAL, true, 0, false);
	taskq_pass_commit();
}

/* ---- databases ---- */

static void
add_database(Oid dbid)
{
	TaskqDb    *db;

	LWLockAcquire(taskq_main_lock, LW_EXCLUSIVE);
	db = taskq_db_enter(dbid);
	/* one that is there may be about to leave, by the settings from before */
	if (db != NULL && (!db->loaded || db->dispatcher > 0))
		taskq_wake_dispatcher(db);
	LWLockRelease(taskq_main_lock);
	if (db == NULL)
		ereport(LOG,
				(errmsg("taskq does not run tasks in database with OID %u: too many databases use taskq", dbid),
				 errhint("Increase taskq.max_databases and restart the server.")));
}

/*
 * Find the databases with taskq: each has privileges granted to taskq_user,
 * and each such grant is a shared dependency.
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

	taskq_pass_begin();
	role = get_role_oid("taskq_user", true);
	if (OidIsValid(role))
	{
		rel = table_open(SharedDependRelationId, AccessShareLock);
		ScanKeyInit(&keys[0], Anum_pg_shdepend_refclassid,
					BTEqualStrategyNumber, F_OIDEQ,
					ObjectIdGetDatum(AuthIdRelationId));
		ScanKeyInit(&keys[1], Anum_pg_shdepend_refobjid,
					BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(role));
		scan = systable_beginscan(rel, SharedDependReferenceIndexId, true,
								  NULL, 2, keys);
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
	taskq_pass_commit();
	LWLockAcquire(taskq_main_lock, LW_EXCLUSIVE);
	taskq_shared->find = false;
	LWLockRelease(taskq_main_lock);
}

/* ---- events ---- */

/*
 * Under load whoever ends a task need not wake us each time: so soon after we
 * sent notifications we come back by ourselves.
 */
#define HUSH_MS 5

static bool sent_events = false;	/* in this pass */

static void
send_events(void)
{
	sent_events |= taskq_send_events();
}

/*
 * Tell external workers that listen of which queues there is something new.
 * One notification a queue and pass, however many tasks.
 */
static void
tell_external_workers(void)
{
	int32	   *lanes = palloc(sizeof(int32) * Max(taskq_shared->nlanes, 1));
	int			n = 0;
	int			max = taskq_shared->nlanes;
	List	   *queues = NIL;

	LWLockAcquire(taskq_main_lock, LW_EXCLUSIVE);
	for (int i = 0; i < max; i++)
	{
		TaskqLane  *lane = &taskq_shared->lanes[i];

		if (lane->dbid != MyDatabaseId || !lane->fresh)
			continue;
		lane->fresh = false;
		if (lane->dirty)
			lanes[n++] = lane->id;
	}
	LWLockRelease(taskq_main_lock);
	if (n == 0 || taskq_notify == TASKQ_NOTIFY_OFF)
		return;
	taskq_pass_begin();
	taskq_defs_begin();
	for (int i = 0; i < n; i++)
	{
		const TaskqLaneDef *lane = taskq_lane_get(lanes[i]);
		MemoryContext transaction;

		if (!taskq_lane_claimable(lane))
			continue;
		/* the list outlives the transaction */
		transaction = MemoryContextSwitchTo(taskq_dispatcher.context);
		queues = list_append_unique(queues,
									makeString(pstrdup(NameStr(lane->queue))));
		MemoryContextSwitchTo(transaction);
	}
	taskq_pass_commit();
	if (queues != NIL)
		taskq_event_send_ready(queues);
}

/* ---- coming and going ---- */

static bool
slots_in_use(void)
{
	for (int i = 0; i < taskq_shared->nslots; i++)
	{
		if (taskq_shared->slots[i].dbid == MyDatabaseId &&
			taskq_shared->slots[i].state != TASKQ_SLOT_FREE)
			return true;
	}
	return false;
}

static bool
orphans_left(void)
{
	for (int i = 0; i < taskq_shared->nslots; i++)
	{
		if (taskq_shared->slots[i].dbid == MyDatabaseId &&
			taskq_shared->slots[i].state == TASKQ_SLOT_ORPHAN)
			return true;
	}
	return false;
}

static bool
events_left(void)
{
	if (taskq_events_untold() || taskq_outbox_looking())
		return true;
	for (int i = 0; i < taskq_shared->nevents; i++)
	{
		if (taskq_shared->events[i].dbid == MyDatabaseId)
			return true;
	}
	return false;
}

/* Is there no reason to look again that the launcher does not know of? */
static bool
launcher_will_see(void)
{
	return taskq_dispatcher.wake_at == DT_NOEND;
}

static uint32 calls;			/* before the pass */

/* Did somebody call us since the pass began, which may be too late for it? */
static bool
called(void)
{
	return MyLatch->is_set || taskq_calls() != calls;
}

/*
 * There is no dispatcher from now on: whoever has something asks for one.
 * Caller holds the main lock exclusively.
 */
static void
say_goodbye(void)
{
	taskq_ring_untold(taskq_dispatcher.db);
	taskq_counts_untold(taskq_dispatcher.db);
	taskq_dispatcher.db->hushed = false;
	taskq_dispatcher.db->dispatcher = 0;
	taskq_turn_forget(MyDatabaseId, DT_NOEND);
	clean_exit = true;
	taskq_wake_launcher();
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
	taskq_dispatcher.db->busy = has_work;
	leave = taskq_dispatcher.db->blocked > 0 || taskq_dispatcher.db->leave ||
		taskq_turn_give_way(MyDatabaseId);
	/* what is known to nobody else is found again */
	if (leave && taskq_unblock_left())
		taskq_dispatcher.db->look = true;
	if (leave && taskq_events_untold())
		taskq_feed_doubt(taskq_dispatcher.db);
	if (leave)
		taskq_dispatcher.db->wanted = taskq_dispatcher.db->blocked == 0 &&
			(has_work || taskq_waiting_left(taskq_dispatcher.db) || !launcher_will_see() ||
			 taskq_dispatcher.db->rescan ||
			 called() || orphans_left() ||
			 events_left() || taskq_ring_left(MyDatabaseId) ||
			 taskq_cancels_left(MyDatabaseId));
	else
		leave =
			!has_work && !taskq_dispatcher.db->rescan && !called() &&
			!slots_in_use() && !events_left() &&
			!taskq_ring_left(MyDatabaseId) &&
			!taskq_waiting_left(taskq_dispatcher.db) &&
			launcher_will_see() &&
			TimestampDifferenceMilliseconds(now,
											Min(Min(taskq_dispatcher.db->next_due,
													taskq_dispatcher.db->next_schedule),
												Min(taskq_dispatcher.db->next_sweep,
													taskq_dispatcher.db->next_check))) >
			TASKQ_RETRY_MS;
	if (leave)
		say_goodbye();
	taskq_dispatcher.db->hushed =
		!leave && (sent_events || taskq_dispatcher.db->nevents > 0);
	if (taskq_dispatcher.db->hushed)
		taskq_look_again_in(HUSH_MS);
	sent_events = false;
	LWLockRelease(taskq_main_lock);
	return leave;
}

/*
 * Library and extension don't fit together: say so, once in a row however
 * many look.
 */
static void
tell_version(bool ready)
{
	bool		mismatch = !ready && taskq_store_mismatched();
	bool		told;

	if (!mismatch && taskq_shared->mismatched_db != MyDatabaseId)
		return;
	LWLockAcquire(taskq_main_lock, LW_EXCLUSIVE);
	told = taskq_shared->mismatched_db == MyDatabaseId;
	taskq_shared->mismatched_db = mismatch ? MyDatabaseId : InvalidOid;
	LWLockRelease(taskq_main_lock);
	if (mismatch && !told)
		taskq_store_report_version(LOG);
}

/* Is the extension here (*ready), and are we wanted? */
static bool
serves_here(bool *ready)
{
	bool		wanted;

	taskq_pass_begin();
	*ready = taskq_store_ready();
	wanted = *ready &&
		taskq_database_enabled(get_database_name(MyDatabaseId));
	tell_version(*ready);
	taskq_pass_commit();
	return wanted;
}

/* ---- a database that is not served ---- */

/* Workers begin nothing more here: what they have not begun they give back. */
static void
dismiss_workers(void)
{
	LWLockAcquire(taskq_main_lock, LW_EXCLUSIVE);
	taskq_dispatcher.db->busy = false;
	taskq_dispatcher.db->hushed = false;
	taskq_claim_recall(MyDatabaseId);
	for (int i = 0; i < taskq_shared->nslots; i++)
	{
		TaskqSlot  *slot = &taskq_shared->slots[i];

		if (slot->dbid != MyDatabaseId || slot->state == TASKQ_SLOT_FREE ||
			slot->leave)
			continue;
		slot->leave = true;
		if (slot->pid != 0)
			taskq_wake_proc(slot->procno);
	}
	LWLockRelease(taskq_main_lock);
}

static bool
suspects_left(void)
{
	for (int i = 0; i < taskq_shared->nsuspects; i++)
	{
		if (taskq_shared->suspects[i].dbid == MyDatabaseId)
			return true;
	}
	return false;
}

/* Has a worker that is in a task finished others of which nobody knows? */
static bool
unannounced_left(void)
{
	bool		left = false;

	for (int i = 0; i < taskq_shared->nslots && !left; i++)
	{
		TaskqSlot  *slot = &taskq_shared->slots[i];

		if (slot->dbid != MyDatabaseId || slot->state != TASKQ_SLOT_BUSY)
			continue;
		LWLockAcquire(taskq_slot_lock(i), LW_SHARED);
		left = slot->announced < slot->next - slot->in_task;
		LWLockRelease(taskq_slot_lock(i));
	}
	return left;
}

/*
 * Is there something that only shared memory, or this process, knows?  A
 * cancel of a task that runs is its worker's business, who calls us.
 */
static bool
untold_left(void)
{
	return taskq_dispatcher.db->nevents > 0 || taskq_events_untold() ||
		orphans_left() || suspects_left() || unannounced_left() ||
		(taskq_cancels_left(MyDatabaseId) && !slots_in_use());
}

/* Nothing of the database is known any more. */
static void
forget(bool ready)
{
	/* when it is found again, everything is to be looked through */
	taskq_dispatcher.db->next_due = DT_NOEND;
	taskq_dispatcher.db->next_schedule = DT_NOEND;
	taskq_dispatcher.db->next_sweep = DT_NOEND;
	taskq_dispatcher.db->next_check = DT_NOEND;
	taskq_dispatcher.db->loaded = false;
	taskq_dispatcher.db->renewed = false;
	/* ... and nobody shall wait for this database's bits */
	taskq_dispatcher.db->look = true;
	taskq_dispatcher.db->awaited = false;
	taskq_waiting_drop(MyDatabaseId);
	taskq_feed_doubt(taskq_dispatcher.db);
	if (!ready)
	{
		taskq_event_drop(MyDatabaseId);
		taskq_ring_drop(MyDatabaseId);
	}
	if (!slots_in_use() && taskq_dispatcher.db->blocked == 0 &&
		taskq_dispatcher.db->leases == 0 &&
		taskq_dispatcher.db->sweeper == 0)
		taskq_db_forget(MyDatabaseId);
}

/*
 * Leave a database that is not ours to serve; false if something came up just
 * now, or is left that would be lost.  What comes later calls the next
 * dispatcher.  ready: the extension is there.
 *
 * Where others want a turn, or the database to be left alone, we leave with
 * what there is still in shared memory, and come back for it.
 */
static bool
leave_unserved(bool ready)
{
	bool		written = !ready ||
	(taskq_ring_quiet(taskq_dispatcher.db) &&
	 taskq_counts_quiet(taskq_dispatcher.db));
	TaskqDb    *db = taskq_dispatcher.db;
	bool		left;
	bool		leave;

	LWLockAcquire(taskq_main_lock, LW_EXCLUSIVE);
	left = ready && (!written || untold_left());
	leave = !left && !called();
	if (leave)
		forget(ready);
	else if (ready && (db->blocked > 0 || db->leave ||
					   taskq_turn_give_way(MyDatabaseId)))
	{
		leave = true;
		db->wanted = db->blocked == 0;
		db->not_before = TimestampTzPlusMilliseconds(taskq_steady_now(),
													 TASKQ_RETRY_MS);
		if (taskq_events_untold())
			taskq_feed_doubt(db);
	}
	else if (left)
		taskq_look_again_in(TASKQ_RETRY_MS);
	if (leave)
		say_goodbye();
	LWLockRelease(taskq_main_lock);
	return leave;
}

/* ---- a pass ---- */

/*
 * What a pass consists of: each part by itself, so that trouble in one costs
 * that one only.
 */
typedef struct Chore
{
	const char *what;			/* for the log */
	void		(*run) (void);
	TimestampTz not_before;		/* steady time, after an error */
	int			tries;			/* that failed, one after the other */
} Chore;

enum
{
	CHORE_FIND = 0,
	CHORE_SUSPECTS,
	CHORE_LEASES,
	CHORE_LANES,
	CHORE_SLOTS,
	CHORE_CANCELS,
	CHORE_CLOCK,
	CHORE_TIMERS,
	CHORE_SCHEDULES,
	CHORE_UNBLOCK,
	CHORE_WATCH,
	CHORE_SKIPPED,
	CHORE_FEED,
	CHORE_EVENTS,
	CHORE_OUTBOX,
	CHORE_LOGS,
	CHORE_EXTERNAL,
	CHORE_LIMITS,
	CHORE_WORKERS,
	CHORE_SWEEPER,
	CHORE_ALERTS,
	CHORE_SAVE,
	CHORE_TALLY
};

static bool has_work;			/* found by the last pass */
static bool served;				/* the database, in this pass */

static void find_wanted(void);
static void renew_leases(void);
static void read_lanes(void);
static void open_lanes(void);
static void start_workers(void);
static void tally(void);

static Chore chores[] =
{[CHORE_FIND] = {"find the databases with taskq", find_wanted},
[CHORE_SUSPECTS] = {"record the tasks in which the server crashed",
taskq_settle_suspects},
[CHORE_LEASES] = {"renew leases", renew_leases},
[CHORE_LANES] = {"read the lanes", read_lanes},
[CHORE_SLOTS] = {"see to workers that ended", taskq_look_after_slots},
[CHORE_CANCELS] = {"cancel tasks that run no more", taskq_settle_cancels},
[CHORE_CLOCK] = {"follow the system clock", taskq_follow_clock},
[CHORE_TIMERS] = {"see to what is due", taskq_fire_timers},
[CHORE_SCHEDULES] = {"see to schedules", taskq_fire_schedules},
[CHORE_UNBLOCK] = {"see to tasks that wait for others", taskq_unblock},
[CHORE_WATCH] = {"look for old snapshots", taskq_watch_snapshots},
[CHORE_SKIPPED] = {"look again at locked tasks", taskq_retry_skipped},
[CHORE_FEED] = {"write the feed of events", taskq_feed_events},
[CHORE_EVENTS] = {"send notifications", send_events},
[CHORE_OUTBOX] = {"look for ends that nobody has told of", taskq_see_to_outboxes},
[CHORE_LOGS] = {"write log lines of tasks", taskq_write_logs},
[CHORE_EXTERNAL] = {"notify external workers", tell_external_workers},
[CHORE_LIMITS] = {"see to tasks that were held back", open_lanes},
[CHORE_WORKERS] = {"start workers", start_workers},
[CHORE_SWEEPER] = {"start a sweeper", taskq_start_sweeper},
[CHORE_ALERTS] = {"look after alerts", taskq_check_alerts},
[CHORE_SAVE] = {"save how far the lanes have come", taskq_save},
[CHORE_TALLY] = {"write what was counted", tally}};

/*
 * Where taskq.databases does not name the database nothing begins; but what
 * has ended is told, and written.
 */
static const int last_chores[] =
{CHORE_SUSPECTS, CHORE_SLOTS, CHORE_CANCELS, CHORE_FEED, CHORE_EVENTS,
CHORE_LOGS, CHORE_TALLY};

static void
find_wanted(void)
{
	if (taskq_shared->find)
		find_databases();
}

static void
renew_leases(void)
{
	if (taskq_dispatcher.db->renewed)
		return;
	taskq_renew_leases();
	taskq_dispatcher.db->renewed = true;
}

static void
read_lanes(void)
{
	if (!taskq_dispatcher.db->loaded || taskq_dispatcher.db->rescan)
		taskq_load_lanes();
	/* others have lost their entries to these */
	if (taskq_dispatcher.db->rescan)
		taskq_look_again_in(TASKQ_RETRY_MS);
}

/* There may be tokens for them now. */
static void
open_lanes(void)
{
	TimestampTz next;

	LWLockAcquire(taskq_main_lock, LW_EXCLUSIVE);
	next = taskq_places_due(taskq_dispatcher.db);
	LWLockRelease(taskq_main_lock);
	if (next != DT_NOEND)
		taskq_look_again_steady(next);
}

/*
 * Not before it is on record which tasks a worker may not simply run again.
 */
static void
start_workers(void)
{
	has_work = true;
	if (chores[CHORE_SUSPECTS].tries == 0)
		has_work = taskq_start_workers();
}

static void
tally(void)
{
	if (served)
		taskq_tally();
	else
		taskq_tally_all();
}

/*
 * Of whatever there may be something, external workers have not been told;
 * caller holds the main lock.
 */
static void
all_fresh(void)
{
	for (int i = 0; i < taskq_shared->nlanes; i++)
	{
		if (taskq_shared->lanes[i].dbid == MyDatabaseId)
			taskq_shared->lanes[i].fresh = true;
	}
}

/*
 * After an error: whatever the chore had not come to is to be looked at
 * again.
 */
static void
put_off(int which)
{
	Chore	   *chore = &chores[which];
	int			ms = Min(TASKQ_RETRY_MS << Min(chore->tries, 6),
						 MAX_PUT_OFF_MS);

	chore->tries++;
	chore->not_before = taskq_steady_now() + (int64) ms * 1000;
	LWLockAcquire(taskq_main_lock, LW_EXCLUSIVE);
	taskq_claim_stop_scan(taskq_dispatcher.scanner);
	if (which == CHORE_LANES)
		taskq_dispatcher.db->rescan = true;
	if (which == CHORE_TIMERS || which == CHORE_CLOCK)
		taskq_dispatcher.db->next_due = DT_NOBEGIN;
	if (which == CHORE_SCHEDULES || which == CHORE_CLOCK)
		taskq_dispatcher.db->next_schedule = DT_NOBEGIN;
	if (which == CHORE_UNBLOCK)
		taskq_unblock_failed();
	if (which == CHORE_OUTBOX)
		taskq_outbox_failed();
	if (which == CHORE_EXTERNAL)
		all_fresh();
	if (which == CHORE_SAVE)
		taskq_dispatcher.db->unsaved = true;
	LWLockRelease(taskq_main_lock);
	taskq_look_again_in(ms);
}

/* One chore of the pass; an error costs that chore only, for a while. */
static void
run_chore(int which)
{
	Chore	   *chore = &chores[which];
	int64		wait_us = chore->not_before - taskq_steady_now();

	if (wait_us > 0)
	{
		taskq_look_again_in(wait_us / 1000 + 1);
		return;
	}
	PG_TRY();
	{
		chore->run();
		chore->tries = 0;
	}
	PG_CATCH();
	{
		ErrorData  *error = taskq_pass_failed(taskq_dispatcher.context);

		put_off(which);
		if (chore->tries == 1)
			ereport(WARNING,
					(errcode(error->sqlerrcode),
					 errmsg("taskq could not %s: %s", chore->what, error->message),
					 error->detail ? errdetail("%s", error->detail) : 0,
					 errhint("It is tried again, more and more seldom; the rest of taskq goes on.")));
	}
	PG_END_TRY();
	MemoryContextSwitchTo(taskq_dispatcher.context);
}

/* In a database that is not served; true if we are to leave it. */
static bool
pass_unserved(bool ready)
{
	if (ready)
	{
		dismiss_workers();
		for (int i = 0; i < lengthof(last_chores); i++)
			run_chore(last_chores[i]);
	}
	return leave_unserved(ready);
}

/* The settings again, if somebody has told the server to read them. */
static void
read_settings(void)
{
	if (!taskq_process_settings())
		return;
	LWLockAcquire(taskq_main_lock, LW_EXCLUSIVE);
	taskq_sweep_soon(taskq_dispatcher.db);
	LWLockRelease(taskq_main_lock);
}

/* Until somebody calls us, or the next thing is due. */
static void
sleep_till_due(void)
{
	TimestampTz wake_at = Min(taskq_dispatcher.wake_at,
							  taskq_steady_at(taskq_dispatcher.due_at));
	long		ms = -1;

	pgstat_report_stat(true);
	pgstat_report_activity(STATE_IDLE, NULL);
	/* no longer than a minute, in case somebody sets the clock */
	if (wake_at != DT_NOEND)
		ms = Min(TimestampDifferenceMilliseconds(taskq_steady_now(), wake_at),
				 TASKQ_CLOCK_CHECK_MS);
	(void) taskq_sleep(calls, ms, taskq_wait_event("TaskqDispatcher"));
}

/* taskq_dispatcher_main - entry point of a dispatcher */
void
taskq_dispatcher_main(Datum arg)
{
	TaskqProcessArgs args;
	bool		ready;

	taskq_process_begin(&args);
	if (!dispatcher_attach(args.dbid))
		proc_exit(0);
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnectionByOid(args.dbid, InvalidOid, 0);
	taskq_pin_settings();
	(void) taskq_process_settings();
	taskq_tally_init();
	taskq_dispatcher.context = AllocSetContextCreate(TopMemoryContext,
													 "taskq dispatcher",
													 ALLOCSET_DEFAULT_SIZES);
	before_shmem_exit(send_last_events, (Datum) 0);
	before_shmem_exit(write_last_logs, (Datum) 0);
	before_shmem_exit(wait_for_workers, (Datum) 0);

	for (;;)
	{
		ResetLatch(MyLatch);
		calls = taskq_calls();
		QueryCancelPending = false; /* nothing is under way that could be
									 * cancelled */
		CHECK_FOR_INTERRUPTS();
		read_settings();
		MemoryContextReset(taskq_dispatcher.context);
		MemoryContextSwitchTo(taskq_dispatcher.context);
		taskq_dispatcher.wake_at = taskq_dispatcher.due_at = DT_NOEND;

		run_chore(CHORE_FIND);
		served = serves_here(&ready);
		if (!served)
		{
			if (pass_unserved(ready))
				break;
			sleep_till_due();
			continue;
		}
		for (int chore = CHORE_FIND + 1; chore < lengthof(chores); chore++)
			run_chore(chore);
		/* of what was failed for want of a worker */
		run_chore(CHORE_FEED);
		run_chore(CHORE_EVENTS);
		if (!has_work)
			taskq_settle_lanes();
		if (may_leave(has_work))
			break;
		sleep_till_due();
	}
	proc_exit(0);
}
