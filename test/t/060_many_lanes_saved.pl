# More lanes than are saved at once: each has its turn, also behind many that
# cannot be saved any further.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use TaskqTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = taskq_node('many_lanes', 'max_prepared_transactions' => 0, 'taskq.max_lanes' => 2048);
my $db = 'postgres';

$node->safe_psql(
	$db, q{
	CREATE FUNCTION no_work(p jsonb) RETURNS void LANGUAGE plpgsql AS 'BEGIN END';
	SELECT taskq.kind_define('noop', 'no_work(jsonb)', batch => true);
	SELECT taskq.queue_define('held'), taskq.queue_define('a'), taskq.queue_define('b'),
		taskq.queue_define('c'), taskq.queue_define('d'), taskq.queue_define('e');
	-- one task in each of 200 lanes of a queue
	CREATE FUNCTION submit_all(queue text) RETURNS bigint LANGUAGE sql AS $$
		SELECT count(taskq.task_submit('noop', queue => $1, priority => p)) FROM generate_series(-100, 99) p $$;
	-- tasks in two of the queues that would be looked at again after a crash
	CREATE VIEW unsaved AS SELECT count(*) AS n FROM taskq_internal.task t JOIN taskq_internal.lane l ON l.id = t.lane
		LEFT JOIN taskq_internal.watermark w ON w.lane = t.lane AND w.id > t.id WHERE l.queue IN ('d', 'e') AND w.lane IS NULL;
});

sub all_done
{
	my ($name) = @_;
	return ok($node->poll_query_until($db, q{SELECT count(*) = 0 FROM taskq.task
		WHERE NOT ready AND queue IN ('d', 'e')}), $name);
}

# Somebody else has locked the rows of the first 600 lanes' tasks, while others of these run.
$node->safe_psql($db, q{SELECT taskq.queue_pause(q), submit_all(q) FROM unnest('{a,b,c}'::text[]) q});
my $locker = $node->background_psql($db);
$locker->query_safe('BEGIN; SELECT count(*) FROM (SELECT id FROM taskq_internal.task FOR UPDATE) t');
$node->safe_psql($db, q{SELECT submit_all(q), taskq.queue_resume(q) FROM unnest('{a,b,c}'::text[]) q});
ok($node->poll_query_until($db, q{SELECT count(*) = 600 FROM taskq.task WHERE state = 'completed'}),
	'tasks in many lanes are done, but for those that somebody has locked');
$node->safe_psql($db, q{SELECT submit_all(q) FROM unnest('{d,e}'::text[]) q});
all_done('tasks in other lanes are done');
ok($node->poll_query_until($db, q{SELECT n = 0 FROM unsaved}),
	'these lanes are saved, though many before them cannot be');

# An open submit: nothing is saved beyond it, and when it ends all is.
$node->safe_psql($db, q{SELECT taskq.queue_resume('held')});
my $open = $node->background_psql($db);
$open->query_safe(q{BEGIN; SELECT taskq.task_submit('noop', queue => 'held')});
$node->safe_psql($db, q{SELECT submit_all(q) FROM unnest('{d,e}'::text[]) q});
all_done('tasks that were submitted after an open submit are done');
$locker->query_safe('COMMIT');
$locker->quit;
ok($node->poll_query_until($db, q{SELECT count(*) = 0 FROM taskq.task WHERE NOT ready}),
	'what was locked is done');
is($node->safe_psql($db, 'SELECT n FROM unsaved'), '400', '... nothing is saved beyond an open submit');
$open->query_safe('COMMIT');
$open->quit;
ok($node->poll_query_until($db, q{SELECT n = 0 FROM unsaved}), 'when that has ended all lanes are saved');

$node->stop;
done_testing();
