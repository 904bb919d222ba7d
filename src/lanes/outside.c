/*-------------------------------------------------------------------------
 *
 * outside.c
 *		Who works outside of the server.
 *
 * Programs that claim tasks have no process here.  Whoever claims, sends a
 * heartbeat or ends an attempt is noted in shared memory, by the name that it
 * gave and the role of its session: when it was heard of, what it asked for,
 * what it has done.  That costs no write, and is for looking only: nothing
 * depends on it.  After the server's start a worker is known again when it
 * has been heard of again.
 *
 * Who is not heard of for as long as its last lease, and does not wait in a
 * claim, is offline; an hour after that it is forgotten.  Where there is no
 * room, who was silent for the longest time makes some.  The last quarter is
 * for roles that have not as much yet, and a role that has more than a quarter
 * makes room among its own: nobody's names drive out others'.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "base/clock.h"
#include "base/shmem.h"
#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "lanes/outside.h"
#include "miscadmin.h"
#include "storage/shmem.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#define FORGET_US USECS_PER_HOUR
#define SHARE (TASKQ_OUTSIDERS / 4)

typedef struct Outside
{
	uint32		generations;
	uint32		hashes[TASKQ_OUTSIDERS];	/* of database, role and name */
	TaskqOutsider all[TASKQ_OUTSIDERS];
} Outside;

static Outside *outside = NULL;

/* the one that this session was last, and what it was then */
static int	mine = -1;
static uint32 mine_generation;

static Size
table_size(void)
{
	return sizeof(Outside);
}

static void
table_init(void)
{
	bool		found;

	outside = ShmemInitStruct("taskq outside", sizeof(Outside), &found);
	if (!found)
		memset(outside, 0, sizeof(Outside));
}

/*
 * taskq_outside_init - ask for the table's room in shared memory; before
 * taskq_shmem_init
 */
void
taskq_outside_init(void)
{
	taskq_shmem_part(table_size, table_init);
}

/* ---- what it works on ---- */

/*
 * taskq_capabilities - keep the names of an array, or (NULL) that it is all
 *
 * As many as there is room for.
 */
void
taskq_capabilities(TaskqCapabilities *list, ArrayType *names)
{
	Datum	   *items;
	bool	   *nulls;
	int			n;

	memset(list, 0, sizeof(*list));
	list->all = names == NULL;
	if (names == NULL)
		return;
	deconstruct_array(names, TEXTOID, -1, false, TYPALIGN_INT, &items, &nulls,
					  &n);
	for (int i = 0; i < n && !list->cut; i++)
	{
		char	   *name = nulls[i] ? "" : TextDatumGetCString(items[i]);
		int			len = strlen(name) + 1;

		list->cut = len > sizeof(list->names) - list->len;
		if (nulls[i] || list->cut)
			continue;
		memcpy(list->names + list->len, name, len);
		list->len += len;
	}
}

/* taskq_capable - is a name in the list, or may it be? */
bool
taskq_capable(const TaskqCapabilities *list, const char *name)
{
	if (list->all || list->cut)
		return true;
	for (int at = 0; at < list->len; at += strlen(list->names + at) + 1)
	{
		if (strcmp(list->names + at, name) == 0)
			return true;
	}
	return false;
}

/* ---- entries ---- */

static bool
is_of(const TaskqOutsider *outsider, Oid role, const char *name)
{
	return outsider->dbid == MyDatabaseId && outsider->role == role &&
		strcmp(NameStr(outsider->name), name) == 0;
}

static uint32
hash_of(Oid role, const char *name)
{
	return hash_combine(hash_combine(string_hash(name, NAMEDATALEN), role),
						MyDatabaseId);
}

static TaskqOutsider *
find(Oid role, const char *name)
{
	uint32		hash = hash_of(role, name);

	for (int i = 0; i < TASKQ_OUTSIDERS; i++)
	{
		if (outside->hashes[i] == hash && is_of(&outside->all[i], role, name))
			return &outside->all[i];
	}
	return NULL;
}

/* Who makes room for another one of this role; NULL if all of them wait. */
static TaskqOutsider *
room_for(Oid role)
{
	TaskqOutsider *free = NULL;
	TaskqOutsider *oldest = NULL;
	TaskqOutsider *oldest_own = NULL;
	int			nfree = 0;
	int			own = 0;

	for (int i = 0; i < TASKQ_OUTSIDERS; i++)
	{
		TaskqOutsider *one = &outside->all[i];

		if (!OidIsValid(one->dbid))
		{
			free = one;
			nfree++;
			continue;
		}
		own += one->role == role;
		if (one->waiting > 0)
			continue;
		if (oldest == NULL || one->seen < oldest->seen)
			oldest = one;
		if (one->role == role &&
			(oldest_own == NULL || one->seen < oldest_own->seen))
			oldest_own = one;
	}
	if (free != NULL && (own < SHARE || nfree > SHARE))
		return free;
	return own >= SHARE ? oldest_own : oldest;
}

/*
 * The entry of this name and the session's role, made if there is none; NULL
 * if there is no room.  Caller holds the main lock exclusively.
 */
static TaskqOutsider *
enter(Oid role, const char *name)
{
	TaskqOutsider *outsider = mine >= 0 ? &outside->all[mine] : NULL;

	if (outsider != NULL && is_of(outsider, role, name))
		return outsider;
	outsider = find(role, name);
	if (outsider == NULL && (outsider = room_for(role)) != NULL)
	{
		memset(outsider, 0, sizeof(*outsider));
		outside->hashes[outsider - outside->all] = hash_of(role, name);
		outsider->dbid = MyDatabaseId;
		outsider->generation = ++outside->generations;
		outsider->role = role;
		namestrcpy(&outsider->name, name);
		outsider->first_at = GetCurrentTimestamp();
		outsider->queues.all = outsider->kinds.all = true;
	}
	mine = outsider ? outsider - outside->all : -1;
	return outsider;
}

/* It is there: since now, and for so long without another word. */
static void
hear(TaskqOutsider *outsider, int64 lease_us)
{
	outsider->last_at = GetCurrentTimestamp();
	outsider->seen = taskq_steady_now();
	outsider->silence_us = lease_us;
}

/* ---- what it does ---- */

/* taskq_outside_claims - a worker of this name asks for tasks */
void
taskq_outside_claims(const char *name, const TaskqOutsiderClaim *claim)
{
	TaskqOutsider *outsider;
	Oid			role = GetUserId();

	LWLockAcquire(taskq_main_lock, LW_EXCLUSIVE);
	outsider = enter(role, name);
	if (outsider != NULL)
	{
		hear(outsider, claim->lease_us);
		outsider->most = claim->n;
		outsider->queues = claim->queues;
		outsider->kinds = claim->kinds;
		mine_generation = outsider->generation;
	}
	LWLockRelease(taskq_main_lock);
}

/*
 * taskq_outside_waits - who made this session's last claim waits for tasks
 * from now on, or does so no more
 */
void
taskq_outside_waits(bool waits)
{
	TaskqOutsider *outsider = mine >= 0 ? &outside->all[mine] : NULL;

	if (outsider == NULL)
		return;
	LWLockAcquire(taskq_main_lock, LW_EXCLUSIVE);
	/* who waits is not driven out, so it is still the same */
	if (outsider->generation == mine_generation)
	{
		outsider->waiting += waits ? 1 : -1;
		hear(outsider, outsider->silence_us);
	}
	LWLockRelease(taskq_main_lock);
}

/*
 * taskq_outside_heard - a worker of this name has a task, and says so
 */
void
taskq_outside_heard(const char *name, int64 lease_us)
{
	TaskqOutsider *outsider;
	Oid			role = GetUserId();

	LWLockAcquire(taskq_main_lock, LW_EXCLUSIVE);
	outsider = enter(role, name);
	if (outsider != NULL)
		hear(outsider, lease_us);
	LWLockRelease(taskq_main_lock);
}

/* Whoever has this name. */
static TaskqOutsider *
find_anyone(const char *name)
{
	for (int i = 0; i < TASKQ_OUTSIDERS; i++)
	{
		if (is_of(&outside->all[i], outside->all[i].role, name))
			return &outside->all[i];
	}
	return NULL;
}

/*
 * taskq_outside_ended - attempts of a worker of this name have come to their
 * ends, and that is committed
 *
 * role: InvalidOid if nobody knows; then it is whoever has that name.  us: how
 * long they took.  Caller holds the main lock exclusively.
 */
void
taskq_outside_ended(Oid role, const char *name, bool completed, int n,
					int64 us)
{
	TaskqOutsider *outsider = OidIsValid(role) ? find(role, name)
	: find_anyone(name);

	if (outsider == NULL)
		return;
	if (completed)
		outsider->completed += n;
	else
		outsider->failed += n;
	outsider->busy_us += us;
}

/* ---- looking ---- */

/* taskq_outside_online - would it have been heard of, if it were there? */
bool
taskq_outside_online(const TaskqOutsider *outsider)
{
	return outsider->waiting > 0 ||
		taskq_steady_now() - outsider->seen <= outsider->silence_us;
}

/*
 * taskq_outside_copy - those of this database that are not forgotten,
 * palloc'd; how many
 */
int
taskq_outside_copy(TaskqOutsider **copy)
{
	TimestampTz since = taskq_steady_now() - FORGET_US;
	int			n = 0;

	*copy = palloc(sizeof(outside->all));
	LWLockAcquire(taskq_main_lock, LW_SHARED);
	for (int i = 0; i < TASKQ_OUTSIDERS; i++)
	{
		TaskqOutsider *one = &outside->all[i];

		if (one->dbid == MyDatabaseId &&
			(one->waiting > 0 || one->seen + one->silence_us >= since))
			(*copy)[n++] = *one;
	}
	LWLockRelease(taskq_main_lock);
	return n;
}
