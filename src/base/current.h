/*
 * current.h: who acts here: the task that runs in this session, if one does
 */
#ifndef TASKQ_CURRENT_H
#define TASKQ_CURRENT_H

#include "postgres.h"

#include "base/id.h"

struct TaskqRow;

/* The task that runs in this session. */
typedef struct TaskqCurrent
{
	int			slotno;
	pg_uuid_t	id;
	NameData	kind;
	NameData	queue;
	NameData	submitted_by;
	int			attempt;
	int			max_attempts;
	struct TaskqRow *row;
	Datum		payload;		/* as the handler gets it: detoasted, the
								 * row's is not; 0: none */
	int			children;		/* tasks it submitted */
	int			log_lines;		/* of this attempt, also those not kept */
} TaskqCurrent;

extern TaskqCurrent *taskq_current; /* NULL outside of a task */
extern int64 taskq_retry_us;	/* what the running task asked for with
								 * taskq.retry(); -1: nothing */

#define taskq_in_task() (taskq_current != NULL)

#endif
