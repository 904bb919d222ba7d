/* estimate.h: when a task will start and be through */
#ifndef TASKQ_ESTIMATE_H
#define TASKQ_ESTIMATE_H

#include "postgres.h"

#include "lanes/forecast.h"
#include "lanes/live.h"

typedef struct TaskqEstimate
{
	int64		position;		/* in its queue, from 1; 0: none, or not the
								 * caller's to know */
	bool		exact;			/* the position */
	TimestampTz start;			/* 0: not known, or it has started */
	int64		duration_us;	/* 0: not known */
	TimestampTz completion;		/* 0: not known */
	TaskqSure	sure;			/* of the last of them that is known */
	const char *basis;			/* of the duration: "progress", "history"; or
								 * NULL */
} TaskqEstimate;

extern void taskq_estimate_task(const TaskqLaneDef *lane, TaskqRow *row,
								const TaskqLive *live,
								TaskqEstimate *estimate);
extern bool taskq_estimate_gain(const TaskqLaneDef *from,
								const TaskqLaneDef *to, TaskqRow *row,
								int64 *gain_us);

#endif
