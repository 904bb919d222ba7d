/*
 * rows.h: rows into taskq's tables and all the indexes on them, also those of
 * others
 */
#ifndef TASKQ_ROWS_H
#define TASKQ_ROWS_H

#include "postgres.h"

#include "access/htup.h"
#include "utils/relcache.h"

extern HeapTuple taskq_rows_form(Relation rel, Datum *values, bool *nulls,
								 int natts);
extern void taskq_rows_deform(HeapTuple tuple, TupleDesc desc, Datum *values,
							  bool *nulls, int natts);
extern HeapTuple taskq_rows_modify(Relation rel, HeapTuple tuple,
								   Datum *values, bool *nulls,
								   const bool *replace, int natts);
extern void taskq_rows_insert(Relation rel, HeapTuple *tuples, int n,
							  int natts);
extern void taskq_rows_insert_one(Relation rel, Datum *values, bool *nulls,
								  int natts);
extern void taskq_rows_update(Relation rel, ItemPointer tid, HeapTuple tuple,
							  int natts);
extern void taskq_rows_update_one(Relation rel, ItemPointer tid,
								  Datum *values, bool *nulls, int natts);

#endif
