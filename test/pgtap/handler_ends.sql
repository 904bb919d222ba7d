-- However a handler leaves its transaction: its task is recorded, and the
-- next one finds nothing of it.
\ir include/prologue.psql
SELECT plan(27);

CREATE TABLE ends_effect (note text);
CREATE FUNCTION ends_do(p jsonb) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO public.ends_effect VALUES (p->>'do');
	EXECUTE p->>'do';
	RETURN 'done';
END $$;
SELECT taskq.kind_define('ends', 'ends_do(jsonb)', max_attempts => 1) \g /dev/null
-- what a session is like that nobody touched
CREATE FUNCTION ends_look(p jsonb) RETURNS text LANGUAGE sql AS $$
	SELECT concat_ws(' ', current_setting('transaction_read_only'), current_setting('transaction_isolation'), current_setting('lock_timeout'),
		current_setting('statement_timeout'), current_setting('search_path'), current_setting('session_replication_role'), current_setting('datestyle'),
		current_setting('constraint_exclusion'), current_setting('synchronous_commit'), current_setting('client_min_messages'), current_setting('role'))
$$;
SELECT taskq.kind_define('ends_look', 'ends_look(jsonb)') \g /dev/null
SELECT taskq.task_submit('ends_look') AS id \gset
SELECT t.result AS clean FROM taskq.task_wait(:'id') t \gset

CREATE TABLE ends_command (n serial, command text, id uuid);
INSERT INTO ends_command (command) VALUES
	('SET TRANSACTION READ ONLY'),
	('SET LOCAL lock_timeout = 1'),
	('SET lock_timeout = 1'),
	('SET statement_timeout = 1'),
	('SET search_path = nowhere'),
	('SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY'),
	('SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL SERIALIZABLE'),
	('SET synchronous_commit = off'),
	('SET session_replication_role = replica'),
	('SET datestyle = ''German'''),
	('SET row_security = off'),
	('SET client_min_messages = debug5');
UPDATE ends_command SET id = taskq.task_submit('ends', jsonb_build_object('do', command));
SELECT count(*) FROM taskq.task_wait_all(ARRAY(SELECT id FROM ends_command)) \g /dev/null
SELECT is((t.state, t.result #>> '{}')::text, '(completed,done)', 'a handler that ends with ' || c.command)
FROM ends_command c JOIN taskq.task t USING (id) ORDER BY c.n;
SELECT is(count(*)::int, 12, 'each left its effect') FROM ends_effect;

-- each of them followed by a look, in one worker or another
CREATE TABLE ends_seen (command text, id uuid);
INSERT INTO ends_seen
SELECT command, CASE WHEN look THEN taskq.task_submit('ends_look') ELSE taskq.task_submit('ends', jsonb_build_object('do', command)) END
FROM ends_command, unnest(ARRAY[false, true, true]) look ORDER BY n, look;
SELECT count(*) FROM taskq.task_wait_all(ARRAY(SELECT id FROM ends_seen)) \g /dev/null
SELECT is(array_agg(DISTINCT t.result), ARRAY[:'clean']::jsonb[], 'the next one finds its session clean after ' || s.command)
FROM ends_seen s JOIN taskq.task t USING (id) WHERE t.kind = 'ends_look' GROUP BY s.command ORDER BY s.command;

-- an open cursor, a temporary table dropped at commit, a large object
SELECT taskq.task_submit('ends', jsonb_build_object('do', command)) AS id INTO TEMP ends_more
FROM unnest(ARRAY['DECLARE ends CURSOR FOR SELECT 1', 'CREATE TEMP TABLE ends_temp ON COMMIT DROP AS SELECT 1',
	'CREATE TEMP TABLE ends_effect AS SELECT 1']) command;
SELECT is(count(*) FILTER (WHERE t.state = 'completed')::int, 3, 'open cursors and temporary tables do no harm')
FROM taskq.task_wait_all(ARRAY(SELECT id FROM ends_more)) t;
SELECT taskq.task_submit('ends', '{"do": "SELECT 1"}', tags => '{last}') AS id \gset
SELECT is(t.state, 'completed', 'tasks run after all of these') FROM taskq.task_wait(:'id') t;

SELECT * FROM finish();
