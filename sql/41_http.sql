/* ---------------------------------------------------------------- over HTTP */

-- POST, PATCH and DELETE of view task; all else is refused as on the other views.
CREATE FUNCTION taskq_internal.view_submit() RETURNS trigger
LANGUAGE c AS 'MODULE_PATHNAME', 'taskq_view_submit';
COMMENT ON FUNCTION taskq_internal.view_submit() IS 'trigger of view task: who inserts a row submits a task';

CREATE FUNCTION taskq_internal.view_prioritize() RETURNS trigger
LANGUAGE c AS 'MODULE_PATHNAME', 'taskq_view_prioritize';
COMMENT ON FUNCTION taskq_internal.view_prioritize() IS 'trigger of view task: who updates the priority gives the task another one; PT405 for all other columns';

CREATE FUNCTION taskq_internal.view_cancel() RETURNS trigger
LANGUAGE c AS 'MODULE_PATHNAME', 'taskq_view_cancel';
COMMENT ON FUNCTION taskq_internal.view_cancel() IS 'trigger of view task: who deletes a row cancels the task';

CREATE FUNCTION taskq_internal.view_steered() RETURNS trigger
LANGUAGE c AS 'MODULE_PATHNAME', 'taskq_view_steered';
COMMENT ON FUNCTION taskq_internal.view_steered() IS 'trigger of view task: PT404 for a request over HTTP that changes no task';

CREATE TRIGGER submit INSTEAD OF INSERT ON taskq.task
	FOR EACH ROW EXECUTE FUNCTION taskq_internal.view_submit();
CREATE TRIGGER prioritize INSTEAD OF UPDATE ON taskq.task
	FOR EACH ROW EXECUTE FUNCTION taskq_internal.view_prioritize();
CREATE TRIGGER cancel INSTEAD OF DELETE ON taskq.task
	FOR EACH ROW EXECUTE FUNCTION taskq_internal.view_cancel();
CREATE TRIGGER steering BEFORE UPDATE OR DELETE ON taskq.task
	FOR EACH STATEMENT EXECUTE FUNCTION taskq_internal.view_steered();
CREATE TRIGGER steered AFTER UPDATE OR DELETE ON taskq.task
	FOR EACH STATEMENT EXECUTE FUNCTION taskq_internal.view_steered();

/* ---------------------------------------------------------------- computed relationships */

-- select=*,task_attempt(*): functions of a row.  Their argument has no name, so that they
-- are no functions to be called over HTTP.  What is gone or not to be seen is left out.
CREATE FUNCTION taskq.task_attempt(taskq.task) RETURNS SETOF taskq.task_attempt
LANGUAGE sql STABLE ROWS 2 SET search_path = pg_catalog, pg_temp AS $$
	SELECT a.* FROM taskq.task_list(pg_catalog.jsonb_build_object('id', $1.id)) t CROSS JOIN LATERAL taskq.task_attempts(t.id) a;
$$;
COMMENT ON FUNCTION taskq.task_attempt(taskq.task) IS 'attempts at a task: select=*,task_attempt(*)';

CREATE FUNCTION taskq.logs(taskq.task) RETURNS SETOF taskq.task_log
LANGUAGE sql STABLE ROWS 100 SET search_path = pg_catalog, pg_temp AS $$
	SELECT * FROM taskq.task_log l WHERE l.task_id = $1.id ORDER BY l.seq LIMIT 1000;
$$;
COMMENT ON FUNCTION taskq.logs(taskq.task) IS 'the first thousand lines that a task has logged: select=*,logs(*)';

CREATE FUNCTION taskq.links(taskq.task) RETURNS SETOF taskq.link
LANGUAGE sql STABLE ROWS 2 SET search_path = pg_catalog, pg_temp AS $$
	SELECT * FROM taskq.link l WHERE l.task_id = $1.id;
$$;
COMMENT ON FUNCTION taskq.links(taskq.task) IS 'objects that a task made: select=*,links(*)';

CREATE FUNCTION taskq.children(taskq.task) RETURNS SETOF taskq.task
LANGUAGE sql STABLE ROWS 10 SET search_path = pg_catalog, pg_temp AS $$
	SELECT * FROM taskq.task_list(pg_catalog.jsonb_build_object('parent', $1.id), 'oldest', n => 1000);
$$;
COMMENT ON FUNCTION taskq.children(taskq.task) IS 'the first thousand tasks that a task has submitted: select=*,children(*)';

CREATE FUNCTION taskq.dependencies(taskq.task) RETURNS SETOF taskq.task
LANGUAGE sql STABLE ROWS 2 SET search_path = pg_catalog, pg_temp AS $$
	SELECT t.* FROM pg_catalog.unnest($1.depends_on) d(id) CROSS JOIN LATERAL taskq.task_list(pg_catalog.jsonb_build_object('id', d.id)) t;
$$;
COMMENT ON FUNCTION taskq.dependencies(taskq.task) IS 'tasks that a task waits for, or has waited for: select=*,dependencies(*)';

CREATE FUNCTION taskq.parent_task(taskq.task) RETURNS SETOF taskq.task
LANGUAGE sql STABLE ROWS 1 SET search_path = pg_catalog, pg_temp AS $$
	SELECT t.* FROM (SELECT $1.parent WHERE $1.parent IS NOT NULL) p(id) CROSS JOIN LATERAL taskq.task_list(pg_catalog.jsonb_build_object('id', p.id)) t;
$$;
COMMENT ON FUNCTION taskq.parent_task(taskq.task) IS 'the task that has submitted a task: select=*,parent_task(*)';

CREATE FUNCTION taskq.task_kind(taskq.task) RETURNS SETOF taskq.kind
LANGUAGE sql STABLE ROWS 1 SET search_path = pg_catalog, pg_temp AS $$
	SELECT * FROM taskq.kind k WHERE k.name = $1.kind;
$$;
COMMENT ON FUNCTION taskq.task_kind(taskq.task) IS 'the kind of a task as it is defined now: select=*,task_kind(*)';
