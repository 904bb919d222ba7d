/*-------------------------------------------------------------------------
 *
 * events.c
 *		What becomes of the news that tasks have ended: rows of the feed, and
 *		notifications.
 *
 * Two parts of the dispatcher's pass, each with a queue of its own, so that
 * trouble with one does not keep back the other.  First the feed, so that who
 * is notified finds it there.
 *
 * The feed's commit does not wait for the disk: who reads it does.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "base/guc.h"
#include "base/shmem.h"
#include "dispatch/dispatcher.h"
#include "dispatch/outbox.h"
#include "dispatch/pass.h"
#include "lanes/event.h"
#include "lanes/outbox.h"
#include "miscadmin.h"
#include "store/feed.h"
#include "store/state.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#define MAX_UNFED 100000		/* events that wait for the feed's table */
#define MAX_KEPT 10000000		/* ... and that are kept there */
#define FORGET 50				/* rows deleted when some are written */
#define BUSY_MS 250				/* till the next try, when somebody has the
								 * table */

typedef struct Queue
{
	TaskqEvent *events;
	int			n;
	int			room;
} Queue;

static Queue unfed;
static Queue untold;

static bool in_doubt = false;	/* there was no room in a queue */
static int	appended = 0;		/* of unfed, by this transaction */
static bool off_told = false;	/* the feed says that it is off */

static void
add(Queue *queue, const TaskqEvent *event)
{
	if (queue->events == NULL)
	{
		queue->room = 1024;
		queue->events = MemoryContextAlloc(TopMemoryContext,
										   sizeof(TaskqEvent) * queue->room);
	}
	else if (queue->n == queue->room)
	{
		queue->room *= 2;
		queue->events = repalloc_huge(queue->events,
									  sizeof(TaskqEvent) * queue->room);
	}
	queue->events[queue->n++] = *event;
}

static void
sort_out(const TaskqEvent *event)
{
	bool		final = taskq_state_final(event->state);

	if (taskq_notify == TASKQ_NOTIFY_ALL ||
		(taskq_notify == TASKQ_NOTIFY_FINAL && final))
		add(&untold, event);
	if (!final || taskq_event_retention == 0)
		return;
	if (unfed.n < MAX_UNFED)
		add(&unfed, event);
	else
		in_doubt = true;
}

/* What there is in shared memory. */
static void
take(void)
{
	TaskqEvent	events[TASKQ_PORTION];
	int			n;

	if (taskq_dispatcher.db->nevents == 0)
		return;
	do
	{
		LWLockAcquire(taskq_main_lock, LW_EXCLUSIVE);
		n = taskq_event_take(MyDatabaseId, events, lengthof(events));
		LWLockRelease(taskq_main_lock);
		for (int i = 0; i < n; i++)
			sort_out(&events[i]);
		CHECK_FOR_INTERRUPTS();
	} while (n == lengthof(events));
	if (!in_doubt)
		return;
	in_doubt = false;
	LWLockAcquire(taskq_main_lock, LW_EXCLUSIVE);
	taskq_feed_doubt(taskq_dispatcher.db);
	LWLockRelease(taskq_main_lock);
}

/* taskq_events_untold - is there something of which only this process knows? */
bool
taskq_events_untold(void)
{
	return unfed.n > 0 || untold.n > 0;
}

/* ---- the feed ---- */

/* What nobody is told any more. */
static void
forget_old(void)
{
	static int64 from = 0;
	TimestampTz before = GetCurrentTimestamp() -
	taskq_event_retention * USECS_PER_MINUTE;

	(void) taskq_feed_forget(&from, before, MAX_KEPT, FORGET);
}

static void
append_all(void)
{
	TaskqFeedEvent *events;

	appended = unfed.n;
	if (unfed.n == 0)
		return;
	events = palloc_extended(sizeof(TaskqFeedEvent) * unfed.n,
							 MCXT_ALLOC_HUGE);
	for (int i = 0; i < unfed.n; i++)
	{
		events[i].id = unfed.events[i].id;
		events[i].state = unfed.events[i].state;
	}
	(void) taskq_feed_append(events, unfed.n);
	pfree(events);
}

/* taskq_feed_wake - who waits for something new in the feed looks again */
void
taskq_feed_wake(void)
{
	/* they count themselves before they look */
	pg_memory_barrier();
	if (pg_atomic_read_u32(&taskq_shared->feed_readers) > 0)
		ConditionVariableBroadcast(&taskq_shared->fed);
}

/*
 * taskq_feed_append_untold - append what has been told by now, in the
 * caller's transaction
 *
 * After its commit: taskq_feed_appended.
 */
void
taskq_feed_append_untold(void)
{
	take();
	append_all();
}

/* taskq_feed_appended - the transaction that has appended is committed */
void
taskq_feed_appended(void)
{
	if (appended == 0)
		return;
	taskq_outbox_passed(appended);
	unfed.n -= appended;
	memmove(unfed.events, unfed.events + appended,
			sizeof(TaskqEvent) * unfed.n);
	appended = 0;
	taskq_feed_wake();
}

/*
 * There is no feed: what was in it goes, and who goes on one day from where
 * he was is told that there were others.
 */
static void
turn_off(void)
{
	static int64 from = 0;
	int			n = 0;

	unfed.n = 0;
	if (off_told)
		return;
	taskq_pass_begin();
	if (taskq_feed_free())
	{
		if (taskq_feed_last(NULL) > 0)
			taskq_feed_skip();
		n = taskq_feed_forget(&from, DT_NOEND, 0, FORGET * 20);
		off_told = n < FORGET * 20;
	}
	taskq_pass_commit_async();
	if (!off_told)
		taskq_look_again_in(BUSY_MS);
}

/* taskq_feed_events - write into the feed what has ended */
void
taskq_feed_events(void)
{
	bool		free;

	take();
	if (taskq_event_retention == 0)
	{
		turn_off();
		return;
	}
	off_told = false;
	if (unfed.n == 0)
		return;
	taskq_pass_begin();
	free = taskq_feed_free();
	if (free)
	{
		append_all();
		forget_old();
	}
	taskq_pass_commit_async();
	if (free)
		taskq_feed_appended();
	else
		taskq_look_again_in(BUSY_MS);
}

/* ---- notifications ---- */

/*
 * taskq_send_untold - notify listeners of what is in this process; true if
 * there was something
 *
 * What can't be sent is lost to them, what is not come to is not.
 */
bool
taskq_send_untold(void)
{
	bool		any = untold.n > 0;

	while (untold.n > 0)
	{
		int			n = Min(TASKQ_PORTION, untold.n);

		taskq_event_send(untold.events, n);
		untold.n -= n;
		memmove(untold.events, untold.events + n,
				sizeof(TaskqEvent) * untold.n);
		CHECK_FOR_INTERRUPTS();
	}
	return any;
}

/*
 * taskq_send_events - notify listeners of what has changed; true if there was
 * something
 */
bool
taskq_send_events(void)
{
	take();
	return taskq_send_untold();
}
