-- Kinds that are there with and without other tasks, and the procedures that the board shows.
CREATE EXTENSION pg_stat_statements;
CREATE FUNCTION noop(p jsonb) RETURNS void LANGUAGE plpgsql AS $$BEGIN END$$;
CREATE FUNCTION fails(p jsonb) RETURNS void LANGUAGE plpgsql AS $$BEGIN RAISE 'failed'; END$$;
CREATE FUNCTION long(p jsonb) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	FOR i IN 1 .. 36000 LOOP
		PERFORM pg_sleep(0.1), taskq.progress(i, 36000, 'step ' || i);
	END LOOP;
END$$;
SELECT taskq.kind_define('noop', 'noop(jsonb)'), taskq.kind_define('long', 'long(jsonb)', max_attempts => 1);
SELECT taskq.kind_define('served', 'noop(jsonb)', run_as => 'app_runner'), taskq.kind_grant('served', 'web_operator');
SELECT taskq.schedule_define('nightly', kind => 'noop', every => '1 day'), taskq.alert_define('many', 'queue_length', 1000000000);
