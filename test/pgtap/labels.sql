-- Labels: an ordered index of what is rare or was asked for.  A plain task that
-- completes has none; the others have theirs with the transaction that makes them true.
\ir include/prologue.psql
SELECT plan(39);

-- ids are unique all over, so all leaves can be read as one
DO $$ BEGIN
	EXECUTE 'CREATE VIEW all_labels AS ' || (SELECT string_agg(format('SELECT label, rank, id FROM %s', oid::regclass), ' UNION ALL ')
		FROM pg_class WHERE relnamespace = 'taskq_internal'::regnamespace AND relname ~ '^label_(\d\d|keep)$');
END $$;
CREATE FUNCTION labels(task uuid) RETURNS text LANGUAGE sql AS $$
	SELECT coalesce(string_agg(regexp_replace(label, '^([fx]):-?\d+$', '\1:lane'), ' ' ORDER BY label COLLATE "C"), '') FROM all_labels WHERE id = task
$$;
CREATE FUNCTION nap(p jsonb) RETURNS void LANGUAGE sql AS $$ SELECT pg_sleep(0.11) $$;
CREATE FUNCTION broken(p jsonb) RETURNS void LANGUAGE plpgsql AS $$ BEGIN RAISE 'broken'; END $$;
CREATE FUNCTION makes_child(p jsonb) RETURNS jsonb LANGUAGE sql AS $$ SELECT to_jsonb(taskq.task_submit('lb_echo')) $$;
SELECT taskq.kind_define('lb_echo', 'echo(jsonb)', batch => true), taskq.kind_define('lb_nap', 'nap(jsonb)'),
	taskq.kind_define('lb_broken', 'broken(jsonb)', max_attempts => 1), taskq.kind_define('lb_parent', 'makes_child(jsonb)'),
	taskq.kind_define('lb_indexed', 'echo(jsonb)', indexed => '{customer,order.no}');
SELECT taskq.queue_define('lb_held'), taskq.queue_pause('lb_held');

-- what the submit writes
SELECT taskq.task_submit('lb_echo', '{"customer": "c1"}') AS id \gset
CALL wait_state(:'id', 'completed');
SELECT is(labels(:'id'), '', 'a plain task that completed has no label');
SELECT taskq.task_submit('lb_echo', queue => 'lb_held', tags => '{blue,green,blue}') AS id \gset
SELECT is(labels(:'id'), 't:blue t:green', 'each tag is one, once');
SELECT taskq.task_submit('lb_echo', queue => 'lb_held', tags => '{}') AS id \gset
SELECT is(labels(:'id'), '', 'no tags, no labels');
SELECT taskq.task_submit('lb_echo', queue => 'lb_held', options => '{"tenant": "acme"}') AS id \gset
SELECT is(labels(:'id'), 'n:acme', 'so is the tenant');
SELECT taskq.task_submit('lb_echo', queue => 'lb_held', parent => :'id') AS child \gset
SELECT is(labels(:'child'), 'p:' || :'id', 'so is the parent');
SELECT taskq.task_submit('lb_parent') AS id \gset
CALL wait_state(:'id', 'completed');
SELECT is(labels((taskq.task_result(:'id') #>> '{}')::uuid), 'p:' || :'id', '... also of what a task submits');
SELECT taskq.task_submit('lb_echo', queue => 'lb_held', tags => ARRAY[repeat('x', 5000), '', 'ü']) AS id \gset
SELECT is(labels(:'id'), 't: t:#' || encode(sha256(convert_to(repeat('x', 5000), 'UTF8')), 'hex') || ' t:ü', 'what is long is hashed');

-- members that the kind names
SELECT is(indexed, '{customer,order.no}', 'the view shows what a kind names') FROM taskq.kind WHERE name = 'lb_indexed';
SELECT taskq.task_submit('lb_indexed', '{"customer": "c1", "order.no": 7, "other": 1}', queue => 'lb_held', metadata => '{"customer": "c1"}') AS id \gset
SELECT is(labels(:'id'), 'm:customer=c1 m:order.no=7', 'members of the payload');
SELECT taskq.task_submit('lb_indexed', '{"customer": true, "order.no": null}', queue => 'lb_held', metadata => '{"customer": "c2", "order.no": [1]}') AS id \gset
SELECT is(labels(:'id'), 'm:customer=c2 m:customer=true', '... and of the metadata, if they are one value');
SELECT taskq.task_submit('lb_indexed', '["customer"]', queue => 'lb_held') AS id \gset
SELECT is(labels(:'id'), '', 'a payload that is no object has none');
SELECT taskq.task_submit('lb_indexed', jsonb_build_object('customer', 'large', 'text', (SELECT string_agg(md5(i::text), '') FROM generate_series(1, 2000) i)), queue => 'lb_held') AS id \gset
SELECT is(labels(:'id'), 'm:customer=large', 'a large one has');
SELECT is((SELECT string_agg(labels(t), ' ') FROM taskq.task_submit_many('lb_indexed', ARRAY['{"customer": 1}', '{"customer": 2}']::jsonb[], queue => 'lb_held', tags => '{both}') t),
	'm:customer=1 t:both m:customer=2 t:both', 'each of many has its own');
SELECT taskq.kind_define('lb_indexed', 'echo(jsonb)', indexed => '{other}');
SELECT taskq.task_submit('lb_indexed', '{"customer": "c1", "other": 1}', queue => 'lb_held') AS later \gset
SELECT is(labels(:'later'), 'm:other=1', 'another choice is for later tasks');
SELECT indexed_since AS since FROM taskq.kind WHERE name = 'lb_indexed' \gset
SELECT ok(taskq_internal.id_time(:'id') < :'since' AND taskq_internal.id_time(:'later') >= :'since', '... which the view says');
SELECT taskq.kind_define('lb_indexed', 'echo(jsonb)', indexed => '{other}', description => 'again');
SELECT is(indexed_since, :'since', 'the same again is as before') FROM taskq.kind WHERE name = 'lb_indexed';
SELECT taskq.kind_define('lb_indexed', 'echo(jsonb)', indexed => '{other,one_more}');
SELECT ok(indexed_since > :'since', '... one more is not') FROM taskq.kind WHERE name = 'lb_indexed';
SELECT taskq.kind_define('lb_indexed', 'echo(jsonb)', indexed => '{}');
SELECT ok(indexed IS NULL AND indexed_since IS NULL, '... and none is none') FROM taskq.kind WHERE name = 'lb_indexed';
SELECT throws_ok($$SELECT taskq.kind_define('lb_x', 'echo(jsonb)', indexed => '{a,NULL}')$$, '22023', NULL, 'a member has a name');
SELECT throws_ok($$SELECT taskq.kind_define('lb_x', 'echo(jsonb)', indexed => ARRAY[repeat('x', 64)])$$, '22023', NULL, '... that is not too long');
SELECT throws_ok($$SELECT taskq.kind_define('lb_x', 'echo(jsonb)', indexed => '{1,2,3,4,5,6,7,8,9}')$$, '22023', NULL, '... and they are few');

-- what the end writes
SELECT taskq.task_submit('lb_broken', tags => '{late}') AS id \gset
CALL wait_state(:'id', 'failed');
SELECT is(labels(:'id'), 'f f:lane t:late', 'a task that failed is among those');
SELECT taskq.task_submit('lb_echo', queue => 'lb_held') AS id \gset
SELECT taskq.task_cancel(:'id') \gset
SELECT is(labels(:'id'), 'x x:lane', 'one that was cancelled too');
SELECT taskq.task_submit('lb_nap') AS id \gset
CALL wait_state(:'id', 'completed');
SELECT is(labels(:'id'), 'd', 'and one that ran for a tenth of a second');
SELECT is(-l.rank, (extract(epoch FROM t.finished_at - t.started_at) * 1000000)::int8, '... in the order of their times')
FROM taskq_internal.task t JOIN all_labels l USING (id) WHERE t.id = :'id';

-- transactions
BEGIN;
SELECT taskq.task_submit('lb_echo', queue => 'lb_held', tags => '{undone}') AS undone \gset
SELECT is(labels(:'undone'), 't:undone', 'a label is there at once');
ROLLBACK;
SELECT is(labels(:'undone'), '', '... and gone with the submit');
BEGIN;
SAVEPOINT a;
SELECT taskq.task_submit('lb_echo', queue => 'lb_held', tags => '{undone}') AS undone \gset
ROLLBACK TO a;
SELECT taskq.task_submit('lb_echo', queue => 'lb_held', tags => '{done}') AS done \gset
COMMIT;
SELECT is(labels(:'undone') || labels(:'done'), 't:done', '... also with a savepoint');
SELECT throws_ok($a$DO $$ BEGIN PERFORM taskq.task_cancel(id) FROM taskq.task WHERE tags @> '{done}'; RAISE 'undone'; END $$ $a$, 'P0001', NULL, 'a cancel that is undone');
SELECT is(labels(:'done'), 't:done', '... leaves none');

-- a task that becomes another one
SELECT taskq.task_submit('lb_echo', queue => 'lb_held', tags => '{old,both}', unique_key => 'one', on_conflict => 'replace') AS id \gset
SELECT is(taskq.task_submit('lb_echo', queue => 'lb_held', tags => '{new,both}', unique_key => 'one', on_conflict => 'replace'), :'id', 'a task that is replaced');
SELECT is(labels(:'id'), 't:both t:new', '... has the new one''s');

-- what is deleted takes them along
SELECT taskq.task_cancel(:'id'), taskq.task_delete(:'id') \gset
SELECT is(labels(:'id'), '', 'a task that is deleted leaves none');
SELECT taskq.task_submit('lb_echo', queue => 'lb_held', tags => '{gone}', options => '{"tenant": "leaves"}') AS id \gset
SELECT deleted FROM taskq.tenant_delete('leaves') \gset
SELECT is(labels(:'id'), '', 'nor those of a tenant that is');

-- a DBA's own things
DO $$ BEGIN FOR i IN 0..15 LOOP
	EXECUTE format('ALTER TABLE taskq_internal.label_%s ADD COLUMN note text DEFAULT %L', lpad(i::text, 2, '0'), 'noted');
	EXECUTE format('CREATE INDEX %I ON taskq_internal.label_%s (upper(label)) WHERE rank = 0', 'lb_upper_' || i, lpad(i::text, 2, '0'));
	EXECUTE format('REINDEX TABLE taskq_internal.label_%s', lpad(i::text, 2, '0'));
END LOOP; END $$;
SELECT taskq.task_submit('lb_broken', tags => '{dba}') AS id \gset
CALL wait_state(:'id', 'failed');
SELECT is(labels(:'id'), 'f f:lane t:dba', 'with columns and indexes of others they are written');
SELECT lives_ok(format('SELECT taskq.task_delete(%L)', :'id'), '... and deleted');
SELECT is(labels(:'id'), '', '... all of them');

-- whoever submits needs no right to them
CREATE ROLE lb_user LOGIN;
GRANT taskq_user TO lb_user;
SET SESSION AUTHORIZATION lb_user;
SELECT taskq.task_submit('lb_echo', queue => 'lb_held', tags => '{user}') AS id \gset
SELECT throws_ok('SELECT * FROM taskq_internal.label_00', '42501', NULL, 'nobody looks at them');
RESET SESSION AUTHORIZATION;
SELECT is(labels(:'id'), 't:user', '... but a plain user''s tasks have them');

SELECT * FROM finish();
