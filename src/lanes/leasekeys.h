/* leasekeys.h: concurrency keys of tasks that external workers have */
#ifndef TASKQ_LEASEKEYS_H
#define TASKQ_LEASEKEYS_H

#include "postgres.h"

#include "store/tasks.h"

extern void taskq_lease_keys_count(void);
extern void taskq_lease_key_ended(TaskqRow *row);

#endif
