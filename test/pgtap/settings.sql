-- Whatever the owner of a database, or a role for itself, has set for its sessions:
-- taskq works on, and tasks run as their role.
\ir include/prologue.psql
SELECT plan(11);

CREATE ROLE settings_group;
CREATE ROLE settings_app LOGIN IN ROLE settings_group;
CREATE ROLE settings_boss LOGIN SUPERUSER;
GRANT taskq_user TO settings_app, settings_group;
GRANT ALL ON SCHEMA public TO settings_group;
CREATE FUNCTION who(p jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	RETURN jsonb_build_object('session', session_user, 'current', current_user, 'role', current_setting('role'));
END $$;
CREATE FUNCTION raises(p jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	RAISE 'on purpose';
END $$;
CREATE FUNCTION become(p jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	SET ROLE settings_group;
	RETURN public.who(p);
END $$;
SELECT taskq.kind_define('settings_who', 'who(jsonb)', max_attempts => 1);
SELECT taskq.kind_define('settings_become', 'become(jsonb)', max_attempts => 1);
SELECT taskq.kind_define('settings_raises', 'raises(jsonb)', max_attempts => 1);

-- before anything of taskq runs here
DO $$
DECLARE
	setting text;
BEGIN
	FOREACH setting IN ARRAY ARRAY[
		'role = settings_group', 'session_authorization = settings_app', 'exit_on_error = on', 'default_transaction_read_only = on',
		'default_transaction_isolation = serializable', 'default_transaction_deferrable = on', 'row_security = off', 'search_path = nowhere',
		'default_table_access_method = nothing', 'default_tablespace = nowhere', 'temp_tablespaces = nowhere', 'check_function_bodies = off',
		'client_min_messages = error', 'transform_null_equals = on', 'lock_timeout = 1', 'statement_timeout = 1', 'jit_above_cost = 0',
		'array_nulls = off', 'quote_all_identifiers = on', 'synchronous_commit = off', 'datestyle = german', 'bytea_output = escape',
		'local_preload_libraries = nothing', 'work_mem = 64', 'idle_in_transaction_session_timeout = 1', 'standard_conforming_strings = off'
		] || CASE WHEN current_setting('server_version_num')::int >= 170000 THEN ARRAY['transaction_timeout = 1'] ELSE '{}' END
	LOOP
		EXECUTE format('ALTER DATABASE %I SET ', current_database()) || setting;
	END LOOP;
END $$;
ALTER ROLE settings_app SET role = 'settings_group';

SET SESSION AUTHORIZATION settings_app;
SELECT taskq.task_submit('settings_who') AS who, taskq.task_submit('settings_become') AS become, taskq.task_submit('settings_who') AS again \gset
SELECT taskq.task_submit('settings_who', delay => '10 ms') AS later \gset
SELECT taskq.task_submit('settings_raises') AS raises, taskq.task_submit('settings_who') AS after_error \gset
RESET SESSION AUTHORIZATION;
SELECT is((SELECT state FROM taskq.task_wait(:'who')), 'completed', 'a task completes');
SELECT is(taskq.task_result(:'who'), '{"session": "settings_app", "current": "settings_app", "role": "none"}', '... as its role');
SELECT is((SELECT state FROM taskq.task_wait(:'become')), 'completed', 'a task that changes its role');
SELECT is(taskq.task_result(:'become')->>'current', 'settings_group', '... may do so');
SELECT is((SELECT result->>'current' FROM taskq.task_wait(:'again')), 'settings_app', '... and the next one is itself again');
SELECT is((SELECT result->>'current' FROM taskq.task_wait(:'later')), 'settings_app', 'a scheduled one is fired');
SELECT is((SELECT state || ' ' || (error->>'message') FROM taskq.task_wait(:'raises')), 'failed on purpose', 'an error is an error, not the end of its process');
SELECT is((SELECT state FROM taskq.task_wait(:'after_error')), 'completed', '... and the next task runs');

SET SESSION AUTHORIZATION settings_boss;
SELECT taskq.task_submit('settings_who') AS boss \gset
SELECT set_config('settings.pending', taskq.task_submit_sql('SELECT 1')::text, false) AS sql \gset
RESET SESSION AUTHORIZATION;
SELECT is((SELECT state FROM taskq.task_wait(:'boss')), 'completed', 'a superuser''s task completes');
SELECT is(taskq.task_result(:'boss'), '{"session": "settings_boss", "current": "settings_boss", "role": "none"}', '... as its role, not as the one that the database names');
SELECT is((SELECT state FROM taskq.task_wait(:'sql')), 'completed', 'SQL commands too');

DO $$ BEGIN EXECUTE format('ALTER DATABASE %I RESET ALL', current_database()); END $$;
ALTER ROLE settings_app RESET ALL;
SELECT * FROM finish();
