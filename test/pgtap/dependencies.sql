-- Tasks that wait for others.
\ir include/prologue.psql
SELECT plan(65);

CREATE FUNCTION dep_fail(p jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no %', p->>'n'; END $$;
CREATE FUNCTION dep_if(p jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	IF (p->>'fails')::bool THEN
		RAISE EXCEPTION 'it fails';
	END IF;
	RETURN p;
END $$;
SELECT count(x::text) FROM (VALUES
	(taskq.kind_define('dep', 'echo(jsonb)')),
	(taskq.kind_define('dep_gate', 'wait_at_gate(jsonb)')),
	(taskq.kind_define('dep_if', 'dep_if(jsonb)', max_attempts => 1)),
	(taskq.kind_define('dep_fail', 'dep_fail(jsonb)', max_attempts => 1)),
	(taskq.kind_define('dep_batch', 'echo(jsonb)', batch => true))) v(x) \g /dev/null

-- one waits for another
SELECT taskq.task_submit('dep_gate', '{"gate": "a"}') AS a \gset
SELECT taskq.task_submit('dep', '{"n": 1}', depends_on => ARRAY[:'a']::uuid[]) AS b \gset
SELECT is((t.state, t.celery_state, t.ready, t.depends_on)::text, format('(blocked,PENDING,f,{%s})', :'a'), 'it is blocked') FROM taskq.task_status(:'b') t;
INSERT INTO gate VALUES ('a');
SELECT is(t.state, 'completed', '... till the other one is completed') FROM taskq.task_wait(:'b') t;
SELECT is((SELECT t.started_at > (SELECT finished_at FROM taskq.task_status(:'a')) FROM taskq.task_status(:'b') t), true, '... and runs after it');
SELECT is_empty('SELECT FROM taskq_internal.blocked', '... and nothing is left that waits');

-- what is completed already
SELECT taskq.task_submit('dep', depends_on => ARRAY[:'a', :'b', :'a']::uuid[]) AS c \gset
SELECT is(t.state, 'completed', 'what is completed is not waited for') FROM taskq.task_wait(:'c') t;
SELECT is(cardinality(t.depends_on), 2, '... and counts once') FROM taskq.task_status(:'c') t;
SELECT taskq.task_submit('dep', depends_on => '{}') AS c \gset
SELECT is(t.state, 'completed', 'no dependencies are none') FROM taskq.task_wait(:'c') t;

-- several
TRUNCATE gate;
SELECT taskq.task_submit('dep_gate', '{"gate": "a"}') AS a1, taskq.task_submit('dep_gate', '{"gate": "b"}') AS a2 \gset
SELECT taskq.task_submit('dep', depends_on => ARRAY[:'a1', :'a2', :'a']::uuid[]) AS b \gset
INSERT INTO gate VALUES ('a');
SELECT is(t.state, 'completed', 'of several one is completed') FROM taskq.task_wait(:'a1') t;
SELECT is(t.state, 'blocked', '... the task still waits') FROM taskq.task_status(:'b') t;
INSERT INTO gate VALUES ('b');
SELECT is(t.state, 'completed', '... till all are') FROM taskq.task_wait(:'b') t;

-- policies
TRUNCATE gate;
SELECT taskq.task_submit('dep_fail') AS f, taskq.task_submit('dep_gate', '{"gate": "a"}') AS g \gset
SELECT taskq.task_submit('dep', depends_on => ARRAY[:'f', :'g']::uuid[]) AS cancel,
	taskq.task_submit('dep', depends_on => ARRAY[:'f', :'g']::uuid[], on_dependency_failure => 'run') AS run,
	taskq.task_submit('dep', depends_on => ARRAY[:'f', :'g']::uuid[], on_dependency_failure => 'block') AS block,
	taskq.task_submit('dep', depends_on => ARRAY[:'f', :'g']::uuid[], options => '{"run_when": "failed"}') AS only,
	taskq.task_submit('dep', depends_on => ARRAY[:'g']::uuid[], options => '{"run_when": "failed"}') AS needless \gset
SELECT is((t.state, t.cancel_reason)::text, format('(cancelled,"dependency %s failed")', :'f'), 'a failed dependency cancels who waits for it, at once') FROM taskq.task_wait(:'cancel') t;
SELECT is(t.state, 'blocked', '... not with policy run') FROM taskq.task_status(:'run') t;
INSERT INTO gate VALUES ('a');
SELECT is(t.state, 'completed', '... which runs when all are over') FROM taskq.task_wait(:'run') t;
SELECT is(t.state, 'completed', '... as what is to run only then') FROM taskq.task_wait(:'only') t;
SELECT is(t.state, 'blocked', '... nor with policy block') FROM taskq.task_status(:'block') t;
SELECT is((t.state, t.cancel_reason)::text, '(cancelled,"not needed: no dependency failed")', 'without a failure what runs only then is cancelled') FROM taskq.task_wait(:'needless') t;
SELECT is(c.cancelled, true, 'a blocked task can be cancelled') FROM taskq.task_cancel(:'block', 'enough') c;
SELECT is((t.state, t.cancel_reason)::text, '(cancelled,enough)', '... and is at once') FROM taskq.task_status(:'block') t;

-- what has failed, or is cancelled, already
SELECT taskq.task_submit('dep', depends_on => ARRAY[:'f']::uuid[]) AS x1,
	taskq.task_submit('dep', depends_on => ARRAY[:'f', :'block']::uuid[], on_dependency_failure => 'run') AS x2,
	taskq.task_submit('dep', depends_on => ARRAY[:'block']::uuid[], options => '{"run_when": "failed"}') AS x3,
	taskq.task_submit('dep', depends_on => ARRAY[:'g']::uuid[], options => '{"run_when": "failed"}') AS x4 \gset
SELECT is(t.state, 'cancelled', 'what has failed before the submit counts') FROM taskq.task_wait(:'x1') t;
SELECT is(t.state, 'completed', '... for policy run') FROM taskq.task_wait(:'x2') t;
SELECT is(t.state, 'completed', '... what was cancelled, for what runs only then') FROM taskq.task_wait(:'x3') t;
SELECT is(t.state, 'cancelled', '... what was completed, too') FROM taskq.task_wait(:'x4') t;

-- a chain; its first link is cancelled
TRUNCATE gate;
SELECT taskq.task_submit('dep_gate', '{"gate": "a"}', run_at => now() + interval '1 h') AS a \gset
CREATE TABLE dep_chain (n int, id uuid);
DO $$
DECLARE
	previous uuid := taskq.task_submit('dep', run_at => now() + interval '1 h');
BEGIN
	INSERT INTO dep_chain VALUES (0, previous);
	FOR i IN 1..300 LOOP
		previous := taskq.task_submit('dep', depends_on => ARRAY[previous]);
		INSERT INTO dep_chain VALUES (i, previous);
	END LOOP;
END $$;
SELECT is(t.state, 'blocked', 'the end of a chain waits') FROM dep_chain, taskq.task_status(id) t WHERE n = 300;
SELECT count(*) FROM dep_chain, taskq.task_cancel(id) WHERE n = 0 \g /dev/null
SELECT is((t.state, t.cancel_reason)::text, (SELECT format('(cancelled,"dependency %s was cancelled")', id) FROM dep_chain WHERE n = 299), 'when its beginning is cancelled, so is its end')
FROM dep_chain, taskq.task_wait(id) t WHERE n = 300;
SELECT is((SELECT count(*) FROM dep_chain c JOIN taskq.task t USING (id) WHERE t.state = 'cancelled'), 301::bigint, '... and all between');

-- many that wait for one; batches
SELECT taskq.task_submit('dep_batch') AS a \gset
SELECT count(*) FROM taskq.task_submit_many('dep_batch', array_fill('{}'::jsonb, ARRAY[3000]), depends_on => ARRAY[:'a']::uuid[], tags => '{many}') \g /dev/null
SELECT count(*) FROM taskq.task_submit_batch('dep_batch', '[1, 2]', depends_on => ARRAY[:'a']::uuid[], tags => '{many}') \g /dev/null
SELECT is((SELECT count(*) FROM taskq.task_wait_all(ARRAY(SELECT id FROM taskq.task WHERE tags = '{many}')) t WHERE t.state = 'completed'), 3002::bigint, 'many wait for one');
SELECT taskq.task_submit_sql('SELECT 1', depends_on => ARRAY[:'a']::uuid[]) AS s \gset
SELECT is(t.state, 'completed', 'an SQL command waits for a task') FROM taskq.task_wait(:'s') t;

-- in one transaction
BEGIN;
SELECT taskq.task_submit('dep') AS a \gset
SELECT taskq.task_submit('dep', depends_on => ARRAY[:'a']::uuid[]) AS b \gset
SAVEPOINT s;
SELECT taskq.task_submit('dep', depends_on => ARRAY[:'a']::uuid[]) AS c \gset
ROLLBACK TO s;
SELECT taskq.task_submit('dep', depends_on => ARRAY[:'b']::uuid[]) AS c \gset
COMMIT;
SELECT is(t.state, 'completed', 'dependencies of the same transaction') FROM taskq.task_wait(:'c') t;

-- its own time
SELECT taskq.task_submit('dep', depends_on => ARRAY[:'c']::uuid[], delay => '1 h') AS d \gset
SELECT is(t.state, 'scheduled', 'nothing to wait for but its time') FROM taskq.task_status(:'d') t;
TRUNCATE gate;
SELECT taskq.task_submit('dep_gate', '{"gate": "a"}') AS a \gset
SELECT taskq.task_submit('dep', depends_on => ARRAY[:'a']::uuid[], delay => '1 h') AS d,
	taskq.task_submit('dep', depends_on => ARRAY[:'a']::uuid[], delay => '1 ms') AS e \gset
SELECT is(t.state, 'blocked', 'first it waits for others') FROM taskq.task_status(:'d') t;
INSERT INTO gate VALUES ('a');
CALL wait_state(:'d', 'scheduled');
SELECT pass('... then for its time');
SELECT is(t.state, 'completed', '... if that is not over') FROM taskq.task_wait(:'e') t;

-- children
TRUNCATE gate;
SELECT taskq.task_submit('dep', delay => '1 h') AS p, taskq.task_submit('dep') AS q \gset
SELECT taskq.task_submit('dep_gate', '{"gate": "a"}', parent => :'p', options => '{"cancel_with_parent": true}') AS running,
	taskq.task_submit('dep', parent => :'p', options => '{"cancel_with_parent": true}', delay => '1 h') AS waits,
	taskq.task_submit('dep', parent => :'p', delay => '1 h') AS other,
	taskq.task_submit('dep', parent => :'q', options => '{"cancel_with_parent": true}', delay => '1 h') AS q1 \gset
CALL wait_state(:'running', 'running');
SELECT count(*) FROM taskq.task_cancel(:'p') \g /dev/null
SELECT is((t.state, t.cancel_reason)::text, format('(cancelled,"parent %s was cancelled")', :'p'), 'a running child is cancelled with its parent') FROM taskq.task_wait(:'running') t;
SELECT is(t.state, 'cancelled', '... and one that waits') FROM taskq.task_wait(:'waits') t;
SELECT is(t.state, 'scheduled', '... but not who did not ask for it') FROM taskq.task_status(:'other') t;
SELECT is(t.state, 'scheduled', '... nor when the parent completed') FROM taskq.task_status(:'q1') t;
SELECT taskq.task_submit('dep', parent => :'p', options => '{"cancel_with_parent": true}', delay => '1 h') AS late \gset
SELECT is(t.state, 'cancelled', 'a child of a cancelled parent is') FROM taskq.task_wait(:'late') t;

-- what came of them
CREATE FUNCTION dep_sum(p jsonb) RETURNS jsonb LANGUAGE sql AS $$
	SELECT jsonb_agg(d->>'state' || coalesce(d->'result'->>'n', d->'error'->>'message') ORDER BY d->>'id') FROM taskq.current_task() t, jsonb_array_elements(t.dependencies) d
$$;
SELECT taskq.kind_define('dep_sum', 'dep_sum(jsonb)') \g /dev/null
SELECT taskq.task_submit('dep', '{"n": 1}') AS a, taskq.task_submit('dep', '{"n": 2}') AS b, taskq.task_submit('dep_fail', '{"n": 3}') AS c \gset
SELECT taskq.task_submit('dep_sum', depends_on => ARRAY[:'a', :'b', :'c']::uuid[], on_dependency_failure => 'run') AS d,
	taskq.task_submit('dep_sum') AS e \gset
SELECT is(t.result, '["completed1", "completed2", "failedno 3"]', 'a task sees how those ended that it waited for') FROM taskq.task_wait(:'d') t;
SELECT is(t.result, NULL, '... null if it waited for none') FROM taskq.task_wait(:'e') t;
SELECT results_eq(format('SELECT task_id, kind, state, result, error->>%L FROM taskq.task_dependencies(%L)', 'message', :'d'),
	format($$VALUES (%L::uuid, 'dep', 'completed', '{"n": 1}'::jsonb, NULL), (%L, 'dep', 'completed', '{"n": 2}', NULL), (%L, 'dep_fail', 'failed', NULL, 'no 3')$$, :'a', :'b', :'c'),
	'... and so does who may look at it');
SELECT is_empty(format('SELECT * FROM taskq.task_dependencies(%L)', :'e'), 'a task without dependencies has none');

-- external workers
SELECT taskq.kind_define('dep_outside') \g /dev/null
CREATE ROLE dep_worker LOGIN IN ROLE taskq_worker;
SELECT taskq.kind_grant('dep_outside', 'dep_worker', 'work') \g /dev/null
SELECT taskq.task_submit('dep_outside') AS o \gset
SELECT taskq.task_submit('dep_outside', depends_on => ARRAY[:'o', :'a']::uuid[]) AS p \gset
SET ROLE dep_worker;
SELECT is(error_of(format('SELECT taskq.task_dependencies(%L)', :'p')), 'PT404', 'an external worker looks at no task that it does not have');
SELECT token FROM taskq.task_claim('w', kinds => '{dep_outside}') \gset
SELECT count(*) FROM (SELECT taskq.task_complete(:'o', :'token', '{"n": 4}')) x \g /dev/null
SELECT is(id, :'p', 'what another external worker has done unblocks a task') FROM taskq.task_claim('w', kinds => '{dep_outside}', wait => '10 s');
SELECT results_eq(format('SELECT result FROM taskq.task_dependencies(%L) ORDER BY result', :'p'), $$VALUES ('{"n": 1}'::jsonb), ('{"n": 4}')$$, '... whose worker sees the results');
RESET ROLE;
SELECT taskq.kind_revoke('dep_outside', 'dep_worker', 'work') \g /dev/null
DROP ROLE dep_worker;

-- a retry of what has failed
CREATE TABLE dep_broken ();
CREATE FUNCTION dep_mend(p jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	IF to_regclass('dep_broken') IS NOT NULL THEN
		RAISE EXCEPTION 'broken';
	END IF;
	RETURN '{"n": "mended"}';
END $$;
SELECT taskq.kind_define('dep_mend', 'dep_mend(jsonb)', max_attempts => 1) \g /dev/null
SELECT taskq.task_submit('dep_mend') AS a \gset
SELECT taskq.task_submit('dep_sum', depends_on => ARRAY[:'a']::uuid[], on_dependency_failure => 'block') AS b \gset
SELECT is(t.state, 'failed', 'a dependency fails') FROM taskq.task_wait(:'a') t;
SELECT taskq.task_retry(:'a') AS a2 \gset
SELECT is(t.state, 'failed', '... and so does its retry') FROM taskq.task_wait(:'a2') t;
SELECT taskq.task_submit('dep_sum', depends_on => ARRAY[:'a', :'a2']::uuid[], on_dependency_failure => 'block') AS c \gset
SELECT is(t.state, 'blocked', '... who waits for it, with policy block, still does') FROM taskq.task_status(:'b') t;
SELECT is(error_of(format('SELECT taskq.task_delete(%L)', :'a')), 'PT409', '... and keeps it from being deleted');
DROP TABLE dep_broken;
SELECT taskq.task_retry(:'a2') AS a3 \gset
SELECT is((t.state, t.result)::text, '(completed,"[""completedmended""]")', '... till a retry of that completes, whose result it sees') FROM taskq.task_wait(:'b') t;
SELECT is(t.state, 'completed', '... so does who came later, and waits for both') FROM taskq.task_wait(:'c') t;
SELECT taskq.task_submit('dep_sum', depends_on => ARRAY[:'a']::uuid[], on_dependency_failure => 'block') AS d \gset
SELECT is(t.state, 'completed', '... and who came when it had') FROM taskq.task_wait(:'d') t;

-- what is gone
SELECT taskq.task_submit('dep', '{"n": 1}', delay => '1 h') AS a \gset
SELECT taskq.task_submit('dep', depends_on => ARRAY[:'a']::uuid[]) AS b,
	taskq.task_submit('dep', depends_on => ARRAY[:'a']::uuid[], on_dependency_failure => 'block') AS c,
	taskq.task_submit('dep_sum', depends_on => ARRAY[:'a']::uuid[], on_dependency_failure => 'run') AS d \gset
DELETE FROM taskq_internal.task WHERE id = :'a';
SELECT is((t.state, t.cancel_reason)::text, format('(cancelled,"dependency %s does not exist any more")', :'a'), 'a dependency that an administrator deletes counts as failed') FROM taskq.task_wait(:'b') t;
SELECT is(t.state, 'cancelled', '... also for who would wait for a retry') FROM taskq.task_wait(:'c') t;
SELECT is(t.state, 'completed', '... and who runs in any case does') FROM taskq.task_wait(:'d') t;
SELECT results_eq(format('SELECT task_id, kind, state FROM taskq.task_dependencies(%L)', :'d'), format('VALUES (%L::uuid, NULL::text, NULL::text)', :'a'), '... of which nothing is known');

-- who may
CREATE ROLE dep_other LOGIN IN ROLE taskq_user;
SET ROLE dep_other;
SELECT is(error_of(format($$SELECT taskq.task_submit('dep', depends_on => ARRAY[%L]::uuid[])$$, :'b')), 'PT404', 'nobody waits for a task that he may not see');
SELECT is(error_of(format('SELECT taskq.task_dependencies(%L)', :'d')), 'PT404', '... nor looks at what it waits for');
RESET ROLE;
DROP ROLE dep_other;

-- refused
SELECT is(error_of($$SELECT taskq.task_submit('dep', depends_on => ARRAY['00000000-0000-7000-8000-000000000000']::uuid[])$$), 'PT404', 'a task that is not there');
SELECT is(error_of($$SELECT taskq.task_submit('dep', depends_on => ARRAY[NULL]::uuid[])$$), '22023', 'nulls');
SELECT is(error_of(format($$SELECT taskq.task_submit('dep', depends_on => ARRAY[%L]::uuid[], on_dependency_failure => 'hope')$$, :'a')), '22023', 'an unknown policy');
SELECT is(error_of(format($$SELECT taskq.task_submit('dep', depends_on => ARRAY[%L]::uuid[], options => '{"run_when": "late"}')$$, :'a')), '22023', 'an unknown run_when');
SELECT is(error_of($$SELECT taskq.task_submit('dep', options => '{"run_when": "failed"}')$$), '22023', 'run_when failed without dependency');
SELECT is(error_of(format($$SELECT taskq.task_submit('dep', depends_on => ARRAY[%L]::uuid[], on_dependency_failure => 'run', options => '{"run_when": "failed"}')$$, :'a')), '22023', 'two policies');
SELECT is(error_of($$SELECT taskq.task_submit('dep', options => '{"cancel_with_parent": true}')$$), '22023', 'cancel_with_parent without parent');
SELECT is(error_of(format($$SELECT taskq.task_submit('dep', parent => %L, options => '{"cancel_with_parent": 1}')$$, :'d')), '22023', '... which is true or false');

SELECT * FROM finish();
