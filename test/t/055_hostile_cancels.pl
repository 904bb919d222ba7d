# One role's cancels, however many are open at a time, leave room for those of others.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use TaskqTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = taskq_node('hostile_cancels', 'taskq.max_workers' => 24, 'taskq.worker_idle_timeout' => '60s');
my $db = 'postgres';

$node->safe_psql(
	$db, q{
	CREATE ROLE crowd LOGIN;
	CREATE ROLE calm LOGIN;
	CREATE ROLE op LOGIN;
	GRANT taskq_user TO crowd, calm;
	GRANT taskq_operator TO op;
	CREATE FUNCTION crowd_work(p jsonb) RETURNS void LANGUAGE plpgsql AS $$
	BEGIN
		IF p ? 'gate' THEN
			PERFORM gate_work(p);
		END IF;
	END $$;
	SELECT taskq.kind_define('crowd', 'crowd_work(jsonb)', batch => true);
});

# Tasks that are done in one transaction, which does not end as long as the last of them waits:
# some hundred in each of several workers, or fewer where the machine is busy.
my $held = q{kind = 'crowd' AND state = 'running' AND NOT payload ? 'gate'};
my @waiting;
while (@waiting < 20 && sql($node, $db, "SELECT count(*) FROM taskq.task WHERE $held") <= 300)
{
	my $gate = 'crowd ' . @waiting;
	sql($node, $db, q{SELECT count(*) FROM taskq.task_submit_many('crowd', array_fill('{}'::jsonb, ARRAY[2000]))}, 'crowd');
	sql($node, $db, qq{SELECT count(*) FROM taskq.task_submit_many('crowd', array_fill('{}'::jsonb, ARRAY[330])
		|| jsonb_build_object('gate', '$gate'))}, 'crowd');
	my $last = sql($node, $db, "SELECT id FROM taskq.task WHERE kind = 'crowd' AND payload->>'gate' = '$gate'");
	wait_state($node, $db, $last, 'running');
	$node->poll_query_until($db, "SELECT message = 'at the gate' FROM taskq.task_status('$last')");
	push @waiting, $last;
}
cmp_ok(sql($node, $db, "SELECT count(*) FROM taskq.task WHERE $held"), '>', 300, 'many tasks of one role are done, and not committed');

my $id = sql($node, $db, q{SELECT taskq.task_submit('gate', '{"gate": "calm"}')}, 'calm');
wait_state($node, $db, $id, 'running');
is(sql($node, $db, qq{
	SELECT bool_and(c.cancelled) FROM (SELECT id FROM taskq.task WHERE $held) t,
		taskq.task_cancel(t.id) c}, 'crowd'), 't', 'it cancels all of them, and they are not at their end');
like(sql_error($node, $db, "SELECT taskq.task_cancel('$waiting[0]')", 'crowd'), qr/PT503/, 'for its next one there is no room now');

is(sql_error($node, $db, "SELECT taskq.task_cancel('$id')", 'calm'), '', 'another role cancels what it runs');
is(wait_task($node, $db, $id), 'cancelled', '... which ends');
is(sql_error($node, $db, "SELECT taskq.task_cancel('$_')", 'op'), '', 'an operator cancels what is in the way') foreach @waiting;
is(wait_task($node, $db, $_), 'cancelled', '... which ends') foreach @waiting;
ok($node->poll_query_until($db, "SELECT NOT EXISTS (SELECT FROM taskq.task WHERE kind = 'crowd' AND NOT ready)"), '... and all that was cancelled');
is(sql($node, $db, "SELECT count(*) > 300 FROM taskq.task WHERE kind = 'crowd' AND state = 'cancelled'"), 't', '... is cancelled');

$node->stop;
done_testing();
