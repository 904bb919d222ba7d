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
#include "api/submit.h"
#include "api/task.h"
#include "base/args.h"
#include "base/compat.h"
#include "base/current.h"
#include "base/guc.h"
#include "base/shmem.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "lanes/lane.h"
#include "lanes/note.h"
#include "miscadmin.h"
#include "store/defs.h"
#include "store/rights.h"
#include "store/state.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

/*
 * The options that all forms of submit share, in the order of their
 * arguments.
 */
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

/*
 * taskq_check_role - raise an error unless a session of this role can be had
 * in the background
 */
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
	if (!login)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("role \"%s\" cannot run tasks because it may not log in", GetUserNameFromId(role, false)),
				 errhint("Give the role LOGIN, or define the kind with run_as naming a role that has it.")));
}

static int
priority_of(FunctionCallInfo fcinfo, int first, int preset)
{
	int			priority = preset;

	if (!PG_ARGISNULL(first + OPT_PRIORITY))
		priority = PG_GETARG_INT32(first + OPT_PRIORITY);
	taskq_check_priority(priority);
	return priority;
}

/* taskq_submit_at - not before this moment */
void
taskq_submit_at(TaskqSubmit *submit, TimestampTz run_at)
{
	submit->run_at = run_at;
	submit->scheduled = run_at > GetCurrentTimestamp();
	taskq_row_set(&submit->row, run_at, TimestampTzGetDatum(run_at));
	taskq_row_set(&submit->row, state,
				  CharGetDatum(submit->scheduled ? TASKQ_SCHEDULED
							   : TASKQ_PENDING));
}

/* When it shall run, from run_at and delay. */
static void
submit_when(TaskqSubmit *submit, FunctionCallInfo fcinfo, int first)
{
	TimestampTz run_at;

	if (!PG_ARGISNULL(first + OPT_RUN_AT) && !PG_ARGISNULL(first + OPT_DELAY))
		taskq_invalid("run_at and delay cannot both be given",
					  "Use argument \"run_at\" for a moment, or argument \"delay\" for a time from now.");
	if (!PG_ARGISNULL(first + OPT_RUN_AT))
	{
		run_at = PG_GETARG_TIMESTAMPTZ(first + OPT_RUN_AT);
		if (TIMESTAMP_NOT_FINITE(run_at))
			taskq_invalid("run_at must be finite",
						  "Pass a moment in time as argument \"run_at\".");
		taskq_submit_at(submit, run_at);
	}
	else if (!PG_ARGISNULL(first + OPT_DELAY))
		taskq_submit_at(submit, taskq_arg_delay(fcinfo, first + OPT_DELAY));
}

static int
row_depth(TaskqRow *row)
{
	return taskq_row_isnull(row, depth)
		? 0
		: DatumGetInt16(taskq_row_value(row, depth));
}

/*
 * taskq_submit_depth - a task is deeper than the one that submits it
 *
 * Whatever its parent is said to be.  Raises PT429 beyond taskq.max_depth.
 */
void
taskq_submit_depth(TaskqSubmit *submit)
{
	int			depth = row_depth(&submit->row);

	if (taskq_in_task())
		depth = Max(depth, row_depth(taskq_current->row) + 1);
	if (depth == 0)
		return;
	if ((taskq_max_depth > 0 && depth > taskq_max_depth) ||
		depth > PG_INT16_MAX)
		ereport(ERROR,
				(errcode(ERRCODE_TASK_TOO_MANY),
				 errmsg("task would be a descendant of %d others", depth),
				 errdetail("The limit is taskq.max_depth, %d.", taskq_max_depth),
				 errhint("A task that submits its own successor for ever is better a schedule.")));
	taskq_row_set(&submit->row, depth, Int16GetDatum(depth));
}

/*
 * The task that it descends from: the one named, or the one that runs in this
 * session.
 */
static void
submit_parent(TaskqSubmit *submit, FunctionCallInfo fcinfo, int first)
{
	TaskqRow	named;
	TaskqRow   *parent;

	if (!PG_ARGISNULL(first + OPT_PARENT))
	{
		parent = &named;
		taskq_task_require(PG_GETARG_UUID_P(first + OPT_PARENT), parent);
	}
	else if (taskq_in_task())
		parent = taskq_current->row;
	else
		return;
	taskq_row_set(&submit->row, parent, taskq_row_value(parent, id));
	taskq_row_set(&submit->row, depth,
				  Int16GetDatum(Min(row_depth(parent), PG_INT16_MAX - 1) + 1));
	taskq_submit_depth(submit);
}

static void
submit_options(TaskqSubmit *submit, FunctionCallInfo fcinfo, int first)
{
	if (!PG_ARGISNULL(first + OPT_TIMEOUT))
	{
		int64		us = taskq_arg_interval_us(fcinfo, first + OPT_TIMEOUT,
											   "timeout", 1000);

		taskq_row_set(&submit->row, timeout_ms, Int64GetDatum(us / 1000));
	}
	if (!PG_ARGISNULL(first + OPT_MAX_ATTEMPTS))
	{
		int			n = PG_GETARG_INT32(first + OPT_MAX_ATTEMPTS);

		taskq_check_max_attempts(n);
		taskq_row_set(&submit->row, max_attempts, Int16GetDatum(n));
	}
	submit_parent(submit, fcinfo, first);
	if (!PG_ARGISNULL(first + OPT_TAGS))
	{
		ArrayType  *tags = PG_GETARG_ARRAYTYPE_P(first + OPT_TAGS);

		if (ARR_NDIM(tags) > 1 || array_contains_nulls(tags))
			taskq_invalid("tags must be a list without nulls",
						  "Pass an array of text as argument \"tags\".");
		if (VARSIZE(tags) > (Size) taskq_max_payload * 1024)
			ereport(ERROR,
					(errcode(ERRCODE_TASK_TOO_LARGE),
					 errmsg("tags are too large"),
					 errhint("Pass few and short texts as argument \"tags\".")));
		taskq_row_set(&submit->row, tags, PointerGetDatum(tags));
	}
	if (!PG_ARGISNULL(first + OPT_METADATA))
	{
		taskq_check_size(PG_GETARG_JSONB_P(first + OPT_METADATA), "metadata");
		taskq_row_set(&submit->row, metadata,
					  PG_GETARG_DATUM(first + OPT_METADATA));
	}
}

/*
 * taskq_submit_claims - for whom the session acts, where that is known for
 * sure
 */
void
taskq_submit_claims(TaskqSubmit *submit)
{
	Jsonb	   *claims = taskq_caller_claims();
	const char *tenant;

	if (claims == NULL)
		return;
	taskq_check_size(claims, "claims");
	taskq_row_set(&submit->row, claims, JsonbPGetDatum(claims));
	tenant = taskq_in_task()
		? (taskq_row_isnull(taskq_current->row, tenant)
		   ? NULL
		   : TextDatumGetCString(taskq_row_value(taskq_current->row, tenant)))
		: taskq_claims_tenant(claims);
	if (tenant != NULL)
		taskq_row_set(&submit->row, tenant, CStringGetTextDatum(tenant));
}

/*
 * taskq_submit_kind - the kind of this name, which the caller may use; or an
 * error
 */
const TaskqKind *
taskq_submit_kind(const char *name)
{
	const TaskqKind *kind = taskq_kind_get(name);

	if (kind == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("kind of task \"%s\" does not exist", taskq_clip_name(name)),
				 errhint("Argument \"kind\" names a kind that taskq.kind_define() made; view taskq.kind lists them.")));
	if (!taskq_kind_may_submit(kind))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied to submit tasks of kind \"%s\"", name),
				 errdetail("They run as role \"%s\".", NameStr(kind->run_as)),
				 errhint("The owner of the kind can use taskq.kind_grant().")));
	if (kind->run_as_id != 0 && !OidIsValid(kind->run_as_oid))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("role \"%s\", which tasks of kind \"%s\" run as, does not exist any more", NameStr(kind->run_as), name),
				 errhint("Define the kind again with taskq.kind_define().")));
	return kind;
}

/* Can the handler be called by the role? */
static void
check_handler(const TaskqKind *kind, Oid role)
{
	taskq_check_role(role);
	if (kind == NULL)
		return;
	if (!OidIsValid(kind->handler_oid))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_FUNCTION),
				 errmsg("handler %s of kind \"%s\" does not exist any more", kind->handler, NameStr(kind->name)),
				 errhint("Create the function, or define the kind again with taskq.kind_define().")));
	if (taskq_function_aclcheck(kind->handler_oid, role) != ACLCHECK_OK)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("role \"%s\" may not execute handler %s of kind \"%s\"",
						GetUserNameFromId(role, false), kind->handler,
						NameStr(kind->name)),
				 errhint("Grant EXECUTE on the function to the role.")));
}

/*
 * taskq_submit_begin - tasks of nothing yet; the definitions' caches are made
 * sure of
 */
void
taskq_submit_begin(TaskqSubmit *submit)
{
	taskq_require_preload();
	PreventCommandIfReadOnly("taskq.task_submit()");
	PreventCommandDuringRecovery("taskq.task_submit()");
	taskq_tenant_check();
	taskq_defs_begin();
	memset(submit, 0, sizeof(*submit));
	taskq_store_new_row(&submit->row);
	taskq_row_set(&submit->row, attempt, Int16GetDatum(0));
	taskq_row_set(&submit->row, state, CharGetDatum(TASKQ_PENDING));
}

/*
 * taskq_submit_place - what kind it is and who it runs as; kind NULL: SQL
 * commands
 *
 * Checks that it can run.  The submitter is the current user.
 */
void
taskq_submit_place(TaskqSubmit *submit, const char *kind_name,
				   const TaskqKind *kind, Oid role, const char *queue,
				   int priority)
{
	if (kind == NULL || kind->handler != NULL)
		check_handler(kind, role);
	if (kind != NULL)
		taskq_kind_check_superuser(kind, role);
	submit->lane = taskq_lane_for(role, queue, kind_name, kind, priority);
	if (submit->lane == NULL)
		elog(ERROR, "lane not found");
	taskq_row_set(&submit->row, lane, Int32GetDatum(submit->lane->id));
	if (role != GetUserId())
		taskq_row_set(&submit->row, submitted_by,
					  Int32GetDatum(taskq_role_id(GetUserId())));
}

/* Everything about the tasks but their ids and payloads. */
static void
submit_begin(TaskqSubmit *submit, const char *kind_name,
			 FunctionCallInfo fcinfo, int first)
{
	const TaskqKind *kind = NULL;
	const char *queue = "default";
	Oid			role = GetUserId();
	int			priority = 0;

	taskq_submit_begin(submit);
	refuse_unsupported(fcinfo, first);
	if (strcmp(kind_name, TASKQ_SQL_KIND) != 0)
	{
		kind = taskq_submit_kind(kind_name);
		queue = NameStr(kind->queue);
		priority = kind->priority;
		if (kind->run_as_id != 0)
			role = kind->run_as_oid;
	}
	if (!PG_ARGISNULL(first + OPT_QUEUE))
		queue = taskq_arg_queue(fcinfo, first + OPT_QUEUE);
	taskq_submit_place(submit, kind_name, kind, role, queue,
					   priority_of(fcinfo, first, priority));
	submit_when(submit, fcinfo, first);
	submit_options(submit, fcinfo, first);
	taskq_submit_claims(submit);
}

/*
 * Tasks of a role that wait, by estimate, those of this transaction included.
 */
static int64
count_pending(Oid role)
{
	int64		n = taskq_note_pending(role);

	LWLockAcquire(taskq_main_lock, LW_SHARED);
	n += taskq_lane_pending(MyDatabaseId, role);
	LWLockRelease(taskq_main_lock);
	return n;
}

/*
 * Nobody fills the disk or the queue.  The count costs a look at all lanes,
 * so it is not made for each submit: far from the limit a hundredth of what
 * is left may be used up unseen.
 */
static void
check_pending(Oid role, int n)
{
	static Oid	checked_role = InvalidOid;
	static int64 allowance = 0;
	int64		pending;

	if (taskq_max_pending_per_role == 0 || superuser())
		return;
	if (role == checked_role && n <= allowance)
	{
		allowance -= n;
		return;
	}
	pending = count_pending(role);
	if (pending + n > taskq_max_pending_per_role)
		ereport(ERROR,
				(errcode(ERRCODE_TASK_TOO_MANY),
				 errmsg("too many tasks of role \"%s\" wait to be run", GetUserNameFromId(role, false)),
				 errdetail("There are about " INT64_FORMAT " of them; the limit is taskq.max_pending_per_role, %d.",
						   pending, taskq_max_pending_per_role),
				 errhint("Submit again later, or let a superuser raise the limit.")));
	checked_role = role;
	allowance = (taskq_max_pending_per_role - pending - n) / 100;
}

static void
check_children(int n)
{
	if (!taskq_in_task())
		return;
	if (taskq_max_children > 0 &&
		n > taskq_max_children - taskq_current->children)
		ereport(ERROR,
				(errcode(ERRCODE_TASK_TOO_MANY),
				 errmsg("task submits too many others"),
				 errdetail("The limit is taskq.max_children, %d.", taskq_max_children),
				 errhint("Submit fewer, larger tasks.")));
	taskq_current->children += n;
}

/* taskq_submit_rows - insert n tasks, and note them; their ids go to ids */
void
taskq_submit_rows(TaskqSubmit *submit, Datum *payloads, int n, pg_uuid_t *ids)
{
	TaskqRow   *rows;
	uint32		leaves = 0;

	check_pending(submit->lane->role_oid, n);
	check_children(n);
	/* before the first id is made */
	if (taskq_note_submitting(submit->lane->id) &&
		taskq_row_isnull(&submit->row, run_at))
		taskq_submit_at(submit, GetCurrentTimestamp());
	rows = palloc_extended(sizeof(TaskqRow) * Max(n, 1), MCXT_ALLOC_HUGE);
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
		taskq_note_later(submit->lane, n);
		taskq_note_due(submit->run_at);
	}
	else if (n > 0 && !taskq_row_isnull(&submit->row, run_at))
	{
		for (int i = 0; i < n; i++)
			taskq_ready_insert(submit->lane->id, submit->run_at, &ids[i]);
		taskq_note_ready(submit->lane, submit->run_at, &ids[0], n, false);
	}
	else if (n > 0)
		taskq_note_submitted(submit->lane, &ids[0], leaves, n);
	pfree(rows);
	CommandCounterIncrement();
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
		taskq_invalid("kind must not be null",
					  "Pass the name of a kind as argument \"kind\".");
	kind = text_to_cstring(PG_GETARG_TEXT_PP(0));
	if (strcmp(kind, TASKQ_SQL_KIND) == 0)
		taskq_invalid("kind \"sql\" is that of SQL commands",
					  "Use taskq.task_submit_sql().");
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
	TaskqSubmit submit;
	pg_uuid_t  *id = palloc(sizeof(pg_uuid_t));
	Datum		payload;

	submit_begin(&submit, kind_arg(fcinfo), fcinfo, 2);
	payload = payload_or_default(PG_GETARG_DATUM(1), PG_ARGISNULL(1),
								 "payload");
	taskq_submit_rows(&submit, &payload, 1, id);
	PG_RETURN_UUID_P(id);
}

/* TaskqSubmit these and return their ids as a set. */
static void
submit_set(FunctionCallInfo fcinfo, Datum *payloads, bool *nulls, int n)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	TaskqSubmit submit;
	pg_uuid_t  *ids = palloc_extended(sizeof(pg_uuid_t) * Max(n, 1),
									  MCXT_ALLOC_HUGE);

	submit_begin(&submit, kind_arg(fcinfo), fcinfo, 2);
	for (int i = 0; i < n; i++)
		payloads[i] = payload_or_default(payloads[i],
										 nulls != NULL && nulls[i],
										 "payloads");
	taskq_submit_rows(&submit, payloads, n, ids);

	InitMaterializedSRF(fcinfo, MAT_SRF_USE_EXPECTED_DESC);
	for (int i = 0; i < n; i++)
	{
		Datum		value = UUIDPGetDatum(&ids[i]);
		bool		isnull = false;

		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, &value,
							 &isnull);
	}
}

PG_FUNCTION_INFO_V1(taskq_submit_many);

/*
 * taskq_submit_many - task_submit_many(kind, payloads jsonb[], options …)
 * returns setof uuid
 */
Datum
taskq_submit_many(PG_FUNCTION_ARGS)
{
	Datum	   *payloads;
	bool	   *nulls;
	int			n;

	if (PG_ARGISNULL(1))
		taskq_invalid("payloads must not be null",
					  "Pass an array of jsonb as argument \"payloads\".");
	deconstruct_array(PG_GETARG_ARRAYTYPE_P(1), JSONBOID, -1, false,
					  TYPALIGN_INT, &payloads, &nulls, &n);
	submit_set(fcinfo, payloads, nulls, n);
	return (Datum) 0;
}

PG_FUNCTION_INFO_V1(taskq_submit_batch);

/*
 * taskq_submit_batch - task_submit_batch(kind, payloads jsonb, options …)
 * returns setof uuid
 */
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
		taskq_invalid("payloads must not be null",
					  "Pass a JSON array as argument \"payloads\".");
	array = PG_GETARG_JSONB_P(1);
	if (!JB_ROOT_IS_ARRAY(array) || JB_ROOT_IS_SCALAR(array))
		taskq_invalid("payloads is not an array",
					  "Pass a JSON array as argument \"payloads\".");
	payloads = palloc_extended(sizeof(Datum) * Max(JB_ROOT_COUNT(array), 1),
							   MCXT_ALLOC_HUGE);
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
	TaskqSubmit submit;
	pg_uuid_t  *id = palloc(sizeof(pg_uuid_t));
	JsonbParseState *state = NULL;
	JsonbValue	key = {.type = jbvString,
	.val.string = {.len = 7,.val = "command"}};
	JsonbValue	value = {.type = jbvString};
	Jsonb	   *payload;
	Datum		datum;

	if (PG_ARGISNULL(0))
		taskq_invalid("command must not be null",
					  "Pass SQL text as argument \"command\".");
	value.val.string.val = text_to_cstring(PG_GETARG_TEXT_PP(0));
	value.val.string.len = strlen(value.val.string.val);
	if (strspn(value.val.string.val, " \t\r\n;") == value.val.string.len)
		taskq_invalid("command is empty",
					  "Pass SQL text as argument \"command\".");
	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	pushJsonbValue(&state, WJB_KEY, &key);
	pushJsonbValue(&state, WJB_VALUE, &value);
	payload = JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
	taskq_check_size(payload, "command");

	submit_begin(&submit, TASKQ_SQL_KIND, fcinfo, 1);
	datum = JsonbPGetDatum(payload);
	taskq_submit_rows(&submit, &datum, 1, id);
	PG_RETURN_UUID_P(id);
}
