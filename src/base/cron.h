/* cron.h: expressions of cron, as pg_cron reads them */
#ifndef TASKQ_CRON_H
#define TASKQ_CRON_H

#include "postgres.h"

#include "datatype/timestamp.h"
#include "pgtime.h"

/* Which minutes an expression names, a bit each. */
typedef struct TaskqCron
{
	uint64		minutes;
	uint32		hours;
	uint32		days;			/* of the month, from 1 */
	uint32		months;			/* from 1 */
	uint32		weekdays;		/* from Sunday, 0 */
	bool		any_day;		/* "*": only the weekday counts ... */
	bool		any_weekday;	/* ... or only the day */
	bool		last_day;		/* "$": the last one of the month */
} TaskqCron;

extern bool taskq_cron_parse(const char *text, TaskqCron *cron);
extern TimestampTz taskq_cron_next(const TaskqCron *cron, pg_tz * zone,
								   TimestampTz after);
extern char *taskq_cron_anywhere(const TaskqCron *cron);

#endif
