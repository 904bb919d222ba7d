/*-------------------------------------------------------------------------
 *
 * store.h
 *		The tables.  store.c and defs.c are the only code that touches them.
 *
 * Rows are read and written with the table and index access methods, not with
 * SQL: no plan, no trigger, no search_path, no row security and no privilege
 * of the current user has a say, and a read-only or serializable transaction
 * can still finish its task.
 *
 *-------------------------------------------------------------------------
 */
#ifndef TASKQ_STORE_H
#define TASKQ_STORE_H

#include "postgres.h"

#include "access/genam.h"
#include "access/htup.h"
#include "base/id.h"
#include "datatype/timestamp.h"
#include "nodes/pg_list.h"
#include "utils/relcache.h"
#include "utils/snapshot.h"

/*
 * What taskq_internal.script_version() says, where the script and this
 * library belong together.  Count it up with each change of the tables, or of
 * what a C function takes or returns.
 */
#define TASKQ_SCRIPT_VERSION 1

/* columns of taskq_internal.task */
enum
{
	Anum_task_id = 1,
	Anum_task_lane,
	Anum_task_slot,
	Anum_task_attempt,
	Anum_task_state,
	Anum_task_max_attempts,
	Anum_task_submitted_by,
	Anum_task_timeout_ms,
	Anum_task_run_at,
	Anum_task_started_at,
	Anum_task_finished_at,
	Anum_task_result,
	Anum_task_error,
	Anum_task_worker,
	Anum_task_progress,
	Anum_task_cancel_reason,
	Anum_task_crashes,
	Anum_task_depth,
	Anum_task_tags,
	Anum_task_metadata,
	Anum_task_parent,
	Anum_task_retry_of,
	Anum_task_workflow,
	Anum_task_claims,
	Anum_task_tenant,
	Anum_task_payload,
	Natts_task = Anum_task_payload
};

/* states as stored */
#define TASKQ_PENDING 'p'
#define TASKQ_SCHEDULED 's'
#define TASKQ_RETRYING 't'
#define TASKQ_BLOCKED 'b'
#define TASKQ_RUNNING 'r'
#define TASKQ_LEASED 'e'
#define TASKQ_COMPLETED 'c'
#define TASKQ_FAILED 'f'
#define TASKQ_CANCELLED 'x'

/* outcomes of attempts as stored */
#define TASKQ_ATTEMPT_FAILED 'f'
#define TASKQ_ATTEMPT_LOST 'l'

/* One task as read from its leaf. */
typedef struct TaskqRow
{
	int			leaf;
	ItemPointerData tid;
	TransactionId xmin;			/* FrozenTransactionId if that is long ago */
	HeapTuple	whole;			/* with columns that are not taskq's, or NULL
								 * if there are none */
	Datum		values[Natts_task];
	bool		nulls[Natts_task];
} TaskqRow;

#define taskq_row_value(row, column) ((row)->values[Anum_task_##column - 1])
#define taskq_row_isnull(row, column) ((row)->nulls[Anum_task_##column - 1])
#define taskq_row_set(row, column, datum) \
	((row)->values[Anum_task_##column - 1] = (datum), \
	 (row)->nulls[Anum_task_##column - 1] = false)
#define taskq_row_set_null(row, column) \
	((row)->nulls[Anum_task_##column - 1] = true)

typedef enum TaskqLockResult
{
	TASKQ_LOCKED,
	TASKQ_MISSING,
	TASKQ_BUSY					/* somebody else has the row locked */
} TaskqLockResult;

/* The tables and indexes, by their place in the arrays of names in store.c */
typedef enum TaskqRelation
{
	TASKQ_REL_LEAF = 0,			/* 17 leaves */
	TASKQ_REL_LEAF_PKEY = TASKQ_REL_LEAF + TASKQ_LEAVES,
	TASKQ_REL_LEAF_LANE = TASKQ_REL_LEAF_PKEY + TASKQ_LEAVES,
	TASKQ_REL_TIMER = TASKQ_REL_LEAF_LANE + TASKQ_LEAVES,
	TASKQ_REL_TIMER_PKEY,
	TASKQ_REL_ROLE,
	TASKQ_REL_ROLE_PKEY,
	TASKQ_REL_ROLE_OID,
	TASKQ_REL_ROLE_SEQ,
	TASKQ_REL_LANE,
	TASKQ_REL_LANE_PKEY,
	TASKQ_REL_LANE_KIND,
	TASKQ_REL_LANE_SEQ,
	TASKQ_REL_KIND,
	TASKQ_REL_KIND_PKEY,
	TASKQ_REL_KIND_GRANT,
	TASKQ_REL_KIND_GRANT_PKEY,
	TASKQ_REL_QUEUE,
	TASKQ_REL_QUEUE_PKEY,
	TASKQ_REL_ATTEMPT,
	TASKQ_REL_ATTEMPT_PKEY,
	TASKQ_REL_LEASE,
	TASKQ_REL_LEASE_PKEY,
	TASKQ_REL_READY,
	TASKQ_REL_READY_PKEY,
	TASKQ_REL_WATERMARK,
	TASKQ_REL_WATERMARK_PKEY,
	TASKQ_NRELS
} TaskqRelation;

/* What a lease says; see the table. */
typedef struct TaskqLease
{
	ItemPointerData tid;
	pg_uuid_t	task;
	pg_uuid_t	token;
	TimestampTz until;			/* steady time */
	TimestampTz deadline;		/* steady time, or DT_NOEND */
	TimestampTz timer;			/* due time of its timer, by the system's
								 * clock */
	int64		lease_ms;
	bool		cancel;
	bool		told;
	TimestampTz updated_at;
	Datum		progress;		/* jsonb, or 0 */
} TaskqLease;

extern void taskq_store_begin(void);
extern void taskq_store_init(void);
extern bool taskq_store_ready(void);
extern bool taskq_store_mismatched(void);
extern void taskq_store_report_version(int elevel);
extern void taskq_store_require(void);
extern Oid	taskq_store_oid(TaskqRelation which);
extern bool taskq_store_is(TaskqRelation which, Oid oid);
extern Relation taskq_store_open(TaskqRelation which, int lockmode);
extern Snapshot taskq_store_snapshot(void);

extern void taskq_store_new_row(TaskqRow *row);
extern void taskq_store_insert(TaskqRow *rows, int nrows);
extern bool taskq_store_find(const pg_uuid_t *id, TaskqRow *row);
extern bool taskq_store_leaves_free(const pg_uuid_t *id);
extern TaskqLockResult taskq_store_lock(const pg_uuid_t *id, bool wait,
										TaskqRow *row);
extern TaskqLockResult taskq_store_lock_seen(const TaskqRef *ref,
											 TaskqRow *row);
extern void taskq_store_update(TaskqRow *row);
extern void taskq_store_delete(TaskqRow *row);

/*
 * is a claimable task, as a snapshot has it, one of those that are looked
 * for?
 */
typedef bool (*TaskqStoreFilter) (HeapTuple tuple, TupleDesc desc);
extern int	taskq_store_scan(int leaf, int32 lane, const pg_uuid_t *from,
							 Snapshot snapshot, TaskqStoreFilter filter,
							 int max, TaskqRef *found, pg_uuid_t *seen,
							 bool *exhausted);

extern bool taskq_row_over(const TaskqRow *row, TimestampTz cutoff);
extern BlockNumber taskq_store_pick(int leaf, BlockNumber block, int nblocks,
									bool over, TimestampTz cutoff, int max,
									TaskqRef *found, int *n);
extern bool taskq_store_ends(int leaf, TimestampTz now, pg_uuid_t *oldest,
							 pg_uuid_t *newest);
extern void taskq_store_truncate(int leaf);

extern void taskq_timer_insert(TimestampTz due, const pg_uuid_t *id,
							   int32 lane);
extern void taskq_timer_delete(TimestampTz due, const pg_uuid_t *id);

extern int	taskq_timer_next(TimestampTz *due, pg_uuid_t *id, int max,
							 pg_uuid_t *ids, TimestampTz *dues);

/* ready.c */
extern void taskq_ready_insert(int32 lane, TimestampTz due,
							   const pg_uuid_t *id);
extern void taskq_ready_delete(int32 lane, TimestampTz due,
							   const pg_uuid_t *id);
extern int	taskq_ready_scan(int32 lane, const TaskqDue *from,
							 Snapshot snapshot, TaskqStoreFilter filter,
							 int max, TaskqRef *found, TaskqDue *dues,
							 bool *exhausted);
extern void taskq_ready_tidy(int32 lane);
extern bool taskq_watermark_read(int32 lane, pg_uuid_t *id);
extern bool taskq_watermark_highest(pg_uuid_t *id);
extern void taskq_watermark_write(int32 lane, const pg_uuid_t *id);

extern void taskq_attempt_insert(const TaskqRow *row, int attempt,
								 char outcome, Datum error);
extern void taskq_attempts_delete(const pg_uuid_t *id);
extern int	taskq_attempts_next(pg_uuid_t *from, int max, pg_uuid_t *ids);
extern void taskq_attempts_forget(const pg_uuid_t *id);

extern void taskq_lease_insert(TaskqLease *lease);
extern bool taskq_lease_find(const pg_uuid_t *id, TaskqLease *lease);
extern void taskq_lease_update(TaskqLease *lease);
extern void taskq_lease_delete(const pg_uuid_t *id);
extern List *taskq_lease_ids(void);

#endif
