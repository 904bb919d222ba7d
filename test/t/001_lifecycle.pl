# The processes come when there is work and go when there is none.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use TaskqTest;
use PostgreSQL::Test::Utils;
use Test::More;

# --- without shared_preload_libraries

my $node = PostgreSQL::Test::Cluster->new('lifecycle');
$node->init;
$node->append_conf('postgresql.conf', "max_worker_processes = 16");
$node->start;

my ($ret, $out, $err) = $node->psql(
	'postgres', q{
	CREATE EXTENSION taskq;
	SELECT taskq.task_submit('any');},
	on_error_stop => 0);
like($err, qr/ERROR/, 'not preloaded: submitting is an error');
like(
	$err,
	qr/HINT:.*shared_preload_libraries/s,
	'... with a hint that names the setting');
$node->safe_psql('postgres', 'DROP EXTENSION IF EXISTS taskq');

# --- an idle server has a launcher and nothing else

$node->append_conf(
	'postgresql.conf', q{
shared_preload_libraries = 'taskq'
restart_after_crash = on
taskq.worker_idle_timeout = '1s'
});
$node->restart;
taskq_database($node, 'postgres');

ok( $node->poll_query_until(
		'postgres',
		"SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'taskq launcher'"
	),
	'one launcher');
ok(wait_idle($node), 'a database without tasks has no taskq process');

# --- processes for the time there is work

my $id = submit($node, 'postgres', 'gate', '{"gate": "a"}');
wait_state($node, 'postgres', $id, 'running');
is(processes($node, 'dispatcher', 'postgres'), 1, 'work brings a dispatcher');
is(processes($node, 'worker', 'postgres'), 1, '... and a worker');
task_is($node, 'postgres', $id, 'worker = (SELECT name FROM taskq.worker)',
	't', 'the task names the worker that runs it');
is( sql($node, 'postgres',
		"SELECT role, state, task_id = '$id', kind FROM taskq.worker"),
	'postgres|busy|t|gate',
	'the worker view says who works and at what');
is( sql($node, 'postgres',
		"SELECT pid = (SELECT pid FROM pg_stat_activity WHERE backend_type = 'taskq worker') FROM taskq.worker"
	),
	't',
	'its pid is the one of pg_stat_activity');
open_gate($node, 'postgres', 'a');
is(wait_task($node, 'postgres', $id), 'completed', 'the task completes');
ok(wait_idle($node), 'idle workers leave, and then the dispatcher');
is(processes($node, 'launcher'), 1, 'the launcher stays');

# --- a second database works at once

taskq_database($node, 'second');
$id = submit($node, 'second', 'short');
is(wait_task($node, 'second', $id),
	'completed', 'a task in a second database runs');

$node->safe_psql('postgres', 'CREATE DATABASE third');
$id = $node->safe_psql(
	'third', q{
	BEGIN;
	CREATE EXTENSION taskq;
	SELECT FROM taskq.kind_define('len', 'jsonb_array_length(jsonb)');
	SELECT taskq.task_submit('len', '[1, 2, 3]');
	COMMIT;});
$id =~ s/\s//g;
is(wait_task($node, 'third', $id),
	'completed',
	'a task submitted in the transaction that creates the extension runs');
is(sql($node, 'third', "SELECT taskq.task_result('$id')"),
	'3', '... and has its result');

# --- DROP EXTENSION

$id = submit($node, 'second', 'gate', '{"gate": "b"}');
wait_state($node, 'second', $id, 'running');
expect_terminated($node, 'worker');
sql_ok(
	$node, 'second',
	'BEGIN; DROP EXTENSION taskq; ROLLBACK;',
	'DROP EXTENSION while a task runs, rolled back');
open_gate($node, 'second', 'b');
is(wait_task($node, 'second', $id),
	'completed', '... the task is not lost');
is(effects($node, 'second', $id), 1, '... and has one effect');
$id = submit($node, 'second', 'short');
is(wait_task($node, 'second', $id), 'completed', '... and new ones run');

$id = submit($node, 'second', 'gate', '{"gate": "c"}');
wait_state($node, 'second', $id, 'running');
expect_terminated($node, 'worker');
sql_ok($node, 'second', 'DROP EXTENSION taskq',
	'DROP EXTENSION while a task runs');
ok(wait_idle($node, 'second'), '... stops its processes');
is(effects($node, 'second', $id), 0, '... and the task left no effect');
$id = submit($node, 'third', 'len', '[]');
is(wait_task($node, 'third', $id),
	'completed', 'another database is not concerned');

$node->safe_psql(
	'second', q{
	CREATE EXTENSION taskq;
	SELECT taskq.kind_define('short', 'short_work(jsonb)');});
$id = submit($node, 'second', 'short');
is(wait_task($node, 'second', $id),
	'completed', 'created again, the extension works');
is( sql($node, 'second',
		q{SELECT sum(n) FROM taskq_internal.counted(now() - interval '5 min', NULL, 'm', 'l')}),
	'1',
	'... and counts none of those that went with the first one');
is(sql($node, 'second', 'SELECT sum(n) FROM taskq.task_counts()'),
	'1', '... nor are these there');

# what is submitted with it belongs to the new one, in the same transaction as well
my $whole = q{SELECT string_agg(format('%s %s', state, n), ' ' ORDER BY state) FROM taskq.task_counts() };
$node->safe_psql(
	'second', q{
	SELECT taskq.queue_pause('default'), taskq.task_submit('short');
	BEGIN;
	DROP EXTENSION taskq;
	CREATE EXTENSION taskq;
	SELECT taskq.kind_define('short', 'short_work(jsonb)'), taskq.queue_pause('default');
	SELECT taskq.task_submit('short') FROM generate_series(1, 3);
	COMMIT;});
is(sql($node, 'second', $whole), 'pending 3',
	'dropped and created in one transaction, it counts what that has submitted');
$node->safe_psql(
	'second', q{
	SELECT taskq.task_submit('short') FROM generate_series(1, 4);
	CREATE EXTENSION IF NOT EXISTS taskq;
	BEGIN;
	SAVEPOINT a;
	DROP EXTENSION taskq;
	CREATE EXTENSION taskq;
	ROLLBACK TO a;
	COMMIT;});
is(sql($node, 'second', $whole), 'pending 7',
	'... and forgets nothing if that is undone, or it was there');

# --- taskq.databases limits where tasks run

$node->append_conf('postgresql.conf', "taskq.databases = 'postgres'");
$node->reload;
ok(wait_idle($node), 'processes of a database taken off the list leave');
$id = submit($node, 'third', 'len', '[4]');
my $listed = submit($node, 'postgres', 'short');
is(wait_task($node, 'postgres', $listed),
	'completed', 'a listed database runs its tasks');
task_is($node, 'third', $id, 'state', 'pending',
	'one that is not listed keeps them');
$node->append_conf('postgresql.conf', "taskq.databases = '*'");
$node->reload;
is(wait_task($node, 'third', $id), 'completed',
	'they run once the list allows it');

$node->stop;
done_testing();
