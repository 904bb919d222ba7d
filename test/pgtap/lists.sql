-- task_list: filters, orders, pages.
\ir include/prologue.psql
SELECT plan(136);

CREATE ROLE list_alice LOGIN;
CREATE ROLE list_bob LOGIN;
GRANT taskq_user TO list_alice, list_bob;
GRANT ALL ON SCHEMA public TO list_alice, list_bob;
CREATE FUNCTION list_fail(p jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'The pump of % is broken', p->>'house'; END $$;
CREATE FUNCTION list_slow(p jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep((p->>'s')::float); RETURN NULL; END $$;
SELECT taskq.kind_define('list_a', 'echo(jsonb)', queue => 'list', category => 'family'), taskq.kind_define('list_b', 'echo(jsonb)', queue => 'list_other', category => 'family'),
	taskq.kind_define('list_fail', 'list_fail(jsonb)', queue => 'list', max_attempts => 1), taskq.kind_define('list_gate', 'wait_at_gate(jsonb)', queue => 'list'),
	taskq.kind_define('list_slow', 'list_slow(jsonb)', queue => 'list'), taskq.kind_define('list_outside', queue => 'list_outside') \g /dev/null

-- names of tasks, which are in their metadata
CREATE FUNCTION names(filter jsonb, order_by text DEFAULT 'oldest', after uuid DEFAULT NULL, n int DEFAULT 50) RETURNS text LANGUAGE sql AS
	$$ SELECT coalesce(string_agg(l.metadata->>'name', ' ' ORDER BY l.ordinality), '') FROM taskq.task_list($1, $2, $3, $4) WITH ORDINALITY l $$;
CREATE FUNCTION id_of(name text) RETURNS uuid LANGUAGE sql AS $$ SELECT id FROM taskq.task WHERE metadata->>'name' = $1 $$;
CREATE FUNCTION submit(kind text, name text, payload jsonb DEFAULT '{}', priority int DEFAULT NULL, tags text[] DEFAULT NULL, parent uuid DEFAULT NULL, tenant text DEFAULT NULL,
	run_at timestamptz DEFAULT NULL, key text DEFAULT NULL, depends_on uuid[] DEFAULT NULL) RETURNS uuid LANGUAGE sql AS
	$$ SELECT taskq.task_submit(kind, payload, priority => priority, tags => tags, parent => parent, options => CASE WHEN tenant IS NOT NULL THEN jsonb_build_object('tenant', tenant) END, run_at => run_at, concurrency_key => key, depends_on => depends_on, metadata => jsonb_build_object('name', name, 'colour', left(name, 1))) $$;

SELECT is((SELECT count(*) FROM taskq.task_list()), 0::bigint, 'no tasks, no rows');
SELECT ARRAY[submit('list_a', 'a1', '{"n": 1}', 5, '{red,round}'), submit('list_a', 'a2', '{"n": 2}'), submit('list_b', 'b1', '{"n": 1}', tags => '{round}'), submit('list_fail', 'f1', '{"house": "Number 9"}'), submit('list_a', 'a3')] AS ids \gset
SELECT count(*) FROM taskq.task_wait_all(:'ids') \g /dev/null
SELECT is(names('{}'), 'a1 a2 b1 f1 a3', 'oldest');
SELECT is(names('{}', 'newest'), 'a3 f1 b1 a2 a1', 'newest');
SELECT is((SELECT string_agg(metadata->>'name', ' ') FROM taskq.task_list()), 'a3 f1 b1 a2 a1', '... which is what is meant');
SELECT is(names('{}', 'priority'), 'a1 a2 b1 f1 a3', 'priority');
SELECT is(names('{}', 'newest', n => 2), 'a3 f1', 'a page');
SELECT is(names('{}', 'newest', id_of('f1'), 2), 'b1 a2', '... the next one');
SELECT is(names('{}', 'newest', id_of('a2'), 2), 'a1', '... and the last one');
SELECT is(names('{}', 'newest', id_of('a1'), 2), '', '... nothing comes after it');
SELECT is(names('{}', 'oldest', id_of('b1'), 2), 'f1 a3', 'a page of the oldest');
SELECT is(names('{}', 'priority', id_of('a1'), 2), 'a2 b1', 'a page by priority');
SELECT is((SELECT count(*) FROM taskq.task_list() l JOIN taskq.task t USING (id) WHERE to_jsonb(l) = to_jsonb(t)), 5::bigint, 'its rows are those of the view');

-- filters
SELECT is(names('{"kind": "list_a"}'), 'a1 a2 a3', 'kind');
SELECT is(names('{"kind": ["list_b", "list_fail"]}'), 'b1 f1', 'kinds');
SELECT is(names('{"queue": "list_other"}'), 'b1', 'queue');
SELECT is(names('{"category": "family"}'), 'a1 a2 b1 a3', 'category');
SELECT is(names('{"category": "nobody"}'), '', '... that there is not');
SELECT is(names('{"tag": "red"}'), 'a1', 'tag');
SELECT is(names('{"tags": ["red", "round"]}'), 'a1 b1', 'tags');
SELECT is(names('{"tags": ["red", "round"]}', 'newest', n => 1), 'b1', '... a page');
SELECT is(names('{"state": "failed"}'), 'f1', 'state');
SELECT is(names('{"state": "completed", "kind": "list_a"}', 'newest'), 'a3 a2 a1', 'state and kind');
SELECT is(names('{"state": "finished"}'), 'a1 a2 b1 f1 a3', 'a word for several states');
SELECT is(names('{"state": "waiting"}'), '', '... for others');
SELECT is(names('{"payload": {"n": 1}}'), 'a1 b1', 'a member of the payload');
SELECT is(names('{"metadata": {"colour": "f"}}'), 'f1', '... of the metadata');
SELECT is(names('{"min_priority": 1}'), 'a1', 'priority at least');
SELECT is(names('{"max_priority": 0, "kind": "list_a"}'), 'a2 a3', '... at most');
SELECT is(names('{"text": "NUMBER 9"}'), 'f1', 'a text in the error');
SELECT is(names(jsonb_build_object('text', left(id_of('a2')::text, 30))), 'a2', '... in the id');
SELECT is(names(jsonb_build_object('id', id_of('a2'))), 'a2', 'an id');
SELECT is(names(jsonb_build_object('id', jsonb_build_array(id_of('f1'), id_of('a2'), id_of('a2')))), 'a2 f1', 'ids');
SELECT is(names(jsonb_build_object('created_after', (SELECT created_at FROM taskq.task WHERE id = id_of('b1')))), 'b1 f1 a3', 'created after, itself too');
SELECT is(names(jsonb_build_object('created_before', (SELECT created_at FROM taskq.task WHERE id = id_of('b1')))), 'a1 a2', '... before');
SELECT is(names(jsonb_build_object('older_than', (SELECT created_at FROM taskq.task WHERE id = id_of('b1')))), 'a1 a2', '... by its other name');
SELECT cmp_ok((SELECT count(*) FROM taskq.task_list(filter)), '>', 0::bigint, filter::text || ': before a time that no id has')
FROM unnest('{"{\"finished_before\": \"10900-01-01\"}","{\"created_before\": \"10900-01-01\"}"}'::jsonb[]) filter;
SELECT is(names(jsonb_build_object('finished_before', (SELECT max(finished_at) FROM taskq.task), 'started_after', (SELECT min(started_at) FROM taskq.task))),
	(SELECT string_agg(metadata->>'name', ' ' ORDER BY id) FROM taskq.task WHERE finished_at < (SELECT max(finished_at) FROM taskq.task)), 'by beginning and end');
SELECT is(names(jsonb_build_object('worker', (SELECT worker FROM taskq.task WHERE id = id_of('b1')), 'kind', 'list_b')), 'b1', 'worker');
SELECT is(names(jsonb_build_object('submitted_by', current_user, 'run_as', current_user, 'kind', 'list_b')), 'b1', 'roles');
SELECT is(names('{"submitted_by": "list_alice"}'), '', '... another one');
SELECT is(names('{"kind": []}'), '', 'none of no kinds');

-- what is not over
SELECT submit('list_gate', 'running', '{"gate": "list"}', tenant => 'acme') AS running \gset
CALL wait_state(:'running', 'running');
SELECT taskq.queue_pause('list') \g /dev/null
SELECT submit('list_a', 'low', priority => -5), submit('list_a', 'high', priority => 9), submit('list_b', 'later', run_at => now() + interval '1 h'), submit('list_a', 'held', run_at => 'infinity'),
	submit('list_a', 'keyed', key => 'k'), submit('list_a', 'child', parent => :'running', tenant => 'acme') \g /dev/null
SELECT submit('list_b', 'blocked', depends_on => ARRAY[:'running'::uuid]) \g /dev/null
SELECT submit('list_outside', 'leased') AS leased \gset
SELECT count(*) FROM taskq.task_claim('somebody', kinds => '{list_outside}') \g /dev/null
SELECT is(names('{"state": "running"}'), 'running leased', 'running, here and outside');
SELECT is(names('{"state": ["running", "reserved"]}', 'newest', :'leased'), 'running', '... a page');
SELECT is(names('{"state": "running", "worker": "somebody"}'), 'leased', '... by worker');
SELECT is(names('{"state": ["running", "failed"]}'), 'f1 running leased', '... beside what is over');
SELECT is(names('{"state": ["running", "failed"], "finished_after": "2000-01-01"}'), 'f1', '... which alone has an end');
SELECT is(names('{"state": ["reserved", "running", "completed"]}', 'priority'), 'a1 a2 b1 a3 running leased', '... by priority');
SELECT is(names('{"state": "pending"}'), 'low high keyed child', 'pending');
SELECT is(names('{"state": "pending"}', 'priority'), 'high keyed child low', '... by priority');
SELECT is(names('{"state": "pending"}', 'priority', id_of('keyed'), 2), 'child low', '... a page of that');
SELECT is(names('{"state": "scheduled"}'), 'later held', 'scheduled, and held');
SELECT is(names('{"state": "blocked"}'), 'blocked', 'blocked');
SELECT is(names('{"state": "waiting"}'), 'low high later held keyed child blocked', 'waiting');
SELECT is(names('{"state": "unfinished"}', 'newest', n => 3), 'leased blocked child', 'unfinished');
SELECT is(names('{"tenant": "acme"}'), 'running child', 'tenant');
SELECT is(names(jsonb_build_object('parent', :'running')), 'child', 'children');
SELECT taskq.task_cancel(id_of('low'), 'not needed') \g /dev/null
SELECT is(names('{"state": "cancelled"}'), 'low', 'cancelled');
SELECT is(names('{"state": ["failed", "cancelled"]}', 'newest'), 'low f1', 'failed and cancelled');
SELECT is(names('{"state": ["failed", "cancelled"], "queue": "list"}', 'newest', id_of('low')), 'f1', '... of a queue, a page');
INSERT INTO gate VALUES ('list');
SELECT taskq.queue_resume('list') \g /dev/null
SELECT count(*) FROM taskq.task_wait_all(ARRAY[id_of('high'), id_of('keyed'), id_of('child'), id_of('blocked')]) \g /dev/null
SELECT is(names('{"state": "unfinished"}'), 'later held leased', 'what is left');

-- the longest
SELECT ARRAY[submit('list_slow', 's1', '{"s": 0.15}'), submit('list_slow', 's2', '{"s": 0.4}'), submit('list_slow', 's3', '{"s": 0.25}')] AS ids \gset
SELECT count(*) FROM taskq.task_wait_all(:'ids') \g /dev/null
SELECT is(names('{"kind": "list_slow"}', 'duration'), 's2 s3 s1', 'the longest first');
SELECT is(names('{"kind": "list_slow"}', 'duration', id_of('s2'), 1), 's3', '... a page');

-- whose
SET ROLE list_alice;
SELECT is(names('{}'), '', 'others'' tasks are not shown');
SELECT submit('list_b', 'mine', tags => '{round}') \g /dev/null
SELECT is(names('{"queue": ["list", "list_other"]}') || '|' || names('{"tag": "round"}') || '|' || names('{}', 'priority'), 'mine|mine|mine', '... one''s own are');
SELECT is(error_of(format('SELECT * FROM taskq.task_list(order_by => ''priority'', after => %L)', :'leased')), 'PT404', '... nor can a page begin there');
RESET ROLE;

-- what runs as another role is its submitter's, too
SELECT taskq.kind_define('list_shared', 'echo(jsonb)', run_as => 'list_bob', queue => 'list') \g /dev/null
SELECT taskq.kind_grant('list_shared', 'list_alice', 'submit') \g /dev/null
SET ROLE list_alice;
SELECT submit('list_shared', 'shared') \g /dev/null
SELECT is(names('{}') || '|' || names('{"submitted_by": "list_alice"}', 'newest') || '|' || names('{"run_as": "list_bob"}'), 'mine shared|shared mine|shared', 'to its submitter it is shown');
SET ROLE list_bob;
SELECT is(names('{}') || '|' || names('{"submitted_by": "list_bob"}') || '|' || names('{"submitted_by": "list_alice"}', 'priority'), 'shared||shared', '... and to whom it runs as');
RESET ROLE;
SELECT is(names('{"submitted_by": ["list_alice", "list_bob"], "kind": "list_shared"}', 'newest'), 'shared', 'who is an operator finds it by its submitter');

-- tenants
CREATE ROLE list_gate LOGIN;
GRANT list_alice TO list_gate;
SELECT set_config('taskq.trusted_gateways', 'list_gate', false) \g /dev/null
SET request.jwt.claims = '{"sub": "acme"}';
SET ROLE list_alice;
SELECT is(names('{"tenant": "acme"}') || '|' || names('{}'), '|mine shared', 'who states claims elsewhere has no tenant''s tasks');
RESET ROLE;
SET SESSION AUTHORIZATION list_gate;
SET ROLE list_alice;
SELECT submit('list_b', 'claimed'), submit('list_fail', 'broken', '{"house": "7"}') AS broken \gset
SELECT state FROM taskq.task_wait(:'broken') \g /dev/null
SELECT is(names('{}') || '|' || names('{"tenant": "acme"}', 'priority') || '|' || names('{"state": "failed"}') || '|' || names('{"tenant": "other"}'), 'claimed broken|claimed broken|broken|', 'who comes through a gateway has its own tenant''s, and none of the role''s');
SET request.jwt.claims = '{"sub": "other"}';
SELECT is(names('{}') || names('{"tenant": "acme"}') || names('{"state": "failed"}'), '', '... which nobody else has');
RESET request.jwt.claims;
RESET SESSION AUTHORIZATION;
SELECT is(names('{"tenant": ["acme", "other"], "state": "failed"}') || '|' || names('{"tenant": "acme", "kind": "list_b"}'), 'broken|claimed', 'an operator finds a tenant''s by state and kind');
RESET taskq.trusted_gateways;

-- a member that the kind names
SELECT taskq.kind_define('list_named', 'echo(jsonb)', queue => 'list') \g /dev/null
SELECT submit('list_named', 'n1', '{"customer": 1.50}'), submit('list_named', 'n2', '{"customer": "1.5"}') \g /dev/null
SELECT taskq.kind_define('list_named', 'echo(jsonb)', queue => 'list', indexed => '{customer}') \g /dev/null
SELECT submit('list_named', 'n3', '{"customer": 1.5}'), submit('list_named', 'n4', '{"customer": 2}'), submit('list_named', 'n5', '{"customer": 1.500, "more": true}') \g /dev/null
SELECT is(names('{"kind": "list_named", "payload": {"customer": 1.5}}'), 'n1 n3 n5', 'found by its value, also what was submitted before');
SELECT is(names('{"kind": "list_named", "payload": {"customer": 1.5}}', 'newest', n => 2), 'n5 n3', '... a page');
SELECT is(names('{"kind": "list_named", "payload": {"customer": "1.5"}}'), 'n2', 'a string is no number');

-- a page reads about as many tasks as it shows
SELECT taskq.kind_define('list_many', 'echo(jsonb)', batch => true, queue => 'list_many'), taskq.kind_define('list_many_named', 'echo(jsonb)', batch => true, indexed => '{n}') \g /dev/null
SELECT submit('list_many', 'first', tags => '{rare}') \g /dev/null
SELECT count(*) FROM taskq.task_submit_many('list_many', array_fill('{}'::jsonb, ARRAY[20000]), tags => '{frequent}') \g /dev/null
SELECT count(*) FROM taskq.task_submit_many('list_many_named', ARRAY(SELECT jsonb_build_object('n', n) FROM generate_series(1, 3000) n)) \g /dev/null
SELECT ARRAY[submit('list_many', 'last'), submit('list_many_named', 'last')] AS ids \gset
SELECT taskq.task_wait_all(:'ids') \g /dev/null
SELECT ARRAY[submit('list_many', 'alone'), submit('list_many_named', 'alone')] AS ids \gset
SELECT taskq.task_wait_all(:'ids') \g /dev/null
-- Dead entries of indexes are read, too, until somebody removes them: VACUUM, when nobody's snapshot is of before;
-- autovacuum may have one.
CREATE PROCEDURE no_snapshots() LANGUAGE plpgsql AS $$
BEGIN
	WHILE EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_xmin IS NOT NULL) LOOP
		COMMIT;
		PERFORM pg_sleep(0.01), pg_stat_clear_snapshot();
	END LOOP;
END $$;
-- What is pending in a lane is looked for from where that was saved last: the beginning of the last claim, a moment after it.
CREATE PROCEDURE saved() LANGUAGE plpgsql AS $$
BEGIN
	WHILE EXISTS (SELECT FROM taskq_internal.lane n LEFT JOIN taskq_internal.watermark w ON w.lane = n.id
		WHERE n.kind LIKE 'list_many%' AND (w.id IS NULL OR (SELECT count(*) FROM taskq_internal.task t WHERE t.lane = n.id AND t.id > w.id) > 1)) LOOP
		COMMIT;
		PERFORM pg_sleep(0.01);
	END LOOP;
END $$;
CALL saved();
CALL no_snapshots();
CREATE FUNCTION blocks_of(filter text, order_by text, after uuid DEFAULT NULL) RETURNS int LANGUAGE plpgsql AS $$
DECLARE
	plan jsonb;
BEGIN
	EXECUTE format('EXPLAIN (ANALYZE, BUFFERS, TIMING off, FORMAT json) SELECT * FROM taskq.task_list(%L, %L, %L, 20)', filter, order_by, after) INTO plan;
	RETURN (plan->0->'Plan'->>'Shared Hit Blocks')::int + (plan->0->'Plan'->>'Shared Read Blocks')::int;
END $$;
VACUUM (INDEX_CLEANUP on);
SELECT names('{}', n => 1), blocks_of('{}', 'newest') \g /dev/null
SELECT cmp_ok(blocks_of(filter, order_by), '<', 3000, format('%s by %s', filter, order_by))
FROM (VALUES ('{}', 'newest'), ('{}', 'oldest'), ('{}', 'priority'), ('{}', 'duration'), ('{"state": "completed", "kind": "list_many"}', 'newest'), ('{"kind": "list_a"}', 'newest'), ('{"state": "failed"}', 'newest'),
	('{"state": "cancelled", "kind": "list_many"}', 'newest'), ('{"tag": "rare"}', 'newest'), ('{"tag": "frequent"}', 'newest'), ('{"tenant": "acme"}', 'oldest'), ('{"state": "unfinished"}', 'newest'),
	('{"state": "pending"}', 'priority'), ('{"state": "scheduled"}', 'newest'), ('{"submitted_by": "list_alice"}', 'newest'), ('{"category": "family"}', 'newest'),
	('{"kind": "list_many_named", "payload": {"n": 7}}', 'oldest'), ('{"state": "failed", "tag": "frequent"}', 'newest'), ('{"text": "broken", "state": "failed"}', 'newest'), ('{"tenant": "acme", "state": "failed"}', 'newest')) v (filter, order_by);
-- what belongs to the tasks of a page is read by their ids
CREATE FUNCTION blocks_of_related(relation text) RETURNS int LANGUAGE plpgsql AS $$
DECLARE
	plan jsonb;
BEGIN
	EXECUTE format('EXPLAIN (ANALYZE, BUFFERS, TIMING off, FORMAT json) SELECT (SELECT count(*) FROM taskq.%I(l)) FROM taskq.task_list(n => 20) l', relation) INTO plan;
	RETURN (plan->0->'Plan'->>'Shared Hit Blocks')::int + (plan->0->'Plan'->>'Shared Read Blocks')::int;
END $$;
SELECT cmp_ok(blocks_of_related(relation), '<', 4000, relation || ' of a page')
FROM unnest('{task_attempt,logs,links,children,dependencies,parent_task,task_kind}'::text[]) relation;
-- what is done to what a filter finds reads as little
CREATE FUNCTION blocks_of_bulk(action text, filter text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	plan jsonb;
	blocks int;
BEGIN
	EXECUTE format('EXPLAIN (ANALYZE, BUFFERS, TIMING off, FORMAT json) SELECT * FROM taskq.task_bulk(%L, filter => %L)', action, filter) INTO plan;
	blocks := (plan->0->'Plan'->>'Shared Hit Blocks')::int + (plan->0->'Plan'->>'Shared Read Blocks')::int;
	-- from PostgreSQL 18 on rows have decimal places
	RETURN (plan->0->'Plan'->>'Actual Rows')::numeric::int || ' of ' || CASE WHEN blocks < 3000 THEN 'few' ELSE blocks || ' blocks' END;
END $$;
CALL saved();
CALL no_snapshots();
VACUUM (INDEX_CLEANUP on);
SELECT is(blocks_of_bulk('cancel', '{"tag": "frequent"}') || ', ' || blocks_of_bulk('retry', '{"queue": "list"}') || ', ' || blocks_of_bulk('delete', '{"tag": "rare"}'), '0 of few, 2 of few, 1 of few', 'bulk actions, too');
SET ROLE list_alice;
SELECT cmp_ok(blocks_of('{}', 'newest'), '<', 3000, 'a page of one''s own among many others''');
RESET ROLE;

-- ... also of those that run as somebody else, which are known by who submitted them
SELECT taskq.kind_define('list_many_shared', 'echo(jsonb)', batch => true, run_as => 'list_bob') \g /dev/null
SELECT taskq.kind_grant('list_many_shared', 'list_alice', 'submit') \g /dev/null
SET ROLE list_alice;
SELECT count(*) FROM taskq.task_submit_many('list_many_shared', array_fill('{}'::jsonb, ARRAY[12000]), priority => 9) \g /dev/null
SELECT taskq.task_submit('list_many_shared', priority => 9) AS id \gset
SELECT taskq.task_wait(:'id') \g /dev/null
SELECT taskq.task_submit('list_many_shared', priority => 9) AS id \gset
SELECT taskq.task_wait(:'id') \g /dev/null
RESET ROLE;
CALL saved();
CALL no_snapshots();
VACUUM (INDEX_CLEANUP on);
SET ROLE list_alice;
SELECT cmp_ok(blocks_of('{}', order_by), '<', 3000, '... and of what runs as another role, by ' || order_by) FROM unnest('{newest,oldest,priority,duration}'::text[]) order_by;
SELECT cmp_ok(blocks_of(filter, 'newest'), '<', 1000, filter || ' is not looked for among what was submitted later')
FROM unnest('{"{\"finished_before\": \"2020-01-01\"}","{\"started_before\": \"2020-01-01\"}"}'::text[]) filter;
-- what no label tells is asked of all tasks side by side, not of each by its id
SELECT cmp_ok(blocks_of(filter, 'newest'), '<', 15000, filter || ', of which there are none') FROM unnest('{"{\"finished_before\": \"2020-01-01\"}","{\"worker\": \"nobody\"}","{\"text\": \"nothing of that\"}"}'::text[]) filter;
RESET ROLE;

-- retries
SELECT submit('list_many', 'origin') AS origin \gset
SELECT taskq.task_wait(:'origin') \g /dev/null
SELECT is(taskq.task_newest(:'origin'), :'origin', 'what was not retried is the newest itself');
SELECT is(names(jsonb_build_object('retry_of', :'origin')), '', '... and has no retries');
SELECT taskq.task_retry(:'origin') AS retry1, taskq.task_retry(:'origin') AS retry2 \gset
SELECT taskq.task_wait_all(ARRAY[:'retry1', :'retry2']::uuid[]) \g /dev/null
SELECT taskq.task_retry(:'retry2') AS retry3 \gset
SELECT is(ARRAY(SELECT id FROM taskq.task_list(jsonb_build_object('retry_of', :'origin'), 'oldest')), ARRAY[:'retry1', :'retry2']::uuid[], 'retries of a task');
SELECT cmp_ok(blocks_of(jsonb_build_object('retry_of', :'origin')::text, 'newest'), '<', 3000, '... without looking at others');
SELECT is(taskq.task_newest(:'origin'), :'retry3', 'the newest is that of the newest');
SELECT is(taskq.task_newest(:'retry1'), :'retry1', '... of a task, not of the one it is a retry of');
SET ROLE list_alice;
SELECT is(error_of(format('SELECT taskq.task_newest(%L)', :'origin')), 'PT404', '... not of others'' tasks');
RESET ROLE;
SELECT is(error_of('SELECT taskq.task_newest(''00000000-0000-7000-8000-000000000000'')'), 'PT404', '... nor of none');

-- a workflow's, also those that were retried
SELECT taskq.workflow_submit('[{"name": "one", "kind": "list_b"}, {"name": "two", "kind": "list_b", "depends_on": ["one"]}]') AS workflow \gset
SELECT count(*) FROM taskq.task_wait_all(ARRAY(SELECT id FROM taskq.task_list(jsonb_build_object('workflow', :'workflow')))) \g /dev/null
SELECT taskq.task_retry(id) FROM taskq.task_list(jsonb_build_object('workflow', :'workflow'), 'oldest', n => 1) \g /dev/null
SELECT is((SELECT array_agg(step ORDER BY id) FROM taskq.task_list(jsonb_build_object('workflow', :'workflow'))), '{one,two,one}', 'tasks of a workflow');
SELECT cmp_ok(blocks_of(jsonb_build_object('workflow', :'workflow')::text, 'newest'), '<', 3000, '... without looking at others');
SELECT cmp_ok(blocks_of(jsonb_build_object('workflow', :'origin')::text, 'newest'), '<', 3000, '... and that there are none');

-- a page of what is over, behind many that wait, whoever they belong to
SELECT taskq.queue_define('list_wait'), taskq.queue_pause('list_wait') \g /dev/null
SELECT count(*) FROM taskq.task_submit_many('list_a', array_fill('{}'::jsonb, ARRAY[20000]), queue => 'list_wait', priority => 9, options => '{"tenant": "acme"}') \g /dev/null
SELECT cmp_ok(blocks_of(filter, order_by), '<', 4000, format('%s by %s, behind others', filter, order_by))
FROM (VALUES ('{"state": "completed"}', 'newest'), ('{"state": "completed"}', 'priority'), ('{"state": ["running", "completed", "failed"]}', 'newest'), ('{"state": "completed", "tenant": "acme"}', 'newest'),
	('{"state": "finished", "tenant": "acme"}', 'priority')) v (filter, order_by);

-- mistakes
SELECT is(error_of($$SELECT * FROM taskq.task_list('{"colour": 1}')$$), '22023', 'an unknown member');
SELECT is(error_of($$SELECT * FROM taskq.task_list('{"state": "lost"}')$$), '22023', '... state');
SELECT is(error_of($$SELECT * FROM taskq.task_list('[]')$$), '22023', 'no object');
SELECT is(error_of($$SELECT * FROM taskq.task_list(order_by => 'colour')$$), '22023', 'an unknown order');
SELECT is(error_of($$SELECT * FROM taskq.task_list(n => 0)$$), '22023', 'no rows');
SELECT is(error_of($$SELECT * FROM taskq.task_list('{"id": "7"}')$$), '22P02', 'no id');
SELECT * FROM finish();
