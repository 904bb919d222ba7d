/*-------------------------------------------------------------------------
 *
 * leaves.c
 *		Table "task", leaf by leaf.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/heapam.h"
#include "access/relscan.h"
#include "access/table.h"
#include "base/compat.h"
#include "base/shmem.h"
#include "executor/tuptable.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "store/leaves.h"
#include "store/read.h"
#include "store/sides.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"

/* By its state, and if it is not found by its row in table ready. */
static inline bool
may_be_claimed(HeapTuple tuple, TupleDesc desc)
{
	bool		isnull;
	char		state = DatumGetChar(heap_getattr(tuple, Anum_task_state, desc,
												  &isnull));

	return state == TASKQ_RUNNING ||
		(state == TASKQ_PENDING &&
		 heap_attisnull(tuple, Anum_task_run_at, desc));
}

/*
 * taskq_store_scan - claimable tasks of a lane in one leaf, in order of id
 *
 * Finds up to max ids from *from on.  *seen is set to the last id looked at,
 * and stays as it is if there was none; *exhausted tells whether the scan
 * came to the end of the lane.  Those that the filter (or NULL) refuses are
 * passed over. A task that is 'r' here lost its worker: the caller leaves out
 * those that live workers hold.  Those that became pending after their submit
 * are not found here but by taskq_ready_scan.
 */
int
taskq_store_scan(int leaf, int32 lane, const pg_uuid_t *from,
				 Snapshot snapshot, TaskqStoreFilter filter, int max,
				 TaskqRef *found, pg_uuid_t *seen, bool *exhausted)
{
	TaskqRead	read;
	ScanKeyData keys[2];
	HeapTuple	tuple;
	int			n = 0;

	taskq_key(&keys[0], Anum_task_lane, F_INT4EQ, Int32GetDatum(lane));
	taskq_key_from(&keys[1], Anum_task_id, F_UUID_GE, UUIDPGetDatum(from));
	taskq_read_begin_ordered(&read, TASKQ_REL_LEAF + leaf,
							 TASKQ_REL_LEAF_LANE + leaf, snapshot, 2, keys);
	*exhausted = true;
	while ((tuple = taskq_read_next(&read)) != NULL)
	{
		CHECK_FOR_INTERRUPTS();
		*seen = *DatumGetUUIDP(taskq_read_column(&read, tuple, Anum_task_id));
		if (!may_be_claimed(tuple, RelationGetDescr(read.rel)) ||
			(filter != NULL && !filter(tuple, RelationGetDescr(read.rel))))
			continue;
		found[n].id = *seen;
		found[n].tid = tuple->t_self;
		found[n++].leaf = leaf;
		if (n == max)
		{
			*exhausted = false;
			break;
		}
	}
	taskq_read_end(&read);
	return n;
}

/* Half of the ring is, or more, where tasks are soon forgotten. */
static bool
leaf_is_empty(int leaf)
{
	Relation	rel = taskq_store_open(TASKQ_REL_LEAF + leaf, AccessShareLock);
	bool		empty = RelationGetNumberOfBlocks(rel) == 0;

	table_close(rel, AccessShareLock);
	return empty;
}

/*
 * taskq_store_first - the first task of a lane in one leaf from *from on, in
 * whatever state; false if there is none
 */
bool
taskq_store_first(int leaf, int32 lane, const pg_uuid_t *from, pg_uuid_t *id,
				  bool *claimable)
{
	TaskqRead	read;
	ScanKeyData keys[2];
	HeapTuple	tuple;

	if (leaf_is_empty(leaf))
		return false;
	taskq_key(&keys[0], Anum_task_lane, F_INT4EQ, Int32GetDatum(lane));
	taskq_key_from(&keys[1], Anum_task_id, F_UUID_GE, UUIDPGetDatum(from));
	taskq_read_begin_ordered(&read, TASKQ_REL_LEAF + leaf,
							 TASKQ_REL_LEAF_LANE + leaf, NULL, 2, keys);
	tuple = taskq_read_next(&read);
	if (tuple != NULL)
	{
		*id = *DatumGetUUIDP(taskq_read_column(&read, tuple, Anum_task_id));
		*claimable = may_be_claimed(tuple, RelationGetDescr(read.rel));
	}
	taskq_read_end(&read);
	return tuple != NULL;
}

/* ---- in the order of an index ---- */

/* The columns up to it are never null, so it is at the same place in all. */
static inline char
stored_state(HeapTuple tuple, TupleDesc desc)
{
	int			offset = TupleDescCompactAttr(desc, Anum_task_state - 1)->attcacheoff;
	bool		isnull;

	if (offset >= 0)
		return *((char *) tuple->t_data + tuple->t_data->t_hoff + offset);
	return DatumGetChar(heap_getattr(tuple, Anum_task_state, desc, &isnull));
}

/*
 * Has any version of a task on this page one of these states?  Who sees it is
 * not asked: what a snapshot sees is there as long as that is registered.
 */
static bool
page_has(Relation rel, BlockNumber block, const bool *states)
{
	TupleDesc	desc = RelationGetDescr(rel);
	Buffer		buffer = ReadBuffer(rel, block);
	Page		page = BufferGetPage(buffer);
	bool		has = false;

	LockBuffer(buffer, BUFFER_LOCK_SHARE);
	for (OffsetNumber i = FirstOffsetNumber;
		 !has && i <= PageGetMaxOffsetNumber(page); i++)
	{
		ItemId		item = PageGetItemId(page, i);
		HeapTupleData tuple = {.t_tableOid = RelationGetRelid(rel)};

		if (!ItemIdIsNormal(item))
			continue;
		tuple.t_data = (HeapTupleHeader) PageGetItem(page, item);
		tuple.t_len = ItemIdGetLength(item);
		has = states[(unsigned char) stored_state(&tuple, desc)];
	}
	UnlockReleaseBuffer(buffer);
	return has;
}

#define PAGE_KNOWN 1
#define PAGE_HAS 2

static void
know_pages(Relation rel, TaskqPages * pages)
{
	pages->n = RelationGetNumberOfBlocks(rel);
	pages->known = palloc0(pages->n / 4 + 1);
}

/* The same, looked up once for each page that was there at first. */
static bool
page_known_to_have(Relation rel, BlockNumber block, TaskqPassing * passing)
{
	TaskqPages *pages = passing->pages;
	int			shift = block % 4 * 2;
	int			bits = block < pages->n ? pages->known[block / 4] >> shift : 0;
	bool		has;

	if (bits & PAGE_KNOWN)
		return bits & PAGE_HAS;
	has = page_has(rel, block, passing->states);
	passing->left -= TASKQ_COST_ROW;
	if (block < pages->n)
		pages->known[block / 4] |=
			(PAGE_KNOWN | (has ? PAGE_HAS : 0)) << shift;
	return has;
}

static bool
may_pass(Relation rel, BlockNumber block, TaskqPassing * passing)
{
	if (passing->states == NULL || passing->left <= 0 ||
		page_known_to_have(rel, block, passing))
		return false;
	passing->left--;
	return true;
}

/*
 * taskq_store_next - the next row of a leaf in the order of an index, but for
 * what is passed over; NULL: there is none
 *
 * For reads that were begun with a snapshot, the one that passing->pages is
 * as of: what is known of them is allocated here.
 */
HeapTuple
taskq_store_next(TaskqRead *read, ScanDirection direction,
				 TaskqPassing * passing)
{
	IndexScanDesc scan = read->scan->iscan;
	ItemPointer tid;

	if (passing->states != NULL && passing->pages->known == NULL)
		know_pages(read->rel, passing->pages);
	while ((tid = index_getnext_tid(scan, direction)) != NULL)
	{
		CHECK_FOR_INTERRUPTS();
		if (!may_pass(read->rel, ItemPointerGetBlockNumber(tid), passing) &&
			index_fetch_heap(scan, read->scan->slot))
			return ExecFetchSlotHeapTuple(read->scan->slot, false, NULL);
	}
	return NULL;
}

/*
 * taskq_store_scan_tenant - tasks of a lane in one leaf that are of this
 * tenant, in whatever state, in order of id
 *
 * Up to max of them, after *after, which is set to the last id looked at; how
 * many.
 */
int
taskq_store_scan_tenant(int leaf, int32 lane, const char *tenant, int max,
						pg_uuid_t *after, pg_uuid_t *found)
{
	TaskqRead	read;
	ScanKeyData keys[2];
	pg_uuid_t	from = *after;
	HeapTuple	tuple;
	int			n = 0;

	taskq_key(&keys[0], Anum_task_lane, F_INT4EQ, Int32GetDatum(lane));
	ScanKeyInit(&keys[1], Anum_task_id, BTGreaterStrategyNumber, F_UUID_GT,
				UUIDPGetDatum(&from));
	taskq_read_begin_ordered(&read, TASKQ_REL_LEAF + leaf,
							 TASKQ_REL_LEAF_LANE + leaf, NULL, 2, keys);
	while (n < max && (tuple = taskq_read_next(&read)) != NULL)
	{
		bool		isnull;
		Datum		value = heap_getattr(tuple, Anum_task_tenant,
										 RelationGetDescr(read.rel), &isnull);

		CHECK_FOR_INTERRUPTS();
		*after = *DatumGetUUIDP(taskq_read_column(&read, tuple, Anum_task_id));
		if (isnull || strcmp(TextDatumGetCString(value), tenant) != 0)
			continue;
		found[n++] = *after;
	}
	taskq_read_end(&read);
	return n;
}

/* ---- leaves as a whole ---- */

/* Is a task finished, and was so before cutoff? */
static bool
is_over(char state, bool unknown, TimestampTz finished_at, TimestampTz cutoff)
{
	return (state == TASKQ_COMPLETED || state == TASKQ_FAILED ||
			state == TASKQ_CANCELLED) &&
		(unknown || finished_at <= cutoff);
}

/* taskq_row_over - the same of a row that was read */
bool
taskq_row_over(const TaskqRow *row, const TaskqRetention * retention,
			   TimestampTz cutoff)
{
	bool		unknown = taskq_row_isnull(row, finished_at);

	return is_over(DatumGetChar(taskq_row_value(row, state)), unknown,
				   unknown ? 0
				   : DatumGetTimestampTz(taskq_row_value(row, finished_at)),
				   taskq_retention_cutoff(retention,
										  DatumGetInt32(taskq_row_value(row, lane)),
										  cutoff));
}

/* ... and of one that is still in its page. */
static bool
tuple_over(HeapTuple tuple, TupleDesc desc, const TaskqRetention * retention,
		   TimestampTz cutoff)
{
	bool		unknown;
	int32		lane = DatumGetInt32(heap_getattr(tuple, Anum_task_lane, desc,
												  &unknown));
	char		state =
	DatumGetChar(heap_getattr(tuple, Anum_task_state, desc, &unknown));
	Datum		finished_at = heap_getattr(tuple, Anum_task_finished_at, desc,
										   &unknown);

	return is_over(state, unknown,
				   unknown ? 0 : DatumGetTimestampTz(finished_at),
				   taskq_retention_cutoff(retention, lane, cutoff));
}

/* The rows of one page that are over, or those that are not. */
static int
pick_in_page(Relation rel, int leaf, BlockNumber block,
			 BufferAccessStrategy strategy, Snapshot snapshot, bool over,
			 const TaskqRetention * retention, TimestampTz cutoff,
			 TaskqRef *found)
{
	Buffer		buffer = ReadBufferExtended(rel, MAIN_FORKNUM, block, RBM_NORMAL,
											strategy);
	Page		page;
	int			n = 0;

	LockBuffer(buffer, BUFFER_LOCK_SHARE);
	page = BufferGetPage(buffer);
	for (OffsetNumber offset = FirstOffsetNumber;
		 offset <= PageGetMaxOffsetNumber(page); offset++)
	{
		ItemId		item = PageGetItemId(page, offset);
		HeapTupleData tuple;
		bool		isnull;

		if (!ItemIdIsNormal(item))
			continue;
		tuple.t_tableOid = RelationGetRelid(rel);
		tuple.t_data = (HeapTupleHeader) PageGetItem(page, item);
		tuple.t_len = ItemIdGetLength(item);
		ItemPointerSet(&tuple.t_self, block, offset);
		if (!HeapTupleSatisfiesVisibility(&tuple, snapshot, buffer) ||
			tuple_over(&tuple, RelationGetDescr(rel), retention,
					   cutoff) != over)
			continue;
		found[n].id = *DatumGetUUIDP(heap_getattr(&tuple, Anum_task_id,
												  RelationGetDescr(rel),
												  &isnull));
		found[n].tid = tuple.t_self;
		found[n++].leaf = leaf;
	}
	UnlockReleaseBuffer(buffer);
	return n;
}

/*
 * taskq_store_pick - tasks of a leaf that are over, or (over = false) those
 * that are not
 *
 * Reads nblocks pages from block on, fewer if max tasks are found before;
 * found has room for max and one page's more.  Copies nothing but where they
 * are, and leaves the server's cache to others.  Returns the block to go on
 * with, InvalidBlockNumber after the last.
 */
BlockNumber
taskq_store_pick(int leaf, BlockNumber block, int nblocks, bool over,
				 const TaskqRetention * retention, TimestampTz cutoff, int max,
				 TaskqRef *found, int *n)
{
	Relation	rel = taskq_store_open(TASKQ_REL_LEAF + leaf, AccessShareLock);
	BufferAccessStrategy strategy = GetAccessStrategy(BAS_BULKREAD);
	Snapshot	snapshot = taskq_store_snapshot();
	BlockNumber end = RelationGetNumberOfBlocks(rel);

	*n = 0;
	while (block < end && nblocks-- > 0 && *n < max)
	{
		CHECK_FOR_INTERRUPTS();
		*n += pick_in_page(rel, leaf, block++, strategy, snapshot, over,
						   retention, cutoff, found + *n);
	}
	UnregisterSnapshot(snapshot);
	FreeAccessStrategy(strategy);
	table_close(rel, AccessShareLock);
	return block < end ? block : InvalidBlockNumber;
}

/*
 * taskq_store_pick_lane - finished tasks of one lane in a leaf that are over
 *
 * At most max of them, from *from on, which is moved past the last one.
 * False: there are no more.  What was submitted after cutoff is not looked at.
 */
bool
taskq_store_pick_lane(int leaf, int32 lane, pg_uuid_t *from,
					  TimestampTz cutoff, int max, TaskqRef *found, int *n)
{
	static const TaskqRetention as_told = {0};
	TaskqRead	read;
	ScanKeyData keys[2];
	HeapTuple	tuple;
	bool		more = false;

	*n = 0;
	taskq_key(&keys[0], Anum_task_lane, F_INT4EQ, Int32GetDatum(lane));
	taskq_key_from(&keys[1], Anum_task_id, F_UUID_GE, UUIDPGetDatum(from));
	taskq_read_begin_ordered(&read, TASKQ_REL_LEAF + leaf,
							 TASKQ_REL_LEAF_LANE + leaf, NULL, 2, keys);
	while (!more && (tuple = taskq_read_next(&read)) != NULL)
	{
		pg_uuid_t	id = *DatumGetUUIDP(taskq_read_column(&read, tuple,
														  Anum_task_id));

		CHECK_FOR_INTERRUPTS();
		if (taskq_id_time(&id) > cutoff)
			break;
		*from = id;
		taskq_id_next(from);
		if (!tuple_over(tuple, RelationGetDescr(read.rel), &as_told, cutoff))
			continue;
		found[*n].id = id;
		found[*n].tid = tuple->t_self;
		found[(*n)++].leaf = leaf;
		more = *n == max;
	}
	taskq_read_end(&read);
	return more;
}

/* The first id of a leaf in a direction, of those not greater than last. */
static bool
first_id(Relation rel, Relation index, Snapshot snapshot,
		 const pg_uuid_t *last, ScanDirection direction, pg_uuid_t *id)
{
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;
	bool		isnull;

	ScanKeyInit(&key, Anum_task_id, BTLessEqualStrategyNumber, F_UUID_LE,
				UUIDPGetDatum(last));
	scan = systable_beginscan_ordered(rel, index, snapshot, 1, &key);
	tuple = systable_getnext_ordered(scan, direction);
	if (tuple != NULL)
		*id = *DatumGetUUIDP(heap_getattr(tuple, Anum_task_id,
										  RelationGetDescr(rel), &isnull));
	systable_endscan_ordered(scan);
	return tuple != NULL;
}

/*
 * taskq_store_ends - the lowest and the highest id in a leaf; false if there
 * is none
 *
 * Of those up to now: a clock that was set ahead for a moment shall not
 * count.
 */
bool
taskq_store_ends(int leaf, TimestampTz now, pg_uuid_t *oldest,
				 pg_uuid_t *newest)
{
	Relation	rel = taskq_store_open(TASKQ_REL_LEAF + leaf, AccessShareLock);
	Relation	index = index_open(taskq_store_oid(TASKQ_REL_LEAF_PKEY + leaf),
								   AccessShareLock);
	Snapshot	snapshot = taskq_store_snapshot();
	pg_uuid_t	last;
	bool		found;

	taskq_id_last(now, &last);
	found =
		first_id(rel, index, snapshot, &last, ForwardScanDirection, oldest) &&
		first_id(rel, index, snapshot, &last, BackwardScanDirection, newest);
	UnregisterSnapshot(snapshot);
	index_close(index, AccessShareLock);
	table_close(rel, AccessShareLock);
	return found;
}

/*
 * taskq_store_truncate - empty a leaf, and what tables beside it have of its
 * tasks
 *
 * The transaction has an access exclusive lock on the leaf.  False, and
 * nothing is done, if somebody has locked one of the others.
 */
bool
taskq_store_truncate(int leaf)
{
	Relation	rel;

	if (!taskq_sides_truncate(leaf))
		return false;
	rel = taskq_store_open(TASKQ_REL_LEAF + leaf, NoLock);
	taskq_truncate(rel);
	table_close(rel, NoLock);
	return true;
}

/* What is counted by lane and state; n comes after what is compared. */
typedef struct LeafCount
{
	struct
	{
		int32		lane;
		int32		state;
	}			key;
	int64		n;
} LeafCount;

static void
count_leaf(HTAB *table, int leaf, Snapshot snapshot)
{
	Relation	rel = taskq_store_open(TASKQ_REL_LEAF + leaf, AccessShareLock);
	TupleDesc	desc = RelationGetDescr(rel);
	SysScanDesc scan = systable_beginscan(rel, InvalidOid, false, snapshot, 0,
										  NULL);
	HeapTuple	tuple;

	while ((tuple = systable_getnext(scan)) != NULL)
	{
		LeafCount	key;
		LeafCount  *count;
		bool		isnull;
		bool		found;

		CHECK_FOR_INTERRUPTS();
		key.key.lane = DatumGetInt32(heap_getattr(tuple, Anum_task_lane, desc,
												  &isnull));
		key.key.state = DatumGetChar(heap_getattr(tuple, Anum_task_state,
												  desc, &isnull));
		count = hash_search(table, &key.key, HASH_ENTER, &found);
		count->n = (found ? count->n : 0) + 1;
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
}

/* taskq_leaves_count - count all tasks, by leaf, lane and state */
void
taskq_leaves_count(Snapshot snapshot, TaskqStockVisit visit, void *arg)
{
	HASHCTL		ctl = {.keysize = 2 * sizeof(int32),
		.entrysize = sizeof(LeafCount),
	.hcxt = CurrentMemoryContext};

	for (int leaf = 0; leaf < TASKQ_LEAVES; leaf++)
	{
		HTAB	   *table = hash_create("taskq leaf", 64, &ctl,
										HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
		HASH_SEQ_STATUS status;
		LeafCount  *count;

		count_leaf(table, leaf, snapshot);
		hash_seq_init(&status, table);
		while ((count = hash_seq_search(&status)) != NULL)
		{
			TaskqStock	stock = {.leaf = leaf,.state = (char) count->key.state,
			.lane = count->key.lane,.n = count->n};

			visit(&stock, arg);
		}
		hash_destroy(table);
	}
}

PG_FUNCTION_INFO_V1(taskq_leaf_written_sql);

/*
 * taskq_leaf_written_sql - leaf_written(slot), a constraint of the table that
 * is always kept
 *
 * So the sweeper learns of rows that come by other ways than ours: COPY, a
 * restore, replication, an administrator.
 */
Datum
taskq_leaf_written_sql(PG_FUNCTION_ARGS)
{
	taskq_leaf_written(PG_GETARG_INT16(0));
	PG_RETURN_BOOL(true);
}
