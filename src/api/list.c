/*-------------------------------------------------------------------------
 *
 * list.c
 *		task_list: a page of the tasks that a filter finds, in an order.
 *
 * There are several ways to find them: all tasks, some lanes', those that wait,
 * those that have a label.  Which is the shortest is not known beforehand, for
 * nothing counts tasks.  So all ways that there are for a filter are gone at
 * the same time, in turns that grow, until one of them has a page, or has come
 * to its end.  That costs as much as the shortest one, times their number.
 *
 * A way finds more than is asked for; each task is looked at with the whole
 * filter.  Where it does not give them in the order asked for, it is gone to
 * its end, and the first ones are kept.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "api/filter.h"
#include "api/task.h"
#include "base/args.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "store/dependencies.h"
#include "store/keyed.h"
#include "store/leases.h"
#include "store/merge.h"
#include "store/ready.h"
#include "store/rights.h"
#include "store/timers.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"

#define MAX_PAGE 10000
#define MAX_LANES 2000			/* of one way */
#define FIRST_TURN 256			/* rows */

typedef enum ListOrder
{
	ORDER_NEWEST,
	ORDER_OLDEST,
	ORDER_PRIORITY,				/* the most urgent first, of these the oldest */
	ORDER_DURATION				/* the longest first */
} ListOrder;

/* One way to find them. */
typedef struct Way
{
	TaskqMerge *merge;
	bool		ordered;		/* it gives them in the order asked for */
	bool		over;
	TaskqRank  *found;
	int			nfound;
} Way;

typedef struct Listing
{
	TaskqFilter filter;
	ListOrder	order;
	int			n;				/* tasks wanted */
	bool		has_after;
	TaskqRank	after;
	TaskqIdRange range;			/* ids that it can be */
	List	   *lanes;			/* of int; those that suit, if there are not
								 * too many */
	bool		by_lanes;
	List	   *ways;			/* of Way */
} Listing;

/* ---- ways ---- */

static bool
backwards(const Listing *listing)
{
	return listing->order == ORDER_NEWEST;
}

static bool
by_id(const Listing *listing)
{
	return listing->order <= ORDER_OLDEST;
}

static bool
tuple_suits(void *arg, HeapTuple tuple, TupleDesc desc)
{
	TaskqFilter *filter = &((Listing *) arg)->filter;
	bool		isnull;

	return taskq_filter_stored(filter,
							   DatumGetChar(heap_getattr(tuple,
														 Anum_task_state,
														 desc, &isnull))) &&
		taskq_filter_lane(filter,
						  DatumGetInt32(heap_getattr(tuple, Anum_task_lane,
													 desc, &isnull)));
}

static TaskqMerge *
add_way(Listing *listing, bool ordered)
{
	Way		   *way = palloc0(sizeof(Way));

	way->merge = taskq_merge_begin(backwards(listing), tuple_suits, listing);
	way->ordered = ordered;
	way->found = palloc(sizeof(TaskqRank) * listing->n * 2);
	listing->ways = lappend(listing->ways, way);
	return way->merge;
}

/* Where a task comes in an order that is not by id. */
static int64
rank_of(Listing *listing, TaskqRow *row)
{
	const TaskqLaneDef *lane;

	switch (listing->order)
	{
		case ORDER_PRIORITY:
			lane = taskq_lane_get(DatumGetInt32(taskq_row_value(row, lane)));
			return lane ? -lane->priority : 0;
		case ORDER_DURATION:
			return -taskq_filter_ran_us(&listing->filter, row);
		default:
			return 0;
	}
}

/* One of few tasks. */
static void
add_ranked(Listing *listing, TaskqIdList *list, const pg_uuid_t *id)
{
	TaskqRow	row;

	if (by_id(listing))
		taskq_id_list_add(list, id, 0);
	else if (taskq_store_find(id, &row))
		taskq_id_list_add(list, id, rank_of(listing, &row));
}

typedef struct Held
{
	Listing    *listing;
	TaskqIdList *list;
} Held;

static void
add_held(void *to, const pg_uuid_t *id)
{
	add_ranked(((Held *) to)->listing, ((Held *) to)->list, id);
}

/* What is held, by workers or under a lease. */
static bool
more_held(TaskqIdList *list, int max, void *arg)
{
	Held		held = {.listing = arg,.list = list};
	ListCell   *lc;

	taskq_filter_held(&held.listing->filter, add_held, &held);
	foreach(lc, taskq_lease_ids())
		add_held(&held, lfirst(lc));
	return false;
}

/* The ids that were asked for. */
static bool
more_asked(TaskqIdList *list, int max, void *arg)
{
	Listing    *listing = arg;
	ListCell   *lc;

	foreach(lc, listing->filter.ids)
		add_ranked(listing, list, lfirst(lc));
	return false;
}

static bool
more_blocked(TaskqIdList *list, int max, void *arg)
{
	TaskqBlocked *blocked = palloc(sizeof(TaskqBlocked) * (max + 1));
	int			n = taskq_blocked_next(&list->from.id, max, blocked);

	for (int i = 0; i < n; i++)
		taskq_id_list_add(list, &blocked[i].task, list->rank);
	pfree(blocked);
	return n >= max;
}

static bool
more_timers(TaskqIdList *list, int max, void *arg)
{
	pg_uuid_t  *ids = palloc(sizeof(pg_uuid_t) * max);
	TimestampTz *dues = palloc(sizeof(TimestampTz) * max);
	int			n = taskq_timer_next(&list->from.due, &list->from.id, max, ids,
									 dues);

	for (int i = 0; i < n; i++)
		taskq_id_list_add(list, &ids[i], list->rank);
	pfree(ids);
	pfree(dues);
	return n == max;
}

static bool
more_ready(TaskqIdList *list, int max, void *arg)
{
	TaskqDue   *rows = palloc(sizeof(TaskqDue) * max);
	int			n = taskq_ready_next(list->lane, &list->from, max, rows);

	for (int i = 0; i < n; i++)
		taskq_id_list_add(list, &rows[i].id, list->rank);
	pfree(rows);
	return n == max;
}

/* Of a lane with concurrency keys; at once, for they are not in an order. */
static bool
more_keyed(TaskqIdList *list, int max, void *arg)
{
	TaskqRead	read;
	TaskqKeyed	keyed;

	taskq_keyed_begin(&read, list->lane, PG_INT64_MIN, NULL);
	while (taskq_keyed_next(&read, &keyed))
	{
		CHECK_FOR_INTERRUPTS();
		taskq_id_list_add(list, &keyed.at.id, list->rank);
	}
	taskq_read_end(&read);
	return false;
}

/* ---- which ways there are ---- */

static bool
wants(const Listing *listing, const char *state)
{
	return taskq_filter_state(&listing->filter, state);
}

/* Does it ask for states, and all of them are among these? */
static bool
only(const Listing *listing, int n, const char *const *states)
{
	ListCell   *lc;

	foreach(lc, listing->filter.states)
	{
		bool		among = false;

		for (int i = 0; i < n; i++)
			among |= strcmp(states[i], lfirst(lc)) == 0;
		if (!among)
			return false;
	}
	return listing->filter.states != NIL;
}

/* A lane's ids that come after the place where the page begins, if any. */
static bool
lane_range(const Listing *listing, int64 rank, TaskqIdRange *range)
{
	*range = listing->range;
	if (by_id(listing) || !listing->has_after ||
		listing->order != ORDER_PRIORITY)
		return true;
	if (rank == listing->after.rank &&
		taskq_id_cmp(&listing->after.id, &range->low) > 0)
		range->low = listing->after.id;
	return rank >= listing->after.rank;
}

static int64
lane_rank(const Listing *listing, int32 id)
{
	return listing->order == ORDER_PRIORITY ? -taskq_lane_get(id)->priority
		: 0;
}

/* The lanes of the filter, from their beginnings. */
static void
add_lanes(Listing *listing)
{
	TaskqMerge *merge = add_way(listing, listing->order != ORDER_DURATION);
	ListCell   *lc;

	foreach(lc, listing->lanes)
	{
		int64		rank = lane_rank(listing, lfirst_int(lc));
		TaskqIdRange range;

		if (lane_range(listing, rank, &range))
			taskq_merge_add_lane(merge, lfirst_int(lc), &range, rank);
	}
}

/*
 * What is pending in a lane: it is where the saved watermark says, or in a
 * table of its own (see lane.c).
 */
static void
add_pending(Listing *listing, TaskqMerge *merge, int32 lane)
{
	int64		rank = lane_rank(listing, lane);
	TaskqIdRange range;
	pg_uuid_t	watermark;

	if (!lane_range(listing, rank, &range))
		return;
	if (taskq_lane_keyed(lane))
	{
		taskq_merge_add_ids(merge, more_keyed, lane, &range, rank);
		return;
	}
	taskq_merge_add_ids(merge, more_ready, lane, &range, rank);
	if (taskq_watermark_read(lane, &watermark))
	{
		taskq_id_previous(&watermark);
		if (taskq_id_cmp(&watermark, &range.low) > 0)
			range.low = watermark;
	}
	taskq_merge_add_lane(merge, lane, &range, rank);
}

/* What is not over, by where it waits. */
static void
add_unfinished(Listing *listing)
{
	bool		later = wants(listing, "retrying") ||
	wants(listing, "scheduled") || wants(listing, "blocked");
	TaskqMerge *merge = add_way(listing, by_id(listing) ||
								(listing->order == ORDER_PRIORITY && !later));
	ListCell   *lc;

	/* also what is given back just now */
	taskq_merge_add_ids(merge, more_held, 0, &listing->range, 0);
	if (wants(listing, "retrying") || wants(listing, "scheduled"))
		taskq_merge_add_ids(merge, more_timers, 0, &listing->range, 0);
	if (wants(listing, "blocked"))
		taskq_merge_add_ids(merge, more_blocked, 0, &listing->range, 0);
	if (!wants(listing, "pending") && !wants(listing, "reserved"))
		return;
	foreach(lc, listing->lanes)
		add_pending(listing, merge, lfirst_int(lc));
}

static void
find_lanes(Listing *listing)
{
	ListCell   *lc;
	int			n = 0;

	foreach(lc, taskq_lane_ids())
	{
		CHECK_FOR_INTERRUPTS();
		if (!taskq_filter_lane(&listing->filter, lfirst_int(lc)))
			continue;
		listing->lanes = lappend_int(listing->lanes, lfirst_int(lc));
		n++;
	}
	listing->by_lanes = n <= MAX_LANES;
}

/* All ways for the filter, at least one. */
static void
add_ways(Listing *listing)
{
	static const char *const held[] = {"running", "reserved"};
	static const char *const unfinished[] = {"running", "reserved", "pending",
	"retrying", "blocked"};

	if (listing->filter.ids != NIL)
		taskq_merge_add_ids(add_way(listing, true), more_asked, 0,
							&listing->range, 0);
	else if (only(listing, lengthof(held), held))
		taskq_merge_add_ids(add_way(listing, true), more_held, 0,
							&listing->range, 0);
	if (listing->ways != NIL)
		return;
	find_lanes(listing);
	if (listing->by_lanes && only(listing, lengthof(unfinished), unfinished))
		add_unfinished(listing);
	if (listing->by_lanes && (taskq_filter_by_lane(&listing->filter) ||
							  listing->order == ORDER_PRIORITY))
		add_lanes(listing);
	taskq_merge_add_leaves(add_way(listing, by_id(listing)), &listing->range,
						   0);
}

/* ---- going them ---- */

static int
place_cmp(const void *a, const void *b, void *arg)
{
	return taskq_rank_cmp(a, b, backwards(arg));
}

/* Keep the first ones of those that were found in no order. */
static void
keep_first(Listing *listing, Way *way)
{
	int			n = 0;

	qsort_arg(way->found, way->nfound, sizeof(TaskqRank), place_cmp, listing);
	for (int i = 0; i < way->nfound; i++)
	{
		if (n == 0 || !taskq_id_eq(&way->found[i].id, &way->found[n - 1].id))
			way->found[n++] = way->found[i];
	}
	way->nfound = Min(n, listing->n);
}

static void
take(Listing *listing, Way *way, TaskqRow *row)
{
	TaskqRank	place;

	place.id = *DatumGetUUIDP(taskq_row_value(row, id));
	place.rank = rank_of(listing, row);
	if (listing->order == ORDER_DURATION && place.rank == 0)
		return;
	if (listing->has_after &&
		taskq_rank_cmp(&place, &listing->after, backwards(listing)) <= 0)
		return;
	way->found[way->nfound++] = place;
	if (way->ordered)
		way->over = way->nfound == listing->n;
	else if (way->nfound == listing->n * 2)
		keep_first(listing, way);
}

/* Go a way for about so many rows; true if it is over. */
static bool
go(Listing *listing, Way *way, int64 budget)
{
	while (!way->over)
	{
		TaskqRow	row;
		TaskqRank	place;
		TaskqMergeResult result = taskq_merge_next(way->merge, &budget, &row,
												   &place);

		CHECK_FOR_INTERRUPTS();
		if (result == TASKQ_MERGE_LATER)
			return false;
		if (result == TASKQ_MERGE_END)
			way->over = true;
		else if (taskq_filter_row(&listing->filter, &row))
			take(listing, way, &row);
	}
	if (!way->ordered)
		keep_first(listing, way);
	return true;
}

/* The tasks of a page, in order; how many. */
static int
find_page(Listing *listing, TaskqRank *found)
{
	Way		   *first = NULL;
	ListCell   *lc;

	listing->ways = NIL;
	listing->lanes = NIL;
	add_ways(listing);
	for (int64 turn = FIRST_TURN; first == NULL; turn *= 2)
	{
		foreach(lc, listing->ways)
		{
			if (go(listing, lfirst(lc), turn))
			{
				first = lfirst(lc);
				break;
			}
		}
	}
	memcpy(found, first->found, sizeof(TaskqRank) * first->nfound);
	foreach(lc, listing->ways)
		taskq_merge_end(((Way *) lfirst(lc))->merge);
	return first->nfound;
}

/* ---- from SQL ---- */

static ListOrder
order_arg(FunctionCallInfo fcinfo, int n)
{
	static const char *const words[] = {"newest", "oldest", "priority",
	"duration"};
	char	   *word = taskq_arg_text(fcinfo, n, "newest");

	for (int i = 0; i < lengthof(words); i++)
	{
		if (strcmp(words[i], word) == 0)
			return i;
	}
	taskq_invalid_argument("order_by",
						   "must be newest, oldest, priority or duration");
}

/* The ids that the filter and the place where the page begins leave. */
static void
set_range(Listing *listing)
{
	TaskqIdRange *range = &listing->range;
	const TaskqWhen *created = &listing->filter.created;

	memset(&range->low, 0, UUID_LEN);
	memset(&range->high, 0xff, UUID_LEN);
	/* to the millisecond, the filter looks closer */
	if (created->from != DT_NOBEGIN)
		taskq_id_at(created->from - 1000, &range->low);
	if (created->before != DT_NOEND)
		taskq_id_at(created->before + 1000, &range->high);
	if (!listing->has_after || !by_id(listing))
		return;
	if (backwards(listing))
		taskq_id_lower(&range->high, &listing->after.id);
	else if (taskq_id_cmp(&listing->after.id, &range->low) > 0)
		range->low = listing->after.id;
}

/* The place of the task after which the page begins. */
static void
after_arg(FunctionCallInfo fcinfo, int n, Listing *listing)
{
	TaskqRow	row;

	listing->has_after = !PG_ARGISNULL(n);
	if (!listing->has_after)
		return;
	listing->after.id = *PG_GETARG_UUID_P(n);
	listing->after.rank = 0;
	if (by_id(listing))
		return;
	taskq_task_require(&listing->after.id, &row);
	listing->after.rank = rank_of(listing, &row);
}

typedef struct ListPage
{
	const Listing *listing;
	ReturnSetInfo *rsinfo;
	int			n;
} ListPage;

/* It may have changed since it was found: what is shown is what was asked. */
static void
put_row(void *to, HeapTupleHeader row)
{
	ListPage   *page = to;
	bool		isnull;
	Datum		state = GetAttributeByName(row, "state", &isnull);
	HeapTupleData tuple = {.t_len = HeapTupleHeaderGetDatumLength(row),
	.t_data = row};

	if (!taskq_filter_state(&page->listing->filter,
							TextDatumGetCString(state)))
		return;
	tuplestore_puttuple(page->rsinfo->setResult, &tuple);
	page->n++;
}

PG_FUNCTION_INFO_V1(taskq_task_list);

/*
 * taskq_task_list - task_list(filter jsonb, order_by text, after uuid, n int)
 * returns rows of taskq.task
 *
 * Raises 22023 for bad arguments; PT404 if a page that is not in the order of
 * ids is to begin after a task that is not there.
 */
Datum
taskq_task_list(PG_FUNCTION_ARGS)
{
	Listing		listing = {.order = order_arg(fcinfo, 1)};
	ListPage	page = {.listing = &listing,
	.rsinfo = (ReturnSetInfo *) fcinfo->resultinfo};
	int			n = PG_ARGISNULL(3) ? 50 : PG_GETARG_INT32(3);
	TaskqRank  *found;
	pg_uuid_t  *ids;

	if (n < 1 || n > MAX_PAGE)
		taskq_invalid_argument("n", "must be between 1 and 10000");
	taskq_defs_begin();
	taskq_tenant_check();
	taskq_filter_init(&listing.filter, true);
	if (!PG_ARGISNULL(0))
		taskq_filter_parse(&listing.filter, PG_GETARG_JSONB_P(0));
	after_arg(fcinfo, 2, &listing);
	InitMaterializedSRF(fcinfo, 0);
	found = palloc(sizeof(TaskqRank) * n);
	ids = palloc(sizeof(pg_uuid_t) * n);
	while (page.n < n)
	{
		int			nfound;

		listing.n = n - page.n;
		set_range(&listing);
		nfound = find_page(&listing, found);
		for (int i = 0; i < nfound; i++)
			ids[i] = found[i].id;
		taskq_task_rows(ids, nfound, put_row, &page);
		if (nfound < listing.n)
			break;
		listing.has_after = true;
		listing.after = found[nfound - 1];
	}
	return (Datum) 0;
}
