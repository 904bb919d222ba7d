-- View task over HTTP: POST submits, PATCH sets the priority, DELETE cancels.
\ir include/prologue.psql
\ir include/http.psql
SELECT plan(30);

-- web_user has no session of its own: its tasks run as somebody who has
DO $$ BEGIN IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'hv_runner') THEN CREATE ROLE hv_runner LOGIN IN ROLE taskq_user; END IF; END $$;
SELECT taskq.kind_define('hv_echo', 'echo(jsonb)', run_as => 'hv_runner'), taskq.kind_define('hv_gate', 'wait_at_gate(jsonb)', run_as => 'hv_runner'),
	taskq.kind_define('hv_sure', 'echo(jsonb)', run_as => 'hv_runner', cancellable => false),
	taskq.kind_grant('hv_echo', 'web_user'), taskq.kind_grant('hv_gate', 'web_user'), taskq.kind_grant('hv_sure', 'web_user') \g /dev/null

-- POST
SELECT status, body, headers->0->>'Location' AS location FROM http('POST', '/task', web('alice'), '{"kind": "hv_echo", "payload": {"a": 1}, "tags": ["x", "y"], "priority": 3}') \gset
SELECT is(:'status'::text, '202', 'POST /task submits');
SELECT matches(:'location'::text, '^/task\?id=eq\.[0-9a-f-]{36}$', '... and says where the task is');
SELECT split_part(:'location', 'eq.', 2) AS id \gset
SELECT is(t.state || ' ' || t.result::text || ' ' || t.tags::text || ' ' || t.priority || ' ' || t.tenant, 'completed {"a": 1} {x,y} 3 alice', '... with its columns, as the tenant''s')
FROM taskq.task_wait(:'id') t;
SELECT is(body->0->>'state', 'completed', 'the Location is an address') FROM http('GET', :'location', web('alice'));
SELECT is(body::text, '[]', '... for its tenant') FROM http('GET', :'location', web('bob'));
SELECT is(status || ' ' || (body->0->>'state') || ' ' || (body->0->>'kind') || ' ' || (body->0->'payload')::text, '202 scheduled hv_echo {}', 'the row, where the client prefers it')
FROM http('POST', '/task', web('alice'), '{"kind": "hv_echo", "run_at": "infinity"}', '{"prefer": "return=representation"}');
SELECT is(status || ' ' || headers::text, '202 []', 'many at once: one Location cannot name them')
FROM http('POST', '/task', web('alice'), '[{"kind": "hv_echo"}, {"kind": "hv_echo", "priority": 1}, {"kind": "hv_echo"}]');
SELECT is(count(*)::int, 5, '... each is submitted') FROM taskq.task WHERE kind = 'hv_echo' AND submitted_by = 'web_user';
SELECT is(status || ' ' || (body->>'code'), '400 22023', 'what only taskq knows cannot be given') FROM http('POST', '/task', web('alice'), '{"kind": "hv_echo", "state": "completed"}');
SELECT is(status || ' ' || (body->>'code'), '400 22023', '... nor a tenant') FROM http('POST', '/task', web('alice'), '{"kind": "hv_echo", "tenant": "bob"}');
SELECT is(status, 403, '... also in the options') FROM http('POST', '/task', web('alice'), '{"kind": "hv_echo", "options": {"tenant": "bob"}}');
SELECT is(status, 401, 'nobody submits who is nobody') FROM http('POST', '/task', NULL, '{"kind": "hv_echo"}');
SELECT is(status, 403, '... or only works') FROM http('POST', '/task', web('w', 'web_worker'), '{"kind": "hv_echo"}');

-- PATCH
SELECT substr(headers->0->>'Location', 13) AS held FROM http('POST', '/task', web('alice'), '{"kind": "hv_echo", "run_at": "infinity"}') \gset
SELECT is(status, 204, 'PATCH sets the priority') FROM http('PATCH', '/task?id=eq.' || :'held', web('alice'), '{"priority": 7}');
SELECT is(priority, 7::int2, '... so it is') FROM taskq.task_status(:'held');
SELECT is(status || ' ' || (body->>'message'), '405 view taskq.task cannot be changed in column "state"', '... and nothing else')
FROM http('PATCH', '/task?id=eq.' || :'held', web('alice'), '{"state": "completed"}');
SELECT is(status, 404, '... of a task that there is') FROM http('PATCH', '/task?id=eq.00000000-0000-0000-0000-000000000000', web('alice'), '{"priority": 7}');
SELECT is(status, 404, '... for the caller') FROM http('PATCH', '/task?id=eq.' || :'held', web('bob'), '{"priority": 7}');
SELECT is(status || ' ' || (body->>'code'), '409 PT409', '... and that waits') FROM http('PATCH', '/task?id=eq.' || :'id', web('alice'), '{"priority": 7}');
SELECT is(status || ' ' || (body->>'hint' LIKE '%task_bulk%'), '400 true', 'a filter that finds two changes none') FROM http('PATCH', '/task?kind=eq.hv_echo&state=eq.scheduled', web('alice'), '{"priority": 9}');
SELECT is(count(*)::int, 0, '... none at all') FROM taskq.task WHERE priority = 9;

-- DELETE
SELECT is(status, 400, 'DELETE of two cancels neither') FROM http('DELETE', '/task?state=eq.scheduled', web('alice'));
SELECT matches(status::text, '^4', '... nor does one without a filter') FROM http('DELETE', '/task', web('alice'));
SELECT is(count(*)::int, 0, '... nothing at all') FROM taskq.task WHERE state = 'cancelled';
SELECT is(status, 204, 'DELETE cancels') FROM http('DELETE', '/task?id=eq.' || :'held', web('alice'));
SELECT is(state, 'cancelled', '... so it is') FROM taskq.task_status(:'held');
SELECT is(status, 204, '... again') FROM http('DELETE', '/task?id=eq.' || :'held', web('alice'));
SELECT is(status, 409, 'what has completed is not cancelled') FROM http('DELETE', '/task?id=eq.' || :'id', web('alice'));
SELECT headers->0->>'Location' AS location FROM http('POST', '/task', web('alice'), '{"kind": "hv_gate", "payload": {"gate": "never"}}') \gset
CALL wait_state(substr(:'location', 13)::uuid, 'running');
SELECT is(status, 202, 'what runs is told to stop') FROM http('DELETE', :'location', web('alice'));
CALL wait_state(substr(:'location', 13)::uuid, 'cancelled');

-- views that are to look at
SELECT is(status, 403, 'other views are to look at') FROM http('DELETE', '/kind?name=eq.hv_echo', web('alice'));

SELECT * FROM finish();
