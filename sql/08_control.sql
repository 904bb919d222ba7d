/* ---------------------------------------------------------------- steer */

CREATE FUNCTION taskq.task_cancel(id uuid, reason text DEFAULT NULL, force bool DEFAULT false,
	OUT task_id uuid, OUT cancelled bool, OUT terminated bool, OUT message text)
RETURNS record LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'taskq_task_cancel';
COMMENT ON FUNCTION taskq.task_cancel IS
'Cancel a task

A waiting task is cancelled with the calling transaction. A running one is told when that commits: its query is cancelled; with force its worker process ends. What it wrote is rolled back.';

CREATE FUNCTION taskq.task_retry(id uuid, priority int DEFAULT NULL, timeout interval DEFAULT NULL, payload jsonb DEFAULT NULL,
	queue text DEFAULT NULL, max_attempts int DEFAULT NULL, delay interval DEFAULT NULL, timeout_factor numeric DEFAULT NULL,
	different_worker bool DEFAULT NULL, payload_merge jsonb DEFAULT NULL, only_failed bool DEFAULT false)
RETURNS uuid LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'taskq_task_retry';
COMMENT ON FUNCTION taskq.task_retry IS
'Run a finished task once more, as a new task

Returns the new task''s id; its column retry_of names the old one. What is not given is as it was. Another payload, or with payload_merge other members of it, may be given by who may submit such a task. timeout_factor: so many times the old timeout. different_worker: each attempt by another process than the one before. only_failed: PT409 for a task that has completed.';

CREATE FUNCTION taskq.task_delete(id uuid)
RETURNS void LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'taskq_task_delete';
COMMENT ON FUNCTION taskq.task_delete IS
'Delete a finished task

With its result, error and attempts. Cancel an unfinished one first.';

