-- Tasks for programs outside of the server: claim, heartbeat, end, lose.
\ir include/prologue.psql
SELECT plan(95);

CREATE ROLE ext_user LOGIN;
CREATE ROLE ext_worker LOGIN;
CREATE ROLE ext_stranger LOGIN;
CREATE ROLE ext_team NOLOGIN;
GRANT taskq_user TO ext_user, ext_stranger;
GRANT taskq_worker TO ext_worker, ext_stranger;
SELECT taskq.queue_define('ext_a') \g /dev/null
SELECT taskq.queue_define('ext_b') \g /dev/null
SELECT taskq.kind_define('ext', queue => 'ext_a', backoff => '10 ms', backoff_max => '10 ms') \g /dev/null
SELECT taskq.kind_define('ext_other', queue => 'ext_b', max_attempts => 1) \g /dev/null
SELECT taskq.kind_grant('ext', 'ext_team', 'work'), taskq.kind_grant('ext_other', 'ext_worker', 'work') \g /dev/null
CREATE FUNCTION ext_internal(p jsonb) RETURNS jsonb LANGUAGE sql AS $$ SELECT p $$;
SELECT taskq.kind_define('ext_internal', 'ext_internal(jsonb)', queue => 'ext_a') \g /dev/null

-- what a worker would do, as ext_worker; claims are kept here
CREATE TABLE claimed (no int GENERATED ALWAYS AS IDENTITY, id uuid, token uuid, kind text, queue text, payload jsonb, attempt int, max_attempts int, timeout interval, submitted_by name);
GRANT ALL ON claimed TO PUBLIC;
CREATE FUNCTION claim(n int DEFAULT 1, queues text[] DEFAULT NULL, kinds text[] DEFAULT NULL, lease interval DEFAULT '1 min', wait interval DEFAULT NULL) RETURNS int LANGUAGE sql AS $$
	WITH c AS (INSERT INTO claimed (id, token, kind, queue, payload, attempt, max_attempts, timeout, submitted_by)
		SELECT id, token, kind, queue, payload, attempt, max_attempts, timeout, submitted_by FROM taskq.task_claim('tester', queues, kinds, n, lease, wait) RETURNING 1)
	SELECT count(*)::int FROM c $$;
CREATE FUNCTION state_of(task uuid) RETURNS text LANGUAGE sql AS $$ SELECT s.state FROM taskq.task_status(task) s $$;
-- until a task is in a state, at most half a minute
CREATE PROCEDURE await(task uuid, states text[]) LANGUAGE plpgsql AS $$
BEGIN
	FOR i IN 1..3000 LOOP
		EXIT WHEN state_of(task) = ANY (states);
		COMMIT;
		PERFORM pg_sleep(0.01);
	END LOOP;
END $$;

-- who may
SELECT taskq.task_submit('ext', '{"n": 1}') AS t1 \gset
SET SESSION AUTHORIZATION ext_worker;
SELECT claim(10, '{ext_a}') AS none \gset
SET SESSION AUTHORIZATION ext_user;
SELECT error_of('SELECT taskq.task_claim(''w'')') AS no_role \gset
RESET SESSION AUTHORIZATION;
SELECT is(:'none'::int, 0, 'nothing for who was not given the kind');
SELECT is(:'no_role'::text, '42501', 'nor for who is no worker');
GRANT ext_team TO ext_worker;
SET SESSION AUTHORIZATION ext_worker;
SELECT claim(10, '{ext_a}') AS member \gset
RESET SESSION AUTHORIZATION;
SELECT is(:'member'::int, 1, 'a member of the role that was given it claims');
SELECT is((id, kind, queue, payload, attempt, max_attempts, timeout)::text, format('(%s,ext,ext_a,"{""n"": 1}",1,3,)', :'t1'), 'the claim has what the work needs') FROM claimed;
SELECT is(c.submitted_by, current_user, '... and who submitted') FROM claimed c;
SELECT is((t.state, t.worker, t.attempt, t.celery_state)::text, '(running,tester,1,STARTED)', 'the task runs') FROM taskq.task_status(:'t1') t;
SELECT is(t.state, 'running', '... in the view too') FROM taskq.task t WHERE t.id = :'t1';
SET SESSION AUTHORIZATION ext_worker;
SELECT claim(10) AS again \gset
RESET SESSION AUTHORIZATION;
SELECT is(:'again'::int, 0, 'nobody gets it a second time');

-- progress
SELECT id, token FROM claimed \gset
SET SESSION AUTHORIZATION ext_worker;
SELECT h.cancel_requested, h.lease_until - clock_timestamp() BETWEEN '100 s' AND '121 s' AS extended
FROM taskq.task_heartbeat(:'id', :'token', lease => '2 min', current => 3, total => 4, message => 'at it', info => '{"k": 1}') h \gset
SELECT h.lease_until - clock_timestamp() BETWEEN '100 s' AND '121 s' AS kept FROM taskq.task_heartbeat(:'id', :'token') h \gset
RESET SESSION AUTHORIZATION;
SELECT is(:'cancel_requested'::text, 'f', 'a heartbeat says that nobody wants it cancelled');
SELECT is(:'extended'::text, 't', '... and how long the lease is now');
SELECT is(:'kept'::text, 't', 'the next one keeps its length');
SELECT is((t.progress, t.current, t.total, t.message, t.info)::text, '(75.0,3,4,"at it","{""k"": 1}")', 'its progress shows') FROM taskq.task_status(:'id') t;
SELECT is(taskq.task_progress(:'id'), '{"state": "running", "percent": 75, "current": 3, "total": 4, "message": "at it", "info": {"k": 1}}', '... in task_progress');

-- completed
SET SESSION AUTHORIZATION ext_worker;
SELECT taskq.task_complete(:'id', :'token', '{"done": true}') \g /dev/null
SELECT error_of(format('SELECT taskq.task_heartbeat(%L, %L)', :'id', :'token')) AS beat_after \gset
RESET SESSION AUTHORIZATION;
SELECT is((t.state, t.result, t.progress, t.message)::text, '(completed,"{""done"": true}",100,"at it")', 'it is completed, with result and last progress') FROM taskq.task_status(:'id') t;
SELECT is(:'beat_after'::text, 'PT409', 'its token is worth nothing any more');
SELECT is(error_of(format('SELECT taskq.task_heartbeat(%L, %L)', :'id', :'token')), 'PT409', 'who may see it is told so');

-- order, filters
SELECT taskq.task_submit('ext', '{"n": "low"}', priority => -5) AS low \gset
SELECT taskq.task_submit('ext', '{"n": "first"}') AS first \gset
SELECT taskq.task_submit('ext', '{"n": "second"}') AS second \gset
SELECT taskq.task_submit('ext', '{"n": "high"}', priority => 5) AS high \gset
SELECT taskq.task_submit('ext_other', '{"n": "other"}') AS other \gset
SELECT taskq.task_submit('ext_internal', '{"n": "internal"}') AS internal \gset
TRUNCATE claimed RESTART IDENTITY;
SET SESSION AUTHORIZATION ext_worker;
SELECT claim(2, '{ext_a}') AS two, claim(10, kinds => '{ext}') AS rest, claim(10, '{ext_a}') AS nothing, claim(1, '{no_such}') AS unknown, claim(5) AS others \gset
RESET SESSION AUTHORIZATION;
SELECT is(concat_ws(' ', :'two', :'rest', :'nothing', :'unknown', :'others'), '2 2 0 0 1', 'as many as are asked for and there, of the queues and kinds named');
SELECT is(string_agg(payload->>'n', ' ' ORDER BY no), 'high first second low other', 'higher priority first, then in order of submission') FROM claimed;
SELECT is((SELECT t.state FROM taskq.task_wait(:'internal') t), 'completed', 'a kind with a handler runs inside');

-- failing
SELECT id, token FROM claimed WHERE payload->>'n' = 'high' \gset
SET SESSION AUTHORIZATION ext_worker;
SELECT taskq.task_fail(:'id', :'token', 'no connection', '{"host": "x"}') AS failed \gset
SELECT claim(1, kinds => '{ext}', wait => '20 s') AS again \gset
RESET SESSION AUTHORIZATION;
SELECT is(:'failed'::text, 'retrying', 'a failure is tried again');
SELECT is((SELECT attempt FROM claimed ORDER BY no DESC LIMIT 1), 2, 'task_claim waits for it');
SELECT is((a.state, a.worker, a.error->>'sqlstate', a.error->>'type', a.error->>'message', a.error->>'detail')::text, '(failed,tester,TQ004,task_external_failure,"no connection","{""host"": ""x""}")', 'the attempt is on record')
FROM taskq.task_attempts(:'id') a WHERE a.attempt = 1;
SELECT id, token FROM claimed ORDER BY no DESC LIMIT 1 \gset
SET SESSION AUTHORIZATION ext_worker;
SELECT taskq.task_fail(:'id', :'token', 'never works', retry => false) AS failed \gset
RESET SESSION AUTHORIZATION;
SELECT is(:'failed'::text, 'failed', 'unless the worker says that it is no use');
SELECT is(t.error->>'message', 'never works', '... and why') FROM taskq.task_status(:'id') t;
SELECT id, token FROM claimed WHERE payload->>'n' = 'other' \gset
SET SESSION AUTHORIZATION ext_worker;
SELECT taskq.task_fail(:'id', :'token') AS failed \gset
RESET SESSION AUTHORIZATION;
SELECT is(:'failed'::text, 'failed', 'or attempts are used up');

-- giving back
SELECT id, token FROM claimed WHERE payload->>'n' = 'first' \gset
SET SESSION AUTHORIZATION ext_worker;
SELECT taskq.task_release(:'id', :'token') \g /dev/null
SELECT claim(1, kinds => '{ext}') AS got \gset
RESET SESSION AUTHORIZATION;
SELECT is((SELECT (id, attempt)::text FROM claimed ORDER BY no DESC LIMIT 1), format('(%s,1)', :'first'), 'a released task is there at once, and no attempt is counted');
SELECT id, token FROM claimed ORDER BY no DESC LIMIT 1 \gset
SET SESSION AUTHORIZATION ext_worker;
SELECT taskq.task_release(:'id', :'token', '1 h') \g /dev/null
SELECT claim(1, kinds => '{ext}') AS got \gset
RESET SESSION AUTHORIZATION;
SELECT is(:'got'::int, 0, 'released for later nobody gets it now');
SELECT is((t.state, t.attempt, t.run_at > clock_timestamp() + '59 min')::text, '(scheduled,0,t)', '... it is scheduled') FROM taskq.task_status(:'id') t;
SELECT is_empty(format('SELECT * FROM taskq.task_attempts(%L)', :'id'), '... with no attempt on record');

-- cancelling
SELECT id, token FROM claimed WHERE payload->>'n' = 'second' \gset
SELECT is((c.cancelled, c.terminated)::text, '(t,f)', 'a claimed task is cancelled') FROM taskq.task_cancel(:'id', 'changed my mind') c;
SELECT is((t.state, t.cancel_requested, t.cancel_reason)::text, '(running,t,"changed my mind")', '... which its worker does not know yet') FROM taskq.task_status(:'id') t;
SET SESSION AUTHORIZATION ext_worker;
SELECT h.cancel_requested FROM taskq.task_heartbeat(:'id', :'token') h \gset
SELECT taskq.task_complete(:'id', :'token', '"half"') \g /dev/null
RESET SESSION AUTHORIZATION;
SELECT is(:'cancel_requested'::text, 't', 'its heartbeat tells');
SELECT is((t.state, t.result, t.cancel_reason)::text, '(cancelled,"""half""","changed my mind")', 'what it hands in then is a partial result') FROM taskq.task_status(:'id') t;
SELECT id, token FROM claimed WHERE payload->>'n' = 'low' \gset
SELECT is((c.cancelled, c.terminated)::text, '(t,t)', 'by force it is cancelled at once') FROM taskq.task_cancel(:'id', force => true) c;
SELECT is(state_of(:'id'), 'cancelled', '... whatever its worker does');
SELECT is(error_of(format('SELECT taskq.task_complete(%L, %L)', :'id', :'token')), 'PT409', '... whose token is void');
SELECT taskq.task_submit('ext') AS id \gset
SET SESSION AUTHORIZATION ext_worker;
SELECT claim(1, kinds => '{ext}') \g /dev/null
RESET SESSION AUTHORIZATION;
SELECT token FROM claimed WHERE id = :'id' \gset
SELECT taskq.task_cancel(:'id') \g /dev/null
SET SESSION AUTHORIZATION ext_worker;
SELECT taskq.task_release(:'id', :'token') \g /dev/null
RESET SESSION AUTHORIZATION;
SELECT is(state_of(:'id'), 'cancelled', 'what is to be cancelled is not given to others');

-- leases end
SELECT taskq.task_submit('ext') AS id \gset
TRUNCATE claimed RESTART IDENTITY;
SET SESSION AUTHORIZATION ext_worker;
SELECT claim(1, kinds => '{ext}', lease => '1 s') \g /dev/null
SELECT claim(1, kinds => '{ext}', wait => '20 s') AS taken_over \gset
RESET SESSION AUTHORIZATION;
SELECT is(:'taken_over'::int, 1, 'when a lease is over another worker gets the task');
SELECT is((min(attempt), max(attempt), count(DISTINCT id), count(DISTINCT token))::text, '(1,2,1,2)', '... as a new attempt with a token of its own') FROM claimed;
SELECT is((a.state, a.error->>'sqlstate')::text, '(lost,TQ003)', 'the lost one is on record') FROM taskq.task_attempts(:'id') a WHERE a.attempt = 1;
SELECT token AS stale FROM claimed WHERE attempt = 1 \gset
SELECT token FROM claimed WHERE attempt = 2 \gset
SELECT is(error_of(format('SELECT taskq.task_heartbeat(%L, %L)', :'id', :'stale')), 'PT409', 'a zombie''s heartbeat is refused');
SELECT is(error_of(format('SELECT taskq.task_complete(%L, %L)', :'id', :'stale')), 'PT409', '... its result');
SELECT is(error_of(format('SELECT taskq.task_fail(%L, %L)', :'id', :'stale')), 'PT409', '... its failure');
SELECT is(error_of(format('SELECT taskq.task_release(%L, %L)', :'id', :'stale')), 'PT409', '... its release');
SELECT is((t.state, t.attempt)::text, '(running,2)', 'the task goes on') FROM taskq.task_status(:'id') t;
SET SESSION AUTHORIZATION ext_stranger;
SELECT error_of(format('SELECT taskq.task_complete(%L, %L)', :'id', '00000000-0000-4000-8000-000000000000')) AS guessed \gset
RESET SESSION AUTHORIZATION;
SELECT is(:'guessed'::text, 'PT404', 'a stranger who guesses learns nothing');
SELECT taskq.task_complete(:'id', :'token') \g /dev/null
SELECT is((t.state, t.result)::text, '(completed,)', 'the right one completes it, without a result') FROM taskq.task_status(:'id') t;

-- a timeout is the end, whatever the heartbeats
SELECT taskq.task_submit('ext', timeout => '2 s', max_attempts => 1) AS id \gset
TRUNCATE claimed RESTART IDENTITY;
SELECT claim(1, kinds => '{ext}', lease => '1 h') \g /dev/null
SELECT token FROM claimed \gset
SELECT is((SELECT h.lease_until < clock_timestamp() + '2 s' FROM taskq.task_heartbeat(:'id', :'token', '1 h') h), true, 'a heartbeat does not go beyond the timeout');
CALL await(:'id', '{failed}');
SELECT is((t.state, t.error->>'sqlstate')::text, '(failed,57014)', '... which fails the task') FROM taskq.task_status(:'id') t;

-- transactions
SELECT taskq.task_submit('ext') AS id \gset
TRUNCATE claimed RESTART IDENTITY;
BEGIN;
SELECT claim(1, kinds => '{ext}') \g /dev/null
ROLLBACK;
SELECT claim(1, kinds => '{ext}') \g /dev/null
SELECT is((SELECT (id, attempt)::text FROM claimed), format('(%s,1)', :'id'), 'a claim that rolls back is none');
SELECT token FROM claimed \gset
BEGIN;
SELECT taskq.task_complete(:'id', :'token') \g /dev/null
SELECT is(state_of(:'id'), 'completed', 'a completion');
ROLLBACK;
SELECT is(state_of(:'id'), 'running', '... that rolls back is none either');
SELECT taskq.task_complete(:'id', :'token') \g /dev/null
SELECT taskq.task_submit('ext') AS id \gset
TRUNCATE claimed RESTART IDENTITY;
BEGIN;
SAVEPOINT a;
SELECT claim(1, kinds => '{ext}') \g /dev/null
ROLLBACK TO a;
SELECT claim(1, kinds => '{ext}') AS inside \gset
COMMIT;
SELECT is(:'inside'::int, 1, 'nor one in a savepoint that is rolled back');
SELECT is((SELECT h.cancel_requested FROM claimed c, taskq.task_heartbeat(c.id, c.token) h), false, '... the second one counts');
SELECT taskq.task_release(c.id, c.token) FROM claimed c \g /dev/null

-- pausing
SELECT taskq.queue_pause('ext_a') \g /dev/null
SELECT is(claim(1, kinds => '{ext}'), 0, 'a paused queue gives nothing');
SELECT taskq.queue_resume('ext_a') \g /dev/null
SELECT is(claim(1, kinds => '{ext}'), 1, '... and goes on');

-- arguments
SELECT id, token FROM claimed ORDER BY no DESC LIMIT 1 \gset
SELECT is(error_of(format('SELECT taskq.task_claim(%L, n => %s)', 'w', n)), '22023', 'n ' || n) FROM unnest(ARRAY['0', '-1', '1001']) n;
SELECT is(error_of(format('SELECT taskq.task_claim(%L, lease => %L)', 'w', l)), '22023', 'lease ' || l) FROM unnest(ARRAY['0', '-1 s', '10 ms', '1 year']) l;
SELECT is(error_of('SELECT taskq.task_claim(NULL)'), '22023', 'a worker needs a name');
SELECT is(error_of(format('SELECT taskq.task_heartbeat(%L, %L, %s)', :'id', :'token', a)), '22023', a)
FROM unnest(ARRAY['current => ''NaN''', 'current => -1', 'lease => ''-1 s''', format('info => to_jsonb(repeat(%L, 3000))', 'x')]) a;
SELECT is(error_of(format('SELECT taskq.task_complete(%L, %L, to_jsonb(repeat(%L, 2000000)))', :'id', :'token', 'x')), 'PT413', 'a result that is too large');
SELECT is(error_of(format('SELECT taskq.task_complete(%L, NULL)', :'id')), '22023', 'no token');
SELECT is(state_of(:'id'), 'running', 'nothing of that did anything to the task');

-- an answer that is lost: the same call again gets it
CREATE FUNCTION claimed(kind text, no int DEFAULT 1) RETURNS claimed LANGUAGE sql AS $$ SELECT c FROM claimed c WHERE c.kind = $1 ORDER BY c.no OFFSET $2 - 1 LIMIT 1 $$;
TRUNCATE claimed RESTART IDENTITY;
SELECT taskq.task_submit('ext_other'), taskq.task_submit('ext_other'), taskq.task_submit('ext_other', max_attempts => 2), taskq.task_submit('ext_other') \g /dev/null
SELECT claim(4, kinds => '{ext_other}') \g /dev/null
SELECT c.id AS a, c.token AS a_token FROM claimed('ext_other') c \gset
SELECT c.id AS b, c.token AS b_token FROM claimed('ext_other', 2) c \gset
SELECT c.id AS c, c.token AS c_token FROM claimed('ext_other', 3) c \gset
SELECT c.id AS d, c.token AS d_token FROM claimed('ext_other', 4) c \gset
GRANT taskq_worker TO ext_user;
SET SESSION AUTHORIZATION ext_worker;
SELECT taskq.task_complete(:'a', :'a_token', '1'), taskq.task_complete(:'a', :'a_token', '2') \g /dev/null
SELECT taskq.task_fail(:'b', :'b_token', 'no') AS b_first, taskq.task_fail(:'b', :'b_token', 'no, no') AS b_again,
	taskq.task_fail(:'c', :'c_token', 'not yet', retry => true) AS c_first \gset
SELECT taskq.task_release(:'d', :'d_token'), taskq.task_release(:'d', :'d_token') \g /dev/null
SELECT error_of(format('SELECT taskq.task_fail(%L, %L)', :'a', :'a_token')) AS a_fail, error_of(format('SELECT taskq.task_complete(%L, %L)', :'b', :'b_token')) AS b_complete,
	error_of(format('SELECT taskq.task_complete(%L, %L)', :'a', :'b_token')) AS a_by_b, error_of(format('SELECT taskq.task_heartbeat(%L, %L)', :'a', :'a_token')) AS a_beat \gset
RESET SESSION AUTHORIZATION;
SET SESSION AUTHORIZATION ext_user;
SELECT error_of(format('SELECT taskq.task_complete(%L, %L)', :'b', :'a_token')) AS stranger \gset
RESET SESSION AUTHORIZATION;
REVOKE taskq_worker FROM ext_user;
SELECT is((t.state, t.result)::text, '(completed,1)', 'completed once, whatever was said again') FROM taskq.task_status(:'a') t;
SELECT is(:'b_first'::text || ' ' || :'b_again', 'failed failed', 'failed once, and the same answer');
SELECT is(t.error->>'message', 'no', '... and the first reason') FROM taskq.task_status(:'b') t;
SELECT is((t.state, t.attempt)::text, '(pending,0)', 'given back once') FROM taskq.task_status(:'d') t;
SELECT is(:'a_fail'::text || ' ' || :'b_complete' || ' ' || :'a_by_b' || ' ' || :'a_beat', 'PT409 PT409 PT409 PT409', 'another call, another token: refused as before');
SELECT is(:'stranger'::text, 'PT404', '... and to a stranger there is no such task');
SELECT is(:'c_first'::text, 'retrying', 'to be tried again');
TRUNCATE claimed RESTART IDENTITY;
SELECT claim(2, kinds => '{ext_other}', wait => '20 s') \g /dev/null
CALL await(:'c', '{running,pending}');
SELECT claim(2, kinds => '{ext_other}', wait => '1 s') WHERE NOT EXISTS (SELECT FROM claimed WHERE id = :'c') \g /dev/null
SET SESSION AUTHORIZATION ext_worker;
SELECT taskq.task_fail(:'c', :'c_token', 'not yet') AS c_again \gset
RESET SESSION AUTHORIZATION;
SELECT is(:'c_again'::text, 'retrying', '... which is the answer also when the next attempt runs');
SELECT is((t.state, t.attempt)::text, '(running,2)', '... that nothing happens to') FROM taskq.task_status(:'c') t;

-- many at once
SELECT jsonb_agg(jsonb_build_object('id', id, 'token', token) ORDER BY id) AS held FROM claimed \gset
SELECT is(jsonb_array_length(:'held'), 2, 'two are held');
SELECT jsonb_build_array(:'held'::jsonb->0 || '{"result": {"n": 1}}', :'held'::jsonb->1 || '{"error": "boom", "type": "Broken", "retry": false, "details": {"at": 3}}') AS results \gset
SET SESSION AUTHORIZATION ext_worker;
SELECT string_agg(success || ' ' || coalesce(error->>'sqlstate', '-'), ', ') AS first FROM taskq.task_complete_many(:'results') \gset
SELECT string_agg(success || ' ' || coalesce(error->>'sqlstate', '-'), ', ') AS again FROM taskq.task_complete_many(:'results') \gset
SELECT string_agg(success || ' ' || coalesce(error->>'sqlstate', '-'), ', ' ORDER BY error->>'sqlstate' NULLS FIRST) AS mixed FROM taskq.task_complete_many(:'results'::jsonb
	|| jsonb_build_array(jsonb_build_object('id', :'a', 'token', :'b_token'), jsonb_build_object('id', 'no id', 'token', :'b_token'),
		jsonb_build_object('id', '00000000-0000-7000-8000-000000000000', 'token', :'b_token'))) \gset
SELECT count(*) AS none FROM taskq.task_complete_many('[]') \gset
RESET SESSION AUTHORIZATION;
SELECT is(:'first'::text, 'true -, true -', 'both are ended');
SELECT is((t.state, t.result)::text, '(completed,"{""n"": 1}")', '... one well') FROM taskq.task_status((:'held'::jsonb->0->>'id')::uuid) t;
SELECT is((t.state, t.error->>'type', t.error->>'message', t.error->'details')::text, '(failed,Broken,boom,"{""at"": 3}")', '... one badly') FROM taskq.task_status((:'held'::jsonb->1->>'id')::uuid) t;
SELECT is(:'again'::text, :'first'::text, 'the whole may be repeated');
SELECT is(:'mixed'::text, 'true -, true -, false 22P02, false PT404, false PT409', 'what one is refused does not keep the others');
SELECT is(:'none'::int, 0, 'none are none');
SELECT is(error_of(format('SELECT taskq.task_complete_many(%L)', r)), '22023', r)
FROM unnest(ARRAY['{}', '[1]', '[{"id": "x"}]', '[{"id": "x", "token": "x", "colour": 1}]', '[{"id": "x", "token": "x", "result": 1, "error": "e"}]']) r;
SELECT is(error_of(format('SELECT taskq.task_complete_many(%L)', (SELECT jsonb_agg(jsonb_build_object('id', n, 'token', n)) FROM generate_series(1, 1001) n))), '22023', 'more than a thousand');
SELECT is(error_of('SELECT taskq.task_complete_many(NULL)'), '22023', 'null');

-- claimed and ended by one command
RESET SESSION AUTHORIZATION;
SELECT taskq.kind_define('ext_once') \g /dev/null
SELECT taskq.task_submit('ext_once') AS once \gset
SELECT taskq.task_complete(c.id, c.token) FROM taskq.task_claim('tester', kinds => '{ext_once}') c \g /dev/null
SELECT is((state_of(:'once'), (SELECT count(*) FROM taskq_internal.timer WHERE id = :'once'))::text, '(completed,0)', 'what is claimed and ended by one command leaves no timer');

SELECT * FROM finish();
