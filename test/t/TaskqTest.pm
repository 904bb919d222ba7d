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
	$ENV{PG_TEST_TIMEOUT_DEFAULT} //= 120;
}

use Exporter 'import';
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use ServerLog;
use Test::More;
use Test2::API ();
use Time::HiRes qw(sleep time);

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

# PostgreSQL's own looks every 0.1 s; most conditions are true after some 10 ms.
{
	no warnings 'redefine';
	*PostgreSQL::Test::Cluster::poll_query_until = sub {
		my ($node, $db, $query, $expected) = @_;
		my @command = ($node->installed_command('psql'), '-XAt', '-d', $node->connstr($db));
		my $end = time() + $PostgreSQL::Test::Utils::timeout_default;
		local %ENV = $node->_get_env();
		$expected //= 't';
		for (my $pause = 0.01;; $pause = $pause * 1.5 > 0.1 ? 0.1 : $pause * 1.5)
		{
			my ($stdout, $stderr);
			IPC::Run::run(\@command, '<', \$query, '>', \$stdout, '2>', \$stderr);
			chomp($stdout, $stderr);
			return 1 if $stdout eq $expected && $stderr eq '';
			if (time() > $end)
			{
				diag("poll_query_until timed out executing this query:\n$query\nexpecting this output:\n$expected\n"
					  . "last actual query output:\n$stdout\nwith stderr:\n$stderr");
				return 0;
			}
			sleep($pause);
		}
	};
}

# A session may live as long as its test: the timeout is that of each query.
{
	no warnings 'redefine';
	my $background_psql = PostgreSQL::Test::Cluster->can('background_psql');
	*PostgreSQL::Test::Cluster::background_psql = sub {
		my $session = $background_psql->(@_);
		$session->set_query_timer_restart if ref $session && $session->can('set_query_timer_restart');
		return $session;
	};
}

our @EXPORT = qw(
  taskq_node taskq_database configure
  submit wait_task wait_state wait_idle task_is
  open_gate effects
  sql sql_error sql_ok as_role
  processes backend_pids context_switches sleep_on
  expect_crashes expect_fatal expect_terminated expect_primary_gone expect_log expect_no_more log_faults
);

# --- what the servers log

my %log;                        # of each server: its node and what was announced, by the log's name

# All servers are read, also those that a test makes without taskq_node.  To know
# SQLSTATEs and processes, all log them.
{
	no warnings 'redefine';
	my %original = map { $_ => PostgreSQL::Test::Cluster->can($_) } qw(init kill9 reload);
	*PostgreSQL::Test::Cluster::init = sub {
		my ($node, @args) = @_;
		_initdb_by_copy(sub { $original{init}->($node, @args) });
		$node->append_conf('postgresql.conf', "log_line_prefix = '$ServerLog::PREFIX'");
		return;
	};
	*PostgreSQL::Test::Cluster::kill9 = sub {
		my ($node, @args) = @_;
		_log_of($node)->{announced}->announce_kill(-s $node->logfile // 0);
		return $original{kill9}->($node, @args);
	};
	# ... and a reload is over when it has been read
	*PostgreSQL::Test::Cluster::reload = sub {
		my ($node) = @_;
		my $before = _ask($node, 'postgres', 'SELECT pg_conf_load_time()');
		$original{reload}->($node);
		_settings_read($node, $before);
		return;
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

# scripts/test.sh has made a cluster once: the first one of a file is a copy of it.  Others
# are not, since copies have one system identifier, by which taskq knows whose tasks it has.
# From PostgreSQL 17 on its own module copies.
sub _initdb_by_copy
{
	my ($init) = @_;
	no warnings 'redefine';
	my $run = \&PostgreSQL::Test::Utils::system_or_bail;
	local *PostgreSQL::Test::Utils::system_or_bail = sub {
		my ($program, @args) = @_;
		my $template = $ENV{INITDB_TEMPLATE};
		@_ = ('cp', '-a', $template, $args[1]) if $program eq 'initdb' && defined $template && "@args[0, 2 .. $#args]" eq '-D -A trust -N';
		goto &$run;
	};
	$init->();
	delete $ENV{INITDB_TEMPLATE};
	return;
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

# ... whatever the standby's connection to a primary that is stopped, or that it leaves, says
sub expect_primary_gone
{
	my ($standby) = @_;
	return expect_log($standby, qr/^walreceiver\|\S+ FATAL:  /, [ 0, undef ]);
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

# One query's output, also of a server that is just about to crash and start again.
sub _ask
{
	my ($node, $db, $query) = @_;
	for (my $end = time() + $PostgreSQL::Test::Utils::timeout_default;; sleep(0.1))
	{
		my ($ret, $stdout, $stderr) = $node->psql($db, $query);
		return $stdout if $ret == 0;
		die "$query: $stderr" if time() > $end;
	}
}

# Waits until the server has read its settings after that time, and all of taskq's processes
# have that are not in a task.  A session that begins has what the server has, and when that
# was read.
sub _settings_read
{
	my ($node, $before) = @_;
	my $read = "SELECT pg_conf_load_time() <> '$before'";
	$node->poll_query_until('postgres', $read) or die 'the server has not read its settings';
	my @databases = split /\n/, _ask($node, 'postgres',
		q{SELECT DISTINCT datname FROM pg_stat_activity WHERE backend_type = 'taskq dispatcher' UNION SELECT 'postgres'});
	foreach my $database (@databases)
	{
		next if _ask($node, $database, q{SELECT to_regprocedure('taskq_internal.server()') IS NULL}) eq 't';
		$node->poll_query_until($database, 'SELECT coalesce(settings_read >= pg_conf_load_time(), true) FROM taskq_internal.server()')
		  or die "taskq's processes in $database have not read the settings";
	}
	return;
}

# Sets settings of the server (undef: as they were), and returns when taskq goes by them.
sub configure
{
	my ($node, %settings) = @_;
	foreach my $name (sort keys %settings)
	{
		$node->safe_psql('postgres', defined $settings{$name} ? "ALTER SYSTEM SET $name = '$settings{$name}'" : "ALTER SYSTEM RESET $name");
	}
	$node->reload;
	return;
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
	  sql_error($node, $db, "SET statement_timeout = '60s';\n$query");
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

# Whether processes come to rest: for so many seconds none of them wakes up, or all of them
# together do less often than $most.  One that polls would give itself away at any time; what
# went before may take its time to be over.
sub sleep_on
{
	my ($seconds, $pids, $most) = @_;
	my $end = time() + $PostgreSQL::Test::Utils::timeout_default;
	while (time() < $end)
	{
		my @before = map { context_switches($_) } @$pids;
		sleep($seconds);
		my $woke = 0;
		$woke += context_switches($_) - shift @before foreach @$pids;
		return 1 if $woke < ($most // 1);
	}
	return 0;
}

1;
