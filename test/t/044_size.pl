# A leaf of a million tasks, waiting and then finished: everything answers, the
# counts are right, and nothing reads the leaf whole that need not.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use TaskqTest;
use Test::More;

my $million = 1_000_000;
my $node = taskq_node(
	'size',
	'taskq.max_workers' => 2,
	'max_wal_size' => '4GB',
	'shared_buffers' => '256MB',
	'log_statement' => 'none');
my $db = 'postgres';

$node->safe_psql(
	$db, q{
	CREATE FUNCTION quick_work(p jsonb) RETURNS void LANGUAGE plpgsql AS $$ BEGIN END $$;
	SELECT taskq.kind_define('quick', 'quick_work(jsonb)', queue => 'quick', batch => true);
	SELECT taskq.kind_define('outside', queue => 'outside', backoff => '10 ms');
	SELECT taskq.queue_define('quick'), taskq.queue_define('outside');
	CREATE VIEW reads AS SELECT coalesce(sum(seq_tup_read + coalesce(idx_tup_fetch, 0)), 0) AS n
		FROM pg_stat_all_tables WHERE schemaname = 'taskq_internal' AND relname LIKE 'task\_%';
});

# Rows of the tasks' tables that all processes have read; each tells when it ends.
sub rows_read
{
	wait_idle($node) or die 'processes do not leave';
	$node->poll_query_until($db, q{SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid())})
	  or die 'sessions do not leave';
	return sql($node, $db, 'SELECT n FROM reads');
}

# What is done reads no more than so many rows.
sub reads_few
{
	my ($name, $most, $code) = @_;
	my $before = rows_read();
	$code->();
	my $rows = rows_read() - $before;
	diag("$name: $rows rows") if $ENV{TASKQ_TEST_FIGURES};
	return cmp_ok($rows, '<=', $most, "$name: few rows are read");
}

sub queue_is
{
	my ($waiting, $running, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return is(sql($node, $db, q{SELECT waiting, running FROM taskq.queue WHERE name = 'quick'}), "$waiting|$running", $name);
}

# --- a million that wait

sql($node, $db, q{SELECT taskq.queue_pause('quick')});
my @some = map {
	sql($node, $db, q{SELECT id FROM (SELECT id, row_number() OVER () AS n FROM
		taskq.task_submit_many('quick', array_fill('{"n": 1}'::jsonb, ARRAY[100000])) id) s WHERE n = 50000})
} 1 .. $million / 100_000;
queue_is($million, 0, 'a million tasks wait');

# What is done with any task, in the midst of them.
sub life_beside_them
{
	my ($when) = @_;

	reads_few(
		"$when, the states",
		10,
		sub {
			sql($node, $db, qq{SELECT * FROM taskq.server; SELECT * FROM taskq.worker; SELECT * FROM taskq.kind; SELECT * FROM taskq.queue});
		});
	# which has some tasks of each sort
	reads_few("$when, the situation", 500, sub { sql($node, $db, 'SELECT taskq.sitrep()') });
	reads_few(
		"$when, tasks that come and run",
		5000,
		sub {
			my @ids = map { submit($node, $db, 'short', '{}', $_) } 'priority => 0', 'priority => 50', q{delay => '1 s'};
			is(wait_task($node, $db, $_), 'completed', "$when, a task runs") foreach @ids;
			sql($node, $db, q{SELECT count(*) FROM taskq.task_submit_many('short', array_fill('{}'::jsonb, ARRAY[200]), delay => '1 s')});
			ok($node->poll_query_until($db, q{SELECT waiting + running = 0 FROM taskq.queue WHERE name = 'default'}), '... and those whose time comes');
		});
	reads_few(
		"$when, a claim from outside",
		200,
		sub {
			my $id = submit($node, $db, 'outside', '{"from": "outside"}');
			my ($claimed, $token) = split /\|/, sql($node, $db, q{SELECT id, token FROM taskq.task_claim('w', kinds => '{outside}')});
			is($claimed, $id, "$when, a claim gets its task");
			sql($node, $db, "SELECT taskq.task_heartbeat('$id', '$token', current => 1); SELECT taskq.task_complete('$id', '$token', '1')");
			task_is($node, $db, $id, 'state, result', 'completed|1', '... and completes it');
		});
	# how many are before each is counted, twice, up to 200
	reads_few(
		"$when, looks at tasks of them",
		200 + 2 * 200 * @some,
		sub {
			foreach my $id (@some)
			{
				sql($node, $db, qq{SELECT state FROM taskq.task_status('$id'); SELECT taskq.task_progress('$id');
					SELECT * FROM taskq.task_attempts('$id'); SELECT kind, state FROM taskq.task WHERE id = '$id'});
			}
		});
	return;
}

life_beside_them('while they wait');
reads_few(
	'cancels',
	100,
	sub {
		my $cancelled = pop @some;
		is(sql($node, $db, "SELECT cancelled FROM taskq.task_cancel('$cancelled')"), 't', 'one of them is cancelled');
		is(wait_task($node, $db, $cancelled), 'cancelled', '... as its waiter hears');
		sql($node, $db, "SELECT taskq.task_delete('$cancelled')");
	});
queue_is($million - 1, 0, '... and is not counted any more');

# --- they are worked off

my $before = rows_read();
sql($node, $db, q{SELECT taskq.queue_resume('quick')});
ok($node->poll_query_until($db, q{SELECT waiting + running = 0 FROM taskq.queue WHERE name = 'quick'}), 'all of them run');
my $each = (rows_read() - $before) / $million;
diag(sprintf '%.2f rows read for each task', $each) if $ENV{TASKQ_TEST_FIGURES};
cmp_ok($each, '<', 8, '... with a few rows read for each, however many there are');
queue_is(0, 0, '... and none is counted as waiting');
is(sql($node, $db, q{SELECT state, count(*), count(*) FILTER (WHERE attempt = 1 AND finished_at >= started_at) FROM taskq.task WHERE kind = 'quick' GROUP BY state}),
	'completed|' . ($million - 1) . '|' . ($million - 1), '... each once');
is(sql($node, $db, q{SELECT count(*) FROM taskq_internal.timer}) . sql($node, $db, q{SELECT count(*) FROM taskq_internal.lease}), '00', 'no timer and no lease is left');

# --- a million that are finished

life_beside_them('when they are finished');
reads_few(
	'retrying and deleting',
	300,
	sub {
		my $again = sql($node, $db, "SELECT taskq.task_retry('$some[0]')");
		is(wait_task($node, $db, $again), 'completed', 'one of them is run again');
		is(wait_task($node, $db, $some[1]), 'completed', 'waiting for one is over at once');
		sql($node, $db, "SELECT taskq.task_result('$some[1]')");
		sql($node, $db, "SELECT taskq.task_delete('$_')") foreach $some[1], $again;
		like(sql_error($node, $db, "SELECT taskq.task_status('$some[1]')"), qr/PT404/, 'one that is deleted is not there');
	});
is(sql($node, $db, q{SELECT count(*) FROM taskq.task WHERE kind = 'quick'}), $million - 2, 'the others are');

# --- and after a restart, when nothing is known in memory

foreach my $mode ('fast', 'immediate')
{
	# what is counted survives a clean stop only
	my $known = rows_read();
	$node->stop($mode);
	$node->start;
	my $from = sql($node, $db, 'SELECT n FROM reads');
	$from = 0 if $from < $known;
	my $id = submit($node, $db, 'quick');
	is(wait_task($node, $db, $id), 'completed', "after a stop ($mode) a task of the same lane runs");
	my $rows = rows_read() - $from;
	diag("after a stop ($mode): $rows rows") if $ENV{TASKQ_TEST_FIGURES};
	cmp_ok($rows, '<=', 20_000, '... without that the million is read');
}

done_testing();
