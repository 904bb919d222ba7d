/*-------------------------------------------------------------------------
 *
 * statistics.c
 *		What was counted, for SQL to group and to show.
 *
 * Everybody gets what was counted of the roles it may see, and of its tenant
 * where it acts for one.  What is of all tenants together (workers, the length
 * of queues, what found no room) is nobody's who acts for one of them.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "base/args.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "base/shmem.h"
#include "lanes/counts.h"
#include "lanes/stock.h"
#include "miscadmin.h"
#include "store/claims.h"
#include "store/defs.h"
#include "store/rights.h"
#include "store/store.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#define TASKQ_STATES 9

/* A role, and may the caller see what is of it? */
typedef struct CountedRole
{
	int32		id;
	NameData	name;
	bool		visible;
} CountedRole;

typedef struct Counting
{
	ReturnSetInfo *rsinfo;
	HTAB	   *roles;
	bool		limited;		/* the caller acts for one tenant */
	bool		all;			/* the caller sees all roles */
	const char *types;			/* or NULL */
	bool		apart;
	bool		ever;			/* of all time, which has no tenants */
} Counting;

/* Whose it is that was counted. */
typedef struct CountedOf
{
	const TaskqLaneDef *lane;	/* or NULL */
	const TaskqKind *kind;		/* or NULL */
	const CountedRole *role;	/* or NULL */
	const CountedRole *by;		/* or NULL: the role itself */
} CountedOf;

static CountedRole *
find_role(Counting *counting, int32 id)
{
	bool		found;
	Oid			oid = InvalidOid;
	CountedRole *role = hash_search(counting->roles, &id, HASH_ENTER, &found);

	if (found)
		return role;
	memset(&role->name, 0, sizeof(role->name));
	role->visible = taskq_role_read(id, &role->name, &oid) &&
		(counting->all || taskq_role_may_see(oid));
	return role;
}

/* Whose it is; false if it is not for the caller. */
static bool
look_whose(Counting *counting, const TaskqGroup *group, CountedOf *of)
{
	bool		is_lane = group->type == TASKQ_GROUP_LANE;

	memset(of, 0, sizeof(*of));
	if (group->of == 0)
		return counting->all && !counting->limited;
	if (counting->limited && !is_lane && group->type != TASKQ_GROUP_TAG &&
		group->type != TASKQ_GROUP_MEMBER)
		return false;
	if (counting->limited &&
		(counting->ever ||
		 !taskq_tenant_may_see(group->tenant[0] ? group->tenant : NULL)))
		return false;
	if (!is_lane)
	{
		of->role = find_role(counting, group->of);
		return of->role->visible;
	}
	of->lane = taskq_lane_get(group->of);
	if (of->lane == NULL)
		return false;
	of->kind = taskq_lane_kind(of->lane);
	of->role = find_role(counting, of->lane->role);
	if (group->name[0] != '\0')
		of->by = find_role(counting, pg_strtoint32(group->name));
	return of->role->visible || (of->by != NULL && of->by->visible);
}

/* Columns of counted(): the last eight are numbers that are always there. */
enum
{
	COLUMN_TYPE,
	COLUMN_OUTCOME,
	COLUMN_AT,
	COLUMN_KIND,
	COLUMN_QUEUE,
	COLUMN_CATEGORY,
	COLUMN_ROLE,
	COLUMN_BY,
	COLUMN_TENANT,
	COLUMN_NAME,
	COLUMN_NUMBERS,
	COLUMNS = COLUMN_NUMBERS + 8
};

static void
set_text(Datum *values, bool *nulls, int column, const char *value)
{
	nulls[column] = value == NULL || value[0] == '\0';
	values[column] = nulls[column] ? (Datum) 0 : CStringGetTextDatum(value);
}

static void
set_numbers(Datum *values, const TaskqCounts *counts)
{
	values[COLUMN_NUMBERS] = Int64GetDatum(counts->n);
	values[COLUMN_NUMBERS + 1] = Int64GetDatum(counts->started);
	values[COLUMN_NUMBERS + 2] = Int64GetDatum(counts->wait_us);
	values[COLUMN_NUMBERS + 3] = Int64GetDatum(counts->run_us);
	values[COLUMN_NUMBERS + 4] = Int64GetDatum(counts->max_us);
	values[COLUMN_NUMBERS + 5] = taskq_counts_array(counts->waits,
													TASKQ_BUCKETS);
	values[COLUMN_NUMBERS + 6] = taskq_counts_array(counts->runs,
													TASKQ_BUCKETS);
	values[COLUMN_NUMBERS + 7] = taskq_counts_array(counts->resources,
													TASKQ_RESOURCES);
}

static void
put_counted(TimestampTz at, const TaskqCounted *counted, void *arg)
{
	Counting   *counting = arg;
	const TaskqGroup *group = &counted->group;
	CountedOf	of;
	Datum		values[COLUMNS];
	bool		nulls[COLUMNS] = {false};

	if (!look_whose(counting, group, &of))
		return;
	values[COLUMN_TYPE] = CharGetDatum(group->type);
	values[COLUMN_OUTCOME] = CharGetDatum(group->outcome);
	values[COLUMN_AT] = TimestampTzGetDatum(at);
	nulls[COLUMN_AT] = !counting->apart;
	set_text(values, nulls, COLUMN_KIND,
			 of.lane ? NameStr(of.lane->kind) : NULL);
	set_text(values, nulls, COLUMN_QUEUE,
			 of.lane ? NameStr(of.lane->queue) : NULL);
	set_text(values, nulls, COLUMN_CATEGORY,
			 of.kind ? of.kind->category : NULL);
	set_text(values, nulls, COLUMN_ROLE,
			 of.role ? NameStr(of.role->name) : NULL);
	set_text(values, nulls, COLUMN_BY, of.by ? NameStr(of.by->name)
			 : of.role ? NameStr(of.role->name) : NULL);
	set_text(values, nulls, COLUMN_TENANT, group->tenant);
	set_text(values, nulls, COLUMN_NAME,
			 group->type == TASKQ_GROUP_LANE ? NULL : group->name);
	set_numbers(values, &counted->counts);
	tuplestore_putvalues(counting->rsinfo->setResult,
						 counting->rsinfo->setDesc, values, nulls);
}

static void
begin_counting(Counting *counting, FunctionCallInfo fcinfo)
{
	HASHCTL		ctl = {.keysize = sizeof(int32),
		.entrysize = sizeof(CountedRole),
	.hcxt = CurrentMemoryContext};

	memset(counting, 0, sizeof(*counting));
	counting->rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	counting->roles = hash_create("taskq counted roles", 16, &ctl,
								  HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	counting->limited = taskq_tenant_is_limited();
	counting->all = taskq_role_may_see(InvalidOid);
}

PG_FUNCTION_INFO_V1(taskq_counted);

/*
 * taskq_counted - (since, until, grain, types, apart, bare): what was counted
 * of what the caller may see, by groups; until null: to now; apart: for each
 * minute, hour or day by itself; bare: without times and resources, if not
 * apart
 */
Datum
taskq_counted(PG_FUNCTION_ARGS)
{
	TimestampTz since = PG_ARGISNULL(0) ? DT_NOBEGIN
	: PG_GETARG_TIMESTAMPTZ(0);
	TimestampTz until = PG_ARGISNULL(1) ? DT_NOEND : PG_GETARG_TIMESTAMPTZ(1);
	char		grain = PG_ARGISNULL(2) ? TASKQ_SPAN_ALL : PG_GETARG_CHAR(2);
	Counting	counting;
	HASH_SEQ_STATUS status;
	TaskqCounted *counted;
	HTAB	   *table;

	taskq_store_require();
	taskq_defs_begin();
	InitMaterializedSRF(fcinfo, 0);
	begin_counting(&counting, fcinfo);
	counting.types = PG_ARGISNULL(3) ? NULL
		: text_to_cstring(PG_GETARG_TEXT_PP(3));
	counting.ever = grain == TASKQ_SPAN_ALL;
	counting.apart = !PG_ARGISNULL(4) && PG_GETARG_BOOL(4);
	if (counting.apart)
	{
		taskq_counts_visit(since, until, grain, counting.types, put_counted,
						   &counting);
		return (Datum) 0;
	}
	table = taskq_counts_read(since, until, grain, counting.types,
							  !PG_ARGISNULL(5) && PG_GETARG_BOOL(5));
	hash_seq_init(&status, table);
	while ((counted = hash_seq_search(&status)) != NULL)
		put_counted(0, counted, &counting);
	hash_destroy(table);
	return (Datum) 0;
}

/* ---- histograms ---- */

PG_FUNCTION_INFO_V1(taskq_histogram_add);

/* taskq_histogram_add - (state, histogram): they add up */
Datum
taskq_histogram_add(PG_FUNCTION_ARGS)
{
	MemoryContext aggregate;
	int64	   *counts = PG_ARGISNULL(0) ? NULL
	: (int64 *) PG_GETARG_POINTER(0);

	if (!AggCheckCallContext(fcinfo, &aggregate))
		elog(ERROR, "not called by an aggregate");
	if (counts == NULL)
		counts = MemoryContextAllocZero(aggregate,
										sizeof(int64) * TASKQ_BUCKETS);
	if (!PG_ARGISNULL(1))
		taskq_counts_from_array(PG_GETARG_DATUM(1), counts, TASKQ_BUCKETS);
	PG_RETURN_POINTER(counts);
}

PG_FUNCTION_INFO_V1(taskq_histogram_of);

/* taskq_histogram_of - (state): the histogram */
Datum
taskq_histogram_of(PG_FUNCTION_ARGS)
{
	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	PG_RETURN_DATUM(taskq_counts_array((int64 *) PG_GETARG_POINTER(0),
									   TASKQ_BUCKETS));
}

PG_FUNCTION_INFO_V1(taskq_histogram_quantile_sql);

/*
 * taskq_histogram_quantile_sql - (histogram, quantile): so many microseconds
 * that part took at most; null if it is empty
 */
Datum
taskq_histogram_quantile_sql(PG_FUNCTION_ARGS)
{
	int64		counts[TASKQ_BUCKETS] = {0};
	double		us;

	taskq_counts_from_array(PG_GETARG_DATUM(0), counts, TASKQ_BUCKETS);
	us = taskq_histogram_quantile(counts, PG_GETARG_FLOAT8(1));
	if (us < 0)
		PG_RETURN_NULL();
	PG_RETURN_FLOAT8(us);
}

PG_FUNCTION_INFO_V1(taskq_histogram_upto_sql);

/* taskq_histogram_upto_sql - (histogram, microseconds): how many took that at most */
Datum
taskq_histogram_upto_sql(PG_FUNCTION_ARGS)
{
	int64		counts[TASKQ_BUCKETS] = {0};

	taskq_counts_from_array(PG_GETARG_DATUM(0), counts, TASKQ_BUCKETS);
	PG_RETURN_INT64(taskq_histogram_upto(counts, PG_GETARG_INT64(1)));
}

PG_FUNCTION_INFO_V1(taskq_histogram_bucket_sql);

/* taskq_histogram_bucket_sql - (microseconds): the bucket that they are in */
Datum
taskq_histogram_bucket_sql(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT32(taskq_bucket(PG_GETARG_INT64(0)));
}

PG_FUNCTION_INFO_V1(taskq_sparse);

/*
 * taskq_sparse - (pairs, place): the number at a place, or 0
 */
Datum
taskq_sparse(PG_FUNCTION_ARGS)
{
	int64		numbers[TASKQ_RESOURCES] = {0};
	int64		place = PG_GETARG_INT64(1);

	taskq_counts_from_array(PG_GETARG_DATUM(0), numbers, TASKQ_RESOURCES);
	if (place < 0 || place >= TASKQ_RESOURCES)
		PG_RETURN_INT64(0);
	PG_RETURN_INT64(numbers[place]);
}

/* ---- how many tasks there are ---- */

/* Of one lane. */
typedef struct LaneStock
{
	int32		lane;
	int64		n[TASKQ_STATES];	/* by stored states */
	int64		running;		/* in workers of the server */
	int64		reserved;
} LaneStock;

static const char stock_states[TASKQ_STATES + 1] = "psbtrecfx";

static LaneStock *
lane_stock(HTAB *table, int32 lane)
{
	bool		found;
	LaneStock  *stock = hash_search(table, &lane, HASH_ENTER, &found);

	if (!found)
	{
		memset(stock, 0, sizeof(*stock));
		stock->lane = lane;
	}
	return stock;
}

static void
add_stock(const TaskqStock *stock, void *arg)
{
	const char *place = strchr(stock_states, stock->state);

	if (place != NULL && stock->state != '\0')
		lane_stock(arg, stock->lane)->n[place - stock_states] += stock->n;
}

/* What workers have in hand. */
static void
add_held(HTAB *table)
{
	for (int i = 0; taskq_shared != NULL && i < taskq_shared->nslots; i++)
	{
		TaskqSlot  *slot = &taskq_shared->slots[i];
		int			running = 0;
		int			reserved = 0;
		int32		lane = 0;

		LWLockAcquire(taskq_slot_lock(i), LW_SHARED);
		if (slot->dbid == MyDatabaseId && slot->state >= TASKQ_SLOT_BUSY &&
			slot->nitems > 0)
		{
			lane = slot->lane_id;
			running = slot->in_task;
			reserved = slot->nitems - slot->next;
		}
		LWLockRelease(taskq_slot_lock(i));
		if (running + reserved == 0)
			continue;
		lane_stock(table, lane)->running += running;
		lane_stock(table, lane)->reserved += reserved;
	}
}

/*
 * May the caller, who acts for one tenant, have to do with the tasks of a
 * lane?  Not where several tenants share it.
 */
static bool
lane_of_tenant(const TaskqLaneDef *lane)
{
	const char *tenant = taskq_claims_tenant(taskq_caller_claims());

	if (lane->tenant == 0)
		return taskq_tenant_may_see(NULL);
	return tenant != NULL && lane->tenant == taskq_tenant_number(tenant);
}

/*
 * Who acts for one tenant, and may submit to a kind that runs as somebody
 * else, has that tenant's tasks of it.
 */
static bool
lane_visible(Counting *counting, const TaskqLaneDef *lane)
{
	const TaskqKind *kind = taskq_lane_kind(lane);

	if (find_role(counting, lane->role)->visible)
		return !counting->limited || lane_of_tenant(lane);
	return lane->tenant != 0 && lane_of_tenant(lane) && kind != NULL &&
		kind->run_as_id == lane->role && taskq_kind_may_submit(kind);
}

static void
put_stock(Counting *counting, const TaskqLaneDef *lane, const char *state,
		  int64 n)
{
	const TaskqKind *kind = taskq_lane_kind(lane);
	Datum		values[7];
	bool		nulls[7] = {false};

	if (n <= 0)
		return;
	set_text(values, nulls, 0, state);
	set_text(values, nulls, 1, NameStr(lane->kind));
	set_text(values, nulls, 2, NameStr(lane->queue));
	values[3] = Int16GetDatum(lane->priority);
	set_text(values, nulls, 4, kind ? kind->category : NULL);
	set_text(values, nulls, 5, NameStr(lane->role_name));
	values[6] = Int64GetDatum(n);
	tuplestore_putvalues(counting->rsinfo->setResult,
						 counting->rsinfo->setDesc, values, nulls);
}

static void
put_lane_stock(Counting *counting, const LaneStock *stock)
{
	const TaskqLaneDef *lane = taskq_lane_get(stock->lane);
	const int64 *n = stock->n;

	if (lane == NULL || !lane_visible(counting, lane))
		return;
	/* stored as pending, or running, while a worker has it */
	put_stock(counting, lane, "pending",
			  n[0] + n[4] - stock->running - stock->reserved);
	put_stock(counting, lane, "scheduled", n[1]);
	put_stock(counting, lane, "blocked", n[2]);
	put_stock(counting, lane, "retrying", n[3]);
	put_stock(counting, lane, "running", stock->running + n[5]);
	put_stock(counting, lane, "reserved", stock->reserved);
	put_stock(counting, lane, "completed", n[6]);
	put_stock(counting, lane, "failed", n[7]);
	put_stock(counting, lane, "cancelled", n[8]);
}

PG_FUNCTION_INFO_V1(taskq_stock_sql);

/*
 * taskq_stock_sql - (): how many tasks there are that the caller may see, by
 * lane and state
 */
Datum
taskq_stock_sql(PG_FUNCTION_ARGS)
{
	HASHCTL		ctl = {.keysize = sizeof(int32),
		.entrysize = sizeof(LaneStock),
	.hcxt = CurrentMemoryContext};
	Counting	counting;
	HASH_SEQ_STATUS status;
	LaneStock  *stock;
	HTAB	   *table;

	taskq_store_require();
	taskq_defs_begin();
	InitMaterializedSRF(fcinfo, 0);
	begin_counting(&counting, fcinfo);
	table = hash_create("taskq lanes' stock", 256, &ctl,
						HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	taskq_stock_read(add_stock, table);
	add_held(table);
	hash_seq_init(&status, table);
	while ((stock = hash_seq_search(&status)) != NULL)
		put_lane_stock(&counting, stock);
	hash_destroy(table);
	return (Datum) 0;
}

PG_FUNCTION_INFO_V1(taskq_task_recount);

/*
 * taskq_task_recount - (): count all tasks anew; returns how many there are
 *
 * Nobody writes what was counted meanwhile.
 */
Datum
taskq_task_recount(PG_FUNCTION_ARGS)
{
	taskq_require_preload();
	PreventCommandIfReadOnly("taskq.task_recount()");
	PreventCommandDuringRecovery("taskq.task_recount()");
	taskq_store_require();
	taskq_stock_lock_table_alone();
	PG_RETURN_INT64(taskq_stock_recount());
}
