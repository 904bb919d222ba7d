/* rollups.h: table "rollup": what was counted, by minute, hour and day */
#ifndef TASKQ_ROLLUPS_H
#define TASKQ_ROLLUPS_H

#include "postgres.h"

#include "base/histogram.h"
#include "datatype/timestamp.h"
#include "utils/hsearch.h"
#include "utils/snapshot.h"

#define TASKQ_GROUP_NAME 128	/* longer ones are counted with the others */

/* what a group is of */
#define TASKQ_GROUP_LANE 'l'	/* a lane; tenant; name: number of the role
								 * that submitted, if it is another one */
#define TASKQ_GROUP_WORKER 'w'	/* a role; name: its worker */
#define TASKQ_GROUP_TAG 't'		/* the role that submitted; tenant, name: the
								 * tag */
#define TASKQ_GROUP_MEMBER 'm'	/* likewise; name: member=value */
#define TASKQ_GROUP_QUEUE 'q'	/* a role; name: a queue's length, sampled */
#define TASKQ_GROUP_BUSY 'b'	/* a role: how long its workers were there */

/* spans of rows; all: since the extension was made */
#define TASKQ_SPAN_MINUTE 'm'
#define TASKQ_SPAN_HOUR 'h'
#define TASKQ_SPAN_DAY 'd'
#define TASKQ_SPAN_ALL 'a'

/*
 * What is counted together.  All of it is compared, so make it by memset and
 * strlcpy.
 */
typedef struct TaskqGroup
{
	char		type;
	char		outcome;		/* the state that an attempt came to: 'c',
								 * 'f', 'x', or 't' if it is tried again; '-'
								 * for what is no task's */
	int32		of;				/* number of a lane or role; 0: of those for
								 * which there was no room */
	char		tenant[TASKQ_GROUP_NAME];
	char		name[TASKQ_GROUP_NAME];
} TaskqGroup;

/* What attempts have used; the last one is the highest, others are sums. */
typedef enum TaskqResource
{
	TASKQ_CPU_USER_US,
	TASKQ_CPU_SYSTEM_US,
	TASKQ_BLOCKS_HIT,
	TASKQ_BLOCKS_READ,
	TASKQ_BLOCKS_WRITTEN,
	TASKQ_TEMP_BYTES,
	TASKQ_WAL_BYTES,
	TASKQ_PEAK_MEMORY,
	TASKQ_RESOURCES
} TaskqResource;

/*
 * The numbers.  For a queue's length: n samples, wait_us the sum of what
 * waited, run_us of what ran, max_us the most that waited.  For workers: n
 * and wait_us how long they were there, run_us how long they were busy.
 */
typedef struct TaskqCounts
{
	int64		n;
	int64		started;		/* of these have run, so have the times */
	int64		wait_us;		/* from when it could run to when it did */
	int64		run_us;
	int64		max_us;			/* the longest run */
	int64		resources[TASKQ_RESOURCES];
	int64		waits[TASKQ_BUCKETS];
	int64		runs[TASKQ_BUCKETS];
} TaskqCounts;

/* What was counted of a group. */
typedef struct TaskqCounted
{
	TaskqGroup	group;
	TaskqCounts counts;
} TaskqCounted;

/*
 * Groups for which there is room, when there is not for all.  Names of tags,
 * members and workers outside are of anybody's choice, and may be many: they
 * leave half of the room to lanes, and a role leaves half of either to others.
 */
#define TASKQ_SHARES 64

typedef struct TaskqShares
{
	int			all;
	int			chosen;			/* of these, names of anybody's choice */
	int			of_role[TASKQ_SHARES];	/* by a hash of the role */
	int			chosen_of_role[TASKQ_SHARES];
} TaskqShares;

typedef void (*TaskqRollupVisit) (TimestampTz at, const TaskqCounted *counted,
								  void *arg);

extern void taskq_counts_sum(TaskqCounts *sum, const TaskqCounts *counts);
extern Datum taskq_counts_array(const int64 *numbers, int n);
extern void taskq_counts_from_array(Datum datum, int64 *numbers, int n);
extern bool taskq_rollup_add(char span, TimestampTz at, bool insert,
							 const TaskqCounted *counted);
extern void taskq_rollup_shares(char span, TimestampTz at,
								TaskqShares *shares);
extern bool taskq_shares_room(const TaskqShares *shares,
							  const TaskqGroup *group, int32 role, int room);
extern void taskq_shares_add(TaskqShares *shares, const TaskqGroup *group,
							 int32 role, int n);
extern int32 taskq_group_role(const TaskqGroup *group);
extern void taskq_group_other(TaskqGroup *group);
extern void taskq_rollup_visit(char span, TimestampTz from, TimestampTz until,
							   const char *types, Snapshot snapshot,
							   TaskqRollupVisit visit, void *arg);
extern TaskqCounts *taskq_counts_entry(HTAB *table, const TaskqGroup *group);
extern void taskq_rollup_sum(char span, TimestampTz from, TimestampTz until,
							 const char *types, bool bare, Snapshot snapshot,
							 HTAB *table);
extern int	taskq_rollup_forget(char span, TimestampTz before, int max);

#endif
