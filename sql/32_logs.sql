/* ---------------------------------------------------------------- logs */

-- What tasks have logged: one table for each leaf of the tasks, emptied with it.  seq
-- rises with time; line counts an attempt's.  Lines that the dispatcher has not written
-- yet are in shared memory.
DO $$
DECLARE
	name text;
BEGIN
	FOR i IN 0..16 LOOP
		name := CASE WHEN i = 16 THEN 'log_keep' ELSE 'log_' || pg_catalog.lpad(i::text, 2, '0') END;
		EXECUTE pg_catalog.format('CREATE TABLE taskq_internal.%I (id uuid NOT NULL, seq int8 NOT NULL, at timestamptz NOT NULL,
			line int4 NOT NULL, attempt int2 NOT NULL, level int2 NOT NULL, message text NOT NULL, details jsonb)
			USING heap WITH (autovacuum_freeze_min_age = 0)', name);
		EXECUTE pg_catalog.format('CREATE INDEX %I ON taskq_internal.%I (id, seq)', name || '_idx', name);
		EXECUTE pg_catalog.format('COMMENT ON TABLE taskq_internal.%I IS %L', name, 'log lines of the tasks in a leaf; look at them in view taskq.task_log');
		PERFORM pg_catalog.pg_extension_config_dump(('taskq_internal.' || name)::regclass, '');
	END LOOP;
END
$$;

CREATE FUNCTION taskq_internal.ring_lines(OUT slot int2, OUT id uuid, OUT seq int8, OUT at timestamptz, OUT line int4, OUT attempt int2,
	OUT level int2, OUT message text, OUT details jsonb)
RETURNS SETOF record LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'taskq_ring_lines';
COMMENT ON FUNCTION taskq_internal.ring_lines() IS 'log lines that the query that calls it finds in no table, because they are in shared memory';

CREATE VIEW taskq_internal.log_all AS
SELECT 0::int2 AS slot, id, seq, at, line, attempt, level, message, details FROM taskq_internal.log_00
UNION ALL
SELECT 1::int2 AS slot, id, seq, at, line, attempt, level, message, details FROM taskq_internal.log_01
UNION ALL
SELECT 2::int2 AS slot, id, seq, at, line, attempt, level, message, details FROM taskq_internal.log_02
UNION ALL
SELECT 3::int2 AS slot, id, seq, at, line, attempt, level, message, details FROM taskq_internal.log_03
UNION ALL
SELECT 4::int2 AS slot, id, seq, at, line, attempt, level, message, details FROM taskq_internal.log_04
UNION ALL
SELECT 5::int2 AS slot, id, seq, at, line, attempt, level, message, details FROM taskq_internal.log_05
UNION ALL
SELECT 6::int2 AS slot, id, seq, at, line, attempt, level, message, details FROM taskq_internal.log_06
UNION ALL
SELECT 7::int2 AS slot, id, seq, at, line, attempt, level, message, details FROM taskq_internal.log_07
UNION ALL
SELECT 8::int2 AS slot, id, seq, at, line, attempt, level, message, details FROM taskq_internal.log_08
UNION ALL
SELECT 9::int2 AS slot, id, seq, at, line, attempt, level, message, details FROM taskq_internal.log_09
UNION ALL
SELECT 10::int2 AS slot, id, seq, at, line, attempt, level, message, details FROM taskq_internal.log_10
UNION ALL
SELECT 11::int2 AS slot, id, seq, at, line, attempt, level, message, details FROM taskq_internal.log_11
UNION ALL
SELECT 12::int2 AS slot, id, seq, at, line, attempt, level, message, details FROM taskq_internal.log_12
UNION ALL
SELECT 13::int2 AS slot, id, seq, at, line, attempt, level, message, details FROM taskq_internal.log_13
UNION ALL
SELECT 14::int2 AS slot, id, seq, at, line, attempt, level, message, details FROM taskq_internal.log_14
UNION ALL
SELECT 15::int2 AS slot, id, seq, at, line, attempt, level, message, details FROM taskq_internal.log_15
UNION ALL
SELECT 16::int2 AS slot, id, seq, at, line, attempt, level, message, details FROM taskq_internal.log_keep
UNION ALL
SELECT slot, id, seq, at, line, attempt, level, message, details FROM taskq_internal.ring_lines();

CREATE VIEW taskq.task_log WITH (security_barrier) AS
SELECT l.id AS task_id, l.seq, l.at AS logged_at,
	CASE l.level WHEN 10 THEN 'debug' WHEN 20 THEN 'info' WHEN 30 THEN 'notice' WHEN 40 THEN 'warning' ELSE 'error' END AS level,
	l.message, l.details, l.attempt, l.line
FROM taskq_internal.log_all l
JOIN taskq_internal.task t ON t.id = l.id AND t.slot = l.slot
JOIN taskq_internal.lane n ON n.id = t.lane
JOIN taskq_internal.role r ON r.id = n.role
JOIN taskq_internal.role s ON s.id = coalesce(t.submitted_by, n.role)
WHERE (taskq_internal.role_visible(s.name, s.oid, s.system) OR taskq_internal.role_visible(r.name, r.oid, r.system))
	AND taskq_internal.tenant_visible(t.tenant);
COMMENT ON VIEW taskq.task_log IS
'Logs: what tasks have said

Lines of log() and task_log(), and of the messages that handlers raise (taskq.capture_notices), of the tasks that the caller may see; at once, also of a task that runs, and of attempts that were undone. In no order; task_logs() reads the log of one task in order.';
COMMENT ON COLUMN taskq.task_log.task_id IS 'the task';
COMMENT ON COLUMN taskq.task_log.seq IS 'number of the line: rises, with gaps; argument after of task_logs()';
COMMENT ON COLUMN taskq.task_log.logged_at IS 'when it was said';
COMMENT ON COLUMN taskq.task_log.level IS 'debug, info, notice, warning or error';
COMMENT ON COLUMN taskq.task_log.message IS 'the message';
COMMENT ON COLUMN taskq.task_log.details IS 'argument details; of a message that was raised detail, hint and sqlstate';
COMMENT ON COLUMN taskq.task_log.attempt IS 'number of the attempt that said it';
COMMENT ON COLUMN taskq.task_log.line IS 'which line of the attempt, from 1; it counts anew when an attempt is made again';
CREATE TRIGGER readonly BEFORE INSERT OR UPDATE OR DELETE ON taskq.task_log
	FOR EACH STATEMENT EXECUTE FUNCTION taskq_internal.view_readonly('taskq.log() or task_log()');
CREATE TRIGGER readonly_row INSTEAD OF INSERT OR UPDATE OR DELETE ON taskq.task_log
	FOR EACH ROW EXECUTE FUNCTION taskq_internal.view_readonly('taskq.log() or task_log()');

CREATE FUNCTION taskq.log(message text, level text DEFAULT 'info', details jsonb DEFAULT NULL)
RETURNS void LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'taskq_log';
COMMENT ON FUNCTION taskq.log IS
'Add a line to the log of the running task

Everybody who may see the task sees it at once, and it stays when the task is rolled back. level is debug, info, notice, warning or error. A message beyond 8 kB is cut, and details beyond it are replaced by the beginning of their text. Waits while there is no room for lines that are not written yet. Outside a task it says so in a notice, to PostgREST as PT409.';

CREATE FUNCTION taskq.task_log(id uuid, token uuid, message text DEFAULT NULL, level text DEFAULT 'info', details jsonb DEFAULT NULL,
	lines jsonb DEFAULT NULL)
RETURNS int LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'taskq_task_log';
COMMENT ON FUNCTION taskq.task_log IS
'Add lines to the log of a claimed task

One with message, level and details; or many with lines, an array of objects with message, level, details and at, or of texts. Part of the calling transaction. Returns how many lines were kept: of an attempt, taskq.max_log_lines. Raises PT409 when the claim is lost.';

CREATE FUNCTION taskq.task_logs(id uuid, level text DEFAULT NULL, after int8 DEFAULT NULL, n int DEFAULT 1000)
RETURNS SETOF taskq.task_log LANGUAGE c STABLE AS 'MODULE_PATHNAME', 'taskq_task_logs';
COMMENT ON FUNCTION taskq.task_logs IS
'The log of a task, in order

At most n lines of level or above after number after (column seq of the last one seen); n => -20 returns the last 20. Lines are there at once, also while the task runs.';
