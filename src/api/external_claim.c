/*-------------------------------------------------------------------------
 *
 * external_claim.c
 *		task_claim: who asks for what, and waits for it.
 *
 * What may be claimed is found lane by lane (external_lane.c), in the order in
 * which workers of the server come to them.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "api/external.h"
#include "api/patience.h"
#include "base/clock.h"
#include "base/compat.h"
#include "base/current.h"
#include "base/shmem.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "lanes/claim.h"
#include "lanes/fair.h"
#include "lanes/lane.h"
#include "lanes/outside.h"
#include "lanes/place.h"
#include "lanes/scan.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "store/defs.h"
#include "store/rights.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#define MAX_CLAIM 1000

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
lane_suits(const TaskqExternalClaim *claim, int32 id)
{
	const TaskqLaneDef *lane = taskq_lane_get(id);

	return lane != NULL &&
		listed(claim->queues, NameStr(lane->queue)) &&
		listed(claim->kinds, NameStr(lane->kind)) &&
		taskq_lane_claimable(lane) &&
		taskq_kind_may_work(taskq_kind_get(NameStr(lane->kind)));
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
claim_from_any(const TaskqExternalClaim *claim, ReturnSetInfo *rsinfo)
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
		n = taskq_external_claim_from(claim, lanes[i].id, claim->n - claimed,
									  rsinfo);
		claimed += n;
		if (n > 0)
			served(lanes[i].id);
	}
	pfree(lanes);
	return claimed;
}

/* Whatever is paused meanwhile is left alone from then on. */
static int
claim_now(const TaskqExternalClaim *claim, ReturnSetInfo *rsinfo)
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
claim_or_wait(const TaskqExternalClaim *claim, TimestampTz deadline,
			  ReturnSetInfo *rsinfo)
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
tell_claim(const TaskqExternalClaim *claim)
{
	TaskqOutsiderClaim told = {.n = claim->n,.lease_us = claim->lease_us};

	taskq_capabilities(&told.queues, claim->queues);
	taskq_capabilities(&told.kinds, claim->kinds);
	taskq_outside_claims(claim->worker, &told);
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
	TaskqExternalClaim claim = {.no_room = &no_room};
	int64		wait_us = 0;
	int			claimed;

	claim.worker = taskq_arg_name(fcinfo, 0, "worker");
	claim.queues = PG_ARGISNULL(1) ? NULL : PG_GETARG_ARRAYTYPE_P(1);
	claim.kinds = PG_ARGISNULL(2) ? NULL : PG_GETARG_ARRAYTYPE_P(2);
	claim.n = PG_ARGISNULL(3) ? 1 : PG_GETARG_INT32(3);
	if (claim.n < 1 || claim.n > MAX_CLAIM)
		taskq_invalid_argument("n", "must be between 1 and 1000");
	claim.lease_us = PG_ARGISNULL(4) ? 60 * USECS_PER_SEC
		: taskq_lease_arg(fcinfo, 4);
	if (!PG_ARGISNULL(5))
		wait_us =
			taskq_patience_us(taskq_arg_interval_us(fcinfo, 5, "wait", 0),
							  true);

	taskq_external_begin("taskq.task_claim()");
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
