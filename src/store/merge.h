/*
 * merge.h: tasks from several places side by side, in the order of (rank, id)
 */
#ifndef TASKQ_MERGE_H
#define TASKQ_MERGE_H

#include "postgres.h"

#include "store/labels.h"
#include "store/tasks.h"

/* Ids between these two, without them. */
typedef struct TaskqIdRange
{
	pg_uuid_t	low;
	pg_uuid_t	high;
} TaskqIdRange;

/* A place in the order. */
typedef TaskqLabelled TaskqRank;

/*
 * A list of tasks, read bit by bit: a function appends at most so many, more
 * or less, and says if there may be more.
 */
typedef struct TaskqIdList
{
	TaskqRank  *items;
	int64		n;
	int64		room;
	TaskqDue	from;			/* where to go on; at first that is the least */
	int32		lane;			/* of these, where that is asked for */
	const char *label;
	int64		rank;			/* the source's */
} TaskqIdList;

typedef bool (*TaskqIdsMore) (TaskqIdList *list, int max, void *arg);

/* May a row be one of those that are looked for? */
typedef bool (*TaskqTupleSuits) (void *arg, HeapTuple tuple, TupleDesc desc);

typedef enum TaskqMergeResult
{
	TASKQ_MERGE_ROW,
	TASKQ_MERGE_END,
	TASKQ_MERGE_LATER			/* the budget is used up: ask again */
} TaskqMergeResult;

typedef struct TaskqMerge TaskqMerge;

/* in rows that are read one after the other */
#define TASKQ_COST_LANE 2		/* one of a lane: its neighbours are others' */
#define TASKQ_COST_FOUND 6		/* one that is looked up by its id */

extern void taskq_id_list_add(TaskqIdList *list, const pg_uuid_t *id,
							  int64 rank);
extern int	taskq_rank_cmp(const TaskqRank *a, const TaskqRank *b,
						   bool backwards);

extern TaskqMerge *taskq_merge_begin(bool backwards, TaskqTupleSuits suits,
									 void *arg, TaskqMerge *beside);
extern void taskq_merge_states(TaskqMerge *merge, const bool *states);
extern void taskq_merge_add_leaves(TaskqMerge *merge,
								   const TaskqIdRange *range, int64 rank);
extern void taskq_merge_add_lane(TaskqMerge *merge, int32 lane,
								 const TaskqIdRange *range, int64 rank);
extern void taskq_merge_add_label(TaskqMerge *merge, const char *label,
								  const TaskqIdRange *range, int64 rank);
extern void taskq_merge_add_ranked(TaskqMerge *merge, const char *label,
								   const TaskqRank *after);
extern void taskq_merge_add_ids(TaskqMerge *merge, TaskqIdsMore more,
								int32 lane, const char *label,
								const TaskqIdRange *range, int64 rank);
extern TaskqMergeResult taskq_merge_next(TaskqMerge *merge, int64 *budget,
										 TaskqRow *row, TaskqRank *place);
extern void taskq_merge_end(TaskqMerge *merge);

#endif
