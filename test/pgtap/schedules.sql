-- Schedules by intervals: defined, run, switched off, and whose they are.
\ir include/prologue.psql
SELECT plan(33);

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

-- what it was
SELECT taskq.schedule_define('kept', 'tick', every => '1 h', starts_at => '2030-01-01 00:00+00') \g /dev/null
SELECT taskq.schedule_define('kept', 'tick', every => '1 h', description => 'again') \g /dev/null
SELECT is(s.next_run, '2030-01-01 00:00+00', 'defined again, it goes on as it was') FROM taskq.schedule s WHERE name = 'kept';
SELECT taskq.schedule_define('kept', 'tick', every => '2 h') \g /dev/null
SELECT cmp_ok(s.next_run, '<', now() + interval '2 h', '... unless its interval is another one') FROM taskq.schedule s WHERE name = 'kept';

SELECT * FROM finish();
