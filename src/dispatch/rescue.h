/* rescue.h: handles of workers that were asked for */
#ifndef TASKQ_RESCUE_H
#define TASKQ_RESCUE_H

#include "postgres.h"

#include "base/shmem.h"
#include "postmaster/bgworker.h"

extern BackgroundWorkerHandle *taskq_worker_handles[TASKQ_MAX_WORKERS];

#endif
