/*
 * ready.h: tables ready and watermark: what is claimable, as far as it is on
 * disk
 */
#ifndef TASKQ_READY_H
#define TASKQ_READY_H

#include "postgres.h"

#include "store/leaves.h"

/* A row of table ready. */
typedef struct TaskqReady
{
	int32		lane;
	TimestampTz due;
	pg_uuid_t	id;
} TaskqReady;

extern void taskq_ready_insert_many(const TaskqReady *ready, int n);
extern void taskq_ready_insert(int32 lane, TimestampTz due,
							   const pg_uuid_t *id);
extern void taskq_ready_delete(int32 lane, TimestampTz due,
							   const pg_uuid_t *id);
extern int	taskq_ready_next(int32 lane, TaskqDue *from, int max,
							 TaskqDue *rows);
extern int	taskq_ready_scan(int32 lane, const TaskqDue *from,
							 Snapshot snapshot, TaskqStoreFilter filter,
							 int max, TaskqRef *found, TaskqDue *dues,
							 bool *exhausted);
extern bool taskq_ready_claimable(const pg_uuid_t *id,
								  TaskqStoreFilter filter, TaskqRef *ref);
extern void taskq_ready_tidy(int32 lane);
extern bool taskq_watermark_read(int32 lane, pg_uuid_t *id);
extern bool taskq_watermark_highest(pg_uuid_t *id);
extern void taskq_watermark_write(int32 lane, const pg_uuid_t *id);

#endif
