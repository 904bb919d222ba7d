/* retention.h: how long finished tasks are kept, where that is not as usual */
#ifndef TASKQ_RETENTION_H
#define TASKQ_RETENTION_H

#include "postgres.h"

#include "datatype/timestamp.h"

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

extern uint64 taskq_retention_signature(void);
extern void taskq_retention_read(int64 us, TaskqRetention * retention);
extern TimestampTz taskq_retention_cutoff(const TaskqRetention * retention,
										  int32 lane, TimestampTz cutoff);

#endif
