/* crew.h: how many workers a role has, and may it have one more */
#ifndef TASKQ_CREW_H
#define TASKQ_CREW_H

#include "postgres.h"

#include "base/shmem.h"
#include "store/rights.h"

#define TASKQ_WORTH_US 10000	/* what takes no longer than this is left to
								 * the workers that are there */

/* A role with something to do. */
typedef struct TaskqDemand
{
	Oid			role;
	int			workers;
	int64		waiting;		/* tasks, by estimate; 0: not known */
	int64		in_lanes;		/* ... that its lanes tell of, may they run or
								 * not */
	int64		work_us;		/* time that they take; -1: not known */
	uint64		served;			/* number of the last worker that was started
								 * for it */
	int			lanes;
} TaskqDemand;

/* Who is there for a role. */
typedef struct TaskqCrew
{
	int			in_all;
	int			of_role;
	int			starting;
	int			busy;
	int			fresh;			/* of these: not long in their task */
	int64		longest_us;		/* so long the one that is longest in its task
								 * is at it */
	int			idle;			/* one of the role that is, or -1 */
	int			idle_other;		/* slot of a worker of another role or
								 * database that is longest idle, or -1 */
	int			idle_elsewhere; /* of the role, but in another database, that
								 * is idle, or -1 */
	int			free;			/* a free slot, or -1 */
} TaskqCrew;

/* Is a worker to be started for a role that has something to do? */
typedef enum TaskqCrewNeed
{
	TASKQ_CREW_START,			/* yes */
	TASKQ_CREW_IDLE,			/* no: one of them is idle, and to be called */
	TASKQ_CREW_STARTING,		/* ... as many as are needed are starting */
	TASKQ_CREW_SOON,			/* ... those who are there are soon through */
	TASKQ_CREW_ROLE_LIMIT,		/* it may have no more */
	TASKQ_CREW_KEPT,			/* the last place is for other roles */
	TASKQ_CREW_NOT_ITS_TURN,	/* the next place is for another role */
	TASKQ_CREW_FULL				/* there is no place */
} TaskqCrewNeed;

extern void taskq_demand_add(TaskqDemand *demand, const TaskqLane *lane,
							 int room);
extern TaskqCrew taskq_crew_count(Oid role, TimestampTz now);
extern TaskqCrewNeed taskq_crew_need(const TaskqDemand *demand,
									 const TaskqCrew *crew);
extern int	taskq_crew_sessions(Oid role);
extern const char *taskq_crew_connection(Oid role);
extern const TaskqProblem *taskq_server_problem(void);

#endif
