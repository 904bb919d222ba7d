/* live.h: what shared memory says of tasks that workers hold */
#ifndef TASKQ_LIVE_H
#define TASKQ_LIVE_H

#include "postgres.h"

#include "base/id.h"
#include "base/shmem.h"
#include "store/tasks.h"
#include "utils/snapshot.h"

/* A copy of what a worker's slot says about a task it holds. */
typedef struct TaskqLive
{
	int			slot;
	pg_uuid_t	id;
	bool		running;		/* else reserved */
	bool		in_midst;		/* its worker is in the midst of it */
	bool		unfinished;		/* ... or of others in the same transaction */
	bool		ended;			/* its end is not in the snapshot */
	int			attempt;
	TimestampTz started_at;
	TimestampTz updated_at;
	bool		has_progress;
	bool		has_total;
	bool		has_percent;	/* else from current and total */
	double		percent;
	double		current;
	double		total;
	int			failed_steps;
	bool		has_message;
	char		message[TASKQ_MESSAGE_SIZE];
	int			info_len;
	char		info[TASKQ_INFO_SIZE];
	bool		has_phase;
	char		phase[TASKQ_PHASE_SIZE];
	TaskqFailures failures;
	bool		cancel;
	char		reason[TASKQ_MESSAGE_SIZE];
} TaskqLive;

/* Called with each task that workers hold. */
typedef void (*TaskqTakeLive) (void *to, const TaskqLive *live);

extern void taskq_live_each(TaskqTakeLive take, void *to);
extern void taskq_live_seen(Snapshot snapshot, TaskqTakeLive take, void *to);
extern void taskq_live_ended(TaskqSlot *slot, const pg_uuid_t *id);
extern void taskq_live_copy(int slotno, int item, TaskqLive *live);
extern bool taskq_live_held(const TaskqSlot *slot, int item);
extern Datum taskq_live_info(const TaskqLive *live);
extern bool taskq_live_find(const pg_uuid_t *id, TaskqLive *live);
extern bool taskq_task_held(TaskqRow *row, TaskqLive *live);
extern char *taskq_worker_name(int slot);
extern bool taskq_worker_is_named(int slot, const char *name);
extern Datum taskq_progress_jsonb(const TaskqLive *live,
								  const char *state_name);
extern double taskq_whole_us(TimestampTz spent, double current, double total);
extern void taskq_progress_read(Datum progress, TaskqLive *live);
extern void taskq_clip(char *to, const char *from);
extern void taskq_clip_phase(char *to, const char *from);
extern Datum taskq_slot_progress(int slotno);

#endif
