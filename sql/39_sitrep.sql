/* ---------------------------------------------------------------- the situation, on one page */

-- What only members of taskq_monitor and taskq_operator may know; view server asks who does.
CREATE FUNCTION taskq_internal.report() RETURNS jsonb LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
SELECT jsonb_build_object(
	'running', NOT coalesce(s.paused, true) AND p.since IS NULL AND n.why IS NULL,
	'why_not_running', n.why,
	'paused', s.paused OR p.since IS NOT NULL,
	'why_paused', CASE WHEN s.paused THEN 'The server was started with taskq.start_paused; call taskq.resume() to let tasks run.'
		WHEN p.since IS NOT NULL THEN format('Role %I called taskq.pause() at %s%s; call taskq.resume() to let tasks run.', p.role, p.since, ': ' || p.reason) END,
	'foreign_lanes', f.n,
	'why_foreign', CASE WHEN f.n > 0 THEN 'There are tasks that were submitted in another database or server; call taskq.resume() to run them here.' END,
	'why_tenants', taskq_internal.tenant_trouble(),
	'paused_queues', (SELECT coalesce(jsonb_agg(q.name ORDER BY q.name), '[]') FROM taskq_internal.pause q WHERE q.scope = 'q'),
	'paused_kinds', (SELECT coalesce(jsonb_agg(k.name ORDER BY k.name), '[]') FROM taskq_internal.pause k WHERE k.scope = 'k'),
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
	'settings_read', s.settings_read,
	'dead_rows', taskq_internal.dead_rows(),
	'oldest_snapshot', (SELECT to_jsonb(o) FROM taskq_internal.oldest_snapshot() o WHERE o.holder IS NOT NULL),
	'oldest_xid_age', (SELECT max(age(c.relfrozenxid)) FROM pg_class c
		WHERE c.relnamespace = 'taskq_internal'::regnamespace AND c.relkind = 'r'))
FROM taskq_internal.server() s
LEFT JOIN (SELECT p.since, r.name AS role, p.reason FROM taskq_internal.pause p LEFT JOIN taskq_internal.role r ON r.id = p.role WHERE p.scope = 'a') p ON true
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
COMMENT ON FUNCTION taskq_internal.report() IS 'the state of taskq here, as operators see it';

CREATE VIEW taskq.server WITH (security_barrier) AS
SELECT (s.r->>'running')::bool AS running,
	s.r->>'why_not_running' AS why_not_running,
	(s.r->>'paused')::bool AS paused,
	CASE WHEN NOT m.limited THEN s.r->>'why_paused' END AS why_paused,
	(s.r->>'max_workers')::int4 AS max_workers,
	CASE WHEN NOT m.limited THEN (s.r->>'workers')::int4 END AS workers,
	CASE WHEN m.all_of_it THEN s.r END AS report
FROM taskq_internal.report() s(r)
CROSS JOIN (SELECT l.limited, NOT l.limited AND (pg_catalog.pg_has_role('taskq_monitor', 'USAGE') OR pg_catalog.pg_has_role('taskq_operator', 'USAGE')) AS all_of_it
	FROM (SELECT taskq_internal.tenant_limited() AS limited) l) m;
COMMENT ON VIEW taskq.server IS
'One row: are tasks of this database run?';
COMMENT ON COLUMN taskq.server.running IS 'tasks of this database are run';
COMMENT ON COLUMN taskq.server.why_not_running IS 'why not, if nobody paused them';
COMMENT ON COLUMN taskq.server.paused IS 'by taskq.pause(), or because the server was started with taskq.start_paused';
COMMENT ON COLUMN taskq.server.why_paused IS 'by whom, and what to do about it';
COMMENT ON COLUMN taskq.server.max_workers IS 'how many workers the server may have';
COMMENT ON COLUMN taskq.server.workers IS 'how many there are in this database';
COMMENT ON COLUMN taskq.server.report IS 'more, for members of taskq_monitor and taskq_operator; see sitrep()';

-- What is not as it should be, in sentences, the worst first; of a thousand of a sort the first twenty.
CREATE FUNCTION taskq_internal.warnings(report jsonb) RETURNS SETOF text LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
WITH unserved AS MATERIALIZED (SELECT * FROM taskq_internal.unserved() WHERE report->'running' = 'true')
SELECT CASE WHEN w.no <= 20 OR w.every = 21 THEN w.text ELSE format('%s more are like this last one.', w.every - 20) END FROM (
SELECT w.n, w.text, count(*) OVER (PARTITION BY w.n) AS every, row_number() OVER (PARTITION BY w.n ORDER BY w.tasks DESC, w.text) AS no FROM (
	SELECT 1, 0::int8, report->>'why_not_running' || ' No task runs.'
	UNION ALL SELECT 2, 0, report->>'why_paused'
	UNION ALL SELECT 3, 0, report->>'why_foreign'
	UNION ALL SELECT 4, 0, report->>'why_tenants'
	UNION ALL SELECT 5, 0, format('Alert %I fires since %s: %s is above %s.', a.name, date_trunc('second', s.firing_since), a.metric, a.threshold)
		FROM taskq_internal.alert a JOIN taskq_internal.alert_state s ON s.name = a.name WHERE s.firing_since IS NOT NULL
	UNION ALL SELECT 6, sum(u.waiting), format(CASE sum(u.waiting) WHEN 1 THEN '%s task of kind %I in queue %I waits, and no external worker asks for it.'
			ELSE '%s tasks of kind %I in queue %I wait, and no external worker asks for them.' END, sum(u.waiting), u.kind, u.queue)
		FROM unserved u WHERE u.external GROUP BY u.kind, u.queue
	UNION ALL SELECT 7, sum(u.waiting), format(CASE sum(u.waiting) WHEN 1 THEN '%s task of role %I waits and has no worker: ' ELSE '%s tasks of role %I wait and have no worker: ' END ||
			'%s of %s workers are there; see task_explain() for one of them.',
			sum(u.waiting), u.run_as, report->>'workers', report->>'max_workers')
		FROM unserved u WHERE NOT u.external GROUP BY u.run_as
	UNION ALL SELECT 8, q.waiting, format('Queue %I is paused and %s in it: taskq.queue_resume() lets %s run.', p.name, CASE q.waiting WHEN 1 THEN '1 task waits' ELSE q.waiting || ' tasks wait' END, CASE q.waiting WHEN 1 THEN 'it' ELSE 'them' END)
		FROM taskq_internal.pause p JOIN (SELECT n.queue, sum(l.waiting) AS waiting FROM taskq_internal.lanes() l
			JOIN taskq_internal.lane n ON n.id = l.lane GROUP BY n.queue) q ON q.queue = p.name
		WHERE p.scope = 'q' AND q.waiting > 0
	UNION ALL SELECT 9, q.waiting, format('Kind %I is paused and %s: taskq.kind_resume() lets %s run.', p.name, CASE q.waiting WHEN 1 THEN '1 task waits' ELSE q.waiting || ' tasks wait' END, CASE q.waiting WHEN 1 THEN 'it' ELSE 'them' END)
		FROM taskq_internal.pause p JOIN (SELECT n.kind, sum(l.waiting) AS waiting FROM taskq_internal.lanes() l
			JOIN taskq_internal.lane n ON n.id = l.lane GROUP BY n.kind) q ON q.kind = p.name
		WHERE p.scope = 'k' AND q.waiting > 0
	UNION ALL SELECT 10, 0, format(CASE count(*) WHEN 1 THEN '%s running task shows no sign of life: see view taskq.stalled.'
			ELSE '%s running tasks show no sign of life: see view taskq.stalled.' END, count(*))
		FROM taskq.stalled s HAVING count(*) > 0
	UNION ALL SELECT 11, 0, format('Task %s crashed the server and is tried once more.', report->>'quarantined') WHERE report->>'quarantined' IS NOT NULL
	UNION ALL SELECT 12, 0, format('%s notifications could not be sent: a session that listens and does not read holds them up.', report->>'events_lost')
		WHERE (report->>'events_lost')::int8 > 0
	UNION ALL SELECT 13, 0, format('%s dead rows cannot be removed while %s is open.', report->>'dead_rows', report->'oldest_snapshot'->>'holder')
		WHERE (report->>'dead_rows')::int8 > 50000 AND (report->'oldest_snapshot'->>'since')::timestamptz < clock_timestamp() - interval '10 min'
	UNION ALL SELECT 14, 0, format('The oldest transaction number in taskq''s tables is %s old: let autovacuum come through.', report->>'oldest_xid_age')
		WHERE (report->>'oldest_xid_age')::int8 > 1000000000
) w(n, tasks, text)
WHERE w.text IS NOT NULL) w
WHERE w.no <= 21 ORDER BY w.n, w.no
$$;
COMMENT ON FUNCTION taskq_internal.warnings(jsonb) IS 'what an operator should look after, in sentences';

CREATE VIEW taskq.warning WITH (security_barrier) AS
SELECT w.warning FROM taskq.server s, LATERAL taskq_internal.warnings(s.report) w(warning) WHERE s.report IS NOT NULL;
COMMENT ON VIEW taskq.warning IS
'What an operator should look after, the worst first

For members of taskq_monitor and taskq_operator; nobody else sees a row.';
COMMENT ON COLUMN taskq.warning.warning IS 'a sentence, with what to do about it';

CREATE FUNCTION taskq.sitrep() RETURNS jsonb LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
SELECT jsonb_build_object(
		'at', clock_timestamp(),
		'running', s.running, 'why_not_running', s.why_not_running, 'paused', s.paused, 'why_paused', s.why_paused,
		'max_workers', s.max_workers, 'workers', s.workers)
	|| coalesce(s.report, '{}')
	|| jsonb_build_object(
		'tasks', (SELECT coalesce(jsonb_object_agg(c.state, c.n), '{}') FROM (SELECT k.state, sum(k.n)::int8 AS n FROM taskq.task_counts() k GROUP BY k.state) c),
		'warnings', (SELECT coalesce(jsonb_agg(w.warning), '[]') FROM taskq.warning w),
		'queues', (SELECT coalesce(jsonb_agg(to_jsonb(q) ORDER BY q.waiting DESC NULLS LAST, q.name), '[]')
			FROM (SELECT q.name, q.waiting, q.running, q.oldest, q.paused, q.pause_reason, q.max_running FROM taskq.queue q
				ORDER BY q.waiting DESC NULLS LAST, q.running DESC NULLS LAST, q.name LIMIT 50) q),
		'active', (SELECT coalesce(jsonb_agg(to_jsonb(t)), '[]')
			FROM (SELECT t.id, t.kind, t.queue, t.worker, t.started_at, t.duration, t.progress, t.message, t.estimated_completion
				FROM taskq.task_list('{"state": "running"}', 'oldest', n => 20) t) t),
		'stalled', (SELECT coalesce(jsonb_agg(to_jsonb(t)), '[]') FROM (SELECT t.id, t.kind, t.worker, t.since, t.usual FROM taskq.stalled t
			ORDER BY t.since LIMIT 20) t),
		'next', (SELECT coalesce(jsonb_agg(to_jsonb(t)), '[]')
			FROM (SELECT t.id, t.kind, t.queue, t.priority, t.created_at FROM taskq.task_list('{"state": "pending"}', 'priority', n => 5) t) t),
		'failed', (SELECT coalesce(jsonb_agg(to_jsonb(t)), '[]')
			FROM (SELECT t.id, t.kind, t.queue, t.finished_at, t.attempt, t.error->>'type' AS type, t.error->>'message' AS message
				FROM taskq.task_list('{"state": "failed"}', n => 10) t) t),
		'cluster', taskq.cluster_summary())
FROM taskq.server s
$$;
COMMENT ON FUNCTION taskq.sitrep() IS
'Situation report: is taskq running, and if not, why; what waits, runs, stands still, has failed

One JSON object, of the tasks that the caller may see. Members of taskq_monitor and taskq_operator get that of the whole database, and the processes. Members that begin with why_ are null when there is nothing to say; warnings has all that should be looked after.';
