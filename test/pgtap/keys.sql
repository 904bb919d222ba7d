-- Concurrency keys: arguments, what is shown, external workers.
\ir include/prologue.psql
SELECT plan(47);

SELECT taskq.kind_define('keys', 'echo(jsonb)'), taskq.kind_define('keys_gate', 'wait_at_gate(jsonb)'),
	taskq.kind_define('keys_out'), taskq.kind_define('keys_two', max_running_per_key => 2),
	taskq.queue_define('keys') \g /dev/null
CREATE FUNCTION claimed(n int DEFAULT 1, kinds text[] DEFAULT '{keys_out}', w text DEFAULT 'w') RETURNS int LANGUAGE sql AS $$
	SELECT count(*)::int FROM taskq.task_claim(w, kinds => kinds, n => n) $$;
CREATE TABLE lease (name text, id uuid, token uuid);
CREATE FUNCTION claim(n text, kinds text[] DEFAULT '{keys_out}') RETURNS text LANGUAGE sql AS $$
	WITH c AS (SELECT * FROM taskq.task_claim('w', kinds => kinds))
	INSERT INTO lease SELECT n, id, token FROM c RETURNING 'claimed' $$;
CREATE FUNCTION submit_out(key text, kind text DEFAULT 'keys_out', delay interval DEFAULT NULL) RETURNS uuid LANGUAGE sql AS $$
	SELECT taskq.task_submit(kind, concurrency_key => key, delay => delay) $$;

-- arguments
SELECT is(error_of($$SELECT taskq.task_submit('keys', concurrency_key => '')$$), '22023', 'an empty key is refused');
SELECT is(error_of($$SELECT taskq.task_submit('keys', concurrency_key => repeat('k', 1001))$$), '22023', 'a long one too');
SELECT is(error_of($$SELECT taskq.kind_define('keys', 'echo(jsonb)', max_running_per_key => 0)$$), '22023', 'less than one at a time makes no sense');
SELECT is((SELECT string_agg(max_running_per_key::text, ' ' ORDER BY name) FROM taskq.kind WHERE name IN ('keys', 'keys_two')), '1 2', 'the view says how many');
SELECT taskq.task_submit('keys', concurrency_key => repeat('ö', 500)) AS id \gset
SELECT is((SELECT concurrency_key FROM taskq.task_wait(:'id')), repeat('ö', 500), 'the key is shown');
SELECT is((SELECT count(*)::int FROM taskq.task_submit_many('keys', array_fill('{}'::jsonb, ARRAY[5]), concurrency_key => 'many') s (id) CROSS JOIN LATERAL (SELECT 1) x), 5, 'many at once');
SELECT is((SELECT bool_and(w.state = 'completed') FROM taskq.task_wait_all(ARRAY(SELECT id FROM taskq.task WHERE concurrency_key = 'many')) w), true, '... run');
SELECT taskq.task_submit_sql('SELECT 1', concurrency_key => 'sql') AS id \gset
SELECT is((SELECT state FROM taskq.task_wait(:'id')), 'completed', 'SQL commands too');
SELECT taskq.task_submit('keys', concurrency_key => 'later', delay => '10 ms') AS id \gset
SELECT is((SELECT state FROM taskq.task_wait(:'id')), 'completed', 'for later');
SELECT taskq.task_retry(:'id') AS again \gset
SELECT is((SELECT concurrency_key FROM taskq.task_wait(:'again')), 'later', 'who is retried keeps the key');
SELECT taskq.task_submit('keys', concurrency_key => 'dep', depends_on => ARRAY[:'again'::uuid]) AS id \gset
SELECT is((SELECT state FROM taskq.task_wait(:'id')), 'completed', 'one that waits for others');
SELECT is((SELECT count(*)::int FROM taskq_internal.lane WHERE id < 0), 2, 'one lane of each kind has all keys');

-- steering what waits
SELECT taskq.task_submit('keys_gate', '{"gate": "steer"}', concurrency_key => 'steer') AS first \gset
CALL wait_state(:'first', 'running');
SELECT taskq.task_submit('keys', concurrency_key => 'steer') AS second, taskq.task_submit('keys', concurrency_key => 'steer') AS third \gset
SELECT taskq.task_cancel(:'second') \g /dev/null
SELECT is((SELECT state FROM taskq.task_status(:'second')), 'cancelled', 'what waits for its key can be cancelled');
SELECT new_priority FROM taskq.task_set_priority(:'third', 7) \g /dev/null
SELECT is((SELECT state FROM taskq.task_status(:'third')), 'pending', 'another priority does not pass the key');
INSERT INTO gate VALUES ('steer');
SELECT is((SELECT state FROM taskq.task_wait(:'third')), 'completed', '... and it runs when the key is free');

-- external workers
SELECT submit_out('a'), submit_out('a'), submit_out('b') \g /dev/null
SELECT is(claimed(10), 2, 'one of each key is claimed');
SELECT is(claimed(10), 0, '... and no more');
SELECT taskq.task_cancel(id, force => true) FROM taskq.task WHERE kind = 'keys_out' AND concurrency_key = 'a' AND state = 'running' \g /dev/null
SELECT is(claimed(10), 1, 'who loses its lease gives the key up');
SELECT taskq.task_cancel(id, force => true) FROM taskq.task WHERE kind = 'keys_out' AND NOT ready \g /dev/null

SELECT submit_out('c'), submit_out('c') \g /dev/null
SELECT is(claim('c'), 'claimed', 'claimed');
SELECT is(claimed(), 0, 'the key is taken');
SELECT taskq.task_complete(id, token) FROM lease WHERE name = 'c' \g /dev/null
SELECT is(claim('c2'), 'claimed', 'who completes gives it up');
SELECT taskq.task_fail(id, token, 'no', retry => false) FROM lease WHERE name = 'c2' \g /dev/null
SELECT submit_out('c') \g /dev/null
SELECT is(claim('c3'), 'claimed', 'who fails too');
SELECT submit_out('c') \g /dev/null
SELECT taskq.task_release(id, token) FROM lease WHERE name = 'c3' \g /dev/null
SELECT is(claim('c4'), 'claimed', 'and who releases');
SELECT is((SELECT c4.id = c3.id FROM lease c4, lease c3 WHERE c4.name = 'c4' AND c3.name = 'c3'), true, '... whose task takes its old place');
BEGIN;
SELECT taskq.task_complete(id, token) FROM lease WHERE name = 'c4' \g /dev/null
SELECT is(claimed(), 0, 'what is not committed yet frees nothing');
ROLLBACK;
SELECT is(claimed(), 0, '... nor what is rolled back');
SELECT taskq.task_complete(id, token) FROM lease WHERE name = 'c4' \g /dev/null
BEGIN;
SELECT is(claimed(), 1, 'a claim takes the key at once');
ROLLBACK;
BEGIN;
SELECT is(claimed(), 1, '... and gives it up if it is rolled back');
SAVEPOINT s;
SELECT submit_out('d') \g /dev/null
SELECT is(claimed(), 1, 'also in a savepoint');
ROLLBACK TO s;
COMMIT;
SELECT submit_out('d') \g /dev/null
SELECT is(claimed(), 1, '... which is rolled back');
SELECT is(claimed(), 0, 'not twice');
SELECT taskq.task_cancel(id, force => true) FROM taskq.task WHERE kind = 'keys_out' AND NOT ready \g /dev/null

SELECT submit_out('p') \g /dev/null
BEGIN;
SELECT claimed() \g /dev/null
\set ON_ERROR_STOP 0
PREPARE TRANSACTION 'keys';
\set ON_ERROR_STOP 1
SELECT is(:'LAST_ERROR_SQLSTATE'::text, '0A000', 'a claim of a key is not prepared');
SELECT is(claimed(), 1, '... and gives it up');
SELECT taskq.task_cancel(id, force => true) FROM taskq.task WHERE kind = 'keys_out' AND NOT ready \g /dev/null

SELECT submit_out('e', 'keys_two'), submit_out('e', 'keys_two'), submit_out('e', 'keys_two') \g /dev/null
SELECT is(claimed(10, '{keys_two}'), 2, 'as many of a key as the kind says');
SELECT taskq.kind_define('keys_two', max_running_per_key => 3) \g /dev/null
SELECT is(claimed(10, '{keys_two}'), 1, '... and more when it says more');
SELECT submit_out('e') \g /dev/null
SELECT is(claimed(), 0, 'a kind with a lower limit waits until there are fewer');
SELECT taskq.kind_define('keys_two', max_running_per_key => 1) \g /dev/null
SELECT submit_out('e', 'keys_two') \g /dev/null
SELECT is(claimed(10, '{keys_two}'), 0, 'a lower limit counts at once');
SELECT taskq.task_cancel(id, force => true) FROM taskq.task WHERE kind = 'keys_two' AND NOT ready \g /dev/null
SELECT is(claimed(), 1, '... then it has its turn');
SELECT submit_out('e', 'keys_two') \g /dev/null
SELECT is(claimed(10, '{keys_two}'), 0, 'a kind that lets more run does not pass the limit of one that lets fewer');
SELECT taskq.task_cancel(id, force => true) FROM taskq.task WHERE kind IN ('keys_two', 'keys_out') AND NOT ready \g /dev/null

-- workers of the server and external ones
SELECT submit_out('f') \g /dev/null
SELECT claim('f') \g /dev/null
SELECT taskq.task_submit('keys', concurrency_key => 'f') AS inside, taskq.task_submit('keys', concurrency_key => 'g') AS other \gset
SELECT is((SELECT state FROM taskq.task_wait(:'other')), 'completed', 'a key that an external worker has keeps nobody else');
SELECT is((SELECT state FROM taskq.task_status(:'inside')), 'pending', '... but tasks of the same key');
SELECT taskq.task_complete(id, token) FROM lease WHERE name = 'f' \g /dev/null
SELECT is((SELECT state FROM taskq.task_wait(:'inside')), 'completed', '... until it is through');
SELECT taskq.task_submit('keys_gate', '{"gate": "g"}', concurrency_key => 'g') AS inside \gset
CALL wait_state(:'inside', 'running');
SELECT submit_out('g') \g /dev/null
SELECT is(claimed(), 0, 'what a worker of the server runs is not claimed beside');
INSERT INTO gate VALUES ('g');
SELECT state FROM taskq.task_wait(:'inside') \g /dev/null
SELECT is((SELECT count(*)::int FROM taskq.task_claim('w', kinds => '{keys_out}', wait => '20 s')), 1, '... and whoever waits for it is told when it is through');

-- the other tenant's key is another key, the other role's too
CREATE ROLE keys_role LOGIN;
GRANT taskq_user TO keys_role;
SELECT taskq.task_submit('keys_gate', '{"gate": "role"}', concurrency_key => 'role') AS mine \gset
CALL wait_state(:'mine', 'running');
SET SESSION AUTHORIZATION keys_role;
SELECT taskq.task_submit('keys', concurrency_key => 'role') AS theirs \gset
RESET SESSION AUTHORIZATION;
SELECT is((SELECT state FROM taskq.task_wait(:'theirs')), 'completed', 'another role''s key is another key');
INSERT INTO gate VALUES ('role');
SELECT is((SELECT state FROM taskq.task_wait(:'mine')), 'completed', 'all is done');
SELECT is((SELECT count(*)::int FROM taskq_internal.keyed k WHERE NOT EXISTS (SELECT FROM taskq_internal.task t WHERE t.id = k.id AND t.state IN ('p', 'r'))), 0, 'nothing is left of what is over');
SELECT * FROM finish();
