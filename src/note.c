/*-------------------------------------------------------------------------
 *
 * note.c
 *		What a transaction did to tasks, told to shared memory when it ends.
 *
 * Notes live in TopTransactionContext, each with its subtransaction, and are
 * applied once by the transaction callback: after the commit is visible and
 * before anything can interrupt.  A process that dies in between takes the
 * whole server's shared memory with it.  The callback allocates nothing and
 * raises nothing.
 *
 * The notes of a prepared transaction are not kept.  COMMIT PREPARED and
 * ROLLBACK PREPARED make the lanes be looked through from the beginning (see
 * utility.c), whichever session or server run issues them, unless it is known
 * that there were none.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "cancel.h"
#include "common/hashfn.h"
#include "event.h"
#include "guard.h"
#include "lane.h"
#include "miscadmin.h"
#include "note.h"
#include "shmem.h"
#include "store.h"
#include "utils/memutils.h"

typedef enum NoteType
{
	NOTE_SUBMITTED,
	NOTE_READY,
	NOTE_DUE,
	NOTE_LATER,
	NOTE_CLAIMED,
	NOTE_TOUCHED,
	NOTE_FINAL,
	NOTE_CANCEL,
	NOTE_WAKE,
	NOTE_RESCAN,
	NOTE_DROPPED
} NoteType;

typedef struct Note
{
	NoteType	type;
	SubTransactionId subid;
	int32		lane;
	Oid			role;
	int16		priority;
	pg_uuid_t	id;
	uint32		leaves;
	int64		count;
	TimestampTz due;
	char		from;
	char		state;
	int			slot;
	bool		force;
	char	   *reason;
} Note;

static Note *notes = NULL;
static int	nnotes = 0;
static int	maxnotes = 0;

static void on_xact_end(XactEvent event, void *arg);
static void on_subxact_end(SubXactEvent event, SubTransactionId mySubid,
						   SubTransactionId parentSubid, void *arg);

/* taskq_note_init - once per process */
void
taskq_note_init(void)
{
	RegisterXactCallback(on_xact_end, NULL);
	RegisterSubXactCallback(on_subxact_end, NULL);
}

/* Room in the table of databases is made sure of now: the callback can't fail. */
static void
require_database(void)
{
	TaskqDb    *db;

	LWLockAcquire(taskq_main_lock, LW_EXCLUSIVE);
	db = taskq_db_enter(MyDatabaseId);
	LWLockRelease(taskq_main_lock);
	if (db == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("too many databases use taskq"),
				 errhint("Increase taskq.max_databases and restart the server.")));
}

static Note *
note_add(NoteType type, const TaskqLaneDef *lane)
{
	Note	   *note;

	if (nnotes == 0)
		require_database();
	if (notes == NULL)
	{
		maxnotes = 16;
		notes = MemoryContextAlloc(TopTransactionContext, maxnotes * sizeof(Note));
	}
	else if (nnotes == maxnotes)
	{
		maxnotes *= 2;
		notes = repalloc_huge(notes, maxnotes * sizeof(Note));
	}
	note = &notes[nnotes++];
	memset(note, 0, sizeof(Note));
	note->type = type;
	note->subid = GetCurrentSubTransactionId();
	if (lane != NULL)
	{
		note->lane = lane->id;
		note->role = lane->role_oid;
		note->priority = lane->priority;
	}
	return note;
}

/* Many calls of a transaction are few notes: one made just now for the same, or NULL. */
static Note *
note_recent(NoteType type, int32 lane)
{
	SubTransactionId subid = GetCurrentSubTransactionId();

	for (int i = nnotes - 1; i >= 0 && i >= nnotes - 8; i--)
	{
		if (notes[i].type == type && notes[i].subid == subid && notes[i].lane == lane)
			return &notes[i];
	}
	return NULL;
}

void
taskq_note_submitted(const TaskqLaneDef *lane, const pg_uuid_t *lowest, uint32 leaves, int64 count)
{
	Note	   *note = note_recent(NOTE_SUBMITTED, lane->id);

	if (note != NULL)
	{
		taskq_id_lower(&note->id, lowest);
		note->leaves |= leaves;
		note->count += count;
		return;
	}
	note = note_add(NOTE_SUBMITTED, lane);
	note->id = *lowest;
	note->leaves = leaves;
	note->count = count;
}

void
taskq_note_ready(const TaskqLaneDef *lane, const pg_uuid_t *id)
{
	note_add(NOTE_READY, lane)->id = *id;
}

void
taskq_note_due(TimestampTz due)
{
	Note	   *note = note_recent(NOTE_DUE, 0);

	if (note != NULL)
		note->due = Min(note->due, due);
	else
		note_add(NOTE_DUE, NULL)->due = due;
}

void
taskq_note_later(const TaskqLaneDef *lane, int64 count)
{
	Note	   *note = note_recent(NOTE_LATER, lane->id);

	if (note == NULL)
		note = note_add(NOTE_LATER, lane);
	note->count += count;
}

void
taskq_note_claimed(const TaskqLaneDef *lane)
{
	Note	   *note = note_recent(NOTE_CLAIMED, lane->id);

	if (note == NULL)
		note = note_add(NOTE_CLAIMED, lane);
	note->count++;
}

int64
taskq_note_pending(Oid role)
{
	int64		n = 0;

	for (int i = 0; i < nnotes; i++)
	{
		if ((notes[i].type == NOTE_SUBMITTED || notes[i].type == NOTE_LATER) && notes[i].role == role)
			n += notes[i].count;
	}
	return n;
}

void
taskq_note_touched(const TaskqLaneDef *lane, const pg_uuid_t *id)
{
	note_add(NOTE_TOUCHED, lane)->id = *id;
}

void
taskq_note_final(const TaskqLaneDef *lane, const pg_uuid_t *id, char from, char state)
{
	Note	   *note = note_add(NOTE_FINAL, lane);

	note->id = *id;
	note->from = from;
	note->state = state;
}

void
taskq_note_cancel(int slot, const pg_uuid_t *id, bool force, const char *reason)
{
	Note	   *note = note_add(NOTE_CANCEL, NULL);

	note->slot = slot;
	note->id = *id;
	note->force = force;
	note->reason = reason ? MemoryContextStrdup(TopTransactionContext, reason) : NULL;
}

void
taskq_note_wake(void)
{
	note_add(NOTE_WAKE, NULL);
}

void
taskq_note_rescan(void)
{
	note_add(NOTE_RESCAN, NULL);
}

void
taskq_note_dropped(void)
{
	note_add(NOTE_DROPPED, NULL);
}

void
taskq_note_unknown(void)
{
	TaskqDb    *db;

	LWLockAcquire(taskq_main_lock, LW_EXCLUSIVE);
	db = taskq_db_enter(MyDatabaseId);
	if (db != NULL)
	{
		taskq_lanes_rewind_all(MyDatabaseId);
		db->rescan = true;
		db->next_due = DT_NOBEGIN;
		taskq_wake_dispatcher(db);
	}
	LWLockRelease(taskq_main_lock);
	/* it may have cancelled what somebody waits for */
	taskq_event_wake_waiters();
}

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

/* Something of a lane became claimable: for workers here, or outside. */
static void
wake_for_lane(TaskqDb *db, Oid role)
{
	if (pg_atomic_read_u32(&taskq_shared->claimers) > 0)
		ConditionVariableBroadcast(&taskq_shared->claimable);
	taskq_lane_wake(db, role);
}

static void
apply_committed(TaskqDb *db, Note *note)
{
	TaskqLane  *lane;

	switch (note->type)
	{
		case NOTE_SUBMITTED:
			lane = taskq_lane_enter(db, note->lane, note->role, note->priority);
			if (lane != NULL)
				taskq_lane_rewind(lane, &note->id, note->leaves);
			taskq_lane_count(db->dbid, note->role, lane, note->count, 0);
			wake_for_lane(db, note->role);
			break;
		case NOTE_READY:
			lane = taskq_lane_enter(db, note->lane, note->role, note->priority);
			if (lane != NULL)
				taskq_lane_ready(lane, &note->id);
			wake_for_lane(db, note->role);
			break;
		case NOTE_CLAIMED:
			taskq_lane_count(db->dbid, note->role, taskq_lane_find(db->dbid, note->lane), -note->count, 0);
			break;
		case NOTE_LATER:
			lane = taskq_lane_enter(db, note->lane, note->role, note->priority);
			taskq_lane_count(db->dbid, note->role, lane, 0, note->count);
			break;
		case NOTE_DUE:
			if (note->due > db->next_due && db->next_due != DT_NOBEGIN)
				break;
			db->next_due = Min(db->next_due, note->due);
			if (db->dispatcher > 0)
				taskq_wake_dispatcher(db);
			else
				taskq_wake_launcher();
			break;
		case NOTE_FINAL:
			lane = taskq_lane_find(db->dbid, note->lane);
			if (note->from != TASKQ_LEASED)
				taskq_lane_count(db->dbid, note->role, lane, note->from == TASKQ_PENDING ? -1 : 0, note->from == TASKQ_PENDING ? 0 : -1);
			taskq_event_push(db, &note->id, note->state);
			break;
		case NOTE_CANCEL:
			taskq_cancel_deliver(db, note->slot, &note->id, note->force, note->reason);
			break;
		case NOTE_WAKE:
			pg_atomic_fetch_add_u64(&taskq_shared->definitions, 1);
			db->rescan |= db->left_out;
			db->left_out = false;
			wake_everyone(db);
			break;
		case NOTE_RESCAN:
			pg_atomic_fetch_add_u64(&taskq_shared->definitions, 1);
			db->resumed = true;
			taskq_guard_resume(db->dbid);
			/* forget the lanes: their roles may be others now */
			for (int i = 0; i < taskq_shared->nlanes; i++)
			{
				lane = &taskq_shared->lanes[i];
				if (lane->dbid == db->dbid && lane->running <= 0 && lane->scanner < 0)
					taskq_lane_forget(lane);
			}
			db->rescan = true;
			db->next_due = DT_NOBEGIN;
			taskq_wake_dispatcher(db);
			break;
		case NOTE_DROPPED:
			taskq_db_forget(db->dbid);
			break;
		case NOTE_TOUCHED:
			break;
	}
}

/* The row is free again and its task as claimable as before. */
static void
apply_aborted(TaskqDb *db, Note *note)
{
	TaskqLane  *lane;

	if (note->type != NOTE_TOUCHED)
		return;
	lane = taskq_lane_enter(db, note->lane, note->role, note->priority);
	if (lane != NULL)
		taskq_lane_rewind(lane, &note->id, taskq_leaf_bit(&note->id));
	wake_for_lane(db, note->role);
}

/* A signal can't be prepared: whoever commits would not send it. */
static void
refuse_prepared_cancel(void)
{
	for (int i = 0; i < nnotes; i++)
	{
		if (notes[i].type == NOTE_CANCEL)
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("cannot PREPARE a transaction that cancels a running task"),
					 errhint("Cancel the task in a transaction of its own.")));
	}
}

/* ---- prepared transactions ---- */

static uint64 preparing = 0;	/* hash of the name that PREPARE TRANSACTION gives */

static uint64
name_hash(const char *gid)
{
	return DatumGetUInt64(hash_any_extended((const unsigned char *) gid, strlen(gid), 0));
}

/* Forget a name; was it known?  Caller holds the main lock. */
static bool
forget_quiet(uint64 hash)
{
	for (int i = 0; i < taskq_shared->nquiet; i++)
	{
		if (taskq_shared->quiet[i] == hash)
		{
			taskq_shared->quiet[i] = taskq_shared->quiet[--taskq_shared->nquiet];
			return true;
		}
	}
	return false;
}

/* taskq_note_preparing - the transaction is to be prepared under this name */
void
taskq_note_preparing(const char *gid)
{
	preparing = name_hash(gid);
}

/* taskq_note_quiet - did the transaction of this name do nothing to tasks?  Forgets it */
bool
taskq_note_quiet(const char *gid)
{
	bool		quiet;

	LWLockAcquire(taskq_main_lock, LW_EXCLUSIVE);
	quiet = forget_quiet(name_hash(gid));
	LWLockRelease(taskq_main_lock);
	return quiet;
}

static void
on_prepared(void)
{
	LWLockAcquire(taskq_main_lock, LW_EXCLUSIVE);
	(void) forget_quiet(preparing);
	if (nnotes == 0 && taskq_shared->nquiet < TASKQ_QUIET)
		taskq_shared->quiet[taskq_shared->nquiet++] = preparing;
	LWLockRelease(taskq_main_lock);
}

#define PORTION 500				/* notes applied while others wait for the main lock */
#define PAUSE_US 50

/*
 * Apply these notes.
 *
 * In portions: between two of them others get the main lock.  Each note leaves shared
 * memory true by itself, since what it tells is visible to everybody already, and
 * nothing interrupts us before the last one is applied: who looks in between finds what
 * is noted so far, and is woken for the rest.
 */
static void
apply_notes(int from, int until, bool committed)
{
	while (from < until)
	{
		int			end = Min(from + PORTION, until);
		TaskqDb    *db;

		LWLockAcquire(taskq_main_lock, LW_EXCLUSIVE);
		/* the entry was made sure of, but an idle database's may be dropped again */
		db = taskq_db_enter(MyDatabaseId);
		for (; from < end && db != NULL; from++)
		{
			if (committed)
				apply_committed(db, &notes[from]);
			else
				apply_aborted(db, &notes[from]);
		}
		LWLockRelease(taskq_main_lock);
		if (db == NULL)
			return;
		/* who waits is only woken now, and would find that we have the lock again */
		if (from < until)
			pg_usleep(PAUSE_US);
	}
}

static void
on_xact_end(XactEvent event, void *arg)
{
	if (event == XACT_EVENT_PRE_PREPARE)
		refuse_prepared_cancel();
	if (event != XACT_EVENT_COMMIT && event != XACT_EVENT_ABORT && event != XACT_EVENT_PREPARE)
		return;
	if (event != XACT_EVENT_PREPARE)
		apply_notes(0, nnotes, event == XACT_EVENT_COMMIT);
	if (event == XACT_EVENT_PREPARE)
		on_prepared();
	notes = NULL;
	nnotes = 0;
}

static void
on_subxact_end(SubXactEvent event, SubTransactionId mySubid,
			   SubTransactionId parentSubid, void *arg)
{
	int			first = nnotes;

	if (nnotes == 0 || (event != SUBXACT_EVENT_ABORT_SUB && event != SUBXACT_EVENT_COMMIT_SUB))
		return;
	/* its notes are the last ones: those of its own children carry its name by now */
	if (event == SUBXACT_EVENT_COMMIT_SUB)
	{
		for (int i = nnotes - 1; i >= 0 && notes[i].subid == mySubid; i--)
			notes[i].subid = parentSubid;
		return;
	}
	while (first > 0 && notes[first - 1].subid == mySubid)
		first--;
	apply_notes(first, nnotes, false);
	nnotes = first;
}
