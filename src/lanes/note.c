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
 * The notes of a prepared transaction are kept in shared memory, those of
 * each lane together.  When it ends (see utility.c), whichever session does
 * that, they are applied.  After a restart of the server nothing is known of
 * it: then the lanes are looked through from where they were saved last.
 *
 * What a transaction has in hand is also a bound for what may be saved
 * (lane.c): the least id that it can have made, or has locked the row of.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/twophase.h"
#include "access/xact.h"
#include "base/compat.h"
#include "base/guard.h"
#include "base/shmem.h"
#include "lanes/cancels.h"
#include "lanes/claim.h"
#include "lanes/event.h"
#include "lanes/keys.h"
#include "lanes/lane.h"
#include "lanes/counts.h"
#include "lanes/note.h"
#include "lanes/outside.h"
#include "lanes/place.h"
#include "lanes/waiting.h"
#include "miscadmin.h"
#include "store/ready.h"
#include "store/rights.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

typedef enum NoteType
{
	NOTE_SUBMITTED,
	NOTE_READY,
	NOTE_DUE,
	NOTE_SCHEDULE,
	NOTE_LATER,
	NOTE_CLAIMED,
	NOTE_LEASED,
	NOTE_UNLEASED,
	NOTE_OUTSIDE,
	NOTE_RESERVED,
	NOTE_TOUCHED,
	NOTE_MOVED,
	NOTE_FINAL,
	NOTE_AWAITED,
	NOTE_RETRIED,
	NOTE_LOOK,
	NOTE_CANCEL,
	NOTE_KEY_TAKEN,
	NOTE_KEY_FREED,
	NOTE_KEY_LIMIT,
	NOTE_WAKE,
	NOTE_PAUSE,
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
	int64		tenant;
	pg_uuid_t	id;
	pg_uuid_t	retry;
	uint32		leaves;
	int64		count;
	int			leases;
	bool		waited;
	TimestampTz due;
	char		from;
	char		state;
	int			slot;
	bool		force;
	char	   *reason;
	TaskqKeyLimit limit;
	TaskqPlace *place;
	char	   *name;
	int64		key;
} Note;

static Note *notes = NULL;
static int	nnotes = 0;
static int	maxnotes = 0;

static bool bounded = false;	/* a bound of this transaction is in shared
								 * memory */
static bool submitting = false; /* ... which holds for the ids that it makes */
static bool behind = false;		/* ... and is not above what has been saved */
static bool ending = false;		/* the transaction is at its end, not a
								 * subtransaction */
static bool unsure = false;		/* ... or may not be: what has been saved is
								 * to be read */

static void apply_notes(int from, int until, bool committed);
static void on_xact_end(XactEvent event, void *arg);
static void on_subxact_end(SubXactEvent event, SubTransactionId mySubid,
						   SubTransactionId parentSubid, void *arg);

/* What somebody does to the tables by hand may be what others wait for. */
static void
note_dml(void)
{
	if (taskq_shared != NULL)
		taskq_note_look();
}

/* taskq_note_init - once per process */
void
taskq_note_init(void)
{
	taskq_on_dml = note_dml;
	RegisterXactCallback(on_xact_end, NULL);
	RegisterSubXactCallback(on_subxact_end, NULL);
}

/* The bound of this process's transaction; the main lock guards it. */
static pg_uuid_t *
my_bound(void)
{
	return &taskq_shared->bounds[taskq_my_procno()];
}

/*
 * Let nothing be saved beyond this id before the transaction ends; caller
 * holds the main lock.
 */
static void
announce_bound(const pg_uuid_t *id)
{
	if (bounded)
		taskq_id_lower(my_bound(), id);
	else
		*my_bound() = *id;
	bounded = true;
}

/* The same, for a task that is there already. */
static void
hold_back(const pg_uuid_t *id)
{
	if (bounded && taskq_id_cmp(my_bound(), id) <= 0)
		return;
	LWLockAcquire(taskq_main_lock, LW_EXCLUSIVE);
	announce_bound(id);
	LWLockRelease(taskq_main_lock);
}

/* ... and now it is at its end. */
static void
forget_bound(void)
{
	TaskqDb    *db = bounded ? taskq_db_find(MyDatabaseId) : NULL;

	if (bounded)
		memset(my_bound(), 0, sizeof(pg_uuid_t));
	if (db != NULL && db->held)
	{
		db->held = false;
		taskq_wake_dispatcher(db);
	}
	bounded = submitting = behind = unsure = false;
}

static void
no_room(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
			 errmsg("too many databases use taskq"),
			 errhint("Increase taskq.max_databases and restart the server.")));
}

/*
 * Room in the table of databases is made sure of now: the callback can't
 * fail.
 */
static void
require_database(void)
{
	TaskqDb    *db;

	if (submitting)
		return;
	LWLockAcquire(taskq_main_lock, LW_EXCLUSIVE);
	db = taskq_db_enter(MyDatabaseId);
	LWLockRelease(taskq_main_lock);
	if (db == NULL)
		no_room();
}

/*
 * Announce that this transaction makes ids, and see whether they come too
 * late.
 */
static void
begin_submitting(void)
{
	TaskqDb    *db;

	LWLockAcquire(taskq_main_lock, LW_EXCLUSIVE);
	db = taskq_db_enter(MyDatabaseId);
	if (db != NULL)
	{
		pg_uuid_t	bound;

		taskq_id_bound(&bound);
		announce_bound(&bound);
		submitting = true;
		unsure = !db->loaded;
		behind = db->loaded && taskq_id_cmp(&bound, &db->floor) <= 0;
	}
	LWLockRelease(taskq_main_lock);
	if (db == NULL)
		no_room();
}

/*
 * taskq_note_submitting - tasks are to be submitted to a lane; called before
 * their ids are made
 *
 * True if the ids may be less than what has been saved, so that the tasks
 * need rows in table "ready".  Before the database is loaded nothing is
 * saved, so the table tells; after that nothing is saved beyond the bound
 * announced here.
 */
bool
taskq_note_submitting(int32 lane)
{
	pg_uuid_t	saved;

	if (!submitting)
		begin_submitting();
	if (!unsure)
		return behind;
	return taskq_watermark_read(lane, &saved) &&
		taskq_id_cmp(my_bound(), &saved) <= 0;
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
		notes = MemoryContextAlloc(TopTransactionContext,
								   maxnotes * sizeof(Note));
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
		note->tenant = lane->tenant;
	}
	return note;
}

/*
 * Many calls of a transaction are few notes: one made just now for the same,
 * or NULL.
 */
static Note *
note_recent(NoteType type, int32 lane)
{
	SubTransactionId subid = GetCurrentSubTransactionId();

	for (int i = nnotes - 1; i >= 0 && i >= nnotes - 8; i--)
	{
		if (notes[i].type == type && notes[i].subid == subid &&
			notes[i].lane == lane)
			return &notes[i];
	}
	return NULL;
}

void
taskq_note_submitted(const TaskqLaneDef *lane, const pg_uuid_t *lowest,
					 uint32 leaves, int64 count)
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
taskq_note_ready(const TaskqLaneDef *lane, TimestampTz due,
				 const pg_uuid_t *id, int64 count, bool waited)
{
	Note	   *note = note_recent(NOTE_READY, lane->id);

	if (note == NULL || note->waited != waited)
	{
		note = note_add(NOTE_READY, lane);
		note->due = DT_NOEND;
		note->waited = waited;
	}
	if (due < note->due ||
		(due == note->due && taskq_id_cmp(id, &note->id) < 0))
	{
		note->due = due;
		note->id = *id;
	}
	note->count += count;
}

void
taskq_note_due(TimestampTz due)
{
	Note	   *note;

	if (due == DT_NOEND)
		return;
	note = note_recent(NOTE_DUE, 0);

	if (note != NULL)
		note->due = Min(note->due, due);
	else
		note_add(NOTE_DUE, NULL)->due = due;
}

void
taskq_note_schedule(TimestampTz look_at)
{
	Note	   *note = note_recent(NOTE_SCHEDULE, 0);

	if (note != NULL)
		note->due = Min(note->due, look_at);
	else
		note_add(NOTE_SCHEDULE, NULL)->due = look_at;
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

/* A note of leases, or a recent one of the same. */
static Note *
note_leases(NoteType type, const TaskqPlace *place)
{
	Note	   *note = note_recent(type, 0);

	if (note != NULL &&
		memcmp(note->place, place, sizeof(TaskqPlace)) == 0)
		return note;
	note = note_add(type, NULL);
	note->place = MemoryContextAlloc(TopTransactionContext,
									 sizeof(TaskqPlace));
	*note->place = *place;
	return note;
}

int
taskq_note_leased(const TaskqPlace *place)
{
	return note_leases(NOTE_LEASED, place) - notes;
}

int *
taskq_note_leases(int note)
{
	return &notes[note].leases;
}

/* Who waits, and finds nothing again and again, makes no note each time. */
void
taskq_note_leased_none(int note)
{
	if (note != nnotes - 1 || notes[note].leases != 0)
		return;
	pfree(notes[note].place);
	nnotes--;
}

void
taskq_note_unleased(const TaskqPlace *place)
{
	note_leases(NOTE_UNLEASED, place)->leases++;
}

void
taskq_note_outside(Oid role, const char *name, bool completed, int64 us)
{
	char		state = completed ? TASKQ_COMPLETED : TASKQ_FAILED;
	Note	   *note = note_recent(NOTE_OUTSIDE, 0);

	if (note == NULL || note->state != state || note->role != role ||
		strcmp(note->name, name) != 0)
	{
		note = note_add(NOTE_OUTSIDE, NULL);
		note->state = state;
		note->role = role;
		note->name = MemoryContextStrdup(TopTransactionContext, name);
	}
	note->slot++;
	note->count += Max(us, 0);
}

void
taskq_note_reserved(const char *queue, int n)
{
	Note	   *note = note_add(NOTE_RESERVED, NULL);

	note->count = n;
	note->place = MemoryContextAllocZero(TopTransactionContext,
										 sizeof(TaskqPlace));
	namestrcpy(&note->place->queue, queue);
}

static int64
pending_of(const Note *note)
{
	if (note->type == NOTE_SUBMITTED || note->type == NOTE_LATER ||
		(note->type == NOTE_READY && !note->waited))
		return note->count;
	return 0;
}

int64
taskq_note_pending(Oid role)
{
	int64		n = 0;

	for (int i = 0; i < nnotes; i++)
		n += notes[i].role == role ? pending_of(&notes[i]) : 0;
	return n;
}

int64
taskq_note_pending_of(Oid role, int64 tenant)
{
	int64		n = 0;

	for (int i = 0; i < nnotes; i++)
	{
		if (notes[i].role == role && notes[i].tenant == tenant)
			n += pending_of(&notes[i]);
	}
	return n;
}

void
taskq_note_touched(const TaskqLaneDef *lane, const pg_uuid_t *id)
{
	note_add(NOTE_TOUCHED, lane)->id = *id;
	/* others may pass over it as long as its row is locked */
	hold_back(id);
}

void
taskq_note_moved(int32 lane, const pg_uuid_t *id)
{
	Note	   *note = note_recent(NOTE_MOVED, lane);

	if (note == NULL)
	{
		note = note_add(NOTE_MOVED, NULL);
		note->lane = lane;
		note->id = *id;
	}
	taskq_id_lower(&note->id, id);
	/* a scan may miss it between the commit and the callback */
	hold_back(id);
}

void
taskq_note_final(const TaskqLaneDef *lane, const pg_uuid_t *id, char from,
				 char state)
{
	Note	   *note = note_add(NOTE_FINAL, lane);

	note->id = *id;
	note->from = from;
	note->state = state;
}

void
taskq_note_awaited(const pg_uuid_t *id)
{
	SubTransactionId subid = GetCurrentSubTransactionId();

	/* many wait for the same one, or few */
	for (int i = nnotes - 1; i >= 0 && i >= nnotes - 8; i--)
	{
		if (notes[i].type == NOTE_AWAITED && notes[i].subid == subid &&
			taskq_id_eq(&notes[i].id, id))
			return;
	}
	note_add(NOTE_AWAITED, NULL)->id = *id;
}

void
taskq_note_retried(const pg_uuid_t *id, const pg_uuid_t *retry)
{
	Note	   *note = note_add(NOTE_RETRIED, NULL);

	note->id = *id;
	note->retry = *retry;
}

void
taskq_note_look(void)
{
	if (note_recent(NOTE_LOOK, 0) == NULL)
		note_add(NOTE_LOOK, NULL);
}

void
taskq_note_cancel(const TaskqLaneDef *lane, int slot, const pg_uuid_t *id,
				  bool force, const char *reason)
{
	Note	   *note = note_add(NOTE_CANCEL, lane);

	note->slot = slot;
	note->id = *id;
	note->force = force;
	note->reason = reason ? MemoryContextStrdup(TopTransactionContext, reason)
		: NULL;
}

static TaskqKey
note_key(const Note *note)
{
	return (TaskqKey)
	{
		.dbid = MyDatabaseId,.role = note->role,.number = note->key
	};
}

bool
taskq_note_key_taken(const TaskqLaneDef *lane, int64 number,
					 TaskqKeyLimit limit)
{
	Note	   *note = note_add(NOTE_KEY_TAKEN, lane);
	TaskqKey	key;
	bool		taken;

	note->key = number;
	note->limit = limit;
	key = note_key(note);
	LWLockAcquire(taskq_main_lock, LW_EXCLUSIVE);
	taken = taskq_key_take(&key, limit, true);
	LWLockRelease(taskq_main_lock);
	if (!taken)
		nnotes--;
	return taken;
}

void
taskq_note_key_undo(void)
{
	Assert(nnotes > 0 && notes[nnotes - 1].type == NOTE_KEY_TAKEN);
	apply_notes(nnotes - 1, nnotes, false);
	nnotes--;
}

void
taskq_note_key_freed(const TaskqLaneDef *lane, int64 number,
					 TaskqKeyLimit limit)
{
	Note	   *note = note_add(NOTE_KEY_FREED, lane);

	note->key = number;
	note->limit = limit;
}

void
taskq_note_key_limit(TaskqKeyLimit limit)
{
	note_add(NOTE_KEY_LIMIT, NULL)->limit = limit;
}

void
taskq_note_wake(void)
{
	note_add(NOTE_WAKE, NULL);
}

void
taskq_note_pause(void)
{
	note_add(NOTE_PAUSE, NULL);
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
	taskq_counts_dropped();
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

/*
 * Something of a lane (or NULL) became claimable: for workers here, or
 * outside.  Nobody is called to one that is held: who makes room does that.
 */
static void
wake_for_lane(TaskqDb *db, const TaskqLane *lane, Oid role)
{
	if (lane != NULL && lane->held != 0)
		return;
	taskq_claimable_wake();
	taskq_lane_wake(db, role);
}

/* The entry of a note's lane, or NULL if there is no room for it. */
static TaskqLane *
note_lane(TaskqDb *db, const Note *note)
{
	TaskqLane  *lane = taskq_lane_enter(db, note->lane, note->role,
										note->priority);

	if (lane != NULL)
		lane->tenant = note->tenant;
	return lane;
}

/* A timer, or a schedule, is due at this time; *next is when the next one is. */
static void
due_at(TaskqDb *db, TimestampTz *next, TimestampTz due)
{
	if (due > *next && *next != DT_NOBEGIN)
		return;
	*next = Min(*next, due);
	if (db->dispatcher > 0)
		taskq_wake_dispatcher(db);
	else
		taskq_wake_launcher();
}

/* What one note of a committed transaction does, by its type. */

static void
apply_submitted(TaskqDb *db, const Note *note)
{
	TaskqLane  *lane = note_lane(db, note);

	if (lane != NULL)
		taskq_lane_submitted(lane, &note->id, note->leaves);
	taskq_lane_count(db->dbid, note->role, lane, note->count, 0);
	wake_for_lane(db, lane, note->role);
}

static void
apply_ready(TaskqDb *db, const Note *note)
{
	TaskqLane  *lane = note_lane(db, note);
	TaskqDue	due = {.due = note->due,.id = note->id};

	if (lane != NULL)
		taskq_lane_ready(lane, &due);
	taskq_lane_count(db->dbid, note->role, lane, note->count,
					 note->waited ? -note->count : 0);
	wake_for_lane(db, lane, note->role);
}

static void
apply_claimed(TaskqDb *db, const Note *note)
{
	taskq_lane_count(db->dbid, note->role,
					 taskq_lane_find(db->dbid, note->lane), -note->count, 0);
}

static void
apply_unleased(TaskqDb *db, const Note *note)
{
	taskq_place_unlease(db, note->place, note->leases, true);
}

static void
apply_reserved(TaskqDb *db, const Note *note)
{
	taskq_place_reserve(db->dbid, NameStr(note->place->queue),
						(int) note->count);
}

static void
apply_later(TaskqDb *db, const Note *note)
{
	taskq_lane_count(db->dbid, note->role, note_lane(db, note), 0,
					 note->count);
}

static void
apply_due(TaskqDb *db, const Note *note)
{
	due_at(db, &db->next_due, note->due);
}

static void
apply_schedule(TaskqDb *db, const Note *note)
{
	due_at(db, &db->next_schedule, note->due);
}

static void
apply_final(TaskqDb *db, const Note *note)
{
	TaskqLane  *lane = taskq_lane_find(db->dbid, note->lane);
	bool		pending = note->from == TASKQ_PENDING;

	if (note->from != TASKQ_LEASED)
		taskq_lane_count(db->dbid, note->role, lane, pending ? -1 : 0,
						 pending ? 0 : -1);
	taskq_event_push(db, &note->id, note->state);
}

static void
apply_cancel(TaskqDb *db, const Note *note)
{
	taskq_cancel_deliver(db, note->slot, &note->id, note->role, note->force,
						 note->reason);
}

/* Whoever waits for the key looks again. */
static void
apply_key_freed(TaskqDb *db, const Note *note)
{
	TaskqKey	key = note_key(note);

	if (taskq_key_release(&key, note->limit.kind, 0))
		taskq_lane_wake(db, note->role);
}

static void
apply_outside(TaskqDb *db, const Note *note)
{
	taskq_outside_ended(note->role, note->name,
						note->state == TASKQ_COMPLETED, note->slot,
						note->count);
}

static void
apply_key_limit(TaskqDb *db, const Note *note)
{
	taskq_keys_limit(db->dbid, note->limit);
}

static void
apply_wake(TaskqDb *db, const Note *note)
{
	pg_atomic_fetch_add_u64(&taskq_shared->definitions, 1);
	db->rescan |= db->left_out;
	db->left_out = false;
	taskq_places_open(db);
	wake_everyone(db);
}

/* First the number: who reserves after that asks again what is open. */
static void
apply_pause(TaskqDb *db, const Note *note)
{
	pg_atomic_fetch_add_u64(&taskq_shared->definitions, 1);
	taskq_claim_recall(db->dbid);
}

/* Lanes are forgotten: their roles may be others now. */
static void
apply_rescan(TaskqDb *db, const Note *note)
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
apply_dropped(TaskqDb *db, const Note *note)
{
	taskq_db_forget(db->dbid);
}

static void
apply_moved(TaskqDb *db, const Note *note)
{
	TaskqLane  *lane = taskq_lane_find(db->dbid, note->lane);

	if (lane == NULL)
		return;
	taskq_lane_rewind(lane, &note->id, 1u << TASKQ_KEEP);
	wake_for_lane(db, lane, lane->role);
}

/* It may have ended just before: then nobody knew that it was awaited. */
static void
apply_awaited(TaskqDb *db, const Note *note)
{
	taskq_waiting_expect(db, &note->id);
	taskq_waiting_check(db, &note->id);
}

/*
 * Who submits a task that waits for the failed one, and is not seen yet, puts
 * that on the list.
 */
static void
apply_retried(TaskqDb *db, const Note *note)
{
	if (!taskq_waiting_maybe(db, &note->id))
		return;
	taskq_waiting_expect(db, &note->retry);
	taskq_waiting_check(db, &note->retry);
}

static void
apply_look(TaskqDb *db, const Note *note)
{
	taskq_waiting_look(db);
}

static void
apply_nothing(TaskqDb *db, const Note *note)
{
}

static void (*const apply_committed[]) (TaskqDb *db, const Note *note) =
{
	[NOTE_SUBMITTED] = apply_submitted,
		[NOTE_READY] = apply_ready,
		[NOTE_CLAIMED] = apply_claimed,
		[NOTE_LEASED] = apply_nothing,
		[NOTE_UNLEASED] = apply_unleased,
		[NOTE_OUTSIDE] = apply_outside,
		[NOTE_RESERVED] = apply_reserved,
		[NOTE_LATER] = apply_later,
		[NOTE_DUE] = apply_due,
		[NOTE_SCHEDULE] = apply_schedule,
		[NOTE_TOUCHED] = apply_nothing,
		[NOTE_MOVED] = apply_moved,
		[NOTE_FINAL] = apply_final,
		[NOTE_AWAITED] = apply_awaited,
		[NOTE_RETRIED] = apply_retried,
		[NOTE_LOOK] = apply_look,
		[NOTE_CANCEL] = apply_cancel,
		[NOTE_KEY_TAKEN] = apply_nothing,
		[NOTE_KEY_FREED] = apply_key_freed,
		[NOTE_KEY_LIMIT] = apply_key_limit,
		[NOTE_WAKE] = apply_wake,
		[NOTE_PAUSE] = apply_pause,
		[NOTE_RESCAN] = apply_rescan,
		[NOTE_DROPPED] = apply_dropped,
};

/* The row is free again and its task as claimable as before. */
static void
apply_aborted(TaskqDb *db, Note *note)
{
	TaskqLane  *lane;

	if (note->type == NOTE_LEASED)
		taskq_place_unlease(db, note->place, note->leases, false);
	if (note->type == NOTE_KEY_TAKEN)
		apply_key_freed(db, note);
	if (note->type != NOTE_TOUCHED)
		return;
	lane = note_lane(db, note);
	if (lane != NULL)
		taskq_lane_rewind(lane, &note->id, taskq_leaf_bit(&note->id));
	wake_for_lane(db, lane, note->role);
}

/*
 * What can't be prepared: a signal, which whoever commits would not send; and
 * claims, which are counted as what a session has under way.
 */
static void
refuse_prepare(void)
{
	for (int i = 0; i < nnotes; i++)
	{
		if (notes[i].type == NOTE_CANCEL)
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

/* ---- prepared transactions ---- */

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
prepared_lane(TaskqPrepared *prepared, const Note *note)
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
prepared_add(TaskqPrepared *prepared, const Note *note)
{
	TaskqPreparedLane *lane;

	switch (note->type)
	{
		case NOTE_DUE:
			prepared->due = Min(prepared->due, note->due);
			break;
		case NOTE_SUBMITTED:
		case NOTE_READY:
		case NOTE_TOUCHED:
			lane = prepared_lane(prepared, note);
			if (lane == NULL)
				break;
			lane->ready |= note->type != NOTE_SUBMITTED;
			lane->touched |= note->type == NOTE_TOUCHED;
			lane->count += note->count;
			if (note->type == NOTE_READY)
				break;
			taskq_id_lower(&lane->lowest, &note->id);
			lane->leaves |= note->type == NOTE_SUBMITTED
				? note->leaves
				: taskq_leaf_bit(&note->id);
			break;
		case NOTE_AWAITED:
		case NOTE_RETRIED:
		case NOTE_LOOK:
		case NOTE_FINAL:
			prepared->look = true;
			break;
		case NOTE_KEY_LIMIT:
		case NOTE_WAKE:
		case NOTE_PAUSE:
		case NOTE_RESCAN:
		case NOTE_DROPPED:
		case NOTE_SCHEDULE:
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
 * Keep what the transaction did; caller holds the main lock.  Its bound goes
 * over in the same step.  If there is no room, it is as one from before the
 * server's start: nobody saves anything as long as it is there (save.c).
 */
static void
on_prepared(void)
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
	prepared->noted = nnotes > 0;
	if (bounded)
		prepared->bound = *my_bound();
	for (int i = 0; i < nnotes; i++)
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
 * seen until the lanes have been rewound.
 */
void
taskq_note_ending(const char *gid)
{
	pg_uuid_t	lowest;

	taskq_id_lowest(&lowest);
	LWLockAcquire(taskq_main_lock, LW_EXCLUSIVE);
	if (prepared_find(gid) == NULL)
		announce_bound(&lowest);
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
		lane = taskq_lane_enter(db, share->lane, share->role, share->priority);
		if (lane != NULL)
			lane->tenant = share->tenant;
		taskq_due_first(&first);
		if (lane != NULL && share->leaves != 0)
			taskq_lane_submitted(lane, &share->lowest, share->leaves);
		if (lane != NULL && share->ready)
			taskq_lane_ready(lane, &first);
		if (committed)
			taskq_lane_count(db->dbid, share->role, lane, share->count, 0);
		wake_for_lane(db, lane, share->role);
	}
	if (committed && prepared->due != DT_NOEND)
		due_at(db, &db->next_due, prepared->due);
	if (committed && prepared->look)
		taskq_waiting_look(db);
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

#define PORTION 5000			/* notes applied while others wait for the
								 * main lock */
#define PAUSE_US 50

/*
 * Apply these notes.
 *
 * In portions: between two of them others get the main lock.  Each note
 * leaves shared memory true by itself, since what it tells is visible to
 * everybody already, and nothing interrupts us before the last one is
 * applied: who looks in between finds what is noted so far, and is woken for
 * the rest.  The transaction's bound stays until the last one is applied:
 * from then on the lanes themselves tell what may be saved.
 */
static void
apply_notes(int from, int until, bool committed)
{
	while (from < until)
	{
		int			end = Min(from + PORTION, until);
		TaskqDb    *db;

		LWLockAcquire(taskq_main_lock, LW_EXCLUSIVE);

		/*
		 * the entry was made sure of, but an idle database's may be dropped
		 * again
		 */
		db = taskq_db_enter(MyDatabaseId);
		for (; from < end && db != NULL; from++)
		{
			if (committed)
				apply_committed[notes[from].type] (db, &notes[from]);
			else
				apply_aborted(db, &notes[from]);
		}
		if (ending && from == until)
			forget_bound();
		LWLockRelease(taskq_main_lock);
		if (db == NULL)
			return;

		/*
		 * who waits is only woken now, and would find that we have the lock
		 * again
		 */
		if (from < until)
			pg_usleep(PAUSE_US);
	}
}

static void
on_xact_end(XactEvent event, void *arg)
{
	if (event == XACT_EVENT_PRE_PREPARE)
		refuse_prepare();
	if (event != XACT_EVENT_COMMIT && event != XACT_EVENT_ABORT &&
		event != XACT_EVENT_PREPARE)
		return;
	ending = true;
	if (event != XACT_EVENT_PREPARE)
		apply_notes(0, nnotes, event == XACT_EVENT_COMMIT);
	ending = false;
	if (bounded || event == XACT_EVENT_PREPARE)
	{
		LWLockAcquire(taskq_main_lock, LW_EXCLUSIVE);
		if (event == XACT_EVENT_PREPARE)
			on_prepared();
		forget_bound();
		LWLockRelease(taskq_main_lock);
	}
	notes = NULL;
	nnotes = 0;
}

static void
on_subxact_end(SubXactEvent event, SubTransactionId mySubid,
			   SubTransactionId parentSubid, void *arg)
{
	int			first = nnotes;

	if (nnotes == 0 || (event != SUBXACT_EVENT_ABORT_SUB &&
						event != SUBXACT_EVENT_COMMIT_SUB))
		return;

	/*
	 * its notes are the last ones: those of its own children carry its name
	 * by now
	 */
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
