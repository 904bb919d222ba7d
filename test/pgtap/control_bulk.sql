-- Many tasks at once: clearing queues, bulk actions by list and by filter.
\ir include/prologue.psql
SELECT plan(63);

CREATE ROLE bulk_alice LOGIN;
CREATE ROLE bulk_bob LOGIN;
CREATE ROLE bulk_op LOGIN;
GRANT taskq_user TO bulk_alice, bulk_bob;
GRANT taskq_operator, taskq_user TO bulk_op;
GRANT ALL ON SCHEMA public TO bulk_alice;
CREATE TABLE bulk_may (yes bool);
INSERT INTO bulk_may VALUES (false);
GRANT SELECT ON bulk_may TO PUBLIC;
CREATE FUNCTION bulk_try(p jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$ BEGIN IF NOT (SELECT yes FROM public.bulk_may) THEN RAISE EXCEPTION 'not yet'; END IF; RETURN p; END $$;
SELECT taskq.kind_define('bulk_a', 'echo(jsonb)', queue => 'bulk'), taskq.kind_define('bulk_b', 'echo(jsonb)', queue => 'bulk'),
	taskq.kind_define('bulk_c', 'echo(jsonb)', queue => 'bulk', cancellable => false), taskq.kind_define('bulk_gate', 'wait_at_gate(jsonb)', queue => 'bulk'),
	taskq.kind_define('bulk_try', 'bulk_try(jsonb)', max_attempts => 1), taskq.kind_define('bulk_back', 'bulk_try(jsonb)', backoff => '1 h'), taskq.kind_define('bulk_outside', queue => 'bulk_outside') \g /dev/null
SELECT taskq.queue_define('bulk') \g /dev/null

-- what a clear does
SELECT taskq.task_submit('bulk_gate', '{"gate": "bulk"}') AS running \gset
CALL wait_state(:'running', 'running');
SELECT taskq.queue_pause('bulk') \g /dev/null
SELECT taskq.task_submit('bulk_a', tags => ARRAY['t' || n % 2]) FROM generate_series(1, 6) n \g /dev/null
SELECT taskq.task_submit('bulk_b', priority => 9), taskq.task_submit('bulk_b', concurrency_key => 'k'), taskq.task_submit('bulk_b', delay => '1 h') \g /dev/null
SELECT taskq.task_submit('bulk_c') AS refusing \gset
SELECT is((c.cleared, c.cleared_kinds, c.running, cardinality(c.task_ids))::text, '(3,{bulk_a},0,3)', 'by tag') FROM taskq.queue_clear('bulk', '{bulk_a}', tags => '{t0,t7}', reason => 'by tag') c;
SELECT is((SELECT count(*) FROM taskq.task WHERE queue = 'bulk' AND state = 'cancelled' AND cancel_reason = 'by tag'), 3::bigint, '... with the reason');
SELECT is((c.cleared)::text, '0', 'older than the first: none') FROM taskq.queue_clear('bulk', older_than => now() - interval '1 h') c;
SELECT is((c.cleared, c.cleared_kinds, c.running)::text, '(2,{bulk_a},1)', 'no more than n') FROM taskq.queue_clear('bulk', n => 2) c;
SELECT is((c.cleared, array_length(c.cleared_kinds, 1), c.running)::text, '(2,2,1)', 'by priority; the one that runs is told') FROM taskq.queue_clear('bulk', max_priority => 0) c;
SELECT is((c.cleared, c.cleared_kinds)::text, '(1,{bulk_b})', 'what is left, but not what waits for its time') FROM taskq.queue_clear('bulk') c;
SELECT is((SELECT string_agg(kind || ' ' || state, ',' ORDER BY kind, state) FROM taskq.task WHERE queue = 'bulk' AND state <> 'cancelled'),
	'bulk_b scheduled,bulk_c pending,bulk_gate running', '... nor what runs, or refuses');
SELECT is((c.cleared, c.cleared_kinds, c.running, c.task_ids)::text, '(0,{},1,{})', 'then there is nothing') FROM taskq.queue_clear('bulk') c;
SELECT is(error_of($$SELECT taskq.queue_clear('bulk_nowhere')$$), 'PT404', 'an unknown queue');
SELECT is(error_of($$SELECT taskq.queue_clear(n => 0)$$), '22023', 'none at most is refused');
SELECT is(error_of($$SELECT taskq.queue_clear(kinds => '{NULL}')$$), '22023', 'so is null among the kinds');
SELECT taskq.task_submit('bulk_outside') FROM generate_series(1, 3) \g /dev/null
SELECT count(*) FROM taskq.task_claim('w', kinds => '{bulk_outside}') \g /dev/null
SELECT is((c.cleared, c.running)::text, '(2,1)', 'of tasks for external workers the leased one is left') FROM taskq.queue_clear('bulk_outside') c;
INSERT INTO gate VALUES ('bulk');
SELECT taskq.queue_resume('bulk') \g /dev/null
SELECT is((SELECT state FROM taskq.task_wait(:'running')), 'completed', 'the one that ran completes');
SELECT is((SELECT state FROM taskq.task_wait(:'refusing')), 'completed', '... and the one that refuses');

-- bulk by list
SELECT taskq.queue_pause('bulk') \g /dev/null
SELECT array_agg(taskq.task_submit('bulk_a')) AS ids FROM generate_series(1, 3) \gset
SELECT is(string_agg(concat_ws(' ', success, status, error->>'sqlstate'), ',' ORDER BY b.ordinality), 't cancelled,f PT404,f completed PT409,t cancelled,f cancelled PT409,t cancelled', 'one that fails does not keep the others')
FROM taskq.task_bulk('cancel', (:'ids'::uuid[])[1:1] || '00000000-0000-7000-8000-000000000000'::uuid || :'running'::uuid || (:'ids'::uuid[])[2:2] || (:'ids'::uuid[])[2:2] || (:'ids'::uuid[])[3:3], reason => 'list') WITH ORDINALITY b;
SELECT is((SELECT count(*) FROM taskq.task WHERE cancel_reason = 'list' AND state = 'cancelled'), 3::bigint, '... they are cancelled');
SELECT is((SELECT count(*) FROM taskq.task_bulk('cancel', '{}')), 0::bigint, 'an empty list');
SELECT taskq.task_submit('bulk_c', run_at => 'infinity') AS placed \gset
SELECT is((SELECT success FROM taskq.task_bulk('cancel', ARRAY[:'placed'::uuid], 'by place', true)), true, 'reason and force by their place');
SELECT is(cancel_reason, 'by place', '... and kept') FROM taskq.task_status(:'placed');
SELECT taskq.task_submit('bulk_c') AS refusing \gset
SELECT is((b.success, b.status, b.error->>'sqlstate')::text, '(f,pending,PT409)', 'a kind that refuses') FROM taskq.task_bulk('cancel', ARRAY[:'refusing'::uuid]) b;
SELECT is((b.success, b.status, b.error)::text, '(t,cancelled,)', '... is forced') FROM taskq.task_bulk('cancel', ARRAY[:'refusing'::uuid], force => true) b;
SELECT is((b.success, b.status)::text, '(t,deleted)', 'delete') FROM taskq.task_bulk('delete', ARRAY[:'refusing'::uuid]) b;
SELECT is(error_of(format('SELECT taskq.task_status(%L)', :'refusing')), 'PT404', '... it is gone');
SELECT taskq.task_submit('bulk_a', run_at => 'infinity') AS held \gset
SELECT is((b.success, b.status)::text, '(t,scheduled)', 'priority') FROM taskq.task_bulk('priority', ARRAY[:'held'::uuid], priority => 7) b;
SELECT is((b.success, b.status)::text, '(t,pending)', 'run now') FROM taskq.task_bulk('run_now', ARRAY[:'held'::uuid]) b;
SELECT is((state, priority)::text, '(pending,7)', '... both are done') FROM taskq.task_status(:'held');
SELECT is((b.success, b.status, b.error->>'sqlstate', b.error->>'context')::text, '(f,pending,PT409,)', 'one that fails tells its state') FROM taskq.task_bulk('run_now', ARRAY[:'held'::uuid]) b;
SELECT taskq.task_submit('bulk_back') AS back \gset
CALL wait_state(:'back', 'retrying');
SELECT taskq.task_reschedule(:'back', 'infinity') \g /dev/null
SELECT is((SELECT string_agg(id::text, ',') FROM taskq.task_list('{"state": "retrying"}')), :'back', 'what is to be tried again, and is held, is listed');
SELECT is((SELECT string_agg(concat_ws(' ', b.task_id, b.success, b.status), ',') FROM taskq.task_bulk('run_now', filter => '{"kind": "bulk_back"}') b), :'back' || ' t pending', '... and found by a filter');
SELECT array_agg(taskq.task_submit('bulk_try')) AS ids FROM generate_series(1, 2) \gset
SELECT taskq.task_wait_all(:'ids') \g /dev/null
UPDATE bulk_may SET yes = true;
SELECT array_agg(b.new_task_id) AS new_ids, bool_and(b.success AND b.status = 'failed') AS retried FROM taskq.task_bulk('retry', :'ids') b \gset
SELECT is(:'retried'::bool, true, 'retry');
SELECT is((SELECT string_agg(w.state, ',') FROM taskq.task_wait_all(:'new_ids') w), 'completed,completed', '... the new tasks run');
SELECT is((SELECT count(*) FROM taskq.task WHERE retry_of = ANY (:'ids')), 2::bigint, '... one for each');
SELECT is(error_of($$SELECT taskq.task_bulk('explode', '{}')$$), '22023', 'an unknown action');
SELECT is(error_of($$SELECT taskq.task_bulk(NULL, '{}')$$), '22023', 'none');
SELECT is(error_of($$SELECT taskq.task_bulk('cancel')$$), '22023', 'neither list nor filter');
SELECT is(error_of($$SELECT taskq.task_bulk('cancel', '{}', filter => '{}')$$), '22023', 'both');
SELECT is(error_of($$SELECT taskq.task_bulk('priority', '{}')$$), '22023', 'priority without one');
SELECT is(error_of($$SELECT taskq.task_bulk('priority', '{}', priority => 101)$$), '22023', '... and a bad one');
SELECT is(error_of($$SELECT taskq.task_bulk('cancel', '{NULL}')$$), '22023', 'null in the list');
SELECT is(error_of($$SELECT taskq.task_bulk('cancel', filter => '{}', n => 100001)$$), '22023', 'too many');

-- bulk by filter
SELECT taskq.queue_clear('bulk') \g /dev/null
SELECT taskq.task_submit('bulk_a', jsonb_build_object('n', n, 'deep', jsonb_build_object('x', n % 2)), tags => ARRAY['f' || n % 5], metadata => jsonb_build_object('m', n % 3)) FROM generate_series(1, 30) n \g /dev/null
CREATE FUNCTION found(f jsonb) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
	n bigint;
BEGIN
	BEGIN
		SELECT count(*) FILTER (WHERE success) INTO n FROM taskq.task_bulk('cancel', filter => f);
		RAISE EXCEPTION 'back' USING ERRCODE = 'BK001';
	EXCEPTION WHEN SQLSTATE 'BK001' THEN
		RETURN n;
	END;
END $$;
SELECT is(found('{"kind": "bulk_a", "state": "pending"}'), 30::bigint, 'by kind and state');
SELECT is(found('{"kind": ["bulk_a", "bulk_b"], "tags": ["f1", "f2"]}'), 12::bigint, 'by tags');
SELECT is(found('{"kind": "bulk_a", "payload": {"deep": {"x": 1}}}'), 15::bigint, 'by payload');
SELECT is(found('{"kind": "bulk_a", "payload": {"deep": {"x": 1}}, "metadata": {"m": 0}}'), 5::bigint, '... and metadata');
SELECT is(found('{"queue": "bulk", "max_priority": -1}'), 0::bigint, 'by priority');
SELECT is(found('{"queue": "bulk", "older_than": "yesterday"}'), 0::bigint, 'by age');
SELECT is(found(jsonb_build_object('kind', 'bulk_a', 'submitted_by', current_user)), 30::bigint, 'by submitter');
SELECT is(found('{"kind": "bulk_a", "submitted_by": "bulk_bob"}'), 0::bigint, '... who has none');
SELECT is(found('{"kind": "bulk_a", "tenant": "acme"}'), 0::bigint, 'by tenant');
SELECT is(found('{"kind": "bulk_a", "state": []}'), 0::bigint, 'of no state');
SELECT is(error_of($$SELECT found('{"kinds": "bulk_a"}')$$), '22023', 'an unknown member');
SELECT is(error_of($$SELECT found('{"kind": 1}')$$), '22023', '... and one of the wrong type');
SELECT is(error_of($$SELECT found('{"state": "lost"}')$$), '22023', '... and an unknown state');
SELECT is(error_of($$SELECT found('[]')$$), '22023', 'no object');
SELECT is(error_of($$SELECT found('{"payload": 1}')$$), '22023', 'a payload that is none');
WITH first AS (SELECT * FROM taskq.task_bulk('priority', filter => '{"kind": "bulk_a", "state": "pending"}', priority => 3, n => 20))
SELECT count(*) AS n, max(task_id::text) AS after FROM first \gset
SELECT is(:n, 20, 'at most n');
SELECT is((SELECT count(*) FROM taskq.task_bulk('priority', filter => '{"kind": "bulk_a", "state": "pending"}', priority => 3, n => 20, after => :'after')), 10::bigint, '... and from there on');

-- whose they are
SET ROLE bulk_bob;
SELECT is(found('{}'), 0::bigint, 'others'' tasks are not found');
SELECT is((SELECT c.cleared FROM taskq.queue_clear() c), 0::bigint, '... nor cleared');
RESET ROLE;

-- all of them, in portions that are committed
SELECT is(error_of($$CALL taskq.task_bulk_all('cancel', '{}')$$), '2D000', 'the procedure is not for transaction blocks');
SELECT taskq.task_submit_many('bulk_b', array_fill('{}'::jsonb, ARRAY[2500])) \g /dev/null
CALL taskq.task_bulk_all('cancel', '{"queue": "bulk", "state": "pending"}', 'all') \gset
SELECT is((:done, :failed)::text, '(2530,0)', 'the procedure cancels all');
SELECT is((SELECT count(*) FROM taskq.task WHERE cancel_reason = 'all'), 2530::bigint, '... they are cancelled');
CALL taskq.task_bulk_all('delete', '{"queue": "bulk"}') \gset
SELECT is((SELECT count(*) FROM taskq.task WHERE queue = 'bulk' AND ready), 0::bigint, '... and deletes what is over');

SELECT taskq.queue_resume('bulk') \g /dev/null
SELECT * FROM finish();
