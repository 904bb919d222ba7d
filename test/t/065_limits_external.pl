# Limits and external workers: a claim takes its place at once, whatever undoes it gives it
# back, the end of a lease does, and after a restart those that are still there count.  Rates,
# the limit of all, reserved places.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use TaskqTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = taskq_node(
	'limits_external',
	'max_worker_processes' => 16,
	'taskq.max_workers' => 4,
	'taskq.worker_idle_timeout' => '10s');
my $db = 'postgres';

$node->safe_psql(
	$db, q{
	SELECT taskq.queue_define('wide', max_running => 6);
	SELECT taskq.kind_define('outside', queue => 'wide', max_running => 3);
	SELECT taskq.kind_define('free', queue => 'wide');
	CREATE TABLE claimed (id uuid, token uuid);
	CREATE ROLE plain LOGIN;
	GRANT taskq_user TO plain;
});

# claims, remembers and counts
sub claim
{
	my ($kind, $n) = @_;
	return sql($node, $db, "WITH c AS (INSERT INTO claimed SELECT id, token FROM taskq.task_claim('w', kinds => '{$kind}', n => $n) RETURNING 1) SELECT count(*) FROM c");
}

# ends one of them
sub finish
{
	my ($how) = @_;
	return sql($node, $db, "WITH c AS (DELETE FROM claimed WHERE id = (SELECT min(id::text)::uuid FROM claimed) RETURNING id, token) SELECT $how FROM c");
}

sub in_transaction
{
	my ($query) = @_;
	return (split /\n/, sql($node, $db, $query))[-1];
}

my $count = q{SELECT count(*) FROM taskq.task_claim('w', kinds => '{outside}', n => 10)};

submit($node, $db, 'outside') foreach 1 .. 9;

# --- places are taken at once, and come back

is(in_transaction("BEGIN; $count; ROLLBACK"), '3', 'a claim gets as many as may run');
is(in_transaction("BEGIN; $count; ROLLBACK"), '3', '... and gives them back when it is rolled back');
is(in_transaction("BEGIN; SAVEPOINT a; $count; ROLLBACK TO a; $count; COMMIT"), '3', '... also to a savepoint');
is(claim('outside', 1), '0', 'then there is no room');

# those that were claimed without being remembered
sub adopt { return $node->safe_psql($db, q{TRUNCATE claimed; INSERT INTO claimed SELECT task, token FROM taskq_internal.lease}); }
adopt();
finish('taskq.task_complete(id, token)');
is(claim('outside', 5), '1', 'one is completed, and one more may be claimed');
finish(q{taskq.task_fail(id, token, 'no', retry => false)});
is(claim('outside', 5), '1', '... one fails');
finish('taskq.task_release(id, token)');
is(claim('outside', 5), '1', '... one is given back');
is(in_transaction(q{BEGIN; SELECT taskq.task_complete(id, token) FROM claimed LIMIT 1; } . $count . '; ROLLBACK'), '0', 'its end is one when it is committed');
is(in_transaction(q{BEGIN; SAVEPOINT a; SELECT taskq.task_complete(id, token) FROM claimed LIMIT 1; ROLLBACK TO a; COMMIT; } . $count), '0', '... and none when it is rolled back to a savepoint');
sql($node, $db, q{SELECT count(*) FROM claimed c, taskq.task_cancel(c.id, force => true) WHERE c.id = (SELECT min(id::text)::uuid FROM claimed)});
adopt();
is(claim('outside', 5), '1', 'a forced cancel ends one');

# another session's claim that is not committed
my $other = $node->background_psql($db, on_error_stop => 1);
finish('taskq.task_complete(id, token)');
$other->query_safe("BEGIN; $count");
is(claim('outside', 1), '0', 'a claim under way has its place');
$other->query_safe('ROLLBACK');
is(claim('outside', 1), '1', '... until it is undone');
finish('taskq.task_complete(id, token)');
$other->query_safe("BEGIN; $count");
my $waiting = $node->background_psql($db, on_error_stop => 1);
$waiting->query_until(qr/waits/, qq{\\echo waits\nSELECT count(*) || ' claimed' FROM taskq.task_claim('w', kinds => '{outside}', wait => '30 s');\n});
ok($node->poll_query_until($db, q{SELECT count(*) = 1 FROM pg_stat_activity WHERE query LIKE '%30 s%' AND wait_event_type <> 'Client' AND pid <> pg_backend_pid()}), 'somebody waits for a task');
$other->query_safe('ROLLBACK');
like($waiting->query('SELECT 1'), qr/1 claimed/, '... and gets it when the place is free');
$waiting->quit;
$other->quit;

# --- a queue's limit is for all of its kinds

submit($node, $db, 'free') foreach 1 .. 9;
adopt();
is(claim('free', 9), '3', 'a queue has its own limit, of all its kinds together');
is(claim('outside', 9) . claim('free', 9), '00', '... which is full');

# a claim that finds fewer than may run, among many, and is undone, gives back no more than it has
$node->safe_psql($db, q{
	SELECT taskq.kind_define('many', max_running => 40);
	SELECT taskq.task_submit('many') FROM generate_series(1, 25);
});
my $many = q{SELECT count(*) FROM taskq.task_claim('w', kinds => '{many}', n => 100)};
is(sql($node, $db, q{SELECT count(*) FROM taskq.task_claim('w', kinds => '{many}', n => 5)}), '5', 'some are claimed');
is(in_transaction("BEGIN; $many; ROLLBACK"), '20', '... and the others, but not for long');
$node->safe_psql($db, q{SELECT taskq.task_submit('many') FROM generate_series(1, 50)});
is(sql($node, $db, $many), '35', '... then as many as there is room for');
$node->safe_psql($db, q{SELECT count(*) FROM taskq_internal.lease l, taskq.task t, taskq.task_cancel(t.id, force => true) WHERE t.id = l.task AND t.kind = 'many'});

# --- two-phase commit

like(sql_error($node, $db, q{BEGIN; SELECT taskq.task_complete(id, token) FROM claimed LIMIT 1; PREPARE TRANSACTION 'ends'}),
	qr/0A000.*HINT/s, 'what ends a claim cannot be prepared');
finish('taskq.task_complete(id, token)');
like(sql_error($node, $db, q{BEGIN; SELECT count(*) FROM taskq.task_claim('w', kinds => '{free,outside}'); PREPARE TRANSACTION 'claims'}),
	qr/0A000.*HINT/s, '... nor what claims');
is(sql($node, $db, 'SELECT count(*) FROM taskq_internal.lease'), '5', '... and nothing has come of it');

# --- the server restarts, in order or not

foreach my $mode ('fast', 'immediate')
{
	$node->stop($mode);
	$node->start;
	# it waits until the dispatcher has found what there is
	is(sql($node, $db, q{SELECT count(*) FROM taskq.task_claim('w', kinds => '{free,outside}', n => 50, wait => '30 s')}), '1', "leases count after a restart ($mode)");
	is(sql($node, $db, q{SELECT count(*) FROM taskq.task_claim('w', kinds => '{free,outside}', n => 50)}), '0', '... each once');
	adopt();
	finish('taskq.task_complete(id, token)');
}
# a worker of the server is limited by them too
$node->stop('fast');
$node->start;
$node->safe_psql($db, q{SELECT taskq.kind_define('inside', 'gate_work(jsonb)', queue => 'wide')});
my @inside = map { submit($node, $db, 'inside', '{"gate": "in"}') } 1 .. 2;
ok($node->poll_query_until($db, q{SELECT count(*) = 1 FROM taskq.task WHERE kind = 'inside' AND state = 'running'}), 'workers of the server take what leases leave');
wait_task($node, $db, submit($node, $db, 'short'));
is(sql($node, $db, q{SELECT count(*) FROM taskq.task WHERE kind = 'inside' AND state = 'running'}), '1', '... and no more');
is(claim('free', 1), '0', '... and leases what workers leave');
adopt();
finish('taskq.task_complete(id, token)');
ok($node->poll_query_until($db, q{SELECT count(*) = 2 FROM taskq.task WHERE kind = 'inside' AND state = 'running'}), 'the end of a lease lets one of theirs begin');
open_gate($node, $db, 'in');
is(wait_task($node, $db, $_), 'completed', 'they end') foreach @inside;

# a lease that runs out
$node->safe_psql($db, q{SELECT taskq.kind_define('brief', max_running => 1)});
submit($node, $db, 'brief') foreach 1 .. 2;
is(sql($node, $db, q{SELECT count(*) FROM taskq.task_claim('w', kinds => '{brief}', lease => '1 s')}), '1', 'one is claimed, and nobody comes back for it');
is(sql($node, $db, q{SELECT count(*) FROM taskq.task_claim('w', kinds => '{brief}', wait => '20 s')}), '1', '... then its place is had by another');

# --- all of a database

$node->safe_psql($db, q{SELECT taskq.queue_define('wide'); SELECT taskq.kind_define('outside', queue => 'wide'); SELECT count(*) FROM taskq_internal.lease l, taskq.task_cancel(l.task, force => true)});
submit($node, $db, 'free') foreach 1 .. 9;
configure($node, 'taskq.max_running' => 3);
my $gated = submit($node, $db, 'gate', '{"gate": "all"}');
wait_state($node, $db, $gated, 'running');
ok($node->poll_query_until($db, q{SELECT count(*) = 2 FROM taskq.task_claim('w', kinds => '{free}', n => 50)}), 'taskq.max_running is for all, in workers and outside');
my $held = submit($node, $db, 'short');
is(claim('free', 1), '0', '... and it is full');
is(wait_task($node, $db, $held, '0 s'), 'pending', '... for both');
configure($node, 'taskq.max_running' => undef);
is(wait_task($node, $db, $held), 'completed', 'without it everything runs');
open_gate($node, $db, 'all');
is(wait_task($node, $db, $gated), 'completed', '...');

# --- a timeout for all

configure($node, 'taskq.default_timeout' => '300 ms');
ok($node->poll_query_until($db, q{SELECT current_setting('taskq.default_timeout') = '300ms'}), 'a default timeout');
my $late = $node->safe_psql($db, q{SELECT taskq.kind_define('late', 'gate_work(jsonb)', max_attempts => 1); SELECT taskq.task_submit('late', '{"gate": "never"}')});
$late = (split /\n/, $late)[-1];
is(wait_task($node, $db, $late), 'failed', 'a task that has no timeout of its own runs no longer');
like(sql($node, $db, "SELECT error->>'message' FROM taskq.task_status('$late')"), qr/timeout/, '... and says so');
my $patient = submit($node, $db, 'late', '{"gate": "patient"}', q{timeout => '30 s'});
wait_state($node, $db, $patient, 'running');
is((split /\n/, sql($node, $db, q{SELECT pg_sleep(0.5); SELECT 'over'}))[-1], 'over', 'longer than that');
open_gate($node, $db, 'patient');
is(wait_task($node, $db, $patient), 'completed', 'one that has its own runs as long as that says');
is(sql($node, $db, q{SELECT timeout = '300 ms' FROM taskq.task_claim('w', kinds => '{free}')}), 't', 'external workers are told');
configure($node, 'taskq.default_timeout' => undef);

# --- rates: a bucket

$node->safe_psql(
	$db, q{
	SELECT taskq.kind_define('dripping', 'short_work(jsonb)', rate => 5, rate_period => '1 h');
	SELECT taskq.task_submit_many('dripping', array_fill('{}'::jsonb, ARRAY[20]));
});
my $done = q{SELECT count(*) FROM taskq.task WHERE kind = 'dripping' AND state = 'completed'};
ok($node->poll_query_until($db, "SELECT ($done) = 5"), 'as many are started as the rate says');
wait_task($node, $db, submit($node, $db, 'short')) foreach 1 .. 2;
is(sql($node, $db, $done), '5', '... and no more');
$node->safe_psql($db, q{SELECT taskq.kind_define('dripping', 'short_work(jsonb)', rate => 100, rate_period => '1 s')});
ok($node->poll_query_until($db, "SELECT ($done) = 20"), 'a higher rate holds at once, and tokens come by themselves');

# what is given back gives its token back: an undone claim, a claim that finds less
$node->safe_psql($db, q{
	SELECT taskq.kind_define('tapped', rate => 4, rate_period => '1 h');
	SELECT taskq.task_submit_many('tapped', array_fill('{}'::jsonb, ARRAY[3]));
});
my $tap = q{SELECT count(*) FROM taskq.task_claim('w', kinds => '{tapped}', n => 10)};
is(in_transaction("BEGIN; $tap; ROLLBACK; $tap"), '3', 'a claim that is undone returns its tokens');
$node->safe_psql($db, q{SELECT taskq.task_submit_many('tapped', array_fill('{}'::jsonb, ARRAY[3]))});
is(sql($node, $db, $tap), '1', '... as does one that finds fewer tasks');
is(sql($node, $db, $tap), '0', 'then there is none');

# --- reserved places

$node->safe_psql($db, q{
	SELECT taskq.queue_define('urgent', reserved => 2);
	SELECT taskq.kind_define('common', 'gate_work(jsonb)');
});
my @common = map { submit($node, $db, 'common', '{"gate": "common"}') } 1 .. 6;
my $run = q{SELECT count(*) FROM taskq.task WHERE kind = 'common' AND state = 'running'};
ok($node->poll_query_until($db, "SELECT ($run) = 2"), 'others leave the reserved places');
my @urgent = map { submit($node, $db, 'common', '{"gate": "urgent"}', "queue => 'urgent'") } 1 .. 3;
ok($node->poll_query_until($db, "SELECT ($run) = 4"), '... to tasks of the queue');
is(sql($node, $db, q{SELECT count(*) FROM taskq.task WHERE queue = 'urgent' AND state = 'running'}), '2', '... which has them');
open_gate($node, $db, 'urgent');
is(wait_task($node, $db, $_), 'completed', 'and all of them run') foreach @urgent;
is(sql($node, $db, $run), '2', 'its places stay free');
$node->stop('fast');
$node->start;
ok($node->poll_query_until($db, "SELECT ($run) = 2"), '... after a restart too');
wait_task($node, $db, submit($node, $db, 'short', '{}', "queue => 'urgent'"));
is(sql($node, $db, $run), '2', '... and no more');
$node->safe_psql($db, q{SELECT taskq.queue_define('urgent')});
ok($node->poll_query_until($db, "SELECT ($run) = 4"), 'until nothing is reserved any more');
open_gate($node, $db, 'common');
is(wait_task($node, $db, $_), 'completed', 'all are run') foreach @common;

done_testing();
