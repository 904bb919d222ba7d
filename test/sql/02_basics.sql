-- Define a kind, submit a task, wait for it, read its result.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS taskq;
RESET client_min_messages;

CREATE FUNCTION basics_add(p jsonb) RETURNS jsonb LANGUAGE sql AS $$
	SELECT jsonb_build_object('sum', (p->>'a')::int + (p->>'b')::int)
$$;
SELECT taskq.kind_define('basics_add', 'basics_add(jsonb)', description => 'adds a and b');
SELECT name, handler, queue, priority, max_attempts, timeout, run_as, batch, description, owner = current_user AS mine
FROM taskq.kind WHERE name = 'basics_add';

SELECT taskq.task_submit('basics_add', '{"a": 2, "b": 3}') AS id \gset
SELECT kind, queue, state, celery_state, ready, successful, progress, payload, result, error, attempt
FROM taskq.task_wait(:'id');
SELECT taskq.task_result(:'id');
SELECT state, submitted_by = current_user AS mine, run_as = current_user AS as_me,
	created_at <= started_at AS began, started_at <= finished_at AS ended, duration = finished_at - started_at AS duration,
	worker IS NOT NULL AS worker, cancel_requested
FROM taskq.task_status(:'id');
SELECT jsonb_strip_nulls(taskq.task_progress(:'id'));
SELECT count(*) FROM taskq.task WHERE id = :'id';

-- by name, as PostgREST does
SELECT taskq.task_submit(payload => '{"a": 1, "b": 1}', kind => 'basics_add') AS id \gset
SELECT result FROM taskq.task_wait(id => :'id', timeout => '10 s');

-- defined again, a kind has a new handler
CREATE FUNCTION basics_subtract(p jsonb) RETURNS jsonb LANGUAGE sql AS $$
	SELECT jsonb_build_object('difference', (p->>'a')::int - (p->>'b')::int)
$$;
SELECT taskq.kind_define('basics_add', 'basics_subtract(jsonb)');
SELECT taskq.task_submit('basics_add', '{"a": 2, "b": 3}') AS id \gset
SELECT result FROM taskq.task_wait(:'id');

-- a handler takes the payload, or nothing; what it returns becomes the result
CREATE TYPE basics_pair AS (a int, b text);
CREATE FUNCTION basics_none() RETURNS text LANGUAGE sql AS $$ SELECT 'no argument' $$;
CREATE FUNCTION basics_jsonb(p jsonb) RETURNS jsonb LANGUAGE sql AS $$ SELECT p $$;
CREATE FUNCTION basics_json(p jsonb) RETURNS json LANGUAGE sql AS $$ SELECT '{"a":  1}'::json $$;
CREATE FUNCTION basics_int(p jsonb) RETURNS int LANGUAGE plpgsql AS $$ BEGIN RETURN 42; END $$;
CREATE FUNCTION basics_text(p jsonb) RETURNS text LANGUAGE plpgsql AS $$ BEGIN RETURN 'say "hi"'; END $$;
CREATE FUNCTION basics_void(p jsonb) RETURNS void LANGUAGE plpgsql AS $$ BEGIN END $$;
CREATE FUNCTION basics_null(p jsonb) RETURNS int LANGUAGE sql AS $$ SELECT NULL::int $$;
CREATE FUNCTION basics_jsonnull(p jsonb) RETURNS jsonb LANGUAGE sql AS $$ SELECT 'null'::jsonb $$;
CREATE FUNCTION basics_array(p jsonb) RETURNS int[] LANGUAGE sql AS $$ SELECT ARRAY[1, 2, 3] $$;
CREATE FUNCTION basics_time(p jsonb) RETURNS timestamp LANGUAGE sql AS $$ SELECT '2024-02-29 12:00:00'::timestamp $$;
CREATE FUNCTION basics_composite(p jsonb) RETURNS basics_pair LANGUAGE sql AS $$ SELECT 1, 'one' $$;
CREATE FUNCTION basics_out(p jsonb, OUT a int, OUT b text) LANGUAGE plpgsql AS $$ BEGIN a := 2; b := 'two'; END $$;
CREATE FUNCTION basics_setof(p jsonb) RETURNS SETOF int LANGUAGE sql AS $$ SELECT generate_series(1, 3) $$;
CREATE FUNCTION basics_setof_one(p jsonb) RETURNS SETOF int LANGUAGE sql AS $$ SELECT 1 $$;
CREATE FUNCTION basics_empty(p jsonb) RETURNS SETOF int LANGUAGE sql AS $$ SELECT 1 WHERE false $$;
CREATE FUNCTION basics_table(p jsonb) RETURNS TABLE (a int, b text) LANGUAGE plpgsql AS $$
BEGIN
	RETURN QUERY VALUES (1, 'one'), (2, 'two');
END $$;

SELECT count(taskq.kind_define(proname, oid::regprocedure)::text)
FROM pg_proc WHERE pronamespace = 'public'::regnamespace AND proname LIKE 'basics\_%' AND proname NOT IN ('basics_add', 'basics_subtract');
SELECT count(taskq.kind_define('basics_internal', 'jsonb_array_length(jsonb)')::text);

CREATE TEMP TABLE submitted AS
SELECT k.name, taskq.task_submit(k.name, '[1, {"a": null}]') AS id
FROM taskq.kind k WHERE k.name LIKE 'basics\_%' AND k.name <> 'basics_add';
SELECT bool_and(ready) FROM taskq.task_wait_all((SELECT array_agg(id) FROM submitted));
SELECT s.name, t.state, t.result, t.result IS NULL AS is_null, t.error->>'message' AS error
FROM submitted s CROSS JOIN LATERAL taskq.task_status(s.id) t ORDER BY s.name COLLATE "C";

-- a payload left out is an empty object
SELECT taskq.task_submit('basics_jsonb') AS id \gset
SELECT state, payload, result FROM taskq.task_wait(:'id');

-- an error is captured whole
CREATE FUNCTION basics_fail(p jsonb) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	RAISE EXCEPTION 'could not do %', p->>'what' USING ERRCODE = 'TT001', DETAIL = 'the detail', HINT = 'the hint';
END $$;
SELECT taskq.kind_define('basics_fail', 'basics_fail(jsonb)', max_attempts => 1);
SELECT taskq.task_submit('basics_fail', '{"what": "it"}') AS id \gset
SELECT state, celery_state, ready, successful, result FROM taskq.task_wait(:'id');
SELECT jsonb_pretty(error) FROM taskq.task_status(:'id');
\set VERBOSITY sqlstate
SELECT taskq.task_result(:'id');
\set VERBOSITY default

-- with the name of its condition
CREATE FUNCTION basics_divide(p jsonb) RETURNS int LANGUAGE sql AS $$ SELECT 1 / (p->>'by')::int $$;
SELECT taskq.kind_define('basics_divide', 'basics_divide(jsonb)', max_attempts => 1);
SELECT taskq.task_submit('basics_divide', '{"by": 0}') AS id \gset
SELECT state, error->>'sqlstate' AS sqlstate, error->>'type' AS type, error->>'message' AS message FROM taskq.task_wait(:'id');

-- submitted and rolled back, a task never was
BEGIN;
SELECT taskq.task_submit('basics_none') AS id \gset
ROLLBACK;
SELECT count(*) FROM taskq.task WHERE id = :'id';

-- in its transaction, the task is there and pending
BEGIN;
SELECT taskq.task_submit('basics_none') AS id \gset
SELECT state, celery_state, ready, successful, attempt FROM taskq.task_status(:'id');
COMMIT;
SELECT state, result FROM taskq.task_wait(:'id');

-- many at once, in the order of the payloads
CREATE TEMP TABLE many AS
SELECT id, n FROM taskq.task_submit_many('basics_jsonb', ARRAY['1', '"two"', '{"three": 3}', 'null']::jsonb[]) WITH ORDINALITY AS m(id, n);
SELECT bool_and(ready) FROM taskq.task_wait_all((SELECT array_agg(id) FROM many));
SELECT m.n, t.state, t.result FROM many m JOIN taskq.task t USING (id) ORDER BY m.n;
SELECT count(*) FROM taskq.task_submit_batch('basics_jsonb', '[1, 2, 3]');
SELECT count(*) FROM taskq.task_submit_batch('basics_jsonb', '[]');
SELECT count(*) FROM taskq.task_submit_many('basics_jsonb', '{}');

-- dropped, a kind is gone
SELECT taskq.kind_drop('basics_none');
SELECT count(*) FROM taskq.kind WHERE name = 'basics_none';
