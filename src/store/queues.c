/*-------------------------------------------------------------------------
 *
 * queues.c
 *		Table "queue".
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "base/args.h"
#include "store/cache.h"
#include "store/rows.h"
#include "utils/builtins.h"

static HTAB *queues = NULL;

/* taskq_queues_forget - an empty cache */
void
taskq_queues_forget(void)
{
	queues = taskq_defs_cache("taskq queues", NAMEDATALEN,
							  sizeof(TaskqQueue), HASH_STRINGS);
}

static void
queue_from_row(TaskqQueue *queue, HeapTuple tuple, TupleDesc desc)
{
	Datum		values[Natts_queue];
	bool		nulls[Natts_queue];

	taskq_rows_deform(tuple, desc, values, nulls, Natts_queue);
	queue->defined = true;
	queue->max_running = nulls[Anum_queue_max_running - 1]
		? 0
		: DatumGetInt32(values[Anum_queue_max_running - 1]);
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
 * that is there
 */
void
taskq_queue_write(const char *name, Datum *values, bool *nulls,
				  const bool *replace)
{
	taskq_defs_write(TASKQ_REL_QUEUE, TASKQ_REL_QUEUE_PKEY, name, values,
					 nulls, replace, Natts_queue);
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
