/* ---------------------------------------------------------------- external workers */

CREATE FUNCTION taskq.task_claim(worker text, queues text[] DEFAULT NULL, kinds text[] DEFAULT NULL, n int DEFAULT 1,
	lease interval DEFAULT '1 min', wait interval DEFAULT '0',
	OUT id uuid, OUT kind text, OUT queue text, OUT payload jsonb, OUT attempt int, OUT max_attempts int, OUT token uuid,
	OUT lease_until timestamptz, OUT timeout interval, OUT submitted_by name, OUT tenant text, OUT claims jsonb, OUT tags text[],
	OUT metadata jsonb, OUT previous jsonb)
RETURNS SETOF record LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'taskq_task_claim';
COMMENT ON FUNCTION taskq.task_claim IS
'Claim tasks for a program outside of the server

At most n tasks of kinds without handler that the caller may work on (kind_grant, privilege work). Each is the caller''s until its lease ends; heartbeats extend it. The token proves the claim in task_heartbeat, task_complete, task_fail and task_release. Without a task it waits as long as wait, at most taskq.max_wait. previous tells of the attempt before, as current_task() does. Commit before starting to work.';

CREATE FUNCTION taskq.task_heartbeat(id uuid, token uuid, lease interval DEFAULT NULL, current numeric DEFAULT NULL,
	total numeric DEFAULT NULL, message text DEFAULT NULL, info jsonb DEFAULT NULL, failed int DEFAULT NULL, phase text DEFAULT NULL,
	failure_details jsonb DEFAULT NULL,
	OUT cancel_requested bool, OUT lease_until timestamptz)
RETURNS record LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'taskq_task_heartbeat';
COMMENT ON FUNCTION taskq.task_heartbeat IS
'Keep a claimed task, and report its progress

What is null stays as it was told last. failure_details are steps that failed since then, an object with step, error and whatever else, or an array of these; each counts as failed, unless failed says how many have. Tells whether somebody asked to cancel it: then stop, and end it with task_fail, or with task_complete and a partial result. Raises PT409 when the claim is lost: then drop the work.';

CREATE FUNCTION taskq.task_complete(id uuid, token uuid, result jsonb DEFAULT NULL)
RETURNS void LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'taskq_task_complete';
COMMENT ON FUNCTION taskq.task_complete IS
'A claimed task is done

Can be part of the transaction that writes what the task did: then both happen or neither. Raises PT409 when the claim is lost.';

CREATE FUNCTION taskq.task_fail(id uuid, token uuid, error text DEFAULT NULL, details jsonb DEFAULT NULL, retry bool DEFAULT true,
	type text DEFAULT NULL, traceback text DEFAULT NULL)
RETURNS text LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'taskq_task_fail';
COMMENT ON FUNCTION taskq.task_fail IS
'The attempt at a claimed task failed

Unless retry is false it is tried again, as often as max_attempts allows. details, type (the program''s name for the error) and traceback are kept as members of the task''s error. Returns the task''s new state.';

CREATE FUNCTION taskq.task_release(id uuid, token uuid, delay interval DEFAULT NULL)
RETURNS void LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'taskq_task_release';
COMMENT ON FUNCTION taskq.task_release IS
'Give a claimed task back, as if it had never been claimed

For a worker that shuts down. With delay nobody gets it before.';

