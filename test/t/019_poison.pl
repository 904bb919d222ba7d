# A task that brings the server down is found out, tried once more alone, and
# failed if it does it again; nobody else is blamed.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use TaskqTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = taskq_node('poison', 'taskq.max_workers' => 3, 'max_wal_senders' => 2, 'wal_level' => 'replica');
my $db = 'postgres';

$node->safe_psql(
	$db, q{
	-- ends its own process by a signal
	CREATE FUNCTION poison_work(p jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
	BEGIN
		INSERT INTO effect (task, note) SELECT id, 'poison' FROM taskq.current_task();
		EXECUTE format('COPY (SELECT 1) TO PROGRAM %L', format('kill -%s $PPID; sleep 5', p->>'signal'));
		RETURN p;
	END $$;
	SELECT taskq.kind_define('poison', 'poison_work(jsonb)', max_attempts => 10, backoff => '10 ms');
	SELECT taskq.kind_define('gate_once', 'gate_work(jsonb)', max_attempts => 1);
	-- what happened to all tasks but the poisonous: states, and effects other than one
	CREATE FUNCTION others() RETURNS text LANGUAGE sql AS $$
		SELECT concat_ws(' ', string_agg(DISTINCT t.state, ','), count(*) FILTER (WHERE e.n <> 1),
			count(*) FILTER (WHERE t.attempt <> 1), (SELECT count(*) FROM taskq_internal.task WHERE crashes > 0
				AND id NOT IN (SELECT id FROM taskq.task WHERE kind = 'poison')))
		FROM taskq.task t CROSS JOIN LATERAL (SELECT count(*) AS n FROM effect WHERE task = t.id) e
		WHERE t.kind <> 'poison'
	$$;
});

sub restarts
{
	my @lines = grep { /terminated by signal/ } split /\n/, slurp_file($node->logfile);
	return scalar @lines;
}

sub all_final
{
	return $node->poll_query_until($db,
		'SELECT count(*) = 0 FROM taskq.task WHERE NOT ready');
}

# The server may be down before it can say that the submit has committed.
sub submit_poison
{
	my ($query) = @_;
	my ($out, $err);
	$node->psql($db, $query, stdout => \$out, stderr => \$err);
	return $out;
}

# --- a handler that calls abort(), among others

# In one transaction: the server may be down right after it.
my $beside = submit($node, $db, 'gate', '{"gate": "abort"}');
wait_state($node, $db, $beside, 'running');
expect_crashes($node, 2);
my $id = submit_poison(q{
	BEGIN;
	DO $$ BEGIN PERFORM taskq.task_submit_many('short', array_fill('{}'::jsonb, ARRAY[300])); END $$;
	SELECT taskq.task_submit('poison', '{"signal": "ABRT"}');
	DO $$ BEGIN PERFORM taskq.task_submit_many('short', array_fill('{}'::jsonb, ARRAY[300])); END $$;
	COMMIT;
});
ok(all_final_but($beside), 'the others come to their end');
task_is($node, $db, $id, q{state, attempt, error->>'sqlstate'},
	'failed|2|57P02', 'a task that aborts twice is failed, though it had more attempts');
is(effects($node, $db, $id), 0, '... and has no effect');
is(restarts(), 2, 'it restarted the server twice');
is( sql($node, $db, "SELECT string_agg(state || ' ' || (error->>'type'), ', ' ORDER BY attempt) FROM taskq.task_attempts('$id')"),
	'lost crash_shutdown, failed crash_shutdown',
	'both attempts are on record');
open_gate($node, $db, 'abort');
ok(all_final(), 'the one that ran beside it ends');
is(sql($node, $db, 'SELECT others()'), 'completed 0 0 0',
	'all others are completed once, by their first attempt, and not blamed');

sub all_final_but
{
	my ($one) = @_;
	return $node->poll_query_until($db,
		"SELECT count(*) = 0 FROM taskq.task WHERE NOT ready AND id <> '$one'");
}

# --- two of them at once

expect_crashes($node, [ 2, 4 ]);
my @poison = split /\n/, submit_poison(q{
	BEGIN;
	SELECT taskq.task_submit('poison', '{"signal": "KILL"}') FROM generate_series(1, 2);
	DO $$ BEGIN PERFORM taskq.task_submit_many('short', array_fill('{}'::jsonb, ARRAY[100])); END $$;
	COMMIT;
});
ok(all_final(), 'two of them, and all comes to its end');
task_is($node, $db, $_, 'state, attempt', 'failed|2', 'each is failed at its second crash') foreach @poison;
cmp_ok(restarts(), '<=', 2 + 4, 'at most two restarts for each');
expect_no_more($node);
is(sql($node, $db, 'SELECT others()'), 'completed 0 0 0', 'the others are not blamed');

# --- kill -9 of a worker by hand

$id = submit($node, $db, 'gate', '{"gate": "kill"}');
my $once = submit($node, $db, 'gate_once', '{"gate": "kill"}');
wait_state($node, $db, $_, 'running') foreach $id, $once;

sub kill_worker_of
{
	my ($task, $signal) = @_;
	my $pid = sql($node, $db, "SELECT pid FROM taskq.worker WHERE task_id = '$task'");
	expect_crashes($node);
	kill($signal, $pid);
	return $node->poll_query_until($db,
		"SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = $pid)");
}

ok(kill_worker_of($id, 'KILL'), 'a worker is killed');
wait_state($node, $db, $_, 'running') foreach $id, $once;
task_is($node, $db, $id, 'attempt', '2', 'its task counts an attempt');
task_is($node, $db, $once, 'attempt', '1', 'the one beside it does not');
is(effects($node, $db, $id), 0, 'nothing of the first attempt is left');
ok(kill_worker_of($once, 'KILL'), 'a worker is killed whose task has one attempt');
ok($node->poll_query_until($db, "SELECT ready FROM taskq.task_status('$once')"), '... which is over');
task_is($node, $db, $once, q{state, error->>'sqlstate'}, 'failed|57P02', '... and failed');
open_gate($node, $db, 'kill');
ok($node->poll_query_until($db, "SELECT ready FROM taskq.task_status('$id')"), 'the other');
task_is($node, $db, $id, 'state, attempt', 'completed|2', '... is completed by its second attempt');
is(effects($node, $db, $id), 1, '... with one effect');
$node->safe_psql($db, "SELECT taskq.task_delete('$_')") foreach $id, $once;

# --- nobody's fault: another backend crashes, the server is stopped at once, everything is killed

$id = submit($node, $db, 'gate', '{"gate": "innocent"}');
wait_state($node, $db, $id, 'running');

sub runs_again_unblamed
{
	my ($what) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	$node->poll_query_until($db, "SELECT state = 'running' FROM taskq.task_status('$id')");
	return task_is($node, $db, $id, q{attempt, (SELECT count(*) FROM taskq_internal.task t WHERE t.id = task_status.id AND crashes > 0)},
		'1|0', "$what: the running task is not blamed");
}

my ($stdin, $stdout, $stderr) = ('', '', '');
my $backend = IPC::Run::start(
	[ 'psql', '-XAtq', '-d', $node->connstr($db), '-f', '-' ],
	'<', \$stdin, '>', \$stdout, '2>', \$stderr);
$stdin .= "SELECT pg_backend_pid();\n";
$backend->pump until $stdout =~ /(\d+)/;
my ($pid) = $stdout =~ /(\d+)/;
expect_crashes($node);
kill('SEGV', $pid);
$backend->finish;
ok($node->poll_query_until($db, "SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = $pid)"), 'a backend crashes');
runs_again_unblamed('another backend crashed');
$node->stop('immediate');
$node->start;
runs_again_unblamed('immediate shutdown');
my @pids = backend_pids($node, '%');
$node->kill9;
foreach my $gone (@pids)
{
	for (1 .. 600)
	{
		last if !kill(0, $gone);
		select(undef, undef, undef, 0.1);
	}
}
$node->start;
runs_again_unblamed('the postmaster was killed');

# --- FATAL is no crash

$node->safe_psql(
	$db, q{
	CREATE FUNCTION fatal_work(p jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
	BEGIN
		PERFORM pg_terminate_backend(pg_backend_pid());
		PERFORM pg_sleep(60);
		RETURN p;
	END $$;
	SELECT taskq.kind_define('fatal', 'fatal_work(jsonb)', max_attempts => 3, backoff => '10 ms');
});
my $before = restarts();
expect_terminated($node, 'worker', 3);
my $fatal = submit($node, $db, 'fatal');
is(wait_task($node, $db, $fatal), 'failed', 'a task that ends its process fails');
task_is($node, $db, $fatal, q{attempt, error->>'sqlstate'}, '3|57P01', '... at its last attempt');
is(restarts(), $before, '... and nothing crashed');
open_gate($node, $db, 'innocent');
is(wait_task($node, $db, $id), 'completed', 'the others go on');

# --- a crash in a commit that several tasks share is nobody's in particular

$node->safe_psql(
	$db, q{
	CREATE FUNCTION notify_work(p jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
	BEGIN
		INSERT INTO effect (task, note) SELECT id, pg_current_xact_id()::text FROM taskq.current_task();
		IF p ? 'n' THEN
			PERFORM pg_notify('poison', p->>'n');
		END IF;
		RETURN p;
	END $$;
	SELECT taskq.kind_define('notify', 'notify_work(jsonb)', batch => true, max_attempts => 1);
});
configure($node, 'taskq.max_workers' => 1);
$node->safe_psql($db, q{SELECT taskq.task_submit_many('notify', array_fill('{}'::jsonb, ARRAY[300]))});
ok(all_final(), 'a kind whose tasks share transactions');
$node->safe_psql(
	$db, q{
	SELECT taskq.queue_pause('default');
	SELECT taskq.task_submit('notify', jsonb_build_object('n', i), tags => '{shared}') FROM generate_series(1, 20) i;});

# Whoever commits a NOTIFY holds a lock until the standby has it, and there is none:
# so the commit of the others waits.
my $holder;

sub commits_wait
{
	configure($node, 'synchronous_standby_names' => 'nobody');
	my $notify = "DO \$\$ BEGIN INSERT INTO gate VALUES ('notified'); NOTIFY poison; END \$\$ \\watch 0.05\n";
	my $file = $node->data_dir . '/notify.sql';
	append_to_file($file, $notify) if !-e $file;
	$holder = IPC::Run::start([ 'psql', '-Xq', '-d', $node->connstr($db), '-f', $file ], '>', \$stdout, '2>', \$stderr);
	$node->poll_query_until($db, q{SELECT count(*) = 1 FROM pg_stat_activity WHERE wait_event = 'SyncRep'}) or die 'nobody waits for a standby';
	$node->safe_psql($db, q{SET synchronous_commit = local; SELECT taskq.queue_resume('default'); ALTER SYSTEM RESET synchronous_standby_names});
	return $node->poll_query_until($db, q{SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'taskq worker' AND wait_event_type = 'Lock'});
}

ok(commits_wait(), 'a worker waits in its commit');
$before = restarts();
expect_crashes($node);
kill('KILL', backend_pids($node, 'worker'));
$holder->kill_kill;
$node->poll_query_until($db, 'SELECT true');
$node->reload;
ok(all_final(), 'it is killed there');
is(restarts() - $before, 1, 'one restart');
is(sql($node, $db, q{SELECT min(state), max(attempt), count(*) FROM taskq.task WHERE tags = '{shared}'}), 'completed|1|20',
	'all of them are completed by their first attempt');
is(sql($node, $db, q{SELECT count(*), count(DISTINCT note) FROM effect WHERE task IN (SELECT id FROM taskq.task WHERE tags = '{shared}')}), '20|20',
	'... with one effect each, and each by itself');
is(sql($node, $db, q{SELECT count(*) FROM taskq_internal.task WHERE crashes > 0 AND tags = '{shared}'}), '0', '... and nobody is blamed');
is(sql($node, $db, q{SELECT count(*) FROM taskq.task t, taskq.task_attempts(t.id) WHERE tags = '{shared}'}), '20', '... nor has lost an attempt');

# the same when only the worker is ended
$node->safe_psql(
	$db, q{
	SELECT taskq.task_submit_many('notify', array_fill('{}'::jsonb, ARRAY[300]));
});
ok(all_final(), 'they share again');
$node->safe_psql(
	$db, q{
	SELECT taskq.queue_pause('default');
	SELECT taskq.task_submit('notify', jsonb_build_object('n', i), tags => '{ended}') FROM generate_series(1, 20) i;});
ok(commits_wait(), 'a worker waits in its commit');
my ($worker) = backend_pids($node, 'worker');
expect_terminated($node, 'worker');
expect_fatal($node, 'connection to client lost', [ 0, 1 ]);
sql($node, $db, "SELECT pg_terminate_backend($worker)");
ok($node->poll_query_until($db, "SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = $worker)"), 'a worker is ended in such a commit');
$node->reload;
$holder->kill_kill;
ok(all_final(), '... and all comes to its end');
is(sql($node, $db, q{SELECT min(state), max(attempt), count(*), (SELECT count(*) FROM effect WHERE task IN (SELECT id FROM taskq.task WHERE tags = '{ended}'))
	FROM taskq.task WHERE tags = '{ended}'}), 'completed|1|20|20', '... completed by their first attempt, with one effect each');
configure($node, 'taskq.max_workers' => undef);

# --- a server that does not restart by itself

$node->append_conf('postgresql.conf', 'restart_after_crash = off');
$node->restart;
# the second attempt is made when pg_ctl has seen the server start
sql($node, $db, q{SELECT taskq.kind_define('poison', 'poison_work(jsonb)', max_attempts => 10, backoff => '1 h')});
expect_crashes($node, 2);
$id = submit($node, $db, 'poison', '{"signal": "SEGV"}');
foreach my $crash (1, 2)
{
	my $pidfile = $node->data_dir . '/postmaster.pid';
	for (1 .. 600)
	{
		last if !-e $pidfile;
		select(undef, undef, undef, 0.1);
	}
	ok(!-e $pidfile, "crash $crash takes the server down");
	$node->_update_pid(0);
	$node->start;
	wait_state($node, $db, $id, $crash == 1 ? 'retrying' : 'failed');
	$node->psql($db, "SELECT taskq.task_run_now('$id')") if $crash == 1;
}
ok($node->poll_query_until($db, "SELECT ready FROM taskq.task_status('$id')"), 'the guard survives that');
task_is($node, $db, $id, q{state, attempt, error->>'sqlstate'}, 'failed|2|57P02', '... and fails the task');
$id = submit($node, $db, 'short');
is(wait_task($node, $db, $id), 'completed', 'the server serves others');

# --- a disk that has no room for the guard

$node->append_conf('postgresql.conf', 'restart_after_crash = on');
$node->stop;
my $guard = $node->data_dir . '/pg_stat_tmp/taskq.guard';
unlink($guard) or die "no file $guard";
symlink('/dev/full', $guard) or die "symlink: $!";
expect_log($node, qr/ WARNING:  taskq could not make file/, 2);
$node->start;
like(slurp_file($node->logfile), qr/WARNING:  taskq could not make file "pg_stat_tmp\/taskq.guard"/, 'a server without a guard says so');
$id = submit($node, $db, 'gate', '{"gate": "no guard"}');
wait_state($node, $db, $id, 'running');
ok(kill_worker_of($id, 'KILL'), '... and starts, and crashes');
open_gate($node, $db, 'no guard');
ok($node->poll_query_until($db, "SELECT ready FROM taskq.task_status('$id')"), '... and goes on');
task_is($node, $db, $id, 'state, attempt', 'completed|1', '... and blames nobody');

done_testing();
