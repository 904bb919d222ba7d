/*-------------------------------------------------------------------------
 *
 * events.c
 *		events_since: the feed of tasks that have ended, page by page.
 *
 * A cursor is the number of the last event that its owner has seen, and which
 * feed that was.  What the feed has of a task is its id and state; all else is
 * read from its row, if it is still there and the caller may see it.  What
 * others may see moves the cursor on, too.
 *
 * The feed's rows need not be durable when they are seen; they are made so
 * before anybody is told, so a crash takes nothing back.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "api/patience.h"
#include "base/args.h"
#include "base/clock.h"
#include "base/compat.h"
#include "base/current.h"
#include "base/guc.h"
#include "base/json.h"
#include "base/shmem.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "lanes/announce.h"
#include "miscadmin.h"
#include "run/complete.h"
#include "storage/ipc.h"
#include "store/defs.h"
#include "store/feed.h"
#include "store/rights.h"
#include "store/state.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#define MAX_EVENTS 10000		/* that one call returns */
#define MAX_LOOKED 20000		/* ... and that it looks at before it says so */

/* Somebody reads the feed from a place on. */
typedef struct Reader
{
	int64		at;				/* number of the last event looked at */
	int			max;			/* events wanted */
	int			n;
	Datum	   *events;			/* jsonb, in context */
	bool		more;			/* there may be, by now */
	XLogRecPtr	durable_at;		/* what was found is durable from there on */
	MemoryContext context;
	MemoryContext scratch;		/* of one look */
}			Reader;

/* ---- the cursor ---- */

static char *
cursor_text(int64 at)
{
	return psprintf("%08x." INT64_FORMAT, taskq_feed_life(), at);
}

pg_noreturn static void
gone(const char *detail)
{
	ereport(ERROR,
			(errcode(ERRCODE_TASK_GONE),
			 errmsg("cursor of events is not valid any more"),
			 errdetail("%s", detail),
			 errhint("Begin again without a cursor, and look for what has ended meanwhile with taskq.task_list().")));
}

static int64
cursor_number(const char *text)
{
	char	   *end;
	unsigned long life;
	int64		number;

	errno = 0;
	life = strtoul(text, &end, 16);
	if (strspn(text, "0123456789abcdef") != 8 || *end != '.' ||
		end[1] == '\0' || strspn(end + 1, "0123456789") != strlen(end + 1))
		taskq_invalid_argument("cursor", "is not one that events_since() has returned");
	number = strtoi64(end + 1, NULL, 10);
	if (errno != 0 || number == PG_INT64_MAX)
		taskq_invalid_argument("cursor", "is not one that events_since() has returned");
	if (life != taskq_feed_life())
		gone("It is of another database, server, or installation of taskq.");
	return number;
}

/* ---- events ---- */

static void
push_id(JsonbParseState **state, const char *key, const TaskqRow *row,
		int column)
{
	if (!row->nulls[column - 1])
		taskq_json_text(state, key,
						taskq_id_text(DatumGetUUIDP(row->values[column - 1])));
}

static void
push_text(JsonbParseState **state, const char *key, const TaskqRow *row,
		  int column)
{
	if (!row->nulls[column - 1])
		taskq_json_text(state, key,
						TextDatumGetCString(row->values[column - 1]));
}

static void
push_time(JsonbParseState **state, const char *key, TimestampTz at)
{
	taskq_json_jsonb(state, key, taskq_to_jsonb(TimestampTzGetDatum(at),
												TIMESTAMPTZOID));
}

static Datum
event_jsonb(TaskqRow *row, const TaskqLaneDef *lane)
{
	JsonbParseState *state = NULL;

	taskq_json_begin(&state);
	push_id(&state, "task_id", row, Anum_task_id);
	taskq_json_text(&state, "state", taskq_state_name(taskq_row_state(row)));
	taskq_json_text(&state, "kind", NameStr(lane->kind));
	taskq_json_text(&state, "queue", NameStr(lane->queue));
	taskq_json_number(&state, "attempt",
					  DatumGetInt16(taskq_row_value(row, attempt)));
	push_time(&state, "created_at",
			  taskq_id_time(DatumGetUUIDP(taskq_row_value(row, id))));
	if (!taskq_row_isnull(row, started_at))
		push_time(&state, "started_at",
				  DatumGetTimestampTz(taskq_row_value(row, started_at)));
	if (!taskq_row_isnull(row, finished_at))
		push_time(&state, "finished_at",
				  DatumGetTimestampTz(taskq_row_value(row, finished_at)));
	push_text(&state, "tenant", row, Anum_task_tenant);
	push_id(&state, "parent", row, Anum_task_parent);
	push_id(&state, "retry_of", row, Anum_task_retry_of);
	push_id(&state, "workflow", row, Anum_task_workflow);
	if (!taskq_row_isnull(row, tags))
		taskq_json_texts(&state, "tags", taskq_row_value(row, tags));
	push_text(&state, "cancel_reason", row, Anum_task_cancel_reason);
	return taskq_json_end(&state);
}

/* Add an event, if its task is there and the caller's to see. */
static void
add_event(Reader * reader, const TaskqFeedEvent * event)
{
	MemoryContext old = MemoryContextSwitchTo(reader->scratch);
	const TaskqLaneDef *lane = NULL;
	TaskqRow	row;

	if (taskq_store_find(&event->id, &row) &&
		taskq_state_final(taskq_row_state(&row)))
		lane = taskq_lane_get(DatumGetInt32(taskq_row_value(&row, lane)));
	if (lane != NULL && taskq_row_may_see(lane, &row))
	{
		Datum		jsonb = event_jsonb(&row, lane);

		MemoryContextSwitchTo(reader->context);
		reader->events[reader->n++] = datumCopy(jsonb, false, -1);
	}
	MemoryContextSwitchTo(old);
	MemoryContextReset(reader->scratch);
}

/* Go on from where the reader is; true if it has found something. */
static bool
read_on(Reader * reader)
{
	static TaskqFeedPage page;
	int			looked = 0;

	taskq_defs_begin();
	while (reader->n < reader->max && looked < MAX_LOOKED)
	{
		reader->more = taskq_feed_next(reader->at, &page);
		if (!reader->more)
			return reader->n > 0;
		if (page.gone)
			gone("What came after it has been forgotten: see taskq.event_retention.");
		reader->durable_at = Max(reader->durable_at, page.durable_at);
		for (int i = 0; i < page.n && reader->n < reader->max; i++)
		{
			CHECK_FOR_INTERRUPTS();
			add_event(reader, &page.events[i]);
			reader->at = page.events[i].number;
			looked++;
		}
		if (page.n == 0)
			reader->at = page.end;
	}
	reader->more = taskq_feed_next(reader->at, &page);
	return reader->n > 0;
}

/* ---- waiting ---- */

static void
reader_leaves(int code, Datum arg)
{
	pg_atomic_fetch_sub_u32(&taskq_shared->feed_readers, 1);
}

/* Read, and sleep until there is something, or the time is over. */
static void
read_until(Reader * reader, TimestampTz deadline)
{
	pg_atomic_fetch_add_u32(&taskq_shared->feed_readers, 1);
	PG_ENSURE_ERROR_CLEANUP(reader_leaves, (Datum) 0);
	{
		ConditionVariablePrepareToSleep(&taskq_shared->fed);
		while (!read_on(reader))
		{
			long		ms = TimestampDifferenceMilliseconds(taskq_steady_now(),
															 deadline);

			if (ms <= 0)
				break;
			CHECK_FOR_INTERRUPTS();
			if (!reader->more)
				ConditionVariableTimedSleep(&taskq_shared->fed, ms,
											taskq_wait_event("TaskqEventsSince"));
		}
		ConditionVariableCancelSleep();
	}
	PG_END_ENSURE_ERROR_CLEANUP(reader_leaves, (Datum) 0);
	reader_leaves(0, (Datum) 0);
}

static void
refuse_to_wait(void)
{
	taskq_require_preload();
	if (RecoveryInProgress())
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot wait for events on a standby server"),
				 errhint("Wait on the primary server, or call this without wait.")));
	if (taskq_in_task())
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("cannot wait for events inside a task"),
				 errhint("Call this without wait.")));
}

/* ---- the call ---- */

static Datum
answer(const Reader * reader)
{
	JsonbParseState *state = NULL;
	JsonbValue	value;

	taskq_json_begin(&state);
	taskq_json_text(&state, "cursor", cursor_text(reader->at));
	taskq_json_key(&state, "events");
	pushJsonbValue(&state, WJB_BEGIN_ARRAY, NULL);
	for (int i = 0; i < reader->n; i++)
	{
		JsonbToJsonbValue(DatumGetJsonbP(reader->events[i]), &value);
		pushJsonbValue(&state, WJB_ELEM, &value);
	}
	pushJsonbValue(&state, WJB_END_ARRAY, NULL);
	taskq_json_key(&state, "more");
	value.type = jbvBool;
	value.val.boolean = reader->more;
	pushJsonbValue(&state, WJB_VALUE, &value);
	return taskq_json_end(&state);
}

static int
wanted_events(FunctionCallInfo fcinfo)
{
	int			n = PG_ARGISNULL(2) ? 1000 : PG_GETARG_INT32(2);

	if (n < 1 || n > MAX_EVENTS)
		taskq_invalid_argument("n", psprintf("must be between 1 and %d",
											 MAX_EVENTS));
	return n;
}

PG_FUNCTION_INFO_V1(taskq_events_since);

/*
 * taskq_events_since - (cursor text, wait interval, n int) returns jsonb: an
 * object of cursor, events, more
 *
 * Raises PT410 for a cursor after which something has been forgotten, 55000
 * where there is no feed, or where waiting never ends.
 */
Datum
taskq_events_since(PG_FUNCTION_ARGS)
{
	char	   *cursor = taskq_arg_text(fcinfo, 0, NULL);
	int64		wait_us = PG_ARGISNULL(1) ? 0
	: taskq_arg_interval_us(fcinfo, 1, "wait", 0);
	Reader		reader = {.max = wanted_events(fcinfo)};
	TimestampTz deadline;

	taskq_store_require();
	taskq_require_preload();
	taskq_tenant_check();
	if (taskq_event_retention == 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("events are not kept"),
				 errhint("Set taskq.event_retention to how long they shall be.")));
	if (wait_us > 0)
		refuse_to_wait();
	deadline = taskq_steady_now() +
		taskq_patience_us(Min(wait_us, INT64CONST(0x7fffffff) * 1000), true);
	reader.events = palloc(sizeof(Datum) * reader.max);
	reader.context = CurrentMemoryContext;
	reader.scratch = AllocSetContextCreate(CurrentMemoryContext,
										   "taskq events",
										   ALLOCSET_DEFAULT_SIZES);
	reader.at = cursor == NULL ? taskq_feed_last(&reader.durable_at)
		: cursor_number(cursor);
	if (wait_us == 0)
		(void) read_on(&reader);
	else
		read_until(&reader, deadline);
	taskq_flush(reader.durable_at);
	PG_RETURN_DATUM(answer(&reader));
}
