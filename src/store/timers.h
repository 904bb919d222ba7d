/* timers.h: table timer: what is due when */
#ifndef TASKQ_TIMERS_H
#define TASKQ_TIMERS_H

#include "postgres.h"

#include "base/id.h"
#include "datatype/timestamp.h"

extern void taskq_timer_insert(TimestampTz due, const pg_uuid_t *id,
							   int32 lane);
extern void taskq_timer_delete(TimestampTz due, const pg_uuid_t *id);

extern int	taskq_timer_next(TimestampTz *due, pg_uuid_t *id, int max,
							 pg_uuid_t *ids, TimestampTz *dues);

#endif
