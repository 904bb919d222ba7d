/*-------------------------------------------------------------------------
 *
 * process.c
 *		What the background processes have in common: how they start.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "base/clock.h"
#include "base/compat.h"
#include "base/process.h"
#include "base/shmem.h"
#include "miscadmin.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "tcop/tcopprot.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#define WARN_AFTER_US USECS_PER_SEC
#define WARN_EVERY_US (60 * USECS_PER_SEC)

/*
 * taskq_process_begin - first thing in every process: arguments and signals
 *
 * Of a reload between our fork and here nothing is known: PostgreSQL starts
 * us with that signal ignored.  So the settings are read once in any case.
 */
void
taskq_process_begin(TaskqProcessArgs *args)
{
	if (args != NULL)
		memcpy(args, MyBgworkerEntry->bgw_extra, sizeof(*args));
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, die);
	ConfigReloadPending = true;
}

/*
 * taskq_process_settings - read the settings again, if somebody has told the
 * server to; false if nobody has
 *
 * From then on it shows that this process has read them: see
 * taskq_settings_read.  Takes no lock; raises what PostgreSQL raises.
 */
bool
taskq_process_settings(void)
{
	TimestampTz begun = GetCurrentTimestamp();

	if (!ConfigReloadPending)
		return false;
	ConfigReloadPending = false;
	ProcessConfigFile(PGC_SIGHUP);
	/* what was written while they were read may have been missed */
	pg_atomic_write_u64(&taskq_shared->settings_read[taskq_my_procno()],
						(uint64) begun);
	return true;
}

/* taskq_process_fill - what all processes have in common */
void
taskq_process_fill(BackgroundWorker *worker, const char *type,
				   const char *function)
{
	memset(worker, 0, sizeof(*worker));
	worker->bgw_flags = BGWORKER_SHMEM_ACCESS |
		BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker->bgw_start_time = BgWorkerStart_RecoveryFinished;
	strlcpy(worker->bgw_library_name, "taskq",
			sizeof(worker->bgw_library_name));
	strlcpy(worker->bgw_function_name, function,
			sizeof(worker->bgw_function_name));
	strlcpy(worker->bgw_type, type, sizeof(worker->bgw_type));
	strlcpy(worker->bgw_name, type, sizeof(worker->bgw_name));
}

/*
 * taskq_process_warn - when there is no room for a process, say so once a
 * minute: not by each process, and not when one that has just left is in the
 * way for a moment.
 */
void
taskq_process_warn(bool started)
{
	static TimestampTz since = 0;	/* steady time, as the others */
	TimestampTz now = taskq_steady_now();
	bool		warn = false;

	if (started || since == 0)
	{
		since = started ? 0 : now;
		return;
	}
	if (now - since < WARN_AFTER_US)
		return;
	LWLockAcquire(taskq_main_lock, LW_EXCLUSIVE);
	if (taskq_shared->warned_at == 0 ||
		now - taskq_shared->warned_at > WARN_EVERY_US)
	{
		taskq_shared->warned_at = now;
		warn = true;
	}
	LWLockRelease(taskq_main_lock);
	if (warn)
		ereport(WARNING,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("taskq could not start a background process"),
				 errhint("Increase max_worker_processes, or decrease taskq.max_workers.")));
}

/*
 * taskq_process_try_start - start a process; false if there is no room
 *
 * It is never restarted by the postmaster: whoever started it decides.
 */
bool
taskq_process_try_start(const char *type, const char *function,
						const TaskqProcessArgs *args,
						BackgroundWorkerHandle **handle)
{
	BackgroundWorker worker;
	MemoryContext old = MemoryContextSwitchTo(TopMemoryContext);
	bool		started;

	taskq_process_fill(&worker, type, function);
	worker.bgw_restart_time = BGW_NEVER_RESTART;
	worker.bgw_notify_pid = MyProcPid;
	memcpy(worker.bgw_extra, args, sizeof(*args));
	started = RegisterDynamicBackgroundWorker(&worker, handle);
	MemoryContextSwitchTo(old);
	return started;
}
