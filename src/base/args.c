/*-------------------------------------------------------------------------
 *
 * args.c
 *		Arguments of SQL functions, checked.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "base/args.h"
#include "base/guc.h"
#include "common/int.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/uuid.h"

/*
 * taskq_interval_us - an interval in microseconds, a month as 30 days
 *
 * What does not fit is the longest or shortest that does.
 */
int64
taskq_interval_us(const Interval *interval)
{
	int64		days = interval->day + (int64) interval->month * DAYS_PER_MONTH;
	int64		us;

	if (pg_mul_s64_overflow(days, USECS_PER_DAY, &us))
		return days > 0 ? PG_INT64_MAX : PG_INT64_MIN;
	if (pg_add_s64_overflow(us, interval->time, &us))
		return interval->time > 0 ? PG_INT64_MAX : PG_INT64_MIN;
	return us;
}

/* taskq_invalid - raise 22023 with this message and hint */
void
taskq_invalid(const char *message, const char *hint)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("%s", message),
			 errhint("%s", hint)));
	pg_unreachable();
}

/* taskq_invalid_argument - ... whose hint names the argument */
void
taskq_invalid_argument(const char *argument, const char *message)
{
	taskq_invalid(psprintf("%s %s", argument, message),
				  psprintf("See argument \"%s\".", argument));
}

/* taskq_arg_id - a task's id; null is an error */
pg_uuid_t
taskq_arg_id(FunctionCallInfo fcinfo, int n)
{
	if (PG_ARGISNULL(n))
		taskq_invalid("task id must not be null",
					  "Pass the uuid that task_submit returned as argument \"id\".");
	return *PG_GETARG_UUID_P(n);
}

/* taskq_arg_text - a text, palloc'd, or what is preset */
char *
taskq_arg_text(FunctionCallInfo fcinfo, int n, const char *preset)
{
	if (!PG_ARGISNULL(n))
		return text_to_cstring(PG_GETARG_TEXT_PP(n));
	return preset ? pstrdup(preset) : NULL;
}

/* taskq_arg_name - a name, palloc'd; null is an error */
char *
taskq_arg_name(FunctionCallInfo fcinfo, int n, const char *argument)
{
	char	   *name;

	if (PG_ARGISNULL(n))
		taskq_invalid_argument(argument, "must not be null");
	name = text_to_cstring(PG_GETARG_TEXT_PP(n));
	taskq_check_name(name, argument);
	return name;
}

#define MAX_INTERVAL_US (3653 * USECS_PER_DAY)

/*
 * taskq_arg_interval_us - an interval that is not null, of at least min_us
 * and at most ten years
 */
int64
taskq_arg_interval_us(FunctionCallInfo fcinfo, int n, const char *argument,
					  int64 min_us)
{
	int64		us = taskq_interval_us(PG_GETARG_INTERVAL_P(n));

	if (us < min_us)
		taskq_invalid_argument(argument,
							   min_us == 0 ? "must not be negative"
							   : "must be at least a millisecond");
	if (us > MAX_INTERVAL_US)
		taskq_invalid_argument(argument, "must not be longer than ten years");
	return us;
}

/*
 * taskq_arg_number - of progress: 0 to 1e15
 *
 * Views divide one by the other, so what is nearly nothing is nothing.
 */
double
taskq_arg_number(FunctionCallInfo fcinfo, int n, const char *argument)
{
	double		number = DatumGetFloat8(DirectFunctionCall1(numeric_float8_no_overflow, PG_GETARG_DATUM(n)));

	if (isnan(number) || number < 0 || number > 1e15)
		taskq_invalid_argument(argument,
							   "must be a number between 0 and 1e15");
	return number < 1e-6 ? 0 : number;
}

/* taskq_arg_delay - the moment an argument "delay" from now */
TimestampTz
taskq_arg_delay(FunctionCallInfo fcinfo, int n)
{
	TimestampTz when;

	if (pg_add_s64_overflow(GetCurrentTimestamp(),
							taskq_arg_interval_us(fcinfo, n, "delay", 0),
							&when) ||
		!IS_VALID_TIMESTAMP(when))
		taskq_invalid("delay is too long",
					  "Pass a shorter interval as argument \"delay\".");
	return when;
}

/* taskq_check_name - raise 22023 for what is no name of 1 to 63 bytes */
void
taskq_check_name(const char *name, const char *argument)
{
	if (name[0] == '\0')
		taskq_invalid_argument(argument, "must not be empty");
	if (strlen(name) >= NAMEDATALEN)
		taskq_invalid_argument(argument,
							   psprintf("must be shorter than %d bytes",
										NAMEDATALEN));
	for (const char *c = name; *c != '\0'; c++)
	{
		if ((unsigned char) *c < ' ' || *c == 0x7f)
			taskq_invalid_argument(argument,
								   "must not contain control characters");
	}
}

/*
 * taskq_clip_name - what an error message says of a name that may be of any
 * length; palloc'd
 */
char *
taskq_clip_name(const char *name)
{
	int			len = strnlen(name, NAMEDATALEN);

	if (len < NAMEDATALEN)
		return pstrdup(name);
	return psprintf("%.*s...", pg_mbcliplen(name, len, NAMEDATALEN - 1), name);
}

/* taskq_check_priority - raise 22023 for one out of range */
void
taskq_check_priority(int priority)
{
	if (priority < -100 || priority > 100)
		taskq_invalid_argument("priority", "must be between -100 and 100");
}

/* taskq_check_max_attempts - raise 22023 for a number out of range */
void
taskq_check_max_attempts(int n)
{
	if (n < 1 || n > 10000)
		taskq_invalid_argument("max_attempts", "must be between 1 and 10000");
}

static void
check_size(Jsonb *value, int max, const char *setting, const char *argument)
{
	if (VARSIZE(value) > (Size) max * 1024)
		ereport(ERROR,
				(errcode(ERRCODE_TASK_TOO_LARGE),
				 errmsg("%s of %zu bytes is too large", argument, (Size) VARSIZE(value)),
				 errdetail("The limit is %s, %d kB.", setting, max),
				 errhint("Put large data into a table and its key into argument \"%s\".", argument)));
}

/*
 * taskq_check_size - raise PT413 if a jsonb is larger than taskq.max_payload
 */
void
taskq_check_size(Jsonb *value, const char *argument)
{
	check_size(value, taskq_max_payload, "taskq.max_payload", argument);
}

/*
 * taskq_check_result - raise PT413 if an external worker's result is larger
 * than taskq.max_result
 */
void
taskq_check_result(Jsonb *value)
{
	check_size(value, taskq_max_result, "taskq.max_result", "result");
}
