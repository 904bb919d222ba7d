# TaskqTest: what the TAP tests share.
#
# A cluster with taskq loaded, and handlers whose course a test decides.  A
# task "at the gate" has written its effect and waits until the test opens
# the gate: the test waits for conditions, never for time.
#
# done_testing() stops every server that the test made and reads its log: what
# is in it that should not be (ServerLog.pm has the list) and that the test did
# not announce, or what it announced and did not come, is a failure.  Announce
# right before it is to happen: what was logged earlier does not count.
package TaskqTest;

use strict;
use warnings;

# Find PostgreSQL's own test modules and programs when the caller did not.
BEGIN
{
	my $pg_config = $ENV{PG_CONFIG} // 'pg_config';
	chomp(my $libdir = `$pg_config --pkglibdir`);
	chomp(my $bindir = `$pg_config --bindir`);
	unshift @INC, "$libdir/pgxs/src/test/perl";
	$ENV{PATH} = "$bindir:$ENV{PATH}";
	$ENV{PG_REGRESS} //= "$libdir/pgxs/src/test/regress/pg_regress";
	$ENV{PG_TEST_TIMEOUT_DEFAULT} //= 60;
}

use Exporter 'import';
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use ServerLog;
use Test::More;
use Test2::API ();

# A psql that is gone before it has read its query (the server was just killed) failed
# to connect; IPC::Run would end the whole test for its broken pipe.
{
	no warnings 'redefine';
	my $run = \&IPC::Run::run;
	*IPC::Run::run = sub {
		my @command = @_;
		my $result = eval { $run->(@command) };
		my $error = $@;
		my $status = $?;
		if ($error)
		{
			die $error if $error !~ /^ack Broken pipe/;
			$result = 0;
			$status = 2 << 8;
		}
		$? = $status;
		return $result;
	};
}

our @EXPORT = qw(
  taskq_node taskq_database
  submit wait_task wait_state wait_idle task_is
  open_gate effects
  sql sql_error sql_ok as_role
  processes backend_pids context_switches
  expect_crashes expect_fatal expect_terminated expect_log expect_no_more log_faults
);

# --- what the servers log

my %log;                        # of each server: its node and what was announced, by the log's name

# All servers are read, also those that a test makes without taskq_node.  To know
# SQLSTATEs and processes, all log them.
{
	no warnings 'redefine';
	my %original = map { $_ => PostgreSQL::Test::Cluster->can($_) } qw(init kill9);
	*PostgreSQL::Test::Cluster::init = sub {
		my ($node, @args) = @_;
		$original{init}->($node, @args);
		$node->append_conf('postgresql.conf', "log_line_prefix = '$ServerLog::PREFIX'");
		return;
	};
	*PostgreSQL::Test::Cluster::kill9 = sub {
		my ($node, @args) = @_;
		_log_of($node)->{announced}->announce_kill(-s $node->logfile // 0);
		return $original{kill9}->($node, @args);
	};
	my $start = PostgreSQL::Test::Cluster->can('start');
	*PostgreSQL::Test::Cluster::start = sub {
		my ($node, @args) = @_;
		_log_of($node);
		return $start->($node, @args);
	};
	my $done_testing = Test::Builder->can('done_testing');
	*Test::Builder::done_testing = sub {
		check_logs() if !Test2::API::test2_stack()->top->isa('Test2::Hub::Subtest');
		goto &$done_testing;
	};
}

sub _log_of
{
	my ($node) = @_;
	return $log{ $node->logfile } //= { node => $node, announced => ServerLog->new };
}

# From here on there will be so many entries in the server's log that match: a number, or
# [ at least, at most ], where undef is no limit; exactly one if nothing is said.  A pattern is
# matched with "backend type|SQLSTATE SEVERITY:  message".
sub expect_log
{
	my ($node, $what, $times) = @_;
	_log_of($node)->{announced}->announce(-s $node->logfile // 0, $what, $times);
	return;
}

# ... so many crash restarts: processes that end by a signal
sub expect_crashes
{
	my ($node, $times) = @_;
	return expect_log($node, 'crash', $times);
}

# ... FATALs with this message
sub expect_fatal
{
	my ($node, $message, $times) = @_;
	return expect_log($node, qr/ FATAL:  .*$message/, $times);
}

# ... processes of taskq that are terminated: launcher, dispatcher, worker
sub expect_terminated
{
	my ($node, $sort, $times) = @_;
	return expect_log($node, qr/ FATAL:  terminating background worker "taskq $sort" due to administrator command/, $times);
}

# What was expected until now does not come any more.
sub expect_no_more
{
	my ($node) = @_;
	_log_of($node)->{announced}->announce_end(-s $node->logfile // 0);
	return;
}

# What is in a server's log up to now that should not be there.
sub log_faults
{
	my ($node) = @_;
	my $log = _log_of($node);
	my $from = $log->{read} // 0;
	my $text = -e $node->logfile ? ServerLog::slurp($node->logfile, $from) : '';
	$text =~ s/[^\n]*\z//;         # a line that is being written
	$log->{read} = $from + length $text;
	push @{ $log->{faults} }, $log->{announced}->faults($text, $from);
	return @{ $log->{faults} };
}

# One test for each server, in the end.
sub check_logs
{
	local $Test::Builder::Level = $Test::Builder::Level + 2;
	foreach my $name (sort keys %log)
	{
		my $log = $log{$name};
		my $node = $log->{node};
		next if $log->{checked}++;
		my $stopped = !defined $node->{_pid} || $node->stop('fast', fail_ok => 1);
		my @faults = (log_faults($node), $log->{announced}->missing);
		push @faults, 'the server did not stop' if !$stopped;
		ok(!@faults, 'server ' . $node->name . ' logs nothing that was not announced')
		  or diag(join "\n", @faults);
	}
	return;
}

# A test that died did not get there.
END
{
	foreach my $log (grep { !$_->{checked} } values %log)
	{
		diag("server log: $_") foreach log_faults($log->{node});
	}
}

# A started cluster with taskq loaded and the extension in database postgres.
# %conf: settings beyond the common ones.
sub taskq_node
{
	my ($name, %conf) = @_;
	my $node = PostgreSQL::Test::Cluster->new($name);

	$node->init(
		(delete $conf{allows_streaming}) ? (allows_streaming => 1) : ());
	%conf = (
		'shared_preload_libraries' => 'taskq',
		'restart_after_crash' => 'on',
		'max_worker_processes' => 16,
		'max_prepared_transactions' => 10,
		'taskq.worker_idle_timeout' => '1s',
		'autovacuum' => 'off',
		%conf);
	$node->append_conf('postgresql.conf', "$_ = '$conf{$_}'")
	  foreach sort keys %conf;
	$node->start;
	taskq_database($node, 'postgres');
	return $node;
}

# The extension and the tests' handlers in one database.
sub taskq_database
{
	my ($node, $db) = @_;

	$node->safe_psql('postgres', "CREATE DATABASE $db")
	  if $db ne 'postgres';
	$node->safe_psql(
		$db, q{
		CREATE EXTENSION taskq;

		-- what tasks did, and the gates that are open
		CREATE TABLE effect (task uuid, note text, pid int DEFAULT pg_backend_pid(), who text DEFAULT session_user);
		CREATE TABLE gate (name text);
		GRANT ALL ON effect, gate TO PUBLIC;

		-- leaves its effect and ends
		CREATE FUNCTION short_work(p jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
		BEGIN
			INSERT INTO effect (task, note) SELECT id, 'done' FROM taskq.current_task();
			RETURN p;
		END $$;

		-- leaves its effect, says so, and waits for its gate
		CREATE FUNCTION gate_work(p jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
		BEGIN
			INSERT INTO effect (task, note) SELECT id, 'done' FROM taskq.current_task();
			PERFORM taskq.progress(1, 2, 'at the gate');
			WHILE NOT EXISTS (SELECT FROM gate WHERE name = p->>'gate') LOOP
				PERFORM pg_sleep(0.01);
			END LOOP;
			RETURN p;
		END $$;

		CREATE FUNCTION fail_work(p jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
		BEGIN
			INSERT INTO effect (task, note) SELECT id, 'failed' FROM taskq.current_task();
			RAISE EXCEPTION 'could not do it' USING ERRCODE = 'TT001', DETAIL = 'the detail', HINT = 'the hint';
		END $$;

		SELECT taskq.kind_define('short', 'short_work(jsonb)');
		SELECT taskq.kind_define('gate', 'gate_work(jsonb)');
		SELECT taskq.kind_define('fail', 'fail_work(jsonb)', max_attempts => 1);
	});
	return;
}

# Submits one task and returns its id.  $more: further arguments, as SQL.
sub submit
{
	my ($node, $db, $kind, $payload, $more) = @_;
	return $node->safe_psql($db,
		"SELECT taskq.task_submit('$kind', '"
		  . ($payload // '{}') . "'"
		  . (defined $more ? ", $more" : '')
		  . ")");
}

# The state of a task once it is final.
sub wait_task
{
	my ($node, $db, $id, $timeout) = @_;
	$timeout //= '50 s';
	return $node->safe_psql($db,
		"SELECT state FROM taskq.task_wait('$id', '$timeout')");
}

sub wait_state
{
	my ($node, $db, $id, $state) = @_;
	$node->poll_query_until($db,
		"SELECT state = '$state' FROM taskq.task_status('$id')")
	  or die "task $id did not get to state $state, is: "
	  . $node->safe_psql($db, "SELECT row_to_json(t) FROM taskq.task_status('$id') t");
	return;
}

# Until no dispatcher and no worker is left, in a database or in all of them.
sub wait_idle
{
	my ($node, $db) = @_;
	my $where = defined $db ? "AND datname = '$db'" : '';
	return $node->poll_query_until(
		'postgres',
		"SELECT count(*) = 0 FROM pg_stat_activity
		 WHERE backend_type IN ('taskq dispatcher', 'taskq worker') $where");
}

# Compares columns of one task.
sub task_is
{
	my ($node, $db, $id, $columns, $expected, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return is(
		$node->safe_psql(
			$db, "SELECT $columns FROM taskq.task_status('$id')"),
		$expected, $name);
}

sub open_gate
{
	my ($node, $db, $gate) = @_;
	$node->safe_psql($db, "INSERT INTO gate VALUES ('$gate')");
	return;
}

# Number of effects that a task left.
sub effects
{
	my ($node, $db, $id) = @_;
	return $node->safe_psql($db,
		"SELECT count(*) FROM effect WHERE task = '$id'");
}

# One query's output, as a role when given.
sub sql
{
	my ($node, $db, $query, $role) = @_;
	return $node->safe_psql($db, $query,
		defined $role ? (extra_params => [ '-U', $role ]) : ());
}

sub as_role
{
	my ($node, $db, $role, $query) = @_;
	return sql($node, $db, $query, $role);
}

# What a query says on failing: SQLSTATE, message, detail, hint.  Empty when
# it succeeds.
sub sql_error
{
	my ($node, $db, $query, $role) = @_;
	my ($ret, $stdout, $stderr) = $node->psql(
		$db,
		"\\set VERBOSITY verbose\n$query",
		on_error_stop => 1,
		defined $role ? (extra_params => [ '-U', $role ]) : ());
	return $ret == 0 ? '' : $stderr;
}

# Asserts that a command succeeds, and does not hang.
sub sql_ok
{
	my ($node, $db, $query, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my $error =
	  sql_error($node, $db, "SET statement_timeout = '20s';\n$query");
	return is($error, '', $name);
}

# How many taskq processes of a sort there are: launcher, dispatcher, worker.
sub processes
{
	my ($node, $sort, $db) = @_;
	my $where = defined $db ? "AND datname = '$db'" : '';
	return $node->safe_psql('postgres',
		"SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'taskq $sort' $where"
	);
}

sub backend_pids
{
	my ($node, $sort, $db) = @_;
	my $where = defined $db ? "AND datname = '$db'" : '';
	return split /\n/, $node->safe_psql('postgres',
		"SELECT pid FROM pg_stat_activity WHERE backend_type LIKE 'taskq $sort' $where ORDER BY pid"
	);
}

# How often a process went to sleep: unchanged when it was never woken.
sub context_switches
{
	my ($pid) = @_;
	my $status = slurp_file("/proc/$pid/status");
	$status =~ /^voluntary_ctxt_switches:\s+(\d+)/m
	  or die "no voluntary_ctxt_switches of $pid";
	return $1;
}

1;
