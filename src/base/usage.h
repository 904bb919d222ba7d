/* usage.h: what a process has used of the server */
#ifndef TASKQ_USAGE_H
#define TASKQ_USAGE_H

#include "postgres.h"

#include "datatype/timestamp.h"

/* Counters of a process, or what was added to them meanwhile. */
typedef struct TaskqUsage
{
	int64		user_us;		/* processor time */
	int64		system_us;
	int64		peak_memory;	/* bytes: the most that was resident, ever */
	int64		blocks_hit;
	int64		blocks_read;
	int64		blocks_dirtied;
	int64		blocks_written;
	int64		temp_bytes;		/* written to temporary files */
	int64		wal_bytes;
} TaskqUsage;

extern int	taskq_track_resources;	/* ms; -1: never */

extern void taskq_usage_read(TaskqUsage *usage);
extern bool taskq_usage_of(pid_t pid, TaskqUsage *usage, int64 *memory);
extern void taskq_usage_less(TaskqUsage *usage, const TaskqUsage *before);

extern void taskq_usage_begin(TimestampTz now);
extern Datum taskq_usage_end(TimestampTz since, int64 run_us);

#endif
