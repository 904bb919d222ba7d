# Limits, keys, dependencies: what else happens at the same moment.  Each of these once left a
# place taken, a task blocked, or had one run where it should not.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use TaskqTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = taskq_node(
	'orchestration_races',
	'taskq.max_workers' => 4,
	'taskq.worker_idle_timeout' => '60s',
	'max_prepared_transactions' => 4);
my $db = 'postgres';

$node->safe_psql(
	$db, q{
	SELECT taskq.queue_define('held'), taskq.queue_pause('held'), taskq.queue_define('other'),
		taskq.queue_define('a', max_running => 2), taskq.queue_define('b'),
		taskq.kind_define('outside');
	-- all leaves are locked by who calls it
	CREATE FUNCTION lock_leaves() RETURNS void LANGUAGE plpgsql AS $$
	DECLARE
		leaf text;
	BEGIN
		FOR leaf IN SELECT inhrelid::regclass FROM pg_inherits WHERE inhparent = 'taskq_internal.task'::regclass LOOP
			EXECUTE 'LOCK TABLE ' || leaf;
		END LOOP;
	END $$});

# Somebody of this sort waits for a lock.
sub waits
{
	my ($sort, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	ok($node->poll_query_until($db, "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE backend_type = '$sort' AND wait_event_type = 'Lock')"), $name);
	return;
}

# --- those who wait are looked through a second time

my $gate = submit($node, $db, 'gate', '{"gate": "a"}');
ok($node->poll_query_until($db, "SELECT state = 'running' FROM taskq.task WHERE id = '$gate'"), 'a dispatcher stays');
my @first = map { submit($node, $db, 'short', '{}', "queue => 'held'") } 1 .. 2;
my @second = map { submit($node, $db, 'short', '{}', "depends_on => '{$_}'") } @first;
for my $i (0, 1)
{
	# of what a prepared transaction has ended nobody has kept a list
	$node->safe_psql($db, "BEGIN; SELECT taskq.task_cancel('$first[$i]'); PREPARE TRANSACTION 'cancel'");
	$node->safe_psql($db, "COMMIT PREPARED 'cancel'");
	is(wait_task($node, $db, $second[$i]), 'cancelled',
		$i == 0 ? 'those who wait are looked through' : '... and again, though what one waits for was the last one looked at before');
}
open_gate($node, $db, 'a');

# --- a task goes to another queue, or gets another key, while it is claimed

my $holder = $node->background_psql($db, on_error_stop => 1);
my $claimer = $node->background_psql($db, on_error_stop => 1);

# two are found; the claim is kept between the first and the second, which is replaced
sub claim_while_replaced
{
	my ($of_first, $of_second, $of_replaced) = @_;
	submit($node, $db, 'outside', '{"n": 1}', $of_first);
	my $task = submit($node, $db, 'outside', '{"n": 2}', "unique_key => 'u', $of_second");
	$holder->query_safe('BEGIN; LOCK TABLE taskq_internal.timer IN SHARE MODE');
	$claimer->query_until(qr/begins/, q{
		\echo begins
		SELECT taskq.task_complete(id, token) FROM taskq.task_claim('w', queues => '{a}', n => 2);
	});
	waits('client backend', 'a claim is under way');
	is(submit($node, $db, 'outside', '{"n": 3}', "unique_key => 'u', on_conflict => 'replace', $of_replaced"), $task, '... and a task is replaced');
	$holder->query_safe('COMMIT');
	$claimer->query_safe('SELECT 1');
	return $task;
}

my $task = claim_while_replaced(q{queue => 'a'}, q{queue => 'a'}, q{queue => 'b'});
task_is($node, $db, $task, 'state', 'pending', 'it is in another queue, and is not claimed from the one that was asked for');
$node->safe_psql($db, q{SELECT taskq.task_complete(id, token) FROM taskq.task_claim('w', queues => '{b}')});
is(wait_task($node, $db, $task), 'completed', '... but from the other');
submit($node, $db, 'outside', '{}', q{queue => 'a'}) foreach 1 .. 3;
is(sql($node, $db, q{WITH c AS (SELECT taskq.task_complete(id, token) FROM taskq.task_claim('w', queues => '{a}', n => 3)) SELECT count(*) FROM c}),
	'2', '... and no place is lost');
$node->safe_psql($db, q{SELECT taskq.task_complete(id, token) FROM taskq.task_claim('w', queues => '{a}', n => 3)});

$task = claim_while_replaced(q{queue => 'a', concurrency_key => 'x'}, q{queue => 'a', concurrency_key => 'y'}, q{queue => 'a', concurrency_key => 'z'});
$node->safe_psql($db, q{SELECT taskq.task_complete(id, token) FROM taskq.task_claim('w', queues => '{a}')});
is(wait_task($node, $db, $task), 'completed', 'a task that gets another key is claimed with that');
submit($node, $db, 'outside', '{}', qq{queue => 'b', concurrency_key => '$_'}) foreach 'x', 'y', 'z';
is(sql($node, $db, q{WITH c AS (SELECT taskq.task_complete(id, token) FROM taskq.task_claim('w', queues => '{b}', n => 3)) SELECT count(*) FROM c}),
	'3', '... and no key stays taken');

# the same with a worker: what it has found is in a queue that is paused when its turn comes
$node->safe_psql($db, q{SELECT taskq.queue_pause('other')});
$task = submit($node, $db, 'short', '{}', q{queue => 'other', unique_key => 'u'});
$holder->query_safe('BEGIN; SELECT lock_leaves()');
$node->safe_psql($db, q{SELECT taskq.queue_resume('other')});
waits('taskq worker', 'a worker looks for tasks');
$holder->query_safe(q{SELECT taskq.task_submit('short', '{}', queue => 'held', unique_key => 'u', on_conflict => 'replace'); COMMIT});
is(wait_task($node, $db, submit($node, $db, 'short', '{}', q{queue => 'other'})), 'completed', '... finds one that is in another queue by now');
task_is($node, $db, $task, 'state', 'pending', '... and leaves it to whoever may run it there');
$node->safe_psql($db, q{SELECT taskq.queue_resume('held')});
is(wait_task($node, $db, $task), 'completed', '... when that may be');
$node->safe_psql($db, q{SELECT taskq.queue_pause('held')});

# --- what a worker found with a key is given back, and the next it takes has none

$node->safe_psql($db, 'CREATE ROLE single LOGIN IN ROLE taskq_user');
my $single = sub { return as_role($node, $db, 'single', "SELECT taskq.task_submit('short', $_[0])") };
is(wait_task($node, $db, $single->(q{priority => 9})), 'completed', 'a role has one worker');
my $submitter = $node->background_psql($db, on_error_stop => 1, extra_params => [ '-U', 'single' ]);
chomp(my $given_back = $submitter->query_safe(q{BEGIN; SELECT taskq.task_submit('short', concurrency_key => 'given back')}));
# who looks for tasks with keys stands behind the holder
$holder->query_until(qr/begins/, q{
	\echo begins
	BEGIN; LOCK TABLE taskq_internal.keyed;
});
waits('client backend', 'the table of tasks with keys is about to be locked');
$submitter->query_safe('COMMIT');
waits('taskq worker', '... a worker looks for one');
my $before = $single->(q{priority => 9});
$node->safe_psql($db, q{SELECT taskq.queue_define('other')});
$holder->query_safe('COMMIT');
is(wait_task($node, $db, $before), 'completed', '... and when definitions have changed meanwhile runs another one first');
is(wait_task($node, $db, $given_back), 'completed', '... and then that');
$submitter->quit;

# --- limits are changed by a prepared transaction

my $define = q{SELECT taskq.kind_define('rated', 'short_work(jsonb)', rate => %d, rate_period => '1 h')};
$node->safe_psql($db, sprintf($define, 1));
is(wait_task($node, $db, submit($node, $db, 'rated', '{}')), 'completed', 'one in an hour');
$task = submit($node, $db, 'rated', '{}');
is(wait_task($node, $db, submit($node, $db, 'short')), 'completed', '... and no more');
$node->safe_psql($db, 'BEGIN; ' . sprintf($define, 1000000) . q{; PREPARE TRANSACTION 'define'});
$node->safe_psql($db, "COMMIT PREPARED 'define'");
is(wait_task($node, $db, $task), 'completed', '... until a prepared transaction that says otherwise is committed');

# what is not run takes no token
for my $batch ('false', 'true')
{
	$node->safe_psql($db, qq{SELECT taskq.kind_define('rated_$batch', 'short_work(jsonb)', batch => $batch, rate => 1, rate_period => '1 h'), taskq.queue_pause('other')});
	$task = submit($node, $db, "rated_$batch", '{}', q{queue => 'other'});
	$holder->query_safe("BEGIN; SELECT FROM taskq_internal.task WHERE id = '$task' FOR UPDATE");
	$node->safe_psql($db, q{SELECT taskq.queue_resume('other')});
	is(wait_task($node, $db, submit($node, $db, 'short', '{}', q{queue => 'other'})), 'completed', 'a worker has passed over a task whose row is locked');
	$holder->query_safe('COMMIT');
	is(wait_task($node, $db, $task), 'completed', "... and runs it when that is over (batch $batch)");
}

$define = q{SELECT taskq.kind_define('keyed', 'gate_work(jsonb)', max_running_per_key => %d)};
$node->safe_psql($db, sprintf($define, 1));
my @keyed = map { submit($node, $db, 'keyed', qq({"gate": "k$_"}), q{concurrency_key => 'k'}) } 1 .. 2;
ok($node->poll_query_until($db, "SELECT state = 'running' FROM taskq.task WHERE id = '$keyed[0]'"), 'one of a key runs');
open_gate($node, $db, 'k2');
$node->safe_psql($db, 'BEGIN; ' . sprintf($define, 2) . q{; PREPARE TRANSACTION 'define'});
$node->safe_psql($db, "COMMIT PREPARED 'define'");
is(wait_task($node, $db, $keyed[1]), 'completed', '... until two may');
open_gate($node, $db, 'k1');

# --- somebody has the leaves for himself when a task has ended that another one waits for

my $first = submit($node, $db, 'gate', '{"gate": "b"}');
my $second = submit($node, $db, 'short', '{}', "depends_on => '{$first}'");
ok($node->poll_query_until($db, "SELECT state = 'running' FROM taskq.task WHERE id = '$first'"), 'a task is waited for');
my $dispatcher = sql($node, $db, q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'taskq dispatcher'});
kill 'STOP', $dispatcher;
open_gate($node, $db, 'b');
ok($node->poll_query_until($db, "SELECT state = 'c' FROM taskq_internal.task WHERE id = '$first'"), '... and ends');
$holder->query_safe('BEGIN; SELECT lock_leaves()');
kill 'CONT', $dispatcher;
# longer than the dispatcher would wait for a lock, twice; another part of it may
expect_log($node, qr/^taskq dispatcher\|55P03 ERROR:  canceling statement due to lock timeout/, [ 0, undef ]);
$holder->query_safe('SELECT pg_sleep(2.5); COMMIT');
is(wait_task($node, $db, $second), 'completed', '... and the other one runs as soon as the leaves are free');

$holder->quit;
$claimer->quit;

done_testing();
