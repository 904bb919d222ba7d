# On a standby nothing runs; promoted, it goes on where the primary ended.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use TaskqTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $primary = taskq_node('primary', allows_streaming => 1);
my $db = 'postgres';
my $id;

$primary->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'base', has_streaming => 1);
$standby->start;

my $done = submit($primary, $db, 'short', '{"a": 1}');
is(wait_task($primary, $db, $done), 'completed', 'a task ran on the primary');
$primary->safe_psql($db, q{SELECT taskq.queue_define('held'); SELECT taskq.queue_pause('held');});
my $held = submit($primary, $db, 'short', '{}', "queue => 'held'");
my $scheduled = submit($primary, $db, 'short', '{}', "delay => '2 s'");
my $running = submit($primary, $db, 'gate', '{"gate": "a"}');
wait_state($primary, $db, $running, 'running');
my $reported = submit($primary, $db, 'fail');
is(wait_task($primary, $db, $reported), 'failed', 'one failed');
$primary->wait_for_catchup($standby);

# --- the standby looks, and does nothing

is(processes($standby, 'worker') + processes($standby, 'dispatcher'),
	0, 'no task process works on a standby');
task_is($standby, $db, $done, 'state, result', 'completed|{"a": 1}',
	'a standby shows what was done');
task_is($standby, $db, $running, 'state', 'pending',
	'... and as pending what the primary runs');
foreach my $call ("task_submit('short')", "task_wait('$held', '0')",
	"task_wait_any(ARRAY['$held']::uuid[], '0')", "task_cancel('$held')",
	"kind_define('x', 'short_work(jsonb)')", "queue_resume('held')", "pause()", "kind_pause('short')", "kind_limit('short', 1)", "queue_limit('held', 1)",
	"task_set_priority('$held', 1)", "task_run_now('$held')", "task_reschedule('$held', now())",
	"queue_clear()", "task_bulk('cancel', '{}')")
{
	like(sql_error($standby, $db, "SELECT taskq.$call"),
		qr/ERROR:  (25006|0A000)/, "$call is refused" =~ s/'[0-9a-f-]{36}'/.../r);
}
is(sql($standby, $db, 'SELECT name, paused FROM taskq.queue WHERE name = \'held\''),
	'held|t', 'the queue view works there');
is(sql($standby, $db, 'SELECT count(*) FROM taskq.worker'),
	'0', '... and the worker view');

# --- promotion

expect_primary_gone($standby);
$primary->stop('immediate');
$standby->promote;
ok( $standby->poll_query_until($db, 'SELECT NOT pg_is_in_recovery()'),
	'the standby is promoted');
wait_state($standby, $db, $running, 'running');
pass('the task that ran on the primary runs here');
is(effects($standby, $db, $running), 0, '... from its beginning');
open_gate($standby, $db, 'a');
is(wait_task($standby, $db, $running), 'completed', '... and completes');
is(effects($standby, $db, $running), 1, '... with one effect');
is(wait_task($standby, $db, $scheduled),
	'completed', 'the scheduled one runs');
task_is($standby, $db, $held, 'state', 'pending',
	'the paused queue is still paused');
$standby->safe_psql($db, q{SELECT taskq.queue_resume('held')});
is(wait_task($standby, $db, $held), 'completed', '... until it is resumed');
$id = submit($standby, $db, 'short');
is(wait_task($standby, $db, $id), 'completed', 'new tasks run');

$standby->stop;
done_testing();
