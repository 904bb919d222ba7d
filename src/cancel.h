/* cancel.h: telling a worker to end its task */
#ifndef TASKQ_CANCEL_H
#define TASKQ_CANCEL_H

#include "postgres.h"

#include "id.h"

extern void taskq_cancel_deliver(int slotno, const pg_uuid_t *id, bool force, const char *reason);

#endif
