/*-------------------------------------------------------------------------
 *
 * claims.c
 *		What a session says of whom it acts for.
 *
 * Claims are the setting request.jwt.claims, a JSON object.  Whether it is
 * believed is in rights.c.
 *
 * A claim is named as the member that it is, or, where there is none of that
 * name, by the path to it: "app_metadata.tenant_id".
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "base/compat.h"
#include "base/guc.h"
#include "fmgr.h"
#include "store/claims.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/guc.h"
#include "utils/varlena.h"

#define CLAIMS_SETTING "request.jwt.claims"

/*
 * taskq_claims_setting - for whom the session says that it acts, or NULL; for
 * anybody to set
 */
const char *
taskq_claims_setting(void)
{
	const char *claims = GetConfigOption(CLAIMS_SETTING, true, false);

	return claims != NULL && claims[0] != '\0' ? claims : NULL;
}

static void
claims_error_context(void *arg)
{
	errcontext("setting " CLAIMS_SETTING);
}

/* taskq_claims_parse - raises what jsonb's input raises */
Jsonb *
taskq_claims_parse(const char *claims)
{
	ErrorContextCallback context = {.previous = error_context_stack,
	.callback = claims_error_context};
	Jsonb	   *parsed;

	error_context_stack = &context;
	parsed = DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(claims)));
	error_context_stack = context.previous;
	return parsed;
}

static JsonbValue *
member(JsonbContainer * object, const char *name, int length)
{
	JsonbValue	key = {.type = jbvString};

	key.val.string.val = unconstify(char *, name);
	key.val.string.len = length;
	return findJsonbValueFromContainer(object, JB_FOBJECT, &key);
}

/* The claim of this name, or NULL. */
static JsonbValue *
find_claim(JsonbContainer * object, const char *name)
{
	JsonbValue *value = member(object, name, strlen(name));
	const char *dot;

	if (value != NULL)
		return value;
	while ((dot = strchr(name, '.')) != NULL)
	{
		value = member(object, name, dot - name);
		if (value == NULL || value->type != jbvBinary ||
			!JsonContainerIsObject(value->val.binary.data))
			return NULL;
		object = value->val.binary.data;
		name = dot + 1;
		if (strchr(name, '.') == NULL)
			return member(object, name, strlen(name));
	}
	return NULL;
}

/*
 * taskq_claims_tenant - whom claims are of, palloc'd, or NULL
 *
 * Raises 22023 if the claim is neither string nor number.
 */
const char *
taskq_claims_tenant(Jsonb *claims)
{
	JsonbValue *value;

	if (claims == NULL || !JB_ROOT_IS_OBJECT(claims) ||
		taskq_tenant_claim[0] == '\0')
		return NULL;
	value = find_claim(&claims->root, taskq_tenant_claim);
	if (value == NULL || value->type == jbvNull)
		return NULL;
	if (value->type == jbvString)
		return value->val.string.len == 0
			? NULL
			: pnstrdup(value->val.string.val, value->val.string.len);
	if (value->type == jbvNumeric)
		return DatumGetCString(DirectFunctionCall1(numeric_out,
												   NumericGetDatum(value->val.numeric)));
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("claim \"%s\" is neither a string nor a number", taskq_tenant_claim),
			 errhint("taskq.tenant_claim names the claim that tells a tenant.")));
	return NULL;
}

/* Is a member named?  *rest: what paths that begin with it name in it. */
static bool
named(List *names, const JsonbValue *key, bool top, List **rest)
{
	int			length = key->val.string.len;
	ListCell   *lc;

	*rest = NIL;
	foreach(lc, names)
	{
		const char *name = lfirst(lc);

		if (strncmp(name, key->val.string.val, length) != 0)
			continue;
		/* below the top all of a path has been taken apart */
		if (name[length] == '\0' && (top || memchr(name, '.', length) == NULL))
			return true;
		if (name[length] == '.' && memchr(name, '.', length) == NULL)
			*rest = lappend(*rest, unconstify(char *, name + length + 1));
	}
	return false;
}

/* Those members of an object that are named. */
static JsonbValue *
push_named(JsonbParseState **state, JsonbContainer * object, List *names,
		   bool top)
{
	JsonbIterator *it = JsonbIteratorInit(object);
	JsonbValue	key;
	JsonbValue	value;
	JsonbIteratorToken token;

	(void) pushJsonbValue(state, WJB_BEGIN_OBJECT, NULL);
	while ((token = JsonbIteratorNext(&it, &key, true)) != WJB_DONE)
	{
		List	   *rest;
		bool		whole;

		if (token != WJB_KEY)
			continue;
		(void) JsonbIteratorNext(&it, &value, true);
		whole = named(names, &key, top, &rest);
		if (!whole && (rest == NIL || value.type != jbvBinary ||
					   !JsonContainerIsObject(value.val.binary.data)))
			continue;
		(void) pushJsonbValue(state, WJB_KEY, &key);
		if (whole)
			(void) pushJsonbValue(state, WJB_VALUE, &value);
		else
			(void) push_named(state, value.val.binary.data, rest, false);
	}
	return pushJsonbValue(state, WJB_END_OBJECT, NULL);
}

/*
 * taskq_claims_kept - of claims those that taskq.stored_claims names, and the
 * tenant's
 */
Jsonb *
taskq_claims_kept(Jsonb *claims)
{
	JsonbParseState *state = NULL;
	List	   *names = NIL;
	ListCell   *lc;

	(void) SplitGUCList(pstrdup(taskq_stored_claims), ',', &names);
	foreach(lc, names)
	{
		if (strcmp(lfirst(lc), "*") == 0)
			return claims;
	}
	if (!JB_ROOT_IS_OBJECT(claims))
		return DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum("{}")));
	names = lappend(names, taskq_tenant_claim);
	return JsonbValueToJsonb(push_named(&state, &claims->root, names, true));
}
