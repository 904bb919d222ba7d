# External workers that listen are told of a new task also when the dispatcher could not
# see to that at once.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use TaskqTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = taskq_node('ready_notified', 'taskq.max_workers' => 1);
my $db = 'postgres';

$node->safe_psql($db, q{SELECT taskq.kind_define('outside', NULL)});
my ($in, $out) = ('', '');
my $listener = IPC::Run::start([ 'psql', '-XAtq', '-d', $node->connstr($db), '-f', '-' ], '<', \$in, '>', \$out, '2>', \my $err);

# New notifications that the listener has when the condition holds.
sub told
{
	foreach (1 .. 600)
	{
		$in .= "SELECT pg_sleep(0.1);\n\\echo mark$_.\n";
		$listener->pump until $out =~ /mark$_\./;
		return 1 if $out =~ /notification "taskq:ready:default"/;
	}
	return 0;
}

$in .= qq{LISTEN "taskq:ready:default";\nSELECT taskq.task_submit('outside');\n};
ok(told(), 'who listens is told of a task');

# the next dispatcher has to read the definitions
$node->poll_query_until($db, q{SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE backend_type = 'taskq dispatcher')});
my $locker = $node->background_psql($db);
$locker->query_safe('BEGIN; LOCK TABLE taskq_internal.kind IN ACCESS EXCLUSIVE MODE');
$out = '';
my $before = -s $node->logfile;
$in .= "SELECT taskq.task_submit('outside');\n";
$listener->pump while length $in;
$node->wait_for_log(qr/taskq could not notify external workers/, $before);
$locker->query_safe('ROLLBACK');
$out = '';
ok(told(), '... also when a table was locked meanwhile');
$locker->quit;
$in .= "\\q\n";
$listener->finish;
done_testing();
