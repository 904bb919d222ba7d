-- The catalogue: nothing is open to PUBLIC, nothing runs on a caller's search_path,
-- everything is documented.  Each check is shown to find an offender.
\ir include/prologue.psql
SELECT plan(26);

CREATE FUNCTION ours(namespace oid) RETURNS bool LANGUAGE sql AS $$ SELECT namespace IN ('taskq'::regnamespace, 'taskq_internal'::regnamespace) $$;

CREATE VIEW public_routines AS
SELECT p.oid::regprocedure::text AS what FROM pg_proc p, aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a
WHERE ours(p.pronamespace) AND a.grantee = 0;

CREATE VIEW public_relations AS
SELECT c.oid::regclass::text AS what FROM pg_class c, aclexplode(coalesce(c.relacl, acldefault(CASE c.relkind WHEN 'S' THEN 's' ELSE 'r' END::"char", c.relowner))) a
WHERE ours(c.relnamespace) AND a.grantee = 0
UNION ALL
SELECT attrelid::regclass || '.' || attname FROM pg_attribute t JOIN pg_class c ON c.oid = t.attrelid, aclexplode(t.attacl) a
WHERE ours(c.relnamespace) AND a.grantee = 0;

CREATE VIEW public_schemas AS
SELECT n.nspname::text AS what FROM pg_namespace n, aclexplode(n.nspacl) a WHERE ours(n.oid) AND (a.grantee = 0 OR (a.privilege_type = 'CREATE' AND a.grantee <> n.nspowner));

-- what roles of the API may do to relations is look; what they do to tasks are calls of functions
CREATE VIEW writable_relations AS
SELECT c.oid::regclass || ' ' || a.privilege_type || ' ' || a.grantee::regrole AS what FROM pg_class c, aclexplode(c.relacl) a
WHERE ours(c.relnamespace) AND a.grantee <> c.relowner AND a.privilege_type <> 'SELECT'
	AND NOT (c.oid = 'taskq.task'::regclass AND a.privilege_type IN ('INSERT', 'UPDATE', 'DELETE'));

CREATE VIEW loose_search_path AS
SELECT p.oid::regprocedure::text AS what FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang
WHERE ours(p.pronamespace) AND (p.prosecdef OR l.lanname IN ('sql', 'plpgsql'))
	AND NOT EXISTS (SELECT FROM unnest(p.proconfig) s WHERE s LIKE 'search_path=pg_catalog, pg_temp');

-- the first line is a summary, a blank line, then more (that is how PostgREST shows it)
CREATE VIEW undocumented AS
SELECT p.oid::regprocedure::text AS what FROM pg_proc p WHERE ours(p.pronamespace)
	AND coalesce(obj_description(p.oid, 'pg_proc'), '') !~ '^[^\n]{10,}(\n\n.+)?$'
UNION ALL
SELECT c.oid::regclass::text FROM pg_class c WHERE c.relnamespace = 'taskq'::regnamespace AND c.relkind IN ('v', 'r', 'm')
	AND coalesce(obj_description(c.oid, 'pg_class'), '') !~ '^[^\n]{10,}(\n\n.+)?$'
UNION ALL
SELECT a.attrelid::regclass || '.' || a.attname FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
WHERE c.relnamespace = 'taskq'::regnamespace AND c.relkind = 'v' AND a.attnum > 0 AND NOT a.attisdropped
	AND col_description(a.attrelid, a.attnum) IS NULL
UNION ALL
SELECT c.oid::regclass::text FROM pg_class c WHERE c.relnamespace = 'taskq_internal'::regnamespace AND c.relkind IN ('r', 'p')
	AND c.relname !~ '^task_\d\d$' AND obj_description(c.oid, 'pg_class') IS NULL
UNION ALL
SELECT n.nspname::text FROM pg_namespace n WHERE ours(n.oid) AND obj_description(n.oid, 'pg_namespace') IS NULL;

CREATE VIEW views_without_barrier AS
SELECT c.oid::regclass::text AS what FROM pg_class c WHERE c.relnamespace = 'taskq'::regnamespace AND c.relkind = 'v'
	AND pg_get_viewdef(c.oid) ~ '_visible\(|\mtask\M' AND NOT coalesce(c.reloptions @> '{security_barrier=true}', false);

-- made later they would not be dumped
CREATE VIEW no_members AS
SELECT c.oid::regclass::text AS what FROM pg_class c WHERE ours(c.relnamespace) AND c.relkind IN ('r', 'p', 'v', 'S', 'm')
	AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
UNION ALL
SELECT p.oid::regprocedure::text FROM pg_proc p WHERE ours(p.pronamespace)
	AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e');

CREATE VIEW not_dumped AS
SELECT c.oid::regclass::text AS what FROM pg_class c WHERE ours(c.relnamespace) AND c.relkind IN ('r', 'S')
	AND NOT EXISTS (SELECT FROM pg_extension e WHERE e.extname = 'taskq' AND c.oid = ANY (e.extconfig));

-- pg_upgrade refuses most of them, and a dump that names a missing role is refused as a whole
CREATE VIEW reg_columns AS
SELECT attrelid::regclass || '.' || attname AS what FROM pg_attribute t JOIN pg_class c ON c.oid = t.attrelid
WHERE ours(c.relnamespace) AND c.relkind IN ('r', 'p') AND atttypid::regtype::text LIKE 'reg%';

-- the trigger that refuses all but superusers: ALWAYS, BEFORE, each statement of INSERT, UPDATE, DELETE and TRUNCATE
CREATE VIEW unguarded_tables AS
SELECT c.oid::regclass::text AS what FROM pg_class c WHERE c.relnamespace = 'taskq_internal'::regnamespace AND c.relkind IN ('r', 'p')
	AND NOT EXISTS (SELECT FROM pg_trigger t WHERE t.tgrelid = c.oid AND t.tgname = 'refuse_write' AND t.tgenabled = 'A' AND t.tgtype = 62
		AND t.tgqual IS NULL AND t.tgfoid = 'taskq_internal.refuse_write()'::regprocedure);

-- code of users that our own work could run
CREATE VIEW triggers_and_policies AS
SELECT tgrelid::regclass || ' ' || tgname AS what FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid WHERE ours(c.relnamespace) AND NOT tgisinternal
	AND NOT EXISTS (SELECT FROM pg_proc p WHERE p.oid = t.tgfoid AND ours(p.pronamespace))
UNION ALL
SELECT c.oid::regclass::text FROM pg_class c WHERE ours(c.relnamespace) AND (c.relrowsecurity OR c.relhasrules AND c.relkind IN ('r', 'p'));

-- PostgREST matches a function by the names of its arguments: no overloads
CREATE VIEW overloads AS
SELECT p.proname::text AS what FROM pg_proc p WHERE p.pronamespace = 'taskq'::regnamespace GROUP BY p.proname HAVING count(*) > 1;

SELECT is_empty('SELECT * FROM ' || v, 'none: ' || replace(v, '_', ' '))
FROM unnest(ARRAY['public_routines', 'public_relations', 'public_schemas', 'writable_relations', 'loose_search_path', 'undocumented', 'views_without_barrier',
	'no_members', 'not_dumped', 'reg_columns', 'unguarded_tables', 'triggers_and_policies', 'overloads']) v;

-- offenders
CREATE FUNCTION taskq.offender() RETURNS int LANGUAGE sql SECURITY DEFINER AS $$ SELECT 1 $$;
CREATE FUNCTION taskq.offender(a int) RETURNS int LANGUAGE sql AS $$ SELECT a $$;
CREATE TABLE taskq_internal.offender (r regproc);
CREATE FUNCTION offender_trigger() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$;
CREATE TRIGGER offender BEFORE INSERT ON taskq_internal.offender FOR EACH ROW EXECUTE FUNCTION offender_trigger();
GRANT SELECT ON taskq_internal.offender TO PUBLIC;
GRANT INSERT ON taskq_internal.offender TO taskq_user;
CREATE VIEW taskq.offender AS SELECT * FROM taskq.task WHERE id IS NOT NULL;
CREATE ROLE catalogue_role;
GRANT CREATE ON SCHEMA taskq TO catalogue_role;

CREATE FUNCTION found(v text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	n int;
BEGIN
	EXECUTE format('SELECT count(*) FROM %I', v) INTO n;
	RETURN v || CASE WHEN n > 0 THEN ' found' ELSE ' missed' END;
END $$;
SELECT is(found(v), v || ' found', 'an offender is found: ' || replace(v, '_', ' '))
FROM unnest(ARRAY['public_routines', 'public_relations', 'public_schemas', 'writable_relations', 'loose_search_path', 'undocumented', 'views_without_barrier',
	'no_members', 'not_dumped', 'reg_columns', 'unguarded_tables', 'triggers_and_policies', 'overloads']) v;

DROP VIEW taskq.offender;
DROP TABLE taskq_internal.offender;
DROP FUNCTION taskq.offender(), taskq.offender(int);
REVOKE CREATE ON SCHEMA taskq FROM catalogue_role;
DROP ROLE catalogue_role;
SELECT * FROM finish();
