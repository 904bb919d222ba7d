/*-------------------------------------------------------------------------
 *
 * place.c
 *		How many tasks of a kind, or of a queue, may run at a time.
 *
 * A place is what runs one task at a time: a worker with a batch, from before
 * it looks for the tasks until it is through with them.  Nothing is counted
 * up or down: the workers' slots say what they have places of, and who takes
 * one looks at all of them, under the main lock in which it takes its own.
 * So a limit is not passed for an instant, and no place can be lost, however
 * a worker ends.
 *
 * What the limits are is read from the definitions.  Who changes them counts
 * up their number under the main lock when that is committed; who takes a
 * place sees there whether what it has read still holds.
 *
 * A lane for which there is no room is held: nobody scans it, starts workers
 * for it, or is woken for what is submitted to it, until somebody makes room
 * where it needs some.  Then it is no longer held, and a worker of its role
 * is called; if others were faster it is held again.
 *
 * All functions but taskq_limits_of: the caller holds the main lock
 * exclusively, and none fails.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <limits.h>

#include "common/hashfn.h"
#include "lanes/lane.h"
#include "lanes/place.h"

/* Where room is needed, or is made. */
#define IN_QUEUE 0x01
#define IN_KIND 0x02

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

	limits->of.queue = lane->queue;
	limits->of.kind = lane->kind;
	limits->of.kind_owner = lane->kind_owner;
	limits->of.queue_hash = string_hash(NameStr(lane->queue), NAMEDATALEN);
	limits->of.kind_hash = hash_combine(string_hash(NameStr(lane->kind),
													NAMEDATALEN),
										lane->kind_owner);
	limits->queue_max = queue ? queue->max_running : 0;
	limits->kind_max = kind && kind->owner_id == lane->kind_owner
		? kind->max_running
		: 0;
	limits->limited = limits->queue_max > 0 || limits->kind_max > 0;
}

/* What two places have in common. */
static int
common(const TaskqPlace *a, const TaskqPlace *b)
{
	int			in = 0;

	if (a->queue_hash == b->queue_hash &&
		strcmp(NameStr(a->queue), NameStr(b->queue)) == 0)
		in |= IN_QUEUE;
	if (a->kind_hash == b->kind_hash && a->kind_owner == b->kind_owner &&
		strcmp(NameStr(a->kind), NameStr(b->kind)) == 0)
		in |= IN_KIND;
	return in;
}

/*
 * How many more may run, and where room is needed if there is none.
 */
static int
count_room(Oid dbid, const TaskqLimits *limits, int *where)
{
	int			in_queue = 0;
	int			in_kind = 0;
	int			room = INT_MAX;

	*where = 0;
	for (int i = 0; i < taskq_shared->nslots; i++)
	{
		TaskqSlot  *slot = &taskq_shared->slots[i];
		int			in;

		if (!slot->placed || slot->dbid != dbid)
			continue;
		in = common(&slot->place, &limits->of);
		in_queue += (in & IN_QUEUE) != 0;
		in_kind += (in & IN_KIND) != 0;
	}
	if (limits->queue_max > 0)
		room = Min(room, limits->queue_max - in_queue);
	if (limits->queue_max > 0 && in_queue >= limits->queue_max)
		*where |= IN_QUEUE;
	if (limits->kind_max > 0)
		room = Min(room, limits->kind_max - in_kind);
	if (limits->kind_max > 0 && in_kind >= limits->kind_max)
		*where |= IN_KIND;
	return Max(room, 0);
}

/*
 * taskq_place_room - how many more tasks of a lane may run now
 *
 * If none may, the lane is held.
 */
int
taskq_place_room(TaskqLane *lane, const TaskqLimits *limits)
{
	TaskqDb    *db;
	int			where;
	int			room;

	/* where they have changed meanwhile, whoever claims looks again */
	if (!limits->limited || !taskq_defs_current())
		return INT_MAX;
	room = count_room(lane->dbid, limits, &where);
	if (room > 0)
		return room;
	lane->held = where;
	lane->queue_hash = limits->of.queue_hash;
	lane->kind_hash = limits->of.kind_hash;
	db = taskq_db_find(lane->dbid);
	if (db != NULL)
		db->holds = true;
	return 0;
}

/*
 * taskq_place_take - take a place for a worker, which then looks for tasks of
 * this lane
 */
TaskqPlaceResult
taskq_place_take(TaskqSlot *slot, TaskqLane *lane, const TaskqLimits *limits)
{
	if (!taskq_defs_current())
		return TASKQ_PLACE_STALE;
	if (taskq_place_room(lane, limits) == 0)
		return TASKQ_PLACE_NONE;
	slot->placed = true;
	slot->place = limits->of;
	return TASKQ_PLACE_TAKEN;
}

/*
 * Is a lane held for room there?  A lane has hashes only: at worst somebody
 * looks for nothing.
 */
static bool
held_for(const TaskqLane *lane, const TaskqPlace *place)
{
	return ((lane->held & IN_QUEUE) != 0 &&
			lane->queue_hash == place->queue_hash) ||
		((lane->held & IN_KIND) != 0 && lane->kind_hash == place->kind_hash);
}

/* Lanes that were held for room there are so no more. */
static void
made_room(TaskqDb *db, const TaskqPlace *place, Oid looking)
{
	db->holds = false;
	for (int i = 0; i < taskq_shared->nlanes; i++)
	{
		TaskqLane  *lane = &taskq_shared->lanes[i];

		if (lane->dbid != db->dbid || lane->held == 0)
			continue;
		if (place != NULL && !held_for(lane, place))
		{
			db->holds = true;
			continue;
		}
		lane->held = 0;
		if (!lane->dirty)
			continue;
		taskq_claimable_wake();
		if (lane->role != looking)
			taskq_lane_wake(db, lane->role);
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
	if (db != NULL && db->holds)
		made_room(db, &slot->place, looks_again ? slot->role : InvalidOid);
}

/*
 * taskq_places_open - limits of this database have changed: whoever is held
 * looks again
 */
void
taskq_places_open(TaskqDb *db)
{
	if (db->holds)
		made_room(db, NULL, InvalidOid);
}
