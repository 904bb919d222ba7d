/* ---------------------------------------------------------------- the order of tasks that wait */

CREATE FUNCTION taskq.task_set_priority(id uuid, priority int, reason text DEFAULT NULL,
	OUT task_id uuid, OUT old_priority int, OUT new_priority int, OUT old_queue_position bigint, OUT new_queue_position bigint,
	OUT estimated_time_gained interval)
RETURNS record LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'taskq_task_set_priority';
COMMENT ON FUNCTION taskq.task_set_priority IS
'Give a task that waits another priority

Answers its old and new priority and place in the queue, from 1, among the tasks that the caller may see; far behind it is an estimate. estimated_time_gained: so much earlier it starts, by estimate; less than nothing: later; null: nobody knows, or it does not go on now. Tasks that are not pending have no place, and who acts for one tenant is not told. A task that runs or is over raises PT409.';

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

/* ---------------------------------------------------------------- many tasks */

CREATE FUNCTION taskq.queue_clear(queue text DEFAULT NULL, kinds text[] DEFAULT NULL, max_priority int DEFAULT NULL,
	older_than timestamptz DEFAULT NULL, reason text DEFAULT NULL, tags text[] DEFAULT NULL, n int DEFAULT 100000,
	OUT cleared bigint, OUT cleared_kinds text[], OUT running int, OUT task_ids uuid[])
RETURNS record LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'taskq_queue_clear';
COMMENT ON FUNCTION taskq.queue_clear IS
'Cancel what is pending in a queue, or in all

Only tasks that the caller may cancel, of these kinds, of at most this priority, submitted before older_than, with one of these tags; at most n of them: call it again when so many were cleared. What runs, or is locked by another session, is left alone; running tells how many tasks of these workers have. Kinds that refuse a cancel are left alone.';

CREATE FUNCTION taskq.task_bulk(action text, ids uuid[] DEFAULT NULL, reason text DEFAULT NULL, force bool DEFAULT false,
	priority int DEFAULT NULL, filter jsonb DEFAULT NULL, n int DEFAULT 1000, after uuid DEFAULT NULL,
	OUT task_id uuid, OUT success bool, OUT status text, OUT error jsonb, OUT new_task_id uuid)
RETURNS SETOF record LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'taskq_task_bulk';
COMMENT ON FUNCTION taskq.task_bulk IS
'Cancel, retry, reprioritize, delete or run now many tasks: those listed, or those that a filter finds

action is cancel, retry, priority, delete or run_now. One row a task: what one of them is refused does not keep the others. filter is an object as for task_list; it finds at most n tasks, in the order of their ids: pass the last one as after to go on. All of it is one transaction; CALL taskq.task_bulk_all() for more.';

CREATE PROCEDURE taskq.task_bulk_all(action text, filter jsonb, reason text DEFAULT NULL, force bool DEFAULT false,
	priority int DEFAULT NULL, INOUT done bigint DEFAULT NULL, INOUT failed bigint DEFAULT NULL)
LANGUAGE c AS 'MODULE_PATHNAME', 'taskq_task_bulk_all';
COMMENT ON PROCEDURE taskq.task_bulk_all IS
'The same for all tasks that a filter finds, a thousand in a transaction

For any number of them: neither memory nor locks grow with it. It commits after each thousand, so it is called outside of a transaction block; broken off, what was committed is done. Gives how many were done and how many refused. Tasks submitted meanwhile are left alone.';
