-- Lanes: the number of those that are there already does not make a new one dear,
-- and numbers of those that were rolled back do not run out.
\ir include/prologue.psql
SELECT plan(8);

CREATE FUNCTION lanes_work(p jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$ BEGIN RETURN p; END $$;
SELECT taskq.kind_define('lanes', 'lanes_work(jsonb)') \g /dev/null
SELECT taskq.queue_define('lanes_' || i) FROM generate_series(1, 20) i \g /dev/null
SELECT taskq.task_submit('lanes', queue => 'lanes_' || q, priority => p)
FROM generate_series(1, 20) q, generate_series(1, 20) p \g /dev/null
SELECT is(count(*)::int, 400, 'each queue and priority has a lane') FROM taskq_internal.lane WHERE kind = 'lanes';

CREATE FUNCTION tuples_read() RETURNS bigint LANGUAGE plpgsql AS $$
BEGIN
	PERFORM pg_stat_force_next_flush();
	PERFORM pg_stat_clear_snapshot();
	RETURN (SELECT idx_tup_read FROM pg_stat_all_indexes WHERE indexrelname = 'lane_kind_idx');
END $$;
SELECT tuples_read() \g /dev/null
SELECT tuples_read() AS before \gset
-- a new role makes a session forget them
CREATE ROLE lanes_new LOGIN;
SELECT taskq.task_submit('lanes', queue => 'lanes_20', priority => 20) \g /dev/null
SELECT taskq.task_submit('lanes', queue => 'lanes_20', priority => 21) \g /dev/null
SELECT tuples_read() \g /dev/null
SELECT tuples_read() AS after \gset
SELECT cmp_ok(:after::bigint - :before, '<=', 4::bigint, 'it finds one, or that there is none, without looking at the others');
SELECT is(count(*)::int, 401, '... and makes only what is missing') FROM taskq_internal.lane WHERE kind = 'lanes';

-- numbers that were rolled back
SELECT max(id) AS last FROM taskq_internal.lane \gset
SELECT setval('taskq_internal.lane_id_seq', 2147483647), setval('taskq_internal.role_id_seq', 2147483647) \g /dev/null
SELECT taskq.task_submit('lanes', queue => 'lanes_1', priority => 50) AS wrapped \gset
SELECT cmp_ok(max(id), '<=', :last + 1, 'after the last number come those that nobody has') FROM taskq_internal.lane;
SELECT is(count(*)::int, 402, '... whichever that is') FROM taskq_internal.lane WHERE kind = 'lanes';
SELECT is(state, 'completed', '... and the lane''s tasks run') FROM taskq.task_wait(:'wrapped', '50 s');
GRANT taskq_user TO lanes_new;
SET SESSION AUTHORIZATION lanes_new;
SELECT taskq.task_submit('lanes') AS of_new \gset
SELECT is(state, 'completed', 'so do those of a new role') FROM taskq.task_wait(:'of_new', '50 s');
RESET SESSION AUTHORIZATION;

-- a lane that was noted and rolled back leaves no trace
BEGIN;
SELECT setval('taskq_internal.lane_id_seq', currval('taskq_internal.lane_id_seq')) \g /dev/null
SELECT id FROM taskq.task_submit('lanes', queue => 'lanes_2', priority => 60) AS id \gset gone_
SELECT taskq.task_cancel(:'gone_id') \g /dev/null
SELECT max(id) AS of_gone FROM taskq_internal.lane WHERE priority = 60 \gset
ROLLBACK;
SELECT setval('taskq_internal.lane_id_seq', :of_gone, false) \g /dev/null
SET SESSION AUTHORIZATION lanes_new;
SELECT taskq.task_submit('lanes', queue => 'lanes_2', priority => 61) AS again \gset
SELECT is(state, 'completed', 'a number that was rolled back serves another role''s lane') FROM taskq.task_wait(:'again', '50 s');
RESET SESSION AUTHORIZATION;

SELECT * FROM finish();
