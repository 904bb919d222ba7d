/* patience.h: how long a call waits for others */
#ifndef TASKQ_PATIENCE_H
#define TASKQ_PATIENCE_H

#include "postgres.h"

#include "datatype/timestamp.h"
#include "store/tasks.h"

extern int64 taskq_patience_us(int64 wanted_us, bool capped);
extern TimestampTz taskq_busy_until(void);
extern void taskq_busy_share(TimestampTz until);
extern void taskq_busy_wait(const pg_uuid_t *id, TimestampTz until);
extern TaskqLockResult taskq_lock_briefly(const pg_uuid_t *id, TaskqRow *row);
extern void taskq_workflow_lock_briefly(const pg_uuid_t *workflow);

#endif
