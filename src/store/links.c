/*-------------------------------------------------------------------------
 *
 * links.c
 *		Tables "link" and "link_task": which task made which object.
 *
 * A link is of a task and an object, which taskq knows nothing of but its
 * name.  What is kept of the task, its kind and payload, is kept once, as
 * long as it has links; the task itself may be forgotten before.
 *
 * Whoever writes links of a task first locks these (not the task, which may
 * be running), until the transaction ends.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "access/xact.h"
#include "catalog/indexing.h"
#include "miscadmin.h"
#include "storage/lock.h"
#include "store/links.h"
#include "store/read.h"
#include "store/rows.h"
#include "store/secrets.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

/* columns of taskq_internal.link_task */
enum
{
	Anum_link_task_task = 1,
	Anum_link_task_role,
	Anum_link_task_submitted_by,
	Anum_link_task_tenant,
	Anum_link_task_kind,
	Anum_link_task_payload,
	Natts_link_task = Anum_link_task_payload
};

/* columns of taskq_internal.link */
enum
{
	Anum_link_task = 1,
	Anum_link_object,
	Anum_link_id,
	Anum_link_created_at,
	Natts_link = Anum_link_created_at
};

/*
 * taskq_link_lock - nobody else writes links of this task until the
 * transaction ends
 */
void
taskq_link_lock(const pg_uuid_t *task)
{
	LOCKTAG		tag;
	uint32		words[2];

	/* the random end of it; that two tasks have the same lock does no harm */
	memcpy(words, task->data + UUID_LEN - sizeof(words), sizeof(words));
	SET_LOCKTAG_OBJECT(tag, MyDatabaseId, taskq_store_oid(TASKQ_REL_LINK),
					   words[1], (uint16) words[0]);
	(void) LockAcquire(&tag, ExclusiveLock, false, false);
}

static HeapTuple
find_task(const pg_uuid_t *task, TupleDesc *desc)
{
	ScanKeyData key;

	taskq_key(&key, Anum_link_task_task, F_UUID_EQ, UUIDPGetDatum(task));
	return taskq_read_one(TASKQ_REL_LINK_TASK, TASKQ_REL_LINK_TASK_PKEY, 1,
						  &key, desc);
}

/* taskq_link_task_find - what is kept of a task; false if it has no links */
bool
taskq_link_task_find(const pg_uuid_t *task, TaskqLinkTask *found)
{
	Datum		values[Natts_link_task];
	bool		nulls[Natts_link_task];
	TupleDesc	desc;
	HeapTuple	tuple = find_task(task, &desc);

	if (tuple == NULL)
		return false;
	taskq_rows_deform(tuple, desc, values, nulls, Natts_link_task);
	found->tid = tuple->t_self;
	found->role = DatumGetInt32(values[Anum_link_task_role - 1]);
	found->submitted_by =
		DatumGetInt32(values[Anum_link_task_submitted_by - 1]);
	found->tenant = nulls[Anum_link_task_tenant - 1]
		? NULL
		: TextDatumGetCString(values[Anum_link_task_tenant - 1]);
	return true;
}

static void
insert_task(TaskqRow *row, const TaskqLaneDef *lane)
{
	Relation	rel = taskq_store_open(TASKQ_REL_LINK_TASK, RowExclusiveLock);
	Datum		values[Natts_link_task] = {taskq_row_value(row, id),
		Int32GetDatum(lane->role),
		taskq_row_isnull(row, submitted_by) ? Int32GetDatum(lane->role)
		: taskq_row_value(row, submitted_by),
		taskq_row_value(row, tenant),
		CStringGetTextDatum(NameStr(lane->kind)),
	0};
	bool		nulls[Natts_link_task] = {false, false, false,
		taskq_row_isnull(row, tenant), false,
	taskq_row_isnull(row, payload)};

	/*
	 * a copy: what the task's row refers to goes with the task; and no
	 * handler reads it
	 */
	if (!taskq_row_isnull(row, payload))
		values[Anum_link_task_payload - 1] =
			PointerGetDatum(PG_DETOAST_DATUM_COPY(taskq_secrets_shown(row, lane, Anum_task_payload)));
	taskq_rows_insert_one(rel, values, nulls, Natts_link_task);
	table_close(rel, NoLock);
}

static void
link_keys(ScanKey keys, const pg_uuid_t *task, const char *object,
		  const char *id)
{
	taskq_key(&keys[0], Anum_link_task, F_UUID_EQ, UUIDPGetDatum(task));
	taskq_key(&keys[1], Anum_link_object, F_TEXTEQ,
			  CStringGetTextDatum(object));
	taskq_key(&keys[2], Anum_link_id, F_TEXTEQ, CStringGetTextDatum(id));
}

/*
 * taskq_link_insert - link an object to a task, whose links are locked; once
 * is enough
 */
void
taskq_link_insert(TaskqRow *row, const TaskqLaneDef *lane,
				  const char *object, const char *id)
{
	pg_uuid_t  *task = DatumGetUUIDP(taskq_row_value(row, id));
	ScanKeyData keys[3];
	TupleDesc	desc;
	Relation	rel;
	Datum		values[Natts_link] = {UUIDPGetDatum(task),
		CStringGetTextDatum(object), CStringGetTextDatum(id),
	TimestampTzGetDatum(GetCurrentTimestamp())};
	bool		nulls[Natts_link] = {false};

	if (find_task(task, &desc) == NULL)
		insert_task(row, lane);
	link_keys(keys, task, object, id);
	if (taskq_read_one(TASKQ_REL_LINK, TASKQ_REL_LINK_PKEY, 3, keys,
					   &desc) != NULL)
		return;
	rel = taskq_store_open(TASKQ_REL_LINK, RowExclusiveLock);
	taskq_rows_insert_one(rel, values, nulls, Natts_link);
	table_close(rel, NoLock);
	CommandCounterIncrement();
}

/* What is kept of a task goes with its last link. */
static void
delete_task_if_last(const pg_uuid_t *task)
{
	ScanKeyData key;
	TupleDesc	desc;

	taskq_key(&key, Anum_link_task, F_UUID_EQ, UUIDPGetDatum(task));
	if (taskq_read_one(TASKQ_REL_LINK, TASKQ_REL_LINK_PKEY, 1, &key,
					   &desc) != NULL)
		return;
	taskq_key(&key, Anum_link_task_task, F_UUID_EQ, UUIDPGetDatum(task));
	taskq_read_delete(TASKQ_REL_LINK_TASK, TASKQ_REL_LINK_TASK_PKEY,
					  RowExclusiveLock, 1, &key);
	CommandCounterIncrement();
}

/*
 * taskq_link_delete - unlink an object from a task, whose links are locked;
 * false if it was not linked
 */
bool
taskq_link_delete(const pg_uuid_t *task, const char *object, const char *id)
{
	ScanKeyData keys[3];
	TupleDesc	desc;

	link_keys(keys, task, object, id);
	if (taskq_read_one(TASKQ_REL_LINK, TASKQ_REL_LINK_PKEY, 3, keys,
					   &desc) == NULL)
		return false;
	link_keys(keys, task, object, id);
	taskq_read_delete(TASKQ_REL_LINK, TASKQ_REL_LINK_PKEY, RowExclusiveLock,
					  3, keys);
	CommandCounterIncrement();
	delete_task_if_last(task);
	return true;
}

/*
 * taskq_links_of - tasks to which an object is linked, as a list of palloc'd
 * pg_uuid_t
 */
List *
taskq_links_of(const char *object, const char *id)
{
	TaskqRead	read;
	ScanKeyData keys[2];
	HeapTuple	tuple;
	List	   *tasks = NIL;

	taskq_key(&keys[0], Anum_link_object, F_TEXTEQ,
			  CStringGetTextDatum(object));
	taskq_key(&keys[1], Anum_link_id, F_TEXTEQ, CStringGetTextDatum(id));
	taskq_read_begin(&read, TASKQ_REL_LINK, TASKQ_REL_LINK_OBJECT,
					 AccessShareLock, 2, keys);
	while ((tuple = taskq_read_next(&read)) != NULL)
	{
		pg_uuid_t  *task = palloc(sizeof(pg_uuid_t));

		*task = *DatumGetUUIDP(taskq_read_column(&read, tuple, Anum_link_task));
		tasks = lappend(tasks, task);
	}
	taskq_read_end(&read);
	return tasks;
}

/* All links of a task; how many. */
static int64
delete_all(const pg_uuid_t *task)
{
	TaskqRead	read;
	ScanKeyData key;
	HeapTuple	tuple;
	int64		n = 0;

	taskq_link_lock(task);
	taskq_key(&key, Anum_link_task, F_UUID_EQ, UUIDPGetDatum(task));
	taskq_read_begin(&read, TASKQ_REL_LINK, TASKQ_REL_LINK_PKEY,
					 RowExclusiveLock, 1, &key);
	while ((tuple = taskq_read_next(&read)) != NULL)
	{
		CatalogTupleDelete(read.rel, &tuple->t_self);
		n++;
	}
	taskq_read_end(&read);
	CommandCounterIncrement();
	delete_task_if_last(task);
	return n;
}

/*
 * taskq_links_delete_tenant - delete the links of all tasks of a tenant; how
 * many
 *
 * Reads all tasks that have links.
 */
int64
taskq_links_delete_tenant(const char *tenant)
{
	TaskqRead	read;
	HeapTuple	tuple;
	int64		n = 0;

	taskq_read_begin_all(&read, TASKQ_REL_LINK_TASK, AccessShareLock);
	while ((tuple = taskq_read_next(&read)) != NULL)
	{
		bool		isnull;
		Datum		value = heap_getattr(tuple, Anum_link_task_tenant,
										 RelationGetDescr(read.rel), &isnull);

		CHECK_FOR_INTERRUPTS();
		if (!isnull && strcmp(TextDatumGetCString(value), tenant) == 0)
			n += delete_all(DatumGetUUIDP(taskq_read_column(&read, tuple, Anum_link_task_task)));
	}
	taskq_read_end(&read);
	return n;
}
