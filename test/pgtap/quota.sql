-- Limits: tasks that wait, children, descendants.
\ir include/prologue.psql
SELECT plan(20);

CREATE ROLE quota_user LOGIN;
CREATE ROLE quota_free LOGIN;
GRANT taskq_user TO quota_user, quota_free;
SELECT taskq.kind_define('quota', 'echo(jsonb)') \g /dev/null
SELECT taskq.queue_define('quota'), taskq.queue_pause('quota') \g /dev/null
CREATE FUNCTION submit_n(n int, held bool DEFAULT true, later bool DEFAULT false) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	PERFORM taskq.task_submit_many('quota', array_fill('{}'::jsonb, ARRAY[n]), queue => CASE WHEN held THEN 'quota' END, delay => CASE WHEN later THEN interval '1 h' END);
	RETURN 'none';
EXCEPTION WHEN OTHERS THEN
	RETURN SQLSTATE;
END $$;
-- the limit for a role's sessions, as a superuser sets it
CREATE FUNCTION limit_here(name text, value text) RETURNS void LANGUAGE sql SECURITY DEFINER AS $$ SELECT set_config(name, value, false) $$;

SET SESSION AUTHORIZATION quota_user;
SELECT limit_here('taskq.max_pending_per_role', '10') \g /dev/null
SELECT submit_n(10) AS ten, submit_n(1) AS eleven, error_of($$SELECT taskq.task_submit('quota')$$) AS one, submit_n(1, later => true) AS later \gset
RESET SESSION AUTHORIZATION;
SELECT is(:'ten'::text, 'none', 'as many as the limit');
SELECT is(:'eleven'::text, 'PT429', 'one more is refused');
SELECT is(:'one'::text, 'PT429', '... also of another queue');
SELECT is(:'later'::text, 'PT429', '... or for later');
SELECT is(count(*)::int, 10, 'nothing is lost of what was taken') FROM taskq.task WHERE kind = 'quota';
SET SESSION AUTHORIZATION quota_free;
SELECT submit_n(5) AS free \gset
RESET SESSION AUTHORIZATION;
SELECT is(:'free'::text, 'none', 'another role is not concerned');
SELECT count(taskq.task_cancel(id)) FROM taskq.task WHERE kind = 'quota' AND submitted_by = 'quota_user' AND id IN (SELECT id FROM taskq.task WHERE kind = 'quota' LIMIT 4) \g /dev/null
SET SESSION AUTHORIZATION quota_user;
SELECT submit_n(5) AS five, submit_n(4) AS four \gset
RESET SESSION AUTHORIZATION;
SELECT is(:'five'::text || ' ' || :'four', 'PT429 none', 'what is cancelled makes room');
SELECT taskq.queue_resume('quota') \g /dev/null
SELECT (taskq.task_wait(id)).state FROM taskq.task WHERE kind = 'quota' AND NOT ready \g /dev/null
SET SESSION AUTHORIZATION quota_user;
SELECT submit_n(10, later => true) AS later, submit_n(1) AS one \gset
RESET SESSION AUTHORIZATION;
SELECT is(:'later'::text || ' ' || :'one', 'none PT429', 'so does what is done; what is for later counts');
SELECT count(taskq.task_cancel(id)) FROM taskq.task WHERE kind = 'quota' AND state = 'scheduled' \g /dev/null
SET SESSION AUTHORIZATION quota_user;
BEGIN;
SELECT submit_n(6) AS six, submit_n(6) AS twelve \gset
ROLLBACK;
SELECT submit_n(10, later => true) AS ten \gset
SELECT limit_here('taskq.max_pending_per_role', '0') \g /dev/null
SELECT submit_n(100, later => true) AS hundred \gset
RESET SESSION AUTHORIZATION;
SELECT is(:'six'::text || ' ' || :'twelve', 'none PT429', 'what the same transaction has submitted counts');
SELECT is(:'ten'::text, 'none', '... until it rolls back');
SELECT is(:'hundred'::text, 'none', '0 is no limit');
SELECT set_config('taskq.max_pending_per_role', '1', false) \g /dev/null
SELECT is(submit_n(3, later => true), 'none', 'nor is any for a superuser');
RESET taskq.max_pending_per_role;
SET SESSION AUTHORIZATION quota_user;
SELECT error_of($$SET taskq.max_pending_per_role = 0$$) AS own, error_of($$SET taskq.max_depth = 0$$) AS depth, error_of($$SET taskq.max_children = 0$$) AS children \gset
RESET SESSION AUTHORIZATION;
SELECT is(concat_ws(' ', :'own', :'depth', :'children'), '42501 42501 42501', 'a user does not set his own limits');

-- a task that submits its successor for ever, and one that submits too many
CREATE FUNCTION quota_successor(p jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	PERFORM taskq.task_submit('quota_successor', jsonb_build_object('n', (p->>'n')::int + 1));
	RETURN p;
END $$;
CREATE FUNCTION quota_many(p jsonb) RETURNS int LANGUAGE plpgsql AS $$
BEGIN
	FOR i IN 1..(p->>'n')::int LOOP
		PERFORM taskq.task_submit('quota', delay => '1 h');
	END LOOP;
	RETURN (p->>'n')::int;
END $$;
SELECT taskq.kind_define('quota_successor', 'quota_successor(jsonb)', max_attempts => 1), taskq.kind_define('quota_many', 'quota_many(jsonb)', max_attempts => 1) \g /dev/null
ALTER ROLE quota_user SET taskq.max_depth = 20;
ALTER ROLE quota_user SET taskq.max_children = 50;
-- workers are sessions: new ones have the new settings
SELECT taskq.worker_restart() \g /dev/null
CREATE PROCEDURE quota_until_left() LANGUAGE plpgsql AS $$
BEGIN
	WHILE EXISTS (SELECT FROM taskq.worker) LOOP
		COMMIT;
		PERFORM pg_sleep(0.01);
	END LOOP;
END $$;
CALL quota_until_left();
SET SESSION AUTHORIZATION quota_user;
SELECT taskq.task_submit('quota_successor', '{"n": 0}') AS first \gset
SELECT taskq.task_submit('quota_many', '{"n": 50}') AS fifty, taskq.task_submit('quota_many', '{"n": 51}') AS more \gset
RESET SESSION AUTHORIZATION;
CREATE PROCEDURE quota_until_failed(what text) LANGUAGE plpgsql AS $$
BEGIN
	WHILE NOT EXISTS (SELECT FROM taskq.task WHERE kind = what AND state = 'failed') LOOP
		COMMIT;
		PERFORM pg_sleep(0.01);
	END LOOP;
END $$;
CALL quota_until_failed('quota_successor');
SELECT is((count(*), max((payload->>'n')::int), count(*) FILTER (WHERE state = 'completed'))::text, '(21,20,20)', 'a chain of successors ends at the limit of depth') FROM taskq.task WHERE kind = 'quota_successor';
SELECT is((t.payload->>'n', t.error->>'sqlstate')::text, '(20,PT429)', '... the last one fails') FROM taskq.task t WHERE t.kind = 'quota_successor' AND t.state = 'failed';
SELECT is(count(DISTINCT parent)::int, 20, '... each is the child of the one before') FROM taskq.task WHERE kind = 'quota_successor';
SELECT is((t.state, t.result)::text, '(completed,50)', 'a task submits as many as its limit') FROM taskq.task_wait(:'fifty') t;
SELECT is((t.state, t.error->>'sqlstate')::text, '(failed,PT429)', 'one more fails it') FROM taskq.task_wait(:'more') t;
SELECT is(count(*)::int, 50, '... and of those nothing is left') FROM taskq.task WHERE parent IN (:'fifty', :'more');
SELECT is(min(t.created_at) IS NOT NULL, true, 'they wait for their time') FROM taskq.task t WHERE t.parent = :'fifty' AND t.state = 'scheduled';

DROP OWNED BY quota_user, quota_free CASCADE;
DROP ROLE quota_user, quota_free;
SELECT * FROM finish();
