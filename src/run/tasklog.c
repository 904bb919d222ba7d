/*-------------------------------------------------------------------------
 *
 * tasklog.c
 *		What the task that runs in this worker logs.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "base/guc.h"
#include "base/shmem.h"
#include "lanes/logring.h"
#include "miscadmin.h"
#include "run/tasklog.h"
#include "utils/timestamp.h"

static Oid
role_of(const TaskqCurrent *current)
{
	return taskq_shared->slots[current->slotno].role;
}

/* taskq_tasklog_enough - what the line says after which none is kept */
char *
taskq_tasklog_enough(void)
{
	return psprintf("further lines of this attempt are not kept: taskq.max_log_lines is %d",
					taskq_max_log_lines);
}

/*
 * Begin the next line of the running task; false if it may log no more.  The
 * last one that it may says so instead.
 */
static bool
next_line(TaskqLogLine *line, int level, const char *message, Jsonb *details)
{
	TaskqCurrent *current = taskq_current;
	int			max = taskq_max_log_lines;

	if (max > 0 && current->log_lines > max)
		return false;
	memset(line, 0, sizeof(*line));
	line->id = current->id;
	line->attempt = current->attempt;
	line->at = GetCurrentTimestamp();
	line->line = ++current->log_lines;
	line->level = level;
	if (max > 0 && line->line > max)
	{
		line->level = TASKQ_LOG_WARNING;
		message = taskq_tasklog_enough();
		details = NULL;
	}
	taskq_log_line_fill(line, message, details);
	return true;
}

/*
 * taskq_tasklog_say - add a line to the log of the task that runs here
 *
 * Everybody sees it at once, and it stays whatever becomes of the
 * transaction.  Waits while there is no room.
 */
void
taskq_tasklog_say(int level, const char *message, Jsonb *details)
{
	TaskqLogLine line;

	if (next_line(&line, level, message, details))
		taskq_ring_put(&line, role_of(taskq_current));
}
