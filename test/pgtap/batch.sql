-- Kinds whose tasks share transactions.
\ir include/prologue.psql
SELECT plan(24);

CREATE TABLE batch_effect (task uuid, n int, xid xid8 DEFAULT pg_current_xact_id(), note text);
CREATE TABLE batch_once (n int UNIQUE DEFERRABLE INITIALLY DEFERRED);

-- leaves an effect and a session full of residue, and looks for that of others
CREATE FUNCTION batch_work(p jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
	found text := '';
BEGIN
	IF current_setting('batch.residue', true) <> '' THEN found := found || ' setting'; END IF;
	IF current_setting('work_mem') = '1234kB' THEN found := found || ' work_mem'; END IF;
	IF to_regclass('pg_temp.batch_temp') IS NOT NULL THEN found := found || ' temp'; END IF;
	IF EXISTS (SELECT FROM pg_prepared_statements) THEN found := found || ' prepared'; END IF;
	IF EXISTS (SELECT FROM pg_cursors WHERE name = 'batch_cursor') THEN found := found || ' cursor'; END IF;
	IF EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()) THEN found := found || ' lock'; END IF;
	IF p ? 'fail' THEN
		RAISE EXCEPTION 'task % fails', p->'n';
	END IF;
	IF p ? 'once' THEN
		INSERT INTO batch_once VALUES ((p->>'once')::int);
	END IF;
	IF p ? 'residue' THEN
		PERFORM set_config('batch.residue', 'left', false);
		SET work_mem = '1234kB';
		CREATE TEMP TABLE batch_temp ();
		EXECUTE 'PREPARE batch_statement AS SELECT 1';
		EXECUTE 'DECLARE batch_cursor CURSOR WITH HOLD FOR SELECT 1';
		PERFORM pg_advisory_lock(4711);
	END IF;
	IF p ? 'sleep' THEN
		PERFORM taskq.progress(1, 2, 'sleeping');
		PERFORM pg_sleep((p->>'sleep')::float8);
	END IF;
	INSERT INTO batch_effect (task, n, note) SELECT id, (p->>'n')::int, found FROM taskq.current_task();
	RETURN jsonb_build_object('n', p->'n', 'xid', pg_current_xact_id()::text, 'found', found);
END $$;
SELECT taskq.kind_define('batch', 'batch_work(jsonb)', max_attempts => 1, batch => true) \g /dev/null
SELECT is(batch, true, 'a kind may be defined so') FROM taskq.kind WHERE name = 'batch';

-- submits so many, with something special for one of them, and lets them run at once
CREATE PROCEDURE batch_run(tag text, n int, special jsonb DEFAULT '{}', special_n int DEFAULT 0) LANGUAGE plpgsql AS $$
BEGIN
	PERFORM taskq.queue_pause('default');
	PERFORM taskq.task_submit('batch', jsonb_build_object('n', i) || CASE WHEN i = special_n THEN special ELSE '{}' END, tags => ARRAY[tag])
	FROM generate_series(1, n) i;
	PERFORM taskq.queue_resume('default');
	COMMIT;
	WHILE EXISTS (SELECT FROM taskq.task WHERE tags = ARRAY[tag] AND NOT ready) LOOP
		COMMIT;
		PERFORM pg_sleep(0.01);
	END LOOP;
END $$;
ALTER SYSTEM SET taskq.max_workers = 1;
CALL reload();

-- the first ones tell how long they take, and that it works
CALL batch_run('warm', 300);
CALL batch_run('plain', 100);
SELECT is(count(*)::int, 100, 'all of them are completed') FROM taskq.task WHERE tags = '{plain}' AND state = 'completed';
SELECT is(count(*)::int, 100, '... each once') FROM batch_effect e JOIN taskq.task t ON t.id = e.task WHERE t.tags = '{plain}';
SELECT cmp_ok(count(DISTINCT e.xid)::int, '<', 100, '... several in one transaction') FROM batch_effect e JOIN taskq.task t ON t.id = e.task WHERE t.tags = '{plain}';
SELECT is(bool_and(t.result->>'xid' = e.xid::text AND t.result->'n' = t.payload->'n'), true, '... with the results of their own') FROM batch_effect e JOIN taskq.task t ON t.id = e.task WHERE t.tags = '{plain}';
SELECT is(bool_and(attempt = 1 AND worker IS NOT NULL AND started_at <= finished_at), true, '... attempts, workers and times') FROM taskq.task WHERE tags = '{plain}';
SELECT is(array_agg((payload->>'n')::int ORDER BY started_at, id), (SELECT array_agg(i) FROM generate_series(1, 100) i), '... in order') FROM taskq.task WHERE tags = '{plain}';

-- one that fails
CALL batch_run('fail', 50, '{"fail": 1}', 20);
SELECT is(string_agg(payload->>'n' || ' ' || state || ' ' || (error->>'message'), ','), '20 failed task 20 fails', 'one that fails is the only one') FROM taskq.task WHERE tags = '{fail}' AND state <> 'completed';
SELECT is(count(*)::int, 49, '... the others have run once') FROM batch_effect e JOIN taskq.task t ON t.id = e.task WHERE t.tags = '{fail}';
SELECT is(bool_and(attempt = 1), true, '... with one attempt') FROM taskq.task WHERE tags = '{fail}';

-- a constraint that is checked at the end of the transaction
CALL batch_run('warm again', 200);
INSERT INTO batch_once VALUES (1);
CALL batch_run('deferred', 50, '{"once": 1}', 30);
SELECT is(string_agg(payload->>'n' || ' ' || state || ' ' || (error->>'sqlstate'), ','), '30 failed 23505', 'one that breaks a deferred constraint is found out') FROM taskq.task WHERE tags = '{deferred}' AND state <> 'completed';
SELECT is(count(*)::int, 49, '... the others have run once') FROM batch_effect e JOIN taskq.task t ON t.id = e.task WHERE t.tags = '{deferred}';

-- residue
CALL batch_run('warm once more', 200);
CALL batch_run('residue', 50, '{"residue": 1}', 10);
SELECT is(count(*)::int, 50, 'a task that leaves a mess') FROM taskq.task WHERE tags = '{residue}' AND state = 'completed';
SELECT is(string_agg(DISTINCT e.note, ','), '', '... leaves nothing for the next') FROM batch_effect e JOIN taskq.task t ON t.id = e.task WHERE t.tags = '{residue}';
SELECT cmp_ok(max(c)::int, '>', 1, '... in the same transaction') FROM (SELECT count(*) AS c FROM batch_effect e JOIN taskq.task t ON t.id = e.task WHERE t.tags = '{residue}' GROUP BY e.xid) x;

-- cancelled in the middle
CALL batch_run('warm up', 300);
SELECT taskq.queue_pause('default') \g /dev/null
SELECT count(taskq.task_submit('batch', jsonb_build_object('n', i) || CASE WHEN i = 15 THEN '{"sleep": 600}'::jsonb ELSE '{}' END, tags => '{cancel}')) FROM generate_series(1, 30) i \g /dev/null
SELECT taskq.queue_resume('default') \g /dev/null
SELECT id AS sleeper FROM taskq.task WHERE tags = '{cancel}' AND payload ? 'sleep' \gset
CALL wait_state(:'sleeper', 'running');
SELECT is(t.message, 'sleeping', 'the progress of one that takes long shows') FROM (SELECT 1) x, LATERAL (SELECT message FROM taskq.task WHERE id = :'sleeper' AND message IS NOT NULL) t;
SELECT is(c.cancelled, true, 'it is cancelled') FROM taskq.task_cancel(:'sleeper', 'enough') c;
SELECT is(t.state || ' ' || t.cancel_reason, 'cancelled enough', '... and is not run again for that') FROM taskq.task_wait(:'sleeper', '50 s') t;
CALL batch_run('after', 1);
SELECT is(string_agg(state || ' ' || c, ',' ORDER BY state), 'cancelled 1,completed 29', '... the others are completed') FROM (SELECT state, count(*) AS c FROM taskq.task WHERE tags = '{cancel}' GROUP BY state) s;
SELECT is(count(*)::int, 29, '... each once') FROM batch_effect e JOIN taskq.task t ON t.id = e.task WHERE t.tags = '{cancel}';

-- one that runs out of time
SELECT taskq.kind_define('batch', 'batch_work(jsonb)', max_attempts => 1, batch => true, timeout => '1 s') \g /dev/null
CALL batch_run('warm for time', 300);
CALL batch_run('timeout', 30, '{"sleep": 600}', 12);
SELECT is(string_agg(payload->>'n' || ' ' || state || ' ' || (error->>'sqlstate'), ','), '12 failed 57014', 'one that runs out of time is the only one') FROM taskq.task WHERE tags = '{timeout}' AND state <> 'completed';
SELECT is(count(*)::int, 29, '... the others have run once') FROM batch_effect e JOIN taskq.task t ON t.id = e.task WHERE t.tags = '{timeout}';

-- children
CREATE FUNCTION batch_parent(p jsonb) RETURNS void LANGUAGE sql AS $$ SELECT taskq.task_submit('batch', '{"n": 0}', tags => '{child}') $$;
SELECT taskq.kind_define('batch_parent', 'batch_parent(jsonb)', batch => true) \g /dev/null
SELECT count(*) FROM taskq.task_submit_many('batch_parent', array_fill('{}'::jsonb, ARRAY[100])) \g /dev/null
DO $$
BEGIN
	WHILE EXISTS (SELECT FROM taskq.task WHERE kind IN ('batch', 'batch_parent') AND NOT ready) LOOP
		COMMIT;
		PERFORM pg_sleep(0.01);
	END LOOP;
END $$;
SELECT is(count(*)::int || ' ' || count(DISTINCT parent), '100 100', 'tasks submit others as children of their own') FROM taskq.task WHERE tags = '{child}' AND state = 'completed';
SELECT is(count(*)::int, 0, 'nothing has failed that should not') FROM taskq.task WHERE kind = 'batch_parent' AND state <> 'completed';

ALTER SYSTEM RESET taskq.max_workers;
CALL reload();
SELECT * FROM finish();
