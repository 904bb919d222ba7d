-- Retrying, deleting, the attempts; handlers that say what to do; sending workers away.
-- log (0-1): FATAL:  terminating background worker "taskq worker" due to administrator command
\ir include/prologue.psql
SELECT plan(53);

CREATE ROLE steer_alice LOGIN;
CREATE ROLE steer_op LOGIN;
GRANT taskq_user TO steer_alice;
GRANT taskq_operator TO steer_op;
CREATE FUNCTION steer_fail(p jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	RAISE EXCEPTION 'attempt %', (SELECT attempt FROM taskq.current_task()) USING ERRCODE = coalesce(p->>'code', 'TT001');
END $$;
CREATE FUNCTION steer_says(p jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	IF p->>'say' = 'fail' THEN
		PERFORM taskq.fail('no use', '{"why": 1}');
	ELSIF p->>'say' = 'raise' THEN
		RAISE EXCEPTION 'no use either' USING ERRCODE = 'TQ001';
	ELSIF (SELECT attempt FROM taskq.current_task()) <= (p->>'times')::int THEN
		PERFORM taskq.retry((p->>'delay')::interval, 'not yet');
	END IF;
	RETURN p;
END $$;
SELECT taskq.queue_define('steer_held'), taskq.queue_pause('steer_held') \g /dev/null
SELECT taskq.kind_define('steer', 'echo(jsonb)', timeout => '1 min'), taskq.kind_define('steer_fail', 'steer_fail(jsonb)', backoff => '1 ms', backoff_max => '1 ms'),
	taskq.kind_define('steer_list', 'steer_fail(jsonb)', backoff => '1 ms', backoff_max => '1 ms', retry_on => '{40,23505,57P02}'),
	taskq.kind_define('steer_says', 'steer_says(jsonb)', backoff => '1 ms', backoff_max => '1 ms', retry_on => '{40}'),
	taskq.kind_define('steer_gate', 'wait_at_gate(jsonb)') \g /dev/null

-- attempts
SELECT taskq.task_submit('steer_fail') AS id \gset
SELECT is((t.state, t.attempt)::text, '(failed,3)', 'three attempts') FROM taskq.task_wait(:'id') t;
SELECT is(string_agg(concat_ws(' ', a.attempt, a.state, a.error->>'message', a.worker IS NOT NULL, a.duration >= '0'), ', ' ORDER BY a.attempt),
	'1 failed attempt 1 t t, 2 failed attempt 2 t t, 3 failed attempt 3 t t', 'each is on record') FROM taskq.task_attempts(:'id') a;
SELECT is((SELECT count(*)::int FROM taskq.task_attempt WHERE task_id = :'id'), 3, '... in the view too');
SELECT is((SELECT bool_and(a.finished_at <= b.started_at) FROM taskq.task_attempts(:'id') a JOIN taskq.task_attempts(:'id') b ON b.attempt = a.attempt + 1), true, 'one after the other');
SELECT is(error_of('SELECT taskq.task_attempts(''00000000-0000-7000-8000-000000000000'')'), 'PT404', 'of an unknown task there are none');
SELECT taskq.task_submit('steer') AS id \gset
SELECT taskq.task_wait(:'id') \g /dev/null
SELECT is(string_agg(concat_ws(' ', a.attempt, a.state), ','), '1 completed', 'one that succeeds at once has one') FROM taskq.task_attempts(:'id') a;

-- retry_on
SELECT taskq.task_submit('steer_list', jsonb_build_object('code', c)) AS id FROM unnest(ARRAY['40P01', '23505', '23503', '22012']) c;
SELECT is(string_agg(concat_ws(' ', payload->>'code', attempt), ',' ORDER BY id), '40P01 3,23505 3,23503 1,22012 1', 'only what the kind lists is tried again: classes and SQLSTATEs')
FROM (SELECT (taskq.task_wait(t.id)).* FROM taskq.task t WHERE t.kind = 'steer_list') w;

-- what a handler says
SELECT taskq.task_submit('steer_says', '{"say": "fail"}') AS id \gset
SELECT is((t.state, t.attempt, t.error->>'sqlstate', t.error->>'type', t.error->>'message', t.error->>'detail')::text, '(failed,1,TQ001,task_no_retry,"no use","{""why"": 1}")', 'taskq.fail() ends it') FROM taskq.task_wait(:'id') t;
SELECT taskq.task_submit('steer_says', '{"say": "raise"}') AS id \gset
SELECT is((t.state, t.attempt)::text, '(failed,1)', 'so does SQLSTATE TQ001') FROM taskq.task_wait(:'id') t;
SELECT taskq.task_submit('steer_says', '{"times": 2, "delay": "1 ms"}') AS id \gset
SELECT is((t.state, t.attempt)::text, '(completed,3)', 'taskq.retry() has it tried again, whatever retry_on says') FROM taskq.task_wait(:'id') t;
SELECT taskq.task_submit('steer_says', '{"times": 9}') AS id \gset
SELECT is((t.state, t.attempt, t.error->>'sqlstate')::text, '(failed,3,TQ002)', '... as often as max_attempts allows') FROM taskq.task_wait(:'id') t;
SELECT taskq.task_submit('steer_says', '{"times": 1, "delay": "2 h"}') AS id \gset
CALL wait_state(:'id', 'retrying');
SELECT is(t.run_at - t.updated_at BETWEEN '1 h 59 min' AND '2 h 1 min', true, '... after as long as it asks') FROM taskq.task_status(:'id') t;
SELECT is(error_of('SELECT taskq.fail(''x'')'), 'TQ001', 'outside of a task they are errors as well');
SELECT is(error_of('SELECT taskq.retry(''-1 s'')'), '22023', 'a delay is not negative');

-- a retry is a new task
SELECT taskq.task_cancel(:'id', 'enough') \g /dev/null
SELECT taskq.task_submit('steer', '{"a": 1}', priority => 7, tags => '{x,y}', metadata => '{"m": 1}', max_attempts => 5) AS old \gset
SELECT taskq.task_wait(:'old') \g /dev/null
SELECT taskq.task_retry(:'old') AS new \gset
SELECT is((t.state, t.kind, t.queue, t.priority, t.payload, t.tags, t.metadata, t.max_attempts, t.attempt, t.timeout)::text,
	'(completed,steer,default,7,"{""a"": 1}","{x,y}","{""m"": 1}",5,1,00:01:00)', 'it is as the old one was') FROM taskq.task_wait(:'new') t;
SELECT is(t.retry_of, :'old', '... and says whose retry it is') FROM taskq.task_status(:'new') t;
SELECT is((t.state, t.attempt, t.retry_of)::text, '(completed,1,)', 'the old one stays') FROM taskq.task_status(:'old') t;
SELECT taskq.task_retry(:'old', priority => -3, timeout => '5 s', payload => '{"b": 2}', queue => 'steer_held', max_attempts => 1, delay => '1 h') AS new \gset
SELECT is((t.state, t.priority, t.timeout, t.payload, t.queue, t.max_attempts, t.run_at > clock_timestamp())::text, '(scheduled,-3,00:00:05,"{""b"": 2}",steer_held,1,t)', 'or as one says') FROM taskq.task_status(:'new') t;
SELECT is(error_of(format('SELECT taskq.task_retry(%L)', :'new')), 'PT409', 'a scheduled one cannot be retried');
SELECT is(error_of(format('SELECT taskq.task_delete(%L)', :'new')), 'PT409', '... nor deleted');
SELECT taskq.task_cancel(:'new') \g /dev/null
SELECT taskq.task_retry(:'new') AS again \gset
SELECT is((SELECT t.state FROM taskq.task_status(:'again') t), 'pending', 'a cancelled one can');
SELECT is(error_of(format('SELECT taskq.task_retry(%L)', :'again')), 'PT409', 'a pending one cannot');
SELECT is(error_of(format('SELECT taskq.task_retry(%L, %s)', :'old', a)), '22023', a)
FROM unnest(ARRAY['priority => 101', 'timeout => ''0''', 'queue => ''steer_no_such''', 'max_attempts => 0', 'delay => ''-1 s''']) a;
SELECT is(error_of('SELECT taskq.task_retry(''00000000-0000-7000-8000-000000000000'')'), 'PT404', 'an unknown one cannot');
SELECT is(error_of('SELECT taskq.task_retry(NULL)'), '22023', '... nor none');

-- whose it is
SET SESSION AUTHORIZATION steer_alice;
SELECT taskq.task_submit('steer', '{"of": "alice"}') AS alice \gset
SELECT taskq.task_wait(:'alice') \g /dev/null
SET SESSION AUTHORIZATION steer_op;
SELECT taskq.task_submit_sql('SELECT 1') AS sql \gset
SELECT taskq.task_wait(:'sql') \g /dev/null
SELECT taskq.task_retry(:'alice') AS by_op \gset
SELECT error_of(format('SELECT taskq.task_retry(%L, payload => ''{}'')', :'alice')) AS op_payload, error_of(format('SELECT taskq.task_retry(%L, payload => ''{}'')', :'sql')) AS sql_payload \gset
SELECT taskq.task_retry(:'sql') AS sql_retry \gset
SELECT t.state AS sql_again FROM taskq.task_wait(:'sql_retry') t \gset
RESET SESSION AUTHORIZATION;
SELECT is((t.submitted_by, t.run_as, t.payload)::text, '(steer_alice,steer_alice,"{""of"": ""alice""}")', 'retried by an operator it still is its submitter''s') FROM taskq.task_wait(:'by_op') t;
SELECT is(:'op_payload'::text, '42501', '... who alone may give it another payload');
SELECT is(:'sql_payload'::text, '22023', 'SQL text is not changed');
SELECT is(:'sql_again'::text, 'completed', '... but run again');
SELECT taskq.task_submit('steer') AS mine \gset
SELECT taskq.task_wait(:'mine') \g /dev/null
SET SESSION AUTHORIZATION steer_alice;
SELECT error_of(format('SELECT taskq.task_retry(%L)', :'mine')) AS r, error_of(format('SELECT taskq.task_delete(%L)', :'mine')) AS d,
	error_of('SELECT taskq.worker_stop(''worker-1'')') AS w, error_of('SELECT taskq.worker_restart()') AS wr, error_of('SELECT * FROM taskq.alert') AS s \gset
SELECT error_of(format('SELECT taskq.task_retry(%L, payload => ''{"own": 1}'')', :'alice')) AS own_payload \gset
RESET SESSION AUTHORIZATION;
SELECT is(concat_ws(' ', :'r', :'d'), 'PT404 PT404', 'another''s task is nobody else''s to retry or delete');
SELECT is(:'own_payload'::text, 'none', 'one''s own may get another payload');
SELECT is(concat_ws(' ', :'w', :'wr', :'s'), '42501 42501 42501', 'workers and alerts are the operators''');

-- a kind that is gone
CREATE FUNCTION steer_gone() RETURNS int LANGUAGE sql AS $$ SELECT 1 $$;
SELECT taskq.kind_define('steer_gone', 'steer_gone()') \g /dev/null
SELECT taskq.task_submit('steer_gone') AS id \gset
SELECT taskq.task_wait(:'id') \g /dev/null
SELECT taskq.kind_drop('steer_gone') \g /dev/null
SELECT is(error_of(format('SELECT taskq.task_retry(%L)', :'id')), '42704', 'without its kind a task is not retried');

-- deleting
SELECT taskq.task_submit('steer_fail') AS id \gset
SELECT taskq.task_wait(:'id') \g /dev/null
SELECT is(error_of(format('SELECT taskq.task_delete(%L)', :'id')), 'none', 'a failed one is deleted');
SELECT is(error_of(format('SELECT taskq.task_status(%L)', :'id')), 'PT404', '... and gone');
SELECT is((SELECT count(*)::int FROM taskq_internal.attempt WHERE task = :'id'), 0, '... with its attempts');
SELECT is(error_of(format('SELECT taskq.task_delete(%L)', :'id')), 'PT404', '... once');
BEGIN;
SELECT taskq.task_delete(:'old') \g /dev/null
ROLLBACK;
SELECT is((SELECT t.state FROM taskq.task_status(:'old') t), 'completed', 'a delete that rolls back is none');
SELECT taskq.task_submit('steer_gate', '{"gate": "steer"}') AS id \gset
CALL wait_state(:'id', 'running');
SELECT is(error_of(format('SELECT taskq.task_delete(%L)', :'id')), 'PT409', 'a running one is not deleted');
SELECT is(error_of(format('SELECT taskq.task_retry(%L)', :'id')), 'PT409', '... nor retried');

-- sending workers away
SELECT w.name AS worker, w.pid FROM taskq.worker w WHERE w.task_id = :'id' \gset
SELECT is(taskq.worker_stop('worker-99'), false, 'no worker of that name');
SELECT is(taskq.worker_stop(:'worker'), true, 'a worker is told to go');
SELECT is((t.state, t.attempt)::text, '(running,1)', '... after the task it is in') FROM taskq.task_status(:'id') t;
SELECT is(taskq.worker_stop(:'worker', force => true), true, 'by force');
CREATE PROCEDURE steer_until(task uuid, old_pid int) LANGUAGE plpgsql AS $$
BEGIN
	WHILE NOT EXISTS (SELECT FROM taskq.worker WHERE task_id = task AND pid <> old_pid) LOOP
		COMMIT;
		PERFORM pg_sleep(0.01);
	END LOOP;
END $$;
CALL steer_until(:'id', :'pid');
SELECT is((t.state, t.attempt)::text, '(running,1)', '... it goes at once, and its task runs again as if for the first time') FROM taskq.task_status(:'id') t;
SELECT is(taskq.worker_restart() >= 1, true, 'all are told');
INSERT INTO gate VALUES ('steer');
SELECT is((SELECT t.state FROM taskq.task_wait(:'id') t), 'completed', 'the task comes to its end');
SELECT taskq.task_submit('steer') AS id \gset
SELECT is((SELECT t.state FROM taskq.task_wait(:'id') t), 'completed', '... and others run');

-- the report
SELECT is((s->>'running', s->>'paused', s->'paused_queues', s->>'foreign_lanes')::text, '(true,false,"[""steer_held""]",0)', 'the report says how things are') FROM taskq.sitrep() s;

DROP OWNED BY steer_alice, steer_op CASCADE;
DROP ROLE steer_alice, steer_op;
SELECT * FROM finish();
