/*-------------------------------------------------------------------------
 *
 * stocks.c
 *		Table "stock": how many tasks there are, of each lane and state.
 *
 * The dispatcher adds what was counted, the sweeper forgets a leaf that it
 * empties, and somebody may count anew.  One at a time: each has the table
 * locked against the others, and none of the processes waits for that.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "access/xact.h"
#include "catalog/indexing.h"
#include "storage/lmgr.h"
#include "store/read.h"
#include "store/rows.h"
#include "store/stocks.h"

#define Natts_stock 4			/* leaf, lane, state, n */

/*
 * taskq_stock_lock_table - lock it until the transaction ends; false if
 * another one has it locked
 */
bool
taskq_stock_lock_table(void)
{
	return ConditionalLockRelationOid(taskq_store_oid(TASKQ_REL_STOCK),
									  ShareRowExclusiveLock);
}

/* taskq_stock_lock_table_alone - ... and wait for that */
void
taskq_stock_lock_table_alone(void)
{
	table_close(taskq_store_open(TASKQ_REL_STOCK, ShareRowExclusiveLock),
				NoLock);
}

/* taskq_stock_add - add to a row, which is made if there is none */
void
taskq_stock_add(const TaskqStock *stock)
{
	TaskqRead	read;
	ScanKeyData keys[3];
	HeapTuple	tuple;
	Datum		values[Natts_stock];
	bool		nulls[Natts_stock] = {false};

	values[0] = Int16GetDatum(stock->leaf);
	values[1] = Int32GetDatum(stock->lane);
	values[2] = CharGetDatum(stock->state);
	values[3] = Int64GetDatum(stock->n);
	taskq_key(&keys[0], 1, F_INT2EQ, values[0]);
	taskq_key(&keys[1], 2, F_INT4EQ, values[1]);
	taskq_key(&keys[2], 3, F_CHAREQ, values[2]);
	taskq_read_begin(&read, TASKQ_REL_STOCK, TASKQ_REL_STOCK_PKEY,
					 RowExclusiveLock, 3, keys);
	tuple = taskq_read_next(&read);
	if (tuple != NULL)
	{
		ItemPointerData tid = tuple->t_self;

		values[3] = Int64GetDatum(stock->n +
								  DatumGetInt64(taskq_read_column(&read,
																  tuple, 4)));
		taskq_rows_update_one(read.rel, &tid, values, nulls, Natts_stock);
	}
	else
		taskq_rows_insert_one(read.rel, values, nulls, Natts_stock);
	taskq_read_end(&read);
	CommandCounterIncrement();
}

/* taskq_stock_forget_leaf - a leaf is emptied; -1: count anew */
void
taskq_stock_forget_leaf(int leaf)
{
	ScanKeyData key;

	if (leaf >= 0)
	{
		taskq_key(&key, 1, F_INT2EQ, Int16GetDatum(leaf));
		taskq_read_delete(TASKQ_REL_STOCK, TASKQ_REL_STOCK_PKEY,
						  RowExclusiveLock, 1, &key);
	}
	else
		taskq_read_delete(TASKQ_REL_STOCK, TASKQ_REL_STOCK_PKEY,
						  RowExclusiveLock, 0, NULL);
	CommandCounterIncrement();
}

/* taskq_stock_visit - all rows */
void
taskq_stock_visit(Snapshot snapshot, TaskqStockVisit visit, void *arg)
{
	TaskqRead	read;
	HeapTuple	tuple;

	taskq_read_begin_ordered(&read, TASKQ_REL_STOCK, TASKQ_REL_STOCK_PKEY,
							 snapshot, 0, NULL);
	while ((tuple = taskq_read_next(&read)) != NULL)
	{
		TaskqStock	stock = {
			.leaf = DatumGetInt16(taskq_read_column(&read, tuple, 1)),
			.lane = DatumGetInt32(taskq_read_column(&read, tuple, 2)),
			.state = DatumGetChar(taskq_read_column(&read, tuple, 3)),
			.n = DatumGetInt64(taskq_read_column(&read, tuple, 4))
		};

		visit(&stock, arg);
	}
	taskq_read_end(&read);
}
