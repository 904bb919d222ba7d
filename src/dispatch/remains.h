/* remains.h: what tasks that are gone have left beside the leaves */
#ifndef TASKQ_REMAINS_H
#define TASKQ_REMAINS_H

#include "postgres.h"

#include "base/id.h"
#include "datatype/timestamp.h"

/* How far a look has come; all zero to begin with. */
typedef struct TaskqRemainsAt
{
	pg_uuid_t	id;
	int			type;			/* of dependencies: an index */
	pg_uuid_t	from;
} TaskqRemainsAt;

/*
 * Forget a portion, in a transaction of the caller's; false if it was the
 * last one.  gone: what was submitted later is there still.
 */
typedef bool (*TaskqRemainsForget) (TaskqRemainsAt *at, TimestampTz gone);

extern bool taskq_remains_attempts(TaskqRemainsAt *at, TimestampTz gone);
extern bool taskq_remains_uniques(TaskqRemainsAt *at, TimestampTz gone);
extern bool taskq_remains_edges(TaskqRemainsAt *at, TimestampTz gone);
extern bool taskq_remains_blocked(TaskqRemainsAt *at, TimestampTz gone);
extern bool taskq_remains_workflows(TaskqRemainsAt *at, TimestampTz gone);
extern bool taskq_remains_audit(TaskqRemainsAt *at, TimestampTz gone);

#endif
