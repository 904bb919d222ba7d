/* Last, for it goes over all that the files before it made. */

/* ---------------------------------------------------------------- the tables are for nobody's DML */

-- What stands in them decides what runs as whom, so privileges are not enough: members
-- of pg_write_all_data have them on every table.  taskq itself writes rows by the access
-- methods and fires no trigger; a dump is restored by a superuser.
CREATE FUNCTION taskq_internal.refuse_write() RETURNS trigger
LANGUAGE c AS 'MODULE_PATHNAME', 'taskq_refuse_write';
COMMENT ON FUNCTION taskq_internal.refuse_write() IS 'trigger of all tables of taskq: only superusers may write to them';

DO $$
DECLARE
	t regclass;
BEGIN
	FOR t IN
		SELECT c.oid FROM pg_catalog.pg_class c
		WHERE c.relnamespace = 'taskq_internal'::regnamespace AND c.relkind IN ('r', 'p') ORDER BY c.oid
	LOOP
		EXECUTE pg_catalog.format('CREATE TRIGGER refuse_write BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON %s
			FOR EACH STATEMENT EXECUTE FUNCTION taskq_internal.refuse_write()', t);
		EXECUTE pg_catalog.format('ALTER TABLE ONLY %s ENABLE ALWAYS TRIGGER refuse_write', t);
	END LOOP;
END
$$;

/* ---------------------------------------------------------------- rights */

-- Nothing for PUBLIC, also not for functions; nor for those whom the default
-- privileges of the installing role would let in.
DO $$
DECLARE
	who text;
BEGIN
	FOR who IN
		SELECT 'PUBLIC'
		UNION SELECT pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(a.grantee))
		FROM (SELECT oid, nspowner AS owner, nspacl AS acl FROM pg_catalog.pg_namespace
			UNION ALL SELECT relnamespace, relowner, relacl FROM pg_catalog.pg_class
			UNION ALL SELECT pronamespace, proowner, proacl FROM pg_catalog.pg_proc) o,
			pg_catalog.aclexplode(o.acl) a
		WHERE o.oid IN ('taskq'::regnamespace, 'taskq_internal'::regnamespace)
			AND a.grantee <> 0 AND a.grantee <> o.owner
	LOOP
		EXECUTE pg_catalog.format('REVOKE ALL ON SCHEMA taskq, taskq_internal FROM %s', who);
		EXECUTE pg_catalog.format('REVOKE ALL ON ALL TABLES IN SCHEMA taskq, taskq_internal FROM %s', who);
		EXECUTE pg_catalog.format('REVOKE ALL ON ALL SEQUENCES IN SCHEMA taskq, taskq_internal FROM %s', who);
		EXECUTE pg_catalog.format('REVOKE ALL ON ALL ROUTINES IN SCHEMA taskq, taskq_internal FROM %s', who);
	END LOOP;
END
$$;

REVOKE ALL ON TYPE taskq.handler FROM PUBLIC;

GRANT EXECUTE ON FUNCTION taskq.board(), taskq.rights(), taskq_internal.session_rights() TO taskq_user, taskq_web, taskq_worker, taskq_developer, taskq_operator, taskq_monitor;
GRANT USAGE ON SCHEMA taskq TO taskq_user, taskq_web, taskq_worker, taskq_developer, taskq_operator, taskq_monitor;
GRANT SELECT ON taskq.task, taskq.task_attempt, taskq.task_log, taskq.queue, taskq.worker, taskq.link
	TO taskq_user, taskq_web, taskq_worker, taskq_operator, taskq_monitor;
-- POST, PATCH and DELETE over HTTP: submit, set the priority, cancel
GRANT INSERT, UPDATE, DELETE ON taskq.task TO taskq_user, taskq_web, taskq_operator;
GRANT SELECT ON taskq.kind
	TO taskq_user, taskq_web, taskq_worker, taskq_developer, taskq_operator, taskq_monitor;
GRANT SELECT ON taskq.audit
	TO taskq_user, taskq_web, taskq_worker, taskq_developer, taskq_operator, taskq_monitor;
GRANT SELECT ON taskq.template
	TO taskq_user, taskq_web, taskq_developer, taskq_operator, taskq_monitor;
GRANT EXECUTE ON FUNCTION taskq.template_define(text, jsonb, text), taskq.template_drop(text) TO taskq_developer, taskq_operator;
GRANT EXECUTE ON FUNCTION
	taskq.template_submit(text, jsonb, text, int, text[], jsonb), taskq.workflow_submit(jsonb, jsonb, text, int, text[], jsonb),
	taskq.task_group(jsonb, jsonb, text), taskq.task_chain(jsonb, jsonb, text), taskq.task_chord(jsonb, jsonb, jsonb, text),
	taskq.workflow_cancel(uuid, text, bool), taskq.workflow_retry(uuid, bool)
	TO taskq_user, taskq_web, taskq_operator;
GRANT EXECUTE ON FUNCTION
	taskq.workflow_status(uuid), taskq.workflow_tree(uuid), taskq.workflow_tasks(uuid), taskq.workflow_steps(uuid)
	TO taskq_user, taskq_web, taskq_operator, taskq_monitor;
GRANT SELECT ON taskq.schedule
	TO taskq_user, taskq_web, taskq_developer, taskq_operator, taskq_monitor;
GRANT EXECUTE ON FUNCTION taskq_internal.role_visible(name, oid, int8), taskq_internal.owner_visible(name, oid, int8), taskq_internal.actor_visible(jsonb), taskq_internal.tenant_visible(text),
	taskq_internal.tenant_limited(), taskq_internal.tenant_only(), taskq_internal.id_time(uuid) TO taskq_developer;
GRANT EXECUTE ON FUNCTION taskq_internal.masked(jsonb, text, int4, jsonb), taskq_internal.masked_steps(jsonb)
	TO taskq_user, taskq_web, taskq_worker, taskq_developer, taskq_operator, taskq_monitor;

GRANT EXECUTE ON FUNCTION
	taskq_internal.live(), taskq_internal.lanes(bool), taskq_internal.workers(), taskq_internal.outsiders(), taskq_internal.role_visible(name, oid, int8),
	taskq_internal.owner_visible(name, oid, int8), taskq_internal.actor_visible(jsonb), taskq_internal.claims_seen(name, oid, int8, jsonb), taskq_internal.tenant_visible(text), taskq_internal.tenant_limited(), taskq_internal.tenant_only(), taskq_internal.id_time(uuid), taskq_internal.id_slot(uuid)
	TO taskq_user, taskq_web, taskq_worker, taskq_operator, taskq_monitor;
GRANT EXECUTE ON FUNCTION
	taskq.task_attempt(taskq.task), taskq.logs(taskq.task), taskq.links(taskq.task), taskq.children(taskq.task),
	taskq.dependencies(taskq.task), taskq.parent_task(taskq.task), taskq.task_kind(taskq.task)
	TO taskq_user, taskq_web, taskq_worker, taskq_operator, taskq_monitor;
GRANT EXECUTE ON FUNCTION
	taskq.task_status(uuid), taskq.task_newest(uuid), taskq.task_node(uuid), taskq.task_result(uuid), taskq.task_progress(uuid), taskq.task_wait(uuid, interval), taskq.task_watch(uuid, jsonb, interval),
	taskq.task_wait_any(uuid[], interval), taskq.task_wait_all(uuid[], interval),
	taskq.task_attempts(uuid), taskq.task_dependencies(uuid), taskq.task_list(jsonb, text, uuid, int),
	taskq.events_since(text, interval, int),
	taskq.link(text, text, uuid, uuid), taskq.unlink(text, text, uuid)
	TO taskq_user, taskq_web, taskq_worker, taskq_operator, taskq_monitor;
-- What handlers call: for roles that run tasks, so that it is no part of what others see
-- over HTTP.
GRANT EXECUTE ON FUNCTION
	taskq.progress(numeric, numeric, text, int, jsonb, text), taskq.step_failed(text, text, jsonb), taskq.log(text, text, jsonb),
	taskq.current_task(), taskq.cancel_requested(), taskq.fail(text, jsonb, text), taskq.retry(interval, text, jsonb, text)
	TO taskq_user;
GRANT EXECUTE ON PROCEDURE taskq.task_bulk_all(text, jsonb, text, bool, int, bigint, bigint)
	TO taskq_user, taskq_web, taskq_operator;
GRANT EXECUTE ON PROCEDURE taskq.task_wait_long(uuid, interval, text)
	TO taskq_user, taskq_web, taskq_worker, taskq_operator, taskq_monitor;
GRANT EXECUTE ON FUNCTION
	taskq.task_submit(text, jsonb, text, int, timestamptz, interval, interval, int, text, text, interval, text, uuid[], text, uuid, text[], jsonb, jsonb),
	taskq.task_submit_many(text, jsonb[], text, int, timestamptz, interval, interval, int, text, text, interval, text, uuid[], text, uuid, text[], jsonb, jsonb),
	taskq.task_submit_batch(text, jsonb, text, int, timestamptz, interval, interval, int, text, text, interval, text, uuid[], text, uuid, text[], jsonb, jsonb),
	taskq.task_cancel(uuid, text, bool), taskq.task_retry, taskq.task_delete(uuid),
	taskq.task_set_priority(uuid, int, text), taskq.task_run_now(uuid), taskq.task_reschedule(uuid, timestamptz),
	taskq.queue_clear(text, text[], int, timestamptz, text, text[], int),
	taskq.task_bulk(text, uuid[], text, bool, int, jsonb, int, uuid)
	TO taskq_user, taskq_web, taskq_operator;
GRANT EXECUTE ON FUNCTION
	taskq.task_claim(text, text[], text[], int, interval, interval),
	taskq.task_heartbeat(uuid, uuid, interval, numeric, numeric, text, jsonb, int, text, jsonb),
	taskq.task_complete(uuid, uuid, jsonb), taskq.task_complete_many(jsonb), taskq.task_fail(uuid, uuid, text, jsonb, bool, text, text), taskq.task_release(uuid, uuid, interval)
	TO taskq_worker;
GRANT EXECUTE ON FUNCTION taskq.cluster_summary() TO taskq_user, taskq_web, taskq_worker, taskq_operator, taskq_monitor;
GRANT EXECUTE ON FUNCTION taskq.task_active(int) TO taskq_user, taskq_web, taskq_operator, taskq_monitor;
GRANT EXECUTE ON FUNCTION taskq_internal.ring_lines(), taskq.task_logs(uuid, text, int8, int)
	TO taskq_user, taskq_web, taskq_worker, taskq_operator, taskq_monitor;
GRANT EXECUTE ON FUNCTION taskq.task_log(uuid, uuid, text, text, jsonb, jsonb) TO taskq_worker;
GRANT SELECT ON taskq.alert TO taskq_operator, taskq_monitor;
GRANT EXECUTE ON FUNCTION
	taskq.alert_define(text, text, float8, interval, text, text, float8, bool, text), taskq.alert_drop(text),
	taskq.alert_enable(text), taskq.alert_disable(text)
	TO taskq_operator;
GRANT EXECUTE ON FUNCTION taskq_internal.alert_value(text, text, text, interval) TO taskq_operator, taskq_monitor;
GRANT SELECT ON taskq.server, taskq.stalled, taskq.warning TO taskq_user, taskq_web, taskq_worker, taskq_operator, taskq_monitor;
GRANT EXECUTE ON FUNCTION taskq.sitrep(), taskq_internal.report(), taskq_internal.warnings(jsonb)
	TO taskq_user, taskq_web, taskq_worker, taskq_operator, taskq_monitor;
GRANT EXECUTE ON FUNCTION
	taskq.kind_define,
	taskq.kind_drop(text), taskq.kind_limit(text, int, int, interval, int, text), taskq.kind_pause(text, text), taskq.kind_resume(text), taskq.kind_grant(text, regrole, text), taskq.kind_revoke(text, regrole, text)
	TO taskq_developer, taskq_operator;
GRANT EXECUTE ON FUNCTION taskq.task_recount() TO taskq_operator;
GRANT EXECUTE ON FUNCTION
	taskq.tenant_delete(text, int), taskq.worker_stop(text, bool), taskq.worker_restart(), taskq.queue_define(text, int, interval, text, int, interval, int), taskq.queue_drop(text), taskq.queue_limit(text, int, int, interval, int, text), taskq.queue_pause(text, text), taskq.queue_resume(text), taskq.pause(text), taskq.resume(),
	taskq.task_submit_sql(text, text, int, timestamptz, interval, interval, int, text, text, interval, text, uuid[], text, uuid, text[], jsonb, jsonb)
	TO taskq_operator;

GRANT EXECUTE ON FUNCTION
	taskq.schedule_define(text, text, text, interval, jsonb, text, text, bool, text, interval, text, timestamptz, bool, jsonb, text),
	taskq.schedule_drop(text), taskq.schedule_enable(text), taskq.schedule_disable(text), taskq.schedule_run(text),
	taskq.schedule_tick(text), taskq.schedule_foreach(text, timestamptz)
	TO taskq_developer, taskq_operator;

GRANT EXECUTE ON FUNCTION taskq.task_explain(uuid), taskq.task_estimate(uuid), taskq.queue_estimates(),
	taskq_internal.queue_position(uuid, int4, timestamptz), taskq_internal.estimated_start(uuid, int4, timestamptz),
	taskq_internal.estimated_completion(uuid, int4, timestamptz)
	TO taskq_user, taskq_web, taskq_worker, taskq_operator, taskq_monitor;

GRANT EXECUTE ON FUNCTION
	taskq.task_counts(), taskq_internal.stocks(), taskq.task_summary(), taskq.task_recent(int), taskq.task_metrics(int), taskq.metrics(),
	taskq.statistics_history(interval, text), taskq_internal.labels(text[]), taskq.statistics(interval, text, bool), taskq.statistics_by(interval, text, bool),
	taskq_internal.counted(timestamptz, timestamptz, "char", text, bool, bool),
	taskq_internal.summed(timestamptz, timestamptz, "char", text, text, bool, bool), taskq_internal.timeframe(interval), taskq_internal.group_word(text),
	taskq_internal.histogram_add(internal, int8[]), taskq_internal.histogram_of(internal), taskq_internal.histogram_sum(int8[]),
	taskq_internal.histogram_quantile(int8[], float8), taskq_internal.histogram_upto(int8[], int8),
	taskq_internal.sparse(int8[], int8), taskq_internal.words(float8), taskq_internal.trend(float8, float8, float8), taskq_internal.times(int8[], float8, int8)
	TO taskq_user, taskq_web, taskq_worker, taskq_operator, taskq_monitor;

-- Who operates a tenant: what a user may over HTTP, and definitions that are its tenant's.
DO $$
DECLARE
	command text;
BEGIN
	FOR command IN
		SELECT pg_catalog.format('GRANT %s ON SCHEMA %s TO taskq_tenant_operator', a.privilege_type, n.oid::regnamespace)
		FROM pg_catalog.pg_namespace n, pg_catalog.aclexplode(n.nspacl) a
		WHERE n.nspname IN ('taskq', 'taskq_internal') AND a.grantee = 'taskq_web'::regrole
		UNION ALL
		SELECT pg_catalog.format('GRANT %s ON TABLE %s TO taskq_tenant_operator', a.privilege_type, c.oid::regclass)
		FROM pg_catalog.pg_class c, pg_catalog.aclexplode(c.relacl) a
		WHERE c.relnamespace IN ('taskq'::regnamespace, 'taskq_internal'::regnamespace) AND a.grantee = 'taskq_web'::regrole
		UNION ALL
		SELECT pg_catalog.format('GRANT %s ON ROUTINE %s TO taskq_tenant_operator', a.privilege_type, p.oid::regprocedure)
		FROM pg_catalog.pg_proc p, pg_catalog.aclexplode(p.proacl) a
		WHERE p.pronamespace IN ('taskq'::regnamespace, 'taskq_internal'::regnamespace) AND a.grantee = 'taskq_web'::regrole
	LOOP
		EXECUTE command;
	END LOOP;
END
$$;
GRANT EXECUTE ON FUNCTION taskq.template_define(text, jsonb, text), taskq.template_drop(text),
	taskq.schedule_define(text, text, text, interval, jsonb, text, text, bool, text, interval, text, timestamptz, bool, jsonb, text),
	taskq.schedule_drop(text), taskq.schedule_enable(text), taskq.schedule_disable(text), taskq.schedule_run(text),
	taskq.schedule_tick(text), taskq.schedule_foreach(text, timestamptz)
	TO taskq_tenant_operator;

-- Everything can be defined without the library, but nothing runs.
DO $$
BEGIN
	IF pg_catalog.current_setting('taskq.max_workers', true) IS NULL THEN
		RAISE WARNING 'taskq is not loaded by the server' USING HINT = 'Add taskq to shared_preload_libraries and restart the server.';
	END IF;
END
$$;

-- PostgREST reloads its schema cache on this.
NOTIFY pgrst;
