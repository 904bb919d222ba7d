/* enqueue.h: putting tasks into the tables */
#ifndef TASKQ_ENQUEUE_H
#define TASKQ_ENQUEUE_H

#include "postgres.h"

#include "base/id.h"
#include "store/defs.h"
#include "store/tasks.h"

/* What happens when another task has the unique key. */
typedef enum TaskqConflict
{
	TASKQ_CONFLICT_RETURN,		/* its id is the answer */
	TASKQ_CONFLICT_REPLACE,		/* if it waits it becomes what was submitted;
								 * what runs is followed by another one */
	TASKQ_CONFLICT_QUEUE_ONE,	/* what runs is followed by one more, which
								 * waits, for all */
	TASKQ_CONFLICT_ERROR
} TaskqConflict;

/* Tasks that are about to be inserted. */
typedef struct TaskqSubmit
{
	Oid			submitter;
	const TaskqLaneDef *lane;
	TaskqRow	row;			/* all but id, slot, payload */
	bool		scheduled;
	TimestampTz run_at;

	/* taskq_submit_depends */
	int			ndepends;		/* tasks that each of them waits for */
	const pg_uuid_t *depends;
	char	   *depends_states; /* how those ended that have: see
								 * TASKQ_EDGE_OPEN */
	int			awaited;		/* that have not ended, or not as they should */
	char		on_failure;		/* TASKQ_ON_FAILURE_... */
	bool		with_parent;	/* they are cancelled with their parent */

	const char *unique_key;		/* or NULL */
	TaskqConflict on_conflict;
	int64		unique_keep_ms; /* the key stays taken after the end */
	bool		unique_anew;	/* ... but not by who has ended already */
	bool		unique_request; /* it is the request's: Idempotency-Key */
	bool		indexed;		/* their kind names members to find them by */
} TaskqSubmit;

/*
 * Raises an error unless a session of this role can be had in the background.
 */
extern void taskq_check_role(Oid role);

extern const TaskqKind *taskq_submit_kind(const char *name);
extern void taskq_submit_new(TaskqSubmit *submit);
extern void taskq_submit_place(TaskqSubmit *submit, const char *kind_name,
							   const TaskqKind *kind, Oid role,
							   const char *queue, int priority);
extern void taskq_submit_at(TaskqSubmit *submit, TimestampTz run_at);
extern void taskq_submit_depends(TaskqSubmit *submit, const pg_uuid_t *ids,
								 int n, char on_failure);
extern void taskq_submit_depth(TaskqSubmit *submit);
extern int	taskq_row_depth(TaskqRow *row);
extern bool taskq_submit_rows(TaskqSubmit *submit, Datum *payloads, int n,
							  pg_uuid_t *ids);

#endif
