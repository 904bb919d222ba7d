/*-------------------------------------------------------------------------
 *
 * queues.c
 *		Table "queue".
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "base/args.h"
#include "catalog/indexing.h"
#include "store/cache.h"
#include "store/retention.h"
#include "store/rows.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#define MAX_PERIOD_US (INT64CONST(36525) * USECS_PER_DAY)	/* 100 years */

static HTAB *queues = NULL;

/* taskq_queues_forget - an empty cache */
void
taskq_queues_forget(void)
{
	queues = taskq_defs_cache("taskq queues", NAMEDATALEN,
							  sizeof(TaskqQueue), HASH_STRINGS);
}

/* taskq_limit_read - the limits of a kind or queue, from these columns */
TaskqLimit
taskq_limit_read(Datum *values, bool *nulls, int max_running, int rate,
				 int period)
{
	TaskqLimit	limit = {0};

	if (!nulls[max_running - 1])
		limit.max_running = DatumGetInt32(values[max_running - 1]);
	if (nulls[rate - 1] || nulls[period - 1])
		return limit;
	limit.rate = DatumGetInt32(values[rate - 1]);
	limit.rate_us = Min(taskq_interval_us(DatumGetIntervalP(values[period - 1])),
						MAX_PERIOD_US);
	return limit;
}

static void
queue_from_row(TaskqQueue *queue, HeapTuple tuple, TupleDesc desc)
{
	Datum		values[Natts_queue];
	bool		nulls[Natts_queue];

	taskq_rows_deform(tuple, desc, values, nulls, Natts_queue);
	queue->defined = true;
	queue->limit = taskq_limit_read(values, nulls, Anum_queue_max_running,
									Anum_queue_rate, Anum_queue_rate_period);
	queue->retention_us = nulls[Anum_queue_retention - 1]
		? 0
		: taskq_retention_said(DatumGetIntervalP(values[Anum_queue_retention - 1]));
	queue->reserved = nulls[Anum_queue_reserved - 1]
		? 0
		: DatumGetInt32(values[Anum_queue_reserved - 1]);
}

/* taskq_queues_retained - which ones have a retention of their own? 0: none */
uint64
taskq_queues_retained(void)
{
	return taskq_defs_sign(TASKQ_REL_QUEUE, Anum_queue_retention);
}

/*
 * taskq_queues_reserved - the queues that have reserved places, as a list of
 * palloc'd TaskqQueue
 */
List *
taskq_queues_reserved(void)
{
	TaskqRead	read;
	HeapTuple	tuple;
	List	   *found = NIL;

	taskq_read_begin_all(&read, TASKQ_REL_QUEUE, AccessShareLock);
	while ((tuple = taskq_read_next(&read)) != NULL)
	{
		TaskqQueue *queue = palloc0(sizeof(TaskqQueue));

		namestrcpy(&queue->name,
				   TextDatumGetCString(taskq_read_column(&read, tuple, Anum_queue_name)));
		queue_from_row(queue, tuple, RelationGetDescr(read.rel));
		if (queue->reserved > 0)
			found = lappend(found, queue);
	}
	taskq_read_end(&read);
	return found;
}

/*
 * taskq_queue_get - a queue that somebody defined, or NULL
 *
 * That there is none is kept too: a worker asks with every batch.
 */
const TaskqQueue *
taskq_queue_get(const char *name)
{
	TaskqQueue	read = {.defined = false};
	TaskqQueue *queue;
	HeapTuple	tuple;
	TupleDesc	desc;

	if (strlen(name) >= NAMEDATALEN)
		return NULL;
	queue = hash_search(queues, name, HASH_FIND, NULL);
	if (queue == NULL)
	{
		tuple = taskq_defs_read(TASKQ_REL_QUEUE, TASKQ_REL_QUEUE_PKEY, name,
								&desc);
		namestrcpy(&read.name, name);
		if (tuple != NULL)
			queue_from_row(&read, tuple, desc);
		queue = hash_search(queues, name, HASH_ENTER, NULL);
		*queue = read;
	}
	return queue->defined ? queue : NULL;
}

/*
 * taskq_queue_write - create a queue, or replace the columns told of the one
 * that is there; returns what has changed
 */
Datum
taskq_queue_write(const char *name, Datum *values, bool *nulls,
				  const bool *replace)
{
	return taskq_defs_write(TASKQ_REL_QUEUE, TASKQ_REL_QUEUE_PKEY, name,
							values, nulls, replace, Natts_queue);
}

/* taskq_queue_delete - forget what was defined; false if there was nothing */
bool
taskq_queue_delete(const char *name)
{
	TaskqRead	read;
	ScanKeyData key;
	HeapTuple	tuple;

	taskq_key(&key, 1, F_TEXTEQ, CStringGetTextDatum(name));
	taskq_read_begin(&read, TASKQ_REL_QUEUE, TASKQ_REL_QUEUE_PKEY,
					 ShareRowExclusiveLock, 1, &key);
	tuple = taskq_read_next(&read);
	if (tuple != NULL)
		CatalogTupleDelete(read.rel, &tuple->t_self);
	taskq_defs_changed(&read);
	return tuple != NULL;
}

/*
 * taskq_arg_queue - the name of a queue that exists; taskq_defs_begin was
 * called
 */
char *
taskq_arg_queue(FunctionCallInfo fcinfo, int n)
{
	char	   *queue = taskq_arg_name(fcinfo, n, "queue");

	if (strcmp(queue, "default") != 0 && taskq_queue_get(queue) == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("queue \"%s\" does not exist", queue),
				 errhint("Argument \"queue\" names a queue that taskq.queue_define() made; view taskq.queue lists them.")));
	return queue;
}
