/* command.h: running SQL text as a task */
#ifndef TASKQ_COMMAND_H
#define TASKQ_COMMAND_H

#include "postgres.h"

#include "nodes/pg_list.h"

extern List *taskq_command_parse(const char *sql);
extern bool taskq_command_is_plain(List *commands);
extern Datum taskq_command_run(const char *sql, List *commands,
							   bool own_transactions);

#endif
