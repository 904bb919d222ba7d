/*-------------------------------------------------------------------------
 *
 * pgcron.c
 *		Jobs of pg_cron.
 *
 * They are in a table of one database, which need not be ours: a short-lived
 * process that is connected to that one writes them.  It begins right before
 * our transaction commits, so that what is wrong is an error of ours; and it
 * commits when ours has, or else rolls back.  Between these two commits a
 * crash leaves a job that calls for nothing, or a schedule that is not
 * called: its next call removes the first, and the dispatcher makes the runs
 * of the second.
 *
 * A job's name has the database's oid in front, and so tells whose it is.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/transam.h"
#include "access/xact.h"
#include "base/compat.h"
#include "base/process.h"
#include "base/pgcron.h"
#include "base/shmem.h"
#include "catalog/pg_type.h"
#include "commands/dbcommands.h"
#include "common/hashfn.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "storage/dsm.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "utils/snapmgr.h"

#define JOB_SIZE NAMEDATALEN	/* pg_cron has had names no longer than that */
#define EXPRESSION_SIZE 256
#define TEXT_SIZE 512			/* of an error */

typedef struct Job
{
	SubTransactionId subid;
	Oid			database;
	bool		all;			/* all jobs of that database: to be removed,
								 * or to be called in one of this name */
	char		new_name[NAMEDATALEN];
	char		schedule[NAMEDATALEN];
	char		expression[EXPRESSION_SIZE];	/* empty: remove it */
	char		role[NAMEDATALEN];
} Job;

typedef enum Outcome
{
	OUTCOME_NONE = 0,
	OUTCOME_DONE,
	OUTCOME_FAILED
} Outcome;

/* What the process is told, and what it answers. */
typedef struct Request
{
	volatile int outcome;
	int			procno;			/* who asks */
	TransactionId xid;
	char		database[NAMEDATALEN];	/* ours */
	int			sqlerrcode;
	char		message[TEXT_SIZE];
	char		hint[TEXT_SIZE];
	int			njobs;
	Job			jobs[FLEXIBLE_ARRAY_MEMBER];
} Request;

/* To be done when this transaction commits. */
static Job *jobs = NULL;
static int	njobs = 0;
static int	maxjobs = 0;

static Job *
add_job(Oid database)
{
	Job		   *job;

	if (jobs == NULL)
	{
		maxjobs = 8;
		jobs = MemoryContextAlloc(TopTransactionContext,
								  maxjobs * sizeof(Job));
	}
	else if (njobs == maxjobs)
	{
		maxjobs *= 2;
		jobs = repalloc(jobs, maxjobs * sizeof(Job));
	}
	job = &jobs[njobs++];
	memset(job, 0, sizeof(*job));
	job->subid = GetCurrentSubTransactionId();
	job->database = database;
	return job;
}

/* Where its jobs are, or NULL if the server has not loaded it. */
static const char *
pgcron_database(void)
{
	const char *name = GetConfigOption("cron.database_name", true, false);

	/* what is only written into postgresql.conf is a setting of nobody's */
	if (name == NULL ||
		(GetConfigOptionFlags("cron.database_name", true) &
		 GUC_CUSTOM_PLACEHOLDER) != 0)
		return NULL;
	return name;
}

/*
 * taskq_pgcron_timezone - the zone in which pg_cron reads expressions
 *
 * It has a setting for that since 1.6.
 */
const char *
taskq_pgcron_timezone(void)
{
	const char *zone = GetConfigOption("cron.timezone", true, false);

	return zone != NULL && zone[0] != '\0' ? zone : "GMT";
}

/* taskq_pgcron_require - raise 55000 if the server has not loaded it */
void
taskq_pgcron_require(void)
{
	if (pgcron_database() == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("schedules with a cron expression need pg_cron, which this server has not loaded"),
				 errhint("Add pg_cron to shared_preload_libraries, restart the server and use CREATE EXTENSION pg_cron in the database that cron.database_name names; or use argument \"every\".")));
}

/*
 * taskq_pgcron_set - when this transaction commits, pg_cron shall call a
 * schedule of this database at these times, as this role; expression NULL:
 * not any more
 *
 * What is wrong with that is an error of the commit.
 */
void
taskq_pgcron_set(const char *schedule, const char *expression,
				 const char *role)
{
	Job		   *job;

	if (pgcron_database() == NULL)
		return;
	if (expression != NULL && strlen(expression) >= EXPRESSION_SIZE)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("expression of cron is too long")));
	job = add_job(MyDatabaseId);
	strlcpy(job->schedule, schedule, sizeof(job->schedule));
	strlcpy(job->expression, expression ? expression : "",
			sizeof(job->expression));
	strlcpy(job->role, role ? role : "", sizeof(job->role));
}

/*
 * taskq_pgcron_forget_database - when this transaction commits, pg_cron shall
 * have no jobs of that database any more
 *
 * If that is not to be had there is a warning.
 */
void
taskq_pgcron_forget_database(Oid database)
{
	if (pgcron_database() == NULL ||
		get_database_oid(pgcron_database(), true) == database)
		return;
	add_job(database)->all = true;
}

/*
 * taskq_pgcron_rename_database - when this transaction commits, that database
 * has this name
 */
void
taskq_pgcron_rename_database(Oid database, const char *new_name)
{
	Job		   *job;

	if (pgcron_database() == NULL)
		return;
	job = add_job(database);
	job->all = true;
	strlcpy(job->new_name, new_name, sizeof(job->new_name));
}

/* ---- the process ---- */

/* The name of a schedule's job. */
static char *
job_name(const Job *job)
{
	char	   *name = psprintf("taskq %u %s", job->database, job->schedule);

	if (strlen(name) < JOB_SIZE)
		return name;
	return psprintf("taskq %u #" UINT64_FORMAT, job->database,
					hash_bytes_extended((const unsigned char *) job->schedule,
										strlen(job->schedule), 0));
}

static void
run_query(const char *query, int nargs, Datum *args)
{
	Oid			types[] = {TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID};

	if (SPI_execute_with_args(query, nargs, types, args, NULL, false, 0) < 0)
		elog(ERROR, "a query of pg_cron's failed");
}

/* How many functions there are of those that are called, and are pg_cron's or not. */
static uint64
count_functions(const char *name, const char *are)
{
	run_query(psprintf("SELECT FROM pg_catalog.pg_proc p WHERE p.pronamespace = (SELECT n.oid FROM pg_catalog.pg_namespace n WHERE n.nspname = 'cron')"
					   " AND p.proname IN (%s) AND p.oid %s (SELECT d.objid FROM pg_catalog.pg_depend d, pg_catalog.pg_extension e"
					   " WHERE d.classid = 'pg_catalog.pg_proc'::regclass AND d.refclassid = 'pg_catalog.pg_extension'::regclass"
					   " AND d.refobjid = e.oid AND d.deptype = 'e' AND e.extname = 'pg_cron')",
					   name, are), 0, NULL);
	return SPI_processed;
}

/*
 * Is it there, and new enough?
 *
 * We are superuser here.  A schema of that name can be anybody's who may
 * create schemas in this database, and in that of the extension somebody may
 * have been allowed to create functions.
 */
static void
check_extension(void)
{
	if (count_functions("'schedule_in_database'", "IN") == 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("extension \"pg_cron\" does not exist in database \"%s\", or is older than 1.4",
						get_database_name(MyDatabaseId)),
				 errhint("Use CREATE EXTENSION pg_cron in that database, which cron.database_name names, or ALTER EXTENSION pg_cron UPDATE.")));
	if (count_functions("'schedule_in_database', 'unschedule'", "NOT IN") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("schema \"cron\" of database \"%s\" has functions that are not pg_cron's",
						get_database_name(MyDatabaseId)),
				 errhint("Drop functions schedule_in_database and unschedule that extension pg_cron has not made.")));
}

/* All jobs of a database. */
static void
write_all(const Job *job)
{
	Datum		args[2];

	args[0] = CStringGetTextDatum(psprintf("taskq %u ", job->database));
	args[1] = CStringGetTextDatum(job->new_name);
	if (job->new_name[0] == '\0')
		run_query("SELECT cron.unschedule(jobid) FROM cron.job WHERE pg_catalog.starts_with(jobname::text, $1)",
				  1, args);
	else
		/* its own function looks for the database, which has the name later */
		run_query("UPDATE cron.job SET database = $2 WHERE pg_catalog.starts_with(jobname::text, $1)",
				  2, args);
}

static void
write_job(const Request *request, const Job *job)
{
	Datum		args[5];

	args[0] = CStringGetTextDatum(job_name(job));
	run_query("SELECT cron.unschedule(jobid) FROM cron.job WHERE jobname::text OPERATOR(pg_catalog.=) $1",
			  1, args);
	if (job->expression[0] == '\0')
		return;
	args[1] = CStringGetTextDatum(job->expression);
	args[2] = CStringGetTextDatum(psprintf("SELECT taskq.schedule_tick(%s)",
										   quote_literal_cstr(job->schedule)));
	args[3] = CStringGetTextDatum(request->database);
	args[4] = CStringGetTextDatum(job->role);
	run_query("SELECT cron.schedule_in_database(job_name => $1, schedule => $2, command => $3, database => $4, username => $5)",
			  5, args);
}

static void
answer(Request *request, Outcome outcome)
{
	pg_memory_barrier();
	request->outcome = outcome;
	taskq_wake_proc(request->procno);
}

static void
write_jobs(Request *request)
{
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	check_extension();
	for (int i = 0; i < request->njobs; i++)
	{
		if (request->jobs[i].all)
			write_all(&request->jobs[i]);
		else
			write_job(request, &request->jobs[i]);
	}
	SPI_finish();
	PopActiveSnapshot();
}

/* What pg_cron says of them is for who asked. */
static void
tell_error(Request *request)
{
	ErrorData  *error;

	MemoryContextSwitchTo(TopMemoryContext);
	error = CopyErrorData();
	FlushErrorState();
	request->sqlerrcode = error->sqlerrcode;
	strlcpy(request->message, error->message ? error->message : "",
			sizeof(request->message));
	strlcpy(request->hint, error->hint ? error->hint : "",
			sizeof(request->hint));
	AbortOutOfAnyTransaction();
	answer(request, OUTCOME_FAILED);
}

static void
pin_settings(void)
{
	static const char *const settings[][2] = {
		{"search_path", "pg_catalog"},
		{"lock_timeout", "10s"},
		{"statement_timeout", "0"},
		{"idle_in_transaction_session_timeout", "0"},
		{"default_transaction_isolation", "read committed"},
		{"default_transaction_read_only", "off"},
		{"row_security", "on"},
		{"jit", "off"}
	};

	for (int i = 0; i < lengthof(settings); i++)
		SetConfigOption(settings[i][0], settings[i][1], PGC_SUSET,
						PGC_S_OVERRIDE);
}

/* taskq_pgcron_main - entry point of the process */
void
taskq_pgcron_main(Datum arg)
{
	dsm_segment *segment;
	Request    *request;

	taskq_process_begin(NULL);
	BackgroundWorkerUnblockSignals();
	CurrentResourceOwner = ResourceOwnerCreate(NULL, "taskq pg_cron");
	segment = dsm_attach(DatumGetUInt32(arg));
	if (segment == NULL)
		proc_exit(0);			/* who asked has left */
	dsm_pin_mapping(segment);
	request = dsm_segment_address(segment);
	BackgroundWorkerInitializeConnection(pgcron_database(), NULL, 0);
	pin_settings();
	PG_TRY();
	{
		write_jobs(request);
	}
	PG_CATCH();
	{
		tell_error(request);
		proc_exit(0);
	}
	PG_END_TRY();
	answer(request, OUTCOME_DONE);

	/* it is at its end */
	XactLockTableWait(request->xid, NULL, NULL, XLTW_None);
	if (TransactionIdDidCommit(request->xid))
		CommitTransactionCommand();
	else
		AbortCurrentTransaction();
	proc_exit(0);
}

/* ---- who asks ---- */

static dsm_segment *
make_request(void)
{
	dsm_segment *segment = dsm_create(offsetof(Request, jobs) +
									  njobs * sizeof(Job), 0);
	Request    *request = dsm_segment_address(segment);

	memset(request, 0, offsetof(Request, jobs));
	request->procno = taskq_my_procno();
	request->xid = GetTopTransactionId();
	strlcpy(request->database, get_database_name(MyDatabaseId),
			sizeof(request->database));
	request->njobs = njobs;
	memcpy(request->jobs, jobs, njobs * sizeof(Job));
	return segment;
}

static BackgroundWorkerHandle *
start_process(dsm_segment * segment)
{
	BackgroundWorker worker;
	BackgroundWorkerHandle *handle;

	taskq_process_fill(&worker, "taskq pg_cron", "taskq_pgcron_main");
	worker.bgw_restart_time = BGW_NEVER_RESTART;
	worker.bgw_notify_pid = MyProcPid;
	worker.bgw_main_arg = UInt32GetDatum(dsm_segment_handle(segment));
	return RegisterDynamicBackgroundWorker(&worker, &handle) ? handle : NULL;
}

/* Wait until it has answered; false if it ended without that. */
static bool
wait_for_answer(BackgroundWorkerHandle *handle, Request *request)
{
	for (;;)
	{
		pid_t		pid;
		BgwHandleStatus status = GetBackgroundWorkerPid(handle, &pid);

		if (request->outcome != OUTCOME_NONE)
			return true;
		if (status == BGWH_STOPPED || status == BGWH_POSTMASTER_DIED)
			return false;
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_EXIT_ON_PM_DEATH, -1,
						 taskq_wait_event("TaskqPgCron"));
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
	}
}

/* Is there something that must succeed? */
static bool
is_needed(void)
{
	for (int i = 0; i < njobs; i++)
	{
		if (jobs[i].expression[0] != '\0')
			return true;
	}
	return false;
}

static void
complain(int sqlerrcode, const char *message, const char *hint)
{
	ereport(is_needed() ? ERROR : WARNING,
			(errcode(sqlerrcode),
			 errmsg("jobs of pg_cron could not be changed: %s", message),
			 hint[0] != '\0' ? errhint("%s", hint) : 0));
}

static void
change_jobs(void)
{
	dsm_segment *segment = make_request();
	Request    *request = dsm_segment_address(segment);
	BackgroundWorkerHandle *handle = start_process(segment);

	if (handle == NULL)
		complain(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED,
				 "there is no room for a background process",
				 "Increase max_worker_processes.");
	else if (!wait_for_answer(handle, request))
		complain(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
				 psprintf("no connection to database \"%s\"", pgcron_database()),
				 "cron.database_name names the database of pg_cron; the server log has more.");
	else if (request->outcome == OUTCOME_FAILED)
		complain(request->sqlerrcode, request->message, request->hint);
	dsm_detach(segment);
}

static void
on_xact_end(XactEvent event, void *arg)
{
	if (njobs == 0)
		return;
	switch (event)
	{
		case XACT_EVENT_PRE_COMMIT:
			change_jobs();
			break;
		case XACT_EVENT_PRE_PREPARE:
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("cannot PREPARE a transaction that changes schedules with a cron expression"),
					 errhint("Change them in a transaction of its own.")));
			break;
		case XACT_EVENT_COMMIT:
		case XACT_EVENT_ABORT:
			jobs = NULL;
			njobs = 0;
			break;
		default:
			break;
	}
}

static void
on_subxact_end(SubXactEvent event, SubTransactionId mySubid,
			   SubTransactionId parentSubid, void *arg)
{
	if (event == SUBXACT_EVENT_ABORT_SUB)
	{
		while (njobs > 0 && jobs[njobs - 1].subid == mySubid)
			njobs--;
	}
	else if (event == SUBXACT_EVENT_COMMIT_SUB)
	{
		for (int i = njobs - 1; i >= 0 && jobs[i].subid == mySubid; i--)
			jobs[i].subid = parentSubid;
	}
}

/* taskq_pgcron_init - once per process */
void
taskq_pgcron_init(void)
{
	RegisterXactCallback(on_xact_end, NULL);
	RegisterSubXactCallback(on_subxact_end, NULL);
}
