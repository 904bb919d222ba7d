/*-------------------------------------------------------------------------
 *
 * alerts.c
 *		Table "alert".
 *
 * What is known of an alert that fires is in "alert_state", which the
 * dispatcher alone writes, by taskq_internal.alerts_check().
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/indexing.h"
#include "store/alerts.h"
#include "store/cache.h"
#include "utils/builtins.h"

/* taskq_alert_find - is there an alert of this name? */
bool
taskq_alert_find(const char *name)
{
	TupleDesc	desc;

	return taskq_defs_read(TASKQ_REL_ALERT, TASKQ_REL_ALERT_PKEY, name,
						   &desc) != NULL;
}

/*
 * taskq_alert_write - create an alert, or replace the columns told (NULL:
 * all) of the one that is there; returns what has changed
 */
Datum
taskq_alert_write(const char *name, Datum *values, bool *nulls,
				  const bool *replace)
{
	return taskq_defs_write(TASKQ_REL_ALERT, TASKQ_REL_ALERT_PKEY, name,
							values, nulls, replace, Natts_alert);
}

/* taskq_alert_delete - an alert and what is known of it; false: there is none */
bool
taskq_alert_delete(const char *name)
{
	TaskqRead	read;
	ScanKeyData key;
	HeapTuple	tuple;

	taskq_key(&key, 1, F_TEXTEQ, CStringGetTextDatum(name));
	taskq_read_begin(&read, TASKQ_REL_ALERT, TASKQ_REL_ALERT_PKEY,
					 ShareRowExclusiveLock, 1, &key);
	tuple = taskq_read_next(&read);
	if (tuple != NULL)
		CatalogTupleDelete(read.rel, &tuple->t_self);
	taskq_defs_changed(&read);
	if (tuple != NULL)
		taskq_read_delete(TASKQ_REL_ALERT_STATE, TASKQ_REL_ALERT_STATE_PKEY,
						  RowExclusiveLock, 1, &key);
	return tuple != NULL;
}

/* taskq_alerts_any - has anybody defined one? */
bool
taskq_alerts_any(void)
{
	TaskqRead	read;
	bool		any;

	taskq_read_begin_all(&read, TASKQ_REL_ALERT, AccessShareLock);
	any = taskq_read_next(&read) != NULL;
	taskq_read_end(&read);
	return any;
}
