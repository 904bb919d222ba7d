/* workflow.h: steps as SQL gives them */
#ifndef TASKQ_WORKFLOW_H
#define TASKQ_WORKFLOW_H

#include "postgres.h"

#include "base/id.h"
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

#endif
