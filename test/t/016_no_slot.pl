# When other users of background workers have taken all slots, tasks wait; the
# server log says why, once.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use TaskqTest;
use PostgreSQL::Test::Utils;
use Test::More;

# One slot is the logical replication launcher's, one taskq's launcher's.
foreach my $case ([ 2, 'dispatcher' ], [ 3, 'worker' ])
{
	my ($slots, $what) = @$case;
	my $node = taskq_node("no_$what", 'max_worker_processes' => $slots);
	my $db = 'postgres';

	my @ids = map { submit($node, $db, 'short') } 1 .. 10;
	ok( $node->poll_query_until(
			$db,
			"SELECT count(*) = 10 FROM taskq.task WHERE state = 'pending'"
		),
		"no slot for a $what: tasks are pending");
	$node->wait_for_log(qr/HINT:.*max_worker_processes/);
	my @more = map { submit($node, $db, 'short') } 1 .. 10;
	my $log = slurp_file($node->logfile);
	my $said = () = $log =~ /HINT:.*max_worker_processes/g;
	is($said, 1, 'the log says so once, with a hint');
	is(processes($node, 'worker'), 0, 'no worker');
	is( sql($node, $db, "SELECT count(*) FROM taskq.task WHERE state = 'pending'"),
		'20', 'nothing is lost');

	$node->append_conf('postgresql.conf', 'max_worker_processes = 8');
	$node->restart;
	is(wait_task($node, $db, $_), 'completed', 'with slots they run')
	  foreach $ids[0], $more[9];
	ok( $node->poll_query_until(
			$db, "SELECT count(*) = 20 FROM taskq.task WHERE state = 'completed'"),
		'... all of them');

	# taskq.max_workers = 0 stops it at will
	$node->append_conf('postgresql.conf', 'taskq.max_workers = 0');
	$node->reload;
	ok( $node->poll_query_until(
			$db, "SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type = 'taskq worker'"),
		'taskq.max_workers = 0: the workers leave');
	my $id = submit($node, $db, 'short');
	task_is($node, $db, $id, 'state', 'pending', '... and tasks wait');
	$node->append_conf('postgresql.conf', 'taskq.max_workers = 4');
	$node->reload;
	is(wait_task($node, $db, $id), 'completed', '... until it is raised');
	$node->stop;
}

# The sweeper takes a process that nobody needs, and leaves when a worker needs it.
{
	my $node = taskq_node('no_sweeper', 'max_worker_processes' => 4, 'taskq.worker_idle_timeout' => '10min');
	my $db = 'postgres';
	my $id = submit($node, $db, 'short');
	is(wait_task($node, $db, $id), 'completed', 'a worker has the last process');
	# a task of two days ago
	my $leaf = sql($node, $db, q{
		INSERT INTO taskq_internal.task (id, lane, slot, attempt, state, finished_at)
		SELECT overlay(id::text placing overlay(lpad(to_hex((extract(epoch FROM now() - interval '2 days') * 1000)::bigint), 12, '0') placing '-' from 9 for 0) from 1 for 13)::uuid,
			lane, (slot + 8) % 16, attempt, state, now() - interval '2 days' FROM taskq_internal.task LIMIT 1
		RETURNING tableoid::regclass});
	$node->reload;
	is(wait_task($node, $db, submit($node, $db, 'short')), 'completed', 'tasks run while something old waits for a sweeper');

	my ($in, $out, $err) = ('', '', '');
	my $reader = IPC::Run::start([ 'psql', '-XAtq', '-d', $node->connstr($db), '-f', '-' ], '<', \$in, '>', \$out, '2>', \$err);
	$in .= "BEGIN; SELECT count(*) FROM $leaf;\n\\echo read\n";
	$reader->pump until $out =~ /read/;
	$node->safe_psql($db, 'SELECT taskq.worker_stop(name) FROM taskq.worker');
	$node->poll_query_until($db, q{SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type = 'taskq worker'});
	$node->reload;
	ok($node->poll_query_until($db, q{SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'taskq sweeper'}), 'a sweeper comes when the worker has left');
	is(wait_task($node, $db, submit($node, $db, 'short')), 'completed', '... and makes room for the next one');
	$in .= "COMMIT;\n\\q\n";
	$reader->finish;
	$node->safe_psql($db, 'SELECT taskq.worker_stop(name) FROM taskq.worker');
	$node->poll_query_until($db, q{SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type = 'taskq worker'});
	$node->reload;
	ok($node->poll_query_until($db, q{SELECT NOT EXISTS (SELECT FROM taskq_internal.task WHERE finished_at < now() - interval '1 day')}), 'what is old is forgotten in the end');
}

done_testing();
