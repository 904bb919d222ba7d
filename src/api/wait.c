/*-------------------------------------------------------------------------
 *
 * wait.c
 *		Waiting for tasks to finish.
 *
 * A waiter sleeps on the condition variable of its task's bucket, which is
 * broadcast once the result is durable.  It looks with snapshots of its own,
 * so it also sees the end under REPEATABLE READ.  How long it may wait,
 * patience.c says.
 *
 * Who watches a task looks at its progress too, and is woken by each change:
 * see watched.c.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "api/patience.h"
#include "api/task.h"
#include "base/clock.h"
#include "base/compat.h"
#include "base/current.h"
#include "base/watched.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "lanes/event.h"
#include "lanes/live.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "store/state.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#define DEFAULT_WAIT_US (30 * USECS_PER_SEC)

static bool
is_finished(const pg_uuid_t *id)
{
	TaskqLive	live;
	TaskqRow	row;
	bool		found = taskq_store_find(id, &row);

	/* gone: cancelled and deleted, or its retention is over */
	return !found || (taskq_state_final(taskq_row_state(&row)) &&
					  !taskq_task_held(&row, &live));
}

static void
refuse_where_it_never_ends(const pg_uuid_t *ids, int n)
{
	taskq_require_preload();
	if (RecoveryInProgress())
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot wait for tasks on a standby server"),
				 errhint("Wait on the primary server, or look at taskq.task here.")));
	if (taskq_in_task())
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("cannot wait for a task inside a task"),
				 errdetail("Tasks that wait for others could take all workers, and none would be left for those."),
				 errhint("Submit the other task and end this one.")));

	taskq_defs_begin();
	for (int i = 0; i < n; i++)
	{
		TaskqRow	row;

		taskq_task_require(&ids[i], &row);
		if (TransactionIdIsCurrentTransactionId(row.xmin) &&
			!taskq_state_final(taskq_row_state(&row)))
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("cannot wait for task %s in the transaction that submits it", taskq_id_text(&ids[i])),
					 errdetail("It starts when the transaction commits."),
					 errhint("Commit first, then wait.")));
	}
}

static int
count_finished(const pg_uuid_t *ids, int n, bool *finished)
{
	/* a waiter looks many times: nothing of that is kept */
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext,
												  "taskq wait",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	int			count = 0;

	for (int i = 0; i < n; i++)
	{
		CHECK_FOR_INTERRUPTS();
		if (!finished[i])
		{
			finished[i] = is_finished(&ids[i]);
			MemoryContextReset(context);
		}
		count += finished[i];
	}
	MemoryContextSwitchTo(old);
	MemoryContextDelete(context);
	return count;
}

static void
waiter_leaves(int code, Datum arg)
{
	pg_atomic_fetch_sub_u32(&taskq_shared->waiters, 1);
}

/* Sleep on cv until needed of the tasks are finished or the time is over. */
static void
sleep_until(ConditionVariable *cv, const pg_uuid_t *ids, int n, int needed,
			bool *finished, TimestampTz deadline)
{
	pg_atomic_fetch_add_u32(&taskq_shared->waiters, 1);
	PG_ENSURE_ERROR_CLEANUP(waiter_leaves, (Datum) 0);
	{
		ConditionVariablePrepareToSleep(cv);
		while (count_finished(ids, n, finished) < needed)
		{
			long		ms = TimestampDifferenceMilliseconds(taskq_steady_now(),
															 deadline);

			if (ms <= 0)
				break;
			ConditionVariableTimedSleep(cv, ms, taskq_wait_event("TaskqWait"));
			CHECK_FOR_INTERRUPTS();
		}
		ConditionVariableCancelSleep();
	}
	PG_END_ENSURE_ERROR_CLEANUP(waiter_leaves, (Datum) 0);
	waiter_leaves(0, (Datum) 0);
}

/* The end of the time that an argument gives, in steady time. */
static TimestampTz
deadline_of(FunctionCallInfo fcinfo, int n, int64 default_us, bool capped)
{
	int64		us = default_us;

	if (!PG_ARGISNULL(n))
		us = taskq_arg_interval_us(fcinfo, n, "timeout", 0);
	taskq_require_preload();
	return taskq_steady_now() +
		taskq_patience_us(Min(us, INT64CONST(0x7fffffff) * 1000), capped);
}

PG_FUNCTION_INFO_V1(taskq_task_wait);

/*
 * taskq_task_wait - (id uuid, timeout interval) returns one row of taskq.task
 *
 * Raises PT404 for an unknown task, 55000 where it could never end.
 */
Datum
taskq_task_wait(PG_FUNCTION_ARGS)
{
	pg_uuid_t	id = taskq_arg_id(fcinfo, 0);
	TimestampTz deadline = deadline_of(fcinfo, 1, DEFAULT_WAIT_US, true);
	bool		finished = false;

	refuse_where_it_never_ends(&id, 1);
	sleep_until(taskq_event_bucket(&id), &id, 1, 1, &finished, deadline);
	PG_RETURN_DATUM(taskq_task_row(&id));
}

PG_FUNCTION_INFO_V1(taskq_task_wait_long);

/*
 * taskq_task_wait_long - procedure task_wait_long(id, timeout, INOUT state)
 *
 * Ends the calling transaction, and with it its snapshot, before it sleeps.
 * Raises what task_wait raises, and 2D000 where the transaction can't be
 * ended.
 */
Datum
taskq_task_wait_long(PG_FUNCTION_ARGS)
{
	pg_uuid_t	id = taskq_arg_id(fcinfo, 0);
	TimestampTz deadline = deadline_of(fcinfo, 1, USECS_PER_HOUR, false);
	CallContext *context = (CallContext *) fcinfo->context;
	bool		finished = false;
	TaskqLive  *live;
	TaskqRow	row;
	TupleDesc	desc;
	Datum		value;
	bool		isnull = false;

	if (context == NULL || !IsA(context, CallContext) || context->atomic)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TRANSACTION_TERMINATION),
				 errmsg("taskq.task_wait_long() must be called outside of a transaction block"),
				 errhint("Inside of one use taskq.task_wait().")));
	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	refuse_where_it_never_ends(&id, 1);

	SPI_connect_ext(SPI_OPT_NONATOMIC);
	SPI_commit();
	sleep_until(taskq_event_bucket(&id), &id, 1, 1, &finished, deadline);
	SPI_finish();

	taskq_defs_begin();
	taskq_task_require(&id, &row);
	live = palloc(sizeof(TaskqLive));
	value = CStringGetTextDatum(taskq_task_state(&row, taskq_task_held(&row, live) ? live : NULL));
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), &value, &isnull)));
}

/* ---- watching ---- */

static void
watcher_leaves(int code, Datum arg)
{
	pg_atomic_fetch_sub_u32(&taskq_shared->watchers, 1);
}

/* What there is to see, unless that is what was seen and may change: then 0. */
static Datum
look_for_news(const pg_uuid_t *id, Jsonb *seen)
{
	bool		final;
	Datum		now = taskq_task_progress_jsonb(id, &final);

	if (!final && seen != NULL &&
		compareJsonbContainers(&DatumGetJsonbP(now)->root, &seen->root) == 0)
		return (Datum) 0;
	return now;
}

/* Sleep until there is news of a task, or the time is over: then 0. */
static Datum
watch_until(const pg_uuid_t *id, Jsonb *seen, TimestampTz deadline)
{
	ConditionVariable *cv = taskq_watched_bucket(id);
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext,
												  "taskq watch",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	volatile Datum news = 0;

	pg_atomic_fetch_add_u32(&taskq_shared->watchers, 1);
	PG_ENSURE_ERROR_CLEANUP(watcher_leaves, (Datum) 0);
	{
		ConditionVariablePrepareToSleep(cv);
		while ((news = look_for_news(id, seen)) == 0)
		{
			long		ms = TimestampDifferenceMilliseconds(taskq_steady_now(),
															 deadline);

			MemoryContextReset(context);
			if (ms <= 0)
				break;
			ConditionVariableTimedSleep(cv, ms, taskq_wait_event("TaskqWatch"));
			CHECK_FOR_INTERRUPTS();
		}
		ConditionVariableCancelSleep();
	}
	PG_END_ENSURE_ERROR_CLEANUP(watcher_leaves, (Datum) 0);
	watcher_leaves(0, (Datum) 0);
	MemoryContextSwitchTo(old);
	return news;
}

PG_FUNCTION_INFO_V1(taskq_task_watch);

/*
 * taskq_task_watch - (id uuid, seen jsonb, timeout interval) returns jsonb
 *
 * What task_progress returns, as soon as it is not what was seen.  Raises
 * what task_wait raises.
 */
Datum
taskq_task_watch(PG_FUNCTION_ARGS)
{
	pg_uuid_t	id = taskq_arg_id(fcinfo, 0);
	Jsonb	   *seen = PG_ARGISNULL(1) ? NULL : PG_GETARG_JSONB_P(1);
	TimestampTz deadline = deadline_of(fcinfo, 2, DEFAULT_WAIT_US, true);
	Datum		news;

	refuse_where_it_never_ends(&id, 1);
	news = watch_until(&id, seen, deadline);
	PG_RETURN_DATUM(news != 0 ? news : JsonbPGetDatum(seen));
}

/* ---- many ---- */

static pg_uuid_t *
ids_arg(FunctionCallInfo fcinfo, int *n)
{
	Datum	   *items;
	bool	   *nulls;
	pg_uuid_t  *ids;

	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("list of task ids must not be null"),
				 errhint("Pass an array of uuid as argument \"ids\".")));
	deconstruct_array(PG_GETARG_ARRAYTYPE_P(0), UUIDOID, UUID_LEN, false,
					  TYPALIGN_CHAR, &items, &nulls, n);
	ids = palloc(sizeof(pg_uuid_t) * Max(*n, 1));
	for (int i = 0; i < *n; i++)
	{
		if (nulls[i])
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("task id must not be null"),
					 errhint("Argument \"ids\" has a null among its elements.")));
		ids[i] = *DatumGetUUIDP(items[i]);
	}
	return ids;
}

static void
return_task(ReturnSetInfo *rsinfo, const pg_uuid_t *id)
{
	HeapTupleHeader header = DatumGetHeapTupleHeader(taskq_task_row(id));
	HeapTupleData tuple;

	tuple.t_len = HeapTupleHeaderGetDatumLength(header);
	ItemPointerSetInvalid(&tuple.t_self);
	tuple.t_tableOid = InvalidOid;
	tuple.t_data = header;
	tuplestore_puttuple(rsinfo->setResult, &tuple);
}

PG_FUNCTION_INFO_V1(taskq_task_wait_all);

/*
 * taskq_task_wait_all - (ids uuid[], timeout interval) returns all as rows of
 * taskq.task
 */
Datum
taskq_task_wait_all(PG_FUNCTION_ARGS)
{
	TimestampTz deadline = deadline_of(fcinfo, 1, DEFAULT_WAIT_US, true);
	int			n;
	pg_uuid_t  *ids = ids_arg(fcinfo, &n);

	InitMaterializedSRF(fcinfo, 0);
	refuse_where_it_never_ends(ids, n);
	for (int i = 0; i < n; i++)
	{
		bool		finished = false;

		sleep_until(taskq_event_bucket(&ids[i]), &ids[i], 1, 1, &finished,
					deadline);
	}
	for (int i = 0; i < n; i++)
		return_task((ReturnSetInfo *) fcinfo->resultinfo, &ids[i]);
	return (Datum) 0;
}

PG_FUNCTION_INFO_V1(taskq_task_wait_any);

/*
 * taskq_task_wait_any - (ids uuid[], timeout interval) returns the finished
 * ones
 */
Datum
taskq_task_wait_any(PG_FUNCTION_ARGS)
{
	TimestampTz deadline = deadline_of(fcinfo, 1, DEFAULT_WAIT_US, true);
	int			n;
	pg_uuid_t  *ids = ids_arg(fcinfo, &n);
	bool	   *finished = palloc0(Max(n, 1));

	InitMaterializedSRF(fcinfo, 0);
	refuse_where_it_never_ends(ids, n);
	if (n > 0)
		sleep_until(&taskq_shared->finished_any, ids, n, 1, finished,
					deadline);
	for (int i = 0; i < n; i++)
	{
		if (finished[i])
			return_task((ReturnSetInfo *) fcinfo->resultinfo, &ids[i]);
	}
	return (Datum) 0;
}
