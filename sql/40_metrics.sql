/* ---------------------------------------------------------------- for Prometheus */

CREATE FUNCTION taskq.metrics() RETURNS taskq."*/*"
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
WITH c AS MATERIALIZED (
	SELECT c.kind, c.queue, CASE c.outcome WHEN 'c' THEN 'completed' WHEN 'f' THEN 'failed' WHEN 'x' THEN 'cancelled' ELSE 'retried' END AS state, sum(c.n) AS n
	FROM taskq_internal.counted(NULL, NULL, 'a', 'l') c GROUP BY 1, 2, 3),
h AS MATERIALIZED (
	SELECT c.kind, c.queue, sum(c.started) AS started, sum(c.run_us) / 1e6 AS run, sum(c.wait_us) / 1e6 AS wait,
		taskq_internal.histogram_sum(c.runs) AS runs, taskq_internal.histogram_sum(c.waits) AS waits,
		sum(taskq_internal.sparse(c.resources, 0) + taskq_internal.sparse(c.resources, 1)) / 1e6 AS cpu
	FROM taskq_internal.counted(NULL, NULL, 'a', 'l') c GROUP BY 1, 2),
g AS MATERIALIZED (SELECT t.state, t.kind, t.queue, sum(t.n) AS n FROM taskq.task_counts() t GROUP BY 1, 2, 3),
w AS MATERIALIZED (SELECT w.state, count(*) AS n FROM taskq.worker w GROUP BY 1),
-- bounds of buckets, so that the numbers are exact
le AS (SELECT 4 ^ i AS us, trim_scale(round((4 ^ i / 1e6)::numeric, 6))::text AS le FROM generate_series(4, 17) i),
sample(family, n, labels, value, suffix) AS (
	SELECT 1, 0, taskq_internal.labels('kind', c.kind, 'queue', c.queue, 'state', c.state), c.n::text, '' FROM c WHERE c.state <> 'retried'
	UNION ALL SELECT 2, 0, taskq_internal.labels('kind', c.kind, 'queue', c.queue), c.n::text, '' FROM c WHERE c.state = 'retried'
	UNION ALL SELECT 3, le.us::int8, taskq_internal.labels('kind', h.kind, 'queue', h.queue, 'le', le.le), taskq_internal.histogram_upto(h.runs, le.us::int8)::text, '_bucket' FROM h, le
	UNION ALL SELECT 3, 9e15, taskq_internal.labels('kind', h.kind, 'queue', h.queue, 'le', '+Inf'), h.started::text, '_bucket' FROM h
	UNION ALL SELECT 3, 9e15 + 1, taskq_internal.labels('kind', h.kind, 'queue', h.queue), trim_scale(h.run)::text, '_sum' FROM h
	UNION ALL SELECT 3, 9e15 + 2, taskq_internal.labels('kind', h.kind, 'queue', h.queue), h.started::text, '_count' FROM h
	UNION ALL SELECT 4, le.us::int8, taskq_internal.labels('kind', h.kind, 'queue', h.queue, 'le', le.le), taskq_internal.histogram_upto(h.waits, le.us::int8)::text, '_bucket' FROM h, le
	UNION ALL SELECT 4, 9e15, taskq_internal.labels('kind', h.kind, 'queue', h.queue, 'le', '+Inf'), h.started::text, '_bucket' FROM h
	UNION ALL SELECT 4, 9e15 + 1, taskq_internal.labels('kind', h.kind, 'queue', h.queue), trim_scale(h.wait)::text, '_sum' FROM h
	UNION ALL SELECT 4, 9e15 + 2, taskq_internal.labels('kind', h.kind, 'queue', h.queue), h.started::text, '_count' FROM h
	UNION ALL SELECT 5, 0, taskq_internal.labels('kind', h.kind, 'queue', h.queue), trim_scale(h.cpu)::text, '' FROM h
	UNION ALL SELECT 6, 0, taskq_internal.labels('state', g.state, 'kind', g.kind, 'queue', g.queue), g.n::text, '' FROM g
	UNION ALL SELECT 7, 0, taskq_internal.labels('state', s.state), coalesce(w.n, 0)::text, '' FROM (VALUES ('starting'), ('idle'), ('busy')) s(state) LEFT JOIN w ON w.state = s.state
	UNION ALL SELECT 8, 0, '', coalesce(current_setting('taskq.max_workers', true), '0'), ''
	UNION ALL SELECT 9, 0, taskq_internal.labels('queue', q.name), trim_scale(round(extract(epoch FROM greatest(clock_timestamp() - q.oldest, interval '0')), 3))::text, '' FROM taskq.queue q WHERE q.oldest IS NOT NULL
	UNION ALL SELECT 10, 0, taskq_internal.labels('queue', q.name), q.paused::int::text, '' FROM taskq.queue q
	UNION ALL SELECT 11, 0, '', count(*)::text, '' FROM taskq.stalled
	UNION ALL SELECT 12, 0, '', coalesce(v.running, false)::int::text, '' FROM taskq.server v
),
family(family, name, type, help) AS (VALUES
	(1, 'taskq_tasks_ended_total', 'counter', 'Tasks that came to their end.'),
	(2, 'taskq_attempts_retried_total', 'counter', 'Attempts that failed and were followed by another one.'),
	(3, 'taskq_run_seconds', 'histogram', 'How long attempts ran.'),
	(4, 'taskq_wait_seconds', 'histogram', 'How long attempts waited since they could run.'),
	(5, 'taskq_cpu_seconds_total', 'counter', 'Processor time that workers of the server used.'),
	(6, 'taskq_tasks', 'gauge', 'Tasks that there are, by state.'),
	(7, 'taskq_workers', 'gauge', 'Workers of the server in this database, by what they do.'),
	(8, 'taskq_max_workers', 'gauge', 'Workers that the server may have.'),
	(9, 'taskq_queue_oldest_seconds', 'gauge', 'How long the first task that could run has waited.'),
	(10, 'taskq_queue_paused', 'gauge', 'The queue is paused.'),
	(11, 'taskq_stalled_tasks', 'gauge', 'Running tasks that show no sign of life.'),
	(12, 'taskq_running', 'gauge', 'Tasks of this database are run.'))
SELECT
	-- what Prometheus calls its format, where it is asked for over HTTP
	coalesce(left(CASE WHEN current_setting('request.path', true) = '/rpc/metrics'
		THEN set_config('response.headers', '[{"Content-Type": "text/plain; version=0.0.4; charset=utf-8"}]', true) END, 0), '')
	|| string_agg(x.lines, '' ORDER BY x.family) FROM (
	SELECT f.family, format(E'# HELP %s %s\n# TYPE %s %s\n', f.name, f.help, f.name, f.type)
		|| string_agg(format(E'%s%s%s %s\n', f.name, s.suffix, s.labels, s.value), '' ORDER BY regexp_replace(s.labels, ',?le="[^"]*"', ''), s.n, s.labels) AS lines
	FROM family f JOIN sample s ON s.family = f.family GROUP BY f.family, f.name, f.help, f.type) x;
END;
COMMENT ON FUNCTION taskq.metrics() IS
'What Prometheus scrapes: counters, gauges and histograms of what the caller may see

In its text format, over HTTP as text/plain. Counters go on over restarts of the server; a crash may set them back by a minute. Bounds of the histograms are powers of four of a microsecond.';
