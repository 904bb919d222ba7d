/* ---------------------------------------------------------------- inside a running task */

CREATE FUNCTION taskq.progress(current numeric, total numeric DEFAULT 100, message text DEFAULT NULL, failed int DEFAULT NULL, info jsonb DEFAULT NULL, phase text DEFAULT NULL)
RETURNS void LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'taskq_progress';
COMMENT ON FUNCTION taskq.progress IS
'Report the progress of the running task

current of total steps are through, failed ones included. message is what it does just now. failed, message, info and phase that are null stay as they were. Everybody sees it at once, before the task commits. Outside a task it only says so in a notice, to PostgREST as PT409.';

CREATE FUNCTION taskq.step_failed(step text, error text DEFAULT NULL, details jsonb DEFAULT NULL)
RETURNS void LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'taskq_step_failed';
COMMENT ON FUNCTION taskq.step_failed IS
'A step of the running task failed, and the task goes on

Counts it in failed_steps, and keeps step, error, the time and the members of details in failure_details: of many the last ones, in 4 kB. Everybody sees it at once, and it stays when the task is rolled back.';

CREATE FUNCTION taskq.current_task(OUT id uuid, OUT kind text, OUT queue text, OUT payload jsonb, OUT attempt int, OUT max_attempts int,
	OUT submitted_by name, OUT worker text, OUT claims jsonb, OUT tenant text, OUT metadata jsonb, OUT dependencies jsonb, OUT previous jsonb)
RETURNS record LANGUAGE c STABLE AS 'MODULE_PATHNAME', 'taskq_current_task';
COMMENT ON FUNCTION taskq.current_task IS
'The task that runs in this session

dependencies: id, kind, state, result and error of each task that it waited for, as a JSON array. previous: task_id, attempt, state, worker, started_at, finished_at, error, progress and result of the attempt before, also at the task that this one is a retry of. All null, with a notice, outside a task; over PostgREST PT409.';

CREATE FUNCTION taskq.cancel_requested()
RETURNS bool LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'taskq_cancel_requested';
COMMENT ON FUNCTION taskq.cancel_requested IS
'Has somebody asked to cancel the running task?

For handlers that catch query_canceled and want to end in an orderly way; the task is then cancelled, with what the handler returns as its partial result.';

CREATE FUNCTION taskq.fail(message text, details jsonb DEFAULT NULL, type text DEFAULT NULL)
RETURNS void LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'taskq_fail';
COMMENT ON FUNCTION taskq.fail IS
'End the running task as failed, and do not try it again

Raises an error with SQLSTATE TQ001; so does RAISE ... USING ERRCODE = ''TQ001''. details are kept as error.details, type, the program''s own name for the error, as error.type.';

CREATE FUNCTION taskq.retry(delay interval DEFAULT NULL, message text DEFAULT NULL, details jsonb DEFAULT NULL, type text DEFAULT NULL)
RETURNS void LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'taskq_retry';
COMMENT ON FUNCTION taskq.retry IS
'End this attempt at the running task, and try again after delay

As often as max_attempts allows, whatever retry_on says. Without delay the kind''s backoff counts. Raises an error with SQLSTATE TQ002; details and type as those of fail().';

