-- Limits of kinds and queues: what may be said, and what is shown.
\ir include/prologue.psql
SELECT plan(17);

SELECT taskq.kind_define('limited', 'echo(jsonb)', max_running => 3) \g /dev/null
SELECT is(max_running, 3, 'a kind shows how many of its tasks may run') FROM taskq.kind WHERE name = 'limited';
SELECT taskq.kind_define('limited', 'echo(jsonb)') \g /dev/null
SELECT is(max_running, NULL, '... as it was defined last') FROM taskq.kind WHERE name = 'limited';
SELECT is(error_of($$ SELECT taskq.kind_define('limited', 'echo(jsonb)', max_running => 0) $$), '22023', 'a kind of which nothing may run is none');
SELECT is(error_of($$ SELECT taskq.kind_define('limited', 'echo(jsonb)', max_running => -1) $$), '22023', '... nor one of less');

SELECT taskq.queue_define('limited', max_running => 2) \g /dev/null
SELECT is(max_running, 2, 'a queue shows it too') FROM taskq.queue WHERE name = 'limited';
SELECT taskq.queue_pause('limited'), taskq.queue_resume('limited') \g /dev/null
SELECT is(max_running, 2, '... also when it was paused meanwhile') FROM taskq.queue WHERE name = 'limited';
SELECT taskq.queue_define('limited') \g /dev/null
SELECT is(max_running, NULL, '... as it was defined last') FROM taskq.queue WHERE name = 'limited';
SELECT is(error_of($$ SELECT taskq.queue_define('limited', max_running => 0) $$), '22023', 'a queue that runs nothing is paused, not limited');

-- taken back: as if nobody had defined it, but what waits in it does not start by that
SELECT taskq.queue_define('dropped', max_running => 1, reserved => 1), taskq.queue_pause('dropped', 'till tonight') \g /dev/null
SELECT is((paused, paused_by::text, pause_reason)::text, format('(t,%s,"till tonight")', current_user), 'who paused a queue, and why') FROM taskq.queue WHERE name = 'dropped';
SELECT isnt(paused_since, NULL, '... and since when') FROM taskq.queue WHERE name = 'dropped';
SELECT taskq.queue_drop('dropped') \g /dev/null
SELECT is((paused, max_running, reserved)::text, '(t,,)', 'a queue that is dropped has no limits, but stays paused') FROM taskq.queue WHERE name = 'dropped';
SELECT is(error_of($$SELECT taskq.task_submit('limited', queue => 'dropped')$$), '22023', '... and is not there for submits');
SELECT taskq.queue_resume('dropped') \g /dev/null
SELECT is_empty($$SELECT FROM taskq.queue WHERE name = 'dropped'$$, '... and gone when it is resumed');
SELECT is(error_of($$SELECT taskq.queue_drop('dropped')$$), 'PT404', '... and not dropped twice');
SELECT taskq.queue_define('default', max_running => 5), taskq.queue_drop('default') \g /dev/null
SELECT is((name, max_running)::text, '(default,)', 'queue default is there whoever drops it') FROM taskq.queue WHERE name = 'default';

SELECT taskq.kind_pause('limited', 'broken') \g /dev/null
SELECT is((paused, paused_by::text, pause_reason)::text, format('(t,%s,broken)', current_user), 'who paused a kind, and why') FROM taskq.kind WHERE name = 'limited';
SELECT taskq.kind_resume('limited') \g /dev/null
SELECT is((paused, paused_since, paused_by, pause_reason)::text, '(f,,,)', '... till it is resumed') FROM taskq.kind WHERE name = 'limited';

SELECT * FROM finish();
