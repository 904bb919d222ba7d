-- Workflows: templates, what payloads take from input and results, status, tree, cancel, retry.
\ir include/prologue.psql
SELECT plan(81);

CREATE TABLE broken (what text);
CREATE FUNCTION wf_step(p jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	IF EXISTS (SELECT FROM broken WHERE what = p->>'do') THEN
		RAISE EXCEPTION '% is broken', p->>'do';
	END IF;
	RETURN p || '{"out": {"list": [1, {"x": 2}], "text": "t"}}';
END $$;
CREATE FUNCTION wf_parent(p jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	PERFORM taskq.task_submit('wf', '{"do": "child"}');
	RETURN '{}';
END $$;
SELECT taskq.kind_define('wf', 'wf_step(jsonb)', max_attempts => 1), taskq.kind_define('wf_gate', 'wait_at_gate(jsonb)', max_attempts => 1),
	taskq.kind_define('wf_parent', 'wf_parent(jsonb)'), taskq.kind_define('wf_out'),
	taskq.kind_grant('wf_out', 'taskq_user') \g /dev/null
-- returns when a workflow is over
CREATE PROCEDURE wait_workflow(id uuid) LANGUAGE plpgsql AS $$
BEGIN
	WHILE NOT (taskq.workflow_status(id)->>'ready')::bool LOOP
		COMMIT;
		PERFORM pg_sleep(0.01);
	END LOOP;
END $$;
CREATE FUNCTION states(id uuid) RETURNS text LANGUAGE sql AS $$
	SELECT string_agg(format('%s %s', s->>'name', s->>'state'), ', ' ORDER BY n)
	FROM jsonb_array_elements(taskq.workflow_status(id)->'steps') WITH ORDINALITY x(s, n)
$$;
CREATE FUNCTION message_of(command text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE command;
	RETURN 'none';
EXCEPTION WHEN OTHERS THEN
	RETURN sqlerrm;
END $$;

-- steps that are none
CREATE FUNCTION refused(steps text) RETURNS text LANGUAGE sql AS $$
	SELECT error_of(format('SELECT taskq.template_define(''t'', %L)', steps)) || ': ' || message_of(format('SELECT taskq.template_define(''t'', %L)', steps))
$$;
SELECT is(refused('{}'), '22023: steps is not an array', 'steps are an array');
SELECT is(refused('[]'), '22023: a workflow has 1 to 10000 steps', '... that is not empty');
SELECT is(refused('["a"]'), '22023: step 1 is not an object', '... of objects');
SELECT is(refused('[{"name": "a"}]'), '22023: step "a": a step needs member "kind"', '... each with a kind');
SELECT is(refused('[{"name": "a", "kind": "wf", "colour": 1}]'), '22023: step "a": unknown member "colour"', 'an unknown member');
SELECT is(refused('[{"name": "a", "kind": 1}]'), '22023: step "a": member "kind" must be a text', 'a kind that is no text');
SELECT is(refused('[{"name": "a.b", "kind": "wf"}]'), '22023: step "a.b": names of steps have no dots in them', 'a name with a dot');
SELECT is(refused('[{"name": "a", "kind": "wf"}, {"name": "a", "kind": "wf"}]'), '22023: step "a": there are two of this name', 'two of a name');
SELECT is(refused('[{"name": "a", "kind": "wf", "depends_on": ["b"]}]'), '22023: step "a": depends_on: "b" is no step', 'a dependency that is no step');
SELECT is(refused('[{"name": "a", "kind": "wf", "depends_on": "a"}]'), '22023: step "a": depends_on: is the step itself', 'one on itself');
SELECT is(refused('[{"name": "a", "kind": "wf", "depends_on": "b"}, {"name": "b", "kind": "wf", "payload": {"x": [{"$result": "a.x"}]}}]'),
	'22023: step "a": it waits for itself, by way of others', 'a cycle, also by way of a result');
SELECT is(refused('[{"name": "a", "kind": "wf", "payload": {"$result": "b.x"}}]'), '22023: step "a": the step that "$result" names, "b" is no step', 'a result of no step');
SELECT is(refused('[{"name": "a", "kind": "wf", "priority": 1.5}]'), '22023: step "a": member "priority" must be an integer', 'a priority that is none');
SELECT is(refused('[{"name": "a", "kind": "wf", "timeout": "soon"}]'), '22023: step "a": member "timeout" must be an interval', 'a timeout that is none');
SELECT is(refused('[{"name": "a", "kind": "wf", "run_when": "failed"}]'), '22023: step "a": what runs only when a dependency failed needs "depends_on"', 'run_when without dependency');
SELECT is(refused('[{"name": "a", "kind": "wf", "on_dependency_failure": "pray"}]'), '22023: step "a": member "on_dependency_failure" must be "cancel", "run" or "block"', 'a policy that is none');

-- a template
SELECT taskq.template_define('analysis', '[
	{"name": "explain", "kind": "wf", "depends_on": ["decompile"], "expected_duration": "20 s",
		"payload": {"do": "explain", "whole": {"$result": "decompile.out"}, "element": {"$result": "analyse.out.list.1.x"}, "nothing": {"$result": "analyse.no.such"}}},
	{"name": "analyse", "kind": "wf", "title": "Analyse", "payload": {"do": "analyse", "file": {"$input": "file.name"}, "deep": {"$input": "deep"}}, "expected_duration": "10 s"},
	{"name": "decompile", "kind": "wf", "depends_on": ["analyse"], "payload": {"do": "decompile"}, "priority": 5, "expected_duration": "60 s"},
	{"name": "scan", "kind": "wf", "depends_on": ["explain"], "payload": {"do": "scan", "input": {"$input": ""}}, "expected_duration": "10 s"}]', 'all of it') \g /dev/null
SELECT is((t.step_count, t.expected_duration, t.owner, t.description)::text, '(4,00:01:40,postgres,"all of it")', 'the view has the template, with its expected duration') FROM taskq.template t;
SELECT taskq.template_submit('analysis', '{"file": {"name": "x.bin"}}', tags => '{t1}') AS w \gset
CALL wait_workflow(:'w');
SELECT is(states(:'w'), 'analyse completed, decompile completed, explain completed, scan completed', 'a workflow runs, in the order of what waits for what');
SELECT is(s - 'steps' - 'created_at' - 'started_at' - 'finished_at' - 'id', '{"name": "analysis", "template": "analysis", "state": "completed", "ready": true, "progress": 100.0, "steps_total": 4, "counts": {"completed": 4}, "estimated_end": null}'::jsonb, 'its state') FROM taskq.workflow_status(:'w') s;
SELECT is(payload, '{"do": "analyse", "file": "x.bin", "deep": null}', 'a payload takes from the input') FROM taskq.task WHERE workflow = :'w' AND step = 'analyse';
SELECT is(payload, '{"do": "explain", "whole": {"list": [1, {"x": 2}], "text": "t"}, "element": 2, "nothing": null}', '... and from results') FROM taskq.task WHERE workflow = :'w' AND step = 'explain';
SELECT is(payload->'input', '{"file": {"name": "x.bin"}}', '... also all of it') FROM taskq.task WHERE workflow = :'w' AND step = 'scan';
SELECT is(array_agg(priority ORDER BY id), '{0,5,0,0}', 'options of the steps count') FROM taskq.task WHERE workflow = :'w';
SELECT is(bool_and(tags = '{t1}'), true, '... and those of the workflow') FROM taskq.task WHERE workflow = :'w';
SELECT is(cardinality(depends_on), 2, 'who takes a result waits for it') FROM taskq.task WHERE workflow = :'w' AND step = 'explain';
SELECT is(string_agg(step || ' ' || state, ', '), 'Analyse completed,   decompile completed,     explain completed,       scan completed', 'the tree') FROM taskq.workflow_tree(:'w');

-- a step fails
INSERT INTO broken VALUES ('explain');
SELECT taskq.template_submit('analysis', '{"file": 1}', 'second try') AS w \gset
CALL wait_workflow(:'w');
SELECT is(states(:'w'), 'analyse completed, decompile completed, explain failed, scan cancelled', 'a failed step ends what waits for it');
SELECT is((s->>'state', s->>'name', s->>'progress')::text, '(failed,"second try",70.0)', '... and the workflow') FROM taskq.workflow_status(:'w') s;
SELECT is(s->'steps'->2->>'error', 'explain is broken', '... and says why') FROM taskq.workflow_status(:'w') s;
SELECT is((SELECT message FROM taskq.workflow_tree(:'w') WHERE step LIKE '%explain'), 'explain is broken', '... also in the tree');
TRUNCATE broken;
SELECT id AS analysed FROM taskq.task WHERE workflow = :'w' AND step = 'analyse' \gset
SELECT is(count(*), 2::bigint, 'a retry is of the failed step, and of what was cancelled for it') FROM taskq.workflow_retry(:'w');
CALL wait_workflow(:'w');
SELECT is(states(:'w'), 'analyse completed, decompile completed, explain completed, scan completed', '... which completes it');
SELECT is(s->>'state', 'completed', '... and the workflow') FROM taskq.workflow_status(:'w') s;
SELECT is(s->'steps'->0->>'id', :'analysed', '... and what had completed was not run again') FROM taskq.workflow_status(:'w') s;
SELECT is(payload->'element', '2', '... but its results were used') FROM taskq.task WHERE workflow = :'w' AND step = 'explain' AND state = 'completed';
SELECT is(error_of(format('SELECT taskq.workflow_retry(%L)', :'w')), 'PT409', 'nothing is left to retry');
SELECT is(count(*), 4::bigint, '... but all of it can be done anew') FROM taskq.workflow_retry(:'w', false);
CALL wait_workflow(:'w');
SELECT is(states(:'w'), 'analyse completed, decompile completed, explain completed, scan completed', '... as a whole');
SELECT isnt(s->'steps'->0->>'id', :'analysed', '... with new tasks') FROM taskq.workflow_status(:'w') s;

-- task_retry of a step
INSERT INTO broken VALUES ('b');
SELECT taskq.workflow_submit('[{"name": "a", "kind": "wf", "payload": {"do": "a"}}, {"name": "b", "kind": "wf", "payload": {"do": "b"}, "depends_on": "a"},
	{"name": "c", "kind": "wf", "payload": {"do": "c", "b": {"$result": "b.out.text"}}, "on_dependency_failure": "block"}]') AS w \gset
SELECT (s->'steps'->1->>'id')::uuid AS b, (s->'steps'->2->>'id')::uuid AS c FROM taskq.workflow_status(:'w') s \gset
SELECT is(t.state, 'failed', 'a step fails that another one waits for till it is retried') FROM taskq.task_wait(:'b') t;
TRUNCATE broken;
SELECT taskq.task_retry(:'b') AS b2 \gset
SELECT is(t.payload, '{"do": "c", "b": "t"}', '... which gets the result of the retry') FROM taskq.task_wait(:'c') t;
CALL wait_workflow(:'w');
SELECT is(s->'steps'->1->>'id', :'b2', '... which the workflow shows') FROM taskq.workflow_status(:'w') s;

-- what runs only when something failed
INSERT INTO broken VALUES ('deploy');
SELECT taskq.template_define('deploy', '[{"name": "deploy", "kind": "wf", "payload": {"do": "deploy"}}, {"name": "test", "kind": "wf", "depends_on": "deploy"},
	{"name": "roll back", "kind": "wf", "depends_on": ["deploy", "test"], "run_when": "failed"}]') \g /dev/null
SELECT taskq.template_submit('deploy') AS w \gset
CALL wait_workflow(:'w');
SELECT is(states(:'w'), 'deploy failed, test cancelled, roll back completed', 'a step that runs when another one failed');
SELECT is(count(*), 3::bigint, '... is retried with that') FROM taskq.workflow_retry(:'w');
CALL wait_workflow(:'w');
SELECT is(states(:'w'), 'deploy failed, test cancelled, roll back completed', '... and runs again');
TRUNCATE broken;
SELECT count(*) FROM taskq.workflow_retry(:'w') \g /dev/null
CALL wait_workflow(:'w');
SELECT is(states(:'w'), 'deploy completed, test completed, roll back not needed', '... until that completes');
SELECT is((s->>'state', s->>'progress')::text, '(completed,100.0)', '... and the workflow with it') FROM taskq.workflow_status(:'w') s;
SELECT is(error_of(format('SELECT taskq.workflow_retry(%L)', :'w')), 'PT409', 'what was not needed is not retried');

-- cancel
TRUNCATE gate;
SELECT taskq.task_chain('[{"name": "one", "kind": "wf_gate", "payload": {"gate": "chain"}, "expected_duration": "1 h"}, {"kind": "wf", "expected_duration": "1 h"}, {"name": "three", "kind": "wf", "expected_duration": "1 h"}]', name => 'chain') AS w \gset
SELECT (s->'steps'->0->>'id')::uuid AS one FROM taskq.workflow_status(:'w') s \gset
CALL wait_state(:'one', 'running');
SELECT is((s->>'state', s->>'name', s->'counts')::text, '(running,chain,"{""blocked"": 2, ""running"": 1}")', 'a chain runs') FROM taskq.workflow_status(:'w') s;
SELECT ok((s->>'estimated_end')::timestamptz BETWEEN now() + interval '170 min' AND now() + interval '180 min', '... and says when it will be through') FROM taskq.workflow_status(:'w') s;
SELECT is(taskq.workflow_cancel(:'w', 'enough'), 3, 'it is cancelled');
CALL wait_workflow(:'w');
SELECT is(states(:'w'), 'one cancelled, 2 cancelled, three cancelled', '... all of it');
SELECT is((s->>'state', s->'steps'->2->>'reason')::text, '(cancelled,enough)', '... for the reason given') FROM taskq.workflow_status(:'w') s;
INSERT INTO gate VALUES ('chain');
SELECT is(count(*), 3::bigint, 'it is taken up again') FROM taskq.workflow_retry(:'w');
CALL wait_workflow(:'w');
SELECT is(states(:'w'), 'one completed, 2 completed, three completed', '... to its end');

-- group and chord
SELECT taskq.task_group('[{"kind": "wf"}, {"kind": "wf"}]') AS w \gset
CALL wait_workflow(:'w');
SELECT is(states(:'w'), '1 completed, 2 completed', 'a group');
SELECT taskq.task_chord('[{"kind": "wf", "payload": {"do": 1}}, {"name": "b", "kind": "wf"}]', '{"kind": "wf", "payload": {"first": {"$result": "1.do"}, "second": {"$result": "b"}}}') AS w \gset
CALL wait_workflow(:'w');
SELECT is(states(:'w'), '1 completed, b completed, callback completed', 'a chord');
SELECT is(payload->'first', '1', '... whose last one takes results') FROM taskq.task WHERE workflow = :'w' AND step = 'callback';

-- children
SELECT taskq.workflow_submit('[{"name": "p", "kind": "wf_parent"}]') AS w \gset
CALL wait_workflow(:'w');
SELECT is(string_agg(step, ','), 'p,  wf', 'what a step submits belongs to the tree') FROM taskq.workflow_tree(:'w');
SELECT is(s->'steps'->1->>'parent', s->'steps'->0->>'id', '... as its child') FROM taskq.workflow_status(:'w') s;

-- an external worker gets the payload as it shall be
SELECT taskq.workflow_submit('[{"name": "a", "kind": "wf"}, {"name": "b", "kind": "wf_out", "payload": {"t": {"$result": "a.out.text"}}}]') AS w \gset
SELECT (s->'steps'->1->>'id')::uuid AS b FROM taskq.workflow_status(:'w') s \gset
CALL wait_state(:'b', 'pending');
SELECT is(c.payload, '{"t": "t"}', 'an external worker gets results, too') FROM taskq.task_claim('w', kinds => '{wf_out}') c;

-- results that are too much
CREATE FUNCTION wf_large(p jsonb) RETURNS jsonb LANGUAGE sql AS $$ SELECT to_jsonb(repeat('x', 600 * 1024)) $$;
SELECT taskq.kind_define('wf_large', 'wf_large(jsonb)') \g /dev/null
SELECT taskq.workflow_submit('[{"name": "a", "kind": "wf_large"}, {"name": "b", "kind": "wf", "payload": {"one": {"$result": "a"}}}, {"name": "c", "kind": "wf", "payload": [{"$result": "a"}, {"$result": "a"}]}]') AS w \gset
CALL wait_workflow(:'w');
SELECT is(states(:'w'), 'a completed, b completed, c cancelled', 'a payload that would be larger than taskq.max_payload is none');
SELECT is(length(payload->>'one'), 600 * 1024, '... but one that is not is whole') FROM taskq.task WHERE workflow = :'w' AND step = 'b';

-- inputs that would be references
SELECT is(error_of($$SELECT taskq.template_submit('analysis', '{"file": {"name": {"$result": "analyse.out"}}}')$$), '22023', 'an input refers to no result');
SELECT is(error_of(format('SELECT taskq.workflow_submit(%L)', format('[{"kind": "wf", "payload": {"$result": "%s"}}]', :'b'))), '22023', 'nor a payload to tasks of others');
SELECT is(error_of($$SELECT taskq.template_submit('nothing')$$), 'PT404', 'a template that is not there');
SELECT is(error_of($$SELECT taskq.workflow_status('00000000-0000-7000-8000-000000000000')$$), 'PT404', 'a workflow that is not there');
SELECT is(error_of($$SELECT taskq.workflow_submit('[{"kind": "no such"}]')$$), '22023', 'a kind that is not there');
SELECT is(error_of($$DELETE FROM taskq.template$$), 'PT405', 'the view is to look at');

-- rights
CREATE ROLE wf_user LOGIN IN ROLE taskq_user;
CREATE ROLE wf_developer LOGIN IN ROLE taskq_user, taskq_developer;
SET ROLE wf_user;
SELECT taskq.task_group('[{"kind": "wf_out"}]') AS own \gset
SELECT is((SELECT string_agg(step, ',') FROM taskq.workflow_tree(:'own')) || (taskq.workflow_status(:'own')->>'state'), '1pending', 'a user sees its own workflow');
SELECT is(error_of($$SELECT taskq.template_define('mine', '[{"kind": "wf"}]')$$), '42501', 'templates are for developers');
SELECT is(error_of(format('SELECT taskq.workflow_status(%L)', :'w')), 'PT404', 'a workflow of others is not to be seen');
SELECT is(error_of(format('SELECT taskq.workflow_cancel(%L)', :'w')) || error_of(format('SELECT taskq.workflow_retry(%L)', :'w')), 'PT404PT404', '... nor steered');
RESET ROLE;
SET ROLE wf_developer;
SELECT is(error_of($$SELECT taskq.template_define('analysis', '[{"kind": "wf"}]')$$) || error_of($$SELECT taskq.template_drop('analysis')$$), '4250142501', 'a template of others is not to be changed');
RESET ROLE;

-- tenants
CREATE ROLE wf_gate LOGIN IN ROLE taskq_user, taskq_developer;
SET taskq.trusted_gateways = 'wf_gate';
SELECT taskq.kind_grant('wf_out', 'wf_gate') \g /dev/null
SET SESSION AUTHORIZATION wf_gate;
SET request.jwt.claims = '{"sub": "one"}';
SELECT taskq.template_define('of one', '[{"name": "a", "kind": "wf_out"}]') \g /dev/null
SELECT taskq.template_submit('of one') AS w \gset
SELECT is(s->'counts', '{"pending": 1}', 'a tenant has templates and workflows') FROM taskq.workflow_status(:'w') s;
SET request.jwt.claims = '{"sub": "two"}';
SELECT is(error_of($$SELECT taskq.template_submit('of one')$$) || error_of($$SELECT taskq.template_drop('of one')$$) || (SELECT count(*) FROM taskq.template WHERE name = 'of one'),
	'PT404PT4040', '... which are not there for others');
RESET SESSION AUTHORIZATION;
RESET request.jwt.claims;
SELECT taskq.template_define('of none', '[{"name": "a", "kind": "wf_out"}]') \g /dev/null
SET SESSION AUTHORIZATION wf_gate;
SET request.jwt.claims = '{"sub": "two"}';
SELECT taskq.template_submit('of none') AS none \gset
SELECT is((SELECT count(*) FROM taskq.template WHERE name = 'of none'), 1::bigint, 'a template without tenant is shown to tenants');
SELECT is((SELECT string_agg(DISTINCT (w.task).tenant, ',') FROM taskq.workflow_steps(:'none') w), 'two', '... for their own workflows');
SELECT is(error_of($$SELECT taskq.template_define('of none', '[{"kind": "wf_out"}]')$$) || error_of($$SELECT taskq.template_drop('of none')$$), '42501PT404', '... not to be changed');
SELECT is(error_of(format('SELECT taskq.workflow_status(%L)', :'w')) || error_of(format('SELECT taskq.workflow_tree(%L)', :'w')) || error_of(format('SELECT taskq.workflow_cancel(%L)', :'w')),
	'PT404PT404PT404', '... neither are the workflows');
RESET SESSION AUTHORIZATION;
RESET request.jwt.claims;
SELECT deleted FROM taskq.tenant_delete('one') \g /dev/null
SELECT is((SELECT count(*) FROM taskq_internal.step WHERE workflow = :'w' AND name <> ''), 0::bigint, 'with a tenant goes what its steps were defined as');

SELECT * FROM finish();
DROP ROLE wf_user, wf_developer;
