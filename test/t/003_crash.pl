# Whatever is killed: no committed task is lost, no effect happens twice.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use TaskqTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = taskq_node('crash', 'taskq.max_workers' => 3);
my $db = 'postgres';

sub server_is_back
{
	return $node->poll_query_until($db, 'SELECT NOT pg_is_in_recovery()');
}

# All tasks final, each completed with exactly one effect.
sub all_done_once
{
	my ($what) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	ok( $node->poll_query_until(
			$db, 'SELECT count(*) = 0 FROM taskq.task WHERE NOT ready'),
		"$what: every task comes to its end")
	  or diag($node->safe_psql($db, 'SELECT state, count(*) FROM taskq.task GROUP BY 1'));
	is( sql($node, $db, q{
			SELECT count(*) FILTER (WHERE state <> 'completed'),
				count(*) FILTER (WHERE effects <> 1)
			FROM taskq.task t
			CROSS JOIN LATERAL (SELECT count(*) AS effects FROM effect e WHERE e.task = t.id) e}),
		'0|0',
		"$what: all completed, each with one effect");
	is( sql($node, $db,
			'SELECT count(*) FROM effect WHERE task NOT IN (SELECT id FROM taskq.task) OR task IS NULL'
		),
		'0',
		"$what: no effect without its task");
	return;
}

my $submitted = 0;

sub submit_many_short
{
	my ($n) = @_;
	$node->safe_psql($db,
		"SELECT count(*) FROM taskq.task_submit_many('short', array_fill('{}'::jsonb, ARRAY[$n]))"
	);
	$submitted += $n;
	return;
}

# --- a worker is killed in the middle of a task

my $id = submit($node, $db, 'gate', '{"gate": "a"}');
$submitted++;
wait_state($node, $db, $id, 'running');
submit_many_short(500);
my $pid = sql($node, $db,
	"SELECT pid FROM taskq.worker WHERE task_id = '$id'");
expect_crashes($node);
kill('KILL', $pid);
ok( $node->poll_query_until(
		$db,
		"SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = $pid)"),
	'the server restarts after kill -9 of a worker');
ok( $node->poll_query_until(
		$db, "SELECT state = 'running' FROM taskq.task_status('$id')"),
	'its task runs again');
is(effects($node, $db, $id), 0, 'nothing of the first attempt is left');
open_gate($node, $db, 'a');
all_done_once('worker killed');

# --- immediate stop in the middle of many tasks

$id = submit($node, $db, 'gate', '{"gate": "b"}');
$submitted++;
wait_state($node, $db, $id, 'running');
submit_many_short(2000);
$node->poll_query_until($db,
	"SELECT count(*) > 600 FROM taskq.task WHERE state = 'completed'");
$node->stop('immediate');
$node->start;
open_gate($node, $db, 'b');
all_done_once('immediate stop');

# --- the postmaster is killed

$id = submit($node, $db, 'gate', '{"gate": "c"}');
$submitted++;
wait_state($node, $db, $id, 'running');
submit_many_short(2000);
my @pids = backend_pids($node, '%');
cmp_ok(scalar @pids, '>=', 3, 'there are taskq processes');
$node->kill9;
my $alive = 1;
foreach my $try (1 .. 600)
{
	$alive = grep { kill(0, $_) } @pids;
	last if !$alive;
	select(undef, undef, undef, 0.1);
}
is($alive, 0, 'no taskq process survives the postmaster');
$node->start;
open_gate($node, $db, 'c');
all_done_once('postmaster killed');

# --- the launcher or the dispatcher is terminated

$id = submit($node, $db, 'gate', '{"gate": "d"}');
$submitted++;
wait_state($node, $db, $id, 'running');
submit_many_short(100);
foreach my $sort ('dispatcher', 'launcher')
{
	my ($old) = backend_pids($node, $sort);
	ok($old, "there is a $sort");
	expect_terminated($node, $sort);
	$node->safe_psql($db, "SELECT pg_terminate_backend($old)");
	ok( $node->poll_query_until(
			$db,
			"SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'taskq $sort' AND pid <> $old"
		),
		"terminated, the $sort comes back");
}
open_gate($node, $db, 'd');
submit_many_short(100);
all_done_once('launcher and dispatcher terminated');

# --- a worker is terminated in the middle of a task

$id = submit($node, $db, 'gate', '{"gate": "e"}');
$submitted++;
wait_state($node, $db, $id, 'running');
expect_terminated($node, 'worker');
$node->safe_psql($db,
	"SELECT pg_terminate_backend(pid) FROM taskq.worker WHERE task_id = '$id'"
);
open_gate($node, $db, 'e');
all_done_once('worker terminated');

# --- a task that ends its own process

$node->safe_psql(
	$db, q{
	CREATE FUNCTION suicide(p jsonb) RETURNS void LANGUAGE plpgsql AS $$
	BEGIN
		PERFORM pg_terminate_backend(pg_backend_pid());
		PERFORM pg_sleep(60);
	END $$;
	SELECT taskq.kind_define('suicide', 'suicide(jsonb)', max_attempts => 2, backoff => '10 ms');});
expect_terminated($node, 'worker', 2);
$id = submit($node, $db, 'suicide');
my $beside = submit($node, $db, 'short');
$submitted++;
is(wait_task($node, $db, $beside),
	'completed', 'a task beside one that ends its process completes');
is(wait_task($node, $db, $id),
	'failed', 'a task that ends its process each time fails in the end');
task_is($node, $db, $id, 'attempt, error IS NOT NULL', '2|t',
	'... after its attempts, with an error');

is(sql($node, $db, 'SELECT count(*) FROM effect'),
	$submitted, 'as many effects as tasks');

$node->stop;
done_testing();
