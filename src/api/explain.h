/* explain.h: why a task does not run: what the files that tell it share */
#ifndef TASKQ_EXPLAIN_H
#define TASKQ_EXPLAIN_H

#include "postgres.h"

#include "base/id.h"
#include "base/shmem.h"
#include "datatype/timestamp.h"
#include "lanes/keys.h"
#include "lanes/live.h"
#include "store/defs.h"
#include "store/tasks.h"
#include "utils/jsonb.h"

#define TASKQ_MAX_NAMED 10		/* other tasks or workers in a reason */
#define TASKQ_MAX_LOOKED 1000	/* leases that are looked at to find them */

/* What is being explained, and what has been found. */
typedef struct TaskqExplain
{
	pg_uuid_t	id;
	TaskqRow	row;
	const TaskqLaneDef *lane;
	const TaskqKind *kind;		/* or NULL */
	bool		internal;		/* it is for workers of this server */
	bool		sees_role;		/* the caller sees all tasks of its role */
	bool		limited;		/* the caller acts for one tenant */
	TaskqLive  *live;			/* or NULL: no worker has it */
	JsonbParseState *json;
	char	   *answer;			/* or NULL: no reason yet */
} TaskqExplain;

/* Tasks that are in the way, as far as the caller may see them. */
typedef struct TaskqOthers
{
	int			n;				/* how many there are */
	int			nshown;
	pg_uuid_t	shown[TASKQ_MAX_NAMED];
} TaskqOthers;

/* What the slots say, copied out of shared memory. */
typedef struct TaskqSeenSlot
{
	int			slotno;
	TaskqSlotState state;
	Oid			dbid;
	Oid			role;
	pid_t		pid;
	bool		placed;
	TaskqPlace	place;
	bool		in_task;
	pg_uuid_t	task;
	bool		has_key;		/* that is asked for */
} TaskqSeenSlot;

/* reason.c: telling it */
extern void taskq_reason_begin(TaskqExplain *explain, const char *code,
							   char *message,
							   const char *hint);
extern void taskq_reason_end(TaskqExplain *explain);
extern void taskq_reason(TaskqExplain *explain, const char *code,
						 char *message, const char *hint);
extern void taskq_reason_time(TaskqExplain *explain, const char *key,
							  TimestampTz at);
extern void taskq_reason_name(TaskqExplain *explain, const char *name);
extern char *taskq_span_text(TimestampTz from, TimestampTz to);
extern char *taskq_moment_text(TimestampTz at);
extern void taskq_others_add(TaskqOthers *others, const pg_uuid_t *id);
extern void taskq_others_put(TaskqExplain *explain,
							 const TaskqOthers *others);
extern char *taskq_others_name(const TaskqOthers *others);
extern int	taskq_slots_look(TaskqSeenSlot **seen, const TaskqKey *key);

/* a part of what is in its way each: explain_room.c */
extern void taskq_explain_room(TaskqExplain *explain);
extern void taskq_explain_key(TaskqExplain *explain);

/* explain_worker.c */
extern void taskq_explain_reserved(TaskqExplain *explain);
extern void taskq_explain_alone(TaskqExplain *explain);
extern void taskq_explain_worker(TaskqExplain *explain);
extern void taskq_explain_claimers(TaskqExplain *explain);
extern void taskq_explain_external(TaskqExplain *explain);

/* ... or what it is at: explain_state.c */
extern void taskq_explain_final(TaskqExplain *explain);
extern void taskq_explain_running(TaskqExplain *explain);
extern void taskq_explain_leased(TaskqExplain *explain);
extern void taskq_explain_scheduled(TaskqExplain *explain);
extern void taskq_explain_blocked(TaskqExplain *explain);

#endif
