/* clock.h: a clock that does not jump */
#ifndef TASKQ_CLOCK_H
#define TASKQ_CLOCK_H

#include "postgres.h"

#include "datatype/timestamp.h"

/*
 * A change of the system's clock by less is none; and how soon one is seen.
 */
#define TASKQ_CLOCK_JUMP_US (2 * USECS_PER_SEC)
#define TASKQ_CLOCK_CHECK_MS 60000

extern int64 taskq_monotonic_us(void);
extern TimestampTz taskq_steady_now(void);
extern int64 taskq_clock_offset(void);
extern bool taskq_clock_was_set(int64 offset);
extern TimestampTz taskq_steady_at(TimestampTz when);

#endif
