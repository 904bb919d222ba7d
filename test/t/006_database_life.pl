# DROP, RENAME and copy of a database that taskq works in.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use TaskqTest;
use PostgreSQL::Test::Utils;
use Test::More;

# Workers stay for long: nothing here depends on their having left.
my $node = taskq_node('database_life', 'taskq.worker_idle_timeout' => '10min');
my $id;

# --- DROP DATABASE

taskq_database($node, 'idle');
$id = submit($node, 'idle', 'short');
is(wait_task($node, 'idle', $id), 'completed', 'a task ran in a database');
sql_ok($node, 'postgres', 'DROP DATABASE idle', 'which is dropped');

taskq_database($node, 'busy');
$id = submit($node, 'busy', 'gate', '{"gate": "never"}');
wait_state($node, 'busy', $id, 'running');
expect_terminated($node, 'worker');
sql_ok($node, 'postgres', 'DROP DATABASE busy',
	'a database with a running task is dropped')
  || sql_ok($node, 'postgres', 'DROP DATABASE busy WITH (FORCE)', '... by force');
$node->poll_query_until('postgres',
	"SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type LIKE 'taskq %' AND datname = 'busy'"
);
is(processes($node, 'worker', 'busy'), 0, '... and its worker is gone');
$id = submit($node, 'postgres', 'short');
is(wait_task($node, 'postgres', $id), 'completed',
	'other databases go on');

# --- DROP DATABASE of one that taskq has no part in, under load

$node->safe_psql('postgres', 'CREATE DATABASE unrelated');
my $gate = submit($node, 'postgres', 'gate', '{"gate": "load"}');
wait_state($node, 'postgres', $gate, 'running');
$node->safe_psql('postgres',
	"SELECT count(*) FROM taskq.task_submit_many('short', array_fill('{}'::jsonb, ARRAY[20000]))"
);
sql_ok($node, 'postgres', 'DROP DATABASE unrelated',
	'an unrelated database is dropped');
is( sql($node, 'postgres',
		"SELECT count(*) > 0 FROM taskq.task WHERE NOT ready"),
	't',
	'... while tasks run');
open_gate($node, 'postgres', 'load');
is(wait_task($node, 'postgres', $gate), 'completed', 'they go on');

# --- ALTER DATABASE RENAME

taskq_database($node, 'old_name');
$id = submit($node, 'old_name', 'short');
is(wait_task($node, 'old_name', $id), 'completed', 'a task ran in a database');
my $waiting = submit($node, 'old_name', 'short', '{}', "delay => '1 day'");
$id = submit($node, 'old_name', 'gate', '{"gate": "renamed"}');
wait_state($node, 'old_name', $id, 'running');
expect_terminated($node, 'worker');
sql_ok(
	$node, 'postgres',
	'ALTER DATABASE old_name RENAME TO new_name',
	'a database with a running task is renamed')
  || $node->safe_psql('postgres', q{
	SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = 'old_name';
	ALTER DATABASE old_name RENAME TO new_name});
open_gate($node, 'new_name', 'renamed');
is(wait_task($node, 'new_name', $id),
	'completed', '... and the task comes to its end');
is(effects($node, 'new_name', $id), 1, '... with one effect');
task_is($node, 'new_name', $waiting, 'state', 'scheduled',
	'... and what waited waits');

# --- CREATE DATABASE … TEMPLATE

taskq_database($node, 'original');
$node->safe_psql('original', q{SELECT taskq.queue_define('held'); SELECT taskq.queue_pause('held');});
my $done = submit($node, 'original', 'short', '{"a": 1}');
is(wait_task($node, 'original', $done), 'completed', 'a task ran in a database');
my $held = submit($node, 'original', 'short', '{}', "queue => 'held'");
my $due = submit($node, 'original', 'short', '{}', "delay => '1 day'");
sql_ok($node, 'postgres', 'CREATE DATABASE copy TEMPLATE original',
	'which is copied');

task_is($node, 'copy', $done, 'state, result', 'completed|{"a": 1}',
	'the copy has the finished task and its result');
$node->safe_psql('copy', q{SELECT taskq.queue_resume('held')});
my $own = submit($node, 'copy', 'short', '{}', "queue => 'held'");
is(wait_task($node, 'copy', $own),
	'completed', 'a task submitted in the copy runs');
task_is($node, 'copy', $held, 'state', 'pending',
	'one that came with it does not');
cmp_ok(sql($node, 'copy', 'SELECT taskq.resume()'),
	'>', 0, 'taskq.resume() takes the lanes over');
is(wait_task($node, 'copy', $held), 'completed', '... and it runs');
is(effects($node, 'copy', $held), 1, '... once');
task_is($node, 'copy', $due, 'state', 'scheduled',
	'what is due later waits in the copy too');
is(sql($node, 'copy', 'SELECT taskq.resume()'),
	'0', 'there is nothing more to take over');

task_is($node, 'original', $held, 'state', 'pending',
	'the original is not concerned');
$node->safe_psql('original', q{SELECT taskq.queue_resume('held')});
is(wait_task($node, 'original', $held),
	'completed', '... and runs its task when it shall');

# --- SET TABLESPACE

my $dir = PostgreSQL::Test::Utils::tempdir();
$node->safe_psql('postgres', "CREATE TABLESPACE elsewhere LOCATION '$dir'");
$id = submit($node, 'copy', 'gate', '{"gate": "moved"}');
wait_state($node, 'copy', $id, 'running');
expect_terminated($node, 'worker');
sql_ok(
	$node, 'postgres',
	'ALTER DATABASE copy SET TABLESPACE elsewhere',
	'a database with a running task moves to another tablespace');
open_gate($node, 'copy', 'moved');
is(wait_task($node, 'copy', $id),
	'completed', '... and the task comes to its end');
is(effects($node, 'copy', $id), 1, '... with one effect');

$node->stop;
done_testing();
