/* guard.h: which task brought the server down */
#ifndef TASKQ_GUARD_H
#define TASKQ_GUARD_H

#include "postgres.h"

#include "base/id.h"

extern void taskq_guard_startup(bool fresh_memory);
extern void taskq_guard_init(int slotno);
extern void taskq_guard_enter(const pg_uuid_t *id, TimestampTz started_at);
extern void taskq_guard_commit(const pg_uuid_t *ids, int n);
extern void taskq_guard_leave(void);
extern void taskq_guard_resume(Oid dbid);
extern bool taskq_guard_resumed(Oid dbid);

#endif
