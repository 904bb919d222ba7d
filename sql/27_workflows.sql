/* ---------------------------------------------------------------- workflows */

-- Steps of workflows to come.
CREATE TABLE taskq_internal.template (
	name text COLLATE "C" NOT NULL CONSTRAINT template_pkey PRIMARY KEY,
	steps jsonb NOT NULL,
	description text,
	owner int4 NOT NULL,		-- taskq_internal.role
	tenant text,
	updated_at timestamptz NOT NULL
) USING heap;

-- The tasks of workflows: a row for each step, with the newest of its tasks; one for each
-- child of a step's task, whose name is its id; and one without a name for the workflow itself.
CREATE TABLE taskq_internal.step (
	workflow uuid NOT NULL,
	name text COLLATE "C" NOT NULL,
	no int4 NOT NULL,			-- steps count from 1, each after those it depends on
	task uuid,
	parent uuid,
	definition jsonb,
	CONSTRAINT step_pkey PRIMARY KEY (workflow, name)
) USING heap;

SELECT pg_catalog.pg_extension_config_dump('taskq_internal.template', '');
SELECT pg_catalog.pg_extension_config_dump('taskq_internal.step', '');
COMMENT ON TABLE taskq_internal.template IS 'steps of workflows to come; look at them in view taskq.template';
COMMENT ON TABLE taskq_internal.step IS 'which task is the newest of each step of a workflow';

CREATE FUNCTION taskq.template_define(name text, steps jsonb, description text DEFAULT NULL)
RETURNS void LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'taskq_template_define';
COMMENT ON FUNCTION taskq.template_define IS
'Create or replace a template: the steps of a workflow

steps is an array of objects: kind, and if need be name, payload, depends_on (names of other steps), run_when, on_dependency_failure, queue, priority, delay, timeout, max_attempts, concurrency_key, tags, metadata, options, title, expected_duration. In a payload {"$input": "a.b"} is taken from the payload of template_submit, {"$result": "step.a.b"} from what another step returned.';

CREATE FUNCTION taskq.template_drop(name text)
RETURNS void LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'taskq_template_drop';
COMMENT ON FUNCTION taskq.template_drop IS
'Drop a template

Workflows that were made from it stay.';

CREATE FUNCTION taskq.template_submit(name text, payload jsonb DEFAULT '{}', title text DEFAULT NULL, priority int DEFAULT NULL,
	tags text[] DEFAULT NULL, metadata jsonb DEFAULT NULL)
RETURNS uuid LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'taskq_template_submit';
COMMENT ON FUNCTION taskq.template_submit IS
'Submit a workflow: a task for each step of a template

Returns the id of the workflow, for workflow_status and the others. The tasks are the caller''s, as if it had submitted each. priority, tags and metadata are for steps that have none; title is what the workflow is called.';

CREATE FUNCTION taskq.workflow_submit(steps jsonb, payload jsonb DEFAULT '{}', name text DEFAULT NULL, priority int DEFAULT NULL,
	tags text[] DEFAULT NULL, metadata jsonb DEFAULT NULL)
RETURNS uuid LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'taskq_workflow_submit';
COMMENT ON FUNCTION taskq.workflow_submit IS
'Submit a workflow without a template

steps as for template_define. Returns the id of the workflow.';

CREATE FUNCTION taskq.task_group(steps jsonb, payload jsonb DEFAULT '{}', name text DEFAULT NULL)
RETURNS uuid LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
	SELECT taskq.workflow_submit($1, $2, $3);
$$;
COMMENT ON FUNCTION taskq.task_group(jsonb, jsonb, text) IS
'Submit tasks under one id, side by side

Steps as for template_define. Returns the id of the workflow.';

CREATE FUNCTION taskq.task_chain(steps jsonb, payload jsonb DEFAULT '{}', name text DEFAULT NULL)
RETURNS uuid LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
	SELECT taskq.workflow_submit(
		(SELECT coalesce(jsonb_agg(s.step || CASE WHEN s.before IS NULL THEN '{}' ELSE jsonb_build_object('depends_on', s.before) END ORDER BY s.n), '[]')
		FROM (
			SELECT e.step, e.n, lag(coalesce(e.step->>'name', e.n::text)) OVER (ORDER BY e.n) AS before
			FROM jsonb_array_elements($1) WITH ORDINALITY e(step, n)
		) s), $2, $3);
$$;
COMMENT ON FUNCTION taskq.task_chain(jsonb, jsonb, text) IS
'Submit tasks that run one after the other

Steps as for template_define; those without a name are called 1, 2, 3. Returns the id of the workflow.';

CREATE FUNCTION taskq.task_chord(steps jsonb, callback jsonb, payload jsonb DEFAULT '{}', name text DEFAULT NULL)
RETURNS uuid LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
	SELECT taskq.workflow_submit(
		$1 || jsonb_build_array('{"name": "callback"}'::jsonb || $2 || jsonb_build_object('depends_on',
			(SELECT coalesce(jsonb_agg(coalesce(e.step->>'name', e.n::text) ORDER BY e.n), '[]')
			FROM jsonb_array_elements($1) WITH ORDINALITY e(step, n)))), $3, $4);
$$;
COMMENT ON FUNCTION taskq.task_chord(jsonb, jsonb, jsonb, text) IS
'Submit tasks side by side, and one that runs when all of them have completed

The last one, callback, finds their results in current_task().dependencies, or takes them with {"$result": ...}. Returns the id of the workflow.';

CREATE FUNCTION taskq.workflow_cancel(id uuid, reason text DEFAULT NULL, force bool DEFAULT false)
RETURNS int LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'taskq_workflow_cancel';
COMMENT ON FUNCTION taskq.workflow_cancel IS
'Cancel all tasks of a workflow that are not finished

Returns how many. Those of kinds that refuse a cancel go on, unless forced.';

CREATE FUNCTION taskq.workflow_retry(id uuid, failed_only bool DEFAULT true)
RETURNS SETOF uuid LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'taskq_workflow_retry';
COMMENT ON FUNCTION taskq.workflow_retry IS
'Retry what has failed of a workflow and what was cancelled, or all of it

What has completed is not run again, and its results are used. Returns the ids of the new tasks, which take the places of the old ones. failed_only => false does everything anew, when all is finished.';

CREATE FUNCTION taskq.workflow_tasks(id uuid, OUT no int, OUT name text, OUT parent uuid, OUT definition jsonb, OUT task taskq.task)
RETURNS SETOF record LANGUAGE c STABLE ROWS 1000 AS 'MODULE_PATHNAME', 'taskq_workflow_tasks';
COMMENT ON FUNCTION taskq.workflow_tasks IS
'The tasks of a workflow, with what its steps were defined as

The first row, without a task, is the workflow itself. Child tasks come last, with no 0.';

-- What workflow_status and workflow_tree are made of.  place: by it parents come before
-- their children.  weight: of its progress in that of the whole; null: a step that was not needed.
-- left_s: how long it will yet take, as far as that is known.
CREATE FUNCTION taskq.workflow_steps(id uuid, OUT place text[], OUT level int, OUT no int, OUT name text, OUT definition jsonb,
	OUT depends_on text[], OUT depends_no int[], OUT weight float8, OUT left_s float8, OUT task taskq.task)
RETURNS SETOF record LANGUAGE sql STABLE ROWS 1000 SET search_path = pg_catalog, pg_temp AS $$
	WITH RECURSIVE w AS MATERIALIZED (
		SELECT w.no, w.name, w.parent, w.definition, w.task, extract(epoch FROM (w.definition->>'expected_duration')::interval)::float8 AS expected_s
		FROM taskq.workflow_tasks($1) w
	), tree AS (
		SELECT ARRAY[to_char(w.no, 'FM00000')] AS place, 0 AS level, w.*
		FROM w WHERE w.no > 0 OR (w.name <> '' AND NOT EXISTS (SELECT FROM w p WHERE (p.task).id = w.parent))
		UNION ALL
		SELECT t.place || (c.task).id::text, t.level + 1, c.*
		FROM tree t JOIN w c ON c.parent = (t.task).id AND c.no = 0
	), names AS MATERIALIZED (
		SELECT (t.task).id, t.name, t.no FROM tree t
	), waits AS MATERIALIZED (
		SELECT (t.task).id, u AS dependency FROM tree t, unnest((t.task).depends_on) u
	), dependencies AS MATERIALIZED (
		SELECT w.id, array_agg(n.name ORDER BY n.no) AS names, array_agg(n.no ORDER BY n.no) AS nos
		FROM waits w JOIN names n ON n.id = w.dependency GROUP BY w.id
	)
	SELECT t.place, t.level, t.no, t.name, t.definition, d.names, d.nos,
		CASE WHEN t.no > 0 AND NOT (t.definition ? 'run_when' AND (t.task).state IN ('blocked', 'cancelled'))
			THEN coalesce(t.expected_s, avg(t.expected_s) FILTER (WHERE t.no > 0) OVER (), 1) END,
		CASE WHEN (t.task).ready THEN 0
			WHEN t.definition ? 'run_when' AND (t.task).state = 'blocked' THEN 0
			WHEN (t.task).estimated_completion IS NOT NULL
				THEN greatest(0, extract(epoch FROM (t.task).estimated_completion - clock_timestamp()))::float8
			WHEN (t.task).state = 'running'
				THEN greatest(0, t.expected_s - extract(epoch FROM (t.task).duration))::float8
			ELSE t.expected_s END,
		t.task
	FROM tree t
	LEFT JOIN dependencies d ON d.id = (t.task).id
	ORDER BY t.place;
$$;
COMMENT ON FUNCTION taskq.workflow_steps IS
'The tasks of a workflow in their order, and what they weigh

What workflow_status and workflow_tree are made of: weight is that of its progress in that of the whole, left_s how many seconds it may yet take.';

CREATE FUNCTION taskq.workflow_status(id uuid)
RETURNS jsonb LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	s record;
	self jsonb;
	steps jsonb[] := '{}';
	ends float8[] := '{}';		-- of each step, in seconds from now
	total int := 0;
	counts jsonb;
	open int := 0;
	begun bool := false;
	failed bool := false;
	cancelled bool := false;
	weight float8 := 0;
	done float8 := 0;
	left_s float8 := 0;
	known bool := true;
	before float8;
	first timestamptz;
	last timestamptz;
	created timestamptz;
	unneeded bool;
BEGIN
	SELECT w.definition INTO self FROM taskq.workflow_tasks($1) w WHERE w.name = '';
	FOR s IN SELECT * FROM taskq.workflow_steps($1) LOOP
		unneeded := s.definition ? 'run_when' AND (s.task).state = 'cancelled' AND (s.task).cancel_reason LIKE 'not needed: %';
		created := least(created, (s.task).created_at);
		first := least(first, (s.task).started_at);
		last := greatest(last, (s.task).finished_at);
		begun := begun OR (s.task).started_at IS NOT NULL;
		open := open + (NOT (s.task).ready)::int;
		IF s.no > 0 THEN
			total := total + 1;
			failed := failed OR (s.task).state = 'failed';
			cancelled := cancelled OR ((s.task).state = 'cancelled' AND NOT unneeded);
			weight := weight + coalesce(s.weight, 0);
			done := done + coalesce(s.weight, 0) * coalesce((s.task).progress, 0)::float8;
			SELECT max(ends[n]) INTO before FROM unnest(s.depends_no) n WHERE n < s.no;
			ends[s.no] := coalesce(before, 0) + s.left_s;
			left_s := greatest(left_s, ends[s.no]);
			known := known AND s.left_s IS NOT NULL;
		END IF;
		steps := steps || jsonb_build_object('id', (s.task).id, 'name', CASE WHEN s.no > 0 THEN s.name END, 'title', s.definition->'title',
			'kind', (s.task).kind, 'state', CASE WHEN unneeded THEN 'not needed' ELSE (s.task).state END, 'progress', (s.task).progress,
			'message', (s.task).message, 'attempt', (s.task).attempt, 'error', (s.task).error->'message', 'reason', (s.task).cancel_reason,
			'depends_on', coalesce(to_jsonb(s.depends_on), '[]'), 'parent', CASE WHEN s.no = 0 THEN (s.task).parent END,
			'retry_of', (s.task).retry_of, 'expected_duration', s.definition->'expected_duration',
			'started_at', (s.task).started_at, 'finished_at', (s.task).finished_at);
	END LOOP;
	SELECT coalesce(jsonb_object_agg(c.state, c.n), '{}') INTO counts
	FROM (SELECT u.step->>'state' AS state, count(*) AS n FROM unnest(steps) u(step) WHERE u.step->>'name' IS NOT NULL GROUP BY 1) c;
	RETURN jsonb_build_object('id', $1, 'name', self->'name', 'template', self->'template',
		'state', CASE WHEN open > 0 AND NOT begun THEN 'pending' WHEN open > 0 THEN 'running'
			WHEN failed THEN 'failed' WHEN cancelled THEN 'cancelled' ELSE 'completed' END,
		'ready', open = 0, 'progress', round((CASE WHEN weight > 0 THEN done / weight ELSE 0 END)::numeric, 1),
		'steps_total', total, 'counts', counts, 'created_at', created, 'started_at', first,
		'finished_at', CASE WHEN open = 0 THEN last END,
		'estimated_end', CASE WHEN open > 0 AND known THEN clock_timestamp() + left_s * interval '1 s' END,
		'steps', to_jsonb(steps));
END
$$;
COMMENT ON FUNCTION taskq.workflow_status(uuid) IS
'State of a workflow, and of each of its steps

state is pending, running, completed, failed or cancelled; progress that of the whole, weighted by expected_duration; steps are in order, each with the names of those it depends on, followed by its child tasks. A step that was retried shows its newest task.';

CREATE FUNCTION taskq.workflow_tree(id uuid, OUT step text, OUT state text, OUT progress numeric, OUT duration interval, OUT message text)
RETURNS SETOF record LANGUAGE plpgsql STABLE ROWS 1000 SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	s record;
	n int;
	depth int := 0;				-- of the step that was last: its children follow it
	depths int[] := '{}';		-- of each step
BEGIN
	FOR s IN SELECT w.* FROM taskq.workflow_steps($1) w ORDER BY w.place LOOP
		IF s.level = 0 THEN
			depth := 0;
			FOREACH n IN ARRAY coalesce(s.depends_no, '{}') LOOP
				depth := CASE WHEN n > 0 AND n < s.no THEN greatest(depth, depths[n] + 1) ELSE depth END;
			END LOOP;
			IF s.no > 0 THEN
				depths[s.no] := depth;
			END IF;
		END IF;
		step := repeat('  ', depth + s.level) || CASE WHEN s.no > 0 THEN coalesce(s.definition->>'title', s.name) ELSE (s.task).kind END;
		state := CASE WHEN s.definition ? 'run_when' AND (s.task).cancel_reason LIKE 'not needed: %' THEN 'not needed' ELSE (s.task).state END;
		progress := (s.task).progress;
		duration := date_trunc('milliseconds', (s.task).duration);
		message := coalesce((s.task).error->>'message', (s.task).cancel_reason, (s.task).message);
		RETURN NEXT;
	END LOOP;
END
$$;
COMMENT ON FUNCTION taskq.workflow_tree(uuid) IS
'The steps of a workflow, indented, to read in psql

A step is further in than those it depends on; child tasks follow their parent.';

CREATE VIEW taskq.template WITH (security_barrier) AS
SELECT t.name, t.description, taskq_internal.masked_steps(t.steps) AS steps, pg_catalog.jsonb_array_length(t.steps) AS step_count, d.expected_duration, o.name AS owner, t.tenant, t.updated_at
FROM taskq_internal.template t
JOIN taskq_internal.role o ON o.id = t.owner
CROSS JOIN LATERAL (
	SELECT sum((s.value->>'expected_duration')::interval) AS expected_duration
	FROM pg_catalog.jsonb_array_elements(t.steps) s
) d
WHERE t.tenant IS NULL OR taskq_internal.tenant_visible(t.tenant);
COMMENT ON VIEW taskq.template IS
'Templates: steps of workflows that template_submit makes

Shown are all, but where there are tenants those of its own and of none.';
COMMENT ON COLUMN taskq.template.name IS 'name of the template';
COMMENT ON COLUMN taskq.template.description IS 'what template_define was given';
COMMENT ON COLUMN taskq.template.steps IS 'the steps as they were defined';
COMMENT ON COLUMN taskq.template.step_count IS 'how many they are';
COMMENT ON COLUMN taskq.template.expected_duration IS 'of all steps one after the other, as far as they say';
COMMENT ON COLUMN taskq.template.owner IS 'role that defined it, whose members may change it';
COMMENT ON COLUMN taskq.template.tenant IS 'tenant of who defined it; null: none';
COMMENT ON COLUMN taskq.template.updated_at IS 'when it was defined last';
CREATE TRIGGER readonly BEFORE INSERT OR UPDATE OR DELETE ON taskq.template
	FOR EACH STATEMENT EXECUTE FUNCTION taskq_internal.view_readonly('taskq.template_define() or template_drop()');
CREATE TRIGGER readonly_row INSTEAD OF INSERT OR UPDATE OR DELETE ON taskq.template
	FOR EACH ROW EXECUTE FUNCTION taskq_internal.view_readonly('taskq.template_define() or template_drop()');
