/* workflow.h: workflows, and their steps as SQL gives them */
#ifndef TASKQ_WORKFLOW_H
#define TASKQ_WORKFLOW_H

#include "postgres.h"

#include "base/compat.h"
#include "base/id.h"
#include "store/steps.h"
#include "store/tasks.h"
#include "utils/jsonb.h"

/* One step, as it was defined. */
typedef struct TaskqStepDef
{
	char	   *name;
	Jsonb	   *definition;
	int			ndepends;
	int		   *depends;		/* other steps, by their place; also those
								 * whose results it takes */
	bool		placed;			/* in order */
	pg_uuid_t	task;			/* that was submitted for it */
} TaskqStepDef;

typedef struct TaskqSteps
{
	int			n;
	TaskqStepDef *steps;
	int		   *order;			/* each after those it depends on */
} TaskqSteps;

extern void taskq_steps_parse(Jsonb *array, TaskqSteps *steps);
extern bool taskq_step_member(Jsonb *definition, const char *member,
							  JsonbValue *value);
extern char *taskq_step_text(Jsonb *definition, const char *member);

/* what submitting, steering and retrying them have in common: workflow.c */
extern void taskq_workflow_begin(const char *function);
extern bool taskq_step_may_see(const TaskqStep *step, TaskqRow *row);
pg_noreturn extern void taskq_workflow_not_found(const pg_uuid_t *id);
extern void taskq_workflow_require_steer(const pg_uuid_t *id,
										 const char *verb);
extern void taskq_workflow_tell(const char *verb, const pg_uuid_t *id, int n,
								const char *reason, bool force);

#endif
