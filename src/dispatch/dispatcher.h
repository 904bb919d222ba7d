/* dispatcher.h: the parts of a dispatcher's pass */
#ifndef TASKQ_DISPATCHER_H
#define TASKQ_DISPATCHER_H

#include "postgres.h"

/* rescue.c: tasks whose worker, or whole server, ended in the middle */
extern void taskq_settle_suspects(void);
extern void taskq_look_after_slots(void);
extern void taskq_settle_cancels(void);
extern bool taskq_server_is_stopping(void);

/* timer.c: tasks that are due, leases that are over */
extern void taskq_renew_leases(void);
extern void taskq_follow_clock(void);
extern void taskq_fire_timers(void);

/* schedule.c: what is submitted again and again */
extern void taskq_check_alerts(void);
extern void taskq_fire_schedules(void);
extern void taskq_move_schedules(int64 by);

/* unblock.c: tasks that wait for others */
extern void taskq_unblock(void);
extern void taskq_unblock_failed(void);
extern bool taskq_unblock_left(void);

/* supply.c: workers where there is work */
extern bool taskq_start_workers(void);

/* lanes.c: what is in the lanes */
extern void taskq_load_lanes(void);
extern void taskq_settle_lanes(void);
extern void taskq_retry_skipped(void);

/* save.c: how far the lanes have come */
extern void taskq_save(void);

/* events.c: the feed, and notifications */
extern void taskq_feed_events(void);
extern bool taskq_send_events(void);
extern bool taskq_send_untold(void);
extern bool taskq_events_untold(void);

/* outbox.c: what was not told */
extern void taskq_see_to_outboxes(void);
extern void taskq_outbox_failed(void);

/* tally.c: what was counted */
extern void taskq_tally(void);
extern void taskq_tally_all(void);
extern void taskq_tally_init(void);

/* logs.c: what tasks log */
extern void taskq_write_logs(void);
extern void taskq_write_last_logs(bool stopping);

/* watch.c */
extern void taskq_watch_snapshots(void);

extern PGDLLEXPORT void taskq_dispatcher_main(Datum arg);

#endif
