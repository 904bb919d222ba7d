/*-------------------------------------------------------------------------
 *
 * estimate.c
 *		When will it start, how long does it take, when is it through?
 *
 * Of a task that runs, by its own progress, else by how long those like it
 * took; of one that waits, by what is before it (lanes/forecast.c).  Each
 * estimate says how sure it is.  Who acts for one tenant, or may not see all
 * tasks of the task's role, is told nothing that others' tasks tell.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xlog.h"
#include "api/estimate.h"
#include "api/task.h"
#include "base/clock.h"
#include "base/guc.h"
#include "fmgr.h"
#include "funcapi.h"
#include "lanes/claim.h"
#include "lanes/counts.h"
#include "lanes/crew.h"
#include "lanes/lane.h"
#include "lanes/place.h"
#include "miscadmin.h"
#include "store/leases.h"
#include "store/pauses.h"
#include "store/rights.h"
#include "store/state.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#define HISTORY_MINUTES 120		/* of the kind */

/* May the caller know of all tasks of a lane's role? */
static bool
sees_all_of(const TaskqLaneDef *lane)
{
	return OidIsValid(lane->role_oid) &&
		taskq_role_may_see(lane->role_oid) && !taskq_tenant_is_limited();
}

/*
 * How long a task of this lane takes, by those before it; 0: not known.  What
 * all tasks of the kind took is for those to know who see all tasks.
 */
static int64
usual_us(const TaskqLaneDef *lane)
{
	int64		us;
	TaskqLately lately;

	if (!sees_all_of(lane))
		return taskq_lane_of_one_tenant(lane)
			? taskq_lane_average_us(lane, false)
			: 0;
	us = taskq_lane_average_us(lane, true);
	if (us > 0 || !taskq_role_may_see(InvalidOid))
		return us;
	taskq_counts_lately(NameStr(lane->kind), NULL, HISTORY_MINUTES, &lately);
	return lately.run_mean_us > 0 ? (int64) lately.run_mean_us : 0;
}

/* Does nothing keep tasks of this lane from starting but others before them? */
static bool
lane_goes(const TaskqLaneDef *lane)
{
	return taskq_server_problem() == NULL && taskq_max_workers > 0 &&
		taskq_lane_runnable(lane->id, lane->role_oid) &&
		taskq_lane_role_problem(lane) == NULL;
}

static TimestampTz
after(TimestampTz from, double us)
{
	/* beyond ten years it is no estimate */
	return us < 10.0 * 366 * USECS_PER_DAY ? from + (int64) us : 0;
}

static void
complete(TaskqEstimate *estimate, TimestampTz started)
{
	if (started == 0 || estimate->duration_us <= 0)
		return;
	estimate->completion = after(started, estimate->duration_us);
	estimate->basis = "history";
}

/* ---- what runs ---- */

/* As view task has it: at the pace so far. */
static bool
by_progress(const TaskqLive *live, TimestampTz started,
			TaskqEstimate *estimate)
{
	double		us;

	if (!live->has_progress || !live->has_total)
		return false;
	us = taskq_whole_us(live->updated_at - started, live->current, live->total);
	if (us <= 0)
		return false;
	estimate->duration_us = us;
	estimate->completion = after(started, us);
	estimate->basis = "progress";
	estimate->sure = live->current * 10 >= live->total ? TASKQ_SURE_HIGH
		: TASKQ_SURE_MEDIUM;
	return true;
}

static void
estimate_running(const TaskqLaneDef *lane, const TaskqLive *live,
				 TimestampTz started, TaskqEstimate *estimate)
{
	if (started == 0 || by_progress(live, started, estimate))
		return;
	estimate->duration_us = usual_us(lane);
	if (estimate->duration_us == 0)
		return;
	estimate->sure = TASKQ_SURE_LOW;
	estimate->basis = "history";
	/* it takes longer than others did: nobody knows how long */
	if (started + estimate->duration_us < GetCurrentTimestamp())
		estimate->sure = TASKQ_SURE_NONE;
	else
		estimate->completion = started + estimate->duration_us;
}

static void
estimate_leased(const TaskqLaneDef *lane, TaskqRow *row,
				TaskqEstimate *estimate)
{
	TaskqLive  *live = palloc0(sizeof(TaskqLive));
	TaskqLease	lease;

	if (taskq_lease_find(DatumGetUUIDP(taskq_row_value(row, id)), &lease) &&
		lease.progress != 0)
	{
		taskq_progress_read(lease.progress, live);
		live->updated_at = lease.updated_at;
	}
	estimate_running(lane, live, taskq_row_isnull(row, started_at) ? 0
					 : DatumGetTimestampTz(taskq_row_value(row, started_at)),
					 estimate);
}

/* ---- what waits ---- */

/* A worker has set it aside: after what it has begun, and set aside before. */
static void
estimate_reserved(const TaskqLaneDef *lane, const TaskqLive *live,
				  TaskqEstimate *estimate)
{
	int64		us = usual_us(lane);
	TaskqSlot  *slot = &taskq_shared->slots[live->slot];
	double		wait = 0;

	if (us == 0 || taskq_tenant_is_limited())
		return;
	LWLockAcquire(taskq_slot_lock(live->slot), LW_SHARED);
	if (slot->in_task)
		wait = Max(us - (taskq_steady_now() - slot->task_since), 0);
	for (int i = slot->next; i < slot->nitems; i++)
	{
		if (taskq_id_eq(&slot->items[i].id, &live->id))
			break;
		wait += us;
	}
	LWLockRelease(taskq_slot_lock(live->slot));
	estimate->start = after(GetCurrentTimestamp(), wait);
	estimate->duration_us = us;
	estimate->sure = TASKQ_SURE_MEDIUM;
	complete(estimate, estimate->start);
}

static void
estimate_pending(const TaskqLaneDef *lane, TaskqRow *row,
				 TaskqEstimate *estimate)
{
	TaskqDue	place;
	TaskqPace	pace;
	double		wait;

	estimate->duration_us = usual_us(lane);
	if (!sees_all_of(lane))
		return;
	estimate->position = taskq_queue_position(lane, row, &estimate->exact);
	if (!lane_goes(lane))
		return;
	taskq_front_place_of(row, &place);
	taskq_pace_of(lane, &pace);
	estimate->sure =
		taskq_forecast_wait(&pace,
							taskq_front_of_role(lane, TASKQ_FRONT_DEEP),
							&place, false, &wait);
	if (estimate->sure == TASKQ_SURE_NONE)
		return;
	estimate->start = after(GetCurrentTimestamp(), wait);
	complete(estimate, estimate->start);
}

/* It starts when it is due, if there is room then. */
static void
estimate_scheduled(const TaskqLaneDef *lane, TaskqRow *row,
				   TaskqEstimate *estimate)
{
	TimestampTz at = taskq_row_isnull(row, run_at) ? DT_NOEND
	: DatumGetTimestampTz(taskq_row_value(row, run_at));

	estimate->duration_us = usual_us(lane);
	if (TIMESTAMP_NOT_FINITE(at) || !lane_goes(lane))
		return;
	estimate->start = Max(at, GetCurrentTimestamp());
	estimate->sure = TASKQ_SURE_MEDIUM;
	complete(estimate, estimate->start);
}

/*
 * taskq_estimate_task - when a task that was read, and that the caller may
 * see, starts and is through
 *
 * live: what its worker says, or NULL.
 */
void
taskq_estimate_task(const TaskqLaneDef *lane, TaskqRow *row,
					const TaskqLive *live, TaskqEstimate *estimate)
{
	char		state = taskq_row_state(row);

	memset(estimate, 0, sizeof(*estimate));
	if (live != NULL && live->running)
		estimate_running(lane, live, live->started_at, estimate);
	else if (live != NULL)
		estimate_reserved(lane, live, estimate);
	else if (state == TASKQ_LEASED)
		estimate_leased(lane, row, estimate);
	else if (state == TASKQ_PENDING || state == TASKQ_RUNNING)
		estimate_pending(lane, row, estimate);
	else if (state == TASKQ_SCHEDULED || state == TASKQ_RETRYING)
		estimate_scheduled(lane, row, estimate);
	else if (state == TASKQ_BLOCKED)
		estimate->duration_us = usual_us(lane);
}

/*
 * taskq_estimate_gain - how much earlier a pending task starts in another
 * lane; false if that is not known
 */
bool
taskq_estimate_gain(const TaskqLaneDef *from, const TaskqLaneDef *to,
					TaskqRow *row, int64 *gain_us)
{
	TaskqDue	place;
	TaskqPace	pace;
	double		before;
	double		then;

	if (!sees_all_of(from) || !lane_goes(from))
		return false;
	taskq_front_place_of(row, &place);
	taskq_pace_of(from, &pace);
	if (taskq_forecast_wait(&pace,
							taskq_front_of_role(from, TASKQ_FRONT_DEEP),
							&place, false, &before) == TASKQ_SURE_NONE ||
		taskq_forecast_wait(&pace, taskq_front_of_role(to, TASKQ_FRONT_DEEP),
							&place, to->priority < from->priority,
							&then) == TASKQ_SURE_NONE)
		return false;
	*gain_us = before - then;
	return true;
}

/* ---- SQL ---- */

static void
put_interval(Datum *value, bool *isnull, double us)
{
	Interval   *interval = palloc0(sizeof(Interval));

	interval->time = (int64) us;
	*value = IntervalPGetDatum(interval);
	*isnull = false;
}

PG_FUNCTION_INFO_V1(taskq_task_estimate);

/*
 * taskq_task_estimate - task_estimate(id) returns (queue_position,
 * position_exact, estimated_start, estimated_duration, estimated_completion,
 * remaining, confidence, basis); PT404
 */
Datum
taskq_task_estimate(PG_FUNCTION_ARGS)
{
	static TaskqLive live;
	pg_uuid_t	id = taskq_arg_id(fcinfo, 0);
	TaskqRow	row;
	TaskqEstimate estimate;
	TupleDesc	desc;
	Datum		values[8] = {0};
	bool		nulls[8];
	bool		held;

	taskq_require_preload();
	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	taskq_defs_begin();
	taskq_task_require(&id, &row);
	held = taskq_task_held(&row, &live);
	taskq_estimate_task(taskq_lane_get(DatumGetInt32(taskq_row_value(&row, lane))),
						&row, held ? &live : NULL, &estimate);
	memset(nulls, true, sizeof(nulls));
	values[0] = Int64GetDatum(estimate.position);
	values[1] = BoolGetDatum(estimate.exact);
	nulls[0] = nulls[1] = estimate.position == 0;
	values[2] = TimestampTzGetDatum(estimate.start);
	nulls[2] = estimate.start == 0;
	if (estimate.duration_us > 0)
		put_interval(&values[3], &nulls[3], estimate.duration_us);
	values[4] = TimestampTzGetDatum(estimate.completion);
	nulls[4] = estimate.completion == 0;
	if (estimate.completion != 0)
		put_interval(&values[5], &nulls[5],
					 Max(estimate.completion - GetCurrentTimestamp(), 0));
	values[6] = CStringGetTextDatum(taskq_sure_name(estimate.sure));
	nulls[6] = false;
	nulls[7] = estimate.basis == NULL;
	if (estimate.basis != NULL)
		values[7] = CStringGetTextDatum(estimate.basis);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}

/* ---- columns of view task ---- */

/* What tasks of a lane have before them, as a query has found it. */
typedef struct Outlook
{
	int32		lane;
	bool		shown;			/* it is for the caller to know */
	const TaskqLaneDef *def;
	TaskqFront *queue;			/* or NULL, not looked at yet */
	TaskqFront *role;
	int64		usual_us;		/* -1: likewise */
	int			goes;			/* likewise */
	TaskqPace	pace;
} Outlook;

/* That of a lane, in this query. */
static Outlook *
outlook_of(FmgrInfo *flinfo, int32 lane)
{
	HTAB	   *lanes = flinfo->fn_extra;
	HASHCTL		ctl = {.keysize = sizeof(int32),.entrysize = sizeof(Outlook),
	.hcxt = flinfo->fn_mcxt};
	Outlook    *outlook;
	bool		found;

	if (lanes == NULL)
		lanes = flinfo->fn_extra = hash_create("taskq outlooks", 16, &ctl,
											   HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	outlook = hash_search(lanes, &lane, HASH_ENTER, &found);
	if (!found)
	{
		memset(outlook, 0, sizeof(*outlook));
		outlook->lane = lane;
		outlook->usual_us = outlook->goes = -1;
	}
	/* what it points to may have been read anew */
	outlook->def = taskq_lane_get(lane);
	if (!found)
		outlook->shown = outlook->def != NULL && sees_all_of(outlook->def);
	return outlook;
}

/* Its place in the queue, from 1; 0: not for the caller to know. */
static int64
outlook_position(Outlook *outlook, const TaskqDue *place)
{
	TaskqAhead	ahead;

	if (!outlook->shown || outlook->def == NULL)
		return 0;
	if (outlook->queue == NULL)
		outlook->queue = taskq_front_of_queue(outlook->def,
											  TASKQ_FRONT_SHALLOW);
	taskq_front_ahead(outlook->queue, place, &ahead);
	return ahead.n + 1;
}

static TimestampTz
outlook_start(Outlook *outlook, const TaskqDue *place)
{
	double		wait;

	if (!outlook->shown || outlook->def == NULL)
		return 0;
	if (outlook->goes < 0)
		outlook->goes = lane_goes(outlook->def);
	if (!outlook->goes)
		return 0;
	if (outlook->role == NULL)
	{
		outlook->role = taskq_front_of_role(outlook->def,
											TASKQ_FRONT_SHALLOW);
		taskq_pace_of(outlook->def, &outlook->pace);
	}
	if (taskq_forecast_wait(&outlook->pace, outlook->role, place, false,
							&wait) == TASKQ_SURE_NONE)
		return 0;
	return after(GetCurrentTimestamp(), wait);
}

static TimestampTz
outlook_completion(Outlook *outlook, const TaskqDue *place)
{
	TimestampTz start = outlook_start(outlook, place);

	if (start == 0)
		return 0;
	if (outlook->usual_us < 0)
		outlook->usual_us = usual_us(outlook->def);
	return outlook->usual_us > 0 ? after(start, outlook->usual_us) : 0;
}

/*
 * Ask that for a row of the view, in the name of whoever looks at it, and
 * keep what was found for the next one.
 */
static int64
ask_outlook(FunctionCallInfo fcinfo,
			int64 (*ask) (Outlook *outlook, const TaskqDue *place))
{
	MemoryContext old = MemoryContextSwitchTo(fcinfo->flinfo->fn_mcxt);
	Oid			viewer = taskq_task_viewer();
	Oid			user;
	int			context;
	TaskqDue	place;
	int64		answer;

	if (taskq_shared == NULL || PG_ARGISNULL(0) || PG_ARGISNULL(1))
	{
		MemoryContextSwitchTo(old);
		return 0;
	}
	GetUserIdAndSecContext(&user, &context);
	if (OidIsValid(viewer))
		SetUserIdAndSecContext(viewer, context);
	taskq_defs_begin();
	taskq_front_place(PG_GETARG_UUID_P(0),
					  PG_ARGISNULL(2) ? 0 : PG_GETARG_TIMESTAMPTZ(2), &place);
	answer = ask(outlook_of(fcinfo->flinfo, PG_GETARG_INT32(1)), &place);
	if (OidIsValid(viewer))
		SetUserIdAndSecContext(user, context);
	MemoryContextSwitchTo(old);
	return answer;
}

PG_FUNCTION_INFO_V1(taskq_queue_position_sql);

/* taskq_queue_position_sql - queue_position(id, lane, run_at), for the view */
Datum
taskq_queue_position_sql(PG_FUNCTION_ARGS)
{
	int64		position = ask_outlook(fcinfo, outlook_position);

	if (position == 0)
		PG_RETURN_NULL();
	PG_RETURN_INT64(position);
}

PG_FUNCTION_INFO_V1(taskq_estimated_start_sql);

/* taskq_estimated_start_sql - estimated_start(id, lane, run_at), likewise */
Datum
taskq_estimated_start_sql(PG_FUNCTION_ARGS)
{
	TimestampTz start = ask_outlook(fcinfo, outlook_start);

	if (start == 0)
		PG_RETURN_NULL();
	PG_RETURN_TIMESTAMPTZ(start);
}

PG_FUNCTION_INFO_V1(taskq_estimated_completion_sql);

/* taskq_estimated_completion_sql - estimated_completion(id, lane, run_at) */
Datum
taskq_estimated_completion_sql(PG_FUNCTION_ARGS)
{
	TimestampTz completion = ask_outlook(fcinfo, outlook_completion);

	if (completion == 0)
		PG_RETURN_NULL();
	PG_RETURN_TIMESTAMPTZ(completion);
}

/* ---- queues ---- */

/* What a role has to do in a queue. */
typedef struct RoleWork
{
	Oid			role;
	int64		n;
	int64		unknown;
	double		us;
	bool		elsewhere;		/* its workers have others to do, too */
} RoleWork;

typedef struct QueueWork
{
	NameData	name;
	int64		waiting;
	int64		running;
	bool		paused;
	bool		external;		/* has tasks that external workers run */
	const TaskqLaneDef *lane;	/* one of its lanes */
	int			nroles;
	RoleWork   *roles;
} QueueWork;

/* The lanes of this database that the caller may know all of; how many. */
static int
copy_lanes(TaskqLane **copy)
{
	int			max = taskq_shared->nlanes;
	int			n = 0;

	*copy = palloc_extended(sizeof(TaskqLane) * Max(max, 1), MCXT_ALLOC_HUGE);
	LWLockAcquire(taskq_main_lock, LW_SHARED);
	for (int i = 0; i < max; i++)
	{
		const TaskqLane *lane = &taskq_shared->lanes[i];

		if (lane->dbid == MyDatabaseId &&
			(lane->waiting > 0 || lane->running > 0))
			(*copy)[n++] = *lane;
	}
	LWLockRelease(taskq_main_lock);
	return n;
}

static QueueWork *
queue_of(List **queues, const TaskqLaneDef *lane)
{
	QueueWork  *queue;
	ListCell   *lc;

	foreach(lc, *queues)
	{
		queue = lfirst(lc);
		if (strcmp(NameStr(queue->name), NameStr(lane->queue)) == 0)
			return queue;
	}
	queue = palloc0(sizeof(QueueWork));
	queue->name = lane->queue;
	queue->lane = lane;
	*queues = lappend(*queues, queue);
	return queue;
}

static RoleWork *
role_of(QueueWork *queue, Oid role)
{
	for (int i = 0; i < queue->nroles; i++)
	{
		if (queue->roles[i].role == role)
			return &queue->roles[i];
	}
	queue->roles = queue->roles == NULL
		? palloc(sizeof(RoleWork))
		: repalloc(queue->roles, sizeof(RoleWork) * (queue->nroles + 1));
	memset(&queue->roles[queue->nroles], 0, sizeof(RoleWork));
	queue->roles[queue->nroles].role = role;
	return &queue->roles[queue->nroles++];
}

static void
add_lane(List **queues, const TaskqLane *lane, const TaskqLaneDef *def)
{
	QueueWork  *queue = queue_of(queues, def);
	RoleWork   *role;
	int64		us;

	queue->waiting += lane->waiting;
	queue->running += Max(lane->running, 0);
	if (!taskq_kind_internal(taskq_kind_get(NameStr(def->kind))))
		queue->external |= lane->waiting > 0;
	else if (lane->waiting > 0 && !lane_goes(def))
		queue->paused = true;
	else
	{
		us = lane->average_us > 0 ? lane->average_us : usual_us(def);
		role = role_of(queue, def->role_oid);
		role->n += lane->waiting;
		role->unknown += us > 0 ? 0 : lane->waiting;
		role->us += (double) lane->waiting * us;
	}
}

/* Workers of a role that has something in several queues serve them all. */
static void
find_elsewhere(List *queues)
{
	ListCell   *a;
	ListCell   *b;

	foreach(a, queues)
	{
		QueueWork  *queue = lfirst(a);

		foreach(b, queues)
		{
			QueueWork  *other = lfirst(b);

			for (int i = 0; i < queue->nroles && other != queue; i++)
			{
				for (int j = 0; j < other->nroles; j++)
					queue->roles[i].elsewhere |= other->roles[j].n > 0 &&
						other->roles[j].role == queue->roles[i].role;
			}
		}
	}
}

/* Until nothing of a queue waits or runs any more. */
static TaskqSure
time_to_empty(const QueueWork *queue, double *us)
{
	TaskqSure	sure = TASKQ_SURE_MEDIUM;
	const TaskqQueue *def = taskq_queue_get(NameStr(queue->name));

	*us = 0;
	if (queue->paused || queue->external)
		return TASKQ_SURE_NONE;
	for (int i = 0; i < queue->nroles; i++)
	{
		RoleWork   *role = &queue->roles[i];
		TaskqLaneDef like = *queue->lane;
		TaskqBusy	busy;
		int			places = taskq_role_places(role->role);
		double		work = role->us;

		like.role_oid = role->role;
		taskq_busy_workers(&like, true, true, false, &busy);
		if (2 * (role->unknown + busy.unknown) > role->n + busy.n)
			return TASKQ_SURE_NONE;
		if (role->n > role->unknown)
			work *= (double) role->n / (role->n - role->unknown);
		if (def != NULL && def->limit.max_running > 0)
			places = Min(places, def->limit.max_running);
		*us = Max(*us, (work + busy.rest_us) / places);
		if (def != NULL && def->limit.rate > 0)
			*us = Max(*us, (double) role->n * def->limit.rate_us / def->limit.rate);
		if (role->elsewhere || role->unknown + busy.unknown > 0)
			sure = TASKQ_SURE_LOW;
	}
	return sure;
}

/* When the next task of a queue can be started: 0 if that is not known. */
static TimestampTz
next_slot(const QueueWork *queue)
{
	TimestampTz now = GetCurrentTimestamp();
	TaskqLimits limits;
	TaskqBusy	busy;
	TaskqCrew	crew;

	if (queue->paused || queue->external || queue->nroles == 0)
		return 0;
	taskq_limits_of(queue->lane, &limits);
	taskq_busy_workers(queue->lane, false, true, false, &busy);
	if (limits.queue.max_running == 0 || busy.n < limits.queue.max_running)
	{
		LWLockAcquire(taskq_main_lock, LW_SHARED);
		crew = taskq_crew_count(queue->roles[0].role, taskq_steady_now());
		LWLockRelease(taskq_main_lock);
		if (crew.idle >= 0 || crew.in_all < taskq_max_workers)
			return now;
		taskq_busy_workers(queue->lane, false, false, false, &busy);
	}
	return busy.first_us < 0 ? 0 : after(now, busy.first_us);
}

static void
put_queue(ReturnSetInfo *rsinfo, const QueueWork *queue)
{
	Datum		values[7] = {0};
	bool		nulls[7];
	double		us;
	TaskqSure	sure = time_to_empty(queue, &us);
	TimestampTz slot = next_slot(queue);

	memset(nulls, true, sizeof(nulls));
	values[0] = NameGetDatum(&queue->name);
	values[1] = Int64GetDatum(queue->waiting);
	values[2] = Int64GetDatum(queue->running);
	nulls[0] = nulls[1] = nulls[2] = false;
	if (sure != TASKQ_SURE_NONE)
	{
		put_interval(&values[3], &nulls[3], us);
		values[4] = TimestampTzGetDatum(after(GetCurrentTimestamp(), us));
		nulls[4] = DatumGetTimestampTz(values[4]) == 0;
	}
	values[5] = TimestampTzGetDatum(slot);
	nulls[5] = slot == 0;
	values[6] = CStringGetTextDatum(taskq_sure_name(sure));
	nulls[6] = false;
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
}

PG_FUNCTION_INFO_V1(taskq_queue_estimates);

/*
 * taskq_queue_estimates - queue_estimates() returns a row for each queue in
 * which something waits or runs, of what the caller may see: (queue, waiting,
 * running, time_to_empty, empty_at, next_slot, confidence)
 *
 * None for who acts for one tenant.
 */
Datum
taskq_queue_estimates(PG_FUNCTION_ARGS)
{
	TaskqLane  *lanes;
	int			n;
	List	   *queues = NIL;
	ListCell   *lc;

	taskq_require_preload();
	taskq_store_require();
	taskq_defs_begin();
	InitMaterializedSRF(fcinfo, 0);
	if (taskq_tenant_is_limited())
		return (Datum) 0;
	n = copy_lanes(&lanes);
	for (int i = 0; i < n; i++)
	{
		const TaskqLaneDef *def = taskq_lane_get(lanes[i].id);

		CHECK_FOR_INTERRUPTS();
		if (def != NULL && taskq_role_may_see(def->role_oid))
			add_lane(&queues, &lanes[i], def);
	}
	find_elsewhere(queues);
	foreach(lc, queues)
		put_queue((ReturnSetInfo *) fcinfo->resultinfo, lfirst(lc));
	return (Datum) 0;
}
