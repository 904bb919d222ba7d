# Workers start as what waits asks for: many at once for many tasks that last,
# none too many for a few short ones.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use TaskqTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = taskq_node(
	'many_workers',
	'max_worker_processes' => 64,
	'max_connections' => 60,
	'taskq.max_workers' => 32,
	'taskq.worker_idle_timeout' => '1h');
my $db = 'postgres';
my $busy = q{SELECT count(*) FROM taskq.worker WHERE state = 'busy'};

# --- three short tasks do not start three processes

my @ids = split /\n/, sql($node, $db, q{SELECT taskq.task_submit_many('short', array_fill('{}'::jsonb, ARRAY[3]))});
is(wait_task($node, $db, $_), 'completed', 'a short task') foreach @ids;
cmp_ok(processes($node, 'worker'), '<', 3, 'three short tasks do not start three processes');
# now it is known that they are short
sql($node, $db, q{SELECT count(*) FROM taskq.task_submit_many('short', array_fill('{}'::jsonb, ARRAY[20]))}) foreach 1 .. 5;
ok($node->poll_query_until($db, 'SELECT count(*) = 103 FROM taskq.task WHERE ready'), 'a hundred more');
cmp_ok(processes($node, 'worker'), '<', 16, '... need not all that there are either');

# --- as many are started at once as are at work

sql($node, $db, q{SELECT count(*) FROM taskq.worker w, taskq.worker_stop(w.name)});
ok($node->poll_query_until($db, 'SELECT count(*) = 0 FROM taskq.worker'), 'all leave');
submit($node, $db, 'gate', '{"gate": "all"}') foreach 1 .. 4;
ok($node->poll_query_until($db, "SELECT ($busy) = 4"), 'four tasks that last have four workers');

# nobody can connect while somebody has this lock, so those who start are seen starting
my ($holder, $submitter) = map { $node->background_psql($db) } 1 .. 2;
$holder->query_safe(q{CREATE FUNCTION starting() RETURNS int LANGUAGE plpgsql AS $$
	BEGIN
		FOR i IN 1 .. 3000 LOOP
			EXIT WHEN (SELECT count(*) FROM taskq.worker WHERE state = 'starting') >= 4;
			PERFORM pg_sleep(0.01);
		END LOOP;
		RETURN (SELECT count(*) FROM taskq.worker WHERE state = 'starting');
	END $$});
$submitter->query_safe('SELECT 1 FROM taskq.task LIMIT 1');
$holder->query_safe('BEGIN; LOCK TABLE pg_db_role_setting IN ACCESS EXCLUSIVE MODE');
$submitter->query_safe(q{SELECT taskq.task_submit('gate', '{"gate": "all"}') FROM generate_series(1, 6)});
is($holder->query_safe('SELECT starting()'), '4', 'for more of them four are started at once');
$holder->query_safe('COMMIT');
$_->quit foreach $holder, $submitter;

# --- all of them, and no more than tasks

ok($node->poll_query_until($db, "SELECT ($busy) = 10"), 'ten have ten');
is(processes($node, 'worker'), 10, '... and no more');
sql($node, $db, q{SELECT count(*) FROM taskq.task_submit_many('gate', array_fill('{"gate": "all"}'::jsonb, ARRAY[40]))});
ok($node->poll_query_until($db, "SELECT ($busy) = 32"), 'fifty have all that there are');

# --- what waits for them disturbs nobody

my ($dispatcher) = backend_pids($node, 'dispatcher', $db);
ok(sleep_on(1.5, [$dispatcher], 10), 'the dispatcher does not look again and again');
open_gate($node, $db, 'all');
ok($node->poll_query_until($db, 'SELECT count(*) = 0 FROM taskq.task WHERE NOT ready'), 'all complete');

# --- one worker, and roles that never run out of work

configure($node, 'taskq.max_workers' => 1, 'taskq.max_depth' => 0);
$node->safe_psql($db, 'CREATE ROLE role' . $_ . ' LOGIN; GRANT taskq_user TO role' . $_) foreach 1 .. 3;
taskq_database($node, 'other');
foreach my $where ($db, 'other')
{
	# submits the next one of its sort
	$node->safe_psql($where, q{
		CREATE FUNCTION stream_work(p jsonb) RETURNS void LANGUAGE plpgsql AS $$
		BEGIN
			INSERT INTO effect (note) VALUES ('stream');
			PERFORM pg_sleep(0.01);
			IF NOT EXISTS (SELECT FROM gate WHERE name = 'end') THEN
				PERFORM taskq.task_submit('stream');
			END IF;
		END $$;
		SELECT taskq.kind_define('stream', 'stream_work(jsonb)')});
}
my @streams = ([ $db, 'role1' ], [ $db, 'role2' ], [ $db, 'role3' ], [ 'other', 'role1' ]);
as_role($node, @$_, q{SELECT taskq.task_submit('stream')}) foreach @streams;
foreach my $stream (@streams)
{
	my ($where, $role) = @$stream;
	ok($node->poll_query_until($where, "SELECT count(DISTINCT pid) >= 2 FROM effect WHERE note = 'stream' AND who = '$role'"),
		"$role in $where has its turn again and again");
}
open_gate($node, $_, 'end') foreach $db, 'other';
ok($node->poll_query_until($_, 'SELECT count(*) = 0 FROM taskq.task WHERE NOT ready'), "all complete in $_") foreach $db, 'other';

$node->stop;
done_testing();
