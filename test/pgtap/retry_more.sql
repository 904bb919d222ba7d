-- Running a task once more: longer, elsewhere, with what is known of the last attempt.
\ir include/prologue.psql
SELECT plan(34);

CREATE FUNCTION rm_pid(p jsonb) RETURNS int LANGUAGE sql AS $$ SELECT pg_backend_pid() $$;
CREATE FUNCTION rm_pid_fails(p jsonb) RETURNS int LANGUAGE plpgsql AS $$
BEGIN
	IF (SELECT attempt FROM taskq.current_task()) < 4 THEN
		RAISE '%', pg_backend_pid();
	END IF;
	RETURN pg_backend_pid();
END $$;
-- does ten steps, of which some fail; the next attempt does only those
CREATE FUNCTION rm_steps(p jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
	t record := taskq.current_task();
	steps int[] := coalesce((SELECT array_agg(x::int) FROM jsonb_array_elements_text(t.previous->'progress'->'info'->'failed') x), '{1,2,3,4,5,6,7,8,9,10}');
BEGIN
	IF t.previous IS NULL OR (p->>'again')::bool THEN
		PERFORM taskq.progress(10, 10, 'three failed', 3, '{"failed": [2, 3, 5]}');
		RAISE 'some steps failed';
	END IF;
	RETURN jsonb_build_object('steps', steps, 'previous', t.previous - 'started_at' - 'finished_at' - 'worker');
END $$;
SELECT count(x::text) FROM (VALUES
	(taskq.kind_define('rm_pid', 'rm_pid(jsonb)')),
	(taskq.kind_define('rm_pid_batch', 'rm_pid(jsonb)', batch => true)),
	(taskq.kind_define('rm_pid_fails', 'rm_pid_fails(jsonb)', max_attempts => 4, backoff => '10 ms')),
	(taskq.kind_define('rm_echo', 'echo(jsonb)', timeout => '1 min')),
	(taskq.kind_define('rm_steps', 'rm_steps(jsonb)', max_attempts => 2, backoff => '10 ms')),
	(taskq.kind_define('rm_out', max_attempts => 5, backoff => '0'))) v(x) \g /dev/null

-- the attempt before, at the same task
SELECT taskq.task_submit('rm_steps') AS id \gset
SELECT is((t.state, t.attempt)::text, '(completed,2)', 'a task whose first attempt failed') FROM taskq.task_wait(:'id') t;
SELECT is(t.result->'steps', '[2, 3, 5]', '... knows which steps did') FROM taskq.task_status(:'id') t;
SELECT is((p->>'task_id', p->>'attempt', p->>'state', p->'error'->>'message', p->'progress'->>'failed', p->'progress'->>'message')::text,
	format('(%s,1,failed,"some steps failed",3,"three failed")', :'id'), '... how, and why') FROM (SELECT result->'previous' AS p FROM taskq.task_status(:'id')) s;

-- ... at the task that was retried
SELECT taskq.task_submit('rm_steps', '{"again": true}', max_attempts => 1) AS id \gset
SELECT is(t.state, 'failed', 'a task that failed for good') FROM taskq.task_wait(:'id') t;
SELECT taskq.task_retry(:'id', payload_merge => '{"again": false}') AS again \gset
SELECT is((t.state, t.attempt)::text, '(completed,1)', 'its retry') FROM taskq.task_wait(:'again') t;
SELECT is(t.result->'steps', '[2, 3, 5]', '... does the steps that failed') FROM taskq.task_status(:'again') t;
SELECT is((p->>'task_id', p->>'attempt', p->>'state')::text, format('(%s,1,failed)', :'id'), '... and knows of which task it is one') FROM (SELECT result->'previous' AS p FROM taskq.task_status(:'again')) s;
SELECT taskq.task_retry(:'again') AS third \gset
SELECT is((p->>'task_id', p->>'state', p->'result'->'steps')::text, format('(%s,completed,"[2, 3, 5]")', :'again'), 'a retry of what completed knows the result') FROM (SELECT result->'previous' AS p FROM taskq.task_wait(:'third')) s;
SELECT taskq.task_retry(:'id', payload_merge => '{"again": false}') AS orphan \gset
SELECT count(*) FROM taskq.task_wait(:'orphan') \g /dev/null
SELECT taskq.task_retry(:'orphan', delay => '1 h') AS later \gset
SELECT taskq.task_delete(:'orphan') \g /dev/null
SELECT taskq.task_run_now(:'later') \g /dev/null
SELECT is((t.state, t.attempt)::text, '(failed,1)', 'what is forgotten is not there: it begins anew') FROM taskq.task_wait(:'later') t;

-- external workers
SELECT taskq.task_submit('rm_out') AS id \gset
SELECT c.token, c.previous IS NULL AS none FROM taskq.task_claim('w1', kinds => '{rm_out}') c \gset
SELECT ok(:'none', 'a first attempt has none before it');
SELECT taskq.task_heartbeat(:'id', :'token', current => 3, total => 7, info => '{"page": 3}') \g /dev/null
SELECT taskq.task_fail(:'id', :'token', 'lost the page') \g /dev/null
CALL wait_state(:'id', 'pending');
SELECT c.token, c.previous FROM taskq.task_claim('w2', kinds => '{rm_out}') c \gset
SELECT is((p->>'attempt', p->>'worker', p->'error'->>'message', p->'progress'->'info'->>'page')::text, '(1,w1,"lost the page",3)', 'an external worker is told of the attempt before') FROM (SELECT :'previous'::jsonb AS p) s;
SELECT taskq.task_fail(:'id', :'token', retry => false) \g /dev/null

-- longer
SELECT taskq.task_submit('rm_echo', '{"a": 1, "b": 2}') AS id \gset
SELECT is(t.timeout, '1 min', 'a task with the timeout of its kind') FROM taskq.task_wait(:'id') t;
SELECT taskq.task_retry(:'id', timeout_factor => 2, delay => '1 h') AS again \gset
SELECT is(t.timeout, '2 min', 'timeout_factor') FROM taskq.task_status(:'again') t;
SELECT is(c.cancelled, true, '... of its retry') FROM taskq.task_cancel(:'again') c;
SELECT is(t.timeout, '3 min', '... and of that one''s') FROM taskq.task_status(taskq.task_retry(:'again', timeout_factor => 1.5, delay => '1 h')) t;
SELECT taskq.task_submit('rm_pid') AS pid \gset
SELECT count(*) FROM taskq.task_wait(:'pid') \g /dev/null
SELECT is(t.timeout, NULL, 'no limit stays none') FROM taskq.task_status(taskq.task_retry(:'pid', timeout_factor => 2, delay => '1 h')) t;
SELECT is(error_of(format('SELECT taskq.task_retry(%L, timeout_factor => 2, timeout => ''1 h'')', :'id')), '22023', 'one of both');
SELECT is(error_of(format('SELECT taskq.task_retry(%L, timeout_factor => 0)', :'id')), '22023', 'more than nothing');
SELECT is(error_of(format('SELECT taskq.task_retry(%L, timeout_factor => ''NaN'')', :'id')), '22023', '... and a number');
SELECT ok(t.timeout <= '3653 days', '... up to ten years') FROM taskq.task_status(taskq.task_retry(:'id', timeout_factor => 1e14, delay => '1 h')) t;

-- other members of the payload
SELECT taskq.task_retry(:'id', payload_merge => '{"b": 3, "c": 4}') AS again \gset
SELECT is(t.result, '{"a": 1, "b": 3, "c": 4}', 'payload_merge') FROM taskq.task_wait(:'again') t;
SELECT is(error_of(format('SELECT taskq.task_retry(%L, payload_merge => ''[1]'')', :'id')), '22023', '... is an object');
SELECT is(error_of(format('SELECT taskq.task_retry(%L, payload_merge => ''{}'', payload => ''{}'')', :'id')), '22023', '... or payload');
SELECT taskq.task_submit('rm_echo', '7') AS seven \gset
SELECT count(*) FROM taskq.task_wait(:'seven') \g /dev/null
SELECT is(error_of(format('SELECT taskq.task_retry(%L, payload_merge => ''{"b": 3}'')', :'seven')), '22023', '... for payloads that are objects');
CREATE ROLE rm_owner LOGIN;
CREATE ROLE rm_web;
GRANT taskq_user TO rm_owner, rm_web;
SELECT taskq.kind_define('rm_as', 'echo(jsonb)', run_as => 'rm_owner'), taskq.kind_grant('rm_as', 'rm_web') \g /dev/null
SET ROLE rm_web;
SELECT taskq.task_submit('rm_as', '{"a": 1}') AS as \gset
RESET ROLE;
SELECT count(*) FROM taskq.task_wait(:'as') \g /dev/null
SELECT taskq.kind_revoke('rm_as', 'rm_web') \g /dev/null
SET ROLE rm_web;
SELECT is(error_of(format('SELECT taskq.task_retry(%L, payload_merge => ''{"a": 2}'')', :'as')), '42501', '... for who may submit such a task');
RESET ROLE;

-- only what failed
SELECT is(error_of(format('SELECT taskq.task_retry(%L, only_failed => true)', :'id')), 'PT409', 'only_failed refuses what has completed');
SELECT taskq.task_submit('rm_echo', delay => '1 h') AS x \gset
SELECT taskq.task_cancel(:'x') \g /dev/null
SELECT isnt(taskq.task_retry(:'x', only_failed => true), NULL, '... not what was cancelled');

-- by another worker
CREATE TABLE rm_chain (n int, id uuid, pid int);
CREATE PROCEDURE rm_chain(kind text) LANGUAGE plpgsql AS $$
DECLARE
	task uuid;
BEGIN
	DELETE FROM rm_chain;
	task := taskq.task_submit(kind);
	COMMIT;
	FOR i IN 1..4 LOOP
		INSERT INTO rm_chain SELECT i, task, (result #>> '{}')::int FROM taskq.task_wait(task);
		task := taskq.task_retry(task, different_worker => CASE WHEN i = 1 THEN true END);
		COMMIT;
	END LOOP;
END $$;
CALL rm_chain('rm_pid');
SELECT results_eq($$SELECT count(*)::int FROM rm_chain a JOIN rm_chain b ON b.n = a.n + 1 WHERE a.pid <> b.pid$$, 'VALUES (3)', 'different_worker: each of several retries is run by another process than the one before');
CALL rm_chain('rm_pid_batch');
SELECT results_eq($$SELECT count(*)::int FROM rm_chain a JOIN rm_chain b ON b.n = a.n + 1 WHERE a.pid <> b.pid$$, 'VALUES (3)', '... also of a kind whose tasks share transactions');
SELECT taskq.task_submit('rm_pid_fails', options => '{"different_worker": true}') AS id \gset
SELECT is(t.attempt::int, 4, 'an option of the submit') FROM taskq.task_wait(:'id') t;
SELECT is(count(*)::int, 0, '... no attempt is made by the worker that made the one before')
FROM (SELECT coalesce(a.error->>'message', t.result #>> '{}') AS pid, lag(a.error->>'message') OVER (ORDER BY a.attempt) AS before
	FROM taskq.task_attempts(:'id') a, taskq.task_status(:'id') t) s WHERE pid = before;
SELECT is(error_of($$SELECT taskq.task_submit('rm_pid', options => '{"different_worker": 1}')$$), '22023', '... true or false');
SELECT taskq.task_submit('rm_out', options => '{"different_worker": true}') AS id \gset
SELECT c.token FROM taskq.task_claim('w1', kinds => '{rm_out}') c \gset
SELECT taskq.task_fail(:'id', :'token') \g /dev/null
CALL wait_state(:'id', 'pending');
SELECT is_empty($$SELECT FROM taskq.task_claim('w1', kinds => '{rm_out}')$$, 'an external worker does not get what it has just failed');
SELECT isnt_empty($$SELECT FROM taskq.task_claim('w2', kinds => '{rm_out}')$$, '... another one does');

SELECT finish();
