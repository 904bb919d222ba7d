/*-------------------------------------------------------------------------
 *
 * usage.c
 *		What this process uses: processor time, memory, blocks, WAL.
 *
 * PostgreSQL's own counters are in the process's memory, and are copied for
 * each attempt.  Processor time and memory take a system call, which a short
 * task is not to pay for: an attempt is measured from the last call before
 * it, which is no older than a tenth of the run time from which on attempts
 * are measured at all.  So what others have used before it is a tenth of that
 * at most, and there are a thousand calls a second at most where the setting
 * is its default.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>
#include <sys/resource.h>
#include <unistd.h>

#include "access/xlog.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/usage.h"
#include "executor/instrument.h"
#include "storage/fd.h"

int			taskq_track_resources = 10;

/* of the attempt that runs: what there was before it */
static TaskqUsage start;
static TimestampTz rusage_at = 0;	/* steady time */

static void
read_rusage(TaskqUsage *usage)
{
	struct rusage rusage;

	if (getrusage(RUSAGE_SELF, &rusage) != 0)
		return;
	usage->user_us = rusage.ru_utime.tv_sec * USECS_PER_SEC +
		rusage.ru_utime.tv_usec;
	usage->system_us = rusage.ru_stime.tv_sec * USECS_PER_SEC +
		rusage.ru_stime.tv_usec;
#ifdef __darwin__
	usage->peak_memory = rusage.ru_maxrss;
#else
	usage->peak_memory = (int64) rusage.ru_maxrss * 1024;
#endif
}

static void
read_counters(TaskqUsage *usage)
{
	usage->blocks_hit = pgBufferUsage.shared_blks_hit +
		pgBufferUsage.local_blks_hit;
	usage->blocks_read = pgBufferUsage.shared_blks_read +
		pgBufferUsage.local_blks_read;
	usage->blocks_dirtied = pgBufferUsage.shared_blks_dirtied +
		pgBufferUsage.local_blks_dirtied;
	usage->blocks_written = pgBufferUsage.shared_blks_written +
		pgBufferUsage.local_blks_written;
	usage->temp_bytes = pgBufferUsage.temp_blks_written * BLCKSZ;
	usage->wal_bytes = pgWalUsage.wal_bytes;
}

/* taskq_usage_read - the counters of this process as they are now */
void
taskq_usage_read(TaskqUsage *usage)
{
	memset(usage, 0, sizeof(*usage));
	read_rusage(usage);
	read_counters(usage);
}

/*
 * taskq_usage_of - processor time of another process as it is now, and the
 * memory that it has resident, in bytes
 *
 * Where the system tells (Linux does); else false.
 */
bool
taskq_usage_of(pid_t pid, TaskqUsage *usage, int64 *memory)
{
	char		path[64];
	char		line[1024];
	char	   *fields;
	unsigned long user;
	unsigned long system;
	long		pages;
	int64		tick = USECS_PER_SEC / Max(sysconf(_SC_CLK_TCK), 1);
	bool		read;
	FILE	   *file;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int) pid);
	file = AllocateFile(path, "r");
	if (file == NULL)
		return false;
	read = fgets(line, sizeof(line), file) != NULL;
	FreeFile(file);
	/* the name of the program comes second, in parentheses */
	fields = read ? strrchr(line, ')') : NULL;
	if (fields == NULL ||
		sscanf(fields + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu"
			   " %*d %*d %*d %*d %*d %*d %*u %*u %ld",
			   &user, &system, &pages) != 3)
		return false;
	usage->user_us = user * tick;
	usage->system_us = system * tick;
	*memory = (int64) pages * sysconf(_SC_PAGESIZE);
	return true;
}

/*
 * taskq_usage_less - take off what there was before; the peak of memory stays
 */
void
taskq_usage_less(TaskqUsage *usage, const TaskqUsage *before)
{
	usage->user_us -= before->user_us;
	usage->system_us -= before->system_us;
	usage->blocks_hit -= before->blocks_hit;
	usage->blocks_read -= before->blocks_read;
	usage->blocks_dirtied -= before->blocks_dirtied;
	usage->blocks_written -= before->blocks_written;
	usage->temp_bytes -= before->temp_bytes;
	usage->wal_bytes -= before->wal_bytes;
}

/*
 * taskq_usage_begin - an attempt begins, now in steady time
 *
 * Asks the system only if it has not done so for a while.
 */
void
taskq_usage_begin(TimestampTz now)
{
	if (taskq_track_resources < 0)
		return;
	if (now - rusage_at >= taskq_track_resources * INT64CONST(100))
	{
		read_rusage(&start);
		rusage_at = now;
	}
	read_counters(&start);
}

/* A member in seconds, to the microsecond. */
static void
put_seconds(JsonbParseState **state, const char *key, int64 us)
{
	taskq_json_float(state, key, Max(us, 0) / 1000000.0);
}

/* What an attempt used, as its row has it. */
static Datum
usage_jsonb(const TaskqUsage *usage, int64 run_us)
{
	JsonbParseState *state = NULL;
	int64		cpu_us = usage->user_us + usage->system_us;

	taskq_json_begin(&state);
	put_seconds(&state, "cpu_user", usage->user_us);
	put_seconds(&state, "cpu_system", usage->system_us);
	taskq_json_float(&state, "cpu_percent",
					 rint(1000.0 * Max(cpu_us, 0) / Max(run_us, 1)) / 10);
	taskq_json_number(&state, "peak_memory", usage->peak_memory);
	taskq_json_number(&state, "memory_growth",
					  Max(usage->peak_memory - start.peak_memory, 0));
	taskq_json_number(&state, "blocks_hit", usage->blocks_hit);
	taskq_json_number(&state, "blocks_read", usage->blocks_read);
	taskq_json_number(&state, "blocks_dirtied", usage->blocks_dirtied);
	taskq_json_number(&state, "blocks_written", usage->blocks_written);
	taskq_json_number(&state, "temp_bytes", usage->temp_bytes);
	taskq_json_number(&state, "wal_bytes", usage->wal_bytes);
	return taskq_json_end(&state);
}

/*
 * taskq_usage_end - what the attempt that began then, in steady time, has
 * used
 *
 * run_us is how long it ran by the system's clock, which the caller has read
 * anyhow: it says whether to look at all.  Returns jsonb, or 0 if it was too
 * short to be measured.
 */
Datum
taskq_usage_end(TimestampTz since, int64 run_us)
{
	TimestampTz now;
	TaskqUsage	usage;
	TaskqUsage	after;
	Datum		result;

	if (taskq_track_resources < 0 ||
		Max(run_us, 0) < taskq_track_resources * INT64CONST(1000))
		return (Datum) 0;
	now = taskq_steady_now();
	taskq_usage_read(&after);
	usage = after;
	taskq_usage_less(&usage, &start);
	result = usage_jsonb(&usage, now - since);
	start = after;
	rusage_at = now;
	return result;
}
