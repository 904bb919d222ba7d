/*-------------------------------------------------------------------------
 *
 * remains.c
 *		What tasks that are gone have left beside the leaves.
 *
 * Attempts, unique keys, dependencies, workflows; and the audit, which goes
 * by its own time.  The sweeper comes here when it is through with the
 * leaves, again and again until a portion was the last.  Nearly all are in
 * order of the tasks' time, so those that could go are the first.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "base/guc.h"
#include "dispatch/remains.h"
#include "miscadmin.h"
#include "store/attempts.h"
#include "store/audit.h"
#include "store/dependencies.h"
#include "store/steps.h"
#include "store/tasks.h"
#include "store/uniques.h"
#include "utils/timestamp.h"

#define ROWS 500				/* in a portion */

/* taskq_remains_attempts - the attempts of tasks that are gone */
bool
taskq_remains_attempts(TaskqRemainsAt *at, TimestampTz gone)
{
	pg_uuid_t	ids[ROWS];
	int			n = taskq_attempts_next(&at->from, ROWS, ids);

	for (int i = 0; i < n; i++)
	{
		TaskqRow	row;

		CHECK_FOR_INTERRUPTS();
		if (taskq_id_time(&ids[i]) > gone)
			return false;
		if (!taskq_store_find(&ids[i], &row))
			taskq_attempts_forget(&ids[i]);
	}
	return n == ROWS;
}

/* taskq_remains_uniques - keys whose time is over, and those of such tasks */
bool
taskq_remains_uniques(TaskqRemainsAt *at, TimestampTz gone)
{
	return taskq_unique_sweep(&at->from, ROWS, GetCurrentTimestamp()) == ROWS;
}

static void
next_dependency(TaskqRemainsAt *at)
{
	taskq_id_next(&at->id);
	at->type = 0;
	memset(&at->from, 0, UUID_LEN);
}

/* taskq_remains_edges - what tells of tasks that others have waited for */
bool
taskq_remains_edges(TaskqRemainsAt *at, TimestampTz gone)
{
	static const char types[] = {TASKQ_EDGE_WAITS, TASKQ_EDGE_CHILD,
	TASKQ_EDGE_RETRY};

	for (int left = ROWS; left > 0; left--)
	{
		pg_uuid_t	found = at->id;
		int			n;

		if (!taskq_dependency_next(&found) || taskq_id_time(&found) > gone)
			return false;
		if (!taskq_id_eq(&found, &at->id))
		{
			at->id = found;
			at->type = 0;
			memset(&at->from, 0, UUID_LEN);
		}
		n = taskq_edges_forget(&at->id, types[at->type], &at->from, left);
		if (n == left)
			return true;
		left -= n;
		memset(&at->from, 0, UUID_LEN);
		if (++at->type == lengthof(types))
			next_dependency(at);
	}
	return true;
}

/* taskq_remains_blocked - ... and of those that were blocked */
bool
taskq_remains_blocked(TaskqRemainsAt *at, TimestampTz gone)
{
	TaskqBlocked *blocked = palloc(sizeof(TaskqBlocked) * (ROWS + 1));
	int			n = taskq_blocked_next(&at->from, ROWS, blocked);

	for (int i = 0; i < n; i++)
	{
		TaskqRow	row;

		CHECK_FOR_INTERRUPTS();
		if (taskq_id_time(&blocked[i].task) > gone)
			return false;
		if (!taskq_store_find(&blocked[i].task, &row))
			taskq_blocked_delete(&blocked[i].task, blocked[i].child);
	}
	return n >= ROWS;
}

/* taskq_remains_workflows - workflows whose tasks are all gone */
bool
taskq_remains_workflows(TaskqRemainsAt *at, TimestampTz gone)
{
	return taskq_workflows_forget(&at->from, gone, ROWS) == ROWS;
}

/* taskq_remains_audit - what is in the audit for longer than it is kept */
bool
taskq_remains_audit(TaskqRemainsAt *at, TimestampTz gone)
{
	TimestampTz before = GetCurrentTimestamp() -
	(int64) taskq_audit_retention * SECS_PER_MINUTE * USECS_PER_SEC;

	return taskq_audit_retention >= 0 &&
		taskq_audit_forget(&at->from, before, ROWS) == ROWS;
}
