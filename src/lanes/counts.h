/*
 * counts.h: how many tasks ended how, how long they waited and ran
 *
 * To ask what happened lately: taskq_counts_lately, which reads what has been
 * written and what has not yet.  To read it all: taskq_counts_read.
 */
#ifndef TASKQ_COUNTS_H
#define TASKQ_COUNTS_H

#include "postgres.h"

#include "base/shmem.h"
#include "store/rollups.h"
#include "utils/hsearch.h"

extern void taskq_counts_init(void);
extern void taskq_counts_register(void);
extern void taskq_counts_batch(void);
extern void taskq_counts_hand_over(void);
extern void taskq_counts_forget(Oid dbid);
extern void taskq_counts_anew(void);
extern void taskq_counts_used(const int64 *resources, int64 present_us,
							  int64 busy_us);

/* ---- for the dispatcher ---- */

extern bool taskq_counts_any(void);
extern bool taskq_counts_quiet(TaskqDb *db);
extern void taskq_counts_untold(TaskqDb *db);
extern bool taskq_counts_many(void);
extern int	taskq_counts_copy(TaskqCounted **counted);
extern void taskq_counts_written(const TaskqCounted *counted, int n);
extern void taskq_counts_sample(const TaskqCounted *counted, int n);

/* ---- reading ---- */

/*
 * What was counted from one moment to another, or (until DT_NOEND) to now:
 * entries of type TaskqCounted by their groups, in the current memory
 * context.  By whole minutes ('m', for the last two hours), hours ('h', 14
 * days) or days ('d', of UTC): both moments are the beginning of one.  types:
 * of groups, or NULL for all.  bare: without times and resources, which are
 * most of what is to be read.  In a transaction.  taskq_counts_visit: row by
 * row.
 */
extern void taskq_counts_visit(TimestampTz since, TimestampTz until,
							   char grain, const char *types,
							   TaskqRollupVisit visit, void *arg);
extern HTAB *taskq_counts_read(TimestampTz since, TimestampTz until,
							   char grain, const char *types, bool bare);
extern TimestampTz taskq_counts_floor(TimestampTz when, char grain);

/* What happened to the attempts of a kind, of a queue, or to all. */
typedef struct TaskqLately
{
	int64		completed;
	int64		failed;			/* for good */
	int64		cancelled;
	int64		retried;		/* attempts that failed and are followed by
								 * others */
	int64		runs;			/* completed attempts, of which are: */
	double		run_mean_us;	/* -1: there are none; so with the others */
	double		run_p50_us;
	double		run_p95_us;
	double		wait_p50_us;
	double		wait_p95_us;
} TaskqLately;

/*
 * Of the last minutes, 120 at most; the minute that is under way comes on
 * top.  kind, queue: NULL for all.  In a transaction, after taskq_defs_begin.
 * It asks for no rights: who calls it does.
 */
extern void taskq_counts_lately(const char *kind, const char *queue,
								int minutes, TaskqLately *lately);

#endif
