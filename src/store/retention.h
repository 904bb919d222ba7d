/* retention.h: how long finished tasks are kept, where that is not as usual */
#ifndef TASKQ_RETENTION_H
#define TASKQ_RETENTION_H

#include "postgres.h"

#include "base/args.h"
#include "datatype/timestamp.h"

/* For ever: a thousand years. */
#define TASKQ_FOREVER_US (INT64CONST(365250) * USECS_PER_DAY)

/* Tasks of one lane. */
typedef struct TaskqKeep
{
	int32		lane;
	int64		us;
}			TaskqKeep;

typedef struct TaskqRetention
{
	int64		us;				/* as usual */
	int			n;
	TaskqKeep  *lanes;			/* that are kept longer, or not so long; in
								 * order of their numbers */
	int64		shortest;		/* of them and as usual */
	uint64		signature;		/* another one: not the same rules */
}			TaskqRetention;

/* What a setting of so many minutes means; -1: for ever. */
static inline int64
taskq_retention_us(int minutes)
{
	return minutes < 0 ? TASKQ_FOREVER_US : minutes * USECS_PER_MINUTE;
}

/* ... and what a kind or queue says; what is longer is for ever, too. */
static inline int64
taskq_retention_said(const Interval *interval)
{
	int64		us = taskq_interval_us(interval);

	return Min(us, TASKQ_FOREVER_US);
}

extern uint64 taskq_retention_signature(void);
extern void taskq_retention_read(int64 us, TaskqRetention * retention);
extern TimestampTz taskq_retention_cutoff(const TaskqRetention * retention,
										  int32 lane, TimestampTz cutoff);

#endif
