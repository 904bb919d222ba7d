-- What somebody made before CREATE EXTENSION does not reach into it.
\ir include/prologue.psql
SELECT plan(13);
SELECT current_database() AS db \gset
DROP EXTENSION taskq;

CREATE ROLE squatter LOGIN;
GRANT CREATE ON DATABASE :"db" TO squatter;
GRANT CREATE ON SCHEMA public TO squatter;

-- schemas
CREATE SCHEMA taskq AUTHORIZATION squatter;
SELECT throws_ok('CREATE EXTENSION taskq', '42P06', NULL, 'a schema taskq that was there before stops the installation');
DROP SCHEMA taskq;
CREATE SCHEMA taskq_internal AUTHORIZATION squatter;
SELECT throws_ok('CREATE EXTENSION taskq', '42P06', NULL, '... as does one taskq_internal');
SELECT is(count(*)::int, 0, '... which leaves nothing behind')
FROM pg_namespace WHERE nspname = 'taskq';
DROP SCHEMA taskq_internal;

-- objects that shadow what the script uses, and rights that new objects would have
SET SESSION AUTHORIZATION squatter;
CREATE TABLE public.called (what text);
GRANT ALL ON public.called TO PUBLIC;
CREATE FUNCTION public.format(text, variadic text[]) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO public.called VALUES ('format');
	RETURN pg_catalog.format($1, variadic $2);
END $$;
CREATE FUNCTION public.name_eq(name, text) RETURNS bool LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO public.called VALUES ('=');
	RETURN $1::text OPERATOR(pg_catalog.=) $2;
END $$;
CREATE OPERATOR public.= (LEFTARG = name, RIGHTARG = text, FUNCTION = public.name_eq);
CREATE FUNCTION public.pg_extension_config_dump(regclass, text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO public.called VALUES ('config dump');
END $$;
CREATE DOMAIN public.uuid AS text;
CREATE DOMAIN public.jsonb AS text;
CREATE VIEW public.task AS SELECT 1 AS squat;
RESET SESSION AUTHORIZATION;
ALTER DEFAULT PRIVILEGES GRANT ALL ON FUNCTIONS TO PUBLIC;
ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO PUBLIC;
ALTER DEFAULT PRIVILEGES GRANT ALL ON SEQUENCES TO squatter;
ALTER DEFAULT PRIVILEGES GRANT ALL ON SCHEMAS TO PUBLIC;
SET search_path = public, pg_catalog;
SELECT lives_ok('CREATE EXTENSION taskq', 'objects of the same names elsewhere do not stop it');
RESET search_path;
ALTER DEFAULT PRIVILEGES REVOKE ALL ON TABLES FROM PUBLIC;
ALTER DEFAULT PRIVILEGES REVOKE ALL ON SEQUENCES FROM squatter;
ALTER DEFAULT PRIVILEGES REVOKE ALL ON SCHEMAS FROM PUBLIC;

SELECT is_empty('SELECT * FROM public.called', '... and none of their code runs');
SELECT is(count(*)::int, 0, 'no column or argument has a type of theirs')
FROM pg_depend d JOIN pg_extension e ON d.refobjid = e.oid AND e.extname = 'taskq' AND d.deptype = 'e'
JOIN pg_depend u ON u.classid = d.classid AND u.objid = d.objid AND u.refclassid = 'pg_type'::regclass
JOIN pg_type t ON t.oid = u.refobjid AND t.typnamespace = 'public'::regnamespace;
SELECT is(count(*)::int, 0, 'nothing of the extension is theirs')
FROM pg_depend d JOIN pg_extension e ON d.refobjid = e.oid AND e.extname = 'taskq' AND d.deptype = 'e'
JOIN pg_class c ON d.classid = 'pg_class'::regclass AND c.oid = d.objid
WHERE c.relowner = 'squatter'::regrole;
SELECT is(count(*)::int, 0, 'default privileges open no table and no view to them')
FROM pg_class c WHERE c.relnamespace IN ('taskq'::regnamespace, 'taskq_internal'::regnamespace) AND c.relkind IN ('r', 'p', 'v')
	AND has_table_privilege('squatter', c.oid, 'SELECT, INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER');
SELECT is(count(*)::int, 0, '... no sequence')
FROM pg_class c WHERE c.relnamespace = 'taskq_internal'::regnamespace
	AND CASE WHEN c.relkind = 'S' THEN has_sequence_privilege('squatter', c.oid, 'USAGE, SELECT, UPDATE') END;
SELECT is(count(*)::int, 0, '... no function')
FROM pg_proc p WHERE p.pronamespace IN ('taskq'::regnamespace, 'taskq_internal'::regnamespace)
	AND has_function_privilege('squatter', p.oid, 'EXECUTE');
SELECT is(count(*)::int, 0, '... and no schema')
FROM pg_namespace WHERE nspname LIKE 'taskq%'
	AND (has_schema_privilege('squatter', oid, 'USAGE') OR has_schema_privilege('squatter', oid, 'CREATE'));

-- and it works
CREATE FUNCTION work(p jsonb) RETURNS int LANGUAGE sql AS 'SELECT 42';
SELECT taskq.kind_define('work', 'public.work(pg_catalog.jsonb)') \g /dev/null
SELECT taskq.task_submit('work') AS id \gset
SELECT is(t.state || ' ' || t.result::text, 'completed 42', 'it works') FROM taskq.task_wait(:'id') t;
SELECT is(count(*)::int, 7, 'the predefined roles of the server are taken as they are')
FROM pg_roles WHERE rolname IN ('taskq_user', 'taskq_web', 'taskq_worker', 'taskq_developer', 'taskq_operator', 'taskq_tenant_operator', 'taskq_monitor') AND NOT rolcanlogin;

DROP OWNED BY squatter CASCADE;
DROP ROLE squatter;
SELECT * FROM finish();
