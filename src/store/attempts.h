/* attempts.h: table attempt: attempts that were not the last */
#ifndef TASKQ_ATTEMPTS_H
#define TASKQ_ATTEMPTS_H

#include "postgres.h"

#include "store/tasks.h"

/* outcomes of attempts as stored */
#define TASKQ_ATTEMPT_FAILED 'f'
#define TASKQ_ATTEMPT_LOST 'l'

extern void taskq_attempt_insert(const TaskqRow *row, int attempt,
								 char outcome, Datum error);
extern void taskq_attempts_delete(const pg_uuid_t *id);
extern int	taskq_attempts_next(pg_uuid_t *from, int max, pg_uuid_t *ids);
extern void taskq_attempts_forget(const pg_uuid_t *id);

#endif
