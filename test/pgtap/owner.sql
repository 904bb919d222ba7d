-- Owning a kind: whose handler runs as whom, when it is exchanged.
\ir include/prologue.psql
SELECT plan(33);

CREATE ROLE owner_op LOGIN;			-- owns kinds; nobody's member
CREATE ROLE owner_dba LOGIN;		-- owns kinds, and is a member of the application's role
CREATE ROLE owner_app LOGIN;
CREATE ROLE owner_other LOGIN;
GRANT taskq_operator TO owner_op, owner_dba;
GRANT taskq_user TO owner_app, owner_other;
GRANT owner_app TO owner_dba;
GRANT owner_op TO owner_dba;
CREATE FUNCTION owner_good(p jsonb) RETURNS text LANGUAGE sql AS $$ SELECT 'good as ' || session_user $$;
CREATE FUNCTION owner_evil(p jsonb) RETURNS text LANGUAGE sql AS $$ SELECT 'evil as ' || session_user $$;
CREATE FUNCTION owner_fair(p jsonb) RETURNS text LANGUAGE sql AS $$ SELECT 'fair as ' || session_user $$;
\ir include/as_role.psql
-- how a task ended: its result, or what was wrong
CREATE FUNCTION outcome(task uuid) RETURNS text LANGUAGE sql AS $$
	SELECT coalesce(t.result #>> '{}', t.error->>'sqlstate', t.state) FROM taskq.task_wait(task) t
$$;
CREATE PROCEDURE define(who name, handler text, kind text DEFAULT 'owner_kind') LANGUAGE plpgsql AS $$
BEGIN
	IF as_role(who, format('SELECT taskq.kind_define(%L, %L)', kind, handler || '(jsonb)')) = '42501' THEN
		RAISE EXCEPTION 'may not';
	END IF;
END $$;
SELECT taskq.queue_define('owner_held'), taskq.queue_pause('owner_held') \g /dev/null
\set submit 'SELECT taskq.task_submit(''owner_kind'')'
\set hold 'SELECT taskq.task_submit(''owner_kind'', queue => ''owner_held'')'

-- a finished task, retried by who has exchanged the handler
CALL define('owner_op', 'owner_good');
SELECT as_role('owner_app', :'submit') AS done \gset
SELECT is(outcome(:'done'), 'good as owner_app', 'a task runs the handler that its submitter knew');
SELECT as_role('owner_op', format('SELECT taskq.task_retry(%L)', :'done')) AS again \gset
SELECT is(outcome(:'again'), 'good as owner_app', 'an operator retries it while the handler is the same');
CALL define('owner_op', 'owner_good');
SELECT as_role('owner_op', format('SELECT taskq.task_retry(%L)', :'done')) AS again \gset
SELECT is(outcome(:'again'), 'good as owner_app', '... also when the kind was defined again with it');
CALL define('owner_op', 'owner_evil');
SELECT is(as_role('owner_op', format('SELECT taskq.task_retry(%L)', :'done')), '42501', 'with another handler of his an operator may not retry it');
SET ROLE owner_op;
SELECT hint_of(format('SELECT taskq.task_retry(%L)', :'done')) AS hint \gset
RESET ROLE;
SELECT matches(:'hint'::text, 'submit', '... and is told what to do');
SELECT is(as_role('owner_other', format('SELECT taskq.task_retry(%L)', :'done')), 'PT404', '... nor somebody else');
SELECT is(error_of(format('SELECT taskq.task_retry(%L)', :'done')), '42501', '... nor a superuser by mistake');
SELECT as_role('owner_app', format('SELECT taskq.task_retry(%L)', :'done')) AS own \gset
SELECT is(outcome(:'own'), 'evil as owner_app', 'whose task it is may: that is as good as a submit');

-- a task that waits, is scheduled, or is retried by itself
CALL define('owner_op', 'owner_good');
SELECT as_role('owner_app', :'hold') AS waiting \gset
SELECT as_role('owner_app', $$SELECT taskq.task_submit('owner_kind', queue => 'owner_held', delay => '1 ms')$$) AS scheduled \gset
CALL define('owner_op', 'owner_evil');
SELECT as_role('owner_app', :'hold') AS knowing \gset
SELECT taskq.queue_resume('owner_held') \g /dev/null
SELECT is(outcome(:'waiting'), '42501', 'a task that waited does not run a handler that a stranger chose meanwhile');
SELECT is(outcome(:'scheduled'), '42501', '... nor one that was scheduled');
SELECT matches(t.error->>'hint', 'submit', '... its error says what to do') FROM taskq.task_status(:'waiting') t;
SELECT is(t.attempt::int, 1, '... and it is not tried again') FROM taskq.task_status(:'waiting') t;
SELECT is(outcome(:'knowing'), 'evil as owner_app', 'who submits after the change has chosen it');
SELECT taskq.queue_pause('owner_held') \g /dev/null

-- who can act as the role may change what it runs
CALL define('owner_op', 'owner_good');
SELECT as_role('owner_app', :'hold') AS waiting, as_role('owner_other', :'hold') AS others, as_role('owner_op', :'hold') AS owners \gset
CALL define('owner_dba', 'owner_fair');
SELECT taskq.queue_resume('owner_held') \g /dev/null
SELECT is(outcome(:'waiting'), 'fair as owner_app', 'a member of the role may exchange what it runs');
SELECT is(outcome(:'owners'), 'fair as owner_op', '... also for another role that it is a member of');
SELECT is(outcome(:'others'), '42501', '... but for no other');
SELECT taskq.queue_pause('owner_held') \g /dev/null
SELECT as_role('owner_app', :'hold') AS waiting, as_role('owner_app', :'hold') AS later \gset
CALL define('postgres', 'owner_good');
SELECT taskq.queue_resume('owner_held') \g /dev/null
SELECT is(outcome(:'waiting'), 'good as owner_app', 'a superuser may too');
SELECT taskq.queue_pause('owner_held') \g /dev/null
-- what counts is who chose the handler that is to run
SELECT as_role('owner_app', :'hold') AS waiting \gset
CALL define('owner_op', 'owner_evil');
CALL define('postgres', 'owner_good');
SELECT taskq.queue_resume('owner_held') \g /dev/null
SELECT is(outcome(:'waiting'), 'good as owner_app', 'what a superuser has put right runs');
SELECT taskq.queue_pause('owner_held') \g /dev/null
SELECT as_role('owner_app', :'hold') AS waiting \gset
CALL define('postgres', 'owner_fair');
CALL define('owner_op', 'owner_good');
SELECT taskq.queue_resume('owner_held') \g /dev/null
SELECT is(outcome(:'waiting'), '42501', '... and what is undone after that does not');
SELECT taskq.queue_pause('owner_held') \g /dev/null

-- dropped and made again it is a new kind, also with the same owner
SELECT as_role('owner_app', :'hold') AS waiting \gset
SELECT as_role('owner_op', $$SELECT taskq.kind_drop('owner_kind')$$) \g /dev/null
CALL define('owner_op', 'owner_evil');
SELECT taskq.queue_resume('owner_held') \g /dev/null
SELECT is(outcome(:'waiting'), '42501', 'a kind that was dropped and made again is another kind');
SELECT taskq.queue_pause('owner_held') \g /dev/null
-- one for external workers gets a handler
SELECT as_role('owner_op', $$SELECT taskq.kind_define('owner_ext')$$) \g /dev/null
SELECT as_role('owner_app', $$SELECT taskq.task_submit('owner_ext', queue => 'owner_held')$$) AS waiting \gset
CALL define('owner_op', 'owner_evil', 'owner_ext');
SELECT taskq.queue_resume('owner_held') \g /dev/null
SELECT is(outcome(:'waiting'), '42501', 'a kind for external workers that gets a handler: the same');
SELECT taskq.queue_pause('owner_held') \g /dev/null

-- a change that rolls back is none; a submit that commits after the change knew the old handler
CALL define('owner_op', 'owner_good');
SELECT as_role('owner_app', :'hold') AS waiting \gset
BEGIN;
CALL define('owner_op', 'owner_evil');
ROLLBACK;
SELECT taskq.queue_resume('owner_held') \g /dev/null
SELECT is(outcome(:'waiting'), 'good as owner_app', 'a change that rolls back is none');

-- superusers
SELECT is(error_of(:'submit'), '42501', 'a superuser''s task does not run a handler of somebody else''s kind');
SELECT matches(hint_of(:'submit'), 'SET ROLE', '... the hint tells how it is meant');
SELECT is(error_of($$SELECT taskq.task_submit_many('owner_kind', ARRAY['1'::jsonb])$$), '42501', '... nor do many');
SET ROLE owner_app;
SELECT taskq.task_submit('owner_kind') AS id \gset
RESET ROLE;
SELECT is(outcome(:'id'), 'good as owner_app', 'in SET ROLE it does');
CREATE ROLE owner_super LOGIN SUPERUSER;
SELECT taskq.queue_pause('owner_held') \g /dev/null
CALL define('owner_super', 'owner_good', 'owner_supers');
SELECT taskq.task_submit('owner_supers') AS id, taskq.task_submit('owner_supers', queue => 'owner_held') AS held \gset
SELECT is(outcome(:'id'), 'good as postgres', 'a superuser''s kind runs as any superuser');
ALTER ROLE owner_super NOSUPERUSER;
SELECT is(error_of($$SELECT taskq.task_submit('owner_supers')$$), '42501', '... until its owner is none any more');
SELECT taskq.queue_resume('owner_held') \g /dev/null
SELECT is(outcome(:'held'), '42501', '... also the tasks that wait');
SELECT is(as_role('owner_super', $$SELECT taskq.kind_define('owner_ext2', run_as => 'postgres')$$), '42501', 'nor can run_as make one');

-- somebody else's kind of the same name: its workers do not even learn of the first one's tasks
SELECT taskq.queue_pause('owner_held') \g /dev/null
CREATE ROLE owner_op2 LOGIN;
CREATE ROLE owner_worker LOGIN;
GRANT taskq_operator TO owner_op2;
GRANT taskq_worker TO owner_worker;
SELECT as_role('owner_op', $$SELECT taskq.kind_define('owner_work')$$), as_role('owner_op', $$SELECT taskq.kind_grant('owner_work', 'owner_worker', 'work')$$) \g /dev/null
SELECT as_role('owner_app', $$SELECT taskq.task_submit('owner_work')$$) AS work \gset
SELECT is(as_role('owner_worker', format('SELECT taskq.task_heartbeat(%L, gen_random_uuid())', :'work')), 'PT409', 'who works on a kind is told that its task is not claimed');
SELECT as_role('owner_op', $$SELECT taskq.kind_drop('owner_work')$$), as_role('owner_op2', $$SELECT taskq.kind_define('owner_work')$$),
	as_role('owner_op2', $$SELECT taskq.kind_grant('owner_work', 'owner_worker', 'work')$$) \g /dev/null
SELECT is(as_role('owner_worker', format('SELECT taskq.task_heartbeat(%L, gen_random_uuid())', :'work')), 'PT404', '... not of another owner''s kind of the same name');
SELECT is(as_role('owner_worker', $$SELECT count(*)::text FROM taskq.task_claim('w', kinds => '{owner_work}')$$), '0', '... nor does he get it');

DROP OWNED BY owner_op2, owner_worker CASCADE;
DROP ROLE owner_op2, owner_worker;
DROP OWNED BY owner_op, owner_dba, owner_app, owner_other, owner_super CASCADE;
DROP ROLE owner_op, owner_dba, owner_app, owner_other, owner_super;
SELECT * FROM finish();
