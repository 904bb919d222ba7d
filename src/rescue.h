/* rescue.h: handles of workers that were asked for */
#ifndef TASKQ_RESCUE_H
#define TASKQ_RESCUE_H

#include "postgres.h"

#include "postmaster/bgworker.h"
#include "shmem.h"

extern BackgroundWorkerHandle *taskq_worker_handles[TASKQ_MAX_WORKERS];

#endif
