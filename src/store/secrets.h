/*
 * secrets.h: table secret: members of payloads that are shown to nobody but
 * the handler
 */
#ifndef TASKQ_SECRETS_H
#define TASKQ_SECRETS_H

#include "postgres.h"

#include "store/defs.h"
#include "store/tasks.h"
#include "utils/array.h"

extern void taskq_secrets_init(void);
extern void taskq_secrets_check(ArrayType *members);
extern ArrayType *taskq_secrets_of(const char *kind, int32 owner);
extern void taskq_secrets_write(const char *kind, int32 owner,
								ArrayType *members);
extern bool taskq_secrets_name(ArrayType *members, const char *member);
extern Datum taskq_secrets_mask(Datum value, const char *kind, int32 owner);
extern Datum taskq_secrets_mask_step(Datum step);
extern Datum taskq_secrets_shown(TaskqRow *row, const TaskqLaneDef *lane,
								 int column);

#endif
