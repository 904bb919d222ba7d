-- Settings of a kind: around the handler, as the role that the task runs as may set them.
\ir include/prologue.psql
SELECT plan(27);

CREATE ROLE ks_app LOGIN;
CREATE ROLE ks_op LOGIN;
GRANT taskq_user TO ks_app;
GRANT taskq_operator TO ks_op;
CREATE SCHEMA ks;
GRANT USAGE ON SCHEMA ks TO PUBLIC;
CREATE FUNCTION ks.where_am_i() RETURNS text LANGUAGE sql AS $$ SELECT 'ks'::text $$;
CREATE FUNCTION ks_show(p jsonb) RETURNS text LANGUAGE plpgsql AS $$ BEGIN RETURN current_setting(p #>> '{}', true); END $$;
CREATE FUNCTION ks_own(p jsonb) RETURNS text LANGUAGE plpgsql AS $$ BEGIN SET work_mem = '9MB'; RETURN current_setting('work_mem'); END $$;
CREATE FUNCTION ks_path(p jsonb) RETURNS text LANGUAGE plpgsql AS $$ BEGIN RETURN where_am_i(); END $$;
CREATE FUNCTION ks_path_sql(p jsonb) RETURNS text LANGUAGE plpgsql AS $$ BEGIN RETURN current_setting('search_path'); END $$;
CREATE FUNCTION ks_slow(p jsonb) RETURNS text LANGUAGE plpgsql AS $$ BEGIN PERFORM wait_at_gate('{"gate": "never"}'); RETURN ''; END $$;
CREATE FUNCTION ks_fails(p jsonb) RETURNS text LANGUAGE plpgsql AS $$ BEGIN RAISE '%', current_setting('work_mem'); END $$;
\ir include/as_role.psql
CREATE FUNCTION outcome(task uuid) RETURNS text LANGUAGE sql AS $$
	SELECT coalesce(t.result #>> '{}', t.error->>'sqlstate', t.state) FROM taskq.task_wait(task) t
$$;

SELECT taskq.kind_define('ks_mem', 'ks_show(jsonb)', settings => '{"work_mem": "7MB", "enable_seqscan": false, "cpu_tuple_cost": 0.5, "my.own": "x"}') \g /dev/null
SELECT taskq.kind_define('ks_plain', 'ks_show(jsonb)') \g /dev/null
SELECT taskq.kind_define('ks_batch', 'ks_show(jsonb)', batch => true, settings => '{"work_mem": "7MB"}') \g /dev/null
SELECT taskq.kind_define('ks_batch_plain', 'ks_show(jsonb)', batch => true) \g /dev/null
SELECT taskq.kind_define('ks_own', 'ks_own(jsonb)', settings => '{"work_mem": "7MB"}') \g /dev/null
SELECT is(k.settings, '{"work_mem": "7MB", "enable_seqscan": false, "cpu_tuple_cost": 0.5, "my.own": "x"}', 'the view kind shows settings') FROM taskq.kind k WHERE k.name = 'ks_mem';

SELECT taskq.task_submit('ks_mem', '"work_mem"') AS mem, taskq.task_submit('ks_mem', '"enable_seqscan"') AS seqscan, taskq.task_submit('ks_mem', '"cpu_tuple_cost"') AS cost,
	taskq.task_submit('ks_mem', '"my.own"') AS own, taskq.task_submit('ks_plain', '"work_mem"') AS plain, taskq.task_submit('ks_plain', '"my.own"') AS plain_own,
	taskq.task_submit('ks_own') AS set \gset
SELECT is(outcome(:'mem'), '7MB', 'a handler has the setting of its kind');
SELECT is(outcome(:'seqscan'), 'off', '... a boolean one');
SELECT is(outcome(:'cost'), '0.5', '... a number');
SELECT is(outcome(:'own'), 'x', '... an application''s');
SELECT is(outcome(:'set'), '9MB', '... and may SET another value');
SELECT is(outcome(:'plain'), current_setting('work_mem'), 'another kind''s has not');
SELECT is(coalesce(outcome(:'plain_own'), ''), '', '... nothing of it');

-- in shared transactions, one by one
SELECT array_agg(id ORDER BY n) AS ids FROM (SELECT n, taskq.task_submit(CASE n % 2 WHEN 0 THEN 'ks_batch' ELSE 'ks_batch_plain' END, '"work_mem"') AS id FROM generate_series(1, 200) n) s \gset
SELECT is(string_agg(s.line, ' ' ORDER BY s.line), format('ks_batch:7MB:100 ks_batch_plain:%s:100', current_setting('work_mem')), 'tasks that share transactions')
FROM (SELECT format('%s:%s:%s', t.kind, t.result #>> '{}', count(*)) AS line FROM taskq.task_wait_all(:'ids') t GROUP BY t.kind, t.result) s;

-- after an error
SELECT taskq.kind_define('ks_fails', 'ks_fails(jsonb)', max_attempts => 1, settings => '{"work_mem": "7MB"}') \g /dev/null
SELECT taskq.task_submit('ks_fails') AS fails \gset
SELECT is(t.error->>'message', '7MB', 'a handler that fails') FROM taskq.task_wait(:'fails') t;
SELECT taskq.task_submit('ks_plain', '"work_mem"') AS plain \gset
SELECT is(outcome(:'plain'), current_setting('work_mem'), '... leaves nothing behind');

-- search_path, statement_timeout
SELECT taskq.kind_define('ks_path', 'ks_path(jsonb)', settings => '{"search_path": "ks"}') \g /dev/null
SELECT taskq.task_submit('ks_path') AS id \gset
SELECT is(outcome(:'id'), 'ks', 'search_path');
SELECT taskq.kind_define('ks_slow', 'ks_slow(jsonb)', max_attempts => 1, timeout => '1 h', settings => '{"statement_timeout": "50ms"}') \g /dev/null
SELECT taskq.task_submit('ks_slow') AS id \gset
SELECT is(outcome(:'id'), '57014', 'statement_timeout limits the attempt');
SELECT taskq.kind_define('ks_slow', 'ks_slow(jsonb)', batch => true, max_attempts => 1, settings => '{"statement_timeout": 50}') \g /dev/null
SELECT taskq.task_submit('ks_slow') AS id \gset
SELECT is(outcome(:'id'), '57014', '... in batches too');

-- as the role may
SELECT taskq.kind_define('ks_files', 'ks_show(jsonb)', settings => '{"temp_file_limit": "1GB"}') \g /dev/null
SELECT taskq.task_submit('ks_files', '"temp_file_limit"') AS mine, as_role('ks_app', $$SELECT taskq.task_submit('ks_files', '"temp_file_limit"')$$) AS apps \gset
SELECT is(outcome(:'mine'), '1GB', 'a superuser''s task may set all');
SELECT is(outcome(:'apps'), '42501', 'another role''s what the role may');
GRANT SET ON PARAMETER temp_file_limit TO ks_app;
SELECT as_role('ks_app', $$SELECT taskq.task_submit('ks_files', '"temp_file_limit"')$$) AS apps \gset
SELECT is(outcome(:'apps'), '1GB', '... and was granted');

-- settings are part of what runs: a stranger's change is not for tasks that wait
SELECT taskq.queue_define('ks_held'), taskq.queue_pause('ks_held') \g /dev/null
SELECT as_role('ks_op', $$SELECT taskq.kind_define('ks_kind', 'ks_path_sql(jsonb)')$$) \g /dev/null
SELECT as_role('ks_app', $$SELECT taskq.task_submit('ks_kind', queue => 'ks_held')$$) AS waiting \gset
SELECT as_role('ks_op', $$SELECT taskq.kind_define('ks_kind', 'ks_path_sql(jsonb)', settings => '{"search_path": "evil"}')$$) \g /dev/null
SELECT taskq.queue_resume('ks_held') \g /dev/null
SELECT is(outcome(:'waiting'), '42501', 'a task that waited does not run with settings that a stranger chose meanwhile');
SELECT as_role('ks_app', $$SELECT taskq.task_submit('ks_kind')$$) AS knowing \gset
SELECT is(outcome(:'knowing'), 'evil', '... who submits then does');

-- arguments
\set define 'SELECT taskq.kind_define(''ks_x'', ''ks_show(jsonb)'', settings => %L)'
SELECT is(error_of(format(:'define', '{"no_such_setting": 1}')), '42704', 'a setting that there is not');
SELECT is(error_of(format(:'define', '{"work_mem": "much"}')), '22023', 'a value that it can''t have');
SELECT is(error_of(format(:'define', '{"max_connections": 7}')), '55P02', 'one that the server''s start sets');
SELECT is(error_of(format(:'define', '{"Role": "postgres"}')), '22023', 'whom the task runs as');
SELECT is(error_of(format(:'define', '{"session_authorization": "postgres"}')), '22023', '... likewise');
SELECT is(error_of(format(:'define', '{"taskq.retention": "1h"}')), '22023', 'taskq''s own');
SELECT is(error_of(format(:'define', '[1]')), '22023', 'no object');
SELECT is(error_of($$SELECT taskq.kind_define('ks_x', settings => '{"work_mem": "7MB"}')$$), '22023', 'a kind without handler has no settings');

SELECT finish();
