/*-------------------------------------------------------------------------
 *
 * list.c
 *		task_list: a page of the tasks that a filter finds, in an order.
 *
 * There are several ways to find them: all tasks, some lanes', those that wait,
 * those that have a label.  Which is the shortest is not known beforehand: how
 * many tasks there are is counted, but not where those are that suit.  So all
 * ways that there are for a filter are gone at the same time, in turns that
 * grow, until one of them has a page, or has come to its end.  That costs as
 * much as the shortest one, times their number.  If that takes long, counters
 * are read, and those are left of which they tell that another one is shorter.
 * Labels are not among what is counted, so those of a way are, bit by bit.
 *
 * A way finds more than is asked for; each task is looked at with the whole
 * filter.  Where it does not give them in the order asked for, it is gone to
 * its end, and the first ones are kept.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "api/list.h"
#include "api/list_inside.h"
#include "api/task.h"
#include "base/args.h"
#include "fmgr.h"
#include "funcapi.h"
#include "lanes/stock.h"
#include "miscadmin.h"
#include "store/labels.h"
#include "store/merge.h"
#include "store/ready.h"
#include "store/rights.h"
#include "utils/builtins.h"

#define MAX_PAGE 10000
#define CLOCK_BACK_US USECS_PER_DAY
#define FIRST_TURN 256			/* rows */
#define WEIGHED_TURN 4096		/* rows: when ways are weighed */

/* ---- going them ---- */

static int
place_cmp(const void *a, const void *b, void *arg)
{
	return taskq_rank_cmp(a, b, taskq_list_backwards(arg));
}

/* Keep the first ones of those that were found in no order. */
static void
keep_first(TaskqListing *listing, TaskqWay *way)
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

/* A task that ends just now may come as running and as slow. */
static bool
was_found(const TaskqWay *way, const pg_uuid_t *id)
{
	for (int i = 0; i < way->nfound; i++)
	{
		if (taskq_id_eq(&way->found[i].id, id))
			return true;
	}
	return false;
}

static void
take(TaskqListing *listing, TaskqWay *way, TaskqRow *row)
{
	TaskqRank	place;

	place.id = *DatumGetUUIDP(taskq_row_value(row, id));
	place.rank = taskq_list_rank(listing, row);
	if (listing->order == TASKQ_ORDER_DURATION &&
		(place.rank > -TASKQ_SLOW_US || was_found(way, &place.id)))
		return;
	if (listing->has_after &&
		taskq_rank_cmp(&place, &listing->after, taskq_list_backwards(listing)) <= 0)
		return;
	way->found[way->nfound++] = place;
	if (way->ordered)
		way->over = way->nfound == listing->n;
	else if (way->nfound == listing->n * 2)
		keep_first(listing, way);
}

/* Go a way for about so many rows; true if it is over. */
static bool
go(TaskqListing *listing, TaskqWay *way, int64 budget)
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

/* ---- leaving those that cannot be the shortest ---- */

static void
weigh_stock(const TaskqStock *stock, void *arg)
{
	TaskqListing *listing = arg;
	int64	   *cost = listing->cost;
	int64		row = !taskq_list_by_state(listing) ||
	listing->states[(unsigned char) stock->state] ? TASKQ_COST_ROW : 1;

	cost[TASKQ_THROUGH_LEAVES] += stock->n * row;
	if (stock->state == TASKQ_FAILED || stock->state == TASKQ_CANCELLED)
		cost[TASKQ_THROUGH_ENDED] += stock->n * TASKQ_COST_FOUND * TASKQ_COST_ROW;
	if (!taskq_filter_lane(&listing->filter, stock->lane))
		return;
	cost[TASKQ_THROUGH_LANES] += stock->n * row * TASKQ_COST_LANE;
	cost[TASKQ_THROUGH_LOOKED_UP] += stock->n * TASKQ_COST_FOUND * TASKQ_COST_ROW;
	if (listing->lanes_of_roles != NULL &&
		hash_search(listing->lanes_of_roles, &stock->lane, HASH_FIND, NULL))
		cost[TASKQ_THROUGH_ROLES] += stock->n * row * TASKQ_COST_LANE;
}

/* Count up to so many more of the tasks that a way looks up by labels. */
static void
count_labelled(TaskqListing *listing, TaskqWay *way, int64 max)
{
	TaskqLabelled found;

	while (way->labels != NIL && max > 0)
	{
		CHECK_FOR_INTERRUPTS();
		if (way->counting == NULL)
			way->counting = taskq_labels_begin(linitial(way->labels), NULL,
											   false);
		if (taskq_labels_next(way->counting, &found))
		{
			listing->cost[way->through] += TASKQ_COST_FOUND * TASKQ_COST_ROW;
			max--;
			continue;
		}
		taskq_labels_end(way->counting);
		way->counting = NULL;
		way->labels = list_delete_first(way->labels);
	}
}

/* Is it known that another way that is as good is shorter? */
static bool
is_longer(const TaskqListing *listing, const TaskqWay *way)
{
	ListCell   *lc;

	foreach(lc, way->through ? listing->ways : NIL)
	{
		TaskqWay   *shorter = lfirst(lc);

		if (shorter->through && shorter->labels == NIL && !shorter->left &&
			(shorter->ordered || !way->ordered) &&
			listing->cost[shorter->through] < listing->cost[way->through])
			return true;
	}
	return false;
}

/*
 * Leave the ways of which it is known that they are longer than another one:
 * what was spent on them would be spent beside it.
 */
static void
weigh(TaskqListing *listing, int64 turn)
{
	ListCell   *lc;

	if (turn == WEIGHED_TURN)
	{
		memset(listing->cost, 0, sizeof(listing->cost));
		taskq_stock_read(weigh_stock, listing);
	}
	foreach(lc, listing->ways)
	{
		TaskqWay   *way = lfirst(lc);

		if (way->left)
			continue;
		count_labelled(listing, way, turn);
		way->left = is_longer(listing, way);
	}
}

/* The tasks of a page, in order; how many. */
static int
find_page(TaskqListing *listing, TaskqRank *found)
{
	TaskqWay   *first = NULL;
	ListCell   *lc;

	taskq_list_ways(listing);
	for (int64 turn = FIRST_TURN; first == NULL; turn *= 2)
	{
		if (turn >= WEIGHED_TURN && list_length(listing->ways) > 1)
			weigh(listing, turn);
		foreach(lc, listing->ways)
		{
			TaskqWay   *way = lfirst(lc);

			if (!way->left && go(listing, way, turn))
			{
				first = way;
				break;
			}
		}
	}
	memcpy(found, first->found, sizeof(TaskqRank) * first->nfound);
	foreach(lc, listing->ways)
	{
		TaskqWay   *way = lfirst(lc);

		if (way->counting != NULL)
			taskq_labels_end(way->counting);
		taskq_merge_end(way->merge);
	}
	if (listing->lanes_of_roles != NULL)
		hash_destroy(listing->lanes_of_roles);
	return first->nfound;
}

/* Who may see one tenant's tasks only is not to look through others'. */
static void
limit_tenant(TaskqFilter *filter)
{
	const char *tenant = taskq_tenant_only();

	if (tenant != NULL && filter->tenants == NIL)
		taskq_filter_tenants(filter, list_make1(pstrdup(tenant)));
}

/*
 * taskq_list_ids - the oldest tasks that a filter finds, after one id up to
 * and with another; how many of at most max
 */
int
taskq_list_ids(const TaskqFilter *filter, const pg_uuid_t *after,
			   const pg_uuid_t *last, int max, pg_uuid_t *ids)
{
	TaskqListing listing = {.filter = *filter,.order = TASKQ_ORDER_OLDEST,.n = max};
	TaskqRank  *found = palloc(sizeof(TaskqRank) * max);
	int			n;

	limit_tenant(&listing.filter);
	listing.range.low = *after;
	listing.range.high = *last;
	taskq_id_next(&listing.range.high);
	n = find_page(&listing, found);
	for (int i = 0; i < n; i++)
		ids[i] = found[i].id;
	pfree(found);
	return n;
}

/* ---- from SQL ---- */

static TaskqListOrder
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

/*
 * What began, or ended, before a moment was submitted before it: but for what
 * the clock was set back meanwhile.
 */
static void
submitted_before(TaskqIdRange *range, TimestampTz moment)
{
	pg_uuid_t	end;

	if (TIMESTAMP_NOT_FINITE(moment))
		return;
	taskq_id_at(moment + CLOCK_BACK_US, &end);
	taskq_id_lower(&range->high, &end);
}

/* The ids that the filter and the place where the page begins leave. */
static void
set_range(TaskqListing *listing)
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
	submitted_before(range, listing->filter.started.before);
	submitted_before(range, listing->filter.finished.before);
	if (!listing->has_after || !taskq_list_by_id(listing))
		return;
	if (taskq_list_backwards(listing))
		taskq_id_lower(&range->high, &listing->after.id);
	else if (taskq_id_cmp(&listing->after.id, &range->low) > 0)
		range->low = listing->after.id;
}

/* The place of the task after which the page begins. */
static void
after_arg(FunctionCallInfo fcinfo, int n, TaskqListing *listing)
{
	TaskqRow	row;

	listing->has_after = !PG_ARGISNULL(n);
	if (!listing->has_after)
		return;
	listing->after.id = *PG_GETARG_UUID_P(n);
	listing->after.rank = 0;
	if (taskq_list_by_id(listing))
		return;
	taskq_task_require(&listing->after.id, &row);
	listing->after.rank = taskq_list_rank(listing, &row);
}

typedef struct ListPage
{
	const TaskqListing *listing;
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
	TaskqListing listing = {.order = order_arg(fcinfo, 1)};
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
	limit_tenant(&listing.filter);
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
