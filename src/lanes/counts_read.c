/*-------------------------------------------------------------------------
 *
 * counts_read.c
 *		Reads what was counted: what is written, and what is not yet.
 *
 * Nothing counts twice, and nothing is missing: what is not written is copied
 * together with a snapshot of what is (counts.c).
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "lanes/counts.h"
#include "lanes/counts_inside.h"
#include "store/defs.h"
#include "store/state.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

/* What is not written of these types; nothing if the time asked for is over. */
static void
read_unwritten(TimestampTz until, const char *types,
			   TaskqUnwritten *unwritten)
{
	int			n = 0;

	memset(unwritten, 0, sizeof(*unwritten));
	if (until != DT_NOEND)
		return;
	taskq_counts_unwritten(unwritten);
	for (int i = 0; i < unwritten->n; i++)
	{
		if (types == NULL ||
			strchr(types, unwritten->counted[i].group.type) != NULL)
			unwritten->counted[n++] = unwritten->counted[i];
	}
	unwritten->n = n;
}

static void
end_unwritten(TaskqUnwritten *unwritten)
{
	if (unwritten->counted == NULL)
		return;
	UnregisterSnapshot(unwritten->snapshot);
	pfree(unwritten->counted);
}

/* taskq_counts_floor - the minute, hour or day (of UTC) that a moment is in */
TimestampTz
taskq_counts_floor(TimestampTz when, char grain)
{
	int64		us = grain == TASKQ_SPAN_MINUTE ? USECS_PER_MINUTE :
	grain == TASKQ_SPAN_HOUR ? USECS_PER_HOUR : USECS_PER_DAY;
	int64		rest;

	if (when == DT_NOBEGIN || when == DT_NOEND)
		return when;
	rest = when % us;
	return when - (rest < 0 ? rest + us : rest);
}

/* The same, of the first one that begins at or after it. */
static TimestampTz
ceiling(TimestampTz when, char grain)
{
	TimestampTz floor = taskq_counts_floor(when, grain);

	if (floor == when)
		return when;
	return floor + (grain == TASKQ_SPAN_DAY ? USECS_PER_DAY : USECS_PER_HOUR);
}

/* Rows of one span of time. */
typedef struct Range
{
	char		span;
	TimestampTz since;
	TimestampTz until;
} Range;

/*
 * What is written of a time, from the largest spans that fit: at most three
 * ranges, one after the other.
 */
static int
ranges_of(TimestampTz since, TimestampTz until, char grain, Range *ranges)
{
	TimestampTz day = ceiling(since, TASKQ_SPAN_DAY);
	TimestampTz last = taskq_counts_floor(until, TASKQ_SPAN_DAY);

	if (grain != TASKQ_SPAN_HOUR || day >= last)
	{
		ranges[0] = (Range)
		{
			grain, since, until
		};
		return 1;
	}
	ranges[0] = (Range)
	{
		TASKQ_SPAN_HOUR, since, day
	};
	ranges[1] = (Range)
	{
		TASKQ_SPAN_DAY, day, last
	};
	ranges[2] = (Range)
	{
		TASKQ_SPAN_HOUR, last, until
	};
	return until != DT_NOEND ? 3 : 2;
}

/*
 * taskq_counts_visit - what was counted from one moment to another, or
 * (DT_NOEND) to now, as rows have it: by spans of this grain, each by itself
 *
 * What is not written yet is of now.  types: of groups, or NULL for all.
 */
void
taskq_counts_visit(TimestampTz since, TimestampTz until, char grain,
				   const char *types, TaskqRollupVisit visit, void *arg)
{
	TimestampTz now = taskq_counts_floor(GetCurrentTimestamp(), grain);
	TaskqUnwritten unwritten;

	read_unwritten(until, types, &unwritten);
	taskq_rollup_visit(grain, since, until, types, unwritten.snapshot, visit,
					   arg);
	for (int i = 0; i < unwritten.n; i++)
		visit(now, &unwritten.counted[i], arg);
	end_unwritten(&unwritten);
}

/*
 * taskq_counts_read - the same summed up by groups; bare: without times and
 * resources
 */
HTAB *
taskq_counts_read(TimestampTz since, TimestampTz until, char grain,
				  const char *types, bool bare)
{
	HASHCTL		ctl = {.keysize = sizeof(TaskqGroup),
		.entrysize = sizeof(TaskqCounted),
	.hcxt = CurrentMemoryContext};
	HTAB	   *table = hash_create("taskq counted", 256, &ctl,
									HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	Range		ranges[3];
	int			n = ranges_of(since, until, grain, ranges);
	TaskqUnwritten unwritten;

	read_unwritten(until, types, &unwritten);
	for (int i = 0; i < n; i++)
		taskq_rollup_sum(ranges[i].span, ranges[i].since, ranges[i].until,
						 types, bare, unwritten.snapshot, table);
	for (int i = 0; i < unwritten.n; i++)
		taskq_counts_sum(taskq_counts_entry(table, &unwritten.counted[i].group),
						 &unwritten.counted[i].counts);
	end_unwritten(&unwritten);
	return table;
}

static void
add_lately(TaskqLately *lately, TaskqCounts *sum, const TaskqCounted *counted)
{
	switch (counted->group.outcome)
	{
		case TASKQ_COMPLETED:
			lately->completed += counted->counts.n;
			lately->runs += counted->counts.started;
			taskq_counts_sum(sum, &counted->counts);
			break;
		case TASKQ_FAILED:
			lately->failed += counted->counts.n;
			break;
		case TASKQ_CANCELLED:
			lately->cancelled += counted->counts.n;
			break;
		case TASKQ_RETRYING:
			lately->retried += counted->counts.n;
			break;
	}
}

/*
 * taskq_counts_lately - how the attempts of a kind, of a queue, or all have
 * fared in the last minutes
 *
 * In a transaction; see counts.h.
 */
void
taskq_counts_lately(const char *kind, const char *queue, int minutes,
					TaskqLately *lately)
{
	TimestampTz since =
	taskq_counts_floor(GetCurrentTimestamp() - minutes * USECS_PER_MINUTE,
					   TASKQ_SPAN_MINUTE);
	HTAB	   *table = taskq_counts_read(since, DT_NOEND, TASKQ_SPAN_MINUTE,
										  "l", false);
	TaskqCounts *sum = palloc0(sizeof(TaskqCounts));
	HASH_SEQ_STATUS status;
	TaskqCounted *counted;

	memset(lately, 0, sizeof(*lately));
	hash_seq_init(&status, table);
	while ((counted = hash_seq_search(&status)) != NULL)
	{
		const TaskqLaneDef *lane = taskq_lane_get(counted->group.of);

		if (lane == NULL ||
			(kind != NULL && strcmp(NameStr(lane->kind), kind) != 0) ||
			(queue != NULL && strcmp(NameStr(lane->queue), queue) != 0))
			continue;
		add_lately(lately, sum, counted);
	}
	lately->run_mean_us = sum->started > 0
		? (double) sum->run_us / sum->started : -1;
	lately->run_p50_us = taskq_histogram_quantile(sum->runs, 0.5);
	lately->run_p95_us = taskq_histogram_quantile(sum->runs, 0.95);
	lately->wait_p50_us = taskq_histogram_quantile(sum->waits, 0.5);
	lately->wait_p95_us = taskq_histogram_quantile(sum->waits, 0.95);
	hash_destroy(table);
	pfree(sum);
}
