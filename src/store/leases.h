/* leases.h: table lease: what external workers hold */
#ifndef TASKQ_LEASES_H
#define TASKQ_LEASES_H

#include "postgres.h"

#include "base/id.h"
#include "datatype/timestamp.h"
#include "nodes/pg_list.h"
#include "storage/itemptr.h"

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

struct TaskqRow;

/*
 * Set by whoever counts leases: called when that of this task is about to be
 * deleted.
 */
extern void (*taskq_lease_ended) (struct TaskqRow *row);

extern void taskq_lease_insert(TaskqLease *lease);
extern bool taskq_lease_find(const pg_uuid_t *id, TaskqLease *lease);
extern void taskq_lease_update(TaskqLease *lease);
extern void taskq_lease_delete(const pg_uuid_t *id);
extern List *taskq_lease_ids(void);

#endif
