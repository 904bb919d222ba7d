/*-------------------------------------------------------------------------
 *
 * alert.c
 *		Alerts: defined, switched on and off, dropped.
 *
 * The dispatcher looks after them (dispatch/alerts.c).
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "access/xlog.h"
#include "api/action.h"
#include "base/args.h"
#include "base/shmem.h"
#include "fmgr.h"
#include "lanes/note.h"
#include "miscadmin.h"
#include "store/alerts.h"
#include "store/defs.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

static const char *const metrics[] = {
	"queue_length", "oldest", "stalled", "no_worker", "failure_rate",
	"failures"
};

static void
begin_change(const char *function)
{
	PreventCommandIfReadOnly(function);
	PreventCommandDuringRecovery(function);
	taskq_defs_begin();
}

/* The definitions have changed: the dispatcher looks. */
static void
changed(const char *verb, const char *name, Datum changes)
{
	taskq_action_named(verb, "alert", name, 0, changes);
	if (taskq_shared != NULL)
		taskq_note_wake();
}

static char *
metric_of(FunctionCallInfo fcinfo, int n)
{
	char	   *metric = taskq_arg_name(fcinfo, n, "metric");

	for (int i = 0; i < lengthof(metrics); i++)
	{
		if (strcmp(metric, metrics[i]) == 0)
			return metric;
	}
	taskq_invalid(psprintf("there is no metric \"%s\"", metric),
				  "Argument \"metric\" is queue_length, oldest, stalled, no_worker, failure_rate or failures.");
}

/* An argument that names a queue or kind, or NULL. */
static void
set_name(FunctionCallInfo fcinfo, int n, const char *argument, Datum *value,
		 bool *isnull)
{
	*isnull = PG_ARGISNULL(n);
	if (!*isnull)
		*value = CStringGetTextDatum(taskq_arg_name(fcinfo, n, argument));
}

/* A number that is one; or, where it is not told, preset. */
static double
number_or(FunctionCallInfo fcinfo, int n, const char *argument,
		  const double *preset)
{
	double		value;

	if (PG_ARGISNULL(n) && preset != NULL)
		return *preset;
	if (PG_ARGISNULL(n))
		taskq_invalid_argument(argument, "must not be null");
	value = PG_GETARG_FLOAT8(n);
	if (isnan(value) || isinf(value) || value < 0)
		taskq_invalid_argument(argument, "must be a number that is not negative");
	return value;
}

static Datum
window_of(FunctionCallInfo fcinfo, int n)
{
	if (PG_ARGISNULL(n))
		taskq_invalid_argument("window", "must not be null");
	(void) taskq_arg_interval_us(fcinfo, n, "window", 0);
	return PG_GETARG_DATUM(n);
}

PG_FUNCTION_INFO_V1(taskq_alert_define);

/*
 * taskq_alert_define - alert_define(name, metric, threshold, window, queue,
 * kind, clear_at, enabled, description); 22023 for what is none
 */
Datum
taskq_alert_define(PG_FUNCTION_ARGS)
{
	char	   *name = taskq_arg_name(fcinfo, 0, "name");
	char	   *metric = metric_of(fcinfo, 1);
	double		threshold = number_or(fcinfo, 2, "threshold", NULL);
	double		clear_at = number_or(fcinfo, 6, "clear_at", &threshold);
	Datum		values[Natts_alert] = {0};
	bool		nulls[Natts_alert] = {false};

	if (clear_at > threshold)
		taskq_invalid_argument("clear_at", "must not be greater than threshold");
	begin_change("taskq.alert_define()");
	values[Anum_alert_name - 1] = CStringGetTextDatum(name);
	values[Anum_alert_metric - 1] = CStringGetTextDatum(metric);
	values[Anum_alert_threshold - 1] = Float8GetDatum(threshold);
	values[Anum_alert_clear_at - 1] = Float8GetDatum(clear_at);
	values[Anum_alert_window - 1] = window_of(fcinfo, 3);
	set_name(fcinfo, 4, "queue", &values[Anum_alert_queue - 1],
			 &nulls[Anum_alert_queue - 1]);
	set_name(fcinfo, 5, "kind", &values[Anum_alert_kind - 1],
			 &nulls[Anum_alert_kind - 1]);
	values[Anum_alert_enabled - 1] =
		BoolGetDatum(PG_ARGISNULL(7) || PG_GETARG_BOOL(7));
	nulls[Anum_alert_description - 1] = PG_ARGISNULL(8);
	values[Anum_alert_description - 1] = PG_GETARG_DATUM(8);
	values[Anum_alert_owner - 1] = Int32GetDatum(taskq_role_id(GetUserId()));
	values[Anum_alert_updated_at - 1] =
		TimestampTzGetDatum(GetCurrentTimestamp());
	changed("define", name, taskq_alert_write(name, values, nulls, NULL));
	PG_RETURN_VOID();
}

pg_noreturn static void
not_found(const char *name)
{
	ereport(ERROR,
			(errcode(ERRCODE_TASK_NOT_FOUND),
			 errmsg("alert \"%s\" does not exist", name),
			 errhint("View taskq.alert lists them.")));
}

PG_FUNCTION_INFO_V1(taskq_alert_drop);

/* taskq_alert_drop - alert_drop(name); PT404 if there is none */
Datum
taskq_alert_drop(PG_FUNCTION_ARGS)
{
	char	   *name = taskq_arg_name(fcinfo, 0, "name");

	begin_change("taskq.alert_drop()");
	if (!taskq_alert_delete(name))
		not_found(name);
	changed("drop", name, 0);
	PG_RETURN_VOID();
}

static void
switch_it(const char *verb, const char *name, bool enabled)
{
	Datum		values[Natts_alert] = {0};
	bool		nulls[Natts_alert] = {false};
	bool		replace[Natts_alert] = {false};

	if (!taskq_alert_find(name))
		not_found(name);
	values[Anum_alert_enabled - 1] = BoolGetDatum(enabled);
	replace[Anum_alert_enabled - 1] = true;
	(void) taskq_alert_write(name, values, nulls, replace);
	changed(verb, name, 0);
}

PG_FUNCTION_INFO_V1(taskq_alert_enable);

/* taskq_alert_enable - alert_enable(name); PT404 if there is none */
Datum
taskq_alert_enable(PG_FUNCTION_ARGS)
{
	char	   *name = taskq_arg_name(fcinfo, 0, "name");

	begin_change("taskq.alert_enable()");
	switch_it("enable", name, true);
	PG_RETURN_VOID();
}

PG_FUNCTION_INFO_V1(taskq_alert_disable);

/* taskq_alert_disable - alert_disable(name); PT404 if there is none */
Datum
taskq_alert_disable(PG_FUNCTION_ARGS)
{
	char	   *name = taskq_arg_name(fcinfo, 0, "name");

	begin_change("taskq.alert_disable()");
	switch_it("disable", name, false);
	PG_RETURN_VOID();
}
