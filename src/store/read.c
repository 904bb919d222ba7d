/*-------------------------------------------------------------------------
 *
 * read.c
 *		Reading one of taskq's tables by an index, as it is at this moment.
 *
 * Who only reads locks a table access share, and gives that lock back at the
 * end; any other stays until the transaction ends.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "catalog/indexing.h"
#include "store/read.h"
#include "utils/snapmgr.h"

/*
 * taskq_read_begin - begin to read the rows that have these keys
 *
 * The columns of the keys are the table's; the keys are the scan's from now
 * on.  Raises what taskq_store_open and
 * taskq_store_oid raise.
 */
void
taskq_read_begin(TaskqRead *read, TaskqRelation table, TaskqRelation index,
				 LOCKMODE lockmode, int nkeys, ScanKey keys)
{
	read->rel = taskq_store_open(table, lockmode);
	read->index = NULL;
	read->lockmode = lockmode;
	read->snapshot = taskq_store_snapshot();
	read->scan = systable_beginscan(read->rel, taskq_store_oid(index), true,
									read->snapshot, nkeys, keys);
}

/*
 * taskq_read_begin_ordered - the same in the index's order, and with a
 * snapshot, or NULL for one of this moment
 */
void
taskq_read_begin_ordered(TaskqRead *read, TaskqRelation table,
						 TaskqRelation index, Snapshot snapshot, int nkeys,
						 ScanKey keys)
{
	read->rel = taskq_store_open(table, AccessShareLock);
	read->index = index_open(taskq_store_oid(index), AccessShareLock);
	read->lockmode = AccessShareLock;
	read->snapshot = snapshot ? RegisterSnapshot(snapshot)
		: taskq_store_snapshot();
	read->scan = systable_beginscan_ordered(read->rel, read->index,
											read->snapshot, nkeys, keys);
}

/* taskq_read_begin_all - begin to read all rows of a table */
void
taskq_read_begin_all(TaskqRead *read, TaskqRelation table, LOCKMODE lockmode)
{
	read->rel = taskq_store_open(table, lockmode);
	read->index = NULL;
	read->lockmode = lockmode;
	read->snapshot = taskq_store_snapshot();
	read->scan = systable_beginscan(read->rel, InvalidOid, false,
									read->snapshot, 0, NULL);
}

/* taskq_read_end - end it */
void
taskq_read_end(TaskqRead *read)
{
	if (read->index == NULL)
		systable_endscan(read->scan);
	else
	{
		systable_endscan_ordered(read->scan);
		index_close(read->index, AccessShareLock);
	}
	UnregisterSnapshot(read->snapshot);
	table_close(read->rel,
				read->lockmode == AccessShareLock ? AccessShareLock : NoLock);
}

/*
 * taskq_read_one - a copy of the row that has these keys, and of the table's
 * description; NULL if there is none
 */
HeapTuple
taskq_read_one(TaskqRelation table, TaskqRelation index, int nkeys,
			   ScanKey keys, TupleDesc *desc)
{
	TaskqRead	read;
	HeapTuple	tuple;

	taskq_read_begin(&read, table, index, AccessShareLock, nkeys, keys);
	tuple = taskq_read_next(&read);
	if (tuple != NULL)
	{
		tuple = heap_copytuple(tuple);
		*desc = CreateTupleDescCopy(RelationGetDescr(read.rel));
	}
	taskq_read_end(&read);
	return tuple;
}

/* taskq_read_delete - delete the rows that have these keys */
void
taskq_read_delete(TaskqRelation table, TaskqRelation index,
				  LOCKMODE lockmode, int nkeys, ScanKey keys)
{
	TaskqRead	read;
	HeapTuple	tuple;

	taskq_read_begin(&read, table, index, lockmode, nkeys, keys);
	while ((tuple = taskq_read_next(&read)) != NULL)
		CatalogTupleDelete(read.rel, &tuple->t_self);
	taskq_read_end(&read);
}

/*
 * taskq_lock_busy - a row could not be locked: because somebody else has
 * it?  Else it is not the newest version any more.
 */
bool
taskq_lock_busy(TM_Result result)
{
	switch (result)
	{
		case TM_WouldBlock:
		case TM_BeingModified:
			return true;
		case TM_Updated:
		case TM_Deleted:
			return false;
		default:
			elog(ERROR, "unexpected result %d of locking a row",
				 (int) result);
	}
	return false;
}
