/*-------------------------------------------------------------------------
 *
 * taskq.c
 *		A task system inside PostgreSQL.
 *
 * The way of a task is the list of files:
 *
 *		submit.c		a row in the caller's transaction
 *		note.c			… made known to shared memory when that commits
 *		lane.c			where the claimable tasks begin
 *		scan.c, claim.c	finding them; reserving a batch
 *		execute.c		row lock, handler (handler.c; command.c for SQL text), state, commit;
 *						together.c: several in one transaction; attempt.c: what both do
 *		interrupt.c		cancels and timeouts; session.c: nothing is left for the next
 *		complete.c		how an attempt ended; state.c is the only one to change states
 *		announce.c		made durable, then told; event.c: to waiters and listeners
 *
 * launcher.c, dispatcher.c and worker.c are the processes.  Parts of the
 * dispatcher's pass: timer.c (what is due), supply.c (workers for what waits; turn.c:
 * whose turn it is), rescue.c (what a process that ended leaves) and watch.c (who keeps
 * what is old); sweeper.c, a process of its own, forgets what is old; guard.c knows after a crash which
 * task it was.  utility.c keeps all of them away from databases that are to be
 * dropped or copied.  store.c and defs.c are the only ones to touch the tables.
 *
 * The other SQL functions: define.c (kinds, queues), rights.c (who may see, steer,
 * submit, run), status.c, wait.c (patience.c: how long), progress.c, cancel.c, steer.c (retry, delete, stop),
 * external.c (workers of another kind).  docs/architecture.md has the whole.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "defs.h"
#include "fmgr.h"
#include "guc.h"
#include "miscadmin.h"
#include "note.h"
#include "process.h"
#include "shmem.h"
#include "store.h"
#include "utility.h"

PG_MODULE_MAGIC;

void		_PG_init(void);

void
_PG_init(void)
{
	taskq_store_init();
	taskq_defs_init();
	if (!process_shared_preload_libraries_in_progress || IsBinaryUpgrade)
	{
		taskq_guc_init_tenants();
		return;
	}
	taskq_guc_init();
	taskq_shmem_init();
	taskq_note_init();
	taskq_utility_init();
	taskq_launcher_register();
}
