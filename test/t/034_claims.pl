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
is(wait_task($node, $db, $id), 'completed', 'a retry that was due before its first worker was through runs');
task_is($node, $db, $id, 'attempt', '2', '... once');

$id = hold_between_attempts('ended');
expect_terminated($node, 'worker');
$node->safe_psql($db, q{
	SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'taskq worker' AND wait_event_type = 'Lock'});
$s->query_safe('COMMIT');
is(wait_task($node, $db, $id), 'completed', '... also when that worker ends instead');
task_is($node, $db, $id, 'attempt', '2', '... once');

# --- external workers: the oldest first

$node->safe_psql(
	$db, q{
	SELECT taskq.kind_define('outside');
	CREATE TABLE old AS SELECT id FROM taskq.task_submit_many('outside', array_fill('{"age": "old"}'::jsonb, ARRAY[5])) AS id;
	-- as retention would, when their leaf is to be emptied
	CREATE TEMPORARY TABLE moved AS SELECT * FROM taskq_internal.task WHERE id IN (SELECT id FROM old);
	DELETE FROM taskq_internal.task WHERE id IN (SELECT id FROM old);
	UPDATE moved SET slot = 16;
	INSERT INTO taskq_internal.task SELECT * FROM moved;
	SELECT count(*) FROM taskq.task_submit_many('outside', array_fill('{"age": "new"}'::jsonb, ARRAY[5]))});
is( sql($node, $db, q{
		WITH c AS (SELECT row_number() OVER () AS n, * FROM taskq.task_claim('tester', n => 7))
		SELECT string_agg(payload->>'age', ' ' ORDER BY n) FROM c}),
	'old old old old old new new',
	'external workers get the oldest tasks first, also those that were moved');
is( sql($node, $db, q{SELECT count(*), min(payload->>'age') FROM taskq.task_claim('tester', n => 10)}),
	'3|new', '... then the rest');

# --- external workers: a kind that does not concern them

$node->safe_psql(
	$db, q{
	CREATE SCHEMA closed;
	CREATE FUNCTION closed.work(p jsonb) RETURNS jsonb LANGUAGE sql AS 'SELECT p';
	SELECT taskq.kind_define('closed', 'closed.work(jsonb)'), taskq.queue_define('shut'), taskq.queue_pause('shut');
	SELECT taskq.task_submit('closed', queue => 'shut');
	CREATE ROLE outsider LOGIN;
	GRANT taskq_worker TO outsider;
	SELECT taskq.kind_grant('outside', 'outsider', 'work');
	SELECT taskq.task_submit('outside')});
is( as_role($node, $db, 'outsider', q{SELECT count(*) FROM taskq.task_claim('tester', n => 10)}),
	'1', 'a waiting task whose handler is in a schema that is closed to them is in nobody\'s way');

# --- external workers: nobody's hand on what is another tenant's

$node->safe_psql(
	$db, q{
	CREATE ROLE gate LOGIN NOINHERIT;
	CREATE ROLE web NOLOGIN;
	GRANT web TO gate;
	GRANT taskq_user, taskq_worker TO web;
	SELECT taskq.kind_define('shared'), taskq.kind_grant('shared', 'web', 'work')});
configure($node, 'taskq.trusted_gateways' => 'gate');

my %tenant = map {
	my $session = $node->background_psql($db, extra_params => [ '-U', 'gate' ]);
	$session->query_safe(qq{SET ROLE web; SELECT set_config('request.jwt.claims', '{"sub": "$_"}', false)});
	($_ => $session)
} qw(alice bob);
$tenant{bob}->query_safe(q{SELECT count(*) FROM taskq.task_submit_many('shared', array_fill('{}'::jsonb, ARRAY[20]))});
$tenant{alice}->query_safe('BEGIN');
is($tenant{alice}->query_safe(q{SELECT count(*) FROM taskq.task_claim('a', n => 10)}),
	'0', q{a tenant's worker gets none of another tenant's tasks});
is($tenant{alice}->query_safe('SELECT pg_current_xact_id_if_assigned() IS NULL'), 't', '... and writes nothing');
is($tenant{bob}->query_safe(q{SELECT count(*) FROM taskq.task_claim('b', n => 100)}),
	'20', '... nor keeps them from the one they are for');
$tenant{alice}->query_safe('COMMIT');
$_->quit foreach values %tenant;
$s->quit;
$node->stop;

# --- more lanes than shared memory has room for: the limit of what waits holds all the same

my $small = taskq_node('few_lanes', 'taskq.max_workers' => 1, 'taskq.max_lanes' => 16, 'taskq.max_pending_per_role' => 300);
$small->safe_psql($db, q{
	CREATE ROLE app LOGIN;
	GRANT taskq_user TO app;
	SELECT taskq.queue_define('held'), taskq.queue_pause('held')});

# Ten tasks for each of 60 priorities, each in a transaction of its own; how many there are then.
sub submit_to_many_lanes
{
	my ($more) = @_;
	$small->psql($db,
		join('', map { "SELECT count(*) FROM taskq.task_submit_many('short', array_fill('{}'::jsonb, ARRAY[10]), priority => $_, $more);\n" } 1 .. 60),
		extra_params => [ '-U', 'app' ], on_error_stop => 0);
	return sql($small, $db, q{SELECT count(*) FROM taskq.task WHERE NOT ready});
}

is(submit_to_many_lanes(q{queue => 'held'}), '300', 'a role with more lanes than there is room for keeps to its limit');
like(sql_error($small, $db, q{SELECT taskq.task_submit('short', queue => 'held')}, 'app'), qr/too many tasks of role/, '... and is told so');
as_role($small, $db, 'app', q{SELECT count(taskq.task_cancel(id)) FROM taskq.task WHERE NOT ready});
is(submit_to_many_lanes(q{delay => '1 day'}), '300', '... also when they wait for their time');
as_role($small, $db, 'app', q{SELECT count(taskq.task_cancel(id)) FROM taskq.task WHERE NOT ready});
$small->poll_query_until($db, q{SELECT count(*) = 0 FROM taskq.task WHERE NOT ready});
submit_to_many_lanes(q{queue => 'default'}) for 1 .. 3;
ok($small->poll_query_until($db, q{SELECT count(*) = 0 FROM taskq.task WHERE NOT ready}), 'what is run makes room');
is(submit_to_many_lanes(q{queue => 'held'}), '300', '... for as many again');
done_testing();
