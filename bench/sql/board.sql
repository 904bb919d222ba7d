-- What a board is opened over: :tasks finished tasks of :kinds kinds (one in a hundred failed, one
-- in ten is of tenant acme), 100,000 that wait in 1,000 queues, which are paused.  All of them were
-- submitted and run, so that counters and statistics have them, too.
\set ON_ERROR_STOP 1
SET client_min_messages = warning;

SELECT format('SELECT taskq.kind_define(%L, %L, batch => true, max_attempts => 1, category => %L)', 'kind_' || i, 'noop(jsonb)', 'category ' || i % 10)
	FROM generate_series(1, :kinds) i
UNION ALL SELECT 'SELECT taskq.kind_define(''broken'', ''fails(jsonb)'', max_attempts => 1)'
UNION ALL SELECT format('SELECT taskq.queue_define(%1$L), taskq.queue_pause(%1$L)', 'queue_' || i) FROM generate_series(1, 1000) i \gexec

CREATE PROCEDURE fill(kind text, n int, options jsonb) LANGUAGE plpgsql AS $$
BEGIN
	PERFORM count(*) FROM taskq.task_submit_many(kind, array_fill('{"file": "holiday.mp4", "size": 12345}'::jsonb, ARRAY[n]), options => options);
	COMMIT;
	-- not millions that wait at a time
	WHILE (SELECT sum(c.n) FROM taskq.task_counts() c WHERE c.state IN ('pending', 'running')) > 200000 LOOP
		COMMIT;
		PERFORM pg_sleep(0.05);
	END LOOP;
END $$;
SELECT format('CALL fill(%L, %s, %L)', 'kind_' || i, :tasks * 99 / 100 / :kinds, CASE WHEN i % 10 = 0 THEN '{"tenant": "acme"}' END) FROM generate_series(1, :kinds) i
UNION ALL SELECT format('CALL fill(''broken'', %s, NULL)', :tasks / 100) \gexec
DO $$ BEGIN
	WHILE EXISTS (SELECT FROM taskq.task_counts() c WHERE c.state IN ('pending', 'running') AND c.n > 0) LOOP
		COMMIT;
		PERFORM pg_sleep(0.1);
	END LOOP;
END $$;
SELECT format('SELECT count(*) FROM taskq.task_submit_many(%L, array_fill(''{}''::jsonb, ARRAY[100]), queue => %L)', 'kind_' || 1 + i % :kinds, 'queue_' || i) FROM generate_series(1, 1000) i \gexec
