/*-------------------------------------------------------------------------
 *
 * current.c
 *		The task that runs in this session.
 *
 * Set by who runs it (run/), asked by everybody who has to know who acts
 * here: rights, submits, progress, waits.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "base/current.h"

TaskqCurrent *taskq_current = NULL;
int64		taskq_retry_us = -1;
