-- How long a task waits and runs, what a queue has before it; and that nobody learns of others' tasks by it.
\ir include/prologue.psql
SELECT plan(52);

CREATE ROLE explain_alice LOGIN;
CREATE ROLE explain_bob LOGIN;
CREATE ROLE explain_web LOGIN;
CREATE ROLE explain_runner LOGIN;
GRANT taskq_user TO explain_alice, explain_bob, explain_web, explain_runner;
CREATE FUNCTION explain_nap(p jsonb) RETURNS void LANGUAGE sql AS $$ SELECT pg_sleep(0.02) $$;
CREATE FUNCTION explain_half(p jsonb) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	PERFORM pg_sleep(0.05);
	PERFORM taskq.progress(25, 100);
	WHILE NOT EXISTS (SELECT FROM public.gate WHERE name = p->>'gate') LOOP
		PERFORM pg_sleep(0.01);
	END LOOP;
END $$;
CREATE FUNCTION explain_slow(p jsonb) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	PERFORM pg_sleep(0.05);
	PERFORM taskq.progress(1, (p->>'tells')::int) WHERE p ? 'tells';
	WHILE NOT EXISTS (SELECT FROM public.gate WHERE name = p->>'gate') LOOP
		PERFORM pg_sleep(0.01);
	END LOOP;
END $$;
CREATE FUNCTION codes(id uuid) RETURNS text LANGUAGE sql AS $$
SELECT string_agg(r->>'code', ' ' ORDER BY n) FROM jsonb_array_elements(taskq.task_explain(id)->'reasons') WITH ORDINALITY AS x(r, n)
$$;
SELECT taskq.kind_define('explain_nap', 'explain_nap(jsonb)', queue => 'nap'), taskq.kind_define('explain_half', 'explain_half(jsonb)', queue => 'half'),
	taskq.kind_define('explain_never', 'echo(jsonb)', queue => 'never'), taskq.kind_define('explain_outside', queue => 'outside'),
	taskq.kind_define('explain_shared', 'echo(jsonb)', queue => 'shared', run_as => 'explain_runner') \g /dev/null
SELECT taskq.kind_grant('explain_shared', 'explain_alice'), taskq.kind_grant('explain_shared', 'explain_bob') \g /dev/null

-- nothing is known
SELECT taskq.queue_pause('never') \g /dev/null
SELECT taskq.task_submit('explain_never') AS first \gset
SELECT taskq.task_submit('explain_never') AS id \gset
SELECT is((e.queue_position, e.position_exact, e.estimated_start, e.estimated_duration, e.estimated_completion, e.remaining, e.confidence, e.basis)::text,
	'(2,t,,,,,none,)', 'in a paused queue a task has a place, and nothing else is known') FROM taskq.task_estimate(:'id') e;
SELECT is(taskq.task_explain(:'id')->'estimate', '{"queue_position": 2, "position_exact": true, "confidence": "none"}', '... task_explain says the same');
SELECT is(p.estimated_time_gained, NULL, 'what another priority gains is not known there') FROM taskq.task_set_priority(:'id', 1) p;
SELECT is((q.waiting, q.running, q.time_to_empty, q.confidence)::text, '(2,0,,none)', 'nor when the queue will be empty') FROM taskq.queue_estimates() q WHERE q.queue = 'never';
SELECT is((SELECT count(*) FROM taskq.task_estimate(:'id'), taskq.task_status(:'id') s WHERE s.queue_position = 1), 1::bigint, 'view task has the place');
SELECT is(error_of($$ SELECT * FROM taskq.task_estimate('00000000-0000-7000-8000-000000000000') $$), 'PT404', 'an unknown task');
SELECT is(error_of($$ SELECT taskq.task_explain('00000000-0000-7000-8000-000000000000') $$), 'PT404', '... of which nothing is explained');
SELECT is(error_of($$ SELECT taskq.task_explain(NULL) $$), '22023', 'nor of null');

-- history
SELECT taskq.task_submit_batch('explain_nap', '[{}, {}, {}]') AS id \g /dev/null
SELECT count(*) FROM taskq.task_wait_all(ARRAY(SELECT id FROM taskq.task WHERE kind = 'explain_nap')) \g /dev/null
SELECT taskq.task_submit('explain_nap', delay => '1 h') AS id \gset
SELECT is((e.estimated_start - s.run_at, e.confidence, e.basis)::text, '(00:00:00,medium,history)', 'a scheduled task starts when it is due')
	FROM taskq.task_estimate(:'id') e, taskq.task_status(:'id') s;
SELECT ok(e.estimated_duration BETWEEN '0.02 s' AND '5 s' AND e.estimated_completion = e.estimated_start + e.estimated_duration AND e.remaining > '59 min',
	'... and takes as long as those before it') FROM taskq.task_estimate(:'id') e;
SELECT is((SELECT s.estimated_start FROM taskq.task_status(:'id') s), (SELECT run_at FROM taskq.task_status(:'id')), '... in view task too');
SELECT taskq.task_cancel(:'id') \g /dev/null
-- enough of them that they wait for a while
SELECT count(*) FROM taskq.task_submit_batch('explain_nap', (SELECT jsonb_agg('{}'::jsonb) FROM generate_series(1, 3000))) \g /dev/null
SELECT id AS last FROM taskq.task WHERE kind = 'explain_nap' ORDER BY id DESC LIMIT 1 \gset
SELECT ok(e.queue_position > 1000 AND e.estimated_start > clock_timestamp() AND e.estimated_completion > e.estimated_start AND e.confidence IN ('low', 'medium'),
	'behind many tasks: place, start and end') FROM taskq.task_estimate(:'last') e;
SELECT ok(taskq.task_explain(:'last')->'reasons' @? '$[*] ? (@.code == "ahead").details.ahead', '... they are the reason');
SELECT ok(q.waiting > 1000 AND q.time_to_empty > '1 s' AND q.empty_at > clock_timestamp() AND q.confidence IN ('low', 'medium'),
	'the queue will be empty by then') FROM taskq.queue_estimates() q WHERE q.queue = 'nap';
SELECT ok(q.next_slot < clock_timestamp() + interval '5 s', '... and has room for the next one before') FROM taskq.queue_estimates() q WHERE q.queue = 'nap';
SELECT ok(p.estimated_time_gained > '1 s' AND p.new_queue_position = 1, 'a higher priority gains that time') FROM taskq.task_set_priority(:'last', 5) p;
SELECT cleared FROM taskq.queue_clear('nap') \g /dev/null
SELECT ok(true, 'the rest is cleared');

-- progress
SELECT taskq.task_submit('explain_half', '{"gate": "explain_half"}') AS id \gset
CALL wait_state(:'id', 'running');
DO $$ BEGIN WHILE NOT EXISTS (SELECT FROM taskq.task WHERE kind = 'explain_half' AND current = 25) LOOP PERFORM pg_sleep(0.01); END LOOP; END $$;
SELECT ok(e.estimated_completion = s.estimated_completion AND e.estimated_duration >= '0.2 s' AND e.confidence = 'high' AND e.basis = 'progress' AND e.queue_position IS NULL,
	'a task that tells its progress: by that') FROM taskq.task_estimate(:'id') e, taskq.task_status(:'id') s;
INSERT INTO gate VALUES ('explain_half');
SELECT is((SELECT state FROM taskq.task_wait(:'id')), 'completed', 'it ends');
SELECT is((e.queue_position, e.estimated_start, e.estimated_completion, e.confidence)::text, '(,,,none)', '... and has no estimate') FROM taskq.task_estimate(:'id') e;
SELECT is((taskq.task_explain(:'id')) ? 'estimate', false, '... nor in task_explain');

-- behind what runs
SELECT taskq.queue_define('slow', max_running => 1), taskq.queue_define('two', max_running => 2), taskq.kind_define('explain_slow', 'explain_slow(jsonb)', queue => 'slow') \g /dev/null
SELECT taskq.task_submit('explain_slow', '{"gate": "slow 1"}') AS slow1 \gset
CALL wait_state(:'slow1', 'running');
SELECT taskq.task_submit('explain_slow', '{"gate": "slow 2", "tells": 1000}') AS slow2 \gset
SELECT is((e.queue_position, e.estimated_start, e.estimated_completion, e.confidence)::text, '(1,,,none)',
	'behind a task of which nobody knows how long it takes, where no other may start: no start') FROM taskq.task_estimate(:'slow2') e;
SELECT is((q.time_to_empty, q.next_slot, q.confidence)::text, '(,,none)', '... nor of the queue') FROM taskq.queue_estimates() q WHERE q.queue = 'slow';
INSERT INTO gate VALUES ('slow 1');
DO $$ BEGIN WHILE NOT EXISTS (SELECT FROM taskq.task WHERE kind = 'explain_slow' AND current = 1) LOOP PERFORM pg_sleep(0.01); END LOOP; END $$;
SELECT is((SELECT state FROM taskq.task_status(:'slow2')), 'running', 'the next one tells its progress');
SELECT taskq.task_submit('explain_slow', '{"gate": "slow 3"}') AS slow3 \gset
SELECT ok(e.queue_position = 1 AND e.estimated_start BETWEEN s.estimated_completion - interval '1 s' AND s.estimated_completion + interval '1 s' AND e.confidence = 'medium',
	'behind it: when it is through by its own pace') FROM taskq.task_estimate(:'slow3') e, taskq.task_status(:'slow2') s;
SELECT ok(q.next_slot BETWEEN s.estimated_completion - interval '1 s' AND s.estimated_completion + interval '1 s', '... then the queue has room')
	FROM taskq.queue_estimates() q, taskq.task_status(:'slow2') s WHERE q.queue = 'slow';
SELECT taskq.task_submit('explain_slow', '{"gate": "slow 2", "tells": 9000}', queue => 'two'), taskq.task_submit('explain_slow', '{"gate": "slow 2", "tells": 1500}', queue => 'two') AS sooner \gset
DO $$ BEGIN WHILE (SELECT count(*) FROM taskq.task WHERE queue = 'two' AND current = 1) < 2 LOOP PERFORM pg_sleep(0.01); END LOOP; END $$;
SELECT taskq.task_submit('explain_slow', '{"gate": "slow 3"}', queue => 'two') AS slow4 \gset
SELECT ok(e.estimated_start BETWEEN s.estimated_completion - interval '1 s' AND s.estimated_completion + interval '1 s', 'behind several: when the first of them is through')
	FROM taskq.task_estimate(:'slow4') e, taskq.task_status(:'sooner') s;
INSERT INTO gate VALUES ('slow 2'), ('slow 3');
SELECT count(*) FROM taskq.task_wait_all(ARRAY[:'slow3', :'slow4']::uuid[]) \g /dev/null
SELECT is((SELECT state FROM taskq.task_wait(:'slow3')), 'completed', 'it ends before');
SELECT lives_ok($$ SELECT taskq.queue_drop('slow'), taskq.queue_drop('two') $$, 'the queue is as it was');

-- who could run it
SELECT is((taskq.task_explain(:'first')->'required_worker') - 'workers', jsonb_build_object('type', 'internal', 'role', current_user, 'kind', 'explain_never', 'queue', 'never'), 'a task for workers of the server: of its role');
SELECT taskq.kind_grant('explain_outside', 'explain_bob', 'work') \g /dev/null
SELECT taskq.task_submit('explain_outside') AS id \gset
SELECT is(taskq.task_explain(:'id')->'required_worker'->'roles', jsonb_build_array(current_user, 'explain_bob'), 'one for external workers: of these roles');

-- more than are counted one by one
SELECT count(*) FROM taskq.task_submit_batch('explain_never', (SELECT jsonb_agg('{}'::jsonb) FROM generate_series(1, 12000))) \g /dev/null
SELECT count(*) FROM taskq.task_submit_batch('explain_never', (SELECT jsonb_agg('{}'::jsonb) FROM generate_series(1, 12000))) \g /dev/null
SELECT id AS last FROM taskq.task WHERE kind = 'explain_never' ORDER BY id DESC LIMIT 1 \gset
SELECT ok(NOT e.position_exact AND e.queue_position BETWEEN 10000 AND 24002, 'far behind a place is an estimate, never more than what waits') FROM taskq.task_estimate(:'last') e;
SELECT ok(r->>'message' ~ '^About \d+ tasks' AND NOT (r->'details') ? 'exact', '... task_explain says so') FROM jsonb_array_elements(taskq.task_explain(:'last')->'reasons') r WHERE r->>'code' = 'ahead';
SELECT id AS hundredth FROM taskq.task WHERE kind = 'explain_never' AND priority = 0 ORDER BY id OFFSET 99 LIMIT 1 \gset
SELECT is((e.queue_position, e.position_exact)::text, '(101,t)', 'in front it is counted, with those that are more urgent') FROM taskq.task_estimate(:'hundredth') e;
SELECT is((SELECT array_agg(queue_position ORDER BY id) FROM (SELECT * FROM taskq.task WHERE kind = 'explain_never' AND priority = 0 ORDER BY id LIMIT 3) t), '{2,3,4}', 'a list has the places');
SELECT cleared FROM taskq.queue_clear('never') \g /dev/null

-- others' tasks: alice and bob submit to one role, of which neither is a member
SELECT taskq.queue_pause('shared') \g /dev/null
SET SESSION AUTHORIZATION explain_alice;
SELECT taskq.task_submit('explain_shared', concurrency_key => 'k') AS alices \gset
SET SESSION AUTHORIZATION explain_bob;
SELECT taskq.task_submit('explain_shared', concurrency_key => 'k') AS bobs \gset
SELECT is(error_of(format('SELECT taskq.task_explain(%L)', :'alices')), 'PT404', 'another one''s task is not explained');
SELECT is(error_of(format('SELECT taskq.task_estimate(%L)', :'alices')), 'PT404', '... nor estimated');
SELECT is((e.queue_position, e.estimated_start, e.estimated_duration, e.confidence)::text, '(,,,none)', 'who may not see all tasks of the role has no place among them') FROM taskq.task_estimate(:'bobs') e;
SELECT is((SELECT queue_position FROM taskq.task_status(:'bobs')), NULL, '... nor in task_status');
SELECT is((SELECT queue_position FROM taskq.task WHERE id = :'bobs'), NULL, '... nor in the view');
SELECT is(codes(:'bobs'), 'queue_paused', '... and is not told that there are others');
SELECT is((SELECT count(*) FROM taskq.queue_estimates()), 0::bigint, '... nor how the queue stands');
SELECT is((p.old_queue_position, p.new_queue_position, p.estimated_time_gained)::text, '(,,)', '... nor what a priority gains') FROM taskq.task_set_priority(:'bobs', 3) p;
RESET SESSION AUTHORIZATION;
SELECT is((SELECT queue_position FROM taskq.task_status(:'alices')), 2::bigint, 'who sees both sees its place');

-- a key that another one's task has
CREATE FUNCTION explain_gate(p jsonb) RETURNS void LANGUAGE sql AS $$ SELECT public.wait_at_gate('{"gate": "explain_key"}') $$;
SELECT taskq.kind_define('explain_shared', 'explain_gate(jsonb)', queue => 'shared', run_as => 'explain_runner'), taskq.queue_resume('shared') \g /dev/null
CALL wait_state(:'bobs', 'running');
DO $$ BEGIN WHILE codes((SELECT id FROM taskq.task WHERE kind = 'explain_shared' AND state <> 'running')) !~ '^key_busy' LOOP PERFORM pg_sleep(0.01); END LOOP; END $$;
SELECT is(taskq.task_explain(:'alices')->'reasons'->0->'details'->'tasks', jsonb_build_array(:'bobs'), 'a key in use: who sees the other task is told which');
SET SESSION AUTHORIZATION explain_alice;
SELECT is(taskq.task_explain(:'alices')->'reasons'->0->>'message', 'Its concurrency key is in use by another task.', '... who does not see it is not');
SELECT is(taskq.task_explain(:'alices')->'reasons'->0->'details'->'tasks', '[]', '... by no detail');
SELECT is((taskq.task_explain(:'alices')->'required_worker') ? 'workers', false, '... nor which workers its role has');
RESET SESSION AUTHORIZATION;
INSERT INTO gate VALUES ('explain_key');
SELECT is((SELECT count(*) FROM taskq.task_wait_all(ARRAY[:'alices', :'bobs']::uuid[]) w WHERE w.state = 'completed'), 2::bigint, 'both end');

-- claims that are not believed take away
SELECT taskq.queue_pause('default') \g /dev/null
SET SESSION AUTHORIZATION explain_web;
SELECT taskq.task_submit_many('explain_never', ARRAY['{}', '{}']::jsonb[], queue => 'default') \g /dev/null
SELECT set_config('request.jwt.claims', '{"sub": "t1"}', false) \g /dev/null
SELECT id AS mine FROM taskq.task WHERE kind = 'explain_never' ORDER BY id DESC LIMIT 1 \gset
SELECT is((e.queue_position, e.estimated_start, e.confidence, (taskq.task_explain(:'mine')->'reasons') @? '$[*] ? (@.code == "ahead")')::text, '(,,none,f)', 'who acts for one tenant is told no place') FROM taskq.task_estimate(:'mine') e;
SELECT is((SELECT count(queue_position) FROM taskq.task), 0::bigint, '... nor in the view');
SELECT ok(taskq.task_explain(:'mine')->'reasons'->0->>'code' = 'queue_paused' AND NOT (taskq.task_explain(:'mine')->'reasons'->0->'details') ? 'by', '... nor who paused the queue');
SELECT set_config('request.jwt.claims', '', false) \g /dev/null
RESET SESSION AUTHORIZATION;
SELECT cleared FROM taskq.queue_clear('default') \g /dev/null
SELECT taskq.queue_resume('default') \g /dev/null

SELECT * FROM finish();
