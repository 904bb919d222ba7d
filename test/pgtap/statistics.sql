-- What tasks did is counted, and added up by kind, queue, worker, tag and time.
\ir include/prologue.psql
SELECT plan(14);

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
SELECT taskq.task_wait_all(:'batch', '30 s') \g /dev/null
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

SELECT * FROM finish();
