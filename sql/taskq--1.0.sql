/* taskq 1.0: the objects of the extension.
 *
 * Two schemas.  "taskq" is the API; "taskq_internal" holds the tables, which
 * nobody but the C module touches.  Every object is created here, none at run
 * time: objects made later would be no members of the extension, and a dump
 * would not restore.
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
	FOREACH rolename IN ARRAY ARRAY['taskq_user', 'taskq_worker', 'taskq_developer', 'taskq_operator', 'taskq_monitor']
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

/* ---------------------------------------------------------------- tables */

-- A role as taskq knows it: its own number, the name, and the oid the name
-- had last.  A dump carries no oids; a role that was dropped and created
-- again under the same name must not inherit the old one's tasks.
-- Numbers of rows that were rolled back are free again: after the last one come those left out.
CREATE SEQUENCE taskq_internal.role_id_seq AS int4 CYCLE;
CREATE TABLE taskq_internal.role (
	id int4 NOT NULL CONSTRAINT role_pkey PRIMARY KEY,
	name name NOT NULL,
	oid oid NOT NULL,
	system int8 NOT NULL		-- the server in which it has that oid
) USING heap;
CREATE INDEX role_oid_idx ON taskq_internal.role (oid);

-- A lane is one (role, queue, kind, priority): what is claimed in order of
-- submission.  No unique constraint on purpose: it would make one submitter
-- wait for another's open transaction.  system and database are the home the
-- lane was made in; elsewhere (a restored dump, a copied database) it is not run.
CREATE SEQUENCE taskq_internal.lane_id_seq AS int4 CYCLE;
CREATE TABLE taskq_internal.lane (
	id int4 NOT NULL CONSTRAINT lane_pkey PRIMARY KEY,
	role int4 NOT NULL,
	priority int2 NOT NULL,
	queue text COLLATE "C" NOT NULL,
	kind text COLLATE "C" NOT NULL,
	kind_owner int4 NOT NULL,	-- somebody else's kind of the same name is another kind
	system int8 NOT NULL,
	database oid NOT NULL,
	kind_version int8 NOT NULL	-- the kind's when the lane was made
) USING heap;
CREATE INDEX lane_kind_idx ON taskq_internal.lane (kind, role, queue, priority, kind_owner, kind_version);

CREATE TABLE taskq_internal.kind (
	name text COLLATE "C" NOT NULL CONSTRAINT kind_pkey PRIMARY KEY,
	handler text,
	queue text COLLATE "C" NOT NULL,
	priority int2 NOT NULL,
	max_attempts int2 NOT NULL,
	timeout interval,
	backoff interval NOT NULL,
	backoff_max interval NOT NULL,
	retry_on text[],
	max_running int4,
	rate int4,
	rate_period interval NOT NULL,
	run_as int4,				-- taskq_internal.role, as owner
	retention interval,
	batch bool NOT NULL,
	description text,
	owner int4 NOT NULL,
	updated_at timestamptz NOT NULL,
	version int8 NOT NULL,		-- a new one when somebody who is no superuser chooses another handler
	handler_by int4 NOT NULL	-- who chose the handler
) USING heap;

-- Who may submit tasks of a kind that runs as somebody else (s), and who may
-- work on tasks of a kind without handler (w), also on those of all tenants (W).
CREATE TABLE taskq_internal.kind_grant (
	kind text COLLATE "C" NOT NULL,
	privilege "char" NOT NULL,
	role int4 NOT NULL,
	CONSTRAINT kind_grant_pkey PRIMARY KEY (kind, privilege, role)
) USING heap;

CREATE TABLE taskq_internal.queue (
	name text COLLATE "C" NOT NULL CONSTRAINT queue_pkey PRIMARY KEY,
	paused bool NOT NULL,
	max_running int4,
	retention interval,
	description text,
	updated_at timestamptz NOT NULL
) USING heap;

-- The tasks.  "slot" is a few bits inside the id and names the leaf; the
-- leaves are a fixed ring, and "keep" takes what outlives a turn of it.
-- state: p pending, s scheduled, t retrying, b blocked, r running (only those
-- that can't hold a row lock), e running outside of the server, under a lease,
-- c completed, f failed, x cancelled.  No index contains what an update changes,
-- so finishing a task is a HOT update.
CREATE TABLE taskq_internal.task (
	id uuid NOT NULL,
	lane int4 NOT NULL,
	slot int2 NOT NULL,
	attempt int2 NOT NULL,
	state "char" NOT NULL,
	max_attempts int2,
	submitted_by int4,
	timeout_ms int8,
	run_at timestamptz,
	started_at timestamptz,
	finished_at timestamptz,
	result jsonb,
	error jsonb,
	worker text,
	progress jsonb,
	cancel_reason text,
	crashes int2,				-- times that the server crashed because of it; 0: of several, maybe
	-- From here on nothing changes when the task ends: the WAL of an update has what is
	-- between the first byte that differs and the last.
	depth int2,					-- tasks that it descends from
	tags text[],
	metadata jsonb,
	parent uuid,
	retry_of uuid,
	workflow uuid,
	claims jsonb,
	tenant text,
	payload jsonb
) PARTITION BY LIST (slot);

-- Attempts that failed and were followed by another one.  The last attempt is
-- in the task's own row.  outcome: f failed, l lost with its worker.
CREATE TABLE taskq_internal.attempt (
	task uuid NOT NULL,
	attempt int2 NOT NULL,
	outcome "char" NOT NULL,
	worker text,
	started_at timestamptz,
	finished_at timestamptz,
	error jsonb,
	CONSTRAINT attempt_pkey PRIMARY KEY (task, attempt)
) USING heap;

-- The right of an external worker to run one attempt.  until and the clock it is
-- compared with don't jump when the system's clock is set (see clock.c).
CREATE TABLE taskq_internal.lease (
	task uuid NOT NULL CONSTRAINT lease_pkey PRIMARY KEY,
	token uuid NOT NULL,
	until timestamptz NOT NULL,
	deadline timestamptz,		-- of the attempt, by its timeout; the same clock
	timer timestamptz NOT NULL,	-- when its timer is due, by the system's clock
	lease_ms int8 NOT NULL,
	cancel bool NOT NULL,		-- somebody asked to cancel the task
	told bool NOT NULL,			-- ... and the worker has been told
	updated_at timestamptz NOT NULL,
	progress jsonb
) USING heap WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_cost_delay = 0);

-- Due time of scheduled and retrying tasks, where run_at of the task is the same
-- moment, and of leases.
CREATE TABLE taskq_internal.timer (
	due timestamptz NOT NULL,
	id uuid NOT NULL,
	lane int4 NOT NULL,
	CONSTRAINT timer_pkey PRIMARY KEY (due, id)
) USING heap WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_cost_delay = 0);

-- What is pending but was not so from its submit on: it became due, or its worker
-- gave it back.  Such a task has a run_at, and a row here, from the transaction that
-- makes it pending to the one that ends that; "due" is its run_at, and the order in
-- which they run.  A row with due -infinity is that of a task that runs for long.
CREATE TABLE taskq_internal.ready (
	lane int4 NOT NULL,
	due timestamptz NOT NULL,
	id uuid NOT NULL,
	CONSTRAINT ready_pkey PRIMARY KEY (lane, due, id)
) USING heap WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_cost_delay = 0);

-- Where each lane's tasks that are not over began when that was saved last: those
-- before it have a row in "ready" (see lane.c).  Not dumped: what is restored is
-- looked through from the beginning.
CREATE TABLE taskq_internal.watermark (
	lane int4 NOT NULL CONSTRAINT watermark_pkey PRIMARY KEY,
	id uuid NOT NULL
) USING heap WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_cost_delay = 0);

-- Tasks take a transaction number each, so rows are frozen with the first vacuum.  Dead
-- rows are pruned as pages are used, and leave with their leaf.
DO $$
DECLARE
	leaf text;
BEGIN
	FOR i IN 0..16 LOOP
		leaf := CASE WHEN i = 16 THEN 'task_keep' ELSE 'task_' || pg_catalog.lpad(i::text, 2, '0') END;
		EXECUTE pg_catalog.format('CREATE TABLE taskq_internal.%I PARTITION OF taskq_internal.task FOR VALUES IN (%s)
			USING heap WITH (fillfactor = 40, autovacuum_freeze_min_age = 0)', leaf, i);
		EXECUTE pg_catalog.format('ALTER TABLE taskq_internal.%I ADD CONSTRAINT %I PRIMARY KEY (id, slot)', leaf, leaf || '_pkey');
		EXECUTE pg_catalog.format('CREATE INDEX %I ON taskq_internal.%I (lane, id)', leaf || '_lane_idx', leaf);
		PERFORM pg_catalog.pg_extension_config_dump(('taskq_internal.' || leaf)::regclass, '');
	END LOOP;
END
$$;

SELECT pg_catalog.pg_extension_config_dump('taskq_internal.role', '');
SELECT pg_catalog.pg_extension_config_dump('taskq_internal.role_id_seq', '');
SELECT pg_catalog.pg_extension_config_dump('taskq_internal.lane', '');
SELECT pg_catalog.pg_extension_config_dump('taskq_internal.lane_id_seq', '');
SELECT pg_catalog.pg_extension_config_dump('taskq_internal.kind', '');
SELECT pg_catalog.pg_extension_config_dump('taskq_internal.kind_grant', '');
SELECT pg_catalog.pg_extension_config_dump('taskq_internal.queue', '');
SELECT pg_catalog.pg_extension_config_dump('taskq_internal.attempt', '');
SELECT pg_catalog.pg_extension_config_dump('taskq_internal.lease', '');
SELECT pg_catalog.pg_extension_config_dump('taskq_internal.timer', '');
SELECT pg_catalog.pg_extension_config_dump('taskq_internal.ready', '');
SELECT pg_catalog.pg_extension_config_dump('taskq_internal.watermark', 'WHERE false');

COMMENT ON TABLE taskq_internal.role IS 'roles as taskq knows them: a number, the name, the oid the name had last';
COMMENT ON TABLE taskq_internal.lane IS 'role, queue, kind and priority of tasks, and where they were submitted';
COMMENT ON TABLE taskq_internal.kind IS 'kinds of task; look at them in view taskq.kind';
COMMENT ON TABLE taskq_internal.kind_grant IS 'who may submit (s), or work on (w; W: for all tenants), a kind';
COMMENT ON TABLE taskq_internal.queue IS 'queues that were defined; look at them in view taskq.queue';
COMMENT ON TABLE taskq_internal.task IS 'tasks, in a ring of leaves by the time of their submit; look at them in view taskq.task';
COMMENT ON TABLE taskq_internal.task_keep IS 'tasks that are kept for longer than their leaf';
COMMENT ON TABLE taskq_internal.attempt IS 'attempts that were followed by another one; look at them in view taskq.task_attempt';
COMMENT ON TABLE taskq_internal.lease IS 'tasks that external workers have, with their tokens';
COMMENT ON TABLE taskq_internal.timer IS 'when scheduled and retrying tasks, and leases, are due';
COMMENT ON TABLE taskq_internal.ready IS 'tasks that are pending but were not so from their submit on';
COMMENT ON TABLE taskq_internal.watermark IS 'how far each lane had come when that was saved last';

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
	OUT updated_at timestamptz, OUT cancel_requested bool, OUT cancel_reason text)
RETURNS SETOF record LANGUAGE c VOLATILE STRICT ROWS 100 AS 'MODULE_PATHNAME', 'taskq_live';
COMMENT ON FUNCTION taskq_internal.live() IS 'tasks that workers of this database hold now, from shared memory';

CREATE FUNCTION taskq_internal.lanes(
	OUT lane int4, OUT waiting int8, OUT running int4, OUT average_run interval)
RETURNS SETOF record LANGUAGE c VOLATILE STRICT ROWS 50 AS 'MODULE_PATHNAME', 'taskq_lanes';
COMMENT ON FUNCTION taskq_internal.lanes() IS 'lanes of this database in shared memory';

CREATE FUNCTION taskq_internal.workers(
	OUT name text, OUT role name, OUT role_oid oid, OUT pid int4, OUT state text, OUT task_id uuid, OUT task_started_at timestamptz,
	OUT reserved int4, OUT completed int8, OUT failed int8, OUT busy interval, OUT started_at timestamptz, OUT last_active timestamptz)
RETURNS SETOF record LANGUAGE c VOLATILE STRICT ROWS 4 AS 'MODULE_PATHNAME', 'taskq_workers';
COMMENT ON FUNCTION taskq_internal.workers() IS 'workers of this database, from shared memory';

CREATE FUNCTION taskq_internal.role_visible(name name, oid oid, system int8) RETURNS bool
LANGUAGE c STABLE STRICT AS 'MODULE_PATHNAME', 'taskq_role_visible';
COMMENT ON FUNCTION taskq_internal.role_visible(name, oid, int8) IS
'may the caller see the tasks of this role: as a member of it, of taskq_monitor or of taskq_operator';

CREATE FUNCTION taskq_internal.tenant_visible(tenant text) RETURNS bool
LANGUAGE c STABLE AS 'MODULE_PATHNAME', 'taskq_tenant_visible';
COMMENT ON FUNCTION taskq_internal.tenant_visible(text) IS
'may the caller see the tasks of this tenant: one who states claims, or came through a trusted gateway, and is no operator, is limited to its own';

CREATE FUNCTION taskq_internal.tenant_limited() RETURNS bool
LANGUAGE c STABLE AS 'MODULE_PATHNAME', 'taskq_tenant_limited';
COMMENT ON FUNCTION taskq_internal.tenant_limited() IS
'are there tenants whose tasks the caller may not see';

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

/* ---------------------------------------------------------------- views */

-- One arm a state, each with a constant, so that WHERE state = '...' prunes the
-- others.  What is live comes from shared memory and hides the stored state:
-- a task whose result is not durable yet still runs, to everyone.
CREATE VIEW taskq_internal.task_all AS
WITH live AS MATERIALIZED (SELECT * FROM taskq_internal.live())
SELECT
	s.slot,
	s.id,
	n.kind,
	n.queue,
	s.state_name AS state,
	CASE s.state_name
		WHEN 'running' THEN 'STARTED' WHEN 'retrying' THEN 'RETRY' WHEN 'completed' THEN 'SUCCESS'
		WHEN 'failed' THEN 'FAILURE' WHEN 'cancelled' THEN 'REVOKED' ELSE 'PENDING' END AS celery_state,
	s.state_name IN ('completed', 'failed', 'cancelled') AS ready,
	CASE WHEN s.state_name IN ('completed', 'failed', 'cancelled') THEN s.state_name = 'completed' END AS successful,
	n.priority,
	CASE WHEN s.state_name = 'completed' THEN 100
		 WHEN p.total > 0 THEN pg_catalog.round(greatest(0, least(100, 100 * p.current / p.total))::numeric, 1)
		 ELSE 0 END AS progress,
	p.current,
	p.total,
	p.failed AS failed_steps,
	p.message,
	p.info,
	s.payload,
	CASE WHEN s.state_name IN ('completed', 'failed', 'cancelled') THEN s.result END AS result,
	CASE WHEN s.state_name <> 'running' THEN s.error END AS error,
	coalesce(s.live_attempt, s.attempt) AS attempt,
	coalesce(s.max_attempts, k.max_attempts, 1::int2) AS max_attempts,
	coalesce(s.live_worker, s.worker) AS worker,
	s.run_at,
	taskq_internal.id_time(s.id) AS created_at,
	t.started_at,
	coalesce(s.live_updated, t.finished_at, t.started_at, taskq_internal.id_time(s.id)) AS updated_at,
	t.finished_at,
	CASE WHEN t.started_at IS NOT NULL
		 THEN coalesce(t.finished_at, pg_catalog.clock_timestamp()) - t.started_at END AS duration,
	CASE WHEN s.state_name = 'running' AND p.current > 0 AND p.total BETWEEN p.current AND 10000 * p.current
		 THEN t.started_at + (s.live_updated - t.started_at) * (p.total / p.current) END AS estimated_completion,
	sub.name AS submitted_by,
	r.name AS run_as,
	s.tenant,
	s.parent,
	s.retry_of,
	s.workflow,
	s.tags,
	s.metadata,
	coalesce(s.live_cancel, s.state_name = 'cancelled') AS cancel_requested,
	coalesce(s.live_reason, s.cancel_reason) AS cancel_reason,
	coalesce(s.timeout_ms * interval '1 ms', k.timeout) AS timeout,
	s.crashes,
	r.oid AS run_as_oid,
	r.system AS run_as_system,
	sub.oid AS submitted_by_oid,
	sub.system AS submitted_by_system
FROM (
	SELECT t.*, 'completed'::text AS state_name, NULL::int2 AS live_attempt, NULL::text AS live_worker,
		NULL::timestamptz AS live_started, NULL::float8 AS live_current, NULL::float8 AS live_total,
		NULL::int4 AS live_failed, NULL::text AS live_message, NULL::jsonb AS live_info,
		NULL::timestamptz AS live_updated, NULL::bool AS live_cancel, NULL::text AS live_reason
	FROM taskq_internal.task t WHERE t.state = 'c' AND NOT EXISTS (SELECT FROM live l WHERE l.id = t.id AND l.state = 'running')
	UNION ALL
	SELECT t.*, 'failed', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL
	FROM taskq_internal.task t WHERE t.state = 'f' AND NOT EXISTS (SELECT FROM live l WHERE l.id = t.id AND l.state = 'running')
	UNION ALL
	SELECT t.*, 'cancelled', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL
	FROM taskq_internal.task t WHERE t.state = 'x' AND NOT EXISTS (SELECT FROM live l WHERE l.id = t.id AND l.state = 'running')
	UNION ALL
	-- 'r' that no worker holds: its worker is gone and it will be claimed again
	SELECT t.*, 'pending', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL
	FROM taskq_internal.task t WHERE t.state IN ('p', 'r') AND NOT EXISTS (SELECT FROM live l WHERE l.id = t.id)
	UNION ALL
	SELECT t.*, 'scheduled', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL
	FROM taskq_internal.task t WHERE t.state = 's' AND NOT EXISTS (SELECT FROM live l WHERE l.id = t.id)
	UNION ALL
	SELECT t.*, 'retrying', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL
	FROM taskq_internal.task t WHERE t.state = 't' AND NOT EXISTS (SELECT FROM live l WHERE l.id = t.id)
	UNION ALL
	SELECT t.*, 'running', l.attempt, l.worker, l.started_at, l.current, l.total, l.failed, l.message, l.info,
		l.updated_at, l.cancel_requested, l.cancel_reason
	FROM live l JOIN taskq_internal.task t ON t.id = l.id WHERE l.state = 'running'
	UNION ALL
	-- held by an external worker
	SELECT t.*, 'running', NULL, NULL, t.started_at,
		(e.progress->>'current')::float8, (e.progress->>'total')::float8, NULL, e.progress->>'message', e.progress->'info',
		e.updated_at, e.cancel, t.cancel_reason
	FROM taskq_internal.task t JOIN taskq_internal.lease e ON e.task = t.id WHERE t.state = 'e'
	UNION ALL
	SELECT t.*, 'reserved', l.attempt, l.worker, NULL, NULL, NULL, NULL, NULL, NULL, NULL, l.cancel_requested, l.cancel_reason
	FROM live l JOIN taskq_internal.task t ON t.id = l.id WHERE l.state = 'reserved' AND t.state NOT IN ('c', 'f', 'x')
) s
JOIN taskq_internal.lane n ON n.id = s.lane
JOIN taskq_internal.role r ON r.id = n.role
JOIN taskq_internal.role sub ON sub.id = coalesce(s.submitted_by, n.role)
LEFT JOIN taskq_internal.kind k ON k.name = n.kind
CROSS JOIN LATERAL (
	SELECT
		coalesce(s.live_current, (s.progress->>'current')::float8) AS current,
		coalesce(s.live_total, (s.progress->>'total')::float8) AS total,
		coalesce(s.live_failed, (s.progress->>'failed')::int4) AS failed,
		coalesce(s.live_message, s.progress->>'message') AS message,
		coalesce(s.live_info, s.progress->'info') AS info
) p
CROSS JOIN LATERAL (
	SELECT
		CASE WHEN s.state_name = 'running' THEN s.live_started
			 WHEN s.state_name IN ('completed', 'failed', 'cancelled', 'retrying') THEN s.started_at END AS started_at,
		CASE WHEN s.state_name IN ('completed', 'failed', 'cancelled') THEN s.finished_at END AS finished_at
) t;

CREATE VIEW taskq.task WITH (security_barrier) AS
SELECT a.id, a.kind, a.queue, a.state, a.celery_state, a.ready, a.successful, a.priority, a.progress, a.current, a.total,
	a.failed_steps, a.message, a.info, a.payload, a.result, a.error, a.attempt, a.max_attempts, a.worker, a.run_at,
	a.created_at, a.started_at, a.updated_at, a.finished_at, a.duration, a.estimated_completion, a.submitted_by, a.run_as,
	a.tenant, a.parent, a.retry_of, a.workflow, a.tags, a.metadata, a.cancel_requested, a.cancel_reason, a.timeout
FROM taskq_internal.task_all a
WHERE (taskq_internal.role_visible(a.submitted_by, a.submitted_by_oid, a.submitted_by_system)
	OR taskq_internal.role_visible(a.run_as, a.run_as_oid, a.run_as_system))
	AND taskq_internal.tenant_visible(a.tenant);

COMMENT ON VIEW taskq.task IS
'Tasks: state, progress, result, error

Every task that the caller may see: those submitted by or run as a role it is a member of; all of them for members of taskq_monitor and taskq_operator. Who comes through a gateway of taskq.trusted_gateways sees those of its own tenant; who states claims elsewhere, those of that tenant and of none. Progress is live: it shows while the task''s own transaction is still open.';
COMMENT ON COLUMN taskq.task.id IS 'UUID that task_submit returned; it rises with time';
COMMENT ON COLUMN taskq.task.kind IS 'kind of task; "sql" for task_submit_sql';
COMMENT ON COLUMN taskq.task.queue IS 'queue it is in';
COMMENT ON COLUMN taskq.task.state IS 'scheduled, pending, reserved, running, retrying, completed, failed or cancelled';
COMMENT ON COLUMN taskq.task.celery_state IS 'the same in Celery''s words: PENDING, STARTED, RETRY, SUCCESS, FAILURE, REVOKED';
COMMENT ON COLUMN taskq.task.ready IS 'true when the state is final';
COMMENT ON COLUMN taskq.task.successful IS 'true when completed, false when failed or cancelled, null before';
COMMENT ON COLUMN taskq.task.priority IS '-100 to 100, higher ones first';
COMMENT ON COLUMN taskq.task.progress IS 'percent, 0 to 100';
COMMENT ON COLUMN taskq.task.current IS 'how much is done, as progress() said last';
COMMENT ON COLUMN taskq.task.total IS 'of how much';
COMMENT ON COLUMN taskq.task.failed_steps IS 'argument failed of progress()';
COMMENT ON COLUMN taskq.task.message IS 'argument message of progress()';
COMMENT ON COLUMN taskq.task.info IS 'argument info of progress()';
COMMENT ON COLUMN taskq.task.payload IS 'what the handler is called with';
COMMENT ON COLUMN taskq.task.result IS 'what the handler returned';
COMMENT ON COLUMN taskq.task.error IS 'sqlstate, type, message, detail, hint, context of the last failed attempt';
COMMENT ON COLUMN taskq.task.attempt IS 'number of the attempt that runs or was the last; 0 before the first';
COMMENT ON COLUMN taskq.task.max_attempts IS 'how often it is attempted at most';
COMMENT ON COLUMN taskq.task.worker IS 'the worker that runs it or ran it last';
COMMENT ON COLUMN taskq.task.run_at IS 'not before this moment; null: at once';
COMMENT ON COLUMN taskq.task.created_at IS 'moment of the submit';
COMMENT ON COLUMN taskq.task.started_at IS 'when the attempt that runs or was the last began';
COMMENT ON COLUMN taskq.task.updated_at IS 'when it was last heard of: report of progress, end, begin or submit';
COMMENT ON COLUMN taskq.task.finished_at IS 'when it became completed, failed or cancelled';
COMMENT ON COLUMN taskq.task.duration IS 'run time: so far while running, in all when final';
COMMENT ON COLUMN taskq.task.estimated_completion IS 'for a running task that reports progress: when it will be through at its pace so far';
COMMENT ON COLUMN taskq.task.submitted_by IS 'role that submitted it';
COMMENT ON COLUMN taskq.task.run_as IS 'role that it runs as';
COMMENT ON COLUMN taskq.task.tenant IS 'tenant by the claims of a trusted gateway; null: none';
COMMENT ON COLUMN taskq.task.parent IS 'task inside of which it was submitted, or that argument parent named';
COMMENT ON COLUMN taskq.task.retry_of IS 'finished task that task_retry made this one of';
COMMENT ON COLUMN taskq.task.workflow IS 'not used by this version';
COMMENT ON COLUMN taskq.task.tags IS 'argument tags of the submit';
COMMENT ON COLUMN taskq.task.metadata IS 'argument metadata of the submit';
COMMENT ON COLUMN taskq.task.cancel_requested IS 'somebody asked to cancel it';
COMMENT ON COLUMN taskq.task.cancel_reason IS 'argument reason of task_cancel';
COMMENT ON COLUMN taskq.task.timeout IS 'longest run time of an attempt: its own, or else its kind''s; null: no limit';

CREATE VIEW taskq_internal.attempt_all AS
SELECT a.task AS task_id, a.attempt, CASE a.outcome WHEN 'l' THEN 'lost' ELSE 'failed' END AS state,
	a.worker, a.started_at, a.finished_at, a.finished_at - a.started_at AS duration, a.error
FROM taskq_internal.attempt a
UNION ALL
SELECT t.id, t.attempt, t.state, t.worker, t.started_at, t.finished_at, t.duration, t.error
FROM taskq_internal.task_all t
WHERE t.state IN ('running', 'completed', 'failed', 'cancelled') AND t.attempt > 0
	AND NOT EXISTS (SELECT FROM taskq_internal.attempt a WHERE a.task = t.id AND a.attempt = t.attempt);

CREATE VIEW taskq.task_attempt WITH (security_barrier) AS
SELECT a.task_id, a.attempt, a.state, a.worker, a.started_at, a.finished_at, a.duration, a.error
FROM taskq.task t JOIN taskq_internal.attempt_all a ON a.task_id = t.id;
COMMENT ON VIEW taskq.task_attempt IS
'Attempts: every execution of every task

state is running, completed, failed, cancelled, or lost when the server ended in the middle of it.';
COMMENT ON COLUMN taskq.task_attempt.task_id IS 'the task';
COMMENT ON COLUMN taskq.task_attempt.attempt IS '1 for the first';
COMMENT ON COLUMN taskq.task_attempt.state IS 'running, completed, failed, cancelled or lost';
COMMENT ON COLUMN taskq.task_attempt.worker IS 'who ran it';
COMMENT ON COLUMN taskq.task_attempt.started_at IS 'when it began';
COMMENT ON COLUMN taskq.task_attempt.finished_at IS 'when it ended; null while it runs';
COMMENT ON COLUMN taskq.task_attempt.duration IS 'run time';
COMMENT ON COLUMN taskq.task_attempt.error IS 'sqlstate, type, message, detail, hint, context, if it failed';

CREATE VIEW taskq.kind WITH (security_barrier) AS
SELECT k.name, k.handler, k.queue, k.priority, k.max_attempts, k.timeout, k.backoff, k.backoff_max, k.retry_on,
	k.max_running, k.rate, k.rate_period, r.name AS run_as, k.retention, k.batch, k.description, o.name AS owner, k.updated_at,
	g.submitters, g.workers, g.workers_for_all
FROM taskq_internal.kind k
JOIN taskq_internal.role o ON o.id = k.owner
LEFT JOIN taskq_internal.role r ON r.id = k.run_as
CROSS JOIN LATERAL (
	SELECT array_agg(gr.name ORDER BY gr.name) FILTER (WHERE g.privilege = 's') AS submitters,
		array_agg(gr.name ORDER BY gr.name) FILTER (WHERE g.privilege = 'w') AS workers,
		array_agg(gr.name ORDER BY gr.name) FILTER (WHERE g.privilege = 'W') AS workers_for_all,
		bool_or(taskq_internal.role_visible(gr.name, gr.oid, gr.system)) AS granted
	FROM taskq_internal.kind_grant g JOIN taskq_internal.role gr ON gr.id = g.role WHERE g.kind = k.name
) g
WHERE k.run_as IS NULL OR taskq_internal.role_visible(o.name, o.oid, o.system)
	OR taskq_internal.role_visible(r.name, r.oid, r.system) OR g.granted;
COMMENT ON VIEW taskq.kind IS
'Kinds of task: handler and policy

A kind names the function that runs its tasks and says how: queue, priority, attempts, timeout. A kind without handler is run by external workers. Shown are those that the caller may submit, work on or steer.';
COMMENT ON COLUMN taskq.kind.name IS 'name for task_submit';
COMMENT ON COLUMN taskq.kind.handler IS 'function that runs its tasks; null: external workers do';
COMMENT ON COLUMN taskq.kind.queue IS 'queue of its tasks, unless the submit says otherwise';
COMMENT ON COLUMN taskq.kind.priority IS 'priority of its tasks, unless the submit says otherwise';
COMMENT ON COLUMN taskq.kind.max_attempts IS 'how often a task is attempted at most';
COMMENT ON COLUMN taskq.kind.timeout IS 'longest run time of an attempt; null: no limit';
COMMENT ON COLUMN taskq.kind.backoff IS 'pause after the first failed attempt, doubled after each further one';
COMMENT ON COLUMN taskq.kind.backoff_max IS 'longest such pause';
COMMENT ON COLUMN taskq.kind.retry_on IS 'SQLSTATEs, or their two-character classes, after which there is another attempt; null: all but 42 and 0A';
COMMENT ON COLUMN taskq.kind.max_running IS 'not supported by this version';
COMMENT ON COLUMN taskq.kind.rate IS 'not supported by this version';
COMMENT ON COLUMN taskq.kind.rate_period IS 'not supported by this version';
COMMENT ON COLUMN taskq.kind.run_as IS 'role that its tasks run as; null: whoever submits';
COMMENT ON COLUMN taskq.kind.retention IS 'not supported by this version';
COMMENT ON COLUMN taskq.kind.batch IS 'several of its tasks may share a transaction';
COMMENT ON COLUMN taskq.kind.description IS 'what kind_define was given';
COMMENT ON COLUMN taskq.kind.owner IS 'role that defined it';
COMMENT ON COLUMN taskq.kind.updated_at IS 'when it was defined last';
COMMENT ON COLUMN taskq.kind.submitters IS 'roles that may submit tasks of a kind that runs as somebody else, besides its owner';
COMMENT ON COLUMN taskq.kind.workers IS 'roles that may work on tasks of a kind without handler, besides its owner';
COMMENT ON COLUMN taskq.kind.workers_for_all IS 'those that may also where they act for one tenant, for all of them';

-- A lane is counted for who may see its role's tasks, and for who owns its kind or works on it.
CREATE VIEW taskq.queue WITH (security_barrier) AS
WITH lane AS (
	SELECT n.id, n.queue
	FROM taskq_internal.lane n JOIN taskq_internal.role r ON r.id = n.role
	WHERE NOT (SELECT taskq_internal.tenant_limited())
		AND (taskq_internal.role_visible(r.name, r.oid, r.system)
			OR EXISTS (SELECT FROM taskq_internal.kind k JOIN taskq_internal.role o ON o.id = k.owner
				WHERE k.name = n.kind AND k.owner = n.kind_owner AND (taskq_internal.role_visible(o.name, o.oid, o.system)
					OR EXISTS (SELECT FROM taskq_internal.kind_grant g JOIN taskq_internal.role gr ON gr.id = g.role
						WHERE g.kind = k.name AND g.privilege IN ('w', 'W') AND taskq_internal.role_visible(gr.name, gr.oid, gr.system)))))
)
SELECT q.name,
	coalesce(c.paused, false) AS paused,
	c.max_running,
	c.retention,
	c.description,
	CASE WHEN NOT t.limited THEN coalesce(s.waiting, 0) END AS waiting,
	CASE WHEN NOT t.limited THEN coalesce(s.running, 0) END AS running
FROM (SELECT name FROM taskq_internal.queue UNION SELECT queue FROM taskq.kind UNION SELECT queue FROM lane UNION SELECT 'default' COLLATE "C") q
CROSS JOIN (SELECT taskq_internal.tenant_limited() AS limited) t
LEFT JOIN taskq_internal.queue c ON c.name = q.name
LEFT JOIN (SELECT n.queue, sum(l.waiting)::int8 AS waiting, sum(l.running)::int8 AS running
	FROM taskq_internal.lanes() l JOIN lane n ON n.id = l.lane GROUP BY n.queue) s ON s.queue = q.name;
COMMENT ON VIEW taskq.queue IS
'Queues: paused or not, what waits and what runs

waiting is an estimate kept in shared memory; after a restart of the server it starts from the queue''s first tasks. waiting and running count the tasks of roles that the caller is a member of and of kinds that it owns or works on; they are null for who acts for one tenant.';
COMMENT ON COLUMN taskq.queue.name IS 'name for task_submit and kind_define';
COMMENT ON COLUMN taskq.queue.paused IS 'by queue_pause; nothing of it is started';
COMMENT ON COLUMN taskq.queue.max_running IS 'not supported by this version';
COMMENT ON COLUMN taskq.queue.retention IS 'not supported by this version';
COMMENT ON COLUMN taskq.queue.description IS 'what queue_define was given';
COMMENT ON COLUMN taskq.queue.waiting IS 'tasks that could run now, by estimate';
COMMENT ON COLUMN taskq.queue.running IS 'tasks that workers of the server run or have set aside';

CREATE VIEW taskq.worker WITH (security_barrier) AS
SELECT w.name, w.role, CASE WHEN NOT l.limited THEN w.pid END AS pid, w.state, t.id AS task_id, t.kind, w.task_started_at,
	CASE WHEN NOT l.limited THEN w.reserved END AS reserved, CASE WHEN NOT l.limited THEN w.completed END AS completed,
	CASE WHEN NOT l.limited THEN w.failed END AS failed, CASE WHEN NOT l.limited THEN w.busy END AS busy,
	CASE WHEN NOT l.limited THEN w.started_at END AS started_at, CASE WHEN NOT l.limited THEN w.last_active END AS last_active
FROM taskq_internal.workers() w
CROSS JOIN (SELECT taskq_internal.tenant_limited() AS limited) l
LEFT JOIN LATERAL (
	SELECT t.id, n.kind FROM taskq_internal.task t JOIN taskq_internal.lane n ON n.id = t.lane
	WHERE t.id = w.task_id AND taskq_internal.tenant_visible(t.tenant)
) t ON true
WHERE taskq_internal.role_visible(w.role, w.role_oid, 0) AND (t.id IS NOT NULL OR NOT l.limited);
COMMENT ON VIEW taskq.worker IS
'Workers of this database and what they do

A worker is a background process with a session of its role; it comes when there is work and leaves after taskq.worker_idle_timeout. Who acts for one tenant sees those that run its tasks, without what they did for others.';
COMMENT ON COLUMN taskq.worker.name IS 'name for worker_stop';
COMMENT ON COLUMN taskq.worker.role IS 'role of its session; it runs that role''s tasks only';
COMMENT ON COLUMN taskq.worker.pid IS 'process, as in pg_stat_activity';
COMMENT ON COLUMN taskq.worker.state IS 'starting, idle or busy';
COMMENT ON COLUMN taskq.worker.task_id IS 'task that it runs';
COMMENT ON COLUMN taskq.worker.kind IS 'kind of that task';
COMMENT ON COLUMN taskq.worker.task_started_at IS 'since when';
COMMENT ON COLUMN taskq.worker.reserved IS 'tasks it has set aside to run next';
COMMENT ON COLUMN taskq.worker.completed IS 'tasks it has completed';
COMMENT ON COLUMN taskq.worker.failed IS 'attempts that failed';
COMMENT ON COLUMN taskq.worker.busy IS 'time it has spent on tasks';
COMMENT ON COLUMN taskq.worker.started_at IS 'when the process was started';
COMMENT ON COLUMN taskq.worker.last_active IS 'when it last had a task';

-- The API is functions; who tries to write to a view is told which one.
CREATE FUNCTION taskq_internal.view_readonly() RETURNS trigger
LANGUAGE c AS 'MODULE_PATHNAME', 'taskq_view_readonly';
COMMENT ON FUNCTION taskq_internal.view_readonly() IS 'trigger of all views: raises PT405 and names what to use';

DO $$
DECLARE
	v record;
BEGIN
	FOR v IN VALUES
		('task', 'taskq.task_submit(), task_cancel(), task_retry() or task_delete()'),
		('task_attempt', 'taskq.task_attempts() to look'),
		('kind', 'taskq.kind_define() or kind_drop()'),
		('queue', 'taskq.queue_define(), queue_pause() or queue_resume()'),
		('worker', 'taskq.worker_stop() or worker_restart()')
	LOOP
		EXECUTE pg_catalog.format('CREATE TRIGGER readonly BEFORE INSERT OR UPDATE OR DELETE ON taskq.%I
			FOR EACH STATEMENT EXECUTE FUNCTION taskq_internal.view_readonly(%L)', v.column1, v.column2);
		EXECUTE pg_catalog.format('CREATE TRIGGER readonly_row INSTEAD OF INSERT OR UPDATE OR DELETE ON taskq.%I
			FOR EACH ROW EXECUTE FUNCTION taskq_internal.view_readonly(%L)', v.column1, v.column2);
	END LOOP;
END
$$;

/* ---------------------------------------------------------------- definitions */

CREATE FUNCTION taskq.kind_define(
	name text, handler regprocedure DEFAULT NULL, queue text DEFAULT 'default', priority int DEFAULT 0, max_attempts int DEFAULT 3,
	timeout interval DEFAULT NULL, backoff interval DEFAULT '1 s', backoff_max interval DEFAULT '1 h',
	retry_on text[] DEFAULT NULL, max_running int DEFAULT NULL, rate int DEFAULT NULL,
	rate_period interval DEFAULT '1 s', run_as regrole DEFAULT NULL, retention interval DEFAULT NULL,
	batch bool DEFAULT false, description text DEFAULT NULL)
RETURNS void LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'taskq_kind_define';
COMMENT ON FUNCTION taskq.kind_define IS
'Create or replace a kind of task

handler is a function of (jsonb) or of no argument in any language; what it returns becomes the result. Without handler the tasks are for external workers. A task runs as whoever submits it, or as run_as; then only the owner of the kind and those given it with kind_grant may submit. batch: several of its tasks may share a transaction, which suits short handlers that touch only the database.';

CREATE FUNCTION taskq.kind_drop(name text)
RETURNS void LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'taskq_kind_drop';
COMMENT ON FUNCTION taskq.kind_drop IS
'Drop a kind of task

Tasks of the kind that still wait fail when their turn comes.';

CREATE FUNCTION taskq.kind_grant(name text, role regrole, privilege text DEFAULT 'submit')
RETURNS void LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'taskq_kind_grant';
COMMENT ON FUNCTION taskq.kind_grant IS
'Let a role use a kind

privilege submit: submit its tasks, where they run as somebody else. privilege work: claim them, where an external worker runs them; of one tenant, if the worker comes through a gateway that says for which. privilege work all: claim those of all tenants. Members of the role may too.';

CREATE FUNCTION taskq.kind_revoke(name text, role regrole, privilege text DEFAULT 'submit')
RETURNS void LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'taskq_kind_revoke';
COMMENT ON FUNCTION taskq.kind_revoke IS
'Take back what kind_grant gave

Tasks that wait are refused when their turn comes.';

CREATE FUNCTION taskq.queue_define(name text, max_running int DEFAULT NULL, retention interval DEFAULT NULL, description text DEFAULT NULL)
RETURNS void LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'taskq_queue_define';
COMMENT ON FUNCTION taskq.queue_define IS
'Create or replace a queue

The queue "default" is always there.';

CREATE FUNCTION taskq.queue_pause(name text)
RETURNS void LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'taskq_queue_pause';
COMMENT ON FUNCTION taskq.queue_pause IS
'Pause a queue

Its waiting tasks stay; those that run already go on to their end.';

CREATE FUNCTION taskq.queue_resume(name text)
RETURNS void LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'taskq_queue_resume';
COMMENT ON FUNCTION taskq.queue_resume IS 'Let a paused queue go on';

CREATE FUNCTION taskq.resume()
RETURNS int LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'taskq_resume';
COMMENT ON FUNCTION taskq.resume IS
'Let the tasks of a copied database run here

The tasks of a restored dump or a copied database belong to where they were submitted, and wait until somebody says that they shall run here too; so does a server that was started with taskq.start_paused. Returns the number of lanes taken over.';

/* ---------------------------------------------------------------- submit */

CREATE FUNCTION taskq.task_submit(
	kind text, payload jsonb DEFAULT '{}', queue text DEFAULT NULL, priority int DEFAULT NULL, run_at timestamptz DEFAULT NULL,
	delay interval DEFAULT NULL, timeout interval DEFAULT NULL, max_attempts int DEFAULT NULL, unique_key text DEFAULT NULL,
	on_conflict text DEFAULT NULL, unique_for interval DEFAULT NULL, concurrency_key text DEFAULT NULL,
	depends_on uuid[] DEFAULT NULL, on_dependency_failure text DEFAULT NULL, parent uuid DEFAULT NULL, tags text[] DEFAULT NULL,
	metadata jsonb DEFAULT NULL, options jsonb DEFAULT NULL)
RETURNS uuid LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'taskq_submit';
COMMENT ON FUNCTION taskq.task_submit IS
'Submit a task

Returns its id. The task exists, and runs, only if the calling transaction commits. Options left out take the kind''s default.';

CREATE FUNCTION taskq.task_submit_many(
	kind text, payloads jsonb[], queue text DEFAULT NULL, priority int DEFAULT NULL, run_at timestamptz DEFAULT NULL,
	delay interval DEFAULT NULL, timeout interval DEFAULT NULL, max_attempts int DEFAULT NULL, unique_key text DEFAULT NULL,
	on_conflict text DEFAULT NULL, unique_for interval DEFAULT NULL, concurrency_key text DEFAULT NULL,
	depends_on uuid[] DEFAULT NULL, on_dependency_failure text DEFAULT NULL, parent uuid DEFAULT NULL, tags text[] DEFAULT NULL,
	metadata jsonb DEFAULT NULL, options jsonb DEFAULT NULL)
RETURNS SETOF uuid LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'taskq_submit_many';
COMMENT ON FUNCTION taskq.task_submit_many IS
'Submit many tasks of one kind, one for each payload

Returns their ids in the order of the payloads.';

CREATE FUNCTION taskq.task_submit_batch(
	kind text, payloads jsonb, queue text DEFAULT NULL, priority int DEFAULT NULL, run_at timestamptz DEFAULT NULL,
	delay interval DEFAULT NULL, timeout interval DEFAULT NULL, max_attempts int DEFAULT NULL, unique_key text DEFAULT NULL,
	on_conflict text DEFAULT NULL, unique_for interval DEFAULT NULL, concurrency_key text DEFAULT NULL,
	depends_on uuid[] DEFAULT NULL, on_dependency_failure text DEFAULT NULL, parent uuid DEFAULT NULL, tags text[] DEFAULT NULL,
	metadata jsonb DEFAULT NULL, options jsonb DEFAULT NULL)
RETURNS SETOF uuid LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'taskq_submit_batch';
COMMENT ON FUNCTION taskq.task_submit_batch IS
'Submit many tasks of one kind, one for each element of a JSON array

The same as task_submit_many for callers over HTTP.';

CREATE FUNCTION taskq.task_submit_sql(
	command text, queue text DEFAULT NULL, priority int DEFAULT NULL, run_at timestamptz DEFAULT NULL,
	delay interval DEFAULT NULL, timeout interval DEFAULT NULL, max_attempts int DEFAULT NULL, unique_key text DEFAULT NULL,
	on_conflict text DEFAULT NULL, unique_for interval DEFAULT NULL, concurrency_key text DEFAULT NULL,
	depends_on uuid[] DEFAULT NULL, on_dependency_failure text DEFAULT NULL, parent uuid DEFAULT NULL, tags text[] DEFAULT NULL,
	metadata jsonb DEFAULT NULL, options jsonb DEFAULT NULL)
RETURNS uuid LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'taskq_submit_sql';
COMMENT ON FUNCTION taskq.task_submit_sql IS
'Submit SQL commands to run in the background

One command or several, also VACUUM, CREATE INDEX CONCURRENTLY, CALL. Queries and data changes alone run as one transaction, exactly once; with any other command each one runs in a transaction of its own, at least once. Runs as the submitter.';

/* ---------------------------------------------------------------- look */

CREATE FUNCTION taskq.task_status(id uuid)
RETURNS taskq.task LANGUAGE c STABLE AS 'MODULE_PATHNAME', 'taskq_task_status';
COMMENT ON FUNCTION taskq.task_status IS
'State, progress, result and error of one task

Call it as SELECT * FROM taskq.task_status(...).';

CREATE FUNCTION taskq.task_node(id uuid) RETURNS int
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'taskq_task_node';
COMMENT ON FUNCTION taskq.task_node(uuid) IS
'The number of the server that has a task.

It is read from the id: what taskq.node was in the server where the task was submitted.';

CREATE FUNCTION taskq.task_result(id uuid)
RETURNS jsonb LANGUAGE c STABLE AS 'MODULE_PATHNAME', 'taskq_task_result';
COMMENT ON FUNCTION taskq.task_result IS
'What a task returned

Raises PT409 when the task is not finished, failed, or was cancelled without a partial result.';

CREATE FUNCTION taskq.task_progress(id uuid)
RETURNS jsonb LANGUAGE c STABLE AS 'MODULE_PATHNAME', 'taskq_task_progress';
COMMENT ON FUNCTION taskq.task_progress IS
'Progress of one task: state, percent, current, total, failed, message, info

Live while the task runs, the last report afterwards.';

CREATE FUNCTION taskq.task_wait(id uuid, timeout interval DEFAULT '30 s')
RETURNS taskq.task LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'taskq_task_wait';
COMMENT ON FUNCTION taskq.task_wait IS
'Wait until a task is finished, at most as long as timeout, and return its status

Sleeps without polling, at most taskq.max_wait, and ends before statement_timeout. Look at ready to know whether it finished or the time ran out.';

CREATE PROCEDURE taskq.task_wait_long(id uuid, timeout interval DEFAULT '1 h', INOUT state text DEFAULT NULL)
LANGUAGE c AS 'MODULE_PATHNAME', 'taskq_task_wait_long';
COMMENT ON PROCEDURE taskq.task_wait_long IS
'Wait for a task without holding a snapshot meanwhile

For long waits, and for tasks that themselves wait for all older snapshots to go, such as CREATE INDEX CONCURRENTLY. Commits the transaction it is called in; gives the task''s state.';

CREATE FUNCTION taskq.task_wait_any(ids uuid[], timeout interval DEFAULT '30 s')
RETURNS SETOF taskq.task LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'taskq_task_wait_any';
COMMENT ON FUNCTION taskq.task_wait_any IS
'Wait until at least one of the tasks is finished, and return the status of those that are

No row means that the time ran out.';

CREATE FUNCTION taskq.task_wait_all(ids uuid[], timeout interval DEFAULT '30 s')
RETURNS SETOF taskq.task LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'taskq_task_wait_all';
COMMENT ON FUNCTION taskq.task_wait_all IS
'Wait until all of the tasks are finished, and return the status of each

Look at ready to know which finished when the time ran out.';

/* ---------------------------------------------------------------- steer */

CREATE FUNCTION taskq.task_cancel(id uuid, reason text DEFAULT NULL, force bool DEFAULT false,
	OUT task_id uuid, OUT cancelled bool, OUT terminated bool, OUT message text)
RETURNS record LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'taskq_task_cancel';
COMMENT ON FUNCTION taskq.task_cancel IS
'Cancel a task

A waiting task is cancelled with the calling transaction. A running one is told when that commits: its query is cancelled; with force its worker process ends. What it wrote is rolled back.';

CREATE FUNCTION taskq.task_retry(id uuid, priority int DEFAULT NULL, timeout interval DEFAULT NULL, payload jsonb DEFAULT NULL,
	queue text DEFAULT NULL, max_attempts int DEFAULT NULL, delay interval DEFAULT NULL)
RETURNS uuid LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'taskq_task_retry';
COMMENT ON FUNCTION taskq.task_retry IS
'Run a finished task once more, as a new task

Returns the new task''s id; its column retry_of names the old one. What is not given is as it was. Another payload may be given by who may submit such a task.';

CREATE FUNCTION taskq.task_delete(id uuid)
RETURNS void LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'taskq_task_delete';
COMMENT ON FUNCTION taskq.task_delete IS
'Delete a finished task

With its result, error and attempts. Cancel an unfinished one first.';

CREATE FUNCTION taskq.task_attempts(id uuid)
RETURNS SETOF taskq.task_attempt LANGUAGE c STABLE AS 'MODULE_PATHNAME', 'taskq_task_attempts';
COMMENT ON FUNCTION taskq.task_attempts IS
'The attempts at one task, in order

With worker, times and error of each; also the one that runs now.';

CREATE FUNCTION taskq.worker_stop(name text, force bool DEFAULT false)
RETURNS bool LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'taskq_worker_stop';
COMMENT ON FUNCTION taskq.worker_stop IS
'Send a worker away after the task it is in, with force at once

A task that is broken off by force runs again. Where there is work another worker comes. False if there is no such worker.';

CREATE FUNCTION taskq.worker_restart()
RETURNS int LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'taskq_worker_restart';
COMMENT ON FUNCTION taskq.worker_restart IS
'Replace all workers of this database, each after the task it is in

For new versions of libraries that they have loaded. Returns how many were told.';

/* ---------------------------------------------------------------- external workers */

CREATE FUNCTION taskq.task_claim(worker text, queues text[] DEFAULT NULL, kinds text[] DEFAULT NULL, n int DEFAULT 1,
	lease interval DEFAULT '1 min', wait interval DEFAULT '0',
	OUT id uuid, OUT kind text, OUT queue text, OUT payload jsonb, OUT attempt int, OUT max_attempts int, OUT token uuid,
	OUT lease_until timestamptz, OUT timeout interval, OUT submitted_by name, OUT tenant text, OUT claims jsonb, OUT tags text[],
	OUT metadata jsonb)
RETURNS SETOF record LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'taskq_task_claim';
COMMENT ON FUNCTION taskq.task_claim IS
'Claim tasks for a program outside of the server

At most n tasks of kinds without handler that the caller may work on (kind_grant, privilege work). Each is the caller''s until its lease ends; heartbeats extend it. The token proves the claim in task_heartbeat, task_complete, task_fail and task_release. Without a task it waits as long as wait, at most taskq.max_wait. Commit before starting to work.';

CREATE FUNCTION taskq.task_heartbeat(id uuid, token uuid, lease interval DEFAULT NULL, current numeric DEFAULT NULL,
	total numeric DEFAULT NULL, message text DEFAULT NULL, info jsonb DEFAULT NULL,
	OUT cancel_requested bool, OUT lease_until timestamptz)
RETURNS record LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'taskq_task_heartbeat';
COMMENT ON FUNCTION taskq.task_heartbeat IS
'Keep a claimed task, and report its progress

Tells whether somebody asked to cancel it: then stop, and end it with task_fail, or with task_complete and a partial result. Raises PT409 when the claim is lost: then drop the work.';

CREATE FUNCTION taskq.task_complete(id uuid, token uuid, result jsonb DEFAULT NULL)
RETURNS void LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'taskq_task_complete';
COMMENT ON FUNCTION taskq.task_complete IS
'A claimed task is done

Can be part of the transaction that writes what the task did: then both happen or neither. Raises PT409 when the claim is lost.';

CREATE FUNCTION taskq.task_fail(id uuid, token uuid, error text DEFAULT NULL, details jsonb DEFAULT NULL, retry bool DEFAULT true)
RETURNS text LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'taskq_task_fail';
COMMENT ON FUNCTION taskq.task_fail IS
'The attempt at a claimed task failed

Unless retry is false it is tried again, as often as max_attempts allows. Returns the task''s new state.';

CREATE FUNCTION taskq.task_release(id uuid, token uuid, delay interval DEFAULT NULL)
RETURNS void LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'taskq_task_release';
COMMENT ON FUNCTION taskq.task_release IS
'Give a claimed task back, as if it had never been claimed

For a worker that shuts down. With delay nobody gets it before.';

/* ---------------------------------------------------------------- inside a running task */

CREATE FUNCTION taskq.progress(current numeric, total numeric DEFAULT 100, message text DEFAULT NULL, failed int DEFAULT NULL, info jsonb DEFAULT NULL)
RETURNS void LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'taskq_progress';
COMMENT ON FUNCTION taskq.progress IS
'Report the progress of the running task

Everybody sees it at once, before the task commits. Outside a task it only says so in a notice, to PostgREST as PT409.';

CREATE FUNCTION taskq.current_task(OUT id uuid, OUT kind text, OUT queue text, OUT payload jsonb, OUT attempt int, OUT max_attempts int,
	OUT submitted_by name, OUT worker text, OUT claims jsonb, OUT tenant text, OUT metadata jsonb)
RETURNS record LANGUAGE c STABLE AS 'MODULE_PATHNAME', 'taskq_current_task';
COMMENT ON FUNCTION taskq.current_task IS
'The task that runs in this session

All null, with a notice, outside a task; over PostgREST PT409.';

CREATE FUNCTION taskq.cancel_requested()
RETURNS bool LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'taskq_cancel_requested';
COMMENT ON FUNCTION taskq.cancel_requested IS
'Has somebody asked to cancel the running task?

For handlers that catch query_canceled and want to end in an orderly way; the task is then cancelled, with what the handler returns as its partial result.';

CREATE FUNCTION taskq.fail(message text, details jsonb DEFAULT NULL)
RETURNS void LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'taskq_fail';
COMMENT ON FUNCTION taskq.fail IS
'End the running task as failed, and do not try it again

Raises an error with SQLSTATE TQ001; so does RAISE ... USING ERRCODE = ''TQ001''.';

CREATE FUNCTION taskq.retry(delay interval DEFAULT NULL, message text DEFAULT NULL, details jsonb DEFAULT NULL)
RETURNS void LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'taskq_retry';
COMMENT ON FUNCTION taskq.retry IS
'End this attempt at the running task, and try again after delay

As often as max_attempts allows, whatever retry_on says. Without delay the kind''s backoff counts. Raises an error with SQLSTATE TQ002.';

/* ---------------------------------------------------------------- overview */

CREATE FUNCTION taskq_internal.server(
	OUT paused bool, OUT start_paused bool, OUT launcher int4, OUT dispatcher int4, OUT workers int4, OUT max_workers int4,
	OUT quarantined uuid, OUT events_lost int8)
RETURNS record LANGUAGE c VOLATILE STRICT AS 'MODULE_PATHNAME', 'taskq_server';
COMMENT ON FUNCTION taskq_internal.server() IS 'the state of taskq in this server and database, from shared memory';

CREATE FUNCTION taskq_internal.oldest_snapshot(OUT holder text, OUT since timestamptz, OUT transactions int8)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
SELECT holder, since, transactions FROM (
	SELECT format('process %s (%s of %s in database %s, %s)', a.pid, a.backend_type, coalesce(a.usename, 'nobody'),
			coalesce(a.datname, 'none'), coalesce(a.state, 'active')),
		a.xact_start, greatest(age(a.backend_xmin), age(a.backend_xid))
	FROM pg_stat_activity a WHERE (a.backend_xmin IS NOT NULL OR a.backend_xid IS NOT NULL) AND a.pid <> pg_backend_pid()
	UNION ALL
	SELECT format('prepared transaction %L of %s in database %s', p.gid, p.owner, p.database), p.prepared, age(p.transaction)
	FROM pg_prepared_xacts p
	UNION ALL
	SELECT format('replication slot %L', s.slot_name), NULL, greatest(age(s.xmin), age(s.catalog_xmin))
	FROM pg_replication_slots s WHERE s.xmin IS NOT NULL
) s(holder, since, transactions)
ORDER BY transactions DESC, since LIMIT 1
$$;
COMMENT ON FUNCTION taskq_internal.oldest_snapshot() IS
'who keeps rows that died after it from being removed, by a snapshot or by an open transaction, since when, and for how many transactions';

CREATE FUNCTION taskq_internal.dead_rows() RETURNS int8
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
SELECT coalesce(sum(s.n_dead_tup), 0)::int8 FROM pg_stat_user_tables s WHERE s.schemaname = 'taskq_internal'
$$;
COMMENT ON FUNCTION taskq_internal.dead_rows() IS 'dead rows in the tables of taskq, as the statistics have them';

-- Tasks have tenants, by the statistics of the leaves; or can be expected to, because a
-- kind was given to a role that cannot log in, which is how gateways have them.
CREATE FUNCTION taskq_internal.tenant_trouble() RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
SELECT CASE
	WHEN g.missing IS NOT NULL THEN
		format('taskq.trusted_gateways names %s, which is no role of this server: its claims are not believed.', g.missing)
	WHEN g.n = 0 AND EXISTS (SELECT FROM pg_statistic s JOIN pg_class c ON c.oid = s.starelid
			JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = s.staattnum
			WHERE c.relnamespace = 'taskq_internal'::regnamespace AND a.attname = 'tenant' AND s.stanullfrac < 1) THEN
		'There are tasks of tenants, but taskq.trusted_gateways is empty: name the role of the gateway (for PostgREST its authenticator), or new tasks are of no tenant and everybody''s.'
	WHEN g.n = 0 AND EXISTS (SELECT FROM taskq_internal.kind_grant k JOIN taskq_internal.role r ON r.id = k.role
			JOIN pg_roles p ON p.rolname = r.name WHERE NOT p.rolcanlogin) THEN
		'Kinds are granted to roles that cannot log in, as those of a gateway, but taskq.trusted_gateways is empty: name the role of the gateway (for PostgREST its authenticator), or its users see each other''s tasks.'
	END
FROM (SELECT count(*) AS n, string_agg(format('%L', q.name), ', ' ORDER BY q.name)
			FILTER (WHERE q.name <> '*' AND NOT EXISTS (SELECT FROM pg_roles p WHERE p.rolname = q.name)) AS missing
	FROM (SELECT btrim(n, ' "') AS name FROM regexp_split_to_table(current_setting('taskq.trusted_gateways', true), ',') n) q
	WHERE q.name <> '') g
$$;
COMMENT ON FUNCTION taskq_internal.tenant_trouble() IS
'why tenants may not be kept apart, or null';

CREATE FUNCTION taskq.sitrep() RETURNS jsonb LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
SELECT jsonb_build_object(
	'running', NOT coalesce(s.paused, true) AND n.why IS NULL,
	'why_not_running', n.why,
	'paused', s.paused,
	'why_paused', CASE WHEN s.paused THEN 'The server was started with taskq.start_paused; call taskq.resume() to let tasks run.' END,
	'foreign_lanes', f.n,
	'why_foreign', CASE WHEN f.n > 0 THEN 'There are tasks that were submitted in another database or server; call taskq.resume() to run them here.' END,
	'why_tenants', taskq_internal.tenant_trouble(),
	'paused_queues', (SELECT coalesce(jsonb_agg(q.name ORDER BY q.name), '[]') FROM taskq_internal.queue q WHERE q.paused),
	'waiting', l.waiting,
	'in_progress', l.running,
	'leased', (SELECT count(*) FROM taskq_internal.lease),
	'due_later', (SELECT count(*) FROM (SELECT FROM taskq_internal.timer LIMIT 10000) t),
	'launcher', s.launcher,
	'dispatcher', s.dispatcher,
	'workers', s.workers,
	'max_workers', s.max_workers,
	'quarantined', s.quarantined,
	'events_lost', s.events_lost,
	'dead_rows', taskq_internal.dead_rows(),
	'oldest_snapshot', (SELECT to_jsonb(o) FROM taskq_internal.oldest_snapshot() o WHERE o.holder IS NOT NULL),
	'oldest_xid_age', (SELECT max(age(c.relfrozenxid)) FROM pg_class c
		WHERE c.relnamespace = 'taskq_internal'::regnamespace AND c.relkind = 'r'))
FROM taskq_internal.server() s
CROSS JOIN LATERAL (SELECT CASE
	WHEN s.max_workers IS NULL THEN 'The server has not loaded taskq: add it to shared_preload_libraries and restart the server.'
	WHEN pg_is_in_recovery() THEN 'The server is a standby.'
	WHEN s.launcher IS NULL THEN 'taskq''s launcher is not there: the server has just started or is being stopped.'
	WHEN s.max_workers = 0 THEN 'taskq.max_workers is 0.'
	WHEN NOT EXISTS (SELECT FROM regexp_split_to_table(current_setting('taskq.databases', true), ',') d(name)
			WHERE btrim(d.name, ' "') IN ('*', current_database())) THEN 'taskq.databases does not name this database.'
	END) n(why)
CROSS JOIN (SELECT count(*) AS n FROM taskq_internal.lane n
	WHERE n.system <> (SELECT system_identifier FROM pg_control_system())
		OR n.database <> (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())) f
CROSS JOIN (SELECT coalesce(sum(l.waiting), 0) AS waiting, coalesce(sum(l.running), 0) AS running FROM taskq_internal.lanes() l) l
$$;
COMMENT ON FUNCTION taskq.sitrep() IS
'Situation report: is taskq running, and if not, why

One JSON object: processes, what waits and runs, what is paused and what to do about it. Members that begin with why_ are null when there is nothing to say.';

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

GRANT USAGE ON SCHEMA taskq TO taskq_user, taskq_worker, taskq_developer, taskq_operator, taskq_monitor;
GRANT SELECT ON taskq.task, taskq.task_attempt, taskq.queue, taskq.worker
	TO taskq_user, taskq_worker, taskq_operator, taskq_monitor;
GRANT SELECT ON taskq.kind
	TO taskq_user, taskq_worker, taskq_developer, taskq_operator, taskq_monitor;
GRANT EXECUTE ON FUNCTION taskq_internal.role_visible(name, oid, int8) TO taskq_developer;

GRANT EXECUTE ON FUNCTION
	taskq_internal.live(), taskq_internal.lanes(), taskq_internal.workers(), taskq_internal.role_visible(name, oid, int8),
	taskq_internal.tenant_visible(text), taskq_internal.tenant_limited(), taskq_internal.id_time(uuid)
	TO taskq_user, taskq_worker, taskq_operator, taskq_monitor;
GRANT EXECUTE ON FUNCTION
	taskq.task_status(uuid), taskq.task_node(uuid), taskq.task_result(uuid), taskq.task_progress(uuid), taskq.task_wait(uuid, interval),
	taskq.task_wait_any(uuid[], interval), taskq.task_wait_all(uuid[], interval),
	taskq.task_attempts(uuid),
	taskq.progress(numeric, numeric, text, int, jsonb), taskq.current_task(), taskq.cancel_requested(),
	taskq.fail(text, jsonb), taskq.retry(interval, text, jsonb)
	TO taskq_user, taskq_worker, taskq_operator, taskq_monitor;
GRANT EXECUTE ON PROCEDURE taskq.task_wait_long(uuid, interval, text)
	TO taskq_user, taskq_worker, taskq_operator, taskq_monitor;
GRANT EXECUTE ON FUNCTION
	taskq.task_submit(text, jsonb, text, int, timestamptz, interval, interval, int, text, text, interval, text, uuid[], text, uuid, text[], jsonb, jsonb),
	taskq.task_submit_many(text, jsonb[], text, int, timestamptz, interval, interval, int, text, text, interval, text, uuid[], text, uuid, text[], jsonb, jsonb),
	taskq.task_submit_batch(text, jsonb, text, int, timestamptz, interval, interval, int, text, text, interval, text, uuid[], text, uuid, text[], jsonb, jsonb),
	taskq.task_cancel(uuid, text, bool), taskq.task_retry(uuid, int, interval, jsonb, text, int, interval), taskq.task_delete(uuid)
	TO taskq_user, taskq_operator;
GRANT EXECUTE ON FUNCTION
	taskq.task_claim(text, text[], text[], int, interval, interval),
	taskq.task_heartbeat(uuid, uuid, interval, numeric, numeric, text, jsonb),
	taskq.task_complete(uuid, uuid, jsonb), taskq.task_fail(uuid, uuid, text, jsonb, bool), taskq.task_release(uuid, uuid, interval)
	TO taskq_worker;
GRANT EXECUTE ON FUNCTION taskq.sitrep() TO taskq_monitor, taskq_operator;
GRANT EXECUTE ON FUNCTION
	taskq.kind_define(text, regprocedure, text, int, int, interval, interval, interval, text[], int, int, interval, regrole, interval, bool, text),
	taskq.kind_drop(text), taskq.kind_grant(text, regrole, text), taskq.kind_revoke(text, regrole, text)
	TO taskq_developer, taskq_operator;
GRANT EXECUTE ON FUNCTION
	taskq.worker_stop(text, bool), taskq.worker_restart(), taskq.queue_define(text, int, interval, text), taskq.queue_pause(text), taskq.queue_resume(text), taskq.resume(),
	taskq.task_submit_sql(text, text, int, timestamptz, interval, interval, int, text, text, interval, text, uuid[], text, uuid, text[], jsonb, jsonb)
	TO taskq_operator;

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
