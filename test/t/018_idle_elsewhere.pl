# Workers that idle in one database do not keep another from its share.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use TaskqTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = taskq_node(
	'idle_elsewhere',
	'taskq.max_workers' => 2,
	'taskq.worker_idle_timeout' => '1h');
my $db = 'postgres';
taskq_database($node, 'elsewhere');

# two workers elsewhere, idle from now on
my @gates = map { submit($node, 'elsewhere', 'gate', qq({"gate": "elsewhere"})) } 1 .. 2;
wait_state($node, 'elsewhere', $_, 'running') foreach @gates;
open_gate($node, 'elsewhere', 'elsewhere');
is(wait_task($node, 'elsewhere', $_), 'completed', 'a task ran elsewhere') foreach @gates;

# one of them makes room for a long task here, the other one for a short one beside it
my $long = submit($node, $db, 'gate', '{"gate": "here"}');
wait_state($node, $db, $long, 'running');
my $short = submit($node, $db, 'short');
is(wait_task($node, $db, $short), 'completed', 'a short task runs while a long one does');
task_is($node, $db, $long, 'state', 'running', '... which runs still');
open_gate($node, $db, 'here');
is(wait_task($node, $db, $long), 'completed', '... and ends');

$node->stop;
done_testing();
