/* stocks.h: table "stock": how many tasks there are */
#ifndef TASKQ_STOCKS_H
#define TASKQ_STOCKS_H

#include "postgres.h"

#include "utils/snapshot.h"

/* Tasks of a lane in a state, stored in a leaf. */
typedef struct TaskqStock
{
	int16		leaf;
	char		state;
	int32		lane;
	int64		n;
} TaskqStock;

typedef void (*TaskqStockVisit) (const TaskqStock *stock, void *arg);

extern bool taskq_stock_lock_table(void);
extern void taskq_stock_lock_table_alone(void);
extern void taskq_stock_add(const TaskqStock *stock);
extern void taskq_stock_forget_leaf(int leaf);
extern void taskq_stock_visit(Snapshot snapshot, TaskqStockVisit visit,
							  void *arg);

#endif
