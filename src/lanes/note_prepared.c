/*-------------------------------------------------------------------------
 *
 * note_prepared.c
 *		The notes of prepared transactions.
 *
 * They are kept in shared memory, those of each lane together.  When the
 * transaction ends (see utility.c), whichever session does that, they are
 * applied.  After a restart of the server nothing is known of it: then the
 * lanes are looked through from where they were saved last.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/twophase.h"
#include "access/xact.h"
#include "base/shmem.h"
#include "lanes/claim.h"
#include "lanes/event.h"
#include "lanes/keys.h"
#include "lanes/lane.h"
#include "lanes/note.h"
#include "lanes/note_inside.h"
#include "lanes/outbox.h"
#include "lanes/place.h"
#include "lanes/waiting.h"
#include "miscadmin.h"

/*
 * taskq_note_refuse_prepare - raise 0A000 if that can't be prepared
 *
 * What can't is a signal, which whoever commits would not send; and
 * claims, which are counted as what a session has under way.
 */
void
taskq_note_refuse_prepare(const TaskqNote *notes, int n)
{
	for (int i = 0; i < n; i++)
	{
		if (notes[i].type == TASKQ_NOTE_CANCEL)
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("cannot PREPARE a transaction that cancels a running task"),
					 errhint("Cancel the task in a transaction of its own.")));
		if (notes[i].leases > 0)
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("cannot PREPARE a transaction that claims tasks or ends claims"),
					 errhint("Claim tasks, and end their claims, in transactions of their own.")));
	}
}

static char preparing[GIDSIZE]; /* the name that PREPARE TRANSACTION gives */

/*
 * What is known of a transaction; NULL if nothing is.  Caller holds the main
 * lock.
 */
static TaskqPrepared *
prepared_find(const char *gid)
{
	for (int i = 0; i < taskq_shared->nprepared; i++)
	{
		if (OidIsValid(taskq_shared->prepared[i].dbid) &&
			strcmp(taskq_shared->prepared[i].gid, gid) == 0)
			return &taskq_shared->prepared[i];
	}
	return NULL;
}

static TaskqPrepared *
prepared_allocate(void)
{
	for (int i = 0; i < taskq_shared->nprepared; i++)
	{
		if (!OidIsValid(taskq_shared->prepared[i].dbid))
			return &taskq_shared->prepared[i];
	}
	if (taskq_shared->nprepared < max_prepared_xacts)
		return &taskq_shared->prepared[taskq_shared->nprepared++];
	return NULL;
}

/* Its share in a lane. */
static TaskqPreparedLane *
prepared_lane(TaskqPrepared *prepared, const TaskqNote *note)
{
	TaskqPreparedLane *lane;

	for (int i = 0; i < prepared->nlanes; i++)
	{
		if (prepared->lanes[i].lane == note->lane)
			return &prepared->lanes[i];
	}
	if (prepared->nlanes == TASKQ_PREPARED_LANES)
	{
		prepared->many = true;
		return NULL;
	}
	lane = &prepared->lanes[prepared->nlanes++];
	memset(lane, 0, sizeof(*lane));
	lane->lane = note->lane;
	lane->role = note->role;
	lane->priority = note->priority;
	lane->tenant = note->tenant;
	memset(&lane->lowest, 0xff, UUID_LEN);
	return lane;
}

static void
prepared_add(TaskqPrepared *prepared, const TaskqNote *note)
{
	TaskqPreparedLane *lane;

	switch (note->type)
	{
		case TASKQ_NOTE_DUE:
			prepared->due = Min(prepared->due, note->due);
			break;
		case TASKQ_NOTE_SUBMITTED:
		case TASKQ_NOTE_READY:
		case TASKQ_NOTE_TOUCHED:
			lane = prepared_lane(prepared, note);
			if (lane == NULL)
				break;
			lane->ready |= note->type != TASKQ_NOTE_SUBMITTED;
			lane->touched |= note->type == TASKQ_NOTE_TOUCHED;
			lane->count += note->count;
			if (note->type == TASKQ_NOTE_READY)
				break;
			taskq_id_lower(&lane->lowest, &note->id);
			lane->leaves |= note->type == TASKQ_NOTE_SUBMITTED
				? note->leaves
				: taskq_leaf_bit(&note->id);
			break;
		case TASKQ_NOTE_AWAITED:
		case TASKQ_NOTE_RETRIED:
		case TASKQ_NOTE_LOOK:
		case TASKQ_NOTE_FINAL:
			prepared->look = true;
			prepared->ended |= note->type == TASKQ_NOTE_FINAL;
			break;
		case TASKQ_NOTE_KEY_LIMIT:
		case TASKQ_NOTE_WAKE:
		case TASKQ_NOTE_PAUSE:
		case TASKQ_NOTE_RESCAN:
		case TASKQ_NOTE_SCHEDULE:
			prepared->all = true;
			break;
		default:
			break;
	}
}

/* taskq_note_preparing - the transaction is to be prepared under this name */
void
taskq_note_preparing(const char *gid)
{
	strlcpy(preparing, gid, sizeof(preparing));
}

/*
 * taskq_note_prepared - keep what the transaction did, which is prepared
 *
 * bound: of the transaction, or NULL.  Caller holds the main lock; the bound
 * goes over in the same step.  If there is no room, it is as one from before
 * the server's start: nobody saves anything as long as it is there (save.c).
 */
void
taskq_note_prepared(const TaskqNote *notes, int n, const pg_uuid_t *bound)
{
	TaskqPrepared *prepared = prepared_find(preparing);

	/* one of this name is over by now, and we were not told */
	if (prepared == NULL)
		prepared = prepared_allocate();
	if (prepared == NULL)
	{
		taskq_shared->unprepared++;
		return;
	}
	memset(prepared, 0, sizeof(*prepared));
	prepared->dbid = MyDatabaseId;
	strlcpy(prepared->gid, preparing, sizeof(prepared->gid));
	prepared->due = DT_NOEND;
	prepared->noted = n > 0;
	if (bound != NULL)
		prepared->bound = *bound;
	for (int i = 0; i < n; i++)
		prepared_add(prepared, &notes[i]);
}

/*
 * taskq_note_prepared_here - is it known what the transaction of this name
 * did?
 */
bool
taskq_note_prepared_here(const char *gid)
{
	bool		known;

	LWLockAcquire(taskq_main_lock, LW_SHARED);
	known = prepared_find(gid) != NULL;
	LWLockRelease(taskq_main_lock);
	return known;
}

/*
 * taskq_note_ending - the prepared transaction of this name is about to be
 * ended
 *
 * If it is not known what it did, nothing may be saved from before its end is
 * seen until the lanes have been rewound; and what it has ended stays in its
 * outbox until it is known that this is to be looked for.
 */
void
taskq_note_ending(const char *gid)
{
	pg_uuid_t	lowest;

	taskq_outbox_hold();
	taskq_id_lowest(&lowest);
	LWLockAcquire(taskq_main_lock, LW_EXCLUSIVE);
	if (prepared_find(gid) == NULL)
		taskq_note_bound(&lowest);
	LWLockRelease(taskq_main_lock);
}

/*
 * It is not known what it did, but that it made and locked nothing before its
 * bound, if that is known.
 */
static void
end_unknown(TaskqDb *db, const TaskqPrepared *prepared)
{
	pg_uuid_t	from = {{0}};

	if (prepared != NULL && !prepared->all)
		from = prepared->bound;
	pg_atomic_fetch_add_u64(&taskq_shared->definitions, 1);
	taskq_claim_recall(db->dbid);
	taskq_lanes_rewind_all(db->dbid, &from);
	/* nor whether limits have changed */
	taskq_places_open(db);
	taskq_keys_limits_stale(db->dbid);
	taskq_feed_doubt(db);
	db->look = true;
	db->rescan = true;
	db->next_due = DT_NOBEGIN;
	db->next_schedule = DT_NOBEGIN;
	taskq_wake_dispatcher(db);
}

/*
 * Its tasks may be claimed now, or, if it was rolled back, those that it had
 * locked.
 */
static void
end_known(TaskqDb *db, const TaskqPrepared *prepared, bool committed)
{
	for (int i = 0; i < prepared->nlanes; i++)
	{
		const TaskqPreparedLane *share = &prepared->lanes[i];
		TaskqLane  *lane;
		TaskqDue	first;

		/* it may have made the lane */
		if (!committed && !share->touched)
			continue;
		lane = taskq_lane_enter(db, share->lane, share->role,
								share->priority);
		if (lane != NULL)
			lane->tenant = share->tenant;
		taskq_due_first(&first);
		if (lane != NULL)
			taskq_lane_changed(lane);
		if (lane != NULL && share->leaves != 0)
			taskq_lane_submitted(lane, &share->lowest, share->leaves);
		if (lane != NULL && share->ready)
			taskq_lane_ready(lane, &first);
		if (committed)
			taskq_lane_count(db->dbid, share->role, lane, share->count, 0);
		taskq_note_wake_lane(db, lane, share->role);
	}
	if (committed && prepared->due != DT_NOEND)
		taskq_note_due_at(db, &db->next_due, prepared->due);
	if (committed && prepared->ended)
		taskq_feed_doubt(db);
	if (committed && prepared->look)
	{
		taskq_waiting_look(db);
		taskq_lanes_changed(db->dbid);
	}
}

/* taskq_note_ended - it has been ended, one way or the other */
void
taskq_note_ended(const char *gid, bool committed)
{
	TaskqPrepared *prepared;
	TaskqDb    *db;
	bool		noted;

	LWLockAcquire(taskq_main_lock, LW_EXCLUSIVE);
	prepared = prepared_find(gid);
	noted = prepared == NULL || prepared->noted;
	db = noted ? taskq_db_enter(MyDatabaseId) : NULL;
	if (db != NULL && (prepared == NULL || prepared->all || prepared->many))
		end_unknown(db, prepared);
	else if (db != NULL)
		end_known(db, prepared, committed);
	if (prepared != NULL)
		prepared->dbid = InvalidOid;
	if (db != NULL && db->held)
	{
		db->held = false;
		taskq_wake_dispatcher(db);
	}
	LWLockRelease(taskq_main_lock);
	/* it may have cancelled what somebody waits for */
	if (noted)
		taskq_event_wake_waiters();
}
