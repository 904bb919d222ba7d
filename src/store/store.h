/*-------------------------------------------------------------------------
 *
 * store.h
 *		The tables: which there are, and how one is opened.
 *
 * Only files of this folder touch them, a file each: tasks.c and leaves.c,
 * labels.c, logs.c, ready.c, timers.c, attempts.c, leases.c, dependencies.c, kinds.c,
 * queues.c, pauses.c, roles.c, lanedefs.c.
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

#include "base/id.h"
#include "utils/relcache.h"
#include "utils/snapshot.h"

/*
 * What taskq_internal.script_version() says, where the script and this
 * library belong together.  Count it up with each change of the tables, or of
 * what a C function takes or returns.  (A test builds a library of another
 * number.)
 */
#ifndef TASKQ_SCRIPT_VERSION
#define TASKQ_SCRIPT_VERSION 1
#endif

#define TASKQ_LIBRARY_FIRST \
	"Restart the server with the library that belongs to that version first."

/*
 * The tables and indexes, by their place in the arrays of names in store.c:
 * first those of which each leaf has one (a family), then the others.
 */
typedef enum TaskqRelation
{
	TASKQ_REL_LEAF = 0,			/* 17 leaves */
	TASKQ_REL_LEAF_PKEY = TASKQ_REL_LEAF + TASKQ_LEAVES,
	TASKQ_REL_LEAF_LANE = TASKQ_REL_LEAF_PKEY + TASKQ_LEAVES,
	TASKQ_REL_LABEL = TASKQ_REL_LEAF_LANE + TASKQ_LEAVES,
	TASKQ_REL_LABEL_IDX = TASKQ_REL_LABEL + TASKQ_LEAVES,
	TASKQ_REL_LOG = TASKQ_REL_LABEL_IDX + TASKQ_LEAVES,
	TASKQ_REL_LOG_IDX = TASKQ_REL_LOG + TASKQ_LEAVES,
	TASKQ_REL_TIMER = TASKQ_REL_LOG_IDX + TASKQ_LEAVES,
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
	TASKQ_REL_PAUSE,
	TASKQ_REL_PAUSE_PKEY,
	TASKQ_REL_ATTEMPT,
	TASKQ_REL_ATTEMPT_PKEY,
	TASKQ_REL_LEASE,
	TASKQ_REL_LEASE_PKEY,
	TASKQ_REL_READY,
	TASKQ_REL_READY_PKEY,
	TASKQ_REL_WATERMARK,
	TASKQ_REL_WATERMARK_PKEY,
	TASKQ_REL_SCHEDULE,
	TASKQ_REL_SCHEDULE_PKEY,
	TASKQ_REL_SCHEDULE_STATE,
	TASKQ_REL_SCHEDULE_STATE_PKEY,
	TASKQ_REL_SCHEDULE_STATE_LOOK_AT,
	TASKQ_REL_SCHEDULE_OBJECT,
	TASKQ_REL_SCHEDULE_OBJECT_PKEY,
	TASKQ_REL_DEPENDENCY,
	TASKQ_REL_DEPENDENCY_PKEY,
	TASKQ_REL_BLOCKED,
	TASKQ_REL_BLOCKED_PKEY,
	TASKQ_REL_KEYED,
	TASKQ_REL_KEYED_PKEY,
	TASKQ_REL_UNIQUE,
	TASKQ_REL_UNIQUE_PKEY,
	TASKQ_REL_UNIQUE_KEY,
	TASKQ_REL_LINK_TASK,
	TASKQ_REL_LINK_TASK_PKEY,
	TASKQ_REL_LINK,
	TASKQ_REL_LINK_PKEY,
	TASKQ_REL_LINK_OBJECT,
	TASKQ_REL_TEMPLATE,
	TASKQ_REL_TEMPLATE_PKEY,
	TASKQ_REL_STEP,
	TASKQ_REL_STEP_PKEY,
	TASKQ_REL_LABEL_KEEP_ID,
	TASKQ_REL_SECRET,
	TASKQ_REL_SECRET_PKEY,
	TASKQ_REL_AUDIT,
	TASKQ_REL_AUDIT_PKEY,
	TASKQ_REL_AUDIT_TASK,
	TASKQ_REL_ROLLUP,
	TASKQ_REL_ROLLUP_PKEY,
	TASKQ_REL_STOCK,
	TASKQ_REL_STOCK_PKEY,
	TASKQ_REL_ALERT,
	TASKQ_REL_ALERT_PKEY,
	TASKQ_REL_ALERT_STATE,
	TASKQ_REL_ALERT_STATE_PKEY,
	TASKQ_REL_FEED,
	TASKQ_REL_FEED_PKEY,
	TASKQ_REL_OUTBOX,
	TASKQ_REL_OUTBOX_LAST = TASKQ_REL_OUTBOX + 3,
	TASKQ_NRELS
} TaskqRelation;

extern void taskq_store_begin(void);
extern void taskq_store_init(void);
extern bool taskq_store_ready(void);
extern bool taskq_store_mismatched(void);
extern void taskq_store_report_version(int elevel);
extern void taskq_store_require(void);
extern int32 taskq_store_script(void);
extern void taskq_store_changed(int32 before);
extern Oid	taskq_store_oid(TaskqRelation which);
extern bool taskq_store_is(TaskqRelation which, Oid oid);
extern Relation taskq_store_open(TaskqRelation which, int lockmode);
extern Snapshot taskq_store_snapshot(void);

#endif
