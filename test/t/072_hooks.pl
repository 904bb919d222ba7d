# A hook's task is there exactly when its task has ended, whoever brings that about and
# whatever is killed.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use TaskqTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = taskq_node('hooks', 'taskq.max_workers' => 3);
my $db = 'postgres';

$node->safe_psql(
	$db, q{
	CREATE FUNCTION told(p jsonb) RETURNS void LANGUAGE plpgsql AS $$
	BEGIN
		INSERT INTO effect (task, note) VALUES ((p->>'task_id')::uuid, 'told ' || (p->>'state'));
	END $$;
	CREATE FUNCTION quick(p jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$ BEGIN RETURN p; END $$;
	SELECT taskq.kind_define('told', 'told(jsonb)');
	SELECT taskq.kind_define('one', 'quick(jsonb)', on_success => 'told', on_failure => 'told');
	SELECT taskq.kind_define('many', 'quick(jsonb)', batch => true, on_success => 'told', on_failure => 'told');
	SELECT taskq.kind_define('hold', 'gate_work(jsonb)', max_attempts => 1, on_success => 'told', on_failure => 'told', on_cancel => 'told');
	SELECT taskq.kind_define('out', max_attempts => 1, on_failure => 'told', on_cancel => 'told');
});

# What the hooks of a task told.
sub told
{
	my ($id) = @_;
	$node->poll_query_until($db, "SELECT count(*) > 0 AND bool_and(ready) FROM taskq.task WHERE parent = '$id'");
	return sql($node, $db, "SELECT string_agg(note, ', ') FROM effect WHERE task = '$id' AND note LIKE 'told %'");
}

# --- whoever records the end

my $id = submit($node, $db, 'hold', '{"gate": "a"}');
wait_state($node, $db, $id, 'running');
expect_terminated($node, 'worker');
sql($node, $db, "SELECT pg_terminate_backend(pid) FROM taskq.worker WHERE task_id = '$id'");
is(told($id), 'told failed', 'a task that was lost with its worker, by the dispatcher');

$id = submit($node, $db, 'hold', '{"gate": "b"}');
wait_state($node, $db, $id, 'running');
expect_terminated($node, 'worker');
sql($node, $db, "SELECT taskq.task_cancel('$id', force => true)");
is(told($id), 'told cancelled', '... one that was cancelled by force');

$id = submit($node, $db, 'out');
sql($node, $db, "SELECT taskq.task_claim('w', kinds => '{out}', lease => '1 s')");
is(told($id), 'told failed', '... one whose lease expired');

$id = submit($node, $db, 'out', '{}', "delay => '1 h'");
sql($node, $db, "BEGIN; SELECT taskq.task_cancel('$id'); PREPARE TRANSACTION 'cancel'");
is(sql($node, $db, "SELECT count(*) FROM taskq.task WHERE parent = '$id'"), 0, 'a cancel that is prepared');
sql($node, $db, "COMMIT PREPARED 'cancel'");
is(told($id), 'told cancelled', '... and committed');

my $first = submit($node, $db, 'hold', '{"gate": "c"}', "depends_on => ARRAY['" . submit($node, $db, 'fail') . "'::uuid]");
is(told($first), 'told cancelled', 'one whose dependency failed');

# a task of a role that can't run any more
$node->safe_psql($db, q{
	CREATE ROLE gone LOGIN;
	GRANT taskq_user TO gone;
	SELECT taskq.queue_define('held');
	SELECT taskq.queue_pause('held');
	SELECT taskq.kind_define('as_owner', 'told(jsonb)', run_as => 'postgres');
	SELECT taskq.kind_define('of_gone', 'quick(jsonb)', on_failure => 'as_owner');
});
$id = sql($node, $db, "SELECT taskq.task_submit('of_gone', queue => 'held')", 'gone');
sql($node, $db, "ALTER ROLE gone NOLOGIN; SELECT taskq.queue_resume('held')");
is(told($id), 'told failed', 'one whose role may not log in any more');

# --- many, and a server that crashes

sub crash
{
	expect_crashes($node);
	my $pid = sql($node, $db, 'SELECT max(pid) FROM taskq.worker');
	kill('KILL', $pid);
	$node->poll_query_until($db, "SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = $pid)");
	return;
}

my $odd = q{
	SELECT count(*) FROM taskq_internal.task t JOIN taskq_internal.lane l ON l.id = t.lane
	WHERE l.kind IN ('one', 'many')
	AND (SELECT count(*) FROM taskq_internal.task h WHERE h.parent = t.id) <> (t.state IN ('c', 'f', 'x'))::int};

for my $round (1 .. 3)
{
	sql($node, $db, q{SELECT count(*) FROM taskq.task_submit_many('many', array_fill('1'::jsonb, ARRAY[700]))});
	sql($node, $db, q{SELECT count(*) FROM taskq.task_submit_many('one', array_fill('1'::jsonb, ARRAY[300]))});
	$node->poll_query_until($db, q{SELECT count(*) > 0 FROM taskq.worker WHERE completed > 0});
	crash();
	is(sql($node, $db, $odd), 0, "crash $round: who has ended has one hook, who has not has none");
}
ok($node->poll_query_until($db, 'SELECT count(*) = 0 FROM taskq.task WHERE NOT ready'), 'all come to their end');
is(sql($node, $db, $odd), 0, '... each with one hook');
is( sql($node, $db, q{SELECT count(*), count(DISTINCT e.task) FROM effect e JOIN taskq.task t ON t.id = e.task WHERE t.kind IN ('one', 'many')}),
	'3000|3000',
	'... that was run once');

# --- what is wrong with a hook is told once

$node->safe_psql($db, q{
	SELECT taskq.kind_define('broken', 'quick(jsonb)', on_success => 'told');
	SELECT taskq.kind_drop('told');
});
my $from = -s $node->logfile;
sql($node, $db, q{SELECT count(*) FROM taskq.task_submit_many('broken', array_fill('1'::jsonb, ARRAY[20]))});
ok($node->poll_query_until($db, q{SELECT count(*) = 20 FROM taskq.task WHERE kind = 'broken' AND successful}), 'a hook that is broken stops no task');
my $warnings = () = slurp_file($node->logfile, $from) =~ /WARNING:  hook on success of kind "broken" was not submitted: kind of task "told" does not exist any more/g;
ok($warnings >= 1 && $warnings <= 3, "... and each worker says so once");

done_testing();
