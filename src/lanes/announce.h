/*
 * announce.h: making what a worker has finished durable, and telling
 * everybody
 */
#ifndef TASKQ_ANNOUNCE_H
#define TASKQ_ANNOUNCE_H

#include "postgres.h"

#include "access/xlogdefs.h"
#include "base/id.h"

extern void taskq_announce(int slotno);
extern void taskq_announce_task(const pg_uuid_t *id, char state);
extern void taskq_flush(XLogRecPtr upto);

#endif
