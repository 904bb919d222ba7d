/*
 * scan.h: finding what may be claimed: lanes in their order, and the tasks of
 * a lane in theirs
 */
#ifndef TASKQ_SCAN_H
#define TASKQ_SCAN_H

#include "postgres.h"

#include "base/shmem.h"
#include "store/leaves.h"

/* A lane worth a look, as it was when the main lock was held. */
typedef struct TaskqScanLane
{
	int			index;
	uint32		generation;
	int32		id;
	int16		priority;
	int64		tenant;
	uint64		tenant_turn;	/* when its tenant was served last */
	uint64		turn;			/* ... and, of a tenant's, the lane itself */
	pg_uuid_t	head;
} TaskqScanLane;

/* What a scan of a lane needs to know, and what it finds. */
typedef struct TaskqScan
{
	int32		lane;
	pg_uuid_t	start;			/* of plain tasks */
	TaskqDue	ready;			/* of those with a row in table "ready" */
	bool		known;			/* is "saved"? */
	pg_uuid_t	saved;			/* the saved watermark */
	pg_uuid_t	high;			/* earlier scans came as far as here */
	uint32		leaves;			/* to look into */
	int			max;			/* at most TASKQ_BATCH_MAX */
	TaskqStoreFilter filter;	/* or NULL: all that is claimable */
	int			nfound;
	TaskqRef	found[TASKQ_BATCH_MAX]; /* in order of when they became
										 * claimable */
	bool		was_ready[TASKQ_BATCH_MAX]; /* ... by its row in table "ready" */
	TaskqDue	first;			/* place of the first one */
	uint32		remaining;		/* leaves that hold more */
	pg_uuid_t	next;			/* nothing plain before it is left */
	TaskqDue	next_ready;		/* ... and nothing else before this */
} TaskqScan;

extern int	taskq_scan_lanes(Oid dbid, Oid role, TaskqScanLane **found);
extern void taskq_scan_from(const TaskqLane *lane, TaskqScan *scan);
extern void taskq_scan_lane(TaskqScan *scan);

#endif
