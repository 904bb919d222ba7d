/*-------------------------------------------------------------------------
 *
 * handler.c
 *		Calling the function of a kind, in a worker.
 *
 * Most handlers are called as a function is: a statement around it would cost
 * as much again as a short handler.  Those whose body is SQL have a plan that
 * is kept, because such a function is parsed and planned anew in every
 * transaction; and those that return something else than jsonb or nothing, to
 * convert it.
 *
 * In either way it is the function itself that is called, not whatever its
 * name and arguments may find: neither another function of that name nor a
 * missing USAGE on its schema is in the way.  EXECUTE counts, of the role
 * that the task runs as.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "base/compat.h"
#include "catalog/objectaccess.h"
#include "catalog/pg_language.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/params.h"
#include "parser/parse_node.h"
#include "pgstat.h"
#include "run/handler.h"
#include "store/defs.h"
#include "store/rights.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#define SIGNATURE_SIZE (NAMEDATALEN * 5)	/* two names with every character
											 * doubled, and jsonb */

typedef struct Handler
{
	char		signature[SIGNATURE_SIZE];
	bool		prepared;		/* what follows is known */
	Oid			function;
	bool		has_arg;
	bool		returns_set;
	Oid			result_type;	/* of the function */
	bool		direct;			/* called as a function; plan is NULL */
	FmgrInfo	flinfo;			/* then, as it is before a call */
	SPIPlanPtr	plan;
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
		/* one that could not be kept is gone with its transaction */
		if (handler->prepared && handler->plan != NULL)
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

/*
 * In a handler's query $1 is the call of the function, with the payload as
 * its argument.
 */
static Node *
call_for_param(ParseState *pstate, ParamRef *ref)
{
	Handler    *handler = pstate->p_ref_hook_state;
	FuncExpr   *call = makeFuncExpr(handler->function, handler->result_type,
									NIL, InvalidOid, InvalidOid,
									COERCE_EXPLICIT_CALL);

	if (handler->has_arg)
	{
		Param	   *payload = makeNode(Param);

		payload->paramkind = PARAM_EXTERN;
		payload->paramid = 1;
		payload->paramtype = JSONBOID;
		payload->paramtypmod = -1;
		payload->location = ref->location;
		call->args = list_make1(payload);
	}
	call->funcretset = handler->returns_set;
	call->location = ref->location;
	if (call->funcretset)
	{
		pstate->p_hasTargetSRFs = true;
		pstate->p_last_srf = (Node *) call;
	}
	return (Node *) call;
}

static void
setup_parser(ParseState *pstate, void *handler)
{
	pstate->p_paramref_hook = call_for_param;
	pstate->p_ref_hook_state = handler;
}

/* The query that calls a function and makes jsonb of what it returns. */
static const char *
handler_query(const Handler *handler)
{
	if (handler->returns_set)
		return "SELECT COALESCE(pg_catalog.jsonb_agg(pg_catalog.to_jsonb(r.r)), '[]') FROM (SELECT $1) r(r)";
	if (handler->result_type == JSONBOID || handler->result_type == VOIDOID)
		return "SELECT $1";
	return "SELECT pg_catalog.to_jsonb($1)";
}

static void
read_function(Handler *handler, Oid function)
{
	HeapTuple	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));
	Form_pg_proc form;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for function %u", function);
	form = (Form_pg_proc) GETSTRUCT(tuple);
	handler->function = function;
	handler->has_arg = form->pronargs == 1;
	handler->returns_set = form->proretset;
	handler->result_type = form->prorettype;
	handler->direct = can_be_called_directly(form);
	ReleaseSysCache(tuple);
}

/* Fill in all but the name.  The plan keeps a pointer to the handler. */
static void
prepare_handler(Handler *handler, Oid function)
{
	read_function(handler, function);
	if (handler->direct)
		fmgr_info_cxt(function, &handler->flinfo, CurrentMemoryContext);
	else
	{
		SPI_connect();
		handler->plan = SPI_prepare_params(handler_query(handler),
										   setup_parser, handler, 0);
		if (handler->plan == NULL)
			elog(ERROR, "SPI_prepare_params failed: %s",
				 SPI_result_code_string(SPI_result));
		if (SPI_keepplan(handler->plan) != 0)
			elog(ERROR, "could not keep the plan of handler %s",
				 handler->signature);
		SPI_finish();
	}
	handler->prepared = true;
}

static Handler *
get_handler(const char *signature)
{
	static Handler *last = NULL;
	Handler    *handler;
	bool		found;
	char		key[SIGNATURE_SIZE];
	Oid			function;

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
	handler = hash_search(handlers, key, HASH_ENTER, &found);
	if (!found)
	{
		handler->prepared = false;
		handler->plan = NULL;
	}
	if (!handler->prepared)
	{
		function = taskq_handler_require(signature);
		prepare_handler(handler, function);
	}
	return last = handler;
}

static void
check_execute(const Handler *handler)
{
	taskq_handler_check_execute(handler->signature, handler->function,
								GetUserId());
}

/* As the executor does it. */
static Datum
call_function(Handler *handler, Datum payload, bool *isnull)
{
	LOCAL_FCINFO(fcinfo, 1);
	FmgrInfo	flinfo;
	PgStat_FunctionCallUsage usage;
	Datum		result;

	InvokeFunctionExecuteHook(handler->function);

	/* a new one for each call: what is kept in it is the transaction's */
	flinfo = handler->flinfo;
	flinfo.fn_mcxt = CurrentMemoryContext;
	InitFunctionCallInfoData(*fcinfo, &flinfo, handler->has_arg ? 1 : 0,
							 InvalidOid, NULL, NULL);
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
	ParamListInfo params = makeParamList(1);
	Datum		result = (Datum) 0;

	params->params[0].value = payload;
	params->params[0].isnull = false;
	params->params[0].pflags = PARAM_FLAG_CONST;
	params->params[0].ptype = JSONBOID;
	SPI_connect();
	if (SPI_execute_plan_with_paramlist(handler->plan, params, false, 0) !=
		SPI_OK_SELECT)
		elog(ERROR, "could not call handler %s", handler->signature);
	*isnull = true;
	if (SPI_processed > 0 &&
		(handler->result_type != VOIDOID || handler->returns_set))
		result = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc,
							   1, isnull);
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
 * Takes the function's name as the kind has it, and jsonb.  Returns jsonb in
 * the current memory context, or *isnull.  Needs a transaction and an active
 * snapshot. Raises whatever the function raises, and 42501 if the current
 * user may not execute it.
 */
Datum
taskq_handler_call(const char *signature, Datum payload, bool *isnull)
{
	Handler    *handler = get_handler(signature);

	check_execute(handler);
	return handler->direct ? call_function(handler, payload, isnull)
		: call_plan(handler, payload, isnull);
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
	CacheRegisterSyscacheCallback(LANGOID, on_function_change, (Datum) 0);
}
