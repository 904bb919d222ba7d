/* args.h: arguments of SQL functions, checked */
#ifndef TASKQ_ARGS_H
#define TASKQ_ARGS_H

#include "postgres.h"

#include "base/compat.h"
#include "base/id.h"
#include "fmgr.h"
#include "utils/jsonb.h"
#include "utils/timestamp.h"

#define ERRCODE_TASK_BAD_REQUEST MAKE_SQLSTATE('P','T','4','0','0')
#define ERRCODE_TASK_FORBIDDEN MAKE_SQLSTATE('P','T','4','0','3')
#define ERRCODE_TASK_NOT_FOUND MAKE_SQLSTATE('P','T','4','0','4')
#define ERRCODE_TASK_WRONG_STATE MAKE_SQLSTATE('P','T','4','0','9')
#define ERRCODE_TASK_NO_METHOD MAKE_SQLSTATE('P','T','4','0','5')
#define ERRCODE_TASK_GONE MAKE_SQLSTATE('P','T','4','1','0')
#define ERRCODE_TASK_TOO_LARGE MAKE_SQLSTATE('P','T','4','1','3')
#define ERRCODE_TASK_KEY_REUSED MAKE_SQLSTATE('P','T','4','2','2')
#define ERRCODE_TASK_TOO_MANY MAKE_SQLSTATE('P','T','4','2','9')
#define ERRCODE_TASK_UNAVAILABLE MAKE_SQLSTATE('P','T','5','0','3')

extern int64 taskq_interval_us(const Interval *interval);

/* All raise 22023, with a hint that names the argument. */
pg_noreturn extern void taskq_invalid(const char *message, const char *hint);
pg_noreturn extern void taskq_invalid_argument(const char *argument,
											   const char *message);
extern pg_uuid_t taskq_arg_id(FunctionCallInfo fcinfo, int n);
extern char *taskq_arg_text(FunctionCallInfo fcinfo, int n,
							const char *preset);
extern char *taskq_arg_name(FunctionCallInfo fcinfo, int n,
							const char *argument);
extern int64 taskq_arg_interval_us(FunctionCallInfo fcinfo, int n,
								   const char *argument, int64 min_us);
extern double taskq_arg_number(FunctionCallInfo fcinfo, int n,
							   const char *argument);
extern TimestampTz taskq_arg_delay(FunctionCallInfo fcinfo, int n);
extern void taskq_check_size(Jsonb *value, const char *argument);
extern void taskq_check_result(Jsonb *value);
extern void taskq_check_priority(int priority);
extern void taskq_check_max_attempts(int n);
extern void taskq_check_name(const char *name, const char *argument);
extern char *taskq_clip_name(const char *name);

#endif
