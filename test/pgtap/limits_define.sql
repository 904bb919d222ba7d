-- Limits of kinds and queues: what may be said, and what is shown.
\ir include/prologue.psql
SELECT plan(8);

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


SELECT * FROM finish();
