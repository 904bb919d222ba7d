-- The audit: whatever is done is there, for those who may see what it was done to; nobody writes it.
\ir include/prologue.psql
SELECT plan(41);

CREATE ROLE audit_app LOGIN;
CREATE ROLE audit_other LOGIN;
CREATE ROLE audit_op LOGIN;
CREATE ROLE audit_watch LOGIN;
CREATE ROLE audit_dev LOGIN;
GRANT taskq_user TO audit_app, audit_other;
GRANT taskq_user, taskq_operator, taskq_developer TO audit_op;
GRANT taskq_monitor TO audit_watch;
GRANT taskq_developer, taskq_user TO audit_dev;
SELECT taskq.kind_define('audited', 'echo(jsonb)'), taskq.queue_define('audit_held'), taskq.queue_pause('audit_held', 'for the test') \g /dev/null

-- the last thing done, in short
CREATE FUNCTION last_act() RETURNS text LANGUAGE sql AS
$$ SELECT concat_ws(' ', role, action, object, coalesce(name, kind), 'x' || count, reason) FROM taskq.audit ORDER BY created_at DESC, id DESC LIMIT 1 $$;

SELECT is((SELECT concat_ws(' ', action, object, name, kind) FROM taskq.audit WHERE name = 'audited'), 'define kind audited audited', 'a definition is there');
SELECT is((SELECT reason FROM taskq.audit WHERE action = 'pause' AND name = 'audit_held'), 'for the test', 'a pause, with its reason');

-- one task
SET SESSION AUTHORIZATION audit_app;
SET application_name = 'the shop';
SELECT taskq.task_submit('audited', '{"password": "secret"}', queue => 'audit_held') AS a \gset
SELECT taskq.task_submit('audited', queue => 'audit_held') AS b \gset
SELECT is((SELECT count(*) FROM taskq.audit WHERE action = 'submit'), 0::int8, 'submits are not audited unless told');
SELECT taskq.task_cancel(:'a', 'not needed') \g /dev/null
SELECT is(last_act(), 'audit_app cancel task audited x1 not needed', 'a cancel');
SELECT is((SELECT concat_ws(' ', task_id = :'a', outcome, run_as, submitted_by, session_role, application_name, pid = pg_backend_pid()) FROM taskq.audit ORDER BY id DESC LIMIT 1),
	't the task is cancelled audit_app audit_app audit_app the shop t', '... with what it came to, whose the task is, and who says to be what');
SELECT taskq.task_cancel(:'a', 'once more') \g /dev/null
SELECT is((SELECT count(*) FROM taskq.audit WHERE task_id = :'a'), 1::int8, 'what came to nothing is not there');
SELECT taskq.task_retry(:'a', queue => 'audit_held') AS r \gset
SELECT is((SELECT concat_ws(' ', action, details->>'new_task' = :'r') FROM taskq.audit WHERE task_id = :'a' ORDER BY id DESC LIMIT 1), 'retry t', 'a retry, with the new task');
SELECT taskq.task_set_priority(:'b', 5, 'urgent') \g /dev/null
SELECT is((SELECT action || ' ' || (details - 'positions')::text || ' ' || reason FROM taskq.audit WHERE task_id = :'b'), 'priority {"new": 5, "old": 0} urgent', 'a priority, before and after');
SELECT taskq.task_reschedule(:'b', 'infinity'), taskq.task_run_now(:'b') \g /dev/null
SELECT is((SELECT string_agg(action, ' ' ORDER BY id) FROM taskq.audit WHERE task_id = :'b'), 'priority reschedule run', 'other times');
SELECT taskq.task_delete(:'a') \g /dev/null
SELECT is((SELECT concat_ws(' ', action, outcome, submitted_by) FROM taskq.audit WHERE task_id = :'a' ORDER BY id DESC LIMIT 1), 'delete it was cancelled audit_app', 'a task that was deleted, and whose it was');

-- what is rolled back was not done
BEGIN;
SELECT taskq.task_cancel(:'b', 'by mistake') \g /dev/null
ROLLBACK;
SELECT is((SELECT count(*) FROM taskq.audit WHERE reason = 'by mistake'), 0::int8, 'what was rolled back was not done');

-- who sees what
SELECT is((SELECT count(*) FROM taskq.audit WHERE object <> 'task'), 0::int8, 'a user sees nothing of what others define');
SET SESSION AUTHORIZATION audit_other;
SELECT is((SELECT count(*) FROM taskq.audit), 0::int8, 'nor of tasks of others');
SET SESSION AUTHORIZATION audit_watch;
SELECT is((SELECT count(*) FROM taskq.audit WHERE task_id = :'a'), 3::int8, 'a monitor sees all');
SET SESSION AUTHORIZATION audit_op;
SELECT taskq.task_cancel(:'b', 'by the operator', force => true) \g /dev/null
SET SESSION AUTHORIZATION audit_app;
SELECT is(last_act(), 'audit_op cancel task audited x1 by the operator', 'whose task it is sees who cancelled it');
SELECT is((SELECT force::text || coalesce(session_role, application_name, host(client_addr), pid::text, claims::text, by_task::text, '-') FROM taskq.audit ORDER BY id DESC LIMIT 1),
	'true-', '... and nothing of that one''s session');

-- many at once
SET SESSION AUTHORIZATION audit_app;
SELECT count(taskq.task_submit('audited', queue => 'audit_held')) FROM generate_series(1, 120) \g /dev/null
SET SESSION AUTHORIZATION audit_other;
SELECT count(taskq.task_submit('audited', queue => 'audit_held')) FROM generate_series(1, 5) \g /dev/null
SET SESSION AUTHORIZATION audit_op;
SELECT count(*) FROM taskq.task_bulk('cancel', filter => '{"queue": "audit_held"}', reason => 'all of them') \g /dev/null
SELECT is((SELECT array_agg(concat_ws(' ', submitted_by, count, cardinality(task_ids)) ORDER BY submitted_by) FROM taskq.audit WHERE reason = 'all of them'),
	'{audit_app 121 100,audit_other 5 5}', 'many tasks: a row for those of each role, which names the first hundred');
SET SESSION AUTHORIZATION audit_other;
SELECT is((SELECT sum(count) FROM taskq.audit), 5::numeric, '... and each role sees its own');
SELECT count(taskq.task_submit('audited', queue => 'audit_held')) FROM generate_series(1, 3) \g /dev/null
SELECT count(*) FROM taskq.task_bulk('cancel', filter => '{"state": "pending"}', reason => 'few') \g /dev/null
SELECT is((SELECT array_agg(count ORDER BY id) FROM taskq.audit WHERE reason = 'few' AND task_id IS NOT NULL), '{1,1,1}'::int8[], 'of few tasks each has its row');
SELECT task_id AS done FROM taskq.audit WHERE reason = 'few' LIMIT 1 \gset
SELECT count(*) FROM taskq.task_bulk('retry', ids => ARRAY[:'done', gen_random_uuid(), :'done']::uuid[], reason => 'partly') \g /dev/null
SELECT is((SELECT count(*) FROM taskq.audit WHERE action = 'retry' AND task_id = :'done' AND reason = 'partly'),
	(SELECT count(*) FROM taskq.task WHERE retry_of = :'done'), 'what one of many was refused is not there, and nothing is there twice');
RESET SESSION AUTHORIZATION;
SELECT taskq.queue_clear('audit_held', reason => 'cleared') \g /dev/null
SELECT is((SELECT array_agg(concat_ws(' ', action, object, name, count) ORDER BY id) FROM taskq.audit WHERE reason = 'cleared' AND object = 'queue'), '{"clear queue audit_held 2"}', 'a queue that was cleared');
-- an error in the midst leaves nothing behind
SELECT is(error_of($$SELECT taskq.task_bulk('cancel', ids => ARRAY[NULL]::uuid[])$$), '22023', 'an error');
SELECT taskq.queue_resume('audit_held') \g /dev/null
SELECT is(last_act(), current_user || ' resume queue audit_held x0', '... and what comes after is written at once');

-- definitions
SET SESSION AUTHORIZATION audit_dev;
SET client_min_messages = error;
SELECT taskq.kind_define('audit_kind', 'echo(jsonb)', priority => 1, settings => '{"work_mem": "8MB"}') \g /dev/null
SELECT taskq.kind_define('audit_kind', 'echo(jsonb)', priority => 2, settings => '{"work_mem": "9MB"}', description => 'new'), taskq.kind_grant('audit_kind', 'audit_app'),
	taskq.kind_revoke('audit_kind', 'audit_app'), taskq.kind_pause('audit_kind'), taskq.kind_resume('audit_kind') \g /dev/null
SELECT taskq.schedule_define('audit_schedule', 'audit_kind', every => '1 day', payload => '{"password": "secret"}'), taskq.schedule_disable('audit_schedule'), taskq.schedule_drop('audit_schedule') \g /dev/null
SELECT taskq.template_define('audit_template', '[{"kind": "audit_kind", "payload": {"password": "secret"}}]'), taskq.template_drop('audit_template') \g /dev/null
SELECT taskq.kind_drop('audit_kind') \g /dev/null
SELECT is((SELECT array_agg(action || ' ' || object ORDER BY id) FROM taskq.audit),
	'{define kind,define kind,grant kind,revoke kind,pause kind,resume kind,define schedule,disable schedule,drop schedule,define template,drop template,drop kind}', 'what a developer did');
SELECT is((SELECT details FROM taskq.audit WHERE action = 'define' AND object = 'kind' ORDER BY id DESC LIMIT 1),
	'{"priority": {"new": "2", "old": "1"}, "settings": "changed", "description": {"new": "new"}}', 'what is defined anew is told with what has changed');
SELECT is((SELECT details FROM taskq.audit WHERE action = 'grant'), '{"role": "audit_app", "privilege": "submit"}', 'who was given what');
RESET SESSION AUTHORIZATION;
SELECT is((SELECT count(*) FROM taskq.audit a WHERE a::text LIKE '%secret%'), 0::int8, 'no payload is in it');
SELECT taskq.pause('the end'), taskq.resume() \g /dev/null
SELECT is((SELECT array_agg(action || ' ' || coalesce(reason, '-') ORDER BY id) FROM taskq.audit WHERE object = 'database'), '{"pause the end","resume -"}', 'the database');

-- workflows
SELECT taskq.queue_pause('audit_held') \g /dev/null
SELECT taskq.workflow_submit('[{"kind": "audited", "name": "one", "queue": "audit_held"}, {"kind": "audited", "name": "two", "depends_on": ["one"]}]') AS w \gset
SELECT taskq.workflow_cancel(:'w', 'no workflow') \g /dev/null
SELECT is((SELECT array_agg(object || ' ' || count ORDER BY object) FROM taskq.audit WHERE reason = 'no workflow'), '{"task 1","task 1","workflow 2"}', 'a workflow, and its tasks');
SELECT count(*) FROM taskq.workflow_retry(:'w') \g /dev/null
SELECT is((SELECT string_agg(object || ' ' || count, ', ' ORDER BY object) FROM taskq.audit WHERE action = 'retry' AND (name = :'w' OR id > (SELECT id FROM taskq.audit WHERE reason = 'no workflow' ORDER BY id DESC LIMIT 1))),
	'task 1, task 1, workflow 2', '... retried');

-- by a handler
CREATE FUNCTION audit_handler(p jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	SET LOCAL application_name = 'somebody else';
	PERFORM taskq.task_cancel((p->>'task')::uuid, 'by a handler');
	RETURN NULL;
END $$;
SELECT taskq.kind_define('audit_handler', 'audit_handler(jsonb)') \g /dev/null
SET SESSION AUTHORIZATION audit_app;
SELECT taskq.task_submit('audited', queue => 'audit_held') AS victim \gset
SELECT taskq.task_submit('audit_handler', jsonb_build_object('task', :'victim')) AS h \gset
CALL wait_state(:'h', 'completed');
SELECT is((SELECT concat_ws(' ', reason, by_task = :'h', client_addr) FROM taskq.audit WHERE task_id = :'victim'), 'by a handler t', 'what a handler does, with its task');

-- nobody writes it
SELECT is(error_of('INSERT INTO taskq.audit (action) VALUES ($$cancel$$)'), '42501', 'nobody writes into the view');
SELECT is(error_of('DELETE FROM taskq.audit'), '42501', '... or deletes from it');
SELECT is(error_of('SELECT * FROM taskq_internal.audit'), '42501', 'the table is nobody''s');
SELECT is(error_of('SET taskq.audit = off'), '42501', 'nobody turns it off for itself');
RESET SESSION AUTHORIZATION;
GRANT pg_write_all_data, pg_read_all_data TO audit_other;
SET SESSION AUTHORIZATION audit_other;
SELECT is(error_of('DELETE FROM taskq_internal.audit'), '42501', 'not even who may write all data');
RESET SESSION AUTHORIZATION;
REVOKE pg_write_all_data, pg_read_all_data FROM audit_other;

-- all, and off
SET taskq.audit = 'all';
SELECT taskq.task_submit('audited', queue => 'audit_held') AS s \gset
SELECT is((SELECT action || count FROM taskq.audit WHERE task_id = :'s'), 'submit1', 'all: submits, too');
SELECT count(*) FROM taskq.task_submit_many('audited', array_fill('{}'::jsonb, ARRAY[50]), queue => 'audit_held') \g /dev/null
SELECT is((SELECT action || count FROM taskq.audit ORDER BY id DESC LIMIT 1), 'submit50', '... many in a row');
SELECT taskq.task_submit('audited', queue => 'audit_held', unique_key => 'audit') AS u \gset
SELECT is(taskq.task_submit('audited', queue => 'audit_held', unique_key => 'audit'), :'u', 'another one has the key');
SELECT is((SELECT array_agg(coalesce(outcome, 'submitted') ORDER BY id) FROM taskq.audit WHERE task_id = :'u'), '{submitted,a task had its unique key}', '... which it says');
SET taskq.audit = off;
SELECT taskq.task_cancel(:'u', 'unseen') \g /dev/null
SELECT is((SELECT count(*) FROM taskq.audit WHERE reason = 'unseen'), 0::int8, 'off: nothing');
RESET taskq.audit;
SELECT taskq.queue_resume('audit_held') \g /dev/null
SELECT * FROM finish();
