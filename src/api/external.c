/*-------------------------------------------------------------------------
 *
 * external.c
 *		Tasks run by programs outside of the server.
 *
 * Such a program has no session of its own here: it claims, works, and comes
 * back over whatever connection.  So its claim is a lease: a row with a
 * random token, committed together with the task's state.  Whoever has the
 * token may extend the lease and end the attempt; when the lease is over the
 * dispatcher takes the task back (timer.c), and the token is worth nothing.
 *
 * Locks: always the task's row first, then its lease.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "api/external.h"
#include "api/patience.h"
#include "api/previous.h"
#include "api/task.h"
#include "base/clock.h"
#include "base/compat.h"
#include "base/current.h"
#include "base/guc.h"
#include "base/json.h"
#include "base/shmem.h"
#include "base/watched.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "lanes/claim.h"
#include "lanes/failures.h"
#include "lanes/fair.h"
#include "lanes/lane.h"
#include "lanes/live.h"
#include "lanes/note.h"
#include "lanes/outside.h"
#include "lanes/place.h"
#include "lanes/round.h"
#include "lanes/scan.h"
#include "miscadmin.h"
#include "run/complete.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "store/defs.h"
#include "store/leases.h"
#include "store/rights.h"
#include "store/state.h"
#include "store/timers.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/jsonb.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#define MAX_CLAIM 1000
#define MIN_LEASE_US USECS_PER_SEC
#define MAX_LEASE_US (30 * USECS_PER_DAY)

/* ---- claiming ---- */

/* What is asked for. */
typedef struct Claim
{
	const char *worker;
	ArrayType  *queues;			/* or NULL: all */
	ArrayType  *kinds;
	int			n;
	int64		lease_us;
	bool	   *no_room;		/* set when something was passed over for that */
} Claim;

static bool
listed(ArrayType *array, const char *name)
{
	Datum	   *items;
	bool	   *nulls;
	int			n;

	if (array == NULL)
		return true;
	deconstruct_array(array, TEXTOID, -1, false, TYPALIGN_INT, &items, &nulls,
					  &n);
	for (int i = 0; i < n; i++)
	{
		if (!nulls[i] && strcmp(TextDatumGetCString(items[i]), name) == 0)
			return true;
	}
	return false;
}

/* Is it for external workers, asked for, and the caller's to work on? */
static bool
lane_suits(const Claim *claim, int32 id)
{
	const TaskqLaneDef *lane = taskq_lane_get(id);

	return lane != NULL &&
		listed(claim->queues, NameStr(lane->queue)) &&
		listed(claim->kinds, NameStr(lane->kind)) &&
		taskq_lane_claimable(lane) &&
		taskq_kind_may_work(taskq_kind_get(NameStr(lane->kind)));
}

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
claim_one(const Claim *claim, int32 found_in, const TaskqSlotKey *key,
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
	taskq_lease_insert(&lease);
	taskq_timer_insert(lease.timer, id, lane->id);
	taskq_note_claimed(lane);
	taskq_note_due(lease.timer);
	return_claimed(rsinfo, &row, lane, kind, &lease, &previous);
	return true;
}

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

/* Claim tasks of one key that were found; how many. */
static int
claim_of_key(const Claim *claim, const TaskqRound *round, int index,
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
claim_keyed(const Claim *claim, int32 lane, int wanted, ReturnSetInfo *rsinfo)
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

/*
 * Claim from one lane; how many.  The snapshot of a scan may be old by the
 * time a row is locked, the lock is not.
 */
static int
scan_and_claim(const Claim *claim, int32 lane, int wanted,
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

/* Claim from one lane as many as may run; how many. */
static int
claim_from(const Claim *claim, int32 lane, int wanted, ReturnSetInfo *rsinfo)
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

/* The next turn is another tenant's. */
static void
served(int32 id)
{
	TaskqLane  *lane;

	LWLockAcquire(taskq_main_lock, LW_EXCLUSIVE);
	lane = taskq_lane_find(MyDatabaseId, id);
	if (lane != NULL)
		taskq_fair_served(lane, InvalidOid);
	LWLockRelease(taskq_main_lock);
}

static int
claim_from_any(const Claim *claim, ReturnSetInfo *rsinfo)
{
	TaskqScanLane *lanes;
	int			nlanes;
	int			claimed = 0;

	taskq_defs_begin();
	taskq_place_gate();
	nlanes = taskq_scan_lanes(MyDatabaseId, InvalidOid, &lanes);
	for (int i = 0; i < nlanes && claimed < claim->n; i++)
	{
		int			n;

		if (!lane_suits(claim, lanes[i].id))
			continue;
		n = claim_from(claim, lanes[i].id, claim->n - claimed, rsinfo);
		claimed += n;
		if (n > 0)
			served(lanes[i].id);
	}
	pfree(lanes);
	return claimed;
}

/* Whatever is paused meanwhile is left alone from then on. */
static int
claim_now(const Claim *claim, ReturnSetInfo *rsinfo)
{
	int			claimed;

	do
	{
		CHECK_FOR_INTERRUPTS();
		claimed = claim_from_any(claim, rsinfo);
	} while (claimed == 0 && !taskq_defs_current());
	return claimed;
}

static void
claimer_leaves(int code, Datum arg)
{
	taskq_outside_waits(false);
	pg_atomic_fetch_sub_u32(&taskq_shared->claimers, 1);
}

/*
 * Wait until there may be something, at most until the deadline in steady
 * time.
 */
static int
claim_or_wait(const Claim *claim, TimestampTz deadline, ReturnSetInfo *rsinfo)
{
	volatile int claimed = 0;

	pg_atomic_fetch_add_u32(&taskq_shared->claimers, 1);
	taskq_outside_waits(true);
	PG_ENSURE_ERROR_CLEANUP(claimer_leaves, (Datum) 0);
	{
		ConditionVariablePrepareToSleep(&taskq_shared->claimable);
		while ((claimed = claim_now(claim, rsinfo)) == 0)
		{
			long		ms = TimestampDifferenceMilliseconds(taskq_steady_now(),
															 deadline);

			if (ms <= 0)
				break;
			/* a definition may change too, which nobody broadcasts */
			ConditionVariableTimedSleep(&taskq_shared->claimable,
										Min(ms, 1000),
										taskq_wait_event("TaskqClaim"));
			CHECK_FOR_INTERRUPTS();
		}
		ConditionVariableCancelSleep();
	}
	PG_END_ENSURE_ERROR_CLEANUP(claimer_leaves, (Datum) 0);
	claimer_leaves(0, (Datum) 0);
	return claimed;
}

/* Who claims is heard of. */
static void
tell_claim(const Claim *claim)
{
	TaskqOutsiderClaim told = {.n = claim->n,.lease_us = claim->lease_us};

	taskq_capabilities(&told.queues, claim->queues);
	taskq_capabilities(&told.kinds, claim->kinds);
	taskq_outside_claims(claim->worker, &told);
}

static int64
lease_arg(FunctionCallInfo fcinfo, int n)
{
	int64		us = taskq_arg_interval_us(fcinfo, n, "lease", 0);

	if (us < MIN_LEASE_US || us > MAX_LEASE_US)
		taskq_invalid_argument("lease",
							   "must be between a second and 30 days");
	return us;
}

static void
begin_external(const char *function)
{
	taskq_require_preload();
	PreventCommandIfReadOnly(function);
	PreventCommandDuringRecovery(function);
	taskq_defs_begin();
}

/*
 * Who names kinds, and may work on none of them, would wait for ever.  Raises
 * PT404 when none of them exists, else 42501 (the message tells whether a
 * grant would help); and PT403 to who must act for a tenant.
 */
static void
check_kinds(ArrayType *kinds)
{
	Datum	   *items;
	bool	   *nulls;
	int			n;
	bool		exists = false;
	bool		external = false;

	deconstruct_array(kinds, TEXTOID, -1, false, TYPALIGN_INT, &items, &nulls,
					  &n);
	for (int i = 0; i < n; i++)
	{
		const char *name = nulls[i] ? "" : TextDatumGetCString(items[i]);
		const TaskqKind *kind = taskq_kind_get(name);

		exists |= kind != NULL;
		external |= kind != NULL && kind->handler == NULL;
		if (kind == NULL || !taskq_kind_may_work(kind))
			continue;
		if (!taskq_kind_works_for_all(kind))
			taskq_tenant_check();
		return;
	}
	if (n > 0 && exists)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 external ? errmsg("permission denied to work on tasks of these kinds") : errmsg("these kinds of task have handlers"),
				 external ? errhint("The owner of a kind can use taskq.kind_grant(kind, role, 'work').") :
				 errhint("Workers of the server run them; claim tasks of kinds that were defined without handler.")));
	if (n > 0)
		ereport(ERROR,
				(errcode(ERRCODE_TASK_NOT_FOUND),
				 errmsg("kinds of task to claim do not exist"),
				 errhint("Argument \"kinds\" names kinds that taskq.kind_define() made; view taskq.kind lists them.")));
}

PG_FUNCTION_INFO_V1(taskq_task_claim);

/*
 * taskq_task_claim - task_claim(worker, queues, kinds, n, lease, wait)
 * returns claimed tasks
 *
 * Locks their rows until the caller's transaction ends; those that others
 * have locked are passed over.  Raises PT404 or 42501 when it can never
 * return one.
 */
Datum
taskq_task_claim(PG_FUNCTION_ARGS)
{
	bool		no_room = false;
	Claim		claim = {.no_room = &no_room};
	int64		wait_us = 0;
	int			claimed;

	claim.worker = taskq_arg_name(fcinfo, 0, "worker");
	claim.queues = PG_ARGISNULL(1) ? NULL : PG_GETARG_ARRAYTYPE_P(1);
	claim.kinds = PG_ARGISNULL(2) ? NULL : PG_GETARG_ARRAYTYPE_P(2);
	claim.n = PG_ARGISNULL(3) ? 1 : PG_GETARG_INT32(3);
	if (claim.n < 1 || claim.n > MAX_CLAIM)
		taskq_invalid_argument("n", "must be between 1 and 1000");
	claim.lease_us = PG_ARGISNULL(4) ? 60 * USECS_PER_SEC
		: lease_arg(fcinfo, 4);
	if (!PG_ARGISNULL(5))
		wait_us =
			taskq_patience_us(taskq_arg_interval_us(fcinfo, 5, "wait", 0),
							  true);

	begin_external("taskq.task_claim()");
	if (claim.kinds != NULL)
		check_kinds(claim.kinds);
	tell_claim(&claim);
	InitMaterializedSRF(fcinfo, 0);
	if (wait_us > 0 && !taskq_in_task())
		claimed = claim_or_wait(&claim, taskq_steady_now() + wait_us,
								(ReturnSetInfo *) fcinfo->resultinfo);
	else
		claimed = claim_now(&claim, (ReturnSetInfo *) fcinfo->resultinfo);

	/* others' kinds may be among them: that is no error of the caller's */
	if (claimed == 0 && no_room)
		ereport(WARNING,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("tasks were passed over: too many kinds and queues have claimed tasks"),
				 errhint("End some of them, or increase taskq.max_lanes and restart the server.")));
	return (Datum) 0;
}

/* ---- with the token ---- */

static bool
has_lease(const pg_uuid_t *id, const pg_uuid_t *token, TaskqLease *lease)
{
	return taskq_lease_find(id, lease) && taskq_id_eq(&lease->token, token);
}

/*
 * Lock a row that somebody may hold who is in no hurry; false if it is gone.
 */
static bool
lock_patiently(const pg_uuid_t *id, TaskqRow *row)
{
	TimestampTz until = taskq_busy_until();
	TaskqLockResult result;

	while ((result = taskq_store_lock(id, false, row)) == TASKQ_BUSY)
		taskq_busy_wait(id, until);
	return result == TASKQ_LOCKED;
}

/* Who works on tasks of this kind may know that there is one. */
static bool
may_know(TaskqRow *row)
{
	const TaskqLaneDef *lane =
	taskq_lane_get(DatumGetInt32(taskq_row_value(row, lane)));
	const TaskqKind *kind = lane ? taskq_kind_get(NameStr(lane->kind)) : NULL;

	/* somebody else's kind of the same name is another kind */
	return kind != NULL && kind->owner_id == lane->kind_owner &&
		taskq_kind_may_work(kind) && taskq_row_may_work(kind, row);
}

/*
 * The token proves the claim, but another tenant's task is none of the
 * caller's business.
 */
static void
require_tenant(TaskqRow *row)
{
	const TaskqLaneDef *lane =
	taskq_lane_get(DatumGetInt32(taskq_row_value(row, lane)));
	const TaskqKind *kind = lane ? taskq_kind_get(NameStr(lane->kind)) : NULL;

	if (kind != NULL ? taskq_row_may_work(kind, row)
		: taskq_row_tenant_visible(row))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_TASK_NOT_FOUND),
			 errmsg("task %s does not exist", taskq_id_text(DatumGetUUIDP(taskq_row_value(row, id)))),
			 errdetail("Or it is not yours to work on.")));
}

/*
 * Lock the task of this lease.  Raises PT409 when the token is not, or not
 * any more, that of its lease, PT404 to those who may not know that there is
 * such a task, and PT503 when another session keeps the row for too long.
 */
static void
lock_claimed(FunctionCallInfo fcinfo, TaskqRow *row, TaskqLease *lease)
{
	pg_uuid_t	id = taskq_arg_id(fcinfo, 0);
	bool		valid;

	if (PG_ARGISNULL(1))
		taskq_invalid_argument("token", "must not be null");
	/* first without the lock: who guesses shall not keep others from the row */
	valid = has_lease(&id, PG_GETARG_UUID_P(1), lease) &&
		lock_patiently(&id, row) && taskq_row_state(row) == TASKQ_LEASED &&
		has_lease(&id, PG_GETARG_UUID_P(1), lease) &&
		Min(lease->until, lease->deadline) > taskq_steady_now();
	if (valid)
	{
		require_tenant(row);
		return;
	}
	if (!taskq_store_find(&id, row) || !may_know(row))
		taskq_task_require(&id, row);
	ereport(ERROR,
			(errcode(ERRCODE_TASK_WRONG_STATE),
			 errmsg("task %s is not claimed with this token", taskq_id_text(&id)),
			 errdetail("The lease has expired, the task was cancelled, or the attempt has been ended already."),
			 errhint("Drop the work. Shorter intervals between heartbeats, or a longer lease, keep a claim.")));
}

/*
 * taskq_claimed_lock - the same for another function, whose arguments begin
 * with id and token
 */
void
taskq_claimed_lock(FunctionCallInfo fcinfo, const char *function,
				   TaskqRow *row, TaskqLease *lease)
{
	begin_external(function);
	lock_claimed(fcinfo, row, lease);
}

static bool
tells_progress(FunctionCallInfo fcinfo)
{
	for (int i = 3; i < PG_NARGS(); i++)
	{
		if (!PG_ARGISNULL(i))
			return true;
	}
	return false;
}

/* A step that failed, as the worker tells of it. */
static void
update_failure(TaskqLive *live, Jsonb *told)
{
	char	   *step = NULL;
	char	   *error = NULL;

	if (JB_ROOT_IS_OBJECT(told))
	{
		step = taskq_json_get_text(told, "step");
		error = taskq_json_get_text(told, "error");
	}
	if (step == NULL)
		taskq_invalid_argument("failure_details",
							   "must be objects with a member \"step\"");
	taskq_failures_add(&live->failures,
					   taskq_failure_text(step, error,
										  JsonbPGetDatum(told),
										  "failure_details"));
}

/* Steps that failed since the last heartbeat: one, or an array of them. */
static void
update_failures(TaskqLive *live, Jsonb *told)
{
	bool		many = JB_ROOT_IS_ARRAY(told) && !JB_ROOT_IS_SCALAR(told);
	int			n = many ? JB_ROOT_COUNT(told) : 1;

	taskq_check_size(told, "failure_details");
	for (int i = 0; i < n; i++)
	{
		CHECK_FOR_INTERRUPTS();
		update_failure(live, many
					   ? JsonbValueToJsonb(getIthJsonbValueFromContainer(&told->root, i))
					   : told);
	}
	live->failed_steps =
		Min((int64) Max(live->failed_steps, 0) + n, PG_INT32_MAX);
}

/* Whoever has this lease is heard of; its name. */
static const char *
tell_lease(TaskqRow *row, const TaskqLease *lease)
{
	const char *worker = TextDatumGetCString(taskq_row_value(row, worker));

	taskq_outside_heard(worker, lease->lease_ms * 1000);
	return worker;
}

/* ... and its attempt is over, if this transaction commits. */
static void
tell_end(TaskqRow *row, const TaskqLease *lease, bool completed)
{
	TimestampTz since = DatumGetTimestampTz(taskq_row_value(row, started_at));

	taskq_note_outside(GetUserId(), tell_lease(row, lease), completed,
					   GetCurrentTimestamp() - since);
}

/* What the worker says of its progress, over what it said before. */
static void
update_progress(FunctionCallInfo fcinfo, TaskqLease *lease)
{
	TaskqLive  *live;

	if (!tells_progress(fcinfo))
		return;
	live = palloc0(sizeof(TaskqLive));
	live->failed_steps = -1;
	if (lease->progress != 0)
		taskq_progress_read(lease->progress, live);
	live->has_progress = true;
	if (!PG_ARGISNULL(3))
		live->current = taskq_arg_number(fcinfo, 3, "current");
	if (!PG_ARGISNULL(4))
	{
		live->has_total = true;
		live->total = taskq_arg_number(fcinfo, 4, "total");
	}
	if (!PG_ARGISNULL(5))
	{
		live->has_message = true;
		taskq_clip(live->message, text_to_cstring(PG_GETARG_TEXT_PP(5)));
	}
	if (!PG_ARGISNULL(6))
	{
		char	   *info = JsonbToCString(NULL, &PG_GETARG_JSONB_P(6)->root, 0);

		live->info_len = strlen(info);
		if (live->info_len > TASKQ_INFO_SIZE)
			taskq_invalid_argument("info",
								   psprintf("must not be larger than %d bytes",
											TASKQ_INFO_SIZE));
		memcpy(live->info, info, live->info_len);
	}
	if (!PG_ARGISNULL(8))
	{
		live->has_phase = true;
		taskq_clip_phase(live->phase,
						 text_to_cstring(PG_GETARG_TEXT_PP(8)));
	}
	if (!PG_ARGISNULL(9))
		update_failures(live, PG_GETARG_JSONB_P(9));
	if (!PG_ARGISNULL(7))
		live->failed_steps = PG_GETARG_INT32(7);
	lease->progress = taskq_progress_jsonb(live, NULL);
}

PG_FUNCTION_INFO_V1(taskq_task_heartbeat);

/*
 * taskq_task_heartbeat - (id, token, lease, current, total, message, info,
 * failed, phase, failure_details) returns (cancel_requested, lease_until)
 */
Datum
taskq_task_heartbeat(PG_FUNCTION_ARGS)
{
	TaskqRow	row;
	TaskqLease	lease;
	TupleDesc	desc;
	TimestampTz now = GetCurrentTimestamp();
	TimestampTz end;
	Datum		values[2];
	bool		nulls[2] = {false, false};

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	begin_external("taskq.task_heartbeat()");
	lock_claimed(fcinfo, &row, &lease);
	if (!PG_ARGISNULL(2))
		lease.lease_ms = lease_arg(fcinfo, 2) / 1000;
	(void) tell_lease(&row, &lease);
	lease.until = taskq_steady_now() + lease.lease_ms * 1000;
	lease.updated_at = now;
	lease.told |= lease.cancel;
	update_progress(fcinfo, &lease);
	end = now + Min(lease.until, lease.deadline) - taskq_steady_now();
	if (end < lease.timer)
	{
		/*
		 * shorter than before: the timer would come too late; one that comes
		 * early is set anew then
		 */
		taskq_timer_delete(lease.timer, &lease.task);
		lease.timer = end;
		taskq_timer_insert(lease.timer, &lease.task,
						   DatumGetInt32(taskq_row_value(&row, lane)));
		taskq_note_due(lease.timer);
	}
	taskq_lease_update(&lease);
	taskq_watched_note(&lease.task);
	values[0] = BoolGetDatum(lease.cancel);
	values[1] = TimestampTzGetDatum(end);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}

/*
 * The attempt is over, and this transaction says so to others when it
 * commits.
 */
static void
note_ended(TaskqRow *row, char state)
{
	const TaskqLaneDef *lane =
	taskq_lane_get(DatumGetInt32(taskq_row_value(row, lane)));

	if (lane != NULL && taskq_state_final(state))
		taskq_note_final(lane, DatumGetUUIDP(taskq_row_value(row, id)),
						 TASKQ_LEASED, state);
	/* what is announced survives a crash */
	ForceSyncCommit();
}

PG_FUNCTION_INFO_V1(taskq_task_complete);

/* taskq_task_complete - (id, token, result); PT409 when the claim is lost */
Datum
taskq_task_complete(PG_FUNCTION_ARGS)
{
	TaskqRow	row;
	TaskqLease	lease;
	char		state;

	begin_external("taskq.task_complete()");
	if (!PG_ARGISNULL(2))
		taskq_check_result(PG_GETARG_JSONB_P(2));
	lock_claimed(fcinfo, &row, &lease);
	tell_end(&row, &lease, true);
	state =
		taskq_complete(&row,
					   DatumGetTimestampTz(taskq_row_value(&row, started_at)),
					   GetCurrentTimestamp(), NULL,
					   PG_ARGISNULL(2) ? (Datum) 0
					   : JsonbPGetDatum(PG_GETARG_JSONB_P(2)),
					   PG_ARGISNULL(2), lease.progress, (Datum) 0,
					   lease.cancel && lease.told, NULL);
	note_ended(&row, state);
	PG_RETURN_VOID();
}

PG_FUNCTION_INFO_V1(taskq_task_fail);

/*
 * taskq_task_fail - (id, token, error, details, retry, type, traceback)
 * returns the new state; PT409 when the claim is lost
 */
Datum
taskq_task_fail(PG_FUNCTION_ARGS)
{
	TaskqFailure failure = {.retry_us = -1,
	.sqlerrcode = ERRCODE_TASK_EXTERNAL};
	ErrorData	error = {.sqlerrcode = ERRCODE_TASK_EXTERNAL};
	TaskqRow	row;
	TaskqLease	lease;
	Jsonb	   *details = PG_ARGISNULL(3) ? NULL : PG_GETARG_JSONB_P(3);
	char		state;

	begin_external("taskq.task_fail()");
	lock_claimed(fcinfo, &row, &lease);
	error.message = taskq_arg_text(fcinfo, 2,
								   "the external worker gave no reason");
	if (details != NULL)
	{
		taskq_check_size(details, "details");
		error.detail = JsonbToCString(NULL, &details->root, 0);
	}
	error.datatype_name = taskq_arg_text(fcinfo, 5, NULL);
	failure.id = lease.task;
	failure.started_at =
		DatumGetTimestampTz(taskq_row_value(&row, started_at));
	failure.error = taskq_error_jsonb_with(&error, details,
										   taskq_arg_text(fcinfo, 6, NULL));
	failure.progress = lease.progress;
	failure.no_retry = !PG_ARGISNULL(4) && !PG_GETARG_BOOL(4);
	failure.retry = !failure.no_retry;
	failure.cancelled = lease.cancel;
	tell_end(&row, &lease, false);
	state = taskq_fail_row(&row, &failure);
	note_ended(&row, state);
	PG_RETURN_TEXT_P(cstring_to_text(taskq_state_name(state)));
}

PG_FUNCTION_INFO_V1(taskq_task_release);

/* taskq_task_release - (id, token, delay); PT409 when the claim is lost */
Datum
taskq_task_release(PG_FUNCTION_ARGS)
{
	TaskqChange change = {.to = TASKQ_PENDING};
	const TaskqLaneDef *lane;
	TaskqRow	row;
	TaskqLease	lease;

	begin_external("taskq.task_release()");
	lock_claimed(fcinfo, &row, &lease);
	(void) tell_lease(&row, &lease);
	lane = taskq_lane_get(DatumGetInt32(taskq_row_value(&row, lane)));
	if (lease.cancel)
		change.to = TASKQ_CANCELLED;	/* somebody waits for that */
	else if (!PG_ARGISNULL(2))
	{
		change.to = TASKQ_SCHEDULED;
		change.run_at = taskq_arg_delay(fcinfo, 2);
	}
	if (change.to == TASKQ_CANCELLED)
		change.finished_at = GetCurrentTimestamp();
	else
		/* the attempt did not take place */
		taskq_row_set(&row, attempt,
					  Int16GetDatum(DatumGetInt16(taskq_row_value(&row, attempt)) - 1));
	taskq_state_change(&row, &change);
	if (change.to == TASKQ_SCHEDULED)
	{
		taskq_note_later(lane, 1);
		taskq_note_due(change.run_at);
	}
	else if (change.to == TASKQ_PENDING)
		taskq_note_ready(lane,
						 DatumGetTimestampTz(taskq_row_value(&row, run_at)),
						 &lease.task, 1, false);
	else
		note_ended(&row, change.to);
	PG_RETURN_VOID();
}
