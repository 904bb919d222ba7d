-- What the contracts of examples/rest share; each of them includes it.  The
-- schema is not exposed over HTTP, and its functions read and write nothing but
-- settings of the request.  It can be run again.

SET client_min_messages = warning;

CREATE SCHEMA IF NOT EXISTS rest;
GRANT USAGE ON SCHEMA rest TO PUBLIC;
COMMENT ON SCHEMA rest IS 'What the contracts of examples/rest share; not exposed over HTTP';

CREATE OR REPLACE FUNCTION rest.utc(at timestamptz) RETURNS text
	LANGUAGE sql STABLE PARALLEL SAFE
	RETURN CASE WHEN isfinite(at) THEN to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"') END;
COMMENT ON FUNCTION rest.utc(timestamptz) IS 'A time as 2025-11-19T10:30:45Z; null for null and infinity';

CREATE OR REPLACE FUNCTION rest.uuid(id text) RETURNS uuid
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	RETURN CASE WHEN id ~ '^[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}$' THEN id::uuid END;
COMMENT ON FUNCTION rest.uuid(text) IS 'A task''s id as it came from a client; null where it is none, so that this is "not found" too';

CREATE OR REPLACE FUNCTION rest.task_id(id text) RETURNS uuid
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	RETURN coalesce(rest.uuid(id), '00000000-0000-0000-0000-000000000000');
COMMENT ON FUNCTION rest.task_id(text) IS 'The same, for functions of taskq: what is no id is one that no task has, PT404';

CREATE OR REPLACE FUNCTION rest.header(name text) RETURNS text
	LANGUAGE sql STABLE
	RETURN nullif(nullif(current_setting('request.headers', true), '')::jsonb ->> lower(name), '');
COMMENT ON FUNCTION rest.header(text) IS 'A header of the request; null without';

CREATE OR REPLACE FUNCTION rest.claim(name text) RETURNS text
	LANGUAGE sql STABLE
	RETURN nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> name;
COMMENT ON FUNCTION rest.claim(text) IS 'A claim of the caller''s token; null without';

-- May be called by functions that are STABLE, too: it changes settings of the transaction only.
CREATE OR REPLACE FUNCTION rest.respond(status int, headers jsonb DEFAULT NULL) RETURNS void
	LANGUAGE plpgsql
	AS $$
DECLARE
	said jsonb := coalesce(nullif(current_setting('response.headers', true), ''), '[]')::jsonb;
BEGIN
	IF status IS NOT NULL THEN
		PERFORM set_config('response.status', status::text, true);
	END IF;
	-- PostgREST takes an array of objects of one member each
	IF headers IS NOT NULL THEN
		PERFORM set_config('response.headers', (said || coalesce(
			(SELECT jsonb_agg(jsonb_build_object(h.key, h.value)) FROM jsonb_each_text(headers) h), '[]'))::text, true);
	END IF;
END $$;
COMMENT ON FUNCTION rest.respond(int, jsonb) IS 'Sets the status of the answer, and adds headers to it: {"Location": "/tasks/1"}';

CREATE OR REPLACE FUNCTION rest.minutes(duration interval) RETURNS text
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	RETURN CASE
		WHEN duration < interval '1 minute' THEN round(extract(epoch FROM duration), 1) || ' seconds'
		WHEN duration < interval '3 hours' THEN round(extract(epoch FROM duration) / 60, 1) || ' minutes'
		ELSE round(extract(epoch FROM duration) / 3600, 1) || ' hours'
	END;
COMMENT ON FUNCTION rest.minutes(interval) IS 'A duration in words: 12.0 seconds, 8.5 minutes, 32.5 hours';

CREATE OR REPLACE FUNCTION rest.error_status(sqlstate text) RETURNS int
	LANGUAGE sql STABLE
	RETURN CASE
		WHEN sqlstate ~ '^PT[1-5]\d\d$' THEN substr(sqlstate, 3)::int
		WHEN sqlstate IN ('42883', '42P01') THEN 404
		WHEN sqlstate = '42501' THEN CASE WHEN rest.claim('role') IS NULL THEN 401 ELSE 403 END
		WHEN sqlstate IN ('23503', '23505') THEN 409
		WHEN sqlstate = '25006' THEN 405
		WHEN sqlstate ~ '^(08|53)' THEN 503
		WHEN sqlstate ~ '^(22|0A|42)' OR sqlstate IN ('P0001', '23502', '23514') THEN 400
		WHEN sqlstate ~ '^28|^0L|^0P' THEN 403
		ELSE 500
	END;
COMMENT ON FUNCTION rest.error_status(text) IS 'The HTTP status that PostgREST gives an error with this SQLSTATE';

-- For EXCEPTION WHEN OTHERS: what is raised with SQLSTATE PGRST says status and headers itself.
CREATE OR REPLACE FUNCTION rest.refused(state text, message text, detail text DEFAULT NULL) RETURNS text
	LANGUAGE plpgsql
	AS $$
DECLARE
	status int := rest.error_status(state);
	headers jsonb := CASE WHEN status = 401 THEN '{"WWW-Authenticate": "Bearer"}'::jsonb END;
BEGIN
	IF state = 'PGRST' THEN
		status := (detail::jsonb ->> 'status')::int;
		headers := detail::jsonb -> 'headers';
		message := message::jsonb ->> 'message';
	END IF;
	PERFORM rest.respond(status, headers);
	RETURN message;
END $$;
COMMENT ON FUNCTION rest.refused(text, text, text) IS
'Sets status and headers of the answer as PostgREST would for this error; returns the message

EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL;
	RETURN jsonb_build_object(''detail'', rest.refused(SQLSTATE, SQLERRM, detail));';

CREATE OR REPLACE FUNCTION rest.number(said text, otherwise int, at_least int, at_most int) RETURNS int
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	RETURN CASE WHEN said ~ '^-?[0-9]{1,18}$' THEN LEAST(GREATEST(said::bigint, at_least), at_most)::int ELSE otherwise END;
COMMENT ON FUNCTION rest.number(text, int, int, int) IS 'A number of the query string, moved into its range; what is none, or "", is the other one';

RESET client_min_messages;
