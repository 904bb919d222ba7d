/* handler.h: calling the function of a kind */
#ifndef TASKQ_HANDLER_H
#define TASKQ_HANDLER_H

#include "postgres.h"

extern void taskq_handler_init(void);
extern Datum taskq_handler_call(const char *signature, Datum payload,
								bool *isnull);

#endif
