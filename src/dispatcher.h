/* dispatcher.h: what the parts of a dispatcher's pass share */
#ifndef TASKQ_DISPATCHER_H
#define TASKQ_DISPATCHER_H

#include "postgres.h"

#include "shmem.h"

#define TASKQ_RETRY_MS 1000		/* after something that could not be done now */
#define TASKQ_PORTION 500		/* rows a transaction, events a transaction */

typedef struct TaskqDispatcher
{
	TaskqDb    *db;
	int			scanner;		/* our name as scanner of a lane */
	MemoryContext context;		/* reset with every pass */
	TimestampTz wake_at;		/* when the next pass is due at the latest; steady time */
	TimestampTz due_at;			/* the same by the system's clock: what the launcher knows of too */
} TaskqDispatcher;

extern TaskqDispatcher taskq_dispatcher;

extern void taskq_look_again_at(TimestampTz when);
extern void taskq_look_again_in(int ms);
extern void taskq_look_again_steady(TimestampTz when);
extern void taskq_pass_begin(void);
extern void taskq_pass_commit(void);
extern void taskq_pass_commit_async(void);
extern ErrorData *taskq_pass_failed(MemoryContext context);
extern void taskq_pin_settings(void);

/* rescue.c: tasks whose worker, or whole server, ended in the middle */
extern void taskq_settle_suspects(void);
extern void taskq_look_after_slots(void);

/* timer.c: tasks that are due, leases that are over */
extern void taskq_renew_leases(void);
extern void taskq_follow_clock(void);
extern void taskq_fire_timers(void);

/* supply.c: workers where there is work */
extern bool taskq_start_workers(void);

/* save.c: how far the lanes have come */
extern void taskq_save(void);

/* watch.c */
extern void taskq_watch_snapshots(void);

#endif
