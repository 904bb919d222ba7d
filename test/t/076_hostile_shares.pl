# Shared memory has room for so many kinds that are limited or claimed, and for so many
# concurrency keys that external workers have: no role takes all of it, and the others' tasks
# go on.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use TaskqTest;
use Test::More;

my $node = taskq_node(
	'hostile_shares',
	'max_worker_processes' => 16,
	'taskq.max_workers' => 4,
	'taskq.max_lanes' => 32);    # room for twice as many kinds and queues
my $db = 'postgres';
taskq_database($node, 'other');
$node->safe_psql($db, q{
	CREATE ROLE evil LOGIN;
	CREATE ROLE good LOGIN;
	GRANT taskq_user, taskq_developer, taskq_worker TO evil, good;
});

# --- kinds whose rate lets the next task start in years

sql($node, $db, q{
	SELECT taskq.kind_define('rated' || i, 'short_work(jsonb)', rate => 1, rate_period => '365 days') FROM generate_series(1, 15) i;
	SELECT taskq.task_submit('rated' || i) FROM generate_series(1, 15) i}, 'evil');
ok($node->poll_query_until($db, "SELECT count(*) >= 10 FROM effect"), 'a role has many kinds with a low rate');

# --- and as many that are claimed for long

for my $from (1, 11, 21, 31, 41)
{
	my $ten = "generate_series($from, $from + 9) i";
	sql($node, $db, qq{
		SELECT taskq.kind_define('leased' || i), taskq.kind_grant('leased' || i, 'good', 'work') FROM $ten;
		SELECT taskq.task_submit('leased' || i) FROM $ten;
		SELECT taskq.task_claim('w', n => 10, lease => '30 days')}, 'evil');
}

for my $where ($db, 'other')
{
	sql($node, $where, q{
		SELECT taskq.kind_define('quick', 'short_work(jsonb)', rate => 100);
		SELECT taskq.kind_define('outside');
		SELECT taskq.task_submit('outside')}, 'good');
	is(sql($node, $where, "SELECT kind FROM taskq.task_claim('w')", 'good'), 'outside', "another role claims its own, in database $where");
	my $id = sql($node, $where, "SELECT taskq.task_submit('quick')", 'good');
	ok($node->poll_query_until($where, "SELECT state = 'completed' FROM taskq.task_status('$id')"), '... and has kinds with a rate');
}

# --- keys

sql($node, $db, q{
	SELECT count(taskq.task_submit('leased1', concurrency_key => 'k' || i)) FROM generate_series(1, 25000) i}, 'evil');
sql($node, $db, "SELECT count(*) FROM taskq.task_claim('w', kinds => '{leased1}', n => 1000, lease => '30 days')", 'evil') for 1 .. 25;
cmp_ok(sql($node, $db, "SELECT count(*) FROM taskq.task WHERE kind = 'leased1' AND state = 'running'"), '>', 1000, 'a role has tasks of many keys');
for my $where ($db, 'other')
{
	sql($node, $where, "SELECT taskq.task_submit('outside', concurrency_key => 'mine')", 'good');
	is(sql($node, $where, "SELECT kind FROM taskq.task_claim('w', kinds => '{outside}')", 'good'), 'outside', "another role claims one with a key, in database $where");
}

$node->stop;
done_testing();
