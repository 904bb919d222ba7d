/*-------------------------------------------------------------------------
 *
 * steps.c
 *		Tables "template" and "step": workflows to come, and those there are.
 *
 * A workflow is its tasks; what it is beyond them (its name, what each step
 * was defined as, which task is the newest of a step) stands in "step".
 * Whoever changes rows there has the workflow locked.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "access/xact.h"
#include "catalog/indexing.h"
#include "common/hashfn.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "store/cache.h"
#include "store/defs.h"
#include "store/read.h"
#include "store/rows.h"
#include "store/steps.h"
#include "utils/builtins.h"

#define NATTS_STEP 6

/* ---- template ---- */

/*
 * taskq_template_find - a template as it is at this moment; false if there is
 * none
 */
bool
taskq_template_find(const char *name, TaskqTemplate *template)
{
	Datum		values[Natts_template];
	bool		nulls[Natts_template];
	NameData   *owner = palloc(sizeof(NameData));
	TupleDesc	desc;
	HeapTuple	tuple = taskq_defs_read(TASKQ_REL_TEMPLATE,
										TASKQ_REL_TEMPLATE_PKEY, name, &desc);

	if (tuple == NULL)
		return false;
	taskq_rows_deform(tuple, desc, values, nulls, Natts_template);
	template->steps = (Jsonb *)
		PG_DETOAST_DATUM_COPY(values[Anum_template_steps - 1]);
	template->owner_id = DatumGetInt32(values[Anum_template_owner - 1]);
	(void) taskq_role_read(template->owner_id, owner, &template->owner);
	template->owner_name = NameStr(*owner);
	template->tenant = nulls[Anum_template_tenant - 1] ? NULL
		: TextDatumGetCString(values[Anum_template_tenant - 1]);
	return true;
}

/*
 * taskq_template_write - create a template, or replace the one that is there;
 * returns what has changed
 *
 * Locks the table against other definers until the transaction ends.
 */
Datum
taskq_template_write(const char *name, Datum *values, bool *nulls)
{
	return taskq_defs_write(TASKQ_REL_TEMPLATE, TASKQ_REL_TEMPLATE_PKEY, name,
							values, nulls, NULL, Natts_template);
}

/* taskq_template_delete - false if there is none */
bool
taskq_template_delete(const char *name)
{
	ScanKeyData key;
	TaskqTemplate template;
	bool		found = taskq_template_find(name, &template);

	taskq_key(&key, 1, F_TEXTEQ, CStringGetTextDatum(name));
	taskq_read_delete(TASKQ_REL_TEMPLATE, TASKQ_REL_TEMPLATE_PKEY,
					  ShareRowExclusiveLock, 1, &key);
	CommandCounterIncrement();
	return found;
}

/* ---- step ---- */

/*
 * taskq_workflow_lock - until the transaction ends nobody else changes which
 * tasks are the newest of the workflow's steps
 */
void
taskq_workflow_lock(const pg_uuid_t *workflow)
{
	LockDatabaseObject(taskq_store_oid(TASKQ_REL_STEP),
					   DatumGetUInt32(hash_any(workflow->data, UUID_LEN)), 0,
					   ExclusiveLock);
}

static void
form_step(const TaskqStep *step, Datum *values, bool *nulls)
{
	values[0] = UUIDPGetDatum(&step->workflow);
	values[1] = CStringGetTextDatum(step->name);
	values[2] = Int32GetDatum(step->no);
	values[3] = UUIDPGetDatum(&step->task);
	nulls[3] = !step->has_task;
	values[4] = UUIDPGetDatum(&step->parent);
	nulls[4] = !step->has_parent;
	values[5] = PointerGetDatum(step->definition);
	nulls[5] = step->definition == NULL;
}

static TaskqStep *
read_step(HeapTuple tuple, TupleDesc desc)
{
	TaskqStep  *step = palloc0(sizeof(TaskqStep));
	Datum		values[NATTS_STEP];
	bool		nulls[NATTS_STEP];

	taskq_rows_deform(tuple, desc, values, nulls, NATTS_STEP);
	step->workflow = *DatumGetUUIDP(values[0]);
	step->name = TextDatumGetCString(values[1]);
	step->no = DatumGetInt32(values[2]);
	step->has_task = !nulls[3];
	if (step->has_task)
		step->task = *DatumGetUUIDP(values[3]);
	step->has_parent = !nulls[4];
	if (step->has_parent)
		step->parent = *DatumGetUUIDP(values[4]);
	if (!nulls[5])
		step->definition = (Jsonb *) PG_DETOAST_DATUM_COPY(values[5]);
	return step;
}

/* taskq_step_insert - a task belongs to a workflow */
void
taskq_step_insert(const TaskqStep *step)
{
	Relation	rel = taskq_store_open(TASKQ_REL_STEP, RowExclusiveLock);
	Datum		values[NATTS_STEP];
	bool		nulls[NATTS_STEP] = {false};

	form_step(step, values, nulls);
	taskq_rows_insert_one(rel, values, nulls, NATTS_STEP);
	table_close(rel, NoLock);
}

/* taskq_step_find - a step by its name; false if there is none */
bool
taskq_step_find(const pg_uuid_t *workflow, const char *name, TaskqStep *step)
{
	ScanKeyData keys[2];
	TupleDesc	desc;
	HeapTuple	tuple;

	taskq_key(&keys[0], 1, F_UUID_EQ, UUIDPGetDatum(workflow));
	taskq_key(&keys[1], 2, F_TEXTEQ, CStringGetTextDatum(name));
	tuple = taskq_read_one(TASKQ_REL_STEP, TASKQ_REL_STEP_PKEY, 2, keys,
						   &desc);
	if (tuple == NULL)
		return false;
	*step = *read_step(tuple, desc);
	return true;
}

static int
compare_steps(const ListCell *a, const ListCell *b)
{
	const TaskqStep *x = lfirst(a);
	const TaskqStep *y = lfirst(b);

	if ((x->no == 0) != (y->no == 0) && x->name[0] != '\0' &&
		y->name[0] != '\0')
		return x->no == 0 ? 1 : -1;
	return x->no != y->no ? (x->no < y->no ? -1 : 1)
		: strcmp(x->name, y->name);
}

/*
 * taskq_steps_of - all there is of a workflow: first itself, then its steps,
 * each after those it waits for, then their children
 */
List *
taskq_steps_of(const pg_uuid_t *workflow)
{
	TaskqRead	read;
	ScanKeyData key;
	HeapTuple	tuple;
	List	   *steps = NIL;

	taskq_key(&key, 1, F_UUID_EQ, UUIDPGetDatum(workflow));
	taskq_read_begin(&read, TASKQ_REL_STEP, TASKQ_REL_STEP_PKEY,
					 AccessShareLock, 1, &key);
	while ((tuple = taskq_read_next(&read)) != NULL)
		steps = lappend(steps, read_step(tuple, RelationGetDescr(read.rel)));
	taskq_read_end(&read);
	list_sort(steps, compare_steps);
	return steps;
}

/* Replace a row by another one, which may have another name. */
static void
replace_step(const char *name, const TaskqStep *step)
{
	ScanKeyData keys[2];

	taskq_key(&keys[0], 1, F_UUID_EQ, UUIDPGetDatum(&step->workflow));
	taskq_key(&keys[1], 2, F_TEXTEQ, CStringGetTextDatum(name));
	taskq_read_delete(TASKQ_REL_STEP, TASKQ_REL_STEP_PKEY, RowExclusiveLock,
					  2, keys);
	CommandCounterIncrement();
	taskq_step_insert(step);
	CommandCounterIncrement();
}

/*
 * taskq_step_retried - a task of a workflow was retried: the new task takes
 * its place
 *
 * Locks the workflow; the old task's row is locked already.
 */
void
taskq_step_retried(TaskqRow *old, const pg_uuid_t *retry)
{
	const pg_uuid_t *workflow = DatumGetUUIDP(taskq_row_value(old, workflow));
	const char *name = taskq_row_isnull(old, step)
	? taskq_id_text(DatumGetUUIDP(taskq_row_value(old, id)))
	: TextDatumGetCString(taskq_row_value(old, step));
	TaskqStep	step;

	taskq_workflow_lock(workflow);
	if (!taskq_step_find(workflow, name, &step))
		return;
	step.has_task = true;
	step.task = *retry;
	if (taskq_row_isnull(old, step))
		step.name = taskq_id_text(retry);
	replace_step(name, &step);
}

/*
 * taskq_step_forget - a task is deleted: what it was defined as goes with it,
 * if it was the newest of its step
 *
 * Its row is locked, and so nobody puts another one in its place; a lock of
 * each workflow would be too many.
 */
void
taskq_step_forget(TaskqRow *row)
{
	const pg_uuid_t *id = DatumGetUUIDP(taskq_row_value(row, id));
	const pg_uuid_t *workflow;
	const char *name;
	TaskqStep	step;
	ScanKeyData keys[2];

	if (taskq_row_isnull(row, workflow))
		return;
	workflow = DatumGetUUIDP(taskq_row_value(row, workflow));
	name = taskq_row_isnull(row, step) ? taskq_id_text(id)
		: TextDatumGetCString(taskq_row_value(row, step));
	if (!taskq_step_find(workflow, name, &step) || !step.has_task ||
		!taskq_id_eq(&step.task, id))
		return;
	taskq_key(&keys[0], 1, F_UUID_EQ, UUIDPGetDatum(workflow));
	taskq_key(&keys[1], 2, F_TEXTEQ, CStringGetTextDatum(name));
	taskq_read_delete(TASKQ_REL_STEP, TASKQ_REL_STEP_PKEY, RowExclusiveLock,
					  2, keys);
	CommandCounterIncrement();
}

/* Has it a task that is there?  Most often the first one read is. */
static bool
workflow_needed(const pg_uuid_t *workflow)
{
	TaskqRead	read;
	ScanKeyData key;
	HeapTuple	tuple;
	bool		needed = false;

	taskq_key(&key, 1, F_UUID_EQ, UUIDPGetDatum(workflow));
	taskq_read_begin(&read, TASKQ_REL_STEP, TASKQ_REL_STEP_PKEY,
					 AccessShareLock, 1, &key);
	while (!needed && (tuple = taskq_read_next(&read)) != NULL)
	{
		Datum		values[NATTS_STEP];
		bool		nulls[NATTS_STEP];
		TaskqRow	row;

		CHECK_FOR_INTERRUPTS();
		taskq_rows_deform(tuple, RelationGetDescr(read.rel), values, nulls,
						  NATTS_STEP);
		needed = !nulls[3] &&
			taskq_store_find(DatumGetUUIDP(values[3]), &row);
	}
	taskq_read_end(&read);
	return needed;
}

/* The first workflow from this id on; false if there is none. */
static bool
next_workflow(pg_uuid_t *workflow)
{
	TaskqRead	read;
	ScanKeyData key;
	HeapTuple	tuple;

	taskq_key_from(&key, 1, F_UUID_GE, UUIDPGetDatum(workflow));
	taskq_read_begin_ordered(&read, TASKQ_REL_STEP, TASKQ_REL_STEP_PKEY, NULL,
							 1, &key);
	tuple = taskq_read_next(&read);
	if (tuple != NULL)
		*workflow = *DatumGetUUIDP(taskq_read_column(&read, tuple, 1));
	taskq_read_end(&read);
	return tuple != NULL;
}

/*
 * taskq_workflows_forget - forget workflows all of whose tasks are gone, of
 * those before this moment, from *from on
 *
 * Looks at no more than max; returns at how many, and moves *from past the
 * last.
 */
int
taskq_workflows_forget(pg_uuid_t *from, TimestampTz before, int max)
{
	int			n = 0;

	for (; n < max && next_workflow(from) && taskq_id_time(from) <= before;
		 n++, taskq_id_next(from))
	{
		ScanKeyData key;

		CHECK_FOR_INTERRUPTS();
		if (workflow_needed(from))
			continue;
		taskq_key(&key, 1, F_UUID_EQ, UUIDPGetDatum(from));
		taskq_read_delete(TASKQ_REL_STEP, TASKQ_REL_STEP_PKEY,
						  RowExclusiveLock, 1, &key);
	}
	return n;
}
