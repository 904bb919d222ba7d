-- task_wait, task_wait_any, task_wait_all: what they return.
\ir include/prologue.psql
SELECT plan(19);

SELECT count(x::text) FROM (VALUES
	(taskq.kind_define('wait', 'echo(jsonb)')),
	(taskq.kind_define('wait_gate', 'wait_at_gate(jsonb)'))) v(x) \g /dev/null

SELECT taskq.task_submit('wait', '1') AS a \gset
SELECT taskq.task_submit('wait', '2') AS b \gset
SELECT taskq.task_submit('wait_gate', '{"gate": "w"}') AS gated \gset
SELECT is(t.result, '1', 'task_wait returns the status') FROM taskq.task_wait(:'a') t;
SELECT is(t.result, '1', '... also of a task that has long finished, at once') FROM taskq.task_wait(:'a', '0') t;
SELECT is((t.id = :'gated', t.ready)::text, '(t,f)', '... and of one that has not, when the time is over') FROM taskq.task_wait(:'gated', '20 ms') t;

SELECT results_eq(format('SELECT result FROM taskq.task_wait_all(ARRAY[%L, %L]::uuid[])', :'a', :'b'), 'VALUES (''1''::jsonb), (''2'')',
	'task_wait_all returns the status of each, in the order asked');
SELECT results_eq(format('SELECT result FROM taskq.task_wait_all(ARRAY[%L, %L]::uuid[])', :'b', :'a'), 'VALUES (''2''::jsonb), (''1'')',
	'... whatever that is');
SELECT results_eq(format('SELECT ready FROM taskq.task_wait_all(ARRAY[%L, %L]::uuid[], ''20 ms'')', :'a', :'gated'), 'VALUES (true), (false)',
	'... also of those that did not finish in time');
SELECT results_eq(format('SELECT id FROM taskq.task_wait_any(ARRAY[%L, %L]::uuid[])', :'gated', :'b'), ARRAY[:'b']::uuid[],
	'task_wait_any returns those that are finished');
SELECT is_empty(format('SELECT id FROM taskq.task_wait_any(ARRAY[%L]::uuid[], ''20 ms'')', :'gated'),
	'... no row when none is in time');
SELECT is(count(*)::int, 0, 'task_wait_all of no task returns at once') FROM taskq.task_wait_all('{}', '1 h');
SELECT is(count(*)::int, 0, 'task_wait_any of no task too') FROM taskq.task_wait_any('{}', '1 h');
SELECT is(error_of(format('SELECT taskq.task_wait_all(ARRAY[%L, ''00000000-0000-7000-8000-000000000000'']::uuid[])', :'a')), 'PT404',
	'one unknown among them is an error');
SELECT is(count(*)::int, 2, 'the same task twice gives it twice') FROM taskq.task_wait_all(ARRAY[:'a', :'a']::uuid[]);

INSERT INTO gate VALUES ('w');
SELECT is(count(*)::int, 3, 'all are finished in the end') FROM taskq.task_wait_all(ARRAY[:'a', :'b', :'gated']::uuid[]) t WHERE t.ready;

-- many
SELECT is((SELECT count(*)::int FROM taskq.task_submit_many('wait', array_fill('0'::jsonb, ARRAY[500]), tags => '{wait_many}')), 500, 'five hundred are submitted');
SELECT is(count(*) FILTER (WHERE t.ready)::int, 500, '... and waited for at once')
FROM taskq.task_wait_all(ARRAY(SELECT id FROM taskq.task WHERE tags = '{wait_many}'), '60 s') t;

-- the caller's transaction does not matter
SELECT taskq.task_submit('wait_gate', '{"gate": "rr"}', tags => '{wait_rr}') AS id \gset
BEGIN ISOLATION LEVEL SERIALIZABLE;
SELECT is(t.ready, false, 'a task is not finished') FROM taskq.task_status(:'id') t;
SELECT is(t.ready, false, '... after a wait') FROM taskq.task_wait(:'id', '10 ms') t;
COMMIT;
INSERT INTO gate VALUES ('rr');
SELECT is(t.state, 'completed', 'and is in the end') FROM taskq.task_wait(:'id') t;

-- read-only transactions can wait
BEGIN READ ONLY;
SELECT is(t.state, 'completed', 'a read-only transaction can wait') FROM taskq.task_wait(:'id') t;
COMMIT;

SELECT * FROM finish();
