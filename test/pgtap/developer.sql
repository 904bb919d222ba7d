-- taskq_developer defines kinds, and nothing else.
\ir include/prologue.psql
SELECT plan(12);

CREATE ROLE dev_alice LOGIN IN ROLE taskq_developer;
CREATE ROLE dev_app LOGIN IN ROLE taskq_user;
CREATE FUNCTION dev_secret(p jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$ BEGIN RETURN p; END $$;
REVOKE EXECUTE ON FUNCTION dev_secret(jsonb) FROM PUBLIC;
SELECT taskq.kind_define('dev_others', 'wait_at_gate(jsonb)');
SELECT taskq.task_submit('dev_others') AS others \gset

SET ROLE dev_alice;
SELECT lives_ok($$ SELECT taskq.kind_define('dev_mine', 'echo(jsonb)') $$, 'a developer defines a kind whose handler it may execute');
SELECT throws_ok($$ SELECT taskq.kind_define('dev_theirs', 'dev_secret(jsonb)') $$, '42501', NULL, '... and none whose handler it may not');
SELECT throws_ok($$ SELECT taskq.kind_define('dev_others', 'echo(jsonb)') $$, '42501', NULL, '... nor replaces one of another owner');
SELECT throws_ok($$ SELECT taskq.kind_define('dev_as', 'echo(jsonb)', run_as => 'dev_app') $$, '42501', NULL, '... nor lets it run as a role it is no member of');
SELECT is((SELECT owner FROM taskq.kind WHERE name = 'dev_mine'), 'dev_alice'::name, 'it sees its kind');
SELECT throws_ok($$ SELECT * FROM taskq.task $$, '42501', NULL, 'it sees no tasks');
SELECT throws_ok($$ SELECT taskq.task_submit('dev_mine') $$, '42501', NULL, '... submits none');
SELECT throws_ok($$ SELECT taskq.task_submit_sql('SELECT 1') $$, '42501', NULL, '... no SQL either');
SELECT throws_ok(format($$ SELECT taskq.task_cancel(%L) $$, :'others'), '42501', NULL, '... cancels none');
SELECT throws_ok($$ SELECT taskq.queue_pause('default') $$, '42501', NULL, '... pauses no queue');
RESET ROLE;

SET ROLE dev_app;
SELECT taskq.task_submit('dev_mine', '{"a": 1}') AS id \gset
SELECT is((SELECT state FROM taskq.task_wait(:'id')), 'completed', 'an application runs the kind');
RESET ROLE;
SET ROLE dev_alice;
SELECT lives_ok($$ SELECT taskq.kind_drop('dev_mine') $$, 'the developer drops its kind');
RESET ROLE;


SELECT taskq.task_cancel(:'others') \g /dev/null
SELECT * FROM finish();
DROP OWNED BY dev_alice, dev_app;
DROP ROLE dev_alice, dev_app;
