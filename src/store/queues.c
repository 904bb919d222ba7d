/*-------------------------------------------------------------------------
 *
 * queues.c
 *		Table "queue".
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "base/args.h"
#include "store/cache.h"
#include "utils/builtins.h"

static HTAB *queues = NULL;

/* taskq_queues_forget - an empty cache */
void
taskq_queues_forget(void)
{
	queues = taskq_defs_cache("taskq queues", NAMEDATALEN,
							  sizeof(TaskqQueue), HASH_STRINGS);
}

/* taskq_queue_get - a queue that somebody defined or paused, or NULL */
const TaskqQueue *
taskq_queue_get(const char *name)
{
	bool		found;
	bool		isnull;
	TaskqQueue *queue = hash_search(queues, name, HASH_FIND, NULL);
	HeapTuple	tuple;
	TupleDesc	desc;

	if (queue != NULL)
		return queue;
	tuple = taskq_defs_read(TASKQ_REL_QUEUE, TASKQ_REL_QUEUE_PKEY, name,
							&desc);
	if (tuple == NULL)
		return NULL;
	queue = hash_search(queues, name, HASH_ENTER, &found);
	queue->paused =
		DatumGetBool(heap_getattr(tuple, Anum_queue_paused, desc, &isnull));
	return queue;
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
