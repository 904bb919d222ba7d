/* outbox.h: what ends is written down before anybody can be told of it */
#ifndef TASKQ_OUTBOX_H
#define TASKQ_OUTBOX_H

#include "postgres.h"

#include "base/id.h"
#include "base/shmem.h"

/* A slot's batch that somebody may be told of yet. */
typedef struct TaskqUntold
{
	int			slot;
	uint32		generation;
	uint32		batch;
}			TaskqUntold;

extern void taskq_outbox_worker(int slotno);
extern void taskq_outbox_ended(const pg_uuid_t *id);
extern void taskq_outbox_hold(void);
extern int	taskq_outbox_slots(int outbox, TaskqUntold * slots,
							   pg_uuid_t *ids, int *nids);
extern void taskq_outbox_moved(const TaskqUntold * slots, int n, int outbox);
extern void taskq_feed_doubt(TaskqDb *db);

#endif
