/* execute.h: running tasks */
#ifndef TASKQ_EXECUTE_H
#define TASKQ_EXECUTE_H

#include "postgres.h"

#include "access/xlogdefs.h"
#include "id.h"
#include "store.h"

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
	TaskqRow   *row;
	Datum		payload;		/* as the handler gets it: detoasted, the row's is not; 0: none */
	int			children;		/* tasks it submitted */
} TaskqCurrent;

#define TASKQ_STUCK_MS 100		/* in one task for so long, a worker gives the others back */

/* attempt.c */
extern TaskqCurrent *taskq_current; /* NULL outside of a task */
extern int64 taskq_retry_us;		/* what the running task asked for with taskq.retry(); -1: nothing */

#define taskq_in_task() (taskq_current != NULL)

extern void taskq_execute_init(int slotno);
extern void taskq_execute_next(int slotno);
extern void taskq_leave_quarantine(int slotno);

#endif
