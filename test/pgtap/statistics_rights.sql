-- Statistics tell nobody of tasks that it may not see.
\ir include/prologue.psql
SELECT plan(29);

CREATE ROLE srights_gate LOGIN NOINHERIT;
CREATE ROLE srights_web NOLOGIN;
CREATE ROLE srights_app LOGIN;
CREATE ROLE srights_other LOGIN;
CREATE ROLE srights_monitor LOGIN;
GRANT srights_web TO srights_gate;
GRANT taskq_user TO srights_web, srights_app, srights_other;
GRANT taskq_monitor TO srights_monitor;
ALTER SYSTEM SET taskq.trusted_gateways = 'srights_gate';
CALL reload();
CREATE FUNCTION srights_work(p jsonb) RETURNS jsonb LANGUAGE plpgsql AS 'BEGIN RETURN p; END';
SELECT taskq.kind_define('srights', 'srights_work(jsonb)', run_as => 'srights_app', indexed => '{who}'), taskq.kind_grant('srights', 'srights_web') \g /dev/null
SELECT taskq.kind_define('srights_own', 'srights_work(jsonb)') \g /dev/null

CREATE TABLE srights_task (id uuid);
GRANT ALL ON srights_task TO PUBLIC;
SET SESSION AUTHORIZATION srights_gate;
SET ROLE srights_web;
SET request.jwt.claims = '{"sub": "a"}';
INSERT INTO srights_task SELECT taskq.task_submit('srights', '{"who": "ann"}', tags => '{a_tag}') FROM generate_series(1, 3);
SET request.jwt.claims = '{"sub": "b"}';
INSERT INTO srights_task SELECT taskq.task_submit('srights', '{"who": "bob"}', tags => '{b_tag}') FROM generate_series(1, 5);
RESET SESSION AUTHORIZATION;
RESET request.jwt.claims;
SET ROLE srights_other;
INSERT INTO srights_task SELECT taskq.task_submit('srights_own') FROM generate_series(1, 7);
RESET ROLE;
SELECT count(*) FROM taskq.task_wait_all((SELECT array_agg(id) FROM srights_task), '50 s') \g /dev/null

CREATE FUNCTION completed(group_by text) RETURNS text LANGUAGE sql AS $$
SELECT coalesce(string_agg(format('%s %s', key, completed), ', ' ORDER BY key), 'nothing') FROM taskq.statistics_by('1 hour', group_by) WHERE key IS NOT NULL
$$;
CREATE FUNCTION counts() RETURNS text LANGUAGE sql AS $$
SELECT coalesce(string_agg(format('%s %s', kind, n), ', ' ORDER BY kind), 'nothing') FROM (SELECT kind, sum(n) AS n FROM taskq.task_counts() WHERE state = 'completed' GROUP BY 1) c
$$;
GRANT EXECUTE ON FUNCTION completed(text), counts() TO PUBLIC;

SET ROLE srights_other;
SELECT is(completed('kind'), 'srights_own 7', 'a role has its own tasks');
SELECT is(completed('tag'), 'nothing', 'not the tags of others');
SELECT is(counts(), 'srights_own 7', 'and counts its own');
SELECT is((taskq.statistics('1 hour')->'summary'->>'completed_tasks'), '7', 'also in all');
SELECT ok(position('srights"' IN taskq.metrics()) = 0, 'and in the metrics');
RESET ROLE;
SET ROLE srights_app;
SELECT is(completed('kind'), 'srights 8', 'who a kind runs as has its tasks');
RESET ROLE;
SET ROLE srights_monitor;
SELECT is(completed('kind'), 'srights 8, srights_own 7', 'monitors have all');
SELECT is(completed('tenant'), 'a 3, b 5', 'by tenant');
SELECT is(completed('submitted_by'), 'srights_other 7, srights_web 8', 'by who submitted');
SELECT is(completed('role'), 'srights_app 8, srights_other 7', 'by whom they ran as');
RESET ROLE;

SET SESSION AUTHORIZATION srights_gate;
SET ROLE srights_web;
SET request.jwt.claims = '{"sub": "a"}';
SELECT is(completed('kind'), 'srights 3', 'a tenant has its own tasks, which its role submitted');
SELECT is(completed('tenant'), 'a 3', 'and no other tenant');
SELECT is(completed('tag'), 'a_tag 3', 'its own tags');
SELECT is(completed('who'), 'ann 3', 'its own members of payloads');
SELECT is(counts(), 'srights 3', 'counts its own, though they run as another role');
SELECT is(completed('worker'), 'nothing', 'no workers, who work for all');
SELECT is((SELECT count(*) FROM taskq.statistics_history('1 hour') WHERE queue_length IS NOT NULL OR worker_utilization IS NOT NULL), 0::int8, 'nor the length of queues');
SET request.jwt.claims = '{"sub": "c"}';
SELECT is(completed('kind'), 'nothing', 'another tenant nothing');
SELECT is((taskq.statistics('1 hour')->'summary'->>'completed_tasks'), '0', 'at all');
SELECT is(counts(), 'nothing', 'counts nothing');
SET request.jwt.claims = '{"sub": "b"}';
SELECT is((SELECT string_agg(line, '; ') FROM string_to_table(taskq.metrics(), E'\n') line WHERE line LIKE '%srights%'),
	'taskq_tasks{state="completed",kind="srights",queue="default"} 5', 'no counters, which know no tenants: how many tasks of its own there are');
RESET SESSION AUTHORIZATION;
SELECT taskq.kind_revoke('srights', 'srights_web') \g /dev/null
SET SESSION AUTHORIZATION srights_gate;
SET ROLE srights_web;
SELECT is(counts(), 'nothing', 'and nothing of a kind that it may not submit to');
RESET SESSION AUTHORIZATION;
SELECT taskq.kind_grant('srights', 'srights_web') \g /dev/null
SET ROLE srights_web;
SELECT is(counts(), 'nothing', 'nor without a gateway, whatever tenant it states');
SET request.jwt.claims = '{}';
SELECT is(counts(), 'nothing', 'or without a tenant');
RESET ROLE;
RESET request.jwt.claims;

-- what one owner calls secret, another one may count by
GRANT taskq_developer TO srights_other;
SET ROLE srights_other;
SELECT taskq.kind_define('srights_blocker', 'srights_work(jsonb)', secret => '{who}') \g /dev/null
RESET ROLE;
SET ROLE srights_monitor;
SELECT is(completed('who'), 'ann 3, bob 5', 'a secret of one owner keeps nobody from counting by a member of another one''s kind');
RESET ROLE;
SELECT taskq.kind_define('srights_secret', 'srights_work(jsonb)', secret => '{who}') \g /dev/null
SELECT is(error_of($$SELECT completed('who')$$), '22023', 'but of the same owner');

-- nobody makes others wait for thousands of years
SET ROLE srights_other;
SELECT taskq.task_submit('srights_own', run_at => '4713-01-01 BC') AS old \gset
SELECT state FROM taskq.task_wait(:'old', '50 s') \g /dev/null
SELECT ok(mean_wait < interval '1 hour', 'a task waits from its submit on, whatever its run_at') FROM taskq.statistics_by('1 hour') WHERE key = 'srights_own';
RESET ROLE;

-- who asks directly
SET ROLE srights_other;
SELECT is(error_of('SELECT * FROM taskq_internal.rollup'), '42501', 'the tables are for nobody');
SELECT is(error_of('SELECT taskq.task_recount()'), '42501', 'only operators count anew');
RESET ROLE;

ALTER SYSTEM RESET taskq.trusted_gateways;
CALL reload();
SELECT * FROM finish();
