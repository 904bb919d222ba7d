/*-------------------------------------------------------------------------
 *
 * logs.c
 *		Writing what tasks log to the tables; a part of the dispatcher's pass.
 *
 * Lines are taken from the ring in portions, each in the order of its
 * numbers, and written to the table of the leaf that has their task.  A line
 * whose task is gone goes with it; one that can't be written now, because
 * somebody has its tables or is deleting its task, stays where it is, and
 * those of other tasks are written.
 *
 * The commit does not wait for the disk: until a moment ago the lines were
 * only in memory, too.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "base/clock.h"
#include "dispatch/dispatcher.h"
#include "dispatch/pass.h"
#include "lanes/logring.h"
#include "miscadmin.h"
#include "storage/procarray.h"
#include "store/logs.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#define PORTIONS 20				/* in a pass */
#define HUSH_MS 50				/* so soon after we wrote some, those who log
								 * need not wake us */
#define BUSY_MS 250				/* till the next try, when something was in
								 * the way */
#define LAST_US (20 * USECS_PER_SEC)	/* till the server is not kept from
										 * ending any longer */
#define LAST_PAUSE_US 10000

/* Where lines of the task met last go. */
typedef struct Home
{
	bool		known;
	pg_uuid_t	id;
	int			leaf;
} Home;

static int
home_of(Home *home, const pg_uuid_t *id)
{
	if (!home->known || !taskq_id_eq(&home->id, id))
	{
		home->id = *id;
		home->leaf = taskq_logs_home(id);
		home->known = true;
	}
	return home->leaf;
}

/* Lines of a portion by the table they go to. */
typedef struct Portion
{
	TaskqLogLine *lines;
	int			n;
	TaskqLogLine *done;			/* those that need no other try */
	int			ndone;
	TaskqLogLine *of_leaf[TASKQ_LEAVES][TASKQ_PORTION];
	int			nof_leaf[TASKQ_LEAVES];
}			Portion;

static void
sort_out(Portion * portion)
{
	Home		home = {0};

	for (int i = 0; i < portion->n; i++)
	{
		TaskqLogLine *line = &portion->lines[i];
		int			leaf = home_of(&home, &line->id);

		if (leaf == TASKQ_LOGS_BUSY)
			continue;
		portion->done[portion->ndone++] = *line;
		/* the one before us may have ended after its commit */
		if (leaf != TASKQ_LOGS_GONE &&
			!(line->again && taskq_logs_has(leaf, line, NULL)))
			portion->of_leaf[leaf][portion->nof_leaf[leaf]++] = line;
	}
}

/* One transaction; false if nothing can be written now. */
static bool
write_portion(Portion * portion)
{
	bool		free;

	portion->ndone = 0;
	memset(portion->nof_leaf, 0, sizeof(portion->nof_leaf));
	taskq_pass_begin();
	free = taskq_logs_begin();
	if (free)
	{
		sort_out(portion);
		for (int leaf = 0; leaf < TASKQ_LEAVES; leaf++)
		{
			if (portion->nof_leaf[leaf] > 0)
				taskq_logs_insert(leaf, portion->of_leaf[leaf],
								  portion->nof_leaf[leaf]);
		}
	}
	taskq_pass_commit_async();
	taskq_ring_written(taskq_dispatcher.db, portion->done, portion->ndone);
	return free && portion->ndone == portion->n;
}

/* The next portion, after this number; *all: nothing of it is left. */
static bool
next_portion(Portion * portion, int64 *after, bool *all)
{
	MemoryContext context = AllocSetContextCreate(taskq_dispatcher.context,
												  "taskq log lines",
												  ALLOCSET_DEFAULT_SIZES);

	MemoryContextSwitchTo(context);
	portion->ndone = 0;
	portion->n = taskq_ring_take(taskq_dispatcher.db, *after, TASKQ_PORTION,
								 portion->lines);
	if (portion->n > 0)
	{
		*after = portion->lines[portion->n - 1].seq;
		*all &= write_portion(portion);
	}
	MemoryContextSwitchTo(taskq_dispatcher.context);
	MemoryContextDelete(context);
	return portion->n == TASKQ_PORTION;
}

static int64 ended_at = 0;		/* the next pass goes on there, so that many
								 * that can't be written do not keep it from
								 * the others */

/* Write some; how many. */
static int
write_some(bool *all, bool *more)
{
	int64		after = ended_at;
	Portion    *portion = palloc(sizeof(Portion));
	int			n = 0;

	portion->lines = palloc(sizeof(TaskqLogLine) * TASKQ_PORTION);
	portion->done = palloc(sizeof(TaskqLogLine) * TASKQ_PORTION);
	*all = *more = true;
	for (int i = 0; i < PORTIONS && *more; i++)
	{
		CHECK_FOR_INTERRUPTS();
		*more = next_portion(portion, &after, all);
		n += portion->ndone;
	}
	ended_at = *more ? after : 0;
	return n;
}

/*
 * taskq_write_logs - write what there is; a part of the dispatcher's pass
 */
void
taskq_write_logs(void)
{
	bool		all;
	bool		more;

	if (taskq_ring_quiet(taskq_dispatcher.db))
		return;
	(void) write_some(&all, &more);
	taskq_look_again_in(!all ? BUSY_MS : more ? 0 : HUSH_MS);
}

/*
 * taskq_write_last_logs - the process ends, maybe because the server does:
 * then nobody else writes what there is
 *
 * Who is in the way then ends, too, and is waited for, as long as there is
 * anybody else in the database; but a prepared transaction stays, and of a
 * subscriber's connection it is not known what it has.
 */
void
taskq_write_last_logs(bool stopping)
{
	TimestampTz until = taskq_steady_now() + LAST_US;
	bool		go_on = taskq_ring_left(MyDatabaseId);

	while (go_on)
	{
		bool		alone = CountDBBackends(MyDatabaseId) <= 1;
		bool		first = ended_at == 0;
		bool		all;
		bool		more;
		int			n;

		MemoryContextReset(taskq_dispatcher.context);
		n = write_some(&all, &more);
		go_on = stopping && taskq_ring_left(MyDatabaseId);
		if (!go_on || n > 0 || !first || more)
			continue;
		go_on = !alone && taskq_steady_now() < until;
		pg_usleep(LAST_PAUSE_US);
	}
}
