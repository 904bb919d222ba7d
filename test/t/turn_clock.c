/*
 * turn_clock.c
 *		The system's time, turned by as many seconds as a file says.
 *
 * Preloaded in front of the C library by 023_clock.pl.  Every process maps the
 * file that TURN_CLOCK names, so a change is seen by all of them at once.  The
 * monotonic clock is left alone.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static const volatile long *turn;

static long
seconds(void)
{
	if (turn == NULL)
	{
		int			fd = open(getenv("TURN_CLOCK"), O_RDONLY);
		void	   *memory = fd < 0 ? MAP_FAILED : mmap(NULL, sizeof(long), PROT_READ, MAP_SHARED, fd, 0);

		if (memory == MAP_FAILED)
			abort();
		close(fd);
		turn = memory;
	}
	return *turn;
}

int
clock_gettime(clockid_t clock, struct timespec *now)
{
	int			result = syscall(SYS_clock_gettime, clock, now);

	if (clock == CLOCK_REALTIME)
		now->tv_sec += seconds();
	return result;
}

int
gettimeofday(struct timeval *restrict now, void *restrict zone)
{
	struct timespec time;

	(void) zone;
	clock_gettime(CLOCK_REALTIME, &time);
	now->tv_sec = time.tv_sec;
	now->tv_usec = time.tv_nsec / 1000;
	return 0;
}

time_t
time(time_t *result)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	if (result != NULL)
		*result = now.tv_sec;
	return now.tv_sec;
}
