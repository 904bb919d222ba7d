/*-------------------------------------------------------------------------
 *
 * submit.c
 *		Submitting tasks.
 *
 * A task is one row, inserted in the caller's transaction; nothing else is
 * written.  That it is there becomes known to workers when the transaction
 * commits (note.c).
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_type.h"
#include "compat.h"
#include "defs.h"
#include "fmgr.h"
#include "funcapi.h"
#include "guc.h"
#include "miscadmin.h"
#include "note.h"
#include "state.h"
#include "submit.h"
#include "task.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

/* The options that all forms of submit share, in the order of their arguments. */
enum
{
	OPT_QUEUE,
	OPT_PRIORITY,
	OPT_RUN_AT,
	OPT_DELAY,
	OPT_TIMEOUT,
	OPT_MAX_ATTEMPTS,
	OPT_UNIQUE_KEY,
	OPT_ON_CONFLICT,
	OPT_UNIQUE_FOR,
	OPT_CONCURRENCY_KEY,
	OPT_DEPENDS_ON,
	OPT_ON_DEPENDENCY_FAILURE,
	OPT_PARENT,
	OPT_TAGS,
	OPT_METADATA,
	OPT_OPTIONS
};

typedef struct Submit
{
	const TaskqLaneDef *lane;
	Oid			submitter;
	TaskqRow	row;			/* all but id, slot, payload */
	bool		scheduled;
	TimestampTz run_at;
} Submit;

static void
invalid(const char *message, const char *hint)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("%s", message),
			 errhint("%s", hint)));
}

static void
refuse_unsupported(FunctionCallInfo fcinfo, int first)
{
	static const struct
	{
		int			option;
		const char *name;
	}			later[] = {
		{OPT_UNIQUE_KEY, "unique_key"},
		{OPT_ON_CONFLICT, "on_conflict"},
		{OPT_UNIQUE_FOR, "unique_for"},
		{OPT_CONCURRENCY_KEY, "concurrency_key"},
		{OPT_DEPENDS_ON, "depends_on"},
		{OPT_ON_DEPENDENCY_FAILURE, "on_dependency_failure"},
		{OPT_OPTIONS, "options"},
	};

	for (int i = 0; i < lengthof(later); i++)
	{
		if (!PG_ARGISNULL(first + later[i].option))
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("option \"%s\" is not supported by this version of taskq", later[i].name),
					 errhint("Leave argument \"%s\" out.", later[i].name)));
	}
}

/* taskq_check_role - raise an error unless a session of this role can be had in the background */
void
taskq_check_role(Oid role)
{
	HeapTuple	tuple = SearchSysCache1(AUTHOID, ObjectIdGetDatum(role));
	bool		login;

	if (!HeapTupleIsValid(tuple))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("role with OID %u does not exist", role)));
	login = ((Form_pg_authid) GETSTRUCT(tuple))->rolcanlogin;
	ReleaseSysCache(tuple);
	if (!login && !TASKQ_NOLOGIN_SESSIONS)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("role \"%s\" cannot run tasks because it may not log in", GetUserNameFromId(role, false)),
				 errhint("Give the role LOGIN, or define the kind with run_as naming a role that has it.")));
}

static int
priority_of(FunctionCallInfo fcinfo, int first, int preset)
{
	int			priority = PG_ARGISNULL(first + OPT_PRIORITY) ? preset : PG_GETARG_INT32(first + OPT_PRIORITY);

	taskq_check_priority(priority);
	return priority;
}

static int64
interval_us(Interval *interval)
{
	return interval->time + ((int64) interval->day + (int64) interval->month * DAYS_PER_MONTH) * USECS_PER_DAY;
}

/* When it shall run, from run_at and delay. */
static void
submit_when(Submit *submit, FunctionCallInfo fcinfo, int first)
{
	TimestampTz now = GetCurrentTimestamp();

	if (!PG_ARGISNULL(first + OPT_RUN_AT) && !PG_ARGISNULL(first + OPT_DELAY))
		invalid("run_at and delay cannot both be given",
				"Use argument \"run_at\" for a moment, or argument \"delay\" for a time from now.");
	if (!PG_ARGISNULL(first + OPT_RUN_AT))
	{
		submit->run_at = PG_GETARG_TIMESTAMPTZ(first + OPT_RUN_AT);
		if (TIMESTAMP_NOT_FINITE(submit->run_at))
			invalid("run_at must be finite", "Pass a moment in time as argument \"run_at\".");
	}
	else if (!PG_ARGISNULL(first + OPT_DELAY))
	{
		int64		delay = interval_us(PG_GETARG_INTERVAL_P(first + OPT_DELAY));

		if (delay < 0)
			invalid("delay must not be negative", "Argument \"delay\" is a time from now.");
		submit->run_at = now + delay;
		if (!IS_VALID_TIMESTAMP(submit->run_at))
			invalid("delay is too long", "Pass a shorter interval as argument \"delay\".");
	}
	else
		return;
	submit->scheduled = submit->run_at > now;
	taskq_row_set(&submit->row, run_at, TimestampTzGetDatum(submit->run_at));
}

static void
submit_options(Submit *submit, FunctionCallInfo fcinfo, int first)
{
	if (!PG_ARGISNULL(first + OPT_TIMEOUT))
	{
		int64		us = interval_us(PG_GETARG_INTERVAL_P(first + OPT_TIMEOUT));

		if (us < 1000)
			invalid("timeout must be positive", "Argument \"timeout\" is the longest an attempt may run.");
		taskq_row_set(&submit->row, timeout_ms, Int64GetDatum(us / 1000));
	}
	if (!PG_ARGISNULL(first + OPT_MAX_ATTEMPTS))
	{
		int			n = PG_GETARG_INT32(first + OPT_MAX_ATTEMPTS);

		taskq_check_max_attempts(n);
		taskq_row_set(&submit->row, max_attempts, Int16GetDatum(n));
	}
	if (!PG_ARGISNULL(first + OPT_PARENT))
	{
		TaskqRow	parent;

		taskq_task_require(PG_GETARG_UUID_P(first + OPT_PARENT), &parent);
		taskq_row_set(&submit->row, parent, PG_GETARG_DATUM(first + OPT_PARENT));
	}
	if (!PG_ARGISNULL(first + OPT_TAGS))
	{
		ArrayType  *tags = PG_GETARG_ARRAYTYPE_P(first + OPT_TAGS);

		if (ARR_NDIM(tags) > 1 || array_contains_nulls(tags))
			invalid("tags must be a list without nulls", "Pass an array of text as argument \"tags\".");
		taskq_row_set(&submit->row, tags, PointerGetDatum(tags));
	}
	if (!PG_ARGISNULL(first + OPT_METADATA))
	{
		taskq_check_size(PG_GETARG_JSONB_P(first + OPT_METADATA), "metadata");
		taskq_row_set(&submit->row, metadata, PG_GETARG_DATUM(first + OPT_METADATA));
	}
}

/* Everything about the tasks but their ids and payloads. */
static void
submit_begin(Submit *submit, const char *kind_name, FunctionCallInfo fcinfo, int first)
{
	const TaskqKind *kind = NULL;
	const char *queue = "default";
	Oid			role = GetUserId();
	int			priority = 0;

	taskq_require_preload();
	PreventCommandIfReadOnly("taskq.task_submit()");
	PreventCommandDuringRecovery("taskq.task_submit()");
	refuse_unsupported(fcinfo, first);
	taskq_defs_begin();

	memset(submit, 0, sizeof(*submit));
	taskq_store_new_row(&submit->row);
	submit->submitter = role;

	if (strcmp(kind_name, TASKQ_SQL_KIND) != 0)
	{
		if (strlen(kind_name) < NAMEDATALEN)
			kind = taskq_kind_get(kind_name);
		if (kind == NULL)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("kind of task \"%s\" does not exist", kind_name),
					 errhint("Argument \"kind\" names a kind that taskq.kind_define() made; view taskq.kind lists them.")));
		queue = NameStr(kind->queue);
		priority = kind->priority;
		if (NameStr(kind->run_as)[0] != '\0')
			role = get_role_oid(NameStr(kind->run_as), false);
	}
	if (kind == NULL || kind->handler != NULL)
		taskq_check_role(role);
	if (!PG_ARGISNULL(first + OPT_QUEUE))
	{
		queue = text_to_cstring(PG_GETARG_TEXT_PP(first + OPT_QUEUE));
		taskq_check_name(queue, "queue");
		if (strcmp(queue, "default") != 0 && taskq_queue_get(queue) == NULL)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("queue \"%s\" does not exist", queue),
					 errhint("Argument \"queue\" names a queue that taskq.queue_define() made; view taskq.queue lists them.")));
	}
	submit->lane = taskq_lane_for(role, queue, kind_name, priority_of(fcinfo, first, priority));
	if (submit->lane == NULL)
		elog(ERROR, "lane not found");

	taskq_row_set(&submit->row, lane, Int32GetDatum(submit->lane->id));
	taskq_row_set(&submit->row, attempt, Int16GetDatum(0));
	if (role != submit->submitter)
		taskq_row_set(&submit->row, submitted_by, Int32GetDatum(taskq_role_id(submit->submitter)));
	submit_when(submit, fcinfo, first);
	submit_options(submit, fcinfo, first);
	taskq_row_set(&submit->row, state, CharGetDatum(submit->scheduled ? TASKQ_SCHEDULED : TASKQ_PENDING));
}

/* Insert n tasks, and note them; their ids go to ids. */
static void
submit_rows(Submit *submit, Datum *payloads, int n, pg_uuid_t *ids)
{
	TaskqRow   *rows = palloc_extended(sizeof(TaskqRow) * Max(n, 1), MCXT_ALLOC_HUGE);
	uint32		leaves = 0;

	for (int i = 0; i < n; i++)
	{
		taskq_id_make(&ids[i]);
		rows[i] = submit->row;
		rows[i].leaf = taskq_id_slot(&ids[i]);
		leaves |= 1u << rows[i].leaf;
		taskq_row_set(&rows[i], id, UUIDPGetDatum(&ids[i]));
		taskq_row_set(&rows[i], slot, Int16GetDatum(rows[i].leaf));
		taskq_row_set(&rows[i], payload, payloads[i]);
	}
	taskq_store_insert(rows, n);
	if (submit->scheduled)
	{
		for (int i = 0; i < n; i++)
			taskq_timer_insert(submit->run_at, &ids[i], submit->lane->id);
		taskq_note_due(submit->run_at);
	}
	else if (n > 0)
		taskq_note_submitted(submit->lane, &ids[0], leaves, n);
	pfree(rows);
	CommandCounterIncrement();
}

/* taskq_check_size - raise an error if a jsonb is larger than taskq.max_payload */
void
taskq_check_size(Jsonb *value, const char *argument)
{
	if (VARSIZE(value) > (Size) taskq_max_payload * 1024)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s of %zu bytes is too large", argument, (Size) VARSIZE(value)),
				 errdetail("The limit is taskq.max_payload, %d kB.", taskq_max_payload),
				 errhint("Put large data into a table and its key into argument \"%s\".", argument)));
}

static Datum
payload_or_default(Datum payload, bool isnull, const char *argument)
{
	Jsonb	   *value;

	if (isnull)
		return DirectFunctionCall1(jsonb_in, CStringGetDatum("{}"));
	value = DatumGetJsonbP(payload);
	taskq_check_size(value, argument);
	return JsonbPGetDatum(value);
}

static char *
kind_arg(FunctionCallInfo fcinfo)
{
	char	   *kind;

	if (PG_ARGISNULL(0))
		invalid("kind must not be null", "Pass the name of a kind as argument \"kind\".");
	kind = text_to_cstring(PG_GETARG_TEXT_PP(0));
	if (strcmp(kind, TASKQ_SQL_KIND) == 0)
		invalid("kind \"sql\" is that of SQL commands", "Use taskq.task_submit_sql().");
	return kind;
}

PG_FUNCTION_INFO_V1(taskq_submit);

/*
 * taskq_submit - task_submit(kind, payload, options …) returns uuid
 *
 * Inserts one row; locks nothing that others wait for.  Raises 22023 for bad
 * arguments, 42501 for a role that cannot run tasks.
 */
Datum
taskq_submit(PG_FUNCTION_ARGS)
{
	Submit		submit;
	pg_uuid_t  *id = palloc(sizeof(pg_uuid_t));
	Datum		payload;

	submit_begin(&submit, kind_arg(fcinfo), fcinfo, 2);
	payload = payload_or_default(PG_GETARG_DATUM(1), PG_ARGISNULL(1), "payload");
	submit_rows(&submit, &payload, 1, id);
	PG_RETURN_UUID_P(id);
}

/* Submit these and return their ids as a set. */
static void
submit_set(FunctionCallInfo fcinfo, Datum *payloads, bool *nulls, int n)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	Submit		submit;
	pg_uuid_t  *ids = palloc_extended(sizeof(pg_uuid_t) * Max(n, 1), MCXT_ALLOC_HUGE);

	submit_begin(&submit, kind_arg(fcinfo), fcinfo, 2);
	for (int i = 0; i < n; i++)
		payloads[i] = payload_or_default(payloads[i], nulls != NULL && nulls[i], "payloads");
	submit_rows(&submit, payloads, n, ids);

	InitMaterializedSRF(fcinfo, MAT_SRF_USE_EXPECTED_DESC);
	for (int i = 0; i < n; i++)
	{
		Datum		value = UUIDPGetDatum(&ids[i]);
		bool		isnull = false;

		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, &value, &isnull);
	}
}

PG_FUNCTION_INFO_V1(taskq_submit_many);

/* taskq_submit_many - task_submit_many(kind, payloads jsonb[], options …) returns setof uuid */
Datum
taskq_submit_many(PG_FUNCTION_ARGS)
{
	Datum	   *payloads;
	bool	   *nulls;
	int			n;

	if (PG_ARGISNULL(1))
		invalid("payloads must not be null", "Pass an array of jsonb as argument \"payloads\".");
	deconstruct_array(PG_GETARG_ARRAYTYPE_P(1), JSONBOID, -1, false, TYPALIGN_INT, &payloads, &nulls, &n);
	submit_set(fcinfo, payloads, nulls, n);
	return (Datum) 0;
}

PG_FUNCTION_INFO_V1(taskq_submit_batch);

/* taskq_submit_batch - task_submit_batch(kind, payloads jsonb, options …) returns setof uuid */
Datum
taskq_submit_batch(PG_FUNCTION_ARGS)
{
	Jsonb	   *array;
	Datum	   *payloads;
	JsonbIterator *iterator;
	JsonbValue	value;
	JsonbIteratorToken token;
	int			n = 0;

	if (PG_ARGISNULL(1))
		invalid("payloads must not be null", "Pass a JSON array as argument \"payloads\".");
	array = PG_GETARG_JSONB_P(1);
	if (!JB_ROOT_IS_ARRAY(array) || JB_ROOT_IS_SCALAR(array))
		invalid("payloads is not an array", "Pass a JSON array as argument \"payloads\".");
	payloads = palloc_extended(sizeof(Datum) * Max(JB_ROOT_COUNT(array), 1), MCXT_ALLOC_HUGE);
	iterator = JsonbIteratorInit(&array->root);
	while ((token = JsonbIteratorNext(&iterator, &value, true)) != WJB_DONE)
	{
		if (token == WJB_ELEM)
			payloads[n++] = JsonbPGetDatum(JsonbValueToJsonb(&value));
	}
	submit_set(fcinfo, payloads, NULL, n);
	return (Datum) 0;
}

PG_FUNCTION_INFO_V1(taskq_submit_sql);

/*
 * taskq_submit_sql - task_submit_sql(command, options …) returns uuid
 *
 * The command is the payload, {"command": …}.  It is parsed when it runs:
 * what it names may not exist yet.
 */
Datum
taskq_submit_sql(PG_FUNCTION_ARGS)
{
	Submit		submit;
	pg_uuid_t  *id = palloc(sizeof(pg_uuid_t));
	JsonbParseState *state = NULL;
	JsonbValue	key = {.type = jbvString, .val.string = {.len = 7, .val = "command"}};
	JsonbValue	value = {.type = jbvString};
	Jsonb	   *payload;
	Datum		datum;

	if (PG_ARGISNULL(0))
		invalid("command must not be null", "Pass SQL text as argument \"command\".");
	value.val.string.val = text_to_cstring(PG_GETARG_TEXT_PP(0));
	value.val.string.len = strlen(value.val.string.val);
	if (strspn(value.val.string.val, " \t\r\n;") == value.val.string.len)
		invalid("command is empty", "Pass SQL text as argument \"command\".");
	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	pushJsonbValue(&state, WJB_KEY, &key);
	pushJsonbValue(&state, WJB_VALUE, &value);
	payload = JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
	taskq_check_size(payload, "command");

	submit_begin(&submit, TASKQ_SQL_KIND, fcinfo, 1);
	datum = JsonbPGetDatum(payload);
	submit_rows(&submit, &datum, 1, id);
	PG_RETURN_UUID_P(id);
}
