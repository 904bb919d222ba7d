-- The situation report of a scheduler: metrics and recent tasks, for n8n, Slack and people.
--
--     psql -d app -f examples/rest/sitrep/sitrep.sql
--
-- As superuser, after examples/roles.sql; it can be run again.  Schema sitrep is what
-- PostgREST shows, for nginx.conf beside this file; schema sitrep_app is the application:
-- kinds, handlers and schedules.  What a client sees is in docs/from/sitrep.md.

\set ON_ERROR_STOP 1
\ir ../common.sql
SET client_min_messages = warning;
BEGIN;

CREATE SCHEMA IF NOT EXISTS sitrep_app AUTHORIZATION app_owner;
CREATE SCHEMA IF NOT EXISTS sitrep;
REVOKE ALL ON SCHEMA sitrep, sitrep_app FROM PUBLIC;
GRANT USAGE ON SCHEMA sitrep, sitrep_app TO web_user;
GRANT USAGE ON SCHEMA sitrep_app TO app_runner;
COMMENT ON SCHEMA sitrep IS 'Scheduler operations

Metrics of tasks, recent tasks, workers and schedules.';

/* ------------------------------------------------------------ the application */

SET LOCAL ROLE app_owner;

-- Takes "seconds" (0) and fails with "fail", if there is such a member.
CREATE OR REPLACE FUNCTION sitrep_app.work(job jsonb) RETURNS jsonb
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	PERFORM pg_sleep((job->>'seconds')::float8);
	IF job ? 'fail' THEN
		RAISE EXCEPTION '%', job->>'fail';
	END IF;
	RETURN '{"checked": true}';
END
$$;
REVOKE ALL ON FUNCTION sitrep_app.work FROM PUBLIC;
GRANT EXECUTE ON FUNCTION sitrep_app.work TO app_runner;

CREATE OR REPLACE VIEW sitrep_app.periodic (kind, every, starts_at) AS
	SELECT k, e::interval, date_trunc('week', now(), 'UTC') + s::interval
	FROM (VALUES ('app.resilience.tasks.periodic_health_check', '15 min', '0'),
		('app.resilience.tasks.run_contingency_analysis', '1 day', '2 hours'),			-- daily at 2
		('app.resilience.tasks.precompute_fallback_schedules', '7 days', '6 days 3 hours'),	-- Sunday at 3
		('app.resilience.tasks.generate_utilization_forecast', '1 day', '6 hours'),		-- daily at 6
		('app.tasks.schedule_metrics_tasks.compute_schedule_metrics', '1 day', '5 hours')) p (k, e, s);

-- "password" and "token" are shown as ***.
CREATE OR REPLACE VIEW sitrep_app.kind (name) AS
	SELECT kind FROM sitrep_app.periodic UNION ALL VALUES ('app.notifications.tasks.send_notification'), ('app.notifications.tasks.send_email');
SELECT taskq.kind_define(name, 'sitrep_app.work(jsonb)', max_attempts => 1, timeout => '1 hour', run_as => 'app_runner', secret => '{password,token}')
FROM sitrep_app.kind \g /dev/null
SELECT taskq.kind_grant(name, 'web_user') FROM sitrep_app.kind \g /dev/null
-- Days of UTC have 24 hours; where pg_cron is, cron => '0 2 * * *' does it as well.
SELECT taskq.schedule_define(kind, kind, every => every, starts_at => starts_at) FROM sitrep_app.periodic \g /dev/null
RESET ROLE;

/* ------------------------------------------------------------ tasks in the contract's words */

CREATE OR REPLACE FUNCTION sitrep_app.word(state text) RETURNS text LANGUAGE sql IMMUTABLE AS $$
	SELECT CASE WHEN state IN ('running', 'retrying') THEN 'in_progress' WHEN state IN ('completed', 'failed', 'cancelled') THEN state ELSE 'pending' END
$$;

CREATE OR REPLACE FUNCTION sitrep_app.shown(task taskq.task) RETURNS json LANGUAGE sql STABLE AS $$
	SELECT json_build_object(
		'task_id', task.id,
		'name', task.title,
		'status', sitrep_app.word(task.state),
		'description', left(CASE task.state
			WHEN 'completed' THEN 'Task completed successfully'
			WHEN 'failed' THEN 'Task failed: ' || coalesce(task.error->>'message', 'no reason given')
			WHEN 'cancelled' THEN 'Task cancelled' || coalesce(': ' || task.cancel_reason, '')
			-- worker and arguments, without what is secret in them
			WHEN 'running' THEN format('Running on %s: %s', task.worker, task.payload)
			ELSE task.summary END, 213),
		'started_at', rest.utc(task.started_at),
		'completed_at', rest.utc(task.finished_at),
		'duration_seconds', CASE WHEN task.ready THEN round(extract(epoch FROM task.duration), 3)::float8 END,
		'error_message', left(task.error->>'message', 200))
$$;

-- Of the tenant's tasks; an operator's are all.  No task is read for it.
CREATE OR REPLACE FUNCTION sitrep_app.metrics() RETURNS json LANGUAGE sql STABLE AS $$
	SELECT json_build_object('total_tasks', m->'total_tasks', 'active_tasks', m->'active_tasks', 'completed_tasks', m->'completed_tasks',
		-- of nothing, nothing has failed
		'failed_tasks', m->'failed_tasks', 'pending_tasks', m->'pending_tasks', 'success_rate', coalesce((m->>'success_rate')::numeric, 1.0))
	FROM taskq.task_metrics() m
$$;

-- What ended last, and what runs; of the newest tasks.
CREATE OR REPLACE FUNCTION sitrep_app.recent(n int) RETURNS json LANGUAGE sql STABLE AS $$
	SELECT coalesce(json_agg(sitrep_app.shown(l.t) ORDER BY coalesce((l.t).finished_at, (l.t).started_at) DESC NULLS LAST, (l.t).id DESC), '[]')
	FROM (SELECT t FROM taskq.task_list('{"state": ["running", "completed", "failed", "cancelled"]}', n => greatest(100, n)) t
		ORDER BY coalesce(t.finished_at, t.started_at) DESC NULLS LAST, t.id DESC LIMIT n) l
$$;

CREATE OR REPLACE FUNCTION sitrep_app.say(status int, detail text) RETURNS json LANGUAGE plpgsql AS $$
BEGIN
	PERFORM rest.respond(status);
	RETURN json_build_object('detail', detail);
END
$$;

-- The report is always there: of what could not be found out it has safe defaults, and says so.
CREATE OR REPLACE FUNCTION sitrep_app.report(n int) RETURNS json LANGUAGE plpgsql STABLE AS $$
DECLARE
	metrics json := '{"total_tasks": 0, "active_tasks": 0, "completed_tasks": 0, "failed_tasks": 0, "pending_tasks": 0, "success_rate": 1.0}';
	recent json := '[]';
	workers json := '{"online": 0, "busy": 0, "max": 0}';
	reasons text[] := '{}';
	server taskq.server;
BEGIN
	BEGIN
		SELECT * INTO server FROM taskq.server;
		reasons := array_remove(ARRAY[CASE WHEN NOT server.running THEN coalesce(server.why_not_running, server.why_paused, 'No task runs.')
			WHEN server.paused THEN coalesce(server.why_paused, 'Tasks are paused.') END], NULL);
		SELECT json_build_object('online', count(*) FILTER (WHERE w.state <> 'offline'), 'busy', count(*) FILTER (WHERE w.state = 'busy'), 'max', server.max_workers)
		INTO workers FROM taskq.worker w;
	EXCEPTION WHEN OTHERS THEN
		reasons := reasons || 'Workers could not be asked.'::text;
		RAISE LOG 'sitrep: workers could not be asked (SQLSTATE %)', SQLSTATE;
	END;
	BEGIN
		metrics := sitrep_app.metrics();
	EXCEPTION WHEN OTHERS THEN
		reasons := reasons || 'Metrics could not be read.'::text;
		RAISE LOG 'sitrep: metrics could not be read (SQLSTATE %)', SQLSTATE;
	END;
	BEGIN
		recent := sitrep_app.recent(n);
	EXCEPTION WHEN OTHERS THEN
		reasons := reasons || 'Recent tasks could not be read.'::text;
		RAISE LOG 'sitrep: recent tasks could not be read (SQLSTATE %)', SQLSTATE;
	END;
	RETURN json_build_object('timestamp', rest.utc(clock_timestamp()), 'degraded', cardinality(reasons) > 0, 'reasons', reasons,
		'task_metrics', metrics, 'recent_tasks', recent, 'workers', workers);
END
$$;

/* ------------------------------------------------------------ what HTTP sees */

CREATE OR REPLACE FUNCTION sitrep.sitrep(n text DEFAULT NULL) RETURNS json LANGUAGE sql STABLE AS $$
	SELECT sitrep_app.report(rest.number(n, 20, 1, 100))
$$;
COMMENT ON FUNCTION sitrep.sitrep IS
'The situation: metrics, recent tasks, workers

GET /api/scheduler/sitrep?limit=20, of the tasks that the caller may see. degraded, and reasons, say what keeps tasks from being run, or could not be found out.';

CREATE OR REPLACE FUNCTION sitrep.metrics() RETURNS json LANGUAGE sql STABLE AS $$ SELECT sitrep_app.report(1)->'task_metrics' $$;
COMMENT ON FUNCTION sitrep.metrics IS
'Counts by status, and success rate

GET /api/scheduler/metrics. success_rate is completed of completed and failed; 1.0 where there are none.';

CREATE OR REPLACE FUNCTION sitrep.recent(n text DEFAULT NULL) RETURNS json LANGUAGE sql STABLE AS $$
	SELECT sitrep_app.report(rest.number(n, 20, 1, 1000))->'recent_tasks'
$$;
COMMENT ON FUNCTION sitrep.recent IS
'Recent tasks: what ended last, and what runs

GET /api/scheduler/tasks/recent?limit=20.';

CREATE OR REPLACE FUNCTION sitrep.tasks(status text DEFAULT NULL, family text DEFAULT NULL, n text DEFAULT NULL, after text DEFAULT NULL) RETURNS json LANGUAGE plpgsql STABLE AS $$
DECLARE
	filter jsonb := '{}';
	page json;
	lines int := rest.number(n, 50, 1, 1000);
	last uuid;
	read int;
BEGIN
	IF status <> '' THEN
		IF status NOT IN ('pending', 'in_progress', 'completed', 'failed', 'cancelled') THEN
			RETURN sitrep_app.say(422, 'status must be pending, in_progress, completed, failed or cancelled');
		END IF;
		filter := jsonb_build_object('state', CASE status WHEN 'pending' THEN '["pending", "reserved", "scheduled", "blocked"]'
			WHEN 'in_progress' THEN '["running", "retrying"]' ELSE to_jsonb(status) END);
	END IF;
	IF length(family) > 1 THEN	-- a colon, and the beginning of a name
		filter := filter || jsonb_build_object('kind', (SELECT coalesce(jsonb_agg(k.name), '[""]') FROM taskq.kind k WHERE starts_with(k.name, substr(family, 2))));
	END IF;
	SELECT json_agg(sitrep_app.shown(l) ORDER BY l.id DESC), count(*), (array_agg(l.id ORDER BY l.id))[1] INTO page, read, last
	FROM taskq.task_list(filter, after => rest.uuid(after), n => lines) l;
	RETURN json_build_object('tasks', coalesce(page, '[]'), 'next', CASE WHEN read = lines THEN last END);
END
$$;
COMMENT ON FUNCTION sitrep.tasks IS
'Tasks, the newest first

GET /api/scheduler/tasks?status=&family=app.notifications.&limit=&after=. next is the after of the next page.';

CREATE OR REPLACE FUNCTION sitrep.task(id text) RETURNS json LANGUAGE plpgsql STABLE AS $$
DECLARE
	found taskq.task;
BEGIN
	SELECT * INTO found FROM taskq.task t WHERE t.id = rest.uuid(task.id);
	IF found.id IS NULL THEN
		RETURN sitrep_app.say(404, 'Task not found');
	END IF;
	RETURN sitrep_app.shown(found)::jsonb || jsonb_build_object('task', found.kind, 'queue', found.queue, 'kwargs', found.payload, 'worker', found.worker,
		'attempt', found.attempt, 'max_attempts', found.max_attempts, 'retry_of', found.retry_of,
		'attempts', (SELECT coalesce(jsonb_agg(jsonb_build_object('attempt', a.attempt, 'status', sitrep_app.word(a.state), 'worker', a.worker,
				'started_at', rest.utc(a.started_at), 'completed_at', rest.utc(a.finished_at), 'error_message', left(a.error->>'message', 200)) ORDER BY a.attempt), '[]')
			FROM taskq.task_attempts(found.id) a));
END
$$;
COMMENT ON FUNCTION sitrep.task IS
'A task in detail: arguments, attempts

GET /api/scheduler/tasks/{id}. What is secret in kwargs is shown as ***.';

-- In the words of Celery's inspect: by worker.
CREATE OR REPLACE FUNCTION sitrep.inspect(what text) RETURNS json LANGUAGE plpgsql STABLE AS $$
BEGIN
	IF what = 'stats' THEN
		RETURN (SELECT coalesce(json_object_agg(w.name, json_build_object('pid', w.pid, 'state', w.state, 'total', w.completed + w.failed, 'completed', w.completed,
				'failed', w.failed, 'success_rate', w.success_rate, 'average_seconds', round(extract(epoch FROM w.average_run), 3),
				'uptime', round(extract(epoch FROM clock_timestamp() - w.started_at)), 'last_heartbeat', rest.utc(w.last_heartbeat))), '{}')
			FROM taskq.worker w);
	END IF;
	RETURN (SELECT coalesce(json_object_agg(t.worker, t.tasks), '{}') FROM (
		-- nobody has a scheduled one: who is free when it is due runs it
		SELECT coalesce(l.worker, '-') AS worker, json_agg(json_build_object('id', l.id, 'name', l.kind, 'kwargs', l.payload, 'time_start', rest.utc(l.started_at),
			'eta', CASE WHEN l.state IN ('scheduled', 'retrying') THEN rest.utc(l.run_at) END) ORDER BY l.id) AS tasks
		FROM taskq.task_list(CASE what WHEN 'active' THEN '{"state": "running"}' WHEN 'reserved' THEN '{"state": "reserved"}'
			ELSE '{"state": ["scheduled", "retrying"]}' END::jsonb, 'oldest', n => 1000) l
		GROUP BY 1) t);
END
$$;
COMMENT ON FUNCTION sitrep.inspect IS
'What workers have, by worker

GET /api/scheduler/inspect/active, reserved, scheduled or stats.';

CREATE OR REPLACE FUNCTION sitrep.schedules() RETURNS json LANGUAGE sql STABLE AS $$
	SELECT coalesce(json_agg(json_build_object('name', s.name, 'task', s.kind, 'every_seconds', extract(epoch FROM s.every)::bigint, 'cron', s.cron, 'enabled', s.enabled,
		'last_run', rest.utc(s.last_run), 'next_run', rest.utc(s.next_run), 'runs', s.runs, 'error_message', left(s.error->>'message', 200)) ORDER BY s.name), '[]')
	FROM taskq.schedule s
$$;
COMMENT ON FUNCTION sitrep.schedules IS
'Periodic tasks

GET /api/scheduler/schedules, to operators.';

CREATE OR REPLACE FUNCTION sitrep.slack() RETURNS json LANGUAGE plpgsql STABLE AS $$
DECLARE
	r json := sitrep_app.report(20);
	m json := r->'task_metrics';
BEGIN
	RETURN json_build_object('text', concat_ws(E'\n',
		format('*%s* %s tasks: %s active, %s pending, %s completed, %s failed; success rate %s %%',
			CASE WHEN (r->>'degraded')::bool THEN 'Degraded.' ELSE 'All is well.' END,
			m->>'total_tasks', m->>'active_tasks', m->>'pending_tasks', m->>'completed_tasks', m->>'failed_tasks', round(100 * (m->>'success_rate')::numeric)),
		(SELECT string_agg('- ' || replace(replace(replace(why, '&', '&amp;'), '<', '&lt;'), '>', '&gt;'), E'\n') FROM json_array_elements_text(r->'reasons') why),
		(SELECT string_agg(format('- %s: %s', t->>'name', replace(replace(replace(t->>'error_message', '&', '&amp;'), '<', '&lt;'), '>', '&gt;')), E'\n')
			FROM json_array_elements(r->'recent_tasks') t WHERE t->>'status' = 'failed')));
END
$$;
COMMENT ON FUNCTION sitrep.slack IS
'The situation as a message for Slack

GET /api/scheduler/sitrep/slack: {"text"}, to be posted to a webhook as it is.';

DO $$
DECLARE
	it regprocedure;
BEGIN
	FOR it IN SELECT p.oid FROM pg_proc p WHERE p.pronamespace IN ('sitrep'::regnamespace, 'sitrep_app'::regnamespace) AND p.proowner = current_user::regrole LOOP
		EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', it);
		EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO web_user', it);
	END LOOP;
END
$$;
COMMIT;
RESET client_min_messages;
NOTIFY pgrst;
