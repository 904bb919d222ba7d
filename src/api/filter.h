/* filter.h: which of many tasks */
#ifndef TASKQ_FILTER_H
#define TASKQ_FILTER_H

#include "postgres.h"

#include "nodes/pg_list.h"
#include "store/defs.h"
#include "store/tasks.h"
#include "utils/hsearch.h"
#include "utils/jsonb.h"
#include "utils/timestamp.h"

/* What is asked of a task; a member left empty asks nothing. */
typedef struct TaskqFilter
{
	List	   *states;			/* strings, as view task has them */
	List	   *kinds;
	List	   *queues;
	List	   *tags;			/* one of them */
	List	   *tenants;
	List	   *submitters;		/* names of roles */
	int			max_priority;
	TimestampTz older_than;		/* submitted before that, or DT_NOEND */
	Jsonb	   *metadata;		/* contained in it */
	Jsonb	   *payload;
	HTAB	   *lanes;			/* those asked about */
	MemoryContext scratch;
} TaskqFilter;

extern void taskq_filter_init(TaskqFilter *filter);
extern void taskq_filter_parse(TaskqFilter *filter, Jsonb *json);
extern List *taskq_filter_names(ArrayType *array, const char *argument);
extern bool taskq_filter_lane(TaskqFilter *filter, int32 lane);
extern bool taskq_filter_row(TaskqFilter *filter, TaskqRow *row);

#endif
