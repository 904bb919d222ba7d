/*-------------------------------------------------------------------------
 *
 * explain_room.c
 *		Is there room for a task: within limits and rates, and of its key?
 *
 * What is asked is what a claim would be told (lanes/place.h, keys.h).
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xlog.h"
#include "api/explain.h"
#include "base/clock.h"
#include "base/json.h"
#include "lanes/keys.h"
#include "lanes/lane.h"
#include "lanes/leasekeys.h"
#include "lanes/place.h"
#include "miscadmin.h"
#include "store/keyed.h"
#include "store/leases.h"
#include "store/state.h"
#include "utils/timestamp.h"

/* ---- what a limit is of ---- */

static bool
same_place(const NameData *queue, const NameData *kind, int32 kind_owner,
		   const TaskqLaneDef *lane, int what)
{
	if (what & (TASKQ_QUEUE_ROOM | TASKQ_QUEUE_TOKENS))
		return strcmp(NameStr(*queue), NameStr(lane->queue)) == 0;
	if (what & (TASKQ_KIND_ROOM | TASKQ_KIND_TOKENS))
		return strcmp(NameStr(*kind), NameStr(lane->kind)) == 0 &&
			kind_owner == lane->kind_owner;
	return true;
}

/* Tasks that have the places of a queue, of a kind, or of all. */
static void
find_placed(const TaskqLaneDef *lane, int what, TaskqOthers *others)
{
	TaskqSeenSlot *slots;
	int			nslots = taskq_slots_look(&slots, NULL);
	List	   *leases = taskq_lease_ids();
	ListCell   *lc;
	int			looked = 0;

	for (int i = 0; i < nslots; i++)
	{
		if (slots[i].dbid == MyDatabaseId && slots[i].placed &&
			slots[i].in_task &&
			same_place(&slots[i].place.queue, &slots[i].place.kind,
					   slots[i].place.kind_owner, lane, what))
			taskq_others_add(others, &slots[i].task);
	}
	foreach(lc, leases)
	{
		TaskqRow	row;
		const TaskqLaneDef *other;

		if (looked++ == TASKQ_MAX_LOOKED || others->nshown == TASKQ_MAX_NAMED)
			break;
		if (!taskq_store_find(lfirst(lc), &row))
			continue;
		other = taskq_lane_get(DatumGetInt32(taskq_row_value(&row, lane)));
		if (other != NULL &&
			same_place(&other->queue, &other->kind, other->kind_owner, lane,
					   what))
			taskq_others_add(others, lfirst(lc));
	}
}

static void
explain_limit(TaskqExplain *explain, int what, int max, int taken)
{
	const TaskqLaneDef *lane = explain->lane;
	TaskqOthers others = {0};
	const char *code = "limit";
	char	   *message;
	const char *hint;

	find_placed(lane, what, &others);
	if (what == TASKQ_QUEUE_ROOM)
	{
		code = "queue_limit";
		message = psprintf("Queue \"%s\" runs as many tasks as it may: max_running is %d.", NameStr(lane->queue), max);
		hint = "It starts when one of them ends; taskq.queue_define() with another max_running changes the limit.";
	}
	else if (what == TASKQ_KIND_ROOM)
	{
		code = "kind_limit";
		message = psprintf("As many tasks of kind \"%s\" run as may: max_running is %d.", NameStr(lane->kind), max);
		hint = "It starts when one of them ends; taskq.kind_define() with another max_running changes the limit.";
	}
	else
	{
		code = "database_limit";
		message = psprintf("As many tasks run in this database as may: taskq.max_running is %d.", max);
		hint = "It starts when one of them ends; taskq.max_running changes the limit.";
	}
	taskq_reason_begin(explain, code, message, hint);
	taskq_json_number(&explain->json, "limit", max);
	if (!explain->limited)
		taskq_json_number(&explain->json, "running", taken);
	taskq_others_put(explain, &others);
	taskq_reason_end(explain);
}

static void
explain_rate(TaskqExplain *explain, bool queue, const TaskqLimit *limit,
			 TimestampTz until)
{
	const TaskqLaneDef *lane = explain->lane;
	TimestampTz at = GetCurrentTimestamp() +
	Max(until - taskq_steady_now(), 0);

	taskq_reason_begin(explain, queue ? "queue_rate" : "kind_rate",
					   queue
					   ? psprintf("Queue \"%s\" has started as many tasks as it may for now: rate is %d in %g s.", NameStr(lane->queue), limit->rate, limit->rate_us / 1e6)
					   : psprintf("As many tasks of kind \"%s\" were started as may be for now: rate is %d in %g s.", NameStr(lane->kind), limit->rate, limit->rate_us / 1e6),
					   queue
					   ? "taskq.queue_define() with another rate changes that."
					   : "taskq.kind_define() with another rate changes that.");
	taskq_json_number(&explain->json, "rate", limit->rate);
	taskq_reason_time(explain, "not_before", at);
	taskq_reason_end(explain);
}

/*
 * The room that a claim would find.  An entry of the lane's is made up where
 * shared memory has none now.
 */
static void
look_at_room(const TaskqExplain *explain, const TaskqLimits *limits,
			 TaskqRoom *room)
{
	TaskqLane	made_up = {.dbid = MyDatabaseId,.id = explain->lane->id,
		.role = explain->lane->role_oid,.priority = explain->lane->priority,
	.head = explain->id,.leaves = TASKQ_ALL_LEAVES};
	bool		known = false;

	for (int i = 0; i < 10 && !known; i++)
	{
		TaskqLane  *lane;

		if (i > 0)
			taskq_defs_begin();
		if (!RecoveryInProgress())
			taskq_place_prepare(limits);
		LWLockAcquire(taskq_main_lock, LW_EXCLUSIVE);
		lane = taskq_lane_find(MyDatabaseId, explain->lane->id);
		known = taskq_place_look(lane ? lane : &made_up, limits,
								 explain->internal, room);
		LWLockRelease(taskq_main_lock);
	}
}

/*
 * taskq_explain_room - limits and rates of its queue, its kind and the
 * database, and reserved places
 *
 * Takes the main lock.
 */
void
taskq_explain_room(TaskqExplain *explain)
{
	TaskqLimits limits;
	TaskqRoom	room;

	taskq_limits_of(explain->lane, &limits);
	look_at_room(explain, &limits, &room);
	if (room.kept)
	{
		taskq_reason(explain, "called",
					 "Others that have waited longer are just being called to the place that is free.",
					 NULL);
		return;
	}
	if (room.missing & TASKQ_QUEUE_ROOM)
		explain_limit(explain, TASKQ_QUEUE_ROOM, limits.queue.max_running,
					  room.in_queue);
	if (room.missing & TASKQ_KIND_ROOM)
		explain_limit(explain, TASKQ_KIND_ROOM, limits.kind.max_running,
					  room.in_kind);
	if (room.missing & TASKQ_ALL_ROOM)
		explain_limit(explain, TASKQ_ALL_ROOM, taskq_shared->max_running,
					  room.in_all);
	if (room.missing & TASKQ_QUEUE_TOKENS)
		explain_rate(explain, true, &limits.queue, room.until);
	if (room.missing & TASKQ_KIND_TOKENS)
		explain_rate(explain, false, &limits.kind, room.until);
	if (room.missing & TASKQ_WORKERS)
		taskq_reason(explain, "places_reserved",
					 "The places for workers that are left are reserved for other queues.",
					 "taskq.queue_define() with another reserved changes that, or a higher taskq.max_workers.");
}

/* ---- its key ---- */

static void
find_key_holders(const TaskqExplain *explain, const TaskqKey *key,
				 TaskqOthers *others)
{
	TaskqSeenSlot *slots;
	int			nslots = taskq_slots_look(&slots, key);
	List	   *leases = taskq_lease_ids();
	ListCell   *lc;
	int			looked = 0;

	for (int i = 0; i < nslots; i++)
	{
		if (slots[i].has_key)
			taskq_others_add(others, &slots[i].task);
	}
	foreach(lc, leases)
	{
		TaskqRow	row;
		const TaskqLaneDef *lane;

		if (looked++ == TASKQ_MAX_LOOKED)
			break;
		if (!taskq_store_find(lfirst(lc), &row) ||
			taskq_row_isnull(&row, concurrency_key) ||
			taskq_key_hash(&row) != key->number)
			continue;
		lane = taskq_lane_get(DatumGetInt32(taskq_row_value(&row, lane)));
		if (lane != NULL && lane->role_oid == key->role)
			taskq_others_add(others, lfirst(lc));
	}
}

/*
 * taskq_explain_key - who has its concurrency key; takes the main lock
 */
void
taskq_explain_key(TaskqExplain *explain)
{
	TaskqKey	key = {.dbid = MyDatabaseId,.role = explain->lane->role_oid};
	TaskqKeyLimit limit;
	TaskqKeyHolders holders;
	TaskqOthers others = {0};
	bool		is_free;

	if (!taskq_lane_keyed(explain->lane->id))
		return;
	key.number = taskq_key_hash(&explain->row);
	limit = taskq_lane_key_limit(explain->lane);
	LWLockAcquire(taskq_main_lock, LW_SHARED);
	is_free = taskq_key_look(&key, limit, &holders);
	LWLockRelease(taskq_main_lock);
	if (is_free)
		return;
	if (holders.held < holders.limit)
	{
		taskq_reason(explain, "key_rests",
					 "The first task of its concurrency key was locked by another session when its turn came; the key is looked at again in a moment.",
					 NULL);
		return;
	}
	find_key_holders(explain, &key, &others);
	taskq_reason_begin(explain, "key_busy",
					   psprintf("Its concurrency key is in use by %s.", taskq_others_name(&others)),
					   "It starts when that has ended; kind_define(max_running_per_key => ...) lets more of a key run at a time.");
	taskq_json_number(&explain->json, "limit", holders.limit);
	taskq_others_put(explain, &others);
	taskq_reason_end(explain);
}
