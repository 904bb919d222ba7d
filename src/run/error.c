/*-------------------------------------------------------------------------
 *
 * error.c
 *		Errors and other values as jsonb.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "base/guc.h"
#include "base/json.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "mb/pg_wchar.h"
#include "nodes/makefuncs.h"
#include "run/complete.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/fmgrprotos.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

#define MAX_FIELD 8192
#define MAX_TRACEBACK 65536

typedef struct ConditionName
{
	int			sqlerrcode;
	const char *name;
} ConditionName;

/* made from the server's errcodes.txt */
static const ConditionName condition_names[] = {
#include "base/errnames.h"
	{ERRCODE_TASK_NO_RETRY, "task_no_retry"},
	{ERRCODE_TASK_RETRY, "task_retry"},
	{ERRCODE_TASK_LEASE_EXPIRED, "task_lease_expired"},
	{ERRCODE_TASK_EXTERNAL, "task_external_failure"},
};

static const char *
condition_name(int sqlerrcode)
{
	for (int i = 0; i < lengthof(condition_names); i++)
	{
		if (condition_names[i].sqlerrcode == sqlerrcode)
			return condition_names[i].name;
	}
	return NULL;
}

static const char *
type_name(const ErrorData *error)
{
	int			sqlerrcode = error->sqlerrcode;
	const char *condition = condition_name(sqlerrcode);

	if (error->datatype_name != NULL && error->datatype_name[0] != '\0' &&
		(condition == NULL || sqlerrcode == ERRCODE_RAISE_EXCEPTION ||
		 ERRCODE_TO_CATEGORY(sqlerrcode) ==
		 ERRCODE_TO_CATEGORY(ERRCODE_TASK_NO_RETRY)))
		return error->datatype_name;
	return condition ? condition : pstrdup(unpack_sql_state(sqlerrcode));
}

static void
push_text(JsonbParseState **state, const char *key, const char *text, int len)
{
	JsonbValue	value;

	taskq_json_key(state, key);
	value.type = jbvString;
	value.val.string.val = unconstify(char *, text);
	value.val.string.len = len;
	pushJsonbValue(state, WJB_VALUE, &value);
}

static void
push_field(JsonbParseState **state, const char *key, const char *string)
{
	if (string != NULL)
		push_text(state, key, string,
				  pg_mbcliplen(string, strlen(string), MAX_FIELD));
}

/* Where something failed is what a traceback ends with. */
static void
push_traceback(JsonbParseState **state, const char *traceback)
{
	int			len = strlen(traceback);
	int			skipped = len > MAX_TRACEBACK
	? pg_mbcliplen(traceback, len, len - MAX_TRACEBACK) : 0;

	push_text(state, "traceback", traceback + skipped, len - skipped);
}

/* ---- what fail() and retry() were given ---- */

/*
 * An error can carry details as a text only.  What they were is kept aside
 * until an error with this text arrives where the attempt is recorded.
 */
static char *told_text = NULL;
static Jsonb *told_details = NULL;

/* taskq_error_forget - another task begins */
void
taskq_error_forget(void)
{
	if (told_text != NULL)
		pfree(told_text);
	if (told_details != NULL)
		pfree(told_details);
	told_text = NULL;
	told_details = NULL;
}

/*
 * taskq_error_tell - details of the error that is about to be raised; returns
 * them as a text
 *
 * What is larger than a payload may be is kept as a text only, cut.
 */
char *
taskq_error_tell(const Jsonb *details)
{
	Size		size = VARSIZE(details);
	char	   *text = JsonbToCString(NULL,
									  unconstify(JsonbContainer *, &details->root),
									  size);

	taskq_error_forget();
	if (size <= (Size) taskq_max_payload * 1024)
	{
		told_details = MemoryContextAlloc(TopMemoryContext, size);
		memcpy(told_details, details, size);
		told_text = MemoryContextStrdup(TopMemoryContext, text);
	}
	return text;
}

static const Jsonb *
told_with(const ErrorData *error)
{
	if (told_text == NULL || error->detail == NULL ||
		(error->sqlerrcode != ERRCODE_TASK_NO_RETRY &&
		 error->sqlerrcode != ERRCODE_TASK_RETRY) ||
		strcmp(told_text, error->detail) != 0)
		return NULL;
	return told_details;
}

/* ---- the object ---- */

/*
 * taskq_error_jsonb - an error as it is kept with its task
 *
 * An object of sqlstate, type, message and whatever else the error has; very
 * long texts are cut.  Its type is the name that the program has for it, in
 * the field for the name of a data type; else the condition's name, or the
 * SQLSTATE.
 */
Datum
taskq_error_jsonb(const ErrorData *error)
{
	return taskq_error_jsonb_with(error, told_with(error), NULL);
}

/*
 * taskq_error_jsonb_with - the same, with details and a traceback of another
 * program, or NULL
 */
Datum
taskq_error_jsonb_with(const ErrorData *error, const Jsonb *details,
					   const char *traceback)
{
	JsonbParseState *state = NULL;
	JsonbValue *object;

	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	push_field(&state, "sqlstate",
			   pstrdup(unpack_sql_state(error->sqlerrcode)));
	push_field(&state, "type", type_name(error));
	push_field(&state, "message", error->message);
	push_field(&state, "detail", error->detail);
	if (details != NULL)
		taskq_json_jsonb(&state, "details", JsonbPGetDatum(details));
	if (traceback != NULL)
		push_traceback(&state, traceback);
	push_field(&state, "hint", error->hint);
	push_field(&state, "context", error->context);
	push_field(&state, "schema", error->schema_name);
	push_field(&state, "table", error->table_name);
	push_field(&state, "column", error->column_name);
	push_field(&state, "datatype", error->datatype_name);
	push_field(&state, "constraint", error->constraint_name);
	object = pushJsonbValue(&state, WJB_END_OBJECT, NULL);
	return JsonbPGetDatum(JsonbValueToJsonb(object));
}

/* taskq_error_retryable - the error, with whether trying again makes sense */
Datum
taskq_error_retryable(Datum error, bool retryable)
{
	JsonbParseState *state = NULL;
	JsonbValue	value = {.type = jbvBool,.val.boolean = retryable};
	JsonbValue *object;

	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	taskq_json_key(&state, "retryable");
	pushJsonbValue(&state, WJB_VALUE, &value);
	object = pushJsonbValue(&state, WJB_END_OBJECT, NULL);
	return DirectFunctionCall2(jsonb_concat, error,
							   JsonbPGetDatum(JsonbValueToJsonb(object)));
}

/* taskq_to_jsonb - any value as SQL's to_jsonb makes it */
Datum
taskq_to_jsonb(Datum value, Oid type)
{
	FmgrInfo	flinfo;
	Node	   *arg = (Node *) makeNullConst(type, -1, get_typcollation(type));

	/* to_jsonb learns the type of its argument from the call's expression */
	fmgr_info(F_TO_JSONB, &flinfo);
	fmgr_info_set_expr((Node *) makeFuncExpr(F_TO_JSONB, JSONBOID,
											 list_make1(arg), InvalidOid,
											 InvalidOid, COERCE_EXPLICIT_CALL),
					   &flinfo);
	return FunctionCall1(&flinfo, value);
}
