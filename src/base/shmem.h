/*-------------------------------------------------------------------------
 *
 * shmem.h
 *		What taskq keeps in shared memory.
 *
 * Locks: the main lock guards databases, lanes, the slots' membership (all
 * fields of a slot above its comment) and the events.  Each slot has a lock
 * of its own for the batch and the task it works on.  Whoever needs both
 * takes the main lock first.  Nobody reads or writes a table, allocates or
 * raises an error while holding one, so that all of it can run in a commit
 * callback.
 *
 *-------------------------------------------------------------------------
 */
#ifndef TASKQ_SHMEM_H
#define TASKQ_SHMEM_H

#include "postgres.h"

#include "access/xact.h"
#include "access/xlogdefs.h"
#include "base/id.h"
#include "base/usage.h"
#include "datatype/timestamp.h"
#include "port/atomics.h"
#include "storage/condition_variable.h"
#include "storage/lwlock.h"

#define TASKQ_MAX_WORKERS 128
#define TASKQ_BATCH_MAX 400
#define TASKQ_PAST_MAX 512		/* attempts that a slot remembers the end of */
#define TASKQ_WAIT_BUCKETS 128
#define TASKQ_EVENTS 8192
#define TASKQ_DB_EVENTS 6144	/* of one database: some room is left for
								 * others */
#define TASKQ_TURNS 128
#define TASKQ_TENANT_TURNS 4096
#define TASKQ_CANCELS 2048
#define TASKQ_ROLE_CANCELS 512	/* of one role's tasks: some room is left for
								 * others */
#define TASKQ_SUSPECTS (TASKQ_MAX_WORKERS + 2 * TASKQ_BATCH_MAX)
#define TASKQ_PREPARED_LANES 8
#define TASKQ_ENDED 4096		/* tasks that others may wait for */
#define TASKQ_FILTER_BITS (1 << 22)
#define TASKQ_BATCH_KEYS 64		/* whose tasks one batch may have */
#define TASKQ_RESERVED 64		/* queues that have reserved places */
#define TASKQ_SAVE_TASKS 2000	/* watermarks are saved after so many */
#define TASKQ_MESSAGE_SIZE 256
#define TASKQ_INFO_SIZE 2048
#define TASKQ_PHASE_SIZE 64
#define TASKQ_FAILURE_SIZE 2048 /* one of them */
#define TASKQ_FAILURES_SIZE 4096
#define TASKQ_LEAF_BUSY 8
#define TASKQ_OUTBOXES 4		/* see lanes/outbox.c */

/*
 * What the sweeper knows of a leaf: see empty.c.  It is alone in a
 * database, so all but the count is guarded by being the sweeper.
 */
typedef struct TaskqLeaf
{
	pg_atomic_uint64 written;	/* counts who put rows, or new versions, at
								 * another place */
	bool		reading;		/* what follows is known of a read that has
								 * begun */
	Oid			file;			/* that is read */
	uint64		written_before;
	TimestampTz cutoff;			/* over is what was finished before it, but
								 * for tasks with another retention, */
	uint64		rules;			/* ... of which this is the signature */
	uint32		block;			/* all before it is over, moved, or busy */
	uint64		moved;			/* the newest transaction that moved something
								 * out of it, or 0 */
	int			nbusy;
	pg_uuid_t	busy[TASKQ_LEAF_BUSY];	/* rows that were locked */
	TimestampTz again_at;		/* steady time; not before */
	int			tries;			/* that failed, one after the other */
} TaskqLeaf;

/* A database in which taskq was seen; the entry stays until it is dropped. */
typedef struct TaskqDb
{
	Oid			dbid;			/* InvalidOid: free */
	bool		wanted;			/* needs a dispatcher */
	uint64		rules_of;		/* definitions by which the next one was made, */
	uint64		rules;			/* signature of what is kept for another time
								 * than usual */
	bool		loaded;			/* its lanes have been looked through since
								 * the server started */
	bool		renewed;		/* its leases have been renewed since then */
	bool		keys_counted;	/* concurrency keys of its leases are in
								 * shared memory */
	bool		rescan;			/* a lane found no room: look through them
								 * again */
	int			blocked;		/* sessions that want no taskq process here
								 * now */
	pid_t		dispatcher;		/* 0: none, -1: being started */
	int			procno;			/* of the dispatcher */
	bool		leave;			/* the dispatcher shall leave for another
								 * database */
	TimestampTz since;			/* of the dispatcher's start; steady time */
	TimestampTz next_due;		/* earliest timer, DT_NOEND for none,
								 * DT_NOBEGIN if not known */
	TimestampTz next_schedule;	/* the same of schedules */
	TimestampTz not_before;		/* no dispatcher earlier, after one that
								 * failed; steady time */
	TimestampTz no_worker_before;	/* no worker earlier, after one that could
									 * not connect; steady time */
	bool		left_out;		/* lanes that cannot be run now are not in
								 * shared memory */
	bool		resumed;		/* runs tasks though the server was started
								 * paused */
	int64		clock_offset;	/* of the system's clock, when timers were set
								 * right last */
	int			nevents;		/* of its own among the events */
	bool		hushed;			/* its dispatcher soon comes for them by
								 * itself */
	TimestampTz events_since;	/* steady time; none has been taken since */
	TimestampTz next_sweep;		/* when old tasks are to be looked for */
	TimestampTz next_check;		/* when to look after alerts and stalled tasks */
	bool		foreign;		/* has tasks that are not run here before
								 * taskq.resume() */
	bool		busy;			/* its dispatcher found something to do */
	Oid			known[2];		/* the last two roles that had something to do */
	pid_t		sweeper;		/* 0: none, -1: being started */
	int			sweeper_procno;
	TimestampTz sweeper_since;	/* it was asked for; steady time */
	int			sweeper_tries;	/* that came to nothing, one after the other */
	bool		sweeper_leave;	/* another process needs its place */
	bool		sweep_now;		/* it shall look at every leaf, also at those
								 * put off */
	bool		attempts_swept; /* none is left of a task that is gone */
	pg_atomic_uint32 closed;	/* leaves that still hold what is old, as
								 * bits: ids name others */
	TaskqLeaf	leaves[TASKQ_LEAVES];
	bool		unsaved;		/* a watermark has risen since they were saved */
	int			passed;			/* tasks reserved since then */
	bool		held;			/* a transaction under way keeps some from
								 * being saved */
	bool		holds;			/* some lane may be held */
	TimestampTz held_until;		/* steady time: the first of those that wait
								 * for tokens */
	TimestampTz called_until;	/* the last one of its lanes' */
	int			leases;			/* of external workers, also of claims that
								 * are not committed */
	bool		leases_counted; /* since the server started */
	pg_uuid_t	floor;			/* no saved watermark is higher; valid once
								 * loaded */
	int			outbox;			/* the one that is written; read without the
								 * lock */
	uint32		feed_doubts;	/* counts that something may have ended that
								 * nobody will tell the feed of */
	uint32		feed_looked;	/* ... what that was when it was looked for */
	bool		awaited;		/* some of its tasks may wait for others */
	bool		look;			/* look through all that do: see waiting.c */
	uint32		looked;			/* the filter's generation that has all it
								 * needs */

	pg_atomic_uint32 counts_told;	/* the dispatcher knows that something was
									 * counted: see counts.c */

	/* guarded by the log ring's lock: see logring.c */
	bool		logs_told;		/* the dispatcher knows that there are lines */
	bool		logs_urgent;	/* ... and that they are many */
} TaskqDb;

/* What a place is one of: see place.c. */
typedef struct TaskqPlace
{
	NameData	queue;
	NameData	kind;
	int32		kind_owner;		/* somebody else's kind of the same name is
								 * another kind */
	uint32		queue_hash;		/* hashes of these */
	uint32		kind_hash;
} TaskqPlace;

/* What somebody who only looked at a lane has found: see first.c. */
typedef struct TaskqFirst
{
	uint32		changes;		/* counts what may make it untrue */
	bool		known;
	pg_uuid_t	plain;			/* no plain task waits before it */
	TaskqDue	ready;			/* none has a row in table ready before it */
	TimestampTz since;			/* the first one waits since then; DT_NOEND:
								 * not found */
	TimestampTz until;			/* steady time: then it is looked for again */
}			TaskqFirst;

/* A lane that has, or may have, something to claim. */
typedef struct TaskqLane
{
	Oid			dbid;			/* InvalidOid: free */
	int32		id;
	Oid			role;
	int16		priority;
	int64		tenant;			/* 0: of tasks without */
	uint64		turn;			/* of the lane, if it has a tenant: when it
								 * was served last; see turns below */
	bool		dirty;			/* there may be a claimable task */
	bool		fresh;			/* ... that external workers have not been
								 * told of */
	int			scanner;		/* slot that scans it now, or -1 */
	uint32		generation;		/* of this entry; tells reuse */
	int			next_free;		/* if it is free: the next one, or -1 */
	pg_uuid_t	watermark;		/* no claimable task before it that isn't
								 * noted elsewhere */
	bool		known;			/* "saved" has been read */
	pg_uuid_t	saved;			/* the watermark in the table: what is before
								 * it has a row in table ready */
	pg_uuid_t	head;			/* the first claimable task, as far as known;
								 * for the order of lanes only */
	pg_uuid_t	high;			/* scans came as far as here */
	pg_uuid_t	min_noted;		/* lowest id noted since the scan took its
								 * snapshot */
	uint32		leaves;			/* leaves that may hold a claimable task */
	uint32		noted_leaves;	/* of ids noted since the scan took its
								 * snapshot */
	TimestampTz retry_at;		/* steady time: when to look again at rows
								 * that were locked, or DT_NOEND */
	pg_uuid_t	skipped;		/* the lowest of these */
	uint32		skipped_leaves;
	int			backoff;		/* ms, of retry_at */
	int64		waiting;		/* estimate */
	int64		later;			/* estimate of those that wait for their time */
	int			running;		/* reserved or running */
	int			held;			/* 0, or where it needs room that there is
								 * not: whoever makes some clears that
								 * (place.c) */
	uint32		queue_hash;		/* of what it is held for */
	uint32		kind_hash;
	TimestampTz held_until;		/* steady time, if it waits for tokens */
	TimestampTz called_until;	/* steady time: it has been called, and comes
								 * before those that are less urgent */
	bool		called;			/* ... once since it had a place */
	int			average_us;		/* run time, moving average; 0: unknown */
	uint64		served;			/* number of the last worker that was started
								 * for its role */
	TaskqDue	ready;			/* no claimable task has a row in table ready
								 * before it */
	TaskqDue	min_ready;		/* lowest noted since the scan took its
								 * snapshot */
	TaskqFirst	first;

	/* of a lane of tasks with concurrency keys: see keyed.c */
	int64		cursor;			/* the key that was served last */
	bool		noted;			/* something was noted since the scan took its
								 * snapshot */
	bool		waits;			/* what was passed over waits for its key */
} TaskqLane;

typedef enum TaskqSlotState
{
	TASKQ_SLOT_FREE = 0,
	TASKQ_SLOT_STARTING,
	TASKQ_SLOT_IDLE,
	TASKQ_SLOT_BUSY,
	TASKQ_SLOT_ORPHAN			/* worker ended inside a task; the dispatcher
								 * records it */
} TaskqSlotState;

/* How a task of a batch ended; 0 while it did not. */
typedef enum TaskqOutcome
{
	TASKQ_UNDONE = 0,
	TASKQ_DROPPED = 1			/* nothing to announce; others: the state's
								 * letter */
} TaskqOutcome;

/* How many tasks of a concurrency key a kind lets run at the same time. */
typedef struct TaskqKeyLimit
{
	uint32		kind;			/* hash of its name: the limit may be changed */
	int			n;
} TaskqKeyLimit;

/*
 * The tasks of one concurrency key in a worker's batch: items[first..end).
 * The worker has a place of the key for them.
 */
typedef struct TaskqSlotKey
{
	int64		key;
	uint32		kind;			/* of the place */
	int			first;
	int			end;
	TimestampTz rest_until;		/* steady time; a row was locked: the key is
								 * left alone until then, 0: it is not */
} TaskqSlotKey;

/* Steps of a task that failed, the last ones: see failures.c. */
typedef struct TaskqFailures
{
	int			len;
	char text[	TASKQ_FAILURES_SIZE];
} TaskqFailures;

/* An attempt that a worker has brought to its end. */
typedef struct TaskqPast
{
	pg_uuid_t	id;
	FullTransactionId by;		/* the transaction that says so in the row */
}			TaskqPast;

/*
 * A worker.  Its batch is items[0..nitems); those before next have been
 * started.
 */
typedef struct TaskqSlot
{
	TaskqSlotState state;
	uint32		generation;
	Oid			dbid;
	Oid			role;
	pid_t		pid;
	int			procno;
	TimestampTz started_at;
	TimestampTz since;			/* the same in steady time */
	TimestampTz last_active;
	bool		connected;
	bool		leave;			/* end after the current task */
	bool		requeue;		/* it was told to end now; its task shall run
								 * again */
	bool		woken;			/* its latch was set since it went idle */
	bool		enough;			/* the dispatcher knows that its role has
								 * work, and need not be told again */
	bool		together;		/* the tasks of its batch may share
								 * transactions; the worker's own */
	bool		placed;			/* it has a place, or looks for a task that
								 * shall have it */
	bool		rated;			/* its tasks have taken tokens */
	TaskqPlace	place;
	int			nkeys;			/* places of concurrency keys that it has */
	TaskqSlotKey keys[TASKQ_BATCH_KEYS];

	/* from here on: guarded by the slot's lock */
	int			lane;			/* index into lanes */
	int32		lane_id;
	uint32		lane_generation;
	int			nitems;
	int			next;
	uint32		batch;			/* counts batches, so that one is told from
								 * the next */
	int			announced;		/* items before it are announced and gone for
								 * everyone */
	TaskqRef	items[TASKQ_BATCH_MAX];
	char		outcome[TASKQ_BATCH_MAX];
	bool		left[TASKQ_BATCH_MAX];	/* another worker left it out because
										 * it is here */
	int			nleft;			/* how many are */
	XLogRecPtr	flush_to;		/* end of the last finished task's commit
								 * record */
	TimestampTz finished_at;	/* steady time: when the first not announced
								 * one finished */

	Oid			ended_dbid;		/* the database that those below are of */
	uint32		nended;			/* counts them; the last TASKQ_PAST_MAX are
								 * there, in a ring */
	TaskqPast	ended[TASKQ_PAST_MAX];

	int			outbox;			/* that has the ids of the batch */
	uint32		outbox_batch;	/* ... of this one */

	bool		in_task;
	pg_uuid_t	task;
	int			attempt;
	TimestampTz task_started_at;
	TimestampTz task_since;		/* the same in steady time */
	TimestampTz updated_at;
	bool		has_progress;
	bool		has_total;
	double		current;
	double		total;
	int			failed_steps;	/* -1: not told */
	char		message[TASKQ_MESSAGE_SIZE];
	int			info_len;
	char		info[TASKQ_INFO_SIZE];	/* jsonb as text */
	char		phase[TASKQ_PHASE_SIZE];
	TaskqFailures failures;

	bool		committing;		/* tasks that share a transaction; in_task is
								 * false then */
	bool		cancel;			/* the current task is to be cancelled */
	bool		force;
	char		reason[TASKQ_MESSAGE_SIZE];
	bool		timed_out;		/* set by the worker's signal handler, without
								 * the lock */

	int64		completed;
	int64		failed;
	int64		busy_us;
	TaskqUsage	usage;			/* of its process, when its last batch ended */
	int			work_mem;		/* kB: settings of its session */
	int			temp_file_limit;	/* kB; -1: none */

	/*
	 * read by the worker's signal handler, so no lock; and 32 bits, which are
	 * read without one everywhere
	 */
	pg_atomic_uint32 task_generation;	/* counts tasks begun */
	pg_atomic_uint32 cancel_generation; /* the task to cancel */
} TaskqSlot;

/* What a prepared transaction did to the tasks of one lane. */
typedef struct TaskqPreparedLane
{
	int32		lane;
	Oid			role;
	int16		priority;
	int64		tenant;
	bool		ready;			/* made tasks ready */
	bool		touched;		/* has locked tasks that were there before */
	uint32		leaves;
	pg_uuid_t	lowest;
	int64		count;
} TaskqPreparedLane;

/*
 * A transaction that has been prepared since the server started, and may be
 * committed at any time.
 */
typedef struct TaskqPrepared
{
	Oid			dbid;			/* InvalidOid: free */
	char		gid[GIDSIZE];	/* not a hash of it: anybody could find
								 * another name with the same one */
	bool		noted;			/* did something to tasks */
	bool		all;			/* ... and to more than tasks: nothing is
								 * known of it */
	bool		many;			/* ... to more lanes than are told here */
	bool		look;			/* made tasks wait for others, or ended some
								 * that are waited for */
	bool		ended;			/* ended some */
	pg_uuid_t	bound;			/* its ids are not less, nor those of the rows
								 * that it locked */
	TimestampTz due;			/* of its first timer */
	int			nlanes;
	TaskqPreparedLane lanes[TASKQ_PREPARED_LANES];
} TaskqPrepared;

/*
 * A task in whose midst the server crashed; nobody may run it before that is
 * recorded.
 */
typedef struct TaskqSuspect
{
	Oid			dbid;
	pg_uuid_t	id;
	int			slot;			/* of the worker that ran it */
	TimestampTz started_at;
	bool		shared;			/* in the commit of a transaction of several
								 * tasks: not blamed */
} TaskqSuspect;

/* A role that waits for a place for a worker; see turn.c. */
typedef struct TaskqTurn
{
	Oid			dbid;
	Oid			role;
	TimestampTz asked_at;		/* steady time */
} TaskqTurn;

/*
 * A running task was cancelled and that was committed.  It is on the list
 * until the task has come to its end: whoever is about to run it again, or to
 * commit it with others, looks here, and the dispatcher does for one that
 * nobody runs.
 */
typedef struct TaskqCancel
{
	Oid			dbid;
	pg_uuid_t	id;
	Oid			role;			/* that it runs as */
	bool		force;
	char		reason[TASKQ_MESSAGE_SIZE]; /* or empty */
} TaskqCancel;

typedef struct TaskqEvent
{
	Oid			dbid;
	pg_uuid_t	id;
	char		state;
} TaskqEvent;

/* A task that has ended, or may have, and that others may wait for. */
typedef struct TaskqEnded
{
	Oid			dbid;
	pg_uuid_t	id;
} TaskqEnded;

/* Places for workers that tasks of other queues leave to this one. */
typedef struct TaskqReserved
{
	Oid			dbid;
	NameData	queue;
	int			n;
} TaskqReserved;

typedef struct TaskqShared
{
	pid_t		launcher;
	int			launcher_procno;
	bool		find;			/* databases with taskq are to be found */
	Oid			mismatched_db;	/* the log says of it that library and
								 * extension don't fit together */
	uint32		generations;	/* counter for lanes and slots */

	bool		start_paused;	/* no tasks before taskq.resume(), database by
								 * database */
	int			max_running;	/* of a database, as the launcher has read
								 * taskq.max_running; 0: no limit */
	int64		clock_base;		/* steady time is this plus the monotonic
								 * clock */
	int64		clock_offset;	/* of the system's clock, as the launcher saw
								 * it last */

	int			nsuspects;
	TaskqSuspect suspects[TASKQ_SUSPECTS];
	int			quarantine;		/* slot that runs a task which crashed the
								 * server before, or -1 */

	int			nprepared;		/* entries of prepared in use are below it */
	uint32		unprepared;		/* counts transactions for which there was no
								 * room */

	/* places for workers, when there are not enough */
	int			nturns;
	TaskqTurn	turns[TASKQ_TURNS]; /* who waits, the first one first */
	TimestampTz room_made_at;	/* steady time: when somebody was last told to
								 * leave for the first one */
	bool		no_process;		/* the server had no room for a worker's
								 * process, and no worker was started since */
	TimestampTz warned_at;		/* steady time: when the log said so last */
	uint64		starts;			/* counts workers */

	int			nreserved;
	TaskqReserved reserved[TASKQ_RESERVED];

	/*
	 * Tenants of a role take turns: which batch was theirs last, by a hash of
	 * role, priority and tenant.  Two may have the same place: then their
	 * lanes take turns, of which each has its own.
	 */
	uint64		turn;			/* counts batches */
	uint64		tenant_turns[TASKQ_TENANT_TURNS];

	int			nlanes;			/* entries of lanes in use are below it */
	int			free_lane;		/* the first of those below it that are free,
								 * or -1 */
	uint32		hand;			/* where an idle one is looked for next */
	int			nslots;			/* entries of slots in use are below it */

	pg_atomic_uint32 ncancels;	/* written under the main lock */
	TaskqCancel cancels[TASKQ_CANCELS];

	int			nevents;
	int64		events_lost;	/* for which there was no room */
	TaskqEvent	events[TASKQ_EVENTS];
	ConditionVariable event_room;
	pg_atomic_uint32 feed_readers;	/* that wait for something new in a feed */
	ConditionVariable fed;

	/* who is waited for: see waiting.c */
	int			nended;
	TaskqEnded	ended[TASKQ_ENDED];
	uint32		generation;		/* of the filter, counted from 1 */
	bool		turning;		/* the half before is still good for somebody */
	int			half;			/* of the filter, that bits are set in */
	int64		bits_set;		/* in it */
	int64		bits_full;		/* so many are too many; 0: the preset */
	uint64		filter[2][TASKQ_FILTER_BITS / 64];

	pg_atomic_uint32 databases_gone;	/* counts those that were forgotten */
	pg_atomic_uint64 definitions;	/* counts committed changes of kinds,
									 * queues, lanes' homes */
	pg_atomic_uint32 waiters;
	ConditionVariable finished[TASKQ_WAIT_BUCKETS];
	ConditionVariable finished_any; /* for those who wait for one of many */
	pg_atomic_uint32 watchers;	/* see watched.c */
	ConditionVariable watched[TASKQ_WAIT_BUCKETS];
	ConditionVariable slots_changed;	/* a worker or dispatcher left */
	pg_atomic_uint32 claimers;
	ConditionVariable claimable;	/* something may be there for external
									 * workers */

	TaskqSlot	slots[TASKQ_MAX_WORKERS];
	TaskqDb    *dbs;
	TaskqLane  *lanes;
	TaskqPrepared *prepared;	/* max_prepared_xacts of them */
	pg_uuid_t  *bounds;			/* of each process's transaction, by its
								 * number: its ids are not less; zero for none */
	pg_atomic_uint32 *calls;	/* of each process, by its number */
	pg_atomic_uint64 *settings_read;	/* ... when the settings were read
										 * that it goes by, if it is ours */
} TaskqShared;

extern TaskqShared *taskq_shared;
extern LWLock *taskq_main_lock;

extern void taskq_shmem_part(Size (*size) (void), void (*init) (void));
extern void taskq_shmem_init(void);
extern void taskq_require_preload(void);
extern LWLock *taskq_slot_lock(int slot);
extern void taskq_wake_proc(int procno);
extern uint32 taskq_calls(void);
extern TimestampTz taskq_settings_read(const TaskqDb *db);
extern bool taskq_sleep(uint32 calls, long ms, uint32 wait_event);
extern void taskq_wake_launcher(void);
extern void taskq_wake_dispatcher(TaskqDb *db);
extern void taskq_call_dispatcher(void);
extern bool taskq_db_paused(Oid dbid);
extern TaskqDb *taskq_db_find(Oid dbid);
extern TaskqDb *taskq_db_mine(void);
extern void taskq_leaf_written(int leaf);
extern TaskqDb *taskq_db_enter(Oid dbid);
extern void taskq_wake_dispatchers(void);
extern void taskq_wake_other_dispatchers(void);

#endif
