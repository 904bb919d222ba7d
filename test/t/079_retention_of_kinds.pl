# Kinds and queues say how long their finished tasks are kept: longer than usual, or not so long.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use TaskqTest;
use TurnedClock;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = start_turned(
	sub { taskq_node('kept', 'taskq.max_workers' => 2, 'taskq.retention' => '24h', 'taskq.worker_idle_timeout' => '60s') });
my $db = 'postgres';

# The clock is turned, and everybody notices.
sub turn
{
	my ($hours) = @_;
	set_clock($hours * 3600);
	$node->reload;
	return;
}

sub there
{
	my ($where) = @_;
	return sql($node, $db, "SELECT string_agg(kind || '/' || queue || ':' || n, ' ' ORDER BY kind, queue)
		FROM (SELECT kind, queue, count(*) AS n FROM taskq.task WHERE $where GROUP BY 1, 2) s");
}

sub gone
{
	my ($where) = @_;
	return $node->poll_query_until($db, "SELECT NOT EXISTS (SELECT FROM taskq.task WHERE $where)");
}

$node->safe_psql($db, q{
	CREATE FUNCTION second_work(p jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
	BEGIN
		IF (SELECT attempt FROM taskq.current_task()) = 1 THEN
			PERFORM taskq.retry('0 s');
		END IF;
		RETURN p;
	END $$;
	SELECT taskq.queue_define('brief', retention => '2 h');
	SELECT taskq.kind_define('audited', 'short_work(jsonb)', retention => '7 days');
	SELECT taskq.kind_define('quick', 'second_work(jsonb)', retention => '1 h')});
is(sql($node, $db, q{SELECT retention FROM taskq.kind WHERE name = 'audited'}), '7 days', 'the view kind shows it');
is(sql($node, $db, q{SELECT retention FROM taskq.queue WHERE name = 'brief'}), '02:00:00', '... and the view queue');
like(sql_error($node, $db, q{SELECT taskq.kind_define('short', 'short_work(jsonb)', retention => '1 s')}), qr/retention/, 'a second is too short');

$node->safe_psql($db, q{
	SELECT count(*) FROM taskq.task_submit_many('audited', array_fill('1'::jsonb, ARRAY[50]));
	SELECT count(*) FROM taskq.task_submit_many('audited', array_fill('1'::jsonb, ARRAY[50]), queue => 'brief');
	SELECT count(*) FROM taskq.task_submit_many('quick', array_fill('1'::jsonb, ARRAY[600]));
	SELECT count(*) FROM taskq.task_submit_many('short', array_fill('1'::jsonb, ARRAY[50]));
	SELECT count(*) FROM taskq.task_submit_many('short', array_fill('1'::jsonb, ARRAY[50]), queue => 'brief')});
my $later = submit($node, $db, 'quick', '2', q{delay => '10 h'});
ok($node->poll_query_until($db, q{SELECT count(*) = 800 FROM taskq.task WHERE state = 'completed'}), '800 tasks are done');

turn(1.9);
ok(gone(q{kind = 'quick' AND ready}), 'what is kept for an hour is forgotten after that');
is(there('ready'), 'audited/brief:50 audited/default:50 short/brief:50 short/default:50', '... and nothing else');
is(sql($node, $db, 'SELECT count(*) FROM taskq_internal.attempt'), 0, '... with its attempts');
is(sql($node, $db, "SELECT state FROM taskq.task_status('$later')"), 'scheduled', '... not what is not finished');
turn(3);
ok(gone(q{kind = 'short' AND queue = 'brief'}), 'what its queue keeps for two hours is forgotten then');
is(there('ready'), 'audited/brief:50 audited/default:50 short/default:50', '... but for a kind that says otherwise');

turn(30);
is(wait_task($node, $db, $later), 'completed', 'a day later');
$node->reload;
ok(gone(q{kind = 'short'}), 'what is kept as usual is forgotten');
is(there(q{kind = 'audited'}), 'audited/brief:50 audited/default:50', '... not what is kept for a week');
is(sql($node, $db, q{SELECT count(*) FROM taskq_internal.task_keep k JOIN taskq_internal.lane l ON l.id = k.lane WHERE l.kind = 'audited'}), 100, '... which has moved');
turn(24 * 6);
ok(gone("id = '$later'"), 'days later');
is(there('ready'), 'audited/brief:50 audited/default:50', '... it is still there');
turn(24 * 8);
ok(gone(q{kind = 'audited'}), '... and forgotten after a week');

# said when the tasks are there already
$node->safe_psql($db, q{SELECT count(*) FROM taskq.task_submit_many('short', array_fill('1'::jsonb, ARRAY[50]))});
ok($node->poll_query_until($db, q{SELECT count(*) = 50 FROM taskq.task WHERE kind = 'short' AND state = 'completed'}), 'tasks that are kept as usual');
turn(24 * 8 + 3);
my $young = submit($node, $db, 'short');
is(wait_task($node, $db, $young), 'completed', '... three hours later');
$node->safe_psql($db, q{SELECT taskq.kind_define('short', 'short_work(jsonb)', retention => '1 h')});
ok(gone("kind = 'short' AND id <> '$young'"), 'what is said now counts for what is there');
is(sql($node, $db, "SELECT state FROM taskq.task_status('$young')"), 'completed', '... if it is old enough');

# for ever, but what says otherwise; until that is taken back
$node->safe_psql($db, q{
	SELECT taskq.kind_define('audited', 'short_work(jsonb)', retention => '10000 years');
	SELECT taskq.kind_define('short', 'short_work(jsonb)')});
like(sql_error($node, $db, q{ALTER SYSTEM SET taskq.retention = 0}), qr/taskq\.retention/, 'to keep for no time at all is refused');
$node->append_conf('postgresql.conf', 'taskq.retention = -1');
$node->reload;
my $kept = submit($node, $db, 'short');
my $brief = submit($node, $db, 'short', '{}', q{queue => 'brief'});
my $first = submit($node, $db, 'quick');
my $second = submit($node, $db, 'short', '{}', "queue => 'brief', depends_on => ARRAY['$first']::uuid[]");
my $audited = submit($node, $db, 'audited', '{}', q{queue => 'brief'});
is(wait_task($node, $db, $_), 'completed', 'one that is finished') foreach $kept, $brief, $second, $audited;
turn(24 * 20);
ok(gone("id IN ('$brief', '$second', '$first')"), 'with a retention of -1 what its kind or queue keeps for hours is forgotten');
is(sql($node, $db, "SELECT count(*) FROM taskq.task WHERE id IN ('$kept', '$audited')"), 2, '... and all else stays, for ever');
ok($node->poll_query_until($db, "SELECT NOT EXISTS (SELECT FROM taskq_internal.dependency WHERE task = '$second')"), '... also what waited for whom is forgotten with those');
is(wait_task($node, $db, submit($node, $db, 'short')), 'completed', 'tasks run');
$node->append_conf('postgresql.conf', 'taskq.retention = 24h');
$node->reload;
is(wait_task($node, $db, submit($node, $db, 'short')), 'completed', 'when it is a day again tasks run on');
turn(24 * 20 + 27);
ok(gone("id = '$kept'"), '... and what was kept is forgotten when the youngest of its leaf are old');
is(sql($node, $db, "SELECT state FROM taskq.task_status('$audited')"), 'completed', '... not what its kind keeps for ever');

done_testing();
