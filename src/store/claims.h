/* claims.h: what a session says of whom it acts for */
#ifndef TASKQ_CLAIMS_H
#define TASKQ_CLAIMS_H

#include "postgres.h"

#include "utils/jsonb.h"

extern const char *taskq_claims_setting(void);
extern Jsonb *taskq_claims_parse(const char *claims);
extern const char *taskq_claims_tenant(Jsonb *claims);
extern Jsonb *taskq_claims_kept(Jsonb *claims);

#endif
