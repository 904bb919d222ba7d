/*-------------------------------------------------------------------------
 *
 * action.c
 *		The one place that every act of an operator passes.
 *
 * Whatever steers tasks, queues, kinds or the database calls taskq_action
 * when it has done so, in the transaction that does it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "api/action.h"

/*
 * taskq_action - something was done; part of the calling transaction, so what
 * is rolled back was not
 */
void
taskq_action(const TaskqAction *action)
{
	ereport(DEBUG1,
			(errmsg_internal("taskq: %s of %s %s, force %d, count " INT64_FORMAT,
							 action->verb, action->object,
							 action->task ? taskq_id_text(action->task)
							 : action->name ? action->name : "",
							 action->force, action->count)));
}
