/*-------------------------------------------------------------------------
 *
 * empty.c
 *		Emptying a leaf of the ring.
 *
 * A leaf is read once, in portions, without a lock that anybody would notice.
 * Where the reading is, is in shared memory, so that whoever comes next goes
 * on there. What has been finished stays so, and its time is over for good;
 * so a part that was read is never read again, unless something was put into
 * the leaf meanwhile.  That cannot be missed:
 *
 *	- A read begins at a moment when nobody writes in the leaf (a share lock is had
 *	  at once, or it does not begin).
 *	- From then on, whoever puts a row, or a new version of one, at another place of
 *	  the leaf counts that in shared memory while he has his lock (tasks.c; for
 *	  commands of the executor and COPY it is a constraint of the table).
 *	- What could not be moved, because somebody has it locked, is remembered by its id.
 *
 * When all has been read, nothing is remembered, and under the exclusive lock
 * the count is what it was, then there is nothing in the leaf that shall be
 * kept: the lock, which is had at once or not at all, lasts as long as
 * truncating does.
 *
 * A truncated leaf is empty for old snapshots too.  Tasks that were moved are
 * seen by those that began after the move, so after one the leaf stays until
 * no older snapshot is left: a dump has every task that is not forgotten.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/transam.h"
#include "access/xact.h"
#include "dispatch/sweep.h"
#include "lanes/note.h"
#include "lanes/stock.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "storage/procarray.h"
#include "store/dependencies.h"
#include "store/leaves.h"
#include "store/state.h"
#include "store/store.h"
#include "utils/timestamp.h"

#define TRIES 30				/* to truncate a leaf, in some seconds */

/* It is to be looked for among the kept ones when the move is committed. */
static void
note_moved(const TaskqRow *row)
{
	char		state = taskq_row_state(row);

	if (state == TASKQ_PENDING || state == TASKQ_RUNNING)
		taskq_note_moved(DatumGetInt32(taskq_row_value(row, lane)),
						 DatumGetUUIDP(taskq_row_value(row, id)));
}

/*
 * Move those of these tasks that are in the leaf and shall be kept; over: also
 * those whose time is over.  Those that somebody has locked are put first
 * into refs; returns how many.
 */
static int
move(int leafno, TaskqRef *refs, int n, bool over)
{
	TaskqLeaf  *leaf = &taskq_sweeper.db->leaves[leafno];
	TaskqRow   *rows = palloc(sizeof(TaskqRow) * Max(n, 1));
	int			nrows = 0;
	int			nbusy = 0;

	for (int i = 0; i < n; i++)
	{
		TaskqLockResult locked = taskq_store_lock_seen(&refs[i],
													   &rows[nrows]);

		CHECK_FOR_INTERRUPTS();
		if (locked == TASKQ_BUSY)
			refs[nbusy++] = refs[i];
		else if (locked == TASKQ_LOCKED && rows[nrows].leaf == leafno &&
				 (over || !taskq_row_over(&rows[nrows], &taskq_sweeper.rules,
										  leaf->cutoff)))
			nrows++;
	}
	if (nrows == 0)
		return nbusy;
	for (int i = 0; i < nrows; i++)
		note_moved(&rows[i]);
	taskq_store_move(rows, nrows);
	leaf->moved = U64FromFullTransactionId(GetTopFullTransactionId());
	return nbusy;
}

static void
remember_busy(TaskqLeaf *leaf, const TaskqRef *refs, int n)
{
	for (int i = 0; i < n; i++)
		leaf->busy[leaf->nbusy++] = refs[i].id;
}

/* Those that somebody had locked when we came to them. */
static void
retry_busy(int leafno)
{
	TaskqLeaf  *leaf = &taskq_sweeper.db->leaves[leafno];
	TaskqRef	refs[TASKQ_LEAF_BUSY];
	int			n = leaf->nbusy;

	if (n == 0)
		return;
	taskq_sweep_begin();
	memset(refs, 0, sizeof(refs));
	for (int i = 0; i < n; i++)
	{
		refs[i].id = leaf->busy[i];
		ItemPointerSetInvalid(&refs[i].tid);
	}
	n = move(leafno, refs, n, false);
	taskq_sweep_commit();
	leaf->nbusy = 0;
	remember_busy(leaf, refs, n);
}

/* Is what was read of a leaf still all there is to know of that part? */
static bool
read_holds(const TaskqLeaf *leaf, Relation rel)
{
	return leaf->reading && leaf->cutoff <= taskq_sweep_cutoff() &&
		leaf->rules == taskq_sweeper.rules.signature &&
		leaf->file == rel->rd_rel->relfilenode &&
		leaf->written_before ==
		pg_atomic_read_u64(&unconstify(TaskqLeaf *, leaf)->written);
}

/* Go on with reading a leaf, or begin; false if that can't be now. */
static bool
begin_to_read(int leafno)
{
	TaskqLeaf  *leaf = &taskq_sweeper.db->leaves[leafno];
	Relation	rel;

	taskq_sweep_begin();
	rel = taskq_store_open(TASKQ_REL_LEAF + leafno, AccessShareLock);
	if (!read_holds(leaf, rel))
	{
		leaf->reading = false;
		if (ConditionalLockRelation(rel, ShareLock) && taskq_sweep_at_home())
		{
			leaf->written_before = pg_atomic_read_u64(&leaf->written);
			leaf->file = rel->rd_rel->relfilenode;
			leaf->cutoff = taskq_sweep_cutoff();
			leaf->rules = taskq_sweeper.rules.signature;
			leaf->block = 0;
			leaf->nbusy = 0;
			leaf->reading = true;
		}
	}
	table_close(rel, NoLock);
	taskq_sweep_commit();
	return leaf->reading;
}

/* Read on in a leaf, and move what shall be kept. */
static TaskqPortion
read_portion(int leafno)
{
	TaskqLeaf  *leaf = &taskq_sweeper.db->leaves[leafno];
	TaskqRef   *refs;
	BlockNumber next;
	int			n;

	taskq_sweep_begin();
	refs = palloc(sizeof(TaskqRef) *
				  (TASKQ_SWEEP_ROWS + MaxHeapTuplesPerPage));
	next = taskq_store_pick(leafno, leaf->block, TASKQ_SWEEP_BLOCKS, false,
							&taskq_sweeper.rules,
							leaf->cutoff, TASKQ_SWEEP_ROWS, refs, &n);
	n = move(leafno, refs, n, false);
	taskq_sweep_commit();
	if (leaf->nbusy + n > TASKQ_LEAF_BUSY)
		return TASKQ_PORTION_BUSY;
	remember_busy(leaf, refs, n);
	if (next == InvalidBlockNumber)
		return TASKQ_PORTION_LAST;
	leaf->block = next;
	return TASKQ_PORTION_MORE;
}

/* Does every snapshot see what was moved where it is now? */
static bool
all_see_moved(const TaskqLeaf *leaf, Relation rel)
{
	FullTransactionId next = ReadNextFullTransactionId();
	TransactionId oldest = GetOldestNonRemovableTransactionId(rel);
	uint64		oldest_full = U64FromFullTransactionId(next) -
	(uint32) (XidFromFullTransactionId(next) - oldest);

	return leaf->moved < oldest_full;
}

/*
 * Lock the leaf, and its TOAST table, against everybody; false if that can't
 * be had at once, so that nobody queues up behind us.
 */
static bool
lock_exclusively(Relation rel)
{
	return ConditionalLockRelation(rel, AccessExclusiveLock) &&
		(!OidIsValid(rel->rd_rel->reltoastrelid) ||
		 ConditionalLockRelationOid(rel->rd_rel->reltoastrelid,
									AccessExclusiveLock));
}

/*
 * Truncate a leaf in which all has been read; what is in the way if that
 * can't be now, or NULL.
 */
static const char *
truncate_leaf(int leafno)
{
	TaskqLeaf  *leaf = &taskq_sweeper.db->leaves[leafno];
	Relation	rel;
	const char *why = NULL;

	taskq_sweep_begin();
	rel = taskq_store_open(TASKQ_REL_LEAF + leafno, AccessShareLock);
	if (!all_see_moved(leaf, rel))
		why = "a snapshot is older than the last move out of it";
	else if (!read_holds(leaf, rel))
		why = "something was put into it since it was read";
	else if (!lock_exclusively(rel))
		why = "somebody has it locked";
	else if (!read_holds(leaf, rel))
		why = "something was put into it just now";
	else if (!taskq_stock_leaf_emptied(leafno))
		why = "somebody has locked how many tasks there are";
	else if (!taskq_store_truncate(leafno))
		why = "somebody has locked what belongs to it";
	table_close(rel, NoLock);
	taskq_sweep_commit();
	return why;
}

/* Most of those who are in the way are so for a moment. */
static const char *
truncate_soon(int leafno)
{
	const char *why = truncate_leaf(leafno);

	for (int tries = 1;
		 why != NULL && tries < TRIES && !taskq_sweep_shall_leave();
		 tries++)
	{
		taskq_sweep_pause(Min(10 * tries, 200));
		why = truncate_leaf(leafno);
	}
	return why;
}

/*
 * Read a leaf to its end, or as far as there is time; what is in the way of
 * truncating it, or NULL.
 */
static const char *
read_leaf(int leafno)
{
	TaskqPortion portion = TASKQ_PORTION_MORE;

	if (!begin_to_read(leafno))
		return "somebody writes in it";
	retry_busy(leafno);
	while (portion == TASKQ_PORTION_MORE && !taskq_sweep_shall_leave())
	{
		TimestampTz start = GetCurrentTimestamp();

		portion = read_portion(leafno);
		taskq_sweep_nap(start);
	}

	/*
	 * asked once more, it may be another answer: what was not read to its end
	 * stays
	 */
	if (portion == TASKQ_PORTION_MORE || taskq_sweep_shall_leave())
		return "another command or process needs the place";
	return portion == TASKQ_PORTION_BUSY ||
		taskq_sweeper.db->leaves[leafno].nbusy > 0
		? "tasks in it are locked"
		: NULL;
}

/*
 * Move one portion of those whose time is over but that others need, from
 * *from on, up to the last one.
 */
static TaskqPortion
keep_portion(int leafno, pg_uuid_t *from, const pg_uuid_t *last)
{
	TaskqRef	refs[TASKQ_SWEEP_ROWS];
	TaskqPortion portion = TASKQ_PORTION_MORE;
	int			n = 0;

	taskq_sweep_begin();
	for (int i = 0; i < TASKQ_SWEEP_ROWS && portion == TASKQ_PORTION_MORE; i++)
	{
		CHECK_FOR_INTERRUPTS();
		if (!taskq_dependency_next(from) || taskq_id_cmp(from, last) > 0)
			portion = TASKQ_PORTION_LAST;
		else
		{
			refs[n].id = *from;
			ItemPointerSetInvalid(&refs[n].tid);
			n += taskq_id_slot(from) == leafno && taskq_task_needed(from);
			taskq_id_next(from);
		}
	}
	if (move(leafno, refs, n, true) > 0)
		portion = TASKQ_PORTION_BUSY;
	taskq_sweep_commit();
	return portion;
}

/*
 * What others wait for, or have waited for and not run yet, is kept for them;
 * what is in the way, or NULL.  Who comes later counts as one who writes.
 */
static const char *
keep_needed(int leafno)
{
	pg_uuid_t	oldest;
	pg_uuid_t	newest;
	TaskqPortion portion = TASKQ_PORTION_MORE;

	taskq_sweep_begin();
	if (!taskq_store_ends(leafno, GetCurrentTimestamp(), &oldest, &newest))
		portion = TASKQ_PORTION_LAST;
	taskq_sweep_commit();
	while (portion == TASKQ_PORTION_MORE && !taskq_sweep_shall_leave())
	{
		TimestampTz start = GetCurrentTimestamp();

		portion = keep_portion(leafno, &oldest, &newest);
		taskq_sweep_nap(start);
	}
	return portion == TASKQ_PORTION_LAST ? NULL
		: portion == TASKQ_PORTION_BUSY ? "tasks in it are locked"
		: "another command or process needs the place";
}

/*
 * taskq_sweep_ring_leaf - empty a leaf of the ring, if nothing is in the way
 *
 * In transactions of its own; may raise.
 */
void
taskq_sweep_ring_leaf(int leafno)
{
	TaskqDb    *db = taskq_sweeper.db;
	TaskqLeaf  *leaf = &db->leaves[leafno];
	const char *why = read_leaf(leafno);

	if (why == NULL)
		why = keep_needed(leafno);
	if (why == NULL)
		why = truncate_soon(leafno);
	if (why != NULL)
	{
		ereport(DEBUG1, (errmsg_internal("taskq did not empty leaf %d: %s",
										 leafno, why)));
		if (!taskq_sweep_shall_leave())
			taskq_sweep_put_off(leaf);
		return;
	}
	leaf->reading = false;
	leaf->moved = 0;
	leaf->tries = 0;
	leaf->again_at = DT_NOBEGIN;
	pg_atomic_fetch_and_u32(&db->closed, ~(1u << leafno));
	db->attempts_swept = false;
	ereport(DEBUG1,
			(errmsg_internal("taskq emptied leaf %d", leafno)));
}
