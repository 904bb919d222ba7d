/*-------------------------------------------------------------------------
 *
 * command.c
 *		Running SQL text as a task: at top level, as psql would.
 *
 * Commands go through portals with isTopLevel set, so that VACUUM, CREATE
 * INDEX CONCURRENTLY, and CALL or DO with COMMIT inside work.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "base/compat.h"
#include "base/guc.h"
#include "executor/executor.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "parser/analyze.h"
#include "parser/parser.h"
#include "run/command.h"
#include "run/complete.h"
#include "tcop/cmdtag.h"
#include "tcop/dest.h"
#include "tcop/pquery.h"
#include "tcop/tcopprot.h"
#include "tcop/utility.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"
#include "utils/portal.h"
#include "utils/snapmgr.h"
#include "utils/typcache.h"

#define MAX_ROWS 100

/* Keeps the first rows of a result, as jsonb. */
typedef struct RowReceiver
{
	DestReceiver pub;
	MemoryContext context;
	List	   *rows;			/* of Jsonb */
	uint64		nrows;
	bool		used;
} RowReceiver;

static bool
receive_row(TupleTableSlot *slot, DestReceiver *self)
{
	RowReceiver *receiver = (RowReceiver *) self;
	MemoryContext old;

	receiver->nrows++;
	if (list_length(receiver->rows) >= MAX_ROWS)
		return true;
	/* to_jsonb looks an anonymous row's type up */
	BlessTupleDesc(slot->tts_tupleDescriptor);
	old = MemoryContextSwitchTo(receiver->context);
	receiver->rows =
		lappend(receiver->rows,
				DatumGetJsonbP(taskq_to_jsonb(ExecFetchSlotHeapTupleDatum(slot),
											  RECORDOID)));
	MemoryContextSwitchTo(old);
	return true;
}

static void
receiver_startup(DestReceiver *self, int operation, TupleDesc typeinfo)
{
	((RowReceiver *) self)->used = true;
}

static void
receiver_shutdown(DestReceiver *self)
{
}

static RowReceiver *
make_receiver(void)
{
	RowReceiver *receiver = palloc0(sizeof(RowReceiver));

	receiver->pub.receiveSlot = receive_row;
	receiver->pub.rStartup = receiver_startup;
	receiver->pub.rShutdown = receiver_shutdown;
	receiver->pub.rDestroy = receiver_shutdown;
	receiver->pub.mydest = DestNone;
	receiver->context = CurrentMemoryContext;
	return receiver;
}

/*
 * taskq_command_parse - raw parse trees of the text, in the current context
 */
List *
taskq_command_parse(const char *sql)
{
	return raw_parser(sql, RAW_PARSE_DEFAULT);
}

/*
 * taskq_command_is_plain - can all of them run in one transaction, with the
 * task's row locked?
 *
 * Only what reads and changes data, of which that is sure.
 */
bool
taskq_command_is_plain(List *commands)
{
	ListCell   *lc;

	foreach(lc, commands)
	{
		NodeTag		tag = nodeTag(lfirst_node(RawStmt, lc)->stmt);

		if (tag != T_SelectStmt && tag != T_InsertStmt &&
			tag != T_UpdateStmt && tag != T_DeleteStmt && tag != T_MergeStmt)
			return false;
	}
	return true;
}

static void
refuse_unsuitable(Node *stmt)
{
	if (IsA(stmt, TransactionStmt) &&
		((TransactionStmt *) stmt)->kind == TRANS_STMT_PREPARE)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("PREPARE TRANSACTION cannot be used in a task"),
				 errdetail("Nobody would be there to finish the transaction.")));
	if (IsA(stmt, CopyStmt) && ((CopyStmt *) stmt)->filename == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("COPY from or to the client cannot be used in a task"),
				 errhint("Use COPY with a file or a program.")));
}

/* Run one command inside the current transaction. */
static void
run_one(const char *sql, RawStmt *raw, RowReceiver *receiver,
		QueryCompletion *qc)
{
	bool		snapshot = analyze_requires_snapshot(raw);
	List	   *queries;
	List	   *plans;
	Portal		portal;

	refuse_unsuitable(raw->stmt);
	if (snapshot)
		PushActiveSnapshot(GetTransactionSnapshot());
	queries = pg_analyze_and_rewrite_fixedparams(raw, sql, NULL, 0, NULL);
	plans = pg_plan_queries(queries, sql, CURSOR_OPT_PARALLEL_OK, NULL);
	if (snapshot)
		PopActiveSnapshot();

	portal = CreateNewPortal();
	portal->visible = false;
	PortalDefineQuery(portal, NULL, sql, CreateCommandTag(raw->stmt), plans,
					  NULL);
	PortalStart(portal, NULL, 0, InvalidSnapshot);
	InitializeQueryCompletion(qc);
	(void) taskq_portal_run(portal, true, &receiver->pub, qc);
	PortalDrop(portal, false);
}

static void
push_text(JsonbParseState **state, JsonbIteratorToken token, const char *text)
{
	JsonbValue	value = {.type = jbvString};

	value.val.string.val = unconstify(char *, text);
	value.val.string.len = strlen(text);
	pushJsonbValue(state, token, &value);
}

static void
push_command(JsonbParseState **state, const QueryCompletion *qc)
{
	JsonbValue	value = {.type = jbvNumeric};

	pushJsonbValue(state, WJB_BEGIN_OBJECT, NULL);
	push_text(state, WJB_KEY, "command");
	push_text(state, WJB_VALUE, GetCommandTagName(qc->commandTag));
	if (command_tag_display_rowcount(qc->commandTag))
	{
		push_text(state, WJB_KEY, "rows");
		value.val.numeric = int64_to_numeric(qc->nprocessed);
		pushJsonbValue(state, WJB_VALUE, &value);
	}
	pushJsonbValue(state, WJB_END_OBJECT, NULL);
}

static void
push_rows(JsonbParseState **state, List *rows)
{
	ListCell   *lc;

	push_text(state, WJB_KEY, "rows");
	pushJsonbValue(state, WJB_BEGIN_ARRAY, NULL);
	foreach(lc, rows)
	{
		JsonbValue	value;

		JsonbToJsonbValue(lfirst(lc), &value);
		pushJsonbValue(state, WJB_ELEM, &value);
	}
	pushJsonbValue(state, WJB_END_ARRAY, NULL);
}

/*
 * taskq_command_run - run commands, in order
 *
 * Either all in the current transaction, or (own_transactions) outside of
 * any, each in one of its own unless the text has BEGIN and COMMIT.  Returns
 * jsonb in the current context: the commands' tags and counts of rows, and
 * the first 100 rows of the last result.
 */
Datum
taskq_command_run(const char *sql, List *commands, bool own_transactions)
{
	MemoryContext context = CurrentMemoryContext;
	JsonbParseState *state = NULL;
	List	   *rows = NIL;
	bool		any_rows = false;
	ListCell   *lc;

	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	push_text(&state, WJB_KEY, "commands");
	pushJsonbValue(&state, WJB_BEGIN_ARRAY, NULL);
	foreach(lc, commands)
	{
		RowReceiver *receiver = make_receiver();
		RawStmt    *raw = lfirst_node(RawStmt, lc);
		QueryCompletion qc;

		if (own_transactions)
		{
			SetCurrentStatementStartTimestamp();
			StartTransactionCommand();
			MemoryContextSwitchTo(context);
		}
		if (IsAbortedTransactionBlockState() &&
			!(IsA(raw->stmt, TransactionStmt)))
			ereport(ERROR,
					(errcode(ERRCODE_IN_FAILED_SQL_TRANSACTION),
					 errmsg("current transaction is aborted")));
		run_one(sql, raw, receiver, &qc);
		if (own_transactions)
			CommitTransactionCommand();
		else
			CommandCounterIncrement();
		MemoryContextSwitchTo(context);
		CHECK_FOR_INTERRUPTS();

		push_command(&state, &qc);
		if (receiver->used)
		{
			rows = receiver->rows;
			any_rows = true;
		}
	}
	if (own_transactions && IsTransactionOrTransactionBlock())
		ereport(ERROR,
				(errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
				 errmsg("the commands leave a transaction open"),
				 errhint("End it with COMMIT.")));
	pushJsonbValue(&state, WJB_END_ARRAY, NULL);
	if (any_rows)
		push_rows(&state, rows);
	return JsonbPGetDatum(JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL)));
}
