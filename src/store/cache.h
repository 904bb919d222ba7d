/*
 * cache.h: what defs.c does for kinds.c, queues.c, roles.c and lanedefs.c,
 * and for nobody else
 */
#ifndef TASKQ_CACHE_H
#define TASKQ_CACHE_H

#include "postgres.h"

#include "store/defs.h"
#include "store/read.h"
#include "utils/hsearch.h"

extern MemoryContext taskq_defs_context;	/* of the caches */

extern HTAB *taskq_defs_cache(const char *name, Size keysize, Size entrysize,
							  int flags);
extern TaskqLimit taskq_limit_read(Datum *values, bool *nulls,
								   int max_running, int rate, int period);
extern void taskq_defs_made_here(void);
extern HeapTuple taskq_defs_read(TaskqRelation table, TaskqRelation index,
								 const char *name, TupleDesc *desc);
extern bool taskq_defs_have_text(TaskqRelation table, int column,
								 const char *value);
extern Datum taskq_defs_write(TaskqRelation table, TaskqRelation index,
							  const char *name, Datum *values, bool *nulls,
							  const bool *replace, int natts);
extern uint64 taskq_defs_sign(TaskqRelation table, int column);
extern void taskq_defs_changed(TaskqRead *read);
extern int32 taskq_defs_number(Relation rel, TaskqRelation pkey,
							   TaskqRelation sequence);

extern void taskq_kinds_forget(void);
extern void taskq_pauses_forget(void);
extern void taskq_queues_forget(void);
extern void taskq_roles_forget(void);
extern void taskq_roles_take_over(void);
extern void taskq_lanedefs_forget(void);
extern void taskq_lanedefs_doubt(void);

#endif
