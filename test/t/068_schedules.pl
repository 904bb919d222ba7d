# Exactly one task for each due time of a schedule: across restarts, crashes,
# the dispatcher's end, promotion, and a clock that is set.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use TaskqTest;
use TurnedClock;
use PostgreSQL::Test::Utils;
use Test::More;

my $db = 'postgres';
my $node = start_turned(sub { taskq_node('schedules', allows_streaming => 1) });
$node->safe_psql($db, q{
	CREATE FUNCTION nothing(p jsonb) RETURNS void LANGUAGE plpgsql AS $$ BEGIN END $$;
	SELECT taskq.kind_define('beat', 'nothing(jsonb)', batch => true)});

sub runs { my ($name, $where) = @_; return sql($where // $node, $db, "SELECT runs FROM taskq.schedule WHERE name = '$name'"); }

sub wait_runs
{
	my ($name, $n, $what, $where) = @_;
	return ok(($where // $node)->poll_query_until($db, "SELECT runs >= $n FROM taskq.schedule WHERE name = '$name'"), $what);
}

# One task for each run that the schedule counts, and a due time for each task.
sub exact
{
	my ($name, $what, $where) = @_;
	return is(sql($where // $node, $db, "
			SELECT count(*) - s.runs, count(*) - count(DISTINCT t.options->>'due')
			FROM taskq.schedule s LEFT JOIN taskq.task t ON t.options->>'schedule' = s.name
			WHERE s.name = '$name' GROUP BY s.runs"), '0|0', $what);
}

# ... and none is left out.
sub complete
{
	my ($name, $every, $what, $where) = @_;
	exact($name, "$what: one task for each due time", $where);
	return is(sql($where // $node, $db, "
			SELECT max(due) - min(due) = (count(*) - 1) * interval '$every'
			FROM (SELECT (options->>'due')::timestamptz AS due FROM taskq.task WHERE options->>'schedule' = '$name') d"), 't', '... and none is left out');
}

sub define { my ($name, $more) = @_; return $node->safe_psql($db, "SELECT taskq.schedule_define('$name', 'beat', $more)"); }

# --- restart and crash

define('all', "every => '20 ms', overlap => true, missed => 'all'");
define('once', "every => '20 ms', overlap => true, missed => 'once'");
wait_runs('all', 10, 'a schedule runs');
start_turned(sub { $node->restart });
my $before = runs('all');
wait_runs('all', $before + 20, '... goes on after a restart');
$node->stop('immediate');
start_turned(sub { $node->start });
$before = runs('all');
wait_runs('all', $before + 20, '... and after a crash of all');
expect_crashes($node);
my ($worker) = backend_pids($node, 'dispatcher');
kill 'KILL', $worker;
ok($node->poll_query_until($db, "SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'taskq dispatcher' AND pid <> $worker"), 'a dispatcher is killed');
$before = runs('all');
wait_runs('all', $before + 20, '... and after a restart for that');
expect_no_more($node);
my $s = $node->background_psql($db);
$s->query_safe("SELECT taskq.schedule_disable('all'), taskq.schedule_disable('once')");
complete('all', '20 ms', 'all');
exact('once', 'once: one task for each due time');
is(sql($node, $db, "
		SELECT bool_and(extract(epoch FROM due - first) * 1000 % 20 = 0) AND max(due) - min(due) > (count(*) - 1) * interval '20 ms'
		FROM (SELECT (options->>'due')::timestamptz AS due, min((options->>'due')::timestamptz) OVER () AS first
			FROM taskq.task WHERE options->>'schedule' = 'once') d"), 't', '... on time, and some are left out');

# --- one that another session has locked

define('held', "every => '20 ms', overlap => true, missed => 'all'");
define('free', "every => '20 ms', overlap => true, missed => 'all'");
wait_runs('held', 2, 'two schedules');
$s->query_safe("BEGIN; SELECT taskq.schedule_run('held')");
$before = runs('free');
wait_runs('free', $before + 10, 'one that a session has locked holds up no other');
$before = runs('held');
$s->query_safe('ROLLBACK');
wait_runs('held', $before + 60, '... and makes up for it');
$node->safe_psql($db, "SELECT taskq.schedule_disable('held'), taskq.schedule_disable('free')");
complete('held', '20 ms', 'held');

# --- runs of hours ago

define('skip', "every => '1 h', missed => 'skip'");
define('late', "every => '1 h', missed => 'once'");
define('each', "every => '1 h', missed => 'all'");
$node->safe_psql($db, q{
	BEGIN;
	UPDATE taskq_internal.schedule_state SET next_run = now() - interval '4 h 10 min', look_at = now() + interval '0.3 s' WHERE name IN ('skip', 'late', 'each');
	SELECT taskq.schedule_define('wake', 'beat', every => '1 day', starts_at => now() + interval '0.1 s');
	COMMIT});
wait_runs('each', 5, 'all: five runs, one after the other');
ok($node->poll_query_until($db, "SELECT next_run > now() FROM taskq.schedule WHERE name = 'skip'"), 'skip: the next run is to come');
ok($node->poll_query_until($db, "SELECT string_agg(concat_ws(' ', name, runs, missed_runs), ', ' ORDER BY name) FROM taskq.schedule WHERE name IN ('skip', 'late', 'each')",
		'each 5 0, late 1 4, skip 0 5'), '... all of them are made, the last one, or none');

# --- the clock is set

define('turned', "every => '50 ms', overlap => true, missed => 'all'");
wait_runs('turned', 5, 'before the clock is set');
foreach my $hours (6, -6)
{
	set_clock($hours * 3600);
	$before = runs('turned');
	wait_runs('turned', $before + 10, "set by $hours hours, it goes on");
	exact('turned', '... with one task for each due time');
}
cmp_ok(runs('turned'), '<', 5000, '... and none for hours that did not pass');
set_clock(0);
$before = runs('turned');
wait_runs('turned', $before + 10, 'set right, it goes on');
$node->safe_psql($db, "SELECT taskq.schedule_disable('turned')");

# --- a copy

$node->safe_psql($db, 'CREATE DATABASE copy');
$node->safe_psql($db, "SELECT taskq.schedule_enable('free')");
my $dump = PostgreSQL::Test::Utils::tempdir() . '/dump';
$node->command_ok([ 'pg_dump', '-Fc', '-f', $dump, '-d', $node->connstr($db) ], 'dumped');
$node->command_ok([ 'pg_restore', '-d', $node->connstr('copy'), $dump ], '... and restored');
$before = sql($node, 'copy', "SELECT runs FROM taskq.schedule WHERE name = 'free'");
my $here = runs('free');
wait_runs('free', $here + 10, 'the schedule runs where it was');
is(sql($node, 'copy', "SELECT runs FROM taskq.schedule WHERE name = 'free'"), $before, '... and not in a copy');
$node->safe_psql('copy', 'SELECT taskq.resume()');
ok($node->poll_query_until('copy', "SELECT runs >= $before + 5 FROM taskq.schedule WHERE name = 'free'"), '... until that is resumed');
$node->safe_psql('copy', "SELECT taskq.schedule_drop('free')");

# --- promotion

$node->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'base', has_streaming => 1);
start_turned(sub { $standby->start });
define('promoted', "every => '20 ms', overlap => true, missed => 'all'");
wait_runs('promoted', 10, 'a schedule runs on the primary');
$node->wait_for_catchup($standby);
like(sql_error($standby, $db, "SELECT taskq.schedule_run('promoted')"), qr/25006/, '... and not on the standby');
$s->quit;
expect_primary_gone($standby);
$standby->promote;
$node->stop('immediate');
$before = runs('promoted', $standby);
wait_runs('promoted', $before + 20, 'promoted, it goes on', $standby);
$standby->safe_psql($db, "SELECT taskq.schedule_disable('promoted')");
complete('promoted', '20 ms', 'promoted', $standby);
done_testing();
