/*-------------------------------------------------------------------------
 *
 * unblock.c
 *		Tasks that wait for others.
 *
 * Part of the dispatcher's pass.  What has ended, and may be waited for, is
 * told by shared memory (lanes/waiting.c); who waits for it stands in the
 * tables.  It is gone through in portions, however many they are.  A task
 * that is cancelled because of another one's end may have others wait for it
 * in turn: it joins the end of the queue, so a long chain is no deep one.
 *
 * The rows of a task that waits are changed with its own row locked.  Where
 * that is locked by somebody else it is come back to.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "base/clock.h"
#include "catalog/pg_type.h"
#include "dispatch/dispatcher.h"
#include "dispatch/pass.h"
#include "lanes/cancels.h"
#include "lanes/live.h"
#include "lanes/note.h"
#include "lanes/waiting.h"
#include "miscadmin.h"
#include "run/complete.h"
#include "store/defs.h"
#include "store/dependencies.h"
#include "store/ready.h"
#include "store/state.h"
#include "store/steps.h"
#include "utils/array.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#define MAX_PORTIONS 20			/* in one pass */
#define BUSY_MS 100				/* till the next try at a row that is locked */
#define BAD_MS 60000			/* ... at one that raised an error */
#define MAX_TOLD 10				/* of which the log tells, in one pass */
#define GONE 'd'				/* "state" of a task that is not there */

/* A task that has ended, or may have; those who wait from "from" on. */
typedef struct Work
{
	pg_uuid_t	id;
	char		type;			/* of the edges to look at next */
	pg_uuid_t	from;
	bool		one;			/* only the first of these */
	TimestampTz not_before;		/* steady time */
} Work;

/* Works, in order; those before head are done. */
typedef struct Queue
{
	Work	   *works;
	int			head;
	int			tail;
	int			room;
} Queue;

static Queue queue;

/* what could not be done when it was its turn */
static Queue later;

static bool looking = false;	/* through all tasks that wait */
static pg_uuid_t look_from;
static uint32 look_generation;
static pg_uuid_t looked_at;		/* the last one that is waited for */

/* A task waits for one that has ended in this state. */
typedef struct Ended
{
	TaskqEdge	edge;
	char		state;
	bool		retried;		/* it is this retry of it that completed */
	pg_uuid_t	retry;
} Ended;

/* What is seen to together: those who wait, and what is written for all. */
static struct
{
	int			n;
	Ended		ended[TASKQ_PORTION];
	TaskqBlocked blocked[2 * TASKQ_PORTION];
	int			nready;
	TaskqReady	ready[TASKQ_PORTION];
	bool		has_asked;
	Ended		asked;			/* what was found out last about retries */
}			batch;

/* ---- the queue ---- */

static void
queue_add(Queue *to, const Work *work)
{
	if (to->head == to->tail)
		to->head = to->tail = 0;
	if (to->works == NULL)
	{
		to->room = 1024;
		to->works = MemoryContextAlloc(TopMemoryContext,
									   sizeof(Work) * to->room);
	}
	else if (to->tail == to->room)
	{
		to->room *= 2;
		to->works = repalloc_huge(to->works, sizeof(Work) * to->room);
	}
	to->works[to->tail++] = *work;
}

static void
queue_task(const pg_uuid_t *id)
{
	Work		work = {.id = *id,.type = TASKQ_EDGE_WAITS};

	queue_add(&queue, &work);
}

/* What has to do with a task could not be seen to: again in a while. */
static void
put_off(const TaskqEdge *edge, int ms)
{
	Work		work = {.id = edge->dependency,.type = edge->type,
		.from = edge->task,.one = true,
	.not_before = TimestampTzPlusMilliseconds(taskq_steady_now(), ms)};

	queue_add(&later, &work);
}

/* What was put off until now. */
static void
take_later(void)
{
	TimestampTz now = taskq_steady_now();
	int			kept = 0;

	if (queue.head > 0)
		memmove(queue.works, queue.works + queue.head,
				sizeof(Work) * (queue.tail - queue.head));
	queue.tail -= queue.head;
	queue.head = 0;

	for (int i = later.head; i < later.tail; i++)
	{
		if (later.works[i].not_before <= now)
			queue_add(&queue, &later.works[i]);
		else
			later.works[kept++] = later.works[i];
	}
	later.head = 0;
	later.tail = kept;
}

/* What shared memory tells. */
static void
take_ended(void)
{
	pg_uuid_t	ids[TASKQ_PORTION];
	int			n;

	do
	{
		LWLockAcquire(taskq_main_lock, LW_EXCLUSIVE);
		n = taskq_waiting_take(MyDatabaseId, ids, lengthof(ids));
		LWLockRelease(taskq_main_lock);
		for (int i = 0; i < n; i++)
			queue_task(&ids[i]);
	} while (n == lengthof(ids));
}

/* taskq_unblock_left - is there something of which only this process knows? */
bool
taskq_unblock_left(void)
{
	return looking || queue.head < queue.tail || later.head < later.tail;
}

/* ---- one task that waits ---- */

/* From here on the end of this task is told. */
static void
expect(const pg_uuid_t *id)
{
	LWLockAcquire(taskq_main_lock, LW_EXCLUSIVE);
	taskq_waiting_expect(taskq_dispatcher.db, id);
	LWLockRelease(taskq_main_lock);
}

/* How a task stands: a final state, GONE, or another one. */
static char
state_of(const pg_uuid_t *id)
{
	TaskqRow	row;

	return taskq_store_find(id, &row) ? taskq_row_state(&row) : GONE;
}

/*
 * The same of one that has ended; those who waited for the task that it is a
 * retry of may have waited for it.
 */
static char
end_of(const Work *work)
{
	static const pg_uuid_t beginning;
	bool		first = work->type == TASKQ_EDGE_WAITS && !work->one &&
	taskq_id_eq(&work->from, &beginning);
	TaskqRow	row;

	if (!taskq_store_find(&work->id, &row))
		return GONE;
	if (first && taskq_state_final(taskq_row_state(&row)) &&
		!taskq_row_isnull(&row, retry_of))
		queue_task(DatumGetUUIDP(taskq_row_value(&row, retry_of)));
	return taskq_row_state(&row);
}

static const char *
failure_word(char state)
{
	switch (state)
	{
		case TASKQ_FAILED:
			return "failed";
		case TASKQ_CANCELLED:
			return "was cancelled";
		default:
			return "does not exist any more";
	}
}

/* The task is cancelled; those who wait for it are seen to next. */
static void
cancel_task(TaskqRow *row, const TaskqLaneDef *lane, const char *reason)
{
	pg_uuid_t	id = *DatumGetUUIDP(taskq_row_value(row, id));

	taskq_cancel_waiting(row, lane, &id, reason);
	if (taskq_waiting_maybe(taskq_dispatcher.db, &id))
		queue_task(&id);
}

/*
 * Put into a payload what it takes from the results of those that the task
 * has waited for; false if it can't be.
 */
static bool
complete_payload(TaskqRow *row)
{
	Datum		payload = taskq_row_value(row, payload);
	Datum		resolved = taskq_references_resolve(row, payload);

	if (resolved == 0)
		return false;
	if (resolved != payload)
		taskq_row_set(row, payload, resolved);
	return true;
}

/*
 * The task waits no more: it may run, at once or at its time.
 */
static void
release_task(TaskqRow *row, const TaskqLaneDef *lane, TaskqBlocked *blocked)
{
	TimestampTz now = GetCurrentTimestamp();
	TaskqChange change = {.to = TASKQ_PENDING};
	TimestampTz run_at = now;

	if (!complete_payload(row))
	{
		cancel_task(row, lane, "payload would be larger than taskq.max_payload with the results it refers to");
		return;
	}
	if (!taskq_row_isnull(row, run_at))
		run_at = DatumGetTimestampTz(taskq_row_value(row, run_at));
	if (run_at > now)
	{
		change.to = TASKQ_SCHEDULED;
		change.run_at = run_at;
		taskq_state_change(row, &change);
		taskq_note_due(run_at);
		return;
	}
	/* its turn is after those that can run for longer */
	taskq_row_set(row, run_at, TimestampTzGetDatum(now));
	change.of_many = !taskq_lane_keyed(lane->id);
	if (change.of_many)
	{
		taskq_blocked_delete_seen(blocked);
		batch.ready[batch.nready].lane = lane->id;
		batch.ready[batch.nready].due = now;
		batch.ready[batch.nready++].id = blocked->task;
	}
	taskq_state_change(row, &change);
	taskq_note_ready(lane, now, &blocked->task, 1, true);
}

/* Lock a task, if that can be had at once. */
static TaskqLockResult
lock_now(const pg_uuid_t *id, TaskqRow *row)
{
	return taskq_store_leaves_free(id) ? taskq_store_lock(id, false, row)
		: TASKQ_BUSY;
}

/* What it waited for is the retry: its result is to be kept. */
static void
waits_for_retry(const Ended *ended)
{
	TaskqEdge	edge = ended->edge;
	TaskqEdge	there;
	pg_uuid_t	from = edge.task;

	edge.dependency = ended->retry;
	edge.state = TASKQ_COMPLETED;
	/* it may wait for both */
	if (taskq_edges_next(&edge.dependency, edge.type, &from, 1, &there) == 0 ||
		!taskq_id_eq(&there.task, &edge.task))
		taskq_edges_insert(&edge, 1);
}

/*
 * Some of those that a task waits for have ended; its row is locked, and they
 * are not counted yet.
 */
static void
count_ended(Ended *ended, int n, TaskqBlocked *blocked, TaskqRow *row,
			const TaskqLaneDef *lane)
{
	for (int i = 0; i < n; i++)
	{
		bool		failed = ended[i].state != TASKQ_COMPLETED &&
		!ended[i].retried;

		if (ended[i].retried)
			waits_for_retry(&ended[i]);
		if (failed && (blocked->policy == TASKQ_ON_FAILURE_CANCEL ||
					   blocked->policy == TASKQ_ON_FAILURE_BLOCK))
		{
			cancel_task(row, lane, psprintf("dependency %s %s",
											taskq_id_text(&ended[i].edge.dependency),
											failure_word(ended[i].state)));
			return;
		}
		blocked->awaited--;
		blocked->failed |= failed;
	}
	if (blocked->awaited <= 0)
	{
		if (blocked->policy == TASKQ_ON_FAILURE_ONLY && !blocked->failed)
			cancel_task(row, lane, "not needed: no dependency failed");
		else
			release_task(row, lane, blocked);
		return;
	}
	for (int i = 0; i < n; i++)
		taskq_edge_settle(&ended[i].edge, ended[i].retried ? TASKQ_COMPLETED
						  : ended[i].state);
	taskq_blocked_update(blocked);
}

/*
 * A task has failed that others wait for until a retry completes: has one?
 * If not, those that may are waited for from here on.
 *
 * The last answer is kept: many may wait for the same one.
 */
static bool
find_retry(Ended *ended)
{
	List	   *unfinished = NIL;
	ListCell   *lc;

	if (batch.has_asked &&
		taskq_id_eq(&batch.asked.edge.dependency, &ended->edge.dependency))
	{
		ended->retried = batch.asked.retried;
		ended->retry = batch.asked.retry;
		return ended->retried;
	}
	ended->retried = taskq_retry_completed(&ended->edge.dependency,
										   &ended->retry, &unfinished);
	foreach(lc, unfinished)
		expect(lfirst(lc));
	/* one may have completed just before it was told that it is waited for */
	if (unfinished != NIL)
		ended->retried = taskq_retry_completed(&ended->edge.dependency,
											   &ended->retry, NULL);
	batch.asked = *ended;
	batch.has_asked = true;
	return ended->retried;
}

/*
 * Leave out what is counted already, what was found twice, and what a retry
 * may yet complete; returns how many are left.
 */
static int
new_ones(Ended *ended, int n, char policy)
{
	int			kept = 0;

	for (int i = 0; i < n; i++)
	{
		char		state = ended[i].state;

		if (ended[i].edge.state != TASKQ_EDGE_OPEN ||
			(kept > 0 && taskq_id_eq(&ended[kept - 1].edge.dependency,
									 &ended[i].edge.dependency)) ||
			(policy == TASKQ_ON_FAILURE_BLOCK &&
			 (state == TASKQ_FAILED || state == TASKQ_CANCELLED) &&
			 !find_retry(&ended[i])))
			continue;
		ended[kept++] = ended[i];
	}
	return kept;
}

/* A task of which n that it waits for have ended. */
static void
see_to_one(Ended *ended, int n, TaskqBlocked *blocked)
{
	TaskqRow	row;
	TaskqLockResult locked;
	const TaskqLaneDef *lane;

	n = new_ones(ended, n, blocked->policy);
	if (n == 0)
		return;
	locked = lock_now(&blocked->task, &row);
	if (locked == TASKQ_BUSY)
	{
		for (int i = 0; i < n; i++)
			put_off(&ended[i].edge, BUSY_MS);
		return;
	}
	if (locked == TASKQ_MISSING || taskq_row_state(&row) != TASKQ_BLOCKED)
		return;
	lane = taskq_lane_get(DatumGetInt32(taskq_row_value(&row, lane)));
	if (lane != NULL && !lane->foreign)
		count_ended(ended, n, blocked, &row, lane);
}

/* The same; of payloads with results in them there is one in memory. */
static void
see_to_waiting(Ended *ended, int n, TaskqBlocked *blocked)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext,
												  "taskq waiting",
												  ALLOCSET_SMALL_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);

	see_to_one(ended, n, blocked);
	MemoryContextSwitchTo(old);
	MemoryContextDelete(context);
}

static int
compare_ended(const void *a, const void *b)
{
	const TaskqEdge *x = &((const Ended *) a)->edge;
	const TaskqEdge *y = &((const Ended *) b)->edge;
	int			by_task = taskq_id_cmp(&x->task, &y->task);

	return by_task ? by_task : taskq_id_cmp(&x->dependency, &y->dependency);
}

/*
 * Find the row of a blocked task, the next one in order: among those that
 * were read together, or, beyond these, by itself.
 */
static TaskqBlocked *
find_blocked(const pg_uuid_t *task, int *at, int nblocked)
{
	static TaskqBlocked alone;

	while (*at < nblocked &&
		   taskq_id_cmp(&batch.blocked[*at].task, task) < 0)
		(*at)++;
	if (*at < nblocked)
		return taskq_id_eq(&batch.blocked[*at].task, task)
			? &batch.blocked[*at] : NULL;
	if (nblocked < lengthof(batch.blocked))
		return NULL;
	return taskq_blocked_find(task, false, &alone) ? &alone : NULL;
}

/* Those of the batch that wait, task by task. */
static void
see_to_batch(void)
{
	int			at = 0;
	int			nblocked;

	if (batch.n == 0)
		return;
	qsort(batch.ended, batch.n, sizeof(Ended), compare_ended);
	nblocked = taskq_blocked_range(&batch.ended[0].edge.task,
								   &batch.ended[batch.n - 1].edge.task,
								   lengthof(batch.blocked), batch.blocked);
	for (int i = 0, n; i < batch.n; i += n)
	{
		TaskqBlocked *blocked;

		for (n = 1; i + n < batch.n &&
			 taskq_id_eq(&batch.ended[i].edge.task,
						 &batch.ended[i + n].edge.task);)
			n++;
		blocked = find_blocked(&batch.ended[i].edge.task, &at, nblocked);
		if (blocked != NULL)
			see_to_waiting(&batch.ended[i], n, blocked);
		CHECK_FOR_INTERRUPTS();
	}
	taskq_ready_insert_many(batch.ready, batch.nready);
	CommandCounterIncrement();
	batch.n = batch.nready = 0;
}

/*
 * Cancel a child, whatever it does, unless its kind refuses that; false if it
 * can't be now.
 */
static bool
cancel_child(const pg_uuid_t *id, const char *reason)
{
	TaskqLive  *live = palloc(sizeof(TaskqLive));
	const TaskqLaneDef *lane;
	TaskqRow	row;
	TaskqLockResult locked;

	if (!taskq_store_find(id, &row))
		return true;
	lane = taskq_lane_get(DatumGetInt32(taskq_row_value(&row, lane)));
	if (lane == NULL || !taskq_lane_cancellable(lane))
		return true;
	if (taskq_live_find(id, live) && live->running)
	{
		if (!live->unfinished || taskq_cancels_full(lane->role_oid))
			return false;
		taskq_note_cancel(lane, live->slot, id, false, reason);
		return true;
	}
	locked = lock_now(id, &row);
	if (locked == TASKQ_BUSY)
		return false;
	if (locked == TASKQ_MISSING || taskq_state_final(taskq_row_state(&row)))
		return true;
	if (taskq_row_state(&row) == TASKQ_LEASED)
		taskq_cancel_leased(&row, id, reason);
	else
		cancel_task(&row, lane, reason);
	return true;
}

/* A task that is to be cancelled with its parent, which is over. */
static void
see_to_child(TaskqEdge *edge, char state)
{
	TaskqBlocked child;

	if (!taskq_store_leaves_free(&edge->task))
	{
		put_off(edge, BUSY_MS);
		return;
	}
	if (!taskq_blocked_find(&edge->task, true, &child))
		return;
	if (state == TASKQ_CANCELLED &&
		!cancel_child(&edge->task, psprintf("parent %s was cancelled",
											taskq_id_text(&edge->dependency))))
		put_off(edge, BUSY_MS);
	else
		taskq_blocked_delete(&edge->task, true);
}

/* ---- what has ended ---- */

/*
 * Somebody has the leaf of the task that has ended for himself: it is not
 * waited for, however many wait for the task.
 */
static bool
cannot_look(const Work *work)
{
	Work		again = *work;

	if (taskq_store_leaves_free(&work->id))
		return false;
	again.not_before = TimestampTzPlusMilliseconds(taskq_steady_now(),
												   BUSY_MS);
	queue_add(&later, &again);
	return true;
}

/*
 * Those who wait for a task go into the batch; its children are seen to.
 *
 * At most max; returns how many there were, and moves the work on.
 */
static int
do_work(Work *work, int max, bool *done)
{
	char		state;
	TaskqEdge	edges[TASKQ_PORTION];
	int			n;

	*done = true;
	if (cannot_look(work))
		return 1;
	state = end_of(work);
	if (state != GONE && !taskq_state_final(state))
		return 1;
	max = work->one ? 1 : max;
	n = taskq_edges_next(&work->id, work->type, &work->from, max, edges);
	for (int i = 0; i < n; i++)
	{
		Ended		ended = {.edge = edges[i],.state = state};

		if (work->type == TASKQ_EDGE_WAITS)
			batch.ended[batch.n++] = ended;
		else
			see_to_child(&edges[i], state);
		CHECK_FOR_INTERRUPTS();
	}
	if (work->one)
		return 1;
	*done = n < max && work->type == TASKQ_EDGE_CHILD;
	if (n < max && work->type == TASKQ_EDGE_WAITS)
	{
		work->type = TASKQ_EDGE_CHILD;
		memset(&work->from, 0, UUID_LEN);
	}
	return Max(n, 1);
}

/*
 * One transaction's share, at most max.
 *
 * What is cancelled joins the queue, and those who wait for it may be seen to
 * in the same transaction.
 */
static void
do_portion(int max)
{
	int			head = queue.head;
	Work		work;
	bool		done = true;

	taskq_pass_begin();
	taskq_defs_begin();
	batch.n = batch.nready = 0;
	batch.has_asked = false;
	while (max > 0 && head < queue.tail)
	{
		int			end = queue.tail;

		while (max > 0 && head < end)
		{
			if (done)
				work = queue.works[head];
			max -= do_work(&work, max, &done);
			head += done;
		}
		see_to_batch();
	}

	/*
	 * what a crash undoes is found again; a cancel waits for the disk by
	 * itself.  Who waits for what is cancelled here stands in the queue
	 * already.
	 */
	taskq_waiting_mute = true;
	taskq_pass_commit_async();
	taskq_waiting_mute = false;
	queue.head = head;
	if (!done)
		queue.works[head] = work;
}

/* The first one raises an error: it is left alone for a while. */
static void
pass_over(int failed)
{
	Work	   *work = &queue.works[queue.head];
	TaskqEdge	edge;

	taskq_pass_begin();
	if (taskq_edges_next(&work->id, work->type, &work->from, 1, &edge) == 0)
		queue.head++;
	else
	{
		if (failed <= MAX_TOLD)
			ereport(LOG,
					(errmsg("taskq leaves task %s, which waits for task %s, alone for a minute",
							taskq_id_text(&edge.task), taskq_id_text(&edge.dependency))));
		put_off(&edge, BAD_MS);
		queue.head += work->one;
	}
	taskq_pass_commit();
}

/*
 * The same, whatever is wrong with a row: then nothing of this portion has
 * been done, and they are tried one by one, which *careful counts.
 */
static void
try_portion(int *careful, int *failed)
{
	int			tail = queue.tail;
	int			nlater = later.tail;
	int			max = *careful > 0 ? 1 : TASKQ_PORTION;

	PG_TRY();
	{
		do_portion(max);
		*careful = Max(*careful - 1, 0);
	}
	PG_CATCH();
	{
		taskq_waiting_mute = false;
		MemoryContextSwitchTo(taskq_dispatcher.context);
		if (++*failed <= MAX_TOLD)
			EmitErrorReport();
		FlushErrorState();
		AbortCurrentTransaction();
		MemoryContextSwitchTo(taskq_dispatcher.context);
		queue.tail = tail;
		later.tail = nlater;
		if (max == 1)
			pass_over(*failed);
		*careful = max == 1 ? *careful - 1 : TASKQ_PORTION;
	}
	PG_END_TRY();
}

/* ---- all that wait ---- */

static void
begin_to_look(void)
{
	LWLockAcquire(taskq_main_lock, LW_EXCLUSIVE);
	taskq_dispatcher.db->look = false;
	look_generation = taskq_shared->generation;
	LWLockRelease(taskq_main_lock);
	looking = true;
	memset(&look_from, 0, UUID_LEN);
	memset(&looked_at, 0, UUID_LEN);
}

/*
 * Somebody waits for this task: its end is told from here on, and if it has
 * come it is seen to.  Many wait for the same one.
 */
static void
look_at(const pg_uuid_t *id)
{
	char		state;

	if (taskq_id_eq(&looked_at, id))
		return;
	looked_at = *id;
	expect(id);
	state = state_of(id);
	if (state == GONE || taskq_state_final(state))
		queue_task(id);
}

static void
look_at_all_of(TaskqRow *row)
{
	Datum	   *ids;
	int			n;

	if (taskq_row_isnull(row, depends_on))
		return;
	deconstruct_array(DatumGetArrayTypeP(taskq_row_value(row, depends_on)),
					  UUIDOID, UUID_LEN, false, TYPALIGN_CHAR, &ids, NULL, &n);
	for (int i = 0; i < n; i++)
	{
		CHECK_FOR_INTERRUPTS();
		look_at(DatumGetUUIDP(ids[i]));
	}
}

/*
 * A task that waits; one that does not any more, however that came, is
 * forgotten.  One that is not there may be in a dump that is being restored;
 * else the sweeper sees to it.
 */
static void
look_at_waiting(const TaskqBlocked *blocked)
{
	TaskqRow	row;
	bool		found = taskq_store_find(&blocked->task, &row);
	const TaskqLaneDef *lane = NULL;

	if (!found)
		return;
	if (taskq_state_final(taskq_row_state(&row)) ||
		(!blocked->child && taskq_row_state(&row) != TASKQ_BLOCKED))
	{
		taskq_blocked_delete(&blocked->task, blocked->child);
		return;
	}
	lane = taskq_lane_get(DatumGetInt32(taskq_row_value(&row, lane)));
	if (lane == NULL || lane->foreign)
		return;
	if (!blocked->child)
		look_at_all_of(&row);
	else if (!taskq_row_isnull(&row, parent))
		look_at(DatumGetUUIDP(taskq_row_value(&row, parent)));
}

/* Look through the next tasks that wait. */
static void
look_on(void)
{
	TaskqBlocked *blocked = palloc(sizeof(TaskqBlocked) * (TASKQ_PORTION + 1));
	int			n;

	taskq_pass_begin();
	taskq_defs_begin();
	n = taskq_blocked_next(&look_from, TASKQ_PORTION, blocked);
	for (int i = 0; i < n; i++)
	{
		CHECK_FOR_INTERRUPTS();
		look_at_waiting(&blocked[i]);
	}
	taskq_pass_commit_async();
	looking = n >= TASKQ_PORTION;
	if (looking)
		return;
	LWLockAcquire(taskq_main_lock, LW_EXCLUSIVE);
	taskq_waiting_looked(taskq_dispatcher.db, look_generation);
	LWLockRelease(taskq_main_lock);
}

/* ---- the chore ---- */

/*
 * taskq_unblock - see to those who wait for what has ended
 */
void
taskq_unblock(void)
{
	int			careful = 0;
	int			failed = 0;

	if (taskq_dispatcher.db->look && !looking)
		begin_to_look();
	take_later();
	for (int i = 0; i < MAX_PORTIONS; i++)
	{
		take_ended();
		if (queue.head < queue.tail)
			try_portion(&careful, &failed);
		else if (looking)
			look_on();
		else
			break;
		CHECK_FOR_INTERRUPTS();
	}
	if (queue.head < queue.tail || looking || taskq_dispatcher.db->look)
		taskq_look_again_in(0);
	for (int i = later.head; i < later.tail; i++)
		taskq_look_again_steady(later.works[i].not_before);
}

/*
 * taskq_unblock_failed - the chore raised an error: all is to be looked
 * through again; caller holds the main lock
 */
void
taskq_unblock_failed(void)
{
	looking = false;
	queue.head = queue.tail = 0;
	taskq_dispatcher.db->look = true;
}
