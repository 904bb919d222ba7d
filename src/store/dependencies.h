/*
 * dependencies.h: tables dependency and blocked: who waits for whom
 */
#ifndef TASKQ_DEPENDENCIES_H
#define TASKQ_DEPENDENCIES_H

#include "postgres.h"

#include "base/id.h"
#include "nodes/pg_list.h"

/* What one task has to do with another. */
#define TASKQ_EDGE_WAITS 'd'	/* it waits for it */
#define TASKQ_EDGE_CHILD 'p'	/* it is cancelled with it */
#define TASKQ_EDGE_RETRY 's'	/* it is a retry of it */

#define TASKQ_EDGE_OPEN '\0'	/* it is not known how the other one ended */

typedef struct TaskqEdge
{
	pg_uuid_t	dependency;
	char		type;
	pg_uuid_t	task;
	char		state;			/* how the dependency ended, or
								 * TASKQ_EDGE_OPEN */
	ItemPointerData tid;		/* of a row that was read */
} TaskqEdge;

/* What becomes of a task when one that it waits for fails. */
#define TASKQ_ON_FAILURE_CANCEL 'c'
#define TASKQ_ON_FAILURE_RUN 'r'
#define TASKQ_ON_FAILURE_BLOCK 'b'
#define TASKQ_ON_FAILURE_ONLY 'f'	/* it is for that that it is there */

/* A task that is blocked. */
typedef struct TaskqBlocked
{
	pg_uuid_t	task;
	bool		child;			/* it is not, but is to be cancelled with its
								 * parent */
	char		policy;
	int			awaited;		/* how many it waits for */
	bool		failed;			/* one of those that have ended has failed */
	ItemPointerData tid;		/* of a row that was read */
} TaskqBlocked;

extern void taskq_edges_insert(const TaskqEdge *edges, int n);
extern int	taskq_edges_next(const pg_uuid_t *dependency, char type,
							 pg_uuid_t *from, int max, TaskqEdge *edges);
extern void taskq_edge_settle(TaskqEdge *edge, char state);

extern bool taskq_dependency_next(pg_uuid_t *dependency);
extern bool taskq_task_needed(const pg_uuid_t *id);
extern int	taskq_edges_forget(const pg_uuid_t *dependency, char type,
							   pg_uuid_t *from, int max);
extern bool taskq_retry_completed(const pg_uuid_t *id, pg_uuid_t *retry,
								  List **unfinished);

extern void taskq_blocked_insert(const TaskqBlocked *blocked, int n);
extern bool taskq_blocked_find(const pg_uuid_t *task, bool child,
							   TaskqBlocked *blocked);
extern int	taskq_blocked_range(const pg_uuid_t *first, const pg_uuid_t *last,
								int max, TaskqBlocked *blocked);
extern void taskq_blocked_delete_seen(TaskqBlocked *blocked);
extern void taskq_blocked_update(TaskqBlocked *blocked);
extern void taskq_blocked_delete(const pg_uuid_t *task, bool child);
extern int	taskq_blocked_next(pg_uuid_t *from, int max,
							   TaskqBlocked *blocked);

#endif
