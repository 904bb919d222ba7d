-- Settings and objects that users can make do not reach taskq's own work.
\ir include/prologue.psql
SELECT plan(18);
SELECT current_database() AS db \gset

CREATE ROLE hostile_user LOGIN;
GRANT taskq_user TO hostile_user;
CREATE SCHEMA hostile AUTHORIZATION hostile_user;

-- functions and operators that shadow the built-in ones, and tell when somebody calls them
CREATE TABLE hostile.called (who text, what text);
GRANT ALL ON hostile.called TO PUBLIC;
CREATE FUNCTION hostile.uuid_eq(uuid, uuid) RETURNS bool LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO hostile.called VALUES (current_user, '=');
	RETURN true;
END $$;
CREATE OPERATOR hostile.= (LEFTARG = uuid, RIGHTARG = uuid, FUNCTION = hostile.uuid_eq);
CREATE FUNCTION hostile.text_eq(text, text) RETURNS bool LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO hostile.called VALUES (current_user, 'text =');
	RETURN true;
END $$;
CREATE OPERATOR hostile.= (LEFTARG = text, RIGHTARG = text, FUNCTION = hostile.text_eq);
CREATE FUNCTION hostile.clock_timestamp() RETURNS timestamptz LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO hostile.called VALUES (current_user, 'clock_timestamp');
	RETURN NULL;
END $$;
CREATE FUNCTION hostile.to_jsonb(anyelement) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO hostile.called VALUES (current_user, 'to_jsonb');
	RETURN NULL;
END $$;

CREATE FUNCTION hostile_work(p jsonb) RETURNS int LANGUAGE sql AS $$ SELECT 42 $$;
CREATE FUNCTION hostile_fail(p jsonb) RETURNS int LANGUAGE sql AS $$ SELECT 1 / 0 $$;
SELECT taskq.kind_define('hostile', 'hostile_work(jsonb)') \g /dev/null
SELECT taskq.kind_define('hostile_fail', 'public.hostile_fail(jsonb)', max_attempts => 2, backoff => '10 ms') \g /dev/null
SELECT taskq.kind_define('hostile_gate', 'public.wait_at_gate(jsonb)') \g /dev/null

DO $$
DECLARE
	s text;
BEGIN
	FOREACH s IN ARRAY ARRAY['search_path = hostile, pg_catalog', 'default_transaction_isolation = serializable',
		'default_transaction_read_only = on', 'lock_timeout = 1', 'row_security = off', 'DateStyle = German', 'IntervalStyle = sql_standard',
		'enable_indexscan = off', 'transform_null_equals = on', 'extra_float_digits = -15', 'jit_above_cost = 0', 'timezone = ''Asia/Kathmandu''']
	LOOP
		EXECUTE format('ALTER DATABASE %I SET %s', current_database(), s);
	END LOOP;
END $$;

-- a session of after that
INSERT INTO gate VALUES ('open');
SET SESSION AUTHORIZATION hostile_user;
SET search_path = hostile, pg_catalog, public;
SELECT taskq.task_submit('hostile', tags => '{plain}') AS plain \gset
SELECT taskq.task_submit('hostile_fail') AS fail \gset
SELECT taskq.task_submit('hostile_gate', '{"gate": "open"}') AS gate \gset
SELECT taskq.task_submit('hostile', delay => '100 ms') AS later \gset
SELECT t.state AS plain_state, t.result AS plain_result FROM taskq.task_wait(:'plain') t \gset
SELECT t.state AS fail_state, t.attempt AS fail_attempt, t.error->>'sqlstate' AS fail_sqlstate FROM taskq.task_wait(:'fail') t \gset
SELECT t.state AS gate_state FROM taskq.task_wait(:'gate') t \gset
SELECT t.state AS later_state FROM taskq.task_wait(:'later') t \gset
SELECT pg_catalog.count(*) AS seen FROM taskq.task WHERE tags OPERATOR(pg_catalog.=) '{plain}' \gset
RESET search_path;
RESET SESSION AUTHORIZATION;
SET search_path = public;

SELECT is(:'plain_state'::text, 'completed', 'a task runs under hostile settings of its database');
SELECT is(:'plain_result'::text, '42', '... and has its own result');
SELECT is(:'fail_state'::text || ' ' || :'fail_attempt' || ' ' || :'fail_sqlstate', 'failed 2 22012', 'a failure is recorded, and retried');
SELECT is(:'later_state'::text, 'completed', 'a scheduled one runs');
SELECT ok(:'gate_state' IN ('completed', 'failed'), 'one that calls other functions ends');
SELECT is(:'seen'::text, '1', 'the views work');
SELECT is_empty('SELECT * FROM hostile.called WHERE who <> ''hostile_user''', 'nobody else called a function of the user''s');
SELECT is_empty('SELECT * FROM hostile.called WHERE what <> ''text =''', 'nor did taskq, in the user''s session');

-- tables of taskq's are nobody's to touch
SELECT is(has_schema_privilege('hostile_user', 'taskq_internal', 'USAGE'), false, 'a user has no use of taskq_internal');
SELECT is(has_schema_privilege('hostile_user', 'taskq', 'CREATE'), false, '... cannot create in taskq');
SELECT is(count(*)::int, 0, '... has no right to any table')
FROM pg_class c WHERE c.relnamespace = 'taskq_internal'::regnamespace AND c.relkind IN ('r', 'p', 'v')
	AND has_table_privilege('hostile_user', c.oid, 'SELECT, INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER');
SELECT is(count(*)::int, 0, '... nor to any sequence')
FROM pg_class c WHERE c.relnamespace = 'taskq_internal'::regnamespace
	AND CASE WHEN c.relkind = 'S' THEN has_sequence_privilege('hostile_user', c.oid, 'USAGE, SELECT, UPDATE') END;
SELECT is(string_agg(c.relname || ' ' || p, ', ' ORDER BY c.relname, p), 'task DELETE, task INSERT, task UPDATE', '... can change no view, but cancels, submits and reprioritizes in view task')
FROM pg_class c, unnest('{INSERT,UPDATE,DELETE,TRUNCATE,REFERENCES,TRIGGER}'::text[]) p WHERE c.relnamespace = 'taskq'::regnamespace AND c.relkind = 'v'
	AND has_table_privilege('hostile_user', c.oid, p);

-- settings that are not for users
SET SESSION AUTHORIZATION hostile_user;
SELECT error_of('SET taskq.max_workers = 100') AS set_workers, error_of('SET taskq.databases = ''''') AS set_databases,
	error_of('SET taskq.notify = ''off''') AS set_notify, error_of('SET taskq.no_such_setting = 1') AS set_unknown,
	error_of('SET taskq.max_payload = ''1GB''') AS set_payload \gset
RESET SESSION AUTHORIZATION;
SELECT isnt(:'set_workers'::text, 'none', 'a user cannot set taskq.max_workers');
SELECT isnt(:'set_databases'::text, 'none', '... nor taskq.databases');
SELECT isnt(:'set_notify'::text, 'none', '... nor taskq.notify');
SELECT isnt(:'set_unknown'::text, 'none', '... nor invent a setting of that prefix');
SELECT isnt(:'set_payload'::text, 'none', '... nor raise the cap on payloads');

ALTER DATABASE :"db" RESET ALL;
DROP OWNED BY hostile_user CASCADE;
DROP ROLE hostile_user;
SELECT * FROM finish();
