/* ---------------------------------------------------------------- schedules */

CREATE TABLE taskq_internal.schedule (
	name text COLLATE "C" NOT NULL CONSTRAINT schedule_pkey PRIMARY KEY,
	kind text COLLATE "C" NOT NULL,
	cron text,
	every interval,				-- one of both
	payload jsonb NOT NULL,
	foreach text,
	timezone text,
	overlap bool NOT NULL,
	missed "char" NOT NULL,		-- s skip, o once, a all
	skip_within interval,
	counts "char" NOT NULL,		-- s submitted, c completed
	enabled bool NOT NULL,
	options jsonb,
	description text,
	owner int4 NOT NULL,		-- taskq_internal.role
	claims jsonb,
	tenant text,
	updated_at timestamptz NOT NULL,
	system int8 NOT NULL,		-- its home, as a lane's: elsewhere it does nothing
	database oid NOT NULL,
	kind_owner int4 NOT NULL,	-- the kind's when the schedule was defined, as a lane's
	kind_version int8 NOT NULL
) USING heap;

-- What changes with each run.  Whoever runs, changes or drops a schedule has this row
-- locked.  look_at is when the dispatcher has to look at it, and null where it has not.
CREATE TABLE taskq_internal.schedule_state (
	name text COLLATE "C" NOT NULL CONSTRAINT schedule_state_pkey PRIMARY KEY,
	look_at timestamptz,
	next_run timestamptz,
	last_run timestamptz,
	last_task uuid,
	last_submit timestamptz,
	runs int8 NOT NULL,
	missed int8 NOT NULL,
	failures int4 NOT NULL,		-- one after the other
	error jsonb,
	error_at timestamptz
) USING heap WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_cost_delay = 0);
CREATE INDEX schedule_state_look_at_idx ON taskq_internal.schedule_state (look_at);

-- The last run of each object of a schedule with foreach.
CREATE TABLE taskq_internal.schedule_object (
	schedule text COLLATE "C" NOT NULL,
	object text COLLATE "C" NOT NULL,
	task uuid NOT NULL,
	submitted_at timestamptz NOT NULL,
	completed_at timestamptz,	-- of the last one that is known to be
	CONSTRAINT schedule_object_pkey PRIMARY KEY (schedule, object)
) USING heap WITH (fillfactor = 70);

SELECT pg_catalog.pg_extension_config_dump('taskq_internal.schedule', '');
SELECT pg_catalog.pg_extension_config_dump('taskq_internal.schedule_state', '');
SELECT pg_catalog.pg_extension_config_dump('taskq_internal.schedule_object', '');
COMMENT ON TABLE taskq_internal.schedule IS 'schedules as they were defined; look at them in view taskq.schedule';
COMMENT ON TABLE taskq_internal.schedule_state IS 'next and last run of each schedule';
COMMENT ON TABLE taskq_internal.schedule_object IS 'last run of each object of a schedule with foreach';

CREATE FUNCTION taskq.schedule_define(
	name text, kind text, cron text DEFAULT NULL, every interval DEFAULT NULL, payload jsonb DEFAULT '{}', foreach text DEFAULT NULL,
	timezone text DEFAULT NULL, overlap bool DEFAULT false, missed text DEFAULT 'once', skip_within interval DEFAULT NULL,
	counts text DEFAULT 'submitted', starts_at timestamptz DEFAULT NULL, enabled bool DEFAULT true, options jsonb DEFAULT NULL,
	description text DEFAULT NULL)
RETURNS void LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'taskq_schedule_define';
COMMENT ON FUNCTION taskq.schedule_define IS
'Create or replace a schedule: tasks of a kind, again and again

Either cron, an expression as pg_cron has it, or every, an interval. Tasks are the caller''s, as if it had submitted them, and its tenant''s. missed says what becomes of due times at which the server was down or, without overlap, the last task still ran: skip, once or all. options are those of the submit: queue, priority, timeout, max_attempts, tags, metadata, concurrency_key, tenant.';

CREATE FUNCTION taskq.schedule_drop(name text)
RETURNS void LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'taskq_schedule_drop';
COMMENT ON FUNCTION taskq.schedule_drop IS
'Drop a schedule

Tasks that it has submitted stay.';

CREATE FUNCTION taskq.schedule_enable(name text)
RETURNS void LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'taskq_schedule_enable';
COMMENT ON FUNCTION taskq.schedule_enable IS
'Switch a schedule on

Its next run is the next one that is due from now on.';

CREATE FUNCTION taskq.schedule_disable(name text)
RETURNS void LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'taskq_schedule_disable';
COMMENT ON FUNCTION taskq.schedule_disable IS
'Switch a schedule off

It submits nothing until it is enabled again; schedule_run works.';

CREATE FUNCTION taskq.schedule_run(name text)
RETURNS uuid LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'taskq_schedule_run';
COMMENT ON FUNCTION taskq.schedule_run IS
'Run a schedule now

Submits its task and returns the id, whether or not the schedule is enabled or its last task still runs. Its due times stay as they are.';

CREATE FUNCTION taskq.schedule_tick(name text)
RETURNS bool LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'taskq_schedule_tick';
COMMENT ON FUNCTION taskq.schedule_tick IS
'Run a schedule if it is due

What pg_cron calls. Returns whether it was; to call it at another time, or twice, does no harm.';

CREATE FUNCTION taskq.schedule_foreach(name text, due timestamptz)
RETURNS int8 LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'taskq_schedule_foreach';
COMMENT ON FUNCTION taskq.schedule_foreach IS
'Submit the tasks of a run of a schedule with foreach

Called by the task that a run of such a schedule is, as the schedule''s owner. Returns how many objects had their turn.';

CREATE VIEW taskq.schedule WITH (security_barrier) AS
SELECT s.name, s.kind, s.cron, s.every, s.timezone, taskq_internal.masked(s.payload, s.kind, s.kind_owner, NULL) AS payload, s.foreach, s.skip_within,
	CASE s.counts WHEN 'c' THEN 'completed' ELSE 'submitted' END AS counts,
	s.overlap, CASE s.missed WHEN 's' THEN 'skip' WHEN 'a' THEN 'all' ELSE 'once' END AS missed, s.enabled,
	CASE WHEN s.options ? 'metadata'
		THEN s.options || pg_catalog.jsonb_build_object('metadata', taskq_internal.masked(s.options->'metadata', s.kind, s.kind_owner, NULL))
		ELSE s.options END AS options,
	CASE WHEN s.enabled THEN x.next_run END AS next_run, x.last_run, x.last_task, x.last_submit, x.runs, x.missed AS missed_runs,
	coalesce(x.error, f.error) AS error, CASE WHEN x.error IS NULL THEN f.finished_at ELSE x.error_at END AS error_at, o.name AS owner, s.tenant, s.description, s.updated_at
FROM taskq_internal.schedule s
JOIN taskq_internal.schedule_state x ON x.name = s.name
JOIN taskq_internal.role o ON o.id = s.owner
LEFT JOIN LATERAL (
	-- of the query
	SELECT t.error, t.finished_at FROM taskq_internal.task t WHERE t.id = x.last_task AND t.state = 'f' AND s.foreach IS NOT NULL
) f ON true
WHERE taskq_internal.role_visible(o.name, o.oid, o.system) AND taskq_internal.tenant_visible(s.tenant);
COMMENT ON VIEW taskq.schedule IS
'Schedules: what is submitted when, the next run and the last

Shown are those of roles that the caller is a member of; all of them to members of taskq_operator and taskq_monitor.';
COMMENT ON COLUMN taskq.schedule.name IS 'name of the schedule';
COMMENT ON COLUMN taskq.schedule.kind IS 'kind of the tasks that it submits';
COMMENT ON COLUMN taskq.schedule.cron IS 'when: an expression of cron; null: see every';
COMMENT ON COLUMN taskq.schedule.every IS 'when: from one due time to the next; null: see cron';
COMMENT ON COLUMN taskq.schedule.timezone IS 'time zone of the expression; null: that of pg_cron';
COMMENT ON COLUMN taskq.schedule.payload IS 'payload of its tasks; with foreach what each one''s is added to';
COMMENT ON COLUMN taskq.schedule.foreach IS 'query that gives a payload for each object; null: one task a run';
COMMENT ON COLUMN taskq.schedule.skip_within IS 'objects with a run so short a time ago are passed over';
COMMENT ON COLUMN taskq.schedule.counts IS 'what a run of an object is: submitted or completed';
COMMENT ON COLUMN taskq.schedule.overlap IS 'it runs also while its last task is not finished';
COMMENT ON COLUMN taskq.schedule.missed IS 'what becomes of missed runs: skip, once or all';
COMMENT ON COLUMN taskq.schedule.enabled IS 'it runs at its due times';
COMMENT ON COLUMN taskq.schedule.options IS 'options of its submits';
COMMENT ON COLUMN taskq.schedule.next_run IS 'when it is due next, or has been due without having run yet; null: disabled';
COMMENT ON COLUMN taskq.schedule.last_run IS 'due time of the last run';
COMMENT ON COLUMN taskq.schedule.last_task IS 'task that it submitted last';
COMMENT ON COLUMN taskq.schedule.last_submit IS 'when that was submitted';
COMMENT ON COLUMN taskq.schedule.runs IS 'how often it ran';
COMMENT ON COLUMN taskq.schedule.missed_runs IS 'due times that were passed over';
COMMENT ON COLUMN taskq.schedule.error IS 'why it could not run, or its query failed: sqlstate, type, message, detail, hint; null: it could';
COMMENT ON COLUMN taskq.schedule.error_at IS 'when that was tried last';
COMMENT ON COLUMN taskq.schedule.owner IS 'role that defined it, which its tasks are submitted by';
COMMENT ON COLUMN taskq.schedule.tenant IS 'tenant of its tasks; null: none';
COMMENT ON COLUMN taskq.schedule.description IS 'what schedule_define was given';
COMMENT ON COLUMN taskq.schedule.updated_at IS 'when it was defined or switched last';
CREATE TRIGGER readonly BEFORE INSERT OR UPDATE OR DELETE ON taskq.schedule
	FOR EACH STATEMENT EXECUTE FUNCTION taskq_internal.view_readonly('taskq.schedule_define(), schedule_enable() or schedule_drop()');
CREATE TRIGGER readonly_row INSTEAD OF INSERT OR UPDATE OR DELETE ON taskq.schedule
	FOR EACH ROW EXECUTE FUNCTION taskq_internal.view_readonly('taskq.schedule_define(), schedule_enable() or schedule_drop()');
