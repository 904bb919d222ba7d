/* stock.h: how many tasks there are, of each lane and state */
#ifndef TASKQ_STOCK_H
#define TASKQ_STOCK_H

#include "postgres.h"

#include "access/xact.h"
#include "storage/lwlock.h"
#include "store/stocks.h"

extern void taskq_stock_init(void);

/* for counts.c, which is told when transactions end */
extern void taskq_stock_xact_end(XactEvent event);
extern void taskq_stock_subxact_end(SubXactEvent event, int level);
extern bool taskq_stock_hand_over(void);
extern Snapshot taskq_stock_snapshot(LWLock *lock, const uint64 *taken,
									 void (*copy) (void *arg), void *arg);

/* for the dispatcher and the sweeper, in a transaction */
extern void taskq_stock_forget(Oid dbid);
extern bool taskq_stock_any(void);
extern void taskq_stock_write(void);
extern bool taskq_stock_leaf_emptied(int leaf);

/*
 * All that there is, by leaf, lane and state: written, and what is not yet.
 * Stored states: a task that a worker has is still 'p'.
 */
extern void taskq_stock_read(TaskqStockVisit visit, void *arg);
extern int64 taskq_stock_recount(void);

#endif
