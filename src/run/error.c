/*-------------------------------------------------------------------------
 *
 * error.c
 *		Errors and other values as jsonb.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "mb/pg_wchar.h"
#include "nodes/makefuncs.h"
#include "run/complete.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"

#define MAX_FIELD 8192

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

static void
push_field(JsonbParseState **state, const char *key, const char *string)
{
	JsonbValue	value;

	if (string == NULL)
		return;
	value.type = jbvString;
	value.val.string.val = unconstify(char *, key);
	value.val.string.len = strlen(key);
	pushJsonbValue(state, WJB_KEY, &value);
	value.val.string.val = unconstify(char *, string);
	value.val.string.len = pg_mbcliplen(string, strlen(string), MAX_FIELD);
	pushJsonbValue(state, WJB_VALUE, &value);
}

/*
 * taskq_error_jsonb - an error as it is kept with its task
 *
 * An object of sqlstate, type, message and whatever else the error has; very
 * long texts are cut.
 */
Datum
taskq_error_jsonb(const ErrorData *error)
{
	JsonbParseState *state = NULL;
	JsonbValue *object;

	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	push_field(&state, "sqlstate",
			   pstrdup(unpack_sql_state(error->sqlerrcode)));
	push_field(&state, "type", condition_name(error->sqlerrcode));
	push_field(&state, "message", error->message);
	push_field(&state, "detail", error->detail);
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
