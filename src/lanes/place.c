/*-------------------------------------------------------------------------
 *
 * place.c
 *		How many tasks of a kind, of a queue, or of all may run at a time, and
 *		how many of a kind or a queue may be started in a time.
 *
 * A place is what runs one task at a time: a worker with a batch, from before
 * it looks for the tasks until it is through with them; or the lease of an
 * external worker, from before its claim looks for the task until the end of
 * the lease is committed, or the claim undone.
 *
 * The workers' places are not counted up or down: their slots say what they
 * have places of, and who takes one looks at all of them, under the main lock
 * in which it takes its own.  So no place can be lost, however a worker ends.
 * Leases are counted, with their queue and their kind ("groups") and for the
 * database.  A transaction that claims counts its leases at once and notes
 * them, so that its abort, or that of a subtransaction, takes them back; one
 * that ends leases notes that, and its commit does it (note.c).
 *
 * What leases there are when the server starts is in the table.  Whoever
 * makes or ends one, or is about to be limited by them, first passes the gate:
 * there the first one counts them, before anybody else is let in.  Those who
 * have passed it hold a lock on the table until their transaction ends; so
 * taskq.resume(), which has them counted anew since what was restored has
 * them too, waits for the table to itself.  None of these transactions can be
 * prepared.
 *
 * A rate is a bucket of tokens, which holds "rate" of them and gets as many in
 * "rate_period", one after the other.  Who takes a place takes a token for each
 * task as well; what is given back before it was started returns its own.  A
 * bucket is a moment in steady time, at which it will be full.  It is full
 * when the server starts.
 *
 * What the limits are is read from the definitions.  Who changes them counts
 * up their number under the main lock when that is committed; who takes a
 * place sees there whether what it has read still holds.
 *
 * A lane for which there is no room, or no token, is held: nobody scans it,
 * starts workers for it, or is woken for what is submitted to it, until
 * somebody makes room where it needs some, or the dispatcher finds that there
 * is a token.  Then it is no longer held, and a worker of its role is called;
 * if others were faster it is held again.  For a moment it comes before lanes of
 * other roles that are less urgent: who is through with a batch would always
 * be faster with its next one than anybody who has to be called.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <limits.h>

#include "access/table.h"
#include "base/clock.h"
#include "base/guc.h"
#include "catalog/pg_class.h"
#include "common/hashfn.h"
#include "lanes/lane.h"
#include "lanes/leasekeys.h"
#include "lanes/note.h"
#include "lanes/place.h"
#include "miscadmin.h"
#include "storage/lock.h"
#include "storage/shmem.h"
#include "store/leases.h"
#include "store/store.h"
#include "store/tasks.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

#define ROOM \
	(TASKQ_QUEUE_ROOM | TASKQ_KIND_ROOM | TASKQ_ALL_ROOM | TASKQ_WORKERS)
#define TOKENS (TASKQ_QUEUE_TOKENS | TASKQ_KIND_TOKENS)

#define CALL_US 200000			/* so long a place is kept for who was called */
#define SOON_US 5000			/* tokens are not waited for one by one where
								 * they come faster */

/* A queue or kind that leases are counted for, or that has a bucket. */
typedef struct GroupKey
{
	Oid			dbid;
	int32		owner;			/* of a kind */
	char		type;			/* 'q' or 'k' */
	NameData	name;
} GroupKey;

typedef struct Group
{
	GroupKey	key;
	int32		maker;			/* owner of the kind that it was made for */
	int			leases;
	int64		token_ns;		/* so long it takes to get one, when one was
								 * taken last; 0: none ever was */
	int64		full_ns;		/* steady time at which the bucket is full */
} Group;

static HTAB *groups = NULL;

static long
max_groups(void)
{
	return 2L * taskq_max_lanes;
}

static Size
table_size(void)
{
	return hash_estimate_size(max_groups(), sizeof(Group));
}

static void
table_init(void)
{
	HASHCTL		ctl = {.keysize = sizeof(GroupKey),.entrysize = sizeof(Group)};

	groups = ShmemInitHash("taskq groups", max_groups(), max_groups(), &ctl,
						   HASH_ELEM | HASH_BLOBS | HASH_FIXED_SIZE);
}

static void note_end(TaskqRow *row);
static void made_room_elsewhere(Oid here);

/*
 * taskq_place_init - ask for the table's room in shared memory; before
 * taskq_shmem_init
 */
void
taskq_place_init(void)
{
	taskq_shmem_part(table_size, table_init);
	taskq_lease_ended = note_end;
}

/* ---- groups ---- */

static int64
now_ns(void)
{
	return taskq_steady_now() * 1000;
}

static GroupKey
group_key(Oid dbid, const TaskqPlace *place, char type)
{
	GroupKey	key;

	memset(&key, 0, sizeof(key));
	key.dbid = dbid;
	key.type = type;
	key.name = type == 'q' ? place->queue : place->kind;
	if (type == 'k')
		key.owner = place->kind_owner;
	return key;
}

static Group *
group_find(Oid dbid, const TaskqPlace *place, char type)
{
	GroupKey	key = group_key(dbid, place, type);

	return hash_search(groups, &key, HASH_FIND, NULL);
}

/* Forget those that tell nothing, but for these. */
static void
groups_make_room(Oid dbid, const TaskqPlace *place)
{
	GroupKey	queue = group_key(dbid, place, 'q');
	GroupKey	kind = group_key(dbid, place, 'k');
	HASH_SEQ_STATUS status;
	Group	   *group;
	int64		now = now_ns();

	hash_seq_init(&status, groups);
	while ((group = hash_seq_search(&status)) != NULL)
	{
		if (group->leases == 0 && group->full_ns <= now &&
			memcmp(&group->key, &queue, sizeof(GroupKey)) != 0 &&
			memcmp(&group->key, &kind, sizeof(GroupKey)) != 0)
			(void) hash_search(groups, &group->key, HASH_REMOVE, NULL);
	}
}

/*
 * May there be one more for kinds of this owner?  Half of the room is left to
 * others.
 */
static bool
has_share(Oid dbid, int32 owner)
{
	HASH_SEQ_STATUS status;
	Group	   *group;
	long		n = 0;

	if (hash_get_num_entries(groups) < max_groups() / 2)
		return true;
	hash_seq_init(&status, groups);
	while ((group = hash_seq_search(&status)) != NULL)
		n += group->key.dbid == dbid && group->maker == owner;
	return n < max_groups() / 2;
}

/* NULL if there is no room, or (share) none for kinds of this owner. */
static Group *
group_enter(Oid dbid, const TaskqPlace *place, char type, bool share)
{
	GroupKey	key = group_key(dbid, place, type);
	Group	   *group = hash_search(groups, &key, HASH_FIND, NULL);
	bool		found;

	if (group != NULL)
		return group;
	if (hash_get_num_entries(groups) >= max_groups() / 2)
		groups_make_room(dbid, place);
	if (share && !has_share(dbid, place->kind_owner))
		return NULL;
	group = hash_search(groups, &key, HASH_ENTER_NULL, &found);
	if (group == NULL)
		return NULL;
	group->maker = place->kind_owner;
	group->leases = group->token_ns = group->full_ns = 0;
	return group;
}

/* Only what has a bucket needs an entry to be limited. */
static Group *
group_for(Oid dbid, const TaskqPlace *place, char type,
		  const TaskqLimit *limit)
{
	return limit->rate > 0 ? group_enter(dbid, place, type, true)
		: group_find(dbid, place, type);
}

/* So many leases more, or less, of this. */
static void
count_leases(TaskqDb *db, const TaskqPlace *place, int n)
{
	Group	   *queue = group_find(db->dbid, place, 'q');
	Group	   *kind = group_find(db->dbid, place, 'k');

	if (queue != NULL)
		queue->leases = Max(queue->leases + n, 0);
	if (kind != NULL)
		kind->leases = Max(kind->leases + n, 0);
	db->leases = Max(db->leases + n, 0);
}

/* ---- what limits a lane ---- */

static void
place_of(const TaskqLaneDef *lane, TaskqPlace *place)
{
	memset(place, 0, sizeof(*place));
	place->queue = lane->queue;
	place->kind = lane->kind;
	place->kind_owner = lane->kind_owner;
	place->queue_hash = string_hash(NameStr(lane->queue), NAMEDATALEN);
	place->kind_hash = hash_combine(string_hash(NameStr(lane->kind),
												NAMEDATALEN),
									lane->kind_owner);
}

/*
 * taskq_limits_of - what limits the tasks of this lane
 *
 * Reads the tables, so the caller is in a transaction and called
 * taskq_defs_begin.
 */
void
taskq_limits_of(const TaskqLaneDef *lane, TaskqLimits *limits)
{
	const TaskqQueue *queue = taskq_queue_get(NameStr(lane->queue));
	const TaskqKind *kind = taskq_kind_get(NameStr(lane->kind));

	place_of(lane, &limits->of);
	memset(&limits->queue, 0, sizeof(TaskqLimit));
	memset(&limits->kind, 0, sizeof(TaskqLimit));
	if (queue != NULL)
		limits->queue = queue->limit;
	if (kind != NULL && kind->owner_id == lane->kind_owner)
		limits->kind = kind->limit;
	limits->limited = limits->queue.max_running > 0 ||
		limits->queue.rate > 0 || limits->kind.max_running > 0 ||
		limits->kind.rate > 0;
}

/* Or for all: without the main lock it may be known a moment too late. */
static bool
is_limited(const TaskqLimits *limits)
{
	return limits->limited || taskq_shared->max_running > 0 ||
		taskq_shared->nreserved > 0;
}

/* ---- the gate ---- */

/* Are the leases of this database counted?  The lock may be shared. */
static bool
counted(void)
{
	TaskqDb    *db = taskq_db_find(MyDatabaseId);

	return db != NULL && db->leases_counted;
}

static bool
is_counted(void)
{
	bool		result;

	LWLockAcquire(taskq_main_lock, LW_SHARED);
	result = counted();
	LWLockRelease(taskq_main_lock);
	return result;
}

/* What the leases in the table are of, as a list of TaskqPlace. */
static List *
read_leases(void)
{
	List	   *places = NIL;
	List	   *ids = taskq_lease_ids();
	ListCell   *lc;

	foreach(lc, ids)
	{
		TaskqPlace *place = palloc(sizeof(TaskqPlace));
		const TaskqLaneDef *lane;
		TaskqRow	row;

		CHECK_FOR_INTERRUPTS();
		if (!taskq_store_find(lfirst(lc), &row))
			continue;
		lane = taskq_lane_get(DatumGetInt32(taskq_row_value(&row, lane)));
		if (lane == NULL)
			continue;
		place_of(lane, place);
		places = lappend(places, place);
	}
	return places;
}

/* Count them; false if there is no room. */
static bool
set_leases(const List *places)
{
	TaskqDb    *db = taskq_db_enter(MyDatabaseId);
	HASH_SEQ_STATUS status;
	Group	   *group;
	ListCell   *lc;

	if (db == NULL)
		return false;
	hash_seq_init(&status, groups);
	while ((group = hash_seq_search(&status)) != NULL)
	{
		if (group->key.dbid == MyDatabaseId)
			group->leases = 0;
	}
	db->leases = 0;
	foreach(lc, places)
	{
		if (group_enter(MyDatabaseId, lfirst(lc), 'q', false) == NULL ||
			group_enter(MyDatabaseId, lfirst(lc), 'k', false) == NULL)
			return false;
		count_leases(db, lfirst(lc), 1);
	}
	db->leases_counted = true;
	taskq_places_open(db);
	return true;
}

/* taskq_place_no_room - raise an error */
void
taskq_place_no_room(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
			 errmsg("too many kinds and queues have claimed tasks"),
			 errhint("Increase taskq.max_lanes and restart the server.")));
}

/*
 * taskq_place_gate - the leases of this database are counted
 *
 * Before a transaction makes or ends one, or takes a place that they limit.
 * Locks table "lease" until the transaction ends.  May raise 54000.
 */
void
taskq_place_gate(void)
{
	Relation	rel = taskq_store_open(TASKQ_REL_LEASE, RowExclusiveLock);
	LOCKTAG		tag;
	bool		done;

	SET_LOCKTAG_OBJECT(tag, MyDatabaseId, RelationRelationId,
					   RelationGetRelid(rel), 0);
	table_close(rel, NoLock);
	if (is_counted())
		return;
	/* one does it, and the others wait */
	(void) LockAcquire(&tag, ExclusiveLock, false, false);
	done = is_counted();
	if (!done)
	{
		List	   *places = read_leases();

		LWLockAcquire(taskq_main_lock, LW_EXCLUSIVE);
		done = set_leases(places);
		LWLockRelease(taskq_main_lock);
		list_free_deep(places);
	}
	(void) LockRelease(&tag, ExclusiveLock, false);
	if (!done)
		taskq_place_no_room();
}

/*
 * taskq_place_prepare - before a worker takes a place: the leases that may
 * limit it are counted
 */
void
taskq_place_prepare(const TaskqLimits *limits)
{
	const TaskqDb *db = taskq_db_mine();

	/* without the lock, for nearly always they are: see take() */
	if (is_limited(limits) && (db == NULL || !db->leases_counted))
		taskq_place_gate();
}

/* Called by the store: this transaction ends the lease of a task. */
static void
note_end(TaskqRow *row)
{
	const TaskqLaneDef *def =
	taskq_lane_get(DatumGetInt32(taskq_row_value(row, lane)));
	TaskqPlace	place;

	taskq_place_gate();
	if (def == NULL)
		return;
	place_of(def, &place);
	taskq_note_unleased(&place);
	taskq_lease_key_ended(row);
}

/* ---- reserved places ---- */

static TaskqReserved *
reserved_find(Oid dbid, const char *queue)
{
	for (int i = 0; i < taskq_shared->nreserved; i++)
	{
		TaskqReserved *reserved = &taskq_shared->reserved[i];

		if (reserved->dbid == dbid &&
			strcmp(NameStr(reserved->queue), queue) == 0)
			return reserved;
	}
	return NULL;
}

static void
reserved_remove(TaskqReserved *reserved)
{
	*reserved = taskq_shared->reserved[--taskq_shared->nreserved];
}

static void
forget_reserved(Oid dbid)
{
	for (int i = taskq_shared->nreserved - 1; i >= 0; i--)
	{
		if (taskq_shared->reserved[i].dbid == dbid)
			reserved_remove(&taskq_shared->reserved[i]);
	}
}

/*
 * taskq_place_check_reserved - raise an error if there is no room for another
 * queue that has reserved places
 */
void
taskq_place_check_reserved(const char *queue)
{
	bool		full;

	LWLockAcquire(taskq_main_lock, LW_SHARED);
	full = taskq_shared->nreserved == TASKQ_RESERVED &&
		reserved_find(MyDatabaseId, queue) == NULL;
	LWLockRelease(taskq_main_lock);
	if (full)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("too many queues have reserved places"),
				 errhint("Take away those of another queue by taskq.queue_define(..., reserved => NULL).")));
}

/* taskq_place_reserve - a queue has so many reserved places */
void
taskq_place_reserve(Oid dbid, const char *queue, int n)
{
	TaskqReserved *reserved = reserved_find(dbid, queue);

	if (reserved == NULL && n > 0 &&
		taskq_shared->nreserved < TASKQ_RESERVED)
	{
		reserved = &taskq_shared->reserved[taskq_shared->nreserved++];
		reserved->dbid = dbid;
		namestrcpy(&reserved->queue, queue);
	}
	if (reserved == NULL)
		return;
	reserved->n = n;
	if (n == 0)
		reserved_remove(reserved);
	/* others may have got what it gave up */
	made_room_elsewhere(InvalidOid);
}

/*
 * taskq_places_reserved - the queues of this database that have reserved
 * places; false if they may have changed since taskq_defs_begin
 */
bool
taskq_places_reserved(const List *queues)
{
	ListCell   *lc;

	if (!taskq_defs_current())
		return false;
	forget_reserved(MyDatabaseId);
	foreach(lc, queues)
	{
		const TaskqQueue *queue = lfirst(lc);

		taskq_place_reserve(MyDatabaseId, NameStr(queue->name),
							queue->reserved);
	}
	return true;
}

/*
 * taskq_places_recount - what is known of this database's leases is not so
 * any more
 */
void
taskq_places_recount(TaskqDb *db)
{
	db->leases_counted = false;
}

/* taskq_places_forget - nor is anything else */
void
taskq_places_forget(TaskqDb *db)
{
	HASH_SEQ_STATUS status;
	Group	   *group;

	forget_reserved(db->dbid);
	hash_seq_init(&status, groups);
	while ((group = hash_seq_search(&status)) != NULL)
	{
		if (group->key.dbid == db->dbid)
			(void) hash_search(groups, &group->key, HASH_REMOVE, NULL);
	}
}

/* ---- how much room there is ---- */

/* What two places have in common: TASKQ_QUEUE_ROOM, TASKQ_KIND_ROOM. */
static int
common(const TaskqPlace *a, const TaskqPlace *b)
{
	int			in = 0;

	if (a->queue_hash == b->queue_hash &&
		strcmp(NameStr(a->queue), NameStr(b->queue)) == 0)
		in |= TASKQ_QUEUE_ROOM;
	if (a->kind_hash == b->kind_hash && a->kind_owner == b->kind_owner &&
		strcmp(NameStr(a->kind), NameStr(b->kind)) == 0)
		in |= TASKQ_KIND_ROOM;
	return in;
}

static void
limit_places(TaskqRoom *room, int max, int taken, int what)
{
	if (max <= 0)
		return;
	room->places = Min(room->places, Max(max - taken, 0));
	if (taken >= max)
		room->missing |= what;
}

static void
limit_tokens(TaskqRoom *room, const TaskqLimit *limit, Group *group,
			 int what)
{
	int64		period = limit->rate_us * 1000;
	int64		token;
	int64		debt;

	if (limit->rate <= 0)
		return;
	token = Max(period / limit->rate, 1);
	/* the limit may have been a much lower one when it was emptied */
	if (group != NULL)
		group->full_ns = Min(group->full_ns, now_ns() + period);
	/* and where there is no room for a bucket, none is full */
	debt = group ? Max(group->full_ns - now_ns(), 0) : period;
	room->tokens = Min(room->tokens,
					   Min((period - debt) / token, limit->rate));
	if (period - debt >= token)
		return;
	room->missing |= what;
	room->until = Max(room->until, taskq_steady_now() +
					  Max((debt + token - period) / 1000 + 1, SOON_US));
}

/* Of how many has it made use? */
static int
placed_of(const TaskqReserved *reserved)
{
	int			n = 0;

	for (int i = 0; i < taskq_shared->nslots; i++)
	{
		TaskqSlot  *slot = &taskq_shared->slots[i];

		n += slot->placed && slot->dbid == reserved->dbid &&
			strcmp(NameStr(slot->place.queue), NameStr(reserved->queue)) == 0;
	}
	return n;
}

/*
 * Places for workers that tasks of this queue may have: those that are not
 * reserved for others.  But for one: that is always for anybody.
 */
static void
limit_workers(TaskqRoom *room, Oid dbid, const char *queue)
{
	int			reserved = 0;
	int			taken = 0;

	if (taskq_shared->nreserved == 0)
		return;
	for (int i = 0; i < taskq_shared->nslots; i++)
		taken += taskq_shared->slots[i].placed;
	for (int i = 0; i < taskq_shared->nreserved; i++)
	{
		TaskqReserved *other = &taskq_shared->reserved[i];

		if (other->dbid != dbid || strcmp(NameStr(other->queue), queue) != 0)
			reserved += Max(other->n - placed_of(other), 0);
	}
	limit_places(room, Max(taskq_max_workers - reserved, 1), taken, TASKQ_WORKERS);
}

/* For a worker, or for a lease, which needs none. */
static TaskqRoom
count_room(Oid dbid, const TaskqLimits *limits, bool worker)
{
	TaskqRoom	room = {.places = INT_MAX,.tokens = INT_MAX};
	TaskqDb    *db = taskq_db_find(dbid);
	Group	   *queue = group_for(dbid, &limits->of, 'q', &limits->queue);
	Group	   *kind = group_for(dbid, &limits->of, 'k', &limits->kind);
	int			in_queue = queue ? queue->leases : 0;
	int			in_kind = kind ? kind->leases : 0;
	int			in_all = db ? db->leases : 0;

	for (int i = 0; i < taskq_shared->nslots; i++)
	{
		TaskqSlot  *slot = &taskq_shared->slots[i];
		int			in;

		if (!slot->placed || slot->dbid != dbid)
			continue;
		in = common(&slot->place, &limits->of);
		in_queue += (in & TASKQ_QUEUE_ROOM) != 0;
		in_kind += (in & TASKQ_KIND_ROOM) != 0;
		in_all++;
	}
	room.in_queue = in_queue;
	room.in_kind = in_kind;
	room.in_all = in_all;
	limit_places(&room, limits->queue.max_running, in_queue, TASKQ_QUEUE_ROOM);
	limit_places(&room, limits->kind.max_running, in_kind, TASKQ_KIND_ROOM);
	limit_places(&room, taskq_shared->max_running, in_all, TASKQ_ALL_ROOM);
	limit_tokens(&room, &limits->queue, queue, TASKQ_QUEUE_TOKENS);
	limit_tokens(&room, &limits->kind, kind, TASKQ_KIND_TOKENS);
	if (worker)
		limit_workers(&room, dbid, NameStr(limits->of.queue));
	return room;
}

/* Nothing of this lane may run now. */
static void
hold(TaskqLane *lane, const TaskqLimits *limits, const TaskqRoom *room)
{
	TaskqDb    *db = taskq_db_find(lane->dbid);

	lane->held = room->missing;
	lane->queue_hash = limits->of.queue_hash;
	lane->kind_hash = limits->of.kind_hash;
	lane->held_until = room->until != 0 ? room->until : DT_NOEND;
	if (db == NULL)
		return;
	db->holds = true;
	if (lane->held_until < db->held_until)
	{
		db->held_until = lane->held_until;
		taskq_wake_dispatcher(db);
	}
}

/*
 * taskq_place_room - how many more tasks of a lane may be started now
 *
 * If none may, the lane is held.
 */
int
taskq_place_room(TaskqLane *lane, const TaskqLimits *limits)
{
	TaskqRoom	room;

	/* where they have changed meanwhile, whoever claims looks again */
	if (!is_limited(limits) || !taskq_defs_current() || !counted())
		return INT_MAX;
	room = count_room(lane->dbid, limits, true);
	if (room.missing != 0)
		hold(lane, limits, &room);
	return Min(room.places, room.tokens);
}

/* ---- taking and leaving ---- */

static void
take_tokens(Oid dbid, const TaskqPlace *place, const TaskqLimit *limit,
			char type, int n)
{
	Group	   *group;

	if (limit->rate <= 0)
		return;
	group = group_enter(dbid, place, type, true);
	if (group == NULL)
		return;
	group->token_ns = Max(limit->rate_us * 1000 / limit->rate, 1);
	group->full_ns = Max(group->full_ns, now_ns()) +
		n * group->token_ns;
}

static void
return_tokens(Oid dbid, const TaskqPlace *place, char type, int n)
{
	Group	   *group = group_find(dbid, place, type);

	if (group != NULL)
		group->full_ns -= n * group->token_ns;
}

/* Is this lane to have what both of them need? */
static bool
comes_first(const TaskqLane *other, const TaskqLane *lane,
			const TaskqLimits *limits, TimestampTz now)
{
	pg_uuid_t	other_head;
	pg_uuid_t	head;

	if (other->dbid != lane->dbid || other->called_until <= now ||
		other->role == lane->role || !other->dirty || other->held != 0 ||
		other->priority < lane->priority)
		return false;
	if (taskq_shared->max_running == 0 &&
		(limits->queue.max_running == 0 ||
		 other->queue_hash != limits->of.queue_hash) &&
		(limits->kind.max_running == 0 ||
		 other->kind_hash != limits->of.kind_hash))
		return false;
	taskq_lane_head(other, &other_head);
	taskq_lane_head(lane, &head);
	return other->priority > lane->priority ||
		taskq_id_cmp(&other_head, &head) < 0;
}

/* What there is may be kept for lanes that have been called just now. */
static void
keep_for_called(const TaskqLane *lane, const TaskqLimits *limits, TaskqRoom *room)
{
	TimestampTz now = taskq_steady_now();
	TaskqDb    *db = taskq_db_find(lane->dbid);
	int			ahead = 0;

	if (room->places == INT_MAX || db == NULL || db->called_until <= now)
		return;
	for (int i = 0; i < taskq_shared->nlanes; i++)
		ahead += comes_first(&taskq_shared->lanes[i], lane, limits, now);
	if (ahead < room->places)
		return;
	room->missing |= TASKQ_QUEUE_ROOM | TASKQ_KIND_ROOM | TASKQ_ALL_ROOM;
	room->kept = true;
	room->until = db->called_until;
}

/*
 * taskq_place_look - what room there is for tasks of a lane, and what there
 * is not
 *
 * Nothing is taken, nor is the lane held.  worker: for a worker of the
 * server, and not for a lease.  False: the definitions are to be read again,
 * or the gate to be passed, first.
 */
bool
taskq_place_look(const TaskqLane *lane, const TaskqLimits *limits,
				 bool worker, TaskqRoom *room)
{
	*room = (TaskqRoom)
	{
		.places = INT_MAX,.tokens = INT_MAX
	};
	if (!taskq_defs_current() || (is_limited(limits) && !counted()))
		return false;
	if (!is_limited(limits))
		return true;
	*room = count_room(lane->dbid, limits, worker);
	keep_for_called(lane, limits, room);
	return true;
}

/*
 * How many of those that are wanted may be started, and take their tokens: 0
 * if none, and then the lane is held, or TASKQ_PLACE_STALE.
 */
static int
take(TaskqLane *lane, const TaskqLimits *limits, int wanted, bool worker)
{
	TaskqRoom	room;
	int			n;

	if (!taskq_place_look(lane, limits, worker, &room))
		return TASKQ_PLACE_STALE;
	if (!is_limited(limits))
		return wanted;
	if (room.missing != 0)
	{
		hold(lane, limits, &room);
		return 0;
	}
	lane->called = false;
	lane->called_until = 0;
	n = Min(wanted, room.tokens);
	if (!worker)
		n = Min(n, room.places);
	take_tokens(lane->dbid, &limits->of, &limits->queue, 'q', n);
	take_tokens(lane->dbid, &limits->of, &limits->kind, 'k', n);
	return n;
}

/*
 * taskq_place_take - take a place for a worker, which then looks for tasks of
 * this lane
 *
 * Returns for how many at most: 0 if there is no place, or TASKQ_PLACE_STALE.
 */
int
taskq_place_take(TaskqSlot *slot, TaskqLane *lane, const TaskqLimits *limits,
				 int wanted)
{
	int			n = take(lane, limits, wanted, true);

	if (n <= 0)
		return n;
	slot->placed = true;
	slot->rated = limits->queue.rate > 0 || limits->kind.rate > 0;
	slot->place = limits->of;
	return n;
}

/*
 * Is a lane held for what there is now?  A lane has hashes only: at worst
 * somebody looks for nothing.
 */
static bool
held_for(const TaskqLane *lane, const TaskqPlace *place, int what)
{
	int			held = lane->held & what;

	return (held & (TASKQ_ALL_ROOM | TASKQ_WORKERS)) != 0 ||
		((held & (TASKQ_QUEUE_ROOM | TASKQ_QUEUE_TOKENS)) != 0 &&
		 lane->queue_hash == place->queue_hash) ||
		((held & (TASKQ_KIND_ROOM | TASKQ_KIND_TOKENS)) != 0 &&
		 lane->kind_hash == place->kind_hash);
}

/*
 * A lane is held no more.
 *
 * Once it comes first for that; not again before it has come, for its role
 * may have no worker, or another one's tasks to do.
 */
static void
open_lane(TaskqDb *db, TaskqLane *lane, Oid looking)
{
	lane->held = 0;
	if (!lane->dirty)
		return;
	if (!lane->called && lane->role != looking)
	{
		lane->called = true;
		lane->called_until = taskq_steady_now() + CALL_US;
		db->called_until = lane->called_until;
	}
	taskq_claimable_wake();
	if (lane->role != looking)
		taskq_lane_wake(db, lane->role);
}

/* Lanes that were held for what there is now are so no more. */
static void
made_room(TaskqDb *db, const TaskqPlace *place, int what, Oid looking)
{
	if (!db->holds)
		return;
	db->holds = false;
	for (int i = 0; i < taskq_shared->nlanes; i++)
	{
		TaskqLane  *lane = &taskq_shared->lanes[i];

		if (lane->dbid != db->dbid || lane->held == 0)
			continue;
		if (held_for(lane, place, what))
			open_lane(db, lane, looking);
		else
			db->holds = true;
	}
}

/* A place for a worker may be had by other databases. */
static void
made_room_elsewhere(Oid here)
{
	for (int i = 0; i < taskq_max_databases; i++)
	{
		TaskqDb    *db = &taskq_shared->dbs[i];

		if (OidIsValid(db->dbid) && db->dbid != here)
			made_room(db, NULL, TASKQ_WORKERS, InvalidOid);
	}
}

/*
 * taskq_place_leave - a worker has no place any more, or finds that it needs
 * none
 *
 * looks_again: it sees itself to what its role may run now.
 */
void
taskq_place_leave(TaskqSlot *slot, bool looks_again)
{
	TaskqDb    *db = taskq_db_find(slot->dbid);

	if (!slot->placed)
		return;
	slot->placed = false;
	if (db != NULL)
		made_room(db, &slot->place, ROOM,
				  looks_again ? slot->role : InvalidOid);
	if (taskq_shared->nreserved > 0)
		made_room_elsewhere(slot->dbid);
}

/*
 * taskq_place_unstarted - so many tasks are given back that were not started
 */
void
taskq_place_unstarted(Oid dbid, const TaskqPlace *place, int n)
{
	TaskqDb    *db = taskq_db_find(dbid);

	if (n <= 0)
		return;
	return_tokens(dbid, place, 'q', n);
	return_tokens(dbid, place, 'k', n);
	if (db != NULL)
		made_room(db, place, TOKENS, InvalidOid);
}

/*
 * taskq_place_lease - count leases, before tasks are looked for; how many of
 * those that are wanted, 0, TASKQ_PLACE_STALE or TASKQ_PLACE_NO_ROOM
 *
 * The caller has passed the gate, and made a note that gives them back.
 */
int
taskq_place_lease(TaskqLane *lane, const TaskqLimits *limits, int wanted)
{
	TaskqDb    *db = taskq_db_find(lane->dbid);
	int			n;

	if (db == NULL || !counted())
		return TASKQ_PLACE_STALE;
	if (group_enter(lane->dbid, &limits->of, 'q', true) == NULL ||
		group_enter(lane->dbid, &limits->of, 'k', true) == NULL)
		return TASKQ_PLACE_NO_ROOM;
	n = take(lane, limits, wanted, false);
	if (n > 0)
		count_leases(db, &limits->of, n);
	return n;
}

/*
 * taskq_place_unlease - so many leases have come to their end, or (not
 * started) there never were tasks for them
 */
void
taskq_place_unlease(TaskqDb *db, const TaskqPlace *place, int n,
					bool started)
{
	if (n <= 0)
		return;
	count_leases(db, place, -n);
	made_room(db, place, ROOM, InvalidOid);
	if (!started)
		taskq_place_unstarted(db->dbid, place, n);
}

/*
 * taskq_places_open - limits of this database have changed: whoever is held
 * looks again
 */
void
taskq_places_open(TaskqDb *db)
{
	if (!db->holds)
		return;
	db->holds = false;
	for (int i = 0; i < taskq_shared->nlanes; i++)
	{
		TaskqLane  *lane = &taskq_shared->lanes[i];

		if (lane->dbid == db->dbid && lane->held != 0)
			open_lane(db, lane, InvalidOid);
	}
}

/*
 * taskq_places_due - lanes for which there are tokens now are held no more;
 * when there are some for the next one
 *
 * For the dispatcher, which comes back then.
 */
TimestampTz
taskq_places_due(TaskqDb *db)
{
	TimestampTz now = taskq_steady_now();

	if (db->held_until == DT_NOEND)
		return DT_NOEND;
	db->held_until = DT_NOEND;
	for (int i = 0; i < taskq_shared->nlanes; i++)
	{
		TaskqLane  *lane = &taskq_shared->lanes[i];

		if (lane->dbid != db->dbid || lane->held == 0)
			continue;
		if (lane->held_until <= now)
			open_lane(db, lane, InvalidOid);
		else
			db->held_until = Min(db->held_until, lane->held_until);
	}
	return db->held_until;
}
