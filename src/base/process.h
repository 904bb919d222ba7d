/* process.h: the background processes */
#ifndef TASKQ_PROCESS_H
#define TASKQ_PROCESS_H

#include "postgres.h"

#include "postmaster/bgworker.h"

/* What a process is told through bgw_extra. */
typedef struct TaskqProcessArgs
{
	Oid			dbid;
	Oid			role;
	int			slot;
	uint32		generation;
} TaskqProcessArgs;

StaticAssertDecl(sizeof(TaskqProcessArgs) <= BGW_EXTRALEN,
				 "arguments fit into bgw_extra");

extern bool taskq_process_try_start(const char *type, const char *function,
									const TaskqProcessArgs *args,
									BackgroundWorkerHandle **handle);
extern void taskq_process_fill(BackgroundWorker *worker, const char *type,
							   const char *function);
extern void taskq_process_warn(bool started);
extern void taskq_process_begin(TaskqProcessArgs *args);
extern bool taskq_process_settings(void);

#endif
