-- Hooks of a kind: another kind's task is submitted with the final state.
\ir include/prologue.psql
SELECT plan(34);

CREATE TABLE hook_effect (task uuid, payload jsonb);
GRANT ALL ON hook_effect TO PUBLIC;
CREATE FUNCTION hook_told(p jsonb) RETURNS void LANGUAGE sql AS $$ INSERT INTO hook_effect VALUES ((p->>'task_id')::uuid, p) $$;
CREATE FUNCTION hook_fails(p jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'hook_fails: %', p->>'why'; END $$;
CREATE FUNCTION hook_stops(p jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	PERFORM wait_at_gate('{"gate": "never"}');
EXCEPTION WHEN query_canceled THEN
	RETURN '"partial"';
END $$;
-- the hook's task of a task
CREATE FUNCTION hook_of(task uuid) RETURNS taskq.task LANGUAGE sql AS $$ SELECT t FROM taskq.task t WHERE t.parent = task $$;
CREATE FUNCTION hook_told_of(task uuid) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	PERFORM taskq.task_wait_all(ARRAY(SELECT t.id FROM taskq.task t WHERE t.parent = $1));
	RETURN (SELECT payload FROM hook_effect e WHERE e.task = $1);
END $$;

SELECT taskq.kind_define('told', 'hook_told(jsonb)') \g /dev/null
SELECT count(x::text) FROM (VALUES
	(taskq.kind_define('deploy', 'echo(jsonb)', on_success => 'told', on_failure => 'told', on_cancel => 'told', category => 'ops')),
	(taskq.kind_define('deploy_fails', 'hook_fails(jsonb)', max_attempts => 2, backoff => '10 ms', on_failure => 'told')),
	(taskq.kind_define('deploy_stops', 'hook_stops(jsonb)', on_cancel => 'told')),
	(taskq.kind_define('deploy_many', 'echo(jsonb)', batch => true, on_success => 'told')),
	(taskq.kind_define('deploy_out', on_success => 'told', on_failure => 'told', on_cancel => 'told'))) v(x) \g /dev/null

SELECT is((k.on_success, k.on_failure, k.on_cancel, k.category)::text, '(told,told,told,ops)', 'the view kind shows hooks and category') FROM taskq.kind k WHERE k.name = 'deploy';
SELECT is((k.on_success, k.on_failure, k.on_cancel)::text, '(,told,)', '... those that there are') FROM taskq.kind k WHERE k.name = 'deploy_fails';

-- success
SELECT taskq.task_submit('deploy', '{"version": 7}', tags => '{a,"b c"}', metadata => '{"by": "me"}') AS id \gset
SELECT is((t.state, t.category)::text, '(completed,ops)', 'a task of a kind with hooks') FROM taskq.task_wait(:'id') t;
SELECT is(hook_told_of(:'id'), jsonb_build_object('task_id', :'id', 'kind', 'deploy', 'queue', 'default', 'state', 'completed', 'attempt', 1,
	'payload', '{"version": 7}'::jsonb, 'result', '{"version": 7}'::jsonb, 'tags', '["a", "b c"]'::jsonb, 'metadata', '{"by": "me"}'::jsonb),
	'its hook is told all of it');
SELECT is((h.kind, h.state, h.parent, h.metadata->>'hook_of', h.metadata->>'event', h.submitted_by, h.run_as)::text,
	format('(told,completed,%s,%s,success,postgres,postgres)', :'id', :'id'), '... and is a task that points at it') FROM hook_of(:'id') h;

-- failure: once, with the last error
SELECT taskq.task_submit('deploy_fails', '{"why": "tired"}') AS id \gset
SELECT is((t.state, t.attempt)::text, '(failed,2)', 'one that fails twice') FROM taskq.task_wait(:'id') t;
SELECT is((p->>'state', p->>'attempt', p->'error'->>'message', p->'result')::text, '(failed,2,"hook_fails: tired",)', '... has one hook, at the end') FROM hook_told_of(:'id') p;
SELECT is(count(*)::int, 1, '... and no more') FROM taskq.task t WHERE t.parent = :'id';

-- cancel: of one that waits, and of one that runs
SELECT taskq.task_submit('deploy', delay => '1 h') AS id \gset
SELECT taskq.task_cancel(:'id', 'no need') \g /dev/null
SELECT is((p->>'state', p->>'reason', p->>'attempt')::text, '(cancelled,"no need",0)', 'a task that waits is cancelled: the hook knows why') FROM hook_told_of(:'id') p;
SELECT taskq.task_submit('deploy_stops') AS id \gset
CALL wait_state(:'id', 'running');
SELECT taskq.task_cancel(:'id', 'stop') \g /dev/null
SELECT is(t.state, 'cancelled', 'a running one too') FROM taskq.task_wait(:'id') t;
SELECT is((p->>'state', p->>'reason', p->>'result')::text, '(cancelled,stop,partial)', '... with its partial result') FROM hook_told_of(:'id') p;
BEGIN;
SELECT taskq.task_submit('deploy', delay => '1 h') AS id \gset
SELECT taskq.task_cancel(:'id') \g /dev/null
ROLLBACK;
SELECT is_empty(format('SELECT FROM taskq.task WHERE parent = %L', :'id'), 'a cancel that is rolled back submits nothing');

-- external workers
SELECT taskq.task_submit('deploy_out', '1') AS id \gset
SELECT c.token FROM taskq.task_claim('w', kinds => '{deploy_out}') c \gset
SELECT taskq.task_complete(:'id', :'token', '"well"') \g /dev/null
SELECT is((p->>'state', p->>'result')::text, '(completed,well)', 'an external worker completes one') FROM hook_told_of(:'id') p;
SELECT taskq.task_submit('deploy_out', '2', max_attempts => 1) AS id \gset
SELECT c.token FROM taskq.task_claim('w', kinds => '{deploy_out}') c \gset
SELECT taskq.task_fail(:'id', :'token', 'bad') \g /dev/null
SELECT is((p->>'state', p->'error'->>'message')::text, '(failed,bad)', '... or fails') FROM hook_told_of(:'id') p;
SELECT taskq.task_submit('deploy_out', '3') AS id \gset
SELECT c.token FROM taskq.task_claim('w', kinds => '{deploy_out}') c \gset
SELECT taskq.task_cancel(:'id') \g /dev/null
SELECT taskq.task_release(:'id', :'token') \g /dev/null
SELECT is(p->>'state', 'cancelled', '... or gives one back that was cancelled') FROM hook_told_of(:'id') p;

-- batches
SELECT array_agg(id) AS ids FROM taskq.task_submit_many('deploy_many', ARRAY(SELECT to_jsonb(i) FROM generate_series(1, 500) i)) id \gset
SELECT count(*) FROM taskq.task_wait_all(:'ids') \g /dev/null
SELECT count(*) FROM taskq.task_wait_all(ARRAY(SELECT id FROM taskq.task WHERE parent = ANY (:'ids'))) \g /dev/null
SELECT results_eq(format('SELECT count(*)::int, count(DISTINCT task)::int, sum((payload->>''result'')::int)::int FROM hook_effect WHERE task = ANY (%L::uuid[])', :'ids'),
	'VALUES (500, 500, 125250)', 'each of many tasks that shared transactions has its hook, once');

-- what is large stays with the task
SELECT taskq.task_submit('deploy', to_jsonb(repeat('x', (900 * 1024)))) AS id \gset
SELECT is(t.state, 'completed', 'a large task') FROM taskq.task_wait(:'id') t;
SELECT is((length(p->>'result'), p->'payload', p->>'payload_omitted')::text, '(921600,,true)', '... has a hook with what has room') FROM hook_told_of(:'id') p;

-- what is wrong with a hook is not the task's
SELECT taskq.kind_define('gone', 'echo(jsonb)') \g /dev/null
SELECT taskq.kind_define('hook_gone', 'echo(jsonb)', on_success => 'gone') \g /dev/null
SELECT taskq.kind_drop('gone') \g /dev/null
SELECT taskq.task_submit('hook_gone', '5') AS id \gset
SELECT is((t.state, t.result)::text, '(completed,5)', 'a hook whose kind is gone makes no difference') FROM taskq.task_wait(:'id') t;
SELECT is_empty(format('SELECT FROM taskq.task WHERE parent = %L', :'id'), '... there is no task of it');
SELECT taskq.task_submit('hook_gone', '6') AS id \gset
SELECT is((t.state, t.result)::text, '(completed,6)', '... time and again, and the log tells it once') FROM taskq.task_wait(:'id') t;
SELECT taskq.kind_define('hook_bad', 'hook_fails(jsonb)', max_attempts => 1) \g /dev/null
SELECT taskq.kind_define('hook_ok', 'echo(jsonb)', on_success => 'hook_bad') \g /dev/null
SELECT taskq.task_submit('hook_ok', '5') AS id \gset
SELECT is((t.state, t.result)::text, '(completed,5)', 'nor one that fails') FROM taskq.task_wait(:'id') t;
SELECT is(t.state, 'failed', '... for itself') FROM hook_of(:'id') h, taskq.task_wait(h.id) t;

-- hooks of hooks come to an end
SELECT taskq.kind_define('hook_a', 'echo(jsonb)') \g /dev/null
SELECT taskq.kind_define('hook_b', 'echo(jsonb)', on_success => 'hook_a') \g /dev/null
SELECT taskq.kind_define('hook_a', 'echo(jsonb)', on_success => 'hook_b') \g /dev/null
SELECT taskq.kind_define('hook_b', 'echo(jsonb)', on_success => 'hook_a') \g /dev/null
SELECT taskq.kind_define('hook_a', 'echo(jsonb)', on_success => 'hook_b') \g /dev/null
SELECT taskq.task_submit('hook_a', '1') AS id \gset
DO $$ BEGIN WHILE (SELECT count(*) FROM taskq.task WHERE kind IN ('hook_a', 'hook_b') AND ready) < 6 LOOP COMMIT; PERFORM pg_sleep(0.01); END LOOP; END $$;
SELECT results_eq($$SELECT count(*)::int FROM taskq.task WHERE kind IN ('hook_a', 'hook_b')$$, 'VALUES (6)', 'hooks of hooks: five, and no more');

-- a retry of the task has hooks again, a retry of the hook is one
SELECT taskq.task_submit('deploy', '{"n": 1}') AS id \gset
SELECT count(*) FROM taskq.task_wait(:'id') \g /dev/null
SELECT taskq.task_retry(:'id') AS again \gset
SELECT count(*) FROM taskq.task_wait(:'again') \g /dev/null
SELECT is(p->>'task_id', :'again', 'a task that is run again has its hook again') FROM hook_told_of(:'again') p;
SELECT taskq.task_retry((hook_of(:'again')).id) AS hook \gset
SELECT is((t.state, t.parent)::text, format('(completed,%s)', :'again'), 'the hook''s task can be run again too') FROM taskq.task_wait(:'hook') t;
SELECT is(count(*)::int, 2, '... told twice') FROM hook_effect WHERE task = :'again';

-- arguments
SELECT is(error_of($$SELECT taskq.kind_define('x', 'echo(jsonb)', on_success => 'nosuch')$$), '22023', 'a hook names a kind that is there');
SELECT matches(hint_of($$SELECT taskq.kind_define('x', 'echo(jsonb)', on_cancel => 'nosuch')$$), 'on_cancel', '... the hint tells which argument');
SELECT is(error_of($$SELECT taskq.kind_define('x', 'echo(jsonb)', on_failure => 'x')$$), '22023', '... and another one');
SELECT is(error_of($$SELECT taskq.kind_define('deploy', 'echo(jsonb)', on_failure => 'deploy')$$), '22023', '... also where there is one');
SELECT is(error_of($$SELECT taskq.task_submit('deploy', options => '{"hook": {"by": 10, "level": 0}}')$$), '22023', 'nobody says of a task that it is a hook');
SELECT taskq.kind_define('deploy', 'echo(jsonb)') \g /dev/null
SELECT is((k.on_success, k.on_failure, k.on_cancel, k.category)::text, '(,,,)', 'defined again without, a kind has none') FROM taskq.kind k WHERE k.name = 'deploy';
SELECT taskq.task_submit('deploy') AS id \gset
SELECT count(*) FROM taskq.task_wait(:'id') \g /dev/null
SELECT is_empty(format('SELECT FROM taskq.task WHERE parent = %L', :'id'), '... nor have its tasks');

SELECT finish();
