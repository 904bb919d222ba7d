/* pass.h: what the parts of a dispatcher's pass share */
#ifndef TASKQ_PASS_H
#define TASKQ_PASS_H

#include "postgres.h"

#include "base/shmem.h"

#define TASKQ_RETRY_MS 1000		/* after something that could not be done now */
#define TASKQ_PORTION 500		/* rows a transaction, events a transaction */

typedef struct TaskqDispatcher
{
	TaskqDb    *db;
	int			scanner;		/* our name as scanner of a lane */
	MemoryContext context;		/* reset with every pass */
	TimestampTz wake_at;		/* when the next pass is due at the latest;
								 * steady time */
	TimestampTz due_at;			/* the same by the system's clock: what the
								 * launcher knows of too */
} TaskqDispatcher;

extern TaskqDispatcher taskq_dispatcher;

extern void taskq_look_again_at(TimestampTz when);
extern void taskq_look_again_in(int ms);
extern void taskq_look_again_steady(TimestampTz when);
extern void taskq_pass_begin(void);
extern bool taskq_pass_fits(void);
extern void taskq_pass_commit(void);
extern void taskq_pass_commit_async(void);
extern ErrorData *taskq_pass_failed(MemoryContext context);
extern void taskq_pin_settings(void);

#endif
