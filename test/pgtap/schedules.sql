-- Schedules by intervals: defined, run, switched off, and whose they are.
\ir include/prologue.psql
SELECT plan(67);

SELECT taskq.kind_define('tick', 'echo(jsonb)') \g /dev/null
-- returns when a schedule has run so often
CREATE PROCEDURE wait_runs(schedule text, n int) LANGUAGE plpgsql AS $$
BEGIN
	WHILE (SELECT s.runs FROM taskq.schedule s WHERE s.name = schedule) < n LOOP
		COMMIT;
		PERFORM pg_sleep(0.01);
	END LOOP;
END $$;
-- ... or cannot
CREATE PROCEDURE wait_error(schedule text) LANGUAGE plpgsql AS $$
BEGIN
	WHILE (SELECT s.error IS NULL FROM taskq.schedule s WHERE s.name = schedule) LOOP
		COMMIT;
		PERFORM pg_sleep(0.01);
	END LOOP;
END $$;
CREATE VIEW due AS SELECT t.id, t.kind, t.options->>'schedule' AS schedule, (t.options->>'due')::timestamptz AS due, t.created_at
FROM taskq.task t WHERE t.options ? 'schedule';

-- arguments
SELECT is(error_of($$SELECT taskq.schedule_define('s', 'tick')$$), '22023', 'neither cron nor every');
SELECT is(error_of($$SELECT taskq.schedule_define('s', 'tick', '* * * * *', '1 s')$$), '22023', 'both of them');
SELECT is(error_of($$SELECT taskq.schedule_define('s', 'nothing', every => '1 s')$$), '22023', 'a kind that is not there');
SELECT is(error_of($$SELECT taskq.schedule_define('s', 'sql', every => '1 s')$$), '22023', 'the kind of SQL commands');
SELECT is(error_of($$SELECT taskq.schedule_define('s', 'tick', every => '-1 s')$$), '22023', 'an interval below nothing');
SELECT is(error_of($$SELECT taskq.schedule_define('s', 'tick', every => '1 month')$$), '22023', 'an interval without a length');
SELECT is(error_of($$SELECT taskq.schedule_define('s', 'tick', every => '1 s', missed => 'some')$$), '22023', 'missed runs that are to be guessed');
SELECT is(error_of($$SELECT taskq.schedule_define('s', 'tick', every => '1 s', counts => 'some')$$), '22023', 'runs that count somehow');
SELECT is(error_of($$SELECT taskq.schedule_define('s', 'tick', every => '1 s', timezone => 'UTC')$$), '22023', 'a time zone of an interval');
SELECT is(error_of($$SELECT taskq.schedule_run('s')$$), 'PT404', 'a schedule that is not there cannot run');
SELECT is(error_of($$SELECT taskq.schedule_drop('s')$$), 'PT404', '... nor be dropped');
SELECT is(error_of($$SELECT taskq.schedule_enable('s')$$), 'PT404', '... nor enabled');
SELECT is(error_of($$DELETE FROM taskq.schedule$$), 'PT405', 'the view is to look at');

-- every 20 ms
SELECT taskq.schedule_define('quick', 'tick', every => '20 ms', payload => '{"a": 1}', overlap => true, missed => 'all') \g /dev/null
CALL wait_runs('quick', 20);
SELECT taskq.schedule_disable('quick') \g /dev/null
SELECT is(s.enabled::text || (s.next_run IS NULL), 'falsetrue', 'a schedule that is disabled has no next run') FROM taskq.schedule s WHERE name = 'quick';
SELECT is((count(*), count(DISTINCT due))::text, (s.runs, s.runs)::text, 'one task for each due time')
FROM due d JOIN taskq.schedule s ON s.name = d.schedule WHERE s.name = 'quick' GROUP BY s.runs;
SELECT is(max(due) - min(due), (count(*) - 1) * interval '20 ms', '... and each is 20 ms after the one before') FROM due WHERE schedule = 'quick';
SELECT is(bool_and(created_at >= due), true, '... and none is early') FROM due WHERE schedule = 'quick';
SELECT is((t.payload, t.kind, t.submitted_by)::text, '("{""a"": 1}",tick,postgres)', 'the tasks are as they shall be')
FROM taskq.schedule s, taskq.task_wait(s.last_task) t WHERE s.name = 'quick';
SELECT taskq.schedule_run('quick') AS id \gset
SELECT is(t.state, 'completed', 'a disabled schedule can be run by hand') FROM taskq.task_wait(:'id') t;
SELECT is(s.last_task, :'id', '... and the view shows the task') FROM taskq.schedule s WHERE name = 'quick';

-- without overlap
SELECT taskq.kind_define('at_gate', 'wait_at_gate(jsonb)') \g /dev/null
SELECT taskq.schedule_define('single', 'at_gate', every => '10 ms', payload => '{"gate": "single"}', missed => 'skip') \g /dev/null
CALL wait_runs('single', 1);
DO $$ BEGIN
	WHILE (SELECT missed_runs = 0 FROM taskq.schedule WHERE name = 'single') LOOP COMMIT; PERFORM pg_sleep(0.01); END LOOP;
END $$;
SELECT is(s.runs, 1::int8, 'no second task while the first runs') FROM taskq.schedule s WHERE name = 'single';
INSERT INTO gate VALUES ('single');
CALL wait_runs('single', 2);
SELECT pass('... but when it is finished');
SELECT taskq.schedule_drop('single') \g /dev/null
SELECT is_empty($$SELECT FROM taskq.schedule WHERE name = 'single'$$, 'dropped');

-- options of its submits
SELECT is(error_of($$SELECT taskq.schedule_define('s', 'tick', every => '1 s', options => '{"colour": 1}')$$), '22023', 'an option that nobody knows');
SELECT is(error_of($$SELECT taskq.schedule_define('s', 'tick', every => '1 s', options => '[]')$$), '22023', 'options that are no object');
SELECT is(error_of(format($$SELECT taskq.schedule_define('s', 'tick', every => '1 s', options => %L)$$, o)), '22023', 'a bad option: ' || o)
FROM unnest(ARRAY['{"queue": "nowhere"}', '{"priority": "high"}', '{"priority": 1000}', '{"timeout": 5}', '{"timeout": "-1 s"}', '{"max_attempts": 0}', '{"tags": "a"}', '{"tags": [1]}']) o;
SELECT taskq.queue_define('sch_queue') \g /dev/null
SELECT taskq.schedule_define('options', 'tick', every => '1 day',
	options => '{"queue": "sch_queue", "priority": 5, "timeout": "1 min", "max_attempts": 7, "tags": ["a", "b"], "metadata": {"m": [1]}, "concurrency_key": "k", "tenant": "acme"}') \g /dev/null
SELECT is((t.queue, t.priority, t.timeout, t.max_attempts, t.tags, t.metadata, t.concurrency_key, t.tenant)::text, '(sch_queue,5,00:01:00,7,"{a,b}","{""m"": [1]}",k,acme)', 'options are those of a submit')
FROM taskq.task_status(taskq.schedule_run('options')) t;

SELECT is(s.tenant, 'acme', '... and the schedule is the tenant''s') FROM taskq.schedule s WHERE name = 'options';
CREATE ROLE sch_tenants LOGIN IN ROLE taskq_developer, taskq_user;
SET ROLE sch_tenants;
SELECT taskq.schedule_define('acme', 'tick', every => '1 day', options => '{"tenant": "acme"}') \g /dev/null
SET request.jwt.claims = '{"sub": "other"}';
SELECT is_empty($$SELECT FROM taskq.schedule WHERE name = 'acme'$$, '... which another one''s user does not see');
SELECT is(error_of($$SELECT taskq.schedule_run('acme')$$), 'PT404', '... nor runs');
SELECT is(error_of($$SELECT taskq.schedule_define('s', 'tick', every => '1 s', options => '{"tenant": "acme"}')$$), '42501', '... nor names for its own');
RESET request.jwt.claims;
RESET ROLE;

-- a task for each object
CREATE TABLE object (pk int, wanted bool DEFAULT true);
INSERT INTO object SELECT generate_series(1, 3);
SELECT is(error_of($$SELECT taskq.schedule_define('s', 'tick', every => '1 s', foreach => 'SELECT pk FROM object')$$), '22023', 'a query without payload');
SELECT is(error_of($$SELECT taskq.schedule_define('s', 'tick', every => '1 s', foreach => 'SELECT FROM nowhere')$$), '42P01', 'a query of nothing');
SELECT is(error_of($$SELECT taskq.schedule_define('s', 'tick', every => '1 s', foreach => 'SELECT ''1''::jsonb; SELECT ''1''::jsonb')$$), '22023', 'two queries');
SELECT is(error_of($$SELECT taskq.schedule_define('s', 'tick', every => '1 s', skip_within => '1 h')$$), '22023', 'objects to be passed over without objects');
SELECT taskq.schedule_define('objects', 'tick', every => '1 day', payload => '{"plugin": "dns"}', skip_within => '1 day',
	foreach => 'SELECT jsonb_build_object(''pk'', pk) FROM object WHERE wanted') \g /dev/null
SELECT taskq.schedule_run('objects') AS id \gset
SELECT is((t.state, t.kind, t.run_as)::text, '(completed,sql,postgres)', 'the query runs in a task of the owner') FROM taskq.task_wait(:'id') t;
SELECT is(array_agg(t.payload ORDER BY t.payload), ARRAY['{"pk": 1, "plugin": "dns"}', '{"pk": 2, "plugin": "dns"}', '{"pk": 3, "plugin": "dns"}']::jsonb[], 'a task for each object')
FROM taskq.task t WHERE t.parent = :'id';
INSERT INTO object VALUES (4), (4);
SELECT taskq.schedule_run('objects') AS again \gset
SELECT is(t.state, 'completed', 'once more') FROM taskq.task_wait(:'again') t;
SELECT is(array_agg(t.payload->'pk'), ARRAY['4']::jsonb[], '... only an object without a run within the interval, and once') FROM taskq.task t WHERE t.parent = :'again';
SELECT is(error_of($$SELECT taskq.schedule_foreach('options', now())$$), '22023', 'a schedule without objects has none to submit');
ALTER TABLE object RENAME pk TO key;
SELECT taskq.schedule_run('objects') AS fails \gset
SELECT is(t.state, 'failed', 'a query that fails') FROM taskq.task_wait(:'fails') t;
SELECT is(s.error->>'sqlstate', '42703', '... is an error of the schedule') FROM taskq.schedule s WHERE s.name = 'objects';

-- only those that completed count
CREATE FUNCTION sch_work(p jsonb) RETURNS text LANGUAGE plpgsql AS $$ BEGIN IF (p->>'pk')::int = 1 THEN RAISE 'no'; END IF; RETURN 'yes'; END $$;
SELECT taskq.kind_define('sch_work', 'sch_work(jsonb)', max_attempts => 1) \g /dev/null
SELECT taskq.schedule_define('count', 'sch_work', every => '1 day', skip_within => '1 day', counts => 'completed',
	foreach => 'SELECT jsonb_build_object(''pk'', k), k::text FROM generate_series(1, 3) k') \g /dev/null
SELECT taskq.schedule_run('count') AS id \gset
SELECT is(t.state, 'completed', 'three objects') FROM taskq.task_wait(:'id') t;
SELECT is(array_agg(w.state ORDER BY w.payload), ARRAY['failed', 'completed', 'completed'], 'one fails')
FROM taskq.task t, taskq.task_wait(t.id) w WHERE t.parent = :'id';
DELETE FROM taskq_internal.task WHERE parent = :'id' AND state = 'c';
SELECT taskq.schedule_run('count') AS again \gset
CALL wait_state(:'again', 'completed');
SELECT is(array_agg(t.payload->'pk'), ARRAY['1']::jsonb[], '... and has another run, though those of the others are forgotten')
FROM taskq.task t WHERE t.parent = :'again';
SELECT taskq.schedule_drop('count') \g /dev/null
SELECT is_empty($$SELECT FROM taskq_internal.schedule_object WHERE schedule = 'count'$$, 'dropped with what is known of its objects');

-- a kind that goes
SELECT taskq.kind_define('goes', 'echo(jsonb)') \g /dev/null
SELECT taskq.schedule_define('lost', 'goes', every => '10 ms') \g /dev/null
SELECT taskq.schedule_define('other', 'tick', every => '10 ms') \g /dev/null
CALL wait_runs('lost', 1);
SELECT taskq.kind_drop('goes') \g /dev/null
CALL wait_error('lost');
SELECT is(s.error->>'sqlstate', '22023', 'without its kind the view shows the error') FROM taskq.schedule s WHERE name = 'lost';
SELECT runs AS before FROM taskq.schedule WHERE name = 'other' \gset
CALL wait_runs('other', :before + 2);
SELECT pass('... and others go on');
SELECT taskq.kind_define('goes', 'echo(jsonb)') \g /dev/null
SELECT runs AS before FROM taskq.schedule WHERE name = 'lost' \gset
CALL wait_runs('lost', :before + 1);
SELECT is(s.error, NULL, 'when it is back, so is the schedule') FROM taskq.schedule s WHERE name = 'lost';
SELECT taskq.schedule_drop('lost'), taskq.schedule_drop('other') \g /dev/null

-- whose it is
CREATE ROLE sch_dev LOGIN IN ROLE taskq_developer, taskq_user;
CREATE ROLE sch_other LOGIN IN ROLE taskq_developer, taskq_user;
SET ROLE sch_dev;
SELECT taskq.schedule_define('mine', 'tick', every => '10 ms', overlap => true) \g /dev/null
CALL wait_runs('mine', 1);
SELECT is((t.submitted_by, t.run_as)::text, '(sch_dev,sch_dev)', 'its tasks are its owner''s')
FROM taskq.schedule s, taskq.task_status(s.last_task) t WHERE s.name = 'mine';
SET ROLE sch_other;
SELECT is_empty($$SELECT FROM taskq.schedule WHERE name = 'mine'$$, 'another role does not see it');
SELECT is(error_of($$SELECT taskq.schedule_run('mine')$$), 'PT404', '... nor runs it');
SELECT is(error_of($$SELECT taskq.schedule_define('mine', 'tick', every => '1 h')$$), '42501', '... nor replaces it');
RESET ROLE;
REVOKE taskq_developer FROM sch_dev;
CALL wait_error('mine');
SELECT is(s.error->>'sqlstate', '42501', 'an owner who may not have schedules any more') FROM taskq.schedule s WHERE name = 'mine';
DROP OWNED BY sch_dev;
DROP ROLE sch_dev;
SELECT taskq.schedule_drop('mine') \g /dev/null

-- a kind of another role's
CREATE SCHEMA sch_theirs AUTHORIZATION sch_other;
SET ROLE sch_other;
CREATE FUNCTION sch_theirs.one(p jsonb) RETURNS text LANGUAGE sql AS $$ SELECT 'one' $$;
CREATE FUNCTION sch_theirs.two(p jsonb) RETURNS text LANGUAGE sql AS $$ SELECT 'two' $$;
SELECT taskq.kind_define('theirs', 'sch_theirs.one(jsonb)') \g /dev/null
GRANT USAGE ON SCHEMA sch_theirs TO sch_tenants;
SET ROLE sch_tenants;
SELECT taskq.schedule_define('trusts', 'theirs', every => '1 day') \g /dev/null
SELECT taskq.schedule_run('trusts') AS id \gset
SELECT is(t.result, '"one"', 'a schedule runs the handler that its owner chose') FROM taskq.task_wait(:'id') t;
SET ROLE sch_other;
SELECT taskq.kind_define('theirs', 'sch_theirs.two(jsonb)') \g /dev/null
SET ROLE sch_tenants;
SELECT is(error_of($$SELECT taskq.schedule_run('trusts')$$), '42501', '... and not one that somebody else has chosen since');
SELECT taskq.schedule_define('trusts', 'theirs', every => '1 day') \g /dev/null
SELECT taskq.schedule_run('trusts') AS id \gset
SELECT is(t.result, '"two"', '... until it is defined again') FROM taskq.task_wait(:'id') t;
SET ROLE sch_other;
SELECT taskq.kind_drop('theirs') \g /dev/null
RESET ROLE;
SELECT taskq.kind_define('theirs', 'sch_theirs.two(jsonb)') \g /dev/null
SET ROLE sch_tenants;
SELECT is(error_of($$SELECT taskq.schedule_run('trusts')$$), '42501', '... also of a kind of the same name');
RESET ROLE;

-- what it was
SELECT taskq.schedule_define('kept', 'tick', every => '1 h', starts_at => '2030-01-01 00:00+00') \g /dev/null
SELECT taskq.schedule_define('kept', 'tick', every => '1 h', description => 'again') \g /dev/null
SELECT is(s.next_run, '2030-01-01 00:00+00', 'defined again, it goes on as it was') FROM taskq.schedule s WHERE name = 'kept';
SELECT taskq.schedule_define('kept', 'tick', every => '2 h') \g /dev/null
SELECT cmp_ok(s.next_run, '<', now() + interval '2 h', '... unless its interval is another one') FROM taskq.schedule s WHERE name = 'kept';

SELECT * FROM finish();
