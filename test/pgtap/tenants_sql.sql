-- Tenants without a gateway: who submits says whose the task is.  Tenants take
-- turns, are limited, and can be deleted.
\ir include/prologue.psql
SELECT plan(48);

CREATE TABLE tsql_ran (n serial, name text, tenant text);
GRANT ALL ON tsql_ran TO PUBLIC;
GRANT ALL ON SEQUENCE tsql_ran_n_seq TO PUBLIC;
CREATE FUNCTION tsql_work(p jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO public.tsql_ran (name, tenant) SELECT p->>'name', t.tenant FROM taskq.current_task() t;
	PERFORM pg_sleep((p->>'sleep')::float);
	IF p ? 'child' THEN
		RETURN to_jsonb(taskq.task_submit('tsql', p->'child', options => p->'options'));
	END IF;
	RETURN p;
END $$;
CREATE ROLE tsql_app LOGIN;
CREATE ROLE tsql_gate LOGIN;
CREATE ROLE tsql_op LOGIN;
GRANT taskq_user TO tsql_app, tsql_gate;
GRANT taskq_operator TO tsql_op;
SELECT count(x::text) FROM (VALUES
	(taskq.kind_define('tsql', 'tsql_work(jsonb)')), (taskq.kind_define('tsql_other', 'tsql_work(jsonb)')), (taskq.kind_define('tsql_gate', 'wait_at_gate(jsonb)')),
	(taskq.kind_define('tsql_as', 'tsql_work(jsonb)', run_as => 'tsql_app')), (taskq.kind_grant('tsql_as', 'tsql_gate')),
	(taskq.kind_define('tsql_ext', NULL)), (taskq.queue_define('tsql')), (taskq.queue_pause('tsql'))) v(x) \g /dev/null
SET taskq.trusted_gateways = 'tsql_gate';

-- naming a tenant
SET SESSION AUTHORIZATION tsql_app;
SELECT taskq.task_submit('tsql', '{"name": "a"}', options => '{"tenant": "acme"}') AS id \gset
SELECT is((t.state, t.tenant)::text, '(completed,acme)', 'a submit names the tenant') FROM taskq.task_wait(:'id') t;
SELECT is(tenant, 'acme', '... which the handler sees') FROM tsql_ran;
SELECT taskq.task_submit('tsql', '{"child": {}}', options => '{"tenant": "acme"}') AS id \gset
SELECT is(c.tenant, 'acme', 'a child is the same tenant''s') FROM taskq.task_wait(:'id') t, taskq.task_wait((t.result#>>'{}')::uuid) c;
SELECT taskq.task_submit('tsql', '{"child": {}, "options": {"tenant": "other"}}', options => '{"tenant": "acme"}') AS id \gset
SELECT is(c.tenant, 'other', '... unless its submit names another') FROM taskq.task_wait(:'id') t, taskq.task_wait((t.result#>>'{}')::uuid) c;
SELECT is(c.tenant, 'acme', 'a retry is the same tenant''s') FROM taskq.task_status(taskq.task_retry(:'id', delay => '1 h')) c;
SELECT is(c.tenant, 'acme', '... with another payload, too') FROM taskq.task_status(taskq.task_retry(:'id', delay => '1 h', payload => '{}')) c;
SELECT is(error_of($$SELECT taskq.task_submit('tsql', options => '{"tenant": ""}')$$), '22023', 'no empty tenant');
SELECT is(error_of($$SELECT taskq.task_submit('tsql', options => '{"tenant": 1}')$$), '22023', 'no number');
SELECT is(error_of($$SELECT taskq.task_submit('tsql', options => jsonb_build_object('tenant', repeat('x', 1025)))$$), '22023', 'none that is long');

-- the tenant is the one that a gateway's claims tell
SELECT taskq.task_submit('tsql_as', '{"name": "seen"}', options => '{"tenant": "acme"}') AS id \gset
RESET SESSION AUTHORIZATION;
GRANT tsql_app TO tsql_gate;
SET SESSION AUTHORIZATION tsql_gate;
SET request.jwt.claims = '{"sub": "acme"}';
SELECT is(count(*), 1::bigint, 'a gateway''s user of that tenant sees the task') FROM taskq.task WHERE id = :'id';
SELECT is(error_of($$SELECT taskq.task_submit('tsql_as', options => '{"tenant": "acme"}')$$), '42501', '... but names no tenant, not even its own');
SELECT matches(hint_of($$SELECT taskq.task_submit('tsql_as', options => '{"tenant": "acme"}')$$), 'claims', '... as the hint says');
SELECT taskq.task_submit('tsql_as', '{"child": {}, "options": {"tenant": "b"}}') AS g \gset
SELECT matches(t.error->>'message', 'permission denied to name', 'nor do its tasks') FROM taskq.task_wait(:'g') t;
SET request.jwt.claims = '{"sub": "b"}';
SELECT is_empty(format('SELECT FROM taskq.task WHERE id = %L', :'id'), 'another tenant does not see it');
RESET request.jwt.claims;
SELECT is(error_of($$SELECT taskq.task_submit('tsql_as', options => '{"tenant": "acme"}')$$), '42501', 'nor a gateway without claims');
RESET SESSION AUTHORIZATION;
SET SESSION AUTHORIZATION tsql_app;
SET request.jwt.claims = '{"sub": "acme"}';
SELECT is(error_of($$SELECT taskq.task_submit('tsql', options => '{"tenant": "acme"}')$$), '42501', 'who states claims is limited to a tenant and names none');
RESET request.jwt.claims;
RESET SESSION AUTHORIZATION;

-- unique keys are a tenant's own
SELECT isnt(taskq.task_submit('tsql', unique_key => 'k', delay => '1 h', options => '{"tenant": "acme"}'), taskq.task_submit('tsql', unique_key => 'k', delay => '1 h', options => '{"tenant": "b"}'), 'a key is one of its tenant');
SELECT is(taskq.task_submit('tsql', unique_key => 'k', delay => '1 h', options => '{"tenant": "b"}'), taskq.task_submit('tsql', unique_key => 'k', on_conflict => 'replace', delay => '2 h', options => '{"tenant": "b"}'), '... in which it counts');

-- tenants take turns
TRUNCATE tsql_ran;
SELECT count(*) FROM taskq.task_submit_many('tsql', array_fill('{"name": "many", "sleep": 0.004}'::jsonb, ARRAY[1000]), queue => 'tsql', options => '{"tenant": "many"}') \g /dev/null
SELECT count(*) FROM taskq.task_submit_many('tsql', array_fill('{"name": "nobody", "sleep": 0.004}'::jsonb, ARRAY[300]), queue => 'tsql') \g /dev/null
SELECT taskq.task_submit('tsql', '{"name": "one"}', queue => 'tsql', options => '{"tenant": "one"}') AS one,
	taskq.task_submit('tsql_other', '{"name": "two"}', queue => 'tsql', options => '{"tenant": "two"}') AS two,
	taskq.task_submit('tsql', '{"name": "none"}', queue => 'tsql') AS none \gset
SELECT taskq.queue_resume('tsql') \g /dev/null
SELECT taskq.task_wait(:'one'), taskq.task_wait(:'two') \g /dev/null
SELECT cmp_ok(count(*), '<', 200::bigint, 'a tenant''s thousand tasks do not make another''s wait') FROM tsql_ran WHERE n < (SELECT max(n) FROM tsql_ran WHERE name IN ('one', 'two'));
SELECT taskq.task_wait(:'none') \g /dev/null
SELECT cmp_ok(count(*), '<', 700::bigint, 'those without tenant are one among them') FROM tsql_ran WHERE name = 'many' AND n < (SELECT n FROM tsql_ran WHERE name = 'none');
SELECT is((SELECT array_agg(n ORDER BY n) FROM tsql_ran WHERE name = 'nobody' AND n < (SELECT n FROM tsql_ran WHERE name = 'none')) IS NOT NULL, true, '... in their order');
SELECT count(*) FROM taskq.task_wait_all(ARRAY(SELECT id FROM taskq.task WHERE queue = 'tsql' AND NOT ready)) \g /dev/null
SELECT is(count(*), 1303::bigint, 'each ran once') FROM tsql_ran;

-- external workers
SELECT count(*) FROM taskq.task_submit_many('tsql_ext', array_fill('{}'::jsonb, ARRAY[20]), options => '{"tenant": "many"}') \g /dev/null
SELECT taskq.task_submit('tsql_ext', options => '{"tenant": "one"}') \g /dev/null
CREATE TABLE tsql_claimed (n serial, tenant text);
INSERT INTO tsql_claimed (tenant) SELECT tenant FROM taskq.task_claim('w', kinds => ARRAY['tsql_ext']);
INSERT INTO tsql_claimed (tenant) SELECT tenant FROM taskq.task_claim('w', kinds => ARRAY['tsql_ext']);
INSERT INTO tsql_claimed (tenant) SELECT tenant FROM taskq.task_claim('w', kinds => ARRAY['tsql_ext']);
SELECT set_eq('SELECT tenant FROM tsql_claimed', ARRAY['many', 'one'], 'external workers get each tenant''s in turn');

-- more tenants than have lanes of their own
SELECT count(taskq.task_submit('tsql_other', '{}', options => jsonb_build_object('tenant', 'tenant ' || i))) FROM generate_series(1, 1200) i \g /dev/null
SELECT is(count(*), 1200::bigint, 'tasks of a thousand tenants') FROM taskq.task_wait_all(ARRAY(SELECT id FROM taskq.task WHERE tenant LIKE 'tenant %')) t WHERE t.state = 'completed';
SELECT cmp_ok(count(*), '<', 800::bigint, '... that share lanes') FROM taskq_internal.lane WHERE kind = 'tsql_other';
SELECT is(d::text, '(0,1,0,0,0,f)', 'one of those that share is deleted') FROM taskq.tenant_delete('tenant 1111') d;
SELECT is(count(*), 1199::bigint, '... and no other') FROM taskq.task WHERE tenant LIKE 'tenant %';

-- a limit of what waits
SET taskq.max_pending_per_tenant = 10;
SELECT taskq.queue_pause('tsql') \g /dev/null
SET SESSION AUTHORIZATION tsql_app;
SELECT lives_ok($$SELECT taskq.task_submit_many('tsql', array_fill('{}'::jsonb, ARRAY[10]), queue => 'tsql', options => '{"tenant": "full"}')$$, 'as many as taskq.max_pending_per_tenant wait');
SELECT is(error_of($$SELECT taskq.task_submit('tsql', queue => 'tsql', options => '{"tenant": "full"}')$$), 'PT429', '... and no more');
SELECT is(error_of($$SELECT taskq.task_submit_many('tsql', array_fill('{}'::jsonb, ARRAY[11]), queue => 'tsql', options => '{"tenant": "full2"}')$$), 'PT429', '... nor in one transaction');
SELECT lives_ok($$SELECT taskq.task_submit('tsql', queue => 'tsql', options => '{"tenant": "room"}')$$, 'another tenant''s may');
SELECT lives_ok($$SELECT taskq.task_submit('tsql', queue => 'tsql')$$, '... and nobody''s');
SELECT is(error_of($$SELECT taskq.tenant_delete('full')$$), '42501', 'to delete a tenant is not for everybody');

-- deleting a tenant
SELECT taskq.task_submit('tsql', '{"sleep": 0}', options => '{"tenant": "gone"}') AS done, taskq.task_submit('tsql', delay => '1 h', unique_key => 'g', options => '{"tenant": "gone"}') AS later,
	taskq.task_submit('tsql', queue => 'tsql', options => '{"tenant": "gone"}') AS pending, taskq.task_submit('tsql_gate', '{"gate": "gone"}', priority => 3, options => '{"tenant": "gone"}') AS running \gset
SELECT taskq.task_wait(:'done') \g /dev/null
CALL wait_state(:'running', 'running');
RESET SESSION AUTHORIZATION;
SELECT taskq.schedule_define('tsql', 'tsql', every => '1 h') \g /dev/null
SET SESSION AUTHORIZATION tsql_op;
SELECT is(d::text, '(2,3,1,0,0,t)', 'deleting a tenant: what is finished, what waits, and what runs is told to stop') FROM taskq.tenant_delete('gone') d;
SELECT is(t.state, 'cancelled', '... it does') FROM taskq.task_wait(:'running') t;
SELECT is(d::text, '(0,1,0,0,0,f)', 'once more: that, too') FROM taskq.tenant_delete('gone') d;
SELECT is(d::text, '(0,0,0,0,0,f)', '... and no more') FROM taskq.tenant_delete('gone') d;
SELECT is_empty($$SELECT FROM taskq.task WHERE tenant = 'gone'$$, 'nothing is left');
SELECT is(count(*), 10::bigint, '... but of others') FROM taskq.task WHERE tenant = 'full';
SELECT is(d.deleted || ' ' || d.more, '4 true', 'a portion') FROM taskq.tenant_delete('full', 4) d;
SELECT is(d.deleted || ' ' || d.more, '6 false', '... and the rest') FROM taskq.tenant_delete('full', 100) d;
RESET SESSION AUTHORIZATION;
GRANT tsql_op TO tsql_gate;
SET SESSION AUTHORIZATION tsql_gate;
SET request.jwt.claims = '{"sub": "room"}';
SET ROLE tsql_op;
SELECT is(d.deleted, 1::bigint, 'an operator who comes through a gateway deletes one, too') FROM taskq.tenant_delete('room') d;
RESET ROLE;
SET ROLE tsql_app;
SELECT is(error_of($$SELECT taskq.tenant_delete('room')$$), '42501', '... nobody else who does');
RESET request.jwt.claims;
RESET SESSION AUTHORIZATION;
SET SESSION AUTHORIZATION tsql_op;
SELECT is(error_of($$SELECT taskq.tenant_delete(NULL)$$), '22023', 'null is no tenant');
SELECT is(error_of($$SELECT taskq.tenant_delete('full', 0)$$), '22023', 'a portion has something in it');
RESET SESSION AUTHORIZATION;
BEGIN;
SELECT cmp_ok(d.deleted, '>=', 1020::bigint, 'in the transaction that deletes the tenant') FROM taskq.tenant_delete('many') d;
ROLLBACK;
SELECT cmp_ok(count(*), '>=', 1020::bigint, '... or not at all') FROM taskq.task WHERE tenant = 'many';
SELECT isnt(taskq.task_submit('tsql', unique_key => 'g', delay => '1 h', options => '{"tenant": "gone"}')::text, :'later', 'its keys are free');

SELECT * FROM finish();
SELECT taskq.schedule_drop('tsql') \g /dev/null
SELECT count(taskq.task_cancel(id, force => true)) FROM taskq.task WHERE kind LIKE 'tsql%' AND NOT ready \g /dev/null
