/*-------------------------------------------------------------------------
 *
 * state.c
 *		The states of a task and the one function that changes them.
 *
 *		scheduled ──due──▶ pending ──claim──▶ running ──▶ completed
 *		blocked ──deps──▶ pending              │  ├─────▶ failed
 *		                   retrying ◀──error───┘  └─────▶ cancelled
 *		                      └──due──▶ pending
 *
 * The stored state of a task that runs stays 'p': its row is locked, and the
 * lock is the claim.  Only a task that can't hold a lock while it runs is
 * stored as running: 'r' a command with transactions of its own, 'e' one that
 * an external worker has under a lease.  'r' to 'r' is one whose worker is
 * gone.
 *
 * What goes with the state is written here too: timers, leases, rows in table
 * "ready", and the attempts that are not the last.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "base/current.h"
#include "base/watched.h"
#include "store/attempts.h"
#include "store/dependencies.h"
#include "store/keyed.h"
#include "store/labels.h"
#include "store/leases.h"
#include "store/ready.h"
#include "store/state.h"
#include "store/timers.h"
#include "store/uniques.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

typedef struct StateInfo
{
	char		state;
	const char *name;
	const char *next;			/* states it may change to */
} StateInfo;

static const StateInfo states[] = {
	{TASKQ_PENDING, "pending", "sretcfx"},
	{TASKQ_SCHEDULED, "scheduled", "px"},
	{TASKQ_BLOCKED, "blocked", "psx"},
	{TASKQ_RETRYING, "retrying", "px"},
	{TASKQ_RUNNING, "running", "rtcfx"},
	{TASKQ_LEASED, "running", "pstcfx"},
	{TASKQ_COMPLETED, "completed", ""},
	{TASKQ_FAILED, "failed", ""},
	{TASKQ_CANCELLED, "cancelled", ""},
};

/* is told of each task that comes to its end, after its row is written */
void		(*taskq_state_ended) (TaskqRow *row) = NULL;

/*
 * is told of each attempt, or task, that comes to its end, before its row is
 * changed
 */
void		(*taskq_state_counted) (TaskqRow *row, char from,
									const TaskqChange *change) = NULL;

static const StateInfo *
state_info(char state)
{
	for (int i = 0; i < lengthof(states); i++)
	{
		if (states[i].state == state)
			return &states[i];
	}
	return NULL;
}

/* taskq_state_final - does a task in this state never change again? */
bool
taskq_state_final(char state)
{
	return state == TASKQ_COMPLETED || state == TASKQ_FAILED ||
		state == TASKQ_CANCELLED;
}

/* taskq_state_name - the word for a stored state */
const char *
taskq_state_name(char state)
{
	const StateInfo *info = state_info(state);

	return info ? info->name : "unknown";
}

static bool
is_claimable(char state)
{
	return state == TASKQ_PENDING || state == TASKQ_RUNNING;
}

/* A task is claimable: its row in table "ready", or "keyed". */
static void
enter_ready(TaskqRow *row, const pg_uuid_t *id)
{
	int32		lane = DatumGetInt32(taskq_row_value(row, lane));

	if (taskq_lane_keyed(lane))
		taskq_keyed_insert(row, 1);
	else if (!taskq_row_isnull(row, run_at))
		taskq_ready_insert(lane,
						   DatumGetTimestampTz(taskq_row_value(row, run_at)),
						   id);
}

/* Does this session run the task just now? */
static bool
is_current(const pg_uuid_t *id)
{
	return taskq_in_task() && taskq_id_eq(&taskq_current->id, id);
}

/*
 * ... and now it is not.  A worker deletes rows in table "keyed" of what it
 * has run later, many at once.
 */
static void
leave_ready(TaskqRow *row, const pg_uuid_t *id)
{
	int32		lane = DatumGetInt32(taskq_row_value(row, lane));

	if (taskq_lane_keyed(lane) && is_current(id))
		return;
	if (taskq_lane_keyed(lane))
		taskq_keyed_delete(row);
	else if (!taskq_row_isnull(row, run_at))
		taskq_ready_delete(lane,
						   DatumGetTimestampTz(taskq_row_value(row, run_at)),
						   id);
}

/* What had no time of its own takes the place of its submit. */
static void
set_place(TaskqRow *row, const pg_uuid_t *id)
{
	if (taskq_row_isnull(row, run_at) &&
		!taskq_lane_keyed(DatumGetInt32(taskq_row_value(row, lane))))
		taskq_row_set(row, run_at, TimestampTzGetDatum(taskq_id_time(id)));
}

/*
 * The task's row in table "ready", which it has while it is claimable if it
 * was not so from its submit on: then it has a run_at, and what had none gets
 * the time of its submit, so that it takes its old place.  One that has a
 * concurrency key always has one, in table "keyed".
 */
static void
change_ready(TaskqRow *row, char from, const TaskqChange *change,
			 const pg_uuid_t *id)
{
	char		to = change->to;

	if (is_claimable(from) == is_claimable(to))
		return;
	if (!is_claimable(to))
	{
		leave_ready(row, id);
		return;
	}
	if (change->run_at != 0)
		taskq_row_set(row, run_at, TimestampTzGetDatum(change->run_at));
	else
		set_place(row, id);
	enter_ready(row, id);
}

/* A task leaves a state: what it had in other tables for that goes. */
static void
leave_state(TaskqRow *row, char from, const pg_uuid_t *id)
{
	TaskqLease	lease;

	if (from == TASKQ_LEASED && taskq_lease_find(id, &lease))
	{
		if (taskq_lease_ended != NULL)
			taskq_lease_ended(row);
		taskq_timer_delete(lease.timer, id);
		taskq_lease_delete(id);
	}
	if ((from == TASKQ_SCHEDULED || from == TASKQ_RETRYING) &&
		!taskq_row_isnull(row, run_at))
		taskq_timer_delete(DatumGetTimestampTz(taskq_row_value(row, run_at)),
						   id);
}

/* What the change says for the columns of its row. */
static void
set_columns(TaskqRow *row, const TaskqChange *change)
{
	taskq_row_set(row, state, CharGetDatum(change->to));
	if (change->attempt > 0)
		taskq_row_set(row, attempt, Int16GetDatum(change->attempt));
	if (change->worker != NULL)
		taskq_row_set(row, worker, CStringGetTextDatum(change->worker));
	if (change->started_at != 0)
		taskq_row_set(row, started_at,
					  TimestampTzGetDatum(change->started_at));
	if (change->finished_at != 0)
		taskq_row_set(row, finished_at,
					  TimestampTzGetDatum(change->finished_at));
	if (change->run_at != 0)
		taskq_row_set(row, run_at, TimestampTzGetDatum(change->run_at));
	if (change->has_result && !change->result_isnull)
		taskq_row_set(row, result, change->result);
	if (change->error != 0)
		taskq_row_set(row, error, change->error);
	else if (change->to == TASKQ_COMPLETED)
		taskq_row_set_null(row, error);
	if (change->progress != 0)
		taskq_row_set(row, progress, change->progress);
	/* those of the attempt before are none of this one's */
	if (change->resources != 0)
		taskq_row_set(row, resources, change->resources);
	else if (change->attempt > 0)
		taskq_row_set_null(row, resources);
	if (change->cancel_reason != NULL)
		taskq_row_set(row, cancel_reason,
					  CStringGetTextDatum(change->cancel_reason));
	if (change->crashes > 0)
		taskq_row_set(row, crashes, Int16GetDatum(change->crashes));
}

static FullTransactionId changed_by;

/*
 * taskq_state_changed_by - the transaction in which this session has changed
 * a task's state last
 */
FullTransactionId
taskq_state_changed_by(void)
{
	return changed_by;
}

/*
 * taskq_state_change - bring a task to another state
 *
 * The caller's transaction has locked the row.  A scheduled or retrying
 * task's timer goes with the state, one is made for a task that is to wait.
 * A task that becomes claimable gets its row in table "ready", one that
 * ceases to be loses it. A task that leaves 'e' loses its lease.  Whoever is
 * to know of a task that ended is told, in the same transaction.
 */
void
taskq_state_change(TaskqRow *row, const TaskqChange *change)
{
	char		from = taskq_row_state(row);
	const StateInfo *info = state_info(from);
	pg_uuid_t	id = *DatumGetUUIDP(taskq_row_value(row, id));

	if (info == NULL || strchr(info->next, change->to) == NULL)
		elog(ERROR, "task %s cannot change from \"%c\" to \"%c\"",
			 taskq_id_text(&id), from, change->to);

	if (taskq_state_counted != NULL &&
		(taskq_state_final(change->to) || change->to == TASKQ_RETRYING))
		taskq_state_counted(row, from, change);

	/*
	 * what the row tells of the attempt before is kept before it is
	 * overwritten
	 */
	if (from == TASKQ_RUNNING && change->to == TASKQ_RUNNING)
		taskq_attempt_insert(row, DatumGetInt16(taskq_row_value(row, attempt)),
							 TASKQ_ATTEMPT_LOST, (Datum) 0);
	taskq_row_stock(row, -1);
	leave_state(row, from, &id);
	if (change->to == TASKQ_RETRYING || change->to == TASKQ_SCHEDULED)
		taskq_timer_insert(change->run_at, &id,
						   DatumGetInt32(taskq_row_value(row, lane)));

	if (from == TASKQ_BLOCKED && !change->of_many)
		taskq_blocked_delete(&id, false);
	if (!change->of_many)
		change_ready(row, from, change, &id);
	set_columns(row, change);
	taskq_row_stock(row, 1);
	if (change->to == TASKQ_RETRYING)
		taskq_attempt_insert(row, change->attempt,
							 change->lost ? TASKQ_ATTEMPT_LOST
							 : TASKQ_ATTEMPT_FAILED,
							 change->error);
	if (taskq_state_final(change->to) && !taskq_row_isnull(row, unique_key))
		taskq_unique_ended(&id, change->finished_at ? change->finished_at
						   : GetCurrentTimestamp());
	taskq_watched_note(&id);
	taskq_store_update(row);
	changed_by = GetTopFullTransactionId();
	/* a blocked one has had that label from its submit on */
	if (from != TASKQ_BLOCKED && taskq_row_is_held(row))
		taskq_labels_add(row, taskq_label_held(), 0);
	if (!taskq_state_final(change->to))
		return;
	if (taskq_labels_wants_end(row))
		taskq_labels_ended(row);
	if (taskq_state_ended != NULL)
		taskq_state_ended(row);
}

/*
 * taskq_state_replace - a task that waits becomes another one, under its id
 *
 * The caller's transaction has locked the row; with is that of the new one,
 * scheduled or pending.  What is kept of the old one's attempts goes.  A
 * pending one without a run_at must be in the lane in which it is found by
 * its id.
 */
void
taskq_state_replace(TaskqRow *row, const TaskqRow *with)
{
	char		from = taskq_row_state(row);
	pg_uuid_t	id = *DatumGetUUIDP(taskq_row_value(row, id));

	taskq_row_stock(row, -1);
	leave_state(row, from, &id);
	if (is_claimable(from))
		leave_ready(row, &id);
	if (DatumGetInt16(taskq_row_value(row, attempt)) > 0)
		taskq_attempts_delete(&id);
	taskq_labels_delete(row);
	for (int column = 1; column <= Natts_task; column++)
	{
		if (column == Anum_task_id || column == Anum_task_slot)
			continue;
		row->values[column - 1] = with->values[column - 1];
		row->nulls[column - 1] = with->nulls[column - 1];
	}
	if (taskq_row_state(row) == TASKQ_SCHEDULED)
		taskq_timer_insert(DatumGetTimestampTz(taskq_row_value(row, run_at)),
						   &id, DatumGetInt32(taskq_row_value(row, lane)));
	else
		enter_ready(row, &id);
	taskq_row_stock(row, 1);
	taskq_watched_note(&id);
	taskq_store_update(row);
	taskq_labels_insert(row, 1);
}

/*
 * taskq_state_reschedule - another due time for a task that waits for its own
 *
 * The caller's transaction has locked the row.
 */
void
taskq_state_reschedule(TaskqRow *row, TimestampTz run_at)
{
	pg_uuid_t	id = *DatumGetUUIDP(taskq_row_value(row, id));

	taskq_timer_delete(DatumGetTimestampTz(taskq_row_value(row, run_at)), &id);
	taskq_timer_insert(run_at, &id, DatumGetInt32(taskq_row_value(row, lane)));
	taskq_row_set(row, run_at, TimestampTzGetDatum(run_at));
	taskq_store_update(row);
	if (taskq_row_is_held(row))
		taskq_labels_add(row, taskq_label_held(), 0);
}

/*
 * taskq_state_move - to another lane, of a task that waits; both are for tasks
 * with concurrency keys, or none is
 *
 * The caller's transaction has locked the row.  A task that is claimable gets
 * a row in table "ready" if it had none: its new lane may have been saved past
 * its id.
 */
void
taskq_state_move(TaskqRow *row, int32 lane)
{
	char		state = taskq_row_state(row);
	pg_uuid_t	id = *DatumGetUUIDP(taskq_row_value(row, id));
	bool		timed = state == TASKQ_SCHEDULED || state == TASKQ_RETRYING;
	TimestampTz run_at = timed
	? DatumGetTimestampTz(taskq_row_value(row, run_at)) : 0;

	if (is_claimable(state))
		leave_ready(row, &id);
	if (timed)
		taskq_timer_delete(run_at, &id);
	taskq_row_stock(row, -1);
	taskq_row_set(row, lane, Int32GetDatum(lane));
	taskq_row_stock(row, 1);
	if (timed)
		taskq_timer_insert(run_at, &id, lane);
	if (is_claimable(state))
	{
		set_place(row, &id);
		enter_ready(row, &id);
	}
	taskq_store_update(row);
}
