/*-------------------------------------------------------------------------
 *
 * outbox.c
 *		Emptying the outboxes, and telling of what nobody was told of.
 *
 * Part of the dispatcher's pass.  As long as nothing goes wrong, what is in
 * an outbox gets into the feed by shared memory.  One of them is written,
 * until it is large; then another one, which is empty.  The first is emptied
 * when nobody has it locked, so that all who wrote to it are through and have
 * told: what is told by then goes into the feed in the same transaction, and
 * batches that are not through are written to the new one.
 *
 * When something may not have been told (the server has started, a dispatcher
 * was ended, there was no room, a prepared transaction is over) all that is in
 * the outboxes is compared with what the feed has got since, and those tasks
 * are looked at that are not in it: in portions, pass by pass.  Until that is
 * done none is emptied.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "base/clock.h"
#include "base/guc.h"
#include "base/shmem.h"
#include "dispatch/dispatcher.h"
#include "dispatch/outbox.h"
#include "dispatch/pass.h"
#include "lanes/live.h"
#include "lanes/outbox.h"
#include "miscadmin.h"
#include "store/defs.h"
#include "store/feed.h"
#include "store/outbox.h"
#include "store/state.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#define LARGE 1024				/* blocks of an outbox: another one's turn */
#define TURN_EVENTS 2000		/* ... is looked for after so many events */
#define BUSY_MS 250				/* till the next try, when somebody has a
								 * lock; nobody wakes up for that alone */
#define MARGIN_US USECS_PER_MINUTE	/* by which clocks may differ */
#define FEED_ROWS 50			/* read in one step */
#define STEPS 20				/* in one pass */

typedef enum Phase
{
	LOOK_NONE = 0,
	LOOK_READ,					/* the next outbox */
	LOOK_COMPARE,				/* with the feed, backwards */
	LOOK_TASKS					/* those that are not in it */
}			Phase;

static struct
{
	Phase		phase;
	uint32		doubts;			/* counted when it began */
	int			outbox;
	bool		full;			/* one is: what was not written to it is lost */
	MemoryContext context;
	pg_uuid_t  *ids;			/* sorted */
	bool	   *told;
	int			n;
	TimestampTz since;			/* the feed is read back to this moment */
	int64		before;			/* ... and has been to here */
	int			next;
}			look;

static int	passed = 0;			/* events since sizes were looked at */
static bool some_left = false;	/* another outbox than the current one may
								 * have something */
static TimestampTz again_at = 0;	/* steady time */

/* ---- looking for what was not told ---- */

static int
compare_ids(const void *a, const void *b)
{
	return memcmp(a, b, UUID_LEN);
}

/* Sort them, each once. */
static void
sort_ids(void)
{
	int			n = 0;

	qsort(look.ids, look.n, UUID_LEN, compare_ids);
	for (int i = 0; i < look.n; i++)
	{
		if (n == 0 || !taskq_id_eq(&look.ids[n - 1], &look.ids[i]))
			look.ids[n++] = look.ids[i];
	}
	look.n = n;
}

static void
begin_to_look(void)
{
	LWLockAcquire(taskq_main_lock, LW_SHARED);
	look.doubts = taskq_dispatcher.db->feed_doubts;
	LWLockRelease(taskq_main_lock);
	look.outbox = 0;
	look.full = false;
	look.phase = LOOK_READ;
	if (look.context == NULL)
		look.context = AllocSetContextCreate(TopMemoryContext,
											 "taskq outbox",
											 ALLOCSET_DEFAULT_SIZES);
}

/* Read an outbox; false if somebody has it. */
static bool
read_outbox(void)
{
	MemoryContext old;
	bool		read;

	MemoryContextReset(look.context);
	taskq_pass_begin();
	old = MemoryContextSwitchTo(look.context);
	read = taskq_outbox_read(look.outbox, &look.ids, &look.n, &look.since);
	if (read)
	{
		look.full |= taskq_outbox_blocks(look.outbox) >= TASKQ_OUTBOX_FULL;
		sort_ids();
		look.told = MemoryContextAllocExtended(look.context,
											   Max(look.n, 1),
											   MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	}
	MemoryContextSwitchTo(old);
	taskq_pass_commit();
	look.before = PG_INT64_MAX;
	look.next = 0;
	if (read)
		look.phase = look.n > 0 ? LOOK_COMPARE : LOOK_TASKS;
	return read;
}

/* Mark what some rows of the feed have, from the last one backwards. */
static void
compare_with_feed(void)
{
	TaskqFeedPage *page = palloc(sizeof(TaskqFeedPage));
	bool		more = true;

	taskq_pass_begin();
	for (int i = 0; i < FEED_ROWS && more; i++)
	{
		more = taskq_feed_before(look.before, look.since - MARGIN_US, page);
		look.before = page->first;
		for (int j = 0; j < page->n && more; j++)
		{
			pg_uuid_t  *id = bsearch(&page->events[j].id, look.ids, look.n,
									 UUID_LEN, compare_ids);

			if (id != NULL)
				look.told[id - look.ids] = true;
		}
		CHECK_FOR_INTERRUPTS();
	}
	taskq_pass_commit();
	pfree(page);
	if (!more)
		look.phase = LOOK_TASKS;
}

/*
 * Has this task ended, and nobody has told so nor will?  What a worker has
 * brought to its end it will announce; not what ended while it was set aside.
 */
static bool
has_ended(const pg_uuid_t *id, TaskqLive *live, TaskqFeedEvent * event)
{
	TaskqRow	row;

	if ((taskq_live_find(id, live) && !live->unfinished) ||
		!taskq_store_find(id, &row) ||
		!taskq_state_final(taskq_row_state(&row)))
		return false;
	event->id = *id;
	event->state = taskq_row_state(&row);
	return true;
}

/* The next tasks; false if somebody has a table locked. */
static bool
look_at_tasks(void)
{
	TaskqFeedEvent *events = palloc(sizeof(TaskqFeedEvent) * TASKQ_PORTION);
	TaskqLive  *live = palloc(sizeof(TaskqLive));
	int			n = 0;
	int			i = look.next;
	bool		free = true;

	taskq_pass_begin();
	taskq_defs_begin();
	for (; i < look.n && i < look.next + TASKQ_PORTION; i++)
	{
		if (look.told[i])
			continue;
		free = taskq_store_leaves_free(&look.ids[i]);
		if (!free)
			break;
		n += has_ended(&look.ids[i], live, &events[n]);
		CHECK_FOR_INTERRUPTS();
	}
	if (n > 0 && !taskq_feed_free())
		free = false;
	else
	{
		if (n > 0)
			(void) taskq_feed_append(events, n);
		look.next = i;
	}
	taskq_pass_commit_async();
	taskq_feed_wake();
	if (look.next == look.n)
		look.phase = ++look.outbox < TASKQ_OUTBOXES ? LOOK_READ : LOOK_NONE;
	pfree(live);
	pfree(events);
	return free;
}

/* All outboxes have been looked through. */
static void
end_look(void)
{
	MemoryContextReset(look.context);
	if (look.full)
	{
		taskq_pass_begin();
		if (taskq_feed_free())
			taskq_feed_skip();
		taskq_pass_commit_async();

		/* as long as one is full the next crash is believed to lose some, too */
		passed = TURN_EVENTS;
	}
	LWLockAcquire(taskq_main_lock, LW_EXCLUSIVE);
	taskq_dispatcher.db->feed_looked = look.doubts;
	LWLockRelease(taskq_main_lock);
	some_left = true;
	again_at = 0;
}

static void
look_on(void)
{
	bool		free = true;

	for (int i = 0; i < STEPS && look.phase != LOOK_NONE && free; i++)
	{
		if (look.phase == LOOK_READ)
			free = read_outbox();
		else if (look.phase == LOOK_COMPARE)
			compare_with_feed();
		else
			free = look_at_tasks();
		CHECK_FOR_INTERRUPTS();
	}
	if (look.phase == LOOK_NONE)
		end_look();
	taskq_look_again_in(free ? 0 : TASKQ_RETRY_MS);
}

static bool
in_doubt(void)
{
	TaskqDb    *db = taskq_dispatcher.db;

	return db->feed_looked != db->feed_doubts;
}

/* taskq_outbox_looking - may there be something that is not told yet? */
bool
taskq_outbox_looking(void)
{
	return taskq_event_retention > 0 && in_doubt();
}

/* taskq_outbox_failed - the chore raised an error; it begins anew */
void
taskq_outbox_failed(void)
{
	look.phase = LOOK_NONE;
}

/* ---- emptying ---- */

/* Another outbox than the current one that is empty, or -1. */
static int
find_empty(int current)
{
	for (int i = 1; i < TASKQ_OUTBOXES; i++)
	{
		int			outbox = (current + i) % TASKQ_OUTBOXES;

		if (taskq_outbox_blocks(outbox) == 0)
			return outbox;
	}
	return -1;
}

/* If the current one is large it is another one's turn. */
static void
take_turns(void)
{
	int			current = taskq_dispatcher.db->outbox;
	BlockNumber blocks;
	int			next = -1;

	taskq_pass_begin();
	blocks = taskq_outbox_blocks(current);
	if (blocks == InvalidBlockNumber || blocks > LARGE)
		next = find_empty(current);
	taskq_pass_commit();
	passed = 0;
	if (next < 0)
		return;
	LWLockAcquire(taskq_main_lock, LW_EXCLUSIVE);
	taskq_dispatcher.db->outbox = next;
	LWLockRelease(taskq_main_lock);
	some_left = true;
	again_at = 0;
}

/*
 * Empty an outbox that is not the current one; false if that can't be now.
 *
 * What has been told of it, before we had the lock or while slots are looked
 * at, is taken after that and goes into the feed in this transaction.
 */
static bool
empty(int outbox)
{
	TaskqUntold *slots = palloc(sizeof(TaskqUntold) * TASKQ_MAX_WORKERS);
	pg_uuid_t  *ids = palloc(sizeof(pg_uuid_t) * TASKQ_MAX_WORKERS *
							 TASKQ_BATCH_MAX);
	int			to = taskq_dispatcher.db->outbox;
	int			nslots = 0;
	int			nids = 0;
	bool		done = false;
	bool		locked = false;

	taskq_pass_begin();
	if (taskq_outbox_blocks(outbox) == 0)
		done = true;
	else if (taskq_outbox_lock(outbox) && taskq_feed_free())
		locked = true;
	if (locked)
	{
		nslots = taskq_outbox_slots(outbox, slots, ids, &nids);
		if (nids > 0)
			to = taskq_outbox_insert(to, ids, nids);
		taskq_feed_append_untold();
		/* not if the other one is full, or there was no room for an event */
		done = to >= 0 && to != outbox && !in_doubt();
		if (done)
			taskq_outbox_truncate(outbox);
		else
			nslots = 0;
	}
	HOLD_INTERRUPTS();
	taskq_pass_commit_async();
	if (done)
		taskq_outbox_moved(slots, nslots, to);
	if (locked)
		taskq_feed_appended();
	RESUME_INTERRUPTS();
	pfree(ids);
	pfree(slots);
	return done;
}

static void
empty_others(void)
{
	TimestampTz now = taskq_steady_now();
	bool		all = true;

	if (now < again_at)
		return;
	for (int i = 0; i < TASKQ_OUTBOXES && !in_doubt(); i++)
	{
		if (i != taskq_dispatcher.db->outbox)
			all &= empty(i);
		CHECK_FOR_INTERRUPTS();
	}
	some_left = !all;
	again_at = TimestampTzPlusMilliseconds(now, BUSY_MS);
}

/* taskq_outbox_passed - so many events have gone into the feed */
void
taskq_outbox_passed(int n)
{
	passed += n;
}

/*
 * taskq_see_to_outboxes - see what was not told, or empty what has been; a
 * part of the dispatcher's pass
 */
void
taskq_see_to_outboxes(void)
{
	if (taskq_event_retention == 0)
	{
		look.phase = LOOK_NONE;
		return;
	}
	if (look.phase == LOOK_NONE && in_doubt())
		begin_to_look();
	if (look.phase != LOOK_NONE)
		look_on();
	else
	{
		if (some_left)
			empty_others();
		if (passed >= TURN_EVENTS)
			take_turns();
	}
}
