# What was announced survives a crash, also where commits are asynchronous.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use TaskqTest;
use PostgreSQL::Test::Utils;
use Test::More;

# Nothing but taskq itself flushes the log soon.
my $node = taskq_node(
	'durability',
	'synchronous_commit' => 'off',
	'wal_writer_delay' => '10s',
	'checkpoint_timeout' => '1d');
my $db = 'postgres';

# Stops the server at once and counts what is left of the tasks.
sub crash_and_count
{
	my ($ids) = @_;
	$node->stop('immediate');
	$node->start;
	return sql($node, $db, qq{
		SELECT count(*), count(*) FILTER (WHERE state = 'completed'),
			(SELECT count(*) FROM effect WHERE task = ANY ('$ids'))
		FROM taskq.task WHERE id = ANY ('$ids')});
}

foreach my $round (1 .. 3)
{
	my $id = submit($node, $db, 'short');
	is(wait_task($node, $db, $id), 'completed', "round $round: task_wait says completed");
	is(crash_and_count("{$id}"), '1|1|1', '... it still is after a crash, with its effect');

	my $ids = sql($node, $db,
		"SELECT array_agg(id) FROM taskq.task_submit_many('short', array_fill('{}'::jsonb, ARRAY[50])) AS id");
	is( sql($node, $db,
			"SELECT count(*) FROM taskq.task_wait_all('$ids', '50 s') WHERE state = 'completed'"),
		'50',
		"round $round: task_wait_all says completed");
	is(crash_and_count($ids), '50|50|50', '... they still are, with their effects');
}

my $id = submit($node, $db, 'short');
ok( $node->poll_query_until(
		$db, "SELECT state = 'completed' FROM taskq.task_status('$id')"),
	'task_status says completed');
is(crash_and_count("{$id}"), '1|1|1', '... it still is');

$id = submit($node, $db, 'short');
ok( $node->poll_query_until(
		$db, "SELECT state = 'completed' FROM taskq.task WHERE id = '$id'"),
	'the view says completed');
is(crash_and_count("{$id}"), '1|1|1', '... it still is');

my $listener = $node->background_psql($db);
$listener->query_safe('LISTEN taskq');
$id = submit($node, $db, 'short');
my $got = '';
foreach my $try (1 .. 600)
{
	$got .= $listener->query_safe('SELECT 1');
	last if $got =~ /$id/;
	select(undef, undef, undef, 0.1);
}
like($got, qr/"state":\s*"completed"/, 'an event says completed');
eval { $listener->quit };
is(crash_and_count("{$id}"), '1|1|1', '... it still is');

$node->stop;
done_testing();
