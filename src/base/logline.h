/* logline.h: one line of a task's log */
#ifndef TASKQ_LOGLINE_H
#define TASKQ_LOGLINE_H

#include "postgres.h"

#include "base/id.h"
#include "utils/jsonb.h"

#define TASKQ_LOG_MESSAGE 8192	/* bytes; what is longer is cut */
#define TASKQ_LOG_DETAILS 8192	/* bytes of jsonb; of what is larger the
								 * beginning is kept, as text */

/* as stored; names in logline.c */
typedef enum TaskqLogLevel
{
	TASKQ_LOG_DEBUG = 10,
	TASKQ_LOG_INFO = 20,
	TASKQ_LOG_NOTICE = 30,
	TASKQ_LOG_WARNING = 40,
	TASKQ_LOG_ERROR = 50
} TaskqLogLevel;

typedef struct TaskqLogLine
{
	pg_uuid_t	id;				/* of the task */
	int64		seq;			/* rises, in this server */
	TimestampTz at;
	int			attempt;
	int			line;			/* of the attempt, from 1 */
	int			level;
	char	   *message;		/* with \0, which does not count */
	int			message_len;
	Jsonb	   *details;		/* or NULL; its length is VARSIZE */

	/* of one that was read from the ring */
	int			place;			/* where it is there */
	bool		again;			/* it may be in a table already */
} TaskqLogLine;

extern const char *taskq_log_level_name(int level);
extern int	taskq_log_level(const char *name);
extern char *taskq_log_text(const char *text);
extern void taskq_log_line_fill(TaskqLogLine *line, const char *message,
								Jsonb *details);

#endif
