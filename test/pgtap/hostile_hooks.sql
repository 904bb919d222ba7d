-- Hooks get nobody's tasks submitted, or run, as somebody who did not choose it.
\ir include/prologue.psql
SELECT plan(29);

CREATE ROLE hh_op LOGIN;			-- owns kinds; nobody's member
CREATE ROLE hh_op2 LOGIN;			-- likewise
CREATE ROLE hh_app LOGIN;
CREATE ROLE hh_web;					-- can't log in
GRANT taskq_operator, taskq_worker TO hh_op, hh_op2;
GRANT taskq_user TO hh_app, hh_web;
CREATE TABLE hh_effect (task uuid, who name);
GRANT ALL ON hh_effect TO PUBLIC;
CREATE FUNCTION hh_good(p jsonb) RETURNS jsonb LANGUAGE sql AS $$ SELECT p $$;
CREATE FUNCTION hh_hook(p jsonb) RETURNS void LANGUAGE sql AS $$ INSERT INTO public.hh_effect VALUES ((p->>'task_id')::uuid, session_user) $$;
CREATE FUNCTION hh_hook2(p jsonb) RETURNS void LANGUAGE sql AS $$ INSERT INTO public.hh_effect VALUES ((p->>'task_id')::uuid, session_user) $$;
\ir include/as_role.psql
-- how a task ended, and whom its hook ran as
CREATE FUNCTION ended(task uuid) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	s text := (SELECT t.state FROM taskq.task_wait(task) t);
BEGIN
	PERFORM taskq.task_wait_all(ARRAY(SELECT t.id FROM taskq.task t WHERE t.parent = ended.task AND t.state <> 'completed'));
	RETURN s || ', ' || coalesce((SELECT 'hook as ' || e.who FROM hh_effect e WHERE e.task = ended.task),
		(SELECT h.state || ' hook: ' || (h.error->>'sqlstate') FROM taskq.task h WHERE h.parent = ended.task), 'no hook');
END $$;
SELECT taskq.queue_define('hh_held'), taskq.queue_pause('hh_held') \g /dev/null
\set hold 'SELECT taskq.task_submit(''hh_kind'', queue => ''hh_held'')'
\set submit 'SELECT taskq.task_submit(''hh_kind'')'
\set plain 'SELECT taskq.kind_define(''hh_kind'', ''hh_good(jsonb)'')'
\set hooked 'SELECT taskq.kind_define(''hh_kind'', ''hh_good(jsonb)'', on_success => ''hh_hook'', on_cancel => ''hh_hook'')'
\set hook 'SELECT taskq.kind_define(''hh_hook'', ''hh_hook(jsonb)'')'

-- a hook that was chosen after the submit
SELECT as_role('hh_op', :'hook'), as_role('hh_op', :'plain') \g /dev/null
SELECT as_role('hh_app', :'hold') AS waiting, as_role('hh_app', :'hold') AS cancelled, as_role('hh_op', :'hold') AS owners, as_role('hh_app', :'submit') AS done \gset
SELECT is(ended(:'done'), 'completed, no hook', 'a task of a kind without hooks');
SELECT is(as_role('hh_op', :'hooked'), '', 'the owner of the kind chooses one');
SELECT as_role('hh_app', :'submit') AS knowing \gset
SELECT is(ended(:'knowing'), 'completed, hook as hh_app', 'who submits after that has it, as itself');
SELECT is(as_role('hh_op', format('SELECT taskq.task_retry(%L)', :'done')), '42501', 'an operator does not give it to others'' tasks by retrying them');
SELECT is(as_role('hh_op', format('SELECT (taskq.task_cancel(%L)).cancelled', :'cancelled')), 'true', '... he may cancel them');
SELECT is(ended(:'cancelled'), 'cancelled, no hook', '... without');
SELECT taskq.queue_resume('hh_held') \g /dev/null
SELECT is(ended(:'waiting'), 'completed, no hook', 'a task that waited runs, and has no hook that its submitter did not know');
SELECT is(ended(:'owners'), 'completed, hook as hh_op', '... unless it is the owner''s own');
SELECT taskq.queue_pause('hh_held') \g /dev/null

-- what it does is exchanged
SELECT as_role('hh_app', :'hold') AS waiting \gset
SELECT as_role('hh_op', $$SELECT taskq.kind_define('hh_hook', 'hh_hook2(jsonb)')$$) \g /dev/null
SELECT as_role('hh_app', :'submit') AS later \gset
SELECT is(ended(:'later'), 'completed, no hook', 'a hook whose handler was exchanged is not the one that was chosen');
SELECT as_role('hh_op', :'hooked') \g /dev/null
SELECT taskq.queue_resume('hh_held') \g /dev/null
SELECT is(ended(:'waiting'), 'completed, no hook', '... also if it is chosen again, to those who knew the other');
SELECT as_role('hh_app', :'submit') AS later \gset
SELECT is(ended(:'later'), 'completed, hook as hh_app', '... who submits then knows it');
SELECT taskq.queue_pause('hh_held') \g /dev/null
SELECT as_role('hh_op', $$SELECT taskq.kind_drop('hh_hook')$$), as_role('hh_op2', :'hook') \g /dev/null
SELECT as_role('hh_app', :'submit') AS later \gset
SELECT is(ended(:'later'), 'completed, no hook', 'another role''s kind of that name is another kind');
SELECT as_role('hh_op2', $$SELECT taskq.kind_drop('hh_hook')$$), as_role('hh_op', :'hook'), as_role('hh_op', :'hooked') \g /dev/null

-- between the end of the task and the hook's turn
SELECT as_role('hh_op', $$SELECT taskq.kind_define('hh_hook', 'hh_hook(jsonb)', queue => 'hh_held')$$), as_role('hh_op', :'hooked') \g /dev/null
SELECT as_role('hh_app', :'submit') AS later \gset
SELECT count(*) FROM taskq.task_wait(:'later') \g /dev/null
SELECT as_role('hh_op', $$SELECT taskq.kind_define('hh_hook', 'hh_hook2(jsonb)', queue => 'hh_held')$$) \g /dev/null
SELECT taskq.queue_resume('hh_held') \g /dev/null
SELECT is(ended(:'later'), 'completed, failed hook: 42501', 'a hook that waits does not run a handler that was exchanged meanwhile');
SELECT as_role('hh_op', :'hook') \g /dev/null

-- a kind for external workers runs nothing as its submitter, so a hook must not either
SELECT as_role('hh_op', $$SELECT taskq.kind_define('hh_out', on_success => 'hh_hook')$$) \g /dev/null
SELECT as_role('hh_app', $$SELECT taskq.task_submit('hh_out')$$) AS id \gset
SELECT as_role('hh_op', $$SELECT token FROM taskq.task_claim('w', kinds => '{hh_out}')$$) AS token \gset
SELECT as_role('hh_op', format('SELECT taskq.task_complete(%L, %L)', :'id', :'token')) \g /dev/null
SELECT is(ended(:'id'), 'completed, no hook', 'a task for external workers has no hook that would run as its submitter');
SELECT as_role('hh_op', $$SELECT taskq.kind_define('hh_hook_as', 'hh_hook(jsonb)', run_as => 'hh_op')$$) \g /dev/null
SELECT as_role('hh_op', $$SELECT taskq.kind_define('hh_out', on_success => 'hh_hook_as')$$) \g /dev/null
SELECT as_role('hh_app', $$SELECT taskq.task_submit('hh_out')$$) AS id \gset
SELECT as_role('hh_op', $$SELECT token FROM taskq.task_claim('w', kinds => '{hh_out}')$$) AS token \gset
SELECT as_role('hh_op', format('SELECT taskq.task_complete(%L, %L)', :'id', :'token')) \g /dev/null
SELECT is(ended(:'id'), 'completed, hook as hh_op', '... one that runs as the owner it has');
SELECT is(as_role('hh_app', format('SELECT run_as FROM taskq.task WHERE parent = %L', :'id')), 'hh_op', 'the submitter of the task sees its hook');

-- whose kind may be a hook
SELECT as_role('hh_op2', $$SELECT taskq.kind_define('hh_private', 'hh_hook(jsonb)', run_as => 'hh_op2')$$) \g /dev/null
SELECT is(as_role('hh_op', $$SELECT taskq.kind_define('hh_kind', 'hh_good(jsonb)', on_success => 'hh_private')$$), '42501', 'a kind is no hook of somebody who may not submit it');
SELECT is(error_of($$SELECT taskq.kind_define('hh_kind', 'hh_good(jsonb)', on_success => 'hh_private')$$), '42501', '... nor does a superuser make it one for him');
SELECT as_role('hh_op2', $$SELECT taskq.kind_grant('hh_private', 'hh_op')$$) \g /dev/null
SELECT is(as_role('hh_op', $$SELECT taskq.kind_define('hh_kind', 'hh_good(jsonb)', on_success => 'hh_private')$$), '', 'with a grant it may be');
SELECT as_role('hh_app', :'submit') AS id \gset
SELECT is(ended(:'id'), 'completed, hook as hh_op2', '... and runs as it says, though who submitted the task may not submit it');
SELECT is(as_role('hh_app', $$SELECT taskq.task_submit('hh_private')$$), '42501', '... which it may not');
SELECT id AS hook FROM taskq.task WHERE parent = :'id' \gset
SELECT as_role('hh_app', format('SELECT taskq.task_retry(%L)', :'hook')) AS again \gset
SELECT is(t.state, 'completed', 'the submitter of the task may retry the hook') FROM taskq.task_wait(:'again') t;
SELECT is(as_role('hh_app', format($$SELECT taskq.task_retry(%L, payload => '{}')$$, :'hook')), '42501', '... with what it was told');
SELECT as_role('hh_op2', $$SELECT taskq.kind_revoke('hh_private', 'hh_op')$$) \g /dev/null
SELECT as_role('hh_app', :'submit') AS id \gset
SELECT is(ended(:'id'), 'completed, no hook', 'a grant that was taken back');

-- a kind that runs as its owner: so does a hook without run_as
SELECT as_role('hh_op', $$SELECT taskq.kind_define('hh_kind_as', 'hh_good(jsonb)', run_as => 'hh_op', on_success => 'hh_hook')$$) \g /dev/null
SELECT as_role('hh_op', $$SELECT taskq.kind_grant('hh_kind_as', 'hh_web')$$) \g /dev/null
SELECT as_role('hh_web', $$SELECT taskq.task_submit('hh_kind_as')$$) AS id \gset
SELECT is(ended(:'id'), 'completed, hook as hh_op', 'a task of a role that can''t log in: the hook runs as the task did');
SELECT is((t.submitted_by, t.run_as)::text, '(hh_web,hh_op)', '... and is its submitter''s') FROM taskq.task t WHERE t.parent = :'id';

-- a schedule's owner has chosen what runs as its role
GRANT taskq_developer TO hh_app;
SELECT as_role('hh_op', $$SELECT taskq.kind_define('hh_sched', 'hh_hook(jsonb)')$$), taskq.kind_define('hh_sched', 'hh_good(jsonb)') \g /dev/null
SELECT as_role('hh_app', $$SELECT taskq.schedule_define('hh_sched', 'hh_sched', every => '1 day', starts_at => now() + interval '1 day')$$) \g /dev/null
SELECT isnt(as_role('hh_app', $$SELECT taskq.schedule_run('hh_sched')$$), '42501', 'a schedule of a kind whose handler a superuser chose');
SELECT as_role('hh_op', $$SELECT taskq.kind_define('hh_sched', 'hh_good(jsonb)', on_success => 'hh_hook')$$) \g /dev/null
SELECT is(as_role('hh_app', $$SELECT taskq.schedule_run('hh_sched')$$), '42501', '... does not run with a hook that the kind''s owner chose after that');

-- superusers
SELECT taskq.kind_define('hh_supers', 'hh_good(jsonb)', on_success => 'hh_hook') \g /dev/null
SELECT taskq.task_submit('hh_supers') AS id \gset
SELECT is(ended(:'id'), 'completed, no hook', 'a superuser''s task has no hook of somebody else''s kind');

SELECT finish();
