/* fair.h: tenants of a role take turns */
#ifndef TASKQ_FAIR_H
#define TASKQ_FAIR_H

#include "postgres.h"

#include "base/shmem.h"

/*
 * The caller holds the main lock, exclusively for taskq_fair_served.  role:
 * InvalidOid for external workers, who serve all.
 */
extern uint64 taskq_fair_turn(const TaskqLane *lane, Oid role);
extern void taskq_fair_served(TaskqLane *lane, Oid role);

#endif
