# What waits holds nothing and does nothing.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use TaskqTest;
use PostgreSQL::Test::Utils;
use Test::More;

# The server's own processes are quiet too, so that nothing but taskq could
# wake a taskq process.
my $node = taskq_node('idle',
	'taskq.worker_idle_timeout' => '10min',
	'checkpoint_timeout' => '1d');
my $db = 'postgres';

# the time in which a process that polls would give itself away
my $time = 2.5;

my $id = submit($node, $db, 'short');
is(wait_task($node, $db, $id), 'completed', 'a task ran');
ok( $node->poll_query_until(
		$db,
		"SELECT count(*) > 0 AND bool_and(state = 'idle' AND task_id IS NULL) FROM taskq.worker"
	),
	'its worker is idle and stays');
is( sql($node, $db, q{
		SELECT count(*) FROM pg_stat_activity
		WHERE backend_type LIKE 'taskq %' AND (xact_start IS NOT NULL OR backend_xmin IS NOT NULL OR backend_xid IS NOT NULL)}),
	'0',
	'no idle taskq process holds a transaction or a snapshot');
my @all = backend_pids($node, '%');
cmp_ok(scalar @all, '>=', 3, 'launcher, dispatcher and idle worker');
ok(sleep_on($time, \@all), '... never wake up');

# --- while a task waits for a time far away

$id = submit($node, $db, 'short', '{}', "delay => '1 day'");
$node->safe_psql($db, "SELECT taskq.queue_define('held'); SELECT taskq.queue_pause('held');");
my $held = submit($node, $db, 'short', '{}', "queue => 'held'");
ok( $node->poll_query_until(
		$db, "SELECT bool_and(state = 'idle') FROM taskq.worker"),
	'a scheduled task and one on a paused queue wait');
wait_task($node, $db, submit($node, $db, 'short'));
ok(sleep_on($time, [ backend_pids($node, '%') ]), '... and nothing wakes up for them');

# --- a task that computes long: the others sleep

my $gate = submit($node, $db, 'gate', '{"gate": "a"}');
wait_state($node, $db, $gate, 'running');
my ($dispatcher) = backend_pids($node, 'dispatcher');
my ($launcher) = backend_pids($node, 'launcher');
ok(sleep_on($time, [ $dispatcher, $launcher ]), 'nothing is polled while a task runs');
open_gate($node, $db, 'a');
is(wait_task($node, $db, $gate), 'completed', 'it completes');

# --- a server where taskq has nothing to do

$node->append_conf('postgresql.conf', "taskq.worker_idle_timeout = '1s'");
$node->reload;
ok(wait_idle($node), 'with a short idle timeout workers and dispatcher leave, although tasks wait for a day or a resume');
is(join(' ', backend_pids($node, '%')), $launcher, 'the launcher alone is left');
ok(sleep_on($time, [$launcher]), '... and sleeps');

task_is($node, $db, $id, 'state', 'scheduled', 'the scheduled task is still to come');
$node->safe_psql($db, "SELECT taskq.queue_resume('held')");
is(wait_task($node, $db, $held), 'completed',
	'resuming the queue runs what waited there');

# --- who holds an old snapshot

$node->append_conf('postgresql.conf', "taskq.warn_snapshot_age = '500ms'");
$node->reload;
my ($in, $out, $err) = ('', '', '');
my $holder = IPC::Run::start([ 'psql', '-XAtq', '-d', $node->connstr($db), '-f', '-' ], '<', \$in, '>', \$out, '2>', \$err);
$in .= "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 'pid ' || pg_backend_pid();\n";
$holder->pump until $out =~ /pid (\d+)\n/;
my ($pid) = $out =~ /pid (\d+)/;
$node->safe_psql($db, q{
	CREATE FUNCTION nothing_work(p jsonb) RETURNS void LANGUAGE plpgsql AS 'BEGIN END';
	SELECT taskq.kind_define('nothing', 'nothing_work(jsonb)')});
$node->safe_psql($db, q{SELECT count(*) FROM taskq.task_submit_many('nothing', array_fill('{}'::jsonb, ARRAY[60000]))});
ok($node->poll_query_until($db, q{SELECT (taskq.sitrep()->>'dead_rows')::int >= 60000}), 'dead rows are in the situation report');
like(sql($node, $db, q{SELECT taskq.sitrep()->'oldest_snapshot'->>'holder'}), qr/process $pid \(client backend of \w+ in database postgres, idle in transaction\)/,
	'... and who keeps them');
# its age has to come first
ok($node->poll_query_until($db, qq{SELECT clock_timestamp() - xact_start > interval '1 s' FROM pg_stat_activity WHERE pid = $pid}), 'when it is old enough');
submit($node, $db, 'nothing');
ok($node->wait_for_log(qr/taskq has \d+ dead rows that cannot be removed\n.*held by process $pid /), 'the log names who it is');
$in .= "COMMIT;\n\\q\n";
$holder->finish;

$node->stop;
done_testing();
