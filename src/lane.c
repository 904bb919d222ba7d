/*-------------------------------------------------------------------------
 *
 * lane.c
 *		What shared memory knows of the lanes: where the claimable tasks begin.
 *
 * A lane's watermark is an id.  The invariant that everything here keeps: a
 * claimable task of a lane in shared memory
 *
 *	- has an id at or above the watermark, in a leaf whose bit is set, or
 *	- is in again[], or
 *	- is among the items of a worker's slot (whoever leaves it out for that marks
 *	  it there, and it is noted again when the worker is through with it), or
 *	- is covered by skipped/skipped_leaves, which come back at retry_at.
 *
 * Ids need not come in order.  Whatever makes a task claimable (the commit of a
 * submit, a timer, a worker that gives back, the end of a transaction that had
 * the row locked) lowers the watermark to its id: that is always right, and
 * costs a scan over finished tasks at worst.  A scan that is under way when
 * that happens would raise it again; so the scan resets min_noted before it
 * takes its snapshot and raises the watermark to no more than that.
 *
 * A lane that is not in shared memory has its watermark at the beginning.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "guc.h"
#include "lane.h"
#include "utils/timestamp.h"

#define MAX_BACKOFF_MS 5000

/* Where this process last saw a lane; checked before it is believed. */
typedef struct LaneHint
{
	int32		id;
	int			index;
} LaneHint;

static LaneHint hints[256];

/* taskq_lane_find - a lane of a database, or NULL */
TaskqLane *
taskq_lane_find(Oid dbid, int32 id)
{
	LaneHint   *hint = &hints[id % lengthof(hints)];

	if (hint->id == id && hint->index < taskq_shared->nlanes)
	{
		TaskqLane  *lane = &taskq_shared->lanes[hint->index];

		if (lane->dbid == dbid && lane->id == id)
			return lane;
	}
	for (int i = 0; i < taskq_shared->nlanes; i++)
	{
		TaskqLane  *lane = &taskq_shared->lanes[i];

		if (lane->dbid == dbid && lane->id == id)
		{
			hint->id = id;
			hint->index = i;
			return lane;
		}
	}
	return NULL;
}

/* A free entry, a new one (which is taken into use only if so told), or one that nothing is known of but its watermark; NULL if all are needed. */
static TaskqLane *
lane_allocate_from(bool take)
{
	TaskqLane  *idle = NULL;

	for (int i = 0; i < taskq_shared->nlanes; i++)
	{
		TaskqLane  *lane = &taskq_shared->lanes[i];

		if (!OidIsValid(lane->dbid))
			return lane;
		if (!lane->dirty && lane->running <= 0 && lane->scanner < 0 && lane->retry_at == DT_NOEND)
			idle = lane;
	}
	if (taskq_shared->nlanes < taskq_max_lanes)
	{
		idle = &taskq_shared->lanes[taskq_shared->nlanes];
		taskq_shared->nlanes += take;
	}
	return idle;
}

static int
lanes_of(Oid dbid, Oid role)
{
	int			n = 0;

	for (int i = 0; i < taskq_shared->nlanes; i++)
		n += taskq_shared->lanes[i].dbid == dbid && taskq_shared->lanes[i].role == role;
	return n;
}

/*
 * Take away the entry of a lane that is not in use now, so that it has to be found
 * again: one of this role's own, or one of a role that has more of them.  Looks at
 * a few, drawn by lot: who has most of the entries is met soon.
 */
static TaskqLane *
take_away(Oid dbid, Oid role, bool own)
{
	int			mine = lanes_of(dbid, role);

	for (int tries = 0; tries < 16; tries++)
	{
		TaskqLane  *lane = &taskq_shared->lanes[random() % taskq_shared->nlanes];
		bool		is_own = lane->dbid == dbid && lane->role == role;
		TaskqDb    *db;

		if (lane->running > 0 || lane->scanner >= 0 || is_own != own ||
			(!own && lanes_of(lane->dbid, lane->role) <= mine + 1))
			continue;
		db = taskq_db_find(lane->dbid);
		if (db != NULL)
			db->rescan = true;
		return lane;
	}
	return NULL;
}

static void
fill_entry(TaskqLane *lane, TaskqDb *db, int32 id, Oid role, int16 priority)
{
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
	memset(&lane->min_noted, 0xff, UUID_LEN);
	memset(&lane->head, 0xff, UUID_LEN);
	memset(&lane->skipped, 0xff, UUID_LEN);
}

/*
 * taskq_lane_enter - find a lane or make room for it
 *
 * A new entry is scanned from the beginning.  NULL if there is no room, also at
 * the cost of a role that has more lanes than this one: the database is marked, and
 * its dispatcher comes back to the lane.
 */
TaskqLane *
taskq_lane_enter(TaskqDb *db, int32 id, Oid role, int16 priority)
{
	TaskqLane  *lane = taskq_lane_find(db->dbid, id);

	if (lane != NULL)
	{
		/* what was noted of a lane that was rolled back: its number is another's by now */
		if ((lane->role != role || lane->priority != priority) && lane->running <= 0 && lane->scanner < 0)
			fill_entry(lane, db, id, role, priority);
		return lane;
	}
	lane = lane_allocate_from(true);
	if (lane == NULL)
		lane = take_away(db->dbid, role, false);
	if (lane == NULL)
		db->rescan = true;
	else
		fill_entry(lane, db, id, role, priority);
	return lane;
}

/*
 * taskq_lane_take_turn - let a lane that found no room have that of another one of its role
 *
 * The dispatcher goes through all of them again and again, so each is there now and
 * then.  NULL if that is not possible now.
 */
TaskqLane *
taskq_lane_take_turn(TaskqDb *db, int32 id, Oid role, int16 priority)
{
	TaskqLane  *lane = take_away(db->dbid, role, true);

	if (lane != NULL)
		fill_entry(lane, db, id, role, priority);
	return lane;
}

/* taskq_lane_rewind - there may be claimable tasks from this id on, in these leaves */
void
taskq_lane_rewind(TaskqLane *lane, const pg_uuid_t *id, uint32 leaves)
{
	taskq_id_lower(&lane->watermark, id);
	taskq_id_lower(&lane->min_noted, id);
	if (lane->dirty)
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

/* taskq_lane_ready - one task became claimable, perhaps far behind the watermark */
void
taskq_lane_ready(TaskqLane *lane, const pg_uuid_t *id)
{
	lane->waiting++;
	taskq_lane_again(lane, id);
}

/*
 * taskq_lane_again - one task is, or may be, claimable, perhaps far behind the watermark
 *
 * Remembered one by one as long as there is room, to spare a scan.
 */
void
taskq_lane_again(TaskqLane *lane, const pg_uuid_t *id)
{
	lane->dirty = true;
	lane->fresh = true;
	if (lane->nagain < TASKQ_AGAIN_MAX && taskq_id_cmp(id, &lane->watermark) < 0)
		lane->again[lane->nagain++] = *id;
	else
		taskq_lane_rewind(lane, id, taskq_leaf_bit(id));
}

/*
 * taskq_lane_skipped - somebody else has this task's row locked
 *
 * What our own functions lock they note when their transaction ends.  For
 * everybody else's locks we look again, less and less often.
 */
void
taskq_lane_skipped(TaskqLane *lane, const pg_uuid_t *id, TimestampTz steady_now)
{
	taskq_id_lower(&lane->skipped, id);
	lane->skipped_leaves |= taskq_leaf_bit(id) | 1u << TASKQ_KEEP;
	if (lane->retry_at == DT_NOEND)
	{
		lane->backoff = Min(Max(lane->backoff * 2, 20), MAX_BACKOFF_MS);
		lane->retry_at = TimestampTzPlusMilliseconds(steady_now, lane->backoff);
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

/* taskq_lanes_rewind_all - nothing is known any more of what is claimable in a database */
void
taskq_lanes_rewind_all(Oid dbid)
{
	pg_uuid_t	beginning;

	memset(&beginning, 0, sizeof(beginning));
	for (int i = 0; i < taskq_shared->nlanes; i++)
	{
		if (taskq_shared->lanes[i].dbid == dbid)
			taskq_lane_rewind(&taskq_shared->lanes[i], &beginning, TASKQ_ALL_LEAVES);
	}
}

/*
 * taskq_lane_wake - somebody shall look for work of this role
 *
 * An idle worker if there is one; else the dispatcher, which may start one, or
 * send away one that idles for another role.  Not the dispatcher when the role
 * has workers and all others are busy too, or when it knows: they look when they
 * are through.
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
	if (of_role == 0 || (!enough && (in_all < taskq_max_workers || idle_other)) || db->dispatcher == 0)
		taskq_wake_dispatcher(db);
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
	return lane_allocate_from(false) == NULL;
}

/* taskq_lane_leave_out - forget a lane that cannot be run now; when it can, it is scanned from the beginning */
void
taskq_lane_leave_out(TaskqDb *db, int32 id)
{
	TaskqLane  *lane = taskq_lane_find(db->dbid, id);

	db->left_out = true;
	if (lane != NULL && lane->running <= 0 && lane->scanner < 0)
		lane->dbid = InvalidOid;
}
