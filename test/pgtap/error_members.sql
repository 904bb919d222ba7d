-- The members of a task's error: type, details, traceback, retryable.
\ir include/prologue.psql
SELECT plan(27);

CREATE FUNCTION em_do(p jsonb) RETURNS void LANGUAGE plpgsql AS $$ BEGIN EXECUTE p->>'do'; END $$;
-- catches what it raised, and raises it again
CREATE FUNCTION em_again(p jsonb) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	BEGIN
		PERFORM taskq.fail('first', '{"first": true}');
	EXCEPTION WHEN SQLSTATE 'TQ001' THEN
		NULL;
	END;
	BEGIN
		PERFORM taskq.fail('again', '{"n": [1, 2]}', 'AgainError');
	EXCEPTION WHEN OTHERS THEN
		RAISE;
	END;
END $$;
SELECT taskq.kind_define('em_do', 'em_do(jsonb)', max_attempts => 1) \g /dev/null
SELECT taskq.kind_define('em_again', 'em_again(jsonb)', max_attempts => 1) \g /dev/null
SELECT taskq.kind_define('em_listed', 'em_do(jsonb)', max_attempts => 2, backoff => '1 ms', retry_on => '{22}') \g /dev/null

-- the error of a task that runs this command
CREATE FUNCTION em_error(id uuid, OUT error jsonb) LANGUAGE sql AS $$ SELECT (taskq.task_wait(id)).error $$;
CREATE PROCEDURE em_run(command text, INOUT error jsonb, kind text DEFAULT 'em_do') LANGUAGE plpgsql AS $$
DECLARE
	id uuid := taskq.task_submit(kind, jsonb_build_object('do', command));
BEGIN
	COMMIT;
	error := (taskq.task_wait(id)).error;
END $$;

-- type
CALL em_run($$ SELECT taskq.fail('rejected', '{"at": 35, "ids": ["a"]}', 'VideoGenerationError') $$, NULL) \gset
SELECT is(:'error'::jsonb->>'type', 'VideoGenerationError', 'fail() names the type');
SELECT is(:'error'::jsonb->>'sqlstate', 'TQ001', '... its SQLSTATE stays');
SELECT is(:'error'::jsonb->'details', '{"at": 35, "ids": ["a"]}', '... details are JSON');
SELECT is((:'error'::jsonb->>'detail')::jsonb, '{"at": 35, "ids": ["a"]}', '... and the detail of the error that was raised');
SELECT is(:'error'::jsonb->'retryable', 'false', '... and another attempt makes no sense');
SELECT matches(:'error'::jsonb->>'context', 'em_do', '... context is the stack');
CALL em_run($$ SELECT taskq.fail('plain') $$, NULL) \gset
SELECT is((:'error'::jsonb->>'type', :'error'::jsonb ? 'details')::text, '(task_no_retry,f)', 'without type, the name of the condition');
CALL em_run($$ SELECT taskq.fail('scalar', '"text"') $$, NULL) \gset
SELECT is(:'error'::jsonb->'details', '"text"', 'details may be a scalar');
CALL em_run($$ SELECT taskq.retry('1 ms', 'later', '{"left": 2}', 'Busy') $$, NULL) \gset
SELECT is((:'error'::jsonb->>'type', :'error'::jsonb->'details', :'error'::jsonb->'retryable')::text, '(Busy,"{""left"": 2}",true)', 'so does retry()');
CALL em_run($$ DO $d$ BEGIN RAISE EXCEPTION 'mine' USING ERRCODE = 'VG001'; END $d$ $$, NULL) \gset
SELECT is(:'error'::jsonb->>'type', 'VG001', 'a SQLSTATE of the handler''s own is its type');
CALL em_run($$ DO $d$ BEGIN RAISE EXCEPTION 'mine' USING ERRCODE = 'VG001', DATATYPE = 'VideoError'; END $d$ $$, NULL) \gset
SELECT is(:'error'::jsonb->>'type', 'VideoError', '... unless it names one');
CALL em_run($$ DO $d$ BEGIN RAISE EXCEPTION 'mine' USING DATATYPE = 'VideoError'; END $d$ $$, NULL) \gset
SELECT is(:'error'::jsonb->>'type', 'VideoError', '... also without a SQLSTATE');
CREATE DOMAIN em_domain AS int CHECK (VALUE > 0);
CALL em_run($$ SELECT 0::em_domain $$, NULL) \gset
SELECT is((:'error'::jsonb->>'type', :'error'::jsonb->>'datatype')::text, '(check_violation,em_domain)', 'the server''s own errors keep their condition and their data type');
SELECT taskq.task_submit('em_again') AS id \gset
SELECT is((e->>'type', e->'details')::text, '(AgainError,"{""n"": [1, 2]}")', 'an error that is caught and raised again keeps type and details') FROM em_error(:'id') e;
CALL em_run($$ DO $d$ BEGIN RAISE EXCEPTION 'mine' USING ERRCODE = 'TQ001', DETAIL = '{"a": 1}'; END $d$ $$, NULL) \gset
SELECT is((:'error'::jsonb->>'detail', :'error'::jsonb ? 'details')::text, '("{""a"": 1}",f)', 'a DETAIL that looks like JSON is a text');

-- retryable
CALL em_run($$ SELECT 1 / 0 $$, NULL) \gset
SELECT is(:'error'::jsonb->'retryable', 'true', 'an error that may pass is retryable, though no attempt is left');
CALL em_run($$ SELECT * FROM em_no_table $$, NULL) \gset
SELECT is(:'error'::jsonb->'retryable', 'false', 'one of the program is not');
CALL em_run($$ SELECT 1 / 0 $$, NULL, 'em_listed') \gset
SELECT is(:'error'::jsonb->'retryable', 'true', 'what the kind lists is');
CALL em_run($$ SELECT taskq.progress(NULL) FROM em_no_table $$, NULL, 'em_listed') \gset
SELECT is(:'error'::jsonb->'retryable', 'false', '... what it does not is not');
SELECT is(array_agg(a.error->'retryable'), '{true,true}', 'each attempt says so') FROM taskq.task t, taskq.task_attempts(t.id) a
WHERE t.kind = 'em_listed' AND t.error->>'sqlstate' = '22012';

-- external workers
CREATE ROLE em_worker LOGIN;
GRANT taskq_worker TO em_worker;
SELECT taskq.kind_define('em_ext', NULL, max_attempts => 2, backoff => '1 h'), taskq.kind_grant('em_ext', 'em_worker', 'work'), taskq.task_submit('em_ext') AS ext \gset em_
SET SESSION AUTHORIZATION em_worker;
SELECT id, token FROM taskq.task_claim('tester', kinds => '{em_ext}', wait => '20 s') \gset
SELECT taskq.task_fail(:'id', :'token', 'boom', '{"exit": 3}', type => 'ValueError', traceback => E'Traceback (most recent call last):\n' || repeat('x', 70000) || 'the end') AS failed \gset
RESET SESSION AUTHORIZATION;
SELECT is(:'failed'::text, 'retrying', 'a program outside fails');
SELECT is((t.error->>'sqlstate', t.error->>'type', t.error->'details', t.error->'retryable')::text, '(TQ004,ValueError,"{""exit"": 3}",true)', 'type and details are its own') FROM taskq.task_status(:'em_ext') t;
SELECT is((length(t.error->>'traceback'), right(t.error->>'traceback', 8))::text, '(65536,"xthe end")', 'of a long traceback the end is kept') FROM taskq.task_status(:'em_ext') t;
SELECT is((a.error->>'type', a.error ? 'traceback')::text, '(ValueError,t)', 'the attempt has it too') FROM taskq.task_attempts(:'em_ext') a;
SELECT taskq.task_run_now(:'em_ext') \g /dev/null
SET SESSION AUTHORIZATION em_worker;
SELECT id, token FROM taskq.task_claim('tester', kinds => '{em_ext}', wait => '20 s') \gset
SELECT error_of(format('SELECT taskq.task_fail(%L, %L, ''x'', to_jsonb(repeat(''x'', 3000000)))', :'id', :'token')) AS large \gset
SELECT taskq.task_fail(:'id', :'token', 'useless', retry => false, traceback => E'a\nb') AS failed \gset
RESET SESSION AUTHORIZATION;
SELECT is(:'large'::text, 'PT413', 'details larger than a payload may be are refused');
SELECT is((t.error->>'type', t.error->>'traceback', t.error->'retryable')::text, E'(task_external_failure,"a\nb",false)', 'it says that another attempt makes no sense') FROM taskq.task_status(:'em_ext') t;

-- large details of a handler
CALL em_run($$ SELECT taskq.fail('large', to_jsonb(repeat('x', 3000000)), 'TooMuch') $$, NULL) \gset
SELECT is((:'error'::jsonb->>'type', length(:'error'::jsonb->>'detail'), :'error'::jsonb ? 'details')::text, '(TooMuch,8192,f)', 'of details that are too large a part is kept, as a text');

SELECT * FROM finish();
DROP ROLE em_worker;
