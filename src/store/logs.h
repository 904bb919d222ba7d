/* logs.h: tables "log": what tasks have logged, beside the leaves */
#ifndef TASKQ_LOGS_H
#define TASKQ_LOGS_H

#include "postgres.h"

#include "base/logline.h"
#include "store/tasks.h"

/* Where the lines of a task are to be written, if not into a leaf's table. */
#define TASKQ_LOGS_GONE (-1)	/* the task is */
#define TASKQ_LOGS_BUSY (-2)	/* not now: it is being deleted, or the tables
								 * are locked */

#define TASKQ_LOG_COLUMNS 8		/* of taskq_internal.log_NN */

extern bool taskq_logs_begin(void);
extern void taskq_logs_values(const TaskqLogLine *line, Datum *values,
							  bool *nulls);
extern int	taskq_logs_home(const pg_uuid_t *id);
extern bool taskq_logs_locked_here(const pg_uuid_t *id);
extern void taskq_logs_insert(int leaf, TaskqLogLine **lines, int n);
extern bool taskq_logs_has(int leaf, const TaskqLogLine *line,
						   Snapshot snapshot);
extern int	taskq_logs_leaf(const pg_uuid_t *id, Snapshot snapshot);
extern int	taskq_logs_read(int leaf, const pg_uuid_t *id, int level,
							int64 after, bool backwards, int max,
							TaskqLogLine *lines);
extern void taskq_logs_move(TaskqRow *from, TaskqRow *to, int n);
extern void taskq_logs_delete(TaskqRow *row);

#endif
