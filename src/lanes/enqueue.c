/*-------------------------------------------------------------------------
 *
 * enqueue.c
 *		Putting tasks into the tables, for whoever submits them.
 *
 * A task is one row, inserted in the caller's transaction; nothing else is
 * written for a plain one.  That it is there becomes known to workers when
 * the transaction commits (note.c).  Who may submit what, and the options as
 * SQL has them, are api/submit.c's.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "base/args.h"
#include "base/compat.h"
#include "base/current.h"
#include "base/guc.h"
#include "base/http.h"
#include "base/shmem.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_type.h"
#include "lanes/enqueue.h"
#include "lanes/lane.h"
#include "lanes/note.h"
#include "lanes/unique.h"
#include "miscadmin.h"
#include "store/dependencies.h"
#include "store/keyed.h"
#include "store/labels.h"
#include "store/ready.h"
#include "store/rights.h"
#include "store/state.h"
#include "store/steps.h"
#include "store/timers.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/array.h"
#include "utils/memutils.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

/* taskq_submit_new - tasks of nothing yet, pending */
void
taskq_submit_new(TaskqSubmit *submit)
{
	memset(submit, 0, sizeof(*submit));
	submit->submitter = GetUserId();
	taskq_store_new_row(&submit->row);
	taskq_row_set(&submit->row, attempt, Int16GetDatum(0));
	taskq_row_set(&submit->row, state, CharGetDatum(TASKQ_PENDING));
}

/*
 * taskq_check_role - raise an error unless a session of this role can be had
 * in the background
 */
void
taskq_check_role(Oid role)
{
	HeapTuple	tuple = SearchSysCache1(AUTHOID, ObjectIdGetDatum(role));
	bool		login;

	if (!HeapTupleIsValid(tuple))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("role with OID %u does not exist", role)));
	login = ((Form_pg_authid) GETSTRUCT(tuple))->rolcanlogin;
	ReleaseSysCache(tuple);
	if (!login)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("role \"%s\" cannot run tasks because it may not log in", GetUserNameFromId(role, false)),
				 errhint("Give the role LOGIN, or define the kind with run_as naming a role that has it.")));
}

/*
 * taskq_submit_kind - the kind of this name, which the caller may use; or an
 * error
 */
const TaskqKind *
taskq_submit_kind(const char *name)
{
	const TaskqKind *kind = taskq_kind_get(name);

	if (kind == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("kind of task \"%s\" does not exist", taskq_clip_name(name)),
				 errhint("Argument \"kind\" names a kind that taskq.kind_define() made; view taskq.kind lists them.")));
	if (!taskq_kind_may_submit(kind))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied to submit tasks of kind \"%s\"", name),
				 errdetail("They run as role \"%s\".", NameStr(kind->run_as)),
				 errhint("The owner of the kind can use taskq.kind_grant().")));
	if (kind->run_as_id != 0 && !OidIsValid(kind->run_as_oid))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("role \"%s\", which tasks of kind \"%s\" run as, does not exist any more", NameStr(kind->run_as), name),
				 errhint("Define the kind again with taskq.kind_define().")));
	return kind;
}

/* taskq_submit_at - not before this moment */
void
taskq_submit_at(TaskqSubmit *submit, TimestampTz run_at)
{
	submit->run_at = run_at;
	submit->scheduled = run_at > GetCurrentTimestamp();
	taskq_row_set(&submit->row, run_at, TimestampTzGetDatum(run_at));
	taskq_row_set(&submit->row, state,
				  CharGetDatum(submit->scheduled ? TASKQ_SCHEDULED
							   : TASKQ_PENDING));
}

/* Has a dependency come to an end that counts for those who wait for it? */
static bool
satisfies(char state, char on_failure)
{
	switch (on_failure)
	{
		case TASKQ_ON_FAILURE_RUN:
			return taskq_state_final(state);
		case TASKQ_ON_FAILURE_ONLY:
			return false;		/* the dispatcher counts them together */
		default:
			return state == TASKQ_COMPLETED;
	}
}

/*
 * taskq_submit_depends - they wait for these tasks, each of which is named
 * once
 *
 * ids stays the caller's, and as it is until taskq_submit_rows.  Whether the
 * caller may see these tasks is its own to check.  What they wait for may be
 * over already: what is not as it should be is the dispatcher's to decide,
 * who does it when the transaction has committed.
 */
void
taskq_submit_depends(TaskqSubmit *submit, const pg_uuid_t *ids, int n,
					 char on_failure)
{
	Datum	   *values = palloc_extended(sizeof(Datum) * Max(n, 1),
										 MCXT_ALLOC_HUGE);
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext,
												  "taskq depends_on",
												  ALLOCSET_DEFAULT_SIZES);

	submit->ndepends = n;
	submit->depends = ids;
	submit->depends_states = palloc_extended(Max(n, 1), MCXT_ALLOC_HUGE);
	submit->on_failure = on_failure;
	submit->awaited = 0;
	for (int i = 0; i < n; i++)
	{
		MemoryContext old = MemoryContextSwitchTo(context);
		TaskqRow	row;
		char		state = TASKQ_EDGE_OPEN;

		CHECK_FOR_INTERRUPTS();
		values[i] = UUIDPGetDatum(&ids[i]);
		if (taskq_store_keep(&ids[i], &row) &&
			satisfies(taskq_row_state(&row), on_failure))
			state = taskq_row_state(&row);
		submit->depends_states[i] = state;
		submit->awaited += state == TASKQ_EDGE_OPEN;
		MemoryContextSwitchTo(old);
		MemoryContextReset(context);
	}
	MemoryContextDelete(context);
	if (n > 0)
		taskq_row_set(&submit->row, depends_on,
					  PointerGetDatum(construct_array(values, n, UUIDOID,
													  UUID_LEN, false,
													  TYPALIGN_CHAR)));
}

/* taskq_row_depth - how many tasks it descends from */
int
taskq_row_depth(TaskqRow *row)
{
	return taskq_row_isnull(row, depth)
		? 0
		: DatumGetInt16(taskq_row_value(row, depth));
}

/*
 * taskq_submit_depth - a task is deeper than the one that submits it
 *
 * Whatever its parent is said to be.  Raises PT429 beyond taskq.max_depth.
 */
void
taskq_submit_depth(TaskqSubmit *submit)
{
	int			depth = taskq_row_depth(&submit->row);

	if (taskq_in_task())
		depth = Max(depth, taskq_row_depth(taskq_current->row) + 1);
	if (depth == 0)
		return;
	if ((taskq_max_depth > 0 && depth > taskq_max_depth) ||
		depth > PG_INT16_MAX)
		ereport(ERROR,
				(errcode(ERRCODE_TASK_TOO_MANY),
				 errmsg("task would be a descendant of %d others", depth),
				 errdetail("The limit is taskq.max_depth, %d.", taskq_max_depth),
				 errhint("A task that submits its own successor for ever is better a schedule.")));
	taskq_row_set(&submit->row, depth, Int16GetDatum(depth));
}

/* Can the handler be called by the role? */
static void
check_handler(const TaskqKind *kind, Oid role)
{
	taskq_check_role(role);
	if (kind == NULL)
		return;
	if (!OidIsValid(kind->handler_oid))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_FUNCTION),
				 errmsg("handler %s of kind \"%s\" does not exist any more", kind->handler, NameStr(kind->name)),
				 errhint("Create the function, or define the kind again with taskq.kind_define().")));
	if (taskq_function_aclcheck(kind->handler_oid, role) != ACLCHECK_OK)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("role \"%s\" may not execute handler %s of kind \"%s\"",
						GetUserNameFromId(role, false), kind->handler,
						NameStr(kind->name)),
				 errhint("Grant EXECUTE on the function to the role.")));
}

/*
 * taskq_submit_place - what kind it is and who it runs as; kind NULL: SQL
 * commands
 *
 * Checks that it can run.
 */
void
taskq_submit_place(TaskqSubmit *submit, const char *kind_name,
				   const TaskqKind *kind, Oid role, const char *queue,
				   int priority)
{
	if (kind == NULL || kind->handler != NULL)
		check_handler(kind, role);
	if (kind != NULL)
		taskq_kind_check_superuser(kind, role);
	submit->lane = taskq_lane_for(role, queue, kind_name, kind, priority,
								  !taskq_row_isnull(&submit->row,
													concurrency_key));
	if (submit->lane == NULL)
		elog(ERROR, "lane not found");
	submit->indexed = kind != NULL && kind->indexed != NIL;
	taskq_row_set(&submit->row, lane, Int32GetDatum(submit->lane->id));
	if (role != submit->submitter)
		taskq_row_set(&submit->row, submitted_by,
					  Int32GetDatum(taskq_role_id(submit->submitter)));
}

/*
 * Tasks of a role that wait, by estimate, those of this transaction included.
 */
static int64
count_pending(Oid role)
{
	int64		n = taskq_note_pending(role);

	LWLockAcquire(taskq_main_lock, LW_SHARED);
	n += taskq_lane_pending(MyDatabaseId, role);
	LWLockRelease(taskq_main_lock);
	return n;
}

/*
 * Nobody fills the disk or the queue.  The count costs a look at all lanes,
 * so it is not made for each submit: far from the limit a hundredth of what
 * is left may be used up unseen.
 */
static void
check_pending(Oid role, int n)
{
	static Oid	checked_role = InvalidOid;
	static int64 allowance = 0;
	int64		pending;

	if (taskq_max_pending_per_role == 0 || superuser())
		return;
	if (role == checked_role && n <= allowance)
	{
		allowance -= n;
		return;
	}
	pending = count_pending(role);
	if (pending + n > taskq_max_pending_per_role)
		taskq_too_many(psprintf("too many tasks of role \"%s\" wait to be run", GetUserNameFromId(role, false)),
					   psprintf("There are about " INT64_FORMAT " of them; the limit is taskq.max_pending_per_role, %d.",
								pending, taskq_max_pending_per_role),
					   "Submit again later, or let a superuser raise the limit.");
	checked_role = role;
	allowance = (taskq_max_pending_per_role - pending - n) / 100;
}

/*
 * Nor does one tenant of a role.  Tenants that share lanes (lanedefs.c) are
 * not counted: who has a lane for itself has filled none of theirs.
 */
static void
check_tenant_pending(const TaskqLaneDef *lane, int n)
{
	int64		pending;

	if (taskq_max_pending_per_tenant == 0 || lane->tenant >= 0 || superuser())
		return;
	pending = taskq_note_pending_of(lane->role_oid, lane->tenant);
	LWLockAcquire(taskq_main_lock, LW_SHARED);
	pending += taskq_lane_pending_of(MyDatabaseId, lane->role_oid,
									 lane->tenant);
	LWLockRelease(taskq_main_lock);
	if (pending + n > taskq_max_pending_per_tenant)
		taskq_too_many("too many tasks of the tenant wait to be run",
					   psprintf("There are about " INT64_FORMAT " of them; the limit is taskq.max_pending_per_tenant, %d.",
								pending, taskq_max_pending_per_tenant),
					   "Submit again later, or let a superuser raise the limit.");
}

static void
check_children(int n)
{
	if (!taskq_in_task())
		return;
	if (taskq_max_children > 0 &&
		n > taskq_max_children - taskq_current->children)
		ereport(ERROR,
				(errcode(ERRCODE_TASK_TOO_MANY),
				 errmsg("task submits too many others"),
				 errdetail("The limit is taskq.max_children, %d.", taskq_max_children),
				 errhint("Submit fewer, larger tasks.")));
	taskq_current->children += n;
}

/* Who waits for whom: of n tasks that are submitted. */
static void
insert_edges(TaskqSubmit *submit, const pg_uuid_t *ids, int n)
{
	int			room = Max(submit->ndepends, 1000);
	TaskqEdge  *edges = palloc_extended(sizeof(TaskqEdge) * room,
										MCXT_ALLOC_HUGE);
	int			nedges = 0;

	for (int i = 0; i < n; i++)
	{
		if (nedges + submit->ndepends > room)
		{
			taskq_edges_insert(edges, nedges);
			nedges = 0;
		}
		for (int j = 0; j < submit->ndepends; j++)
		{
			TaskqEdge  *edge = &edges[nedges++];

			edge->dependency = submit->depends[j];
			edge->type = TASKQ_EDGE_WAITS;
			edge->task = ids[i];
			edge->state = submit->depends_states[j];
		}
	}
	taskq_edges_insert(edges, nedges);
	pfree(edges);
	for (int j = 0; j < submit->ndepends; j++)
	{
		if (submit->depends_states[j] == TASKQ_EDGE_OPEN)
			taskq_note_awaited(&submit->depends[j]);
	}
}

/* Their parent's cancel is theirs: of n tasks that are submitted. */
static void
insert_child_edges(TaskqSubmit *submit, const pg_uuid_t *ids, int n)
{
	const pg_uuid_t *parent =
	DatumGetUUIDP(taskq_row_value(&submit->row, parent));
	TaskqEdge  *edges = palloc_extended(sizeof(TaskqEdge) * n,
										MCXT_ALLOC_HUGE);

	for (int i = 0; i < n; i++)
	{
		edges[i].dependency = *parent;
		edges[i].type = TASKQ_EDGE_CHILD;
		edges[i].task = ids[i];
		edges[i].state = TASKQ_EDGE_OPEN;
	}
	taskq_edges_insert(edges, n);
	pfree(edges);
	taskq_note_awaited(parent);
}

static void
insert_blocked(TaskqSubmit *submit, const pg_uuid_t *ids, int n, bool child)
{
	TaskqBlocked *blocked = palloc_extended(sizeof(TaskqBlocked) * n,
											MCXT_ALLOC_HUGE);

	for (int i = 0; i < n; i++)
	{
		blocked[i].task = ids[i];
		blocked[i].child = child;
		blocked[i].policy = child ? TASKQ_ON_FAILURE_CANCEL
			: submit->on_failure;
		blocked[i].awaited = child ? 1 : submit->awaited;
		blocked[i].failed = false;
	}
	taskq_blocked_insert(blocked, n);
	pfree(blocked);
}

/* What n tasks that are submitted have to do with others. */
static void
relate(TaskqSubmit *submit, const pg_uuid_t *ids, int n)
{
	if (n == 0)
		return;
	if (submit->ndepends > 0)
		insert_edges(submit, ids, n);
	if (submit->awaited > 0)
		insert_blocked(submit, ids, n, false);
	if (submit->with_parent)
	{
		insert_child_edges(submit, ids, n);
		insert_blocked(submit, ids, n, true);
	}
}

/*
 * What a task of a workflow submits belongs to that, too.  True: and that is
 * still to be noted.
 */
static bool
join_workflow(TaskqSubmit *submit)
{
	if (!taskq_in_task() || !taskq_row_isnull(&submit->row, workflow) ||
		taskq_row_isnull(taskq_current->row, workflow))
		return false;
	taskq_row_set(&submit->row, workflow,
				  taskq_row_value(taskq_current->row, workflow));
	return true;
}

/* n tasks are children of one of a workflow. */
static void
insert_children(TaskqSubmit *submit, const pg_uuid_t *ids, int n)
{
	TaskqStep	step = {.has_task = true,.has_parent = true};

	step.workflow = *DatumGetUUIDP(taskq_row_value(&submit->row, workflow));
	step.parent = *DatumGetUUIDP(taskq_row_value(taskq_current->row, id));
	for (int i = 0; i < n; i++)
	{
		step.name = taskq_id_text(&ids[i]);
		step.task = ids[i];
		taskq_step_insert(&step);
	}
}

/* Tenants take turns: their tasks are in lanes of their own. */
static void
settle_lane(TaskqSubmit *submit)
{
	if (taskq_row_isnull(&submit->row, tenant))
		return;
	submit->lane = taskq_lane_of_tenant(submit->lane,
										TextDatumGetCString(taskq_row_value(&submit->row, tenant)));
	taskq_row_set(&submit->row, lane, Int32GetDatum(submit->lane->id));
}

/*
 * taskq_submit_rows - insert n tasks, and note them; their ids go to ids
 *
 * One with a unique key may have to wait for others, and may not be inserted:
 * then its id is that of the task that has the key, and it returns false.
 */
bool
taskq_submit_rows(TaskqSubmit *submit, Datum *payloads, int n, pg_uuid_t *ids)
{
	TaskqRow   *rows;
	uint32		leaves = 0;
	bool		keyed = taskq_lane_keyed(submit->lane->id);
	bool		child = join_workflow(submit);
	bool		behind;

	settle_lane(submit);

	/*
	 * before the first id is made; no lane of tasks with keys is saved, since
	 * each of them has a row
	 */
	behind = !keyed && taskq_note_submitting(submit->lane->id);
	for (int i = 0; i < n; i++)
		taskq_id_make(&ids[i]);
	if (submit->unique_key != NULL && n > 0 &&
		!taskq_unique_take(submit, payloads[0], &ids[0]))
		return false;
	check_pending(submit->lane->role_oid, n);
	check_tenant_pending(submit->lane, n);
	check_children(n);
	if (behind && taskq_row_isnull(&submit->row, run_at))
		taskq_submit_at(submit, GetCurrentTimestamp());
	if (submit->awaited > 0)
		taskq_row_set(&submit->row, state, CharGetDatum(TASKQ_BLOCKED));
	rows = palloc_extended(sizeof(TaskqRow) * Max(n, 1), MCXT_ALLOC_HUGE);
	for (int i = 0; i < n; i++)
	{
		rows[i] = submit->row;
		rows[i].leaf = taskq_id_slot(&ids[i]);
		leaves |= 1u << rows[i].leaf;
		taskq_row_set(&rows[i], id, UUIDPGetDatum(&ids[i]));
		taskq_row_set(&rows[i], slot, Int16GetDatum(rows[i].leaf));
		taskq_row_set(&rows[i], payload, payloads[i]);
	}
	taskq_store_insert(rows, n);
	if (submit->indexed || taskq_labels_wants_submit(&submit->row))
		taskq_labels_insert(rows, n);
	relate(submit, ids, n);
	if (child)
		insert_children(submit, ids, n);
	if (submit->awaited > 0)
		taskq_note_later(submit->lane, n);
	else if (submit->scheduled)
	{
		for (int i = 0; i < n; i++)
			taskq_timer_insert(submit->run_at, &ids[i], submit->lane->id);
		taskq_note_later(submit->lane, n);
		taskq_note_due(submit->run_at);
	}
	else if (n > 0 && keyed)
	{
		taskq_keyed_insert(rows, n);
		taskq_note_submitted(submit->lane, &ids[0], leaves, n);
	}
	else if (n > 0 && !taskq_row_isnull(&submit->row, run_at))
	{
		for (int i = 0; i < n; i++)
			taskq_ready_insert(submit->lane->id, submit->run_at, &ids[i]);
		taskq_note_ready(submit->lane, submit->run_at, &ids[0], n, false);
	}
	else if (n > 0)
		taskq_note_submitted(submit->lane, &ids[0], leaves, n);
	pfree(rows);
	CommandCounterIncrement();
	return true;
}
