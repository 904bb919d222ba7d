-- What is refused, and what the error says.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS taskq;
RESET client_min_messages;
\set SHOW_CONTEXT never

CREATE FUNCTION errors_work(p jsonb) RETURNS jsonb LANGUAGE sql AS $$ SELECT p $$;
CREATE FUNCTION errors_two(p jsonb, q jsonb) RETURNS jsonb LANGUAGE sql AS $$ SELECT p $$;
CREATE FUNCTION errors_text(p text) RETURNS text LANGUAGE sql AS $$ SELECT p $$;
CREATE PROCEDURE errors_procedure(p jsonb) LANGUAGE sql AS $$ SELECT 1 $$;
CREATE FUNCTION errors_trigger() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;
CREATE AGGREGATE errors_aggregate(jsonb) (SFUNC = jsonb_concat, STYPE = jsonb);
SELECT taskq.kind_define('errors', 'errors_work(jsonb)');

-- kinds
SELECT taskq.kind_define(NULL, 'errors_work(jsonb)');
\echo :SQLSTATE
SELECT taskq.kind_define('', 'errors_work(jsonb)');
\echo :SQLSTATE
SELECT taskq.kind_define('errors_x', 'errors_two(jsonb, jsonb)');
\echo :SQLSTATE
SELECT taskq.kind_define('errors_x', 'errors_text(text)');
\echo :SQLSTATE
SELECT taskq.kind_define('errors_x', 'errors_procedure(jsonb)');
\echo :SQLSTATE
SELECT taskq.kind_define('errors_x', 'errors_trigger()');
\echo :SQLSTATE
SELECT taskq.kind_define('errors_x', 'errors_aggregate(jsonb)');
\echo :SQLSTATE
SELECT taskq.kind_define('errors_x', 'no_such_function(jsonb)');
\echo :SQLSTATE
SELECT taskq.kind_define('errors_x', 'errors_work(jsonb)', priority => 101);
\echo :SQLSTATE
SELECT taskq.kind_define('errors_x', 'errors_work(jsonb)', priority => -101);
\echo :SQLSTATE
SELECT taskq.kind_define('errors_x', 'errors_work(jsonb)', max_attempts => 0);
\echo :SQLSTATE
SELECT taskq.kind_define('errors_x', 'errors_work(jsonb)', timeout => '-1 s');
\echo :SQLSTATE
SELECT taskq.kind_define('errors_x', 'errors_work(jsonb)', backoff => '-1 s');
\echo :SQLSTATE
SELECT taskq.kind_define('errors_x', 'errors_work(jsonb)', queue => '');
\echo :SQLSTATE
SELECT taskq.kind_drop('errors_x');
\echo :SQLSTATE
SELECT count(*) FROM taskq.kind WHERE name = 'errors_x';

-- options of kinds that mean nothing are refused, not ignored
SELECT taskq.kind_define('errors_x', 'errors_work(jsonb)', max_running => 0);
\echo :SQLSTATE
SELECT taskq.kind_define('errors_x', 'errors_work(jsonb)', retention => '1 s');
\echo :SQLSTATE
SELECT taskq.kind_define('errors_x', 'errors_work(jsonb)', retry_on => ARRAY['no state']);
\echo :SQLSTATE
SELECT taskq.kind_define('sql', 'errors_work(jsonb)');
\echo :SQLSTATE
SELECT count(*) FROM taskq.kind WHERE name = 'errors_x';

-- queues
SELECT taskq.queue_define('');
\echo :SQLSTATE
SELECT taskq.queue_define(NULL);
\echo :SQLSTATE
SELECT taskq.queue_pause('errors_no_queue');
\echo :SQLSTATE
SELECT taskq.queue_resume('errors_no_queue');
\echo :SQLSTATE

-- submitting
SELECT taskq.task_submit('errors_no_kind');
\echo :SQLSTATE
SELECT taskq.task_submit(NULL);
\echo :SQLSTATE
SELECT taskq.task_submit('errors', run_at => '2100-01-01', delay => '1 h');
\echo :SQLSTATE
SELECT taskq.task_submit('errors', priority => 101);
\echo :SQLSTATE
SELECT taskq.task_submit('errors', priority => -101);
\echo :SQLSTATE
SELECT taskq.task_submit('errors', max_attempts => 0);
\echo :SQLSTATE
SELECT taskq.task_submit('errors', timeout => '0');
\echo :SQLSTATE
SELECT taskq.task_submit('errors', timeout => '-1 s');
\echo :SQLSTATE
SELECT taskq.task_submit('errors', delay => '-1 s');
\echo :SQLSTATE
SELECT taskq.task_submit('errors', queue => 'errors_no_queue');
\echo :SQLSTATE
SELECT taskq.task_submit('sql');
\echo :SQLSTATE
SELECT taskq.task_submit('errors', parent => '00000000-0000-7000-8000-000000000000');
\echo :SQLSTATE
SELECT taskq.task_submit('errors', tags => ARRAY['a', NULL]);
\echo :SQLSTATE
SELECT taskq.task_submit('errors', queue => '');
\echo :SQLSTATE
SELECT taskq.task_submit_many('errors', NULL);
\echo :SQLSTATE
SELECT taskq.task_submit_batch('errors', '{}');
\echo :SQLSTATE
SELECT taskq.task_submit_batch('errors', NULL);
\echo :SQLSTATE
SELECT taskq.task_submit_sql(NULL);
\echo :SQLSTATE
SELECT taskq.task_submit_sql('');
\echo :SQLSTATE

-- options that are not there yet are refused, not ignored
SELECT taskq.task_submit('errors', options => '{"a": 1}');
\echo :SQLSTATE

-- nothing of all this made a task
SELECT count(*) FROM taskq.task WHERE kind = 'errors';

-- a payload that is too large
SHOW taskq.max_payload;
SET taskq.max_payload = '1kB';
SELECT taskq.task_submit('errors', jsonb_build_object('a', repeat('x', 2000)));
\echo :SQLSTATE
RESET taskq.max_payload;

-- a task that does not exist
\set unknown '''00000000-0000-7000-8000-000000000000'''
SELECT taskq.task_status(:unknown);
\echo :SQLSTATE
SELECT taskq.task_result(:unknown);
\echo :SQLSTATE
SELECT taskq.task_progress(:unknown);
\echo :SQLSTATE
SELECT taskq.task_wait(:unknown);
\echo :SQLSTATE
SELECT taskq.task_wait_all(ARRAY[:unknown]::uuid[]);
\echo :SQLSTATE
SELECT taskq.task_wait_any(ARRAY[:unknown]::uuid[]);
\echo :SQLSTATE
SELECT taskq.task_cancel(:unknown);
\echo :SQLSTATE
-- also when it is no id that taskq could have made
SELECT taskq.task_status('ffffffff-ffff-ffff-ffff-ffffffffffff');
\echo :SQLSTATE
SELECT taskq.task_cancel('00000000-0000-0000-0000-000000000000');
\echo :SQLSTATE
-- or none at all
SELECT taskq.task_status(NULL);
\echo :SQLSTATE
SELECT taskq.task_cancel(NULL);
\echo :SQLSTATE
SELECT taskq.task_wait(NULL);
\echo :SQLSTATE
SELECT taskq.task_wait_all(NULL);
\echo :SQLSTATE
SELECT taskq.task_wait_all(ARRAY[NULL]::uuid[]);
\echo :SQLSTATE
SELECT count(*) FROM taskq.task_wait_all('{}');
SELECT count(*) FROM taskq.task_wait_any('{}', '0');

-- a result that is not there yet
SELECT taskq.task_submit('errors', delay => '1 day') AS id \gset
CREATE FUNCTION errors_of(command text, OUT state text, OUT message text, OUT hint text) LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE command;
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT, hint = PG_EXCEPTION_HINT;
	message := regexp_replace(message, '[0-9a-f-]{36}', '…');
END $$;
SELECT * FROM errors_of(format('SELECT taskq.task_result(%L)', :'id'));
SELECT cancelled FROM taskq.task_cancel(:'id');
SELECT * FROM errors_of(format('SELECT taskq.task_result(%L)', :'id'));

-- a timeout that makes no sense
SELECT * FROM errors_of(format('SELECT taskq.task_wait(%L, ''-1 s'')', :'id'));

-- waiting in the transaction that submitted
BEGIN;
SELECT taskq.task_submit('errors') AS id \gset
SELECT * FROM errors_of(format('SELECT taskq.task_wait(%L)', :'id'));
SELECT * FROM errors_of(format('SELECT taskq.task_wait_all(ARRAY[%L]::uuid[])', :'id'));
ROLLBACK;
