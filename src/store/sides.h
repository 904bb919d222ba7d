/*
 * sides.h: tables that exist once for each leaf, beside it, with what belongs
 * to its tasks
 */
#ifndef TASKQ_SIDES_H
#define TASKQ_SIDES_H

#include "postgres.h"

#include "store/tasks.h"

/*
 * One family of them.  A new one is a line of the list in sides.c, names and
 * types in store.c, and its DDL in sql/.
 */
typedef struct TaskqSide
{
	TaskqRelation table;		/* its first */

	/*
	 * Tasks have moved from a leaf of the ring to the kept ones: their rows
	 * here shall be there too.  What stays behind goes with the leaf.
	 */
	void		(*move) (TaskqRow *from, TaskqRow *to, int n);

	/* A task was just deleted by this transaction: its rows go. */
	void		(*delete) (TaskqRow *row);
} TaskqSide;

extern bool taskq_side_empty(TaskqRelation table);
extern bool taskq_sides_free(int leaf);
extern bool taskq_sides_truncate(int leaf);
extern void taskq_sides_move(TaskqRow *from, TaskqRow *to, int n);
extern void taskq_sides_delete(TaskqRow *row);

#endif
