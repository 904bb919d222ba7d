/*-------------------------------------------------------------------------
 *
 * guard.c
 *		Which task brought the server down?
 *
 * When a process dies the postmaster ends all others and starts anew with
 * empty shared memory.  So what each worker is at is written to a file that
 * is mapped into memory: a store without a system call, which outlives the
 * process.  The postmaster tells the other workers to quit, and each of them
 * marks its own entry innocent on its way out.  What is left unmarked was in
 * the process that died: those tasks are suspects (rescue.c deals with them).
 * Of tasks that share a transaction the one that runs is, and in their
 * commit, which runs nothing of theirs, all are: nobody is blamed for that,
 * but each is run by itself from then on.
 *
 * The file is believed after a crash restart, and after a postmaster that
 * went out in order.  When everything was killed at once, the postmaster too,
 * nobody is to blame; it is not meant to outlive the machine.
 *
 * What taskq.resume() has said is here too: a crash restart does not take it
 * back.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "access/parallel.h"
#include "base/guard.h"
#include "base/shmem.h"
#include "libpq/pqsignal.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/interrupt.h"
#include "storage/fd.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/pmsignal.h"

/* as storage/ipc/pmsignal.c has it */
#ifdef SIGINFO
#define POSTMASTER_DEATH_SIGNAL SIGINFO
#else
#define POSTMASTER_DEATH_SIGNAL SIGPWR
#endif

#define GUARD_FILE PG_STAT_TMP_DIR "/taskq.guard"
#define GUARD_MAGIC 0x74710002	/* changes with the layout */

enum
{
	CELL_EMPTY = 0,
	CELL_IN_TASK,
	CELL_IN_COMMIT,				/* of a transaction that several tasks share */
	CELL_INNOCENT
};

/* What one worker is at. */
typedef struct GuardCell
{
	volatile sig_atomic_t state;
	Oid			dbid;
	pg_uuid_t	id;
	TimestampTz started_at;
	int			nshared;
	pg_uuid_t	shared[TASKQ_BATCH_MAX];	/* in commit: whose it is */
} GuardCell;

#define RESUMED_MAX 1024

typedef struct GuardFile
{
	uint32		magic;
	bool		orderly;		/* the postmaster went out in order */
	Oid			resumed[RESUMED_MAX];	/* databases where taskq.resume() was
										 * called */
	GuardCell	cells[TASKQ_MAX_WORKERS];
} GuardFile;

static GuardFile *guard = NULL;
static GuardCell *my_cell = NULL;

/* Give the file its blocks; returns 0 or an error number. */
static int
allocate_blocks(int fd)
{
	static const char zeros[BLCKSZ];
	struct stat st;
	int			error = EOPNOTSUPP;

#ifdef HAVE_POSIX_FALLOCATE
	error = posix_fallocate(fd, 0, sizeof(GuardFile));
#endif
	if (error != EOPNOTSUPP && error != EINVAL)
		return error;
	/* a file system that does not know how */
	if (fstat(fd, &st) != 0)
		return errno;
	for (off_t end = st.st_size; end < sizeof(GuardFile); end += sizeof(zeros))
	{
		errno = 0;
		if (pg_pwrite(fd, zeros, sizeof(zeros), end) != sizeof(zeros))
			return errno != 0 ? errno : ENOSPC;
	}
	return 0;
}

/*
 * Map the file.  Its blocks are there before: a store into a hole of a file
 * for which the disk has no room would be a SIGBUS, here in the postmaster.
 */
static GuardFile *
guard_map(void)
{
	int			fd = OpenTransientFile(GUARD_FILE, O_RDWR | O_CREAT | PG_BINARY);
	void	   *memory = MAP_FAILED;

	if (fd >= 0)
	{
		errno = allocate_blocks(fd);
		if (errno == 0)
			memory = mmap(NULL, sizeof(GuardFile), PROT_READ | PROT_WRITE,
						  MAP_SHARED, fd, 0);
	}
	if (memory == MAP_FAILED)
		ereport(WARNING,
				(errcode_for_file_access(),
				 errmsg("taskq could not make file \"%s\": %m", GUARD_FILE),
				 errdetail("A task that crashes the server will not be found out."),
				 errhint("Make room of %zu kB there and restart the server.", sizeof(GuardFile) / 1024 + 1)));
	if (fd >= 0)
		CloseTransientFile(fd);
	return memory == MAP_FAILED ? NULL : memory;
}

static void
on_postmaster_exit(int code, Datum arg)
{
	guard->orderly = true;
}

static void
add_suspect(int slotno, const GuardCell *cell, const pg_uuid_t *id,
			bool shared)
{
	TaskqSuspect *suspect;

	if (taskq_shared->nsuspects == TASKQ_SUSPECTS)
		return;
	suspect = &taskq_shared->suspects[taskq_shared->nsuspects++];
	suspect->dbid = cell->dbid;
	suspect->id = *id;
	suspect->slot = slotno;
	suspect->started_at = cell->started_at;
	suspect->shared = shared;
}

static void
collect_suspects(void)
{
	for (int i = 0; i < TASKQ_MAX_WORKERS; i++)
	{
		if (guard->cells[i].state == CELL_IN_TASK)
			add_suspect(i, &guard->cells[i], &guard->cells[i].id, false);
	}
	/* there is room for some only, if many processes died at once */
	for (int i = 0; i < TASKQ_MAX_WORKERS; i++)
	{
		GuardCell  *cell = &guard->cells[i];

		for (int j = 0; cell->state == CELL_IN_COMMIT && j < cell->nshared;
			 j++)
			add_suspect(i, cell, &cell->shared[j], true);
	}
}

/*
 * taskq_guard_startup - read what the last run left, and start with an empty
 * file
 *
 * Called whenever shared memory is set up; fresh_memory tells that it was
 * just made, so that this is the postmaster and nobody else is there.
 */
void
taskq_guard_startup(bool fresh_memory)
{
	bool		believed = true;
	bool		fresh_server = guard == NULL;

	if (!fresh_memory || IsUnderPostmaster)
		return;
	if (guard == NULL)
	{
		guard = guard_map();
		if (guard == NULL)
			return;
		believed = guard->magic == GUARD_MAGIC && guard->orderly;
		on_proc_exit(on_postmaster_exit, (Datum) 0);
	}
	if (believed)
		collect_suspects();
	memset(guard->cells, 0, sizeof(guard->cells));
	guard->orderly = false;
	guard->magic = GUARD_MAGIC;
	if (fresh_server)
		memset(guard->resumed, 0, sizeof(guard->resumed));
}

/*
 * taskq_guard_resume - taskq.resume() was called here, and holds until the
 * server is started anew; never fails
 */
void
taskq_guard_resume(Oid dbid)
{
	for (int i = 0; guard != NULL && i < RESUMED_MAX; i++)
	{
		if (guard->resumed[i] == dbid)
			return;
		if (!OidIsValid(guard->resumed[i]))
		{
			guard->resumed[i] = dbid;
			return;
		}
	}
}

/* taskq_guard_resumed - was it? */
bool
taskq_guard_resumed(Oid dbid)
{
	for (int i = 0;
		 guard != NULL && i < RESUMED_MAX && OidIsValid(guard->resumed[i]);
		 i++)
	{
		if (guard->resumed[i] == dbid)
			return true;
	}
	return false;
}

/*
 * SIGQUIT: another process brought the server down, or it is shut down at
 * once.
 */
static void
on_quit(SIGNAL_ARGS)
{
	/* a parallel worker's death may be this task's doing */
	if (my_cell != NULL && !ParallelContextActive())
		my_cell->state = CELL_INNOCENT;
	SignalHandlerForCrashExit(postgres_signal_arg);
}

#ifdef USE_POSTMASTER_DEATH_SIGNAL
/*
 * The postmaster is gone: nobody restarts anything, and a task that runs on
 * would keep the new one out.
 */
static void
on_postmaster_death(SIGNAL_ARGS)
{
	int			save_errno = errno;

	postmaster_possibly_dead = true;
	InterruptPending = true;
	ProcDiePending = true;
	SetLatch(MyLatch);
	errno = save_errno;
}
#endif

/* taskq_guard_init - once per worker */
void
taskq_guard_init(int slotno)
{
	if (guard != NULL)
		my_cell = &guard->cells[slotno];
	pqsignal(SIGQUIT, on_quit);
#ifdef USE_POSTMASTER_DEATH_SIGNAL
	pqsignal(POSTMASTER_DEATH_SIGNAL, on_postmaster_death);
#endif
}

/*
 * taskq_guard_enter - from here on a crash of this process is this task's
 * doing
 */
void
taskq_guard_enter(const pg_uuid_t *id, TimestampTz started_at)
{
	if (my_cell == NULL)
		return;
	my_cell->state = CELL_EMPTY;
	pg_compiler_barrier();
	my_cell->dbid = MyDatabaseId;
	my_cell->id = *id;
	my_cell->started_at = started_at;
	pg_compiler_barrier();
	my_cell->state = CELL_IN_TASK;
}

/*
 * taskq_guard_commit - from here on a crash may be the doing of any of these
 * tasks, which share a transaction
 *
 * At most TASKQ_BATCH_MAX.
 */
void
taskq_guard_commit(const pg_uuid_t *ids, int n)
{
	if (my_cell == NULL)
		return;
	my_cell->state = CELL_EMPTY;
	pg_compiler_barrier();
	my_cell->dbid = MyDatabaseId;
	my_cell->nshared = n;
	memcpy(my_cell->shared, ids, n * sizeof(pg_uuid_t));
	pg_compiler_barrier();
	my_cell->state = CELL_IN_COMMIT;
}

/* taskq_guard_leave - ... and no longer */
void
taskq_guard_leave(void)
{
	if (my_cell != NULL)
		my_cell->state = CELL_EMPTY;
}
