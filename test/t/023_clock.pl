# The system's clock is set by hours, forward and back: no lease is taken away
# early, nothing is stuck, a task that is due by the clock runs.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use TaskqTest;
use TurnedClock;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = start_turned(sub { taskq_node('clock', 'taskq.max_workers' => 2) });
my $db = 'postgres';

sub clock_is_set
{
	my ($from, $to) = @_;
	return $node->poll_query_until($db,
		"SELECT clock_timestamp() - timestamptz 'epoch' - interval '" . time() . " s' BETWEEN '$from' AND '$to'");
}

# The launcher looks at the clock whenever it wakes, once a minute at the latest: a
# reload of the settings wakes it here.
sub notice
{
	my ($seconds) = @_;
	$node->reload;
	return $node->wait_for_log(qr/system clock was set by $seconds/);
}

ok(clock_is_set('-5 s', '5 s'), 'the server has the time');
$node->safe_psql(
	$db, q{
	SELECT taskq.kind_define('outside', backoff => '10 ms');
	CREATE FUNCTION once_work(p jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
	BEGIN
		IF (SELECT attempt FROM taskq.current_task()) = 1 THEN
			PERFORM taskq.retry((p->>'delay')::interval);
		END IF;
		RETURN p;
	END $$;
	SELECT taskq.kind_define('once', 'once_work(jsonb)');
});

sub claim
{
	my ($lease) = @_;
	my $id = submit($node, $db, 'outside');
	my ($claimed, $token) = split /\|/, sql($node, $db,
		"SELECT id, token FROM taskq.task_claim('tester', lease => '$lease')");
	is($claimed, $id, "a task is claimed, for $lease");
	return ($id, $token);
}

sub lease_until
{
	my ($id) = @_;
	return sql($node, $db,
		"SELECT timer - clock_timestamp() BETWEEN '0' AND '65 s' FROM taskq_internal.lease WHERE task = '$id'");
}

# --- forward by three hours

my ($id, $token) = claim('1 min');
my $later = submit($node, $db, 'short', '{}', "delay => '2 h'");
my $far = submit($node, $db, 'short', '{}', "delay => '30 h'");
my $retry = submit($node, $db, 'once', '{"delay": "20 h"}');
wait_state($node, $db, $retry, 'retrying');
set_clock(3 * 3600);
ok(clock_is_set('10795 s', '10805 s'), 'the clock is set forward');
notice(qr/10[78]\d\d/);
is(wait_task($node, $db, $later), 'completed', 'what is due by the clock runs');
task_is($node, $db, $far, 'state', 'scheduled', 'what is not due does not');
task_is($node, $db, $id, 'state, attempt', 'running|1', 'the lease still counts');
ok( $node->poll_query_until($db,
		"SELECT run_at - clock_timestamp() BETWEEN '19 h 50 min' AND '20 h' FROM taskq.task_status('$retry')"),
	'a retry waits as long as it was told');
is( sql($node, $db, "SELECT cancel_requested FROM taskq.task_heartbeat('$id', '$token')"),
	'f', 'its heartbeat is taken');
sql($node, $db, "SELECT taskq.task_complete('$id', '$token')");
task_is($node, $db, $id, 'state', 'completed', '... and its result');

# --- back by five hours

($id, $token) = claim('1 min');
my ($short, $stale) = claim('2 s');
my $soon = submit($node, $db, 'once', '{"delay": "2 s"}');
wait_state($node, $db, $soon, 'retrying');
set_clock(-2 * 3600);
ok(clock_is_set('-7205 s', '-7195 s'), 'the clock is set back');
notice(qr/-1[78]\d{3}/);
is(wait_task($node, $db, $soon), 'completed', 'a retry does not wait for hours');
ok( $node->poll_query_until($db,
		"SELECT attempt = 1 AND state IN ('retrying', 'pending') FROM taskq.task_status('$short')"),
	'a lease that ends is over in time');
like(
	sql_error($node, $db, "SELECT taskq.task_complete('$short', '$stale')"),
	qr/PT409/, '... and its token is refused');
is( sql($node, $db, "SELECT cancel_requested FROM taskq.task_heartbeat('$id', '$token')"),
	'f', 'the other one goes on');
is(lease_until($id), 't', '... as long as it was told');

# --- with the server down meanwhile

$node->stop('immediate');
set_clock(9 * 3600);
start_turned(sub { $node->start });
ok(clock_is_set('32395 s', '32410 s'), 'the clock is set forward while the server is down');
is( sql($node, $db, "SELECT cancel_requested FROM taskq.task_heartbeat('$id', '$token')"),
	'f', 'a lease counts anew from the start');
$node->stop('immediate');
set_clock(0);
start_turned(sub { $node->start });
ok( $node->poll_query_until($db, "SELECT timer - clock_timestamp() < '65 s' FROM taskq_internal.lease WHERE task = '$id'"),
	'... and is not prolonged when the clock is set back');
sql($node, $db, "SELECT taskq.task_complete('$id', '$token')");
task_is($node, $db, $id, 'state, attempt', 'completed|1', 'it is completed by its first attempt');

done_testing();
