# A waiter sleeps until the task's end wakes it.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use TaskqTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = taskq_node('wait');
my $db = 'postgres';

# Starts a query in a session and returns once it has begun to wait.
sub start_waiting
{
	my ($session, $query) = @_;
	my $pid = $session->query_safe('SELECT pg_backend_pid()');
	$session->query_until(qr/started/, "\\echo started\n$query;\n");
	ok( $node->poll_query_until(
			$db,
			"SELECT state = 'active' AND wait_event IS NOT NULL FROM pg_stat_activity WHERE pid = $pid AND query LIKE '%task_wait%'"
		),
		'a session waits');
	return $pid;
}

my $id = submit($node, $db, 'gate', '{"gate": "a"}');
wait_state($node, $db, $id, 'running');
my $waiter = $node->background_psql($db);
my $pid = start_waiting($waiter, "SELECT state, ready FROM taskq.task_wait('$id', '50 s')");
is( sql($node, $db,
		"SELECT wait_event_type IN ('IPC', 'Extension') FROM pg_stat_activity WHERE pid = $pid"
	),
	't',
	'... for an event, not for time to pass');
# the time in which a waiter that polls would give itself away
ok(sleep_on(2, [$pid]), 'it does not wake up before');
my $before = context_switches($pid);
open_gate($node, $db, 'a');
is($waiter->query_safe(''), 'completed|t', 'it returns when the task has completed');
cmp_ok(context_switches($pid) - $before, '<', 20, '... having been woken a few times');

# --- several waiters for one task, for all of several, for any of several

my $other = submit($node, $db, 'gate', '{"gate": "c"}');
$id = submit($node, $db, 'gate', '{"gate": "b"}');
my $third = submit($node, $db, 'gate', '{"gate": "d"}');
wait_state($node, $db, $_, 'running') foreach ($id, $other, $third);
my @waiters = map { $node->background_psql($db) } 1 .. 3;
start_waiting($waiters[0], "SELECT state FROM taskq.task_wait('$id', '50 s')");
start_waiting($waiters[1],
	"SELECT string_agg(state, ',') FROM taskq.task_wait_all('{$id,$other}', '50 s')");
start_waiting($waiters[2],
	"SELECT string_agg(id::text, ',') FROM taskq.task_wait_any('{$id,$other}', '50 s')");
open_gate($node, $db, 'b');
is($waiters[0]->query_safe(''), 'completed', 'task_wait returns');
is($waiters[2]->query_safe(''), $id, 'task_wait_any returns with the one that is finished');
is( sql($node, $db,
		"SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE '%task_wait_all%' AND pid <> pg_backend_pid()"
	),
	'1',
	'task_wait_all waits on');
open_gate($node, $db, 'c');
is($waiters[1]->query_safe(''), 'completed,completed', '... until all are');
$_->quit foreach @waiters;

# --- cancelled and failed tasks wake a waiter too

start_waiting($waiter, "SELECT state, cancel_reason FROM taskq.task_wait('$third', '50 s')");
$node->safe_psql($db, "SELECT taskq.task_cancel('$third', 'no more')");
is($waiter->query_safe(''), 'cancelled|no more', 'the end by a cancel wakes a waiter');

$node->safe_psql($db, "SELECT taskq.queue_define('held'); SELECT taskq.queue_pause('held');");
$id = submit($node, $db, 'fail', '{}', "queue => 'held'");
start_waiting($waiter, "SELECT state FROM taskq.task_wait('$id', '50 s')");
$node->safe_psql($db, "SELECT taskq.queue_resume('held')");
is($waiter->query_safe(''), 'failed', '... by a failure');

$node->safe_psql($db, "SELECT taskq.queue_pause('held')");
$id = submit($node, $db, 'short', '{}', "queue => 'held'");
start_waiting($waiter, "SELECT state FROM taskq.task_wait('$id', '50 s')");
$node->safe_psql($db, "SELECT taskq.task_cancel('$id')");
is($waiter->query_safe(''), 'cancelled', '... by the cancel of a pending task');

# --- the time runs out

$id = submit($node, $db, 'short', '{}', "queue => 'held'");
is( sql($node, $db,
		"SELECT state, ready FROM taskq.task_wait('$id', '50 ms')"),
	'pending|f',
	'when the time is over, the status says that the task is not finished');
is( sql($node, $db,
		"SELECT count(*) FROM taskq.task_wait_any(ARRAY['$id']::uuid[], '50 ms')"),
	'0',
	'... task_wait_any returns no row');
is( sql($node, $db,
		"SELECT ready FROM taskq.task_wait_all(ARRAY['$id']::uuid[], '50 ms')"),
	'f',
	'... task_wait_all the status of each');
is(sql($node, $db, "SELECT state FROM taskq.task_wait('$id', '0')"),
	'pending', 'a timeout of 0 only looks');

# --- a waiter is cancelled like any query

$waiter->quit;
$waiter = $node->background_psql($db, on_error_stop => 0);
$pid = start_waiting($waiter, "SELECT state FROM taskq.task_wait('$id', '1 h')");
$node->safe_psql($db, "SELECT pg_cancel_backend($pid)");
$waiter->query('');
like($waiter->{stderr}, qr/canceling statement due to user request/,
	'a waiter is cancelled');
$waiter->{stderr} = '';
is(sql($node, $db, "SET statement_timeout = '2s'; SELECT state FROM taskq.task_wait('$id', '1 h')"),
	'pending', 'statement_timeout ends a wait with the state as it is');

# --- snapshots

$node->safe_psql($db, "SELECT taskq.queue_resume('held')");
is(wait_task($node, $db, $id), 'completed', 'the task completes');
$id = submit($node, $db, 'gate', '{"gate": "e"}');
wait_state($node, $db, $id, 'running');
$waiter->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ');
is($waiter->query_safe("SELECT state FROM taskq.task_status('$id')"),
	'running', 'a transaction with a snapshot of before');
open_gate($node, $db, 'e');
is($waiter->query_safe("SELECT state, result IS NOT NULL FROM taskq.task_wait('$id', '50 s')"),
	'completed|t', '... sees the end by task_wait');
$waiter->query_safe('COMMIT');

# --- task_wait_long holds no snapshot while it waits

$id = submit($node, $db, 'gate', '{"gate": "long"}');
wait_state($node, $db, $id, 'running');
$pid = start_waiting($waiter, "CALL taskq.task_wait_long('$id', '50 s')");
ok( $node->poll_query_until(
		$db, "SELECT wait_event_type IN ('IPC', 'Extension') AND backend_xmin IS NULL FROM pg_stat_activity WHERE pid = $pid"),
	'CALL task_wait_long sleeps without a snapshot');
ok(sleep_on(1.5, [$pid]), '... and without waking up');
open_gate($node, $db, 'long');
is($waiter->query_safe(''), 'completed', '... until the task has completed');
like(sql_error($node, $db, "BEGIN; CALL taskq.task_wait_long('$id', '1 s');"),
	qr/ERROR:  2D000/, 'it is refused in a transaction block, which it could not end');
like(sql_error($node, $db, "CALL taskq.task_wait_long('00000000-0000-7000-8000-000000000000', '1 s')"),
	qr/ERROR:  PT404/, 'of an unknown task it is PT404');

# --- what cannot be waited for

my $error = sql_error($node, $db, q{
	BEGIN;
	SELECT taskq.task_submit('short') AS id \gset
	SELECT taskq.task_wait(:'id', '50 s');});
like($error, qr/ERROR:  (?!PT404)\w{5}/, 'waiting for a task of the own transaction is refused');
like($error, qr/HINT:/, '... with a hint');

$waiter->query_safe('BEGIN');
$id = $waiter->query_safe(q{SELECT taskq.task_submit('short')});
like(sql_error($node, $db, "SELECT taskq.task_wait('$id', '50 s')"),
	qr/ERROR:  PT404/, 'a task that nobody committed yet is unknown to others');
$waiter->query_safe('COMMIT');
is(wait_task($node, $db, $id), 'completed', '... and known when committed');

$node->safe_psql(
	$db, q{
	CREATE FUNCTION waits(p jsonb) RETURNS void LANGUAGE plpgsql AS $$
	BEGIN
		PERFORM taskq.task_wait((p->>'id')::uuid, '1 h');
	END $$;
	SELECT taskq.kind_define('waits', 'waits(jsonb)', max_attempts => 1);});
$id = submit($node, $db, 'waits', qq({"id": "$id"}));
is(wait_task($node, $db, $id), 'failed', 'task_wait inside a task is refused');
task_is($node, $db, $id, q{error->>'sqlstate' IN ('55000', '0A000'), error->>'hint' <> ''},
	't|t', '... with a hint');

# --- a waiter outlives a dispatcher and a worker that are terminated

$id = submit($node, $db, 'gate', '{"gate": "f"}');
wait_state($node, $db, $id, 'running');
start_waiting($waiter, "SELECT state FROM taskq.task_wait('$id', '50 s')");
expect_terminated($node, $_) foreach 'dispatcher', 'worker';
$node->safe_psql($db,
	"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type IN ('taskq dispatcher', 'taskq worker')");
open_gate($node, $db, 'f');
is($waiter->query_safe(''), 'completed',
	'a waiter is woken although the task had to run again');

$waiter->quit;
$node->stop;
done_testing();
