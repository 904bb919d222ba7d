-- Steering many tasks through a gateway: a tenant's own, and nobody else's.
\ir include/prologue.psql
SELECT plan(13);

CREATE ROLE ct_gate LOGIN NOINHERIT;
CREATE ROLE ct_web NOLOGIN;
CREATE ROLE ct_app LOGIN;
CREATE ROLE ct_op NOLOGIN;
GRANT ct_web, ct_op TO ct_gate;
GRANT taskq_user TO ct_web, ct_app;
GRANT taskq_operator TO ct_op;
ALTER SYSTEM SET taskq.trusted_gateways = 'ct_gate';
CALL reload();
SELECT taskq.kind_define('ct', 'echo(jsonb)', run_as => 'ct_app', queue => 'ct'), taskq.kind_grant('ct', 'ct_web'), taskq.kind_grant('ct', 'ct_app'), taskq.queue_pause('ct') \g /dev/null

-- one request as PostgREST makes it
CREATE FUNCTION request(who name, tenant text, command text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	result text;
BEGIN
	EXECUTE format('SET LOCAL ROLE %I', who);
	PERFORM set_config('request.jwt.claims', jsonb_build_object('sub', tenant)::text, true);
	BEGIN
		EXECUTE command INTO result;
	EXCEPTION WHEN OTHERS THEN
		result := SQLSTATE;
	END;
	RETURN result;
END $$;
GRANT EXECUTE ON FUNCTION request TO PUBLIC;

SET SESSION AUTHORIZATION ct_gate;
SELECT request('ct_web', 'anna', 'SELECT taskq.task_submit(''ct'')') AS anna \gset
SELECT request('ct_web', 'anna', 'SELECT taskq.task_submit(''ct'', run_at => ''infinity'')') AS anna_held \gset
SELECT request('ct_web', 'otto', 'SELECT taskq.task_submit(''ct'')') AS otto \gset
SELECT request('ct_web', 'otto', 'SELECT taskq.task_submit(''ct'')') AS otto2 \gset

SELECT is(request('ct_web', 'anna', format('SELECT taskq.task_set_priority(%L, 3)', :'otto')), 'PT404', 'a tenant does not move another one''s task');
SELECT is(request('ct_web', 'anna', format('SELECT taskq.task_set_priority(%L, 3)', :'anna')), format('(%s,0,3,,,)', :'anna'), '... its own it does, and is not told where it is among the others');
SELECT is(request('ct_web', 'anna', format('SELECT taskq.task_run_now(%L)', :'otto')), 'PT404', '... nor lets it run');
SELECT is(request('ct_web', 'anna', format('SELECT taskq.task_reschedule(%L, now())', :'otto')), 'PT404', '... nor puts it off');
SELECT is(request('ct_web', 'anna', format('SELECT string_agg(concat_ws('' '', success, status, error->>''sqlstate''), '','') FROM taskq.task_bulk(''priority'', ARRAY[%L, %L]::uuid[], priority => 4)', :'otto', :'anna')),
	'f PT404,t pending', 'of another one''s task it is not told the state');
SELECT is(request('ct_web', 'anna', 'SELECT count(*) FROM taskq.task_bulk(''priority'', filter => ''{}'', priority => 5)'), '2', 'a filter finds its own');
SELECT is(request('ct_web', 'anna', 'SELECT count(*) FROM taskq.task_bulk(''priority'', filter => ''{"tenant": "otto"}'', priority => 5)'), '0', '... and not those of one that it names');
SELECT is(request('ct_web', 'anna', 'SELECT (cleared, running) FROM taskq.queue_clear()'), '(1,0)', 'a clear clears its own');
SELECT is(request('ct_web', 'anna', 'SELECT taskq.pause()'), '42501', '... it does not pause everything');
SELECT is(request('ct_op', 'anna', 'SELECT count(*) FROM taskq.task_bulk(''cancel'', filter => ''{"tenant": "otto"}'', n => 1)'), '1', 'an operator finds a tenant''s tasks');
SELECT is(request('ct_op', 'anna', 'SELECT cleared FROM taskq.queue_clear(''ct'')'), '1', '... and clears all');
RESET SESSION AUTHORIZATION;
SELECT is(string_agg(state, ',' ORDER BY tenant, state), 'cancelled,scheduled,cancelled,cancelled', 'so they are') FROM taskq.task WHERE kind = 'ct';
SELECT is((SELECT count(DISTINCT l.tenant) FROM taskq_internal.task t JOIN taskq_internal.lane l ON l.id = t.lane WHERE l.kind = 'ct'), 2::bigint, '... each in lanes of its tenant');

ALTER SYSTEM RESET taskq.trusted_gateways;
CALL reload();
SELECT * FROM finish();
