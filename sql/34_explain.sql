/* ---------------------------------------------------------------- why a task waits, and for how long */

CREATE FUNCTION taskq.task_explain(id uuid)
RETURNS jsonb LANGUAGE c STABLE AS 'MODULE_PATHNAME', 'taskq_task_explain';
COMMENT ON FUNCTION taskq.task_explain IS
'Why does this task not run?

answer says it in a sentence; reasons has all that is in its way, the first one is the answer: code, message, hint, details. Of a task that runs, waits for its next attempt or is over it says that. Other tasks are named only to those who may see them.';

CREATE FUNCTION taskq.task_estimate(id uuid, OUT queue_position int8, OUT position_exact bool, OUT estimated_start timestamptz,
	OUT estimated_duration interval, OUT estimated_completion timestamptz, OUT remaining interval, OUT confidence text, OUT basis text)
RETURNS record LANGUAGE c STABLE AS 'MODULE_PATHNAME', 'taskq_task_estimate';
COMMENT ON FUNCTION taskq.task_estimate IS
'When will a task start, how long does it take, when is it through?

confidence is high, medium, low, or none where nothing is known; then what is null is not known. basis: the duration is estimated from the task''s own progress or from the history of tasks like it. queue_position counts from 1 what the caller may see; where position_exact is false it is an estimate. Who acts for one tenant gets neither position nor start.';

CREATE FUNCTION taskq.queue_estimates(OUT queue name, OUT waiting int8, OUT running int8, OUT time_to_empty interval,
	OUT empty_at timestamptz, OUT next_slot timestamptz, OUT confidence text)
RETURNS SETOF record LANGUAGE c STABLE ROWS 10 AS 'MODULE_PATHNAME', 'taskq_queue_estimates';
COMMENT ON FUNCTION taskq.queue_estimates IS
'When will each queue be empty, and when is there room for its next task?

Of the queues in which something waits or runs, as far as the caller may see it: if nothing more is submitted, at the pace of late. confidence is medium, low, or none: then something is paused, or nothing is known. No rows for who acts for one tenant.';
