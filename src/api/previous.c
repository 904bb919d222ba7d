/*-------------------------------------------------------------------------
 *
 * previous.c
 *		What the attempt before left, for the next one: its error, its
 *		progress, which steps failed.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "api/previous.h"
#include "base/json.h"
#include "catalog/pg_type.h"
#include "run/complete.h"
#include "store/state.h"
#include "utils/builtins.h"

static void
push_time(JsonbParseState **state, const char *key, const TaskqRow *row,
		  int column)
{
	if (!row->nulls[column - 1])
		taskq_json_jsonb(state, key, taskq_to_jsonb(row->values[column - 1],
													TIMESTAMPTZOID));
}

static void
push_document(JsonbParseState **state, const char *key, const TaskqRow *row,
			  int column)
{
	if (!row->nulls[column - 1])
		taskq_json_jsonb(state, key, row->values[column - 1]);
}

/*
 * taskq_previous_jsonb - an object of task_id, attempt, state, worker,
 * started_at, finished_at, error, progress and result of the attempt before
 * this one, those that there are; null if there was none
 *
 * The row as it was before this attempt began.
 */
Datum
taskq_previous_jsonb(TaskqRow *row, int attempt, bool *isnull)
{
	JsonbParseState *state = NULL;
	TaskqRow	previous;

	*isnull = !taskq_row_previous(row, attempt, &previous);
	if (*isnull)
		return (Datum) 0;
	taskq_json_begin(&state);
	taskq_json_text(&state, "task_id",
					taskq_id_text(DatumGetUUIDP(taskq_row_value(&previous, id))));
	taskq_json_number(&state, "attempt",
					  attempt > 1 ? attempt - 1
					  : DatumGetInt16(taskq_row_value(&previous, attempt)));
	taskq_json_text(&state, "state",
					attempt > 1 ? "failed"
					: taskq_state_name(taskq_row_state(&previous)));
	if (!taskq_row_isnull(&previous, worker))
		taskq_json_text(&state, "worker",
						TextDatumGetCString(taskq_row_value(&previous, worker)));
	push_time(&state, "started_at", &previous, Anum_task_started_at);
	push_time(&state, "finished_at", &previous, Anum_task_finished_at);
	push_document(&state, "error", &previous, Anum_task_error);
	push_document(&state, "progress", &previous, Anum_task_progress);
	push_document(&state, "result", &previous, Anum_task_result);
	return taskq_json_end(&state);
}
