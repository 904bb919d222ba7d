/*
 * place.h: how many tasks of a kind, or of a queue, may run at a time, and
 * how many may be started in a time
 */
#ifndef TASKQ_PLACE_H
#define TASKQ_PLACE_H

#include "postgres.h"

#include "base/shmem.h"
#include "nodes/pg_list.h"
#include "store/defs.h"

/* What limits the tasks of a lane, as this process knows the definitions. */
typedef struct TaskqLimits
{
	TaskqPlace	of;
	bool		limited;		/* any of the following is set */
	TaskqLimit	queue;
	TaskqLimit	kind;
} TaskqLimits;

/* What a lane needs that there is not. */
#define TASKQ_QUEUE_ROOM 0x01
#define TASKQ_KIND_ROOM 0x02
#define TASKQ_ALL_ROOM 0x04
#define TASKQ_QUEUE_TOKENS 0x08
#define TASKQ_KIND_TOKENS 0x10
#define TASKQ_WORKERS 0x20		/* others are reserved */

/* What room there is, and what there is not. */
typedef struct TaskqRoom
{
	int			places;
	int			tokens;
	int			missing;
	bool		kept;			/* for lanes that have been called just now */
	TimestampTz until;			/* when to look again, if nobody says so */
	int			in_queue;		/* places taken */
	int			in_kind;
	int			in_all;
} TaskqRoom;

/*
 * In place of how many: definitions have changed, read them again; or shared
 * memory has no room to count
 */
#define TASKQ_PLACE_STALE (-1)
#define TASKQ_PLACE_NO_ROOM (-2)

/* These may raise errors, and the caller holds no lock of ours. */
extern void taskq_limits_of(const TaskqLaneDef *lane, TaskqLimits *limits);
extern void taskq_place_gate(void);
extern void taskq_place_no_room(void);
extern void taskq_place_check_reserved(const char *queue);
extern void taskq_place_prepare(const TaskqLimits *limits);

/* The others don't, and the caller holds the main lock exclusively. */
extern void taskq_place_init(void);
extern int	taskq_place_take(TaskqSlot *slot, TaskqLane *lane,
							 const TaskqLimits *limits, int wanted);
extern void taskq_place_leave(TaskqSlot *slot, bool looks_again);
extern void taskq_place_unstarted(Oid dbid, const TaskqPlace *place, int n);
extern int	taskq_place_lease(TaskqLane *lane, const TaskqLimits *limits,
							  int wanted);
extern void taskq_place_unlease(TaskqDb *db, const TaskqPlace *place, int n,
								bool started);
extern bool taskq_place_look(const TaskqLane *lane,
							 const TaskqLimits *limits, bool worker,
							 TaskqRoom *room);
extern int	taskq_place_room(TaskqLane *lane, const TaskqLimits *limits);
extern void taskq_place_reserve(Oid dbid, const char *queue, int n);
extern bool taskq_places_reserved(const List *queues);
extern void taskq_places_open(TaskqDb *db);
extern TimestampTz taskq_places_due(TaskqDb *db);
extern void taskq_places_recount(TaskqDb *db);
extern void taskq_places_forget(TaskqDb *db);

#endif
