/*-------------------------------------------------------------------------
 *
 * interrupt.c
 *		Making the task that runs in this worker stop: cancels and timeouts.
 *
 * A cancel names the task by a number that the signal handler compares, so
 * one that comes late never hits the next task.  Who catches the error and
 * goes on loses the process.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <signal.h>

#include "base/shmem.h"
#include "lanes/cancels.h"
#include "miscadmin.h"
#include "run/execute.h"
#include "run/interrupt.h"
#include "storage/latch.h"
#include "tcop/tcopprot.h"
#include "utils/timeout.h"
#include "utils/timestamp.h"

#define MAX_TIMEOUT_MS (INT64CONST(100) * 366 * SECS_PER_DAY * 1000)
#define TIMEOUT_GRACE_MS 5000	/* from asking a task to stop to ending its
								 * process */

static TaskqSlot *my_slot = NULL;
static TaskqDb *my_db = NULL;

/* shared with signal handlers */
static volatile sig_atomic_t in_handler = false;
static volatile sig_atomic_t closing = false;	/* what a task left is seen to */
static volatile sig_atomic_t cancel_raised = false;
static volatile sig_atomic_t timed_out = false;

static bool cancel_seen = false;	/* the handler asked, and was told to stop */

static TimeoutId task_timeout;
static TimeoutId grace_timeout;
static TimeoutId relief_timeout;

/* Raise a query cancel in the running handler; the cause is kept apart. */
static void
interrupt_handler(void)
{
	InterruptPending = true;
	QueryCancelPending = true;
	SetLatch(MyLatch);
}

/* SIGUSR2: somebody cancels a task; is it the one that runs? */
static void
on_cancel(SIGNAL_ARGS)
{
	int			save_errno = errno;

	if (my_slot != NULL && in_handler &&
		pg_atomic_read_u32(&my_slot->cancel_generation) ==
		pg_atomic_read_u32(&my_slot->task_generation))
	{
		cancel_raised = true;
		interrupt_handler();
	}
	errno = save_errno;
}

/* SIGINT: pg_cancel_backend, or a lock timeout of the task's own */
static void
on_interrupt(SIGNAL_ARGS)
{
	if (in_handler)
		StatementCancelHandler(postgres_signal_arg);
}

static void
on_task_timeout(void)
{
	if (in_handler)
	{
		timed_out = true;
		interrupt_handler();
	}
}

/*
 * The task has caught the cancel and goes on, or its commit does not come to
 * an end: end the process.
 */
static void
on_grace_timeout(void)
{
	if (in_handler || closing)
	{
		my_slot->timed_out = true;
		InterruptPending = true;
		ProcDiePending = true;
		SetLatch(MyLatch);
	}
}

/*
 * The batch lasts long: the dispatcher shall look whether this worker is
 * stuck in one task, while others wait behind it.  In a signal handler, so
 * without the lock; what is read may be old, and then somebody is woken for
 * nothing.
 */
static void
on_relief_timeout(void)
{
	TaskqDb    *db = my_db;

	if (db != NULL && db->dbid == MyDatabaseId)
		taskq_wake_dispatcher(db);
}

/*
 * taskq_relief_begin - a batch begins: if others wait behind a long task,
 * they are seen to
 */
void
taskq_relief_begin(void)
{
	/* nobody waits behind a single one */
	if (my_slot->nitems <= 1)
		return;
	LWLockAcquire(taskq_main_lock, LW_SHARED);
	my_db = taskq_db_find(MyDatabaseId);
	LWLockRelease(taskq_main_lock);
	enable_timeout_after(relief_timeout, TASKQ_STUCK_MS);
}

/* taskq_relief_end - ... and ends */
void
taskq_relief_end(void)
{
	if (get_timeout_active(relief_timeout))
		disable_timeout(relief_timeout, false);
}

/*
 * taskq_interrupts_begin - from here on the task can be interrupted, and is
 * when its time is over
 */
void
taskq_interrupts_begin(int64 timeout_ms)
{
	cancel_raised = false;
	timed_out = false;
	cancel_seen = false;
	my_slot->timed_out = false;
	in_handler = true;
	pg_memory_barrier();
	if (pg_atomic_read_u32(&my_slot->cancel_generation) ==
		pg_atomic_read_u32(&my_slot->task_generation))
	{
		cancel_raised = true;
		interrupt_handler();
	}
	if (timeout_ms > 0)
	{
		TimestampTz end = GetCurrentTimestamp() +
		Min(timeout_ms, MAX_TIMEOUT_MS) * 1000;

		/* as moments: an int has room for the milliseconds of 24 days */
		enable_timeout_at(task_timeout, end);
		enable_timeout_at(grace_timeout,
						  TimestampTzPlusMilliseconds(end, TIMEOUT_GRACE_MS));
	}
	CHECK_FOR_INTERRUPTS();
}

/*
 * taskq_interrupts_end - from here on the task can't be cancelled any more
 *
 * Where it has a timeout, its process still ends some seconds after that.
 * True if it was asked to stop and took notice, by catching the cancel or by
 * asking.
 */
bool
taskq_interrupts_end(void)
{
	bool		pending = QueryCancelPending;

	closing = true;
	in_handler = false;
	disable_timeout(task_timeout, false);
	QueryCancelPending = false;
	return (cancel_raised && !pending) || cancel_seen;
}

/*
 * taskq_cancel_noticed - has this task been asked to stop?  And now it knows.
 */
bool
taskq_cancel_noticed(void)
{
	bool		asked = my_slot != NULL && in_handler &&
	pg_atomic_read_u32(&my_slot->cancel_generation) ==
	pg_atomic_read_u32(&my_slot->task_generation);

	cancel_seen |= asked;
	return asked;
}

/*
 * taskq_interrupts_limit - what is done from here on ends soon, or the
 * process does
 *
 * For code of the task's role that runs outside of its task.
 */
void
taskq_interrupts_limit(void)
{
	closing = true;
	enable_timeout_after(grace_timeout, TIMEOUT_GRACE_MS);
}

/* taskq_interrupts_over - nothing of the task is left that could go on */
void
taskq_interrupts_over(void)
{
	closing = false;
	disable_timeout(grace_timeout, false);
}

/*
 * taskq_interrupts_timed_out - was the task interrupted because its time was
 * over?
 */
bool
taskq_interrupts_timed_out(void)
{
	return timed_out;
}

/* taskq_interrupts_init - once per worker */
void
taskq_interrupts_init(int slotno)
{
	my_slot = &taskq_shared->slots[slotno];
	task_timeout = RegisterTimeout(USER_TIMEOUT, on_task_timeout);
	grace_timeout = RegisterTimeout(USER_TIMEOUT, on_grace_timeout);
	relief_timeout = RegisterTimeout(USER_TIMEOUT, on_relief_timeout);
	pqsignal(SIGUSR2, on_cancel);
	pqsignal(SIGINT, on_interrupt);
}
