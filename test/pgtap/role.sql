-- Who submits, who it runs as, who sees it.
\ir include/prologue.psql
SELECT plan(25);

CREATE ROLE role_alice LOGIN;
CREATE ROLE role_bob LOGIN;
CREATE ROLE role_op LOGIN;
CREATE ROLE role_team LOGIN;
GRANT taskq_user TO role_alice, role_bob, role_team;
GRANT taskq_operator TO role_op;
GRANT role_team TO role_alice;
CREATE FUNCTION role_who(p jsonb) RETURNS text LANGUAGE sql AS $$ SELECT concat_ws(' ', session_user, current_user) $$;
SELECT taskq.kind_define('role_who', 'role_who(jsonb)') \g /dev/null
SELECT taskq.kind_define('role_fixed', 'role_who(jsonb)', run_as => 'role_bob') \g /dev/null
SELECT taskq.kind_grant('role_fixed', 'role_alice') \g /dev/null

-- in SET ROLE, the role that is set
SET SESSION AUTHORIZATION role_alice;
SELECT taskq.task_submit('role_who') AS own \gset
SET ROLE role_team;
SELECT taskq.task_submit('role_who') AS team \gset
RESET ROLE;
RESET SESSION AUTHORIZATION;
SELECT is(t.result #>> '{}', 'role_alice role_alice', 'a task runs as its submitter') FROM taskq.task_wait(:'own') t;
SELECT is((t.submitted_by, t.run_as)::text, '(role_alice,role_alice)', '... and says so') FROM taskq.task_status(:'own') t;
SELECT is(t.result #>> '{}', 'role_team role_team', 'under SET ROLE, as that role') FROM taskq.task_wait(:'team') t;

-- in a SECURITY DEFINER function, its owner
CREATE FUNCTION role_definer() RETURNS uuid LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$ SELECT taskq.task_submit('role_who') $$;
ALTER FUNCTION role_definer() OWNER TO role_bob;
SET SESSION AUTHORIZATION role_alice;
SELECT role_definer() AS definer \gset
RESET SESSION AUTHORIZATION;
SELECT is(t.result #>> '{}', 'role_bob role_bob', 'in a SECURITY DEFINER function, as its owner') FROM taskq.task_wait(:'definer') t;

-- with run_as, always that one
SET SESSION AUTHORIZATION role_alice;
SELECT taskq.task_submit('role_fixed') AS fixed \gset
RESET SESSION AUTHORIZATION;
SELECT is(t.result #>> '{}', 'role_bob role_bob', 'a kind with run_as runs as that role') FROM taskq.task_wait(:'fixed') t;
SELECT is((t.submitted_by, t.run_as)::text, '(role_alice,role_bob)', '... and says who submitted') FROM taskq.task_status(:'fixed') t;

-- who sees what
CREATE FUNCTION role_sees(ids uuid[]) RETURNS int LANGUAGE sql AS $$ SELECT count(*)::int FROM taskq.task t WHERE t.id = ANY (ids) $$;
SET SESSION AUTHORIZATION role_alice;
SELECT role_sees(ARRAY[:'own', :'team', :'definer', :'fixed']::uuid[]) AS alice, role_sees(ARRAY[:'definer']::uuid[]) AS alice_definer \gset
SET SESSION AUTHORIZATION role_bob;
SELECT role_sees(ARRAY[:'own', :'team', :'definer', :'fixed']::uuid[]) AS bob, role_sees(ARRAY[:'own', :'team']::uuid[]) AS bob_alices,
	error_of(format('SELECT taskq.task_status(%L)', :'own')) AS bob_status, error_of(format('SELECT taskq.task_cancel(%L)', :'own')) AS bob_cancel,
	error_of(format('SELECT taskq.task_wait_all(ARRAY[%L, %L]::uuid[])', :'definer', :'own')) AS bob_wait \gset
SET SESSION AUTHORIZATION role_op;
SELECT role_sees(ARRAY[:'own', :'team', :'definer', :'fixed']::uuid[]) AS op \gset
RESET SESSION AUTHORIZATION;
SELECT is(:'alice'::int, 3, 'a role sees what it submitted, and what roles did that it is a member of');
SELECT is(:'alice_definer'::int, 0, '... not what a function submitted as somebody else');
SELECT is(:'bob'::int, 2, 'a role sees what runs as it');
SELECT is(:'bob_alices'::int, 0, '... not the others');
SELECT is(:'bob_status'::text, 'PT404', 'what it does not see is unknown: task_status');
SELECT is(:'bob_cancel'::text, 'PT404', '... task_cancel');
SELECT is(:'bob_wait'::text, 'PT404', '... task_wait_all');
SELECT is(:'op'::int, 4, 'an operator sees all');

-- who may cancel what
SELECT taskq.queue_define('role_held') \g /dev/null
SELECT taskq.queue_pause('role_held') \g /dev/null
SET SESSION AUTHORIZATION role_alice;
SELECT taskq.task_submit('role_who', queue => 'role_held') AS own \gset
SELECT taskq.task_submit('role_who', queue => 'role_held') AS own2 \gset
SELECT taskq.task_submit('role_fixed', queue => 'role_held') AS fixed \gset
SELECT c.cancelled AS own_cancelled FROM taskq.task_cancel(:'own') c \gset
SELECT c.cancelled AS fixed_cancelled FROM taskq.task_cancel(:'fixed') c \gset
SET SESSION AUTHORIZATION role_op;
SELECT c.cancelled AS op_cancelled FROM taskq.task_cancel(:'own2') c \gset
RESET SESSION AUTHORIZATION;
SELECT is(:'own_cancelled'::text, 't', 'a role cancels its own task');
SELECT is(:'fixed_cancelled'::text, 't', '... also one that runs as another');
SELECT is(:'op_cancelled'::text, 't', 'an operator cancels anybody''s');

-- the queue view does not tell of others' tasks more than that they are there; the kinds are everybody's
SET SESSION AUTHORIZATION role_bob;
SELECT count(*) AS kinds FROM taskq.kind WHERE name LIKE 'role\_%' \gset
RESET SESSION AUTHORIZATION;
SELECT is(:'kinds'::int, 2, 'everybody sees the kinds');

-- an operator's kind runs as the operator, or as a role that it is a member of
SET SESSION AUTHORIZATION role_op;
SELECT error_of($$SELECT taskq.kind_define('role_taken', 'role_who(jsonb)', run_as => 'role_bob')$$) AS taken,
	error_of($$SELECT taskq.kind_define('role_mine', 'role_who(jsonb)', run_as => 'role_op')$$) AS mine \gset
SELECT taskq.task_submit_sql('CREATE TEMP TABLE role_temp AS SELECT current_user') AS sql \gset
RESET SESSION AUTHORIZATION;
SELECT is(:'taken'::text, '42501', 'run_as of a role that the definer is no member of is refused');
SELECT is(:'mine'::text, 'none', '... of itself is not');
SELECT is((t.state, t.run_as)::text, '(completed,role_op)', 'SQL text runs as its submitter') FROM taskq.task_wait(:'sql') t;

-- rights that are lost between submit and run
SET SESSION AUTHORIZATION role_alice;
SELECT taskq.task_submit('role_who', queue => 'role_held', max_attempts => 1) AS lost \gset
RESET SESSION AUTHORIZATION;
REVOKE EXECUTE ON FUNCTION role_who(jsonb) FROM PUBLIC;
SET SESSION AUTHORIZATION role_alice;
SELECT error_of($$SELECT taskq.task_submit('role_who')$$) AS refused \gset
RESET SESSION AUTHORIZATION;
SELECT is(:'refused'::text, '42501', 'a handler that its role may not call takes no task');
SELECT taskq.queue_resume('role_held') \g /dev/null
SELECT is((t.state, t.error->>'sqlstate')::text, '(failed,42501)', '... and fails one that waits') FROM taskq.task_wait(:'lost') t;
GRANT EXECUTE ON FUNCTION role_who(jsonb) TO role_alice;
SET SESSION AUTHORIZATION role_alice;
SELECT taskq.task_submit('role_who', queue => 'default') AS again \gset
RESET SESSION AUTHORIZATION;
SELECT is(t.state, 'completed', 'granted, it runs') FROM taskq.task_wait(:'again') t;

-- row security applies to the role
CREATE TABLE role_row (who text);
INSERT INTO role_row VALUES ('role_alice'), ('role_bob');
GRANT SELECT ON role_row TO role_alice, role_bob;
ALTER TABLE role_row ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON role_row USING (who = current_user);
CREATE FUNCTION role_rows(p jsonb) RETURNS text LANGUAGE sql AS $$ SELECT string_agg(who, ' ') FROM role_row $$;
SELECT taskq.kind_define('role_rows', 'role_rows(jsonb)') \g /dev/null
SET SESSION AUTHORIZATION role_alice;
SELECT taskq.task_submit('role_rows') AS alices \gset
SET SESSION AUTHORIZATION role_bob;
SELECT taskq.task_submit('role_rows') AS bobs \gset
RESET SESSION AUTHORIZATION;
SELECT is((SELECT result #>> '{}' FROM taskq.task_wait(:'alices')) || ' ' || (SELECT result #>> '{}' FROM taskq.task_wait(:'bobs')), 'role_alice role_bob',
	'row security sees the task''s role');

DROP OWNED BY role_alice, role_bob, role_op, role_team CASCADE;
DROP ROLE role_alice, role_bob, role_op, role_team;
SELECT * FROM finish();
