-- Errors are captured whole, and an error harms nothing but its task.
\ir include/prologue.psql
SELECT plan(26);

CREATE TABLE error_effect (n int PRIMARY KEY);
INSERT INTO error_effect VALUES (1);
CREATE FUNCTION error_inner(sqlstate text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	RAISE EXCEPTION USING MESSAGE = 'the message', DETAIL = 'the detail', HINT = 'the hint', ERRCODE = sqlstate,
		SCHEMA = 's', TABLE = 't', COLUMN = 'c', CONSTRAINT = 'k', DATATYPE = 'd';
END $$;
CREATE FUNCTION error_raise(p jsonb) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	PERFORM error_inner(p->>'sqlstate');
END $$;
-- does what it is told
CREATE FUNCTION error_do(p jsonb) RETURNS void LANGUAGE plpgsql AS $$ BEGIN EXECUTE p->>'do'; END $$;
SELECT taskq.kind_define('error', 'error_raise(jsonb)', max_attempts => 1) \g /dev/null
SELECT taskq.kind_define('error_do', 'error_do(jsonb)', max_attempts => 1) \g /dev/null
SELECT taskq.kind_define('error_none', 'echo(jsonb)') \g /dev/null

SELECT taskq.task_submit('error', '{"sqlstate": "TQ123"}') AS id \gset
SELECT is((t.state, t.celery_state, t.ready, t.successful)::text, '(failed,FAILURE,t,f)', 'a task that raises an error has failed') FROM taskq.task_wait(:'id') t;
SELECT is(t.error->>'sqlstate', 'TQ123', 'its SQLSTATE') FROM taskq.task_status(:'id') t;
SELECT is(t.error->>'message', 'the message', 'its message') FROM taskq.task_status(:'id') t;
SELECT is(t.error->>'detail', 'the detail', 'its detail') FROM taskq.task_status(:'id') t;
SELECT is(t.error->>'hint', 'the hint', 'its hint') FROM taskq.task_status(:'id') t;
SELECT matches(t.error->>'context', 'error_inner.*error_raise', 'its context: the whole stack') FROM taskq.task_status(:'id') t;
SELECT is(t.result, NULL, 'no result') FROM taskq.task_status(:'id') t;
SELECT is(error_of(format('SELECT taskq.task_result(%L)', :'id')), 'PT409', 'task_result says so');

-- names of conditions
SELECT taskq.task_submit('error_do', jsonb_build_object('do', command)) AS id, condition INTO TEMP error_condition
FROM (VALUES
	('SELECT 1 / 0', '22012 division_by_zero'),
	('INSERT INTO error_effect VALUES (1)', '23505 unique_violation'),
	('SELECT * FROM error_no_table', '42P01 undefined_table'),
	('SELECT ''x''::int', '22P02 invalid_text_representation'),
	('DO $d$ BEGIN RAISE EXCEPTION ''x''; END $d$', 'P0001 raise_exception'),
	('ASSERT false', '42601 syntax_error'),
	('DO $d$ BEGIN ASSERT false; END $d$', 'P0004 assert_failure'),
	('SELECT pg_cancel_backend(pg_backend_pid()) FROM pg_sleep(0); SELECT pg_sleep(3600)', '57014 query_canceled')) v(command, condition);
SELECT count(*) FROM taskq.task_wait_all(ARRAY(SELECT id FROM error_condition)) \g /dev/null
SELECT is(concat_ws(' ', t.error->>'sqlstate', t.error->>'type'), c.condition, c.condition)
FROM error_condition c JOIN taskq.task t USING (id) ORDER BY c.condition;
SELECT matches(t.error->>'detail', 'already exists', 'the server''s own detail') FROM taskq.task t WHERE t.error->>'sqlstate' = '23505';

-- commands that a handler must not do
SELECT taskq.task_submit('error_do', jsonb_build_object('do', command)) AS id, command INTO TEMP error_command
FROM unnest(ARRAY['COMMIT', 'ROLLBACK', 'VACUUM error_effect', 'LISTEN error_channel', 'PREPARE TRANSACTION ''error''']) command;
SELECT count(*) FROM taskq.task_wait_all(ARRAY(SELECT id FROM error_command)) \g /dev/null
SELECT is(t.state, 'failed', 'refused in a handler: ' || c.command) FROM error_command c JOIN taskq.task t USING (id) ORDER BY c.command;

-- deadlocks: one of the two fails with that error and is tried again
CREATE TABLE error_lock (n int PRIMARY KEY, c int);
INSERT INTO error_lock VALUES (1, 0), (2, 0);
CREATE FUNCTION error_deadlock(p jsonb) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	UPDATE error_lock SET c = c + 1 WHERE n = (p->>'first')::int;
	PERFORM taskq.progress(1, message => 'first');
	-- until both have their first row, or the other one is through
	WHILE (SELECT count(*) FROM taskq.task WHERE kind = 'error_deadlock' AND (message = 'first' OR ready)) < 2 LOOP
		PERFORM pg_sleep(0.01);
	END LOOP;
	UPDATE error_lock SET c = c + 1 WHERE n = 3 - (p->>'first')::int;
END $$;
SELECT taskq.kind_define('error_deadlock', 'error_deadlock(jsonb)', max_attempts => 5, backoff => '100 ms') \g /dev/null
SELECT taskq.task_submit_many('error_deadlock', ARRAY['{"first": 1}', '{"first": 2}']::jsonb[]) AS id INTO TEMP error_two;
SELECT is(count(*) FILTER (WHERE t.state = 'completed')::int, 2, 'two tasks that deadlock complete both')
FROM taskq.task_wait_all(ARRAY(SELECT id FROM error_two), '60 s') t;
SELECT ok(max(t.attempt) > 1, '... one of them at a later attempt') FROM taskq.task t JOIN error_two USING (id);
SELECT results_eq('SELECT c FROM error_lock ORDER BY n', 'VALUES (2), (2)', '... each once');

SELECT taskq.task_submit('error_none') AS id \gset
SELECT is(t.state, 'completed', 'after all these errors tasks run') FROM taskq.task_wait(:'id') t;
SELECT * FROM finish();
