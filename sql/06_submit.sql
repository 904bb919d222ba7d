/* ---------------------------------------------------------------- submit */

CREATE FUNCTION taskq.task_submit(
	kind text, payload jsonb DEFAULT '{}', queue text DEFAULT NULL, priority int DEFAULT NULL, run_at timestamptz DEFAULT NULL,
	delay interval DEFAULT NULL, timeout interval DEFAULT NULL, max_attempts int DEFAULT NULL, unique_key text DEFAULT NULL,
	on_conflict text DEFAULT NULL, unique_for interval DEFAULT NULL, concurrency_key text DEFAULT NULL,
	depends_on uuid[] DEFAULT NULL, on_dependency_failure text DEFAULT NULL, parent uuid DEFAULT NULL, tags text[] DEFAULT NULL,
	metadata jsonb DEFAULT NULL, options jsonb DEFAULT NULL)
RETURNS uuid LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'taskq_submit';
COMMENT ON FUNCTION taskq.task_submit IS
'Submit a task

Returns its id. The task exists, and runs, only if the calling transaction commits. Options left out take the kind''s default. Of tasks with the same unique_key (over HTTP also header Idempotency-Key) one waits or runs: a second submit returns the id of the first, or what on_conflict says: return, replace, queue_one or error. depends_on: run when these have completed. concurrency_key: so many of a key run at a time as the kind says.';

CREATE FUNCTION taskq.task_submit_many(
	kind text, payloads jsonb[], queue text DEFAULT NULL, priority int DEFAULT NULL, run_at timestamptz DEFAULT NULL,
	delay interval DEFAULT NULL, timeout interval DEFAULT NULL, max_attempts int DEFAULT NULL, unique_key text DEFAULT NULL,
	on_conflict text DEFAULT NULL, unique_for interval DEFAULT NULL, concurrency_key text DEFAULT NULL,
	depends_on uuid[] DEFAULT NULL, on_dependency_failure text DEFAULT NULL, parent uuid DEFAULT NULL, tags text[] DEFAULT NULL,
	metadata jsonb DEFAULT NULL, options jsonb DEFAULT NULL)
RETURNS SETOF uuid LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'taskq_submit_many';
COMMENT ON FUNCTION taskq.task_submit_many IS
'Submit many tasks of one kind, one for each payload

Returns their ids in the order of the payloads.';

CREATE FUNCTION taskq.task_submit_batch(
	kind text, payloads jsonb, queue text DEFAULT NULL, priority int DEFAULT NULL, run_at timestamptz DEFAULT NULL,
	delay interval DEFAULT NULL, timeout interval DEFAULT NULL, max_attempts int DEFAULT NULL, unique_key text DEFAULT NULL,
	on_conflict text DEFAULT NULL, unique_for interval DEFAULT NULL, concurrency_key text DEFAULT NULL,
	depends_on uuid[] DEFAULT NULL, on_dependency_failure text DEFAULT NULL, parent uuid DEFAULT NULL, tags text[] DEFAULT NULL,
	metadata jsonb DEFAULT NULL, options jsonb DEFAULT NULL)
RETURNS SETOF uuid LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'taskq_submit_batch';
COMMENT ON FUNCTION taskq.task_submit_batch IS
'Submit many tasks of one kind, one for each element of a JSON array

Returns their ids in the order of the array. The same as task_submit_many, with all payloads in one jsonb.';

CREATE FUNCTION taskq.task_submit_sql(
	command text, queue text DEFAULT NULL, priority int DEFAULT NULL, run_at timestamptz DEFAULT NULL,
	delay interval DEFAULT NULL, timeout interval DEFAULT NULL, max_attempts int DEFAULT NULL, unique_key text DEFAULT NULL,
	on_conflict text DEFAULT NULL, unique_for interval DEFAULT NULL, concurrency_key text DEFAULT NULL,
	depends_on uuid[] DEFAULT NULL, on_dependency_failure text DEFAULT NULL, parent uuid DEFAULT NULL, tags text[] DEFAULT NULL,
	metadata jsonb DEFAULT NULL, options jsonb DEFAULT NULL)
RETURNS uuid LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'taskq_submit_sql';
COMMENT ON FUNCTION taskq.task_submit_sql IS
'Submit SQL commands to run in the background

One command or several, also VACUUM, CREATE INDEX CONCURRENTLY, CALL. Queries and data changes alone run as one transaction, exactly once; with any other command each one runs in a transaction of its own, at least once. Runs as the submitter.';

