/* waiting.h: tasks that others wait for, as far as shared memory knows */
#ifndef TASKQ_WAITING_H
#define TASKQ_WAITING_H

#include "postgres.h"

#include "base/id.h"
#include "base/shmem.h"

/* What ends with this transaction is seen to by who ends it. */
extern bool taskq_waiting_mute;

/* The caller holds the main lock exclusively. */
extern void taskq_waiting_expect(TaskqDb *db, const pg_uuid_t *id);
extern void taskq_waiting_check(TaskqDb *db, const pg_uuid_t *id);
extern void taskq_waiting_ended(TaskqDb *db, const pg_uuid_t *id);
extern int	taskq_waiting_take(Oid dbid, pg_uuid_t *ids, int max);
extern bool taskq_waiting_left(TaskqDb *db);
extern void taskq_waiting_look(TaskqDb *db);
extern void taskq_waiting_looked(TaskqDb *db, uint32 generation);
extern void taskq_waiting_drop(Oid dbid);

/* ... or any lock, or none. */
extern bool taskq_waiting_maybe(TaskqDb *db, const pg_uuid_t *id);

#endif
