/*-------------------------------------------------------------------------
 *
 * tenant.c
 *		Deleting all that there is of a tenant.
 *
 * A tenant's tasks are in lanes of its own, or that it shares with others, so
 * no others are read.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "api/action.h"
#include "base/args.h"
#include "base/compat.h"
#include "base/json.h"
#include "fmgr.h"
#include "funcapi.h"
#include "lanes/cancels.h"
#include "lanes/live.h"
#include "lanes/note.h"
#include "miscadmin.h"
#include "run/complete.h"
#include "store/attempts.h"
#include "store/leaves.h"
#include "store/links.h"
#include "store/rights.h"
#include "store/schedules.h"
#include "store/state.h"
#include "store/steps.h"
#include "store/uniques.h"
#include "utils/builtins.h"

#define PORTION 500

/* How far a deletion has come. */
typedef struct Deletion
{
	const char *tenant;
	int64		left;			/* to be deleted by this call */
	int64		cancelled;
	int64		deleted;
	int64		running;
	int64		schedules;
	int64		links;
	bool		more;
} Deletion;

/* It is told to stop, and deleted by a later call. */
static void
stop_running(Deletion *deletion, const TaskqLaneDef *lane,
			 const TaskqLive *live, const pg_uuid_t *id)
{
	deletion->running++;
	if (live->unfinished && !taskq_cancels_full(lane->role_oid))
		taskq_note_cancel(lane, live->slot, id, false, "tenant_delete");
}

/* A task that was found, and may be another one's by now. */
static void
delete_task(Deletion *deletion, const pg_uuid_t *id)
{
	TaskqLive  *live = palloc(sizeof(TaskqLive));
	const TaskqLaneDef *lane;
	TaskqRow	row;

	if (!taskq_store_find(id, &row))
		return;
	lane = taskq_lane_get(DatumGetInt32(taskq_row_value(&row, lane)));
	if (lane == NULL)
		return;
	if (taskq_live_find(id, live) && live->running)
	{
		stop_running(deletion, lane, live, id);
		return;
	}
	switch (taskq_store_lock(id, false, &row))
	{
		case TASKQ_MISSING:
			return;
		case TASKQ_BUSY:
			deletion->running++;
			return;
		case TASKQ_LOCKED:
			break;
	}
	if (!taskq_state_final(taskq_row_state(&row)))
	{
		taskq_cancel_waiting(&row, lane, id, "tenant_delete");
		deletion->cancelled++;
	}
	taskq_attempts_delete(id);
	if (!taskq_row_isnull(&row, unique_key))
		taskq_unique_forget(id);
	taskq_step_forget(&row);
	taskq_store_delete(&row);
	deletion->deleted++;
	deletion->left--;
}

/* The tasks of a lane in one leaf. */
static void
delete_in_leaf(Deletion *deletion, int leaf, int32 lane)
{
	pg_uuid_t	after = {{0}};
	int			n = PORTION;

	while (n == PORTION && deletion->left > 0)
	{
		pg_uuid_t	ids[PORTION];
		MemoryContext context = AllocSetContextCreate(CurrentMemoryContext,
													  "taskq tenant",
													  ALLOCSET_DEFAULT_SIZES);
		MemoryContext old = MemoryContextSwitchTo(context);

		n = taskq_store_scan_tenant(leaf, lane, deletion->tenant, PORTION,
									&after, ids);
		for (int i = 0; i < n && deletion->left > 0; i++)
		{
			CHECK_FOR_INTERRUPTS();
			delete_task(deletion, &ids[i]);
		}
		MemoryContextSwitchTo(old);
		MemoryContextDelete(context);
	}
}

static void
delete_in_lanes(Deletion *deletion)
{
	ListCell   *lc;

	deletion->running = 0;
	foreach(lc, taskq_lanes_of_tenant(deletion->tenant))
	{
		for (int leaf = 0; leaf < TASKQ_LEAVES && deletion->left > 0; leaf++)
			delete_in_leaf(deletion, leaf, lfirst_int(lc));
	}
}

/* Those too that a kind's hook has submitted when others were cancelled. */
static void
delete_tasks(Deletion *deletion)
{
	int64		before;

	do
	{
		before = deletion->cancelled;
		delete_in_lanes(deletion);
	} while (deletion->cancelled > before && deletion->left > 0);
	deletion->more = deletion->left <= 0 || deletion->running > 0;
}

/* First: they make no more tasks then. */
static void
delete_schedules(Deletion *deletion)
{
	List	   *names = taskq_schedules_of_tenant(deletion->tenant);
	ListCell   *lc;

	if (names == NIL)
		return;
	taskq_schedules_lock();
	foreach(lc, names)
	{
		TaskqScheduleState state;

		if (taskq_schedule_state_lock(lfirst(lc), true, &state) == TASKQ_LOCKED)
			deletion->schedules += taskq_schedule_delete(lfirst(lc));
	}
}

static void
require_operator(void)
{
	if (taskq_steers_all() && !taskq_tenant_is_limited())
		return;
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("permission denied to delete a tenant"),
			 errhint("That is for members of taskq_operator, not in a tenant's own tasks.")));
}

static void
tell(const Deletion *deletion)
{
	TaskqAction action = {.verb = "delete",.object = "tenant",
	.name = deletion->tenant,.count = deletion->deleted};
	JsonbParseState *state = NULL;

	taskq_json_begin(&state);
	taskq_json_number(&state, "cancelled", deletion->cancelled);
	taskq_json_number(&state, "running", deletion->running);
	taskq_json_number(&state, "schedules", deletion->schedules);
	taskq_json_number(&state, "links", deletion->links);
	action.details = taskq_json_end(&state);
	taskq_action(&action);
}

PG_FUNCTION_INFO_V1(taskq_tenant_delete);

/*
 * taskq_tenant_delete - tenant_delete(tenant, n) returns (cancelled, deleted,
 * running, schedules, links, more)
 *
 * Locks the rows of the tasks that it deletes; waits for no task.  Raises
 * 42501 for all but operators.
 */
Datum
taskq_tenant_delete(PG_FUNCTION_ARGS)
{
	Deletion	deletion = {.left = PG_INT64_MAX};
	TupleDesc	desc;
	Datum		values[6];
	bool		nulls[6] = {false};

	taskq_require_preload();
	PreventCommandIfReadOnly("taskq.tenant_delete()");
	PreventCommandDuringRecovery("taskq.tenant_delete()");
	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	if (PG_ARGISNULL(0))
		taskq_invalid_argument("tenant", "must not be null");
	if (!PG_ARGISNULL(1))
		deletion.left = PG_GETARG_INT32(1);
	if (deletion.left <= 0)
		taskq_invalid_argument("n", "must be greater than 0");
	deletion.tenant = text_to_cstring(PG_GETARG_TEXT_PP(0));
	require_operator();
	taskq_defs_begin();
	delete_schedules(&deletion);
	delete_tasks(&deletion);
	deletion.links = taskq_links_delete_tenant(deletion.tenant);
	tell(&deletion);

	values[0] = Int64GetDatum(deletion.cancelled);
	values[1] = Int64GetDatum(deletion.deleted);
	values[2] = Int64GetDatum(deletion.running);
	values[3] = Int64GetDatum(deletion.schedules);
	values[4] = Int64GetDatum(deletion.links);
	values[5] = BoolGetDatum(deletion.more);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}
