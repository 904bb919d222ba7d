/*-------------------------------------------------------------------------
 *
 * statistics.c
 *		What was counted, for SQL to group and to show.
 *
 * Rights are asked by the SQL functions that call these.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "base/args.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "lanes/counts.h"
#include "store/store.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#define COLUMNS 13

static void
put_counted(ReturnSetInfo *rsinfo, const TaskqCounted *counted)
{
	const TaskqGroup *group = &counted->group;
	const TaskqCounts *counts = &counted->counts;
	bool		nulls[COLUMNS] = {false};
	Datum		values[COLUMNS] = {
		CharGetDatum(group->type),
		CharGetDatum(group->outcome),
		Int32GetDatum(group->of),
		CStringGetTextDatum(group->tenant),
		CStringGetTextDatum(group->name),
		Int64GetDatum(counts->n),
		Int64GetDatum(counts->started),
		Int64GetDatum(counts->wait_us),
		Int64GetDatum(counts->run_us),
		Int64GetDatum(counts->max_us),
		taskq_counts_array(counts->waits, TASKQ_BUCKETS),
		taskq_counts_array(counts->runs, TASKQ_BUCKETS),
		taskq_counts_array(counts->resources, TASKQ_RESOURCES)
	};

	/* columns 4 and 5: none */
	nulls[3] = group->tenant[0] == '\0';
	nulls[4] = group->name[0] == '\0';
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
}

PG_FUNCTION_INFO_V1(taskq_counted);

/*
 * taskq_counted - (since, until, grain, types): what was counted, by groups;
 * until null: to now
 */
Datum
taskq_counted(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	TimestampTz since = PG_ARGISNULL(0) ? DT_NOBEGIN
	: PG_GETARG_TIMESTAMPTZ(0);
	TimestampTz until = PG_ARGISNULL(1) ? DT_NOEND : PG_GETARG_TIMESTAMPTZ(1);
	char		grain = PG_ARGISNULL(2) ? TASKQ_SPAN_ALL : PG_GETARG_CHAR(2);
	char	   *types = PG_ARGISNULL(3) ? NULL
	: text_to_cstring(PG_GETARG_TEXT_PP(3));
	HASH_SEQ_STATUS status;
	TaskqCounted *counted;
	HTAB	   *table;

	taskq_store_require();
	InitMaterializedSRF(fcinfo, 0);
	table = taskq_counts_read(since, until, grain, types);
	hash_seq_init(&status, table);
	while ((counted = hash_seq_search(&status)) != NULL)
		put_counted(rsinfo, counted);
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
