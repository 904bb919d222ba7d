/* tasklog.h: what the task that runs in this worker logs */
#ifndef TASKQ_TASKLOG_H
#define TASKQ_TASKLOG_H

#include "postgres.h"

#include "base/current.h"
#include "utils/jsonb.h"

/* How much an attempt has said. */
typedef struct TaskqSaid
{
	pg_uuid_t	id;
	int			attempt;
	int			lines;
} TaskqSaid;

extern void taskq_tasklog_init(void);
extern char *taskq_tasklog_enough(void);
extern void taskq_tasklog_say(int level, const char *message, Jsonb *details);
extern void taskq_tasklog_prepare(void);
extern void taskq_tasklog_begin(void);
extern void taskq_tasklog_end(void);
extern void taskq_tasklog_flush(void);
extern void taskq_tasklog_undone(const TaskqSaid *said, int n);

#endif
