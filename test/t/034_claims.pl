# Who claims which task: one that was left out because somebody else held it,
# and what external workers get, in which order, and what they leave alone.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use TaskqTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = taskq_node('claims', 'taskq.max_workers' => 2, 'taskq.worker_idle_timeout' => '60s');
my $db = 'postgres';
my $s = $node->background_psql($db);

# --- an attempt that failed and is due again before its worker is through with it

# The first attempt leaves a temporary table, so that its worker can be held between
# the commit of the failure and the end of the reservation: it waits to drop the table.
$node->safe_psql(
	$db, q{
	CREATE PROCEDURE wait_for(name text) LANGUAGE plpgsql AS $$
	BEGIN
		PERFORM taskq.progress(1, 2, 'at the gate');
		WHILE NOT EXISTS (SELECT FROM gate g WHERE g.name = wait_for.name) LOOP
			PERFORM pg_sleep(0.01);
			COMMIT;
		END LOOP;
	END $$;
	CREATE PROCEDURE twice() LANGUAGE plpgsql AS $$
	BEGIN
		IF (SELECT attempt FROM taskq.current_task()) = 1 THEN
			PERFORM taskq.retry('0 s');
		END IF;
	END $$});

sub hold_between_attempts
{
	my ($gate) = @_;
	my $id = $node->safe_psql($db, "SELECT taskq.task_submit_sql(
		'CREATE TEMPORARY TABLE leftover_$gate (); CALL wait_for(''$gate''); CALL twice()', max_attempts => 5)");
	ok( $node->poll_query_until($db, "SELECT message = 'at the gate' FROM taskq.task_status('$id')"),
		'a command is at its first attempt');
	my $table = $node->safe_psql($db,
		"SELECT nspname || '.' || relname FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace WHERE relname = 'leftover_$gate'");
	$s->query_safe("BEGIN; LOCK TABLE $table IN ACCESS SHARE MODE");
	open_gate($node, $db, $gate);
	ok( $node->poll_query_until($db,
			"SELECT state = 'p' AND attempt = 1 FROM taskq_internal.task WHERE id = '$id'"),
		'... which fails, and it is due at once');
	my $marker = $node->safe_psql($db, "SELECT taskq.task_submit_sql('SELECT 1')");
	is(wait_task($node, $db, $marker), 'completed', '... another worker looks, and finds it reserved');
	return $id;
}

my $id = hold_between_attempts('held');
$s->query_safe('COMMIT');
is(wait_task($node, $db, $id, '20 s'), 'completed', 'a retry that was due before its first worker was through runs');
task_is($node, $db, $id, 'attempt', '2', '... once');

$id = hold_between_attempts('ended');
$node->safe_psql($db, q{
	SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'taskq worker' AND wait_event_type = 'Lock'});
$s->query_safe('COMMIT');
is(wait_task($node, $db, $id, '20 s'), 'completed', '... also when that worker ends instead');
task_is($node, $db, $id, 'attempt', '2', '... once');

$s->quit;
done_testing();
