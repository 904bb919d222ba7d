/* claim.h: reserving tasks for a worker, and giving them back */
#ifndef TASKQ_CLAIM_H
#define TASKQ_CLAIM_H

#include "postgres.h"

#include "base/shmem.h"
#include "store/defs.h"
#include "store/tasks.h"

/* Who keeps all tasks of a lane from running. */
typedef enum TaskqShut
{
	TASKQ_LANE_OPEN,
	TASKQ_LANE_FOREIGN,			/* it was made in another server or database */
	TASKQ_LANE_START_PAUSED,	/* taskq.start_paused */
	TASKQ_LANE_PAUSED			/* see taskq_lane_pause */
} TaskqShut;

extern bool taskq_claim(int slotno);
extern void taskq_claim_skipped(int slotno, const pg_uuid_t *id);
extern bool taskq_claim_runs_elsewhere(int slotno, const pg_uuid_t *id);
extern bool taskq_claim_covers(int slotno, TaskqRow *row);
extern void taskq_claim_unstarted(int slotno, int n);
extern void taskq_claim_ended(int slotno);
extern void taskq_claim_finished(int slotno, int64 run_us);
extern void taskq_claim_give_back(int slotno);
extern void taskq_claim_recall(Oid dbid);
extern void taskq_claim_release(int slotno);
extern int	taskq_claim_scanner(void);
extern void taskq_claim_stop_scan(int scanner);
extern bool taskq_claim_probe(Oid dbid, int32 lane_id, int scanner);
extern TaskqShut taskq_lane_shut(const TaskqLaneDef *lane);
extern bool taskq_kind_internal(const TaskqKind *kind);
extern bool taskq_lane_runnable(int32 id, Oid role);
extern bool taskq_lane_claimable(const TaskqLaneDef *lane);

#endif
