# The example workers as real processes: done, cancelled, stopped, killed, the
# server away; and the whole API through PgBouncer's transaction pooling.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use TaskqTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $examples = "$FindBin::RealBin/../../examples";
my $node = taskq_node('external', 'taskq.max_workers' => 2);
my $db = 'postgres';
my $dir = PostgreSQL::Test::Utils::tempdir();

$node->safe_psql(
	$db, q{
	CREATE ROLE outside LOGIN;
	GRANT taskq_worker TO outside;
	SELECT taskq.queue_define('outside');
	SELECT taskq.kind_define('example_count', queue => 'outside', backoff => '10 ms', max_attempts => 5);
	SELECT taskq.kind_define('shell', queue => 'shell', backoff => '10 ms', max_attempts => 2);
	SELECT taskq.queue_define('shell');
	SELECT taskq.kind_grant('example_count', 'outside', 'work'), taskq.kind_grant('shell', 'outside', 'work');
});

my %process;

sub start_process
{
	my ($name, @command) = @_;
	local $ENV{PGHOST} = $node->host;
	local $ENV{PGPORT} = $node->port;
	local $ENV{PGUSER} = 'outside';
	local $ENV{PGDATABASE} = $db;
	my $pid = fork // die "fork: $!";
	if ($pid == 0)
	{
		setpgrp;
		open(STDIN, '<', '/dev/null');
		open(STDOUT, '>>', "$dir/$name.log");
		open(STDERR, '>&', \*STDOUT);
		exec(@command) or exit(127);
	}
	return $process{$name} = $pid;
}

# The process ends by itself after a signal.
sub ends
{
	my ($name, $signal) = @_;
	kill($signal, $process{$name});
	for (1 .. 600)
	{
		return delete $process{$name} if waitpid($process{$name}, POSIX::WNOHANG()) != 0;
		select(undef, undef, undef, 0.1);
	}
	return 0;
}

END
{
	kill('-KILL', $_) foreach values %process;
}

sub shell_worker
{
	my ($name, $lease, @command) = @_;
	return start_process($name, "$examples/worker.sh", '-q', 'shell', '-l', $lease, '-n', $name, '--', @command);
}

use POSIX ();

# --- the shell worker

shell_worker('shell1', 6, 'sh', '-c', 'n=$(cat); case $n in *fail*) echo broken >&2; exit 3;; *never*) exit 100;; *slow*) exec sleep 60;; *) printf "{\"got\": %s, \"attempt\": %s}" "$n" "$TASK_ATTEMPT";; esac');
my $id = submit($node, $db, 'shell', q{{"text": "it''s a \" and \\\\ and ä"}});
is(wait_task($node, $db, $id), 'completed', 'worker.sh runs a task');
task_is($node, $db, $id, q{result->'got'->>'text', result->>'attempt', worker}, q{it's a " and \ and ä|1|shell1}, '... with its payload as it is');
$id = submit($node, $db, 'shell', '{"fail": 1}');
is(wait_task($node, $db, $id), 'failed', 'a command that fails');
task_is($node, $db, $id, q{attempt, error->>'message', error->>'detail'}, '2|broken|{"exit_code": 3}', '... is tried again, and says why');
$id = submit($node, $db, 'shell', '{"never": 1}');
is(wait_task($node, $db, $id), 'failed', 'exit code 100');
task_is($node, $db, $id, 'attempt', '1', '... is not');
$id = submit($node, $db, 'shell', '{"slow": 1}');
wait_state($node, $db, $id, 'running');
my $first_lease = sql($node, $db, "SELECT until FROM taskq_internal.lease WHERE task = '$id'");
ok($node->poll_query_until($db, "SELECT until > '$first_lease' FROM taskq_internal.lease WHERE task = '$id'"), 'heartbeats keep a long one');
sql($node, $db, "SELECT taskq.task_cancel('$id', 'no longer wanted')");
is(wait_task($node, $db, $id), 'cancelled', 'a cancel ends the command');
$id = submit($node, $db, 'shell', '{"slow": 2}');
wait_state($node, $db, $id, 'running');
ok(ends('shell1', 'TERM'), 'SIGTERM ends the worker');
ok($node->poll_query_until($db, "SELECT state = 'pending' AND attempt = 0 FROM taskq.task_status('$id')"), '... which gives its task back');
shell_worker('shell2', 3, 'sleep', '60');
wait_state($node, $db, $id, 'running');
# its psql may be in the midst of a heartbeat
expect_fatal($node, 'connection to client lost', [ 0, undef ]);
kill('-KILL', delete $process{shell2});
ok($node->poll_query_until($db, "SELECT state IN ('pending', 'retrying') AND attempt = 1 FROM taskq.task_status('$id')"), 'the task of one that is killed is taken back');
shell_worker('shell3', 6, 'echo', '7');
is(wait_task($node, $db, $id), 'completed', '... and done by another');
task_is($node, $db, $id, 'attempt, result, worker', '2|7|shell3', '... by its second attempt');
$node->stop('immediate');
$node->start;
$id = submit($node, $db, 'shell', '{}');
is(wait_task($node, $db, $id), 'completed', 'after a restart of the server the worker is there again');
ok(ends('shell3', 'TERM'), 'it ends when idle');

# --- the Python worker

SKIP:
{
	skip 'python3-psycopg2 is not installed', 12
	  if system("/usr/bin/python3 -c 'import psycopg2' 2>/dev/null") != 0;
	my $python = sub {
		my ($name, $lease) = @_;
		return start_process($name, '/usr/bin/python3', "$examples/worker.py", '--queue', 'outside', '--lease', $lease);
	};
	$python->('python1', 6);
	$id = submit($node, $db, 'example_count', '{"n": 5, "pause": 0.01}');
	is(wait_task($node, $db, $id), 'completed', 'worker.py runs a task');
	task_is($node, $db, $id, 'result', '{"counted": 5}', '... with its result');
	$id = submit($node, $db, 'example_count', '{"n": "five"}');
	is(wait_task($node, $db, $id), 'failed', 'a handler that raises');
	task_is($node, $db, $id, q{attempt, error->>'type', error->>'traceback' ~ '^Traceback.*File "/.*worker.py".*\nValueError: '}, '5|ValueError|t', '... is tried again');
	$id = submit($node, $db, 'example_count', '{"n": 100000, "pause": 0.01}');
	ok($node->poll_query_until($db, "SELECT current > 3 AND total = 100000 FROM taskq.task_status('$id')"), 'its progress shows');
	sql($node, $db, "SELECT taskq.task_cancel('$id')");
	is(wait_task($node, $db, $id), 'cancelled', 'a cancel ends it');
	task_is($node, $db, $id, q{result->>'of'}, '100000', '... with what it has so far');
	$id = submit($node, $db, 'example_count', '{"n": 300, "pause": 0.02}');
	wait_state($node, $db, $id, 'running');
	$node->stop('immediate');
	$node->start;
	is(wait_task($node, $db, $id, '60 s'), 'completed', 'it works on while the server restarts');
	task_is($node, $db, $id, 'attempt', '1', '... in the same attempt');
	$id = submit($node, $db, 'example_count', '{"n": 100000, "pause": 0.01}');
	wait_state($node, $db, $id, 'running');
	ok(ends('python1', 'TERM'), 'SIGTERM ends it');
	ok($node->poll_query_until($db, "SELECT state = 'pending' AND attempt = 0 FROM taskq.task_status('$id')"), '... and its task is given back');
	sql($node, $db, "SELECT taskq.task_cancel('$id')");
	is(wait_task($node, $db, $id), 'cancelled', 'which waits again');
}

# --- through PgBouncer: every transaction may be on another connection

SKIP:
{
	my $pgbouncer = -x '/usr/sbin/pgbouncer' ? '/usr/sbin/pgbouncer' : undef;
	skip 'pgbouncer is not installed', 9 if !defined $pgbouncer;
	append_to_file("$dir/users", qq("outside" ""\n"boss" ""\n));
	append_to_file("$dir/pgbouncer.ini", <<INI);
[databases]
$db = host=@{[$node->host]} port=@{[$node->port]} dbname=$db
[pgbouncer]
pool_mode = transaction
default_pool_size = 3
unix_socket_dir = $dir
listen_port = 6543
auth_type = trust
auth_file = $dir/users
logfile = $dir/pgbouncer.log
server_reset_query =
INI
	$node->safe_psql($db, 'CREATE ROLE boss LOGIN; GRANT taskq_user TO boss');
	start_process('pgbouncer', $pgbouncer, "$dir/pgbouncer.ini");
	my $pooled = sub {
		my ($user, $query) = @_;
		my ($out, $err);
		run_log([ 'psql', '-XAtq', '-d', "host=$dir port=6543 user=$user dbname=$db", '-c', $query ], '>', \$out, '2>', \$err);
		chomp($out //= '');
		return $out . ($err ? " $err" : '');
	};
	for (1 .. 600)
	{
		last if $pooled->('outside', 'SELECT 1') eq '1';
		select(undef, undef, undef, 0.1);
	}
	# others hold connections meanwhile, so that they change
	$id = $pooled->('boss', q{SELECT taskq.task_submit('example_count', '{"n": 1}')});
	my ($claimed, $token) = split /\|/, $pooled->('outside', q{SELECT id, token FROM taskq.task_claim('pooled', wait => '50 s')});
	is($claimed, $id, 'through a pool of connections a task is submitted and claimed');
	is($pooled->('boss', "SELECT state FROM taskq.task_status('$id')"), 'running', '... looked at');
	is($pooled->('outside', "SELECT cancel_requested FROM taskq.task_heartbeat('$id', '$token', current => 1)"), 'f', '... kept');
	is($pooled->('outside', "SELECT taskq.task_release('$id', '$token')"), '', '... released');
	($claimed, $token) = split /\|/, $pooled->('outside', q{SELECT id, token FROM taskq.task_claim('pooled')});
	is($pooled->('outside', "SELECT taskq.task_fail('$id', '$token', 'no')"), 'retrying', '... failed');
	($claimed, $token) = split /\|/, $pooled->('outside', q{SELECT id, token FROM taskq.task_claim('pooled', wait => '50 s')});
	is($pooled->('outside', "SELECT taskq.task_complete('$id', '$token', '1')"), '', '... completed');
	is($pooled->('boss', "SELECT state, attempt FROM taskq.task_wait('$id')"), 'completed|2', '... waited for');
	is($pooled->('boss', "SELECT taskq.task_result('$id')"), '1', '... and its result is read');
	ok(ends('pgbouncer', 'TERM'), 'the pool ends');
}

done_testing();
