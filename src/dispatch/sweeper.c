/*-------------------------------------------------------------------------
 *
 * sweeper.c
 *		Forgetting what has been finished for long.
 *
 * The ring's leaves hold tasks by the time of their submit, a twelfth of
 * taskq.retention each.  When everything in one was submitted longer ago than
 * that, what shall be kept (unfinished, or finished lately) moves to the leaf
 * of the kept ones, and the leaf is truncated: no dead rows, no vacuum.  From
 * the kept ones those whose time is over are deleted.
 *
 * That is the work of a process of its own, of which there is one in a
 * database while it has something to do.  It may be slow, find rows locked,
 * or fail: the leaf is put off, longer and longer, and the next one is tried.
 * Nobody waits for it.
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
#include "base/clock.h"
#include "base/compat.h"
#include "base/guc.h"
#include "base/process.h"
#include "dispatch/pass.h"
#include "dispatch/sweeper.h"
#include "lanes/note.h"
#include "lanes/stock.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/lmgr.h"
#include "storage/procarray.h"
#include "store/attempts.h"
#include "store/audit.h"
#include "store/dependencies.h"
#include "store/leaves.h"
#include "store/state.h"
#include "store/steps.h"
#include "store/store.h"
#include "store/uniques.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#define ROWS 500				/* moved or deleted in one transaction, and
								 * one page's more at most */
#define BLOCKS 256				/* read in one transaction */
#define TRIES 30				/* to truncate a leaf, in some seconds */
#define FIRST_MS 10000			/* till the next try, when somebody or
								 * something was in the way; doubled ... */
#define LAST_MS 600000			/* ... up to this */
#define ROOM_MS 1000			/* till the next try, when there was no room
								 * for a process; doubled, as above */
#define NO_ROOM 14				/* such tries in the better part of an hour;
								 * then the log says so */
#define START_MS 10000			/* for a sweeper to come */
#define OLD_TURN 14				/* periods after which a leaf has been left
								 * over from another turn */

static TaskqDb *db = NULL;		/* of this process, if it is a sweeper */
static MemoryContext context;
static int	retention;			/* that we sweep by */
static bool finished = false;	/* has come to its end as it should */
static TaskqRetention rules;	/* that we sweep by; in a context that stays */

/* ---- coming and going ---- */

static int
backoff_ms(int tries)
{
	return tries >= 6 ? LAST_MS : FIRST_MS << tries;
}

/* For a process; they come and go. */
static int
room_backoff_ms(int tries)
{
	return Min(ROOM_MS << Min(tries, 10), LAST_MS);
}

/* When it is to be looked again has changed; caller holds the main lock. */
static void
tell_change(TaskqDb *of)
{
	if (of->dispatcher > 0)
		taskq_wake_proc(of->procno);
	else
		taskq_wake_launcher();
	ConditionVariableBroadcast(&taskq_shared->slots_changed);
}

static void
sweeper_detach(int code, Datum arg)
{
	LWLockAcquire(taskq_main_lock, LW_EXCLUSIVE);
	if (db->sweeper == MyProcPid)
	{
		db->sweeper = 0;
		if (db->blocked > 0)
			db->next_sweep = DT_NOBEGIN;
		else if (!finished)
			db->next_sweep =
				TimestampTzPlusMilliseconds(GetCurrentTimestamp(),
											backoff_ms(db->sweeper_tries++));
		tell_change(db);
	}
	LWLockRelease(taskq_main_lock);
}

static bool
sweeper_attach(Oid dbid)
{
	bool		ours;

	LWLockAcquire(taskq_main_lock, LW_EXCLUSIVE);
	db = taskq_db_find(dbid);
	ours = db != NULL && db->sweeper == -1 && db->blocked == 0;
	if (ours)
	{
		db->sweeper = MyProcPid;
		db->sweeper_procno = taskq_my_procno();
		db->next_sweep = DT_NOEND;	/* we say when we leave */
	}
	else if (db != NULL && db->sweeper == -1)
	{
		db->sweeper = 0;
		db->next_sweep = DT_NOBEGIN;
		ConditionVariableBroadcast(&taskq_shared->slots_changed);
	}
	LWLockRelease(taskq_main_lock);
	if (ours)
		before_shmem_exit(sweeper_detach, (Datum) 0);
	return ours;
}

/* Is there a reason to leave before the end? */
static bool
shall_leave(void)
{
	if (ConfigReloadPending)
	{
		ConfigReloadPending = false;
		ProcessConfigFile(PGC_SIGHUP);
	}
	return db->blocked > 0 || db->foreign || db->sweeper_leave ||
		retention != taskq_retention;
}

static void
pause_for(long ms)
{
	(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
					 ms, taskq_wait_event("TaskqSweeper"));
	ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
}

/* Leave the machine to others for twice as long as we had it. */
static void
nap(TimestampTz since)
{
	long		ms = TimestampDifferenceMilliseconds(since, GetCurrentTimestamp()) *
	2;

	pause_for(Max(Min(ms, 200), 1));
}

/*
 * Somebody said how long what is kept: that may be over now.  Only the
 * dispatcher writes what it has seen.
 */
static void
watch_rules(TaskqDb *here)
{
	uint64		definitions = pg_atomic_read_u64(&taskq_shared->definitions);
	uint64		now;

	if (here->rules_of == definitions + 1)
		return;
	taskq_pass_begin();
	now = taskq_retention_signature();
	taskq_pass_commit();
	here->rules_of = definitions + 1;
	if (now == here->rules)
		return;
	LWLockAcquire(taskq_main_lock, LW_EXCLUSIVE);
	here->rules = now;
	here->sweep_now |= here->sweeper > 0;
	here->next_sweep = DT_NOBEGIN;
	LWLockRelease(taskq_main_lock);
}

/*
 * taskq_start_sweeper - start one if it is time; a part of the dispatcher's
 * pass
 *
 * A copy of a database stays as it is until somebody takes it over.  When
 * there is no room for a process it is tried again later: workers come first.
 */
void
taskq_start_sweeper(void)
{
	TaskqDb    *here = taskq_dispatcher.db;
	TaskqProcessArgs args = {.dbid = MyDatabaseId};
	BackgroundWorkerHandle *handle;
	TimestampTz now = GetCurrentTimestamp();
	bool		start = false;

	watch_rules(here);
	LWLockAcquire(taskq_main_lock, LW_EXCLUSIVE);
	if (here->foreign || taskq_db_paused(MyDatabaseId))
		here->next_sweep = DT_NOEND;	/* taskq.resume() makes it known again */
	else if (here->next_sweep <= now && here->sweeper > 0)
	{
		/* it looks once more before it leaves */
		here->sweep_now = true;
		here->next_sweep = DT_NOEND;
	}
	else if (here->next_sweep <= now && here->blocked == 0)
	{
		/* one that was asked for and did not come is asked for again */
		start = here->sweeper == 0 ||
			taskq_steady_now() - here->sweeper_since >=
			START_MS * INT64CONST(1000);
		here->next_sweep = TimestampTzPlusMilliseconds(now, START_MS);
		if (start)
		{
			here->sweeper = -1;
			here->sweeper_since = taskq_steady_now();
			here->sweeper_leave = false;
		}
	}
	LWLockRelease(taskq_main_lock);
	if (start && taskq_process_try_start("taskq sweeper",
										 "taskq_sweeper_main", &args, &handle))
		pfree(handle);
	else if (start)
	{
		LWLockAcquire(taskq_main_lock, LW_EXCLUSIVE);
		here->sweeper = 0;
		here->next_sweep =
			TimestampTzPlusMilliseconds(now, room_backoff_ms(here->sweeper_tries++));
		LWLockRelease(taskq_main_lock);
		if (here->sweeper_tries == NO_ROOM)
			ereport(WARNING,
					(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
					 errmsg("taskq found no room for a process that empties old leaves"),
					 errhint("Increase max_worker_processes, or decrease taskq.max_workers.")));
	}
	taskq_look_again_at(here->next_sweep);
}

/*
 * taskq_sweepers_leave - another process finds no room: sweepers come back
 * later
 */
void
taskq_sweepers_leave(void)
{
	LWLockAcquire(taskq_main_lock, LW_EXCLUSIVE);
	for (int i = 0; i < taskq_max_databases; i++)
	{
		TaskqDb    *each = &taskq_shared->dbs[i];

		if (!OidIsValid(each->dbid) || each->sweeper <= 0)
			continue;
		each->sweeper_leave = true;
		taskq_wake_proc(each->sweeper_procno);
	}
	LWLockRelease(taskq_main_lock);
}

/*
 * taskq_sweep_soon - look at every leaf of a database, also at those that
 * were put off
 *
 * Caller holds the main lock exclusively.  The dispatcher or launcher has to
 * be woken.
 */
void
taskq_sweep_soon(TaskqDb *of)
{
	of->sweep_now = true;
	of->sweeper_tries = 0;
	of->next_sweep = DT_NOBEGIN;
}

/* ---- transactions ---- */

static void
begin(void)
{
	SetCurrentStatementStartTimestamp();
	MemoryContextReset(context);
	taskq_store_begin();
	taskq_defs_begin();
	MemoryContextSwitchTo(context);
}

static void
commit(void)
{
	PopActiveSnapshot();
	CommitTransactionCommand();
	MemoryContextSwitchTo(context);
}

/*
 * Were all lanes made here?  What is restored may have come since the
 * dispatcher looked; it is left alone until taskq.resume(), and so is what has
 * come before its lanes.  To be asked after the lock that keeps rows out.
 */
static bool
at_home(void)
{
	List	   *ids;
	ListCell   *lc;
	bool		foreign = false;
	bool		unknown = false;

	taskq_defs_begin();
	ids = taskq_lane_ids();
	foreach(lc, ids)
	{
		const TaskqLaneDef *lane = taskq_lane_get(lfirst_int(lc));

		unknown |= lane == NULL;
		foreign |= lane != NULL && lane->foreign;
	}
	if (foreign)
	{
		LWLockAcquire(taskq_main_lock, LW_EXCLUSIVE);
		db->foreign = true;
		db->rescan = true;
		db->loaded = false;		/* the log says so */
		taskq_wake_dispatcher(db);
		LWLockRelease(taskq_main_lock);
	}
	return !foreign && !unknown && ids != NIL;
}

/* ---- one leaf ---- */

static TimestampTz
cutoff_now(void)
{
	return GetCurrentTimestamp() - taskq_retention_us(retention);
}

/*
 * What is of a task that was submitted before, and is gone, may go too.  Where
 * tasks are kept for ever that is so of those that are not.
 */
static TimestampTz
gone_cutoff(void)
{
	return retention < 0 ? GetCurrentTimestamp() - rules.shortest
		: cutoff_now();
}

static void
put_off(TaskqLeaf *leaf)
{
	leaf->again_at = taskq_steady_now() +
		(int64) backoff_ms(leaf->tries++) * 1000;
}

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
	TaskqLeaf  *leaf = &db->leaves[leafno];
	TaskqRow   *rows = palloc(sizeof(TaskqRow) * Max(n, 1));
	int			nrows = 0;
	int			nbusy = 0;

	for (int i = 0; i < n; i++)
	{
		TaskqLockResult locked = taskq_store_lock_seen(&refs[i], &rows[nrows]);

		CHECK_FOR_INTERRUPTS();
		if (locked == TASKQ_BUSY)
			refs[nbusy++] = refs[i];
		else if (locked == TASKQ_LOCKED && rows[nrows].leaf == leafno &&
				 (over || !taskq_row_over(&rows[nrows], &rules,
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
	TaskqLeaf  *leaf = &db->leaves[leafno];
	TaskqRef	refs[TASKQ_LEAF_BUSY];
	int			n = leaf->nbusy;

	if (n == 0)
		return;
	begin();
	memset(refs, 0, sizeof(refs));
	for (int i = 0; i < n; i++)
	{
		refs[i].id = leaf->busy[i];
		ItemPointerSetInvalid(&refs[i].tid);
	}
	n = move(leafno, refs, n, false);
	commit();
	leaf->nbusy = 0;
	remember_busy(leaf, refs, n);
}

/* Is what was read of a leaf still all there is to know of that part? */
static bool
read_holds(const TaskqLeaf *leaf, Relation rel)
{
	return leaf->reading && leaf->cutoff <= cutoff_now() &&
		leaf->rules == rules.signature &&
		leaf->file == rel->rd_rel->relfilenode &&
		leaf->written_before ==
		pg_atomic_read_u64(&unconstify(TaskqLeaf *, leaf)->written);
}

/* Go on with reading a leaf, or begin; false if that can't be now. */
static bool
begin_to_read(int leafno)
{
	TaskqLeaf  *leaf = &db->leaves[leafno];
	Relation	rel;

	begin();
	rel = taskq_store_open(TASKQ_REL_LEAF + leafno, AccessShareLock);
	if (!read_holds(leaf, rel))
	{
		leaf->reading = false;
		if (ConditionalLockRelation(rel, ShareLock) && at_home())
		{
			leaf->written_before = pg_atomic_read_u64(&leaf->written);
			leaf->file = rel->rd_rel->relfilenode;
			leaf->cutoff = cutoff_now();
			leaf->rules = rules.signature;
			leaf->block = 0;
			leaf->nbusy = 0;
			leaf->reading = true;
		}
	}
	table_close(rel, NoLock);
	commit();
	return leaf->reading;
}

typedef enum Portion
{
	PORTION_MORE,
	PORTION_LAST,
	PORTION_BUSY				/* too much is locked: the same once more,
								 * later */
} Portion;

/* Read on in a leaf, and move what shall be kept. */
static Portion
read_portion(int leafno)
{
	TaskqLeaf  *leaf = &db->leaves[leafno];
	TaskqRef   *refs;
	BlockNumber next;
	int			n;

	begin();
	refs = palloc(sizeof(TaskqRef) * (ROWS + MaxHeapTuplesPerPage));
	next = taskq_store_pick(leafno, leaf->block, BLOCKS, false, &rules,
							leaf->cutoff, ROWS, refs, &n);
	n = move(leafno, refs, n, false);
	commit();
	if (leaf->nbusy + n > TASKQ_LEAF_BUSY)
		return PORTION_BUSY;
	remember_busy(leaf, refs, n);
	if (next == InvalidBlockNumber)
		return PORTION_LAST;
	leaf->block = next;
	return PORTION_MORE;
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
	TaskqLeaf  *leaf = &db->leaves[leafno];
	Relation	rel;
	const char *why = NULL;

	begin();
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
	commit();
	return why;
}

/* Most of those who are in the way are so for a moment. */
static const char *
truncate_soon(int leafno)
{
	const char *why = truncate_leaf(leafno);

	for (int tries = 1; why != NULL && tries < TRIES && !shall_leave();
		 tries++)
	{
		pause_for(Min(10 * tries, 200));
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
	Portion		portion = PORTION_MORE;

	if (!begin_to_read(leafno))
		return "somebody writes in it";
	retry_busy(leafno);
	while (portion == PORTION_MORE && !shall_leave())
	{
		TimestampTz start = GetCurrentTimestamp();

		portion = read_portion(leafno);
		nap(start);
	}

	/*
	 * asked once more, it may be another answer: what was not read to its end
	 * stays
	 */
	if (portion == PORTION_MORE || shall_leave())
		return "another command or process needs the place";
	return portion == PORTION_BUSY || db->leaves[leafno].nbusy > 0
		? "tasks in it are locked"
		: NULL;
}

/*
 * Move one portion of those whose time is over but that others need, from
 * *from on, up to the last one.
 */
static Portion
keep_portion(int leafno, pg_uuid_t *from, const pg_uuid_t *last)
{
	TaskqRef	refs[ROWS];
	Portion		portion = PORTION_MORE;
	int			n = 0;

	begin();
	for (int i = 0; i < ROWS && portion == PORTION_MORE; i++)
	{
		CHECK_FOR_INTERRUPTS();
		if (!taskq_dependency_next(from) || taskq_id_cmp(from, last) > 0)
			portion = PORTION_LAST;
		else
		{
			refs[n].id = *from;
			ItemPointerSetInvalid(&refs[n].tid);
			n += taskq_id_slot(from) == leafno && taskq_task_needed(from);
			taskq_id_next(from);
		}
	}
	if (move(leafno, refs, n, true) > 0)
		portion = PORTION_BUSY;
	commit();
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
	Portion		portion = PORTION_MORE;

	begin();
	if (!taskq_store_ends(leafno, GetCurrentTimestamp(), &oldest, &newest))
		portion = PORTION_LAST;
	commit();
	while (portion == PORTION_MORE && !shall_leave())
	{
		TimestampTz start = GetCurrentTimestamp();

		portion = keep_portion(leafno, &oldest, &newest);
		nap(start);
	}
	return portion == PORTION_LAST ? NULL
		: portion == PORTION_BUSY ? "tasks in it are locked"
		: "another command or process needs the place";
}

/* Empty a leaf of the ring, if nothing is in the way. */
static void
empty_leaf(int leafno)
{
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
		if (!shall_leave())
			put_off(leaf);
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

/* Was it submitted here? */
static bool
is_home(const TaskqRow *row)
{
	const TaskqLaneDef *lane =
	taskq_lane_get(DatumGetInt32(taskq_row_value(row, lane)));

	return lane != NULL && !lane->foreign;
}

/* Delete from the kept ones what is over. */
static Portion
delete_portion(void)
{
	TaskqLeaf  *leaf = &db->leaves[TASKQ_KEEP];
	TaskqRef   *refs;
	BlockNumber next;
	int			n;

	begin();
	refs = palloc(sizeof(TaskqRef) * (ROWS + MaxHeapTuplesPerPage));
	next = taskq_store_pick(TASKQ_KEEP, leaf->block, BLOCKS, true, &rules,
							leaf->cutoff, ROWS, refs, &n);
	for (int i = 0; i < n; i++)
	{
		TaskqRow	row;

		CHECK_FOR_INTERRUPTS();
		if (taskq_store_lock_seen(&refs[i], &row) != TASKQ_LOCKED ||
			row.leaf != TASKQ_KEEP || !is_home(&row) ||
			!taskq_row_over(&row, &rules, leaf->cutoff) ||
			taskq_task_needed(&refs[i].id))
			continue;
		taskq_store_delete(&row);
		db->attempts_swept = false;
	}
	commit();
	leaf->block = next == InvalidBlockNumber ? 0 : next;
	return next == InvalidBlockNumber ? PORTION_LAST : PORTION_MORE;
}

/* Once in a period: who looks at more than what is new. */
static void
sweep_kept(int leafno)
{
	TaskqLeaf  *leaf = &db->leaves[leafno];
	Portion		portion = PORTION_MORE;

	if (leaf->block == 0)
		leaf->cutoff = cutoff_now();
	leaf->cutoff = Min(leaf->cutoff, cutoff_now());
	while (portion == PORTION_MORE && !shall_leave())
	{
		TimestampTz start = GetCurrentTimestamp();

		portion = delete_portion();
		nap(start);
	}
	if (portion != PORTION_LAST)
		return;
	leaf->tries = 0;
	leaf->again_at = taskq_steady_now() + taskq_ring_period_ms() * 1000;
	if (retention > 0)
		return;

	/* no leaf is emptied that would give occasion for it */
	leaf->again_at = taskq_steady_now() + USECS_PER_DAY;
	if (rules.n > 0)
		db->attempts_swept = false;
}

/* ---- what is kept for less than usual ---- */

/* Delete those of these tasks of a leaf that are over. */
static void
delete_early(int leafno, const TaskqRef *refs, int n, TimestampTz cutoff)
{
	static const TaskqRetention as_told = {0};

	for (int i = 0; i < n; i++)
	{
		TaskqRow	row;

		CHECK_FOR_INTERRUPTS();
		if (taskq_store_lock_seen(&refs[i], &row) != TASKQ_LOCKED ||
			row.leaf != leafno || !is_home(&row) ||
			!taskq_row_over(&row, &as_told, cutoff) ||
			taskq_task_needed(&refs[i].id))
			continue;
		taskq_store_delete(&row);
		taskq_attempts_forget(&refs[i].id);
	}
}

/*
 * Forget what is over of a lane that is kept for less than usual: it has its
 * index, so nothing else is read.  The room comes back with the leaf.
 */
static void
sweep_lane(int leafno, const TaskqKeep * lane)
{
	TimestampTz cutoff = GetCurrentTimestamp() - lane->us;
	bool		more = true;
	pg_uuid_t	from;

	memset(&from, 0, sizeof(from));
	while (more && !shall_leave())
	{
		TimestampTz start = GetCurrentTimestamp();
		TaskqRef   *refs;
		int			n;

		begin();
		/* an administrator may have the leaf for himself */
		if (!ConditionalLockRelationOid(taskq_store_oid(TASKQ_REL_LEAF +
														leafno),
										RowExclusiveLock))
		{
			commit();
			return;
		}
		refs = palloc(sizeof(TaskqRef) * ROWS);
		more = taskq_store_pick_lane(leafno, lane->lane, &from, cutoff, ROWS,
									 refs, &n);
		delete_early(leafno, refs, n, cutoff);
		commit();
		if (n > 0)
			nap(start);
	}
}

static void
sweep_early(int leafno)
{
	for (int i = 0; i < rules.n && !shall_leave(); i++)
	{
		if (rules.lanes[i].us < rules.us)
			sweep_lane(leafno, &rules.lanes[i]);
	}
}

/* When to look again for what is kept for less than usual. */
static TimestampTz
early_again_at(TimestampTz now)
{
	if (rules.shortest >= rules.us)
		return DT_NOEND;
	return now + Max(rules.shortest / 12, USECS_PER_MINUTE);
}

static void
read_rules(void)
{
	MemoryContext old;

	begin();
	old = MemoryContextSwitchTo(TopMemoryContext);
	taskq_retention_read(taskq_retention_us(retention), &rules);
	MemoryContextSwitchTo(old);
	commit();
}

/* ---- attempts ---- */

/*
 * Forget the attempts of tasks that are gone.  They are in order of the
 * tasks' time, so those that could be are the first; what is kept is few.
 */
static void
sweep_attempts(int leafno)
{
	pg_uuid_t	from;
	int			n = ROWS;

	memset(&from, 0, sizeof(from));
	while (n == ROWS && !shall_leave())
	{
		TimestampTz start = GetCurrentTimestamp();
		pg_uuid_t	ids[ROWS];

		begin();
		n = taskq_attempts_next(&from, ROWS, ids);
		for (int i = 0; i < n; i++)
		{
			TaskqRow	row;

			CHECK_FOR_INTERRUPTS();
			if (taskq_id_time(&ids[i]) > gone_cutoff())
				n = 0;
			else if (!taskq_store_find(&ids[i], &row))
				taskq_attempts_forget(&ids[i]);
		}
		commit();
		nap(start);
	}
	if (!shall_leave())
		db->attempts_swept = true;
}

/* ---- unique keys ---- */

/* Forget keys whose time is over, and those of tasks that are gone. */
static void
sweep_uniques(int leafno)
{
	pg_uuid_t	from;
	int			n = ROWS;

	memset(&from, 0, sizeof(from));
	while (n == ROWS && !shall_leave())
	{
		TimestampTz start = GetCurrentTimestamp();

		begin();
		n = taskq_unique_sweep(&from, ROWS, start);
		commit();
		nap(start);
	}
}

/* ---- dependencies ---- */

/* How far a look through them has come. */
typedef struct EdgeCursor
{
	pg_uuid_t	dependency;
	int			type;			/* an index */
	pg_uuid_t	from;
} EdgeCursor;

static void
next_dependency(EdgeCursor *at)
{
	taskq_id_next(&at->dependency);
	at->type = 0;
	memset(&at->from, 0, UUID_LEN);
}

/* Forget what tells of tasks that are gone; false after the last ones. */
static bool
forget_edges(EdgeCursor *at)
{
	static const char types[] = {TASKQ_EDGE_WAITS, TASKQ_EDGE_CHILD,
	TASKQ_EDGE_RETRY};

	for (int left = ROWS; left > 0; left--)
	{
		pg_uuid_t	found = at->dependency;
		int			n;

		if (!taskq_dependency_next(&found) ||
			taskq_id_time(&found) > gone_cutoff())
			return false;
		if (!taskq_id_eq(&found, &at->dependency))
		{
			at->dependency = found;
			at->type = 0;
			memset(&at->from, 0, UUID_LEN);
		}
		n = taskq_edges_forget(&at->dependency, types[at->type], &at->from,
							   left);
		if (n == left)
			return true;
		left -= n;
		memset(&at->from, 0, UUID_LEN);
		if (++at->type == lengthof(types))
			next_dependency(at);
	}
	return true;
}

/* The same of those that were blocked; false after the last ones. */
static bool
forget_blocked(pg_uuid_t *from)
{
	TaskqBlocked *blocked = palloc(sizeof(TaskqBlocked) * (ROWS + 1));
	int			n = taskq_blocked_next(from, ROWS, blocked);

	for (int i = 0; i < n; i++)
	{
		TaskqRow	row;

		CHECK_FOR_INTERRUPTS();
		if (taskq_id_time(&blocked[i].task) > gone_cutoff())
			return false;
		if (!taskq_store_find(&blocked[i].task, &row))
			taskq_blocked_delete(&blocked[i].task, blocked[i].child);
	}
	return n >= ROWS;
}

/*
 * Of all of them: they are in order of the tasks' time, as the attempts.
 */
static void
sweep_edges(int leafno)
{
	EdgeCursor	at = {0};
	bool		more = true;

	while (more && !shall_leave())
	{
		TimestampTz start = GetCurrentTimestamp();

		begin();
		more = forget_edges(&at);
		commit();
		nap(start);
	}
	memset(&at, 0, sizeof(at));
	for (more = true; more && !shall_leave();)
	{
		TimestampTz start = GetCurrentTimestamp();

		begin();
		more = forget_blocked(&at.from);
		commit();
		nap(start);
	}
}

/* Workflows whose tasks are all gone. */
static void
sweep_workflows(int leafno)
{
	pg_uuid_t	from = {{0}};
	bool		more = true;

	while (more && !shall_leave())
	{
		TimestampTz start = GetCurrentTimestamp();

		begin();
		more = taskq_workflows_forget(&from, gone_cutoff(), ROWS) == ROWS;
		commit();
		nap(start);
	}
}

/* ---- audit ---- */

/* What was written into it for longer than that is kept. */
static void
sweep_audit(int leafno)
{
	pg_uuid_t	from = {{0}};
	TimestampTz before = GetCurrentTimestamp() -
	(int64) taskq_audit_retention * SECS_PER_MINUTE * USECS_PER_SEC;
	int			n = taskq_audit_retention < 0 ? 0 : ROWS;

	while (n == ROWS && !shall_leave())
	{
		TimestampTz start = GetCurrentTimestamp();

		begin();
		n = taskq_audit_forget(&from, before, ROWS);
		commit();
		nap(start);
	}
}

/* When to look again; leaves may be looked at seldom. */
static TimestampTz
audit_again_at(TimestampTz now)
{
	if (taskq_audit_retention < 0)
		return DT_NOEND;
	return now + Max((int64) taskq_audit_retention * USECS_PER_MINUTE / 12,
					 USECS_PER_MINUTE);
}

/* ---- all leaves ---- */

/*
 * Do something with a leaf.  When it fails the leaf is put off, and the log
 * says so; nothing else is.
 */
static void
try_leaf(void (*what) (int), int leafno)
{
	PG_TRY();
	{
		what(leafno);
	}
	PG_CATCH();
	{
		ErrorData  *error = taskq_pass_failed(TopMemoryContext);

		MemoryContextSwitchTo(context);
		put_off(&db->leaves[leafno]);
		ereport(WARNING,
				(errcode(error->sqlerrcode),
				 errmsg("taskq could not empty leaf %d: %s", leafno, error->message),
				 errhint("It is tried again in %d seconds; tasks are run meanwhile.", backoff_ms(db->leaves[leafno].tries - 1) / 1000)));
		FreeErrorData(error);
	}
	PG_END_TRY();
}

/*
 * Which leaves have only what was submitted before cutoff, as bits.  Those
 * that still have what is old get no new tasks: an id names another leaf then
 * (see id.c).
 */
static uint32
find_due(TimestampTz now, TimestampTz cutoff)
{
	uint32		due = 0;
	uint32		closed = 0;

	begin();
	for (int leafno = 0; leafno < TASKQ_RING; leafno++)
	{
		pg_uuid_t	oldest;
		pg_uuid_t	newest;

		/*
		 * one that an administrator has for himself does not hold up the
		 * others
		 */
		if (!ConditionalLockRelationOid(taskq_store_oid(TASKQ_REL_LEAF +
														leafno),
										AccessShareLock))
		{
			put_off(&db->leaves[leafno]);
			continue;
		}
		if (!taskq_store_ends(leafno, now, &oldest, &newest))
			continue;
		if (taskq_id_time(&newest) <= cutoff)
			due |= 1u << leafno;
		if (taskq_id_time(&oldest) <
			now - OLD_TURN * taskq_ring_period_ms() * 1000)
			closed |= 1u << leafno;
	}
	commit();
	pg_atomic_write_u32(&db->closed, due | closed);
	return due & ~(1u << taskq_ring_leaf(now));
}

/* Is it known of all that is in the tables where it was made? */
static bool
all_at_home(void)
{
	bool		home;

	begin();
	home = at_home();
	commit();
	return home;
}

static bool
is_time(int leafno)
{
	return db->leaves[leafno].again_at <= taskq_steady_now();
}

/* Forget what is old; returns when to look again. */
static TimestampTz
sweep(void)
{
	TimestampTz now = GetCurrentTimestamp();
	TimestampTz steady = taskq_steady_now();
	TimestampTz next = TimestampTzPlusMilliseconds(now,
												   taskq_ring_period_ms());
	uint32		due;

	read_rules();
	due = find_due(now, cutoff_now());
	for (int leafno = 0; leafno < TASKQ_RING && !shall_leave(); leafno++)
	{
		if ((due & 1u << leafno) && is_time(leafno))
			try_leaf(empty_leaf, leafno);
	}
	if (!shall_leave() && is_time(TASKQ_KEEP))
		try_leaf(sweep_kept, TASKQ_KEEP);
	for (int leafno = 0; leafno < TASKQ_LEAVES && rules.n > 0; leafno++)
	{
		if (!shall_leave())
			try_leaf(sweep_early, leafno);
	}
	next = Min(next, early_again_at(now));
	next = Min(next, audit_again_at(now));
	if (!shall_leave() && !db->attempts_swept && all_at_home())
	{
		try_leaf(sweep_edges, TASKQ_KEEP);
		try_leaf(sweep_attempts, TASKQ_KEEP);
		try_leaf(sweep_workflows, TASKQ_KEEP);
	}
	if (!shall_leave() && all_at_home())
		try_leaf(sweep_uniques, TASKQ_KEEP);
	if (!shall_leave())
		try_leaf(sweep_audit, TASKQ_KEEP);

	for (int leafno = 0; leafno < TASKQ_LEAVES; leafno++)
	{
		if (db->leaves[leafno].again_at > steady)
			next = Min(next, now + db->leaves[leafno].again_at - steady);
	}
	return next;
}

/* Say when to look again, and be done. */
static void
finish(TimestampTz next)
{
	LWLockAcquire(taskq_main_lock, LW_EXCLUSIVE);
	if (db->foreign)
		next = DT_NOEND;
	else if (db->sweep_now || db->blocked > 0 || retention != taskq_retention)
		next = DT_NOBEGIN;
	else if (db->sweeper_leave)
		next =
			TimestampTzPlusMilliseconds(GetCurrentTimestamp(),
										room_backoff_ms(db->sweeper_tries++));
	else
		db->sweeper_tries = 0;
	db->next_sweep = Min(db->next_sweep, next);
	finished = true;
	LWLockRelease(taskq_main_lock);
}

/* taskq_sweeper_main - entry point of a sweeper */
void
taskq_sweeper_main(Datum arg)
{
	TaskqProcessArgs args;
	bool		all;

	taskq_process_begin(&args);
	if (!sweeper_attach(args.dbid))
		proc_exit(0);
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnectionByOid(args.dbid, InvalidOid, 0);
	taskq_pin_settings();

	/*
	 * what is moved is moved for good before its leaf goes: that commit comes
	 * later in the WAL
	 */
	SetConfigOption("synchronous_commit", "off", PGC_SUSET, PGC_S_OVERRIDE);
	context = AllocSetContextCreate(TopMemoryContext, "taskq sweeper",
									ALLOCSET_DEFAULT_SIZES);
	pgstat_report_activity(STATE_RUNNING, "taskq: looking for old tasks");
	retention = taskq_retention;

	LWLockAcquire(taskq_main_lock, LW_EXCLUSIVE);
	all = db->sweep_now;
	db->sweep_now = false;
	LWLockRelease(taskq_main_lock);
	for (int leafno = 0; all && leafno < TASKQ_LEAVES; leafno++)
	{
		db->leaves[leafno].again_at = DT_NOBEGIN;
		db->leaves[leafno].tries = 0;
	}
	finish(sweep());
	pgstat_report_stat(true);
	proc_exit(0);
}
