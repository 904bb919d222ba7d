/*-------------------------------------------------------------------------
 *
 * turn.c
 *		Whose the next place for a worker is, when there are not enough.
 *
 * Places are scarce in two ways: taskq.max_workers is reached, or the server
 * has no room for another process (max_worker_processes, which taskq shares
 * with others and can't count).  Roles without any worker that find none
 * queue up, over all databases, first come first served; nobody else takes a
 * place while somebody waits.  Who holds one makes room for the first of
 * them: a worker that is idle at once, a busy one between two batches when it
 * has had its share, and where processes are what is short, a dispatcher that
 * can start nothing either. One of them, not all at once.
 *
 * A dispatcher says with every pass that its roles still wait.  Who does not
 * say so for some seconds waits no longer: nobody waits for a process that is
 * gone.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "base/clock.h"
#include "base/guc.h"
#include "lanes/turn.h"
#include "utils/timestamp.h"

#define TURN_US (5 * USECS_PER_SEC) /* so long somebody waits without saying
									 * so again */

/* Index of the first who waits, or the number of entries if nobody does. */
static int
turn_first(TimestampTz now)
{
	int			i = 0;

	while (i < taskq_shared->nturns &&
		   now - taskq_shared->turns[i].asked_at > TURN_US)
		i++;
	return i;
}

static int
turn_find(Oid dbid, Oid role)
{
	int			i = 0;

	while (i < taskq_shared->nturns && (taskq_shared->turns[i].dbid != dbid ||
										taskq_shared->turns[i].role != role))
		i++;
	return i;
}

static void
turn_remove(int i)
{
	taskq_shared->nturns--;
	memmove(&taskq_shared->turns[i], &taskq_shared->turns[i + 1],
			(taskq_shared->nturns - i) * sizeof(TaskqTurn));
}

/*
 * taskq_turn_ask - this role waits for a place, behind those that came before
 * it, or still does
 *
 * The launcher waits for one for a database's dispatcher as role InvalidOid.
 */
void
taskq_turn_ask(Oid dbid, Oid role)
{
	TimestampTz now = taskq_steady_now();
	int			i = turn_find(dbid, role);

	/* who did not say so in time has lost its place */
	if (i < taskq_shared->nturns &&
		now - taskq_shared->turns[i].asked_at > TURN_US)
	{
		turn_remove(i);
		i = taskq_shared->nturns;
	}
	if (i == taskq_shared->nturns)
	{
		if (i == lengthof(taskq_shared->turns))
			return;				/* it comes again */
		taskq_shared->turns[i] = (TaskqTurn)
		{
			.dbid = dbid,.role = role
		};
		taskq_shared->nturns++;
	}
	taskq_shared->turns[i].asked_at = now;
}

/* taskq_turn_over - ... and has one */
void
taskq_turn_over(Oid dbid, Oid role)
{
	int			i = turn_find(dbid, role);

	if (i < taskq_shared->nturns)
		turn_remove(i);
	taskq_shared->room_made_at = 0;
}

/*
 * taskq_turn_forget - whoever of this database has not asked since (steady
 * time) waits no longer
 */
void
taskq_turn_forget(Oid dbid, TimestampTz before)
{
	for (int i = taskq_shared->nturns - 1; i >= 0; i--)
	{
		if (taskq_shared->turns[i].dbid == dbid &&
			taskq_shared->turns[i].asked_at < before)
			turn_remove(i);
	}
}

/*
 * taskq_turn_of_other - is the next place kept for somebody else?  The lock
 * may be shared.
 */
bool
taskq_turn_of_other(Oid dbid, Oid role)
{
	int			i;

	/* as it mostly is */
	if (taskq_shared->nturns == 0)
		return false;
	i = turn_first(taskq_steady_now());
	return i < taskq_shared->nturns && (taskq_shared->turns[i].dbid != dbid ||
										taskq_shared->turns[i].role != role);
}

/*
 * taskq_turn_room_due - shall somebody be told to leave now?
 *
 * Not while one who was told just now may be on its way out.
 */
bool
taskq_turn_room_due(void)
{
	TimestampTz now = taskq_steady_now();

	if (taskq_shared->room_made_at != 0 &&
		now - taskq_shared->room_made_at < TASKQ_ROOM_MS * 1000)
		return false;
	taskq_shared->room_made_at = now;
	return true;
}

/*
 * taskq_turn_make_room - shall who serves this role leave, for the first of
 * those who wait?
 *
 * True for one of those who ask; the others stay, unless that was of no use.
 */
bool
taskq_turn_make_room(Oid dbid, Oid role)
{
	return taskq_turn_of_other(dbid, role) && taskq_turn_room_due();
}

/*
 * taskq_turn_give_way - shall this database's dispatcher leave, for lack of a
 * process?
 *
 * When the first who waits is of a database that has a dispatcher too, and
 * nobody else makes room.
 */
bool
taskq_turn_give_way(Oid dbid)
{
	int			i = turn_first(taskq_steady_now());
	TaskqDb    *db;

	if (!taskq_shared->no_process || i == taskq_shared->nturns ||
		taskq_shared->turns[i].dbid == dbid)
		return false;
	db = taskq_db_find(taskq_shared->turns[i].dbid);
	return db != NULL && db->dispatcher > 0 &&
		taskq_turn_make_room(dbid, InvalidOid);
}

/*
 * taskq_turn_needs_process - does a role wait for a process?  The lock may be
 * shared.
 */
bool
taskq_turn_needs_process(void)
{
	return taskq_shared->no_process &&
		turn_first(taskq_steady_now()) < taskq_shared->nturns;
}

/* ---- the place that is kept ---- */

/* taskq_place_known - this role has something to do, here and now */
void
taskq_place_known(TaskqDb *db, Oid role)
{
	if (db->known[0] == role)
		return;
	db->known[1] = db->known[0];
	db->known[0] = role;
}

/* Is another role known? */
static bool
other_known(Oid role)
{
	for (int i = 0; i < taskq_max_databases; i++)
	{
		TaskqDb    *db = &taskq_shared->dbs[i];

		for (int j = 0; OidIsValid(db->dbid) && j < lengthof(db->known); j++)
		{
			if (OidIsValid(db->known[j]) && db->known[j] != role)
				return true;
		}
	}
	return false;
}

/*
 * taskq_place_kept - is the last place not for this role, because it holds
 * all others?
 *
 * Its tasks may be endless, and nothing that runs is taken back for others.
 * The lock may be shared.
 */
bool
taskq_place_kept(Oid role)
{
	int			of_role = 0;

	if (!taskq_reserve_worker || taskq_max_workers < 2)
		return false;
	for (int i = 0; i < taskq_shared->nslots; i++)
	{
		TaskqSlot  *slot = &taskq_shared->slots[i];

		of_role += slot->state != TASKQ_SLOT_FREE && slot->role == role;
	}
	return of_role >= taskq_max_workers - 1 && other_known(role);
}
