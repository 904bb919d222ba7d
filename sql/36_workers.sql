/* ---------------------------------------------------------------- workers */

CREATE FUNCTION taskq.cluster_summary() RETURNS jsonb LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
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
