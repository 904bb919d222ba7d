/*-------------------------------------------------------------------------
 *
 * leasekeys.c
 *		Concurrency keys of tasks that external workers have.
 *
 * A lease outlives the server, its place of a key does not: that is in shared
 * memory.  So whoever first takes a place of a database's keys, or ends a
 * lease of such a task, after the server's start counts the leases that there
 * are.  Nobody makes or ends one meanwhile, since all pass here before; and
 * no transaction from before the start can, since what does so is not
 * prepared (note.c).
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_class.h"
#include "lanes/keys.h"
#include "lanes/leasekeys.h"
#include "lanes/note.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "store/keyed.h"
#include "store/leases.h"
#include "store/state.h"

/* A place that a lease has. */
typedef struct LeasePlace
{
	TaskqKey	key;
	TaskqKeyLimit limit;
} LeasePlace;

/*
 * taskq_lane_key_limit - so many tasks of a key may run at once, for tasks of
 * this lane, or (NULL) of one that is gone
 *
 * Needs a transaction, and taskq_defs_begin.
 */
TaskqKeyLimit
taskq_lane_key_limit(const TaskqLaneDef *lane)
{
	const char *name = lane ? NameStr(lane->kind) : TASKQ_SQL_KIND;
	const TaskqKind *kind = taskq_kind_get(name);

	return taskq_key_limit(name, kind ? kind->max_running_per_key : 1);
}

/* The place of a task's lease; false if it has none. */
static bool
place_of(TaskqRow *row, LeasePlace *place)
{
	const TaskqLaneDef *lane;

	if (!taskq_lane_keyed(DatumGetInt32(taskq_row_value(row, lane))))
		return false;
	lane = taskq_lane_get(DatumGetInt32(taskq_row_value(row, lane)));
	if (lane == NULL)
		return false;
	place->key.dbid = MyDatabaseId;
	place->key.role = lane->role_oid;
	place->key.number = taskq_key_hash(row);
	place->limit = taskq_lane_key_limit(lane);
	return true;
}

/* The places of all leases; how many. */
static int
read_places(LeasePlace **places)
{
	List	   *ids = taskq_lease_ids();
	ListCell   *lc;
	int			n = 0;

	*places = palloc_extended(sizeof(LeasePlace) * Max(list_length(ids), 1),
							  MCXT_ALLOC_HUGE);
	foreach(lc, ids)
	{
		TaskqRow	row;

		CHECK_FOR_INTERRUPTS();
		if (taskq_store_find(lfirst(lc), &row) &&
			taskq_row_state(&row) == TASKQ_LEASED)
			n += place_of(&row, &(*places)[n]);
	}
	return n;
}

static bool
is_counted(void)
{
	TaskqDb    *db;
	bool		counted;

	LWLockAcquire(taskq_main_lock, LW_SHARED);
	db = taskq_db_find(MyDatabaseId);
	counted = db != NULL && db->keys_counted;
	LWLockRelease(taskq_main_lock);
	return counted;
}

/*
 * taskq_lease_keys_count - make sure that the keys of all leases are known
 *
 * Needs a transaction, and taskq_defs_begin.  One session counts, others wait
 * for it.
 */
void
taskq_lease_keys_count(void)
{
	Oid			table;
	LeasePlace *places;
	int			n;
	TaskqDb    *db;
	bool		room = true;

	if (taskq_shared == NULL || is_counted())
		return;
	table = taskq_store_oid(TASKQ_REL_KEYED);
	LockDatabaseObject(RelationRelationId, table, 1, ExclusiveLock);
	if (!is_counted())
	{
		n = read_places(&places);
		LWLockAcquire(taskq_main_lock, LW_EXCLUSIVE);
		for (int i = 0; i < n; i++)
			room &= taskq_key_count(&places[i].key, places[i].limit);
		db = taskq_db_enter(MyDatabaseId);
		if (db != NULL)
			db->keys_counted = true;
		LWLockRelease(taskq_main_lock);
		pfree(places);
	}
	UnlockDatabaseObject(RelationRelationId, table, 1, ExclusiveLock);
	if (!room)
		ereport(WARNING,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("too many tasks with concurrency keys are claimed by external workers"),
				 errdetail("Others with these keys may run beside them.")));
}

/*
 * taskq_lease_key_ended - a task's lease ends: so does its place, if that is
 * committed
 */
void
taskq_lease_key_ended(TaskqRow *row)
{
	const TaskqLaneDef *lane;

	if (taskq_shared == NULL ||
		!taskq_lane_keyed(DatumGetInt32(taskq_row_value(row, lane))))
		return;
	taskq_lease_keys_count();
	lane = taskq_lane_get(DatumGetInt32(taskq_row_value(row, lane)));
	if (lane != NULL)
		taskq_note_key_freed(lane, taskq_key_hash(row),
							 taskq_lane_key_limit(lane));
}
