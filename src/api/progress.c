/*-------------------------------------------------------------------------
 *
 * progress.c
 *		What a running task says and asks.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "api/dependencies.h"
#include "api/inside.h"
#include "api/previous.h"
#include "base/args.h"
#include "base/current.h"
#include "base/shmem.h"
#include "base/watched.h"
#include "fmgr.h"
#include "funcapi.h"
#include "lanes/cancels.h"
#include "lanes/failures.h"
#include "lanes/live.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "run/complete.h"
#include "run/interrupt.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/guc.h"
#include "utils/jsonb.h"
#include "utils/numeric.h"
#include "utils/timestamp.h"

/*
 * taskq_refuse_over_http - PT409 for a call over HTTP that is not inside of a
 * task
 *
 * Nobody hears a notice who calls over HTTP.  Only the one whom PostgREST
 * calls is told: a handler may be run by hand there too, as part of a
 * function of the API.
 */
void
taskq_refuse_over_http(const char *function)
{
	const char *method = GetConfigOption("request.method", true, false);
	const char *path = GetConfigOption("request.path", true, false);
	const char *called = path ? strrchr(path, '/') : NULL;
	const char *name = psprintf("taskq.%s()", called ? called + 1 : "");

	if (method == NULL || method[0] == '\0' || taskq_in_task())
		return;
	if (called != NULL && strcmp(name, function) != 0)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_TASK_WRONG_STATE),
			 errmsg("not inside a task"),
			 errdetail("%s is for the handlers of tasks.", function)));
}

static bool
outside_of_task(const char *function)
{
	if (taskq_in_task())
		return false;
	taskq_refuse_over_http(function);
	ereport(NOTICE,
			(errmsg("%s does nothing outside of a task", function)));
	return true;
}

PG_FUNCTION_INFO_V1(taskq_progress);

/*
 * taskq_progress - progress(current, total, message, failed, info, phase)
 *
 * Writes to the worker's slot in shared memory, under its lock.  A message is
 * cut at 255 bytes, a phase at 63; raises 22023 for info of more than 2 kB.
 * Null for message, failed, info or phase leaves what was told last.
 */
Datum
taskq_progress(PG_FUNCTION_ARGS)
{
	TaskqSlot  *slot;
	double		current;
	double		total = 0;
	char	   *message = NULL;
	char	   *phase = NULL;
	char	   *info = NULL;
	int			info_len = 0;

	if (outside_of_task("taskq.progress()"))
		PG_RETURN_VOID();
	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("current must not be null"),
				 errhint("Pass how much is done as argument \"current\".")));
	current = taskq_arg_number(fcinfo, 0, "current");
	if (!PG_ARGISNULL(1))
		total = taskq_arg_number(fcinfo, 1, "total");
	if (!PG_ARGISNULL(2))
		message = text_to_cstring(PG_GETARG_TEXT_PP(2));
	if (!PG_ARGISNULL(4))
	{
		info = JsonbToCString(NULL, &PG_GETARG_JSONB_P(4)->root, 0);
		info_len = strlen(info);
		if (info_len > TASKQ_INFO_SIZE)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("info of %d bytes is too large", info_len),
					 errdetail("The limit is %d bytes.", TASKQ_INFO_SIZE),
					 errhint("Put large data into the task's result.")));
	}

	if (!PG_ARGISNULL(5))
		phase = text_to_cstring(PG_GETARG_TEXT_PP(5));

	slot = &taskq_shared->slots[taskq_current->slotno];
	LWLockAcquire(taskq_slot_lock(taskq_current->slotno), LW_EXCLUSIVE);
	if (!slot->has_progress)
		slot->failed_steps = -1;
	slot->has_progress = true;
	slot->current = current;
	slot->has_total = !PG_ARGISNULL(1);
	slot->total = total;
	if (message != NULL)
		taskq_clip(slot->message, message);
	if (!PG_ARGISNULL(3))
		slot->failed_steps = PG_GETARG_INT32(3);
	if (info != NULL)
	{
		memcpy(slot->info, info, info_len);
		slot->info_len = info_len;
	}
	if (phase != NULL)
		taskq_clip_phase(slot->phase, phase);
	slot->updated_at = GetCurrentTimestamp();
	LWLockRelease(taskq_slot_lock(taskq_current->slotno));
	taskq_watched_wake(&taskq_current->id);
	CHECK_FOR_INTERRUPTS();
	PG_RETURN_VOID();
}

PG_FUNCTION_INFO_V1(taskq_step_failed);

/*
 * taskq_step_failed - step_failed(step, error, details)
 *
 * Counts a failed step of the running task and keeps why, in its worker's
 * slot.  Raises 22023 for a step that is null and for details of more than 1
 * kB.
 */
Datum
taskq_step_failed(PG_FUNCTION_ARGS)
{
	TaskqSlot  *slot;
	char	   *failure;

	if (outside_of_task("taskq.step_failed()"))
		PG_RETURN_VOID();
	if (PG_ARGISNULL(0))
		taskq_invalid_argument("step", "must not be null");
	failure = taskq_failure_text(text_to_cstring(PG_GETARG_TEXT_PP(0)),
								 taskq_arg_text(fcinfo, 1, NULL),
								 PG_ARGISNULL(2) ? (Datum) 0
								 : PG_GETARG_DATUM(2), "details");

	slot = &taskq_shared->slots[taskq_current->slotno];
	LWLockAcquire(taskq_slot_lock(taskq_current->slotno), LW_EXCLUSIVE);
	if (!slot->has_progress)
	{
		slot->has_progress = true;
		slot->current = 0;
		slot->has_total = false;
		slot->failed_steps = -1;
	}
	if (slot->failed_steps < PG_INT32_MAX)
		slot->failed_steps = Max(slot->failed_steps, 0) + 1;
	taskq_failures_add(&slot->failures, failure);
	slot->updated_at = GetCurrentTimestamp();
	LWLockRelease(taskq_slot_lock(taskq_current->slotno));
	taskq_watched_wake(&taskq_current->id);
	CHECK_FOR_INTERRUPTS();
	PG_RETURN_VOID();
}

PG_FUNCTION_INFO_V1(taskq_cancel_requested);

/*
 * taskq_cancel_requested - cancel_requested() returns bool; false outside of
 * a task
 */
Datum
taskq_cancel_requested(PG_FUNCTION_ARGS)
{
	if (outside_of_task("taskq.cancel_requested()"))
		PG_RETURN_BOOL(false);
	PG_RETURN_BOOL(taskq_cancel_noticed());
}

/*
 * Raise an error by which the handler ends its attempt: message, details and
 * type are the arguments from the first on.  The type travels in a field that
 * PL/pgSQL and PL/Python pass on when they catch and raise it again.
 */
static void
end_attempt(FunctionCallInfo fcinfo, int first, int sqlerrcode,
			const char *preset)
{
	char	   *message = taskq_arg_text(fcinfo, first, preset);
	char	   *type = taskq_arg_text(fcinfo, first + 2, NULL);
	char	   *details = NULL;

	if (!PG_ARGISNULL(first + 1))
		details = taskq_error_tell(PG_GETARG_JSONB_P(first + 1));
	ereport(ERROR,
			(errcode(sqlerrcode),
			 errmsg("%s", message),
			 details ? errdetail("%s", details) : 0,
			 type ? err_generic_string(PG_DIAG_DATATYPE_NAME, type) : 0));
}

PG_FUNCTION_INFO_V1(taskq_fail);

/*
 * taskq_fail - fail(message, details, type) raises TQ001, inside of a task
 * and outside
 */
Datum
taskq_fail(PG_FUNCTION_ARGS)
{
	taskq_refuse_over_http("taskq.fail()");
	end_attempt(fcinfo, 0, ERRCODE_TASK_NO_RETRY, "the task gave up");
	PG_RETURN_VOID();
}

PG_FUNCTION_INFO_V1(taskq_retry);

/*
 * taskq_retry - retry(delay, message, details, type) raises TQ002, inside of
 * a task and outside
 *
 * The delay is kept aside until the error arrives where the attempt is
 * recorded.
 */
Datum
taskq_retry(PG_FUNCTION_ARGS)
{
	taskq_refuse_over_http("taskq.retry()");
	taskq_retry_us = PG_ARGISNULL(0)
		? -1
		: taskq_arg_delay(fcinfo, 0) - GetCurrentTimestamp();
	end_attempt(fcinfo, 1, ERRCODE_TASK_RETRY,
				"the task asks to be tried again");
	PG_RETURN_VOID();
}

PG_FUNCTION_INFO_V1(taskq_current_task);

/*
 * taskq_current_task - current_task() returns a record, all null outside of a
 * task
 */
Datum
taskq_current_task(PG_FUNCTION_ARGS)
{
	TupleDesc	desc;
	Datum		values[13] = {0};
	bool		nulls[13];
	TaskqRow   *row;

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	memset(nulls, true, sizeof(nulls));
	if (!outside_of_task("taskq.current_task()"))
	{
		row = taskq_current->row;
		memset(nulls, false, sizeof(nulls));
		values[0] = UUIDPGetDatum(&taskq_current->id);
		values[1] = CStringGetTextDatum(NameStr(taskq_current->kind));
		values[2] = CStringGetTextDatum(NameStr(taskq_current->queue));
		values[3] = taskq_current->payload;
		nulls[3] = taskq_row_isnull(row, payload);
		values[4] = Int32GetDatum(taskq_current->attempt);
		values[5] = Int32GetDatum(taskq_current->max_attempts);
		values[6] = NameGetDatum(&taskq_current->submitted_by);
		values[7] =
			CStringGetTextDatum(taskq_worker_name(taskq_current->slotno));
		values[8] = taskq_row_value(row, claims);
		nulls[8] = taskq_row_isnull(row, claims);
		values[9] = taskq_row_value(row, tenant);
		nulls[9] = taskq_row_isnull(row, tenant);
		values[10] = taskq_row_value(row, metadata);
		nulls[10] = taskq_row_isnull(row, metadata);
		values[11] = taskq_dependencies_jsonb(row, &nulls[11]);
		values[12] = taskq_previous_jsonb(row, taskq_current->attempt,
										  &nulls[12]);
	}
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}
