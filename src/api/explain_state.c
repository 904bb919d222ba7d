/*-------------------------------------------------------------------------
 *
 * explain_state.c
 *		What a task is at that does not wait for its turn.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "api/dependencies.h"
#include "api/explain.h"
#include "base/clock.h"
#include "base/json.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "store/dependencies.h"
#include "store/leases.h"
#include "store/rights.h"
#include "store/state.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/jsonb.h"
#include "utils/timestamp.h"

static char *
error_message(TaskqRow *row)
{
	JsonbValue	key = {.type = jbvString,
	.val.string = {.len = 7,.val = "message"}};
	JsonbValue *value = NULL;
	Jsonb	   *error;

	if (taskq_row_isnull(row, error))
		return "no error";
	error = DatumGetJsonbP(taskq_row_value(row, error));
	if (JB_ROOT_IS_OBJECT(error))
		value = findJsonbValueFromContainer(&error->root, JB_FOBJECT, &key);
	if (value == NULL || value->type != jbvString)
		return "no message";
	return pnstrdup(value->val.string.val, value->val.string.len);
}

/* taskq_explain_final - how it ended */
void
taskq_explain_final(TaskqExplain *explain)
{
	TaskqRow   *row = &explain->row;
	char	   *at = taskq_row_isnull(row, finished_at) ? "" :
	psprintf(" at %s", taskq_moment_text(DatumGetTimestampTz(taskq_row_value(row, finished_at))));

	switch (taskq_row_state(row))
	{
		case TASKQ_COMPLETED:
			taskq_reason(explain, "completed", psprintf("It completed%s.", at), NULL);
			break;
		case TASKQ_FAILED:
			taskq_reason(explain, "failed",
						 psprintf("It failed%s: %s", at, error_message(row)),
						 "taskq.task_retry() runs it again, as a new task.");
			break;
		default:
			taskq_reason(explain, "cancelled",
						 psprintf("It was cancelled%s%s%s", at,
								  taskq_row_isnull(row, cancel_reason) ? "." : ": ",
								  taskq_row_isnull(row, cancel_reason) ? ""
								  : TextDatumGetCString(taskq_row_value(row, cancel_reason))),
						 "taskq.task_retry() runs it again, as a new task.");
	}
}

/* What its session waits for: a lock that others have. */
static void
explain_blocked_session(TaskqExplain *explain, int pid)
{
	ArrayType  *pids;
	Datum	   *items;
	int			n;

	if (explain->limited || !explain->sees_role || pid == 0)
		return;
	pids = DatumGetArrayTypeP(DirectFunctionCall1(pg_blocking_pids,
												  Int32GetDatum(pid)));
	deconstruct_array(pids, INT4OID, 4, true, TYPALIGN_INT, &items, NULL, &n);
	if (n == 0)
		return;
	taskq_reason_begin(explain, "waits_for_lock",
					   DatumGetInt32(items[0]) == 0
					   ? pstrdup("Its session waits for a lock that a prepared transaction has.")
					   : psprintf("Its session waits for a lock that the session with process id %d has.", DatumGetInt32(items[0])),
					   "Look at pg_stat_activity and pg_locks.");
	if (DatumGetInt32(items[0]) != 0)
		taskq_json_number(&explain->json, "pid", DatumGetInt32(items[0]));
	taskq_reason_end(explain);
}

/*
 * taskq_explain_running - a worker has it, and how far it is; takes the main
 * lock
 */
void
taskq_explain_running(TaskqExplain *explain)
{
	TaskqLive  *live = explain->live;
	TimestampTz now = GetCurrentTimestamp();
	int			pid;

	LWLockAcquire(taskq_main_lock, LW_SHARED);
	pid = taskq_shared->slots[live->slot].dbid == MyDatabaseId
		? taskq_shared->slots[live->slot].pid
		: 0;
	LWLockRelease(taskq_main_lock);
	taskq_reason_begin(explain, "running",
					   psprintf("It has been running for %s%s%s%s.",
								taskq_span_text(live->started_at, now),
								live->has_progress && live->has_total && live->total > 0
								? psprintf(", %g %% done", rint(Max(0, Min(100, 100 * live->current / live->total)) * 10) / 10) : "",
								live->has_message ? ": " : "",
								live->has_message ? live->message : ""),
					   live->cancel ? "A cancel was asked for; taskq.task_cancel(..., force => true) ends its process." : NULL);
	taskq_reason_time(explain, "since", live->started_at);
	taskq_json_text(&explain->json, "worker", taskq_worker_name(live->slot));
	if (!explain->limited && explain->sees_role)
		taskq_json_number(&explain->json, "pid", pid);
	if (live->has_progress)
		taskq_reason_time(explain, "progress_at", live->updated_at);
	if (live->cancel)
		taskq_json_true(&explain->json, "cancel_requested");
	taskq_reason_end(explain);
	explain_blocked_session(explain, pid);
}

/* taskq_explain_leased - an external worker has it */
void
taskq_explain_leased(TaskqExplain *explain)
{
	TaskqRow   *row = &explain->row;
	TaskqLease	lease;

	if (!taskq_lease_find(&explain->id, &lease))
		return;
	taskq_reason_begin(explain, "claimed",
					   psprintf("External worker %s has it, and was heard of %s ago; its lease ends in %s.",
								taskq_row_isnull(row, worker) ? "" : TextDatumGetCString(taskq_row_value(row, worker)),
								taskq_span_text(lease.updated_at,
												GetCurrentTimestamp()),
								taskq_span_text(taskq_steady_now(), lease.until)),
					   lease.cancel ? "A cancel was asked for: the worker is told by its next heartbeat."
					   : "When the lease ends without a heartbeat, the attempt is over.");
	if (!taskq_row_isnull(row, worker))
		taskq_json_text(&explain->json, "worker",
						TextDatumGetCString(taskq_row_value(row, worker)));
	taskq_reason_time(explain, "updated_at", lease.updated_at);
	taskq_reason_time(explain, "lease_until", GetCurrentTimestamp() +
					  lease.until - taskq_steady_now());
	if (lease.cancel)
		taskq_json_true(&explain->json, "cancel_requested");
	taskq_reason_end(explain);
}

/*
 * taskq_explain_scheduled - it waits for its time, the first or that of a
 * retry
 */
void
taskq_explain_scheduled(TaskqExplain *explain)
{
	TaskqRow   *row = &explain->row;
	TimestampTz now = GetCurrentTimestamp();
	TimestampTz at = taskq_row_isnull(row, run_at) ? now
	: DatumGetTimestampTz(taskq_row_value(row, run_at));
	bool		retrying = taskq_row_state(row) == TASKQ_RETRYING;
	const char *hint = "taskq.task_run_now() lets it run at once, taskq.task_reschedule() at another time.";

	if (TIMESTAMP_NOT_FINITE(at))
	{
		taskq_reason(explain, "held", "It is held: it waits until somebody lets it run.",
					 hint);
		return;
	}
	if (at <= now)
		hint = NULL;
	if (retrying)
		taskq_reason_begin(explain, "retrying",
						   psprintf("Attempt %d failed: %s; it is tried again %s (%s).",
									DatumGetInt16(taskq_row_value(row, attempt)),
									error_message(row),
									at <= now ? "now" : psprintf("in %s", taskq_span_text(now, at)), taskq_moment_text(at)),
						   hint);
	else
		taskq_reason_begin(explain, "scheduled",
						   at <= now ? psprintf("It has become due just now (%s).", taskq_moment_text(at))
						   : psprintf("It is scheduled for %s, in %s.", taskq_moment_text(at), taskq_span_text(now, at)),
						   hint);
	taskq_reason_time(explain, "run_at", at);
	taskq_reason_end(explain);
}

/* One that it waits for; false if it does not any more. */
static bool
put_dependency(TaskqExplain *explain, const pg_uuid_t *id, bool *failed)
{
	TaskqDependency *dependency = palloc(sizeof(TaskqDependency));
	bool		seen;
	bool		over;

	taskq_dependency_read(id, dependency);
	over = dependency->state == NULL ||
		strcmp(dependency->state, "completed") == 0;
	if (over)
		return false;
	seen = taskq_row_may_see(dependency->lane, &dependency->row);
	if (seen)
		*failed |= strcmp(dependency->state, "failed") == 0 ||
			strcmp(dependency->state, "cancelled") == 0;
	taskq_json_begin(&explain->json);
	taskq_json_text(&explain->json, "task", taskq_id_text(id));
	if (seen)
	{
		taskq_json_text(&explain->json, "state", dependency->state);
		taskq_json_text(&explain->json, "kind",
						pstrdup(NameStr(dependency->lane->kind)));
	}
	taskq_json_end(&explain->json);
	return true;
}

/* taskq_explain_blocked - it waits for other tasks */
void
taskq_explain_blocked(TaskqExplain *explain)
{
	TaskqBlocked blocked;
	Datum	   *ids;
	int			n = taskq_dependency_ids(&explain->row, &ids);
	int			named = 0;
	bool		failed = false;
	bool		found = taskq_blocked_find(&explain->id, false, &blocked);

	failed = found && blocked.failed &&
		blocked.policy == TASKQ_ON_FAILURE_BLOCK;
	taskq_reason_begin(explain, "blocked",
					   found ? psprintf("It waits for %d other task%s to end%s.", blocked.awaited, blocked.awaited == 1 ? "" : "s",
										failed ? ", of which one has failed" : "")
					   : pstrdup("It has waited for others, and is about to be let go."),
					   failed ? "taskq.task_retry() of the one that failed lets it go on, taskq.task_cancel() gives it up."
					   : "taskq.task_explain() of these tells why they are not through.");
	taskq_json_key(&explain->json, "waits_for");
	pushJsonbValue(&explain->json, WJB_BEGIN_ARRAY, NULL);
	for (int i = 0; i < Min(n, TASKQ_MAX_LOOKED) && named < TASKQ_MAX_NAMED;
		 i++)
	{
		CHECK_FOR_INTERRUPTS();
		named += put_dependency(explain, DatumGetUUIDP(ids[i]), &failed);
	}
	pushJsonbValue(&explain->json, WJB_END_ARRAY, NULL);
	taskq_reason_end(explain);
}
