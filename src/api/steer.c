/*-------------------------------------------------------------------------
 *
 * steer.c
 *		Retrying and deleting finished tasks, sending workers away.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <signal.h>

#include "access/xact.h"
#include "api/action.h"
#include "api/patience.h"
#include "api/steer.h"
#include "api/submit.h"
#include "api/task.h"
#include "base/args.h"
#include "base/compat.h"
#include "base/guc.h"
#include "base/http.h"
#include "base/json.h"
#include "base/shmem.h"
#include "fmgr.h"
#include "lanes/live.h"
#include "lanes/note.h"
#include "lanes/waiting.h"
#include "miscadmin.h"
#include "store/attempts.h"
#include "store/defs.h"
#include "store/dependencies.h"
#include "store/labels.h"
#include "store/rights.h"
#include "store/state.h"
#include "store/steps.h"
#include "store/uniques.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/jsonb.h"
#include "utils/timestamp.h"

static void
not_found(const pg_uuid_t *id)
{
	ereport(ERROR,
			(errcode(ERRCODE_TASK_NOT_FOUND),
			 errmsg("task %s does not exist", taskq_id_text(id)),
			 errdetail("Another session has just deleted it.")));
}

/*
 * Lock a finished task that the caller may steer, and first its workflow if
 * that is to be; verb says for what.  Raises PT404, 42501, PT409 when it is not finished, or PT503 when another session
 * has it for too long.
 */
static const TaskqLaneDef *
lock_final(const pg_uuid_t *id, bool workflow, const char *verb,
		   const char *hint, TaskqRow *row)
{
	TaskqLive  *live = palloc(sizeof(TaskqLive));
	const TaskqLaneDef *lane;
	bool		held;

	taskq_task_require(id, row);
	lane = taskq_lane_get(DatumGetInt32(taskq_row_value(row, lane)));
	taskq_require_steer(lane, row, verb);
	held = taskq_task_held(row, live);
	if (!held && taskq_state_final(taskq_row_state(row)))
	{
		if (workflow && !taskq_row_isnull(row, workflow))
			taskq_workflow_lock_briefly(DatumGetUUIDP(taskq_row_value(row, workflow)));
		if (taskq_lock_briefly(id, row) != TASKQ_LOCKED)
			not_found(id);
		return lane;
	}
	ereport(ERROR,
			(errcode(ERRCODE_TASK_WRONG_STATE),
			 errmsg("task %s is not finished", taskq_id_text(id)),
			 errdetail("It is %s.", taskq_task_state(row, held ? live : NULL)),
			 errhint("%s", hint)));
	return NULL;
}

/* What has completed need not be run again. */
static void
require_failed(const pg_uuid_t *id, TaskqRow *row)
{
	if (taskq_row_state(row) != TASKQ_COMPLETED)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_TASK_WRONG_STATE),
			 errmsg("task %s has completed", taskq_id_text(id)),
			 errdetail("Argument \"only_failed\" is for tasks that failed or were cancelled.")));
}

/*
 * Who may not act as a superuser does not make tasks for one, not even those
 * it had before.
 */
static void
check_superuser(const TaskqLaneDef *lane)
{
	if (superuser_arg(lane->role_oid) && !superuser() &&
		!has_privs_of_role(GetUserId(), lane->role_oid))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied to retry a task of superuser \"%s\"", NameStr(lane->role_name)),
				 errhint("That is for superusers.")));
}

/*
 * Who retries a task of a role that it can become could as well submit it.
 * Not so a superuser, who is no member and may not know whose task it is.
 */
static bool
acts_as(Oid role)
{
	return role == GetUserId() ||
		(is_member_of_role_nosuper(GetUserId(), role) &&
		 taskq_can_set_role(GetUserId(), role));
}

/* Another payload is for those who could have submitted the task with it. */
static Datum
other_payload(FunctionCallInfo fcinfo, int n, const TaskqKind *kind,
			  const TaskqLaneDef *lane)
{
	Jsonb	   *payload = PG_GETARG_JSONB_P(n);

	if (kind == NULL)
		taskq_invalid("the command of a task cannot be changed",
					  "Use taskq.task_submit_sql(), and leave argument \"payload\" out.");
	if (!taskq_kind_may_submit(kind) ||
		(kind->run_as_id == 0 &&
		 !has_privs_of_role(GetUserId(), lane->role_oid)))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied to give the task another payload"),
				 errdetail("It runs as role \"%s\".", NameStr(lane->role_name)),
				 errhint("Retry it as it is, without argument \"payload\".")));
	taskq_check_size(payload, "payload");
	return JsonbPGetDatum(payload);
}

#define copy_column(to, from, column)                                        \
	((to)->values[Anum_task_##column - 1] =                                  \
		 (from)->values[Anum_task_##column - 1],                             \
	 (to)->nulls[Anum_task_##column - 1] =                                   \
		 (from)->nulls[Anum_task_##column - 1])

/* What the new task has from the old one, unless told otherwise. */
static void
copy_task(TaskqRow *new, TaskqRow *old)
{
	copy_column(new, old, timeout_ms);
	copy_column(new, old, max_attempts);
	copy_column(new, old, parent);
	copy_column(new, old, depth);
	copy_column(new, old, tags);
	copy_column(new, old, metadata);
	copy_column(new, old, concurrency_key);
	copy_column(new, old, workflow);
	copy_column(new, old, step);
	taskq_row_set(new, retry_of, taskq_row_value(old, id));
}

/*
 * It has the old one's key, if that is free.  That the old one keeps it for a
 * while after its end is no obstacle: it is the same work.
 */
static void
copy_unique_key(TaskqSubmit *submit, TaskqRow *old)
{
	if (taskq_row_isnull(old, unique_key))
	{
		taskq_submit_request_key(submit);
		return;
	}
	copy_column(&submit->row, old, unique_key);
	submit->unique_key = TextDatumGetCString(taskq_row_value(old, unique_key));
	submit->on_conflict = TASKQ_CONFLICT_ERROR;
	submit->unique_keep_ms =
		taskq_unique_keep(DatumGetUUIDP(taskq_row_value(old, id)));
	submit->unique_anew = true;
}

/*
 * For whom it is: with the old payload for whom it was, with another for who
 * asks for that.
 */
static void
copy_submitter(TaskqSubmit *submit, TaskqRow *old, const TaskqKind *kind,
			   bool other_payload)
{
	if (!other_payload || kind->run_as_id == 0)
		copy_column(&submit->row, old, submitted_by);
	if (other_payload)
	{
		taskq_submit_claims(submit);
		/* who comes through no gateway acts for whom the task was */
		if (taskq_row_isnull(&submit->row, claims))
			copy_column(&submit->row, old, tenant);
	}
	else
	{
		int			level;

		/* in whose name it is, of a hook */
		if (taskq_row_hook(old, &level) != 0)
			copy_column(&submit->row, old, options);
		copy_column(&submit->row, old, claims);
		copy_column(&submit->row, old, tenant);
	}
}

/*
 * Who waits for a task that has failed, until a retry of it completes, waits
 * for this one.
 */
static void
follow_up(const pg_uuid_t *id, const pg_uuid_t *retry)
{
	TaskqEdge	edge = {.dependency = *id,.type = TASKQ_EDGE_RETRY,
	.task = *retry,.state = TASKQ_EDGE_OPEN};

	taskq_edges_insert(&edge, 1);
	taskq_note_retried(id, retry);
}

static void
tell_retry(const pg_uuid_t *id, TaskqRow *old, const pg_uuid_t *retry,
		   bool other_payload)
{
	TaskqAction action = {.verb = "retry",.object = "task",.task = id,
	.row = old,.outcome = "a new task was submitted"};
	JsonbParseState *state = NULL;

	taskq_json_begin(&state);
	taskq_json_text(&state, "new_task", taskq_id_text(retry));
	if (other_payload)
		taskq_json_true(&state, "other_payload");
	action.details = taskq_json_end(&state);
	taskq_action(&action);
}

/* The new task is there: it takes the place of the old one. */
static void
end_retry(const pg_uuid_t *id, TaskqRow *old, const pg_uuid_t *retry,
		  bool other_payload)
{
	tell_retry(id, old, retry, other_payload);
	if (!taskq_row_isnull(old, workflow))
		taskq_step_retried(old, retry);
	if (taskq_row_state(old) != TASKQ_COMPLETED)
		follow_up(id, retry);
}

/* A payload with the results that it refers to, of a step's task. */
static Datum
with_results(TaskqRow *old, Datum payload)
{
	payload = taskq_references_resolve(old, payload);
	if (payload == 0)
		ereport(ERROR,
				(errcode(ERRCODE_TASK_TOO_LARGE),
				 errmsg("payload would be larger than taskq.max_payload with the results it refers to"),
				 errhint("Let the steps return less, or refer to parts of what they return.")));
	return payload;
}

/* Arguments of task_retry, by their numbers. */
enum
{
	RETRY_ID,
	RETRY_PRIORITY,
	RETRY_TIMEOUT,
	RETRY_PAYLOAD,
	RETRY_QUEUE,
	RETRY_MAX_ATTEMPTS,
	RETRY_DELAY,
	RETRY_TIMEOUT_FACTOR,
	RETRY_DIFFERENT_WORKER,
	RETRY_PAYLOAD_MERGE,
	RETRY_ONLY_FAILED
};

/* Is there what may run the task once more, for the caller? */
static const TaskqKind *
retry_kind(const TaskqLaneDef *lane, TaskqRow *old)
{
	const TaskqKind *kind = NULL;

	if (strcmp(NameStr(lane->kind), TASKQ_SQL_KIND) != 0)
	{
		kind = taskq_kind_get(NameStr(lane->kind));
		if (kind == NULL)
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_OBJECT),
					 errmsg("kind of task \"%s\" does not exist any more", NameStr(lane->kind)),
					 errhint("Define it again with taskq.kind_define() and submit a new task.")));
		taskq_kind_check_run(kind, lane, old);
		if (!acts_as(lane->role_oid))
		{
			taskq_kind_check_handler(kind, lane);
			taskq_kind_check_hooks(kind, lane);
		}
	}
	if (!OidIsValid(lane->role_oid))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("role \"%s\", which the task ran as, does not exist any more", NameStr(lane->role_name))));
	return kind;
}

/* The old payload, another one, or the old one with other members. */
static Datum
retry_payload(FunctionCallInfo fcinfo, const TaskqKind *kind,
			  const TaskqLaneDef *lane, TaskqRow *old)
{
	bool		merge = !PG_ARGISNULL(RETRY_PAYLOAD_MERGE);
	Datum		payload = taskq_row_value(old, payload);
	Jsonb	   *merged;

	/* cancelled before all that it waited for was over */
	if (DatumGetInt16(taskq_row_value(old, attempt)) == 0)
		payload = with_results(old, payload);
	if (kind == NULL && (merge || !PG_ARGISNULL(RETRY_PAYLOAD)))
		taskq_http_refuse_sql();
	if (merge && !PG_ARGISNULL(RETRY_PAYLOAD))
		taskq_invalid("payload and payload_merge cannot both be given",
					  "Use argument \"payload\" for another payload, or argument \"payload_merge\" for other members of the old one.");
	if (!PG_ARGISNULL(RETRY_PAYLOAD))
		return other_payload(fcinfo, RETRY_PAYLOAD, kind, lane);
	if (!merge)
		return payload;
	(void) other_payload(fcinfo, RETRY_PAYLOAD_MERGE, kind, lane);
	if (!JB_ROOT_IS_OBJECT(PG_GETARG_JSONB_P(RETRY_PAYLOAD_MERGE)) ||
		taskq_row_isnull(old, payload) ||
		!JB_ROOT_IS_OBJECT(DatumGetJsonbP(payload)))
		taskq_invalid("payload_merge is for payloads that are objects",
					  "Pass a JSON object as argument \"payload_merge\", or use argument \"payload\".");
	payload = DirectFunctionCall2(jsonb_concat, payload,
								  PG_GETARG_DATUM(RETRY_PAYLOAD_MERGE));
	merged = DatumGetJsonbP(payload);
	taskq_check_size(merged, "payload_merge");
	return JsonbPGetDatum(merged);
}

#define MAX_TIMEOUT_MS (INT64CONST(3653) * USECS_PER_DAY / 1000)

/* Longer, or shorter, than it was; what had no limit gets none. */
static void
scale_timeout(TaskqRow *new, TaskqRow *old, const TaskqKind *kind,
			  double factor)
{
	int64		ms = kind != NULL && kind->timeout_ms > 0
	? kind->timeout_ms
	: taskq_default_timeout;

	if (!taskq_row_isnull(old, timeout_ms))
		ms = DatumGetInt64(taskq_row_value(old, timeout_ms));
	if (ms > 0)
		taskq_row_set(new, timeout_ms,
					  Int64GetDatum((int64) Max(1, Min(ms * factor,
													   (double) MAX_TIMEOUT_MS))));
}

/* What the new attempts may take. */
static void
retry_limits(FunctionCallInfo fcinfo, TaskqRow *new, TaskqRow *old,
			 const TaskqKind *kind)
{
	if (!PG_ARGISNULL(RETRY_TIMEOUT))
		taskq_row_set(new, timeout_ms,
					  Int64GetDatum(taskq_arg_interval_us(fcinfo, RETRY_TIMEOUT,
														  "timeout", 1000) /
									1000));
	if (!PG_ARGISNULL(RETRY_TIMEOUT_FACTOR))
	{
		double		factor = taskq_arg_number(fcinfo, RETRY_TIMEOUT_FACTOR,
											  "timeout_factor");

		if (!PG_ARGISNULL(RETRY_TIMEOUT))
			taskq_invalid("timeout and timeout_factor cannot both be given",
						  "Use argument \"timeout\" for a time, or argument \"timeout_factor\" for so many times the old one.");
		if (!(factor > 0))
			taskq_invalid_argument("timeout_factor", "must be greater than 0");
		scale_timeout(new, old, kind, factor);
	}
	if (!PG_ARGISNULL(RETRY_MAX_ATTEMPTS))
	{
		taskq_check_max_attempts(PG_GETARG_INT32(RETRY_MAX_ATTEMPTS));
		taskq_row_set(new, max_attempts,
					  Int16GetDatum(PG_GETARG_INT32(RETRY_MAX_ATTEMPTS)));
	}
}

/* What stands among its options beside what is there. */
static void
add_options(TaskqRow *new, Datum options)
{
	if (!taskq_row_isnull(new, options))
		options = DirectFunctionCall2(jsonb_concat,
									  taskq_row_value(new, options), options);
	taskq_row_set(new, options, options);
}

/* By another worker than the last attempt's, also if that was so told. */
static void
retry_worker(FunctionCallInfo fcinfo, TaskqRow *new, TaskqRow *old)
{
	JsonbParseState *state = NULL;

	if (PG_ARGISNULL(RETRY_DIFFERENT_WORKER)
		? !taskq_row_option(old, "different_worker")
		: !PG_GETARG_BOOL(RETRY_DIFFERENT_WORKER))
		return;
	taskq_json_begin(&state);
	taskq_json_true(&state, "different_worker");
	add_options(new, taskq_json_end(&state));
}

/*
 * The request that a retry is made for stands among its options: who repeats
 * the request, having got no answer, gets the same retry of the same task,
 * whatever became of others that the request was about.
 */
#define REQUEST_OPTION "request"

static void
retry_request(TaskqRow *new, const char *request)
{
	JsonbParseState *state = NULL;

	if (request == NULL)
		return;
	taskq_json_begin(&state);
	taskq_json_text(&state, REQUEST_OPTION, request);
	add_options(new, taskq_json_end(&state));
}

static bool
made_by_request(TaskqRow *row, const char *request)
{
	char	   *of;

	if (taskq_row_isnull(row, options))
		return false;
	of = taskq_member_text(DatumGetJsonbP(taskq_row_value(row, options)),
						   REQUEST_OPTION);
	return of != NULL && strcmp(of, request) == 0;
}

/*
 * Has the request made a retry of the task?  Its row is locked, so that two
 * that are the same see each other.  One that it has made itself, and that a
 * filter finds when the request comes again, is that.
 */
static bool
find_retry(const char *request, const pg_uuid_t *id, TaskqRow *old,
		   pg_uuid_t *retry)
{
	TaskqLabelScan *scan;
	TaskqLabelled found;
	bool		same = false;

	*retry = *id;
	if (request == NULL || made_by_request(old, request))
		return request != NULL;
	scan = taskq_labels_begin(taskq_label_retry(id), NULL, true);
	while (!same && taskq_labels_next(scan, &found))
	{
		TaskqRow	row;

		CHECK_FOR_INTERRUPTS();
		same = taskq_store_find(&found.id, &row) &&
			made_by_request(&row, request);
		*retry = found.id;
	}
	taskq_labels_end(scan);
	return same;
}

PG_FUNCTION_INFO_V1(taskq_task_retry);

/*
 * taskq_task_retry - task_retry(id, priority, timeout, payload, queue,
 * max_attempts, delay, timeout_factor, different_worker, payload_merge,
 * only_failed) returns uuid
 *
 * Locks the old task's row, so that it is not deleted meanwhile.  The new
 * task belongs to whom the old one did, unless it has another payload.
 */
Datum
taskq_task_retry(PG_FUNCTION_ARGS)
{
	pg_uuid_t	id = taskq_arg_id(fcinfo, RETRY_ID);
	pg_uuid_t  *new_id = palloc(sizeof(pg_uuid_t));
	bool		other = !PG_ARGISNULL(RETRY_PAYLOAD) ||
	!PG_ARGISNULL(RETRY_PAYLOAD_MERGE);
	char	   *request = taskq_submit_request();
	TaskqSubmit submit;
	TaskqRow	old;
	const TaskqLaneDef *lane;
	const TaskqKind *kind;
	int			priority;
	Datum		payload;

	taskq_submit_begin(&submit);
	lane = lock_final(&id, true, "retry", "Wait for it, or cancel it first.", &old);
	if (!PG_ARGISNULL(RETRY_ONLY_FAILED) && PG_GETARG_BOOL(RETRY_ONLY_FAILED))
		require_failed(&id, &old);
	check_superuser(lane);
	kind = retry_kind(lane, &old);
	payload = retry_payload(fcinfo, kind, lane, &old);
	priority = PG_ARGISNULL(RETRY_PRIORITY) ? lane->priority
		: PG_GETARG_INT32(RETRY_PRIORITY);
	taskq_check_priority(priority);
	if (find_retry(request, &id, &old, new_id))
	{
		taskq_submit_check_same(new_id, payload);
		PG_RETURN_UUID_P(new_id);
	}

	copy_task(&submit.row, &old);
	taskq_submit_place(&submit, NameStr(lane->kind), kind, lane->role_oid,
					   PG_ARGISNULL(RETRY_QUEUE)
					   ? pstrdup(NameStr(lane->queue))
					   : taskq_arg_queue(fcinfo, RETRY_QUEUE),
					   priority);
	if (!taskq_row_isnull(&old, unique_key))
		copy_unique_key(&submit, &old);
	copy_submitter(&submit, &old, kind, other);
	taskq_submit_depth(&submit);
	retry_limits(fcinfo, &submit.row, &old, kind);
	retry_worker(fcinfo, &submit.row, &old);
	retry_request(&submit.row, request);
	if (!PG_ARGISNULL(RETRY_DELAY))
		taskq_submit_at(&submit, taskq_arg_delay(fcinfo, RETRY_DELAY));
	if (taskq_submit_once(&submit, payload, new_id))
		end_retry(&id, &old, new_id, other);
	PG_RETURN_UUID_P(new_id);
}

/*
 * taskq_retry_step - retry a step of a workflow, with this payload, after
 * these tasks
 *
 * Takes what its payload refers to from their results.  Locks and raises as
 * task_retry.
 */
void
taskq_retry_step(const pg_uuid_t *id, Jsonb *step_payload,
				 const pg_uuid_t *depends, int n, char on_failure,
				 pg_uuid_t *new_id)
{
	TaskqSubmit submit;
	TaskqRow	old;
	const TaskqKind *kind;
	const TaskqLaneDef *lane;
	Datum		payload;

	taskq_submit_begin(&submit);
	lane = lock_final(id, true, "retry", "Wait for it, or cancel it first.", &old);
	check_superuser(lane);
	kind = retry_kind(lane, &old);
	payload = step_payload ? JsonbPGetDatum(step_payload)
		: taskq_row_value(&old, payload);
	copy_task(&submit.row, &old);
	copy_column(&submit.row, &old, options);
	taskq_submit_place(&submit, NameStr(lane->kind), kind, lane->role_oid,
					   pstrdup(NameStr(lane->queue)), lane->priority);
	copy_unique_key(&submit, &old);
	copy_submitter(&submit, &old, kind, false);
	taskq_submit_depth(&submit);
	if (n > 0)
		taskq_submit_depends(&submit, depends, n, on_failure);
	if (submit.awaited == 0)
		payload = with_results(&old, payload);
	taskq_submit_rows(&submit, &payload, 1, new_id);
	end_retry(id, &old, new_id, false);
}

#define EDGES 500				/* looked at at once */

/* Does one of these wait? */
static bool
any_blocked(const TaskqEdge *edges, int n)
{
	TaskqBlocked *blocked = palloc(sizeof(TaskqBlocked) * EDGES);
	TaskqBlocked one;
	int			nblocked;
	bool		found = false;

	nblocked = taskq_blocked_range(&edges[0].task, &edges[n - 1].task, EDGES,
								   blocked);
	/* others may lie between them */
	for (int i = 0; i < n && nblocked > 0 && !found; i++)
		found = edges[i].state == TASKQ_EDGE_OPEN &&
			taskq_blocked_find(&edges[i].task, false, &one);
	pfree(blocked);
	return found;
}

/*
 * A task that others still wait for is not deleted: they could not tell how
 * it ended.  Raises PT409.
 */
static void
check_not_awaited(const pg_uuid_t *id)
{
	TaskqDb    *db = taskq_db_mine();
	TaskqEdge  *edges = palloc(sizeof(TaskqEdge) * EDGES);
	pg_uuid_t	from = {{0}};
	int			n = EDGES;

	/* as long as not all have been looked through the filter does not tell */
	if (db != NULL && !db->look && db->looked != 0 && !taskq_waiting_maybe(db, id))
		return;
	while (n == EDGES)
	{
		CHECK_FOR_INTERRUPTS();
		n = taskq_edges_next(id, TASKQ_EDGE_WAITS, &from, EDGES, edges);
		if (n > 0 && any_blocked(edges, n))
			ereport(ERROR,
					(errcode(ERRCODE_TASK_WRONG_STATE),
					 errmsg("task %s is waited for", taskq_id_text(id)),
					 errdetail("Another task depends on it."),
					 errhint("Cancel those that wait for it first, or wait till they have seen how it ended.")));
	}
	pfree(edges);
}

PG_FUNCTION_INFO_V1(taskq_task_delete);

/*
 * taskq_task_delete - task_delete(id); waits, not for long, for who is just
 * retrying or deleting it
 */
Datum
taskq_task_delete(PG_FUNCTION_ARGS)
{
	pg_uuid_t	id = taskq_arg_id(fcinfo, 0);
	TaskqRow	row;
	TaskqAction action = {.verb = "delete",.object = "task",.task = &id,
	.row = &row};

	PreventCommandIfReadOnly("taskq.task_delete()");
	PreventCommandDuringRecovery("taskq.task_delete()");
	taskq_defs_begin();
	(void) lock_final(&id, false, "delete",
					  "Cancel it first, with taskq.task_cancel().", &row);
	check_not_awaited(&id);
	taskq_attempts_delete(&id);
	if (!taskq_row_isnull(&row, unique_key))
		taskq_unique_forget(&id);
	taskq_store_delete(&row);
	action.outcome = psprintf("it was %s",
							  taskq_state_name(taskq_row_state(&row)));
	taskq_action(&action);
	PG_RETURN_VOID();
}

/* ---- workers ---- */

/* Caller holds the main lock exclusively. */
static void
send_away(TaskqSlot *slot, bool force)
{
	slot->leave = true;
	taskq_wake_proc(slot->procno);
	if (force)
	{
		slot->requeue = true;
		kill(slot->pid, SIGTERM);
	}
}

static void
tell_workers(const char *name, bool force, int n)
{
	TaskqAction action = {.verb = name ? "stop" : "restart",
	.object = "worker",.name = name,.force = force,.count = n};

	taskq_defs_begin();
	taskq_action(&action);
}

/*
 * Send away the worker of this name, or (NULL) all of this database; how
 * many.
 */
static int
send_workers_away(const char *name, bool force)
{
	int			n = 0;

	taskq_require_preload();
	PreventCommandIfReadOnly("taskq.worker_stop()");
	PreventCommandDuringRecovery("taskq.worker_stop()");
	LWLockAcquire(taskq_main_lock, LW_EXCLUSIVE);
	for (int i = 0; i < taskq_shared->nslots; i++)
	{
		TaskqSlot  *slot = &taskq_shared->slots[i];

		if (slot->dbid != MyDatabaseId || slot->pid == 0 ||
			slot->state == TASKQ_SLOT_FREE || slot->state == TASKQ_SLOT_ORPHAN)
			continue;
		if (name != NULL && !taskq_worker_is_named(i, name))
			continue;
		send_away(slot, force);
		n++;
	}
	LWLockRelease(taskq_main_lock);
	if (n > 0)
		tell_workers(name, force, n);
	return n;
}

PG_FUNCTION_INFO_V1(taskq_worker_stop);

/*
 * taskq_worker_stop - worker_stop(name, force) returns bool; at once,
 * whatever becomes of the transaction
 */
Datum
taskq_worker_stop(PG_FUNCTION_ARGS)
{
	char	   *name = taskq_arg_name(fcinfo, 0, "name");

	PG_RETURN_BOOL(send_workers_away(name, !PG_ARGISNULL(1) && PG_GETARG_BOOL(1)) > 0);
}

PG_FUNCTION_INFO_V1(taskq_worker_restart);

/* taskq_worker_restart - worker_restart() returns how many were told */
Datum
taskq_worker_restart(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT32(send_workers_away(NULL, false));
}
