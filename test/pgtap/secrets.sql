-- What is secret in payloads and metadata is shown to nobody but the handler, in no way that there is.
\ir include/prologue.psql
SELECT plan(58);

CREATE ROLE secret_owner LOGIN;
CREATE ROLE secret_app LOGIN;
CREATE ROLE secret_other LOGIN;
CREATE ROLE secret_op LOGIN;
CREATE ROLE secret_watch LOGIN;
CREATE ROLE secret_worker LOGIN;
GRANT taskq_user, taskq_developer TO secret_owner;
GRANT taskq_user TO secret_app, secret_other;
GRANT taskq_developer TO secret_app;
GRANT taskq_user, taskq_operator, taskq_developer TO secret_op;
GRANT taskq_monitor TO secret_watch;
GRANT taskq_worker TO secret_worker;
GRANT secret_app TO secret_owner;

-- what handlers saw; every secret of this test has "hunter" in it
CREATE TABLE saw (what text, payload jsonb, metadata jsonb);
GRANT ALL ON saw TO PUBLIC;
CREATE FUNCTION secret_work(p jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO public.saw SELECT 'task', t.payload, t.metadata FROM taskq.current_task() t WHERE t.payload = p;
	IF p ? 'link' THEN
		PERFORM taskq.link('secret', p->>'link');
	END IF;
	IF p ? 'fail' THEN
		PERFORM taskq.fail('as told');
	END IF;
	RETURN '{"done": true}';
END $$;
CREATE FUNCTION secret_hook(p jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO public.saw VALUES ('hook', p, NULL);
	RETURN NULL;
END $$;
SET SESSION AUTHORIZATION secret_owner;
SET client_min_messages = error;
SELECT taskq.kind_define('secret_hook', 'secret_hook(jsonb)') \g /dev/null
SELECT taskq.kind_define('secret', 'secret_work(jsonb)', secret => '{password,server.token,"odd.name"}', on_failure => 'secret_hook', run_as => 'secret_app'), taskq.kind_grant('secret', 'secret_app') \g /dev/null
SELECT taskq.kind_define('secret_outside', secret => '{password}'), taskq.kind_grant('secret_outside', 'secret_worker', 'work') \g /dev/null
SELECT is((SELECT secret FROM taskq.kind WHERE name = 'secret'), '{password,server.token,odd.name}'::text[], 'the view kind tells what is secret');
RESET SESSION AUTHORIZATION;
SELECT taskq.queue_define('secret_held'), taskq.queue_pause('secret_held') \g /dev/null

-- one of all sorts
SET SESSION AUTHORIZATION secret_app;
SELECT taskq.task_submit('secret', '{"user": "me", "password": "hunter1", "link": "doc1", "server": {"token": "hunter2", "host": "h"}, "list": [{"password": ["hunter3"]}], "token": "visible", "odd.name": "hunter4"}',
	metadata => '{"password": "hunter5", "note": "n"}') AS done \gset
CALL wait_state(:'done', 'completed');
SELECT is((SELECT payload FROM taskq.task_status(:'done')),
	'{"user": "me", "password": "***", "link": "doc1", "server": {"token": "***", "host": "h"}, "list": [{"password": "***"}], "token": "visible", "odd.name": "***"}', 'members are hidden by name anywhere, by path from the top');
SELECT is((SELECT metadata FROM taskq.task WHERE id = :'done'), '{"password": "***", "note": "n"}', '... in metadata too');
SELECT is((SELECT count(*) FROM saw WHERE payload->>'password' = 'hunter1' AND payload#>>'{server,token}' = 'hunter2' AND metadata->>'password' = 'hunter5'), 1::int8, 'the handler sees all of it');
SELECT taskq.task_submit('secret', '{"password": "hunter1"}', metadata => '{"password": "hunter5"}', queue => 'secret_held', tags => '{secret}') AS held \gset
SELECT taskq.task_submit('secret', '{"password": {"deep": "hunter1"}, "fail": 1}', metadata => '{"password": "hunter5"}') AS failed \gset
CALL wait_state(:'failed', 'failed');
SELECT taskq.task_submit('secret', '{"password": null, "delay": 1}', delay => '1 day') AS later \gset
SELECT is((SELECT payload FROM taskq.task WHERE id = :'later'), '{"password": "***", "delay": 1}', 'nor is shown whether there is one');
SELECT taskq.task_submit('secret', '"word"', delay => '1 day') AS word \gset
SELECT is((SELECT payload FROM taskq.task WHERE id = :'word'), '"word"', 'a payload that has no members has no secret ones');

-- hooks
SELECT id AS hook FROM taskq.task WHERE kind = 'secret_hook' \gset
CALL wait_state(:'hook', 'completed');
SELECT is((SELECT payload->'payload' FROM taskq.task WHERE id = :'hook'), '{"password": "***", "fail": 1}', 'a hook is not told it');
SELECT is((SELECT payload->'metadata' FROM saw WHERE what = 'hook'), '{"password": "***"}', '... nor its handler');

-- retry
SELECT taskq.task_retry(:'done') AS again \gset
CALL wait_state(:'again', 'completed');
SELECT is((SELECT count(*) FROM saw WHERE payload->>'password' = 'hunter1'), 2::int8, 'a retry has it still');
SELECT taskq.task_retry(:'done', payload_merge => '{"user": "you"}') AS merged \gset
CALL wait_state(:'merged', 'completed');
SELECT is((SELECT count(*) FROM saw WHERE payload->>'password' = 'hunter1' AND payload->>'user' = 'you'), 1::int8, '... also with other members');
SELECT is((SELECT payload->>'password' FROM taskq.task WHERE id = :'merged'), '***', '... and it is hidden there');

-- workflows, templates, schedules
SELECT taskq.workflow_submit('[{"kind": "secret", "name": "one", "payload": {"password": "hunter6", "x": "visible"}, "metadata": {"password": "hunter6"}},
	{"kind": "secret", "name": "two", "payload": {"password": {"$input": "word"}}, "depends_on": ["one"]}]', '{"word": "hunter7"}') AS w \gset
SELECT (task).id AS step FROM taskq.workflow_tasks(:'w') WHERE name = 'two' \gset
CALL wait_state(:'step', 'completed');
SELECT is((SELECT count(*) FROM saw WHERE payload->>'password' IN ('hunter6', 'hunter7')), 2::int8, 'steps of a workflow have it');
SELECT is((SELECT array_agg(definition->'payload' ORDER BY no) FROM taskq.workflow_tasks(:'w') WHERE no > 0), ARRAY['{"x": "visible", "password": "***"}', '{"password": "***"}']::jsonb[], '... and do not show it');
SELECT taskq.workflow_retry(:'w', failed_only => false) \g /dev/null
SELECT taskq.template_define('secret_template', '[{"kind": "secret", "name": "one", "payload": {"password": "hunter8", "x": 1}, "metadata": {"password": "hunter8"}}, {"kind": "secret_hook", "name": "two", "payload": 5}]') \g /dev/null
SELECT is((SELECT steps FROM taskq.template WHERE name = 'secret_template'),
	'[{"kind": "secret", "name": "one", "payload": {"password": "***", "x": 1}, "metadata": {"password": "***"}}, {"kind": "secret_hook", "name": "two", "payload": 5}]', 'nor do templates');
SELECT taskq.template_submit('secret_template') AS w2 \gset
SELECT (task).id AS step FROM taskq.workflow_tasks(:'w2') WHERE name = 'one' \gset
CALL wait_state(:'step', 'completed');
SELECT is((SELECT count(*) FROM saw WHERE payload->>'password' = 'hunter8' AND metadata->>'password' = 'hunter8'), 1::int8, '... but what they submit has it');
SELECT taskq.schedule_define('secret_schedule', 'secret', every => '1 day', payload => '{"password": "hunter9"}', options => '{"metadata": {"password": "hunter9"}}', enabled => false) \g /dev/null
SELECT is((SELECT payload || (options->'metadata') FROM taskq.schedule WHERE name = 'secret_schedule'), '{"password": "***"}', 'nor do schedules');
SELECT taskq.schedule_run('secret_schedule') AS run \gset
CALL wait_state(:'run', 'completed');
SELECT is((SELECT count(*) FROM saw WHERE payload->>'password' = 'hunter9' AND metadata->>'password' = 'hunter9'), 1::int8, '... but what they submit has it');
SELECT is((SELECT payload->>'password' FROM taskq.link WHERE object = 'secret' AND task_id = :'done'), '***', 'nor do links');

-- outside
RESET SESSION AUTHORIZATION;
GRANT secret_other TO secret_owner;
SET SESSION AUTHORIZATION secret_app;
SELECT taskq.task_submit('secret_outside', '{"password": "hunter10"}') AS outside \gset
SET SESSION AUTHORIZATION secret_worker;
SELECT is((SELECT payload->>'password' FROM taskq.task_claim('w', kinds => '{secret_outside}')), 'hunter10', 'an external worker is a handler: it gets it');
SET SESSION AUTHORIZATION secret_app;
SELECT is((SELECT payload->>'password' FROM taskq.task WHERE id = :'outside'), '***', '... and nobody else');

-- filters find only what is shown
SET SESSION AUTHORIZATION secret_op;
SELECT is((SELECT count(*) FROM taskq.task WHERE payload->>'password' LIKE 'hunter%' OR payload @> '{"server": {"token": "hunter2"}}' OR metadata @> '{"password": "hunter5"}'), 0::int8, 'conditions on the view are of what is shown');
SELECT is((SELECT count(*) FROM taskq.task_bulk('priority', filter => '{"queue": "secret_held", "payload": {"password": "hunter1"}}', priority => 3)), 0::int8, 'filters are, too: payload');
SELECT is((SELECT count(*) FROM taskq.task_bulk('priority', filter => '{"queue": "secret_held", "metadata": {"password": "hunter5"}}', priority => 3)), 0::int8, '... metadata');
SELECT is((SELECT count(*) FROM taskq.task_bulk('priority', filter => '{"queue": "secret_held", "payload": {"password": "***"}}', priority => 3)), 1::int8, '... which finds all that have such a member');
SELECT is((SELECT count(*) FROM taskq.task_list('{"payload": {"password": "hunter1"}}')), 0::int8, 'lists');
SELECT is((SELECT count(*) FROM taskq.task_list('{"text": "hunter"}')), 0::int8, '... by text');

RESET SESSION AUTHORIZATION;
-- what has nothing secret in it is as it was; arrays are no steps of a path
SELECT is((SELECT array_agg(v) FROM unnest('{[],"{}","[[],{}]","[1,[2,{\"a\":[]}],null]","\"\"","{\"a\":{\"b\":{},\"c\":[{}]}}",null,1,"[\"password\"]"}'::jsonb[]) v WHERE taskq_internal.masked(v, 'secret', NULL, NULL) IS DISTINCT FROM v),
	NULL, 'nothing else is changed');
SELECT is(taskq_internal.masked('{"server": [{"token": 1, "password": [1, {"a": 2}]}, 3], "x": {"server": {"token": 4}}}', 'secret', NULL, NULL),
	'{"server": [{"token": "***", "password": "***"}, 3], "x": {"server": {"token": 4}}}', 'paths go through arrays, and begin at the top');

-- every view, and every function about a task or workflow, as everybody
CREATE TABLE ids AS SELECT t.id, t.workflow FROM taskq.task t WHERE kind LIKE 'secret%';
GRANT SELECT ON ids TO PUBLIC;
CREATE FUNCTION shown_anywhere(word text DEFAULT 'hunter') RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	it record;
	found text;
	n int := 0;
	one text;
BEGIN
	FOR it IN SELECT c.relname FROM pg_class c WHERE c.relnamespace = 'taskq'::regnamespace AND c.relkind = 'v' AND has_table_privilege(c.oid, 'SELECT') LOOP
		EXECUTE format('SELECT string_agg(v::text, %L) FROM taskq.%I v WHERE v::text LIKE %L', ' ', it.relname, '%' || word || '%') INTO one;
		found := concat_ws('; ', found, CASE WHEN one <> '' THEN it.relname || ': ' || substring(one from greatest(position(word in one) - 40, 1) for 60) END);
		n := n + 1;
	END LOOP;
	-- what is about a task, or asks for nothing; what it does is undone
	FOR it IN SELECT p.oid, p.proname, p.pronargs - p.pronargdefaults AS args, p.proargtypes[0] = 'uuid[]'::regtype AS many FROM pg_proc p
		WHERE p.pronamespace = 'taskq'::regnamespace AND p.prokind = 'f' AND p.proname !~ '^(task_wait|task_watch|worker_restart|board$)' AND has_function_privilege(p.oid, 'EXECUTE')
			AND (p.pronargs = p.pronargdefaults OR (p.pronargs - p.pronargdefaults = 1 AND p.proargtypes[0] IN ('uuid'::regtype, 'uuid[]'::regtype)))
	LOOP
		FOR one IN SELECT DISTINCT u::text FROM public.ids i, unnest(ARRAY[i.id, i.workflow]) u WHERE u IS NOT NULL LOOP
			BEGIN
				EXECUTE format('SELECT string_agg(f::text, %L) FROM taskq.%I(%s) f', ' ', it.proname,
					CASE WHEN it.args = 0 THEN '' WHEN it.many THEN quote_literal('{' || one || '}') ELSE quote_literal(one) END) INTO one;
				RAISE EXCEPTION '%', one;
			EXCEPTION WHEN OTHERS THEN
				one := SQLERRM;
			END;
			IF one LIKE '%' || word || '%' THEN
				found := concat_ws('; ', found, it.proname || ': ' || substring(one from greatest(position(word in one) - 40, 1) for 60));
			END IF;
			n := n + 1;
			EXIT WHEN it.args = 0;
		END LOOP;
	END LOOP;
	RETURN CASE WHEN n < 12 THEN 'too little was looked at: ' || n ELSE coalesce(nullif(found, ''), 'nothing') END;
END $$;
SELECT matches((SELECT string_agg(w, ' ' ORDER BY w) FROM (SELECT DISTINCT (regexp_matches(shown_anywhere('visible'), '(\m[a-z_]+): ', 'g'))[1] AS w) s), '\mlink task .*task_status .*workflow_tasks', 'what is not secret is found where it is shown');
SELECT is(shown_anywhere(), 'nothing', 'a superuser is shown nothing of it');
SET SESSION AUTHORIZATION secret_owner;
SELECT is(shown_anywhere(), 'nothing', 'nor the owner of the kind');
SET SESSION AUTHORIZATION secret_app;
SELECT is(shown_anywhere(), 'nothing', 'nor who has submitted it');
SELECT is((SELECT payload->>'password' FROM taskq.task_wait(:'done')), '***', '... and waits for it');
SELECT is((SELECT count(*) FROM taskq.task_watch(:'done', timeout => '1 ms') w WHERE w::text LIKE '%hunter%'), 0::int8, '... and watches it');
SELECT is((SELECT payload->>'password' FROM taskq.task_wait_any(ARRAY[:'done'::uuid])), '***', '... for any');
SELECT is((SELECT payload->>'password' FROM taskq.task_wait_all(ARRAY[:'done'::uuid])), '***', '... for all');
SELECT is((SELECT count(*) FROM taskq.task_list('{}') l WHERE l::text LIKE '%hunter%'), 0::int8, '... or has a list');
SET SESSION AUTHORIZATION secret_op;
SELECT is(shown_anywhere(), 'nothing', 'nor an operator');
SELECT is((SELECT count(*) FROM taskq.task_bulk('cancel', ids => ARRAY[:'held'::uuid]) b WHERE b::text LIKE '%hunter%'), 0::int8, '... who cancels it');
SET SESSION AUTHORIZATION secret_watch;
SELECT is(shown_anywhere(), 'nothing', 'nor a monitor');
SET SESSION AUTHORIZATION secret_other;
SELECT is(shown_anywhere(), 'nothing', 'nor another user');
SELECT set_config('request.jwt.claims', '{"sub": "another tenant"}', false) \g /dev/null
SELECT is(shown_anywhere(), 'nothing', 'nor another tenant');
RESET request.jwt.claims;
SET SESSION AUTHORIZATION secret_worker;
SELECT is(shown_anywhere(), 'nothing', 'nor an external worker, of what it did not claim');

-- it changes at once
SET SESSION AUTHORIZATION secret_owner;
SELECT taskq.kind_define('secret', 'secret_work(jsonb)', on_failure => 'secret_hook', run_as => 'secret_app') \g /dev/null
SELECT is((SELECT secret FROM taskq.kind WHERE name = 'secret'), '{password,server.token,odd.name}'::text[], 'left out it stays as it is');
SELECT taskq.kind_define('secret', 'secret_work(jsonb)', on_failure => 'secret_hook', run_as => 'secret_app', secret => '{password,server,user,list,"odd.name"}') \g /dev/null
SELECT is((SELECT payload FROM taskq.task_status(:'done')), '{"user": "***", "password": "***", "link": "doc1", "server": "***", "list": "***", "token": "visible", "odd.name": "***"}', 'what is secret from now on is hidden in all tasks there are');
SELECT is((SELECT details->'secret' FROM taskq.audit WHERE name = 'secret' ORDER BY id DESC LIMIT 1), '["password", "server", "user", "list", "odd.name"]', '... and audited');
BEGIN;
SELECT taskq.kind_define('secret', 'secret_work(jsonb)', run_as => 'secret_app', secret => '{}') \g /dev/null
SELECT is((SELECT payload->>'password' FROM taskq.task_status(:'done')), 'hunter1', 'an empty list ends it');
ROLLBACK;
SELECT is((SELECT payload->>'password' FROM taskq.task_status(:'done')), '***', '... not if that is undone');
SELECT taskq.kind_drop('secret') \g /dev/null
SELECT is((SELECT payload->>'password' FROM taskq.task_status(:'done')), '***', 'it outlives the kind');
SET SESSION AUTHORIZATION secret_app;
SELECT taskq.kind_define('secret', 'secret_work(jsonb)', secret => '{}') \g /dev/null
SELECT is((SELECT payload->>'password' FROM taskq.task_status(:'done')), '***', '... and another one''s of the same name');
SELECT taskq.task_submit('secret', '{"password": "mine"}', delay => '1 day') AS mine \gset
SELECT is((SELECT payload->>'password' FROM taskq.task WHERE id = :'mine'), 'mine', 'whose own tasks are its own');
SELECT taskq.kind_drop('secret') \g /dev/null
SET SESSION AUTHORIZATION secret_owner;
SELECT taskq.kind_define('secret', 'secret_work(jsonb)') \g /dev/null
SELECT is((SELECT secret FROM taskq.kind WHERE name = 'secret'), '{password,server,user,list,odd.name}'::text[], 'defined again by its owner it has what it had');

-- what cannot be
SELECT is(error_of($$SELECT taskq.kind_define('secret', secret => '{password}', indexed => '{password}')$$), '22023', 'what is secret is not indexed');
SELECT is(error_of($$SELECT taskq.kind_define('secret', secret => '{server.token}', indexed => '{server}')$$), '22023', '... nor what it is in');
SELECT is(error_of($$SELECT taskq.kind_define('secret', secret => '{""}')$$), '22023', 'a name has at least a letter');
SELECT is(error_of($$SELECT taskq.kind_define('secret', secret => '{a,null}')$$), '22023', '... and is none');
SELECT is(error_of($$SELECT * FROM taskq_internal.secret$$), '42501', 'the table is nobody''s');
RESET SESSION AUTHORIZATION;
SELECT is((SELECT count(*) FROM taskq.audit a WHERE a::text LIKE '%hunter%'), 0::int8, 'no audit has it');
SELECT * FROM finish();
