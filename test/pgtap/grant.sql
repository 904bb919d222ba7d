-- Kinds belong to their owner; those that run as somebody else are granted.
\ir include/prologue.psql
SELECT plan(31);

CREATE ROLE grant_owner LOGIN;
CREATE ROLE grant_app LOGIN;
CREATE ROLE grant_web NOLOGIN;
CREATE ROLE grant_team NOLOGIN;
CREATE ROLE grant_other LOGIN;
GRANT taskq_user TO grant_web, grant_other, grant_app;
GRANT taskq_operator TO grant_owner, grant_other;
GRANT grant_app TO grant_owner;
GRANT CREATE ON SCHEMA public TO grant_owner, grant_other;
CREATE FUNCTION grant_who(p jsonb) RETURNS text LANGUAGE sql AS $$ SELECT session_user::text $$;
\ir include/as_role.psql
SELECT taskq.queue_define('grant_held') \g /dev/null
SELECT taskq.queue_pause('grant_held') \g /dev/null
SELECT as_role('grant_owner', $$SELECT taskq.kind_define('granted', 'grant_who(jsonb)', run_as => 'grant_app', max_attempts => 1)$$) \g /dev/null
SELECT is((k.owner, k.run_as, k.submitters)::text, '(grant_owner,grant_app,)', 'a kind has an owner and runs as a role') FROM taskq.kind k WHERE k.name = 'granted';

-- who may submit
SELECT is(as_role('grant_web', $$SELECT taskq.task_submit('granted')$$), '42501', 'who it was not granted to may not submit it');
SELECT is(as_role('grant_other', $$SELECT taskq.task_submit('granted')$$), '42501', '... nor another operator');
SELECT is(as_role('grant_other', $$SELECT taskq.kind_grant('granted', 'grant_other')$$), '42501', '... who cannot grant it');
SELECT is(as_role('grant_web', $$SELECT taskq.kind_grant('granted', 'grant_web')$$), '42501', '... as nobody can to himself');
SELECT matches(as_role('grant_owner', $$SELECT taskq.task_submit('granted')$$), '^[0-9a-f-]{36}$', 'its owner may');
SELECT as_role('grant_owner', $$SELECT taskq.kind_grant('granted', 'grant_web')$$) \g /dev/null
SELECT as_role('grant_web', $$SELECT taskq.task_submit('granted')$$) AS id \gset
SELECT is((t.state, t.result, t.submitted_by, t.run_as)::text, '(completed,"""grant_app""",grant_web,grant_app)', 'granted, a role that cannot log in submits, and it runs as run_as') FROM taskq.task_wait(:'id') t;
SELECT is(k.submitters, '{grant_web}', 'the view tells') FROM taskq.kind k WHERE k.name = 'granted';
SELECT is(as_role('grant_web', $$SELECT taskq.task_submit_sql('SELECT 1')$$), '42501', 'SQL text is not for it');
SELECT as_role('grant_owner', $$SELECT taskq.kind_revoke('granted', 'grant_web')$$) \g /dev/null
SELECT is(as_role('grant_web', $$SELECT taskq.task_submit('granted')$$), '42501', 'revoked, it may not any more');
SELECT as_role('grant_owner', $$SELECT taskq.kind_grant('granted', 'grant_team')$$) \g /dev/null
GRANT grant_team TO grant_web;
SELECT matches(as_role('grant_web', $$SELECT taskq.task_submit('granted')$$), '^[0-9a-f-]{36}$', 'as a member of a role it was granted to it may');
SELECT is(error_of($$SELECT taskq.kind_grant('granted', 'grant_web', 'everything')$$), '22023', 'an unknown privilege');
SELECT is(error_of($$SELECT taskq.kind_grant('no_such', 'grant_web')$$), 'PT404', 'an unknown kind');

-- lost between submit and run
SELECT as_role('grant_web', $$SELECT taskq.task_submit('granted', queue => 'grant_held')$$) AS revoked \gset
SELECT as_role('grant_owner', $$SELECT taskq.kind_revoke('granted', 'grant_team')$$) \g /dev/null
SELECT taskq.queue_resume('grant_held') \g /dev/null
SELECT is((t.state, t.error->>'sqlstate')::text, '(failed,42501)', 'a grant that is revoked before the task runs') FROM taskq.task_wait(:'revoked') t;
SELECT taskq.queue_pause('grant_held'), as_role('grant_owner', $$SELECT taskq.kind_grant('granted', 'grant_web')$$) \g /dev/null
SELECT as_role('grant_web', $$SELECT taskq.task_submit('granted', queue => 'grant_held')$$) AS member \gset
REVOKE grant_app FROM grant_owner;
SELECT taskq.queue_resume('grant_held') \g /dev/null
SELECT is((t.state, t.error->>'sqlstate')::text, '(failed,42501)', 'an owner who is no member of run_as any more') FROM taskq.task_wait(:'member') t;
SELECT is(as_role('grant_owner', $$SELECT taskq.kind_define('granted', 'grant_who(jsonb)', run_as => 'grant_app')$$), '42501', '... cannot define it so again');
GRANT grant_app TO grant_owner;

-- a kind of the same name by somebody else is another kind
SELECT taskq.queue_pause('grant_held') \g /dev/null
CREATE FUNCTION grant_evil(p jsonb) RETURNS text LANGUAGE sql AS $$ SELECT 'evil as ' || session_user $$;
SELECT as_role('grant_owner', $$SELECT taskq.kind_define('plain', 'grant_who(jsonb)', queue => 'grant_held')$$) \g /dev/null
SELECT as_role('grant_other', $$SELECT taskq.kind_define('plain', 'grant_evil(jsonb)')$$) AS replaced \gset
SELECT is(:'replaced'::text, '42501', 'nobody replaces the kind of another');
SELECT as_role('grant_app', $$SELECT taskq.task_submit('plain')$$) AS waiting \gset
SELECT as_role('grant_owner', $$SELECT taskq.kind_drop('plain')$$), as_role('grant_other', $$SELECT taskq.kind_define('plain', 'grant_evil(jsonb)')$$) \g /dev/null
SELECT taskq.queue_resume('grant_held') \g /dev/null
SELECT is((t.state, t.error->>'sqlstate', t.result)::text, '(failed,42501,)', 'what waited for the old one is not run by the new one') FROM taskq.task_wait(:'waiting') t;
SELECT as_role('grant_app', $$SELECT taskq.task_submit('plain')$$) AS fresh \gset
SELECT is(t.state, 'completed', 'what is submitted to the new one is') FROM taskq.task_wait(:'fresh') t;
SELECT is(error_of(format('SELECT taskq.task_retry(%L)', :'waiting')), '42501', 'nor does a retry get the old task there');

-- rights at submit
REVOKE EXECUTE ON FUNCTION grant_who(jsonb) FROM PUBLIC;
SELECT is(as_role('grant_web', $$SELECT taskq.task_submit('granted')$$), '42501', 'run_as may not execute the handler: refused');
GRANT EXECUTE ON FUNCTION grant_who(jsonb) TO grant_app;
SELECT matches(as_role('grant_web', $$SELECT taskq.task_submit('granted')$$), '^[0-9a-f-]{36}$', 'it may: taken, though the submitter may not');
ALTER ROLE grant_app NOLOGIN;
SELECT CASE WHEN current_setting('server_version_num')::int >= 170000 THEN pass('run_as may not log in: its sessions are allowed from version 17 on')
	ELSE is(as_role('grant_web', $$SELECT taskq.task_submit('granted')$$), '42501', 'run_as may not log in: refused') END;
ALTER ROLE grant_app LOGIN;

-- names come and go
ALTER ROLE grant_web RENAME TO grant_web2;
SELECT matches(as_role('grant_web2', $$SELECT taskq.task_submit('granted')$$), '^[0-9a-f-]{36}$', 'a role that is renamed keeps its grants');
SELECT is(k.submitters, '{grant_web}', 'the view has the name it was granted to') FROM taskq.kind k WHERE k.name = 'granted';
SELECT count(*) AS mine FROM taskq.task WHERE submitted_by = 'grant_web' \gset
DROP OWNED BY grant_web2;
DROP ROLE grant_web2;
CREATE ROLE grant_web NOLOGIN;
GRANT taskq_user TO grant_web;
SELECT is(as_role('grant_web', $$SELECT taskq.task_submit('granted')$$), '42501', 'a new role of an old name has no grants');
SELECT is(as_role('grant_web', $$SELECT count(*)::text FROM taskq.task WHERE submitted_by = 'grant_web'$$), '0', '... and no tasks');
SELECT cmp_ok(:'mine'::int, '>', 0, '... of those that are there');
ALTER ROLE grant_owner RENAME TO grant_owner2;
SELECT matches(as_role('grant_owner2', $$SELECT taskq.kind_grant('granted', 'grant_web')::text || repeat('0', 36)$$), '^0{36}$', 'an owner that is renamed stays owner');
DROP OWNED BY grant_owner2 CASCADE;
DROP ROLE grant_owner2;
CREATE ROLE grant_owner LOGIN;
GRANT taskq_operator TO grant_owner;
SELECT is(as_role('grant_owner', $$SELECT taskq.kind_drop('granted')$$), '42501', 'a new role of the owner''s name is not the owner');
SELECT is(error_of($$SELECT taskq.kind_drop('granted')$$), 'none', 'a superuser may drop any');
SELECT taskq.kind_drop('plain') \g /dev/null

DROP OWNED BY grant_owner, grant_app, grant_web, grant_team, grant_other CASCADE;
DROP ROLE grant_owner, grant_app, grant_web, grant_team, grant_other;
SELECT * FROM finish();
