/* tasklog.h: what the task that runs in this worker logs */
#ifndef TASKQ_TASKLOG_H
#define TASKQ_TASKLOG_H

#include "postgres.h"

#include "base/current.h"
#include "utils/jsonb.h"

extern char *taskq_tasklog_enough(void);
extern void taskq_tasklog_say(int level, const char *message, Jsonb *details);

#endif
