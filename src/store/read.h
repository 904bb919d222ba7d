/*
 * read.h: reading one of taskq's tables by an index, as it is at this moment,
 * and deleting what is found
 */
#ifndef TASKQ_READ_H
#define TASKQ_READ_H

#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/skey.h"
#include "access/stratnum.h"
#include "access/tableam.h"
#include "store/store.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"

typedef struct TaskqRead
{
	Relation	rel;
	Relation	index;			/* NULL: not in its order */
	LOCKMODE	lockmode;
	Snapshot	snapshot;
	SysScanDesc scan;
} TaskqRead;

extern void taskq_read_begin(TaskqRead *read, TaskqRelation table,
							 TaskqRelation index, LOCKMODE lockmode,
							 int nkeys, ScanKey keys);
extern void taskq_read_begin_ordered(TaskqRead *read, TaskqRelation table,
									 TaskqRelation index, Snapshot snapshot,
									 int nkeys, ScanKey keys);
extern void taskq_read_begin_all(TaskqRead *read, TaskqRelation table,
								 LOCKMODE lockmode);
extern void taskq_read_end(TaskqRead *read);
extern HeapTuple taskq_read_one(TaskqRelation table, TaskqRelation index,
								int nkeys, ScanKey keys, TupleDesc *desc);
extern void taskq_read_delete(TaskqRelation table, TaskqRelation index,
							  LOCKMODE lockmode, int nkeys, ScanKey keys);
extern bool taskq_lock_busy(TM_Result result);

/* The next row, or NULL; good until the one after it is asked for. */
static inline HeapTuple
taskq_read_next(TaskqRead *read)
{
	return read->index
		? systable_getnext_ordered(read->scan, ForwardScanDirection)
		: systable_getnext(read->scan);
}

/* The same in a direction of the index; all calls in the same one. */
static inline HeapTuple
taskq_read_next_to(TaskqRead *read, ScanDirection direction)
{
	return systable_getnext_ordered(read->scan, direction);
}

/* A column of it that is never null. */
static inline Datum
taskq_read_column(const TaskqRead *read, HeapTuple tuple, int column)
{
	bool		isnull;

	return heap_getattr(tuple, column, RelationGetDescr(read->rel), &isnull);
}

/* A key: the column is equal to the value. */
static inline void
taskq_key(ScanKey key, AttrNumber column, RegProcedure equal, Datum value)
{
	ScanKeyInit(key, column, BTEqualStrategyNumber, equal, value);
}

/* A key: the column is greater than the value, or equal. */
static inline void
taskq_key_from(ScanKey key, AttrNumber column, RegProcedure greater_equal,
			   Datum value)
{
	ScanKeyInit(key, column, BTGreaterEqualStrategyNumber, greater_equal,
				value);
}

#endif
