# What a task says of its progress is seen by others while its own
# transaction is still open.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use TaskqTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = taskq_node('progress');

# Steps from 1 to 4, each when the test has opened its gate.
$node->safe_psql(
	'postgres', q{
	CREATE FUNCTION steps(p jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
	BEGIN
		INSERT INTO effect (task, note) SELECT id, 'steps' FROM taskq.current_task();
		FOR i IN 1..4 LOOP
			PERFORM taskq.progress(i, 4, 'step ' || i, i / 3, jsonb_build_object('at', i));
			WHILE NOT EXISTS (SELECT FROM gate WHERE name = 'step' || i) LOOP
				PERFORM pg_sleep(0.01);
			END LOOP;
		END LOOP;
		RETURN '"through"';
	END $$;
	SELECT taskq.kind_define('steps', 'steps(jsonb)');});

my $id = submit($node, 'postgres', 'steps');
my @percent = (undef, '25.0', '50.0', '75.0', '100.0');
foreach my $i (1 .. 4)
{
	ok( $node->poll_query_until(
			'postgres',
			"SELECT current = $i FROM taskq.task_status('$id')"),
		"step $i is seen");
	task_is(
		$node, 'postgres', $id,
		'state, celery_state, ready, progress::numeric(4,1), total, message, failed_steps, info',
		"running|STARTED|f|$percent[$i]|4|step $i|"
		  . int($i / 3)
		  . "|{\"at\": $i}",
		"... with everything reported");
	is( sql($node, 'postgres',
			"SELECT p->>'state', (p->>'percent')::numeric(4,1), p->>'current', p->>'total', p->>'failed', p->>'message', p->'info'
			 FROM taskq.task_progress('$id') p"),
		"running|$percent[$i]|$i|4|" . int($i / 3) . "|step $i|{\"at\": $i}",
		'... also by task_progress');
	is(effects($node, 'postgres', $id),
		0, '... while the task has not committed');
	task_is($node, 'postgres', $id,
		'estimated_completion IS NOT NULL, started_at IS NOT NULL, finished_at IS NULL, duration > interval \'0\'',
		't|t|t|t', '... with times') if $i == 2;
	open_gate($node, 'postgres', "step$i");
}
is(wait_task($node, 'postgres', $id), 'completed', 'it completes');
is(effects($node, 'postgres', $id), 1, 'with its effect');
task_is($node, 'postgres', $id, 'progress::int, current, message, result',
	'100|4|step 4|"through"',
	'the last report stays with the completed task');
is( sql($node, 'postgres',
		"SELECT p->>'state', (p->>'percent')::int, p->>'message' FROM taskq.task_progress('$id') p"
	),
	'completed|100|step 4',
	'... also by task_progress');

# --- a report survives the failure of its task

$node->safe_psql(
	'postgres', q{
	CREATE FUNCTION half_way(p jsonb) RETURNS void LANGUAGE plpgsql AS $$
	BEGIN
		PERFORM taskq.progress(50, message => 'half way');
		RAISE EXCEPTION 'stuck';
	END $$;
	SELECT taskq.kind_define('half_way', 'half_way(jsonb)', max_attempts => 1);});
$id = submit($node, 'postgres', 'half_way');
is(wait_task($node, 'postgres', $id), 'failed', 'a task fails half way');
task_is(
	$node, 'postgres', $id,
	'progress::int, current, total, message, error->>\'message\'',
	'50|50|100|half way|stuck', 'its last report tells how far it got');

# --- a session in a snapshot of before sees it too

$id = submit($node, 'postgres', 'gate', '{"gate": "z"}');
wait_state($node, 'postgres', $id, 'running');
my $other = $node->background_psql('postgres');
$other->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1;');
ok( $node->poll_query_until(
		'postgres',
		"SELECT message = 'at the gate' FROM taskq.task_status('$id')"),
	'a task reports');
is( $other->query_safe("SELECT message FROM taskq.task_status('$id')"),
	'at the gate', 'a REPEATABLE READ session sees the live report');
$other->query_safe('COMMIT');
$other->quit;
open_gate($node, 'postgres', 'z');
is(wait_task($node, 'postgres', $id), 'completed', 'and the task completes');

$node->stop;
done_testing();
