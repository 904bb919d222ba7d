/* ---------------------------------------------------------------- operate */

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

