/* ---------------------------------------------------------------- views */

-- Two views with the same columns: all tasks, and those whose ids are known.  What is
-- live comes from shared memory and hides the stored state: a task whose result is not
-- durable yet still runs, to everyone.
DO $do$
DECLARE
	live text := 'WITH live AS MATERIALIZED (SELECT * FROM taskq_internal.live())';
	body text := $view$
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
	taskq_internal.masked(s.payload, n.kind, n.kind_owner, s.options) AS payload,
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
		 THEN t.started_at + (s.live_updated - t.started_at) * (p.total / p.current)
		 WHEN s.state_name = 'pending' THEN taskq_internal.estimated_completion(s.id, s.lane, s.run_at) END AS estimated_completion,
	CASE WHEN s.state_name = 'pending' THEN taskq_internal.queue_position(s.id, s.lane, s.run_at) END AS queue_position,
	CASE WHEN s.state_name = 'pending' THEN taskq_internal.estimated_start(s.id, s.lane, s.run_at)
		 WHEN s.state_name IN ('scheduled', 'retrying') AND pg_catalog.isfinite(s.run_at) THEN s.run_at END AS estimated_start,
	sub.name AS submitted_by,
	r.name AS run_as,
	s.tenant,
	s.parent,
	s.retry_of,
	s.workflow,
	s.step,
	s.tags,
	taskq_internal.masked(s.metadata, n.kind, n.kind_owner, NULL) AS metadata,
	coalesce(s.live_cancel, s.state_name = 'cancelled') AS cancel_requested,
	coalesce(s.live_reason, s.cancel_reason) AS cancel_reason,
	coalesce(s.timeout_ms * interval '1 ms', k.timeout) AS timeout,
	s.concurrency_key,
	s.unique_key,
	s.options,
	s.depends_on,
	k.category,
	CASE WHEN s.state_name <> 'running' THEN s.resources END AS resources,
	pg_catalog.jsonb_strip_nulls(pg_catalog.jsonb_build_object(
		'max_attempts', coalesce(s.max_attempts, k.max_attempts, 1::int2),
		'timeout', coalesce(s.timeout_ms * interval '1 ms', k.timeout,
			nullif(pg_catalog.current_setting('taskq.default_timeout', true), '0')::interval),
		'retention', coalesce(k.retention, (SELECT q.retention FROM taskq_internal.queue q WHERE q.name = n.queue),
			coalesce(nullif(pg_catalog.current_setting('taskq.retention', true), '-1'), '10000 years')::interval))
		|| CASE WHEN k.owner = n.kind_owner THEN pg_catalog.jsonb_build_object(
			'handler', k.handler, 'required_worker', CASE WHEN k.handler IS NULL THEN 'external' ELSE 'internal' END,
			'backoff', k.backoff, 'backoff_max', k.backoff_max, 'retry_on', k.retry_on, 'batch', k.batch, 'settings', k.settings,
			'max_running', k.max_running, 'rate', k.rate, 'rate_period', CASE WHEN k.rate IS NOT NULL THEN k.rate_period END,
			'max_running_per_key', CASE WHEN s.concurrency_key IS NOT NULL THEN coalesce(k.max_running_per_key, 1) END,
			'cancellable', k.cancellable) ELSE '{}' END) AS configuration,
	p.phase,
	greatest(p.current - coalesce(p.failed, 0), 0) AS completed_steps,
	w.success_rate,
	p.failures AS failure_details,
	pg_catalog.round((60 * p.current / w.seconds)::numeric, 1) AS throughput,
	CASE WHEN p.current >= 1 THEN w.spent / p.current END AS step_duration,
	pg_catalog.round(w.success_rate / 10 / greatest(coalesce(s.live_attempt, s.attempt), 1), 1) AS efficiency,
	taskq_internal.masked(
		CASE WHEN pg_catalog.jsonb_typeof(p.info) = 'object' AND coalesce(pg_catalog.jsonb_typeof(s.metadata), 'object') = 'object'
			 THEN coalesce(s.metadata, '{}') || p.info ELSE s.metadata END,
		n.kind, n.kind_owner, NULL) AS live_metadata,
	coalesce(nullif(pg_catalog.split_part(k.description, E'\n', 1), ''),
		CASE WHEN n.kind = 'sql' THEN 'SQL command' END,
		nullif(pg_catalog.initcap(pg_catalog.translate(pg_catalog.regexp_replace(n.kind, '^.*[.]', ''), '_-', '  ')), ''),
		n.kind) AS title,
	CASE s.state_name
		WHEN 'completed' THEN 'Task completed successfully'
		WHEN 'failed' THEN 'Failed: ' || coalesce(s.error->>'message', 'no reason was given')
		WHEN 'cancelled' THEN 'Cancelled' || coalesce(': ' || s.cancel_reason, '')
		WHEN 'running' THEN 'Running' || coalesce(' on ' || coalesce(s.live_worker, s.worker), '')
			|| coalesce(': ' || coalesce(p.message, pg_catalog.left(nullif(taskq_internal.masked(s.payload, n.kind, n.kind_owner, s.options), '{}')::text, 200)), '')
		WHEN 'reserved' THEN 'Next on ' || s.live_worker
		WHEN 'retrying' THEN 'Failed, to be tried again: ' || coalesce(s.error->>'message', 'no reason was given')
		WHEN 'scheduled' THEN CASE WHEN s.run_at = 'infinity' THEN 'Held until it is released'
			ELSE 'Scheduled for ' || coalesce(s.run_at::timestamptz(0)::text, 'later') END
		WHEN 'blocked' THEN 'Waiting for other tasks'
		ELSE 'Waiting for a worker' END AS summary,
	taskq_internal.claims_seen(sub.name, sub.oid, sub.system, s.claims) AS claims,
	s.crashes,
	r.oid AS run_as_oid,
	r.system AS run_as_system,
	sub.oid AS submitted_by_oid,
	sub.system AS submitted_by_system
FROM (
--tasks--
) s
JOIN taskq_internal.lane n ON n.id = s.lane
JOIN taskq_internal.role r ON r.id = n.role
JOIN taskq_internal.role sub ON sub.id = coalesce(s.submitted_by, n.role)
LEFT JOIN taskq_internal.kind k ON k.name = n.kind
-- of an attempt before the one that runs nothing is shown; one that is through, and not announced, is the last one
CROSS JOIN LATERAL (SELECT CASE WHEN s.state_name <> 'running' OR s.state IN ('c', 'f', 'x') THEN s.progress END AS progress) kept
CROSS JOIN LATERAL (
	SELECT
		coalesce(s.live_current, (kept.progress->>'current')::float8) AS current,
		coalesce(s.live_total, (kept.progress->>'total')::float8) AS total,
		coalesce(s.live_failed, (kept.progress->>'failed')::int4) AS failed,
		coalesce(s.live_message, kept.progress->>'message') AS message,
		coalesce(s.live_info, kept.progress->'info') AS info,
		coalesce(s.live_phase, kept.progress->>'phase') AS phase,
		coalesce(s.live_failures, kept.progress->'failure_details') AS failures
) p
CROSS JOIN LATERAL (
	SELECT
		CASE WHEN s.state_name = 'running' THEN s.live_started
			 WHEN s.state_name IN ('completed', 'failed', 'cancelled', 'retrying') THEN s.started_at END AS started_at,
		CASE WHEN s.state_name IN ('completed', 'failed', 'cancelled') THEN s.finished_at END AS finished_at
) t
CROSS JOIN LATERAL (
	SELECT
		CASE WHEN p.failed IS NOT NULL AND p.current > 0
			 THEN pg_catalog.round((100 * greatest(p.current - p.failed, 0) / p.current)::numeric, 1) END AS success_rate,
		CASE WHEN s.state_name = 'running' THEN s.live_updated ELSE s.finished_at END - t.started_at AS spent,
		CASE WHEN p.current > 0
			 THEN nullif(greatest(extract(epoch FROM CASE WHEN s.state_name = 'running' THEN s.live_updated ELSE s.finished_at END - t.started_at), 0), 0) END AS seconds
) w
$view$;
	-- one arm a state, each with a constant, so that WHERE state = '...' prunes the others
	arms text := $arms$
	SELECT t.*, 'completed'::text AS state_name, NULL::int2 AS live_attempt, NULL::text AS live_worker,
		NULL::timestamptz AS live_started, NULL::float8 AS live_current, NULL::float8 AS live_total,
		NULL::int4 AS live_failed, NULL::text AS live_message, NULL::jsonb AS live_info,
		NULL::timestamptz AS live_updated, NULL::bool AS live_cancel, NULL::text AS live_reason,
		NULL::text AS live_phase, NULL::jsonb AS live_failures
	FROM taskq_internal.task t WHERE t.state = 'c' AND NOT EXISTS (SELECT FROM live l WHERE l.id = t.id AND l.state = 'running')
	UNION ALL
	SELECT t.*, 'failed', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL
	FROM taskq_internal.task t WHERE t.state = 'f' AND NOT EXISTS (SELECT FROM live l WHERE l.id = t.id AND l.state = 'running')
	UNION ALL
	SELECT t.*, 'cancelled', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL
	FROM taskq_internal.task t WHERE t.state = 'x' AND NOT EXISTS (SELECT FROM live l WHERE l.id = t.id AND l.state = 'running')
	UNION ALL
	-- 'r' that no worker holds: its worker is gone and it will be claimed again
	SELECT t.*, 'pending', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL
	FROM taskq_internal.task t WHERE t.state IN ('p', 'r') AND NOT EXISTS (SELECT FROM live l WHERE l.id = t.id)
	UNION ALL
	SELECT t.*, 'scheduled', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL
	FROM taskq_internal.task t WHERE t.state = 's' AND NOT EXISTS (SELECT FROM live l WHERE l.id = t.id)
	UNION ALL
	SELECT t.*, 'blocked', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL
	FROM taskq_internal.task t WHERE t.state = 'b' AND NOT EXISTS (SELECT FROM live l WHERE l.id = t.id)
	UNION ALL
	SELECT t.*, 'retrying', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL
	FROM taskq_internal.task t WHERE t.state = 't' AND NOT EXISTS (SELECT FROM live l WHERE l.id = t.id)
	UNION ALL
	SELECT t.*, 'running', l.attempt, l.worker, CASE WHEN t.state IN ('c', 'f', 'x') THEN t.started_at ELSE l.started_at END,
		l.current, l.total, l.failed, l.message, l.info,
		CASE WHEN t.state IN ('c', 'f', 'x') THEN t.finished_at ELSE l.updated_at END, l.cancel_requested, l.cancel_reason, l.phase, l.failure_details
	FROM live l JOIN taskq_internal.task t ON t.id = l.id WHERE l.state = 'running'
	UNION ALL
	-- held by an external worker
	SELECT t.*, 'running', NULL, NULL, t.started_at,
		(e.progress->>'current')::float8, (e.progress->>'total')::float8, (e.progress->>'failed')::int4,
		e.progress->>'message', e.progress->'info', e.updated_at, e.cancel, t.cancel_reason,
		e.progress->>'phase', e.progress->'failure_details'
	FROM taskq_internal.task t JOIN taskq_internal.lease e ON e.task = t.id WHERE t.state = 'e'
		AND NOT EXISTS (SELECT FROM live l WHERE l.id = t.id)
	UNION ALL
	SELECT t.*, 'reserved', l.attempt, l.worker, NULL, NULL, NULL, NULL, NULL, NULL, NULL, l.cancel_requested, l.cancel_reason, NULL, NULL
	FROM live l JOIN taskq_internal.task t ON t.id = l.id WHERE l.state = 'reserved' AND t.state NOT IN ('c', 'f', 'x')
$arms$;
	-- one scan, for the executor begins each of a plan's scans, also those it will not read
	single text := $single$
	SELECT t.*,
		CASE WHEN l.state IS NOT NULL THEN l.state WHEN e.task IS NOT NULL THEN 'running'
			ELSE CASE t.state WHEN 'c' THEN 'completed' WHEN 'f' THEN 'failed' WHEN 'x' THEN 'cancelled' WHEN 's' THEN 'scheduled'
				WHEN 't' THEN 'retrying' WHEN 'b' THEN 'blocked' ELSE 'pending' END END AS state_name,
		l.attempt AS live_attempt, l.worker AS live_worker,
		CASE WHEN e.task IS NOT NULL OR t.state IN ('c', 'f', 'x') THEN t.started_at WHEN l.state = 'running' THEN l.started_at END AS live_started,
		coalesce(l.current, (e.progress->>'current')::float8) AS live_current,
		coalesce(l.total, (e.progress->>'total')::float8) AS live_total,
		coalesce(l.failed, (e.progress->>'failed')::int4) AS live_failed,
		coalesce(l.message, e.progress->>'message') AS live_message,
		coalesce(l.info, e.progress->'info') AS live_info,
		CASE WHEN e.task IS NOT NULL THEN e.updated_at WHEN l.state = 'running' AND t.state IN ('c', 'f', 'x') THEN t.finished_at
			WHEN l.state = 'running' THEN l.updated_at END AS live_updated,
		CASE WHEN e.task IS NOT NULL THEN e.cancel ELSE l.cancel_requested END AS live_cancel,
		CASE WHEN e.task IS NOT NULL THEN t.cancel_reason ELSE l.cancel_reason END AS live_reason,
		coalesce(l.phase, e.progress->>'phase') AS live_phase,
		coalesce(l.failure_details, e.progress->'failure_details') AS live_failures
	FROM taskq_internal.task t
	LEFT JOIN live l ON l.id = t.id AND (l.state = 'running' OR t.state NOT IN ('c', 'f', 'x', 'b'))
	LEFT JOIN taskq_internal.lease e ON e.task = t.id AND t.state = 'e'
$single$;
BEGIN
	EXECUTE 'CREATE VIEW taskq_internal.task_all AS ' || live || pg_catalog.replace(body, '--tasks--', arms);
	EXECUTE 'CREATE VIEW taskq_internal.task_known AS ' || live || pg_catalog.replace(body, '--tasks--', single);
END
$do$;

CREATE VIEW taskq.task WITH (security_barrier) AS
SELECT a.id, a.kind, a.queue, a.state, a.celery_state, a.ready, a.successful, a.priority, a.progress, a.current, a.total,
	a.failed_steps, a.message, a.info, a.payload, a.result, a.error, a.attempt, a.max_attempts, a.worker, a.run_at,
	a.created_at, a.started_at, a.updated_at, a.finished_at, a.duration, a.estimated_completion, a.submitted_by, a.run_as,
	a.tenant, a.parent, a.retry_of, a.workflow, a.tags, a.metadata, a.cancel_requested, a.cancel_reason, a.timeout,
	a.concurrency_key, a.unique_key, a.options, a.depends_on, a.category, a.step, a.resources, a.configuration,
	a.phase, a.completed_steps, a.success_rate, a.failure_details, a.throughput, a.step_duration, a.efficiency,
	a.live_metadata, a.title, a.summary, a.queue_position, a.estimated_start, a.claims
FROM taskq_internal.task_all a
WHERE (taskq_internal.role_visible(a.submitted_by, a.submitted_by_oid, a.submitted_by_system)
	OR taskq_internal.role_visible(a.run_as, a.run_as_oid, a.run_as_system))
	AND taskq_internal.tenant_visible(a.tenant);

COMMENT ON VIEW taskq.task IS
'Tasks: state, progress, result, error

Over HTTP: POST submits, PATCH sets the priority of one task, DELETE cancels one. GET with id=eq. or state=eq.running is quick; for lists of many tasks use task_list. Every task that the caller may see: those submitted by or run as a role it is a member of; all of them for members of taskq_monitor and taskq_operator, those of its tenant for one of taskq_tenant_operator. Who comes through a gateway of taskq.trusted_gateways sees those of its own tenant; who states claims elsewhere, those of that tenant and of none. Progress is live: it shows while the task''s own transaction is still open.';
COMMENT ON COLUMN taskq.task.id IS 'UUID that task_submit returned; it rises with time';
COMMENT ON COLUMN taskq.task.kind IS 'kind of task; "sql" for task_submit_sql';
COMMENT ON COLUMN taskq.task.queue IS 'queue it is in';
COMMENT ON COLUMN taskq.task.state IS 'blocked, scheduled, pending, reserved, running, retrying, completed, failed or cancelled';
COMMENT ON COLUMN taskq.task.celery_state IS 'the same in Celery''s words: PENDING, STARTED, RETRY, SUCCESS, FAILURE, REVOKED';
COMMENT ON COLUMN taskq.task.ready IS 'true when the state is final';
COMMENT ON COLUMN taskq.task.successful IS 'true when completed, false when failed or cancelled, null before';
COMMENT ON COLUMN taskq.task.priority IS '-100 to 100, higher ones first';
COMMENT ON COLUMN taskq.task.progress IS 'percent, 0 to 100';
COMMENT ON COLUMN taskq.task.current IS 'how much is done, as progress() said last';
COMMENT ON COLUMN taskq.task.total IS 'of how much';
COMMENT ON COLUMN taskq.task.failed_steps IS 'how many of them failed: argument failed of progress(), and what step_failed() told; null: nothing was said of it';
COMMENT ON COLUMN taskq.task.message IS 'what it does just now: argument message of progress()';
COMMENT ON COLUMN taskq.task.info IS 'argument info of progress()';
COMMENT ON COLUMN taskq.task.payload IS 'what the handler is called with';
COMMENT ON COLUMN taskq.task.result IS 'what the handler returned';
COMMENT ON COLUMN taskq.task.error IS 'sqlstate, type, message, detail, details, hint, context, traceback, retryable of the last failed attempt';
COMMENT ON COLUMN taskq.task.attempt IS 'number of the attempt that runs or was the last; 0 before the first';
COMMENT ON COLUMN taskq.task.max_attempts IS 'how often it is attempted at most';
COMMENT ON COLUMN taskq.task.worker IS 'the worker that runs it or ran it last';
COMMENT ON COLUMN taskq.task.run_at IS 'not before this moment; null: at once';
COMMENT ON COLUMN taskq.task.created_at IS 'moment of the submit';
COMMENT ON COLUMN taskq.task.started_at IS 'when the attempt that runs or was the last began';
COMMENT ON COLUMN taskq.task.updated_at IS 'when it was last heard of: report of progress, end, begin or submit';
COMMENT ON COLUMN taskq.task.finished_at IS 'when it became completed, failed or cancelled';
COMMENT ON COLUMN taskq.task.duration IS 'run time: so far while running, in all when final';
COMMENT ON COLUMN taskq.task.estimated_completion IS 'for a running task that reports progress: when it will be through at its pace so far; for a pending one by how long those before it, and those like it, took; task_estimate() says how sure that is';
COMMENT ON COLUMN taskq.task.queue_position IS 'of a pending task: its place in the queue, from 1, among the tasks that the caller may see; beyond some hundred an estimate; null for who may not see all tasks of its role, or acts for one tenant';
COMMENT ON COLUMN taskq.task.estimated_start IS 'when a task that waits will start, by estimate; null: not known';
COMMENT ON COLUMN taskq.task.submitted_by IS 'role that submitted it';
COMMENT ON COLUMN taskq.task.run_as IS 'role that it runs as';
COMMENT ON COLUMN taskq.task.tenant IS 'tenant by the claims of a trusted gateway, or as the submit named it; null: none';
COMMENT ON COLUMN taskq.task.parent IS 'task inside of which it was submitted, or that argument parent named';
COMMENT ON COLUMN taskq.task.retry_of IS 'finished task that task_retry made this one of';
COMMENT ON COLUMN taskq.task.workflow IS 'workflow that it belongs to, as a step or as a child of one';
COMMENT ON COLUMN taskq.task.tags IS 'argument tags of the submit';
COMMENT ON COLUMN taskq.task.metadata IS 'argument metadata of the submit';
COMMENT ON COLUMN taskq.task.cancel_requested IS 'somebody asked to cancel it';
COMMENT ON COLUMN taskq.task.cancel_reason IS 'argument reason of task_cancel';
COMMENT ON COLUMN taskq.task.timeout IS 'longest run time of an attempt: its own, or else its kind''s; null: no limit';
COMMENT ON COLUMN taskq.task.concurrency_key IS 'argument concurrency_key of the submit';
COMMENT ON COLUMN taskq.task.unique_key IS 'argument unique_key of the submit';
COMMENT ON COLUMN taskq.task.options IS 'what argument options of the submit said';
COMMENT ON COLUMN taskq.task.depends_on IS 'tasks that it waits for, or has waited for: argument depends_on of the submit';
COMMENT ON COLUMN taskq.task.category IS 'category of its kind';
COMMENT ON COLUMN taskq.task.resources IS 'what the last attempt used, if it ran for at least taskq.track_resources: cpu_user, cpu_system (seconds), cpu_percent, peak_memory, memory_growth (bytes), blocks_hit, blocks_read, blocks_dirtied, blocks_written, temp_bytes, wal_bytes';
COMMENT ON COLUMN taskq.task.configuration IS 'the options in effect: what its submit said, else its kind as it is defined now, else the server';
COMMENT ON COLUMN taskq.task.phase IS 'argument phase of progress()';
COMMENT ON COLUMN taskq.task.completed_steps IS 'steps that are through and did not fail: current less failed_steps';
COMMENT ON COLUMN taskq.task.success_rate IS 'completed_steps in percent of current; null: nothing was said of failed ones';
COMMENT ON COLUMN taskq.task.failure_details IS 'array of the last steps that failed: step, error, timestamp and what else step_failed() was told';
COMMENT ON COLUMN taskq.task.throughput IS 'steps a minute, from the begin of the attempt to its last report or its end';
COMMENT ON COLUMN taskq.task.step_duration IS 'mean time of a step';
COMMENT ON COLUMN taskq.task.efficiency IS '0 to 10: how much of what was tried counted, success_rate / 10 / attempt; null like success_rate';
COMMENT ON COLUMN taskq.task.live_metadata IS 'metadata, with the members of info over it';
COMMENT ON COLUMN taskq.task.title IS 'first line of its kind''s description, or the last part of its kind''s name, readable';
COMMENT ON COLUMN taskq.task.summary IS 'how it is, in one sentence: also who runs it, and what it does just now or else its payload';
COMMENT ON COLUMN taskq.task.claims IS 'for whom the session said that it acts which submitted it, where a trusted gateway said so (taskq.stored_claims); shown to members of submitted_by, operators and monitors; to who operates a tenant, of those who acted for it';
COMMENT ON COLUMN taskq.task.step IS 'which step of the workflow it is; null: none';

-- By slot it finds what is in a leaf, or (16) kept beside the leaves.
CREATE VIEW taskq_internal.attempt_all AS
SELECT 16::int2 AS slot, a.task AS task_id, a.attempt, CASE a.outcome WHEN 'l' THEN 'lost' ELSE 'failed' END AS state,
	a.worker, a.started_at, a.finished_at, a.finished_at - a.started_at AS duration, a.error, a.resources
FROM taskq_internal.attempt a
UNION ALL
SELECT t.slot, t.id, t.attempt, t.state, t.worker, t.started_at, t.finished_at, t.duration, t.error, t.resources
FROM taskq_internal.task_all t
WHERE t.state IN ('running', 'completed', 'failed', 'cancelled') AND t.attempt > 0
	AND NOT EXISTS (SELECT FROM taskq_internal.attempt a WHERE a.task = t.id AND a.attempt = t.attempt);

CREATE VIEW taskq.task_attempt WITH (security_barrier) AS
SELECT a.task_id, a.attempt, a.state, a.worker, a.started_at, a.finished_at, a.duration, a.error, a.resources
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
COMMENT ON COLUMN taskq.task_attempt.error IS 'sqlstate, type, message, detail, details, hint, context, traceback, retryable, if it failed';
COMMENT ON COLUMN taskq.task_attempt.resources IS 'what it used, as in view task';

CREATE VIEW taskq.kind WITH (security_barrier) AS
SELECT k.name, k.handler, k.queue, k.priority, k.max_attempts, k.timeout, k.backoff, k.backoff_max, k.retry_on,
	k.max_running, k.rate, k.rate_period, r.name AS run_as, k.retention, k.batch, k.description, o.name AS owner, k.updated_at,
	g.submitters, g.workers, g.workers_for_all,
	p.name IS NOT NULL AS paused,
	coalesce(k.max_running_per_key, 1) AS max_running_per_key,
	k.cancellable,
	k.hooks[1] AS on_success, k.hooks[2] AS on_failure, k.hooks[3] AS on_cancel, k.settings, k.category, k.indexed, k.indexed_since, x.members AS secret,
	p.since AS paused_since,
	CASE WHEN NOT t.limited THEN pr.name END AS paused_by,
	CASE WHEN NOT t.limited THEN p.reason END AS pause_reason
FROM taskq_internal.kind k
CROSS JOIN (SELECT taskq_internal.tenant_limited() AS limited) t
JOIN taskq_internal.role o ON o.id = k.owner
LEFT JOIN taskq_internal.role r ON r.id = k.run_as
LEFT JOIN taskq_internal.secret x ON x.kind = k.name AND x.owner = k.owner
LEFT JOIN taskq_internal.pause p ON p.scope = 'k' AND p.name = k.name
LEFT JOIN taskq_internal.role pr ON pr.id = p.role
CROSS JOIN LATERAL (
	SELECT array_agg(gr.name ORDER BY gr.name) FILTER (WHERE g.privilege = 's') AS submitters,
		array_agg(gr.name ORDER BY gr.name) FILTER (WHERE g.privilege = 'w') AS workers,
		array_agg(gr.name ORDER BY gr.name) FILTER (WHERE g.privilege = 'W') AS workers_for_all,
		bool_or(taskq_internal.owner_visible(gr.name, gr.oid, gr.system)) AS granted
	FROM taskq_internal.kind_grant g JOIN taskq_internal.role gr ON gr.id = g.role WHERE g.kind = k.name
) g
WHERE k.run_as IS NULL OR taskq_internal.owner_visible(o.name, o.oid, o.system)
	OR taskq_internal.owner_visible(r.name, r.oid, r.system) OR g.granted;
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
COMMENT ON COLUMN taskq.kind.max_running IS 'how many of its tasks run at a time at most; null: no limit';
COMMENT ON COLUMN taskq.kind.rate IS 'how many of its tasks are started in rate_period at most; null: no limit';
COMMENT ON COLUMN taskq.kind.rate_period IS 'in so long';
COMMENT ON COLUMN taskq.kind.run_as IS 'role that its tasks run as; null: whoever submits';
COMMENT ON COLUMN taskq.kind.retention IS 'how long its finished tasks are kept; null: as their queue says';
COMMENT ON COLUMN taskq.kind.batch IS 'several of its tasks may share a transaction';
COMMENT ON COLUMN taskq.kind.description IS 'what kind_define was given';
COMMENT ON COLUMN taskq.kind.owner IS 'role that defined it';
COMMENT ON COLUMN taskq.kind.updated_at IS 'when it was defined, or its limits were set, last';
COMMENT ON COLUMN taskq.kind.submitters IS 'roles that may submit tasks of a kind that runs as somebody else, besides its owner';
COMMENT ON COLUMN taskq.kind.workers IS 'roles that may work on tasks of a kind without handler, besides its owner';
COMMENT ON COLUMN taskq.kind.workers_for_all IS 'those that may also where they act for one tenant, for all of them';
COMMENT ON COLUMN taskq.kind.max_running_per_key IS 'how many tasks of one concurrency key run at the same time';

COMMENT ON COLUMN taskq.kind.cancellable IS 'may be cancelled without force';
COMMENT ON COLUMN taskq.kind.paused IS 'by kind_pause; nothing of it is started';
COMMENT ON COLUMN taskq.kind.on_success IS 'kind of which a task is submitted when one of this kind has completed';
COMMENT ON COLUMN taskq.kind.on_failure IS '... when one has failed';
COMMENT ON COLUMN taskq.kind.on_cancel IS '... when one was cancelled';
COMMENT ON COLUMN taskq.kind.settings IS 'settings that the handler is called with';
COMMENT ON COLUMN taskq.kind.category IS 'word that kinds have in common';
COMMENT ON COLUMN taskq.kind.secret IS 'members of payload and metadata that are shown to nobody but the handler';
COMMENT ON COLUMN taskq.kind.indexed IS 'members of payload and metadata by whose values its tasks are found quickly';
COMMENT ON COLUMN taskq.kind.indexed_since IS 'tasks that were submitted since then are found so';
COMMENT ON COLUMN taskq.kind.paused_since IS 'when it was paused';
COMMENT ON COLUMN taskq.kind.paused_by IS 'role that paused it';
COMMENT ON COLUMN taskq.kind.pause_reason IS 'reason that kind_pause was given';

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
	p.name IS NOT NULL AS paused,
	c.max_running,
	c.retention,
	c.description,
	c.rate,
	c.rate_period,
	c.reserved,
	CASE WHEN NOT t.limited THEN coalesce(s.waiting, 0) END AS waiting,
	CASE WHEN NOT t.limited THEN coalesce(s.running, 0) + coalesce(x.n, 0) END AS running,
	p.since AS paused_since,
	CASE WHEN NOT t.limited THEN r.name END AS paused_by,
	CASE WHEN NOT t.limited THEN p.reason END AS pause_reason,
	CASE WHEN NOT t.limited THEN s.oldest END AS oldest
FROM (SELECT name FROM taskq_internal.queue UNION SELECT name FROM taskq_internal.pause WHERE scope = 'q' UNION SELECT queue FROM taskq.kind UNION SELECT queue FROM lane UNION SELECT 'default' COLLATE "C") q
CROSS JOIN (SELECT taskq_internal.tenant_limited() AS limited) t
LEFT JOIN taskq_internal.queue c ON c.name = q.name
LEFT JOIN taskq_internal.pause p ON p.scope = 'q' AND p.name = q.name
LEFT JOIN taskq_internal.role r ON r.id = p.role
LEFT JOIN (SELECT n.queue, sum(l.waiting)::int8 AS waiting, sum(l.running)::int8 AS running, min(l.oldest) AS oldest
	FROM taskq_internal.lanes(true) l JOIN lane n ON n.id = l.lane GROUP BY n.queue) s ON s.queue = q.name
-- the timer of a lease knows its lane
LEFT JOIN (SELECT n.queue, count(*) AS n
	FROM taskq_internal.lease e JOIN taskq_internal.timer m ON m.due = e.timer AND m.id = e.task JOIN lane n ON n.id = m.lane
	GROUP BY n.queue) x ON x.queue = q.name;
COMMENT ON VIEW taskq.queue IS
'Queues: paused or not, what waits and what runs

waiting is an estimate kept in shared memory; after a restart of the server it starts from what was counted (task_counts). waiting and running count the tasks of roles that the caller is a member of and of kinds that it owns or works on; they are null for who acts for one tenant.';
COMMENT ON COLUMN taskq.queue.name IS 'name for task_submit and kind_define';
COMMENT ON COLUMN taskq.queue.paused IS 'by queue_pause; nothing of it is started';
COMMENT ON COLUMN taskq.queue.max_running IS 'how many of its tasks run at a time at most; null: no limit';
COMMENT ON COLUMN taskq.queue.retention IS 'how long finished tasks of kinds that say nothing are kept; null: taskq.retention';
COMMENT ON COLUMN taskq.queue.description IS 'what queue_define was given';
COMMENT ON COLUMN taskq.queue.rate IS 'how many of its tasks are started in rate_period at most; null: no limit';
COMMENT ON COLUMN taskq.queue.rate_period IS 'in so long';
COMMENT ON COLUMN taskq.queue.reserved IS 'how many of taskq.max_workers tasks of other queues leave to it';
COMMENT ON COLUMN taskq.queue.waiting IS 'tasks that could run now, by estimate';
COMMENT ON COLUMN taskq.queue.running IS 'tasks that workers of the server run or have set aside, and those that external workers have';
COMMENT ON COLUMN taskq.queue.paused_since IS 'when it was paused';
COMMENT ON COLUMN taskq.queue.paused_by IS 'role that paused it';
COMMENT ON COLUMN taskq.queue.oldest IS 'since when the first of those that could run now waits, as far as shared memory knows; null: none does';
COMMENT ON COLUMN taskq.queue.pause_reason IS 'reason that queue_pause was given';

-- A worker outside of the server is shown to members of its role, and to who owns a kind
-- that it asked for and may work on; to the latter without what it does for others.
-- One row a task (LIMIT): else the planner expects thousands, reads whole leaves where it has
-- no statistics of them, and compiles the plan, which takes seconds.
CREATE VIEW taskq.worker WITH (security_barrier) AS
WITH l AS (SELECT taskq_internal.tenant_limited() AS limited),
kind AS (
	SELECT k.name, k.handler, taskq_internal.role_visible(o.name, o.oid, o.system) AS own,
		ARRAY(SELECT p.oid FROM pg_catalog.pg_roles p WHERE p.rolname = o.name OR p.rolname IN (
			SELECT gr.name FROM taskq_internal.kind_grant g JOIN taskq_internal.role gr ON gr.id = g.role
			WHERE g.kind = k.name AND g.privilege IN ('w', 'W'))) AS workers,
		EXISTS (SELECT FROM taskq_internal.kind_grant g JOIN taskq_internal.role gr ON gr.id = g.role
			WHERE g.kind = k.name AND g.privilege IN ('w', 'W') AND taskq_internal.role_visible(gr.name, gr.oid, gr.system)) AS works
	FROM taskq_internal.kind k JOIN taskq_internal.role o ON o.id = k.owner
),
held AS (
	SELECT t.worker, t.id, t.started_at, n.kind
	FROM taskq_internal.lease e
	-- by the index, whatever the planner thinks of how many leases there are
	CROSS JOIN LATERAL (
		SELECT t.id, t.worker, t.started_at, t.lane, t.tenant FROM taskq_internal.task t
		WHERE t.id = e.task AND t.slot IN (taskq_internal.id_slot(e.task), 16) LIMIT 1
	) t
	JOIN taskq_internal.lane n ON n.id = t.lane
	JOIN taskq_internal.role r ON r.id = n.role
	LEFT JOIN kind k ON k.name = n.kind
	WHERE (k.own OR k.works OR taskq_internal.role_visible(r.name, r.oid, r.system)) AND taskq_internal.tenant_visible(t.tenant)
),
every AS (
	SELECT w.name, w.role, w.pid, w.state, t.id AS task_id, t.kind, w.task_started_at, w.reserved, w.completed, w.failed, w.busy,
		w.started_at, w.last_active, 'internal' AS type, (w.task_id IS NOT NULL)::int4 AS running, w.cpu, w.memory, w.peak_memory,
		NULL::text[] AS queues,
		ARRAY(SELECT k.name::text FROM taskq.kind k WHERE k.handler IS NOT NULL AND (k.run_as IS NULL OR k.run_as = w.role) ORDER BY k.name) AS kinds,
		coalesce(w.last_active, w.started_at) AS last_heartbeat, w.limits, true AS own
	FROM taskq_internal.workers() w
	CROSS JOIN l
	LEFT JOIN LATERAL (
		SELECT t.id, n.kind FROM (
			SELECT t.id, t.lane, t.tenant FROM taskq_internal.task t
			WHERE t.id = w.task_id AND t.slot IN (taskq_internal.id_slot(w.task_id), 16) LIMIT 1
		) t JOIN taskq_internal.lane n ON n.id = t.lane
		WHERE taskq_internal.tenant_visible(t.tenant)
	) t ON true
	WHERE taskq_internal.role_visible(w.role, w.role_oid, 0) AND (t.id IS NOT NULL OR NOT l.limited)
	UNION ALL
	SELECT o.name, o.role, NULL, CASE WHEN h.n > 0 THEN 'busy' WHEN o.online THEN 'idle' ELSE 'offline' END, h.id, h.kind, h.started_at,
		NULL, o.completed, o.failed, o.busy, o.first_at, o.last_at, 'external', h.n::int4, NULL, NULL, NULL,
		o.queues, CASE WHEN v.own THEN k.may ELSE k.own END, o.last_at,
		pg_catalog.jsonb_strip_nulls(pg_catalog.jsonb_build_object('max_concurrent_tasks', o.most, 'offline_after', o.silence)), v.own
	FROM taskq_internal.outsiders() o
	CROSS JOIN l
	CROSS JOIN LATERAL (SELECT taskq_internal.role_visible(o.role, o.role_oid, 0) AS own) v
	CROSS JOIN LATERAL (
		SELECT coalesce(array_agg(k.name::text ORDER BY k.name), '{}') AS may, array_agg(k.name::text ORDER BY k.name) FILTER (WHERE k.own) AS own
		FROM kind k
		WHERE k.handler IS NULL AND (o.kinds IS NULL OR k.name = ANY (o.kinds))
			AND EXISTS (SELECT FROM pg_catalog.unnest(k.workers) r WHERE pg_catalog.pg_has_role(o.role_oid, r, 'USAGE'))
	) k
	CROSS JOIN LATERAL (
		SELECT count(*) AS n, (array_agg(h.id ORDER BY h.started_at))[1] AS id, (array_agg(h.kind ORDER BY h.started_at))[1] AS kind,
			min(h.started_at) AS started_at
		FROM held h WHERE h.worker = o.name AND h.kind = ANY (k.may)
	) h
	WHERE (v.own OR k.own IS NOT NULL) AND (h.n > 0 OR NOT l.limited)
)
SELECT e.name, e.role, CASE WHEN f.shown THEN e.pid END AS pid, e.state, e.task_id, e.kind, e.task_started_at,
	CASE WHEN f.shown THEN e.reserved END AS reserved, CASE WHEN f.shown THEN e.completed END AS completed,
	CASE WHEN f.shown THEN e.failed END AS failed, CASE WHEN f.shown THEN e.busy END AS busy,
	CASE WHEN f.shown THEN e.started_at END AS started_at, CASE WHEN f.shown THEN e.last_active END AS last_active,
	e.type, e.running,
	CASE WHEN f.shown THEN e.busy / nullif(e.completed + e.failed, 0) END AS average_run,
	CASE WHEN f.shown THEN pg_catalog.round(100.0 * e.completed / nullif(e.completed + e.failed, 0), 1) END AS success_rate,
	CASE WHEN f.shown THEN e.cpu END AS cpu,
	CASE WHEN f.shown THEN pg_catalog.round((100 * EXTRACT(epoch FROM e.cpu)
		/ nullif(EXTRACT(epoch FROM pg_catalog.clock_timestamp() - e.started_at), 0))::numeric, 1) END AS cpu_percent,
	CASE WHEN f.shown THEN e.memory END AS memory, CASE WHEN f.shown THEN e.peak_memory END AS peak_memory,
	CASE WHEN f.shown THEN e.queues END AS queues, CASE WHEN NOT l.limited THEN e.kinds END AS kinds,
	CASE WHEN NOT l.limited THEN e.last_heartbeat END AS last_heartbeat, CASE WHEN f.shown THEN e.limits END AS limits
FROM every e
CROSS JOIN l
CROSS JOIN LATERAL (SELECT e.own AND NOT l.limited AS shown) f;
COMMENT ON VIEW taskq.worker IS
'Workers of this database and what they do

Those of the server are background processes with a session of their role; they come when there is work and leave after taskq.worker_idle_timeout. Those outside are programs that claim tasks, as they were heard of last: since the server''s start, and until an hour after they fell silent. They are shown to members of their role, and with less to who owns a kind that they work on. Who acts for one tenant sees those that run its tasks, without what they did for others.';
COMMENT ON COLUMN taskq.worker.name IS 'name for worker_stop; of one outside, what it gave to task_claim';
COMMENT ON COLUMN taskq.worker.role IS 'role of its session; a worker of the server runs that role''s tasks only';
COMMENT ON COLUMN taskq.worker.pid IS 'process, as in pg_stat_activity';
COMMENT ON COLUMN taskq.worker.state IS 'starting, idle or busy; one outside is offline when it was silent for longer than its lease';
COMMENT ON COLUMN taskq.worker.task_id IS 'task that it runs; of several the oldest';
COMMENT ON COLUMN taskq.worker.kind IS 'kind of that task';
COMMENT ON COLUMN taskq.worker.task_started_at IS 'since when';
COMMENT ON COLUMN taskq.worker.reserved IS 'tasks it has set aside to run next';
COMMENT ON COLUMN taskq.worker.completed IS 'tasks it has completed';
COMMENT ON COLUMN taskq.worker.failed IS 'attempts that failed';
COMMENT ON COLUMN taskq.worker.busy IS 'time it has spent on tasks';
COMMENT ON COLUMN taskq.worker.started_at IS 'when the process was started, or first heard of';
COMMENT ON COLUMN taskq.worker.last_active IS 'when it last had a task, or was heard of';
COMMENT ON COLUMN taskq.worker.type IS 'internal: of the server; external: a program outside';
COMMENT ON COLUMN taskq.worker.running IS 'tasks that it has in hand now';
COMMENT ON COLUMN taskq.worker.average_run IS 'time that it has spent on a task, on average';
COMMENT ON COLUMN taskq.worker.success_rate IS 'percent of its attempts that completed';
COMMENT ON COLUMN taskq.worker.cpu IS 'processor time of its process';
COMMENT ON COLUMN taskq.worker.cpu_percent IS 'the same by the time since it was started';
COMMENT ON COLUMN taskq.worker.memory IS 'bytes resident now, shared buffers that it touched included; null where the system does not tell (it does on Linux)';
COMMENT ON COLUMN taskq.worker.peak_memory IS 'the most that it had, in bytes';
COMMENT ON COLUMN taskq.worker.queues IS 'queues that it serves; null: all';
COMMENT ON COLUMN taskq.worker.kinds IS 'kinds that it may run';
COMMENT ON COLUMN taskq.worker.last_heartbeat IS 'when it was last heard of';
COMMENT ON COLUMN taskq.worker.limits IS 'max_concurrent_tasks, and what else limits it: of the server default_timeout, work_mem, temp_file_limit, max_tasks, idle_timeout; outside offline_after';

-- The API is functions; who tries to write to a view is told which one.
CREATE FUNCTION taskq_internal.view_readonly() RETURNS trigger
LANGUAGE c AS 'MODULE_PATHNAME', 'taskq_view_readonly';
COMMENT ON FUNCTION taskq_internal.view_readonly() IS 'trigger of all views: raises PT405 and names what to use';

DO $$
DECLARE
	v record;
BEGIN
	FOR v IN VALUES
		('task_attempt', 'taskq.task_attempts() to look'),
		('kind', 'taskq.kind_define() or kind_drop()'),
		('queue', 'taskq.queue_define(), queue_drop(), queue_pause() or queue_resume()'),
		('worker', 'taskq.worker_stop() or worker_restart()')
	LOOP
		EXECUTE pg_catalog.format('CREATE TRIGGER readonly BEFORE INSERT OR UPDATE OR DELETE ON taskq.%I
			FOR EACH STATEMENT EXECUTE FUNCTION taskq_internal.view_readonly(%L)', v.column1, v.column2);
		EXECUTE pg_catalog.format('CREATE TRIGGER readonly_row INSTEAD OF INSERT OR UPDATE OR DELETE ON taskq.%I
			FOR EACH ROW EXECUTE FUNCTION taskq_internal.view_readonly(%L)', v.column1, v.column2);
	END LOOP;
END
$$;

