/*-------------------------------------------------------------------------
 *
 * utility.c
 *		Commands before which taskq's processes must leave a database.
 *
 * DROP, RENAME and SET TABLESPACE of a database, a copy of it, and DROP or
 * ALTER of the extension want nobody else there.  Idle processes leave at
 * once, busy workers after the task they are in, or when a second has passed:
 * then the task is rolled back and runs again.  None comes back before the
 * transaction ends.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <signal.h>

#include "access/xact.h"
#include "base/clock.h"
#include "base/compat.h"
#include "base/current.h"
#include "base/pgcron.h"
#include "base/shmem.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_database.h"
#include "commands/dbcommands.h"
#include "commands/defrem.h"
#include "commands/extension.h"
#include "dispatch/utility.h"
#include "lanes/counts.h"
#include "lanes/lane.h"
#include "lanes/note.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "store/store.h"
#include "tcop/utility.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

#define GRACE_MS 1000			/* for workers to end the task they are in */
#define WAIT_MS 4000			/* for all to leave */

static ProcessUtility_hook_type prev_ProcessUtility_hook = NULL;

/* Databases that this transaction keeps taskq out of. */
#define MAX_BLOCKED 8
static struct
{
	Oid			dbid;
	bool		dropped;		/* on commit: gone */
	int			nest_level;
}			blocked[MAX_BLOCKED];
static int	nblocked = 0;

static Oid	made = InvalidOid;	/* the extension, if this transaction has made
								 * it */
static bool anew = false;		/* ... and it is there when it commits */

static bool
processes_left(Oid dbid)
{
	TaskqDb    *db = taskq_db_find(dbid);

	if (db != NULL && (db->dispatcher != 0 || db->sweeper != 0))
		return true;
	for (int i = 0; i < taskq_shared->nslots; i++)
	{
		if (taskq_shared->slots[i].dbid == dbid &&
			taskq_shared->slots[i].pid != 0)
			return true;
	}
	return false;
}

static void
wake_processes(TaskqDb *db)
{
	if (db->dispatcher > 0)
		taskq_wake_proc(db->procno);
	if (db->sweeper > 0)
		taskq_wake_proc(db->sweeper_procno);
	for (int i = 0; i < taskq_shared->nslots; i++)
	{
		TaskqSlot  *slot = &taskq_shared->slots[i];

		if (slot->dbid == db->dbid && slot->pid != 0)
			taskq_wake_proc(slot->procno);
	}
}

/* Their tasks run again later; the sweeper goes on where it was. */
static void
end_workers(Oid dbid)
{
	TaskqDb    *db;

	LWLockAcquire(taskq_main_lock, LW_EXCLUSIVE);
	db = taskq_db_find(dbid);
	if (db != NULL && db->sweeper > 0)
		kill(db->sweeper, SIGTERM);
	for (int i = 0; i < taskq_shared->nslots; i++)
	{
		TaskqSlot  *slot = &taskq_shared->slots[i];

		if (slot->dbid != dbid || slot->pid == 0)
			continue;
		slot->requeue = true;
		kill(slot->pid, SIGTERM);
	}
	LWLockRelease(taskq_main_lock);
}

/*
 * Where library and extension did not fit together they may do so afterwards:
 * then there is work.
 */
static void
enter_database(Oid dbid)
{
	LWLockAcquire(taskq_main_lock, LW_EXCLUSIVE);
	(void) taskq_db_enter(dbid);
	LWLockRelease(taskq_main_lock);
}

/*
 * Keep taskq out of a database until the transaction ends, and wait for it to
 * leave.
 */
static void
block_database(Oid dbid, bool dropped)
{
	TaskqDb    *db;
	TimestampTz start = taskq_steady_now();
	bool		ended = false;

	if (taskq_in_task() && dbid == MyDatabaseId)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("this command cannot be used in a task of the same database"),
				 errdetail("It needs all tasks of the database to be stopped."),
				 errhint("Run it in a session of its own.")));
	if (nblocked == MAX_BLOCKED)
		return;
	LWLockAcquire(taskq_main_lock, LW_EXCLUSIVE);
	db = taskq_db_find(dbid);
	if (db != NULL)
	{
		db->blocked++;
		wake_processes(db);
		blocked[nblocked].dbid = dbid;
		blocked[nblocked].dropped = dropped;
		blocked[nblocked].nest_level = GetCurrentTransactionNestLevel();
		nblocked++;
	}
	LWLockRelease(taskq_main_lock);
	if (db == NULL)
		return;

	ConditionVariablePrepareToSleep(&taskq_shared->slots_changed);
	for (;;)
	{
		bool		left;

		LWLockAcquire(taskq_main_lock, LW_SHARED);
		left = !processes_left(dbid);
		LWLockRelease(taskq_main_lock);
		if (left ||
			TimestampDifferenceExceeds(start, taskq_steady_now(), WAIT_MS))
			break;
		if (!ended &&
			TimestampDifferenceExceeds(start, taskq_steady_now(), GRACE_MS))
		{
			end_workers(dbid);
			ended = true;
		}
		ConditionVariableTimedSleep(&taskq_shared->slots_changed, 100,
									taskq_wait_event("TaskqLeave"));
	}
	ConditionVariableCancelSleep();
}

static void
unblock(int i, bool committed)
{
	TaskqDb    *db = taskq_db_find(blocked[i].dbid);

	if (db == NULL)
		return;
	db->blocked--;
	if (committed && blocked[i].dropped && !processes_left(blocked[i].dbid))
		taskq_db_forget(blocked[i].dbid);
	else
	{
		db->wanted = true;
		taskq_wake_launcher();
	}
}

/* All that were kept out may come back, or are forgotten. */
static void
unblock_all(bool committed)
{
	int			n = nblocked;

	LWLockAcquire(taskq_main_lock, LW_EXCLUSIVE);
	while (nblocked > 0)
		unblock(--nblocked, committed);
	LWLockRelease(taskq_main_lock);
	/* what this transaction has counted is the next extension's, if it is */
	for (int i = 0; i < n && committed; i++)
	{
		if (blocked[i].dropped && !anew)
			taskq_counts_forget(blocked[i].dbid);
	}
}

/*
 * Who makes the extension does not begin with the counts of one before,
 * however that went.
 */
static void
before_commit(void)
{
	anew = OidIsValid(made) && get_extension_oid("taskq", true) == made;
	if (anew)
		taskq_counts_anew();
}

static void
on_xact_end(XactEvent event, void *arg)
{
	if (event == XACT_EVENT_PRE_COMMIT)
		before_commit();
	if (event != XACT_EVENT_COMMIT && event != XACT_EVENT_ABORT &&
		event != XACT_EVENT_PREPARE)
		return;
	if (nblocked > 0)
		unblock_all(event == XACT_EVENT_COMMIT);
	made = InvalidOid;
	anew = false;
}

static void
on_subxact_end(SubXactEvent event, SubTransactionId mySubid,
			   SubTransactionId parentSubid, void *arg)
{
	int			level = GetCurrentTransactionNestLevel();

	if (nblocked == 0 || (event != SUBXACT_EVENT_ABORT_SUB &&
						  event != SUBXACT_EVENT_COMMIT_SUB))
		return;
	LWLockAcquire(taskq_main_lock, LW_EXCLUSIVE);
	for (int i = nblocked - 1; i >= 0 && blocked[i].nest_level >= level; i--)
	{
		if (event == SUBXACT_EVENT_COMMIT_SUB)
			blocked[i].nest_level = level - 1;
		else
			unblock(--nblocked, false);
	}
	LWLockRelease(taskq_main_lock);
}

/*
 * The command will fail anyhow if the caller may not: then nobody is
 * disturbed.
 */
static void
block_named(const char *name, bool dropped, bool as_template)
{
	Oid			dbid = get_database_oid(name, true);
	bool		is_template = false;
	HeapTuple	tuple;

	if (!OidIsValid(dbid))
		return;
	tuple = SearchSysCache1(DATABASEOID, ObjectIdGetDatum(dbid));
	if (HeapTupleIsValid(tuple))
	{
		is_template = ((Form_pg_database) GETSTRUCT(tuple))->datistemplate;
		ReleaseSysCache(tuple);
	}
	if (taskq_database_ownercheck(dbid, GetUserId()) ||
		(as_template && is_template))
		block_database(dbid, dropped);
}

static const char *
string_option(List *options, const char *name, const char *preset)
{
	ListCell   *lc;

	foreach(lc, options)
	{
		DefElem    *option = lfirst_node(DefElem, lc);

		if (strcmp(option->defname, name) == 0 && option->arg != NULL)
			return defGetString(option);
	}
	return preset;
}

static bool
drops_extension(DropStmt *stmt)
{
	ListCell   *lc;

	if (stmt->removeType != OBJECT_EXTENSION)
		return false;
	foreach(lc, stmt->objects)
	{
		if (strcmp(strVal(lfirst(lc)), "taskq") == 0)
			return true;
	}
	return false;
}

static bool
may_create_databases(void)
{
	HeapTuple	tuple = SearchSysCache1(AUTHOID, ObjectIdGetDatum(GetUserId()));
	bool		may = superuser();

	if (HeapTupleIsValid(tuple))
	{
		may |= ((Form_pg_authid) GETSTRUCT(tuple))->rolcreatedb;
		ReleaseSysCache(tuple);
	}
	return may;
}

/* Make room for the command, if it needs that. */
static void
before_command(Node *stmt)
{
	switch (nodeTag(stmt))
	{
		case T_DropdbStmt:
			block_named(((DropdbStmt *) stmt)->dbname, true, false);
			break;
		case T_RenameStmt:
			if (((RenameStmt *) stmt)->renameType == OBJECT_DATABASE)
				block_named(((RenameStmt *) stmt)->subname, false, false);
			break;
		case T_AlterDatabaseStmt:
			if (string_option(((AlterDatabaseStmt *) stmt)->options,
							  "tablespace", NULL) != NULL)
				block_named(((AlterDatabaseStmt *) stmt)->dbname, false,
							false);
			break;
		case T_CreatedbStmt:
			if (may_create_databases())
				block_named(string_option(((CreatedbStmt *) stmt)->options,
										  "template", "template1"),
							false, true);
			break;
		case T_DropStmt:
			if (drops_extension((DropStmt *) stmt) && superuser())
				block_database(MyDatabaseId, true);
			break;
		case T_AlterExtensionStmt:
			if (strcmp(((AlterExtensionStmt *) stmt)->extname, "taskq") == 0 &&
				superuser())
			{
				enter_database(MyDatabaseId);
				block_database(MyDatabaseId, false);
			}
			break;
		default:
			break;
	}
}

/* The database that the command takes from taskq, or renames; or InvalidOid. */
static Oid
database_of(Node *stmt)
{
	if (IsA(stmt, DropdbStmt))
		return get_database_oid(((DropdbStmt *) stmt)->dbname, true);
	if (IsA(stmt, RenameStmt) &&
		((RenameStmt *) stmt)->renameType == OBJECT_DATABASE)
		return get_database_oid(((RenameStmt *) stmt)->subname, true);
	if (IsA(stmt, DropStmt) && drops_extension((DropStmt *) stmt))
		return MyDatabaseId;
	return InvalidOid;
}

/* ... and has: pg_cron calls nobody there any more, or by the new name. */
static void
tell_pgcron(Node *stmt, Oid database)
{
	if (!OidIsValid(database))
		return;
	if (IsA(stmt, RenameStmt))
		taskq_pgcron_rename_database(database, ((RenameStmt *) stmt)->newname);
	else
		taskq_pgcron_forget_database(database);
}

static bool
makes_extension(Node *stmt)
{
	const char *name = NULL;

	if (IsA(stmt, CreateExtensionStmt))
		name = ((CreateExtensionStmt *) stmt)->extname;
	else if (IsA(stmt, AlterExtensionStmt))
		name = ((AlterExtensionStmt *) stmt)->extname;
	return name != NULL && strcmp(name, "taskq") == 0;
}

/* A script names a function that the library does not have. */
static void
hint_in_script(void *arg)
{
	if (geterrcode() == ERRCODE_UNDEFINED_FUNCTION)
		errhint(TASKQ_LIBRARY_FIRST);
}

/* The name of the prepared transaction that the command ends, or NULL. */
static const char *
ends_prepared(Node *stmt)
{
	TransactionStmt *transaction = (TransactionStmt *) stmt;

	if (!IsA(stmt, TransactionStmt))
		return NULL;
	if (transaction->kind == TRANS_STMT_PREPARE)
		taskq_note_preparing(transaction->gid);
	if (transaction->kind != TRANS_STMT_COMMIT_PREPARED &&
		transaction->kind != TRANS_STMT_ROLLBACK_PREPARED)
		return NULL;
	return transaction->gid;
}

static void
taskq_ProcessUtility(PlannedStmt *pstmt, const char *queryString,
					 bool readOnlyTree, ProcessUtilityContext context,
					 ParamListInfo params, QueryEnvironment *queryEnv,
					 DestReceiver *dest, QueryCompletion *qc)
{
	Node	   *stmt = pstmt->utilityStmt;
	const char *gid = ends_prepared(stmt);
	bool		committed = gid != NULL && ((TransactionStmt *) stmt)->kind ==
	TRANS_STMT_COMMIT_PREPARED;
	bool		script = makes_extension(stmt);
	int32		number = script ? taskq_store_script() : -1;
	Oid			extension = script ? get_extension_oid("taskq", true) : InvalidOid;
	Oid			database = database_of(stmt);
	ErrorContextCallback hint = {
		.previous = error_context_stack,.callback = hint_in_script
	};

	before_command(stmt);
	if (script)
		error_context_stack = &hint;
	if (gid != NULL)
		taskq_note_ending(gid);
	if (prev_ProcessUtility_hook)
		prev_ProcessUtility_hook(pstmt, queryString, readOnlyTree, context,
								 params, queryEnv, dest, qc);
	else
		standard_ProcessUtility(pstmt, queryString, readOnlyTree, context,
								params, queryEnv, dest, qc);
	if (script)
	{
		error_context_stack = hint.previous;
		taskq_store_changed(number);
		if (get_extension_oid("taskq", true) != extension)
			made = get_extension_oid("taskq", true);
	}
	tell_pgcron(stmt, database);
	if (gid != NULL)
		taskq_note_ended(gid, committed);
}

/* taskq_utility_init - while the server starts */
void
taskq_utility_init(void)
{
	prev_ProcessUtility_hook = ProcessUtility_hook;
	ProcessUtility_hook = taskq_ProcessUtility;
	RegisterXactCallback(on_xact_end, NULL);
	RegisterSubXactCallback(on_subxact_end, NULL);
}
