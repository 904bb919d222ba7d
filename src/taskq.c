/*-------------------------------------------------------------------------
 *
 * taskq.c
 *		A task system inside PostgreSQL.
 *
 * The way of a task:
 *
 *		api/submit.c				a row in the caller's transaction
 *		lanes/note.c				... made known to shared memory when that commits
 *		lanes/lane.c				where the claimable tasks begin
 *		lanes/scan.c, claim.c		finding them; reserving a batch
 *		run/execute.c, attempt.c	row lock, handler, state, commit
 *		run/together.c				... of several in one transaction
 *		run/complete.c				how an attempt ended
 *		store/state.c				the only one to change states
 *		lanes/announce.c, event.c	made durable, then told to waiters and listeners
 *
 * dispatch/ has the processes that serve: launcher, dispatcher with the parts
 * of its pass, sweeper; run/worker.c is the one that runs tasks.  api/ is
 * what SQL calls, store/ the only one to touch the tables, base/ what
 * everybody stands on. docs/architecture.md has the whole,
 * docs/contributing.md where to put what.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "base/guc.h"
#include "base/pgcron.h"
#include "base/process.h"
#include "base/shmem.h"
#include "dispatch/launcher.h"
#include "dispatch/utility.h"
#include "fmgr.h"
#include "lanes/counts.h"
#include "lanes/keys.h"
#include "lanes/lane.h"
#include "lanes/logring.h"
#include "lanes/note.h"
#include "lanes/outside.h"
#include "lanes/place.h"
#include "lanes/stock.h"
#include "miscadmin.h"
#include "run/hooks.h"
#include "store/defs.h"
#include "store/secrets.h"
#include "store/store.h"

PG_MODULE_MAGIC;

void		_PG_init(void);

void
_PG_init(void)
{
	taskq_store_init();
	taskq_defs_init();
	taskq_secrets_init();
	taskq_hooks_init();
	if (!process_shared_preload_libraries_in_progress || IsBinaryUpgrade)
	{
		taskq_guc_init_tenants();
		return;
	}
	taskq_guc_init();
	taskq_lane_init();
	taskq_keys_init();
	taskq_ring_init();
	taskq_place_init();
	taskq_counts_init();
	taskq_stock_init();
	taskq_outside_init();
	taskq_shmem_init();
	taskq_note_init();
	taskq_pgcron_init();
	taskq_utility_init();
	taskq_launcher_register();
}
