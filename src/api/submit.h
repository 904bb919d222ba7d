/* submit.h: what submitting and retrying share */
#ifndef TASKQ_SUBMIT_H
#define TASKQ_SUBMIT_H

#include "postgres.h"

#include "fmgr.h"
#include "lanes/enqueue.h"

/*
 * The options that all forms of submit share, in the order of their
 * arguments.
 */
enum
{
	OPT_QUEUE,
	OPT_PRIORITY,
	OPT_RUN_AT,
	OPT_DELAY,
	OPT_TIMEOUT,
	OPT_MAX_ATTEMPTS,
	OPT_UNIQUE_KEY,
	OPT_ON_CONFLICT,
	OPT_UNIQUE_FOR,
	OPT_CONCURRENCY_KEY,
	OPT_DEPENDS_ON,
	OPT_ON_DEPENDENCY_FAILURE,
	OPT_PARENT,
	OPT_TAGS,
	OPT_METADATA,
	OPT_OPTIONS,
	OPT_COUNT
};

extern PGDLLEXPORT Datum taskq_submit(PG_FUNCTION_ARGS);
extern char *taskq_submit_request(void);
extern void taskq_submit_request_key(TaskqSubmit *submit);
extern void taskq_submit_check_same(const pg_uuid_t *id, Datum payload);
extern bool taskq_submit_once(TaskqSubmit *submit, Datum payload,
							  pg_uuid_t *id);
extern void taskq_submit_begin(TaskqSubmit *submit);
extern void taskq_submit_claims(TaskqSubmit *submit);
extern void taskq_submit_prepare(TaskqSubmit *submit, const char *kind_name,
								 FunctionCallInfo fcinfo, int first);

#endif
