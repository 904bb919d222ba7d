-- Claims take away also where they are not believed; a gateway without claims acts for nobody.
\ir include/prologue.psql
SELECT plan(40);

CREATE ROLE narrow_gate LOGIN NOINHERIT;
CREATE ROLE narrow_other LOGIN NOINHERIT;	-- a gateway that nobody named
CREATE ROLE narrow_web NOLOGIN;
CREATE ROLE narrow_worker NOLOGIN;
CREATE ROLE narrow_all NOLOGIN;
CREATE ROLE narrow_op NOLOGIN;
CREATE ROLE narrow_app LOGIN;
GRANT narrow_web, narrow_worker, narrow_all, narrow_op TO narrow_gate, narrow_other;
GRANT taskq_user TO narrow_web, narrow_app;
GRANT taskq_worker TO narrow_worker, narrow_all;
GRANT taskq_operator TO narrow_op;
SELECT is(taskq.sitrep()->>'why_tenants', NULL, 'nobody acts for anybody: nothing to say');
SELECT taskq.kind_define('narrow_echo', 'echo(jsonb)') \g /dev/null
SELECT taskq.task_submit('narrow_echo') AS id \gset
SELECT state FROM taskq.task_wait(:'id') \g /dev/null
SELECT taskq.task_delete(:'id'), taskq.kind_drop('narrow_echo') \g /dev/null
ANALYZE taskq_internal.lane;
SELECT is(taskq.sitrep()->>'why_tenants', NULL, '... nor when there are tasks of nobody');

-- looks a task up by its id, from inside of a task
CREATE FUNCTION narrow_work(p jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	RETURN jsonb_build_object('sees', (SELECT count(*) FROM taskq.task WHERE id = (p->>'look')::uuid),
		'tenants', (SELECT array_agg(DISTINCT tenant) FROM taskq.task), 'status', error_of(format('SELECT taskq.task_status(%L)', p->>'look')));
END $$;
SELECT taskq.kind_define('narrow', 'narrow_work(jsonb)', run_as => 'narrow_app'), taskq.kind_grant('narrow', 'narrow_web') \g /dev/null
SELECT taskq.kind_define('narrow_ext', run_as => 'narrow_app'), taskq.kind_grant('narrow_ext', 'narrow_web'), taskq.kind_grant('narrow_ext', 'narrow_worker', 'work') \g /dev/null
SELECT taskq.kind_define('narrow_secret', 'echo(jsonb)', run_as => 'narrow_app'), taskq.kind_define('narrow_own', 'echo(jsonb)') \g /dev/null
SELECT taskq.queue_define('narrow_held'), taskq.queue_pause('narrow_held') \g /dev/null
SELECT matches(taskq.sitrep()->>'why_tenants', 'trusted_gateways is empty', 'a kind for roles that cannot log in, and no gateway: sitrep says so');
SET taskq.trusted_gateways = 'narrow_gate', 'narrow_typo';
SELECT matches(taskq.sitrep()->>'why_tenants', '''narrow_typo'', which is no role', '... and that a gateway is misspelt');
SET taskq.trusted_gateways = 'narrow_gate';
SELECT is(taskq.sitrep()->>'why_tenants', NULL, '... nothing when all is well');

\ir include/request.psql
\set a '''{"sub": "a"}'''
\set b '''{"sub": "b"}'''
\set none ''''''
\set status 'SELECT state FROM taskq.task_status(%L)'
\set count 'SELECT count(*) FROM taskq.task WHERE id = %L'

-- through the gateway: a's, b's, nobody's
SET SESSION AUTHORIZATION narrow_gate;
SELECT request('narrow_web', :a, $$SELECT taskq.task_submit('narrow_ext', queue => 'narrow_held')$$) AS a1,
	request('narrow_web', :b, $$SELECT taskq.task_submit('narrow_ext', queue => 'narrow_held')$$) AS b1,
	request('narrow_web', :none, $$SELECT taskq.task_submit('narrow_ext', queue => 'narrow_held')$$) AS n1 \gset
SELECT request('narrow_web', :none, format($$SELECT taskq.task_submit('narrow', '{"look": "%s"}')$$, :'a1')) AS nobodys,
	request('narrow_web', '{"role": "narrow_web"}', format($$SELECT taskq.task_submit('narrow', '{"look": "%s"}')$$, :'a1')) AS roles,
	request('narrow_web', '{"sub": ""}', format($$SELECT taskq.task_submit('narrow', '{"look": "%s"}')$$, :'a1')) AS empty \gset
RESET SESSION AUTHORIZATION;
SELECT is(t.result, '{"sees": 0, "status": "PT404", "tenants": [null]}', 'a task of a gateway that said nothing sees nobody''s only') FROM taskq.task_wait(:'nobodys') t;
SELECT is(t.result, '{"sees": 0, "status": "PT404", "tenants": [null]}', '... as one with claims that name no tenant') FROM taskq.task_wait(:'roles') t;
SELECT is((t.tenant, t.result)::text, '(,"{""sees"": 0, ""status"": ""PT404"", ""tenants"": [null]}")', '... or an empty one') FROM taskq.task_wait(:'empty') t;

-- the same where the claims are not believed
SET SESSION AUTHORIZATION narrow_other;
SELECT concat_ws(' ', request('narrow_web', :b, format(:'status', :'a1')), request('narrow_web', :b, format(:'count', :'a1')),
	request('narrow_web', :b, format('SELECT taskq.task_cancel(%L)', :'a1')), request('narrow_web', :b, format('SELECT taskq.task_result(%L)', :'a1')),
	request('narrow_web', :b, format('SELECT taskq.task_delete(%L)', :'a1')), request('narrow_web', '{}', format(:'status', :'a1'))) AS others,
	concat_ws(' ', request('narrow_web', :b, format(:'status', :'b1')), request('narrow_web', :b, format(:'count', :'b1')), request('narrow_web', :b, format(:'status', :'n1'))) AS own,
	request('narrow_web', :b, $$SELECT taskq.task_submit('narrow_ext', queue => 'narrow_held')$$) AS unstamped,
	request('narrow_op', :b, format(:'status', :'a1')) AS op \gset
SELECT request('narrow_web', :b, format(:'status', :'unstamped')) AS own_new, request('narrow_web', 'no json', format(:'status', :'unstamped')) AS malformed \gset
RESET SESSION AUTHORIZATION;
SELECT is(:'others'::text, 'PT404 0 PT404 PT404 PT404 PT404', 'a gateway that is not named: another tenant''s task is not there');
SELECT is(:'own'::text, 'pending 1 pending', '... what is the tenant''s own or nobody''s is');
SELECT is(t.tenant, NULL, '... but what it submits is nobody''s') FROM taskq.task_status(:'unstamped') t;
SELECT is(:'own_new'::text, 'pending', '... which it sees');
SELECT is(:'malformed'::text, '22P02', '... and claims that are no JSON open nothing');
SELECT is(:'op'::text, 'pending', 'an operator sees all');
SET SESSION AUTHORIZATION narrow_app;
SELECT concat_ws(' ', request('narrow_app', :none, format(:'count', :'a1')), request('narrow_app', :b, format(:'count', :'a1')), request('narrow_app', :a, format(:'count', :'a1'))) AS app \gset
RESET SESSION AUTHORIZATION;
SELECT is(:'app'::text, '1 0 1', 'who states no claims sees what its role may, who does sees less');

-- workers
SELECT taskq.kind_grant('narrow_ext', 'narrow_all', 'work all') \g /dev/null
SELECT is((k.workers, k.workers_for_all)::text, '({narrow_worker},{narrow_all})', 'the right to work for all tenants is shown') FROM taskq.kind k WHERE k.name = 'narrow_ext';
SELECT taskq.queue_resume('narrow_held') \g /dev/null
\set claim 'SELECT id || '' '' || token FROM taskq.task_claim(''w'', kinds => ''{narrow_ext}'')'
SET SESSION AUTHORIZATION narrow_gate;
SELECT request('narrow_worker', :a, :'claim') AS a_claim \gset
SELECT split_part(:'a_claim', ' ', 2) AS token \gset
SELECT concat_ws(' ', request('narrow_worker', :b, format('SELECT taskq.task_heartbeat(%L, %L)', :'a1', :'token')), request('narrow_worker', :b, format('SELECT taskq.task_complete(%L, %L)', :'a1', :'token')),
	request('narrow_worker', :b, format('SELECT taskq.task_fail(%L, %L)', :'a1', :'token')), request('narrow_worker', :b, format('SELECT taskq.task_release(%L, %L)', :'a1', :'token')),
	request('narrow_worker', :none, format('SELECT taskq.task_complete(%L, %L)', :'a1', :'token')), request('narrow_worker', :b, format('SELECT taskq.task_complete(%L, %L)', :'a1', :'a1'))) AS stolen,
	request('narrow_worker', :a, format('SELECT taskq.task_complete(%L, %L)', :'a1', :'token')) AS own_complete,
	request('narrow_worker', :a, format('SELECT taskq.task_complete(%L, %L, ''2'')', :'a1', :'token')) || request('narrow_worker', :a, format('SELECT taskq.task_fail(%L, %L)', :'a1', :'token')) AS twice,
	coalesce(request('narrow_worker', '{"sub": "c"}', :'claim'), 'nothing') AS c_claim,
	request('narrow_web', :a, $$SELECT taskq.task_submit('narrow_ext')$$) AS a2,
	request('narrow_web', '{"sub": "c"}', $$SELECT taskq.task_submit('narrow_ext')$$) AS c1 \gset
RESET SESSION AUTHORIZATION;
SELECT is(split_part(:'a_claim', ' ', 1), :'a1', 'a tenant''s worker claims the tenant''s task');
SELECT is(:'stolen'::text, 'PT404 PT404 PT404 PT404 PT404 PT404', '... which another tenant''s worker cannot touch, with the token');
SELECT is(:'own_complete'::text, '', '... and the first one completes');
SELECT is(:'twice'::text, 'PT409', '... once: told again it is answered, told otherwise refused');
SELECT is(:'c_claim'::text, 'nothing', '... while one of a tenant without tasks gets nothing');
CREATE TABLE claimed (tenant text, task uuid, answer text);
GRANT ALL ON claimed TO PUBLIC;
SET SESSION AUTHORIZATION narrow_gate;
DO $$
DECLARE
	got text;
BEGIN
	FOR i IN 1..10 LOOP
		got := request('narrow_all', '{"sub": "machine"}', $q$SELECT id || ' ' || token || ' ' || coalesce(tenant, 'none') FROM taskq.task_claim('w', kinds => '{narrow_ext}')$q$);
		EXIT WHEN got IS NULL;
		INSERT INTO claimed VALUES (split_part(got, ' ', 3), split_part(got, ' ', 1)::uuid,
			request('narrow_all', '{"sub": "machine"}', format('SELECT taskq.task_complete(%L, %L)', split_part(got, ' ', 1), split_part(got, ' ', 2))));
	END LOOP;
END $$;
RESET SESSION AUTHORIZATION;
SELECT is((SELECT string_agg(tenant, ' ' ORDER BY tenant) FROM claimed), 'a b c none none', 'a worker for all claims the tasks of all tenants');
SELECT is((SELECT string_agg(DISTINCT answer, ',') FROM claimed), '', '... and completes them');
SELECT is((SELECT count(*)::int FROM taskq.task WHERE kind = 'narrow_ext' AND state <> 'completed'), 0, '... all');
SET SESSION AUTHORIZATION narrow_gate;
SELECT request('narrow_all', '{"sub": "machine"}', format(:'count', :'b1')) AS all_sees, request('narrow_all', '{"sub": "machine"}', format(:'status', :'b1')) AS all_status \gset
RESET SESSION AUTHORIZATION;
SELECT is(concat_ws(' ', :'all_sees', :'all_status'), '0 PT404', '... which opens nothing else to it');
SELECT taskq.kind_revoke('narrow_ext', 'narrow_all', 'work all') \g /dev/null
SET SESSION AUTHORIZATION narrow_gate;
SELECT request('narrow_all', '{"sub": "machine"}', :'claim') AS revoked \gset
RESET SESSION AUTHORIZATION;
SELECT is(:'revoked'::text, '42501', '... until it is taken back');
SELECT is(error_of($$SELECT taskq.kind_grant('narrow_ext', 'narrow_all', 'work some')$$), '22023', 'there is no other such privilege');

-- the overviews
SELECT taskq.queue_pause('narrow_held') \g /dev/null
SET SESSION AUTHORIZATION narrow_gate;
SELECT request('narrow_web', :a, $$SELECT taskq.task_submit('narrow', queue => 'narrow_held')$$) \g /dev/null
SELECT request('narrow_web', :a, $$SELECT string_agg(concat_ws(' ', name, waiting, running), ',' ORDER BY name) FROM taskq.queue WHERE name LIKE 'narrow%'$$) AS a_queue,
	request('narrow_web', :a, $$SELECT string_agg(name, ',' ORDER BY name) FROM taskq.kind WHERE name LIKE 'narrow%'$$) AS a_kinds,
	request('narrow_web', :a, $$SELECT count(*) FROM taskq.worker$$) AS a_workers,
	request('narrow_op', :a, $$SELECT string_agg(concat_ws(' ', name, waiting > 0, running), ',' ORDER BY name) FROM taskq.queue WHERE name LIKE 'narrow%'$$) AS op_queue,
	request('narrow_op', :a, $$SELECT count(*) FROM taskq.kind WHERE name LIKE 'narrow%'$$) AS op_kinds \gset
SET SESSION AUTHORIZATION narrow_app;
SELECT request('narrow_app', :none, $$SELECT string_agg(concat_ws(' ', name, waiting > 0, running), ',' ORDER BY name) FROM taskq.queue WHERE name LIKE 'narrow%'$$) AS app_queue,
	request('narrow_app', :none, $$SELECT string_agg(name, ',' ORDER BY name) FROM taskq.kind WHERE name LIKE 'narrow%'$$) AS app_kinds,
	request('narrow_app', :none, $$SELECT bool_and(pid IS NOT NULL AND completed IS NOT NULL AND role = 'narrow_app') FROM taskq.worker$$) AS app_workers \gset
SET SESSION AUTHORIZATION narrow_other;
SELECT request('narrow_worker', :none, $$SELECT string_agg(concat_ws(' ', name, waiting, running), ',' ORDER BY name) FROM taskq.queue WHERE name LIKE 'narrow%'$$) AS worker_queue,
	request('narrow_worker', :none, $$SELECT string_agg(name, ',' ORDER BY name) FROM taskq.kind WHERE name LIKE 'narrow%'$$) AS worker_kinds \gset
RESET SESSION AUTHORIZATION;
SELECT is(:'a_queue'::text, 'narrow_held', 'a tenant sees queues without counts');
SELECT is(:'a_kinds'::text, 'narrow,narrow_ext,narrow_own', '... kinds that it may submit');
SELECT is(:'a_workers'::text, '0', '... and no worker that does not run its tasks');
SELECT is(:'op_queue'::text || ' ' || :'op_kinds', 'narrow_held t 0 4', 'an operator sees all');
SELECT is(:'app_queue'::text || ' ' || :'app_kinds', 'narrow_held t 0 narrow,narrow_ext,narrow_own,narrow_secret', 'a role sees the counts of its tasks and its kinds');
SELECT is(:'app_workers'::text, 'true', '... and its workers');
SELECT is(:'worker_queue'::text || ' ' || :'worker_kinds', 'narrow_held 0 0 narrow_ext,narrow_own', 'another one not the counts of these');

-- a tenant is required
SET taskq.require_tenant = on;
SET SESSION AUTHORIZATION narrow_gate;
\set submit 'SELECT length(taskq.task_submit(''narrow_ext'')::text)'
SELECT concat_ws(' ', request('narrow_web', :none, :'submit'), request('narrow_web', '{"role": "narrow_web"}', :'submit'), request('narrow_web', '{"sub": null}', :'submit'), request('narrow_web', '{"sub": ""}', :'submit')) AS submits,
	concat_ws(' ', request('narrow_web', :none, format(:'status', :'a1')), request('narrow_web', :none, 'SELECT taskq.task_status(gen_random_uuid())'), request('narrow_web', :none, format('SELECT taskq.task_cancel(%L)', :'a1')),
		request('narrow_web', :none, 'SELECT count(*) FROM taskq.task'), request('narrow_web', :none, 'SELECT count(*) FROM taskq.queue'), request('narrow_worker', :none, :'claim')) AS looks,
	concat_ws(' ', request('narrow_web', :a, :'submit'), request('narrow_web', :a, format(:'status', :'a1')), request('narrow_op', :none, format(:'status', :'a1'))) AS fine \gset
SET SESSION AUTHORIZATION narrow_other;
SELECT concat_ws(' ', request('narrow_web', :a, :'submit'), request('narrow_web', :a, format(:'status', :'a1')), request('narrow_web', :a, 'SELECT count(*) FROM taskq.task')) AS others \gset
SET SESSION AUTHORIZATION narrow_app;
SELECT request('narrow_app', :none, format(:'status', :'a1')) AS app \gset
RESET SESSION AUTHORIZATION;
SELECT is(:'submits'::text, 'PT403 PT403 PT403 PT403', 'where a tenant is required, who has none submits nothing');
SELECT is(:'looks'::text, 'PT403 PT403 PT403 PT403 PT403 PT403', '... sees, steers and claims nothing');
SELECT is(:'fine'::text, '36 completed completed', 'a tenant does, and an operator');
SELECT is(:'others'::text, 'PT403 PT403 PT403', 'claims that are not believed are none');
SELECT is(:'app'::text, 'completed', 'who acts for himself is not asked');
SET SESSION AUTHORIZATION narrow_app;
SELECT error_of('SET taskq.require_tenant = off') AS set_off \gset
RESET SESSION AUTHORIZATION;
SELECT is(:'set_off'::text, '42501', '... nor may he change it');

RESET taskq.require_tenant;
RESET taskq.trusted_gateways;
SELECT taskq.kind_drop(name) FROM taskq.kind WHERE name LIKE 'narrow%' \g /dev/null
DROP OWNED BY narrow_gate, narrow_other, narrow_web, narrow_worker, narrow_all, narrow_op, narrow_app CASCADE;
DROP ROLE narrow_gate, narrow_other, narrow_web, narrow_worker, narrow_all, narrow_op, narrow_app;
SELECT * FROM finish();
