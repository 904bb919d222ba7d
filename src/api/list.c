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

#include "api/filter.h"
#include "api/list.h"
#include "api/task.h"
#include "base/args.h"
#include "fmgr.h"
#include "funcapi.h"
#include "lanes/stock.h"
#include "miscadmin.h"
#include "store/dependencies.h"
#include "store/keyed.h"
#include "store/labels.h"
#include "store/leaves.h"
#include "store/leases.h"
#include "store/merge.h"
#include "store/ready.h"
#include "store/rights.h"
#include "store/state.h"
#include "store/tasks.h"
#include "store/timers.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/snapmgr.h"

#define MAX_PAGE 10000
#define MAX_LANES 2000			/* of one way */
#define MAX_LANES_ENDED 200		/* of one that has a label for each */
#define FIRST_TURN 256			/* rows */
#define WEIGHED_TURN 4096		/* rows: when ways are weighed */
#define MAX_RANKED 10000		/* tasks with a label, looked up at once */

/*
 * A kind's definition is taken to be committed so long after it was made: what
 * is submitted meanwhile is looked for without its label.
 */
#define MEMBER_COMMITTED_US (INT64CONST(3600) * USECS_PER_SEC)

typedef enum ListOrder
{
	ORDER_NEWEST,
	ORDER_OLDEST,
	ORDER_PRIORITY,				/* the most urgent first, of these the oldest */
	ORDER_DURATION				/* the longest first */
} ListOrder;

/* What a way leads past, as far as counters tell of it. */
typedef enum WayThrough
{
	THROUGH_UNKNOWN,
	THROUGH_LEAVES,				/* all tasks */
	THROUGH_LANES,				/* those of the lanes that suit */
	THROUGH_LOOKED_UP,			/* the same, each looked up */
	THROUGH_ENDED,				/* what failed or was cancelled, looked up */
	THROUGH_ROLES				/* lanes of roles, and what has labels, looked
								 * up */
}			WayThrough;

/* One way to find them. */
typedef struct Way
{
	TaskqMerge *merge;
	WayThrough	through;
	bool		ordered;		/* it gives them in the order asked for */
	bool		left;			/* another one is shorter */
	bool		over;
	List	   *labels;			/* whose tasks it looks up, not counted yet */
	TaskqLabelScan *counting;	/* of the first of these */
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
	HTAB	   *lanes_of_roles; /* of these, those of way THROUGH_ROLES */
	bool		held_apart;		/* what is held is added to each way: stored
								 * as pending it is nowhere else */
	bool		states[256];	/* stored states that can suit, by letter */
	List	   *ways;			/* of Way */
	int64		cost[THROUGH_ROLES + 1];	/* of going there to the end, as
											 * far as known, in parts of a
											 * row's */
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

static bool more_held(TaskqIdList *list, int max, void *arg);

/* Does it ask for when they were over? */
static bool
by_end(const Listing *listing)
{
	return listing->filter.finished.from != DT_NOBEGIN ||
		listing->filter.finished.before != DT_NOEND;
}

/* Are there stored states that cannot suit? */
static bool
by_state(const Listing *listing)
{
	return listing->filter.states != NIL || by_end(listing);
}

static TaskqMerge *
add_way(Listing *listing, WayThrough through, bool ordered)
{
	Way		   *way = palloc0(sizeof(Way));

	way->merge = taskq_merge_begin(backwards(listing), tuple_suits, listing,
								   listing->ways
								   ? ((Way *) linitial(listing->ways))->merge
								   : NULL);
	way->ordered = ordered;
	way->found = palloc(sizeof(TaskqRank) * listing->n * 2);
	way->through = through;
	listing->ways = lappend(listing->ways, way);
	if (by_state(listing))
		taskq_merge_states(way->merge, listing->states);
	if (listing->held_apart)
		taskq_merge_add_ids(way->merge, more_held, 0, NULL, &listing->range,
							0);
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

/* Those that have a label and are few, each with its place. */
static bool
more_labelled(TaskqIdList *list, int max, void *arg)
{
	TaskqLabelScan *scan = taskq_labels_begin(list->label, NULL, false);
	TaskqLabelled found;

	while (taskq_labels_next(scan, &found))
	{
		CHECK_FOR_INTERRUPTS();
		add_ranked(arg, list, &found.id);
	}
	taskq_labels_end(scan);
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
	TaskqMerge *merge = add_way(listing, THROUGH_LANES,
								listing->order != ORDER_DURATION);
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
		taskq_merge_add_ids(merge, more_keyed, lane, NULL, &range, rank);
		return;
	}
	taskq_merge_add_ids(merge, more_ready, lane, NULL, &range, rank);
	if (taskq_watermark_read(lane, &watermark))
	{
		taskq_id_previous(&watermark);
		if (taskq_id_cmp(&watermark, &range.low) > 0)
			range.low = watermark;
	}
	taskq_merge_add_lane(merge, lane, &range, rank);
}

/* Is that one of these roles, or (NIL) one whose tasks the caller may see? */
static bool
is_named(const List *names, const char *name, Oid role)
{
	const ListCell *lc;

	if (names == NIL)
		return taskq_role_may_see(role);
	foreach(lc, names)
	{
		if (strcmp(lfirst(lc), name) == 0)
			return true;
	}
	return false;
}

/* Have so few tasks this label that all of them can be looked up? */
static bool
few_labelled(const char *label)
{
	TaskqLabelScan *scan = taskq_labels_begin(label, NULL, false);
	TaskqLabelled found;
	int			n = 0;

	while (n <= MAX_RANKED && taskq_labels_next(scan, &found))
		n++;
	taskq_labels_end(scan);
	return n <= MAX_RANKED;
}

/* What is not over, by where it waits. */
static void
add_unfinished(Listing *listing)
{
	bool		timed = wants(listing, "retrying") ||
	wants(listing, "scheduled");
	TaskqMerge *merge = add_way(listing, THROUGH_UNKNOWN, by_id(listing) ||
								(listing->order == ORDER_PRIORITY && !timed &&
								 !wants(listing, "blocked")));
	ListCell   *lc;

	/* also what is given back just now */
	taskq_merge_add_ids(merge, more_held, 0, NULL, &listing->range, 0);
	if (timed)
		taskq_merge_add_ids(merge, more_timers, 0, NULL, &listing->range, 0);
	if (wants(listing, "scheduled"))
		taskq_merge_add_label(merge, taskq_label_held(), &listing->range, 0);
	if (wants(listing, "blocked"))
		taskq_merge_add_ids(merge, more_blocked, 0, NULL, &listing->range, 0);
	if (!wants(listing, "pending") && !wants(listing, "reserved"))
		return;
	foreach(lc, listing->lanes)
		add_pending(listing, merge, lfirst_int(lc));
}

/* Failed and cancelled ones: of a few lanes, or all. */
static void
add_ended(Listing *listing)
{
	static const char *const words[] = {"failed", "cancelled"};
	static const char states[] = {TASKQ_FAILED, TASKQ_CANCELLED};
	bool		apart = listing->by_lanes &&
	list_length(listing->lanes) <= MAX_LANES_ENDED &&
	(taskq_filter_by_lane(&listing->filter) ||
	 listing->order == ORDER_PRIORITY);
	TaskqMerge *merge = add_way(listing, THROUGH_ENDED, by_id(listing) ||
								(apart && listing->order == ORDER_PRIORITY));

	for (int i = 0; i < lengthof(words); i++)
	{
		ListCell   *lc;

		if (!wants(listing, words[i]))
			continue;
		if (!apart)
			taskq_merge_add_label(merge, taskq_label_ended(states[i], 0),
								  &listing->range, 0);
		foreach(lc, apart ? listing->lanes : NIL)
		{
			int64		rank = lane_rank(listing, lfirst_int(lc));
			TaskqIdRange range;

			if (lane_range(listing, rank, &range))
				taskq_merge_add_label(merge,
									  taskq_label_ended(states[i],
														lfirst_int(lc)),
									  &range, rank);
		}
	}
}

/* Those that ran for long: only they are in this order. */
static void
add_slow(Listing *listing)
{
	TaskqMerge *merge = add_way(listing, THROUGH_UNKNOWN, true);

	taskq_merge_add_ids(merge, more_held, 0, NULL, &listing->range, 0);
	taskq_merge_add_ranked(merge, taskq_label_slow(),
						   listing->has_after ? &listing->after : NULL);
}

static void
add_tags(Listing *listing)
{
	TaskqMerge *merge = add_way(listing, THROUGH_UNKNOWN, by_id(listing));
	ListCell   *lc;

	foreach(lc, listing->filter.tags)
		taskq_merge_add_label(merge,
							  taskq_label_tag(lfirst(lc), strlen(lfirst(lc))),
							  &listing->range, 0);
}

static void
add_tenants(Listing *listing)
{
	TaskqMerge *merge = add_way(listing, THROUGH_LOOKED_UP, by_id(listing));
	ListCell   *lc;

	foreach(lc, listing->filter.tenants)
		taskq_merge_add_label(merge,
							  taskq_label_tenant(lfirst(lc),
												 strlen(lfirst(lc))),
							  &listing->range, 0);
}

static void
add_children(Listing *listing)
{
	TaskqMerge *merge = add_way(listing, THROUGH_UNKNOWN, by_id(listing));
	ListCell   *lc;

	foreach(lc, listing->filter.parents)
		taskq_merge_add_label(merge, taskq_label_parent(lfirst(lc)),
							  &listing->range, 0);
}

static void
add_workflows(Listing *listing)
{
	TaskqMerge *merge = add_way(listing, THROUGH_UNKNOWN, by_id(listing));
	ListCell   *lc;

	foreach(lc, listing->filter.workflows)
		taskq_merge_add_label(merge, taskq_label_workflow(lfirst(lc)),
							  &listing->range, 0);
}

static void
add_retries(Listing *listing)
{
	TaskqMerge *merge = add_way(listing, THROUGH_UNKNOWN, by_id(listing));
	ListCell   *lc;

	foreach(lc, listing->filter.retries_of)
		taskq_merge_add_label(merge, taskq_label_retry(lfirst(lc)),
							  &listing->range, 0);
}

/* Labels of what these roles submitted that runs as others. */
static List *
submitter_labels(List *names)
{
	List	   *labels = NIL;
	ListCell   *lc;

	foreach(lc, taskq_role_ids())
	{
		NameData	name;
		Oid			oid;

		if (taskq_role_read(lfirst_int(lc), &name, &oid) &&
			is_named(names, NameStr(name), oid))
			labels = lappend(labels, taskq_label_submitter(lfirst_int(lc)));
	}
	return labels;
}

/*
 * Can lanes and labels be gone in the order asked for?  A label does not know
 * priorities: then its tasks are looked up before the first is given, which
 * must not be a million while another way has a page.
 */
static bool
labels_ordered(const Listing *listing, const List *labels)
{
	const ListCell *lc;

	if (listing->order != ORDER_PRIORITY)
		return by_id(listing);
	foreach(lc, labels)
	{
		if (!few_labelled(lfirst(lc)))
			return false;
	}
	return true;
}

static HTAB *
lanes_set(void)
{
	HASHCTL		ctl = {.keysize = sizeof(int32),.entrysize = sizeof(int32),
	.hcxt = CurrentMemoryContext};

	return hash_create("taskq lanes of roles", 64, &ctl,
					   HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
}

/*
 * What these roles submitted (NIL: those whose tasks the caller may see): in
 * the lanes of each, and what runs as others.
 */
static void
add_roles(Listing *listing, List *names)
{
	List	   *labels = submitter_labels(names);
	bool		ordered = labels_ordered(listing, labels);
	TaskqMerge *merge = add_way(listing, THROUGH_ROLES, ordered);
	ListCell   *lc;

	((Way *) llast(listing->ways))->labels = list_copy(labels);
	listing->lanes_of_roles = lanes_set();
	foreach(lc, listing->lanes)
	{
		const TaskqLaneDef *lane = taskq_lane_get(lfirst_int(lc));
		int64		rank = lane_rank(listing, lane->id);
		TaskqIdRange range;

		if (!is_named(names, NameStr(lane->role_name), lane->role_oid) ||
			!lane_range(listing, rank, &range))
			continue;
		taskq_merge_add_lane(merge, lane->id, &range, rank);
		(void) hash_search(listing->lanes_of_roles, &lane->id, HASH_ENTER,
						   NULL);
	}
	foreach(lc, labels)
	{
		if (ordered && !by_id(listing))
			taskq_merge_add_ids(merge, more_labelled, 0, lfirst(lc),
								&listing->range, 0);
		else
			taskq_merge_add_label(merge, lfirst(lc), &listing->range, 0);
	}
}

/* ---- members that kinds name ---- */

/*
 * Since when all of the kinds asked for name this member; DT_NOEND: some do
 * not.
 */
static TimestampTz
indexed_since(const Listing *listing, const char *member)
{
	TimestampTz since = DT_NOBEGIN;
	ListCell   *lc;

	foreach(lc, listing->filter.kinds)
	{
		const TaskqKind *kind = taskq_kind_get(lfirst(lc));
		bool		named = false;
		ListCell   *name;

		if (kind == NULL)
			return DT_NOEND;
		foreach(name, kind->indexed)
			named |= strcmp(lfirst(name), member) == 0;
		if (!named)
			return DT_NOEND;
		since = Max(since, kind->indexed_since);
	}
	return since == DT_NOBEGIN ? DT_NOEND : since;
}

/*
 * Those in which a member has this value: by the label, and what was submitted
 * before there was one, by its lane.
 */
static void
add_member(Listing *listing, const char *label, TimestampTz since)
{
	TaskqMerge *merge = add_way(listing, THROUGH_UNKNOWN, by_id(listing));
	TaskqIdRange before = listing->range;
	pg_uuid_t	first;
	ListCell   *lc;

	taskq_merge_add_label(merge, label, &listing->range, 0);
	/* the definition is committed later than it was made */
	taskq_id_at(since + MEMBER_COMMITTED_US, &first);
	taskq_id_lower(&before.high, &first);
	foreach(lc, listing->lanes)
		taskq_merge_add_lane(merge, lfirst_int(lc), &before, 0);
}

static void
add_members(Listing *listing, Jsonb *object)
{
	JsonbIterator *iterator;
	JsonbIteratorToken token;
	JsonbValue	key;
	JsonbValue	value;

	if (object == NULL || listing->filter.kinds == NIL)
		return;
	iterator = JsonbIteratorInit(&object->root);
	while ((token = JsonbIteratorNext(&iterator, &key, true)) != WJB_DONE)
	{
		char	   *name;
		char	   *label;
		TimestampTz since;

		if (token != WJB_KEY)
			continue;
		(void) JsonbIteratorNext(&iterator, &value, true);
		name = pnstrdup(key.val.string.val, key.val.string.len);
		label = taskq_label_value(name, &value);
		since = label ? indexed_since(listing, name) : DT_NOEND;
		if (since != DT_NOEND)
			add_member(listing, label, since);
	}
}

/* ---- all of them ---- */

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

/* Ways of labels that are for one member of the filter each. */
static void
add_labelled(Listing *listing)
{
	const TaskqFilter *filter = &listing->filter;

	if (filter->parents != NIL)
		add_children(listing);
	if (filter->workflows != NIL)
		add_workflows(listing);
	if (filter->retries_of != NIL)
		add_retries(listing);
	if (filter->tags != NIL)
		add_tags(listing);
	if (filter->tenants != NIL)
		add_tenants(listing);
	if (!listing->by_lanes)
		return;
	add_members(listing, filter->payload);
	add_members(listing, filter->metadata);
	if (filter->submitters != NIL)
		add_roles(listing, filter->submitters);
	else if (!taskq_role_may_see(InvalidOid))
		add_roles(listing, NIL);
}

/*
 * Which stored states can be those that are asked for?  Few of those that are
 * stored as pending run: who asks for what runs, and not for what waits, finds
 * it among what is held.
 */
static void
set_states(Listing *listing)
{
	static const char letters[] = {TASKQ_PENDING, TASKQ_SCHEDULED,
		TASKQ_RETRYING, TASKQ_BLOCKED, TASKQ_RUNNING, TASKQ_LEASED,
	TASKQ_COMPLETED, TASKQ_FAILED, TASKQ_CANCELLED};
	const TaskqFilter *filter = &listing->filter;

	listing->held_apart = filter->look && !wants(listing, "pending") &&
		(wants(listing, "running") || wants(listing, "reserved"));
	for (int i = 0; i < lengthof(letters); i++)
	{
		unsigned char letter = (unsigned char) letters[i];

		if (by_end(listing) && !taskq_state_final(letters[i]))
			continue;
		if (!listing->held_apart)
			listing->states[letter] = taskq_filter_stored(filter, letter);
		else if (letter != TASKQ_PENDING && letter != TASKQ_RUNNING)
			listing->states[letter] = wants(listing,
											taskq_state_name(letter));
	}
}

/* All ways for the filter, at least one. */
static void
add_ways(Listing *listing)
{
	static const char *const held[] = {"running", "reserved"};
	static const char *const unfinished[] = {"running", "reserved", "pending",
	"scheduled", "retrying", "blocked"};
	static const char *const ended[] = {"failed", "cancelled"};

	if (listing->filter.ids != NIL)
		taskq_merge_add_ids(add_way(listing, THROUGH_UNKNOWN, true), more_asked, 0, NULL,
							&listing->range, 0);
	else if (only(listing, lengthof(held), held))
		taskq_merge_add_ids(add_way(listing, THROUGH_UNKNOWN, true), more_held, 0, NULL,
							&listing->range, 0);
	if (listing->ways != NIL)
		return;
	find_lanes(listing);
	if (listing->order == ORDER_DURATION)
		add_slow(listing);
	if (only(listing, lengthof(ended), ended))
		add_ended(listing);
	if (listing->by_lanes && only(listing, lengthof(unfinished), unfinished))
		add_unfinished(listing);
	add_labelled(listing);
	if (listing->by_lanes && (taskq_filter_by_lane(&listing->filter) ||
							  listing->order == ORDER_PRIORITY))
		add_lanes(listing);
	taskq_merge_add_leaves(add_way(listing, THROUGH_LEAVES, by_id(listing)),
						   &listing->range, 0);
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

/* A task that ends just now may come as running and as slow. */
static bool
was_found(const Way *way, const pg_uuid_t *id)
{
	for (int i = 0; i < way->nfound; i++)
	{
		if (taskq_id_eq(&way->found[i].id, id))
			return true;
	}
	return false;
}

static void
take(Listing *listing, Way *way, TaskqRow *row)
{
	TaskqRank	place;

	place.id = *DatumGetUUIDP(taskq_row_value(row, id));
	place.rank = rank_of(listing, row);
	if (listing->order == ORDER_DURATION &&
		(place.rank > -TASKQ_SLOW_US || was_found(way, &place.id)))
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

/* ---- leaving those that cannot be the shortest ---- */

static void
weigh_stock(const TaskqStock *stock, void *arg)
{
	Listing    *listing = arg;
	int64	   *cost = listing->cost;
	int64		row = !by_state(listing) ||
	listing->states[(unsigned char) stock->state] ? TASKQ_COST_ROW : 1;

	cost[THROUGH_LEAVES] += stock->n * row;
	if (stock->state == TASKQ_FAILED || stock->state == TASKQ_CANCELLED)
		cost[THROUGH_ENDED] += stock->n * TASKQ_COST_FOUND * TASKQ_COST_ROW;
	if (!taskq_filter_lane(&listing->filter, stock->lane))
		return;
	cost[THROUGH_LANES] += stock->n * row * TASKQ_COST_LANE;
	cost[THROUGH_LOOKED_UP] += stock->n * TASKQ_COST_FOUND * TASKQ_COST_ROW;
	if (listing->lanes_of_roles != NULL &&
		hash_search(listing->lanes_of_roles, &stock->lane, HASH_FIND, NULL))
		cost[THROUGH_ROLES] += stock->n * row * TASKQ_COST_LANE;
}

/* Count up to so many more of the tasks that a way looks up by labels. */
static void
count_labelled(Listing *listing, Way *way, int64 max)
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
is_longer(const Listing *listing, const Way *way)
{
	ListCell   *lc;

	foreach(lc, way->through ? listing->ways : NIL)
	{
		Way		   *shorter = lfirst(lc);

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
weigh(Listing *listing, int64 turn)
{
	ListCell   *lc;

	if (turn == WEIGHED_TURN)
	{
		memset(listing->cost, 0, sizeof(listing->cost));
		taskq_stock_read(weigh_stock, listing);
	}
	foreach(lc, listing->ways)
	{
		Way		   *way = lfirst(lc);

		if (way->left)
			continue;
		count_labelled(listing, way, turn);
		way->left = is_longer(listing, way);
	}
}

/* The tasks of a page, in order; how many. */
static int
find_page(Listing *listing, TaskqRank *found)
{
	Way		   *first = NULL;
	ListCell   *lc;

	listing->ways = NIL;
	listing->lanes = NIL;
	listing->lanes_of_roles = NULL;
	set_states(listing);
	add_ways(listing);
	for (int64 turn = FIRST_TURN; first == NULL; turn *= 2)
	{
		if (turn >= WEIGHED_TURN && list_length(listing->ways) > 1)
			weigh(listing, turn);
		foreach(lc, listing->ways)
		{
			Way		   *way = lfirst(lc);

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
		Way		   *way = lfirst(lc);

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
	Listing		listing = {.filter = *filter,.order = ORDER_OLDEST,.n = max};
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
