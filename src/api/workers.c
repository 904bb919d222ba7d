/*-------------------------------------------------------------------------
 *
 * workers.c
 *		Looking at workers: those of the server, and those outside of it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "base/args.h"
#include "base/guc.h"
#include "base/json.h"
#include "base/shmem.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "lanes/live.h"
#include "lanes/outside.h"
#include "miscadmin.h"
#include "store/store.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/timestamp.h"

static const char *
slot_state_name(TaskqSlotState state)
{
	switch (state)
	{
		case TASKQ_SLOT_STARTING:
			return "starting";
		case TASKQ_SLOT_IDLE:
			return "idle";
		case TASKQ_SLOT_BUSY:
			return "busy";
		case TASKQ_SLOT_ORPHAN:
			return "ended";
		case TASKQ_SLOT_FREE:
			break;
	}
	return "free";
}

PG_FUNCTION_INFO_V1(taskq_workers);

/* What a slot says of its worker. */
typedef struct WorkerCopy
{
	TaskqSlotState state;
	Oid			role;
	pid_t		pid;
	bool		in_task;
	pg_uuid_t	task;
	TimestampTz task_started_at;
	TimestampTz started_at;
	TimestampTz last_active;
	int			reserved;
	int64		completed;
	int64		failed;
	int64		busy_us;
	TaskqUsage	usage;
	int			work_mem;
	int			temp_file_limit;
} WorkerCopy;

/* False if it is none of this database's. */
static bool
copy_worker(int slotno, WorkerCopy *copy)
{
	TaskqSlot  *slot = &taskq_shared->slots[slotno];

	LWLockAcquire(taskq_main_lock, LW_SHARED);
	LWLockAcquire(taskq_slot_lock(slotno), LW_SHARED);
	copy->state = slot->dbid == MyDatabaseId ? slot->state : TASKQ_SLOT_FREE;
	copy->role = slot->role;
	copy->pid = slot->pid;
	copy->in_task = slot->in_task;
	copy->task = slot->task;
	copy->task_started_at = slot->task_started_at;
	copy->reserved = copy->state == TASKQ_SLOT_BUSY
		? slot->nitems - slot->next : 0;
	copy->completed = slot->completed;
	copy->failed = slot->failed;
	copy->busy_us = slot->busy_us;
	copy->started_at = slot->started_at;
	copy->last_active = slot->last_active;
	copy->usage = slot->usage;
	copy->work_mem = slot->work_mem;
	copy->temp_file_limit = slot->temp_file_limit;
	LWLockRelease(taskq_slot_lock(slotno));
	LWLockRelease(taskq_main_lock);
	return copy->state != TASKQ_SLOT_FREE;
}

/* The settings that limit it. */
static Datum
worker_limits(const WorkerCopy *copy)
{
	JsonbParseState *state = NULL;

	taskq_json_begin(&state);
	taskq_json_number(&state, "max_concurrent_tasks", 1);
	taskq_json_number(&state, "max_tasks", taskq_worker_max_tasks);
	taskq_json_text(&state, "default_timeout",
					GetConfigOptionByName("taskq.default_timeout", NULL, false));
	taskq_json_text(&state, "idle_timeout",
					GetConfigOptionByName("taskq.worker_idle_timeout", NULL, false));
	if (copy->work_mem > 0)
	{
		taskq_json_text(&state, "work_mem", psprintf("%dkB", copy->work_mem));
		taskq_json_text(&state, "temp_file_limit",
						copy->temp_file_limit < 0 ? "-1"
						: psprintf("%dkB", copy->temp_file_limit));
	}
	return taskq_json_end(&state);
}

/* taskq_workers - the workers of this database, for the view */
Datum
taskq_workers(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;

	taskq_store_require();
	InitMaterializedSRF(fcinfo, 0);
	for (int i = 0; taskq_shared != NULL && i < taskq_shared->nslots; i++)
	{
		Datum		values[17];
		bool		nulls[17] = {false};
		WorkerCopy	copy;
		NameData	role_name;
		Interval	busy = {0};
		Interval	cpu = {0};
		int64		memory = 0;
		char	   *name;

		if (!copy_worker(i, &copy))
			continue;
		name = GetUserNameFromId(copy.role, true);
		namestrcpy(&role_name, name ? name : "");
		/* in a long task it has not told for long */
		if (copy.pid != 0)
			(void) taskq_usage_of(copy.pid, &copy.usage, &memory);
		busy.time = copy.busy_us;
		cpu.time = copy.usage.user_us + copy.usage.system_us;
		values[0] = CStringGetTextDatum(taskq_worker_name(i));
		values[1] = NameGetDatum(&role_name);
		values[2] = ObjectIdGetDatum(copy.role);
		values[3] = Int32GetDatum(copy.pid);
		nulls[3] = copy.pid == 0;
		values[4] = CStringGetTextDatum(slot_state_name(copy.state));
		values[5] = UUIDPGetDatum(&copy.task);
		nulls[5] = !copy.in_task;
		values[6] = TimestampTzGetDatum(copy.task_started_at);
		nulls[6] = !copy.in_task;
		values[7] = Int32GetDatum(copy.reserved);
		values[8] = Int64GetDatum(copy.completed);
		values[9] = Int64GetDatum(copy.failed);
		values[10] = IntervalPGetDatum(&busy);
		values[11] = TimestampTzGetDatum(copy.started_at);
		nulls[11] = copy.started_at == 0;
		values[12] = TimestampTzGetDatum(copy.last_active);
		nulls[12] = copy.last_active == 0;
		values[13] = IntervalPGetDatum(&cpu);
		values[14] = Int64GetDatum(memory);
		nulls[14] = memory == 0;
		values[15] = Int64GetDatum(Max(copy.usage.peak_memory, memory));
		nulls[15] = copy.usage.peak_memory == 0 && memory == 0;
		values[16] = worker_limits(&copy);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values,
							 nulls);
	}
	return (Datum) 0;
}

/* Names as text[]; null for all. */
static Datum
names_datum(const TaskqCapabilities *list, bool *isnull)
{
	ArrayBuildState *state = NULL;

	*isnull = list->all;
	for (int at = 0; at < list->len; at += strlen(list->names + at) + 1)
		state = accumArrayResult(state,
								 CStringGetTextDatum(list->names + at), false,
								 TEXTOID, CurrentMemoryContext);
	if (list->cut)
		state = accumArrayResult(state, CStringGetTextDatum("..."), false,
								 TEXTOID, CurrentMemoryContext);
	return state ? makeArrayResult(state, CurrentMemoryContext)
		: PointerGetDatum(construct_empty_array(TEXTOID));
}

PG_FUNCTION_INFO_V1(taskq_outsiders);

/*
 * taskq_outsiders - the workers outside of the server that were heard of, for
 * the view
 */
Datum
taskq_outsiders(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	TaskqOutsider *all;
	int			n;

	taskq_store_require();
	InitMaterializedSRF(fcinfo, 0);
	if (taskq_shared == NULL)
		return (Datum) 0;
	n = taskq_outside_copy(&all);
	for (int i = 0; i < n; i++)
	{
		Datum		values[13];
		bool		nulls[13] = {false};
		char	   *role = GetUserNameFromId(all[i].role, true);
		Interval	busy = {.time = all[i].busy_us};
		Interval	silence = {.time = all[i].silence_us};
		NameData	role_name;

		namestrcpy(&role_name, role ? role : "");
		values[0] = CStringGetTextDatum(NameStr(all[i].name));
		values[1] = NameGetDatum(&role_name);
		values[2] = ObjectIdGetDatum(all[i].role);
		values[3] = TimestampTzGetDatum(all[i].first_at);
		values[4] = TimestampTzGetDatum(all[i].last_at);
		values[5] = BoolGetDatum(taskq_outside_online(&all[i]));
		values[6] = names_datum(&all[i].queues, &nulls[6]);
		values[7] = names_datum(&all[i].kinds, &nulls[7]);
		values[8] = Int32GetDatum(all[i].most);
		nulls[8] = all[i].most == 0;
		values[9] = Int64GetDatum(all[i].completed);
		values[10] = Int64GetDatum(all[i].failed);
		values[11] = IntervalPGetDatum(&busy);
		values[12] = IntervalPGetDatum(&silence);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values,
							 nulls);
	}
	return (Datum) 0;
}
