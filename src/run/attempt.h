/* attempt.h: one attempt at a task, in a worker */
#ifndef TASKQ_ATTEMPT_H
#define TASKQ_ATTEMPT_H

#include "postgres.h"

#include "base/current.h"
#include "base/shmem.h"
#include "nodes/pg_list.h"
#include "run/execute.h"
#include "store/tasks.h"
#include "utils/jsonb.h"

/* What an attempt needs to know of itself; survives an error. */
typedef struct TaskqAttempt
{
	TaskqSlot  *slot;			/* the worker's */
	int			item;			/* its place in the slot's batch */
	TaskqRef	ref;
	TimestampTz started_at;
	bool		managed;		/* its row is committed as running */
	TaskqRow	row;
	TaskqCurrent current;
	char	   *handler;		/* or NULL */
	Jsonb	   *settings;		/* it is called with, or NULL */
	char	   *sql;			/* or NULL */
	int64		timeout_ms;
} TaskqAttempt;

extern void taskq_attempt_init(int slotno);

extern void taskq_attempt_begin(void);
extern void taskq_attempt_commit(TaskqSlot *slot);
extern ErrorData *taskq_attempt_abort(void);

extern bool taskq_attempt_next(int slotno, TaskqAttempt *attempt);
extern void taskq_attempt_tell(TaskqAttempt *attempt);
extern void taskq_attempt_load(TaskqAttempt *attempt);
extern bool taskq_attempt_not_here(TaskqAttempt *attempt);
extern void taskq_attempt_claims(TaskqAttempt *attempt);
extern char taskq_attempt_call(TaskqAttempt *attempt, List *commands);
extern char taskq_attempt_finish(TaskqAttempt *attempt, Datum result,
								 bool isnull, bool stopped);
extern const char *taskq_attempt_worker(void);
extern bool taskq_attempt_cancelled(TaskqAttempt *attempt, char *reason);
extern char taskq_attempt_fail(TaskqAttempt *attempt, ErrorData *error,
							   bool was_timeout);

extern void taskq_attempt_count(TaskqSlot *slot, int item, char outcome);
extern int64 taskq_attempt_through(TaskqSlot *slot, TimestampTz since);

#endif
