/* note_inside.h: what a note is: for the files note*.c alone */
#ifndef TASKQ_NOTE_INSIDE_H
#define TASKQ_NOTE_INSIDE_H

#include "postgres.h"

#include "base/id.h"
#include "base/shmem.h"
#include "datatype/timestamp.h"
#include "lanes/keys.h"
#include "lanes/lane.h"
#include "miscadmin.h"

typedef enum TaskqNoteType
{
	TASKQ_NOTE_SUBMITTED,
	TASKQ_NOTE_READY,
	TASKQ_NOTE_DUE,
	TASKQ_NOTE_SCHEDULE,
	TASKQ_NOTE_LATER,
	TASKQ_NOTE_CLAIMED,
	TASKQ_NOTE_LEASED,
	TASKQ_NOTE_UNLEASED,
	TASKQ_NOTE_OUTSIDE,
	TASKQ_NOTE_RESERVED,
	TASKQ_NOTE_TOUCHED,
	TASKQ_NOTE_MOVED,
	TASKQ_NOTE_FINAL,
	TASKQ_NOTE_AWAITED,
	TASKQ_NOTE_RETRIED,
	TASKQ_NOTE_LOOK,
	TASKQ_NOTE_CANCEL,
	TASKQ_NOTE_KEY_TAKEN,
	TASKQ_NOTE_KEY_FREED,
	TASKQ_NOTE_KEY_LIMIT,
	TASKQ_NOTE_WAKE,
	TASKQ_NOTE_PAUSE,
	TASKQ_NOTE_RESCAN
} TaskqNoteType;

typedef struct TaskqNote
{
	TaskqNoteType type;
	SubTransactionId subid;
	int32		lane;
	Oid			role;
	int16		priority;
	int64		tenant;
	pg_uuid_t	id;
	pg_uuid_t	retry;
	uint32		leaves;
	int64		count;
	int			leases;
	bool		waited;
	TimestampTz due;
	char		from;
	char		state;
	int			slot;
	bool		force;
	char	   *reason;
	TaskqKeyLimit limit;
	TaskqPlace *place;
	char	   *name;
	int64		key;
} TaskqNote;

static inline TaskqKey
taskq_note_key(const TaskqNote *note)
{
	return (TaskqKey)
	{
		.dbid = MyDatabaseId,.role = note->role,.number = note->key
	};
}

/* note.c */
extern void taskq_note_bound(const pg_uuid_t *id);

/* note_apply.c */
extern void taskq_note_apply(TaskqDb *db, TaskqNote *note, bool committed);
extern void taskq_note_wake_lane(TaskqDb *db, const TaskqLane *lane,
								 Oid role);
extern void taskq_note_due_at(TaskqDb *db, TimestampTz *next, TimestampTz due);

/* note_prepared.c */
extern void taskq_note_refuse_prepare(const TaskqNote *notes, int n);
extern void taskq_note_prepared(const TaskqNote *notes, int n,
								const pg_uuid_t *bound);

#endif
