/* guc.h: the settings of taskq */
#ifndef TASKQ_GUC_H
#define TASKQ_GUC_H

#include "postgres.h"

typedef enum TaskqNotify
{
	TASKQ_NOTIFY_OFF,
	TASKQ_NOTIFY_FINAL,
	TASKQ_NOTIFY_ALL
} TaskqNotify;

typedef enum TaskqAuditLevel
{
	TASKQ_AUDIT_OFF,
	TASKQ_AUDIT_ACTIONS,
	TASKQ_AUDIT_ALL				/* submits, too */
} TaskqAuditLevel;

#define TASKQ_MAX_RETENTION (60 * 24 * 3650)	/* ten years */

extern int	taskq_alert_interval;	/* ms */
extern int	taskq_stalled_after;	/* ms; 0: nothing stalls */
extern int	taskq_audit;
extern int	taskq_audit_retention;	/* minutes; -1 for ever */
extern int	taskq_event_retention;	/* minutes; 0: there is no feed */

/* Which failures the server log tells of. */
typedef enum TaskqLogFailures
{
	TASKQ_FAILURES_OFF,
	TASKQ_FAILURES_FINAL,
	TASKQ_FAILURES_ATTEMPTS
} TaskqLogFailures;

extern int	taskq_log_buffer;	/* kB */
extern int	taskq_max_log_lines;
extern int	taskq_capture_notices;	/* the lowest of PostgreSQL's levels, or 0 */
extern int	taskq_log_failures;
extern int	taskq_max_running;
extern int	taskq_default_timeout;
extern int	taskq_max_workers;
extern int	taskq_max_workers_per_role;
extern bool taskq_reserve_worker;
extern int	taskq_max_dispatchers;
extern int	taskq_max_databases;
extern int	taskq_max_lanes;
extern int	taskq_node;
extern int	taskq_worker_idle_timeout;	/* ms; -1 never */
extern int	taskq_worker_max_tasks;
extern char *taskq_databases;
extern int	taskq_notify;
extern int	taskq_max_payload;	/* kB */
extern int	taskq_max_result;	/* kB */
extern int	taskq_retention;	/* minutes, or -1: for ever */
extern int	taskq_statistics_retention;
extern int	taskq_warn_snapshot_age;	/* minutes */
extern int	taskq_max_pending_per_role;
extern int	taskq_max_pending_per_tenant;
extern int	taskq_max_children;
extern int	taskq_max_depth;
extern int	taskq_max_wait;		/* ms; 0 no limit */
extern bool taskq_start_paused;
extern char *taskq_trusted_gateways;
extern char *taskq_tenant_claim;
extern char *taskq_stored_claims;
extern bool taskq_require_tenant;

extern void taskq_guc_init(void);
extern void taskq_guc_init_tenants(void);

/* Is this database one that taskq.databases names? */
extern bool taskq_database_enabled(const char *name);
extern bool taskq_gateway_trusted(const char *role);

#endif
