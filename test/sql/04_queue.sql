-- Queues: defined, paused, resumed.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS taskq;
RESET client_min_messages;

CREATE FUNCTION queue_work(p jsonb) RETURNS jsonb LANGUAGE sql AS $$ SELECT p $$;
SELECT taskq.kind_define('queue_work', 'queue_work(jsonb)', queue => 'queue_a');

-- the queue "default" is always there; another one is there when it was defined or used
SELECT name, paused FROM taskq.queue WHERE name = 'default';
SELECT taskq.queue_define('queue_a', description => 'for tests');
SELECT taskq.queue_define('queue_b');
SELECT name, paused, max_running, description FROM taskq.queue WHERE name = 'queue_a';

-- paused, its tasks wait
SELECT taskq.queue_pause('queue_a');
SELECT name, paused FROM taskq.queue WHERE name = 'queue_a';
SELECT taskq.task_submit('queue_work', '1') AS held \gset
SELECT taskq.task_submit('queue_work', '2', queue => 'queue_b') AS free \gset
SELECT queue, state, result FROM taskq.task_wait(:'free');
SELECT queue, state FROM taskq.task_status(:'held');

-- defining it again leaves it paused
SELECT taskq.queue_define('queue_a', description => 'changed');
SELECT name, paused, description FROM taskq.queue WHERE name = 'queue_a';

-- pausing what is paused, or resuming what is not, is no error
SELECT taskq.queue_pause('queue_a');
SELECT taskq.queue_resume('queue_b');

-- resumed, it goes on
SELECT taskq.queue_resume('queue_a');
SELECT queue, state, result FROM taskq.task_wait(:'held');
SELECT name, paused, waiting FROM taskq.queue WHERE name IN ('queue_a', 'queue_b') ORDER BY name;

-- a pause that rolls back is none
BEGIN;
SELECT taskq.queue_pause('queue_a');
ROLLBACK;
SELECT taskq.task_submit('queue_work', '3') AS id \gset
SELECT state FROM taskq.task_wait(:'id');

-- the default queue can be paused as well
SELECT taskq.queue_pause('default');
SELECT taskq.task_submit('queue_work', '4', queue => 'default') AS id \gset
SELECT taskq.task_submit('queue_work', '5') AS other \gset
SELECT state FROM taskq.task_wait(:'other');
SELECT state FROM taskq.task_status(:'id');
SELECT taskq.queue_resume('default');
SELECT state, result FROM taskq.task_wait(:'id');
