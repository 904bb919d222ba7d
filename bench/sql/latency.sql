-- Tasks one after the other, with a pause between: the milliseconds of each, from
-- its submit's commit to the return of task_wait.
CREATE TEMP TABLE latency (ms float8);
SELECT set_config('bench.n', :'n', false), set_config('bench.pause', :'pause', false) \g /dev/null
CREATE PROCEDURE pg_temp.measure() LANGUAGE plpgsql AS $$
DECLARE
	id uuid;
	committed timestamptz;
BEGIN
	-- the first ones find no worker
	FOR i IN -4..current_setting('bench.n')::int LOOP
		id := taskq.task_submit('noop');
		COMMIT;
		committed := clock_timestamp();
		PERFORM taskq.task_wait(id);
		INSERT INTO latency VALUES (1000 * extract(epoch FROM clock_timestamp() - committed));
		PERFORM pg_sleep(current_setting('bench.pause')::float8);
	END LOOP;
END $$;
CALL pg_temp.measure();
SELECT round(ms::numeric, 2) FROM latency OFFSET 5;
