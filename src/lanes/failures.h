/* failures.h: which steps of a task failed, and why: a few of the last ones */
#ifndef TASKQ_FAILURES_H
#define TASKQ_FAILURES_H

#include "postgres.h"

#include "base/shmem.h"

extern char *taskq_failure_text(const char *step, const char *error,
								Datum details, const char *argument);
extern void taskq_failures_add(TaskqFailures *failures, const char *text);
extern void taskq_failures_add_all(TaskqFailures *failures, Datum array);
extern Datum taskq_failures_jsonb(const TaskqFailures *failures);

#endif
