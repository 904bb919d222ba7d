-- When a task that waits gets its turn: priority, time, held tasks; kinds that refuse a cancel.
\ir include/prologue.psql
SELECT plan(75);

CREATE ROLE order_bob LOGIN;
CREATE ROLE order_op LOGIN;
GRANT taskq_user TO order_bob;
GRANT taskq_operator TO order_op;
CREATE TABLE ran (at serial, name text);
GRANT ALL ON ran, ran_at_seq TO PUBLIC;
CREATE FUNCTION order_note(p jsonb) RETURNS void LANGUAGE sql AS $$ INSERT INTO public.ran (name) VALUES (p->>'name') $$;
SELECT taskq.queue_define('order'), taskq.queue_pause('order'), taskq.kind_define('order', 'order_note(jsonb)', queue => 'order'),
	taskq.kind_define('order_gate', 'wait_at_gate(jsonb)'), taskq.kind_define('order_outside', queue => 'order_outside') \g /dev/null
SELECT taskq.kind_grant('order_outside', 'order_op', 'work') \g /dev/null

-- priority
SELECT taskq.task_submit('order', jsonb_build_object('name', n)) AS id FROM generate_series(1, 5) n \g /dev/null
SELECT id AS third FROM taskq.task WHERE kind = 'order' AND payload->>'name' = '3' \gset
SELECT id AS fifth FROM taskq.task WHERE kind = 'order' AND payload->>'name' = '5' \gset
SELECT is((p.task_id, p.old_priority, p.new_priority, p.old_queue_position, p.new_queue_position)::text, format('(%s,0,10,3,1)', :'third'), 'a higher priority: from the third place to the first') FROM taskq.task_set_priority(:'third', 10, 'urgent') p;
SELECT is((SELECT priority FROM taskq.task_status(:'third')), 10::int2, '... it is shown so');
SELECT is((p.old_queue_position, p.new_queue_position)::text, '(5,2)', 'another one: behind it, for it came later') FROM taskq.task_set_priority(:'fifth', 10) p;
SELECT is((p.old_priority, p.new_priority, p.old_queue_position, p.new_queue_position)::text, '(10,10,2,2)', 'the same again changes nothing') FROM taskq.task_set_priority(:'fifth', 10) p;
SELECT id AS first FROM taskq.task WHERE kind = 'order' AND payload->>'name' = '1' \gset
SELECT is((p.old_queue_position, p.new_queue_position)::text, '(3,5)', 'a lower one: behind all') FROM taskq.task_set_priority(:'first', -10) p;
SELECT is((p.old_queue_position, p.new_queue_position)::text, '(5,3)', 'and back: it takes the place of its submit') FROM taskq.task_set_priority(:'first', 0) p;
BEGIN;
SELECT priority FROM taskq.task_set_priority(:'first', 100) p, taskq.task_status(p.task_id) \g /dev/null
ROLLBACK;
SELECT is((SELECT priority FROM taskq.task_status(:'first')), 0::int2, 'one that is rolled back is none');
SELECT taskq.queue_resume('order') \g /dev/null
SELECT count(*) FROM taskq.task_wait_all(ARRAY(SELECT id FROM taskq.task WHERE kind = 'order')) \g /dev/null
SELECT is((SELECT string_agg(name, ' ' ORDER BY at) FROM ran), '3 5 1 2 4', 'they run in that order');
SELECT is(error_of(format('SELECT taskq.task_set_priority(%L, 1)', :'first')), 'PT409', 'of one that is over it is not changed');
SELECT is(error_of(format('SELECT taskq.task_set_priority(%L, 101)', :'first')), '22023', 'a priority of 101 is refused');
SELECT is(error_of(format('SELECT taskq.task_set_priority(%L, NULL)', :'first')), '22023', 'so is null');
SELECT is(error_of('SELECT taskq.task_set_priority(''00000000-0000-7000-8000-000000000000'', 1)'), 'PT404', 'an unknown task');
SELECT taskq.task_submit('order_gate', '{"gate": "order"}') AS id \gset
CALL wait_state(:'id', 'running');
SELECT is(error_of(format('SELECT taskq.task_set_priority(%L, 1)', :'id')), 'PT409', 'of one that runs it is not changed');
SELECT is(error_of(format('SELECT taskq.task_run_now(%L)', :'id')), 'PT409', '... it is not to be run now');
SELECT is(error_of(format('SELECT taskq.task_reschedule(%L, now())', :'id')), 'PT409', '... nor put off');
INSERT INTO gate VALUES ('order');
SELECT taskq.task_wait(:'id') \g /dev/null
SELECT taskq.task_submit('order_outside') AS id \gset
SELECT is((p.old_queue_position, p.new_queue_position)::text, '(1,1)', 'of a task for external workers it is changed') FROM taskq.task_set_priority(:'id', 5) p;
SELECT is((SELECT id FROM taskq.task_claim('w', kinds => '{order_outside}')), :'id', '... it is claimed');
SELECT is(error_of(format('SELECT taskq.task_set_priority(%L, 1)', :'id')), 'PT409', '... and not changed any more');

-- with concurrency keys
SELECT taskq.queue_pause('order') \g /dev/null
SELECT taskq.task_submit('order', jsonb_build_object('name', 'key'), concurrency_key => 'k' || n) AS id FROM generate_series(1, 3) n \g /dev/null
SELECT id AS last FROM taskq.task WHERE concurrency_key = 'k3' \gset
SELECT is((p.old_queue_position, p.new_queue_position)::text, '(3,1)', 'of a task with a concurrency key it is changed too') FROM taskq.task_set_priority(:'last', 1) p;
SELECT is((SELECT count(*) FROM taskq_internal.keyed k JOIN taskq_internal.lane l ON l.id = k.lane WHERE k.id = :'last' AND l.priority = 1), 1::bigint, '... it is found in its new place');
SELECT taskq.queue_resume('order') \g /dev/null
SELECT is((SELECT count(*) FILTER (WHERE successful) FROM taskq.task_wait_all(ARRAY(SELECT id FROM taskq.task WHERE concurrency_key LIKE 'k_'))), 3::bigint, '... all run');

-- of a tenant
SELECT taskq.queue_pause('order') \g /dev/null
SELECT taskq.task_submit('order', '{"name": "tenant"}', options => '{"tenant": "order"}') AS id \gset
SELECT priority FROM taskq.task_set_priority(:'id', 6) p, taskq.task_status(p.task_id) \g /dev/null
SELECT is((SELECT l.priority FROM taskq_internal.task t JOIN taskq_internal.lane l ON l.id = t.lane WHERE t.id = :'id' AND l.tenant <> 0), 6::int2, 'a tenant''s task stays in lanes of its tenant');
SELECT taskq.queue_resume('order') \g /dev/null
SELECT is((SELECT state FROM taskq.task_wait(:'id')), 'completed', '... and runs');

-- of those that wait for their time
SELECT taskq.task_submit('order', '{"name": "later"}', delay => '1 h') AS id \gset
SELECT is((p.old_priority, p.new_priority, p.old_queue_position, p.new_queue_position)::text, '(0,7,,)', 'a scheduled task has no place yet') FROM taskq.task_set_priority(:'id', 7) p;
SELECT is((state, priority)::text, '(scheduled,7)', '... it still waits') FROM taskq.task_status(:'id');
SELECT is((SELECT count(*) FROM taskq_internal.timer t JOIN taskq_internal.lane l ON l.id = t.lane WHERE t.id = :'id' AND l.priority = 7), 1::bigint, '... its timer goes with it');
SELECT lives_ok(format('SELECT taskq.task_run_now(%L)', :'id'), 'it is run now');
SELECT is((state, priority)::text, '(completed,7)', '... and completes') FROM taskq.task_wait(:'id');
SELECT is((SELECT count(*) FROM taskq_internal.timer t WHERE t.id = :'id'), 0::bigint, '... no timer is left');
SELECT is(error_of(format('SELECT taskq.task_run_now(%L)', :'id')), 'PT409', 'one that is over is not run now');

-- blocked
SELECT taskq.task_submit('order', run_at => 'infinity') AS before \gset
SELECT taskq.task_submit('order', '{"name": "after"}', depends_on => ARRAY[:'before'::uuid]) AS id \gset
SELECT is((p.old_priority, p.new_priority)::text, '(0,9)', 'a blocked task gets another priority') FROM taskq.task_set_priority(:'id', 9) p;
SELECT is(error_of(format('SELECT taskq.task_run_now(%L)', :'id')), 'PT409', '... is not run now');
SELECT is(error_of(format('SELECT taskq.task_reschedule(%L, now())', :'id')), 'PT409', '... nor put off');
SELECT taskq.task_run_now(:'before') \g /dev/null
SELECT is((state, priority)::text, '(completed,9)', '... runs when its turn comes') FROM taskq.task_wait(:'id');

-- blocked and held
SELECT taskq.task_submit('order', run_at => 'infinity') AS before \gset
SELECT taskq.task_submit('order', run_at => 'infinity', depends_on => ARRAY[:'before'::uuid]) AS id \gset
SELECT taskq.task_run_now(:'before') \g /dev/null
SELECT taskq.task_wait(:'before') \g /dev/null
CALL wait_state(:'id', 'scheduled');
SELECT is((state, run_at)::text, '(scheduled,infinity)', 'a held task that waited for another one is held when that is over') FROM taskq.task_status(:'id');
SELECT is((SELECT count(*) FROM taskq_internal.timer t WHERE t.id = :'id'), 0::bigint, '... without timer');
SELECT taskq.task_run_now(:'id') \g /dev/null
SELECT is((SELECT state FROM taskq.task_wait(:'id')), 'completed', '... until it is let go');

-- held
SELECT taskq.task_submit('order', '{"name": "held"}', run_at => 'infinity') AS id \gset
SELECT is((state, run_at)::text, '(scheduled,infinity)', 'a task can be held') FROM taskq.task_status(:'id');
SELECT is((SELECT count(*) FROM taskq_internal.timer t WHERE t.id = :'id'), 0::bigint, '... it has no timer');
SELECT is((SELECT state FROM taskq.task_wait(:'id', '0')), 'scheduled', '... it does not run');
SELECT lives_ok(format('SELECT taskq.task_set_priority(%L, 3)', :'id'), '... it can get another priority');
SELECT taskq.task_run_now(:'id') \g /dev/null
SELECT is((state, run_at < 'infinity')::text, '(completed,t)', '... let go, it runs') FROM taskq.task_wait(:'id');
SELECT taskq.task_submit('order', run_at => 'infinity') AS id \gset
SELECT lives_ok(format('SELECT taskq.task_reschedule(%L, now() + ''1 h'')', :'id'), 'one that is held gets a time');
SELECT is((SELECT count(*) FROM taskq_internal.timer t WHERE t.id = :'id'), 1::bigint, '... and a timer');
SELECT lives_ok(format('SELECT taskq.task_reschedule(%L, ''infinity'')', :'id'), '... is held again');
SELECT is((SELECT count(*) FROM taskq_internal.timer t WHERE t.id = :'id'), 0::bigint, '... without timer');
SELECT lives_ok(format('SELECT taskq.task_reschedule(%L, now() - interval ''1 h'')', :'id'), '... rescheduled into the past');
SELECT is((SELECT state FROM taskq.task_wait(:'id')), 'completed', '... it runs');
SELECT taskq.task_submit('order', run_at => 'infinity') AS id \gset
SELECT is((c.cancelled, c.message)::text, '(t,"the task is cancelled")', 'a held task can be cancelled') FROM taskq.task_cancel(:'id') c;
SELECT is(error_of($$SELECT taskq.task_submit('order', run_at => '-infinity')$$), '22023', 'a time of -infinity is refused');
SELECT taskq.task_submit('order', run_at => 'infinity') AS id \gset
SELECT is(error_of(format('SELECT taskq.task_reschedule(%L, ''-infinity'')', :'id')), '22023', '... also when it is rescheduled');
SELECT is(error_of(format('SELECT taskq.task_reschedule(%L, NULL)', :'id')), '22023', '... and null');
SELECT taskq.task_cancel(:'id') \g /dev/null

-- a pending task is put off
SELECT taskq.queue_pause('order') \g /dev/null
SELECT taskq.task_submit('order', '{"name": "put off"}') AS id \gset
SELECT is(error_of(format('SELECT taskq.task_run_now(%L)', :'id')), 'PT409', 'a pending task does not wait for its time');
SELECT lives_ok(format('SELECT taskq.task_reschedule(%L, now() - interval ''1 h'')', :'id'), '... a time in the past changes nothing');
SELECT is((SELECT state FROM taskq.task_status(:'id')), 'pending', '... it is still pending');
SELECT lives_ok(format('SELECT taskq.task_reschedule(%L, ''infinity'')', :'id'), 'it can be held');
SELECT taskq.queue_resume('order') \g /dev/null
SELECT taskq.task_submit('order', '{"name": "behind"}') AS behind \gset
SELECT is((SELECT state FROM taskq.task_wait(:'behind')), 'completed', '... others pass it');
SELECT is((SELECT state FROM taskq.task_status(:'id')), 'scheduled', '... it waits');
SELECT taskq.task_run_now(:'id') \g /dev/null
SELECT is((SELECT state FROM taskq.task_wait(:'id')), 'completed', '... until it is let go');

-- one that waits to be tried again
CREATE TABLE order_may (yes bool);
INSERT INTO order_may VALUES (false);
GRANT SELECT ON order_may TO PUBLIC;
CREATE FUNCTION order_try(p jsonb) RETURNS void LANGUAGE plpgsql AS $$ BEGIN IF NOT (SELECT yes FROM public.order_may) THEN RAISE EXCEPTION 'not yet'; END IF; END $$;
SELECT taskq.kind_define('order_try', 'order_try(jsonb)', backoff => '1 h') \g /dev/null
SELECT taskq.task_submit('order_try') AS id \gset
CALL wait_state(:'id', 'retrying');
UPDATE order_may SET yes = true;
SELECT is((p.old_priority, p.new_priority)::text, '(0,4)', 'a task that waits to be tried again gets another priority') FROM taskq.task_set_priority(:'id', 4) p;
SELECT lives_ok(format('SELECT taskq.task_run_now(%L)', :'id'), '... and is tried now');
SELECT is((state, attempt, priority)::text, '(completed,2,4)', '... it completes') FROM taskq.task_wait(:'id');

-- rights
SET ROLE order_op;
SELECT taskq.task_submit_sql('SELECT 1', run_at => 'infinity') AS id \gset
RESET ROLE;
SET ROLE order_bob;
SELECT is(error_of(format('SELECT taskq.task_set_priority(%L, 1)', :'id')), 'PT404', 'another''s task is not there');
SELECT is(error_of(format('SELECT taskq.task_run_now(%L)', :'id')), 'PT404', '... nor to be run now');
SELECT is(error_of(format('SELECT taskq.task_reschedule(%L, now())', :'id')), 'PT404', '... nor to be put off');
RESET ROLE;
GRANT taskq_monitor TO order_bob;
SET ROLE order_bob;
SELECT is(error_of(format('SELECT taskq.task_set_priority(%L, 1)', :'id')), '42501', 'who may only see it does not steer it');
SELECT is(error_of(format('SELECT taskq.task_run_now(%L)', :'id')), '42501', '... nor run it now');
SET ROLE order_op;
SELECT lives_ok(format('SELECT taskq.task_set_priority(%L, 1)', :'id'), 'its submitter steers it; so it is SQL commands too');
SELECT taskq.task_cancel(:'id') \g /dev/null
RESET ROLE;

-- kinds that refuse a cancel
SELECT taskq.kind_define('order_cleanup', 'wait_at_gate(jsonb)', queue => 'order', cancellable => false) \g /dev/null
SELECT is((SELECT cancellable FROM taskq.kind WHERE name = 'order_cleanup'), false, 'a kind can refuse a cancel');
SELECT taskq.queue_pause('order') \g /dev/null
SELECT taskq.task_submit('order_cleanup', '{"gate": "cleanup"}') AS id \gset
SELECT is(error_of(format('SELECT taskq.task_cancel(%L)', :'id')), 'PT409', '... of a task that waits');
SELECT is((SELECT c.cancelled FROM taskq.task_cancel(:'id', force => true) c), true, '... unless it is forced');
SELECT taskq.queue_resume('order') \g /dev/null
SELECT taskq.task_submit('order_cleanup', '{"gate": "cleanup"}') AS id \gset
CALL wait_state(:'id', 'running');
SELECT is(error_of(format('SELECT taskq.task_cancel(%L)', :'id')), 'PT409', '... of one that runs');
SELECT matches(hint_of(format('SELECT taskq.task_cancel(%L)', :'id')), 'force => true', '... the hint tells how');
INSERT INTO gate VALUES ('cleanup');
SELECT is((SELECT state FROM taskq.task_wait(:'id')), 'completed', '... it completes');
SELECT is((SELECT c.message FROM taskq.task_cancel(:'id') c), 'the task is already completed', 'one that is over says so, as ever');

SELECT * FROM finish();
