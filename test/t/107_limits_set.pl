# Limits of a kind or queue that is there are changed: what waits starts at once where they are
# raised, nothing more begins where they are lowered, also of what workers had set aside; and they
# are kept over restarts, promotion and dumps.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use TaskqTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = taskq_node('limits_set', 'taskq.max_workers' => 8, 'max_worker_processes' => 20, 'max_prepared_transactions' => 2, 'taskq.worker_idle_timeout' => '60s');
my $db = 'postgres';

$node->safe_psql(
	$db, q{
	CREATE FUNCTION nap(p jsonb) RETURNS void LANGUAGE plpgsql AS $$
	BEGIN
		PERFORM pg_sleep(0.001);
		IF p ? 'gate' THEN
			PERFORM gate_work(p);
		END IF;
	END $$;
	SELECT taskq.kind_define('gated', 'gate_work(jsonb)', max_running => 1), taskq.kind_define('nap', 'nap(jsonb)'), taskq.kind_define('naps', 'nap(jsonb)', batch => true),
		taskq.kind_define('keyed', 'gate_work(jsonb)'), taskq.kind_define('rated', 'short_work(jsonb)', rate => 1, rate_period => '1 h'),
		taskq.kind_define('outside', queue => 'outside', max_running => 1), taskq.queue_define('narrow', max_running => 1)});

sub running { return "(SELECT count(*) FROM taskq.task WHERE kind = '$_[0]' AND state = 'running')"; }

# So many run, and stay so: others that came later have been run meanwhile.
sub run_now
{
	my ($kind, $n, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	ok($node->poll_query_until($db, 'SELECT ' . running($kind) . " = $n"), $name);
	is(wait_task($node, $db, submit($node, $db, 'short')), 'completed', '... others run beside');
	is(sql($node, $db, 'SELECT ' . running($kind)), $n, '... and no more of them');
	return;
}

# --- raised and lowered while they run

my @ids = map { submit($node, $db, 'gated', qq({"gate": "g$_"})) } 1 .. 7;
run_now('gated', 1, 'one at a time');
sql($node, $db, q{SELECT taskq.kind_limit('gated', 3)});
run_now('gated', 3, 'raised, those that wait start at once');
sql($node, $db, q{SELECT taskq.kind_limit('gated', 2)});
run_now('gated', 3, 'lowered, it ends nothing');
open_gate($node, $db, 'g1');
is(wait_task($node, $db, $ids[0]), 'completed', '... one of three ends');
run_now('gated', 2, '... and nothing is started for it');
sql($node, $db, q{BEGIN; SELECT taskq.kind_limit('gated', -1); ROLLBACK});
run_now('gated', 2, 'a change that is rolled back is none');
sql($node, $db, q{SELECT taskq.kind_limit('gated', rate => 1000)});
run_now('gated', 2, 'a change of another limit changes nothing');
sql($node, $db, q{SELECT taskq.kind_limit('gated', -1)});
run_now('gated', 6, 'without one all run');
open_gate($node, $db, "g$_") foreach 2 .. 7;
is(wait_task($node, $db, $_), 'completed', '... to their end') foreach @ids[ 1 .. 6 ];

# --- a queue

@ids = map { submit($node, $db, 'gated', qq({"gate": "q$_"}), q{queue => 'narrow'}) } 1 .. 3;
run_now('gated', 1, 'one of a queue');
sql($node, $db, q{SELECT taskq.queue_limit('narrow', 2)});
run_now('gated', 2, 'raised, two');
sql($node, $db, q{SELECT taskq.queue_limit('narrow', -1)});
run_now('gated', 3, 'without a limit, all');
open_gate($node, $db, "q$_") foreach 1 .. 3;
is(wait_task($node, $db, $_), 'completed', '... they end') foreach @ids;

# --- keys

@ids = map { submit($node, $db, 'keyed', qq({"gate": "k$_"}), q{concurrency_key => 'k'}) } 1 .. 3;
run_now('keyed', 1, 'one of a key');
sql($node, $db, q{SELECT taskq.kind_limit('keyed', max_running_per_key => 3)});
run_now('keyed', 3, 'three of it, when three may');
sql($node, $db, q{SELECT taskq.kind_limit('keyed', max_running_per_key => -1)});
push @ids, submit($node, $db, 'keyed', q({"gate": "k4"}), q{concurrency_key => 'k'});
run_now('keyed', 3, '... which run on when only one may');
open_gate($node, $db, "k$_") foreach 1, 2;
is(wait_task($node, $db, $ids[$_]), 'completed', '... two end') foreach 0, 1;
run_now('keyed', 1, '... and none follows');
open_gate($node, $db, "k$_") foreach 3, 4;
is(wait_task($node, $db, $ids[$_]), 'completed', '... until the last has ended') foreach 2, 3;

# --- a rate

is(wait_task($node, $db, submit($node, $db, 'rated')), 'completed', 'one in an hour');
my $late = submit($node, $db, 'rated');
is(wait_task($node, $db, submit($node, $db, 'short')), 'completed', '... another kind\'s');
task_is($node, $db, $late, 'state', 'pending', '... and no second one');
sql($node, $db, q{SELECT taskq.kind_limit('rated', rate => 1000000)});
is(wait_task($node, $db, $late), 'completed', 'with a higher rate it starts at once');

# --- external workers

submit($node, $db, 'outside') foreach 1 .. 3;
my $claim = q{SELECT count(*) FROM taskq.task_claim('w', kinds => '{outside}', n => 5, lease => '1 h')};
is(sql($node, $db, $claim), 1, 'external workers get one');
is(sql($node, $db, $claim), 0, '... and no more');
my $waiter = $node->background_psql($db, on_error_stop => 1);
$waiter->query_until(qr/waits/, qq{\\echo waits\n} . $claim =~ s/n => 5/n => 5, wait => '60 s'/r . qq{;\n});
ok($node->poll_query_until($db, q{SELECT EXISTS (SELECT FROM pg_stat_activity WHERE query ~ 'wait =>' AND wait_event_type IN ('Extension', 'IPC', 'Client') AND state = 'active' AND pid <> pg_backend_pid())}), 'one waits for more');
sql($node, $db, q{SELECT taskq.kind_limit('outside', 2)});
is($waiter->query_safe('SELECT 1') =~ s/\D+/ /gr, '1 1', 'raised, it gets one at once');
$waiter->quit;

# --- what workers have set aside is not begun by the old limits

foreach my $kind ('nap', 'naps')
{
	# the last of them are there until the gate is opened, however fast the others are
	sql($node, $db, "SELECT count(taskq.task_submit('$kind', CASE WHEN i > 950 THEN '{\"gate\": \"$kind\"}' ELSE '{}' END::jsonb)) FROM generate_series(1, 1000) i");
	$node->poll_query_until($db, "SELECT count(*) > 100 FROM taskq.task WHERE kind = '$kind' AND ready") or die 'no task ran';
	# a token in an hour: of what is not begun by now one more may be
	sql($node, $db, "SELECT taskq.kind_limit('$kind', rate => 1, rate_period => '1 h')");
	my $begun = "SELECT count(*) FROM taskq.task WHERE kind = '$kind' AND state NOT IN ('pending', 'reserved')";
	my $then = sql($node, $db, $begun);
	open_gate($node, $db, $kind);
	$node->poll_query_until($db, "SELECT count(*) = 0 FROM taskq.task WHERE kind = '$kind' AND state IN ('running', 'reserved')") or die 'something runs';
	wait_task($node, $db, submit($node, $db, 'short')) foreach 1 .. 2;
	cmp_ok(sql($node, $db, $begun) - $then, '<=', 1, "$kind: with a rate of one an hour nothing else begins");
	cmp_ok(sql($node, $db, "SELECT count(*) FROM taskq.task WHERE kind = '$kind' AND state = 'pending'"), '>', 0, '... and the others wait');
	sql($node, $db, "SELECT taskq.kind_limit('$kind', rate => -1)");
	ok($node->poll_query_until($db, "SELECT bool_and(state = 'completed') FROM taskq.task WHERE kind = '$kind'"), '... until it is taken away');
}

# --- reserved places, by a prepared transaction

sql($node, $db, q{SELECT taskq.queue_limit('narrow', reserved => 1)});
sql($node, $db, q{BEGIN; SELECT taskq.queue_limit('narrow', reserved => 5); PREPARE TRANSACTION 'reserve'});
@ids = map { submit($node, $db, 'gated', qq({"gate": "r$_"})) } 1 .. 6;
run_now('gated', 6, 'what is prepared reserves nothing');
sql($node, $db, q{COMMIT PREPARED 'reserve'});
open_gate($node, $db, "r$_") foreach 1 .. 6;
is(wait_task($node, $db, $_), 'completed', '... they end') foreach @ids;
@ids = map { submit($node, $db, 'gated', qq({"gate": "s$_"})) } 1 .. 6;
ok($node->poll_query_until($db, 'SELECT ' . running('gated') . ' = 3'), 'others leave the places that are reserved');
is(wait_task($node, $db, submit($node, $db, 'short', '{}', q{queue => 'narrow'})), 'completed', '... to those of the queue');
is(sql($node, $db, 'SELECT ' . running('gated')), 3, '... and take none');
sql($node, $db, q{SELECT taskq.queue_limit('narrow', reserved => -1)});
run_now('gated', 6, 'until none are');
open_gate($node, $db, "s$_") foreach 1 .. 6;
is(wait_task($node, $db, $_), 'completed', '... they end') foreach @ids;

# --- over a restart and a dump

my $limits = q{SELECT max_running, rate, rate_period, max_running_per_key FROM taskq.kind WHERE name = 'gated'
	UNION ALL SELECT max_running, rate, rate_period, reserved FROM taskq.queue WHERE name = 'narrow'};
sql($node, $db, q{SELECT taskq.kind_limit('gated', 2, 9, '3 min', 4), taskq.queue_limit('narrow', 3, 8, '2 min', 1)});
$node->restart;
is(sql($node, $db, $limits), "2|9|00:03:00|4\n3|8|00:02:00|1", 'limits are kept over a restart');
my $dump = PostgreSQL::Test::Utils::tempdir() . '/dump';
$node->command_ok([ 'pg_dump', '-Fc', '-f', $dump, '-d', $node->connstr($db) ], 'dumped');
$node->safe_psql($db, 'CREATE DATABASE copy');
$node->command_ok([ 'pg_restore', '-d', $node->connstr('copy'), $dump ], '... and restored');
is(sql($node, 'copy', $limits), "2|9|00:03:00|4\n3|8|00:02:00|1", '... they are the same');

$node->stop;
done_testing();
