-- Pausing and resuming everything, queues and kinds: who may, what is shown.
\ir include/prologue.psql
SELECT plan(32);

CREATE ROLE control_op LOGIN;
CREATE ROLE control_dev LOGIN;
CREATE ROLE control_other LOGIN;
GRANT taskq_operator TO control_op;
GRANT taskq_developer, taskq_user TO control_dev, control_other;
SELECT taskq.kind_define('control', 'echo(jsonb)', queue => 'control_undefined') \g /dev/null
SET ROLE control_dev;
SELECT taskq.kind_define('control_own', 'echo(jsonb)') \g /dev/null
RESET ROLE;

-- a queue that nobody defined
SET ROLE control_op;
SELECT lives_ok($$SELECT taskq.queue_pause('control_undefined', 'maintenance')$$, 'a queue that a kind names can be paused');
SELECT is((SELECT paused FROM taskq.queue WHERE name = 'control_undefined'), true, '... and is shown so');
RESET ROLE;
SELECT taskq.task_submit('control') AS id \gset
SELECT is((SELECT state FROM taskq.task_wait(:'id', '0')), 'pending', '... its tasks wait');
SELECT is(error_of($$SELECT taskq.task_submit('control', queue => 'control_undefined')$$), '22023', '... it is not defined by that');
SELECT is(taskq.sitrep()->'paused_queues', '["control_undefined"]', '... the situation report has it');
SELECT taskq.queue_resume('control_undefined') \g /dev/null
SELECT is((SELECT state FROM taskq.task_wait(:'id')), 'completed', '... resumed, they run');
SELECT taskq.kind_drop('control') \g /dev/null
SELECT lives_ok($$SELECT taskq.queue_pause('control_undefined')$$, 'a queue that only tasks are in can be paused');
SELECT taskq.queue_resume('control_undefined') \g /dev/null
SELECT is(error_of($$SELECT taskq.queue_pause('control_nowhere')$$), 'PT404', 'one that is nowhere cannot');
SELECT is(error_of($$SELECT taskq.queue_resume('control_nowhere')$$), 'PT404', '... nor be resumed');

-- kinds
SET ROLE control_other;
SELECT is(error_of($$SELECT taskq.kind_pause('control_own')$$), '42501', 'a kind is not paused by who does not own it');
SELECT is(error_of($$SELECT taskq.kind_resume('control_own')$$), '42501', '... nor resumed');
SELECT is(error_of($$SELECT taskq.kind_pause('control_nowhere')$$), 'PT404', 'an unknown kind is not paused');
SELECT is(error_of($$SELECT taskq.pause()$$), '42501', 'developers do not pause everything');
SELECT is(error_of($$SELECT taskq.resume()$$), '42501', '... nor resume it');
SELECT is(error_of($$SELECT taskq.queue_pause('default')$$), '42501', '... nor pause a queue');
SET ROLE control_dev;
SELECT lives_ok($$SELECT taskq.kind_pause('control_own')$$, 'its owner pauses it');
SELECT is((SELECT paused FROM taskq.kind WHERE name = 'control_own'), true, '... it is shown so');
SELECT taskq.task_submit('control_own') AS id \gset
SELECT is((SELECT state FROM taskq.task_wait(:'id', '0')), 'pending', '... its tasks wait');
SELECT taskq.kind_define('control_own', 'echo(jsonb)', priority => 1) \g /dev/null
SELECT is((SELECT paused FROM taskq.kind WHERE name = 'control_own'), true, 'defined again it is still paused');
RESET ROLE;
SELECT is(taskq.sitrep()->'paused_kinds', '["control_own"]', '... the situation report has it');
SET ROLE control_op;
SELECT lives_ok($$SELECT taskq.kind_resume('control_own')$$, 'an operator resumes it');
RESET ROLE;
SELECT is((SELECT state FROM taskq.task_wait(:'id')), 'completed', '... they run');

-- everything
SET ROLE control_op;
SELECT lives_ok($$SELECT taskq.pause('moving house')$$, 'an operator pauses everything');
SELECT lives_ok($$SELECT taskq.pause()$$, '... twice is no error');
SET ROLE control_dev;
SELECT taskq.task_submit('control_own') AS id \gset
RESET ROLE;
SELECT is((SELECT state FROM taskq.task_wait(:'id', '0')), 'pending', '... what is submitted waits');
SELECT is(taskq.sitrep()->'paused', 'true', '... the situation report says so');
SELECT matches(taskq.sitrep()->>'why_paused', '^Role control_op .*: moving house;', '... and who, and why');
SELECT is(taskq.sitrep()->'running', 'false', '... and that nothing runs');
SELECT taskq.queue_pause('default') \g /dev/null
SELECT is(taskq.resume(), 0, 'resumed; no lane had to be taken over');
SELECT is((SELECT state FROM taskq.task_wait(:'id', '0')), 'pending', '... a queue that is paused stays so');
SELECT taskq.queue_resume('default') \g /dev/null
SELECT is((SELECT state FROM taskq.task_wait(:'id')), 'completed', '... until it is resumed');
SELECT is(taskq.sitrep()->'why_paused', 'null', 'then there is nothing to say');

SELECT taskq.kind_drop('control_own') \g /dev/null
SELECT * FROM finish();
