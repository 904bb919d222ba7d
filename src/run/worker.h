/* worker.h: the process that runs tasks */
#ifndef TASKQ_WORKER_H
#define TASKQ_WORKER_H

#include "postgres.h"

extern PGDLLEXPORT void taskq_worker_main(Datum arg);

#endif
