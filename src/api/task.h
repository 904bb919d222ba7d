/* task.h: what SQL functions about one task have in common */
#ifndef TASKQ_TASK_H
#define TASKQ_TASK_H

#include "postgres.h"

#include "base/args.h"
#include "base/id.h"
#include "base/shmem.h"
#include "lanes/live.h"
#include "store/defs.h"
#include "store/tasks.h"

extern void taskq_task_require(const pg_uuid_t *id, TaskqRow *row);
extern const char *taskq_task_state(TaskqRow *row, const TaskqLive *live);
extern Datum taskq_task_progress_jsonb(const pg_uuid_t *id, bool *final);
extern Oid	taskq_task_viewer(void);
extern Datum taskq_task_row(const pg_uuid_t *id);
extern void taskq_task_rows(const pg_uuid_t *ids, int n,
							void (*put) (void *to, HeapTupleHeader row),
							void *to);

#endif
