-- Logs of tasks: log(), task_log(), what is captured, reading.
\ir include/prologue.psql
SELECT plan(52);

CREATE ROLE log_user LOGIN;
CREATE ROLE log_other LOGIN;
CREATE ROLE log_worker LOGIN;
GRANT taskq_user TO log_user, log_other;
GRANT taskq_worker TO log_worker;

-- says what it is told, waits at its gate, ends as it is told
CREATE FUNCTION log_say(p jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
	l jsonb;
BEGIN
	FOR l IN SELECT * FROM jsonb_array_elements(p->'say') LOOP
		PERFORM taskq.log(l->>'message', coalesce(l->>'level', 'info'), l->'details');
	END LOOP;
	IF p ? 'gate' THEN
		PERFORM wait_at_gate(p);
	END IF;
	IF p ? 'fail' THEN
		RAISE EXCEPTION '%', p->>'fail';
	END IF;
	RETURN p->'say';
END $$;
CREATE FUNCTION lines(task uuid, level text DEFAULT NULL, after int8 DEFAULT NULL, n int DEFAULT 1000) RETURNS text LANGUAGE sql AS $$
	SELECT string_agg(concat_ws(' ', l.attempt, l.line, l.level, l.message, l.details), '; ' ORDER BY l.n)
	FROM ROWS FROM (taskq.task_logs(task, level, after, n)) WITH ORDINALITY
		AS l(task_id, seq, logged_at, level, message, details, attempt, line, n) $$;
SELECT taskq.kind_define('log', 'log_say(jsonb)', max_attempts => 1) \g /dev/null
SELECT taskq.kind_define('log_twice', 'log_say(jsonb)', max_attempts => 2, backoff => '1 ms', backoff_max => '1 ms') \g /dev/null

-- while the task runs, and when it is over
SELECT taskq.task_submit('log', '{"gate": "log1", "say": [{"message": "one"}, {"message": "two", "level": "Warning", "details": {"a": [1]}}]}') AS id \gset
CALL wait_state(:'id', 'running');
DO $$ BEGIN WHILE (SELECT count(*) < 2 FROM taskq.task_log) LOOP PERFORM pg_sleep(0.01); END LOOP; END $$;
SELECT is(lines(:'id'), '1 1 info one; 1 2 warning two {"a": [1]}', 'lines are there while the task runs');
SELECT is(string_agg(message, ',' ORDER BY seq), 'one,two', '... also in the view') FROM taskq.task_log WHERE task_id = :'id';
INSERT INTO gate VALUES ('log1');
SELECT is((taskq.task_wait(:'id')).state, 'completed', 'the task comes to its end');
SELECT is(lines(:'id'), '1 1 info one; 1 2 warning two {"a": [1]}', '... its lines stay');
DO $$ BEGIN WHILE EXISTS (SELECT FROM taskq_internal.ring_lines()) LOOP PERFORM pg_sleep(0.01); END LOOP; END $$;
SELECT is(lines(:'id'), '1 1 info one; 1 2 warning two {"a": [1]}', '... once each when they are in the table');
SELECT is(count(*)::int, 2, '... and in the view') FROM taskq.task_log WHERE task_id = :'id';
SELECT is(lines(:'id', 'warning'), '1 2 warning two {"a": [1]}', 'of a level or above');
SELECT is(lines(:'id', n => 1), '1 1 info one', 'the first ones');
SELECT is(lines(:'id', n => -1), '1 2 warning two {"a": [1]}', 'the last ones');
SELECT is(lines(:'id', after => (SELECT min(seq) FROM taskq.task_log WHERE task_id = :'id')), '1 2 warning two {"a": [1]}', 'those after one');
SELECT is(error_of(format('SELECT taskq.task_logs(%L, %L)', :'id', 'loud')), '22023', 'there are five levels');
SELECT is(error_of(format('SELECT taskq.task_logs(%L)', gen_random_uuid())), 'PT404', 'no such task');

-- attempts that are undone
SELECT taskq.task_submit('log_twice', '{"say": [{"message": "try"}], "fail": "no"}') AS id \gset
SELECT is((taskq.task_wait(:'id')).state, 'failed', 'a task that fails twice');
SELECT is(lines(:'id'), '1 1 info try; 2 1 info try', '... has said what it said');

-- what is long, or no text
SELECT taskq.task_submit('log', jsonb_build_object('say', jsonb_build_array(
	jsonb_build_object('message', repeat('x', 10000), 'details', jsonb_build_object('k', repeat('y', 20000))),
	jsonb_build_object('message', null), jsonb_build_object('message', repeat('ä', 5000))))) AS id \gset
SELECT is((taskq.task_wait(:'id')).state, 'completed', 'what is too long is no error');
SELECT is(string_agg(octet_length(message) || right(message, 20), ',' ORDER BY seq), '8192x [cut: 10000 bytes],0,8191ä [cut: 10000 bytes]', 'a long message is cut')
FROM taskq.task_logs(:'id');
SELECT is(details->>'bytes' || left(details->>'cut', 9), '20017{"k": "yy', 'of large details the beginning is kept') FROM taskq.task_logs(:'id') LIMIT 1;
SELECT taskq.task_submit('log', '{"say": [{"message": "x", "level": "loud"}]}') AS id \gset
SELECT is((taskq.task_wait(:'id')).error->>'sqlstate', '22023', 'a level that there is not is an error');

-- so many and no more
SELECT current_database() AS db \gset
ALTER DATABASE :"db" SET taskq.max_log_lines = 3;
SET taskq.max_log_lines = 3;
SELECT taskq.worker_restart() \g /dev/null
SELECT taskq.task_submit('log', (SELECT jsonb_build_object('say', jsonb_agg(jsonb_build_object('message', i))) FROM generate_series(1, 10) i)) AS id \gset
SELECT taskq.task_wait(:'id') \g /dev/null
SELECT is(lines(:'id'), '1 1 info 1; 1 2 info 2; 1 3 info 3; 1 4 warning further lines of this attempt are not kept: taskq.max_log_lines is 3', 'an attempt logs so much, and the last line says so');

-- external workers
SELECT taskq.kind_define('log_ext', max_attempts => 2, backoff => '1 ms', backoff_max => '1 ms') \g /dev/null
SELECT taskq.kind_grant('log_ext', 'log_worker', 'work') \g /dev/null
SELECT taskq.task_submit('log_ext') AS id \gset
SET SESSION AUTHORIZATION log_worker;
SELECT token FROM taskq.task_claim('w', kinds => '{log_ext}', wait => '10 s') \gset
SELECT is(taskq.task_log(:'id', :'token', 'begun'), 1, 'an external worker logs');
SELECT is(taskq.task_log(:'id', :'token', lines => '["two", {"message": "three", "level": "error", "details": {"n": 3}, "at": "2020-01-01 00:00Z"}, "four", "five"]'), 3, '... many lines at once, of which so many are kept');
SELECT is(error_of(format('SELECT taskq.task_log(%L, %L, %L)', :'id', gen_random_uuid(), 'x')), 'PT409', '... with its token only');
SELECT is(error_of(format('SELECT taskq.task_log(%L, %L)', :'id', :'token')), '22023', '... and something to say');
SELECT is(error_of(format('SELECT taskq.task_log(%L, %L, lines => %L)', :'id', :'token', '[1]')), '22023', '... in lines');
SELECT is(error_of(format('SELECT taskq.task_logs(%L)', :'id')), 'PT404', '... which those do not see who do not see the task');
SELECT is(count(*)::int, 0, '... nor in the view') FROM taskq.task_log;
SELECT taskq.task_fail(:'id', :'token') \g /dev/null
SELECT token FROM taskq.task_claim('w', kinds => '{log_ext}', wait => '10 s') \gset
SELECT is(taskq.task_log(:'id', :'token', 'again'), 1, 'the next attempt begins anew');
RESET SESSION AUTHORIZATION;
SELECT is(lines(:'id'), '1 1 info begun; 1 2 info two; 1 3 error three {"n": 3}; 1 4 warning further lines of this attempt are not kept: taskq.max_log_lines is 3; 2 1 info again', 'the log of both');
SELECT is(logged_at, '2020-01-01 00:00Z', 'a line may say when it was') FROM taskq.task_logs(:'id', 'error');
SET SESSION AUTHORIZATION log_worker;
SELECT taskq.task_log(:'id', :'token', lines => '[{"message": "late", "at": "infinity"}, {"message": "early", "at": "-infinity"}]') \g /dev/null
RESET SESSION AUTHORIZATION;
SELECT is((SELECT count(*) FROM taskq.task_logs(:'id') WHERE now() - logged_at >= interval '0'), 7::int8, '... that has been');
ALTER DATABASE :"db" RESET taskq.max_log_lines;
RESET taskq.max_log_lines;
SELECT taskq.worker_restart() \g /dev/null

-- who sees them
GRANT EXECUTE ON FUNCTION log_say(jsonb), wait_at_gate(jsonb), lines(uuid, text, bigint, int) TO log_user, log_other;
SET SESSION AUTHORIZATION log_user;
SELECT taskq.task_submit('log', '{"say": [{"message": "mine"}]}') AS mine \gset
SELECT taskq.task_wait(:'mine') \g /dev/null
SELECT is(lines(:'mine'), '1 1 info mine', 'a role sees its tasks'' lines');
SELECT is(string_agg(message, ','), 'mine', '... and no others') FROM taskq.task_log;
SET SESSION AUTHORIZATION log_other;
SELECT is(error_of(format('SELECT taskq.task_logs(%L)', :'mine')), 'PT404', 'another role does not');
SELECT is(count(*)::int, 0, '... nor in the view') FROM taskq.task_log;
RESET SESSION AUTHORIZATION;

-- they go with their task
SELECT taskq.task_delete(:'mine') \g /dev/null
SELECT is(count(*)::int, 0, 'the log of a deleted task is gone') FROM taskq_internal.log_all WHERE id = :'mine';

-- messages that a handler raises
CREATE FUNCTION log_raise(p jsonb) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	RAISE DEBUG 'a debug';
	RAISE LOG 'no line';
	RAISE INFO 'an info';
	RAISE NOTICE 'a notice' USING DETAIL = 'why', HINT = 'what', ERRCODE = 'TQ999';
	PERFORM taskq.log('between');
	RAISE WARNING 'a warning';
	BEGIN
		RAISE EXCEPTION 'caught';
	EXCEPTION WHEN raise_exception THEN NULL;
	END;
	DROP TABLE IF EXISTS log_no_such_table;
	IF p ? 'fail' THEN
		PERFORM 1 / 0;
	END IF;
END $$;
SELECT taskq.kind_define('log_raise', 'log_raise(jsonb)', max_attempts => 1) \g /dev/null
SELECT taskq.task_submit('log_raise', '{"fail": 1}') AS id \gset
SELECT is((taskq.task_wait(:'id')).state, 'failed', 'a handler raises this and that, and fails');
SELECT is(lines(:'id'), '1 1 info an info; 1 2 notice a notice {"hint": "what", "detail": "why", "sqlstate": "TQ999"}; 1 3 info between; 1 4 warning a warning; 1 5 notice table "log_no_such_table" does not exist, skipping',
	'notices and above are lines of its log, in order');
SELECT taskq.kind_define('log_raise', 'log_raise(jsonb)', max_attempts => 1, settings => '{"taskq.capture_notices": "debug"}') \g /dev/null
SELECT taskq.task_submit('log_raise') AS id \gset
SELECT is((taskq.task_wait(:'id')).state, 'completed', 'a kind that wants to hear all');
SELECT ok(lines(:'id') LIKE '1 % debug a debug%', '... does');
SELECT taskq.kind_define('log_raise', 'log_raise(jsonb)', max_attempts => 1, settings => '{"taskq.capture_notices": "warning"}') \g /dev/null
SELECT taskq.task_submit('log_raise') AS id \gset
SELECT is((taskq.task_wait(:'id')).state, 'completed', 'one that wants warnings');
SELECT is(lines(:'id'), '1 1 info between; 1 2 warning a warning', '... has these');
SELECT taskq.kind_define('log_raise', 'log_raise(jsonb)', max_attempts => 1, settings => '{"taskq.capture_notices": "off"}') \g /dev/null
SELECT taskq.task_submit('log_raise') AS id \gset
SELECT is((taskq.task_wait(:'id')).state, 'completed', 'one that wants none');
SELECT is(lines(:'id'), '1 1 info between', '... has none');

-- what a handler does to the setting by which that works stays in its task
CREATE FUNCTION log_level(p jsonb) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	IF p ? 'set' THEN
		PERFORM set_config('log_min_messages', p->>'set', false);
		RAISE NOTICE 'not heard';
	END IF;
	RETURN current_setting('log_min_messages');
END $$;
CREATE FUNCTION log_level_of(p jsonb) RETURNS jsonb LANGUAGE sql AS $$ SELECT to_jsonb(log_level(p)) $$;
SELECT taskq.kind_define('log_level', 'log_level_of(jsonb)', max_attempts => 1, settings => '{"taskq.capture_notices": "off"}') \g /dev/null
SELECT taskq.kind_define('log_level_set', 'log_level_of(jsonb)', max_attempts => 1) \g /dev/null
SELECT taskq.task_submit('log_level_set', '{"set": "error"}') AS id \gset
SELECT is((taskq.task_wait(:'id')).result, '"error"', 'a superuser''s handler sets log_min_messages');
SELECT is(lines(:'id'), NULL, '... and is taken at its word');
SELECT taskq.task_submit('log_level', '{}') AS id \gset
SELECT is((taskq.task_wait(:'id')).result, '"warning"', '... the next task finds it as it was');

-- tasks that share a transaction
CREATE FUNCTION log_batch(p jsonb) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	RAISE NOTICE 'n %', p->>'n';
	PERFORM 1 / (p->>'n')::int;
END $$;
SELECT taskq.kind_define('log_batch', 'log_batch(jsonb)', batch => true, max_attempts => 1) \g /dev/null
SELECT taskq.task_submit('log_batch', jsonb_build_object('n', n)) AS id INTO TEMP log_batch FROM generate_series(-20, 20) n;
SELECT count(*) FROM taskq.task_wait_all(ARRAY(SELECT id FROM log_batch)) \g /dev/null
SELECT is(count(*)::int, 41, 'each of several tasks that share transactions has its line') FROM log_batch b
WHERE EXISTS (SELECT FROM taskq.task t JOIN taskq.task_log l ON l.task_id = t.id WHERE t.id = b.id AND l.message = 'n ' || (t.payload->>'n'));
SELECT is(count(*)::int, 0, '... no other one''s') FROM taskq.task_log l JOIN taskq.task t ON t.id = l.task_id JOIN log_batch b ON b.id = t.id
WHERE l.message <> 'n ' || (t.payload->>'n') AND l.message !~ '^undone';
SELECT is(count(*)::int, 0, '... and where it ran twice the log says why') FROM (
	SELECT count(*) FILTER (WHERE l.message ~ '^n') - count(*) FILTER (WHERE l.message ~ '^undone') AS n
	FROM taskq.task_log l JOIN log_batch b ON b.id = l.task_id GROUP BY b.id) c WHERE c.n <> 1;

-- commands with transactions of their own
SELECT taskq.task_submit_sql('DO $d$ BEGIN RAISE NOTICE ''one''; COMMIT; RAISE NOTICE ''two''; END $d$') AS id \gset
SELECT taskq.task_wait(:'id') \g /dev/null
SELECT is(lines(:'id'), '1 1 notice one; 1 2 notice two', 'commands that commit are heard, too');

-- outside of a task
SELECT is(error_of($$SELECT taskq.log('x', 'info', '{}')$$), 'none', 'outside of a task log() says so');
SELECT is(error_of($$SELECT taskq.log('x', 'loud')$$), '22023', '... and takes the same levels');
SET client_min_messages = warning;

SELECT * FROM finish();
