/*
 * labels.h: tables "label": an ordered index of what is rare, or was asked
 * for
 */
#ifndef TASKQ_LABELS_H
#define TASKQ_LABELS_H

#include "postgres.h"

#include "base/id.h"
#include "store/tasks.h"
#include "utils/jsonb.h"
#include "utils/timestamp.h"

/* Tasks that ran for so long are labelled as slow. */
#define TASKQ_SLOW_US INT64CONST(100000)

/* A task's place in the order of a label. */
typedef struct TaskqLabelled
{
	int64		rank;			/* 0, or of slow ones -microseconds */
	pg_uuid_t	id;
} TaskqLabelled;

typedef struct TaskqLabelScan TaskqLabelScan;

/* writing: rows as they are in the table, their leaves locked */
extern void taskq_labels_insert(TaskqRow *rows, int n);
extern void taskq_labels_ended(TaskqRow *row);
extern void taskq_labels_add(TaskqRow *row, char *name, int64 rank);
extern void taskq_labels_move(TaskqRow *from, TaskqRow *to, int n);
extern void taskq_labels_delete(TaskqRow *row);

/* what a label is called; palloc'd */
extern char *taskq_label_tag(const char *tag, int len);
extern char *taskq_label_tenant(const char *tenant, int len);
extern char *taskq_label_parent(const pg_uuid_t *id);
extern char *taskq_label_workflow(const pg_uuid_t *id);
extern char *taskq_label_retry(const pg_uuid_t *id);
extern char *taskq_label_token(const pg_uuid_t *token);
extern char *taskq_label_member(const char *member, const char *value,
								int len);
extern char *taskq_label_ended(char state, int32 lane);
extern char *taskq_label_slow(void);
extern char *taskq_label_submitter(int32 role);
extern char *taskq_label_held(void);
extern char *taskq_label_value(const char *member, const JsonbValue *value);

extern char *taskq_member_text(const Jsonb *object, const char *name);

/* reading */
extern int	taskq_labels_scan(int leaf, const char *label,
							  const TaskqLabelled *after, bool backwards,
							  int max, TaskqLabelled *found);
extern TaskqLabelScan *taskq_labels_begin(const char *label,
										  const TaskqLabelled *after,
										  bool backwards);
extern bool taskq_labels_next(TaskqLabelScan *scan, TaskqLabelled *found);
extern void taskq_labels_end(TaskqLabelScan *scan);

/* Does a task that waits for its time wait for ever? */
static inline bool
taskq_row_is_held(const TaskqRow *row)
{
	char		state = DatumGetChar(taskq_row_value(row, state));

	return (state == TASKQ_SCHEDULED || state == TASKQ_RETRYING ||
			state == TASKQ_BLOCKED) &&
		!taskq_row_isnull(row, run_at) &&
		DatumGetTimestampTz(taskq_row_value(row, run_at)) == DT_NOEND;
}

/* Are there labels to write with the submit of such a task, but members? */
static inline bool
taskq_labels_wants_submit(const TaskqRow *row)
{
	return !taskq_row_isnull(row, tags) || !taskq_row_isnull(row, tenant) ||
		!taskq_row_isnull(row, parent) || !taskq_row_isnull(row, retry_of) ||
		!taskq_row_isnull(row, workflow) ||
		!taskq_row_isnull(row, submitted_by) || taskq_row_is_held(row);
}

/* How long the last attempt at a task that is over took; 0: unknown. */
static inline int64
taskq_row_ran_us(const TaskqRow *row)
{
	if (taskq_row_isnull(row, started_at) ||
		taskq_row_isnull(row, finished_at))
		return 0;
	return DatumGetTimestampTz(taskq_row_value(row, finished_at)) -
		DatumGetTimestampTz(taskq_row_value(row, started_at));
}

/* Are there labels to write with the end of a task that is over? */
static inline bool
taskq_labels_wants_end(const TaskqRow *row)
{
	return DatumGetChar(taskq_row_value(row, state)) != TASKQ_COMPLETED ||
		taskq_row_ran_us(row) >= TASKQ_SLOW_US;
}

#endif
