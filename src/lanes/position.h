/*
 * position.h: how many tasks are before one, and how long they will take
 */
#ifndef TASKQ_POSITION_H
#define TASKQ_POSITION_H

#include "postgres.h"

#include "base/id.h"
#include "store/defs.h"
#include "store/tasks.h"

/*
 * So many tasks are looked at one by one: for one task that somebody asks
 * for, and for each of many that are listed.
 */
#define TASKQ_FRONT_DEEP 10000
#define TASKQ_FRONT_SHALLOW 200

/* What waits in front of a queue, or of a role's workers, as it is now. */
typedef struct TaskqFront TaskqFront;

/* How many tasks are before a place, and what is known of them. */
typedef struct TaskqAhead
{
	int64		n;
	bool		exact;			/* else an estimate */
	int64		unknown;		/* of so many the run time is not known */
	double		work_us;		/* that the others will take */
	int64		of_queue;		/* of these tasks: those of the same queue, */
	double		queue_us;
	int64		of_kind;		/* ... and of the same kind */
	double		kind_us;
	bool		turns;			/* tenants take turns: others may come between */
} TaskqAhead;

extern TaskqFront *taskq_front_of_queue(const TaskqLaneDef *lane, int budget);
extern TaskqFront *taskq_front_of_role(const TaskqLaneDef *lane, int budget);
extern void taskq_front_ahead(const TaskqFront *front, const TaskqDue *place,
							  TaskqAhead *ahead);
extern void taskq_front_place(const pg_uuid_t *id, TimestampTz run_at,
							  TaskqDue *place);
extern void taskq_front_place_of(TaskqRow *row, TaskqDue *place);
extern int64 taskq_queue_position(const TaskqLaneDef *lane, TaskqRow *row,
								  bool *exact);
extern int64 taskq_lane_average_us(const TaskqLaneDef *lane,
								   bool others);

#endif
