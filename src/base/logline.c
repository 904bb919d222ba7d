/*-------------------------------------------------------------------------
 *
 * logline.c
 *		One line of a task's log: levels, and what is too long.
 *
 * To log shall not make a task fail: what is too long is cut, and what is no
 * text in the database's encoding is made one.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "base/args.h"
#include "base/json.h"
#include "base/logline.h"
#include "mb/pg_wchar.h"

#define CUT_DETAILS 4000		/* bytes of text that are kept of details that
								 * are too large */
#define MAX_TEXT (1024 * 1024)	/* of larger ones not even that */

static const struct
{
	int			level;
	const char *name;
}			levels[] = {
	{TASKQ_LOG_DEBUG, "debug"},
	{TASKQ_LOG_INFO, "info"},
	{TASKQ_LOG_NOTICE, "notice"},
	{TASKQ_LOG_WARNING, "warning"},
	{TASKQ_LOG_ERROR, "error"}
};

/* taskq_log_level_name - the name of a level, or of the one below it */
const char *
taskq_log_level_name(int level)
{
	const char *name = levels[0].name;

	for (int i = 0; i < lengthof(levels) && levels[i].level <= level; i++)
		name = levels[i].name;
	return name;
}

/* taskq_log_level - a level by its name; raises 22023 for any other */
int
taskq_log_level(const char *name)
{
	for (int i = 0; i < lengthof(levels); i++)
	{
		if (pg_strcasecmp(levels[i].name, name) == 0)
			return levels[i].level;
	}
	taskq_invalid("invalid level of a log line",
				  "Argument \"level\" is debug, info, notice, warning or error.");
}

/* Text in the database's encoding: what is not becomes "?". */
static void
make_valid(char *text, int len)
{
	int			done = 0;

	while (done < len)
	{
		int			n = pg_encoding_verifymbstr(GetDatabaseEncoding(),
												text +done, len - done);

		done += n;
		if (done < len)
			text[		done++] = '?';
	}
}

static void
fill_message(TaskqLogLine *line, const char *message)
{
	int			len = strlen(message);
	int			kept = len;
	char		cut[64] = "";

	if (len > TASKQ_LOG_MESSAGE)
	{
		snprintf(cut, sizeof(cut), " [cut: %d bytes]", len);
		kept = pg_mbcliplen(message, len, TASKQ_LOG_MESSAGE - strlen(cut));
	}
	line->message_len = kept + strlen(cut);
	line->message = palloc(line->message_len + 1);
	memcpy(line->message, message, kept);
	make_valid(line->message, kept);
	strcpy(line->message + kept, cut);
}

/*
 * taskq_log_text - a copy of a text that may come from anywhere, valid and
 * not longer than half of what details may have; NULL for NULL
 */
char *
taskq_log_text(const char *text)
{
	int			len;
	char	   *copy;

	if (text == NULL)
		return NULL;
	len = strlen(text);
	if (len > TASKQ_LOG_DETAILS / 2)
		len = pg_mbcliplen(text, len, TASKQ_LOG_DETAILS / 2);
	copy = pnstrdup(text, len);
	make_valid(copy, len);
	return copy;
}

/* What stands for details that are too large. */
static Jsonb *
cut_details(Jsonb *details)
{
	JsonbParseState *state = NULL;

	taskq_json_begin(&state);
	taskq_json_number(&state, "bytes", VARSIZE(details));
	if (VARSIZE(details) <= MAX_TEXT)
	{
		char	   *text = JsonbToCString(NULL, &details->root, 0);

		text[		pg_mbcliplen(text, strlen(text), CUT_DETAILS)] = '\0';

		taskq_json_text(&state, "cut", text);
	}
	return DatumGetJsonbP(taskq_json_end(&state));
}

/*
 * taskq_log_line_fill - put message and details (or NULL) into a line, no
 * longer than they may be
 *
 * The line refers to the details, and to a copy of the message.
 */
void
taskq_log_line_fill(TaskqLogLine *line, const char *message, Jsonb *details)
{
	fill_message(line, message);
	if (details != NULL && VARSIZE(details) > TASKQ_LOG_DETAILS)
		details = cut_details(details);
	line->details = details;
}
