# max_running of a kind and of a queue: never passed, not for an instant, and always made use
# of, however tasks and workers end, and while it is changed.
#
# A task that holds a limit of n takes one of n advisory locks of its own and fails when there
# is none: so more than n at a time can't go by unseen.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use TaskqTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = taskq_node(
	'limits',
	'max_worker_processes' => 20,
	'max_connections' => 60,
	'fsync' => 'off',
	'taskq.max_workers' => 8,
	'taskq.worker_idle_timeout' => '10s');
my $db = 'postgres';

$node->safe_psql(
	$db, q{
	CREATE ROLE role1 LOGIN;
	CREATE ROLE role2 LOGIN;
	GRANT taskq_user TO role1, role2;
	CREATE FUNCTION seat(class int, n int) RETURNS void LANGUAGE plpgsql AS $$
	BEGIN
		-- tasks that share a transaction have one together
		IF EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND classid = class AND pid = pg_backend_pid()) THEN
			RETURN;
		END IF;
		FOR i IN 1..n LOOP
			IF pg_try_advisory_xact_lock(class, i) THEN
				RETURN;
			END IF;
		END LOOP;
		RAISE EXCEPTION 'more than % at a time', n;
	END $$;
	CREATE FUNCTION seated_work(p jsonb) RETURNS void LANGUAGE plpgsql AS $$
	BEGIN
		PERFORM seat((p->>'class')::int, (p->>'seats')::int);
		IF p ? 'queue_class' THEN
			PERFORM seat((p->>'queue_class')::int, (p->>'queue_seats')::int);
		END IF;
		PERFORM pg_sleep(random() * 0.002);
		IF p ? 'fail' AND random() < 0.1 THEN
			RAISE EXCEPTION 'fails now and then' USING ERRCODE = 'TT002';
		END IF;
	END $$;
});

sub states
{
	my ($kind) = @_;
	return sql($node, $db, "SELECT string_agg(state || ' ' || n, ', ' ORDER BY state) FROM (SELECT state, count(*) AS n FROM taskq.task WHERE kind = '$kind' GROUP BY state) s");
}

sub drained
{
	my ($kind) = @_;
	return $node->poll_query_until($db, "SELECT count(*) = 0 FROM taskq.task WHERE kind = '$kind' AND NOT ready");
}

sub running { return "(SELECT count(*) FROM taskq.task WHERE kind = '$_[0]' AND state = 'running')"; }

# So many run, and stay so: what could be started was, since others that came later have been
# run meanwhile.
sub run_now
{
	my ($kind, $n, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	ok($node->poll_query_until($db, 'SELECT ' . running($kind) . " = $n"), $name) or diag(states($kind));
	wait_task($node, $db, submit($node, $db, 'short')) foreach 1 .. 2;
	is(sql($node, $db, 'SELECT ' . running($kind)), $n, '... and no more');
	return;
}

# --- never more

foreach my $n (1, 3)
{
	$node->safe_psql($db, "SELECT taskq.kind_define('seated$n', 'seated_work(jsonb)', max_running => $n, max_attempts => 20, backoff => '1 ms', backoff_max => '2 ms', retry_on => '{TT002}')");
	$node->safe_psql($db, "SELECT taskq.task_submit_many('seated$n', array_agg(jsonb_build_object('class', $n, 'seats', $n, 'fail', true))) FROM generate_series(1, 150)") foreach 1 .. 2;
	as_role($node, $db, $_, "SELECT count(*) FROM taskq.task_submit_many('seated$n', (SELECT array_agg(jsonb_build_object('class', $n, 'seats', $n)) FROM generate_series(1, 150)), priority => 1)") foreach 'role1', 'role2';
	ok(drained("seated$n"), "tasks of three roles, $n at a time: all are run");
	is(states("seated$n"), 'completed 600', '... and never more of them at a time');
}

# a kind whose tasks share transactions, in a queue that is limited as well
$node->safe_psql(
	$db, q{
	SELECT taskq.queue_define('narrow', max_running => 3);
	SELECT taskq.kind_define('narrow_a', 'seated_work(jsonb)', queue => 'narrow', max_running => 2, max_attempts => 1, batch => true);
	SELECT taskq.kind_define('narrow_b', 'seated_work(jsonb)', queue => 'narrow', max_running => 2, max_attempts => 1);
	SELECT taskq.task_submit_many('narrow_a', array_fill('{"class": 11, "seats": 2, "queue_class": 10, "queue_seats": 3}'::jsonb, ARRAY[300]));
	SELECT taskq.task_submit_many('narrow_b', array_fill('{"class": 12, "seats": 2, "queue_class": 10, "queue_seats": 3}'::jsonb, ARRAY[300]));
});
ok(drained('narrow_a') && drained('narrow_b'), 'two kinds in a queue, each with a limit, and the queue with one');
is(states('narrow_a') . ', ' . states('narrow_b'), 'completed 300, completed 300', '... none of which is passed');

# --- and never fewer

$node->safe_psql($db, q{SELECT taskq.kind_define('gated', 'gate_work(jsonb)', max_running => 3)});
my @ids = map { submit($node, $db, 'gated', qq({"gate": "g$_"})) } 1 .. 9;
run_now('gated', 3, 'as many run as may');
open_gate($node, $db, "g$_") foreach 1, 2;
is(wait_task($node, $db, $ids[$_]), 'completed', 'one ends') foreach 0, 1;
run_now('gated', 3, '... and others take their places');

# changed while they run
$node->safe_psql($db, q{SELECT taskq.kind_define('gated', 'gate_work(jsonb)', max_running => 1)});
run_now('gated', 3, 'a limit that is lowered ends nothing');
open_gate($node, $db, 'g3');
is(wait_task($node, $db, $ids[2]), 'completed', '... one of three ends');
run_now('gated', 2, '... and nothing is started for it');
$node->safe_psql($db, q{BEGIN; SELECT taskq.kind_define('gated', 'gate_work(jsonb)', max_running => 5); ROLLBACK});
run_now('gated', 2, 'a change that is rolled back is none');
open_gate($node, $db, "g$_") foreach 4, 5;
is(wait_task($node, $db, $ids[$_]), 'completed', '... all end') foreach 3, 4;
run_now('gated', 1, '... and one follows');
$node->safe_psql($db, q{SELECT taskq.kind_define('gated', 'gate_work(jsonb)', max_running => 3)});
run_now('gated', 3, 'a limit that is raised holds at once');
$node->safe_psql($db, q{SELECT taskq.kind_define('gated', 'gate_work(jsonb)')});
run_now('gated', 4, 'without one all run');
$node->safe_psql($db, q{SELECT taskq.kind_define('gated', 'gate_work(jsonb)', max_running => 2)});
push @ids, submit($node, $db, 'gated', '{"gate": "g10"}');
run_now('gated', 4, 'those that were started before there was a limit count');
open_gate($node, $db, "g$_") foreach 6 .. 10;
is(wait_task($node, $db, $_), 'completed', 'the rest ends') foreach @ids[ 5 .. 9 ];

# --- a task's end gives its place to whoever waits, also to another role's

$node->safe_psql($db, q{SELECT taskq.kind_define('single', 'gate_work(jsonb)', max_running => 1, max_attempts => 1)});
my $first = as_role($node, $db, 'role1', q{SELECT taskq.task_submit('single', '{"gate": "s1"}')});
wait_state($node, $db, $first, 'running');
my $second = as_role($node, $db, 'role2', q{SELECT taskq.task_submit('single', '{"gate": "s2"}')});
run_now('single', 1, 'one at a time, of whatever role');
open_gate($node, $db, 's1');
wait_state($node, $db, $second, 'running');
pass('... then the other role\'s');
my $third = as_role($node, $db, 'role1', q{SELECT taskq.task_submit('single', '{"gate": "s3"}')});

# ... which need not wait for all that the first one has
$node->safe_psql($db, q{
	CREATE FUNCTION brief_work(p jsonb) RETURNS void LANGUAGE sql AS $$ SELECT pg_sleep(0.001) $$;
	SELECT taskq.kind_define('brief', 'brief_work(jsonb)', max_running => 1);
});
as_role($node, $db, 'role1', q{SELECT count(*) FROM taskq.task_submit_many('brief', array_fill('{}'::jsonb, ARRAY[5000]))});
ok($node->poll_query_until($db, q{SELECT count(*) > 0 FROM taskq.task WHERE kind = 'brief' AND state = 'completed'}), 'a role has many tasks');
my $urgent = as_role($node, $db, 'role2', q{SELECT taskq.task_submit('brief', priority => 1)});
is(wait_task($node, $db, $urgent), 'completed', '... another one a single, urgent one');
cmp_ok(sql($node, $db, q{SELECT count(*) FROM taskq.task WHERE kind = 'brief' AND NOT ready}), '>', 0, '... which does not come last');
sql($node, $db, q{SELECT count(*) FROM taskq.task t, taskq.task_cancel(t.id) WHERE t.kind = 'brief' AND NOT t.ready});
ok(drained('brief'), '... the rest is cancelled');

# by a cancel, by the worker's end
sql($node, $db, "SELECT taskq.task_cancel('$second')");
wait_state($node, $db, $third, 'running');
pass('a cancelled task leaves its place');
expect_terminated($node, 'worker', 1);
my $fourth = as_role($node, $db, 'role2', q{SELECT taskq.task_submit('single', '{"gate": "s4"}')});
sql($node, $db, q{SELECT pg_terminate_backend(pid) FROM taskq.worker WHERE kind = 'single'});
wait_state($node, $db, $fourth, 'running');
pass('a worker that is terminated leaves its own');
expect_crashes($node, 1);
my ($pid) = sql($node, $db, q{SELECT pid FROM taskq.worker WHERE kind = 'single'});
my $fifth = as_role($node, $db, 'role1', q{SELECT taskq.task_submit('single', '{"gate": "s5"}')});
kill 9, $pid;
ok($node->poll_query_until($db, "SELECT state = 'failed' FROM taskq.task_status('$fourth')"), 'a worker is killed, and all others with it');
wait_state($node, $db, $fifth, 'running');
run_now('single', 1, '... then the next one is run');
open_gate($node, $db, 's5');
is(wait_task($node, $db, $fifth), 'completed', '... to its end');

# --- what waits behind a limit costs the others nothing

$node->safe_psql(
	$db, q{
	SELECT taskq.kind_define('full', 'gate_work(jsonb)', max_running => 1);
	SELECT taskq.task_submit('full', '{"gate": "f"}');
});
run_now('full', 1, 'a limit is full');
$node->safe_psql($db, q{SELECT taskq.task_submit_many('full', array_fill('{"gate": "f"}'::jsonb, ARRAY[5000]))});

# rows that were looked at in search of something to run; whoever is idle has reported
sub rows_read
{
	$node->poll_query_until($db, q{SELECT count(*) = 0 FROM taskq.worker WHERE state = 'busy' AND kind IS DISTINCT FROM 'full'});
	return sql($node, $db, q{SELECT sum(idx_tup_read) FROM pg_stat_user_indexes WHERE indexrelname LIKE 'task%_lane_idx'});
}
my $before = rows_read();
$node->safe_psql($db, q{SELECT count(*) FROM taskq.task_submit_many('short', array_fill('{}'::jsonb, ARRAY[50]))}) foreach 1 .. 20;
ok(drained('short'), 'others are run beside it');
my $rows = rows_read() - $before;
cmp_ok($rows, '<', 4000, "... and nobody reads what waits behind it ($rows rows for 1,000 tasks)");
open_gate($node, $db, 'f');
ok(drained('full'), 'and when there is room, all of it is run');

done_testing();
