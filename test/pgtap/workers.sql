-- What attempts use, the options in effect, and who works.
\ir include/prologue.psql
SELECT plan(28);

CREATE TABLE resources_table (n int, filler text);
CREATE FUNCTION resources_handler(p jsonb) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	-- processor time of its own, whatever else runs on this machine
	IF p->>'do' IN ('spin', 'once') AND (p->>'do' = 'spin' OR (taskq.current_task()).attempt = 1) THEN
		DECLARE
			n bigint := 0;
			ticks timestamptz := clock_timestamp();
		BEGIN
			WHILE n < 2000000 OR clock_timestamp() < ticks + interval '20 ms' LOOP n := n + 1; END LOOP;
		END;
	END IF;
	IF p->>'do' = 'write' THEN
		INSERT INTO resources_table SELECT g, repeat('x', 1000) FROM generate_series(1, 3000) g;
	END IF;
	IF p->>'do' = 'sort' THEN
		PERFORM count(*) FROM (SELECT g FROM generate_series(1, 200000) g ORDER BY md5(g::text)) s;
	END IF;
	IF (p->>'fail')::int >= (taskq.current_task()).attempt THEN
		RAISE 'so it shall be';
	END IF;
	PERFORM pg_sleep(0.02 * coalesce((p->>'sleep')::int, 0));
END $$;
SELECT count(x::text) FROM (VALUES
	(taskq.kind_define('resources', 'resources_handler(jsonb)', max_attempts => 3, backoff => '10 ms', timeout => '1 min')),
	(taskq.kind_define('resources_sort', 'resources_handler(jsonb)', settings => '{"work_mem": "64kB"}', retry_on => '{23505,40}', max_running => 3)),
	(taskq.kind_define('resources_batch', 'resources_handler(jsonb)', batch => true)),
	(taskq.kind_define('resources_plain', 'echo(jsonb)')),
	(taskq.kind_define('resources_outside'))) v(x) \g /dev/null

-- an attempt that ran for long
SELECT taskq.task_submit('resources', '{"do": "spin"}') AS id \gset
SELECT is(t.state, 'completed', 'a task that takes processor time') FROM taskq.task_wait(:'id') t;
SELECT cmp_ok((t.resources->>'cpu_user')::numeric + (t.resources->>'cpu_system')::numeric, '>', 0.0, '... has it in its row') FROM taskq.task_status(:'id') t;
SELECT cmp_ok((t.resources->>'cpu_percent')::numeric, '>', 0.0, '... also as a part of its run time') FROM taskq.task_status(:'id') t;
SELECT cmp_ok((t.resources->>'peak_memory')::bigint, '>', 1000000::bigint, '... and its process''s memory') FROM taskq.task_status(:'id') t;
SELECT is(a.resources, t.resources, '... and the attempt says the same') FROM taskq.task_status(:'id') t, taskq.task_attempts(:'id') a;
SELECT is(v.resources, t.resources, '... as the view does') FROM taskq.task_status(:'id') t, taskq.task v WHERE v.id = :'id';

-- what is written, and spilled
SELECT taskq.task_submit('resources', '{"do": "write", "sleep": 1}') AS id \gset
SELECT is(t.state, 'completed', 'a task that writes 3 MB') FROM taskq.task_wait(:'id') t;
SELECT cmp_ok((t.resources->>'wal_bytes')::bigint, '>', 3000000::bigint, '... in its WAL') FROM taskq.task_status(:'id') t;
SELECT cmp_ok((t.resources->>'blocks_dirtied')::bigint, '>', 300::bigint, '... and in its blocks') FROM taskq.task_status(:'id') t;
SELECT taskq.task_submit('resources_sort', '{"do": "sort", "sleep": 1}') AS id \gset
SELECT is(t.state, 'completed', 'a task that sorts with little memory') FROM taskq.task_wait(:'id') t;
SELECT cmp_ok((t.resources->>'temp_bytes')::bigint, '>', 1000000::bigint, '... writes temporary files') FROM taskq.task_status(:'id') t;

-- each attempt has its own
SELECT taskq.task_submit('resources', '{"do": "once", "fail": 1}') AS id \gset
SELECT is((t.state, t.attempt)::text, '(completed,2)', 'a task whose first attempt takes long and fails') FROM taskq.task_wait(:'id') t;
SELECT ok(a.resources IS NOT NULL AND b.resources IS DISTINCT FROM a.resources, '... has what that one used, and not so the short one after it')
FROM taskq.task_attempts(:'id') a, taskq.task_attempts(:'id') b WHERE a.attempt = 1 AND b.attempt = 2;
SELECT taskq.task_submit('resources_batch', '{"do": "spin"}') AS id \gset
SELECT cmp_ok((t.resources->>'cpu_user')::numeric, '>', 0.0, 'so is a task of a kind whose tasks share transactions') FROM taskq.task_wait(:'id') t;
SELECT taskq.task_submit_sql('VACUUM resources_table; SELECT pg_sleep(0.02)') AS id \gset
SELECT ok(t.state = 'completed' AND t.resources IS NOT NULL, 'and a command with transactions of its own') FROM taskq.task_wait(:'id') t;

-- short ones are not measured, unless all are
SELECT array_agg(taskq.task_submit('resources_plain')) AS ids FROM generate_series(1, 20) \gset
SELECT ok(bool_or(t.resources IS NULL), 'short tasks have none') FROM taskq.task_wait_all(:'ids') t;
ALTER SYSTEM SET taskq.track_resources = 0;
CALL reload();
CREATE PROCEDURE wait_measured(wanted bool) LANGUAGE plpgsql AS $$
DECLARE
	id uuid;
	got bool;
BEGIN
	LOOP
		id := taskq.task_submit('resources_plain');
		COMMIT;
		SELECT resources IS NOT NULL INTO got FROM taskq.task_wait(id);
		COMMIT;
		EXIT WHEN got = wanted;
	END LOOP;
END $$;
CALL wait_measured(true);
SELECT pass('taskq.track_resources = 0 measures all');
ALTER SYSTEM SET taskq.track_resources = -1;
CALL reload();
CALL wait_measured(false);
SELECT taskq.task_submit('resources', '{"sleep": 2}') AS id \gset
SELECT is(t.resources, NULL, '... and -1 none') FROM taskq.task_wait(:'id') t;
ALTER SYSTEM RESET taskq.track_resources;
CALL reload();

-- the options in effect
SELECT taskq.task_submit('resources_sort', delay => '1 h', max_attempts => 7, timeout => '5 s') AS id \gset
SELECT is((t.configuration->>'max_attempts', t.configuration->>'timeout', t.configuration->'settings', t.configuration->'retry_on', t.configuration->>'max_running')::text,
	$$(7,00:00:05,"{""work_mem"": ""64kB""}","[""23505"", ""40""]",3)$$, 'the options of the submit, and of the kind')
FROM taskq.task_status(:'id') t;
SELECT is(t.configuration->>'required_worker', 'internal', '... and who runs it') FROM taskq.task_status(:'id') t;
SELECT count(taskq.kind_define('resources_sort', max_running => 9)::text) \g /dev/null
SELECT is(t.configuration->>'max_running', '9', '... as the kind is now') FROM taskq.task_status(:'id') t;
SELECT is(v.configuration, t.configuration, '... also in the view') FROM taskq.task_status(:'id') t, taskq.task v WHERE v.id = :'id';
SELECT taskq.task_submit('resources_outside') AS id \gset
SELECT is(t.configuration->>'required_worker', 'external', 'a kind without handler needs an external worker') FROM taskq.task_status(:'id') t;
SELECT ok(t.configuration ? 'retention' AND t.configuration ? 'backoff', '... and it has what nobody said') FROM taskq.task_status(:'id') t;


-- what is active, in the words of others
SELECT count(taskq.kind_define('active_gate', 'wait_at_gate(jsonb)')::text) \g /dev/null
SELECT taskq.task_submit('active_gate', '{"gate": "active"}') AS a \gset
SELECT taskq.task_submit('resources_plain', delay => '1 h') AS s \gset
CALL wait_state(:'a', 'running');
SELECT taskq.task_active() AS active \gset
SELECT is(x->>'state' || ' ' || (x->>'name') || ' ' || (x ? 'worker')::text || ' ' || (x ? 'started_at')::text || ' ' || (x ? 'eta')::text,
	'ACTIVE active_gate true true false', 'what runs, with its worker') FROM jsonb_array_elements(:'active'::jsonb->'tasks') x WHERE x->>'task_id' = :'a';
SELECT is(x->>'state' || ' ' || (x ? 'worker')::text || ' ' || ((x->>'eta')::timestamptz = t.run_at)::text, 'SCHEDULED false true', 'what waits for its time, with that')
FROM jsonb_array_elements(:'active'::jsonb->'tasks') x, taskq.task_status(:'s') t WHERE x->>'task_id' = :'s';
SELECT is((:'active'::jsonb->>'count')::int, jsonb_array_length(:'active'::jsonb->'tasks'), '... counted');
SELECT is(taskq.task_active(1)->'tasks'->0->>'task_id', :'a', 'few of many: what runs comes first');
INSERT INTO gate VALUES ('active');

SELECT * FROM finish();
