/*-------------------------------------------------------------------------
 *
 * guc.c
 *		The settings of taskq.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <limits.h>

#include "base/compat.h"
#include "base/guc.h"
#include "base/shmem.h"
#include "base/usage.h"
#include "miscadmin.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/varlena.h"

int			taskq_alert_interval = 10000;
int			taskq_stalled_after = 60000;
int			taskq_audit = TASKQ_AUDIT_ACTIONS;
int			taskq_audit_retention = 90 * 24 * 60;
int			taskq_event_retention = 24 * 60;
int			taskq_max_workers = 4;
int			taskq_max_workers_per_role = 0;
int			taskq_max_running = 0;
int			taskq_default_timeout = 0;
bool		taskq_reserve_worker = true;
int			taskq_max_dispatchers = 2;
int			taskq_max_databases = 64;
int			taskq_max_lanes = 1024;
int			taskq_node = 0;
int			taskq_worker_idle_timeout = 60000;
int			taskq_worker_max_tasks = 1000000;
char	   *taskq_databases = NULL;
int			taskq_notify = TASKQ_NOTIFY_FINAL;
int			taskq_max_payload = 1024;
int			taskq_max_result = 1024;
int			taskq_retention = 24 * 60;
int			taskq_statistics_retention = 400;
int			taskq_warn_snapshot_age = 10 * 60 * 1000;
int			taskq_max_pending_per_role = 1000000;
int			taskq_max_pending_per_tenant = 0;
int			taskq_max_children = 100000;
int			taskq_max_depth = 100;
int			taskq_max_wait = 60000;
int			taskq_log_buffer = 1024;
int			taskq_max_log_lines = 10000;
int			taskq_capture_notices = INFO;
int			taskq_log_failures = TASKQ_FAILURES_OFF;
bool		taskq_start_paused = false;
char	   *taskq_trusted_gateways = NULL;
char	   *taskq_tenant_claim = NULL;
char	   *taskq_stored_claims = NULL;
bool		taskq_require_tenant = false;

static const struct config_enum_entry notify_options[] = {
	{"off", TASKQ_NOTIFY_OFF, false},
	{"final", TASKQ_NOTIFY_FINAL, false},
	{"all", TASKQ_NOTIFY_ALL, false},
	{NULL, 0, false}
};

static const struct config_enum_entry audit_options[] = {
	{"off", TASKQ_AUDIT_OFF, false},
	{"actions", TASKQ_AUDIT_ACTIONS, false},
	{"all", TASKQ_AUDIT_ALL, false},
	{NULL, 0, false}
};

/* INFO is less than NOTICE there, but whoever uses it wants to be heard. */
static const struct config_enum_entry capture_options[] = {
	{"off", 0, false},
	{"warning", WARNING, false},
	{"notice", INFO, false},
	{"debug", DEBUG2, false},
	{NULL, 0, false}
};

static const struct config_enum_entry failures_options[] = {
	{"off", TASKQ_FAILURES_OFF, false},
	{"final", TASKQ_FAILURES_FINAL, false},
	{"attempts", TASKQ_FAILURES_ATTEMPTS, false},
	{NULL, 0, false}
};

/* check_hook: something, or -1 for ever */
static bool
check_retention(int *newval, void **extra, GucSource source)
{
	if (*newval != 0)
		return true;
	GUC_check_errdetail("It must be a minute at least, or -1: for ever.");
	return false;
}

/* check_hook: a list of names */
static bool
check_names(char **newval, void **extra, GucSource source)
{
	char	   *copy = pstrdup(*newval);
	List	   *names;
	bool		ok = SplitGUCList(copy, ',', &names);

	if (!ok)
		GUC_check_errdetail("List syntax is invalid.");
	pfree(copy);
	return ok;
}

/*
 * taskq_guc_init_tenants - define the settings by which tenants are kept
 * apart
 *
 * Also where the library is not preloaded: what was put into the tables can
 * still be looked at there, and a setting that nobody defined is for
 * everybody to set.
 */
void
taskq_guc_init_tenants(void)
{
	DefineCustomStringVariable("taskq.trusted_gateways",
							   "Roles whose sessions state truly for whom they act.",
							   "The setting request.jwt.claims of a session of these roles (such as PostgREST's authenticator) is believed.",
							   &taskq_trusted_gateways, "", PGC_SUSET, GUC_LIST_INPUT, check_names,
							   NULL, NULL);
	DefineCustomStringVariable("taskq.tenant_claim", "The claim that names the tenant; of a nested one the path, as in app_metadata.tenant_id.",
							   "Tasks are seen and steered only by their own tenant, where a trusted gateway is used.",
							   &taskq_tenant_claim, "sub", PGC_SUSET, 0, NULL, NULL, NULL);
	DefineCustomStringVariable("taskq.stored_claims",
							   "The claims that are kept with a task; * for all.",
							   "The one that names the tenant is always kept.",
							   &taskq_stored_claims, "role, sub", PGC_SUSET, GUC_LIST_INPUT, check_names,
							   NULL, NULL);
	DefineCustomBoolVariable("taskq.require_tenant",
							 "Refuse sessions that act for others and do not say for which tenant.",
							 "They are refused too when they are of no trusted gateway. Operators and monitors are not.",
							 &taskq_require_tenant, false, PGC_SUSET, 0, NULL, NULL, NULL);
}

/*
 * taskq_guc_init - define the settings
 *
 * Those that size shared memory can be set only at server start, and only
 * while the library is preloaded.
 */
void
taskq_guc_init(void)
{
	DefineCustomIntVariable("taskq.max_workers",
							"Maximum number of taskq worker processes in the whole server.",
							"They are taken from max_worker_processes. 0 stops taskq from running tasks.",
							&taskq_max_workers, 4, 0, TASKQ_MAX_WORKERS, PGC_SIGHUP, 0, NULL,
							NULL, NULL);
	DefineCustomIntVariable("taskq.max_dispatchers",
							"Maximum number of databases that taskq serves at the same moment.",
							"Each takes one of max_worker_processes while it has tasks to run; others take turns.",
							&taskq_max_dispatchers, 2, 1, 1024, PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("taskq.max_workers_per_role",
							"Maximum number of workers of one role in one database; 0: as many as there are.",
							NULL, &taskq_max_workers_per_role, 0, 0, TASKQ_MAX_WORKERS,
							PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("taskq.max_running",
							"Maximum number of tasks of one database that run at a time; 0: no limit.",
							"In workers of the server and outside.",
							&taskq_max_running, 0, 0, INT_MAX, PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("taskq.default_timeout",
							"Longest run time of tasks that have no timeout of their own, nor one of their kind; 0: no limit.",
							NULL, &taskq_default_timeout, 0, 0, INT_MAX, PGC_SIGHUP, GUC_UNIT_MS, NULL,
							NULL, NULL);
	DefineCustomBoolVariable("taskq.reserve_worker",
							 "A role that holds all other workers does not get the last one.",
							 "As soon as a second role has had something to do. So endless tasks of one role do not keep the others from running.",
							 &taskq_reserve_worker, true, PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("taskq.max_databases",
							"Number of databases with taskq that shared memory has room for.",
							NULL, &taskq_max_databases, 64, 1, 10000, PGC_POSTMASTER, 0, NULL,
							NULL, NULL);
	DefineCustomIntVariable("taskq.node",
							"Number of this server, which the ids of its tasks carry.",
							"Of several servers that share the work each has its own, so that an id tells which one has the task: taskq.task_node(id).",
							&taskq_node, 0, 0, 1023, PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("taskq.max_lanes",
							"Number of lanes (role, queue, kind, priority) that shared memory has room for.",
							"More lanes than that still work, but need scans of the tables.",
							&taskq_max_lanes, 1024, 16, 1000000, PGC_POSTMASTER, 0, NULL, NULL,
							NULL);
	DefineCustomIntVariable("taskq.worker_idle_timeout",
							"How long a worker without work stays.",
							"-1 keeps workers for ever.",
							&taskq_worker_idle_timeout, 60000, -1, INT_MAX,
							PGC_SIGHUP, GUC_UNIT_MS, NULL, NULL, NULL);
	DefineCustomIntVariable("taskq.worker_max_tasks",
							"A worker process is replaced after this many tasks.",
							NULL, &taskq_worker_max_tasks, 1000000, 1,
							INT_MAX, PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomStringVariable("taskq.databases", "Databases in which taskq runs tasks.",
							   "A list of names, or * for all that have the extension.",
							   &taskq_databases, "*", PGC_SIGHUP, GUC_LIST_INPUT, check_names, NULL,
							   NULL);
	DefineCustomEnumVariable("taskq.notify",
							 "Which changes of state are announced with NOTIFY taskq.",
							 NULL, &taskq_notify, TASKQ_NOTIFY_FINAL,
							 notify_options, PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("taskq.max_payload",
							"Maximum size of a task's payload.", NULL,
							&taskq_max_payload, 1024, 1, 255 * 1024,
							PGC_SUSET, GUC_UNIT_KB, NULL, NULL, NULL);
	DefineCustomIntVariable("taskq.max_result",
							"Maximum size of a task's result.",
							"A task that returns more fails.",
							&taskq_max_result, 1024, 1, 255 * 1024,
							PGC_SIGHUP, GUC_UNIT_KB, NULL, NULL, NULL);
	DefineCustomIntVariable("taskq.track_resources",
							"Attempts that run for at least so long are kept with what they used; 0: all, -1: none.",
							"Processor time, memory, blocks, temporary files and WAL.",
							&taskq_track_resources, 10, -1, 24 * 3600 * 1000, PGC_SIGHUP,
							GUC_UNIT_MS, NULL, NULL, NULL);
	DefineCustomIntVariable("taskq.warn_snapshot_age",
							"Age of the oldest snapshot from which on the log warns of dead rows; -1: never.",
							"The warning names who holds it, when taskq has many dead rows.",
							&taskq_warn_snapshot_age, 10 * 60 * 1000, -1, INT_MAX, PGC_SIGHUP,
							GUC_UNIT_MS, NULL, NULL, NULL);
	DefineCustomIntVariable("taskq.retention", "How long finished tasks are kept; -1: for ever.",
							"Tasks are removed in large portions, so some stay longer, by up to half of it.",
							&taskq_retention, 24 * 60, -1, TASKQ_MAX_RETENTION, PGC_SIGHUP,
							GUC_UNIT_MIN, check_retention, NULL, NULL);
	DefineCustomIntVariable("taskq.statistics_retention",
							"How many days statistics are kept.",
							"Numbers of each day; those of hours and minutes are kept for 15 days and 3 hours.",
							&taskq_statistics_retention, 400, 1, 36500, PGC_SIGHUP, 0, NULL, NULL,
							NULL);
	DefineCustomIntVariable("taskq.max_pending_per_role",
							"Maximum number of tasks of one role that wait to be run.",
							"Counted by estimate in shared memory. 0 is no limit; it does not hold for superusers.",
							&taskq_max_pending_per_role, 1000000, 0, INT_MAX, PGC_SUSET, 0, NULL,
							NULL, NULL);
	DefineCustomIntVariable("taskq.max_pending_per_tenant",
							"Number of tasks of one tenant of a role that may wait.",
							"By estimate.  0 means that only taskq.max_pending_per_role counts.",
							&taskq_max_pending_per_tenant, 0, 0, INT_MAX, PGC_SUSET, 0, NULL,
							NULL, NULL);
	DefineCustomIntVariable("taskq.max_children",
							"Maximum number of tasks that one attempt at a task submits.",
							"0 is no limit.", &taskq_max_children, 100000, 0, INT_MAX, PGC_SUSET,
							0, NULL, NULL, NULL);
	DefineCustomIntVariable("taskq.max_depth",
							"Maximum number of tasks that a task descends from.",
							"A task submitted inside another one is its child. 0 is no limit.",
							&taskq_max_depth, 100, 0, 32767, PGC_SUSET, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("taskq.max_wait",
							"Longest time that a call waits for tasks to finish, or for one to claim.",
							"0 is no limit; it does not hold for superusers and task_wait_long.",
							&taskq_max_wait, 60000, 0, INT_MAX, PGC_SUSET, GUC_UNIT_MS, NULL,
							NULL, NULL);
	DefineCustomIntVariable("taskq.log_buffer",
							"Shared memory for log lines of tasks on their way to the tables.",
							"A task that logs while it is full waits.",
							&taskq_log_buffer, 1024, 64, 1024 * 1024, PGC_POSTMASTER, GUC_UNIT_KB,
							NULL, NULL, NULL);
	DefineCustomIntVariable("taskq.max_log_lines",
							"Maximum number of log lines of one attempt at a task.",
							"Further ones are not kept, and the last one says so. 0 is no limit.",
							&taskq_max_log_lines, 10000, 0, INT_MAX, PGC_SUSET, 0, NULL, NULL,
							NULL);
	DefineCustomEnumVariable("taskq.capture_notices",
							 "Which messages of a handler become lines of its task's log.",
							 "Those of this level or above, below an error; notice has those of level info, too.",
							 &taskq_capture_notices, INFO, capture_options, PGC_USERSET, 0, NULL,
							 NULL, NULL);
	DefineCustomEnumVariable("taskq.log_failures",
							 "Which failures of tasks the server log tells of.",
							 "One line each, without payload: final ones, or each attempt.",
							 &taskq_log_failures, TASKQ_FAILURES_OFF, failures_options, PGC_SIGHUP,
							 0, NULL, NULL, NULL);
	DefineCustomBoolVariable("taskq.start_paused",
							 "Run no tasks after the server has started until taskq.resume() is called.",
							 "For physical copies of a server, which cannot be told from the original.",
							 &taskq_start_paused, false, PGC_POSTMASTER, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("taskq.alert_interval",
							"How often alerts and running tasks are looked after.",
							"Only while something waits, runs, or fires.",
							&taskq_alert_interval, 10000, 100, 3600000, PGC_SIGHUP,
							GUC_UNIT_MS, NULL, NULL, NULL);
	DefineCustomIntVariable("taskq.stalled_after",
							"Running tasks that show no sign of life for so long are called stalled.",
							"Three times what its kind usually takes, if that is longer.  0: none is.",
							&taskq_stalled_after, 60000, 0, INT_MAX, PGC_SIGHUP,
							GUC_UNIT_MS, NULL, NULL, NULL);
	DefineCustomEnumVariable("taskq.audit", "What is written into the audit.",
							 "actions: who cancelled, retried, paused, defined what, and the like; all: also who submitted what.",
							 &taskq_audit, TASKQ_AUDIT_ACTIONS, audit_options, PGC_SUSET, 0, NULL,
							 NULL, NULL);
	DefineCustomIntVariable("taskq.audit_retention", "How long the audit is kept; -1: for ever.",
							"Rows are deleted in portions, so some stay longer.",
							&taskq_audit_retention, 90 * 24 * 60, -1, 60 * 24 * 36500, PGC_SIGHUP,
							GUC_UNIT_MIN, NULL, NULL, NULL);
	DefineCustomIntVariable("taskq.event_retention",
							"How long taskq.events_since() can tell that a task has ended; 0: never.",
							"Of many tasks the last ten million ends, if that is less.",
							&taskq_event_retention, 24 * 60, 0, TASKQ_MAX_RETENTION, PGC_SIGHUP,
							GUC_UNIT_MIN, NULL, NULL, NULL);
	taskq_guc_init_tenants();
	MarkGUCPrefixReserved("taskq");
}

/* Is a name, or *, in a list of names? */
static bool
name_listed(const char *names_setting, const char *name)
{
	char	   *copy = pstrdup(names_setting);
	List	   *names;
	ListCell   *lc;
	bool		found = false;

	if (SplitGUCList(copy, ',', &names))
	{
		foreach(lc, names)
		{
			const char *item = lfirst(lc);

			if (strcmp(item, "*") == 0 || strcmp(item, name) == 0)
				found = true;
		}
		list_free(names);
	}
	pfree(copy);
	return found;
}

/*
 * taskq_database_enabled - does taskq run tasks in a database of this name?
 */
bool
taskq_database_enabled(const char *name)
{
	return name_listed(taskq_databases, name);
}

/* taskq_gateway_trusted - may sessions of this role say for whom they act? */
bool
taskq_gateway_trusted(const char *role)
{
	return taskq_trusted_gateways[0] != '\0' &&
		name_listed(taskq_trusted_gateways, role);
}
