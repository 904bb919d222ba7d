-- Of the tasks that have the same unique key one waits or runs.
\ir include/prologue.psql
SELECT plan(76);

CREATE TABLE unique_ran (name text, at timestamptz DEFAULT clock_timestamp());
CREATE FUNCTION unique_work(p jsonb) RETURNS jsonb LANGUAGE sql AS $$ INSERT INTO public.unique_ran VALUES (p->>'name') RETURNING to_jsonb(name) $$;
CREATE FUNCTION unique_fail(p jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'failed'; END $$;
SELECT count(x::text) FROM (VALUES
	(taskq.kind_define('unique', 'unique_work(jsonb)')), (taskq.kind_define('unique_other', 'unique_work(jsonb)')),
	(taskq.kind_define('unique_gate', 'wait_at_gate(jsonb)')), (taskq.kind_define('unique_fail', 'unique_fail(jsonb)', max_attempts => 2, backoff => '1 h')),
	(taskq.kind_define('unique_external', NULL)), (taskq.queue_define('unique'))) v(x) \g /dev/null
CREATE FUNCTION u(key text, name text DEFAULT '', on_conflict text DEFAULT NULL, delay interval DEFAULT '1 h', unique_for interval DEFAULT NULL, kind text DEFAULT 'unique', priority int DEFAULT NULL) RETURNS uuid LANGUAGE sql AS $$
	SELECT taskq.task_submit(kind, jsonb_build_object('name', name, 'gate', name), delay => delay, unique_key => key, on_conflict => on_conflict, unique_for => unique_for, priority => priority) $$;
CREATE FUNCTION detail_of(command text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	detail text;
BEGIN
	EXECUTE command;
	RETURN 'none';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL;
	RETURN detail;
END $$;
CREATE FUNCTION keys() RETURNS bigint LANGUAGE sql AS 'SELECT count(*) FROM taskq_internal.unique_key';

-- what a submit answers while a task with the key waits
SELECT u('a', 'first') AS id \gset
SELECT is(u('a', 'second'), :'id', 'without on_conflict the id is that of the task that has the key');
SELECT is(u('a', 'second', 'return'), :'id', '... as with return');
SELECT is(payload->>'name', 'first', '... which is as it was') FROM taskq.task_status(:'id');
SELECT is(unique_key, 'a', 'the view shows the key') FROM taskq.task_status(:'id');
SELECT is(error_of($$SELECT u('a', on_conflict => 'error')$$), 'PT409', 'error: PT409');
SELECT matches(hint_of($$SELECT u('a', on_conflict => 'error')$$), 'on_conflict', '... with a hint');
SELECT matches(detail_of($$SELECT u('a', on_conflict => 'error')$$), :'id', '... and the id in the detail');
SELECT isnt(u('b'), :'id', 'another key is free');
SELECT isnt(u('a', kind => 'unique_other'), :'id', 'so is the same key of another kind');
SELECT isnt(taskq.task_submit('unique', delay => '1 h'), :'id', '... and no key');
CREATE ROLE unique_role LOGIN;
GRANT taskq_user TO unique_role;
GRANT EXECUTE ON FUNCTION unique_work(jsonb) TO unique_role;
SET ROLE unique_role;
SELECT isnt(taskq.task_submit('unique', delay => '1 h', unique_key => 'a'), :'id', '... and the key of another role');
RESET ROLE;
SELECT is(count(*), 5::bigint, 'five tasks in all') FROM taskq.task WHERE kind IN ('unique', 'unique_other') AND NOT ready;

-- replace
SELECT is(u('a', 'third', 'replace', '2 h', priority => 7), :'id', 'replace: the same id');
SELECT is((payload->>'name', state, priority)::text, '(third,scheduled,7)', '... with what was submitted last') FROM taskq.task_status(:'id');
SELECT ok(run_at > now() + interval '90 min', '... and when') FROM taskq.task_status(:'id');
SELECT is(u('a', 'fourth', 'replace', '0'), :'id', 'without a delay it runs');
SELECT is((state, result)::text, '(completed,"""fourth""")', '... once, as it was replaced') FROM taskq.task_wait(:'id');
SELECT is(count(*), 1::bigint, '... and no other') FROM unique_ran;
SELECT isnt(u('a'), :'id', 'when it has ended the key is free');
SELECT count(taskq.task_cancel(id)) FROM taskq.task WHERE kind LIKE 'unique%' AND NOT ready \g /dev/null
SELECT is(keys(), 0::bigint, 'cancelled ones give their keys up');

-- a paused queue: pending, replaced in its place
SELECT taskq.queue_pause('unique') \g /dev/null
SELECT taskq.task_submit('unique', '{"name": "p1"}', queue => 'unique', unique_key => 'p') AS p, taskq.task_submit('unique', '{"name": "q"}', queue => 'unique') AS q \gset
SELECT is(taskq.task_submit('unique', '{"name": "p2"}', queue => 'unique', unique_key => 'p', on_conflict => 'replace'), :'p', 'a pending task is replaced');
SELECT is(taskq.task_submit('unique', '{"name": "p3"}', queue => 'unique', unique_key => 'p', on_conflict => 'queue_one'), :'p', 'queue_one: one that waits is enough');
SELECT is(taskq.task_submit('unique', '{"name": "p4"}', queue => 'unique', priority => 5, unique_key => 'p', on_conflict => 'replace'), :'p', '... replaced with another priority');
SELECT is(taskq.task_submit('unique', '{"name": "p5"}', queue => 'default', delay => '1 h', unique_key => 'p', on_conflict => 'replace'), :'p', '... and another queue and time');
SELECT is(taskq.task_submit('unique', '{"name": "p6"}', queue => 'unique', priority => 0, unique_key => 'p', on_conflict => 'replace'), :'p', '... and back');
SELECT taskq.task_submit('unique', '{"name": "c1"}', queue => 'unique', unique_key => 'c', concurrency_key => 'a') AS c \gset
SELECT is(taskq.task_submit('unique', '{"name": "c2"}', queue => 'unique', unique_key => 'c', concurrency_key => 'b', on_conflict => 'replace'), :'c', 'one with a concurrency key gets another');
SELECT is(taskq.task_submit('unique', '{"name": "c3"}', queue => 'unique', unique_key => 'c', concurrency_key => 'b', on_conflict => 'queue_one'), :'c', '... and still waits');
SELECT is(taskq.task_submit('unique', '{"name": "d1"}', queue => 'unique', unique_key => 'd', concurrency_key => 'b'), taskq.task_submit('unique', '{"name": "d2"}', queue => 'unique', unique_key => 'd', on_conflict => 'replace'), 'one with a concurrency key loses it');
SELECT taskq.queue_resume('unique') \g /dev/null
SELECT is((t.state, t.result)::text, '(completed,"""p6""")', 'it runs as it was replaced last') FROM taskq.task_wait(:'p') t;
SELECT is((t.state, t.result)::text, '(completed,"""c2""")', '... the one with a concurrency key, too') FROM taskq.task_wait(:'c') t;
SELECT is((t.state, t.result)::text, '(completed,"""d2""")', '... and the one that lost it') FROM (SELECT id FROM taskq.task WHERE unique_key = 'd') d, taskq.task_wait(d.id) t;
SELECT is(t.state, 'completed', '... and so does its neighbour') FROM taskq.task_wait(:'q') t;
SELECT is(count(*), 1::bigint, '... once') FROM unique_ran WHERE name ~ '^p';

-- while it runs
SELECT u('r', 'r1', delay => '0', kind => 'unique_gate') AS r1 \gset
CALL wait_state(:'r1', 'running');
SELECT is(u('r', 'r2', delay => '0', kind => 'unique_gate'), :'r1', 'return: the id of the running one');
SELECT u('r', 'r2', 'queue_one', '0', kind => 'unique_gate', priority => -1) AS r2 \gset
SELECT isnt(:'r2'::text, :'r1', 'queue_one: another one follows it');
CALL wait_state(:'r2', 'running');
SELECT u('r', 'r3', 'queue_one', '1 h', kind => 'unique_gate') AS r3 \gset
SELECT ok(:'r3' NOT IN (:'r1', :'r2'), '... and when that runs, too, a third one');
SELECT is(u('r', 'r4', 'queue_one', '1 h', kind => 'unique_gate'), :'r3', '... for all that come until it runs');
SELECT is(u('r', 'r5', 'replace', '1 h', kind => 'unique_gate'), :'r3', 'replace: the one that waits');
SELECT is(u('r', 'r6', kind => 'unique_gate'), :'r3', 'return: it too');
SELECT taskq.task_cancel(:'r3') \g /dev/null
SELECT u('r', 'r7', 'replace', '1 h', kind => 'unique_gate') AS r7 \gset
SELECT ok(:'r7' NOT IN (:'r1', :'r2', :'r3'), 'replace while only running ones have it: one more');
INSERT INTO gate VALUES ('r1'), ('r2');
SELECT is((a.state, b.state)::text, '(completed,completed)', 'the running ones complete') FROM taskq.task_wait(:'r1') a, taskq.task_wait(:'r2') b;
SELECT is(u('r', kind => 'unique_gate'), :'r7', '... and the one that waits has the key');
SELECT taskq.task_cancel(:'r7') \g /dev/null

-- between attempts, and after the last
SELECT u('f', delay => '0', kind => 'unique_fail') AS f \gset
CALL wait_state(:'f', 'retrying');
SELECT is(u('f', kind => 'unique_fail'), :'f', 'a retrying task keeps its key');
SELECT is(u('f', 'again', 'replace', '1 h', kind => 'unique_fail'), :'f', '... can be replaced');
SELECT is((state, attempt, error, payload->>'name')::text, '(scheduled,0,,again)', '... and begins anew') FROM taskq.task_status(:'f');
SELECT is_empty(format('SELECT FROM taskq.task_attempts(%L)', :'f'), '... without the attempts at the first');
SELECT is(taskq.task_submit('unique_fail', max_attempts => 1, unique_key => 'f', on_conflict => 'replace'), :'f', '... once more');
SELECT is(state, 'failed', 'failed for good') FROM taskq.task_wait(:'f');
SELECT isnt(u('f', kind => 'unique_fail'), :'f', '... its key is free');

-- for a while after the end
SELECT u('k', delay => '0', unique_for => '1 h') AS k \gset
SELECT is(state, 'completed', 'one that keeps its key') FROM taskq.task_wait(:'k');
SELECT is(u('k'), :'k', '... still has it when it has ended');
SELECT is(u('k', on_conflict => 'replace'), :'k', '... whatever on_conflict says');
SELECT is(error_of($$SELECT u('k', on_conflict => 'error')$$), 'PT409', '... but error');
SELECT isnt(taskq.task_retry(:'k', delay => '1 h'), :'k', 'task_retry is the same work, and has the key');
SELECT is(error_of(format('SELECT taskq.task_retry(%L)', :'k')), 'PT409', '... but only one');
SELECT count(taskq.task_cancel(id)) FROM taskq.task WHERE kind = 'unique' AND NOT ready \g /dev/null
SELECT taskq.task_delete(id) FROM taskq.task WHERE kind = 'unique' AND unique_key = 'k' AND id <> :'k' \g /dev/null
SELECT u('k', delay => '0', unique_for => '1 ms') AS k2 \gset
SELECT isnt(:'k2'::text, :'k', 'a deleted task has no key');
SELECT taskq.task_wait(:'k2'), pg_sleep(0.01) \g /dev/null
SELECT isnt(u('k'), :'k2', 'when the time is over the key is free');

-- external workers
SELECT u('e', delay => '0', kind => 'unique_external') AS e \gset
SELECT token FROM taskq.task_claim('w', kinds => ARRAY['unique_external']) \gset
SELECT is(u('e', kind => 'unique_external'), :'e', 'a claimed task has its key');
SELECT u('e', 'next', 'queue_one', kind => 'unique_external') AS e2 \gset
SELECT isnt(:'e2'::text, :'e', '... and may be followed by one');
SELECT lives_ok(format('SELECT taskq.task_complete(%L, %L)', :'e', :'token'), '... its worker completes it');
SELECT is(u('e', kind => 'unique_external'), :'e2', '... then the other has the key');

-- a task that is gone has no key
BEGIN;
DELETE FROM taskq_internal.task WHERE id = :'e2';
COMMIT;
SELECT isnt(u('e', kind => 'unique_external'), :'e2', 'a task that an administrator has deleted has no key');

-- transactions
BEGIN;
SELECT u('t') AS t1 \gset
SAVEPOINT s;
SELECT u('t2') AS t2 \gset
SELECT is(u('t', on_conflict => 'replace', name => 'x'), :'t1', 'a transaction sees its own');
ROLLBACK TO s;
SELECT isnt(u('t2'), :'t2', 'a savepoint that was rolled back took no key');
SELECT is(payload->>'name', '', '... and replaced nothing') FROM taskq.task_status(:'t1');
ROLLBACK;
SELECT isnt(u('t'), :'t1', 'nor did the transaction');

-- several submitters of a kind that runs as one role
CREATE ROLE unique_other LOGIN;
GRANT taskq_user TO unique_other;
SELECT taskq.kind_define('unique_as', 'unique_work(jsonb)', run_as => 'unique_role'), taskq.kind_grant('unique_as', 'unique_other') \g /dev/null
SELECT u('as', kind => 'unique_as') AS as \gset
SET ROLE unique_other;
SELECT is(taskq.task_submit('unique_as', unique_key => 'as'), :'as', 'another submitter gets the id of a task that it may not see');
SELECT is(error_of($$SELECT taskq.task_submit('unique_as', unique_key => 'as', on_conflict => 'replace')$$), '42501', '... and does not replace it');
RESET ROLE;
SET ROLE unique_role;
SELECT is(taskq.task_submit('unique_as', '{"name": "by its role"}', delay => '1 h', unique_key => 'as', on_conflict => 'replace'), :'as', 'who is the role that it runs as does');
RESET ROLE;
SELECT is((payload->>'name', submitted_by)::text, '("by its role",unique_role)', '... and is its submitter then') FROM taskq.task_status(:'as');

-- arguments
SELECT is(error_of($$SELECT u('z', on_conflict => 'ignore')$$), '22023', 'an unknown on_conflict');
SELECT is(error_of($$SELECT taskq.task_submit('unique', on_conflict => 'error')$$), '22023', 'on_conflict without a key');
SELECT is(error_of($$SELECT u('')$$), '22023', 'an empty key');
SELECT is(error_of($$SELECT u(repeat('x', 1025))$$), '22023', 'a long key');
SELECT is(error_of($$SELECT taskq.task_submit_many('unique', ARRAY['1', '2']::jsonb[], unique_key => 'm')$$), '22023', 'one key for several payloads');
SELECT is(count(*), 1::bigint, '... but for one') FROM taskq.task_submit_many('unique', ARRAY['1']::jsonb[], unique_key => 'm', delay => '1 h');

SELECT * FROM finish();
SELECT count(taskq.task_cancel(id)) FROM taskq.task WHERE kind LIKE 'unique%' AND NOT ready \g /dev/null
DROP OWNED BY unique_role, unique_other;
