/*-------------------------------------------------------------------------
 *
 * alerts.c
 *		Alerts that fire, and running tasks that stand still.
 *
 * Part of the dispatcher's pass, every taskq.alert_interval as long as
 * something waits, runs or fires; otherwise nobody looks, and no process is
 * there for it.  What is compared is taskq_internal.alerts_check(), in SQL: it
 * sees what operators see.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "base/clock.h"
#include "base/guc.h"
#include "base/shmem.h"
#include "catalog/pg_type.h"
#include "dispatch/dispatcher.h"
#include "dispatch/pass.h"
#include "executor/spi.h"
#include "lanes/counts.h"
#include "lanes/event.h"
#include "miscadmin.h"
#include "store/alerts.h"
#include "store/defs.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

/* Tasks that listeners have been told of, by id and attempt. */
typedef struct Told
{
	pg_uuid_t	id;
	int16		attempt;
} Told;

static Told *told = NULL;
static int	ntold = 0;

/* Is there an alert?  Read anew whenever something was defined. */
static bool
any_alert(void)
{
	static uint64 of = PG_UINT64_MAX;	/* not known */
	static bool any = false;
	uint64		definitions =
	pg_atomic_read_u64(&taskq_shared->definitions);

	if (of == definitions)
		return any;
	taskq_pass_begin();
	taskq_defs_begin();
	any = taskq_alerts_any();
	taskq_pass_commit();
	of = definitions;
	return any;
}

/*
 * Does something run, or did since it was last counted?  What waits is
 * something for alerts only.
 */
static bool
anything(bool alerts)
{
	bool		found = taskq_dispatcher.db->leases > 0 || taskq_counts_any();
	int			n = taskq_shared->nlanes;

	LWLockAcquire(taskq_main_lock, LW_SHARED);
	for (int i = 0; i < n && !found; i++)
	{
		const TaskqLane *lane = &taskq_shared->lanes[i];

		found = lane->dbid == MyDatabaseId &&
			((alerts && lane->waiting > 0) || lane->running > 0);
	}
	LWLockRelease(taskq_main_lock);
	return found;
}

/* See which alerts fire; true if one does, or may soon. */
static bool
check_alerts(void)
{
	bool		isnull;
	bool		again;

	taskq_pass_begin();
	SPI_connect();
	if (SPI_execute("SELECT c.again FROM taskq_internal.alerts_check() c",
					false, 1) != SPI_OK_SELECT || SPI_processed != 1)
		elog(ERROR, "could not check alerts");
	again = DatumGetBool(SPI_getbinval(SPI_tuptable->vals[0],
									   SPI_tuptable->tupdesc, 1, &isnull));
	SPI_finish();
	taskq_pass_commit();
	return again;
}

static bool
was_told(const Told *of)
{
	for (int i = 0; i < ntold; i++)
	{
		if (taskq_id_eq(&told[i].id, &of->id) &&
			told[i].attempt == of->attempt)
			return true;
	}
	return false;
}

/* A row of the query below. */
static Told
told_from_row(int i)
{
	HeapTuple	row = SPI_tuptable->vals[i];
	TupleDesc	desc = SPI_tuptable->tupdesc;
	bool		isnull;
	Told		of;

	of.id = *DatumGetUUIDP(SPI_getbinval(row, desc, 1, &isnull));
	of.attempt = DatumGetInt16(SPI_getbinval(row, desc, 2, &isnull));
	return of;
}

/*
 * Tell listeners, once, of running tasks that have shown no sign of life for
 * longer than usual.  A dispatcher that was started later tells them again.
 */
static void
tell_stalled(void)
{
	Told	   *now;
	int			n;

	taskq_pass_begin();
	SPI_connect();
	if (SPI_execute("SELECT s.id, s.attempt FROM taskq.stalled s",
					false, 1000) != SPI_OK_SELECT)
		elog(ERROR, "could not look for stalled tasks");
	n = SPI_processed;
	now = MemoryContextAlloc(TopMemoryContext, sizeof(Told) * Max(n, 1));
	for (int i = 0; i < n; i++)
	{
		now[i] = told_from_row(i);
		if (!was_told(&now[i]))
			taskq_event_stalled(&now[i].id);
	}
	SPI_finish();
	taskq_pass_commit();
	if (told != NULL)
		pfree(told);
	told = now;
	ntold = n;
}

/*
 * taskq_check_alerts - look after alerts and stalled tasks, if it is time
 */
void
taskq_check_alerts(void)
{
	TaskqDb    *db = taskq_dispatcher.db;
	TimestampTz now = GetCurrentTimestamp();
	TimestampTz next = now + taskq_alert_interval * INT64CONST(1000);
	bool		alerts = any_alert();
	bool		again;

	if (db->next_check <= now)
	{
		again = alerts && check_alerts();
		tell_stalled();
		db->next_check = again ? next : DT_NOEND;
	}
	/* nor later than that if the clock was set back meanwhile */
	if (anything(alerts) || (alerts && db->next_check != DT_NOEND))
		db->next_check = Min(db->next_check, next);
	else
		db->next_check = DT_NOEND;
	taskq_look_again_at(db->next_check);
}
