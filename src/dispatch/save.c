/*-------------------------------------------------------------------------
 *
 * save.c
 *		Saving the lanes' watermarks, so that a restart does not begin anew.
 *
 * Part of the dispatcher's pass.  What may be saved is argued in lane.c.  It
 * is looked up under the main lock, all at once, and written in a transaction
 * of its own, which nobody waits for: if it is lost in a crash the one before
 * is good too.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/twophase.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "dispatch/dispatcher.h"
#include "dispatch/pass.h"
#include "executor/spi.h"
#include "lanes/lane.h"
#include "lanes/note.h"
#include "miscadmin.h"
#include "storage/proc.h"
#include "store/state.h"
#include "store/ready.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#define SAVE_MS 200				/* between two of them */
#define LONG_MS 1000			/* a task that runs for longer gets a row in
								 * table "ready" */
#define MAX_LANES 500			/* saved at once */

/* What is to be saved of one lane. */
typedef struct Save
{
	int			index;
	uint32		generation;
	int32		lane;
	pg_uuid_t	saved;			/* as it is */
	pg_uuid_t	id;				/* as it is to be */
} Save;

/* A task that runs for long. */
typedef struct LongTask
{
	int32		lane;
	pg_uuid_t	id;
} LongTask;

#define MAX_LONG TASKQ_BATCH_MAX

typedef struct SavePlan
{
	int			n;
	Save		saves[MAX_LANES];
	bool		held;			/* a transaction under way is in the way */
	int			nlong;
	LongTask	tasks[MAX_LONG];
} SavePlan;

static TimestampTz next_save = 0;	/* not before it */

/*
 * More lanes than are saved at once are a round of several portions.  It goes
 * on where the last portion ended: lanes that can't be saved now, or rise
 * again and again, are not all that is ever looked at.
 */
static int	hand = 0;			/* the entry to look at next */
static int	left = 0;			/* entries not looked at yet in this round */

/* Tasks to which we have given a row, which is theirs as long as they run. */
static int	ngiven = 0;
static LongTask given[MAX_LONG];

/* ---- what may be saved ---- */

/*
 * A lane shall not be saved beyond this id.  What is before the saved
 * watermark has a row in table "ready" already; else due tasks, which are
 * old, would keep a lane from ever being saved.
 */
static void
hold(Save *save, const pg_uuid_t *id)
{
	if (taskq_id_cmp(id, &save->saved) >= 0)
		taskq_id_lower(&save->id, id);
}

/* A transaction has this in hand: no lane shall be saved beyond it. */
static void
hold_all(SavePlan *plan, const pg_uuid_t *id)
{
	for (int i = 0; i < plan->n; i++)
	{
		plan->held |= taskq_id_cmp(id, &plan->saves[i].id) < 0 &&
			taskq_id_cmp(id, &plan->saves[i].saved) >= 0;
		hold(&plan->saves[i], id);
	}
}

/* What is to be saved of a lane, or NULL. */
static Save *
find_save(SavePlan *plan, int32 lane)
{
	for (int i = 0; i < plan->n; i++)
	{
		if (plan->saves[i].lane == lane)
			return &plan->saves[i];
	}
	return NULL;
}

/* What is to be saved of the lane with this entry, if anything. */
static void
collect_lane(SavePlan *plan, int index)
{
	TaskqLane  *lane = &taskq_shared->lanes[index];
	Save	   *save;

	if (lane->dbid != MyDatabaseId || !lane->known ||
		taskq_id_cmp(&lane->watermark, &lane->saved) <= 0)
		return;
	save = &plan->saves[plan->n++];
	memset(save, 0, sizeof(*save));
	save->index = index;
	save->generation = lane->generation;
	save->lane = lane->id;
	save->saved = lane->saved;
	save->id = lane->watermark;
	if (lane->retry_at != DT_NOEND)
		hold(save, &lane->skipped);
}

/*
 * The next portion of a round, or the first of a new one: who rises from here
 * on says so anew.
 */
static void
collect_lanes(SavePlan *plan)
{
	if (left == 0)
	{
		left = taskq_shared->nlanes;
		taskq_dispatcher.db->unsaved = false;
		taskq_dispatcher.db->held = false;
		taskq_dispatcher.db->passed = 0;
	}
	for (; left > 0 && plan->n < MAX_LANES; left--)
	{
		hand = (hand + 1) % taskq_shared->nlanes;
		collect_lane(plan, hand);
	}
}

static bool
has_row(const LongTask *task)
{
	for (int i = 0; i < ngiven; i++)
	{
		if (taskq_id_eq(&given[i].id, &task->id))
			return true;
	}
	return false;
}

/*
 * What a worker has in hand.  Not what it has been at for long: that gets
 * rows.  An item that did not end counts until the batch is over, whatever
 * became of it.
 */
static void
hold_items(SavePlan *plan, int slotno, TimestampTz now)
{
	TaskqSlot  *slot = &taskq_shared->slots[slotno];
	Save	   *save = find_save(plan, slot->lane_id);
	bool		is_long;

	LWLockAcquire(taskq_slot_lock(slotno), LW_SHARED);
	is_long = slot->in_task && plan->nlong + slot->next <= MAX_LONG &&
		TimestampDifferenceExceeds(slot->task_started_at, now, LONG_MS);
	for (int i = 0; i < slot->nitems; i++)
	{
		LongTask	task = {.lane = slot->lane_id,.id = slot->items[i].id};

		if (slot->outcome[i] != TASKQ_UNDONE &&
			slot->outcome[i] != TASKQ_DROPPED)
			continue;
		if (save != NULL && taskq_id_cmp(&task.id, &save->saved) < 0 &&
			!has_row(&task))
			continue;			/* has a row of its own */
		if (is_long && i < slot->next && (save != NULL || has_row(&task)))
			plan->tasks[plan->nlong++] = task;
		else if (save != NULL)
			hold(save, &task.id);
	}
	LWLockRelease(taskq_slot_lock(slotno));
}

static void
hold_prepared(SavePlan *plan, const TaskqPrepared *prepared)
{
	static const pg_uuid_t none = {{0}};
	bool		told = !prepared->all && !prepared->many;

	if (!told && !taskq_id_eq(&prepared->bound, &none))
		hold_all(plan, &prepared->bound);
	for (int i = 0; i < prepared->nlanes && told; i++)
	{
		Save	   *save = find_save(plan, prepared->lanes[i].lane);

		if (save != NULL &&
			taskq_id_cmp(&prepared->lanes[i].lowest, &save->id) < 0)
			plan->held = true;
		if (save != NULL)
			hold(save, &prepared->lanes[i].lowest);
	}
}

/* What transactions under way have made or locked. */
static void
hold_bounds(SavePlan *plan)
{
	static const pg_uuid_t none = {{0}};

	for (int i = 0; i < MaxBackends; i++)
	{
		const pg_uuid_t *bound = &taskq_shared->bounds[i];

		if (taskq_id_eq(bound, &none) ||
			ProcGlobal->allProcs[i].databaseId != MyDatabaseId)
			continue;
		if (taskq_id_is_lowest(bound))
		{
			/*
			 * it ends a transaction of which nothing is known: see
			 * taskq_note_ending
			 */
			plan->n = 0;
			plan->held = true;
		}
		hold_all(plan, bound);
	}
	for (int i = 0; i < taskq_shared->nprepared; i++)
	{
		if (taskq_shared->prepared[i].dbid == MyDatabaseId)
			hold_prepared(plan, &taskq_shared->prepared[i]);
	}
	/* not recorded yet: nobody looks at them, so no scan knows them */
	for (int i = 0; i < taskq_shared->nsuspects; i++)
	{
		if (taskq_shared->suspects[i].dbid == MyDatabaseId)
			hold_all(plan, &taskq_shared->suspects[i].id);
	}
}

/*
 * Leave out what did not rise, and raise the floor: who makes ids from here
 * on sees it.
 */
static void
settle_plan(SavePlan *plan)
{
	int			n = 0;

	for (int i = 0; i < plan->n; i++)
	{
		Save	   *save = &plan->saves[i];

		if (taskq_id_cmp(&save->id,
						 &taskq_shared->lanes[save->index].saved) <= 0)
			continue;
		if (taskq_id_cmp(&save->id, &taskq_dispatcher.db->floor) > 0)
			taskq_dispatcher.db->floor = save->id;
		plan->saves[n++] = *save;
	}
	plan->n = n;
}

/* False if a transaction was prepared just now of which nothing is known. */
static bool
make_plan(SavePlan *plan, uint32 unprepared)
{
	TimestampTz now = GetCurrentTimestamp();
	bool		ours;

	plan->n = plan->nlong = 0;
	plan->held = false;
	LWLockAcquire(taskq_main_lock, LW_EXCLUSIVE);
	ours = taskq_shared->unprepared == unprepared;
	if (ours)
	{
		collect_lanes(plan);
		for (int i = 0; i < taskq_shared->nslots; i++)
		{
			if (taskq_shared->slots[i].dbid == MyDatabaseId)
				hold_items(plan, i, now);
		}
		hold_bounds(plan);
		settle_plan(plan);
	}

	/*
	 * who is in the way may have ended before the round has: that clears
	 * "held" only
	 */
	taskq_dispatcher.db->unsaved |= plan->held;
	taskq_dispatcher.db->held |= plan->held;
	LWLockRelease(taskq_main_lock);
	return ours;
}

/*
 * Is there a prepared transaction here of which nothing is known, as after a
 * restart?
 *
 * One that is ended between this look and make_plan announces a bound before
 * it is gone, and keeps it until the lanes are rewound; one that is prepared
 * in between has its bound in shared memory, or is counted in "unprepared",
 * read before.
 */
static bool
unknown_prepared(void)
{
	bool		unknown = false;

	if (max_prepared_xacts == 0)
		return false;
	taskq_pass_begin();
	SPI_connect();
	if (SPI_execute("SELECT gid FROM pg_catalog.pg_prepared_xacts WHERE database = pg_catalog.current_database()",
					true, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read the prepared transactions");
	for (uint64 i = 0; i < SPI_processed && !unknown; i++)
		unknown = !taskq_note_prepared_here(SPI_getvalue(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1));
	SPI_finish();
	taskq_pass_commit();
	return unknown;
}

/* ---- writing it ---- */

static bool
is_long(const SavePlan *plan, const LongTask *task)
{
	for (int i = 0; i < plan->nlong; i++)
	{
		if (taskq_id_eq(&plan->tasks[i].id, &task->id))
			return true;
	}
	return false;
}

/* Is a task that we gave a row to not running any more? */
static bool
any_ended(const SavePlan *plan)
{
	for (int i = 0; i < ngiven; i++)
	{
		if (!is_long(plan, &given[i]))
			return true;
	}
	return false;
}

/*
 * Rows for the tasks that run for long by now; those of others that are over
 * go.
 */
static void
write_long(SavePlan *plan)
{
	int			tidied = -1;

	for (int i = 0; i < ngiven; i++)
	{
		if (is_long(plan, &given[i]) ||
			(tidied >= 0 && given[tidied].lane == given[i].lane))
			continue;
		taskq_ready_tidy(given[i].lane);
		/* the same lane may come again, after another one */
		CommandCounterIncrement();
		tidied = i;
	}
	for (int i = 0; i < plan->nlong; i++)
	{
		if (has_row(&plan->tasks[i]))
			continue;

		/*
		 * one from before that is still there, of a dispatcher that ended, is
		 * as good
		 */
		taskq_ready_delete(plan->tasks[i].lane, DT_NOBEGIN,
						   &plan->tasks[i].id);
		CommandCounterIncrement();
		taskq_ready_insert(plan->tasks[i].lane, DT_NOBEGIN,
						   &plan->tasks[i].id);
	}
}

/* It is committed: scans may rely on it. */
static void
apply_plan(SavePlan *plan)
{
	TaskqDue	first;

	taskq_due_first(&first);
	LWLockAcquire(taskq_main_lock, LW_EXCLUSIVE);
	for (int i = 0; i < plan->nlong; i++)
	{
		TaskqLane  *lane = taskq_lane_find(MyDatabaseId, plan->tasks[i].lane);

		/* the worker may have given it back meanwhile */
		if (lane != NULL && !has_row(&plan->tasks[i]))
			taskq_lane_ready(lane, &first);
	}
	for (int i = 0; i < plan->n; i++)
	{
		TaskqLane  *lane = &taskq_shared->lanes[plan->saves[i].index];

		if (lane->generation == plan->saves[i].generation &&
			lane->dbid == MyDatabaseId)
			lane->saved = plan->saves[i].id;
	}
	LWLockRelease(taskq_main_lock);
	ngiven = plan->nlong;
	memcpy(given, plan->tasks, sizeof(LongTask) * plan->nlong);
}

static void
write_plan(SavePlan *plan)
{
	taskq_pass_begin();
	write_long(plan);
	for (int i = 0; i < plan->n; i++)
		taskq_watermark_write(plan->saves[i].lane, &plan->saves[i].id);
	taskq_pass_commit_async();
	apply_plan(plan);
}

/*
 * Nothing can be saved now: after the next many tasks, or when a transaction
 * that kept us from it ends.
 */
static void
save_later(void)
{
	LWLockAcquire(taskq_main_lock, LW_EXCLUSIVE);
	taskq_dispatcher.db->unsaved = true;
	taskq_dispatcher.db->held = true;
	taskq_dispatcher.db->passed = 0;
	LWLockRelease(taskq_main_lock);
	left = 0;
}

static void
save(void)
{
	SavePlan   *plan = palloc(sizeof(SavePlan));
	uint32		unprepared = taskq_shared->unprepared;

	if (unknown_prepared() || !make_plan(plan, unprepared))
		save_later();
	else if (plan->n > 0 || any_ended(plan))
		write_plan(plan);
}

/* Does no worker have anything in hand? */
static bool
is_quiet(void)
{
	for (int i = 0; i < taskq_shared->nslots; i++)
	{
		TaskqSlot  *slot = &taskq_shared->slots[i];

		if (slot->dbid == MyDatabaseId && (slot->state == TASKQ_SLOT_BUSY ||
										   slot->state == TASKQ_SLOT_ORPHAN))
			return false;
	}
	return true;
}

/*
 * taskq_save - save how far the lanes have come
 *
 * After many tasks, when all have come to their end, and when the dispatcher
 * is to leave; not for a task that just runs, for which nobody shall wake up
 * again.
 */
void
taskq_save(void)
{
	TaskqDb    *db = taskq_dispatcher.db;
	bool		leaving = db->leave || db->blocked > 0;
	TimestampTz now = GetCurrentTimestamp();

	/*
	 * before that nobody who makes ids knows how far others were saved: see
	 * note.c
	 */
	if (!db->loaded || (!db->unsaved && ngiven == 0 && left == 0))
		return;
	if (!leaving && left == 0 && db->passed < TASKQ_SAVE_TASKS && !is_quiet())
		return;
	if (!leaving && next_save > now &&
		next_save <= TimestampTzPlusMilliseconds(now, SAVE_MS))
	{
		taskq_look_again_at(next_save);
		return;
	}
	next_save = TimestampTzPlusMilliseconds(now, SAVE_MS);
	save();
	if (left > 0)
		taskq_look_again_in(SAVE_MS);
	else if (db->unsaved && !db->held)
		taskq_look_again_at(next_save);
}
