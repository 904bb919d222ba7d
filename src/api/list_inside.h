/* list_inside.h: a page that is looked for, and the ways to it: for list*.c alone */
#ifndef TASKQ_LIST_INSIDE_H
#define TASKQ_LIST_INSIDE_H

#include "postgres.h"

#include "api/filter.h"
#include "store/labels.h"
#include "store/merge.h"
#include "utils/hsearch.h"

typedef enum TaskqListOrder
{
	TASKQ_ORDER_NEWEST,
	TASKQ_ORDER_OLDEST,
	TASKQ_ORDER_PRIORITY,		/* the most urgent first, of these the oldest */
	TASKQ_ORDER_DURATION		/* the longest first */
} TaskqListOrder;

/* What a way leads past, as far as counters tell of it. */
typedef enum TaskqWayThrough
{
	TASKQ_THROUGH_UNKNOWN,
	TASKQ_THROUGH_LEAVES,		/* all tasks */
	TASKQ_THROUGH_LANES,		/* those of the lanes that suit */
	TASKQ_THROUGH_LOOKED_UP,	/* the same, each looked up */
	TASKQ_THROUGH_ENDED,		/* what failed or was cancelled, looked up */
	TASKQ_THROUGH_ROLES			/* lanes of roles, and what has labels, looked
								 * up */
} TaskqWayThrough;

/* One way to find them. */
typedef struct TaskqWay
{
	TaskqMerge *merge;
	TaskqWayThrough through;
	bool		ordered;		/* it gives them in the order asked for */
	bool		left;			/* another one is shorter */
	bool		over;
	List	   *labels;			/* whose tasks it looks up, not counted yet */
	TaskqLabelScan *counting;	/* of the first of these */
	TaskqRank  *found;
	int			nfound;
} TaskqWay;

typedef struct TaskqListing
{
	TaskqFilter filter;
	TaskqListOrder order;
	int			n;				/* tasks wanted */
	bool		has_after;
	TaskqRank	after;
	TaskqIdRange range;			/* ids that it can be */
	List	   *lanes;			/* of int; those that suit, if there are not
								 * too many */
	bool		by_lanes;
	HTAB	   *lanes_of_roles; /* of these, those of way TASKQ_THROUGH_ROLES */
	bool		held_apart;		/* what is held is added to each way: stored
								 * as pending it is nowhere else */
	bool		states[256];	/* stored states that can suit, by letter */
	List	   *ways;			/* of TaskqWay */
	int64		cost[TASKQ_THROUGH_ROLES + 1];	/* of going there to the end,
												 * as far as known, in parts
												 * of a row's */
} TaskqListing;

extern void taskq_list_ways(TaskqListing *listing);
extern bool taskq_list_backwards(const TaskqListing *listing);
extern bool taskq_list_by_id(const TaskqListing *listing);
extern bool taskq_list_by_state(const TaskqListing *listing);
extern int64 taskq_list_rank(TaskqListing *listing, TaskqRow *row);

#endif
