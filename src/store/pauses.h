/* pauses.h: what is paused: everything, queues, kinds */
#ifndef TASKQ_PAUSES_H
#define TASKQ_PAUSES_H

#include "postgres.h"

#include "store/defs.h"

/* what a pause is of */
#define TASKQ_PAUSE_ALL 'a'
#define TASKQ_PAUSE_QUEUE 'q'
#define TASKQ_PAUSE_KIND 'k'

extern bool taskq_paused(char scope, const char *name);
extern bool taskq_lane_paused(const TaskqLaneDef *lane);
extern bool taskq_pause_write(char scope, const char *name,
							  const char *reason);
extern bool taskq_pause_delete(char scope, const char *name);

#endif
