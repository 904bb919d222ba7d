/* cancels.h: cancels of running tasks */
#ifndef TASKQ_CANCELS_H
#define TASKQ_CANCELS_H

#include "postgres.h"

#include "base/id.h"
#include "base/shmem.h"

extern void taskq_cancel_deliver(TaskqDb *db, int slotno, const pg_uuid_t *id,
								 Oid role, bool force, const char *reason);
extern bool taskq_cancel_listed(const pg_uuid_t *id);
extern void taskq_cancel_take(int slotno, const pg_uuid_t *id);
extern void taskq_cancel_attempt_ended(const pg_uuid_t *id, bool final);
extern bool taskq_cancels_full(Oid role);
extern bool taskq_cancels_left(Oid dbid);
extern void taskq_cancels_drop(Oid dbid);

#endif
