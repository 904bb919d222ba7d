/* ---------------------------------------------------------------- external workers */

CREATE FUNCTION taskq.task_claim(worker text, queues text[] DEFAULT NULL, kinds text[] DEFAULT NULL, n int DEFAULT 1,
	lease interval DEFAULT '1 min', wait interval DEFAULT '0',
	OUT id uuid, OUT kind text, OUT queue text, OUT payload jsonb, OUT attempt int, OUT max_attempts int, OUT token uuid,
	OUT lease_until timestamptz, OUT timeout interval, OUT submitted_by name, OUT tenant text, OUT claims jsonb, OUT tags text[],
	OUT metadata jsonb, OUT previous jsonb)
RETURNS SETOF record LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'taskq_task_claim';
COMMENT ON FUNCTION taskq.task_claim IS
'Claim tasks for a program outside of the server

At most n tasks of kinds without handler that the caller may work on (kind_grant, privilege work). Each is the caller''s until its lease ends; heartbeats extend it. The token proves the claim in task_heartbeat, task_complete, task_fail and task_release. Without a task it waits as long as wait, at most taskq.max_wait. previous tells of the attempt before, as current_task() does. Commit before starting to work.';

CREATE FUNCTION taskq.task_heartbeat(id uuid, token uuid, lease interval DEFAULT NULL, current numeric DEFAULT NULL,
	total numeric DEFAULT NULL, message text DEFAULT NULL, info jsonb DEFAULT NULL, failed int DEFAULT NULL, phase text DEFAULT NULL,
	failure_details jsonb DEFAULT NULL,
	OUT cancel_requested bool, OUT lease_until timestamptz)
RETURNS record LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'taskq_task_heartbeat';
COMMENT ON FUNCTION taskq.task_heartbeat IS
'Keep a claimed task, and report its progress

What is null stays as it was told last. failure_details are steps that failed since then, an object with step, error and whatever else, or an array of these; each counts as failed, unless failed says how many have. Tells whether somebody asked to cancel it: then stop, and end it with task_fail, or with task_complete and a partial result. Raises PT409 when the claim is lost: then drop the work.';

CREATE FUNCTION taskq.task_complete(id uuid, token uuid, result jsonb DEFAULT NULL)
RETURNS void LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'taskq_task_complete';
COMMENT ON FUNCTION taskq.task_complete IS
'A claimed task is done

Can be part of the transaction that writes what the task did: then both happen or neither. Again with the same token it does nothing, so a worker that got no answer may repeat it. Raises PT409 when the claim is lost.';

CREATE FUNCTION taskq.task_fail(id uuid, token uuid, error text DEFAULT NULL, details jsonb DEFAULT NULL, retry bool DEFAULT true,
	type text DEFAULT NULL, traceback text DEFAULT NULL)
RETURNS text LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'taskq_task_fail';
COMMENT ON FUNCTION taskq.task_fail IS
'The attempt at a claimed task failed

Unless retry is false it is tried again, as often as max_attempts allows. details, type (the program''s name for the error) and traceback are kept as members of the task''s error. Returns the task''s new state, and the same again when it is repeated with the same token.';

CREATE FUNCTION taskq.task_release(id uuid, token uuid, delay interval DEFAULT NULL)
RETURNS void LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'taskq_task_release';
COMMENT ON FUNCTION taskq.task_release IS
'Give a claimed task back, as if it had never been claimed

For a worker that shuts down. With delay nobody gets it before.';

-- All in one go; where one is refused, one by one, so that the others are done.
CREATE FUNCTION taskq.task_complete_many(results jsonb, OUT task_id text, OUT success bool, OUT error jsonb)
RETURNS SETOF record LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	known CONSTANT text[] := '{id,token,result,error,details,retry,type,traceback}';
	items jsonb;
	portions jsonb[];			-- arrays of them that are still to be done, each in a subtransaction
	item jsonb;
	one jsonb;
	no bigint;
	words text[];
	why text;
	hint text;
	done bool;
	refused jsonb;
BEGIN
	IF jsonb_typeof(results) IS DISTINCT FROM 'array' OR jsonb_array_length(results) > 1000 THEN
		RAISE EXCEPTION 'results must be an array of at most 1000 objects' USING ERRCODE = '22023',
			HINT = 'Argument "results" is an array of {"id": ..., "token": ..., "result": ...}, of what has failed {"id": ..., "token": ..., "error": ...}.';
	END IF;
	FOR item, no IN SELECT r.value, r.no FROM jsonb_array_elements(results) WITH ORDINALITY r(value, no) LOOP
		IF jsonb_typeof(item) <> 'object' OR item->>'id' IS NULL OR item->>'token' IS NULL THEN
			RAISE EXCEPTION 'element % of results is no object with members id and token', no USING ERRCODE = '22023',
				HINT = 'Both are what taskq.task_claim() returned.';
		END IF;
		words := ARRAY(SELECT k FROM jsonb_object_keys(item) k WHERE k <> ALL (known));
		IF words <> '{}' OR item ? 'result' AND item ? 'error' THEN
			RAISE EXCEPTION 'element % of results says what cannot be', no USING ERRCODE = '22023',
				DETAIL = CASE words WHEN '{}' THEN 'It has both "result" and "error".' ELSE 'Unknown members: ' || array_to_string(words, ', ') || '.' END,
				HINT = 'Members are id, token, and result; or of what has failed error, details, retry, type and traceback.';
		END IF;
	END LOOP;
	-- their rows are locked in one order by everybody
	items := (SELECT jsonb_agg(r.value ORDER BY r.value->>'id') FROM jsonb_array_elements(results) r);
	portions := ARRAY[items];
	LOOP
		EXIT WHEN portions = '{}' OR items IS NULL;
		item := portions[1];
		portions := portions[2:];
		BEGIN
			FOR one IN SELECT r.value FROM jsonb_array_elements(item) r(value) LOOP
				IF one ? 'error' THEN
					PERFORM taskq.task_fail((one->>'id')::uuid, (one->>'token')::uuid, one->>'error', one->'details',
						(one->>'retry')::bool, one->>'type', one->>'traceback');
				ELSE
					PERFORM taskq.task_complete((one->>'id')::uuid, (one->>'token')::uuid, one->'result');
				END IF;
			END LOOP;
			done := true;
			refused := NULL;
		EXCEPTION WHEN OTHERS THEN
			GET STACKED DIAGNOSTICS why = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
			done := false;
			refused := jsonb_strip_nulls(jsonb_build_object('sqlstate', SQLSTATE, 'message', SQLERRM, 'detail', nullif(why, ''), 'hint', nullif(hint, '')));
		END;
		IF NOT done AND jsonb_array_length(item) > 1 THEN
			portions := ARRAY(SELECT jsonb_build_array(r.value) FROM jsonb_array_elements(item) r);
		ELSE
			RETURN QUERY SELECT r.value->>'id', done, refused FROM jsonb_array_elements(item) r;
		END IF;
	END LOOP;
END
$$;
COMMENT ON FUNCTION taskq.task_complete_many(jsonb) IS
'Many claimed tasks are done, or have failed

results is an array of at most 1000 objects with id, token and result, as for task_complete; or with error, and what else task_fail takes: details, retry, type, traceback. One row a task, in the order of their ids: what one of them is refused does not keep the others. It may be repeated as a whole when no answer came.';
