/*-------------------------------------------------------------------------
 *
 * pauses.c
 *		Table "pause": what is paused: everything, queues, kinds.
 *
 * A row for each, so that a pause outlives the server and goes to standbys
 * and dumps, and so that what is paused need not be defined.  The cache has
 * all rows, which are few.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "catalog/indexing.h"
#include "miscadmin.h"
#include "store/cache.h"
#include "store/pauses.h"
#include "store/rows.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

/*
 * columns of taskq_internal.pause: scope, name, since, role, reason; the name
 * is empty where all is paused
 */
#define Natts_pause 5

typedef struct Pause
{
	char		scope;
	NameData	name;
}			Pause;

static List *pauses = NIL;
static bool loaded = false;

/* taskq_pauses_forget - an empty cache */
void
taskq_pauses_forget(void)
{
	pauses = NIL;
	loaded = false;
}

static void
load(void)
{
	TaskqRead	read;
	HeapTuple	tuple;
	MemoryContext old = MemoryContextSwitchTo(taskq_defs_context);

	pauses = NIL;
	taskq_read_begin_all(&read, TASKQ_REL_PAUSE, AccessShareLock);
	while ((tuple = taskq_read_next(&read)) != NULL)
	{
		Pause	   *pause = palloc0(sizeof(Pause));

		pause->scope = DatumGetChar(taskq_read_column(&read, tuple, 1));
		namestrcpy(&pause->name,
				   TextDatumGetCString(taskq_read_column(&read, tuple, 2)));
		pauses = lappend(pauses, pause);
	}
	taskq_read_end(&read);
	MemoryContextSwitchTo(old);
	loaded = true;
}

/*
 * taskq_paused - is this queue or kind paused, or (scope all) everything?
 *
 * Needs a transaction; taskq_defs_begin was called.
 */
bool
taskq_paused(char scope, const char *name)
{
	ListCell   *lc;

	if (!loaded)
		load();
	foreach(lc, pauses)
	{
		const		Pause *pause = lfirst(lc);

		if (pause->scope == scope && strcmp(NameStr(pause->name), name) == 0)
			return true;
	}
	return false;
}

/*
 * taskq_lane_pause - what is paused, so that tasks of this lane may not be
 * started now: everything, their queue, their kind; or TASKQ_PAUSE_NONE
 */
char
taskq_lane_pause(const TaskqLaneDef *lane)
{
	if (taskq_paused(TASKQ_PAUSE_ALL, ""))
		return TASKQ_PAUSE_ALL;
	if (taskq_paused(TASKQ_PAUSE_QUEUE, NameStr(lane->queue)))
		return TASKQ_PAUSE_QUEUE;
	if (taskq_paused(TASKQ_PAUSE_KIND, NameStr(lane->kind)))
		return TASKQ_PAUSE_KIND;
	return TASKQ_PAUSE_NONE;
}

/* Find the row, with the table locked against other writers from then on. */
static HeapTuple
find(TaskqRead *read, char scope, const char *name)
{
	ScanKeyData keys[2];

	taskq_key(&keys[0], 1, F_CHAREQ, CharGetDatum(scope));
	taskq_key(&keys[1], 2, F_TEXTEQ, CStringGetTextDatum(name));
	taskq_read_begin(read, TASKQ_REL_PAUSE, TASKQ_REL_PAUSE_PKEY,
					 ShareRowExclusiveLock, lengthof(keys), keys);
	return taskq_read_next(read);
}

/*
 * taskq_pause_read - who paused this, when and why; false if it is not paused
 *
 * Reads the table, for whoever explains; its strings are palloc'd.
 */
bool
taskq_pause_read(char scope, const char *name, TaskqPause *pause)
{
	ScanKeyData keys[2];
	TaskqRead	read;
	HeapTuple	tuple;
	Datum		values[Natts_pause];
	bool		nulls[Natts_pause];
	Oid			role;

	taskq_key(&keys[0], 1, F_CHAREQ, CharGetDatum(scope));
	taskq_key(&keys[1], 2, F_TEXTEQ, CStringGetTextDatum(name));
	taskq_read_begin(&read, TASKQ_REL_PAUSE, TASKQ_REL_PAUSE_PKEY,
					 AccessShareLock, lengthof(keys), keys);
	tuple = taskq_read_next(&read);
	if (tuple != NULL)
	{
		taskq_rows_deform(tuple, RelationGetDescr(read.rel), values, nulls,
						  Natts_pause);
		pause->since = DatumGetTimestampTz(values[2]);
		if (nulls[3] ||
			!taskq_role_read(DatumGetInt32(values[3]), &pause->role, &role))
			namestrcpy(&pause->role, "");
		pause->reason = nulls[4] ? NULL : TextDatumGetCString(values[4]);
	}
	taskq_read_end(&read);
	return tuple != NULL;
}

/* taskq_pause_write - remember a pause; false if there was one already */
bool
taskq_pause_write(char scope, const char *name, const char *reason)
{
	Datum		values[Natts_pause] = {0};
	bool		nulls[Natts_pause] = {false};
	int32		role = taskq_role_id(GetUserId());
	TaskqRead	read;
	bool		found = find(&read, scope, name) != NULL;

	values[0] = CharGetDatum(scope);
	values[1] = CStringGetTextDatum(name);
	values[2] = TimestampTzGetDatum(GetCurrentTimestamp());
	values[3] = Int32GetDatum(role);
	nulls[4] = reason == NULL;
	if (reason != NULL)
		values[4] = CStringGetTextDatum(reason);
	if (!found)
		taskq_rows_insert_one(read.rel, values, nulls, Natts_pause);
	taskq_defs_changed(&read);
	return !found;
}

/* taskq_pause_delete - forget a pause; false if there was none */
bool
taskq_pause_delete(char scope, const char *name)
{
	TaskqRead	read;
	HeapTuple	tuple = find(&read, scope, name);

	if (tuple != NULL)
		CatalogTupleDelete(read.rel, &tuple->t_self);
	taskq_defs_changed(&read);
	return tuple != NULL;
}
