/* turn.h: whose the next place for a worker is */
#ifndef TASKQ_TURN_H
#define TASKQ_TURN_H

#include "postgres.h"

#include "base/shmem.h"

#define TASKQ_ROOM_MS 200		/* who was told to leave is given so long
								 * before another one is */

/*
 * All functions: the caller holds the main lock, exclusively where nothing
 * else is said, and none fails.
 */

extern void taskq_turn_ask(Oid dbid, Oid role);
extern void taskq_turn_over(Oid dbid, Oid role);
extern void taskq_turn_forget(Oid dbid, TimestampTz before);
extern bool taskq_turn_of_other(Oid dbid, Oid role);
extern bool taskq_turn_room_due(void);
extern bool taskq_turn_make_room(Oid dbid, Oid role);
extern bool taskq_turn_give_way(Oid dbid);
extern bool taskq_turn_needs_process(void);

extern void taskq_place_known(TaskqDb *db, Oid role);
extern bool taskq_place_kept(Oid role);

#endif
