/*-------------------------------------------------------------------------
 *
 * rollups.c
 *		Table "rollup": what was counted, by minute, hour and day.
 *
 * The database's dispatcher alone writes it.  Whatever is counted goes at
 * once into the rows of its minute, its hour, its day, and of all time, so
 * nothing has to be rolled up later, and a long time is read by its days.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "access/xact.h"
#include "catalog/indexing.h"
#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "miscadmin.h"
#include "store/defs.h"
#include "store/read.h"
#include "store/rollups.h"
#include "store/rows.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

enum
{
	Anum_rollup_span = 1,
	Anum_rollup_at,
	Anum_rollup_key,
	Anum_rollup_type,
	Anum_rollup_outcome,
	Anum_rollup_of,
	Anum_rollup_tenant,
	Anum_rollup_name,
	Anum_rollup_n,
	Anum_rollup_started,
	Anum_rollup_wait_us,
	Anum_rollup_run_us,
	Anum_rollup_max_us,
	Anum_rollup_waits,
	Anum_rollup_runs,
	Anum_rollup_resources,
	Natts_rollup = Anum_rollup_resources
};

static void
sum_resources(int64 *sum, const int64 *resources)
{
	for (int i = 0; i < TASKQ_PEAK_MEMORY; i++)
		sum[i] += resources[i];
	sum[TASKQ_PEAK_MEMORY] = Max(sum[TASKQ_PEAK_MEMORY],
								 resources[TASKQ_PEAK_MEMORY]);
}

/* taskq_counts_sum - add what was counted elsewhere */
void
taskq_counts_sum(TaskqCounts *sum, const TaskqCounts *counts)
{
	sum->n += counts->n;
	sum->started += counts->started;
	sum->wait_us += counts->wait_us;
	sum->run_us += counts->run_us;
	sum->max_us = Max(sum->max_us, counts->max_us);
	sum_resources(sum->resources, counts->resources);
	/* no times; what workers use is added so after each batch */
	if (counts->started == 0)
		return;
	for (int i = 0; i < TASKQ_BUCKETS; i++)
	{
		sum->waits[i] += counts->waits[i];
		sum->runs[i] += counts->runs[i];
	}
}

/* ---- rows ---- */

/*
 * taskq_counts_array - numbers that are mostly zero, as an array of int8: each
 * that is not, after its place
 */
Datum
taskq_counts_array(const int64 *numbers, int n)
{
	Datum	   *items = palloc(sizeof(Datum) * 2 * n);
	int			nitems = 0;

	for (int i = 0; i < n; i++)
	{
		if (numbers[i] == 0)
			continue;
		items[nitems++] = Int64GetDatum(i);
		items[nitems++] = Int64GetDatum(numbers[i]);
	}
	return PointerGetDatum(construct_array(items, nitems, INT8OID, 8,
										   FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
}

/*
 * taskq_counts_from_array - ... added to numbers; places that are none are
 * passed over
 */
void
taskq_counts_from_array(Datum datum, int64 *numbers, int n)
{
	ArrayType  *array = DatumGetArrayTypeP(datum);
	int			nitems = ArrayGetNItems(ARR_NDIM(array), ARR_DIMS(array));
	int64	   *items = (int64 *) ARR_DATA_PTR(array);

	if (!ARR_HASNULL(array))
	{
		for (int i = 0; i + 1 < nitems; i += 2)
		{
			if (items[i] >= 0 && items[i] < n)
				numbers[items[i]] += items[i + 1];
		}
	}
	if ((Pointer) array != DatumGetPointer(datum))
		pfree(array);
}

static int64
group_key(const TaskqGroup *group)
{
	return (int64) hash_bytes_extended((const unsigned char *) group,
									   sizeof(*group), 0);
}

static void
row_values(char span, TimestampTz at, int64 key, const TaskqCounted *counted,
		   Datum *values)
{
	const TaskqGroup *group = &counted->group;
	const TaskqCounts *counts = &counted->counts;

	values[Anum_rollup_span - 1] = CharGetDatum(span);
	values[Anum_rollup_at - 1] = TimestampTzGetDatum(at);
	values[Anum_rollup_key - 1] = Int64GetDatum(key);
	values[Anum_rollup_type - 1] = CharGetDatum(group->type);
	values[Anum_rollup_outcome - 1] = CharGetDatum(group->outcome);
	values[Anum_rollup_of - 1] = Int32GetDatum(group->of);
	values[Anum_rollup_tenant - 1] = CStringGetTextDatum(group->tenant);
	values[Anum_rollup_name - 1] = CStringGetTextDatum(group->name);
	values[Anum_rollup_n - 1] = Int64GetDatum(counts->n);
	values[Anum_rollup_started - 1] = Int64GetDatum(counts->started);
	values[Anum_rollup_wait_us - 1] = Int64GetDatum(counts->wait_us);
	values[Anum_rollup_run_us - 1] = Int64GetDatum(counts->run_us);
	values[Anum_rollup_max_us - 1] = Int64GetDatum(counts->max_us);
	values[Anum_rollup_waits - 1] = taskq_counts_array(counts->waits,
													   TASKQ_BUCKETS);
	values[Anum_rollup_runs - 1] = taskq_counts_array(counts->runs, TASKQ_BUCKETS);
	values[Anum_rollup_resources - 1] = taskq_counts_array(counts->resources,
														   TASKQ_RESOURCES);
}

static void
read_group(const Datum *values, TaskqGroup *group)
{
	memset(group, 0, sizeof(*group));
	group->type = DatumGetChar(values[Anum_rollup_type - 1]);
	group->outcome = DatumGetChar(values[Anum_rollup_outcome - 1]);
	group->of = DatumGetInt32(values[Anum_rollup_of - 1]);
	text_to_cstring_buffer(DatumGetTextPP(values[Anum_rollup_tenant - 1]),
						   group->tenant, TASKQ_GROUP_NAME);
	text_to_cstring_buffer(DatumGetTextPP(values[Anum_rollup_name - 1]),
						   group->name, TASKQ_GROUP_NAME);
}

/* What a row has counted, added; bare: without times and resources. */
static void
add_numbers(const Datum *values, bool bare, TaskqCounts *sum)
{
	int64		resources[TASKQ_RESOURCES] = {0};

	sum->n += DatumGetInt64(values[Anum_rollup_n - 1]);
	sum->started += DatumGetInt64(values[Anum_rollup_started - 1]);
	sum->wait_us += DatumGetInt64(values[Anum_rollup_wait_us - 1]);
	sum->run_us += DatumGetInt64(values[Anum_rollup_run_us - 1]);
	sum->max_us = Max(sum->max_us,
					  DatumGetInt64(values[Anum_rollup_max_us - 1]));
	if (bare)
		return;
	taskq_counts_from_array(values[Anum_rollup_waits - 1], sum->waits,
							TASKQ_BUCKETS);
	taskq_counts_from_array(values[Anum_rollup_runs - 1], sum->runs,
							TASKQ_BUCKETS);
	taskq_counts_from_array(values[Anum_rollup_resources - 1], resources,
							TASKQ_RESOURCES);
	sum_resources(sum->resources, resources);
}

static void
deform_row(const TaskqRead *read, HeapTuple tuple, Datum *values)
{
	bool		nulls[Natts_rollup];

	taskq_rows_deform(tuple, RelationGetDescr(read->rel), values, nulls,
					  Natts_rollup);
}

static void
read_row(const Datum *values, TaskqCounted *counted)
{
	memset(&counted->counts, 0, sizeof(counted->counts));
	read_group(values, &counted->group);
	add_numbers(values, false, &counted->counts);
}

/* taskq_group_other - forget a group's names: it is one of the others */
void
taskq_group_other(TaskqGroup *group)
{
	group->of = 0;
	memset(group->tenant, 0, sizeof(group->tenant));
	memset(group->name, 0, sizeof(group->name));
}

/*
 * taskq_rollup_add - add to the row of a group and time
 *
 * If there is none it is made (insert), or false returned.  In the caller's
 * transaction.  Two groups may have the same key: then one of them has the
 * next.
 */
bool
taskq_rollup_add(char span, TimestampTz at, bool insert,
				 const TaskqCounted *counted)
{
	bool		done = true;
	TaskqCounted *sum = palloc(sizeof(TaskqCounted));
	int64		key = group_key(&counted->group);
	Datum		values[Natts_rollup];
	bool		nulls[Natts_rollup] = {false};

	for (;; key = (int64) ((uint64) key + 1))
	{
		TaskqRead	read;
		ScanKeyData keys[3];
		HeapTuple	tuple;
		ItemPointerData tid;

		taskq_key(&keys[0], Anum_rollup_span, F_CHAREQ, CharGetDatum(span));
		taskq_key(&keys[1], Anum_rollup_at, F_TIMESTAMPTZ_EQ,
				  TimestampTzGetDatum(at));
		taskq_key(&keys[2], Anum_rollup_key, F_INT8EQ, Int64GetDatum(key));
		taskq_read_begin(&read, TASKQ_REL_ROLLUP, TASKQ_REL_ROLLUP_PKEY,
						 RowExclusiveLock, 3, keys);
		tuple = taskq_read_next(&read);
		if (tuple == NULL && !insert)
		{
			taskq_read_end(&read);
			done = false;
			break;
		}
		if (tuple == NULL)
		{
			row_values(span, at, key, counted, values);
			taskq_rows_insert_one(read.rel, values, nulls, Natts_rollup);
			taskq_read_end(&read);
			break;
		}
		tid = tuple->t_self;
		deform_row(&read, tuple, values);
		read_row(values, sum);
		if (memcmp(&sum->group, &counted->group, sizeof(TaskqGroup)) != 0)
		{
			taskq_read_end(&read);
			continue;
		}
		taskq_counts_sum(&sum->counts, &counted->counts);
		row_values(span, at, key, sum, values);
		taskq_rows_update_one(read.rel, &tid, values, nulls, Natts_rollup);
		taskq_read_end(&read);
		break;
	}
	/* the next group may have the same key, or be counted in the same row */
	if (done)
		CommandCounterIncrement();
	pfree(sum);
	return done;
}

static void
begin_range(TaskqRead *read, char span, TimestampTz from, TimestampTz until,
			Snapshot snapshot, ScanKey keys)
{
	taskq_key(&keys[0], Anum_rollup_span, F_CHAREQ, CharGetDatum(span));
	taskq_key_from(&keys[1], Anum_rollup_at, F_TIMESTAMPTZ_GE,
				   TimestampTzGetDatum(from));
	ScanKeyInit(&keys[2], Anum_rollup_at, BTLessStrategyNumber,
				F_TIMESTAMPTZ_LT, TimestampTzGetDatum(until));
	taskq_read_begin_ordered(read, TASKQ_REL_ROLLUP, TASKQ_REL_ROLLUP_PKEY,
							 snapshot, 3, keys);
}

/* The columns of the next row of these types; false: there is none. */
static bool
next_row(TaskqRead *read, const char *types, Datum *values)
{
	HeapTuple	tuple;

	while ((tuple = taskq_read_next(read)) != NULL)
	{
		CHECK_FOR_INTERRUPTS();
		if (types != NULL &&
			strchr(types, DatumGetChar(taskq_read_column(read, tuple,
														 Anum_rollup_type))) == NULL)
			continue;
		deform_row(read, tuple, values);
		return true;
	}
	return false;
}

/*
 * taskq_rollup_visit - all rows of a span with from <= at < until, in order
 * of time; types: of groups, or NULL for all; snapshot NULL: one of this
 * moment
 */
void
taskq_rollup_visit(char span, TimestampTz from, TimestampTz until,
				   const char *types, Snapshot snapshot,
				   TaskqRollupVisit visit, void *arg)
{
	TaskqCounted *counted = palloc(sizeof(TaskqCounted));
	Datum		values[Natts_rollup];
	TaskqRead	read;
	ScanKeyData keys[3];

	begin_range(&read, span, from, until, snapshot, keys);
	while (next_row(&read, types, values))
	{
		read_row(values, counted);
		visit(DatumGetTimestampTz(values[Anum_rollup_at - 1]), counted, arg);
	}
	taskq_read_end(&read);
	pfree(counted);
}

/* taskq_counts_entry - what of a group is summed up in a table, maybe nothing */
TaskqCounts *
taskq_counts_entry(HTAB *table, const TaskqGroup *group)
{
	bool		found;
	TaskqCounted *counted = hash_search(table, group, HASH_ENTER, &found);

	if (!found)
		memset(&counted->counts, 0, sizeof(counted->counts));
	return &counted->counts;
}

/*
 * taskq_rollup_sum - the same rows, summed up by their groups in a table;
 * bare: without times and resources, which are most of a row
 */
void
taskq_rollup_sum(char span, TimestampTz from, TimestampTz until,
				 const char *types, bool bare, Snapshot snapshot, HTAB *table)
{
	Datum		values[Natts_rollup];
	TaskqGroup	group;
	TaskqRead	read;
	ScanKeyData keys[3];

	begin_range(&read, span, from, until, snapshot, keys);
	while (next_row(&read, types, values))
	{
		read_group(values, &group);
		add_numbers(values, bare, taskq_counts_entry(table, &group));
	}
	taskq_read_end(&read);
}

/* ---- shares ---- */

static bool
name_is_chosen(const TaskqGroup *group)
{
	return group->type == TASKQ_GROUP_TAG ||
		group->type == TASKQ_GROUP_MEMBER || group->type == TASKQ_GROUP_WORKER;
}

static int
share_of(int32 role)
{
	return hash_bytes_uint32(MyDatabaseId ^ (uint32) role) % TASKQ_SHARES;
}

/*
 * taskq_shares_room - is there room for one more group of this role, of room
 * for so many?
 */
bool
taskq_shares_room(const TaskqShares *shares, const TaskqGroup *group,
				  int32 role, int room)
{
	int			share = share_of(role);

	if (shares->all >= room || shares->of_role[share] >= room / 2)
		return false;
	return !name_is_chosen(group) ||
		(shares->chosen < room / 2 &&
		 shares->chosen_of_role[share] < room / 4);
}

/*
 * taskq_shares_add - there are n more groups of this role, or less; 0: of
 * nobody's
 */
void
taskq_shares_add(TaskqShares *shares, const TaskqGroup *group, int32 role,
				 int n)
{
	int			share = share_of(role);

	shares->all += n;
	if (role == 0)
		return;
	shares->of_role[share] += n;
	if (!name_is_chosen(group))
		return;
	shares->chosen += n;
	shares->chosen_of_role[share] += n;
}

/*
 * taskq_rollup_shares - whose groups have a row of this span and time
 *
 * taskq_defs_begin was called.
 */
void
taskq_rollup_shares(char span, TimestampTz at, TaskqShares *shares)
{
	TaskqRead	read;
	ScanKeyData keys[2];
	HeapTuple	tuple;

	memset(shares, 0, sizeof(*shares));
	taskq_key(&keys[0], Anum_rollup_span, F_CHAREQ, CharGetDatum(span));
	taskq_key(&keys[1], Anum_rollup_at, F_TIMESTAMPTZ_EQ,
			  TimestampTzGetDatum(at));
	taskq_read_begin(&read, TASKQ_REL_ROLLUP, TASKQ_REL_ROLLUP_PKEY,
					 AccessShareLock, 2, keys);
	while ((tuple = taskq_read_next(&read)) != NULL)
	{
		TaskqGroup	group = {0};

		group.type = DatumGetChar(taskq_read_column(&read, tuple,
													Anum_rollup_type));
		group.of = DatumGetInt32(taskq_read_column(&read, tuple,
												   Anum_rollup_of));
		taskq_shares_add(shares, &group, taskq_group_role(&group), 1);
	}
	taskq_read_end(&read);
}

/* taskq_group_role - the role that a group is of; 0: nobody's */
int32
taskq_group_role(const TaskqGroup *group)
{
	const TaskqLaneDef *lane;

	if (group->type != TASKQ_GROUP_LANE || group->of == 0)
		return group->of;
	lane = taskq_lane_get(group->of);
	return lane ? lane->role : 0;
}

/*
 * taskq_rollup_forget - delete at most so many of the oldest rows of a span
 * before a moment; returns how many
 */
int
taskq_rollup_forget(char span, TimestampTz before, int max)
{
	Relation	rel = taskq_store_open(TASKQ_REL_ROLLUP, RowExclusiveLock);
	TaskqRead	read;
	ScanKeyData keys[3];
	HeapTuple	tuple;
	int			n = 0;

	begin_range(&read, span, DT_NOBEGIN, before, NULL, keys);
	while (n < max && (tuple = taskq_read_next(&read)) != NULL)
	{
		CatalogTupleDelete(rel, &tuple->t_self);
		n++;
	}
	taskq_read_end(&read);
	table_close(rel, NoLock);
	return n;
}
