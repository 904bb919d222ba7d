/* pgcron.h: jobs of pg_cron */
#ifndef TASKQ_PGCRON_H
#define TASKQ_PGCRON_H

#include "postgres.h"

extern void taskq_pgcron_init(void);
extern void taskq_pgcron_require(void);
extern const char *taskq_pgcron_timezone(void);
extern void taskq_pgcron_set(const char *schedule, const char *expression,
							 const char *role);
extern void taskq_pgcron_forget_database(Oid database);
extern void taskq_pgcron_rename_database(Oid database, const char *new_name);

extern PGDLLEXPORT void taskq_pgcron_main(Datum arg);

#endif
