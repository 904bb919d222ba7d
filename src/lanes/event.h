/* event.h: telling the world that tasks ended */
#ifndef TASKQ_EVENT_H
#define TASKQ_EVENT_H

#include "postgres.h"

#include "base/id.h"
#include "base/shmem.h"
#include "nodes/pg_list.h"

/* The first two: the caller holds the main lock exclusively. */
extern void taskq_event_push(TaskqDb *db, const pg_uuid_t *id, char state);
extern int	taskq_event_take(Oid dbid, TaskqEvent *events, int max);
extern void taskq_event_wake_waiters(void);
extern void taskq_event_drop(Oid dbid);
extern void taskq_event_wait_for_room(Oid dbid, int n);
extern void taskq_event_stalled(const pg_uuid_t *id);
extern void taskq_event_send(const TaskqEvent *events, int n);
extern void taskq_event_send_ready(List *queues);
extern ConditionVariable *taskq_event_bucket(const pg_uuid_t *id);

#endif
