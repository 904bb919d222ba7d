/*-------------------------------------------------------------------------
 *
 * schedules.c
 *		Tables "schedule" and "schedule_state".
 *
 * Whoever runs, changes or drops a schedule first locks its row in the second
 * one.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "base/args.h"
#include "base/pgcron.h"
#include "catalog/indexing.h"
#include "executor/tuptable.h"
#include "miscadmin.h"
#include "store/cache.h"
#include "store/read.h"
#include "store/rows.h"
#include "store/schedules.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

/* columns of taskq_internal.schedule_state, in the order of the struct */
#define Natts_schedule_state 11

static Datum
copy_jsonb(Datum value)
{
	return PointerGetDatum(PG_DETOAST_DATUM_COPY(value));
}

static char *
text_or_null(Datum value, bool isnull)
{
	return isnull ? NULL : TextDatumGetCString(value);
}

static void
schedule_from_row(TaskqSchedule *schedule, Datum *values, bool *nulls)
{
#define VALUE(column) values[Anum_schedule_##column - 1]
#define ISNULL(column) nulls[Anum_schedule_##column - 1]
	memset(schedule, 0, sizeof(*schedule));
	namestrcpy(&schedule->name, TextDatumGetCString(VALUE(name)));
	schedule->kind = TextDatumGetCString(VALUE(kind));
	schedule->cron = text_or_null(VALUE(cron), ISNULL(cron));
	if (!ISNULL(every))
		schedule->every_us =
			taskq_interval_us(DatumGetIntervalP(VALUE(every)));
	schedule->payload = copy_jsonb(VALUE(payload));
	schedule->foreach = text_or_null(VALUE(foreach), ISNULL(foreach));
	schedule->timezone = text_or_null(VALUE(timezone), ISNULL(timezone));
	schedule->overlap = DatumGetBool(VALUE(overlap));
	schedule->missed = DatumGetChar(VALUE(missed));
	if (!ISNULL(skip_within))
		schedule->skip_within_us =
			taskq_interval_us(DatumGetIntervalP(VALUE(skip_within)));
	schedule->counts = DatumGetChar(VALUE(counts));
	schedule->enabled = DatumGetBool(VALUE(enabled));
	if (!ISNULL(options))
		schedule->options = copy_jsonb(VALUE(options));
	if (!ISNULL(claims))
		schedule->claims = copy_jsonb(VALUE(claims));
	if (!ISNULL(tenant))
		schedule->tenant = copy_jsonb(VALUE(tenant));
	schedule->kind_owner = DatumGetInt32(VALUE(kind_owner));
	schedule->kind_version = DatumGetInt64(VALUE(kind_version));
	schedule->foreign =
		DatumGetInt64(VALUE(system)) != (int64) GetSystemIdentifier() ||
		DatumGetObjectId(VALUE(database)) != MyDatabaseId;
}

/*
 * taskq_schedule_find - a schedule as it is at this moment; false if there is
 * none
 */
bool
taskq_schedule_find(const char *name, TaskqSchedule *schedule)
{
	Datum		values[Natts_schedule];
	bool		nulls[Natts_schedule];
	TupleDesc	desc;
	HeapTuple	tuple;

	if (strlen(name) >= NAMEDATALEN)
		return false;
	tuple = taskq_defs_read(TASKQ_REL_SCHEDULE, TASKQ_REL_SCHEDULE_PKEY, name,
							&desc);
	if (tuple == NULL)
		return false;
	taskq_rows_deform(tuple, desc, values, nulls, Natts_schedule);
	schedule_from_row(schedule, values, nulls);
	(void) taskq_role_read(DatumGetInt32(VALUE(owner)), &schedule->owner,
						   &schedule->owner_oid);
	return true;
}

/*
 * taskq_schedules_lock - one definer at a time; before the lock of a
 * schedule's state
 */
void
taskq_schedules_lock(void)
{
	table_close(taskq_store_open(TASKQ_REL_SCHEDULE, ShareRowExclusiveLock),
				NoLock);
}

/*
 * taskq_schedule_write - create a schedule, or replace the columns told (NULL:
 * all) of the one that is there; returns what has changed
 */
Datum
taskq_schedule_write(const char *name, Datum *values, bool *nulls,
					 const bool *replace)
{
	return taskq_defs_write(TASKQ_REL_SCHEDULE, TASKQ_REL_SCHEDULE_PKEY, name,
							values, nulls, replace, Natts_schedule);
}

/*
 * taskq_schedule_delete - a schedule whose state is locked, with all that is
 * known of its runs; false if there is none
 */
bool
taskq_schedule_delete(const char *name)
{
	ScanKeyData key;
	TaskqSchedule schedule;
	bool		found = taskq_schedule_find(name, &schedule);

	taskq_key(&key, 1, F_TEXTEQ, CStringGetTextDatum(name));
	taskq_read_delete(TASKQ_REL_SCHEDULE_OBJECT,
					  TASKQ_REL_SCHEDULE_OBJECT_PKEY, RowExclusiveLock, 1,
					  &key);
	taskq_read_delete(TASKQ_REL_SCHEDULE_STATE, TASKQ_REL_SCHEDULE_STATE_PKEY,
					  RowExclusiveLock, 1, &key);
	taskq_read_delete(TASKQ_REL_SCHEDULE, TASKQ_REL_SCHEDULE_PKEY,
					  ShareRowExclusiveLock, 1, &key);
	CommandCounterIncrement();
	if (found && schedule.cron != NULL)
		taskq_pgcron_set(name, NULL, NULL);
	return found;
}

/* taskq_schedules_of_tenant - names of a tenant's schedules, as strings */
List *
taskq_schedules_of_tenant(const char *tenant)
{
	TaskqRead	read;
	HeapTuple	tuple;
	List	   *names = NIL;

	taskq_read_begin_all(&read, TASKQ_REL_SCHEDULE, AccessShareLock);
	while ((tuple = taskq_read_next(&read)) != NULL)
	{
		bool		isnull;
		Datum		value = heap_getattr(tuple, Anum_schedule_tenant,
										 RelationGetDescr(read.rel), &isnull);

		if (!isnull && strcmp(TextDatumGetCString(value), tenant) == 0)
			names = lappend(names,
							TextDatumGetCString(taskq_read_column(&read, tuple, Anum_schedule_name)));
	}
	taskq_read_end(&read);
	return names;
}

/*
 * taskq_schedules_take_over - make this database the home of all schedules
 *
 * Returns the names, palloc'd, of those that came from elsewhere.
 */
List *
taskq_schedules_take_over(void)
{
	bool		replace[Natts_schedule] = {false};
	bool		nulls[Natts_schedule] = {false};
	Datum		values[Natts_schedule] = {0};
	List	   *names = NIL;
	TaskqRead	read;
	HeapTuple	tuple;

	replace[Anum_schedule_system - 1] = true;
	replace[Anum_schedule_database - 1] = true;
	VALUE(system) = Int64GetDatum((int64) GetSystemIdentifier());
	VALUE(database) = ObjectIdGetDatum(MyDatabaseId);
	taskq_read_begin_all(&read, TASKQ_REL_SCHEDULE, ShareRowExclusiveLock);
	while ((tuple = taskq_read_next(&read)) != NULL)
	{
		if (DatumGetInt64(taskq_read_column(&read, tuple, Anum_schedule_system)) ==
			(int64) GetSystemIdentifier() &&
			DatumGetObjectId(taskq_read_column(&read, tuple, Anum_schedule_database)) ==
			MyDatabaseId)
			continue;
		names = lappend(names,
						TextDatumGetCString(taskq_read_column(&read, tuple, Anum_schedule_name)));
		tuple = taskq_rows_modify(read.rel, tuple, values, nulls, replace,
								  Natts_schedule);
		taskq_rows_update(read.rel, &tuple->t_self, tuple, Natts_schedule);
	}
	taskq_read_end(&read);
	CommandCounterIncrement();
	return names;
}

/* ---- state ---- */

static Datum
time_value(TimestampTz when, bool *isnull)
{
	*isnull = when == DT_NOEND;
	return TimestampTzGetDatum(when);
}

static void
state_values(const TaskqScheduleState *state, Datum *values, bool *nulls)
{
	memset(nulls, false, Natts_schedule_state * sizeof(bool));
	values[0] = CStringGetTextDatum(NameStr(state->name));
	values[1] = time_value(state->look_at, &nulls[1]);
	values[2] = time_value(state->next_run, &nulls[2]);
	values[3] = time_value(state->last_run, &nulls[3]);
	values[4] = UUIDPGetDatum(&state->last_task);
	nulls[4] = !state->has_task;
	values[5] = time_value(state->last_submit, &nulls[5]);
	values[6] = Int64GetDatum(state->runs);
	values[7] = Int64GetDatum(state->missed);
	values[8] = Int32GetDatum(state->failures);
	values[9] = state->error;
	nulls[9] = state->error == 0;
	values[10] = time_value(state->error_at, &nulls[10]);
}

static TimestampTz
value_time(Datum value, bool isnull)
{
	return isnull ? DT_NOEND : DatumGetTimestampTz(value);
}

static void
state_from_tuple(TaskqScheduleState *state, HeapTuple tuple, TupleDesc desc)
{
	Datum		values[Natts_schedule_state];
	bool		nulls[Natts_schedule_state];

	taskq_rows_deform(tuple, desc, values, nulls, Natts_schedule_state);
	memset(state, 0, sizeof(*state));
	state->tid = tuple->t_self;
	namestrcpy(&state->name, TextDatumGetCString(values[0]));
	state->look_at = value_time(values[1], nulls[1]);
	state->next_run = value_time(values[2], nulls[2]);
	state->last_run = value_time(values[3], nulls[3]);
	state->has_task = !nulls[4];
	if (state->has_task)
		state->last_task = *DatumGetUUIDP(values[4]);
	state->last_submit = value_time(values[5], nulls[5]);
	state->runs = DatumGetInt64(values[6]);
	state->missed = DatumGetInt64(values[7]);
	state->failures = DatumGetInt32(values[8]);
	state->error = nulls[9] ? (Datum) 0 : copy_jsonb(values[9]);
	state->error_at = value_time(values[10], nulls[10]);
}

/* taskq_schedule_state_new - of a schedule that never ran */
void
taskq_schedule_state_new(TaskqScheduleState *state, const char *name)
{
	memset(state, 0, sizeof(*state));
	namestrcpy(&state->name, name);
	state->look_at = state->next_run = state->last_run = DT_NOEND;
	state->last_submit = state->error_at = DT_NOEND;
}

/* Lock the row at a place, and read it. */
static TM_Result
lock_state(Relation rel, ItemPointer tid, Snapshot snapshot, bool wait,
		   TaskqScheduleState *state)
{
	TupleTableSlot *slot = MakeSingleTupleTableSlot(RelationGetDescr(rel),
													&TTSOpsBufferHeapTuple);
	TM_FailureData failure;
	TM_Result	result;
	bool		should_free;

	result = table_tuple_lock(rel, tid, snapshot, slot,
							  GetCurrentCommandId(false), LockTupleExclusive,
							  wait ? LockWaitBlock : LockWaitSkip, 0,
							  &failure);
	if (result == TM_Ok)
		state_from_tuple(state,
						 ExecFetchSlotHeapTuple(slot, false, &should_free),
						 RelationGetDescr(rel));
	ExecDropSingleTupleTableSlot(slot);
	return result;
}

/*
 * taskq_schedule_state_lock - lock a schedule until the transaction ends
 *
 * Without wait one that another transaction has locked is TASKQ_BUSY.
 */
TaskqLockResult
taskq_schedule_state_lock(const char *name, bool wait,
						  TaskqScheduleState *state)
{
	for (;;)
	{
		TaskqRead	read;
		ScanKeyData key;
		HeapTuple	tuple;
		TM_Result	result = TM_Invisible;

		taskq_key(&key, 1, F_TEXTEQ, CStringGetTextDatum(name));
		taskq_read_begin(&read, TASKQ_REL_SCHEDULE_STATE,
						 TASKQ_REL_SCHEDULE_STATE_PKEY, RowExclusiveLock, 1,
						 &key);
		tuple = taskq_read_next(&read);
		if (tuple != NULL)
		{
			ItemPointerData tid = tuple->t_self;

			result = lock_state(read.rel, &tid, read.snapshot, wait, state);
		}
		taskq_read_end(&read);
		if (tuple == NULL)
			return TASKQ_MISSING;
		if (result == TM_Ok)
			return TASKQ_LOCKED;
		/* else look again */
		if (taskq_lock_busy(result))
			return TASKQ_BUSY;
		CHECK_FOR_INTERRUPTS();
	}
}

/* taskq_schedule_state_insert - of a new schedule */
void
taskq_schedule_state_insert(TaskqScheduleState *state)
{
	Relation	rel = taskq_store_open(TASKQ_REL_SCHEDULE_STATE,
									   RowExclusiveLock);
	Datum		values[Natts_schedule_state];
	bool		nulls[Natts_schedule_state];

	state_values(state, values, nulls);
	taskq_rows_insert_one(rel, values, nulls, Natts_schedule_state);
	table_close(rel, NoLock);
	CommandCounterIncrement();
}

/* taskq_schedule_state_update - write back one that is locked */
void
taskq_schedule_state_update(TaskqScheduleState *state)
{
	Relation	rel = taskq_store_open(TASKQ_REL_SCHEDULE_STATE,
									   RowExclusiveLock);
	Datum		values[Natts_schedule_state];
	bool		nulls[Natts_schedule_state];

	state_values(state, values, nulls);
	taskq_rows_update_one(rel, &state->tid, values, nulls,
						  Natts_schedule_state);
	table_close(rel, NoLock);
	CommandCounterIncrement();
}

/*
 * taskq_schedules_to_look_at - names of those to be looked at from this moment
 * until that one, the first ones first, at most max
 *
 * Palloc'd.  *next is lowered to the moment of the one after them.  None is
 * to be looked at before "from": the caller knows, and so what is left of old
 * versions is not met again and again.
 */
List *
taskq_schedules_to_look_at(TimestampTz from, TimestampTz until, int max,
						   TimestampTz *next)
{
	TaskqRead	read;
	ScanKeyData key;
	HeapTuple	tuple;
	List	   *names = NIL;

	taskq_key_from(&key, 2, F_TIMESTAMPTZ_GE, TimestampTzGetDatum(from));
	taskq_read_begin_ordered(&read, TASKQ_REL_SCHEDULE_STATE,
							 TASKQ_REL_SCHEDULE_STATE_LOOK_AT, NULL, 1, &key);
	while ((tuple = taskq_read_next(&read)) != NULL)
	{
		TimestampTz look_at = DatumGetTimestampTz(taskq_read_column(&read, tuple, 2));

		if (look_at > until || list_length(names) == max)
		{
			*next = Min(*next, look_at);
			break;
		}
		names = lappend(names,
						TextDatumGetCString(taskq_read_column(&read, tuple, 1)));
	}
	taskq_read_end(&read);
	return names;
}

/* ---- objects ---- */

/*
 * taskq_schedule_object_find - the last run of an object; false if there was
 * none
 *
 * The record can be written back in both cases, by who has the schedule's
 * state locked.
 */
bool
taskq_schedule_object_find(const char *schedule, const char *object,
						   TaskqScheduleObject *record)
{
	TaskqRead	read;
	ScanKeyData keys[2];
	HeapTuple	tuple;
	Datum		values[5];
	bool		nulls[5];

	memset(record, 0, sizeof(*record));
	record->object = object;
	record->completed_at = DT_NOEND;
	taskq_key(&keys[0], 1, F_TEXTEQ, CStringGetTextDatum(schedule));
	taskq_key(&keys[1], 2, F_TEXTEQ, CStringGetTextDatum(object));
	taskq_read_begin(&read, TASKQ_REL_SCHEDULE_OBJECT,
					 TASKQ_REL_SCHEDULE_OBJECT_PKEY, AccessShareLock, 2,
					 keys);
	tuple = taskq_read_next(&read);
	record->is_new = tuple == NULL;
	if (tuple != NULL)
	{
		taskq_rows_deform(tuple, RelationGetDescr(read.rel), values, nulls,
						  lengthof(values));
		record->tid = tuple->t_self;
		record->task = *DatumGetUUIDP(values[2]);
		record->submitted_at = DatumGetTimestampTz(values[3]);
		record->completed_at = value_time(values[4], nulls[4]);
	}
	taskq_read_end(&read);
	return tuple != NULL;
}

/* taskq_schedule_object_write - write it back, or for the first time */
void
taskq_schedule_object_write(const char *schedule, TaskqScheduleObject *record)
{
	Relation	rel = taskq_store_open(TASKQ_REL_SCHEDULE_OBJECT,
									   RowExclusiveLock);
	Datum		values[5];
	bool		nulls[5] = {false};

	values[0] = CStringGetTextDatum(schedule);
	values[1] = CStringGetTextDatum(record->object);
	values[2] = UUIDPGetDatum(&record->task);
	values[3] = TimestampTzGetDatum(record->submitted_at);
	values[4] = time_value(record->completed_at, &nulls[4]);
	if (record->is_new)
		taskq_rows_insert_one(rel, values, nulls, lengthof(values));
	else
		taskq_rows_update_one(rel, &record->tid, values, nulls,
							  lengthof(values));
	table_close(rel, NoLock);
}
