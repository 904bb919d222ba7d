/*-------------------------------------------------------------------------
 *
 * worker.c
 *		A worker: a session of one role in one database that runs its tasks.
 *
 * Started by the dispatcher for a slot; serves all lanes of its role; leaves
 * when it has been idle for long, when another role needs the slot, or when
 * the database is to be left alone.  Its exit callback is registered before
 * it connects and so runs after its transaction has been rolled back: nobody
 * else gets a task while its row is still locked by this process.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "base/clock.h"
#include "base/compat.h"
#include "base/guard.h"
#include "base/guc.h"
#include "base/process.h"
#include "base/shmem.h"
#include "base/usage.h"
#include "lanes/announce.h"
#include "lanes/claim.h"
#include "lanes/counts.h"
#include "lanes/lane.h"
#include "lanes/round.h"
#include "lanes/turn.h"
#include "libpq/pqsignal.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "run/execute.h"
#include "run/interrupt.h"
#include "run/session.h"
#include "run/together.h"
#include "run/worker.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "tcop/tcopprot.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#define ANNOUNCE_US 5000		/* what is finished waits no longer for the
								 * rest of its batch */
#define FAIR_SHARE_US USECS_PER_SEC /* a worker's time before it makes room
									 * for another role */

static int	my_slotno = -1;
static TaskqDb *my_db;

static void tell_usage(TaskqSlot *slot);

/*
 * The process ends: give back what was not begun.  If it ended inside a task,
 * the slot stays for the dispatcher, which records that.
 */
static void
worker_detach(int code, Datum arg)
{
	TaskqSlot  *slot = &taskq_shared->slots[my_slotno];
	TaskqDb    *db;

	taskq_guard_leave();
	taskq_leave_quarantine(my_slotno);
	if (slot->connected)
		tell_usage(slot);
	LWLockAcquire(taskq_main_lock, LW_EXCLUSIVE);
	db = taskq_db_find(slot->dbid);
	taskq_claim_stop_scan(my_slotno);
	if (slot->state == TASKQ_SLOT_BUSY)
		taskq_claim_give_back(my_slotno);
	if (slot->state == TASKQ_SLOT_BUSY && slot->announced < slot->nitems)
	{
		slot->state = TASKQ_SLOT_ORPHAN;
	}
	else
	{
		taskq_claim_release(my_slotno);
		slot->state = TASKQ_SLOT_FREE;
		slot->in_task = false;
	}
	if (db != NULL && !slot->connected)
		db->no_worker_before = TimestampTzPlusMilliseconds(taskq_steady_now(),
														   1000);
	slot->pid = 0;
	/* whoever brought work may have relied on us */
	if (db != NULL && (slot->state == TASKQ_SLOT_ORPHAN || slot->woken ||
					   taskq_lanes_dirty(slot->dbid, slot->role)))
		taskq_wake_dispatcher(db);
	taskq_wake_dispatchers();
	LWLockRelease(taskq_main_lock);
}

/* Take the slot that was made for us; false if it is not ours any more. */
static bool
worker_attach(const TaskqProcessArgs *args)
{
	TaskqSlot  *slot = &taskq_shared->slots[args->slot];
	bool		ours;

	LWLockAcquire(taskq_main_lock, LW_EXCLUSIVE);
	my_db = taskq_db_find(args->dbid);
	ours = slot->state == TASKQ_SLOT_STARTING &&
		slot->generation == args->generation;
	if (ours)
	{
		slot->pid = MyProcPid;
		slot->procno = taskq_my_procno();
		slot->started_at = GetCurrentTimestamp();
		slot->since = taskq_steady_now();
		slot->requeue = false;
		slot->last_active = 0;
		slot->connected = false;
		slot->completed = slot->failed = slot->busy_us = 0;
		memset(&slot->usage, 0, sizeof(slot->usage));
		slot->work_mem = slot->temp_file_limit = 0;
		my_slotno = args->slot;
	}
	LWLockRelease(taskq_main_lock);
	if (ours)
		before_shmem_exit(worker_detach, (Datum) 0);
	return ours;
}

/*
 * Is it time to leave, between two tasks?  An idle worker makes room at once
 * for a role that waits, a busy one when it has had its share.
 */
static bool
should_leave(TaskqSlot *slot, bool idle)
{
	bool		leave;
	bool		waited_for;

	/*
	 * flags that whoever sets them sets before it wakes us: so without the
	 * lock
	 */
	leave = slot->leave || my_db == NULL || my_db->dbid != slot->dbid ||
		my_slotno >= taskq_max_workers || my_db->blocked > 0 ||
		slot->completed + slot->failed >= taskq_worker_max_tasks;
	waited_for = taskq_shared->nturns > 0;
	if (!leave && waited_for &&
		(idle || taskq_steady_now() - slot->since > FAIR_SHARE_US))
	{
		LWLockAcquire(taskq_main_lock, LW_EXCLUSIVE);
		slot->leave |= taskq_turn_make_room(slot->dbid, slot->role);
		leave = slot->leave;
		LWLockRelease(taskq_main_lock);
	}
	return leave || ShutdownRequestPending;
}

/* When the process told last what it has used, and what that was. */
static TaskqUsage used;
static TimestampTz told_at;		/* steady time */
static int64 told_busy_us;

/*
 * What the process has used so far is for others to see, and what it has used
 * since it told that last goes to the statistics of the kind whose tasks it
 * has run.
 */
static void
tell_usage(TaskqSlot *slot)
{
	TaskqUsage	usage = used;
	TaskqUsage	more;
	int64		sums[TASKQ_RESOURCES];
	TimestampTz now = taskq_steady_now();

	if (taskq_track_resources >= 0)
		taskq_usage_read(&usage);
	LWLockAcquire(taskq_slot_lock(my_slotno), LW_EXCLUSIVE);
	slot->usage = usage;
	LWLockRelease(taskq_slot_lock(my_slotno));
	more = usage;
	taskq_usage_less(&more, &used);
	used = usage;
	sums[TASKQ_CPU_USER_US] = more.user_us;
	sums[TASKQ_CPU_SYSTEM_US] = more.system_us;
	sums[TASKQ_BLOCKS_HIT] = more.blocks_hit;
	sums[TASKQ_BLOCKS_READ] = more.blocks_read;
	sums[TASKQ_BLOCKS_WRITTEN] = more.blocks_written;
	sums[TASKQ_TEMP_BYTES] = more.temp_bytes;
	sums[TASKQ_WAL_BYTES] = more.wal_bytes;
	sums[TASKQ_PEAK_MEMORY] = more.peak_memory;
	taskq_counts_used(sums, now - told_at, slot->busy_us - told_busy_us);
	told_at = now;
	told_busy_us = slot->busy_us;
}

/* What is finished becomes known, and with it what it has used. */
static void
announce(TaskqSlot *slot)
{
	tell_usage(slot);
	taskq_announce(my_slotno);
}

static void
run_batch(TaskqSlot *slot)
{
	taskq_relief_begin();
	while (slot->next < slot->nitems)
	{
		if (slot->together)
			taskq_together_next(my_slotno);
		else
			taskq_execute_next(my_slotno);
		CHECK_FOR_INTERRUPTS();
		if (slot->finished_at != 0 &&
			taskq_steady_now() - slot->finished_at > ANNOUNCE_US)
			announce(slot);
		if (slot->next < slot->nitems && should_leave(slot, false))
		{
			LWLockAcquire(taskq_main_lock, LW_EXCLUSIVE);
			taskq_claim_give_back(my_slotno);
			LWLockRelease(taskq_main_lock);
		}
	}
	taskq_relief_end();
	taskq_round_tidy(slot);
	pgstat_report_activity(STATE_IDLE, "");
	announce(slot);
	LWLockAcquire(taskq_main_lock, LW_EXCLUSIVE);
	taskq_claim_release(my_slotno);
	slot->state = TASKQ_SLOT_IDLE;
	LWLockRelease(taskq_main_lock);
	pgstat_report_stat(false);
}

/*
 * Sleep until there may be work; false when it took too long.  calls: as many
 * as were counted before work was looked for.
 */
static bool
wait_for_work(TaskqSlot *slot, uint32 calls)
{
	bool		woken = true;

	pgstat_report_stat(true);
	if (!taskq_sleep(calls, taskq_worker_idle_timeout,
					 taskq_wait_event("TaskqWorkerIdle")))
	{
		/* whoever wakes us from here on finds that we leave */
		LWLockAcquire(taskq_main_lock, LW_EXCLUSIVE);
		woken = slot->woken;
		slot->leave |= !woken;
		LWLockRelease(taskq_main_lock);
	}
	ResetLatch(MyLatch);
	return woken;
}

/* taskq_worker_main - entry point of a worker */
void
taskq_worker_main(Datum arg)
{
	TaskqProcessArgs args;
	TaskqSlot  *slot;
	TaskqDb    *db;

	taskq_process_begin(&args);
	if (!worker_attach(&args))
		proc_exit(0);
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnectionByOid(args.dbid, args.role, 0);

	slot = &taskq_shared->slots[my_slotno];
	taskq_session_init();
	taskq_execute_init(my_slotno);
	taskq_counts_batch();
	taskq_usage_read(&used);
	told_at = taskq_steady_now();
	LWLockAcquire(taskq_main_lock, LW_EXCLUSIVE);
	slot->connected = true;
	slot->state = TASKQ_SLOT_IDLE;
	slot->work_mem = work_mem;
	slot->temp_file_limit = temp_file_limit;
	db = taskq_db_find(slot->dbid);
	if (db != NULL && db->dispatcher > 0)
		taskq_wake_dispatcher(db);	/* it may start another one now */
	LWLockRelease(taskq_main_lock);
	pgstat_report_activity(STATE_IDLE, NULL);

	for (;;)
	{
		uint32		calls = taskq_calls();

		CHECK_FOR_INTERRUPTS();
		(void) taskq_process_settings();
		if (should_leave(slot, false))
			break;
		if (taskq_claim(my_slotno))
			run_batch(slot);
		else if (should_leave(slot, true) || !wait_for_work(slot, calls))
			break;
	}
	proc_exit(0);
}
