-- A no-op kind, and the SQL floor: a table of the same shape and indexes (floor_plain), and
-- one with an index of what is ready in addition, to be claimed with SKIP LOCKED (floor_task).
CREATE EXTENSION taskq;
CREATE FUNCTION noop(p jsonb) RETURNS void LANGUAGE plpgsql AS $$BEGIN END$$;
SELECT taskq.kind_define('noop', 'noop(jsonb)');

CREATE TABLE floor_task (LIKE taskq_internal.task) WITH (fillfactor = 40);
ALTER TABLE floor_task ADD PRIMARY KEY (id, slot);
CREATE INDEX ON floor_task (lane, id);
CREATE TABLE floor_plain (LIKE floor_task) WITH (fillfactor = 40);
ALTER TABLE floor_plain ADD PRIMARY KEY (id, slot);
CREATE INDEX ON floor_plain (lane, id);
CREATE INDEX floor_ready ON floor_task (id) WHERE state = 'p';

CREATE FUNCTION floor_insert() RETURNS void LANGUAGE sql AS $$
	INSERT INTO floor_plain (id, lane, slot, attempt, state, payload)
	VALUES (gen_random_uuid(), 1, 1, 0, 'p', '{}')
$$;

-- Claim 100, call the handler for each, finish them, commit; until nothing is left.
CREATE PROCEDURE floor_drain() LANGUAGE plpgsql AS $$
DECLARE
	ids uuid[];
BEGIN
	LOOP
		SELECT array_agg(id) INTO ids FROM (
			SELECT id FROM floor_task WHERE state = 'p' ORDER BY id LIMIT 100 FOR UPDATE SKIP LOCKED) t;
		EXIT WHEN ids IS NULL;
		FOR i IN 1..cardinality(ids) LOOP
			PERFORM noop('{}');
		END LOOP;
		UPDATE floor_task SET state = 'c', finished_at = clock_timestamp() WHERE id = ANY (ids);
		COMMIT;
	END LOOP;
END $$;

CREATE PROCEDURE wait_drained() LANGUAGE plpgsql AS $$
BEGIN
	LOOP
		EXIT WHEN NOT EXISTS (SELECT FROM taskq.queue WHERE name = 'default' AND waiting + running > 0);
		COMMIT;
		PERFORM pg_sleep(0.01);
	END LOOP;
END $$;
