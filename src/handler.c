/*-------------------------------------------------------------------------
 *
 * handler.c
 *		Calling the function of a kind, in a worker.
 *
 * Most handlers are called as a function is: a statement around it would cost as
 * much again as a short handler.  Those whose body is SQL have a plan that is kept,
 * because such a function is parsed and planned anew in every transaction; and
 * those that return something else than jsonb or nothing, to convert it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_language.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "catalog/objectaccess.h"
#include "compat.h"
#include "executor/spi.h"
#include "handler.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

typedef struct Handler
{
	char		signature[NAMEDATALEN * 4];
	Oid			function;
	bool		has_arg;
	bool		direct;			/* called as a function; plan is NULL */
	SPIPlanPtr	plan;
	Oid			result_type;	/* jsonb, or void */
} Handler;

static HTAB *handlers = NULL;
static bool handlers_stale = false;

static void
on_function_change(Datum arg, int cacheid, uint32 hashvalue)
{
	handlers_stale = true;
}

static void
forget_handlers(void)
{
	HASH_SEQ_STATUS status;
	Handler    *handler;

	hash_seq_init(&status, handlers);
	while ((handler = hash_seq_search(&status)) != NULL)
	{
		if (handler->plan != NULL)
			SPI_freeplan(handler->plan);
		hash_search(handlers, handler->signature, HASH_REMOVE, NULL);
	}
	handlers_stale = false;
}

static bool
can_be_called_directly(Form_pg_proc form)
{
	return form->prolang != SQLlanguageId && !form->proretset &&
		(form->prorettype == JSONBOID || form->prorettype == VOIDOID) &&
		(form->pronargs == 0 || form->proargtypes.values[0] == JSONBOID);
}

/* The query that calls a function and makes jsonb of what it returns. */
static char *
handler_query(Form_pg_proc form)
{
	char	   *name = quote_qualified_identifier(get_namespace_name(form->pronamespace), NameStr(form->proname));
	char	   *call = psprintf("%s(%s)", name, form->pronargs == 1 ? "$1" : "");

	if (form->proretset)
		return psprintf("SELECT COALESCE(pg_catalog.jsonb_agg(pg_catalog.to_jsonb(r)), '[]') FROM %s r", call);
	if (form->prorettype == JSONBOID || form->prorettype == VOIDOID)
		return psprintf("SELECT %s", call);
	return psprintf("SELECT pg_catalog.to_jsonb(%s)", call);
}

/* Fill in all but the name. */
static void
prepare_handler(Handler *handler, Oid function)
{
	HeapTuple	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));
	Form_pg_proc form;
	Oid			argtype = JSONBOID;
	char	   *query;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for function %u", function);
	form = (Form_pg_proc) GETSTRUCT(tuple);
	handler->function = function;
	handler->has_arg = form->pronargs == 1;
	handler->result_type = form->prorettype == VOIDOID && !form->proretset ? VOIDOID : JSONBOID;
	handler->direct = can_be_called_directly(form);
	handler->plan = NULL;
	query = handler->direct ? NULL : handler_query(form);
	ReleaseSysCache(tuple);
	if (handler->direct)
		return;

	SPI_connect();
	handler->plan = SPI_prepare(query, handler->has_arg ? 1 : 0, &argtype);
	if (handler->plan == NULL)
		elog(ERROR, "SPI_prepare failed: %s", SPI_result_code_string(SPI_result));
	SPI_keepplan(handler->plan);
	SPI_finish();
}

static Handler *
get_handler(const char *signature)
{
	static Handler *last = NULL;
	Handler    *handler;
	Handler		prepared;
	char		key[NAMEDATALEN * 4];

	if (handlers_stale)
	{
		last = NULL;
		forget_handlers();
	}
	if (last != NULL && strcmp(last->signature, signature) == 0)
		return last;
	if (strlen(signature) >= sizeof(key))
		elog(ERROR, "handler name is too long");
	memset(key, 0, sizeof(key));
	strlcpy(key, signature, sizeof(key));
	handler = hash_search(handlers, key, HASH_FIND, NULL);
	if (handler != NULL)
		return last = handler;

	/* schema and types are spelled out, so search_path does not matter */
	prepare_handler(&prepared, DatumGetObjectId(DirectFunctionCall1(regprocedurein, CStringGetDatum(key))));
	handler = hash_search(handlers, key, HASH_ENTER, NULL);
	memcpy(prepared.signature, key, sizeof(key));
	*handler = prepared;
	return last = handler;
}

/* As the executor does it. */
static Datum
call_function(Handler *handler, Datum payload, bool *isnull)
{
	LOCAL_FCINFO(fcinfo, 1);
	FmgrInfo	flinfo;
	PgStat_FunctionCallUsage usage;
	Datum		result;

	if (taskq_function_aclcheck(handler->function, GetUserId()) != ACLCHECK_OK)
		aclcheck_error(ACLCHECK_NO_PRIV, OBJECT_FUNCTION, get_func_name(handler->function));
	InvokeFunctionExecuteHook(handler->function);
	/* looked up for each call, since what a function keeps in it may not outlive a transaction */
	fmgr_info_cxt(handler->function, &flinfo, CurrentMemoryContext);
	InitFunctionCallInfoData(*fcinfo, &flinfo, handler->has_arg ? 1 : 0, InvalidOid, NULL, NULL);
	fcinfo->args[0].value = payload;
	fcinfo->args[0].isnull = false;
	pgstat_init_function_usage(fcinfo, &usage);
	result = FunctionCallInvoke(fcinfo);
	pgstat_end_function_usage(&usage, true);
	*isnull = fcinfo->isnull || handler->result_type == VOIDOID;
	return *isnull ? (Datum) 0 : PointerGetDatum(PG_DETOAST_DATUM(result));
}

static Datum
call_plan(Handler *handler, Datum payload, bool *isnull)
{
	MemoryContext caller = CurrentMemoryContext;
	Datum		args[1] = {payload};
	Datum		result = (Datum) 0;

	SPI_connect();
	if (SPI_execute_plan(handler->plan, handler->has_arg ? args : NULL, NULL, false, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not call handler %s", handler->signature);
	*isnull = true;
	if (SPI_processed > 0 && handler->result_type != VOIDOID)
		result = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, isnull);
	if (!*isnull)
	{
		MemoryContext old = MemoryContextSwitchTo(caller);

		result = PointerGetDatum(PG_DETOAST_DATUM_COPY(result));
		MemoryContextSwitchTo(old);
	}
	SPI_finish();
	return result;
}

/*
 * taskq_handler_call - call a kind's handler with a task's payload
 *
 * Takes the function's name as the kind has it, and jsonb.  Returns jsonb in the
 * current memory context, or *isnull.  Needs a transaction and an active snapshot.
 * Raises whatever the function raises, and 42501 if the current user may not
 * execute it.
 */
Datum
taskq_handler_call(const char *signature, Datum payload, bool *isnull)
{
	Handler    *handler = get_handler(signature);

	return handler->direct ? call_function(handler, payload, isnull) : call_plan(handler, payload, isnull);
}

/* taskq_handler_init - once per worker */
void
taskq_handler_init(void)
{
	HASHCTL		ctl;

	ctl.keysize = sizeof(((Handler *) NULL)->signature);
	ctl.entrysize = sizeof(Handler);
	handlers = hash_create("taskq handlers", 32, &ctl, HASH_ELEM | HASH_BLOBS);
	CacheRegisterSyscacheCallback(PROCOID, on_function_change, (Datum) 0);
	CacheRegisterSyscacheCallback(NAMESPACEOID, on_function_change, (Datum) 0);
}
