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
	'allows_streaming' => 1,
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

# several tasks in one transaction
$node->safe_psql($db, q{SELECT taskq.kind_define('shared', 'short_work(jsonb)', batch => true)});
for my $round (1 .. 3)
{
	my $ids = sql($node, $db,
		"SELECT array_agg(id) FROM taskq.task_submit_many('shared', array_fill('{}'::jsonb, ARRAY[300])) AS id");
	is( sql($node, $db,
			"SELECT count(*) FROM taskq.task_wait_all('$ids', '50 s') WHERE state = 'completed'"),
		'300',
		"shared transactions, round $round: task_wait_all says completed");
	is(crash_and_count($ids), '300|300|300', '... they still are, with their effects');
}
cmp_ok(sql($node, $db, q{SELECT count(DISTINCT xmin::text) FROM effect WHERE task IN (SELECT id FROM taskq.task WHERE kind = 'shared')}),
	'<', 900, '... which some had in common');

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

# A synchronous standby that is not there: nobody is told before it has the batch.
$node->safe_psql($db, q{ALTER DATABASE postgres SET synchronous_commit = on});
configure($node, 'synchronous_standby_names' => 'nowhere');
$node->safe_psql($db, 'SELECT taskq.worker_restart()');
for my $kind ('short', 'shared')
{
	my $ids = sql($node, $db, "SET synchronous_commit = local;
		SELECT array_agg(id) FROM taskq.task_submit_many('$kind', array_fill('{}'::jsonb, ARRAY[100])) AS id");
	ok($node->poll_query_until($db, "SELECT EXISTS (SELECT FROM effect WHERE task = ANY ('$ids'))"), "$kind: tasks have committed");
	ok($node->poll_query_until($db, q{SELECT EXISTS (SELECT FROM pg_stat_activity WHERE backend_type = 'taskq worker' AND wait_event = 'SyncRep')}),
		'... and the worker waits for the standby');
	is(sql($node, $db, "SELECT count(*) FROM taskq.task WHERE id = ANY ('$ids') AND ready"), '0', '... so nobody is told');
	is(sql($node, $db, "SELECT count(*) FROM unnest('$ids'::uuid[]) i, taskq.task_status(i) t WHERE t.ready"), '0', '... by no function');
	configure($node, 'synchronous_standby_names' => undef);
	is(sql($node, $db, "SELECT count(*) FROM taskq.task_wait_all('$ids', '50 s') WHERE state = 'completed'"), '100', '... until that is not needed');
	configure($node, 'synchronous_standby_names' => 'nowhere');
}
configure($node, 'synchronous_standby_names' => undef);

$node->stop;
done_testing();
