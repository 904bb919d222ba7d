-- Claims: which of them names the tenant, and which are kept with a task.
\ir include/prologue.psql
SELECT plan(26);

CREATE ROLE claims_gate LOGIN NOINHERIT;
CREATE ROLE claims_web NOLOGIN;
CREATE ROLE claims_app LOGIN;
GRANT claims_web TO claims_gate;
GRANT taskq_user TO claims_web, claims_app;
GRANT taskq_developer TO claims_web;
CREATE FUNCTION claims_work(p jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	RETURN jsonb_build_object('setting', current_setting('request.jwt.claims')::jsonb, 'child', taskq.task_submit('claims_held'));
END $$;
SELECT taskq.queue_define('claims_held'), taskq.queue_pause('claims_held') \g /dev/null
SELECT taskq.kind_define('claims', 'claims_work(jsonb)', run_as => 'claims_app'), taskq.kind_grant('claims', 'claims_web'),
	taskq.kind_define('claims_held', 'echo(jsonb)', queue => 'claims_held', run_as => 'claims_app'), taskq.kind_grant('claims_held', 'claims_web') \g /dev/null

-- a request's outcome, or SQLSTATE
CREATE FUNCTION request(claims text, command text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	result text;
BEGIN
	SET LOCAL ROLE claims_web;
	PERFORM set_config('request.jwt.claims', claims, true);
	BEGIN
		EXECUTE command INTO result;
	EXCEPTION WHEN OTHERS THEN
		result := SQLSTATE;
	END;
	RETURN result;
END $$;
-- what becomes of these claims: tenant and what is kept; by who sees the tables
CREATE FUNCTION kept(task text) RETURNS text LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
	RETURN (SELECT coalesce(t.tenant, 'none') || ' ' || coalesce(t.claims::text, 'null') FROM taskq_internal.task t WHERE t.id = task::uuid);
EXCEPTION WHEN invalid_text_representation THEN
	RETURN task;
END $$;
CREATE FUNCTION submitted(claims text) RETURNS text LANGUAGE sql AS $$ SELECT kept(request(claims, 'SELECT taskq.task_submit(''claims_held'')')) $$;
CREATE FUNCTION gateway(tenant text, stored text DEFAULT NULL) RETURNS void LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
	PERFORM set_config('taskq.trusted_gateways', 'claims_gate', false), set_config('taskq.tenant_claim', tenant, false);
	IF stored IS NULL THEN
		RESET taskq.stored_claims;
	ELSE
		PERFORM set_config('taskq.stored_claims', stored, false);
	END IF;
END $$;
GRANT EXECUTE ON FUNCTION request, kept, submitted, gateway TO PUBLIC;
SET SESSION AUTHORIZATION claims_gate;

-- kept are role, sub, and the tenant's
SELECT gateway('sub') \g /dev/null
SELECT is(submitted('{"sub": "a", "role": "claims_web", "email": "a@example.org", "exp": 1}'), 'a {"sub": "a", "role": "claims_web"}', 'role and sub are kept, and nothing else');
SELECT gateway('org') \g /dev/null
SELECT is(submitted('{"sub": "a", "org": "b", "exp": 1}'), 'b {"org": "b", "sub": "a"}', '... and the claim that names the tenant');
SELECT is(submitted('{"exp": 1}'), 'none {}', '... none of others');
SELECT is(submitted('["org"]'), 'none {}', '... nothing of what is no object');
SELECT gateway('org', '*') \g /dev/null
SELECT is(submitted('{"org": "b", "exp": 1}'), 'b {"exp": 1, "org": "b"}', 'all of them with *');
SELECT gateway('org', '') \g /dev/null
SELECT is(submitted('{"sub": "a", "org": "b"}'), 'b {"org": "b"}', 'with none only the tenant''s');
SELECT gateway('sub', 'email, "https://example.org/x", app.level, app.deep.er') \g /dev/null
SELECT is(submitted('{"sub": "a", "role": "r", "email": "e", "https://example.org/x": [1], "app": {"level": 2, "other": 3, "deep": {"er": {"x": 1}, "not": 1}}}'),
	'a {"app": {"deep": {"er": {"x": 1}}, "level": 2}, "sub": "a", "email": "e", "https://example.org/x": [1]}', 'those that are named, by a path too');
SELECT is(submitted('{"sub": "a", "app.level": 1, "app": "x", "emai": 1, "email2": 2}'), 'a {"sub": "a", "app.level": 1}', '... which a claim of that very name is as well');

-- nested
SELECT gateway('app_metadata.tenant_id') \g /dev/null
SELECT is(submitted('{"sub": "a", "app_metadata": {"tenant_id": "t", "roles": ["x"]}}'), 't {"sub": "a", "app_metadata": {"tenant_id": "t"}}', 'a tenant by a path; what is beside it is not kept');
SELECT is(submitted('{"app_metadata.tenant_id": "l", "app_metadata": {"tenant_id": "t"}}'), 'l {"app_metadata": {"tenant_id": "t"}, "app_metadata.tenant_id": "l"}', 'a claim of that very name comes first');
SELECT is(submitted('{"app_metadata": {"tenant_id": 7}}'), '7 {"app_metadata": {"tenant_id": 7}}', '... a number');
SELECT is(submitted(c), 'none ' || k, '... none in ' || c) FROM (VALUES ('{"app_metadata": "t"}', '{}'), ('{"app_metadata": ["tenant_id", "t"]}', '{}'), ('{"app_metadata": {"tenant_id": null}}', '{"app_metadata": {"tenant_id": null}}'),
	('{"app_metadata": {"tenant_id": ""}}', '{"app_metadata": {"tenant_id": ""}}'), ('{"tenant_id": "t"}', '{}'), ('{"app_metadata": {"x": {"tenant_id": "t"}}}', '{"app_metadata": {}}')) c (c, k);
SELECT is(submitted('{"app_metadata": {"tenant_id": {"x": 1}}}'), '22023', '... an object is no name');
SELECT gateway('a.b.c') \g /dev/null
SELECT is(submitted('{"a": {"b": {"c": "deep"}}}'), 'deep {"a": {"b": {"c": "deep"}}}', 'a longer path');

-- seen and steered by that tenant
SELECT gateway('app_metadata.tenant_id') \g /dev/null
SELECT request('{"app_metadata": {"tenant_id": "t"}}', 'SELECT taskq.task_submit(''claims'')') AS id \gset
SELECT is(request('{"app_metadata": {"tenant_id": "t"}}', format('SELECT state FROM taskq.task_wait(%L)', :'id')), 'completed', 'a tenant by a path sees its task');
SELECT is(request('{"app_metadata": {"tenant_id": "u"}, "tenant_id": "t"}', format('SELECT state FROM taskq.task_status(%L)', :'id')), 'PT404', '... another one does not');
SELECT request('{"app_metadata": {"tenant_id": "t", "x": 1}, "exp": 1}', format('SELECT taskq.task_result(%L)', :'id')) AS result \gset
SELECT is((:'result'::jsonb)->>'setting', '{"app_metadata": {"tenant_id": "t"}}', 'the handler finds what was kept');
SELECT is(kept((:'result'::jsonb)->>'child'), 't {"app_metadata": {"tenant_id": "t"}}', '... and so do its children');
SELECT request('{"sub": "s", "app_metadata": {"tenant_id": "t"}, "exp": 1}', 'SELECT taskq.schedule_define(''claims'', ''claims_held'', every => ''1 day'')') \g /dev/null
RESET SESSION AUTHORIZATION;
SELECT is(tenant || ' ' || claims::text, 't {"sub": "s", "app_metadata": {"tenant_id": "t"}}', 'a schedule keeps the same') FROM taskq_internal.schedule WHERE name = 'claims';
SELECT is(a.claims::text, '{"sub": "s", "app_metadata": {"tenant_id": "t"}}', '... and the audit') FROM taskq.audit a WHERE a.name = 'claims' AND a.object = 'schedule';
-- not for everybody to say
SET SESSION AUTHORIZATION claims_app;
SELECT is(error_of('SET taskq.stored_claims = ''*'''), '42501', 'what is kept is not for users to say');
RESET SESSION AUTHORIZATION;

SELECT taskq.schedule_drop('claims') \g /dev/null
DROP OWNED BY claims_gate, claims_web, claims_app CASCADE;
DROP ROLE claims_gate, claims_web, claims_app;
SELECT * FROM finish();
