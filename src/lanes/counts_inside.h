/* counts_inside.h: what was counted and is not written: for counts*.c alone */
#ifndef TASKQ_COUNTS_INSIDE_H
#define TASKQ_COUNTS_INSIDE_H

#include "postgres.h"

#include "store/rollups.h"
#include "utils/snapshot.h"

/* What is not written yet, and a snapshot that shows all that is. */
typedef struct TaskqUnwritten
{
	TaskqCounted *counted;
	int			n;
	int			max;
	Snapshot	snapshot;		/* NULL: one of this moment will do */
} TaskqUnwritten;

extern void taskq_counts_unwritten(TaskqUnwritten *unwritten);

#endif
