/*-------------------------------------------------------------------------
 *
 * pause.c
 *		Pausing queues, kinds and everything, and letting them go on.
 *
 * A pause is a row (pauses.c), so it holds from its commit on, over restarts
 * and on a promoted standby.  The commit also takes back what workers have
 * reserved and not begun (note.c).
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "access/xact.h"
#include "api/action.h"
#include "api/schedule.h"
#include "api/steer.h"
#include "base/args.h"
#include "base/shmem.h"
#include "fmgr.h"
#include "lanes/note.h"
#include "miscadmin.h"
#include "store/defs.h"
#include "store/pauses.h"
#include "store/rights.h"
#include "store/store.h"

static void
begin_change(const char *function)
{
	PreventCommandIfReadOnly(function);
	PreventCommandDuringRecovery(function);
	taskq_defs_begin();
}

/*
 * taskq_listed_queue - an argument's name of a queue that view queue lists, to
 * an operator; or PT404
 */
char *
taskq_listed_queue(FunctionCallInfo fcinfo, int n, const char *argument)
{
	char	   *name = taskq_arg_name(fcinfo, n, argument);

	if (strcmp(name, "default") != 0 && taskq_queue_get(name) == NULL &&
		!taskq_kinds_have_queue(name) && !taskq_lanes_have_queue(name))
		ereport(ERROR,
				(errcode(ERRCODE_TASK_NOT_FOUND),
				 errmsg("queue \"%s\" does not exist", name),
				 errhint("View taskq.queue lists them.")));
	return name;
}

/*
 * taskq_steered_kind - the first argument, name of a kind that the caller owns,
 * or steers as an operator; PT404 if there is none, 42501, which names the
 * verb, if it is another's
 */
char *
taskq_steered_kind(FunctionCallInfo fcinfo, const char *verb)
{
	char	   *name = taskq_arg_name(fcinfo, 0, "name");
	const TaskqKind *kind = taskq_kind_get(name);

	if (kind == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_TASK_NOT_FOUND),
				 errmsg("kind of task \"%s\" does not exist", name),
				 errhint("View taskq.kind lists them.")));
	if (!taskq_steers_all() && !taskq_kind_owned(kind))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("must be owner of kind \"%s\"", name),
				 errhint("It belongs to role \"%s\"; members of that role and of taskq_operator may %s it.", NameStr(kind->owner), verb)));
	return name;
}

static void
tell(const char *verb, const char *object, const char *name,
	 const char *reason)
{
	TaskqAction action = {.verb = verb,.object = object,.name = name,
	.reason = reason};
	const TaskqKind *kind = NULL;

	if (strcmp(object, "kind") == 0)
		kind = taskq_kind_get(name);
	if (kind != NULL)
	{
		action.kind = name;
		action.owner = kind->owner_id;
	}
	taskq_action(&action);
}

static void
pause_it(char scope, const char *object, const char *name, const char *reason)
{
	if (!taskq_pause_write(scope, name, reason))
		return;
	if (taskq_shared != NULL)
		taskq_note_pause();
	tell("pause", object, name, reason);
}

static void
resume_it(char scope, const char *object, const char *name)
{
	if (!taskq_pause_delete(scope, name))
		return;
	if (taskq_shared != NULL)
		taskq_note_wake();
	tell("resume", object, name, NULL);
}

PG_FUNCTION_INFO_V1(taskq_queue_pause);

/* taskq_queue_pause - queue_pause(name, reason); PT404 if there is none */
Datum
taskq_queue_pause(PG_FUNCTION_ARGS)
{
	begin_change("taskq.queue_pause()");
	pause_it(TASKQ_PAUSE_QUEUE, "queue", taskq_listed_queue(fcinfo, 0, "name"),
			 taskq_arg_text(fcinfo, 1, NULL));
	PG_RETURN_VOID();
}

PG_FUNCTION_INFO_V1(taskq_queue_resume);

/*
 * taskq_queue_resume - queue_resume(name); PT404 if there is none and it is
 * not paused
 */
Datum
taskq_queue_resume(PG_FUNCTION_ARGS)
{
	char	   *name = taskq_arg_name(fcinfo, 0, "name");

	begin_change("taskq.queue_resume()");
	if (!taskq_paused(TASKQ_PAUSE_QUEUE, name))
		(void) taskq_listed_queue(fcinfo, 0, "name");
	resume_it(TASKQ_PAUSE_QUEUE, "queue", name);
	PG_RETURN_VOID();
}

PG_FUNCTION_INFO_V1(taskq_kind_pause);

/*
 * taskq_kind_pause - kind_pause(name, reason); PT404 if there is none, 42501
 * if it is another's
 */
Datum
taskq_kind_pause(PG_FUNCTION_ARGS)
{
	begin_change("taskq.kind_pause()");
	pause_it(TASKQ_PAUSE_KIND, "kind", taskq_steered_kind(fcinfo, "pause"),
			 taskq_arg_text(fcinfo, 1, NULL));
	PG_RETURN_VOID();
}

PG_FUNCTION_INFO_V1(taskq_kind_resume);

/* taskq_kind_resume - kind_resume(name); the same errors */
Datum
taskq_kind_resume(PG_FUNCTION_ARGS)
{
	begin_change("taskq.kind_resume()");
	resume_it(TASKQ_PAUSE_KIND, "kind", taskq_steered_kind(fcinfo, "pause"));
	PG_RETURN_VOID();
}

PG_FUNCTION_INFO_V1(taskq_pause);

/* taskq_pause - pause(reason): nothing of this database is started */
Datum
taskq_pause(PG_FUNCTION_ARGS)
{
	begin_change("taskq.pause()");
	pause_it(TASKQ_PAUSE_ALL, "database", "",
			 taskq_arg_text(fcinfo, 0, NULL));
	PG_RETURN_VOID();
}

PG_FUNCTION_INFO_V1(taskq_resume);

/*
 * taskq_resume - resume() returns the number of lanes taken over
 *
 * The tasks of this database shall run here: ends pause(), and makes it the
 * home of all tasks in it; see lanedefs.c.
 */
Datum
taskq_resume(PG_FUNCTION_ARGS)
{
	int			n;
	int			schedules;

	taskq_require_preload();
	begin_change("taskq.resume()");
	resume_it(TASKQ_PAUSE_ALL, "database", "");
	n = taskq_lanes_take_over();
	schedules = taskq_schedules_resume();
	if (n > 0 || schedules > 0 || taskq_db_paused(MyDatabaseId))
	{
		/* claims under way are over before all are counted anew: place.c */
		table_close(taskq_store_open(TASKQ_REL_LEASE, ShareLock), NoLock);
		taskq_note_rescan();
	}
	PG_RETURN_INT32(n);
}
