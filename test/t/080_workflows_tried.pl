# Workflows as others try them: a cancel beside a retry, a retry of a task beside one of
# its workflow, many steps, who may only look, and large payloads.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use TaskqTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = taskq_node('tried', 'taskq.max_workers' => 3);
my $db = 'postgres';

$node->safe_psql(
	$db, q{
	CREATE FUNCTION large(p jsonb) RETURNS jsonb LANGUAGE sql AS $$ SELECT to_jsonb(repeat('x', 1000000)) $$;
	SELECT taskq.kind_define('large', 'large(jsonb)');
	SELECT taskq.kind_define('out');
	CREATE ROLE alice LOGIN IN ROLE taskq_developer, taskq_user;
	CREATE ROLE looker LOGIN IN ROLE taskq_user, taskq_monitor;
	GRANT CREATE ON SCHEMA public TO alice;
	CREATE TABLE ids (name text, id uuid);
	GRANT ALL ON ids TO PUBLIC;
});

# A session in a transaction of its own.
sub begin_session
{
	my $psql = $node->background_psql($db, on_error_stop => 0);
	$psql->query_safe('BEGIN');
	return $psql;
}

# --- a cancel waits for who retries, and what is new is cancelled, too

my $w = sql($node, $db, q{SELECT taskq.workflow_submit('[{"name": "a", "kind": "out"}, {"name": "b", "kind": "out", "depends_on": "a"}]')});
is(sql($node, $db, "SELECT taskq.workflow_cancel('$w')"), '2', 'a workflow is cancelled');
my $one = begin_session();
$one->query_safe("SELECT taskq.workflow_retry('$w')");
like(sql_error($node, $db, "SELECT taskq.workflow_cancel('$w')"), qr/PT503.*workflow $w is being changed by another session/s,
	'a cancel does not pass by a retry that is under way');
$one->query_safe('COMMIT');
is(sql($node, $db, "SELECT taskq.workflow_cancel('$w')"), '2', '... and then cancels what that has made');

# --- the workflow is locked before the task, by whoever locks both

my $task = sql($node, $db, "SELECT (task).id FROM taskq.workflow_tasks('$w') WHERE name = 'a'");
$one->query_safe('BEGIN');
$one->query_safe("SELECT taskq.workflow_cancel('$w')");
like(sql_error($node, $db, "SELECT taskq.task_retry('$task')"), qr/PT503.*workflow/s, 'the retry of a task waits for the workflow');
is($one->query_safe("SELECT count(*) FROM taskq.workflow_retry('$w')"), '2', '... and has not locked the task before');
$one->query_safe('ROLLBACK');

# --- who may only look keeps nobody waiting

like(sql_error($node, $db, "SELECT taskq.workflow_cancel('$w')", 'looker'), qr/42501.*permission denied to cancel workflow/s,
	'who may only look cancels nothing, even if there is nothing to cancel');
like(sql_error($node, $db, "SELECT * FROM taskq.workflow_retry('$w')", 'looker'), qr/42501.*permission denied to retry workflow/s, '... nor retries');
like(sql_error($node, $db, "SELECT taskq.workflow_cancel('$w')", 'alice'), qr/PT404/, '... and another one does not see it');
$one->quit;

# --- one template does not break the view of all

like(sql_error($node, $db, q{SELECT taskq.template_define('far', '[{"kind": "out", "expected_duration": "178000000 years"}]')}, 'alice'),
	qr/22023.*step "1": member "expected_duration" must be an interval of up to ten years/s, 'an expected duration that cannot be added to others');

# --- many steps

sql($node, $db, q{INSERT INTO ids SELECT 'chain', taskq.task_chain((SELECT jsonb_agg('{"kind": "out"}'::jsonb) FROM generate_series(1, 1000)))});
sql($node, $db, q{INSERT INTO ids SELECT 'fan', taskq.workflow_submit((SELECT jsonb_agg(jsonb_build_object('kind', 'out') ||
	CASE WHEN i > 1 THEN '{"depends_on": "1"}'::jsonb ELSE '{}' END ORDER BY i) FROM generate_series(1, 1000) i))});
is(sql($node, $db, q{SELECT count(*), max(length(step) - length(ltrim(step))) FROM ids, taskq.workflow_tree(id) WHERE name = 'chain'}),
	'1000|1998', 'the tree of a long chain');
is(sql($node, $db, q{SELECT s->>'steps_total', s->'steps'->999->>'depends_on' FROM ids, taskq.workflow_status(id) s WHERE name = 'fan'}),
	'1000|["1"]', 'the status of many that wait for one');
is(sql($node, $db, q{SELECT taskq.workflow_cancel(id) FROM ids WHERE name = 'chain'}), '1000', 'a long chain is cancelled');
is(sql($node, $db, q{SELECT count(*) FROM ids, taskq.workflow_retry(id) WHERE name = 'chain'}), '1000', '... and retried');

# --- large results, for many: one payload at a time is in memory

sql($node, $db, q{INSERT INTO ids SELECT 'large', taskq.workflow_submit('[{"name": "a", "kind": "large"}]' ||
	(SELECT jsonb_agg('{"kind": "out", "payload": {"x": {"$result": "a"}}}'::jsonb) FROM generate_series(1, 200)))});
$node->poll_query_until($db, q{SELECT taskq.workflow_status(id)->'counts' = '{"completed": 1, "pending": 200}' FROM ids WHERE name = 'large'})
  or fail('large results');
like(sql_error($node, $db, q{SELECT taskq.workflow_submit((SELECT jsonb_build_array(jsonb_build_object('kind', 'out', 'payload',
	jsonb_agg('{"$input": "x"}'::jsonb))) FROM generate_series(1, 1000)), jsonb_build_object('x', (SELECT jsonb_agg(i) FROM generate_series(1, 50000) i)))}),
	qr/PT413.*payload would be larger than taskq.max_payload with what it takes from the input.*step "1"/s, 'an input that is taken too often');

done_testing();
