/*-------------------------------------------------------------------------
 *
 * submit.c
 *		Submitting tasks.
 *
 * What SQL gives is checked here, and who may submit what; enqueue.c puts the
 * tasks into the tables.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "api/action.h"
#include "api/submit.h"
#include "api/task.h"
#include "base/args.h"
#include "base/compat.h"
#include "base/current.h"
#include "base/guc.h"
#include "base/http.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "store/claims.h"
#include "store/defs.h"
#include "store/dependencies.h"
#include "store/rights.h"
#include "store/state.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#define MAX_KEY 1000

#define MAX_UNIQUE_KEY 1024
#define MAX_TENANT 1024

/* Values of argument "on_conflict". */
static const char *const conflicts[] = {
	[TASKQ_CONFLICT_RETURN] = "return",
	[TASKQ_CONFLICT_REPLACE] = "replace",
	[TASKQ_CONFLICT_QUEUE_ONE] = "queue_one",
	[TASKQ_CONFLICT_ERROR] = "error"
};

static int
priority_of(FunctionCallInfo fcinfo, int first, int preset)
{
	int			priority = preset;

	if (!PG_ARGISNULL(first + OPT_PRIORITY))
		priority = PG_GETARG_INT32(first + OPT_PRIORITY);
	taskq_check_priority(priority);
	return priority;
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
		if (run_at == DT_NOBEGIN)
			taskq_invalid("run_at must not be -infinity",
						  "Pass a moment in time as argument \"run_at\", or infinity to hold the task.");
		taskq_submit_at(submit, run_at);
	}
	else if (!PG_ARGISNULL(first + OPT_DELAY))
		taskq_submit_at(submit, taskq_arg_delay(fcinfo, first + OPT_DELAY));
}

/* No more than N tasks of a key run at the same time. */
static void
submit_key(TaskqSubmit *submit, FunctionCallInfo fcinfo, int first)
{
	text	   *key;

	if (PG_ARGISNULL(first + OPT_CONCURRENCY_KEY))
		return;
	key = PG_GETARG_TEXT_PP(first + OPT_CONCURRENCY_KEY);
	if (VARSIZE_ANY_EXHDR(key) < 1 || VARSIZE_ANY_EXHDR(key) > MAX_KEY)
		taskq_invalid_argument("concurrency_key",
							   psprintf("must have between 1 and %d bytes",
										MAX_KEY));
	taskq_row_set(&submit->row, concurrency_key, PointerGetDatum(key));
}

static void
check_unique_key(const char *key)
{
	if (key[0] == '\0' || strlen(key) > MAX_UNIQUE_KEY)
		taskq_invalid("unique_key must have between 1 and 1024 bytes",
					  "Pass a shorter text, such as a hash, as argument \"unique_key\", or as header Idempotency-Key.");
}

static void
set_unique_key(TaskqSubmit *submit, char *key)
{
	check_unique_key(key);
	submit->unique_key = key;
	taskq_row_set(&submit->row, unique_key, CStringGetTextDatum(key));
}

/* How many submits this transaction has had, this one included. */
static int
count_submit(void)
{
	static FullTransactionId transaction = {0};
	static int	n = 0;

	if (!FullTransactionIdEquals(transaction, GetTopFullTransactionId()))
		n = 0;
	transaction = GetTopFullTransactionId();
	return ++n;
}

#define REQUEST_KEY_KEEP_MS (INT64CONST(24) * SECS_PER_HOUR * 1000)

/*
 * taskq_submit_request - header Idempotency-Key of the request, or NULL
 *
 * Raises 22023 if it is too long.
 */
char *
taskq_submit_request(void)
{
	char	   *key = taskq_in_task() ? NULL
	: taskq_http_header("idempotency-key");

	if (key == NULL || key[0] == '\0')
		return NULL;
	check_unique_key(key);
	return key;
}

/*
 * taskq_submit_request_key - who repeats a request gets the task that the
 * first one submitted, until a day after that has ended
 *
 * Header Idempotency-Key is the unique key; of the second submit of a request
 * with "#2" after it, and so on: what is called twice does the same in the
 * same order.
 */
void
taskq_submit_request_key(TaskqSubmit *submit)
{
	char	   *key = taskq_submit_request();
	int			n;

	if (key == NULL)
		return;
	n = count_submit();
	set_unique_key(submit, n == 1 ? key : psprintf("%s#%d", key, n));
	submit->unique_keep_ms = REQUEST_KEY_KEEP_MS;
	submit->unique_request = true;
}

/* Only one task of those with the same key waits or runs. */
static void
submit_unique(TaskqSubmit *submit, FunctionCallInfo fcinfo, int first)
{
	char	   *on_conflict = taskq_arg_text(fcinfo, first + OPT_ON_CONFLICT,
											 NULL);
	char	   *key = taskq_arg_text(fcinfo, first + OPT_UNIQUE_KEY, NULL);

	if (key == NULL)
	{
		if (on_conflict != NULL || !PG_ARGISNULL(first + OPT_UNIQUE_FOR))
			taskq_invalid("on_conflict and unique_for are about a unique_key",
						  "Pass a text as argument \"unique_key\", too.");
		taskq_submit_request_key(submit);
		return;
	}
	set_unique_key(submit, key);
	if (!PG_ARGISNULL(first + OPT_UNIQUE_FOR))
		submit->unique_keep_ms =
			taskq_arg_interval_us(fcinfo, first + OPT_UNIQUE_FOR,
								  "unique_for", 0) / 1000;
	if (on_conflict == NULL)
		return;
	for (int i = 0; i < lengthof(conflicts); i++)
	{
		if (strcmp(conflicts[i], on_conflict) == 0)
		{
			submit->on_conflict = i;
			return;
		}
	}
	taskq_invalid(psprintf("on_conflict \"%s\" is not known",
						   taskq_clip_name(on_conflict)),
				  "Pass \"return\", \"replace\", \"queue_one\" or \"error\" as argument \"on_conflict\".");
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
				  Int16GetDatum(Min(taskq_row_depth(parent), PG_INT16_MAX - 1) + 1));
	taskq_submit_depth(submit);
}

static bool
is_word(const JsonbValue *value, const char *word)
{
	return value->type == jbvString &&
		value->val.string.len == strlen(word) &&
		memcmp(value->val.string.val, word, strlen(word)) == 0;
}

static void
set_run_when(TaskqSubmit *submit, const JsonbValue *value)
{
	if (is_word(value, "failed"))
		submit->on_failure = TASKQ_ON_FAILURE_ONLY;
	else if (!is_word(value, "completed"))
		taskq_invalid("run_when must be \"completed\" or \"failed\"",
					  "Member \"run_when\" of argument \"options\" says whether the task runs when its dependencies completed (the default), or only when one failed.");
}

static void
set_cancel_with_parent(TaskqSubmit *submit, const JsonbValue *value)
{
	if (value->type != jbvBool)
		taskq_invalid("cancel_with_parent must be true or false",
					  "Member \"cancel_with_parent\" of argument \"options\" says whether the task is cancelled when its parent is.");
	submit->with_parent = value->val.boolean;
	if (submit->with_parent && taskq_row_isnull(&submit->row, parent))
		taskq_invalid("cancel_with_parent needs a parent",
					  "Name a task as argument \"parent\", or submit inside of one.");
}

static void
set_tenant(TaskqSubmit *submit, const JsonbValue *value)
{
	if (!taskq_tenant_may_name())
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied to name the tenant of a task"),
				 errdetail("The session, or the task that runs in it, acts for one tenant or came through a gateway."),
				 errhint("Leave member \"tenant\" of argument \"options\" out: the claims say whose the task is.")));
	if (value->type != jbvString || value->val.string.len == 0 ||
		value->val.string.len > MAX_TENANT)
		taskq_invalid(psprintf("tenant must be a string of 1 to %d bytes",
							   MAX_TENANT),
					  "Member \"tenant\" of argument \"options\" says whose the task is.");
	taskq_row_set(&submit->row, tenant,
				  PointerGetDatum(cstring_to_text_with_len(value->val.string.val,
														   value->val.string.len)));
}

static void
set_different_worker(TaskqSubmit *submit, const JsonbValue *value)
{
	if (value->type != jbvBool)
		taskq_invalid("different_worker must be true or false",
					  "Member \"different_worker\" of argument \"options\" says whether each attempt is made by another worker than the one before.");
}

/*
 * What argument "options" may say: each function checks one member and puts it
 * where it belongs.
 */
static const struct
{
	const char *name;
	void		(*set) (TaskqSubmit *submit, const JsonbValue *value);
}			more_options[] = {
	{"run_when", set_run_when},
	{"cancel_with_parent", set_cancel_with_parent},
	{"tenant", set_tenant},
	{"different_worker", set_different_worker},
	{NULL, NULL}
};

static void
set_more_option(TaskqSubmit *submit, const JsonbValue *name,
				const JsonbValue *value)
{
	for (int i = 0; more_options[i].name != NULL; i++)
	{
		const char *known = more_options[i].name;

		if (name->val.string.len != strlen(known) ||
			memcmp(name->val.string.val, known, strlen(known)) != 0)
			continue;
		more_options[i].set(submit, value);
		return;
	}
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("options has an unknown member \"%s\"",
					taskq_clip_name(pnstrdup(name->val.string.val,
											 name->val.string.len))),
			 errhint("Members of argument \"options\" are run_when, cancel_with_parent, tenant and different_worker; queue, priority, delay and the like are arguments of their own.")));
}

/* Argument "options": an object; the task keeps it as it is. */
static void
submit_more_options(TaskqSubmit *submit, Jsonb *options)
{
	JsonbIterator *iterator;
	JsonbIteratorToken token;
	JsonbValue	name;
	JsonbValue	value;

	if (!JB_ROOT_IS_OBJECT(options))
		taskq_invalid("options is not an object",
					  "Pass a JSON object as argument \"options\".");
	taskq_check_size(options, "options");
	iterator = JsonbIteratorInit(&options->root);
	while ((token = JsonbIteratorNext(&iterator, &name, true)) != WJB_DONE)
	{
		if (token != WJB_KEY)
			continue;
		(void) JsonbIteratorNext(&iterator, &value, true);
		set_more_option(submit, &name, &value);
	}
	if (JB_ROOT_COUNT(options) > 0)
		taskq_row_set(&submit->row, options, JsonbPGetDatum(options));
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
	submit_unique(submit, fcinfo, first);
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
	if (!PG_ARGISNULL(first + OPT_OPTIONS))
		submit_more_options(submit, PG_GETARG_JSONB_P(first + OPT_OPTIONS));
}

/* What becomes of a task when one that it waits for fails. */
static char
on_failure_arg(FunctionCallInfo fcinfo, int n, char run_when)
{
	char	   *word;

	if (PG_ARGISNULL(n))
		return run_when ? run_when : TASKQ_ON_FAILURE_CANCEL;
	if (run_when)
		taskq_invalid("on_dependency_failure cannot be given for a task that runs only when a dependency failed",
					  "Leave argument \"on_dependency_failure\" out, or member \"run_when\" of argument \"options\".");
	word = text_to_cstring(PG_GETARG_TEXT_PP(n));
	if (strcmp(word, "cancel") == 0)
		return TASKQ_ON_FAILURE_CANCEL;
	if (strcmp(word, "run") == 0)
		return TASKQ_ON_FAILURE_RUN;
	if (strcmp(word, "block") == 0)
		return TASKQ_ON_FAILURE_BLOCK;
	taskq_invalid("on_dependency_failure must be cancel, run or block",
				  "Pass one of these words as argument \"on_dependency_failure\".");
	return 0;
}

static int
compare_ids(const void *a, const void *b)
{
	return taskq_id_cmp(a, b);
}

/* The tasks of an array, each once, in order. */
static pg_uuid_t *
ids_of(ArrayType *array, int *n)
{
	Datum	   *values;
	bool	   *nulls;
	pg_uuid_t  *ids;
	int			nvalues;

	if (array_contains_nulls(array))
		taskq_invalid("depends_on must not contain nulls",
					  "Pass an array of ids of tasks as argument \"depends_on\".");
	deconstruct_array(array, UUIDOID, UUID_LEN, false, TYPALIGN_CHAR,
					  &values, &nulls, &nvalues);
	ids = palloc_extended(sizeof(pg_uuid_t) * Max(nvalues, 1),
						  MCXT_ALLOC_HUGE);
	for (int i = 0; i < nvalues; i++)
		ids[i] = *DatumGetUUIDP(values[i]);
	qsort(ids, nvalues, sizeof(pg_uuid_t), compare_ids);
	*n = 0;
	for (int i = 0; i < nvalues; i++)
	{
		if (*n == 0 || !taskq_id_eq(&ids[*n - 1], &ids[i]))
			ids[(*n)++] = ids[i];
	}
	return ids;
}

/*
 * The tasks that it waits for.  Each is there, and the caller's to see: so
 * there are no cycles.
 */
static void
submit_depends(TaskqSubmit *submit, FunctionCallInfo fcinfo, int first)
{
	char		on_failure = on_failure_arg(fcinfo,
											first + OPT_ON_DEPENDENCY_FAILURE,
											submit->on_failure);
	pg_uuid_t  *ids = NULL;
	int			n = 0;
	MemoryContext context;

	if (!PG_ARGISNULL(first + OPT_DEPENDS_ON))
		ids = ids_of(PG_GETARG_ARRAYTYPE_P(first + OPT_DEPENDS_ON), &n);
	if (n == 0 && on_failure == TASKQ_ON_FAILURE_ONLY)
		taskq_invalid("a task that runs only when a dependency failed has none",
					  "Name tasks as argument \"depends_on\".");
	if (n == 0)
		return;
	context = AllocSetContextCreate(CurrentMemoryContext, "taskq depends_on",
									ALLOCSET_DEFAULT_SIZES);
	for (int i = 0; i < n; i++)
	{
		MemoryContext old = MemoryContextSwitchTo(context);
		TaskqRow	row;

		CHECK_FOR_INTERRUPTS();
		taskq_task_require(&ids[i], &row);
		MemoryContextSwitchTo(old);
		MemoryContextReset(context);
	}
	MemoryContextDelete(context);
	taskq_submit_depends(submit, ids, n, on_failure);
}

/* A task whose tenant was named has children of that tenant. */
static void
inherit_tenant(TaskqSubmit *submit)
{
	if (taskq_in_task() && taskq_row_isnull(&submit->row, tenant) &&
		!taskq_row_isnull(taskq_current->row, tenant))
		taskq_row_set(&submit->row, tenant,
					  taskq_row_value(taskq_current->row, tenant));
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
	{
		inherit_tenant(submit);
		return;
	}
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
	taskq_submit_new(submit);
}

/*
 * taskq_submit_prepare - everything about the tasks but their ids and payloads
 *
 * The options are those of fcinfo from the first on, in the order of
 * OPT_...
 */
void
taskq_submit_prepare(TaskqSubmit *submit, const char *kind_name,
					 FunctionCallInfo fcinfo, int first)
{
	const TaskqKind *kind = NULL;
	const char *queue = "default";
	Oid			role = GetUserId();
	int			priority = 0;

	taskq_submit_begin(submit);
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
	submit_key(submit, fcinfo, first);
	taskq_submit_place(submit, kind_name, kind, role, queue,
					   priority_of(fcinfo, first, priority));
	submit_when(submit, fcinfo, first);
	submit_options(submit, fcinfo, first);
	submit_depends(submit, fcinfo, first);
	if (submit->on_conflict == TASKQ_CONFLICT_REPLACE &&
		(submit->ndepends > 0 || submit->with_parent))
		taskq_invalid("a task that belongs to others cannot replace one",
					  "Leave \"depends_on\" and option \"cancel_with_parent\" out, or pass another argument \"on_conflict\".");
	taskq_submit_claims(submit);
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

static bool
same_payload(TaskqRow *row, Datum payload)
{
	return taskq_row_isnull(row, payload) ||
		compareJsonbContainers(&DatumGetJsonbP(taskq_row_value(row, payload))->root,
							   &DatumGetJsonbP(payload)->root) == 0;
}

/*
 * taskq_submit_check_same - a key that comes again with something else was
 * not made for this request: PT422
 *
 * Whether a task that the caller may not see has this payload is not told:
 * it could be guessed so.
 */
void
taskq_submit_check_same(const pg_uuid_t *id, Datum payload)
{
	const TaskqLaneDef *lane;
	TaskqRow	row;

	if (!taskq_store_find(id, &row))
		return;
	lane = taskq_lane_get(DatumGetInt32(taskq_row_value(&row, lane)));
	if (lane != NULL && taskq_row_may_see(lane, &row) &&
		same_payload(&row, payload))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_TASK_KEY_REUSED),
			 errmsg("another payload was submitted with this Idempotency-Key"),
			 errhint("Send a new key with each new request, and the same one only with the same request again.")));
}

/*
 * taskq_submit_once - submit one task
 *
 * False if a task that is there stands for it, whose id is *id then.  Raises
 * PT422 if that came of a request with the same Idempotency-Key and another
 * payload.
 */
bool
taskq_submit_once(TaskqSubmit *submit, Datum payload, pg_uuid_t *id)
{
	bool		submitted = taskq_submit_rows(submit, &payload, 1, id);

	if (!submitted && submit->unique_request)
		taskq_submit_check_same(id, payload);
	return submitted;
}

/* Insert them, and tell who audits submits. */
static void
submit_rows(TaskqSubmit *submit, Datum *payloads, int n, pg_uuid_t *ids)
{
	TaskqAction action = {.verb = "submit",.object = "task",
	.row = &submit->row};

	if (n == 1 ? !taskq_submit_once(submit, payloads[0], ids)
		: !taskq_submit_rows(submit, payloads, n, ids))
	{
		action.row = NULL;
		action.outcome = "a task had its unique key";
	}
	if (taskq_audit != TASKQ_AUDIT_ALL)
		return;
	taskq_actions_begin(NULL);
	PG_TRY();
	{
		for (int i = 0; i < n; i++)
		{
			action.task = &ids[i];
			taskq_action(&action);
		}
		taskq_actions_write();
	}
	PG_FINALLY();
	{
		taskq_actions_end();
	}
	PG_END_TRY();
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

	taskq_submit_prepare(&submit, kind_arg(fcinfo), fcinfo, 2);
	payload = payload_or_default(PG_GETARG_DATUM(1), PG_ARGISNULL(1),
								 "payload");
	submit_rows(&submit, &payload, 1, id);
	PG_RETURN_UUID_P(id);
}

/* The same, each with a key of its own; the first one is prepared. */
static void
submit_each(TaskqSubmit *submit, FunctionCallInfo fcinfo, Datum *payloads,
			int n, pg_uuid_t *ids)
{
	for (int i = 0; i < n; i++)
	{
		CHECK_FOR_INTERRUPTS();
		if (i > 0)
			taskq_submit_prepare(submit, kind_arg(fcinfo), fcinfo, 2);
		submit_rows(submit, &payloads[i], 1, &ids[i]);
	}
}

/* TaskqSubmit these and return their ids as a set. */
static void
submit_set(FunctionCallInfo fcinfo, Datum *payloads, bool *nulls, int n)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	TaskqSubmit submit;
	pg_uuid_t  *ids = palloc_extended(sizeof(pg_uuid_t) * Max(n, 1),
									  MCXT_ALLOC_HUGE);

	taskq_submit_prepare(&submit, kind_arg(fcinfo), fcinfo, 2);
	if (submit.unique_key != NULL && n > 1 && !submit.unique_request)
		taskq_invalid("a unique_key is for one task, not for several",
					  "Call taskq.task_submit() for each, with an argument \"unique_key\" of its own.");
	for (int i = 0; i < n; i++)
		payloads[i] = payload_or_default(payloads[i],
										 nulls != NULL && nulls[i],
										 "payloads");
	if (!submit.unique_request || n == 0)
		submit_rows(&submit, payloads, n, ids);
	else
		submit_each(&submit, fcinfo, payloads, n, ids);

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

	taskq_http_refuse_sql();
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

	taskq_submit_prepare(&submit, TASKQ_SQL_KIND, fcinfo, 1);
	datum = JsonbPGetDatum(payload);
	submit_rows(&submit, &datum, 1, id);
	PG_RETURN_UUID_P(id);
}
