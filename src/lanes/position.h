/* position.h: how many tasks of a queue are before one */
#ifndef TASKQ_POSITION_H
#define TASKQ_POSITION_H

#include "postgres.h"

#include "base/id.h"
#include "store/defs.h"
#include "store/tasks.h"

extern int64 taskq_queue_position(const TaskqLaneDef *lane, TaskqRow *row);

#endif
