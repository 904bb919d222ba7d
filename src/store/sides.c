/*-------------------------------------------------------------------------
 *
 * sides.c
 *		Tables beside the leaves: what belongs to a task and is large, or many.
 *
 * Each family has one table for each leaf, with rows of that leaf's tasks.
 * They are emptied with the leaf, in its transaction; so nothing is deleted
 * row by row, and nothing of a task outlives it.  What keeps that right:
 *
 *	- Who writes rows of a task has its leaf locked (row exclusive) until the
 *	  transaction ends, and has seen the task there since.  So who has the
 *	  leaf access exclusive has all of them.
 *	- A task that moves to the kept ones takes its rows along.  Those that
 *	  are left behind are of a task that is elsewhere: who reads looks where
 *	  the task is.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "base/compat.h"
#include "storage/bufmgr.h"
#include "storage/lmgr.h"
#include "store/labels.h"
#include "store/logs.h"
#include "store/sides.h"
#include "utils/rel.h"

static const TaskqSide sides[] = {
	{TASKQ_REL_LABEL, taskq_labels_move, taskq_labels_delete},
	{TASKQ_REL_LOG, taskq_logs_move, taskq_logs_delete},
};

/*
 * taskq_side_empty - is there nothing in a table, not even what is dead?
 *
 * Costs a look at its size; the lock is given back.
 */
bool
taskq_side_empty(TaskqRelation table)
{
	Relation	rel = taskq_store_open(table, AccessShareLock);
	bool		empty = RelationGetNumberOfBlocks(rel) == 0;

	table_close(rel, AccessShareLock);
	return empty;
}

/* Lock a table in this mode, if that can be had at once. */
static bool
lock_at_once(TaskqRelation table, LOCKMODE lockmode)
{
	Oid			oid = taskq_store_oid(table);

	return ConditionalLockRelationOid(oid, lockmode) &&
		taskq_store_oid(table) == oid;
}

/*
 * taskq_sides_free - may this transaction write to the tables beside a leaf
 * without waiting?  If so they are locked for that
 */
bool
taskq_sides_free(int leaf)
{
	for (int i = 0; i < lengthof(sides); i++)
	{
		if (!lock_at_once(sides[i].table + leaf, RowExclusiveLock))
			return false;
	}
	return true;
}

/*
 * Lock one that has something in it, and its TOAST table, against everybody.
 * False if that can't be had at once.
 */
static bool
lock_to_truncate(TaskqRelation table, bool *empty)
{
	Relation	rel;
	bool		locked = true;

	*empty = false;
	if (!lock_at_once(table, AccessShareLock))
		return false;
	rel = taskq_store_open(table, NoLock);
	*empty = RelationGetNumberOfBlocks(rel) == 0;
	if (!*empty)
		locked = ConditionalLockRelation(rel, AccessExclusiveLock) &&
			(!OidIsValid(rel->rd_rel->reltoastrelid) ||
			 ConditionalLockRelationOid(rel->rd_rel->reltoastrelid,
										AccessExclusiveLock));
	table_close(rel, NoLock);
	return locked;
}

/*
 * taskq_sides_truncate - empty the tables beside a leaf
 *
 * The transaction has an access exclusive lock on the leaf, so nobody writes
 * to them.  False, and nothing is done, if somebody has locked one.
 */
bool
taskq_sides_truncate(int leaf)
{
	bool		empty[lengthof(sides)];

	for (int i = 0; i < lengthof(sides); i++)
	{
		if (!lock_to_truncate(sides[i].table + leaf, &empty[i]))
			return false;
	}
	for (int i = 0; i < lengthof(sides); i++)
	{
		Relation	rel;

		if (empty[i])
			continue;
		rel = taskq_store_open(sides[i].table + leaf, NoLock);
		taskq_truncate(rel);
		table_close(rel, NoLock);
	}
	return true;
}

/*
 * taskq_sides_move - n tasks of one leaf, from, were inserted among the kept
 * ones as to
 */
void
taskq_sides_move(TaskqRow *from, TaskqRow *to, int n)
{
	for (int i = 0; i < lengthof(sides); i++)
		sides[i].move(from, to, n);
}

/* taskq_sides_delete - a task was just deleted by this transaction */
void
taskq_sides_delete(TaskqRow *row)
{
	for (int i = 0; i < lengthof(sides); i++)
		sides[i].delete(row);
}
