-- rights(): what a session may, as it is shown to who draws buttons.
\ir include/prologue.psql
SELECT plan(24);

CREATE ROLE rights_gate LOGIN NOINHERIT;
CREATE ROLE rights_web NOLOGIN;
CREATE ROLE rights_op NOLOGIN;		-- operates a tenant
CREATE ROLE rights_boss NOLOGIN;	-- operates all
CREATE ROLE rights_monitor NOLOGIN;
CREATE ROLE rights_worker NOLOGIN;
CREATE ROLE rights_dev NOLOGIN;
CREATE ROLE rights_user NOLOGIN;
CREATE ROLE rights_anon NOLOGIN;
GRANT rights_web, rights_op, rights_boss, rights_monitor, rights_worker, rights_dev, rights_user, rights_anon TO rights_gate;
GRANT taskq_web TO rights_web;
GRANT taskq_tenant_operator, rights_web TO rights_op;
GRANT taskq_operator, rights_web TO rights_boss;
GRANT taskq_monitor TO rights_monitor;
GRANT taskq_worker TO rights_worker;
GRANT taskq_developer TO rights_dev;
GRANT taskq_user TO rights_user;
GRANT USAGE ON SCHEMA taskq TO rights_anon;
GRANT EXECUTE ON FUNCTION taskq.board() TO rights_anon;

\ir include/request.psql
SET taskq.trusted_gateways = 'rights_gate';
SET taskq.tenant_claim = 'tenant';

-- what it is, whose tenant, and of these functions and views those that it may use
CREATE FUNCTION told(who name, claims text) RETURNS text LANGUAGE sql AS $$
SELECT request(who, claims, $q$
	SELECT concat_ws(' ', CASE WHEN r->'operator' = 'true' THEN 'operator' END, CASE WHEN r->'tenant_operator' = 'true' THEN 'tenant_operator' END,
		CASE WHEN r->'monitor' = 'true' THEN 'monitor' END, 'of ' || coalesce(r->>'tenant', 'nobody') || ':',
		(SELECT string_agg(f, ' ' ORDER BY n) FROM unnest('{task_list,task_submit,task_cancel,schedule_run,kind_pause,queue_pause,pause,task_claim,progress}'::text[]) WITH ORDINALITY u (f, n) WHERE r->'functions' ? f),
		'|', (SELECT string_agg(v, ' ' ORDER BY n) FROM unnest('{task,audit,schedule,alert}'::text[]) WITH ORDINALITY u (v, n) WHERE r->'views' ? v))
	FROM taskq.rights() r $q$)
$$;
GRANT EXECUTE ON FUNCTION told TO PUBLIC;

SET SESSION AUTHORIZATION rights_gate;
SELECT is(told('rights_web', '{"tenant": "a"}'), 'of a: task_list task_submit task_cancel | task audit schedule', 'a user of a tenant''s');
SELECT is(told('rights_web', '{}'), 'of nobody: task_list task_submit task_cancel | task audit schedule', '... of nobody''s');
SELECT is(told('rights_op', '{"tenant": "a"}'), 'tenant_operator of a: task_list task_submit task_cancel schedule_run | task audit schedule', 'who operates a tenant');
SELECT is(told('rights_op', '{}'), 'PT403', '... and has none');
SELECT is(told('rights_boss', '{}'), 'operator monitor of nobody: task_list task_submit task_cancel schedule_run kind_pause queue_pause pause | task audit schedule alert', 'an operator');
SELECT is(told('rights_boss', '{"tenant": "a"}'), 'operator monitor of nobody: task_list task_submit task_cancel schedule_run kind_pause queue_pause pause | task audit schedule alert', '... whose token has a tenant, which limits him to nothing');
SELECT is(told('rights_monitor', '{}'), 'monitor of nobody: task_list | task audit schedule alert', 'a monitor');
SELECT is(told('rights_worker', '{"tenant": "a"}'), 'of a: task_list task_claim | task audit', 'a worker');
SELECT is(told('rights_dev', '{}'), 'of nobody: schedule_run kind_pause | audit schedule', 'a developer');
SELECT is(told('rights_user', '{}'), 'of nobody: task_list task_submit task_cancel progress | task audit schedule', 'a user of SQL');
SELECT is(told('rights_anon', '{}'), '42501', 'who has no role of taskq''s may not ask');
SELECT is(request('rights_op', '{"tenant": "a"}', 'SELECT r->''role'' || (r->''roles'') FROM taskq.rights() r'), '["rights_op", "rights_op", "rights_web", "taskq_tenant_operator", "taskq_web"]', 'its roles');
SELECT is(request('rights_web', '{"tenant": "a"}', 'SELECT string_agg(k, '' '' ORDER BY k) FROM jsonb_object_keys(taskq.rights()) k'), 'functions monitor operator role roles tenant tenant_operator views', 'what is told');

-- what it says is so: of all functions and views
CREATE FUNCTION pg_temp.untrue(who name) RETURNS text LANGUAGE sql AS $$
SELECT request(who, '{"tenant": "a"}', format($q$
	WITH r AS MATERIALIZED (SELECT taskq.rights() AS r)
	SELECT coalesce(string_agg(what, ', '), 'nothing') FROM (
		SELECT proname AS what FROM pg_proc, r WHERE pronamespace = 'taskq'::regnamespace AND has_function_privilege(%1$L, oid, 'EXECUTE') <> (r->'functions' ? proname)
		UNION ALL SELECT relname FROM pg_class, r WHERE relnamespace = 'taskq'::regnamespace AND relkind = 'v' AND has_table_privilege(%1$L, oid, 'SELECT') <> (r->'views' ? relname)) x $q$, who))
$$;
SELECT is(pg_temp.untrue(who), 'nothing', 'what it says is so: ' || who) FROM unnest('{rights_web,rights_op,rights_boss,rights_monitor,rights_worker,rights_dev,rights_user}'::name[]) who;
RESET SESSION AUTHORIZATION;

-- in SQL
SELECT is((r->>'operator') || (r->>'monitor') || coalesce(r->>'tenant', ' of nobody'), 'truetrue of nobody', 'a superuser') FROM taskq.rights() r;
SET taskq.require_tenant = on;
SET SESSION AUTHORIZATION rights_gate;
SELECT is(told('rights_web', '{}'), 'PT403', 'where a tenant is required, who has none is told so');
SELECT is(told('rights_web', '{"tenant": "a"}'), 'of a: task_list task_submit task_cancel | task audit schedule', '... who has one sees it');
SELECT is(told('rights_boss', '{}'), 'operator monitor of nobody: task_list task_submit task_cancel schedule_run kind_pause queue_pause pause | task audit schedule alert', '... an operator needs none');
RESET SESSION AUTHORIZATION;

SELECT * FROM finish();
