/*-------------------------------------------------------------------------
 *
 * watched.c
 *		Waking who watches the state and progress of a task.
 *
 * Watchers (task_watch in wait.c) sleep on one of a number of condition
 * variables, chosen by the task's id.  They count themselves before they look
 * for the first time, so whoever changes what they may see, and then finds
 * that there is none, need do nothing: the next one sees it.  Releasing the
 * lock under which it was changed is the barrier between the two.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "base/watched.h"

#define WORDS (TASKQ_WAIT_BUCKETS / 64)

/* whose tasks this transaction has changed, as bits */
static uint64 noted[WORDS];
static bool any_noted = false;

static int
bucket_of(const pg_uuid_t *id)
{
	return id->data[UUID_LEN - 1] % TASKQ_WAIT_BUCKETS;
}

/* taskq_watched_bucket - what watchers of this task sleep on */
ConditionVariable *
taskq_watched_bucket(const pg_uuid_t *id)
{
	return &taskq_shared->watched[bucket_of(id)];
}

static bool
anybody(void)
{
	return pg_atomic_read_u32(&taskq_shared->watchers) > 0;
}

/*
 * taskq_watched_wake - a task's state or progress has changed, for everybody
 * to see; locks may be held
 */
void
taskq_watched_wake(const pg_uuid_t *id)
{
	if (anybody())
		ConditionVariableBroadcast(taskq_watched_bucket(id));
}

/* taskq_watched_wake_refs - the same for n of them */
void
taskq_watched_wake_refs(const TaskqRef *refs, int n)
{
	if (!anybody())
		return;
	for (int i = 0; i < n; i++)
		ConditionVariableBroadcast(taskq_watched_bucket(&refs[i].id));
}

/* taskq_watched_wake_all - nobody knows which tasks have changed */
void
taskq_watched_wake_all(void)
{
	if (!anybody())
		return;
	for (int i = 0; i < TASKQ_WAIT_BUCKETS; i++)
		ConditionVariableBroadcast(&taskq_shared->watched[i]);
}

static void
wake_noted(void)
{
	for (int i = 0; i < TASKQ_WAIT_BUCKETS; i++)
	{
		if (noted[i / 64] & (UINT64CONST(1) << (i % 64)))
			ConditionVariableBroadcast(&taskq_shared->watched[i]);
	}
}

static void
on_xact_end(XactEvent event, void *arg)
{
	if (!any_noted || event == XACT_EVENT_PRE_COMMIT ||
		event == XACT_EVENT_PRE_PREPARE ||
		event == XACT_EVENT_PARALLEL_PRE_COMMIT)
		return;
	if (event == XACT_EVENT_COMMIT && anybody())
		wake_noted();
	memset(noted, 0, sizeof(noted));
	any_noted = false;
}

/*
 * taskq_watched_note - this transaction changes a task's state or progress;
 * who watches it is woken by the commit
 */
void
taskq_watched_note(const pg_uuid_t *id)
{
	static bool registered = false;

	if (taskq_shared == NULL)
		return;
	if (!registered)
		RegisterXactCallback(on_xact_end, NULL);
	registered = true;
	noted[bucket_of(id) / 64] |= UINT64CONST(1) << (bucket_of(id) % 64);
	any_noted = true;
}
