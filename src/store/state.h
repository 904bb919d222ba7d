/* state.h: the states of a task and the one function that changes them */
#ifndef TASKQ_STATE_H
#define TASKQ_STATE_H

#include "postgres.h"

#include "access/transam.h"
#include "store/defs.h"
#include "store/tasks.h"

/* What comes with a change of state; a field left zero changes nothing. */
typedef struct TaskqChange
{
	char		to;
	int			attempt;
	const char *worker;
	TimestampTz started_at;
	TimestampTz finished_at;
	TimestampTz run_at;
	bool		has_result;
	bool		result_isnull;
	Datum		result;			/* jsonb */
	Datum		error;			/* jsonb, or 0 */
	Datum		progress;		/* jsonb, or 0 */
	Datum		resources;		/* of the attempt: jsonb, or 0 */
	const char *cancel_reason;
	int			crashes;		/* of the server, because of this task */
	bool		lost;			/* the attempt ended with its worker or its
								 * lease */
	bool		of_many;		/* its row in table "blocked" is deleted, and
								 * the one in "ready" made, by the caller */
} TaskqChange;

extern bool taskq_state_final(char state);
extern const char *taskq_state_name(char state);
extern void taskq_state_change(TaskqRow *row, const TaskqChange *change);
extern FullTransactionId taskq_state_changed_by(void);
extern void taskq_state_replace(TaskqRow *row, const TaskqRow *with);
extern void (*taskq_state_ended) (TaskqRow *row);
extern void (*taskq_state_counted) (TaskqRow *row, char from,
									const TaskqChange *change);
extern void taskq_state_reschedule(TaskqRow *row, TimestampTz run_at);
extern void taskq_state_move(TaskqRow *row, int32 lane);

#define taskq_row_state(row) DatumGetChar(taskq_row_value(row, state))

#endif
