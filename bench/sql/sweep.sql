-- Tasks of more than a day ago, in three leaves: :done finished ones and, spread among
-- them, :waiting ones of a queue that is paused.
SELECT taskq.queue_define('held'), taskq.queue_pause('held') \g /dev/null
SELECT taskq.task_submit('noop') AS done_id, taskq.task_submit('noop', queue => 'held') AS held_id \gset
SELECT state FROM taskq.task_wait(:'done_id') \g /dev/null
SELECT lane AS done_lane FROM taskq_internal.task WHERE id = :'done_id' \gset
SELECT lane AS held_lane FROM taskq_internal.task WHERE id = :'held_id' \gset
INSERT INTO taskq_internal.task (id, lane, slot, attempt, state, payload, started_at, finished_at, worker)
SELECT (lpad(to_hex(ms), 12, '0') || '7' || substr(r, 14, 3) || to_hex(128 + leaf) || substr(r, 19, 14))::uuid,
	CASE WHEN waits THEN :held_lane ELSE :done_lane END, leaf, CASE WHEN waits THEN 0 ELSE 1 END,
	CASE WHEN waits THEN 'p' ELSE 'c' END, '{}',
	CASE WHEN NOT waits THEN to_timestamp(ms / 1000.0) END, CASE WHEN NOT waits THEN to_timestamp(ms / 1000.0) END,
	CASE WHEN NOT waits THEN 'worker-1' END
FROM (SELECT i, i % ((:done + :waiting) / :waiting) = 0 AS waits, md5(i::text) AS r,
		(extract(epoch FROM date_bin('2 hours', now() - interval '30 hours', 'epoch')) * 1000)::bigint +
			(i * 21600000::numeric / (:done + :waiting + 1))::bigint AS ms
	FROM generate_series(1, :done + :waiting) i) t,
	LATERAL (SELECT (ms / 7200000 % 16)::int AS leaf) l;

CREATE OR REPLACE FUNCTION old_left() RETURNS bool LANGUAGE sql AS $$
	SELECT EXISTS (SELECT FROM taskq_internal.task
		WHERE slot <> 16 AND id < (lpad(to_hex((extract(epoch FROM now() - interval '25 hours') * 1000)::bigint), 12, '0') || repeat('0', 20))::uuid)
$$;
-- how late the timers were that were due since, ms
CREATE OR REPLACE FUNCTION timers_late(since timestamptz) RETURNS numeric LANGUAGE sql AS $$
	SELECT coalesce(round(1000 * extract(epoch FROM max(started_at - run_at)), 1), 0)
	FROM taskq_internal.task WHERE run_at >= since AND state = 'c'
$$;
