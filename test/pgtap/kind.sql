-- Kinds: defined, replaced, dropped, and handlers that went away.
\ir include/prologue.psql
SELECT plan(26);

CREATE FUNCTION kind_one(p jsonb) RETURNS int LANGUAGE sql AS $$ SELECT 1 $$;
CREATE FUNCTION kind_two(p jsonb) RETURNS int LANGUAGE sql AS $$ SELECT 2 $$;

-- everything that is given is kept
SELECT taskq.kind_define('kind_full', 'kind_one(jsonb)', queue => 'kind_q', priority => -5, max_attempts => 7, timeout => '1 min',
	backoff => '2 s', backoff_max => '2 min', retry_on => ARRAY['40001'], description => 'full') \g /dev/null
SELECT is((k.queue, k.priority, k.max_attempts, k.timeout, k.backoff, k.backoff_max, k.retry_on, k.batch, k.description)::text,
	'(kind_q,-5,7,00:01:00,00:00:02,00:02:00,{40001},f,full)', 'the view shows what was defined')
FROM taskq.kind k WHERE k.name = 'kind_full';
SELECT is(k.owner, current_user, '... and who did') FROM taskq.kind k WHERE k.name = 'kind_full';
SELECT matches(k.handler, 'kind_one', '... and the handler') FROM taskq.kind k WHERE k.name = 'kind_full';

-- replaced
SELECT taskq.kind_define('kind_full', 'kind_two(jsonb)') \g /dev/null
SELECT is((k.queue, k.priority, k.max_attempts, k.timeout, k.backoff, k.backoff_max, k.retry_on, k.batch, k.description)::text,
	'(default,0,3,,00:00:01,01:00:00,,f,)', 'defined again, it has the defaults where nothing is given')
FROM taskq.kind k WHERE k.name = 'kind_full';
SELECT is(count(*)::int, 1, '... and is there once') FROM taskq.kind WHERE name = 'kind_full';

-- a task that waits takes the handler of when it runs
SELECT taskq.queue_define('kind_held') \g /dev/null
SELECT taskq.queue_pause('kind_held') \g /dev/null
SELECT taskq.kind_define('kind_swap', 'kind_one(jsonb)') \g /dev/null
SELECT taskq.task_submit('kind_swap', queue => 'kind_held') AS id \gset
SELECT taskq.kind_define('kind_swap', 'kind_two(jsonb)') \g /dev/null
SELECT taskq.queue_resume('kind_held') \g /dev/null
SELECT is(t.result, '2', 'a task that waited runs the new handler') FROM taskq.task_wait(:'id') t;
-- in a worker that has run the old one
CREATE OR REPLACE FUNCTION kind_two(p jsonb) RETURNS int LANGUAGE sql AS $$ SELECT 22 $$;
SELECT taskq.task_submit('kind_swap') AS id \gset
SELECT is(t.result, '22', 'a handler that was replaced runs as it is now') FROM taskq.task_wait(:'id') t;
SELECT taskq.kind_define('kind_swap', 'kind_one(jsonb)') \g /dev/null
SELECT taskq.task_submit('kind_swap') AS id \gset
SELECT is(t.result, '1', '... and a kind that was') FROM taskq.task_wait(:'id') t;

-- dropped
SELECT taskq.queue_pause('kind_held') \g /dev/null
SELECT taskq.kind_define('kind_drop', 'kind_one(jsonb)') \g /dev/null
SELECT taskq.task_submit('kind_drop') AS done \gset
SELECT is(t.state, 'completed', 'a task of a kind') FROM taskq.task_wait(:'done') t;
SELECT taskq.task_submit('kind_drop', queue => 'kind_held') AS waiting \gset
SELECT taskq.task_submit('kind_drop', delay => '1 day') AS later \gset
SELECT taskq.kind_drop('kind_drop') \g /dev/null
SELECT is((t.state, t.kind, t.result)::text, '(completed,kind_drop,1)', 'is still there when the kind is dropped') FROM taskq.task_status(:'done') t;
SELECT is((t.state, t.kind)::text, '(pending,kind_drop)', 'one that waits too') FROM taskq.task_status(:'waiting') t;
SELECT isnt(error_of($$SELECT taskq.task_submit('kind_drop')$$), 'none', 'no new one is accepted');
SELECT taskq.queue_resume('kind_held') \g /dev/null
SELECT is(t.state, 'failed', 'the one that waits fails when its turn comes') FROM taskq.task_wait(:'waiting') t;
SELECT matches(t.error->>'message', 'kind_drop', '... with an error that names the kind') FROM taskq.task_status(:'waiting') t;
SELECT is(t.state, 'scheduled', 'a scheduled one waits for its time') FROM taskq.task_status(:'later') t;
SELECT is(c.cancelled, true, '... and can be cancelled') FROM taskq.task_cancel(:'later') c;

-- drop that rolls back
BEGIN;
SELECT taskq.kind_drop('kind_swap') \g /dev/null
ROLLBACK;
SELECT taskq.task_submit('kind_swap') AS id \gset
SELECT is(t.state, 'completed', 'a drop that rolls back is none') FROM taskq.task_wait(:'id') t;

-- defined and used in one transaction
BEGIN;
SELECT taskq.kind_define('kind_new', 'kind_one(jsonb)') \g /dev/null
SELECT taskq.task_submit('kind_new') AS id \gset
COMMIT;
SELECT is(t.state, 'completed', 'a kind is defined and used in one transaction') FROM taskq.task_wait(:'id') t;

-- the handler is gone, or may not be called
CREATE FUNCTION kind_gone(p jsonb) RETURNS int LANGUAGE sql AS $$ SELECT 1 $$;
SELECT taskq.kind_define('kind_gone', 'kind_gone(jsonb)', max_attempts => 1) \g /dev/null
SELECT taskq.task_submit('kind_gone') AS id \gset
SELECT is(t.state, 'completed', 'a handler') FROM taskq.task_wait(:'id') t;
SELECT taskq.queue_define('kind_held') \g /dev/null
SELECT taskq.queue_pause('kind_held') \g /dev/null
SELECT taskq.task_submit('kind_gone', queue => 'kind_held') AS id \gset
DROP FUNCTION kind_gone(jsonb);
SELECT is(error_of($$SELECT taskq.task_submit('kind_gone')$$), '42883', '... that was dropped takes no more tasks');
SELECT taskq.queue_resume('kind_held') \g /dev/null
SELECT is(t.state, 'failed', '... and fails those that wait') FROM taskq.task_wait(:'id') t;
SELECT is(t.error->>'sqlstate', '42883', '... as an undefined function') FROM taskq.task_status(:'id') t;
CREATE FUNCTION kind_gone(p jsonb) RETURNS int LANGUAGE sql AS $$ SELECT 3 $$;
SELECT taskq.task_submit('kind_gone') AS id \gset
SELECT is((t.state, t.result)::text, '(completed,3)', 'created again, it is found') FROM taskq.task_wait(:'id') t;

-- a handler with a name that needs quotes, in another schema
CREATE SCHEMA "kind Schema";
CREATE FUNCTION "kind Schema"."kind ""Handler"""(p jsonb) RETURNS text LANGUAGE sql AS $$ SELECT 'quoted' $$;
SELECT taskq.kind_define('kind "quoted" ''name''', '"kind Schema"."kind ""Handler"""(jsonb)', queue => 'a queue, "quoted"') \g /dev/null
SELECT taskq.task_submit('kind "quoted" ''name''') AS id \gset
SELECT is(concat_ws(' ', t.result #>> '{}', t.queue), 'quoted a queue, "quoted"', 'names that need quotes') FROM taskq.task_wait(:'id') t;
-- of two of the same name
CREATE FUNCTION kind_overload() RETURNS text LANGUAGE sql AS $$ SELECT 'none' $$;
CREATE FUNCTION kind_overload(p jsonb) RETURNS text LANGUAGE sql AS $$ SELECT 'one' $$;
SELECT taskq.kind_define('kind_overload0', 'kind_overload()') \g /dev/null
SELECT taskq.kind_define('kind_overload1', 'kind_overload(jsonb)') \g /dev/null
SELECT taskq.task_submit('kind_overload0') AS id0 \gset
SELECT taskq.task_submit('kind_overload1') AS id1 \gset
SELECT is(t.result, '"none"', 'the one without argument') FROM taskq.task_wait(:'id0') t;
SELECT is(t.result, '"one"', 'the one with the payload') FROM taskq.task_wait(:'id1') t;

SELECT * FROM finish();
