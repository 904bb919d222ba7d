/* external.h: what functions for external workers have in common */
#ifndef TASKQ_EXTERNAL_H
#define TASKQ_EXTERNAL_H

#include "postgres.h"

#include "fmgr.h"
#include "store/leases.h"
#include "store/tasks.h"

extern void taskq_claimed_lock(FunctionCallInfo fcinfo, const char *function,
							   TaskqRow *row, TaskqLease *lease);

#endif
