/* ---------------------------------------------------------------- the order of tasks that wait */

CREATE FUNCTION taskq.task_set_priority(id uuid, priority int, reason text DEFAULT NULL,
	OUT task_id uuid, OUT old_priority int, OUT new_priority int, OUT old_queue_position bigint, OUT new_queue_position bigint)
RETURNS record LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'taskq_task_set_priority';
COMMENT ON FUNCTION taskq.task_set_priority IS
'Give a task that waits another priority

Answers its old and new priority and place in the queue, from 1, among the tasks that the caller may see; far behind it is an estimate. Tasks that are not pending have no place, and who acts for one tenant is not told. A task that runs or is over raises PT409.';

CREATE FUNCTION taskq.task_run_now(id uuid)
RETURNS void LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'taskq_task_run_now';
COMMENT ON FUNCTION taskq.task_run_now IS
'Let a task run that is scheduled, held or waits to be tried again

It becomes pending, behind those that are so already. A task that is not waiting for its time raises PT409.';

CREATE FUNCTION taskq.task_reschedule(id uuid, run_at timestamptz)
RETURNS void LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'taskq_task_reschedule';
COMMENT ON FUNCTION taskq.task_reschedule IS
'Give a task that waits another time

run_at in the past lets it run now, infinity holds it until it is rescheduled or task_run_now is called. A pending task can be put off too; one that runs, is over or waits for other tasks raises PT409.';
