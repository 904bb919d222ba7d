# Whoever has something to do gets a worker soon, however few processes the
# server has room for, and however long other roles' tasks are.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use TaskqTest;
use PostgreSQL::Test::Utils;
use Test::More;

# Idle workers would stay for ever: their places must go to whoever needs them.
my $node = taskq_node(
	'supply',
	'max_worker_processes' => 8,
	'max_connections' => 50,
	'taskq.worker_idle_timeout' => '1h');
my $db = 'postgres';
my @roles = map { "role$_" } 1 .. 4;
my @dbs = ($db, 'db2', 'db3');

$node->safe_psql($db, join('', map { "CREATE ROLE $_ LOGIN; GRANT taskq_user TO $_;" } @roles));
taskq_database($node, $_) foreach @dbs[ 1, 2 ];

sub submit_as
{
	my ($role, $kind, $payload, $where) = @_;
	return as_role($node, $where // $db, $role, "SELECT taskq.task_submit('$kind', '" . ($payload // '{}') . "')");
}

sub set
{
	my ($setting, $value) = @_;
	return $node->safe_psql($db, "ALTER SYSTEM SET $setting = '$value'");
}

# --- max_worker_processes has room for no process more than taskq needs, or for fewer

foreach my $role (@roles)
{
	foreach my $where (@dbs[ 0, 1 ])
	{
		is(wait_task($node, $where, submit_as($role, 'short', '{}', $where)), 'completed', "8 slots: $role in $where is served, one after the other");
	}
}

# one slot is the launcher's, one that of logical replication
foreach my $slots (8, 6, 5, 4)
{
	set('max_worker_processes', $slots);
	$node->restart;
	my %ids;
	foreach my $round (1 .. 2)
	{
		foreach my $where (@dbs)
		{
			push @{ $ids{$where} }, submit_as($_, 'short', '{}', $where) foreach @roles;
		}
	}
	foreach my $where (@dbs)
	{
		my $list = join(',', @{ $ids{$where} });
		is(sql($node, $where, "SELECT count(*) FROM taskq.task_wait_all('{$list}', '50 s') WHERE state = 'completed'"),
			'8', "$slots slots: all roles are served in $where");
	}
}

# a task that lasts keeps the only worker's place, and no longer than that
my $long = submit_as('role1', 'gate', '{"gate": "long"}', 'db2');
wait_state($node, 'db2', $long, 'running');
my $waits = submit_as('role2', 'short');
open_gate($node, 'db2', 'long');
is(wait_task($node, 'db2', $long), 'completed', 'a long task in the only place for a worker');
is(wait_task($node, $db, $waits), 'completed', '... and one that waited for it');

# --- what cannot run fails to the last one, though nobody listens

set('max_worker_processes', 16);
set('taskq.notify', 'off');
$node->restart;
$node->safe_psql($db, q{CREATE ROLE locked_out LOGIN; GRANT taskq_user TO locked_out; SELECT taskq.queue_define('held'), taskq.queue_pause('held')});
as_role($node, $db, 'locked_out', q{SELECT count(*) FROM taskq.task_submit_many('short', array_fill('{}'::jsonb, ARRAY[2000]), queue => 'held')});
$node->safe_psql($db, q{ALTER ROLE locked_out NOLOGIN; SELECT taskq.queue_resume('held')});
ok( $node->poll_query_until($db, q{SELECT count(*) FILTER (WHERE state = 'failed') = 2000 FROM taskq.task WHERE queue = 'held'}),
	'2,000 tasks of a role that may not log in any more fail');
is(wait_task($node, $db, submit_as('role1', 'short')), 'completed', '... and hold up nobody');
set('taskq.notify', 'final');

# --- endless tasks of one role

$node->restart;

# as SQL: how many of a role's tasks at a gate run
sub running { return "(SELECT count(*) FROM taskq.task WHERE kind = 'gate' AND state = 'running' AND submitted_by = '$_[0]')"; }

sub cancel_all
{
	sql($node, $db, q{SELECT count(*) FROM taskq.task t, taskq.task_cancel(t.id) WHERE NOT ready});
	return $node->poll_query_until($db, 'SELECT count(*) = 0 FROM taskq.task WHERE NOT ready');
}

my @endless = map { submit_as('role1', 'gate', qq({"gate": "alone$_"})) } 1 .. 5;
ok($node->poll_query_until($db, 'SELECT ' . running('role1') . ' = 4'), 'a role that is the only one has all workers');
my $other = submit_as('role2', 'short');
open_gate($node, $db, "alone$_") foreach 1 .. 5;
is(wait_task($node, $db, $other), 'completed', '... until a second one comes, when one of its tasks ends');
is(wait_task($node, $db, $_), 'completed', '... and all of its own run') foreach @endless;

@endless = map { submit_as('role1', 'gate', '{"gate": "never"}') } 1 .. 5;
ok($node->poll_query_until($db, 'SELECT ' . running('role1') . ' = 3'), 'of two roles that are known, the one with endless tasks has all workers but one');
foreach my $i (1 .. 3)
{
	is(wait_task($node, $db, submit_as($_, 'short')), 'completed', "$_ is served beside them") foreach 'role2', 'role3';
}
is(wait_task($node, 'db2', submit_as('role2', 'short', '{}', 'db2')), 'completed', '... also in another database');
is(sql($node, $db, 'SELECT ' . running('role1')), '3', '... which take no place more');

# who waits for that place is no reason to look again and again
my ($dispatcher) = backend_pids($node, 'dispatcher', $db);
ok(sleep_on(2.5, [$dispatcher], 10), 'nobody looks again and again whether the place is theirs');

set('taskq.reserve_worker', 'off');
$node->reload;
ok($node->poll_query_until($db, 'SELECT ' . running('role1') . ' = 4'), 'with taskq.reserve_worker off it takes the last one');
ok(cancel_all(), 'they are cancelled');
set('taskq.reserve_worker', 'on');

# with a limit of its own, and with one worker only
set('taskq.max_workers_per_role', 2);
$node->restart;
@endless = map { submit_as('role1', 'gate', '{"gate": "never"}') } 1 .. 3;
ok($node->poll_query_until($db, 'SELECT ' . running('role1') . ' = 2'), 'taskq.max_workers_per_role holds as well');
is(wait_task($node, $db, submit_as('role2', 'short')), 'completed', '... and others are served');
ok(cancel_all(), 'they are cancelled');
set('taskq.max_workers_per_role', 0);
set('taskq.max_workers', 1);
$node->reload;
is(wait_task($node, $db, submit_as($_, 'short')), 'completed', "a single worker serves $_") foreach 'role1', 'role2', 'role1';

# a role that is gone keeps no place
set('taskq.max_workers', 2);
$node->restart;
$node->safe_psql($db, 'CREATE ROLE gone LOGIN; GRANT taskq_user TO gone');
is(wait_task($node, $db, submit_as('gone', 'short')), 'completed', 'a role is known');
sql($node, $db, q{SELECT count(*) FROM taskq.worker w, taskq.worker_stop(w.name)});
$node->safe_psql($db, 'DROP ROLE gone');
@endless = map { submit_as('role1', 'gate', '{"gate": "never"}') } 1 .. 2;
ok($node->poll_query_until($db, 'SELECT ' . running('role1') . ' = 2'), '... and not any more when it is dropped');

$node->stop;
done_testing();
