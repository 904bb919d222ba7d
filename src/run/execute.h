/* execute.h: running tasks */
#ifndef TASKQ_EXECUTE_H
#define TASKQ_EXECUTE_H

#include "postgres.h"

#define TASKQ_STUCK_MS 100		/* in one task for so long, a worker gives the
								 * others back */

extern void taskq_execute_init(int slotno);
extern void taskq_execute_next(int slotno);
extern void taskq_leave_quarantine(int slotno);

#endif
