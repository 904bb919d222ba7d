/* forecast.h: when a task's turn comes, and how long it takes */
#ifndef TASKQ_FORECAST_H
#define TASKQ_FORECAST_H

#include "postgres.h"

#include "lanes/position.h"

/* How sure an estimate is. */
typedef enum TaskqSure
{
	TASKQ_SURE_NONE,			/* there is none */
	TASKQ_SURE_LOW,
	TASKQ_SURE_MEDIUM,
	TASKQ_SURE_HIGH
} TaskqSure;

/* What runs now of some tasks, and how long it will still take. */
typedef struct TaskqBusy
{
	int			n;
	int			unknown;		/* of so many it is not known */
	int			more;			/* tasks that the others have set aside */
	double		rest_us;		/* of the others, together */
	double		first_us;		/* ... of the one that is through first; -1:
								 * none is known */
} TaskqBusy;

/* A limit that tasks pass one after the other, and who has passed it. */
typedef struct TaskqGate
{
	TaskqLimit	limit;
	TaskqBusy	busy;
} TaskqGate;

/* How fast tasks of a lane come to their turn. */
typedef struct TaskqPace
{
	int			places;			/* workers that the role may have */
	TaskqBusy	busy;
	TaskqGate	queue;
	TaskqGate	kind;
} TaskqPace;

extern const char *taskq_sure_name(TaskqSure sure);
extern void taskq_busy_workers(const TaskqLaneDef *lane, bool of_role,
							   bool of_queue, bool of_kind, TaskqBusy *busy);
extern int	taskq_role_places(Oid role);
extern double taskq_wait_us(double n, double work_us, const TaskqBusy *busy,
							int places);
extern void taskq_pace_of(const TaskqLaneDef *lane, TaskqPace *pace);
extern TaskqSure taskq_forecast_wait(const TaskqPace *pace,
									 const TaskqFront *front,
									 const TaskqDue *place, bool itself,
									 double *wait_us);

#endif
