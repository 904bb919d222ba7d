/* ---------------------------------------------------------------- look */

CREATE FUNCTION taskq.task_status(id uuid)
RETURNS taskq.task LANGUAGE c STABLE AS 'MODULE_PATHNAME', 'taskq_task_status';
COMMENT ON FUNCTION taskq.task_status IS
'State, progress, result and error of one task

A row of view task, of a task that the caller may see; PT404 for any other.';

CREATE FUNCTION taskq.task_node(id uuid) RETURNS int
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'taskq_task_node';
COMMENT ON FUNCTION taskq.task_node(uuid) IS
'The number of the server that has a task

It is read from the id: what taskq.node was in the server where the task was submitted.';

CREATE FUNCTION taskq.task_result(id uuid)
RETURNS jsonb LANGUAGE c STABLE AS 'MODULE_PATHNAME', 'taskq_task_result';
COMMENT ON FUNCTION taskq.task_result IS
'What a task returned

Raises PT409 when the task is not finished, failed, or was cancelled without a partial result.';

CREATE FUNCTION taskq.task_progress(id uuid)
RETURNS jsonb LANGUAGE c STABLE AS 'MODULE_PATHNAME', 'taskq_task_progress';
COMMENT ON FUNCTION taskq.task_progress IS
'Progress of one task

state, percent, current, total, failed, message, phase, info, failure_details; live while the task runs, the last report afterwards.';

CREATE FUNCTION taskq.task_wait(id uuid, timeout interval DEFAULT '30 s')
RETURNS taskq.task LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'taskq_task_wait';
COMMENT ON FUNCTION taskq.task_wait IS
'Wait until a task is finished, at most as long as timeout, and return its status

Sleeps without polling, at most taskq.max_wait, and ends before statement_timeout. Over HTTP by GET or POST. Look at ready to know whether it finished or the time ran out.';

CREATE FUNCTION taskq.task_watch(id uuid, seen jsonb DEFAULT NULL, timeout interval DEFAULT '30 s')
RETURNS jsonb LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'taskq_task_watch';
COMMENT ON FUNCTION taskq.task_watch IS
'Wait until state or progress of a task is not what was seen, and return it

Returns what task_progress does; pass that as seen to the next call, null to the first. At once when the task has come to its end; the same as seen when timeout, or taskq.max_wait, is over. Sleeps without polling.';

CREATE PROCEDURE taskq.task_wait_long(id uuid, timeout interval DEFAULT '1 h', INOUT state text DEFAULT NULL)
LANGUAGE c AS 'MODULE_PATHNAME', 'taskq_task_wait_long';
COMMENT ON PROCEDURE taskq.task_wait_long IS
'Wait for a task without holding a snapshot meanwhile

For long waits, and for tasks that themselves wait for all older snapshots to go, such as CREATE INDEX CONCURRENTLY. Commits the transaction it is called in; gives the task''s state.';

CREATE FUNCTION taskq.task_wait_any(ids uuid[], timeout interval DEFAULT '30 s')
RETURNS SETOF taskq.task LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'taskq_task_wait_any';
COMMENT ON FUNCTION taskq.task_wait_any IS
'Wait until at least one of the tasks is finished, and return the status of those that are

No row means that the time ran out.';

CREATE FUNCTION taskq.task_wait_all(ids uuid[], timeout interval DEFAULT '30 s')
RETURNS SETOF taskq.task LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'taskq_task_wait_all';
COMMENT ON FUNCTION taskq.task_wait_all IS
'Wait until all of the tasks are finished, and return the status of each

Look at ready to know which finished when the time ran out.';

CREATE FUNCTION taskq.task_attempts(id uuid)
RETURNS SETOF taskq.task_attempt LANGUAGE c STABLE AS 'MODULE_PATHNAME', 'taskq_task_attempts';
COMMENT ON FUNCTION taskq.task_attempts IS
'The attempts at one task, in order

With worker, times and error of each; also the one that runs now.';

