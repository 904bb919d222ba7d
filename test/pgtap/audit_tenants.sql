-- The audit where a gateway says for whom it acts: each tenant sees what was done to its own tasks.
\ir include/prologue.psql
SELECT plan(19);

CREATE ROLE audit_gate LOGIN NOINHERIT;
CREATE ROLE audit_web NOLOGIN;
CREATE ROLE audit_boss NOLOGIN;
GRANT audit_web, audit_boss TO audit_gate;
GRANT taskq_user, taskq_developer TO audit_web;
GRANT taskq_operator, taskq_user TO audit_boss;
ALTER SYSTEM SET taskq.trusted_gateways = 'audit_gate';
SET taskq.stored_claims = 'role, sub, email';
CALL reload();
CREATE ROLE audit_runner LOGIN;
GRANT taskq_user TO audit_runner;
SELECT taskq.kind_define('audit_tenant', 'echo(jsonb)', run_as => 'audit_runner'), taskq.kind_grant('audit_tenant', 'audit_web'), taskq.queue_define('audit_tenants'), taskq.queue_pause('audit_tenants') \g /dev/null

-- one request, as PostgREST makes it
CREATE FUNCTION request(who name, claims text, command text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	result text;
BEGIN
	EXECUTE format('SET LOCAL ROLE %I', who);
	PERFORM set_config('request.jwt.claims', claims, true);
	EXECUTE command INTO result;
	RETURN result;
END $$;
GRANT EXECUTE ON FUNCTION request TO PUBLIC;
\set a '''{"sub": "a", "email": "a@example.org"}'''
\set b '''{"sub": "b"}'''
\set boss '''{"sub": "boss", "role": "audit_boss"}'''
\set all '$$SELECT coalesce(string_agg(concat_ws('' '', action, coalesce(name, kind), reason, count), '', '' ORDER BY id), ''none'') FROM taskq.audit$$'

SET SESSION AUTHORIZATION audit_gate;
SELECT request('audit_web', :a, $$SELECT taskq.task_submit('audit_tenant', queue => 'audit_tenants')$$) AS a1,
	request('audit_web', :a, $$SELECT taskq.task_submit('audit_tenant', queue => 'audit_tenants')$$) AS a2,
	request('audit_web', :b, $$SELECT taskq.task_submit('audit_tenant', queue => 'audit_tenants')$$) AS b1 \gset
SELECT request('audit_web', :a, format($$SELECT taskq.task_cancel(%L, 'by a')$$, :'a1')),
	request('audit_web', :b, format($$SELECT taskq.task_cancel(%L, 'by b')$$, :'b1')) \g /dev/null
SELECT request('audit_web', :a, :all) AS a_sees, request('audit_web', :b, :all) AS b_sees, request('audit_web', '{}', :all) AS none_sees,
	request('audit_web', :a, $$SELECT concat_ws(' ', role, session_role, tenant, claims->>'email') FROM taskq.audit$$) AS a_who \gset
RESET SESSION AUTHORIZATION;
SELECT is(:'a_sees'::text, 'cancel audit_tenant by a 1', 'a tenant sees what it did');
SELECT is(:'b_sees'::text, 'cancel audit_tenant by b 1', '... each its own');
SELECT is(:'none_sees'::text, 'none', 'who is no tenant sees nothing of it');
SELECT is(:'a_who'::text, 'audit_web audit_gate a a@example.org', 'through which gateway, and who the gateway said that it was');

-- by an operator
SET SESSION AUTHORIZATION audit_gate;
SELECT request('audit_boss', :boss, format($$SELECT taskq.task_cancel(%L, 'by the boss')$$, :'a2')),
	request('audit_boss', :boss, $$SELECT taskq.queue_pause('default', 'for the night')$$), request('audit_boss', :boss, $$SELECT taskq.queue_resume('default')$$) \g /dev/null
SELECT request('audit_web', :a, :all) AS a_sees, request('audit_web', :b, :all) AS b_sees,
	request('audit_web', :a, $$SELECT concat_ws(' ', role, session_role, claims, tenant) FROM taskq.audit WHERE reason = 'by the boss'$$) AS a_who,
	request('audit_boss', :boss, $$SELECT count(*) FROM taskq.audit WHERE reason LIKE 'by %' OR reason = 'for the night'$$) AS boss_sees \gset
RESET SESSION AUTHORIZATION;
SELECT is(:'a_sees'::text, 'cancel audit_tenant by a 1, cancel audit_tenant by the boss 1', 'whose task it is sees that it was cancelled');
SELECT is(:'a_who'::text, 'a', '... but not by whom');
SELECT is(:'b_sees'::text, 'cancel audit_tenant by b 1', 'nobody else does, nor what was done to the whole');
SELECT is(:'boss_sees'::text, '4', 'an operator sees all of it');

-- definitions are the tenant's that makes them
SET SESSION AUTHORIZATION audit_gate;
SELECT request('audit_web', :a, $$SELECT taskq.template_define('audit_tenant_template', '[{"kind": "audit_tenant"}]')$$),
	request('audit_web', :b, $$SELECT taskq.kind_define('audit_tenant_kind', 'echo(jsonb)')$$) \g /dev/null
SELECT request('audit_web', :a, $$SELECT string_agg(name, ' ') FROM taskq.audit WHERE action = 'define'$$) AS a_sees,
	request('audit_web', :b, $$SELECT string_agg(name, ' ') FROM taskq.audit WHERE action = 'define'$$) AS b_sees \gset
RESET SESSION AUTHORIZATION;
SELECT is(:'a_sees'::text, 'audit_tenant_template', 'a template is a tenant''s');
SELECT is(:'b_sees'::text, 'audit_tenant_kind', '... and what it does to kinds, too');

-- one call for tasks of two tenants
SET SESSION AUTHORIZATION audit_gate;
SELECT request('audit_web', :a, $$SELECT count(taskq.task_submit('audit_tenant', queue => 'audit_tenants')) FROM generate_series(1, 8)$$),
	request('audit_web', :b, $$SELECT count(taskq.task_submit('audit_tenant', queue => 'audit_tenants')) FROM generate_series(1, 9)$$) \g /dev/null
RESET SESSION AUTHORIZATION;
SELECT (taskq.queue_clear('audit_tenants', reason => 'cleared')).cleared AS cleared \gset
SET SESSION AUTHORIZATION audit_gate;
SELECT request('audit_web', :a, $$SELECT sum(count) FROM taskq.audit WHERE reason = 'cleared'$$) AS a_sees,
	request('audit_web', :b, $$SELECT sum(count) FROM taskq.audit WHERE reason = 'cleared'$$) AS b_sees \gset
RESET SESSION AUTHORIZATION;
SELECT is(concat_ws(' ', :'cleared', :'a_sees', :'b_sees'), '17 8 9', 'of what was done to tasks of two tenants each sees its own');

-- a tenant of which there is little finds it, and one of which there is much its newest, without reading what is others'
INSERT INTO taskq_internal.audit (id, verb, object, kind, task, count, role, submitted_by, tenant, by_role, pid, force)
SELECT (SELECT lpad(to_hex((extract(epoch FROM now()) * 1000)::int8 + i), 12, '0') || '70008' || lpad(to_hex(i), 15, '0'))::uuid, 'cancel', 'task', 'audit_tenant', gen_random_uuid(), 1, r.id, r.id,
	'much', r.id, 1, false
FROM generate_series(1, 50000) i, taskq_internal.role r WHERE r.name = 'audit_web';
VACUUM ANALYZE taskq_internal.audit;
CREATE FUNCTION audit_blocks(filter text) RETURNS int LANGUAGE plpgsql AS $$
DECLARE
	plan json;
BEGIN
	EXECUTE format('EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) SELECT * FROM taskq.audit %s ORDER BY id DESC LIMIT 20', filter) INTO plan;
	RETURN (plan->0->'Plan'->>'Shared Hit Blocks')::int + (plan->0->'Plan'->>'Shared Read Blocks')::int;
END $$;
\set page '$$SELECT audit_blocks('''')$$'
\set much '''{"sub": "much"}'''
SELECT task AS task FROM taskq_internal.audit WHERE tenant = 'much' LIMIT 1 \gset
SET SESSION AUTHORIZATION audit_gate;
SELECT request('audit_web', :a, :page), request('audit_boss', :boss, :page) \g /dev/null
SELECT request('audit_web', :a, :page) AS little, request('audit_web', :much, :page) AS much,
	request('audit_web', :much, format('SELECT audit_blocks(%L)', format('WHERE task_id = %L', :'task'))) AS of_task,
	request('audit_boss', :boss, :page) AS boss \gset
RESET SESSION AUTHORIZATION;
SELECT cmp_ok(:little, '<', 200, 'a page of a tenant of which there is little');
SELECT cmp_ok(:much, '<', 200, '... of one of which there is much');
SELECT cmp_ok(:of_task, '<', 200, '... what was done to a task of it');
SELECT cmp_ok(:boss, '<', 200, '... and of all of them');
DELETE FROM taskq_internal.audit WHERE tenant = 'much';

-- anybody can set the setting: it takes away, and is not written
CREATE ROLE audit_plain LOGIN;
GRANT taskq_user, taskq_developer TO audit_plain;
SET SESSION AUTHORIZATION audit_plain;
SELECT set_config('request.jwt.claims', :a, false) \g /dev/null
SELECT taskq.kind_define('audit_plain', 'echo(jsonb)') \g /dev/null
SELECT taskq.task_submit('audit_plain', delay => '1 day') AS p \gset
SELECT taskq.task_cancel(:'p', 'forged') \g /dev/null
SELECT is((SELECT count(*) FROM taskq.audit), 1::int8, 'claims that are not believed open nothing');
RESET request.jwt.claims;
SELECT is((SELECT array_agg(concat_ws(' ', action, object, tenant, claims) ORDER BY id) FROM taskq.audit), '{define kind,cancel task}', '... and are not written');
RESET SESSION AUTHORIZATION;

-- of a tenant that is deleted the audit stays
SELECT taskq.tenant_delete('a') \g /dev/null
SELECT is((SELECT concat_ws(' ', action, object, name, count > 0) FROM taskq.audit ORDER BY id DESC LIMIT 1), 'delete tenant a t', 'a tenant that is deleted');
SELECT cmp_ok((SELECT count(*) FROM taskq.audit WHERE tenant = 'a'), '>', 3::int8, '... what was done for it stays');
ALTER SYSTEM RESET taskq.trusted_gateways;
CALL reload();
SELECT * FROM finish();
