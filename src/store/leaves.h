/* leaves.h: the leaves of table task: what is in one */
#ifndef TASKQ_LEAVES_TABLE_H
#define TASKQ_LEAVES_TABLE_H

#include "postgres.h"

#include "access/tupdesc.h"
#include "datatype/timestamp.h"
#include "storage/block.h"
#include "store/read.h"
#include "store/retention.h"
#include "store/stocks.h"
#include "store/tasks.h"

/*
 * is a claimable task, as a snapshot has it, one of those that are looked
 * for?
 */
typedef bool (*TaskqStoreFilter) (HeapTuple tuple, TupleDesc desc);
extern int	taskq_store_scan(int leaf, int32 lane, const pg_uuid_t *from,
							 Snapshot snapshot, TaskqStoreFilter filter,
							 int max, TaskqRef *found, pg_uuid_t *seen,
							 bool *exhausted);

extern bool taskq_store_first(int leaf, int32 lane, const pg_uuid_t *from,
							  pg_uuid_t *id, bool *claimable);
extern int	taskq_store_scan_tenant(int leaf, int32 lane, const char *tenant,
									int max, pg_uuid_t *after,
									pg_uuid_t *found);

/* What is known of a leaf's pages: two bits each, as of one snapshot. */
typedef struct TaskqPages
{
	BlockNumber n;				/* 0: nothing yet */
	uint8	   *known;
}			TaskqPages;

/*
 * How rows of a leaf are read one after the other: those on pages where
 * nothing has one of these states are passed over.  Costs are in parts of a
 * row's.
 */
typedef struct TaskqPassing
{
	const bool *states;			/* by their letters; NULL: all */
	TaskqPages *pages;
	int64		left;			/* what may be spent on passing over */
}			TaskqPassing;

#define TASKQ_COST_ROW 8		/* one passed over: 1; a look at a page: 8 */

extern HeapTuple taskq_store_next(TaskqRead *read, ScanDirection direction,
								  TaskqPassing * passing);

extern bool taskq_row_over(const TaskqRow *row,
						   const TaskqRetention * retention,
						   TimestampTz cutoff);
extern BlockNumber taskq_store_pick(int leaf, BlockNumber block, int nblocks,
									bool over,
									const TaskqRetention * retention,
									TimestampTz cutoff, int max,
									TaskqRef *found, int *n);
extern bool taskq_store_pick_lane(int leaf, int32 lane, pg_uuid_t *from,
								  TimestampTz cutoff, int max,
								  TaskqRef *found, int *n);
extern bool taskq_store_ends(int leaf, TimestampTz now, pg_uuid_t *oldest,
							 pg_uuid_t *newest);
extern bool taskq_store_truncate(int leaf);
extern void taskq_leaves_count(Snapshot snapshot, TaskqStockVisit visit,
							   void *arg);

#endif
