/*-------------------------------------------------------------------------
 *
 * announce.c
 *		Making what a worker has finished durable, and telling everybody.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xlog.h"
#include "base/shmem.h"
#include "lanes/announce.h"
#include "lanes/counts.h"
#include "lanes/event.h"
#include "miscadmin.h"
#include "replication/syncrep.h"

/*
 * taskq_flush - wait until what was committed up to there is durable, here
 * and on synchronous standbys
 */
void
taskq_flush(XLogRecPtr upto)
{
	if (upto == InvalidXLogRecPtr)
		return;
	XLogFlush(upto);
	HOLD_INTERRUPTS();
	SyncRepWaitForLSN(upto, true);
	RESUME_INTERRUPTS();
}

/*
 * taskq_announce - make what a worker has finished durable, then tell
 * everybody
 *
 * Also called by the dispatcher for a worker that is long in its next task.
 */
void
taskq_announce(int slotno)
{
	TaskqSlot  *slot = &taskq_shared->slots[slotno];
	TaskqRef	items[TASKQ_BATCH_MAX];
	char		outcome[TASKQ_BATCH_MAX];
	TaskqDb    *db;
	XLogRecPtr	flush_to;
	uint32		generation;
	uint32		batch;
	int			until;
	int			first;

	LWLockAcquire(taskq_slot_lock(slotno), LW_SHARED);
	generation = slot->generation;
	batch = slot->batch;
	first = slot->announced;
	for (until = first;
		 until < slot->next && slot->outcome[until] != TASKQ_UNDONE;)
		until++;
	flush_to = slot->flush_to;
	LWLockRelease(taskq_slot_lock(slotno));
	if (until == first)
		return;

	taskq_counts_hand_over();
	taskq_flush(flush_to);
	taskq_event_wait_for_room(slot->dbid, until - first);

	LWLockAcquire(taskq_main_lock, LW_EXCLUSIVE);
	LWLockAcquire(taskq_slot_lock(slotno), LW_EXCLUSIVE);
	if (slot->generation != generation || slot->batch != batch ||
		slot->announced != first)
		until = first;			/* somebody else did it meanwhile */
	memcpy(items, slot->items, sizeof(items));
	memcpy(outcome, slot->outcome, sizeof(outcome));
	if (until > first)
	{
		slot->announced = until;
		slot->finished_at = 0;
	}
	LWLockRelease(taskq_slot_lock(slotno));
	db = taskq_db_find(slot->dbid);
	for (int i = first; i < until && db != NULL; i++)
	{
		if (outcome[i] != TASKQ_DROPPED)
			taskq_event_push(db, &items[i].id, outcome[i]);
	}
	LWLockRelease(taskq_main_lock);
}

/*
 * taskq_announce_task - the same for one task of this database that this
 * session has just recorded
 *
 * For those that no worker's slot will announce.
 */
void
taskq_announce_task(const pg_uuid_t *id, char state)
{
	TaskqDb    *db;

	taskq_counts_hand_over();
	taskq_flush(XactLastCommitEnd);
	LWLockAcquire(taskq_main_lock, LW_EXCLUSIVE);
	db = taskq_db_find(MyDatabaseId);
	if (db != NULL)
		taskq_event_push(db, id, state);
	LWLockRelease(taskq_main_lock);
}
