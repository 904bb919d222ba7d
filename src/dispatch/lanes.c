/*-------------------------------------------------------------------------
 *
 * lanes.c
 *		Makes a database's lanes known to shared memory.
 *
 * After the server's start, when taskq.resume() has them read again, and when
 * one found no room.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "base/clock.h"
#include "base/shmem.h"
#include "commands/dbcommands.h"
#include "dispatch/dispatcher.h"
#include "dispatch/pass.h"
#include "lanes/claim.h"
#include "lanes/lane.h"
#include "lanes/place.h"
#include "miscadmin.h"
#include "store/defs.h"
#include "store/ready.h"
#include "store/stocks.h"
#include "utils/hsearch.h"

typedef struct LaneCount
{
	int32		lane;
	int64		n;
} LaneCount;

static void
count_pending(const TaskqStock *stock, void *arg)
{
	LaneCount  *count;
	bool		found;

	if (stock->state != TASKQ_PENDING)
		return;
	count = hash_search(arg, &stock->lane, HASH_ENTER, &found);
	count->n = (found ? count->n : 0) + stock->n;
}

/* How many tasks waited in each lane when that was written last. */
static HTAB *
read_pending(void)
{
	HASHCTL		ctl = {.keysize = sizeof(int32),
		.entrysize = sizeof(LaneCount),
	.hcxt = CurrentMemoryContext};
	HTAB	   *table = hash_create("taskq lanes' tasks", 256, &ctl,
									HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);

	taskq_stock_visit(NULL, count_pending, table);
	return table;
}

/* So many wait, if there is any; a look that finds none says so. */
static void
set_waiting(int32 id, HTAB *pending)
{
	LaneCount  *count = hash_search(pending, &id, HASH_FIND, NULL);
	TaskqLane  *lane;

	if (count == NULL)
		return;
	LWLockAcquire(taskq_main_lock, LW_EXCLUSIVE);
	lane = taskq_lane_find(MyDatabaseId, id);
	if (lane != NULL && lane->dirty)
		lane->waiting = Max(lane->waiting, count->n);
	LWLockRelease(taskq_main_lock);
}

/*
 * Make a lane known, and look for its first tasks.
 *
 * *scarce: there was no room for one of those before.  Then those that cannot
 * be run now are left out: a change of definitions brings them back.
 */
static void
load_lane(const TaskqLaneDef *lane, bool *scarce)
{
	bool		open;
	TaskqLane  *entry;

	if (!taskq_dispatcher.db->loaded)
		taskq_ready_tidy(lane->id);
	open = taskq_lane_runnable(lane->id, lane->role_oid) ||
		taskq_lane_claimable(lane);
	LWLockAcquire(taskq_main_lock, LW_EXCLUSIVE);
	*scarce = *scarce || taskq_lanes_full();
	if (!open && *scarce)
	{
		taskq_lane_leave_out(taskq_dispatcher.db, lane->id);
		LWLockRelease(taskq_main_lock);
		return;
	}
	entry = taskq_lane_enter(taskq_dispatcher.db, lane->id, lane->role_oid,
							 lane->priority);
	if (entry == NULL)
		entry = taskq_lane_take_turn(taskq_dispatcher.db, lane->id,
									 lane->role_oid, lane->priority);
	if (entry != NULL)
		entry->tenant = lane->tenant;
	LWLockRelease(taskq_main_lock);
	if (entry == NULL)
		taskq_look_again_in(TASKQ_RETRY_MS);
	else
		(void) taskq_claim_probe(MyDatabaseId, lane->id,
								 taskq_dispatcher.scanner);
}

/* All lanes that were made here; returns how many were made elsewhere. */
static int
load_each_lane(void)
{
	List	   *ids = taskq_lane_ids();
	ListCell   *lc;
	HTAB	   *pending = taskq_dispatcher.db->loaded ? NULL : read_pending();
	int			foreign = 0;
	bool		scarce = false;

	foreach(lc, ids)
	{
		const TaskqLaneDef *lane = taskq_lane_get(lfirst_int(lc));

		CHECK_FOR_INTERRUPTS();
		if (lane == NULL)
			continue;
		if (lane->foreign)
		{
			foreign++;
			continue;
		}
		load_lane(lane, &scarce);
		if (pending != NULL)
			set_waiting(lane->id, pending);
	}
	return foreign;
}

/* Say once what is not run here though it is in the tables. */
static void
report_left_alone(int foreign)
{
	if (taskq_dispatcher.db->loaded)
		return;
	if (foreign > 0)
		ereport(LOG,
				(errmsg("taskq leaves tasks alone that were submitted in another database or server"),
				 errdetail_plural("They are in %d lane.", "They are in %d lanes.", foreign, foreign),
				 errhint("To run them here, call taskq.resume() in database \"%s\".", get_database_name(MyDatabaseId))));
	if (taskq_db_paused(MyDatabaseId))
		ereport(LOG,
				(errmsg("taskq runs no tasks in database \"%s\" because the server was started with taskq.start_paused",
						get_database_name(MyDatabaseId)),
				 errhint("To run them, call taskq.resume() in the database.")));
}

/* The queues that have reserved places. */
static void
load_reserved(void)
{
	List	   *queues;

	taskq_defs_begin();
	queues = taskq_queues_reserved();
	LWLockAcquire(taskq_main_lock, LW_EXCLUSIVE);
	if (!taskq_places_reserved(queues))
		taskq_dispatcher.db->rescan = true;
	LWLockRelease(taskq_main_lock);
}

/*
 * taskq_load_lanes - look through all lanes: after the server's start, and
 * when one found no room in shared memory
 *
 * Each is scanned from where it was saved last.  In a transaction of its own;
 * takes the main lock.
 */
void
taskq_load_lanes(void)
{
	pg_uuid_t	floor;
	int			foreign;

	LWLockAcquire(taskq_main_lock, LW_EXCLUSIVE);
	taskq_dispatcher.db->rescan = false;
	LWLockRelease(taskq_main_lock);

	taskq_pass_begin();
	taskq_defs_begin();
	/* it is not raised meanwhile: nobody but us saves */
	(void) taskq_watermark_highest(&floor);
	foreign = load_each_lane();
	report_left_alone(foreign);
	load_reserved();
	taskq_pass_commit();
	LWLockAcquire(taskq_main_lock, LW_EXCLUSIVE);
	taskq_dispatcher.db->foreign = foreign > 0;
	if (taskq_id_cmp(&floor, &taskq_dispatcher.db->floor) > 0)
		taskq_dispatcher.db->floor = floor;
	/* taskq.resume() makes the lanes be read again */
	if (foreign > 0 || taskq_db_paused(MyDatabaseId))
		taskq_dispatcher.db->next_sweep = DT_NOEND;
	else if (!taskq_dispatcher.db->loaded ||
			 (taskq_dispatcher.db->next_sweep == DT_NOEND &&
			  taskq_dispatcher.db->sweeper == 0))
		taskq_dispatcher.db->next_sweep = DT_NOBEGIN;
	/* an alert may have fired when the server was stopped */
	if (!taskq_dispatcher.db->loaded)
		taskq_dispatcher.db->next_check = DT_NOBEGIN;
	taskq_dispatcher.db->loaded = true;
	LWLockRelease(taskq_main_lock);
}

/*
 * taskq_settle_lanes - nothing is to be claimed: what the estimates say beyond
 * that is wrong
 *
 * Takes the main lock.
 */
void
taskq_settle_lanes(void)
{
	LWLockAcquire(taskq_main_lock, LW_EXCLUSIVE);
	if (!taskq_dispatcher.db->rescan && !taskq_dispatcher.db->left_out)
		taskq_lanes_settle(MyDatabaseId);
	LWLockRelease(taskq_main_lock);
}

/*
 * taskq_retry_skipped - look again at rows that were locked when a worker came
 * to them, and call for workers
 *
 * Takes the main lock.
 */
void
taskq_retry_skipped(void)
{
	TimestampTz now = taskq_steady_now();

	LWLockAcquire(taskq_main_lock, LW_EXCLUSIVE);
	for (int i = 0; i < taskq_shared->nlanes; i++)
	{
		TaskqLane  *lane = &taskq_shared->lanes[i];

		if (lane->dbid != MyDatabaseId || lane->retry_at == DT_NOEND)
			continue;
		if (lane->retry_at <= now)
			taskq_lane_retry_skipped(lane);
		else
			taskq_look_again_steady(lane->retry_at);
	}
	LWLockRelease(taskq_main_lock);
}
