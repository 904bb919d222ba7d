/* ---------------------------------------------------------------- what the session may */

CREATE FUNCTION taskq_internal.session_rights(OUT operator bool, OUT tenant_operator bool, OUT monitor bool, OUT tenant text)
RETURNS record LANGUAGE c STABLE AS 'MODULE_PATHNAME', 'taskq_session_rights';
COMMENT ON FUNCTION taskq_internal.session_rights() IS
'what the caller is by the rules for tasks; for taskq.rights';

CREATE FUNCTION taskq.rights() RETURNS jsonb LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
SELECT jsonb_build_object(
	'role', current_user,
	'roles', (SELECT jsonb_agg(r.rolname ORDER BY r.rolname) FROM pg_roles r WHERE pg_has_role(r.oid, 'USAGE') AND r.rolname NOT LIKE 'pg\_%'),
	'operator', s.operator, 'tenant_operator', s.tenant_operator, 'monitor', s.monitor, 'tenant', s.tenant,
	'functions', (SELECT coalesce(jsonb_agg(DISTINCT p.proname), '[]') FROM pg_proc p
		WHERE p.pronamespace = 'taskq'::regnamespace AND has_function_privilege(p.oid, 'EXECUTE')),
	'views', (SELECT coalesce(jsonb_agg(c.relname ORDER BY c.relname), '[]') FROM pg_class c
		WHERE c.relnamespace = 'taskq'::regnamespace AND c.relkind = 'v' AND has_table_privilege(c.oid, 'SELECT')))
FROM taskq_internal.session_rights() s;
END;
COMMENT ON FUNCTION taskq.rights() IS
'What the session may, for who shows buttons

role: the current one; roles: those whose rights it has; operator: it steers all tasks; tenant_operator: it steers all of its tenant''s; monitor: it sees all; tenant: whose tasks alone it has to do with, or null; functions, views: of schema taskq, those that it may use. PT403 where a tenant is required and there is none. Whatever it says, each function decides by itself.';
