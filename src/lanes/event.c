/*-------------------------------------------------------------------------
 *
 * event.c
 *		Telling the world that tasks ended: waiters at once, listeners by NOTIFY.
 *
 * NOTIFY takes a lock of the whole database at commit, so the process that
 * finishes a task never sends one.  It leaves an event in shared memory,
 * after the result is durable, and the database's dispatcher sends them in
 * batches.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "base/clock.h"
#include "base/compat.h"
#include "base/guc.h"
#include "base/watched.h"
#include "commands/async.h"
#include "lanes/event.h"
#include "lanes/outbox.h"
#include "lanes/waiting.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "nodes/value.h"
#include "store/state.h"
#include "utils/memutils.h"

#define CHANNEL "taskq"
#define READY_CHANNEL "taskq:ready:"
#define ROOM_MS 1000			/* that a worker waits for room, once a batch */

/* taskq_event_bucket - what waiters for this task sleep on */
ConditionVariable *
taskq_event_bucket(const pg_uuid_t *id)
{
	return &taskq_shared->finished[id->data[UUID_LEN - 1] % TASKQ_WAIT_BUCKETS];
}

/*
 * Is there room for n events of a database?  Of one that is gone nobody wants
 * any.
 */
static bool
has_room(const TaskqDb *db, int n)
{
	return db == NULL || (taskq_shared->nevents + n <= TASKQ_EVENTS &&
						  db->nevents + n <= TASKQ_DB_EVENTS);
}

/* Is there somebody who is told of tasks that come to this state? */
static bool
is_wanted(char state)
{
	if (taskq_state_final(state))
		return taskq_notify != TASKQ_NOTIFY_OFF || taskq_event_retention > 0;
	return taskq_notify == TASKQ_NOTIFY_ALL;
}

/*
 * taskq_event_push - a task came to this state
 *
 * Wakes those who wait for it, tells the dispatcher if other tasks may wait
 * for it, and leaves an event.  Never fails: an event for which there is no room is counted as lost.
 */
void
taskq_event_push(TaskqDb *db, const pg_uuid_t *id, char state)
{
	TaskqEvent *event;

	taskq_watched_wake(id);
	if (db->awaited && taskq_state_final(state))
		taskq_waiting_ended(db, id);
	if (taskq_state_final(state) &&
		pg_atomic_read_u32(&taskq_shared->waiters) > 0)
	{
		ConditionVariableBroadcast(taskq_event_bucket(id));
		ConditionVariableBroadcast(&taskq_shared->finished_any);
	}

	if (!is_wanted(state))
		return;
	if (!has_room(db, 1))
	{
		taskq_shared->events_lost++;
		if (taskq_state_final(state))
			taskq_feed_doubt(db);
		return;
	}
	if (db->nevents == 0)
		db->events_since = taskq_steady_now();
	event = &taskq_shared->events[taskq_shared->nevents++];
	event->dbid = db->dbid;
	event->id = *id;
	event->state = state;
	db->nevents++;
	if (!db->hushed || db->nevents > TASKQ_DB_EVENTS / 4)
		taskq_wake_dispatcher(db);
}

/* taskq_event_wake_waiters - everybody who waits for a task looks again */
void
taskq_event_wake_waiters(void)
{
	taskq_watched_wake_all();
	if (pg_atomic_read_u32(&taskq_shared->waiters) == 0)
		return;
	for (int i = 0; i < TASKQ_WAIT_BUCKETS; i++)
		ConditionVariableBroadcast(&taskq_shared->finished[i]);
	ConditionVariableBroadcast(&taskq_shared->finished_any);
}

/* taskq_event_take - up to max events of a database, out of shared memory */
int
taskq_event_take(Oid dbid, TaskqEvent *events, int max)
{
	TaskqDb    *db = taskq_db_find(dbid);
	int			taken = 0;
	int			kept = 0;

	for (int i = 0; i < taskq_shared->nevents; i++)
	{
		if (taskq_shared->events[i].dbid == dbid && taken < max)
			events[taken++] = taskq_shared->events[i];
		else
			taskq_shared->events[kept++] = taskq_shared->events[i];
	}
	taskq_shared->nevents = kept;
	if (db != NULL)
	{
		db->nevents -= taken;
		db->events_since = taskq_steady_now();
	}
	if (taken > 0)
		ConditionVariableBroadcast(&taskq_shared->event_room);
	return taken;
}

/*
 * taskq_event_drop - forget the events of a database that nobody serves;
 * caller holds the main lock exclusively
 */
void
taskq_event_drop(Oid dbid)
{
	TaskqEvent	events[64];

	while (taskq_event_take(dbid, events, lengthof(events)) > 0)
		;
}

/*
 * Is there room, or nobody who would make some soon?  If not the dispatcher
 * is woken. A dispatcher that has taken nothing for a second is not waited
 * for.
 */
static bool
room_or_nobody(Oid dbid, int n)
{
	TaskqDb    *db;
	bool		go_on;

	LWLockAcquire(taskq_main_lock, LW_EXCLUSIVE);
	db = taskq_db_find(dbid);
	go_on = has_room(db, n) || taskq_steady_now() - db->events_since >=
		ROOM_MS * INT64CONST(1000);
	if (!go_on)
		taskq_wake_dispatcher(db);
	LWLockRelease(taskq_main_lock);
	return go_on;
}

static bool
is_dispatcher(void)
{
	TaskqDb    *db = taskq_db_mine();

	return db != NULL && db->dispatcher == MyProcPid;
}

/*
 * taskq_event_wait_for_room - let the dispatcher catch up
 *
 * Waits until n events would fit, but no longer than a second: listeners may
 * miss an event, tasks do not stop for them.
 */
void
taskq_event_wait_for_room(Oid dbid, int n)
{
	TimestampTz until = taskq_steady_now() + ROOM_MS * INT64CONST(1000);
	int64		left = ROOM_MS;

	if ((taskq_notify == TASKQ_NOTIFY_OFF && taskq_event_retention == 0) ||
		taskq_shared->nevents + n <= TASKQ_DB_EVENTS ||
		is_dispatcher())		/* it is the one who makes room */
		return;
	ConditionVariablePrepareToSleep(&taskq_shared->event_room);
	while (left > 0 && !room_or_nobody(dbid, n))
	{
		ConditionVariableTimedSleep(&taskq_shared->event_room, left,
									taskq_wait_event("TaskqEvents"));
		left = (until - taskq_steady_now()) / 1000;
	}
	ConditionVariableCancelSleep();
}

typedef void (*Notify) (const void *what, int i);

/*
 * Call notify n times, in a transaction of its own.  When that fails (the
 * queue of notifications is full because a listener does not read) they are
 * lost and the server log says so; nothing else is.
 */
static void
send(Notify notify, const void *what, int n)
{
	MemoryContext context = CurrentMemoryContext;

	PG_TRY();
	{
		StartTransactionCommand();
		for (int i = 0; i < n; i++)
			notify(what, i);
		CommitTransactionCommand();
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		AbortCurrentTransaction();
		ereport(WARNING,
				(errcode(error->sqlerrcode),
				 errmsg("taskq could not send %d notifications: %s", n, error->message),
				 errhint("A session that listens must also read; see pg_notification_queue_usage().")));
		FreeErrorData(error);
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
}

static void
notify_event(const void *what, int i)
{
	const TaskqEvent *event = (const TaskqEvent *) what + i;
	char		payload[128];
	char	   *id = taskq_id_text(&event->id);

	snprintf(payload, sizeof(payload), "{\"task_id\":\"%s\",\"state\":\"%s\"}",
			 id, taskq_state_name(event->state));
	Async_Notify(CHANNEL, payload);
	pfree(id);
}

/*
 * taskq_event_stalled - tell listeners of a running task that stands still,
 * when the transaction commits
 */
void
taskq_event_stalled(const pg_uuid_t *id)
{
	char		payload[128];

	if (taskq_notify == TASKQ_NOTIFY_OFF)
		return;
	snprintf(payload, sizeof(payload),
			 "{\"task_id\":\"%s\",\"state\":\"stalled\"}", taskq_id_text(id));
	Async_Notify(CHANNEL, payload);
}

/*
 * taskq_event_send - tell listeners of tasks' states; outside of a
 * transaction
 */
void
taskq_event_send(const TaskqEvent *events, int n)
{
	send(notify_event, events, n);
}

static void
notify_ready(const void *what, int i)
{
	char		channel[NAMEDATALEN];
	const char *queue = strVal(list_nth((const List *) what, i));
	int			room = NAMEDATALEN - 1 - strlen(READY_CHANNEL);

	strlcpy(channel, READY_CHANNEL, sizeof(channel));
	strncat(channel, queue, pg_mbcliplen(queue, strlen(queue), room));
	Async_Notify(channel, "");
}

/*
 * taskq_event_send_ready - tell external workers of queues (a list of
 * String); outside of a transaction
 */
void
taskq_event_send_ready(List *queues)
{
	send(notify_ready, queues, list_length(queues));
}
