/* round.h: tasks with concurrency keys: a lane's keys in turn */
#ifndef TASKQ_ROUND_H
#define TASKQ_ROUND_H

#include "postgres.h"

#include "lanes/keys.h"
#include "store/keyed.h"
#include "store/leaves.h"

/* A look round the keys of a lane: what it needs to know, what it finds. */
typedef struct TaskqRound
{
	int32		lane;
	TaskqKey	key;			/* its number: the one looked at */
	TaskqKeyLimit limit;
	int64		cursor;			/* the key that was served last */
	int			max;			/* tasks, at most TASKQ_BATCH_MAX */
	int			max_keys;		/* at most TASKQ_BATCH_KEYS */
	int			max_of_key;		/* tasks of a key */
	TaskqStoreFilter filter;	/* or NULL: all that is claimable */
	int			nreserved;		/* of this lane, in other workers' hands */
	pg_uuid_t  *reserved;		/* NULL: no need to know */
	int			nfound;
	TaskqRef	found[TASKQ_BATCH_MAX]; /* key by key, in order */
	TaskqKeyed	rows[TASKQ_BATCH_MAX];	/* ... as they were found */
	int			nkeys;
	TaskqSlotKey keys[TASKQ_BATCH_KEYS];
	int			npassed;
	int			maxpassed;
	int64	   *passed;			/* keys with tasks that were passed over */
	bool		more;			/* it has not come round */
} TaskqRound;

extern TaskqRound *taskq_round_new(int32 lane);
extern void taskq_round_begin(TaskqRound *round, TaskqLane *lane, int scanner);
extern void taskq_round_look(TaskqRound *round);
extern void taskq_round_next(TaskqRound *round);
extern int	taskq_round_take(TaskqRound *round);
extern void taskq_round_end(TaskqRound *round, TaskqLane *lane);
extern void taskq_round_keep(const TaskqRound *round, const TaskqSlot *slot);
extern void taskq_round_tidy(const TaskqSlot *slot);
extern int	taskq_round_room(Oid dbid, int32 id, int max);
extern int	taskq_round_list(int32 lane, int max, TaskqRef *found);

#endif
