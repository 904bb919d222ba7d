/* announce.h: making what a worker has finished durable, and telling everybody */
#ifndef TASKQ_ANNOUNCE_H
#define TASKQ_ANNOUNCE_H

#include "postgres.h"

#include "access/xlogdefs.h"

extern void taskq_announce(int slotno);
extern void taskq_flush(XLogRecPtr upto);

#endif
