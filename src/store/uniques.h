/* uniques.h: table unique_key: which keys are taken, and by which tasks */
#ifndef TASKQ_UNIQUES_H
#define TASKQ_UNIQUES_H

#include "postgres.h"

#include "base/id.h"
#include "datatype/timestamp.h"
#include "nodes/pg_list.h"
#include "store/tasks.h"

#define TASKQ_UNIQUE_HASH 32

/* What a key is unique for: a role, and all that is in the hash. */
typedef struct TaskqUniqueKey
{
	Oid			role;			/* that the tasks run as */
	int32		role_id;		/* taskq's number of it */
	uint8		hash[TASKQ_UNIQUE_HASH];	/* of kind, tenant and key */
} TaskqUniqueKey;

/* A row: a task that has a key, or had it and keeps it for a while. */
typedef struct TaskqUnique
{
	pg_uuid_t	task;
	ItemPointerData tid;
	int64		keep_ms;		/* after the task's end */
	TimestampTz until;			/* DT_NOEND until then */
} TaskqUnique;

extern void taskq_unique_hash(const char *kind, const char *tenant,
							  const char *key, TaskqUniqueKey *unique);
extern void taskq_unique_lock(const TaskqUniqueKey *key);
extern void taskq_unique_unlock(const TaskqUniqueKey *key);
extern List *taskq_unique_find(const TaskqUniqueKey *key,
							   TransactionId *in_doubt);
extern void taskq_unique_insert(const TaskqUniqueKey *key,
								const pg_uuid_t *task, int64 keep_ms);
extern bool taskq_unique_delete(const TaskqUnique *unique);
extern int64 taskq_unique_keep(const pg_uuid_t *task);
extern void taskq_unique_ended(const pg_uuid_t *task, TimestampTz now);
extern void taskq_unique_forget(const pg_uuid_t *task);
extern int	taskq_unique_sweep(pg_uuid_t *from, int max, TimestampTz now);

#endif
