-- A failed attempt is followed by another, later and later.
-- log: FATAL:  terminating background worker "taskq worker" due to administrator command
\ir include/prologue.psql
SELECT plan(24);

-- each attempt tries to leave a row; only the one that succeeds does
CREATE TABLE retry_effect (task uuid, attempt int);
CREATE FUNCTION retry_until(p jsonb) RETURNS int LANGUAGE plpgsql AS $$
DECLARE
	t record := taskq.current_task();
BEGIN
	INSERT INTO retry_effect VALUES (t.id, t.attempt);
	IF t.attempt < (p->>'until')::int THEN
		RAISE EXCEPTION 'attempt % failed', t.attempt USING ERRCODE = coalesce(p->>'sqlstate', 'P0001');
	END IF;
	RETURN t.attempt;
END $$;
SELECT count(x::text) FROM (VALUES
	(taskq.kind_define('retry', 'retry_until(jsonb)', backoff => '20 ms')),
	(taskq.kind_define('retry_slow', 'retry_until(jsonb)', max_attempts => 10, backoff => '1 h', backoff_max => '4 h')),
	(taskq.kind_define('retry_on', 'retry_until(jsonb)', backoff => '20 ms', retry_on => ARRAY['40001', '40P01']))) v(x) \g /dev/null

SELECT taskq.task_submit('retry', '{"until": 3}') AS id \gset
SELECT is((t.state, t.attempt, t.max_attempts, t.result)::text, '(completed,3,3,3)', 'three attempts are the default') FROM taskq.task_wait(:'id') t;
SELECT results_eq(format('SELECT attempt FROM retry_effect WHERE task = %L', :'id'), 'VALUES (3)', 'only the last one left something');
SELECT is((t.ready, t.successful, t.error)::text, '(t,t,)', 'a task that succeeded in the end has no error') FROM taskq.task_status(:'id') t;

SELECT taskq.task_submit('retry', '{"until": 9}') AS id \gset
SELECT is((t.state, t.attempt, t.celery_state)::text, '(failed,3,FAILURE)', 'when all attempts fail, the task has failed') FROM taskq.task_wait(:'id') t;
SELECT is(t.error->>'message', 'attempt 3 failed', '... with the error of the last') FROM taskq.task_status(:'id') t;
SELECT is_empty(format('SELECT attempt FROM retry_effect WHERE task = %L', :'id'), '... and no effect');

SELECT taskq.task_submit('retry', '{"until": 2}', max_attempts => 1) AS id \gset
SELECT is((t.state, t.attempt)::text, '(failed,1)', 'max_attempts => 1: no second attempt') FROM taskq.task_wait(:'id') t;
SELECT taskq.task_submit('retry', '{"until": 5}', max_attempts => 6) AS id \gset
SELECT is((t.state, t.attempt, t.max_attempts)::text, '(completed,5,6)', 'the submit may allow more') FROM taskq.task_wait(:'id') t;

-- between the attempts
SELECT taskq.task_submit('retry_slow', '{"until": 2}') AS id \gset
CALL wait_state(:'id', 'retrying');
SELECT is((t.celery_state, t.ready, t.successful, t.attempt)::text, '(RETRY,f,,1)', 'between the attempts it is retrying') FROM taskq.task_status(:'id') t;
SELECT is(t.error->>'message', 'attempt 1 failed', '... shows the error') FROM taskq.task_status(:'id') t;
SELECT ok(t.run_at - clock_timestamp() BETWEEN interval '25 min' AND interval '1 h', '... and when it goes on') FROM taskq.task_status(:'id') t;
SELECT is(error_of(format('SELECT taskq.task_result(%L)', :'id')), 'PT409', '... has no result yet');
SELECT is(t.state, 'retrying', '... and is no end for a waiter') FROM taskq.task_wait(:'id', '10 ms') t;
SELECT is(c.cancelled, true, '... and can be cancelled') FROM taskq.task_cancel(:'id') c;

-- later and later, up to a limit
CREATE TABLE retry_run_at (attempt int, wait interval);
CREATE FUNCTION retry_pace(p jsonb) RETURNS void LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'never'; END $$;
SELECT taskq.kind_define('retry_pace', 'retry_pace(jsonb)', max_attempts => 6, backoff => '40 ms', backoff_max => '200 ms') \g /dev/null
SELECT taskq.task_submit('retry_pace') AS id \gset
SELECT is((t.state, t.attempt)::text, '(failed,6)', 'all attempts of a kind with backoff_max') FROM taskq.task_wait(:'id') t;
SELECT ok(t.finished_at - t.created_at > interval '40 ms' + interval '80 ms' + interval '150 ms', '... with growing pauses between them') FROM taskq.task_status(:'id') t;
SELECT taskq.kind_define('retry_limit', 'retry_pace(jsonb)', max_attempts => 2, backoff => '1 day', backoff_max => '1 h') \g /dev/null
SELECT taskq.task_submit('retry_limit') AS id \gset
CALL wait_state(:'id', 'retrying');
SELECT ok(t.run_at - clock_timestamp() <= interval '1 h', 'no pause is longer than backoff_max') FROM taskq.task_status(:'id') t;

-- only for some errors
SELECT taskq.task_submit('retry_on', '{"until": 2, "sqlstate": "40001"}') AS id \gset
SELECT is((t.state, t.attempt)::text, '(completed,2)', 'retry_on: an error of the list is retried') FROM taskq.task_wait(:'id') t;
SELECT taskq.task_submit('retry_on', '{"until": 2, "sqlstate": "22012"}') AS id \gset
SELECT is((t.state, t.attempt)::text, '(failed,1)', '... another one is not') FROM taskq.task_wait(:'id') t;

-- SQL commands
CREATE TABLE retry_sql (n int);
SELECT taskq.task_submit_sql('INSERT INTO retry_sql VALUES (1); SELECT 1 / 0', max_attempts => 2) AS id \gset
CALL wait_state(:'id', 'retrying');
SELECT is(t.attempt::int, 1, 'a failed command is tried again too') FROM taskq.task_status(:'id') t;
SELECT is((t.state, t.attempt)::text, '(failed,2)', '... as often as it may') FROM taskq.task_wait(:'id') t;
SELECT is_empty('SELECT * FROM retry_sql', '... and leaves nothing');

-- what was cancelled is not retried
SELECT taskq.kind_define('retry_gate', 'wait_at_gate(jsonb)', max_attempts => 3, backoff => '10 ms') \g /dev/null
SELECT taskq.task_submit('retry_gate', '{"gate": "never"}') AS id \gset
CALL wait_state(:'id', 'running');
SELECT taskq.task_cancel(:'id') \g /dev/null
SELECT is((t.state, t.attempt)::text, '(cancelled,1)', 'a task that was cancelled while it ran is not tried again') FROM taskq.task_wait(:'id') t;
SELECT taskq.task_submit('retry_gate', '{"gate": "never"}') AS id \gset
CALL wait_state(:'id', 'running');
SELECT taskq.task_cancel(:'id', force => true) \g /dev/null
SELECT is(t.state, 'cancelled', '... nor one that was cancelled by force') FROM taskq.task_wait(:'id') t;

SELECT * FROM finish();
