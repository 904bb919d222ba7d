# What workers and attempts use, and who is there, when processes end and the server does.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use TaskqTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = taskq_node('workers', 'taskq.max_workers' => 2);
my $db = 'postgres';

$node->safe_psql(
	$db, q{
	CREATE ROLE outside LOGIN;
	GRANT taskq_worker TO outside;
	CREATE FUNCTION spin_work(p jsonb) RETURNS void LANGUAGE plpgsql AS $$
	DECLARE
		n int := 0;
	BEGIN
		WHILE NOT EXISTS (SELECT FROM gate WHERE name = p->>'gate') LOOP
			FOR i IN 1..100000 LOOP
				n := i;
			END LOOP;
		END LOOP;
	END $$;
	SELECT taskq.kind_define('spin', 'spin_work(jsonb)', backoff => '10 ms');
	SELECT taskq.kind_define('outside', queue => 'outside', backoff => '10 ms', max_attempts => 5);
	SELECT taskq.kind_grant('outside', 'outside', 'work');
});

# --- a worker in a long task tells what it uses, and an attempt that is lost has nothing

my $id = submit($node, $db, 'spin', '{"gate": "spin"}');
ok( $node->poll_query_until(
		$db, "SELECT cpu > '0.2 s' AND memory > 0 FROM taskq.worker WHERE task_id = '$id'"),
	'what a worker uses is seen while it is in a task');
my $pid = $node->safe_psql($db, "SELECT pid FROM taskq.worker WHERE task_id = '$id'");
expect_crashes($node);
kill('KILL', $pid);
ok($node->poll_query_until($db, "SELECT NOT pg_is_in_recovery()"), 'the worker is killed, and the server comes back');
$node->poll_query_until($db, "SELECT attempt = 2 AND state = 'running' FROM taskq.task_status('$id')")
  or die 'no second attempt';
ok( $node->poll_query_until($db, "SELECT cpu > '0.1 s' FROM taskq.worker WHERE task_id = '$id'"),
	'the task runs again, with another worker\'s figures');
open_gate($node, $db, 'spin');
is(wait_task($node, $db, $id), 'completed', '... and ends');
is( sql($node, $db,
		"SELECT attempt, state, resources IS NOT NULL FROM taskq.task_attempts('$id') ORDER BY attempt"),
	"1|lost|f\n2|completed|t",
	'the lost attempt has no resources, the other one its own');

# --- workers outside, over a restart of the server

sub outsider
{
	my ($columns) = @_;
	return sql($node, $db, "SELECT $columns FROM taskq.worker WHERE type = 'external' AND name = 'node-1'", 'outside');
}

my $task = submit($node, $db, 'outside');
my ($token) = sql($node, $db, "SELECT token FROM taskq.task_claim('node-1', kinds => '{outside}', lease => '1 h')", 'outside');
is(outsider('state, running, task_id'), "busy|1|$task", 'a worker outside has a task');
$node->restart;
is(outsider('count(*)'), '0', 'after a restart of the server it was not heard of yet');
is(sql($node, $db, q{SELECT running FROM taskq.queue WHERE name = 'outside'}), '1', '... but what it has is counted');
sql($node, $db, "SELECT taskq.task_heartbeat('$task', '$token')", 'outside');
is(outsider('state, running, task_id, kinds'), "busy|1|$task|{outside}", '... and with its next heartbeat it is there again');
sql($node, $db, "SELECT taskq.task_complete('$task', '$token')", 'outside');
is(outsider('state, running, completed'), 'idle|0|1', '... until it is through');

# --- a claim that waits, and whose session ends

my $claim = $node->background_psql($db, extra_params => [ '-U', 'outside' ], on_error_stop => 0);
$claim->query_until(qr/begun/, "\\echo begun\nSELECT count(*) FROM taskq.task_claim('node-2', lease => '1 s', wait => '50 s');\n");
ok( $node->poll_query_until($db, q{SELECT count(*) = 1 FROM pg_stat_activity WHERE usename = 'outside' AND query LIKE '%node-2%' AND state = 'active'}),
	'a worker waits for tasks');
ok($node->poll_query_until($db, q{SELECT state = 'idle' FROM taskq.worker WHERE name = 'node-2'}), '... it is idle');
$node->safe_psql($db, q{SELECT pg_sleep(1.5)});
is(sql($node, $db, q{SELECT state FROM taskq.worker WHERE name = 'node-2'}), 'idle', '... also when that takes longer than a lease');
expect_fatal($node, 'terminating connection due to administrator command');
$node->safe_psql($db, q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'outside'});
ok($node->poll_query_until($db, q{SELECT state = 'offline' FROM taskq.worker WHERE name = 'node-2'}), 'its session ends: it is offline');
eval { $claim->quit };

# --- have all read the settings that were changed?

my $stays = submit($node, $db, 'gate', '{"gate": "stays"}');
wait_state($node, $db, $stays, 'running');
my ($dispatcher) = backend_pids($node, 'dispatcher', $db);
my $all_read = q{(taskq.sitrep()->>'settings_read')::timestamptz >= pg_conf_load_time()};
my $loaded = sql($node, $db, 'SELECT pg_conf_load_time()');
kill 'STOP', $dispatcher;
sql($node, $db, 'SELECT pg_reload_conf()');
ok($node->poll_query_until($db, "SELECT pg_conf_load_time() > '$loaded'"), 'the server reads its settings');
is(sql($node, $db, "SELECT $all_read"), 'f', '... a dispatcher that has not is told of');
kill 'CONT', $dispatcher;
ok($node->poll_query_until($db, "SELECT $all_read"), '... until it has, too');
open_gate($node, $db, 'stays');
wait_task($node, $db, $stays);

# --- nobody at work, nobody may work

ok(wait_idle($node), 'all workers of the server leave');
is( sql($node, $db, q{SELECT s->>'active_workers', s->>'total_capacity' FROM taskq.cluster_summary() s}),
	'0|3', 'a summary without workers of the server: their places, and what the one outside takes');
$node->append_conf('postgresql.conf', 'taskq.max_workers = 0');
$node->reload;
ok($node->poll_query_until($db, q{SELECT s->>'total_capacity' = '1' FROM taskq.cluster_summary() s}), '... and with none allowed');

# --- the options in effect are the server's, where nobody says more

$node->append_conf('postgresql.conf', "taskq.retention = -1\ntaskq.default_timeout = '1500ms'");
$node->reload;
ok( $node->poll_query_until(
		$db,
		"SELECT (configuration->>'retention')::interval = '10000 years' AND (configuration->>'timeout')::interval = '1.5 s' FROM taskq.task_status('$task')"),
	'kept for ever, and a timeout of the server');

done_testing();
