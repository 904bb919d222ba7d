/*-------------------------------------------------------------------------
 *
 * json.c
 *		Making a JSON object, member by member.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "base/json.h"
#include "catalog/pg_type.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/numeric.h"

static void
push_string(JsonbParseState **state, JsonbIteratorToken token,
			const char *string)
{
	JsonbValue	value = {.type = jbvString};

	value.val.string.val = unconstify(char *, string);
	value.val.string.len = strlen(string);
	pushJsonbValue(state, token, &value);
}

/* taskq_json_begin - begin an object; *state is NULL, or in another one */
void
taskq_json_begin(JsonbParseState **state)
{
	pushJsonbValue(state, WJB_BEGIN_OBJECT, NULL);
}

/* taskq_json_key - the name of a member, whose value comes next */
void
taskq_json_key(JsonbParseState **state, const char *key)
{
	push_string(state, WJB_KEY, key);
}

/* taskq_json_text - a member that is a string; NULL: none */
void
taskq_json_text(JsonbParseState **state, const char *key, const char *text)
{
	if (text == NULL)
		return;
	push_string(state, WJB_KEY, key);
	push_string(state, WJB_VALUE, text);
}

/* taskq_json_number - a member that is a number */
void
taskq_json_number(JsonbParseState **state, const char *key, int64 number)
{
	JsonbValue	value = {.type = jbvNumeric};

	value.val.numeric = int64_to_numeric(number);
	push_string(state, WJB_KEY, key);
	pushJsonbValue(state, WJB_VALUE, &value);
}

/* taskq_json_float - a member that is a number with a fraction */
void
taskq_json_float(JsonbParseState **state, const char *key, double number)
{
	JsonbValue	value = {.type = jbvNumeric};

	value.val.numeric =
		DatumGetNumeric(DirectFunctionCall1(float8_numeric,
											Float8GetDatum(number)));
	push_string(state, WJB_KEY, key);
	pushJsonbValue(state, WJB_VALUE, &value);
}

/* taskq_json_true - a member that is true */
void
taskq_json_true(JsonbParseState **state, const char *key)
{
	JsonbValue	value = {.type = jbvBool,.val.boolean = true};

	push_string(state, WJB_KEY, key);
	pushJsonbValue(state, WJB_VALUE, &value);
}

/* taskq_json_jsonb - a member that is jsonb already */
void
taskq_json_jsonb(JsonbParseState **state, const char *key, Datum jsonb)
{
	Jsonb	   *document = DatumGetJsonbP(jsonb);
	JsonbValue	value;

	JsonbToJsonbValue(document, &value);
	if (JB_ROOT_IS_SCALAR(document))
		(void) JsonbExtractScalar(&document->root, &value);
	push_string(state, WJB_KEY, key);
	pushJsonbValue(state, WJB_VALUE, &value);
}

/* taskq_json_texts - a member that is an array, from one of text */
void
taskq_json_texts(JsonbParseState **state, const char *key, Datum array)
{
	Datum	   *items;
	int			n;

	deconstruct_array(DatumGetArrayTypeP(array), TEXTOID, -1, false,
					  TYPALIGN_INT, &items, NULL, &n);
	push_string(state, WJB_KEY, key);
	pushJsonbValue(state, WJB_BEGIN_ARRAY, NULL);
	for (int i = 0; i < n; i++)
		push_string(state, WJB_ELEM, TextDatumGetCString(items[i]));
	pushJsonbValue(state, WJB_END_ARRAY, NULL);
}

/* taskq_json_end - end the object; jsonb, if it is in no other one */
Datum
taskq_json_end(JsonbParseState **state)
{
	JsonbValue *value = pushJsonbValue(state, WJB_END_OBJECT, NULL);

	return *state == NULL ? JsonbPGetDatum(JsonbValueToJsonb(value))
		: (Datum) 0;
}

/* taskq_json_get_text - a member that is a string, palloc'd; NULL: none */
char *
taskq_json_get_text(Jsonb *object, const char *key)
{
	JsonbValue	value;

	if (getKeyJsonValueFromContainer(&object->root, key, strlen(key),
									 &value) == NULL ||
		value.type != jbvString)
		return NULL;
	return pnstrdup(value.val.string.val, value.val.string.len);
}
