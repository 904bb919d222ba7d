# The disk is waited for by what must be durable, once for many: not by each
# attempt that fails, nor by timers that are due.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use TaskqTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = taskq_node('slow_disk', 'fsync' => 'on', 'taskq.max_workers' => 1, 'taskq.worker_idle_timeout' => '200ms');
my $db = 'postgres';

$node->safe_psql(
	$db, q{
	CREATE FUNCTION bad_work(p jsonb) RETURNS void LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no'; END $$;
	SELECT taskq.kind_define('bad', 'bad_work(jsonb)', max_attempts => 2, backoff => '10 ms');
	SELECT taskq.kind_define('bad_batch', 'bad_work(jsonb)', max_attempts => 2, backoff => '10 ms', batch => true);
});

# Since 18 they are counted with all else that is read and written.
sub syncs
{
	return $node->safe_psql($db, $node->pg_version >= 18
		? q{SELECT sum(fsyncs) FROM pg_stat_io WHERE object = 'wal'}
		: 'SELECT wal_sync FROM pg_stat_wal');
}

# Processes that have ended have told how often they waited for the disk.
foreach my $kind ('bad', 'bad_batch')
{
	wait_idle($node);
	my $before = syncs();
	$node->safe_psql($db, "SELECT count(*) FROM taskq.task_submit_many('$kind', array_fill('{}'::jsonb, ARRAY[1000]))");
	ok($node->poll_query_until($db,
		"SELECT count(*) = 1000 FROM taskq.task WHERE kind = '$kind' AND state = 'failed' AND attempt = 2"),
		"each task of kind $kind failed twice");
	wait_idle($node);
	cmp_ok(syncs() - $before, '<', 800, '... and 2,000 failures did not wait for the disk one by one');
}

# What was told is durable.
my $id = submit($node, $db, 'bad');
is(wait_task($node, $db, $id), 'failed', 'a task fails');
$node->stop('immediate');
$node->start;
is($node->safe_psql($db, "SELECT state FROM taskq.task_status('$id')"), 'failed', '... also after a crash');

$node->stop;
done_testing();
