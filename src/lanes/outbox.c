/*-------------------------------------------------------------------------
 *
 * outbox.c
 *		What ends is written down before anybody can be told of it.
 *
 * That a task has ended is told by shared memory, and from there it gets into
 * the feed (store/feed.c).  So that a crash in between loses nothing, its id
 * is in an outbox (store/outbox.c): the transaction that ends it writes that,
 * right before it commits.  A worker writes the ids of its whole batch, when
 * the first of them ends; so a plain task costs nothing here.
 *
 * Which outbox has a batch stands in its slot, so that it is not emptied as
 * long as something of the batch has not been told.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "base/guc.h"
#include "lanes/outbox.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "store/outbox.h"
#include "store/store.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

static int	my_slotno = -1;		/* of a worker */
static bool covered = false;	/* this batch of it is in an outbox */
static uint32 covered_batch;
static bool batch_ended = false;	/* something of it ends in this
									 * transaction, and it is in none */
static int	batch_outbox = -1;	/* ... but will be, when it commits */

/* other tasks that end in this transaction */
static pg_uuid_t *ended = NULL;
static int	nended = 0;
static int	room = 0;

/* ---- at the end of a transaction ---- */

/* Those of the batch of which nobody has been told. */
static int
copy_batch(int slotno, pg_uuid_t *ids)
{
	TaskqSlot  *slot = &taskq_shared->slots[slotno];
	int			n = 0;

	for (int i = slot->announced; i < slot->nitems; i++)
		ids[n++] = slot->items[i].id;
	return n;
}

static void
write_batch(int first)
{
	pg_uuid_t	ids[TASKQ_BATCH_MAX];
	int			n;

	LWLockAcquire(taskq_slot_lock(my_slotno), LW_SHARED);
	n = copy_batch(my_slotno, ids);
	LWLockRelease(taskq_slot_lock(my_slotno));
	batch_outbox = taskq_outbox_insert(first, ids, n);
}

static void
write_ended(void)
{
	TaskqDb    *db = taskq_db_mine();
	int			first = db != NULL ? db->outbox : 0;

	/* the transaction may have dropped the extension */
	if (!taskq_store_ready())
		return;
	PushActiveSnapshot(GetTransactionSnapshot());
	if (batch_ended)
		write_batch(first);
	if (nended > 0)
		(void) taskq_outbox_insert(first, ended, nended);
	PopActiveSnapshot();
}

/* Before the locks are released, so before who empties the outbox looks. */
static void
batch_is_in(int outbox)
{
	TaskqSlot  *slot = &taskq_shared->slots[my_slotno];

	LWLockAcquire(taskq_slot_lock(my_slotno), LW_EXCLUSIVE);
	slot->outbox = outbox;
	slot->outbox_batch = slot->batch;
	LWLockRelease(taskq_slot_lock(my_slotno));
	covered = true;
	covered_batch = slot->batch;
}

static void
on_xact_end(XactEvent event, void *arg)
{
	if (!batch_ended && nended == 0)
		return;
	if (event == XACT_EVENT_PRE_COMMIT || event == XACT_EVENT_PRE_PREPARE)
		write_ended();
	if (event != XACT_EVENT_COMMIT && event != XACT_EVENT_ABORT &&
		event != XACT_EVENT_PREPARE)
		return;
	if (event == XACT_EVENT_COMMIT && batch_outbox >= 0)
		batch_is_in(batch_outbox);
	batch_ended = false;
	batch_outbox = -1;
	nended = 0;
}

/* ---- a task ends ---- */

/* taskq_outbox_worker - this process is the worker of this slot */
void
taskq_outbox_worker(int slotno)
{
	my_slotno = slotno;
}

/* Is it the task that this worker runs? */
static bool
is_mine(const pg_uuid_t *id)
{
	const TaskqSlot *slot;

	if (my_slotno < 0)
		return false;
	slot = &taskq_shared->slots[my_slotno];
	return slot->next > 0 && taskq_id_eq(&slot->items[slot->next - 1].id, id);
}

/*
 * taskq_outbox_ended - this transaction brings a task to its end
 *
 * One that is undone with a subtransaction does no harm.
 */
void
taskq_outbox_ended(const pg_uuid_t *id)
{
	static bool registered = false;

	if (taskq_shared == NULL || taskq_event_retention == 0)
		return;
	if (!registered)
		RegisterXactCallback(on_xact_end, NULL);
	registered = true;
	if (is_mine(id))
	{
		batch_ended = !covered ||
			covered_batch != taskq_shared->slots[my_slotno].batch;
		return;
	}
	if (nended == room)
	{
		room = Max(64, room * 2);
		ended = ended == NULL
			? MemoryContextAlloc(TopMemoryContext, sizeof(pg_uuid_t) * room)
			: repalloc_huge(ended, sizeof(pg_uuid_t) * room);
	}
	ended[nended++] = *id;
}

/* ---- for who empties them ---- */

/*
 * taskq_outbox_hold - none is emptied before this transaction ends
 *
 * One that somebody has locked against everybody is left out: a prepared
 * transaction that has written to it would have kept him from that.
 */
void
taskq_outbox_hold(void)
{
	if (!taskq_store_ready())
		return;
	for (int i = 0; i < TASKQ_OUTBOXES; i++)
		(void) ConditionalLockRelationOid(taskq_store_oid(TASKQ_REL_OUTBOX + i),
										  AccessShareLock);
}

/*
 * taskq_outbox_slots - the slots of this database whose batch is in an outbox
 * and has not been told to its end, and the ids of these
 *
 * There is room for TASKQ_MAX_WORKERS of them, and TASKQ_BATCH_MAX ids each.
 * Returns how many.  What has been told by then has left its event behind.
 */
int
taskq_outbox_slots(int outbox, TaskqUntold * slots, pg_uuid_t *ids, int *nids)
{
	int			n = 0;

	*nids = 0;
	LWLockAcquire(taskq_main_lock, LW_SHARED);
	for (int i = 0; i < taskq_shared->nslots; i++)
	{
		TaskqSlot  *slot = &taskq_shared->slots[i];

		if (slot->dbid != MyDatabaseId || slot->state < TASKQ_SLOT_BUSY)
			continue;
		LWLockAcquire(taskq_slot_lock(i), LW_SHARED);
		if (slot->outbox == outbox && slot->outbox_batch == slot->batch &&
			slot->announced < slot->nitems)
		{
			slots[n].slot = i;
			slots[n].generation = slot->generation;
			slots[n++].batch = slot->batch;
			*nids += copy_batch(i, ids + *nids);
		}
		LWLockRelease(taskq_slot_lock(i));
	}
	LWLockRelease(taskq_main_lock);
	return n;
}

/* taskq_outbox_moved - these batches are in another outbox now */
void
taskq_outbox_moved(const TaskqUntold * slots, int n, int outbox)
{
	for (int i = 0; i < n; i++)
	{
		TaskqSlot  *slot = &taskq_shared->slots[slots[i].slot];

		LWLockAcquire(taskq_slot_lock(slots[i].slot), LW_EXCLUSIVE);
		if (slot->generation == slots[i].generation &&
			slot->batch == slots[i].batch &&
			slot->outbox_batch == slots[i].batch)
			slot->outbox = outbox;
		LWLockRelease(taskq_slot_lock(slots[i].slot));
	}
}

/*
 * taskq_feed_doubt - something may have ended that the feed will not be told
 * of: it is to be looked for in the outboxes
 *
 * Caller holds the main lock exclusively.
 */
void
taskq_feed_doubt(TaskqDb *db)
{
	db->feed_doubts++;
}
