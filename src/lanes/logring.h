/* logring.h: log lines that are not in the tables yet */
#ifndef TASKQ_LOGRING_H
#define TASKQ_LOGRING_H

#include "postgres.h"

#include "base/logline.h"
#include "base/shmem.h"

extern void taskq_ring_init(void);

extern int64 taskq_ring_seq(void);
extern bool taskq_ring_try(TaskqLogLine *line, Oid role);
extern void taskq_ring_put(TaskqLogLine *line, Oid role);
extern bool taskq_ring_wait(TaskqLogLine *line, Oid role, int ms);

extern TaskqLogLine *taskq_ring_read(const pg_uuid_t *id, int *n);
extern bool taskq_ring_left(Oid dbid);

/* for who writes them to the tables */
extern int	taskq_ring_take(TaskqDb *db, int64 after, int max,
							TaskqLogLine *lines);
extern void taskq_ring_written(TaskqDb *db, const TaskqLogLine *lines, int n);
extern bool taskq_ring_quiet(TaskqDb *db);
extern void taskq_ring_untold(TaskqDb *db);
extern void taskq_ring_drop(Oid dbid);

#endif
