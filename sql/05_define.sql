/* ---------------------------------------------------------------- definitions */

-- regprocedure with errors that say what a handler is.
CREATE TYPE taskq.handler;
CREATE FUNCTION taskq_internal.handler_in(cstring) RETURNS taskq.handler
LANGUAGE c STABLE STRICT AS 'MODULE_PATHNAME', 'taskq_handler_in';
COMMENT ON FUNCTION taskq_internal.handler_in(cstring) IS 'input of type taskq.handler';
CREATE FUNCTION taskq_internal.handler_out(taskq.handler) RETURNS cstring
LANGUAGE internal STABLE STRICT AS 'regprocedureout';
COMMENT ON FUNCTION taskq_internal.handler_out(taskq.handler) IS 'output of type taskq.handler';
CREATE TYPE taskq.handler (
	INPUT = taskq_internal.handler_in, OUTPUT = taskq_internal.handler_out, LIKE = pg_catalog.regprocedure);
COMMENT ON TYPE taskq.handler IS
'a function of (jsonb) or of no argument, written as regprocedure: ''schema.function(jsonb)''';
CREATE CAST (regprocedure AS taskq.handler) WITHOUT FUNCTION AS IMPLICIT;
CREATE CAST (regproc AS taskq.handler) WITHOUT FUNCTION AS IMPLICIT;
CREATE CAST (oid AS taskq.handler) WITHOUT FUNCTION AS IMPLICIT;

CREATE FUNCTION taskq.kind_define(
	name text, handler taskq.handler DEFAULT NULL, queue text DEFAULT 'default', priority int DEFAULT 0, max_attempts int DEFAULT 3,
	timeout interval DEFAULT NULL, backoff interval DEFAULT '1 s', backoff_max interval DEFAULT '1 h',
	retry_on text[] DEFAULT NULL, max_running int DEFAULT NULL, rate int DEFAULT NULL,
	rate_period interval DEFAULT '1 s', run_as regrole DEFAULT NULL, retention interval DEFAULT NULL,
	batch bool DEFAULT false, description text DEFAULT NULL, max_running_per_key int DEFAULT NULL,
	cancellable bool DEFAULT true,
	on_success text DEFAULT NULL, on_failure text DEFAULT NULL, on_cancel text DEFAULT NULL,
	settings jsonb DEFAULT NULL, category text DEFAULT NULL, indexed text[] DEFAULT NULL,
	secret text[] DEFAULT NULL)
RETURNS void LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'taskq_kind_define';
COMMENT ON FUNCTION taskq.kind_define IS
'Create or replace a kind of task

handler is a function of (jsonb) or of no argument in any language; what it returns becomes the result. Without handler the tasks are for external workers. A task runs as whoever submits it, or as run_as; then only the owner of the kind and those given it with kind_grant may submit. batch: several of its tasks may share a transaction, which suits short handlers that touch only the database. max_running_per_key: how many tasks of one concurrency_key run at the same time, 1 unless told. max_running: so many of its tasks run at a time, in workers and outside. rate: so many are started in rate_period. cancellable => false: its tasks are cancelled only by force. on_success, on_failure, on_cancel: kinds of which a task is submitted, with what is known of it, when one of this kind has so ended. settings: an object of settings (work_mem, search_path, ...) that the handler is called with, each one that the role it runs as may set. category: a word that kinds have in common. indexed: members of payload and metadata by whose values its tasks are found quickly, those that are submitted from now on. secret: members of payload and metadata, by name or by path (server.password), that are shown as *** to everybody but the handler, also in tasks that are there; left out it stays as it is, an empty list ends it.';

CREATE FUNCTION taskq.kind_drop(name text)
RETURNS void LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'taskq_kind_drop';
COMMENT ON FUNCTION taskq.kind_drop IS
'Drop a kind of task

Tasks of the kind that still wait fail when their turn comes.';

CREATE FUNCTION taskq.kind_grant(name text, role regrole, privilege text DEFAULT 'submit')
RETURNS void LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'taskq_kind_grant';
COMMENT ON FUNCTION taskq.kind_grant IS
'Let a role use a kind

privilege submit: submit its tasks, where they run as somebody else. privilege work: claim them, where an external worker runs them; of one tenant, if the worker comes through a gateway that says for which. privilege work all: claim those of all tenants. Members of the role may too.';

CREATE FUNCTION taskq.kind_revoke(name text, role regrole, privilege text DEFAULT 'submit')
RETURNS void LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'taskq_kind_revoke';
COMMENT ON FUNCTION taskq.kind_revoke IS
'Take back what kind_grant gave

Tasks that wait are refused when their turn comes.';

CREATE FUNCTION taskq.queue_define(
	name text, max_running int DEFAULT NULL, retention interval DEFAULT NULL, description text DEFAULT NULL,
	rate int DEFAULT NULL, rate_period interval DEFAULT '1 s', reserved int DEFAULT NULL)
RETURNS void LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'taskq_queue_define';
COMMENT ON FUNCTION taskq.queue_define IS
'Create or replace a queue

The queue "default" is always there. max_running: so many of its tasks run at a time, in workers and outside. rate: so many are started in rate_period. reserved: so many of taskq.max_workers are left to it by tasks of other queues.';

CREATE FUNCTION taskq.kind_limit(
	name text, max_running int DEFAULT NULL, rate int DEFAULT NULL, rate_period interval DEFAULT NULL,
	max_running_per_key int DEFAULT NULL, reason text DEFAULT NULL)
RETURNS void LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'taskq_kind_limit';
COMMENT ON FUNCTION taskq.kind_limit IS
'Change limits of a kind

What is left out, or null, stays as it is; -1 takes a limit away. Nothing else of the kind changes. For the owner of the kind and for operators. It counts from the commit on: what runs goes on, what waits starts as soon as it may. The next kind_define replaces these limits, as everything else that the kind is. reason: is in the audit.';

CREATE FUNCTION taskq.queue_limit(
	name text, max_running int DEFAULT NULL, rate int DEFAULT NULL, rate_period interval DEFAULT NULL,
	reserved int DEFAULT NULL, reason text DEFAULT NULL)
RETURNS void LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'taskq_queue_limit';
COMMENT ON FUNCTION taskq.queue_limit IS
'Change limits of a queue

Of any that view queue lists; one that nobody has defined is defined by that. What is left out, or null, stays as it is; -1 takes a limit, or the reserved places, away. Nothing else of the queue changes. It counts from the commit on, until the next queue_define. reason: is in the audit.';

CREATE FUNCTION taskq.queue_drop(name text)
RETURNS void LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'taskq_queue_drop';
COMMENT ON FUNCTION taskq.queue_drop IS
'Take back a queue_define

Limits, reserved places and retention are those of a queue that nobody defined. Tasks that are in it still run. The queue is in view queue as long as a kind names it, a task is in it, or it is paused: that ends by queue_resume only.';

