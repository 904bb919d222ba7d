/*-------------------------------------------------------------------------
 *
 * list_ways.c
 *		The ways on which the tasks that a filter finds can be found.
 *
 * Each is a merge of ordered sources: leaves, lanes, what waits somewhere, what
 * has a label.  It finds all that the filter does, and more.  Which of them is
 * gone is for list.c to find out.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "api/list_inside.h"
#include "lanes/first.h"
#include "miscadmin.h"
#include "store/dependencies.h"
#include "store/keyed.h"
#include "store/labels.h"
#include "store/leases.h"
#include "store/merge.h"
#include "store/ready.h"
#include "store/rights.h"
#include "store/state.h"
#include "store/tasks.h"
#include "store/timers.h"
#include "utils/hsearch.h"

#define MAX_LANES 2000			/* of one way */
#define MAX_LANES_ENDED 200		/* of one that has a label for each */
#define MAX_RANKED 10000		/* tasks with a label, looked up at once */

/*
 * A kind's definition is taken to be committed so long after it was made: what
 * is submitted meanwhile is looked for without its label.
 */
#define MEMBER_COMMITTED_US (INT64CONST(3600) * USECS_PER_SEC)

/* taskq_list_backwards - does it want the newest first? */
bool
taskq_list_backwards(const TaskqListing *listing)
{
	return listing->order == TASKQ_ORDER_NEWEST;
}

/* taskq_list_by_id - is it in the order of ids? */
bool
taskq_list_by_id(const TaskqListing *listing)
{
	return listing->order <= TASKQ_ORDER_OLDEST;
}

static bool
tuple_suits(void *arg, HeapTuple tuple, TupleDesc desc)
{
	TaskqFilter *filter = &((TaskqListing *) arg)->filter;
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
by_end(const TaskqListing *listing)
{
	return listing->filter.finished.from != DT_NOBEGIN ||
		listing->filter.finished.before != DT_NOEND;
}

/* taskq_list_by_state - are there stored states that cannot suit? */
bool
taskq_list_by_state(const TaskqListing *listing)
{
	return listing->filter.states != NIL || by_end(listing);
}

static TaskqMerge *
add_way(TaskqListing *listing, TaskqWayThrough through, bool ordered)
{
	TaskqWay   *way = palloc0(sizeof(TaskqWay));

	way->merge = taskq_merge_begin(taskq_list_backwards(listing), tuple_suits, listing,
								   listing->ways
								   ? ((TaskqWay *) linitial(listing->ways))->merge
								   : NULL);
	way->ordered = ordered;
	way->found = palloc(sizeof(TaskqRank) * listing->n * 2);
	way->through = through;
	listing->ways = lappend(listing->ways, way);
	if (taskq_list_by_state(listing))
		taskq_merge_states(way->merge, listing->states);
	if (listing->held_apart)
		taskq_merge_add_ids(way->merge, more_held, 0, NULL, &listing->range,
							0);
	return way->merge;
}

/* taskq_list_rank - where a task comes in an order that is not by id */
int64
taskq_list_rank(TaskqListing *listing, TaskqRow *row)
{
	const TaskqLaneDef *lane;

	switch (listing->order)
	{
		case TASKQ_ORDER_PRIORITY:
			lane = taskq_lane_get(DatumGetInt32(taskq_row_value(row, lane)));
			return lane ? -lane->priority : 0;
		case TASKQ_ORDER_DURATION:
			return -taskq_filter_ran_us(&listing->filter, row);
		default:
			return 0;
	}
}

/* One of few tasks. */
static void
add_ranked(TaskqListing *listing, TaskqIdList *list, const pg_uuid_t *id)
{
	TaskqRow	row;

	if (taskq_list_by_id(listing))
		taskq_id_list_add(list, id, 0);
	else if (taskq_store_find(id, &row))
		taskq_id_list_add(list, id, taskq_list_rank(listing, &row));
}

typedef struct Held
{
	TaskqListing *listing;
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
	TaskqListing *listing = arg;
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
wants(const TaskqListing *listing, const char *state)
{
	return taskq_filter_state(&listing->filter, state);
}

/* Does it ask for states, and all of them are among these? */
static bool
only(const TaskqListing *listing, int n, const char *const *states)
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
lane_range(const TaskqListing *listing, int64 rank, TaskqIdRange *range)
{
	*range = listing->range;
	if (taskq_list_by_id(listing) || !listing->has_after ||
		listing->order != TASKQ_ORDER_PRIORITY)
		return true;
	if (rank == listing->after.rank &&
		taskq_id_cmp(&listing->after.id, &range->low) > 0)
		range->low = listing->after.id;
	return rank >= listing->after.rank;
}

static int64
lane_rank(const TaskqListing *listing, int32 id)
{
	return listing->order == TASKQ_ORDER_PRIORITY ? -taskq_lane_get(id)->priority
		: 0;
}

/* The lanes of the filter, from their beginnings. */
static void
add_lanes(TaskqListing *listing)
{
	TaskqMerge *merge = add_way(listing, TASKQ_THROUGH_LANES,
								listing->order != TASKQ_ORDER_DURATION);
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
 * table of its own (see lane.c).  Where it begins may have been looked for
 * already.
 */
static void
add_pending(TaskqListing *listing, TaskqMerge *merge, int32 lane)
{
	int64		rank = lane_rank(listing, lane);
	TaskqIdRange range;
	pg_uuid_t	first;
	bool		ready = true;

	if (!lane_range(listing, rank, &range))
		return;
	if (taskq_lane_keyed(lane))
	{
		taskq_merge_add_ids(merge, more_keyed, lane, NULL, &range, rank);
		return;
	}
	if (taskq_first_bounds(lane, &first, &ready) ||
		taskq_watermark_read(lane, &first))
	{
		taskq_id_previous(&first);
		if (taskq_id_cmp(&first, &range.low) > 0)
			range.low = first;
	}
	if (ready)
		taskq_merge_add_ids(merge, more_ready, lane, NULL, &range, rank);
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
add_unfinished(TaskqListing *listing)
{
	bool		timed = wants(listing, "retrying") ||
	wants(listing, "scheduled");
	TaskqMerge *merge = add_way(listing, TASKQ_THROUGH_UNKNOWN, taskq_list_by_id(listing) ||
								(listing->order == TASKQ_ORDER_PRIORITY && !timed &&
								 !wants(listing, "blocked")));
	ListCell   *lc;

	/* also what is given back just now */
	taskq_merge_add_ids(merge, more_held, 0, NULL, &listing->range, 0);
	if (timed)
	{
		taskq_merge_add_ids(merge, more_timers, 0, NULL, &listing->range, 0);
		taskq_merge_add_label(merge, taskq_label_held(), &listing->range, 0);
	}
	if (wants(listing, "blocked"))
		taskq_merge_add_ids(merge, more_blocked, 0, NULL, &listing->range, 0);
	if (!wants(listing, "pending") && !wants(listing, "reserved"))
		return;
	foreach(lc, listing->lanes)
		add_pending(listing, merge, lfirst_int(lc));
}

/* Failed and cancelled ones: of a few lanes, or all. */
static void
add_ended(TaskqListing *listing)
{
	static const char *const words[] = {"failed", "cancelled"};
	static const char states[] = {TASKQ_FAILED, TASKQ_CANCELLED};
	bool		apart = listing->by_lanes &&
	list_length(listing->lanes) <= MAX_LANES_ENDED &&
	(taskq_filter_by_lane(&listing->filter) ||
	 listing->order == TASKQ_ORDER_PRIORITY);
	TaskqMerge *merge = add_way(listing, TASKQ_THROUGH_ENDED, taskq_list_by_id(listing) ||
								(apart && listing->order == TASKQ_ORDER_PRIORITY));

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
add_slow(TaskqListing *listing)
{
	TaskqMerge *merge = add_way(listing, TASKQ_THROUGH_UNKNOWN, true);

	taskq_merge_add_ids(merge, more_held, 0, NULL, &listing->range, 0);
	taskq_merge_add_ranked(merge, taskq_label_slow(),
						   listing->has_after ? &listing->after : NULL);
}

/* What has one of these words as a tag, or its tenant. */
static void
add_called(TaskqListing *listing, TaskqWayThrough through, const List *words,
		   char *(*label) (const char *word, int len))
{
	TaskqMerge *merge = add_way(listing, through, taskq_list_by_id(listing));
	const ListCell *lc;

	foreach(lc, words)
		taskq_merge_add_label(merge, label(lfirst(lc), strlen(lfirst(lc))),
							  &listing->range, 0);
}

/* What has one of these tasks as its parent, its workflow, or the one retried. */
static void
add_of(TaskqListing *listing, const List *ids,
	   char *(*label) (const pg_uuid_t *id))
{
	TaskqMerge *merge = add_way(listing, TASKQ_THROUGH_UNKNOWN,
								taskq_list_by_id(listing));
	const ListCell *lc;

	foreach(lc, ids)
		taskq_merge_add_label(merge, label(lfirst(lc)), &listing->range, 0);
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
labels_ordered(const TaskqListing *listing, const List *labels)
{
	const ListCell *lc;

	if (listing->order != TASKQ_ORDER_PRIORITY)
		return taskq_list_by_id(listing);
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
add_roles(TaskqListing *listing, List *names)
{
	List	   *labels = submitter_labels(names);
	bool		ordered = labels_ordered(listing, labels);
	TaskqMerge *merge = add_way(listing, TASKQ_THROUGH_ROLES, ordered);
	ListCell   *lc;

	((TaskqWay *) llast(listing->ways))->labels = list_copy(labels);
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
		if (ordered && !taskq_list_by_id(listing))
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
indexed_since(const TaskqListing *listing, const char *member)
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
add_member(TaskqListing *listing, const char *label, TimestampTz since)
{
	TaskqMerge *merge = add_way(listing, TASKQ_THROUGH_UNKNOWN, taskq_list_by_id(listing));
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
add_members(TaskqListing *listing, Jsonb *object)
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
find_lanes(TaskqListing *listing)
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
add_labelled(TaskqListing *listing)
{
	const TaskqFilter *filter = &listing->filter;

	if (filter->parents != NIL)
		add_of(listing, filter->parents, taskq_label_parent);
	if (filter->workflows != NIL)
		add_of(listing, filter->workflows, taskq_label_workflow);
	if (filter->retries_of != NIL)
		add_of(listing, filter->retries_of, taskq_label_retry);
	if (filter->tags != NIL)
		add_called(listing, TASKQ_THROUGH_UNKNOWN, filter->tags,
				   taskq_label_tag);
	if (filter->tenants != NIL)
		add_called(listing, TASKQ_THROUGH_LOOKED_UP, filter->tenants,
				   taskq_label_tenant);
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
set_states(TaskqListing *listing)
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

/*
 * taskq_list_ways - find all ways for the filter, at least one
 *
 * They are merges that the caller ends, as it does lanes_of_roles.
 */
void
taskq_list_ways(TaskqListing *listing)
{
	static const char *const held[] = {"running", "reserved"};
	static const char *const unfinished[] = {"running", "reserved", "pending",
	"scheduled", "retrying", "blocked"};
	static const char *const ended[] = {"failed", "cancelled"};

	listing->ways = NIL;
	listing->lanes = NIL;
	listing->lanes_of_roles = NULL;
	set_states(listing);
	if (listing->filter.ids != NIL)
		taskq_merge_add_ids(add_way(listing, TASKQ_THROUGH_UNKNOWN, true), more_asked, 0, NULL,
							&listing->range, 0);
	else if (only(listing, lengthof(held), held))
		taskq_merge_add_ids(add_way(listing, TASKQ_THROUGH_UNKNOWN, true), more_held, 0, NULL,
							&listing->range, 0);
	if (listing->ways != NIL)
		return;
	find_lanes(listing);
	if (listing->order == TASKQ_ORDER_DURATION)
		add_slow(listing);
	if (only(listing, lengthof(ended), ended))
		add_ended(listing);
	if (listing->by_lanes && only(listing, lengthof(unfinished), unfinished))
		add_unfinished(listing);
	add_labelled(listing);
	if (listing->by_lanes && (taskq_filter_by_lane(&listing->filter) ||
							  listing->order == TASKQ_ORDER_PRIORITY))
		add_lanes(listing);
	taskq_merge_add_leaves(add_way(listing, TASKQ_THROUGH_LEAVES, taskq_list_by_id(listing)),
						   &listing->range, 0);
}
