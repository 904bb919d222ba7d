# The known ways to lose a task, each of them walked: a task that was
# committed runs, whatever was claimed, saved or rolled back around it.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use TaskqTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = taskq_node('lost_tasks', 'taskq.worker_idle_timeout' => '100ms');
my $db = 'postgres';
my $id;

$node->safe_psql($db, q{SELECT taskq.queue_define('held')});

# Tasks that are claimed after the one in question was submitted, so that the
# lane's watermark moves on.
sub others_pass
{
	my ($options) = @_;
	my $ids = $node->safe_psql($db,
		"SELECT array_agg(id) FROM taskq.task_submit_many('short', array_fill('{}'::jsonb, ARRAY[300])"
		  . ($options // '')
		  . ") AS id");
	is( sql($node, $db,
			"SELECT count(*) FROM taskq.task_wait_all('$ids', '50 s') WHERE state = 'completed'"
		),
		'300',
		'others that were submitted later complete');
	return;
}

sub unfinished_is_zero
{
	my ($name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return ok(
		$node->poll_query_until(
			$db, 'SELECT count(*) = 0 FROM taskq.task WHERE NOT ready'),
		$name)
	  || diag(sql($node, $db, 'SELECT id, kind, state FROM taskq.task WHERE NOT ready LIMIT 10'));
}

# --- (a) submits that commit while a scan runs

# Each client's ids come early or late against the others': single ones, in
# savepoints of which some roll back, and in transactions that last a little.
my $script = PostgreSQL::Test::Utils::tempdir() . '/submit.sql';
append_to_file(
	$script, q{
\set way random(1, 10)
\if :way <= 6
SELECT taskq.task_submit('short');
\elif :way <= 8
BEGIN;
SELECT taskq.task_submit('short');
SAVEPOINT a;
SELECT taskq.task_submit('short', '{"gone": true}');
ROLLBACK TO a;
SAVEPOINT b;
SELECT taskq.task_submit('short');
RELEASE b;
COMMIT;
\elif :way <= 9
BEGIN;
SELECT taskq.task_submit('short');
SELECT pg_sleep(0.02);
COMMIT;
\else
BEGIN;
SELECT taskq.task_submit('short', '{"gone": true}');
ROLLBACK;
\endif
});
$node->command_ok(
	[ 'pgbench', '-n', '-c', '8', '-j', '2', '-t', '400', '-f', $script, $node->connstr($db) ],
	'many submit at once while tasks are claimed');
unfinished_is_zero('every committed task comes to its end');
is( sql($node, $db, q{
		SELECT count(*) FILTER (WHERE state <> 'completed'), count(*) FILTER (WHERE payload ? 'gone'), count(*) > 3200,
			count(*) = (SELECT count(*) FROM effect), (SELECT count(*) = count(DISTINCT task) FROM effect)
		FROM taskq.task}),
	'0|0|t|t|t',
	'all completed once, and nothing that was rolled back exists');

# --- (b) an id from before the watermark: a long transaction

my $session = $node->background_psql($db);
$session->query_safe('BEGIN');
$id = $session->query_safe(q{SELECT taskq.task_submit('short')});
others_pass();
ok(wait_idle($node), 'the processes leave');
others_pass();
$session->query_safe('COMMIT');
is(wait_task($node, $db, $id), 'completed',
	'a task submitted long ago runs when it is committed');
$session->quit;

# the same in a savepoint, next to one that rolls back
$session = $node->background_psql($db);
$session->query_safe('BEGIN; SAVEPOINT a;');
my $gone = $session->query_safe(q{SELECT taskq.task_submit('short')});
$session->query_safe('ROLLBACK TO a; SAVEPOINT b;');
$id = $session->query_safe(q{SELECT taskq.task_submit('short')});
others_pass();
$session->query_safe('RELEASE b; COMMIT');
is(wait_task($node, $db, $id), 'completed',
	'... also from a savepoint that was released');
like(sql_error($node, $db, "SELECT taskq.task_status('$gone')"),
	qr/ERROR:  PT404/, '... and not from one that was rolled back');
$session->quit;

# --- (b) an id from before the watermark: a prepared transaction

foreach my $restart ('', 'a clean restart', 'a crash')
{
	my $after = $restart ? " after $restart" : '';
	my $other =
	  $node->safe_psql($db, q{SELECT taskq.task_submit('short')});
	wait_task($node, $db, $other);
	$id = $node->safe_psql(
		$db, q{
		BEGIN;
		SELECT taskq.task_submit('short');
		PREPARE TRANSACTION 'submit';});
	others_pass();
	ok(wait_idle($node), 'the processes leave');
	if ($restart)
	{
		$node->stop($restart eq 'a crash' ? 'immediate' : 'fast');
		$node->start;
		others_pass();
	}
	$node->safe_psql($db, q{COMMIT PREPARED 'submit'});
	is(wait_task($node, $db, $id), 'completed',
		"a task of a prepared transaction runs when that is committed$after");
}
$id = $node->safe_psql($db,
	q{BEGIN; SELECT taskq.task_submit('short'); PREPARE TRANSACTION 'submit'; ROLLBACK PREPARED 'submit';});
like(sql_error($node, $db, "SELECT taskq.task_status('$id')"),
	qr/ERROR:  PT404/, 'a task of one that is rolled back never exists');

# in a batch of another database's session: COMMIT PREPARED from elsewhere
$id = $node->safe_psql($db,
	q{BEGIN; SELECT taskq.task_submit('short', priority => 7); PREPARE TRANSACTION 'first of its lane';});
$node->restart;
$node->safe_psql($db, q{COMMIT PREPARED 'first of its lane'});
is(wait_task($node, $db, $id), 'completed',
	'... the first task of a lane, prepared before a restart, too');

# --- (c) a row that an open cancel holds is skipped, and the cancel rolls back

sub skipped_by_cancel
{
	my ($end, $state, $name) = @_;

	$node->safe_psql($db, q{SELECT taskq.queue_pause('held')});
	$id = submit($node, $db, 'short', '{}', "queue => 'held'");
	my $cancel = $node->background_psql($db);
	$cancel->query_safe("BEGIN; SELECT taskq.task_cancel('$id');");
	$node->safe_psql($db, q{SELECT taskq.queue_resume('held')});
	others_pass(", queue => 'held'");
	task_is($node, $db, $id, 'ready', 'f', 'a task that an open cancel holds is passed over');
	$cancel->query_safe($end);
	is(wait_task($node, $db, $id), $state, $name);
	is(effects($node, $db, $id), $state eq 'completed' ? 1 : 0, '... with the effect it should have');
	$cancel->quit;
	return;
}

skipped_by_cancel('ROLLBACK', 'completed', 'it runs when the cancel is rolled back');
skipped_by_cancel('COMMIT', 'cancelled', 'it is cancelled when the cancel commits');

# the processes are gone when the cancel ends
foreach my $restart ('', 'a clean restart', 'a crash')
{
	foreach my $end ('ROLLBACK', 'COMMIT')
	{
		my $after = $restart ? " after $restart" : '';
		$node->safe_psql($db, q{SELECT taskq.queue_pause('held')});
		$id = submit($node, $db, 'short', '{}', "queue => 'held'");
		$node->safe_psql($db,
			"BEGIN; SELECT taskq.task_cancel('$id'); PREPARE TRANSACTION 'cancel';");
		$node->safe_psql($db, q{SELECT taskq.queue_resume('held')});
		others_pass(", queue => 'held'");
		if ($restart)
		{
			$node->stop($restart eq 'a crash' ? 'immediate' : 'fast');
			$node->start;
			others_pass(", queue => 'held'");
		}
		$node->safe_psql($db, "$end PREPARED 'cancel'");
		is( wait_task($node, $db, $id),
			$end eq 'COMMIT' ? 'cancelled' : 'completed',
			"$end PREPARED of a cancel$after");
		is(effects($node, $db, $id), $end eq 'COMMIT' ? 0 : 1, '... with the effect it should have');
	}
}

# cancel in a savepoint
$node->safe_psql($db, q{SELECT taskq.queue_pause('held')});
$id = submit($node, $db, 'short', '{}', "queue => 'held'");
$session = $node->background_psql($db);
$session->query_safe("BEGIN; SAVEPOINT a; SELECT taskq.task_cancel('$id');");
$node->safe_psql($db, q{SELECT taskq.queue_resume('held')});
others_pass(", queue => 'held'");
$session->query_safe('ROLLBACK TO a');
is(wait_task($node, $db, $id), 'completed',
	'a task whose cancel was rolled back to a savepoint runs, while that transaction is open');
$session->query_safe('COMMIT');
$session->quit;

# a session that dies with its cancel
$node->safe_psql($db, q{SELECT taskq.queue_pause('held')});
$id = submit($node, $db, 'short', '{}', "queue => 'held'");
$session = $node->background_psql($db, on_error_stop => 0);
$session->query_safe("BEGIN; SELECT taskq.task_cancel('$id');");
my $pid = $session->query_safe('SELECT pg_backend_pid()');
$node->safe_psql($db, q{SELECT taskq.queue_resume('held')});
others_pass(", queue => 'held'");
expect_fatal($node, 'terminating connection due to administrator command');
$node->safe_psql($db, "SELECT pg_terminate_backend($pid)");
is(wait_task($node, $db, $id), 'completed',
	'a task whose canceller was terminated runs');
eval { $session->quit };

# --- (d) between a failed attempt and the record of its retry

$node->safe_psql(
	$db, q{
	TRUNCATE effect;
	CREATE FUNCTION second_time(p jsonb) RETURNS int LANGUAGE plpgsql AS $$
	DECLARE
		t record := taskq.current_task();
	BEGIN
		INSERT INTO effect (task, note) VALUES (t.id, t.attempt);
		IF t.attempt = 1 THEN
			RAISE EXCEPTION 'not yet';
		END IF;
		RETURN t.attempt;
	END $$;
	SELECT taskq.kind_define('second_time', 'second_time(jsonb)', max_attempts => 3, backoff => '10 ms');
	SELECT count(*) FROM taskq.task_submit_many('second_time', array_fill('{}'::jsonb, ARRAY[500]));});
unfinished_is_zero('tasks that fail once come to their end');
is( sql($node, $db, q{
		SELECT count(*), count(*) FILTER (WHERE state = 'completed' AND attempt = 2 AND result = '2')
		FROM taskq.task WHERE kind = 'second_time'}),
	'500|500',
	'... completed at the second attempt');
is( sql($node, $db, 'SELECT count(*), count(DISTINCT task), min(note) FROM effect'),
	'500|500|2',
	'... with the effect of that one only');

# the server crashes in the midst of failing and retrying
$node->safe_psql(
	$db, q{
	SELECT taskq.kind_define('second_time_later', 'second_time(jsonb)', max_attempts => 3, backoff => '3 s');
	SELECT count(*) FROM taskq.task_submit_many('second_time_later', array_fill('{}'::jsonb, ARRAY[1500]));});
ok( $node->poll_query_until(
		$db, q{SELECT count(*) > 100 FROM taskq.task WHERE state = 'retrying'}),
	'many are between their attempts');
$node->stop('immediate');
$node->start;
unfinished_is_zero('after a crash in the midst of it, too');
is( sql($node, $db, q{
		SELECT count(*) FILTER (WHERE state <> 'completed'), count(*) = (SELECT count(*) FROM effect), (SELECT count(*) = count(DISTINCT task) FROM effect)
		FROM taskq.task WHERE kind LIKE 'second_time%'}),
	'0|t|t',
	'... all completed once');

# --- a due time passes while the server is down, or no process is there

$id = submit($node, $db, 'short', '{}', "delay => '3 s'");
my $future = submit($node, $db, 'short', '{}', "delay => '1 day'");
$node->restart;
is(wait_task($node, $db, $id), 'completed', 'a scheduled task runs after a restart');
task_is($node, $db, $id, 'started_at >= run_at', 't', '... not before its time');
ok(wait_idle($node), 'the processes leave');
$id = submit($node, $db, 'short', '{}', "delay => '1 s'");
is(wait_task($node, $db, $id), 'completed', 'a scheduled task brings the processes back');
task_is($node, $db, $future, 'state', 'scheduled', 'one of later on waits');

$node->stop;
done_testing();
