/*-------------------------------------------------------------------------
 *
 * dependencies.c
 *		Tables "dependency" and "blocked": who waits for whom.
 *
 * Who submits a task that waits inserts a row in "dependency" for each task
 * that it waits for, and one in "blocked".  The dispatcher alone changes them
 * after that (dispatch/unblock.c); the row in "blocked" goes with the state,
 * under the lock of the task's row (state.c).
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "access/xact.h"
#include "catalog/indexing.h"
#include "miscadmin.h"
#include "store/dependencies.h"
#include "store/read.h"
#include "store/rows.h"
#include "store/tasks.h"
#include "utils/memutils.h"

#define NATTS_EDGE 4
#define NATTS_BLOCKED 5
#define PORTION 1000			/* rows inserted at once */

/* Insert n rows into one of the tables, in portions; form makes the i-th. */
static void
insert_rows(TaskqRelation table, int natts, const void *what, int n,
			void (*form) (const void *what, int i, Datum *values, bool *nulls))
{
	Relation	rel = taskq_store_open(table, RowExclusiveLock);
	HeapTuple  *tuples = palloc(sizeof(HeapTuple) * Min(n, PORTION));

	for (int first = 0; first < n; first += PORTION)
	{
		int			count = Min(n - first, PORTION);

		for (int i = 0; i < count; i++)
		{
			Datum		values[NATTS_BLOCKED];
			bool		nulls[NATTS_BLOCKED] = {false};

			form(what, first + i, values, nulls);
			tuples[i] = taskq_rows_form(rel, values, nulls, natts);
		}
		taskq_rows_insert(rel, tuples, count, natts);
		for (int i = 0; i < count; i++)
			heap_freetuple(tuples[i]);
	}
	pfree(tuples);
	table_close(rel, NoLock);
}

/* ---- dependency ---- */

static void
form_edge(const void *what, int i, Datum *values, bool *nulls)
{
	const TaskqEdge *edge = (const TaskqEdge *) what + i;

	values[0] = UUIDPGetDatum(&edge->dependency);
	values[1] = CharGetDatum(edge->type);
	values[2] = UUIDPGetDatum(&edge->task);
	values[3] = CharGetDatum(edge->state);
	nulls[3] = edge->state == TASKQ_EDGE_OPEN;
}

/* taskq_edges_insert - one task has to do with another, n times */
void
taskq_edges_insert(const TaskqEdge *edges, int n)
{
	if (n > 0)
		insert_rows(TASKQ_REL_DEPENDENCY, NATTS_EDGE, edges, n, form_edge);
}

/*
 * taskq_edges_next - what has to do in this way with a task, from *from on,
 * in order of id
 *
 * Returns how many, at most max, and moves *from past the last.
 */
int
taskq_edges_next(const pg_uuid_t *dependency, char type, pg_uuid_t *from,
				 int max, TaskqEdge *edges)
{
	TaskqRead	read;
	ScanKeyData keys[3];
	HeapTuple	tuple;
	int			n = 0;

	taskq_key(&keys[0], 1, F_UUID_EQ, UUIDPGetDatum(dependency));
	taskq_key(&keys[1], 2, F_CHAREQ, CharGetDatum(type));
	taskq_key_from(&keys[2], 3, F_UUID_GE, UUIDPGetDatum(from));
	taskq_read_begin_ordered(&read, TASKQ_REL_DEPENDENCY,
							 TASKQ_REL_DEPENDENCY_PKEY, NULL, 3, keys);
	while (n < max && (tuple = taskq_read_next(&read)) != NULL)
	{
		bool		isnull;
		Datum		state = heap_getattr(tuple, 4, RelationGetDescr(read.rel),
										 &isnull);

		edges[n].dependency = *dependency;
		edges[n].type = type;
		edges[n].task = *DatumGetUUIDP(taskq_read_column(&read, tuple, 3));
		edges[n].state = isnull ? TASKQ_EDGE_OPEN : DatumGetChar(state);
		edges[n++].tid = tuple->t_self;
	}
	taskq_read_end(&read);
	if (n > 0)
	{
		*from = edges[n - 1].task;
		taskq_id_next(from);
	}
	return n;
}

/*
 * taskq_edge_settle - note how the dependency ended, in a row that was read
 *
 * Only the dispatcher does.
 */
void
taskq_edge_settle(TaskqEdge *edge, char state)
{
	Relation	rel = taskq_store_open(TASKQ_REL_DEPENDENCY, RowExclusiveLock);
	Datum		values[NATTS_EDGE];
	bool		nulls[NATTS_EDGE] = {false};

	edge->state = state;
	form_edge(edge, 0, values, nulls);
	taskq_rows_update_one(rel, &edge->tid, values, nulls, NATTS_EDGE);
	table_close(rel, NoLock);
	CommandCounterIncrement();
}

/*
 * taskq_dependency_next - the first task, from this one on in order of id,
 * that others have to do with; false if there is none
 */
bool
taskq_dependency_next(pg_uuid_t *dependency)
{
	TaskqRead	read;
	ScanKeyData key;
	HeapTuple	tuple;

	taskq_key_from(&key, 1, F_UUID_GE, UUIDPGetDatum(dependency));
	taskq_read_begin_ordered(&read, TASKQ_REL_DEPENDENCY,
							 TASKQ_REL_DEPENDENCY_PKEY, NULL, 1, &key);
	tuple = taskq_read_next(&read);
	if (tuple != NULL)
		*dependency = *DatumGetUUIDP(taskq_read_column(&read, tuple, 1));
	taskq_read_end(&read);
	return tuple != NULL;
}

static bool
is_over(const pg_uuid_t *id)
{
	TaskqRow	row;
	char		state;

	if (!taskq_store_find(id, &row))
		return true;
	state = DatumGetChar(taskq_row_value(&row, state));
	return state == TASKQ_COMPLETED || state == TASKQ_FAILED ||
		state == TASKQ_CANCELLED;
}

#define AT_ONCE 100

/*
 * taskq_task_needed - does a task that is not over wait for this one, or has
 * it waited for it?
 */
bool
taskq_task_needed(const pg_uuid_t *id)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext,
												  "taskq dependents",
												  ALLOCSET_DEFAULT_SIZES);
	pg_uuid_t	from = {{0}};
	bool		needed = false;
	int			n = AT_ONCE;

	while (n == AT_ONCE && !needed)
	{
		MemoryContext old = MemoryContextSwitchTo(context);
		TaskqEdge	edges[AT_ONCE];

		CHECK_FOR_INTERRUPTS();
		n = taskq_edges_next(id, TASKQ_EDGE_WAITS, &from, AT_ONCE, edges);
		for (int i = 0; i < n && !needed; i++)
			needed = !is_over(&edges[i].task);
		MemoryContextSwitchTo(old);
		MemoryContextReset(context);
	}
	MemoryContextDelete(context);
	return needed;
}

/*
 * taskq_edges_forget - delete what tells of tasks that are gone, of those that
 * have to do with a task, from *from on
 *
 * Looks at no more than max; returns at how many, and moves *from past the
 * last.
 */
int
taskq_edges_forget(const pg_uuid_t *dependency, char type, pg_uuid_t *from,
				   int max)
{
	TaskqEdge  *edges = palloc(sizeof(TaskqEdge) * max);
	int			n = taskq_edges_next(dependency, type, from, max, edges);
	Relation	rel = taskq_store_open(TASKQ_REL_DEPENDENCY, RowExclusiveLock);

	for (int i = 0; i < n; i++)
	{
		TaskqRow	row;

		CHECK_FOR_INTERRUPTS();
		if (!taskq_store_find(&edges[i].task, &row))
			CatalogTupleDelete(rel, &edges[i].tid);
	}
	table_close(rel, NoLock);
	pfree(edges);
	return n;
}

#define MAX_RETRIES 100			/* of one task that are looked at */

/*
 * taskq_retry_completed - has a retry of this task completed, or a retry of a
 * retry?
 *
 * If so its id goes to *retry.  If not, the ids of those that may yet (a list
 * of pg_uuid_t) go to *unfinished, where that is not NULL.
 */
bool
taskq_retry_completed(const pg_uuid_t *id, pg_uuid_t *retry,
					  List **unfinished)
{
	List	   *todo = list_make1(unconstify(pg_uuid_t *, id));

	for (int i = 0; i < list_length(todo) && i < MAX_RETRIES; i++)
	{
		TaskqEdge  *edges = palloc(sizeof(TaskqEdge) * MAX_RETRIES);
		pg_uuid_t	from = {{0}};
		int			n = taskq_edges_next(list_nth(todo, i), TASKQ_EDGE_RETRY,
										 &from, MAX_RETRIES, edges);

		for (int j = 0; j < n; j++)
		{
			TaskqRow	row;
			char		state;

			if (!taskq_store_find(&edges[j].task, &row))
				continue;
			state = DatumGetChar(taskq_row_value(&row, state));
			if (state == TASKQ_COMPLETED)
			{
				*retry = edges[j].task;
				return true;
			}
			if (state == TASKQ_FAILED || state == TASKQ_CANCELLED)
				todo = lappend(todo, &edges[j].task);
			else if (unfinished != NULL)
				*unfinished = lappend(*unfinished, &edges[j].task);
		}
	}
	return false;
}

/* ---- blocked ---- */

static void
form_blocked(const void *what, int i, Datum *values, bool *nulls)
{
	const TaskqBlocked *blocked = (const TaskqBlocked *) what + i;

	values[0] = UUIDPGetDatum(&blocked->task);
	values[1] = BoolGetDatum(blocked->child);
	values[2] = CharGetDatum(blocked->policy);
	values[3] = Int32GetDatum(blocked->awaited);
	values[4] = BoolGetDatum(blocked->failed);
}

/* taskq_blocked_insert - n tasks wait */
void
taskq_blocked_insert(const TaskqBlocked *blocked, int n)
{
	if (n > 0)
		insert_rows(TASKQ_REL_BLOCKED, NATTS_BLOCKED, blocked, n,
					form_blocked);
}

static void
read_blocked(TaskqRead *read, HeapTuple tuple, TaskqBlocked *blocked)
{
	blocked->task = *DatumGetUUIDP(taskq_read_column(read, tuple, 1));
	blocked->child = DatumGetBool(taskq_read_column(read, tuple, 2));
	blocked->policy = DatumGetChar(taskq_read_column(read, tuple, 3));
	blocked->awaited = DatumGetInt32(taskq_read_column(read, tuple, 4));
	blocked->failed = DatumGetBool(taskq_read_column(read, tuple, 5));
	blocked->tid = tuple->t_self;
}

/* taskq_blocked_find - what a task waits for; false if it does not */
bool
taskq_blocked_find(const pg_uuid_t *task, bool child, TaskqBlocked *blocked)
{
	TaskqRead	read;
	ScanKeyData keys[2];
	HeapTuple	tuple;

	taskq_key(&keys[0], 1, F_UUID_EQ, UUIDPGetDatum(task));
	taskq_key(&keys[1], 2, F_BOOLEQ, BoolGetDatum(child));
	taskq_read_begin(&read, TASKQ_REL_BLOCKED, TASKQ_REL_BLOCKED_PKEY,
					 AccessShareLock, 2, keys);
	tuple = taskq_read_next(&read);
	if (tuple != NULL)
		read_blocked(&read, tuple, blocked);
	taskq_read_end(&read);
	return tuple != NULL;
}

/*
 * taskq_blocked_range - tasks that are blocked, of those between two ids, in
 * their order; how many, at most max
 */
int
taskq_blocked_range(const pg_uuid_t *first, const pg_uuid_t *last, int max,
					TaskqBlocked *blocked)
{
	TaskqRead	read;
	ScanKeyData keys[2];
	HeapTuple	tuple;
	int			n = 0;

	taskq_key_from(&keys[0], 1, F_UUID_GE, UUIDPGetDatum(first));
	ScanKeyInit(&keys[1], 1, BTLessEqualStrategyNumber, F_UUID_LE,
				UUIDPGetDatum(last));
	taskq_read_begin_ordered(&read, TASKQ_REL_BLOCKED, TASKQ_REL_BLOCKED_PKEY,
							 NULL, 2, keys);
	while (n < max && (tuple = taskq_read_next(&read)) != NULL)
	{
		read_blocked(&read, tuple, &blocked[n]);
		n += !blocked[n].child;
	}
	taskq_read_end(&read);
	return n;
}

/*
 * taskq_blocked_delete_seen - delete a row that was read; the task's own is
 * locked, and was blocked since
 */
void
taskq_blocked_delete_seen(TaskqBlocked *blocked)
{
	Relation	rel = taskq_store_open(TASKQ_REL_BLOCKED, RowExclusiveLock);

	CatalogTupleDelete(rel, &blocked->tid);
	table_close(rel, NoLock);
}

/*
 * taskq_blocked_update - write back a row that was read; the task's own is
 * locked
 */
void
taskq_blocked_update(TaskqBlocked *blocked)
{
	Relation	rel = taskq_store_open(TASKQ_REL_BLOCKED, RowExclusiveLock);
	Datum		values[NATTS_BLOCKED];
	bool		nulls[NATTS_BLOCKED] = {false};

	form_blocked(blocked, 0, values, nulls);
	taskq_rows_update_one(rel, &blocked->tid, values, nulls,
						  NATTS_BLOCKED);
	table_close(rel, NoLock);
	CommandCounterIncrement();
}

/* taskq_blocked_delete - it waits no more; the task's row is locked, or gone */
void
taskq_blocked_delete(const pg_uuid_t *task, bool child)
{
	ScanKeyData keys[2];

	taskq_key(&keys[0], 1, F_UUID_EQ, UUIDPGetDatum(task));
	taskq_key(&keys[1], 2, F_BOOLEQ, BoolGetDatum(child));
	taskq_read_delete(TASKQ_REL_BLOCKED, TASKQ_REL_BLOCKED_PKEY,
					  RowExclusiveLock, 2, keys);
	CommandCounterIncrement();
}

/*
 * taskq_blocked_next - tasks that wait, from *from on, in order of id
 *
 * Returns how many, and moves *from past the last.  At most max, and one
 * more: a task may have two rows.
 */
int
taskq_blocked_next(pg_uuid_t *from, int max, TaskqBlocked *blocked)
{
	TaskqRead	read;
	ScanKeyData key;
	HeapTuple	tuple;
	int			n = 0;

	taskq_key_from(&key, 1, F_UUID_GE, UUIDPGetDatum(from));
	taskq_read_begin_ordered(&read, TASKQ_REL_BLOCKED, TASKQ_REL_BLOCKED_PKEY,
							 NULL, 1, &key);
	while (n <= max && (tuple = taskq_read_next(&read)) != NULL)
	{
		read_blocked(&read, tuple, &blocked[n]);
		if (n == max && !taskq_id_eq(&blocked[n].task, &blocked[n - 1].task))
			break;
		n++;
	}
	taskq_read_end(&read);
	if (n > 0)
	{
		*from = blocked[n - 1].task;
		taskq_id_next(from);
	}
	return n;
}
