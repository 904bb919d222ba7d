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

/* From the first moment on, and before the second one. */
typedef struct TaskqWhen
{
	TimestampTz from;
	TimestampTz before;
} TaskqWhen;

/* What is asked of a task; a member left empty asks nothing. */
typedef struct TaskqFilter
{
	List	   *states;			/* strings, as view task has them */
	List	   *kinds;
	List	   *categories;
	List	   *queues;
	List	   *tags;			/* one of them */
	List	   *tenants;
	int64	   *tenant_numbers; /* of these */
	List	   *submitters;		/* names of roles */
	List	   *run_as;
	List	   *workers;
	List	   *ids;			/* of palloc'd pg_uuid_t */
	List	   *parents;
	List	   *workflows;
	List	   *retries_of;
	int			min_priority;
	int			max_priority;
	TaskqWhen	created;
	TaskqWhen	started;
	TaskqWhen	finished;
	Jsonb	   *metadata;		/* contained in it */
	Jsonb	   *payload;
	char	   *text;			/* in id, message or error, in lower case */
	bool		look;			/* to look at, not to steer */
	HTAB	   *held;			/* what workers held at the beginning */
	HTAB	   *lanes;			/* those asked about */
	MemoryContext scratch;
} TaskqFilter;

extern void taskq_filter_init(TaskqFilter *filter, bool look);
extern void taskq_filter_parse(TaskqFilter *filter, Jsonb *json);
extern void taskq_filter_tenants(TaskqFilter *filter, List *tenants);
extern List *taskq_filter_names(ArrayType *array, const char *argument);
extern bool taskq_filter_by_lane(const TaskqFilter *filter);
extern bool taskq_filter_lane(TaskqFilter *filter, int32 lane);
extern bool taskq_filter_stored(const TaskqFilter *filter, char state);
extern bool taskq_filter_state(const TaskqFilter *filter, const char *state);
extern bool taskq_filter_row(TaskqFilter *filter, TaskqRow *row);
extern void taskq_filter_held(const TaskqFilter *filter,
							  void (*take) (void *to, const pg_uuid_t *id),
							  void *to);
extern int64 taskq_filter_ran_us(TaskqFilter *filter, TaskqRow *row);

#endif
