/* cancel.h: making running tasks end */
#ifndef TASKQ_CANCEL_H
#define TASKQ_CANCEL_H

#include "postgres.h"

#include "id.h"
#include "shmem.h"

extern void taskq_cancel_deliver(TaskqDb *db, int slotno, const pg_uuid_t *id, Oid role, bool force, const char *reason);

extern bool taskq_cancel_listed(const pg_uuid_t *id);
extern void taskq_cancel_take(int slotno, const pg_uuid_t *id);
extern void taskq_cancel_attempt_ended(const pg_uuid_t *id, bool final);
extern bool taskq_cancels_left(Oid dbid);
extern void taskq_cancels_drop(Oid dbid);

/* part of the dispatcher's pass */
extern void taskq_settle_cancels(void);

#endif
