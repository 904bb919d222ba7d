/* http.h: the request that a session serves, as PostgREST tells it */
#ifndef TASKQ_HTTP_H
#define TASKQ_HTTP_H

#include "postgres.h"

#include "base/compat.h"

extern bool taskq_http(void);
extern bool taskq_http_calls(const char *name);
extern bool taskq_http_is(const char *method, const char *name);
extern char *taskq_http_header(const char *name);
extern void taskq_http_respond(const char *status, const char *headers);

/* Raise an error that the request is answered with. */
extern void taskq_http_refuse_sql(void);
pg_noreturn extern void taskq_too_many(const char *message,
									   const char *detail, const char *hint);

#endif
