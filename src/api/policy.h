/* policy.h: what a kind does around its tasks: hooks, settings */
#ifndef TASKQ_POLICY_H
#define TASKQ_POLICY_H

#include "postgres.h"

#include "fmgr.h"
#include "store/defs.h"

extern bool taskq_policy_hooks(FunctionCallInfo fcinfo, int first,
							   const char *name, const TaskqKind *old,
							   Oid owner, Datum *values, bool *nulls);
extern bool taskq_policy_settings(FunctionCallInfo fcinfo, int n,
								  const TaskqKind *old, Datum *values,
								  bool *nulls);

#endif
