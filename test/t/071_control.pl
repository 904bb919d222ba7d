# Pausing: what is reserved in a worker's batch is not started any more, what
# runs goes on; a pause survives a restart and a promotion.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use TaskqTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = taskq_node('control', allows_streaming => 1, 'taskq.max_workers' => 2);
my $db = 'postgres';

$node->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('control_standby');
$standby->init_from_backup($node, 'base', has_streaming => 1);
$standby->start;

$node->safe_psql(
	$db, q{
	CREATE FUNCTION nap(p jsonb) RETURNS void LANGUAGE sql AS $$ SELECT pg_sleep(0.001) $$;
	SELECT taskq.kind_define('nap', 'nap(jsonb)'), taskq.kind_define('naps', 'nap(jsonb)', batch => true),
		taskq.kind_define('keyed_nap', 'nap(jsonb)'), taskq.kind_define('limited_nap', 'nap(jsonb)', max_running => 1, rate => 100000),
		taskq.kind_define('outside', queue => 'outside'), taskq.kind_define('pausable', 'short_work(jsonb)');});

my $begun = q{SELECT coalesce(string_agg(id::text, ' ' ORDER BY id), '') FROM taskq.task
	WHERE kind = '%s' AND state NOT IN ('pending', 'reserved')};
my $nothing_runs = q{SELECT count(*) = 0 FROM taskq.task WHERE state IN ('running', 'reserved')};

# Submits naps, pauses in their midst, and sees that none is begun after that.
sub nobody_begins
{
	my ($kind, $pause, $resume, $name, $more) = @_;
	my $submit = "taskq.task_submit('$kind'" . ($more ? ", $more)" : ')');

	$node->safe_psql($db, "SELECT count($submit) FROM generate_series(1, 1000) n");
	$node->poll_query_until($db, "SELECT count(*) > 100 FROM taskq.task WHERE kind = '$kind' AND ready")
	  or die 'no task ran';
	$node->safe_psql($db, "SELECT $pause");
	my $then = $node->safe_psql($db, sprintf($begun, $kind));
	is( sql($node, $db, "SELECT count(*) FROM taskq.task WHERE state = 'reserved'"),
		0, "$name: nothing is reserved any more");
	isnt(sql($node, $db, "SELECT count(*) FROM taskq.task WHERE kind = '$kind' AND state = 'pending'"),
		0, '... many wait');
	$node->poll_query_until($db, $nothing_runs) or die 'something runs';
	is($node->safe_psql($db, sprintf($begun, $kind)), $then,
		'... what had begun has ended, nothing else has begun');
	$node->safe_psql($db, "SELECT $resume");
	ok( $node->poll_query_until($db, "SELECT bool_and(state = 'completed') FROM taskq.task WHERE kind = '$kind'"),
		'... and all run when it is resumed');
	return;
}

nobody_begins('nap', 'taskq.pause()', 'taskq.resume()', 'pause()');
nobody_begins('nap', "taskq.kind_pause('nap')", "taskq.kind_resume('nap')", 'kind_pause()');
nobody_begins('naps', "taskq.queue_pause('default')", "taskq.queue_resume('default')", 'queue_pause()');

nobody_begins('keyed_nap', 'taskq.pause()', 'taskq.resume()', 'concurrency keys', "concurrency_key => 'k' || n % 50");
nobody_begins('limited_nap', 'taskq.pause()', 'taskq.resume()', 'limits');

# --- a prepared pause counts when it is committed

$node->safe_psql($db, "BEGIN; SELECT taskq.pause(); PREPARE TRANSACTION 'pause'");
my $before = submit($node, $db, 'short');
is(wait_task($node, $db, $before), 'completed', 'a pause that is only prepared stops nothing');
$node->safe_psql($db, "COMMIT PREPARED 'pause'");

# --- over a restart

my $running = submit($node, $db, 'gate', '{"gate": "a"}');
my $held = submit($node, $db, 'short');
my $outside = submit($node, $db, 'outside');
my $claim = "SELECT count(*) FROM taskq.task_claim('w')";
is(sql($node, $db, $claim), 0, 'external workers get nothing');
expect_primary_gone($standby);
$node->restart;
wait_idle($node);
task_is($node, $db, $held, 'state', 'pending', 'after a restart it is still paused');
is(sql($node, $db, $claim), 0, '... for external workers too');
like(sql($node, $db, "SELECT taskq.sitrep()->>'why_paused'"), qr/taskq\.resume\(\)/, '... and the situation report says so');

# --- and on a promoted standby

$node->wait_for_catchup($standby);
is(sql($standby, $db, "SELECT taskq.sitrep()->>'paused'"), 'true', 'a standby knows');
$node->stop;
$standby->promote;
$standby->poll_query_until($db, 'SELECT NOT pg_is_in_recovery()') or die 'not promoted';
my $late = submit($standby, $db, 'short');
wait_idle($standby);
task_is($standby, $db, $_, 'state', 'pending', 'promoted, it is still paused') foreach $held, $late;
$standby->safe_psql($db, q{SELECT taskq.resume(); INSERT INTO gate VALUES ('a')});
is(wait_task($standby, $db, $_), 'completed', '... until it is resumed') foreach $held, $late, $running;
is(sql($standby, $db, $claim), 1, '... for external workers too');

# --- a pause and a kind that is dropped

$standby->safe_psql($db, q{SELECT taskq.kind_pause('pausable'); SELECT taskq.kind_drop('pausable');
	SELECT taskq.kind_define('pausable', 'short_work(jsonb)')});
is(wait_task($standby, $db, submit($standby, $db, 'pausable')),
	'completed', 'a kind of the same name as one that was paused is not');

# --- a task that is moved to a lane which has been saved past its id

$standby->safe_psql($db, q{SELECT taskq.queue_define('aside'), taskq.queue_pause('aside')});
my $moved = submit($standby, $db, 'short', '{}', "queue => 'aside'");
my @gates = map { submit($standby, $db, 'gate', '{"gate": "b"}', "queue => 'aside', priority => 5") } 1 .. 2;
$standby->safe_psql($db, q{
	SELECT taskq.task_submit_many('short', array_fill('{}'::jsonb, ARRAY[2500]), queue => 'aside', priority => 9);
	SELECT taskq.queue_resume('aside')});
$standby->poll_query_until($db, "SELECT EXISTS (SELECT FROM taskq_internal.watermark w JOIN taskq_internal.lane l ON l.id = w.lane
	WHERE l.queue = 'aside' AND l.priority = 9 AND w.id > '$moved')") or die 'nothing was saved';
wait_state($standby, $db, $_, 'running') foreach @gates;
is(sql($standby, $db, "SELECT old_queue_position, new_queue_position FROM taskq.task_set_priority('$moved', 9)"),
	'1|1', 'a task gets the priority of others that came later and are over');
$standby->stop('immediate');
$standby->start;
open_gate($standby, $db, 'b');
is(wait_task($standby, $db, $_), 'completed', 'after a crash all run') foreach $moved, @gates;
is(effects($standby, $db, $moved), 1, '... once');

$standby->stop;
done_testing();
