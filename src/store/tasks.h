/* tasks.h: table task, row by row */
#ifndef TASKQ_TASKS_H
#define TASKQ_TASKS_H

#include "postgres.h"

#include "access/htup.h"
#include "base/id.h"
#include "store/store.h"

/* columns of taskq_internal.task */
enum
{
	Anum_task_id = 1,
	Anum_task_lane,
	Anum_task_slot,
	Anum_task_attempt,
	Anum_task_state,
	Anum_task_max_attempts,
	Anum_task_submitted_by,
	Anum_task_timeout_ms,
	Anum_task_run_at,
	Anum_task_started_at,
	Anum_task_finished_at,
	Anum_task_result,
	Anum_task_error,
	Anum_task_worker,
	Anum_task_progress,
	Anum_task_resources,
	Anum_task_cancel_reason,
	Anum_task_crashes,
	Anum_task_depth,
	Anum_task_tags,
	Anum_task_metadata,
	Anum_task_parent,
	Anum_task_retry_of,
	Anum_task_workflow,
	Anum_task_step,
	Anum_task_claims,
	Anum_task_tenant,
	Anum_task_options,
	Anum_task_concurrency_key,
	Anum_task_unique_key,
	Anum_task_depends_on,
	Anum_task_payload,
	Natts_task = Anum_task_payload
};

/* states as stored */
#define TASKQ_PENDING 'p'
#define TASKQ_SCHEDULED 's'
#define TASKQ_RETRYING 't'
#define TASKQ_BLOCKED 'b'
#define TASKQ_RUNNING 'r'
#define TASKQ_LEASED 'e'
#define TASKQ_COMPLETED 'c'
#define TASKQ_FAILED 'f'
#define TASKQ_CANCELLED 'x'

/* One task as read from its leaf. */
typedef struct TaskqRow
{
	int			leaf;
	ItemPointerData tid;
	TransactionId xmin;			/* FrozenTransactionId if that is long ago */
	HeapTuple	whole;			/* with columns that are not taskq's, or NULL
								 * if there are none */
	Datum		values[Natts_task];
	bool		nulls[Natts_task];
} TaskqRow;

#define taskq_row_value(row, column) ((row)->values[Anum_task_##column - 1])
#define taskq_row_isnull(row, column) ((row)->nulls[Anum_task_##column - 1])
#define taskq_row_set(row, column, datum) \
	((row)->values[Anum_task_##column - 1] = (datum), \
	 (row)->nulls[Anum_task_##column - 1] = false)
#define taskq_row_set_null(row, column) \
	((row)->nulls[Anum_task_##column - 1] = true)

/* Who has locked a task's row. */
typedef struct TaskqLocker
{
	TransactionId xid;			/* of the transaction, not of a part of it */
	int			pid;			/* of the session, or 0: it is prepared */
} TaskqLocker;

typedef enum TaskqLockResult
{
	TASKQ_LOCKED,
	TASKQ_MISSING,
	TASKQ_BUSY					/* somebody else has the row locked */
} TaskqLockResult;

/*
 * told of each row that comes (by 1) or goes (-1), also when its state or
 * lane changes; or NULL
 */
extern void (*taskq_row_stocked) (const TaskqRow *row, int by);

static inline void
taskq_row_stock(const TaskqRow *row, int by)
{
	if (taskq_row_stocked != NULL)
		taskq_row_stocked(row, by);
}

extern bool taskq_row_option(const TaskqRow *row, const char *name);
extern bool taskq_row_previous(TaskqRow *row, int attempt, TaskqRow *previous);
extern bool taskq_row_not_for(TaskqRow *row, const char *worker,
							  TimestampTz since);
extern bool taskq_tuple_not_for(HeapTuple tuple, TupleDesc desc,
								const char *worker);
extern void taskq_store_new_row(TaskqRow *row);
extern void taskq_store_insert(TaskqRow *rows, int nrows);
extern bool taskq_store_find(const pg_uuid_t *id, TaskqRow *row);
extern bool taskq_store_keep(const pg_uuid_t *id, TaskqRow *row);
extern bool taskq_store_leaves_free(const pg_uuid_t *id);
extern TaskqLockResult taskq_store_lock(const pg_uuid_t *id, bool wait,
										TaskqRow *row);
extern TaskqLockResult taskq_store_lock_seen(const TaskqRef *ref,
											 TaskqRow *row);
extern bool taskq_store_locker(const pg_uuid_t *id, TaskqLocker *locker);
extern void taskq_store_update(TaskqRow *row);
extern void taskq_store_delete(TaskqRow *row);
extern void taskq_store_move(TaskqRow *rows, int n);

#endif
