/* leasekeys.h: concurrency keys of tasks that external workers have */
#ifndef TASKQ_LEASEKEYS_H
#define TASKQ_LEASEKEYS_H

#include "postgres.h"

#include "base/shmem.h"
#include "store/defs.h"
#include "store/tasks.h"

extern TaskqKeyLimit taskq_lane_key_limit(const TaskqLaneDef *lane);
extern void taskq_lease_keys_count(void);
extern void taskq_lease_key_ended(TaskqRow *row);

#endif
