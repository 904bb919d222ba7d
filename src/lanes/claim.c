/*-------------------------------------------------------------------------
 *
 * claim.c
 *		Reserving tasks for a worker.
 *
 * A reservation is an entry in the worker's slot.  It keeps other workers
 * from trying the same task, nothing more: the right to run it is the row
 * lock, which execute.c takes task by task.  So a reservation may be given
 * back, or be there twice, at any moment.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "base/clock.h"
#include "base/compat.h"
#include "base/watched.h"
#include "lanes/claim.h"
#include "lanes/fair.h"
#include "lanes/lane.h"
#include "lanes/place.h"
#include "lanes/round.h"
#include "lanes/scan.h"
#include "miscadmin.h"
#include "storage/latch.h"
#include "store/defs.h"
#include "store/pauses.h"
#include "store/state.h"
#include "store/store.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#define BATCH_US 10000			/* a batch shall last about as long */

/*
 * taskq_lane_shut - who keeps all tasks of this lane from running now, or
 * TASKQ_LANE_OPEN
 *
 * Reads the tables, so the caller is in a transaction and called
 * taskq_defs_begin.
 */
TaskqShut
taskq_lane_shut(const TaskqLaneDef *lane)
{
	if (lane->foreign)
		return TASKQ_LANE_FOREIGN;
	if (taskq_db_paused(MyDatabaseId))
		return TASKQ_LANE_START_PAUSED;
	if (taskq_lane_pause(lane) != TASKQ_PAUSE_NONE)
		return TASKQ_LANE_PAUSED;
	return TASKQ_LANE_OPEN;
}

/*
 * taskq_kind_internal - are a kind's tasks (or those of one that is gone) for
 * workers of this server?
 *
 * What has no handler is left to external workers; what has no kind fails
 * when it is run.
 */
bool
taskq_kind_internal(const TaskqKind *kind)
{
	return kind == NULL || kind->handler != NULL;
}

/*
 * taskq_lane_runnable - may tasks of this lane be run now by a session of
 * this role?
 *
 * Not while it is paused, nor where it was only copied to.  Reads the
 * tables, so the caller is in a transaction and called taskq_defs_begin.
 */
bool
taskq_lane_runnable(int32 id, Oid role)
{
	const TaskqLaneDef *lane = taskq_lane_get(id);
	const TaskqKind *kind;

	if (lane == NULL || lane->role_oid != role)
		return false;
	kind = taskq_kind_get(NameStr(lane->kind));
	return taskq_kind_internal(kind) &&
		taskq_lane_shut(lane) == TASKQ_LANE_OPEN;
}

/* May tasks of this lane share transactions? */
static bool
lane_shares(int32 id)
{
	const TaskqLaneDef *lane = taskq_lane_get(id);
	const TaskqKind *kind = lane ? taskq_kind_get(NameStr(lane->kind)) : NULL;

	return kind != NULL && kind->batch;
}

/*
 * taskq_lane_claimable - may external workers claim tasks of this lane (or
 * NULL) now?
 */
bool
taskq_lane_claimable(const TaskqLaneDef *lane)
{
	const TaskqKind *kind = lane ? taskq_kind_get(NameStr(lane->kind)) : NULL;

	return kind != NULL && kind->handler == NULL &&
		kind->owner_id == lane->kind_owner &&
		taskq_lane_shut(lane) == TASKQ_LANE_OPEN;
}

static int
batch_size(TaskqLane *lane)
{
	if (lane->average_us <= 0)
		return 1;
	return Max(1, Min(BATCH_US / lane->average_us, TASKQ_BATCH_MAX));
}

/*
 * Does another worker hold this task of the lane?  Then it is marked there as
 * left out: an attempt that fails commits before it ends the reservation, so
 * the task may be claimable already, and nothing else will tell of it again.
 * Caller holds the main lock exclusively.
 */
static bool
left_to_holder(TaskqSlot *mine, int32 lane, const pg_uuid_t *id)
{
	for (int i = 0; i < taskq_shared->nslots; i++)
	{
		TaskqSlot  *slot = &taskq_shared->slots[i];
		bool		found = false;

		if (slot == mine || slot->dbid != mine->dbid ||
			(slot->state != TASKQ_SLOT_BUSY &&
			 slot->state != TASKQ_SLOT_ORPHAN))
			continue;
		LWLockAcquire(taskq_slot_lock(i), LW_EXCLUSIVE);

		/*
		 * one that it is through with may be claimable again: failed, or
		 * skipped
		 */
		for (int j = slot->announced;
			 slot->lane_id == lane && j < slot->nitems && !found; j++)
		{
			found = slot->outcome[j] == TASKQ_UNDONE &&
				taskq_id_eq(&slot->items[j].id, id);
			if (found && !slot->left[j])
			{
				slot->left[j] = true;
				slot->nleft++;
			}
		}
		LWLockRelease(taskq_slot_lock(i));
		if (found)
			return true;
	}
	return false;
}

/*
 * Note again what others left out because it was here, of what the worker is
 * through with, or (all) of everything.  Caller holds the main lock
 * exclusively.
 */
static void
note_left(int slotno, bool all)
{
	TaskqSlot  *slot = &taskq_shared->slots[slotno];
	TaskqDb    *db = taskq_db_find(slot->dbid);

	/* by its number: its entry may be another one by now, and was scanned */
	TaskqLane  *lane = taskq_lane_find(slot->dbid, slot->lane_id);
	bool		noted = false;

	LWLockAcquire(taskq_slot_lock(slotno), LW_EXCLUSIVE);
	for (int i = 0; i < slot->nitems && slot->nleft > 0; i++)
	{
		if (!slot->left[i] || (slot->outcome[i] == TASKQ_UNDONE && !all))
			continue;
		slot->left[i] = false;
		slot->nleft--;
		if (lane == NULL || taskq_state_final(slot->outcome[i]))
			continue;
		taskq_lane_again(lane, &slot->items[i].id);
		noted = true;
	}
	LWLockRelease(taskq_slot_lock(slotno));
	if (noted && db != NULL)
		taskq_lane_wake(db, slot->role);
}

/*
 * taskq_claim_ended - the worker has just set outcomes of tasks: others may
 * have left them to it
 *
 * Takes the main lock only then.  A mark made before the outcome is seen
 * here, since both are made under the slot's lock; after it none is made.
 */
void
taskq_claim_ended(int slotno)
{
	if (taskq_shared->slots[slotno].nleft == 0)
		return;
	LWLockAcquire(taskq_main_lock, LW_EXCLUSIVE);
	note_left(slotno, false);
	LWLockRelease(taskq_main_lock);
}

/*
 * taskq_claim_runs_elsewhere - is another worker in the midst of this task?
 */
bool
taskq_claim_runs_elsewhere(int slotno, const pg_uuid_t *id)
{
	bool		found = false;

	LWLockAcquire(taskq_main_lock, LW_SHARED);
	for (int i = 0; i < taskq_shared->nslots && !found; i++)
	{
		TaskqSlot  *slot = &taskq_shared->slots[i];

		if (i == slotno || slot->dbid != MyDatabaseId ||
			(slot->state != TASKQ_SLOT_BUSY &&
			 slot->state != TASKQ_SLOT_ORPHAN))
			continue;
		LWLockAcquire(taskq_slot_lock(i), LW_SHARED);
		found = slot->in_task && taskq_id_eq(&slot->task, id);
		LWLockRelease(taskq_slot_lock(i));
	}
	LWLockRelease(taskq_main_lock);
	return found;
}

/* Put ids into the worker's slot; caller holds the main lock. */
static void
reserve(TaskqSlot *slot, int slotno, int index, TaskqLane *lane,
		const TaskqRef *refs, int n)
{
	LWLockAcquire(taskq_slot_lock(slotno), LW_EXCLUSIVE);
	slot->lane = index;
	slot->lane_id = lane->id;
	slot->lane_generation = lane->generation;
	slot->next = 0;
	slot->batch++;
	slot->announced = 0;
	slot->nitems = n;
	memcpy(slot->items, refs, n * sizeof(TaskqRef));
	memset(slot->outcome, 0, sizeof(slot->outcome));
	memset(slot->left, 0, sizeof(slot->left));
	slot->nleft = 0;
	LWLockRelease(taskq_slot_lock(slotno));

	slot->state = TASKQ_SLOT_BUSY;
	taskq_watched_wake_refs(refs, n);
	taskq_lane_count(lane->dbid, lane->role, lane, -n, 0);
	lane->running += n;
}

/*
 * Start a scan: nobody else scans this lane, and what is noted from here on
 * is told apart from what the snapshot, taken later, will see.
 */
static void
scan_begin(int slotno, TaskqLane *lane, TaskqScan *scan)
{
	lane->scanner = slotno;
	memset(&lane->min_noted, 0xff, UUID_LEN);
	lane->noted_leaves = 0;
	taskq_due_none(&lane->min_ready);
	taskq_scan_from(lane, scan);
}

/*
 * End it: nothing that can be claimed is before scan->next, but what was
 * noted meanwhile.
 */
static void
scan_close(TaskqLane *lane, const TaskqScan *scan)
{
	lane->known = true;
	if (taskq_id_cmp(&scan->saved, &lane->saved) > 0)
		lane->saved = scan->saved;
	lane->watermark = scan->next;
	taskq_id_lower(&lane->watermark, &lane->min_noted);
	lane->head = lane->watermark;
	if (taskq_id_cmp(&scan->next, &lane->high) > 0)
		lane->high = scan->next;
	lane->leaves = scan->remaining | lane->noted_leaves;
	lane->ready = taskq_due_cmp(&scan->next_ready, &lane->min_ready) < 0
		? scan->next_ready
		: lane->min_ready;
	lane->scanner = -1;
	taskq_lane_scanned(lane, scan->nfound);
}

static int
scan_end(TaskqSlot *slot, int slotno, int index, TaskqLane *lane,
		 TaskqScan *scan)
{
	int			n = 0;

	/* only behind an earlier scan's end can there be what others hold */
	for (int i = 0; i < scan->nfound; i++)
	{
		if ((!scan->was_ready[i] &&
			 taskq_id_cmp(&scan->found[i].id, &scan->high) > 0) ||
			!left_to_holder(slot, lane->id, &scan->found[i].id))
			scan->found[n++] = scan->found[i];
	}
	if (n > 0)
		reserve(slot, slotno, index, lane, scan->found, n);
	scan_close(lane, scan);
	return n;
}

/* Reserve plain tasks; the main lock is held before and after. */
static int
claim_plain(int slotno, int index, int max)
{
	TaskqLane  *lane = &taskq_shared->lanes[index];
	TaskqScan	scan;

	scan_begin(slotno, lane, &scan);
	scan.max = max;
	LWLockRelease(taskq_main_lock);
	taskq_scan_lane(&scan);
	LWLockAcquire(taskq_main_lock, LW_EXCLUSIVE);
	return scan_end(&taskq_shared->slots[slotno], slotno, index, lane, &scan);
}

/* Reserve tasks with concurrency keys, and places of these; likewise. */
static int
claim_keyed(int slotno, int index, TaskqRound *round, int max)
{
	TaskqSlot  *slot = &taskq_shared->slots[slotno];
	TaskqLane  *lane = &taskq_shared->lanes[index];
	int			n;

	taskq_round_begin(round, lane, slotno);
	round->max = max;
	round->max_keys = TASKQ_BATCH_KEYS;
	LWLockRelease(taskq_main_lock);
	taskq_round_look(round);
	LWLockAcquire(taskq_main_lock, LW_EXCLUSIVE);
	n = taskq_round_take(round);
	if (n > 0)
		reserve(slot, slotno, index, lane, round->found, n);
	slot->nkeys = round->nkeys;
	memcpy(slot->keys, round->keys, round->nkeys * sizeof(TaskqSlotKey));
	taskq_round_keep(round, slot);
	taskq_round_end(round, lane);
	return n;
}

/*
 * What was asked before the scan may be different by now: who paused this
 * lane has looked at what is reserved, and did not see this.  Then it is
 * given back, to be asked about again.  Caller holds the main lock.
 */
static int
keep_if_still_open(int slotno, int n)
{
	if (n == 0 || taskq_defs_current())
		return n;
	taskq_claim_give_back(slotno);
	taskq_claim_release(slotno);
	taskq_shared->slots[slotno].state = TASKQ_SLOT_IDLE;
	return 0;
}

/*
 * Take a place to scan a lane; for how many tasks.  0 if it is not to be
 * scanned now, or (*stale) definitions are to be read again first.
 */
static int
begin_claim(int slotno, const TaskqScanLane *candidate,
			const TaskqLimits *limits, bool *stale)
{
	TaskqLane  *lane = &taskq_shared->lanes[candidate->index];
	int			n;

	if (lane->generation != candidate->generation ||
		!OidIsValid(lane->dbid) || !lane->dirty || lane->scanner >= 0)
		return 0;
	n = taskq_place_take(&taskq_shared->slots[slotno], lane, limits,
						 batch_size(lane));
	*stale |= n == TASKQ_PLACE_STALE;
	return Max(n, 0);
}

/* Is there more in a lane, and room for it? */
static bool
lane_has_more(const TaskqScanLane *candidate, const TaskqLimits *limits)
{
	TaskqLane  *lane = &taskq_shared->lanes[candidate->index];

	/* another lane's by now: whoever looks sees what is in it */
	if (lane->generation != candidate->generation)
		return lane->dirty;
	return lane->dirty && lane->held == 0 &&
		taskq_place_room(lane, limits) > 0;
}

/*
 * Reserve from one lane; how many.  *again is set if there may be something
 * that was not found: all that was belonged to others, or what was known of
 * the limits is old.
 */
static int
claim_from(int slotno, const TaskqScanLane *candidate, bool *again)
{
	TaskqSlot  *slot = &taskq_shared->slots[slotno];
	TaskqLane  *lane = &taskq_shared->lanes[candidate->index];
	TaskqLimits limits;
	TaskqRound *round = NULL;
	TaskqDb    *db;
	int			max;
	int			n = 0;
	bool		woken;

	taskq_limits_of(taskq_lane_get(candidate->id), &limits);
	taskq_place_prepare(&limits);
	if (taskq_lane_keyed(candidate->id))
		round = taskq_round_new(candidate->id);
	LWLockAcquire(taskq_main_lock, LW_EXCLUSIVE);
	max = begin_claim(slotno, candidate, &limits, again);
	if (max > 0)
	{
		n = round ? claim_keyed(slotno, candidate->index, round, max)
			: claim_plain(slotno, candidate->index, max);
		if (slot->rated)
			taskq_place_unstarted(slot->dbid, &slot->place, max - n);
		n = keep_if_still_open(slotno, n);
		if (n > 0)
			taskq_fair_served(lane, slot->role);
		if (n == 0)
			taskq_place_leave(slot, false);
	}

	/*
	 * If there is more, here or where we were called to meanwhile, another
	 * one shall look, also those who found this lane under scan.
	 */
	woken = slot->woken;
	db = taskq_db_find(slot->dbid);
	if (n > 0)
		slot->woken = false;
	if (db != NULL &&
		(lane_has_more(candidate, &limits) || (n > 0 && woken)))
		taskq_lane_wake(db, slot->role);
	*again |= n == 0 && lane->dirty && lane->scanner < 0 && lane->held == 0;
	LWLockRelease(taskq_main_lock);
	return n;
}

static void
wake_another(TaskqSlot *slot)
{
	TaskqDb    *db;

	LWLockAcquire(taskq_main_lock, LW_EXCLUSIVE);
	db = taskq_db_find(slot->dbid);
	if (db != NULL)
		taskq_lane_wake(db, slot->role);
	LWLockRelease(taskq_main_lock);
}

/*
 * First say that we sleep, then look: a wake-up in between is not lost;
 * nobody else says the contrary.
 */
static void
say_idle(TaskqSlot *slot)
{
	if (slot->state == TASKQ_SLOT_IDLE && !slot->woken)
		return;
	LWLockAcquire(taskq_main_lock, LW_EXCLUSIVE);
	slot->state = TASKQ_SLOT_IDLE;
	slot->woken = false;
	LWLockRelease(taskq_main_lock);
}

/* Nothing is there that this library could work with, any more. */
static void
leave_soon(TaskqSlot *slot)
{
	LWLockAcquire(taskq_main_lock, LW_EXCLUSIVE);
	slot->leave = true;
	LWLockRelease(taskq_main_lock);
	SetLatch(MyLatch);
}

/*
 * A batch from the first of the role's lanes that has one; how many tasks.
 * *again: none, but there may be one.
 */
static int
claim_from_any(int slotno, bool *again)
{
	TaskqSlot  *slot = &taskq_shared->slots[slotno];
	TaskqScanLane *candidates;
	int			ncandidates = taskq_scan_lanes(slot->dbid, slot->role,
											   &candidates);
	int			n = 0;

	*again = false;
	for (int i = 0; i < ncandidates && n == 0; i++)
	{
		if (!taskq_lane_runnable(candidates[i].id, slot->role))
			continue;
		n = claim_from(slotno, &candidates[i], again);
		slot->together = n > 1 && lane_shares(candidates[i].id);
		/* we were called to all of them, and see to one */
		if (n > 0 && ncandidates > 1)
			wake_another(slot);
	}
	return n;
}

/*
 * taskq_claim - reserve a batch for this worker
 *
 * In a transaction of its own.  False if there is nothing to do for it now;
 * then the slot is idle, and whoever brings work will set the worker's latch.
 */
bool
taskq_claim(int slotno)
{
	TaskqSlot  *slot = &taskq_shared->slots[slotno];
	int			n = 0;
	bool		again = true;

	say_idle(slot);
	taskq_store_begin();
	if (taskq_store_ready())
	{
		while (n == 0 && again)
		{
			CHECK_FOR_INTERRUPTS();
			taskq_defs_begin();
			n = claim_from_any(slotno, &again);
		}
	}
	else
		leave_soon(slot);
	PopActiveSnapshot();
	CommitTransactionCommand();
	return n > 0;
}

/*
 * The key of a task in the worker's batch is left alone for a while: the task
 * would be found again at once.
 */
static void
rest_key(TaskqSlot *slot, const pg_uuid_t *id)
{
	for (int i = 0; i < slot->nkeys; i++)
	{
		for (int j = slot->keys[i].first; j < slot->keys[i].end; j++)
		{
			if (taskq_id_eq(&slot->items[j].id, id))
				slot->keys[i].rest_until =
					taskq_shared->lanes[slot->lane].retry_at;
		}
	}
}

/* Is a task, whose row is locked, still in the queue it was found in? */
static bool
same_queue(const TaskqSlot *slot, TaskqRow *row)
{
	int32		id = DatumGetInt32(taskq_row_value(row, lane));
	const TaskqLaneDef *lane;

	if (id == slot->lane_id)
		return true;
	lane = taskq_lane_get(id);
	return lane != NULL &&
		strcmp(NameStr(lane->queue), NameStr(slot->place.queue)) == 0;
}

/*
 * taskq_claim_covers - has the worker a place of the task's queue, and of its
 * concurrency key, if it has one?
 *
 * It has, unless the task has become another one since it was reserved; then
 * it was noted where it is now.  The worker has locked its row.
 */
bool
taskq_claim_covers(int slotno, TaskqRow *row)
{
	TaskqSlot  *slot = &taskq_shared->slots[slotno];
	bool		found = false;
	int64		number;

	if (!same_queue(slot, row))
		return false;
	if (taskq_row_isnull(row, concurrency_key))
		return true;
	number = taskq_key_hash(row);
	LWLockAcquire(taskq_slot_lock(slotno), LW_SHARED);
	for (int i = 0; i < slot->nkeys && !found; i++)
		found = slot->keys[i].key == number;
	LWLockRelease(taskq_slot_lock(slotno));
	return found;
}

/* Is nothing of a key in the worker's hands any more? */
static bool
key_done(const TaskqSlot *slot, const TaskqSlotKey *key)
{
	for (int i = key->first; i < Min(key->end, slot->nitems); i++)
	{
		if (slot->outcome[i] == TASKQ_UNDONE)
			return false;
	}
	return true;
}

/*
 * Give back places of keys, all of them or those with which the worker is
 * through. Caller holds the main lock exclusively.
 */
static void
release_keys(TaskqSlot *slot, bool all)
{
	int			n = 0;

	for (int i = 0; i < slot->nkeys; i++)
	{
		TaskqKey	key = {.dbid = slot->dbid,.role = slot->role,
		.number = slot->keys[i].key};

		if (all || key_done(slot, &slot->keys[i]))
			(void) taskq_key_release(&key, slot->keys[i].kind,
									 slot->keys[i].rest_until);
		else
			slot->keys[n++] = slot->keys[i];
	}
	slot->nkeys = n;
}

/*
 * taskq_claim_skipped - the row of a reserved task is locked by somebody
 * else: look again later
 */
void
taskq_claim_skipped(int slotno, const pg_uuid_t *id)
{
	TaskqSlot  *slot = &taskq_shared->slots[slotno];
	TaskqDb    *db;

	LWLockAcquire(taskq_main_lock, LW_EXCLUSIVE);
	db = taskq_db_find(slot->dbid);
	taskq_lane_skipped(&taskq_shared->lanes[slot->lane], id,
					   taskq_steady_now());
	rest_key(slot, id);
	if (db != NULL)
		taskq_wake_dispatcher(db);
	LWLockRelease(taskq_main_lock);
}

/*
 * taskq_claim_unstarted - so many reserved tasks were not run: their tokens
 * are others'
 */
void
taskq_claim_unstarted(int slotno, int n)
{
	TaskqSlot  *slot = &taskq_shared->slots[slotno];

	if (!slot->rated || n <= 0)
		return;
	LWLockAcquire(taskq_main_lock, LW_EXCLUSIVE);
	taskq_place_unstarted(slot->dbid, &slot->place, n);
	LWLockRelease(taskq_main_lock);
}

/*
 * taskq_claim_finished - tell the lane how long a task took, in microseconds
 */
void
taskq_claim_finished(int slotno, int64 run_us)
{
	TaskqSlot  *slot = &taskq_shared->slots[slotno];
	TaskqLane  *lane = &taskq_shared->lanes[slot->lane];
	int			us = (int) Min(Max(run_us, 1), 1000000000);

	/* one number, and nobody minds a lost update */
	lane->average_us = lane->average_us == 0
		? us
		: (int) (((int64) lane->average_us * 7 + us) / 8);
	lane->backoff = 0;
}

/*
 * taskq_claim_give_back - give back what a worker has not begun
 *
 * Also called by others for a worker that is long in one task.  Caller holds
 * the main lock exclusively.
 */
void
taskq_claim_give_back(int slotno)
{
	TaskqSlot  *slot = &taskq_shared->slots[slotno];
	TaskqLane  *lane = taskq_lane_find(slot->dbid, slot->lane_id);
	TaskqDb    *db = taskq_db_find(slot->dbid);
	int			nkeys = slot->nkeys;
	int			n;

	LWLockAcquire(taskq_slot_lock(slotno), LW_EXCLUSIVE);
	n = slot->nitems - slot->next;
	for (int i = slot->next; i < slot->nitems; i++)
	{
		slot->nleft -= slot->left[i];
		if (lane != NULL)
			taskq_lane_rewind(lane, &slot->items[i].id,
							  taskq_leaf_bit(&slot->items[i].id));
	}
	slot->nitems = slot->next;
	taskq_watched_wake_refs(slot->items + slot->next, n);
	release_keys(slot, false);
	LWLockRelease(taskq_slot_lock(slotno));
	if (slot->rated)
		taskq_place_unstarted(slot->dbid, &slot->place, n);
	if (n > 0 && lane != NULL)
	{
		if (lane->generation == slot->lane_generation)
			lane->running -= n;
		lane->waiting += n;
	}
	if (db != NULL && ((n > 0 && lane != NULL && lane->held == 0) ||
					   slot->nkeys < nkeys))
		taskq_lane_wake(db, slot->role);
}

/*
 * taskq_claim_recall - give back what all workers of a database have reserved
 * and not begun
 *
 * Definitions have changed so that it may not be started any more; their
 * number has been counted up, so who reserves from here on asks again.
 * Caller holds the main lock exclusively.
 */
void
taskq_claim_recall(Oid dbid)
{
	for (int i = 0; i < taskq_shared->nslots; i++)
	{
		TaskqSlot  *slot = &taskq_shared->slots[i];

		if (slot->dbid == dbid && slot->state == TASKQ_SLOT_BUSY)
			taskq_claim_give_back(i);
	}
}

/*
 * taskq_claim_release - a worker is through with its batch; caller holds the
 * main lock exclusively
 */
void
taskq_claim_release(int slotno)
{
	TaskqSlot  *slot = &taskq_shared->slots[slotno];
	TaskqLane  *lane = &taskq_shared->lanes[slot->lane];

	note_left(slotno, true);
	release_keys(slot, true);
	LWLockAcquire(taskq_slot_lock(slotno), LW_EXCLUSIVE);
	if (slot->nitems > 0 && lane->generation == slot->lane_generation)
		lane->running -= slot->nitems;
	taskq_watched_wake_refs(slot->items + slot->announced,
							slot->nitems - slot->announced);
	slot->batch++;				/* whoever is announcing it finds that it is
								 * over */
	slot->nitems = 0;
	slot->next = 0;
	slot->announced = 0;
	slot->flush_to = InvalidXLogRecPtr;
	slot->finished_at = 0;
	LWLockRelease(taskq_slot_lock(slotno));
	/* who is through claims again, or has the dispatcher look when it ends */
	taskq_place_leave(slot, slot->pid == MyProcPid);
}

/*
 * taskq_claim_scanner - this process's name as scanner of a lane, unless it
 * is a worker, which has its slot's number
 */
int
taskq_claim_scanner(void)
{
	return TASKQ_MAX_WORKERS + taskq_my_procno();
}

/*
 * taskq_claim_stop_scan - a process ended in mid-scan; caller holds the main
 * lock exclusively
 */
void
taskq_claim_stop_scan(int scanner)
{
	for (int i = 0; i < taskq_shared->nlanes; i++)
	{
		if (taskq_shared->lanes[i].scanner == scanner)
			taskq_shared->lanes[i].scanner = -1;
	}
}

/* taskq_claim_probe of a lane of tasks with concurrency keys */
static bool
probe_keyed(Oid dbid, int32 lane_id, int scanner)
{
	TaskqRound *round = taskq_round_new(lane_id);
	TaskqLane  *lane;
	bool		dirty;

	LWLockAcquire(taskq_main_lock, LW_EXCLUSIVE);
	lane = taskq_lane_find(dbid, lane_id);
	dirty = lane != NULL && lane->dirty;
	if (!dirty || lane->scanner >= 0)
	{
		LWLockRelease(taskq_main_lock);
		return dirty;
	}
	taskq_round_begin(round, lane, scanner);
	LWLockRelease(taskq_main_lock);
	taskq_round_look(round);
	if (scanner < 0)
		return round->nfound > 0;

	LWLockAcquire(taskq_main_lock, LW_EXCLUSIVE);
	round->more |= round->nfound > 0;
	round->nkeys = 0;
	taskq_round_end(round, lane);
	dirty = lane->dirty;
	LWLockRelease(taskq_main_lock);
	return dirty;
}

/*
 * taskq_claim_probe - is there something to claim in a lane?
 *
 * Moves the watermark up to it, or (scanner -1) only looks, and so does not
 * keep the lane from anybody meanwhile.  For the dispatcher, which thus
 * spares starting a worker for a lane in which everything is done.  Needs a
 * transaction.
 */
bool
taskq_claim_probe(Oid dbid, int32 lane_id, int scanner)
{
	TaskqLane  *lane;
	TaskqScan	scan;
	bool		dirty;

	if (taskq_lane_keyed(lane_id))
		return probe_keyed(dbid, lane_id, scanner);
	LWLockAcquire(taskq_main_lock, LW_EXCLUSIVE);
	lane = taskq_lane_find(dbid, lane_id);
	if (lane == NULL || !lane->dirty || lane->scanner >= 0)
	{
		dirty = lane != NULL && lane->dirty;
		LWLockRelease(taskq_main_lock);
		return dirty;
	}
	if (scanner < 0)
		taskq_scan_from(lane, &scan);
	else
		scan_begin(scanner, lane, &scan);
	scan.max = 1;
	LWLockRelease(taskq_main_lock);

	taskq_scan_lane(&scan);
	if (scanner < 0)
		return scan.nfound > 0;

	/* an entry that is being scanned is never reused */
	LWLockAcquire(taskq_main_lock, LW_EXCLUSIVE);
	if (scan.nfound > 0 && scan.was_ready[0])
		scan.next_ready = scan.first;
	else if (scan.nfound > 0)
	{
		scan.next = scan.found[0].id;
		scan.remaining |= taskq_leaf_bit(&scan.found[0].id) | 1u << TASKQ_KEEP;
	}
	scan_close(lane, &scan);
	dirty = lane->dirty;
	LWLockRelease(taskq_main_lock);
	return dirty;
}
