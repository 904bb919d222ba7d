/*-------------------------------------------------------------------------
 *
 * select.c
 *		Tasks in the order of their ids, whichever leaves they are in.
 *
 * All leaves are read side by side, by their primary keys; nothing is sorted
 * or kept, so a million tasks need no more memory than one.  A leaf whose
 * tasks come later is not read beyond its first one before it is their turn.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "store/read.h"
#include "store/rows.h"
#include "store/select.h"
#include "utils/snapmgr.h"

typedef struct Source
{
	TaskqRead	read;
	HeapTuple	tuple;			/* the next one, or NULL */
	pg_uuid_t	id;				/* of that */
} Source;

struct TaskqSelect
{
	Snapshot	snapshot;
	int			last;			/* the source of the row given last, or -1 */
	Source		sources[TASKQ_LEAVES];
};

static void
advance(Source *source)
{
	source->tuple = taskq_read_next(&source->read);
	if (source->tuple != NULL)
		source->id = *DatumGetUUIDP(taskq_read_column(&source->read,
													  source->tuple,
													  Anum_task_id));
}

/*
 * taskq_select_begin - begin to read all tasks after this id, as they are at
 * this moment
 *
 * End it with taskq_select_end, under the same resource owner.
 */
TaskqSelect *
taskq_select_begin(const pg_uuid_t *after)
{
	TaskqSelect *select = palloc(sizeof(TaskqSelect));
	ScanKeyData key;

	select->snapshot = taskq_store_snapshot();
	select->last = -1;
	for (int leaf = 0; leaf < TASKQ_LEAVES; leaf++)
	{
		Source	   *source = &select->sources[leaf];

		ScanKeyInit(&key, Anum_task_id, BTGreaterStrategyNumber, F_UUID_GT,
					UUIDPGetDatum(after));
		taskq_read_begin_ordered(&source->read, TASKQ_REL_LEAF + leaf,
								 TASKQ_REL_LEAF_PKEY + leaf, select->snapshot,
								 1, &key);
		advance(source);
	}
	return select;
}

/*
 * taskq_select_next - the next one; false if there is none
 *
 * What the row points to is good until the one after it is asked for.
 */
bool
taskq_select_next(TaskqSelect *select, TaskqRow *row)
{
	int			first = -1;

	if (select->last >= 0)
		advance(&select->sources[select->last]);
	for (int leaf = 0; leaf < TASKQ_LEAVES; leaf++)
	{
		Source	   *source = &select->sources[leaf];

		if (source->tuple != NULL &&
			(first < 0 ||
			 taskq_id_cmp(&source->id, &select->sources[first].id) < 0))
			first = leaf;
	}
	select->last = first;
	if (first < 0)
		return false;
	row->leaf = first;
	row->tid = select->sources[first].tuple->t_self;
	row->xmin = InvalidTransactionId;
	row->whole = NULL;
	taskq_rows_deform(select->sources[first].tuple,
					  RelationGetDescr(select->sources[first].read.rel),
					  row->values, row->nulls, Natts_task);
	return true;
}

/* taskq_select_end - end it */
void
taskq_select_end(TaskqSelect *select)
{
	for (int leaf = 0; leaf < TASKQ_LEAVES; leaf++)
		taskq_read_end(&select->sources[leaf].read);
	UnregisterSnapshot(select->snapshot);
	pfree(select);
}
