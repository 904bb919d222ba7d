# What the tests look for in a server's log is found, and what they announce is not.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use TaskqTest;
use PostgreSQL::Test::Utils;
use ServerLog;
use Test::More;

my $clock = 0;

# Lines as a server writes them: [ process, SQLSTATE, severity, message ], or a line as it is.
sub text
{
	return join '', map {
		ref $_
		  ? sprintf("2026-01-01 00:00:%02d.000 UTC [%d] %s|%s %s:  %s\n", $clock++ % 60, 100 + length($_->[0]), $_->[0], $_->[1],
			$_->[0] =~ /client/ ? "postgres\@postgres psql $_->[2]" : $_->[2], $_->[3])
		  : "$_\n"
	} @_;
}

sub faults
{
	my ($checked, @lines) = @_;
	return join ' ', map { /^([^:]*):/ } $checked->faults(text(@lines), 0), $checked->missing;
}

my $died = [ 'postmaster', '00000', 'LOG', 'background worker "taskq worker" (PID 7) was terminated by signal 9: Killed' ];
my $others = [ 'postmaster', '00000', 'LOG', 'terminating any other active server processes' ];
my $second = [ 'postmaster', '00000', 'LOG', 'server process (PID 8) was terminated by signal 11: Segmentation fault' ];
my $recovery = [ 'startup', '00000', 'LOG', 'database system was not properly shut down; automatic recovery in progress' ];
my $ready = [ 'postmaster', '00000', 'LOG', 'database system is ready to accept connections' ];
my $stop = [ 'postmaster', '00000', 'LOG', 'received fast shutdown request' ];
my $immediate = [ 'postmaster', '00000', 'LOG', 'received immediate shutdown request' ];
my $terminated = [ 'taskq worker', '57P01', 'FATAL', 'terminating background worker "taskq worker" due to administrator command' ];
my $exited = [ 'postmaster', '00000', 'LOG', 'background worker "taskq worker" (PID 7) exited with exit code 1' ];

# --- each of them

foreach my $case (
	[ 'leak', 'a leaked scan', [ 'taskq worker', '01000', 'WARNING', 'leaked hash_seq_search scan for hash table 0x55a44cf26818' ] ],
	[ 'leak', 'a buffer', [ 'client backend', '01000', 'WARNING', 'buffer refcount leak: [042] (rel=base/5/1, blockNum=0)' ] ],
	[ 'transaction state', 'an abort in an abort', [ 'taskq worker', '01000', 'WARNING', 'AbortTransaction while in ABORT state' ] ],
	[ 'PANIC', 'PANIC', [ 'checkpointer', '53100', 'PANIC', 'could not write to file "pg_wal/xlogtemp.1": No space left on device' ] ],
	[ 'PANIC', 'a failed assertion', 'TRAP: FailedAssertion("oldsegno >= 0", File: "x.c", Line: 1, PID: 7)' ],
	[ 'PANIC', 'what the C library says', '*** stack smashing detected ***: terminated' ],
	[ 'internal error', 'an internal error', [ 'client backend', 'XX000', 'ERROR', 'cache lookup failed for relation 1' ] ],
	[ 'internal error', 'damaged data', [ 'taskq worker', 'XX001', 'LOG', 'could not read block 0' ] ],
	[ 'FATAL', 'FATAL', $terminated ],
	[ 'FATAL', 'FATAL of a client', [ 'client backend', '28000', 'FATAL', 'role "x" does not exist' ] ],
	[ 'FATAL', '... also in a stop, if that is not why', $stop, [ 'client backend', '53300', 'FATAL', 'sorry, too many clients already' ] ],
	[ 'internal error', 'an internal error in a crash', $immediate, [ 'client backend', 'XX000', 'FATAL', 'x' ] ],
	[ 'crash', 'a process ended by a signal', $died ],
	[ 'crash', '... by what exit code 2 is', [ 'postmaster', '00000', 'LOG', 'server process (PID 7) exited with exit code 2' ] ],
	[ 'crash', 'one crash restart', $died, $others, $second, $recovery, $ready ],
	[ 'crash crash', 'two of them', $died, $others, $recovery, $ready, $second, $others, $recovery, $ready ],
	[ 'crash', 'a process ended by a signal in a stop', $stop, $died ],
	[ 'recovery of a server that nobody stopped', 'a server that was not stopped', $recovery, $ready ],
	[ 'uncaught error', 'an error that a process of taskq did not catch', [ 'taskq dispatcher', '42P01', 'ERROR', 'relation does not exist' ] ],
	[ '', 'an error of a client', [ 'client backend', '42P01', 'ERROR', 'relation "leaked" does not exist' ] ],
	[ '', 'a statement that speaks of it', [ 'client backend', '00000', 'LOG', 'statement: SELECT $$PANIC:  TRAP: FATAL:  $$' ],
		[ 'client backend', 'XX000', 'STATEMENT', 'x' ], "\tWARNING:  leaked" ],
	[ '', 'a stop', $stop, $terminated, $exited, [ 'client backend', '57P01', 'FATAL', 'terminating connection due to administrator command' ] ],
	[ '', '... that meets who has just connected', $stop, [ 'client backend', '57014', 'FATAL', 'canceling authentication due to timeout' ] ],
	[ 'FATAL', '... but not without one', [ 'client backend', '57014', 'FATAL', 'canceling authentication due to timeout' ] ],
	[ '', 'an immediate stop', $immediate, $recovery, $ready ],
	[ 'FATAL', '... is over when the server is back', $stop, $ready, $terminated ],
	[ '', 'a server that starts', [ 'client backend', '57P03', 'FATAL', 'the database system is starting up' ] ],
	[ 'FATAL', 'a line without SQLSTATE', '2026-01-01 00:00:00.000 UTC [7] FATAL:  x' ])
{
	my ($expected, $name, @lines) = @$case;
	is(faults(ServerLog->new, @lines), $expected, "$name: " . ($expected || 'fine'));
}

# --- announced

sub announcing
{
	my $checked = ServerLog->new;
	$checked->announce(@$_) foreach @_;
	return $checked;
}

is(faults(announcing([ 0, 'crash' ]), $died, $others, $recovery, $ready), '', 'a crash that was announced');
is(faults(announcing([ 0, 'crash' ]), $died, $ready, $died), 'crash', '... but not a second one');
is(faults(announcing([ 0, 'crash', 2 ]), $died, $ready), 'announced, but seen 1 times, not 2', '... nor one less');
is(faults(announcing([ 0, 'crash', [ 1, 3 ] ]), $died, $ready, $died, $ready), '', 'one to three');
is(faults(announcing([ 0, 'crash', [ 0, undef ] ])), '', 'any number, also none');
is(faults(announcing([ 0, 'crash' ]), $terminated), 'FATAL announced, but seen 0 times, not 1', 'FATAL is no crash');
is(faults(announcing([ 0, qr/worker\|57P01 FATAL:  terminating/ ]), $terminated), '', 'a FATAL that was announced');
is(faults(announcing([ 0, qr/dispatcher\|57P01 FATAL/, [ 0, 1 ] ]), $terminated), 'FATAL', '... but not another one');
is(faults(announcing([ 0, qr/FATAL/ ]), $died, $others), 'crash announced, but seen 0 times, not 1', 'a crash is announced as such');
is(faults(announcing([ 10_000, qr/FATAL/, [ 0, 1 ] ]), $terminated), 'FATAL', 'what came before it was announced');
{
	my $checked = announcing([ 0, qr/FATAL/, [ 0, 5 ] ]);
	$checked->announce_end(10);
	is(faults($checked, $ready, $terminated), 'FATAL', '... and what comes when it is over');
	$checked = announcing([ 0, qr/FATAL/, [ 0, 1 ] ], [ 1, qr/FATAL/ ]);
	is(faults($checked, $ready, $terminated), '', 'the last announcement is used first');
	$checked = ServerLog->new;
	$checked->announce_kill(0);
	is(faults($checked, $terminated, $recovery, $ready), '', 'a postmaster that was killed');
	is(faults($checked, $recovery), 'recovery of a server that nobody stopped', '... once');
	my $first = text($stop);
	is(scalar $checked->faults($first, 1000), 0, 'a log is read in parts');
	is(faults($checked, $terminated), '', '... with what is known from the part before');
}

# --- of files, as scripts/test.sh does

my $dir = PostgreSQL::Test::Utils::tempdir();
my $log = "$dir/server.log";
my $read = 0;

sub judged
{
	my ($lines, @files) = @_;
	append_to_file($log, text(@$lines));
	my $out = `$^X -I$FindBin::RealBin -MServerLog -e 'exit ServerLog::main(\@ARGV)' $log @files`;
	return join ' ', $? >> 8, map { /^server log(?: of (\S+))?: ([^:,]*)/ ? (defined $1 ? "$1 $2" : $2) : $_ } split /\n/, $out;
}

mkdir "$dir/sql";
append_to_file("$dir/sql/a.sql", qq(-- A test.\n-- log: FATAL:  terminating background worker "taskq worker"\nSELECT 1;\n));
append_to_file("$dir/sql/b.sql", "-- Another.\n-- log (0-1): crash\n");
append_to_file("$dir/sql/c.spec", "# log (2-): role \\S+ does not exist\n");
my $a = [ 'client backend', '00000', 'LOG', 'connection authorized: user=u database=d application_name=pg_regress/a' ];
my $b = [ 'client backend', '00000', 'LOG', 'connection authorized: user=u database=d application_name=isolation/b' ];
my $role = [ 'client backend', '28000', 'FATAL', 'role "x" does not exist' ];
is(judged([$terminated], "$dir/sql/a.sql"), '0', 'a file announces what its server logs');
is(judged([], "$dir/sql/a.sql"), '1 sql/a.sql announced', '... which was not logged again');
is(judged([ $terminated, $terminated ], "$dir/sql/a.sql"), '1 sql/a.sql FATAL', '... or too often');
is(judged([ $died, $ready ], "$dir/sql/b.sql"), '0', 'a crash');
is(judged([ $role, $role, $role ], "$dir/sql/c.spec"), '0', 'at least two');
is(judged([ $a, $terminated, $b, $terminated ], "$dir/sql/a.sql", "$dir/sql/b.sql"), '1 sql/b.sql FATAL', 'of two files each has its own');
is(judged([$terminated]), '1 FATAL', 'nothing is announced without a file');
is(judged([$terminated], '--allow', "'FATAL:  terminating (connection|background)'"), '0', '... but what the script allows');

# --- in a server

my $node = taskq_node('log');
my $db = 'postgres';
my $id = submit($node, $db, 'gate', '{"gate": "never"}');
wait_state($node, $db, $id, 'running');
is(join("\n", log_faults($node)), '', 'there is nothing in a log where nothing happened');
my ($pid) = backend_pids($node, 'dispatcher');
expect_terminated($node, 'dispatcher');
$node->safe_psql($db, "SELECT pg_terminate_backend($pid)");
$node->poll_query_until($db, "SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = $pid)");
is(join("\n", log_faults($node)), '', 'what was announced passes');
expect_crashes($node);
($pid) = backend_pids($node, 'worker');
kill('KILL', $pid);
$node->poll_query_until($db, "SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = $pid)");
wait_state($node, $db, $id, 'running');
is(join("\n", log_faults($node)), '', '... a crash as well');

{
	# faults that are there on purpose: looked at by a checker of its own
	my $offset = -s $node->logfile;
	my $checked = ServerLog->new;
	expect_terminated($node, 'worker');
	($pid) = backend_pids($node, 'worker');
	kill('TERM', $pid);
	$node->poll_query_until($db, "SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = $pid)");
	like((ServerLog->new->faults(ServerLog::slurp($node->logfile, $offset), $offset))[0], qr/^FATAL: .*taskq worker\|57P01/, 'a worker that is terminated is found');
	$node->stop('immediate');
	$node->start;
	is(scalar(ServerLog->new->faults(ServerLog::slurp($node->logfile, $offset), $offset)), 1, 'an immediate stop is no fault');
}

done_testing();
