/*-------------------------------------------------------------------------
 *
 * foreach.c
 *		Schedules that submit a task for each object of a query.
 *
 * A run of such a schedule is a task of its owner, a command that calls
 * schedule_foreach: so the query runs in a session of the owner's, and is
 * timed, cancelled and retried like any other work.
 *
 * When each object ran last is kept in a table of its own, by due time: the
 * tasks themselves are forgotten when their retention is over, and an object
 * is not passed over because its last run began a moment late.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "api/foreach.h"
#include "api/submit.h"
#include "base/args.h"
#include "base/shmem.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "lanes/schedule.h"
#include "miscadmin.h"
#include "store/rights.h"
#include "store/state.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/plancache.h"

#define PORTION 1000			/* tasks submitted at once */
#define LONGEST_NAME 200		/* of an object; of a longer one the digest */

/* An object of the query. */
typedef struct Object
{
	char	   *name;
	Datum		payload;
} Object;

/* The objects that have their turn, until they are submitted. */
typedef struct Turn
{
	const TaskqSchedule *schedule;
	TimestampTz due;
	TaskqScheduleObject records[PORTION];
	Datum		payloads[PORTION];
	int			n;
	int64		submitted;
} Turn;

/* ---- the query ---- */

static void
bad_query(const char *message)
{
	taskq_invalid(psprintf("foreach %s", message),
				  "Argument \"foreach\" is a query that gives a payload (jsonb) for each object, and if need be a name of the object (text).");
}

static void
check_columns(TupleDesc desc)
{
	if (desc == NULL || desc->natts < 1 || desc->natts > 2)
		bad_query("does not give one column, or two");
	if (TupleDescAttr(desc, 0)->atttypid != JSONBOID)
		bad_query("does not give a payload of type jsonb");
	if (desc->natts == 2 && TupleDescAttr(desc, 1)->atttypid != TEXTOID)
		bad_query("does not give the object's name as text");
}

/*
 * taskq_foreach_check - raise an error unless it is a query that the caller
 * could run, with the columns that it shall have
 */
void
taskq_foreach_check(const char *query)
{
	SPIPlanPtr	plan;
	List	   *sources;

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	plan = SPI_prepare(query, 0, NULL);
	if (plan == NULL)
		bad_query("is not a query");
	sources = SPI_plan_get_plan_sources(plan);
	if (list_length(sources) != 1)
		bad_query("is not one query");
	check_columns(((CachedPlanSource *) linitial(sources))->resultDesc);
	SPI_finish();
}

/* As it is, or a digest of what is long. */
static char *
object_name(char *name)
{
	Datum		digest;

	if (strlen(name) <= LONGEST_NAME)
		return name;
	digest = DirectFunctionCall1(sha256_bytea, CStringGetTextDatum(name));
	return TextDatumGetCString(DirectFunctionCall2(binary_encode, digest,
												   CStringGetTextDatum("hex")));
}

static char *
payload_text(Datum payload)
{
	Jsonb	   *value = DatumGetJsonbP(payload);

	return JsonbToCString(NULL, &value->root, VARSIZE(value));
}

/* The schedule's payload with what the query says. */
static Datum
merge_payload(const TaskqSchedule *schedule, Datum payload)
{
	Jsonb	   *own = DatumGetJsonbP(schedule->payload);

	if (!JB_ROOT_IS_OBJECT(own) || JB_ROOT_COUNT(own) == 0 ||
		!JB_ROOT_IS_OBJECT(DatumGetJsonbP(payload)))
		return payload;
	return DirectFunctionCall2(jsonb_concat, JsonbPGetDatum(own), payload);
}

/* A row of the query; false if it has no payload. */
static bool
read_object(const TaskqSchedule *schedule, HeapTuple tuple, TupleDesc desc,
			Object *object)
{
	bool		isnull;
	Datum		payload = SPI_getbinval(tuple, desc, 1, &isnull);
	bool		unnamed = true;
	Datum		name = (Datum) 0;

	if (isnull)
		return false;
	payload = PointerGetDatum(PG_DETOAST_DATUM_COPY(payload));
	if (desc->natts == 2)
		name = SPI_getbinval(tuple, desc, 2, &unnamed);
	object->name = object_name(unnamed ? payload_text(payload)
							   : TextDatumGetCString(name));
	object->payload = merge_payload(schedule, payload);
	taskq_check_size(DatumGetJsonbP(object->payload), "foreach");
	return true;
}

/* Run the query; the objects are in the calling context, *n of them. */
static Object *
read_objects(const TaskqSchedule *schedule, int64 *n)
{
	MemoryContext context = CurrentMemoryContext;
	Object	   *objects;
	int			result;

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	result = SPI_execute(schedule->foreach, false, 0);
	if (result < 0 || SPI_tuptable == NULL)
		bad_query("gives no rows");
	check_columns(SPI_tuptable->tupdesc);
	MemoryContextSwitchTo(context);
	objects = palloc_extended(sizeof(Object) * Max(SPI_tuptable->numvals, 1),
							  MCXT_ALLOC_HUGE);
	*n = 0;
	for (uint64 i = 0; i < SPI_tuptable->numvals; i++)
		*n += read_object(schedule, SPI_tuptable->vals[i],
						  SPI_tuptable->tupdesc, &objects[*n]);
	SPI_finish();
	return objects;
}

/* ---- which of them run ---- */

/*
 * Is it this object's turn?
 *
 * Its last task may be gone: then it was over, and nobody knows better than
 * that it completed.
 */
static bool
has_turn(const Turn *turn, TaskqScheduleObject *last)
{
	const TaskqSchedule *schedule = turn->schedule;
	TaskqRow	row;
	char		state = taskq_store_find(&last->task, &row)
	? taskq_row_state(&row) : TASKQ_COMPLETED;
	TimestampTz counted;

	if (state == TASKQ_COMPLETED)
		last->completed_at = last->submitted_at;
	if (!taskq_state_final(state) && !schedule->overlap)
		return false;
	counted = schedule->counts == TASKQ_COUNTS_COMPLETED ? last->completed_at
		: last->submitted_at;
	return schedule->skip_within_us == 0 || counted == DT_NOEND ||
		turn->due - counted >= schedule->skip_within_us;
}

/* Submit the tasks of those that have their turn, and remember it. */
static void
submit_turn(Turn *turn)
{
	TaskqSubmit submit;
	pg_uuid_t	ids[PORTION];

	if (turn->n == 0)
		return;
	taskq_schedule_task(&submit, turn->schedule, turn->due);
	taskq_submit_rows(&submit, turn->payloads, turn->n, ids);
	for (int i = 0; i < turn->n; i++)
	{
		turn->records[i].task = ids[i];
		turn->records[i].submitted_at = turn->due;
		taskq_schedule_object_write(NameStr(turn->schedule->name),
									&turn->records[i]);
	}
	CommandCounterIncrement();
	turn->submitted += turn->n;
	turn->n = 0;
}

/* Those seen in this run: one that the query has twice runs once. */
static HTAB *
make_seen(int64 n)
{
	HASHCTL		ctl = {.keysize = LONGEST_NAME + 1,.entrysize = LONGEST_NAME + 1,
	.hcxt = CurrentMemoryContext};

	return hash_create("taskq objects", Max(n, 16), &ctl,
					   HASH_ELEM | HASH_STRINGS | HASH_CONTEXT);
}

/* Go through the objects; returns how many had their turn. */
static int64
run_objects(const TaskqSchedule *schedule, TimestampTz due, Object *objects,
			int64 n)
{
	Turn	   *turn = palloc0(sizeof(Turn));
	HTAB	   *seen = make_seen(n);

	turn->schedule = schedule;
	turn->due = due;
	for (int64 i = 0; i < n; i++)
	{
		TaskqScheduleObject *record = &turn->records[turn->n];
		bool		twice;

		CHECK_FOR_INTERRUPTS();
		(void) hash_search(seen, objects[i].name, HASH_ENTER, &twice);
		if (twice ||
			(taskq_schedule_object_find(NameStr(schedule->name),
										objects[i].name, record) &&
			 !has_turn(turn, record)))
			continue;
		turn->payloads[turn->n++] = objects[i].payload;
		if (turn->n == PORTION)
			submit_turn(turn);
	}
	submit_turn(turn);
	return turn->submitted;
}

/* The schedule, which must be the caller's own, and its tenant's. */
static void
require_own(const char *name, TaskqSchedule *schedule)
{
	if (!taskq_schedule_find(name, schedule) ||
		!has_privs_of_role(GetUserId(), schedule->owner_oid) ||
		!taskq_tenant_may_see(schedule->tenant == 0 ? NULL
							  : TextDatumGetCString(schedule->tenant)))
		ereport(ERROR,
				(errcode(ERRCODE_TASK_NOT_FOUND),
				 errmsg("schedule \"%s\" does not exist", name),
				 errhint("View taskq.schedule lists them.")));
	if (GetUserId() != schedule->owner_oid)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("the query of schedule \"%s\" runs only as its owner", name),
				 errhint("Use taskq.schedule_run().")));
	if (schedule->foreach == NULL)
		taskq_invalid_argument("name", "is that of a schedule without foreach");
}

PG_FUNCTION_INFO_V1(taskq_schedule_foreach);

/*
 * taskq_schedule_foreach - schedule_foreach(name, due) returns how many tasks
 * it has submitted
 *
 * Runs the query as the caller, who must be the owner.  Locks the schedule
 * from the end of the query to that of the transaction.
 */
Datum
taskq_schedule_foreach(PG_FUNCTION_ARGS)
{
	char	   *name = taskq_arg_name(fcinfo, 0, "name");
	TimestampTz due = PG_ARGISNULL(1) ? GetCurrentTimestamp()
	: PG_GETARG_TIMESTAMPTZ(1);
	TaskqSchedule schedule;
	TaskqScheduleState state;
	Object	   *objects;
	int64		n;

	taskq_require_preload();
	PreventCommandIfReadOnly("taskq.schedule_foreach()");
	taskq_defs_begin();
	require_own(name, &schedule);
	objects = read_objects(&schedule, &n);

	/* it may be dropped by now, or another's */
	taskq_defs_begin();
	if (taskq_schedule_state_lock(name, true, &state) != TASKQ_LOCKED)
		PG_RETURN_INT64(0);
	require_own(name, &schedule);
	PG_RETURN_INT64(run_objects(&schedule, due, objects, n));
}
