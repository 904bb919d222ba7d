/*
 * launcher.h: the process that starts dispatchers; starting processes that
 * workers may need
 */
#ifndef TASKQ_LAUNCHER_H
#define TASKQ_LAUNCHER_H

#include "postgres.h"

#include "base/process.h"

extern void taskq_launcher_register(void);
extern bool taskq_process_start(const char *type, const char *function,
								const TaskqProcessArgs *args,
								BackgroundWorkerHandle **handle);

extern PGDLLEXPORT void taskq_launcher_main(Datum arg);

#endif
