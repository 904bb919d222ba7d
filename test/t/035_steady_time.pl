# The system's clock is set back by hours while somebody waits: nobody waits
# for longer than without that.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use TaskqTest;
use TurnedClock;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = start_turned(sub { taskq_node('steady', 'taskq.max_workers' => 2, 'taskq.worker_idle_timeout' => '60s') });
my $db = 'postgres';
my $turned = 0;

sub clock_back
{
	$turned -= 6 * 3600;
	set_clock($turned);
	return ok(
		$node->poll_query_until($db,
			"SELECT abs(extract(epoch FROM clock_timestamp()) - ($turned) - " . time() . ') < 30'),
		'the clock is set back by six hours');
}

# A session that is left alone with a command that waits.
sub start_waiting
{
	my ($command, $event) = @_;
	my $h = IPC::Run::start([ 'psql', '-XAtq', '-d', $node->connstr($db), '-c', $command ], '<', \undef, '>', \my $out, '2>', \my $err);
	ok($node->poll_query_until($db, qq{
			SELECT count(*) = 1 FROM pg_stat_activity
			WHERE backend_type = 'client backend' AND wait_event_type = 'Extension' AND query LIKE '%$event%' AND pid <> pg_backend_pid()}),
		"somebody waits in $event");
	return [ $h, $event, \$out ];
}

sub returns
{
	my ($waiting, $name) = @_;
	my ($h, $event, $out) = @$waiting;
	ok($node->poll_query_until($db, qq{
			SELECT count(*) = 0 FROM pg_stat_activity
			WHERE backend_type = 'client backend' AND state = 'active' AND query LIKE '%$event%' AND pid <> pg_backend_pid()}),
		$name) || $h->kill_kill;
	$h->finish;
	return $$out;
}

$node->safe_psql($db, q{SELECT taskq.queue_define('held'), taskq.queue_pause('held'), taskq.kind_define('outside')});

# --- a row that was locked when its worker came to it

my $s = $node->background_psql($db);
my $locked = submit($node, $db, 'short', '{}', "queue => 'held'");
my $other = submit($node, $db, 'short', '{}', "queue => 'held'");
$s->query_safe("BEGIN; SELECT FROM taskq_internal.task WHERE id = '$locked' FOR UPDATE");
$node->safe_psql($db, q{SELECT taskq.queue_resume('held')});
is(wait_task($node, $db, $other), 'completed', 'a task whose row is locked is passed over');
clock_back();
$s->query_safe('COMMIT');
is(wait_task($node, $db, $locked), 'completed', '... and runs soon after that lock is gone');

# --- waits

$node->safe_psql($db, q{SELECT taskq.queue_pause('held')});
my $waits = submit($node, $db, 'short', '{}', "queue => 'held'");
my @waiting = (start_waiting("SELECT state FROM taskq.task_wait('$waits', '4 s')", 'task_wait('),
	start_waiting("SELECT count(*) FROM taskq.task_wait_any('{$waits}', '4 s')", 'task_wait_any('),
	start_waiting("SELECT count(*) FROM taskq.task_claim('w', wait => '4 s')", 'task_claim('));
clock_back();
is(returns($waiting[0], 'task_wait returns when its time is over'), "pending\n", '... with the state');
is(returns($waiting[1], 'so does task_wait_any'), "0\n", '... with nothing');
is(returns($waiting[2], 'so does task_claim'), "0\n", '... with nothing');
$node->safe_psql($db, q{SELECT taskq.queue_resume('held')});
is(wait_task($node, $db, $waits), 'completed', 'the task they waited for runs');

# --- a database whose dispatcher ended in disorder

expect_terminated($node, 'dispatcher');
$node->safe_psql($db, q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'taskq dispatcher'});
clock_back();
my $id = submit($node, $db, 'short', '{}', "queue => 'held', priority => 7");
is(wait_task($node, $db, $id), 'completed', 'the next dispatcher comes soon');
$node->safe_psql($db, 'CREATE ROLE other LOGIN; GRANT taskq_user TO other');
$id = as_role($node, $db, 'other', q{SELECT taskq.task_submit('short')});
is(wait_task($node, $db, $id), 'completed', '... and starts workers');

$s->quit;
done_testing();
