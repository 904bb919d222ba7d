-- Over HTTP another tenant learns nothing of a tenant's, and changes nothing of it, whatever it calls.
\ir include/prologue.psql
\ir include/http.psql
\ir include/strangers.psql
SELECT plan(58);
DO $$
BEGIN
	IF to_regrole('web_tenant_operator') IS NULL THEN
		CREATE ROLE web_tenant_operator;
	END IF;
	GRANT taskq_tenant_operator, web_user TO web_tenant_operator;
	GRANT web_tenant_operator TO authenticator;
	ALTER ROLE authenticator SET statement_timeout = '60s';
END $$;
SELECT alpha_begin() \g /dev/null
SELECT taskq.events_since()->>'cursor' AS cursor \gset
SET taskq.trusted_gateways = 'authenticator';
SET SESSION AUTHORIZATION authenticator;
SELECT alpha_submit() \g /dev/null
SELECT alpha_claim() \g /dev/null
RESET SESSION AUTHORIZATION;
SELECT count(*) FROM taskq.task_wait_all(ARRAY(SELECT id FROM alpha WHERE name IN ('completed', 'failed'))) \g /dev/null
SELECT set_config('strangers.cursor', :'cursor', false) \g /dev/null
DO $$
BEGIN
	WHILE jsonb_array_length(taskq.events_since(current_setting('strangers.cursor'), '10 s')->'events') < 3 LOOP
	END LOOP;
END $$;
SELECT alpha_stands() AS before \gset

-- alpha itself is told: else nothing that follows means anything
BEGIN;
SET SESSION AUTHORIZATION authenticator;
CREATE TEMPORARY TABLE own AS SELECT * FROM told('web_user', '{"sub": "alpha"}', :'cursor');
RESET SESSION AUTHORIZATION;
SELECT is(ARRAY(SELECT unnest('{audit,link,sitrep,statistics_by,task,task_active,task_attempt,task_attempts,task_bulk,task_dependencies,task_explain,task_list,task_log,task_logs,task_progress,task_recent,task_status,task_wait,task_wait_all,task_watch,workflow_status,workflow_steps,workflow_tasks,workflow_tree}'::text[])
	EXCEPT SELECT substring(command FROM 'taskq\.(\w+)') FROM own), '{}', 'alpha is told of what is its own');
SELECT isnt(alpha_stands(), :'before', '... and changes it');
ROLLBACK;
SELECT is(jsonb_array_length(r.body->'events'), 3, '... and of what has ended') FROM http('POST', '/rpc/events_since', web('alpha'), jsonb_build_object('cursor', :'cursor')) r;

-- who: a role; trusted: the gateways; claims
CREATE TABLE told_of (no int, who text, trusted text, claims text, command text, answer text);
GRANT ALL ON told_of TO PUBLIC;
INSERT INTO told_of VALUES
	(1, 'web_user', 'authenticator', '{"sub": "beta"}'), (2, 'web_user', 'authenticator', '{}'), (3, 'web_user', 'authenticator', '{"sub": "alpha "}'), (4, 'web_user', 'authenticator', '{"sub": "ALPHA", "tenant": "alpha"}'),
	(5, 'web_worker', 'authenticator', '{"sub": "beta"}'), (6, 'web_worker', 'authenticator', '{}'), (7, 'web_tenant_operator', 'authenticator', '{"sub": "beta"}'), (8, 'web_tenant_operator', 'authenticator', '{}'),
	(9, 'web_user', '', '{"sub": "beta"}'), (10, 'web_user', '', '{}'), (11, 'web_user', 'someone_else', '{"sub": "beta"}'), (12, 'web_worker', '', '{"sub": "beta"}'), (13, 'web_tenant_operator', '', '{"sub": "alpha"}'),
	(14, 'web_user', 'authenticator', '["alpha"]'), (15, 'web_anon', 'authenticator', '{"sub": "alpha"}');
SELECT format($$SET taskq.trusted_gateways = %L; SET SESSION AUTHORIZATION authenticator; INSERT INTO told_of SELECT %s, NULL, NULL, NULL, * FROM told(%L, %L, %L); RESET SESSION AUTHORIZATION;$$, trusted, no, who, claims, :'cursor') FROM told_of ORDER BY no \gexec
SELECT is((SELECT string_agg(command || ': ' || left(answer, 200), E'\n') FROM told_of d WHERE d.no = o.no AND d.who IS NULL AND d.command <> 'asked'), NULL, format('nothing is told to %s with %s%s', who, claims, CASE WHEN trusted <> 'authenticator' THEN ' through a gateway that is not believed' END)) FROM told_of o WHERE who IS NOT NULL ORDER BY no;
SELECT cmp_ok(min(answer::int), '>', 200, '... in hundreds of calls') FROM told_of WHERE command = 'asked' AND no <> 15;
SELECT is(alpha_stands(), :'before', '... and alpha has what it had');

-- in PostgREST's shape, with alpha's id
SELECT id AS a FROM alpha WHERE name = 'pending' \gset
SELECT is(r.status || ' ' || coalesce(r.body->>'code', r.body::text, ''), c.wanted, format('%s %s%s', c.method, replace(c.target, :'a', 'ID'), ' ' || replace(c.body, :'a', 'ID')))
FROM (VALUES
	('GET', '/task?id=eq.' || :'a', NULL, '200 []'), ('GET', '/task?tenant=eq.alpha', NULL, '200 []'), ('GET', '/rpc/task_status?id=' || :'a', NULL, '404 PT404'), ('POST', '/rpc/task_result', format('{"id": "%s"}', :'a'), '404 PT404'),
	('PATCH', '/task?id=eq.' || :'a', '{"priority": 9}', '404 PT404'), ('DELETE', '/task?id=eq.' || :'a', NULL, '404 PT404'),
	('POST', '/task', '{"kind": "alpha", "tenant": "alpha"}', '400 22023'), ('POST', '/task', format('{"kind": "alpha", "parent": "%s"}', :'a'), '404 PT404'), ('POST', '/task', '{"kind": "alpha", "options": {"tenant": "alpha"}}', '403 42501'),
	('POST', '/rpc/task_submit', '{"kind": "alpha", "options": {"tenant": "alpha"}}', '403 42501'), ('POST', '/rpc/set_config', '{"setting_name": "role", "new_value": "web_operator", "is_local": true}', '404 PGRST202'),
	('POST', '/rpc/task_submit_sql', '{"command": "SELECT * FROM taskq.task"}', '403 42501'), ('POST', '/rpc/tenant_delete', '{"tenant": "alpha"}', '403 42501'), ('POST', '/rpc/kind_grant', '{"name": "alpha", "role": "web_anon"}', '403 42501'),
	('POST', '/rpc/schedule_define', '{"name": "x", "kind": "alpha", "every": "1 day"}', '403 42501')) c (method, target, body, wanted),
	LATERAL http(c.method, c.target, web('beta'), c.body::jsonb, '{"x-tenant": "alpha", "request.jwt.claims": "{\"sub\": \"alpha\"}", "role": "web_operator"}') r;
SELECT is(r.status || ' ' || coalesce(r.body->>'tenant', r.body->0->>'tenant'), '200 alpha', 'alpha itself finds it there') FROM http('GET', '/rpc/task_status?id=' || :'a', web('alpha')) r;
SELECT is(r.status || ' ' || (r.body->>'code'), '403 42501', 'a token''s role that the gateway may not become') FROM http('GET', '/rpc/task_status?id=' || :'a', '{"role": "alpha_runner", "sub": "alpha"}') r;

-- a handler that does what it is told, by alpha's own role, in a task of beta
CREATE FUNCTION obeys(p jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
	command text;
	result text;
BEGIN
	FOR command IN SELECT jsonb_array_elements_text(p) LOOP
		EXECUTE command;
	END LOOP;
	EXECUTE p->>-1 INTO result;
	RETURN to_jsonb(coalesce(result, 'nothing'));
EXCEPTION WHEN OTHERS THEN
	RETURN to_jsonb(SQLSTATE);
END $$;
SELECT taskq.kind_define('obeys', 'obeys(jsonb)', run_as => 'alpha_runner'), taskq.kind_grant('obeys', 'web_user') \g /dev/null
CREATE TABLE escape (no int GENERATED ALWAYS AS IDENTITY, commands jsonb, wanted text, task uuid);
GRANT ALL ON escape TO PUBLIC;
INSERT INTO escape (commands, wanted) VALUES
	(jsonb_build_array(format('SELECT state FROM taskq.task_status(%L)', :'a')), 'PT404'),
	(jsonb_build_array($$SELECT set_config('request.jwt.claims', '{"sub": "alpha"}', true)$$, format('SELECT state FROM taskq.task_status(%L)', :'a')), 'PT404'),
	(jsonb_build_array($$SELECT set_config('request.jwt.claims', '', true)$$, $$SELECT count(*) FROM taskq.task WHERE tenant = 'alpha'$$), '0'),
	(jsonb_build_array($$SELECT set_config('request.jwt.claims', '{"sub": "alpha"}', false)$$, $$SELECT count(*) FROM taskq.task_list('{"tenant": "alpha"}')$$), '0'),
	(jsonb_build_array('RESET ROLE', 'RESET SESSION AUTHORIZATION', $$SELECT count(*) FROM taskq.task WHERE tenant = 'alpha'$$), '0'),
	(jsonb_build_array('SET ROLE web_operator'), '42501'), (jsonb_build_array('SET SESSION AUTHORIZATION authenticator'), '42501'), (jsonb_build_array($$SELECT set_config('role', 'web_operator', true)$$), '42501'),
	(jsonb_build_array($$SET LOCAL taskq.trusted_gateways = 'alpha_runner'$$), '42501'), (jsonb_build_array($$SET LOCAL taskq.tenant_claim = 'x'$$), '42501'), (jsonb_build_array($$SET LOCAL taskq.stored_claims = '*'$$), '42501'),
	(jsonb_build_array($$ALTER ROLE alpha_runner SET taskq.trusted_gateways = 'alpha_runner'$$), '42501'),
	(jsonb_build_array('SELECT count(*) FROM taskq_internal.task'), '42501'), (jsonb_build_array(format('SELECT cancelled FROM taskq.task_cancel(%L, force => true)', :'a')), 'PT404'),
	(jsonb_build_array(format('SELECT taskq.task_submit(''alpha'', parent => %L)', :'a')), 'PT404'), (jsonb_build_array($$SELECT taskq.task_submit('alpha', options => '{"tenant": "alpha"}')$$), '42501'),
	(jsonb_build_array(format('SELECT taskq.link(''x'', ''y'', %L)', :'a')), 'PT404'), (jsonb_build_array('SELECT taskq.unlink(''alphasecret object'', ''alphasecret id'')'), '0'),
	(jsonb_build_array($$SELECT set_config('request.jwt.claims', '{"sub": "alpha"}', true)$$, $$SELECT tenant FROM taskq.current_task()$$), 'beta'),
	(jsonb_build_array($$SELECT set_config('request.jwt.claims', '{"sub": "alpha"}', true)$$, $$SELECT count(*) FROM taskq.task WHERE tenant IS DISTINCT FROM 'beta'$$), '0');
UPDATE escape e SET task = (r.body #>> '{}')::uuid FROM escape x, LATERAL http('POST', '/rpc/task_submit', web('beta'), jsonb_build_object('kind', 'obeys', 'payload', x.commands)) r WHERE x.no = e.no;
SELECT is((SELECT t.result #>> '{}' FROM taskq.task_wait(task) t), wanted, 'by a handler: ' || replace(replace(commands::text, :'a', 'ID'), '\"', '"')) FROM escape ORDER BY no;
SELECT is(alpha_stands(), :'before', 'and alpha has what it had');

SELECT dblink_disconnect('http') \g /dev/null
DROP OWNED BY alpha_runner CASCADE;
DROP ROLE alpha_runner;
SELECT * FROM finish();
