/*-------------------------------------------------------------------------
 *
 * unique.c
 *		Submitting a task whose key may be taken by another one.
 *
 * Of the tasks of a role, tenant and kind that are not finished one has the
 * key; those that run may be followed by one that waits, if the submit says
 * so.  What a submit finds is exact: it waits for transactions under way that
 * took the key or gave it up.
 *
 * Who shall run after this submit's transaction (replace, queue_one) must not
 * begin before it commits, when it would not see what the transaction wrote:
 * so a waiting task that stands for a submit has its row locked until then.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "base/args.h"
#include "lanes/lane.h"
#include "lanes/live.h"
#include "lanes/note.h"
#include "lanes/unique.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "store/rights.h"
#include "store/state.h"
#include "store/uniques.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

/* What became of a task that has the key. */
typedef enum UniqueHolder
{
	HOLDER_WAITS,				/* and, where wanted, its row is locked */
	HOLDER_RUNS,
	HOLDER_GONE,				/* finished, or not there any more */
	HOLDER_BUSY					/* another session, no worker, has its row */
} UniqueHolder;

static bool
runs(const pg_uuid_t *id)
{
	TaskqLive	live;

	return taskq_live_find(id, &live) && live.running && live.unfinished;
}

static bool
stored_as_running(TaskqRow *row)
{
	return taskq_row_state(row) == TASKQ_RUNNING ||
		taskq_row_state(row) == TASKQ_LEASED;
}

/*
 * Lock the row of a task unless it runs.
 *
 * A worker says what it is about to run before it locks the row; between two
 * attempts the row is free, and the worker has the task all the same.
 */
static UniqueHolder
lock_waiting(const pg_uuid_t *id, TaskqRow *row)
{
	if (!taskq_store_find(id, row) || taskq_state_final(taskq_row_state(row)))
		return HOLDER_GONE;
	if (stored_as_running(row) || runs(id))
		return HOLDER_RUNS;
	switch (taskq_store_lock(id, false, row))
	{
		case TASKQ_MISSING:
			return HOLDER_GONE;
		case TASKQ_BUSY:
			return runs(id) ? HOLDER_RUNS : HOLDER_BUSY;
		case TASKQ_LOCKED:
			break;
	}
	taskq_note_touched(taskq_lane_get(DatumGetInt32(taskq_row_value(row, lane))), id);
	if (taskq_state_final(taskq_row_state(row)))
		return HOLDER_GONE;
	return stored_as_running(row) || runs(id) ? HOLDER_RUNS : HOLDER_WAITS;
}

/* Does the task, which is not locked, still have its key? */
static UniqueHolder
look(const pg_uuid_t *id)
{
	TaskqRow	row;

	return !taskq_store_find(id, &row) ||
		taskq_state_final(taskq_row_state(&row)) ? HOLDER_GONE : HOLDER_RUNS;
}

/* ---- the waiting task stands for this submit ---- */

/*
 * Scans that met the locked row have passed over it: it is to be looked for
 * again, also if nothing else has changed.
 */
static void
note_again(const TaskqLaneDef *lane, TaskqRow *row, int64 count)
{
	pg_uuid_t  *id = DatumGetUUIDP(taskq_row_value(row, id));

	if (taskq_row_state(row) != TASKQ_PENDING)
		return;
	if (taskq_row_isnull(row, run_at) || taskq_lane_keyed(lane->id))
		taskq_note_submitted(lane, id, taskq_leaf_bit(id), count);
	else
		taskq_note_ready(lane,
						 DatumGetTimestampTz(taskq_row_value(row, run_at)),
						 id, count, false);
}

static void
require_replaceable(const TaskqLaneDef *lane, TaskqRow *row)
{
	taskq_require_steer(lane, row, "replace");
	if (taskq_row_state(row) != TASKQ_BLOCKED)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_TASK_WRONG_STATE),
			 errmsg("the task that has the unique key cannot be replaced, for it waits for others"),
			 errdetail("Task %s has it.", taskq_id_text(DatumGetUUIDP(taskq_row_value(row, id)))),
			 errhint("Cancel it first, or pass \"return\" as argument \"on_conflict\".")));
}

/* The task whose row is locked becomes what was submitted. */
static void
replace(TaskqSubmit *submit, Datum payload, TaskqRow *row)
{
	const TaskqLaneDef *lane =
	taskq_lane_get(DatumGetInt32(taskq_row_value(row, lane)));
	bool		waited = taskq_row_state(row) != TASKQ_PENDING;

	require_replaceable(lane, row);
	taskq_row_set(&submit->row, payload, payload);

	/* it keeps its place only among tasks that are found by their ids */
	if (taskq_row_isnull(&submit->row, run_at) &&
		(waited || lane->id != submit->lane->id ||
		 !taskq_row_isnull(row, run_at)))
		taskq_submit_at(submit, GetCurrentTimestamp());
	taskq_state_replace(row, &submit->row);

	if (waited)
		taskq_note_later(lane, -1);
	else
		taskq_note_claimed(lane);
	note_again(submit->lane, row, 1);
	if (!submit->scheduled)
		return;
	taskq_note_later(submit->lane, 1);
	taskq_note_due(submit->run_at);
}

/* ---- who has the key ---- */

static void
conflict(const TaskqSubmit *submit, const pg_uuid_t *id)
{
	ereport(ERROR,
			(errcode(ERRCODE_TASK_WRONG_STATE),
			 errmsg("a task of kind \"%s\" has this unique key already", NameStr(submit->lane->kind)),
			 errdetail("Task %s has it.", taskq_id_text(id)),
			 errhint("Pass \"return\" as argument \"on_conflict\" to get its id.")));
}

/* What one look at the rows of a key came to. */
typedef enum UniqueAnswer
{
	ANSWER_FREE,
	ANSWER_TAKEN,				/* *id says by which task */
	ANSWER_AGAIN,
	ANSWER_WAIT					/* for who has the row of task *id */
} UniqueAnswer;

/* One of the tasks that have it; *answer as far as is known by now. */
static UniqueAnswer
ask_holder(TaskqSubmit *submit, Datum payload, const TaskqUnique *unique,
		   pg_uuid_t *id)
{
	bool		lock = submit->on_conflict == TASKQ_CONFLICT_REPLACE ||
	submit->on_conflict == TASKQ_CONFLICT_QUEUE_ONE;
	TaskqRow	row;

	switch (lock ? lock_waiting(&unique->task, &row) : look(&unique->task))
	{
		case HOLDER_GONE:

			/*
			 * it has ended since its row was read, and that is gone too by
			 * now; or somebody has deleted the task by other means
			 */
			(void) taskq_unique_delete(unique);
			return ANSWER_AGAIN;
		case HOLDER_BUSY:
			*id = unique->task;
			return ANSWER_WAIT;
		case HOLDER_RUNS:
			if (lock)
				return ANSWER_FREE;
			break;
		case HOLDER_WAITS:
			if (submit->on_conflict == TASKQ_CONFLICT_REPLACE)
				replace(submit, payload, &row);
			else
				note_again(taskq_lane_get(DatumGetInt32(taskq_row_value(&row, lane))),
						   &row, 0);
			break;
	}
	if (submit->on_conflict == TASKQ_CONFLICT_ERROR)
		conflict(submit, &unique->task);
	*id = unique->task;
	return ANSWER_TAKEN;
}

/* ... that has ended, but keeps it for a while. */
static UniqueAnswer
ask_kept(const TaskqSubmit *submit, const TaskqUnique *unique, pg_uuid_t *id)
{
	if (unique->until <= GetCurrentTimestamp() || submit->unique_anew)
		return taskq_unique_delete(unique) ? ANSWER_FREE : ANSWER_AGAIN;
	if (submit->on_conflict == TASKQ_CONFLICT_ERROR)
		conflict(submit, &unique->task);
	*id = unique->task;
	return ANSWER_TAKEN;
}

/*
 * Look who has the key, which is locked, the newest task first: if any waits,
 * it is that.
 */
static UniqueAnswer
ask(TaskqSubmit *submit, Datum payload, const TaskqUniqueKey *key,
	pg_uuid_t *id, TransactionId *in_doubt)
{
	List	   *found = taskq_unique_find(key, in_doubt);

	if (TransactionIdIsValid(*in_doubt))
		return ANSWER_AGAIN;
	for (int i = list_length(found) - 1; i >= 0; i--)
	{
		const TaskqUnique *unique = list_nth(found, i);
		UniqueAnswer answer = unique->until != DT_NOEND
		? ask_kept(submit, unique, id)
		: ask_holder(submit, payload, unique, id);

		if (answer != ANSWER_FREE)
			return answer;
	}
	return ANSWER_FREE;
}

/*
 * Wait for the session that has the task's row.  It is no worker, but if one
 * takes the row now, we wait for that.
 */
static void
wait_for_row(const pg_uuid_t *id)
{
	TaskqRow	row;
	TaskqLockResult result = taskq_store_lock(id, true, &row);

	if (result == TASKQ_LOCKED)
		taskq_note_touched(taskq_lane_get(DatumGetInt32(taskq_row_value(&row, lane))), id);
}

/*
 * taskq_unique_take - may the task that is to be submitted be inserted?
 *
 * If so it has the key from now on, under the id given.  If not *id is that
 * of the task that stands for it.  Waits for other transactions as a unique
 * index does; raises PT409 where the submit wants that, 42501 if it would
 * replace a task that the caller may not steer.
 */
bool
taskq_unique_take(TaskqSubmit *submit, Datum payload, pg_uuid_t *id)
{
	TaskqUniqueKey key = {.role = submit->lane->role_oid,
	.role_id = submit->lane->role};

	taskq_unique_hash(NameStr(submit->lane->kind),
					  taskq_row_isnull(&submit->row, tenant) ? NULL
					  : TextDatumGetCString(taskq_row_value(&submit->row, tenant)),
					  submit->unique_key, &key);
	for (;;)
	{
		pg_uuid_t	other;
		TransactionId in_doubt;
		UniqueAnswer answer;

		CHECK_FOR_INTERRUPTS();
		taskq_unique_lock(&key);
		answer = ask(submit, payload, &key, &other, &in_doubt);
		if (answer == ANSWER_FREE)
			taskq_unique_insert(&key, id, submit->unique_keep_ms);
		taskq_unique_unlock(&key);
		if (answer == ANSWER_FREE)
			return true;
		if (answer == ANSWER_TAKEN)
		{
			*id = other;
			return false;
		}
		if (answer == ANSWER_WAIT)
			wait_for_row(&other);
		else if (TransactionIdIsValid(in_doubt))
			XactLockTableWait(in_doubt, NULL, NULL, XLTW_None);
	}
}
