-- SQL commands as tasks.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS taskq;
RESET client_min_messages;

CREATE TABLE sql_t (a int, note text DEFAULT 'x');
CREATE FUNCTION sql_error(id uuid) RETURNS text LANGUAGE sql AS $$
	SELECT format('%s %s: %s', t.state, t.error->>'sqlstate', t.error->>'message') FROM taskq.task_status(id) t
$$;

-- a query, a data change
SELECT taskq.task_submit_sql('INSERT INTO sql_t SELECT generate_series(1, 10)') AS id \gset
SELECT state, ready, successful, kind, result, error FROM taskq.task_wait(:'id', '60 s');
SELECT count(*) FROM sql_t;

-- several: one transaction
SELECT taskq.task_submit_sql('INSERT INTO sql_t VALUES (11); UPDATE sql_t SET note = ''y''; DELETE FROM sql_t WHERE a = 1') AS id \gset
SELECT state, error FROM taskq.task_wait(:'id', '60 s');
SELECT count(*), min(a), max(a), min(note) FROM sql_t;
SELECT taskq.task_submit_sql('INSERT INTO sql_t VALUES (12); SELECT 1 / 0', max_attempts => 1) AS id \gset
SELECT state, ready FROM taskq.task_wait(:'id', '60 s');
SELECT sql_error(:'id');
SELECT count(*) FROM sql_t WHERE a = 12;
SELECT taskq.task_submit_sql('MERGE INTO sql_t USING (VALUES (2), (99)) v(a) ON sql_t.a = v.a WHEN MATCHED THEN DELETE WHEN NOT MATCHED THEN INSERT VALUES (v.a)') AS id \gset
SELECT state FROM taskq.task_wait(:'id', '60 s');
SELECT count(*) FILTER (WHERE a = 2), count(*) FILTER (WHERE a = 99) FROM sql_t;

-- commands that run in no transaction block
SELECT taskq.task_submit_sql('VACUUM sql_t') AS id \gset
SELECT state, error FROM taskq.task_wait(:'id', '60 s');
SELECT taskq.task_submit_sql('VACUUM (ANALYZE, FREEZE) sql_t; CREATE INDEX CONCURRENTLY sql_t_a ON sql_t (a); REINDEX INDEX CONCURRENTLY sql_t_a') AS id \gset
-- these wait for all older snapshots: the waiter must not hold one
CALL taskq.task_wait_long(:'id', '60 s');
SELECT state, result, error FROM taskq.task_status(:'id');
SELECT indisvalid FROM pg_index WHERE indexrelid = 'sql_t_a'::regclass;
SELECT reltuples > 0 AS analyzed FROM pg_class WHERE oid = 'sql_t'::regclass;

-- a procedure that commits and rolls back
CREATE PROCEDURE sql_steps(n int) LANGUAGE plpgsql AS $$
BEGIN
	FOR i IN 1..n LOOP
		INSERT INTO sql_t VALUES (1000 + i);
		IF i % 2 = 0 THEN COMMIT; ELSE ROLLBACK; END IF;
	END LOOP;
END $$;
SELECT taskq.task_submit_sql('CALL sql_steps(4)') AS id \gset
SELECT state, error FROM taskq.task_wait(:'id', '60 s');
SELECT array_agg(a ORDER BY a) FROM sql_t WHERE a > 1000;
SELECT taskq.task_submit_sql('DO $$ BEGIN INSERT INTO sql_t VALUES (2001); COMMIT; INSERT INTO sql_t VALUES (2002); RAISE EXCEPTION ''after the commit''; END $$', max_attempts => 1) AS id \gset
SELECT state, ready FROM taskq.task_wait(:'id', '60 s');
SELECT sql_error(:'id');
SELECT array_agg(a ORDER BY a) FROM sql_t WHERE a > 2000;

-- with any such command, each one runs in a transaction of its own
SELECT taskq.task_submit_sql('INSERT INTO sql_t VALUES (3001); CREATE TABLE sql_u (a int); INSERT INTO sql_t VALUES (3002); SELECT 1 / 0; INSERT INTO sql_t VALUES (3003)', max_attempts => 1) AS id \gset
SELECT state, ready FROM taskq.task_wait(:'id', '60 s');
SELECT sql_error(:'id');
SELECT array_agg(a ORDER BY a) FROM sql_t WHERE a > 3000;
SELECT to_regclass('sql_u');

-- or as the text says
SELECT taskq.task_submit_sql('BEGIN; INSERT INTO sql_t VALUES (5001); COMMIT; BEGIN; INSERT INTO sql_t VALUES (5002); ROLLBACK') AS id \gset
SELECT state, error FROM taskq.task_wait(:'id', '60 s');
SELECT array_agg(a ORDER BY a) FROM sql_t WHERE a > 5000;
SELECT taskq.task_submit_sql('BEGIN; INSERT INTO sql_t VALUES (5003)', max_attempts => 1) AS id \gset
SELECT state FROM taskq.task_wait(:'id', '60 s');
SELECT sql_error(:'id');
SELECT count(*) FROM sql_t WHERE a = 5003;
SELECT taskq.task_submit_sql('BEGIN; INSERT INTO sql_t VALUES (5004); SELECT 1 / 0; COMMIT', max_attempts => 1) AS id \gset
SELECT state FROM taskq.task_wait(:'id', '60 s');
SELECT sql_error(:'id');
SELECT count(*) FROM sql_t WHERE a = 5004;

-- the result: what each command did, and the rows of the last query
SELECT taskq.task_submit_sql('UPDATE sql_t SET note = ''z'' WHERE a < 5; SELECT 1 AS one, ''two'' AS two UNION ALL SELECT 3, NULL ORDER BY 1') AS id \gset
SELECT state, result FROM taskq.task_wait(:'id', '60 s');

-- it may report progress and know its task
SELECT taskq.task_submit_sql('SELECT taskq.progress(3, 4, ''three of four''); INSERT INTO sql_t SELECT 4001, id FROM taskq.current_task()') AS id \gset
SELECT state, current, total, message FROM taskq.task_wait(:'id', '60 s');
SELECT note = :'id' AS own FROM sql_t WHERE a = 4001;

-- what a task cannot do
SELECT taskq.task_submit_sql('BEGIN; PREPARE TRANSACTION ''sql''', max_attempts => 1) AS id \gset
SELECT state FROM taskq.task_wait(:'id', '60 s');
SELECT count(*) FROM pg_prepared_xacts WHERE gid = 'sql';
SELECT taskq.task_submit_sql('COPY sql_t TO STDOUT', max_attempts => 1) AS id \gset
SELECT state FROM taskq.task_wait(:'id', '60 s');
SELECT sql_error(:'id');
SELECT taskq.task_submit_sql('COPY sql_t FROM STDIN', max_attempts => 1) AS id \gset
SELECT state FROM taskq.task_wait(:'id', '60 s');
SELECT sql_error(:'id');
SELECT taskq.task_submit_sql('LISTEN sql_channel', max_attempts => 1) AS id \gset
SELECT state FROM taskq.task_wait(:'id', '60 s');

-- text with nothing in it to run completes, text with an error in it fails
SELECT taskq.task_submit_sql(' -- nothing', max_attempts => 1) AS id \gset
SELECT state, result FROM taskq.task_wait(:'id', '60 s');
SELECT taskq.task_submit_sql(';;', max_attempts => 1) AS id \gset
SELECT state, result FROM taskq.task_wait(:'id', '60 s');
SELECT taskq.task_submit_sql('SELEC 1', max_attempts => 1) AS id \gset
SELECT state FROM taskq.task_wait(:'id', '60 s');
SELECT sql_error(:'id');

-- the error tells what is missing
SELECT taskq.task_submit_sql('SELECT * FROM no_such_table', max_attempts => 1) AS id \gset
SELECT state FROM taskq.task_wait(:'id', '60 s');
SELECT sql_error(:'id');
