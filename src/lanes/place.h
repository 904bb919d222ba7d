/* place.h: how many tasks of a kind, or of a queue, may run at a time */
#ifndef TASKQ_PLACE_H
#define TASKQ_PLACE_H

#include "postgres.h"

#include "base/shmem.h"
#include "store/defs.h"

/* What limits the tasks of a lane, as this process knows the definitions. */
typedef struct TaskqLimits
{
	TaskqPlace	of;
	bool		limited;		/* any of the following is set */
	int			queue_max;		/* 0: no limit */
	int			kind_max;
} TaskqLimits;

typedef enum TaskqPlaceResult
{
	TASKQ_PLACE_TAKEN,
	TASKQ_PLACE_NONE,			/* the lane is held until somebody makes room */
	TASKQ_PLACE_STALE			/* definitions have changed: read them again */
} TaskqPlaceResult;

extern void taskq_limits_of(const TaskqLaneDef *lane, TaskqLimits *limits);
extern TaskqPlaceResult taskq_place_take(TaskqSlot *slot, TaskqLane *lane,
										 const TaskqLimits *limits);
extern void taskq_place_leave(TaskqSlot *slot, bool looks_again);
extern int	taskq_place_room(TaskqLane *lane, const TaskqLimits *limits);
extern void taskq_places_open(TaskqDb *db);

#endif
