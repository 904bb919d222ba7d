# Interleavings that once lost a task, a wake-up or an announcement.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use TaskqTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = taskq_node(
	'interleavings',
	'taskq.max_workers' => 4,
	'taskq.max_dispatchers' => 1,
	'taskq.worker_idle_timeout' => '60s');
my $db = 'postgres';

# A session of its own that is told command after command.
sub session
{
	my %s = (in => '', out => '', err => '');
	$s{h} = IPC::Run::start([ 'psql', '-XAtq', '-d', $node->connstr($db), '-f', '-' ],
		'<', \$s{in}, '>', \$s{out}, '2>', \$s{err});
	return \%s;
}

my $marks = 0;

sub say_to
{
	my ($s, $query) = @_;
	my $mark = 'mark' . ++$marks;
	$s->{out} = '';
	$s->{in} .= "$query;\n\\echo $mark\n";
	$s->{h}->pump until $s->{out} =~ /$mark/;
	(my $out = $s->{out}) =~ s/\n?$mark\n//;
	return $out;
}

sub end_session
{
	my ($s) = @_;
	$s->{in} .= "\\q\n";
	$s->{h}->finish;
	return;
}

sub done_is
{
	my ($id, $state, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	is(wait_task($node, $db, $id), $state, $name);
	return;
}

# --- a lane that was made in a transaction that is undone, seen again after the caches were dropped

my $s = session();
say_to($s, q{BEGIN; SELECT taskq.task_submit('short', priority => 55)});
$node->safe_psql($db, 'CREATE ROLE drops_caches');
say_to($s, q{SELECT taskq.task_submit('short', priority => 55)});
say_to($s, 'ROLLBACK');
my $id = say_to($s, q{SELECT taskq.task_submit('short', priority => 55)});
done_is($id, 'completed', 'a lane whose transaction was undone is made again');
say_to($s, q{BEGIN; SAVEPOINT a; SELECT taskq.task_submit('short', priority => 56)});
$node->safe_psql($db, 'DROP ROLE drops_caches');
say_to($s, q{SELECT taskq.task_submit('short', priority => 56)});
$id = say_to($s, q{ROLLBACK TO a; SELECT taskq.task_submit('short', priority => 56)});
say_to($s, 'COMMIT');
done_is($id, 'completed', '... also when it was a savepoint');
say_to($s, q{BEGIN; SELECT taskq.task_submit('short', priority => 57)});
say_to($s, q{PREPARE TRANSACTION 'lane'});
$id = say_to($s, q{SELECT taskq.task_submit('short', priority => 57)});
say_to($s, q{ROLLBACK PREPARED 'lane'});
done_is($id, 'completed', '... or a prepared transaction that is rolled back');

# --- a dispatcher that ends in the middle of its timers

$id = submit($node, $db, 'short', '{}', "delay => '2 s'");
say_to($s, 'BEGIN; LOCK taskq_internal.timer IN ACCESS EXCLUSIVE MODE');
ok( $node->poll_query_until($db, q{
		SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'taskq dispatcher' AND wait_event_type = 'Lock'}),
	'the dispatcher is at its timers');
expect_terminated($node, 'dispatcher');
$node->safe_psql($db, q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'taskq dispatcher'});
say_to($s, 'COMMIT');
done_is($id, 'completed', 'when it ends there, the next one sees to them');

# --- due tasks whose rows somebody holds

$node->safe_psql($db, q{SELECT count(*) FROM generate_series(1, 600), taskq.task_submit('short', delay => '500 ms')});
say_to($s, q{BEGIN; SELECT count(taskq.task_cancel(id)) FROM taskq.task WHERE state = 'scheduled'});
$id = submit($node, $db, 'short', '{}', "delay => '1 s'");
done_is($id, 'completed', 'many due tasks that an open transaction holds do not hold up a later one');
$node->safe_psql($db, q{
	CREATE ROLE shut LOGIN;
	GRANT taskq_user TO shut;
	SELECT taskq.queue_define('shut');
	SELECT taskq.queue_pause('shut')});
my $shut = as_role($node, $db, 'shut', q{SELECT taskq.task_submit('short', queue => 'shut')});
say_to($s, "SELECT cancelled FROM taskq.task_cancel('$shut')");
$node->safe_psql($db, q{ALTER ROLE shut NOLOGIN; SELECT taskq.queue_resume('shut')});
$id = submit($node, $db, 'short', '{}', "delay => '500 ms'");
done_is($id, 'completed', 'nor does one whose role has lost LOGIN hold up the dispatcher');
say_to($s, 'ROLLBACK');
ok( $node->poll_query_until($db, 'SELECT count(*) = 0 FROM taskq.task WHERE NOT ready'),
	'released, all come to their end');

# --- a long task in the middle of a batch, while nobody else wakes the dispatcher

$node->safe_psql($db, q{
	CREATE FUNCTION mixed_work(p jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
	BEGIN
		WHILE p ? 'gate' AND NOT EXISTS (SELECT FROM gate WHERE name = p->>'gate') LOOP
			PERFORM pg_sleep(0.01);
		END LOOP;
		RETURN p;
	END $$;
	SELECT taskq.kind_define('mixed', 'mixed_work(jsonb)')});
$node->safe_psql($db, q{DO $$ BEGIN PERFORM taskq.task_submit_many('mixed', array_fill('{}'::jsonb, ARRAY[300])); END $$});
ok( $node->poll_query_until($db, "SELECT count(*) = 0 FROM taskq.task WHERE kind = 'mixed' AND NOT ready"),
	'the kind is known to be short');
my @batch = split /\n/, sql($node, $db,
	q{SELECT taskq.task_submit_many('mixed', ARRAY['{"n": 1}', '{"gate": "mixed"}', '{"n": 3}', '{"n": 4}']::jsonb[])});
done_is($batch[$_], 'completed', "task $_ of a batch with a long one") foreach 0, 2, 3;
wait_state($node, $db, $batch[1], 'running');

# --- a task is cancelled that a worker has reserved

# Its worker is held in the task before it, so that nobody can take the rest away from it.
open_gate($node, $db, 'mixed');
done_is($batch[1], 'completed', 'the long one');
$node->safe_psql($db, q{
	CREATE FUNCTION busy_work(p jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
	BEGIN
		PERFORM pg_sleep((p->>'s')::float8);
		RETURN p;
	END $$;
	SELECT taskq.kind_define('busy', 'busy_work(jsonb)')});
$node->safe_psql($db, q{DO $$ BEGIN PERFORM taskq.task_submit_many('busy', array_fill('{"s": 0}'::jsonb, ARRAY[300])); END $$});
$node->poll_query_until($db, "SELECT count(*) = 0 FROM taskq.task WHERE kind = 'busy' AND NOT ready");
my ($dispatcher) = backend_pids($node, 'dispatcher');
kill('STOP', $dispatcher) if $dispatcher;
@batch = split /\n/, sql($node, $db,
	q{SELECT taskq.task_submit_many('busy', ARRAY['{"s": 4}', '{"s": 0}']::jsonb[])});
SKIP:
{
	skip 'the batch was not taken as a whole', 3
	  if !$node->poll_query_until($db, "SELECT state = 'reserved' FROM taskq.task_status('$batch[1]')");
	$node->safe_psql($db, "SELECT taskq.task_reschedule('$batch[1]', 'infinity')");
	is(sql($node, $db, q{SELECT string_agg(concat_ws(' ', task_id, success, status), ',') FROM taskq.task_bulk('run_now', filter => '{"kind": "busy"}')}),
		"$batch[1] t pending", 'a reserved task that is held is found by who lets all run that are');
	my $waiter = session();
	$waiter->{in} .= "SELECT state FROM taskq.task_wait('$batch[1]', '60 s');\n";
	$waiter->{h}->pump_nb;
	$node->poll_query_until($db, "SELECT count(*) = 1 FROM pg_stat_activity WHERE query LIKE '%task_wait(''$batch[1]%' AND wait_event_type = 'Extension' AND pid <> pg_backend_pid()");
	is(sql($node, $db, "SELECT cancelled FROM taskq.task_cancel('$batch[1]')"), 't', 'a reserved task is cancelled');
	$waiter->{h}->pump until $waiter->{out} =~ /\n/;
	like($waiter->{out}, qr/^cancelled/, '... and who waits for it is told at once');
	task_is($node, $db, $batch[0], 'state', 'running', '... while its worker is in another');
	end_session($waiter);
}
kill('CONT', $dispatcher) if $dispatcher;

# --- a cancel that is prepared

$id = submit($node, $db, 'short', '{}', "delay => '1 h'");
say_to($s, "BEGIN; SELECT cancelled FROM taskq.task_cancel('$id')");
say_to($s, q{PREPARE TRANSACTION 'cancel'});
my $waiter = session();
$waiter->{in} .= "SELECT state FROM taskq.task_wait('$id', '60 s');\n";
$waiter->{h}->pump_nb;
$node->poll_query_until($db, "SELECT count(*) = 1 FROM pg_stat_activity WHERE query LIKE '%task_wait(''$id%' AND wait_event_type = 'Extension' AND pid <> pg_backend_pid()");
say_to($s, q{COMMIT PREPARED 'cancel'});
$waiter->{h}->pump until $waiter->{out} =~ /\n/;
like($waiter->{out}, qr/^cancelled/, 'COMMIT PREPARED of a cancel wakes who waits');
end_session($waiter);

# --- deferred triggers belong to the handler

$node->safe_psql($db, q{
	CREATE TABLE deferred (s float8, fail bool);
	CREATE FUNCTION deferred_work() RETURNS trigger LANGUAGE plpgsql AS $$
	BEGIN
		PERFORM taskq.progress(1, 2, 'in the trigger');
		PERFORM pg_sleep(NEW.s);
		IF NEW.fail THEN RAISE EXCEPTION 'deferred failure'; END IF;
		RETURN NULL;
	END $$;
	CREATE CONSTRAINT TRIGGER later AFTER INSERT ON deferred DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION deferred_work();
	CREATE FUNCTION inserts(p jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
	BEGIN
		INSERT INTO deferred VALUES ((p->>'s')::float8, (p->>'fail')::bool);
		RETURN p;
	END $$;
	SELECT taskq.kind_define('inserts', 'inserts(jsonb)', max_attempts => 2, backoff => '10 ms')});
$id = submit($node, $db, 'inserts', '{"s": 60}', "timeout => '500 ms', max_attempts => 1");
done_is($id, 'failed', 'a deferred trigger runs within the timeout');
task_is($node, $db, $id, q{error->>'sqlstate'}, '57014', '... and is ended by it');
$id = submit($node, $db, 'inserts', '{"s": 60}');
$node->poll_query_until($db, "SELECT message = 'in the trigger' FROM taskq.task_status('$id')");
sql($node, $db, "SELECT taskq.task_cancel('$id')");
done_is($id, 'cancelled', '... and can be cancelled');

# --- SET LOCAL of one task is not the next one's

$node->safe_psql($db, q{
	CREATE FUNCTION sync_work(p jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
	DECLARE
		was text := current_setting('synchronous_commit');
	BEGIN
		IF p ? 'off' THEN SET LOCAL synchronous_commit TO off; END IF;
		RETURN to_jsonb(was || ' ' || current_setting('synchronous_commit'));
	END $$;
	SELECT taskq.kind_define('sync', 'sync_work(jsonb)')});
$id = submit($node, $db, 'sync', '{"off": 1}');
done_is($id, 'completed', 'a task that sets synchronous_commit');
task_is($node, $db, $id, 'result', '"on off"', '... for itself');
$id = submit($node, $db, 'sync');
done_is($id, 'completed', 'the next one');
task_is($node, $db, $id, 'result', '"on on"', '... does not have it');

# --- waiting does not pile up memory

my @many = split /\n/, sql($node, $db, q{
	SELECT id FROM taskq.task_submit_many('short', array_fill(to_jsonb(repeat('x', 5000)), ARRAY[200]), delay => '1 h') id});
$waiter = session();
my $pid = say_to($waiter, 'SELECT pg_backend_pid()');
$waiter->{out} = '';
$waiter->{in} .= "SELECT state FROM taskq.task_wait_any(ARRAY['" . join("','", @many) . "']::uuid[], '60 s');\n";
$waiter->{h}->pump_nb;
$node->poll_query_until($db, "SELECT wait_event_type = 'Extension' FROM pg_stat_activity WHERE pid = $pid");

sub anon_kb { my ($p) = @_; return slurp_file("/proc/$p/status") =~ /^RssAnon:\s+(\d+)/m ? $1 : -1; }
my $before = anon_kb($pid);
$node->safe_psql($db, q{DO $$ BEGIN PERFORM taskq.task_submit_many('short', array_fill('{}'::jsonb, ARRAY[3000])); END $$});
$node->poll_query_until($db, "SELECT count(*) = 0 FROM taskq.task WHERE state IN ('pending', 'reserved', 'running')");
my $after = anon_kb($pid);
cmp_ok($after - $before, '<', 20000, 'who waits for one of many while thousands of others end does not grow');
sql($node, $db, "SELECT taskq.task_cancel('$many[0]')");
$waiter->{h}->pump until $waiter->{out} =~ /\n/;
like($waiter->{out}, qr/^cancelled/, '... and is woken');
end_session($waiter);

# --- a worker ends that was just woken, in a database without dispatcher

taskq_database($node, 'turn');
$id = submit($node, $db, 'short');
done_is($id, 'completed', 'there is a worker');
my $other = submit($node, 'turn', 'short');
is(wait_task($node, 'turn', $other), 'completed', 'the dispatcher has turned to another database');
SKIP:
{
	skip 'a dispatcher is still there', 1
	  if !$node->poll_query_until($db,
		"SELECT count(*) FILTER (WHERE backend_type = 'taskq dispatcher' AND datname = '$db') = 0 FROM pg_stat_activity");
	my @workers = split /\n/, sql($node, $db, "SELECT pid FROM pg_stat_activity WHERE backend_type = 'taskq worker' AND datname = '$db'");
	kill('STOP', @workers);
	$id = submit($node, $db, 'short');
	expect_terminated($node, 'worker', scalar @workers);
	kill('TERM', @workers);
	kill('CONT', @workers);
	done_is($id, 'completed', 'a worker that ends when it has just been woken is missed by nobody');
}

# --- a database that is taken out of taskq.databases, and put back

configure($node, 'taskq.databases' => 'postgres');
$id = submit($node, 'turn', 'short', '{}', "delay => '100 ms'");
$node->poll_query_until('turn', "SELECT run_at < clock_timestamp() FROM taskq.task_status('$id')");
is(sql($node, 'turn', "SELECT state FROM taskq.task_status('$id')"), 'scheduled', 'a database that is taken out is left alone');
configure($node, 'taskq.databases' => undef);
is(wait_task($node, 'turn', $id), 'completed', '... and served when it is put back');

# --- a claim in a transaction that is left open

$node->safe_psql($db, q{SELECT taskq.kind_define('open_a'), taskq.kind_define('open_b')});
my @open = split /\n/, sql($node, $db, q{SELECT taskq.task_submit(k) FROM unnest(ARRAY['open_a', 'open_a', 'open_b']) k});
is(say_to($s, q{BEGIN; SELECT id FROM taskq.task_claim('sleepy', kinds => '{open_a}')}), $open[0], 'a claim that is not committed');
is( sql($node, $db, q{SELECT string_agg(id::text, ' ' ORDER BY id) FROM taskq.task_claim('other', kinds => '{open_a,open_b}', n => 10)}),
	"$open[1] $open[2]", '... keeps from others that one task and no more');
$id = submit($node, $db, 'short');
done_is($id, 'completed', '... nor workers from theirs');
say_to($s, 'ROLLBACK');
is(sql($node, $db, q{SELECT id FROM taskq.task_claim('other', kinds => '{open_a}')}), $open[0], '... and is there again when that ends');

# --- a task that wants all tasks of its database stopped

$id = sql($node, $db, q{SELECT taskq.task_submit_sql('ALTER EXTENSION taskq UPDATE')});
done_is($id, 'failed', 'a task that changes the extension');
task_is($node, $db, $id, q{attempt, error->>'sqlstate'}, '1|0A000', '... is refused, and does not wait for itself');

# --- a role whose transactions are serializable by default

$node->safe_psql($db, q{
	CREATE ROLE serious LOGIN;
	GRANT taskq_user TO serious;
	ALTER ROLE serious SET default_transaction_isolation = serializable;
	ALTER DATABASE postgres SET lock_timeout = '1ms'});
as_role($node, $db, 'serious', q{DO $$ BEGIN
	PERFORM taskq.task_submit_many('fail', array_fill('{}'::jsonb, ARRAY[100]));
	PERFORM taskq.task_submit_many('mixed', array_fill('{}'::jsonb, ARRAY[200]), max_attempts => 50);
END $$});
ok( $node->poll_query_until($db, q{SELECT count(*) = 0 FROM taskq.task WHERE submitted_by = 'serious' AND NOT ready}),
	'serializable transactions by default: all tasks come to their end');
is( sql($node, $db, q{SELECT string_agg(DISTINCT concat_ws(' ', kind, state, error->>'sqlstate'), ', ') FROM taskq.task WHERE submitted_by = 'serious'}),
	'fail failed TT001, mixed completed',
	'... as they should, each with its own error');

# --- a worker that ends in a transaction of several tasks

$node->safe_psql($db, q{
	ALTER DATABASE postgres RESET lock_timeout;
	CREATE FUNCTION ending_work(p jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
	BEGIN
		INSERT INTO effect (task, note) SELECT id, 'together' FROM taskq.current_task();
		IF p ? 'end' AND (SELECT attempt FROM taskq.current_task()) = 1 THEN
			PERFORM pg_terminate_backend(pg_backend_pid());
			PERFORM pg_sleep(60);
		END IF;
		RETURN p;
	END $$;
	SELECT taskq.kind_define('ending', 'ending_work(jsonb)', batch => true, max_attempts => 2, backoff => '10 ms')});
configure($node, 'taskq.max_workers' => 1);
expect_terminated($node, 'worker', 3);
for my $round (1 .. 3)
{
	$node->safe_psql($db, q{SELECT count(*) FROM taskq.task_submit_many('ending', array_fill('{}'::jsonb, ARRAY[300]))});
	$node->safe_psql($db, q{SELECT taskq.queue_pause('default')});
	$node->safe_psql($db, qq{SELECT count(taskq.task_submit('ending', CASE WHEN i = 60 THEN '{"end": 1}' ELSE '{}' END::jsonb, tags => '{round$round}')) FROM generate_series(1, 100) i});
	$node->safe_psql($db, q{SELECT taskq.queue_resume('default')});
	ok($node->poll_query_until($db, q{SELECT NOT EXISTS (SELECT FROM taskq.task WHERE kind = 'ending' AND NOT ready)}), "round $round: all tasks come to their end");
	is( sql($node, $db, qq{SELECT string_agg(concat_ws(' ', attempt, n), ', ' ORDER BY attempt) FROM
		(SELECT attempt, count(*) AS n FROM taskq.task WHERE tags = '{round$round}' AND state = 'completed' GROUP BY attempt) s}),
		'1 99, 2 1', '... only the one whose process ended has a second attempt');
}
is( sql($node, $db, q{SELECT count(*), count(DISTINCT task) FROM effect WHERE note = 'together'}), '1200|1200', '... and each has run once');
$id = sql($node, $db, q{SELECT taskq.task_submit('ending')});
done_is($id, 'completed', 'it goes on');
# --- one of several in a transaction is cancelled, and another one takes long when it is run again

$node->safe_psql($db, q{
	CREATE SEQUENCE runs;
	CREATE FUNCTION again_work(p jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
	BEGIN
		-- what a sequence counts is not undone
		IF p ? 'second' AND nextval('runs') > 1 THEN
			PERFORM gate_work('{"gate": "again"}');
		ELSIF p ? 'cancel' THEN
			PERFORM taskq.progress(1, 2, 'waits');
			PERFORM pg_sleep(600);
		END IF;
		RETURN p;
	END $$;
	SELECT taskq.kind_define('again', 'again_work(jsonb)', batch => true);
	SELECT count(*) FROM taskq.task_submit_many('again', array_fill('{}'::jsonb, ARRAY[300]))});
ok($node->poll_query_until($db, q{SELECT NOT EXISTS (SELECT FROM taskq.task WHERE kind = 'again' AND NOT ready)}), 'tasks of that kind run');
$node->safe_psql($db, q{SELECT taskq.queue_pause('default')});
my ($long, $cancelled) = split /\n/, sql($node, $db, q{
	SELECT taskq.task_submit('again', p::jsonb) FROM unnest(ARRAY['{"second": 1}', '{"cancel": 1}', '{}', '{}']) WITH ORDINALITY AS u(p, n) ORDER BY n});
$node->safe_psql($db, q{SELECT taskq.queue_resume('default')});
wait_state($node, $db, $cancelled, 'running');
ok($node->poll_query_until($db, "SELECT message = 'waits' FROM taskq.task WHERE id = '$cancelled'"), 'one takes long');
my $waiter = session();
$waiter->{in} .= "SELECT state FROM taskq.task_wait('$cancelled', '60 s');\n\\echo waited\n";
$waiter->{h}->pump_nb;
ok($node->poll_query_until($db, q{SELECT EXISTS (SELECT FROM pg_stat_activity WHERE query LIKE 'SELECT state FROM taskq.task_wait%' AND wait_event_type = 'Extension')}), 'somebody waits for it');
$node->safe_psql($db, "SELECT taskq.task_cancel('$cancelled')");
$waiter->{h}->pump until $waiter->{out} =~ /waited/;
like($waiter->{out}, qr/^cancelled/, 'who waits for the cancelled one is told');
wait_state($node, $db, $long, 'running');
is(sql($node, $db, "SELECT state FROM taskq.task_status('$long')"), 'running', '... while the other one, run again, takes long');
end_session($waiter);
open_gate($node, $db, 'again');
done_is($long, 'completed', '... and comes to its end');
ok($node->poll_query_until($db, q{SELECT NOT EXISTS (SELECT FROM taskq.task WHERE kind = 'again' AND NOT ready)}), '... as do all');
configure($node, 'taskq.max_workers' => undef);

end_session($s);

# --- more lanes than shared memory has room for, which cannot run

my $small = taskq_node('small', 'taskq.max_lanes' => 16);
$small->safe_psql($db, q{
	SELECT taskq.queue_define('held'), taskq.queue_pause('held');
	SELECT count(taskq.task_submit('short', queue => 'held', priority => i)) FROM generate_series(-20, 20) i});
$id = submit($small, $db, 'short');
is(wait_task($small, $db, $id), 'completed', 'lanes of a paused queue do not keep out others');
$small->safe_psql($db, q{SELECT count(taskq.task_submit('short', priority => i)) FROM generate_series(-20, 20) i});
ok( $small->poll_query_until($db, q{SELECT count(*) = 0 FROM taskq.task WHERE queue = 'default' AND NOT ready}),
	'... nor do many');
$small->safe_psql($db, q{SELECT taskq.queue_resume('held')});
ok($small->poll_query_until($db, 'SELECT count(*) = 0 FROM taskq.task WHERE NOT ready'), 'resumed, they run');

done_testing();
