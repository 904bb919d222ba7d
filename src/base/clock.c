/*-------------------------------------------------------------------------
 *
 * clock.c
 *		A clock that does not jump when the system's clock is set.
 *
 * Steady time is the system's time when the server started, plus what a
 * monotonic clock has counted since.  All waits, back-offs and leases are
 * kept in it, so that setting the clock takes no task away from an external
 * worker, nor makes anybody wait for hours.  What a user asks for as a moment
 * (run_at) is the system's time, and so is what is shown, and retention.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <time.h>

#include "base/clock.h"
#include "base/shmem.h"
#include "common/int.h"
#include "utils/timestamp.h"

/*
 * taskq_monotonic_us - microseconds since some moment before the server
 * started
 */
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

/*
 * taskq_clock_offset - by how many microseconds the system's clock is ahead
 * of the steady one
 */
int64
taskq_clock_offset(void)
{
	return GetCurrentTimestamp() - taskq_steady_now();
}

/*
 * taskq_clock_was_set - since that offset was taken?
 */
bool
taskq_clock_was_set(int64 offset)
{
	int64		by = taskq_clock_offset() - offset;

	return by >= TASKQ_CLOCK_JUMP_US || by <= -TASKQ_CLOCK_JUMP_US;
}

/*
 * taskq_steady_at - the steady time of a moment by the system's clock, as
 * that goes now
 */
TimestampTz
taskq_steady_at(TimestampTz when)
{
	TimestampTz steady;

	if (TIMESTAMP_NOT_FINITE(when))
		return when;
	if (pg_sub_s64_overflow(when, taskq_clock_offset(), &steady))
		return when < 0 ? DT_NOBEGIN : DT_NOEND;
	return steady;
}
