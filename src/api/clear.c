/*-------------------------------------------------------------------------
 *
 * clear.c
 *		Clearing queues of what is pending.
 *
 * Lane by lane, from where the claimable tasks of each begin: what is over is
 * not looked at, however much of it there is.  What workers have is left
 * alone, and counted.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "api/action.h"
#include "api/bulk.h"
#include "api/filter.h"
#include "api/patience.h"
#include "api/steer.h"
#include "api/task.h"
#include "base/args.h"
#include "base/clock.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "lanes/lane.h"
#include "lanes/scan.h"
#include "miscadmin.h"
#include "nodes/value.h"
#include "store/keyed.h"
#include "store/leases.h"
#include "store/rights.h"
#include "store/state.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#define MAX_CLEARED 1000000		/* by one call */
#define DEFAULT_CLEARED 100000

/* What a call has come to. */
typedef struct Clear
{
	TaskqFilter filter;
	TaskqBulk	bulk;
	int			max;
	int			n;				/* cleared so far */
	int			room;			/* for ids */
	pg_uuid_t  *ids;
	List	   *kinds;			/* names, each once */
	MemoryContext context;		/* of one portion */
	int			nportion;
	pg_uuid_t	portion[TASKQ_BULK_PORTION];
}			Clear;

static void
add_id(Clear * clear, const pg_uuid_t *id)
{
	if (clear->n == clear->room)
	{
		clear->room = Max(clear->room * 2, 1000);
		clear->ids = clear->ids == NULL
			? palloc(sizeof(pg_uuid_t) * clear->room)
			: repalloc_huge(clear->ids, sizeof(pg_uuid_t) * clear->room);
	}
	clear->ids[clear->n++] = *id;
}

/* Cancel what has been gathered; true if any of it was. */
static bool
clear_portion(Clear * clear)
{
	TaskqResult results[TASKQ_BULK_PORTION];
	MemoryContext old = MemoryContextSwitchTo(clear->context);
	int			before = clear->n;

	taskq_bulk_portion(&clear->bulk, clear->portion, clear->nportion,
					   results);
	MemoryContextSwitchTo(old);
	for (int i = 0; i < clear->nportion; i++)
	{
		if (results[i].success)
			add_id(clear, &clear->portion[i]);
	}
	MemoryContextReset(clear->context);
	clear->nportion = 0;
	return clear->n > before;
}

/* Is there room for more? */
static bool
may_go_on(const Clear * clear)
{
	return clear->n + clear->nportion < clear->max;
}

/* A task that seems to be pending; true if that had some cancelled. */
static bool
consider(Clear * clear, const pg_uuid_t *id)
{
	MemoryContext old;
	TaskqRow	row;
	bool		suits;

	CHECK_FOR_INTERRUPTS();
	if (!may_go_on(clear))
		return false;
	old = MemoryContextSwitchTo(clear->context);
	suits = taskq_store_find(id, &row) &&
		taskq_filter_row(&clear->filter, &row);
	MemoryContextSwitchTo(old);
	if (!suits)
		return false;
	clear->portion[clear->nportion++] = *id;
	return clear->nportion == TASKQ_BULK_PORTION && clear_portion(clear);
}

/* Where a lane's claimable tasks begin, as far as is known. */
static void
begin_lane(int32 id, TaskqScan *scan)
{
	TaskqLane  *lane;

	memset(scan, 0, offsetof(TaskqScan, found));
	scan->lane = id;
	scan->leaves = TASKQ_ALL_LEAVES;
	taskq_due_first(&scan->ready);
	LWLockAcquire(taskq_main_lock, LW_SHARED);
	lane = taskq_lane_find(MyDatabaseId, id);
	if (lane != NULL)
		taskq_scan_from(lane, scan);
	LWLockRelease(taskq_main_lock);
	scan->max = TASKQ_BATCH_MAX;
}

static bool
clear_lane(Clear * clear, int32 lane)
{
	TaskqScan  *scan = palloc(sizeof(TaskqScan));
	bool		any = false;

	begin_lane(lane, scan);
	while (may_go_on(clear) &&
		   (scan->leaves != 0 || scan->ready.due != DT_NOEND))
	{
		MemoryContext old = MemoryContextSwitchTo(clear->context);

		taskq_scan_lane(scan);
		MemoryContextSwitchTo(old);
		for (int i = 0; i < scan->nfound; i++)
			any |= consider(clear, &scan->found[i].id);
		scan->start = scan->next;
		scan->leaves = scan->remaining;
		scan->ready = scan->next_ready;
	}
	pfree(scan);
	return clear_portion(clear) || any;
}

/* The same of a lane of tasks with concurrency keys. */
static bool
clear_keyed(Clear * clear, int32 lane)
{
	Snapshot	snapshot = taskq_store_snapshot();
	TaskqRead	read;
	TaskqKeyed	keyed;
	bool		any = false;

	taskq_keyed_begin(&read, lane, PG_INT64_MIN, snapshot);
	while (may_go_on(clear) && taskq_keyed_next(&read, &keyed))
		any |= consider(clear, &keyed.at.id);
	taskq_read_end(&read);
	UnregisterSnapshot(snapshot);
	return clear_portion(clear) || any;
}

static void
clear_all(Clear * clear)
{
	List	   *ids = taskq_lane_ids();
	ListCell   *lc;

	foreach(lc, ids)
	{
		int32		id = lfirst_int(lc);
		char	   *kind;
		bool		any;

		taskq_defs_begin();
		if (!taskq_filter_lane(&clear->filter, id) ||
			!taskq_lane_cancellable(taskq_lane_get(id)))
			continue;
		kind = pstrdup(NameStr(taskq_lane_get(id)->kind));
		any = taskq_lane_keyed(id) ? clear_keyed(clear, id)
			: clear_lane(clear, id);
		if (any && !list_member(clear->kinds, makeString(kind)))
			clear->kinds = lappend(clear->kinds, makeString(kind));
		if (!may_go_on(clear))
			break;
	}
}

static void
clear_and_tell(Clear * clear)
{
	taskq_actions_begin(clear->bulk.reason);
	PG_TRY();
	{
		clear_all(clear);
		taskq_defs_begin();
		taskq_actions_write();
	}
	PG_FINALLY();
	{
		taskq_actions_end();
	}
	PG_END_TRY();
}

/* ---- what is left alone ---- */

/* Ids of the tasks that this database's workers have, palloc'd. */
static int
held_ids(pg_uuid_t **ids)
{
	int			max = taskq_shared->nslots * TASKQ_BATCH_MAX;
	int			n = 0;

	*ids = palloc(sizeof(pg_uuid_t) * Max(max, 1));
	for (int i = 0; i < taskq_shared->nslots; i++)
	{
		TaskqSlot  *slot = &taskq_shared->slots[i];

		LWLockAcquire(taskq_slot_lock(i), LW_SHARED);
		for (int j = slot->announced;
			 slot->dbid == MyDatabaseId && slot->state >= TASKQ_SLOT_BUSY &&
			 j < slot->nitems && n < max; j++)
		{
			if (taskq_live_held(slot, j))
				(*ids)[n++] = slot->items[j].id;
		}
		LWLockRelease(taskq_slot_lock(i));
	}
	return n;
}

static int
count_running(TaskqFilter *filter)
{
	List	   *leased = taskq_lease_ids();
	ListCell   *lc;
	pg_uuid_t  *ids;
	int			n = held_ids(&ids);
	int			running = 0;
	TaskqRow	row;

	filter->states = list_make2("running", "reserved");
	for (int i = 0; i < n; i++)
		running += taskq_store_find(&ids[i], &row) &&
			taskq_filter_row(filter, &row);
	foreach(lc, leased)
		running += taskq_store_find(lfirst(lc), &row) &&
		taskq_filter_row(filter, &row);
	pfree(ids);
	return running;
}

/* ---- from SQL ---- */

static void
clear_args(FunctionCallInfo fcinfo, Clear * clear)
{
	memset(clear, 0, sizeof(*clear));
	taskq_filter_init(&clear->filter, false);
	clear->filter.states = list_make1("pending");
	if (!PG_ARGISNULL(0))
		clear->filter.queues = list_make1(taskq_listed_queue(fcinfo, 0, "queue"));
	if (!PG_ARGISNULL(1))
		clear->filter.kinds = taskq_filter_names(PG_GETARG_ARRAYTYPE_P(1), "kinds");
	if (!PG_ARGISNULL(2))
		clear->filter.max_priority = PG_GETARG_INT32(2);
	if (!PG_ARGISNULL(3))
		clear->filter.created.before = PG_GETARG_TIMESTAMPTZ(3);
	if (!PG_ARGISNULL(5))
		clear->filter.tags = taskq_filter_names(PG_GETARG_ARRAYTYPE_P(5), "tags");
	clear->bulk.act = taskq_bulk_cancel;
	clear->bulk.reason = taskq_arg_text(fcinfo, 4, NULL);
	clear->bulk.until = taskq_steady_now(); /* what others have is left alone */
	clear->max = PG_ARGISNULL(6) ? DEFAULT_CLEARED : PG_GETARG_INT32(6);
	if (clear->max < 1 || clear->max > MAX_CLEARED)
		taskq_invalid_argument("n", "must be between 1 and 1000000");
	clear->context = AllocSetContextCreate(CurrentMemoryContext,
										   "taskq clear",
										   ALLOCSET_DEFAULT_SIZES);
}

static Datum
kinds_array(List *kinds)
{
	Datum	   *items = palloc(sizeof(Datum) * Max(list_length(kinds), 1));
	ListCell   *lc;
	int			n = 0;

	foreach(lc, kinds)
		items[n++] = CStringGetTextDatum(strVal(lfirst(lc)));
	return PointerGetDatum(construct_array(items, n, TEXTOID, -1, false,
										   TYPALIGN_INT));
}

static Datum
ids_array(const pg_uuid_t *ids, int n)
{
	Datum	   *items = palloc_extended(sizeof(Datum) * Max(n, 1),
										MCXT_ALLOC_HUGE);

	for (int i = 0; i < n; i++)
		items[i] = UUIDPGetDatum(&ids[i]);
	return PointerGetDatum(construct_array(items, n, UUIDOID, UUID_LEN, false,
										   TYPALIGN_CHAR));
}

PG_FUNCTION_INFO_V1(taskq_queue_clear);

/*
 * taskq_queue_clear - queue_clear(queue, kinds, max_priority, older_than,
 * reason, tags, n) returns (cleared, cleared_kinds, running, task_ids)
 *
 * Locks the rows of what it cancels till the transaction ends; what others
 * have locked is left alone.  Raises PT404 for a queue that there is not.
 */
Datum
taskq_queue_clear(PG_FUNCTION_ARGS)
{
	Clear	   *clear = palloc(sizeof(Clear));
	TaskqAction action = {.verb = "clear",.object = "queue"};
	TupleDesc	desc;
	Datum		values[4];
	bool		nulls[4] = {false};

	taskq_require_preload();
	PreventCommandIfReadOnly("taskq.queue_clear()");
	PreventCommandDuringRecovery("taskq.queue_clear()");
	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	taskq_tenant_check();
	taskq_defs_begin();
	clear_args(fcinfo, clear);
	clear_and_tell(clear);
	taskq_defs_begin();
	values[0] = Int64GetDatum(clear->n);
	values[1] = kinds_array(clear->kinds);
	values[2] = Int32GetDatum(count_running(&clear->filter));
	values[3] = ids_array(clear->ids, clear->n);
	action.name = PG_ARGISNULL(0) ? NULL : linitial(clear->filter.queues);
	action.reason = clear->bulk.reason;
	action.count = clear->n;
	taskq_action(&action);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}
