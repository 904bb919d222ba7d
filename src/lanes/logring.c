/*-------------------------------------------------------------------------
 *
 * logring.c
 *		Log lines on their way to the tables.
 *
 * A line is here as soon as a task has said it, for everybody to read, and
 * stays whatever becomes of the task's transaction and process.  The
 * database's dispatcher writes it to a table (dispatch/logs.c).  When there
 * is no room, whoever says something waits.
 *
 * A line is a chain of chunks, and on one of two lists: lines that are to be
 * written, and those that have been.  The latter are room too, and are given
 * up for new ones, the oldest first; until then they are still read, so that
 * who looked into the tables a moment too early finds them here.
 *
 * To be written exactly once: the dispatcher marks a line before it writes
 * it, commits, and moves it to the other list.  If it ends in between, the
 * next one finds the mark and looks whether the line is in the table.
 *
 * Shares: a role has at most as much as is free then, and a database three
 * times that.  So one that floods gets half of the room, two get a third
 * each, and there is always something left for one who comes anew, also when
 * the lines of some database can't be written.
 *
 * One lock guards all of it; it is taken last, and nothing is raised,
 * allocated or waited for while it is held.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "base/clock.h"
#include "base/compat.h"
#include "base/guc.h"
#include "common/hashfn.h"
#include "lanes/logring.h"
#include "miscadmin.h"
#include "storage/shmem.h"
#include "store/logs.h"
#include "utils/timestamp.h"

#define CHUNK 256
#define SHARES 1024				/* of roles and of databases, found by a hash */
#define WAIT_MS 1000			/* then the dispatcher is called once more */

typedef enum LineState
{
	LINE_NEW,
	LINE_TAKEN,					/* it is, or was, about to be written */
	LINE_WRITTEN
} LineState;

/* The first chunk of a line; message and details follow, and go on in others. */
typedef struct LineHead
{
	int			more;			/* next chunk, or -1 */
	int			prev;			/* on its list, or -1 */
	int			next;
	uint8		state;
	uint8		level;
	int16		attempt;
	Oid			dbid;
	uint16		role;			/* its share */
	uint16		nchunks;
	int			message_len;
	int			details_len;
	int			line;
	pg_uuid_t	id;
	int64		seq;
	TimestampTz at;
} LineHead;

typedef union Chunk
{
	LineHead	head;
	int			more;
	char		bytes[CHUNK];
} Chunk;

#define MORE_SIZE MAXALIGN(sizeof(int))
#define HEAD_SIZE MAXALIGN(sizeof(LineHead))

typedef struct Lines
{
	int			first;			/* or -1 */
	int			last;
} Lines;

typedef struct Ring
{
	LWLock		lock;
	int			tranche;
	ConditionVariable room;
	int64		seq;			/* of the last line */
	int			nchunks;
	int			unused;			/* first chunk of those without a line, or -1 */
	int			nfree;			/* these, and those of lines that are written */
	Lines		unwritten;
	Lines		written;
	int			role_used[SHARES];	/* chunks, by a hash of database and role */
	int			db_used[SHARES];
	Chunk		chunks[FLEXIBLE_ARRAY_MEMBER];
} Ring;

static Ring *ring = NULL;

/* ---- the memory ---- */

static int
count_chunks(void)
{
	return taskq_log_buffer * (1024 / CHUNK);
}

static Size
ring_size(void)
{
	return add_size(offsetof(Ring, chunks),
					mul_size(count_chunks(), sizeof(Chunk)));
}

static void
init_ring(void)
{
	bool		found;

	ring = ShmemInitStruct("taskq log lines", ring_size(), &found);
	if (!found)
	{
		memset(ring, 0, offsetof(Ring, chunks));
		ring->tranche = LWLockNewTrancheId();
		LWLockInitialize(&ring->lock, ring->tranche);
		ConditionVariableInit(&ring->room);
		ring->nchunks = ring->nfree = count_chunks();
		ring->unwritten.first = ring->unwritten.last = -1;
		ring->written.first = ring->written.last = -1;
		for (int i = 0; i < ring->nchunks; i++)
			ring->chunks[i].more = i + 1 < ring->nchunks ? i + 1 : -1;
	}
	LWLockRegisterTranche(ring->tranche, "taskq logs");
}

/*
 * taskq_ring_init - ask for the ring's room in shared memory; before
 * taskq_shmem_init
 */
void
taskq_ring_init(void)
{
	taskq_shmem_part(ring_size, init_ring);
}

/* ---- lists; the caller holds the lock ---- */

static void
append(Lines *lines, int place)
{
	LineHead   *head = &ring->chunks[place].head;

	head->prev = lines->last;
	head->next = -1;
	if (lines->last >= 0)
		ring->chunks[lines->last].head.next = place;
	else
		lines->first = place;
	lines->last = place;
}

static void
take_off(Lines *lines, int place)
{
	LineHead   *head = &ring->chunks[place].head;

	if (head->prev >= 0)
		ring->chunks[head->prev].head.next = head->next;
	else
		lines->first = head->next;
	if (head->next >= 0)
		ring->chunks[head->next].head.prev = head->prev;
	else
		lines->last = head->prev;
}

/* The chunks of a line are nobody's from now on. */
static void
give_up(int place)
{
	int			last = place;

	while (ring->chunks[last].more >= 0)
		last = ring->chunks[last].more;
	ring->chunks[last].more = ring->unused;
	ring->unused = place;
}

static int *
role_share(int share)
{
	return &ring->role_used[share];
}

static int *
db_share(Oid dbid)
{
	return &ring->db_used[murmurhash32(dbid) % SHARES];
}

/* A line is not, or no more, among those that are to be written. */
static void
settle(int place)
{
	LineHead   *head = &ring->chunks[place].head;

	take_off(&ring->unwritten, place);
	ring->nfree += head->nchunks;
	*role_share(head->role) -= head->nchunks;
	*db_share(head->dbid) -= head->nchunks;
}

/* A chunk for a new line: there is one, also if lines that are written go. */
static int
new_chunk(void)
{
	int			chunk;

	if (ring->unused < 0)
	{
		int			oldest = ring->written.first;

		take_off(&ring->written, oldest);
		give_up(oldest);
	}
	chunk = ring->unused;
	ring->unused = ring->chunks[chunk].more;
	ring->chunks[chunk].more = -1;
	return chunk;
}

/* ---- what a line consists of ---- */

static int
chunks_needed(const TaskqLogLine *line)
{
	int			details_len = line->details ? VARSIZE(line->details) : 0;
	int			beyond = line->message_len + details_len -
	(CHUNK - (int) HEAD_SIZE);
	int			room = CHUNK - (int) MORE_SIZE;

	return 1 + (beyond > 0 ? (beyond + room - 1) / room : 0);
}

/* Where the next bytes of a line go to, or come from. */
typedef struct Place
{
	int			chunk;
	int			offset;
} Place;

static void
write_bytes(Place *place, const char *bytes, int len)
{
	while (len > 0)
	{
		int			n;

		if (place->offset == CHUNK)
		{
			int			more = new_chunk();

			ring->chunks[place->chunk].more = more;
			place->chunk = more;
			place->offset = MORE_SIZE;
		}
		n = Min(len, CHUNK - place->offset);
		memcpy(ring->chunks[place->chunk].bytes + place->offset, bytes, n);
		place->offset += n;
		bytes += n;
		len -= n;
	}
}

static void
read_bytes(Place *place, char *bytes, int len)
{
	while (len > 0)
	{
		int			n;

		if (place->offset == CHUNK)
		{
			place->chunk = ring->chunks[place->chunk].more;
			place->offset = MORE_SIZE;
		}
		n = Min(len, CHUNK - place->offset);
		memcpy(bytes, ring->chunks[place->chunk].bytes + place->offset, n);
		place->offset += n;
		bytes += n;
		len -= n;
	}
}

/* Read a line; message and details to this buffer, aligned, which is moved on. */
static void
read_line(int chunk, TaskqLogLine *line, char **buffer)
{
	LineHead   *head = &ring->chunks[chunk].head;
	Place		place = {chunk, HEAD_SIZE};

	line->id = head->id;
	line->seq = head->seq;
	line->at = head->at;
	line->attempt = head->attempt;
	line->line = head->line;
	line->level = head->level;
	line->message_len = head->message_len;
	line->place = chunk;
	line->again = head->state != LINE_NEW;
	line->message = *buffer;
	read_bytes(&place, line->message, head->message_len);
	line->message[head->message_len] = '\0';
	*buffer += MAXALIGN(head->message_len + 1);
	line->details = head->details_len > 0 ? (Jsonb *) *buffer : NULL;
	read_bytes(&place, *buffer, head->details_len);
	*buffer += MAXALIGN(head->details_len);
}

/* What read_line needs of a buffer. */
static Size
line_size(const LineHead *head)
{
	return MAXALIGN(head->message_len + 1) + MAXALIGN(head->details_len);
}

/* ---- saying something ---- */

/* The next number; the caller holds the lock. */
static int64
next_seq(TimestampTz now)
{
	/* by the clock, so that they rise also beyond a start of the server */
	ring->seq = Max(ring->seq + 1, now);
	return ring->seq;
}

/* taskq_ring_seq - a number for a line that does not come here */
int64
taskq_ring_seq(void)
{
	int64		seq;

	LWLockAcquire(&ring->lock, LW_EXCLUSIVE);
	seq = next_seq(GetCurrentTimestamp());
	LWLockRelease(&ring->lock);
	return seq;
}

static bool
has_room(int role, int need)
{
	int			left = ring->nfree - need;

	return *role_share(role) + need <= left &&
		(*db_share(MyDatabaseId) + need) / 3 <= left;
}

static void
add_line(TaskqLogLine *line, int role, int need)
{
	Place		place = {new_chunk(), HEAD_SIZE};
	int			first = place.chunk;
	LineHead   *head = &ring->chunks[first].head;

	line->seq = next_seq(line->at);
	head->state = LINE_NEW;
	head->level = line->level;
	head->attempt = line->attempt;
	head->dbid = MyDatabaseId;
	head->role = role;
	head->nchunks = need;
	head->message_len = line->message_len;
	head->details_len = line->details ? VARSIZE(line->details) : 0;
	head->line = line->line;
	head->id = line->id;
	head->seq = line->seq;
	head->at = line->at;
	write_bytes(&place, line->message, line->message_len);
	write_bytes(&place, (char *) line->details, head->details_len);
	append(&ring->unwritten, first);
	ring->nfree -= need;
	*role_share(role) += need;
	*db_share(MyDatabaseId) += need;
}

/*
 * taskq_ring_try - add a line of a task of this role; false if there is no
 * room
 *
 * Gives the line its number.  Raises nothing.
 */
bool
taskq_ring_try(TaskqLogLine *line, Oid role)
{
	int			share = hash_combine(murmurhash32(MyDatabaseId),
									 murmurhash32(role)) % SHARES;
	int			need = chunks_needed(line);
	TaskqDb    *db = taskq_db_mine();
	bool		room;
	bool		call = false;

	LWLockAcquire(&ring->lock, LW_EXCLUSIVE);
	room = has_room(share, need);
	if (room)
		add_line(line, share, need);
	if (db != NULL && (!room || *db_share(MyDatabaseId) > ring->nchunks / 4))
	{
		call = !db->logs_urgent;
		db->logs_urgent = true;
	}
	if (db != NULL && !db->logs_told)
		call = db->logs_told = true;
	LWLockRelease(&ring->lock);
	if (call)
		taskq_call_dispatcher();
	return room;
}

/*
 * taskq_ring_wait - the same, but wait for room for so long, or until
 * something else is asked of this process
 *
 * For where no error may be raised and no interrupt be served.
 */
bool
taskq_ring_wait(TaskqLogLine *line, Oid role, int ms)
{
	TimestampTz until = taskq_steady_now() + ms * INT64CONST(1000);
	bool		done;

	if (taskq_ring_try(line, role))
		return true;
	HOLD_INTERRUPTS();
	ConditionVariablePrepareToSleep(&ring->room);
	while (!(done = taskq_ring_try(line, role)) && !InterruptPending &&
		   taskq_steady_now() < until)
		(void) ConditionVariableTimedSleep(&ring->room, 50,
										   taskq_wait_event("TaskqLogs"));
	ConditionVariableCancelSleep();
	RESUME_INTERRUPTS();
	return done;
}

/*
 * taskq_ring_put - add a line; waits for room
 *
 * Can be cancelled.  Raises 55006 if it would wait for ever, because this
 * transaction itself keeps the dispatcher from the tables.
 */
void
taskq_ring_put(TaskqLogLine *line, Oid role)
{
	TimestampTz since;

	if (taskq_ring_try(line, role))
		return;
	since = taskq_steady_now();
	ConditionVariablePrepareToSleep(&ring->room);
	while (!taskq_ring_try(line, role))
	{
		(void) ConditionVariableTimedSleep(&ring->room, WAIT_MS,
										   taskq_wait_event("TaskqLogs"));
		if (taskq_steady_now() - since < WAIT_MS * INT64CONST(1000))
			continue;
		since = taskq_steady_now();
		if (taskq_logs_locked_here(&line->id))
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_IN_USE),
					 errmsg("there is no room for another log line"),
					 errdetail("Lines cannot be written as long as this transaction has locked the tables of taskq."),
					 errhint("Log less, or after the transaction that locks them.")));
		taskq_call_dispatcher();
	}
	ConditionVariableCancelSleep();
}

/* ---- reading ---- */

static bool
is_wanted(const LineHead *head, const pg_uuid_t *id)
{
	return head->dbid == MyDatabaseId &&
		(id == NULL || taskq_id_eq(&head->id, id));
}

/* How many lines there are of a task, and what they need of a buffer. */
static int
count_lines(const Lines *lines, const pg_uuid_t *id, Size *size)
{
	int			n = 0;

	for (int i = lines->first; i >= 0; i = ring->chunks[i].head.next)
	{
		if (!is_wanted(&ring->chunks[i].head, id))
			continue;
		*size += line_size(&ring->chunks[i].head);
		n++;
	}
	return n;
}

static int
read_lines(const Lines *lines, const pg_uuid_t *id, TaskqLogLine *to,
		   char **buffer)
{
	int			n = 0;

	for (int i = lines->first; i >= 0; i = ring->chunks[i].head.next)
	{
		if (is_wanted(&ring->chunks[i].head, id))
			read_line(i, &to[n++], buffer);
	}
	return n;
}

static int
by_seq(const void *a, const void *b)
{
	int64		first = ((const TaskqLogLine *) a)->seq;
	int64		second = ((const TaskqLogLine *) b)->seq;

	return first < second ? -1 : first > second ? 1 : 0;
}

/*
 * taskq_ring_read - the lines of a task of this database, or of all (NULL),
 * that are here, in order
 *
 * Some of them may be in a table, too.
 */
TaskqLogLine *
taskq_ring_read(const pg_uuid_t *id, int *n)
{
	TaskqLogLine *lines = NULL;
	char	   *buffer = NULL;
	Size		size = 0;
	int			room = 0;

	*n = 0;
	if (ring == NULL)
		return NULL;
	for (;;)
	{
		Size		needed = 0;

		LWLockAcquire(&ring->lock, LW_SHARED);
		*n = count_lines(&ring->written, id, &needed) +
			count_lines(&ring->unwritten, id, &needed);
		if (*n <= room && needed <= size)
			break;
		LWLockRelease(&ring->lock);
		/* some more: there may be others by then */
		room = *n + 16;
		size = needed + 16 * CHUNK;
		lines = palloc_extended(room * sizeof(TaskqLogLine), MCXT_ALLOC_HUGE);
		buffer = palloc_extended(size, MCXT_ALLOC_HUGE);
	}
	if (*n > 0)
	{
		int			written = read_lines(&ring->written, id, lines, &buffer);

		(void) read_lines(&ring->unwritten, id, lines + written, &buffer);
	}
	LWLockRelease(&ring->lock);
	if (*n > 1)
		qsort(lines, *n, sizeof(TaskqLogLine), by_seq);
	return lines;
}

static bool
any_of(Oid dbid)
{
	for (int i = ring->unwritten.first; i >= 0;
		 i = ring->chunks[i].head.next)
	{
		if (ring->chunks[i].head.dbid == dbid)
			return true;
	}
	return false;
}

/* taskq_ring_left - are there lines of a database that are to be written? */
bool
taskq_ring_left(Oid dbid)
{
	bool		left;

	LWLockAcquire(&ring->lock, LW_SHARED);
	left = any_of(dbid);
	LWLockRelease(&ring->lock);
	return left;
}

/* ---- writing them to the tables ---- */

/*
 * taskq_ring_take - the next lines of this database that are to be written,
 * after this number; how many
 *
 * They stay here until taskq_ring_written.  Only the dispatcher takes any, so
 * what it has taken can be read without the lock.
 */
int
taskq_ring_take(TaskqDb *db, int64 after, int max, TaskqLogLine *lines)
{
	Size		size = 0;
	char	   *buffer;
	int			n = 0;

	LWLockAcquire(&ring->lock, LW_EXCLUSIVE);
	db->logs_urgent = false;
	for (int i = ring->unwritten.first; i >= 0 && n < max;
		 i = ring->chunks[i].head.next)
	{
		LineHead   *head = &ring->chunks[i].head;

		if (head->dbid != MyDatabaseId || head->seq <= after)
			continue;
		lines[n].place = i;
		lines[n].again = head->state == LINE_TAKEN;
		head->state = LINE_TAKEN;
		size += line_size(head);
		n++;
	}
	LWLockRelease(&ring->lock);
	buffer = palloc(size + 1);
	for (int i = 0; i < n; i++)
	{
		bool		again = lines[i].again;

		read_line(lines[i].place, &lines[i], &buffer);
		lines[i].again = again;
	}
	return n;
}

/*
 * taskq_ring_written - these lines are in a table, or their task is gone:
 * there is room
 */
void
taskq_ring_written(TaskqDb *db, const TaskqLogLine *lines, int n)
{
	if (n == 0)
		return;
	LWLockAcquire(&ring->lock, LW_EXCLUSIVE);
	for (int i = 0; i < n; i++)
	{
		settle(lines[i].place);
		ring->chunks[lines[i].place].head.state = LINE_WRITTEN;
		append(&ring->written, lines[i].place);
	}
	LWLockRelease(&ring->lock);
	ConditionVariableBroadcast(&ring->room);
}

/*
 * taskq_ring_quiet - nothing of this database is to be written, and whoever
 * adds a line calls the dispatcher
 *
 * False if there is something.
 */
bool
taskq_ring_quiet(TaskqDb *db)
{
	bool		quiet;

	LWLockAcquire(&ring->lock, LW_EXCLUSIVE);
	quiet = !any_of(MyDatabaseId);
	db->logs_told = !quiet;
	LWLockRelease(&ring->lock);
	return quiet;
}

/*
 * taskq_ring_untold - the dispatcher leaves: whoever adds a line asks for
 * another one
 */
void
taskq_ring_untold(TaskqDb *db)
{
	LWLockAcquire(&ring->lock, LW_EXCLUSIVE);
	db->logs_told = db->logs_urgent = false;
	LWLockRelease(&ring->lock);
}

/* Of one of the lists: forget a database's lines. */
static void
drop_from(Lines *lines, Oid dbid)
{
	int			next;

	for (int i = lines->first; i >= 0; i = next)
	{
		LineHead   *head = &ring->chunks[i].head;

		next = head->next;
		if (head->dbid != dbid)
			continue;
		if (lines == &ring->unwritten)
			settle(i);
		else
			take_off(lines, i);
		give_up(i);
	}
}

/*
 * taskq_ring_drop - forget the lines of a database that is gone, or is served
 * no more
 */
void
taskq_ring_drop(Oid dbid)
{
	LWLockAcquire(&ring->lock, LW_EXCLUSIVE);
	drop_from(&ring->unwritten, dbid);
	drop_from(&ring->written, dbid);
	LWLockRelease(&ring->lock);
	ConditionVariableBroadcast(&ring->room);
}
