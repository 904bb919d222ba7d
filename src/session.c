/*-------------------------------------------------------------------------
 *
 * session.c
 *		What one task leaves in the session is gone for the next.
 *
 * DISCARD's work, piece by piece, and only what is there: DISCARD ALL would
 * also drop the plans that make the next task fast.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/namespace.h"
#include "commands/async.h"
#include "commands/prepare.h"
#include "commands/sequence.h"
#include "interrupt.h"
#include "miscadmin.h"
#include "session.h"
#include "storage/lock.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/guc.h"
#include "utils/portal.h"
#include "utils/snapmgr.h"

static Oid	session_role = InvalidOid;

/* taskq_session_init - remember whose session this is; once, after connecting */
void
taskq_session_init(void)
{
	session_role = GetSessionUserId();
}

static bool
has_temp_objects(void)
{
	Oid			namespace;
	Oid			toast_namespace;

	GetTempNamespaceState(&namespace, &toast_namespace);
	return OidIsValid(namespace);
}

/* Open cursors and temporary tables: what can't be let go of outside of a transaction. */
static bool
has_leftovers(void)
{
	return !ThereAreNoReadyPortals() || has_temp_objects();
}

/*
 * taskq_session_clean - what a task leaves but its settings, in a transaction if there are leftovers
 *
 * Raises whatever dropping the leftovers raises.
 */
void
taskq_session_clean(void)
{
	/* closing an open cursor and dropping a table can run code, or wait for somebody */
	if (has_leftovers())
		taskq_interrupts_limit();
	ResetSequenceCaches();
	LockReleaseSession(USER_LOCKMETHOD);
	DropAllPreparedStatements();
	DirectFunctionCall1(setseed, Float8GetDatum(((double) random() / RAND_MAX) * 2 - 1));
	PortalHashTableDeleteAll();
	if (has_temp_objects())
		ResetTempTableNamespace();
}

/*
 * taskq_session_reset - make the session as it was before the task
 *
 * Outside of a transaction.  The settings too, where they were not left to the
 * end of a transaction or of a part of one.  Raises whatever dropping the leftovers raises; the
 * caller then gives up the process.
 */
void
taskq_session_reset(bool settings)
{
	if (GetSessionUserId() != session_role || GetOuterUserId() != session_role)
		SetConfigOption("session_authorization", NULL, PGC_USERSET, PGC_S_SESSION);
	if (settings)
		ResetAllOptions();
	/* as the role */
	if (!has_leftovers())
	{
		taskq_session_clean();
		return;
	}
	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	taskq_session_clean();
	PopActiveSnapshot();
	CommitTransactionCommand();
}
