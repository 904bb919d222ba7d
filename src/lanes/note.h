/*
 * note.h: what a transaction did to tasks, told to shared memory when it ends
 */
#ifndef TASKQ_NOTE_H
#define TASKQ_NOTE_H

#include "postgres.h"

#include "base/id.h"
#include "base/shmem.h"
#include "datatype/timestamp.h"
#include "store/defs.h"

extern void taskq_note_init(void);

/* ids will be made: are they not above what has been saved of the lane? */
extern bool taskq_note_submitting(int32 lane);

/* tasks that become claimable: ids from the lowest on, in these leaves */
extern void taskq_note_submitted(const TaskqLaneDef *lane,
								 const pg_uuid_t *lowest, uint32 leaves,
								 int64 count);

/*
 * tasks that get their rows in table "ready", from this place on; did they
 * wait for their time before?
 */
extern void taskq_note_ready(const TaskqLaneDef *lane, TimestampTz due,
							 const pg_uuid_t *id, int64 count, bool waited);

/* a timer */
extern void taskq_note_due(TimestampTz due);

/* a schedule that the dispatcher has to look at */
extern void taskq_note_schedule(TimestampTz look_at);

/*
 * tasks that wait for their time, and how many tasks of a role this
 * transaction has submitted
 */
extern void taskq_note_later(const TaskqLaneDef *lane, int64 count);
extern int64 taskq_note_pending(Oid role);
extern int64 taskq_note_pending_of(Oid role, int64 tenant);

/*
 * leases of an external worker that are counted already, and to be given back
 * when this is undone: a note of them, which says how many, and where it says
 * that, until the next note; and one that has come to its end
 */
extern int	taskq_note_leased(const TaskqPlace *place);
extern int *taskq_note_leases(int note);
extern void taskq_note_leased_none(int note);
extern void taskq_note_unleased(const TaskqPlace *place);

/*
 * an attempt of an external worker that has ended after so long, in
 * microseconds; role: of its session, if that is known
 */
extern void taskq_note_outside(Oid role, const char *name, bool completed,
							   int64 us);

/* a queue that has so many reserved places from now on */
extern void taskq_note_reserved(const char *queue, int n);

/* a task that an external worker has now */
extern void taskq_note_claimed(const TaskqLaneDef *lane);

/*
 * a task whose row this transaction has locked: if it is undone the task is
 * claimable as before
 */
extern void taskq_note_touched(const TaskqLaneDef *lane, const pg_uuid_t *id);

/*
 * a claimable task that goes to the leaf of the kept ones, where it is to be
 * looked for from then on
 */
extern void taskq_note_moved(int32 lane, const pg_uuid_t *id);

/* a task that this transaction brings to a final state, from this one */
extern void taskq_note_final(const TaskqLaneDef *lane, const pg_uuid_t *id,
							 char from, char state);

/* somebody waits for this task from here on; who, is in the tables */
extern void taskq_note_awaited(const pg_uuid_t *id);

/* a task that has failed is retried as another one */
extern void taskq_note_retried(const pg_uuid_t *id, const pg_uuid_t *retry);

/* all tasks that wait for others are to be looked at */
extern void taskq_note_look(void);

/* a running task to cancel */
extern void taskq_note_cancel(const TaskqLaneDef *lane, int slot,
							  const pg_uuid_t *id, bool force,
							  const char *reason);

/*
 * a place of a concurrency key for a lease, taken now: given back if this
 * transaction is undone, or by taskq_note_key_undo; false: there is none
 */
extern bool taskq_note_key_taken(const TaskqLaneDef *lane, int64 number,
								 TaskqKeyLimit limit);
extern void taskq_note_key_undo(void);

/* ... that is given back when it commits */
extern void taskq_note_key_freed(const TaskqLaneDef *lane, int64 number,
								 TaskqKeyLimit limit);

/* a kind has another limit of running tasks of a concurrency key */
extern void taskq_note_key_limit(TaskqKeyLimit limit);

/* definitions changed so that waiting tasks may run now */
extern void taskq_note_wake(void);

/* definitions changed so that reserved tasks may not be started any more */
extern void taskq_note_pause(void);

/* tasks of this database may be run now, of whatever lane */
extern void taskq_note_rescan(void);

/*
 * PREPARE TRANSACTION, and what ends a prepared one: before it, and after it
 * succeeded
 */
extern void taskq_note_preparing(const char *gid);
extern void taskq_note_ending(const char *gid);
extern void taskq_note_ended(const char *gid, bool committed);
extern bool taskq_note_prepared_here(const char *gid);

#endif
