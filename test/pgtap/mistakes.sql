-- The likeliest mistakes: the error, or its hint, says what to do.
\ir include/prologue.psql
SELECT plan(59);

CREATE FUNCTION message_of(command text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE command;
	RETURN 'none';
EXCEPTION WHEN OTHERS THEN
	RETURN sqlerrm;
END $$;
CREATE SCHEMA mistake;
CREATE SCHEMA mistake_closed;
CREATE FUNCTION mistake_one(p jsonb) RETURNS jsonb LANGUAGE sql AS $$ SELECT p $$;
CREATE FUNCTION mistake_one(p text) RETURNS text LANGUAGE sql AS $$ SELECT p $$;
CREATE FUNCTION mistake_none() RETURNS int LANGUAGE sql AS $$ SELECT 1 $$;
CREATE FUNCTION mistake_two(p jsonb) RETURNS jsonb LANGUAGE sql AS $$ SELECT p $$;
CREATE FUNCTION mistake_two() RETURNS int LANGUAGE sql AS $$ SELECT 2 $$;
CREATE FUNCTION mistake_text(p text) RETURNS text LANGUAGE sql AS $$ SELECT p $$;
CREATE FUNCTION mistake_trigger() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;
CREATE FUNCTION mistake.elsewhere(p jsonb) RETURNS jsonb LANGUAGE sql AS $$ SELECT p $$;
CREATE FUNCTION mistake."Odd (name"(p jsonb) RETURNS jsonb LANGUAGE sql AS $$ SELECT p $$;
CREATE FUNCTION mistake_closed.f(p jsonb) RETURNS jsonb LANGUAGE sql AS $$ SELECT p $$;

-- a handler without its arguments
SELECT is(error_of($$SELECT taskq.kind_define('mistake', 'mistake_one')$$), '22023', 'a handler without its arguments is refused');
SELECT is(message_of($$SELECT taskq.kind_define('mistake', 'mistake_one')$$), 'handler "mistake_one" lacks the types of its arguments', '... for what it lacks');
SELECT matches(hint_of($$SELECT taskq.kind_define('mistake', 'mistake_one')$$), '"handler".*here "mistake_one\(jsonb\)"', '... and the one that can be a handler is proposed');
SELECT matches(hint_of($$SELECT taskq.kind_define('mistake', handler => 'MISTAKE_none')$$), 'here "mistake_none\(\)"', '... or one of no argument');
SELECT matches(hint_of($$SELECT taskq.kind_define('mistake', 'mistake.elsewhere')$$), 'here "mistake.elsewhere\(jsonb\)"', '... of another schema that was named');
SELECT is(lookalike, NULL, 'nothing is proposed for: ' || name)
FROM unnest(ARRAY['mistake_two', 'elsewhere', 'mistake_text', 'mistake_trigger', 'nothing_at_all', 'no_schema.f', 'a.b.c', 'select 1', '', '"', 'mistake."Odd (name']) name,
	LATERAL (SELECT substring(hint_of(format('SELECT taskq.kind_define(''mistake'', %L)', name)) FROM 'here.*') AS lookalike) h;
SELECT matches(hint_of(format('SELECT taskq.kind_define(''mistake'', %L)', name)), '"handler".*"schema.function\(jsonb\)" or "schema.function\(\)"', 'but what a handler looks like: ' || name)
FROM unnest(ARRAY['mistake_two', 'select 1', '', 'nothing_at_all(jsonb)', 'mistake_one(json)', 'mistake_one(p jsonb)', 'mistake_one(jsonb', 'mistake_one(jason)']) name;
CREATE ROLE mistake_dev LOGIN IN ROLE taskq_developer;
SET ROLE mistake_dev;
SELECT is(error_of($$SELECT taskq.kind_define('mistake', 'mistake_closed.f')$$), '42501', 'nor in a schema that one may not look into');
RESET ROLE;

-- what names a function is taken
SELECT lives_ok(command, 'taken: ' || command) FROM unnest(ARRAY[
	$$SELECT taskq.kind_define('mistake_a', 'mistake_one(jsonb)')$$,
	$$SELECT taskq.kind_define('mistake_a', 'public.mistake_none( )')$$,
	$$SELECT taskq.kind_define('mistake_a', 'mistake."Odd (name"(jsonb)')$$,
	$$SELECT taskq.kind_define('mistake_a', 'mistake_one(jsonb)'::regprocedure)$$,
	$$SELECT taskq.kind_define('mistake_a', 'mistake_none'::regproc)$$,
	$$SELECT taskq.kind_define('mistake_a', 'mistake_none'::regproc::oid)$$,
	format($$SELECT taskq.kind_define('mistake_a', '%s')$$, 'mistake_none'::regproc::oid),
	$$SELECT taskq.kind_define('mistake_a', NULL)$$,
	$$SELECT taskq.kind_define('mistake_a')$$]) command;
-- as PostgREST calls it
GRANT USAGE ON SCHEMA mistake TO mistake_dev;
SET ROLE mistake_dev;
SELECT taskq.kind_define(name => r.name, handler => r.handler) FROM json_to_record('{"name": "mistake_rest", "handler": "mistake.elsewhere(jsonb)"}') AS r(name text, handler taskq.handler) \g /dev/null
SELECT is(k.handler, 'mistake.elsewhere(pg_catalog.jsonb)', 'taken from JSON') FROM taskq.kind k WHERE k.name = 'mistake_rest';
RESET ROLE;

-- a handler with transactions of its own
CREATE FUNCTION mistake_commit(p jsonb) RETURNS void LANGUAGE plpgsql AS $$ BEGIN COMMIT; END $$;
CREATE FUNCTION mistake_vacuum(p jsonb) RETURNS void LANGUAGE plpgsql AS $$ BEGIN VACUUM; END $$;
SELECT taskq.kind_define('mistake_commit', 'mistake_commit(jsonb)', max_attempts => 1), taskq.kind_define('mistake_vacuum', 'mistake_vacuum(jsonb)', max_attempts => 1),
	taskq.kind_define('mistake_batch', 'mistake_commit(jsonb)', max_attempts => 1, batch => true) \g /dev/null
SELECT taskq.task_submit('mistake_commit') AS a, taskq.task_submit('mistake_vacuum') AS b, taskq.task_submit('mistake_batch') AS c,
	taskq.task_submit_sql($$SELECT mistake_commit('{}')$$) AS d \gset
SELECT is(t.error->>'sqlstate', '2D000', 'a handler that commits fails') FROM taskq.task_wait(:'a') t;
SELECT matches(t.error->>'hint', 'leave COMMIT and ROLLBACK out.*taskq.task_submit_sql\(\).*CALL', '... and is told what to do') FROM taskq.task_wait(:'a') t;
SELECT matches(t.error->>'hint', 'taskq.task_submit_sql\(\)', '... also one that would VACUUM') FROM taskq.task_wait(:'b') t;
SELECT matches(t.error->>'hint', 'leave COMMIT', '... one that may share its transaction') FROM taskq.task_wait(:'c') t;
SELECT matches(t.error->>'hint', 'CALL', '... and a query that calls such a function') FROM taskq.task_wait(:'d') t;

-- what is not allowed: who may, or who can grant it
CREATE ROLE mistake_user LOGIN IN ROLE taskq_user, taskq_developer, taskq_worker, taskq_monitor, pg_write_all_data;
CREATE ROLE mistake_other LOGIN;
CREATE ROLE mistake_nologin NOLOGIN IN ROLE taskq_user;
REVOKE EXECUTE ON FUNCTION mistake_two(jsonb) FROM PUBLIC;
SELECT taskq.kind_define('mistake_b', 'mistake_one(jsonb)'), taskq.kind_define('mistake_theirs', 'mistake_two(jsonb)'), taskq.kind_define('mistake_as', 'mistake_one(jsonb)', run_as => 'mistake_other'),
	taskq.kind_define('mistake_out') \g /dev/null
SELECT taskq.task_submit('mistake_b', delay => '1 day') AS waiting \gset
CREATE FUNCTION refusal(command text) RETURNS text LANGUAGE sql AS $$ SELECT error_of(command) || ' ' || hint_of(command) $$;
SET ROLE mistake_user;
SELECT matches(refusal(command), '^42501 .*' || hint, 'refused with a hint: ' || command)
FROM (VALUES ($$SELECT taskq.kind_define('mistake_theirs', 'mistake_one(jsonb)')$$, 'members of that role and superusers'),
	($$SELECT taskq.kind_drop('mistake_theirs')$$, 'members of that role and superusers'),
	($$SELECT taskq.kind_grant('mistake_theirs', 'mistake_user')$$, 'members of that role and superusers'),
	($$SELECT taskq.kind_define('mistake_mine', 'mistake_two(jsonb)')$$, 'grant EXECUTE on it to role "mistake_user"'),
	($$SELECT taskq.task_submit('mistake_theirs')$$, 'Grant EXECUTE'),
	($$SELECT taskq.task_submit('mistake_as')$$, 'taskq.kind_grant'),
	($$SELECT taskq.task_claim('w', kinds => ARRAY['mistake_out'])$$, 'taskq.kind_grant'),
	(format('SELECT taskq.task_cancel(%L)', :'waiting'), 'taskq_operator'),
	($$INSERT INTO taskq_internal.queue SELECT$$, 'schema taskq')) c(command, hint);
SET ROLE mistake_nologin;
SELECT matches(refusal($$SELECT taskq.task_submit('mistake_b')$$), '^42501 .*LOGIN', '... a role that cannot run tasks');
RESET ROLE;

-- a role that lost its rights while its task waited
SELECT taskq.queue_define('mistake_held'), taskq.queue_pause('mistake_held') \g /dev/null
GRANT taskq_user TO mistake_other;
SET ROLE mistake_other;
SELECT taskq.task_submit('mistake_b', queue => 'mistake_held', max_attempts => 1) AS id \gset
RESET ROLE;
ALTER ROLE mistake_other NOLOGIN;
SELECT taskq.queue_resume('mistake_held') \g /dev/null
SELECT matches((t.error->>'sqlstate') || ' ' || (t.error->>'hint'), '^42501 .*LOGIN.*taskq.task_retry', 'a task of a role that may not log in any more') FROM taskq.task_wait(:'id') t;

-- ... or EXECUTE on the handler
CREATE FUNCTION mistake_plain(p jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$ BEGIN RETURN p; END $$;
SELECT taskq.kind_define('mistake_plain', 'mistake_plain(jsonb)'), taskq.queue_pause('mistake_held') \g /dev/null
GRANT taskq_user TO mistake_dev;
SET ROLE mistake_dev;
SELECT taskq.task_submit('mistake_b', queue => 'mistake_held') AS sql, taskq.task_submit('mistake_plain', queue => 'mistake_held') AS plain \gset
RESET ROLE;
REVOKE EXECUTE ON FUNCTION mistake_one(jsonb), mistake_plain(jsonb) FROM PUBLIC;
SELECT taskq.queue_resume('mistake_held') \g /dev/null
SELECT matches((t.error->>'sqlstate') || ' ' || (t.error->>'hint'), '^42501 Grant EXECUTE .*"mistake_dev"', 'a task of a role that may not execute the handler any more: ' || n)
FROM (VALUES ('SQL', :'sql'::uuid), ('plpgsql', :'plain')) v(n, id), LATERAL taskq.task_wait(v.id) t;

-- views are for looking
SELECT matches(refusal(command), '^PT405 .*' || hint, 'a view names the function to call: ' || command)
FROM (VALUES ($$UPDATE taskq.task SET state = 'cancelled'$$, 'task_cancel'), ('DELETE FROM taskq.queue', 'queue_pause')) c(command, hint);

-- objects with members: what there is
SELECT matches(refusal(command), '^22023 .*' || hint, 'a member that there is not: ' || command)
FROM (VALUES ($$SELECT taskq.task_submit('mistake_b', options => '{"prority": 1}')$$, 'run_when.*priority, delay and the like are arguments'),
	($$SELECT taskq.task_bulk('cancel', filter => '{"sate": "pending"}')$$, 'state, kind, category, queue'),
	($$SELECT taskq.template_define('mistake', '[{"kind": "mistake_b", "dependson": "a"}]')$$, 'depends_on')) c(command, hint);
SELECT matches(refusal($$SELECT taskq.queue_drop('nowhere')$$), '^PT404 .*taskq.queue', 'a queue that nobody defined is not dropped');

SELECT taskq.task_cancel(:'waiting') \g /dev/null
SELECT * FROM finish();
DROP SCHEMA mistake, mistake_closed CASCADE;
DROP OWNED BY mistake_dev, mistake_user, mistake_other, mistake_nologin;
DROP ROLE mistake_dev, mistake_user, mistake_other, mistake_nologin;
