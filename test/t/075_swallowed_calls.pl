# A process that waits inside of PostgreSQL, for a lock say, finds its latch reset
# afterwards: who called it meanwhile must be heard all the same.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use TaskqTest;
use PostgreSQL::Test::Utils;
use Test::More;

# nobody leaves, so nothing but a call makes the dispatcher look
my $node = taskq_node('swallowed_calls', 'taskq.max_workers' => 4, 'taskq.worker_idle_timeout' => '-1');
my $db = 'postgres';

$node->safe_psql($db, q{
	CREATE FUNCTION nothing() RETURNS void LANGUAGE sql AS '';
	SELECT taskq.kind_define('one', 'nothing()');
	SELECT taskq.kind_define('other', 'nothing()');
});
is(wait_task($node, $db, submit($node, $db, 'one')), 'completed', 'a worker is there');
my $worker = $node->safe_psql($db, q{SELECT pid FROM taskq.worker});

# The worker is called for a task, and on its way to it waits for a lock.  Meanwhile the
# task is cancelled, and it is called for another one.
my $locker = $node->background_psql($db);
$locker->query_safe('BEGIN; LOCK TABLE taskq_internal.queue IN ACCESS EXCLUSIVE MODE');
$node->safe_psql($db, q{SELECT taskq.kind_define('other', 'nothing()', description => 'read the definitions again')});
my $first = submit($node, $db, 'one');
ok($node->poll_query_until($db, "SELECT EXISTS (SELECT FROM pg_locks WHERE pid = $worker AND NOT granted)"),
	'it waits for a lock');
is($node->safe_psql($db, "SELECT cancelled FROM taskq.task_cancel('$first')"), 't', 'what it was called for is cancelled');
my $second = submit($node, $db, 'other');
$locker->query_safe('COMMIT');
$locker->quit;
is(wait_task($node, $db, $second), 'completed', 'it hears the call that came while it waited');
is($node->safe_psql($db, "SELECT w.pid = $worker FROM taskq.task_status('$second') t, taskq.worker w WHERE w.name = t.worker"),
	't', '... itself');
$node->stop;
done_testing();
