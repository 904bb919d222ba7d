/* outbox.h: tables outbox_0 ...: tasks whose end the feed may not have yet */
#ifndef TASKQ_OUTBOX_STORE_H
#define TASKQ_OUTBOX_STORE_H

#include "postgres.h"

#include "base/id.h"
#include "datatype/timestamp.h"
#include "storage/block.h"

#define TASKQ_OUTBOX_IDS 450	/* in a row, which is not toasted */
#define TASKQ_OUTBOX_FULL 16384 /* blocks: nothing is written to it */

extern int	taskq_outbox_insert(int first, const pg_uuid_t *ids, int n);
extern BlockNumber taskq_outbox_blocks(int outbox);
extern bool taskq_outbox_lock(int outbox);
extern void taskq_outbox_truncate(int outbox);
extern bool taskq_outbox_read(int outbox, pg_uuid_t **ids, int *n,
							  TimestampTz *since);

#endif
