-- Tenants: who a gateway says that it acts for has to do with its own tasks only.
\ir include/prologue.psql
SELECT plan(39);

CREATE ROLE tenant_gate LOGIN NOINHERIT;
CREATE ROLE tenant_web NOLOGIN;
CREATE ROLE tenant_app LOGIN;
CREATE ROLE tenant_op NOLOGIN;
CREATE ROLE tenant_plain LOGIN;
GRANT tenant_web, tenant_op TO tenant_gate;
GRANT taskq_user TO tenant_web, tenant_app, tenant_plain;
GRANT taskq_operator TO tenant_op;
ALTER SYSTEM SET taskq.trusted_gateways = 'tenant_gate, no_such_role';
CALL reload();

-- tells what it knows of whom it works for, and submits a child
CREATE FUNCTION tenant_work(p jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
	child uuid;
BEGIN
	IF p ? 'child' THEN
		child := taskq.task_submit('tenant', p->'child');
	END IF;
	RETURN jsonb_build_object('setting', current_setting('request.jwt.claims', true), 'tenant', (SELECT tenant FROM taskq.current_task()),
		'claims', (SELECT claims FROM taskq.current_task()), 'child', child, 'pid', pg_backend_pid());
END $$;
SELECT taskq.kind_define('tenant', 'tenant_work(jsonb)', run_as => 'tenant_app'), taskq.kind_grant('tenant', 'tenant_web'), taskq.kind_grant('tenant', 'tenant_plain') \g /dev/null
SELECT taskq.kind_grant('tenant', 'tenant_app') \g /dev/null
SELECT taskq.queue_define('tenant_held'), taskq.queue_pause('tenant_held') \g /dev/null

\ir include/request.psql
\set a '''{"sub": "a", "role": "tenant_web"}'''
\set b '''{"sub": "b", "role": "tenant_web"}'''
\set none ''''''
SELECT is(current_setting('taskq.trusted_gateways'), 'tenant_gate, no_such_role', 'the gateway is trusted');

SET SESSION AUTHORIZATION tenant_gate;
SELECT request('tenant_web', :a, $$SELECT taskq.task_submit('tenant', '{"child": {}}')$$) AS a1 \gset
SELECT request('tenant_web', :a, $$SELECT taskq.task_submit('tenant', queue => 'tenant_held')$$) AS a2 \gset
SELECT request('tenant_web', :b, $$SELECT taskq.task_submit('tenant')$$) AS b1 \gset
SELECT request('tenant_web', :none, $$SELECT taskq.task_submit('tenant')$$) AS n1 \gset
SELECT request('tenant_web', :a, format($$SELECT state FROM taskq.task_wait(%L)$$, :'a1')) AS a_waits,
	request('tenant_web', :a, format($$SELECT taskq.task_result(%L)$$, :'a1')) AS a_result,
	request('tenant_web', :a, format($$SELECT state FROM taskq.task_status(%L)$$, :'a2')) AS a_status,
	request('tenant_web', :a, $$SELECT string_agg(DISTINCT tenant, ',') FROM taskq.task WHERE kind = 'tenant'$$) AS a_list,
	request('tenant_web', :a, $$SELECT count(*) FROM taskq.task WHERE kind = 'tenant'$$) AS a_count,
	request('tenant_web', :a, format($$SELECT count(*) FROM taskq.task_attempts(%L)$$, :'a1')) AS a_attempts,
	request('tenant_web', :a, format($$SELECT count(*) FROM taskq.task_attempt WHERE task_id = %L$$, :'a1')) AS a_attempt \gset
RESET SESSION AUTHORIZATION;
SELECT is(:'a_waits'::text, 'completed', 'a tenant waits for its task');
SELECT is((:'a_result'::jsonb)->>'tenant', 'a', 'the handler knows the tenant');
SELECT is((:'a_result'::jsonb)->'claims', :a::jsonb, '... all of its claims');
SELECT is(((:'a_result'::jsonb)->>'setting')::jsonb, :a::jsonb, '... also where a gateway puts them');
SELECT is(:'a_status'::text, 'pending', 'it sees its own');
SELECT is(:'a_list'::text || ' ' || :'a_count', 'a 2', '... and nothing else (the child was submitted by the role that the task runs as)');
SELECT is(:'a_attempts'::text || ' ' || :'a_attempt', '1 1', '... so with attempts');
SELECT is(t.tenant, 'a', 'a child is of the same tenant') FROM taskq.task t WHERE t.id = ((:'a_result'::jsonb)->>'child')::uuid;
SELECT is(t.parent, :'a1', '... and knows its parent') FROM taskq.task t WHERE t.id = ((:'a_result'::jsonb)->>'child')::uuid;
SELECT is((SELECT t.result->>'setting' FROM taskq.task_wait(((:'a_result'::jsonb)->>'child')::uuid) t)::jsonb, :a::jsonb, '... with the same claims');
SELECT is((SELECT t.result->'claims' FROM taskq.task_wait(:'n1') t), '{}', 'without claims there are none');
SELECT is((SELECT t.result->>'setting' FROM taskq.task_status(:'n1') t), '{}', '... nor those of a task before in the same worker');

-- another tenant's task is not there
CREATE TABLE attacks (no int GENERATED ALWAYS AS IDENTITY, command text);
INSERT INTO attacks (command) VALUES ('SELECT state FROM taskq.task_status(%L)'), ('SELECT state FROM taskq.task_wait(%L, ''1 s'')'), ('SELECT taskq.task_result(%L)'),
	('SELECT taskq.task_progress(%L)'), ('SELECT message FROM taskq.task_cancel(%L)'), ('SELECT message FROM taskq.task_cancel(%L, force => true)'),
	('SELECT taskq.task_retry(%L)'), ('SELECT taskq.task_delete(%L)'), ('SELECT count(*) FROM taskq.task_attempts(%L)'),
	('SELECT count(*) FROM taskq.task_wait_all(ARRAY[%L]::uuid[], ''1 s'')'), ('SELECT count(*) FROM taskq.task_wait_any(ARRAY[%L]::uuid[], ''1 s'')'),
	('SELECT taskq.task_submit(''tenant'', parent => %L)');
GRANT SELECT ON attacks TO PUBLIC;
CREATE TABLE outcome (no int, who text, result text);
GRANT ALL ON outcome TO PUBLIC;
SELECT set_config('tenant.a1', :'a1', false), set_config('tenant.a2', :'a2', false) \g /dev/null
SET SESSION AUTHORIZATION tenant_gate;
SELECT request('tenant_web', :b, format($$SELECT count(*) FROM taskq.task WHERE id IN (%L, %L)$$, :'a1', :'a2')) AS b_sees,
	request('tenant_web', :b, format($$SELECT count(*) FROM taskq.task_attempt WHERE task_id = %L$$, :'a1')) AS b_attempt,
	request('tenant_web', :none, format($$SELECT count(*) FROM taskq.task WHERE tenant IS NOT NULL$$)) AS none_sees,
	request('tenant_web', :none, format($$SELECT count(*) FROM taskq.task WHERE id = %L$$, :'n1')) AS none_own,
	request('tenant_web', :a, format($$SELECT count(*) FROM taskq.task WHERE id = %L$$, :'n1')) AS a_none,
	request('tenant_web', :a, format($$SELECT state FROM taskq.task_status(%L)$$, :'n1')) AS a_none_status,
	request('tenant_op', :b, format($$SELECT count(*) FROM taskq.task WHERE id IN (%L, %L)$$, :'a1', :'a2')) AS op_sees,
	request('tenant_web', 'not json', $$SELECT count(*) FROM taskq.task$$) AS malformed,
	request('tenant_web', '{"sub": {"x": 1}}', $$SELECT taskq.task_submit('tenant')$$) AS object,
	request('tenant_web', '{"sub": 17}', $$SELECT taskq.task_submit('tenant', queue => 'tenant_held')$$) AS number,
	request('tenant_web', '["sub"]', $$SELECT count(*) FROM taskq.task WHERE tenant IS NOT NULL$$) AS list,
	request('tenant_web', :a, $$SELECT taskq.task_submit_sql('SELECT 1')$$) AS sql_text \gset
INSERT INTO outcome SELECT no, 'b', request('tenant_web', :b, format(command, CASE WHEN command ~ 'cancel' THEN current_setting('tenant.a2') ELSE current_setting('tenant.a1') END)) FROM attacks;
RESET SESSION AUTHORIZATION;
SELECT is(o.result, 'PT404', 'another tenant''s task does not exist: ' || a.command) FROM outcome o JOIN attacks a USING (no) ORDER BY no;
SELECT is(concat_ws(' ', :'b_sees', :'b_attempt'), '0 0', '... nor in the views');
SELECT is(concat_ws(' ', :'none_sees', :'none_own'), '0 1', 'who is no tenant sees what is no tenant''s');
SELECT is(concat_ws(' ', :'a_none', :'a_none_status'), '0 PT404', '... which tenants don''t');
SELECT is(:'op_sees'::text, '2', 'an operator sees all');
SELECT is(:'malformed'::text, '22P02', 'claims that are no JSON are an error');
SELECT is(:'object'::text, '22023', '... and a tenant that is no name');
SELECT is(t.tenant, '17', 'a number is one') FROM taskq.task t WHERE t.id = :'number';
SELECT is(:'list'::text, '0', 'claims that are no object name nobody');
SELECT is(:'sql_text'::text, '42501', 'SQL text is not for a web role');

-- anybody can set the setting
SET SESSION AUTHORIZATION tenant_plain;
SELECT request('tenant_plain', :a, $$SELECT taskq.task_submit('tenant')$$) AS forged,
	request('tenant_plain', :a, format($$SELECT count(*) FROM taskq.task WHERE id = %L$$, :'a1')) AS forged_sees,
	request('tenant_plain', :a, format($$SELECT state FROM taskq.task_status(%L)$$, :'a1')) AS forged_status \gset
RESET SESSION AUTHORIZATION;
SELECT is((t.tenant, t.result->'claims')::text, '(,null)', 'claims that somebody else sets are not believed') FROM taskq.task_wait(:'forged') t;
SELECT is(concat_ws(' ', :'forged_sees', :'forged_status'), '0 PT404', '... and open nothing');
SET SESSION AUTHORIZATION tenant_app;
SELECT request('tenant_app', :b, format($$SELECT count(*) FROM taskq.task WHERE id = %L$$, :'a1')) AS app_sees,
	error_of($$SET taskq.trusted_gateways = 'tenant_app'$$) AS set_gateway, error_of($$SET taskq.tenant_claim = 'role'$$) AS set_claim \gset
RESET SESSION AUTHORIZATION;
SELECT is(:'app_sees'::text, '0', '... but they close what is another''s');
SELECT is(concat_ws(' ', :'set_gateway', :'set_claim'), '42501 42501', 'whom to trust is not for users to say');

-- another claim
ALTER SYSTEM SET taskq.tenant_claim = 'org';
CALL reload();
SET SESSION AUTHORIZATION tenant_gate;
SELECT request('tenant_web', '{"sub": "a", "org": "b"}', format($$SELECT count(*) FROM taskq.task WHERE id = %L$$, :'b1')) AS org_sees,
	request('tenant_web', '{"sub": "a", "org": "b"}', format($$SELECT count(*) FROM taskq.task WHERE id = %L$$, :'a1')) AS org_sees_a \gset
RESET SESSION AUTHORIZATION;
SELECT is(concat_ws(' ', :'org_sees', :'org_sees_a'), '1 0', 'another claim can name the tenant');

ALTER SYSTEM RESET taskq.tenant_claim;
ALTER SYSTEM RESET taskq.trusted_gateways;
CALL reload();
DROP OWNED BY tenant_gate, tenant_web, tenant_app, tenant_op, tenant_plain CASCADE;
DROP ROLE tenant_gate, tenant_web, tenant_app, tenant_op, tenant_plain;
SELECT * FROM finish();
