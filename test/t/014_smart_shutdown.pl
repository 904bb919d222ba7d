# However the server is stopped, it stops; what ran then runs again.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use TaskqTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = taskq_node('shutdown', 'taskq.worker_idle_timeout' => '10min');
my $db = 'postgres';

# swallows every cancel
$node->safe_psql(
	$db, q{
	CREATE FUNCTION stubborn(p jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
	BEGIN
		INSERT INTO effect (task, note) SELECT id, 'stubborn' FROM taskq.current_task();
		WHILE NOT EXISTS (SELECT FROM gate WHERE name = p->>'gate') LOOP
			BEGIN
				PERFORM pg_sleep(0.05);
			EXCEPTION WHEN query_canceled THEN
				NULL;
			END;
		END LOOP;
		RETURN p;
	END $$;
	SELECT taskq.kind_define('stubborn', 'stubborn(jsonb)');
	SELECT taskq.kind_define('once', 'gate_work(jsonb)', max_attempts => 1);});

foreach my $mode ('smart', 'fast', 'immediate')
{
	my %task = map { $_ => submit($node, $db, $_, qq({"gate": "$mode"})) }
	  ('gate', 'stubborn', 'once');
	wait_state($node, $db, $_, 'running') foreach values %task;
	my $sql = sql($node, $db,
		q{SELECT taskq.task_submit_sql('INSERT INTO effect (note) VALUES (''sql ' || } . "'$mode'" . q{ || '''); SELECT pg_sleep(3600)')});
	wait_state($node, $db, $sql, 'running');
	my $pending = submit($node, $db, 'short');

	ok($node->stop($mode, fail_ok => 1), "a $mode shutdown with running tasks ends");
	$node->start;
	wait_state($node, $db, $_, 'running') foreach values %task, $sql;
	pass('after the start they run again');
	is( sql($node, $db, "SELECT count(*) FROM effect WHERE note <> 'done'"),
		'0', '... without any effect of before')
	  if $mode eq 'smart';
	open_gate($node, $db, $mode);
	foreach my $kind (sort keys %task)
	{
		is(wait_task($node, $db, $task{$kind}),
			'completed', "$mode: the task of kind $kind completes");
		is(effects($node, $db, $task{$kind}), 1, '... with one effect');
	}
	is(wait_task($node, $db, $pending), 'completed', 'what waited runs');
	$node->safe_psql($db, "SELECT taskq.task_cancel('$sql')");
	is(wait_task($node, $db, $sql), 'cancelled', 'the command is cancelled');
	is( sql($node, $db, "SELECT count(*) FROM effect WHERE note = 'sql $mode'"),
		'0', '... without any effect');
}

# --- idle: no process keeps the server

$node->stop('smart');
pass('an idle server stops smartly');
$node->start;
is(wait_task($node, $db, submit($node, $db, 'short')),
	'completed', 'and works after its start');

$node->stop;
done_testing();
