-- A handler is the function that the kind was given: whoever looks it up, whatever its
-- schema is open to, and whatever else has its name.  Who runs needs EXECUTE on it.
\ir include/prologue.psql
SELECT plan(24);

CREATE FUNCTION message_of(command text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE command;
	RETURN 'none';
EXCEPTION WHEN OTHERS THEN
	RETURN sqlerrm;
END $$;
CREATE ROLE lookup_op LOGIN;
CREATE ROLE lookup_svc LOGIN;
CREATE ROLE lookup_alice LOGIN;
CREATE ROLE lookup_ext LOGIN;
GRANT taskq_user, taskq_operator, lookup_svc TO lookup_op;
GRANT taskq_user TO lookup_svc, lookup_alice;
GRANT taskq_worker TO lookup_ext;
CREATE SCHEMA private AUTHORIZATION lookup_op;
CREATE SCHEMA "Odd (schema)" AUTHORIZATION lookup_op;

SET SESSION AUTHORIZATION lookup_op;
CREATE FUNCTION private.h(p jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$ BEGIN RETURN p || jsonb_build_object('by', current_user); END $$;
CREATE FUNCTION private.in_sql(p jsonb) RETURNS jsonb LANGUAGE sql AS $$ SELECT p $$;
CREATE FUNCTION private.rows(p jsonb) RETURNS TABLE (a int, b text) LANGUAGE sql AS $$ SELECT g, 'x' FROM generate_series(1, 2) g $$;
CREATE FUNCTION private.numbers(p jsonb) RETURNS SETOF int LANGUAGE plpgsql AS $$ BEGIN RETURN NEXT 1; RETURN NEXT 2; END $$;
CREATE FUNCTION private.number() RETURNS int LANGUAGE sql AS $$ SELECT 7 $$;
CREATE FUNCTION private.nothing() RETURNS void LANGUAGE sql AS $$ SELECT $$;
CREATE FUNCTION "Odd (schema)"."f""(jsonb)"(p jsonb) RETURNS text LANGUAGE sql AS $$ SELECT 'odd' $$;
SELECT taskq.kind_define('lookup_h', 'private.h(jsonb)', run_as => 'lookup_svc'), taskq.kind_grant('lookup_h', 'lookup_alice');
SELECT taskq.kind_define('lookup_' || f, ('private.' || f || a)::regprocedure, run_as => 'lookup_svc', max_attempts => 1), taskq.kind_grant('lookup_' || f, 'lookup_alice')
FROM (VALUES ('in_sql', '(jsonb)'), ('rows', '(jsonb)'), ('numbers', '(jsonb)'), ('number', '()'), ('nothing', '()')) v(f, a);
SELECT taskq.kind_define('lookup_odd', '"Odd (schema)"."f""(jsonb)"(jsonb)', run_as => 'lookup_svc'), taskq.kind_grant('lookup_odd', 'lookup_alice');
SELECT taskq.kind_define('lookup_outside'), taskq.kind_grant('lookup_outside', 'lookup_ext', 'work');

-- nobody has looked at the kinds since they were defined; alice may not even use the schema
SET SESSION AUTHORIZATION lookup_alice;
SELECT throws_ok('SELECT private.h($${}$$)', '42501', NULL, 'alice cannot call it');
SELECT taskq.task_submit('lookup_h', '{"n": 1}') AS h \gset
SELECT is((SELECT result FROM taskq.task_wait(:'h')), '{"n": 1, "by": "lookup_svc"}', '... but submit its tasks, which run as somebody else');
SET SESSION AUTHORIZATION lookup_op;
SELECT taskq.kind_define('lookup_other', 'private.h(jsonb)', run_as => 'lookup_svc');
SET SESSION AUTHORIZATION lookup_alice;
SELECT taskq.task_submit('lookup_h', '{"n": 2}') AS h \gset
SELECT is((SELECT result FROM taskq.task_wait(:'h')), '{"n": 2, "by": "lookup_svc"}', '... also after other kinds were defined');

SELECT taskq.task_submit('lookup_in_sql', '{"s": 1}') AS id1, taskq.task_submit('lookup_rows') AS id2, taskq.task_submit('lookup_numbers') AS id3,
	taskq.task_submit('lookup_number') AS id4, taskq.task_submit('lookup_nothing') AS id5, taskq.task_submit('lookup_odd') AS id6 \gset
SELECT is((SELECT result FROM taskq.task_wait(:'id1')), '{"s": 1}', 'a function in SQL');
SELECT is((SELECT result FROM taskq.task_wait(:'id2')), '[{"a": 1, "b": "x"}, {"a": 2, "b": "x"}]', 'one of rows');
SELECT is((SELECT result FROM taskq.task_wait(:'id3')), '[1, 2]', 'one of a set');
SELECT is((SELECT result FROM taskq.task_wait(:'id4')), '7', 'one of no argument');
SELECT is((SELECT state || coalesce(result::text, '') FROM taskq.task_wait(:'id5')), 'completed', 'one of nothing');
SELECT is((SELECT result FROM taskq.task_wait(:'id6')), '"odd"', 'names that have to be quoted');

-- others that claim are not in the way of a kind that they cannot look into
SELECT taskq.task_submit('lookup_h', delay => '1 h') AS held, taskq.task_submit('lookup_outside') AS outside \gset
SET SESSION AUTHORIZATION lookup_ext;
SELECT is((SELECT id FROM taskq.task_claim('w')), :'outside'::uuid, 'external workers claim beside it');

-- functions of the same name
SET SESSION AUTHORIZATION lookup_op;
CREATE FUNCTION private.number(p jsonb DEFAULT '{}') RETURNS int LANGUAGE sql AS $$ SELECT 8 $$;
CREATE FUNCTION private.nothing(VARIADIC p jsonb[] DEFAULT '{}') RETURNS text LANGUAGE sql AS $$ SELECT 'wrong' $$;
CREATE FUNCTION private.h(p text) RETURNS jsonb LANGUAGE sql AS $$ SELECT '"wrong"'::jsonb $$;
SET SESSION AUTHORIZATION lookup_alice;
SELECT taskq.task_submit('lookup_number') AS id4, taskq.task_submit('lookup_nothing') AS id5, taskq.task_submit('lookup_h') AS id6 \gset
SELECT is((SELECT result FROM taskq.task_wait(:'id4')), '7', 'another function with a default is another one');
SELECT is((SELECT state || coalesce(result::text, '') FROM taskq.task_wait(:'id5')), 'completed', '... so is one with any number of arguments');
SELECT is((SELECT result->>'by' FROM taskq.task_wait(:'id6')), 'lookup_svc', '... or of another type');

-- replaced and dropped functions
SET SESSION AUTHORIZATION lookup_op;
CREATE OR REPLACE FUNCTION private.in_sql(p jsonb) RETURNS jsonb LANGUAGE sql AS $$ SELECT '"new"'::jsonb $$;
DROP FUNCTION private.numbers;
CREATE FUNCTION private.numbers(p jsonb) RETURNS text LANGUAGE plpgsql AS $$ BEGIN RETURN 'other type'; END $$;
RESET SESSION AUTHORIZATION;
ALTER SCHEMA private RENAME TO private_elsewhere;
SET SESSION AUTHORIZATION lookup_alice;
SELECT throws_ok($$SELECT taskq.task_submit('lookup_in_sql')$$, '42883', NULL, 'a handler that is elsewhere now is not found');
RESET SESSION AUTHORIZATION;
ALTER SCHEMA private_elsewhere RENAME TO private;
SET SESSION AUTHORIZATION lookup_alice;
SELECT taskq.task_submit('lookup_in_sql') AS id1, taskq.task_submit('lookup_numbers') AS id3 \gset
SELECT is((SELECT result FROM taskq.task_wait(:'id1')), '"new"', 'a new body counts at once');
SELECT is((SELECT result FROM taskq.task_wait(:'id3')), '"other type"', 'so does a new type');

-- EXECUTE is what counts, of whom it runs as: at the submit and when it runs
BEGIN;
SELECT taskq.task_submit('lookup_h', delay => '50 ms', max_attempts => 1) AS waiting, taskq.task_submit('lookup_in_sql', delay => '50 ms') AS waiting_sql,
	taskq.task_submit('lookup_number', delay => '50 ms') AS waiting_plan \gset
SET SESSION AUTHORIZATION lookup_op;
REVOKE EXECUTE ON FUNCTION private.h(jsonb), private.in_sql(jsonb), private.number() FROM PUBLIC;
COMMIT;
SET SESSION AUTHORIZATION lookup_alice;
SELECT throws_ok($$SELECT taskq.task_submit('lookup_h')$$, '42501', 'role "lookup_svc" may not execute handler private.h(pg_catalog.jsonb) of kind "lookup_h"', 'EXECUTE was revoked: refused');
SELECT throws_ok($$SELECT taskq.task_submit('lookup_number')$$, '42501', NULL, '... in whatever way it is called');
SELECT is((SELECT error->>'sqlstate' FROM taskq.task_wait(:'waiting')), '42501', 'what waited is refused when it runs');
SELECT is((SELECT error->>'sqlstate' FROM taskq.task_wait(:'waiting_sql')), '42501', '... SQL too');
SELECT is((SELECT error->>'sqlstate' FROM taskq.task_wait(:'waiting_plan')), '42501', '... and what has a plan');
SET SESSION AUTHORIZATION lookup_op;
GRANT EXECUTE ON FUNCTION private.h(jsonb) TO lookup_svc;
SET SESSION AUTHORIZATION lookup_alice;
SELECT taskq.task_submit('lookup_h') AS h \gset
SELECT is((SELECT state FROM taskq.task_wait(:'h')), 'completed', 'with EXECUTE for whom it runs as it runs');

-- a name of any length is not repeated in full
SELECT matches(error_message, '^kind of task "x{60,63}\.\.\." does not exist$', 'a name that is too long is clipped')
FROM message_of(format('SELECT taskq.task_submit(%L)', repeat('x', 100000))) error_message;
SELECT matches(error_message, '^kind of task "[' || chr(228) || ']{30,31}\.\.\." does not exist$', '... between characters')
FROM message_of(format('SELECT taskq.task_submit(%L)', repeat(chr(228), 100000))) error_message;
RESET SESSION AUTHORIZATION;
SELECT * FROM finish();
