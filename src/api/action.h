/* action.h: what operators do passes here */
#ifndef TASKQ_ACTION_H
#define TASKQ_ACTION_H

#include "postgres.h"

#include "base/id.h"
#include "store/tasks.h"

/* What was done, to what, and why; fields left NULL do not apply. */
typedef struct TaskqAction
{
	const char *verb;			/* cancel, pause, ... */
	const char *object;			/* task, queue, kind, ... */
	const pg_uuid_t *task;
	TaskqRow   *row;			/* the task's, where it is gone; NULL: it is
								 * read */
	const char *name;			/* of the queue, schedule, ... */
	const char *kind;
	const char *tenant;			/* of the schedule, template; NULL: who acts'
								 * own */
	int32		owner;			/* of the kind, schedule ...: a role by
								 * taskq's number */
	const char *reason;
	const char *outcome;		/* a constant */
	bool		force;
	int64		count;			/* of tasks, where they are many; else 0 */
	Datum		details;		/* jsonb, or 0 */
} TaskqAction;

extern void taskq_action(const TaskqAction *action);
extern void taskq_action_named(const char *verb, const char *object,
							   const char *name, int32 owner, Datum details);

/*
 * Actions on many tasks: between begin and end they are gathered, and written
 * as few rows by the end.
 */
extern void taskq_actions_begin(const char *reason);
extern int	taskq_actions_mark(void);
extern void taskq_actions_back(int mark);
extern void taskq_actions_write(void);
extern void taskq_actions_end(void);

#endif
