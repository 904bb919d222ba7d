/* links.h: tables link and link_task: which task made which object */
#ifndef TASKQ_LINKS_H
#define TASKQ_LINKS_H

#include "postgres.h"

#include "nodes/pg_list.h"
#include "store/defs.h"
#include "store/tasks.h"

/* What is kept of a task that has links, for who asks whose they are. */
typedef struct TaskqLinkTask
{
	ItemPointerData tid;
	int32		role;			/* that it ran as */
	int32		submitted_by;
	char	   *tenant;			/* or NULL */
} TaskqLinkTask;

extern void taskq_link_lock(const pg_uuid_t *task);
extern void taskq_link_insert(TaskqRow *row, const TaskqLaneDef *lane,
							  const char *object, const char *id);
extern bool taskq_link_delete(const pg_uuid_t *task, const char *object,
							  const char *id);
extern List *taskq_links_of(const char *object, const char *id);
extern bool taskq_link_task_find(const pg_uuid_t *task, TaskqLinkTask *found);
extern int64 taskq_links_delete_tenant(const char *tenant);

#endif
