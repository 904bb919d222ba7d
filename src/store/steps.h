/* steps.h: tables template and step, and what payloads take from results */
#ifndef TASKQ_STEPS_H
#define TASKQ_STEPS_H

#include "postgres.h"

#include "access/tupdesc.h"
#include "base/id.h"
#include "nodes/pg_list.h"
#include "store/tasks.h"
#include "utils/jsonb.h"

/* columns of taskq_internal.template */
enum
{
	Anum_template_name = 1,
	Anum_template_steps,
	Anum_template_description,
	Anum_template_owner,
	Anum_template_tenant,
	Anum_template_updated_at,
	Natts_template = Anum_template_updated_at
};

typedef struct TaskqTemplate
{
	Jsonb	   *steps;
	int32		owner_id;
	Oid			owner;			/* InvalidOid: it does not exist any more */
	const char *owner_name;
	const char *tenant;			/* or NULL */
} TaskqTemplate;

/*
 * A task of a workflow: one of its steps, or a child of one.  The one without
 * a name is the workflow itself.
 */
typedef struct TaskqStep
{
	pg_uuid_t	workflow;
	const char *name;			/* of a child: its id */
	int			no;				/* steps count from 1; 0: no step */
	bool		has_task;
	pg_uuid_t	task;			/* the newest, if it was retried */
	bool		has_parent;
	pg_uuid_t	parent;
	Jsonb	   *definition;		/* or NULL */
} TaskqStep;

extern bool taskq_template_find(const char *name, TaskqTemplate *template);
extern Datum taskq_template_write(const char *name, Datum *values,
								  bool *nulls);
extern bool taskq_template_delete(const char *name);

extern void taskq_workflow_lock(const pg_uuid_t *workflow);
extern void taskq_step_insert(const TaskqStep *step);
extern bool taskq_step_find(const pg_uuid_t *workflow, const char *name,
							TaskqStep *step);
extern List *taskq_steps_of(const pg_uuid_t *workflow);
extern void taskq_step_retried(TaskqRow *old, const pg_uuid_t *retry);
extern void taskq_step_forget(TaskqRow *row);
extern int	taskq_workflows_forget(pg_uuid_t *from, TimestampTz before,
								   int max);

/* Members of objects that stand for something else. */
#define TASKQ_REF_INPUT "$input"
#define TASKQ_REF_RESULT "$result"

/*
 * What a reference stands for, or false if it stays as it is; scalars and
 * jbvBinary are welcome.
 */
typedef bool (*TaskqResolve) (const char *path, JsonbValue *value, void *arg);

extern Jsonb *taskq_references_replace(Jsonb *payload, const char *reference,
									   TaskqResolve resolve, void *arg);
extern bool taskq_reference_value(Jsonb *from, const char *path,
								  JsonbValue *value);
extern Datum taskq_references_resolve(TaskqRow *row, Datum payload);

#endif
