/* ---------------------------------------------------------------- lists */

CREATE FUNCTION taskq.task_list(filter jsonb DEFAULT '{}', order_by text DEFAULT 'newest', after uuid DEFAULT NULL, n int DEFAULT 50)
RETURNS SETOF taskq.task LANGUAGE c STABLE AS 'MODULE_PATHNAME', 'taskq_task_list';
COMMENT ON FUNCTION taskq.task_list IS
'A page of the tasks that a filter finds

filter is an object of state, kind, category, queue, tags, tenant, submitted_by, run_as, worker, id, parent, workflow, retry_of (each a string or a list), created_after, created_before, started_after, started_before, finished_after, finished_before, min_priority, max_priority, metadata, payload, and text, which is looked for in id, message and error. order_by is newest, oldest, priority or duration. Pass the last id of a page as after to get the next one.';

CREATE FUNCTION taskq.task_newest(id uuid) RETURNS uuid
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	newest uuid := (SELECT s.id FROM taskq.task_status($1) s);
	next uuid;
BEGIN
	LOOP
		next := (SELECT l.id FROM taskq.task_list(jsonb_build_object('retry_of', newest), 'newest', n => 1) l);
		EXIT WHEN next IS NULL;
		newest := next;
	END LOOP;
	RETURN newest;
END
$$;
COMMENT ON FUNCTION taskq.task_newest(uuid) IS
'The newest retry of a task

Of several retries of one the last, and the last of that one''s; the task itself if it was never retried. Raises PT404 for a task that is not there.';
