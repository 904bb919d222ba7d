/*-------------------------------------------------------------------------
 *
 * patience.c
 *		How long a call waits for others.
 *
 * A call that waits holds a connection and a snapshot, so there is a limit to
 * it; and one that the server is about to cancel ends before that, with an
 * answer instead of an error.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "api/patience.h"
#include "base/args.h"
#include "base/clock.h"
#include "base/compat.h"
#include "base/guc.h"
#include "miscadmin.h"
#include "store/steps.h"
#include "storage/latch.h"
#include "storage/proc.h"
#include "utils/timeout.h"
#include "utils/timestamp.h"

#define BUSY_WAIT_US (2 * USECS_PER_SEC)	/* for a row that another session
											 * holds */
#define BUSY_LOOK_MS 5

/*
 * How long until shortly before this timeout; what is left is for the answer.
 */
static int64
time_before(TimeoutId timeout)
{
	int64		left;

	if (!get_timeout_active(timeout))
		return PG_INT64_MAX;
	left = get_timeout_finish_time(timeout) - GetCurrentTimestamp();
	return Max(0, left - Max(20 * 1000, Min(left / 4, 1000 * 1000)));
}

/*
 * taskq_patience_us - how long a call waits that was asked to wait this long,
 * in microseconds
 *
 * At most taskq.max_wait, if it is capped and not a superuser's; and never
 * into statement_timeout, or transaction_timeout.
 */
int64
taskq_patience_us(int64 wanted_us, bool capped)
{
	if (capped && taskq_max_wait > 0 && !superuser())
		wanted_us = Min(wanted_us, (int64) taskq_max_wait * 1000);
	return Min(wanted_us, Min(time_before(STATEMENT_TIMEOUT),
							  time_before(TASKQ_TRANSACTION_TIMEOUT)));
}

static void
busy(const pg_uuid_t *id)
{
	ereport(ERROR,
			(errcode(ERRCODE_TASK_UNAVAILABLE),
			 errmsg("task %s is being changed by another session", taskq_id_text(id)),
			 errhint("Try again when that session's transaction has ended.")));
}

/* Calls made for many tasks wait together no longer than one. */
static TimestampTz shared_until = 0;

/*
 * taskq_busy_share - nobody waits for a row longer than until this moment, in
 * steady time; 0 ends that
 */
void
taskq_busy_share(TimestampTz until)
{
	shared_until = until;
}

/*
 * taskq_busy_until - until when to try for a row that another session holds,
 * in steady time
 */
TimestampTz
taskq_busy_until(void)
{
	return taskq_steady_now() + taskq_patience_us(BUSY_WAIT_US, false);
}

/*
 * taskq_busy_wait - sleep before the next try; PT503 when there shall be none
 *
 * For rows that a worker, too, may take and give back: nothing tells when.
 */
void
taskq_busy_wait(const pg_uuid_t *id, TimestampTz until)
{
	if (taskq_steady_now() >= until)
		busy(id);
	(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
					 BUSY_LOOK_MS, taskq_wait_event("TaskqBusy"));
	ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
}

/*
 * taskq_lock_briefly - taskq_store_lock, with a wait for who has the row that
 * is not long
 *
 * Raises PT503 after it, or in a deadlock.
 */
TaskqLockResult
taskq_lock_briefly(const pg_uuid_t *id, TaskqRow *row)
{
	int			saved = LockTimeout;
	int64		us = taskq_patience_us(BUSY_WAIT_US, false);
	int			ms;
	MemoryContext context = CurrentMemoryContext;
	TaskqLockResult result;

	if (shared_until != 0)
		us = Min(us, shared_until - taskq_steady_now());
	ms = Max(us / 1000, 1);
	LockTimeout = saved > 0 ? Min(saved, ms) : ms;
	PG_TRY();
	{
		result = taskq_store_lock(id, true, row);
	}
	PG_CATCH();
	{
		int			sqlerrcode = geterrcode();

		LockTimeout = saved;
		if (sqlerrcode != ERRCODE_LOCK_NOT_AVAILABLE &&
			sqlerrcode != ERRCODE_T_R_DEADLOCK_DETECTED)
			PG_RE_THROW();
		/* the transaction is aborted all the same, with another word for why */
		MemoryContextSwitchTo(context);
		FlushErrorState();
		busy(id);
	}
	PG_END_TRY();
	LockTimeout = saved;
	return result;
}

/*
 * taskq_workflow_lock_briefly - taskq_workflow_lock, with a wait for who has
 * it that is not long
 *
 * Before any row of the workflow's tasks is locked: all who lock both do it
 * in this order.  Raises PT503 after it, or in a deadlock.
 */
void
taskq_workflow_lock_briefly(const pg_uuid_t *workflow)
{
	int			saved = LockTimeout;
	int			ms = Max(taskq_patience_us(BUSY_WAIT_US, false) / 1000, 1);
	MemoryContext context = CurrentMemoryContext;

	LockTimeout = saved > 0 ? Min(saved, ms) : ms;
	PG_TRY();
	{
		taskq_workflow_lock(workflow);
	}
	PG_CATCH();
	{
		int			sqlerrcode = geterrcode();

		LockTimeout = saved;
		if (sqlerrcode != ERRCODE_LOCK_NOT_AVAILABLE &&
			sqlerrcode != ERRCODE_T_R_DEADLOCK_DETECTED)
			PG_RE_THROW();
		MemoryContextSwitchTo(context);
		FlushErrorState();
		ereport(ERROR,
				(errcode(ERRCODE_TASK_UNAVAILABLE),
				 errmsg("workflow %s is being changed by another session", taskq_id_text(workflow)),
				 errhint("Try again when that session's transaction has ended.")));
	}
	PG_END_TRY();
	LockTimeout = saved;
}
