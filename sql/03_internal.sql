/* ---------------------------------------------------------------- the script's version */

-- Counted up with every change of what the library relies on: see TASKQ_SCRIPT_VERSION
-- in store.h.  An upgrade script replaces this function.
CREATE FUNCTION taskq_internal.script_version() RETURNS int4
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS 'SELECT 1';
COMMENT ON FUNCTION taskq_internal.script_version() IS
'number of the tables and functions that this script makes; the library refuses to work with another one than its own';

/* ---------------------------------------------------------------- what the views need */

-- ROWS: few, however large the tables are, so they are joined by index.
CREATE FUNCTION taskq_internal.live(
	OUT id uuid, OUT slot int2, OUT state text, OUT attempt int2, OUT worker text, OUT started_at timestamptz,
	OUT current float8, OUT total float8, OUT failed int4, OUT message text, OUT info jsonb,
	OUT updated_at timestamptz, OUT cancel_requested bool, OUT cancel_reason text, OUT phase text, OUT failure_details jsonb)
RETURNS SETOF record LANGUAGE c VOLATILE STRICT ROWS 100 AS 'MODULE_PATHNAME', 'taskq_live';
COMMENT ON FUNCTION taskq_internal.live() IS 'tasks that workers of this database hold now, from shared memory';

CREATE FUNCTION taskq_internal.lanes(
	ages bool DEFAULT false, OUT lane int4, OUT waiting int8, OUT running int4, OUT average_run interval, OUT oldest timestamptz)
RETURNS SETOF record LANGUAGE c VOLATILE STRICT ROWS 1000 AS 'MODULE_PATHNAME', 'taskq_lanes';
COMMENT ON FUNCTION taskq_internal.lanes(bool) IS 'lanes of this database in shared memory; oldest only if ages are asked for';

CREATE FUNCTION taskq_internal.workers(
	OUT name text, OUT role name, OUT role_oid oid, OUT pid int4, OUT state text, OUT task_id uuid, OUT task_started_at timestamptz,
	OUT reserved int4, OUT completed int8, OUT failed int8, OUT busy interval, OUT started_at timestamptz, OUT last_active timestamptz,
	OUT cpu interval, OUT memory int8, OUT peak_memory int8, OUT limits jsonb)
RETURNS SETOF record LANGUAGE c VOLATILE STRICT ROWS 4 AS 'MODULE_PATHNAME', 'taskq_workers';
COMMENT ON FUNCTION taskq_internal.workers() IS 'workers of this database, from shared memory';

CREATE FUNCTION taskq_internal.outsiders(
	OUT name text, OUT role name, OUT role_oid oid, OUT first_at timestamptz, OUT last_at timestamptz, OUT online bool,
	OUT queues text[], OUT kinds text[], OUT most int4, OUT completed int8, OUT failed int8, OUT busy interval, OUT silence interval)
RETURNS SETOF record LANGUAGE c VOLATILE STRICT ROWS 10 AS 'MODULE_PATHNAME', 'taskq_outsiders';
COMMENT ON FUNCTION taskq_internal.outsiders() IS 'workers outside of the server that were heard of in this database, from shared memory';

CREATE FUNCTION taskq_internal.role_visible(name name, oid oid, system int8) RETURNS bool
LANGUAGE c STABLE STRICT AS 'MODULE_PATHNAME', 'taskq_role_visible';
COMMENT ON FUNCTION taskq_internal.role_visible(name, oid, int8) IS
'may the caller see the tasks of this role: as a member of it, of taskq_monitor or of taskq_operator, or, those of its tenant, of taskq_tenant_operator';

CREATE FUNCTION taskq_internal.owner_visible(name name, oid oid, system int8) RETURNS bool
LANGUAGE c STABLE STRICT AS 'MODULE_PATHNAME', 'taskq_owner_visible';
COMMENT ON FUNCTION taskq_internal.owner_visible(name, oid, int8) IS
'may the caller see what this role owns and is no tenant''s: as a member of it, of taskq_monitor or of taskq_operator';

CREATE FUNCTION taskq_internal.actor_visible(claims jsonb) RETURNS bool
LANGUAGE c STABLE AS 'MODULE_PATHNAME', 'taskq_actor_visible';
COMMENT ON FUNCTION taskq_internal.actor_visible(jsonb) IS
'may the caller see who acted with these claims: one who operates a tenant, who acted for that';

CREATE FUNCTION taskq_internal.claims_seen(name name, oid oid, system int8, claims jsonb) RETURNS jsonb
LANGUAGE c STABLE STRICT AS 'MODULE_PATHNAME', 'taskq_claims_seen';
COMMENT ON FUNCTION taskq_internal.claims_seen(name, oid, int8, jsonb) IS
'the claims that a task has of its submitter, this role, if the caller may see who that acted for';

CREATE FUNCTION taskq_internal.tenant_visible(tenant text) RETURNS bool
LANGUAGE c STABLE AS 'MODULE_PATHNAME', 'taskq_tenant_visible';
COMMENT ON FUNCTION taskq_internal.tenant_visible(text) IS
'may the caller see the tasks of this tenant: one who states claims, or came through a trusted gateway, and is no operator, is limited to its own';

CREATE FUNCTION taskq_internal.tenant_limited() RETURNS bool
LANGUAGE c STABLE AS 'MODULE_PATHNAME', 'taskq_tenant_limited';
COMMENT ON FUNCTION taskq_internal.tenant_limited() IS
'are there tenants whose tasks the caller may not see';

CREATE FUNCTION taskq_internal.tenant_only() RETURNS text
LANGUAGE c STABLE AS 'MODULE_PATHNAME', 'taskq_tenant_only_sql';
COMMENT ON FUNCTION taskq_internal.tenant_only() IS
'the tenant whose tasks alone the caller may see; null: it may see others'', or nobody''s';

CREATE FUNCTION taskq_internal.masked(value jsonb, kind text, owner int4, options jsonb) RETURNS jsonb
LANGUAGE c STABLE AS 'MODULE_PATHNAME', 'taskq_masked';
COMMENT ON FUNCTION taskq_internal.masked(jsonb, text, int4, jsonb) IS
'a payload, or metadata, of a task of this kind without what is secret; owner: of the kind, or null; options: the task''s';

CREATE FUNCTION taskq_internal.masked_steps(steps jsonb) RETURNS jsonb
LANGUAGE c STABLE STRICT AS 'MODULE_PATHNAME', 'taskq_masked_steps';
COMMENT ON FUNCTION taskq_internal.masked_steps(jsonb) IS 'steps of a template without what is secret in them';

-- Of a pending task.  The caller is asked for, so no view need hide them.
CREATE FUNCTION taskq_internal.queue_position(id uuid, lane int4, run_at timestamptz) RETURNS int8
LANGUAGE c STABLE COST 100 AS 'MODULE_PATHNAME', 'taskq_queue_position_sql';
COMMENT ON FUNCTION taskq_internal.queue_position(uuid, int4, timestamptz) IS
'place of a pending task in its queue, from 1, among those that the caller may see';

CREATE FUNCTION taskq_internal.estimated_start(id uuid, lane int4, run_at timestamptz) RETURNS timestamptz
LANGUAGE c STABLE COST 100 AS 'MODULE_PATHNAME', 'taskq_estimated_start_sql';
COMMENT ON FUNCTION taskq_internal.estimated_start(uuid, int4, timestamptz) IS 'when a pending task will start, by estimate';

CREATE FUNCTION taskq_internal.estimated_completion(id uuid, lane int4, run_at timestamptz) RETURNS timestamptz
LANGUAGE c STABLE COST 100 AS 'MODULE_PATHNAME', 'taskq_estimated_completion_sql';
COMMENT ON FUNCTION taskq_internal.estimated_completion(uuid, int4, timestamptz) IS 'when a pending task will be through, by estimate';

CREATE FUNCTION taskq_internal.id_slot(id uuid) RETURNS int2
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'taskq_id_slot_sql';
COMMENT ON FUNCTION taskq_internal.id_slot(uuid) IS 'the leaf that a task id names';

CREATE FUNCTION taskq_internal.id_time(id uuid) RETURNS timestamptz
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'taskq_id_time_sql';
COMMENT ON FUNCTION taskq_internal.id_time(uuid) IS 'the moment a task id was made, to the microsecond';

-- Always kept.  It counts: the sweeper empties a leaf only if nothing was put into it
-- since it was read, also not by COPY, replication or an administrator.
CREATE FUNCTION taskq_internal.leaf_written(slot int2) RETURNS bool
LANGUAGE c VOLATILE STRICT AS 'MODULE_PATHNAME', 'taskq_leaf_written_sql';
COMMENT ON FUNCTION taskq_internal.leaf_written(int2) IS 'counts that something was written into a leaf; always true';
ALTER TABLE taskq_internal.task ADD CONSTRAINT written CHECK (taskq_internal.leaf_written(slot));

