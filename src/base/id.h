/* id.h: task ids, UUID version 7 with the leaf's number inside */
#ifndef TASKQ_ID_H
#define TASKQ_ID_H

#include "postgres.h"
#include "datatype/timestamp.h"
#include "storage/itemptr.h"
#include "utils/uuid.h"

#define TASKQ_RING 16			/* leaves of the ring */
#define TASKQ_KEEP 16			/* the leaf for what outlives a turn of the
								 * ring */
#define TASKQ_LEAVES 17

/* A task's place in the order of due times. */
typedef struct TaskqDue
{
	TimestampTz due;
	pg_uuid_t	id;
} TaskqDue;

/*
 * A task, and where its row was when it was seen last (tid invalid: not
 * known).
 */
typedef struct TaskqRef
{
	pg_uuid_t	id;
	ItemPointerData tid;
	int16		leaf;
} TaskqRef;

extern void taskq_id_make(pg_uuid_t *id);
extern void taskq_id_bound(pg_uuid_t *id);
extern void taskq_id_at(TimestampTz when, pg_uuid_t *id);
extern int64 taskq_ring_period_ms(void);
extern int	taskq_ring_leaf(TimestampTz when);
extern int	taskq_id_slot(const pg_uuid_t *id);
extern int	taskq_id_node(const pg_uuid_t *id);
extern TimestampTz taskq_id_time(const pg_uuid_t *id);
extern void taskq_id_next(pg_uuid_t *id);
extern void taskq_id_previous(pg_uuid_t *id);
extern void taskq_id_last(TimestampTz when, pg_uuid_t *id);
extern char *taskq_id_text(const pg_uuid_t *id);

static inline int
taskq_id_cmp(const pg_uuid_t *a, const pg_uuid_t *b)
{
	return memcmp(a->data, b->data, UUID_LEN);
}

static inline bool
taskq_id_eq(const pg_uuid_t *a, const pg_uuid_t *b)
{
	return memcmp(a->data, b->data, UUID_LEN) == 0;
}

static inline int
taskq_due_cmp(const TaskqDue *a, const TaskqDue *b)
{
	if (a->due != b->due)
		return a->due < b->due ? -1 : 1;
	return taskq_id_cmp(&a->id, &b->id);
}

/* The lowest and the highest of all. */
static inline void
taskq_due_first(TaskqDue *due)
{
	due->due = DT_NOBEGIN;
	memset(&due->id, 0, UUID_LEN);
}

static inline void
taskq_due_none(TaskqDue *due)
{
	due->due = DT_NOEND;
	memset(&due->id, 0xff, UUID_LEN);
}

/* The lowest id of all: no real one, but not zero, which stands for none. */
static inline void
taskq_id_lowest(pg_uuid_t *id)
{
	memset(id, 0, UUID_LEN);
	id->data[UUID_LEN - 1] = 1;
}

static inline bool
taskq_id_is_lowest(const pg_uuid_t *id)
{
	pg_uuid_t	lowest;

	taskq_id_lowest(&lowest);
	return taskq_id_eq(id, &lowest);
}

/* Set *a to the smaller of both. */
static inline void
taskq_id_lower(pg_uuid_t *a, const pg_uuid_t *b)
{
	if (taskq_id_cmp(b, a) < 0)
		*a = *b;
}

#endif
