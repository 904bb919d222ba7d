/* interrupt.h: making the task that runs in this worker stop */
#ifndef TASKQ_INTERRUPT_H
#define TASKQ_INTERRUPT_H

#include "postgres.h"

extern void taskq_interrupts_init(int slotno);
extern void taskq_interrupts_begin(int64 timeout_ms);
extern bool taskq_interrupts_end(void);
extern void taskq_interrupts_limit(void);
extern void taskq_interrupts_over(void);
extern bool taskq_interrupts_timed_out(void);
extern bool taskq_cancel_noticed(void);
extern void taskq_relief_begin(void);
extern void taskq_relief_end(void);

#endif
