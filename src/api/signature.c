/*-------------------------------------------------------------------------
 *
 * signature.c
 *		Type taskq.handler: a function by its name and arguments.
 *
 * It is regprocedure but for what it says to those who leave the arguments
 * out, or mistake them: nobody who defines the first kind has heard of
 * regprocedure, and that one's errors come before any function is called.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "api/signature.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "nodes/value.h"
#include "utils/builtins.h"
#include "utils/regproc.h"
#include "utils/syscache.h"
#include "utils/varlena.h"

#define HANDLER_HINT "Argument \"handler\" names a function with the types of its arguments, (jsonb) or none: \"schema.function(jsonb)\" or \"schema.function()\"."

/*
 * taskq_is_handler - is it a function of (jsonb) or (), and no trigger's?
 */
bool
taskq_is_handler(Form_pg_proc form)
{
	return form->prokind == PROKIND_FUNCTION &&
		(form->pronargs == 0 ||
		 (form->pronargs == 1 && form->proargtypes.values[0] == JSONBOID)) &&
		form->prorettype != TRIGGEROID &&
		form->prorettype != EVENT_TRIGGEROID;
}

static bool
oid_is_handler(Oid function)
{
	HeapTuple	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));
	bool		result;

	if (!HeapTupleIsValid(tuple))
		return false;
	result = taskq_is_handler((Form_pg_proc) GETSTRUCT(tuple));
	ReleaseSysCache(tuple);
	return result;
}

/* A name, perhaps with a schema, as the parser has it; NIL if it is none. */
static List *
name_list(const char *text)
{
	List	   *words;
	List	   *names = NIL;
	ListCell   *lc;

	if (!SplitIdentifierString(pstrdup(text), '.', &words) ||
		list_length(words) > 2)
		return NIL;
	foreach(lc, words)
		names = lappend(names, makeString(lfirst(lc)));
	return names;
}

/*
 * The only function that may be meant by a bare name, as text, or NULL.  Only
 * those on the search path, if no schema is given: another's function of that
 * name somewhere is not to be proposed.
 */
static char *
only_candidate(const char *text)
{
	List	   *names = name_list(text);
	Oid			found = InvalidOid;

	if (names == NIL)
		return NULL;
	for (FuncCandidateList candidate =
		 FuncnameGetCandidates(names, -1, NIL, false, false, false, true);
		 candidate != NULL; candidate = candidate->next)
	{
		if (!oid_is_handler(candidate->oid))
			continue;
		if (OidIsValid(found))
			return NULL;
		found = candidate->oid;
	}
	return OidIsValid(found) ? format_procedure(found) : NULL;
}

/* Error context callback while PostgreSQL reads a function's signature. */
static void
hint_at_signature(void *arg)
{
	switch (geterrcode())
	{
		case ERRCODE_UNDEFINED_FUNCTION:
		case ERRCODE_UNDEFINED_OBJECT:
		case ERRCODE_SYNTAX_ERROR:
		case ERRCODE_INVALID_TEXT_REPRESENTATION:
			errhint(HANDLER_HINT);
			break;
		default:
			break;
	}
}

static Datum
read_signature(char *text)
{
	ErrorContextCallback callback = {.previous = error_context_stack,
	.callback = hint_at_signature};
	Datum		function;

	error_context_stack = &callback;
	function = DirectFunctionCall1(regprocedurein, CStringGetDatum(text));
	error_context_stack = callback.previous;
	return function;
}

PG_FUNCTION_INFO_V1(taskq_handler_in);

/*
 * taskq_handler_in - input of type taskq.handler
 *
 * Takes what regprocedure takes, also a number, and returns the function's
 * oid.  Raises what regprocedure raises, with a hint, and 22023 for a name
 * without arguments.
 */
Datum
taskq_handler_in(PG_FUNCTION_ARGS)
{
	char	   *text = PG_GETARG_CSTRING(0);
	char	   *candidate;

	if (strchr(text, '(') != NULL || strcmp(text, "-") == 0 ||
		(text[0] != '\0' && strspn(text, "0123456789") == strlen(text)))
		PG_RETURN_DATUM(read_signature(text));
	candidate = only_candidate(text);
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("handler \"%s\" lacks the types of its arguments",
					text),
			 candidate == NULL ? errhint(HANDLER_HINT)
			 : errhint("Argument \"handler\" names a function with the types of its arguments, here \"%s\".", candidate)));
	PG_RETURN_NULL();			/* not reached */
}
