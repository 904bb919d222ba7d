/*-------------------------------------------------------------------------
 *
 * lane.c
 *		What shared memory knows of the lanes: where the claimable tasks begin.
 *
 * What is claimable is found in two places.  Plain tasks, pending since their
 * submit, are found in the leaves by (lane, id); what became pending later
 * (due, given back) by its row in table "ready", in order of (due, id).  For
 * each place shared memory has a lower bound: the watermark, and "ready".
 * The invariant that everything here keeps: a claimable task of a lane in
 * shared memory
 *
 *	- has an id at or above the watermark, in a leaf whose bit is set, or
 *	- has a row in table "ready" at or above the bound for these, or
 *	- is among the items of a worker's slot (whoever leaves it out for that marks
 *	  it there, and it is noted again when the worker is through with it), or
 *	- is covered by skipped/skipped_leaves, which come back at retry_at.
 *
 * Ids need not come in order.  Whatever makes a task claimable (the commit of
 * a submit, a timer, a worker that gives back, the end of a transaction that
 * had the row locked) lowers the bound to it: that is always right, and costs
 * a scan over finished tasks at worst.  A scan that is under way when that
 * happens would raise it again; so the scan resets min_noted and min_ready
 * before it takes its snapshot and raises the bounds to no more than these.
 *
 * From time to time the dispatcher saves the watermarks (save.c).  The
 * invariant on disk: a claimable task has an id at or above its lane's saved
 * watermark, or has a row in table "ready".  It holds at every moment, not
 * only after a crash, and so no scan begins before the saved watermark,
 * whatever the watermark was lowered to: this bounds what a rewind costs.
 * Who keeps it:
 *
 *	- state.c: what becomes pending after its submit gets its row in the same
 *	  transaction, and keeps it until it is neither pending nor stored as running;
 *	- save.c saves no more than what is reserved, running, skipped, or submitted by a
 *	  transaction under way.  A task that runs for long gets a row instead;
 *	- note.c: a transaction announces a bound before it makes its first id.  Ids of
 *	  one process rise, so all of its ids are above, and it is not saved past.  If the
 *	  bound is not above what has been saved (the clock was set back, or another
 *	  server's was ahead), its tasks get rows in table "ready".  Both are done under
 *	  the main lock, as is what save.c looks at: either it sees the bound, or the
 *	  transaction sees what it is about to save;
 *	- prepared transactions keep their bound in shared memory; while there are some
 *	  from before the server's start nothing is saved.
 *
 * A saved watermark may come back from a crash only together with what it was
 * made from: whatever ended the tasks before it had been committed, perhaps
 * not flushed, before it was; the WAL keeps that order.
 *
 * A lane that is not in shared memory has its watermark where it was saved
 * last, and one that never was saved at the beginning.
 *
 * The words:
 *
 *	noted		told to shared memory by the commit callback of who made it claimable
 *	touched		its row was locked by a transaction of ours, which was undone: noted too
 *	ready		claimable, but not since its submit: has a row in table "ready"
 *	reserved	among the items of a worker's slot
 *	left		... where another worker's scan met it and left it to the holder
 *	skipped		its row was locked by somebody else when its turn came
 *	dirty		(a lane) there may be something claimable; not dirty: certainly nothing
 *	fresh		(a lane) ... of which external workers have not been told
 *	keyed		(a lane) its tasks have concurrency keys; keyed.c has all about it
 *	left out	(a lane) cannot be run now, and gave its room in shared memory to others
 *	saved		the watermark on disk, as this process's shared memory knows it
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "base/guc.h"
#include "lanes/cancels.h"
#include "lanes/event.h"
#include "lanes/keys.h"
#include "lanes/lane.h"
#include "lanes/logring.h"
#include "lanes/place.h"
#include "lanes/waiting.h"
#include "miscadmin.h"
#include "storage/shmem.h"
#include "store/defs.h"
#include "utils/hsearch.h"
#include "utils/timestamp.h"

#define MAX_BACKOFF_MS 5000

#define IDLE_TRIES 1024			/* entries looked at for one that is not
								 * needed */
#define SAVED_TRIES 64			/* ... and, when one is found, for a better
								 * one */

/* Which entry a lane has. */
typedef struct LaneKey
{
	Oid			dbid;
	int32		id;
} LaneKey;

typedef struct LaneEntry
{
	LaneKey		key;
	int			index;
} LaneEntry;

/*
 * What is known of a role in a database; outlives the entries of its lanes.
 */
typedef struct RoleKey
{
	Oid			dbid;
	Oid			role;
} RoleKey;

typedef struct RoleEntry
{
	RoleKey		key;
	int			nlanes;			/* entries of its lanes */
	int64		waiting;		/* estimates, of its lanes without entry */
	int64		later;
} RoleEntry;

static HTAB *entries = NULL;
static HTAB *roles = NULL;

/* ---- entries ---- */

static long
max_roles(void)
{
	return 2L * taskq_max_lanes;
}

static Size
tables_size(void)
{
	return add_size(hash_estimate_size(taskq_max_lanes, sizeof(LaneEntry)),
					hash_estimate_size(max_roles(), sizeof(RoleEntry)));
}

/*
 * Make or find the tables of lanes and roles, while the server starts.  All
 * of their room is there from the beginning: nothing is allocated later,
 * under the main lock.
 */
static void
tables_init(void)
{
	HASHCTL		ctl = {.keysize = sizeof(LaneKey),.entrysize = sizeof(LaneEntry)};

	entries = ShmemInitHash("taskq lanes", taskq_max_lanes, taskq_max_lanes,
							&ctl, HASH_ELEM | HASH_BLOBS | HASH_FIXED_SIZE);
	ctl.keysize = sizeof(RoleKey);
	ctl.entrysize = sizeof(RoleEntry);
	roles = ShmemInitHash("taskq roles", max_roles(), max_roles(), &ctl,
						  HASH_ELEM | HASH_BLOBS | HASH_FIXED_SIZE);
}

/*
 * taskq_lane_init - ask for the tables' room in shared memory; before
 * taskq_shmem_init
 */
void
taskq_lane_init(void)
{
	taskq_shmem_part(tables_size, tables_init);
}

/* taskq_lane_find - a lane of a database, or NULL */
TaskqLane *
taskq_lane_find(Oid dbid, int32 id)
{
	LaneKey		key = {.dbid = dbid,.id = id};
	LaneEntry  *entry = hash_search(entries, &key, HASH_FIND, NULL);

	return entry ? &taskq_shared->lanes[entry->index] : NULL;
}

static RoleEntry *
role_find(Oid dbid, Oid role)
{
	RoleKey		key = {.dbid = dbid,.role = role};

	return hash_search(roles, &key, HASH_FIND, NULL);
}

/*
 * Make room: there are more of them than lanes have entries, so one has none.
 */
static void
role_make_room(void)
{
	HASH_SEQ_STATUS status;
	RoleEntry  *entry;

	hash_seq_init(&status, roles);
	while ((entry = hash_seq_search(&status)) != NULL)
	{
		if (entry->nlanes > 0)
			continue;
		(void) hash_search(roles, &entry->key, HASH_REMOVE, NULL);
		hash_seq_term(&status);
		return;
	}
}

static RoleEntry *
role_enter(Oid dbid, Oid role)
{
	RoleKey		key = {.dbid = dbid,.role = role};
	RoleEntry  *entry = role_find(dbid, role);
	bool		found;

	if (entry != NULL)
		return entry;
	if (hash_get_num_entries(roles) >= max_roles())
		role_make_room();
	entry = hash_search(roles, &key, HASH_ENTER_NULL, &found);
	if (entry != NULL && !found)
	{
		entry->nlanes = 0;
		entry->waiting = entry->later = 0;
	}
	return entry;
}

static void
role_leave(RoleEntry *entry)
{
	if (entry->nlanes <= 0 && entry->waiting == 0 && entry->later == 0)
		(void) hash_search(roles, &entry->key, HASH_REMOVE, NULL);
}

static void
role_count(Oid dbid, Oid role, int64 waiting, int64 later)
{
	RoleEntry  *entry = waiting > 0 || later > 0 ? role_enter(dbid, role)
	: role_find(dbid, role);

	if (entry == NULL)
		return;
	entry->waiting = Max(entry->waiting + waiting, 0);
	entry->later = Max(entry->later + later, 0);
	role_leave(entry);
}

/*
 * taskq_lane_changed - its first task may be another one now, or none
 */
void
taskq_lane_changed(TaskqLane *lane)
{
	lane->first.changes++;
	lane->first.known = false;
}

/* taskq_lanes_changed - the same of all lanes of a database */
void
taskq_lanes_changed(Oid dbid)
{
	for (int i = 0; i < taskq_shared->nlanes; i++)
	{
		if (taskq_shared->lanes[i].dbid == dbid)
			taskq_lane_changed(&taskq_shared->lanes[i]);
	}
}

/*
 * taskq_lane_count - so many tasks more wait in a lane, or wait there for
 * their time
 *
 * Both may be negative.  Without an entry (lane is NULL), and for what is
 * taken away beyond what the entry knows, it is counted with the role.
 */
void
taskq_lane_count(Oid dbid, Oid role, TaskqLane *lane, int64 waiting,
				 int64 later)
{
	if (lane != NULL && waiting < 0)
		taskq_lane_changed(lane);
	if (lane != NULL)
	{
		waiting += lane->waiting;
		later += lane->later;
		lane->waiting = Max(waiting, 0);
		lane->later = Max(later, 0);
		waiting = Min(waiting, 0);
		later = Min(later, 0);
	}
	if (waiting != 0 || later != 0)
		role_count(dbid, role, waiting, later);
}

/*
 * taskq_lane_pending - how many tasks of a role wait, by estimate; caller
 * holds the main lock at least shared
 */
int64
taskq_lane_pending(Oid dbid, Oid role)
{
	RoleEntry  *entry = role_find(dbid, role);
	int			left = entry ? entry->nlanes : 0;
	int64		n = entry ? entry->waiting + entry->later : 0;

	for (int i = 0; i < taskq_shared->nlanes && left > 0; i++)
	{
		TaskqLane  *lane = &taskq_shared->lanes[i];

		if (lane->dbid != dbid || lane->role != role)
			continue;
		n += lane->waiting + lane->later;
		left--;
	}
	return n;
}

/*
 * taskq_lane_pending_of - how many tasks of a tenant of a role wait, by
 * estimate; caller holds the main lock at least shared
 */
int64
taskq_lane_pending_of(Oid dbid, Oid role, int64 tenant)
{
	int64		n = 0;

	for (int i = 0; i < taskq_shared->nlanes; i++)
	{
		TaskqLane  *lane = &taskq_shared->lanes[i];

		if (lane->dbid == dbid && lane->role == role &&
			lane->tenant == tenant)
			n += lane->waiting + lane->later;
	}
	return n;
}

/*
 * taskq_lanes_settle - every lane of this database that has something to
 * claim has an entry
 *
 * What else was counted as waiting, of roles that have nothing to do now, was
 * an error of the estimate.
 */
void
taskq_lanes_settle(Oid dbid)
{
	HASH_SEQ_STATUS status;
	RoleEntry  *entry;

	hash_seq_init(&status, roles);
	while ((entry = hash_seq_search(&status)) != NULL)
	{
		if (entry->key.dbid != dbid || entry->waiting == 0 ||
			taskq_lanes_dirty(dbid, entry->key.role))
			continue;
		entry->waiting = 0;
		/* the entry that a scan is at may be removed */
		role_leave(entry);
	}
}

/*
 * taskq_lane_forget - take the entry of a lane away, which is not in use now
 */
void
taskq_lane_forget(TaskqLane *lane)
{
	LaneKey		key = {.dbid = lane->dbid,.id = lane->id};
	RoleEntry  *entry = role_find(lane->dbid, lane->role);

	if (entry != NULL)
	{
		entry->nlanes--;
		entry->waiting += lane->waiting;
		entry->later += lane->later;
		role_leave(entry);
	}
	(void) hash_search(entries, &key, HASH_REMOVE, NULL);
	lane->dbid = InvalidOid;
	lane->next_free = taskq_shared->free_lane;
	taskq_shared->free_lane = lane - taskq_shared->lanes;
}

/* taskq_lanes_forget - the same with all of a database, and its roles */
void
taskq_lanes_forget(Oid dbid)
{
	HASH_SEQ_STATUS status;
	RoleEntry  *entry;

	for (int i = 0; i < taskq_shared->nlanes; i++)
	{
		if (taskq_shared->lanes[i].dbid == dbid)
			taskq_lane_forget(&taskq_shared->lanes[i]);
	}
	hash_seq_init(&status, roles);
	while ((entry = hash_seq_search(&status)) != NULL)
	{
		if (entry->key.dbid == dbid)
			(void) hash_search(roles, &entry->key, HASH_REMOVE, NULL);
	}
}

/*
 * An entry of which nothing is known but its watermark, or NULL; goes round,
 * as a clock's hand.  Rather one that is saved, so that the lane is not
 * scanned anew when it comes back.
 */
static TaskqLane *
find_idle(void)
{
	TaskqLane  *unsaved = NULL;
	int			tries = Min(taskq_shared->nlanes, IDLE_TRIES);

	for (int i = 0; i < tries; i++)
	{
		TaskqLane  *lane =
		&taskq_shared->lanes[taskq_shared->hand++ % taskq_shared->nlanes];

		if (!OidIsValid(lane->dbid) || lane->dirty || lane->running > 0 ||
			lane->scanner >= 0 || lane->retry_at != DT_NOEND || lane->waits)
			continue;
		if (taskq_id_cmp(&lane->watermark, &lane->saved) <= 0)
			return lane;
		if (unsaved == NULL)
			tries = Min(tries, i + SAVED_TRIES);
		unsaved = unsaved ? unsaved : lane;
	}
	return unsaved;
}

/* Is there an entry that nobody has? */
static bool
entry_free(void)
{
	return taskq_shared->free_lane >= 0 ||
		taskq_shared->nlanes < taskq_max_lanes;
}

/*
 * A free entry, if need be by forgetting an idle lane; NULL if all are
 * needed.
 */
static TaskqLane *
allocate_entry(void)
{
	TaskqLane  *lane;

	if (!entry_free())
	{
		lane = find_idle();
		if (lane == NULL)
			return NULL;
		taskq_lane_forget(lane);
	}
	if (taskq_shared->free_lane < 0)
		return &taskq_shared->lanes[taskq_shared->nlanes++];
	lane = &taskq_shared->lanes[taskq_shared->free_lane];
	taskq_shared->free_lane = lane->next_free;
	return lane;
}

/*
 * A lane of this database has found no room, or lost it: its dispatcher looks
 * through all of them again.  If that is who we are, it comes back to them by
 * itself.
 */
static void
look_through(TaskqDb *db)
{
	if (!db->rescan && db->dispatcher != MyProcPid)
		taskq_wake_dispatcher(db);
	db->rescan = true;
}

static int
lanes_of(Oid dbid, Oid role)
{
	RoleEntry  *entry = role_find(dbid, role);

	return entry ? entry->nlanes : 0;
}

/*
 * Take away the entry of a lane that is not in use now, so that it has to be
 * found again: one of this role's own, or one of a role that has more of
 * them.  Looks at a few, drawn by lot: who has most of the entries is met
 * soon.  False if none is found.
 */
static bool
take_away(Oid dbid, Oid role, bool own)
{
	int			mine = lanes_of(dbid, role);

	for (int tries = 0; tries < 16; tries++)
	{
		TaskqLane  *lane =
		&taskq_shared->lanes[random() % taskq_shared->nlanes];
		bool		is_own = lane->dbid == dbid && lane->role == role;
		TaskqDb    *db;

		if (!OidIsValid(lane->dbid) || lane->running > 0 ||
			lane->scanner >= 0 || is_own != own ||
			(!own && lanes_of(lane->dbid, lane->role) <= mine + 1))
			continue;
		db = taskq_db_find(lane->dbid);
		if (db != NULL)
			look_through(db);
		taskq_lane_forget(lane);
		return true;
	}
	return false;
}

/* Take a free entry for a lane; NULL if there is none. */
static TaskqLane *
fill_entry(TaskqDb *db, int32 id, Oid role, int16 priority)
{
	LaneKey		key = {.dbid = db->dbid,.id = id};
	TaskqLane  *lane = allocate_entry();
	LaneEntry  *entry;
	RoleEntry  *owner;

	if (lane == NULL)
		return NULL;
	entry = hash_search(entries, &key, HASH_ENTER_NULL, NULL);
	Assert(entry != NULL);		/* has room for as many as there are */
	entry->index = lane - taskq_shared->lanes;
	owner = role_enter(db->dbid, role);
	if (owner != NULL)
		owner->nlanes++;
	memset(lane, 0, sizeof(*lane));
	lane->dbid = db->dbid;
	lane->id = id;
	lane->role = role;
	lane->priority = priority;
	lane->scanner = -1;
	lane->generation = ++taskq_shared->generations;
	lane->leaves = TASKQ_ALL_LEAVES;
	lane->dirty = true;
	lane->fresh = true;
	lane->retry_at = DT_NOEND;
	taskq_due_first(&lane->ready);
	taskq_due_none(&lane->min_ready);
	memset(&lane->min_noted, 0xff, UUID_LEN);
	memset(&lane->head, 0xff, UUID_LEN);
	memset(&lane->skipped, 0xff, UUID_LEN);
	return lane;
}

/*
 * taskq_lane_enter - find a lane or make room for it
 *
 * A new entry is scanned from where it was saved last.  NULL if there is no
 * room, also at the cost of a role that has more lanes than this one: the
 * database is marked, and its dispatcher comes back to the lane.
 */
TaskqLane *
taskq_lane_enter(TaskqDb *db, int32 id, Oid role, int16 priority)
{
	TaskqLane  *lane = taskq_lane_find(db->dbid, id);

	if (lane != NULL && (lane->role != role || lane->priority != priority) &&
		lane->running <= 0 && lane->scanner < 0)
	{
		/*
		 * what was noted of a lane that was rolled back: its number is
		 * another's by now
		 */
		taskq_lane_forget(lane);
		lane = NULL;
	}
	if (lane != NULL)
		return lane;
	lane = fill_entry(db, id, role, priority);
	if (lane == NULL && take_away(db->dbid, role, false))
		lane = fill_entry(db, id, role, priority);
	if (lane == NULL)
		look_through(db);
	return lane;
}

/*
 * taskq_lane_take_turn - let a lane that found no room have that of another
 * one of its role
 *
 * The dispatcher goes through all of them again and again, so each is there
 * now and then.  NULL if that is not possible now.
 */
TaskqLane *
taskq_lane_take_turn(TaskqDb *db, int32 id, Oid role, int16 priority)
{
	return take_away(db->dbid, role, true)
		? fill_entry(db, id, role, priority)
		: NULL;
}

/*
 * Tasks with concurrency keys have rows in table "keyed", and are looked for
 * from where the round is: only that there is something new is to be known.
 */
static void
note_keyed(TaskqLane *lane, const pg_uuid_t *id)
{
	if (lane->dirty)
		taskq_id_lower(&lane->head, id);
	else
		lane->head = *id;
	lane->noted = true;
	lane->dirty = true;
	lane->fresh = true;
}

/*
 * taskq_lane_submitted - there may be claimable plain tasks from this id on,
 * in these leaves
 */
void
taskq_lane_submitted(TaskqLane *lane, const pg_uuid_t *id, uint32 leaves)
{
	if (taskq_lane_keyed(lane->id))
	{
		note_keyed(lane, id);
		return;
	}
	if (lane->known && taskq_id_cmp(id, &lane->saved) < 0)
		id = &lane->saved;
	if (!lane->first.known || taskq_id_cmp(id, &lane->first.plain) <= 0)
		taskq_lane_changed(lane);
	taskq_id_lower(&lane->watermark, id);
	taskq_id_lower(&lane->min_noted, id);
	if (lane->leaves != 0)
		taskq_id_lower(&lane->head, id);
	else
		lane->head = *id;
	/* a task that was moved to the leaf of the kept ones has the same id */
	leaves |= 1u << TASKQ_KEEP;
	lane->leaves |= leaves;
	lane->noted_leaves |= leaves;
	lane->dirty = true;
	lane->fresh = true;
}

/*
 * taskq_lane_ready - there may be claimable tasks that have rows in table
 * "ready" from this place on
 */
void
taskq_lane_ready(TaskqLane *lane, const TaskqDue *due)
{
	if (taskq_lane_keyed(lane->id))
	{
		note_keyed(lane, &due->id);
		return;
	}
	if (!lane->first.known || taskq_due_cmp(due, &lane->first.ready) <= 0)
		taskq_lane_changed(lane);
	if (taskq_due_cmp(due, &lane->ready) < 0)
		lane->ready = *due;
	if (taskq_due_cmp(due, &lane->min_ready) < 0)
		lane->min_ready = *due;
	lane->dirty = true;
	lane->fresh = true;
}

/*
 * taskq_lane_rewind - there may be claimable tasks from this id on, plain or
 * ready, in these leaves
 */
void
taskq_lane_rewind(TaskqLane *lane, const pg_uuid_t *id, uint32 leaves)
{
	TaskqDue	first;

	taskq_due_first(&first);
	taskq_lane_submitted(lane, id, leaves);
	taskq_lane_ready(lane, &first);
}

/*
 * taskq_lane_again - one task is, or may be, claimable, perhaps far behind
 * the watermark
 */
void
taskq_lane_again(TaskqLane *lane, const pg_uuid_t *id)
{
	taskq_lane_rewind(lane, id, taskq_leaf_bit(id));
}

/*
 * taskq_lane_scanned - its bounds have been set anew, and so many tasks
 * reserved
 *
 * When they are many the dispatcher shall save how far it has come; a few are
 * soon scanned again after a restart.
 */
void
taskq_lane_scanned(TaskqLane *lane, int n)
{
	TaskqDb    *db = taskq_db_find(lane->dbid);

	lane->dirty = lane->leaves != 0 || lane->ready.due != DT_NOEND;
	if (!lane->dirty)
		lane->waiting = 0;
	if (db == NULL || taskq_id_cmp(&lane->watermark, &lane->saved) <= 0)
		return;
	db->unsaved = true;
	if (db->passed < TASKQ_SAVE_TASKS && db->passed + n >= TASKQ_SAVE_TASKS &&
		db->dispatcher > 0)
		taskq_wake_proc(db->procno);
	db->passed += n;
}

/*
 * taskq_lane_head - an id to order lanes by: of the first claimable task, as
 * far as known, or of its due time
 */
void
taskq_lane_head(const TaskqLane *lane, pg_uuid_t *head)
{
	if (taskq_lane_keyed(lane->id))
	{
		*head = lane->head;
		return;
	}
	taskq_id_at(lane->ready.due, head);
	if (lane->leaves != 0)
		taskq_id_lower(head, &lane->head);
}

/*
 * taskq_lane_skipped - somebody else has this task's row locked
 *
 * What our own functions lock they note when their transaction ends.  For
 * everybody else's locks we look again, less and less often.
 */
void
taskq_lane_skipped(TaskqLane *lane, const pg_uuid_t *id,
				   TimestampTz steady_now)
{
	taskq_id_lower(&lane->skipped, id);
	lane->skipped_leaves |= taskq_leaf_bit(id) | 1u << TASKQ_KEEP;
	if (lane->retry_at == DT_NOEND)
	{
		lane->backoff = Min(Max(lane->backoff * 2, 20), MAX_BACKOFF_MS);
		lane->retry_at = TimestampTzPlusMilliseconds(steady_now,
													 lane->backoff);
	}
}

/* taskq_lane_retry_skipped - look again at the rows that were locked */
void
taskq_lane_retry_skipped(TaskqLane *lane)
{
	taskq_lane_rewind(lane, &lane->skipped, lane->skipped_leaves);
	lane->retry_at = DT_NOEND;
	lane->skipped_leaves = 0;
	memset(&lane->skipped, 0xff, UUID_LEN);
}

/*
 * taskq_lanes_rewind_all - nothing is known of what is claimable in a
 * database from this id on but what was saved
 */
void
taskq_lanes_rewind_all(Oid dbid, const pg_uuid_t *from)
{
	for (int i = 0; i < taskq_shared->nlanes; i++)
	{
		if (taskq_shared->lanes[i].dbid == dbid)
			taskq_lane_rewind(&taskq_shared->lanes[i], from, TASKQ_ALL_LEAVES);
	}
}

/*
 * taskq_lane_wake - somebody shall look for work of this role
 *
 * An idle worker if there is one; else the dispatcher, which may start one,
 * or send away one that idles for another role.  Not the dispatcher when the
 * role has workers and all others are busy too, or when it knows: they look
 * when they are through.
 */
void
taskq_lane_wake(TaskqDb *db, Oid role)
{
	int			of_role = 0;
	int			in_all = 0;
	bool		idle_other = false;
	bool		enough = false;

	if (db->blocked > 0)
		return;
	for (int i = 0; i < taskq_shared->nslots; i++)
	{
		TaskqSlot  *slot = &taskq_shared->slots[i];

		if (slot->state == TASKQ_SLOT_FREE)
			continue;
		in_all++;
		if (slot->dbid != db->dbid || slot->role != role || slot->leave)
		{
			idle_other |= slot->state == TASKQ_SLOT_IDLE;
			continue;
		}
		of_role++;
		enough |= slot->enough;
		if (slot->state == TASKQ_SLOT_IDLE && !slot->woken)
		{
			slot->woken = true;
			taskq_wake_proc(slot->procno);
			return;
		}
	}
	if (of_role == 0 ||
		(!enough && (in_all < taskq_max_workers || idle_other)) ||
		db->dispatcher == 0)
		taskq_wake_dispatcher(db);
}

/* taskq_claimable_wake - external workers that wait shall look again */
void
taskq_claimable_wake(void)
{
	if (pg_atomic_read_u32(&taskq_shared->claimers) > 0)
		ConditionVariableBroadcast(&taskq_shared->claimable);
}

/* taskq_lanes_dirty - may there be something to claim for this role? */
bool
taskq_lanes_dirty(Oid dbid, Oid role)
{
	for (int i = 0; i < taskq_shared->nlanes; i++)
	{
		TaskqLane  *lane = &taskq_shared->lanes[i];

		if (lane->dbid == dbid && lane->role == role && lane->dirty)
			return true;
	}
	return false;
}

/* taskq_lanes_full - is there no room for another lane? */
bool
taskq_lanes_full(void)
{
	return !entry_free() && find_idle() == NULL;
}

/*
 * taskq_lane_leave_out - forget a lane that cannot be run now; when it can,
 * it is scanned from where it was saved last
 */
void
taskq_lane_leave_out(TaskqDb *db, int32 id)
{
	TaskqLane  *lane = taskq_lane_find(db->dbid, id);

	db->left_out = true;
	if (lane != NULL && lane->running <= 0 && lane->scanner < 0)
		taskq_lane_forget(lane);
}

/*
 * taskq_db_forget - drop what is known of a database that is gone
 *
 * Caller holds the main lock exclusively, and no process of the database is
 * left.
 */
void
taskq_db_forget(Oid dbid)
{
	TaskqDb    *db = taskq_db_find(dbid);

	taskq_lanes_forget(dbid);
	for (int i = 0; i < taskq_shared->nslots; i++)
	{
		TaskqSlot  *slot = &taskq_shared->slots[i];

		if (slot->dbid != dbid || slot->state != TASKQ_SLOT_ORPHAN)
			continue;
		slot->state = TASKQ_SLOT_FREE;
		slot->placed = false;
		slot->nkeys = 0;
	}
	taskq_keys_forget(dbid);
	taskq_ring_drop(dbid);
	pg_atomic_fetch_add_u32(&taskq_shared->databases_gone, 1);
	if (db != NULL)
	{
		taskq_places_forget(db);
		taskq_event_drop(dbid);
		taskq_cancels_drop(dbid);
		taskq_waiting_drop(dbid);
		db->dbid = InvalidOid;
		db->wanted = false;
	}
}
