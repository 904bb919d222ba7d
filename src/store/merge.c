/*-------------------------------------------------------------------------
 *
 * merge.c
 *		Tasks from several places side by side, in the order of (rank, id).
 *
 * A source is an index of a leaf, a label's rows, or a list of ids.  Each is
 * read in portions that grow, and nothing stays open between them, so there
 * may be thousands of sources.  One is not opened before it is its turn: a
 * leaf whose tasks all come later is not read.  What is read of the leaves is
 * of one snapshot, which also keeps the sweeper from emptying them meanwhile.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "lib/binaryheap.h"
#include "miscadmin.h"
#include "store/leaves.h"
#include "store/merge.h"
#include "store/read.h"
#include "store/rows.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#define PORTION_MIN 4			/* rows */
#define PORTION_MAX 256

typedef enum SourceType
{
	SOURCE_LEAF,				/* all tasks of a leaf */
	SOURCE_LANE,				/* those of a lane in it */
	SOURCE_LABEL,				/* those that have a label */
	SOURCE_IDS					/* a list */
} SourceType;

typedef struct Source
{
	SourceType	type;
	int			leaf;
	int32		lane;
	TaskqIdRange range;			/* what is left of it to be read */
	TaskqRank	place;			/* nothing of it comes before that */
	int			portion;
	bool		exhausted;		/* there is nothing but what was read: */
	HeapTuple  *tuples;			/* that, with its ids, or */
	pg_uuid_t  *ids;
	const char *label;
	bool		ranked;			/* the label's ranks count */
	bool		begun;			/* at is where to go on */
	TaskqRank	at;
	TaskqRank  *found;			/* or */
	TaskqIdList list;
	TaskqIdsMore more;
	int64		n;
	int64		next;
} Source;

struct TaskqMerge
{
	MemoryContext context;
	Snapshot	snapshot;
	bool		backwards;		/* from the highest id to the lowest */
	TaskqTupleSuits suits;
	void	   *arg;
	const bool *states;			/* or NULL; see leaves.h */
	TaskqPages *pages;			/* of each leaf */
	TupleDesc	descs[TASKQ_LEAVES];	/* of those read, or NULL */
	bool		empty[TASKQ_LEAVES];
	TaskqIdRange bounds[TASKQ_LEAVES];	/* a leaf's ids, with both ends */
	Source	   *sources;
	int			nsources;
	int			room;
	binaryheap *heap;			/* of them, the first one on top */
	HeapTuple	current;		/* of the row given last, or */
	MemoryContext found;		/* what was looked up for it */
	bool		given;
	TaskqRank	last;			/* its place */
};

/* ---- order ---- */

/*
 * taskq_rank_cmp - which comes first: ranks rise, and ids of the same rank
 * rise, or fall backwards
 */
int
taskq_rank_cmp(const TaskqRank *a, const TaskqRank *b, bool backwards)
{
	int			order = taskq_id_cmp(&a->id, &b->id);

	if (a->rank != b->rank)
		return a->rank < b->rank ? -1 : 1;
	return backwards ? -order : order;
}

static int
rank_cmp(const void *a, const void *b, void *arg)
{
	return taskq_rank_cmp(a, b, ((TaskqMerge *) arg)->backwards);
}

/* The heap has its greatest on top, so the other way round. */
static int
source_cmp(Datum a, Datum b, void *arg)
{
	return -rank_cmp(&((Source *) DatumGetPointer(a))->place,
					 &((Source *) DatumGetPointer(b))->place, arg);
}

/* ---- sources ---- */

static ScanDirection
direction(const TaskqMerge *merge)
{
	return merge->backwards ? BackwardScanDirection : ForwardScanDirection;
}

/* Begin to read a source's leaf. */
static void
open_leaf(const TaskqMerge *merge, const Source *source, TaskqRead *read)
{
	ScanKeyData keys[3];
	int			n = 0;
	TaskqRelation index = source->type == SOURCE_LANE ? TASKQ_REL_LEAF_LANE
	: TASKQ_REL_LEAF_PKEY;

	if (source->type == SOURCE_LANE)
		taskq_key(&keys[n++], Anum_task_lane, F_INT4EQ,
				  Int32GetDatum(source->lane));
	ScanKeyInit(&keys[n++], Anum_task_id, BTGreaterStrategyNumber, F_UUID_GT,
				UUIDPGetDatum(&source->range.low));
	ScanKeyInit(&keys[n++], Anum_task_id, BTLessStrategyNumber, F_UUID_LT,
				UUIDPGetDatum(&source->range.high));
	taskq_read_begin_ordered(read, TASKQ_REL_LEAF + source->leaf,
							 index + source->leaf, merge->snapshot, n, keys);
}

/* An end of a leaf's ids; false if there are none. */
static bool
leaf_end(TaskqMerge *merge, int leaf, bool highest, pg_uuid_t *id)
{
	Source		all = {.type = SOURCE_LEAF,.leaf = leaf};
	TaskqRead	read;
	HeapTuple	tuple;

	memset(&all.range.high, 0xff, UUID_LEN);
	open_leaf(merge, &all, &read);
	tuple = taskq_read_next_to(&read, highest ? BackwardScanDirection
							   : ForwardScanDirection);
	if (tuple != NULL)
		*id = *DatumGetUUIDP(taskq_read_column(&read, tuple, Anum_task_id));
	taskq_read_end(&read);
	return tuple != NULL;
}

static void
find_bounds(TaskqMerge *merge)
{
	for (int leaf = 0; leaf < TASKQ_LEAVES; leaf++)
		merge->empty[leaf] =
			!leaf_end(merge, leaf, false, &merge->bounds[leaf].low) ||
			!leaf_end(merge, leaf, true, &merge->bounds[leaf].high);
}

/*
 * taskq_merge_begin - an empty one
 *
 * backwards: ids from the highest to the lowest; ranks rise all the same.
 * Rows that suits refuses are passed over.  What is known of the leaves, and
 * the snapshot, are those of another one, if there is one beside it, which asks
 * for the same states.  End it with taskq_merge_end under the same resource
 * owner, and do not read one beside it after that.
 */
TaskqMerge *
taskq_merge_begin(bool backwards, TaskqTupleSuits suits, void *arg,
				  TaskqMerge *beside)
{
	TaskqMerge *merge = palloc0(sizeof(TaskqMerge));

	merge->context = AllocSetContextCreate(CurrentMemoryContext,
										   "taskq merge",
										   ALLOCSET_DEFAULT_SIZES);
	merge->found = AllocSetContextCreate(merge->context, "taskq merge row",
										 ALLOCSET_DEFAULT_SIZES);
	merge->backwards = backwards;
	merge->suits = suits;
	merge->arg = arg;
	merge->snapshot = beside ? RegisterSnapshot(beside->snapshot)
		: taskq_store_snapshot();
	merge->pages = beside ? beside->pages
		: MemoryContextAllocZero(merge->context,
								 sizeof(TaskqPages) * TASKQ_LEAVES);
	if (beside == NULL)
		find_bounds(merge);
	else
	{
		memcpy(merge->empty, beside->empty, sizeof(merge->empty));
		memcpy(merge->bounds, beside->bounds, sizeof(merge->bounds));
	}
	return merge;
}

/*
 * taskq_merge_states - what is stored in other states than these, by their
 * letters, is not looked for in the leaves; the array is the caller's
 */
void
taskq_merge_states(TaskqMerge *merge, const bool *states)
{
	merge->states = states;
}

/* A new source, with nothing that comes before the range's first id. */
static Source *
add_source(TaskqMerge *merge, SourceType type, const TaskqIdRange *range,
		   int64 rank)
{
	Source	   *source;

	if (merge->nsources == merge->room)
	{
		MemoryContext old = MemoryContextSwitchTo(merge->context);

		merge->room = Max(32, merge->room * 2);
		merge->sources = merge->sources
			? repalloc(merge->sources, merge->room * sizeof(Source))
			: palloc(merge->room * sizeof(Source));
		MemoryContextSwitchTo(old);
	}
	source = &merge->sources[merge->nsources++];
	memset(source, 0, sizeof(*source));
	source->type = type;
	source->range = *range;
	source->portion = PORTION_MIN;
	source->place.rank = rank;
	source->place.id = merge->backwards ? range->high : range->low;
	return source;
}

/* One source for each leaf that has ids of the range. */
static void
add_leaves(TaskqMerge *merge, SourceType type, int32 lane, const char *label,
		   const TaskqIdRange *range, int64 rank)
{
	for (int leaf = 0; leaf < TASKQ_LEAVES; leaf++)
	{
		const TaskqIdRange *bounds = &merge->bounds[leaf];
		Source	   *source;

		if (merge->empty[leaf] ||
			taskq_id_cmp(&bounds->high, &range->low) <= 0 ||
			taskq_id_cmp(&bounds->low, &range->high) >= 0)
			continue;
		source = add_source(merge, type, range, rank);
		source->leaf = leaf;
		source->lane = lane;
		source->label = label;
		if (merge->backwards &&
			taskq_id_cmp(&bounds->high, &range->high) < 0)
			source->place.id = bounds->high;
		if (!merge->backwards && taskq_id_cmp(&bounds->low, &range->low) > 0)
			source->place.id = bounds->low;
	}
}

/* taskq_merge_add_leaves - all tasks */
void
taskq_merge_add_leaves(TaskqMerge *merge, const TaskqIdRange *range,
					   int64 rank)
{
	add_leaves(merge, SOURCE_LEAF, 0, NULL, range, rank);
}

/* taskq_merge_add_lane - the tasks of a lane */
void
taskq_merge_add_lane(TaskqMerge *merge, int32 lane, const TaskqIdRange *range,
					 int64 rank)
{
	add_leaves(merge, SOURCE_LANE, lane, NULL, range, rank);
}

/* taskq_merge_add_label - the tasks that have a label whose ranks are equal */
void
taskq_merge_add_label(TaskqMerge *merge, const char *label,
					  const TaskqIdRange *range, int64 rank)
{
	add_leaves(merge, SOURCE_LABEL, 0, label, range, rank);
}

/*
 * taskq_merge_add_ranked - those that have a label, in the order of its ranks,
 * from a place on (or NULL)
 */
void
taskq_merge_add_ranked(TaskqMerge *merge, const char *label,
					   const TaskqRank *after)
{
	TaskqIdRange all = {{{0}}};
	int			n = merge->nsources;

	memset(&all.high, 0xff, UUID_LEN);
	add_leaves(merge, SOURCE_LABEL, 0, label, &all, PG_INT64_MIN);
	for (; n < merge->nsources; n++)
	{
		Source	   *source = &merge->sources[n];

		source->ranked = true;
		source->begun = after != NULL;
		if (after != NULL)
			source->at = source->place = *after;
	}
}

/*
 * taskq_merge_add_ids - the tasks of a list, in whatever order that is read
 */
void
taskq_merge_add_ids(TaskqMerge *merge, TaskqIdsMore more, int32 lane,
					const char *label, const TaskqIdRange *range, int64 rank)
{
	Source	   *source = add_source(merge, SOURCE_IDS, range, rank);

	source->more = more;
	source->portion = PORTION_MAX;
	source->list.lane = lane;
	source->list.label = label;
	source->list.rank = rank;
	source->place.rank = PG_INT64_MIN;
	taskq_due_first(&source->list.from);
}

/* taskq_id_list_add - one more task */
void
taskq_id_list_add(TaskqIdList *list, const pg_uuid_t *id, int64 rank)
{
	if (list->n == list->room)
	{
		list->room = Max(64, list->room * 2);
		list->items = list->items
			? repalloc_huge(list->items, list->room * sizeof(TaskqRank))
			: palloc(list->room * sizeof(TaskqRank));
	}
	list->items[list->n].rank = rank;
	list->items[list->n++].id = *id;
}

/* ---- reading ---- */

/*
 * The next rows of a source that is opened; their cost in rows, and whether
 * there may be more.
 */
static int64
read_rows(TaskqMerge *merge, Source *source, TaskqRead *read, bool *more)
{
	int64		room = (int64) source->portion * TASKQ_COST_ROW;
	TaskqPassing passing = {merge->states, &merge->pages[source->leaf], room};
	HeapTuple	tuple = NULL;

	while (passing.left > 0 &&
		   (tuple = taskq_store_next(read, direction(merge),
									 &passing)) != NULL)
	{
		passing.left -= TASKQ_COST_ROW;
		source->place.id =
			*DatumGetUUIDP(taskq_read_column(read, tuple, Anum_task_id));
		if (merge->suits == NULL ||
			merge->suits(merge->arg, tuple, RelationGetDescr(read->rel)))
		{
			source->ids[source->n] = source->place.id;
			source->tuples[source->n++] = heap_copytuple(tuple);
		}
	}
	*more = tuple != NULL;
	return (room - passing.left) / TASKQ_COST_ROW;
}

static void
fill_from_leaf(TaskqMerge *merge, Source *source, int64 *budget)
{
	TaskqRead	read;
	bool		more;

	if (source->tuples == NULL)
	{
		source->tuples = palloc(sizeof(HeapTuple) * PORTION_MAX);
		source->ids = palloc(sizeof(pg_uuid_t) * PORTION_MAX);
	}
	source->n = source->next = 0;
	open_leaf(merge, source, &read);
	if (merge->descs[source->leaf] == NULL)
		merge->descs[source->leaf] =
			CreateTupleDescCopy(RelationGetDescr(read.rel));
	*budget -= 1 + read_rows(merge, source, &read, &more) *
		(source->type == SOURCE_LANE ? TASKQ_COST_LANE : 1);
	source->exhausted = !more;
	if (merge->backwards)
		source->range.high = source->place.id;
	else
		source->range.low = source->place.id;
	taskq_read_end(&read);
	source->portion = Min(source->portion * 2, PORTION_MAX);
}

/* Where to go on with a label: outside of the range is nothing for us. */
static const TaskqRank *
label_from(const TaskqMerge *merge, Source *source)
{
	if (!source->begun && !source->ranked)
	{
		source->at.rank = 0;
		source->at.id = merge->backwards ? source->range.high
			: source->range.low;
		source->begun = true;
	}
	return source->begun ? &source->at : NULL;
}

static bool
in_range(const TaskqIdRange *range, const pg_uuid_t *id)
{
	return taskq_id_cmp(id, &range->low) > 0 &&
		taskq_id_cmp(id, &range->high) < 0;
}

/*
 * Tasks that are not in the snapshot may have labels by now: their leaf's
 * source may have been passed.
 */
static void
fill_from_label(TaskqMerge *merge, Source *source, int64 *budget)
{
	const TaskqIdRange *bounds = &merge->bounds[source->leaf];
	int64		rank = source->place.rank;
	int			n;

	if (source->found == NULL)
		source->found = palloc(sizeof(TaskqRank) * PORTION_MAX);
	source->portion = Max(source->portion, 16);
	n = taskq_labels_scan(source->leaf, source->label,
						  label_from(merge, source), merge->backwards,
						  source->portion, source->found);
	source->exhausted = n < source->portion;
	source->n = source->next = 0;
	if (n > 0)
		source->at = source->found[n - 1];
	source->begun = true;
	for (int i = 0; i < n; i++)
	{
		const pg_uuid_t *id = &source->found[i].id;

		if (!in_range(&source->range, id))
			source->exhausted |= !source->ranked;
		else if (taskq_id_cmp(id, &bounds->low) >= 0 &&
				 taskq_id_cmp(id, &bounds->high) <= 0)
			source->found[source->n++] = source->found[i];
	}
	for (int i = 0; i < source->n && !source->ranked; i++)
		source->found[i].rank = rank;
	*budget -= 1 + n / 4;
	source->portion = Min(source->portion * 2, PORTION_MAX);
}

/* Leave out what is not in the range, and what is there twice. */
static void
sort_list(TaskqMerge *merge, Source *source)
{
	TaskqRank  *items = source->list.items;
	int64		n = 0;

	qsort_arg(items, source->list.n, sizeof(TaskqRank), rank_cmp, merge);
	for (int64 i = 0; i < source->list.n; i++)
	{
		if (in_range(&source->range, &items[i].id) &&
			(n == 0 || !taskq_id_eq(&items[i].id, &items[n - 1].id)))
			items[n++] = items[i];
	}
	source->n = n;
	source->next = 0;
	source->exhausted = true;
}

static void
fill_from_list(TaskqMerge *merge, Source *source, int64 *budget)
{
	int64		before = source->list.n;
	bool		more = source->more(&source->list, source->portion,
									merge->arg);

	CHECK_FOR_INTERRUPTS();
	/* an entry costs less than a row */
	*budget -= 1 + (source->list.n - before) / 4;
	if (!more)
		sort_list(merge, source);
}

/* Where a source stands now. */
static void
set_place(Source *source)
{
	if (source->next >= source->n)
		return;
	if (source->type == SOURCE_IDS)
		source->place = source->list.items[source->next];
	else if (source->type == SOURCE_LABEL)
		source->place = source->found[source->next];
	else
		source->place.id = source->ids[source->next];
}

/* The row a source stands at, as it is; false if it is not there any more. */
static bool
take(TaskqMerge *merge, Source *source, TaskqRow *row)
{
	MemoryContext old;
	bool		found;

	if (source->tuples != NULL)
	{
		merge->current = source->tuples[source->next++];
		row->leaf = source->leaf;
		row->tid = merge->current->t_self;
		row->xmin = InvalidTransactionId;
		row->whole = NULL;
		taskq_rows_deform(merge->current, merge->descs[source->leaf],
						  row->values, row->nulls, Natts_task);
		return true;
	}
	source->next++;
	old = MemoryContextSwitchTo(merge->found);
	found = taskq_store_find(&source->place.id, row);
	MemoryContextSwitchTo(old);
	return found;
}

static void
make_heap(TaskqMerge *merge)
{
	MemoryContext old = MemoryContextSwitchTo(merge->context);

	merge->heap = binaryheap_allocate(Max(merge->nsources, 1), source_cmp,
									  merge);
	for (int i = 0; i < merge->nsources; i++)
		binaryheap_add_unordered(merge->heap,
								 PointerGetDatum(&merge->sources[i]));
	binaryheap_build(merge->heap);
	MemoryContextSwitchTo(old);
}

/* The first source has been moved on. */
static void
settle(TaskqMerge *merge, Source *source)
{
	set_place(source);
	if (source->next >= source->n && source->exhausted)
		(void) binaryheap_remove_first(merge->heap);
	else
		binaryheap_replace_first(merge->heap, PointerGetDatum(source));
}

/* A row of the first source that has one; false: not yet, or never. */
static bool
next_row(TaskqMerge *merge, int64 *budget, TaskqRow *row, TaskqRank *place)
{
	while (!binaryheap_empty(merge->heap) && *budget > 0)
	{
		Source	   *source = (Source *) DatumGetPointer(binaryheap_first(merge->heap));
		bool		taken = false;

		if (source->next < source->n)
		{
			*place = source->place;
			taken = take(merge, source, row);
			*budget -= source->tuples == NULL ? TASKQ_COST_FOUND : 0;
		}
		else if (source->type == SOURCE_IDS)
			fill_from_list(merge, source, budget);
		else if (source->type == SOURCE_LABEL)
			fill_from_label(merge, source, budget);
		else
			fill_from_leaf(merge, source, budget);
		settle(merge, source);
		if (taken)
			return true;
	}
	return false;
}

/*
 * taskq_merge_next - the next one
 *
 * *budget is lowered by about the number of rows that were read; when it is
 * used up the answer is LATER.  What the row points to is good until the next
 * call.  Each task comes once, if its ranks are the same in all sources.
 */
TaskqMergeResult
taskq_merge_next(TaskqMerge *merge, int64 *budget, TaskqRow *row,
				 TaskqRank *place)
{
	MemoryContext old = MemoryContextSwitchTo(merge->context);
	bool		found;

	if (merge->heap == NULL)
		make_heap(merge);
	do
	{
		if (merge->current != NULL)
			heap_freetuple(merge->current);
		merge->current = NULL;
		MemoryContextReset(merge->found);
		found = next_row(merge, budget, row, place);
	} while (found && merge->given &&
			 rank_cmp(place, &merge->last, merge) == 0);
	MemoryContextSwitchTo(old);
	if (!found)
		return binaryheap_empty(merge->heap) ? TASKQ_MERGE_END
			: TASKQ_MERGE_LATER;
	merge->given = true;
	merge->last = *place;
	return TASKQ_MERGE_ROW;
}

/* taskq_merge_end - end it */
void
taskq_merge_end(TaskqMerge *merge)
{
	UnregisterSnapshot(merge->snapshot);
	MemoryContextDelete(merge->context);
	pfree(merge);
}
