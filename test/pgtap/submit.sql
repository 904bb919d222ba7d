-- What task_submit takes, and where it shows.
\ir include/prologue.psql
SELECT plan(37);

SELECT count(taskq.kind_define('submit', 'echo(jsonb)', queue => 'submit_q', priority => 3, max_attempts => 5, timeout => '10 min')::text) \g /dev/null
SELECT taskq.queue_define('other_q') \g /dev/null

-- the id
SELECT taskq.task_submit('submit') AS id \gset
SELECT alike(:'id'::text, '________-____-7___-%', 'an id is a UUID of version 7');
SELECT matches(:'id'::text, '^.{19}[89ab]', '... of the RFC''s variant');
SELECT ok(created_at BETWEEN now() - interval '1 min' AND clock_timestamp(), 'that holds the moment of the submit')
FROM taskq.task_status(:'id');
SELECT is(count(DISTINCT id)::int, 5000, 'ids are unique')
FROM taskq.task_submit_many('submit', array_fill('{}'::jsonb, ARRAY[5000])) AS id;
SELECT ok(bool_and(id > before), 'a session''s ids rise')
FROM (SELECT id, lag(id) OVER (ORDER BY n) AS before
	FROM taskq.task_submit_many('submit', array_fill('{}'::jsonb, ARRAY[1000])) WITH ORDINALITY AS m(id, n)) m;

-- what is left out takes the kind's default
SELECT is((t.queue, t.priority, t.max_attempts, t.timeout)::text, '(submit_q,3,5,00:10:00)', 'the kind gives the defaults')
FROM taskq.task_wait(:'id') t;
SELECT is(t.payload, '{}', 'a payload left out is an empty object') FROM taskq.task_status(:'id') t;
SELECT is((t.tags, t.metadata, t.parent, t.retry_of, t.workflow, t.tenant)::text, '(,,,,,)', 'the rest is null')
FROM taskq.task_status(:'id') t;

-- what is given replaces it
SELECT taskq.task_submit('submit', '{"a": [1, null, "ü"]}', queue => 'other_q', priority => -7, max_attempts => 2, timeout => '3 s',
	tags => ARRAY['red', 'green'], metadata => '{"request": 17}', parent => :'id') AS given \gset
SELECT is((t.queue, t.priority, t.max_attempts, t.timeout)::text, '(other_q,-7,2,00:00:03)', 'the submit''s options replace them')
FROM taskq.task_wait(:'given') t;
SELECT is(t.payload, '{"a": [1, null, "ü"]}', 'the payload is kept') FROM taskq.task_status(:'given') t;
SELECT is(t.result, '{"a": [1, null, "ü"]}', '... and handed over') FROM taskq.task_status(:'given') t;
SELECT is(t.tags, ARRAY['red', 'green'], 'tags are kept') FROM taskq.task_status(:'given') t;
SELECT is(t.metadata, '{"request": 17}', 'metadata are kept') FROM taskq.task_status(:'given') t;
SELECT is(t.parent, :'id', 'the parent is kept') FROM taskq.task_status(:'given') t;
SELECT is(t.priority, 3::int2, 'the first one is as it was') FROM taskq.task_status(:'id') t;

-- 0 is a priority, not a default
SELECT taskq.task_submit('submit', priority => 0) AS zero \gset
SELECT is(t.priority::int, 0, 'priority 0 is not the kind''s default') FROM taskq.task_wait(:'zero') t;
SELECT lives_ok(format('SELECT taskq.task_submit(%L, priority => %s)', 'submit', p), 'priority ' || p) FROM unnest(ARRAY[-100, 100]) p;

-- later
SELECT taskq.task_submit('submit', delay => '1 day') AS later \gset
SELECT is((t.state, t.celery_state, t.ready, t.successful)::text, '(scheduled,PENDING,f,)', 'with a delay a task is scheduled')
FROM taskq.task_status(:'later') t;
SELECT ok(t.run_at BETWEEN t.created_at + interval '23 h 59 min' AND t.created_at + interval '24 h 1 min', '... for then')
FROM taskq.task_status(:'later') t;
SELECT taskq.task_submit('submit', run_at => '2100-01-01 00:00:00+00') AS at \gset
SELECT is((t.state, t.run_at = '2100-01-01 00:00:00+00')::text, '(scheduled,t)', 'with run_at a task is scheduled for then')
FROM taskq.task_status(:'at') t;
SELECT is((t.state, t.ready)::text, '(scheduled,f)', '... and not before') FROM taskq.task_wait(:'at', '10 ms') t;
SELECT taskq.task_submit('submit', run_at => now() - interval '1 year') AS past \gset
SELECT is(t.state, 'completed', 'with a run_at that has passed it runs at once') FROM taskq.task_wait(:'past') t;
SELECT taskq.task_submit('submit', delay => '300 ms') AS soon \gset
SELECT is(t.state, 'completed', 'a scheduled task runs when its time has come') FROM taskq.task_wait(:'soon') t;
SELECT ok(t.started_at >= t.run_at, '... not before') FROM taskq.task_status(:'soon') t;
SELECT taskq.task_submit('submit', delay => '0') AS zero \gset
SELECT is(t.state, 'completed', 'a delay of nothing is none') FROM taskq.task_wait(:'zero') t;
SELECT is(error_of($$SELECT taskq.task_submit('submit', run_at => '-infinity')$$), '22023', 'run_at -infinity is refused');

-- large and strange payloads
SELECT taskq.task_submit('submit', jsonb_build_object('long', repeat('payload ', 20000))) AS long \gset
SELECT is(length(t.result->>'long'), 160000, 'a payload that does not fit in a page') FROM taskq.task_wait(:'long') t;
SELECT ok(t.result = t.payload, '... comes back whole') FROM taskq.task_status(:'long') t;
SELECT taskq.task_submit('submit', 'null') AS jnull \gset
SELECT is((t.payload, t.result)::text, '(null,null)', 'the payload may be JSON''s null') FROM taskq.task_wait(:'jnull') t;
SELECT taskq.task_submit('submit', NULL) AS none \gset
SELECT is(t.payload, '{}', 'an SQL null is the default, like a payload left out') FROM taskq.task_status(:'none') t;

-- many
SELECT is(array_agg(t.payload ORDER BY m.n), ARRAY['1', '2', '3']::jsonb[], 'task_submit_many returns ids in the payloads'' order')
FROM taskq.task_submit_many('submit', ARRAY['1', '2', '3']::jsonb[], tags => '{many}', priority => 1) WITH ORDINALITY AS m(id, n)
JOIN LATERAL taskq.task_status(m.id) t ON true;
SELECT is(count(*)::int, 3, '... with the options for each') FROM taskq.task WHERE tags = '{many}' AND priority = 1;
SELECT is(array_agg(t.payload ORDER BY m.n), ARRAY['{"a": 1}', 'null', '"x"']::jsonb[], 'task_submit_batch too')
FROM taskq.task_submit_batch('submit', '[{"a": 1}, null, "x"]', delay => '1 h') WITH ORDINALITY AS m(id, n)
JOIN LATERAL taskq.task_status(m.id) t ON true;
SELECT is(count(*)::int, 10000, 'ten thousand in one statement')
FROM taskq.task_submit_many('submit', ARRAY(SELECT to_jsonb(n) FROM generate_series(1, 10000) n), tags => '{ten}');
SELECT is(count(*) FILTER (WHERE t.state = 'completed' AND t.result = t.payload)::int, 10000, '... all run')
FROM taskq.task_wait_all(ARRAY(SELECT id FROM taskq.task WHERE tags = '{ten}'), '60 s') t;

-- large and small ones together: the large ones are stored apart
CREATE TEMP TABLE mixed AS SELECT m.id, m.n FROM taskq.task_submit_many('submit',
	ARRAY(SELECT to_jsonb(repeat(md5(n::text), CASE WHEN n % 3 = 0 THEN 1 WHEN n % 3 = 1 THEN 100 ELSE 3000 END)) FROM generate_series(1, 300) n)) WITH ORDINALITY AS m(id, n);
SELECT is(count(*) FILTER (WHERE t.state = 'completed' AND t.result = t.payload AND t.payload #>> '{}' LIKE md5(m.n::text) || '%')::int, 300, 'large and small payloads in one statement, each found by its id')
FROM mixed m JOIN taskq.task_wait_all(ARRAY(SELECT id FROM mixed), '60 s') t USING (id);

SELECT * FROM finish();
