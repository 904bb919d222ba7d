# Which of the waiting tasks runs first.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use TaskqTest;
use PostgreSQL::Test::Utils;
use Test::More;

# one worker, so that there is an order
my $node = taskq_node('order', 'taskq.max_workers' => 1);
my $db = 'postgres';

$node->safe_psql(
	$db, q{
	CREATE TABLE ran (at serial, name text);
	CREATE FUNCTION note(p jsonb) RETURNS void LANGUAGE sql AS $$ INSERT INTO ran (name) VALUES (p->>'name') $$;
	SELECT taskq.kind_define('note', 'note(jsonb)');
	SELECT taskq.kind_define('urgent', 'note(jsonb)', priority => 50);
	SELECT taskq.queue_define('q');
	SELECT taskq.queue_define('r');});

# Runs what $submit submits, all at once, and returns their order.
sub order_of
{
	my ($submit) = @_;
	$node->safe_psql($db, "TRUNCATE ran; SELECT taskq.queue_pause('q'); SELECT taskq.queue_pause('r'); $submit");
	$node->safe_psql($db, "BEGIN; SELECT taskq.queue_resume('r'); SELECT taskq.queue_resume('q'); COMMIT;");
	$node->poll_query_until($db,
		"SELECT count(*) = 0 FROM taskq.task WHERE NOT ready AND queue IN ('q', 'r')")
	  or die 'tasks did not end';
	return sql($node, $db, "SELECT string_agg(name, ' ' ORDER BY at) FROM ran");
}

sub named
{
	my ($name, $more) = @_;
	return "SELECT taskq.task_submit('note', '{\"name\": \"$name\"}', $more);\n";
}

is( order_of(join '', map { named($_, "queue => 'q'") } 1 .. 12),
	join(' ', 1 .. 12),
	'tasks of one kind run in the order of their submission');
is( order_of(
		    named('low', "queue => 'q', priority => -1")
		  . named('normal', "queue => 'q'")
		  . named('high', "queue => 'q', priority => 10")
		  . named('highest', "queue => 'q', priority => 100")
		  . named('lowest', "queue => 'q', priority => -100")
		  . named('normal2', "queue => 'q', priority => 0")),
	'highest high normal normal2 low lowest',
	'a higher priority runs first, the same in order of submission');
is( order_of(
		    named('plain', "queue => 'q'")
		  . "SELECT taskq.task_submit('urgent', '{\"name\": \"urgent\"}', queue => 'q');"
		  . "SELECT taskq.task_submit('urgent', '{\"name\": \"late\"}', queue => 'q', priority => -5);"),
	'urgent plain late',
	'a kind has a priority, which the submit may replace');
is( order_of(
		    named('r1', "queue => 'r'")
		  . named('q1', "queue => 'q', priority => 1")
		  . named('r2', "queue => 'r', priority => 2")
		  . named('q2', "queue => 'q', priority => -1")),
	'r2 q1 r1 q2',
	'priority counts across queues');
# a worker takes several tasks of a lane at once: so no strict turns
like( order_of(
		    named('r1', "queue => 'r'")
		  . named('q1', "queue => 'q'")
		  . named('r2', "queue => 'r'")
		  . named('q2', "queue => 'q'")),
	qr/^r1 (?=.*r2)(?=.*q1.*q2)/,
	'with the same priority, the queue with the oldest task is first, each in its order');

# --- a scheduled task takes its place when it is due

is( order_of(
		    named('due', "queue => 'q', run_at => now() - interval '1 h', priority => 1")
		  . named('now', "queue => 'q'")),
	'due now',
	'a task whose time has passed is ready at once');

# --- a paused queue holds nothing else up

$node->safe_psql($db, "SELECT taskq.queue_pause('q')");
my $held = submit($node, $db, 'note', '{"name": "held"}', "queue => 'q', priority => 100");
my $free = submit($node, $db, 'note', '{"name": "free"}', "queue => 'r', priority => -100");
is(wait_task($node, $db, $free), 'completed',
	'a paused queue of higher priority does not hold up another');
task_is($node, $db, $held, 'state', 'pending', '... and its task waits');
$node->safe_psql($db, "BEGIN; SELECT taskq.queue_resume('q'); ROLLBACK;");
is(wait_task($node, $db, submit($node, $db, 'note', '{"name": "r"}', "queue => 'r'")),
	'completed', 'others run');
task_is($node, $db, $held, 'state', 'pending',
	'a resume that rolls back resumes nothing');
$node->safe_psql($db, "SELECT taskq.queue_resume('q')");
is(wait_task($node, $db, $held), 'completed', 'a resumed queue goes on');

# --- pausing while a task runs

my $running = submit($node, $db, 'gate', '{"gate": "a"}', "queue => 'q'");
wait_state($node, $db, $running, 'running');
my $next = submit($node, $db, 'note', '{"name": "next"}', "queue => 'q'");
$node->safe_psql($db, "SELECT taskq.queue_pause('q')");
open_gate($node, $db, 'a');
is(wait_task($node, $db, $running), 'completed',
	'a pause lets the running task come to its end');
is(wait_task($node, $db, submit($node, $db, 'note', '{"name": "r"}', "queue => 'r'")),
	'completed', 'others run');
task_is($node, $db, $next, 'state', 'pending', 'the next of the paused queue waits');
is(sql($node, $db, q{SELECT paused, waiting FROM taskq.queue WHERE name = 'q'}),
	't|1', 'the queue view shows it');
$node->safe_psql($db, "SELECT taskq.queue_resume('q')");
is(wait_task($node, $db, $next), 'completed', '... until it is resumed');

# --- taskq.max_workers is changed while tasks run

$node->append_conf('postgresql.conf', 'taskq.max_workers = 3');
$node->reload;
my @gated = map { submit($node, $db, 'gate', '{"gate": "b"}') } 1 .. 4;
ok( $node->poll_query_until(
		$db, "SELECT count(*) = 3 FROM taskq.task WHERE state = 'running'"),
	'taskq.max_workers raised: as many run at once');
is( sql($node, $db, "SELECT count(*) FROM taskq.task WHERE state = 'pending'"),
	'1', '... and no more');
$node->append_conf('postgresql.conf', 'taskq.max_workers = 1');
$node->reload;
open_gate($node, $db, 'b');
is(wait_task($node, $db, $_), 'completed', 'lowered while busy, nothing is lost')
  foreach @gated;
ok( $node->poll_query_until(
		$db, "SELECT count(*) <= 1 FROM pg_stat_activity WHERE backend_type = 'taskq worker'"),
	'... and the surplus workers leave');

$node->stop;
done_testing();
