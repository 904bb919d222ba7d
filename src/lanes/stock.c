/*-------------------------------------------------------------------------
 *
 * stock.c
 *		How many tasks there are, of each lane and state.
 *
 * Counted where rows of tasks are inserted, change their state, move or are
 * deleted: by the transaction that does so, when it commits; then by shared
 * memory, and written to table "stock" by the dispatcher, together with what
 * tasks did (counts.c).  Counted by leaf, so that what is counted of a leaf
 * goes with it when it is emptied.
 *
 * Not counted is what a superuser does by hand, and what PREPARE TRANSACTION
 * does; and a crash of the server loses what was not written.  Then the
 * numbers are wrong until the leaves of that time are emptied, or somebody
 * counts anew.
 *
 * Locks: as in counts.c.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "base/guc.h"
#include "base/shmem.h"
#include "lanes/counts.h"
#include "lanes/stock.h"
#include "miscadmin.h"
#include "storage/shmem.h"
#include "store/leaves.h"
#include "store/tasks.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#define CHANGES 64				/* room to begin with */
#define NEAR 8					/* a change is looked for among the last ones */

/* What a transaction changes, at a level of subtransactions. */
typedef struct StockChange
{
	int			level;
	TaskqStock	stock;
} StockChange;

typedef struct StockKey
{
	Oid			dbid;
	int32		lane;
	int16		leaf;
	char		state;
	char		unused;
} StockKey;

typedef struct StockEntry
{
	StockKey	key;
	int64		n;
} StockEntry;

typedef struct StockShared
{
	LWLock		lock;
	int			tranche;
	uint64		taken;			/* counts how often something was taken away */
	int64		lost;			/* changes for which there was no room */
} StockShared;

static StockShared *shared = NULL;
static HTAB *entries = NULL;

/* changes[0..ncommitted) are of transactions that have committed */
static StockChange *changes = NULL;
static int	nchanges = 0;
static int	ncommitted = 0;
static int	room = 0;

/* of the transaction that writes, or empties a leaf */
static TaskqStock *written = NULL;
static int	nwritten = 0;
static bool locked = false;

/* of the one that empties a leaf, or drops the extension */
static int	emptied = -1;

/* ---- shared memory ---- */

static long
max_entries(void)
{
	return 8L * Min(taskq_max_lanes, 100000);
}

static Size
table_size(void)
{
	return add_size(MAXALIGN(sizeof(StockShared)),
					hash_estimate_size(max_entries(), sizeof(StockEntry)));
}

static void
table_init(void)
{
	HASHCTL		ctl = {.keysize = sizeof(StockKey),
	.entrysize = sizeof(StockEntry)};
	bool		found;

	shared = ShmemInitStruct("taskq stock", sizeof(StockShared), &found);
	if (!found)
	{
		memset(shared, 0, sizeof(*shared));
		shared->tranche = LWLockNewTrancheId();
		LWLockInitialize(&shared->lock, shared->tranche);
	}
	LWLockRegisterTranche(shared->tranche, "taskq_stock");
	entries = ShmemInitHash("taskq stock entries", max_entries(),
							max_entries(), &ctl,
							HASH_ELEM | HASH_BLOBS | HASH_FIXED_SIZE);
}

static void stock_changes(const TaskqRow *row, int by);

/*
 * taskq_stock_init - ask for room in shared memory; before taskq_shmem_init
 */
void
taskq_stock_init(void)
{
	taskq_shmem_part(table_size, table_init);
	taskq_row_stocked = stock_changes;
}

/* As forget_gone in counts.c.  Caller holds the lock. */
static void
forget_databases(void)
{
	static uint32 seen = 0;
	uint32		gone = pg_atomic_read_u32(&taskq_shared->databases_gone);
	HASH_SEQ_STATUS status;
	StockEntry *entry;

	if (seen == gone)
		return;
	seen = gone;
	LWLockAcquire(taskq_main_lock, LW_SHARED);
	hash_seq_init(&status, entries);
	while ((entry = hash_seq_search(&status)) != NULL)
	{
		if (taskq_db_find(entry->key.dbid) == NULL)
			(void) hash_search(entries, &entry->key, HASH_REMOVE, NULL);
	}
	LWLockRelease(taskq_main_lock);
}

/* Caller holds the lock. */
static void
add_entry(const TaskqStock *stock)
{
	StockKey	key;
	StockEntry *entry;
	bool		found;

	memset(&key, 0, sizeof(key));
	key.dbid = MyDatabaseId;
	key.lane = stock->lane;
	key.leaf = stock->leaf;
	key.state = stock->state;
	entry = hash_search(entries, &key, HASH_ENTER_NULL, &found);
	if (entry == NULL)
	{
		forget_databases();
		entry = hash_search(entries, &key, HASH_ENTER_NULL, &found);
	}
	if (entry == NULL)
	{
		shared->lost++;
		return;
	}
	entry->n = (found ? entry->n : 0) + stock->n;
	if (entry->n == 0)
		(void) hash_search(entries, &key, HASH_REMOVE, NULL);
}

/* ---- a transaction ---- */

static bool
same_stock(const TaskqStock *a, const TaskqStock *b)
{
	return a->leaf == b->leaf && a->lane == b->lane && a->state == b->state;
}

static int
compare_changes(const void *pa, const void *pb)
{
	const StockChange *a = pa;
	const StockChange *b = pb;

	if (a->level != b->level)
		return a->level < b->level ? -1 : 1;
	if (a->stock.lane != b->stock.lane)
		return a->stock.lane < b->stock.lane ? -1 : 1;
	if (a->stock.leaf != b->stock.leaf)
		return a->stock.leaf < b->stock.leaf ? -1 : 1;
	return (int) a->stock.state - (int) b->stock.state;
}

/* There is no room for another change: those that are alike become one. */
static void
make_room(void)
{
	int			n = ncommitted;

	if (changes == NULL)
	{
		changes = MemoryContextAlloc(TopMemoryContext,
									 CHANGES * sizeof(StockChange));
		room = CHANGES;
		return;
	}
	qsort(changes + ncommitted, nchanges - ncommitted, sizeof(StockChange),
		  compare_changes);
	for (int i = ncommitted; i < nchanges; i++)
	{
		if (n > ncommitted &&
			compare_changes(&changes[n - 1], &changes[i]) == 0)
			changes[n - 1].stock.n += changes[i].stock.n;
		else
			changes[n++] = changes[i];
	}
	nchanges = n;
	if (nchanges <= room / 2)
		return;
	changes = repalloc_huge(changes, 2 * room * sizeof(StockChange));
	room *= 2;
}

/* A row came (by 1) or went (-1). */
static void
stock_changes(const TaskqRow *row, int by)
{
	StockChange change = {
		.level = GetCurrentTransactionNestLevel(),
		.stock = {
			.leaf = row->leaf,
			.lane = DatumGetInt32(taskq_row_value(row, lane)),
			.state = DatumGetChar(taskq_row_value(row, state)),
			.n = by
		}
	};

	if (shared == NULL)
		return;
	for (int i = nchanges - 1; i >= Max(ncommitted, nchanges - NEAR); i--)
	{
		if (changes[i].level == change.level &&
			same_stock(&changes[i].stock, &change.stock))
		{
			changes[i].stock.n += by;
			return;
		}
	}
	taskq_counts_register();
	if (nchanges == room)
		make_room();
	changes[nchanges++] = change;
}

/* What the open transaction has changed joins what others have before. */
static void
join_committed(void)
{
	for (int i = ncommitted; i < nchanges; i++)
	{
		int			j = 0;

		while (j < Min(ncommitted, NEAR) &&
			   !same_stock(&changes[j].stock, &changes[i].stock))
			j++;
		if (j < Min(ncommitted, NEAR))
			changes[j].stock.n += changes[i].stock.n;
		else
			changes[ncommitted++] = changes[i];
	}
	nchanges = ncommitted;
}

/*
 * taskq_stock_hand_over - what this process has changed in transactions that
 * have committed goes to shared memory; see taskq_counts_hand_over
 *
 * False if there is nothing.
 */
bool
taskq_stock_hand_over(void)
{
	if (ncommitted == 0)
		return false;
	LWLockAcquire(&shared->lock, LW_EXCLUSIVE);
	for (int i = 0; i < ncommitted; i++)
		add_entry(&changes[i].stock);
	LWLockRelease(&shared->lock);
	memmove(changes, changes + ncommitted,
			(nchanges - ncommitted) * sizeof(StockChange));
	nchanges -= ncommitted;
	ncommitted = 0;
	if (nchanges == 0 && room > 16 * CHANGES)
	{
		pfree(changes);
		changes = NULL;
		room = 0;
	}
	return true;
}

/*
 * What was not written yet of a leaf that is empty now, or of a database that
 * has no tasks any more.
 *
 * After the commit, which may wait for the disk and for standbys: nobody shall
 * wait for that.  Who writes has to have the table first, which is still
 * locked; who reads may have too little for a moment.
 */
static void
forget(Oid dbid, int leaf)
{
	HASH_SEQ_STATUS status;
	StockEntry *entry;

	LWLockAcquire(&shared->lock, LW_EXCLUSIVE);
	hash_seq_init(&status, entries);
	while ((entry = hash_seq_search(&status)) != NULL)
	{
		if (entry->key.dbid == dbid &&
			(leaf < 0 || entry->key.leaf == leaf))
			(void) hash_search(entries, &entry->key, HASH_REMOVE, NULL);
	}
	shared->taken++;
	LWLockRelease(&shared->lock);
}

/* Others see the tables as this transaction left them: so do we. */
static void
take_away(void)
{
	for (int i = 0; i < nwritten; i++)
	{
		written[i].n = -written[i].n;
		add_entry(&written[i]);
	}
	shared->taken++;
}

/* taskq_stock_xact_end - a transaction is about to end, or has */
void
taskq_stock_xact_end(XactEvent event)
{
	switch (event)
	{
		case XACT_EVENT_PRE_COMMIT:
			if (written != NULL)
			{
				LWLockAcquire(&shared->lock, LW_EXCLUSIVE);
				locked = true;
			}
			break;
		case XACT_EVENT_COMMIT:
			if (locked)
			{
				take_away();
				LWLockRelease(&shared->lock);
			}
			if (emptied >= 0)
				forget(MyDatabaseId, emptied);
			join_committed();
			break;
		default:
			nchanges = ncommitted;
			break;
	}
	if (event != XACT_EVENT_PRE_COMMIT)
	{
		written = NULL;
		nwritten = 0;
		emptied = -1;
		locked = false;
	}
}

/* taskq_stock_subxact_end - so has a subtransaction, of this level */
void
taskq_stock_subxact_end(SubXactEvent event, int level)
{
	if (event == SUBXACT_EVENT_ABORT_SUB)
	{
		while (nchanges > ncommitted && changes[nchanges - 1].level >= level)
			nchanges--;
	}
	else if (event == SUBXACT_EVENT_COMMIT_SUB)
	{
		for (int i = nchanges - 1;
			 i >= ncommitted && changes[i].level >= level; i--)
			changes[i].level = level - 1;
	}
}

/* ---- writing ---- */

/* Those of this database; an array with room for max of them. */
static int
copy_entries(TaskqStock *stocks, int max)
{
	HASH_SEQ_STATUS status;
	StockEntry *entry;
	int			n = 0;

	hash_seq_init(&status, entries);
	while ((entry = hash_seq_search(&status)) != NULL)
	{
		if (entry->key.dbid != MyDatabaseId || n >= max)
			continue;
		stocks[n++] = (TaskqStock)
		{
			.leaf = entry->key.leaf,.state = entry->key.state,
				.lane = entry->key.lane,.n = entry->n
		};
	}
	return n;
}

/* taskq_stock_any - is there something that is not written? */
bool
taskq_stock_any(void)
{
	TaskqStock	one;
	int			n;

	LWLockAcquire(&shared->lock, LW_SHARED);
	n = copy_entries(&one, 1);
	LWLockRelease(&shared->lock);
	return n > 0;
}

/*
 * taskq_stock_write - write what has changed, unless another transaction has
 * the table
 */
void
taskq_stock_write(void)
{
	int			max = hash_get_num_entries(entries) + 64;
	TaskqStock *stocks = palloc_extended(max * sizeof(TaskqStock),
										 MCXT_ALLOC_HUGE);
	int			n;

	if (!taskq_stock_lock_table())
		return;
	LWLockAcquire(&shared->lock, LW_SHARED);
	n = copy_entries(stocks, max);
	LWLockRelease(&shared->lock);
	for (int i = 0; i < n; i++)
		taskq_stock_add(&stocks[i]);
	taskq_counts_register();
	written = stocks;
	nwritten = n;
}

/*
 * taskq_stock_leaf_emptied - a leaf is emptied by this transaction; false if
 * another one has the table
 */
bool
taskq_stock_leaf_emptied(int leaf)
{
	if (shared == NULL || !taskq_stock_lock_table())
		return shared == NULL;
	taskq_stock_forget_leaf(leaf);
	taskq_counts_register();
	emptied = leaf;
	return true;
}

/*
 * taskq_stock_forget - as taskq_counts_forget, which calls it
 */
void
taskq_stock_forget(Oid dbid)
{
	if (shared != NULL)
		forget(dbid, -1);
}

/* ---- reading ---- */

/*
 * taskq_stock_snapshot - copy what is not written, under the lock that guards
 * it; returns a snapshot, registered, that shows all that is written
 *
 * If something went from here to there in between, both are had anew: taken
 * counts how often that was.
 */
Snapshot
taskq_stock_snapshot(LWLock *lock, const uint64 *taken,
					 void (*copy) (void *arg), void *arg)
{
	for (;;)
	{
		uint64		before = *(const volatile uint64 *) taken;
		Snapshot	snapshot;
		bool		same;

		pg_memory_barrier();
		snapshot = RegisterSnapshot(GetLatestSnapshot());
		LWLockAcquire(lock, LW_SHARED);
		same = *taken == before;
		copy(arg);
		LWLockRelease(lock);
		if (same)
			return snapshot;
		UnregisterSnapshot(snapshot);
		CHECK_FOR_INTERRUPTS();
	}
}

/* What is not written. */
typedef struct Unwritten
{
	TaskqStock *stocks;
	int			n;
	int			max;
} Unwritten;

static void
copy_unwritten(void *arg)
{
	Unwritten  *unwritten = arg;

	unwritten->n = copy_entries(unwritten->stocks, unwritten->max);
}

/* ... and a snapshot that shows all that is. */
static Snapshot
read_unwritten(TaskqStock **stocks, int *n)
{
	Unwritten	unwritten = {.max = hash_get_num_entries(entries) + 1024};
	Snapshot	snapshot;

	unwritten.stocks = palloc_extended(unwritten.max * sizeof(TaskqStock),
									   MCXT_ALLOC_HUGE);
	snapshot = taskq_stock_snapshot(&shared->lock, &shared->taken,
									copy_unwritten, &unwritten);
	*stocks = unwritten.stocks;
	*n = unwritten.n;
	return snapshot;
}

/* taskq_stock_read - all that there is */
void
taskq_stock_read(TaskqStockVisit visit, void *arg)
{
	TaskqStock *stocks = NULL;
	Snapshot	snapshot = NULL;
	int			n = 0;

	if (shared != NULL)
		snapshot = read_unwritten(&stocks, &n);
	taskq_stock_visit(snapshot, visit, arg);
	for (int i = 0; i < n; i++)
		visit(&stocks[i], arg);
	if (snapshot == NULL)
		return;
	UnregisterSnapshot(snapshot);
	pfree(stocks);
}

static void
count_row(const TaskqStock *stock, void *arg)
{
	int64	   *n = arg;

	(*n) += stock->n;
	taskq_stock_add(stock);
}

/*
 * taskq_stock_recount - count all tasks, and write that instead of what was
 * written; returns how many there are
 *
 * The caller has the table locked.  What a transaction has committed since
 * the moment of the count, or up to it, is in shared memory in part: what is
 * there at that moment is counted twice otherwise, so it is taken off.  What a
 * worker has committed and not handed over is counted twice all the same.
 */
int64
taskq_stock_recount(void)
{
	TaskqStock *stocks;
	int			n;
	int64		total = 0;
	Snapshot	snapshot;

	taskq_counts_hand_over();
	snapshot = read_unwritten(&stocks, &n);
	taskq_stock_forget_leaf(-1);
	taskq_leaves_count(snapshot, count_row, &total);
	for (int i = 0; i < n; i++)
	{
		stocks[i].n = -stocks[i].n;
		taskq_stock_add(&stocks[i]);
	}
	UnregisterSnapshot(snapshot);
	pfree(stocks);
	return total;
}
