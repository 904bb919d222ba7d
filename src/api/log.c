/*-------------------------------------------------------------------------
 *
 * log.c
 *		Logs of tasks: saying something, and reading it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <limits.h>

#include "access/xact.h"
#include "api/external.h"
#include "api/inside.h"
#include "api/task.h"
#include "base/args.h"
#include "base/current.h"
#include "base/guc.h"
#include "base/logline.h"
#include "fmgr.h"
#include "funcapi.h"
#include "lanes/logring.h"
#include "miscadmin.h"
#include "run/tasklog.h"
#include "store/logs.h"
#include "store/rights.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/jsonb.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#define MAX_LINES 10000			/* that are returned at once */
#define PORTION 1000			/* of the table's, read at once */

/* ---- inside a task ---- */

PG_FUNCTION_INFO_V1(taskq_log);

/*
 * taskq_log - log(message, level, details)
 *
 * Raises 22023 for a level that there is not; too long a message, and too
 * large details, are cut.
 */
Datum
taskq_log(PG_FUNCTION_ARGS)
{
	int			level = taskq_log_level(taskq_arg_text(fcinfo, 1, "info"));
	char	   *message = taskq_arg_text(fcinfo, 0, "");
	Jsonb	   *details = PG_ARGISNULL(2) ? NULL : PG_GETARG_JSONB_P(2);

	if (taskq_in_task())
		taskq_tasklog_say(level, message, details);
	else
	{
		taskq_refuse_over_http("taskq.log()");
		ereport(NOTICE,
				(errmsg("taskq.log() outside of a task, %s: %s",
						taskq_log_level_name(level), message),
				 details ? errdetail("%s", JsonbToCString(NULL, &details->root, 0)) : 0));
	}
	CHECK_FOR_INTERRUPTS();
	PG_RETURN_VOID();
}

/* ---- external workers ---- */

/* What an external worker says goes to the table, in its transaction. */
typedef struct Saying
{
	TaskqLogLine *lines;
	int			n;
	int			room;
	TaskqRow   *row;
	int			line;			/* the number of the last one */
} Saying;

/* Have its attempt's lines come to the limit? */
static bool
says_too_much(const Saying *saying)
{
	return taskq_max_log_lines > 0 && saying->line > taskq_max_log_lines;
}

static TaskqLogLine *
new_line(Saying *saying)
{
	TaskqLogLine *line;

	if (saying->n == saying->room)
	{
		saying->room = Max(16, saying->room * 2);
		saying->lines = saying->lines == NULL
			? palloc(saying->room * sizeof(TaskqLogLine))
			: repalloc_huge(saying->lines,
							saying->room * sizeof(TaskqLogLine));
	}
	line = &saying->lines[saying->n++];
	memset(line, 0, sizeof(*line));
	line->id = *DatumGetUUIDP(taskq_row_value(saying->row, id));
	line->seq = taskq_ring_seq();
	line->at = GetCurrentTimestamp();
	line->line = ++saying->line;
	line->attempt = DatumGetInt16(taskq_row_value(saying->row, attempt));
	return line;
}

static void
say(Saying *saying, int level, const char *message, Jsonb *details,
	TimestampTz at)
{
	TaskqLogLine *line;

	if (says_too_much(saying))
		return;
	line = new_line(saying);
	line->level = level;
	/* a moment that has been; else who computes with it gets an error */
	if (at != DT_NOBEGIN && at < line->at)
		line->at = at;
	if (says_too_much(saying))
	{
		line->level = TASKQ_LOG_WARNING;
		message = taskq_tasklog_enough();
		details = NULL;
	}
	taskq_log_line_fill(line, message, details);
}

/* A member of a line, if it is there and not null. */
static JsonbValue *
member(JsonbContainer * object, const char *name)
{
	JsonbValue	key = {.type = jbvString};
	JsonbValue *value;

	key.val.string.val = unconstify(char *, name);
	key.val.string.len = strlen(name);
	value = findJsonbValueFromContainer(object, JB_FOBJECT, &key);
	return value == NULL || value->type == jbvNull ? NULL : value;
}

static char *
text_member(JsonbContainer * object, const char *name, const char *preset)
{
	JsonbValue *value = member(object, name);

	if (value == NULL)
		return pstrdup(preset);
	if (value->type != jbvString)
		taskq_invalid_argument("lines",
							   psprintf("must have text for \"%s\"", name));
	return pnstrdup(value->val.string.val, value->val.string.len);
}

/* One line of argument lines: an object, or a text that is its message. */
static void
say_item(Saying *saying, JsonbValue *item)
{
	JsonbContainer *object;
	JsonbValue *details;
	TimestampTz at = DT_NOBEGIN;

	if (item->type == jbvString)
	{
		say(saying, TASKQ_LOG_INFO,
			pnstrdup(item->val.string.val, item->val.string.len), NULL, at);
		return;
	}
	if (item->type != jbvBinary || !JsonContainerIsObject(item->val.binary.data))
		taskq_invalid_argument("lines", "must be an array of objects");
	object = item->val.binary.data;
	details = member(object, "details");
	if (member(object, "at") != NULL)
		at = DatumGetTimestampTz(DirectFunctionCall3(timestamptz_in,
													 CStringGetDatum(text_member(object, "at", "")),
													 ObjectIdGetDatum(InvalidOid),
													 Int32GetDatum(-1)));
	say(saying, taskq_log_level(text_member(object, "level", "info")),
		text_member(object, "message", ""),
		details ? JsonbValueToJsonb(details) : NULL, at);
}

static void
say_items(Saying *saying, Jsonb *lines)
{
	JsonbIterator *iterator = JsonbIteratorInit(&lines->root);
	JsonbIteratorToken token;
	JsonbValue	item;

	if (!JB_ROOT_IS_ARRAY(lines) || JB_ROOT_IS_SCALAR(lines))
		taskq_invalid_argument("lines", "must be an array");
	while ((token = JsonbIteratorNext(&iterator, &item, true)) != WJB_DONE)
	{
		CHECK_FOR_INTERRUPTS();
		if (token == WJB_ELEM)
			say_item(saying, &item);
	}
}

/* The number of the attempt's last line; 0 if there is none. */
static int
last_line(const TaskqRow *row)
{
	TaskqLogLine last;
	pg_uuid_t  *id = DatumGetUUIDP(taskq_row_value(row, id));

	if (taskq_logs_read(row->leaf, id, 0, PG_INT64_MIN, true, 1, &last) == 0 ||
		last.attempt != DatumGetInt16(taskq_row_value(row, attempt)))
		return 0;
	return last.line;
}

PG_FUNCTION_INFO_V1(taskq_task_log);

/*
 * taskq_task_log - (id, token, message, level, details, lines) returns how
 * many lines were kept; PT409 when the claim is lost
 *
 * Written at once, in the caller's transaction.
 */
Datum
taskq_task_log(PG_FUNCTION_ARGS)
{
	TaskqRow	row;
	TaskqLease	lease;
	Saying		saying = {.row = &row};
	TaskqLogLine **lines;

	if (PG_ARGISNULL(2) == PG_ARGISNULL(5))
		taskq_invalid("nothing to log, or too much",
					  "Pass either argument \"message\" or argument \"lines\".");
	taskq_claimed_lock(fcinfo, "taskq.task_log()", &row, &lease);
	saying.line = last_line(&row);
	if (!PG_ARGISNULL(2))
		say(&saying, taskq_log_level(taskq_arg_text(fcinfo, 3, "info")),
			taskq_arg_text(fcinfo, 2, ""),
			PG_ARGISNULL(4) ? NULL : PG_GETARG_JSONB_P(4), DT_NOBEGIN);
	else
		say_items(&saying, PG_GETARG_JSONB_P(5));
	lines = palloc(sizeof(TaskqLogLine *) * Max(saying.n, 1));
	for (int i = 0; i < saying.n; i++)
		lines[i] = &saying.lines[i];
	taskq_logs_insert(row.leaf, lines, saying.n);
	CommandCounterIncrement();
	PG_RETURN_INT32(saying.n);
}

/* ---- reading ---- */

/* What is asked for. */
typedef struct Wanted
{
	pg_uuid_t	id;
	int			level;			/* or above */
	int64		after;
	int			max;
	bool		last;			/* the last ones, not the first */
} Wanted;

static int
by_seq(const void *a, const void *b)
{
	int64		first = ((const TaskqLogLine *) a)->seq;
	int64		second = ((const TaskqLogLine *) b)->seq;

	return first < second ? -1 : first > second ? 1 : 0;
}

/* Those lines of the ring that are asked for; how many. */
static int
ring_lines(const Wanted *wanted, TaskqLogLine **lines)
{
	int			n;
	int			kept = 0;

	*lines = taskq_ring_read(&wanted->id, &n);
	for (int i = 0; i < n; i++)
	{
		if ((*lines)[i].level >= wanted->level &&
			(*lines)[i].seq > wanted->after)
			(*lines)[kept++] = (*lines)[i];
	}
	return kept;
}

/*
 * The lines asked for, in order; how many.
 *
 * The ring first: what goes from there to the table meanwhile is met twice,
 * never not at all.
 */
static int
find_lines(const Wanted *wanted, int leaf, TaskqLogLine **found)
{
	TaskqLogLine *ring;
	int			nring = ring_lines(wanted, &ring);
	TaskqLogLine *lines = palloc_extended(sizeof(TaskqLogLine) *
										  (wanted->max + nring),
										  MCXT_ALLOC_HUGE);
	int			n;
	int			unique = 0;

	n = taskq_logs_read(leaf, &wanted->id, wanted->level, wanted->after,
						wanted->last, wanted->max, lines);
	if (nring > 0)
		memcpy(lines + n, ring, nring * sizeof(TaskqLogLine));
	n += nring;
	qsort(lines, n, sizeof(TaskqLogLine), by_seq);
	for (int i = 0; i < n; i++)
	{
		if (unique == 0 || lines[unique - 1].seq != lines[i].seq)
			lines[unique++] = lines[i];
	}
	n = Min(unique, wanted->max);
	*found = wanted->last ? lines + unique - n : lines;
	return n;
}

static void
put_line(ReturnSetInfo *rsinfo, const TaskqLogLine *line)
{
	Datum		values[8] = {UUIDPGetDatum(&line->id),
		Int64GetDatum(line->seq),
		TimestampTzGetDatum(line->at),
		CStringGetTextDatum(taskq_log_level_name(line->level)),
		PointerGetDatum(cstring_to_text_with_len(line->message,
												 line->message_len)),
		0,
		Int16GetDatum(line->attempt),
	Int32GetDatum(line->line)};
	bool		nulls[8] = {false};

	nulls[5] = line->details == NULL;
	if (line->details != NULL)
		values[5] = JsonbPGetDatum(line->details);
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
}

PG_FUNCTION_INFO_V1(taskq_task_logs);

/*
 * taskq_task_logs - (id, level, after, n) returns rows of taskq.task_log;
 * PT404 if there is no such task
 */
Datum
taskq_task_logs(PG_FUNCTION_ARGS)
{
	Wanted		wanted = {.id = taskq_arg_id(fcinfo, 0),.after = PG_INT64_MIN};
	int			n = PG_ARGISNULL(3) ? 1000 : PG_GETARG_INT32(3);
	int			leaf;
	TaskqRow	row;
	TaskqLogLine *lines;

	if (!PG_ARGISNULL(1))
		wanted.level = taskq_log_level(taskq_arg_text(fcinfo, 1, ""));
	if (!PG_ARGISNULL(2))
		wanted.after = PG_GETARG_INT64(2);
	if (n < -MAX_LINES || n > MAX_LINES)
		taskq_invalid_argument("n", psprintf("must be between %d and %d",
											 -MAX_LINES, MAX_LINES));
	wanted.last = n < 0;
	wanted.max = abs(n);
	taskq_defs_begin();
	taskq_task_require(&wanted.id, &row);
	InitMaterializedSRF(fcinfo, 0);
	do
	{
		/* until it has stayed where it is meanwhile */
		leaf = row.leaf;
		n = find_lines(&wanted, leaf, &lines);
	} while (taskq_store_find(&wanted.id, &row) && row.leaf != leaf);
	for (int i = 0; i < n; i++)
		put_line((ReturnSetInfo *) fcinfo->resultinfo, &lines[i]);
	return (Datum) 0;
}

PG_FUNCTION_INFO_V1(taskq_ring_lines);

/* One for the view, if the view's query does not find it in a table. */
static void
put_ring_line(ReturnSetInfo *rsinfo, const TaskqLogLine *line, int leaf)
{
	Datum		values[1 + TASKQ_LOG_COLUMNS] = {Int16GetDatum(leaf)};
	bool		nulls[1 + TASKQ_LOG_COLUMNS] = {false};

	if (leaf < 0 ||
		(line->again && taskq_logs_has(leaf, line, GetActiveSnapshot())))
		return;
	taskq_logs_values(line, values + 1, nulls + 1);
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
}

/* The leaf of a task that the caller may see, for the calling query, or -1. */
static int
visible_leaf(const pg_uuid_t *id)
{
	const TaskqLaneDef *lane;
	TaskqRow	row;

	if (!taskq_store_find(id, &row))
		return -1;
	lane = taskq_lane_get(DatumGetInt32(taskq_row_value(&row, lane)));
	if (lane == NULL || !taskq_row_may_see(lane, &row))
		return -1;
	return taskq_logs_leaf(id, GetActiveSnapshot());
}

/*
 * taskq_ring_lines - lines of this database that the calling query finds in
 * no table, of tasks that the caller may see; for the view
 */
Datum
taskq_ring_lines(PG_FUNCTION_ARGS)
{
	TaskqLogLine *lines;
	int			leaf = -1;
	int			n;

	taskq_store_require();
	InitMaterializedSRF(fcinfo, 0);
	taskq_defs_begin();
	lines = taskq_ring_read(NULL, &n);
	for (int i = 0; i < n; i++)
	{
		CHECK_FOR_INTERRUPTS();
		if (i == 0 || !taskq_id_eq(&lines[i].id, &lines[i - 1].id))
			leaf = visible_leaf(&lines[i].id);
		put_ring_line((ReturnSetInfo *) fcinfo->resultinfo, &lines[i], leaf);
	}
	return (Datum) 0;
}
