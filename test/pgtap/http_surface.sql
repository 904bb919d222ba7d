-- What there is over HTTP, and how it answers.
\ir include/prologue.psql
\ir include/http.psql
SELECT plan(104);
DO $$ BEGIN IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'hs_runner') THEN CREATE ROLE hs_runner LOGIN IN ROLE taskq_user; END IF; END $$;
SELECT taskq.kind_define('hs_echo', 'echo(jsonb)', run_as => 'hs_runner'), taskq.kind_define('hs_other', 'echo(jsonb)', run_as => 'hs_runner'),
	taskq.kind_grant('hs_echo', 'web_user'), taskq.kind_grant('hs_other', 'web_user'), taskq.kind_grant('hs_echo', 'web_operator') \g /dev/null
CREATE FUNCTION hs_fails(p jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no'; END $$;
CREATE FUNCTION hs_family(p jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$ BEGIN
	PERFORM taskq.task_submit('hs_echo', p), taskq.log('submitted'), taskq.link('thing', '7');
	IF (taskq.current_task()).attempt = 1 THEN
		RAISE EXCEPTION 'once more';
	END IF;
	RETURN p;
END $$;
SELECT taskq.kind_define('hs_family', 'hs_family(jsonb)', run_as => 'hs_runner', backoff => '0'), taskq.kind_grant('hs_family', 'web_user'), taskq.kind_grant('hs_echo', 'hs_runner') \g /dev/null

-- what handlers call is not there
SELECT is(status || ' ' || (body->>'code'), '403 42501', 'handlers'' functions are for them: ' || v.call)
FROM (VALUES ('progress', '{"current": 1}'::jsonb), ('step_failed', '{"step": "a"}'), ('log', '{"message": "a"}'), ('current_task', '{}'), ('cancel_requested', '{}'),
	('fail', '{"message": "a"}'), ('retry', '{}')) v(call, args), unnest(ARRAY['web_user', 'web_operator', 'web_worker']) r(role), LATERAL http('POST', '/rpc/' || v.call, web('alice', r.role), v.args);

-- what only reads is asked for by GET
SELECT body#>>'{}' AS id FROM http('POST', '/rpc/task_submit', web('alice'), '{"kind": "hs_family", "payload": {"a": 1}}') \gset
SELECT is(body->>'state', 'completed', 'GET task_wait') FROM http('GET', '/rpc/task_wait?timeout=30s&id=' || :'id', web('alice'));
SELECT is(status || coalesce(' ' || (body->>'message'), ''), '200', 'GET ' || call) FROM (VALUES ('task_status?id='), ('task_result?id='), ('task_progress?id='), ('task_attempts?id='), ('task_logs?id='),
	('task_watch?id='), ('task_explain?id='), ('task_estimate?id='), ('task_dependencies?id=')) v(call), LATERAL http('GET', '/rpc/' || call || :'id', web('alice'));
SELECT is(status || coalesce(' ' || (body->>'message'), ''), '200', 'GET ' || call) FROM (VALUES ('task_list?n=5'), ('task_list?filter={"state":"completed"}&order_by=oldest'), ('task_node?id=' || :'id'), ('queue_estimates'),
	('statistics'), ('statistics_by?timeframe=1 hour&group_by=queue'), ('statistics_history'), ('task_counts'), ('task_summary'), ('task_recent?n=3'), ('task_metrics'), ('task_active'),
	('cluster_summary'), ('sitrep')) v(call), LATERAL http('GET', '/rpc/' || call, web('alice'));
SELECT is(status || ' ' || (body->>'code'), '405 25006', 'GET does not write: ' || call) FROM (VALUES ('task_submit?kind=hs_echo'), ('task_cancel?id=' || :'id'), ('task_delete?id=' || :'id')) v(call),
	LATERAL http('GET', '/rpc/' || call, web('alice'));
SELECT is((SELECT count(*)::int FROM pg_proc p WHERE p.pronamespace = 'taskq'::regnamespace AND p.provolatile <> 'v' AND p.prokind = 'f'
	AND p.proname ~ '(submit|claim|cancel|delete|define|drop|pause|resume|complete|fail|release|heartbeat|retry|bulk|clear|restart|stop|limit)$'), 0, 'what writes is VOLATILE');

-- arguments over HTTP: no two functions of a name can be called by names
SELECT is_empty($$SELECT p.proname FROM pg_proc p WHERE p.pronamespace = 'taskq'::regnamespace AND p.prokind = 'f' AND p.proargnames IS NOT NULL GROUP BY 1 HAVING count(*) > 1$$, 'no function is ambiguous');
SELECT is_empty($$SELECT p.oid::regprocedure FROM pg_proc p WHERE p.pronamespace = 'taskq'::regnamespace AND p.prokind = 'f' AND p.provolatile <> 'v'
	AND p.proargnames[1:p.pronargs] && '{select,order,limit,offset,and,or,not,on_conflict,columns}'$$, 'no argument is one of PostgREST''s own words');

-- media types
SELECT is(status || ' ' || (headers->0->>'Content-Type'), '200 text/plain; version=0.0.4; charset=utf-8', 'metrics as Prometheus wants them') FROM http('GET', '/rpc/metrics', web('m', 'web_operator'));
SELECT matches(body#>>'{}', '^# HELP taskq_tasks_ended_total .*\n# TYPE taskq_tasks_ended_total counter\n', '... as text') FROM http('GET', '/rpc/metrics', web('m', 'web_operator'));
SELECT matches(taskq.metrics(), '^# HELP', '... also from SQL');

-- computed relationships
SELECT body->0 AS task FROM http('GET', '/task?id=eq.' || :'id' || '&select=id,task_attempt(attempt,state),logs(message),links(object,id),children(kind,parent),dependencies(id),parent_task(id),task_kind(name)', web('op', 'web_operator')) \gset
SELECT is((:'task'::jsonb)->'task_attempt', '[{"state": "failed", "attempt": 1}, {"state": "completed", "attempt": 2}]'::jsonb, 'the attempts of a task');
SELECT is((:'task'::jsonb)->'logs', '[{"message": "submitted"}, {"message": "submitted"}]'::jsonb, 'its log');
SELECT is((:'task'::jsonb)->'links', '[{"id": "7", "object": "thing"}]'::jsonb, 'what it made');
SELECT is((:'task'::jsonb)->'children', jsonb_build_array(jsonb_build_object('kind', 'hs_echo', 'parent', :'id')), 'what it submitted');
SELECT is(((:'task'::jsonb)->'dependencies')::text || ((:'task'::jsonb)->'parent_task')::text, '[]null', 'what it waits for, and who submitted it');
SELECT is((:'task'::jsonb)->'task_kind'->>'name', 'hs_family', 'its kind');
SELECT is(body#>>'{0,parent_task,id}', :'id'::text, 'a child''s parent') FROM http('GET', '/task?parent=eq.' || :'id' || '&select=id,parent_task(id)', web('op', 'web_operator'));
SELECT body#>>'{}' AS after FROM http('POST', '/rpc/task_submit', web('alice'), jsonb_build_object('kind', 'hs_echo', 'depends_on', ARRAY[:'id'])) \gset
SELECT is(body#>>'{0,dependencies,0,id}', :'id'::text, 'what a task has waited for') FROM http('GET', '/task?id=eq.' || :'after' || '&select=id,dependencies(id,state)', web('alice'));
SELECT is(body::text, '[]', '... for its tenant') FROM http('GET', '/task?id=eq.' || :'after' || '&select=id,dependencies(id,state)', web('bob'));

-- Idempotency-Key
SELECT status AS s1, body#>>'{}' AS t1 FROM http('POST', '/rpc/task_submit', web('alice'), '{"kind": "hs_echo", "payload": {"n": 1}}', '{"idempotency-key": "k1"}') \gset
SELECT is(body#>>'{}', :'t1'::text, 'a request that is repeated submits once') FROM http('POST', '/rpc/task_submit', web('alice'), '{"kind": "hs_echo", "payload": {"n": 1}}', '{"idempotency-key": "k1"}');
SELECT is(state, 'completed', '... ') FROM taskq.task_wait(:'t1');
SELECT is(body#>>'{}', :'t1'::text, '... also when the task has ended') FROM http('POST', '/rpc/task_submit', web('alice'), '{"kind": "hs_echo", "payload": {"n": 1}}', '{"idempotency-key": "k1"}');
SELECT is(status || ' ' || (body->>'code'), '422 PT422', 'another payload with the same key is refused') FROM http('POST', '/rpc/task_submit', web('alice'), '{"kind": "hs_echo", "payload": {"n": 2}}', '{"idempotency-key": "k1"}');
SELECT isnt(body#>>'{}', :'t1'::text, 'another tenant''s key is another key') FROM http('POST', '/rpc/task_submit', web('bob'), '{"kind": "hs_echo", "payload": {"n": 2}}', '{"idempotency-key": "k1"}');
SELECT isnt(body#>>'{}', :'t1'::text, 'another key, another task') FROM http('POST', '/rpc/task_submit', web('alice'), '{"kind": "hs_echo", "payload": {"n": 1}}', '{"idempotency-key": "k2"}');
SELECT is(unique_key, 'k1', 'the key is the task''s unique_key') FROM taskq.task_status(:'t1');
SELECT status || ' ' || (headers->0->>'Location') AS l1 FROM http('POST', '/task', web('alice'), '{"kind": "hs_echo"}', '{"idempotency-key": "k3"}') \gset
SELECT is(status || ' ' || (headers->0->>'Location'), :'l1'::text, 'the same of rows of view task') FROM http('POST', '/task', web('alice'), '{"kind": "hs_echo"}', '{"idempotency-key": "k3"}');
SELECT body AS many FROM http('POST', '/rpc/task_submit_batch', web('alice'), '{"kind": "hs_echo", "payloads": [1, 2, 2]}', '{"idempotency-key": "k4"}') \gset
SELECT is(count(DISTINCT i)::int, 3, 'many in one request') FROM jsonb_array_elements_text(:'many') i;
SELECT is(body, :'many'::jsonb, '... are submitted once') FROM http('POST', '/rpc/task_submit_batch', web('alice'), '{"kind": "hs_echo", "payloads": [1, 2, 2]}', '{"idempotency-key": "k4"}');
SELECT is(status, 422, '... as they were') FROM http('POST', '/rpc/task_submit_batch', web('alice'), '{"kind": "hs_echo", "payloads": [1, 2, 3]}', '{"idempotency-key": "k4"}');
SELECT body#>>'{}' AS flow FROM http('POST', '/rpc/workflow_submit', web('alice'), '{"steps": [{"name": "a", "kind": "hs_echo"}, {"name": "b", "kind": "hs_echo", "depends_on": ["a"]}], "payload": {}}', '{"idempotency-key": "k5"}') \gset
SELECT is(body#>>'{}', :'flow'::text, 'a workflow') FROM http('POST', '/rpc/workflow_submit', web('alice'), '{"steps": [{"name": "a", "kind": "hs_echo"}, {"name": "b", "kind": "hs_echo", "depends_on": ["a"]}], "payload": {}}', '{"idempotency-key": "k5"}');
SELECT is(count(*)::int, 2, '... leaves no second one') FROM taskq.task WHERE workflow IS NOT NULL;
SELECT is(count(DISTINCT workflow)::int, 1, '... at all') FROM taskq_internal.step;
SELECT is(status, 422, 'a key of something else') FROM http('POST', '/rpc/workflow_submit', web('alice'), '{"steps": [{"name": "a", "kind": "hs_echo", "payload": {"n": 1}}]}', '{"idempotency-key": "k1"}');
SELECT body#>>'{}' AS again FROM http('POST', '/rpc/task_retry', web('alice'), jsonb_build_object('id', :'after'), '{"idempotency-key": "k6"}') \gset
SELECT is(body#>>'{}', :'again'::text, 'a retry') FROM http('POST', '/rpc/task_retry', web('alice'), jsonb_build_object('id', :'after'), '{"idempotency-key": "k6"}');
-- many retries: whose answer was lost does it again, and each task is retried once
SELECT taskq.kind_define('hs_fails', 'hs_fails(jsonb)', run_as => 'hs_runner'), taskq.kind_grant('hs_fails', 'web_user'), taskq.kind_grant('hs_fails', 'web_operator') \g /dev/null
SELECT taskq.task_submit('hs_fails', '{"n": 1}') AS f1, taskq.task_submit('hs_fails', '{"n": 2}', unique_key => 'of its own', unique_for => '1 h') AS f2, taskq.task_submit('hs_fails', '{"n": 3}') AS f3 \gset
SELECT count(taskq.task_wait(id, timeout => '30 s')) FROM unnest(ARRAY[:'f1', :'f2', :'f3']::uuid[]) id \g /dev/null
CREATE FUNCTION hs_retry(ids uuid[], key text) RETURNS jsonb LANGUAGE sql AS $$
	SELECT coalesce(jsonb_agg(row->'new_task_id'), '[]') FROM http('POST', '/rpc/task_bulk', web('op', 'web_operator'), jsonb_build_object('action', 'retry', 'ids', ids), jsonb_build_object('idempotency-key', key)) a, jsonb_array_elements(a.body) row $$;
SELECT hs_retry(ARRAY[:'f1', :'f2', :'f3']::uuid[], 'b1') AS retried \gset
SELECT count(taskq.task_wait(id::uuid, timeout => '30 s')) FROM jsonb_array_elements_text(:'retried') id \g /dev/null
SELECT is(hs_retry(ARRAY[:'f1', :'f2', :'f3']::uuid[], 'b1'), :'retried'::jsonb, 'many retries whose answer was lost are answered again');
SELECT taskq.task_delete(:'f1') \g /dev/null
SELECT is(hs_retry(ARRAY[:'f1', :'f3', :'f2']::uuid[], 'b1'), jsonb_build_array(null, (:'retried'::jsonb)->2, (:'retried'::jsonb)->1), '... each by its own task, also when one is gone');
SELECT is((SELECT count(*)::int FROM taskq.task WHERE retry_of = ANY (ARRAY[:'f1', :'f2', :'f3']::uuid[])), 3, '... and none is done twice');
SELECT isnt(hs_retry(ARRAY[:'f3']::uuid[], 'b2'), jsonb_build_array((:'retried'::jsonb)->2), 'another request is another retry');
SELECT is(hs_retry(ARRAY[(:'retried'::jsonb)->>2]::uuid[], 'b3'), hs_retry(ARRAY[(:'retried'::jsonb)->>2]::uuid[], 'b3'), 'a retry can be retried so, too');
SELECT is(status || ' ' || (body->>'code'), '422 PT422', 'not with another payload') FROM http('POST', '/rpc/task_retry', web('op', 'web_operator'), jsonb_build_object('id', :'f3', 'payload', '{"n": 4}'::jsonb), '{"idempotency-key": "b2"}');
SELECT count(taskq.task_wait(id, timeout => '30 s')) FROM taskq.task WHERE kind = 'hs_fails' \g /dev/null
SELECT taskq.task_submit('hs_fails', '{"n": 5}', tags => '{b4}') AS f5 \gset
CREATE FUNCTION hs_retry_failed() RETURNS jsonb LANGUAGE sql AS $$
	SELECT jsonb_agg(row->'new_task_id') FROM http('POST', '/rpc/task_bulk', web('op', 'web_operator'), '{"action": "retry", "filter": {"tags": "b4"}}', '{"idempotency-key": "b4"}') a, jsonb_array_elements(a.body) row $$;
SELECT state FROM taskq.task_wait(:'f5', timeout => '30 s') \g /dev/null
SELECT hs_retry_failed()->>0 AS r5 \gset
SELECT state FROM taskq.task_wait(:'r5', timeout => '30 s') \g /dev/null
SELECT is(hs_retry_failed(), jsonb_build_array(:'r5', :'r5'), 'what the request has made, and a filter finds by now, is answered with itself');
SELECT is((SELECT count(*)::int FROM taskq.task WHERE tags = '{b4}'), 2, '... and is not retried by it once more');
SELECT is(status, 400, 'a key that is too long') FROM http('POST', '/rpc/task_submit', web('alice'), '{"kind": "hs_echo"}', jsonb_build_object('idempotency-key', repeat('x', 2000)));
SELECT is(status || ' ' || (unique_key), '200 mine', 'argument unique_key goes before') FROM http('POST', '/rpc/task_submit', web('alice'), '{"kind": "hs_echo", "unique_key": "mine"}', '{"idempotency-key": "k7"}'),
	LATERAL taskq.task_status((body#>>'{}')::uuid);
-- a key of what may not be seen does not tell what that is
DO $$ BEGIN IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'hs_stranger') THEN CREATE ROLE hs_stranger LOGIN IN ROLE taskq_web; END IF; END $$;
GRANT hs_stranger TO authenticator;
SELECT taskq.kind_grant('hs_echo', 'hs_stranger') \g /dev/null
SELECT body#>>'{}' AS unseen FROM http('POST', '/rpc/task_submit', web('alice'), '{"kind": "hs_echo", "payload": {"pin": 1234}}', '{"idempotency-key": "k8"}') \gset
SELECT is(status, 404, 'a task of the same tenant and another role') FROM http('GET', '/rpc/task_status?id=' || :'unseen', web('alice', 'hs_stranger'));
SELECT is(status || ' ' || (body->>'code'), '422 PT422', '... by its key: is the payload ' || guess || '?') FROM unnest('{1233,1234}'::int[]) guess,
	http('POST', '/rpc/task_submit', web('alice', 'hs_stranger'), jsonb_build_object('kind', 'hs_echo', 'payload', jsonb_build_object('pin', guess)), '{"idempotency-key": "k8"}');
SELECT is(status || ' ' || (body->>'code'), '422 PT422', '... nor as a workflow') FROM http('POST', '/rpc/workflow_submit', web('alice', 'hs_stranger'),
	'{"steps": [{"name": "a", "kind": "hs_echo", "payload": {"pin": 1234}}]}', '{"idempotency-key": "k8"}');
SELECT set_config('request.headers', '{"idempotency-key": "k1"}', false) \g /dev/null
SELECT is(unique_key, NULL, 'in a session of SQL there is no request') FROM taskq.task_submit('hs_echo') i, LATERAL taskq.task_status(i);
RESET request.headers;

-- 429 with Retry-After
ALTER ROLE authenticator SET taskq.max_pending_per_role = 1;
SELECT dblink_disconnect('http') \g /dev/null
SELECT taskq.queue_define('hs_full'), taskq.queue_pause('hs_full') \g /dev/null
SELECT is(status, 200, 'a queue that is not full') FROM http('POST', '/rpc/task_submit', web('alice'), '{"kind": "hs_echo", "queue": "hs_full"}');
SELECT is(status || ' ' || (headers->0->>'Retry-After') || ' ' || (body->>'code') || ' ' || (body->>'message'), '429 10 PT429 too many tasks of role "hs_runner" wait to be run', 'who is refused is told when to come again')
FROM http('POST', '/rpc/task_submit', web('alice'), '{"kind": "hs_echo", "queue": "hs_full"}');
SELECT is(status || ' ' || (headers->0->>'Retry-After'), '429 10', '... also by the view') FROM http('POST', '/task', web('alice'), '{"kind": "hs_echo", "queue": "hs_full"}');
CREATE SCHEMA hs;
GRANT USAGE ON SCHEMA hs TO web_user;
CREATE FUNCTION hs.mine() RETURNS text LANGUAGE plpgsql AS $$ BEGIN RETURN taskq.task_submit('hs_echo', queue => 'hs_full'); EXCEPTION WHEN SQLSTATE 'PT429' THEN RETURN 'full'; END $$;
SELECT is(body#>>'{}', 'full', 'somebody''s own function finds the SQLSTATE') FROM http('POST', '/rpc/mine', web('alice'), '{}', schema => 'hs');
ALTER ROLE authenticator RESET taskq.max_pending_per_role;
SELECT dblink_disconnect('http'), taskq.queue_resume('hs_full') \g /dev/null

-- SQL text
SELECT is(status || ' ' || (body->>'code'), '403 PT403', 'SQL text is not taken: task_submit_sql') FROM http('POST', '/rpc/task_submit_sql', web('op', 'web_operator'), '{"command": "SELECT 1"}');
SELECT is(status || ' ' || (body->>'code'), '403 PT403', '... schedule_define with foreach') FROM http('POST', '/rpc/schedule_define', web('op', 'web_operator'), '{"name": "hs", "kind": "hs_echo", "every": "1 hour", "foreach": "SELECT 1"}');
SELECT is(status, 204, '... without') FROM http('POST', '/rpc/schedule_define', web('op', 'web_operator'), '{"name": "hs", "kind": "hs_echo", "every": "1 hour", "enabled": false}');
DO $$ BEGIN IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'hs_op') THEN CREATE ROLE hs_op LOGIN IN ROLE taskq_user, taskq_operator; END IF; END $$;
SET ROLE hs_op;
SELECT taskq.task_submit_sql('SELECT 1') AS sql \gset
RESET ROLE;
SELECT is(state, 'completed', 'from SQL it is') FROM taskq.task_wait(:'sql');
SELECT is(status || ' ' || (body->>'code'), '403 PT403', '... and not changed over HTTP: ' || (a::text)) FROM (VALUES ('{"payload": {"command": "SELECT 2"}}'::jsonb), ('{"payload_merge": {"command": "SELECT 2"}}')) v(a),
	LATERAL http('POST', '/rpc/task_retry', web('op', 'web_operator'), jsonb_build_object('id', :'sql') || a);

SELECT * FROM finish();
