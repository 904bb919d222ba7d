/* audit.h: table audit: who did what to which task, kind, queue, ... */
#ifndef TASKQ_AUDIT_H
#define TASKQ_AUDIT_H

#include "postgres.h"

#include "base/id.h"
#include "utils/relcache.h"

/* What was done; who did it is looked up.  Fields left 0 do not apply. */
typedef struct TaskqAudit
{
	const char *verb;			/* cancel, pause, ... */
	const char *object;			/* task, queue, kind, ... */
	const char *name;			/* of the queue, schedule, ... */
	const char *kind;
	const pg_uuid_t *tasks;		/* that it was done to */
	int64		ntasks;
	int64		count;			/* of what it was done to; at least ntasks */
	int32		role;			/* whose that is, by taskq's numbers: that
								 * they run as, or who owns the kind */
	int32		submitted_by;
	const char *tenant;
	bool		of_tasks;		/* their tenant, and not that of who acts */
	bool		force;
	const char *reason;
	const char *outcome;
	Datum		details;		/* jsonb, or 0 */
} TaskqAudit;

extern void taskq_audit_insert(const TaskqAudit *audit);
extern int	taskq_audit_forget(pg_uuid_t *from, TimestampTz before, int max);

#endif
