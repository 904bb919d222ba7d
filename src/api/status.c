/*-------------------------------------------------------------------------
 *
 * status.c
 *		Looking at tasks: status, result, progress, and what the views need.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "access/relation.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "api/task.h"
#include "base/compat.h"
#include "base/guc.h"
#include "catalog/namespace.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_type.h"
#include "commands/dbcommands.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "lanes/failures.h"
#include "lanes/claim.h"
#include "lanes/first.h"
#include "lanes/lane.h"
#include "lanes/live.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "store/leases.h"
#include "store/rights.h"
#include "store/state.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/fmgrprotos.h"
#include "utils/array.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

static void
put_live(void *to, const TaskqLive *live)
{
	ReturnSetInfo *rsinfo = to;
	Datum		values[16];
	bool		nulls[16] = {false};

	values[0] = UUIDPGetDatum(&live->id);
	values[1] = Int16GetDatum(taskq_id_slot(&live->id));
	values[2] = CStringGetTextDatum(live->running ? "running" : "reserved");
	values[3] = Int16GetDatum(live->attempt);
	nulls[3] = live->attempt == 0;
	values[4] = CStringGetTextDatum(taskq_worker_name(live->slot));
	values[5] = TimestampTzGetDatum(live->started_at);
	nulls[5] = live->started_at == 0;
	values[6] = Float8GetDatum(live->current);
	nulls[6] = !live->has_progress;
	values[7] = Float8GetDatum(live->total);
	nulls[7] = !live->has_progress || !live->has_total;
	values[8] = Int32GetDatum(live->failed_steps);
	nulls[8] = live->failed_steps < 0;
	nulls[9] = !live->has_message;
	values[9] = nulls[9] ? (Datum) 0 : CStringGetTextDatum(live->message);
	nulls[10] = live->info_len == 0;
	values[10] = nulls[10] ? (Datum) 0 : taskq_live_info(live);
	values[11] = TimestampTzGetDatum(live->updated_at);
	nulls[11] = live->updated_at == 0;
	values[12] = BoolGetDatum(live->cancel);
	nulls[13] = !live->cancel || live->reason[0] == '\0';
	values[13] = nulls[13] ? (Datum) 0 : CStringGetTextDatum(live->reason);
	nulls[14] = !live->has_phase;
	values[14] = nulls[14] ? (Datum) 0 : CStringGetTextDatum(live->phase);
	nulls[15] = live->failures.len == 0;
	values[15] = nulls[15] ? (Datum) 0 : taskq_failures_jsonb(&live->failures);
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
}

/*
 * Tasks that are looked up by their ids, and what was live of them before the
 * snapshot was taken.  What is looked at the other way round has ended in
 * between, and seems to wait.
 */
typedef struct Known
{
	pg_uuid_t  *ids;			/* sorted */
	int			n;
	List	   *live;
}			Known;

static const Known *known = NULL;

static int
compare_ids(const void *a, const void *b)
{
	return memcmp(a, b, UUID_LEN);
}

static void
keep_live(void *to, const TaskqLive *live)
{
	Known	   *of = to;

	if (bsearch(&live->id, of->ids, of->n, UUID_LEN, compare_ids) != NULL)
		of->live = lappend(of->live,
						   memcpy(palloc(sizeof(*live)), live, sizeof(*live)));
}

PG_FUNCTION_INFO_V1(taskq_live);

/*
 * taskq_live - the tasks that workers of this database hold, as of the
 * query's snapshot, for the view
 */
Datum
taskq_live(PG_FUNCTION_ARGS)
{
	ListCell   *lc;

	taskq_store_require();
	InitMaterializedSRF(fcinfo, 0);
	if (known == NULL)
		taskq_live_seen(GetActiveSnapshot(), put_live, fcinfo->resultinfo);
	else
	{
		foreach(lc, known->live)
			put_live(fcinfo->resultinfo, lfirst(lc));
	}
	return (Datum) 0;
}

/*
 * Since when the first task of a lane waits, or DT_NOEND.  Shared memory has
 * no time of a lane that nobody has scanned yet, and of others when their
 * first task is due, which may be any moment: what waits in them is looked
 * for, unless it is not for long.
 */
static TimestampTz
oldest_of(const TaskqLane *lane, TimestampTz now)
{
	static const TimestampTz long_ago = SECS_PER_YEAR * USECS_PER_SEC;
	pg_uuid_t	head;
	TimestampTz due;
	TimestampTz oldest;

	if (lane->waiting <= 0 || !lane->dirty)
		return DT_NOEND;
	taskq_lane_head(lane, &head);
	due = taskq_id_time(&head);
	if (due > now - USECS_PER_HOUR)
		return due;
	oldest = taskq_first_kept(lane) ? lane->first.since
		: taskq_first_since(lane->id);
	return oldest == DT_NOEND && due > long_ago ? due : oldest;
}

PG_FUNCTION_INFO_V1(taskq_lanes);

/*
 * taskq_lanes - the lanes of this database in shared memory, for the views
 *
 * Takes whether since when their first tasks wait is wanted, which may have to
 * be looked for in the tables: the first time tens of milliseconds of a
 * thousand lanes.
 */
Datum
taskq_lanes(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	bool		ages = PG_GETARG_BOOL(0);
	TimestampTz now = GetCurrentTimestamp();
	TaskqLane  *copy;
	int			n = 0;

	taskq_store_require();
	InitMaterializedSRF(fcinfo, 0);
	if (taskq_shared == NULL)
		return (Datum) 0;
	copy = palloc_extended(sizeof(TaskqLane) * Max(taskq_shared->nlanes, 1),
						   MCXT_ALLOC_HUGE);
	{
		int			max = taskq_shared->nlanes;

		LWLockAcquire(taskq_main_lock, LW_SHARED);
		for (int i = 0; i < max; i++)
		{
			if (taskq_shared->lanes[i].dbid == MyDatabaseId)
				copy[n++] = taskq_shared->lanes[i];
		}
		LWLockRelease(taskq_main_lock);
	}
	for (int i = 0; i < n; i++)
	{
		Datum		values[5];
		bool		nulls[5] = {false};
		Interval	average = {.time = copy[i].average_us};
		TimestampTz oldest = ages ? oldest_of(&copy[i], now) : DT_NOEND;

		values[0] = Int32GetDatum(copy[i].id);
		values[1] = Int64GetDatum(copy[i].waiting);
		values[2] = Int32GetDatum(Max(copy[i].running, 0));
		values[3] = IntervalPGetDatum(&average);
		nulls[3] = copy[i].average_us == 0;
		values[4] = TimestampTzGetDatum(oldest);
		nulls[4] = oldest == DT_NOEND;
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values,
							 nulls);
	}
	return (Datum) 0;
}

/*
 * taskq_task_require - read a task that the caller may see
 *
 * Raises PT404 both for one that isn't there and for one that isn't the
 * caller's: nobody learns what others have.  PT403 to who must be of a tenant
 * and is not.
 */
void
taskq_task_require(const pg_uuid_t *id, TaskqRow *row)
{
	bool		found;
	const TaskqLaneDef *lane = NULL;

	taskq_tenant_check();
	found = taskq_store_find(id, row);
	if (found)
		lane = taskq_lane_get(DatumGetInt32(taskq_row_value(row, lane)));
	if (lane == NULL || !taskq_row_may_see(lane, row))
		ereport(ERROR,
				(errcode(ERRCODE_TASK_NOT_FOUND),
				 errmsg("task %s does not exist", taskq_id_text(id)),
				 errdetail("It was never submitted, its submit did not commit, its retention is over, or it is not yours to see.")));
}

/*
 * taskq_task_state - the word for a task's state, in view of the worker that
 * may hold it
 */
const char *
taskq_task_state(TaskqRow *row, const TaskqLive *live)
{
	if (live != NULL)
		return live->running ? "running" : "reserved";
	if (taskq_row_state(row) == TASKQ_RUNNING)
		return "pending";
	return taskq_state_name(taskq_row_state(row));
}

/* A query of ours about tasks, with two arguments; its plan is kept. */
typedef struct TaskQuery
{
	const char *text;			/* %s: the columns of view taskq.task */
	Oid			types[2];
	SPIPlanPtr	plan;
} TaskQuery;

/* The columns of view taskq.task, in its order, from alias a. */
static char *
task_columns(void)
{
	Oid			view = get_relname_relid("task",
										 get_namespace_oid("taskq", false));
	Relation	rel = relation_open(view, AccessShareLock);
	TupleDesc	desc = RelationGetDescr(rel);
	StringInfoData columns;

	initStringInfo(&columns);
	for (int i = 0; i < desc->natts; i++)
		appendStringInfo(&columns, "%sa.%s", i > 0 ? ", " : "",
						 quote_identifier(NameStr(TupleDescAttr(desc, i)->attname)));
	relation_close(rel, AccessShareLock);
	return columns.data;
}

static void
prepare_query(TaskQuery *query)
{
	char	   *text = unconstify(char *, query->text);

	if (query->plan != NULL)
		return;
	if (strstr(text, "%s") != NULL)
		text = psprintf(text, task_columns());

	query->plan = SPI_prepare_cursor(text, 2, query->types,
									 CURSOR_OPT_GENERIC_PLAN);
	if (query->plan == NULL)
		elog(ERROR, "SPI_prepare failed: %s",
			 SPI_result_code_string(SPI_result));
	SPI_keepplan(query->plan);
}

static Oid	viewer = InvalidOid;

/*
 * taskq_task_viewer - for whom a query of ours looks at tasks; InvalidOid:
 * none is running
 *
 * Functions that the views call are called by the extension's owner there.
 */
Oid
taskq_task_viewer(void)
{
	return viewer;
}

PG_FUNCTION_INFO_V1(taskq_claims_seen);
extern Datum taskq_role_visible(PG_FUNCTION_ARGS);
extern Datum taskq_actor_visible(PG_FUNCTION_ARGS);

/*
 * taskq_claims_seen - claims_seen(name, oid, system, claims), for the views:
 * the claims of a task that this role submitted, or NULL if who looks may not
 * see whom that acted for, as in the audit
 */
Datum
taskq_claims_seen(PG_FUNCTION_ARGS)
{
	Oid			user;
	int			context;
	bool		seen;

	GetUserIdAndSecContext(&user, &context);
	if (OidIsValid(viewer))
		SetUserIdAndSecContext(viewer, context);
	seen = DatumGetBool(DirectFunctionCall3(taskq_role_visible,
											PG_GETARG_DATUM(0),
											PG_GETARG_DATUM(1),
											PG_GETARG_DATUM(2))) &&
		DatumGetBool(DirectFunctionCall1(taskq_actor_visible,
										 PG_GETARG_DATUM(3)));
	SetUserIdAndSecContext(user, context);
	if (!seen)
		PG_RETURN_NULL();
	PG_RETURN_DATUM(PG_GETARG_DATUM(3));
}

static void
execute_for(TaskQuery *query, Datum *args, Oid user, const Known * of)
{
	Oid			before = viewer;
	const		Known *known_before = known;

	PG_TRY();
	{
		viewer = user;
		known = of;
		if (SPI_execute_plan(query->plan, args, NULL, true,
							 0) != SPI_OK_SELECT)
			elog(ERROR, "could not read task");
	}
	PG_FINALLY();
	{
		viewer = before;
		known = known_before;
	}
	PG_END_TRY();
}

/*
 * Run a query of ours and give each row's only column, a composite, to put.
 *
 * It runs as the extension's owner, who alone may read the tables; whether the
 * caller may see these tasks has been checked.
 */
static uint64
query_tasks(TaskQuery *query, const pg_uuid_t *ids, int n,
			Datum first, Datum second,
			void (*put) (void *to, HeapTupleHeader row), void *to)
{
	Datum		args[2] = {first, second};
	Known		of = {.n = n};
	MemoryContext caller = CurrentMemoryContext;
	uint64		nrows;
	Oid			user;
	int			context;
	bool		isnull;

	of.ids = memcpy(palloc(n * UUID_LEN), ids, n * UUID_LEN);
	qsort(of.ids, n, UUID_LEN, compare_ids);
	taskq_live_each(keep_live, &of);
	PushActiveSnapshot(GetLatestSnapshot());
	SPI_connect();
	GetUserIdAndSecContext(&user, &context);
	SetUserIdAndSecContext(BOOTSTRAP_SUPERUSERID,
						   context | SECURITY_LOCAL_USERID_CHANGE);
	prepare_query(query);
	execute_for(query, args, user, &of);
	SetUserIdAndSecContext(user, context);
	nrows = SPI_processed;
	for (uint64 i = 0; i < nrows; i++)
	{
		HeapTupleHeader header = DatumGetHeapTupleHeader(SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1,
																	   &isnull));
		MemoryContext old = MemoryContextSwitchTo(caller);

		put(to, header);
		MemoryContextSwitchTo(old);
	}
	SPI_finish();
	PopActiveSnapshot();
	return nrows;
}

static void
put_datum(void *to, HeapTupleHeader row)
{
	*(Datum *) to =
		PointerGetDatum(memcpy(palloc(HeapTupleHeaderGetDatumLength(row)),
							   row, HeapTupleHeaderGetDatumLength(row)));
}

/*
 * taskq_task_row - the row of view taskq.task for a task that the caller may
 * see
 */
Datum
taskq_task_row(const pg_uuid_t *id)
{
	static TaskQuery query = {
		"SELECT ROW(%s)::taskq.task FROM taskq_internal.task_known a"
		" WHERE a.id OPERATOR(pg_catalog.=) $1 AND a.slot OPERATOR(pg_catalog.=) ANY (ARRAY[$2, 16::pg_catalog.int2])",
	{UUIDOID, INT2OID}};
	Datum		result = 0;

	if (query_tasks(&query, id, 1, UUIDPGetDatum(id),
					Int16GetDatum(taskq_id_slot(id)), put_datum,
					&result) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_TASK_NOT_FOUND),
				 errmsg("task %s does not exist", taskq_id_text(id))));
	return result;
}

/*
 * taskq_task_rows - the rows of view taskq.task for tasks that the caller may
 * see, in this order; those that are not there any more are left out
 */
void
taskq_task_rows(const pg_uuid_t *ids, int n,
				void (*put) (void *to, HeapTupleHeader row), void *to)
{
	/* by OFFSET the id becomes a parameter, so each is one probe of its leaf */
	static TaskQuery query = {
		"SELECT ROW(%s)::taskq.task"
		" FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2)) WITH ORDINALITY i (id, slot, n)"
		" CROSS JOIN LATERAL (SELECT t.* FROM taskq_internal.task_known t WHERE t.id OPERATOR(pg_catalog.=) i.id"
		" AND t.slot OPERATOR(pg_catalog.=) ANY (ARRAY[i.slot, 16::pg_catalog.int2]) OFFSET 0) a ORDER BY i.n",
	{UUIDARRAYOID, INT2ARRAYOID}};
	Datum	   *uuids = palloc(sizeof(Datum) * Max(n, 1));
	Datum	   *slots = palloc(sizeof(Datum) * Max(n, 1));

	if (n == 0)
		return;
	for (int i = 0; i < n; i++)
	{
		uuids[i] = UUIDPGetDatum(&ids[i]);
		slots[i] = Int16GetDatum(taskq_id_slot(&ids[i]));
	}
	(void) query_tasks(&query, ids, n,
					   PointerGetDatum(construct_array(uuids, n, UUIDOID, UUID_LEN, false, TYPALIGN_CHAR)),
					   PointerGetDatum(construct_array(slots, n, INT2OID, sizeof(int16), true, TYPALIGN_SHORT)),
					   put, to);
}

static void
put_tuple(void *to, HeapTupleHeader row)
{
	HeapTupleData tuple;

	tuple.t_len = HeapTupleHeaderGetDatumLength(row);
	ItemPointerSetInvalid(&tuple.t_self);
	tuple.t_tableOid = InvalidOid;
	tuple.t_data = row;
	tuplestore_puttuple(((ReturnSetInfo *) to)->setResult, &tuple);
}

PG_FUNCTION_INFO_V1(taskq_task_attempts);

/*
 * taskq_task_attempts - (id uuid) returns rows of taskq.task_attempt; PT404
 * if there is no such task
 */
Datum
taskq_task_attempts(PG_FUNCTION_ARGS)
{
	static TaskQuery query = {
		"SELECT ROW(a.task_id, a.attempt, a.state, a.worker, a.started_at, a.finished_at, a.duration, a.error, a.resources)::taskq.task_attempt"
		" FROM taskq_internal.attempt_all a WHERE a.task_id OPERATOR(pg_catalog.=) $1"
		" AND a.slot OPERATOR(pg_catalog.=) ANY (ARRAY[$2, 16::pg_catalog.int2]) ORDER BY a.attempt",
	{UUIDOID, INT2OID}};
	pg_uuid_t	id = taskq_arg_id(fcinfo, 0);
	TaskqRow	row;

	taskq_defs_begin();
	taskq_task_require(&id, &row);
	InitMaterializedSRF(fcinfo, 0);
	(void) query_tasks(&query, &id, 1, UUIDPGetDatum(&id),
					   Int16GetDatum(taskq_id_slot(&id)), put_tuple,
					   fcinfo->resultinfo);
	return (Datum) 0;
}

PG_FUNCTION_INFO_V1(taskq_server);

/*
 * taskq_server - server() returns the state of taskq in this server and
 * database, for sitrep
 */
Datum
taskq_server(PG_FUNCTION_ARGS)
{
	TupleDesc	desc;
	Datum		values[9] = {0};
	bool		nulls[9] = {false};
	TaskqDb    *db;
	pg_uuid_t	quarantined;
	int			workers = 0;

	taskq_store_require();
	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	memset(nulls, true, sizeof(nulls));
	if (taskq_shared != NULL)
	{
		LWLockAcquire(taskq_main_lock, LW_SHARED);
		db = taskq_db_find(MyDatabaseId);
		for (int i = 0; i < taskq_shared->nslots; i++)
			workers += taskq_shared->slots[i].dbid == MyDatabaseId &&
				taskq_shared->slots[i].pid != 0;
		values[0] = BoolGetDatum(taskq_db_paused(MyDatabaseId));
		values[1] = BoolGetDatum(taskq_shared->start_paused);
		values[2] = Int32GetDatum(taskq_shared->launcher);
		values[3] = Int32GetDatum(db && db->dispatcher > 0 ? db->dispatcher
								  : 0);
		values[4] = Int32GetDatum(workers);
		values[5] = Int32GetDatum(taskq_max_workers);
		nulls[6] = taskq_shared->quarantine < 0 ||
			taskq_shared->slots[taskq_shared->quarantine].dbid !=
			MyDatabaseId;
		if (!nulls[6])
			quarantined = taskq_shared->slots[taskq_shared->quarantine].task;
		values[6] = UUIDPGetDatum(&quarantined);
		values[7] = Int64GetDatum(taskq_shared->events_lost);
		nulls[0] = nulls[1] = nulls[4] = nulls[5] = nulls[7] = false;
		values[8] = TimestampTzGetDatum(taskq_settings_read(db));
		nulls[8] = DatumGetTimestampTz(values[8]) == 0;
		nulls[2] = taskq_shared->launcher == 0;
		nulls[3] = values[3] == 0;
		LWLockRelease(taskq_main_lock);
	}
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}

PG_FUNCTION_INFO_V1(taskq_task_status);

/*
 * taskq_task_status - (id uuid) returns one row of taskq.task; PT404 if there
 * is none
 */
Datum
taskq_task_status(PG_FUNCTION_ARGS)
{
	pg_uuid_t	id = taskq_arg_id(fcinfo, 0);
	TaskqRow	row;

	taskq_defs_begin();
	taskq_task_require(&id, &row);
	PG_RETURN_DATUM(taskq_task_row(&id));
}

PG_FUNCTION_INFO_V1(taskq_task_result);

/*
 * taskq_task_result - (id uuid) returns jsonb
 *
 * Null if the handler returned nothing.  Raises PT409 if the task is not
 * finished, failed, or was cancelled without a partial result; PT404 if there
 * is none.
 */
Datum
taskq_task_result(PG_FUNCTION_ARGS)
{
	pg_uuid_t	id = taskq_arg_id(fcinfo, 0);
	TaskqLive  *live = palloc(sizeof(TaskqLive));
	TaskqRow	row;
	bool		held;
	char		state;

	taskq_defs_begin();
	taskq_task_require(&id, &row);
	held = taskq_task_held(&row, live);
	state = taskq_row_state(&row);
	if (held || !taskq_state_final(state))
		ereport(ERROR,
				(errcode(ERRCODE_TASK_WRONG_STATE),
				 errmsg("task %s is not finished", taskq_id_text(&id)),
				 errdetail("It is %s.", taskq_task_state(&row, held ? live : NULL)),
				 errhint("Wait for it with taskq.task_wait().")));
	if (state == TASKQ_FAILED)
		ereport(ERROR,
				(errcode(ERRCODE_TASK_WRONG_STATE),
				 errmsg("task %s failed", taskq_id_text(&id)),
				 errhint("Column error of taskq.task_status() tells why.")));
	if (state == TASKQ_CANCELLED && taskq_row_isnull(&row, result))
		ereport(ERROR,
				(errcode(ERRCODE_TASK_WRONG_STATE),
				 errmsg("task %s was cancelled", taskq_id_text(&id)),
				 errhint("Column cancel_reason of taskq.task_status() may tell why.")));
	if (taskq_row_isnull(&row, result))
		PG_RETURN_NULL();
	PG_RETURN_DATUM(PointerGetDatum(PG_DETOAST_DATUM_COPY(taskq_row_value(&row, result))));
}

/*
 * A task that the caller may see, and whether a worker holds it.  What looks
 * as if it waited may have come to its end between the two looks.
 */
static bool
look_twice(const pg_uuid_t *id, TaskqRow *row, TaskqLive *live)
{
	TransactionId seen = InvalidTransactionId;

	for (;;)
	{
		taskq_task_require(id, row);
		if (taskq_task_held(row, live))
			return true;
		if ((taskq_row_state(row) != TASKQ_PENDING &&
			 taskq_row_state(row) != TASKQ_RUNNING) || row->xmin == seen)
			return false;
		seen = row->xmin;
	}
}

/*
 * What a task told last whose worker is through with it, and in another one
 * before anybody was told of the end: that is with its row by now.
 */
static void
recall_progress(const pg_uuid_t *id, TaskqRow *row, TaskqLive *live)
{
	if (!live->running || live->unfinished || live->has_progress)
		return;
	taskq_task_require(id, row);
	if (taskq_state_final(taskq_row_state(row)) &&
		!taskq_row_isnull(row, progress))
		taskq_progress_read(taskq_row_value(row, progress), live);
}

/*
 * taskq_task_progress_jsonb - state and progress of a task, as an object
 *
 * final: will it never change?  Raises PT404 if there is no such task.
 */
Datum
taskq_task_progress_jsonb(const pg_uuid_t *id, bool *final)
{
	TaskqLive  *live = palloc0(sizeof(TaskqLive));
	TaskqRow	row;
	TaskqLease	lease;

	*final = false;
	if (look_twice(id, &row, live))
	{
		recall_progress(id, &row, live);
		return taskq_progress_jsonb(live, taskq_task_state(&row, live));
	}

	/*
	 * what it told last was kept with the row, or with the lease of an
	 * external worker
	 */
	*final = taskq_state_final(taskq_row_state(&row));
	if (taskq_row_state(&row) == TASKQ_LEASED)
	{
		if (taskq_lease_find(id, &lease) && lease.progress != 0)
			taskq_progress_read(lease.progress, live);
	}
	else if (!taskq_row_isnull(&row, progress))
		taskq_progress_read(taskq_row_value(&row, progress), live);
	if (taskq_row_state(&row) == TASKQ_COMPLETED)
	{
		live->has_percent = true;
		live->percent = 100;
	}
	return taskq_progress_jsonb(live, taskq_task_state(&row, NULL));
}

PG_FUNCTION_INFO_V1(taskq_task_progress);

/*
 * taskq_task_progress - (id uuid) returns jsonb; PT404 if there is no such
 * task
 */
Datum
taskq_task_progress(PG_FUNCTION_ARGS)
{
	pg_uuid_t	id = taskq_arg_id(fcinfo, 0);
	bool		final;

	taskq_defs_begin();
	PG_RETURN_DATUM(taskq_task_progress_jsonb(&id, &final));
}
