-- What a handler can call, inside a task and by hand.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS taskq;
RESET client_min_messages;

CREATE FUNCTION inside_work(p jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
	t record := taskq.current_task();
BEGIN
	PERFORM taskq.progress(1, 2, 'half', 0, '{"at": "half"}');
	RETURN jsonb_build_object('kind', t.kind, 'queue', t.queue, 'payload', t.payload, 'same', t.payload = p,
		'attempt', t.attempt, 'max_attempts', t.max_attempts, 'mine', t.submitted_by = current_user,
		'worker', t.worker IS NOT NULL, 'metadata', t.metadata, 'cancel', taskq.cancel_requested());
END $$;
SELECT taskq.kind_define('inside', 'inside_work(jsonb)', max_attempts => 2);

-- inside a task
SELECT taskq.task_submit('inside', '{"a": 1}', metadata => '{"m": true}') AS id \gset
SELECT state, progress, current, total, failed_steps, message, info FROM taskq.task_wait(:'id');
SELECT jsonb_pretty(taskq.task_result(:'id'));
SELECT jsonb_pretty(taskq.task_progress(:'id'));

-- by hand: nothing happens, and a notice says so
SELECT inside_work('{"a": 1}');
SELECT taskq.progress(10);
SELECT * FROM taskq.current_task();
SELECT taskq.cancel_requested();

-- arguments that make no sense
CREATE FUNCTION inside_try(p jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE p->>'do';
	RETURN NULL;
EXCEPTION WHEN OTHERS THEN
	RETURN jsonb_build_object('sqlstate', sqlstate, 'message', sqlerrm);
END $$;
SELECT taskq.kind_define('inside_try', 'inside_try(jsonb)');
CREATE TEMP TABLE tried AS
SELECT n, command, taskq.task_submit('inside_try', jsonb_build_object('do', command)) AS id
FROM (VALUES
	(1, 'SELECT taskq.progress(NULL)'),
	(2, 'SELECT taskq.progress(1, 0)'),
	(3, 'SELECT taskq.progress(1, NULL)'),
	(4, 'SELECT taskq.progress(1, -5)'),
	(5, 'SELECT taskq.progress(''NaN'')'),
	(6, 'SELECT taskq.progress(150, 100)'),
	(7, 'SELECT taskq.progress(-1, 100)'),
	(8, 'SELECT taskq.progress(1, message => repeat(''long '', 10000))'),
	(9, 'SELECT taskq.progress(1, info => jsonb_build_object(''long'', repeat(''long '', 10000)))'),
	(10, 'SELECT taskq.task_wait(''00000000-0000-7000-8000-000000000000'')'),
	(11, 'SELECT taskq.task_wait_all(''{}'')'),
	(12, 'COMMIT')) v(n, command);
SELECT bool_and(ready) FROM taskq.task_wait_all((SELECT array_agg(id) FROM tried));
SELECT n, command, state, progress, result->>'sqlstate' AS sqlstate, result->>'message' AS error
FROM tried JOIN taskq.task USING (id) ORDER BY n;

-- a task that submits a task
CREATE FUNCTION inside_parent(p jsonb) RETURNS uuid LANGUAGE sql AS $$
	SELECT taskq.task_submit('inside_try', '{"do": "SELECT 1"}', parent => (SELECT id FROM taskq.current_task()))
$$;
SELECT taskq.kind_define('inside_parent', 'inside_parent(jsonb)');
SELECT taskq.task_submit('inside_parent') AS id \gset
SELECT state, result #>> '{}' AS child FROM taskq.task_wait(:'id') \gset
SELECT state, parent = :'id' AS of_parent FROM taskq.task_wait(:'child');
