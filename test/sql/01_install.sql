-- What the extension brings, and who may use it.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS taskq;
RESET client_min_messages;

-- everything is in two schemas
SELECT DISTINCT n.nspname
FROM pg_depend d
JOIN pg_extension e ON e.oid = d.refobjid AND d.refclassid = 'pg_extension'::regclass AND e.extname = 'taskq'
JOIN pg_class c ON c.oid = d.objid AND d.classid = 'pg_class'::regclass
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE d.deptype = 'e' ORDER BY 1;

-- the API
\pset tuples_only on
\pset format unaligned
SELECT format('%s(%s)%s', p.proname, pg_get_function_arguments(p.oid), ' → ' || pg_get_function_result(p.oid))
FROM pg_proc p WHERE p.pronamespace = 'taskq'::regnamespace ORDER BY p.proname COLLATE "C";
\pset tuples_only off
\pset format aligned

-- nothing is open to PUBLIC
SELECT p.oid::regprocedure AS open_function
FROM pg_proc p
WHERE p.pronamespace IN ('taskq'::regnamespace, 'taskq_internal'::regnamespace)
  AND EXISTS (SELECT FROM aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a WHERE a.grantee = 0);
SELECT c.oid::regclass AS open_relation
FROM pg_class c
WHERE c.relnamespace IN ('taskq'::regnamespace, 'taskq_internal'::regnamespace)
  AND EXISTS (SELECT FROM aclexplode(c.relacl) a WHERE a.grantee = 0);
SELECT n.nspname AS open_schema
FROM pg_namespace n
WHERE n.nspname LIKE 'taskq%' AND EXISTS (SELECT FROM aclexplode(n.nspacl) a WHERE a.grantee = 0);

-- nobody but the owner has a right in taskq_internal other than to the functions that the views call
SELECT n.nspname
FROM pg_namespace n, aclexplode(n.nspacl) a
WHERE n.nspname = 'taskq_internal' AND a.grantee <> n.nspowner;
SELECT c.oid::regclass
FROM pg_class c, aclexplode(c.relacl) a
WHERE c.relnamespace = 'taskq_internal'::regnamespace AND a.grantee <> c.relowner;
SELECT p.proname AS granted
FROM pg_proc p, aclexplode(p.proacl) a
WHERE p.pronamespace = 'taskq_internal'::regnamespace AND a.grantee <> p.proowner
GROUP BY 1 ORDER BY 1;

-- no API object can be changed by the API's roles; INSERT, UPDATE and DELETE of tasks are calls of functions
SELECT DISTINCT c.oid::regclass, a.privilege_type, a.grantee::regrole::text COLLATE "C" AS grantee
FROM pg_class c, aclexplode(c.relacl) a
WHERE c.relnamespace = 'taskq'::regnamespace AND a.grantee <> c.relowner AND a.privilege_type <> 'SELECT' ORDER BY 2, 3;

-- which role may call what
SELECT p.proname AS function, string_agg(a.grantee::regrole::text, ', ' ORDER BY a.grantee::regrole::text COLLATE "C") AS granted_to
FROM pg_proc p, aclexplode(p.proacl) a
WHERE p.pronamespace = 'taskq'::regnamespace AND a.grantee <> p.proowner
GROUP BY p.oid, p.proname ORDER BY p.proname COLLATE "C";

-- no function runs with its owner's rights on a search_path of the caller's
SELECT p.oid::regprocedure
FROM pg_proc p
WHERE p.pronamespace IN ('taskq'::regnamespace, 'taskq_internal'::regnamespace)
  AND p.prosecdef AND NOT coalesce(p.proconfig::text LIKE '%search\_path=%', false);

-- the API is documented
SELECT p.oid::regprocedure AS undocumented_function
FROM pg_proc p
WHERE p.pronamespace IN ('taskq'::regnamespace, 'taskq_internal'::regnamespace)
  AND obj_description(p.oid, 'pg_proc') IS NULL;
SELECT c.oid::regclass AS undocumented_view
FROM pg_class c
WHERE c.relnamespace = 'taskq'::regnamespace AND c.relkind = 'v'
  AND obj_description(c.oid, 'pg_class') IS NULL;

-- every table and sequence with data is part of a dump
SELECT c.oid::regclass AS not_dumped
FROM pg_class c
WHERE c.relnamespace = 'taskq_internal'::regnamespace AND c.relkind IN ('r', 'S')
  AND c.oid <> ALL ((SELECT extconfig FROM pg_extension WHERE extname = 'taskq')::oid[]);

-- no reg* column: these would stop pg_upgrade, or a restore
SELECT a.attrelid::regclass, a.attname
FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
WHERE c.relnamespace = 'taskq_internal'::regnamespace AND c.relkind IN ('r', 'p')
  AND a.atttypid::regtype::text LIKE 'reg%';

-- the views
\d taskq.task
\d taskq.kind
\d taskq.queue
\d taskq.worker

-- a view that filters by role must not let a cheap function of the caller's look first
SELECT c.relname, c.reloptions FROM pg_class c
WHERE c.relnamespace = 'taskq'::regnamespace AND c.relkind = 'v' AND c.relname IN ('task', 'worker') ORDER BY 1;

-- settings
SELECT name, setting, unit, context, short_desc IS NOT NULL AS documented
FROM pg_settings WHERE name LIKE 'taskq.%' ORDER BY name COLLATE "C";
