# From one version to the next, and back: tasks in every state, with attempts, leases, timers,
# ready rows and watermarks, go through ALTER EXTENSION UPDATE, too early with the old library
# and in time with the new one.  While library and script differ nothing runs and nothing
# changes, and whoever calls is told what to do; afterwards all tasks run to their end.
#
# The next version is made up: the same sources, another number, one more C function, one more
# column, one more table.  It is installed into a copy of the server's files.
use strict;
use warnings;
use Cwd qw(abs_path);
use File::Copy qw(copy);
use File::Path qw(make_path);
use FindBin;
use lib $FindBin::RealBin;
use TaskqTest;
use TurnedClock;
use PostgreSQL::Test::Utils;
use Test::More;

my $top = "$FindBin::RealBin/../..";
my $dir = abs_path(PostgreSQL::Test::Utils::tempdir());
my %path = map { $_ => pg_config($_) } qw(bindir pkglibdir sharedir);
my $library = "$dir$path{pkglibdir}/taskq.so";
my $scripts = "$dir$path{sharedir}/extension";
my ($db, $other) = my @databases = ('postgres', 'other');
my $different = 'of different versions';

sub pg_config
{
	my ($what) = @_;
	chomp(my $path = `${\($ENV{PG_CONFIG} // 'pg_config')} --$what`);
	return $path;
}

# --- the server's files, of which those of taskq can be changed

# A directory of links, but for what is copied.
sub mirror
{
	my ($from, $copied) = @_;
	make_path("$dir$from");
	foreach my $file (map { s{.*/}{}r } glob("$from/*"))
	{
		next if -e "$dir$from/$file";
		next if $file !~ $copied && symlink("$from/$file", "$dir$from/$file");
		copy("$from/$file", "$dir$from/$file") or die "$from/$file: $!";
		chmod((stat "$from/$file")[2] & 07777, "$dir$from/$file");
	}
	return;
}

# A server finds its files from where its program is.
sub private_server
{
	mirror("$path{sharedir}/extension", qr/^taskq/);
	mirror($path{sharedir}, qr/(?!)/);
	mirror($path{pkglibdir}, qr/^taskq\.so$/);
	mirror($path{bindir}, qr/^(?:postgres|initdb|pg_ctl)$/);
	$ENV{PATH} = "$dir$path{bindir}:$ENV{PATH}";
	return;
}

sub write_file
{
	my ($file, @text) = @_;
	open(my $out, '>', $file) or die "$file: $!";
	print $out @text;
	close($out) or die "$file: $!";
	return;
}

# As install does it: whoever has the old file keeps it.
sub install_library
{
	my ($file) = @_;
	copy($file, "$library.new") && chmod(0755, "$library.new") && rename("$library.new", $library)
	  or die "$library: $!";
	return;
}

# The library of the next version: number $number, and one more function.
sub next_library
{
	my ($number) = @_;
	mkdir "$dir/next";
	system('cp', '-rp', (map { "$top/$_" } qw(Makefile taskq.control src sql)), "$dir/next") == 0 or die 'cp';
	unlink "$dir/next/src/store/store.o", "$dir/next/taskq.so";
	write_file("$dir/next/src/api/added.c", <<~'C');
		#include "postgres.h"
		#include "fmgr.h"
		PG_FUNCTION_INFO_V1(taskq_added);
		Datum
		taskq_added(PG_FUNCTION_ARGS)
		{
			PG_RETURN_INT32(42);
		}
		C
	delete local @ENV{qw(MAKEFLAGS MFLAGS MAKELEVEL)};
	my $log = `make -s -C $dir/next taskq.so PROFILE=-DTASKQ_SCRIPT_VERSION=$number 2>&1`;
	die "the next library: $log" if $?;
	return "$dir/next/taskq.so";
}

sub script_version
{
	my ($number) = @_;
	return "CREATE OR REPLACE FUNCTION taskq_internal.script_version() RETURNS int4
		LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS 'SELECT $number';\n";
}

# Scripts from version $now, of number $number, to the next one, and back; "simple" has no new C function.
sub next_scripts
{
	my ($now, $number) = @_;
	my $control = slurp_file("$scripts/taskq.control");
	$control =~ s/^default_version = .*$/default_version = 'next'/m or die 'no default_version';
	write_file("$scripts/taskq.control", $control);
	write_file("$scripts/taskq--$now--simple.sql", script_version($number + 1));
	write_file("$scripts/taskq--$now--next.sql", script_version($number + 1), q{
		CREATE FUNCTION taskq.added() RETURNS int4 LANGUAGE c STABLE AS 'MODULE_PATHNAME', 'taskq_added';
		ALTER TABLE taskq_internal.task ADD COLUMN added int4 DEFAULT 7;
		CREATE TABLE taskq_internal.added (id uuid PRIMARY KEY);
		CREATE TRIGGER refuse_write BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON taskq_internal.added
			FOR EACH STATEMENT EXECUTE FUNCTION taskq_internal.refuse_write();
		ALTER TABLE taskq_internal.added ENABLE ALWAYS TRIGGER refuse_write;
		SELECT pg_catalog.pg_extension_config_dump('taskq_internal.added', '');
		REVOKE ALL ON FUNCTION taskq.added() FROM PUBLIC;
	});
	return;
}

sub script_back
{
	my ($now, $number) = @_;
	write_file("$scripts/taskq--next--$now.sql", script_version($number), q{
		DROP FUNCTION taskq.added();
		DROP TABLE taskq_internal.added;
		ALTER TABLE taskq_internal.task DROP COLUMN added;
	});
	return;
}

private_server();
my $node = start_turned(sub { taskq_node('upgrade') });
taskq_database($node, $other);
my $old = "$dir/taskq.old.so";
copy($library, $old) or die "$library: $!";
my $now = sql($node, $db, q{SELECT extversion FROM pg_extension WHERE extname = 'taskq'});
my $number = sql($node, $db, 'SELECT taskq_internal.script_version()');

# --- tasks in every state

$node->safe_psql($db, q{
	CREATE ROLE alice LOGIN;
	GRANT taskq_user TO alice;
	CREATE FUNCTION unlucky_work(p jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
	BEGIN
		IF NOT EXISTS (SELECT FROM gate WHERE name = p->>'gate') THEN
			RAISE EXCEPTION 'not yet';
		END IF;
		RETURN p;
	END $$;
	CREATE PROCEDURE gate_proc() LANGUAGE plpgsql AS $$
	BEGIN
		WHILE NOT EXISTS (SELECT FROM gate WHERE name = 'proc') LOOP
			COMMIT;
			PERFORM pg_sleep(0.01);
		END LOOP;
	END $$;
	SELECT taskq.kind_define('unlucky', 'unlucky_work(jsonb)', max_attempts => 5, backoff => '1 hour');
	SELECT taskq.kind_define('twice', 'fail_work(jsonb)', max_attempts => 2, backoff => '10 ms');
	SELECT taskq.kind_define('outside');
	SELECT taskq.queue_define('held'), taskq.queue_pause('held');
});

my %task;                       # its id by what it is
$task{completed} = submit($node, $db, 'short', '{"a": 1}');
$task{failed} = submit($node, $db, 'twice');
$task{retrying} = submit($node, $db, 'unlucky', '{"gate": "luck"}');
$task{scheduled} = submit($node, $db, 'short', '{"a": 2}', "delay => '1 hour'");
$task{cancelled} = submit($node, $db, 'short', '{}', "delay => '1 day'");
$task{pending} = as_role($node, $db, 'alice', q{SELECT taskq.task_submit('short', queue => 'held')});
$task{ready} = submit($node, $db, 'short', '{}', "queue => 'held', delay => '10 ms'");
$task{running} = submit($node, $db, 'gate', '{"gate": "run"}');
$task{stored_running} = sql($node, $db, q{SELECT taskq.task_submit_sql('CALL gate_proc()', max_attempts => 30)});
$task{unclaimed} = submit($node, $db, 'outside', '{"n": 2}', "queue => 'held'");
$task{leased} = submit($node, $db, 'outside', '{"n": 1}');
my $token = sql($node, $db, q{SELECT token FROM taskq.task_claim('tester', lease => '1 hour')});
sql($node, $db, "SELECT taskq.task_cancel('$task{cancelled}')");
my %state = (%{ { map { $_ => $_ } keys %task } }, ready => 'pending', stored_running => 'running', unclaimed => 'pending', leased => 'running');
wait_state($node, $db, $task{$_}, $state{$_}) foreach sort keys %task;
my $prepared = sql($node, $db, q{BEGIN; SELECT taskq.task_submit('short', '{"prepared": true}'); PREPARE TRANSACTION 'prepared'});
my $elsewhere = submit($node, $other, 'gate', '{"gate": "run"}');
wait_state($node, $other, $elsewhere, 'running');

is(sql($node, $db, q{SELECT string_agg(DISTINCT state::text, '' ORDER BY state::text) FROM taskq_internal.task}), 'cefprstx', 'tasks in every state');
$node->poll_query_until($db, "SELECT NOT EXISTS (SELECT FROM (VALUES " . join(', ', map { "((SELECT count(*) FROM taskq_internal.$_))" } qw(attempt lease timer ready watermark)) . ") t (n) WHERE n = 0)")
  or die;
pass('... with attempts, leases, timers, ready rows, watermarks');

# What is in the tables, one line a row.
sub rows_query
{
	my @tables = qw(task lane role kind kind_grant queue attempt lease timer ready watermark);
	return 'SELECT * FROM (' . join(' UNION ALL ', map { "SELECT '$_', to_jsonb(t) - 'added' FROM taskq_internal.$_ t" } @tables) . ') r ORDER BY 1, 2::text';
}

sub rows
{
	return sql($node, $db, rows_query());
}

sub states_are
{
	my ($name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	wait_state($node, $db, $task{$_}, $state{$_}) foreach grep { /running/ } sort keys %task;
	is(join(' ', map { "$_: " . sql($node, $db, "SELECT state FROM taskq.task_status('$task{$_}')") } sort keys %task),
		join(' ', map { "$_: $state{$_}" } sort keys %task), $name);
	return;
}

# --- where library and script differ

sub started_with
{
	my ($file) = @_;
	$node->stop;
	install_library($file);
	my $from = -s $node->logfile;
	start_turned(sub { $node->start });
	return $from;
}

sub log_of_taskq
{
	my ($from, $severity) = @_;
	my @entries = ServerLog::entries(ServerLog::slurp($node->logfile, $from), $from);
	return grep { $_->{backend} =~ /^taskq / && $_->{severity} =~ $severity } @entries;
}

# Every call is refused, with this hint; processes look, say so once and leave; nothing changes.
sub nothing_goes
{
	my ($from, $name, $hint, $before) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	foreach my $call (q{taskq.task_submit('short')}, "taskq.task_status('$task{completed}')", "taskq.task_cancel('$task{pending}')",
		"taskq.task_wait('$task{scheduled}')", q{taskq.task_claim('tester')}, "taskq.task_heartbeat('$task{leased}', '$token')",
		"taskq.task_complete('$task{leased}', '$token')", 'taskq.sitrep()', 'count(*) FROM taskq.task')
	{
		like(sql_error($node, $db, "SELECT $call"), qr/55000: .* $different.*HINT:  \Q$hint\E/s, "$name: $call is refused");
	}
	foreach my $database (@databases)
	{
		$node->wait_for_log(qr/LOG:  extension "taskq" in database "$database" and its library are $different/, $from);
	}
	wait_idle($node) or die 'processes stay';
	is(scalar(grep { $_->{message} =~ $different } log_of_taskq($from, qr/./)), scalar(@databases), '... each database is told of once');
	is(join("\n", map { $_->{line} } log_of_taskq($from, qr/WARNING|ERROR|FATAL/)), '', '... without errors in processes');
	sql_ok($node, $db, 'CREATE EXTENSION IF NOT EXISTS taskq', '... migrations that make sure of the extension go on');
	is(rows(), $before, '... and nothing has changed');
	return;
}

# Tables are as they were right after the update, in its transaction.
sub update_keeps_rows
{
	my ($to, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my $before = rows();
	is(sql($node, $db, "BEGIN; ALTER EXTENSION taskq UPDATE$to; " . rows_query() . '; COMMIT'), $before, $name);
	return;
}

my $library_first = 'Restart the server with the library that belongs to that version first.';
my $new = next_library($number + 1);
next_scripts($now, $number);

# --- too early: files are installed, the old library is loaded

install_library($new);
expect_terminated($node, 'worker', [ 0, undef ]);
like(sql_error($node, $db, 'ALTER EXTENSION taskq UPDATE'),
	qr/42883: could not find function "taskq_added".*HINT:  \Q$library_first\E/s, 'the old library: an update to what it lacks is refused');
like(sql_error($node, $db, q{ALTER EXTENSION taskq UPDATE TO 'simple'}),
	qr/55000: this version of extension "taskq" does not fit the library that is loaded.*DETAIL:  The extension would have number ${\($number + 1)}, and the library needs $number\..*HINT:  \Q$library_first\E/s,
	'... and one that it does not know');
is(sql($node, $db, q{SELECT extversion, taskq_internal.script_version() FROM pg_extension WHERE extname = 'taskq'}), "$now|$number", '... all is as it was');
$node->safe_psql('postgres', 'CREATE DATABASE fresh');
like(sql_error($node, 'fresh', 'CREATE EXTENSION taskq'), qr/42883: .*HINT:  \Q$library_first\E/s, '... CREATE EXTENSION is refused');
like(sql_error($node, 'fresh', q{CREATE EXTENSION taskq VERSION 'simple'}), qr/55000: .*does not fit.*HINT:  \Q$library_first\E/s, '... and that of one that it does not know');
states_are('... the tasks are as they were');
is(wait_task($node, $db, submit($node, $db, 'short')), 'completed', '... and others run');
expect_no_more($node);

# --- the new library, the old script

my $from = started_with($new);
my $before = rows();
nothing_goes($from, 'the new library', 'Use ALTER EXTENSION taskq UPDATE.', $before);

# that holds a lock which the update waits for
sql($node, $db, q{COMMIT PREPARED 'prepared'});
is(sql($node, $db, "SELECT state FROM taskq_internal.task WHERE id = '$prepared'"), 'p', 'a prepared transaction is committed');
wait_idle($node) or die 'processes stay';

# --- updated

update_keeps_rows('', 'updated: the tables are as they were');
is(sql($node, $db, 'SELECT taskq.added(), (SELECT DISTINCT added FROM taskq_internal.task)'), '42|7', '... and have what is new');
states_are('... tasks are there, and those that ran run again');
is(wait_task($node, $db, $prepared), 'completed', '... what was prepared before and committed meanwhile runs');
is(wait_task($node, $db, submit($node, $db, 'short')), 'completed', '... others run');
is(sql($node, $other, "SELECT count(*) FROM taskq_internal.task WHERE state = 'p'"), 1, '... the other database waits');
like(sql_error($node, $other, q{SELECT taskq.task_submit('short')}), qr/Use ALTER EXTENSION taskq UPDATE/, '... and says for what');
sql($node, $other, 'ALTER EXTENSION taskq UPDATE');
wait_state($node, $other, $elsewhere, 'running');
is(sql($node, $db, "SELECT cancel_requested FROM taskq.task_heartbeat('$task{leased}', '$token')"), 'f', "an external worker's token holds");

sql_ok($node, 'fresh', 'CREATE EXTENSION taskq', 'it is made anew elsewhere');
push @databases, 'fresh';

# --- the way back: the old library alone is not enough

expect_terminated($node, 'worker', [ 0, undef ]);
like(sql_error($node, $db, "ALTER EXTENSION taskq UPDATE TO '$now'"), qr/no update path/, 'back: not without a script');
script_back($now, $number);
like(sql_error($node, $db, "ALTER EXTENSION taskq UPDATE TO '$now'"), qr/does not fit the library.*HINT:  \Q$library_first\E/s, '... not with the new library');
expect_no_more($node);
states_are('... the tasks are there');
$from = started_with($old);
$before = rows();
nothing_goes($from, 'the old library', 'Install the library that belongs to the extension, and restart the server.', $before);
update_keeps_rows(" TO '$now'", 'back with library and script');
states_are('... tasks are there');
is(wait_task($node, $db, submit($node, $db, 'short')), 'completed', '... others run');

# --- and forward again, to the end

started_with($new);
update_keeps_rows('', 'updated again');
sql($node, $db, q{SELECT taskq.queue_resume('held')});
open_gate($node, $_, 'run') foreach $db, $other;
open_gate($node, $db, $_) foreach 'proc', 'luck';
is(wait_task($node, $db, $task{$_}), 'completed', "$_: run to its end") foreach qw(pending ready running stored_running);
is(wait_task($node, $other, $elsewhere), 'completed', 'that of the other database too');
is(effects($node, $db, $task{$_}), 1, "$_: once") foreach qw(completed pending ready running);
sql($node, $db, "SELECT taskq.task_complete('$task{leased}', '$token', '{\"done\": true}')");
is(wait_task($node, $db, $task{leased}), 'completed', 'the external worker completes what it has');
is(sql($node, $db, "SELECT id FROM taskq.task_claim('tester')"), $task{unclaimed}, '... and claims what was there');

# their time comes
task_is($node, $db, $task{$_}, "state, run_at > now() + '30 min'", "$_|t", "$_: waits for its time") foreach qw(scheduled retrying);
$node->stop;
set_clock(2 * 3600);
start_turned(sub { $node->start });
is(wait_task($node, $db, $task{$_}), 'completed', "... and runs") foreach qw(scheduled retrying);
is(sql($node, $db, "SELECT string_agg(state, ' ' ORDER BY attempt) FROM taskq.task_attempts('$task{$_->[0]}')"), $_->[1], "$_->[0]: its attempts")
  foreach [ 'retrying', 'failed completed' ], [ 'failed', 'failed failed' ];

done_testing();
