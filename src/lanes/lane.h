/* lane.h: what shared memory knows of the lanes */
#ifndef TASKQ_LANE_H
#define TASKQ_LANE_H

#include "postgres.h"

#include "base/id.h"
#include "base/shmem.h"

/*
 * All functions: the caller holds the main lock exclusively, and none fails.
 */

extern void taskq_lane_init(void);
extern TaskqLane *taskq_lane_find(Oid dbid, int32 id);
extern TaskqLane *taskq_lane_enter(TaskqDb *db, int32 id, Oid role,
								   int16 priority);
extern TaskqLane *taskq_lane_take_turn(TaskqDb *db, int32 id, Oid role,
									   int16 priority);
extern void taskq_lane_forget(TaskqLane *lane);
extern void taskq_lanes_forget(Oid dbid);
extern void taskq_db_forget(Oid dbid);
extern void taskq_lane_count(Oid dbid, Oid role, TaskqLane *lane,
							 int64 waiting, int64 later);
extern int64 taskq_lane_pending(Oid dbid, Oid role);
extern int64 taskq_lane_pending_of(Oid dbid, Oid role, int64 tenant);
extern void taskq_lanes_settle(Oid dbid);
extern void taskq_lane_rewind(TaskqLane *lane, const pg_uuid_t *id,
							  uint32 leaves);
extern void taskq_lane_submitted(TaskqLane *lane, const pg_uuid_t *id,
								 uint32 leaves);
extern void taskq_lane_ready(TaskqLane *lane, const TaskqDue *due);
extern void taskq_lane_changed(TaskqLane *lane);
extern void taskq_lanes_changed(Oid dbid);
extern void taskq_lane_scanned(TaskqLane *lane, int n);
extern void taskq_lane_head(const TaskqLane *lane, pg_uuid_t *head);
extern void taskq_lane_again(TaskqLane *lane, const pg_uuid_t *id);
extern void taskq_lane_skipped(TaskqLane *lane, const pg_uuid_t *id,
							   TimestampTz steady_now);
extern void taskq_lane_retry_skipped(TaskqLane *lane);
extern void taskq_lanes_rewind_all(Oid dbid, const pg_uuid_t *from);
extern void taskq_lane_wake(TaskqDb *db, Oid role);
extern void taskq_claimable_wake(void);
extern bool taskq_lanes_full(void);
extern void taskq_lane_leave_out(TaskqDb *db, int32 id);
extern bool taskq_lanes_dirty(Oid dbid, Oid role);

#define taskq_leaf_bit(id) (1u << taskq_id_slot(id))
#define TASKQ_ALL_LEAVES ((1u << TASKQ_LEAVES) - 1)

#endif
