-- Steps, phases, failed steps, live numbers, title and summary of a task.
\ir include/prologue.psql
SELECT plan(41);

-- four steps, the third fails; stops at a gate before the last one
CREATE FUNCTION pr_steps(p jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	PERFORM taskq.progress(0, 4, 'looks', phase => 'reading', info => '{"k": 1}');
	PERFORM pg_sleep(0.02);
	PERFORM taskq.step_failed('decompile_c', 'timeout after 60 seconds', '{"function_name": "c", "step": "not this"}');
	PERFORM taskq.progress(3, 4, 'Analyzing d', phase => coalesce(p->>'phase', 'decompilation'));
	PERFORM wait_at_gate(p);
	IF p ? 'fail' THEN
		RAISE EXCEPTION 'no more';
	END IF;
	PERFORM taskq.progress(4, 4);
	RETURN NULL;
END $$;
SELECT taskq.kind_define('app.health.pr_steps', 'pr_steps(jsonb)', max_attempts => 1) \g /dev/null

SELECT taskq.task_submit('app.health.pr_steps', '{"gate": "pr"}', metadata => '{"k": 0, "functions_total": 4}') AS id \gset
DO $$ BEGIN WHILE NOT EXISTS (SELECT FROM taskq.task WHERE kind = 'app.health.pr_steps' AND current = 3) LOOP COMMIT; PERFORM pg_sleep(0.01); END LOOP; END $$;
CREATE VIEW pr AS SELECT * FROM taskq.task WHERE kind = 'app.health.pr_steps';
SELECT is((t.phase, t.message, t.current, t.total, t.failed_steps, t.completed_steps, t.success_rate)::text, '(decompilation,"Analyzing d",3,4,1,2,66.7)', 'phase, step and counts while it runs') FROM taskq.task_status(:'id') t;
SELECT is(t.failure_details #- '{0,timestamp}', '[{"step": "decompile_c", "error": "timeout after 60 seconds", "function_name": "c"}]', 'which step failed and why') FROM taskq.task_status(:'id') t;
SELECT is((t.failure_details->0->>'timestamp')::timestamptz BETWEEN t.started_at AND now(), true, '... and when') FROM taskq.task_status(:'id') t;
SELECT is(t.throughput BETWEEN 0.1 AND 3 * 60 / 0.02, true, 'steps a minute') FROM taskq.task_status(:'id') t;
SELECT is(t.step_duration, (t.updated_at - t.started_at) / 3, 'mean time of a step') FROM taskq.task_status(:'id') t;
SELECT is(t.efficiency, 6.7, 'efficiency') FROM taskq.task_status(:'id') t;
SELECT is(t.live_metadata, '{"k": 1, "functions_total": 4}', 'what moves is seen over the metadata of the submit') FROM taskq.task_status(:'id') t;
SELECT is(t.metadata, '{"k": 0, "functions_total": 4}', '... which stay what they were') FROM taskq.task_status(:'id') t;
SELECT is(t.title, 'Pr Steps', 'a readable name') FROM taskq.task_status(:'id') t;
SELECT is(t.summary, 'Running on ' || t.worker || ': Analyzing d', 'and a sentence') FROM taskq.task_status(:'id') t;
SELECT is(taskq.task_progress(:'id') #- '{failure_details,0,timestamp}', '{"state": "running", "percent": 75, "current": 3, "total": 4, "failed": 1, "message": "Analyzing d", "phase": "decompilation", "info": {"k": 1}, "failure_details": [{"step": "decompile_c", "error": "timeout after 60 seconds", "function_name": "c"}]}', 'task_progress has it all');
INSERT INTO gate VALUES ('pr');
SELECT is((t.state, t.current, t.failed_steps, t.completed_steps, t.success_rate, t.phase, jsonb_array_length(t.failure_details), t.summary)::text, '(completed,4,1,3,75.0,decompilation,1,"Task completed successfully")', 'it stays with the completed task') FROM taskq.task_wait(:'id') t;
SELECT is(t.step_duration, t.duration / 4, 'mean time of all steps') FROM taskq.task_status(:'id') t;

-- it stays with a failed one too
SELECT taskq.task_submit('app.health.pr_steps', '{"gate": "pr", "fail": true}') AS id \gset
SELECT is((t.state, t.progress, t.failed_steps, t.phase, t.failure_details->0->>'function_name', t.summary)::text, '(failed,75.0,1,decompilation,c,"Failed: no more")', 'and with one that failed') FROM taskq.task_wait(:'id') t;
SELECT is(t.error->>'retryable', 'true', '... which says whether to try again') FROM taskq.task_status(:'id') t;

-- attempts begin anew
CREATE FUNCTION pr_twice(p jsonb) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	IF (SELECT attempt FROM taskq.current_task()) = 1 THEN
		PERFORM taskq.step_failed('a');
		PERFORM taskq.progress(2, 2, 'first', phase => 'one');
		PERFORM taskq.retry('1 ms', 'once more');
	END IF;
	PERFORM wait_at_gate('{"gate": "pr_twice"}');
	PERFORM taskq.progress(2, failed => 0);
END $$;
SELECT taskq.kind_define('pr_twice', 'pr_twice(jsonb)', description => E'Does it twice\nand more of that', secret => '{token}') \g /dev/null
SELECT taskq.task_submit('pr_twice', '{"for": "x", "token": "s"}') AS id \gset
DO $$ BEGIN WHILE NOT EXISTS (SELECT FROM taskq.task WHERE kind = 'pr_twice' AND state = 'running' AND attempt = 2) LOOP COMMIT; PERFORM pg_sleep(0.01); END LOOP; END $$;
SELECT is((t.current, t.message, t.phase, t.failed_steps, t.failure_details, t.progress)::text, '(,,,,,0)', 'nothing of the attempt before') FROM taskq.task_status(:'id') t;
SELECT is(t.summary, 'Running on ' || t.worker || ': {"for": "x", "token": "***"}', 'who runs it, and what with, but for what is secret') FROM taskq.task_status(:'id') t;
SELECT is(t.title, 'Does it twice', 'the kind''s description is the title') FROM taskq.task_status(:'id') t;
INSERT INTO gate VALUES ('pr_twice');
SELECT is((t.state, t.failed_steps, t.success_rate, t.efficiency, t.phase, t.failure_details)::text, '(completed,0,100.0,5.0,,)', 'what the last attempt told; half of what was tried counted') FROM taskq.task_wait(:'id') t;

-- bounds
CREATE FUNCTION pr_many(p jsonb) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	said text := '';
	i int;
BEGIN
	FOR i IN 1..100 LOOP
		PERFORM taskq.step_failed('step ' || i, repeat('e', 600), jsonb_build_object('i', i));
	END LOOP;
	PERFORM taskq.progress(100, phase => repeat('p', 70));
	PERFORM taskq.step_failed(repeat(E'\x01', 300), repeat(E'\x01', 1000), jsonb_build_object('d', repeat('x', 900)));
	FOR i IN 1..3 LOOP
		BEGIN
			PERFORM taskq.step_failed(CASE WHEN i > 1 THEN 's' END, details => CASE i WHEN 2 THEN to_jsonb(repeat('x', 10)) WHEN 3 THEN jsonb_build_object('d', repeat('x', 1100)) END);
		EXCEPTION WHEN OTHERS THEN
			said := said || ' ' || sqlstate;
		END;
	END LOOP;
	RETURN said;
END $$;
SELECT taskq.kind_define('pr_many', 'pr_many(jsonb)', max_attempts => 1) \g /dev/null
SELECT taskq.task_submit('pr_many') AS id \gset
SELECT is((t.state, t.failed_steps, t.completed_steps, t.success_rate)::text, '(completed,101,0,0.0)', 'many steps fail') FROM taskq.task_wait(:'id') t;
SELECT is(t.result, '" 22023 22023 22023"', 'no step, details that are no object, or too large') FROM taskq.task_status(:'id') t;
SELECT is(length(t.phase), 63, 'a long phase is cut') FROM taskq.task_status(:'id') t;
SELECT is((jsonb_array_length(t.failure_details) BETWEEN 3 AND 10, t.failure_details->-2->>'i', length(t.failure_details->-2->>'error'), length(t.failure_details::text) < 4096)::text, '(t,100,511,t)', 'the last ones are kept') FROM taskq.task_status(:'id') t;
SELECT is(length(t.failure_details->-1->>'d'), 900, 'also what needs much room') FROM taskq.task_status(:'id') t;

-- outside of a task
SELECT is(error_of('SELECT taskq.step_failed(''x'')'), 'none', 'outside of a task it does nothing');

-- external workers
CREATE ROLE pr_worker LOGIN;
GRANT taskq_worker TO pr_worker;
SELECT taskq.kind_define('pr_ext', NULL, backoff => '1 h'), taskq.kind_grant('pr_ext', 'pr_worker', 'work'), taskq.task_submit('pr_ext', metadata => '{"a": 1}') AS ext \gset pr_
SET SESSION AUTHORIZATION pr_worker;
SELECT id, token FROM taskq.task_claim('tester', kinds => '{pr_ext}', wait => '20 s') \gset
SELECT taskq.task_heartbeat(:'id', :'token', current => 10, total => 20, message => 'at it', phase => 'scan', info => '{"b": 2}') \g /dev/null
SELECT taskq.task_heartbeat(:'id', :'token', failure_details => '{"step": "f1", "error": "no", "file": "x"}') \g /dev/null
SELECT taskq.task_heartbeat(:'id', :'token', current => 12, failure_details => '[{"step": "f2"}, {"step": "f3"}]') \g /dev/null
SELECT error_of(format('SELECT taskq.task_heartbeat(%L, %L, failure_details => ''[{"error": "x"}]'')', :'id', :'token')) AS no_step,
	error_of(format('SELECT taskq.task_heartbeat(%L, %L, failure_details => ''7'')', :'id', :'token')) AS no_object,
	error_of(format('SELECT taskq.task_heartbeat(%L, %L, failure_details => ''[[]]'')', :'id', :'token')) AS no_array \gset
RESET SESSION AUTHORIZATION;
SELECT is(concat_ws(' ', :'no_step', :'no_object', :'no_array'), '22023 22023 22023', 'a failed step has a name');
SELECT is((t.state, t.current, t.failed_steps, t.completed_steps, t.success_rate, t.phase, t.message)::text, '(running,12,3,9,75.0,scan,"at it")', 'a program outside tells the same') FROM taskq.task_status(:'pr_ext') t;
SELECT is(jsonb_path_query_array(t.failure_details, '$[*].step') || (t.failure_details #> '{0,file}'), '["f1", "f2", "f3", "x"]', '... and which steps failed') FROM taskq.task_status(:'pr_ext') t;
SELECT is(t.live_metadata, '{"a": 1, "b": 2}', '... and what moves') FROM taskq.task_status(:'pr_ext') t;
SELECT is(t.summary, 'Running on tester: at it', '... and who it is') FROM taskq.task_status(:'pr_ext') t;
SELECT is((p->>'failed', p->>'phase', jsonb_array_length(p->'failure_details'))::text, '(3,scan,3)', 'task_progress says so') FROM taskq.task_progress(:'pr_ext') p;
SET SESSION AUTHORIZATION pr_worker;
SELECT taskq.task_heartbeat(:'id', :'token', failed => 5) \g /dev/null
RESET SESSION AUTHORIZATION;
SELECT is(t.failed_steps, 5, 'failed says how many') FROM taskq.task_status(:'pr_ext') t;
SET SESSION AUTHORIZATION pr_worker;
SELECT taskq.task_fail(:'id', :'token', 'later') AS failed \gset
RESET SESSION AUTHORIZATION;
SELECT is((t.state, t.failed_steps, t.phase, t.summary)::text, '(retrying,5,scan,"Failed, to be tried again: later")', 'until the next attempt it stays') FROM taskq.task_status(:'pr_ext') t;
SELECT taskq.task_run_now(:'pr_ext') \g /dev/null
SET SESSION AUTHORIZATION pr_worker;
SELECT id, token FROM taskq.task_claim('tester', kinds => '{pr_ext}', wait => '20 s') \gset
RESET SESSION AUTHORIZATION;
SELECT is((t.state, t.attempt, t.failed_steps, t.phase, t.info, t.message)::text, '(running,2,,,,)', 'the next one begins anew') FROM taskq.task_status(:'pr_ext') t;
SET SESSION AUTHORIZATION pr_worker;
SELECT taskq.task_complete(:'id', :'token') \g /dev/null
RESET SESSION AUTHORIZATION;

-- sentences
SELECT taskq.task_submit('pr_ext') AS pending, taskq.task_submit('pr_ext', delay => '1 h') AS later, taskq.task_submit('pr_ext', run_at => 'infinity') AS held, taskq.task_submit('pr_ext') AS cancelled \gset
SELECT taskq.task_submit('pr_ext', depends_on => ARRAY[:'pending'::uuid]) AS blocked, taskq.task_cancel(:'cancelled', 'not needed') IS NOT NULL AS cancel \gset
SELECT is(t.summary, 'Waiting for a worker', 'one that waits') FROM taskq.task_status(:'pending') t;
SELECT is(t.summary, 'Scheduled for ' || t.run_at::timestamptz(0), 'one for later') FROM taskq.task_status(:'later') t;
SELECT is(t.summary, 'Held until it is released', 'one that is held') FROM taskq.task_status(:'held') t;
SELECT is(t.summary, 'Waiting for other tasks', 'one that is blocked') FROM taskq.task_status(:'blocked') t;
SELECT is(t.summary, 'Cancelled: not needed', 'one that was cancelled') FROM taskq.task_status(:'cancelled') t;
SELECT is(bool_and(summary IS NOT NULL AND title <> ''), true, 'every task has a sentence and a title') FROM taskq.task;
SELECT taskq.kind_define('pr_.', NULL), taskq.task_submit('pr_.') AS id \gset
SELECT is(t.title, 'pr_.', 'a name with nothing behind its dot') FROM taskq.task_status(:'id') t;

SELECT * FROM finish();
