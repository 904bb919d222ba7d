/*-------------------------------------------------------------------------
 *
 * cancels.c
 *		Cancels of running tasks: told to their workers, and listed.
 *
 * What was cancelled stays in the list until the task has come to its end,
 * since its worker may be between two attempts, or undo it with others.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <signal.h>

#include "base/shmem.h"
#include "store/rights.h"
#include "lanes/cancels.h"
#include "miscadmin.h"

/* Its index in the list, or -1.  Caller holds the main lock. */
static int
listed_at(Oid dbid, const pg_uuid_t *id)
{
	int			n = pg_atomic_read_u32(&taskq_shared->ncancels);

	for (int i = 0; i < n; i++)
	{
		if (taskq_shared->cancels[i].dbid == dbid &&
			taskq_id_eq(&taskq_shared->cancels[i].id, id))
			return i;
	}
	return -1;
}

static bool
list_is_empty(void)
{
	return pg_atomic_read_u32(&taskq_shared->ncancels) == 0;
}

/*
 * How many are of tasks of this role, whatever their database.  Caller holds
 * the main lock.
 */
static int
listed_of(Oid role)
{
	int			n = pg_atomic_read_u32(&taskq_shared->ncancels);
	int			of_role = 0;

	for (int i = 0; i < n; i++)
		of_role += taskq_shared->cancels[i].role == role;
	return of_role;
}

/*
 * taskq_cancels_full - is there no room for another one of this role's tasks?
 *
 * A role gets half of what its tasks may take, since several of its sessions
 * may look at the same moment; who steers all, what is there.
 */
bool
taskq_cancels_full(Oid role)
{
	bool		full;

	if (list_is_empty())
		return false;
	LWLockAcquire(taskq_main_lock, LW_SHARED);
	full = pg_atomic_read_u32(&taskq_shared->ncancels) >=
		TASKQ_CANCELS - TASKQ_ROLE_CANCELS ||
		listed_of(role) >= TASKQ_ROLE_CANCELS / 2;
	LWLockRelease(taskq_main_lock);
	return full && !taskq_steers_all();
}

/* Caller holds the main lock exclusively. */
static void
list_add(Oid dbid, const pg_uuid_t *id, Oid role, bool force,
		 const char *reason)
{
	int			index = listed_at(dbid, id);
	TaskqCancel *cancel;

	if (index < 0)
	{
		index = pg_atomic_read_u32(&taskq_shared->ncancels);
		if (index == TASKQ_CANCELS || listed_of(role) >= TASKQ_ROLE_CANCELS)
			return;				/* whoever runs it is told all the same */
		memset(&taskq_shared->cancels[index], 0, sizeof(TaskqCancel));
	}
	cancel = &taskq_shared->cancels[index];
	cancel->dbid = dbid;
	cancel->id = *id;
	cancel->role = role;
	cancel->force |= force;
	if (reason != NULL)
		strlcpy(cancel->reason, reason, sizeof(cancel->reason));
	if (index == pg_atomic_read_u32(&taskq_shared->ncancels))
		pg_atomic_write_u32(&taskq_shared->ncancels, index + 1);
}

/* Caller holds the main lock exclusively. */
static void
list_remove(int index)
{
	int			last = pg_atomic_read_u32(&taskq_shared->ncancels) - 1;

	taskq_shared->cancels[index] = taskq_shared->cancels[last];
	pg_atomic_write_u32(&taskq_shared->ncancels, last);
}

/*
 * taskq_cancel_listed - was this task of this database cancelled, though it
 * was running?
 */
bool
taskq_cancel_listed(const pg_uuid_t *id)
{
	bool		listed;

	if (list_is_empty())
		return false;
	LWLockAcquire(taskq_main_lock, LW_SHARED);
	listed = listed_at(MyDatabaseId, id) >= 0;
	LWLockRelease(taskq_main_lock);
	return listed;
}

/*
 * taskq_cancel_take - the worker in this slot begins a task: was it cancelled
 * before?
 *
 * Then it is told as if the cancel had come just now.  Called after the slot
 * has the task: a cancel is listed first and then looks at the slots, so one
 * of both sees the other.
 */
void
taskq_cancel_take(int slotno, const pg_uuid_t *id)
{
	TaskqSlot  *slot = &taskq_shared->slots[slotno];
	int			index;

	if (list_is_empty())
		return;
	LWLockAcquire(taskq_main_lock, LW_SHARED);
	index = listed_at(MyDatabaseId, id);
	if (index >= 0)
	{
		LWLockAcquire(taskq_slot_lock(slotno), LW_EXCLUSIVE);
		slot->cancel = true;
		strlcpy(slot->reason, taskq_shared->cancels[index].reason,
				sizeof(slot->reason));
		pg_atomic_write_u32(&slot->cancel_generation,
							pg_atomic_read_u32(&slot->task_generation));
		LWLockRelease(taskq_slot_lock(slotno));
	}
	LWLockRelease(taskq_main_lock);
}

/*
 * taskq_cancel_attempt_ended - a worker is through with a task that may be on
 * the list
 *
 * If that was not the task's end, the dispatcher sees to it.
 */
void
taskq_cancel_attempt_ended(const pg_uuid_t *id, bool final)
{
	TaskqDb    *db;
	int			index;

	if (list_is_empty())
		return;
	LWLockAcquire(taskq_main_lock, LW_EXCLUSIVE);
	index = listed_at(MyDatabaseId, id);
	db = taskq_db_find(MyDatabaseId);
	if (index >= 0 && final)
		list_remove(index);
	else if (index >= 0 && db != NULL)
		taskq_wake_dispatcher(db);
	LWLockRelease(taskq_main_lock);
}

/*
 * taskq_cancels_left - is there one of this database?  Caller holds the main
 * lock
 */
bool
taskq_cancels_left(Oid dbid)
{
	int			n = pg_atomic_read_u32(&taskq_shared->ncancels);

	for (int i = 0; i < n; i++)
	{
		if (taskq_shared->cancels[i].dbid == dbid)
			return true;
	}
	return false;
}

/*
 * taskq_cancels_drop - forget those of a database that is gone; caller holds
 * the main lock exclusively
 */
void
taskq_cancels_drop(Oid dbid)
{
	for (int i = pg_atomic_read_u32(&taskq_shared->ncancels) - 1; i >= 0; i--)
	{
		if (taskq_shared->cancels[i].dbid == dbid)
			list_remove(i);
	}
}

/* Tell the worker in this slot, if it is at this task. */
static bool
tell_worker(int slotno, const pg_uuid_t *id, bool force, const char *reason)
{
	TaskqSlot  *slot = &taskq_shared->slots[slotno];
	bool		found = false;

	LWLockAcquire(taskq_slot_lock(slotno), LW_EXCLUSIVE);
	if (slot->state == TASKQ_SLOT_BUSY && slot->in_task &&
		taskq_id_eq(&slot->task, id))
	{
		slot->cancel = true;
		slot->force |= force;
		if (reason != NULL)
			strlcpy(slot->reason, reason, sizeof(slot->reason));
		pg_atomic_write_u32(&slot->cancel_generation,
							pg_atomic_read_u32(&slot->task_generation));
		kill(slot->pid, force ? SIGTERM : SIGUSR2);
		found = true;
	}
	LWLockRelease(taskq_slot_lock(slotno));
	return found;
}

/*
 * taskq_cancel_deliver - a running task was cancelled, and that is committed
 *
 * The worker that is at it is told.  It may be through with it, and still
 * fail to commit it with others; it may be between two attempts: so the
 * cancel is listed too. Caller holds the main lock exclusively, under which a
 * slot's process can't leave.
 */
void
taskq_cancel_deliver(TaskqDb *db, int slotno, const pg_uuid_t *id, Oid role,
					 bool force, const char *reason)
{
	bool		told;

	list_add(db->dbid, id, role, force, reason);
	told = tell_worker(slotno, id, force, reason);
	/* by now another worker may be at its next attempt */
	for (int i = 0; i < taskq_shared->nslots && !told; i++)
		told = taskq_shared->slots[i].dbid == db->dbid &&
			tell_worker(i, id, force, reason);
	if (!told)
		taskq_wake_dispatcher(db);
}
