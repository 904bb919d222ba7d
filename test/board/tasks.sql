-- Tasks of one round of the browser's; those of a round before are taken away.
SET client_min_messages = warning;
CALL taskq.task_bulk_all('cancel', '{"kind": ["board_quick", "board_many", "board_held", "board_fails", "board_long", "board_hostile", "board_step", "board_tenant", "board_talks", "board_outside"], "state": ["blocked", "scheduled", "pending", "running", "retrying"]}');
DO $$ BEGIN
	WHILE EXISTS (SELECT FROM taskq.task WHERE state = 'running') LOOP
		COMMIT;
		PERFORM pg_sleep(0.01);
	END LOOP;
END $$;
CALL taskq.task_bulk_all('delete', '{"kind": ["board_quick", "board_many", "board_held", "board_fails", "board_long", "board_hostile", "board_step", "board_tenant", "board_talks", "board_outside"]}');
SELECT taskq.queue_drop(name) FROM taskq.queue WHERE name LIKE 'many_%';
SELECT taskq.kind_drop(name) FROM taskq.kind WHERE name LIKE 'many_%';
UPDATE board.model SET there = false;
SELECT taskq.queue_resume('board_q'), taskq.queue_limit('board_q', max_running => -1);

SELECT taskq.task_submit_many('board_quick', array_fill('{}'::jsonb, ARRAY[5]), tags => '{some}');
SELECT taskq.task_submit('board_quick', tags => '{board-tag}'), taskq.task_submit('board_quick', tags => '{board-tag,b}');
SELECT taskq.task_submit_many('board_fails', array_fill('{}'::jsonb, ARRAY[59]));
SELECT taskq.task_submit('board_fails', '{"why": "needle"}');
SELECT taskq.task_submit_many('board_held', array_fill('{}'::jsonb, ARRAY[6]), run_at => 'infinity');
SELECT taskq.task_submit('board_hostile', '{"<script>window.hacked = 1</script>": "\"><img src=x onerror=window.hacked=1>"}', tags => '{"<b>tag</b>"}', metadata => '{"m": "<svg onload=window.hacked=1>"}');
SELECT taskq.task_submit('board_outside', '{"file": "a.mp4"}');
SELECT taskq.template_submit('board_analysis', '{}');
SELECT taskq.task_submit('board_long');
DO $$ BEGIN
	WHILE EXISTS (SELECT FROM taskq.task WHERE kind NOT IN ('board_held', 'board_outside', 'board_tenant', 'board_long') AND NOT ready)
		OR NOT EXISTS (SELECT FROM taskq.task WHERE kind = 'board_long' AND state = 'running') LOOP
		COMMIT;
		PERFORM pg_sleep(0.01);
	END LOOP;
END $$;
