/* sweeper.h: the process that forgets what has been finished for long */
#ifndef TASKQ_SWEEPER_H
#define TASKQ_SWEEPER_H

#include "postgres.h"

#include "base/shmem.h"

extern void taskq_start_sweeper(void);
extern void taskq_sweepers_leave(void);
extern void taskq_sweep_soon(TaskqDb *of);

extern PGDLLEXPORT void taskq_sweeper_main(Datum arg);

#endif
