/*-------------------------------------------------------------------------
 *
 * counts.c
 *		How many tasks ended how, how long they waited and ran.
 *
 * Each attempt that comes to its end is a sample of the transaction that
 * says so, and counts when that commits.  A worker keeps samples until its
 * batch is announced; whoever else ends tasks hands them over at once.  What
 * is in shared memory goes into table "rollup" once a minute, by the
 * database's dispatcher, in one step with being taken away here: whoever
 * reads both counts nothing twice, and misses nothing.
 *
 * Shared memory has room for so many groups, and for so many of a role.  What
 * finds none is counted with the others, whose group has no name; it is never
 * an error, nor does anybody wait.
 *
 * A crash of the server loses what was not written: a minute's.  So does
 * PREPARE TRANSACTION, whose samples nobody keeps.
 *
 * Locks: a lock of its own, which is the last that anybody takes, but for
 * the dispatcher's commit, which holds it and may take the main lock: so
 * nobody takes it who holds that.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "base/guc.h"
#include "base/shmem.h"
#include "catalog/pg_type.h"
#include "lanes/counts.h"
#include "lanes/counts_inside.h"
#include "lanes/stock.h"
#include "miscadmin.h"
#include "storage/lwlock.h"
#include "storage/shmem.h"
#include "store/defs.h"
#include "store/labels.h"
#include "store/state.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#define SLOW_US 1000			/* who has run for so long can hand over by
								 * himself */
#define SAMPLES 1024
#define NAMES 10000				/* that a transaction remembers */
#define OTHERS 64				/* places kept for groups without name */

/* An attempt that came to its end, or several that are alike. */
typedef struct Sample
{
	char		type;			/* of its group; a lane's is its worker's too */
	char		outcome;
	bool		started;
	uint8		wait_bucket;
	uint8		run_bucket;
	int			level;			/* of the subtransaction */
	int32		lane;
	int32		role;
	int32		by;				/* the role that submitted, if it is another */
	const char *tenant;			/* "": none; NULL: too long, or too many */
	const char *name;			/* of a worker, tag, or member */
	int64		n;
	int64		wait_us;
	int64		run_us;
	int64		max_us;
} Sample;

/* A group in shared memory. */
typedef struct EntryKey
{
	Oid			dbid;
	TaskqGroup	group;
} EntryKey;

typedef struct Entry
{
	EntryKey	key;
	int32		role;			/* that has the share; 0: of nobody's */
	TaskqCounts counts;
} Entry;

typedef struct Shared
{
	LWLock		lock;
	int			tranche;
	uint64		taken;			/* counts how often something was taken away */
	TaskqShares entries;		/* how many there are, and whose */
	bool		tight;			/* somebody has not much room left */
	bool		told;			/* dispatchers know that there are many */
} Shared;

static Shared *shared = NULL;
static HTAB *entries = NULL;

/*
 * samples[0..ncommitted) are of transactions that have committed, the others
 * of the one that is open; in order of levels
 */
static Sample *samples = NULL;
static int	nsamples = 0;
static int	ncommitted = 0;
static int	room = 0;
static HTAB *names = NULL;
static const char *last_names[2];
static MemoryContext context = NULL;
static bool batched = false;	/* this is a worker */
static bool slow = false;
static bool registered = false;

/* the last lane that this worker handed something over of */
static TaskqGroup last_lane;
static int32 last_role = 0;

/* of the transaction that writes them */
static const TaskqCounted *written = NULL;
static int	nwritten;
static bool locked = false;
static bool anew = false;		/* it has made the extension */

/* ---- shared memory ---- */

static long
max_entries(void)
{
	return Min(taskq_max_lanes, 8192) + OTHERS;
}

static Size
table_size(void)
{
	return add_size(MAXALIGN(sizeof(Shared)),
					hash_estimate_size(max_entries(), sizeof(Entry)));
}

static void
table_init(void)
{
	HASHCTL		ctl = {.keysize = sizeof(EntryKey),.entrysize = sizeof(Entry)};
	bool		found;

	shared = ShmemInitStruct("taskq counts", sizeof(Shared), &found);
	if (!found)
	{
		memset(shared, 0, sizeof(*shared));
		shared->tranche = LWLockNewTrancheId();
		LWLockInitialize(&shared->lock, shared->tranche);
	}
	LWLockRegisterTranche(shared->tranche, "taskq_counts");
	entries = ShmemInitHash("taskq counted groups", max_entries(),
							max_entries(), &ctl,
							HASH_ELEM | HASH_BLOBS | HASH_FIXED_SIZE);
}

static void count_change(TaskqRow *row, char from, const TaskqChange *change);

/*
 * taskq_counts_init - ask for room in shared memory; before taskq_shmem_init
 */
void
taskq_counts_init(void)
{
	taskq_shmem_part(table_size, table_init);
	taskq_state_counted = count_change;
}

static long
max_named(void)
{
	return max_entries() - OTHERS;
}

/* Caller holds the lock. */
static void
remove_entry(Entry *entry)
{
	taskq_shares_add(&shared->entries, &entry->key.group, entry->role, -1);
	(void) hash_search(entries, &entry->key, HASH_REMOVE, NULL);
}

/*
 * There is no more room: take away what was counted in databases that are
 * gone, if one is since that was done last.  Caller holds the lock.
 */
static void
forget_gone(void)
{
	static uint32 seen = 0;
	uint32		gone = pg_atomic_read_u32(&taskq_shared->databases_gone);
	HASH_SEQ_STATUS status;
	Entry	   *entry;

	if (seen == gone)
		return;
	seen = gone;
	LWLockAcquire(taskq_main_lock, LW_SHARED);
	hash_seq_init(&status, entries);
	while ((entry = hash_seq_search(&status)) != NULL)
	{
		if (taskq_db_find(entry->key.dbid) == NULL)
			remove_entry(entry);
	}
	LWLockRelease(taskq_main_lock);
}

/*
 * The entry of a group of this role, or of the others if there is no room;
 * NULL if there is none for these either.  Caller holds the lock.
 */
static Entry *
enter_group(const TaskqGroup *group, int32 role)
{
	EntryKey	key;
	Entry	   *entry;
	bool		found;

	memset(&key, 0, sizeof(key));
	key.dbid = MyDatabaseId;
	key.group = *group;
	entry = hash_search(entries, &key, HASH_FIND, NULL);
	if (entry != NULL)
		return entry;
	if (!taskq_shares_room(&shared->entries, group, role, max_named()))
		forget_gone();
	if (!taskq_shares_room(&shared->entries, group, role, max_named()))
	{
		taskq_group_other(&key.group);
		role = 0;
	}
	entry = hash_search(entries, &key, HASH_ENTER_NULL, &found);
	if (entry == NULL || found)
		return entry;
	memset(&entry->counts, 0, sizeof(entry->counts));
	entry->role = role;
	taskq_shares_add(&shared->entries, group, role, 1);
	shared->tight |= !taskq_shares_room(&shared->entries, group, role,
										max_named() * 3 / 4);
	return entry;
}

static void
add_counts(const TaskqGroup *group, int32 role, const TaskqCounts *counts)
{
	Entry	   *entry = enter_group(group, role);

	if (entry != NULL)
		taskq_counts_sum(&entry->counts, counts);
}

/* ---- samples ---- */

/* Look for a name among all, and remember it if there is room. */
static const char *
enter_name(const char *name)
{
	char		key[TASKQ_GROUP_NAME];
	bool		found;

	if (names == NULL)
	{
		HASHCTL		ctl = {.keysize = TASKQ_GROUP_NAME,
			.entrysize = TASKQ_GROUP_NAME,
		.hcxt = context};

		names = hash_create("taskq counted names", 64, &ctl,
							HASH_ELEM | HASH_STRINGS | HASH_CONTEXT);
	}
	strlcpy(key, name, sizeof(key));
	if (hash_get_num_entries(names) >= NAMES)
		return hash_search(names, key, HASH_FIND, NULL);
	return hash_search(names, key, HASH_ENTER, &found);
}

/*
 * A name, to be kept with samples: one pointer for each.  NULL if it is too
 * long, or one too many.  One task mostly has the worker and the tenant of
 * the one before.
 */
static const char *
intern(const char *name)
{
	const char *entered;

	if (name == NULL || name[0] == '\0')
		return "";
	for (int i = 0; i < lengthof(last_names); i++)
	{
		if (last_names[i] != NULL && strcmp(last_names[i], name) == 0)
			return last_names[i];
	}
	if (strlen(name) >= TASKQ_GROUP_NAME)
		return NULL;
	entered = enter_name(name);
	if (entered != NULL)
	{
		last_names[1] = last_names[0];
		last_names[0] = entered;
	}
	return entered;
}

static int
compare_samples(const void *pa, const void *pb)
{
	const Sample *a = pa;
	const Sample *b = pb;

#define COMPARE(field) \
	if (a->field != b->field) \
		return a->field < b->field ? -1 : 1
	COMPARE(level);
	COMPARE(type);
	COMPARE(outcome);
	COMPARE(lane);
	COMPARE(role);
	COMPARE(by);
	COMPARE(tenant);
	COMPARE(name);
	COMPARE(started);
	COMPARE(wait_bucket);
	COMPARE(run_bucket);
	return 0;
#undef COMPARE
}

/* Samples of the open transaction that are alike become one. */
static void
merge_samples(void)
{
	int			n = ncommitted;

	qsort(samples + ncommitted, nsamples - ncommitted, sizeof(Sample),
		  compare_samples);
	for (int i = ncommitted; i < nsamples; i++)
	{
		Sample	   *last = n > ncommitted ? &samples[n - 1] : NULL;

		if (last == NULL || compare_samples(last, &samples[i]) != 0)
		{
			samples[n++] = samples[i];
			continue;
		}
		last->n += samples[i].n;
		last->wait_us += samples[i].wait_us;
		last->run_us += samples[i].run_us;
		last->max_us = Max(last->max_us, samples[i].max_us);
	}
	nsamples = n;
}

static void on_xact_end(XactEvent event, void *arg);
static void on_subxact_end(SubXactEvent event, SubTransactionId mySubid,
						   SubTransactionId parentSubid, void *arg);

/*
 * taskq_counts_register - this process is told when transactions end, from
 * this one on
 */
void
taskq_counts_register(void)
{
	if (registered)
		return;
	RegisterXactCallback(on_xact_end, NULL);
	RegisterSubXactCallback(on_subxact_end, NULL);
	registered = true;
}

static void
begin_samples(void)
{
	taskq_counts_register();
	if (context == NULL)
		context = AllocSetContextCreate(TopMemoryContext, "taskq counts",
										ALLOCSET_DEFAULT_SIZES);
	if (samples == NULL)
	{
		samples = MemoryContextAlloc(context, SAMPLES * sizeof(Sample));
		room = SAMPLES;
	}
}

static void
add_sample(const Sample *sample)
{
	if (nsamples == room)
	{
		merge_samples();
		if (nsamples > room / 2)
		{
			samples = repalloc_huge(samples, 2 * room * sizeof(Sample));
			room *= 2;
		}
	}
	samples[nsamples++] = *sample;
}

/* Nothing is kept: what was allocated for much goes. */
static void
forget_samples(void)
{
	nsamples = ncommitted = 0;
	slow = false;
	if (room <= SAMPLES && (names == NULL ||
							hash_get_num_entries(names) < SAMPLES))
		return;
	MemoryContextReset(context);
	samples = NULL;
	names = NULL;
	memset(last_names, 0, sizeof(last_names));
	room = 0;
}

/* ---- an attempt ends ---- */

static void
count_tags(TaskqRow *row, Sample *sample)
{
	Datum	   *tags;
	bool	   *nulls;
	int			n;

	deconstruct_array(DatumGetArrayTypeP(taskq_row_value(row, tags)), TEXTOID,
					  -1, false, TYPALIGN_INT, &tags, &nulls, &n);
	sample->type = TASKQ_GROUP_TAG;
	for (int i = 0; i < n; i++)
	{
		char	   *tag = nulls[i] ? NULL : TextDatumGetCString(tags[i]);

		if (tag == NULL || tag[0] == '\0')
			continue;
		sample->name = intern(tag);
		add_sample(sample);
	}
}

/* The members that the kind names, of payload or else metadata. */
static void
count_members(TaskqRow *row, const List *members, Sample *sample)
{
	Jsonb	   *payload = taskq_row_isnull(row, payload) ? NULL
	: DatumGetJsonbP(taskq_row_value(row, payload));
	Jsonb	   *metadata = taskq_row_isnull(row, metadata) ? NULL
	: DatumGetJsonbP(taskq_row_value(row, metadata));
	const ListCell *lc;

	sample->type = TASKQ_GROUP_MEMBER;
	foreach(lc, members)
	{
		const char *name = lfirst(lc);
		char	   *value = payload ? taskq_member_text(payload, name) : NULL;

		if (value == NULL && metadata != NULL)
			value = taskq_member_text(metadata, name);
		if (value == NULL)
			continue;
		sample->name = intern(psprintf("%s=%s", name, value));
		add_sample(sample);
	}
}

/*
 * What is known of the lane of the last one: most are of the same.  False if
 * there is no such lane.
 */
static bool
look_at_lane(int32 id, int32 *role, const List **members)
{
	static int32 last = 0;
	static uint64 generation;
	static int32 last_role;
	static const List *last_members;
	const TaskqLaneDef *lane;
	const TaskqKind *kind;

	if (id != last || generation != taskq_defs_generation)
	{
		lane = taskq_lane_get(id);
		if (lane == NULL)
			return false;
		kind = taskq_lane_kind(lane);
		last = id;
		last_role = lane->role;
		last_members = kind ? kind->indexed : NIL;
		generation = taskq_defs_generation;
	}
	*role = last_role;
	*members = last_members;
	return true;
}

/* When it ran, and since when it could have. */
static void
set_times(TaskqRow *row, char from, const TaskqChange *change, Sample *sample)
{
	bool		stored = from == TASKQ_RUNNING || from == TASKQ_LEASED;
	TimestampTz started = change->started_at;
	TimestampTz finished = change->finished_at;
	TimestampTz ready;

	if (started == 0 && stored && !taskq_row_isnull(row, started_at))
		started = DatumGetTimestampTz(taskq_row_value(row, started_at));
	if (started == 0)
		return;
	if (finished == 0)
		finished = GetCurrentTimestamp();
	/* run_at may be any moment, but no task waits before there is one */
	ready = taskq_id_time(DatumGetUUIDP(taskq_row_value(row, id)));
	if (!taskq_row_isnull(row, run_at))
		ready = Max(ready, DatumGetTimestampTz(taskq_row_value(row, run_at)));
	sample->started = true;
	sample->wait_us = Max(0, started - Min(ready, started));
	sample->run_us = sample->max_us = Max(0, finished - started);
	sample->wait_bucket = taskq_bucket(sample->wait_us);
	sample->run_bucket = taskq_bucket(sample->run_us);
	slow |= sample->run_us >= SLOW_US;
}

/* Who ran it. */
static const char *
worker_of(TaskqRow *row, const Sample *sample, const TaskqChange *change)
{
	if (!sample->started)
		return "";
	if (change->worker != NULL)
		return intern(change->worker);
	if (taskq_row_isnull(row, worker))
		return "";
	return intern(TextDatumGetCString(taskq_row_value(row, worker)));
}

/* An attempt, or a task that did not run, comes to its end. */
static void
count_change(TaskqRow *row, char from, const TaskqChange *change)
{
	Sample		sample;
	const List *members;

	memset(&sample, 0, sizeof(sample));
	sample.lane = DatumGetInt32(taskq_row_value(row, lane));
	if (shared == NULL || !look_at_lane(sample.lane, &sample.role, &members))
		return;
	begin_samples();
	sample.type = TASKQ_GROUP_LANE;
	sample.outcome = change->to;
	sample.level = GetCurrentTransactionNestLevel();
	sample.n = 1;
	if (!taskq_row_isnull(row, submitted_by))
		sample.by = DatumGetInt32(taskq_row_value(row, submitted_by));
	if (sample.by == sample.role)
		sample.by = 0;
	set_times(row, from, change, &sample);
	sample.tenant = taskq_row_isnull(row, tenant) ? "" :
		intern(TextDatumGetCString(taskq_row_value(row, tenant)));
	sample.name = worker_of(row, &sample, change);
	add_sample(&sample);
	if (!taskq_row_isnull(row, tags))
		count_tags(row, &sample);
	if (members != NIL)
		count_members(row, members, &sample);
}

/* ---- handing over ---- */

static void
sample_counts(const Sample *sample, TaskqCounts *counts)
{
	counts->n += sample->n;
	if (!sample->started)
		return;
	counts->started += sample->n;
	counts->wait_us += sample->wait_us;
	counts->run_us += sample->run_us;
	counts->max_us = Max(counts->max_us, sample->max_us);
	counts->waits[sample->wait_bucket] += sample->n;
	counts->runs[sample->run_bucket] += sample->n;
}

static bool
same_group(const Sample *a, const Sample *b)
{
	return a->type == b->type && a->outcome == b->outcome &&
		a->lane == b->lane && a->by == b->by && a->tenant == b->tenant && a->name == b->name;
}

static void
make_group(TaskqGroup *group, char type, char outcome, int32 of,
		   const char *tenant, const char *name)
{
	memset(group, 0, sizeof(*group));
	group->type = type;
	group->outcome = outcome;
	if (tenant == NULL || name == NULL)
		return;
	group->of = of;
	strlcpy(group->tenant, tenant, TASKQ_GROUP_NAME);
	strlcpy(group->name, name, TASKQ_GROUP_NAME);
}

static void
hand_over_lane(const Sample *sample, TaskqCounts *counts)
{
	TaskqGroup	group;

	make_group(&group, TASKQ_GROUP_LANE, sample->outcome, sample->lane,
			   sample->tenant, "");
	if (sample->by != 0)
		snprintf(group.name, sizeof(group.name), "%d", sample->by);
	add_counts(&group, sample->role, counts);
	last_lane = group;
	last_role = sample->role;
	if (!sample->started)
		return;
	make_group(&group, TASKQ_GROUP_WORKER, sample->outcome, sample->role, "",
			   sample->name);
	add_counts(&group, sample->role, counts);
}

/* What the samples of a group come to, to where it is counted. */
static void
hand_over_group(const Sample *sample, TaskqCounts *counts)
{
	TaskqGroup	group;

	if (sample->type == TASKQ_GROUP_LANE)
	{
		hand_over_lane(sample, counts);
		return;
	}
	make_group(&group, sample->type, sample->outcome,
			   sample->by != 0 ? sample->by : sample->role, sample->tenant,
			   sample->name);
	add_counts(&group, group.of, counts);
}

/*
 * Something is to be written: whoever counts it after the dispatcher has
 * looked calls it, or has one started, so that nothing is left when the
 * server is stopped.
 */
static void
tell_dispatcher(void)
{
	TaskqDb    *db = taskq_db_mine();

	if (db == NULL ||
		(pg_atomic_read_u32(&db->counts_told) == 0 &&
		 pg_atomic_exchange_u32(&db->counts_told, 1) == 0))
		taskq_call_dispatcher();
}

/*
 * taskq_counts_hand_over - what this process has counted in transactions that
 * have committed goes to shared memory
 *
 * Never fails, allocates nothing.  The caller holds no lock of taskq's.
 */
void
taskq_counts_hand_over(void)
{
	static TaskqCounts counts;
	bool		call;

	if (taskq_stock_hand_over())
		tell_dispatcher();
	if (ncommitted == 0)
		return;
	LWLockAcquire(&shared->lock, LW_EXCLUSIVE);
	for (int i = 0; i < ncommitted; i++)
	{
		if (i == 0 || !same_group(&samples[i - 1], &samples[i]))
			memset(&counts, 0, sizeof(counts));
		sample_counts(&samples[i], &counts);
		if (i + 1 == ncommitted || !same_group(&samples[i], &samples[i + 1]))
			hand_over_group(&samples[i], &counts);
	}
	call = !shared->told && shared->tight;
	shared->told |= call;
	LWLockRelease(&shared->lock);
	/* there is not much room left: it shall write before its time */
	if (call)
		taskq_call_dispatcher();
	tell_dispatcher();
	memmove(samples, samples + ncommitted,
			(nsamples - ncommitted) * sizeof(Sample));
	nsamples -= ncommitted;
	ncommitted = 0;
	slow = false;
	if (nsamples == 0)
		forget_samples();
}

/*
 * taskq_counts_used - what this worker has used since it last said so, how
 * long that is ago, and for how long of that it was in tasks
 *
 * All of it is the lane's of which it was busy last.
 */
void
taskq_counts_used(const int64 *resources, int64 present_us, int64 busy_us)
{
	static TaskqCounts counts;
	TaskqGroup	group;

	taskq_counts_hand_over();
	if (last_role == 0)
		return;
	memset(&counts, 0, sizeof(counts));
	memcpy(counts.resources, resources, sizeof(counts.resources));
	make_group(&group, TASKQ_GROUP_BUSY, '-', last_role, "", "");
	LWLockAcquire(&shared->lock, LW_EXCLUSIVE);
	add_counts(&last_lane, last_role, &counts);
	counts.n = 1;
	counts.wait_us = present_us;
	counts.run_us = busy_us;
	add_counts(&group, last_role, &counts);
	LWLockRelease(&shared->lock);
	tell_dispatcher();
}

/*
 * taskq_counts_batch - this process hands over when it announces, and says
 * what it has used when it ends
 */
void
taskq_counts_batch(void)
{
	batched = true;
}

/*
 * taskq_counts_forget - forget what was not written of a database in which
 * taskq is no more
 *
 * Never fails, allocates nothing.  The caller holds no lock of taskq's.
 */
void
taskq_counts_forget(Oid dbid)
{
	HASH_SEQ_STATUS status;
	Entry	   *entry;

	if (shared == NULL)
		return;
	LWLockAcquire(&shared->lock, LW_EXCLUSIVE);
	hash_seq_init(&status, entries);
	while ((entry = hash_seq_search(&status)) != NULL)
	{
		if (entry->key.dbid == dbid)
			remove_entry(entry);
	}
	LWLockRelease(&shared->lock);
	taskq_stock_forget(dbid);
}

/*
 * taskq_counts_anew - this transaction, which is about to commit, has made the
 * extension: what others have counted until then was of another one
 *
 * What it has counted itself stays.
 */
void
taskq_counts_anew(void)
{
	taskq_counts_register();
	anew = true;
}

/* ---- the transaction ends ---- */

/*
 * What was written is taken away, so that it is in one of both places for
 * everybody.
 */
static void
take_away(void)
{
	for (int i = 0; i < nwritten; i++)
	{
		const TaskqCounts *gone = &written[i].counts;
		EntryKey	key;
		Entry	   *entry;

		memset(&key, 0, sizeof(key));
		key.dbid = MyDatabaseId;
		key.group = written[i].group;
		entry = hash_search(entries, &key, HASH_FIND, NULL);
		if (entry == NULL)
			continue;
		if (entry->counts.n == gone->n &&
			entry->counts.wait_us == gone->wait_us)
		{
			remove_entry(entry);
			continue;
		}
		entry->counts.n -= gone->n;
		entry->counts.started -= gone->started;
		entry->counts.wait_us -= gone->wait_us;
		entry->counts.run_us -= gone->run_us;
		for (int j = 0; j < TASKQ_PEAK_MEMORY; j++)
			entry->counts.resources[j] -= gone->resources[j];
		for (int j = 0; j < TASKQ_BUCKETS; j++)
		{
			entry->counts.waits[j] -= gone->waits[j];
			entry->counts.runs[j] -= gone->runs[j];
		}
	}
	shared->taken++;
	shared->told = shared->tight = false;
}

static void
on_xact_end(XactEvent event, void *arg)
{
	if (event == XACT_EVENT_PRE_COMMIT || event == XACT_EVENT_COMMIT ||
		event == XACT_EVENT_ABORT || event == XACT_EVENT_PREPARE)
		taskq_stock_xact_end(event);
	switch (event)
	{
		case XACT_EVENT_PRE_COMMIT:
			if (written != NULL)
			{
				LWLockAcquire(&shared->lock, LW_EXCLUSIVE);
				locked = true;
			}
			break;
		case XACT_EVENT_COMMIT:
			if (locked)
			{
				take_away();
				LWLockRelease(&shared->lock);
			}
			written = NULL;
			locked = false;
			ncommitted = nsamples;
			if (anew)
				taskq_counts_forget(MyDatabaseId);
			anew = false;
			if (!batched || slow || ncommitted >= SAMPLES / 2)
				taskq_counts_hand_over();
			break;
		case XACT_EVENT_ABORT:
		case XACT_EVENT_PREPARE:
			/* an abort gives back all locks of this kind */
			written = NULL;
			locked = anew = false;
			nsamples = ncommitted;
			if (nsamples == 0 && context != NULL)
				forget_samples();
			break;
		default:
			break;
	}
}

static void
on_subxact_end(SubXactEvent event, SubTransactionId mySubid,
			   SubTransactionId parentSubid, void *arg)
{
	int			level = GetCurrentTransactionNestLevel();

	taskq_stock_subxact_end(event, level);
	if (event == SUBXACT_EVENT_ABORT_SUB)
	{
		while (nsamples > ncommitted && samples[nsamples - 1].level >= level)
			nsamples--;
	}
	else if (event == SUBXACT_EVENT_COMMIT_SUB)
	{
		for (int i = nsamples - 1;
			 i >= ncommitted && samples[i].level >= level; i--)
			samples[i].level = level - 1;
	}
}

/* ---- for the dispatcher ---- */

static int
copy_entries(TaskqCounted *counted, int max)
{
	HASH_SEQ_STATUS status;
	Entry	   *entry;
	int			n = 0;

	hash_seq_init(&status, entries);
	while ((entry = hash_seq_search(&status)) != NULL)
	{
		if (entry->key.dbid != MyDatabaseId || n >= max)
			continue;
		counted[n].group = entry->key.group;
		counted[n++].counts = entry->counts;
	}
	return n;
}

/* taskq_counts_any - has something been counted here that is not written? */
bool
taskq_counts_any(void)
{
	HASH_SEQ_STATUS status;
	Entry	   *entry;
	bool		any = false;

	if (shared->entries.all == 0)
		return false;
	LWLockAcquire(&shared->lock, LW_SHARED);
	hash_seq_init(&status, entries);
	while ((entry = hash_seq_search(&status)) != NULL)
		any |= entry->key.dbid == MyDatabaseId;
	LWLockRelease(&shared->lock);
	return any;
}

/*
 * taskq_counts_quiet - nothing of this database is to be written, and whoever
 * counts something calls the dispatcher
 *
 * False if there is something.
 */
bool
taskq_counts_quiet(TaskqDb *db)
{
	bool		quiet;

	/* first this: who counts something looks here after that */
	taskq_counts_untold(db);
	quiet = !taskq_counts_any() && !taskq_stock_any();
	if (!quiet)
		pg_atomic_write_u32(&db->counts_told, 1);
	return quiet;
}

/*
 * taskq_counts_untold - the dispatcher leaves: whoever counts something asks
 * for another one
 */
void
taskq_counts_untold(TaskqDb *db)
{
	pg_atomic_write_u32(&db->counts_told, 0);
	pg_memory_barrier();
}

/* taskq_counts_many - are there so many that they are to be written now? */
bool
taskq_counts_many(void)
{
	return shared->told;
}

/*
 * taskq_counts_copy - all that is in shared memory of this database; returns
 * how many groups
 */
int
taskq_counts_copy(TaskqCounted **counted)
{
	int			max = shared->entries.all + OTHERS;
	int			n;

	*counted = palloc_extended(max * sizeof(TaskqCounted), MCXT_ALLOC_HUGE);
	LWLockAcquire(&shared->lock, LW_SHARED);
	n = copy_entries(*counted, max);
	LWLockRelease(&shared->lock);
	return n;
}

/*
 * taskq_counts_written - these, from taskq_counts_copy, have been written by
 * the transaction that is open: when it commits they are gone here
 */
void
taskq_counts_written(const TaskqCounted *counted, int n)
{
	begin_samples();
	written = counted;
	nwritten = n;
}

/* taskq_counts_sample - count something that is no task's */
void
taskq_counts_sample(const TaskqCounted *counted, int n)
{
	LWLockAcquire(&shared->lock, LW_EXCLUSIVE);
	for (int i = 0; i < n; i++)
		add_counts(&counted[i].group, counted[i].group.of,
				   &counted[i].counts);
	LWLockRelease(&shared->lock);
}

static void
copy_unwritten(void *arg)
{
	TaskqUnwritten *unwritten = arg;

	unwritten->n = copy_entries(unwritten->counted, unwritten->max);
}

/*
 * taskq_counts_unwritten - what is not written yet of this database, and a
 * snapshot that shows all that is
 *
 * All zero where nothing is counted.  Allocated in the current memory context;
 * the snapshot is registered.
 */
void
taskq_counts_unwritten(TaskqUnwritten *unwritten)
{
	memset(unwritten, 0, sizeof(*unwritten));
	if (shared == NULL)
		return;
	unwritten->max = shared->entries.all + OTHERS;
	unwritten->counted =
		palloc_extended(unwritten->max * sizeof(TaskqCounted),
						MCXT_ALLOC_HUGE);
	unwritten->snapshot = taskq_stock_snapshot(&shared->lock, &shared->taken,
											   copy_unwritten, unwritten);
}
