/*-------------------------------------------------------------------------
 *
 * serverlog.c
 *		Failures of tasks in the server's log, for who watches that.
 *
 * One line each, as taskq.log_failures says, with the error's message but
 * nothing of the payload.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <ctype.h>

#include "base/guc.h"
#include "base/json.h"
#include "mb/pg_wchar.h"
#include "run/complete.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"

#define MAX_MESSAGE 1000		/* bytes */

/* The error's message, on one line. */
static char *
message_of(const TaskqFailure *failure)
{
	char	   *message = NULL;

	if (failure->error != 0)
		message = taskq_json_get_text(DatumGetJsonbP(failure->error),
									  "message");
	if (message == NULL)
		return "";
	message[pg_mbcliplen(message, strlen(message), MAX_MESSAGE)] = '\0';
	for (char *c = message; *c != '\0'; c++)
	{
		if (iscntrl((unsigned char) *c))
			*c = ' ';
	}
	return message;
}

/*
 * taskq_tell_failure - tell the server's log that an attempt failed, and has
 * brought the task to this state
 */
void
taskq_tell_failure(const TaskqRow *row, const TaskqLaneDef *lane,
				   const TaskqFailure *failure, char state, int attempt)
{
	const char *worker = failure->worker;

	if (taskq_log_failures == TASKQ_FAILURES_OFF ||
		(state != TASKQ_FAILED &&
		 (state != TASKQ_RETRYING ||
		  taskq_log_failures != TASKQ_FAILURES_ATTEMPTS)))
		return;
	if (worker == NULL && !taskq_row_isnull(row, worker))
		worker = TextDatumGetCString(taskq_row_value(row, worker));
	ereport(LOG_SERVER_ONLY,
			(errcode(failure->sqlerrcode),
			 errmsg("taskq: task %s failed%s: kind \"%s\", queue \"%s\", attempt %d, worker \"%s\", SQLSTATE %s: %s",
					taskq_id_text(DatumGetUUIDP(taskq_row_value(row, id))),
					state == TASKQ_RETRYING ? " and is tried again" : "",
					lane ? NameStr(lane->kind) : "",
					lane ? NameStr(lane->queue) : "", attempt,
					worker ? worker : "",
					unpack_sql_state(failure->sqlerrcode),
					message_of(failure)),
			 errhidestmt(true),
			 errhidecontext(true)));
}
