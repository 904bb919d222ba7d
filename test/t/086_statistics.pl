# What is counted is written, once, by whoever is there, and nothing of it is lost but by a crash.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use TaskqTest;
use TurnedClock;
use IPC::Run;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = start_turned(sub { taskq_node('statistics', 'taskq.max_workers' => 2, 'taskq.max_lanes' => 8192, 'taskq.worker_idle_timeout' => '200ms') });
my $db = 'postgres';

sub counted
{
	my ($grain) = @_;
	my $since = $grain =~ /[ad]/ ? 'NULL' : "now() - interval '2 days'";
	return sql($node, $db, "SELECT coalesce(sum(n), 0) FROM taskq_internal.counted($since, NULL, '$grain', 'l')");
}

sub written
{
	return sql($node, $db, "SELECT string_agg(format('%s %s', span, n), ', ' ORDER BY span)
		FROM (SELECT span, sum(n) AS n FROM taskq_internal.rollup WHERE type = 'l' GROUP BY span) s");
}

sql($node, $db, "CREATE FUNCTION work(p jsonb) RETURNS jsonb LANGUAGE plpgsql AS 'BEGIN RETURN p; END'");
sql($node, $db, "SELECT taskq.kind_define('work', 'work(jsonb)')");

sub run_tasks
{
	my ($n) = @_;
	sql($node, $db, "CREATE TEMP TABLE s AS SELECT id FROM taskq.task_submit_many('work', array_fill('{}'::jsonb, ARRAY[$n])) id;
		SELECT count(*) FROM taskq.task_wait_all((SELECT array_agg(id) FROM s), '60 s')");
	return;
}

sub wait_alone
{
	$node->poll_query_until($db, "SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type IN ('taskq worker', 'taskq dispatcher')")
	  or die 'the processes stay';
	return;
}

run_tasks(1000);
is(counted('m'), 1000, 'counted before it is written');
wait_alone();
is(written(), 'a 1000, d 1000, h 1000, m 1000', 'written for the minute, the hour, the day and all time when nothing is left to do');
is(counted($_), 1000, "and counted once: $_") for qw(m h d a);

run_tasks(500);
wait_alone();
is(written(), 'a 1500, d 1500, h 1500, m 1500', 'more is added');
is(sql($node, $db, "SELECT count(*) FROM taskq_internal.rollup WHERE type = 'l' AND span = 'a'"), 1, '... to the row that is there');

start_turned(sub { $node->restart });
is(counted('d'), 1500, 'a restart loses nothing that was written');

# also of what was not written when the server is stopped
$node->append_conf('postgresql.conf', "taskq.worker_idle_timeout = '1h'");
$node->reload;
run_tasks(200);
start_turned(sub { $node->restart });
is(counted('d'), 1700, 'nor what was not written yet when the server was told to stop');
is(sql($node, $db, "SELECT sum(n) FROM taskq.task_counts() WHERE state = 'completed'"), 1700, 'also how many tasks there are');
$node->append_conf('postgresql.conf', "taskq.worker_idle_timeout = '200ms'");
$node->reload;

# what stood in the tables stays, and what is counted anew is right
run_tasks(300);
wait_alone();
sql($node, $db, 'CHECKPOINT');
$node->stop('immediate');
start_turned(sub { $node->start });
is(counted('d'), 2000, 'a crash loses nothing that was written');
my $counts = "SELECT string_agg(format('%s %s', state, n), ', ' ORDER BY state) FROM (SELECT state, sum(n) AS n FROM taskq.task_counts() GROUP BY 1) c";
is(sql($node, $db, $counts), 'completed 2000', 'nor how many tasks there are');
sql($node, $db, "DELETE FROM taskq_internal.stock");
is(sql($node, $db, 'SELECT taskq.task_recount()'), 2000, 'tasks are counted anew');
is(sql($node, $db, $counts), 'completed 2000', 'which sets right what was lost');

# old leaves take their numbers along
set_clock(60 * 3600);
$node->reload;
$node->poll_query_until($db, "SELECT count(*) = 0 FROM taskq_internal.task") or die 'tasks stay';
is(sql($node, $db, $counts), '', 'what is forgotten is not counted any more');
is(counted('d'), 2000, 'but stays in the statistics');

# who has thousands of tags leaves room for what others do
sql($node, $db, q{CREATE ROLE flood LOGIN IN ROLE taskq_user;
SELECT taskq.kind_define('late', 'work(jsonb)', queue => 'late')});
my $tags = "(SELECT array_agg('tag ' || i) FROM generate_series(1, 9000) i)";
sql($node, $db, qq{SET ROLE flood;
SELECT taskq.task_submit('work', tags => $tags) \\gset
SELECT state FROM taskq.task_wait(:'task_submit')});
sub late
{
	my ($span) = @_;
	return sql($node, $db, "SELECT coalesce(sum(u.n), 0) FROM taskq_internal.rollup u JOIN taskq_internal.lane l ON l.id = u.of
		WHERE u.type = 'l' AND l.kind = 'late' AND u.span = '$span'");
}
wait_alone();
my $groups = 'SELECT count(*) FROM taskq_internal.rollup WHERE span = \'d\' AND at = (SELECT max(at) FROM taskq_internal.rollup WHERE span = \'d\')';
cmp_ok(sql($node, $db, "$groups AND type = 't'"), '<=', 1250, 'of one role only so many tags are counted by name in a day');
sql($node, $db, q{SELECT taskq.task_submit('late') \gset
SELECT state FROM taskq.task_wait(:'task_submit')});
wait_alone();
is(late($_), 1, "and another role's kind is, by name: $_") for qw(m h d a);

# names of whatever sort, in the text that Prometheus reads
SKIP:
{
	my $promtool = (grep { -x } map { "$_/promtool" } split /:/, $ENV{PATH})[0];
	skip 'no promtool here: it comes with the package prometheus', 3 if !defined $promtool;
	sql($node, $db, q{SELECT taskq.kind_define(E'a"b\\c', 'work(jsonb)', queue => 'ä "q"')});
	sql($node, $db, q{SELECT taskq.task_submit(E'a"b\\c') \gset
SELECT state FROM taskq.task_wait(:'task_submit')});
	sql($node, $db, q{SELECT taskq.queue_define('put off'), taskq.queue_pause('put off')});
	sql($node, $db, q{SELECT taskq.task_submit(E'a"b\c', queue => 'put off')});
	my $metrics = sql($node, $db, 'SELECT taskq.metrics()') . "\n";
	my ($out, $err) = ('', '');
	my $ok = IPC::Run::run([ $promtool, 'check', 'metrics' ], '<', \$metrics, '>', \$out, '2>', \$err);
	ok($ok && $err eq '', 'promtool has nothing to say about metrics()') or diag($out, $err, $metrics);
	$ok = IPC::Run::run([ $promtool, 'check', 'rules', "$FindBin::RealBin/../../examples/prometheus-rules.yml" ], '>', \$out, '2>&1');
	ok($ok, '... nor about the example\'s rules') or diag($out);
	my @unknown = grep { my $name = $_; !($metrics =~ /^# TYPE $name /m) } slurp_file("$FindBin::RealBin/../../examples/prometheus-rules.yml") =~ /\b(taskq_\w+?)(?:_bucket)?(?=[{\[) ])/g;
	is("@unknown", '', '... whose metrics are there');
}

done_testing();
