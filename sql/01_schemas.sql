/* taskq 1.0: the objects of the extension.
 *
 * Two schemas.  "taskq" is the API; "taskq_internal" holds the tables, which
 * nobody but the C module touches.  Every object is created here, none at run
 * time: objects made later would be no members of the extension, and a dump
 * would not restore.
 *
 * taskq--1.0.sql is sql/NN_*.sql one after the other, made by the Makefile.
 */
\echo Use "CREATE EXTENSION taskq" to load this file. \quit

/* ---------------------------------------------------------------- schemas and roles */

-- No IF NOT EXISTS: a schema that somebody made beforehand could hold traps.
CREATE SCHEMA taskq;
CREATE SCHEMA taskq_internal;

COMMENT ON SCHEMA taskq IS
'taskq: background tasks inside PostgreSQL

Submit tasks, follow their progress, read their results, cancel them.';
COMMENT ON SCHEMA taskq_internal IS 'tables of taskq; not for use by applications';

-- Roles that are there already are taken as they are, and told of when they may be
-- somebody's, but for members where another database has granted them something: there
-- taskq is in use.
DO $$
DECLARE
	rolename text;
	role record;
BEGIN
	FOREACH rolename IN ARRAY ARRAY['taskq_user', 'taskq_web', 'taskq_worker', 'taskq_developer', 'taskq_operator', 'taskq_tenant_operator', 'taskq_monitor']
	LOOP
		SELECT r.rolcanlogin AS login, d.used,
			(SELECT pg_catalog.string_agg(m.member::regrole::text, ', ' ORDER BY m.member::regrole::text)
				FROM pg_catalog.pg_auth_members m WHERE m.roleid = r.oid) AS members
		INTO role
		FROM pg_catalog.pg_roles r CROSS JOIN LATERAL (SELECT EXISTS (SELECT FROM pg_catalog.pg_shdepend d
			WHERE d.refclassid = 'pg_catalog.pg_authid'::regclass AND d.refobjid = r.oid AND d.deptype = 'a' AND d.dbid <> 0) AS used) d
		WHERE r.rolname = rolename;
		IF NOT FOUND THEN
			EXECUTE pg_catalog.format('CREATE ROLE %I NOLOGIN', rolename);
			CONTINUE;
		END IF;
		IF role.login THEN
			RAISE WARNING 'role "%" existed before and can log in', rolename
				USING HINT = pg_catalog.format('Use ALTER ROLE %I NOLOGIN if that is not meant.', rolename);
		END IF;
		IF role.members IS NOT NULL AND NOT role.used THEN
			RAISE WARNING 'role "%" existed before and has members', rolename
				USING DETAIL = pg_catalog.format('Members: %s.', role.members), HINT = 'Use REVOKE if that is not meant.';
		END IF;
	END LOOP;
END
$$;

