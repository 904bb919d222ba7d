/* steer.h: steering one task, for who does so with many */
#ifndef TASKQ_STEER_H
#define TASKQ_STEER_H

#include "postgres.h"

#include "base/id.h"
#include "datatype/timestamp.h"
#include "fmgr.h"
#include "utils/jsonb.h"

/* What a cancel came to. */
typedef struct TaskqCancelled
{
	bool		cancelled;
	bool		terminated;
	const char *message;
} TaskqCancelled;

/* What a new priority came to; a position of 0 is none. */
typedef struct TaskqReordered
{
	int16		old_priority;
	int64		old_position;
	int64		new_position;
	bool		gain_known;
	int64		gain_us;		/* so much earlier it starts, by estimate */
} TaskqReordered;

extern PGDLLEXPORT Datum taskq_task_retry(PG_FUNCTION_ARGS);
extern PGDLLEXPORT Datum taskq_task_delete(PG_FUNCTION_ARGS);
extern char *taskq_listed_queue(FunctionCallInfo fcinfo, int n,
								const char *argument);
extern char *taskq_steered_kind(FunctionCallInfo fcinfo, const char *verb);
extern void taskq_steering_begin(const char *function);
extern void taskq_cancel_task(const pg_uuid_t *id, char *reason, bool force,
							  TimestampTz until, TaskqCancelled *cancelled);
extern void taskq_reorder_task(const pg_uuid_t *id, int priority,
							   const char *reason, TimestampTz until,
							   bool positions, TaskqReordered *reordered);
extern void taskq_reschedule_task(const pg_uuid_t *id, TimestampTz run_at,
								  TimestampTz until);
extern void taskq_retry_step(const pg_uuid_t *id, Jsonb *step_payload,
							 const pg_uuid_t *depends, int n, char on_failure,
							 pg_uuid_t *new_id);
extern void taskq_run_task_now(const pg_uuid_t *id, TimestampTz until);

#endif
