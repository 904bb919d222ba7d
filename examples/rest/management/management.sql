-- Contract "management": a task management API of a program that analyses binaries.
--
--     psql -d app -f examples/roles.sql -f examples/rest/management/management.sql
--
-- As superuser, after examples/roles.sql.  Can be run again.  Schema "management" is for
-- PostgREST (db-schemas), one function a URL; nginx.conf beside this file has the URLs.
-- Schema "management_app" is not exposed: the sample application (binaries, handlers), and what
-- the functions share.  docs/from/management.md goes through it.

\set ON_ERROR_STOP 1
\ir ../common.sql
SET client_min_messages = warning;
BEGIN;

CREATE SCHEMA IF NOT EXISTS management AUTHORIZATION app_owner;
CREATE SCHEMA IF NOT EXISTS management_app AUTHORIZATION app_owner;
COMMENT ON SCHEMA management IS 'Task management: tasks, statistics, workers and the queue of a program that analyses binaries';
GRANT USAGE ON SCHEMA management, management_app TO web_user, app_runner;
SET LOCAL ROLE app_owner;
ALTER DEFAULT PRIVILEGES IN SCHEMA management REVOKE ALL ON FUNCTIONS FROM PUBLIC;

/* ================================================================ the application */

CREATE TABLE IF NOT EXISTS management_app.binary (
	id uuid PRIMARY KEY,
	name text NOT NULL,
	functions int NOT NULL CHECK (functions BETWEEN 1 AND 10000)
);
CREATE TABLE IF NOT EXISTS management_app.function (
	binary_id uuid NOT NULL REFERENCES management_app.binary ON DELETE CASCADE,
	no int NOT NULL,
	name text NOT NULL,
	address text NOT NULL,
	code text,					-- null: it cannot be read
	source text,				-- what the decompiler made of it
	quality text,
	explanation text,
	PRIMARY KEY (binary_id, no)
);
CREATE TABLE IF NOT EXISTS management_app.finding (
	binary_id uuid NOT NULL REFERENCES management_app.binary ON DELETE CASCADE,
	function text NOT NULL,
	severity text NOT NULL,
	title text NOT NULL,
	found_at timestamptz NOT NULL DEFAULT now(),
	PRIMARY KEY (binary_id, function, title)
);
-- Cancelled tasks after which nothing is to be cleaned up.
CREATE TABLE IF NOT EXISTS management_app.uncleaned (
	task_id uuid PRIMARY KEY,
	tenant text DEFAULT rest.claim('tenant')
);
-- What was cleaned up after which.
CREATE TABLE IF NOT EXISTS management_app.cleanup (
	task_id uuid NOT NULL,
	cleaned_at timestamptz NOT NULL DEFAULT now()
);
GRANT SELECT ON management_app.binary, management_app.function, management_app.finding TO web_user, app_runner;
GRANT INSERT ON management_app.uncleaned TO web_user;
GRANT SELECT, DELETE ON management_app.uncleaned TO app_runner;
GRANT SELECT, INSERT ON management_app.cleanup TO app_runner;
GRANT INSERT, UPDATE, DELETE ON management_app.function, management_app.finding TO app_runner;

INSERT INTO management_app.binary VALUES
	('a1b2c3d4-e5f6-7890-abcd-ef1234567890', 'example.exe', 42),
	('b2c3d4e5-f607-8901-bcde-f234567890ab', 'another.exe', 15),
	('c3d4e5f6-0718-9012-cdef-3456789012bc', 'critical_app.exe', 8)
ON CONFLICT DO NOTHING;

-- What every handler does with the members of "config" that make it slow or fail, for
-- demonstrations and tests: pause (seconds a function), fail_at (number of a function).
CREATE OR REPLACE FUNCTION management_app.work(config jsonb, no int, name text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	IF config ? 'pause' THEN
		PERFORM pg_sleep(least((config->>'pause')::float8, 10));
	END IF;
	IF no = (config->>'fail_at')::int THEN
		PERFORM taskq.fail(format('cannot read function %s', name), jsonb_build_object('function_name', name), 'UnreadableFunction');
	END IF;
END
$$;

-- Disassembles: one function in 42, if there are so many, cannot be read.
CREATE OR REPLACE FUNCTION management_app.analyze(p jsonb) RETURNS jsonb
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	it management_app.binary;
	names text[] := '{main,parse_input,process_data,check_password,copy_name,send_report}';
	calls text[] := '{malloc,strcpy,printf,gets,memcpy,system}';
	fn text;
BEGIN
	SELECT * INTO STRICT it FROM management_app.binary b WHERE b.id = (p->>'binary_id')::uuid;
	PERFORM taskq.log(format('Starting analysis of binary %s', it.name), 'info', jsonb_build_object('total_functions', it.functions));
	FOR i IN 1..it.functions LOOP
		fn := CASE WHEN i = 42 THEN 'corrupted_function' ELSE coalesce(names[i], 'sub_' || to_hex(4198400 + 256 * i)) END;
		PERFORM taskq.progress(i - 1, it.functions, 'Analyzing function ' || fn, phase => 'analysis',
			info => jsonb_build_object('functions_total', it.functions, 'functions_completed', i - 1));
		PERFORM management_app.work(p->'config', i, fn);
		INSERT INTO management_app.function AS f (binary_id, no, name, address, code)
		VALUES (it.id, i, fn, '0x' || to_hex(4198400 + 256 * i), CASE WHEN fn <> 'corrupted_function' THEN
			format('push ebp; mov ebp, esp; call %s; ret', calls[1 + i % cardinality(calls)]) END)
		ON CONFLICT ON CONSTRAINT function_pkey DO UPDATE SET name = excluded.name, address = excluded.address, code = excluded.code;
	END LOOP;
	PERFORM taskq.progress(it.functions, it.functions, 'Analysis completed', failed => 0,
		info => jsonb_build_object('functions_total', it.functions, 'functions_completed', it.functions));
	RETURN jsonb_build_object('functions_found', it.functions);
END
$$;

-- A function that cannot be read is a step that failed; the others' results are kept.  A retry
-- of failed steps only names them in retry_failed_steps.
CREATE OR REPLACE FUNCTION management_app.decompile(p jsonb) RETURNS jsonb
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	f record;
	n int := 0;
	total int;
	bad jsonb := '[]';
	quality jsonb := '{"high": 0, "medium": 0, "low": 0}';
	q text;
	since timestamptz := clock_timestamp();
	worker text := (taskq.current_task()).worker;
BEGIN
	SELECT count(*) INTO total FROM management_app.function WHERE binary_id = (p->>'binary_id')::uuid
		AND (jsonb_typeof(p->'retry_failed_steps') IS DISTINCT FROM 'array' OR p->'retry_failed_steps' ? ('decompile_' || name));
	PERFORM taskq.log('Starting bulk decompilation for binary ' || coalesce(p->>'binary_name', '?'), 'info',
		jsonb_build_object('total_functions', total, 'worker_assigned', worker));
	FOR f IN SELECT * FROM management_app.function WHERE binary_id = (p->>'binary_id')::uuid
		AND (jsonb_typeof(p->'retry_failed_steps') IS DISTINCT FROM 'array' OR p->'retry_failed_steps' ? ('decompile_' || name)) ORDER BY no
	LOOP
		n := n + 1;
		PERFORM taskq.progress(n - 1, total, 'Decompiling function ' || f.name, phase => 'decompilation', failed => jsonb_array_length(bad),
			info => jsonb_build_object('functions_total', total, 'functions_completed', n - 1 - jsonb_array_length(bad),
				'functions_failed', jsonb_array_length(bad),
				'average_time_per_function', round((extract(epoch FROM clock_timestamp() - since) / greatest(n - 1, 1))::numeric, 3)));
		PERFORM management_app.work(p->'config', n, f.name);
		IF f.code IS NULL THEN
			bad := bad || jsonb_build_object('function_name', f.name, 'address', f.address, 'error', 'Decompilation timeout',
				'retry_count', (taskq.current_task()).attempt - 1);
			PERFORM taskq.step_failed('decompile_' || f.name, format('Decompilation timeout after %s seconds', p->'config'->>'decompiler_timeout'),
				jsonb_build_object('function_name', f.name));
			PERFORM taskq.log('Decompilation timeout for function ' || f.name, 'warning',
				jsonb_build_object('function_address', f.address, 'timeout', p->'config'->'decompiler_timeout'));
			CONTINUE;
		END IF;
		q := CASE WHEN n % 7 = 0 THEN 'medium' WHEN n % 41 = 0 THEN 'low' ELSE 'high' END;
		quality := jsonb_set(quality, ARRAY[q], to_jsonb((quality->>q)::int + 1));
		UPDATE management_app.function SET quality = q, source = format('void %s(void)%s{%s%s();%s}', f.name, E'\n', E'\n\t',
				substring(f.code FROM 'call (\w+)'), E'\n')
		WHERE binary_id = f.binary_id AND no = f.no;
		PERFORM taskq.log(format('Decompiled function %s successfully', f.name), 'info',
			jsonb_build_object('function_address', f.address, 'quality', q));
	END LOOP;
	PERFORM taskq.progress(total, total, 'Bulk decompilation completed', phase => 'decompilation', failed => jsonb_array_length(bad),
		info => jsonb_build_object('functions_total', total, 'functions_completed', total - jsonb_array_length(bad), 'functions_failed', jsonb_array_length(bad),
			'average_time_per_function', round((extract(epoch FROM clock_timestamp() - since) / greatest(total, 1))::numeric, 3)));
	PERFORM taskq.log('Bulk decompilation completed', 'info',
		jsonb_build_object('success_count', total - jsonb_array_length(bad), 'failure_count', jsonb_array_length(bad)));
	RETURN jsonb_build_object('functions_decompiled', total - jsonb_array_length(bad), 'functions_failed', jsonb_array_length(bad),
		'average_decompilation_time', round((extract(epoch FROM clock_timestamp() - since) / greatest(total, 1))::numeric, 3),
		'total_processing_time', rest.minutes(clock_timestamp() - since),
		'decompilation_quality', quality, 'failed_functions', bad);
END
$$;

CREATE OR REPLACE FUNCTION management_app.ai_explain(p jsonb) RETURNS jsonb
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	f record;
	n int := 0;
	total int;
BEGIN
	SELECT count(*) INTO total FROM management_app.function WHERE binary_id = (p->>'binary_id')::uuid AND source IS NOT NULL;
	FOR f IN SELECT * FROM management_app.function WHERE binary_id = (p->>'binary_id')::uuid AND source IS NOT NULL ORDER BY no LOOP
		n := n + 1;
		PERFORM taskq.progress(n - 1, total, 'Explaining function ' || f.name, phase => 'explanation', info => jsonb_build_object('functions_completed', n - 1));
		PERFORM management_app.work(p->'config', n, f.name);
		UPDATE management_app.function SET explanation = format('Function %s calls %s and returns nothing.', f.name, substring(f.code FROM 'call (\w+)'))
		WHERE binary_id = f.binary_id AND no = f.no;
	END LOOP;
	PERFORM taskq.progress(total, total, 'Explanations completed', failed => 0, info => jsonb_build_object('functions_completed', total));
	RETURN jsonb_build_object('functions_explained', total);
END
$$;

CREATE OR REPLACE FUNCTION management_app.security_scan(p jsonb) RETURNS jsonb
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	f record;
	n int := 0;
	total int;
	danger text;
	found int := 0;
BEGIN
	SELECT count(*) INTO total FROM management_app.function WHERE binary_id = (p->>'binary_id')::uuid;
	FOR f IN SELECT * FROM management_app.function WHERE binary_id = (p->>'binary_id')::uuid ORDER BY no LOOP
		n := n + 1;
		PERFORM taskq.progress(n - 1, total, 'Scanning function ' || f.name, phase => 'scan', info => jsonb_build_object('vulnerabilities_found', found));
		PERFORM management_app.work(p->'config', n, f.name);
		danger := substring(coalesce(f.source, f.code) FROM '(strcpy|gets|system)');
		CONTINUE WHEN danger IS NULL;
		found := found + 1;
		INSERT INTO management_app.finding (binary_id, function, severity, title)
		VALUES (f.binary_id, f.name, CASE danger WHEN 'strcpy' THEN 'medium' ELSE 'high' END, 'unsafe call of ' || danger)
		ON CONFLICT ON CONSTRAINT finding_pkey DO UPDATE SET found_at = now();
	END LOOP;
	PERFORM taskq.progress(total, total, 'Scan completed', failed => 0, info => jsonb_build_object('vulnerabilities_found', found));
	RETURN jsonb_build_object('vulnerabilities_found', found);
END
$$;

-- Runs after a task was cancelled: what it wrote into tables was rolled back, and what it may
-- have left outside of the database would be removed here.
CREATE OR REPLACE FUNCTION management_app.clean_up(p jsonb) RETURNS jsonb
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	DELETE FROM management_app.uncleaned u
	WHERE u.task_id = (p->>'task_id')::uuid AND u.tenant IS NOT DISTINCT FROM rest.claim('tenant');
	IF FOUND THEN
		RETURN '{"cleaned": false}';
	END IF;
	INSERT INTO management_app.cleanup (task_id) VALUES ((p->>'task_id')::uuid);
	RETURN '{"cleaned": true}';
END
$$;
REVOKE ALL ON FUNCTION management_app.work, management_app.analyze, management_app.decompile, management_app.ai_explain,
	management_app.security_scan, management_app.clean_up FROM PUBLIC;
GRANT EXECUTE ON FUNCTION management_app.work, management_app.analyze, management_app.decompile, management_app.ai_explain,
	management_app.security_scan, management_app.clean_up TO app_runner;

-- category: the family that parameter task_type, too, means; indexed: by which its tasks are found
DO $$
DECLARE
	k record;
BEGIN
	PERFORM taskq.kind_define('binary_cleanup', 'management_app.clean_up(jsonb)', run_as => 'app_runner', category => 'maintenance',
		description => 'Cleanup after a cancelled task');
	FOR k IN VALUES
		('analyze', 'management_app.analyze(jsonb)', 'analyze', interval '300 s', 'Binary analysis'),
		('bulk_decompile', 'management_app.decompile(jsonb)', 'decompile', '60 s', 'Bulk decompilation'),
		('ai_explain', 'management_app.ai_explain(jsonb)', 'ai_explain', '300 s', 'AI explanation'),
		('security_scan', 'management_app.security_scan(jsonb)', 'security_scan', '300 s', 'Security scan'),
		-- for programs outside: no handler
		('fuzzing', NULL, 'fuzzing', '1 h', 'Fuzzing campaign')
	LOOP
		PERFORM taskq.kind_define(k.column1, k.column2::regprocedure, queue => CASE WHEN k.column2 IS NULL THEN 'outside' ELSE 'default' END,
			run_as => 'app_runner', priority => 3, max_attempts => 1,
			timeout => k.column4, category => k.column3, description => k.column5, indexed => '{binary_id}', on_cancel => 'binary_cleanup');
		PERFORM taskq.kind_grant(k.column1, 'web_user', 'submit');
	END LOOP;
	-- who may submit to a kind is told how many of its tasks there are
	PERFORM taskq.kind_grant('binary_cleanup', 'web_user', 'submit');
	PERFORM taskq.kind_grant('fuzzing', 'web_worker', 'work all');
END
$$;

-- First line of the description: the name that people see.
DO $do$
BEGIN
PERFORM taskq.template_define('comprehensive_analysis', '[
	{"name": "analyze", "kind": "analyze", "priority": 3, "expected_duration": "5 min",
		"payload": {"binary_id": {"$input": "binary_id"}, "config": {"deep_analysis": true}}},
	{"name": "decompile", "kind": "bulk_decompile", "priority": 3, "depends_on": ["analyze"], "expected_duration": "15 min",
		"payload": {"binary_id": {"$input": "binary_id"}, "config": {"exclude_external": true, "decompiler_timeout": 60}}},
	{"name": "ai_explain", "kind": "ai_explain", "priority": 2, "depends_on": ["decompile"], "expected_duration": "5 min",
		"payload": {"binary_id": {"$input": "binary_id"}, "config": {"analysis_focus": "security"}}},
	{"name": "security_scan", "kind": "security_scan", "priority": 4, "depends_on": ["ai_explain"], "expected_duration": "5 min",
		"payload": {"binary_id": {"$input": "binary_id"}, "config": {"ai_enabled": true}}}
]', E'Comprehensive Binary Analysis\nComplete analysis workflow including decompilation, AI analysis, and security scanning');
PERFORM taskq.template_define('quick_security_scan', '[
	{"name": "analyze", "kind": "analyze", "priority": 4, "expected_duration": "2 min",
		"payload": {"binary_id": {"$input": "binary_id"}, "config": {"quick_mode": true}}},
	{"name": "security_scan", "kind": "security_scan", "priority": 5, "depends_on": ["analyze"], "expected_duration": "5 min",
		"payload": {"binary_id": {"$input": "binary_id"}, "config": {"pattern_only": true}}}
]', E'Quick Security Assessment\nFast security scanning for immediate threat assessment');
END
$do$;

/* ================================================================ what the contract's functions share */

CREATE OR REPLACE FUNCTION management_app.refuse(status int, message text, hint text DEFAULT NULL) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
	RAISE EXCEPTION '%', message USING ERRCODE = 'PT' || status, HINT = coalesce(hint, '');
END
$$;

CREATE OR REPLACE FUNCTION management_app.answer(data jsonb, message text) RETURNS jsonb
LANGUAGE sql VOLATILE
RETURN jsonb_build_object('success', true, 'data', data, 'message', message, 'timestamp', rest.utc(clock_timestamp()));

-- Calls a function of management_app with one object of arguments; its error becomes the
-- contract's: a status, and the envelope with success false.
CREATE OR REPLACE FUNCTION management_app.guarded(function text, args jsonb) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	answer jsonb;
	state text;
	message text;
	detail text;
	hint text;
	status int;
	headers jsonb;
BEGIN
	EXECUTE format('SELECT management_app.%I($1)', function) INTO answer USING args;
	RETURN answer;
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
	IF state = 'PGRST' THEN		-- an answer as JSON, with headers
		status := (detail::jsonb->>'status')::int;
		headers := detail::jsonb->'headers';
		state := message::jsonb->>'code';
		hint := message::jsonb->>'hint';
		detail := message::jsonb->>'details';
		message := message::jsonb->>'message';
	ELSE
		-- what another attempt may mend
		status := CASE WHEN state IN ('40001', '40P01', '55P03') THEN 503 ELSE rest.error_status(state) END;
	END IF;
	PERFORM rest.respond(status, headers);
	RETURN jsonb_build_object('success', false, 'data', NULL, 'message', message,
		'error', jsonb_build_object('status', status, 'code', state, 'details', nullif(detail, ''), 'hint', nullif(hint, '')),
		'timestamp', rest.utc(clock_timestamp()));
END
$$;

-- A body is an object, or nothing; a member that nobody reads would be a wish not heard.
CREATE OR REPLACE FUNCTION management_app.body(args jsonb, VARIADIC members text[]) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	body jsonb := coalesce(nullif(args->'body', 'null'), '{}');
	other text;
BEGIN
	IF jsonb_typeof(body) <> 'object' THEN
		PERFORM management_app.refuse(400, 'the body must be a JSON object');
	END IF;
	SELECT m INTO other FROM jsonb_object_keys(body) m WHERE m <> ALL (members) LIMIT 1;
	IF FOUND THEN
		PERFORM management_app.refuse(400, format('unknown member "%s" in the body', left(other, 100)), 'Members are ' || array_to_string(members, ', ') || '.');
	END IF;
	RETURN jsonb_strip_nulls(body);
END
$$;

-- Values of a query string, as nginx passes them on: with an "=" before them.
CREATE OR REPLACE FUNCTION management_app.query(VARIADIC pairs text[]) RETURNS jsonb
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
RETURN (SELECT jsonb_object_agg(pairs[i], regexp_replace(pairs[i + 1], '^=', '')) FROM generate_series(1, cardinality(pairs), 2) i);

CREATE OR REPLACE FUNCTION management_app.number(args jsonb, name text, low int, high int, otherwise int) RETURNS int
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	value text := nullif(args->>name, '');
BEGIN
	IF value IS NULL THEN
		RETURN otherwise;
	ELSIF value !~ '^-?\d{1,9}$' OR value::int NOT BETWEEN low AND high THEN
		PERFORM management_app.refuse(400, format('%s must be a whole number from %s to %s', name, low, high));
	END IF;
	RETURN value::int;
END
$$;

CREATE OR REPLACE FUNCTION management_app.flag(args jsonb, name text, otherwise bool) RETURNS bool
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	value text := lower(nullif(args->>name, ''));
BEGIN
	IF value NOT IN ('true', 'false', '1', '0') THEN
		PERFORM management_app.refuse(400, format('%s must be true or false', name));
	END IF;
	RETURN coalesce(value IN ('true', '1'), otherwise);
END
$$;

-- One of the words, or what is said where there is none.
CREATE OR REPLACE FUNCTION management_app.word(args jsonb, name text, words text[], otherwise text) RETURNS text
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	value text := coalesce(nullif(args->>name, ''), otherwise);
BEGIN
	IF value IS NULL OR value <> ALL (words) THEN
		PERFORM management_app.refuse(400, format('%s must be %s', name, array_to_string(words, ', ')));
	END IF;
	RETURN value;
END
$$;

CREATE OR REPLACE FUNCTION management_app.texts(args jsonb, name text) RETURNS text[]
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	IF args->name IS NULL THEN
		RETURN NULL;
	ELSIF jsonb_typeof(args->name) <> 'array' OR jsonb_path_exists(args->name, '$[*] ? (@.type() != "string")') THEN
		PERFORM management_app.refuse(400, format('%s must be a list of texts', name));
	END IF;
	RETURN ARRAY(SELECT jsonb_array_elements_text(args->name));
END
$$;

-- The contract's word for a state.
CREATE OR REPLACE FUNCTION management_app.status(state text) RETURNS text
LANGUAGE sql IMMUTABLE
RETURN CASE WHEN state IN ('running', 'completed', 'failed', 'cancelled') THEN state ELSE 'queued' END;

-- A type is a kind, or the category of several.
CREATE OR REPLACE FUNCTION management_app.kinds(types text[]) RETURNS text[]
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
RETURN CASE WHEN types IS NOT NULL THEN ARRAY(SELECT k.name::text FROM taskq.kind k WHERE k.category = ANY (types) UNION SELECT unnest(types)) END;

-- 00:11:30
CREATE OR REPLACE FUNCTION management_app.clock(duration interval) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
RETURN CASE WHEN isfinite(duration) THEN (SELECT format('%s:%s:%s', lpad((s / 3600)::text, greatest(2, length((s / 3600)::text)), '0'),
		to_char(s / 60 % 60, 'FM00'), to_char(s % 60, 'FM00'))
	FROM (SELECT greatest(extract(epoch FROM duration), 0)::bigint AS s) x) END;

-- 5 minutes; 1 hour 25 minutes
CREATE OR REPLACE FUNCTION management_app.words(duration interval) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
RETURN (SELECT CASE WHEN s IS NULL THEN NULL WHEN s BETWEEN 1 AND 59 THEN s || CASE s WHEN 1 THEN ' second' ELSE ' seconds' END
	ELSE concat_ws(' ', h || CASE h WHEN 1 THEN ' hour' ELSE ' hours' END,
		CASE WHEN m > 0 OR h IS NULL THEN m || CASE m WHEN 1 THEN ' minute' ELSE ' minutes' END END) END
	FROM (SELECT ceil(extract(epoch FROM greatest(duration, '0')))::bigint AS s WHERE duration IS NOT NULL) x, LATERAL (SELECT nullif((s + 30) / 3600, 0) AS h, (s + 30) / 60 % 60 AS m) y);

-- 1.2GB
CREATE OR REPLACE FUNCTION management_app.size(bytes numeric) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
RETURN CASE WHEN bytes >= 1073741824 THEN round(bytes / 1073741824, 1) || 'GB' WHEN bytes >= 1048576 THEN round(bytes / 1048576) || 'MB'
	ELSE ceil(bytes / 1024) || 'KB' END;

CREATE OR REPLACE FUNCTION management_app.binary_name(t taskq.task) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
RETURN coalesce(t.payload->>'binary_name', (SELECT b.name FROM management_app.binary b WHERE b.id = rest.uuid(t.payload->>'binary_id')));

-- What every answer says of a task.
CREATE OR REPLACE FUNCTION management_app.task(t taskq.task) RETURNS jsonb
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
RETURN jsonb_build_object('id', t.id, 'task_type', t.kind, 'status', management_app.status(t.state), 'progress', t.progress,
	'binary_id', t.payload->>'binary_id', 'binary_name', management_app.binary_name(t),
	'created_at', rest.utc(t.created_at), 'started_at', rest.utc(t.started_at), 'priority', t.priority, 'assigned_worker', t.worker,
	'current_step', CASE WHEN t.state = 'running' THEN t.message END, 'total_steps', t.total, 'completed_steps', t.completed_steps,
	'failed_steps', coalesce(t.failed_steps, 0), 'retry_of', t.retry_of);

-- The task that a URL names.
CREATE OR REPLACE FUNCTION management_app.find(id text) RETURNS taskq.task
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	t taskq.task;
BEGIN
	IF rest.uuid(id) IS NULL THEN
		PERFORM management_app.refuse(404, 'Task not found');
	END IF;
	SELECT * INTO t FROM taskq.task_status(rest.uuid(id));
	RETURN t;
EXCEPTION WHEN SQLSTATE 'PT404' THEN
	PERFORM management_app.refuse(404, 'Task not found');
END
$$;

/* ================================================================ tasks */

-- How many there are by status, type (category) and priority; from counters, no task is read.
-- Who acts for no tenant, and is no member of the role that kinds run as, has no counters: the
-- thousand newest tasks are counted.
CREATE OR REPLACE FUNCTION management_app.counts(OUT status text, OUT type text, OUT kind text, OUT priority int, OUT waiting bool, OUT n bigint)
RETURNS SETOF record LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
WITH c AS MATERIALIZED (SELECT c.state, c.category, c.kind::text AS kind, c.priority, c.n FROM taskq.task_counts() c)
SELECT management_app.status(c.state), coalesce(c.category, c.kind), c.kind, c.priority, c.state IN ('pending', 'reserved'), sum(c.n)::bigint
FROM (SELECT c.state, c.category, c.kind, c.priority, c.n FROM c
	UNION ALL
	SELECT t.state, t.category, t.kind::text, t.priority, 1 FROM taskq.task_list(n => 1000) t WHERE NOT EXISTS (SELECT FROM c)) c
GROUP BY 1, 2, 3, 4, 5;
END;

-- Workers: those that view worker shows, and, to whom it does not, those that run the caller's tasks.
CREATE OR REPLACE FUNCTION management_app.workers(OUT name text, OUT state text, OUT task_id uuid, OUT kind text, OUT started_at timestamptz,
	OUT heartbeat timestamptz, OUT kinds text[], OUT cpu numeric, OUT memory bigint, OUT completed bigint, OUT average interval,
	OUT success_rate numeric, OUT limits jsonb)
RETURNS SETOF record LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
WITH w AS MATERIALIZED (SELECT w.* FROM taskq.worker w)
SELECT w.name, CASE w.state WHEN 'busy' THEN 'active' WHEN 'starting' THEN 'idle' ELSE w.state END, w.task_id, w.kind::text, w.task_started_at,
	w.last_heartbeat, w.kinds::text[], w.cpu_percent::numeric, w.memory, w.completed, w.average_run, w.success_rate::numeric, w.limits FROM w
UNION ALL
SELECT t.worker, 'active', (array_agg(t.id ORDER BY t.started_at))[1], (array_agg(t.kind::text ORDER BY t.started_at))[1], min(t.started_at),
	max(t.updated_at), array_agg(DISTINCT t.kind::text), NULL, NULL, NULL, NULL, NULL, NULL
FROM taskq.task_list('{"state": "running"}', n => 1000) t
WHERE t.worker IS NOT NULL AND NOT EXISTS (SELECT FROM w WHERE w.name = t.worker) GROUP BY t.worker;
END;

CREATE OR REPLACE FUNCTION management_app.summary() RETURNS jsonb
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
WITH c AS MATERIALIZED (SELECT * FROM management_app.counts())
SELECT jsonb_build_object('total_tasks', coalesce((SELECT sum(c.n) FROM c), 0),
	'by_status', (SELECT jsonb_object_agg(s, coalesce((SELECT sum(c.n) FROM c WHERE c.status = s), 0))
		FROM unnest('{queued,running,completed,failed,cancelled}'::text[]) s),
	'by_type', (SELECT coalesce(jsonb_object_agg(x.type, x.n), '{}') FROM (
		SELECT y.type, sum(y.n) AS n FROM (SELECT c.type, c.n FROM c UNION ALL
			SELECT k.category, 0 FROM taskq.kind k WHERE 'binary_id' = ANY (k.indexed) AND k.category IS NOT NULL) y GROUP BY 1) x),
	'active_workers', (SELECT count(*) FROM management_app.workers() w WHERE w.state = 'active'),
	'queue_length', coalesce((SELECT sum(c.n) FROM c WHERE c.waiting), 0),
	'average_completion_time', taskq.task_summary()->>'average_completion_time');
END;

-- A page of a list.  Pages are walked from the beginning, up to the ten thousandth task; "after",
-- the last id of a page, goes on from there at any depth.
CREATE OR REPLACE FUNCTION management_app.tasks(a jsonb) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	page int := management_app.number(a, 'page', 1, 1000000, 1);
	per_page int := management_app.number(a, 'per_page', 1, 100, 20);
	sort_by text := management_app.word(a, 'sort_by', '{created_at,updated_at,priority}', 'created_at');
	down bool := management_app.word(a, 'sort_order', '{asc,desc}', 'desc') = 'desc';
	statuses text[] := regexp_split_to_array(nullif(a->>'status', ''), '\s*,\s*');
	kinds text[] := management_app.kinds(regexp_split_to_array(nullif(a->>'task_type', ''), '\s*,\s*'));
	after text := nullif(a->>'after', '');
	filter jsonb := '{}';
	way text := CASE WHEN sort_by = 'priority' AND down THEN 'priority' WHEN sort_by = 'created_at' AND NOT down THEN 'oldest' ELSE 'newest' END;
	skip int := (page - 1) * per_page;
	rows taskq.task[];
	part taskq.task[];
	p int;
	total bigint;
	most int;
	exact bool := true;
BEGIN
	IF statuses IS NOT NULL THEN
		IF NOT statuses <@ '{queued,running,completed,failed,cancelled}' THEN
			PERFORM management_app.refuse(400, 'status must be queued, running, completed, failed, cancelled, or several of them with commas between');
		END IF;
		filter := jsonb_build_object('state', to_jsonb(array_remove(statuses, 'queued') || CASE WHEN 'queued' = ANY (statuses)
			THEN '{pending,reserved,scheduled,retrying,blocked}'::text[] END));
	END IF;
	IF kinds IS NOT NULL THEN
		filter := filter || jsonb_build_object('kind', to_jsonb(kinds));
	END IF;
	IF nullif(a->>'binary_id', '') IS NOT NULL THEN
		-- found by it are tasks of the kinds that name it
		filter := filter || jsonb_build_object('payload', jsonb_build_object('binary_id', a->>'binary_id'),
			'kind', (SELECT coalesce(jsonb_agg(k.name), '[""]') FROM taskq.kind k
				WHERE 'binary_id' = ANY (k.indexed) AND (kinds IS NULL OR k.name = ANY (kinds))));
	END IF;
	IF after IS NOT NULL AND (rest.uuid(after) IS NULL OR page > 1 OR sort_by = 'updated_at' OR (sort_by = 'priority' AND NOT down)) THEN
		PERFORM management_app.refuse(400, 'after must be the id of a task, without page, sorted by created_at or by priority from the highest on');
	ELSIF skip + per_page > 9999 THEN
		PERFORM management_app.refuse(400, 'no page begins behind the ten thousandth task',
			'Narrow the list by status, task_type or binary_id, or pass the last id of a page as "after" to get the next one.');
	END IF;

	-- a row more says whether there is another page
	IF filter ? 'payload' OR sort_by = 'updated_at' THEN
		-- a thousand are looked at, or as many as the page needs, and what runs
		SELECT count(*), (array_agg(d.t ORDER BY CASE WHEN sort_by = 'updated_at' AND down THEN (d.t).updated_at END DESC,
				CASE WHEN sort_by = 'updated_at' THEN (d.t).updated_at END,
				CASE WHEN sort_by = 'priority' THEN CASE WHEN down THEN - (d.t).priority ELSE (d.t).priority END END,
				CASE WHEN sort_by = 'created_at' AND down THEN (d.t).id END DESC, (d.t).id))[skip + 1 : skip + per_page + 1]
			INTO total, rows
		FROM (SELECT DISTINCT ON ((u.t).id) u.t FROM (
			SELECT l AS t FROM taskq.task_list(filter, way, after::uuid, greatest(1000, skip + per_page + 1)) l
			UNION ALL
			SELECT l FROM taskq.task_list(filter || '{"state": "running"}', 'newest', NULL, 1000) l
			WHERE after IS NULL AND (statuses IS NULL OR 'running' = ANY (statuses))) u ORDER BY (u.t).id) d;
		exact := total < 1000;
	ELSIF sort_by = 'priority' AND NOT down THEN
		-- from the lowest priority on that there is
		FOR p IN SELECT DISTINCT c.priority FROM management_app.counts() c ORDER BY 1 LOOP
			EXIT WHEN cardinality(rows) > skip + per_page;
			SELECT array_agg(l ORDER BY l.id) INTO part
			FROM taskq.task_list(filter || jsonb_build_object('min_priority', p, 'max_priority', p), 'oldest', NULL,
				skip + per_page + 1 - coalesce(cardinality(rows), 0)) l;
			rows := rows || part;
		END LOOP;
		rows := rows[skip + 1:];
	ELSE
		SELECT array_agg(l.t ORDER BY l.place) INTO rows
		FROM (SELECT t, row_number() OVER () AS place FROM taskq.task_list(filter, way, after::uuid, skip + per_page + 1) t) l
		WHERE l.place > skip;
	END IF;
	rows := coalesce(rows, '{}');
	most := cardinality(rows);

	IF filter ? 'payload' AND after IS NOT NULL THEN
		SELECT count(*) INTO total FROM taskq.task_list(filter, n => 1000) l;
		exact := total < 1000;
	ELSIF NOT filter ? 'payload' THEN
		SELECT coalesce(sum(c.n) FILTER (WHERE (statuses IS NULL OR c.status = ANY (statuses)) AND (kinds IS NULL OR c.kind = ANY (kinds))), 0),
			coalesce(sum(c.n), 0) <> 1000 INTO total, exact
		FROM management_app.counts() c;
	END IF;
	-- of some tasks no counter tells
	IF most > 0 AND total < skip + most THEN
		total := skip + most;
		exact := exact AND most <= per_page;
	END IF;

	RETURN management_app.answer(jsonb_build_object(
		'tasks', (SELECT coalesce(jsonb_agg(management_app.task(t) || jsonb_build_object('estimated_completion', rest.utc(t.estimated_completion),
				'queue_position', t.queue_position, 'updated_at', rest.utc(t.updated_at), 'metadata', coalesce(t.live_metadata, '{}')) ORDER BY r.i), '[]')
			FROM generate_series(1, least(most, per_page)) r(i), LATERAL (SELECT (rows[r.i]).*) t),
		'pagination', jsonb_build_object('page', page, 'per_page', per_page, 'total', total, 'pages', (total + per_page - 1) / per_page,
			'has_next', most > per_page, 'has_prev', page > 1 OR after IS NOT NULL, 'total_exact', exact,
			'next_after', CASE WHEN most > per_page THEN (rows[per_page]).id END),
		'summary', management_app.summary()), 'Tasks retrieved successfully');
END
$$;

CREATE OR REPLACE FUNCTION management_app.task_status(a jsonb) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	t taskq.task := management_app.find(a->>'id');
	w record;
	e record;
BEGIN
	SELECT * INTO w FROM taskq.worker x WHERE x.name = t.worker AND t.state = 'running' LIMIT 1;
	IF t.state NOT IN ('completed', 'failed', 'cancelled') THEN
		SELECT * INTO e FROM taskq.task_estimate(t.id);
	ELSE
		SELECT NULL::timestamptz AS estimated_completion, NULL::interval AS remaining INTO e;
	END IF;
	RETURN management_app.answer(jsonb_build_object(
		'task', management_app.task(t) || jsonb_build_object('updated_at', rest.utc(t.updated_at),
			'estimated_completion', rest.utc(coalesce(e.estimated_completion, t.estimated_completion)), 'actual_completion', rest.utc(t.finished_at),
			'duration', management_app.clock(t.duration), 'estimated_remaining', management_app.clock(e.remaining), 'queue_position', t.queue_position,
			'error', t.error->>'message', 'cancellation_reason', t.cancel_reason),
		'progress_details', jsonb_build_object('phase', t.phase, 'phase_progress', t.progress, 'current_operation', t.message,
			'operations_completed', t.completed_steps, 'operations_total', t.total, 'operations_failed', coalesce(t.failed_steps, 0),
			'failure_details', (SELECT coalesce(jsonb_agg(f.value || jsonb_build_object('timestamp', rest.utc((f.value->>'timestamp')::timestamptz))), '[]')
				FROM jsonb_array_elements(t.failure_details) f)),
		'performance_metrics', jsonb_build_object('cpu_usage', coalesce((t.resources->>'cpu_percent')::numeric, w.cpu_percent),
			'memory_usage', management_app.size(coalesce((t.resources->>'peak_memory')::bigint, w.memory)),
			'average_processing_time', round(extract(epoch FROM t.step_duration), 6),
			'throughput', CASE WHEN t.throughput >= 10 THEN round(t.throughput) ELSE t.throughput END || CASE WHEN t.live_metadata ? 'functions_completed' THEN ' functions/minute' ELSE ' steps/minute' END,
			'efficiency_score', t.efficiency),
		-- a worker is a process: one processor, no limit of memory but what its session may sort in
		'resource_usage', jsonb_build_object('worker_node', t.worker, 'cpu_cores', CASE WHEN t.configuration->>'required_worker' = 'internal' THEN 1 END,
			'memory_allocated', w.limits->>'work_mem',
			'disk_usage', management_app.size((t.resources->>'temp_bytes')::numeric + 8192 * (t.resources->>'blocks_written')::numeric),
			'network_usage', NULL)), 'Task status retrieved');
END
$$;

CREATE OR REPLACE FUNCTION management_app.task_details(a jsonb) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	t taskq.task := management_app.find(a->>'id');
BEGIN
	RETURN management_app.answer(jsonb_build_object(
		'task', management_app.task(t) || jsonb_build_object('completed_at', rest.utc(t.finished_at), 'duration', management_app.clock(t.duration),
			'success_rate', t.success_rate, 'error', t.error->>'message', 'cancellation_reason', t.cancel_reason),
		'results', coalesce(t.result, '{}'),
		'logs', (SELECT coalesce(jsonb_agg(jsonb_build_object('timestamp', rest.utc(l.logged_at), 'level', CASE l.level WHEN 'notice' THEN 'INFO' ELSE upper(l.level) END,
				'message', l.message, 'details', coalesce(l.details, '{}')) ORDER BY l.seq), '[]')
			FROM taskq.task_logs(t.id, n => -1000) l),
		'configuration', coalesce(CASE jsonb_typeof(t.payload->'config') WHEN 'object' THEN t.payload->'config' END, '{}') || t.configuration
			|| jsonb_build_object('max_retries', t.max_attempts - 1)), 'Task details retrieved');
END
$$;

-- How a client that knows only a task's state would say why it cannot be done.
CREATE OR REPLACE FUNCTION management_app.cancel_problem(t taskq.task) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
RETURN CASE WHEN t.state IN ('completed', 'failed', 'cancelled') THEN 'Task is already ' || t.state END;

CREATE OR REPLACE FUNCTION management_app.task_cancel(a jsonb) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	body jsonb := management_app.body(a, 'reason', 'force', 'cleanup');
	t taskq.task := management_app.find(a->>'id');
	cleanup bool := management_app.flag(body, 'cleanup', true);
	hook text;
	c record;
BEGIN
	SELECT * INTO c FROM taskq.task_cancel(t.id, body->>'reason', management_app.flag(body, 'force', false));
	IF NOT c.cancelled THEN
		PERFORM management_app.refuse(409, coalesce(management_app.cancel_problem(t), c.message, 'Task cannot be cancelled'));
	END IF;
	SELECT k.on_cancel INTO hook FROM taskq.kind k WHERE k.name = t.kind;
	IF NOT cleanup AND hook IS NOT NULL THEN
		INSERT INTO management_app.uncleaned (task_id) VALUES (t.id) ON CONFLICT DO NOTHING;
	END IF;
	RETURN management_app.answer(jsonb_build_object(
		'task', jsonb_build_object('id', t.id, 'status', 'cancelled', 'cancelled_at', rest.utc(clock_timestamp()), 'cancellation_reason', body->>'reason'),
		'cleanup_actions', to_jsonb(array_remove(ARRAY[
			CASE WHEN c.terminated THEN 'Ended worker process ' || t.worker WHEN t.state = 'running' THEN 'Told worker ' || t.worker || ' to stop'
				ELSE 'Removed from queue ' || t.queue END,
			CASE WHEN t.state = 'running' AND t.configuration->>'required_worker' = 'internal' THEN 'Rolled back what the task has written' END,
			CASE WHEN cleanup THEN 'Queued ' || hook END,
			CASE WHEN t.concurrency_key IS NOT NULL THEN 'Released key ' || t.concurrency_key END], NULL)),
		'partial_results', jsonb_build_object('functions_completed', coalesce(t.completed_steps, 0),
			'functions_remaining', greatest(coalesce(t.total - t.current, (t.metadata->>'functions_total')::float8, 0), 0),
			'progress_saved', coalesce(t.current > 0, false))), 'Task cancelled successfully');
END
$$;

-- The same for one and for many: answers the id of the new task.
CREATE OR REPLACE FUNCTION management_app.retry_problem(t taskq.task) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
RETURN CASE WHEN t.state NOT IN ('failed', 'cancelled') THEN format('Cannot retry a task that is %s', management_app.status(t.state)) END;

CREATE OR REPLACE FUNCTION management_app.task_retry(a jsonb) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	body jsonb := management_app.body(a, 'retry_failed_steps_only', 'increase_timeout', 'change_priority', 'use_different_worker');
	t taskq.task := management_app.find(a->>'id');
	fresh taskq.task;
	steps jsonb;
	only_steps bool := management_app.flag(body, 'retry_failed_steps_only', false);
	longer bool := management_app.flag(body, 'increase_timeout', false) AND t.timeout IS NOT NULL;
	priority int := management_app.number(body, 'change_priority', -100, 100, NULL);
BEGIN
	IF management_app.retry_problem(t) IS NOT NULL THEN
		PERFORM management_app.refuse(409, management_app.retry_problem(t), 'Only tasks that failed or were cancelled can be retried.');
	END IF;
	-- the new attempt is told which; if they are not all known, all steps are made again
	SELECT jsonb_agg(f->'step') INTO steps FROM jsonb_array_elements(t.failure_details) f;
	IF NOT only_steps OR jsonb_array_length(steps) < t.failed_steps OR jsonb_typeof(t.payload) <> 'object' THEN
		steps := NULL;
	END IF;
	fresh := management_app.find(taskq.task_retry(t.id, priority => priority, timeout_factor => CASE WHEN longer THEN 2 END,
		different_worker => CASE WHEN management_app.flag(body, 'use_different_worker', false) THEN true END,
		payload_merge => CASE WHEN steps IS NOT NULL THEN jsonb_build_object('retry_failed_steps', steps)
			WHEN t.payload ? 'retry_failed_steps' AND NOT only_steps THEN '{"retry_failed_steps": null}' END,
		only_failed => true)::text);
	RETURN management_app.answer(jsonb_build_object(
		'original_task', jsonb_build_object('id', t.id, 'status', t.state, 'failed_at', rest.utc(t.finished_at)),
		'new_task', jsonb_build_object('id', fresh.id, 'status', management_app.status(fresh.state), 'created_at', rest.utc(fresh.created_at),
			'priority', fresh.priority, 'retry_of', t.id),
		'retry_configuration', jsonb_build_object('retry_failed_steps_only', steps IS NOT NULL,
			'timeout_increased', CASE WHEN longer THEN format('%ss -> %ss', round(extract(epoch FROM t.timeout)), round(extract(epoch FROM fresh.timeout))) END,
			'priority_changed', CASE WHEN fresh.priority <> t.priority THEN format('%s -> %s', t.priority, fresh.priority) END,
			'use_different_worker', management_app.flag(body, 'use_different_worker', false),
			'steps_to_retry', coalesce(jsonb_array_length(steps), t.total))), 'Task retry queued');
END
$$;

CREATE OR REPLACE FUNCTION management_app.task_priority(a jsonb) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	body jsonb := management_app.body(a, 'priority', 'reason');
	t taskq.task := management_app.find(a->>'id');
	priority int := management_app.number(body, 'priority', -100, 100, NULL);
	p record;
BEGIN
	IF priority IS NULL THEN
		PERFORM management_app.refuse(400, 'priority must be given');
	END IF;
	SELECT * INTO p FROM taskq.task_set_priority(t.id, priority, body->>'reason');
	RETURN management_app.answer(jsonb_build_object(
		'task', jsonb_build_object('id', t.id, 'old_priority', p.old_priority, 'new_priority', p.new_priority,
			'old_queue_position', p.old_queue_position, 'new_queue_position', p.new_queue_position, 'updated_at', rest.utc(clock_timestamp())),
		'impact', jsonb_build_object('queue_position_change', p.old_queue_position - p.new_queue_position,
			'estimated_delay_reduction', CASE WHEN p.estimated_time_gained < interval '0' THEN '-' || management_app.words(-p.estimated_time_gained)
				ELSE management_app.words(p.estimated_time_gained) END)), 'Task priority updated');
END
$$;

/* ================================================================ statistics, workers, queue */

CREATE OR REPLACE FUNCTION management_app.statistics(a jsonb) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	timeframe text := management_app.word(a, 'timeframe', '{1h,24h,7d,30d}', '24h');
	since interval := CASE timeframe WHEN '1h' THEN interval '1 hour' WHEN '24h' THEN '24 hours' WHEN '7d' THEN '7 days' ELSE '30 days' END;
	sort text := management_app.word(a, 'group_by', '{type,status,worker,binary}', 'type');
	failed_too bool := management_app.flag(a, 'include_failed', true);
	s jsonb := taskq.statistics(since, CASE sort WHEN 'type' THEN 'category' WHEN 'status' THEN 'state' WHEN 'binary' THEN 'binary_id' ELSE sort END, failed_too);
	groups jsonb := s->'groups';
	memory numeric;
BEGIN
	-- means of what processes had are not counted: of the tasks that ended last
	SELECT avg((t.resources->>'peak_memory')::numeric) INTO memory
	FROM taskq.task_list(jsonb_build_object('state', '["completed", "failed"]'::jsonb, 'finished_after', now() - since), n => 100) t;
	-- kinds without a category stand for themselves
	IF sort = 'type' AND groups ? '' THEN
		groups := groups - '' || (SELECT coalesce(jsonb_object_agg(g.key, g.value), '{}')
			FROM jsonb_each(taskq.statistics(since, 'kind', failed_too)->'groups') g
			WHERE NOT EXISTS (SELECT FROM taskq.kind k WHERE k.name = g.key AND k.category IS NOT NULL));
	END IF;
	SELECT coalesce(jsonb_object_agg(g.key, jsonb_build_object('total', (g.value->>'total')::bigint + coalesce(r.n, 0),
		'completed', g.value->'completed', 'failed', g.value->'failed', 'cancelled', g.value->'cancelled', 'active', coalesce(r.n, 0),
		'success_rate', g.value->'success_rate', 'average_time', g.value->'average_time')), '{}') INTO groups
	FROM jsonb_each(groups) g
	LEFT JOIN (SELECT c.type, sum(c.n)::bigint AS n FROM management_app.counts() c WHERE sort = 'type' AND c.status = 'running' GROUP BY 1) r ON r.type = g.key;
	RETURN management_app.answer(jsonb_build_object('timeframe', timeframe, 'group_by', sort,
		'summary', (SELECT jsonb_object_agg(m, s->'summary'->m) FROM unnest('{total_tasks,completed_tasks,failed_tasks,cancelled_tasks,active_tasks,average_completion_time,total_processing_time}'::text[]) m)
			-- a number also where nothing has ended
			|| jsonb_build_object('success_rate', coalesce((s->'summary'->>'success_rate')::numeric, 0)),
		'by_' || sort, groups,
		'performance_trends', (SELECT jsonb_object_agg(m, s->'performance_trends'->m)
			FROM unnest('{completion_time_trend,success_rate_trend,queue_length_trend,worker_utilization}'::text[]) m),
		'resource_usage', jsonb_build_object('average_cpu_usage', s->'resource_usage'->'average_cpu_usage', 'average_memory_usage', management_app.size(memory),
			'peak_memory_usage', management_app.size((s->'resource_usage'->>'peak_memory_bytes')::numeric),
			'total_disk_usage', management_app.size(pg_size_bytes(s->'resource_usage'->>'total_disk_usage')))), 'Task statistics retrieved');
END
$$;

CREATE OR REPLACE FUNCTION management_app.workers_status(a jsonb) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	s jsonb := taskq.cluster_summary();
	list jsonb;
	counts jsonb;
BEGIN
	SELECT coalesce(jsonb_agg(jsonb_build_object('id', w.name, 'status', w.state, 'last_heartbeat', rest.utc(w.heartbeat),
			'current_task', CASE WHEN w.task_id IS NOT NULL THEN jsonb_build_object('id', w.task_id, 'type', w.kind,
				'progress', coalesce((SELECT t.progress FROM taskq.task_list(jsonb_build_object('id', w.task_id)) t), 0), 'started_at', rest.utc(w.started_at)) END,
			'capabilities', c.types,
			'performance', jsonb_build_object('cpu_usage', w.cpu, 'memory_usage', management_app.size(w.memory), 'tasks_completed', w.completed,
				'average_task_time', rest.minutes(w.average), 'success_rate', w.success_rate),
			'configuration', jsonb_build_object('max_concurrent_tasks', coalesce((w.limits->>'max_concurrent_tasks')::int, 1), 'supported_types', c.types,
				'memory_limit', w.limits->>'work_mem',
				'timeout_default', extract(epoch FROM (w.limits->>'default_timeout')::interval)::float8)) ORDER BY w.name), '[]') INTO list
	FROM management_app.workers() w
	CROSS JOIN LATERAL (SELECT coalesce(jsonb_agg(DISTINCT coalesce(k.category, n)), '[]') AS types
		FROM unnest(w.kinds) n LEFT JOIN taskq.kind k ON k.name = n) c;
	SELECT jsonb_build_object('total_workers', count(*), 'active_workers', count(*) FILTER (WHERE w->>'status' = 'active'),
			'idle_workers', count(*) FILTER (WHERE w->>'status' = 'idle'), 'offline_workers', count(*) FILTER (WHERE w->>'status' = 'offline'),
			'total_capacity', s->'total_capacity', 'current_utilization', x.busy,
			'utilization_percentage', round(100.0 * x.busy / nullif((s->>'total_capacity')::int, 0), 1)) INTO counts
	FROM (SELECT greatest((s->>'current_utilization')::int, count(*) FILTER (WHERE w->>'status' = 'active')) AS busy FROM jsonb_array_elements(list) w) x
	LEFT JOIN jsonb_array_elements(list) w ON true GROUP BY x.busy;
	RETURN management_app.answer(jsonb_build_object('workers', list, 'cluster_summary', counts), 'Worker status retrieved');
END
$$;

-- What could run now; what waits for its time, or for other tasks, is not in the queue yet.
CREATE OR REPLACE FUNCTION management_app.queue(a jsonb) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	down bool := management_app.word(a, 'priority_order', '{asc,desc}', 'desc') = 'desc';
	most int := management_app.number(a, 'limit', 1, 500, 50);
	kinds text[] := management_app.kinds(regexp_split_to_array(nullif(a->>'task_type', ''), '\s*,\s*'));
	times bool := management_app.flag(a, 'estimated_time', true);
	filter jsonb := '{"state": ["pending", "reserved"]}' || CASE WHEN kinds IS NULL THEN '{}' ELSE jsonb_build_object('kind', to_jsonb(kinds)) END;
	list jsonb := '[]';
	counts jsonb;
	total bigint;
	place bigint;
	p int;
	t taskq.task;
	e record;
BEGIN
	SELECT coalesce(sum(x.n), 0), jsonb_build_object(
			'by_priority', coalesce(jsonb_object_agg(x.name, x.n) FILTER (WHERE x.what = 'p'), '{}'),
			'by_type', coalesce(jsonb_object_agg(x.name, x.n) FILTER (WHERE x.what = 't'), '{}'))
		INTO total, counts
	FROM (SELECT 'p' AS what, c.priority::text AS name, sum(c.n)::bigint AS n FROM management_app.counts() c
			WHERE c.waiting AND (kinds IS NULL OR c.kind = ANY (kinds)) GROUP BY 2
		UNION ALL SELECT 't', c.type, sum(c.n)::bigint FROM management_app.counts() c
			WHERE c.waiting AND (kinds IS NULL OR c.kind = ANY (kinds)) GROUP BY 2) x;
	total := total / 2;			-- each stands there by priority and by type
	place := CASE WHEN down THEN 1 ELSE total END;
	FOR p IN SELECT x.key::int FROM jsonb_object_keys(counts->'by_priority') x(key)
		ORDER BY CASE WHEN down THEN -x.key::int ELSE x.key::int END
	LOOP
		EXIT WHEN jsonb_array_length(list) >= most;
		FOR t IN SELECT * FROM taskq.task_list(filter || jsonb_build_object('min_priority', p, 'max_priority', p),
			CASE WHEN down THEN 'oldest' ELSE 'newest' END, NULL, most - jsonb_array_length(list))
		LOOP
			list := list || (jsonb_build_object('id', t.id, 'task_type', t.kind, 'priority', t.priority, 'queue_position', greatest(place, 1),
					'binary_name', management_app.binary_name(t), 'created_at', rest.utc(t.created_at), 'required_worker_type', coalesce(t.category, t.kind))
				|| CASE WHEN times THEN jsonb_build_object('estimated_start', rest.utc(t.estimated_start),
					'estimated_completion', rest.utc(t.estimated_completion),
					'estimated_duration', management_app.words(t.estimated_completion - t.estimated_start)) ELSE '{}' END);
			place := place + CASE WHEN down THEN 1 ELSE -1 END;
		END LOOP;
	END LOOP;
	-- of the queues that these wait in; where one is not known, all of it is not
	SELECT CASE WHEN count(*) = count(q.time_to_empty) THEN max(q.time_to_empty) END AS time_to_empty, min(q.next_slot) AS next_slot INTO e
	FROM (SELECT DISTINCT c.queue::text AS name FROM taskq.task_counts() c
		WHERE c.state IN ('pending', 'reserved') AND (kinds IS NULL OR c.kind = ANY (kinds))) n
	LEFT JOIN taskq.queue_estimates() q ON q.queue = n.name;
	RETURN management_app.answer(jsonb_build_object('queue', list,
		'queue_summary', jsonb_build_object('total_queued', total, 'estimated_queue_duration',
				CASE WHEN total = 0 THEN '0 minutes' ELSE management_app.words(e.time_to_empty) END,
			'next_available_slot', rest.utc(e.next_slot)) || counts), 'Task queue retrieved');
END
$$;

CREATE OR REPLACE FUNCTION management_app.queue_clear(a jsonb) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	body jsonb := management_app.body(a, 'task_types', 'priority_threshold', 'older_than', 'reason');
	types text[] := management_app.texts(body, 'task_types');
	c record;
BEGIN
	IF types = '{}' THEN
		PERFORM management_app.refuse(400, 'task_types names no type', 'Leave it out to clear tasks of all types.');
	END IF;
	SELECT * INTO c FROM taskq.queue_clear(kinds => management_app.kinds(types),
		max_priority => management_app.number(body, 'priority_threshold', -100, 100, NULL),
		older_than => (body->>'older_than')::timestamptz, reason => body->>'reason');
	RETURN management_app.answer(jsonb_build_object('cleared_tasks', c.cleared,
		'affected_task_types', (SELECT coalesce(jsonb_agg(DISTINCT coalesce(k.category, n)), '[]')
			FROM unnest(c.cleared_kinds::text[]) n LEFT JOIN taskq.kind k ON k.name = n),
		'running_tasks_preserved', coalesce(c.running, 0), 'cleared_task_ids', to_jsonb(coalesce(c.task_ids, '{}'))), 'Task queue cleared');
END
$$;

/* ================================================================ many tasks, templates, binaries */

-- Without force what runs is not cancelled.  With it, it is told to stop, as by the URL of one
-- task; its process is ended only where the kind refuses to be cancelled otherwise.
CREATE OR REPLACE FUNCTION management_app.bulk_action(a jsonb) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	body jsonb := management_app.body(a, 'action', 'task_ids', 'reason', 'force', 'priority');
	action text := management_app.word(body, 'action', '{cancel,retry,priority,delete}', NULL);
	asked text[] := management_app.texts(body, 'task_ids');
	force bool := management_app.flag(body, 'force', false);
	priority int := management_app.number(body, 'priority', -100, 100, NULL);
	ids uuid[];
	hard uuid[];				-- cancelled only by the end of their process
	refused jsonb;				-- id -> why
	results jsonb;
BEGIN
	IF asked IS NULL OR cardinality(asked) NOT BETWEEN 1 AND 1000 THEN
		PERFORM management_app.refuse(400, 'task_ids must be a list of 1 to 1000 ids');
	ELSIF action = 'priority' AND priority IS NULL THEN
		PERFORM management_app.refuse(400, 'priority must be given');
	END IF;
	SELECT coalesce(jsonb_object_agg(t.id, jsonb_build_object('status', management_app.status(t.state), 'error', x.why)) FILTER (WHERE x.why IS NOT NULL), '{}'),
		array_agg(t.id) FILTER (WHERE x.why IS NULL),
		array_agg(t.id) FILTER (WHERE x.why IS NULL AND action = 'cancel' AND force AND t.configuration->>'cancellable' = 'false')
		INTO refused, ids, hard
	FROM taskq.task_list((SELECT jsonb_build_object('id', coalesce(jsonb_agg(DISTINCT rest.uuid(i)) FILTER (WHERE rest.uuid(i) IS NOT NULL),
		'["00000000-0000-0000-0000-000000000000"]')) FROM unnest(asked) i), n => 1000) t
	CROSS JOIN LATERAL (SELECT CASE action
		WHEN 'cancel' THEN coalesce(management_app.cancel_problem(t),
			CASE WHEN t.state = 'running' AND NOT force THEN 'Cannot cancel running task without force flag' END)
		WHEN 'retry' THEN management_app.retry_problem(t) END AS why) x;
	SELECT coalesce(jsonb_object_agg(b.task_id, jsonb_strip_nulls(jsonb_build_object('status', management_app.status(b.status), 'success', b.success,
			'error', b.error->>'message', 'new_task_id', b.new_task_id))), '{}') INTO results
	FROM (
		SELECT * FROM taskq.task_bulk(action, ARRAY(SELECT unnest(ids) EXCEPT SELECT unnest(hard)), body->>'reason', priority => priority)
		UNION ALL
		SELECT * FROM taskq.task_bulk(action, hard, body->>'reason', true) WHERE cardinality(hard) > 0
	) b;
	SELECT jsonb_agg(jsonb_build_object('task_id', i.id) || CASE
			WHEN results ? r.uuid THEN jsonb_build_object('status', CASE WHEN action = 'cancel' AND (results->r.uuid->>'success')::bool THEN 'cancelled'
				WHEN action = 'delete' AND (results->r.uuid->>'success')::bool THEN 'deleted' ELSE results->r.uuid->>'status' END) || ((results->r.uuid) - 'status')
			WHEN refused ? r.uuid THEN '{"success": false}' || (refused->r.uuid)
			ELSE '{"status": null, "success": false, "error": "Task not found"}' END ORDER BY i.place) INTO results
	FROM unnest(asked) WITH ORDINALITY i(id, place), LATERAL (SELECT coalesce(rest.uuid(i.id)::text, '') AS uuid) r;
	RETURN management_app.answer(jsonb_build_object('action', action, 'total_tasks', cardinality(asked),
		'successful_actions', (SELECT count(*) FROM jsonb_array_elements(results) r WHERE (r->>'success')::bool),
		'failed_actions', (SELECT count(*) FROM jsonb_array_elements(results) r WHERE NOT (r->>'success')::bool),
		'results', results), 'Bulk action completed');
END
$$;

-- How long a workflow takes if each step takes so many seconds and waits for those before it.
CREATE OR REPLACE FUNCTION management_app.longest(steps jsonb, seconds float8[]) RETURNS float8
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	ends float8[] := seconds;
	names text[] := ARRAY(SELECT coalesce(s->>'name', i::text) FROM jsonb_array_elements(steps) WITH ORDINALITY x(s, i) ORDER BY i);
	before float8[];
BEGIN
	-- until nothing changes; at most as often as there are steps
	FOR round IN 1..cardinality(names) LOOP
		before := ends;
		SELECT array_agg(seconds[x.i] + coalesce((SELECT max(before[array_position(names, d)]) FROM jsonb_array_elements_text(
			CASE jsonb_typeof(x.s->'depends_on') WHEN 'array' THEN x.s->'depends_on' WHEN 'string' THEN jsonb_build_array(x.s->'depends_on') ELSE '[]' END) d), 0)
			ORDER BY x.i) INTO ends
		FROM jsonb_array_elements(steps) WITH ORDINALITY x(s, i);
		EXIT WHEN ends = before;
	END LOOP;
	RETURN (SELECT CASE WHEN count(*) = count(e) THEN max(e) END FROM unnest(ends) e);
END
$$;

-- From a median step to one in twenty, as they took in the last week, else as the template says.
CREATE OR REPLACE FUNCTION management_app.templates(a jsonb) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	list jsonb;
BEGIN
	WITH took AS MATERIALIZED (SELECT s.key, extract(epoch FROM s.p50_run)::float8 AS p50, extract(epoch FROM s.p95_run)::float8 AS p95
		FROM taskq.statistics_by('7 days', 'kind') s),
	step AS (SELECT t.name AS template, x.i, x.s, k.category, k.priority,
			coalesce(took.p50, extract(epoch FROM (x.s->>'expected_duration')::interval)) AS low,
			coalesce(took.p95, extract(epoch FROM (x.s->>'expected_duration')::interval)) AS high
		FROM taskq.template t CROSS JOIN LATERAL jsonb_array_elements(t.steps) WITH ORDINALITY x(s, i)
		LEFT JOIN taskq.kind k ON k.name = x.s->>'kind' LEFT JOIN took ON took.key = x.s->>'kind')
	SELECT coalesce(jsonb_agg(jsonb_build_object('id', t.name, 'name', coalesce(nullif(split_part(t.description, E'\n', 1), ''), t.name),
			'description', coalesce(nullif(trim(E'\n ' FROM substr(t.description, 1 + length(split_part(t.description, E'\n', 1)))), ''), t.description, ''),
			'task_sequence', s.sequence,
			'estimated_duration', CASE WHEN s.low < 60 AND s.high < 60 THEN concat_ws('-', nullif(ceil(s.low), ceil(s.high)), ceil(s.high)) || ' seconds'
				ELSE concat_ws('-', nullif(ceil(s.low / 60), ceil(s.high / 60)), ceil(s.high / 60)) || ' minutes' END) ORDER BY t.name), '[]') INTO list
	FROM taskq.template t
	CROSS JOIN LATERAL (SELECT jsonb_agg(jsonb_build_object('type', coalesce(p.category, p.s->>'kind'), 'name', coalesce(p.s->>'name', p.i::text),
			'priority', coalesce((p.s->>'priority')::int, p.priority, 0),
			'config', coalesce(CASE jsonb_typeof(p.s->'payload'->'config') WHEN 'object' THEN p.s->'payload'->'config' END, '{}'))
			|| CASE WHEN p.s ? 'depends_on' THEN jsonb_build_object('depends_on', p.s->'depends_on') ELSE '{}' END ORDER BY p.i) AS sequence,
		management_app.longest(t.steps, array_agg(p.low::float8 ORDER BY p.i)) AS low,
		management_app.longest(t.steps, array_agg(p.high::float8 ORDER BY p.i)) AS high
		FROM step p WHERE p.template = t.name) s;
	RETURN management_app.answer(jsonb_build_object('templates', list), 'Task templates retrieved');
END
$$;

CREATE OR REPLACE FUNCTION management_app.binary_task(a jsonb) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	config jsonb := coalesce(nullif(a->'body', 'null'), '{}');
	kind text := CASE a->>'verb' WHEN 'analyze' THEN 'analyze' WHEN 'decompile-all' THEN 'bulk_decompile'
		WHEN 'ai-explain-all' THEN 'ai_explain' WHEN 'security-analysis' THEN 'security_scan' END;
	b management_app.binary;
	n int;
	message text;
	t taskq.task;
BEGIN
	SELECT * INTO b FROM management_app.binary x WHERE x.id = rest.uuid(a->>'id');
	IF b.id IS NULL OR kind IS NULL THEN
		PERFORM management_app.refuse(404, 'Binary not found');
	ELSIF jsonb_typeof(config) <> 'object' THEN
		PERFORM management_app.refuse(400, 'the body must be a JSON object');
	END IF;
	config := CASE kind WHEN 'bulk_decompile' THEN '{"decompiler_timeout": 60, "max_retries": 0, "parallel_processing": false, "quality_threshold": "medium"}'::jsonb
		WHEN 'ai_explain' THEN '{"ai_provider": "none", "analysis_focus": "security"}' ELSE '{}' END || config;
	SELECT count(*) INTO n FROM management_app.function f WHERE f.binary_id = b.id;
	message := CASE kind WHEN 'analyze' THEN 'Analysis' WHEN 'bulk_decompile' THEN 'Decompilation' WHEN 'ai_explain' THEN 'Explanation' ELSE 'Security analysis' END;
	t := management_app.find(taskq.task_submit(kind, jsonb_build_object('binary_id', b.id, 'binary_name', b.name, 'config', config),
		metadata => CASE kind WHEN 'ai_explain' THEN jsonb_build_object('function_count', n, 'ai_provider', config->'ai_provider', 'analysis_focus', config->'analysis_focus')
			WHEN 'security_scan' THEN '{}' ELSE jsonb_build_object('functions_total', coalesce(nullif(n, 0), b.functions), 'functions_completed', 0) END)::text);
	RETURN management_app.answer(jsonb_build_object('task', management_app.task(t)), message || ' started');
END
$$;

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA management_app FROM PUBLIC;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA management_app TO web_user;
REVOKE ALL ON FUNCTION management_app.work, management_app.analyze, management_app.decompile, management_app.ai_explain,
	management_app.security_scan, management_app.clean_up FROM web_user;

/* ================================================================ the URLs */

CREATE OR REPLACE FUNCTION management.tasks(status text DEFAULT NULL, task_type text DEFAULT NULL, binary_id text DEFAULT NULL, page text DEFAULT NULL,
	per_page text DEFAULT NULL, sort_by text DEFAULT NULL, sort_order text DEFAULT NULL, after text DEFAULT NULL) RETURNS jsonb
LANGUAGE sql STABLE
RETURN management_app.guarded('tasks', management_app.query('status', status, 'task_type', task_type, 'binary_id', binary_id, 'page', page,
	'per_page', per_page, 'sort_by', sort_by, 'sort_order', sort_order, 'after', after));
COMMENT ON FUNCTION management.tasks IS
'Get all tasks: GET /api/tasks

status, task_type: one, or several with commas between. sort_by: created_at, updated_at, priority. after: last id of a page, instead of page.';

CREATE OR REPLACE FUNCTION management.task_status(id text) RETURNS jsonb LANGUAGE sql STABLE
RETURN management_app.guarded('task_status', jsonb_build_object('id', id));
COMMENT ON FUNCTION management.task_status IS 'Get a task''s status: GET /api/tasks/{id}/status';

CREATE OR REPLACE FUNCTION management.task_details(id text) RETURNS jsonb LANGUAGE sql STABLE
RETURN management_app.guarded('task_details', jsonb_build_object('id', id));
COMMENT ON FUNCTION management.task_details IS 'Get a task with its results and log: GET /api/tasks/{id}';

CREATE OR REPLACE FUNCTION management.statistics(timeframe text DEFAULT NULL, group_by text DEFAULT NULL, include_failed text DEFAULT NULL) RETURNS jsonb
LANGUAGE sql STABLE
RETURN management_app.guarded('statistics', management_app.query('timeframe', timeframe, 'group_by', group_by, 'include_failed', include_failed));
COMMENT ON FUNCTION management.statistics IS
'Get task statistics: GET /api/tasks/statistics

timeframe: 1h, 24h, 7d, 30d. group_by: type, status, worker, binary.';

CREATE OR REPLACE FUNCTION management.workers() RETURNS jsonb LANGUAGE sql STABLE
RETURN management_app.guarded('workers_status', '{}');
COMMENT ON FUNCTION management.workers IS 'Get the workers and what they do: GET /api/workers/status';

CREATE OR REPLACE FUNCTION management.queue(priority_order text DEFAULT NULL, n text DEFAULT NULL, task_type text DEFAULT NULL, estimated_time text DEFAULT NULL) RETURNS jsonb
LANGUAGE sql STABLE
RETURN management_app.guarded('queue', management_app.query('priority_order', priority_order, 'limit', n, 'task_type', task_type, 'estimated_time', estimated_time));
COMMENT ON FUNCTION management.queue IS
'Get what waits, in the order in which it will run: GET /api/queue

n is the URL''s limit.';

CREATE OR REPLACE FUNCTION management.templates() RETURNS jsonb LANGUAGE sql STABLE
RETURN management_app.guarded('templates', '{}');
COMMENT ON FUNCTION management.templates IS 'Get the templates: GET /api/tasks/templates';

-- With a body of the client's own: it is the argument, and header X-Taskq-Id has the id.
CREATE OR REPLACE FUNCTION management.task_cancel(jsonb) RETURNS jsonb LANGUAGE sql VOLATILE
RETURN management_app.guarded('task_cancel', jsonb_build_object('id', rest.header('X-Taskq-Id'), 'body', $1));
COMMENT ON FUNCTION management.task_cancel IS
'Cancel a task: POST /api/tasks/{id}/cancel

Body: reason, force, cleanup.';

CREATE OR REPLACE FUNCTION management.task_retry(jsonb) RETURNS jsonb LANGUAGE sql VOLATILE
RETURN management_app.guarded('task_retry', jsonb_build_object('id', rest.header('X-Taskq-Id'), 'body', $1));
COMMENT ON FUNCTION management.task_retry IS
'Retry a task that failed: POST /api/tasks/{id}/retry

Body: retry_failed_steps_only, increase_timeout, change_priority, use_different_worker.';

CREATE OR REPLACE FUNCTION management.task_priority(jsonb) RETURNS jsonb LANGUAGE sql VOLATILE
RETURN management_app.guarded('task_priority', jsonb_build_object('id', rest.header('X-Taskq-Id'), 'body', $1));
COMMENT ON FUNCTION management.task_priority IS
'Give a waiting task another priority: PUT /api/tasks/{id}/priority

Body: priority, reason.';

CREATE OR REPLACE FUNCTION management.queue_clear(jsonb) RETURNS jsonb LANGUAGE sql VOLATILE
RETURN management_app.guarded('queue_clear', jsonb_build_object('body', $1));
COMMENT ON FUNCTION management.queue_clear IS
'Cancel what waits: POST /api/queue/clear

Body: task_types, priority_threshold, older_than, reason.';

CREATE OR REPLACE FUNCTION management.bulk_action(jsonb) RETURNS jsonb LANGUAGE sql VOLATILE
RETURN management_app.guarded('bulk_action', jsonb_build_object('body', $1));
COMMENT ON FUNCTION management.bulk_action IS
'Do the same to many tasks: POST /api/tasks/bulk-action

Body: action (cancel, retry, priority, delete), task_ids, reason, force, priority.';

CREATE OR REPLACE FUNCTION management.binary_task(jsonb) RETURNS jsonb LANGUAGE sql VOLATILE
RETURN management_app.guarded('binary_task', jsonb_build_object('id', rest.header('X-Taskq-Id'), 'verb', rest.header('X-Taskq-Verb'), 'body', $1));
COMMENT ON FUNCTION management.binary_task IS
'Submit a task of a binary: POST /api/binaries/{id}/analyze, decompile-all, ai-explain-all, security-analysis

The body, if there is one, is the task''s configuration.';

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA management FROM PUBLIC;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA management TO web_user;
RESET ROLE;
COMMIT;
RESET client_min_messages;
NOTIFY pgrst;
