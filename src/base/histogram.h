/*
 * histogram.h: how many of what took how long
 *
 * Buckets are fixed and logarithmic, four to each power of two, so histograms
 * of whatever time and place add up, and a quantile is off by a quarter at
 * most (as in G. Tene's HdrHistogram, with two significant bits).
 */
#ifndef TASKQ_HISTOGRAM_H
#define TASKQ_HISTOGRAM_H

#include "postgres.h"

#include "port/pg_bitutils.h"

#define TASKQ_BUCKETS 164		/* the last one: 41 days and more */

/* The bucket of so many microseconds. */
static inline int
taskq_bucket(int64 us)
{
	int			power;

	if (us < 4)
		return us < 0 ? 0 : (int) us;
	power = pg_leftmost_one_pos64((uint64) us);
	return Min((power - 1) * 4 + (int) ((us >> (power - 2)) & 3),
			   TASKQ_BUCKETS - 1);
}

/* The least number of microseconds that is in a bucket. */
static inline int64
taskq_bucket_from(int bucket)
{
	if (bucket < 4)
		return bucket;
	return (INT64CONST(4) + bucket % 4) << (bucket / 4 - 1);
}

extern int64 taskq_histogram_count(const int64 *counts);
extern double taskq_histogram_quantile(const int64 *counts, double quantile);
extern int64 taskq_histogram_upto(const int64 *counts, int64 us);

#endif
