/*
 * schedules.h: tables schedule and schedule_state: what is submitted again and
 * again
 */
#ifndef TASKQ_SCHEDULES_H
#define TASKQ_SCHEDULES_H

#include "postgres.h"

#include "base/id.h"
#include "datatype/timestamp.h"
#include "storage/itemptr.h"
#include "store/defs.h"
#include "store/tasks.h"

/* columns of taskq_internal.schedule */
enum
{
	Anum_schedule_name = 1,
	Anum_schedule_kind,
	Anum_schedule_cron,
	Anum_schedule_every,
	Anum_schedule_payload,
	Anum_schedule_foreach,
	Anum_schedule_timezone,
	Anum_schedule_overlap,
	Anum_schedule_missed,
	Anum_schedule_skip_within,
	Anum_schedule_counts,
	Anum_schedule_enabled,
	Anum_schedule_options,
	Anum_schedule_description,
	Anum_schedule_owner,
	Anum_schedule_claims,
	Anum_schedule_tenant,
	Anum_schedule_updated_at,
	Anum_schedule_system,
	Anum_schedule_database,
	Anum_schedule_kind_owner,
	Anum_schedule_kind_version,
	Natts_schedule = Anum_schedule_kind_version
};

/* What becomes of due times at which it could not run. */
#define TASKQ_MISSED_SKIP 's'
#define TASKQ_MISSED_ONCE 'o'
#define TASKQ_MISSED_ALL 'a'

/* What a run of an object is. */
#define TASKQ_COUNTS_SUBMITTED 's'
#define TASKQ_COUNTS_COMPLETED 'c'

/* A schedule as it was defined; all of it in the current memory context. */
typedef struct TaskqSchedule
{
	NameData	name;
	char	   *kind;
	char	   *cron;			/* or NULL */
	int64		every_us;		/* or 0 */
	Datum		payload;		/* jsonb */
	char	   *foreach;		/* or NULL */
	char	   *timezone;		/* or NULL */
	bool		overlap;
	char		missed;
	int64		skip_within_us; /* or 0 */
	char		counts;
	bool		enabled;
	Datum		options;		/* jsonb, or 0 */
	NameData	owner;
	Oid			owner_oid;		/* InvalidOid if that role is gone */
	Datum		claims;			/* jsonb, or 0 */
	Datum		tenant;			/* text, or 0 */
	bool		foreign;		/* made in another server or database */
	int32		kind_owner;		/* of the kind when it was defined */
	int64		kind_version;
} TaskqSchedule;

/* What changes with each run; DT_NOEND: null. */
typedef struct TaskqScheduleState
{
	ItemPointerData tid;
	NameData	name;
	TimestampTz look_at;
	TimestampTz next_run;
	TimestampTz last_run;
	pg_uuid_t	last_task;
	bool		has_task;
	TimestampTz last_submit;
	int64		runs;
	int64		missed;
	int			failures;
	Datum		error;			/* jsonb, or 0 */
	TimestampTz error_at;
} TaskqScheduleState;

/* The last run of an object. */
typedef struct TaskqScheduleObject
{
	bool		is_new;
	ItemPointerData tid;
	const char *object;
	pg_uuid_t	task;
	TimestampTz submitted_at;	/* by its due time, as completed_at */
	TimestampTz completed_at;	/* DT_NOEND: none that is known */
} TaskqScheduleObject;

extern void taskq_schedules_lock(void);
extern bool taskq_schedule_find(const char *name, TaskqSchedule *schedule);
extern Datum taskq_schedule_write(const char *name, Datum *values, bool *nulls,
								  const bool *replace);
extern bool taskq_schedule_delete(const char *name);
extern List *taskq_schedules_of_tenant(const char *tenant);
extern List *taskq_schedules_take_over(void);

extern bool taskq_schedule_object_find(const char *schedule,
									   const char *object,
									   TaskqScheduleObject *record);
extern void taskq_schedule_object_write(const char *schedule,
										TaskqScheduleObject *record);

extern void taskq_schedule_state_new(TaskqScheduleState *state,
									 const char *name);
extern TaskqLockResult taskq_schedule_state_lock(const char *name, bool wait,
												 TaskqScheduleState *state);
extern void taskq_schedule_state_insert(TaskqScheduleState *state);
extern void taskq_schedule_state_update(TaskqScheduleState *state);
extern List *taskq_schedules_to_look_at(TimestampTz from, TimestampTz until,
										int max, TimestampTz *next);

#endif
