# What only shared memory knows is not lost where taskq is sent away: from a database that
# taskq.databases names no more, from a server that is stopped, by a dispatcher that is ended.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use TaskqTest;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

my $node = taskq_node('left', 'taskq.max_workers' => 4, 'taskq.worker_idle_timeout' => '200ms',
	'taskq.log_buffer' => '40MB', 'taskq.max_log_lines' => 0);
my $db = 'postgres';

$node->safe_psql($db, q{
	CREATE FUNCTION talk(p jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
	BEGIN
		FOR i IN 1..(p->>'n')::int LOOP
			PERFORM taskq.log('line ' || i);
		END LOOP;
		RETURN p;
	END $$;
	CREATE FUNCTION quick(p jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
	BEGIN
		IF p ? 'gate' THEN
			PERFORM gate_work(p);
		END IF;
		RETURN p;
	END $$;
	SELECT taskq.kind_define('talk', 'talk(jsonb)'), taskq.kind_define('quick', 'quick(jsonb)'), taskq.kind_define('outside');
	CREATE FUNCTION told(at text) RETURNS SETOF uuid LANGUAGE sql AS
		$$ SELECT (e->>'task_id')::uuid FROM jsonb_array_elements(taskq.events_since(at)->'events') e $$});

sub poll
{
	my ($query, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return ok($node->poll_query_until($db, $query), $name);
}

# Takes the database away from taskq, or gives it back; returns at once.
sub serve
{
	my ($databases) = @_;
	$node->safe_psql($db, "ALTER SYSTEM SET taskq.databases = '$databases'");
	$node->safe_psql($db, 'SELECT pg_reload_conf()');
	return;
}

sub dispatcher
{
	$node->poll_query_until($db, "SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'taskq dispatcher' AND datname = '$db'");
	return (backend_pids($node, 'dispatcher', $db))[0];
}

sub cursor
{
	return sql($node, $db, "SELECT taskq.events_since()->>'cursor'");
}

sub counts
{
	my ($where) = @_;
	return sql($node, $db, "SELECT coalesce(string_agg(format('%s %s', state, n), ', ' ORDER BY state), '')
		FROM (SELECT state, sum(n) AS n FROM taskq.task_counts() WHERE kind $where GROUP BY 1) c");
}

sub ended
{
	my ($kind) = @_;
	return sql($node, $db, "SELECT coalesce(sum(n), 0) FROM taskq_internal.counted(now() - interval '2 days', NULL, 'd', 'l') WHERE kind = '$kind'");
}

# Waits until it is in the tables that so many tasks of a kind are in this state, so that the
# server may be stopped.
sub is_written
{
	my ($kind, $state, $n, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my $ended = $state eq 'c' ? $n : 0;
	return poll("SELECT (SELECT sum(s.n) FROM taskq_internal.stock s JOIN taskq_internal.lane l ON l.id = s.lane WHERE l.kind = '$kind' AND s.state = '$state') = $n
		AND (SELECT coalesce(sum(r.n), 0) FROM taskq_internal.rollup r JOIN taskq_internal.lane l ON l.id = r.of WHERE l.kind = '$kind' AND r.type = 'l' AND r.span = 'd' AND r.outcome = '$state') = $ended", $name);
}

# Of a kind that is known as quick workers take many tasks at once; gate "a" is open.
sub quick
{
	my ($kind, $payload) = @_;
	my @quick = split /\n/, sql($node, $db, qq{SELECT taskq.task_submit_many('$kind', array_fill('$payload'::jsonb, ARRAY[60]))});
	sql($node, $db, "SELECT count(*) FROM taskq.task_wait_all('{" . join(',', @quick) . "}', '60 s')");
	return;
}

# Stops the server, and lets a process that was stopped go on when that one is gone, or has had
# the time to go.
sub stop_before
{
	my ($gone, $pid) = @_;
	my $pidfile = $node->data_dir . '/postmaster.pid';
	system("(for i in `seq 3000`; do grep -q stopping $pidfile && break; sleep 0.01; done;"
		. " for i in `seq 150`; do kill -0 $gone || break; sleep 0.01; done; kill -CONT $pid) >/dev/null 2>&1 &");
	$node->stop('fast');
	return;
}

# A session that is told command after command; what it has heard by LISTEN is kept.
sub session
{
	my ($database) = @_;
	return { psql => $node->background_psql($database // $db), heard => '' };
}

sub ask
{
	my ($session, $query) = @_;
	$session->{heard} .= $session->{psql}->query($query) . "\n";
	return;
}

sub hears
{
	my ($session, $what, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my $end = time() + 120;
	for (ask($session, 'SELECT 1'); $session->{heard} !~ /$what/ && time() < $end; ask($session, 'SELECT 1'))
	{
		sleep(0.05);
	}
	return like($session->{heard}, qr/$what/, $name);
}

# --- nobody is there, and the server is stopped

ok(wait_idle($node), 'nobody is there');
my $held = submit($node, $db, 'short', '{}', "run_at => 'infinity'");
is_written('short', 's', 1, 'a task for which nobody is called is counted soon');
$node->restart;
is(counts("= 'short'"), 'scheduled 1', '... and so it is when the server has been stopped');
$node->append_conf('postgresql.conf', "taskq.notify = off\ntaskq.event_retention = 0");
$node->reload;
submit($node, $db, 'outside');
ok(wait_idle($node), 'nobody is there');
sql($node, $db, q{SELECT taskq.task_complete(c.id, c.token) FROM taskq.task_claim('w', kinds => '{outside}') c});
is_written('outside', 'c', 1, 'so is one that a program outside has completed');
$node->restart;
is(ended('outside'), 1, '... among what has ended');
is(counts("= 'outside'"), 'completed 1', '... as what it is');
$node->append_conf('postgresql.conf', "taskq.notify = final\ntaskq.event_retention = '1d'");
$node->reload;

# --- what has ended is told before the database is left

my $ear = session();
ask($ear, 'LISTEN taskq');
my $running = submit($node, $db, 'gate', '{"gate": "a"}');
wait_state($node, $db, $running, 'running');
my $pid = dispatcher();
my $at = cursor();
kill('STOP', $pid);
my $short = $held;
sql($node, $db, "SELECT taskq.task_cancel('$short')");
task_is($node, $db, $short, 'state', 'cancelled', 'a task ends, and the dispatcher does not come to it');
serve('another');
kill('CONT', $pid);
hears($ear, $short, '... who listens is told all the same, though the database is taken away');
poll("SELECT '$short' IN (SELECT told('$at'))", '... and who reads the feed');
poll("SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE backend_type = 'taskq dispatcher')", '... then the dispatcher goes');

# --- what ends there later

my $next = submit($node, $db, 'short', '{}', "depends_on => '{$running}'");
my $other = submit($node, $db, 'short', '{"n": 2}');
open_gate($node, $db, 'a');
is(wait_task($node, $db, $running), 'completed', 'what ran when it was taken away comes to its end');
hears($ear, $running, '... which listeners are told');
poll("SELECT '$running' IN (SELECT told('$at'))", '... and readers of the feed');
ok(wait_idle($node), '... all go');
$ear->{psql}->quit;
is(sql($node, $db, "SELECT string_agg(state, ' ' ORDER BY state) FROM taskq.task WHERE id IN ('$next', '$other')"), 'blocked pending', '... and begin nothing more');
is_written('gate', 'c', 1, '... when it is counted');
$node->restart;
is(ended('gate'), 1, 'what has ended there is counted when the server has been stopped');
is(counts("= 'gate'"), 'completed 1', '... as what it is');
serve('*');
is(wait_task($node, $db, $_), 'completed', 'what waited runs when the database is served again') foreach $next, $other;

# --- a worker takes nothing more

quick('gate', '{"gate": "a"}');
ok(wait_idle($node), 'nobody is there');
my @ids = split /\n/, sql($node, $db, q{SELECT taskq.task_submit_many('gate', array_fill('{"gate": "b"}'::jsonb, ARRAY[20]))});
poll(q{SELECT count(*) > 0 FROM taskq.task WHERE state = 'running'}, 'some of many tasks run');
serve('another');
poll("SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE backend_type = 'taskq dispatcher')", '... when their database is taken away');
my $begun = sql($node, $db, q{SELECT count(*) FROM taskq.task WHERE state = 'running'});
open_gate($node, $db, 'b');
ok(wait_idle($node), '... their workers go');
is(sql($node, $db, qq{SELECT count(*) FROM taskq.task WHERE state = 'completed' AND id = ANY ('{@{[join ',', @ids]}}')}), $begun, '... when these are through');
serve('*');
is(wait_task($node, $db, $ids[-1]), 'completed', '... the others run when it is served again');
poll(qq{SELECT count(*) = 20 FROM taskq.task WHERE state = 'completed' AND id = ANY ('{@{[join ',', @ids]}}')}, '... all of them');

# --- a worker that is in a long task has finished others

configure($node, 'taskq.worker_idle_timeout' => '60s');
quick('gate', '{"gate": "a"}');
$pid = dispatcher();
kill('STOP', $pid);
@ids = split /\n/, sql($node, $db, q{SELECT taskq.task_submit_many('gate', ARRAY['{"gate": "a"}', '{"gate": "a"}', '{"gate": "long"}']::jsonb[])});
poll("SELECT message = 'at the gate' FROM taskq.task_status('$ids[2]')", 'a worker comes to the last one of its batch');
serve('another');
kill('CONT', $pid);
is(wait_task($node, $db, $_, '10 s'), 'completed', '... whose others are told to be over, though the database is taken away') foreach @ids[ 0, 1 ];
open_gate($node, $db, 'long');
is(wait_task($node, $db, $ids[2]), 'completed', '... it goes on');
serve('*');
configure($node, 'taskq.worker_idle_timeout' => '200ms');

# --- a cancel by force, and a worker that is ended

$ear = session();
ask($ear, 'LISTEN taskq');
my ($cancelled, $lost) = map { submit($node, $db, 'gate', qq({"gate": "$_"}), 'max_attempts => 1') } 'c', 'd';
wait_state($node, $db, $_, 'running') foreach $cancelled, $lost;
my %worker = map { $_ => sql($node, $db, "SELECT pid FROM taskq.worker WHERE task_id = '$_'") } $cancelled, $lost;
serve('another');
poll("SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE backend_type = 'taskq dispatcher')", 'a database is taken away in which two tasks run');
expect_terminated($node, 'worker', 2);
sql($node, $db, "SELECT taskq.task_cancel('$cancelled', 'enough', true)");
sql($node, $db, "SELECT pg_terminate_backend($worker{$lost})");
poll("SELECT state = 'cancelled' AND cancel_reason = 'enough' FROM taskq.task_status('$cancelled')", 'one is cancelled by force, and is so at once');
poll("SELECT state = 'failed' FROM taskq.task_status('$lost')", 'the worker of another one is ended, which is recorded');
hears($ear, $_, '... and told') foreach $cancelled, $lost;
ok(wait_idle($node), 'nobody is there');
$ear->{psql}->quit;
$node->restart;
serve('*');
is(wait_task($node, $db, submit($node, $db, 'short')), 'completed', 'the database is served again');
task_is($node, $db, $cancelled, 'state', 'cancelled', '... what was cancelled does not run again');
task_is($node, $db, $lost, 'state', 'failed', '... nor what has had all of its attempts');

# --- a crash in that time

$running = submit($node, $db, 'gate', '{"gate": "e"}');
wait_state($node, $db, $running, 'running');
$at = cursor();
serve('another');
poll("SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE backend_type = 'taskq dispatcher')", 'a database is taken away');
$next = submit($node, $db, 'short', '{}', "depends_on => '{$running}'");
my $feed = session();
ask($feed, 'BEGIN; LOCK TABLE taskq_internal.feed IN EXCLUSIVE MODE');
open_gate($node, $db, 'e');
is(wait_task($node, $db, $running), 'completed', '... a task ends there that is not in the feed');
$node->stop('immediate');
eval { $feed->{psql}->quit };
$node->start;
serve('*');
is(wait_task($node, $db, $next), 'completed', 'after a crash, when it is served again, what waited for it runs');
poll("SELECT '$running' IN (SELECT told('$at'))", '... and it is told in the feed');

# --- the server is stopped while a worker has told nobody what it has finished

ok(wait_idle($node), 'nobody is there');
quick('quick', '{}');
@ids = split /\n/, sql($node, $db, q{SELECT taskq.task_submit_many('quick', ARRAY['{}', '{}', '{"gate": "stop"}']::jsonb[])});
poll("SELECT message = 'at the gate' FROM taskq.task_status('$ids[2]')", 'a worker has ended tasks, and is in another one');
my $worker = sql($node, $db, "SELECT pid FROM taskq.worker WHERE task_id = '$ids[2]'");
kill('STOP', $worker);
stop_before(dispatcher(), $worker);
$node->start;
open_gate($node, $db, 'stop');
is(wait_task($node, $db, $ids[2]), 'completed', 'the server is stopped and started, and the task runs again');
is(ended('quick'), 63, '... all that have ended are counted');

# ... while somebody is in the way of lines that are to be written

my @logs = split /\n/, sql($node, $db, q{SELECT oid::regclass FROM pg_class WHERE relname ~ '^log_([0-9]+|keep)$' AND relkind = 'r'});
my $way = session();
ask($way, 'BEGIN; LOCK TABLE ' . join(', ', @logs) . ' IN EXCLUSIVE MODE');
$pid = $way->{psql}->query_safe('SELECT pg_backend_pid()');
my $said = submit($node, $db, 'talk', '{"n": 40}');
is(wait_task($node, $db, $said), 'completed', 'a task logs, and its lines cannot be written');
kill('STOP', $pid);
stop_before(dispatcher(), $pid);
eval { $way->{psql}->quit };
$node->start;
is(sql($node, $db, "SELECT count(*) FROM taskq.task_log WHERE task_id = '$said'"), 40, '... none is lost when the server is stopped and who was in the way ends with it');

# ... or they are very many

$way = session();
ask($way, 'BEGIN; LOCK TABLE ' . join(', ', @logs) . ' IN EXCLUSIVE MODE');
$said = submit($node, $db, 'talk', '{"n": 60000}');
is(wait_task($node, $db, $said), 'completed', 'a task logs very much');
$pid = dispatcher();
kill('STOP', $pid);
ask($way, 'ROLLBACK');
$way->{psql}->quit;
stop_before($pid, $pid);
$node->start;
is(sql($node, $db, "SELECT count(*) FROM taskq.task_log WHERE task_id = '$said'"), 60000, '... none of it is lost either');

# ... and a prepared transaction, which does not end with the server, does not keep it from that

sql($node, $db, 'BEGIN; LOCK TABLE ' . join(', ', @logs) . " IN EXCLUSIVE MODE; PREPARE TRANSACTION 'way'");
$said = submit($node, $db, 'talk', '{"n": 1}');
is(wait_task($node, $db, $said), 'completed', 'a prepared transaction has the tables');
ok($node->stop('fast', fail_ok => 1), '... the server comes to its end all the same');
$node->start;
sql($node, $db, "ROLLBACK PREPARED 'way'");

# ... nor one that has the table of what is counted, though a process that ends heeds no timeout;
# who ends with the server is waited for

is(wait_task($node, $db, submit($node, $db, 'short')), 'completed', 'a task ends');
sql($node, $db, "BEGIN; LOCK TABLE taskq_internal.rollup IN ACCESS EXCLUSIVE MODE; PREPARE TRANSACTION 'way'");
is(wait_task($node, $db, submit($node, $db, 'short')), 'completed', 'a prepared transaction has the table of what is counted');
ok($node->stop('fast', fail_ok => 1), '... the server does, too');
$node->start;
sql($node, $db, "ROLLBACK PREPARED 'way'");
my $before = ended('outside');
$way = session();
ask($way, 'BEGIN; LOCK TABLE taskq_internal.rollup IN ACCESS EXCLUSIVE MODE');
submit($node, $db, 'outside');
sql($node, $db, q{SELECT taskq.task_complete(c.id, c.token) FROM taskq.task_claim('w', kinds => '{outside}') c});
$node->stop;
eval { $way->{psql}->quit };
$node->start;
is(ended('outside'), $before + 1, '... but a session is, which ends with the server: nothing is lost');

# --- a dispatcher is ended in the middle of telling

$node->safe_psql($db, q{
	CREATE TABLE barrier (up bool);
	GRANT SELECT ON barrier TO PUBLIC;
	CREATE FUNCTION passes() RETURNS bool LANGUAGE plpgsql AS $$
	BEGIN
		WHILE EXISTS (SELECT FROM public.barrier) LOOP
			PERFORM pg_catalog.pg_sleep(0.01);
		END LOOP;
		RETURN true;
	END $$;
	ALTER TABLE taskq_internal.feed ADD CHECK (public.passes())});
$ear = session();
ask($ear, 'LISTEN taskq; LISTEN "taskq:ready:default"');
sql($node, $db, 'INSERT INTO barrier VALUES (true)');
$held = submit($node, $db, 'short', '{}', "run_at => 'infinity'");
sql($node, $db, "SELECT taskq.task_cancel('$held')");
poll("SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'taskq dispatcher' AND wait_event = 'PgSleep'", 'the dispatcher is about to tell that a task has ended');
$pid = dispatcher();
expect_terminated($node, 'dispatcher');
sql($node, $db, "SELECT pg_terminate_backend($pid, 20000)");
hears($ear, $held, '... who listens is told, though it is terminated');
sql($node, $db, 'DELETE FROM barrier');
poll("SELECT '$held' IN (SELECT told('$at'))", '... and who reads the feed');
$ear->{psql}->quit;

# --- a look at a lane that is under way when the database is left, and named again

sql($node, $db, "SELECT taskq.queue_define('quiet'), taskq.queue_pause('quiet')");
foreach my $more (0 .. 4)
{
	my $quiet = "queue => 'quiet', priority => $more";
	my $gone = submit($node, $db, 'short', '{}', $quiet);
	my %session = map { $_ => session() } 'early', 'lock', 'look';

	# a lane that is there, and empty
	sql($node, $db, "DELETE FROM taskq_internal.task WHERE id = '$gone'");
	my @waiting = $session{early}{psql}->query_safe("BEGIN; SELECT taskq.task_submit('short', $quiet)");
	push @waiting, submit($node, $db, 'short', '{}', $quiet);
	ask($session{lock}, 'BEGIN; LOCK TABLE taskq_internal.task_keep IN ACCESS EXCLUSIVE MODE');
	$pid = $session{look}{psql}->query_safe('SELECT pg_backend_pid()');
	$session{look}{psql}->query_until(qr/begun/, "\\echo begun\nSELECT count(oldest) FROM taskq.queue;\n");
	poll("SELECT wait_event_type = 'Lock' FROM pg_stat_activity WHERE pid = $pid", 'a look waits');
	serve('another');
	submit($node, $db, 'short', '{}', "run_at => 'infinity'");
	poll('SELECT count(*) = 0 FROM taskq_internal.lanes()', '... nothing is known of the database any more');
	serve('*');
	ask($session{early}, 'COMMIT');
	push @waiting, map { submit($node, $db, 'short', '{}', $quiet) } 1 .. $more;
	ask($session{lock}, 'ROLLBACK');
	ask($session{look}, 'SELECT 1');
	is(sql($node, $db, q{SELECT id FROM taskq.task_list('{"state": "pending", "queue": "quiet"}', 'priority', n => 1)}),
		$waiting[0], "... it has kept nothing that hides what was committed meanwhile, with $more after it");
	$_->{psql}->quit foreach values %session;
	sql($node, $db, "SELECT taskq.queue_clear('quiet')");
}

# --- the only dispatcher there may be waits for a table of a database that is not served

$node->safe_psql($db, 'CREATE DATABASE unserved');
taskq_database($node, 'served');
$node->safe_psql('unserved', q{CREATE EXTENSION taskq;
	CREATE FUNCTION talk(p jsonb) RETURNS jsonb LANGUAGE sql AS $$ SELECT taskq.log('line'); SELECT p $$;
	CREATE FUNCTION never(text) RETURNS bool LANGUAGE plpgsql AS $$ BEGIN RETURN current_setting('application_name') = 'nobody'; END $$;
	SELECT taskq.kind_define('talk', 'talk(jsonb)')});
my $tables = sql($node, 'unserved', q{SELECT string_agg(oid::regclass::text, ', ') FROM pg_class WHERE relname ~ '^log_([0-9]+|keep)$' AND relkind = 'r'});
configure($node, 'taskq.max_dispatchers' => 1);
my $lock = session('unserved');
ask($lock, "BEGIN; LOCK TABLE $tables IN EXCLUSIVE MODE");
$said = submit($node, 'unserved', 'talk');
is(wait_task($node, 'unserved', $said), 'completed', 'a task logs, and its lines cannot be written');
serve('served');
$short = submit($node, 'served', 'short');
is(wait_task($node, 'served', $short), 'completed', 'its database is taken away: the only dispatcher gives others their turn');
ask($lock, 'ROLLBACK');
$lock->{psql}->quit;
ok($node->poll_query_until('unserved', 'SELECT NOT EXISTS (SELECT FROM taskq_internal.ring_lines())'), '... and the lines are written when they can be');
is(sql($node, 'unserved', "SELECT count(*) FROM taskq.task_log WHERE task_id = '$said'"), 1, '... none is lost');

# ... and one that can never write them is not in the way of DROP DATABASE
serve('*');
foreach my $table (split /, /, $tables)
{
	$node->safe_psql('unserved', "ALTER TABLE $table ADD CHECK (public.never(message)) NOT VALID");
}
$said = submit($node, 'unserved', 'talk');
is(wait_task($node, 'unserved', $said), 'completed', 'a task logs what its tables do not take');
configure($node, 'taskq.max_dispatchers' => undef);
serve('served');
sql_ok($node, $db, 'DROP DATABASE unserved', 'the database is taken away, and dropped');
serve('*');

done_testing();
