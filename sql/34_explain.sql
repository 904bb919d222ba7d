/* ---------------------------------------------------------------- why a task waits, and for how long */

CREATE FUNCTION taskq.task_explain(id uuid)
RETURNS jsonb LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'taskq_task_explain';
COMMENT ON FUNCTION taskq.task_explain IS
'Why does this task not run?

answer says it in a sentence; reasons has all that is in its way, the first one is the answer: code, message, hint, details. Of a task that runs, waits for its next attempt or is over it says that. Other tasks are named only to those who may see them.';
