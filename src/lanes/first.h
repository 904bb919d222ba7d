/* first.h: the first task of a lane, for those who only look */
#ifndef TASKQ_FIRST_H
#define TASKQ_FIRST_H

#include "postgres.h"

#include "base/shmem.h"

extern TimestampTz taskq_first_since(int32 lane);
extern bool taskq_first_kept(const TaskqLane *lane);
extern bool taskq_first_bounds(int32 lane, pg_uuid_t *plain, bool *ready);

#endif
