/* select.h: tasks in the order of their ids, whichever leaves they are in */
#ifndef TASKQ_SELECT_H
#define TASKQ_SELECT_H

#include "postgres.h"

#include "store/tasks.h"

typedef struct TaskqSelect TaskqSelect;

extern TaskqSelect *taskq_select_begin(const pg_uuid_t *after);
extern bool taskq_select_next(TaskqSelect *select, TaskqRow *row);
extern void taskq_select_end(TaskqSelect *select);

#endif
