/* foreach.h: schedules that submit a task for each object of a query */
#ifndef TASKQ_FOREACH_H
#define TASKQ_FOREACH_H

#include "postgres.h"

extern void taskq_foreach_check(const char *query);

#endif
