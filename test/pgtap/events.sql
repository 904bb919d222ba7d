-- events_since: every task that ends is told of, in order, once to who goes on from its cursor.
\ir include/prologue.psql
SELECT plan(41);

CREATE ROLE events_a LOGIN;
CREATE ROLE events_b LOGIN;
GRANT taskq_user TO events_a, events_b;
GRANT USAGE ON SCHEMA public TO events_a, events_b;
CREATE FUNCTION events_fail(p jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no'; END $$;
SELECT count(x::text) FROM (VALUES
	(taskq.kind_define('events', 'echo(jsonb)')),
	(taskq.kind_define('events_gate', 'wait_at_gate(jsonb)')),
	(taskq.kind_define('events_fail', 'events_fail(jsonb)', max_attempts => 1)),
	(taskq.kind_define('events_many', 'echo(jsonb)', batch => true)),
	(taskq.kind_define('events_out'))) v(x) \g /dev/null

-- what is told from a cursor on until all these tasks were told of: ids in order, and the cursor
CREATE PROCEDURE told(INOUT at text, INOUT tasks uuid[], calls int DEFAULT 300, page int DEFAULT 1000) LANGUAGE plpgsql AS $$
DECLARE
	seen uuid[] := '{}';
	e jsonb;
BEGIN
	FOR i IN 1..calls LOOP
		e := taskq.events_since(at, '20 s', page);
		at := e->>'cursor';
		seen := seen || ARRAY(SELECT (x->>'task_id')::uuid FROM jsonb_array_elements(e->'events') x);
		EXIT WHEN tasks <@ seen;
	END LOOP;
	tasks := seen;
END $$;

SELECT e->>'cursor' AS c, e AS e FROM taskq.events_since() e \gset begin_
SELECT is(:'begin_e'::jsonb - 'cursor', '{"events": [], "more": false}', 'without a cursor it begins now');
SELECT is(e->>'cursor', :'begin_c', 'as long as nothing ends the cursor is the same') FROM taskq.events_since(:'begin_c') e;
SELECT is(e->>'cursor', :'begin_c', '... also when a wait is over') FROM taskq.events_since(:'begin_c', '20 ms') e;

-- what an event is
SELECT taskq.task_submit('events', '1', tags => '{x}') AS id \gset
SELECT e->'events'->0 AS e, e->>'cursor' AS c FROM taskq.events_since(:'begin_c', '20 s') e \gset first_
SELECT is(:'first_e'::jsonb - '{created_at,started_at,finished_at}'::text[],
	jsonb_build_object('task_id', :'id', 'state', 'completed', 'kind', 'events', 'queue', 'default', 'attempt', 1, 'tags', '["x"]'::jsonb), 'a task that has ended is told of');
SELECT is((:'first_e'::jsonb->>'finished_at')::timestamptz, t.finished_at, '... with the time that it has in the view') FROM taskq.task_status(:'id') t;
SELECT ok(t.ready, '... and it has ended for everybody') FROM taskq.task_status(:'id') t;
SELECT is(e->'events', '[]', 'the cursor that comes with it is behind it') FROM taskq.events_since(:'first_c') e;
SELECT is(e->'events'->0->>'task_id', :'id', 'the cursor before it tells it again') FROM taskq.events_since(:'begin_c') e;

-- each way to end
SELECT taskq.task_submit('events_fail') AS failed, taskq.task_submit('events', run_at => 'infinity') AS held,
	taskq.task_submit('events', run_at => 'infinity') AS swept, taskq.task_submit('events_gate', '{"gate": "never"}') AS running,
	taskq.task_submit('events_out') AS outside, taskq.task_submit('events_out') AS outside_fails \gset
SELECT taskq.task_submit('events', depends_on => ARRAY[:'failed']::uuid[]) AS blocked \gset
CALL wait_state(:'running', 'running');
SELECT taskq.task_cancel(:'running'), taskq.task_cancel(:'held') \g /dev/null
SELECT taskq.task_bulk('cancel', ARRAY[:'swept']::uuid[]) \g /dev/null
SELECT count(taskq.task_complete(c.id, c.token, '2')::text) FROM taskq.task_claim('w', kinds => '{events_out}') c \g /dev/null
SELECT count(taskq.task_fail(c.id, c.token, 'no', retry => false)::text) FROM taskq.task_claim('w', kinds => '{events_out}') c \g /dev/null
CALL told(:'first_c', ARRAY[:'failed', :'held', :'swept', :'running', :'outside', :'outside_fails', :'blocked']::uuid[]) \gset ways_
SELECT is((SELECT count(*)::int FROM unnest(:'ways_tasks'::uuid[])), 7, 'each that has ended is told of, once');
SELECT results_eq(format($$SELECT e->>'state' FROM unnest(%L::uuid[]) WITH ORDINALITY u(id, n)
		JOIN jsonb_array_elements(taskq.events_since(%L)->'events') e ON e->>'task_id' = u.id::text ORDER BY u.n$$,
		ARRAY[:'failed', :'held', :'swept', :'running', :'outside', :'outside_fails', :'blocked'], :'first_c'),
	ARRAY['failed', 'cancelled', 'cancelled', 'cancelled', 'completed', 'failed', 'cancelled'], '... with its state');
SELECT is((SELECT e->>'cancel_reason' FROM jsonb_array_elements(taskq.events_since(:'first_c')->'events') e WHERE e->>'task_id' = :'blocked'),
	format('dependency %s failed', :'failed'), '... and why it was cancelled');

-- many, page by page
SELECT array_agg(id) AS ids FROM taskq.task_submit_many('events', array_fill('0'::jsonb, ARRAY[700])) id \gset plain_
SELECT array_agg(id) AS ids FROM taskq.task_submit_many('events_many', array_fill('0'::jsonb, ARRAY[700])) id \gset many_
CALL told(:'ways_at', :'plain_ids'::uuid[] || :'many_ids'::uuid[]) \gset all_
SELECT is(cardinality(:'all_tasks'::uuid[]), 1400, 'of 1,400 tasks each is told of once');
CALL told(:'ways_at', :'plain_ids'::uuid[] || :'many_ids'::uuid[], page => 7) \gset paged_
SELECT is(:'paged_tasks'::uuid[], :'all_tasks'::uuid[], 'in pages of seven it is the same, in the same order');
SELECT is(:'paged_at'::text, :'all_at', '... and so is the cursor in the end');
SELECT is(jsonb_array_length(e->'events') || ', ' || (e->>'more'), '10, true', 'a page that is not the last one says that there is more') FROM taskq.events_since(:'ways_at', n => 10) e;
SELECT is(e->>'more', 'false', '... and the last one that there is not') FROM taskq.events_since(:'ways_at', n => 1400) e;

-- what has not ended is not told
SELECT taskq.task_submit('events', run_at => 'infinity') AS waits, taskq.task_submit('events') AS ends \gset
CALL told(:'all_at', ARRAY[:'ends']::uuid[]) \gset one_
SELECT is(:'one_tasks'::uuid[], ARRAY[:'ends']::uuid[], 'a task that waits is not told of');
SELECT taskq.task_cancel(:'waits') \g /dev/null
CALL told(:'one_at', ARRAY[:'waits']::uuid[]) \gset two_
BEGIN;
SELECT taskq.task_cancel(taskq.task_submit('events', run_at => 'infinity')) \g /dev/null
SAVEPOINT s;
SELECT taskq.task_submit('events', run_at => 'infinity') AS undone \gset
SELECT taskq.task_cancel(:'undone') \g /dev/null
ROLLBACK TO s;
ROLLBACK;
SELECT taskq.task_submit('events') AS after \gset
CALL told(:'two_at', ARRAY[:'after']::uuid[]) \gset three_
SELECT is(:'three_tasks'::uuid[], ARRAY[:'after']::uuid[], 'nor is one whose end was rolled back');

-- whose they are
SELECT taskq.kind_grant('events', 'events_a'), taskq.kind_grant('events', 'events_b') \g /dev/null
SET SESSION AUTHORIZATION events_a;
SELECT taskq.task_submit('events', '"a"') AS a \gset
RESET SESSION AUTHORIZATION;
SET SESSION AUTHORIZATION events_b;
SELECT taskq.task_submit('events', '"b"') AS b \gset
CALL told(:'three_at', ARRAY[:'b']::uuid[]) \gset b_
RESET SESSION AUTHORIZATION;
SELECT is(:'b_tasks'::uuid[], ARRAY[:'b']::uuid[], 'others'' tasks are not told of');
CALL told(:'three_at', ARRAY[:'a', :'b']::uuid[]) \gset both_
SELECT is((SELECT array_agg(x ORDER BY x) FROM unnest(:'both_tasks'::uuid[]) x), (SELECT array_agg(x ORDER BY x) FROM unnest(ARRAY[:'a', :'b']::uuid[]) x), '... but to who may see all');
SET SESSION AUTHORIZATION events_b;
SELECT is(e->'events', '[]', 'what others have ended moves the cursor on') FROM taskq.events_since(:'three_at', n => 1) e WHERE e->'events'->0->>'task_id' IS DISTINCT FROM :'b'
UNION ALL SELECT is(e->'events'->0->>'task_id', :'b', 'what others have ended moves the cursor on') FROM taskq.events_since(:'three_at', n => 1) e WHERE e->'events'->0->>'task_id' = :'b';
RESET SESSION AUTHORIZATION;
CREATE ROLE events_nobody;
SET ROLE events_nobody;
SELECT throws_ok($$SELECT taskq.events_since()$$, '42501', NULL, 'who may not use taskq may not read it');
RESET ROLE;
SET ROLE events_a;
SELECT throws_ok($$SELECT * FROM taskq_internal.feed$$, '42501', NULL, 'nobody reads its table');
RESET ROLE;

-- who comes through a gateway hears of his tenant's only
CREATE ROLE events_gate LOGIN NOINHERIT;
GRANT events_a TO events_gate;
ALTER SYSTEM SET taskq.trusted_gateways = 'events_gate';
CALL reload();
SET SESSION AUTHORIZATION events_gate;
BEGIN;
SET LOCAL ROLE events_a;
SELECT set_config('request.jwt.claims', '{"sub": "t1"}', true) \g /dev/null
SELECT taskq.task_submit('events') AS t1 \gset
SELECT set_config('request.jwt.claims', '{"sub": "t2"}', true) \g /dev/null
SELECT taskq.task_submit('events') AS t2 \gset
COMMIT;
BEGIN;
SET LOCAL ROLE events_a;
SELECT set_config('request.jwt.claims', '{"sub": "t1"}', true) \g /dev/null
CALL told(:'both_at', ARRAY[:'t1']::uuid[]) \gset t1_
SELECT set_config('request.jwt.claims', '{"sub": "t2"}', true) \g /dev/null
CALL told(:'both_at', ARRAY[:'t2']::uuid[]) \gset t2_
COMMIT;
RESET SESSION AUTHORIZATION;
SELECT is(:'t1_tasks'::uuid[], ARRAY[:'t1']::uuid[], 'a tenant hears of its own tasks only');
SELECT is(:'t2_tasks'::uuid[], ARRAY[:'t2']::uuid[], '... and another one of its own');
CALL told(:'both_at', ARRAY[:'t1', :'t2']::uuid[]) \gset both_
ALTER SYSTEM RESET taskq.trusted_gateways;
CALL reload();

-- what is gone
SELECT taskq.task_submit('events') AS id \gset deleted_
CALL told(:'both_at', ARRAY[:'deleted_id']::uuid[]) \gset deleted_
SELECT taskq.task_delete(:'deleted_id') \g /dev/null
SELECT is(e - 'cursor', '{"events": [], "more": false}', 'a task that was deleted is told of no more') FROM taskq.events_since(:'both_at') e;
SELECT is(e->>'cursor', :'deleted_at', '... and the cursor moves past it') FROM taskq.events_since(:'both_at') e;

-- every transaction can read
BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY;
SELECT is(e->>'cursor', :'deleted_at', 'a read-only transaction can read it') FROM taskq.events_since(:'both_at') e;
SELECT is(e->>'cursor', :'deleted_at', '... and wait') FROM taskq.events_since(:'deleted_at', '10 ms') e;
COMMIT;

-- wrong arguments
SELECT is(error_of($$SELECT taskq.events_since('')$$), '22023', 'an empty cursor is refused');
SELECT is(error_of($$SELECT taskq.events_since('x.1')$$), '22023', '... and one that is none');
SELECT is(error_of(format('SELECT taskq.events_since(%L)', :'deleted_at' || '0000000000000000000')), '22023', '... and one whose number is too large');
SELECT is(error_of(format('SELECT taskq.events_since(%L)', :'deleted_at' || 'x')), '22023', '... and one with something behind it');
SELECT is(error_of($$SELECT taskq.events_since('00000000.1')$$), 'PT410', 'one of another database is refused');
SELECT is(error_of($$SELECT taskq.events_since(n => 0)$$), '22023', 'no events cannot be asked for');
SELECT is(error_of($$SELECT taskq.events_since(n => 10001)$$), '22023', '... nor too many');
SELECT is(error_of($$SELECT taskq.events_since(wait => '-1 s')$$), '22023', '... nor a negative wait');
SELECT is(e->'events', '[]', 'a cursor that is ahead finds nothing')
FROM taskq.events_since(regexp_replace(:'deleted_at', '\d+$', '9000000000000000000')) e;

-- what was forgotten
DELETE FROM taskq_internal.feed WHERE first < (SELECT max(first) FROM taskq_internal.feed);
SELECT is(error_of(format('SELECT taskq.events_since(%L)', :'begin_c')), 'PT410', 'a cursor after which something was forgotten is refused');
SELECT is(e->'events', '[]', '... one after which nothing was is not') FROM taskq.events_since(:'deleted_at') e;
SELECT is(hint_of(format('SELECT taskq.events_since(%L)', :'begin_c')), 'Begin again without a cursor, and look for what has ended meanwhile with taskq.task_list().', '... and says what to do');

SELECT * FROM finish();
