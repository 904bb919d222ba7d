/* pauses.h: what is paused: everything, queues, kinds */
#ifndef TASKQ_PAUSES_H
#define TASKQ_PAUSES_H

#include "postgres.h"

#include "store/defs.h"

/* what a pause is of */
#define TASKQ_PAUSE_NONE '\0'
#define TASKQ_PAUSE_ALL 'a'
#define TASKQ_PAUSE_QUEUE 'q'
#define TASKQ_PAUSE_KIND 'k'

/* Who paused something, when and why. */
typedef struct TaskqPause
{
	TimestampTz since;
	NameData	role;			/* "": it is gone */
	char	   *reason;			/* or NULL */
} TaskqPause;

extern bool taskq_paused(char scope, const char *name);
extern char taskq_lane_pause(const TaskqLaneDef *lane);
extern bool taskq_pause_read(char scope, const char *name, TaskqPause *pause);
extern bool taskq_pause_write(char scope, const char *name,
							  const char *reason);
extern bool taskq_pause_delete(char scope, const char *name);

#endif
