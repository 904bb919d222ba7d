/*-------------------------------------------------------------------------
 *
 * waiting.c
 *		Tasks that others wait for, as far as shared memory knows.
 *
 * Who ends a task does not look into a table to see whether somebody waits
 * for it.  A filter in shared memory tells: a bit for each task that is
 * waited for, by a hash of its id.  If the bit of a task that has ended is
 * set, its id goes to a list from which the dispatcher takes it, who looks
 * into the tables (dispatch/unblock.c).  A bit that is set for nothing costs
 * such a look.
 *
 * No end is missed, whichever of two commits comes first:
 *
 *	- A task's end is announced after its commit is visible; the bit is tested then.
 *	- The commit of who submits a task that waits sets the bits of those it waits
 *	  for, and puts them on the list as well: they may have ended just before.
 *	- When the list is full, and when nothing is known (the server has started, a
 *	  prepared transaction has ended), the dispatcher looks through all tasks that
 *	  wait.  It sets a bit first, and then looks how that task stands.
 *
 * Bits are never cleared one by one.  When there are too many, other bits are
 * set in the other half of the filter from then on; each database that has
 * tasks that wait looks through them, which sets theirs, and when the last
 * one has, the first half is cleared.  Until then both are tested.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "base/guc.h"
#include "common/hashfn.h"
#include "lanes/waiting.h"

#define BITS_FULL (TASKQ_FILTER_BITS / 8)

bool		taskq_waiting_mute = false;

static uint32
bit_of(const TaskqDb *db, const pg_uuid_t *id)
{
	return hash_combine(hash_bytes(id->data, UUID_LEN), db->dbid) %
		TASKQ_FILTER_BITS;
}

/* taskq_waiting_look - all tasks of a database that wait are looked through */
void
taskq_waiting_look(TaskqDb *db)
{
	db->look = true;
	taskq_wake_dispatcher(db);
}

/*
 * From here on bits are set in the other half; databases bring theirs.
 */
static void
turn(void)
{
	taskq_shared->half = 1 - taskq_shared->half;
	taskq_shared->generation++;
	taskq_shared->turning = true;
	taskq_shared->bits_set = 0;
	for (int i = 0; i < taskq_max_databases; i++)
	{
		TaskqDb    *db = &taskq_shared->dbs[i];

		if (OidIsValid(db->dbid) && db->awaited)
			taskq_waiting_look(db);
	}
}

/* taskq_waiting_expect - somebody waits for this task */
void
taskq_waiting_expect(TaskqDb *db, const pg_uuid_t *id)
{
	uint32		bit = bit_of(db, id);
	uint64	   *word = &taskq_shared->filter[taskq_shared->half][bit / 64];

	db->awaited = true;
	if (*word & UINT64CONST(1) << bit % 64)
		return;
	*word |= UINT64CONST(1) << bit % 64;
	taskq_shared->bits_set++;
	if (!taskq_shared->turning &&
		taskq_shared->bits_set > Max(taskq_shared->bits_full, BITS_FULL))
		turn();
}

/*
 * taskq_waiting_maybe - may somebody wait for this task?
 *
 * Without the lock what is being set at this moment may be missed.
 */
bool
taskq_waiting_maybe(TaskqDb *db, const pg_uuid_t *id)
{
	uint32		bit;

	if (!db->awaited)
		return false;
	bit = bit_of(db, id);
	return ((taskq_shared->filter[0][bit / 64] |
			 (taskq_shared->filter[1][bit / 64])) &
			UINT64CONST(1) << bit % 64) != 0;
}

/*
 * taskq_waiting_check - the dispatcher shall see how this task stands, and
 * who waits for it
 */
void
taskq_waiting_check(TaskqDb *db, const pg_uuid_t *id)
{
	if (taskq_shared->nended == TASKQ_ENDED)
		db->look = true;
	if (!db->look)
	{
		TaskqEnded *ended = &taskq_shared->ended[taskq_shared->nended++];

		ended->dbid = db->dbid;
		ended->id = *id;
	}
	taskq_wake_dispatcher(db);
}

/* taskq_waiting_ended - a task has ended, and that is visible to everybody */
void
taskq_waiting_ended(TaskqDb *db, const pg_uuid_t *id)
{
	if (!taskq_waiting_mute && taskq_waiting_maybe(db, id))
		taskq_waiting_check(db, id);
}

/* taskq_waiting_take - up to max tasks of a database, off the list */
int
taskq_waiting_take(Oid dbid, pg_uuid_t *ids, int max)
{
	int			taken = 0;
	int			kept = 0;

	for (int i = 0; i < taskq_shared->nended; i++)
	{
		if (taskq_shared->ended[i].dbid == dbid && taken < max)
			ids[taken++] = taskq_shared->ended[i].id;
		else
			taskq_shared->ended[kept++] = taskq_shared->ended[i];
	}
	taskq_shared->nended = kept;
	return taken;
}

/* taskq_waiting_left - is there something for the dispatcher to look at? */
bool
taskq_waiting_left(TaskqDb *db)
{
	for (int i = 0; i < taskq_shared->nended; i++)
	{
		if (taskq_shared->ended[i].dbid == db->dbid)
			return true;
	}
	return db->look;
}

/*
 * taskq_waiting_looked - a look through all of a database's, which began with
 * this generation of the filter, is over
 */
void
taskq_waiting_looked(TaskqDb *db, uint32 generation)
{
	db->looked = generation;
	if (!taskq_shared->turning)
		return;
	for (int i = 0; i < taskq_max_databases; i++)
	{
		TaskqDb    *each = &taskq_shared->dbs[i];

		if (OidIsValid(each->dbid) && each->awaited &&
			each->looked != taskq_shared->generation)
			return;
	}
	memset(taskq_shared->filter[1 - taskq_shared->half], 0,
		   sizeof(taskq_shared->filter[0]));
	taskq_shared->turning = false;
	taskq_shared->bits_full = taskq_shared->bits_set * 2;
}

/* taskq_waiting_drop - a database is gone, or nobody serves it */
void
taskq_waiting_drop(Oid dbid)
{
	pg_uuid_t	ids[64];

	while (taskq_waiting_take(dbid, ids, lengthof(ids)) > 0)
		;
}
