/* keyed.h: table keyed: claimable tasks that have a concurrency key */
#ifndef TASKQ_KEYED_TABLE_H
#define TASKQ_KEYED_TABLE_H

#include "postgres.h"

#include "store/read.h"
#include "store/tasks.h"

/* A row of the table, but its lane. */
typedef struct TaskqKeyed
{
	int64		key;
	TaskqDue	at;
	ItemPointerData place;		/* of the task's row, perhaps */
	ItemPointerData tid;		/* of this row */
} TaskqKeyed;

extern int64 taskq_key_hash(TaskqRow *row);
extern void taskq_keyed_insert(TaskqRow *rows, int n);
extern void taskq_keyed_delete(TaskqRow *row);
extern void taskq_keyed_tidy(const TaskqKeyed *rows, int n);
extern void taskq_keyed_begin(TaskqRead *read, int32 lane, int64 from,
							  Snapshot snapshot);
extern bool taskq_keyed_next(TaskqRead *read, TaskqKeyed *keyed);

#endif
