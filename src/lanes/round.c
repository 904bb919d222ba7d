/*-------------------------------------------------------------------------
 *
 * round.c
 *		Tasks with concurrency keys: a lane's keys in turn.
 *
 * Such a lane has no watermark.  Each of its claimable tasks has a row in
 * table "keyed", and a look goes from key to key, from the one that was
 * served last: it takes what a key has, if the key is free, and else goes on
 * to the next one by the index, however many tasks the key has.  So a look
 * costs what it takes, and a step for each key that somebody has.
 *
 * The lane is dirty until a look has come round and all that it has passed
 * over waits for its key (keys.c).  What is noted while it looks, and what
 * snapshot of its may have missed, keeps it dirty.
 *
 * Tasks of a key run in order of when they could first run: by their submit,
 * or their due time.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "lanes/lane.h"
#include "lanes/leasekeys.h"
#include "lanes/round.h"
#include "access/xact.h"
#include "miscadmin.h"
#include "store/defs.h"
#include "store/keyed.h"
#include "store/ready.h"
#include "utils/guc.h"
#include "utils/snapmgr.h"

/*
 * taskq_round_new - a look round the keys of a lane; palloc'd, and for one
 * task until told otherwise
 *
 * Needs a transaction, and taskq_defs_begin.
 */
TaskqRound *
taskq_round_new(int32 lane)
{
	TaskqRound *round = palloc(sizeof(TaskqRound));

	taskq_lease_keys_count();
	memset(round, 0, offsetof(TaskqRound, found));
	round->lane = lane;
	round->limit = taskq_lane_key_limit(taskq_lane_get(lane));
	round->max = round->max_keys = 1;
	round->max_of_key = TASKQ_BATCH_MAX;
	round->nkeys = 0;
	round->npassed = 0;
	round->maxpassed = 32;
	round->passed = palloc(sizeof(int64) * round->maxpassed);
	round->more = false;
	/* of a key that one worker has nobody else looks at the tasks */
	if (round->limit.n > 1)
		round->reserved = palloc_extended(sizeof(pg_uuid_t) * TASKQ_BATCH_MAX *
										  TASKQ_MAX_WORKERS, MCXT_ALLOC_HUGE);
	return round;
}

static int
id_cmp(const void *a, const void *b)
{
	return taskq_id_cmp(a, b);
}

/* What workers have in hand of this lane. */
static void
note_reserved(TaskqRound *round)
{
	for (int i = 0; i < taskq_shared->nslots; i++)
	{
		TaskqSlot  *slot = &taskq_shared->slots[i];

		if (slot->dbid != round->key.dbid || slot->nkeys == 0)
			continue;
		LWLockAcquire(taskq_slot_lock(i), LW_SHARED);
		for (int j = 0; j < slot->nitems && slot->lane_id == round->lane; j++)
			round->reserved[round->nreserved++] = slot->items[j].id;
		LWLockRelease(taskq_slot_lock(i));
	}
}

/*
 * taskq_round_begin - begin a look; what is noted from here on is told apart
 * from what the snapshot, taken later, will see
 *
 * Caller holds the main lock exclusively.  scanner -1: it is for nobody, and
 * taskq_round_end is not called.
 */
void
taskq_round_begin(TaskqRound *round, TaskqLane *lane, int scanner)
{
	round->key.dbid = lane->dbid;
	round->key.role = lane->role;
	round->cursor = lane->cursor;
	if (round->reserved != NULL)
		note_reserved(round);
	if (scanner < 0)
		return;
	lane->scanner = scanner;
	lane->noted = false;
}

/* There is room for so many more keys to pass over. */
static void
passed_room(TaskqRound *round, int n)
{
	if (round->npassed + n <= round->maxpassed)
		return;
	round->maxpassed = 2 * round->maxpassed + n;
	round->passed = repalloc_huge(round->passed,
								  sizeof(int64) * round->maxpassed);
}

static void
pass_over(TaskqRound *round, int64 key)
{
	if (round->npassed > 0 && round->passed[round->npassed - 1] == key)
		return;
	passed_room(round, 1);
	round->passed[round->npassed++] = key;
}

static bool
key_free(TaskqRound *round, int64 number)
{
	bool		is_free;

	round->key.number = number;
	LWLockAcquire(taskq_main_lock, LW_SHARED);
	is_free = taskq_key_free(&round->key, round->limit);
	LWLockRelease(taskq_main_lock);
	return is_free;
}

static bool
is_reserved(const TaskqRound *round, const pg_uuid_t *id)
{
	return round->nreserved > 0 &&
		bsearch(id, round->reserved, round->nreserved, sizeof(pg_uuid_t),
				id_cmp) != NULL;
}

/* The key whose tasks are being taken, or NULL. */
static TaskqSlotKey *
open_key(TaskqRound *round, int64 number)
{
	TaskqSlotKey *key = round->nkeys > 0 ? &round->keys[round->nkeys - 1]
	: NULL;

	return key != NULL && key->key == number ? key : NULL;
}

/*
 * Take a task; the first one of its key begins that.  False if the filter
 * refuses it, and with it all of its key, which have the same tenant.
 */
static bool
take(TaskqRound *round, const TaskqKeyed *row)
{
	TaskqRef	ref = {.id = row->at.id,.tid = row->place,
	.leaf = taskq_id_slot(&row->at.id)};
	TaskqSlotKey *key;

	if (round->filter != NULL &&
		!taskq_ready_claimable(&row->at.id, round->filter, &ref))
		return false;
	key = open_key(round, row->key);
	if (key == NULL)
	{
		key = &round->keys[round->nkeys++];
		*key = (TaskqSlotKey)
		{
			.key = row->key,.kind = round->limit.kind,.first = round->nfound
		};
	}
	round->rows[round->nfound] = *row;
	round->found[round->nfound++] = ref;
	key->end = round->nfound;
	return true;
}

typedef enum Step
{
	STEP_NEXT,					/* the next task */
	STEP_SKIP,					/* the next key */
	STEP_STOP					/* enough */
} Step;

/* What to do with a task, and do it. */
static Step
step(TaskqRound *round, const TaskqKeyed *row)
{
	TaskqSlotKey *key = open_key(round, row->key);

	if (round->nfound == round->max ||
		(key == NULL && round->nkeys == round->max_keys))
		return STEP_STOP;
	if ((key != NULL && key->end - key->first == round->max_of_key) ||
		(key == NULL && !key_free(round, row->key)))
	{
		pass_over(round, row->key);
		return STEP_SKIP;
	}
	if (is_reserved(round, &row->at.id))
		pass_over(round, row->key);
	else if (!take(round, row))
		return STEP_SKIP;
	return STEP_NEXT;
}

/* From a key to another one, both included; true if that is enough. */
static bool
look_from(TaskqRound *round, int64 from, int64 to, Snapshot snapshot)
{
	Step		next = STEP_SKIP;

	while (next == STEP_SKIP)
	{
		TaskqRead	read;
		TaskqKeyed	row;

		next = STEP_NEXT;
		taskq_keyed_begin(&read, round->lane, from, snapshot);
		while (next == STEP_NEXT && taskq_keyed_next(&read, &row) &&
			   row.key <= to)
		{
			CHECK_FOR_INTERRUPTS();
			next = step(round, &row);
		}
		taskq_read_end(&read);
		if (next == STEP_SKIP && row.key == PG_INT64_MAX)
			break;
		from = row.key + 1;
	}
	return next == STEP_STOP;
}

/*
 * taskq_round_look - look for tasks that may be claimed
 *
 * Needs a transaction, and is called outside of any lock of ours.
 */
void
taskq_round_look(TaskqRound *round)
{
	Snapshot	snapshot = taskq_store_snapshot();

	if (round->reserved != NULL)
		qsort(round->reserved, round->nreserved, sizeof(pg_uuid_t), id_cmp);
	round->more = (round->cursor < PG_INT64_MAX &&
				   look_from(round, round->cursor + 1, PG_INT64_MAX,
							 snapshot)) ||
		look_from(round, PG_INT64_MIN, round->cursor, snapshot);
	UnregisterSnapshot(snapshot);
	/* nothing is allocated under the main lock */
	passed_room(round, TASKQ_BATCH_KEYS);
}

/*
 * taskq_round_next - go on after what was found
 */
void
taskq_round_next(TaskqRound *round)
{
	if (round->nkeys > 0)
		round->cursor = round->keys[round->nkeys - 1].key;
	round->nkeys = round->nfound = round->npassed = 0;
}

/*
 * taskq_round_take - take a place of each key for what was found
 *
 * Caller holds the main lock exclusively.  What has none by now is passed
 * over.  Returns how many tasks are left.
 */
int
taskq_round_take(TaskqRound *round)
{
	int			n = 0;
	int			nkeys = 0;

	for (int i = 0; i < round->nkeys; i++)
	{
		TaskqSlotKey key = round->keys[i];
		int			ntasks = key.end - key.first;

		round->key.number = key.key;
		if (!taskq_key_take(&round->key, round->limit, false))
		{
			pass_over(round, key.key);
			continue;
		}
		memmove(&round->found[n], &round->found[key.first],
				ntasks * sizeof(TaskqRef));
		memmove(&round->rows[n], &round->rows[key.first],
				ntasks * sizeof(TaskqKeyed));
		key.first = n;
		key.end = n += ntasks;
		round->keys[nkeys++] = key;
	}
	round->nfound = n;
	round->nkeys = nkeys;
	return n;
}

/*
 * taskq_round_end - end a look: the lane knows what is left
 *
 * Caller holds the main lock exclusively.
 */
void
taskq_round_end(TaskqRound *round, TaskqLane *lane)
{
	bool		again = round->more || lane->noted;

	lane->waits = false;
	for (int i = 0; i < round->npassed; i++)
	{
		round->key.number = round->passed[i];
		again |= !taskq_key_wait(&round->key, round->limit, lane);
	}
	if (round->nkeys > 0)
	{
		lane->cursor = round->keys[round->nkeys - 1].key;
		lane->head = round->found[0].id;
	}
	lane->known = true;
	lane->dirty = again;
	if (!again && !lane->waits)
		lane->waiting = 0;
	lane->scanner = -1;
}

/* The rows of one batch of this worker's. */
static TaskqKeyed kept[TASKQ_BATCH_MAX];
static int	nkept = 0;
static uint32 kept_batch;

/*
 * taskq_round_keep - what was found is the batch of this worker, whose slot it
 * is
 */
void
taskq_round_keep(const TaskqRound *round, const TaskqSlot *slot)
{
	kept_batch = slot->batch;
	nkept = round->nfound;
	memcpy(kept, round->rows, nkept * sizeof(TaskqKeyed));
}

/* Is that what became of a task by now: is it not to be claimed any more? */
static bool
is_over(char outcome, const pg_uuid_t *id)
{
	TaskqRef	ref;

	if (outcome == TASKQ_UNDONE)
		return false;
	return outcome != TASKQ_DROPPED || !taskq_ready_claimable(id, NULL, &ref);
}

/*
 * taskq_round_tidy - this worker, whose slot it is, is through with its
 * batch: delete the rows of what is not claimable any more
 *
 * Before it gives the places of the keys back.  In a transaction of its own,
 * which nobody waits for: if it is undone the rows are found again.
 */
void
taskq_round_tidy(const TaskqSlot *slot)
{
	int			n = 0;

	/* those of a batch that was given back are still to be claimed */
	if (slot->batch != kept_batch)
		nkept = 0;
	if (nkept == 0)
		return;
	taskq_store_begin();
	for (int i = 0; i < Min(nkept, slot->nitems); i++)
	{
		if (is_over(slot->outcome[i], &kept[i].at.id))
			kept[n++] = kept[i];
	}
	nkept = 0;
	taskq_keyed_tidy(kept, n);
	PopActiveSnapshot();
	(void) set_config_option("synchronous_commit", "off", PGC_USERSET,
							 PGC_S_SESSION, GUC_ACTION_LOCAL, true, 0, false);
	CommitTransactionCommand();
}

/*
 * taskq_round_room - how many tasks of a lane could run at once, as far as
 * their keys are concerned; up to max, and none of a lane that is gone
 *
 * Needs a transaction, and taskq_defs_begin.
 */
int
taskq_round_room(Oid dbid, int32 id, int max)
{
	TaskqRound *round = taskq_round_new(id);
	TaskqLane  *lane;

	round->max = Min(max, TASKQ_BATCH_MAX);
	round->max_keys = Min(max, TASKQ_BATCH_KEYS);
	round->max_of_key = Min(round->limit.n, TASKQ_BATCH_MAX);
	LWLockAcquire(taskq_main_lock, LW_EXCLUSIVE);
	lane = taskq_lane_find(dbid, id);
	if (lane != NULL)
		taskq_round_begin(round, lane, -1);
	LWLockRelease(taskq_main_lock);
	if (lane == NULL)
		return 0;
	taskq_round_look(round);
	return round->nfound;
}

/*
 * taskq_round_list - tasks of a lane, whoever has their keys, in no order
 *
 * Up to max of them; returns how many.
 */
int
taskq_round_list(int32 lane, int max, TaskqRef *found)
{
	TaskqRead	read;
	TaskqKeyed	row;
	int			n = 0;

	taskq_keyed_begin(&read, lane, PG_INT64_MIN, NULL);
	while (n < max && taskq_keyed_next(&read, &row))
		found[n++] = (TaskqRef)
	{
		.id = row.at.id
	};
	taskq_read_end(&read);
	return n;
}
