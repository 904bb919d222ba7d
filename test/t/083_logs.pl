# Logs: no line that was acknowledged is lost, and none is there twice, whoever ends, waits,
# or is in the way.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use TaskqTest;
use TurnedClock;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = start_turned(
	sub {
		taskq_node(
			'logs',
			'taskq.max_workers' => 12,
			'taskq.log_buffer' => '64kB',
			'taskq.max_log_lines' => 0,
			'taskq.retention' => '24h',
			'taskq.log_failures' => 'attempts',
			'taskq.worker_idle_timeout' => '60s');
	});
my $db = 'postgres';

sub poll
{
	my ($query, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return ok($node->poll_query_until($db, $query), $name);
}

# Counts of a log: lines, the highest number, those whose text is not that of their number.
sub counts
{
	my ($id) = @_;
	return sql($node, $db, "SELECT count(*), coalesce(max(line), 0), count(*) FILTER (WHERE message <> 'line ' || line)
		FROM taskq.task_log WHERE task_id = '$id'");
}

# Logs so many lines, each acknowledged by the progress after it, between two gates.
my $talk = q{
	CREATE FUNCTION talk(p jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
	BEGIN
		IF p ? 'lock' THEN
			EXECUTE p->>'lock';
		END IF;
		PERFORM taskq.progress(0, message => 'at the gate');
		WHILE p ? 'gate' AND NOT EXISTS (SELECT FROM gate WHERE name = p->>'gate') LOOP
			PERFORM pg_sleep(0.01);
		END LOOP;
		FOR i IN 1..(p->>'n')::int LOOP
			PERFORM taskq.log('line ' || i);
			PERFORM taskq.progress(i, (p->>'n')::int);
		END LOOP;
		WHILE p ? 'end' AND NOT EXISTS (SELECT FROM gate WHERE name = p->>'end') LOOP
			PERFORM pg_sleep(0.01);
		END LOOP;
		IF p ? 'later' THEN
			PERFORM taskq.retry('30 days');
		END IF;
		RETURN p;
	END $$;
	SELECT taskq.kind_define('talk', 'talk(jsonb)', max_attempts => 1);
	CREATE ROLE other LOGIN;
	GRANT taskq_user TO other;
};
$node->safe_psql($db, $talk);

# A session of its own that is told command after command.
my %s = (in => '', out => '', err => '', marks => 0);
$s{h} = IPC::Run::start([ 'psql', '-XAtq', '-d', $node->connstr($db), '-f', '-' ],
	'<', \$s{in}, '>', \$s{out}, '2>', \$s{err});

sub say
{
	my ($query) = @_;
	my $mark = 'mark' . ++$s{marks} . '\\.';
	$s{in} .= "$query;\n\\echo mark$s{marks}.\n";
	$s{h}->pump until $s{out} =~ /$mark/;
	return;
}

my $tables = join ', ', map { 'taskq_internal.log_' . ($_ == 16 ? 'keep' : sprintf '%02d', $_) } 0 .. 16;

# --- ten workers at once, one of which is killed; and a dispatcher, now and then

my @ids = map { submit($node, $db, 'talk', '{"n": 1500, "gate": "ten"}') } 1 .. 9;
my $victim = submit($node, $db, 'talk', '{"n": 100000000, "gate": "ten"}');
poll("SELECT count(*) = 10 FROM taskq.task WHERE state = 'running'", 'ten workers are about to log');
open_gate($node, $db, 'ten');
poll("SELECT current > 1000 FROM taskq.task_status('$victim')", 'they do');
my ($pid) = split /\n/, sql($node, $db, "SELECT pid FROM taskq.worker WHERE task_id = '$victim'");
expect_terminated($node, 'worker');
sql($node, $db, "SELECT pg_terminate_backend($pid)");
expect_terminated($node, 'dispatcher', [ 1, 3 ]);
for (1 .. 3)
{
	sql($node, $db, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'taskq dispatcher'");
	$node->poll_query_until($db, "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE backend_type = 'taskq dispatcher')");
}
is(wait_task($node, $db, $_), 'completed', 'one that logs comes to its end') foreach @ids;
is(wait_task($node, $db, $victim), 'failed', 'the one that was killed has failed');
is(counts($_), '1500|1500|0', '... every line of it is there, once') foreach @ids;
my ($lines, $highest, $wrong) = split /\|/, counts($victim);
my $told = sql($node, $db, "SELECT current FROM taskq.task_status('$victim')");
cmp_ok($lines, '>=', $told, 'so are those that the killed one has told of');
is("$lines $wrong", "$highest 0", '... without a gap');
poll("SELECT NOT EXISTS (SELECT FROM taskq_internal.ring_lines())", 'all of them are in the tables soon');
is(sql($node, $db, "SELECT count(*) FROM taskq.task_log"), 13500 + $lines, '... once');
expect_no_more($node);

# --- lines that can't be written: who floods waits, others do not

$lines = sql($node, $db, 'SELECT count(*) FROM taskq.task_log');
say("BEGIN; LOCK TABLE $tables IN EXCLUSIVE MODE");
my $flood = submit($node, $db, 'talk', '{"n": 100000}');
poll("SELECT wait_event IN ('Extension', 'TaskqLogs') AND state = 'active' FROM pg_stat_activity
	WHERE pid = (SELECT pid FROM taskq.worker WHERE task_id = '$flood')", 'who floods waits when there is no room');
my $small = as_role($node, $db, 'other', q{SELECT taskq.task_submit('talk', '{"n": 5}')});
is(wait_task($node, $db, $small), 'completed', '... another role logs meanwhile');
is(counts($small), '5|5|0', '... and is heard');
my $plain = submit($node, $db, 'short');
is(wait_task($node, $db, $plain), 'completed', '... a task that logs nothing does not notice');
sql($node, $db, "SELECT taskq.task_cancel('$flood')");
is(wait_task($node, $db, $flood), 'cancelled', 'who waits for room can be cancelled');
($told) = split /\|/, counts($flood);
cmp_ok($told, '>=', sql($node, $db, "SELECT current FROM taskq.task_status('$flood')"), '... what it said is there');
$flood = submit($node, $db, 'talk', '{"n": 2000}');
say('ROLLBACK');
is(wait_task($node, $db, $flood), 'completed', 'when there is room it goes on');
is(counts($flood), '2000|2000|0', '... and every line is there');
poll("SELECT NOT EXISTS (SELECT FROM taskq_internal.ring_lines())", 'all is written');
is(sql($node, $db, 'SELECT count(*) FROM taskq.task_log'), $lines + 5 + $told + 2000, '... once');

# --- a task that keeps its own lines from being written does not wait for ever

my $self = submit($node, $db, 'talk', qq({"n": 100000, "lock": "LOCK TABLE $tables IN EXCLUSIVE MODE"}));
is(wait_task($node, $db, $self), 'failed', 'who has locked the tables fails when there is no room');
task_is($node, $db, $self, q{error->>'sqlstate'}, '55006', '... and is told why');
like(slurp_file($node->logfile), qr/LOG:  taskq: task $self failed: kind "talk", queue "default", attempt 1, worker "[^"]+", SQLSTATE 55006: there is no room for another log line\n/,
	'... so is the server log, in one line');
poll("SELECT NOT EXISTS (SELECT FROM taskq_internal.ring_lines())", '... its lines are written then');

# --- a database that is served no more while a task runs

my $shut = submit($node, $db, 'talk', '{"n": 500, "gate": "shut"}');
poll("SELECT message = 'at the gate' FROM taskq.task_status('$shut')", 'a task is about to log');
configure($node, 'taskq.databases' => 'another');
poll("SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE backend_type = 'taskq dispatcher')", '... when its database is taken away');
open_gate($node, $db, 'shut');
is(wait_task($node, $db, $shut), 'completed', '... it goes on');
is(counts($shut), '500|500|0', '... and none of its lines is lost');

# ... nor where they can't be written at once: who came to write them stays until he has

my $there = "EXISTS (SELECT FROM pg_stat_activity WHERE backend_type = 'taskq dispatcher')";
configure($node, 'taskq.databases' => undef);
$shut = submit($node, $db, 'talk', '{"n": 100, "gate": "barred"}');
poll("SELECT message = 'at the gate' FROM taskq.task_status('$shut')", 'another is about to log');
configure($node, 'taskq.databases' => 'another');
poll("SELECT NOT $there", '... and its database is taken away, too');
say("BEGIN; LOCK TABLE $tables IN EXCLUSIVE MODE");
open_gate($node, $db, 'barred');
is(wait_task($node, $db, $shut), 'completed', '... while its lines cannot be written');
poll("SELECT $there", '... which a dispatcher waits for');
is(counts($shut), '100|100|0', '... they are all there meanwhile');
say('ROLLBACK');
poll("SELECT NOT EXISTS (SELECT FROM taskq_internal.ring_lines()) AND NOT $there", '... writes, and goes');
is(counts($shut), '100|100|0', '... and they are there then');
configure($node, 'taskq.databases' => undef);

# --- a database that is dropped, with lines that can't be written

taskq_database($node, 'going');
$node->safe_psql('going', $talk =~ s/CREATE ROLE.*//sr);
submit($node, 'going', 'talk', '{"n": 100000000}');
$node->poll_query_until('going', "SELECT coalesce(max(current), 0) > 100 FROM taskq.task");
expect_terminated($node, 'worker', [ 0, 1 ]);
sql_ok($node, $db, 'DROP DATABASE going', 'a database is dropped in which a task logs');
$plain = submit($node, $db, 'talk', '{"n": 1000}');
is(wait_task($node, $db, $plain), 'completed', '... others log as before');
is(counts($plain), '1000|1000|0', '... all of it');

# --- deleting, and thinking better of it

say("BEGIN; SELECT taskq.task_delete('$plain')");
is(counts($plain), '1000|1000|0', 'a log is there as long as the delete is not committed');
say('ROLLBACK');
is(counts($plain), '1000|1000|0', '... or when it is undone');
sql($node, $db, "SELECT taskq.task_delete('$plain')");
is(sql($node, $db, "SELECT count(*) FROM taskq_internal.log_all WHERE id = '$plain'"), 0, '... and gone with the task');

# --- a process that is killed brings the server down: what is in the tables stays

my $held = submit($node, $db, 'talk', '{"n": 50, "end": "held"}', 'max_attempts => 3');
poll("SELECT current = 50 FROM taskq.task_status('$held')", 'a task has logged and goes on');
poll("SELECT NOT EXISTS (SELECT FROM taskq_internal.ring_lines()) AND pg_current_wal_flush_lsn() >= pg_current_wal_insert_lsn()", '... its lines are written');
expect_crashes($node);
($pid) = backend_pids($node, 'worker');
$s{h}->finish;
kill('KILL', $pid);
$node->poll_query_until($db, "SELECT attempt = 2 AND current = 50 FROM taskq.task_status('$held')");
is(sql($node, $db, "SELECT string_agg(n::text, ' ') FROM (SELECT count(*) AS n FROM taskq.task_log WHERE task_id = '$held' GROUP BY attempt ORDER BY attempt) a"),
	'50 50', 'lines that were written survive a crash, and the next attempt adds its own');

# --- a server that is stopped: the dispatcher writes what there is before it leaves

submit($node, $db, 'short');
$node->poll_query_until($db, "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE backend_type = 'taskq dispatcher') AND NOT EXISTS (SELECT FROM taskq_internal.ring_lines())");
($pid) = backend_pids($node, 'dispatcher');
kill('STOP', $pid);
my $last = submit($node, $db, 'talk', '{"n": 20}');
is(wait_task($node, $db, $last), 'completed', 'a task logs while the dispatcher does not come to it');
is(counts($last), '20|20|0', '... what it said is there');
my $pidfile = $node->data_dir . '/postmaster.pid';
system("(for i in `seq 3000`; do grep -q stopping $pidfile && break; sleep 0.01; done; kill -CONT $pid) >/dev/null 2>&1 &");
$node->stop('fast');
start_turned(sub { $node->start });
is(counts($last), '20|20|0', 'also when the server was stopped and started right then');

# --- they go with their task's leaf, or move with the task

open_gate($node, $db, 'held');
is(wait_task($node, $db, $held), 'completed', 'a task that is over');
my $later = submit($node, $db, 'talk', '{"n": 70, "later": true}', 'max_attempts => 2');
wait_state($node, $db, $later, 'retrying');
is(counts($later), '70|70|0', 'one that is to run again');
like(slurp_file($node->logfile), qr/LOG:  taskq: task $later failed and is tried again: .* SQLSTATE TQ002: /, '... of which the server log tells');
poll('SELECT NOT EXISTS (SELECT FROM taskq_internal.ring_lines())', '... and all that was said is written');
set_clock(3600 * 29);
$node->reload;
poll("SELECT EXISTS (SELECT FROM taskq_internal.task_keep WHERE id = '$later')", 'a day later it has moved');
poll("SELECT NOT EXISTS (SELECT FROM taskq.task WHERE id = '$held')", '... and what is over is forgotten');
is(sql($node, $db, "SELECT count(*) FROM taskq_internal.log_all WHERE id = '$held'"), 0, '... with its log');
is(counts($later), '70|70|0', 'a log moves with its task');
is(sql($node, $db, "SELECT count(*) FROM taskq_internal.log_keep"), 70, '... into the table of the kept ones');
sql($node, $db, "SELECT taskq.task_cancel('$later')");
set_clock(3600 * 24 * 9);
$node->reload;
poll("SELECT NOT EXISTS (SELECT FROM taskq.task WHERE id = '$later')", 'it is forgotten in its turn');
is(sql($node, $db, "SELECT count(*) FROM taskq_internal.log_keep"), 0, '... with its log');

done_testing();
