/*-------------------------------------------------------------------------
 *
 * histogram.c
 *		How many of what took how long.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "base/histogram.h"

/* taskq_histogram_count - how many there are in all buckets */
int64
taskq_histogram_count(const int64 *counts)
{
	int64		n = 0;

	for (int i = 0; i < TASKQ_BUCKETS; i++)
		n += counts[i];
	return n;
}

/*
 * taskq_histogram_quantile - so many microseconds the given part of all took
 * at most; -1 if there are none
 *
 * Inside of its bucket by its rank, as if all of that were spread evenly.
 */
double
taskq_histogram_quantile(const int64 *counts, double quantile)
{
	double		rank = quantile * taskq_histogram_count(counts);
	int64		before = 0;

	for (int i = 0; i < TASKQ_BUCKETS; i++)
	{
		if (counts[i] > 0 && before + counts[i] >= rank)
		{
			double		from = taskq_bucket_from(i);
			double		until = taskq_bucket_from(i + 1);

			return from + (until - from) *
				Max(0, rank - before) / counts[i];
		}
		before += counts[i];
	}
	return -1;
}

/*
 * taskq_histogram_upto - how many took so many microseconds at most, by whole
 * buckets
 */
int64
taskq_histogram_upto(const int64 *counts, int64 us)
{
	int64		n = 0;

	for (int i = 0; i < TASKQ_BUCKETS && taskq_bucket_from(i + 1) <= us; i++)
		n += counts[i];
	return n;
}
