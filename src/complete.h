/* complete.h: recording how an attempt ended */
#ifndef TASKQ_COMPLETE_H
#define TASKQ_COMPLETE_H

#include "postgres.h"

#include "id.h"
#include "store.h"
#include "task.h"

/* An attempt that did not reach its end. */
typedef struct TaskqFailure
{
	pg_uuid_t	id;
	TimestampTz started_at;
	const char *worker;
	int			sqlerrcode;
	Datum		error;			/* jsonb, or 0 */
	Datum		progress;		/* jsonb, or 0 */
	bool		cancelled;		/* because somebody asked to */
	const char *reason;
} TaskqFailure;

extern int	taskq_row_attempt(TaskqRow *row);
extern char taskq_complete(TaskqRow *row, TimestampTz started_at, const char *worker,
						   Datum result, bool isnull, Datum progress, bool cancelled, const char *reason);
extern char taskq_record_failure(const TaskqFailure *failure);

/* error.c */
extern Datum taskq_error_jsonb(const ErrorData *error);
extern Datum taskq_to_jsonb(Datum value, Oid type);

#endif
