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
#include "base/compat.h"
#include "catalog/namespace.h"
#include "catalog/objectaccess.h"
#include "commands/prepare.h"
#include "commands/sequence.h"
#include "libpq/be-fsstubs.h"
#include "miscadmin.h"
#include "run/interrupt.h"
#include "run/session.h"
#include "storage/lock.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/guc.h"
#include "utils/portal.h"
#include "utils/snapmgr.h"

static Oid	session_role = InvalidOid;

/* the task may have left cursors, WITH HOLD */
static bool cursors = false;

/* something was made since temporary objects were dropped last */
static bool made = false;
static object_access_hook_type next_object_access = NULL;

static void
on_object_access(ObjectAccessType access, Oid classid, Oid objectid,
				 int subid, void *arg)
{
	made |= access == OAT_POST_CREATE;
	if (next_object_access != NULL)
		next_object_access(access, classid, objectid, subid, arg);
}

/*
 * taskq_session_pin - be who the process was started as, and keep the session
 * to its end
 *
 * Once, after connecting.  The database or the role may have a default for
 * the role of its sessions, meant for those who log in; and settings that end
 * a session, where only a task shall end.
 */
void
taskq_session_pin(void)
{
	static const char *const settings[][2] = {TASKQ_SESSION_SETTINGS};

	/* names of roles are looked up */
	StartTransactionCommand();
	SetConfigOption("session_authorization",
					GetUserNameFromId(GetAuthenticatedUserId(), false),
					PGC_SUSET, PGC_S_OVERRIDE);
	SetConfigOption("role", "none", PGC_SUSET, PGC_S_OVERRIDE);
	CommitTransactionCommand();
	for (int i = 0; i < lengthof(settings); i++)
		SetConfigOption(settings[i][0], settings[i][1], PGC_SUSET,
						PGC_S_OVERRIDE);
}

/*
 * taskq_session_init - pin it, and remember whose session this is; once,
 * after connecting
 */
void
taskq_session_init(void)
{
	taskq_session_pin();
	session_role = GetSessionUserId();
	next_object_access = object_access_hook;
	object_access_hook = on_object_access;
}

/*
 * taskq_session_leaves_cursors - the task that runs may leave cursors behind
 */
void
taskq_session_leaves_cursors(void)
{
	cursors = true;
}

/*
 * May there be temporary objects?  The schema for them stays, once there is
 * one, and to look through the catalogs for what is in it takes longer than a
 * short task.
 */
static bool
has_temp_objects(void)
{
	Oid			namespace;
	Oid			toast_namespace;

	if (!made)
		return false;
	GetTempNamespaceState(&namespace, &toast_namespace);
	return OidIsValid(namespace);
}

static void
drop_temp_objects(void)
{
	ResetTempTableNamespace();

	/*
	 * what the same transaction made before was dropped with it, or is not
	 * temporary
	 */
	made = false;
}

/*
 * taskq_session_clean - what a task leaves but its settings
 *
 * Within a transaction that several tasks share, or outside of any if there
 * are no temporary objects.  What cursors are left are results by now (see
 * attempt.c), so closing them runs nothing.  Raises whatever dropping
 * temporary objects raises.
 */
void
taskq_session_clean(void)
{
	/* may wait for somebody */
	if (has_temp_objects())
		taskq_interrupts_limit();
	ResetSequenceCaches();
	LockReleaseSession(USER_LOCKMETHOD);
	DropAllPreparedStatements();
	DirectFunctionCall1(setseed, Float8GetDatum(((double) random() / RAND_MAX) * 2 - 1));
	if (cursors)
		PortalHashTableDeleteAll();
	cursors = false;
	if (IsTransactionState())
		AtEOXact_LargeObject(true);
	if (has_temp_objects())
		drop_temp_objects();
}

/*
 * taskq_session_reset - make the session as it was before the task
 *
 * Outside of a transaction.  managed: it had transactions of its own, so the
 * settings were not left to the end of one, and nobody has looked for
 * cursors.  Raises whatever dropping the leftovers raises; the caller then
 * gives up the process.
 */
void
taskq_session_reset(bool managed)
{
	if (GetSessionUserId() != session_role || GetOuterUserId() != session_role)
		SetConfigOption("session_authorization", NULL, PGC_USERSET,
						PGC_S_SESSION);
	if (managed)
	{
		ResetAllOptions();
		cursors = true;
	}
	/* as the role */
	if (!has_temp_objects())
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
