/* schedule.h: schedules in a copy of a database */
#ifndef TASKQ_API_SCHEDULE_H
#define TASKQ_API_SCHEDULE_H

#include "postgres.h"

extern int	taskq_schedules_resume(void);

#endif
