/*-------------------------------------------------------------------------
 *
 * external_lane.c
 *		Claims tasks of one lane for an external worker.
 *
 * How many may run is counted before the lane is scanned; what no task was
 * found for is given back.  A task that was found is looked at again when its
 * row is locked, and gets its lease in the same transaction.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "api/external.h"
#include "api/previous.h"
#include "base/clock.h"
#include "base/guc.h"
#include "base/shmem.h"
#include "lanes/claim.h"
#include "lanes/lane.h"
#include "lanes/note.h"
#include "lanes/place.h"
#include "lanes/round.h"
#include "lanes/scan.h"
#include "miscadmin.h"
#include "run/complete.h"
#include "storage/ipc.h"
#include "store/defs.h"
#include "store/labels.h"
#include "store/leases.h"
#include "store/rights.h"
#include "store/state.h"
#include "store/timers.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

/* ---- one task ---- */

static void
make_token(pg_uuid_t *token)
{
	if (!pg_strong_random(token, sizeof(*token)))
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("could not generate random values")));
	token->data[6] = (token->data[6] & 0x0f) | 0x40;	/* UUID version 4 */
	token->data[8] = (token->data[8] & 0x3f) | 0x80;
}

static int64
timeout_ms_of(TaskqRow *row, const TaskqKind *kind)
{
	return taskq_row_isnull(row, timeout_ms)
		? (kind->timeout_ms > 0 ? kind->timeout_ms : taskq_default_timeout)
		: DatumGetInt64(taskq_row_value(row, timeout_ms));
}

static Datum
interval_datum(int64 ms)
{
	Interval   *interval = palloc0(sizeof(Interval));

	interval->time = ms * 1000;
	return IntervalPGetDatum(interval);
}

/* One row of what task_claim returns. */
static void
return_claimed(ReturnSetInfo *rsinfo, TaskqRow *row, const TaskqLaneDef *lane,
			   const TaskqKind *kind, TaskqLease *lease,
			   const NullableDatum * previous)
{
	Datum		values[15] = {0};
	bool		nulls[15] = {false};
	int64		timeout_ms = timeout_ms_of(row, kind);
	NameData	submitter = lane->role_name;
	Oid			oid;

	if (!taskq_row_isnull(row, submitted_by))
		(void) taskq_role_read(DatumGetInt32(taskq_row_value(row, submitted_by)),
							   &submitter, &oid);
	values[0] = UUIDPGetDatum(&lease->task);
	values[1] = CStringGetTextDatum(NameStr(lane->kind));
	values[2] = CStringGetTextDatum(NameStr(lane->queue));
	values[3] = taskq_row_value(row, payload);
	nulls[3] = taskq_row_isnull(row, payload);
	values[4] = Int32GetDatum(DatumGetInt16(taskq_row_value(row, attempt)));
	values[5] = Int32GetDatum(taskq_row_isnull(row, max_attempts)
							  ? kind->max_attempts
							  : DatumGetInt16(taskq_row_value(row, max_attempts)));
	values[6] = UUIDPGetDatum(&lease->token);
	values[7] = TimestampTzGetDatum(lease->timer);
	nulls[8] = timeout_ms == 0;
	values[8] = nulls[8] ? (Datum) 0 : interval_datum(timeout_ms);
	values[9] = NameGetDatum(&submitter);
	values[10] = taskq_row_value(row, tenant);
	nulls[10] = taskq_row_isnull(row, tenant);
	values[11] = taskq_row_value(row, claims);
	nulls[11] = taskq_row_isnull(row, claims);
	values[12] = taskq_row_value(row, tags);
	nulls[12] = taskq_row_isnull(row, tags);
	values[13] = taskq_row_value(row, metadata);
	nulls[13] = taskq_row_isnull(row, metadata);
	values[14] = previous->value;
	nulls[14] = previous->isnull;
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
}

/*
 * Is a task, whose row is locked, still what it was found as?  What was taken
 * for it, of its queue, its kind and its key (or NULL), is what its end gives
 * back.
 */
static bool
still_of(TaskqRow *row, const TaskqLaneDef *lane, int32 found_in,
		 const TaskqSlotKey *key)
{
	const TaskqLaneDef *found = taskq_lane_get(found_in);

	return lane != NULL && found != NULL &&
		(lane->id == found_in ||
		 (lane->kind_owner == found->kind_owner &&
		  strcmp(NameStr(lane->queue), NameStr(found->queue)) == 0 &&
		  strcmp(NameStr(lane->kind), NameStr(found->kind)) == 0)) &&
		taskq_lane_keyed(lane->id) == (key != NULL) &&
		(key == NULL || key->key == taskq_key_hash(row));
}

/*
 * Lock one task that was found in this lane and make it the caller's; false
 * if somebody was faster, or it may not be run.
 */
static bool
claim_one(const TaskqExternalClaim *claim, int32 found_in,
		  const TaskqSlotKey *key,
		  const pg_uuid_t *id, ReturnSetInfo *rsinfo)
{
	TaskqRow	row;
	TaskqLease	lease = {.task = *id,.deadline = DT_NOEND};
	TaskqChange change = {.to = TASKQ_LEASED,.worker = claim->worker};
	const TaskqLaneDef *lane;
	const TaskqKind *kind;
	int64		timeout_ms;
	NullableDatum previous;

	if (taskq_store_lock(id, false, &row) != TASKQ_LOCKED ||
		taskq_row_state(&row) != TASKQ_PENDING)
		return false;
	lane = taskq_lane_get(DatumGetInt32(taskq_row_value(&row, lane)));
	if (!still_of(&row, lane, found_in, key))
		return false;
	kind = taskq_kind_get(NameStr(lane->kind));
	if (!taskq_row_may_work(kind, &row))
		return false;
	taskq_note_touched(lane, id);
	previous.value = taskq_previous_jsonb(&row, taskq_row_attempt(&row),
										  &previous.isnull);
	change.attempt = taskq_row_attempt(&row);
	change.started_at = GetCurrentTimestamp();
	taskq_state_change(&row, &change);

	make_token(&lease.token);
	lease.lease_ms = claim->lease_us / 1000;
	lease.until = taskq_steady_now() + claim->lease_us;
	timeout_ms = timeout_ms_of(&row, kind);
	if (timeout_ms > 0)
		lease.deadline = taskq_steady_now() + timeout_ms * 1000;
	lease.timer = change.started_at + Min(lease.until, lease.deadline) -
		taskq_steady_now();
	lease.updated_at = change.started_at;
	taskq_timer_insert(lease.timer, id, lane->id);
	/* who ends it in the same command sees both */
	taskq_lease_insert(&lease);
	taskq_note_claimed(lane);
	taskq_note_due(lease.timer);
	return_claimed(rsinfo, &row, lane, kind, &lease, &previous);
	return true;
}

/* ---- what is looked for ---- */

/* Who claims, while it is looked for what may be claimed. */
static const char *claimer;

/*
 * Is it for the caller, as far as is seen without a lock?  What is not stays
 * unlocked.
 */
static bool
may_claim_of_all(HeapTuple tuple, TupleDesc desc)
{
	bool		isnull;

	return DatumGetChar(heap_getattr(tuple, Anum_task_state, desc, &isnull)) ==
		TASKQ_PENDING &&
		(heap_attisnull(tuple, Anum_task_options, desc) ||
		 !taskq_tuple_not_for(tuple, desc, claimer));
}

static bool
may_claim(HeapTuple tuple, TupleDesc desc)
{
	return may_claim_of_all(tuple, desc) &&
		taskq_tuple_tenant_visible(tuple, desc);
}

static bool
works_for_all(int32 lane)
{
	const TaskqKind *kind =
	taskq_kind_get(NameStr(taskq_lane_get(lane)->kind));

	return kind != NULL && taskq_kind_works_for_all(kind);
}

/* ---- tasks with concurrency keys ---- */

/* Claim tasks of one key that were found; how many. */
static int
claim_of_key(const TaskqExternalClaim *claim, const TaskqRound *round,
			 int index,
			 ReturnSetInfo *rsinfo)
{
	const TaskqSlotKey *key = &round->keys[index];
	const TaskqLaneDef *lane = taskq_lane_get(round->lane);
	int			claimed = 0;

	for (int i = key->first; i < key->end; i++)
	{
		if (!taskq_note_key_taken(lane, key->key, round->limit))
			break;
		if (claim_one(claim, round->lane, key, &round->found[i].id, rsinfo))
			claimed++;
		else
			taskq_note_key_undo();
	}
	return claimed;
}

/* Look round the keys of a lane from where it is; false if the lane is gone. */
static bool
begin_round(TaskqRound *round)
{
	TaskqLane  *lane;

	LWLockAcquire(taskq_main_lock, LW_EXCLUSIVE);
	lane = taskq_lane_find(MyDatabaseId, round->lane);
	if (lane != NULL)
		taskq_round_begin(round, lane, -1);
	LWLockRelease(taskq_main_lock);
	return lane != NULL;
}

/* The lane's turn goes on after what was claimed. */
static void
leave_round(const TaskqRound *round)
{
	TaskqLane  *lane;

	LWLockAcquire(taskq_main_lock, LW_EXCLUSIVE);
	lane = taskq_lane_find(MyDatabaseId, round->lane);
	if (lane != NULL)
		lane->cursor = round->cursor;
	LWLockRelease(taskq_main_lock);
}

/*
 * Claim tasks with concurrency keys; each has a place of its key as long as
 * its lease lasts.
 */
static int
claim_keyed(const TaskqExternalClaim *claim, int32 lane, int wanted,
			ReturnSetInfo *rsinfo)
{
	TaskqRound *round = taskq_round_new(lane);
	int			claimed = 0;
	int			before = -1;

	if (!begin_round(round))
		return 0;
	round->filter = works_for_all(lane) ? may_claim_of_all : may_claim;
	round->max_of_key = Min(round->limit.n, TASKQ_BATCH_MAX);
	round->max_keys = TASKQ_BATCH_KEYS;
	round->more = true;
	/* what others have locked is passed over, but not for ever */
	while (claimed < wanted && claimed > before && round->more &&
		   taskq_defs_current())
	{
		before = claimed;
		round->max = Min(wanted - claimed, TASKQ_BATCH_MAX);
		taskq_round_look(round);
		for (int i = 0; i < round->nkeys; i++)
			claimed += claim_of_key(claim, round, i, rsinfo);
		taskq_round_next(round);
	}
	leave_round(round);
	pfree(round);
	return claimed;
}

/* ---- a lane ---- */

static void
stop_scan(int code, Datum arg)
{
	LWLockAcquire(taskq_main_lock, LW_EXCLUSIVE);
	taskq_claim_stop_scan(taskq_claim_scanner());
	LWLockRelease(taskq_main_lock);
}

/* Move a lane's watermark up to its first claimable task. */
static void
probe(int32 lane)
{
	PG_ENSURE_ERROR_CLEANUP(stop_scan, (Datum) 0);
	{
		(void) taskq_claim_probe(MyDatabaseId, lane, taskq_claim_scanner());
	}
	PG_END_ENSURE_ERROR_CLEANUP(stop_scan, (Datum) 0);
}

/* Where to look in a lane; false if it is gone. */
static bool
read_lane(int32 id, TaskqScan *scan)
{
	TaskqLane  *lane;

	LWLockAcquire(taskq_main_lock, LW_SHARED);
	lane = taskq_lane_find(MyDatabaseId, id);
	if (lane != NULL)
		taskq_scan_from(lane, scan);
	LWLockRelease(taskq_main_lock);
	return lane != NULL;
}

/*
 * Claim from one lane; how many.  The snapshot of a scan may be old by the
 * time a row is locked, the lock is not.
 */
static int
scan_and_claim(const TaskqExternalClaim *claim, int32 lane, int wanted,
			   ReturnSetInfo *rsinfo)
{
	TaskqScan  *scan = palloc(sizeof(TaskqScan));
	int			claimed = 0;

	probe(lane);
	if (taskq_lane_keyed(lane))
		return claim_keyed(claim, lane, wanted, rsinfo);
	if (!read_lane(lane, scan))
		return 0;
	scan->filter = works_for_all(lane) ? may_claim_of_all : may_claim;
	claimer = claim->worker;
	while (claimed < wanted && taskq_defs_current() &&
		   (scan->leaves != 0 || scan->ready.due != DT_NOEND))
	{
		scan->max = Min(wanted - claimed, TASKQ_BATCH_MAX);
		taskq_scan_lane(scan);
		for (int i = 0; i < scan->nfound; i++)
			claimed += claim_one(claim, lane, NULL, &scan->found[i].id,
								 rsinfo);
		scan->start = scan->next;
		scan->leaves = scan->remaining;
		scan->ready = scan->next_ready;
	}
	pfree(scan);
	return claimed;
}

/*
 * Count leases for a lane; how many, at most as many as are wanted, or
 * TASKQ_PLACE_NO_ROOM.  Whatever undoes this transaction takes them back.
 */
static int
take_leases(int32 id, TaskqLimits *limits, int wanted, int *note)
{
	TaskqLane  *lane;
	int			n;

	for (;;)
	{
		taskq_limits_of(taskq_lane_get(id), limits);
		*note = taskq_note_leased(&limits->of);
		LWLockAcquire(taskq_main_lock, LW_EXCLUSIVE);
		lane = taskq_lane_find(MyDatabaseId, id);
		n = lane ? taskq_place_lease(lane, limits, wanted) : 0;
		*taskq_note_leases(*note) += Max(n, 0);
		LWLockRelease(taskq_main_lock);
		if (n != TASKQ_PLACE_STALE)
			return n;
		CHECK_FOR_INTERRUPTS();
		taskq_defs_begin();
		taskq_place_gate();
	}
}

/*
 * ... and give back those for which there was no task, also by that note:
 * what is undone is undone once.
 */
static void
return_leases(const TaskqLimits *limits, int n, int note)
{
	TaskqDb    *db;

	if (n == 0)
		return;
	LWLockAcquire(taskq_main_lock, LW_EXCLUSIVE);
	db = taskq_db_find(MyDatabaseId);
	if (db != NULL)
		taskq_place_unlease(db, &limits->of, n, false);
	*taskq_note_leases(note) -= n;
	LWLockRelease(taskq_main_lock);
}

/*
 * taskq_external_claim_from - claim from one lane as many as are wanted and
 * may run; how many
 *
 * They are returned in rsinfo, and their rows are locked until the
 * transaction ends.  Takes the main lock.
 */
int
taskq_external_claim_from(const TaskqExternalClaim *claim, int32 lane,
						  int wanted, ReturnSetInfo *rsinfo)
{
	TaskqLimits limits;
	int			note;
	int			n = take_leases(lane, &limits, wanted, &note);
	int			claimed = 0;

	if (n == TASKQ_PLACE_NO_ROOM)
	{
		*claim->no_room = true;
		n = 0;
	}
	if (n > 0)
		claimed = scan_and_claim(claim, lane, n, rsinfo);
	return_leases(&limits, n - claimed, note);
	taskq_note_leased_none(note);
	return claimed;
}
