/* complete.h: recording how an attempt ended */
#ifndef TASKQ_COMPLETE_H
#define TASKQ_COMPLETE_H

#include "postgres.h"

#include "base/id.h"
#include "store/defs.h"
#include "store/tasks.h"
#include "utils/jsonb.h"

/* An attempt that did not reach its end. */
typedef struct TaskqFailure
{
	pg_uuid_t	id;
	int			attempt;		/* which, or 0; another one's failure is not
								 * recorded */
	TimestampTz started_at;
	const char *worker;
	int			sqlerrcode;
	Datum		error;			/* jsonb, or 0 */
	Datum		progress;		/* jsonb, or 0 */
	Datum		resources;		/* jsonb, or 0 */
	bool		cancelled;		/* because somebody asked to */
	const char *reason;
	bool		lost;			/* with its worker or its lease */
	bool		crashed;		/* ... and the server with it */
	bool		no_retry;		/* whoever ran it says that it is no use */
	bool		retry;			/* ... or that it is, */
	int64		retry_us;		/* after so long; -1: as the kind says */
} TaskqFailure;

/* the SQLSTATEs by which a handler says so */
#define ERRCODE_TASK_NO_RETRY MAKE_SQLSTATE('T','Q','0','0','1')
#define ERRCODE_TASK_RETRY MAKE_SQLSTATE('T','Q','0','0','2')
#define ERRCODE_TASK_LEASE_EXPIRED MAKE_SQLSTATE('T','Q','0','0','3')
#define ERRCODE_TASK_EXTERNAL MAKE_SQLSTATE('T','Q','0','0','4')


extern int	taskq_row_attempt(TaskqRow *row);
extern char taskq_complete(TaskqRow *row, TimestampTz started_at,
						   TimestampTz finished_at, const char *worker,
						   Datum result, bool isnull,
						   Datum progress, Datum resources, bool cancelled,
						   const char *reason);
extern char taskq_fail_row(TaskqRow *row, const TaskqFailure *failure);

/*
 * what taskq_record_failure returns when the row is locked and it shall not
 * wait
 */
#define TASKQ_ROW_BUSY '?'
extern char taskq_record_failure(const TaskqFailure *failure, bool wait);
extern bool taskq_share_no_more(const pg_uuid_t *id);

extern void taskq_cancel_waiting(TaskqRow *row, const TaskqLaneDef *lane,
								 const pg_uuid_t *id, const char *reason);
extern void taskq_cancel_leased(TaskqRow *row, const pg_uuid_t *id,
								const char *reason);

/* serverlog.c */
extern void taskq_tell_failure(const TaskqRow *row, const TaskqLaneDef *lane,
							   const TaskqFailure *failure, char state,
							   int attempt);

/* error.c */
extern Datum taskq_error_jsonb(const ErrorData *error);
extern Datum taskq_error_jsonb_with(const ErrorData *error,
									const Jsonb *details,
									const char *traceback);
extern Datum taskq_error_retryable(Datum error, bool retryable);
extern char *taskq_error_tell(const Jsonb *details);
extern void taskq_error_forget(void);
extern Datum taskq_to_jsonb(Datum value, Oid type);

#endif
