/* sweep.h: what the parts of the sweeper share; for its own files */
#ifndef TASKQ_SWEEP_H
#define TASKQ_SWEEP_H

#include "postgres.h"

#include "base/shmem.h"
#include "datatype/timestamp.h"
#include "store/leaves.h"

/* This process, if it is a sweeper. */
typedef struct TaskqSweeper
{
	TaskqDb    *db;
	MemoryContext context;
	int			retention;		/* that we sweep by */
	bool		finished;		/* has come to its end as it should */
	TaskqRetention rules;		/* that we sweep by; in a context that stays */
} TaskqSweeper;

extern TaskqSweeper taskq_sweeper;

#define TASKQ_SWEEP_ROWS 500	/* moved or deleted in one transaction, and
								 * one page's more at most */
#define TASKQ_SWEEP_BLOCKS 256	/* read in one transaction */

typedef enum TaskqPortion
{
	TASKQ_PORTION_MORE,
	TASKQ_PORTION_LAST,
	TASKQ_PORTION_BUSY			/* too much is locked: the same once more,
								 * later */
} TaskqPortion;

/* sweeper.c */
extern void taskq_sweep_begin(void);
extern void taskq_sweep_commit(void);
extern bool taskq_sweep_shall_leave(void);
extern void taskq_sweep_pause(long ms);
extern void taskq_sweep_nap(TimestampTz since);
extern TimestampTz taskq_sweep_cutoff(void);
extern bool taskq_sweep_at_home(void);
extern void taskq_sweep_put_off(TaskqLeaf *leaf);

/* empty.c */
extern void taskq_sweep_ring_leaf(int leafno);

/* forget.c */
extern void taskq_sweep_kept(int leafno);
extern void taskq_sweep_early(int leafno);

#endif
