/*-------------------------------------------------------------------------
 *
 * id.c
 *		Task ids: UUID version 7 (RFC 9562, 5.7) with the leaf's number inside.
 *
 * 48 bits of milliseconds, 12 bits of the fraction of a millisecond (method 3
 * of 6.2: the microsecond can be had back from it), 6 bits for the leaf, 10
 * for the node (taskq.node), 46 random bits.  Ids made by one backend rise;
 * across backends they are as good as the clock, and nothing relies on more
 * (see lane.c).
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "base/guc.h"
#include "base/id.h"
#include "base/shmem.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "port/pg_bswap.h"
#include "utils/fmgrprotos.h"
#include "utils/timestamp.h"

#define UNIX_EPOCH_US \
	((int64) (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * USECS_PER_DAY)
#define END_MS (INT64CONST(1) << 48)	/* no id has a time from then on, in
										 * the year 10889 */

/*
 * The random part, drawn for many ids at a time: a system call costs more
 * than an id.
 */
static uint8 *
random_bytes(void)
{
	static uint8 pool[7 * 64];
	static int	used = sizeof(pool);

	if (used == sizeof(pool))
	{
		if (!pg_strong_random(pool, sizeof(pool)))
			ereport(ERROR,
					(errcode(ERRCODE_INTERNAL_ERROR),
					 errmsg("could not generate random values")));
		used = 0;
	}
	used += 7;
	return pool + used - 7;
}

/*
 * taskq_ring_period_ms - how long ids name the same leaf: a twelfth of the
 * retention, so that there is room to empty others
 *
 * Where nothing is to be emptied that is the longest there is.
 */
int64
taskq_ring_period_ms(void)
{
	int64		minutes = taskq_retention < 0 ? TASKQ_MAX_RETENTION
	: taskq_retention;

	return Max(minutes * 60 * 1000 / 12, 1000);
}

/*
 * taskq_ring_leaf - the leaf that ids made at this time name
 *
 * One that still holds what the last turn of the ring left there would not be
 * emptied before the next: then it is the leaf before it.
 */
int
taskq_ring_leaf(TimestampTz when)
{
	int			leaf = (when + UNIX_EPOCH_US) / 1000 / taskq_ring_period_ms() %
	TASKQ_RING;
	TaskqDb    *db = taskq_db_mine();
	uint32		closed = db == NULL ? 0 : pg_atomic_read_u32(&db->closed);

	for (int i = 0; i < TASKQ_RING; i++)
	{
		int			other = (leaf + TASKQ_RING - i) % TASKQ_RING;

		if (!(closed & 1u << other))
			return other;
	}
	return leaf;
}

static int64 last_us = 0;		/* of the last id made here */

/*
 * The time for the next id: later than that of the last one, whatever the
 * clock says.
 */
static int64
next_us(TimestampTz now)
{
	return Max(now + UNIX_EPOCH_US, last_us + 1);
}

static void
set_time(pg_uuid_t *id, int64 us)
{
	uint64		high = pg_hton64((uint64) (us / 1000) << 16 | UINT64CONST(0x7000) |
								 (uint64) (us % 1000) * 4096 / 1000);

	memcpy(id->data, &high, 8);
}

/*
 * taskq_id_make - make a new id
 *
 * Raises an error only when the system has no random numbers.
 */
void
taskq_id_make(pg_uuid_t *id)
{
	TimestampTz now = GetCurrentTimestamp();
	int64		us = next_us(now);

	last_us = us;
	set_time(id, us);
	/* by the clock as it is, though it may have been set back */
	id->data[8] = 0x80 | (uint8) taskq_ring_leaf(now);
	memcpy(id->data + 9, random_bytes(), 7);
	/* whoever has an id knows from it which server has the task */
	id->data[9] = taskq_node >> 2;
	id->data[10] = (id->data[10] & 0x3f) | (taskq_node & 3) << 6;
}

/* taskq_id_bound - no id that this process makes from here on is less */
void
taskq_id_bound(pg_uuid_t *id)
{
	int64		us = next_us(GetCurrentTimestamp());

	last_us = us - 1;
	memset(id, 0, sizeof(*id));
	set_time(id, us);
}

/*
 * taskq_id_at - the least id made at this time, or at the nearest that an id
 * can have
 */
void
taskq_id_at(TimestampTz when, pg_uuid_t *id)
{
	memset(id, 0, sizeof(*id));
	if (when >= END_MS * 1000 - UNIX_EPOCH_US)
		memset(id, 0xff, sizeof(*id));
	else if (when > -UNIX_EPOCH_US)
		set_time(id, when + UNIX_EPOCH_US);
}

/*
 * taskq_id_slot - the leaf an id names
 *
 * Any uuid may be asked about: those that aren't ours map to some leaf too,
 * where they will not be found.
 */
int
taskq_id_slot(const pg_uuid_t *id)
{
	return (id->data[8] & 0x3f) % TASKQ_RING;
}

/*
 * taskq_id_node - the number of the server that made an id: its taskq.node at
 * that time
 */
int
taskq_id_node(const pg_uuid_t *id)
{
	return id->data[9] << 2 | id->data[10] >> 6;
}

/* taskq_id_time - when an id was made */
TimestampTz
taskq_id_time(const pg_uuid_t *id)
{
	uint64		high;
	int64		ms;
	int64		fraction;

	memcpy(&high, id->data, 8);
	high = pg_ntoh64(high);
	ms = high >> 16;
	fraction = (high & 0xfff) * 1000;
	return ms * 1000 + (fraction + 4095) / 4096 - UNIX_EPOCH_US;
}

/* taskq_id_next - the next greater uuid, in place; the greatest stays */
void
taskq_id_next(pg_uuid_t *id)
{
	for (int i = UUID_LEN - 1; i >= 0; i--)
	{
		if (++id->data[i] != 0)
			return;
	}
	memset(id->data, 0xff, UUID_LEN);
}

/* taskq_id_previous - the next less uuid, in place; the least stays */
void
taskq_id_previous(pg_uuid_t *id)
{
	for (int i = UUID_LEN - 1; i >= 0; i--)
	{
		if (id->data[i]-- != 0)
			return;
	}
	memset(id->data, 0, UUID_LEN);
}

/* taskq_id_last - the greatest uuid of a time */
void
taskq_id_last(TimestampTz when, pg_uuid_t *id)
{
	uint64		high = pg_hton64((uint64) ((when + UNIX_EPOCH_US) / 1000) << 16 |
								 0xffff);

	memset(id->data, 0xff, UUID_LEN);
	memcpy(id->data, &high, 8);
}

/*
 * taskq_id_text - palloc'd text form
 *
 * Each task that is run has its id shown once, so not by uuid_out, which adds
 * a character at a time to a growing string.
 */
char *
taskq_id_text(const pg_uuid_t *id)
{
	static const char digits[] = "0123456789abcdef";
	char	   *text = palloc(2 * UUID_LEN + 4 + 1);
	char	   *end = text;

	for (int i = 0; i < UUID_LEN; i++)
	{
		if (i == 4 || i == 6 || i == 8 || i == 10)
			*end++ = '-';
		*end++ = digits[id->data[i] >> 4];
		*end++ = digits[id->data[i] & 15];
	}
	*end = '\0';
	return text;
}

PG_FUNCTION_INFO_V1(taskq_id_slot_sql);

/* taskq_id_slot_sql - the slot of the ring that an id names */
Datum
taskq_id_slot_sql(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT16(taskq_id_slot(PG_GETARG_UUID_P(0)));
}

PG_FUNCTION_INFO_V1(taskq_id_time_sql);

/* taskq_id_time_sql - when an id was made */
Datum
taskq_id_time_sql(PG_FUNCTION_ARGS)
{
	PG_RETURN_TIMESTAMPTZ(taskq_id_time(PG_GETARG_UUID_P(0)));
}

PG_FUNCTION_INFO_V1(taskq_task_node);

/* taskq_task_node - task_node(id uuid) returns int; looks at the id only */
Datum
taskq_task_node(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT32(taskq_id_node(PG_GETARG_UUID_P(0)));
}
