-- The states of a task, in taskq's words and in Celery's.
\ir include/prologue.psql
SELECT plan(27);

CREATE FUNCTION states_fail(p jsonb) RETURNS void LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no'; END $$;
SELECT count(x::text) FROM (VALUES
	(taskq.kind_define('states', 'echo(jsonb)')),
	(taskq.kind_define('states_gate', 'wait_at_gate(jsonb)')),
	(taskq.kind_define('states_fail', 'states_fail(jsonb)', max_attempts => 1)),
	(taskq.kind_define('states_retry', 'states_fail(jsonb)', max_attempts => 2, backoff => '1 day', backoff_max => '1 day')),
	(taskq.queue_define('states_held')),
	(taskq.queue_pause('states_held'))) v(x) \g /dev/null

CREATE FUNCTION states_of(task uuid) RETURNS text LANGUAGE sql AS $$
	SELECT concat_ws(' ', t.state, t.celery_state, t.ready, coalesce(t.successful::text, 'null'), t.progress::int,
		CASE WHEN t.started_at IS NULL THEN 'not started' ELSE 'started' END,
		CASE WHEN t.finished_at IS NULL THEN 'not finished' ELSE 'finished' END,
		CASE WHEN t.duration IS NULL THEN 'no duration' ELSE 'duration' END,
		CASE WHEN t.error IS NULL THEN 'no error' ELSE 'error' END)
	FROM taskq.task_status(task) t
$$;

SELECT taskq.task_submit('states', delay => '1 day') AS scheduled \gset
SELECT taskq.task_submit('states', queue => 'states_held') AS pending \gset
SELECT taskq.task_submit('states_gate', '{"gate": "a"}') AS running \gset
SELECT taskq.task_submit('states_retry') AS retrying \gset
SELECT taskq.task_submit('states') AS completed \gset
SELECT taskq.task_submit('states_fail') AS failed \gset
SELECT taskq.task_submit('states', queue => 'states_held') AS cancelled \gset
SELECT taskq.task_cancel(:'cancelled') \g /dev/null
CALL wait_state(:'running', 'running');
CALL wait_state(:'retrying', 'retrying');
SELECT taskq.task_wait_all(ARRAY[:'completed', :'failed']::uuid[]) \g /dev/null

SELECT is(states_of(:'scheduled'), 'scheduled PENDING f null 0 not started not finished no duration no error', 'scheduled');
SELECT is(states_of(:'pending'), 'pending PENDING f null 0 not started not finished no duration no error', 'pending');
SELECT is(states_of(:'running'), 'running STARTED f null 0 started not finished duration no error', 'running');
SELECT is(states_of(:'retrying'), 'retrying RETRY f null 0 started not finished duration error', 'retrying');
SELECT is(states_of(:'completed'), 'completed SUCCESS t true 100 started finished duration no error', 'completed');
SELECT is(states_of(:'failed'), 'failed FAILURE t false 0 started finished duration error', 'failed');
SELECT is(states_of(:'cancelled'), 'cancelled REVOKED t false 0 not started finished no duration no error', 'cancelled');

-- the view shows the same as task_status, one row a task
SELECT is(count(*)::int, 7, 'each is in the view once') FROM taskq.task
WHERE id IN (:'scheduled', :'pending', :'running', :'retrying', :'completed', :'failed', :'cancelled');
SELECT is(v.*::text, s.*::text, 'the view shows ' || v.state || ' as task_status does')
FROM taskq.task v JOIN LATERAL taskq.task_status(v.id) s ON true
WHERE v.id IN (:'scheduled', :'pending', :'completed', :'failed', :'cancelled') ORDER BY v.state;
SELECT is((SELECT array_agg(id) FROM taskq.task WHERE state = 'running'), ARRAY[:'running']::uuid[], 'filtered by state running');
SELECT is((SELECT array_agg(id) FROM taskq.task WHERE state = 'retrying'), ARRAY[:'retrying']::uuid[], 'filtered by state retrying');
SELECT is((SELECT count(*)::int FROM taskq.task WHERE celery_state = 'PENDING'), 2, 'filtered by celery_state');
SELECT is((SELECT count(*)::int FROM taskq.task WHERE ready), 3, 'filtered by ready');

-- a final state never changes
SELECT is((c.cancelled, c.terminated, c.message <> '')::text, '(f,f,t)', 'cancel of a final task does nothing and says why: ' || s)
FROM unnest(ARRAY['completed', 'failed', 'cancelled'], ARRAY[:'completed', :'failed', :'cancelled']::uuid[]) AS f(s, id), taskq.task_cancel(f.id, force => true) c;
SELECT is(state, s, 'it is still ' || s)
FROM unnest(ARRAY['completed', 'failed', 'cancelled'], ARRAY[:'completed', :'failed', :'cancelled']::uuid[]) AS f(s, id), taskq.task_status(f.id);

-- a retry can be cancelled while it waits
SELECT is((c.cancelled, c.terminated)::text, '(t,f)', 'a task that waits for its retry is cancelled at once') FROM taskq.task_cancel(:'retrying', 'enough') c;
SELECT is((t.state, t.cancel_reason, t.error->>'message')::text, '(cancelled,enough,no)', '... and keeps its last error') FROM taskq.task_status(:'retrying') t;

INSERT INTO gate VALUES ('a');
SELECT is(state, 'completed', 'the running one completes') FROM taskq.task_wait(:'running');
SELECT taskq.queue_resume('states_held') \g /dev/null
SELECT is(state, 'completed', 'the pending one runs') FROM taskq.task_wait(:'pending');
SELECT * FROM finish();
