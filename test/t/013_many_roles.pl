# More roles than workers: everybody is served, and each task's end is told.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use TaskqTest;
use PostgreSQL::Test::Utils;
use Test::More;

# Idle workers would stay for ever: their slots must go to whoever needs them.
my $node = taskq_node(
	'many_roles',
	'taskq.max_workers' => 2,
	'taskq.worker_idle_timeout' => '1h');
my $db = 'postgres';
my @roles = map { "role$_" } 1 .. 7;

$node->safe_psql($db,
	join('', map { "CREATE ROLE $_ LOGIN; GRANT taskq_user TO $_;" } @roles));

my $listener = $node->background_psql($db);
$listener->query_safe('LISTEN taskq');
my $listener_all = '';

my %task;
foreach my $round (1 .. 3)
{
	foreach my $role (@roles)
	{
		my $id = as_role($node, $db, $role, q{SELECT taskq.task_submit('short')});
		$task{$id} = $role;
	}
}
my $ids = '{' . join(',', keys %task) . '}';
is( sql($node, $db,
		"SELECT count(*) FROM taskq.task_wait_all('$ids', '50 s') WHERE state = 'completed'"),
	scalar(keys %task),
	'the tasks of more roles than workers all complete');
is( sql($node, $db, q{
		SELECT count(*) FROM effect e JOIN taskq.task t ON t.id = e.task WHERE e.who <> t.submitted_by}),
	'0',
	'... each as its own role');
cmp_ok(processes($node, 'worker'), '<=', 2, 'by no more workers than allowed');

# --- one role's long tasks do not keep the others out for ever

my $long = as_role($node, $db, 'role1', q{SELECT taskq.task_submit('gate', '{"gate": "a"}')});
wait_state($node, $db, $long, 'running');
foreach my $role (@roles[ 1 .. 3 ])
{
	my $id = as_role($node, $db, $role, q{SELECT taskq.task_submit('short')});
	is(wait_task($node, $db, $id), 'completed',
		"$role is served beside a long task of role1");
	$task{$id} = $role;
}
configure($node, 'taskq.reserve_worker' => 'off');
my $second = as_role($node, $db, 'role1', q{SELECT taskq.task_submit('short')});
is(wait_task($node, $db, $second), 'completed',
	'role1 gets the idle worker\'s place for its next task, with taskq.reserve_worker off');
configure($node, 'taskq.reserve_worker' => undef);
$task{$second} = 'role1';
open_gate($node, $db, 'a');
is(wait_task($node, $db, $long), 'completed', 'which completes');
$task{$long} = 'role1';

# a role with much work does not starve one with little
my @stream = split /\n/, as_role($node, $db, 'role1',
	q{SELECT taskq.task_submit_many('short', array_fill('{}'::jsonb, ARRAY[3000]))});
my $little = as_role($node, $db, 'role2', q{SELECT taskq.task_submit('short')});
is(wait_task($node, $db, $little), 'completed',
	'one task of a role is served beside thousands of another');
$task{$_} = 'role1' foreach @stream;
$task{$little} = 'role2';
is( sql($node, $db,
		'SELECT count(*) FROM taskq.task_wait_all((SELECT array_agg(id) FROM taskq.task), \'50 s\') WHERE state = \'completed\''),
	scalar(keys %task),
	'all complete');

# --- more databases than workers

foreach my $i (1 .. 3)
{
	taskq_database($node, "db$i");
	my $id = submit($node, "db$i", 'short');
	is(wait_task($node, "db$i", $id), 'completed', "database $i is served");
}
my $back = submit($node, $db, 'short');
is(wait_task($node, $db, $back), 'completed', '... and the first one again');
$task{$back} = 'postgres';

# --- events

my %told;
foreach my $try (1 .. 600)
{
	$listener_all .= $listener->query_safe('SELECT 1') . "\n";
	%told = ();
	while ($listener_all =~ /notification "taskq" with payload "(\{.*?\})" received/g)
	{
		my $event = $1;
		my ($id) = $event =~ /"task_id":\s*"([0-9a-f-]{36})"/;
		my ($state) = $event =~ /"state":\s*"(\w+)"/;
		push @{ $told{ $id // $event } }, $state // 'none';
	}
	last if keys %told >= keys %task;
	select(undef, undef, undef, 0.1);
}
is(scalar(grep { exists $told{$_} } keys %task),
	scalar(keys %task), 'each task\'s end is told');
is(scalar(grep { !exists $task{$_} } keys %told), 0, '... of none else');
is( scalar(grep { "@$_" ne 'completed' } values %told),
	0, '... once, with the state that it has');
unlike($listener_all, qr/role\d|gate/, '... and nothing else about it');
$listener->quit;

# --- taskq.notify = off

$node->append_conf('postgresql.conf', "taskq.notify = 'off'");
$node->reload;
$listener = $node->background_psql($db);
$listener->query_safe('LISTEN taskq');
my $silent = submit($node, $db, 'short');
is(wait_task($node, $db, $silent), 'completed', 'with taskq.notify = off a task runs');
$node->append_conf('postgresql.conf', "taskq.notify = 'final'");
$node->reload;
my $loud = submit($node, $db, 'short');
my $heard = '';
foreach my $try (1 .. 600)
{
	$heard .= $listener->query_safe('SELECT 1');
	last if $heard =~ /$loud/;
	select(undef, undef, undef, 0.1);
}
like($heard, qr/$loud/, 'switched on again, an event comes');
unlike($heard, qr/$silent/, '... and none came while it was off');
$listener->quit;

$node->stop;
done_testing();
