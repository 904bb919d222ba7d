# Lanes that lose their room in shared memory to others are come back to, though nothing
# else happens that would wake anybody.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use TaskqTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = taskq_node(
	'evicted_lanes',
	'taskq.max_lanes' => 16,
	'taskq.max_workers' => 1,
	'taskq.notify' => 'off',
	'taskq.worker_idle_timeout' => '60s');
my $db = 'postgres';

is(wait_task($node, $db, submit($node, $db, 'short')), 'completed', 'a worker idles');
for my $round (1 .. 2)
{
	$node->safe_psql($db, q{SELECT count(taskq.task_submit('short', priority => i)) FROM generate_series(-20, 20) i});
	ok($node->poll_query_until($db, 'SELECT count(*) = 0 FROM taskq.task WHERE NOT ready'),
		"tasks of more lanes than there is room for are all run, round $round");
}

done_testing();
