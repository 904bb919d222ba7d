/* submit.h: checks of arguments that submitting and defining share */
#ifndef TASKQ_SUBMIT_H
#define TASKQ_SUBMIT_H

#include "postgres.h"

#include "utils/jsonb.h"

/* All raise an error, with a hint that names the argument. */
extern void taskq_check_role(Oid role);
extern void taskq_check_size(Jsonb *value, const char *argument);
extern void taskq_check_priority(int priority);
extern void taskq_check_max_attempts(int n);
extern void taskq_check_name(const char *name, const char *argument);

#endif
