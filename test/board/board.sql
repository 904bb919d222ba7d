-- What the browser finds: kinds, a template, a schedule, an alert.
CREATE SCHEMA board;
GRANT USAGE ON SCHEMA board TO app_runner;
CREATE TABLE board.model (there bool);
INSERT INTO board.model VALUES (false);
GRANT SELECT ON board.model TO app_runner;

CREATE FUNCTION board.quick(p jsonb) RETURNS jsonb LANGUAGE sql AS 'SELECT p';
CREATE FUNCTION board.fails(p jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	RAISE EXCEPTION 'cannot do that: %', coalesce(p->>'why', 'hay') USING DETAIL = 'the detail of it';
END $$;
CREATE FUNCTION board.long(p jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	FOR i IN 1 .. 20000 LOOP
		PERFORM pg_sleep(0.03), taskq.progress(i, 20000, format('step %s', i), phase => 'the long one');
		IF i % 10 = 0 THEN
			PERFORM taskq.log(format('did step %s', i), CASE WHEN i % 100 = 0 THEN 'warning' ELSE 'info' END, jsonb_build_object('i', i));
		END IF;
	END LOOP;
	RETURN '1';
END $$;
-- texts that would be markup, were they not texts
CREATE FUNCTION board.hostile(p jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	PERFORM taskq.progress(1, 3, '<script>window.hacked = 1</script>', info => '{"<b>": "</pre><img src=x onerror=window.hacked=1>"}');
	PERFORM taskq.log('<img src=x onerror="window.hacked = 1">', details => '{"a": "</li><script>window.hacked = 1</script>"}');
	IF p ? 'well' THEN
		RETURN '{"result": "<iframe srcdoc=x>"}';
	END IF;
	RAISE EXCEPTION '<img src=x onerror="window.hacked = 1">' USING DETAIL = 'the detail of it <script>window.hacked = 1</script>', HINT = 'javascript:window.hacked=1';
END $$;
CREATE FUNCTION board.talks(p jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	PERFORM taskq.log('line ' || i || CASE WHEN i = 5999 THEN repeat(' long', 20000) ELSE '' END) FROM generate_series(1, 6000) i;
	RETURN '1';
END $$;
CREATE FUNCTION board.step(p jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	PERFORM taskq.progress(1, 2, 'half of ' || (p->>'do'));
	IF p->>'do' = 'scan' AND NOT (SELECT there FROM board.model) THEN
		PERFORM taskq.fail('there is no model');
	END IF;
	RETURN p;
END $$;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA board TO app_runner;

SELECT taskq.kind_define(name, ('board.' || f || '(jsonb)')::regprocedure, run_as => 'app_runner', max_attempts => attempts, backoff => '10 ms', batch => batch, queue => queue, description => description)
FROM (VALUES ('board_quick', 'quick', 1, true, 'default', 'Something quick'), ('board_many', 'quick', 1, false, 'board_many', NULL), ('board_held', 'quick', 1, false, 'default', NULL),
	('board_fails', 'fails', 1, false, 'default', NULL), ('board_long', 'long', 1, false, 'default', 'The long one'), ('board_hostile', 'hostile', 2, false, 'default', '<script>window.hacked = 1</script>'),
	('board_step', 'step', 1, false, 'default', NULL), ('board_talks', 'talks', 1, false, 'default', NULL), ('board_tenant', 'quick', 1, false, 'default', NULL)) k (name, f, attempts, batch, queue, description);
SELECT taskq.kind_define('board_outside', queue => 'board_outside');
SELECT taskq.kind_grant(name, role) FROM taskq.kind, unnest('{web_user,web_operator,web_tenant_operator}'::regrole[]) role WHERE name LIKE 'board%';
SELECT taskq.queue_define('board_q'), taskq.queue_pause('board_many');
SELECT taskq.schedule_define('board_nightly', kind => 'board_quick', every => '1 day', payload => '{"night": true}');
SELECT taskq.alert_define('board_alert', 'queue_length', 1000000000);
SELECT taskq.template_define('board_analysis', '[{"name": "analyse", "kind": "board_step", "payload": {"do": "analyse"}},
	{"name": "decompile", "kind": "board_step", "payload": {"do": "decompile"}, "depends_on": "analyse"},
	{"name": "scan", "kind": "board_step", "payload": {"do": "scan"}, "depends_on": "analyse"},
	{"name": "report", "kind": "board_step", "payload": {"do": "report"}, "depends_on": ["decompile", "scan"]}]');
