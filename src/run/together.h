/* together.h: running several tasks in one transaction */
#ifndef TASKQ_TOGETHER_H
#define TASKQ_TOGETHER_H

#include "postgres.h"

extern void taskq_together_next(int slotno);

#endif
