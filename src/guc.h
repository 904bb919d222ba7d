/* guc.h: the settings of taskq */
#ifndef TASKQ_GUC_H
#define TASKQ_GUC_H

#include "postgres.h"

typedef enum TaskqNotify
{
	TASKQ_NOTIFY_OFF,
	TASKQ_NOTIFY_FINAL,
	TASKQ_NOTIFY_ALL
} TaskqNotify;

extern int	taskq_max_workers;
extern int	taskq_max_dispatchers;
extern int	taskq_max_databases;
extern int	taskq_max_lanes;
extern int	taskq_worker_idle_timeout;	/* ms; -1 never */
extern int	taskq_worker_max_tasks;
extern char *taskq_databases;
extern int	taskq_notify;
extern int	taskq_max_payload;	/* kB */
extern int	taskq_max_result;	/* kB */
extern int	taskq_retention;	/* minutes */

extern void taskq_guc_init(void);

/* Is this database one that taskq.databases names? */
extern bool taskq_database_enabled(const char *name);

#endif
