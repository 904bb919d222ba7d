/* ---------------------------------------------------------------- operate */

CREATE FUNCTION taskq.queue_pause(name text)
RETURNS void LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'taskq_queue_pause';
COMMENT ON FUNCTION taskq.queue_pause IS
'Pause a queue

Its waiting tasks stay; those that run already go on to their end.';

CREATE FUNCTION taskq.queue_resume(name text)
RETURNS void LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'taskq_queue_resume';
COMMENT ON FUNCTION taskq.queue_resume IS 'Let a paused queue go on';

CREATE FUNCTION taskq.resume()
RETURNS int LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'taskq_resume';
COMMENT ON FUNCTION taskq.resume IS
'Let the tasks of a copied database run here

The tasks of a restored dump or a copied database belong to where they were submitted, and wait until somebody says that they shall run here too; so does a server that was started with taskq.start_paused. Returns the number of lanes taken over.';

CREATE FUNCTION taskq.worker_stop(name text, force bool DEFAULT false)
RETURNS bool LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'taskq_worker_stop';
COMMENT ON FUNCTION taskq.worker_stop IS
'Send a worker away after the task it is in, with force at once

A task that is broken off by force runs again. Where there is work another worker comes. False if there is no such worker.';

CREATE FUNCTION taskq.worker_restart()
RETURNS int LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'taskq_worker_restart';
COMMENT ON FUNCTION taskq.worker_restart IS
'Replace all workers of this database, each after the task it is in

For new versions of libraries that they have loaded. Returns how many were told.';

