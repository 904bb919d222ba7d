/* action.h: what operators do passes here */
#ifndef TASKQ_ACTION_H
#define TASKQ_ACTION_H

#include "postgres.h"

#include "base/id.h"

/* What was done, to what, and why; fields left NULL do not apply. */
typedef struct TaskqAction
{
	const char *verb;			/* cancel, pause, ... */
	const char *object;			/* task, queue, kind, database */
	const pg_uuid_t *task;
	const char *name;			/* of the queue or kind */
	const char *reason;
	bool		force;
	int64		count;			/* of tasks, where they are many; else 0 */
} TaskqAction;

extern void taskq_action(const TaskqAction *action);

#endif
