/* dependencies.h: what a task waits for, or has waited for */
#ifndef TASKQ_API_DEPENDENCIES_H
#define TASKQ_API_DEPENDENCIES_H

#include "postgres.h"

#include "store/defs.h"
#include "store/tasks.h"

/* What is told of one dependency. */
typedef struct TaskqDependency
{
	pg_uuid_t	id;				/* the retry that completed, if there is one */
	const TaskqLaneDef *lane;	/* NULL: it is gone */
	const char *state;			/* or NULL */
	TaskqRow	row;
} TaskqDependency;

extern int	taskq_dependency_ids(TaskqRow *row, Datum **ids);
extern void taskq_dependency_read(const pg_uuid_t *id,
								  TaskqDependency *dependency);
extern Datum taskq_dependencies_jsonb(TaskqRow *row, bool *isnull);

#endif
