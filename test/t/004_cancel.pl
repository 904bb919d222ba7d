# Each way to cancel, and that a cancel hits the task it is meant for only.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use TaskqTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = taskq_node('cancel', 'taskq.worker_idle_timeout' => '10min');
my $db = 'postgres';
my $id;

sub worker_pid
{
	my ($task) = @_;
	return sql($node, $db,
		"SELECT pid FROM taskq.worker WHERE task_id = '$task'");
}

# --- pending

$node->safe_psql($db, "SELECT taskq.queue_define('held'); SELECT taskq.queue_pause('held');");
$id = submit($node, $db, 'short', '{}', "queue => 'held'");
is( sql($node, $db,
		"SELECT task_id = '$id', cancelled, terminated FROM taskq.task_cancel('$id', 'not needed')"
	),
	't|t|f',
	'a pending task is cancelled at once');
task_is(
	$node, $db, $id,
	'state, celery_state, ready, successful, cancel_requested, cancel_reason, started_at IS NULL, finished_at IS NOT NULL',
	'cancelled|REVOKED|t|f|t|not needed|t|t',
	'it is cancelled, with the reason, and was never started');
is( sql($node, $db,
		"SELECT cancelled, terminated, message IS NOT NULL FROM taskq.task_cancel('$id')"
	),
	'f|f|t',
	'cancelling it again does nothing and says why');
task_is($node, $db, $id, 'cancel_reason', 'not needed',
	'... also not to the reason');

$id = submit($node, $db, 'short', '{}', "queue => 'held'");
$node->safe_psql($db, "BEGIN; SELECT taskq.task_cancel('$id'); ROLLBACK;");
task_is($node, $db, $id, 'state', 'pending',
	'a cancel that rolls back leaves the task as it was');
my $scheduled = submit($node, $db, 'short', '{}', "delay => '1 day'");
is( sql($node, $db,
		"SELECT cancelled FROM taskq.task_cancel('$scheduled')"),
	't',
	'a scheduled task is cancelled at once');
task_is($node, $db, $scheduled, 'state', 'cancelled', '... and is cancelled');
$node->safe_psql($db, "SELECT taskq.queue_resume('held')");
is(wait_task($node, $db, $id), 'completed',
	'the task whose cancel rolled back runs');
like(
	sql_error($node, $db,
		"SELECT taskq.task_cancel('00000000-0000-7000-8000-000000000000')"),
	qr/ERROR:  PT404/,
	'cancelling an unknown task is PT404');

# --- running, gently

$id = submit($node, $db, 'gate', '{"gate": "never"}');
wait_state($node, $db, $id, 'running');
my $pid = worker_pid($id);
is( sql($node, $db,
		"SELECT task_id = '$id', cancelled, terminated FROM taskq.task_cancel('$id', 'enough')"
	),
	't|t|f',
	'a running task is told');
is(wait_task($node, $db, $id), 'cancelled', 'its query is cancelled');
task_is(
	$node, $db, $id,
	'celery_state, ready, successful, cancel_requested, cancel_reason, started_at IS NOT NULL, finished_at IS NOT NULL, result IS NULL',
	'REVOKED|t|f|t|enough|t|t|t', 'it says so');
is(effects($node, $db, $id), 0, 'what it wrote is gone');
my $next = submit($node, $db, 'short');
is(wait_task($node, $db, $next), 'completed', 'the next task completes');
is(sql($node, $db, "SELECT pid FROM effect WHERE task = '$next'"),
	$pid, '... in the same worker');

# --- the signal goes out when the cancel commits

$id = submit($node, $db, 'gate', '{"gate": "rollback"}');
wait_state($node, $db, $id, 'running');
$node->safe_psql($db, "BEGIN; SELECT taskq.task_cancel('$id'); ROLLBACK;");
$node->safe_psql($db,
	"BEGIN; SAVEPOINT s; SELECT taskq.task_cancel('$id'); ROLLBACK TO s; COMMIT;");
task_is($node, $db, $id, 'state', 'running',
	'a cancel that rolls back does not reach the running task');
open_gate($node, $db, 'rollback');
is(wait_task($node, $db, $id), 'completed', '... which completes');
is(effects($node, $db, $id), 1, '... with its effect');

# --- a handler that ends in an orderly way

$node->safe_psql(
	$db, q{
	CREATE FUNCTION orderly(p jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
	DECLARE
		asked bool;
	BEGIN
		BEGIN
			PERFORM taskq.progress(3, 10);
			PERFORM pg_sleep(3600);
		EXCEPTION WHEN query_canceled THEN
			asked := taskq.cancel_requested();
			INSERT INTO effect (task, note) SELECT id, 'partial' FROM taskq.current_task();
		END;
		RETURN jsonb_build_object('done', 3, 'asked', asked);
	END $$;
	SELECT taskq.kind_define('orderly', 'orderly(jsonb)');

	CREATE FUNCTION stubborn(p jsonb) RETURNS void LANGUAGE plpgsql AS $$
	BEGIN
		INSERT INTO effect (task, note) SELECT id, 'stubborn' FROM taskq.current_task();
		PERFORM taskq.progress(0, message => 'started');
		LOOP
			BEGIN
				PERFORM pg_sleep(3600);
			EXCEPTION WHEN query_canceled THEN
				PERFORM taskq.progress(1, message => 'swallowed');
			END;
		END LOOP;
	END $$;
	SELECT taskq.kind_define('stubborn', 'stubborn(jsonb)');

	-- never sleeps: looks whether it is asked to end
	CREATE FUNCTION attentive(p jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
	BEGIN
		IF taskq.cancel_requested() THEN
			RAISE EXCEPTION 'asked before anybody asked';
		END IF;
		PERFORM taskq.progress(0, message => 'started');
		LOOP
			BEGIN
				PERFORM 1;
				EXIT WHEN taskq.cancel_requested();
			EXCEPTION WHEN query_canceled THEN
				NULL;
			END;
		END LOOP;
		RETURN '"ended"';
	END $$;
	SELECT taskq.kind_define('attentive', 'attentive(jsonb)');});
$id = submit($node, $db, 'orderly');
ok( $node->poll_query_until($db, "SELECT current = 3 FROM taskq.task_status('$id')"),
	'a handler that catches query_canceled runs');
$node->safe_psql($db, "SELECT taskq.task_cancel('$id')");
is(wait_task($node, $db, $id), 'cancelled',
	'cancelled, it is cancelled although it returned');
task_is($node, $db, $id, 'result', '{"done": 3, "asked": true}',
	'its partial result is kept');
is(effects($node, $db, $id), 1, '... and what it wrote');

$id = submit($node, $db, 'attentive');
ok( $node->poll_query_until(
		$db, "SELECT message = 'started' FROM taskq.task_status('$id')"),
	'a handler that looks at cancel_requested runs');
$node->safe_psql($db, "SELECT taskq.task_cancel('$id')");
is(wait_task($node, $db, $id), 'cancelled', 'it ends as cancelled');

# --- force

$id = submit($node, $db, 'stubborn');
ok( $node->poll_query_until(
		$db, "SELECT message = 'started' FROM taskq.task_status('$id')"),
	'a handler that swallows every cancel runs');
$pid = worker_pid($id);
$node->safe_psql($db, "SELECT taskq.task_cancel('$id')");
expect_terminated($node, 'worker');
is( sql($node, $db,
		"SELECT cancelled, terminated FROM taskq.task_cancel('$id', 'at once', force => true)"
	),
	't|t',
	'it is cancelled by force');
is(wait_task($node, $db, $id), 'cancelled', '... and ends');
task_is($node, $db, $id, 'cancel_reason', 'at once', '... with the reason');
is(effects($node, $db, $id), 0, 'what it wrote is gone');
ok( $node->poll_query_until(
		$db,
		"SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = $pid)"),
	'its worker process is gone');
$next = submit($node, $db, 'short');
is(wait_task($node, $db, $next), 'completed', 'the next task completes');

# --- a running command

$id = sql($node, $db, "SELECT taskq.task_submit_sql('SELECT pg_sleep(3600)')");
wait_state($node, $db, $id, 'running');
$node->safe_psql($db, "SELECT taskq.task_cancel('$id')");
is(wait_task($node, $db, $id), 'cancelled', 'a query is cancelled');
$id = sql($node, $db,
	q{SELECT taskq.task_submit_sql('DO $$ BEGIN PERFORM pg_sleep(3600); END $$')});
wait_state($node, $db, $id, 'running');
$node->safe_psql($db, "SELECT taskq.task_cancel('$id')");
is(wait_task($node, $db, $id), 'cancelled',
	'a command with its own transactions is cancelled');

# --- somebody else's cancel is no task_cancel

$node->safe_psql($db, "SELECT taskq.kind_define('gate1', 'gate_work(jsonb)', max_attempts => 1)");
$id = submit($node, $db, 'gate1', '{"gate": "never"}');
wait_state($node, $db, $id, 'running');
$node->safe_psql($db,
	"SELECT pg_cancel_backend(pid) FROM taskq.worker WHERE task_id = '$id'");
is(wait_task($node, $db, $id), 'failed',
	'pg_cancel_backend on a worker fails its task');
task_is($node, $db, $id, q{error->>'sqlstate', cancel_requested},
	'57014|f', '... with the error that says so');

# --- many short tasks, some cancelled while they run

$node->safe_psql(
	$db, q{
	TRUNCATE effect;
	CREATE TABLE asked (task uuid);
	CREATE FUNCTION brief(p jsonb) RETURNS void LANGUAGE plpgsql AS $$
	BEGIN
		INSERT INTO effect (task, note) SELECT id, 'brief' FROM taskq.current_task();
		PERFORM pg_sleep(0.001);
	END $$;
	SELECT taskq.kind_define('brief', 'brief(jsonb)', max_attempts => 1);

	-- cancels one running task after the other until none is left
	CREATE PROCEDURE hammer() LANGUAGE plpgsql AS $$
	DECLARE
		target uuid;
	BEGIN
		WHILE EXISTS (SELECT FROM taskq.task WHERE kind = 'brief' AND NOT ready) LOOP
			FOR i IN 1..20 LOOP
				SELECT w.task_id INTO target FROM taskq.worker w WHERE w.task_id IS NOT NULL ORDER BY random() LIMIT 1;
				IF FOUND THEN
					INSERT INTO asked VALUES (target);
					PERFORM taskq.task_cancel(target);
				END IF;
				COMMIT;
			END LOOP;
		END LOOP;
	END $$;});
$node->safe_psql($db,
	"SELECT count(*) FROM taskq.task_submit_many('brief', array_fill('{}'::jsonb, ARRAY[2000]))"
);
$node->safe_psql($db, 'CALL hammer()');
is( sql($node, $db, q{
		SELECT count(*), count(*) FILTER (WHERE state NOT IN ('completed', 'cancelled'))
		FROM taskq.task WHERE kind = 'brief'}),
	'2000|0',
	'under a hail of cancels every task is either completed or cancelled');
is( sql($node, $db, q{
		SELECT count(*) FROM taskq.task
		WHERE kind = 'brief' AND state = 'cancelled' AND id NOT IN (SELECT task FROM asked)}),
	'0',
	'only those that somebody asked for are cancelled');
cmp_ok(
	sql($node, $db, q{SELECT count(*) FROM taskq.task WHERE kind = 'brief' AND state = 'cancelled'}),
	'>', 0, 'some are');
is( sql($node, $db, q{
		SELECT count(*) FROM taskq.task t
		WHERE kind = 'brief' AND (state = 'completed') <> EXISTS (SELECT FROM effect e WHERE e.task = t.id)}),
	'0',
	'exactly the completed ones have their effect');

$node->stop;
done_testing();
