/* previous.h: what the attempt before left, for the next one */
#ifndef TASKQ_PREVIOUS_H
#define TASKQ_PREVIOUS_H

#include "postgres.h"

#include "store/tasks.h"

extern Datum taskq_previous_jsonb(TaskqRow *row, int attempt, bool *isnull);

#endif
