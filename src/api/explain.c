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

#include <math.h>

#include "access/xact.h"
#include "access/xlog.h"
#include "api/dependencies.h"
#include "api/estimate.h"
#include "api/task.h"
#include "base/clock.h"
#include "base/guc.h"
#include "base/json.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "lanes/claim.h"
#include "lanes/crew.h"
#include "lanes/keys.h"
#include "lanes/lane.h"
#include "lanes/leasekeys.h"
#include "lanes/outside.h"
#include "lanes/place.h"
#include "lanes/position.h"
#include "lanes/turn.h"
#include "miscadmin.h"
#include "store/dependencies.h"
#include "store/keyed.h"
#include "store/leases.h"
#include "store/pauses.h"
#include "store/rights.h"
#include "store/state.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/fmgrprotos.h"
#include "utils/json.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

#define MAX_NAMED 10			/* other tasks or workers in a reason */
#define MAX_LOOKED 1000			/* leases that are looked at to find them */

/* What is being explained, and what has been found. */
typedef struct Explain
{
	pg_uuid_t	id;
	TaskqRow	row;
	const TaskqLaneDef *lane;
	const TaskqKind *kind;		/* or NULL */
	bool		internal;		/* it is for workers of this server */
	bool		sees_role;		/* the caller sees all tasks of its role */
	bool		limited;		/* the caller acts for one tenant */
	TaskqLive  *live;			/* or NULL: no worker has it */
	JsonbParseState *json;
	char	   *answer;			/* or NULL: no reason yet */
} Explain;

/* ---- telling ---- */

/*
 * Begin a reason.  Members of its details follow, and end_reason().  hint may
 * be NULL.
 */
static void
begin_reason(Explain *explain, const char *code, char *message,
			 const char *hint)
{
	if (explain->answer == NULL)
		explain->answer = message;
	taskq_json_begin(&explain->json);
	taskq_json_text(&explain->json, "code", code);
	taskq_json_text(&explain->json, "message", message);
	taskq_json_text(&explain->json, "hint", hint);
	taskq_json_key(&explain->json, "details");
	taskq_json_begin(&explain->json);
}

static void
end_reason(Explain *explain)
{
	taskq_json_end(&explain->json);
	taskq_json_end(&explain->json);
}

static void
reason(Explain *explain, const char *code, char *message, const char *hint)
{
	begin_reason(explain, code, message, hint);
	end_reason(explain);
}

static void
put_time(Explain *explain, const char *key, TimestampTz at)
{
	char text[	MAXDATELEN + 1];

	JsonEncodeDateTime(text, TimestampTzGetDatum(at), TIMESTAMPTZOID, NULL);
	taskq_json_text(&explain->json, key, pstrdup(text));
}

static void
put_name(Explain *explain, const char *name)
{
	JsonbValue	value = {.type = jbvString};

	value.val.string.val = pstrdup(name);
	value.val.string.len = strlen(name);
	pushJsonbValue(&explain->json, WJB_ELEM, &value);
}

/* How long it is till then, or since then, in words. */
static char *
span(TimestampTz from, TimestampTz to)
{
	int64		s = (to - from) / USECS_PER_SEC;

	if (s < 60)
		return psprintf(INT64_FORMAT " s", Max(s, 0));
	if (s < 3600)
		return psprintf(INT64_FORMAT " min %d s", s / 60, (int) (s % 60));
	if (s < 2 * 86400)
		return psprintf(INT64_FORMAT " h %d min", s / 3600,
						(int) (s / 60 % 60));
	return psprintf(INT64_FORMAT " days", s / 86400);
}

/* The words for a moment; the buffer of timestamptz_to_str is used again. */
static char *
moment(TimestampTz at)
{
	return pstrdup(timestamptz_to_str(at));
}

/* ---- other tasks ---- */

/* Tasks that are in the way, as far as the caller may see them. */
typedef struct Others
{
	int			n;				/* how many there are */
	int			nshown;
	pg_uuid_t	shown[MAX_NAMED];
} Others;

static void
add_other(Others *others, const pg_uuid_t *id)
{
	TaskqRow	row;
	const TaskqLaneDef *lane;

	for (int i = 0; i < others->nshown; i++)
	{
		if (taskq_id_eq(&others->shown[i], id))
			return;
	}
	others->n++;
	if (others->nshown == MAX_NAMED || !taskq_store_find(id, &row))
		return;
	lane = taskq_lane_get(DatumGetInt32(taskq_row_value(&row, lane)));
	if (lane != NULL && taskq_row_may_see(lane, &row))
		others->shown[others->nshown++] = *id;
}

static void
put_others(Explain *explain, const Others *others)
{
	taskq_json_key(&explain->json, "tasks");
	pushJsonbValue(&explain->json, WJB_BEGIN_ARRAY, NULL);
	for (int i = 0; i < others->nshown; i++)
	{
		JsonbValue	value = {.type = jbvString};

		value.val.string.val = taskq_id_text(&others->shown[i]);
		value.val.string.len = strlen(value.val.string.val);
		pushJsonbValue(&explain->json, WJB_ELEM, &value);
	}
	pushJsonbValue(&explain->json, WJB_END_ARRAY, NULL);
}

/* "task ...", "task ... and others", "another task" */
static char *
name_others(const Others *others)
{
	if (others->nshown == 0)
		return others->n > 1 ? "other tasks" : "another task";
	return psprintf("task %s%s", taskq_id_text(&others->shown[0]),
					others->n > 1 ? " and others" : "");
}

/* What the slots say, copied out of shared memory. */
typedef struct SeenSlot
{
	int			slotno;
	TaskqSlotState state;
	Oid			dbid;
	Oid			role;
	pid_t		pid;
	bool		placed;
	TaskqPlace	place;
	bool		in_task;
	pg_uuid_t	task;
	bool		has_key;		/* that is asked for */
} SeenSlot;

/* A slot's lock is held. */
static bool
slot_has_key(const TaskqSlot *slot, int64 key, pg_uuid_t *task)
{
	for (int i = 0; i < slot->nkeys; i++)
	{
		const TaskqSlotKey *held = &slot->keys[i];

		for (int j = held->first; held->key == key && j < held->end; j++)
		{
			if (j >= slot->nitems || slot->outcome[j] != TASKQ_UNDONE)
				continue;
			*task = slot->items[j].id;
			return true;
		}
	}
	return false;
}

/* key: or NULL; then the task is that of a key's holder. */
static int
look_at_slots(SeenSlot **seen, const TaskqKey *key)
{
	int			n = 0;

	*seen = palloc0(sizeof(SeenSlot) * TASKQ_MAX_WORKERS);
	LWLockAcquire(taskq_main_lock, LW_SHARED);
	for (int i = 0; i < taskq_shared->nslots; i++)
	{
		TaskqSlot  *slot = &taskq_shared->slots[i];
		SeenSlot   *to = &(*seen)[n];

		if (slot->state == TASKQ_SLOT_FREE)
			continue;
		n++;
		LWLockAcquire(taskq_slot_lock(i), LW_SHARED);
		to->slotno = i;
		to->state = slot->state;
		to->dbid = slot->dbid;
		to->role = slot->role;
		to->pid = slot->pid;
		to->placed = slot->placed;
		to->place = slot->place;
		to->in_task = slot->in_task;
		to->task = slot->task;
		if (key != NULL && slot->dbid == key->dbid && slot->role == key->role)
			to->has_key = slot_has_key(slot, key->number, &to->task);
		LWLockRelease(taskq_slot_lock(i));
	}
	LWLockRelease(taskq_main_lock);
	return n;
}

/* ---- what a limit is of ---- */

static bool
same_place(const NameData *queue, const NameData *kind, int32 kind_owner,
		   const TaskqLaneDef *lane, int what)
{
	if (what & (TASKQ_QUEUE_ROOM | TASKQ_QUEUE_TOKENS))
		return strcmp(NameStr(*queue), NameStr(lane->queue)) == 0;
	if (what & (TASKQ_KIND_ROOM | TASKQ_KIND_TOKENS))
		return strcmp(NameStr(*kind), NameStr(lane->kind)) == 0 &&
			kind_owner == lane->kind_owner;
	return true;
}

/* Tasks that have the places of a queue, of a kind, or of all. */
static void
find_placed(const TaskqLaneDef *lane, int what, Others *others)
{
	SeenSlot   *slots;
	int			nslots = look_at_slots(&slots, NULL);
	List	   *leases = taskq_lease_ids();
	ListCell   *lc;
	int			looked = 0;

	for (int i = 0; i < nslots; i++)
	{
		if (slots[i].dbid == MyDatabaseId && slots[i].placed &&
			slots[i].in_task &&
			same_place(&slots[i].place.queue, &slots[i].place.kind,
					   slots[i].place.kind_owner, lane, what))
			add_other(others, &slots[i].task);
	}
	foreach(lc, leases)
	{
		TaskqRow	row;
		const TaskqLaneDef *other;

		if (looked++ == MAX_LOOKED || others->nshown == MAX_NAMED)
			break;
		if (!taskq_store_find(lfirst(lc), &row))
			continue;
		other = taskq_lane_get(DatumGetInt32(taskq_row_value(&row, lane)));
		if (other != NULL &&
			same_place(&other->queue, &other->kind, other->kind_owner, lane,
					   what))
			add_other(others, lfirst(lc));
	}
}

static void
explain_limit(Explain *explain, int what, int max, int taken)
{
	const TaskqLaneDef *lane = explain->lane;
	Others		others = {0};
	const char *code = "limit";
	char	   *message;
	const char *hint;

	find_placed(lane, what, &others);
	if (what == TASKQ_QUEUE_ROOM)
	{
		code = "queue_limit";
		message = psprintf("Queue \"%s\" runs as many tasks as it may: max_running is %d.", NameStr(lane->queue), max);
		hint = "It starts when one of them ends; taskq.queue_define() with another max_running changes the limit.";
	}
	else if (what == TASKQ_KIND_ROOM)
	{
		code = "kind_limit";
		message = psprintf("As many tasks of kind \"%s\" run as may: max_running is %d.", NameStr(lane->kind), max);
		hint = "It starts when one of them ends; taskq.kind_define() with another max_running changes the limit.";
	}
	else
	{
		code = "database_limit";
		message = psprintf("As many tasks run in this database as may: taskq.max_running is %d.", max);
		hint = "It starts when one of them ends; taskq.max_running changes the limit.";
	}
	begin_reason(explain, code, message, hint);
	taskq_json_number(&explain->json, "limit", max);
	if (!explain->limited)
		taskq_json_number(&explain->json, "running", taken);
	put_others(explain, &others);
	end_reason(explain);
}

static void
explain_rate(Explain *explain, bool queue, const TaskqLimit *limit,
			 TimestampTz until)
{
	const TaskqLaneDef *lane = explain->lane;
	TimestampTz at = GetCurrentTimestamp() +
	Max(until - taskq_steady_now(), 0);

	begin_reason(explain, queue ? "queue_rate" : "kind_rate",
				 queue
				 ? psprintf("Queue \"%s\" has started as many tasks as it may for now: rate is %d in %g s.", NameStr(lane->queue), limit->rate, limit->rate_us / 1e6)
				 : psprintf("As many tasks of kind \"%s\" were started as may be for now: rate is %d in %g s.", NameStr(lane->kind), limit->rate, limit->rate_us / 1e6),
				 queue
				 ? "taskq.queue_define() with another rate changes that."
				 : "taskq.kind_define() with another rate changes that.");
	taskq_json_number(&explain->json, "rate", limit->rate);
	put_time(explain, "not_before", at);
	end_reason(explain);
}

/*
 * The room that a claim would find.  An entry of the lane's is made up where
 * shared memory has none now.
 */
static void
look_at_room(const Explain *explain, const TaskqLimits *limits,
			 TaskqRoom *room)
{
	TaskqLane	made_up = {.dbid = MyDatabaseId,.id = explain->lane->id,
		.role = explain->lane->role_oid,.priority = explain->lane->priority,
	.head = explain->id,.leaves = TASKQ_ALL_LEAVES};
	bool		known = false;

	for (int i = 0; i < 10 && !known; i++)
	{
		TaskqLane  *lane;

		if (i > 0)
			taskq_defs_begin();
		if (!RecoveryInProgress())
			taskq_place_prepare(limits);
		LWLockAcquire(taskq_main_lock, LW_EXCLUSIVE);
		lane = taskq_lane_find(MyDatabaseId, explain->lane->id);
		known = taskq_place_look(lane ? lane : &made_up, limits,
								 explain->internal, room);
		LWLockRelease(taskq_main_lock);
	}
}

static void
explain_room(Explain *explain)
{
	TaskqLimits limits;
	TaskqRoom	room;

	taskq_limits_of(explain->lane, &limits);
	look_at_room(explain, &limits, &room);
	if (room.kept)
	{
		reason(explain, "called",
			   "Others that have waited longer are just being called to the place that is free.",
			   NULL);
		return;
	}
	if (room.missing & TASKQ_QUEUE_ROOM)
		explain_limit(explain, TASKQ_QUEUE_ROOM, limits.queue.max_running,
					  room.in_queue);
	if (room.missing & TASKQ_KIND_ROOM)
		explain_limit(explain, TASKQ_KIND_ROOM, limits.kind.max_running,
					  room.in_kind);
	if (room.missing & TASKQ_ALL_ROOM)
		explain_limit(explain, TASKQ_ALL_ROOM, taskq_shared->max_running,
					  room.in_all);
	if (room.missing & TASKQ_QUEUE_TOKENS)
		explain_rate(explain, true, &limits.queue, room.until);
	if (room.missing & TASKQ_KIND_TOKENS)
		explain_rate(explain, false, &limits.kind, room.until);
	if (room.missing & TASKQ_WORKERS)
		reason(explain, "places_reserved",
			   "The places for workers that are left are reserved for other queues.",
			   "taskq.queue_define() with another reserved changes that, or a higher taskq.max_workers.");
}

/* ---- its key ---- */

static void
find_key_holders(const Explain *explain, const TaskqKey *key, Others *others)
{
	SeenSlot   *slots;
	int			nslots = look_at_slots(&slots, key);
	List	   *leases = taskq_lease_ids();
	ListCell   *lc;
	int			looked = 0;

	for (int i = 0; i < nslots; i++)
	{
		if (slots[i].has_key)
			add_other(others, &slots[i].task);
	}
	foreach(lc, leases)
	{
		TaskqRow	row;
		const TaskqLaneDef *lane;

		if (looked++ == MAX_LOOKED)
			break;
		if (!taskq_store_find(lfirst(lc), &row) ||
			taskq_row_isnull(&row, concurrency_key) ||
			taskq_key_hash(&row) != key->number)
			continue;
		lane = taskq_lane_get(DatumGetInt32(taskq_row_value(&row, lane)));
		if (lane != NULL && lane->role_oid == key->role)
			add_other(others, lfirst(lc));
	}
}

static void
explain_key(Explain *explain)
{
	TaskqKey	key = {.dbid = MyDatabaseId,.role = explain->lane->role_oid};
	TaskqKeyLimit limit;
	TaskqKeyHolders holders;
	Others		others = {0};
	bool		is_free;

	if (!taskq_lane_keyed(explain->lane->id))
		return;
	key.number = taskq_key_hash(&explain->row);
	limit = taskq_lane_key_limit(explain->lane);
	LWLockAcquire(taskq_main_lock, LW_SHARED);
	is_free = taskq_key_look(&key, limit, &holders);
	LWLockRelease(taskq_main_lock);
	if (is_free)
		return;
	if (holders.held < holders.limit)
	{
		reason(explain, "key_rests",
			   "The first task of its concurrency key was locked by another session when its turn came; the key is looked at again in a moment.",
			   NULL);
		return;
	}
	find_key_holders(explain, &key, &others);
	begin_reason(explain, "key_busy",
				 psprintf("Its concurrency key is in use by %s.", name_others(&others)),
				 "It starts when that has ended; kind_define(max_running_per_key => ...) lets more of a key run at a time.");
	taskq_json_number(&explain->json, "limit", holders.limit);
	put_others(explain, &others);
	end_reason(explain);
}

/* ---- its row ---- */

static void
explain_lock(Explain *explain)
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
	begin_reason(explain, "row_locked",
				 psprintf("Its row is locked by %s.", who),
				 explain->limited ? NULL :
				 locker.pid != 0 ? "It may start when that transaction ends: look at pg_stat_activity."
				 : "It may start when that transaction ends: look at pg_prepared_xacts, and COMMIT or ROLLBACK PREPARED.");
	if (!explain->limited && locker.pid != 0)
		taskq_json_number(&explain->json, "pid", locker.pid);
	if (!explain->limited)
		taskq_json_number(&explain->json, "transaction", locker.xid);
	end_reason(explain);
}

/* ---- the server ---- */

static void
explain_server(Explain *explain)
{
	const TaskqProblem *problem = taskq_server_problem();

	if (problem != NULL)
		reason(explain, problem->code, pstrdup(problem->message),
			   problem->hint);
}

/* Who paused it is told to those whom the views tell. */
static void
explain_pause(Explain *explain)
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
	appendStringInfo(&message, ", since %s", moment(pause.since));
	if (!explain->limited && NameStr(pause.role)[0] != '\0')
		appendStringInfo(&message, ", by role \"%s\"", NameStr(pause.role));
	if (!explain->limited && pause.reason != NULL)
		appendStringInfo(&message, ": %s", pause.reason);
	else
		appendStringInfoChar(&message, '.');
	begin_reason(explain,
				 scope == TASKQ_PAUSE_ALL ? "paused" :
				 scope == TASKQ_PAUSE_QUEUE ? "queue_paused" : "kind_paused",
				 message.data,
				 scope == TASKQ_PAUSE_ALL ? "taskq.resume() lets tasks run again." :
				 scope == TASKQ_PAUSE_QUEUE ? "taskq.queue_resume() lets its tasks run again."
				 : "taskq.kind_resume() lets its tasks run again.");
	put_time(explain, "since", pause.since);
	if (!explain->limited && NameStr(pause.role)[0] != '\0')
		taskq_json_text(&explain->json, "by", pstrdup(NameStr(pause.role)));
	if (!explain->limited)
		taskq_json_text(&explain->json, "reason", pause.reason);
	end_reason(explain);
}

static void
explain_shut(Explain *explain)
{
	switch (taskq_lane_shut(explain->lane))
	{
		case TASKQ_LANE_OPEN:
			break;
		case TASKQ_LANE_FOREIGN:
			reason(explain, "foreign", "It was submitted in another server or database, of which this is a copy: it is left alone here.",
				   "taskq.resume() lets the tasks of a copy run here.");
			break;
		case TASKQ_LANE_START_PAUSED:
			reason(explain, "start_paused", "The server was started with taskq.start_paused.",
				   "taskq.resume() lets the tasks of this database run.");
			break;
		case TASKQ_LANE_PAUSED:
			explain_pause(explain);
			break;
	}
}

/* ---- its role and kind ---- */

static void
explain_role(Explain *explain)
{
	const TaskqProblem *problem = explain->lane->foreign ? NULL :
	taskq_lane_role_problem(explain->lane);

	if (problem == NULL)
		return;
	begin_reason(explain, problem->code,
				 psprintf("It fails when its turn comes: %s.", problem->message),
				 problem->hint);
	taskq_json_text(&explain->json, "role",
					pstrdup(NameStr(explain->lane->role_name)));
	end_reason(explain);
}

static void
check_run(const Explain *explain)
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
try_run(const Explain *explain)
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
explain_run(Explain *explain)
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
	begin_reason(explain, "will_fail",
				 psprintf("It fails when its turn comes: %s.", error->message),
				 error->hint);
	taskq_json_text(&explain->json, "sqlstate",
					pstrdup(unpack_sql_state(error->sqlerrcode)));
	taskq_json_text(&explain->json, "detail", error->detail);
	end_reason(explain);
}

/* Does it ask for tasks like this one? */
static bool
claims_such(const Explain *explain, const TaskqOutsider *outsider)
{
	return taskq_outside_online(outsider) &&
		SearchSysCacheExists1(AUTHOID, ObjectIdGetDatum(outsider->role)) &&
		taskq_kind_role_may_work(explain->kind, outsider->role) &&
		taskq_capable(&outsider->queues, NameStr(explain->lane->queue)) &&
		taskq_capable(&outsider->kinds, NameStr(explain->lane->kind));
}

/* External workers that claim such tasks, of those that the caller may see. */
static void
put_claimers(Explain *explain)
{
	TaskqOutsider *outsiders;
	int			n = taskq_outside_copy(&outsiders);
	int			shown = 0;

	taskq_json_key(&explain->json, "workers");
	pushJsonbValue(&explain->json, WJB_BEGIN_ARRAY, NULL);
	for (int i = 0; i < n && shown < MAX_NAMED && !explain->limited; i++)
	{
		if (!taskq_role_may_see(outsiders[i].role) ||
			!claims_such(explain, &outsiders[i]))
			continue;
		put_name(explain, NameStr(outsiders[i].name));
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
explain_claim(Explain *explain)
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
		begin_reason(explain, "no_external_worker",
					 psprintf("Kind \"%s\" has no handler, and no external worker asks for its tasks in queue \"%s\".", kind, queue),
					 "Start one that calls taskq.task_claim() for them; taskq.kind_grant(kind, role, 'work') lets a role work on the kind, kind_define() with a handler lets the server run it.");
	else
		begin_reason(explain, "waits_for_claim",
					 psprintf("Kind \"%s\" has no handler: the task waits for an external worker that calls taskq.task_claim() for it and queue \"%s\".", kind, queue),
					 "It starts when one of them comes to it.");
	put_claimers(explain);
	end_reason(explain);
}

static void
explain_external(Explain *explain)
{
	const TaskqKind *kind = explain->kind;

	if (explain->internal)
		return;
	if (kind->owner_id != explain->lane->kind_owner)
	{
		reason(explain, "kind_of_another",
			   psprintf("Kind \"%s\" belongs to another role than when the task was submitted: nobody may claim it.", NameStr(kind->name)),
			   "Cancel it, and submit it again.");
		return;
	}
	explain_claim(explain);
}

/* ---- a worker ---- */

/* A worker that has set it aside. */
static void
explain_reserved(Explain *explain)
{
	TaskqSlot  *slot;
	Others		others = {0};
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
		add_other(&others, &current);
	begin_reason(explain, "reserved",
				 in_task ? psprintf("Worker %s has set it aside and runs %s now.", worker, name_others(&others))
				 : psprintf("Worker %s has set it aside and is about to come to it.", worker),
				 in_task ? "If that takes long, others get what the worker has set aside." : NULL);
	taskq_json_text(&explain->json, "worker", worker);
	if (!explain->limited)
		taskq_json_number(&explain->json, "before_it", before);
	put_others(explain, &others);
	end_reason(explain);
}

/* Tasks that brought the server down run alone. */
static void
explain_alone(Explain *explain)
{
	Others		others = {0};
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
		add_other(&others, &task);
	begin_reason(explain, "runs_alone",
				 psprintf("The server crashed while it ran, so it runs alone; %s of that sort is running.", name_others(&others)),
				 "It starts when that has ended.");
	put_others(explain, &others);
	end_reason(explain);
}

/* Who has the places for workers, as far as the caller may see. */
static void
put_workers(Explain *explain)
{
	SeenSlot   *slots;
	int			nslots = look_at_slots(&slots, NULL);
	int			shown = 0;

	if (explain->limited)
		return;
	taskq_json_key(&explain->json, "workers");
	pushJsonbValue(&explain->json, WJB_BEGIN_ARRAY, NULL);
	for (int i = 0; i < nslots; i++)
	{
		Others		others = {0};

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
			add_other(&others, &slots[i].task);
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
look_at_crew(const Explain *explain, TaskqCrew *crew, bool *no_process)
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
explain_connections(Explain *explain, const TaskqCrew *crew)
{
	const char *what = taskq_crew_connection(explain->lane->role_oid);

	if (what == NULL)
		return;
	begin_reason(explain, "connection_limit",
				 strcmp(what, "role") == 0
				 ? psprintf("CONNECTION LIMIT of role \"%s\", which the task runs as, is reached: no worker can be started.", NameStr(explain->lane->role_name))
				 : "CONNECTION LIMIT of the database is reached: no worker can be started.",
				 "The limit holds for workers too: end sessions, or raise it.");
	if (explain->sees_role && !explain->limited)
		taskq_json_number(&explain->json, "workers_of_role", crew->of_role);
	end_reason(explain);
}

static void
explain_places(Explain *explain, const char *code, char *message,
			   const char *hint)
{
	begin_reason(explain, code, message, hint);
	taskq_json_number(&explain->json, "max_workers", taskq_max_workers);
	put_workers(explain);
	end_reason(explain);
}

static void
explain_worker(Explain *explain)
{
	TaskqCrew	crew;
	TaskqCrewNeed need;
	bool		no_process;
	char	   *role = pstrdup(NameStr(explain->lane->role_name));

	if (!explain->internal || explain->live != NULL)
		return;
	if (taskq_max_workers == 0)
	{
		reason(explain, "no_workers", "taskq.max_workers is 0: the server runs no tasks.",
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
						   : crew.of_role > 0
						   ? psprintf("All %d places for workers are taken, %d of them by role \"%s\".", taskq_max_workers, crew.of_role, role)
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

/* ---- those before it ---- */

/* Of those that its role's workers run first; or of its queue, if that rests. */
static void
look_ahead(const Explain *explain, TaskqAhead *ahead)
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
explain_ahead(Explain *explain)
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
	begin_reason(explain, "ahead", message,
				 "taskq.task_set_priority() lets it pass them.");
	taskq_json_number(&explain->json, "ahead", ahead.n);
	taskq_json_number(&explain->json, "of_queue", ahead.of_queue);
	if (ahead.exact)
		taskq_json_true(&explain->json, "exact");
	end_reason(explain);
}

/* ---- the states ---- */

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

static void
explain_final(Explain *explain)
{
	TaskqRow   *row = &explain->row;
	char	   *at = taskq_row_isnull(row, finished_at) ? "" :
	psprintf(" at %s", moment(DatumGetTimestampTz(taskq_row_value(row, finished_at))));

	switch (taskq_row_state(row))
	{
		case TASKQ_COMPLETED:
			reason(explain, "completed", psprintf("It completed%s.", at), NULL);
			break;
		case TASKQ_FAILED:
			reason(explain, "failed",
				   psprintf("It failed%s: %s", at, error_message(row)),
				   "taskq.task_retry() runs it again, as a new task.");
			break;
		default:
			reason(explain, "cancelled",
				   psprintf("It was cancelled%s%s%s", at,
							taskq_row_isnull(row, cancel_reason) ? "." : ": ",
							taskq_row_isnull(row, cancel_reason) ? ""
							: TextDatumGetCString(taskq_row_value(row, cancel_reason))),
				   "taskq.task_retry() runs it again, as a new task.");
	}
}

/* What its session waits for: a lock that others have. */
static void
explain_blocked_session(Explain *explain, int pid)
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
	begin_reason(explain, "waits_for_lock",
				 DatumGetInt32(items[0]) == 0
				 ? pstrdup("Its session waits for a lock that a prepared transaction has.")
				 : psprintf("Its session waits for a lock that the session with process id %d has.", DatumGetInt32(items[0])),
				 "Look at pg_stat_activity and pg_locks.");
	if (DatumGetInt32(items[0]) != 0)
		taskq_json_number(&explain->json, "pid", DatumGetInt32(items[0]));
	end_reason(explain);
}

static void
explain_running(Explain *explain)
{
	TaskqLive  *live = explain->live;
	TimestampTz now = GetCurrentTimestamp();
	int			pid;

	LWLockAcquire(taskq_main_lock, LW_SHARED);
	pid = taskq_shared->slots[live->slot].dbid == MyDatabaseId
		? taskq_shared->slots[live->slot].pid
		: 0;
	LWLockRelease(taskq_main_lock);
	begin_reason(explain, "running",
				 psprintf("It has been running for %s%s%s%s.",
						  span(live->started_at, now),
						  live->has_progress && live->has_total && live->total > 0
						  ? psprintf(", %g %% done", rint(Max(0, Min(100, 100 * live->current / live->total)) * 10) / 10) : "",
						  live->has_message ? ": " : "",
						  live->has_message ? live->message : ""),
				 live->cancel ? "A cancel was asked for; taskq.task_cancel(..., force => true) ends its process." : NULL);
	put_time(explain, "since", live->started_at);
	taskq_json_text(&explain->json, "worker", taskq_worker_name(live->slot));
	if (!explain->limited && explain->sees_role)
		taskq_json_number(&explain->json, "pid", pid);
	if (live->has_progress)
		put_time(explain, "progress_at", live->updated_at);
	if (live->cancel)
		taskq_json_true(&explain->json, "cancel_requested");
	end_reason(explain);
	explain_blocked_session(explain, pid);
}

static void
explain_leased(Explain *explain)
{
	TaskqRow   *row = &explain->row;
	TaskqLease	lease;

	if (!taskq_lease_find(&explain->id, &lease))
		return;
	begin_reason(explain, "claimed",
				 psprintf("External worker %s has it, and was heard of %s ago; its lease ends in %s.",
						  taskq_row_isnull(row, worker) ? "" : TextDatumGetCString(taskq_row_value(row, worker)),
						  span(lease.updated_at, GetCurrentTimestamp()),
						  span(taskq_steady_now(), lease.until)),
				 lease.cancel ? "A cancel was asked for: the worker is told by its next heartbeat."
				 : "When the lease ends without a heartbeat, the attempt is over.");
	if (!taskq_row_isnull(row, worker))
		taskq_json_text(&explain->json, "worker",
						TextDatumGetCString(taskq_row_value(row, worker)));
	put_time(explain, "updated_at", lease.updated_at);
	put_time(explain, "lease_until", GetCurrentTimestamp() +
			 lease.until - taskq_steady_now());
	if (lease.cancel)
		taskq_json_true(&explain->json, "cancel_requested");
	end_reason(explain);
}

static void
explain_scheduled(Explain *explain)
{
	TaskqRow   *row = &explain->row;
	TimestampTz now = GetCurrentTimestamp();
	TimestampTz at = taskq_row_isnull(row, run_at) ? now
	: DatumGetTimestampTz(taskq_row_value(row, run_at));
	bool		retrying = taskq_row_state(row) == TASKQ_RETRYING;
	const char *hint = "taskq.task_run_now() lets it run at once, taskq.task_reschedule() at another time.";

	if (TIMESTAMP_NOT_FINITE(at))
	{
		reason(explain, "held", "It is held: it waits until somebody lets it run.",
			   hint);
		return;
	}
	if (at <= now)
		hint = NULL;
	if (retrying)
		begin_reason(explain, "retrying",
					 psprintf("Attempt %d failed: %s; it is tried again %s (%s).",
							  DatumGetInt16(taskq_row_value(row, attempt)), error_message(row),
							  at <= now ? "now" : psprintf("in %s", span(now, at)), moment(at)),
					 hint);
	else
		begin_reason(explain, "scheduled",
					 at <= now ? psprintf("It has become due just now (%s).", moment(at))
					 : psprintf("It is scheduled for %s, in %s.", moment(at), span(now, at)),
					 hint);
	put_time(explain, "run_at", at);
	end_reason(explain);
}

/* One that it waits for; false if it does not any more. */
static bool
put_dependency(Explain *explain, const pg_uuid_t *id, bool *failed)
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

static void
explain_blocked(Explain *explain)
{
	TaskqBlocked blocked;
	Datum	   *ids;
	int			n = taskq_dependency_ids(&explain->row, &ids);
	int			named = 0;
	bool		failed = false;
	bool		found = taskq_blocked_find(&explain->id, false, &blocked);

	failed = found && blocked.failed &&
		blocked.policy == TASKQ_ON_FAILURE_BLOCK;
	begin_reason(explain, "blocked",
				 found ? psprintf("It waits for %d other task%s to end%s.", blocked.awaited, blocked.awaited == 1 ? "" : "s",
								  failed ? ", of which one has failed" : "")
				 : pstrdup("It has waited for others, and is about to be let go."),
				 failed ? "taskq.task_retry() of the one that failed lets it go on, taskq.task_cancel() gives it up."
				 : "taskq.task_explain() of these tells why they are not through.");
	taskq_json_key(&explain->json, "waits_for");
	pushJsonbValue(&explain->json, WJB_BEGIN_ARRAY, NULL);
	for (int i = 0; i < Min(n, MAX_LOOKED) && named < MAX_NAMED; i++)
	{
		CHECK_FOR_INTERRUPTS();
		named += put_dependency(explain, DatumGetUUIDP(ids[i]), &failed);
	}
	pushJsonbValue(&explain->json, WJB_END_ARRAY, NULL);
	end_reason(explain);
}

/* What keeps it from running when it is not its state. */
static void
explain_waiting(Explain *explain, bool now)
{
	explain_server(explain);
	explain_shut(explain);
	explain_role(explain);
	explain_run(explain);
	if (!now)
		return;
	explain_reserved(explain);
	explain_room(explain);
	explain_key(explain);
	explain_lock(explain);
	explain_alone(explain);
	explain_worker(explain);
	explain_external(explain);
	explain_ahead(explain);
	if (explain->answer == NULL)
		reason(explain, "starting", "Nothing is in its way: it is about to be started.",
			   NULL);
}

static void
explain_state(Explain *explain)
{
	char		state = taskq_row_state(&explain->row);

	if (explain->live != NULL && explain->live->running)
		explain_running(explain);
	else if (taskq_state_final(state))
		explain_final(explain);
	else if (state == TASKQ_LEASED)
		explain_leased(explain);
	else
	{
		bool		now = state == TASKQ_PENDING || state == TASKQ_RUNNING;

		if (state == TASKQ_SCHEDULED || state == TASKQ_RETRYING)
			explain_scheduled(explain);
		else if (state == TASKQ_BLOCKED)
			explain_blocked(explain);
		explain_waiting(explain, now);
	}
}

static void
load(Explain *explain, const pg_uuid_t *id)
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
put_span(Explain *explain, const char *key, int64 us)
{
	Interval	interval = {.time = us};

	taskq_json_text(&explain->json, key,
					DatumGetCString(DirectFunctionCall1(interval_out,
														IntervalPGetDatum(&interval))));
}

static void
put_estimate(Explain *explain)
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
		put_time(explain, "estimated_start", estimate.start);
	if (estimate.duration_us > 0)
		put_span(explain, "estimated_duration", estimate.duration_us);
	if (estimate.completion != 0)
	{
		put_time(explain, "estimated_completion", estimate.completion);
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
put_capable_workers(Explain *explain)
{
	SeenSlot   *slots;
	int			nslots = look_at_slots(&slots, NULL);

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
			put_name(explain, taskq_worker_name(slots[i].slotno));
	}
	pushJsonbValue(&explain->json, WJB_END_ARRAY, NULL);
}

/* Roles that may claim it, for whom view kind shows. */
static void
put_capable_roles(Explain *explain)
{
	const TaskqKind *kind = explain->kind;
	ListCell   *lc;

	if (explain->limited || !(taskq_kind_owned(kind) ||
							  taskq_kind_may_work(kind) ||
							  taskq_role_may_see(kind->owner_oid)))
		return;
	taskq_json_key(&explain->json, "roles");
	pushJsonbValue(&explain->json, WJB_BEGIN_ARRAY, NULL);
	put_name(explain, NameStr(kind->owner));
	foreach(lc, kind->grants)
	{
		const TaskqKindGrant *grant = lfirst(lc);
		char	   *name = OidIsValid(grant->role)
		? GetUserNameFromId(grant->role, true)
		: NULL;

		if (name != NULL && grant->privilege != TASKQ_GRANT_SUBMIT)
			put_name(explain, name);
	}
	pushJsonbValue(&explain->json, WJB_END_ARRAY, NULL);
}

/* Who could run it. */
static void
put_required_worker(Explain *explain)
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
		put_claimers(explain);
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
	Explain    *explain = palloc(sizeof(Explain));

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
