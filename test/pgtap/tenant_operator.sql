-- taskq_tenant_operator: sees and steers all that is its tenant's, whatever role submitted it, and nothing else.
\ir include/prologue.psql
SELECT plan(75);

CREATE ROLE to_gate LOGIN NOINHERIT;
CREATE ROLE to_web NOLOGIN;		-- submits
CREATE ROLE to_other NOLOGIN;	-- so does this one
CREATE ROLE to_op NOLOGIN;		-- operates a tenant
CREATE ROLE to_boss NOLOGIN;	-- operates all
CREATE ROLE to_app LOGIN;
CREATE ROLE to_direct LOGIN;
GRANT to_web, to_other, to_op, to_boss TO to_gate;
GRANT taskq_user, taskq_developer TO to_web, to_other;
GRANT taskq_user TO to_app;
GRANT taskq_tenant_operator TO to_op, to_direct;
GRANT taskq_operator TO to_boss;
CREATE FUNCTION to_work(p jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	IF p ? 'fail' THEN
		PERFORM taskq.fail('for the test');
	END IF;
	RETURN p;
END $$;
SELECT taskq.queue_define('to_held'), taskq.queue_pause('to_held') \g /dev/null
SELECT taskq.kind_define('to', 'to_work(jsonb)', run_as => 'to_app'), taskq.kind_grant('to', 'to_web'), taskq.kind_grant('to', 'to_other'),
	taskq.kind_define('to_private', 'to_work(jsonb)', run_as => 'to_app') \g /dev/null

\ir include/request.psql
SET taskq.trusted_gateways = 'to_gate';
SET taskq.tenant_claim = 'tenant';
\set a '''{"sub": "ann", "tenant": "a"}'''
\set aop '''{"sub": "olga", "tenant": "a"}'''
\set b '''{"sub": "bob", "tenant": "b"}'''
\set bop '''{"sub": "boris", "tenant": "b"}'''
\set boss '''{"sub": "boss"}'''
\set submit '$$SELECT taskq.task_submit(''to'', queue => ''to_held'', tags => ''{t}'')$$'

SET SESSION AUTHORIZATION to_gate;
SELECT request('to_web', :a, :submit) AS a1, request('to_other', :a, :submit) AS a2, request('to_web', :b, :submit) AS b1, request('to_other', :b, :submit) AS b2,
	request('to_web', '{}', :submit) AS n1,
	request('to_web', :a, $$SELECT taskq.task_submit('to', '{"fail": 1}')$$) AS a3, request('to_other', :b, $$SELECT taskq.task_submit('to', '{"fail": 1}')$$) AS b3 \gset
SELECT request('to_web', :a, $$SELECT taskq.schedule_define('to_a', 'to', every => '1 day', options => '{"queue": "to_held"}')$$),
	request('to_other', :b, $$SELECT taskq.schedule_define('to_b', 'to', every => '1 day', options => '{"queue": "to_held"}')$$),
	request('to_web', :a, $$SELECT taskq.template_define('to_ta', '[{"kind": "to"}]')$$), request('to_other', :b, $$SELECT taskq.template_define('to_tb', '[{"kind": "to"}]')$$),
	request('to_web', :a, format($$SELECT taskq.link('thing', 'a', %L)$$, :'a1')), request('to_other', :b, format($$SELECT taskq.link('thing', 'b', %L)$$, :'b1')),
	request('to_other', :a, format($$SELECT taskq.task_set_priority(%L, 7, 'by ann')$$, :'a2')), request('to_other', :b, format($$SELECT taskq.task_set_priority(%L, 7, 'by bob')$$, :'b2')) \g /dev/null
RESET SESSION AUTHORIZATION;
CALL wait_state(:'a3', 'failed');
CALL wait_state(:'b3', 'failed');

-- what tasks run as sees these, and not who submitted them
SET SESSION AUTHORIZATION to_app;
SELECT is(format('%s %s %s', t.id = :'a1', t.claims, (SELECT claims FROM taskq.task WHERE id = :'a1')), 't  ', 'who it was that submitted is not for who runs them') FROM taskq.task_status(:'a1') t;
SELECT is(format('%s %s', count(*), count(claims)), '7 0', '... in a list neither') FROM taskq.task_list();
RESET SESSION AUTHORIZATION;
SELECT is((SELECT claims FROM taskq.task_status(:'a1')), '{"sub": "ann", "tenant": "a"}', 'what is kept of a token');

-- what it sees
SET SESSION AUTHORIZATION to_gate;
SELECT is(request('to_op', :aop, $$SELECT string_agg(DISTINCT tenant, ',') || count(*) FROM taskq.task$$), 'a3', 'its tenant''s tasks, of all roles');
SELECT is(request('to_op', :bop, $$SELECT string_agg(DISTINCT tenant, ',') || count(*) FROM taskq.task$$), 'b3', '... each its own');
SELECT is(request('to_op', :aop, $$SELECT count(*) FROM taskq.task_list()$$), '3', '... as a list');
SELECT is(request('to_op', :aop, $$SELECT count(*) FROM taskq.task_list('{"submitted_by": "to_other"}')$$), '1', '... by who submitted');
SELECT is(request('to_op', :aop, $$SELECT count(*) FROM taskq.task_list('{"tenant": "b"}')$$), '0', '... not another tenant''s');
SELECT is(request('to_op', :aop, format('SELECT state FROM taskq.task_status(%L)', :'a2')), 'pending', 'one of them');
SELECT is(request('to_op', :aop, format(c, :'a2')), 'ann of a', '... and who it was that submitted it: ' || c) FROM (VALUES ('SELECT (claims->>''sub'') || '' of '' || (claims->>''tenant'') FROM taskq.task_status(%L)'),
	('SELECT (claims->>''sub'') || '' of '' || (claims->>''tenant'') FROM taskq.task WHERE id = %L'), ('SELECT (claims->>''sub'') || '' of '' || (claims->>''tenant'') FROM taskq.task_list(jsonb_build_object(''id'', %L))')) v (c);
SELECT is(request('to_boss', :boss, format('SELECT claims->>''sub'' FROM taskq.task_status(%L)', :'b1')), 'bob', '... to an operator');
SELECT is(request('to_op', :aop, format(c, :'b1')), 'PT404', 'another tenant''s is not there: ' || c) FROM (VALUES ('SELECT state FROM taskq.task_status(%L)'), ('SELECT taskq.task_result(%L)'), ('SELECT taskq.task_explain(%L)'),
	('SELECT taskq.task_cancel(%L)'), ('SELECT taskq.task_set_priority(%L, 3)'), ('SELECT taskq.task_run_now(%L)'), ('SELECT count(*) FROM taskq.task_logs(%L)'), ('SELECT count(*) FROM taskq.task_attempts(%L)'),
	('SELECT taskq.link(''x'', ''y'', %L)')) c (c);
SELECT is(request('to_op', :aop, format('SELECT state FROM taskq.task_status(%L)', :'n1')), 'PT404', '... nor is nobody''s');
SELECT is(request('to_op', :aop, $$SELECT count(*) FROM taskq.task_attempt$$), '1', 'attempts');
SELECT is(request('to_op', :aop, $$SELECT string_agg(id, ',') FROM taskq.link$$), 'a', 'links');
SELECT is(request('to_op', :aop, $$SELECT string_agg(name, ',') FROM taskq.schedule$$), 'to_a', 'schedules');
SELECT is(request('to_op', :aop, $$SELECT string_agg(name, ',') FROM taskq.template$$), 'to_ta', 'templates');
SELECT is(request('to_op', :aop, $$SELECT string_agg(DISTINCT tenant, ',') || count(*) FROM taskq.audit$$), 'a3', 'the audit');
SELECT is(request('to_op', :aop, $$SELECT concat_ws(' ', role, claims->>'sub') FROM taskq.audit WHERE reason = 'by ann'$$), 'to_other ann', '... with who it was');
SELECT is(request('to_op', :aop, $$SELECT sum(n) FROM taskq.task_counts() WHERE kind = 'to' AND state = 'pending'$$), '2', 'counts');
SELECT is(request('to_op', :aop, $$SELECT count(*) FROM taskq.kind WHERE name = 'to_private'$$), '0', 'kinds that nobody gave it are not shown');
SELECT is(request('to_op', :aop, $$SELECT count(*) FROM taskq.queue WHERE waiting IS NOT NULL$$), '0', '... nor what waits in queues');

-- what it steers
SELECT is(request('to_op', :aop, format('SELECT new_priority FROM taskq.task_set_priority(%L, 9)', :'a2')), '9', 'a priority of another role''s task');
SELECT is(request('to_op', :aop, format('SELECT taskq.task_retry(%L, delay => ''1 hour'')', :'a3')) ~ '-', true, 'a retry');
SELECT is(request('to_op', :aop, $$SELECT count(*) FROM taskq.task_bulk('cancel', filter => '{"submitted_by": ["to_web", "to_other"], "state": "pending"}')$$), '2', 'many at once');
SELECT is(request('to_op', :aop, format('SELECT state FROM taskq.task_status(%L)', :'a2')), 'cancelled', '... all of its tenant''s');
SELECT is(request('to_web', :b, format('SELECT state FROM taskq.task_status(%L)', :'b1')), 'pending', '... and no other''s');
SELECT is(request('to_op', :aop, format('SELECT taskq.task_delete(%L)', :'a2')), '', 'it deletes');
SELECT is(request('to_op', :aop, $$SELECT cleared FROM taskq.queue_clear('to_held')$$), '0', 'a queue is cleared of its tenant''s');
SELECT is(request('to_other', :b, format('SELECT state FROM taskq.task_status(%L)', :'b2')), 'pending', '... alone');
SELECT is(request('to_op', :aop, $$SELECT taskq.schedule_disable('to_a')$$), '', 'a schedule of its tenant is disabled');
SELECT is(request('to_op', :aop, $$SELECT taskq.schedule_disable('to_b')$$), 'PT404', '... not another''s');
SELECT is(request('to_op', :aop, $$SELECT taskq.schedule_define('to_a', 'to', every => '2 days')$$), '42501', '... nor are others'' replaced: they submit as their owner');
SELECT is(request('to_op', :aop, $$SELECT taskq.schedule_drop('to_a')$$), '', '... it is dropped');
SELECT is(request('to_op', :aop, $$SELECT taskq.template_define('to_ta', '[{"kind": "to"}, {"kind": "to"}]')$$), '', 'a template of its tenant is replaced');
SELECT is(request('to_op', :aop, $$SELECT owner || ' ' || tenant FROM taskq.template WHERE name = 'to_ta'$$), 'to_op a', '... and is its own then');
SELECT is(request('to_op', :aop, $$SELECT taskq.template_define('to_tb', '[{"kind": "to"}]')$$), '42501', '... not another''s');
SELECT is(request('to_op', :aop, $$SELECT taskq.template_drop('to_tb')$$), 'PT404', '... which is not there');
SELECT is(request('to_op', :aop, $$SELECT taskq.task_submit('to')$$), '42501', 'it submits only what it was given');
SELECT is(request('to_op', :aop, format('SELECT taskq.task_retry(%L, payload => ''{}'')', :'a3')), '42501', '... also with another payload');

-- what it may not
SELECT is(request('to_op', :aop, c), '42501', 'not for it: ' || c) FROM (VALUES ('SELECT taskq.queue_pause(''default'')'), ('SELECT taskq.pause()'), ('SELECT taskq.kind_pause(''to'')'), ('SELECT taskq.kind_define(''x'')'),
	('SELECT taskq.queue_define(''x'')'), ('SELECT taskq.kind_limit(''to'', 1)'), ('SELECT taskq.queue_limit(''default'', 1)'), ('SELECT taskq.tenant_delete(''a'')'), ('SELECT taskq.task_submit_sql(''SELECT 1'')'), ('SELECT taskq.worker_stop(''x'')'), ('SELECT taskq.task_recount()')) c (c);

-- without a tenant it is nothing
SELECT is(request('to_op', '{"sub": "olga"}', c), 'PT403', 'without a tenant: ' || c) FROM (VALUES ('SELECT count(*) FROM taskq.task'), ('SELECT count(*) FROM taskq.audit'), (format('SELECT state FROM taskq.task_status(%L)', :'a1')), ('SELECT taskq.task_cancel(''' || :'a1' || ''')'),
	('SELECT count(*) FROM taskq.task_list()'), ('SELECT taskq.schedule_disable(''to_b'')')) c (c);
SELECT is(request('to_op', '', 'SELECT count(*) FROM taskq.task'), 'PT403', '... also without claims');
RESET SESSION AUTHORIZATION;
SET SESSION AUTHORIZATION to_direct;
SELECT is(request('to_direct', c, 'SELECT count(*) FROM taskq.task'), 'PT403', 'nor is one whose claims are not believed: ' || c) FROM (VALUES (''), (:aop)) c (c);
RESET SESSION AUTHORIZATION;

-- an operator of all has done something to its tenant
SET SESSION AUTHORIZATION to_gate;
SELECT request('to_boss', :boss, format('SELECT taskq.task_delete(%L)', :'a1')) \g /dev/null
SELECT is(request('to_op', :aop, $$SELECT concat_ws(' ', action, role, claims) FROM taskq.audit WHERE action = 'delete' AND task_id = $$ || quote_literal(:'a1')), 'delete', 'that somebody else steered its tenant''s task it sees, not who');
RESET SESSION AUTHORIZATION;

-- a role that several tenants share has schedules of each
ALTER ROLE to_web LOGIN;
SET SESSION AUTHORIZATION to_gate;
SELECT request('to_web', :a, $$SELECT taskq.schedule_define('to_each', 'to', every => '1 day', foreach => 'SELECT jsonb_build_object(''no'', i) FROM generate_series(1, 2) i')$$) \g /dev/null
SELECT is(request('to_web', :b, $$SELECT taskq.schedule_foreach('to_each', now())$$), 'PT404', 'the query of another tenant''s schedule is not run');
SELECT is(request('to_web', :b, $$SELECT taskq.schedule_foreach('to_a', now())$$), 'PT404', '... nor is it told whether there is one');
SELECT request('to_web', :a, $$SELECT taskq.schedule_run('to_each')$$) AS each \gset
RESET SESSION AUTHORIZATION;
SELECT is(state || ' ' || (tenant), 'completed a', '... but by its own tenant''s task') FROM taskq.task_wait(:'each', '50 s');
SELECT is(string_agg(tenant || ' ' || (payload->>'no'), ', ' ORDER BY id), 'a 1, a 2', '... whose tasks are that tenant''s') FROM taskq.task WHERE parent = :'each';

DROP OWNED BY to_gate, to_web, to_other, to_op, to_boss, to_app, to_direct CASCADE;
SELECT taskq.schedule_drop(name) FROM taskq.schedule WHERE name LIKE 'to\_%' \g /dev/null
DROP ROLE to_gate, to_web, to_other, to_op, to_boss, to_app, to_direct;
SELECT * FROM finish();
