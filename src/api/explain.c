/*-------------------------------------------------------------------------
 *
 * explain.c
 *		Why does this task not run?
 *
 * A walk through what a task has to pass until it runs, in that order: its
 * state, the server, pauses, its role, its kind, limits, its key, its row's
 * lock, a worker, those before it.  Each is asked of the same function that
 * decides it when tasks are claimed (lanes/claim.h, place.h, keys.h, crew.h,
 * store/rights.h), so what is said here is what is done there.  All that is
 * in the way is told, and the first of it is the answer.
 *
 * Of other tasks, and of other roles' sessions, only that is told which the
 * caller could see anyhow; who acts for one tenant is not told how many
 * others there are.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "api/estimate.h"
#include "api/explain.h"
#include "api/task.h"
#include "base/json.h"
#include "fmgr.h"
#include "lanes/claim.h"
#include "lanes/crew.h"
#include "lanes/position.h"
#include "miscadmin.h"
#include "store/pauses.h"
#include "store/rights.h"
#include "store/state.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/resowner.h"
#include "utils/timestamp.h"

/* ---- the server ---- */

static void
explain_server(TaskqExplain *explain)
{
	const TaskqProblem *problem = taskq_server_problem();

	if (problem != NULL)
		taskq_reason(explain, problem->code, pstrdup(problem->message),
					 problem->hint);
}

/* Who paused it is told to those whom the views tell. */
static void
explain_pause(TaskqExplain *explain)
{
	const TaskqLaneDef *lane = explain->lane;
	char		scope = taskq_lane_pause(lane);
	const char *name = scope == TASKQ_PAUSE_QUEUE ? NameStr(lane->queue) :
	scope == TASKQ_PAUSE_KIND ? NameStr(lane->kind) : "";
	TaskqPause	pause;
	StringInfoData message;

	if (scope == TASKQ_PAUSE_NONE || !taskq_pause_read(scope, name, &pause))
		return;
	initStringInfo(&message);
	if (scope == TASKQ_PAUSE_ALL)
		appendStringInfoString(&message, "Everything in this database is paused");
	else
		appendStringInfo(&message, "%s \"%s\" is paused",
						 scope == TASKQ_PAUSE_QUEUE ? "Queue" : "Kind", name);
	appendStringInfo(&message, ", since %s", taskq_moment_text(pause.since));
	if (!explain->limited && NameStr(pause.role)[0] != '\0')
		appendStringInfo(&message, ", by role \"%s\"", NameStr(pause.role));
	if (!explain->limited && pause.reason != NULL)
		appendStringInfo(&message, ": %s", pause.reason);
	else
		appendStringInfoChar(&message, '.');
	taskq_reason_begin(explain,
					   scope == TASKQ_PAUSE_ALL ? "paused" :
					   scope == TASKQ_PAUSE_QUEUE ? "queue_paused" : "kind_paused",
					   message.data,
					   scope == TASKQ_PAUSE_ALL ? "taskq.resume() lets tasks run again." :
					   scope == TASKQ_PAUSE_QUEUE ? "taskq.queue_resume() lets its tasks run again."
					   : "taskq.kind_resume() lets its tasks run again.");
	taskq_reason_time(explain, "since", pause.since);
	if (!explain->limited && NameStr(pause.role)[0] != '\0')
		taskq_json_text(&explain->json, "by", pstrdup(NameStr(pause.role)));
	if (!explain->limited)
		taskq_json_text(&explain->json, "reason", pause.reason);
	taskq_reason_end(explain);
}

static void
explain_shut(TaskqExplain *explain)
{
	switch (taskq_lane_shut(explain->lane))
	{
		case TASKQ_LANE_OPEN:
			break;
		case TASKQ_LANE_FOREIGN:
			taskq_reason(explain, "foreign", "It was submitted in another server or database, of which this is a copy: it is left alone here.",
						 "taskq.resume() lets the tasks of a copy run here.");
			break;
		case TASKQ_LANE_START_PAUSED:
			taskq_reason(explain, "start_paused", "The server was started with taskq.start_paused.",
						 "taskq.resume() lets the tasks of this database run.");
			break;
		case TASKQ_LANE_PAUSED:
			explain_pause(explain);
			break;
	}
}

/* ---- its role and kind ---- */

static void
explain_role(TaskqExplain *explain)
{
	const TaskqProblem *problem = explain->lane->foreign ? NULL :
	taskq_lane_role_problem(explain->lane);

	if (problem == NULL)
		return;
	taskq_reason_begin(explain, problem->code,
					   psprintf("It fails when its turn comes: %s.", problem->message),
					   problem->hint);
	taskq_json_text(&explain->json, "role",
					pstrdup(NameStr(explain->lane->role_name)));
	taskq_reason_end(explain);
}

static void
check_run(const TaskqExplain *explain)
{
	Oid			function;

	taskq_task_check_run(explain->kind, explain->lane,
						 unconstify(TaskqRow *, &explain->row));
	function = taskq_handler_require(explain->kind->handler);
	taskq_handler_check_execute(explain->kind->handler, function,
								explain->lane->role_oid);
}

/* What would its worker raise before it calls the handler?  NULL: nothing. */
static ErrorData *
try_run(const TaskqExplain *explain)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	ErrorData  *volatile error = NULL;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		check_run(explain);
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;
	return error;
}

static void
explain_run(TaskqExplain *explain)
{
	ErrorData  *error;

	if (!explain->internal || explain->lane->foreign ||
		strcmp(NameStr(explain->lane->kind), TASKQ_SQL_KIND) == 0 ||
		!OidIsValid(explain->lane->role_oid))
		return;
	error = try_run(explain);
	if (error == NULL)
		return;
	if (error->sqlerrcode == ERRCODE_QUERY_CANCELED ||
		error->sqlerrcode == ERRCODE_ADMIN_SHUTDOWN)
		ReThrowError(error);
	taskq_reason_begin(explain, "will_fail",
					   psprintf("It fails when its turn comes: %s.", error->message),
					   error->hint);
	taskq_json_text(&explain->json, "sqlstate",
					pstrdup(unpack_sql_state(error->sqlerrcode)));
	taskq_json_text(&explain->json, "detail", error->detail);
	taskq_reason_end(explain);
}

/* ---- its row ---- */

static void
explain_lock(TaskqExplain *explain)
{
	TaskqLocker locker;
	char	   *who;

	if (explain->live != NULL || !taskq_store_locker(&explain->id, &locker))
		return;
	if (explain->limited)
		who = "another session";
	else if (locker.pid != 0)
		who = psprintf("the session with process id %d", locker.pid);
	else
		who = psprintf("prepared transaction %u", locker.xid);
	taskq_reason_begin(explain, "row_locked",
					   psprintf("Its row is locked by %s.", who),
					   explain->limited ? NULL :
					   locker.pid != 0 ? "It may start when that transaction ends: look at pg_stat_activity."
					   : "It may start when that transaction ends: look at pg_prepared_xacts, and COMMIT or ROLLBACK PREPARED.");
	if (!explain->limited && locker.pid != 0)
		taskq_json_number(&explain->json, "pid", locker.pid);
	if (!explain->limited)
		taskq_json_number(&explain->json, "transaction", locker.xid);
	taskq_reason_end(explain);
}

/* ---- those before it ---- */

/* Of those that its role's workers run first; or of its queue, if that rests. */
static void
look_ahead(const TaskqExplain *explain, TaskqAhead *ahead)
{
	const TaskqLaneDef *lane = explain->lane;
	bool		of_role = taskq_lane_runnable(lane->id, lane->role_oid);
	TaskqDue	place;

	taskq_front_place_of(unconstify(TaskqRow *, &explain->row), &place);
	taskq_front_ahead(of_role ? taskq_front_of_role(lane, TASKQ_FRONT_DEEP)
					  : taskq_front_of_queue(lane, TASKQ_FRONT_DEEP),
					  &place, ahead);
}

static void
explain_ahead(TaskqExplain *explain)
{
	TaskqAhead	ahead;
	char	   *whose;
	char	   *message;

	if (explain->limited || !explain->sees_role || explain->live != NULL)
		return;
	look_ahead(explain, &ahead);
	if (ahead.n == 0)
		return;
	whose = ahead.n == ahead.of_queue
		? psprintf("of queue \"%s\"", NameStr(explain->lane->queue))
		: psprintf("of role \"%s\"", NameStr(explain->lane->role_name));
	message = psprintf("%s" INT64_FORMAT " task%s %s %s before it%s.",
					   ahead.exact ? "" : "About ", ahead.n,
					   ahead.n == 1 ? "" : "s", whose,
					   ahead.n == 1 ? "is" : "are",
					   ahead.turns ? ", and tenants take turns" : "");
	taskq_reason_begin(explain, "ahead", message,
					   "taskq.task_set_priority() lets it pass them.");
	taskq_json_number(&explain->json, "ahead", ahead.n);
	taskq_json_number(&explain->json, "of_queue", ahead.of_queue);
	if (ahead.exact)
		taskq_json_true(&explain->json, "exact");
	taskq_reason_end(explain);
}

/* ---- the states ---- */

/* What keeps it from running when it is not its state. */
static void
explain_waiting(TaskqExplain *explain, bool now)
{
	explain_server(explain);
	explain_shut(explain);
	explain_role(explain);
	explain_run(explain);
	if (!now)
		return;
	taskq_explain_reserved(explain);
	taskq_explain_room(explain);
	taskq_explain_key(explain);
	explain_lock(explain);
	taskq_explain_alone(explain);
	taskq_explain_worker(explain);
	taskq_explain_external(explain);
	explain_ahead(explain);
	if (explain->answer == NULL)
		taskq_reason(explain, "starting", "Nothing is in its way: it is about to be started.",
					 NULL);
}

static void
explain_state(TaskqExplain *explain)
{
	char		state = taskq_row_state(&explain->row);

	if (explain->live != NULL && explain->live->running)
		taskq_explain_running(explain);
	else if (taskq_state_final(state))
		taskq_explain_final(explain);
	else if (state == TASKQ_LEASED)
		taskq_explain_leased(explain);
	else
	{
		bool		now = state == TASKQ_PENDING || state == TASKQ_RUNNING;

		if (state == TASKQ_SCHEDULED || state == TASKQ_RETRYING)
			taskq_explain_scheduled(explain);
		else if (state == TASKQ_BLOCKED)
			taskq_explain_blocked(explain);
		explain_waiting(explain, now);
	}
}

static void
load(TaskqExplain *explain, const pg_uuid_t *id)
{
	static TaskqLive live;

	memset(explain, 0, sizeof(*explain));
	explain->id = *id;
	taskq_task_require(id, &explain->row);
	explain->lane =
		taskq_lane_get(DatumGetInt32(taskq_row_value(&explain->row, lane)));
	explain->kind = taskq_kind_get(NameStr(explain->lane->kind));
	explain->internal = taskq_kind_internal(explain->kind);
	explain->limited = taskq_tenant_is_limited();
	explain->sees_role = taskq_role_may_see(explain->lane->role_oid);
	if (taskq_task_held(&explain->row, &live))
		explain->live = &live;
}

/* ---- how long, and who could ---- */

static void
put_span(TaskqExplain *explain, const char *key, int64 us)
{
	Interval	interval = {.time = us};

	taskq_json_text(&explain->json, key,
					DatumGetCString(DirectFunctionCall1(interval_out,
														IntervalPGetDatum(&interval))));
}

static void
put_estimate(TaskqExplain *explain)
{
	TaskqEstimate estimate;

	taskq_estimate_task(explain->lane, &explain->row, explain->live,
						&estimate);
	taskq_json_key(&explain->json, "estimate");
	taskq_json_begin(&explain->json);
	if (estimate.position > 0)
		taskq_json_number(&explain->json, "queue_position",
						  estimate.position);
	if (estimate.position > 0 && estimate.exact)
		taskq_json_true(&explain->json, "position_exact");
	if (estimate.start != 0)
		taskq_reason_time(explain, "estimated_start", estimate.start);
	if (estimate.duration_us > 0)
		put_span(explain, "estimated_duration", estimate.duration_us);
	if (estimate.completion != 0)
	{
		taskq_reason_time(explain, "estimated_completion", estimate.completion);
		put_span(explain, "remaining",
				 Max(estimate.completion - GetCurrentTimestamp(), 0));
	}
	taskq_json_text(&explain->json, "confidence",
					taskq_sure_name(estimate.sure));
	taskq_json_text(&explain->json, "basis", estimate.basis);
	taskq_json_end(&explain->json);
}

/* Workers of the task's role, which are there now, for whom the views show. */
static void
put_capable_workers(TaskqExplain *explain)
{
	TaskqSeenSlot *slots;
	int			nslots = taskq_slots_look(&slots, NULL);

	taskq_json_text(&explain->json, "role",
					pstrdup(NameStr(explain->lane->role_name)));
	if (explain->limited || !explain->sees_role)
		return;
	taskq_json_key(&explain->json, "workers");
	pushJsonbValue(&explain->json, WJB_BEGIN_ARRAY, NULL);
	for (int i = 0; i < nslots; i++)
	{
		if (slots[i].dbid == MyDatabaseId &&
			slots[i].role == explain->lane->role_oid)
			taskq_reason_name(explain, taskq_worker_name(slots[i].slotno));
	}
	pushJsonbValue(&explain->json, WJB_END_ARRAY, NULL);
}

/* Roles that may claim it, for whom view kind shows. */
static void
put_capable_roles(TaskqExplain *explain)
{
	const TaskqKind *kind = explain->kind;
	ListCell   *lc;

	if (explain->limited || !(taskq_kind_owned(kind) ||
							  taskq_kind_may_work(kind) ||
							  taskq_role_may_see(kind->owner_oid)))
		return;
	taskq_json_key(&explain->json, "roles");
	pushJsonbValue(&explain->json, WJB_BEGIN_ARRAY, NULL);
	taskq_reason_name(explain, NameStr(kind->owner));
	foreach(lc, kind->grants)
	{
		const TaskqKindGrant *grant = lfirst(lc);
		char	   *name = OidIsValid(grant->role)
		? GetUserNameFromId(grant->role, true)
		: NULL;

		if (name != NULL && grant->privilege != TASKQ_GRANT_SUBMIT)
			taskq_reason_name(explain, name);
	}
	pushJsonbValue(&explain->json, WJB_END_ARRAY, NULL);
}

/* Who could run it. */
static void
put_required_worker(TaskqExplain *explain)
{
	taskq_json_key(&explain->json, "required_worker");
	taskq_json_begin(&explain->json);
	taskq_json_text(&explain->json, "type",
					explain->internal ? "internal" : "external");
	taskq_json_text(&explain->json, "kind",
					pstrdup(NameStr(explain->lane->kind)));
	taskq_json_text(&explain->json, "queue",
					pstrdup(NameStr(explain->lane->queue)));
	if (explain->internal)
		put_capable_workers(explain);
	else
	{
		put_capable_roles(explain);
		taskq_explain_claimers(explain);
	}
	taskq_json_end(&explain->json);
}

PG_FUNCTION_INFO_V1(taskq_task_explain);

/*
 * taskq_task_explain - task_explain(id) returns jsonb: why the task does not
 * run, or what else is up with it
 *
 * Raises PT404.
 */
Datum
taskq_task_explain(PG_FUNCTION_ARGS)
{
	pg_uuid_t	id = taskq_arg_id(fcinfo, 0);
	TaskqExplain *explain = palloc(sizeof(TaskqExplain));

	taskq_require_preload();
	taskq_defs_begin();
	load(explain, &id);
	taskq_json_begin(&explain->json);
	taskq_json_text(&explain->json, "task_id", taskq_id_text(&id));
	taskq_json_text(&explain->json, "state",
					taskq_task_state(&explain->row, explain->live));
	taskq_json_text(&explain->json, "kind",
					pstrdup(NameStr(explain->lane->kind)));
	taskq_json_text(&explain->json, "queue",
					pstrdup(NameStr(explain->lane->queue)));
	taskq_json_key(&explain->json, "reasons");
	pushJsonbValue(&explain->json, WJB_BEGIN_ARRAY, NULL);
	explain_state(explain);
	pushJsonbValue(&explain->json, WJB_END_ARRAY, NULL);
	taskq_json_text(&explain->json, "answer", explain->answer);
	if (!taskq_state_final(taskq_row_state(&explain->row)))
	{
		put_estimate(explain);
		put_required_worker(explain);
	}
	PG_RETURN_DATUM(taskq_json_end(&explain->json));
}
