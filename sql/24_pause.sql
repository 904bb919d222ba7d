/* ---------------------------------------------------------------- pause and resume */

CREATE FUNCTION taskq.pause(reason text DEFAULT NULL)
RETURNS void LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'taskq_pause';
COMMENT ON FUNCTION taskq.pause IS
'Start no more tasks in this database

From the commit on, over restarts of the server and on a promoted standby, until taskq.resume() is called. What runs goes on to its end; what workers had set aside waits again; external workers get nothing. Tasks can be submitted and steered as before.';

CREATE FUNCTION taskq.resume()
RETURNS int LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'taskq_resume';
COMMENT ON FUNCTION taskq.resume IS
'Let the tasks of this database run, here

It ends taskq.pause(), lets a server that was started with taskq.start_paused run them, and makes this database the home of tasks that were submitted elsewhere: those of a restored dump or a copied database wait for that. Queues and kinds that are paused stay so. Returns the number of lanes taken over.';

CREATE FUNCTION taskq.queue_pause(name text, reason text DEFAULT NULL)
RETURNS void LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'taskq_queue_pause';
COMMENT ON FUNCTION taskq.queue_pause IS
'Pause a queue

Any that view queue lists. Its waiting tasks stay, also those that workers had set aside; those that run already go on to their end.';

CREATE FUNCTION taskq.queue_resume(name text)
RETURNS void LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'taskq_queue_resume';
COMMENT ON FUNCTION taskq.queue_resume IS 'Let a paused queue go on';

CREATE FUNCTION taskq.kind_pause(name text, reason text DEFAULT NULL)
RETURNS void LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'taskq_kind_pause';
COMMENT ON FUNCTION taskq.kind_pause IS
'Pause a kind of task

In whatever queue its tasks are, they wait; those that run already go on to their end. For the owner of the kind and for operators.';

CREATE FUNCTION taskq.kind_resume(name text)
RETURNS void LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'taskq_kind_resume';
COMMENT ON FUNCTION taskq.kind_resume IS 'Let a paused kind go on';
