/*
 * defs.h: kinds, queues, roles and lanes: their tables and this backend's
 * cache of them
 */
#ifndef TASKQ_DEFS_H
#define TASKQ_DEFS_H

#include "postgres.h"

#include "datatype/timestamp.h"
#include "fmgr.h"
#include "nodes/pg_list.h"
#include "utils/jsonb.h"

/* columns of taskq_internal.kind */
enum
{
	Anum_kind_name = 1,
	Anum_kind_handler,
	Anum_kind_queue,
	Anum_kind_priority,
	Anum_kind_max_attempts,
	Anum_kind_timeout,
	Anum_kind_backoff,
	Anum_kind_backoff_max,
	Anum_kind_retry_on,
	Anum_kind_max_running,
	Anum_kind_rate,
	Anum_kind_rate_period,
	Anum_kind_run_as,
	Anum_kind_retention,
	Anum_kind_batch,
	Anum_kind_description,
	Anum_kind_owner,
	Anum_kind_updated_at,
	Anum_kind_version,
	Anum_kind_handler_by,
	Anum_kind_same_handler,
	Anum_kind_hooks,
	Anum_kind_hook_owners,
	Anum_kind_hook_versions,
	Anum_kind_hooks_by,
	Anum_kind_settings,
	Anum_kind_category,
	Anum_kind_max_running_per_key,
	Anum_kind_cancellable,
	Anum_kind_indexed,
	Anum_kind_indexed_since,
	Natts_kind = Anum_kind_indexed_since
};

/* columns of taskq_internal.queue */
enum
{
	Anum_queue_name = 1,
	Anum_queue_max_running,
	Anum_queue_retention,
	Anum_queue_description,
	Anum_queue_updated_at,
	Anum_queue_rate,
	Anum_queue_rate_period,
	Anum_queue_reserved,
	Natts_queue = Anum_queue_reserved
};

/* privileges on kinds */
#define TASKQ_GRANT_SUBMIT 's'
#define TASKQ_GRANT_WORK 'w'	/* for the caller's tenant, if it has one */
#define TASKQ_GRANT_WORK_ALL 'W'	/* for all tenants */

typedef struct TaskqKindGrant
{
	char		privilege;
	Oid			role;			/* InvalidOid if it is gone */
} TaskqKindGrant;

/* The kind of task_submit_sql's tasks; it has no row. */
#define TASKQ_SQL_KIND "sql"

/* How many tasks of a kind or queue may run, or be started. */
typedef struct TaskqLimit
{
	int32		max_running;	/* 0: no limit */
	int32		rate;			/* so many ...; 0: no limit */
	int64		rate_us;		/* ... in so long */
} TaskqLimit;

/* When a kind that hooks name is submitted: in the order of the columns. */
typedef enum TaskqHookEvent
{
	TASKQ_ON_SUCCESS,
	TASKQ_ON_FAILURE,
	TASKQ_ON_CANCEL,
	TASKQ_HOOKS
}			TaskqHookEvent;

/* A kind that is submitted when a task of another one has ended. */
typedef struct TaskqHook
{
	NameData	kind;			/* "": none */
	int32		owner_id;		/* of that kind, when it was chosen: another
								 * owner's is another kind */
	int64		version;		/* likewise */
}			TaskqHook;

typedef struct TaskqKind
{
	NameData	name;
	char	   *handler;		/* NULL: run by external workers */
	char	   *category;		/* or NULL */
	NameData	queue;
	int16		priority;
	int16		max_attempts;
	bool		batch;			/* tasks may share transactions */
	bool		cancellable;	/* also without force */
	int64		timeout_ms;		/* 0: none */
	int			max_running_per_key;
	TaskqLimit	limit;
	int64		backoff_ms;
	int64		backoff_max_ms;
	List	   *retry_on;		/* of SQLSTATEs and classes, as strings; NIL:
								 * the default */
	Oid			handler_oid;	/* InvalidOid: there is no such function now */
	int32		run_as_id;		/* 0: the submitter */
	Oid			run_as_oid;
	NameData	run_as;
	int32		owner_id;
	Oid			owner_oid;
	NameData	owner;
	int64		version;		/* another one: somebody who is no superuser
								 * chose another handler, settings or hooks */
	Oid			handler_by;		/* who chose handler and settings; InvalidOid
								 * if that role is gone */
	NameData	handler_by_name;
	int64	   *same_handler;	/* earlier versions that differ in the hooks
								 * only */
	int			nsame_handler;
	int64		retention_us;	/* 0: as its queue says */
	bool		hooked;			/* it has hooks */
	TaskqHook	hooks[TASKQ_HOOKS];
	Oid			hooks_by;		/* who chose them; InvalidOid */
	Jsonb	   *settings;		/* or NULL */
	List	   *indexed;		/* members of payload and metadata, strings */
	TimestampTz indexed_since;	/* all of them are named since then; what was
								 * submitted before, or by a transaction that
								 * was under way, may have no label */
	List	   *grants;			/* of TaskqKindGrant */
} TaskqKind;

typedef struct TaskqQueue
{
	NameData	name;
	int64		retention_us;	/* 0: as usual */
	bool		defined;		/* by somebody; the cache's */
	TaskqLimit	limit;
	int32		reserved;		/* places for workers that others leave to it */
} TaskqQueue;

/*
 * Tasks with a concurrency key are in lanes of their own, whose numbers are
 * negative.
 */
#define taskq_lane_keyed(id) ((id) < 0)

typedef struct TaskqLaneDef
{
	int32		id;
	int32		role;
	int16		priority;
	NameData	queue;
	NameData	kind;
	int32		kind_owner;		/* of the kind when the lane was made: another
								 * owner's is another kind */
	int64		kind_version;	/* likewise; see taskq_kind_check_run */
	int64		tenant;			/* 0: of tasks without; see lanedefs.c */
	bool		foreign;		/* made in another server or database */
	NameData	role_name;
	Oid			role_oid;		/* of that name here; InvalidOid if it is
								 * another role by now */
} TaskqLaneDef;

extern uint64 taskq_defs_generation;	/* counted up when the caches are
										 * dropped */

extern uint64 taskq_kinds_retained(void);
extern uint64 taskq_queues_retained(void);
extern void taskq_defs_init(void);
extern void taskq_defs_begin(void);
extern void taskq_defs_doubt(void);
extern bool taskq_defs_current(void);

extern const TaskqKind *taskq_kind_get(const char *name);
extern const TaskqKind *taskq_lane_kind(const TaskqLaneDef *lane);
extern bool taskq_lane_cancellable(const TaskqLaneDef *lane);
extern Oid	taskq_handler_oid(const char *handler);
extern Datum taskq_kind_write(const char *name, Datum *values, bool *nulls);
extern Datum taskq_kind_change(const char *name, Datum *values, bool *nulls,
							   const bool *replace);
extern bool taskq_kind_delete(const char *name);
extern bool taskq_kind_grant_write(const char *kind, char privilege,
								   int32 role, bool grant);
extern bool taskq_kinds_have_queue(const char *queue);
extern const TaskqQueue *taskq_queue_get(const char *name);
extern List *taskq_queues_reserved(void);
extern Datum taskq_queue_write(const char *name, Datum *values, bool *nulls,
							   const bool *replace);
extern bool taskq_queue_delete(const char *name);
extern int32 taskq_role_id(Oid role);
extern List *taskq_role_ids(void);
extern bool taskq_role_read(int32 id, Name name, Oid *oid);
extern Oid	taskq_role_resolve(const char *name, Oid oid, int64 system);
extern const TaskqLaneDef *taskq_lane_get(int32 id);
extern bool taskq_lane_of_one_tenant(const TaskqLaneDef *lane);
extern int64 taskq_tenant_number(const char *tenant);
extern bool taskq_lane_has_tenant(const TaskqLaneDef *lane, int64 number);
extern List *taskq_lanes_of_tenant(const char *tenant);
extern const TaskqLaneDef *taskq_lane_of_tenant(const TaskqLaneDef *lane,
												const char *tenant);
extern const TaskqLaneDef *taskq_lane_for(Oid role, const char *queue,
										  const char *kind_name,
										  const TaskqKind *kind,
										  int16 priority, bool keyed);
extern const TaskqLaneDef *taskq_lane_like(const TaskqLaneDef *lane,
										   int16 priority,
										   const char *tenant);
extern List *taskq_lane_ids(void);
extern bool taskq_lanes_have_queue(const char *queue);
extern int	taskq_lanes_take_over(void);

extern char *taskq_setting_text(const JsonbValue *value);
extern char *taskq_arg_queue(FunctionCallInfo fcinfo, int n);

#endif
