-- A first kind of tasks for clients of HTTP: docs/http.md goes on from here.
--
--     psql -d app -f examples/roles.sql
--     psql -d app -f examples/http.sql
--
-- As superuser.  It can be run again.

\set ON_ERROR_STOP 1
SET client_min_messages = warning;

-- Handlers are in a schema that PostgREST does not show.
CREATE SCHEMA IF NOT EXISTS app AUTHORIZATION app_owner;
GRANT USAGE ON SCHEMA app TO app_runner;
SET ROLE app_owner;

CREATE OR REPLACE FUNCTION app.count(job jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
	upto constant int := coalesce(job ->> 'to', '10');
BEGIN
	FOR i IN 1 .. upto LOOP
		PERFORM taskq.progress(i, upto, format('at %s', i));
		PERFORM pg_sleep(0.2);
		IF i = (job ->> 'fail_at')::int THEN
			PERFORM taskq.fail(format('%s is too much', i));
		END IF;
	END LOOP;
	RETURN jsonb_build_object('counted', upto);
END
$$;
REVOKE ALL ON FUNCTION app.count FROM PUBLIC;
GRANT EXECUTE ON FUNCTION app.count TO app_runner;

-- Tasks run as app_runner, whoever submits them; users of the API may submit.
SELECT taskq.kind_define('count', 'app.count(jsonb)', run_as => 'app_runner', description => 'Counts, and says how far it is');
SELECT taskq.kind_grant('count', 'web_user');

RESET ROLE;
RESET client_min_messages;
