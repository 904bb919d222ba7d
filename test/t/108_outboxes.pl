# What the outboxes are for, where it is hardest: a task that ended while a worker had it, and
# outboxes that nothing can be written to.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use TaskqTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = taskq_node('outboxes', 'taskq.max_workers' => 1);
my $db = 'postgres';

$node->safe_psql($db, q{
	CREATE FUNCTION is_refused(at text) RETURNS bool LANGUAGE plpgsql AS $$
	BEGIN
		PERFORM taskq.events_since(at);
		RETURN false;
	EXCEPTION WHEN SQLSTATE 'PT410' THEN
		RETURN true;
	END $$});

sub cursor
{
	return sql($node, $db, "SELECT taskq.events_since()->>'cursor'");
}

# Waits until it is told that this task has ended.
sub is_told
{
	my ($at, $id, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	ok($node->poll_query_until($db, qq{SELECT taskq.events_since('$at')->'events' \@> '[{"task_id": "$id"}]'}), $name);
	return;
}

# A session that keeps a table to itself.
sub lock_table
{
	my ($table, $mode) = @_;
	my $session = $node->background_psql($db);
	$session->query_safe("BEGIN; LOCK TABLE taskq_internal.$table IN $mode MODE");
	return $session;
}

sub unlock
{
	my ($session) = @_;
	$session->query_safe('COMMIT');
	$session->quit;
	return;
}

# --- a worker has set a task aside, and a prepared transaction cancels it: only the outbox knows

open_gate($node, $db, 'k');
my @quick = split /\n/, sql($node, $db, q{SELECT taskq.task_submit_many('gate', array_fill('{"gate": "k"}'::jsonb, ARRAY[60]))});
sql($node, $db, "SELECT count(*) FROM taskq.task_wait_all('{" . join(',', @quick) . "}', '60 s')");
my $at = cursor();
my ($dispatcher) = backend_pids($node, 'dispatcher', $db);
my $worker = sql($node, $db, 'SELECT pid FROM taskq.worker');
# it would give others what a worker does not come to
kill('STOP', $dispatcher);
my ($first, $aside) = split /\n/, sql($node, $db,
	q{SELECT taskq.task_submit_many('gate', ARRAY['{"gate": "a"}', '{"gate": "b"}']::jsonb[])});
wait_state($node, $db, $first, 'running');
is(sql($node, $db, "SELECT state FROM taskq.task_status('$aside')"), 'reserved', 'a worker has set a task aside');
sql($node, $db, "BEGIN; SELECT taskq.task_cancel('$aside'); PREPARE TRANSACTION 'p'");
sql($node, $db, "COMMIT PREPARED 'p'");
is(sql($node, $db, "SELECT state FROM taskq.task_status('$aside')"), 'cancelled', '... which is cancelled');
# the worker stops where it begins with that, and has not looked at its row
my $leaf = sql($node, $db, "SELECT tableoid::regclass FROM taskq_internal.task WHERE id = '$aside'");
my $locker = $node->background_psql($db);
$locker->query_until(qr/started/, "BEGIN;\n\\echo started\nLOCK TABLE $leaf IN EXCLUSIVE MODE;\n");
my $wants = "SELECT count(*) > 0 FROM pg_locks WHERE relation = '$leaf'::regclass AND NOT granted AND";
ok($node->poll_query_until($db, "$wants mode = 'ExclusiveLock'"), 'somebody waits for the table');
open_gate($node, $db, 'a');
ok($node->poll_query_until($db, "$wants pid = $worker"), 'so the worker waits where it begins with the other task');
kill('STOP', $worker);
unlock($locker);
kill('CONT', $dispatcher);
is_told($at, $aside, 'its end is told all the same');
kill('CONT', $worker);
is_told($at, $first, '... and that of the other one');
is(wait_task($node, $db, submit($node, $db, 'short')), 'completed', 'the worker goes on');

# --- all outboxes are full

# What ends, and the feed is not written.
sub end_unwritten
{
	my $lock = lock_table('feed', 'EXCLUSIVE');
	my @ids = split /\n/, sql($node, $db, q{SELECT taskq.task_submit_many('short', array_fill('{}'::jsonb, ARRAY[10]))});
	my $held = sql($node, $db, "SELECT taskq.task_submit('short', run_at => 'infinity')");
	sql($node, $db, "SELECT count(*) FROM taskq.task_wait_all('{" . join(',', @ids) . "}', '60 s'); SELECT taskq.task_cancel('$held')");
	return ($lock, @ids, $held);
}

# Room for nothing: pages that were never written to.
sub fill_outboxes
{
	foreach my $path (split /\n/, sql($node, $db, "SELECT pg_relation_filepath('taskq_internal.outbox_' || n) FROM generate_series(0, 3) n"))
	{
		truncate($node->data_dir . "/$path", 129 * 1024 * 1024) or die "$path: $!";
	}
	return;
}

sub sizes
{
	return sql($node, $db, "SELECT string_agg(pg_size_pretty(pg_relation_size('taskq_internal.outbox_' || n)), ' ' ORDER BY n) FROM generate_series(0, 3) n");
}

ok(wait_idle($node, $db), 'nobody is there');
$at = cursor();
fill_outboxes();
is(sizes(), join(' ', ('129 MB') x 4), 'all outboxes are full');
my ($feed, @ids) = end_unwritten();
is(sizes(), join(' ', ('129 MB') x 4), 'tasks end all the same, and are not written to them');
unlock($feed);
is_told($at, $_, 'each is told') foreach @ids[ 0, -1 ];

$at = cursor();
fill_outboxes();
($feed, @ids) = end_unwritten();
$node->stop('immediate');
eval { $feed->quit };
$node->start;
is(sql($node, $db, "SELECT count(*) FROM taskq.task WHERE ready AND id = ANY ('{" . join(',', @ids) . "}')"), scalar @ids, 'after a crash what ended has ended');
ok($node->poll_query_until($db, "SELECT taskq.task_submit('short') IS NOT NULL AND max(first) > split_part('$at', '.', 2)::int8 FROM taskq_internal.feed"), 'the feed goes on');
ok($node->poll_query_until($db, "SELECT is_refused('$at')"), '... but not from a cursor that may have missed something, which is refused');
$at = cursor();
my $id = submit($node, $db, 'short');
is_told($at, $id, 'what ends from then on is told');
ok( $node->poll_query_until($db, "SELECT taskq.task_submit('short') IS NOT NULL AND sum(pg_relation_size('taskq_internal.outbox_' || n)) < 1000000 FROM generate_series(0, 3) n"),
	'and the outboxes are emptied');
$feed = lock_table('feed', 'EXCLUSIVE');
$id = submit($node, $db, 'short');
wait_task($node, $db, $id);
$node->stop('immediate');
eval { $feed->quit };
$node->start;
is_told($at, $id, '... so that a crash loses nothing');

done_testing();
