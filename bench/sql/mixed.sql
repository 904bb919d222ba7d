-- 5,000 tasks of one kind; 3 of them take a second.  Seconds until the last short one is done.
SELECT taskq.queue_pause('default') \g /dev/null
SELECT count(taskq.task_submit('mixed', jsonb_build_object('sleep', CASE WHEN i IN (1000, 2000, 3000) THEN 1 END))) FROM generate_series(1, 5000) i \g /dev/null
SELECT clock_timestamp() AS start \gset
SELECT taskq.queue_resume('default') \g /dev/null
CALL wait_drained();
SELECT round(extract(epoch FROM max(finished_at) - :'start')::numeric, 2) FROM taskq.task
WHERE kind = 'mixed' AND created_at > :'start'::timestamptz - interval '1 min' AND payload->>'sleep' IS NULL
	AND finished_at > :'start';
