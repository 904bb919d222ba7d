/*-------------------------------------------------------------------------
 *
 * failures.c
 *		Which steps of a task failed, and why.
 *
 * They are JSON texts, each with its end, one after the other in a piece of
 * memory of fixed size: in the worker's slot, or read from a lease.  The
 * oldest make room for new ones.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "base/args.h"
#include "base/json.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "lanes/failures.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/fmgrprotos.h"
#include "utils/json.h"
#include "utils/jsonb.h"
#include "utils/timestamp.h"

#define MAX_DETAILS 1024
#define MAX_STEP 255
#define MAX_ERROR 511

static void
append_member(StringInfo text, const char *key, const char *value, int max)
{
	char	   *cut = pnstrdup(value, pg_mbcliplen(value, strlen(value), max));

	appendStringInfo(text, "%s\"%s\": ", text->len > 1 ? ", " : "", key);
	escape_json(text, cut);
	pfree(cut);
}

/* An object of what was told, with texts of at most so many bytes. */
static char *
object_text(const char *step, const char *error, int max)
{
	StringInfoData text;
	char		now[MAXDATELEN + 1];

	initStringInfo(&text);
	appendStringInfoChar(&text, '{');
	append_member(&text, "step", step, Min(max, MAX_STEP));
	if (error != NULL)
		append_member(&text, "error", error, max);
	JsonEncodeDateTime(now, TimestampTzGetDatum(GetCurrentTimestamp()),
					   TIMESTAMPTZOID, NULL);
	append_member(&text, "timestamp", now, MAXDATELEN);
	appendStringInfoChar(&text, '}');
	return text.data;
}

/*
 * taskq_failure_text - a step that failed, as an object of step, error,
 * timestamp and whatever the details have; palloc'd
 *
 * Long texts are cut.  details: an object, or 0; raises 22023 if it is
 * something else or larger than 1 kB, and names the argument.
 */
char *
taskq_failure_text(const char *step, const char *error, Datum details,
				   const char *argument)
{
	Jsonb	   *given = details ? DatumGetJsonbP(details) : NULL;
	Datum		object;
	char	   *text;
	int			max = MAX_ERROR;

	if (given != NULL && !JB_ROOT_IS_OBJECT(given))
		taskq_invalid_argument(argument, "must be a JSON object");
	if (given != NULL &&
		strlen(JsonbToCString(NULL, &given->root, 0)) > MAX_DETAILS)
		taskq_invalid_argument(argument,
							   psprintf("must not be larger than %d bytes",
										MAX_DETAILS));
	/* what has to be escaped takes more room */
	while (text = object_text(step, error, max),
		   strlen(text) > TASKQ_FAILURE_SIZE - MAX_DETAILS)
		max /= 2;
	if (given == NULL)
		return text;

	object = DirectFunctionCall1(jsonb_in, CStringGetDatum(text));
	object = DirectFunctionCall2(jsonb_concat, details, object);
	return JsonbToCString(NULL, &DatumGetJsonbP(object)->root, 0);
}

/*
 * taskq_failures_add - one more, in place of the oldest if there is no room
 *
 * Allocates nothing: the slot's lock may be held.  What is larger than
 * TASKQ_FAILURE_SIZE is left out.
 */
void
taskq_failures_add(TaskqFailures *failures, const char *text)
{
	int			size = strlen(text) + 1;
	int			drop = 0;

	if (size > TASKQ_FAILURE_SIZE)
		return;
	while (failures->len - drop + size > TASKQ_FAILURES_SIZE)
		drop += strlen(failures->text +drop) + 1;
	failures->len -= drop;
	memmove(failures->text, failures->text +drop, failures->len);
	memcpy(failures->text +failures->len, text, size);
	failures->len += size;
}

/* taskq_failures_add_all - those that taskq_failures_jsonb gave */
void
taskq_failures_add_all(TaskqFailures *failures, Datum array)
{
	Jsonb	   *jsonb = DatumGetJsonbP(array);
	int			n = JB_ROOT_IS_ARRAY(jsonb) ? JB_ROOT_COUNT(jsonb) : 0;

	for (int i = 0; i < n; i++)
	{
		JsonbValue *value = getIthJsonbValueFromContainer(&jsonb->root, i);
		Jsonb	   *element = JsonbValueToJsonb(value);

		taskq_failures_add(failures, JsonbToCString(NULL, &element->root, 0));
	}
}

/* taskq_failures_jsonb - an array of them, the oldest first */
Datum
taskq_failures_jsonb(const TaskqFailures *failures)
{
	StringInfoData text;
	int			at = 0;

	initStringInfo(&text);
	while (at < failures->len)
	{
		appendStringInfo(&text, "%s%s", at == 0 ? "[" : ", ",
						 failures->text +at);
		at += strlen(failures->text +at) + 1;
	}
	appendStringInfoString(&text, at == 0 ? "[]" : "]");
	return DirectFunctionCall1(jsonb_in, CStringGetDatum(text.data));
}
