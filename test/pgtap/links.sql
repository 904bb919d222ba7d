-- Links: which task made which object, also when the task is forgotten.
\ir include/prologue.psql
SELECT plan(37);

CREATE FUNCTION links_work(p jsonb) RETURNS int LANGUAGE plpgsql AS $$
BEGIN
	PERFORM taskq.link(o->>0, o->>1) FROM jsonb_array_elements(p->'link') o;
	IF p ? 'fail' THEN
		PERFORM taskq.fail('why not');
	END IF;
	RETURN (SELECT sum(taskq.unlink(o->>0, o->>1)) FROM jsonb_array_elements(p->'unlink') o);
END $$;
CREATE ROLE links_app LOGIN;
CREATE ROLE links_other LOGIN;
CREATE ROLE links_worker LOGIN;
GRANT taskq_user TO links_app, links_other;
GRANT taskq_worker TO links_worker;
SELECT count(x::text) FROM (VALUES (taskq.kind_define('links', 'links_work(jsonb)')), (taskq.kind_define('links_ext')), (taskq.kind_grant('links_ext', 'links_worker', 'work'))) v(x) \g /dev/null
SET SESSION AUTHORIZATION links_app;

-- inside of a task
SELECT taskq.task_submit('links', '{"link": [["host", "1"], ["host", "2"], ["host", "1"], ["internet|a.example.com"]], "x": 1}', options => '{"tenant": "t"}') AS id \gset
SELECT is(state, 'completed', 'a task links objects') FROM taskq.task_wait(:'id');
SELECT is(string_agg(object || ' ' || coalesce(id, 'null'), ', ' ORDER BY object, id), 'host 1, host 2, internet|a.example.com null', 'which objects did it make? Each once') FROM taskq.link WHERE task_id = :'id';
SELECT is((task_id, kind, payload->>'x', tenant, submitted_by, run_as)::text, format('(%s,links,1,t,links_app,links_app)', :'id'), 'which task made an object? With its kind and input')
	FROM taskq.link WHERE object = 'host' AND id = '2';
SELECT taskq.task_submit('links', '{"link": [["host", "9"]], "fail": true}') AS failed \gset
SELECT is(state, 'failed', 'a task that fails') FROM taskq.task_wait(:'failed');
SELECT is_empty($$SELECT FROM taskq.link WHERE id = '9'$$, '... has made nothing');
SELECT taskq.task_submit('links', '{"link": [["host", "3"], ["host", "4"]], "unlink": [["host", "4"], ["host", "1"]]}') AS id2 \gset
SELECT is(result, '1', 'a task takes a link of its own away') FROM taskq.task_wait(:'id2');
SELECT is(string_agg(id, ','), '3', '... and no other') FROM taskq.link WHERE task_id = :'id2';

-- by who may steer the task
SELECT lives_ok(format('SELECT taskq.link(object => %L, id => %L)', 'internet|sub.example.com', :'id2'), 'outside of a task its id says which');
SELECT is((task_id, id)::text, format('(%s,)', :'id2'), '... and the object has no other') FROM taskq.link WHERE object = 'internet|sub.example.com';
SELECT taskq.link('host', '5', :'id2'), taskq.link('host', '5', :'id') \g /dev/null
SELECT is(count(*), 2::bigint, 'two tasks made the same object') FROM taskq.link WHERE object = 'host' AND id = '5';
SELECT is(error_of($$SELECT taskq.link('host', '6')$$), '22023', 'outside of a task one must be named');
SELECT is(error_of($$SELECT taskq.link('')$$), '22023', 'an object has a name');
SELECT is(error_of($$SELECT taskq.link(repeat('x', 1025))$$), '22023', '... that is not long');
SELECT is(error_of($$SELECT taskq.link('host', '6', '00000000-0000-7000-8000-000000000000')$$), 'PT404', 'a task that is not there');
BEGIN;
SELECT taskq.link('host', '7', :'id') \g /dev/null
ROLLBACK;
SELECT is_empty($$SELECT FROM taskq.link WHERE id = '7'$$, 'a link is part of its transaction');

-- others
RESET SESSION AUTHORIZATION;
SET SESSION AUTHORIZATION links_other;
SELECT is_empty('SELECT FROM taskq.link', 'another role sees no links');
SELECT is(error_of(format('SELECT taskq.link(%L, %L, %L)', 'host', '8', :'id')), 'PT404', '... and makes none');
SELECT is(taskq.unlink('host', '5'), 0, '... and takes none away');
RESET SESSION AUTHORIZATION;
SELECT is(count(*), 2::bigint, 'they are there') FROM taskq.link WHERE object = 'host' AND id = '5';
SET SESSION AUTHORIZATION links_app;
SET request.jwt.claims = '{"sub": "u"}';
SELECT is_empty($$SELECT FROM taskq.link WHERE tenant = 't'$$, 'another tenant does not see them');
SELECT is(taskq.unlink('host', '5'), 1, '... and takes only away what is nobody''s');
SET request.jwt.claims = '{"sub": "t"}';
SELECT is(taskq.unlink('host', '5'), 1, 'the tenant does');
RESET request.jwt.claims;

-- external workers
SELECT taskq.task_submit('links_ext', '{"in": 1}') AS ext \gset
RESET SESSION AUTHORIZATION;
SET SESSION AUTHORIZATION links_worker;
SELECT token FROM taskq.task_claim('w', kinds => ARRAY['links_ext']) \gset
SELECT lives_ok(format('SELECT taskq.link(%L, %L, %L, %L)', 'host', '10', :'ext', :'token'), 'an external worker links by its token');
SELECT lives_ok(format('SELECT taskq.link(%L, %L, token => %L)', 'x', :'ext', :'token'), '... also with the task''s id alone');
SELECT is(error_of(format('SELECT taskq.link(%L, %L, %L, %L)', 'host', '11', :'ext', :'ext')), 'PT409', '... and by no other');
SELECT is(error_of(format('SELECT taskq.link(%L, %L, %L)', 'host', '11', :'ext')), 'PT404', '... nor without it');
SELECT taskq.task_complete(:'ext', :'token') \g /dev/null
SELECT is(error_of(format('SELECT taskq.link(%L, %L, %L, %L)', 'host', '11', :'ext', :'token')), 'PT409', '... nor when the claim is over');
RESET SESSION AUTHORIZATION;
SET SESSION AUTHORIZATION links_app;
SELECT is(string_agg(object || ' ' || coalesce(id, 'null') || ' ' || payload, ', ' ORDER BY object), 'host 10 {"in": 1}, x null {"in": 1}', 'who submitted the task sees them') FROM taskq.link WHERE task_id = :'ext';

-- the task goes, the links stay
SELECT taskq.task_delete(:'ext'), taskq.task_delete(:'id') \g /dev/null
SELECT is(count(*), 2::bigint, 'a deleted task''s links stay') FROM taskq.link WHERE task_id = :'ext';
SELECT is(error_of(format('SELECT taskq.link(%L, %L)', 'host', :'ext')), 'PT404', '... no others are made');
SELECT is(taskq.unlink('x', :'ext'), 1, 'they are taken away as they were made');
SELECT is(taskq.unlink('host', '10', :'ext'), 1, '... the last one, too');
SELECT is(taskq.unlink('host', '10', :'ext'), 0, '... once');
RESET SESSION AUTHORIZATION;
SELECT is_empty(format('SELECT FROM taskq_internal.link_task WHERE task = %L', :'ext'), '... and nothing is kept of the task');
SELECT is(d.links, 3::bigint, 'a tenant''s links are deleted with it') FROM taskq.tenant_delete('t') d;
SELECT is_empty($$SELECT FROM taskq.link WHERE tenant = 't'$$, '... all');
SELECT is(error_of($$DELETE FROM taskq.link$$), 'PT405', 'the view is there to look');

SELECT * FROM finish();
DROP OWNED BY links_app, links_other, links_worker;
