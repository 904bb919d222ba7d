/*-------------------------------------------------------------------------
 *
 * live.c
 *		What shared memory says of tasks that workers hold, and of their progress.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "access/transam.h"
#include "base/json.h"
#include "fmgr.h"
#include "lanes/failures.h"
#include "lanes/live.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "store/state.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/fmgrprotos.h"
#include "utils/hsearch.h"
#include "utils/jsonb.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

/* taskq_worker_name - palloc'd name of the worker in a slot */
char *
taskq_worker_name(int slot)
{
	return psprintf("worker-%d", slot + 1);
}

/*
 * taskq_worker_is_named - is that the name of the worker in this slot?
 * Allocates nothing
 */
bool
taskq_worker_is_named(int slot, const char *name)
{
	char		buffer[32];

	snprintf(buffer, sizeof(buffer), "worker-%d", slot + 1);
	return strcmp(buffer, name) == 0;
}

/*
 * taskq_live_copy - what a slot says of one of its items; caller holds the
 * slot's lock
 */
void
taskq_live_copy(int slotno, int item, TaskqLive *live)
{
	TaskqSlot  *slot = &taskq_shared->slots[slotno];

	memset(live, 0, offsetof(TaskqLive, message));
	live->slot = slotno;
	live->id = slot->items[item].id;

	/*
	 * those done and not announced yet are running, for all that others can
	 * know
	 */
	live->running = item < slot->next;
	live->in_midst = slot->in_task && item == slot->next - 1;
	live->unfinished = slot->outcome[item] == TASKQ_UNDONE;
	live->failed_steps = -1;
	live->info_len = 0;
	live->cancel = false;
	live->has_message = false;
	live->has_phase = false;
	live->failures.len = 0;

	/* also when the worker is through with it, until it begins another one */
	if (item >= slot->next ||
		!taskq_id_eq(&slot->task, &slot->items[item].id))
	{
		live->started_at = live->updated_at = slot->task_started_at;
		return;
	}
	live->attempt = slot->attempt;
	live->started_at = slot->task_started_at;
	live->updated_at = slot->updated_at;
	live->cancel = slot->cancel;
	strlcpy(live->reason, slot->reason, sizeof(live->reason));
	live->has_progress = slot->has_progress;
	if (!slot->has_progress)
		return;
	live->has_total = slot->has_total;
	live->current = slot->current;
	live->total = slot->total;
	live->failed_steps = slot->failed_steps;
	live->has_message = slot->message[0] != '\0';
	strlcpy(live->message, slot->message, sizeof(live->message));
	live->info_len = slot->info_len;
	memcpy(live->info, slot->info, slot->info_len);
	live->has_phase = slot->phase[0] != '\0';
	strlcpy(live->phase, slot->phase, sizeof(live->phase));
	live->failures.len = slot->failures.len;
	memcpy(live->failures.text, slot->failures.text, slot->failures.len);
}

/*
 * taskq_whole_us - how long a task takes in all at its pace so far, as view
 * task has it; 0: its progress does not tell
 */
double
taskq_whole_us(TimestampTz spent, double current, double total)
{
	if (current <= 0 || total < current || total > 10000 * current)
		return 0;
	return spent * (total / current);
}

/*
 * taskq_live_held - does the worker hold this item, for all that others can
 * know?  What it has finished stays its until that is durable and announced;
 * what it failed to finish waits again.  Caller holds the slot's lock.
 */
bool
taskq_live_held(const TaskqSlot *slot, int item)
{
	char		outcome = slot->outcome[item];

	return outcome == TASKQ_UNDONE || taskq_state_final(outcome);
}

static void
clip(char *to, const char *from, int size)
{
	int			len = pg_mbcliplen(from, strlen(from), size - 1);

	memcpy(to, from, len);
	to[len] = '\0';
}

/*
 * taskq_clip - copy a message into TASKQ_MESSAGE_SIZE bytes, cut between
 * characters
 */
void
taskq_clip(char *to, const char *from)
{
	clip(to, from, TASKQ_MESSAGE_SIZE);
}

/* taskq_clip_phase - the same with the name of a phase, TASKQ_PHASE_SIZE */
void
taskq_clip_phase(char *to, const char *from)
{
	clip(to, from, TASKQ_PHASE_SIZE);
}

/*
 * taskq_live_find - what a worker of this database says about a task
 *
 * False if none holds it.
 */
bool
taskq_live_find(const pg_uuid_t *id, TaskqLive *live)
{
	bool		found = false;

	if (taskq_shared == NULL)
		return false;
	for (int i = 0; i < taskq_shared->nslots && !found; i++)
	{
		TaskqSlot  *slot = &taskq_shared->slots[i];

		if (slot->dbid != MyDatabaseId || slot->state < TASKQ_SLOT_BUSY)
			continue;
		LWLockAcquire(taskq_slot_lock(i), LW_SHARED);
		for (int j = slot->announced; j < slot->nitems && !found; j++)
		{
			if (taskq_live_held(slot, j) &&
				taskq_id_eq(&slot->items[j].id, id))
			{
				taskq_live_copy(i, j, live);
				found = true;
			}
		}
		LWLockRelease(taskq_slot_lock(i));
	}
	return found;
}

/*
 * taskq_task_held - does a worker of this database hold a task that was just
 * read?
 *
 * Not one that somebody brought to its end before the worker came to it.
 */
bool
taskq_task_held(TaskqRow *row, TaskqLive *live)
{
	return taskq_live_find(DatumGetUUIDP(taskq_row_value(row, id)), live) &&
		(live->running || !taskq_state_final(taskq_row_state(row)));
}

/*
 * Slots are read one after the other: what one worker gives back meanwhile,
 * and the next one takes, is met twice.  Has it been?
 */
static bool
met_before(HTAB **met, const pg_uuid_t *id)
{
	bool		found;

	if (*met == NULL)
	{
		HASHCTL		ctl = {.keysize = UUID_LEN,.entrysize = UUID_LEN,
		.hcxt = CurrentMemoryContext};

		*met = hash_create("taskq tasks held", TASKQ_BATCH_MAX, &ctl,
						   HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	}
	(void) hash_search(*met, id, HASH_ENTER, &found);
	return found;
}

/* Each of the tasks that workers hold, once. */
static void
each_held(TaskqLive *live, HTAB **met, TaskqTakeLive take, void *to)
{
	for (int i = 0; taskq_shared != NULL && i < taskq_shared->nslots; i++)
	{
		TaskqSlot  *slot = &taskq_shared->slots[i];

		for (int j = 0;; j++)
		{
			bool		more;
			bool		held = false;

			if (slot->dbid != MyDatabaseId || slot->state < TASKQ_SLOT_BUSY)
				break;
			LWLockAcquire(taskq_slot_lock(i), LW_SHARED);
			j = Max(j, slot->announced);
			more = j < slot->nitems;
			if (more && (held = taskq_live_held(slot, j)))
				taskq_live_copy(i, j, live);
			LWLockRelease(taskq_slot_lock(i));
			if (!more)
				break;
			if (held && !met_before(met, &live->id))
				take(to, live);
		}
	}
}

/*
 * taskq_live_each - each of the tasks that workers of this database hold, once
 *
 * Takes the slots' locks one after the other; none is held in the call.
 */
void
taskq_live_each(TaskqTakeLive take, void *to)
{
	TaskqLive  *live = palloc(sizeof(TaskqLive));
	HTAB	   *met = NULL;

	each_held(live, &met, take, to);
	if (met != NULL)
		hash_destroy(met);
	pfree(live);
}

/* ---- what has ended since a snapshot was taken ---- */

/*
 * taskq_live_ended - this session has brought an attempt of the slot to its
 * end, and committed that; caller holds the slot's lock
 */
void
taskq_live_ended(TaskqSlot *slot, const pg_uuid_t *id)
{
	TaskqPast  *ended;

	if (slot->ended_dbid != slot->dbid)
		slot->nended = 0;
	slot->ended_dbid = slot->dbid;
	ended = &slot->ended[slot->nended++ % TASKQ_PAST_MAX];
	ended->id = *id;
	ended->by = taskq_state_changed_by();
}

/*
 * May a snapshot that is in use not see what this transaction did?  Of one
 * from before half a round of transaction numbers it would be said at random.
 */
static bool
may_be_unseen(FullTransactionId by, Snapshot snapshot, FullTransactionId next)
{
	return U64FromFullTransactionId(next) - U64FromFullTransactionId(by) <
		MaxTransactionId / 2 &&
		TransactionIdFollowsOrEquals(XidFromFullTransactionId(by),
									 snapshot->xmin);
}

/*
 * Those of a slot of which that may be so: the last ones, for a worker's
 * transactions come one after the other.  Returns how many.
 */
static int
copy_unseen(int slotno, Snapshot snapshot, FullTransactionId next,
			TaskqPast * unseen)
{
	TaskqSlot  *slot = &taskq_shared->slots[slotno];
	int			n = 0;

	LWLockAcquire(taskq_slot_lock(slotno), LW_SHARED);
	while (slot->ended_dbid == MyDatabaseId &&
		   n < Min(slot->nended, TASKQ_PAST_MAX))
	{
		unseen[n] = slot->ended[(slot->nended - 1 - n) % TASKQ_PAST_MAX];
		if (!may_be_unseen(unseen[n].by, snapshot, next))
			break;
		n++;
	}
	LWLockRelease(taskq_slot_lock(slotno));
	return n;
}

/* What the row says by now; the slot may be in another task. */
static void
read_ended(TaskqLive *live, int slotno, const pg_uuid_t *id)
{
	TaskqRow	row;

	memset(live, 0, sizeof(*live));
	live->slot = slotno;
	live->id = *id;
	live->running = live->ended = true;
	live->failed_steps = -1;
	if (!taskq_store_find(id, &row))
		return;
	live->attempt = DatumGetInt16(taskq_row_value(&row, attempt));
	if (!taskq_row_isnull(&row, started_at))
		live->started_at = live->updated_at =
			DatumGetTimestampTz(taskq_row_value(&row, started_at));
	if (!taskq_row_isnull(&row, progress))
		taskq_progress_read(taskq_row_value(&row, progress), live);
}

/*
 * taskq_live_seen - each of the tasks that workers of this database hold, or
 * have ended and the snapshot does not see that, once
 *
 * So who reads rows by that snapshot finds a task running until he finds it
 * ended, and never waiting in between.  Only if a worker has ended more than
 * TASKQ_PAST_MAX attempts since the snapshot was taken, the first of these
 * are missing.  What is held is looked at first: a task that ends meanwhile
 * is found by one of the two looks.
 */
void
taskq_live_seen(Snapshot snapshot, TaskqTakeLive take, void *to)
{
	TaskqLive  *live = palloc(sizeof(TaskqLive));
	TaskqPast  *unseen = palloc(sizeof(TaskqPast) * TASKQ_PAST_MAX);
	FullTransactionId next = ReadNextFullTransactionId();
	HTAB	   *met = NULL;

	each_held(live, &met, take, to);
	for (int i = 0; taskq_shared != NULL && i < taskq_shared->nslots; i++)
	{
		int			n = copy_unseen(i, snapshot, next, unseen);

		for (int j = 0; j < n; j++)
		{
			if (!XidInMVCCSnapshot(XidFromFullTransactionId(unseen[j].by),
								   snapshot) ||
				met_before(&met, &unseen[j].id))
				continue;
			read_ended(live, i, &unseen[j].id);
			take(to, live);
		}
	}
	if (met != NULL)
		hash_destroy(met);
	pfree(unseen);
	pfree(live);
}

/* taskq_live_info - what was told as info, as jsonb */
Datum
taskq_live_info(const TaskqLive *live)
{
	char	   *text = pnstrdup(live->info, live->info_len);

	return DirectFunctionCall1(jsonb_in, CStringGetDatum(text));
}

/*
 * taskq_progress_jsonb - progress as it is kept with a finished attempt
 *
 * An object of current, total, failed, message, phase, info,
 * failure_details: those that were told.  With a state, it comes first, and percent too.
 */
Datum
taskq_progress_jsonb(const TaskqLive *live, const char *state_name)
{
	JsonbParseState *state = NULL;

	taskq_json_begin(&state);
	taskq_json_text(&state, "state", state_name);
	if (state_name != NULL && live->has_percent)
		taskq_json_float(&state, "percent", live->percent);
	else if (state_name != NULL && live->has_progress && live->has_total &&
			 live->total > 0)
		taskq_json_float(&state, "percent",
						 rint(Max(0, Min(100, 100 * live->current / live->total)) *
							  10) /
						 10);
	if (live->has_progress)
	{
		taskq_json_float(&state, "current", live->current);
		if (live->has_total)
			taskq_json_float(&state, "total", live->total);
		if (live->failed_steps >= 0)
			taskq_json_float(&state, "failed", live->failed_steps);
		if (live->has_message)
			taskq_json_text(&state, "message", live->message);
		if (live->has_phase)
			taskq_json_text(&state, "phase", live->phase);
		if (live->info_len > 0)
			taskq_json_jsonb(&state, "info", taskq_live_info(live));
		if (live->failures.len > 0)
			taskq_json_jsonb(&state, "failure_details",
							 taskq_failures_jsonb(&live->failures));
	}
	return taskq_json_end(&state);
}

/*
 * taskq_slot_progress - what the task in a worker's slot has told of its
 * progress
 *
 * For the worker itself, or for the dispatcher when the worker is gone.  Zero
 * if it told nothing.
 */
Datum
taskq_slot_progress(int slotno)
{
	TaskqLive  *live;

	if (!taskq_shared->slots[slotno].has_progress)
		return (Datum) 0;
	live = palloc0(sizeof(TaskqLive));
	taskq_live_copy(slotno, taskq_shared->slots[slotno].next - 1, live);
	return taskq_progress_jsonb(live, NULL);
}

/*
 * A field of an object: a string as it is, or (as_json) anything as JSON;
 * NULL if there is none.
 */
static char *
kept_field(Datum progress, const char *key, bool as_json)
{
	FmgrInfo	flinfo;
	FunctionCallInfoBaseData *fcinfo = palloc0(SizeForFunctionCallInfo(2));
	Datum		value;

	/* may be null, so not by DirectFunctionCall */
	fmgr_info(as_json ? F_JSONB_OBJECT_FIELD : F_JSONB_OBJECT_FIELD_TEXT,
			  &flinfo);
	InitFunctionCallInfoData(*fcinfo, &flinfo, 2, InvalidOid, NULL, NULL);
	fcinfo->args[0].value = progress;
	fcinfo->args[1].value = CStringGetTextDatum(key);
	value = FunctionCallInvoke(fcinfo);
	if (fcinfo->isnull)
		return NULL;
	return as_json ? JsonbToCString(NULL, &DatumGetJsonbP(value)->root, 0)
		: TextDatumGetCString(value);
}

/*
 * taskq_progress_read - the reverse of taskq_progress_jsonb, without state
 * and percent
 */
void
taskq_progress_read(Datum progress, TaskqLive *live)
{
	Datum		kept = PointerGetDatum(PG_DETOAST_DATUM_COPY(progress));
	char	   *current = kept_field(kept, "current", false);
	char	   *total = kept_field(kept, "total", false);
	char	   *failed = kept_field(kept, "failed", false);
	char	   *message = kept_field(kept, "message", false);
	char	   *info = kept_field(kept, "info", true);
	char	   *phase = kept_field(kept, "phase", false);
	char	   *failures = kept_field(kept, "failure_details", true);

	live->has_progress = true;
	live->current = current ? strtod(current, NULL) : 0;
	live->has_total = total != NULL;
	live->total = total ? strtod(total, NULL) : 0;
	live->failed_steps = failed ? atoi(failed) : -1;
	live->has_message = message != NULL;
	if (message != NULL)
		taskq_clip(live->message, message);
	if (info != NULL && strlen(info) <= sizeof(live->info))
	{
		live->info_len = strlen(info);
		memcpy(live->info, info, live->info_len);
	}
	live->has_phase = phase != NULL;
	if (phase != NULL)
		taskq_clip_phase(live->phase, phase);
	live->failures.len = 0;
	if (failures != NULL)
		taskq_failures_add_all(&live->failures,
							   DirectFunctionCall1(jsonb_in, CStringGetDatum(failures)));
}
