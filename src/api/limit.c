/*-------------------------------------------------------------------------
 *
 * limit.c
 *		kind_limit and queue_limit: other limits, and nothing else is changed.
 *
 * What is left out stays as it is, so two who change different limits of one
 * kind or queue at the same moment both have their way: the row is read and
 * written under the lock that all its writers take.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "access/xact.h"
#include "api/action.h"
#include "api/steer.h"
#include "base/args.h"
#include "base/shmem.h"
#include "fmgr.h"
#include "lanes/keys.h"
#include "lanes/note.h"
#include "lanes/place.h"
#include "miscadmin.h"
#include "store/defs.h"
#include "store/store.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/jsonb.h"
#include "utils/timestamp.h"

#define NO_LIMIT (-1)			/* of an argument */

/* A row of either table: which columns get which values. */
typedef struct Change
{
	Datum		values[Natts_kind];
	bool		nulls[Natts_kind];
	bool		replace[Natts_kind];
} Change;

StaticAssertDecl((int) Natts_queue <= (int) Natts_kind,
				 "a change has room for both");

/*
 * Nobody else changes the table from here on, and what is known of it is what
 * it has now.
 */
static void
begin_change(const char *function, TaskqRelation table)
{
	PreventCommandIfReadOnly(function);
	PreventCommandDuringRecovery(function);
	taskq_defs_begin();
	table_close(taskq_store_open(table, ShareRowExclusiveLock), NoLock);
	taskq_defs_begin();
}

static void
set(Change *change, int column, Datum value)
{
	change->values[column - 1] = value;
	change->nulls[column - 1] = false;
	change->replace[column - 1] = true;
}

/* An argument that is a number, or says that there is none. */
static void
set_number(FunctionCallInfo fcinfo, int n, const char *argument,
		   Change *change, int column)
{
	if (PG_ARGISNULL(n))
		return;
	if (PG_GETARG_INT32(n) < 1 && PG_GETARG_INT32(n) != NO_LIMIT)
		taskq_invalid(psprintf("%s must be at least 1, or -1 for none",
							   argument),
					  psprintf("See argument \"%s\"; to let nothing run, pause it.",
							   argument));
	set(change, column, Int32GetDatum(PG_GETARG_INT32(n)));
	change->nulls[column - 1] = PG_GETARG_INT32(n) == NO_LIMIT;
}

static void
set_period(FunctionCallInfo fcinfo, int n, Change *change, int column)
{
	if (PG_ARGISNULL(n))
		return;
	(void) taskq_arg_interval_us(fcinfo, n, "rate_period", 1000);
	set(change, column, PG_GETARG_DATUM(n));
}

/* A call by which nothing is to change was meant otherwise. */
static void
require_some(const Change *change, const char *hint)
{
	for (int i = 0; i < Natts_kind; i++)
	{
		if (change->replace[i])
			return;
	}
	taskq_invalid("no limit is given", hint);
}

/*
 * Tell the audit what has changed, and those who wait or are about to begin;
 * what workers have reserved by the old limits goes back.
 */
static void
tell(TaskqAction *action, Datum changes)
{
	if (changes != 0 && JB_ROOT_COUNT(DatumGetJsonbP(changes)) == 0)
		return;
	action->verb = "limit";
	action->details = changes;
	taskq_action(action);
	if (taskq_shared == NULL)
		return;
	taskq_note_pause();
	taskq_note_wake();
}

PG_FUNCTION_INFO_V1(taskq_kind_limit);

/*
 * taskq_kind_limit - kind_limit(name, max_running, rate, rate_period,
 * max_running_per_key, reason)
 *
 * Locks the table of kinds against other definers until the transaction ends.
 * Raises 22023 for bad arguments, PT404 if there is no such kind, 42501 if it
 * is another's.
 */
Datum
taskq_kind_limit(PG_FUNCTION_ARGS)
{
	TaskqAction action = {.object = "kind"};
	Change		change = {0};
	char	   *name;
	Datum		changes;

	set_number(fcinfo, 1, "max_running", &change, Anum_kind_max_running);
	set_number(fcinfo, 2, "rate", &change, Anum_kind_rate);
	set_period(fcinfo, 3, &change, Anum_kind_rate_period);
	set_number(fcinfo, 4, "max_running_per_key", &change,
			   Anum_kind_max_running_per_key);
	require_some(&change, "Give max_running, rate, rate_period or max_running_per_key; -1 takes a limit away.");
	begin_change("taskq.kind_limit()", TASKQ_REL_KIND);
	name = taskq_steered_kind(fcinfo, "limit");
	set(&change, Anum_kind_updated_at,
		TimestampTzGetDatum(GetCurrentTimestamp()));
	changes = taskq_kind_change(name, change.values, change.nulls,
								change.replace);
	if (taskq_shared != NULL && !PG_ARGISNULL(4))
		taskq_note_key_limit(taskq_key_limit(name, Max(PG_GETARG_INT32(4), 1)));
	action.name = action.kind = name;
	action.owner = taskq_kind_get(name)->owner_id;
	action.reason = taskq_arg_text(fcinfo, 5, NULL);
	tell(&action, changes);
	PG_RETURN_VOID();
}

/* What a queue is that nobody has defined. */
static void
preset_queue(Change *change, const char *name)
{
	change->values[Anum_queue_name - 1] = CStringGetTextDatum(name);
	change->values[Anum_queue_rate_period - 1] =
		DirectFunctionCall3(interval_in, CStringGetDatum("1 s"), InvalidOid,
							Int32GetDatum(-1));
	change->nulls[Anum_queue_max_running - 1] = true;
	change->nulls[Anum_queue_retention - 1] = true;
	change->nulls[Anum_queue_description - 1] = true;
	change->nulls[Anum_queue_rate - 1] = true;
	change->nulls[Anum_queue_reserved - 1] = true;
}

PG_FUNCTION_INFO_V1(taskq_queue_limit);

/*
 * taskq_queue_limit - queue_limit(name, max_running, rate, rate_period,
 * reserved, reason)
 *
 * Locks the table of queues against other definers until the transaction
 * ends.  Raises 22023 for bad arguments, PT404 if view queue has none of that
 * name, 54000 if too many queues have reserved places.
 */
Datum
taskq_queue_limit(PG_FUNCTION_ARGS)
{
	TaskqAction action = {.object = "queue"};
	Change		change = {0};
	char	   *name = taskq_arg_name(fcinfo, 0, "name");
	Datum		changes;

	preset_queue(&change, name);
	set_number(fcinfo, 1, "max_running", &change, Anum_queue_max_running);
	set_number(fcinfo, 2, "rate", &change, Anum_queue_rate);
	set_period(fcinfo, 3, &change, Anum_queue_rate_period);
	set_number(fcinfo, 4, "reserved", &change, Anum_queue_reserved);
	require_some(&change, "Give max_running, rate, rate_period or reserved; -1 takes a limit away.");
	begin_change("taskq.queue_limit()", TASKQ_REL_QUEUE);
	(void) taskq_listed_queue(fcinfo, 0, "name");
	set(&change, Anum_queue_updated_at,
		TimestampTzGetDatum(GetCurrentTimestamp()));
	changes = taskq_queue_write(name, change.values, change.nulls,
								change.replace);
	if (taskq_shared != NULL && !PG_ARGISNULL(4))
	{
		if (PG_GETARG_INT32(4) != NO_LIMIT)
			taskq_place_check_reserved(name);
		taskq_note_reserved(name, Max(PG_GETARG_INT32(4), 0));
	}
	action.name = name;
	action.reason = taskq_arg_text(fcinfo, 5, NULL);
	tell(&action, changes);
	PG_RETURN_VOID();
}
