/*-------------------------------------------------------------------------
 *
 * watch.c
 *		Telling who keeps dead rows from being removed.
 *
 * Part of the dispatcher's pass.  taskq itself does not get slower by dead
 * rows; everything else in the database does, and the disk fills.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "base/clock.h"
#include "base/guc.h"
#include "catalog/pg_type.h"
#include "dispatch/dispatcher.h"
#include "dispatch/pass.h"
#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#define LOOK_MS 60000			/* between two looks, and so between two
								 * warnings */
#define MANY_DEAD_ROWS 50000

static void
warn(void)
{
	bool		isnull;
	char	   *holder = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc,
									  1);
	int64		dead = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0],
												   SPI_tuptable->tupdesc, 2,
												   &isnull));
	char	   *since = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc,
									 3);

	ereport(WARNING,
			(errmsg("taskq has " INT64_FORMAT " dead rows that cannot be removed", dead),
			 errdetail("The oldest snapshot is held by %s, since %s.", holder, since ? since : "some time"),
			 errhint("End that transaction, or drop that replication slot, if it is not needed.")));
}

/*
 * taskq_watch_snapshots - now and then see whether an old snapshot is in the
 * way of many dead rows
 */
void
taskq_watch_snapshots(void)
{
	static TimestampTz last = 0;
	TimestampTz now = taskq_steady_now();
	Oid			types[2] = {INT8OID, INT8OID};
	Datum		args[2] = {Int64GetDatum(MANY_DEAD_ROWS),
	Int64GetDatum(taskq_warn_snapshot_age)};

	if (taskq_warn_snapshot_age < 0 ||
		(last != 0 &&
		 !TimestampDifferenceExceeds(last, now,
									 Min(LOOK_MS, Max(taskq_warn_snapshot_age,
													  1000)))))
		return;
	last = now;
	taskq_pass_begin();
	SPI_connect();
	if (SPI_execute_with_args("SELECT o.holder, d.rows, o.since"
							  " FROM taskq_internal.oldest_snapshot() o, taskq_internal.dead_rows() d(rows)"
							  " WHERE d.rows >= $1 AND o.since <= pg_catalog.clock_timestamp() - $2 * interval '1 ms'",
							  2, types, args, NULL, true, 1) != SPI_OK_SELECT)
		elog(ERROR, "could not look for old snapshots");
	if (SPI_processed > 0)
		warn();
	SPI_finish();
	taskq_pass_commit();
	MemoryContextSwitchTo(taskq_dispatcher.context);
}
