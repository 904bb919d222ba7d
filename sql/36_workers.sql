/* ---------------------------------------------------------------- workers */

CREATE FUNCTION taskq.cluster_summary() RETURNS jsonb LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
WITH w AS MATERIALIZED (SELECT * FROM taskq.worker)
SELECT jsonb_build_object(
	'total_workers', count(w.name),
	'active_workers', count(*) FILTER (WHERE w.state = 'busy'),
	'idle_workers', count(*) FILTER (WHERE w.state IN ('idle', 'starting')),
	'offline_workers', count(*) FILTER (WHERE w.state = 'offline'),
	'internal_workers', count(*) FILTER (WHERE w.type = 'internal'),
	'external_workers', count(*) FILTER (WHERE w.type = 'external'),
	'total_capacity', c.capacity,
	'current_utilization', coalesce(sum(w.running), 0),
	'utilization_percentage', round(100.0 * coalesce(sum(w.running), 0) / nullif(c.capacity, 0), 1),
	'tasks_completed', coalesce(sum(w.completed), 0),
	'tasks_failed', coalesce(sum(w.failed), 0),
	'success_rate', round(100.0 * sum(w.completed) / nullif(sum(w.completed + w.failed), 0), 1),
	'average_task_time', sum(w.busy) / nullif(sum(w.completed + w.failed), 0)::float8,
	'cpu_percent', sum(w.cpu_percent),
	'peak_memory', max(w.peak_memory))
FROM (SELECT coalesce(current_setting('taskq.max_workers', true)::int, 0)
		+ coalesce(sum(coalesce((o.limits->>'max_concurrent_tasks')::int, greatest(o.running, 1))), 0) AS capacity
	FROM w o WHERE o.type = 'external' AND o.state <> 'offline') c
LEFT JOIN w ON true
GROUP BY c.capacity
$$;
COMMENT ON FUNCTION taskq.cluster_summary() IS
'The workers in one JSON object: how many are active, idle, offline, and how much of what they can do is in use

Of the workers in view taskq.worker, which are those of the caller''s roles. total_capacity is taskq.max_workers, of the whole server, and what external workers that are not offline ask for at a time.';

CREATE FUNCTION taskq.task_active(n int DEFAULT 50) RETURNS jsonb LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
SELECT jsonb_build_object('tasks', coalesce(jsonb_agg(a.task ORDER BY a.place), '[]'), 'count', count(*), 'limit', n)
FROM (
	SELECT row_number() OVER () AS place, jsonb_strip_nulls(jsonb_build_object(
		'task_id', l.id, 'name', l.kind, 'queue', l.queue,
		'state', CASE l.state WHEN 'running' THEN 'ACTIVE' WHEN 'reserved' THEN 'RESERVED' ELSE 'SCHEDULED' END,
		'worker', l.worker, 'started_at', l.started_at,
		'eta', CASE WHEN l.state IN ('scheduled', 'retrying') AND isfinite(l.run_at) THEN l.run_at END)) AS task
	FROM (
		SELECT * FROM taskq.task_list('{"state": "running"}', 'oldest', NULL, n)
		UNION ALL
		SELECT * FROM taskq.task_list('{"state": "reserved"}', 'oldest', NULL, n)
		UNION ALL
		SELECT * FROM taskq.task_list('{"state": ["scheduled", "retrying"]}', 'oldest', NULL, n)
	) l
	LIMIT n
) a
$$;
COMMENT ON FUNCTION taskq.task_active(int) IS
'What workers run (ACTIVE) or have set aside (RESERVED), and what waits for its time (SCHEDULED, with eta), in Celery''s words

At most n tasks that the caller may see, as one JSON object of tasks, count and limit. A scheduled task has no worker: whoever is free when it is due runs it.';
