/*-------------------------------------------------------------------------
 *
 * schedule.c
 *		Schedules: defined, switched on and off, run by hand, dropped.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "api/action.h"
#include "api/foreach.h"
#include "api/schedule.h"
#include "api/submit.h"
#include "base/args.h"
#include "base/http.h"
#include "base/pgcron.h"
#include "base/shmem.h"
#include "fmgr.h"
#include "lanes/note.h"
#include "lanes/schedule.h"
#include "miscadmin.h"
#include "run/complete.h"
#include "store/rights.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "utils/timestamp.h"

/* Arguments of schedule_define */
enum
{
	ARG_NAME,
	ARG_KIND,
	ARG_CRON,
	ARG_EVERY,
	ARG_PAYLOAD,
	ARG_FOREACH,
	ARG_TIMEZONE,
	ARG_OVERLAP,
	ARG_MISSED,
	ARG_SKIP_WITHIN,
	ARG_COUNTS,
	ARG_STARTS_AT,
	ARG_ENABLED,
	ARG_OPTIONS,
	ARG_DESCRIPTION
};

#define VALUE(column) values[Anum_schedule_##column - 1]
#define ISNULL(column) nulls[Anum_schedule_##column - 1]

static void
begin_change(const char *function)
{
	taskq_require_preload();
	PreventCommandIfReadOnly(function);
	PreventCommandDuringRecovery(function);
	taskq_tenant_check();
	taskq_defs_begin();
}

/* Whose it is, or NULL. */
static const char *
tenant_of(const TaskqSchedule *schedule)
{
	return schedule->tenant == 0 ? NULL
		: TextDatumGetCString(schedule->tenant);
}

/* May the caller know of this schedule? */
static bool
may_see(const TaskqSchedule *schedule)
{
	return taskq_role_may_see(schedule->owner_oid) &&
		taskq_tenant_may_see(tenant_of(schedule));
}

/* May it change and run it? */
static bool
may_steer(const TaskqSchedule *schedule)
{
	return taskq_steers_tenant(tenant_of(schedule)) ||
		(OidIsValid(schedule->owner_oid) &&
		 has_privs_of_role(GetUserId(), schedule->owner_oid));
}

/*
 * Only its owner, or a member of the owner's role, replaces a schedule: what
 * it submits is the owner's.
 */
static void
require_owner(const TaskqSchedule *schedule)
{
	if (may_see(schedule) &&
		(superuser() || (OidIsValid(schedule->owner_oid) &&
						 has_privs_of_role(GetUserId(), schedule->owner_oid))))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("must be owner of schedule \"%s\"", NameStr(schedule->name)),
			 errhint("Choose another name, or let its owner drop it.")));
}

static void
require_steer(const TaskqSchedule *schedule)
{
	if (!may_see(schedule) || !may_steer(schedule))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied for schedule \"%s\"", NameStr(schedule->name)),
				 errhint("That is for its owner and for members of taskq_operator or, for their tenant, taskq_tenant_operator.")));
}

/*
 * The schedule of this name, which the caller may steer, with its state
 * locked; PT404 if there is none.  change: and nobody else defines one.
 */
static void
lock_schedule(FunctionCallInfo fcinfo, const char *function, bool change,
			  TaskqSchedule *schedule, TaskqScheduleState *state)
{
	char	   *name = taskq_arg_name(fcinfo, 0, "name");
	bool		found;

	begin_change(function);
	found = taskq_schedule_find(name, schedule) && may_see(schedule);
	if (found)
	{
		require_steer(schedule);
		if (change)
			taskq_schedules_lock();
		/* who it was may have changed since */
		found =
			taskq_schedule_state_lock(name, true, state) == TASKQ_LOCKED &&
			taskq_schedule_find(name, schedule) && may_see(schedule);
	}
	if (!found)
		ereport(ERROR,
				(errcode(ERRCODE_TASK_NOT_FOUND),
				 errmsg("schedule \"%s\" does not exist", name),
				 errhint("View taskq.schedule lists them.")));
	require_steer(schedule);
}

/* ---- define ---- */

/* One of some words, by its number. */
static int
word_arg(FunctionCallInfo fcinfo, int n, const char *argument,
		 const char *const *words, int nwords, const char *message)
{
	char	   *word = taskq_arg_text(fcinfo, n, words[0]);

	for (int i = 0; i < nwords; i++)
	{
		if (strcmp(word, words[i]) == 0)
			return i;
	}
	taskq_invalid_argument(argument, message);
	return 0;
}

static char
missed_arg(FunctionCallInfo fcinfo)
{
	static const char *const words[] = {"once", "skip", "all"};
	static const char letters[] = {TASKQ_MISSED_ONCE, TASKQ_MISSED_SKIP,
	TASKQ_MISSED_ALL};

	return letters[word_arg(fcinfo, ARG_MISSED, "missed", words,
							lengthof(words),
							"must be \"skip\", \"once\" or \"all\"")];
}

static char
counts_arg(FunctionCallInfo fcinfo)
{
	static const char *const words[] = {"submitted", "completed"};
	static const char letters[] = {TASKQ_COUNTS_SUBMITTED,
	TASKQ_COUNTS_COMPLETED};

	return letters[word_arg(fcinfo, ARG_COUNTS, "counts", words,
							lengthof(words),
							"must be \"submitted\" or \"completed\"")];
}

static bool
bool_arg(FunctionCallInfo fcinfo, int n, bool preset)
{
	return PG_ARGISNULL(n) ? preset : PG_GETARG_BOOL(n);
}

/* When: exactly one of cron and every. */
static void
set_when(FunctionCallInfo fcinfo, Datum *values, bool *nulls)
{
	ISNULL(cron) = PG_ARGISNULL(ARG_CRON);
	ISNULL(every) = PG_ARGISNULL(ARG_EVERY);
	ISNULL(timezone) = PG_ARGISNULL(ARG_TIMEZONE);
	if (ISNULL(cron) == ISNULL(every))
		taskq_invalid("a schedule needs either cron or every",
					  "Pass an expression as argument \"cron\", or an interval as argument \"every\".");
	VALUE(cron) = PG_GETARG_DATUM(ARG_CRON);
	VALUE(timezone) = PG_GETARG_DATUM(ARG_TIMEZONE);
	if (!ISNULL(cron))
	{
		taskq_pgcron_require();
		if (!PG_ARGISNULL(ARG_STARTS_AT))
			taskq_invalid("an expression of cron has its own times",
						  "Leave argument \"starts_at\" out.");
		return;
	}
	if (!ISNULL(timezone))
		taskq_invalid("an interval has no time zone",
					  "Leave argument \"timezone\" out, or use argument \"cron\".");
	if (PG_GETARG_INTERVAL_P(ARG_EVERY)->month != 0)
		taskq_invalid("months and years have no fixed length",
					  "Pass days or less as argument \"every\", or use argument \"cron\".");
	(void) taskq_arg_interval_us(fcinfo, ARG_EVERY, "every", 1000);
	VALUE(every) = PG_GETARG_DATUM(ARG_EVERY);
}

static void
set_work(FunctionCallInfo fcinfo, Datum *values, bool *nulls)
{
	char	   *kind = taskq_arg_name(fcinfo, ARG_KIND, "kind");
	const TaskqKind *found;

	if (strcmp(kind, TASKQ_SQL_KIND) == 0)
		taskq_invalid("kind \"sql\" is that of SQL commands",
					  "Define a kind whose handler does what the command does.");
	found = taskq_submit_kind(kind);
	VALUE(kind_owner) = Int32GetDatum(found->owner_id);
	VALUE(kind_version) = Int64GetDatum(found->version);
	VALUE(kind) = CStringGetTextDatum(kind);
	if (PG_ARGISNULL(ARG_PAYLOAD))
		VALUE(payload) = DirectFunctionCall1(jsonb_in, CStringGetDatum("{}"));
	else
	{
		taskq_check_size(PG_GETARG_JSONB_P(ARG_PAYLOAD), "payload");
		VALUE(payload) = PG_GETARG_DATUM(ARG_PAYLOAD);
	}
	ISNULL(description) = PG_ARGISNULL(ARG_DESCRIPTION);
	VALUE(description) = PG_GETARG_DATUM(ARG_DESCRIPTION);
}

/* Of objects: which, and which of them are passed over. */
static void
set_objects(FunctionCallInfo fcinfo, Datum *values, bool *nulls)
{
	ISNULL(foreach) = PG_ARGISNULL(ARG_FOREACH);
	ISNULL(skip_within) = PG_ARGISNULL(ARG_SKIP_WITHIN);
	VALUE(foreach) = PG_GETARG_DATUM(ARG_FOREACH);
	VALUE(skip_within) = PG_GETARG_DATUM(ARG_SKIP_WITHIN);
	VALUE(counts) = CharGetDatum(counts_arg(fcinfo));
	if (!ISNULL(foreach))
	{
		taskq_http_refuse_sql();
		taskq_foreach_check(taskq_arg_text(fcinfo, ARG_FOREACH, NULL));
	}
	if (ISNULL(skip_within))
		return;
	if (ISNULL(foreach))
		taskq_invalid("skip_within is for the objects of a query",
					  "Pass the query as argument \"foreach\", or leave argument \"skip_within\" out.");
	(void) taskq_arg_interval_us(fcinfo, ARG_SKIP_WITHIN, "skip_within",
								 1000);
}

/* The options of its submits; returns the tenant that they name, or 0. */
static Datum
set_options(FunctionCallInfo fcinfo, Datum *values, bool *nulls)
{
	Datum		tenant;

	ISNULL(options) = PG_ARGISNULL(ARG_OPTIONS);
	VALUE(options) = PG_GETARG_DATUM(ARG_OPTIONS);
	if (ISNULL(options))
		return (Datum) 0;
	tenant = taskq_schedule_check_options(PG_GETARG_JSONB_P(ARG_OPTIONS));
	if (tenant != 0 && !taskq_tenant_may_name())
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied to name the tenant of a schedule"),
				 errdetail("The session, or the task that runs in it, acts for one tenant or came through a gateway."),
				 errhint("Leave member \"tenant\" of argument \"options\" out: the claims say whose the schedule is.")));
	return tenant;
}

/*
 * Whose it is: the definer's, and the tenant's that it named, or else its
 * own.  Replacing does not make it somebody else's.
 */
static void
set_owner(const TaskqSchedule *old, Datum named, Datum *values, bool *nulls)
{
	Oid			owner = old && OidIsValid(old->owner_oid) ? old->owner_oid
	: GetUserId();
	Jsonb	   *claims = taskq_caller_claims();
	TaskqSubmit submit;

	VALUE(owner) = Int32GetDatum(taskq_role_id(owner));
	taskq_submit_new(&submit);
	taskq_submit_claims(&submit);
	ISNULL(claims) = claims == NULL;
	VALUE(claims) = JsonbPGetDatum(claims);
	if (named == 0 && !taskq_row_isnull(&submit.row, tenant))
		named = taskq_row_value(&submit.row, tenant);
	ISNULL(tenant) = named == 0;
	VALUE(tenant) = named;
	VALUE(system) = Int64GetDatum((int64) GetSystemIdentifier());
	VALUE(database) = ObjectIdGetDatum(MyDatabaseId);
}

/*
 * Its next due time: as before, if the interval is as before; the one that
 * was asked for; or one interval from now.
 */
static void
set_next(FunctionCallInfo fcinfo, const TaskqSchedule *old,
		 const TaskqSchedule *new, TaskqScheduleState *state)
{
	TimestampTz now = GetCurrentTimestamp();

	state->error = 0;
	state->error_at = DT_NOEND;
	state->failures = 0;
	if (!PG_ARGISNULL(ARG_STARTS_AT))
	{
		state->next_run = PG_GETARG_TIMESTAMPTZ(ARG_STARTS_AT);
		if (TIMESTAMP_NOT_FINITE(state->next_run))
			taskq_invalid_argument("starts_at", "must be finite");
	}
	else if (old == NULL || old->every_us != new->every_us || old->foreign)
		state->next_run = DT_NOEND;
	taskq_schedule_next(new, state, now);
	if (!new->enabled)
		state->look_at = DT_NOEND;
}

/* Tell pg_cron, if it has to do with the schedule or had. */
static void
tell_pgcron(const TaskqSchedule *old, const TaskqSchedule *new, bool enabled)
{
	if (new != NULL && new->cron != NULL && enabled)
		taskq_pgcron_set(NameStr(new->name), taskq_schedule_job(new),
						 GetUserNameFromId(new->owner_oid, false));
	else if ((new != NULL && new->cron != NULL) ||
			 (old != NULL && old->cron != NULL))
		taskq_pgcron_set(NameStr((new ? new : old)->name), NULL, NULL);
}

static void
tell(const char *verb, const TaskqSchedule *schedule, Datum details)
{
	TaskqAction action = {.verb = verb,.object = "schedule",
		.name = NameStr(schedule->name),.kind = schedule->kind,
	.details = details};

	if (schedule->tenant != 0)
		action.tenant = TextDatumGetCString(schedule->tenant);
	if (OidIsValid(schedule->owner_oid))
		action.owner = taskq_role_id(schedule->owner_oid);
	taskq_action(&action);
}

PG_FUNCTION_INFO_V1(taskq_schedule_define);

/*
 * taskq_schedule_define - schedule_define(name, kind, ...), see its COMMENT
 *
 * Locks the table of schedules against other definers, and the schedule,
 * until the transaction ends.  Raises 22023 for bad arguments, 42501 for what
 * the caller may not.
 */
Datum
taskq_schedule_define(PG_FUNCTION_ARGS)
{
	char	   *name = taskq_arg_name(fcinfo, ARG_NAME, "name");
	Datum		values[Natts_schedule] = {0};
	bool		nulls[Natts_schedule] = {false};
	TaskqScheduleState state;
	TaskqSchedule old;
	TaskqSchedule new;
	bool		replaces;
	Datum		tenant;
	Datum		changes;

	begin_change("taskq.schedule_define()");
	VALUE(name) = CStringGetTextDatum(name);
	set_when(fcinfo, values, nulls);
	set_work(fcinfo, values, nulls);
	tenant = set_options(fcinfo, values, nulls);
	VALUE(overlap) = BoolGetDatum(bool_arg(fcinfo, ARG_OVERLAP, false));
	VALUE(missed) = CharGetDatum(missed_arg(fcinfo));
	set_objects(fcinfo, values, nulls);
	VALUE(enabled) = BoolGetDatum(bool_arg(fcinfo, ARG_ENABLED, true));
	VALUE(updated_at) = TimestampTzGetDatum(GetCurrentTimestamp());

	taskq_schedules_lock();
	replaces = taskq_schedule_state_lock(name, true, &state) == TASKQ_LOCKED &&
		taskq_schedule_find(name, &old);
	if (replaces)
		require_owner(&old);
	else
		taskq_schedule_state_new(&state, name);
	set_owner(replaces ? &old : NULL, tenant, values, nulls);
	changes = taskq_schedule_write(name, values, nulls, NULL);
	if (!taskq_schedule_find(name, &new))
		elog(ERROR, "schedule not found");
	tell("define", &new, changes);
	set_next(fcinfo, replaces ? &old : NULL, &new, &state);
	if (replaces)
		taskq_schedule_state_update(&state);
	else
		taskq_schedule_state_insert(&state);
	tell_pgcron(replaces ? &old : NULL, &new, new.enabled);
	taskq_note_schedule(state.look_at);
	PG_RETURN_VOID();
}

/* ---- what is there ---- */

PG_FUNCTION_INFO_V1(taskq_schedule_drop);

/* taskq_schedule_drop - schedule_drop(name); PT404 if there is none */
Datum
taskq_schedule_drop(PG_FUNCTION_ARGS)
{
	TaskqScheduleState state;
	TaskqSchedule schedule;

	lock_schedule(fcinfo, "taskq.schedule_drop()", true, &schedule, &state);
	(void) taskq_schedule_delete(NameStr(schedule.name));
	tell("drop", &schedule, 0);
	PG_RETURN_VOID();
}

static void
switch_schedule(FunctionCallInfo fcinfo, const char *function, bool enabled)
{
	TaskqScheduleState state;
	TaskqSchedule schedule;
	Datum		values[Natts_schedule] = {0};
	bool		nulls[Natts_schedule] = {false};
	bool		replace[Natts_schedule] = {false};

	lock_schedule(fcinfo, function, true, &schedule, &state);
	VALUE(enabled) = BoolGetDatum(enabled);
	VALUE(updated_at) = TimestampTzGetDatum(GetCurrentTimestamp());
	replace[Anum_schedule_enabled - 1] = true;
	replace[Anum_schedule_updated_at - 1] = true;
	(void) taskq_schedule_write(NameStr(schedule.name), values, nulls, replace);
	if (schedule.enabled != enabled)
		tell(enabled ? "enable" : "disable", &schedule, 0);
	state.look_at = DT_NOEND;
	if (enabled && schedule.cron != NULL)
		taskq_pgcron_require();
	if (enabled && !schedule.foreign)
		taskq_schedule_next(&schedule, &state, GetCurrentTimestamp());
	taskq_schedule_state_update(&state);
	tell_pgcron(NULL, &schedule, enabled && !schedule.foreign);
	taskq_note_schedule(state.look_at);
}

PG_FUNCTION_INFO_V1(taskq_schedule_enable);

/* taskq_schedule_enable - schedule_enable(name); PT404 if there is none */
Datum
taskq_schedule_enable(PG_FUNCTION_ARGS)
{
	switch_schedule(fcinfo, "taskq.schedule_enable()", true);
	PG_RETURN_VOID();
}

PG_FUNCTION_INFO_V1(taskq_schedule_disable);

/* taskq_schedule_disable - schedule_disable(name); PT404 if there is none */
Datum
taskq_schedule_disable(PG_FUNCTION_ARGS)
{
	switch_schedule(fcinfo, "taskq.schedule_disable()", false);
	PG_RETURN_VOID();
}

PG_FUNCTION_INFO_V1(taskq_schedule_run);

/*
 * taskq_schedule_run - schedule_run(name) returns uuid
 *
 * Locks the schedule until the transaction ends.  Raises PT404, and what
 * keeps the run from being made.
 */
Datum
taskq_schedule_run(PG_FUNCTION_ARGS)
{
	TaskqScheduleState state;
	TaskqSchedule schedule;
	pg_uuid_t  *id = palloc(sizeof(pg_uuid_t));

	lock_schedule(fcinfo, "taskq.schedule_run()", false, &schedule, &state);
	taskq_schedule_submit(&schedule, &state, GetCurrentTimestamp());
	taskq_schedule_state_update(&state);
	*id = state.last_task;
	tell("run", &schedule, 0);
	PG_RETURN_UUID_P(id);
}

/*
 * taskq_schedules_resume - those that came with a copy are this database's
 * from now on
 *
 * They are due next when they are due next: nothing was missed here.  Returns
 * how many there are.
 */
int
taskq_schedules_resume(void)
{
	List	   *names = taskq_schedules_take_over();
	ListCell   *lc;

	foreach(lc, names)
	{
		TaskqScheduleState state;
		TaskqSchedule schedule;

		if (taskq_schedule_state_lock(lfirst(lc), true, &state) != TASKQ_LOCKED ||
			!taskq_schedule_find(lfirst(lc), &schedule) || !schedule.enabled)
			continue;
		taskq_schedule_next(&schedule, &state, GetCurrentTimestamp());
		taskq_schedule_state_update(&state);
		if (OidIsValid(schedule.owner_oid))
			tell_pgcron(NULL, &schedule, true);
	}
	return list_length(names);
}

/* ---- called by pg_cron ---- */

/*
 * Make the runs that are due; an error is the schedule's, and pg_cron need not
 * know.  Returns how many were made.
 */
static int64
tick(const char *name, TimestampTz now, TimestampTz *look_at)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	volatile int64 runs = 0;
	bool		is_new;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		int64		made;

		(void) taskq_schedule_fire(name, true, (Datum) 0, now, look_at, &made);
		runs = made;
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
		MemoryContextSwitchTo(context);
		CurrentResourceOwner = owner;
		if (error->sqlerrcode == ERRCODE_QUERY_CANCELED)
			ReThrowError(error);
		taskq_defs_begin();
		(void) taskq_schedule_failed(name, true, now, taskq_error_jsonb(error),
									 look_at, &is_new);
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;
	return runs;
}

PG_FUNCTION_INFO_V1(taskq_schedule_tick);

/*
 * taskq_schedule_tick - schedule_tick(name) returns bool
 *
 * Called by pg_cron, as the schedule's owner, at the times of its expression.
 * Does nothing if the schedule is not due, so that it does not matter how
 * often it is called.  A schedule that is not there any more is not called
 * again.
 */
Datum
taskq_schedule_tick(PG_FUNCTION_ARGS)
{
	char	   *name = taskq_arg_name(fcinfo, 0, "name");
	TimestampTz look_at = DT_NOEND;
	TaskqSchedule schedule;
	int64		runs;

	begin_change("taskq.schedule_tick()");
	if (!taskq_schedule_find(name, &schedule))
	{
		taskq_pgcron_set(name, NULL, NULL);
		PG_RETURN_BOOL(false);
	}
	if (!may_see(&schedule))
		PG_RETURN_BOOL(false);	/* as if it was not there */
	require_steer(&schedule);
	runs = tick(name, GetCurrentTimestamp(), &look_at);
	if (look_at != DT_NOEND)
		taskq_note_schedule(look_at);
	PG_RETURN_BOOL(runs > 0);
}
