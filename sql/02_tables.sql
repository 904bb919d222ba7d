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

-- A lane is one (role, queue, kind, priority, tenant): what is claimed in order of
-- submission.  Tasks with a concurrency key are in another one, whose number is negative.  No unique constraint on purpose: it would make one submitter
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
	kind_version int8 NOT NULL,	-- the kind's when the lane was made
	tenant int8 NOT NULL		-- whose tasks: 0 nobody's, else the tenant's number; see lanedefs.c
) USING heap;
CREATE INDEX lane_kind_idx ON taskq_internal.lane (kind, role, queue, priority, kind_owner, kind_version, tenant);

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
	version int8 NOT NULL,		-- a new one when somebody who is no superuser chooses another handler, settings or hooks
	handler_by int4 NOT NULL,	-- who chose the handler and the settings
	same_handler int8[],		-- earlier versions that differ in the hooks only
	hooks text[],				-- kinds: on success, on failure, on cancel
	hook_owners int4[],			-- theirs, and their versions, when the hooks were chosen
	hook_versions int8[],
	hooks_by int4,				-- who chose them
	settings jsonb,
	category text,
	max_running_per_key int4,	-- null: 1
	cancellable bool NOT NULL,	-- also without force
	indexed text[],				-- members of payload and metadata by which its tasks are found ...
	indexed_since timestamptz	-- ... that were submitted since all of them are named
) USING heap;

-- Members of payloads and metadata that are shown to nobody but the handler.  A row
-- outlives its kind, as tasks do.
CREATE TABLE taskq_internal.secret (
	kind text COLLATE "C" NOT NULL,
	owner int4 NOT NULL,		-- the kind's: another one's of that name is another kind
	members text[] NOT NULL,
	CONSTRAINT secret_pkey PRIMARY KEY (kind, owner)
) USING heap;
SELECT pg_catalog.pg_extension_config_dump('taskq_internal.secret', '');
COMMENT ON TABLE taskq_internal.secret IS 'members of payloads that are shown to nobody but the handler; column secret of view taskq.kind';

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
	max_running int4,
	retention interval,
	description text,
	updated_at timestamptz NOT NULL,
	rate int4,
	rate_period interval NOT NULL,
	reserved int4				-- of taskq.max_workers
) USING heap;

-- What is paused: a queue (scope q), a kind (k), or (a, the name is empty) everything.
CREATE TABLE taskq_internal.pause (
	scope "char" NOT NULL,
	name text COLLATE "C" NOT NULL,
	since timestamptz NOT NULL,
	role int4 NOT NULL,			-- taskq_internal.role: who paused it
	reason text,
	CONSTRAINT pause_pkey PRIMARY KEY (scope, name)
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
	resources jsonb,			-- of the attempt that was the last, if it ran for long
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
	step text,					-- of the workflow; null: a child of one
	claims jsonb,
	tenant text,
	options jsonb,				-- of the submit, where there is no column for them
	concurrency_key text,
	unique_key text,
	depends_on uuid[],
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
	resources jsonb,
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

-- Tasks that were submitted with a unique key: key is a hash of kind, tenant and key.
-- until is infinity as long as the task is not finished, and then when the key is free.
CREATE TABLE taskq_internal.unique_key (
	task uuid NOT NULL CONSTRAINT unique_key_pkey PRIMARY KEY,
	key bytea NOT NULL,
	role int4 NOT NULL,			-- that it runs as
	keep_ms int8 NOT NULL,		-- so long after its end
	until timestamptz NOT NULL
) USING heap WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_cost_delay = 0);
CREATE INDEX unique_key_key_idx ON taskq_internal.unique_key (key);

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
SELECT pg_catalog.pg_extension_config_dump('taskq_internal.pause', '');
SELECT pg_catalog.pg_extension_config_dump('taskq_internal.attempt', '');
SELECT pg_catalog.pg_extension_config_dump('taskq_internal.lease', '');
SELECT pg_catalog.pg_extension_config_dump('taskq_internal.timer', '');
SELECT pg_catalog.pg_extension_config_dump('taskq_internal.ready', '');
SELECT pg_catalog.pg_extension_config_dump('taskq_internal.watermark', 'WHERE false');
SELECT pg_catalog.pg_extension_config_dump('taskq_internal.unique_key', '');

COMMENT ON TABLE taskq_internal.role IS 'roles as taskq knows them: a number, the name, the oid the name had last';
COMMENT ON TABLE taskq_internal.lane IS 'role, queue, kind and priority of tasks, and where they were submitted';
COMMENT ON TABLE taskq_internal.kind IS 'kinds of task; look at them in view taskq.kind';
COMMENT ON TABLE taskq_internal.kind_grant IS 'who may submit (s), or work on (w; W: for all tenants), a kind';
COMMENT ON TABLE taskq_internal.queue IS 'queues that were defined; look at them in view taskq.queue';
COMMENT ON TABLE taskq_internal.pause IS 'what is paused: queues, kinds, everything';
COMMENT ON TABLE taskq_internal.task IS 'tasks, in a ring of leaves by the time of their submit; look at them in view taskq.task';
COMMENT ON TABLE taskq_internal.task_keep IS 'tasks that are kept for longer than their leaf';
COMMENT ON TABLE taskq_internal.attempt IS 'attempts that were followed by another one; look at them in view taskq.task_attempt';
COMMENT ON TABLE taskq_internal.lease IS 'tasks that external workers have, with their tokens';
COMMENT ON TABLE taskq_internal.timer IS 'when scheduled and retrying tasks, and leases, are due';
COMMENT ON TABLE taskq_internal.ready IS 'tasks that are pending but were not so from their submit on';
COMMENT ON TABLE taskq_internal.unique_key IS 'tasks that were submitted with a unique key, as long as it is taken';
COMMENT ON TABLE taskq_internal.watermark IS 'how far each lane had come when that was saved last';

