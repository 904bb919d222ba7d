/*-------------------------------------------------------------------------
 *
 * action.c
 *		The one place that every act of an operator passes.
 *
 * Whatever steers tasks, queues, kinds or the database calls taskq_action
 * when it has done so, in the transaction that does it, which writes it into
 * table audit.  What is done to many tasks at once is gathered: few have a
 * row each, many one for all that belong to the same roles and tenant, so
 * that who may see these tasks, and nobody else, sees the row.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "api/action.h"
#include "base/guc.h"
#include "store/audit.h"
#include "store/defs.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"

#define FEW 10					/* tasks, that have a row each */

/* What was done to one task. */
typedef struct Entry
{
	pg_uuid_t	task;
	int32		role;
	int32		submitted_by;
	const char *verb;
	const char *kind;			/* equal ones are the same pointer, mostly */
	const char *tenant;
	const char *outcome;
	Datum		details;		/* of the first ones */
	bool		force;
} Entry;

/* What is done to many. */
typedef struct Gathering
{
	struct Gathering *outer;
	MemoryContext context;
	const char *reason;
	Entry	   *entries;
	int			n;
	int			room;
} Gathering;

static Gathering *gathering = NULL;

/* ---- one ---- */

/* Whose the task is. */
static void
read_owners(const TaskqAction *action, TaskqAudit *audit)
{
	const TaskqLaneDef *lane = NULL;
	TaskqRow	found;
	TaskqRow   *row = action->row;

	audit->tasks = action->task;
	audit->ntasks = 1;
	audit->of_tasks = true;
	if (row == NULL && taskq_store_find(action->task, &found))
		row = &found;
	if (row != NULL)
		lane = taskq_lane_get(DatumGetInt32(taskq_row_value(row, lane)));
	if (lane == NULL)
		return;
	audit->kind = pstrdup(NameStr(lane->kind));
	audit->role = lane->role;
	audit->submitted_by = taskq_row_isnull(row, submitted_by)
		? lane->role
		: DatumGetInt32(taskq_row_value(row, submitted_by));
	if (!taskq_row_isnull(row, tenant))
		audit->tenant = TextDatumGetCString(taskq_row_value(row, tenant));
}

static void
to_audit(const TaskqAction *action, TaskqAudit *audit)
{
	memset(audit, 0, sizeof(*audit));
	audit->verb = action->verb;
	audit->object = action->object;
	audit->name = action->name && action->name[0] ? action->name : NULL;
	audit->kind = action->kind;
	audit->role = action->owner;
	audit->force = action->force;
	audit->reason = action->reason;
	audit->outcome = action->outcome;
	audit->count = action->count;
	audit->details = action->details;
	audit->tenant = action->tenant;
	audit->of_tasks = action->tenant != NULL;
	if (action->task != NULL)
		read_owners(action, audit);
}

/* ---- many ---- */

/* A copy in the gathering's memory, or the last entry's if that is equal. */
static const char *
keep_text(const char *text, const char *last)
{
	if (text == NULL)
		return NULL;
	if (last != NULL && strcmp(text, last) == 0)
		return last;
	return MemoryContextStrdup(gathering->context, text);
}

static Datum
keep_details(Datum details)
{
	MemoryContext old;

	if (details == 0 || gathering->n >= FEW)
		return 0;
	old = MemoryContextSwitchTo(gathering->context);
	details = JsonbPGetDatum(DatumGetJsonbPCopy(details));
	MemoryContextSwitchTo(old);
	return details;
}

static Entry *
new_entry(void)
{
	Gathering  *g = gathering;

	if (g->n == g->room)
	{
		g->room = Max(g->room * 2, 100);
		g->entries = g->entries
			? repalloc_huge(g->entries, sizeof(Entry) * g->room)
			: MemoryContextAlloc(g->context, sizeof(Entry) * g->room);
	}
	return &g->entries[g->n];
}

static void
gather(const TaskqAudit *audit)
{
	Entry	   *entry = new_entry();
	Entry	   *last = gathering->n > 0 ? entry - 1 : NULL;

	memset(entry, 0, sizeof(*entry));
	entry->task = *audit->tasks;
	entry->role = audit->role;
	entry->submitted_by = audit->submitted_by;
	entry->verb = keep_text(audit->verb, last ? last->verb : NULL);
	entry->kind = keep_text(audit->kind, last ? last->kind : NULL);
	entry->tenant = keep_text(audit->tenant, last ? last->tenant : NULL);
	entry->outcome = keep_text(audit->outcome, last ? last->outcome : NULL);
	entry->details = keep_details(audit->details);
	entry->force = audit->force;
	gathering->n++;
}

static int
compare_texts(const char *a, const char *b)
{
	if (a == b)
		return 0;
	if (a == NULL || b == NULL)
		return a == NULL ? -1 : 1;
	return strcmp(a, b);
}

/* Do they belong into one row?  0: yes */
static int
compare_entries(const Entry *a, const Entry *b)
{
	int			order;

	if (a->role != b->role)
		return a->role < b->role ? -1 : 1;
	if (a->submitted_by != b->submitted_by)
		return a->submitted_by < b->submitted_by ? -1 : 1;
	if ((order = compare_texts(a->tenant, b->tenant)) != 0)
		return order;
	if ((order = compare_texts(a->verb, b->verb)) != 0)
		return order;
	if ((order = compare_texts(a->kind, b->kind)) != 0)
		return order;
	if ((order = compare_texts(a->outcome, b->outcome)) != 0)
		return order;
	return (int) a->force - (int) b->force;
}

static int
compare_for_sort(const void *a, const void *b)
{
	int			order = compare_entries(a, b);

	return order != 0 ? order
		: taskq_id_cmp(&((const Entry *) a)->task, &((const Entry *) b)->task);
}

/* One row for these, which belong together. */
static void
write_entries(const Entry *entries, int n)
{
	TaskqAudit	audit = {.verb = entries->verb,.object = "task",
		.kind = entries->kind,.role = entries->role,
		.submitted_by = entries->submitted_by,.tenant = entries->tenant,
		.of_tasks = true,.force = entries->force,
		.outcome = entries->outcome,.reason = gathering->reason,
	.ntasks = n};
	pg_uuid_t  *ids = palloc_extended(sizeof(pg_uuid_t) * n, MCXT_ALLOC_HUGE);

	for (int i = 0; i < n; i++)
		ids[i] = entries[i].task;
	audit.tasks = ids;
	if (n == 1)
		audit.details = entries->details;
	taskq_audit_insert(&audit);
	pfree(ids);
}

/*
 * taskq_actions_begin - gather what taskq_action is told of tasks from here
 * on, which has this reason
 *
 * taskq_actions_end must follow, also after an error.
 */
void
taskq_actions_begin(const char *reason)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext,
												  "taskq actions",
												  ALLOCSET_SMALL_SIZES);
	Gathering  *new = MemoryContextAllocZero(context, sizeof(Gathering));

	new->outer = gathering;
	new->context = context;
	new->reason = reason ? MemoryContextStrdup(context, reason) : NULL;
	gathering = new;
}

/* taskq_actions_mark - how far it has come, for taskq_actions_back */
int
taskq_actions_mark(void)
{
	return gathering ? gathering->n : 0;
}

/* taskq_actions_back - what was gathered since then was undone */
void
taskq_actions_back(int mark)
{
	if (gathering != NULL)
		gathering->n = mark;
}

/* taskq_actions_write - write what was gathered */
void
taskq_actions_write(void)
{
	Entry	   *entries = gathering->entries;
	int			n = gathering->n;
	bool		few = n <= FEW;

	if (!few)
		qsort(entries, n, sizeof(Entry), compare_for_sort);
	for (int i = 0, end; i < n; i = end)
	{
		for (end = i + 1; !few && end < n; end++)
		{
			if (compare_entries(&entries[i], &entries[end]) != 0)
				break;
		}
		write_entries(&entries[i], end - i);
	}
	gathering->n = 0;
}

/* taskq_actions_end - forget it; what was to be written was */
void
taskq_actions_end(void)
{
	Gathering  *ended = gathering;

	gathering = ended->outer;
	MemoryContextDelete(ended->context);
}

/* ---- from all who act ---- */

/*
 * taskq_action - something was done; part of the calling transaction, so what
 * is rolled back was not
 *
 * taskq_defs_begin was called.  Waits for nobody.
 */
void
taskq_action(const TaskqAction *action)
{
	TaskqAudit	audit;

	ereport(DEBUG1,
			(errmsg_internal("taskq: %s of %s %s, force %d, count " INT64_FORMAT,
							 action->verb, action->object,
							 action->task ? taskq_id_text(action->task)
							 : action->name ? action->name : "",
							 action->force, action->count)));
	if (taskq_audit == TASKQ_AUDIT_OFF)
		return;
	to_audit(action, &audit);
	if (gathering != NULL && audit.ntasks == 1)
		gather(&audit);
	else
		taskq_audit_insert(&audit);
}

/*
 * taskq_action_named - the same of what has a name, and an owner by taskq's
 * number, or 0
 */
void
taskq_action_named(const char *verb, const char *object, const char *name,
				   int32 owner, Datum details)
{
	TaskqAction action = {.verb = verb,.object = object,.name = name,
	.owner = owner,.details = details};

	if (strcmp(object, "kind") == 0)
		action.kind = name;
	taskq_action(&action);
}
