/* list.h: the tasks that a filter finds */
#ifndef TASKQ_LIST_H
#define TASKQ_LIST_H

#include "postgres.h"

#include "api/filter.h"

extern int	taskq_list_ids(const TaskqFilter *filter, const pg_uuid_t *after,
						   const pg_uuid_t *last, int max, pg_uuid_t *ids);

#endif
