/* ---------------------------------------------------------------- what stands still, and alerts */

CREATE VIEW taskq.stalled WITH (security_barrier) AS
SELECT t.id, t.kind, t.queue, t.run_as, t.worker, t.attempt, t.updated_at AS since,
	pg_catalog.clock_timestamp() - t.updated_at AS silence, u.run AS usual
FROM taskq.task_list('{"state": "running"}', 'oldest', NULL, 10000) t
LEFT JOIN (
	SELECT n.kind, max(l.average_run) AS run
	FROM taskq_internal.lanes() l JOIN taskq_internal.lane n ON n.id = l.lane JOIN taskq_internal.role r ON r.id = n.role
	WHERE taskq_internal.role_visible(r.name, r.oid, r.system) AND NOT (SELECT taskq_internal.tenant_limited())
	GROUP BY n.kind
) u ON u.kind = t.kind
CROSS JOIN (SELECT coalesce(pg_catalog.current_setting('taskq.stalled_after', true), '0')::interval AS after) s
WHERE s.after > interval '0' AND t.updated_at + greatest(s.after, 3 * u.run) <= pg_catalog.clock_timestamp();
COMMENT ON VIEW taskq.stalled IS
'Running tasks that show no sign of life

No progress for longer than taskq.stalled_after, and than three times what tasks of the kind take in the mean. They may be at work all the same: report progress, or give the kind a timeout.';
COMMENT ON COLUMN taskq.stalled.id IS 'the task';
COMMENT ON COLUMN taskq.stalled.kind IS 'its kind';
COMMENT ON COLUMN taskq.stalled.queue IS 'its queue';
COMMENT ON COLUMN taskq.stalled.run_as IS 'role that it runs as';
COMMENT ON COLUMN taskq.stalled.worker IS 'who runs it';
COMMENT ON COLUMN taskq.stalled.attempt IS 'which attempt it is';
COMMENT ON COLUMN taskq.stalled.since IS 'when it began, or reported progress last';
COMMENT ON COLUMN taskq.stalled.silence IS 'for so long';
COMMENT ON COLUMN taskq.stalled.usual IS 'how long tasks of its kind take, in the mean of those that the caller may see; null: not known, as for who acts for one tenant';

CREATE TABLE taskq_internal.alert (
	name text COLLATE "C" NOT NULL CONSTRAINT alert_pkey PRIMARY KEY,
	metric text NOT NULL,
	threshold float8 NOT NULL,
	clear_at float8 NOT NULL,
	"window" interval NOT NULL,
	queue text COLLATE "C",
	kind text COLLATE "C",
	enabled bool NOT NULL,
	description text,
	owner int4 NOT NULL,		-- taskq_internal.role: who defined it
	updated_at timestamptz NOT NULL
) USING heap;

-- What is known of those that are, or were, above their thresholds.
CREATE TABLE taskq_internal.alert_state (
	name text COLLATE "C" NOT NULL CONSTRAINT alert_state_pkey PRIMARY KEY,
	exceeded_since timestamptz,
	firing_since timestamptz,
	value float8,				-- when that changed last
	cleared_at timestamptz,
	times int8 NOT NULL			-- that it has fired
) USING heap;
SELECT pg_catalog.pg_extension_config_dump('taskq_internal.alert', '');
SELECT pg_catalog.pg_extension_config_dump('taskq_internal.alert_state', 'WHERE false');
COMMENT ON TABLE taskq_internal.alert IS 'alerts; look at them in view taskq.alert';
COMMENT ON TABLE taskq_internal.alert_state IS 'alerts that fire, or did';

CREATE FUNCTION taskq_internal.lately("window" interval, OUT queue text, OUT kind text, OUT outcome "char", OUT n int8)
RETURNS SETOF record LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
SELECT c.queue, c.kind, c.outcome, c.n
FROM (SELECT CASE WHEN $1 > interval '2 h' THEN 'h' ELSE 'm' END AS grain) g
CROSS JOIN LATERAL taskq_internal.counted(
	date_trunc(CASE g.grain WHEN 'h' THEN 'hour' ELSE 'minute' END, clock_timestamp() - $1, 'UTC'), NULL, g.grain::"char", 'l') c
$$;
COMMENT ON FUNCTION taskq_internal.lately(interval) IS 'how many attempts ended how, by queue and kind, in so long and the part of a minute or hour before it';

CREATE FUNCTION taskq_internal.unserved(OUT queue text, OUT kind text, OUT run_as name, OUT external bool, OUT waiting int8)
RETURNS SETOF record LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
SELECT n.queue, n.kind, r.name, k.handler IS NULL AND k.name IS NOT NULL, sum(l.waiting)::int8
FROM taskq_internal.lanes() l
JOIN taskq_internal.lane n ON n.id = l.lane
JOIN taskq_internal.role r ON r.id = n.role
LEFT JOIN taskq_internal.kind k ON k.name = n.kind
WHERE l.waiting > 0
	AND NOT EXISTS (SELECT FROM taskq_internal.pause p WHERE p.scope = 'a')
	AND n.queue NOT IN (SELECT p.name FROM taskq_internal.pause p WHERE p.scope = 'q')
	AND n.kind NOT IN (SELECT p.name FROM taskq_internal.pause p WHERE p.scope = 'k')
	AND CASE WHEN k.handler IS NULL AND k.name IS NOT NULL
		THEN NOT EXISTS (SELECT FROM taskq_internal.outsiders() o
			WHERE o.online AND (o.queues IS NULL OR n.queue = ANY (o.queues)) AND (o.kinds IS NULL OR n.kind = ANY (o.kinds)))
		ELSE NOT EXISTS (SELECT FROM taskq_internal.workers() w WHERE w.role = r.name) END
GROUP BY 1, 2, 3, 4
$$;
COMMENT ON FUNCTION taskq_internal.unserved() IS 'kinds and queues that have tasks which could run now, and no worker';

CREATE FUNCTION taskq_internal.alert_value(metric text, queue text, kind text, "window" interval) RETURNS float8
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
SELECT CASE $1
	WHEN 'queue_length' THEN (SELECT coalesce(sum(l.waiting), 0)
		FROM taskq_internal.lanes() l JOIN taskq_internal.lane n ON n.id = l.lane
		WHERE ($2 IS NULL OR n.queue = $2) AND ($3 IS NULL OR n.kind = $3))
	WHEN 'oldest' THEN (SELECT coalesce(max(extract(epoch FROM clock_timestamp() - greatest(t.created_at, t.run_at))), 0)
		FROM taskq.task_list(jsonb_strip_nulls(jsonb_build_object('state', 'pending', 'queue', $2, 'kind', $3)), 'oldest', n => 1) t)
	WHEN 'stalled' THEN (SELECT count(*) FROM taskq.stalled s
		WHERE ($2 IS NULL OR s.queue = $2) AND ($3 IS NULL OR s.kind = $3))
	WHEN 'failures' THEN (SELECT coalesce(sum(c.n), 0)
		FROM taskq_internal.lately($4) c
		WHERE c.outcome IN ('f', 't') AND ($2 IS NULL OR c.queue = $2) AND ($3 IS NULL OR c.kind = $3))
	WHEN 'failure_rate' THEN (SELECT 100.0 * sum(c.n) FILTER (WHERE c.outcome IN ('f', 't')) / nullif(sum(c.n), 0)
		FROM taskq_internal.lately($4) c
		WHERE c.outcome IN ('c', 'f', 't') AND ($2 IS NULL OR c.queue = $2) AND ($3 IS NULL OR c.kind = $3))
	WHEN 'no_worker' THEN (SELECT coalesce(sum(w.waiting), 0) FROM taskq_internal.unserved() w
		WHERE ($2 IS NULL OR w.queue = $2) AND ($3 IS NULL OR w.kind = $3))
	END::float8
$$;
COMMENT ON FUNCTION taskq_internal.alert_value(text, text, text, interval) IS 'what a metric of alerts is now; null: nothing is known';

CREATE FUNCTION taskq.alert_define(
	name text, metric text, threshold float8, "window" interval DEFAULT '1 min', queue text DEFAULT NULL, kind text DEFAULT NULL,
	clear_at float8 DEFAULT NULL, enabled bool DEFAULT true, description text DEFAULT NULL)
RETURNS void LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'taskq_alert_define';
COMMENT ON FUNCTION taskq.alert_define IS
'Create or replace an alert

metric: queue_length (tasks that could run now), oldest (seconds that the oldest of them has waited), stalled (running tasks without a sign of life for longer than usual), no_worker (tasks that could run now, of a queue that nobody serves), failure_rate (percent of the attempts in window that failed), failures (how many did). It fires when that is greater than threshold: for so long as window where the metric is a state, and at once where it is counted over window. It clears when it is no longer greater than clear_at, threshold unless told. queue, kind: only of these. Each change is sent by NOTIFY "taskq:alert".';

CREATE FUNCTION taskq.alert_drop(name text)
RETURNS void LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'taskq_alert_drop';
COMMENT ON FUNCTION taskq.alert_drop IS 'Drop an alert';

CREATE FUNCTION taskq.alert_enable(name text)
RETURNS void LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'taskq_alert_enable';
COMMENT ON FUNCTION taskq.alert_enable IS 'Look after an alert again';

CREATE FUNCTION taskq.alert_disable(name text)
RETURNS void LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'taskq_alert_disable';
COMMENT ON FUNCTION taskq.alert_disable IS 'Leave an alert alone until alert_enable; it fires no more';

-- Called by the dispatcher, alone in a database, every taskq.alert_interval while there is
-- something to do.  One statement writes all that has changed; what has not is not written.
CREATE FUNCTION taskq_internal.alerts_check(OUT fired int8, OUT again bool)
RETURNS record LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
WITH seen AS MATERIALIZED (
	SELECT a.name, a.metric, a.threshold, a.queue, a.kind, a.description, v.value, clock_timestamp() AS now,
		s.exceeded_since, s.firing_since, s.cleared_at, coalesce(s.times, 0) AS times,
		CASE WHEN a.metric IN ('failure_rate', 'failures') THEN interval '0' ELSE a."window" END AS patience,
		a.enabled AND coalesce(v.value > a.threshold, false) AS exceeds,
		NOT a.enabled OR coalesce(v.value <= a.clear_at, s.firing_since IS NULL) AS clears
	FROM taskq_internal.alert a LEFT JOIN taskq_internal.alert_state s ON s.name = a.name
	CROSS JOIN LATERAL (SELECT CASE WHEN a.enabled THEN taskq_internal.alert_value(a.metric, a.queue, a.kind, a."window") END AS value) v
), next AS MATERIALIZED (
	SELECT s.*,
		CASE WHEN s.exceeds THEN least(s.exceeded_since, s.now) WHEN NOT s.clears AND s.firing_since IS NOT NULL THEN s.exceeded_since END AS exceeded,
		CASE WHEN s.firing_since IS NOT NULL AND NOT s.clears THEN s.firing_since
			WHEN s.exceeds AND s.now - least(s.exceeded_since, s.now) >= s.patience THEN s.now END AS firing
	FROM seen s
), changed AS MATERIALIZED (
	SELECT n.*, (n.firing IS NOT NULL) <> (n.firing_since IS NOT NULL) AS turned
	FROM next n
	JOIN taskq_internal.alert a ON a.name = n.name
	WHERE n.exceeded IS DISTINCT FROM n.exceeded_since OR n.firing IS DISTINCT FROM n.firing_since
	-- not of one that is being dropped, which would leave something to the next of that name
	FOR KEY SHARE OF a SKIP LOCKED
), written AS (
	INSERT INTO taskq_internal.alert_state AS o (name, exceeded_since, firing_since, value, cleared_at, times)
	SELECT c.name, c.exceeded, c.firing, c.value,
		CASE WHEN c.turned AND c.firing IS NULL THEN c.now ELSE c.cleared_at END,
		c.times + (c.turned AND c.firing IS NOT NULL)::int
	FROM changed c
	ON CONFLICT (name) DO UPDATE SET exceeded_since = excluded.exceeded_since, firing_since = excluded.firing_since,
		value = excluded.value, cleared_at = excluded.cleared_at, times = excluded.times
	RETURNING o.name
), told AS MATERIALIZED (
	SELECT pg_notify('taskq:alert', jsonb_build_object('alert', c.name, 'state', CASE WHEN c.firing IS NULL THEN 'cleared' ELSE 'firing' END,
		'metric', c.metric, 'value', c.value, 'threshold', c.threshold, 'queue', c.queue, 'kind', c.kind)::text)
	FROM changed c WHERE c.turned
)
SELECT (SELECT count(*) FROM told) + 0 * (SELECT count(*) FROM written),
	EXISTS (SELECT FROM next n WHERE n.exceeded IS NOT NULL OR n.firing IS NOT NULL)
$$;
COMMENT ON FUNCTION taskq_internal.alerts_check() IS 'see which alerts fire, write and tell what has changed';

CREATE VIEW taskq.alert WITH (security_barrier) AS
SELECT a.name,
	CASE WHEN NOT a.enabled THEN 'disabled' WHEN s.firing_since IS NOT NULL THEN 'firing'
		WHEN s.exceeded_since IS NOT NULL THEN 'pending' ELSE 'ok' END AS state,
	a.metric, v.value, a.threshold, a.clear_at, a."window", a.queue, a.kind,
	s.firing_since, s.cleared_at, coalesce(s.times, 0) AS times, a.description, r.name AS owner, a.enabled, a.updated_at
FROM taskq_internal.alert a
LEFT JOIN taskq_internal.alert_state s ON s.name = a.name
LEFT JOIN taskq_internal.role r ON r.id = a.owner
CROSS JOIN LATERAL (SELECT taskq_internal.alert_value(a.metric, a.queue, a.kind, a."window") AS value) v;
COMMENT ON VIEW taskq.alert IS
'Alerts: what shall not be, and whether it is

For members of taskq_operator and taskq_monitor.';
COMMENT ON COLUMN taskq.alert.name IS 'name for alert_define';
COMMENT ON COLUMN taskq.alert.state IS 'ok, pending (above the threshold, but not for so long yet), firing, or disabled';
COMMENT ON COLUMN taskq.alert.metric IS 'what is looked at; see alert_define';
COMMENT ON COLUMN taskq.alert.value IS 'what that is now; null: nothing is known';
COMMENT ON COLUMN taskq.alert.threshold IS 'it fires when the value is greater';
COMMENT ON COLUMN taskq.alert.clear_at IS 'and clears when it is no longer greater than this';
COMMENT ON COLUMN taskq.alert."window" IS 'for so long, or counted over so long';
COMMENT ON COLUMN taskq.alert.queue IS 'only of this queue';
COMMENT ON COLUMN taskq.alert.kind IS 'only of this kind';
COMMENT ON COLUMN taskq.alert.firing_since IS 'since when it fires';
COMMENT ON COLUMN taskq.alert.cleared_at IS 'when it ceased to, last';
COMMENT ON COLUMN taskq.alert.times IS 'how often it has fired';
COMMENT ON COLUMN taskq.alert.description IS 'what alert_define was given';
COMMENT ON COLUMN taskq.alert.owner IS 'role that defined it';
COMMENT ON COLUMN taskq.alert.enabled IS 'false after alert_disable';
COMMENT ON COLUMN taskq.alert.updated_at IS 'when it was defined last';
