/*-------------------------------------------------------------------------
 *
 * rows.c
 *		Rows into taskq's tables, and into all the indexes on them.
 *
 * Tables are as the script made them, mostly: then rows go in by the short
 * way. A superuser may have added columns, constraints and indexes of any
 * sort: such tables are written as the executor writes them.  Triggers are
 * not fired and foreign keys not checked in either case.
 *
 * natts is how many columns of a table are taskq's; whatever comes after them
 * is left as it is, or gets its default.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/heapam.h"
#include "access/heaptoast.h"
#include "access/htup_details.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "base/compat.h"
#include "catalog/index.h"
#include "catalog/indexing.h"
#include "executor/executor.h"
#include "executor/nodeModifyTable.h"
#include "optimizer/optimizer.h"
#include "rewrite/rewriteHandler.h"
#include "store/rows.h"
#include "utils/datum.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

/* What the executor needs to write to one table. */
typedef struct Writer
{
	Relation	rel;
	EState	   *estate;
	ResultRelInfo *target;
	TupleTableSlot *slot;
} Writer;

/*
 * The one constraint of ours is for others' writes: it tells the sweeper of
 * them.
 */
static bool
is_ours(const ConstrCheck *check)
{
	return strcmp(check->ccname, "written") == 0;
}

static bool
has_checks(const TupleConstr *constr)
{
	for (int i = 0; i < constr->num_check; i++)
	{
		if (!is_ours(&constr->check[i]))
			return true;
	}
	return false;
}

/*
 * The checks of others, for ExecConstraints, which would prepare all of them:
 * ours calls a function that not everybody who submits may call.
 */
static void
prepare_checks(Writer *writer)
{
	const TupleConstr *constr = RelationGetDescr(writer->rel)->constr;
	MemoryContext caller;

	if (constr == NULL || constr->num_check == 0)
		return;
	caller = MemoryContextSwitchTo(writer->estate->es_query_cxt);
	writer->target->ri_CheckConstraintExprs =
		palloc0(constr->num_check * sizeof(ExprState *));
	for (int i = 0; i < constr->num_check; i++)
	{
		Expr	   *expr = NULL;

		if (!is_ours(&constr->check[i]))
			expr = taskq_check_expr(writer->rel, &constr->check[i]);
		if (expr != NULL)
			writer->target->ri_CheckConstraintExprs[i] =
				ExecPrepareExpr(expr, writer->estate);
	}
	MemoryContextSwitchTo(caller);
}

static void
writer_begin(Writer *writer, Relation rel)
{
	writer->rel = rel;
	writer->estate = CreateExecutorState();
	writer->target = makeNode(ResultRelInfo);
	InitResultRelInfo(writer->target, rel, 0, NULL, 0);
	writer->slot = MakeSingleTupleTableSlot(RelationGetDescr(rel),
											&TTSOpsHeapTuple);
	prepare_checks(writer);
}

static void
writer_end(Writer *writer)
{
	ExecCloseIndices(writer->target);
	ExecDropSingleTupleTableSlot(writer->slot);
	FreeExecutorState(writer->estate);
	pfree(writer->target);
}

/* Has somebody put something on the table that looks at each row? */
static bool
has_additions(Relation rel, int natts)
{
	TupleDesc	desc = RelationGetDescr(rel);

	return desc->natts != natts ||
		(desc->constr != NULL &&
		 (has_checks(desc->constr) || desc->constr->has_generated_stored));
}

/* Take a row into the slot, with what is computed from it, and check it. */
static void
writer_take(Writer *writer, HeapTuple tuple)
{
	TupleConstr *constr = RelationGetDescr(writer->rel)->constr;

	ResetPerTupleExprContext(writer->estate);
	ExecStoreHeapTuple(tuple, writer->slot, false);
	writer->slot->tts_tableOid = RelationGetRelid(writer->rel);
	if (constr == NULL)
		return;

	/*
	 * all of them, also in an update: nobody says here which columns it
	 * changes
	 */
	if (constr->has_generated_stored)
		ExecComputeStoredGenerated(writer->target, writer->estate,
								   writer->slot, CMD_INSERT);
	ExecConstraints(writer->target, writer->slot, writer->estate);
}

/*
 * A deferrable constraint has found what may be a duplicate.  The trigger
 * that looks again at the end belongs to the executor; here it is looked at
 * now.
 */
static void
check_again(Writer *writer, Oid oid)
{
	for (int i = 0; i < writer->target->ri_NumIndices; i++)
	{
		Relation	index = writer->target->ri_IndexRelationDescs[i];
		IndexInfo  *info = writer->target->ri_IndexRelationInfo[i];
		Datum		values[INDEX_MAX_KEYS];
		bool		nulls[INDEX_MAX_KEYS];

		if (RelationGetRelid(index) != oid)
			continue;
		FormIndexDatum(info, writer->slot, writer->estate, values, nulls);
		if (info->ii_ExclusionOps != NULL)
			check_exclusion_constraint(writer->rel, index, info,
									   &writer->slot->tts_tid, values, nulls,
									   writer->estate, false);
		else
			index_insert(index, values, nulls, &writer->slot->tts_tid,
						 writer->rel, UNIQUE_CHECK_EXISTING, false, info);
	}
}

/*
 * Enter the row in the slot, which is in the table, into the indexes that
 * take rows by now.
 */
static void
writer_enter(Writer *writer, bool only_summarizing)
{
	List	   *doubtful;
	ListCell   *lc;
	ExprContext *econtext = GetPerTupleExprContext(writer->estate);

	econtext->ecxt_scantuple = writer->slot;
	if (writer->target->ri_IndexRelationDescs == NULL)
		ExecOpenIndices(writer->target, false);
	if (writer->target->ri_NumIndices == 0)
		return;
	doubtful = taskq_insert_index_tuples(writer->target, writer->slot,
										 writer->estate, only_summarizing);
	foreach(lc, doubtful)
		check_again(writer, lfirst_oid(lc));
}

/* ---- forming rows ---- */

/* What a column of somebody else's has for a default in a new row. */
static Datum
column_default(Relation rel, int attno, bool *isnull)
{
	Form_pg_attribute attribute = TupleDescAttr(RelationGetDescr(rel),
												attno - 1);
	Node	   *expr = NULL;
	EState	   *estate;
	Datum		value;

	*isnull = true;
	if (!attribute->attisdropped && attribute->attgenerated == '\0')
		expr = build_column_default(rel, attno);
	if (expr == NULL)
		return (Datum) 0;
	estate = CreateExecutorState();
	value = ExecEvalExpr(ExecPrepareExpr((Expr *) expr, estate),
						 GetPerTupleExprContext(estate), isnull);
	if (!*isnull)
		value = datumCopy(value, attribute->attbyval, attribute->attlen);
	FreeExecutorState(estate);
	return value;
}

/*
 * taskq_rows_form - a new row of a table
 *
 * Palloc'd.  Raises whatever a default that somebody gave a column raises.
 */
HeapTuple
taskq_rows_form(Relation rel, Datum *values, bool *nulls, int natts)
{
	TupleDesc	desc = RelationGetDescr(rel);
	Datum	   *all;
	bool	   *all_nulls;

	if (desc->natts == natts)
		return heap_form_tuple(desc, values, nulls);
	all = palloc0(desc->natts * sizeof(Datum));
	all_nulls = palloc(desc->natts * sizeof(bool));
	memcpy(all, values, natts * sizeof(Datum));
	memcpy(all_nulls, nulls, natts * sizeof(bool));
	for (int i = natts; i < desc->natts; i++)
		all[i] = column_default(rel, i + 1, &all_nulls[i]);
	return heap_form_tuple(desc, all, all_nulls);
}

/*
 * taskq_rows_deform - the first natts columns of a row; the values point into
 * it
 */
void
taskq_rows_deform(HeapTuple tuple, TupleDesc desc, Datum *values, bool *nulls,
				  int natts)
{
	Datum	   *all;
	bool	   *all_nulls;

	if (desc->natts == natts)
	{
		heap_deform_tuple(tuple, desc, values, nulls);
		return;
	}
	all = palloc(desc->natts * sizeof(Datum));
	all_nulls = palloc(desc->natts * sizeof(bool));
	heap_deform_tuple(tuple, desc, all, all_nulls);
	memcpy(values, all, natts * sizeof(Datum));
	memcpy(nulls, all_nulls, natts * sizeof(bool));
	pfree(all);
	pfree(all_nulls);
}

/*
 * taskq_rows_modify - a row with some of taskq's columns replaced; replace
 * NULL: all of them
 */
HeapTuple
taskq_rows_modify(Relation rel, HeapTuple tuple, Datum *values, bool *nulls,
				  const bool *replace, int natts)
{
	TupleDesc	desc = RelationGetDescr(rel);
	Datum	   *all = palloc0(desc->natts * sizeof(Datum));
	bool	   *all_nulls = palloc0(desc->natts * sizeof(bool));
	HeapTuple	modified;

	heap_deform_tuple(tuple, desc, all, all_nulls);
	for (int i = 0; i < natts; i++)
	{
		if (replace != NULL && !replace[i])
			continue;
		all[i] = values[i];
		all_nulls[i] = nulls[i];
	}
	modified = heap_form_tuple(desc, all, all_nulls);
	modified->t_self = tuple->t_self;
	return modified;
}

/* ---- insert ---- */

/* Are there only indexes that take a row as it is? */
static bool
indexes_are_plain(CatalogIndexState indexes)
{
	for (int i = 0; i < indexes->ri_NumIndices; i++)
	{
		IndexInfo  *info = indexes->ri_IndexRelationInfo[i];

		if (info->ii_Expressions != NIL || info->ii_Predicate != NIL ||
			info->ii_ExclusionOps != NULL ||
			!indexes->ri_IndexRelationDescs[i]->rd_index->indimmediate)
			return false;
	}
	return true;
}

/*
 * Must the tuple go in by itself?  A multi-insert leaves the caller without
 * the place of a tuple that was toasted on the way, and index entries would
 * point nowhere.
 */
static bool
insert_alone(HeapTuple tuple)
{
	return tuple->t_len > TOAST_TUPLE_THRESHOLD || HeapTupleHasExternal(tuple);
}

static void
insert_plainly(Relation rel, HeapTuple *tuples, int n,
			   CatalogIndexState indexes)
{
	TupleTableSlot **slots = palloc(n * sizeof(TupleTableSlot *));
	HeapTuple  *together = palloc(n * sizeof(HeapTuple));
	TupleDesc	desc = NULL;
	int			collected = 0;

	/*
	 * one that is not counted: a resource owner finds it hard to remember the
	 * same thing a thousand times
	 */
	if (n > 1)
		desc = CreateTupleDescCopy(RelationGetDescr(rel));

	for (int i = 0; i < n; i++)
	{
		if (n == 1 || insert_alone(tuples[i]))
		{
			CatalogTupleInsertWithInfo(rel, tuples[i], indexes);
			continue;
		}
		slots[collected] = MakeSingleTupleTableSlot(desc, &TTSOpsHeapTuple);
		ExecStoreHeapTuple(tuples[i], slots[collected], false);
		together[collected++] = tuples[i];
	}
	if (collected > 0)
		CatalogTuplesMultiInsertWithInfo(rel, slots, collected, indexes);
	for (int i = 0; i < collected; i++)
	{
		together[i]->t_self = slots[i]->tts_tid;
		ExecDropSingleTupleTableSlot(slots[i]);
	}
	if (desc != NULL)
		FreeTupleDesc(desc);
	pfree(together);
	pfree(slots);
}

static void
insert_by_executor(Relation rel, HeapTuple *tuples, int n)
{
	Writer		writer;

	writer_begin(&writer, rel);
	for (int i = 0; i < n; i++)
	{
		writer_take(&writer, tuples[i]);
		table_tuple_insert(rel, writer.slot, GetCurrentCommandId(true), 0,
						   NULL);
		tuples[i]->t_self = writer.slot->tts_tid;
		writer_enter(&writer, false);
	}
	writer_end(&writer);
}

/*
 * taskq_rows_insert - insert n rows into a table, which the caller has locked
 * row exclusive; t_self of each is where it is then
 *
 * Raises what constraints and indexes of others raise.
 */
void
taskq_rows_insert(Relation rel, HeapTuple *tuples, int n, int natts)
{
	CatalogIndexState indexes = CatalogOpenIndexes(rel);
	bool		plain = !has_additions(rel, natts) && indexes_are_plain(indexes);

	if (plain)
		insert_plainly(rel, tuples, n, indexes);
	CatalogCloseIndexes(indexes);
	if (!plain)
		insert_by_executor(rel, tuples, n);
}

/* taskq_rows_insert_one - form a row and insert it */
void
taskq_rows_insert_one(Relation rel, Datum *values, bool *nulls, int natts)
{
	HeapTuple	tuple = taskq_rows_form(rel, values, nulls, natts);

	taskq_rows_insert(rel, &tuple, 1, natts);
	heap_freetuple(tuple);
}

/* ---- update ---- */

/*
 * taskq_rows_update - put a new version in the place of a row that this
 * transaction has locked
 *
 * tuple->t_self is where it is then.  In place (HOT), if no index is in the
 * way and the page has room; then no index is even opened.
 */
void
taskq_rows_update(Relation rel, ItemPointer tid, HeapTuple tuple, int natts)
{
	bool		checked = has_additions(rel, natts);
	HeapTuple	new = tuple;
	Writer		writer;
	TaskqIndexes indexes;

	if (checked)
	{
		writer_begin(&writer, rel);
		writer_take(&writer, tuple);
		new = ExecFetchSlotHeapTuple(writer.slot, true, NULL);
	}
	indexes = taskq_heap_update(rel, tid, new);
	tuple->t_self = new->t_self;
	if (indexes != TASKQ_NO_INDEX)
	{
		if (!checked)
		{
			writer_begin(&writer, rel);
			ExecStoreHeapTuple(new, writer.slot, false);
			writer.slot->tts_tableOid = RelationGetRelid(rel);
		}
		writer.slot->tts_tid = new->t_self;
		writer_enter(&writer, indexes == TASKQ_SUMMARIZING_INDEXES);
	}
	if (checked || indexes != TASKQ_NO_INDEX)
		writer_end(&writer);
}

/*
 * taskq_rows_update_one - the same with values of taskq's columns; *tid is
 * where the row is then
 *
 * What others' columns have is read from the row.
 */
void
taskq_rows_update_one(Relation rel, ItemPointer tid, Datum *values,
					  bool *nulls, int natts)
{
	HeapTuple	tuple;

	if (RelationGetDescr(rel)->natts == natts)
		tuple = heap_form_tuple(RelationGetDescr(rel), values, nulls);
	else
	{
		TupleTableSlot *slot =
		MakeSingleTupleTableSlot(RelationGetDescr(rel),
								 &TTSOpsBufferHeapTuple);

		/* locked, so it is the one */
		if (!table_tuple_fetch_row_version(rel, tid, SnapshotAny, slot))
			elog(ERROR, "row to be updated not found in \"%s\"",
				 RelationGetRelationName(rel));
		tuple = taskq_rows_modify(rel,
								  ExecFetchSlotHeapTuple(slot, false, NULL),
								  values, nulls, NULL, natts);
		ExecDropSingleTupleTableSlot(slot);
	}
	taskq_rows_update(rel, tid, tuple, natts);
	*tid = tuple->t_self;
	heap_freetuple(tuple);
}
