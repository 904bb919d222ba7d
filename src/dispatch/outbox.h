/* outbox.h: the feed's part of the dispatcher's pass, among its files */
#ifndef TASKQ_DISPATCH_OUTBOX_H
#define TASKQ_DISPATCH_OUTBOX_H

#include "postgres.h"

/* outbox.c */
extern void taskq_outbox_passed(int n);
extern bool taskq_outbox_looking(void);

/* events.c */
extern void taskq_feed_append_untold(void);
extern void taskq_feed_appended(void);
extern void taskq_feed_wake(void);

#endif
