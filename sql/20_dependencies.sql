/* ---------------------------------------------------------------- dependencies */

-- Who waits for whom.  type: d "task" waits for "dependency", p it is its child and
-- cancelled with it, s it is a retry of it (s for "successor").  state: how the dependency ended, noted
-- where the task still waits for others then.  A row goes when its task is gone.
CREATE TABLE taskq_internal.dependency (
	dependency uuid NOT NULL,
	type "char" NOT NULL,
	task uuid NOT NULL,
	state "char",
	CONSTRAINT dependency_pkey PRIMARY KEY (dependency, type, task)
) USING heap WITH (fillfactor = 80);

-- The tasks that are blocked, one row each: what becomes of it if a dependency fails
-- (policy: c cancel, r run, b stay blocked, f run only then), how many are awaited, and
-- whether one has failed.  And (child) those that are to be cancelled with their parent.
CREATE TABLE taskq_internal.blocked (
	task uuid NOT NULL,
	child bool NOT NULL,
	policy "char" NOT NULL,
	awaited int4 NOT NULL,
	failed bool NOT NULL,
	CONSTRAINT blocked_pkey PRIMARY KEY (task, child)
) USING heap WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_cost_delay = 0);

SELECT pg_catalog.pg_extension_config_dump('taskq_internal.dependency', '');
SELECT pg_catalog.pg_extension_config_dump('taskq_internal.blocked', '');

COMMENT ON TABLE taskq_internal.dependency IS 'which task waits for which, is cancelled with which, is a retry of which';
COMMENT ON TABLE taskq_internal.blocked IS 'tasks that wait for others';

CREATE FUNCTION taskq.task_dependencies(id uuid, OUT task_id uuid, OUT kind text, OUT state text, OUT result jsonb, OUT error jsonb)
RETURNS SETOF record LANGUAGE c STABLE ROWS 10 AS 'MODULE_PATHNAME', 'taskq_task_dependencies';
COMMENT ON FUNCTION taskq.task_dependencies IS
'The tasks that a task waits for, or has waited for

With their results or errors. Where a failed one was retried, and the retry completed, that is shown. State null: it is gone. What the caller may not see of them is null, but inside the task itself, and for the external worker that has it.';
