/*-------------------------------------------------------------------------
 *
 * tasklog.c
 *		What the task that runs in this worker logs: by itself, and by raising
 *		notices.
 *
 * A worker has no client, so a NOTICE goes nowhere, and PostgreSQL does not
 * even make one that is below log_min_messages.  As long as a handler runs,
 * that is what taskq.capture_notices asks for; the hook that is called with
 * each message before it goes to the server's log takes it, and keeps those
 * from the log that would not have come there.
 *
 * A message may be raised anywhere, also under locks, and the hook must not
 * raise an error.  So where there is no room in the ring it waits only if
 * nothing is held, and not beyond an interrupt; what can't go to the ring then
 * is kept here, and goes there before the next line, or when the attempt is
 * over.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "base/guc.h"
#include "base/json.h"
#include "base/shmem.h"
#include "lanes/logring.h"
#include "miscadmin.h"
#include "run/tasklog.h"
#include "store/logs.h"
#include "utils/elog.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#define MAX_KEPT 1000			/* lines that wait here */
#define WAIT_MS 3600000			/* in the hook, for room: till an interrupt */
#define FLUSH_MS 1000			/* at the end of an attempt */

static emit_log_hook_type next_emit_log = NULL;

/* The handler that runs: are its messages captured? */
static bool capturing = false;
static int	level_before;		/* log_min_messages outside of the task */
static int	server_level;		/* ... and what it would be in the task */
static int	raised_to;			/* what it was made instead */
static bool in_hook = false;

/* Lines for which there was no room. */
static MemoryContext kept_context = NULL;
static MemoryContext scratch = NULL;	/* for the hook */
static TaskqLogLine *kept = NULL;
static int	nkept = 0;
static int	nlost = 0;			/* for which there was none here, either */

static Oid
role_of(const TaskqCurrent *current)
{
	return taskq_shared->slots[current->slotno].role;
}

/* taskq_tasklog_enough - what the line says after which none is kept */
char *
taskq_tasklog_enough(void)
{
	return psprintf("further lines of this attempt are not kept: taskq.max_log_lines is %d",
					taskq_max_log_lines);
}

/*
 * Begin the next line of the running task; false if it may log no more.  The
 * last one that it may says so instead.
 */
static bool
next_line(TaskqLogLine *line, int level, const char *message, Jsonb *details)
{
	TaskqCurrent *current = taskq_current;
	int			max = taskq_max_log_lines;

	if (max > 0 && current->log_lines > max)
		return false;
	memset(line, 0, sizeof(*line));
	line->id = current->id;
	line->attempt = current->attempt;
	line->at = GetCurrentTimestamp();
	line->line = ++current->log_lines;
	line->level = level;
	if (max > 0 && line->line > max)
	{
		line->level = TASKQ_LOG_WARNING;
		message = taskq_tasklog_enough();
		details = NULL;
	}
	taskq_log_line_fill(line, message, details);
	return true;
}

/* ---- lines that wait here ---- */

/* Keep a line until there is room; raises nothing but for want of memory. */
static void
keep(const TaskqLogLine *line)
{
	MemoryContext old;

	if (nkept == MAX_KEPT)
	{
		nlost++;
		return;
	}
	old = MemoryContextSwitchTo(kept_context);
	if (kept == NULL)
		kept = palloc(MAX_KEPT * sizeof(TaskqLogLine));
	kept[nkept] = *line;
	kept[nkept].message = pnstrdup(line->message, line->message_len);
	if (line->details != NULL)
		kept[nkept].details =
			(Jsonb *) PG_DETOAST_DATUM_COPY(JsonbPGetDatum(line->details));
	nkept++;
	MemoryContextSwitchTo(old);
}

static void
forget_kept(void)
{
	MemoryContextReset(kept_context);
	kept = NULL;
	nkept = nlost = 0;
}

/* So many of those that wait here are in the ring. */
static void
drop_kept(int n)
{
	memmove(kept, kept + n, (nkept - n) * sizeof(TaskqLogLine));
	nkept -= n;
	if (nkept == 0)
		forget_kept();
}

/* Put what waits here into the ring; false if there is no room in this time. */
static bool
empty_kept(Oid role, int ms)
{
	int			n = 0;

	while (n < nkept && taskq_ring_wait(&kept[n], role, ms))
		n++;
	if (n > 0)
		drop_kept(n);
	return nkept == 0;
}

/*
 * taskq_tasklog_flush - the attempt is over: what waits here goes to the
 * ring, or is lost
 *
 * Outside of the attempt, for a moment only: lines that are still here were
 * left because the task was interrupted while it waited for room.
 */
void
taskq_tasklog_flush(void)
{
	int			lost;

	if (nkept == 0 && nlost == 0)
		return;
	(void) empty_kept(GetSessionUserId(), FLUSH_MS);
	lost = nkept + nlost;
	forget_kept();
	if (lost > 0)
		ereport(WARNING,
				(errcode(ERRCODE_INSUFFICIENT_RESOURCES),
				 errmsg("%d captured messages of a task are lost", lost),
				 errdetail("There was no room for log lines, and the task was interrupted while it waited for some."),
				 errhint("Look in the server log for why they cannot be written, or increase taskq.log_buffer.")));
}

/*
 * taskq_tasklog_undone - these attempts shared a transaction that was undone,
 * and are made again: their logs say so
 */
void
taskq_tasklog_undone(const TaskqSaid *said, int n)
{
	for (int i = 0; i < n; i++)
	{
		TaskqLogLine line = {.id = said[i].id,.attempt = said[i].attempt,
			.at = GetCurrentTimestamp(),.line = said[i].lines + 1,
		.level = TASKQ_LOG_NOTICE};

		taskq_log_line_fill(&line,
							"undone with others of its transaction; the attempt is made again",
							NULL);
		if (!taskq_ring_wait(&line, GetSessionUserId(), FLUSH_MS))
			return;
	}
}

/*
 * taskq_tasklog_say - add a line to the log of the task that runs here
 *
 * Everybody sees it at once, and it stays whatever becomes of the
 * transaction.  Waits while there is no room.
 */
void
taskq_tasklog_say(int level, const char *message, Jsonb *details)
{
	TaskqLogLine line;

	while (nkept > 0)
	{
		taskq_ring_put(&kept[0], role_of(taskq_current));
		drop_kept(1);
	}
	if (next_line(&line, level, message, details))
		taskq_ring_put(&line, role_of(taskq_current));
}

/* ---- messages that are raised ---- */

/* What elog.c does with a level and a setting. */
static bool
is_output(int elevel, int min_level)
{
	if (elevel == LOG || elevel == LOG_SERVER_ONLY)
		return min_level == LOG || min_level <= ERROR;
	if (min_level == LOG)
		return elevel >= FATAL;
	return elevel >= min_level;
}

static int
level_of(int elevel)
{
	return elevel < INFO ? TASKQ_LOG_DEBUG
		: elevel == INFO ? TASKQ_LOG_INFO
		: elevel == NOTICE ? TASKQ_LOG_NOTICE : TASKQ_LOG_WARNING;
}

static bool
is_captured(const ErrorData *error)
{
	return taskq_capture_notices != 0 &&
		error->elevel >= taskq_capture_notices &&
		error->elevel < ERROR &&
		error->elevel != LOG && error->elevel != LOG_SERVER_ONLY &&
		error->elevel != WARNING_CLIENT_ONLY && error->message != NULL;
}

/* What it says beyond its message. */
static Jsonb *
details_of(const ErrorData *error)
{
	JsonbParseState *state = NULL;
	bool		plain = error->sqlerrcode == 0 ||
	error->sqlerrcode == ERRCODE_SUCCESSFUL_COMPLETION ||
	error->sqlerrcode == ERRCODE_WARNING;

	if (plain && error->detail == NULL && error->hint == NULL)
		return NULL;
	taskq_json_begin(&state);
	taskq_json_text(&state, "detail", taskq_log_text(error->detail));
	taskq_json_text(&state, "hint", taskq_log_text(error->hint));
	if (!plain)
		taskq_json_text(&state, "sqlstate",
						unpack_sql_state(error->sqlerrcode));
	return DatumGetJsonbP(taskq_json_end(&state));
}

/* Nothing is held, so that this process may wait, also for long. */
static bool
may_wait(void)
{
	return InterruptHoldoffCount == 0 && CritSectionCount == 0;
}

/*
 * Put a line into the ring, after those that wait here; false if there is no
 * room and it is no use to wait.
 */
static bool
put(TaskqLogLine *line)
{
	Oid			role = role_of(taskq_current);

	if (empty_kept(role, FLUSH_MS) && taskq_ring_wait(line, role, FLUSH_MS))
		return true;
	if (InterruptPending || !IsTransactionState() ||
		taskq_logs_locked_here(&line->id))
		return false;
	return empty_kept(role, WAIT_MS) && taskq_ring_wait(line, role, WAIT_MS);
}

static void
capture(const ErrorData *error)
{
	MemoryContext old = MemoryContextSwitchTo(scratch);
	TaskqLogLine line;

	if (next_line(&line, level_of(error->elevel), error->message,
				  details_of(error)) &&
		!(may_wait() && put(&line)))
		keep(&line);
	MemoryContextSwitchTo(old);
	MemoryContextReset(scratch);
}

static void
on_message(ErrorData *error)
{
	if (capturing && !in_hook && taskq_current != NULL &&
		CritSectionCount == 0 && is_captured(error))
	{
		in_hook = true;
		capture(error);
		in_hook = false;
	}
	if (capturing && log_min_messages == raised_to &&
		!is_output(error->elevel, server_level))
	{
		error->output_to_server = false;
		return;
	}
	if (next_emit_log != NULL)
		next_emit_log(error);
}

/* taskq_tasklog_init - once per worker */
void
taskq_tasklog_init(void)
{
	kept_context = AllocSetContextCreate(TopMemoryContext, "taskq log lines",
										 ALLOCSET_SMALL_SIZES);
	scratch = AllocSetContextCreate(TopMemoryContext, "taskq messages",
									ALLOCSET_SMALL_SIZES);
	next_emit_log = emit_log_hook;
	emit_log_hook = on_message;
}

/* taskq_tasklog_prepare - before a task's settings are made */
void
taskq_tasklog_prepare(void)
{
	level_before = log_min_messages;
}

/* taskq_tasklog_begin - the handler of a task is about to run */
void
taskq_tasklog_begin(void)
{
	server_level = raised_to = log_min_messages;
	in_hook = false;
	if (taskq_capture_notices != 0 &&
		!is_output(taskq_capture_notices, log_min_messages))
		log_min_messages = raised_to = taskq_capture_notices;
	capturing = true;
}

/*
 * taskq_tasklog_end - ... it has run, or is undone; may be called twice
 *
 * After the settings that were made for it, and by it, are undone.
 */
void
taskq_tasklog_end(void)
{
	if (!capturing)
		return;
	capturing = in_hook = false;
	log_min_messages = level_before;
}
