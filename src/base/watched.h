/* watched.h: waking who watches the state and progress of a task */
#ifndef TASKQ_WATCHED_H
#define TASKQ_WATCHED_H

#include "postgres.h"

#include "base/shmem.h"

extern ConditionVariable *taskq_watched_bucket(const pg_uuid_t *id);
extern void taskq_watched_wake(const pg_uuid_t *id);
extern void taskq_watched_wake_refs(const TaskqRef *refs, int n);
extern void taskq_watched_wake_all(void);
extern void taskq_watched_note(const pg_uuid_t *id);

#endif
