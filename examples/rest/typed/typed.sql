-- The task system of a scanner: organisations, tasks of three types, objects that they
-- make, schedules over sets of objects, a page.
--
--     psql -d app -f examples/rest/typed/typed.sql
--
-- As superuser, after examples/roles.sql; it can be run again.  Schema typed is what
-- PostgREST shows, for nginx.conf beside this file; schema typed_app is the application:
-- its tables, kinds and their handlers.  What a client sees is in docs/from/typed.md.
-- An organisation is a tenant: its code is claim "tenant" of its users' tokens.

\set ON_ERROR_STOP 1
\ir ../common.sql
SET client_min_messages = warning;
BEGIN;

CREATE SCHEMA IF NOT EXISTS typed_app AUTHORIZATION app_owner;
CREATE SCHEMA IF NOT EXISTS typed;
REVOKE ALL ON SCHEMA typed, typed_app FROM PUBLIC;
GRANT USAGE ON SCHEMA typed, typed_app TO web_user;
GRANT USAGE ON SCHEMA typed_app TO app_runner;
COMMENT ON SCHEMA typed IS 'Tasks of organisations

Plugins, business rules and reports: submit, look, run, retry; objects that they made; schedules.';

/* ------------------------------------------------------------ tables */

SET LOCAL ROLE app_owner;

CREATE TABLE IF NOT EXISTS typed_app.organization (
	code text PRIMARY KEY CHECK (code ~ '^[A-Za-z0-9_.~-]{1,100}$'),
	name text NOT NULL
);
CREATE TABLE IF NOT EXISTS typed_app.plugin (
	plugin_id text PRIMARY KEY,
	description text NOT NULL
);
-- What names an object of a type: the values of these members, joined by |.
CREATE TABLE IF NOT EXISTS typed_app.object_type (
	type text PRIMARY KEY,
	key text[] NOT NULL
);
CREATE TABLE IF NOT EXISTS typed_app.object (
	organization text NOT NULL REFERENCES typed_app.organization ON DELETE CASCADE,
	type text NOT NULL REFERENCES typed_app.object_type,
	pk text NOT NULL,
	data jsonb NOT NULL,
	created_at timestamptz NOT NULL DEFAULT now(),
	PRIMARY KEY (organization, type, pk)
);
CREATE TABLE IF NOT EXISTS typed_app.object_set (
	id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	organization text NOT NULL REFERENCES typed_app.organization ON DELETE CASCADE,
	name text NOT NULL,
	type text NOT NULL REFERENCES typed_app.object_type,
	pattern text NOT NULL DEFAULT '%',		-- of pk, as LIKE has it
	UNIQUE (organization, id)
);
CREATE TABLE IF NOT EXISTS typed_app.schedule (
	id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	organization text NOT NULL REFERENCES typed_app.organization ON DELETE CASCADE,
	plugin text NOT NULL REFERENCES typed_app.plugin,
	object_set int NOT NULL,
	"interval" interval NOT NULL CHECK ("interval" BETWEEN '1 min' AND '30 days'),	-- tasks are kept for so long
	enabled bool NOT NULL DEFAULT true,
	error text,
	FOREIGN KEY (organization, object_set) REFERENCES typed_app.object_set (organization, id) ON DELETE CASCADE
);

INSERT INTO typed_app.plugin VALUES ('dns_records', 'Names beside a name'), ('slow_scan', 'Takes input_data''s seconds'), ('broken', 'Fails')
ON CONFLICT DO NOTHING;
INSERT INTO typed_app.object_type VALUES ('network', '{name}'), ('hostname', '{network,name}'), ('ipaddress', '{network,address}')
ON CONFLICT DO NOTHING;

-- A user of an organisation has what is its own.
CREATE OR REPLACE FUNCTION typed_app.mine(organization text) RETURNS bool
LANGUAGE sql STABLE RETURN organization = rest.claim('tenant');

DO $$
DECLARE
	it text;
BEGIN
	FOREACH it IN ARRAY '{organization,object,object_set,schedule}'::text[] LOOP
		EXECUTE format('ALTER TABLE typed_app.%I ENABLE ROW LEVEL SECURITY', it);
		EXECUTE format('DROP POLICY IF EXISTS mine ON typed_app.%I', it);
		EXECUTE format('CREATE POLICY mine ON typed_app.%I TO web_user USING (typed_app.mine(%I))', it,
			CASE it WHEN 'organization' THEN 'code' ELSE 'organization' END);
		EXECUTE format('DROP POLICY IF EXISTS all_of_them ON typed_app.%I', it);
		EXECUTE format('CREATE POLICY all_of_them ON typed_app.%I TO app_runner, web_operator USING (true)', it);
	END LOOP;
END
$$;
GRANT SELECT ON ALL TABLES IN SCHEMA typed_app TO web_user, app_runner;
GRANT INSERT ON typed_app.object, typed_app.object_set, typed_app.schedule TO web_user;
GRANT UPDATE ("interval", enabled), DELETE ON typed_app.schedule TO web_user;
GRANT INSERT ON typed_app.object TO app_runner;
GRANT UPDATE (error) ON typed_app.schedule TO app_runner;
GRANT INSERT, DELETE ON typed_app.organization TO web_operator;

/* ------------------------------------------------------------ what its tasks do */

-- An object, and that the task made it, in one transaction.  One that is there stays as it is.
CREATE OR REPLACE FUNCTION typed_app.object_make(organization text, type text, data jsonb, task uuid, OUT pk text, OUT made bool)
LANGUAGE plpgsql AS $$
DECLARE
	names text[];
BEGIN
	SELECT t.key INTO names FROM typed_app.object_type t WHERE t.type = object_make.type;
	SELECT string_agg(data->>n, '|' ORDER BY o) INTO pk FROM unnest(names) WITH ORDINALITY k (n, o);
	IF NOT data ?& names OR names IS NULL THEN
		pk := NULL;
		RETURN;
	END IF;
	INSERT INTO typed_app.object AS o (organization, type, pk, data) VALUES ($1, $2, object_make.pk, $3) ON CONFLICT DO NOTHING;
	made := FOUND;
	IF task IS NOT NULL THEN
		PERFORM taskq.link(object => $2, id => object_make.pk, task => $4);
	END IF;
END
$$;

CREATE OR REPLACE FUNCTION typed_app.execute_plugin(job jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
	this record := taskq.current_task();
	input text := job->>'input_data';
	made text[];
	data jsonb;
BEGIN
	PERFORM taskq.log(format('plugin %s, input %s', job->>'plugin_id', input));
	CASE job->>'plugin_id'
	WHEN 'dns_records' THEN
		FOR data IN
			SELECT jsonb_build_object('network', split_part(input, '|', 1), 'name', sub || '.' || split_part(input, '|', 2))
			FROM unnest('{www,mail}'::text[]) sub
		LOOP
			made := made || (SELECT m.pk FROM typed_app.object_make(this.tenant, 'hostname', data, this.id) m);
		END LOOP;
		RETURN jsonb_build_object('hostnames', made);
	WHEN 'slow_scan' THEN
		FOR i IN 1 .. 100 LOOP
			PERFORM pg_sleep(least(input::float8, 600) / 100), taskq.progress(i);
		END LOOP;
		RETURN jsonb_build_object('scanned', input);
	WHEN 'broken' THEN
		RAISE EXCEPTION 'plugin exploded on %', input;
	ELSE
		PERFORM taskq.fail(format('there is no plugin "%s"', job->>'plugin_id'));
	END CASE;
END
$$;

CREATE OR REPLACE FUNCTION typed_app.execute_rule(job jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	IF job->>'rule_id' IS DISTINCT FROM 'check_ssl_expiry' THEN
		PERFORM taskq.fail(format('there is no business rule "%s"', job->>'rule_id'));
	END IF;
	RETURN (SELECT jsonb_build_object('rule_id', job->>'rule_id', 'checked', count(*), 'findings', '[]'::jsonb)
		FROM typed_app.object o WHERE o.organization = (taskq.current_task()).tenant AND o.type = 'hostname');
END
$$;

CREATE OR REPLACE FUNCTION typed_app.objects_of(object_set int) RETURNS SETOF typed_app.object LANGUAGE sql STABLE AS $$
	SELECT o.* FROM typed_app.object_set s
	JOIN typed_app.object o ON o.organization = s.organization AND o.type = s.type AND o.pk LIKE s.pattern
	WHERE s.id = $1
$$;

CREATE OR REPLACE FUNCTION typed_app.execute_report(job jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
	tenant text := (taskq.current_task()).tenant;
BEGIN
	RETURN (SELECT jsonb_build_object('report_type', job->>'report_type', 'objects', count(*),
			'scanned', count(*) FILTER (WHERE EXISTS (SELECT FROM taskq.link l WHERE l.object = o.type AND l.id = o.pk AND l.tenant = o.organization)))
		FROM typed_app.objects_of((job->>'object_set_id')::int) o WHERE o.organization = tenant);
END
$$;

-- Inputs for which an organisation had a task of a plugin since then, in whatever state.
CREATE OR REPLACE FUNCTION typed_app.scanned(organization text, plugin text, since timestamptz) RETURNS SETOF text LANGUAGE plpgsql STABLE AS $$
DECLARE
	inputs text[];
	last uuid;
BEGIN
	LOOP
		SELECT array_agg(t.payload->>'input_data'), (array_agg(t.id ORDER BY t.id))[1] INTO inputs, last
		FROM taskq.task_list(jsonb_build_object('kind', 'typed.plugin', 'tenant', organization, 'payload', jsonb_build_object('plugin_id', plugin),
			'created_after', since), after => last, n => 10000) t;
		RETURN QUERY SELECT unnest(inputs);
		EXIT WHEN coalesce(cardinality(inputs), 0) < 10000;
	END LOOP;
END
$$;

-- Every minute: a task for each object of each enabled schedule, unless it had one within the
-- interval, whoever made that one, in whatever state it is.
CREATE OR REPLACE FUNCTION typed_app.create_scheduled_tasks() RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
	schedule typed_app.schedule;
	due jsonb[];
	made bigint := 0;
BEGIN
	FOR schedule IN SELECT * FROM typed_app.schedule s WHERE s.enabled ORDER BY s.id LOOP
		BEGIN
			SELECT array_agg(jsonb_build_object('plugin_id', schedule.plugin, 'input_data', due_now.pk)) INTO due
			FROM (SELECT o.pk FROM typed_app.objects_of(schedule.object_set) o
				EXCEPT SELECT typed_app.scanned(schedule.organization, schedule.plugin, now() - schedule."interval")) due_now;
			IF due IS NOT NULL THEN
				made := made + typed_app.submit_for(schedule.organization, 'typed.plugin', due);
			END IF;
			UPDATE typed_app.schedule s SET error = NULL WHERE s.id = schedule.id AND s.error IS NOT NULL;
		EXCEPTION WHEN OTHERS THEN
			-- costs this one only
			UPDATE typed_app.schedule s SET error = SQLERRM WHERE s.id = schedule.id;
		END;
	END LOOP;
	RETURN jsonb_build_object('created', made);
END
$$;

CREATE OR REPLACE FUNCTION typed_app.run_business_rules() RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	RETURN (SELECT jsonb_build_object('created', coalesce(sum(typed_app.submit_for(o.code, 'typed.business_rule',
			ARRAY['{"rule_id": "check_ssl_expiry"}'::jsonb])), 0))
		FROM typed_app.organization o);
END
$$;

REVOKE ALL ON FUNCTION typed_app.execute_plugin, typed_app.execute_rule, typed_app.execute_report, typed_app.create_scheduled_tasks,
	typed_app.run_business_rules, typed_app.mine, typed_app.objects_of, typed_app.object_make, typed_app.scanned FROM PUBLIC;
GRANT EXECUTE ON FUNCTION typed_app.execute_plugin, typed_app.execute_rule, typed_app.execute_report, typed_app.create_scheduled_tasks,
	typed_app.run_business_rules, typed_app.scanned TO app_runner;
GRANT EXECUTE ON FUNCTION typed_app.mine, typed_app.objects_of, typed_app.object_make TO app_runner, web_user;

SELECT taskq.kind_define('typed.plugin', 'typed_app.execute_plugin(jsonb)', max_attempts => 1, timeout => '1 hour', run_as => 'app_runner',
	retention => '30 days', category => 'typed', indexed => '{plugin_id,input_data}', description => 'Plugin'),
	taskq.kind_define('typed.business_rule', 'typed_app.execute_rule(jsonb)', max_attempts => 1, timeout => '10 min', run_as => 'app_runner',
	retention => '30 days', category => 'typed', description => 'Business rule'),
	taskq.kind_define('typed.report', 'typed_app.execute_report(jsonb)', max_attempts => 1, timeout => '10 min', run_as => 'app_runner',
	retention => '30 days', category => 'typed', description => 'Report'),
	taskq.kind_define('typed.create_scheduled_tasks', 'typed_app.create_scheduled_tasks()', max_attempts => 1, max_running => 1, timeout => '10 min', run_as => 'app_runner',
	retention => '1 hour', description => 'Create scheduled tasks'),
	taskq.kind_define('typed.run_business_rules', 'typed_app.run_business_rules()', max_attempts => 1, max_running => 1, timeout => '10 min', run_as => 'app_runner',
	retention => '1 hour', description => 'Run business rules') \g /dev/null
SELECT taskq.kind_grant(k, 'web_user') FROM unnest('{typed.plugin,typed.business_rule,typed.report}'::text[]) k \g /dev/null
-- * and */15 of cron, in UTC; where pg_cron is, cron => '*/15 * * * *' does it as well
SELECT taskq.schedule_define('create-scheduled-tasks', 'typed.create_scheduled_tasks', every => '1 min', missed => 'skip',
	starts_at => date_trunc('minute', now()) + interval '1 min'),
	taskq.schedule_define('run-business-rules', 'typed.run_business_rules', every => '15 min', missed => 'skip',
	starts_at => date_trunc('hour', now()) + interval '1 hour') \g /dev/null
RESET ROLE;

-- What makes tasks on a schedule's behalf makes them as a web user of the organisation
-- would: its users see and steer them.
CREATE OR REPLACE FUNCTION typed_app.submit_for(organization text, kind text, data jsonb[]) RETURNS bigint
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
	SELECT count(*) FROM taskq.task_submit_many($2, $3, options => jsonb_build_object('tenant', $1))
$$;
REVOKE ALL ON FUNCTION typed_app.submit_for FROM PUBLIC;
ALTER FUNCTION typed_app.submit_for OWNER TO web_user;
GRANT EXECUTE ON FUNCTION typed_app.submit_for TO app_runner;

-- With an organisation go its tasks.
CREATE OR REPLACE FUNCTION typed_app.organization_gone() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	-- what runs is told to stop, and is deleted by a later call
	PERFORM taskq.tenant_delete(OLD.code);
	RETURN NULL;
END
$$;
CREATE OR REPLACE TRIGGER organization_gone AFTER DELETE ON typed_app.organization
	FOR EACH ROW EXECUTE FUNCTION typed_app.organization_gone();

/* ------------------------------------------------------------ tasks in the contract's words */

CREATE OR REPLACE FUNCTION typed_app.word(state text) RETURNS text LANGUAGE sql IMMUTABLE AS $$
	SELECT CASE WHEN state = 'running' THEN 'RUNNING' WHEN state = 'completed' THEN 'COMPLETED' WHEN state IN ('failed', 'cancelled') THEN 'FAILED' ELSE 'PENDING' END
$$;

-- A task that was retried is one task here: its id is the first one's, all else the newest one's.
CREATE OR REPLACE FUNCTION typed_app.newest(task taskq.task) RETURNS taskq.task LANGUAGE plpgsql STABLE AS $$
DECLARE
	next taskq.task;
BEGIN
	WHILE task.ready LOOP
		SELECT * INTO next FROM taskq.task_list(jsonb_build_object('retry_of', task.id), n => 1);
		EXIT WHEN next.id IS NULL;
		task := next;
	END LOOP;
	RETURN task;
END
$$;

CREATE OR REPLACE FUNCTION typed_app.first(task taskq.task) RETURNS taskq.task LANGUAGE plpgsql STABLE AS $$
DECLARE
	before taskq.task;
BEGIN
	WHILE task.retry_of IS NOT NULL LOOP
		SELECT * INTO before FROM taskq.task t WHERE t.id = task.retry_of;
		EXIT WHEN before.id IS NULL;
		task := before;
	END LOOP;
	RETURN task;
END
$$;

CREATE OR REPLACE FUNCTION typed_app.error_of(task taskq.task) RETURNS text LANGUAGE sql STABLE AS $$
	SELECT CASE task.state WHEN 'failed' THEN task.error->>'message'
		WHEN 'cancelled' THEN 'Task was cancelled' || coalesce(': ' || task.cancel_reason, '') END
$$;

CREATE OR REPLACE FUNCTION typed_app.shown(first taskq.task, newest taskq.task) RETURNS json LANGUAGE sql STABLE AS $$
	SELECT json_build_object(
		'id', first.id,
		'type', substr(newest.kind, length('typed.') + 1),
		'status', typed_app.word(newest.state),
		'created_at', rest.utc(first.created_at),
		'ended_at', rest.utc(newest.finished_at),
		'data', newest.payload || jsonb_strip_nulls(jsonb_build_object('error', typed_app.error_of(newest),
			'traceback', CASE newest.state WHEN 'failed' THEN coalesce(newest.error->>'traceback', newest.error->>'context') END)))
$$;

-- What is no id, of nobody's or of another's task, or a task of something else, is not found.
CREATE OR REPLACE FUNCTION typed_app.find(id text) RETURNS SETOF taskq.task LANGUAGE sql STABLE ROWS 1 AS $$
	SELECT * FROM taskq.task t WHERE t.id = rest.uuid($1) AND t.category = 'typed'
$$;

-- Why the caller may do nothing for an organization, or for its own.
CREATE OR REPLACE FUNCTION typed_app.refusal(organization text DEFAULT NULL) RETURNS text LANGUAGE sql STABLE
RETURN CASE
	WHEN organization <> rest.claim('tenant') THEN 'You do not have permission to perform this action for this organization.'
	WHEN coalesce(rest.claim('tenant'), '') = '' THEN 'Your token has no tenant: a task is of an organization.'
	WHEN NOT EXISTS (SELECT FROM typed_app.organization o WHERE typed_app.mine(o.code))
		THEN format('There is no organization "%s", which is the tenant of your token.', rest.claim('tenant')) END;

CREATE OR REPLACE FUNCTION typed_app.say(status int, detail text) RETURNS json LANGUAGE plpgsql AS $$
BEGIN
	PERFORM rest.respond(status);
	RETURN json_build_object('detail', detail);
END
$$;
CREATE OR REPLACE FUNCTION typed_app.wrong(member text, why text) RETURNS json LANGUAGE plpgsql AS $$
BEGIN
	PERFORM rest.respond(400);
	RETURN json_build_object(member, json_build_array(why));
END
$$;

-- One page of tasks, the newest first.  What was retried is where its newest attempt is.  If
-- there is another page a row at the end says after which task.
CREATE OR REPLACE FUNCTION typed_app.page(filter jsonb, n int, after text)
RETURNS TABLE (first taskq.task, newest taskq.task, next uuid) LANGUAGE plpgsql STABLE AS $$
DECLARE
	read int := 0;
	last uuid;
BEGIN
	FOR newest IN SELECT * FROM taskq.task_list(filter || '{"category": "typed"}', after => rest.uuid(after), n => page.n) LOOP
		read := read + 1;
		last := newest.id;
		IF (typed_app.newest(newest)).id = newest.id THEN
			first := typed_app.first(newest);
			RETURN NEXT;
		END IF;
	END LOOP;
	IF read = n THEN
		first := NULL;
		newest := NULL;
		next := last;
		RETURN NEXT;
	END IF;
END
$$;

-- The task and its retries.
CREATE OR REPLACE FUNCTION typed_app.attempts(id uuid) RETURNS uuid[] LANGUAGE plpgsql STABLE AS $$
DECLARE
	ids uuid[] := ARRAY[id];
BEGIN
	WHILE id IS NOT NULL LOOP
		id := (SELECT t.id FROM taskq.task_list(jsonb_build_object('retry_of', attempts.id), n => 1) t);
		ids := ids || id;
	END LOOP;
	RETURN array_remove(ids, NULL);
END
$$;

CREATE OR REPLACE FUNCTION typed_app.object_task(link taskq.link, task_id uuid) RETURNS json LANGUAGE sql STABLE AS $$
	SELECT json_build_object('task_id', task_id, 'plugin_id', link.payload->>'plugin_id', 'input_object', link.payload->>'input_data',
		'output_object', link.id, 'object_type', link.object, 'created_at', rest.utc(link.created_at))
$$;

CREATE OR REPLACE FUNCTION typed_app.submit(type text, data jsonb, held bool) RETURNS uuid LANGUAGE sql AS $$
	SELECT taskq.task_submit('typed.' || type, data, run_at => CASE WHEN held THEN 'infinity'::timestamptz END)
$$;

-- Held, or put off: now.  Waiting for a worker: next.  Null for one that runs, waits for others or is over.
CREATE OR REPLACE FUNCTION typed_app.run_now(task taskq.task) RETURNS bool LANGUAGE plpgsql AS $$
BEGIN
	IF task.state IN ('scheduled', 'retrying') THEN
		PERFORM taskq.task_run_now(task.id);
	ELSIF task.state IN ('pending', 'reserved') THEN
		PERFORM taskq.task_set_priority(task.id, 100, 'run manually');
	ELSE
		RETURN false;
	END IF;
	RETURN true;
EXCEPTION WHEN SQLSTATE 'PT409' THEN
	-- it has just begun
	RETURN task.state IN ('pending', 'reserved');
END
$$;

-- Null if its newest attempt has not failed.  Two at once make one retry.
CREATE OR REPLACE FUNCTION typed_app.again(task taskq.task) RETURNS taskq.task LANGUAGE plpgsql AS $$
DECLARE
	newest taskq.task;
	made uuid;
BEGIN
	PERFORM pg_advisory_xact_lock(hashtextextended((typed_app.first(task)).id::text, 13));
	newest := typed_app.newest(task);
	IF newest.state NOT IN ('failed', 'cancelled') THEN
		RETURN NULL;
	END IF;
	made := taskq.task_retry(newest.id, only_failed => true);
	SELECT * INTO newest FROM taskq.task t WHERE t.id = made;
	RETURN newest;
END
$$;

/* ------------------------------------------------------------ what HTTP sees: tasks */

CREATE OR REPLACE FUNCTION typed.tasks(type text DEFAULT NULL, status text DEFAULT NULL, plugin text DEFAULT NULL, input text DEFAULT NULL,
	n text DEFAULT NULL, after text DEFAULT NULL) RETURNS json LANGUAGE plpgsql STABLE AS $$
DECLARE
	filter jsonb := '{}';
	plugin_id text := substr(plugin, 2);	-- after a colon
	input_data text := substr(input, 2);
	lines int := rest.number(n, 50, 1, 200);
BEGIN
	IF type <> '' AND type NOT IN ('plugin', 'business_rule', 'report') THEN
		RETURN typed_app.wrong('type', format('"%s" is not a valid choice.', type));
	ELSIF status <> '' AND status NOT IN ('PENDING', 'RUNNING', 'COMPLETED', 'FAILED') THEN
		RETURN typed_app.wrong('status', format('"%s" is not a valid choice.', status));
	END IF;
	IF type <> '' THEN
		filter := jsonb_build_object('kind', 'typed.' || type);
	END IF;
	IF status <> '' THEN
		filter := filter || jsonb_build_object('state', CASE status WHEN 'PENDING' THEN '"waiting"' WHEN 'FAILED' THEN '["failed", "cancelled"]'
			ELSE to_jsonb(lower(status)) END);
	END IF;
	IF plugin_id <> '' OR input_data <> '' THEN
		filter := filter || jsonb_build_object('kind', 'typed.plugin', 'payload',
			jsonb_strip_nulls(jsonb_build_object('plugin_id', nullif(plugin_id, ''), 'input_data', nullif(input_data, ''))));
	END IF;
	RETURN (SELECT json_build_object(
			'next', '?after=' || (array_agg(p.next) FILTER (WHERE p.next IS NOT NULL))[1] || '&limit=' || lines
				|| coalesce('&type=' || nullif(type, ''), '') || coalesce('&status=' || nullif(status, ''), ''),
			'results', coalesce(json_agg(typed_app.shown(p.first, p.newest)) FILTER (WHERE p.next IS NULL), '[]'))
		FROM typed_app.page(filter, lines, after) p);
END
$$;
COMMENT ON FUNCTION typed.tasks IS
'Tasks of the organisation, the newest first

GET /api/v1/tasks/?type=&status=&plugin_id=&input_data=&limit=&after=. next is the query of the next page, or null.';

CREATE OR REPLACE FUNCTION typed.create_task(jsonb) RETURNS json LANGUAGE plpgsql AS $$
DECLARE
	body jsonb := CASE jsonb_typeof($1) WHEN 'object' THEN $1 ELSE '{}' END;
	type text := coalesce(body->>'type', 'plugin');
	data jsonb := coalesce(body->'data', '{}');
	task taskq.task;
	why text;
BEGIN
	IF type NOT IN ('plugin', 'business_rule', 'report') THEN
		RETURN typed_app.wrong('type', format('"%s" is not a valid choice.', type));
	ELSIF jsonb_typeof(data) <> 'object' THEN
		RETURN typed_app.wrong('data', 'Value must be an object.');
	ELSIF jsonb_typeof(body->'queue') NOT IN ('boolean', 'null') THEN
		RETURN typed_app.wrong('queue', 'Must be a valid boolean.');
	END IF;
	why := typed_app.refusal(body->>'organization');
	IF why IS NOT NULL THEN
		RETURN typed_app.say(403, why);
	END IF;
	SELECT * INTO task FROM taskq.task_status(typed_app.submit(type, data, (body->>'queue')::bool IS FALSE));
	PERFORM rest.respond(201, jsonb_build_object('Location', format('/api/v1/tasks/%s/', task.id)));
	RETURN typed_app.shown(task, task);
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS why = PG_EXCEPTION_DETAIL;
	RETURN json_build_object('detail', rest.refused(SQLSTATE, SQLERRM, why));
END
$$;
COMMENT ON FUNCTION typed.create_task IS
'Create a task

POST /api/v1/tasks/ {"type": "plugin", "business_rule" or "report", "data": {}}. With "queue": false it waits until it is run.';

CREATE OR REPLACE FUNCTION typed.task(id text, wait text DEFAULT NULL) RETURNS json LANGUAGE plpgsql AS $$
DECLARE
	task taskq.task;
	newest taskq.task;
	seconds float8 := CASE WHEN wait ~ '^\d{1,6}$' THEN wait END;
BEGIN
	SELECT * INTO task FROM typed_app.find(id);
	IF task.id IS NULL THEN
		RETURN typed_app.say(404, 'Not found.');
	END IF;
	newest := typed_app.newest(task);
	IF seconds > 0 AND NOT newest.ready THEN
		SELECT * INTO newest FROM taskq.task_wait(newest.id, make_interval(secs => seconds));
	END IF;
	RETURN typed_app.shown(task, newest);
END
$$;
COMMENT ON FUNCTION typed.task IS
'A task

GET /api/v1/tasks/{id}/. One that was retried is the same task, with the state of its newest attempt. With ?wait=30 it answers when the task has ended, after so many seconds at the latest.';

CREATE OR REPLACE FUNCTION typed.run(id text) RETURNS json LANGUAGE plpgsql AS $$
DECLARE
	task taskq.task;
	newest taskq.task;
BEGIN
	SELECT * INTO task FROM typed_app.find(id);
	IF task.id IS NULL THEN
		RETURN typed_app.say(404, 'Not found.');
	END IF;
	newest := typed_app.newest(task);
	IF NOT typed_app.run_now(newest) THEN
		RETURN typed_app.say(409, format('Task is %s.', typed_app.word(newest.state)));
	END IF;
	SELECT * INTO newest FROM taskq.task_status(newest.id);
	RETURN typed_app.shown(task, newest);
END
$$;
COMMENT ON FUNCTION typed.run IS
'Run a pending task now

POST /api/v1/tasks/{id}/run/. One that was created without being queued, or is put off, is queued; one that waits for a worker is the next. 409 for others.';

CREATE OR REPLACE FUNCTION typed.retry(id text) RETURNS json LANGUAGE plpgsql AS $$
DECLARE
	task taskq.task;
	newest taskq.task;
BEGIN
	SELECT * INTO task FROM typed_app.find(id);
	IF task.id IS NULL THEN
		RETURN typed_app.say(404, 'Not found.');
	END IF;
	newest := typed_app.again(task);
	IF newest.id IS NULL THEN
		newest := typed_app.newest(task);
		IF newest.ready THEN
			RETURN typed_app.say(409, format('Task is %s.', typed_app.word(newest.state)));
		END IF;
	END IF;
	RETURN typed_app.shown(task, newest);
END
$$;
COMMENT ON FUNCTION typed.retry IS
'Retry a failed task

POST /api/v1/tasks/{id}/retry/, or PATCH /api/v1/tasks/{id}/ {"status": "PENDING"}. It keeps its id. One that is pending or running again stays as it is; 409 for one that has completed.';

CREATE OR REPLACE FUNCTION typed.update_task(jsonb) RETURNS json LANGUAGE plpgsql AS $$
BEGIN
	IF $1 IS DISTINCT FROM '{"status": "PENDING"}' THEN
		RETURN typed_app.wrong('status', 'Only PENDING can be set, of a task that has failed.');
	END IF;
	RETURN typed.retry(rest.header('x-taskq-id'));
END
$$;
COMMENT ON FUNCTION typed.update_task IS
'Set the status of a task back to PENDING

PATCH /api/v1/tasks/{id}/: the same as retry. The id is in header X-Taskq-Id.';

CREATE OR REPLACE FUNCTION typed.output(id text) RETURNS json LANGUAGE plpgsql STABLE AS $$
DECLARE
	task taskq.task;
	newest taskq.task;
BEGIN
	SELECT * INTO task FROM typed_app.find(id);
	IF task.id IS NULL THEN
		RETURN typed_app.say(404, 'Not found.');
	END IF;
	newest := typed_app.newest(task);
	RETURN json_build_object('id', task.id, 'status', typed_app.word(newest.state), 'output', newest.result, 'progress', newest.progress,
		'execution_seconds', round(extract(epoch FROM newest.duration), 3), 'worker', newest.worker);
END
$$;
COMMENT ON FUNCTION typed.output IS
'What a task has returned

GET /api/v1/tasks/{id}/output/, with its progress, execution time and worker.';

CREATE OR REPLACE FUNCTION typed.logs(id text, after text DEFAULT NULL) RETURNS json LANGUAGE plpgsql STABLE AS $$
DECLARE
	task taskq.task;
BEGIN
	SELECT * INTO task FROM typed_app.find(id);
	IF task.id IS NULL THEN
		RETURN typed_app.say(404, 'Not found.');
	END IF;
	RETURN (SELECT coalesce(json_agg(json_build_object('seq', l.seq, 'logged_at', rest.utc(l.logged_at), 'level', l.level, 'message', l.message) ORDER BY l.seq), '[]')
		FROM taskq.task_logs((typed_app.newest(task)).id, after => CASE WHEN after ~ '^\d{1,18}$' THEN after::bigint END, n => 1000) l);
END
$$;
COMMENT ON FUNCTION typed.logs IS
'What a task has logged

GET /api/v1/tasks/{id}/logs/?after=seq, also while it runs: pass the last seq to get what came since.';

/* ------------------------------------------------------------ what HTTP sees: objects */

CREATE OR REPLACE FUNCTION typed.objects(type text, n text DEFAULT NULL) RETURNS json LANGUAGE plpgsql STABLE AS $$
BEGIN
	IF NOT EXISTS (SELECT FROM typed_app.object_type t WHERE t.type = objects.type) THEN
		RETURN typed_app.say(404, 'Not found.');
	END IF;
	RETURN (SELECT coalesce(json_agg(o.j), '[]') FROM (SELECT jsonb_build_object('pk', o.pk) || o.data AS j
		FROM typed_app.object o WHERE o.type = objects.type ORDER BY o.organization, o.pk LIMIT rest.number(n, 100, 1, 1000)) o);
END
$$;
COMMENT ON FUNCTION typed.objects IS
'Objects of a type

GET /api/v1/objects/{type}/.';

CREATE OR REPLACE FUNCTION typed.create_object(jsonb) RETURNS json LANGUAGE plpgsql AS $$
DECLARE
	sort text := rest.header('x-taskq-type');
	said text := rest.header('x-taskq-task');
	many bool := jsonb_typeof($1) = 'array';
	task taskq.task;
	item jsonb;
	one record;
	answer jsonb := '[]';
	made int := 0;
BEGIN
	IF NOT EXISTS (SELECT FROM typed_app.object_type t WHERE t.type = sort) THEN
		RETURN typed_app.say(404, 'Not found.');
	ELSIF typed_app.refusal() IS NOT NULL THEN
		RETURN typed_app.say(403, typed_app.refusal());
	END IF;
	IF said IS NOT NULL THEN
		SELECT * INTO task FROM typed_app.find(said);
		IF task.id IS NULL THEN
			RETURN typed_app.wrong('task_id', format('Invalid pk "%s" - object does not exist.', said));
		END IF;
	END IF;
	FOR item IN SELECT jsonb_array_elements(CASE WHEN many THEN $1 ELSE jsonb_build_array($1) END) LOOP
		SELECT * INTO one FROM typed_app.object_make(rest.claim('tenant'), sort, item, task.id);
		IF one.pk IS NULL THEN
			-- raised, so that none of them is made
			RAISE EXCEPTION 'an object of type % needs %', sort, (SELECT array_to_string(t.key, ', ') FROM typed_app.object_type t WHERE t.type = sort)
				USING ERRCODE = 'PT400';
		END IF;
		made := made + one.made::int;
		answer := answer || (jsonb_build_object('pk', one.pk) || item);
	END LOOP;
	PERFORM rest.respond(CASE WHEN made > 0 THEN 201 ELSE 200 END);
	RETURN CASE WHEN many THEN answer ELSE answer->0 END;
END
$$;
COMMENT ON FUNCTION typed.create_object IS
'Create an object, and note which task made it

POST /api/v1/objects/{type}/?task_id=: both or neither. An array makes several. 200 where all were there already. Type and task are in headers X-Taskq-Type and X-Taskq-Task.';

CREATE OR REPLACE FUNCTION typed.object_tasks(task_id text DEFAULT NULL, type text DEFAULT NULL, object text DEFAULT NULL) RETURNS json LANGUAGE plpgsql STABLE AS $$
DECLARE
	attempts uuid[];
BEGIN
	IF task_id <> '' THEN
		attempts := typed_app.attempts(rest.uuid(task_id));
		RETURN (SELECT coalesce(json_agg(typed_app.object_task(l, attempts[1]) ORDER BY l.created_at, l.id), '[]')
			FROM taskq.link l WHERE l.task_id = ANY (attempts) AND l.kind = 'typed.plugin');
	ELSIF length(object) > 1 THEN	-- a colon, and the object
		RETURN (SELECT coalesce(json_agg(typed_app.object_task(l, l.task_id) ORDER BY l.created_at, l.id), '[]')
			FROM taskq.link l WHERE l.object = coalesce(nullif(object_tasks.type, ''), 'hostname') AND l.id = substr(object_tasks.object, 2) AND l.kind = 'typed.plugin');
	END IF;
	RETURN typed_app.wrong('task_id', 'Name a task, or an object by output_object and object_type.');
END
$$;
COMMENT ON FUNCTION typed.object_tasks IS
'Which task made which object

GET /api/v1/object-tasks/?task_id=, or ?object_type=&output_object=. Also when the task is forgotten.';

/* ------------------------------------------------------------ what HTTP sees: schedules and organisations */

CREATE OR REPLACE FUNCTION typed_app.schedule_shown(s typed_app.schedule) RETURNS json LANGUAGE sql STABLE AS $$
	SELECT json_build_object('id', s.id, 'organization', s.organization, 'plugin', s.plugin, 'object_set', s.object_set,
		-- 1 00:00:00 is a day
		'interval', coalesce(nullif(floor(extract(epoch FROM s."interval") / 86400)::int, 0) || ' ', '')
			|| to_char(make_interval(secs => extract(epoch FROM s."interval")::bigint % 86400), 'HH24:MI:SS'),
		'enabled', s.enabled, 'error', s.error)
$$;

-- Seconds, '24:00:00', '1 00:00:00', '24 hours'; null where it is none of them.
CREATE OR REPLACE FUNCTION typed_app.duration(said jsonb) RETURNS interval LANGUAGE plpgsql STABLE AS $$
BEGIN
	RETURN CASE jsonb_typeof(said) WHEN 'number' THEN make_interval(secs => (said#>>'{}')::float8) WHEN 'string' THEN (said#>>'{}')::interval END;
EXCEPTION WHEN data_exception THEN
	RETURN NULL;
END
$$;

CREATE OR REPLACE FUNCTION typed.schedules() RETURNS json LANGUAGE sql STABLE AS $$
	SELECT coalesce(json_agg(typed_app.schedule_shown(s) ORDER BY s.id), '[]') FROM typed_app.schedule s
$$;
COMMENT ON FUNCTION typed.schedules IS
'Schedules of the organisation

GET /api/v1/schedules/. error: why the last look at its objects failed.';

CREATE OR REPLACE FUNCTION typed.create_schedule(jsonb) RETURNS json LANGUAGE plpgsql AS $$
DECLARE
	every interval := typed_app.duration($1->'interval');
	made typed_app.schedule;
BEGIN
	IF every IS NULL OR every NOT BETWEEN '1 min' AND '30 days' THEN
		RETURN typed_app.wrong('interval', 'Must be a duration from a minute to 30 days.');
	ELSIF NOT EXISTS (SELECT FROM typed_app.plugin p WHERE p.plugin_id = $1->>'plugin') THEN
		RETURN typed_app.wrong('plugin', 'Object does not exist.');
	ELSIF NOT EXISTS (SELECT FROM typed_app.object_set o WHERE o.id::text = $1->>'object_set' AND typed_app.mine(o.organization)) THEN
		RETURN typed_app.wrong('object_set', 'Object does not exist.');
	ELSIF jsonb_typeof($1->'enabled') NOT IN ('boolean', 'null') THEN
		RETURN typed_app.wrong('enabled', 'Must be a valid boolean.');
	END IF;
	INSERT INTO typed_app.schedule (organization, plugin, object_set, "interval", enabled)
	VALUES (rest.claim('tenant'), $1->>'plugin', ($1->>'object_set')::int, every, coalesce(($1->>'enabled')::bool, true)) RETURNING * INTO made;
	PERFORM rest.respond(201, jsonb_build_object('Location', format('/api/v1/schedules/%s/', made.id)));
	RETURN typed_app.schedule_shown(made);
END
$$;
COMMENT ON FUNCTION typed.create_schedule IS
'Scan the objects of a set again and again

POST /api/v1/schedules/ {"plugin", "object_set", "interval": "24:00:00" or seconds, "enabled": true}. Each minute those of its objects get a task that had none of this plugin within the interval.';

CREATE OR REPLACE FUNCTION typed.schedule(id text) RETURNS json LANGUAGE plpgsql STABLE AS $$
DECLARE
	found json;
BEGIN
	SELECT typed_app.schedule_shown(s) INTO found FROM typed_app.schedule s WHERE s.id::text = schedule.id;
	RETURN coalesce(found, typed_app.say(404, 'Not found.'));
END
$$;
COMMENT ON FUNCTION typed.schedule IS
'A schedule

GET /api/v1/schedules/{id}/.';

CREATE OR REPLACE FUNCTION typed.update_schedule(jsonb) RETURNS json LANGUAGE plpgsql AS $$
DECLARE
	every interval := typed_app.duration($1->'interval');
	now_so json;
BEGIN
	IF $1 ? 'interval' AND (every IS NULL OR every NOT BETWEEN '1 min' AND '30 days') THEN
		RETURN typed_app.wrong('interval', 'Must be a duration from a minute to 30 days.');
	ELSIF jsonb_typeof($1->'enabled') <> 'boolean' THEN
		RETURN typed_app.wrong('enabled', 'Must be a valid boolean.');
	END IF;
	UPDATE typed_app.schedule s SET "interval" = coalesce(every, s."interval"), enabled = coalesce(($1->>'enabled')::bool, s.enabled)
	WHERE s.id::text = rest.header('x-taskq-id') RETURNING typed_app.schedule_shown(s) INTO now_so;
	RETURN coalesce(now_so, typed_app.say(404, 'Not found.'));
END
$$;
COMMENT ON FUNCTION typed.update_schedule IS
'Switch a schedule on or off, or give it another interval

PATCH /api/v1/schedules/{id}/ {"enabled": false}. The id is in header X-Taskq-Id.';

CREATE OR REPLACE FUNCTION typed.delete_schedule(id text) RETURNS json LANGUAGE plpgsql AS $$
BEGIN
	DELETE FROM typed_app.schedule s WHERE s.id::text = delete_schedule.id;
	IF NOT FOUND THEN
		RETURN typed_app.say(404, 'Not found.');
	END IF;
	PERFORM rest.respond(204);
	RETURN NULL;
END
$$;
COMMENT ON FUNCTION typed.delete_schedule IS
'Delete a schedule

DELETE /api/v1/schedules/{id}/. Tasks that it made stay.';

CREATE OR REPLACE FUNCTION typed.object_sets() RETURNS json LANGUAGE sql STABLE AS $$
	SELECT coalesce(json_agg(json_build_object('id', s.id, 'organization', s.organization, 'name', s.name, 'object_type', s.type, 'pattern', s.pattern) ORDER BY s.id), '[]')
	FROM typed_app.object_set s
$$;
COMMENT ON FUNCTION typed.object_sets IS
'Sets of objects

GET /api/v1/object-sets/.';

CREATE OR REPLACE FUNCTION typed.create_object_set(jsonb) RETURNS json LANGUAGE plpgsql AS $$
DECLARE
	made typed_app.object_set;
BEGIN
	IF coalesce($1->>'name', '') = '' THEN
		RETURN typed_app.wrong('name', 'This field is required.');
	ELSIF NOT EXISTS (SELECT FROM typed_app.object_type t WHERE t.type = $1->>'object_type') THEN
		RETURN typed_app.wrong('object_type', 'Object does not exist.');
	END IF;
	INSERT INTO typed_app.object_set (organization, name, type, pattern)
	VALUES (rest.claim('tenant'), $1->>'name', $1->>'object_type', coalesce($1->>'pattern', '%')) RETURNING * INTO made;
	PERFORM rest.respond(201);
	RETURN json_build_object('id', made.id, 'organization', made.organization, 'name', made.name, 'object_type', made.type, 'pattern', made.pattern);
END
$$;
COMMENT ON FUNCTION typed.create_object_set IS
'Define a set of objects

POST /api/v1/object-sets/ {"name", "object_type", "pattern"}: those whose pk is LIKE the pattern.';

CREATE OR REPLACE FUNCTION typed.organizations() RETURNS json LANGUAGE sql STABLE AS $$
	SELECT coalesce(json_agg(json_build_object('code', o.code, 'name', o.name) ORDER BY o.code), '[]') FROM typed_app.organization o
$$;
COMMENT ON FUNCTION typed.organizations IS
'The organisation; to operators all

GET /api/v1/organizations/.';

CREATE OR REPLACE FUNCTION typed.create_organization(jsonb) RETURNS json LANGUAGE plpgsql AS $$
BEGIN
	IF coalesce($1->>'code', '') !~ '^[A-Za-z0-9_.~-]{1,100}$' THEN
		RETURN typed_app.wrong('code', 'Enter 1 to 100 letters, digits, and _ . ~ -');
	END IF;
	INSERT INTO typed_app.organization VALUES ($1->>'code', coalesce($1->>'name', $1->>'code')) ON CONFLICT DO NOTHING;
	IF NOT FOUND THEN
		RETURN typed_app.say(409, 'This organization is there already.');
	END IF;
	PERFORM rest.respond(201);
	RETURN json_build_object('code', $1->>'code', 'name', coalesce($1->>'name', $1->>'code'));
END
$$;
COMMENT ON FUNCTION typed.create_organization IS
'Add an organisation; for operators

POST /api/v1/organizations/ {"code", "name"}.';

CREATE OR REPLACE FUNCTION typed.delete_organization(id text) RETURNS json LANGUAGE plpgsql AS $$
DECLARE
	gone bool;
	left_over record;
BEGIN
	DELETE FROM typed_app.organization o WHERE o.code = delete_organization.id;
	gone := FOUND;
	-- what ran was told to stop, and is deleted by the next call
	SELECT * INTO left_over FROM taskq.tenant_delete(id);
	IF left_over.running > 0 OR left_over.more THEN
		PERFORM rest.respond(202);
		RETURN json_build_object('detail', 'Some of its tasks are just being stopped: delete it once more.', 'running', left_over.running);
	ELSIF NOT gone AND left_over.deleted = 0 AND left_over.cancelled = 0 THEN
		RETURN typed_app.say(404, 'Not found.');
	END IF;
	PERFORM rest.respond(204);
	RETURN NULL;
END
$$;
COMMENT ON FUNCTION typed.delete_organization IS
'Delete an organisation with all that is its own: tasks, objects, schedules; for operators

DELETE /api/v1/organizations/{code}/. 202 while some of its tasks are being stopped: call it again.';

/* ------------------------------------------------------------ what HTTP sees: pages */

CREATE OR REPLACE FUNCTION typed_app.html(text) RETURNS text LANGUAGE sql IMMUTABLE AS $$
	SELECT replace(replace(replace(replace(replace(coalesce($1, ''), '&', '&amp;'), '<', '&lt;'), '>', '&gt;'), '"', '&quot;'), '''', '&#39;')
$$;

DO $$
BEGIN
	CREATE DOMAIN typed."text/html" AS text;
EXCEPTION WHEN duplicate_object THEN
	NULL;
END
$$;

CREATE OR REPLACE FUNCTION typed_app.html_row(first taskq.task, newest taskq.task) RETURNS text LANGUAGE sql STABLE AS $$
	SELECT format('<tr class="%s"><td><code>%s</code><td>%s<td><code>%s</code><td>%s<td>%s<td>%s<td>%s<td>%s<td>%s</tr>',
		w.word, first.id, substr(newest.kind, length('typed.') + 1), typed_app.html(newest.payload::text),
		w.word || CASE w.word WHEN 'RUNNING' THEN format(' %s %%', round(newest.progress)) ELSE '' END,
		to_char(first.created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS'),
		coalesce(round(extract(epoch FROM newest.duration), 1) || ' s', ''),
		typed_app.html(CASE w.word WHEN 'FAILED' THEN typed_app.error_of(newest) ELSE left(newest.result::text, 500) END),
		(SELECT coalesce(string_agg(typed_app.html(l.object || ' ' || l.id), '<br>' ORDER BY l.id), '')
			FROM (SELECT l.object, l.id FROM taskq.link l WHERE l.task_id = newest.id LIMIT 20) l),
		CASE w.word WHEN 'PENDING' THEN format('<form method="post" action="%s/run/"><button>Run task</button></form>', first.id)
			WHEN 'FAILED' THEN format('<form method="post" action="%s/retry/"><button>Retry</button></form>', first.id) ELSE '' END)
	FROM (SELECT typed_app.word(newest.state) AS word) w
$$;

CREATE OR REPLACE FUNCTION typed.task_page(n text DEFAULT NULL, after text DEFAULT NULL) RETURNS typed."text/html" LANGUAGE plpgsql STABLE AS $$
BEGIN
	-- no script runs in it, whatever a task has to say
	PERFORM rest.respond(200, jsonb_build_object(
		'Content-Security-Policy', $csp$default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'$csp$,
		'X-Content-Type-Options', 'nosniff', 'Cache-Control', 'no-store'));
	RETURN (SELECT '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>Tasks</title><style>
body{font:14px sans-serif}table{border-collapse:collapse}td,th{border-bottom:1px solid #ccc;padding:4px 8px;text-align:left;vertical-align:top}
.FAILED td{background:#fdd}.RUNNING td{background:#ffd}form{margin:0}</style></head><body><h1>Tasks of '
		|| typed_app.html(coalesce((SELECT o.name FROM typed_app.organization o WHERE typed_app.mine(o.code)), rest.claim('tenant'), 'all organizations'))
		|| '</h1><table><tr><th>Task<th>Type<th>Data<th>Status<th>Created (UTC)<th>Execution time<th>Output or error<th>Objects<th></tr>'
		|| coalesce(string_agg(typed_app.html_row(p.first, p.newest), E'\n') FILTER (WHERE p.next IS NULL), '') || '</table>'
		|| coalesce('<p><a href="?after=' || (array_agg(p.next) FILTER (WHERE p.next IS NOT NULL))[1] || '">Older tasks</a>', '') || '</body></html>'
		FROM typed_app.page('{}', rest.number(n, 50, 1, 200), after) p);
END
$$;
COMMENT ON FUNCTION typed.task_page IS
'The page of tasks

GET /tasks/: status, execution time, error, output and created objects of the organisation''s tasks, as HTML, with buttons to run and to retry.';

-- What goes well leads back to the page.
CREATE OR REPLACE FUNCTION typed_app.to_page(answer json) RETURNS json LANGUAGE plpgsql AS $$
BEGIN
	IF coalesce(current_setting('response.status', true), '') = '' THEN
		PERFORM rest.respond(303, '{"Location": "/tasks/"}');
	END IF;
	RETURN answer;
END
$$;

CREATE OR REPLACE FUNCTION typed.task_page_run(id text) RETURNS json LANGUAGE sql AS $$ SELECT typed_app.to_page(typed.run(id)) $$;
COMMENT ON FUNCTION typed.task_page_run IS
'The page''s button Run task

POST /tasks/{id}/run/.';

CREATE OR REPLACE FUNCTION typed.task_page_retry(id text) RETURNS json LANGUAGE sql AS $$ SELECT typed_app.to_page(typed.retry(id)) $$;
COMMENT ON FUNCTION typed.task_page_retry IS
'The page''s button Retry

POST /tasks/{id}/retry/.';

/* ------------------------------------------------------------ who may */

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA typed FROM PUBLIC;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA typed TO web_user;
REVOKE ALL ON FUNCTION typed.create_organization, typed.delete_organization FROM web_user;
GRANT EXECUTE ON FUNCTION typed.create_organization, typed.delete_organization TO web_operator;
DO $$
DECLARE
	it regprocedure;
BEGIN
	-- the helpers, which this script has made as superuser
	FOR it IN SELECT p.oid FROM pg_proc p WHERE p.pronamespace = 'typed_app'::regnamespace AND p.proowner = current_user::regrole LOOP
		EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', it);
		EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO web_user', it);
	END LOOP;
END
$$;

-- To begin with
INSERT INTO typed_app.organization VALUES ('acme', 'Acme') ON CONFLICT DO NOTHING;
COMMIT;
RESET client_min_messages;
NOTIFY pgrst;
