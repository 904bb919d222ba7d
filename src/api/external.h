/* external.h: what functions for external workers have in common */
#ifndef TASKQ_EXTERNAL_H
#define TASKQ_EXTERNAL_H

#include "postgres.h"

#include "fmgr.h"
#include "nodes/execnodes.h"
#include "store/leases.h"
#include "store/tasks.h"
#include "utils/array.h"

/* What task_claim asks for. */
typedef struct TaskqExternalClaim
{
	const char *worker;
	ArrayType  *queues;			/* or NULL: all */
	ArrayType  *kinds;
	int			n;
	int64		lease_us;
	bool	   *no_room;		/* set when something was passed over for that */
} TaskqExternalClaim;

extern void taskq_external_begin(const char *function);
extern int64 taskq_lease_arg(FunctionCallInfo fcinfo, int n);
extern int	taskq_external_claim_from(const TaskqExternalClaim *claim,
									  int32 lane, int wanted,
									  ReturnSetInfo *rsinfo);
extern void taskq_claimed_lock(FunctionCallInfo fcinfo, const char *function,
							   TaskqRow *row, TaskqLease *lease);

#endif
