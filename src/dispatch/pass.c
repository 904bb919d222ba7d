/*-------------------------------------------------------------------------
 *
 * pass.c
 *		What the parts of a dispatcher's pass share.
 *
 * Transactions of its own, what to do about an error in one of its parts, and
 * when to come back.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "base/clock.h"
#include "base/compat.h"
#include "base/guc.h"
#include "base/process.h"
#include "base/shmem.h"
#include "dispatch/pass.h"
#include "lanes/claim.h"
#include "lanes/event.h"
#include "lanes/lane.h"
#include "miscadmin.h"
#include "run/session.h"
#include "storage/latch.h"
#include "store/store.h"
#include "tcop/tcopprot.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

TaskqDispatcher taskq_dispatcher;

/*
 * taskq_look_again_at - have another pass at this time by the clock at the
 * latest
 *
 * That of next_due or next_sweep: the launcher sees to these when there is no
 * dispatcher.
 */
void
taskq_look_again_at(TimestampTz when)
{
	taskq_dispatcher.due_at = Min(taskq_dispatcher.due_at, when);
}

/*
 * taskq_look_again_in - have another pass in so many milliseconds at the
 * latest
 */
void
taskq_look_again_in(int ms)
{
	taskq_dispatcher.wake_at =
		Min(taskq_dispatcher.wake_at,
			TimestampTzPlusMilliseconds(taskq_steady_now(), ms));
}

/*
 * taskq_look_again_steady - have another pass at this steady time at the
 * latest
 */
void
taskq_look_again_steady(TimestampTz when)
{
	taskq_dispatcher.wake_at = Min(taskq_dispatcher.wake_at, when);
}

/*
 * taskq_pass_begin - a transaction of the dispatcher's own, with a snapshot
 */
void
taskq_pass_begin(void)
{
	SetCurrentStatementStartTimestamp();
	taskq_store_begin();
}

/* taskq_pass_commit - ... and its end */
void
taskq_pass_commit(void)
{
	PopActiveSnapshot();
	CommitTransactionCommand();
	MemoryContextSwitchTo(taskq_dispatcher.context);
}

/*
 * taskq_pass_fits - do library and extension fit together, and is it there?
 * Outside of a transaction
 */
bool
taskq_pass_fits(void)
{
	bool		ready;

	taskq_pass_begin();
	ready = taskq_store_ready();
	taskq_pass_commit();
	return ready;
}

/*
 * taskq_pass_failed - in PG_CATCH: undo what was under way, and take the
 * error out of its way
 *
 * Returns the error, in this memory context.
 */
ErrorData *
taskq_pass_failed(MemoryContext context)
{
	ErrorData  *error;

	HOLD_INTERRUPTS();
	MemoryContextSwitchTo(context);
	error = CopyErrorData();
	FlushErrorState();
	AbortOutOfAnyTransaction();
	LWLockReleaseAll();
	ConditionVariableCancelSleep();
	MemoryContextSwitchTo(context);
	RESUME_INTERRUPTS();
	return error;
}

/*
 * taskq_pin_settings - what the database has set for its sessions is not
 * meant for us
 */
void
taskq_pin_settings(void)
{
	static const char *const settings[][2] =
	{							/* a belt: nobody else's lock is waited for on
								 * purpose */
		{"lock_timeout", "1s"},
		{"statement_timeout", "0"},
		{"idle_in_transaction_session_timeout", "0"},
		{"default_transaction_isolation", "read committed"},
		{"default_transaction_read_only", "off"},
		{"default_transaction_deferrable", "off"},
		{"search_path", "pg_catalog"},
		{"row_security", "on"},
		{"transform_null_equals", "off"},
		{"jit", "off"},
	{"max_parallel_workers_per_gather", "0"}};

	for (int i = 0; i < lengthof(settings); i++)
		SetConfigOption(settings[i][0], settings[i][1], PGC_SUSET,
						PGC_S_OVERRIDE);
	taskq_session_pin();
}
