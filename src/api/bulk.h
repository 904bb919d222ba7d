/* bulk.h: doing something with many tasks */
#ifndef TASKQ_BULK_H
#define TASKQ_BULK_H

#include "postgres.h"

#include "base/id.h"
#include "datatype/timestamp.h"

typedef struct TaskqResult
{
	bool		success;
	const char *status;			/* the task's state after it, or NULL */
	Datum		error;			/* jsonb, or 0 */
	bool		has_new;
	pg_uuid_t	new_id;			/* of the task that a retry made */
} TaskqResult;

typedef struct TaskqBulk TaskqBulk;

/* Does it for one task, or raises an error. */
typedef void (*TaskqBulkAct) (const TaskqBulk *bulk, const pg_uuid_t *id,
							  TaskqResult *outcome);

struct TaskqBulk
{
	TaskqBulkAct act;
	char	   *reason;
	bool		force;
	bool		has_priority;
	int			priority;
	TimestampTz until;			/* steady time: how long rows that others hold
								 * are waited for, in all */
};

extern void taskq_bulk_cancel(const TaskqBulk *bulk, const pg_uuid_t *id,
							  TaskqResult *outcome);
extern void taskq_bulk_portion(const TaskqBulk *bulk, const pg_uuid_t *ids,
							   int n, TaskqResult *outcomes);

/* how many tasks share a subtransaction */
#define TASKQ_BULK_PORTION 100

#endif
