-- The situation on one page: what each role sees of it, and what operators are warned of.
\ir include/prologue.psql
SELECT plan(37);

CREATE ROLE sitrep_anna LOGIN IN ROLE taskq_user;
CREATE ROLE sitrep_seer LOGIN IN ROLE taskq_monitor;
CREATE FUNCTION sitrep_broken(p jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$ BEGIN RAISE 'no such asset' USING ERRCODE = 'XX123'; END $$;
SELECT taskq.queue_define('sitrep_held'), taskq.queue_pause('sitrep_held', 'for a test'),
	taskq.kind_define('sitrep_echo', 'echo(jsonb)'), taskq.kind_define('sitrep_outside', queue => 'sitrep_outside'),
	taskq.kind_define('sitrep_broken', 'sitrep_broken(jsonb)', max_attempts => 1) \g /dev/null
SELECT taskq.task_submit('sitrep_echo', queue => 'sitrep_held') AS held, taskq.task_submit('sitrep_outside') AS outside,
	taskq.task_submit('sitrep_broken') AS broken \gset
SELECT state FROM taskq.task_wait(:'broken') \g /dev/null

-- an operator
SELECT taskq.sitrep() AS s \gset
SELECT is(:'s'::jsonb->'running', 'true', 'tasks are run');
SELECT is(q->>'waiting', '1', 'a queue with what waits in it') FROM jsonb_array_elements(:'s'::jsonb->'queues') q WHERE q->>'name' = 'sitrep_held';
SELECT ok((q->>'oldest')::timestamptz <= clock_timestamp() AND (q->>'oldest')::timestamptz > clock_timestamp() - interval '10 min', '... since when')
FROM jsonb_array_elements(:'s'::jsonb->'queues') q WHERE q->>'name' = 'sitrep_held';
SELECT taskq.queue_define('sitrep_old'), taskq.queue_pause('sitrep_old') \g /dev/null
SELECT taskq.task_submit('sitrep_echo', queue => 'sitrep_old', run_at => '1990-01-01') AS old, taskq.task_submit('sitrep_echo', queue => 'sitrep_old', priority => 1, run_at => '4713-01-01 BC') AS older \gset
SELECT ok(q.oldest > clock_timestamp() - interval '10 min', '... which is since its submit at most') FROM taskq.queue q WHERE q.name = 'sitrep_old';
SELECT taskq.task_cancel(:'old'), taskq.task_cancel(:'older'), taskq.queue_resume('sitrep_old'), taskq.queue_drop('sitrep_old') \g /dev/null
SELECT is(q->>'pause_reason', 'for a test', '... and why it is paused') FROM jsonb_array_elements(:'s'::jsonb->'queues') q WHERE q->>'name' = 'sitrep_held';
SELECT is(f->>'message', 'no such asset', 'what failed, and why') FROM jsonb_array_elements(:'s'::jsonb->'failed') f WHERE f->>'id' = :'broken';
SELECT ok(:'s'::jsonb ? 'cluster' AND :'s'::jsonb ? 'active' AND :'s'::jsonb ? 'next' AND :'s'::jsonb ? 'stalled', 'workers, what runs, what is next, what stands still');
SELECT ok(:'s'::jsonb ? 'dead_rows' AND :'s'::jsonb ? 'launcher', 'processes and tables');
SELECT is(count(*), 1::bigint, 'a warning of the paused queue')
FROM jsonb_array_elements_text(:'s'::jsonb->'warnings') w WHERE w LIKE 'Queue sitrep_held is paused and 1 task waits in it:%';
SELECT is(count(*), 1::bigint, '... and of the task for which there is no worker')
FROM jsonb_array_elements_text(:'s'::jsonb->'warnings') w WHERE w LIKE '1 task of kind sitrep_outside in queue sitrep_outside waits, and no external worker asks%';
SELECT is((SELECT array_agg(w.warning) FROM taskq.warning w), ARRAY(SELECT jsonb_array_elements_text(taskq.sitrep()->'warnings')), 'view warning has the same');
SELECT is((SELECT jsonb_object_agg(c.state, c.n) FROM (SELECT state, sum(n) AS n FROM taskq.task_counts() GROUP BY 1) c), taskq.sitrep()->'tasks', 'how many tasks there are, by state');

-- of a sort, as many as one reads
SELECT taskq.queue_define('sitrep_many_' || i), taskq.queue_pause('sitrep_many_' || i), taskq.task_submit_many('sitrep_echo', '{"1", "2"}', queue => 'sitrep_many_' || i) FROM generate_series(1, 25) i \g /dev/null
SELECT is((SELECT count(*) FROM taskq.warning WHERE warning LIKE 'Queue sitrep_many_% is paused and 2 tasks wait in it: %'), 20::bigint, 'of many paused queues those where most waits are told of');
SELECT is((SELECT count(*) FROM taskq.warning WHERE warning = '6 more are like this last one.'), 1::bigint, '... and how many there are besides');
CREATE FUNCTION sitrep_blocks(command text, OUT n int) LANGUAGE plpgsql AS $$
DECLARE
	plan json;
BEGIN
	EXECUTE 'EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) ' || command INTO plan;
	n := (plan->0->'Plan'->>'Shared Hit Blocks')::int + (plan->0->'Plan'->>'Shared Read Blocks')::int;
END $$;
SELECT sitrep_blocks('SELECT sum(waiting) FROM taskq_internal.lanes()') \g /dev/null
SELECT is(sitrep_blocks('SELECT sum(waiting) FROM taskq_internal.lanes()'), 0, 'how many wait is known without a look at the tables');

-- what does not change is not looked for again
SELECT taskq.queue_define('sitrep_more_' || i), taskq.queue_pause('sitrep_more_' || i), taskq.task_submit('sitrep_echo', queue => 'sitrep_more_' || i) FROM generate_series(1, 300) i \g /dev/null
SELECT count(oldest) FROM taskq.queue WHERE name LIKE 'sitrep_more_%' \g /dev/null
SELECT taskq.sitrep() \g /dev/null
SELECT is(sitrep_blocks('SELECT count(oldest) FROM taskq_internal.lanes(true)'), 0, 'since when the first task of a queue waits is looked for once');
SELECT cmp_ok(sitrep_blocks('SELECT taskq.sitrep()'), '<', 4000, '... so of hundreds of paused queues there is a report at little cost');
SELECT is((SELECT count(*) FROM taskq.queue q JOIN taskq.task_list('{"state": "pending"}', 'priority', n => 1000) t ON t.queue = q.name AND t.created_at = q.oldest WHERE q.name LIKE 'sitrep_more_%'), 300::bigint, '... and it is true');
SELECT taskq.queue_clear('sitrep_more_' || i), taskq.queue_resume('sitrep_more_' || i), taskq.queue_drop('sitrep_more_' || i) FROM generate_series(1, 300) i \g /dev/null
SELECT taskq.queue_clear('sitrep_many_' || i), taskq.queue_resume('sitrep_many_' || i), taskq.queue_drop('sitrep_many_' || i) FROM generate_series(1, 25) i \g /dev/null

-- a monitor sees as much
SET SESSION AUTHORIZATION sitrep_seer;
SELECT taskq.sitrep() AS s \gset
SELECT ok(:'s'::jsonb ? 'dead_rows', 'a monitor sees as much');
SELECT ok(:'s'::jsonb->'warnings' <> '[]', '... and is warned');

-- who submits tasks sees its own
SET SESSION AUTHORIZATION sitrep_anna;
SELECT taskq.task_submit('sitrep_echo', queue => 'sitrep_held') AS mine \gset
SELECT taskq.sitrep() AS s \gset
SELECT is(:'s'::jsonb->'running', 'true', 'a user is told whether tasks are run');
SELECT ok(NOT :'s'::jsonb ?| '{dead_rows,launcher,oldest_snapshot,quarantined}', '... not of processes and tables');
SELECT is(:'s'::jsonb->'failed', '[]', '... nor of what others submitted');
SELECT is((SELECT array_agg(n->>'id') FROM jsonb_array_elements(:'s'::jsonb->'next') n), ARRAY[:'mine'], '... but of its own that wait');
SELECT is(:'s'::jsonb->'warnings', '[]', '... and is not warned of what operators see to');
SELECT is((SELECT count(*) FROM taskq.warning), 0::bigint, '... nor by the view');
SELECT is((SELECT report FROM taskq.server), NULL, '... nor reported to');
SELECT is(error_of('SELECT taskq_internal.report()'), '42501', '... by any way');
SELECT is(error_of('SELECT * FROM taskq_internal.stalled()'), '42501', '... whatever its name');

-- a tenant
RESET SESSION AUTHORIZATION;
CREATE ROLE sitrep_gate LOGIN IN ROLE taskq_user;
SET taskq.trusted_gateways = 'sitrep_gate';
SET SESSION AUTHORIZATION sitrep_gate;
SELECT set_config('request.jwt.claims', '{"sub": "t1"}', false) \g /dev/null
SELECT taskq.sitrep() AS s \gset
SELECT is(:'s'::jsonb->'failed', '[]', 'who acts for a tenant sees nothing of others');
SELECT ok(NOT :'s'::jsonb ? 'dead_rows', '... nor processes and tables');
SELECT is(:'s'::jsonb->'warnings', '[]', '... nor warnings');
SELECT is(:'s'::jsonb->'workers', 'null', '... nor how many workers there are');
SELECT set_config('request.jwt.claims', '', false) \g /dev/null
RESET SESSION AUTHORIZATION;
RESET taskq.trusted_gateways;

-- everything is paused
SELECT taskq.pause('moving') \g /dev/null
SELECT matches((SELECT warning FROM taskq.warning LIMIT 1), 'called taskq.pause\(\) at .*: moving;', 'the first warning is that nothing runs');
SET SESSION AUTHORIZATION sitrep_anna;
SELECT is((SELECT (running, paused)::text FROM taskq.server), '(f,t)', 'users are told, too');
SELECT matches(taskq.sitrep()->>'why_paused', 'moving', '... and why');
RESET SESSION AUTHORIZATION;
SELECT taskq.resume() \g /dev/null
SELECT is((SELECT running FROM taskq.server), true, 'until it goes on');

SELECT taskq.task_cancel(:'held'), taskq.task_cancel(:'mine'), taskq.task_cancel(:'outside'), taskq.queue_resume('sitrep_held'), taskq.queue_drop('sitrep_held') \g /dev/null
SELECT * FROM finish();
