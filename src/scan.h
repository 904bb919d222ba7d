/* scan.h: finding what may be claimed: lanes in their order, and the tasks of a lane in theirs */
#ifndef TASKQ_SCAN_H
#define TASKQ_SCAN_H

#include "postgres.h"

#include "shmem.h"
#include "store.h"

/* A lane worth a look, as it was when the main lock was held. */
typedef struct TaskqScanLane
{
	int			index;
	uint32		generation;
	int32		id;
	int16		priority;
	pg_uuid_t	head;
} TaskqScanLane;

/* What a scan of a lane needs to know, and what it finds. */
typedef struct TaskqScan
{
	pg_uuid_t	start;
	pg_uuid_t	high;			/* earlier scans came as far as here */
	uint32		leaves;			/* to look into */
	int			max;			/* at most TASKQ_BATCH_MAX */
	TaskqStoreFilter filter;	/* or NULL: all that is claimable */
	int			nfound;
	TaskqRef	found[TASKQ_BATCH_MAX];	/* in order of id */
	uint32		remaining;		/* leaves that hold more */
	pg_uuid_t	next;			/* nothing before it is left */
} TaskqScan;

extern int	taskq_scan_lanes(Oid dbid, Oid role, TaskqScanLane **found);
extern void taskq_scan_leaves(int32 lane, TaskqScan *scan);

#endif
