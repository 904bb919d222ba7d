# The clock was set back: tasks with ids before what has been saved run all the same.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use TaskqTest;
use TurnedClock;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = start_turned(sub { taskq_node('floor', 'taskq.worker_idle_timeout' => '200ms') });
my $db = 'postgres';

$node->safe_psql($db, q{
	CREATE FUNCTION highest() RETURNS uuid LANGUAGE sql AS $$
		SELECT max(id::text)::uuid FROM taskq_internal.watermark $$});

sub crash
{
	$node->stop('immediate');
	start_turned(sub { $node->start });
	return;
}

sub pending
{
	return $node->safe_psql($db, 'SELECT count(*) FROM taskq.task WHERE NOT ready');
}

my $last = submit($node, $db, 'short');
is(wait_task($node, $db, $last), 'completed', 'a task runs');
ok($node->poll_query_until($db, "SELECT highest() > '$last'"), '... and is saved');

# --- back by an hour, and new sessions make ids

set_clock(-3600);
$node->safe_psql($db, "SELECT taskq.queue_pause('default')");
my $early = submit($node, $db, 'short');
is(sql($node, $db, "SELECT '$early' < highest()"), 't', 'the clock set back: an id before what is saved');
crash();
$node->safe_psql($db, "SELECT taskq.queue_resume('default')");
is(wait_task($node, $db, $early), 'completed', 'it runs, also after a crash');

# --- before anything is loaded after a restart

$node->safe_psql($db, "SELECT taskq.queue_pause('default')");
wait_idle($node);
crash();
$early = submit($node, $db, 'short');
is(sql($node, $db, "SELECT '$early' < highest()"), 't', 'the first submit after a restart, with an early id');
crash();
my @many = split /\n/, sql($node, $db, q{SELECT taskq.task_submit_many('short', array_fill('{}'::jsonb, ARRAY[100]))});
$node->safe_psql($db, "SELECT taskq.queue_resume('default')");
is(wait_task($node, $db, $early), 'completed', 'runs');
ok($node->poll_query_until($db, 'SELECT count(*) = 0 FROM taskq.task WHERE NOT ready'), 'many at once too');

# --- open while it is set

my $session = $node->background_psql($db, on_error_stop => 1);
chomp(my $open = $session->query("BEGIN; SELECT taskq.task_submit('short');"));
set_clock(0);
$last = submit($node, $db, 'short');
is(wait_task($node, $db, $last), 'completed', 'set right again, others run');
$session->query('COMMIT');
crash();
$session->{run}->kill_kill;
is(wait_task($node, $db, $open), 'completed', 'an early one that was committed after them too');
is(pending(), '0', 'nothing is left');
is(sql($node, $db, 'SELECT count(*) FROM taskq_internal.ready'), '0', '... nowhere');

$node->stop;
done_testing();
