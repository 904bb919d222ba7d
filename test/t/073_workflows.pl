# A workflow of four steps, one of which fails, while workers and the server die: each step
# runs once, a retry runs what failed and nothing else, and what is known of it survives.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use TaskqTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = taskq_node('workflows', 'taskq.max_workers' => 3);
my $db = 'postgres';

$node->safe_psql(
	$db, q{
	CREATE TABLE broken (what text);
	-- leaves its effect; waits at its gate, or fails, if there is reason
	CREATE FUNCTION step_work(p jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
	BEGIN
		INSERT INTO effect (task, note) SELECT id, p->>'do' FROM taskq.current_task();
		IF EXISTS (SELECT FROM broken WHERE what = p->>'do') THEN
			RAISE EXCEPTION '% is broken', p->>'do';
		END IF;
		WHILE p->>'gate' <> '' AND NOT EXISTS (SELECT FROM gate WHERE name = p->>'gate') LOOP
			PERFORM pg_sleep(0.01);
		END LOOP;
		RETURN jsonb_build_object('of', p->>'do', 'from', p->'from');
	END $$;
	SELECT taskq.kind_define('step', 'step_work(jsonb)', max_attempts => 3, backoff => '1 ms');
	SELECT taskq.kind_define('once', 'step_work(jsonb)', max_attempts => 1);
	SELECT taskq.template_define('analysis', '[
		{"name": "analyse", "kind": "step", "payload": {"do": "analyse", "gate": {"$input": "gate"}}},
		{"name": "decompile", "kind": "step", "payload": {"do": "decompile", "from": {"$result": "analyse.of"}}},
		{"name": "explain", "kind": "once", "payload": {"do": "explain", "from": {"$result": "decompile.from"}}},
		{"name": "scan", "kind": "step", "depends_on": "explain", "payload": {"do": "scan", "from": {"$result": "decompile"}}}]');
});

sub states
{
	my ($w) = @_;
	return sql($node, $db, "SELECT string_agg(s->>'state', ' ' ORDER BY n) FROM jsonb_array_elements(taskq.workflow_status('$w')->'steps') WITH ORDINALITY x(s, n)");
}

sub wait_workflow
{
	my ($w) = @_;
	return $node->poll_query_until($db, "SELECT (taskq.workflow_status('$w')->>'ready')::bool");
}

# What its steps have done, and how often.
sub done
{
	my ($w) = @_;
	return sql($node, $db, "SELECT string_agg(note || ' ' || n, ', ' ORDER BY note)
		FROM (SELECT note, count(*) AS n FROM effect e JOIN taskq.task t ON t.id = e.task WHERE t.workflow = '$w' GROUP BY note) x");
}

# Kills a worker with -9, which restarts the server's processes.
sub crash
{
	expect_crashes($node);
	my $pid = sql($node, $db, 'SELECT max(pid) FROM taskq.worker');
	kill('KILL', $pid);
	$node->poll_query_until($db, "SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = $pid)");
	return;
}

# --- a worker dies, a step fails, the server is killed, a retry completes it

sql($node, $db, "INSERT INTO broken VALUES ('explain')");
my $w = sql($node, $db, q{SELECT taskq.template_submit('analysis', '{"gate": "a"}')});
my $first = sql($node, $db, "SELECT id FROM taskq.task WHERE workflow = '$w' AND step = 'analyse'");
wait_state($node, $db, $first, 'running');
crash();
wait_state($node, $db, $first, 'running');
is(states($w), 'running blocked blocked blocked', 'a step that was killed runs again, and the others wait');
open_gate($node, $db, 'a');
wait_workflow($w);
is(states($w), 'completed completed failed cancelled', 'a step fails');
is(done($w), 'analyse 1, decompile 1', '... those before it have run once');
$node->stop('immediate');
$node->start;
is(states($w), 'completed completed failed cancelled', '... which is known after a restart');
is(sql($node, $db, "TRUNCATE broken; SELECT count(*) FROM taskq.workflow_retry('$w')"), 2, 'a retry is of two steps');
wait_workflow($w);
is(states($w), 'completed completed completed completed', '... and completes the workflow');
is(done($w), 'analyse 1, decompile 1, explain 1, scan 1', '... each step ran once');
is(sql($node, $db, "SELECT payload FROM taskq.task WHERE workflow = '$w' AND step = 'scan' AND state = 'completed'"),
	'{"do": "scan", "from": {"of": "decompile", "from": "analyse"}}', '... with the results of those before it');

# --- retried while the dispatcher has not seen yet that it failed

sql($node, $db, "INSERT INTO broken VALUES ('explain')");
for my $round (1 .. 20)
{
	my $r = sql($node, $db, q{SELECT taskq.template_submit('analysis')});
	$node->poll_query_until($db, "SELECT state = 'failed' FROM taskq.task WHERE workflow = '$r' AND step = 'explain'");
	sql($node, $db, "SELECT taskq.workflow_retry('$r')");
	$node->poll_query_until($db, "SELECT bool_and(ready) FROM taskq.task WHERE workflow = '$r'");
	my $is = states($r);
	next if $is eq 'completed completed failed cancelled';
	fail("retried at once: $is");
}
pass('a retry that comes at once leaves nothing behind');

# --- two retry the same

$w = sql($node, $db, q{SELECT taskq.template_submit('analysis')});
wait_workflow($w);
sql($node, $db, 'TRUNCATE broken');
my $one = $node->background_psql($db);
$one->query_safe("BEGIN; SELECT taskq.workflow_retry('$w')");
my $two = $node->background_psql($db, on_error_stop => 0);
$two->query_until(qr/start/, "\\echo start\nSELECT taskq.workflow_retry('$w');\n");
$node->poll_query_until($db, "SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted AND locktype = 'object')");
$one->query_safe('COMMIT');
$one->quit;
wait_workflow($w);
$two->quit;
is(sql($node, $db, "SELECT count(*) FROM taskq.task WHERE workflow = '$w' AND step = 'explain'"), 2, 'of two who retry a workflow one does');

# --- many, and a server that crashes

my @w = split /\n/, sql($node, $db, q{SELECT taskq.template_submit('analysis') FROM generate_series(1, 60)});
for my $round (1 .. 3)
{
	$node->poll_query_until($db, 'SELECT EXISTS (SELECT FROM taskq.worker WHERE completed > 0)
		OR NOT EXISTS (SELECT FROM taskq.task WHERE NOT ready)');
	last if sql($node, $db, 'SELECT count(*) FROM taskq.worker') == 0;
	crash();
}
ok($node->poll_query_until($db, 'SELECT NOT EXISTS (SELECT FROM taskq.task WHERE NOT ready)'), 'many workflows come to their end');
# once at work when the server went down is enough to fail a step that has one attempt
my $failed = sql($node, $db, q{SELECT count(DISTINCT workflow) FROM taskq.task WHERE step = 'explain' AND state = 'failed' AND error->>'message' !~ 'broken'});
sql($node, $db, "SELECT taskq.workflow_retry('$_')") for grep { sql($node, $db, "SELECT taskq.workflow_status('$_')->>'state'") eq 'failed' } @w;
ok($node->poll_query_until($db, 'SELECT NOT EXISTS (SELECT FROM taskq.task WHERE NOT ready)'), "... $failed of them after a retry");
is(sql($node, $db, "SELECT count(*) FROM unnest('{" . join(',', @w) . "}'::uuid[]) w WHERE taskq.workflow_status(w)->>'state' = 'completed'"), 60, '... all complete');
is( sql($node, $db, "SELECT count(*) FROM effect e JOIN taskq.task t ON t.id = e.task WHERE t.workflow = ANY ('{" . join(',', @w) . "}')"),
	240, '... and each step has run once');

# --- prepared, and dumped

sql($node, $db, "BEGIN; SELECT taskq.template_submit('analysis', title => 'prepared'); PREPARE TRANSACTION 'w'");
$node->restart;
sql($node, $db, "COMMIT PREPARED 'w'");
$w = sql($node, $db, "SELECT workflow FROM taskq_internal.step WHERE definition->>'name' = 'prepared' AND name = ''");
ok(wait_workflow($w), 'a workflow that was submitted in a prepared transaction');
is(states($w), 'completed completed completed completed', '... runs');
my $dump = $node->data_dir . '.sql';
$node->command_ok([ 'pg_dump', '-f', $dump, '-d', $node->connstr($db) ], 'a dump');
like(slurp_file($dump), qr/COPY taskq_internal\.template.*analysis/s, '... has templates in it');
like(slurp_file($dump), qr/COPY taskq_internal\.step.*$w/s, '... and workflows');

done_testing();
