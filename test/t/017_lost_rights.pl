# A role that lost what it needs to run its tasks stops nobody else's.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use TaskqTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = taskq_node('lost_rights', 'taskq.max_workers' => 2);
my $db = 'postgres';

$node->safe_psql(
	$db, q{
	REVOKE CONNECT ON DATABASE postgres FROM PUBLIC;
	CREATE ROLE other LOGIN;
	GRANT taskq_user TO other;
	GRANT CONNECT ON DATABASE postgres TO other;
	SELECT taskq.queue_define('held');});

foreach my $case (
	[ 'login', 'ALTER ROLE x_login NOLOGIN', 'ALTER ROLE x_login LOGIN' ],
	[ 'connect', 'REVOKE CONNECT ON DATABASE postgres FROM x_connect', 'GRANT CONNECT ON DATABASE postgres TO x_connect' ],
	[ 'dropped', 'REVOKE CONNECT ON DATABASE postgres FROM x_dropped; DROP ROLE x_dropped', '' ],
	[ 'renamed', 'ALTER ROLE x_renamed RENAME TO y_renamed', 'ALTER ROLE y_renamed RENAME TO x_renamed' ])
{
	my ($name, $lose, $restore) = @$case;
	my $role = "x_$name";

	$node->safe_psql($db, "
		CREATE ROLE $role LOGIN;
		GRANT taskq_user TO $role;
		GRANT CONNECT ON DATABASE postgres TO $role;
		SELECT taskq.queue_pause('held');");
	my $id = as_role($node, $db, $role, q{SELECT taskq.task_submit('short', queue => 'held', max_attempts => 1)});
	$node->safe_psql($db, $lose);
	$node->safe_psql($db, q{SELECT taskq.queue_resume('held')});
	foreach my $i (1 .. 3)
	{
		my $other = as_role($node, $db, 'other', q{SELECT taskq.task_submit('short', queue => 'held')});
		is(wait_task($node, $db, $other), 'completed',
			"$name: another role's task runs");
	}
	if ($name eq 'renamed')
	{
		is(wait_task($node, $db, $id), 'completed',
			'a role with a new name is the same role');
		is(sql($node, $db, "SELECT who FROM effect WHERE task = '$id'"),
			'y_renamed', '... and runs under that name');
	}
	else
	{
		is(effects($node, $db, $id), 0, 'the task of the role does not run');
		is( sql($node, $db, "SELECT state <> 'completed' FROM taskq.task_status('$id')"),
			't', '... and is not completed');
	}
	next if !$restore;
	$node->safe_psql($db, $restore);
	my $again = as_role($node, $db, $role, q{SELECT taskq.task_submit('short')});
	is(wait_task($node, $db, $again), 'completed',
		'when it has the right again, its tasks run');
}

# a database that nobody may connect to does not hold up the others
taskq_database($node, 'closed');
my $id = submit($node, 'closed', 'short', '{}', "delay => '500 ms'");
# a worker that was on its way, or is started by a dispatcher that was there before
expect_fatal($node, 'database "closed" is not currently accepting connections', [ 0, undef ]);
$node->safe_psql('postgres', 'ALTER DATABASE closed ALLOW_CONNECTIONS false');
my $other = submit($node, 'postgres', 'short', '{}', "delay => '1 s'");
is(wait_task($node, 'postgres', $other), 'completed',
	'a task of another database runs when its time has come');
$node->safe_psql('postgres', 'ALTER DATABASE closed ALLOW_CONNECTIONS true');
is(wait_task($node, 'closed', $id), 'completed',
	'one of a database that was closed for a while runs when it is open again');

# no hot loop: what cannot run is not tried again and again
my $log = slurp_file($node->logfile);
my $fatal = () = $log =~ /FATAL:/g;
cmp_ok($fatal, '<', 50, 'what cannot run is not tried without a pause');

$node->stop;
done_testing();
