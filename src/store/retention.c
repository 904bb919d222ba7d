/*-------------------------------------------------------------------------
 *
 * retention.c
 *		How long finished tasks are kept: as the setting says, or their kind, or
 *		else their queue.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "store/defs.h"
#include "store/retention.h"

/* What is said for a lane; 0: nothing. */
static int64
lane_retention(const TaskqLaneDef *lane)
{
	const TaskqKind *kind = taskq_kind_get(NameStr(lane->kind));
	const TaskqQueue *queue;

	if (kind != NULL && kind->owner_id == lane->kind_owner &&
		kind->retention_us > 0)
		return kind->retention_us;
	queue = taskq_queue_get(NameStr(lane->queue));
	return queue ? queue->retention_us : 0;
}

static int
by_lane(const void *a, const void *b)
{
	int32		one = ((const TaskqKeep *) a)->lane;
	int32		other = ((const TaskqKeep *) b)->lane;

	return one < other ? -1 : one > other;
}

/*
 * taskq_retention_signature - tells one set of rules from another; 0: there
 * are none
 *
 * In a transaction; drops stale definitions.
 */
uint64
taskq_retention_signature(void)
{
	uint64		kinds;
	uint64		queues;

	taskq_defs_begin();
	kinds = taskq_kinds_retained();
	queues = taskq_queues_retained();
	return kinds + queues == 0 && kinds != 0 ? 1 : kinds + queues;
}

/*
 * taskq_retention_read - the rules as they are now, in the current memory
 * context; us: as usual
 *
 * In a transaction; drops stale definitions.
 */
void
taskq_retention_read(int64 us, TaskqRetention * retention)
{
	List	   *ids;
	ListCell   *lc;

	memset(retention, 0, sizeof(*retention));
	retention->us = retention->shortest = us;
	retention->signature = taskq_retention_signature();
	if (retention->signature == 0)
		return;
	ids = taskq_lane_ids();
	retention->lanes = palloc(sizeof(TaskqKeep) * Max(list_length(ids), 1));
	foreach(lc, ids)
	{
		const TaskqLaneDef *lane = taskq_lane_get(lfirst_int(lc));
		int64		own = lane ? lane_retention(lane) : 0;

		if (own == 0 || own == us)
			continue;
		retention->lanes[retention->n].lane = lane->id;
		retention->lanes[retention->n++].us = own;
		retention->shortest = Min(retention->shortest, own);
	}
	qsort(retention->lanes, retention->n, sizeof(TaskqKeep), by_lane);
}

/*
 * taskq_retention_cutoff - what of a lane was finished before when is over,
 * where usually that is so of what was finished before cutoff
 */
TimestampTz
taskq_retention_cutoff(const TaskqRetention * retention, int32 lane,
					   TimestampTz cutoff)
{
	TaskqKeep	key = {.lane = lane};
	TaskqKeep  *own;

	if (retention->n == 0)
		return cutoff;
	own = bsearch(&key, retention->lanes, retention->n, sizeof(TaskqKeep),
				  by_lane);
	return own ? cutoff + retention->us - own->us : cutoff;
}
