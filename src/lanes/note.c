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
 * What a note does when it is applied is in note_apply.c, and what becomes of
 * those of a prepared transaction in note_prepared.c.
 *
 * What a transaction has in hand is also a bound for what may be saved
 * (lane.c): the least id that it can have made, or has locked the row of.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "base/compat.h"
#include "base/shmem.h"
#include "lanes/keys.h"
#include "lanes/note.h"
#include "lanes/note_inside.h"
#include "miscadmin.h"
#include "store/ready.h"
#include "store/rights.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

static TaskqNote *notes = NULL;
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
 * taskq_note_bound - let nothing be saved beyond this id before the
 * transaction ends
 *
 * Caller holds the main lock exclusively.
 */
void
taskq_note_bound(const pg_uuid_t *id)
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
	taskq_note_bound(id);
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
		taskq_note_bound(&bound);
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

static TaskqNote *
note_add(TaskqNoteType type, const TaskqLaneDef *lane)
{
	TaskqNote  *note;

	if (nnotes == 0)
		require_database();
	if (notes == NULL)
	{
		maxnotes = 16;
		notes = MemoryContextAlloc(TopTransactionContext,
								   maxnotes * sizeof(TaskqNote));
	}
	else if (nnotes == maxnotes)
	{
		maxnotes *= 2;
		notes = repalloc_huge(notes, maxnotes * sizeof(TaskqNote));
	}
	note = &notes[nnotes++];
	memset(note, 0, sizeof(TaskqNote));
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
static TaskqNote *
note_recent(TaskqNoteType type, int32 lane)
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
	TaskqNote  *note = note_recent(TASKQ_NOTE_SUBMITTED, lane->id);

	if (note != NULL)
	{
		taskq_id_lower(&note->id, lowest);
		note->leaves |= leaves;
		note->count += count;
		return;
	}
	note = note_add(TASKQ_NOTE_SUBMITTED, lane);
	note->id = *lowest;
	note->leaves = leaves;
	note->count = count;
}

void
taskq_note_ready(const TaskqLaneDef *lane, TimestampTz due,
				 const pg_uuid_t *id, int64 count, bool waited)
{
	TaskqNote  *note = note_recent(TASKQ_NOTE_READY, lane->id);

	if (note == NULL || note->waited != waited)
	{
		note = note_add(TASKQ_NOTE_READY, lane);
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
	TaskqNote  *note;

	if (due == DT_NOEND)
		return;
	note = note_recent(TASKQ_NOTE_DUE, 0);

	if (note != NULL)
		note->due = Min(note->due, due);
	else
		note_add(TASKQ_NOTE_DUE, NULL)->due = due;
}

void
taskq_note_schedule(TimestampTz look_at)
{
	TaskqNote  *note = note_recent(TASKQ_NOTE_SCHEDULE, 0);

	if (note != NULL)
		note->due = Min(note->due, look_at);
	else
		note_add(TASKQ_NOTE_SCHEDULE, NULL)->due = look_at;
}

void
taskq_note_later(const TaskqLaneDef *lane, int64 count)
{
	TaskqNote  *note = note_recent(TASKQ_NOTE_LATER, lane->id);

	if (note == NULL)
		note = note_add(TASKQ_NOTE_LATER, lane);
	note->count += count;
}

void
taskq_note_claimed(const TaskqLaneDef *lane)
{
	TaskqNote  *note = note_recent(TASKQ_NOTE_CLAIMED, lane->id);

	if (note == NULL)
		note = note_add(TASKQ_NOTE_CLAIMED, lane);
	note->count++;
}

/* A note of leases, or a recent one of the same. */
static TaskqNote *
note_leases(TaskqNoteType type, const TaskqPlace *place)
{
	TaskqNote  *note = note_recent(type, 0);

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
	return note_leases(TASKQ_NOTE_LEASED, place) - notes;
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
	note_leases(TASKQ_NOTE_UNLEASED, place)->leases++;
}

void
taskq_note_outside(Oid role, const char *name, bool completed, int64 us)
{
	char		state = completed ? TASKQ_COMPLETED : TASKQ_FAILED;
	TaskqNote  *note = note_recent(TASKQ_NOTE_OUTSIDE, 0);

	if (note == NULL || note->state != state || note->role != role ||
		strcmp(note->name, name) != 0)
	{
		note = note_add(TASKQ_NOTE_OUTSIDE, NULL);
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
	TaskqNote  *note = note_add(TASKQ_NOTE_RESERVED, NULL);

	note->count = n;
	note->place = MemoryContextAllocZero(TopTransactionContext,
										 sizeof(TaskqPlace));
	namestrcpy(&note->place->queue, queue);
}

static int64
pending_of(const TaskqNote *note)
{
	if (note->type == TASKQ_NOTE_SUBMITTED || note->type == TASKQ_NOTE_LATER ||
		(note->type == TASKQ_NOTE_READY && !note->waited))
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
	note_add(TASKQ_NOTE_TOUCHED, lane)->id = *id;
	/* others may pass over it as long as its row is locked */
	hold_back(id);
}

void
taskq_note_moved(int32 lane, const pg_uuid_t *id)
{
	TaskqNote  *note = note_recent(TASKQ_NOTE_MOVED, lane);

	if (note == NULL)
	{
		note = note_add(TASKQ_NOTE_MOVED, NULL);
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
	TaskqNote  *note = note_add(TASKQ_NOTE_FINAL, lane);

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
		if (notes[i].type == TASKQ_NOTE_AWAITED && notes[i].subid == subid &&
			taskq_id_eq(&notes[i].id, id))
			return;
	}
	note_add(TASKQ_NOTE_AWAITED, NULL)->id = *id;
}

void
taskq_note_retried(const pg_uuid_t *id, const pg_uuid_t *retry)
{
	TaskqNote  *note = note_add(TASKQ_NOTE_RETRIED, NULL);

	note->id = *id;
	note->retry = *retry;
}

void
taskq_note_look(void)
{
	if (note_recent(TASKQ_NOTE_LOOK, 0) == NULL)
		note_add(TASKQ_NOTE_LOOK, NULL);
}

void
taskq_note_cancel(const TaskqLaneDef *lane, int slot, const pg_uuid_t *id,
				  bool force, const char *reason)
{
	TaskqNote  *note = note_add(TASKQ_NOTE_CANCEL, lane);

	note->slot = slot;
	note->id = *id;
	note->force = force;
	note->reason = reason ? MemoryContextStrdup(TopTransactionContext, reason)
		: NULL;
}

bool
taskq_note_key_taken(const TaskqLaneDef *lane, int64 number,
					 TaskqKeyLimit limit)
{
	TaskqNote  *note = note_add(TASKQ_NOTE_KEY_TAKEN, lane);
	TaskqKey	key;
	bool		taken;

	note->key = number;
	note->limit = limit;
	key = taskq_note_key(note);
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
	Assert(nnotes > 0 && notes[nnotes - 1].type == TASKQ_NOTE_KEY_TAKEN);
	apply_notes(nnotes - 1, nnotes, false);
	nnotes--;
}

void
taskq_note_key_freed(const TaskqLaneDef *lane, int64 number,
					 TaskqKeyLimit limit)
{
	TaskqNote  *note = note_add(TASKQ_NOTE_KEY_FREED, lane);

	note->key = number;
	note->limit = limit;
}

void
taskq_note_key_limit(TaskqKeyLimit limit)
{
	note_add(TASKQ_NOTE_KEY_LIMIT, NULL)->limit = limit;
}

void
taskq_note_wake(void)
{
	note_add(TASKQ_NOTE_WAKE, NULL);
}

void
taskq_note_pause(void)
{
	note_add(TASKQ_NOTE_PAUSE, NULL);
}

void
taskq_note_rescan(void)
{
	note_add(TASKQ_NOTE_RESCAN, NULL);
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
			taskq_note_apply(db, &notes[from], committed);
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
		taskq_note_refuse_prepare(notes, nnotes);
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
			taskq_note_prepared(notes, nnotes, bounded ? my_bound() : NULL);
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
