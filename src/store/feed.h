/* feed.h: table feed, the tasks that have ended, in the order of telling */
#ifndef TASKQ_FEED_H
#define TASKQ_FEED_H

#include "postgres.h"

#include "access/xlogdefs.h"
#include "base/id.h"
#include "datatype/timestamp.h"
#include "utils/snapshot.h"

#define TASKQ_FEED_ROW 450		/* events in one row, which is not toasted */

/* A task has come to its end. */
typedef struct TaskqFeedEvent
{
	int64		number;			/* set by who reads */
	pg_uuid_t	id;
	char		state;
}			TaskqFeedEvent;

typedef struct TaskqFeedPage
{
	int			n;
	TaskqFeedEvent events[TASKQ_FEED_ROW];
	int64		first;			/* number of the first event of its row */
	int64		end;			/* ... and of the last one */
	bool		gone;			/* something between was forgotten */
	XLogRecPtr	durable_at;
}			TaskqFeedPage;

extern uint32 taskq_feed_life(void);
extern bool taskq_feed_free(void);
extern int64 taskq_feed_last(XLogRecPtr *durable_at);
extern int64 taskq_feed_append(const TaskqFeedEvent * events, int n);
extern void taskq_feed_skip(void);
extern int	taskq_feed_forget(int64 *from, TimestampTz before, int64 keep,
							  int max);
extern bool taskq_feed_next(int64 after, TaskqFeedPage * page);
extern bool taskq_feed_before(int64 before, TimestampTz since,
							  TaskqFeedPage * page);

#endif
