/*-------------------------------------------------------------------------
 *
 * clock.c
 *		A clock that does not jump when the system's clock is set.
 *
 * Steady time is the system's time when the server started, plus what a
 * monotonic clock has counted since.  Leases are kept in it, so that setting
 * the clock takes no task away from an external worker, nor leaves one with it
 * for hours.  What a user asks for as a moment (run_at) is the system's time.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <time.h>

#include "clock.h"
#include "shmem.h"
#include "utils/timestamp.h"

/* taskq_monotonic_us - microseconds since some moment before the server started */
int64
taskq_monotonic_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64) now.tv_sec * USECS_PER_SEC + now.tv_nsec / 1000;
}

/* taskq_steady_now - the time by the steady clock; taskq is preloaded */
TimestampTz
taskq_steady_now(void)
{
	return taskq_shared->clock_base + taskq_monotonic_us();
}

/* taskq_clock_offset - by how many microseconds the system's clock is ahead of the steady one */
int64
taskq_clock_offset(void)
{
	return GetCurrentTimestamp() - taskq_steady_now();
}
