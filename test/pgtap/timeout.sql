-- A task that takes longer than it may.
\ir include/prologue.psql
SELECT plan(17);

CREATE TABLE timeout_effect (note text);
CREATE FUNCTION timeout_sleep(p jsonb) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO timeout_effect VALUES (p->>'note');
	PERFORM pg_sleep(3600);
END $$;
CREATE FUNCTION timeout_loop(p jsonb) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	n bigint := 0;
BEGIN
	LOOP
		n := n + 1;
	END LOOP;
END $$;
CREATE FUNCTION timeout_catch(p jsonb) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	PERFORM pg_sleep(3600);
	RETURN 'slept';
EXCEPTION WHEN query_canceled THEN
	RETURN 'caught';
END $$;
SELECT count(x::text) FROM (VALUES
	(taskq.kind_define('timeout', 'timeout_sleep(jsonb)', max_attempts => 1, timeout => '100 ms')),
	(taskq.kind_define('timeout_loop', 'timeout_loop(jsonb)', max_attempts => 1)),
	(taskq.kind_define('timeout_catch', 'timeout_catch(jsonb)', max_attempts => 1, timeout => '100 ms')),
	(taskq.kind_define('timeout_not', 'echo(jsonb)', max_attempts => 1, timeout => '1 h')),
	(taskq.kind_define('timeout_retry', 'timeout_sleep(jsonb)', max_attempts => 2, timeout => '50 ms', backoff => '10 ms'))) v(x) \g /dev/null

SELECT taskq.task_submit('timeout', '{"note": "kind"}') AS id \gset
SELECT is((t.state, t.timeout)::text, '(failed,00:00:00.1)', 'the kind''s timeout ends a task') FROM taskq.task_wait(:'id') t;
SELECT is(t.error->>'sqlstate', '57014', '... with the SQLSTATE of a cancelled query') FROM taskq.task_status(:'id') t;
SELECT matches(t.error->>'message', 'timeout|timed out|too long', '... and a message that tells it from a cancel') FROM taskq.task_status(:'id') t;
SELECT is((t.cancel_requested, t.cancel_reason)::text, '(f,)', '... nobody asked to cancel it') FROM taskq.task_status(:'id') t;
SELECT ok(t.duration >= interval '100 ms', '... not before its time') FROM taskq.task_status(:'id') t;
SELECT is_empty('SELECT * FROM timeout_effect', '... and what it wrote is gone');

SELECT taskq.task_submit('timeout_loop', timeout => '100 ms') AS id \gset
SELECT is((t.state, t.error->>'sqlstate')::text, '(failed,57014)', 'the submit''s timeout ends a loop that never waits') FROM taskq.task_wait(:'id') t;
SELECT taskq.task_submit('timeout', timeout => '150 ms') AS id \gset
SELECT is((t.state, t.timeout)::text, '(failed,00:00:00.15)', 'the submit''s timeout replaces the kind''s') FROM taskq.task_wait(:'id') t;

SELECT taskq.task_submit('timeout_catch') AS id \gset
SELECT isnt(t.state, 'cancelled', 'a handler that catches its timeout is not cancelled') FROM taskq.task_wait(:'id') t;
SELECT ok(t.ready, '... and comes to an end') FROM taskq.task_status(:'id') t;

SELECT taskq.task_submit('timeout_retry', '{"note": "retry"}') AS id \gset
SELECT is((t.state, t.attempt)::text, '(failed,2)', 'the timeout counts for each attempt') FROM taskq.task_wait(:'id') t;

SELECT taskq.task_submit('timeout_not') AS id \gset
SELECT is(t.state, 'completed', 'a task that is through in time completes') FROM taskq.task_wait(:'id') t;
-- its timeout does not hit a later one of the same worker
SELECT taskq.kind_define('timeout_short', 'echo(jsonb)', max_attempts => 1, timeout => '1 s') \g /dev/null
SELECT taskq.kind_define('timeout_gate', 'wait_at_gate(jsonb)', max_attempts => 1) \g /dev/null
SELECT taskq.task_submit('timeout_short') AS short \gset
SELECT taskq.task_submit('timeout_gate', '{"gate": "a"}') AS gate \gset
SELECT is(t.state, 'completed', 'a task with a short timeout is through in time') FROM taskq.task_wait(:'short') t;
SELECT is((t.state, t.ready)::text, '(running,f)', 'the next one of the worker runs for longer') FROM taskq.task_wait(:'gate', '1200 ms') t;
INSERT INTO gate VALUES ('a');
SELECT is(t.state, 'completed', '... and is not hit by that timeout') FROM taskq.task_wait(:'gate') t;

-- SQL commands
SELECT taskq.task_submit_sql('SELECT pg_sleep(3600)', timeout => '100 ms', max_attempts => 1) AS id \gset
SELECT is((t.state, t.error->>'sqlstate')::text, '(failed,57014)', 'a query is ended by its timeout') FROM taskq.task_wait(:'id') t;
SELECT taskq.task_submit_sql('DO $$ BEGIN COMMIT; PERFORM pg_sleep(3600); END $$', timeout => '100 ms', max_attempts => 1) AS id \gset
SELECT is((t.state, t.error->>'sqlstate')::text, '(failed,57014)', 'a command with its own transactions too') FROM taskq.task_wait(:'id') t;

SELECT * FROM finish();
