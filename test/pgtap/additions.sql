-- What a superuser has added to the tables is filled, kept and checked by every way
-- that rows are written.  (Indexes and rebuilding them: t/040_dba_objects.pl.)
\ir include/prologue.psql
SELECT plan(12);

CREATE SEQUENCE numbers;
ALTER TABLE taskq_internal.task ADD COLUMN note text DEFAULT 'noted', ADD COLUMN gone int, ADD COLUMN number int DEFAULT nextval('numbers') NOT NULL,
	ADD COLUMN customer text GENERATED ALWAYS AS (payload->>'customer') STORED, ADD CONSTRAINT customer_known CHECK (customer IS NULL OR customer <> 'nobody');
ALTER TABLE taskq_internal.task DROP COLUMN gone;
CREATE INDEX additions_customer ON taskq_internal.task (customer, state) WHERE customer IS NOT NULL;
CREATE INDEX additions_upper ON taskq_internal.task (upper(payload->>'customer'));
ALTER TABLE taskq_internal.kind ADD COLUMN note text DEFAULT 'k';
ALTER TABLE taskq_internal.timer ADD COLUMN note text;
ALTER TABLE taskq_internal.lease ADD COLUMN note text DEFAULT 'l';
ALTER TABLE taskq_internal.lane ADD COLUMN note text DEFAULT 'lane';
ALTER TABLE taskq_internal.ready ADD COLUMN note text DEFAULT 'ready';
ALTER TABLE taskq_internal.watermark ADD COLUMN note text;
CREATE FUNCTION fails_once(p jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	IF (SELECT attempt FROM taskq.current_task()) = 1 THEN PERFORM taskq.retry('1 ms'); END IF;
	RETURN p;
END $$;
CREATE PROCEDURE wait_many(kind_name text, n int) LANGUAGE plpgsql AS $$
BEGIN
	WHILE (SELECT count(*) FROM taskq.task WHERE kind = kind_name AND state = 'completed') < n LOOP
		COMMIT;
		PERFORM pg_sleep(0.01);
	END LOOP;
END $$;
SELECT taskq.kind_define('additions', 'fails_once(jsonb)'), taskq.kind_define('additions_outside'), taskq.kind_define('additions_many', 'echo(jsonb)');
SELECT taskq.kind_define('additions', 'fails_once(jsonb)', description => 'again');
SELECT is((SELECT note || ' ' || description FROM taskq_internal.kind WHERE name = 'additions'), 'k again', 'a kind that is defined anew keeps the column');

SELECT taskq.task_submit('additions', '{"customer": "c1"}') AS one, taskq.task_submit('additions', jsonb_build_object('customer', 'c2', 'large', repeat(md5('x'), 5000)), delay => '1 ms') AS two \gset
UPDATE taskq_internal.task SET note = 'by hand' WHERE id = :'one';
SELECT is((SELECT state FROM taskq.task_wait(:'one')), 'completed', 'a task that is tried again');
SELECT is((SELECT state FROM taskq.task_wait(:'two')), 'completed', 'a scheduled one with a large payload');
SELECT is((SELECT array_agg(note || ' ' || customer ORDER BY customer) FROM taskq_internal.task WHERE id IN (:'one', :'two')),
	'{"by hand c1","noted c2"}', 'defaults are filled in, values by hand and computed ones are kept');
SELECT count(*) AS many FROM taskq.task_submit_many('additions_many', (SELECT array_agg(jsonb_build_object('customer', 'm' || g, 'large', repeat('x', g * 30))) FROM generate_series(1, 200) g)) \gset
CALL wait_many('additions_many', 200);
SELECT is((SELECT count(DISTINCT number) FROM taskq_internal.task WHERE customer LIKE 'm%'), 200::bigint, 'each row of many has a default of its own');
SELECT taskq.task_submit('additions_outside', '{"customer": "out"}') AS outside \gset
SELECT token FROM taskq.task_claim('w') \gset
SELECT cancel_requested FROM taskq.task_heartbeat(:'outside', :'token', message => 'half') \gset
SELECT is((SELECT note FROM taskq_internal.lease WHERE task = :'outside'), 'l', 'a lease keeps its column');
SELECT lives_ok(format('SELECT taskq.task_complete(%L, %L)', :'outside', :'token'), 'an external task completes');
SELECT throws_ok($$SELECT taskq.task_submit('additions', '{"customer": "nobody"}')$$, '23514', NULL, 'a constraint is kept');

-- who may use what was added, but nothing of taskq's own
CREATE ROLE additions_user LOGIN;
GRANT taskq_user TO additions_user;
GRANT USAGE ON SEQUENCE numbers TO additions_user;
SET SESSION AUTHORIZATION additions_user;
SELECT taskq.task_submit('additions', '{"customer": "u"}') AS one \gset
SELECT is((SELECT state FROM taskq.task_wait(:'one')), 'completed', 'a task of a role without further rights');
SELECT throws_ok($$SELECT taskq.task_submit('additions', '{"customer": "nobody"}')$$, '23514', NULL, '... for which the constraint holds too');
RESET SESSION AUTHORIZATION;

SET enable_seqscan = off;
SET jit = off;
SELECT is((SELECT count(*) FROM taskq_internal.task WHERE customer IS NOT NULL AND customer > '' AND state = 'c'), 204::bigint, 'the partial index has them all');
SELECT is((SELECT count(*) FROM taskq_internal.task WHERE upper(payload->>'customer') >= 'A'), 204::bigint, 'so has that of an expression');
RESET enable_seqscan;
SELECT * FROM finish();
