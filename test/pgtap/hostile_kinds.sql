-- Who may define kinds gets at no function that it could not call itself.
\ir include/prologue.psql
SELECT plan(7);

CREATE ROLE hostile_op LOGIN;
GRANT taskq_user, taskq_operator TO hostile_op;
CREATE SCHEMA hidden;
CREATE FUNCTION hidden.power(p jsonb) RETURNS text LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN RETURN current_user; END $$;
CREATE FUNCTION hidden.plain() RETURNS void LANGUAGE sql AS $$ SELECT $$;
SELECT 'hidden.power'::regproc::oid AS power, 'hidden.plain'::regproc::oid AS plain \gset

-- EXECUTE is everybody's, but not the schema; a function's number leads past that
SET SESSION AUTHORIZATION hostile_op;
SELECT throws_ok('SELECT hidden.power($${}$$)', '42501', 'permission denied for schema hidden', 'it cannot call the function');
SELECT throws_ok(format('SELECT taskq.kind_define(%L, %s::regprocedure)', 'hostile_power', :power), '42501',
	'permission denied for schema hidden', '... nor make it a handler by its number');
SELECT throws_ok(format('SELECT taskq.kind_define(%L, %s::regprocedure)', 'hostile_plain', :plain), '42501',
	'permission denied for schema hidden', '... nor one of no argument');
SELECT taskq.kind_define('hostile_mine');
SELECT throws_ok(format('SELECT taskq.kind_define(%L, %s::regprocedure)', 'hostile_mine', :power), '42501',
	'permission denied for schema hidden', '... nor that of a kind that it has');
SELECT is((SELECT handler FROM taskq.kind WHERE name = 'hostile_mine'), NULL, '... which stays as it was');

-- who may use the schema gives its functions to others
RESET SESSION AUTHORIZATION;
GRANT USAGE ON SCHEMA hidden TO hostile_op;
SET SESSION AUTHORIZATION hostile_op;
SELECT lives_ok($$SELECT taskq.kind_define('hostile_power', 'hidden.power(jsonb)')$$, 'with USAGE it is allowed');
RESET SESSION AUTHORIZATION;
REVOKE USAGE ON SCHEMA hidden FROM hostile_op;
SET SESSION AUTHORIZATION hostile_op;
SELECT throws_ok($$SELECT taskq.kind_define('hostile_power', ('hidden.power'::regproc)::oid::regprocedure)$$, '42501', NULL,
	'... and not any more when that is gone');
RESET SESSION AUTHORIZATION;
SELECT * FROM finish();
