# What a task waits for, or has waited for, is kept until it is over, however long ago that
# ended; then it goes, and nothing is left of who waited for whom.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use TaskqTest;
use TurnedClock;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = start_turned(
	sub { taskq_node('needed', 'taskq.max_workers' => 2, 'taskq.retention' => '24h', 'taskq.worker_idle_timeout' => '60s') });
my $db = 'postgres';

sub turn
{
	my ($hours) = @_;
	set_clock($hours * 3600);
	$node->reload;
	return;
}

sub poll
{
	my ($query, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return ok($node->poll_query_until($db, $query), $name);
}

$node->safe_psql($db, q{
	CREATE FUNCTION take_work(p jsonb) RETURNS jsonb LANGUAGE sql AS $$
		SELECT jsonb_agg(d->'result'->'n' ORDER BY d->'result'->'n') FROM taskq.current_task() t, jsonb_array_elements(t.dependencies) d $$;
	SELECT taskq.kind_define('take', 'take_work(jsonb)');
	SELECT taskq.queue_define('held'), taskq.queue_pause('held')});

my $needed = submit($node, $db, 'short', '{"n": 1}');
is(wait_task($node, $db, $needed), 'completed', 'a task ends');
my $other = submit($node, $db, 'short', '{"n": 0}');
is(wait_task($node, $db, $other), 'completed', '... and another one');
my $held = submit($node, $db, 'short', '{"n": 2}', "queue => 'held'");
my $waits = submit($node, $db, 'take', '{}', "depends_on => '{$needed,$held}'");
my $ready = submit($node, $db, 'take', '{}', "depends_on => '{$needed}', queue => 'held'");
my $broken = submit($node, $db, 'fail', '{}');
my $retried = submit($node, $db, 'take', '{}', "depends_on => '{$broken}', on_dependency_failure => 'block', queue => 'held'");
is(wait_task($node, $db, $broken), 'failed', 'one fails');
$node->safe_psql($db, q{CREATE OR REPLACE FUNCTION fail_work(p jsonb) RETURNS jsonb LANGUAGE sql AS $$ SELECT '{"n": 3}'::jsonb $$});
is(wait_task($node, $db, $node->safe_psql($db, "SELECT taskq.task_retry('$broken')")), 'completed', '... and is retried');
wait_state($node, $db, $retried, 'pending');

my $leaf = sprintf 'taskq_internal.task_%02d', sql($node, $db, "SELECT taskq_internal.id_slot('$needed')");
turn(26);
poll("SELECT NOT EXISTS (SELECT FROM $leaf)", 'after a day their leaf is emptied');
is(sql($node, $db, "SELECT count(*) FROM taskq.task WHERE id = '$other'"), '0', '... what nobody waits for is forgotten');
task_is($node, $db, $needed, 'state', 'completed', '... what somebody waits for, or has waited for, is not');
task_is($node, $db, $waits, 'state', 'blocked', '... and he waits');
turn(60);
poll("SELECT count(*) = 5 FROM taskq_internal.task_keep WHERE state NOT IN ('c', 'f') OR id = '$needed'", 'days later too');
$node->safe_psql($db, q{SELECT taskq.queue_resume('held')});
is(wait_task($node, $db, $waits), 'completed', 'who waits runs');
task_is($node, $db, $waits, 'result', '[1, 2]', '... with the results');
is(wait_task($node, $db, $ready), 'completed', 'so does who waited for his turn');
task_is($node, $db, $ready, 'result', '[1]', '... with the result');
is(wait_task($node, $db, $retried), 'completed', 'and who waited for a retry');
task_is($node, $db, $retried, 'result', '[3]', '... with its result');

# a new leaf's turn makes the sweeper look at who waited for whom
turn(64);
is(wait_task($node, $db, submit($node, $db, 'short')), 'completed', 'one more task');
turn(100);
poll('SELECT count(*) = 0 FROM taskq_internal.task', 'when they have been over for long all are forgotten');
turn(101);
poll('SELECT count(*) = 0 FROM taskq_internal.dependency', '... and who waited for whom');
is(sql($node, $db, 'SELECT count(*) FROM taskq_internal.blocked'), '0', 'nothing is left');

done_testing();
