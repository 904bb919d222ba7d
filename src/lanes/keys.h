/* keys.h: who runs tasks of a concurrency key now */
#ifndef TASKQ_KEYS_H
#define TASKQ_KEYS_H

#include "postgres.h"

#include "base/shmem.h"

/* A concurrency key is of a database and a role. */
typedef struct TaskqKey
{
	Oid			dbid;
	Oid			role;
	int64		number;			/* see taskq_key_hash */
} TaskqKey;

/* What keeps others from a key. */
typedef struct TaskqKeyHolders
{
	int			held;			/* places */
	int			limit;			/* of so many */
	TimestampTz rest_until;		/* steady time: nobody takes it before that */
} TaskqKeyHolders;

/*
 * All functions but the first two: the caller holds the main lock, exclusively
 * where nothing else is said, and none fails.
 */

extern void taskq_keys_init(void);
extern TaskqKeyLimit taskq_key_limit(const char *kind, int n);
extern bool taskq_key_free(const TaskqKey *key, TaskqKeyLimit limit);
extern bool taskq_key_look(const TaskqKey *key, TaskqKeyLimit limit,
						   TaskqKeyHolders *holders);
extern bool taskq_key_take(const TaskqKey *key, TaskqKeyLimit limit,
						   bool lease);
extern bool taskq_key_count(const TaskqKey *key, TaskqKeyLimit limit);
extern bool taskq_key_release(const TaskqKey *key, uint32 kind,
							  TimestampTz rest_until);
extern bool taskq_key_wait(const TaskqKey *key, TaskqKeyLimit limit,
						   TaskqLane *lane);
extern void taskq_keys_limit(Oid dbid, TaskqKeyLimit limit);
extern void taskq_keys_limits_stale(Oid dbid);
extern void taskq_keys_wake(Oid dbid, Oid role);
extern void taskq_keys_forget(Oid dbid);

#endif
