/* dependencies.h: what a task waits for, or has waited for */
#ifndef TASKQ_API_DEPENDENCIES_H
#define TASKQ_API_DEPENDENCIES_H

#include "postgres.h"

#include "store/tasks.h"

extern Datum taskq_dependencies_jsonb(TaskqRow *row, bool *isnull);

#endif
