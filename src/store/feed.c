/*-------------------------------------------------------------------------
 *
 * feed.c
 *		Table "feed": the tasks that have ended, in the order in which that
 *		was told.
 *
 * The database's dispatcher alone writes it, a row for many events; so their
 * numbers rise in the order of its commits, and nobody who has seen one finds
 * a lower one later.  Whatever is between two rows without being in one of
 * them was never given to an event, or has been forgotten: "after" of the
 * second one says which.
 *
 * A server that was promoted, or recovered to a moment in the past, may have
 * lost rows that somebody has seen.  It counts on from a higher number, for
 * the number of its timeline is part of it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "access/transam.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/indexing.h"
#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "store/feed.h"
#include "store/read.h"
#include "store/rows.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

/* columns of taskq_internal.feed */
enum
{
	Anum_feed_first = 1,		/* number of its first event */
	Anum_feed_after,			/* no event between this one and the first has
								 * been forgotten */
	Anum_feed_at,
	Anum_feed_events,			/* EVENT_SIZE bytes each */
	Natts_feed = Anum_feed_events
};

#define EVENT_SIZE (UUID_LEN + 1)
#define TIMELINE_SHIFT 40

/* A row as it is read. */
typedef struct FeedRow
{
	int64		first;
	int64		after;
	int			n;
	bytea	   *events;			/* points into the tuple */
	TimestampTz at;
}			FeedRow;

/*
 * taskq_feed_life - which feed this is: numbers of another one mean nothing
 *
 * Another one is that of another server, of another database, or of an
 * extension that was created again.
 */
uint32
taskq_feed_life(void)
{
	uint64		server = GetSystemIdentifier();
	uint32		hash = hash_combine((uint32) server, (uint32) (server >> 32));

	hash = hash_combine(hash, hash_uint32(MyDatabaseId));
	return hash_combine(hash, hash_uint32(taskq_store_oid(TASKQ_REL_FEED)));
}

/*
 * taskq_feed_free - lock the table for writing, if that can be had at once
 */
bool
taskq_feed_free(void)
{
	Oid			oid = taskq_store_oid(TASKQ_REL_FEED);

	return ConditionalLockRelationOid(oid, RowExclusiveLock) &&
		taskq_store_oid(TASKQ_REL_FEED) == oid;
}

static FeedRow
read_row(const TaskqRead *read, HeapTuple tuple)
{
	FeedRow		row;

	row.first = DatumGetInt64(taskq_read_column(read, tuple, Anum_feed_first));
	row.after = DatumGetInt64(taskq_read_column(read, tuple, Anum_feed_after));
	row.at = DatumGetTimestampTz(taskq_read_column(read, tuple, Anum_feed_at));
	row.events = DatumGetByteaPP(taskq_read_column(read, tuple,
												   Anum_feed_events));
	row.n = VARSIZE_ANY_EXHDR(row.events) / EVENT_SIZE;
	return row;
}

/* The number of a row's last event; one without any stands for its own. */
static int64
last_of(const FeedRow * row)
{
	return row->first + Max(row->n, 1) - 1;
}

/* From where on in the WAL what a row tells is durable. */
static XLogRecPtr
commit_of(HeapTuple tuple)
{
	return RecoveryInProgress() ? InvalidXLogRecPtr
		: TransactionIdGetCommitLSN(HeapTupleHeaderGetXmin(tuple->t_data));
}

/* ---- writing ---- */

/*
 * taskq_feed_last - the number of the last event, as of this moment; 0: there
 * was none yet
 *
 * *durable_at (or NULL) is from where on that is durable.
 */
int64
taskq_feed_last(XLogRecPtr *durable_at)
{
	TaskqRead	read;
	HeapTuple	tuple;
	int64		last = 0;

	taskq_read_begin_ordered(&read, TASKQ_REL_FEED, TASKQ_REL_FEED_PKEY, NULL,
							 0, NULL);
	tuple = taskq_read_next_to(&read, BackwardScanDirection);
	if (tuple != NULL)
	{
		FeedRow		row = read_row(&read, tuple);

		last = last_of(&row);
		if (durable_at != NULL)
			*durable_at = commit_of(tuple);
	}
	taskq_read_end(&read);
	return last;
}

static int64
insert_row(Relation rel, int64 first, int64 after,
		   const TaskqFeedEvent * events, int n)
{
	bytea	   *packed = palloc(VARHDRSZ + n * EVENT_SIZE);
	char	   *to = VARDATA(packed);
	Datum		values[Natts_feed];
	bool		nulls[Natts_feed] = {false};

	SET_VARSIZE(packed, VARHDRSZ + n * EVENT_SIZE);
	for (int i = 0; i < n; i++)
	{
		memcpy(to, events[i].id.data, UUID_LEN);
		to[UUID_LEN] = events[i].state;
		to += EVENT_SIZE;
	}
	values[Anum_feed_first - 1] = Int64GetDatum(first);
	values[Anum_feed_after - 1] = Int64GetDatum(after);
	values[Anum_feed_at - 1] = TimestampTzGetDatum(GetCurrentTimestamp());
	values[Anum_feed_events - 1] = PointerGetDatum(packed);
	taskq_rows_insert_one(rel, values, nulls, Natts_feed);
	pfree(packed);
	return first + Max(n, 1) - 1;
}

static int64
number_after(int64 last)
{
	return Max(last, (int64) GetWALInsertionTimeLine() << TIMELINE_SHIFT) + 1;
}

/*
 * taskq_feed_append - n events; returns the number of the last one
 *
 * After taskq_feed_free, by the dispatcher alone.
 */
int64
taskq_feed_append(const TaskqFeedEvent * events, int n)
{
	Relation	rel = taskq_store_open(TASKQ_REL_FEED, RowExclusiveLock);
	int64		last = taskq_feed_last(NULL);

	while (n > 0)
	{
		int			some = Min(n, TASKQ_FEED_ROW);

		last = insert_row(rel, number_after(last), last, events, some);
		events += some;
		n -= some;
	}
	table_close(rel, NoLock);
	CommandCounterIncrement();
	return last;
}

/*
 * taskq_feed_skip - something has ended that will not be told
 *
 * A row without events: who has not seen what was before it learns that.
 * After taskq_feed_free, by the dispatcher alone.
 */
void
taskq_feed_skip(void)
{
	Relation	rel = taskq_store_open(TASKQ_REL_FEED, RowExclusiveLock);
	int64		number = number_after(taskq_feed_last(NULL));

	(void) insert_row(rel, number, number, NULL, 0);
	table_close(rel, NoLock);
	CommandCounterIncrement();
}

/*
 * taskq_feed_forget - delete rows that were written before this moment, or
 * that have more than so many events after them, from *from on
 *
 * Never the last one.  Returns how many, at most max, and moves *from past
 * them.  After taskq_feed_free, by the dispatcher alone.
 */
int
taskq_feed_forget(int64 *from, TimestampTz before, int64 keep, int max)
{
	int64		last = taskq_feed_last(NULL);
	Relation	rel = taskq_store_open(TASKQ_REL_FEED, RowExclusiveLock);
	TaskqRead	read;
	ScanKeyData key;
	HeapTuple	tuple;
	int			n = 0;

	taskq_key_from(&key, Anum_feed_first, F_INT8GE, Int64GetDatum(*from));
	taskq_read_begin_ordered(&read, TASKQ_REL_FEED, TASKQ_REL_FEED_PKEY, NULL,
							 1, &key);
	while (n < max && (tuple = taskq_read_next(&read)) != NULL)
	{
		FeedRow		row = read_row(&read, tuple);
		bool		many = row.first < last - keep &&
		row.first >> TIMELINE_SHIFT == last >> TIMELINE_SHIFT;

		CHECK_FOR_INTERRUPTS();
		if (last_of(&row) >= last || (row.at >= before && !many))
			break;
		CatalogTupleDelete(rel, &tuple->t_self);
		*from = last_of(&row) + 1;
		n++;
	}
	taskq_read_end(&read);
	table_close(rel, NoLock);
	return n;
}

/* ---- reading ---- */

/* The events of a row after this number. */
static void
take_events(const FeedRow * row, int64 after, TaskqFeedPage * page)
{
	const char *from = VARDATA_ANY(row->events);

	page->n = 0;
	page->first = row->first;
	page->end = last_of(row);
	for (int i = 0; i < Min(row->n, TASKQ_FEED_ROW); i++)
	{
		TaskqFeedEvent *event = &page->events[page->n];

		if (row->first + i <= after)
			continue;
		event->number = row->first + i;
		memcpy(event->id.data, from + i * EVENT_SIZE, UUID_LEN);
		event->state = from[i * EVENT_SIZE + UUID_LEN];
		page->n++;
	}
}

/* Take a row, if there is something in it after this number. */
static bool
take_row(const TaskqRead *read, HeapTuple tuple, int64 after,
		 TaskqFeedPage * page)
{
	FeedRow		row;

	if (tuple == NULL)
		return false;
	row = read_row(read, tuple);
	if (last_of(&row) <= after)
		return false;
	page->gone = row.after > after;
	page->durable_at = commit_of(tuple);
	take_events(&row, after, page);
	return true;
}

/*
 * taskq_feed_next - the next row that has an event after this number, as of
 * this moment; false: there is none
 *
 * Whoever tells of it first makes sure that it is durable.
 */
bool
taskq_feed_next(int64 after, TaskqFeedPage * page)
{
	Snapshot	snapshot = taskq_store_snapshot();
	TaskqRead	read;
	ScanKeyData key;
	bool		found;

	/* the row that has it, or the first one after it */
	ScanKeyInit(&key, Anum_feed_first, BTLessEqualStrategyNumber, F_INT8LE,
				Int64GetDatum(after + 1));
	taskq_read_begin_ordered(&read, TASKQ_REL_FEED, TASKQ_REL_FEED_PKEY,
							 snapshot, 1, &key);
	found = take_row(&read, taskq_read_next_to(&read, BackwardScanDirection),
					 after, page);
	taskq_read_end(&read);
	if (!found)
	{
		ScanKeyInit(&key, Anum_feed_first, BTGreaterStrategyNumber, F_INT8GT,
					Int64GetDatum(after + 1));
		taskq_read_begin_ordered(&read, TASKQ_REL_FEED, TASKQ_REL_FEED_PKEY,
								 snapshot, 1, &key);
		found = take_row(&read, taskq_read_next(&read), after, page);
		taskq_read_end(&read);
	}
	UnregisterSnapshot(snapshot);
	return found;
}

/*
 * taskq_feed_before - the last row before this number; false: there is none
 * that was written since then
 */
bool
taskq_feed_before(int64 before, TimestampTz since, TaskqFeedPage * page)
{
	TaskqRead	read;
	ScanKeyData key;
	HeapTuple	tuple;
	bool		found = false;

	ScanKeyInit(&key, Anum_feed_first, BTLessStrategyNumber, F_INT8LT,
				Int64GetDatum(before));
	taskq_read_begin_ordered(&read, TASKQ_REL_FEED, TASKQ_REL_FEED_PKEY, NULL,
							 1, &key);
	tuple = taskq_read_next_to(&read, BackwardScanDirection);
	if (tuple != NULL)
	{
		FeedRow		row = read_row(&read, tuple);

		found = row.at >= since;
		take_events(&row, 0, page);
	}
	taskq_read_end(&read);
	return found;
}
