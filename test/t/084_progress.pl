# task_watch sleeps until a task's state or progress is not what was seen.  What would
# not wake it would hang this test: no watch here has a short timeout.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use TaskqTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = taskq_node('watch', 'allows_streaming' => 1, 'taskq.max_workers' => 3, 'max_prepared_transactions' => 2);
my $db = 'postgres';

$node->safe_psql(
	$db, q{
	CREATE FUNCTION gated(p jsonb) RETURNS text LANGUAGE plpgsql AS $$
	BEGIN
		FOR i IN 1..(p->>'steps')::int LOOP
			WHILE NOT EXISTS (SELECT FROM gate WHERE name = p->>'gate' || i) LOOP
				PERFORM pg_sleep(0.01);
			END LOOP;
			IF p ? 'fail' THEN
				PERFORM taskq.step_failed('step ' || i, p->>'fail');
			END IF;
			PERFORM taskq.progress(i, (p->>'steps')::int, 'step ' || i);
		END LOOP;
		IF p->>'then' = 'retry' AND (SELECT attempt FROM taskq.current_task()) = 1 THEN
			PERFORM taskq.retry('1 h', 'not yet');
		END IF;
		RETURN 'through';
	END $$;
	SELECT taskq.kind_define('gated', 'gated(jsonb)');
	SELECT taskq.kind_define('ext', NULL);
	-- watches until it sees this; what it saw before that
	CREATE FUNCTION watch_for(id uuid, wanted jsonb, seen jsonb DEFAULT NULL) RETURNS jsonb LANGUAGE plpgsql AS $$
	BEGIN
		LOOP
			seen := taskq.task_watch(id, seen, '1 h');
			EXIT WHEN seen @> wanted;
			IF seen->>'state' IN ('completed', 'failed', 'cancelled') THEN
				RAISE EXCEPTION 'never' USING DETAIL = seen;
			END IF;
		END LOOP;
		RETURN seen;
	END $$;});

my $session = $node->background_psql($db);
my $pid = $session->query_safe('SELECT pg_backend_pid()');

# Starts a query in a session and returns once it sleeps.
sub start
{
	my ($session, $query) = @_;
	my $of = $session->query_safe('SELECT pg_backend_pid()');
	$session->query_until(qr/started/, "\\echo started\n$query;\n");
	$node->poll_query_until($db,
		"SELECT state = 'active' AND wait_event_type IN ('IPC', 'Extension') FROM pg_stat_activity WHERE pid = $of AND query ~ 'watch'")
	  or die 'it does not wait';
	return;
}

# A watcher that has seen what there is sees this, once something was done.
sub sees
{
	my ($id, $do, $wanted, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my $seen = sql($node, $db, "SELECT taskq.task_progress('$id')");
	start($session, "SELECT watch_for('$id', '$wanted', '$seen') IS NOT NULL");
	ref $do ? $do->() : sql($node, $db, $do);
	is($session->query_safe(''), 't', $name);
	return;
}

# --- progress

my $id = submit($node, $db, 'gated', '{"gate": "a", "steps": 3}');
wait_state($node, $db, $id, 'running');
is(sql($node, $db, "SELECT taskq.task_watch('$id')->>'state'"), 'running', 'who has seen nothing is told at once');
is(sql($node, $db, "SELECT taskq.task_watch('$id', taskq.task_progress('$id'), '10 ms') = taskq.task_progress('$id')"),
	't', 'without news, what was seen when the time is over');

my $seen = sql($node, $db, "SELECT taskq.task_progress('$id')");
start($session, "SELECT taskq.task_watch('$id', '$seen', '1 h')");
# the time in which one that polls would give itself away
ok(sleep_on(1.5, [$pid]), 'it sleeps, and does not poll');
open_gate($node, $db, 'a1');
like($session->query_safe(''), qr/"message": "step 1"/, 'a report wakes it');
sees($id, sub { open_gate($node, $db, 'a2') }, '{"state": "running", "current": 2}', 'so does the next one');

# many watchers; one that is cancelled does no harm
my @others = map { $node->background_psql($db) } 1 .. 6;
start($_, "SELECT watch_for('$id', '{\"state\": \"completed\"}') ->> 'current'") foreach @others;
my $gone = $node->background_psql($db, on_error_stop => 0);
my $gone_pid = $gone->query_safe('SELECT pg_backend_pid()');
start($gone, "SELECT watch_for('$id', '{\"state\": \"completed\"}')");
sql($node, $db, "SELECT pg_cancel_backend($gone_pid)");
$gone->query('');
$gone->quit;
sees($id, sub { open_gate($node, $db, 'a3') }, '{"state": "completed", "percent": 100}', 'the end is seen');
is(join(' ', map { $_->query_safe('') } @others), '3 3 3 3 3 3', '... by all who watch');
$_->quit foreach @others;
is(sql($node, $db, "SELECT taskq.task_watch('$id', taskq.task_progress('$id'), '1 h')->>'state'"),
	'completed', 'what is over is not waited for');

# who looks again and again never sees a task go back
$node->safe_psql(
	$db, q{
	CREATE FUNCTION tiny(p jsonb) RETURNS void LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(0.001); END';
	SELECT taskq.kind_define('tiny', 'tiny(jsonb)');
	CREATE TABLE polled (states text);
	CREATE PROCEDURE poll(n int) LANGUAGE plpgsql AS $$
	DECLARE
		id uuid;
		state text;
		states text;
	BEGIN
		FOR i IN 1..n LOOP
			id := taskq.task_submit('tiny');
			states := '';
			COMMIT;
			LOOP
				SELECT t.state INTO state FROM taskq.task_status(id) t;
				COMMIT;
				CONTINUE WHEN states LIKE '% ' || state;
				states := states || ' ' || state;
				EXIT WHEN state = 'completed';
			END LOOP;
			INSERT INTO polled VALUES (states);
		END LOOP;
	END $$;
	CALL poll(300);});
is(sql($node, $db, "SELECT coalesce(string_agg(DISTINCT states, ','), 'none') FROM polled WHERE states ~ '(running|reserved).*pending|running.*reserved'"),
	'none', 'a task that is polled while it ends does not seem to wait again');

# what is through, and not durable yet, still runs, as far as it has come
$node->safe_psql($db, q{
	CREATE FUNCTION quick(p jsonb) RETURNS void LANGUAGE plpgsql AS $$ BEGIN PERFORM taskq.progress(1, 1, 'all'); END $$;
	SELECT taskq.kind_define('quick', 'quick(jsonb)');});
sql($node, $db, q{SELECT count(*) FROM taskq.task_submit_many('quick', array_fill('{}'::jsonb, ARRAY[200]))});
$node->poll_query_until($db, "SELECT count(*) = 0 FROM taskq.task WHERE state <> 'completed'") or die 'they do not end';
sql($node, $db, "ALTER SYSTEM SET synchronous_standby_names = 'nobody'");
$node->reload;
{
	local $ENV{PGOPTIONS} = '-c synchronous_commit=local';
	my $held = "taskq_internal.task t JOIN taskq.task v USING (id) WHERE t.state = 'c' AND v.state = 'running'";
	# more of them than there are workers: so some are not the last of theirs
	ok($node->poll_query_until($db, qq{
			SELECT count(*) > 3 OR (SELECT count(*) = 0
				FROM taskq.task_submit_many('quick', array_fill('{}'::jsonb, ARRAY[60])))
			FROM $held}),
		'tasks are through, and wait for a standby');
	is(sql($node, $db, qq{
			SELECT DISTINCT taskq.task_progress(t.id) FROM $held}),
		'{"state": "running", "total": 1, "current": 1, "message": "all", "percent": 100}', 'until then they are as far as they came');
	my $columns = 'v.state, v.progress, v.current, v.total, v.message, v.attempt, v.finished_at IS NULL, v.duration IS NOT NULL, v.updated_at >= v.started_at';
	is(sql($node, $db, "SELECT DISTINCT $columns FROM $held"), 'running|100.0|1|1|all|1|t|t|t', '... in the view');
	is(sql($node, $db, "SELECT DISTINCT $columns FROM (SELECT id FROM $held) t, taskq.task_status(t.id) v"),
		'running|100.0|1|1|all|1|t|t|t', '... by their status');
	sql($node, $db, 'ALTER SYSTEM RESET synchronous_standby_names');
	$node->reload;
	ok($node->poll_query_until($db, "SELECT count(*) = 0 FROM taskq.task WHERE state <> 'completed'"), '... until they have ended');
}

# --- states

$id = submit($node, $db, 'gated', '{"gate": "b", "steps": 1, "then": "retry", "fail": "oh"}', q{delay => '1 h'});
sees($id, "SELECT taskq.task_run_now('$id')", '{"state": "running"}', 'what was scheduled, begun');
sees($id, sub { open_gate($node, $db, 'b1') }, '{"state": "retrying", "failed": 1, "failure_details": [{"step": "step 1", "error": "oh"}]}', 'failed, with the step that failed');
sees($id, "SELECT taskq.task_run_now('$id')", '{"state": "completed"}', 'and done');

$id = submit($node, $db, 'short', '{}', q{run_at => 'infinity'});
my $after = sql($node, $db, "SELECT taskq.task_submit('short', depends_on => '{$id}')");
sees($after, "SELECT taskq.task_run_now('$id')", '{"state": "completed"}', 'what waited for another one');

$id = submit($node, $db, 'short', '{}', q{run_at => 'infinity'});
sees($id, "SELECT taskq.task_cancel('$id')", '{"state": "cancelled"}', 'a cancel');

$id = submit($node, $db, 'short', '{}', q{run_at => 'infinity'});
sql($node, $db, "BEGIN; SELECT taskq.task_cancel('$id'); PREPARE TRANSACTION 'watched'");
sees($id, "COMMIT PREPARED 'watched'", '{"state": "cancelled"}', 'one that was prepared');

$id = submit($node, $db, 'gate', '{"gate": "never"}', 'max_attempts => 1');
wait_state($node, $db, $id, 'running');
expect_terminated($node, 'worker');
sees($id, "SELECT pg_terminate_backend(pid) FROM taskq.worker WHERE task_id = '$id'", '{"state": "failed", "current": 1}', 'the end of its worker');
$id = submit($node, $db, 'gate', '{"gate": "never"}');
wait_state($node, $db, $id, 'running');
sees($id, "SELECT taskq.task_cancel('$id')", '{"state": "cancelled"}', 'the cancel of one that runs');

# --- external workers

$id = submit($node, $db, 'ext');
sees($id, "CREATE TABLE claimed AS SELECT * FROM taskq.task_claim('tester', kinds => '{ext}', wait => '20 s')", '{"state": "running"}', 'a claim');
my $with = "(id, token) FROM claimed";
sees($id, "SELECT taskq.task_heartbeat(id, token, current => 4, total => 8, phase => 'half') FROM claimed", '{"percent": 50, "phase": "half"}', 'a heartbeat that reports');
sees($id, "SELECT taskq.task_release(id, token) FROM claimed", '{"state": "pending"}', 'given back');
sees($id, "TRUNCATE claimed; INSERT INTO claimed SELECT * FROM taskq.task_claim('tester', kinds => '{ext}', lease => '2 s', wait => '20 s')", '{"state": "running"}', 'claimed again');
sees($id, 'SELECT 1', '{"state": "retrying"}', 'the lease is over');

# --- who may not

$id = submit($node, $db, 'short', '{}', q{run_at => 'infinity'});
$node->safe_psql($db, 'CREATE ROLE watcher LOGIN; GRANT taskq_user TO watcher');
like(sql_error($node, $db, "SET SESSION AUTHORIZATION watcher; SELECT taskq.task_watch('$id')"), qr/PT404/, 'of others nothing is seen');
like(sql_error($node, $db, "SELECT taskq.task_watch('$id', timeout => '-1 s')"), qr/22023/, 'a time that is none');
like(sql_error($node, $db, "BEGIN; SELECT taskq.task_watch(taskq.task_submit('short'))"), qr/55000/, 'what begins with the commit is not waited for before it');

$session->quit;
$node->stop;
done_testing();
