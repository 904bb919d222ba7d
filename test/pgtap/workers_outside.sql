-- View worker: who works, in the server and outside of it, and who may see that.
\ir include/prologue.psql
SELECT plan(48);

CREATE ROLE crew_owner LOGIN;
CREATE ROLE crew_a LOGIN;
CREATE ROLE crew_b LOGIN;
CREATE ROLE crew_user LOGIN;
CREATE ROLE crew_stranger LOGIN;
CREATE ROLE crew_web NOLOGIN;
CREATE ROLE crew_gate LOGIN NOINHERIT;
GRANT taskq_developer, taskq_user TO crew_owner;
GRANT taskq_worker TO crew_a, crew_b;
GRANT taskq_user TO crew_user, crew_stranger;
GRANT taskq_user, taskq_worker TO crew_web;
GRANT crew_web TO crew_gate;
SET SESSION AUTHORIZATION crew_owner;
SELECT taskq.kind_define('crew_video', queue => 'crew_video', max_attempts => 5, backoff => '10 ms'), taskq.kind_grant('crew_video', 'crew_a', 'work'), taskq.kind_grant('crew_video', 'crew_web', 'work') \g /dev/null
RESET SESSION AUTHORIZATION;
SELECT taskq.kind_define('crew_other', queue => 'crew_other'), taskq.kind_grant('crew_other', 'crew_a', 'work'), taskq.kind_grant('crew_other', 'crew_b', 'work') \g /dev/null
SELECT taskq.kind_define('crew_gate', 'wait_at_gate(jsonb)'), taskq.kind_define('crew_echo', 'echo(jsonb)') \g /dev/null
SELECT taskq.kind_define('crew_else', 'echo(jsonb)', run_as => 'crew_owner') \g /dev/null

-- ---- in the server
SELECT taskq.task_submit('crew_gate', '{"gate": "crew"}') AS id \gset
CALL wait_state(:'id', 'running');
SELECT w.name AS worker FROM taskq.worker w WHERE w.task_id = :'id' \gset
SELECT is((w.type, w.state, w.running, w.kind)::text, '(internal,busy,1,crew_gate)', 'a worker of the server that runs a task') FROM taskq.worker w WHERE w.name = :'worker';
SELECT ok('crew_gate' = ANY (w.kinds) AND NOT 'crew_video' = ANY (w.kinds), '... has the kinds that it may run') FROM taskq.worker w WHERE w.name = :'worker';
SELECT ok(NOT 'crew_else' = ANY (w.kinds), '... not those that run as somebody else') FROM taskq.worker w WHERE w.name = :'worker';
SELECT is(w.queues, NULL, '... of all queues') FROM taskq.worker w WHERE w.name = :'worker';
SELECT is((w.limits->>'max_concurrent_tasks', w.limits->>'work_mem', w.limits->>'default_timeout', w.limits->>'idle_timeout')::text, '(1,4096kB,0,1min)', '... its limits') FROM taskq.worker w WHERE w.name = :'worker';
SELECT ok(w.memory > 0 AND w.peak_memory >= w.memory AND w.cpu IS NOT NULL AND w.cpu_percent IS NOT NULL, '... what its process uses') FROM taskq.worker w WHERE w.name = :'worker';
INSERT INTO gate VALUES ('crew');
SELECT state FROM taskq.task_wait(:'id') \g /dev/null
SELECT array_agg(taskq.task_submit('crew_echo')) AS ids FROM generate_series(1, 30) \gset
SELECT bool_and(ready) AS done FROM taskq.task_wait_all(:'ids') \g /dev/null
SELECT ok(sum(w.completed) >= 31 AND bool_and(w.success_rate IS NOT NULL) AND bool_and(w.average_run >= '0'), 'what they have done: number, mean time, rate') FROM taskq.worker w WHERE w.type = 'internal' AND w.completed > 0;

-- ---- outside
CREATE TABLE crew_claims (name text, id uuid, token uuid);
GRANT ALL ON crew_claims TO PUBLIC;
CREATE FUNCTION crew_claim(name text, n int, kinds text[] DEFAULT NULL, queues text[] DEFAULT NULL, lease interval DEFAULT '1 min', wait interval DEFAULT '0') RETURNS bigint LANGUAGE sql AS $$
	WITH c AS (INSERT INTO crew_claims SELECT $1, c.id, c.token FROM taskq.task_claim($1, queues, kinds, n, lease, wait) c RETURNING 1)
	SELECT count(*) FROM c $$;
CREATE FUNCTION crew_row(name text) RETURNS text LANGUAGE sql AS $$
	SELECT format('%s %s %s %s/%s', w.role, w.state, w.running, w.completed, w.failed) FROM taskq.worker w WHERE w.name = $1 $$;
SELECT count(taskq.task_submit('crew_video')) FROM generate_series(1, 5) \g /dev/null
SELECT is((SELECT running FROM taskq.queue WHERE name = 'crew_video'), 0::bigint, 'nobody works on a queue');
SELECT is((SELECT count(*) FROM taskq.worker WHERE type = 'external'), 0::bigint, '... and nobody is there');
SET SESSION AUTHORIZATION crew_a;
SELECT crew_claim('node-7', 3, '{crew_video}', '{crew_video,spare}') AS n \gset
SELECT is(:n, 3, 'a worker outside claims three tasks');
SELECT is(crew_row('node-7'), 'crew_a busy 3 0/0', '... and is there');
SELECT is((w.kinds, w.queues, w.limits)::text, $$({crew_video},"{crew_video,spare}","{""offline_after"": ""00:01:00"", ""max_concurrent_tasks"": 3}")$$, '... with what it asked for') FROM taskq.worker w WHERE w.name = 'node-7';
SELECT ok(w.last_heartbeat <= clock_timestamp() AND w.task_started_at <= clock_timestamp() AND w.kind = 'crew_video', '... when it was heard of, and what it has') FROM taskq.worker w WHERE w.name = 'node-7';
SELECT is((SELECT running FROM taskq.queue WHERE name = 'crew_video'), 3::bigint, 'the queue counts what it has');
SELECT w.last_heartbeat AS before FROM taskq.worker w WHERE w.name = 'node-7' \gset
SELECT count(taskq.task_heartbeat(id, token)::text) FROM (SELECT * FROM crew_claims LIMIT 1) c \g /dev/null
SELECT ok(w.last_heartbeat > :'before', 'a heartbeat is heard') FROM taskq.worker w WHERE w.name = 'node-7';
SELECT taskq.task_complete(id, token) FROM crew_claims LIMIT 1 \g /dev/null
DELETE FROM crew_claims WHERE ctid = (SELECT min(ctid) FROM crew_claims);
SELECT is(crew_row('node-7'), 'crew_a busy 2 1/0', 'what it completes is counted');
BEGIN;
SELECT taskq.task_complete(id, token) FROM crew_claims LIMIT 1 \g /dev/null
ROLLBACK;
BEGIN;
SAVEPOINT s;
SELECT taskq.task_fail(id, token) FROM crew_claims LIMIT 1 \g /dev/null
ROLLBACK TO s;
COMMIT;
SELECT is(crew_row('node-7'), 'crew_a busy 2 1/0', '... not what is rolled back');
SELECT taskq.task_fail(id, token, retry => false) FROM crew_claims LIMIT 1 \g /dev/null
DELETE FROM crew_claims WHERE ctid = (SELECT min(ctid) FROM crew_claims);
SELECT is(crew_row('node-7'), 'crew_a busy 1 1/1', '... what fails too');
SELECT is((w.success_rate, w.average_run > '0')::text, '(50.0,t)', '... with rate and mean time') FROM taskq.worker w WHERE w.name = 'node-7';
SELECT taskq.task_release(id, token) FROM crew_claims \g /dev/null
SELECT is(crew_row('node-7'), 'crew_a idle 0 1/1', 'what it gives back it has no more');
SELECT is((SELECT running FROM taskq.queue WHERE name = 'crew_video'), 0::bigint, '... nor has the queue');

-- a claim that waits, and one that let its lease end
DELETE FROM crew_claims;
SELECT crew_claim('node-8', 1, '{crew_video}', lease => '2 s') AS n \gset
SELECT is((:n, crew_row('node-8'))::text, '(1,"crew_a busy 1 0/0")', 'a worker with a short lease');
RESET SESSION AUTHORIZATION;
CREATE PROCEDURE crew_wait(name text, wanted text) LANGUAGE plpgsql AS $$
BEGIN
	FOR i IN 1..3000 LOOP
		EXIT WHEN crew_row(name) = wanted;
		COMMIT;
		PERFORM pg_sleep(0.01);
	END LOOP;
END $$;
CALL crew_wait('node-8', 'crew_a offline 0 0/1');
SELECT is(crew_row('node-8'), 'crew_a offline 0 0/1', '... that is silent is offline, and has failed');

-- who sees what
SELECT is((SELECT array_agg(name ORDER BY name) FROM taskq.worker WHERE type = 'external'), '{node-7,node-8}', 'a superuser sees all workers');
SET SESSION AUTHORIZATION crew_b;
SELECT crew_claim('node-9', 5) AS n \gset
SELECT is((SELECT array_agg(name ORDER BY name) FROM taskq.worker), '{node-9}', 'a member of its role sees a worker');
SELECT is((w.kinds, w.queues, w.state)::text, '({crew_other},,idle)', '... which asked for all that it may work on') FROM taskq.worker w;
SELECT is((w.limits->>'max_concurrent_tasks', w.limits->>'offline_after')::text, '(5,00:01:00)', '... and how much') FROM taskq.worker w;
SET SESSION AUTHORIZATION crew_owner;
SELECT is((SELECT array_agg(name ORDER BY name) FROM taskq.worker), '{node-7,node-8}', 'the owner of a kind sees who works on it');
SELECT is((w.kinds, w.completed, w.queues, w.limits, w.busy, w.pid)::text, '({crew_video},,,,,)', '... but not what it does for others') FROM taskq.worker w WHERE w.name = 'node-7';
SET SESSION AUTHORIZATION crew_user;
SELECT is((SELECT count(*) FROM taskq.worker), 0::bigint, 'who has nothing to do with them sees none');
SELECT is((SELECT running FROM taskq.queue WHERE name = 'crew_video'), 0::bigint, '... and counts none') FROM taskq.queue WHERE name = 'crew_video';
SELECT is((taskq.cluster_summary()->>'total_workers')::int, 0, '... in no summary');
-- somebody else's worker of that name
SET SESSION AUTHORIZATION crew_a;
DELETE FROM crew_claims;
SELECT crew_claim('node-7', 2, '{crew_video}') AS n \gset
SET SESSION AUTHORIZATION crew_b;
SELECT crew_claim('node-7', 1) AS nothing \gset
SELECT is(crew_row('node-7'), 'crew_b idle 0 0/0', 'a name that others use too tells nothing of theirs');
RESET SESSION AUTHORIZATION;
SELECT is((SELECT string_agg(format('%s %s', role, running), ', ' ORDER BY role) FROM taskq.worker WHERE name = 'node-7'), 'crew_a 2, crew_b 0', '... nor is theirs counted for it');

-- the summary
SELECT taskq.cluster_summary() AS summary \gset
SELECT is((:'summary'::jsonb->>'external_workers')::int, 4, 'the summary counts workers');
SELECT is((:'summary'::jsonb->>'offline_workers')::int, 1, '... those that are offline');
SELECT is((:'summary'::jsonb->>'total_capacity')::int, current_setting('taskq.max_workers')::int + 2 + 1 + 5, '... what they can do at a time');
SELECT ok((:'summary'::jsonb->>'current_utilization')::int >= 2 AND (:'summary'::jsonb->>'utilization_percentage')::numeric > 0, '... and what they do');

-- an aborted claim leaves nothing but that it was heard of
BEGIN;
SELECT crew_claim('node-10', 1, '{crew_video}') AS n \gset
ROLLBACK;
SELECT is((:n, crew_row('node-10'))::text, format('(1,"%s idle 0 0/0")', current_user), 'a claim that is rolled back');

-- many names: nobody's drive out others'
SET SESSION AUTHORIZATION crew_b;
SELECT sum(crew_claim('many-' || g, 1)) AS none FROM generate_series(1, 600) g \gset
SELECT ok((SELECT count(*) FROM taskq.worker) BETWEEN 128 AND 384, 'a role with many names has some of them');
SELECT ok('many-600' IN (SELECT name FROM taskq.worker), '... the newest');
RESET SESSION AUTHORIZATION;
SELECT is(crew_row('node-8'), 'crew_a offline 0 0/1', '... and others'' are still there');

-- a list that is long
SELECT array_agg('crew_long_name_' || g) AS names FROM generate_series(1, 100) g \gset
SELECT crew_claim('node-11', 1, NULL, :'names') AS n \gset
SELECT ok(cardinality(w.queues) > 20 AND w.queues[cardinality(w.queues)] = '...', 'a long list is cut, and says so') FROM taskq.worker w WHERE w.name = 'node-11';
SELECT crew_claim('node-11', 1, NULL, '{}') AS n \gset
SELECT is(w.queues, '{}', 'none is not all') FROM taskq.worker w WHERE w.name = 'node-11';

-- who acts for a tenant
ALTER SYSTEM SET taskq.trusted_gateways = 'crew_gate';
CALL reload();
CALL crew_wait('node-8', crew_row('node-8'));
SET SESSION AUTHORIZATION crew_gate;
SET ROLE crew_web;
SELECT set_config('request.jwt.claims', '{"sub": "one"}', false) \g /dev/null
SELECT taskq.task_submit('crew_video') AS id \gset
SELECT crew_claim('web-1', 1, '{crew_video}') AS n \gset
SELECT is((:n, (SELECT array_agg(name) FROM taskq.worker))::text, '(1,{web-1})', 'a tenant sees who runs its task');
SELECT is((w.state, w.task_id, w.completed, w.kinds, w.last_heartbeat)::text, format('(busy,%s,,,)', :'id'), '... and that it does') FROM taskq.worker w;
SELECT set_config('request.jwt.claims', '{"sub": "two"}', false) \g /dev/null
SELECT is((SELECT count(*) FROM taskq.worker), 0::bigint, '... another tenant does not');
RESET ROLE;
RESET SESSION AUTHORIZATION;
ALTER SYSTEM RESET taskq.trusted_gateways;
CALL reload();

-- a role that is gone
CREATE ROLE crew_gone LOGIN;
GRANT taskq_worker TO crew_gone;
SET SESSION AUTHORIZATION crew_gone;
SELECT count(*) FROM taskq.task_claim('gone') \g /dev/null
RESET SESSION AUTHORIZATION;
DROP ROLE crew_gone;
SELECT is((w.role, w.state, w.kinds)::text, '("",idle,{})', 'a worker whose role was dropped has none') FROM taskq.worker w WHERE w.name = 'gone';

SELECT * FROM finish();
