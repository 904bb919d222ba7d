/*-------------------------------------------------------------------------
 *
 * keys.c
 *		Who runs tasks of a concurrency key now.
 *
 * A key has an entry in shared memory while somebody has a place of it: a
 * worker for the tasks in its batch, which run one after another, or an
 * external worker's lease.  A place is taken in the step in which tasks are
 * reserved, and given back in the one in which that ends; so there are never
 * more than the key's kind allows, nor fewer for longer than it takes to
 * look.  A key that nobody has needs no entry, however many tasks wait.
 *
 * Several kinds may have tasks of one key, each with its own limit.  Each is
 * kept: nobody gets a place beyond his own limit, or beyond that of anybody
 * who has one.
 *
 * Who passes over tasks because their key is taken says so at the key's
 * entry, and in its lane; who gives the place back makes the role's lanes
 * dirty that wait so.  Both under the main lock: who looks after that looks
 * again.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "base/clock.h"
#include "common/hashfn.h"
#include "lanes/keys.h"
#include "store/defs.h"
#include "storage/shmem.h"
#include "utils/hsearch.h"
#include "utils/timestamp.h"

/* Leases may have as many as workers leave. */
#define MAX_WORKERS_KEYS (TASKQ_MAX_WORKERS * TASKQ_BATCH_KEYS)
#define MAX_KEYS (4 * MAX_WORKERS_KEYS)
#define MAX_LEASES_KEYS (MAX_KEYS - MAX_WORKERS_KEYS)
#define SHARES 256				/* of roles, found by a hash */
#define KINDS 4					/* that are told apart in an entry */
#define NO_ROOM_MS 100			/* till the next try, when there was no room
								 * for an entry */

typedef struct KeyEntry
{
	TaskqKey	key;
	int			held;			/* places */
	struct
	{
		TaskqKeyLimit limit;
		int			n;			/* of the places */
		bool		stale;		/* who takes the next one knows the limit */
	}			kinds[KINDS];
	bool		leased;			/* made for a lease */
	bool		waited;			/* somebody passed over it */
	TimestampTz rest_until;		/* steady time: nobody takes it before that */
} KeyEntry;

static HTAB *keys = NULL;
static int *shares = NULL;		/* entries made for leases, by role */

static Size
keys_size(void)
{
	return add_size(hash_estimate_size(MAX_KEYS, sizeof(KeyEntry)),
					MAXALIGN(SHARES * sizeof(int)));
}

static void
init_keys(void)
{
	HASHCTL		ctl = {.keysize = sizeof(TaskqKey),.entrysize = sizeof(KeyEntry)};
	bool		found;

	keys = ShmemInitHash("taskq keys", MAX_KEYS, MAX_KEYS, &ctl,
						 HASH_ELEM | HASH_BLOBS | HASH_FIXED_SIZE);
	shares = ShmemInitStruct("taskq keys of roles", SHARES * sizeof(int),
							 &found);
	if (!found)
		memset(shares, 0, SHARES * sizeof(int));
}

/*
 * taskq_keys_init - ask for the table's room in shared memory; before
 * taskq_shmem_init
 */
void
taskq_keys_init(void)
{
	taskq_shmem_part(keys_size, init_keys);
}

/* taskq_key_limit - so many tasks of a key may run at once, for a kind */
TaskqKeyLimit
taskq_key_limit(const char *kind, int n)
{
	return (TaskqKeyLimit)
	{
		.kind = hash_bytes((const unsigned char *) kind, strlen(kind)),.n = n
	};
}

static KeyEntry *
find(const TaskqKey *key)
{
	return hash_search(keys, key, HASH_FIND, NULL);
}

/*
 * The least limit of those who have a place, and of who asks for one.
 */
static int
least_limit(const KeyEntry *entry, TaskqKeyLimit limit)
{
	int			least = limit.n;

	for (int i = 0; i < KINDS; i++)
	{
		if (entry->kinds[i].n > 0 &&
			(!entry->kinds[i].stale ||
			 entry->kinds[i].limit.kind != limit.kind))
			least = Min(least, entry->kinds[i].limit.n);
	}
	return least;
}

/* Where the places of a kind are counted, or -1. */
static int
kind_index(const KeyEntry *entry, uint32 kind)
{
	for (int i = 0; i < KINDS; i++)
	{
		if (entry->kinds[i].n > 0 && entry->kinds[i].limit.kind == kind)
			return i;
	}
	return -1;
}

/*
 * Where they are to be counted.  Of too many kinds the last ones share a
 * place with the least limit, which lets too few run rather than too many.
 */
static int
kind_enter(KeyEntry *entry, TaskqKeyLimit limit)
{
	int			index = kind_index(entry, limit.kind);

	for (int i = 0; i < KINDS - 1 && index < 0; i++)
	{
		if (entry->kinds[i].n == 0)
			index = i;
	}
	if (index < 0)
		index = KINDS - 1;
	if (entry->kinds[index].n == 0 || entry->kinds[index].stale)
		entry->kinds[index].limit = limit;
	entry->kinds[index].stale = false;
	entry->kinds[index].limit.n = Min(entry->kinds[index].limit.n, limit.n);
	return index;
}

static bool
entry_free(const KeyEntry *entry, TaskqKeyLimit limit)
{
	return entry->held < least_limit(entry, limit) &&
		(entry->rest_until == 0 || entry->rest_until <= taskq_steady_now());
}

/*
 * taskq_key_free - could somebody with this limit have a place now?  Caller
 * holds the main lock at least shared
 */
bool
taskq_key_free(const TaskqKey *key, TaskqKeyLimit limit)
{
	KeyEntry   *entry = find(key);

	return entry == NULL || entry_free(entry, limit);
}

/*
 * taskq_key_look - the same, and who would have to give way; caller holds the
 * main lock at least shared
 */
bool
taskq_key_look(const TaskqKey *key, TaskqKeyLimit limit,
			   TaskqKeyHolders *holders)
{
	KeyEntry   *entry = find(key);

	memset(holders, 0, sizeof(*holders));
	holders->limit = limit.n;
	if (entry == NULL)
		return true;
	holders->held = entry->held;
	holders->limit = least_limit(entry, limit);
	holders->rest_until = entry->rest_until;
	return entry_free(entry, limit);
}

static int *
share_of(const TaskqKey *key)
{
	return &shares[hash_combine(murmurhash32(key->dbid),
								murmurhash32(key->role)) % SHARES];
}

static void
count_leased(KeyEntry *entry)
{
	entry->leased = true;
	(*share_of(&entry->key))++;
}

static void
remove_entry(KeyEntry *entry)
{
	if (entry->leased)
		(*share_of(&entry->key))--;
	(void) hash_search(keys, &entry->key, HASH_REMOVE, NULL);
}

/* Entries that nobody has, whose rest is over. */
static void
make_room(void)
{
	HASH_SEQ_STATUS status;
	KeyEntry   *entry;
	TimestampTz now = taskq_steady_now();

	hash_seq_init(&status, keys);
	while ((entry = hash_seq_search(&status)) != NULL)
	{
		if (entry->held == 0 && entry->rest_until <= now)
			remove_entry(entry);
	}
}

static bool
has_room(bool lease)
{
	long		max = lease ? MAX_LEASES_KEYS : MAX_KEYS;

	if (hash_get_num_entries(keys) >= max)
		make_room();
	return hash_get_num_entries(keys) < max;
}

/*
 * An entry, a new one if there is none; NULL if there is no room.  One role's
 * leases have half of it.
 */
static KeyEntry *
enter(const TaskqKey *key, bool lease)
{
	KeyEntry   *entry = find(key);

	if (entry != NULL || !has_room(lease))
		return entry;
	if (lease && *share_of(key) >= MAX_LEASES_KEYS / 2)
		return NULL;
	entry = hash_search(keys, key, HASH_ENTER_NULL, NULL);
	if (entry != NULL)
		memset((char *) entry + sizeof(TaskqKey), 0,
			   sizeof(KeyEntry) - sizeof(TaskqKey));
	if (entry != NULL && lease)
		count_leased(entry);
	return entry;
}

static void
add_place(KeyEntry *entry, TaskqKeyLimit limit)
{
	entry->kinds[kind_enter(entry, limit)].n++;
	entry->held++;
	entry->rest_until = 0;
}

/*
 * taskq_key_take - take a place, for a worker or for a lease
 *
 * False if there is none, or no room to note it.
 */
bool
taskq_key_take(const TaskqKey *key, TaskqKeyLimit limit, bool lease)
{
	KeyEntry   *entry = enter(key, lease);

	if (entry == NULL || !entry_free(entry, limit))
		return false;
	add_place(entry, limit);
	return true;
}

/*
 * taskq_key_count - somebody has a place since before the server's start
 *
 * False if there is no room to note it.
 */
bool
taskq_key_count(const TaskqKey *key, TaskqKeyLimit limit)
{
	KeyEntry   *entry = enter(key, false);

	if (entry == NULL)
		return false;
	if (entry->held == 0 && !entry->leased)
		count_leased(entry);
	add_place(entry, limit);
	return true;
}

/*
 * taskq_key_release - give a place back that was taken for this kind
 *
 * With rest_until the key is left alone until then: its first task was
 * locked, and would be again.  True if somebody waits for the place.
 */
bool
taskq_key_release(const TaskqKey *key, uint32 kind, TimestampTz rest_until)
{
	KeyEntry   *entry = find(key);
	bool		waited;
	int			index;

	if (entry == NULL || entry->held == 0)
		return false;
	index = kind_index(entry, kind);
	entry->kinds[index < 0 ? KINDS - 1 : index].n--;
	entry->held--;
	entry->rest_until = Max(entry->rest_until, rest_until);
	waited = entry->waited;
	entry->waited = false;
	if (entry->held == 0 && entry->rest_until == 0)
		remove_entry(entry);
	if (waited)
		taskq_keys_wake(key->dbid, key->role);
	return waited;
}

/* Look at the lane again at that time at the latest. */
static void
look_again(TaskqLane *lane, TimestampTz at)
{
	TaskqDb    *db = taskq_db_find(lane->dbid);

	if (lane->retry_at <= at)
		return;
	lane->retry_at = at;
	if (db != NULL)
		taskq_wake_dispatcher(db);
}

/*
 * taskq_key_wait - a lane's tasks were passed over because of their key
 *
 * True if the lane will be told; false if the key is free by now.
 */
bool
taskq_key_wait(const TaskqKey *key, TaskqKeyLimit limit, TaskqLane *lane)
{
	KeyEntry   *entry = find(key);

	if (entry != NULL && entry_free(entry, limit))
		return false;
	if (entry == NULL && has_room(false))
		return false;
	lane->waits = true;
	if (entry == NULL)
		look_again(lane, taskq_steady_now() + NO_ROOM_MS * INT64CONST(1000));
	else
	{
		entry->waited = true;
		if (entry->rest_until > 0)
			look_again(lane, entry->rest_until);
	}
	return true;
}

/*
 * taskq_keys_wake - a place was given back: a role's lanes that wait for one
 * may have something to claim; role InvalidOid: of every role
 */
void
taskq_keys_wake(Oid dbid, Oid role)
{
	for (int i = 0; i < taskq_shared->nlanes; i++)
	{
		TaskqLane  *lane = &taskq_shared->lanes[i];

		if (lane->dbid != dbid || !lane->waits ||
			(OidIsValid(role) && lane->role != role))
			continue;
		lane->waits = false;
		lane->noted = true;
		lane->dirty = true;
		lane->fresh = true;
	}
	if (pg_atomic_read_u32(&taskq_shared->claimers) > 0)
		ConditionVariableBroadcast(&taskq_shared->claimable);
}

/*
 * taskq_keys_limit - a kind has another limit: it counts for those who have
 * places, too
 */
void
taskq_keys_limit(Oid dbid, TaskqKeyLimit limit)
{
	HASH_SEQ_STATUS status;
	KeyEntry   *entry;

	hash_seq_init(&status, keys);
	while ((entry = hash_seq_search(&status)) != NULL)
	{
		int			index = kind_index(entry, limit.kind);

		if (entry->key.dbid == dbid && index >= 0)
			entry->kinds[index].limit = limit;
	}
	taskq_keys_wake(dbid, InvalidOid);
}

/*
 * taskq_keys_limits_stale - kinds of a database may have other limits: who
 * takes places for them from here on knows which
 *
 * But for what several kinds may share, whose least limit stays.
 */
void
taskq_keys_limits_stale(Oid dbid)
{
	HASH_SEQ_STATUS status;
	KeyEntry   *entry;

	hash_seq_init(&status, keys);
	while ((entry = hash_seq_search(&status)) != NULL)
	{
		for (int i = 0; i < KINDS - 1 && entry->key.dbid == dbid; i++)
			entry->kinds[i].stale = true;
	}
	taskq_keys_wake(dbid, InvalidOid);
}

/* taskq_keys_forget - nothing is known of a database any more */
void
taskq_keys_forget(Oid dbid)
{
	HASH_SEQ_STATUS status;
	KeyEntry   *entry;

	hash_seq_init(&status, keys);
	while ((entry = hash_seq_search(&status)) != NULL)
	{
		if (entry->key.dbid == dbid)
			remove_entry(entry);
	}
}
