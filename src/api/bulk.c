/*-------------------------------------------------------------------------
 *
 * bulk.c
 *		Doing something with many tasks, each of which may be refused.
 *
 * Tasks are taken in portions, each in a subtransaction; where one of a
 * portion raises an error, the portion is undone and done again one by one,
 * so that the error is that task's alone.  So many tasks cost few transaction
 * ids.  What all of them did is one transaction's, so a function takes a
 * limited number; the procedure commits after each portion and has no limit.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "api/action.h"
#include "api/bulk.h"
#include "api/filter.h"
#include "api/list.h"
#include "api/patience.h"
#include "api/steer.h"
#include "api/task.h"
#include "base/args.h"
#include "base/clock.h"
#include "base/compat.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "run/complete.h"
#include "store/rights.h"
#include "store/state.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/memutils.h"
#include "utils/portal.h"
#include "utils/resowner.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#define MAX_IN_ONE 100000		/* tasks of one call */
#define DEFAULT_IN_ONE 1000
#define COMMIT_AFTER 1000		/* tasks, of the procedure */

/* ---- one task ---- */

/* The state of a task that the caller may see, or NULL. */
static const char *
status_of(const pg_uuid_t *id)
{
	static TaskqLive live;
	TaskqRow	row;
	const TaskqLaneDef *lane;
	bool		held;

	if (!taskq_store_find(id, &row))
		return NULL;
	lane = taskq_lane_get(DatumGetInt32(taskq_row_value(&row, lane)));
	if (lane == NULL || !taskq_row_may_see(lane, &row))
		return NULL;
	held = taskq_task_held(&row, &live);
	return taskq_task_state(&row, held ? &live : NULL);
}

/* Something that was refused without an error of ours. */
static Datum
refusal(const char *message)
{
	ErrorData	error = {.sqlerrcode = ERRCODE_TASK_WRONG_STATE,
	.message = unconstify(char *, message)};

	return taskq_error_jsonb(&error);
}

/* taskq_bulk_cancel - cancel it */
void
taskq_bulk_cancel(const TaskqBulk *bulk, const pg_uuid_t *id,
				  TaskqResult *outcome)
{
	TaskqCancelled cancelled;

	taskq_cancel_task(id, bulk->reason, bulk->force, bulk->until, &cancelled);
	outcome->success = cancelled.cancelled;
	outcome->status = status_of(id);
	if (!cancelled.cancelled)
		outcome->error = refusal(cancelled.message);
}

/*
 * A function of SQL's, with a task's id and priority as its first arguments
 * and null for all others.
 */
static Datum
call(PGFunction function, const pg_uuid_t *id, const TaskqBulk *bulk,
	 bool *isnull)
{
	LOCAL_FCINFO(fcinfo, 32);
	Datum		result;

	InitFunctionCallInfoData(*fcinfo, NULL, 32, InvalidOid, NULL, NULL);
	for (int i = 0; i < 32; i++)
	{
		fcinfo->args[i].value = (Datum) 0;
		fcinfo->args[i].isnull = true;
	}
	fcinfo->args[0].value = UUIDPGetDatum(id);
	fcinfo->args[0].isnull = false;
	fcinfo->args[1].value = Int32GetDatum(bulk->priority);
	fcinfo->args[1].isnull = !bulk->has_priority;
	result = function(fcinfo);
	*isnull = fcinfo->isnull;
	return result;
}

static void
act_retry(const TaskqBulk *bulk, const pg_uuid_t *id, TaskqResult *outcome)
{
	bool		isnull;
	Datum		new = call(taskq_task_retry, id, bulk, &isnull);

	outcome->success = outcome->has_new = true;
	outcome->new_id = *DatumGetUUIDP(new);
	outcome->status = status_of(id);
}

static void
act_delete(const TaskqBulk *bulk, const pg_uuid_t *id, TaskqResult *outcome)
{
	bool		isnull;

	(void) call(taskq_task_delete, id, bulk, &isnull);
	outcome->success = true;
	outcome->status = "deleted";
}

static void
act_priority(const TaskqBulk *bulk, const pg_uuid_t *id,
			 TaskqResult *outcome)
{
	TaskqReordered reordered;

	taskq_reorder_task(id, bulk->priority, bulk->reason, bulk->until, false,
					   &reordered);
	outcome->success = true;
	outcome->status = status_of(id);
}

static void
act_run_now(const TaskqBulk *bulk, const pg_uuid_t *id, TaskqResult *outcome)
{
	taskq_run_task_now(id, bulk->until);
	outcome->success = true;
	outcome->status = "pending";
}

/* What may be done, and to tasks of which states if a filter names none. */
static const struct
{
	const char *name;
	TaskqBulkAct act;
	const char *states[8];
}			actions[] = {

	{"cancel", taskq_bulk_cancel,
	{"pending", "reserved", "scheduled", "retrying", "blocked", "running"}},
	{"retry", act_retry, {"failed"}},
	{"priority", act_priority,
	{"pending", "reserved", "scheduled", "retrying", "blocked"}},
	{"delete", act_delete, {"completed", "failed", "cancelled"}},
	{"run_now", act_run_now, {"scheduled", "retrying"}},
};

/* ---- portions ---- */

/* Is it the fault of the task, and not of the session or the server? */
static bool
is_of_the_task(int sqlerrcode)
{
	switch (ERRCODE_TO_CATEGORY(sqlerrcode))
	{
		case ERRCODE_INSUFFICIENT_RESOURCES:
		case ERRCODE_OPERATOR_INTERVENTION:
		case ERRCODE_SYSTEM_ERROR:
		case ERRCODE_INTERNAL_ERROR:
		case ERRCODE_TRANSACTION_ROLLBACK:
			return false;
		default:
			return true;
	}
}

/* Do it for these tasks in one subtransaction; NULL, or what was raised. */
static ErrorData *
try_together(const TaskqBulk *bulk, const pg_uuid_t *ids, int n,
			 TaskqResult *outcomes)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	ErrorData  *volatile error = NULL;
	int			mark = taskq_actions_mark();

	memset(outcomes, 0, n * sizeof(TaskqResult));
	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		for (int i = 0; i < n; i++)
		{
			CHECK_FOR_INTERRUPTS();
			bulk->act(bulk, &ids[i], &outcomes[i]);
		}
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		if (!is_of_the_task(error->sqlerrcode))
			PG_RE_THROW();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;
	/* what the subtransaction had made may be in the caches */
	if (error != NULL)
	{
		taskq_actions_back(mark);
		taskq_defs_begin();
	}
	return error;
}

/*
 * taskq_bulk_portion - do it for these tasks, at most TASKQ_BULK_PORTION
 *
 * What is raised for one of them is its outcome.  Outcomes are made in the
 * current memory context.
 */
void
taskq_bulk_portion(const TaskqBulk *bulk, const pg_uuid_t *ids, int n,
				   TaskqResult *outcomes)
{
	if (n == 0 || try_together(bulk, ids, n, outcomes) == NULL)
		return;
	for (int i = 0; i < n; i++)
	{
		ErrorData  *error = try_together(bulk, &ids[i], 1, &outcomes[i]);

		if (error == NULL)
			continue;
		memset(&outcomes[i], 0, sizeof(TaskqResult));
		/* where it was raised is nobody's business */
		error->context = NULL;
		outcomes[i].error = taskq_error_jsonb(error);
		outcomes[i].status = status_of(&ids[i]);
	}
}

/* ---- from SQL ---- */

/* Called with the outcomes of a portion. */
typedef void (*TakeOutcomes) (void *to, const pg_uuid_t *ids, int n,
							  const TaskqResult *outcomes);

/* Do it for all of these, portion by portion. */
static void
do_listed(const TaskqBulk *bulk, const pg_uuid_t *ids, int n,
		  TakeOutcomes take, void *to)
{
	TaskqResult outcomes[TASKQ_BULK_PORTION];
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext,
												  "taskq bulk",
												  ALLOCSET_DEFAULT_SIZES);

	for (int i = 0; i < n; i += TASKQ_BULK_PORTION)
	{
		int			portion = Min(n - i, TASKQ_BULK_PORTION);
		MemoryContext old = MemoryContextSwitchTo(context);

		taskq_bulk_portion(bulk, ids + i, portion, outcomes);
		take(to, ids + i, portion, outcomes);
		MemoryContextSwitchTo(old);
		MemoryContextReset(context);
	}
	MemoryContextDelete(context);
}

/* What is to be done, from its word; 22023 for others. */
static int
action_arg(FunctionCallInfo fcinfo, int n)
{
	char	   *word = PG_ARGISNULL(n) ? "" : text_to_cstring(PG_GETARG_TEXT_PP(n));

	for (int i = 0; i < lengthof(actions); i++)
	{
		if (strcmp(actions[i].name, word) == 0)
			return i;
	}
	taskq_invalid_argument("action",
						   "must be cancel, retry, priority, delete or run_now");
}

/* reason, force and priority, from this argument on. */
static void
bulk_args(FunctionCallInfo fcinfo, int action, int n, TaskqBulk *bulk)
{
	memset(bulk, 0, sizeof(*bulk));
	bulk->act = actions[action].act;
	bulk->reason = taskq_arg_text(fcinfo, n, NULL);
	bulk->force = !PG_ARGISNULL(n + 1) && PG_GETARG_BOOL(n + 1);
	bulk->has_priority = !PG_ARGISNULL(n + 2);
	if (bulk->has_priority)
		bulk->priority = PG_GETARG_INT32(n + 2);
	if (bulk->has_priority)
		taskq_check_priority(bulk->priority);
	else if (bulk->act == act_priority)
		taskq_invalid_argument("priority",
							   "must be given with action priority");
}

static void
filter_arg(FunctionCallInfo fcinfo, int n, int action, TaskqFilter *filter)
{
	taskq_filter_init(filter, false);
	taskq_filter_parse(filter, PG_GETARG_JSONB_P(n));
	if (filter->states != NIL)
		return;
	for (int i = 0; actions[action].states[i] != NULL; i++)
		filter->states = lappend(filter->states,
								 unconstify(char *, actions[action].states[i]));
}

static pg_uuid_t *
ids_arg(FunctionCallInfo fcinfo, int n, int *nids)
{
	Datum	   *items;
	bool	   *nulls;
	pg_uuid_t  *ids;

	deconstruct_array(PG_GETARG_ARRAYTYPE_P(n), UUIDOID, UUID_LEN, false,
					  TYPALIGN_CHAR, &items, &nulls, nids);
	if (*nids > MAX_IN_ONE)
		taskq_invalid_argument("ids", "must not have more than 100000 elements");
	ids = palloc(sizeof(pg_uuid_t) * Max(*nids, 1));
	for (int i = 0; i < *nids; i++)
	{
		if (nulls[i])
			taskq_invalid_argument("ids", "must not contain nulls");
		ids[i] = *DatumGetUUIDP(items[i]);
	}
	return ids;
}

static void
begin_bulk(const char *function)
{
	taskq_require_preload();
	PreventCommandIfReadOnly(function);
	PreventCommandDuringRecovery(function);
	taskq_tenant_check();
	taskq_defs_begin();
}

static void
put_rows(void *to, const pg_uuid_t *ids, int n, const TaskqResult *outcomes)
{
	ReturnSetInfo *rsinfo = to;

	for (int i = 0; i < n; i++)
	{
		Datum		values[5];
		bool		nulls[5] = {false};

		values[0] = UUIDPGetDatum(&ids[i]);
		values[1] = BoolGetDatum(outcomes[i].success);
		nulls[2] = outcomes[i].status == NULL;
		values[2] = nulls[2] ? (Datum) 0
			: CStringGetTextDatum(outcomes[i].status);
		values[3] = outcomes[i].error;
		nulls[3] = outcomes[i].error == 0;
		values[4] = UUIDPGetDatum(&outcomes[i].new_id);
		nulls[4] = !outcomes[i].has_new;
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values,
							 nulls);
	}
}

/*
 * Rows that others hold are waited for as long as by a call for one task, in
 * all.
 */
static void
do_patiently(TaskqBulk *bulk, const pg_uuid_t *ids, int n, TakeOutcomes take,
			 void *to)
{
	bulk->until = taskq_busy_until();
	taskq_busy_share(bulk->until);
	taskq_actions_begin(bulk->reason);
	PG_TRY();
	{
		do_listed(bulk, ids, n, take, to);
		taskq_actions_write();
	}
	PG_FINALLY();
	{
		taskq_actions_end();
		taskq_busy_share(0);
	}
	PG_END_TRY();
}

PG_FUNCTION_INFO_V1(taskq_task_bulk);

/*
 * taskq_task_bulk - task_bulk(action, ids, reason, force, priority, filter, n,
 * after) returns rows of (task_id, success, status, error, new_task_id)
 *
 * Locks the tasks' rows till the transaction ends.  Raises 22023 for bad
 * arguments; what is wrong with one task is in its row.
 */
Datum
taskq_task_bulk(PG_FUNCTION_ARGS)
{
	int			action = action_arg(fcinfo, 0);
	int			n = PG_ARGISNULL(6) ? DEFAULT_IN_ONE : PG_GETARG_INT32(6);
	pg_uuid_t	after = {{0}};
	pg_uuid_t	last;
	pg_uuid_t  *ids;
	TaskqBulk	bulk;
	TaskqFilter filter;

	if (PG_ARGISNULL(1) == PG_ARGISNULL(5))
		taskq_invalid("either ids or filter must be given",
					  "Pass a list of ids as argument \"ids\", or an object as argument \"filter\".");
	if (n < 1 || n > MAX_IN_ONE)
		taskq_invalid_argument("n", "must be between 1 and 100000");
	bulk_args(fcinfo, action, 2, &bulk);
	if (!PG_ARGISNULL(7))
		after = *PG_GETARG_UUID_P(7);
	begin_bulk("taskq.task_bulk()");
	InitMaterializedSRF(fcinfo, 0);
	if (!PG_ARGISNULL(1))
		ids = ids_arg(fcinfo, 1, &n);
	else
	{
		filter_arg(fcinfo, 5, action, &filter);
		ids = palloc(sizeof(pg_uuid_t) * n);
		memset(&last, 0xff, sizeof(last));
		n = taskq_list_ids(&filter, &after, &last, n, ids);
	}
	do_patiently(&bulk, ids, n, put_rows, fcinfo->resultinfo);
	return (Datum) 0;
}

/* ---- in portions that are committed ---- */

typedef struct Counts
{
	int64		done;
	int64		failed;
}			Counts;

static void
count_outcomes(void *to, const pg_uuid_t *ids, int n,
			   const TaskqResult *outcomes)
{
	Counts	   *counts = to;

	for (int i = 0; i < n; i++)
	{
		counts->done += outcomes[i].success;
		counts->failed += !outcomes[i].success;
	}
}

/* One transaction's share; false if that was the last one. */
static bool
do_share(FunctionCallInfo fcinfo, int action, pg_uuid_t *after,
		 const pg_uuid_t *last, Counts * counts)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext,
												  "taskq bulk share",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	pg_uuid_t	ids[COMMIT_AFTER];
	TaskqBulk	bulk;
	TaskqFilter filter;
	int			n;

	begin_bulk("taskq.task_bulk_all()");
	bulk_args(fcinfo, action, 2, &bulk);
	filter_arg(fcinfo, 1, action, &filter);
	PushActiveSnapshot(GetTransactionSnapshot());
	n = taskq_list_ids(&filter, after, last, COMMIT_AFTER, ids);
	if (n > 0)
		*after = ids[n - 1];
	do_patiently(&bulk, ids, n, count_outcomes, counts);
	PopActiveSnapshot();
	MemoryContextSwitchTo(old);
	MemoryContextDelete(context);
	return n == COMMIT_AFTER;
}

/* The arguments, where the ends of transactions leave them. */
static void
keep_args(FunctionCallInfo fcinfo)
{
	MemoryContext old = MemoryContextSwitchTo(PortalContext);

	if (!PG_ARGISNULL(1))
		fcinfo->args[1].value = PointerGetDatum(PG_GETARG_JSONB_P_COPY(1));
	if (!PG_ARGISNULL(2))
		fcinfo->args[2].value = PointerGetDatum(PG_GETARG_TEXT_P_COPY(2));
	MemoryContextSwitchTo(old);
}

PG_FUNCTION_INFO_V1(taskq_task_bulk_all);

/*
 * taskq_task_bulk_all - procedure task_bulk_all(action, filter, reason, force,
 * priority, INOUT done, INOUT failed)
 *
 * Commits after every so many tasks, so it is not for transaction blocks
 * (2D000).  Tasks that are submitted meanwhile are left alone, also those that
 * it makes.
 */
Datum
taskq_task_bulk_all(PG_FUNCTION_ARGS)
{
	CallContext *context = (CallContext *) fcinfo->context;
	int			action = action_arg(fcinfo, 0);
	pg_uuid_t	after = {{0}};
	pg_uuid_t	last;
	Counts		counts = {0};
	TupleDesc	desc;
	Datum		values[2];
	bool		nulls[2] = {false, false};
	bool		more;

	if (context == NULL || !IsA(context, CallContext) || context->atomic)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TRANSACTION_TERMINATION),
				 errmsg("taskq.task_bulk_all() must be called outside of a transaction block"),
				 errhint("Inside of one use taskq.task_bulk().")));
	if (PG_ARGISNULL(1))
		taskq_invalid_argument("filter", "must not be null");
	keep_args(fcinfo);
	taskq_id_last(GetCurrentTimestamp(), &last);

	SPI_connect_ext(SPI_OPT_NONATOMIC);
	do
	{
		more = do_share(fcinfo, action, &after, &last, &counts);
		SPI_commit();
	} while (more);
	SPI_finish();
	values[0] = Int64GetDatum(counts.done);
	values[1] = Int64GetDatum(counts.failed);
	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}
