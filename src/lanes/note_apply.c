/*-------------------------------------------------------------------------
 *
 * note_apply.c
 *		What each note of a transaction does to shared memory.
 *
 * Called with the main lock, in a callback that must not fail: nothing here
 * allocates or raises.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "base/guard.h"
#include "base/shmem.h"
#include "lanes/cancels.h"
#include "lanes/claim.h"
#include "lanes/event.h"
#include "lanes/keys.h"
#include "lanes/lane.h"
#include "lanes/note_inside.h"
#include "lanes/outside.h"
#include "lanes/place.h"
#include "lanes/waiting.h"

/* Everyone idle in this database looks for work. */
static void
wake_everyone(TaskqDb *db)
{
	for (int i = 0; i < taskq_shared->nslots; i++)
	{
		TaskqSlot  *slot = &taskq_shared->slots[i];

		if (slot->dbid == db->dbid && slot->state == TASKQ_SLOT_IDLE)
			taskq_wake_proc(slot->procno);
	}
	taskq_wake_dispatcher(db);
}

/*
 * taskq_note_wake_lane - something of a lane (or NULL) became claimable: call
 * workers here, or outside
 *
 * Nobody is called to one that is held: who makes room does that.  Caller
 * holds the main lock exclusively.
 */
void
taskq_note_wake_lane(TaskqDb *db, const TaskqLane *lane, Oid role)
{
	if (lane != NULL && lane->held != 0)
		return;
	taskq_claimable_wake();
	taskq_lane_wake(db, role);
}

/* The entry of a note's lane, or NULL if there is no room for it. */
static TaskqLane *
note_lane(TaskqDb *db, const TaskqNote *note)
{
	TaskqLane  *lane = taskq_lane_enter(db, note->lane, note->role,
										note->priority);

	if (lane != NULL)
		lane->tenant = note->tenant;
	return lane;
}

/*
 * taskq_note_due_at - a timer, or a schedule, is due at this time; *next is
 * when the next one is
 *
 * Caller holds the main lock exclusively.
 */
void
taskq_note_due_at(TaskqDb *db, TimestampTz *next, TimestampTz due)
{
	if (due > *next && *next != DT_NOBEGIN)
		return;
	*next = Min(*next, due);
	if (db->dispatcher > 0)
		taskq_wake_dispatcher(db);
	else
		taskq_wake_launcher();
}

/* ---- committed ---- */

static void
apply_submitted(TaskqDb *db, const TaskqNote *note)
{
	TaskqLane  *lane = note_lane(db, note);

	if (lane != NULL)
		taskq_lane_submitted(lane, &note->id, note->leaves);
	taskq_lane_count(db->dbid, note->role, lane, note->count, 0);
	taskq_note_wake_lane(db, lane, note->role);
}

static void
apply_ready(TaskqDb *db, const TaskqNote *note)
{
	TaskqLane  *lane = note_lane(db, note);
	TaskqDue	due = {.due = note->due,.id = note->id};

	if (lane != NULL)
		taskq_lane_ready(lane, &due);
	taskq_lane_count(db->dbid, note->role, lane, note->count,
					 note->waited ? -note->count : 0);
	taskq_note_wake_lane(db, lane, note->role);
}

static void
apply_claimed(TaskqDb *db, const TaskqNote *note)
{
	taskq_lane_count(db->dbid, note->role,
					 taskq_lane_find(db->dbid, note->lane), -note->count, 0);
}

static void
apply_unleased(TaskqDb *db, const TaskqNote *note)
{
	taskq_place_unlease(db, note->place, note->leases, true);
}

static void
apply_reserved(TaskqDb *db, const TaskqNote *note)
{
	taskq_place_reserve(db->dbid, NameStr(note->place->queue),
						(int) note->count);
}

static void
apply_later(TaskqDb *db, const TaskqNote *note)
{
	taskq_lane_count(db->dbid, note->role, note_lane(db, note), 0,
					 note->count);
}

static void
apply_due(TaskqDb *db, const TaskqNote *note)
{
	taskq_note_due_at(db, &db->next_due, note->due);
}

static void
apply_schedule(TaskqDb *db, const TaskqNote *note)
{
	taskq_note_due_at(db, &db->next_schedule, note->due);
}

static void
apply_final(TaskqDb *db, const TaskqNote *note)
{
	TaskqLane  *lane = taskq_lane_find(db->dbid, note->lane);
	bool		pending = note->from == TASKQ_PENDING;

	if (note->from != TASKQ_LEASED)
		taskq_lane_count(db->dbid, note->role, lane, pending ? -1 : 0,
						 pending ? 0 : -1);
	taskq_event_push(db, &note->id, note->state);
}

static void
apply_cancel(TaskqDb *db, const TaskqNote *note)
{
	taskq_cancel_deliver(db, note->slot, &note->id, note->role, note->force,
						 note->reason);
}

/* Whoever waits for the key looks again. */
static void
apply_key_freed(TaskqDb *db, const TaskqNote *note)
{
	TaskqKey	key = taskq_note_key(note);

	if (taskq_key_release(&key, note->limit.kind, 0))
		taskq_lane_wake(db, note->role);
}

static void
apply_outside(TaskqDb *db, const TaskqNote *note)
{
	taskq_outside_ended(note->role, note->name,
						note->state == TASKQ_COMPLETED, note->slot,
						note->count);
}

static void
apply_key_limit(TaskqDb *db, const TaskqNote *note)
{
	taskq_keys_limit(db->dbid, note->limit);
}

static void
apply_wake(TaskqDb *db, const TaskqNote *note)
{
	pg_atomic_fetch_add_u64(&taskq_shared->definitions, 1);
	db->rescan |= db->left_out;
	db->left_out = false;
	taskq_places_open(db);
	wake_everyone(db);
}

/* First the number: who reserves after that asks again what is open. */
static void
apply_pause(TaskqDb *db, const TaskqNote *note)
{
	pg_atomic_fetch_add_u64(&taskq_shared->definitions, 1);
	taskq_claim_recall(db->dbid);
}

/* Lanes are forgotten: their roles may be others now. */
static void
apply_rescan(TaskqDb *db, const TaskqNote *note)
{
	pg_atomic_fetch_add_u64(&taskq_shared->definitions, 1);
	db->resumed = true;
	taskq_guard_resume(db->dbid);
	taskq_places_recount(db);
	for (int i = 0; i < taskq_shared->nlanes; i++)
	{
		TaskqLane  *lane = &taskq_shared->lanes[i];

		if (lane->dbid == db->dbid && lane->running <= 0 && lane->scanner < 0)
			taskq_lane_forget(lane);
	}
	db->rescan = true;
	db->look = true;
	db->next_due = DT_NOBEGIN;
	db->next_schedule = DT_NOBEGIN;
	taskq_wake_dispatcher(db);
}

static void
apply_moved(TaskqDb *db, const TaskqNote *note)
{
	TaskqLane  *lane = taskq_lane_find(db->dbid, note->lane);

	if (lane == NULL)
		return;
	taskq_lane_rewind(lane, &note->id, 1u << TASKQ_KEEP);
	taskq_note_wake_lane(db, lane, lane->role);
}

/* It may have ended just before: then nobody knew that it was awaited. */
static void
apply_awaited(TaskqDb *db, const TaskqNote *note)
{
	taskq_waiting_expect(db, &note->id);
	taskq_waiting_check(db, &note->id);
}

/*
 * Who submits a task that waits for the failed one, and is not seen yet, puts
 * that on the list.
 */
static void
apply_retried(TaskqDb *db, const TaskqNote *note)
{
	if (!taskq_waiting_maybe(db, &note->id))
		return;
	taskq_waiting_expect(db, &note->retry);
	taskq_waiting_check(db, &note->retry);
}

static void
apply_look(TaskqDb *db, const TaskqNote *note)
{
	taskq_waiting_look(db);
	taskq_lanes_changed(db->dbid);
}

/* It was waiting, and is claimed, over, or in another place. */
static void
apply_touched(TaskqDb *db, const TaskqNote *note)
{
	TaskqLane  *lane = taskq_lane_find(db->dbid, note->lane);

	if (lane != NULL)
		taskq_lane_changed(lane);
}

static void
apply_nothing(TaskqDb *db, const TaskqNote *note)
{
}

static void (*const apply_committed[]) (TaskqDb *db, const TaskqNote *note) =
{
	[TASKQ_NOTE_SUBMITTED] = apply_submitted,
		[TASKQ_NOTE_READY] = apply_ready,
		[TASKQ_NOTE_CLAIMED] = apply_claimed,
		[TASKQ_NOTE_LEASED] = apply_nothing,
		[TASKQ_NOTE_UNLEASED] = apply_unleased,
		[TASKQ_NOTE_OUTSIDE] = apply_outside,
		[TASKQ_NOTE_RESERVED] = apply_reserved,
		[TASKQ_NOTE_LATER] = apply_later,
		[TASKQ_NOTE_DUE] = apply_due,
		[TASKQ_NOTE_SCHEDULE] = apply_schedule,
		[TASKQ_NOTE_TOUCHED] = apply_touched,
		[TASKQ_NOTE_MOVED] = apply_moved,
		[TASKQ_NOTE_FINAL] = apply_final,
		[TASKQ_NOTE_AWAITED] = apply_awaited,
		[TASKQ_NOTE_RETRIED] = apply_retried,
		[TASKQ_NOTE_LOOK] = apply_look,
		[TASKQ_NOTE_CANCEL] = apply_cancel,
		[TASKQ_NOTE_KEY_TAKEN] = apply_nothing,
		[TASKQ_NOTE_KEY_FREED] = apply_key_freed,
		[TASKQ_NOTE_KEY_LIMIT] = apply_key_limit,
		[TASKQ_NOTE_WAKE] = apply_wake,
		[TASKQ_NOTE_PAUSE] = apply_pause,
		[TASKQ_NOTE_RESCAN] = apply_rescan,
};

/* ---- undone ---- */

/* The row is free again and its task as claimable as before. */
static void
apply_aborted(TaskqDb *db, TaskqNote *note)
{
	TaskqLane  *lane;

	if (note->type == TASKQ_NOTE_LEASED)
		taskq_place_unlease(db, note->place, note->leases, false);
	if (note->type == TASKQ_NOTE_KEY_TAKEN)
		apply_key_freed(db, note);
	if (note->type != TASKQ_NOTE_TOUCHED)
		return;
	lane = note_lane(db, note);
	if (lane != NULL)
		taskq_lane_rewind(lane, &note->id, taskq_leaf_bit(&note->id));
	taskq_note_wake_lane(db, lane, note->role);
}

/*
 * taskq_note_apply - tell shared memory what a note says, of what is committed
 * or undone
 *
 * Caller holds the main lock exclusively.  Allocates nothing, raises nothing.
 */
void
taskq_note_apply(TaskqDb *db, TaskqNote *note, bool committed)
{
	if (committed)
		apply_committed[note->type] (db, note);
	else
		apply_aborted(db, note);
}
