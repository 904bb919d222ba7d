/* unique.h: submitting a task whose key may be taken */
#ifndef TASKQ_UNIQUE_H
#define TASKQ_UNIQUE_H

#include "postgres.h"

#include "lanes/enqueue.h"

extern bool taskq_unique_take(TaskqSubmit *submit, Datum payload,
							  pg_uuid_t *id);

#endif
