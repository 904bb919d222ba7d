/* ---------------------------------------------------------------- lists */

CREATE FUNCTION taskq.task_list(filter jsonb DEFAULT '{}', order_by text DEFAULT 'newest', after uuid DEFAULT NULL, n int DEFAULT 50)
RETURNS SETOF taskq.task LANGUAGE c STABLE AS 'MODULE_PATHNAME', 'taskq_task_list';
COMMENT ON FUNCTION taskq.task_list IS
'A page of the tasks that a filter finds

filter is an object of state, kind, category, queue, tags, tenant, submitted_by, run_as, worker, id, parent, workflow, retry_of (each a string or a list), created_after, created_before, started_after, started_before, finished_after, finished_before, min_priority, max_priority, metadata, payload, and text, which is looked for in id, message and error. order_by is newest, oldest, priority or duration. Pass the last id of a page as after to get the next one.';
