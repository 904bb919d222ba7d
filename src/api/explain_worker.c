/*-------------------------------------------------------------------------
 *
 * explain_worker.c
 *		Who could run a task, and why nobody does yet.
 *
 * A worker of this server, or a place for one; or, of a kind without handler,
 * somebody outside who claims it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "api/explain.h"
#include "base/clock.h"
#include "base/guc.h"
#include "base/json.h"
#include "lanes/crew.h"
#include "lanes/outside.h"
#include "miscadmin.h"
#include "store/rights.h"
#include "store/state.h"
#include "utils/jsonb.h"
#include "utils/syscache.h"

/* ---- workers of this server ---- */

/*
 * taskq_explain_reserved - a worker that has set it aside; takes the lock of
 * that one's slot
 */
void
taskq_explain_reserved(TaskqExplain *explain)
{
	TaskqSlot  *slot;
	TaskqOthers others = {0};
	pg_uuid_t	current;
	bool		in_task;
	int			before = 0;
	char	   *worker;

	if (explain->live == NULL || explain->live->running)
		return;
	slot = &taskq_shared->slots[explain->live->slot];
	LWLockAcquire(taskq_slot_lock(explain->live->slot), LW_SHARED);
	in_task = slot->in_task;
	current = slot->task;
	for (int i = slot->next; i < slot->nitems; i++)
	{
		if (taskq_id_eq(&slot->items[i].id, &explain->id))
			break;
		before++;
	}
	LWLockRelease(taskq_slot_lock(explain->live->slot));
	worker = taskq_worker_name(explain->live->slot);
	if (in_task)
		taskq_others_add(&others, &current);
	taskq_reason_begin(explain, "reserved",
					   in_task ? psprintf("Worker %s has set it aside and runs %s now.", worker, taskq_others_name(&others))
					   : psprintf("Worker %s has set it aside and is about to come to it.", worker),
					   in_task ? "If that takes long, others get what the worker has set aside." : NULL);
	taskq_json_text(&explain->json, "worker", worker);
	if (!explain->limited)
		taskq_json_number(&explain->json, "before_it", before);
	taskq_others_put(explain, &others);
	taskq_reason_end(explain);
}

/*
 * taskq_explain_alone - tasks that brought the server down run alone; takes
 * the main lock
 */
void
taskq_explain_alone(TaskqExplain *explain)
{
	TaskqOthers others = {0};
	pg_uuid_t	task;
	bool		busy = false;
	bool		here = false;

	if (taskq_row_isnull(&explain->row, crashes) ||
		DatumGetInt16(taskq_row_value(&explain->row, crashes)) <= 0)
		return;
	LWLockAcquire(taskq_main_lock, LW_SHARED);
	if (taskq_shared->quarantine >= 0)
	{
		TaskqSlot  *slot = &taskq_shared->slots[taskq_shared->quarantine];

		busy = true;
		here = slot->dbid == MyDatabaseId;
		task = slot->task;
	}
	LWLockRelease(taskq_main_lock);
	if (!busy)
		return;
	if (here)
		taskq_others_add(&others, &task);
	taskq_reason_begin(explain, "runs_alone",
					   psprintf("The server crashed while it ran, so it runs alone; %s of that sort is running.", taskq_others_name(&others)),
					   "It starts when that has ended.");
	taskq_others_put(explain, &others);
	taskq_reason_end(explain);
}

/* Who has the places for workers, as far as the caller may see. */
static void
put_workers(TaskqExplain *explain)
{
	TaskqSeenSlot *slots;
	int			nslots = taskq_slots_look(&slots, NULL);
	int			shown = 0;

	if (explain->limited)
		return;
	taskq_json_key(&explain->json, "workers");
	pushJsonbValue(&explain->json, WJB_BEGIN_ARRAY, NULL);
	for (int i = 0; i < nslots; i++)
	{
		TaskqOthers others = {0};

		if (slots[i].dbid != MyDatabaseId ||
			!taskq_role_may_see(slots[i].role))
			continue;
		shown++;
		taskq_json_begin(&explain->json);
		taskq_json_text(&explain->json, "worker",
						taskq_worker_name(slots[i].slotno));
		taskq_json_text(&explain->json, "role",
						GetUserNameFromId(slots[i].role, true));
		if (slots[i].in_task)
			taskq_others_add(&others, &slots[i].task);
		if (others.nshown > 0)
			taskq_json_text(&explain->json, "task",
							taskq_id_text(&others.shown[0]));
		taskq_json_end(&explain->json);
	}
	pushJsonbValue(&explain->json, WJB_END_ARRAY, NULL);
	taskq_json_number(&explain->json, "others", nslots - shown);
}

/* The demand of the task's role, as far as it matters to whether it is met. */
static TaskqCrewNeed
look_at_crew(const TaskqExplain *explain, TaskqCrew *crew, bool *no_process)
{
	TaskqDemand demand = {.role = explain->lane->role_oid};
	TaskqCrewNeed need;

	LWLockAcquire(taskq_main_lock, LW_SHARED);
	for (int i = 0; i < taskq_shared->nlanes; i++)
	{
		const TaskqLane *lane = &taskq_shared->lanes[i];

		if (lane->dbid == MyDatabaseId && lane->role == demand.role &&
			lane->dirty && lane->held == 0)
			taskq_demand_add(&demand, lane, INT_MAX);
	}
	*crew = taskq_crew_count(demand.role, taskq_steady_now());
	need = taskq_crew_need(&demand, crew);
	*no_process = taskq_shared->no_process;
	LWLockRelease(taskq_main_lock);
	return need;
}

static void
explain_connections(TaskqExplain *explain, const TaskqCrew *crew)
{
	const char *what = taskq_crew_connection(explain->lane->role_oid);

	if (what == NULL)
		return;
	taskq_reason_begin(explain, "connection_limit",
					   strcmp(what, "role") == 0
					   ? psprintf("CONNECTION LIMIT of role \"%s\", which the task runs as, is reached: no worker can be started.", NameStr(explain->lane->role_name))
					   : "CONNECTION LIMIT of the database is reached: no worker can be started.",
					   "The limit holds for workers too: end sessions, or raise it.");
	if (explain->sees_role && !explain->limited)
		taskq_json_number(&explain->json, "workers_of_role", crew->of_role);
	taskq_reason_end(explain);
}

static void
explain_places(TaskqExplain *explain, const char *code, char *message,
			   const char *hint)
{
	taskq_reason_begin(explain, code, message, hint);
	taskq_json_number(&explain->json, "max_workers", taskq_max_workers);
	put_workers(explain);
	taskq_reason_end(explain);
}

/* Why the crew of the task's role gets no other worker for it. */
static void
explain_need(TaskqExplain *explain, TaskqCrewNeed need,
			 const TaskqCrew *crew)
{
	char	   *role = pstrdup(NameStr(explain->lane->role_name));

	switch (need)
	{
		case TASKQ_CREW_ROLE_LIMIT:
			explain_places(explain, "role_worker_limit",
						   psprintf("All workers that role \"%s\" may have are busy: taskq.max_workers_per_role is %d.", role, taskq_max_workers_per_role),
						   "It starts when one of them is through.");
			break;
		case TASKQ_CREW_KEPT:
			explain_places(explain, "place_kept",
						   psprintf("Role \"%s\" has all workers but one, and that is kept for other roles.", role),
						   "It starts when one of them is through; taskq.reserve_worker and taskq.max_workers change that.");
			break;
		case TASKQ_CREW_NOT_ITS_TURN:
			explain_places(explain, "not_its_turn",
						   "The next place for a worker is for another role, which has waited longer.",
						   "Raise taskq.max_workers if that is often so.");
			break;
		case TASKQ_CREW_FULL:
			explain_places(explain, "no_worker_slot",
						   !explain->sees_role || explain->limited
						   ? psprintf("All %d places for workers are taken.", taskq_max_workers)
						   : crew->of_role > 0
						   ? psprintf("All %d places for workers are taken, %d of them by role \"%s\".", taskq_max_workers, crew->of_role, role)
						   : psprintf("All %d places for workers are taken, none of them by role \"%s\".", taskq_max_workers, role),
						   "It starts when a worker is through; raise taskq.max_workers if that takes too long.");
			break;
		case TASKQ_CREW_SOON:
			explain_places(explain, "workers_busy",
						   psprintf("The workers of role \"%s\" are at work, and soon through.", role),
						   NULL);
			break;
		default:
			break;
	}
}

/*
 * taskq_explain_worker - is there a worker for it, or a place for one?  Takes
 * the main lock.
 */
void
taskq_explain_worker(TaskqExplain *explain)
{
	TaskqCrew	crew;
	TaskqCrewNeed need;
	bool		no_process;
	char	   *role = pstrdup(NameStr(explain->lane->role_name));

	if (!explain->internal || explain->live != NULL)
		return;
	if (taskq_max_workers == 0)
	{
		taskq_reason(explain, "no_workers", "taskq.max_workers is 0: the server runs no tasks.",
					 "Set taskq.max_workers higher and reload the configuration.");
		return;
	}
	need = look_at_crew(explain, &crew, &no_process);
	/* one of them, or one that leaves for them, is just being called */
	if (need == TASKQ_CREW_IDLE || need == TASKQ_CREW_STARTING ||
		(need == TASKQ_CREW_FULL && crew.idle_other >= 0))
		return;
	explain_connections(explain, &crew);
	if (no_process && crew.of_role == 0)
		explain_places(explain, "no_process",
					   psprintf("The server has no room for another process: role \"%s\" waits for one.", role),
					   "Raise max_worker_processes and restart the server, or wait: those who hold a place take turns.");
	explain_need(explain, need, &crew);
}

/* ---- workers outside ---- */

/* Does it ask for tasks like this one? */
static bool
claims_such(const TaskqExplain *explain, const TaskqOutsider *outsider)
{
	return taskq_outside_online(outsider) &&
		SearchSysCacheExists1(AUTHOID, ObjectIdGetDatum(outsider->role)) &&
		taskq_kind_role_may_work(explain->kind, outsider->role) &&
		taskq_capable(&outsider->queues, NameStr(explain->lane->queue)) &&
		taskq_capable(&outsider->kinds, NameStr(explain->lane->kind));
}

/*
 * taskq_explain_claimers - external workers that claim such tasks, of those
 * that the caller may see, as a member "workers"
 */
void
taskq_explain_claimers(TaskqExplain *explain)
{
	TaskqOutsider *outsiders;
	int			n = taskq_outside_copy(&outsiders);
	int			shown = 0;

	taskq_json_key(&explain->json, "workers");
	pushJsonbValue(&explain->json, WJB_BEGIN_ARRAY, NULL);
	for (int i = 0; i < n && shown < TASKQ_MAX_NAMED && !explain->limited; i++)
	{
		if (!taskq_role_may_see(outsiders[i].role) ||
			!claims_such(explain, &outsiders[i]))
			continue;
		taskq_reason_name(explain, NameStr(outsiders[i].name));
		shown++;
	}
	pushJsonbValue(&explain->json, WJB_END_ARRAY, NULL);
	pfree(outsiders);
}

/*
 * Nobody has claimed it: does anybody claim such tasks?  That nobody does is
 * told to those who see all workers.
 */
static void
explain_claim(TaskqExplain *explain)
{
	const char *kind = NameStr(explain->kind->name);
	const char *queue = NameStr(explain->lane->queue);
	TaskqOutsider *outsiders;
	int			n = taskq_outside_copy(&outsiders);
	bool		any = false;

	for (int i = 0; i < n; i++)
		any |= claims_such(explain, &outsiders[i]);
	pfree(outsiders);
	if (!any && !explain->limited && taskq_role_may_see(InvalidOid))
		taskq_reason_begin(explain, "no_external_worker",
						   psprintf("Kind \"%s\" has no handler, and no external worker asks for its tasks in queue \"%s\".", kind, queue),
						   "Start one that calls taskq.task_claim() for them; taskq.kind_grant(kind, role, 'work') lets a role work on the kind, kind_define() with a handler lets the server run it.");
	else
		taskq_reason_begin(explain, "waits_for_claim",
						   psprintf("Kind \"%s\" has no handler: the task waits for an external worker that calls taskq.task_claim() for it and queue \"%s\".", kind, queue),
						   "It starts when one of them comes to it.");
	taskq_explain_claimers(explain);
	taskq_reason_end(explain);
}

/*
 * taskq_explain_external - a task of a kind without handler: who claims it?
 */
void
taskq_explain_external(TaskqExplain *explain)
{
	const TaskqKind *kind = explain->kind;

	if (explain->internal)
		return;
	if (kind->owner_id != explain->lane->kind_owner)
	{
		taskq_reason(explain, "kind_of_another",
					 psprintf("Kind \"%s\" belongs to another role than when the task was submitted: nobody may claim it.", NameStr(kind->name)),
					 "Cancel it, and submit it again.");
		return;
	}
	explain_claim(explain);
}
