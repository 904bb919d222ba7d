# Tasks that become due run in order of their time, among those that were
# submitted at once; and firing timers does not get slower.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use TaskqTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = taskq_node('due_order', 'taskq.max_workers' => 1, 'taskq.worker_idle_timeout' => '1h');
my $db = 'postgres';

$node->safe_psql(
	$db, q{
	CREATE TABLE ran (n bigserial, at timestamptz);
	CREATE FUNCTION note_work(p jsonb) RETURNS void LANGUAGE sql AS $$ INSERT INTO ran (at) VALUES ((p->>'at')::timestamptz) $$;
	SELECT taskq.kind_define('note', 'note_work(jsonb)');
	SELECT taskq.queue_pause('default');
});

sub out_of_order
{
	return $node->safe_psql($db,
		'SELECT count(*) FROM (SELECT at < lag(at) OVER (ORDER BY n) AS late FROM ran) r WHERE late');
}

sub all_ran
{
	my ($n) = @_;
	return $node->poll_query_until($db, "SELECT count(*) = $n FROM ran");
}

# --- all of them are due when the queue is opened

$node->safe_psql($db, q{
	SELECT count(taskq.task_submit('note', jsonb_build_object('at', at), run_at => at))
	FROM (SELECT clock_timestamp() + random() * interval '2 s' AS at FROM generate_series(1, 2000)) t});
ok($node->poll_query_until($db, q{SELECT count(*) = 2000 FROM taskq.task WHERE state = 'pending'}), 'many become due');
$node->safe_psql($db, "SELECT taskq.queue_resume('default')");
ok(all_ran(2000), 'they run');
is(out_of_order(), '0', '... in order of their times, whatever the order of their ids');

# --- among tasks that were submitted without a time

$node->safe_psql($db, "TRUNCATE ran; SELECT taskq.queue_pause('default')");
my $sql = '';
for my $n (1 .. 20)
{
	$sql .= "SELECT taskq.task_submit('note', jsonb_build_object('at', clock_timestamp()));\n";
	$sql .= "SELECT taskq.task_submit('note', jsonb_build_object('at', at), run_at => at)
		FROM (SELECT clock_timestamp() - interval '1 us' AS at) t;\n";
}
$node->safe_psql($db, $sql);
$node->safe_psql($db, "SELECT taskq.queue_resume('default')");
ok(all_ran(40), 'due ones and plain ones run');
is(out_of_order(), '0', '... in order of when they could first run');

# --- an old snapshot keeps all that was fired; it is not walked through again

my $session = $node->background_psql($db, on_error_stop => 1);
$session->query('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1;');
sub fire
{
	my ($n) = @_;
	$node->safe_psql($db,
		"SELECT count(*) FROM taskq.task_submit_many('note', array_fill('{}'::jsonb, ARRAY[$n]), delay => '50 ms')");
	return $node->poll_query_until($db, q{SELECT count(*) = 0 FROM taskq.task WHERE NOT ready});
}

sub entries_read
{
	return $node->safe_psql($db,
		q{SELECT sum(idx_tup_read) FROM pg_stat_user_indexes WHERE indexrelname IN ('timer_pkey', 'ready_pkey')});
}

# what a worker read it tells when it leaves
sub worker_leaves
{
	my ($pid) = backend_pids($node, 'worker');
	$node->safe_psql($db, 'SELECT taskq.worker_restart()');
	return $node->poll_query_until($db, "SELECT count(*) = 0 FROM pg_stat_activity WHERE pid = $pid");
}

ok(fire(3000), 'timers fire while an old snapshot is held');
worker_leaves();
my $before = entries_read();
ok(fire(1), 'one more') foreach 1 .. 20;
worker_leaves();
# a dispatcher that begins anew looks through all of them once
cmp_ok(entries_read() - $before, '<', 20_000, '... without a look at those that fired before for each');
$session->query('COMMIT');
$session->quit;

# --- one bad row

my $bad = submit($node, $db, 'note', '{}', "delay => '1 day'");
# its place is taken: an error in the midst of the others
expect_log($node, qr/duplicate key value violates unique constraint "ready_pkey"/, 2);
$node->safe_psql($db, qq{
	WITH t AS (UPDATE taskq_internal.task SET run_at = clock_timestamp() + interval '2 s' WHERE id = '$bad' RETURNING lane, id, run_at),
		 m AS (UPDATE taskq_internal.timer SET due = t.run_at FROM t WHERE timer.id = t.id)
	INSERT INTO taskq_internal.ready SELECT lane, run_at, id FROM t});
# due at the same moment: each pass in which something else is due tries it again
my $first = $node->safe_psql($db, qq{
	SELECT array_agg(n.id) FROM taskq_internal.task t,
		taskq.task_submit_many('note', array_fill('{}'::jsonb, ARRAY[50]), run_at => t.run_at) n(id) WHERE t.id = '$bad'});
is(sql($node, $db, "SELECT count(*) FROM taskq.task_wait_all('$first', '50 s') WHERE state = 'completed'"),
	'50', 'a timer that cannot be fired holds up none of the others');
ok($node->wait_for_log(qr/leaves the timer of task $bad alone/), '... and the log says so');

$node->stop;
done_testing();
