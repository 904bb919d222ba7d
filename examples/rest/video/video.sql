-- The task API of a service that makes videos and pictures: submit, poll, cancel, list.
--
--     psql -d app -f examples/rest/video/video.sql
--
-- As superuser, after examples/roles.sql; it can be run again.  Schema video is what
-- PostgREST shows, for nginx.conf beside this file; schema video_app is the application:
-- its kinds and their handlers.  What a client sees is in docs/from/video.md.

\set ON_ERROR_STOP 1
\ir ../common.sql
SET client_min_messages = warning;
BEGIN;

/* ------------------------------------------------------------ the application */

CREATE SCHEMA IF NOT EXISTS video_app AUTHORIZATION app_owner;
CREATE SCHEMA IF NOT EXISTS video;
REVOKE ALL ON SCHEMA video, video_app FROM PUBLIC;
GRANT USAGE ON SCHEMA video, video_app TO web_user;
GRANT USAGE ON SCHEMA video_app TO app_runner;
COMMENT ON SCHEMA video IS 'Video tasks

Submit a task, poll its status, retrieve its result; cancel it, or list all.';

SET LOCAL ROLE app_owner;

-- Stands for whoever makes videos: takes "duration" seconds (2), in twenty steps, and
-- refuses prompts with "forbidden" in them when it is at 35 per cent.
CREATE OR REPLACE FUNCTION video_app.generate(job jsonb) RETURNS jsonb
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	began timestamptz := clock_timestamp();
	seconds float8 := coalesce((job->>'duration')::float8, 2);
BEGIN
	FOR percent IN 5 .. 100 BY 5 LOOP
		PERFORM pg_sleep(seconds / 20);
		PERFORM taskq.progress(percent, 100, CASE WHEN percent < 20 THEN 'Preparing' WHEN percent < 80 THEN 'Rendering' ELSE 'Encoding' END);
		IF percent = 35 AND job->>'prompt' ~* 'forbidden' THEN
			PERFORM taskq.fail('Content policy violation', type => 'VideoGenerationError');
		END IF;
	END LOOP;
	RETURN jsonb_build_object(
		'service', coalesce(job->>'service', 'veo3'),
		'result', jsonb_build_object(
			CASE (taskq.current_task()).kind WHEN 'video.image' THEN 'image_url' ELSE 'video_url' END,
			format('https://cdn.example.com/%s', (taskq.current_task()).id)),
		'duration', round(extract(epoch FROM clock_timestamp() - began), 1));
END
$$;
REVOKE ALL ON FUNCTION video_app.generate FROM PUBLIC;
GRANT EXECUTE ON FUNCTION video_app.generate TO app_runner;

-- VIDEO_MAX_CONCURRENT, IMAGE_MAX_CONCURRENT, TASK_RETENTION_HOURS
SELECT taskq.kind_define('video.video', 'video_app.generate(jsonb)', queue => 'video', max_running => 2, max_attempts => 1,
	timeout => '10 min', run_as => 'app_runner', retention => '24 hours', category => 'video', indexed => '{user}', description => 'Video generation') \g /dev/null
SELECT taskq.kind_define('video.image', 'video_app.generate(jsonb)', queue => 'video', max_running => 3, max_attempts => 1,
	timeout => '10 min', run_as => 'app_runner', retention => '24 hours', category => 'video', indexed => '{user}', description => 'Image generation') \g /dev/null
SELECT taskq.kind_grant('video.video', 'web_user'), taskq.kind_grant('video.image', 'web_user') \g /dev/null
RESET ROLE;

-- MAX_CONCURRENT_TASKS
SELECT taskq.queue_define('video', max_running => 10) \g /dev/null

/* ------------------------------------------------------------ tasks in the contract's words */

CREATE OR REPLACE FUNCTION video_app.word(state text) RETURNS text LANGUAGE sql IMMUTABLE AS $$
	SELECT CASE WHEN state IN ('completed', 'failed', 'cancelled') THEN state WHEN state = 'running' THEN 'processing' ELSE 'pending' END
$$;

-- completed_at is of completed tasks only.
CREATE OR REPLACE FUNCTION video_app.status(task taskq.task) RETURNS json LANGUAGE sql STABLE AS $$
	SELECT json_build_object(
		'task_id', task.id,
		'status', video_app.word(task.state),
		'progress', round(task.progress)::int,
		'created_at', rest.utc(task.created_at),
		'updated_at', rest.utc(task.updated_at),
		'completed_at', CASE WHEN task.state = 'completed' THEN rest.utc(task.finished_at) END,
		'result', CASE WHEN task.state = 'completed' THEN task.result END,
		'error', CASE WHEN task.state = 'failed' THEN json_build_object(
			'type', task.error->>'type', 'message', task.error->>'message', 'retryable', (task.error->>'retryable')::bool) END)
$$;

CREATE OR REPLACE FUNCTION video_app.line(task taskq.task) RETURNS json LANGUAGE sql STABLE AS $$
	SELECT json_build_object(
		'task_id', task.id,
		'status', video_app.word(task.state),
		'progress', round(task.progress)::int,
		'created_at', rest.utc(task.created_at),
		'updated_at', rest.utc(task.updated_at),
		'message', CASE video_app.word(task.state)
			WHEN 'completed' THEN 'Task completed successfully'
			WHEN 'processing' THEN coalesce(task.message, 'Task processing started')
			WHEN 'failed' THEN coalesce(task.error->>'message', 'Task failed')
			WHEN 'cancelled' THEN 'Task was cancelled'
			ELSE 'Task queued' END)
$$;

-- What is no id, of nobody's or of another's task, or a task of something else, is not found.
CREATE OR REPLACE FUNCTION video_app.find(id text) RETURNS SETOF taskq.task LANGUAGE sql STABLE ROWS 1 AS $$
	SELECT * FROM taskq.task t WHERE t.id = rest.uuid($1) AND t.category = 'video'
$$;

CREATE OR REPLACE FUNCTION video_app.say(status int, detail text) RETURNS json LANGUAGE plpgsql AS $$
BEGIN
	PERFORM rest.respond(status);
	RETURN json_build_object('detail', detail);
END
$$;

CREATE OR REPLACE FUNCTION video_app.submit(kind text, body jsonb) RETURNS json LANGUAGE plpgsql AS $$
DECLARE
	task taskq.task;
	why text;
BEGIN
	IF jsonb_typeof(body) IS DISTINCT FROM 'object' OR coalesce(body->>'prompt', '') = '' OR jsonb_typeof(body->'prompt') <> 'string' THEN
		RETURN video_app.say(422, 'prompt must be a text that is not empty');
	ELSIF jsonb_typeof(body->'duration') NOT IN ('number', 'null') OR (body->>'duration')::numeric NOT BETWEEN 0 AND 300 THEN
		RETURN video_app.say(422, 'duration must be a number from 0 to 300');
	END IF;
	SELECT * INTO task FROM taskq.task_status(taskq.task_submit(kind, body, metadata => jsonb_build_object('user', rest.claim('sub'))));
	PERFORM rest.respond(202, jsonb_build_object('Location', '/api/v1/tasks/' || task.id));
	RETURN video_app.line(task);
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS why = PG_EXCEPTION_DETAIL;
	RETURN json_build_object('detail', rest.refused(SQLSTATE, SQLERRM, why));
END
$$;

/* ------------------------------------------------------------ what HTTP sees */

CREATE OR REPLACE FUNCTION video.videos(jsonb) RETURNS json LANGUAGE sql AS $$ SELECT video_app.submit('video.video', $1) $$;
COMMENT ON FUNCTION video.videos IS
'Make a video

POST /api/v1/videos {"prompt", "service", "duration"}. 202 with the task; the same Idempotency-Key again answers with the same task.';

CREATE OR REPLACE FUNCTION video.images(jsonb) RETURNS json LANGUAGE sql AS $$ SELECT video_app.submit('video.image', $1) $$;
COMMENT ON FUNCTION video.images IS
'Make a picture

POST /api/v1/images {"prompt", "service", "duration"}, as for videos.';

CREATE OR REPLACE FUNCTION video.task(id text, wait text DEFAULT NULL) RETURNS json LANGUAGE plpgsql AS $$
DECLARE
	task taskq.task;
	seconds float8 := CASE WHEN wait ~ '^\d{1,6}$' THEN wait END;
BEGIN
	SELECT * INTO task FROM video_app.find(id);
	IF task.id IS NULL THEN
		RETURN video_app.say(404, format('Task %s not found', id));
	ELSIF seconds > 0 AND NOT task.ready THEN
		SELECT * INTO task FROM taskq.task_wait(task.id, make_interval(secs => seconds));
	END IF;
	RETURN video_app.status(task);
END
$$;
COMMENT ON FUNCTION video.task IS
'Status, progress, result and error of a task

GET /api/v1/tasks/{id}. With ?wait=30 it answers as soon as the task has ended, after so many seconds at the latest.';

CREATE OR REPLACE FUNCTION video.tasks(status text DEFAULT NULL, n text DEFAULT NULL, skip text DEFAULT NULL, whose text DEFAULT NULL)
RETURNS json LANGUAGE plpgsql STABLE AS $$
DECLARE
	filter jsonb := '{"category": "video"}';
	lines int := 100;
	behind int := 0;
BEGIN
	IF nullif(n, '') IS NOT NULL THEN
		IF n !~ '^\d{1,4}$' OR n::int NOT BETWEEN 1 AND 1000 THEN
			RETURN video_app.say(422, 'limit must be a number from 1 to 1000');
		END IF;
		lines := n;
	END IF;
	IF nullif(skip, '') IS NOT NULL THEN
		IF skip !~ '^\d{1,4}$' THEN
			RETURN video_app.say(422, 'offset must be a number from 0 to 9000');
		END IF;
		behind := least(skip::int, 9000);
	END IF;
	IF nullif(status, '') IS NOT NULL THEN
		IF status NOT IN ('pending', 'processing', 'completed', 'failed', 'cancelled') THEN
			RETURN video_app.say(422, 'status must be pending, processing, completed, failed or cancelled');
		END IF;
		filter := filter || jsonb_build_object('state', CASE status WHEN 'pending' THEN 'waiting' WHEN 'processing' THEN 'running' ELSE status END);
	END IF;
	IF length(whose) > 1 THEN	-- a colon, and who
		-- found by what the kinds have indexed
		filter := filter || jsonb_build_object('kind', '["video.video", "video.image"]'::jsonb,
			'metadata', jsonb_build_object('user', CASE whose WHEN ':me' THEN rest.claim('sub') ELSE substr(whose, 2) END));
	END IF;
	RETURN (SELECT coalesce(json_agg(video_app.line(l.t) ORDER BY (l.t).id DESC), '[]')
		FROM (SELECT t FROM taskq.task_list(filter, n => behind + lines) t OFFSET behind) l);
END
$$;
COMMENT ON FUNCTION video.tasks IS
'List tasks, the newest first

GET /api/v1/tasks?status=&limit=&offset=&user=; user=me for those of the token''s sub.';

CREATE OR REPLACE FUNCTION video.cancel(id text) RETURNS json LANGUAGE plpgsql AS $$
DECLARE
	task taskq.task;
	cancelled bool;
BEGIN
	SELECT * INTO task FROM video_app.find(id);
	IF task.id IS NULL THEN
		RETURN video_app.say(404, format('Task %s not found', id));
	END IF;
	-- cancelled already: the answer was lost
	cancelled := task.state = 'cancelled';
	IF NOT task.ready THEN
		BEGIN
			SELECT c.cancelled INTO cancelled FROM taskq.task_cancel(task.id, 'cancelled by user') c;
		EXCEPTION WHEN SQLSTATE 'PT409' THEN
			cancelled := false;
		END;
	END IF;
	IF NOT cancelled THEN
		PERFORM rest.respond(409);
		SELECT * INTO task FROM video_app.find(id);
	END IF;
	RETURN json_build_object('success', cancelled,
		'message', CASE WHEN cancelled THEN format('Task %s has been cancelled', id)
			ELSE format('Task %s cannot be cancelled: it is %s', id, video_app.word(task.state)) END,
		'task_id', id);
END
$$;
COMMENT ON FUNCTION video.cancel IS
'Cancel a task that waits or runs

DELETE /api/v1/tasks/{id}. 409 for one that is over; one that is cancelled already is.';

CREATE OR REPLACE FUNCTION video.why(id text) RETURNS json LANGUAGE plpgsql AS $$
DECLARE
	task taskq.task;
	reasons jsonb;
BEGIN
	SELECT * INTO task FROM video_app.find(id);
	IF task.id IS NULL THEN
		RETURN video_app.say(404, format('Task %s not found', id));
	END IF;
	reasons := taskq.task_explain(task.id);
	RETURN json_build_object('task_id', task.id, 'status', video_app.word(task.state), 'answer', reasons->'answer',
		'stalled', EXISTS (SELECT FROM taskq.stalled s WHERE s.id = task.id), 'reasons', reasons->'reasons');
END
$$;
COMMENT ON FUNCTION video.why IS
'Why a task is stuck in pending, or in processing

GET /api/v1/tasks/{id}/why. stalled: it runs, and has told no progress for longer than is usual.';

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA video, video_app FROM PUBLIC;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA video TO web_user;
GRANT EXECUTE ON FUNCTION video_app.word, video_app.status, video_app.line, video_app.find, video_app.say, video_app.submit TO web_user;
COMMIT;
RESET client_min_messages;
NOTIFY pgrst;
