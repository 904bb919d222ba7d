-- Returns when graphile-worker has worked everything off.
CREATE OR REPLACE PROCEDURE graphile_wait() LANGUAGE plpgsql AS $$
BEGIN
	LOOP
		EXIT WHEN NOT EXISTS (SELECT FROM graphile_worker._private_jobs);
		COMMIT;
		PERFORM pg_sleep(0.01);
	END LOOP;
END $$;
