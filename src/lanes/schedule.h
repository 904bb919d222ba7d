/* schedule.h: due times of schedules become tasks */
#ifndef TASKQ_SCHEDULE_H
#define TASKQ_SCHEDULE_H

#include "postgres.h"

#include "lanes/enqueue.h"
#include "store/schedules.h"
#include "utils/jsonb.h"

/* Runs of one schedule in one transaction, where all missed ones are made. */
#define TASKQ_MISSED_PORTION 100

/* schedule_task.c: the tasks of a run */
extern Datum taskq_schedule_check_options(Jsonb *options);
extern void taskq_schedule_task(TaskqSubmit *submit,
								const TaskqSchedule *schedule,
								TimestampTz due);
extern void taskq_schedule_submit(const TaskqSchedule *schedule,
								  TaskqScheduleState *state, TimestampTz due);

/* schedule.c: when */
extern void taskq_schedule_next(const TaskqSchedule *schedule,
								TaskqScheduleState *state, TimestampTz now);
extern char *taskq_schedule_job(const TaskqSchedule *schedule);
extern bool taskq_schedule_fire(const char *name, bool called,
								Datum not_called, TimestampTz now, TimestampTz *look_at,
								int64 *runs);
extern bool taskq_schedule_failed(const char *name, bool wait,
								  TimestampTz now, Datum error,
								  TimestampTz *look_at, bool *is_new);
extern void taskq_schedule_move(const char *name, int64 by);

#endif
