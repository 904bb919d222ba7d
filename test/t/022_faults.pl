# Faults that no other file has: crashes between effect and commit, connection
# limits, deadlocks, a full disk, a paused start, commands on the database and
# the extension while tasks run.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use TaskqTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = taskq_node('faults', 'taskq.max_workers' => 4);
my $db = 'postgres';

# --- the server dies between a task's effect and its bookkeeping, and between bookkeeping and commit

$node->safe_psql(
	$db, q{
	CREATE TABLE crash_once (place text PRIMARY KEY);

	-- ends this process once: what tells that it has is outside of the transaction
	CREATE FUNCTION die_once(place text) RETURNS void LANGUAGE plpgsql AS $$
	DECLARE
		flag text := current_setting('data_directory') || '/died_' || place;
	BEGIN
		IF pg_stat_file(flag, true) IS NULL THEN
			EXECUTE format('COPY (SELECT 1) TO PROGRAM %L', format('touch %s; kill -9 $PPID; sleep 5', flag));
		END IF;
	END $$;

	CREATE FUNCTION die_before(p jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
	BEGIN
		INSERT INTO effect (task, note) SELECT id, 'before' FROM taskq.current_task();
		PERFORM die_once('before');
		RETURN p;
	END $$;

	-- deferred triggers run inside commit, after the task's row says completed
	CREATE TABLE deferred (task uuid);
	CREATE FUNCTION die_in_commit() RETURNS trigger LANGUAGE plpgsql AS $$
	BEGIN
		PERFORM die_once('commit');
		RETURN NULL;
	END $$;
	CREATE CONSTRAINT TRIGGER die AFTER INSERT ON deferred DEFERRABLE INITIALLY DEFERRED
		FOR EACH ROW EXECUTE FUNCTION die_in_commit();
	CREATE FUNCTION die_at_commit(p jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
	BEGIN
		INSERT INTO effect (task, note) SELECT id, 'commit' FROM taskq.current_task();
		INSERT INTO deferred SELECT id FROM taskq.current_task();
		RETURN p;
	END $$;
	SELECT taskq.kind_define('die_before', 'die_before(jsonb)', backoff => '10 ms');
	SELECT taskq.kind_define('die_at_commit', 'die_at_commit(jsonb)', backoff => '10 ms');
});
foreach my $kind ('die_before', 'die_at_commit')
{
	expect_crashes($node);
	my $id = submit($node, $db, $kind);
	$node->poll_query_until($db,
		"SELECT ready FROM taskq.task_status('$id')");
	task_is($node, $db, $id, 'state, attempt', 'completed|2',
		"$kind: the task is done by its second attempt");
	is(effects($node, $db, $id), 1, '... with one effect');
	is( sql($node, $db, "SELECT string_agg(state, ' ' ORDER BY attempt) FROM taskq.task_attempts('$id')"),
		'lost completed',
		'... the first one is known as lost');
}

# --- two tasks that deadlock

$node->safe_psql(
	$db, q{
	CREATE TABLE pair (id int PRIMARY KEY, n int NOT NULL);
	INSERT INTO pair VALUES (1, 0), (2, 0);
	CREATE FUNCTION pair_work(p jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
	BEGIN
		UPDATE pair SET n = n + 1 WHERE id = (p->>'first')::int;
		-- meets the other one on its first attempt only
		IF (SELECT attempt FROM taskq.current_task()) = 1 THEN
			PERFORM pg_advisory_xact_lock_shared(1);
			PERFORM taskq.progress(1);
			WHILE NOT EXISTS (SELECT FROM gate WHERE name = 'pair') LOOP
				PERFORM pg_sleep(0.01);
			END LOOP;
		END IF;
		UPDATE pair SET n = n + 1 WHERE id = (p->>'second')::int;
		RETURN p;
	END $$;
	SELECT taskq.kind_define('pair', 'pair_work(jsonb)', backoff => '10 ms');
});
my @pair = (
	submit($node, $db, 'pair', '{"first": 1, "second": 2}'),
	submit($node, $db, 'pair', '{"first": 2, "second": 1}'));
wait_state($node, $db, $_, 'running') foreach @pair;
$node->poll_query_until($db,
	"SELECT count(*) = 2 FROM taskq.task WHERE kind = 'pair' AND current = 1");
open_gate($node, $db, 'pair');
is(wait_task($node, $db, $_), 'completed', 'of two that deadlock both complete')
  foreach @pair;
is( sql($node, $db, q{
		SELECT count(*), min(a.error->>'sqlstate') FROM taskq.task_attempt a JOIN taskq.task t ON t.id = a.task_id
		WHERE t.kind = 'pair' AND a.state = 'failed'}),
	'1|40P01',
	'... one after a failed attempt');
is(sql($node, $db, 'SELECT sum(n) FROM pair'), '4', '... each counted once');

# --- the disk is full: an error that may pass

$node->safe_psql(
	$db, q{
	CREATE FUNCTION disk_full(p jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
	BEGIN
		IF (SELECT attempt FROM taskq.current_task()) < 3 THEN
			RAISE EXCEPTION 'could not extend file' USING ERRCODE = '53100';
		END IF;
		RETURN p;
	END $$;
	SELECT taskq.kind_define('disk_full', 'disk_full(jsonb)', backoff => '10 ms');
});
my $id = submit($node, $db, 'disk_full');
is(wait_task($node, $db, $id), 'completed', 'a full disk is tried again');
task_is($node, $db, $id, 'attempt', '3', '... until there is room');

# --- CONNECTION LIMIT of a role and of a database

$node->safe_psql(
	$db, q{
	CREATE ROLE narrow LOGIN CONNECTION LIMIT 1;
	GRANT taskq_user TO narrow;
});
my @narrow =
  map { as_role($node, $db, 'narrow', q{SELECT taskq.task_submit('gate', '{"gate": "narrow"}')}) } 1 .. 3;
wait_state($node, $db, $narrow[0], 'running');
$id = submit($node, $db, 'short');
is(wait_task($node, $db, $id), 'completed', 'a role at its limit does not hold up others');
is( sql($node, $db,
		"SELECT count(*) FROM taskq.worker WHERE role = 'narrow'"),
	'1',
	'no more workers than CONNECTION LIMIT of the role');
open_gate($node, $db, 'narrow');
is(wait_task($node, $db, $_), 'completed', 'one after the other they run') foreach @narrow;
ok( $node->poll_query_until($db, "SELECT count(*) = 0 FROM taskq.worker WHERE role = 'narrow'"),
	'its worker leaves');
my $held = $node->background_psql($db, extra_params => [ '-U', 'narrow' ])
  if $node->can('background_psql');
SKIP:
{
	skip 'no background_psql in this version', 2 if !defined $held;
	$held->query_safe('SELECT 1');
	$id = sql($node, $db,
		q{SET ROLE narrow; SELECT taskq.task_submit('short')});
	$node->wait_for_log(qr/too many connections of role "narrow"/);
	task_is($node, $db, $id, 'state', 'pending',
		'while a session of its own takes the place its tasks wait, and the log says so');
	$held->quit;
	is(wait_task($node, $db, $id), 'completed', '... until it ends');
}

# --- ALTER EXTENSION UPDATE, DROP OWNED and REASSIGN while tasks run

$id = submit($node, $db, 'gate', '{"gate": "late"}');
wait_state($node, $db, $id, 'running');
expect_terminated($node, 'worker');
sql_ok($node, $db, 'ALTER EXTENSION taskq UPDATE',
	'ALTER EXTENSION UPDATE does not wait for a running task');
# if the task runs again by then
expect_terminated($node, 'worker', [ 0, 1 ]);
sql_ok($node, $db, 'BEGIN; DROP EXTENSION taskq; ROLLBACK;',
	'DROP EXTENSION, rolled back');
open_gate($node, $db, 'late');
is(wait_task($node, $db, $id), 'completed',
	'the task that was broken off runs again');
is(effects($node, $db, $id), 1, '... with one effect');
expect_no_more($node);
$node->safe_psql(
	$db, q{
	CREATE ROLE leaver LOGIN;
	GRANT taskq_user TO leaver;
});
$id = as_role($node, $db, 'leaver', q{SELECT taskq.task_submit('gate', '{"gate": "leaver"}')});
my $waiting = as_role($node, $db, 'leaver', q{SELECT taskq.task_submit('gate', '{"gate": "leaver"}', delay => '1 h')});
wait_state($node, $db, $id, 'running');
sql_ok($node, $db, 'DROP OWNED BY leaver; DROP ROLE leaver;',
	'a role is dropped while its task runs');
open_gate($node, $db, 'leaver');
ok( $node->poll_query_until($db, "SELECT ready FROM taskq.task_status('$id')"),
	'... which comes to an end');
$id = submit($node, $db, 'short');
is(wait_task($node, $db, $id), 'completed', '... and others run');
is( sql($node, $db, "SELECT cancelled FROM taskq.task_cancel('$waiting')"),
	't', 'what it left can be cancelled');

# --- a server that starts paused

my $before = submit($node, $db, 'short', '{}', "delay => '1 h'");
my $ready = submit($node, $db, 'gate', '{"gate": "paused"}');
wait_state($node, $db, $ready, 'running');
$node->append_conf('postgresql.conf', 'taskq.start_paused = on');
my $offset = -s $node->logfile;
$node->restart;
$node->wait_for_log(qr/taskq runs no tasks in database "postgres" because the server was started with taskq\.start_paused/, $offset)
  if $node->can('wait_for_log');
open_gate($node, $db, 'paused');
$node->safe_psql($db, "SELECT taskq.task_reschedule('$before', clock_timestamp() + interval '100 ms')");
$id = submit($node, $db, 'short');
ok( $node->poll_query_until($db, "SELECT state = 'pending' FROM taskq.task_status('$before')"),
	'what is due becomes pending');
is( sql($node, $db, "SELECT count(*) FROM taskq.task WHERE state NOT IN ('pending', 'completed', 'failed', 'cancelled')"),
	'0',
	'nothing runs on a server that was started paused');
is( sql($node, $db, "SELECT s->>'paused', s->>'running', s->>'why_paused' ~ 'resume' FROM taskq.sitrep() s"),
	'true|false|t',
	'sitrep says so');
like(
	sql_error($node, $db, q{SELECT taskq.resume()}, 'narrow'),
	qr/42501/, 'a user cannot resume');
sql($node, $db, 'SELECT taskq.resume()');
is(wait_task($node, $db, $_), 'completed', 'resumed, they run') foreach $before, $ready, $id;
is(sql($node, $db, "SELECT s->>'paused' FROM taskq.sitrep() s"), 'false', '... and sitrep says so');

# a crash restart is no new start
my ($pid) = backend_pids($node, 'launcher');
expect_crashes($node);
kill('KILL', $pid);
ok( $node->poll_query_until($db, "SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = $pid)"),
	'the server restarts by itself');
$id = submit($node, $db, 'short');
is(wait_task($node, $db, $id), 'completed', '... and is not paused again');
$node->restart;
$id = submit($node, $db, 'short');
is(sql($node, $db, "SELECT s->>'paused' FROM taskq.sitrep() s"), 'true', 'a new start is');
task_is($node, $db, $id, 'state', 'pending', '... and its tasks wait');

done_testing();
