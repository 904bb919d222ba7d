/* rights.h: who may do what */
#ifndef TASKQ_RIGHTS_H
#define TASKQ_RIGHTS_H

#include "postgres.h"

#include "store/defs.h"
#include "store/tasks.h"
#include "utils/jsonb.h"

/* Why something cannot be, in words. */
typedef struct TaskqProblem
{
	const char *code;
	const char *message;
	const char *hint;
} TaskqProblem;

/* called when somebody writes to the tables by hand; or NULL */
extern void (*taskq_on_dml) (void);

extern bool taskq_role_may_see(Oid role);
extern bool taskq_row_tenant_visible(TaskqRow *row);
extern bool taskq_tuple_tenant_visible(HeapTuple tuple, TupleDesc desc);
extern Oid	taskq_row_other_submitter(TaskqRow *row);
extern bool taskq_row_may_see(const TaskqLaneDef *lane, TaskqRow *row);
extern bool taskq_steers_all(void);
extern bool taskq_steers_tenant(const char *tenant);
extern bool taskq_row_may_steer(const TaskqLaneDef *lane, TaskqRow *row);
extern void taskq_require_steer(const TaskqLaneDef *lane, TaskqRow *row,
								const char *verb);

/* of kinds, and of what runs: kind_rights.c */
extern bool taskq_kind_owned(const TaskqKind *kind);
extern bool taskq_kind_may_submit(const TaskqKind *kind);
extern bool taskq_kind_role_may_submit(const TaskqKind *kind, Oid role);
extern bool taskq_kind_role_may_work(const TaskqKind *kind, Oid role);
extern bool taskq_kind_may_work(const TaskqKind *kind);
extern bool taskq_kind_works_for_all(const TaskqKind *kind);
extern bool taskq_row_may_work(const TaskqKind *kind, TaskqRow *row);
extern void taskq_kind_check_superuser(const TaskqKind *kind, Oid role);
extern void taskq_kind_check_handler(const TaskqKind *kind,
									 const TaskqLaneDef *lane);
extern void taskq_kind_check_hooks(const TaskqKind *kind,
								   const TaskqLaneDef *lane);
extern void taskq_kind_check_hook(const TaskqKind *kind,
								  const TaskqHook * hook,
								  const TaskqKind *hook_kind,
								  const TaskqLaneDef *lane, TaskqRow *row,
								  Oid role);
extern int32 taskq_row_hook(TaskqRow *row, int *level);
extern void taskq_kind_check_scheduled(const TaskqKind *kind,
									   const char *schedule, int32 owner,
									   int64 version, Oid role);
extern const TaskqProblem *taskq_lane_role_problem(const TaskqLaneDef *lane);
extern void taskq_kind_check_run(const TaskqKind *kind,
								 const TaskqLaneDef *lane, TaskqRow *row);

extern Oid	taskq_handler_require(const char *signature);
extern void taskq_handler_check_execute(const char *signature, Oid function,
										Oid role);
extern void taskq_task_check_run(const TaskqKind *kind,
								 const TaskqLaneDef *lane, TaskqRow *row);

extern bool taskq_tenant_may_see(const char *tenant);
extern bool taskq_role_may_schedule(Oid role);

extern void taskq_tenant_check(void);
extern bool taskq_tenant_is_limited(void);
extern const char *taskq_tenant_only(void);
extern bool taskq_tenant_may_name(void);
extern Jsonb *taskq_caller_claims(void);

#endif
