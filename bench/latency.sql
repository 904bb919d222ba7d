-- 300 tasks one after the other, 15 ms apart; milliseconds at p50, p99 and the most.
CREATE TEMP TABLE latency (ms float8);
CREATE PROCEDURE pg_temp.measure() LANGUAGE plpgsql AS $$
DECLARE
	id uuid;
	committed timestamptz;
BEGIN
	FOR i IN 1..300 LOOP
		id := taskq.task_submit('noop');
		COMMIT;
		committed := clock_timestamp();
		PERFORM taskq.task_wait(id);
		INSERT INTO latency VALUES (1000 * extract(epoch FROM clock_timestamp() - committed));
		PERFORM pg_sleep(0.015);
	END LOOP;
END $$;
CALL pg_temp.measure();
SELECT round(percentile_disc(p) WITHIN GROUP (ORDER BY ms)::numeric, 2)
FROM latency, unnest(ARRAY[0.5, 0.99, 1]) p GROUP BY p ORDER BY p;
