/*-------------------------------------------------------------------------
 *
 * labels.c
 *		Tables "label": an ordered index of what is rare, or was asked for.
 *
 * A label is a letter and a value:
 *
 *		t:<tag>, n:<tenant>, p:<parent>, m:<member>=<value>
 *				written with the submit
 *		s:<number of a role>
 *				likewise, of who submitted what runs as another role
 *		w:<workflow>	of its tasks, also those that were retried
 *		h		held: it has no timer
 *		y:<task>	of its retries, written with their submit
 *		e:<token>	of what an external worker has ended with this token: rank
 *				says how, see external.c
 *		f, x, f:<lane>, x:<lane>
 *				written with the end of a task that failed or was cancelled
 *		d		ran for a tenth of a second or more: rank is -microseconds
 *
 * A plain task that completes has none, so it pays for a look at a few nulls.
 * Labels of a task are in the table of its leaf, written in the transaction
 * that makes them true.  One may be out of date (the task was deleted by an
 * administrator, was moved, is another kind's by now): who reads it looks at
 * the task.  So nothing here is unique, and two equal ones are one.
 *
 * A value that is long is hashed.  What that makes equal, or what only looks
 * like it, is told apart by that look, too.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "common/sha2.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "store/defs.h"
#include "store/labels.h"
#include "store/read.h"
#include "store/rows.h"
#include "store/sides.h"
#include "store/state.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"
#include "utils/numeric.h"
#include "utils/varlena.h"

/* columns of taskq_internal.label_NN */
enum
{
	Anum_label_label = 1,
	Anum_label_rank,
	Anum_label_id,
	Natts_label = Anum_label_id
};

#define MAX_VALUE 200			/* bytes of a value that are not hashed */
#define TOGETHER 1000			/* written at once */

/* ---- what a label is called ---- */

/* A value, or what stands for a long one. */
static void
append_value(StringInfo label, const char *value, int len)
{
	Datum		digest;

	if (len <= MAX_VALUE)
	{
		appendBinaryStringInfo(label, value, len);
		return;
	}
	digest = DirectFunctionCall1(sha256_bytea,
								 PointerGetDatum(cstring_to_text_with_len(value, len)));
	appendStringInfo(label, "#%s",
					 TextDatumGetCString(DirectFunctionCall2(binary_encode,
															 digest,
															 CStringGetTextDatum("hex"))));
}

static char *
prefixed(const char *prefix, const char *value, int len)
{
	StringInfoData label;

	initStringInfo(&label);
	appendStringInfoString(&label, prefix);
	append_value(&label, value, len);
	return label.data;
}

/* taskq_label_tag - of tasks that were submitted with this tag */
char *
taskq_label_tag(const char *tag, int len)
{
	return prefixed("t:", tag, len);
}

/* taskq_label_tenant - of a tenant's tasks */
char *
taskq_label_tenant(const char *tenant, int len)
{
	return prefixed("n:", tenant, len);
}

/* taskq_label_parent - of a task's children */
char *
taskq_label_parent(const pg_uuid_t *id)
{
	return psprintf("p:%s", taskq_id_text(id));
}

/* taskq_label_workflow - of a workflow's tasks */
char *
taskq_label_workflow(const pg_uuid_t *id)
{
	return psprintf("w:%s", taskq_id_text(id));
}

/* taskq_label_retry - of a task's retries */
char *
taskq_label_retry(const pg_uuid_t *id)
{
	return psprintf("y:%s", taskq_id_text(id));
}

/* taskq_label_token - of the task that was claimed with this token */
char *
taskq_label_token(const pg_uuid_t *token)
{
	return psprintf("e:%s", taskq_id_text(token));
}

/*
 * taskq_label_member - of tasks of kinds that name this member, in whose
 * payload or metadata it has this value
 */
char *
taskq_label_member(const char *member, const char *value, int len)
{
	StringInfoData label;

	initStringInfo(&label);
	appendStringInfo(&label, "m:%s=", member);
	append_value(&label, value, len);
	return label.data;
}

/*
 * taskq_label_ended - of tasks that failed or were cancelled, of a lane, or
 * (0) of all
 */
char *
taskq_label_ended(char state, int32 lane)
{
	return lane == 0 ? psprintf("%c", state) : psprintf("%c:%d", state, lane);
}

/* taskq_label_slow - of those that ran for long, the slowest first */
char *
taskq_label_slow(void)
{
	return pstrdup("d");
}

/* taskq_label_submitter - of what a role submitted that runs as another one */
char *
taskq_label_submitter(int32 role)
{
	return psprintf("s:%d", role);
}

/* taskq_label_held - of those whose time never comes */
char *
taskq_label_held(void)
{
	return pstrdup("h");
}

/* ---- the labels of a task ---- */

typedef struct Label
{
	char	   *text;
	int64		rank;
} Label;

typedef struct Labels
{
	int			n;
	int			room;
	Label	   *items;
} Labels;

static void
add(Labels *labels, char *text, int64 rank)
{
	if (labels->n == labels->room)
	{
		labels->room = Max(2 * labels->room, 16);
		labels->items = labels->items
			? repalloc(labels->items, sizeof(Label) * labels->room)
			: palloc(sizeof(Label) * labels->room);
	}
	labels->items[labels->n].text = text;

	labels->items[labels->n++].rank = rank;
}

static void
add_tags(Labels *labels, const TaskqRow *row)
{
	Datum	   *tags;
	int			n;

	if (taskq_row_isnull(row, tags))
		return;
	deconstruct_array(DatumGetArrayTypeP(taskq_row_value(row, tags)), TEXTOID,
					  -1, false, TYPALIGN_INT, &tags, NULL, &n);
	for (int i = 0; i < n; i++)
	{
		text	   *tag = DatumGetTextPP(tags[i]);

		add(labels, taskq_label_tag(VARDATA_ANY(tag), VARSIZE_ANY_EXHDR(tag)),
			0);
	}
}

/* The text of a scalar, as operator ->> has it; NULL of anything else. */
static char *
scalar_text(const JsonbValue *value)
{
	switch (value->type)
	{
		case jbvString:
			return pnstrdup(value->val.string.val, value->val.string.len);
		case jbvNumeric:
			/* equal numbers are written in one way */
			return numeric_normalize(value->val.numeric);
		case jbvBool:
			return pstrdup(value->val.boolean ? "true" : "false");
		default:
			return NULL;
	}
}

/*
 * taskq_member_text - a member of an object, as text; NULL if there is none
 * that is text, number or bool
 */
char *
taskq_member_text(const Jsonb *object, const char *name)
{
	JsonbValue	key = {.type = jbvString};
	JsonbValue *value;

	if (!JB_ROOT_IS_OBJECT(object))
		return NULL;
	key.val.string.val = unconstify(char *, name);
	key.val.string.len = strlen(name);
	value = findJsonbValueFromContainer(unconstify(JsonbContainer *,
												   &object->root),
										JB_FOBJECT, &key);
	return value ? scalar_text(value) : NULL;
}

/*
 * taskq_label_value - of tasks in whose payload or metadata a member has this
 * value; NULL if there are none for such values
 */
char *
taskq_label_value(const char *member, const JsonbValue *value)
{
	char	   *text = scalar_text(value);

	return text ? taskq_label_member(member, text, strlen(text)) : NULL;
}

/* The members of an object that the kind names. */
static void
add_members(Labels *labels, const List *names, Datum object)
{
	Jsonb	   *jsonb = DatumGetJsonbP(object);
	const ListCell *lc;

	if (!JB_ROOT_IS_OBJECT(jsonb))
		return;
	foreach(lc, names)
	{
		char	   *name = lfirst(lc);
		JsonbValue	key = {.type = jbvString};
		JsonbValue *value;
		char	   *label;

		key.val.string.val = name;
		key.val.string.len = strlen(name);
		value = findJsonbValueFromContainer(&jsonb->root, JB_FOBJECT, &key);
		label = value ? taskq_label_value(name, value) : NULL;
		if (label != NULL)
			add(labels, label, 0);
	}
}

static void
add_of_submit(Labels *labels, TaskqRow *row)
{
	const TaskqLaneDef *lane =
	taskq_lane_get(DatumGetInt32(taskq_row_value(row, lane)));
	const TaskqKind *kind = lane ? taskq_lane_kind(lane) : NULL;

	add_tags(labels, row);
	if (!taskq_row_isnull(row, tenant))
	{
		text	   *tenant = DatumGetTextPP(taskq_row_value(row, tenant));

		add(labels, taskq_label_tenant(VARDATA_ANY(tenant),
									   VARSIZE_ANY_EXHDR(tenant)), 0);
	}
	if (!taskq_row_isnull(row, parent))
		add(labels, taskq_label_parent(DatumGetUUIDP(taskq_row_value(row, parent))),
			0);
	if (!taskq_row_isnull(row, retry_of))
		add(labels, taskq_label_retry(DatumGetUUIDP(taskq_row_value(row, retry_of))),
			0);
	if (!taskq_row_isnull(row, workflow))
		add(labels,
			taskq_label_workflow(DatumGetUUIDP(taskq_row_value(row, workflow))),
			0);
	if (!taskq_row_isnull(row, submitted_by))
		add(labels,
			taskq_label_submitter(DatumGetInt32(taskq_row_value(row, submitted_by))),
			0);
	if (taskq_row_is_held(row))
		add(labels, taskq_label_held(), 0);
	if (kind == NULL || kind->indexed == NIL)
		return;
	if (!taskq_row_isnull(row, payload))
		add_members(labels, kind->indexed, taskq_row_value(row, payload));
	if (!taskq_row_isnull(row, metadata))
		add_members(labels, kind->indexed, taskq_row_value(row, metadata));
}

static void
add_of_end(Labels *labels, const TaskqRow *row)
{
	char		state = taskq_row_state(row);

	if (state == TASKQ_FAILED || state == TASKQ_CANCELLED)
	{
		add(labels, taskq_label_ended(state, 0), 0);
		add(labels,
			taskq_label_ended(state,
							  DatumGetInt32(taskq_row_value(row, lane))), 0);
	}
	if (taskq_row_ran_us(row) >= TASKQ_SLOW_US)
		add(labels, taskq_label_slow(), -taskq_row_ran_us(row));
}

static int
by_text(const void *a, const void *b)
{
	return strcmp(((const Label *) a)->text, ((const Label *) b)->text);
}

/* Each once, and in their order in the index. */
static void
sort(Labels *labels)
{
	int			n = 0;

	if (labels->n < 2)
		return;
	qsort(labels->items, labels->n, sizeof(Label), by_text);
	for (int i = 1; i < labels->n; i++)
	{
		if (strcmp(labels->items[n].text, labels->items[i].text) != 0)
			labels->items[++n] = labels->items[i];
	}
	labels->n = n + 1;
}

/* All that a task has by now. */
static void
collect(Labels *labels, TaskqRow *row)
{
	memset(labels, 0, sizeof(*labels));
	add_of_submit(labels, row);
	if (taskq_state_final(taskq_row_state(row)))
		add_of_end(labels, row);
	sort(labels);
}

/* ---- writing ---- */

/* Rows that are written together, of one leaf. */
typedef struct Writing
{
	Relation	rel;			/* NULL: none is open */
	int			leaf;
	int			n;
	HeapTuple	tuples[TOGETHER];
} Writing;

static void
flush(Writing *writing)
{
	if (writing->n > 0)
		taskq_rows_insert(writing->rel, writing->tuples, writing->n,
						  Natts_label);
	for (int i = 0; i < writing->n; i++)
		heap_freetuple(writing->tuples[i]);
	writing->n = 0;
}

/* What follows in the same command may have to see them: a delete, say. */
static void
finish(Writing *writing)
{
	flush(writing);
	if (writing->rel == NULL)
		return;
	table_close(writing->rel, NoLock);
	writing->rel = NULL;
	CommandCounterIncrement();
}

static void
write_label(Writing *writing, const TaskqRow *row, const Label *label)
{
	Datum		values[Natts_label] = {CStringGetTextDatum(label->text),
		Int64GetDatum(label->rank),
	taskq_row_value(row, id)};
	bool		nulls[Natts_label] = {false};

	if (writing->n == TOGETHER)
		flush(writing);
	if (writing->rel != NULL && writing->leaf != row->leaf)
		finish(writing);
	if (writing->rel == NULL)
		writing->rel = taskq_store_open(TASKQ_REL_LABEL + row->leaf,
										RowExclusiveLock);
	writing->leaf = row->leaf;
	writing->tuples[writing->n++] = taskq_rows_form(writing->rel, values,
													nulls, Natts_label);
	pfree(DatumGetPointer(values[0]));
}

/*
 * taskq_labels_insert - write the labels of tasks as they are now
 *
 * For tasks that have none yet: just inserted, or become others.  The
 * caller's transaction has inserted or locked their rows.
 */
void
taskq_labels_insert(TaskqRow *rows, int n)
{
	Writing    *writing = palloc0(sizeof(Writing));
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext,
												  "taskq labels",
												  ALLOCSET_DEFAULT_SIZES);

	for (int i = 0; i < n; i++)
	{
		MemoryContext old = MemoryContextSwitchTo(context);
		Labels		labels;

		CHECK_FOR_INTERRUPTS();
		collect(&labels, &rows[i]);
		MemoryContextSwitchTo(old);
		for (int j = 0; j < labels.n; j++)
			write_label(writing, &rows[i], &labels.items[j]);
		MemoryContextReset(context);
	}
	finish(writing);
	MemoryContextDelete(context);
	pfree(writing);
}

/*
 * taskq_labels_ended - write those that come with the end of a task
 *
 * The caller's transaction has locked its row, and wrote that end.
 */
void
taskq_labels_ended(TaskqRow *row)
{
	Writing    *writing = palloc0(sizeof(Writing));
	Labels		labels = {0};

	add_of_end(&labels, row);
	for (int i = 0; i < labels.n; i++)
		write_label(writing, row, &labels.items[i]);
	finish(writing);
	pfree(writing);
}

/*
 * taskq_labels_add - write one label of a task, beside those that follow from
 * its columns
 *
 * The caller's transaction has locked its row.
 */
void
taskq_labels_add(TaskqRow *row, char *name, int64 rank)
{
	Writing    *writing = palloc0(sizeof(Writing));
	Label		label = {.text = name,.rank = rank};

	write_label(writing, row, &label);
	finish(writing);
	pfree(writing);
}

/*
 * taskq_labels_move - those of tasks that are among the kept ones now
 *
 * They are made anew from the tasks: what a kind calls indexed by now counts.
 * Tokens stay where they were: who comes back to ask again does so soon.
 */
void
taskq_labels_move(TaskqRow *from, TaskqRow *to, int n)
{
	taskq_labels_insert(to, n);
}

/* Of a kept task: all that there are. */
static void
delete_kept(TaskqRow *row)
{
	ScanKeyData key;

	taskq_key(&key, Anum_label_id, F_UUID_EQ, taskq_row_value(row, id));
	taskq_read_delete(TASKQ_REL_LABEL + TASKQ_KEEP, TASKQ_REL_LABEL_KEEP_ID,
					  RowExclusiveLock, 1, &key);
}

/*
 * taskq_labels_delete - delete those of a task, whose row is locked
 *
 * In the ring those that it would get now; others leave with the leaf.
 */
void
taskq_labels_delete(TaskqRow *row)
{
	Labels		labels;

	if (row->leaf == TASKQ_KEEP)
	{
		delete_kept(row);
		return;
	}
	collect(&labels, row);
	for (int i = 0; i < labels.n; i++)
	{
		ScanKeyData keys[3];

		taskq_key(&keys[0], Anum_label_label, F_TEXTEQ,
				  CStringGetTextDatum(labels.items[i].text));
		taskq_key(&keys[1], Anum_label_rank, F_INT8EQ,
				  Int64GetDatum(labels.items[i].rank));
		taskq_key(&keys[2], Anum_label_id, F_UUID_EQ,
				  taskq_row_value(row, id));
		taskq_read_delete(TASKQ_REL_LABEL + row->leaf,
						  TASKQ_REL_LABEL_IDX + row->leaf, RowExclusiveLock,
						  lengthof(keys), keys);
	}
}

/* ---- reading ---- */

static int
compare(const TaskqLabelled *a, const TaskqLabelled *b)
{
	if (a->rank != b->rank)
		return a->rank < b->rank ? -1 : 1;
	return taskq_id_cmp(&a->id, &b->id);
}

/*
 * Rows of a label in one leaf that have these further keys, appended to those
 * that are found already; how many there are then.
 */
static int
read_rows(int leaf, ScanKey keys, int nkeys, bool backwards, int max,
		  TaskqLabelled *found, int n)
{
	ScanDirection direction = backwards ? BackwardScanDirection
	: ForwardScanDirection;
	TaskqRead	read;
	HeapTuple	tuple;

	if (n == max)
		return n;
	taskq_read_begin_ordered(&read, TASKQ_REL_LABEL + leaf,
							 TASKQ_REL_LABEL_IDX + leaf, NULL, nkeys, keys);
	while (n < max &&
		   (tuple = systable_getnext_ordered(read.scan, direction)) != NULL)
	{
		CHECK_FOR_INTERRUPTS();
		found[n].rank =
			DatumGetInt64(taskq_read_column(&read, tuple, Anum_label_rank));
		found[n].id =
			*DatumGetUUIDP(taskq_read_column(&read, tuple, Anum_label_id));
		n += n == 0 || compare(&found[n - 1], &found[n]) != 0;
	}
	taskq_read_end(&read);
	return n;
}

/*
 * taskq_labels_scan - a label's tasks in one leaf, in order of (rank, id), or
 * the other way round
 *
 * Up to max of them that come after *after (NULL: from the first on); how
 * many.  Fewer than max: there are no more.  Reads as many rows as it finds,
 * and not a table in which nothing is.  Whether each still is what the label
 * says, and may be seen, is the caller's to ask.
 */
int
taskq_labels_scan(int leaf, const char *label, const TaskqLabelled *after,
				  bool backwards, int max, TaskqLabelled *found)
{
	ScanKeyData keys[3];
	Datum text = CStringGetTextDatum(label);
	int			n = 0;

	if (taskq_side_empty(TASKQ_REL_LABEL + leaf))
		return 0;
	if (after == NULL)
	{
		taskq_key(&keys[0], Anum_label_label, F_TEXTEQ, text);
		return read_rows(leaf, keys, 1, backwards, max, found, 0);
	}

	/* the rest of its rank, and then the ranks after it */
	taskq_key(&keys[0], Anum_label_label, F_TEXTEQ, text);
	taskq_key(&keys[1], Anum_label_rank, F_INT8EQ, Int64GetDatum(after->rank));
	ScanKeyInit(&keys[2], Anum_label_id,
				backwards ? BTLessStrategyNumber : BTGreaterStrategyNumber,
				backwards ? F_UUID_LT : F_UUID_GT, UUIDPGetDatum(&after->id));
	n = read_rows(leaf, keys, 3, backwards, max, found, n);

	/* the scan before has made the keys its own */
	taskq_key(&keys[0], Anum_label_label, F_TEXTEQ, text);
	ScanKeyInit(&keys[1], Anum_label_rank,
				backwards ? BTLessStrategyNumber : BTGreaterStrategyNumber,
				backwards ? F_INT8LT : F_INT8GT, Int64GetDatum(after->rank));
	return read_rows(leaf, keys, 2, backwards, max, found, n);
}

#define FIRST_PORTION 16
#define LAST_PORTION 1024

/* What has been read of one leaf, and not been given out. */
typedef struct Portion
{
	TaskqLabelled *found;
	int			n;
	int			at;
	int			max;			/* that the next one may have */
	bool		last;			/* there is nothing after it */
}			Portion;

struct TaskqLabelScan
{
	char	   *label;
	bool		backwards;
	bool		begun;
	TaskqLabelled at;			/* begun: of this everything was given out */
	Portion		portions[TASKQ_LEAVES];
	MemoryContext context;
};

/*
 * taskq_labels_begin - read a label in all leaves, in order of (rank, id), or
 * the other way round
 *
 * From the first one after *after on, or (NULL) from the beginning.  Ended by
 * taskq_labels_end, or with the memory context.
 */
TaskqLabelScan *
taskq_labels_begin(const char *label, const TaskqLabelled *after,
				   bool backwards)
{
	TaskqLabelScan *scan = palloc0(sizeof(TaskqLabelScan));

	scan->context = CurrentMemoryContext;
	scan->label = pstrdup(label);
	scan->backwards = backwards;
	scan->begun = after != NULL;
	if (after != NULL)
		scan->at = *after;
	for (int leaf = 0; leaf < TASKQ_LEAVES; leaf++)
		scan->portions[leaf].max = FIRST_PORTION;
	return scan;
}

/* The next one of a leaf, which is not given out by that; NULL: no more. */
static TaskqLabelled *
peek(TaskqLabelScan *scan, int leaf)
{
	Portion    *portion = &scan->portions[leaf];
	MemoryContext old;

	if (portion->at < portion->n)
		return &portion->found[portion->at];
	if (portion->last)
		return NULL;
	old = MemoryContextSwitchTo(scan->context);
	if (portion->found != NULL)
		pfree(portion->found);
	portion->found = palloc(sizeof(TaskqLabelled) * portion->max);
	portion->n = taskq_labels_scan(leaf, scan->label,
								   scan->begun ? &scan->at : NULL,
								   scan->backwards, portion->max,
								   portion->found);
	MemoryContextSwitchTo(old);
	portion->at = 0;
	portion->last = portion->n < portion->max;
	portion->max = Min(2 * portion->max, LAST_PORTION);
	return portion->n > 0 ? &portion->found[0] : NULL;
}

/*
 * taskq_labels_next - the next one, each once; false if there are no more
 *
 * A task that was moved has its labels in two leaves, and is found where it
 * is.
 */
bool
taskq_labels_next(TaskqLabelScan *scan, TaskqLabelled *found)
{
	TaskqLabelled *best = NULL;

	for (int leaf = 0; leaf < TASKQ_LEAVES; leaf++)
	{
		TaskqLabelled *this = peek(scan, leaf);

		if (this != NULL &&
			(best == NULL ||
			 (compare(this, best) < 0) != scan->backwards))
			best = this;
	}
	if (best == NULL)
		return false;
	*found = *best;
	for (int leaf = 0; leaf < TASKQ_LEAVES; leaf++)
	{
		TaskqLabelled *this = peek(scan, leaf);

		scan->portions[leaf].at += this != NULL && compare(this, found) == 0;
	}
	scan->at = *found;
	scan->begun = true;
	return true;
}

/* taskq_labels_end - end it */
void
taskq_labels_end(TaskqLabelScan *scan)
{
	for (int leaf = 0; leaf < TASKQ_LEAVES; leaf++)
	{
		if (scan->portions[leaf].found != NULL)
			pfree(scan->portions[leaf].found);
	}
	pfree(scan->label);
	pfree(scan);
}
