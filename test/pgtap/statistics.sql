-- What tasks did is counted, and added up by kind, queue, worker, tag and time.
\ir include/prologue.psql
SELECT plan(62);

CREATE FUNCTION stat_work(p jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	IF p ? 'fail' THEN
		RAISE EXCEPTION 'no' USING ERRCODE = p->>'fail';
	END IF;
	RETURN p;
END $$;
SELECT taskq.kind_define('stat_a', 'stat_work(jsonb)', max_attempts => 2, backoff => '10 ms') \g /dev/null
SELECT taskq.kind_define('stat_b', 'stat_work(jsonb)', max_attempts => 1, batch => true, queue => 'stat_queue') \g /dev/null
SELECT taskq.kind_define('stat_e') \g /dev/null

-- how many attempts of a kind came to each outcome
CREATE FUNCTION outcomes(of_kind text) RETURNS jsonb LANGUAGE sql AS $$
SELECT coalesce(jsonb_object_agg(c.outcome, c.n), '{}') FROM (
	SELECT c.outcome, sum(c.n) AS n FROM taskq_internal.counted(now() - interval '5 min', NULL, 'm', 'l') c WHERE c.kind = of_kind GROUP BY 1) c
$$;

/* ---- what counts ---- */

SELECT taskq.task_submit_many('stat_a', array_fill('{}'::jsonb, ARRAY[50])) \g /dev/null
SELECT taskq.task_submit('stat_a', '{"fail": "22023"}', tags => '{red,green}') AS failed \gset
SELECT array_agg(id) AS batch FROM taskq.task_submit_many('stat_b', array_fill('{}'::jsonb, ARRAY[500])) id \gset
CALL wait_state(:'failed', 'failed');
SELECT taskq.task_wait_all(:'batch', '50 s') \g /dev/null
SELECT is(outcomes('stat_a'), '{"c": 50, "f": 1, "t": 1}', 'completed ones, failed ones, and attempts that were followed by others are counted');
SELECT is(outcomes('stat_b'), '{"c": 500}', 'so are those that share transactions, each once');

SELECT is((SELECT sum(started) FROM taskq_internal.counted(now() - interval '5 min', NULL, 'm', 'l') c
	WHERE c.kind = 'stat_b'), 500::numeric, 'each has a wait and a run time');
SELECT is((SELECT sum(n) FROM taskq_internal.counted(now() - interval '5 min', NULL, 'm', 'w') WHERE name ~ '^worker-\d+$'), 552::numeric, 'and its worker');
SELECT bag_eq('SELECT name, outcome::text, n::int FROM taskq_internal.counted(now() - interval ''5 min'', NULL, ''m'', ''t'')',
	$$VALUES ('red', 't', 1), ('green', 't', 1), ('red', 'f', 1), ('green', 'f', 1)$$, 'and its tags');

BEGIN;
SELECT taskq.task_submit('stat_a', run_at => now() + interval '1 day') AS later \gset
COMMIT;
BEGIN;
SELECT taskq.task_cancel(:'later') \g /dev/null
ROLLBACK;
SELECT is(outcomes('stat_a')->'x', NULL, 'what is rolled back does not count');
BEGIN;
SAVEPOINT a;
SELECT taskq.task_cancel(:'later') \g /dev/null
ROLLBACK TO a;
SAVEPOINT b;
SELECT taskq.task_cancel(:'later') \g /dev/null
RELEASE b;
COMMIT;
SELECT is(outcomes('stat_a')->'x', '1', 'nor what a savepoint undoes; what one keeps counts once');

SELECT taskq.task_submit('stat_e') \g /dev/null
SELECT id AS claimed, token FROM taskq.task_claim('out there', kinds => '{stat_e}') \gset
SELECT taskq.task_complete(:'claimed', :'token') \g /dev/null
SELECT is(outcomes('stat_e'), '{"c": 1}', 'external workers count');
SELECT is((SELECT sum(n) FROM taskq_internal.counted(now() - interval '5 min', NULL, 'm', 'w') WHERE name = 'out there'), 1::numeric, 'by their names');

-- many at once
SELECT taskq.kind_pause('stat_a') \g /dev/null
SELECT count(*) FROM taskq.task_submit_many('stat_a', array_fill('{}'::jsonb, ARRAY[5000])) \g /dev/null
SELECT * FROM taskq.queue_clear('default') \g /dev/null
SELECT taskq.kind_resume('stat_a') \g /dev/null
SELECT is(outcomes('stat_a')->'x', '5001', 'thousands in one transaction');

/* ---- numbers that add up ---- */

SELECT is((SELECT max(abs(taskq_internal.histogram_quantile(ARRAY[taskq_internal.histogram_bucket(us), 1], 0.5) / us - 1)) < 0.126
	FROM (SELECT (1.7 ^ i)::int8 AS us FROM generate_series(3, 50) i) u), true, 'a time is known to an eighth');
SELECT is((SELECT taskq_internal.histogram_sum(h) FROM (VALUES ('{3,1,9,2}'::int8[]), ('{9,5}'), (NULL), ('{700,1}')) v(h)), '{3,1,9,7}', 'histograms add up');
SELECT is(taskq_internal.histogram_quantile('{}', 0.5), NULL, 'of nothing there is no median');
SELECT is((SELECT count(DISTINCT b) FROM (SELECT taskq_internal.histogram_bucket(i) b FROM generate_series(0, 100) i) b),
	23::int8, 'four buckets to each power of two');

/* ---- how many tasks there are ---- */

-- as the counters have it, and as the tables do
CREATE VIEW stat_counters AS SELECT kind, state, sum(n)::int8 AS n FROM taskq.task_counts() GROUP BY 1, 2;
CREATE VIEW stat_tables AS SELECT kind, state, count(*) AS n FROM taskq.task GROUP BY 1, 2;
CREATE FUNCTION counters_are_right(what text) RETURNS text LANGUAGE sql AS $$
SELECT set_eq('SELECT * FROM stat_counters', 'SELECT * FROM stat_tables', what)
$$;
SELECT counters_are_right('all that was done so far is counted by state and kind');
SELECT taskq.task_submit('stat_e', run_at => now() + interval '1 day') AS scheduled, taskq.task_submit('stat_e') AS pending \gset
SELECT taskq.task_submit('stat_e', depends_on => ARRAY[:'pending'::uuid]) AS blocked \gset
SELECT counters_are_right('scheduled, pending, blocked ones');
SELECT taskq.task_set_priority(:'pending', 7), taskq.task_set_priority(:'scheduled', 7) \g /dev/null
SELECT counters_are_right('another priority');
SELECT is((SELECT string_agg(format('%s %s %s', state, priority, n), ', ') FROM taskq.task_counts() WHERE kind = 'stat_e' AND priority = 7),
	'pending 7 1, scheduled 7 1', '... they are counted by it, and in order');
SELECT is((SELECT count(*) FROM taskq.task_counts()), (SELECT count(DISTINCT (state, kind, queue, priority, run_as)) FROM taskq.task_counts()), 'each in one row');
SELECT id AS claimed, token FROM taskq.task_claim('out there', kinds => '{stat_e}') \gset
SELECT counters_are_right('claimed ones run');
SELECT taskq.task_fail(:'claimed', :'token', 'again') \g /dev/null
SELECT counters_are_right('retrying ones');
SELECT taskq.task_cancel(:'pending'), taskq.task_delete(:'failed') \g /dev/null
CALL wait_state(:'blocked', 'cancelled');
SELECT counters_are_right('cancelled and deleted ones');
BEGIN;
SELECT taskq.task_cancel(:'scheduled') \g /dev/null
ROLLBACK;
SELECT counters_are_right('not what is rolled back');
SELECT taskq.task_submit('stat_e', '{"n": 1}', delay => '1 day', unique_key => 'stat') \g /dev/null
SELECT taskq.task_submit('stat_e', '{"n": 2}', delay => '2 days', unique_key => 'stat', on_conflict => 'replace') \g /dev/null
SELECT counters_are_right('one that replaced another');
DELETE FROM taskq_internal.task t USING taskq_internal.lane n WHERE n.id = t.lane AND n.kind = 'stat_b';
SELECT taskq.task_recount() \g /dev/null
SELECT counters_are_right('what was done by hand, counted anew');
SELECT ok(error_of('SELECT taskq.task_recount()') = 'none', 'as often as one likes');

/* ---- statistics of the past: rows as the dispatcher writes them ---- */

SELECT taskq.kind_define('past', 'stat_work(jsonb)', category => 'old', indexed => '{thing}') \g /dev/null
SELECT taskq.task_submit('past', run_at => 'infinity') AS past \gset
SELECT n.id AS lane, n.role FROM taskq_internal.lane n WHERE n.kind = 'past' \gset

-- so many attempts that ended then, each after such a wait and run, in ms
CREATE FUNCTION past(ago interval, outcome "char", n int8, wait_ms int8, run_ms int8, type "char" DEFAULT 'l', name text DEFAULT '', tenant text DEFAULT '') RETURNS void
LANGUAGE sql AS $$
INSERT INTO taskq_internal.rollup AS r
SELECT left(unit, 1)::"char", date_trunc(unit, now() - ago, 'UTC'), hashtextextended(concat_ws(' ', type, outcome, name, tenant), 1), type, outcome,
	(SELECT CASE WHEN type = 'l' THEN l.id ELSE l.role END FROM taskq_internal.lane l WHERE l.kind = 'past'), tenant, name,
	n, n, n * wait_ms * 1000, n * run_ms * 1000, run_ms * 1000,
	ARRAY[taskq_internal.histogram_bucket(wait_ms * 1000), n], ARRAY[taskq_internal.histogram_bucket(run_ms * 1000), n], '{}'
FROM unnest('{minute,hour,day}'::text[]) unit
ON CONFLICT (span, at, key) DO UPDATE SET n = r.n + excluded.n, started = r.started + excluded.started,
	wait_us = r.wait_us + excluded.wait_us, run_us = r.run_us + excluded.run_us, waits = r.waits || excluded.waits, runs = r.runs || excluded.runs
$$;

SELECT past('2 hours', 'c', 90, 10, 100), past('3 hours', 'f', 10, 10, 1000), past('30 hours', 'c', 100, 10, 200),
	past('2 hours', 'c', 60, 10, 100, 't', 'red'), past('2 hours', 'c', 30, 10, 100, 'm', 'thing=x'), past('2 hours', 'c', 5, 10, 100, 'w', 'ancient') \g /dev/null
SELECT past('10 days', 'c', 1000, 10, 100), past('40 days', 'c', 500, 10, 100) \g /dev/null

CREATE TEMP TABLE past_kind AS SELECT * FROM taskq.statistics_by('24 hours') WHERE key = 'past';
SELECT results_eq('SELECT total, completed, failed, success_rate FROM past_kind', 'VALUES (100::int8, 90::int8, 10::int8, 90.0)', 'a day, by kind');
SELECT is((SELECT mean_run FROM past_kind), interval '190 ms', 'the mean is exact');
SELECT ok((SELECT p50_run BETWEEN interval '87 ms' AND interval '113 ms' AND p95_run BETWEEN interval '875 ms' AND interval '1125 ms' FROM past_kind),
	'the median and the 95th percentile are so to an eighth');
SELECT is((SELECT mean_wait FROM past_kind), interval '10 ms', 'how long they waited');
SELECT is((SELECT bool_and(p50_run <= p95_run AND p95_run <= p99_run AND p99_run <= max_run) FROM taskq.statistics_by('30 days')), true,
	'no percentile is above the maximum');
SELECT is((SELECT (completed, failed, mean_run)::text FROM taskq.statistics_by('24 hours', include_failed => false) WHERE key = 'past'),
	(90, 0, interval '100 ms')::text, 'without failed ones');
SELECT is((SELECT completed FROM taskq.statistics_by('24 hours', 'category') WHERE key = 'old'), 90::int8, 'by category');
SELECT is((SELECT completed FROM taskq.statistics_by('24 hours', 'tag') WHERE key = 'red'), 60::int8, 'by tag');
SELECT is((SELECT completed FROM taskq.statistics_by('24 hours', 'thing') WHERE key = 'x'), 30::int8, 'by a member of the payload that kinds name');
SELECT is((SELECT completed FROM taskq.statistics_by('24 hours', 'worker') WHERE key = 'ancient'), 5::int8, 'by worker, also one that is gone');
SELECT is((SELECT completed FROM taskq.statistics_by('30 days') WHERE key = 'past'), 1190::int8, '30 days');
SELECT is((SELECT completed FROM taskq.statistics_by('1 hour') WHERE key = 'past'), NULL, 'nothing in the last hour');
SELECT is(error_of($$SELECT taskq.statistics('24 hours', 'other')$$), '22023', 'by something else: an error');
SELECT is(error_of($$SELECT taskq.statistics('0')$$), '22023', 'of no time: an error');

SELECT s->'summary' AS summary, s->'groups'->'past' AS past_group, s->'performance_trends' AS trends FROM taskq.statistics() s \gset
SELECT is(:'past_group'::jsonb - '{throughput,run,wait}'::text[],
	'{"total": 100, "completed": 90, "failed": 10, "cancelled": 0, "retried": 0, "success_rate": 90.0, "average_time": "190.0 ms", "average_seconds": 0.190000}',
	'as JSON, without arguments');
SELECT ok((:'summary'::jsonb->>'success_rate')::numeric BETWEEN 5 AND 100 AND (:'summary'::jsonb->>'total_tasks')::int > 600, 'and in all');
SELECT is(:'trends'::jsonb->>'completion_time_trend', 'decreasing', 'a trend against the day before');

SELECT is(taskq_internal.trend(v, b, w), t, coalesce(t, 'unknown') || ' is a trend')
FROM (VALUES (1.0, 2.0, 0.1, 'decreasing'), (2.0, 1.0, 0.1, 'increasing'), (1.0, 1.05, 0.1, 'stable'), (1.0, NULL, 0.1, NULL)) v(v, b, w, t);

SELECT results_eq($$SELECT at, completed, failed FROM taskq.statistics_history('24 hours', 'category') WHERE key = 'old'$$,
	$$VALUES (date_trunc('hour', now() - interval '3 hours', 'UTC'), 0::int8, 10::int8), (date_trunc('hour', now() - interval '2 hours', 'UTC'), 90, 0)$$,
	'over time, a row an hour');
SELECT past('2 hours', '-', 1, 4000, 1000, 'b'), past('2 hours', '-', 60, 5, 1, 'q', 'default') \g /dev/null
SELECT is((SELECT (queue_length, worker_utilization)::text FROM taskq.statistics_history('24 hours') WHERE at = date_trunc('hour', now() - interval '2 hours', 'UTC')),
	'(5000.0,25.0)', 'the length of queues and the work of workers over time');
SELECT is(taskq.statistics('24 hours')->'performance_trends'->>'queue_length_trend', NULL, 'no trend where there was nothing to compare with');

/* ---- in one call ---- */

SELECT m AS metrics, (SELECT jsonb_object_agg(state, n) FROM (SELECT state, sum(n) AS n FROM stat_tables GROUP BY 1) t) AS t FROM taskq.task_metrics(3) m \gset
SELECT is(:'metrics'::jsonb - 'recent_tasks' - 'success_rate' - 'total_tasks', jsonb_build_object('active_tasks', 0, 'completed_tasks', :'t'::jsonb->'completed',
	'failed_tasks', 0, 'pending_tasks', (:'t'::jsonb->>'scheduled')::int + coalesce((:'t'::jsonb->>'retrying')::int, 0)), 'metrics, from counters');
SELECT is(:'metrics'::jsonb->'success_rate', '1.00', 'the success rate is a fraction');
SELECT is(jsonb_array_length(:'metrics'::jsonb->'recent_tasks'), 3, 'with recent tasks');
SELECT taskq.kind_define('app.stat.periodic_health_check', 'stat_work(jsonb)', max_attempts => 1) \g /dev/null
SELECT taskq.task_submit('app.stat.periodic_health_check', '{"fail": "22023"}') AS health \gset
CALL wait_state(:'health', 'failed');
SELECT results_eq('SELECT name, status, description, error_message FROM taskq.task_recent(1)',
	$$VALUES ('Periodic Health Check', 'failed', 'Task failed: no', 'no')$$, 'the last one that ended, in words');
SELECT is(s - '{by_type,total_tasks}'::text[] || '{"average_completion_time": 0}', jsonb_build_object('by_status', jsonb_build_object('queued', (:'t'::jsonb->>'scheduled')::int
	+ coalesce((:'t'::jsonb->>'retrying')::int, 0), 'running', 0, 'completed', :'t'::jsonb->'completed', 'failed', 1, 'cancelled', :'t'::jsonb->'cancelled'),
	'active_workers', 0, 'queue_length', 0, 'average_completion_time', 0), 'a summary by status') FROM taskq.task_summary() s;
SELECT taskq.metrics() AS m \gset
SELECT ok(position(E'\n# TYPE taskq_run_seconds histogram\n' IN :'m') > 0, 'metrics have types');
SELECT is((regexp_match(:'m', 'taskq_tasks_ended_total\{kind="stat_b",queue="stat_queue",state="completed"\} (\d+)'))[1], '500', 'and numbers');
SELECT is(taskq_internal.labels('kind', E'a"b\\c\nd'), E'{kind="a\\"b\\\\c\\nd"}', 'names of whatever sort');

-- members of real tasks, and secrets
SELECT taskq.kind_define('stat_n', 'stat_work(jsonb)', indexed => '{token}') \g /dev/null
SELECT taskq.kind_define('stat_m', 'stat_work(jsonb)', indexed => '{thing}', secret => '{token}') \g /dev/null
SELECT taskq.task_submit('stat_m', '{"thing": "y", "token": "hush"}') AS secret \gset
CALL wait_state(:'secret', 'completed');
SELECT is((SELECT completed FROM taskq.statistics_by('1 hour', 'thing') WHERE key = 'y'), 1::int8, 'by a member, of a task that has just ended');
SELECT is((SELECT count(*) FROM taskq_internal.counted(NULL, NULL, 'd', 'm') WHERE name ~ 'hush'), 0::int8, 'secrets are not counted by their values');
SELECT is(error_of($$SELECT taskq.statistics('24 hours', 'token')$$), '22023', 'nor does one group by them');

-- nobody's but who may see them
CREATE ROLE stat_stranger LOGIN;
GRANT taskq_user TO stat_stranger;
SET ROLE stat_stranger;
SELECT is((SELECT count(*) FROM taskq.statistics_by('30 days') UNION ALL SELECT count(*) FROM taskq.statistics_by('30 days', 'tag')
	EXCEPT SELECT 0), NULL, 'another role gets nothing');
RESET ROLE;
DROP OWNED BY stat_stranger;
DROP ROLE stat_stranger;

SELECT * FROM finish();
