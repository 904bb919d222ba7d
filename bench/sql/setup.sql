-- Kinds of taskq, and the floors in SQL: a table of the same columns and indexes
-- (floor_plain), one with an index of what is ready in addition, to be claimed with
-- SKIP LOCKED (floor_task), and a queue that is read and archived as pgmq does it.
CREATE EXTENSION taskq;
CREATE TABLE written (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, at timestamptz DEFAULT now());
CREATE FUNCTION noop(p jsonb) RETURNS void LANGUAGE plpgsql AS $$BEGIN END$$;
CREATE FUNCTION write_row(p jsonb) RETURNS void LANGUAGE plpgsql AS $$BEGIN INSERT INTO written DEFAULT VALUES; END$$;
CREATE FUNCTION read_payload(p jsonb) RETURNS void LANGUAGE plpgsql AS $$BEGIN PERFORM length(p->>'text'); END$$;
CREATE FUNCTION mixed(p jsonb) RETURNS void LANGUAGE plpgsql AS $$BEGIN
	IF p->>'sleep' IS NOT NULL THEN PERFORM pg_sleep((p->>'sleep')::float8); END IF;
END$$;
CREATE FUNCTION nap(p jsonb) RETURNS void LANGUAGE plpgsql AS $$BEGIN PERFORM pg_sleep(0.01); END$$;
CREATE FUNCTION nap_long(p jsonb) RETURNS void LANGUAGE plpgsql AS $$BEGIN PERFORM pg_sleep(3600); END$$;
CREATE FUNCTION fails(p jsonb) RETURNS void LANGUAGE plpgsql AS $$BEGIN RAISE 'failed'; END$$;
CREATE FUNCTION fans(p jsonb) RETURNS void LANGUAGE plpgsql AS $$BEGIN PERFORM count(*) FROM taskq.task_submit_many('noop', array_fill('{}'::jsonb, ARRAY[50000])); END$$;
SELECT taskq.kind_define('nap', 'nap(jsonb)'), taskq.kind_define('nap_long', 'nap_long(jsonb)', max_attempts => 1);
SELECT taskq.kind_define('noop', 'noop(jsonb)'), taskq.kind_define('noop_batch', 'noop(jsonb)', batch => true),
	taskq.kind_define('write_row', 'write_row(jsonb)'), taskq.kind_define('write_row_batch', 'write_row(jsonb)', batch => true),
	taskq.kind_define('read_payload', 'read_payload(jsonb)'), taskq.kind_define('read_payload_batch', 'read_payload(jsonb)', batch => true),
	taskq.kind_define('mixed', 'mixed(jsonb)');

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
-- marks: others shall see what runs, so it is marked and committed first, and each
-- is finished by itself.
CREATE PROCEDURE floor_drain(marks bool, writes bool DEFAULT false) LANGUAGE plpgsql AS $$
DECLARE
	ids uuid[];
BEGIN
	LOOP
		IF marks THEN
			WITH claimed AS (
				UPDATE floor_task SET state = 'r', started_at = clock_timestamp()
				WHERE id IN (SELECT id FROM floor_task WHERE state = 'p' ORDER BY id LIMIT 100 FOR UPDATE SKIP LOCKED)
				RETURNING id)
			SELECT array_agg(id) INTO ids FROM claimed;
			COMMIT;
		ELSE
			SELECT array_agg(id) INTO ids FROM (
				SELECT id FROM floor_task WHERE state = 'p' ORDER BY id LIMIT 100 FOR UPDATE SKIP LOCKED) t;
		END IF;
		EXIT WHEN ids IS NULL;
		FOR i IN 1..cardinality(ids) LOOP
			IF writes THEN
				PERFORM write_row('{}');
			ELSE
				PERFORM noop('{}');
			END IF;
			IF marks THEN
				UPDATE floor_task SET state = 'c', finished_at = clock_timestamp() WHERE id = ids[i];
			END IF;
		END LOOP;
		IF NOT marks THEN
			UPDATE floor_task SET state = 'c', finished_at = clock_timestamp() WHERE id = ANY (ids);
		END IF;
		COMMIT;
	END LOOP;
END $$;

-- The same with payloads, which the handler gets.
CREATE PROCEDURE floor_drain_payload() LANGUAGE plpgsql AS $$
DECLARE
	t record;
	ids uuid[];
BEGIN
	LOOP
		ids := NULL;
		FOR t IN SELECT id, payload FROM floor_task WHERE state = 'p' ORDER BY id LIMIT 100 FOR UPDATE SKIP LOCKED LOOP
			PERFORM read_payload(t.payload);
			ids := ids || t.id;
		END LOOP;
		EXIT WHEN ids IS NULL;
		UPDATE floor_task SET state = 'c', finished_at = clock_timestamp() WHERE id = ANY (ids);
		COMMIT;
	END LOOP;
END $$;

-- pgmq: a message is hidden for a while when it is read, and moved when it is done.
CREATE TABLE pgmq_task (msg_id bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY, read_ct int DEFAULT 0 NOT NULL,
	enqueued_at timestamptz DEFAULT now() NOT NULL, vt timestamptz DEFAULT clock_timestamp() NOT NULL, message jsonb) WITH (fillfactor = 70);
CREATE INDEX ON pgmq_task (vt);
CREATE TABLE pgmq_archive (msg_id bigint PRIMARY KEY, read_ct int, enqueued_at timestamptz, archived_at timestamptz DEFAULT now(), vt timestamptz, message jsonb);
CREATE INDEX ON pgmq_archive (archived_at);
CREATE PROCEDURE pgmq_drain() LANGUAGE plpgsql AS $$
DECLARE
	ids bigint[];
BEGIN
	LOOP
		WITH next AS (SELECT msg_id FROM pgmq_task WHERE vt <= clock_timestamp() ORDER BY msg_id LIMIT 100 FOR UPDATE SKIP LOCKED),
		hidden AS (UPDATE pgmq_task m SET vt = clock_timestamp() + interval '30 s', read_ct = read_ct + 1 FROM next WHERE m.msg_id = next.msg_id RETURNING m.msg_id)
		SELECT array_agg(msg_id) INTO ids FROM hidden;
		COMMIT;
		EXIT WHEN ids IS NULL;
		WITH done AS (DELETE FROM pgmq_task WHERE msg_id = ANY (ids) RETURNING msg_id, read_ct, enqueued_at, vt, message)
		INSERT INTO pgmq_archive (msg_id, read_ct, enqueued_at, vt, message) SELECT * FROM done;
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

-- Until the workers that are there now have completed so many.
CREATE PROCEDURE wait_completed(n bigint) LANGUAGE plpgsql AS $$
BEGIN
	LOOP
		EXIT WHEN (SELECT coalesce(sum(completed), 0) FROM taskq.worker) >= n;
		COMMIT;
		PERFORM pg_sleep(0.005);
	END LOOP;
END $$;

-- Tasks that wait for others; the last one's end is the end.
CREATE TABLE chain_end (id uuid);
CREATE PROCEDURE submit_chain(kind text, n int) LANGUAGE plpgsql AS $$
DECLARE
	link uuid := taskq.task_submit(kind);
BEGIN
	FOR i IN 2..n LOOP
		link := taskq.task_submit(kind, depends_on => ARRAY[link]);
	END LOOP;
	DELETE FROM chain_end;
	INSERT INTO chain_end VALUES (link);
END $$;
CREATE PROCEDURE submit_gather(kind text, n int) LANGUAGE plpgsql AS $$
BEGIN
	DELETE FROM chain_end;
	INSERT INTO chain_end SELECT taskq.task_submit(kind, depends_on =>
		ARRAY(SELECT taskq.task_submit_many(kind, array_fill('{}'::jsonb, ARRAY[n]))));
END $$;
CREATE PROCEDURE wait_chain() LANGUAGE plpgsql AS $$
BEGIN
	LOOP
		EXIT WHEN (SELECT t.ready FROM chain_end c, taskq.task_wait(c.id) t);
		COMMIT;
	END LOOP;
END $$;
