# What a restart finds: every task that was committed runs, and nothing that is
# long finished is looked through.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use TaskqTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = taskq_node('restart', 'shared_buffers' => '256MB', 'max_wal_size' => '4GB',
	'taskq.worker_idle_timeout' => '200ms');
my $db = 'postgres';
my $id;

$node->safe_psql(
	$db, q{
	CREATE FUNCTION no_work(p jsonb) RETURNS void LANGUAGE plpgsql AS 'BEGIN END';
	SELECT taskq.kind_define('noop', 'no_work(jsonb)', batch => true);
	SELECT taskq.queue_define('held');
	-- where the tasks of a kind begin, as far as that was saved
	CREATE FUNCTION saved(kind text) RETURNS uuid LANGUAGE sql AS $$
		SELECT coalesce(max(w.id::text), '00000000-0000-0000-0000-000000000000')::uuid
		FROM taskq_internal.lane l JOIN taskq_internal.watermark w ON w.lane = l.id WHERE l.kind = $1 $$;
});

sub finish
{
	my ($n, $kind, $payload) = @_;
	$kind //= 'noop';
	$payload //= '{}';
	$node->safe_psql($db,
		"SELECT count(*) FROM taskq.task_submit_many('$kind', array_fill('$payload'::jsonb, ARRAY[$n]))");
	return $node->poll_query_until($db,
		"SELECT count(*) = 0 FROM taskq_internal.lanes() l JOIN taskq_internal.lane d ON d.id = l.lane
		 WHERE l.waiting > 0 OR (l.running > 0 AND d.kind <> 'gate') OR l.running > 1");
}

# So many of a kind go through its gate, past those that run.
sub pass_by
{
	my ($n, $kind) = @_;
	$node->safe_psql($db, "SELECT count(*) FROM taskq.task_submit_many('$kind', array_fill('{\"gate\": \"open\"}'::jsonb, ARRAY[$n]))");
	return $node->poll_query_until($db, "SELECT NOT EXISTS (SELECT FROM taskq.task WHERE kind = '$kind' AND state = 'pending')");
}

# Rows of the tasks' leaves that were read by whatever way.
sub rows_read
{
	return $node->safe_psql($db,
		q{SELECT coalesce(sum(idx_tup_fetch + seq_tup_read), 0) FROM pg_stat_user_tables
		  WHERE schemaname = 'taskq_internal' AND relname ~ '^task_'});
}

sub wait_saved
{
	my ($kind, $id) = @_;
	return $node->poll_query_until($db, "SELECT saved('$kind') > '$id'");
}

sub crash
{
	$node->stop('immediate');
	$node->start;
	return;
}

# --- finished tasks are not looked through

ok(finish(200_000), 'many tasks are finished');
my $last = submit($node, $db, 'noop');
is(wait_task($node, $db, $last), 'completed', '... and one more');
ok(wait_saved('noop', $last), 'that is saved');
wait_idle($node);
my $before = rows_read();
$node->restart;
$id = submit($node, $db, 'noop');
is(wait_task($node, $db, $id), 'completed', 'a task submitted after a restart runs');
wait_idle($node);
cmp_ok(rows_read() - $before, '<', 20_000, '... and the finished ones were not read');

# statistics are lost with a crash
crash();
$id = submit($node, $db, 'noop');
is(wait_task($node, $db, $id), 'completed', 'a task submitted after a crash runs');
wait_idle($node);
cmp_ok(rows_read(), '<', 20_000, '... and the finished ones were not read');

# --- due after what is saved, and the server crashes before it runs

$node->safe_psql($db, "SELECT taskq.queue_pause('held')");
my $due = submit($node, $db, 'short', '{}', "queue => 'held', delay => '2 s'");
is(wait_task($node, $db, submit($node, $db, 'short', '{}', "queue => 'held', run_at => now() - interval '1 s', priority => 1")
		  && submit($node, $db, 'short')), 'completed', 'others run meanwhile');
wait_state($node, $db, $due, 'pending');
is(sql($node, $db, "SELECT count(*) FROM taskq_internal.ready"), '2', 'what became pending late is on record');
crash();
task_is($node, $db, $due, 'state', 'pending', 'a task that became due is pending after a crash');
$node->safe_psql($db, "SELECT taskq.queue_resume('held')");
is(wait_task($node, $db, $due), 'completed', '... and runs');
ok($node->poll_query_until($db, 'SELECT count(*) = 0 FROM taskq_internal.ready'), '... and nothing is left of that record');

# the same where it was saved past its id
$due = submit($node, $db, 'short', '{}', "delay => '1 h'");
$last = submit($node, $db, 'short');
is(wait_task($node, $db, $last), 'completed', 'one that was submitted later runs');
ok(wait_saved('short', $last), '... and is saved, with the earlier one before it');
$node->safe_psql($db, "SELECT taskq.queue_pause('default')");
$node->safe_psql($db, "SELECT taskq.task_reschedule('$due', clock_timestamp() + interval '100 ms')");
wait_state($node, $db, $due, 'pending');
crash();
$node->safe_psql($db, "SELECT taskq.queue_resume('default')");
is(wait_task($node, $db, $due), 'completed', 'which runs after a crash');

# --- submitted in a transaction that is open while others pass it

my $first = submit($node, $db, 'short');
is(wait_task($node, $db, $first), 'completed', 'one runs');
my $session = $node->background_psql($db, on_error_stop => 1);
chomp(my $open = $session->query("BEGIN; SELECT taskq.task_submit('short');"));
ok(finish(300, 'short'), 'others pass an open submit');
ok(wait_saved('short', $first), '... and what is before it is saved');
is(sql($node, $db, "SELECT saved('short') <= '$open'"), 't', '... but not more');
$session->query('COMMIT');
crash();
$session->{run}->kill_kill;
is(wait_task($node, $db, $open), 'completed', 'committed and then a crash: it runs');

# --- running for long

my $long = submit($node, $db, 'gate', '{"gate": "a"}');
wait_state($node, $db, $long, 'running');
open_gate($node, $db, 'open');
ok($node->poll_query_until($db, "SELECT duration > '1 s' FROM taskq.task_status('$long')"), 'a task runs for long');
ok(finish(3000, 'gate', '{"gate": "open"}'), 'many of its kind pass it');
ok(wait_saved('gate', $long), 'a long task does not keep what comes after it from being saved');
crash();
open_gate($node, $db, 'a');
is(wait_task($node, $db, $long), 'completed', 'it runs again after a crash');
ok($node->poll_query_until($db, 'SELECT count(*) = 0 FROM taskq.task WHERE NOT ready'), 'all others too');
$node->restart;
is(wait_task($node, $db, submit($node, $db, 'short')), 'completed', 'a restart');
ok($node->poll_query_until($db, 'SELECT count(*) = 0 FROM taskq_internal.ready'), '... leaves no record of it');

# --- several of one transaction that are in hand for long

$node->safe_psql($db, q{SELECT taskq.kind_define('crew', 'gate_work(jsonb)', batch => true)});
my $crew = "kind = 'crew' AND state = 'running'";
my $waiting;
foreach my $try (1 .. 40)
{
	pass_by(2000, 'crew');
	$node->safe_psql($db, qq{SELECT count(*) FROM taskq.task_submit_many('crew', array_fill('{"gate": "open"}'::jsonb, ARRAY[20])
		|| '{"gate": "c$try"}'::jsonb)});
	$waiting = sql($node, $db, "SELECT id FROM taskq.task WHERE kind = 'crew' AND payload->>'gate' = 'c$try'");
	$node->poll_query_until($db, "SELECT message = 'at the gate' FROM taskq.task_status('$waiting')");
	last if sql($node, $db, "SELECT count(*) > 2 FROM taskq.task WHERE $crew") eq 't';
	open_gate($node, $db, "c$try");
	wait_task($node, $db, $waiting);
}
ok($node->poll_query_until($db, "SELECT count(*) > 2 AND bool_or(duration > '1 s') FROM taskq.task WHERE $crew"),
	'some that share a transaction run for long');
ok(pass_by(3000, 'crew'), '... many of their kind pass them');
ok($node->poll_query_until($db, "SELECT count(*) > 2 FROM taskq_internal.ready WHERE due = '-infinity'"), '... which they do not keep from being saved');
open_gate($node, $db, $_) foreach sql($node, $db, "SELECT payload->>'gate' FROM taskq.task WHERE id = '$waiting'");
is(wait_task($node, $db, $waiting), 'completed', '... they end');
chomp(my $new = submit($node, $db, 'crew', '{"gate": "open"}'));
ok(pass_by(3000, 'crew'), '... many more run');
ok(wait_saved('crew', $new), '... which is saved');
is(sql($node, $db, "SELECT count(*) FROM taskq_internal.ready WHERE due = '-infinity'"), '0', '... and they leave no record');

# --- a due task, older than what is saved, is in hand

my $old = submit($node, $db, 'gate', '{"gate": "b"}', "delay => '1 s'");
ok(finish(3000, 'gate', '{"gate": "open"}'), 'many pass one that waits for its time');
ok(wait_saved('gate', $old), '... which is saved past');
wait_state($node, $db, $old, 'running');
chomp($new = submit($node, $db, 'gate', '{"gate": "open"}'));
ok(finish(3000, 'gate', '{"gate": "open"}'), 'many more pass it when it runs');
ok(wait_saved('gate', $new), '... and it keeps nothing from being saved');
is(sql($node, $db, "SELECT count(*) FROM taskq_internal.ready WHERE due = '-infinity'"), '0', '... nor needs another record');
crash();
open_gate($node, $db, 'b');
is(wait_task($node, $db, $old), 'completed', 'it runs after a crash');

# --- a row that somebody else has locked

$node->safe_psql($db, "SELECT taskq.queue_pause('default')");
my $locked = submit($node, $db, 'short');
$session = $node->background_psql($db, on_error_stop => 1);
$session->query("BEGIN; SELECT 1 FROM taskq_internal.task WHERE id = '$locked' FOR UPDATE;");
$node->safe_psql($db, "SELECT taskq.queue_resume('default')");
ok(finish(300, 'short') || 1, 'others pass a locked row');
$last = submit($node, $db, 'short');
is(wait_task($node, $db, $last), 'completed', '... and run');
is(sql($node, $db, "SELECT saved('short') <= '$locked'"), 't', 'it is not saved past');
crash();
$session->{run}->kill_kill;
is(wait_task($node, $db, $locked), 'completed', 'it runs after a crash');

$node->stop;
done_testing();
